# cython: language_level=3, boundscheck=True, wraparound=False
"""The fast way from a record to a fact, compiled: it does what `schemas.fast` does, in one pass over the bytes.

Nearly all facts are stored and counted and never looked at, so none is made here: plain events are packed as the ledger stores them,
and `Events` makes the fact of one when it is accessed.

It accepts only plain events and returns `None` for everything else, which the authority then decides. An event is plain if

- its JSON is ASCII without backslashes and control characters, and all its keys are known and occur at most once;
- its values are non-empty strings, except `data`, `backfill`, and `voids`, an object of two such strings;
- its names, ids and order number neither begin nor end with a space.

Reads and writes are bounds-checked: a wrong index raises an exception instead of touching other memory.
"""

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING
from libc.string cimport memcmp, memcpy

from array import array
from sys import byteorder

from schemas import cloudevents
from schemas.authority import digest_of
from schemas.events import VIN_CHARACTERS
from schemas.facts import DELIVERIES as _DELIVERIES, ORDERS as _ORDERS, PRODUCTION as _PRODUCTION
from schemas.facts import Fact, family_of
from schemas.partitioner import homes as homes_of_keys
from schemas.pools import POOL_SIZE, intern_dims, intern_text

if byteorder != "little":
    raise ImportError("packed events are little endian")

include "_packed.pxi"

cdef extern from *:
    int __builtin_ctzll(unsigned long long) noexcept

cdef enum:
    SPECVERSION, ID, SOURCE_, TYPE, TIME, SUBJECT, DATACONTENTTYPE, DATASCHEMA, TRACEPARENT, TRACESTATE, BACKFILL, DATA
    ORDER_ID, VIN, MODEL, VARIANT, FACTORY, REGION, CHANNEL, REASON, VOIDS
    #: Of the voided event.
    VOIDED_SOURCE, VOIDED_ID
    FIELDS

#: The object being read: the event, its data, or the identity of the event that it voids.
cdef enum:
    IN_EVENT, IN_DATA, IN_VOIDS

#: For each kind of event, the data fields it must have and those it may have, as sets of bits.
cdef enum:
    ENVELOPE = 1 << SPECVERSION | 1 << ID | 1 << SOURCE_ | 1 << TYPE | 1 << TIME | 1 << DATA
    DIMS = 1 << MODEL | 1 << VARIANT | 1 << FACTORY | 1 << REGION
    OF_VOIDED = 1 << VOIDS | 1 << VOIDED_SOURCE | 1 << VOIDED_ID
    OF_DATA = 1 << ORDER_ID | 1 << VIN | DIMS | 1 << CHANNEL | 1 << REASON | OF_VOIDED
    PLACED_MUST = 1 << ORDER_ID | 1 << MODEL
    PLACED_MAY = 1 << ORDER_ID | DIMS | 1 << CHANNEL
    CANCELLED_MUST = 1 << ORDER_ID
    CANCELLED_MAY = 1 << ORDER_ID | 1 << REASON
    DELIVERED_MUST = 1 << ORDER_ID | 1 << VIN | 1 << MODEL
    DELIVERED_MAY = 1 << ORDER_ID | 1 << VIN | DIMS
    REVERSED_MUST = 1 << ORDER_ID | 1 << VIN
    REVERSED_MAY = 1 << ORDER_ID | 1 << VIN | 1 << REASON
    PRODUCED_MUST = 1 << VIN | 1 << MODEL
    PRODUCED_MAY = 1 << VIN | 1 << MODEL | 1 << VARIANT | 1 << FACTORY
    SCRAPPED_MUST = 1 << VIN
    SCRAPPED_MAY = 1 << VIN | 1 << REASON
    VOIDED_MUST = 1 << ORDER_ID | OF_VOIDED
    VOIDED_MAY = 1 << ORDER_ID | OF_VOIDED | 1 << REASON
    PRODUCTION_VOIDED_MUST = 1 << VIN | OF_VOIDED
    PRODUCTION_VOIDED_MAY = 1 << VIN | OF_VOIDED | 1 << REASON

#: The values of `schemas.facts.Kind`.
cdef enum:
    NO_KIND, PLACED, CANCELLED, DELIVERED, REVERSED, VOIDED, PRODUCED, SCRAPPED

cdef enum:
    LONGEST_ID = 256
    LONGEST_NAME = 64
    VIN_LENGTH = 17
    #: Four names with their separators.
    DIMS_BYTES = 4 * (LONGEST_NAME + 1)
    #: How many words are found without a dictionary, a power of two.
    RECENT = 1024
    #: Room for events is made for this many bytes each, and for more where they are longer.
    USUAL_EVENT_BYTES = 160
    FIRST_YEAR = 2000
    LAST_YEAR = 2100

#: The content of a packed event, and its text.
cdef enum:
    HAS_VIN = 0b1000
    HAS_VOIDS = 0b1_0000
    TOPIC = 0b111_1111
    LENGTH_DIGITS = 3
    #: More than the order's id, with its size, and the packed event can take together.
    MOST_EVENT_BYTES = 2048

#: If the value is this many bytes below the limit, key, headers and value together are certainly within it.
cdef Py_ssize_t ROOM_BYTES = 4096
cdef Py_ssize_t MAX_HEADER_BYTES = 2048
#: Timestamps (ms) beyond this are invalid; in microseconds it still fits into 64 bits.
cdef long long MOST_MS = 4_000_000_000_000_000

cdef int ORDERS = _ORDERS, DELIVERIES = _DELIVERIES, PRODUCTION = _PRODUCTION

#: Characters allowed in plain texts, and in VINs.
cdef unsigned long long ONES = 0x0101_0101_0101_0101
#: An odd number whose bits look random.
cdef unsigned long long MIXING = 0x9E37_79B9_7F4A_7C15
cdef unsigned char[256] IN_TEXT
cdef unsigned char[256] IN_VIN
cdef int _code
for _code in range(256):
    IN_TEXT[_code] = 0x20 <= _code < 0x7f and _code != c'"' and _code != c'\\'
    IN_VIN[_code] = _code < 0x80 and chr(_code) in VIN_CHARACTERS

#: The usual spellings of the content type of structured mode.
cdef frozenset STRUCTURED = frozenset((
    b"application/cloudevents+json",
    b"application/cloudevents+json; charset=UTF-8",
    b"application/cloudevents+json; charset=utf-8",
))


def plain_facts(records, *, int topic, long long future_limit_us, Py_ssize_t max_bytes):
    """The facts of the plain records among `records`, and `None` for each of the others, as `Events`."""
    cdef _Event event = _Event(topic, future_limit_us, max_bytes - ROOM_BYTES, Events(len(records)))
    cdef _Piece piece
    cdef Py_ssize_t index
    if type(records) is not Records:
        for record in records:
            event.take_record(record)
        return event.into
    for each in (<Records> records).pieces:
        piece = each
        for index in range(piece.first, piece.end):
            event.take_from(piece.batch, index)
    return event.into


