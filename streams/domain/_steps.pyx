# cython: language_level=3, boundscheck=True, wraparound=False
"""The work for every event, compiled, with orders in compact memory; `streams.domain.steps` does the same, and the rare cases.

Lists are read with bounds checks. Bytes are read and written through cursors, which check each access against their end.
"""

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeUTF8
from libc.string cimport memcmp, memcpy, memset

from array import array
from sys import byteorder

import numpy as np

from schemas.facts import Fact as _Fact
from streams.domain.packed_columns import EVENT, Restored
from streams.domain.packing import pack, voids_in
from streams.domain.zone import QUARTER_HOUR_US as _QUARTER_HOUR_US

cdef extern from *:
    """
    #ifndef MILESTONES_SOURCE
    #define MILESTONES_SOURCE ""
    #endif

    typedef struct {
        PyObject_HEAD
        PyObject *backfill, *dims, *extra, *id, *kind, *offset, *order_id, *partition, *source, *time_us, *topic, *vin, *voids;
    } FactFields;
    """
    const char* MILESTONES_SOURCE

    #: The memory layout of facts: looking fields up by name costs a twentieth of a worker's CPU.
    ctypedef class schemas.facts.Fact [object FactFields, check_size ignore]:
        cdef object backfill, dims, extra, id, kind, offset, order_id, partition, source, time_us, topic, vin, voids

#: Digest of the source that this was built from; see `schemas.hotpath`.
SOURCE = (<bytes> MILESTONES_SOURCE).decode()

#: The packed form; see `streams.domain.packing`.
cdef enum:
    HEAD_BYTES = 34
    #: Events with longer texts are packed in Python.
    MOST_TEXT_BYTES = 1024
    KIND = 0b111
    HAS_VIN = 0b1000
    HAS_VOIDS = 0b1_0000
    VIN_CHARACTERS = 17
    TOPIC = 0b111_1111
    TOPIC_BITS = 7
    OF_PRODUCTION_SHIFT = 5

#: The fixed part of a packed event; see `packing.LAYOUT`. It is little endian, as are all machines that this is built for.
cdef packed struct Head:
    unsigned char origin
    unsigned short partition
    unsigned long long offset
    unsigned char content
    unsigned long long time_us
    unsigned int source
    unsigned int dims
    unsigned short text_bytes
    unsigned short id_end
    unsigned short extra

#: Memory to read or write, from `at` on and never past `end`.
cdef struct Cursor:
    unsigned char* at
    unsigned char* end

#: The values of `schemas.facts.Kind`.
cdef enum:
    PLACED = 1
    DELIVERED = 3

cdef bint _has_known_layout() except -1:
    """Whether facts and numbers have the memory layout that this code assumes."""
    cdef Fact fact
    names = (
        "backfill", "dims", "extra", "id", "kind", "offset", "order_id", "partition", "source", "time_us", "topic", "vin", "voids"
    )
    if byteorder != "little" or _Fact.__basicsize__ != object.__basicsize__ + len(names) * sizeof(void*):
        return False
    if set(_Fact.__struct_fields__) != set(names):
        return False
    fact = _Fact(*_Fact.__struct_fields__)
    return names == (
        fact.backfill, fact.dims, fact.extra, fact.id, fact.kind, fact.offset, fact.order_id, fact.partition, fact.source,
        fact.time_us, fact.topic, fact.vin, fact.voids,
    )


if not _has_known_layout():
    raise ImportError("memory has another layout than this was built for")

cdef long long MOST_OFFSET = 0x7FFF_FFFF_FFFF_FFFF
cdef long long QUARTER_HOUR_US = _QUARTER_HOUR_US


# Orders -------------------------------------------------------------------------------------------------------------

#: Each event is encoded compactly:
#:
#:     1 content, with two more bits: whether the id is a UUID, whether the rest of the entry is not encoded
#:     1 topic and backfill; partition, offset; 7 time; codes of source and dims; bytes of the text without the UUID;
#:     characters of the id unless it is a UUID; characters of the extra            (varints, except where a size is given)
#:     16 the UUID, if the id is one; the text without it
#:
#: Events of an order that came together form an entry. Its first entry holds the order's id:
#:
#:     bytes of the id plus 1; 5 address of the order's latest entry, 0 if this is the only one; bytes of the events; the id;
#:     the events
#:
#: A later entry holds which one was the latest before it: `AFTER_FIRST`, `INSTEAD` if it replaces all of them, or an address:
#:
#:     0; the entry before it (varint); bytes of the events; the events
#:
#: Entries are appended to blocks; an address is a block's number and a position in it. Orders never lose events, so entries are
#: neither moved nor changed (except for the address of the latest one), and there is nothing to compact.
cdef enum:
    CONTENT = 0b11_1111
    HAS_UUID = 0b100_0000
    AS_PACKED = 0b1000_0000
    TIME_BYTES = 7
    UUID_CHARACTERS = 36
    UUID_BYTES = 16
    #: Upper bounds of what an event takes besides its text, and an entry besides id and events.
    COMPACT_BYTES = 64
    ENTRY_BYTES = 32
    LATEST_BYTES = 5
    #: No addresses of a later entry: the first order's first entry has the address 1.
    AFTER_FIRST = 0
    INSTEAD = 1
    POSITION_BITS = 20
    #: This many blocks are each twice the size of the previous one, so that a small ledger stays small.
    FIRST_BLOCK_BYTES = 1 << 12
    DOUBLED_BLOCKS = POSITION_BITS - 12
    MOST_BLOCKS = 1 << 19
    #: The index has segments that grow independently, each in far less than a millisecond.
    SEGMENT_BITS = 8
    SEGMENTS = 1 << SEGMENT_BITS
    TAG_BITS = 24
    ADDRESS_BITS = 40
    ADDRESS_BYTES = 8

cdef unsigned long long MOST_TIME_US = 1ULL << 8 * TIME_BYTES
cdef unsigned long long POSITION = (1ULL << POSITION_BITS) - 1
cdef unsigned long long ADDRESS = (1ULL << ADDRESS_BITS) - 1
cdef unsigned long long TAG = (1ULL << TAG_BITS) - 1

cdef unsigned char[256] NIBBLE
cdef unsigned char[16] DIGIT
cdef int _code
for _code in range(256):
    NIBBLE[_code] = b"0123456789abcdef".find(bytes([_code])) & 0xFF
