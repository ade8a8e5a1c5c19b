# cython: language_level=3, boundscheck=True, wraparound=False
"""What `streams.domain.steps` does for every event, compiled; what is rare is done there.

Bytes and lists are read with bounds checks; what is written to is a buffer whose size is checked at each copy.
"""

from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.string cimport memcpy

from streams.domain.packing import pack
from streams.domain.zone import QUARTER_HOUR_US as _QUARTER_HOUR_US

cdef extern from *:
    """
    #ifndef MILESTONES_SOURCE
    #define MILESTONES_SOURCE ""
    #endif
    """
    const char* MILESTONES_SOURCE

#: Digest of the source that this was built from; see `schemas.hotpath`.
SOURCE = (<bytes> MILESTONES_SOURCE).decode()

#: The packed form, as `streams.domain.packing` describes it.
cdef enum:
    KIND_AT = 11
    TIME_AT = 12
    TEXT_BYTES_AT = 28
    HEAD_BYTES = 34
    #: Events with longer texts are packed in Python.
    MOST_TEXT_BYTES = 1024
    KIND = 0b111
    HAS_VIN = 0b1000
    VIN_CHARACTERS = 17
    TOPIC = 0b111_1111
    TOPIC_BITS = 7
    OF_PRODUCTION_SHIFT = 5

#: As `schemas.facts.Kind` has them.
cdef enum:
    PLACED = 1
    DELIVERED = 3

cdef long long MOST_OFFSET = 0x7FFF_FFFF_FFFF_FFFF
cdef long long QUARTER_HOUR_US = _QUARTER_HOUR_US


def store(
    facts,
    dict orders,
    dict touched,
    dict changed,
    vocabulary,
    dict last_by_source,
    Py_ssize_t below_limit_bytes,
    refusal,
    list refused,
):
    """As `steps.store`."""
    cdef Py_ssize_t index = -1, duplicates = 0, backfilled = 0, new_bytes = 0, id_bytes = 0
    cdef dict codes = vocabulary.codes
    cdef bytes packed
    cdef object source = None
    cdef long long time_us, last_us = 0
    for fact in facts:
        index += 1
        order_id = fact.order_id
        packed = packed_event(fact, codes, &id_bytes)
        if packed is None:
            packed = pack(fact, vocabulary)
            id_bytes = len(fact.id.encode())
        # One look for both: whether there is such an order, and its place if there is none.
        blob = orders.setdefault(order_id, packed)
        if blob is packed:
            touched[order_id] = (None, fact)
            changed[order_id] = packed
            new_bytes += len(order_id)
        else:
            # An order none of whose events has a text that begins with the id has no event of that id.
            if len(<bytes> blob) >= below_limit_bytes or may_hold(blob, packed, id_bytes):
                refused_for = refusal(fact, blob, packed)
                if refused_for is not None:
                    if refused_for[0]:
                        refused.append((index, *refused_for))
                    else:
                        duplicates += 1
                    continue
            orders[order_id] = changed[order_id] = <bytes> blob + packed
            earlier = touched.get(order_id)
            touched[order_id] = (blob, fact) if earlier is None else (*earlier, fact)
        new_bytes += len(packed)
        if fact.backfill:
            backfilled += 1
        time_us = fact.time_us
        # Those of one source often follow each other.
        if fact.source is not source:
            if source is not None and last_us > last_by_source.get(source, 0):
                last_by_source[source] = last_us
            source = fact.source
            last_us = time_us
        elif time_us > last_us:
            last_us = time_us
    if source is not None and last_us > last_by_source.get(source, 0):
        last_by_source[source] = last_us
    return duplicates, backfilled, new_bytes


cdef bint may_hold(bytes blob, bytes packed, Py_ssize_t id_bytes) except -1:
    """Whether the text of an event begins with the id of a packed one."""
    cdef Py_ssize_t at = 0, byte
    while at < len(blob):
        if number_in(blob, at + TEXT_BYTES_AT, 2) >= id_bytes:
            byte = 0
            while byte < id_bytes and blob[at + HEAD_BYTES + byte] == packed[HEAD_BYTES + byte]:
                byte += 1
            if byte == id_bytes:
                return True
        at += HEAD_BYTES + number_in(blob, at + TEXT_BYTES_AT, 2)
    return False