def strays(Records records, unsigned int partitions, unsigned int number):
    """As `schemas.hotpath.strays`."""
    cdef list found = []
    cdef _Piece piece
    cdef Py_ssize_t index, start, end, place = 0
    cdef unsigned int home
    if partitions == 0:
        raise ZeroDivisionError("there are no partitions")
    for each in records.pieces:
        piece = each
        for index in range(piece.first, piece.end):
            start, end = piece.batch.place(index, KEY_AT), piece.batch.place(index, KEY_END)
            if start < 0:
                start = end = 0
            if is_spaced(piece.batch.body, start, end):
                home = homes_of_keys([piece.batch.body[start:end]], partitions)[0]
            else:
                home = (murmur2(piece.batch.body, start, end) & 0x7FFF_FFFF) % partitions
            if home != number:
                found.append((place, home))
            place += 1
    return found


cdef bint is_spaced(bytes text, Py_ssize_t start, Py_ssize_t end) except -1:
    """Whether a part of a text has spaces, or characters beyond ASCII, which may be spaces too."""
    cdef const unsigned char* these = checked(text, start, end)
    cdef Py_ssize_t at
    for at in range(start, end):
        if these[at] == c" " or these[at] >= 0x80:
            return True
    return False


cdef unsigned int murmur2(bytes text, Py_ssize_t start, Py_ssize_t end) except? 0:
    """The hash of a part of a text, as Kafka's Java clients compute it."""
    cdef const unsigned char* these = checked(text, start, end)
    cdef unsigned int m = 0x5BD1E995, h = 0x9747B28C ^ <unsigned int> (end - start), k
    cdef Py_ssize_t at = start
    while end - at >= 4:
        memcpy(&k, these + at, 4)
        k *= m
        k ^= k >> 24
        k *= m
        h *= m
        h ^= k
        at += 4
    if at < end:
        k = 0
        memcpy(&k, these + at, end - at)
        h ^= k
        h *= m
    h ^= h >> 13
    h *= m
    return h ^ h >> 15