for _code in range(16):
    DIGIT[_code] = b"0123456789abcdef"[_code]


@cython.final
cdef class _Buffer:
    """Memory that is filled from its start."""

    cdef bytearray kept
    cdef Py_ssize_t size
    cdef Py_ssize_t filled

    def __cinit__(self, Py_ssize_t size):
        self.kept = bytearray(size)
        self.size = size

    cdef inline int filled_from(self, Py_ssize_t at, Cursor* cursor) except -1:
        """Sets a cursor to the filled part, from a position on."""
        if not 0 <= at <= self.filled:
            raise IndexError("beyond what is filled")
        cursor.at = <unsigned char*> PyByteArray_AS_STRING(self.kept) + at
        cursor.end = cursor.at + self.filled - at
        return 0

    cdef inline int room_for(self, Py_ssize_t size, Cursor* cursor) except -1:
        """Sets a cursor to free memory after the filled part."""
        if self.size - self.filled < size:
            self.enlarge(size)
        cursor.at = <unsigned char*> PyByteArray_AS_STRING(self.kept) + self.filled
        cursor.end = cursor.at + size
        return 0

    cdef int enlarge(self, Py_ssize_t size) except -1:
        self.size = 2 * (self.filled + size)
        larger = bytearray(self.size)
        larger[: self.filled] = self.kept[: self.filled]
        self.kept = larger
        return 0

    cdef inline int fill(self, const Cursor* cursor) except -1:
        """Ends the filled part where a cursor stopped writing."""
        self.filled = cursor.at - <unsigned char*> PyByteArray_AS_STRING(self.kept)
        return 0