cdef bytes packed_event(fact, dict codes, Py_ssize_t* id_bytes):
    """The event as `packing.pack` packs it; `None` for one with a word that has no code yet, a void, or anything unusual.

    `id_bytes` is set to the size of its id.
    """
    cdef unsigned char[HEAD_BYTES + MOST_TEXT_BYTES] buffer
    cdef Py_ssize_t size = HEAD_BYTES
    source_code = codes.get(fact.source)
    dims_code = codes.get(fact.dims)
    if source_code is None or dims_code is None or fact.voids is not None:
        return None
    identity, extra, vin = fact.id, fact.extra, fact.vin
    cdef long long kind = fact.kind, topic = fact.topic, partition = fact.partition, offset = fact.offset
    if not 0 < kind <= KIND or not 0 <= topic < 256 or not 0 <= partition < 65536 or not 0 <= offset <= MOST_OFFSET:
        return None
    size = with_text(buffer, size, identity)
    id_bytes[0] = size - HEAD_BYTES
    if size > 0:
        size = with_text(buffer, size, extra)
    cdef long long content = kind | topic >> TOPIC_BITS << OF_PRODUCTION_SHIFT
    if vin:
        if len(vin) != VIN_CHARACTERS:
            return None
        content |= HAS_VIN
        if size > 0:
            size = with_text(buffer, size, vin)
    if size < 0:
        return None
    with_number(buffer, 0, 1, (topic & TOPIC) << 1 | (1 if fact.backfill else 0))
    with_number(buffer, 1, 2, partition)
    with_number(buffer, 3, 8, offset)
    with_number(buffer, KIND_AT, 1, content)
    with_number(buffer, TIME_AT, 8, fact.time_us)
    with_number(buffer, 20, 4, source_code)
    with_number(buffer, 24, 4, dims_code)
    with_number(buffer, TEXT_BYTES_AT, 2, size - HEAD_BYTES)
    with_number(buffer, 30, 2, len(identity))
    with_number(buffer, 32, 2, len(extra))
    return <bytes> buffer[:size]


cdef Py_ssize_t with_text(unsigned char* buffer, Py_ssize_t at, object text) except -2:
    """Copies a text in UTF-8. Returns the position behind it, -1 if there is no room for it."""
    cdef Py_ssize_t size = 0
    cdef const char* encoded = PyUnicode_AsUTF8AndSize(text, &size)
    if encoded is NULL or not 0 <= at <= HEAD_BYTES + MOST_TEXT_BYTES - size:
        return -1
    memcpy(buffer + at, encoded, size)
    return at + size


cdef int with_number(unsigned char* buffer, Py_ssize_t at, Py_ssize_t size, long long number) except -1:
    """Writes a number in the head, little endian."""
    cdef Py_ssize_t byte
    if at < 0 or at + size > HEAD_BYTES:
        raise IndexError("outside the head")
    for byte in range(size):
        buffer[at + byte] = number >> 8 * byte & 0xFF
    return 0


# Ending a step ------------------------------------------------------------------------------------------------------


def part(list entries, dict known_violations, bint orders_known, list placed, list delivered):
    """As `steps.part`."""
    cdef list others = []
    cdef tuple entry
    cdef long long time_us, second_us
    for order_id, found in entries:
        entry = found
        if len(entry) == 2 and order_id not in known_violations:
            blob, fact = entry[0], entry[1]
            kind = fact.kind
            if blob is None:
                if kind == PLACED:
                    placed.append(fact)
                    continue
                if kind == DELIVERED and not orders_known:
                    delivered.append(fact)
                    continue
            elif kind == DELIVERED:
                time_us = fact.time_us
                if is_sole_placed(blob, time_us):
                    delivered.append(fact)
                    continue
        elif len(entry) == 3 and entry[0] is None and order_id not in known_violations:
            fact, second = entry[1], entry[2]
            time_us, second_us = fact.time_us, second.time_us
            if time_us > second_us:
                fact, second = second, fact
            if fact.kind == PLACED and second.kind == DELIVERED and time_us != second_us:
                placed.append(fact)
                delivered.append(second)
                continue
        others.append((order_id, entry))
    return others


cdef bint is_sole_placed(bytes blob, long long before_us) except -1:
    """Whether an order's only event is that it was placed, before a time."""
    if blob[KIND_AT] & KIND != PLACED:
        return False
    return HEAD_BYTES + number_in(blob, TEXT_BYTES_AT, 2) == len(blob) and number_in(blob, TIME_AT, 8) < before_us


cdef long long number_in(bytes blob, Py_ssize_t at, Py_ssize_t size) except? -1:
    cdef unsigned long long number = 0
    cdef Py_ssize_t byte
    for byte in range(size):
        number |= <unsigned long long> blob[at + byte] << 8 * byte
    return <long long> number


def add_own(list causes, long long shifted, dict quarters, dict codes, cell_of, code_of, new_sum):
    """As `steps.add_own`."""
    cdef long long time_us, quarter, key, known_quarter = -1, known_key = -1
    cdef dict cell = None, of_quarter = None, known_cell = None
    cdef list added = None
    for cause in causes:
        time_us = cause.time_us
        quarter = time_us // QUARTER_HOUR_US
        if quarter != known_quarter:
            of_quarter = quarters.get(quarter)
            known_quarter = quarter
        if of_quarter is None:
            # New, or none of its own because the clocks change within it.
            cell = cell_of(time_us)
            known_quarter = -1
        else:
            cell = of_quarter
        code = codes.get(cause.dims)
        if code is None:
            code = code_of(cause.dims)
        key = <long long> code | shifted | (1 if cause.backfill else 0)
        if cell is not known_cell or key != known_key:
            found = cell.get(key)
            if found is None:
                found = cell[key] = new_sum()
            added, known_cell, known_key = found.causes, cell, key
        added.append(cause)


def latest(list causes):
    """As `steps.latest`."""
    cdef long long time_us, last_us = -1
    cdef list found = []
    for cause in causes:
        time_us = cause.time_us
        if time_us > last_us:
            last_us = time_us
            found = [cause]
        elif time_us == last_us:
            found.append(cause)
    return found