@cython.final
cdef class _Event:
    """The event being read: which fields were found, and where."""

    #: Takes the plain events.
    cdef Events into
    cdef int family, topic
    cdef long long future_limit_us
    cdef Py_ssize_t longest
    #: The fields found, as a set of bits, and where each text starts and ends.
    cdef unsigned int seen
    cdef Py_ssize_t[FIELDS] starts
    cdef Py_ssize_t[FIELDS] ends
    cdef bint backfill
    #: The record's key, a part of a text, and its place in the log.
    cdef bytes key
    cdef Py_ssize_t key_at, key_end
    cdef long long timestamp, partition, offset
    #: Where the value ends.
    cdef Py_ssize_t end
    #: The text that contains each field: the value's or, in binary mode, a header's.
    cdef bytes of_id
    cdef bytes of_source
    cdef bytes of_type
    cdef bytes of_time

    def __cinit__(self, int topic, long long future_limit_us, Py_ssize_t longest, Events into):
        self.into = into
        self.family = family_of(topic)
        self.topic = topic
        self.future_limit_us = future_limit_us
        self.longest = longest

    cdef int take_record(self, object record) except -1:
        """Adds a record."""
        value = record.value
        key = record.key
        if type(value) is not bytes or type(key) is not bytes:
            return self.into.add_none()
        headers = record.headers
        self.key, self.key_at, self.key_end = <bytes> key, 0, len(<bytes> key)
        self.timestamp, self.partition, self.offset = record.timestamp, record.partition, record.offset
        self.begin(len(<bytes> value))
        if is_structured(headers):
            return self.structured(<bytes> value, 0)
        return self.binary(<bytes> value, 0) if self.read_headers(headers) else self.into.add_none()

    cdef int take_from(self, _RecordBatch batch, Py_ssize_t index) except -1:
        """Adds a record in the bytes of its batch."""
        cdef Py_ssize_t value_at = batch.place(index, VALUE_AT)
        cdef bytes body = batch.body
        self.key, self.key_at, self.key_end = body, batch.place(index, KEY_AT), batch.place(index, KEY_END)
        if value_at < 0 or self.key_at < 0:
            return self.into.add_none()
        self.timestamp, self.offset = batch.place(index, TIMESTAMP), batch.place(index, OFFSET)
        self.partition = batch.place(index, PARTITION)
        self.begin(batch.place(index, VALUE_END))
        if batch.place(index, HEADERS) > 0:
            if self.read_header_block(batch, index):
                return self.binary(body, value_at)
            self.begin(self.end)
            if not batch.has_structured_headers(index):
                return self.into.add_none()
        return self.structured(body, value_at)

    cdef void begin(self, Py_ssize_t end) noexcept:
        """Forgets the previous record; the value of this one ends at `end`."""
        self.seen = 0
        self.backfill = False
        self.end = end

    cdef int structured(self, bytes text, Py_ssize_t at) except -1:
        """Adds an event that is the value, from a position in a text to `self.end`."""
        if self.end - at <= self.longest and self.read_structured(text, at) and self.pack(text):
            return 0
        return self.into.add_none()

    cdef int binary(self, bytes text, Py_ssize_t at) except -1:
        """The same where the value is only the event's data and its attributes have been read."""
        if self.end - at <= self.longest and self.read_data(text, at) and self.pack(text):
            return 0
        return self.into.add_none()

    # Reading --------------------------------------------------------------------------------------------------------

    cdef bint read_structured(self, bytes value, Py_ssize_t start) except -1:
        """Reads an event in structured mode."""
        if not self.read_whole(value, start, IN_EVENT) or not self.has(SPECVERSION):
            return False
        if not is_word(value, self.starts[SPECVERSION], self.ends[SPECVERSION], b"1.0"):
            return False
        if self.has(DATACONTENTTYPE) and not is_word(
            value, self.starts[DATACONTENTTYPE], self.ends[DATACONTENTTYPE], b"application/json"
        ):
            return False
        self.of_id = self.of_source = self.of_type = self.of_time = value
        return True

    cdef bint read_data(self, bytes value, Py_ssize_t start) except -1:
        """Reads the data of an event in binary mode."""
        cdef bint is_plain = self.read_whole(value, start, IN_DATA)
        self.seen |= 1 << DATA
        return is_plain

    cdef bint read_headers(self, object headers) except -1:
        """Reads the attributes of an event in binary mode."""
        cdef bytes header
        for name, value in headers:
            header = name.encode()
            if type(value) is not bytes:
                return False
            if not self.take_header(header_field(checked(header, 0, len(header)), 0, len(header)), value, 0, len(<bytes> value)):
                return False
        return True

    cdef bint read_header_block(self, _RecordBatch batch, Py_ssize_t index) except -1:
        """The same from the headers' bytes in the record; also false if they are not headers of binary mode."""
        cdef long long count = batch.place(index, HEADERS), size
        cdef Py_ssize_t at = batch.place(index, HEADERS_AT), end = batch.place(index, HEADERS_END), field
        cdef bytes body = batch.body
        while count > 0:
            size = read_number(body, &at, end)
            field = header_field(checked(body, at, at + size), at, at + size)
            at += size
            size = read_number(body, &at, end)
            if size < 0 or not self.take_header(field, body, at, at + size):
                return False
            at += size
            count -= 1
        return self.has(SPECVERSION)

    cdef bint take_header(self, Py_ssize_t field, bytes text, Py_ssize_t start, Py_ssize_t end) except -1:
        """Takes an attribute's value, a part of a text; false if it is not plain."""
        if not 0 <= field < FIELDS or self.has(field):
            return False
        self.seen |= 1 << field
        if not is_tidy(text, start, end, LONGEST_ID) or text_end(checked(text, start, end), start, end) != end:
            return False
        self.starts[field] = start
        self.ends[field] = end
        if field == ID:
            self.of_id = text
        elif field == SOURCE_:
            self.of_source = text
        elif field == TYPE:
            self.of_type = text
        elif field == TIME:
            self.of_time = text
        elif field == SPECVERSION:
            return is_word(text, start, end, b"1.0")
        elif field == DATACONTENTTYPE:
            return is_word(text, start, end, b"application/json")
        elif field == BACKFILL:
            self.backfill = is_word(text, start, end, b"true")
            return self.backfill or is_word(text, start, end, b"false")
        return True

    cdef bint read_whole(self, bytes value, Py_ssize_t start, int which) except -1:
        """Reads an object from a position to the end of the value; whether it is plain, and nothing follows."""
        cdef const unsigned char* text = checked(value, start, self.end)
        cdef Py_ssize_t at = self.read_object(text, space_end(text, start, self.end), which)
        return at >= 0 and space_end(text, at, self.end) == self.end

    cdef Py_ssize_t read_object(self, const unsigned char* text, Py_ssize_t at, int which) except -2:
        """Reads an object that starts at a position. Returns the position after it, or -1 if it is not plain."""
        cdef Py_ssize_t end, field, last = self.end
        if not has_at(text, at, last, c"{"):
            return -1
        at += 1
        while True:
            at = space_end(text, at, last)
            if not has_at(text, at, last, c'"'):
                return -1
            end = text_end(text, at + 1, last)
            if not has_at(text, end, last, c'"'):
                return -1
            if which == IN_EVENT:
                field = envelope_field(text, at + 1, end)
            elif which == IN_DATA:
                field = data_field(text, at + 1, end)
            else:
                field = reference_field(text, at + 1, end)
            if not 0 <= field < FIELDS or self.has(field):
                return -1
            self.seen |= 1 << field
            at = space_end(text, end + 1, last)
            if not has_at(text, at, last, c":"):
                return -1
            at = space_end(text, at + 1, last)
            if field == DATA or field == VOIDS:
                at = self.read_object(text, at, IN_DATA if field == DATA else IN_VOIDS)
                if at < 0:
                    return -1
            elif field == BACKFILL:
                at = self.read_backfill(text, at)
                if at < 0:
                    return -1
            else:
                if not has_at(text, at, last, c'"'):
                    return -1
                end = text_end(text, at + 1, last)
                if end == at + 1 or not has_at(text, end, last, c'"'):
                    return -1
                self.starts[field] = at + 1
                self.ends[field] = end
                at = end + 1
            at = space_end(text, at, last)
            if has_at(text, at, last, c"}"):
                return at + 1
            if not has_at(text, at, last, c","):
                return -1
            at += 1

    cdef Py_ssize_t read_backfill(self, const unsigned char* text, Py_ssize_t at) noexcept:
        if self.end - at >= 4 and is_same(text + at, b"true", 4):
            self.backfill = True
            return at + 4
        return at + 5 if self.end - at >= 5 and is_same(text + at, b"false", 5) else -1

    cdef bint has(self, Py_ssize_t field) noexcept:
        return self.seen >> field & 1

    # Checking -------------------------------------------------------------------------------------------------------

    cdef bint pack(self, bytes value) except -1:
        """Adds what was read, packed, if it is plain."""
        cdef Py_ssize_t named_by
        cdef int kind = self.kind()
        cdef long long time_us, source, dims = 0
        cdef bytes digest
        cdef unsigned short order_bytes
        cdef Head head
        cdef Cursor room, text
        if kind == NO_KIND:
            return False
        named_by = VIN if self.family == PRODUCTION else ORDER_ID
        if not is_tidy(value, self.starts[named_by], self.ends[named_by], LONGEST_ID):
            return False
        if not is_key(value, self.starts[named_by], self.ends[named_by], self.key, self.key_at, self.key_end):
            return False
        if not is_tidy(self.of_id, self.starts[ID], self.ends[ID], LONGEST_ID):
            return False
        if self.has(VIN) and not is_vin(value, self.starts[VIN], self.ends[VIN]):
            return False
        time_us = micros_of(self.of_time, self.starts[TIME], self.ends[TIME])
        if time_us < 0:
            return False
        if not -MOST_MS < self.timestamp < MOST_MS or time_us > self.timestamp * 1000 + self.future_limit_us:
            return False
        if not 0 <= self.partition <= MOST_PARTITION or self.offset < 0:
            return False
        source = self.source()
        dims = self.dims(value)
        if source < 0 or dims < 0:
            return False
        if self.has(CHANNEL) and not is_tidy(value, self.starts[CHANNEL], self.ends[CHANNEL], LONGEST_NAME):
            return False
        if kind == VOIDED and not (
            is_tidy(value, self.starts[VOIDED_SOURCE], self.ends[VOIDED_SOURCE], LONGEST_ID)
            and is_tidy(value, self.starts[VOIDED_ID], self.ends[VOIDED_ID], LONGEST_ID)
        ):
            return False
        self.into.room_for(MOST_EVENT_BYTES, &room)
        order_bytes = self.ends[named_by] - self.starts[named_by]
        write(&room, &order_bytes, sizeof(order_bytes))
        write_part(&room, value, self.starts[named_by], self.ends[named_by])
        text = room
        take(&text, HEAD_BYTES)
        head.id_end = self.ends[ID] - self.starts[ID]
        write_part(&text, self.of_id, self.starts[ID], self.ends[ID])
        head.extra = 0
        if self.has(CHANNEL):
            head.extra = self.ends[CHANNEL] - self.starts[CHANNEL]
            write_part(&text, value, self.starts[CHANNEL], self.ends[CHANNEL])
        elif self.has(REASON):
            digest = digest_of(value[self.starts[REASON] : self.ends[REASON]].decode("ascii")).encode("ascii")
            head.extra = len(digest)
            write_part(&text, digest, 0, len(digest))
        head.content = kind | self.topic >> TOPIC_BITS << OF_PRODUCTION_SHIFT
        if self.has(VIN):
            head.content |= HAS_VIN
            write_part(&text, value, self.starts[VIN], self.ends[VIN])
        if kind == VOIDED:
            head.content |= HAS_VOIDS
            write_part(&text, b"%03d" % (self.ends[VOIDED_SOURCE] - self.starts[VOIDED_SOURCE]), 0, LENGTH_DIGITS)
            write_part(&text, value, self.starts[VOIDED_SOURCE], self.ends[VOIDED_SOURCE])
            write_part(&text, value, self.starts[VOIDED_ID], self.ends[VOIDED_ID])
        head.text_bytes = text.at - room.at - HEAD_BYTES
        head.origin = (self.topic & TOPIC) << 1 | (1 if self.backfill else 0)
        head.partition = self.partition
        head.offset = self.offset
        head.time_us = time_us
        head.source = source
        head.dims = dims
        write(&room, &head, HEAD_BYTES)
        self.into.add_packed(&text)
        return True

    cdef int kind(self) except -1:
        """The kind that the type names, if its topic can carry it and the data has all required and only allowed fields."""
        cdef bytes text = self.of_type
        cdef Py_ssize_t start = self.starts[TYPE], end = self.ends[TYPE]
        if self.seen & ENVELOPE != ENVELOPE:
            return NO_KIND
        if self.family != PRODUCTION and is_word(text, start, end, b"event.voided.v1"):
            return VOIDED if self.has_fields(VOIDED_MUST, VOIDED_MAY) else NO_KIND
        if self.family == ORDERS:
            if is_word(text, start, end, b"order.placed.v1"):
                return PLACED if self.has_fields(PLACED_MUST, PLACED_MAY) else NO_KIND
            if is_word(text, start, end, b"order.cancelled.v1"):
                return CANCELLED if self.has_fields(CANCELLED_MUST, CANCELLED_MAY) else NO_KIND
        elif self.family == DELIVERIES:
            if is_word(text, start, end, b"vehicle.delivered.v1"):
                return DELIVERED if self.has_fields(DELIVERED_MUST, DELIVERED_MAY) else NO_KIND
            if is_word(text, start, end, b"delivery.reversed.v1"):
                return REVERSED if self.has_fields(REVERSED_MUST, REVERSED_MAY) else NO_KIND
        elif self.family == PRODUCTION:
            if is_word(text, start, end, b"vehicle.produced.v1"):
                return PRODUCED if self.has_fields(PRODUCED_MUST, PRODUCED_MAY) else NO_KIND
            if is_word(text, start, end, b"production.reversed.v1"):
                return SCRAPPED if self.has_fields(SCRAPPED_MUST, SCRAPPED_MAY) else NO_KIND
            if is_word(text, start, end, b"production.voided.v1"):
                return VOIDED if self.has_fields(PRODUCTION_VOIDED_MUST, PRODUCTION_VOIDED_MAY) else NO_KIND
        return NO_KIND

    cdef bint has_fields(self, unsigned int must, unsigned int may) noexcept:
        cdef unsigned int found = self.seen & OF_DATA
        return found & must == must and found & ~may == 0

    cdef long long source(self) except -2:
        """The number of the source, or -1 if it is not plain."""
        cdef Py_ssize_t start = self.starts[SOURCE_], end = self.ends[SOURCE_]
        cdef unsigned char[LONGEST_ID] text
        cdef Cursor room
        if not is_tidy(self.of_source, start, end, LONGEST_ID):
            return -1
        room.at, room.end = text, text + LONGEST_ID
        write_part(&room, self.of_source, start, end)
        return self.into.number(text, room.at - text)

    cdef long long dims(self, bytes value) except -2:
        """The number of the dimensions, or -1 if they are not plain."""
        cdef unsigned char[DIMS_BYTES] joined
        cdef Py_ssize_t field
        cdef Cursor room
        room.at, room.end = joined, joined + DIMS_BYTES
        for field in range(MODEL, REGION + 1):
            if self.has(field):
                if not is_tidy(value, self.starts[field], self.ends[field], LONGEST_NAME):
                    return -1
                write_part(&room, value, self.starts[field], self.ends[field])
            # Plain texts have no line breaks.
            take(&room, 1)[0] = c"\n"
        return self.into.number(joined, room.at - joined)