@cython.final
cdef class _Segment:
    """A segment of the hash index, with open addressing: each slot has a tag, 24 bits of the id's hash, and the order's address.

    A slot's place follows from its tag alone, so growing looks up no order.
    """

    cdef unsigned long long[::1] slots
    cdef Py_ssize_t used

    def __cinit__(self):
        self.slots = array("Q", bytes(8 * 8))

    cdef int add(self, unsigned long long slot) except -1:
        cdef unsigned long long[::1] before = self.slots
        cdef Py_ssize_t at, size = before.shape[0]
        if 5 * self.used >= 4 * size:
            # Grows by a quarter: after doubling, half of it would be empty.
            self.slots = array("Q", bytes(8 * (size + size // 4)))
            for at in range(size):
                if before[at]:
                    self.put(before[at])
        self.used += 1
        return self.put(slot)

    cdef int put(self, unsigned long long slot) except -1:
        cdef Py_ssize_t at = self.first(slot >> ADDRESS_BITS)
        while self.slots[at]:
            at = self.after(at)
        self.slots[at] = slot
        return 0

    cdef inline Py_ssize_t first(self, unsigned long long tag) noexcept:
        """Where probing for a tag begins."""
        return <Py_ssize_t> (tag * <unsigned long long> self.slots.shape[0] >> TAG_BITS)

    cdef inline Py_ssize_t after(self, Py_ssize_t at) noexcept:
        return at + 1 if at + 1 < self.slots.shape[0] else 0


@cython.final
cdef class PackedOrders:
    """Packed events by order, in a third of the memory of a `dict`; nothing can be deleted."""

    cdef list blocks
    cdef list segments
    cdef Py_ssize_t length
    #: Scratch memory: events encoded, and decoded; addresses of later entries.
    cdef _Buffer compact
    cdef _Buffer found
    cdef _Buffer later

    def __init__(self):
        self.blocks = []
        self.segments = [None] * SEGMENTS
        self.compact = _Buffer(256)
        self.found = _Buffer(256)
        self.later = _Buffer(256)

    def __len__(self):
        return self.length

    def __contains__(self, order_id):
        return self.find(order_id) != 0

    def __getitem__(self, order_id):
        cdef unsigned long long address = self.find(order_id)
        if address == 0:
            raise KeyError(order_id)
        return self.events(address)

    def get(self, order_id):
        """The events of an order, `None` if there is no such order."""
        cdef unsigned long long address = self.find(order_id)
        return None if address == 0 else self.events(address)

    def __setitem__(self, order_id, bytes events not None):
        cdef unsigned long long address = self.find(order_id)
        cdef bytes known
        cdef Cursor cursor
        if address == 0:
            self.add(order_id, events)
            return
        known = self.events(address)
        if events.startswith(known):
            if len(events) > len(known):
                self.extend(address, events[len(known) :])
        else:
            whole_of(events, &cursor)
            self.set_latest(address, self.put_entry(None, INSTEAD, &cursor))

    def update(self, entries):
        """Puts the events of several orders."""
        for order_id, events in entries.items() if isinstance(entries, dict) else entries:
            self[order_id] = events

    def __iter__(self):
        """The orders, by first appearance, without those that are added meanwhile."""
        return _Walk(self, False)

    def items(self):
        """The same with their events."""
        return _Walk(self, True)

    def __sizeof__(self):
        cdef Py_ssize_t size = 0
        for each in self.blocks:
            size += (<_Buffer> each).size
        for each in self.segments:
            if each is not None:
                size += 8 * (<_Segment> each).slots.shape[0]
        return size

    # Index ----------------------------------------------------------------------------------------------------------

    cdef unsigned long long find(self, object order_id) except? 0xFFFF_FFFF_FFFF_FFFF:
        """The address of an order, 0 if there is no such order."""
        cdef unsigned long long number = <unsigned long long> hash(order_id)
        cdef unsigned long long tag = number >> SEGMENT_BITS & TAG, slot
        cdef _Segment segment = self.segments[number & SEGMENTS - 1]
        cdef Py_ssize_t size = 0, at
        cdef const char* text
        text = PyUnicode_AsUTF8AndSize(order_id, &size)
        if segment is None:
            return 0
        at = segment.first(tag)
        slot = segment.slots[at]
        while slot:
            if slot >> ADDRESS_BITS == tag and self.is_of(slot & ADDRESS, text, size):
                return slot & ADDRESS
            at = segment.after(at)
            slot = segment.slots[at]
        return 0

    cdef bint is_of(self, unsigned long long address, const char* order_id, Py_ssize_t size) except -1:
        """Whether the order at an address has an id."""
        cdef Cursor cursor
        self.seek(address, &cursor)
        if read_varint(&cursor) != <unsigned long long> size + 1:
            return False
        take(&cursor, LATEST_BYTES)
        read_varint(&cursor)
        return memcmp(take(&cursor, size), order_id, size) == 0

    cdef inline int add(self, object order_id, bytes events) except -1:
        """Puts a new order."""
        cdef Cursor cursor
        whole_of(events, &cursor)
        self.add_new(order_id, &cursor)
        return 0

    cdef unsigned long long add_new(self, object order_id, const Cursor* events) except 0:
        """The same; returns its address."""
        cdef unsigned long long number = <unsigned long long> hash(order_id), address
        cdef _Segment segment = self.segments[number & SEGMENTS - 1]
        if segment is None:
            segment = self.segments[number & SEGMENTS - 1] = _Segment()
        address = self.put_entry(order_id, 0, events)
        segment.add((number >> SEGMENT_BITS & TAG) << ADDRESS_BITS | address)
        self.length += 1
        return address

    # Entries --------------------------------------------------------------------------------------------------------

    cdef inline int seek(self, unsigned long long address, Cursor* cursor) except -1:
        """Sets a cursor to the memory from an address to the end of its block."""
        return (<_Buffer> self.blocks[address >> POSITION_BITS]).filled_from(address & POSITION, cursor)

    cdef unsigned long long put_entry(self, object order_id, unsigned long long before, const Cursor* events) except 0:
        """Appends an entry with events, and with the id of a new order or what a later entry follows. Returns its address."""
        cdef Py_ssize_t id_bytes = 0
        cdef const char* text = NULL
        cdef unsigned long long address
        cdef Cursor cursor, compact
        cdef _Buffer block
        if order_id is not None:
            text = PyUnicode_AsUTF8AndSize(order_id, &id_bytes)
        self.compact.filled = 0
        encode(self.compact, events)
        self.compact.filled_from(0, &compact)
        block = self.block_for(ENTRY_BYTES + id_bytes + self.compact.filled)
        address = <unsigned long long> (len(self.blocks) - 1) << POSITION_BITS | <unsigned long long> block.filled
        block.room_for(ENTRY_BYTES + id_bytes + self.compact.filled, &cursor)
        if order_id is None:
            take(&cursor, 1)[0] = 0
            write_varint(&cursor, before)
        else:
            write_varint(&cursor, id_bytes + 1)
            memset(take(&cursor, LATEST_BYTES), 0, LATEST_BYTES)
        write_varint(&cursor, self.compact.filled)
        write(&cursor, text, id_bytes)
        write(&cursor, compact.at, self.compact.filled)
        block.fill(&cursor)
        return address

    cdef _Buffer block_for(self, Py_ssize_t size):
        """The last block if it has room for so many bytes, or a new one."""
        cdef Py_ssize_t number = len(self.blocks)
        cdef _Buffer last
        if number > 0:
            last = self.blocks[number - 1]
            if last.size - last.filled >= size:
                return last
        if number >= MOST_BLOCKS:
            raise MemoryError("there is no room for more orders")
        # A block larger than usual has room for just this entry, so every position fits into an address.
        last = _Buffer(max(size + 1, FIRST_BLOCK_BYTES << min(number, DOUBLED_BLOCKS)))
        # Keeps 0 from being an address.
        last.filled = 1
        self.blocks.append(last)
        return last

    cdef int extend(self, unsigned long long address, bytes events) except -1:
        """Appends events to an order."""
        cdef Cursor cursor
        cdef unsigned long long latest
        self.seek(address, &cursor)
        read_varint(&cursor)
        latest = read_fixed(&cursor, LATEST_BYTES)
        whole_of(events, &cursor)
        return self.set_latest(address, self.put_entry(None, latest, &cursor))

    cdef int set_latest(self, unsigned long long address, unsigned long long latest) except -1:
        cdef Cursor cursor
        self.seek(address, &cursor)
        read_varint(&cursor)
        return write(&cursor, &latest, LATEST_BYTES)

    cdef bytes events(self, unsigned long long address):
        """The events of an order, as they were packed."""
        cdef Cursor first, cursor
        cdef unsigned long long id_bytes, entry
        self.found.filled = self.later.filled = 0
        self.seek(address, &first)
        id_bytes = read_varint(&first)
        entry = read_fixed(&first, LATEST_BYTES)
        while entry > INSTEAD:
            append(self.later, &entry, ADDRESS_BYTES)
            self.seek(entry, &cursor)
            read_varint(&cursor)
            entry = read_varint(&cursor)
        if entry == AFTER_FIRST:
            decode(self.found, &first, id_bytes - 1)
        while self.later.filled:
            self.later.filled_from(self.later.filled - ADDRESS_BYTES, &cursor)
            self.later.filled -= ADDRESS_BYTES
            self.seek(read_fixed(&cursor, ADDRESS_BYTES), &cursor)
            read_varint(&cursor)
            read_varint(&cursor)
            decode(self.found, &cursor, 0)
        self.found.filled_from(0, &cursor)
        return (<const char*> cursor.at)[: self.found.filled]

    cdef object id_at(self, unsigned long long address):
        """The id of the order at an address."""
        cdef Cursor cursor
        cdef unsigned long long id_bytes
        self.seek(address, &cursor)
        id_bytes = read_varint(&cursor)
        take(&cursor, LATEST_BYTES)
        read_varint(&cursor)
        return (<const char*> take(&cursor, id_bytes - 1))[: id_bytes - 1].decode("utf-8")


@cython.final
cdef class _Walk:
    """Iterates over the orders that exist when it starts."""

    cdef PackedOrders orders
    cdef bint with_events
    #: How many orders are left, and where the next entry is.
    cdef Py_ssize_t left
    cdef unsigned long long block
    cdef Py_ssize_t at

    def __cinit__(self, PackedOrders orders, bint with_events):
        self.orders, self.with_events = orders, with_events
        self.left, self.at = orders.length, 1

    def __iter__(self):
        return self

    def __next__(self):
        cdef Cursor cursor
        cdef unsigned char* start
        cdef unsigned long long address = 0, id_bytes, size
        if self.left == 0:
            raise StopIteration
        order_id = None
        while order_id is None:
            (<_Buffer> self.orders.blocks[self.block]).filled_from(self.at, &cursor)
            if cursor.at == cursor.end:
                self.block += 1
                self.at = 1
                continue
            address = self.block << POSITION_BITS | <unsigned long long> self.at
            start = cursor.at
            id_bytes = read_varint(&cursor)
            if id_bytes:
                take(&cursor, LATEST_BYTES)
            else:
                read_varint(&cursor)
            size = read_varint(&cursor)
            if id_bytes:
                order_id = (<const char*> take(&cursor, id_bytes - 1))[: id_bytes - 1].decode("utf-8")
            take(&cursor, size)
            self.at += cursor.at - start
        self.left -= 1
        return (order_id, self.orders.events(address)) if self.with_events else order_id


@cython.final
cdef class OrderLists:
    """As `steps.OrderLists`. A list has the address of its last order in 8 bytes, then of each order the difference between its
    address and the one before, with the sign in the lowest bit (varint): nearly all take one to four bytes.
    """

    cdef PackedOrders orders
    cdef dict lists
    #: Scratch memory: addresses, and their differences.
    cdef _Buffer addresses
    cdef _Buffer differences

    def __init__(self, PackedOrders orders not None):
        self.orders = orders
        self.lists = {}
        self.addresses = _Buffer(256)
        self.differences = _Buffer(256)

    def note(self, number, list order_ids not None):
        """As in `steps`."""
        cdef unsigned long long address
        cdef Cursor room
        self.addresses.filled = 0
        self.addresses.room_for(ADDRESS_BYTES * len(order_ids), &room)
        for order_id in order_ids:
            address = self.orders.find(order_id)
            if address == 0:
                raise KeyError(order_id)
            write(&room, &address, ADDRESS_BYTES)
        self.addresses.fill(&room)
        self.addresses.filled_from(0, &room)
        self.append(number, &room)

    def note_places(self, number, const long long[::1] places not None):
        """As in `steps`."""
        cdef Cursor addresses
        if places.shape[0] != 0:
            addresses.at = <unsigned char*> &places[0]
            addresses.end = addresses.at + ADDRESS_BYTES * places.shape[0]
            self.append(number, &addresses)

    def noted(self, numbers):
        """As in `steps`."""
        cdef Cursor cursor
        cdef unsigned long long address
        cdef bytearray known
        cdef dict found = {}
        for number in numbers:
            known = self.lists.get(number)
            if known is None:
                continue
            cursor.at = <unsigned char*> PyByteArray_AS_STRING(known)
            cursor.end = cursor.at + len(known)
            take(&cursor, ADDRESS_BYTES)
            address = 0
            while cursor.at < cursor.end:
                address += signed_of(read_varint(&cursor))
                found[address] = None
        return [self.orders.id_at(each) for each in found]

    def __sizeof__(self):
        return object.__sizeof__(self) + self.lists.__sizeof__() + sum([each.__sizeof__() for each in self.lists.values()])

    cdef int append(self, number, Cursor* addresses) except -1:
        """Appends orders to a list."""
        cdef bytearray known = self.lists.get(number)
        cdef unsigned long long address, last = 0
        cdef Cursor room, of_last
        if known is None:
            known = self.lists[number] = bytearray(ADDRESS_BYTES)
        of_last.at = <unsigned char*> PyByteArray_AS_STRING(known)
        of_last.end = of_last.at + ADDRESS_BYTES
        memcpy(&last, of_last.at, ADDRESS_BYTES)
        self.differences.filled = 0
        self.differences.room_for(addresses.end - addresses.at, &room)
        while addresses.at < addresses.end:
            memcpy(&address, take(addresses, ADDRESS_BYTES), ADDRESS_BYTES)
            write_varint(&room, with_sign_below(address - last))
            last = address
        self.differences.fill(&room)
        write(&of_last, &last, ADDRESS_BYTES)
        self.differences.filled_from(0, &room)
        known += (<const char*> room.at)[: self.differences.filled]
        return 0


cdef inline unsigned long long with_sign_below(unsigned long long difference) noexcept:
    """A difference, doubled if it is not negative."""
    return ~(difference << 1) if difference >> 63 else difference << 1


cdef inline unsigned long long signed_of(unsigned long long number) noexcept:
    """The difference that `with_sign_below` has made a number of."""
    return ~(number >> 1) if number & 1 else number >> 1


cdef int encode(_Buffer compact, const Cursor* events) except -1:
    """Encodes packed events."""
    cdef Cursor cursor = events[0], room
    # Large numbers take a few bytes more as varints.
    compact.room_for(2 * (cursor.end - cursor.at) + COMPACT_BYTES, &room)
    while cursor.at < cursor.end:
        if not encode_event(&cursor, &room):
            take(&room, 1)[0] = AS_PACKED
            write(&room, cursor.at, cursor.end - cursor.at)
            cursor.at = cursor.end
    return compact.fill(&room)


cdef inline int decode(_Buffer found, Cursor* entry, Py_ssize_t id_bytes) except -1:
    """Appends the events of an entry as they were packed; given with the size of the id, from the size of the events on."""
    cdef Cursor events
    cdef Py_ssize_t size = read_varint(entry)
    take(entry, id_bytes)
    events.at = take(entry, size)
    events.end = entry.at
    while events.at < events.end:
        decode_event(found, &events)
    return 0


cdef bint encode_event(Cursor* cursor, Cursor* compact) except -1:
    """Encodes the next event; returns whether it can be."""
    cdef Head head
    cdef unsigned char[UUID_BYTES] uuid
    cdef Cursor rest = cursor[0]
    cdef Py_ssize_t text_bytes
    cdef unsigned char* text
    if cursor.end - cursor.at < HEAD_BYTES:
        return False
    memcpy(&head, take(&rest, HEAD_BYTES), HEAD_BYTES)
    text_bytes = head.text_bytes
    if head.content > CONTENT or head.time_us >= MOST_TIME_US or text_bytes > rest.end - rest.at:
        return False
    text = take(&rest, text_bytes)
    cursor[0] = rest
    if head.id_end == UUID_CHARACTERS and text_bytes >= UUID_CHARACTERS and is_uuid(text, uuid):
        take(compact, 1)[0] = head.content | HAS_UUID
        text += UUID_CHARACTERS
        text_bytes -= UUID_CHARACTERS
    else:
        take(compact, 1)[0] = head.content
    take(compact, 1)[0] = head.origin
    write_varint(compact, head.partition)
    write_varint(compact, head.offset)
    write(compact, &head.time_us, TIME_BYTES)
    write_varint(compact, head.source)
    write_varint(compact, head.dims)
    write_varint(compact, text_bytes)
    if text_bytes == head.text_bytes:
        write_varint(compact, head.id_end)
    write_varint(compact, head.extra)
    if text_bytes != head.text_bytes:
        write(compact, uuid, UUID_BYTES)
    write(compact, text, text_bytes)
    return True


cdef int decode_event(_Buffer found, Cursor* cursor) except -1:
    """Appends the next event as it was packed."""
    cdef Head head
    cdef Cursor room
    cdef unsigned char content = take(cursor, 1)[0]
    cdef unsigned char* uuid
    cdef unsigned char* digits
    cdef Py_ssize_t size, text_bytes, byte
    if content & AS_PACKED:
        size = cursor.end - cursor.at
        found.room_for(size, &room)
        write(&room, take(cursor, size), size)
        return found.fill(&room)
    head.content = content & CONTENT
    head.origin = take(cursor, 1)[0]
    head.partition = read_varint(cursor) & 0xFFFF
    head.offset = read_varint(cursor)
    head.time_us = read_fixed(cursor, TIME_BYTES)
    head.source = read_varint(cursor) & 0xFFFF_FFFF
    head.dims = read_varint(cursor) & 0xFFFF_FFFF
    size = text_bytes = read_varint(cursor)
    if content & HAS_UUID:
        head.id_end = UUID_CHARACTERS
        text_bytes += UUID_CHARACTERS
    else:
        head.id_end = read_varint(cursor) & 0xFFFF
    head.text_bytes = text_bytes & 0xFFFF
    head.extra = read_varint(cursor) & 0xFFFF
    found.room_for(HEAD_BYTES + text_bytes, &room)
    write(&room, &head, HEAD_BYTES)
    if content & HAS_UUID:
        uuid = take(cursor, UUID_BYTES)
        digits = take(&room, UUID_CHARACTERS)
        for byte in range(UUID_BYTES):
            if byte == 4 or byte == 6 or byte == 8 or byte == 10:
                digits[0] = c"-"
                digits += 1
            digits[0] = DIGIT[uuid[byte] >> 4]
            digits[1] = DIGIT[uuid[byte] & 0xF]
            digits += 2
    write(&room, take(cursor, size), size)
    return found.fill(&room)


cdef bint is_uuid(const unsigned char* text, unsigned char* uuid) noexcept:
    """Whether 36 characters are a lower-case UUID; if so, sets its 16 bytes."""
    cdef Py_ssize_t byte
    cdef unsigned char high, low
    for byte in range(UUID_BYTES):
        if byte == 4 or byte == 6 or byte == 8 or byte == 10:
            if text[0] != c"-":
                return False
            text += 1
        high, low = NIBBLE[text[0]], NIBBLE[text[1]]
        if high > 0xF or low > 0xF:
            return False
        uuid[byte] = high << 4 | low
        text += 2
    return True


# Cursors ------------------------------------------------------------------------------------------------------------


cdef inline unsigned char* take(Cursor* cursor, Py_ssize_t size) except NULL:
    """The next bytes; moves the cursor past them."""
    cdef unsigned char* at = cursor.at
    if not 0 <= size <= cursor.end - at:
        raise IndexError("beyond the end")
    cursor.at = at + size
    return at


cdef inline int whole_of(bytes these, Cursor* cursor) except -1:
    cursor.at = <unsigned char*> PyBytes_AS_STRING(these)
    cursor.end = cursor.at + len(these)
    return 0


cdef inline int write(Cursor* cursor, const void* these, Py_ssize_t size) except -1:
    """Writes bytes; if there are none, the pointer may be NULL."""
    if size != 0:
        memcpy(take(cursor, size), these, size)
    return 0


cdef inline unsigned long long read_fixed(Cursor* cursor, Py_ssize_t size) except? 0xFFFF_FFFF_FFFF_FFFF:
    """Reads a number of at most 8 bytes."""
    cdef unsigned long long number = 0
    memcpy(&number, take(cursor, size), size)
    return number


cdef inline unsigned long long read_varint(Cursor* cursor) except? 0xFFFF_FFFF_FFFF_FFFF:
    """Reads a number with seven bits per byte."""
    cdef unsigned long long number = 0
    cdef unsigned char byte = 0x80
    cdef int shift = 0
    while byte & 0x80 and shift < 64:
        byte = take(cursor, 1)[0]
        number |= <unsigned long long> (byte & 0x7F) << shift
        shift += 7
    return number


cdef inline int write_varint(Cursor* cursor, unsigned long long number) except -1:
    while number >= 0x80:
        take(cursor, 1)[0] = number & 0xFF | 0x80
        number >>= 7
    take(cursor, 1)[0] = number & 0xFF
    return 0


# Restoring ----------------------------------------------------------------------------------------------------------

#: First bytes of MessagePack values: arrays, texts and bytes whose size follows in so many bytes, and short ones.
cdef enum:
    SHORT_ARRAY = 0x90
    PAIR = 0x92
    MOST_SHORT_ARRAY = 0x9F
    ARRAY_2 = 0xDC
    ARRAY_4 = 0xDD
    SHORT_TEXT = 0xA0
    MOST_SHORT_TEXT = 0xBF
    TEXT_1 = 0xD9
    TEXT_2 = 0xDA
    TEXT_4 = 0xDB
    BYTES_1 = 0xC4
    BYTES_2 = 0xC5
    BYTES_4 = 0xC6


@cython.final
cdef class Restoring:
    """As `steps.Restoring`; the place of an order is its address."""

    cdef PackedOrders orders
    cdef _Buffer places
    cdef _Buffer first
    cdef _Buffer second
    cdef _Buffer followed
    cdef list longer
    cdef Py_ssize_t length
    cdef Py_ssize_t size

    def __init__(self, PackedOrders orders not None):
        self.orders = orders
        self.clear()

    def __len__(self):
        return self.length

    def put(self, bytes chunk not None):
        """As in `steps`."""
        cdef Cursor cursor, events
        cdef Py_ssize_t left, size
        cdef unsigned char* text
        whole_of(chunk, &cursor)
        try:
            left = read_size(&cursor, SHORT_ARRAY, MOST_SHORT_ARRAY, 0, ARRAY_2, ARRAY_4)
            while left > 0:
                left -= 1
                if take(&cursor, 1)[0] != PAIR:
                    raise IndexError("no pair")
                size = read_size(&cursor, SHORT_TEXT, MOST_SHORT_TEXT, TEXT_1, TEXT_2, TEXT_4)
                text = take(&cursor, size)
                order_id = PyUnicode_DecodeUTF8(<const char*> text, size, NULL)
                size = read_size(&cursor, 0, 0, BYTES_1, BYTES_2, BYTES_4)
                events.at = take(&cursor, size)
                events.end = cursor.at
                if self.orders.find(order_id) == 0:
                    self.put_order(order_id, &events)
            if cursor.at != cursor.end:
                raise IndexError("more than one value")
        except IndexError as error:
            raise ValueError("a chunk of the changelog is damaged") from error

    def taken(self):
        """As in `steps`."""
        made = Restored(
            np.frombuffer(whole_buffer(self.places), np.int64),
            np.frombuffer(whole_buffer(self.first), EVENT),
            np.frombuffer(whole_buffer(self.second), EVENT),
            np.frombuffer(whole_buffer(self.followed), np.int64),
            self.longer,
            self.size,
        )
        self.clear()
        return made

    cdef int clear(self) except -1:
        self.places, self.first, self.second, self.followed = _Buffer(0), _Buffer(0), _Buffer(0), _Buffer(0)
        self.longer = []
        self.length = self.size = 0
        return 0

    cdef int put_order(self, object order_id, const Cursor* events) except -1:
        """Puts a new order, and notes its first events."""
        cdef Cursor rest = events[0]
        cdef unsigned long long address = self.orders.add_new(order_id, events)
        append(self.places, &address, ADDRESS_BYTES)
        append_event(self.first, &rest)
        if rest.at < rest.end:
            append(self.followed, &self.length, sizeof(self.length))
            append_event(self.second, &rest)
            if rest.at < rest.end:
                self.longer.append(self.length)
        self.length += 1
        self.size += len(order_id) + (events.end - events.at)
        return 0


def order_at(PackedOrders orders not None, unsigned long long place):
    """As `steps.order_at`."""
    return orders.id_at(place), orders.events(place)


cdef int append_event(_Buffer heads, Cursor* events) except -1:
    """Appends the next event without its text; the cursor moves behind it."""
    cdef Head head
    cdef unsigned char* at = take(events, HEAD_BYTES)
    memcpy(&head, at, HEAD_BYTES)
    take(events, head.text_bytes)
    return append(heads, at, HEAD_BYTES)


cdef int append(_Buffer these, const void* more, Py_ssize_t size) except -1:
    cdef Cursor room
    these.room_for(size, &room)
    write(&room, more, size)
    return these.fill(&room)


cdef bytes whole_buffer(_Buffer these):
    return bytes(these.kept[: these.filled])


cdef Py_ssize_t read_size(
    Cursor* cursor,
    unsigned char short,
    unsigned char most_short,
    unsigned char in_1,
    unsigned char in_2,
    unsigned char in_4,
) except -1:
    """Reads the beginning of a MessagePack value, given its possible first bytes: how many items or bytes follow."""
    cdef unsigned char first = take(cursor, 1)[0]
    cdef Py_ssize_t size = 0, byte, bytes_of_size
    if most_short and short <= first <= most_short:
        return first - short
    if first == in_1 and in_1:
        bytes_of_size = 1
    elif first == in_2:
        bytes_of_size = 2
    elif first == in_4:
        bytes_of_size = 4
    else:
        raise IndexError("another kind of value")
    for byte in range(bytes_of_size):
        size = size << 8 | take(cursor, 1)[0]
    return size


# Storing ------------------------------------------------------------------------------------------------------------


def store(
    facts,
    PackedOrders orders not None,
    dict before,
    dict now,
    vocabulary,
    dict last_by_source,
    Py_ssize_t below_limit_bytes,
    refusal,
    list refused,
):
    """As `steps.store`."""
    cdef Py_ssize_t index = -1, duplicates = 0, backfilled = 0, new_bytes = 0, id_bytes = 0
    cdef dict codes = vocabulary.codes
    cdef unsigned long long address
    cdef Fact fact
    cdef bytes packed, blob
    cdef object source = None
    cdef long long time_us, last_us = 0
    for each in facts:
        fact = each
        index += 1
        order_id = fact.order_id
        packed = packed_event(fact, codes, &id_bytes)
        if packed is None:
            packed = pack(fact, vocabulary)
            id_bytes = len(fact.id.encode())
        address = orders.find(order_id)
        if address == 0:
            orders.add(order_id, packed)
            now[order_id] = packed
            new_bytes += len(order_id)
        else:
            known = now.get(order_id)
            blob = orders.events(address) if known is None else known
            # If no event's text begins with the id, the order does not have this event.
            if len(blob) >= below_limit_bytes or may_hold(blob, packed, id_bytes):
                refused_for = refusal(order_id, blob, packed)
                if refused_for is not None:
                    if refused_for[0]:
                        refused.append((index, *refused_for))
                    else:
                        duplicates += 1
                    continue
            orders.extend(address, packed)
            if known is None:
                before[order_id] = blob
            now[order_id] = blob + packed
        new_bytes += len(packed)
        if fact.backfill:
            backfilled += 1
        time_us = fact.time_us
        # Facts from the same source often come in a row.
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


def order_ids(PackedOrders orders not None):
    """As `steps.order_ids`."""
    return iter(orders)


cdef bint may_hold(bytes blob, bytes packed, Py_ssize_t id_bytes) except -1:
    """Whether the text of an event begins with the id of a packed one."""
    cdef Head head
    cdef Cursor cursor, wanted
    cdef unsigned char* text
    whole_of(blob, &cursor)
    whole_of(packed, &wanted)
    take(&wanted, HEAD_BYTES)
    while cursor.at < cursor.end:
        memcpy(&head, take(&cursor, HEAD_BYTES), HEAD_BYTES)
        text = take(&cursor, head.text_bytes)
        if head.text_bytes >= id_bytes and memcmp(text, wanted.at, min(id_bytes, wanted.end - wanted.at)) == 0:
            return True
    return False


cdef bytes packed_event(Fact fact, dict codes, Py_ssize_t* id_bytes):
    """The event as `packing.pack` packs it; `None` if a word has no code yet, and for voids and anything unusual.

    Sets `id_bytes` to the size of the id.
    """
    cdef unsigned char[HEAD_BYTES + MOST_TEXT_BYTES] buffer
    cdef Cursor cursor
    cdef Head head
    cdef Py_ssize_t extra_bytes = 0, vin_bytes = 0
    cdef const char* of_id
    cdef const char* of_extra
    cdef const char* of_vin = NULL
    source_code = codes.get(fact.source)
    dims_code = codes.get(fact.dims)
    if source_code is None or dims_code is None or fact.voids is not None:
        return None
    identity, extra, vin = fact.id, fact.extra, fact.vin
    cdef long long kind = fact.kind, topic = fact.topic, partition = fact.partition, offset = fact.offset
    if not 0 < kind <= KIND or not 0 <= topic < 256 or not 0 <= partition < 65536 or not 0 <= offset <= MOST_OFFSET:
        return None
    of_id = PyUnicode_AsUTF8AndSize(identity, id_bytes)
    of_extra = PyUnicode_AsUTF8AndSize(extra, &extra_bytes)
    head.content = kind | topic >> TOPIC_BITS << OF_PRODUCTION_SHIFT
    if vin:
        if len(vin) != VIN_CHARACTERS:
            return None
        head.content |= HAS_VIN
        of_vin = PyUnicode_AsUTF8AndSize(vin, &vin_bytes)
    if id_bytes[0] + extra_bytes + vin_bytes > MOST_TEXT_BYTES:
        return None
    head.origin = (topic & TOPIC) << 1 | (1 if fact.backfill else 0)
    head.partition = partition
    head.offset = offset
    head.time_us = <long long> fact.time_us
    head.source = source_code
    head.dims = dims_code
    head.text_bytes = id_bytes[0] + extra_bytes + vin_bytes
    head.id_end = len(identity)
    head.extra = len(extra)
    cursor.at, cursor.end = buffer, buffer + HEAD_BYTES + MOST_TEXT_BYTES
    write(&cursor, &head, HEAD_BYTES)
    write(&cursor, of_id, id_bytes[0])
    write(&cursor, of_extra, extra_bytes)
    write(&cursor, of_vin, vin_bytes)
    return (<char*> buffer)[: cursor.at - buffer]


# Counting -----------------------------------------------------------------------------------------------------------


@cython.final
cdef class Sum:
    """As `steps.Sum`."""

    cdef public long long removed
    #: Of the units added: how many, their orders, and the greatest time of an event.
    cdef long long added, last_us
    cdef list ids
    #: The packed event with that time, and the others: (order, packed events, position).
    cdef object last_id
    cdef bytes last_blob
    cdef Py_ssize_t last_at
    cdef list others
    #: Events with that time that came as facts.
    cdef list causes

    def __cinit__(self):
        self.ids = []
        self.last_us = -1

    def add(self, Fact cause):
        """As `steps.Sum.add`."""
        cdef long long time_us = cause.time_us
        if self.is_latest(cause.order_id, time_us):
            if self.causes is None:
                self.causes = []
            self.causes.append(cause)

    cdef inline int add_packed(self, order_id, bytes blob, Py_ssize_t at, long long time_us) except -1:
        """As `steps.Sum.add_packed`."""
        if self.is_latest(order_id, time_us):
            if self.last_blob is None:
                self.last_id, self.last_blob, self.last_at = order_id, blob, at
            else:
                if self.others is None:
                    self.others = []
                self.others.append((order_id, blob, at))
        return 0

    cdef inline bint is_latest(self, order_id, long long time_us) except -1:
        """Counts a unit. Returns whether its event has the greatest time; forgets those that had it before."""
        self.added += 1
        self.ids.append(order_id)
        if time_us > self.last_us:
            self.last_us = time_us
            self.last_blob = self.others = self.causes = None
        return time_us == self.last_us

    def total(self, words):
        """As `steps.Sum.total`."""
        cdef list latest = [] if self.causes is None else self.causes
        if self.last_blob is not None:
            latest = [*latest, unpack_at(self.last_id, self.last_blob, self.last_at, words)]
        if self.others is not None:
            latest += [unpack_at(order_id, blob, at, words) for order_id, blob, at in self.others]
        return self.removed + self.added, latest

    def order_ids(self):
        """As `steps.Sum.order_ids`."""
        return self.ids


@cython.final
cdef class OwnUnits:
    """As `steps.OwnUnits`."""

    cdef dict quarters
    cdef list words
    cdef object cell_of
    cdef object code_of
    #: By the codes of the dimensions in the vocabulary, -1 for one that is not known yet.
    cdef long long[::1] codes
    #: What the unit before was added to, within one call.
    cdef long long known_quarter, known_key
    cdef dict of_quarter
    cdef dict known_cell
    cdef Sum known_sum

    def __init__(self, dict quarters not None, words, cell_of, code_of):
        self.quarters, self.cell_of, self.code_of = quarters, cell_of, code_of
        self.words = words if type(words) is list else list(words)
        self.codes = array("q", [-1] * 16)
        self.forget()

    cdef void forget(self) noexcept:
        self.known_quarter = self.known_key = -1
        self.of_quarter = self.known_cell = self.known_sum = None

    cdef int add(self, long long shifted, const Head* head, order_id, bytes blob, Py_ssize_t at) except -1:
        """As `steps.OwnUnits.add`."""
        cdef long long time_us = <long long> head.time_us
        cdef long long quarter = time_us // QUARTER_HOUR_US, key
        cdef dict cell
        if quarter != self.known_quarter:
            self.of_quarter = self.quarters.get(quarter)
            self.known_quarter = quarter
        cell = self.of_quarter
        if cell is None:
            # The quarter-hour has no known cell, or several.
            cell = self.cell_of(time_us)
            self.known_quarter = -1
        key = self.code(head.dims) | shifted | head.origin & 1
        if cell is not self.known_cell or key != self.known_key:
            found = cell.get(key)
            if found is None:
                found = cell[key] = Sum()
            self.known_sum, self.known_cell, self.known_key = found, cell, key
        return self.known_sum.add_packed(order_id, blob, at, time_us)

    cdef long long code(self, Py_ssize_t dims) except -1:
        """The code of the scopes of some dimensions, shifted to its place in a key."""
        if dims >= self.codes.shape[0]:
            larger = array("q", self.codes)
            larger.extend([-1] * (dims + 1))
            self.codes = larger
        if self.codes[dims] < 0:
            self.codes[dims] = self.code_of(self.words[dims])
        return self.codes[dims]


def count_plain(
    list entries,
    dict before,
    dict known_violations,
    bint orders_known,
    OwnUnits units not None,
    long long placing,
    long long delivering,
    list deliveries,
    list early,
    list late,
):
    """As `steps.count_plain`."""
    cdef list others = []
    cdef tuple entry
    cdef bytes blob, earlier
    cdef Head head, second, known
    cdef Py_ssize_t start, end, size
    cdef int kind
    units.forget()
    for each in entries:
        entry = each
        order_id = entry[0]
        blob = entry[1]
        earlier = before.get(order_id)
        start = 0 if earlier is None else len(earlier)
        end = head_at(blob, start, &head)
        kind = head.content & KIND
        size = len(blob)
        if end == size:
            if earlier is not None and kind == PLACED:
                if is_sole(earlier, DELIVERED, &known) and <long long> head.time_us < <long long> known.time_us:
                    units.add(placing, &head, order_id, blob, start)
                    late.append(order_id)
                    continue
            elif order_id not in known_violations:
                if earlier is None and kind == PLACED:
                    units.add(placing, &head, order_id, blob, 0)
                    continue
                if kind == DELIVERED and (
                    earlier is None
                    or is_sole(earlier, PLACED, &known) and <long long> known.time_us < <long long> head.time_us
                ):
                    units.add(delivering, &head, order_id, blob, start)
                    if deliveries is not None:
                        deliveries.append((order_id, blob, start))
                    if earlier is None and orders_known:
                        early.append((order_id, units.words[head.source], id_of(blob, 0, &head)))
                    continue
        elif earlier is None and order_id not in known_violations and head_at(blob, end, &second) == size:
            if head.time_us == second.time_us:
                pass
            elif <long long> head.time_us < <long long> second.time_us:
                if kind == PLACED and second.content & KIND == DELIVERED:
                    units.add(placing, &head, order_id, blob, 0)
                    units.add(delivering, &second, order_id, blob, end)
                    if deliveries is not None:
                        deliveries.append((order_id, blob, end))
                    continue
            elif kind == DELIVERED and second.content & KIND == PLACED:
                units.add(placing, &second, order_id, blob, end)
                units.add(delivering, &head, order_id, blob, 0)
                if deliveries is not None:
                    deliveries.append((order_id, blob, 0))
                continue
        others.append(entry)
    return others


def hours(dict now, dict before):
    """As `steps.hours`."""
    cdef set found = set()
    cdef bytes blob, earlier
    cdef Head head
    cdef Py_ssize_t at
    cdef long long quarter, known_quarter = -1
    cdef int kind, known_kind = -1
    cdef long long source, known_source = -1
    for order_id, each in now.items():
        blob = each
        earlier = before.get(order_id)
        at = 0 if earlier is None else len(earlier)
        while at < len(blob):
            at = head_at(blob, at, &head)
            if head.origin & 1:
                continue
            kind, source, quarter = head.content & KIND, head.source, <long long> head.time_us // QUARTER_HOUR_US
            if kind != known_kind or source != known_source or quarter != known_quarter:
                known_kind, known_source, known_quarter = kind, source, quarter
                found.add((kind, source, quarter))
    return found


def unpack(order_id, bytes blob not None, words):
    """As `packing.unpack`."""
    cdef list facts = []
    cdef Py_ssize_t at = 0
    while at < len(blob):
        facts.append(fact_at(order_id, blob, &at, words))
    return facts


def unpack_at(order_id, bytes blob not None, Py_ssize_t at, words):
    """As `packing.unpack_at`."""
    return fact_at(order_id, blob, &at, words)


cdef object fact_at(order_id, bytes blob, Py_ssize_t* at, words):
    """The event that begins at a position, which moves behind it."""
    cdef Head head
    cdef Py_ssize_t end = head_at(blob, at[0], &head), extra_end = head.id_end + head.extra, vin_end = extra_end
    text = blob[at[0] + HEAD_BYTES : end].decode("utf-8")
    at[0] = end
    if head.content & HAS_VIN:
        vin_end += VIN_CHARACTERS
    return _Fact(
        head.content & KIND,
        order_id,
        words[head.source],
        text[: head.id_end],
        <long long> head.time_us,
        text[extra_end:vin_end],
        words[head.dims],
        text[head.id_end : extra_end],
        voids_in(text[vin_end:]) if head.content & HAS_VOIDS else None,
        head.origin & 1 == 1,
        head.origin >> 1 | (head.content >> OF_PRODUCTION_SHIFT & 1) << TOPIC_BITS,
        head.partition,
        head.offset,
    )


cdef object id_of(bytes blob, Py_ssize_t at, const Head* head):
    """The id of an event that begins at a position."""
    return blob[at + HEAD_BYTES : at + HEAD_BYTES + head.text_bytes].decode("utf-8")[: head.id_end]


cdef inline Py_ssize_t head_at(bytes blob, Py_ssize_t at, Head* head) except -1:
    """Reads the head of the event that begins at a position. Returns the position behind the event."""
    cdef Cursor cursor
    whole_of(blob, &cursor)
    take(&cursor, at)
    memcpy(head, take(&cursor, HEAD_BYTES), HEAD_BYTES)
    take(&cursor, head.text_bytes)
    return at + HEAD_BYTES + head.text_bytes


cdef inline bint is_sole(bytes blob, int kind, Head* head) except -1:
    """Whether an order has just one event, of the given kind; reads its head."""
    return head_at(blob, 0, head) == len(blob) and head.content & KIND == kind