# Events that were read ------------------------------------------------------------------------------------------------

cdef long long MOST_PARTITION = 0xFFFF


@cython.final
cdef class _Words:
    """Sources, and dimensions joined by line breaks, as written in events: each has a number, and a pooled object."""

    cdef list words
    cdef dict numbers
    #: The numbers of some, by a hash; and their texts, by number.
    cdef long long[RECENT] recent
    cdef list texts

    def __cinit__(self):
        self.words, self.texts, self.numbers = [], [], {}
        for place in range(RECENT):
            self.recent[place] = -1

    cdef long long number(self, const unsigned char* text, Py_ssize_t size) except -1:
        """The number of a text of at least one byte."""
        cdef Py_ssize_t place = place_of(text, size)
        cdef long long number = self.recent[place]
        cdef bytes known
        if number >= 0:
            known = self.texts[number]
            if len(known) == size and memcmp(PyBytes_AS_STRING(known), text, size) == 0:
                return number
        known = (<const char*> text)[:size]
        found = self.numbers.get(known)
        if found is None:
            word = known.decode("ascii")
            found = self.numbers[known] = len(self.words)
            self.texts.append(known)
            self.words.append(intern_dims(tuple(word.split("\n")[:4])) if "\n" in word else intern_text(word))
        self.recent[place] = found
        return found


cdef _Words known_words = _Words()


cdef inline Py_ssize_t place_of(const unsigned char* text, Py_ssize_t size) noexcept:
    """Where the number of a text is kept, if it is among the recent ones."""
    cdef unsigned long long mixed = <unsigned long long> size, eight
    cdef Py_ssize_t at = 0
    while at < size:
        eight = 0
        memcpy(&eight, text + at, min(size - at, 8))
        mixed = (mixed ^ eight) * MIXING
        mixed ^= mixed >> 32
        at += 8
    return <Py_ssize_t> (mixed & RECENT - 1)


@cython.final
cdef class Events:
    """What records hold, in order: a sequence of facts, which are made when they are accessed, or of what was put instead.

    Attributes:
        packed: The plain events: of each the size of its order's id (2 bytes), the id, and the event as in the changelog, with
            the numbers of source and dimensions where that has codes.
        starts: Where the one of each record begins, or -1.
        words: Sources and dimensions by number; it grows.
        others: What was put in the place of records that are not plain.
    """

    cdef readonly bytearray packed
    cdef readonly object starts
    cdef readonly dict others
    cdef _Words known
    cdef long long[::1] places
    cdef Py_ssize_t size, filled, length

    def __init__(self, Py_ssize_t most):
        """No records yet, and room for `most`."""
        global known_words
        if len(known_words.words) >= POOL_SIZE:
            known_words = _Words()
        self.known = known_words
        self.starts = self.places = array("q", bytes(8 * most))
        self.size = USUAL_EVENT_BYTES * most
        self.packed = bytearray(self.size)
        self.others = {}

    @property
    def words(self):
        return self.known.words

    def __len__(self):
        return self.length

    def __getitem__(self, place):
        cdef Py_ssize_t index
        if isinstance(place, slice):
            return self.picked(range(*place.indices(self.length)))
        index = place + self.length if place < 0 else place
        if not 0 <= index < self.length:
            raise IndexError("there is no such event")
        return self.others.get(index) if self.places[index] < 0 else self.fact(self.places[index])

    def __eq__(self, others):
        return list(self) == list(others)

    def put(self, place, outcome):
        """Puts a fact or a rejection in the place of a record that is not plain."""
        self.others[place] = outcome

    def not_plain(self):
        """The places of the records that are not plain."""
        return [index for index in range(self.length) if self.places[index] < 0]

    def picked(self, places):
        """Some of them, by their places."""
        cdef Events some = Events.__new__(Events)
        cdef Py_ssize_t index = 0, place
        some.known, some.packed, some.size, some.filled = self.known, self.packed, self.size, self.filled
        some.length = len(places)
        some.starts = some.places = array("q", bytes(8 * some.length))
        some.others = {}
        for place in places:
            some.places[index] = self.places[place]
            if self.places[place] < 0:
                some.others[index] = self.others.get(place)
            index += 1
        return some

    cdef int add_none(self) except -1:
        """Adds a record that is not plain."""
        self.places[self.length] = -1
        self.length += 1
        return 0

    cdef int room_for(self, Py_ssize_t size, Cursor* room) except -1:
        """Sets a cursor to free memory."""
        if self.size - self.filled < size:
            self.size = 2 * (self.filled + size)
            larger = bytearray(self.size)
            larger[: self.filled] = self.packed[: self.filled]
            self.packed = larger
        room.at = <unsigned char*> PyByteArray_AS_STRING(self.packed) + self.filled
        room.end = room.at + size
        return 0

    cdef int add_packed(self, const Cursor* room) except -1:
        """Adds the event that ends where a cursor stopped writing."""
        self.places[self.length] = self.filled
        self.filled = room.at - <unsigned char*> PyByteArray_AS_STRING(self.packed)
        self.length += 1
        return 0

    cdef inline long long number(self, const unsigned char* text, Py_ssize_t size) except -1:
        return self.known.number(text, size)

    cdef object fact(self, Py_ssize_t start):
        """The event that starts at a position."""
        cdef Cursor cursor
        cdef unsigned short size
        cdef Head head
        cdef unsigned char* order_id
        cursor.at = <unsigned char*> PyByteArray_AS_STRING(self.packed) + start
        cursor.end = cursor.at + self.filled - start
        memcpy(&size, take(&cursor, sizeof(size)), sizeof(size))
        order_id = take(&cursor, size)
        memcpy(&head, take(&cursor, HEAD_BYTES), HEAD_BYTES)
        return fact_of(
            (<const char*> order_id)[:size].decode("ascii"),
            &head,
            (<const char*> take(&cursor, head.text_bytes))[: head.text_bytes].decode("ascii"),
            self.known.words,
        )


def unpack(str order_id not None, bytes blob not None, words):
    """As `streams.domain.orders.packing.unpack`."""
    cdef list facts = []
    cdef Py_ssize_t at = 0
    while at < len(blob):
        facts.append(unpack_next(order_id, blob, &at, words))
    return facts


def unpack_at(str order_id not None, bytes blob not None, Py_ssize_t at, words):
    """As `streams.domain.orders.packing.unpack_at`."""
    return unpack_next(order_id, blob, &at, words)


cdef object unpack_next(order_id, bytes blob, Py_ssize_t* at, words):
    """The event that begins at a position, which moves behind it."""
    cdef Cursor cursor
    cdef Head head
    if not 0 <= at[0] <= len(blob):
        raise IndexError("beyond the end")
    cursor.at = <unsigned char*> PyBytes_AS_STRING(blob) + at[0]
    cursor.end = cursor.at + len(blob) - at[0]
    memcpy(&head, take(&cursor, HEAD_BYTES), HEAD_BYTES)
    text = (<const char*> take(&cursor, head.text_bytes))[: head.text_bytes].decode("utf-8")
    at[0] += HEAD_BYTES + head.text_bytes
    return fact_of(order_id, &head, text, words)


cdef object fact_of(order_id, const Head* head, str text, words):
    """The fact of a packed event."""
    cdef Py_ssize_t extra_end = head.id_end + head.extra, vin_end = extra_end, source_end
    voids = None
    if head.content & HAS_VIN:
        vin_end += VIN_LENGTH
    if head.content & HAS_VOIDS:
        rest = text[vin_end:]
        source_end = LENGTH_DIGITS + int(rest[:LENGTH_DIGITS])
        voids = rest[LENGTH_DIGITS:source_end], rest[source_end:]
    return Fact(
        head.content & KIND,
        order_id,
        words[head.source],
        text[: head.id_end],
        <long long> head.time_us,
        text[extra_end:vin_end],
        words[head.dims],
        text[head.id_end : extra_end],
        voids,
        head.origin & 1 == 1,
        topic_of(head),
        head.partition,
        head.offset,
    )


cdef inline int write_part(Cursor* cursor, bytes text, Py_ssize_t start, Py_ssize_t end) except -1:
    """Writes a part of a text."""
    if not 0 <= start <= end <= len(text):
        raise IndexError("no part of the text")
    return write(cursor, PyBytes_AS_STRING(text) + start, end - start)


# Records as they were fetched -----------------------------------------------------------------------------------------

#: Positions and numbers kept for each record of a batch; -1 for a missing key or value.
cdef enum:
    KEY_AT, KEY_END, VALUE_AT, VALUE_END, HEADERS, HEADERS_AT, HEADERS_END, PARTITION, OFFSET, TIMESTAMP
    COLUMNS
    #: The lengths, the deltas, the attributes and the number of headers.
    LEAST_RECORD_BYTES = 7
    #: Numbers of so many digits fit into 64 bits.
    MOST_DIGITS = 18
    #: Longer headers are not remembered.
    LONGEST_KNOWN = 256

#: Bytes of headers that clearly belong to structured mode.
cdef set known_headers = set()


@cython.final
cdef class _RecordBatch:
    """The decompressed records of a batch, and where each is."""

    cdef bytes body
    cdef long long[::1] places
    cdef int timestamp_type

    cdef inline long long place(self, Py_ssize_t index, Py_ssize_t column) except? -1:
        return self.places[index * COLUMNS + column]

    cdef bint has_structured_headers(self, Py_ssize_t index) except -1:
        """Whether the record's headers, at least one, clearly belong to structured mode."""
        cdef Py_ssize_t at = self.place(index, HEADERS_AT), end = self.place(index, HEADERS_END)
        if end - at > LONGEST_KNOWN:
            return is_structured(self.headers(index))
        block = self.body[at:end]
        if block in known_headers:
            return True
        if not is_structured(self.headers(index)):
            return False
        if len(known_headers) < POOL_SIZE:
            known_headers.add(block)
        return True

    cdef tuple headers(self, Py_ssize_t index):
        cdef Py_ssize_t at = self.place(index, HEADERS_AT), end = self.place(index, HEADERS_END)
        cdef long long count = self.place(index, HEADERS), size
        cdef list found = []
        while count > 0:
            size = read_number(self.body, &at, end)
            name = self.body[at : at + size].decode("utf-8")
            at += size
            size = read_number(self.body, &at, end)
            found.append((name, None if size < 0 else self.body[at : at + size]))
            at += max(size, 0)
            count -= 1
        return tuple(found)

    cdef object record(self, Py_ssize_t index, Records records):
        cdef Py_ssize_t key_at = self.place(index, KEY_AT), value_at = self.place(index, VALUE_AT)
        return records.make(
            records.topic,
            self.place(index, PARTITION),
            self.place(index, OFFSET),
            self.place(index, TIMESTAMP),
            self.timestamp_type,
            None if key_at < 0 else self.body[key_at : self.place(index, KEY_END)],
            None if value_at < 0 else self.body[value_at : self.place(index, VALUE_END)],
            self.headers(index),
        )


@cython.final
cdef class _Piece:
    """Consecutive records of a batch."""

    cdef _RecordBatch batch
    cdef Py_ssize_t first
    cdef Py_ssize_t end


@cython.final
cdef class Records:
    """Records of a partition in their fetched bytes: a sequence whose elements are made when they are accessed.

    Args:
        topic: Its name.
        partition: Its number.
        make: Makes a record of topic, partition, offset, timestamp, its type, key, value and headers.
    """

    cdef readonly object topic
    cdef readonly long long partition
    cdef object make
    cdef list pieces
    cdef Py_ssize_t length

    def __init__(self, topic, long long partition, make):
        self.topic = topic
        self.partition = partition
        self.make = make
        self.pieces = []
        self.length = 0

    def add(
        self,
        bytes body,
        *,
        Py_ssize_t count,
        long long base_offset,
        long long first_timestamp,
        append_timestamp,
        long long since,
    ):
        """Adds the records of a batch, starting at an offset.

        Args:
            body: The records, decompressed.
            count: How many there are.
            base_offset: The offset that their offset deltas are added to.
            first_timestamp: The timestamp that their timestamp deltas are added to.
            append_timestamp: When the batch was appended, if it has that one time for all its records; else None.
            since: Records with lower offsets are left out.

        Raises:
            ValueError: The bytes are not that many valid records.
        """
        cdef _Piece piece = _Piece()
        piece.batch = read_batch(body, count, self.partition, base_offset, first_timestamp, append_timestamp)
        piece.end = count
        while piece.first < count and piece.batch.place(piece.first, OFFSET) < since:
            piece.first += 1
        self.append(piece)

    def unwrapped(self, bytes name not None):
        """Forwarded records as they were published, in runs of records of the same topic.

        Args:
            name: Of the header that has their coordinates there.

        Returns:
            Topic number, records and their partitions of each run; `None` if the last header of a record is none that
            `streams.kafka.forwarding` writes.
        """
        cdef list runs = []
        cdef Records run = None
        cdef list partitions = None
        cdef _Piece piece, part = None
        cdef _RecordBatch batch
        cdef Py_ssize_t index
        cdef long long topic = 0, known_topic = -1
        for each in self.pieces:
            piece = each
            batch = _RecordBatch()
            batch.body, batch.timestamp_type = piece.batch.body, 1
            batch.places = array("q", bytes(8 * COLUMNS * (piece.end - piece.first)))
            batch.places[:] = piece.batch.places[piece.first * COLUMNS : piece.end * COLUMNS]
            part = None
            for index in range(piece.end - piece.first):
                if not unwrap(batch, index, name, &topic):
                    return None
                if topic != known_topic or part is None:
                    if topic != known_topic:
                        run, partitions = Records(self.topic, self.partition, self.make), []
                        runs.append((topic, run, partitions))
                        known_topic = topic
                    part = _Piece()
                    part.batch, part.first = batch, index
                    run.pieces.append(part)
                part.end = index + 1
                run.length += 1
                partitions.append(batch.place(index, PARTITION))
        return runs

    def extend(self, Records others):
        """Adds the records that follow these."""
        for each in others.pieces:
            self.append(each)

    cdef append(self, _Piece piece):
        if piece.first < piece.end:
            self.pieces.append(piece)
            self.length += piece.end - piece.first

    def __len__(self):
        return self.length

    def __getitem__(self, place):
        cdef _Piece piece
        cdef Py_ssize_t index
        if isinstance(place, slice):
            start, stop, step = place.indices(self.length)
            return self.part(start, stop, step)
        index = place
        if index < 0:
            index += self.length
        if index >= 0:
            for each in self.pieces:
                piece = each
                if index < piece.end - piece.first:
                    return piece.batch.record(piece.first + index, self)
                index -= piece.end - piece.first
        raise IndexError("there is no such record")

    cdef object part(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t step):
        cdef Records some = Records(self.topic, self.partition, self.make)
        cdef _Piece piece, cut
        cdef Py_ssize_t before = 0
        if step != 1:
            return [self[index] for index in range(start, stop, step)]
        for each in self.pieces:
            piece = each
            cut = _Piece()
            cut.batch = piece.batch
            cut.first = piece.first + max(start - before, 0)
            cut.end = min(piece.end, piece.first + stop - before)
            some.append(cut)
            before += piece.end - piece.first
        return some

    def __iter__(self):
        cdef _Piece piece
        cdef Py_ssize_t index
        for each in self.pieces:
            piece = each
            for index in range(piece.first, piece.end):
                yield piece.batch.record(index, self)

    def pairs(self):
        """Key and value of each record.

        Raises:
            ValueError: One has no key or no value.
        """
        cdef list found = []
        cdef _Piece piece
        cdef _RecordBatch batch
        cdef Py_ssize_t index, key_at, value_at
        for each in self.pieces:
            piece = each
            batch = piece.batch
            for index in range(piece.first, piece.end):
                key_at, value_at = batch.place(index, KEY_AT), batch.place(index, VALUE_AT)
                if key_at < 0 or value_at < 0:
                    raise ValueError(
                        f"{self.topic}-{self.partition}@{batch.place(index, OFFSET)} has no {'key' if key_at < 0 else 'value'}"
                    )
                found.append(
                    (batch.body[key_at : batch.place(index, KEY_END)], batch.body[value_at : batch.place(index, VALUE_END)])
                )
        return found

    @property
    def size(self):
        """Bytes of the records, decompressed."""
        cdef Py_ssize_t size = 0
        cdef _Piece piece
        for each in self.pieces:
            piece = each
            size += piece.batch.place(piece.end - 1, HEADERS_END)
            if piece.first:
                size -= piece.batch.place(piece.first - 1, HEADERS_END)
        return size

    @property
    def are_dated(self):
        """Whether all timestamps are append times."""
        for each in self.pieces:
            if (<_Piece> each).batch.timestamp_type != 1:
                return False
        return True


cdef bint unwrap(_RecordBatch batch, Py_ssize_t index, bytes name, long long* topic) except -1:
    """Gives a forwarded record the coordinates in its last header, which is left out, if that is an origin."""
    cdef Py_ssize_t at = batch.place(index, HEADERS_AT), end = batch.place(index, HEADERS_END), last = at
    cdef Py_ssize_t row = index * COLUMNS, number
    cdef long long count = batch.place(index, HEADERS), size
    cdef long long[4] origin
    cdef bytes body = batch.body
    if count < 1:
        return False
    while count > 1:
        size = read_number(body, &at, end)
        at += size
        size = read_number(body, &at, end)
        at += max(size, 0)
        count -= 1
    last = at
    size = read_number(body, &at, end)
    if not is_word(body, at, at + size, name):
        return False
    at += size
    read_number(body, &at, end)
    for number in range(4):
        origin[number] = read_decimal(body, &at, end)
        if origin[number] < 0:
            return False
    if at != end:
        return False
    topic[0], batch.places[row + PARTITION] = origin[0], origin[1]
    batch.places[row + OFFSET], batch.places[row + TIMESTAMP] = origin[2], origin[3]
    batch.places[row + HEADERS] -= 1
    batch.places[row + HEADERS_END] = last
    return True


cdef long long read_decimal(bytes body, Py_ssize_t* at, Py_ssize_t end) except -2:
    """Reads a number in decimal digits and moves the position past it and a space behind it; -1 for anything else."""
    cdef const unsigned char* text = checked(body, at[0], end)
    cdef long long number = 0
    cdef Py_ssize_t start = at[0]
    while at[0] < end and c"0" <= text[at[0]] <= c"9":
        if at[0] - start >= MOST_DIGITS:
            return -1
        number = number * 10 + text[at[0]] - c"0"
        at[0] += 1
    if at[0] == start:
        return -1
    if at[0] < end:
        if text[at[0]] != c" ":
            return -1
        at[0] += 1
    return number


cdef _RecordBatch read_batch(
    bytes body,
    Py_ssize_t count,
    long long partition,
    long long base_offset,
    long long first_timestamp,
    object append_timestamp,
):
    """Finds the records of a batch, and checks their structure."""
    cdef _RecordBatch batch = _RecordBatch()
    cdef Py_ssize_t index, at = 0, end, place
    cdef long long length, delta
    cdef bint is_append_time = append_timestamp is not None
    cdef long long timestamp = append_timestamp if is_append_time else 0
    if not 0 <= count <= len(body) // LEAST_RECORD_BYTES:
        raise ValueError(f"a batch of {len(body)} bytes cannot have {count} records")
    batch.body, batch.timestamp_type = body, is_append_time
    batch.places = array("q", bytes(8 * COLUMNS * count))
    for index in range(count):
        place = index * COLUMNS
        length = read_number(body, &at, len(body))
        if not 0 <= length <= len(body) - at:
            raise ValueError("a record goes beyond its batch")
        end = at + length
        if at >= end:
            raise ValueError("a record has no attributes")
        at += 1
        delta = read_number(body, &at, end)
        batch.places[place + TIMESTAMP] = timestamp if is_append_time else first_timestamp + delta
        batch.places[place + OFFSET] = base_offset + read_number(body, &at, end)
        read_part(body, &at, end, batch.places, place + KEY_AT)
        read_part(body, &at, end, batch.places, place + VALUE_AT)
        batch.places[place + PARTITION] = partition
        batch.places[place + HEADERS] = read_number(body, &at, end)
        batch.places[place + HEADERS_AT] = at
        batch.places[place + HEADERS_END] = end
        skip_headers(body, &at, end, batch.places[place + HEADERS])
        if at != end:
            raise ValueError("a record does not end where it should")
    if at != len(body):
        raise ValueError("there is more in a batch than its records")
    return batch


cdef int read_part(bytes body, Py_ssize_t* at, Py_ssize_t end, long long[::1] places, Py_ssize_t column) except -1:
    """Stores where a key or value begins and ends."""
    cdef long long size = read_number(body, at, end)
    if size > end - at[0]:
        raise ValueError("a key or value goes beyond its record")
    if size < 0:
        places[column] = places[column + 1] = -1
    else:
        places[column] = at[0]
        at[0] += size
        places[column + 1] = at[0]
    return 0


cdef int skip_headers(bytes body, Py_ssize_t* at, Py_ssize_t end, long long count) except -1:
    """Moves past so many headers, and checks them."""
    cdef long long size
    if count < 0:
        raise ValueError("a record has fewer than no headers")
    while count > 0:
        size = read_number(body, at, end)
        if not 0 <= size <= end - at[0]:
            raise ValueError("the name of a header goes beyond its record")
        if not is_ascii(checked(body, at[0], at[0] + size), at[0], at[0] + size):
            body[at[0] : at[0] + size].decode("utf-8")
        at[0] += size
        size = read_number(body, at, end)
        if size > end - at[0]:
            raise ValueError("a header goes beyond its record")
        at[0] += max(size, 0)
        count -= 1
    return 0


cdef long long read_number(bytes body, Py_ssize_t* at, Py_ssize_t end) except? -1:
    """Reads a zigzag varint and moves the position past it."""
    cdef unsigned long long number = 0
    cdef int shift = 0
    cdef unsigned char byte
    cdef const unsigned char* these = checked(body, at[0], end)
    while at[0] < end and shift < 64:
        byte = these[at[0]]
        at[0] += 1
        number |= <unsigned long long> (byte & 0x7F) << shift
        if byte < 0x80:
            return <long long> (number >> 1) ^ -<long long> (number & 1)
        shift += 7
    raise ValueError("a number in a record has no end")


# Modes --------------------------------------------------------------------------------------------------------------


cdef bint is_structured(object headers) except -1:
    """Whether headers are small and clearly belong to structured mode."""
    cdef Py_ssize_t size = 0
    if len(headers) == 0:
        return True
    if len(headers) == 1:
        ((name, value),) = headers
        if name == "content-type" and value in STRUCTURED:
            return True
    for name, value in headers:
        if name == "ce_specversion":
            return False
        size += 4 * len(name) + (0 if value is None else len(value))
    if size > MAX_HEADER_BYTES:
        return False
    try:
        return cloudevents.is_structured(headers)
    except (cloudevents.HeaderError, cloudevents.BatchError):
        return False


# Texts --------------------------------------------------------------------------------------------------------------


cdef inline const unsigned char* checked(bytes text, Py_ssize_t start, Py_ssize_t end) except NULL:
    """A text, of which the positions from `start` to before `end` may be read."""
    if not 0 <= start <= end <= len(text):
        raise IndexError("no part of the text")
    return <const unsigned char*> PyBytes_AS_STRING(text)


cdef inline Py_ssize_t space_end(const unsigned char* text, Py_ssize_t at, Py_ssize_t end) noexcept:
    """The position after any white space at a position."""
    while at < end and (text[at] == c" " or text[at] == c"\n" or text[at] == c"\t" or text[at] == c"\r"):
        at += 1
    return at


cdef inline Py_ssize_t text_end(const unsigned char* text, Py_ssize_t at, Py_ssize_t end) noexcept:
    """The position of the first character, from a position on, that plain texts cannot have."""
    cdef unsigned long long eight, found
    while end - at >= 8:
        memcpy(&eight, text + at, 8)
        found = odd_ones(eight)
        if found:
            return at + (__builtin_ctzll(found) >> 3)
        at += 8
    while at < end and IN_TEXT[text[at]]:
        at += 1
    return at


cdef inline unsigned long long odd_ones(unsigned long long eight) noexcept:
    """Which of eight characters plain texts cannot have, as `IN_TEXT` for all at once.

    The highest bit of the first such character is the lowest bit that is set, those of later characters may be wrong.
    """
    cdef unsigned long long quote = eight ^ ONES * c'"', backslash = eight ^ ONES * c"\\", delete = eight ^ ONES * 0x7F
    cdef unsigned long long low = eight - ONES * 0x20
    return (
        eight | low & ~eight | (quote - ONES) & ~quote | (backslash - ONES) & ~backslash | (delete - ONES) & ~delete
    ) & ONES * 0x80


cdef inline bint is_ascii(const unsigned char* text, Py_ssize_t at, Py_ssize_t end) noexcept:
    while at < end:
        if text[at] >= 0x80:
            return False
        at += 1
    return True


cdef inline bint has_at(const unsigned char* text, Py_ssize_t at, Py_ssize_t end, unsigned char character) noexcept:
    return at < end and text[at] == character


cdef inline bint is_same(const unsigned char* text, const char* word, Py_ssize_t size) noexcept:
    """Whether so many characters of a text are those of a word."""
    return memcmp(text, word, size) == 0


cdef inline bint is_word(bytes text, Py_ssize_t start, Py_ssize_t end, bytes word) except -1:
    """Whether a part of a text equals a word."""
    return end - start == len(word) and is_same(checked(text, start, end) + start, PyBytes_AS_STRING(word), len(word))


cdef inline bint is_key(
    bytes text, Py_ssize_t start, Py_ssize_t end, bytes other, Py_ssize_t other_start, Py_ssize_t other_end
) except -1:
    """Whether parts of two texts are equal."""
    cdef const unsigned char* these = checked(text, start, end)
    cdef const unsigned char* others = checked(other, other_start, other_end)
    return end - start == other_end - other_start and memcmp(these + start, others + other_start, end - start) == 0


cdef inline bint is_tidy(bytes text, Py_ssize_t start, Py_ssize_t end, Py_ssize_t longest) except -1:
    """Whether a part of a text has an allowed length and neither begins nor ends with a space."""
    cdef const unsigned char* these = checked(text, start, end)
    return 0 < end - start <= longest and these[start] != c" " and these[end - 1] != c" "


cdef bint is_vin(bytes text, Py_ssize_t start, Py_ssize_t end) except -1:
    cdef const unsigned char* these = checked(text, start, end)
    cdef Py_ssize_t at
    if end - start != VIN_LENGTH:
        return False
    for at in range(start, end):
        if not IN_VIN[these[at]]:
            return False
    return True


cdef Py_ssize_t envelope_field(const unsigned char* text, Py_ssize_t start, Py_ssize_t end) noexcept:
    """The attribute with a name, or -1 if there is none."""
    cdef Py_ssize_t length = end - start
    if length == 2:
        return ID if is_same(text + start, b"id", 2) else -1
    if length == 4:
        if is_same(text + start, b"type", 4):
            return TYPE
        if is_same(text + start, b"time", 4):
            return TIME
        return DATA if is_same(text + start, b"data", 4) else -1
    if length == 6:
        return SOURCE_ if is_same(text + start, b"source", 6) else -1
    if length == 7:
        return SUBJECT if is_same(text + start, b"subject", 7) else -1
    if length == 8:
        return BACKFILL if is_same(text + start, b"backfill", 8) else -1
    if length == 10:
        if is_same(text + start, b"dataschema", 10):
            return DATASCHEMA
        return TRACESTATE if is_same(text + start, b"tracestate", 10) else -1
    if length == 11:
        if is_same(text + start, b"specversion", 11):
            return SPECVERSION
        return TRACEPARENT if is_same(text + start, b"traceparent", 11) else -1
    if length == 15:
        return DATACONTENTTYPE if is_same(text + start, b"datacontenttype", 15) else -1
    return -1


cdef Py_ssize_t header_field(const unsigned char* text, Py_ssize_t start, Py_ssize_t end) noexcept:
    """The attribute that a header with this name contains, or -1 if it contains none."""
    cdef Py_ssize_t field
    if end - start == 12 and is_same(text + start, b"content-type", 12):
        return DATACONTENTTYPE
    if end - start < 3 or not is_same(text + start, b"ce_", 3):
        return -1
    field = envelope_field(text, start + 3, end)
    return -1 if field == DATA or field == DATACONTENTTYPE else field


cdef Py_ssize_t data_field(const unsigned char* text, Py_ssize_t start, Py_ssize_t end) noexcept:
    """The data field with a name, or -1 if there is none."""
    cdef Py_ssize_t length = end - start
    if length == 3:
        return VIN if is_same(text + start, b"vin", 3) else -1
    if length == 5:
        if is_same(text + start, b"model", 5):
            return MODEL
        return VOIDS if is_same(text + start, b"voids", 5) else -1
    if length == 6:
        if is_same(text + start, b"region", 6):
            return REGION
        return REASON if is_same(text + start, b"reason", 6) else -1
    if length == 7:
        if is_same(text + start, b"variant", 7):
            return VARIANT
        if is_same(text + start, b"factory", 7):
            return FACTORY
        return CHANNEL if is_same(text + start, b"channel", 7) else -1
    if length == 8:
        return ORDER_ID if is_same(text + start, b"order_id", 8) else -1
    return -1


cdef Py_ssize_t reference_field(const unsigned char* text, Py_ssize_t start, Py_ssize_t end) noexcept:
    """The field with a name in the identity of a voided event, or -1 if there is none."""
    if end - start == 6 and is_same(text + start, b"source", 6):
        return VOIDED_SOURCE
    return VOIDED_ID if end - start == 2 and is_same(text + start, b"id", 2) else -1


# Times --------------------------------------------------------------------------------------------------------------


cdef long long micros_of(bytes these, Py_ssize_t start, Py_ssize_t end) except -2:
    """Microseconds since 1970 of an RFC 3339 time in its usual form, `2024-10-07T14:03:11.25+08:00`; -1 for other forms."""
    cdef int year, month, day, hour, minute, second, hours, minutes, digits = 0
    cdef long long fraction_us = 0, offset_min = 0
    cdef Py_ssize_t at = start + 19
    cdef const unsigned char* text = checked(these, start, end)
    if end - start < 20:
        return -1
    year = number_of(text, start, 4)
    month = number_of(text, start + 5, 2)
    day = number_of(text, start + 8, 2)
    hour = number_of(text, start + 11, 2)
    minute = number_of(text, start + 14, 2)
    second = number_of(text, start + 17, 2)
    if text[start + 4] != c"-" or text[start + 7] != c"-" or text[start + 10] != c"T":
        return -1
    if text[start + 13] != c":" or text[start + 16] != c":":
        return -1
    if not FIRST_YEAR <= year <= LAST_YEAR or not 1 <= month <= 12 or not 1 <= day <= days_of_month(year, month):
        return -1
    if not 0 <= hour <= 23 or not 0 <= minute <= 59 or not 0 <= second <= 59:
        return -1
    if text[at] == c".":
        at += 1
        while at < end and c"0" <= text[at] <= c"9":
            if digits < 6:
                fraction_us = fraction_us * 10 + text[at] - c"0"
            digits += 1
            at += 1
        if digits == 0:
            return -1
        while digits < 6:
            fraction_us *= 10
            digits += 1
    if end - at == 1 and text[at] == c"Z":
        pass
    elif end - at == 6 and (text[at] == c"+" or text[at] == c"-") and text[at + 3] == c":":
        hours, minutes = number_of(text, at + 1, 2), number_of(text, at + 4, 2)
        if not 0 <= hours <= 23 or not 0 <= minutes <= 59:
            return -1
        offset_min = hours * 60 + minutes
        if text[at] == c"-":
            if offset_min == 0:
                return -1
            offset_min = -offset_min
    else:
        return -1
    return (
        (day_number(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset_min * 60) * 1_000_000
        + fraction_us
    )


cdef inline int number_of(const unsigned char* text, Py_ssize_t start, Py_ssize_t digits) noexcept:
    """The number that some digits make, or -1 if one of them is not a digit."""
    cdef int number = 0
    cdef Py_ssize_t at
    cdef unsigned char digit
    for at in range(start, start + digits):
        digit = text[at]
        if not c"0" <= digit <= c"9":
            return -1
        number = number * 10 + digit - c"0"
    return number


cdef int days_of_month(int year, int month) noexcept:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


cdef long long day_number(int year, int month, int day) noexcept:
    """Days from 1970-01-01 to a date from 2000 on."""
    # Counting years from March puts the leap day at the end.
    cdef long long years = year if month > 2 else year - 1
    cdef long long months = month - 3 if month > 2 else month + 9
    return years * 365 + years // 4 - years // 100 + years // 400 + (153 * months + 2) // 5 + day - 1 - 719_468
