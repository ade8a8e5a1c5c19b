# cython: language_level=3, boundscheck=True, wraparound=False
"""The work for every event, compiled, with orders in compact memory; `streams.domain.orders.steps` does the same, and the rare cases.

Lists are read with bounds checks. Bytes are read and written through cursors, which check each access against their end.
"""

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_RawCalloc, PyMem_RawFree, PyMem_RawRealloc, PyMem_Realloc
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdlib cimport qsort
from libc.string cimport memcmp, memcpy, memset

from array import array
from datetime import date
from os import urandom

import numpy as np

import msgspec

from schemas._scanner import Events, unpack, unpack_at
from schemas.facts import LatestUnit
from streams.domain.orders.counted_days import latest_of, rank
from streams.domain.orders.packed_columns import Heads, PlainUnits, Restored
from streams.domain.orders.packing import pack
from streams.domain.orders.steps import MOST_PLACES as _MOST_PLACES, STRETCH_BYTES
from streams.domain.time.zone import EARLIEST_US as _EARLIEST_US, LATEST_US as _LATEST_US
from streams.domain.time.zone import DAY_US as _DAY_US, EPOCH_CELL as _EPOCH_CELL, HOUR_US as _HOUR_US
from streams.domain.time.zone import QUARTER_HOUR_US as _QUARTER_HOUR_US

cdef extern from *:
    void __builtin_prefetch(const void*) noexcept nogil

include "../../schemas/_packed.pxi"
include "_json.pxi"

#: What precedes the content of a packed event.
cdef enum:
    COORDINATES_BYTES = 11

#: The values of `schemas.facts.Kind`.
cdef enum:
    PLACED = 1
    DELIVERED = 3
    VOIDED = 5

cdef long long QUARTER_HOUR_US = _QUARTER_HOUR_US, HOUR_US = _HOUR_US, DAY_US = _DAY_US, EPOCH_CELL = _EPOCH_CELL

cdef long long EARLIEST_US = _EARLIEST_US, LATEST_US = _LATEST_US
cdef Py_ssize_t MOST_PLACES = _MOST_PLACES

#: No day and no cell.
cdef long long NEVER = -1 << 62

#: The key of a sum; see `steps`.
cdef enum:
    BACKFILL = 0b1
    LEAVING = 0b10
    GROUP_SHIFT = 2
    GROUPS_BITS = 3
    GROUP = 0b111
    HOURS = 24


# The C library keeps what was freed for the threads that allocated it.
cdef extern from *:
    """
    #ifdef __GLIBC__
    #include <malloc.h>
    static void give_back_freed(void) { malloc_trim(0); }
    #else
    static void give_back_freed(void) { }
    #endif
    """
    void give_back_freed() noexcept nogil


def give_back():
    """As `steps.give_back`."""
    with nogil:
        give_back_freed()


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
    #: Blocks are listed in parts, which are not moved either.
    PART_BITS = 9
    PART_BLOCKS = 1 << PART_BITS
    PARTS = MOST_BLOCKS >> PART_BITS
    #: The index has segments that grow independently, each in far less than a millisecond.
    SEGMENT_BITS = 8
    SEGMENTS = 1 << SEGMENT_BITS
    LEAST_SLOTS = 8
    TAG_BITS = 24
    ADDRESS_BITS = 40
    ADDRESS_BYTES = 8

#: Publishers choose ids, but must not be able to choose ids with the same hash.
cdef unsigned long long[2] HASH_KEY
HASH_KEY[0], HASH_KEY[1] = (int.from_bytes(urandom(8), "little") for _ in range(2))

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

    cdef unsigned char* kept
    cdef Py_ssize_t size
    cdef Py_ssize_t filled

    def __cinit__(self, Py_ssize_t size):
        if size != 0:
            self.enlarge(size)

    def __dealloc__(self):
        PyMem_RawFree(self.kept)

    cdef inline int filled_from(self, Py_ssize_t at, Cursor* cursor) except -1:
        """Sets a cursor to the filled part, from a position on."""
        if not 0 <= at <= self.filled:
            raise IndexError("beyond what is filled")
        cursor.at = self.kept + at
        cursor.end = self.kept + self.filled
        return 0

    cdef inline int room_for(self, Py_ssize_t size, Cursor* cursor) except -1 nogil:
        """Sets a cursor to free memory after the filled part."""
        if self.size - self.filled < size:
            self.enlarge(2 * (self.filled + size))
        cursor.at = self.kept + self.filled
        cursor.end = cursor.at + size
        return 0

    cdef int enlarge(self, Py_ssize_t size) except -1 nogil:
        cdef void* larger = PyMem_RawRealloc(self.kept, size)
        if larger == NULL:
            with gil:
                raise MemoryError
        self.kept, self.size = <unsigned char*> larger, size
        return 0

    cdef inline int fill(self, const Cursor* cursor) noexcept nogil:
        """Ends the filled part where a cursor stopped writing."""
        self.filled = cursor.at - self.kept
        return 0


#: Memory for entries, which are never moved: filled from its start to its end.
cdef struct Block:
    unsigned char* kept
    Py_ssize_t size
    Py_ssize_t filled


def in_memory(Py_ssize_t size):
    """Memory of the process."""
    # Not `bytearray(size)`, which fills it with zeros: nothing is read that was not written.
    return PyByteArray_FromStringAndSize(NULL, size)


#: A segment of the hash index, with open addressing: each slot has a tag, 24 bits of the id's hash, and the order's address.
#: A slot's place follows from its tag alone, so growing looks up no order.
cdef struct Segment:
    unsigned long long* slots
    Py_ssize_t size
    Py_ssize_t used


cdef int add_slot(Segment* segment, unsigned long long slot) except -1 nogil:
    if 5 * segment.used >= 4 * segment.size:
        grow(segment)
    segment.used += 1
    put_in(segment, slot)
    return 0


cdef int grow(Segment* segment) except -1 nogil:
    """Grows by a quarter: after doubling, half of it would be empty."""
    cdef Segment larger
    cdef Py_ssize_t at
    larger.size = segment.size + segment.size // 4 if segment.size else LEAST_SLOTS
    larger.used = segment.used
    larger.slots = <unsigned long long*> PyMem_RawCalloc(larger.size, sizeof(unsigned long long))
    if larger.slots == NULL:
        with gil:
            raise MemoryError
    for at in range(segment.size):
        if segment.slots[at]:
            put_in(&larger, segment.slots[at])
    PyMem_RawFree(segment.slots)
    segment[0] = larger
    return 0


cdef inline void put_in(Segment* segment, unsigned long long slot) noexcept nogil:
    """Puts a slot where there is one free."""
    cdef Py_ssize_t at = first_slot(segment, slot >> ADDRESS_BITS)
    while segment.slots[at]:
        at = slot_after(segment, at)
    segment.slots[at] = slot


cdef inline Py_ssize_t first_slot(const Segment* segment, unsigned long long tag) noexcept nogil:
    """Where probing for a tag begins."""
    return <Py_ssize_t> (tag * <unsigned long long> segment.size >> TAG_BITS)


cdef inline Py_ssize_t slot_after(const Segment* segment, Py_ssize_t at) noexcept nogil:
    return at + 1 if at + 1 < segment.size else 0


@cython.final
cdef class PackedOrders:
    """Packed events by order, in a third of the memory of a `dict`; nothing can be deleted.

    Args:
        room: Gives the memory of a block, by its size in bytes, for as long as somebody refers to it.
    """

    cdef object room
    #: What owns the memory of each block.
    cdef list rooms
    cdef Block* parts[PARTS]
    cdef Py_ssize_t blocks
    cdef Segment[SEGMENTS] segments
    cdef Py_ssize_t length
    #: Scratch memory: events encoded, and decoded; addresses of later entries.
    cdef _Buffer compact
    cdef _Buffer found
    cdef _Buffer later
    #: Kept here, as orders stay from step to step.
    cdef _Codes codes

    def __init__(self, room=in_memory):
        self.codes = _Codes()
        self.room = room
        self.rooms = []
        self.compact = _Buffer(256)
        self.found = _Buffer(256)
        self.later = _Buffer(256)

    def __dealloc__(self):
        cdef Py_ssize_t number
        for number in range(PARTS):
            PyMem_RawFree(self.parts[number])
        for number in range(SEGMENTS):
            PyMem_RawFree(self.segments[number].slots)

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
        cdef Cursor order, now, known
        if address == 0:
            text_of(order_id, &order)
            whole_of(events, &now)
            self.add_new(hash_of(&order), &order, &now)
            return
        self.find_events(address, &known)
        whole_of(events, &now)
        if starts_with(&now, &known):
            if known.at < known.end:
                take(&now, known.end - known.at)
            if now.at < now.end:
                self.extend(address, &now)
        else:
            self.set_latest(address, self.put_entry(NULL, INSTEAD, &now))

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
        cdef Py_ssize_t size = 0, number
        for number in range(self.blocks):
            size += self.block(number).size
        for number in range(SEGMENTS):
            size += 8 * self.segments[number].size
        return size

    # Index ----------------------------------------------------------------------------------------------------------

    cdef unsigned long long find(self, object order_id) except? 0xFFFF_FFFF_FFFF_FFFF:
        """The address of an order, 0 if there is no such order."""
        cdef Cursor order
        text_of(order_id, &order)
        return self.find_text(hash_of(&order), &order)

    cdef unsigned long long find_text(
        self, unsigned long long number, const Cursor* order
    ) except? 0xFFFF_FFFF_FFFF_FFFF nogil:
        """The same, given the hash and the text of its id."""
        cdef unsigned long long tag = number >> SEGMENT_BITS & TAG, slot
        cdef const Segment* segment = &self.segments[number & SEGMENTS - 1]
        cdef Py_ssize_t at
        if segment.size == 0:
            return 0
        at = first_slot(segment, tag)
        slot = segment.slots[at]
        while slot:
            if slot >> ADDRESS_BITS == tag and self.is_of(slot & ADDRESS, order):
                return slot & ADDRESS
            at = slot_after(segment, at)
            slot = segment.slots[at]
        return 0

    cdef inline void ask_for_slot(self, unsigned long long number) noexcept nogil:
        """Has the processor fetch what `find_text` looks at first, given the hash of an id."""
        cdef const Segment* segment = &self.segments[number & SEGMENTS - 1]
        if segment.size:
            __builtin_prefetch(&segment.slots[first_slot(segment, number >> SEGMENT_BITS & TAG)])

    cdef inline int ask_for_order(self, unsigned long long number) except -1 nogil:
        """The same for what it looks at then."""
        cdef const Segment* segment = &self.segments[number & SEGMENTS - 1]
        cdef unsigned long long tag = number >> SEGMENT_BITS & TAG, slot
        if segment.size:
            slot = segment.slots[first_slot(segment, tag)]
            if slot and slot >> ADDRESS_BITS == tag:
                __builtin_prefetch(self.block((slot & ADDRESS) >> POSITION_BITS).kept + (slot & POSITION))
        return 0

    cdef bint is_of(self, unsigned long long address, const Cursor* order) except -1 nogil:
        """Whether the order at an address has an id."""
        cdef Cursor cursor
        cdef Py_ssize_t size = order.end - order.at
        self.seek(address, &cursor)
        if read_varint(&cursor) != <unsigned long long> size + 1:
            return False
        take(&cursor, LATEST_BYTES)
        read_varint(&cursor)
        return memcmp(take(&cursor, size), order.at, size) == 0

    cdef unsigned long long add_new(
        self, unsigned long long number, const Cursor* order, const Cursor* events
    ) except 0 nogil:
        """Puts a new order, given the hash and the text of its id; returns its address."""
        cdef unsigned long long address = self.put_entry(order, 0, events)
        add_slot(&self.segments[number & SEGMENTS - 1], (number >> SEGMENT_BITS & TAG) << ADDRESS_BITS | address)
        self.length += 1
        return address

    # Entries --------------------------------------------------------------------------------------------------------

    cdef inline Block* block(self, Py_ssize_t number) except NULL nogil:
        """A block, by its number."""
        if not 0 <= number < self.blocks:
            with gil:
                raise IndexError("there is no such block")
        return &self.parts[number >> PART_BITS][number & PART_BLOCKS - 1]

    cdef inline int seek(self, unsigned long long address, Cursor* cursor) except -1 nogil:
        """Sets a cursor to the memory from an address to the end of what its block is filled with."""
        return self.seek_in(address >> POSITION_BITS, address & POSITION, cursor)

    cdef inline int seek_in(self, Py_ssize_t number, Py_ssize_t at, Cursor* cursor) except -1 nogil:
        """The same, given the number of the block and the position in it."""
        cdef const Block* block = self.block(number)
        if not 0 <= at <= block.filled:
            with gil:
                raise IndexError("beyond what is filled")
        cursor.at = block.kept + at
        cursor.end = block.kept + block.filled
        return 0

    cdef unsigned long long put_entry(
        self, const Cursor* order, unsigned long long before, const Cursor* events
    ) except 0 nogil:
        """Appends an entry with events: of a new order, given its id, or one that follows another. Returns its address."""
        cdef Py_ssize_t id_bytes = 0 if order == NULL else order.end - order.at, size
        cdef unsigned long long address
        cdef Cursor cursor, compact
        cdef Block* block
        self.compact.filled = 0
        encode(self.compact, events)
        compact.at = self.compact.kept
        compact.end = compact.at + self.compact.filled
        size = ENTRY_BYTES + id_bytes + self.compact.filled
        block = self.block_for(size)
        address = <unsigned long long> (self.blocks - 1) << POSITION_BITS | <unsigned long long> block.filled
        cursor.at = block.kept + block.filled
        cursor.end = cursor.at + size
        if order == NULL:
            take(&cursor, 1)[0] = 0
            write_varint(&cursor, before)
        else:
            write_varint(&cursor, id_bytes + 1)
            memset(take(&cursor, LATEST_BYTES), 0, LATEST_BYTES)
        write_varint(&cursor, self.compact.filled)
        if order != NULL:
            write(&cursor, order.at, id_bytes)
        write(&cursor, compact.at, self.compact.filled)
        block.filled = cursor.at - block.kept
        return address

    cdef Block* block_for(self, Py_ssize_t size) except NULL nogil:
        """The last block if it has room for so many bytes, or a new one."""
        cdef Block* last
        if self.blocks > 0:
            last = self.block(self.blocks - 1)
            if last.size - last.filled >= size:
                return last
        with gil:
            return self.new_block(size)

    cdef Block* new_block(self, Py_ssize_t size) except NULL:
        """Another block, with room for so many bytes."""
        cdef Py_ssize_t number = self.blocks
        cdef unsigned char[::1] kept
        cdef Block* block
        if number >= MOST_BLOCKS:
            raise MemoryError("there is no room for more orders")
        # A block larger than usual has room for just this entry, so every position fits into an address.
        room = self.room(max(size + 1, FIRST_BLOCK_BYTES << min(number, DOUBLED_BLOCKS)))
        kept = room
        if self.parts[number >> PART_BITS] == NULL:
            self.parts[number >> PART_BITS] = <Block*> PyMem_RawCalloc(PART_BLOCKS, sizeof(Block))
            if self.parts[number >> PART_BITS] == NULL:
                raise MemoryError
        # While somebody has a view of it, its owner cannot move or release it.
        self.rooms.append(kept)
        block = &self.parts[number >> PART_BITS][number & PART_BLOCKS - 1]
        # The first byte is left free, which keeps 0 from being an address.
        block.kept, block.size, block.filled = &kept[0], kept.shape[0], 1
        self.blocks += 1
        return block

    cdef int extend(self, unsigned long long address, const Cursor* events) except -1:
        """Appends events to an order."""
        cdef Cursor cursor
        cdef unsigned long long latest
        self.seek(address, &cursor)
        read_varint(&cursor)
        latest = read_fixed(&cursor, LATEST_BYTES)
        return self.set_latest(address, self.put_entry(NULL, latest, events))

    cdef int set_latest(self, unsigned long long address, unsigned long long latest) except -1:
        cdef Cursor cursor
        self.seek(address, &cursor)
        read_varint(&cursor)
        return write(&cursor, &latest, LATEST_BYTES)

    cdef bytes events(self, unsigned long long address):
        """The events of an order, as they were packed."""
        cdef Cursor found
        self.find_events(address, &found)
        return bytes_of(&found)

    cdef int find_events(self, unsigned long long address, Cursor* found) except -1:
        """The same where no bytes object is needed; the cursor is valid until the next call."""
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
        return self.found.filled_from(0, found)

    cdef object id_at(self, unsigned long long address):
        """The id of the order at an address."""
        cdef Cursor cursor
        cdef unsigned long long id_bytes
        self.seek(address, &cursor)
        id_bytes = read_varint(&cursor)
        take(&cursor, LATEST_BYTES)
        read_varint(&cursor)
        return (<const char*> take(&cursor, id_bytes - 1))[: id_bytes - 1].decode("utf-8")


def orders_in(room):
    """As `steps.orders_in`."""
    return PackedOrders(in_memory if room is None else room)


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
            self.orders.seek_in(self.block, self.at, &cursor)
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


#: Orders that follow each other in a list from a position on; the address before; the least and the greatest time of their units.
cdef struct Stretch:
    Py_ssize_t at
    unsigned long long before
    long long first_us
    long long last_us


@cython.final
cdef class OrderLists:
    """As `steps.OrderLists`. A list has the address of its last order in 8 bytes, then of each order the difference between its
    address and the one before, with the sign in the lowest bit (varint): nearly all take one to four bytes. What
    follows the first few kilobytes is divided into stretches with the times of their units.
    """

    cdef PackedOrders orders
    cdef dict lists
    #: The stretches of long lists, by number: each a bytearray of `Stretch`.
    cdef dict stretches
    cdef Py_ssize_t stretch_bytes
    #: Scratch memory: addresses, and their differences.
    cdef _Buffer addresses
    cdef _Buffer differences

    def __init__(self, PackedOrders orders not None, Py_ssize_t stretch_bytes=STRETCH_BYTES):
        self.orders = orders
        self.stretch_bytes = stretch_bytes
        self.lists = {}
        self.stretches = {}
        self.addresses = _Buffer(256)
        self.differences = _Buffer(256)

    def note(self, number, list order_ids not None, long long first_us, long long last_us):
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
        self.append(number, &room, first_us, last_us)

    def note_cell(self, long long number, dict cell not None):
        """As in `steps`."""
        cdef Cursor places
        cdef Sum change
        cdef long long key
        for key, each in cell.items():
            if key & LEAVING:
                continue
            change = each
            of = number << GROUPS_BITS | key >> GROUP_SHIFT & GROUP
            if change.ids is not None:
                self.note(of, change.ids, change.first_us, change.last_us)
            change.places.filled_from(0, &places)
            if places.at < places.end:
                self.append(of, &places, change.first_us, change.last_us)

    def note_places(self, number, const long long[::1] places not None, const long long[::1] times_us not None):
        """As in `steps`."""
        cdef Cursor addresses
        cdef Py_ssize_t at = 0, end, each
        cdef long long first_us, last_us
        if times_us.shape[0] != places.shape[0]:
            raise ValueError("each place has a time")
        while at < places.shape[0]:
            end = min(at + MOST_PLACES, places.shape[0])
            first_us = last_us = times_us[at]
            for each in range(at + 1, end):
                first_us, last_us = min(first_us, times_us[each]), max(last_us, times_us[each])
            addresses.at = <unsigned char*> &places[at]
            addresses.end = addresses.at + ADDRESS_BYTES * (end - at)
            self.append(number, &addresses, first_us, last_us)
            at = end

    def noted(self, numbers):
        """As in `steps`, at any time."""
        cdef dict found = {}
        for number in numbers:
            for part in self.addresses_in(number, EARLIEST_US, LATEST_US):
                found.update(dict.fromkeys(part.tolist()))
        return [self.orders.id_at(each) for each in found]

    def places(self, numbers, long long first_us=EARLIEST_US, long long last_us=LATEST_US):
        """As in `steps`; in the order of their addresses."""
        every = [np.empty(0, np.int64)]
        for number in numbers:
            every += self.addresses_in(number, first_us, last_us)
        found = np.concatenate(every)
        found.sort()
        # `numpy.unique` takes ten times as long.
        return found[np.concatenate(([True], np.diff(found) != 0))] if len(found) else found

    def __sizeof__(self):
        lists = sum([each.__sizeof__() for each in self.lists.values()])
        stretches = sum([each.__sizeof__() for each in self.stretches.values()])
        return object.__sizeof__(self) + self.lists.__sizeof__() + self.stretches.__sizeof__() + lists + stretches

    cdef list addresses_in(self, number, long long first_us, long long last_us):
        """The addresses of orders in a list, in the order in which they were noted, as arrays: all of these times, and others."""
        cdef bytearray known = self.lists.get(number), stretches = self.stretches.get(number)
        cdef const Stretch* stretch
        cdef Py_ssize_t count, each
        if known is None:
            return []
        count = len(stretches) // sizeof(Stretch) if stretches is not None else 0
        stretch = <const Stretch*> PyByteArray_AS_STRING(stretches) if count else NULL
        found = [addresses_between(known, ADDRESS_BYTES, stretch.at if count else len(known), 0)]
        for each in range(count):
            if stretch[each].first_us <= last_us and stretch[each].last_us >= first_us:
                end = stretch[each + 1].at if each + 1 < count else len(known)
                found.append(addresses_between(known, stretch[each].at, end, stretch[each].before))
        return found

    cdef int append(self, number, Cursor* addresses, long long first_us, long long last_us) except -1:
        """Appends orders with units between two times to a list."""
        cdef bytearray known = self.lists.get(number)
        cdef unsigned long long address, last = 0
        cdef Cursor room, of_last
        if known is None:
            known = self.lists[number] = bytearray(ADDRESS_BYTES)
        of_last.at = <unsigned char*> PyByteArray_AS_STRING(known)
        of_last.end = of_last.at + ADDRESS_BYTES
        memcpy(&last, of_last.at, ADDRESS_BYTES)
        if len(known) >= self.stretch_bytes:
            self.in_stretch(number, len(known), last, first_us, last_us)
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

    cdef int in_stretch(
        self, number, Py_ssize_t at, unsigned long long before, long long first_us, long long last_us
    ) except -1:
        """Notes the times of orders that a list gets at a position, in its last stretch, or if that is full in a new one."""
        cdef bytearray stretches = self.stretches.get(number)
        cdef Stretch* last = NULL
        cdef Stretch added
        if stretches is None:
            stretches = self.stretches[number] = bytearray()
        if len(stretches):
            last = <Stretch*> PyByteArray_AS_STRING(stretches) + (len(stretches) // <Py_ssize_t> sizeof(Stretch) - 1)
        if last == NULL or at - last.at >= self.stretch_bytes:
            added.at, added.before, added.first_us, added.last_us = at, before, first_us, last_us
            stretches += (<const char*> &added)[: sizeof(Stretch)]
        else:
            last.first_us, last.last_us = min(last.first_us, first_us), max(last.last_us, last_us)
        return 0


cdef addresses_between(bytearray known, Py_ssize_t at, Py_ssize_t end, unsigned long long address):
    """The addresses between two positions of a list, as an array, given the one before."""
    cdef Cursor cursor
    cdef Py_ssize_t count = 0
    cdef long long[::1] places
    # An order takes at least a byte.
    places = found = np.empty(end - at, np.int64)
    cursor.at = <unsigned char*> PyByteArray_AS_STRING(known) + at
    cursor.end = <unsigned char*> PyByteArray_AS_STRING(known) + end
    while cursor.at < cursor.end:
        address += signed_of(read_varint(&cursor))
        places[count] = address
        count += 1
    return found[:count]


cdef inline unsigned long long with_sign_below(unsigned long long difference) noexcept:
    """A difference, doubled if it is not negative."""
    return ~(difference << 1) if difference >> 63 else difference << 1


cdef inline unsigned long long signed_of(unsigned long long number) noexcept:
    """The difference that `with_sign_below` has made a number of."""
    return ~(number >> 1) if number & 1 else number >> 1


cdef int encode(_Buffer compact, const Cursor* events) except -1 nogil:
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


cdef bint encode_event(Cursor* cursor, Cursor* compact) except -1 nogil:
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


cdef bint is_uuid(const unsigned char* text, unsigned char* uuid) noexcept nogil:
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


cdef inline int whole_of(bytes these, Cursor* cursor) except -1:
    cursor.at = <unsigned char*> PyBytes_AS_STRING(these)
    cursor.end = cursor.at + len(these)
    return 0


cdef inline int text_of(order_id, Cursor* cursor) except -1:
    """Sets a cursor to the text of a string, for as long as that lives."""
    cdef Py_ssize_t size = 0
    cursor.at = <unsigned char*> PyUnicode_AsUTF8AndSize(order_id, &size)
    cursor.end = cursor.at + size
    return 0


cdef inline bytes bytes_of(const Cursor* cursor):
    return (<const char*> cursor.at)[: cursor.end - cursor.at]


cdef inline str string_of(const Cursor* cursor):
    return (<const char*> cursor.at)[: cursor.end - cursor.at].decode("utf-8")


cdef inline bint starts_with(const Cursor* these, const Cursor* start) noexcept:
    cdef Py_ssize_t size = start.end - start.at
    return these.end - these.at >= size and memcmp(these.at, start.at, size) == 0


cdef inline Py_ssize_t characters_of(const Cursor* text) noexcept nogil:
    """The number of characters of a text in UTF-8."""
    cdef Py_ssize_t count = 0, at
    for at in range(text.end - text.at):
        count += text.at[at] & 0xC0 != 0x80
    return count


cdef inline bint is_ascii(const Cursor* text) noexcept nogil:
    cdef unsigned char found = 0
    cdef Py_ssize_t at
    for at in range(text.end - text.at):
        found |= text.at[at]
    return found < 0x80


cdef unsigned long long hash_of(const Cursor* text) noexcept nogil:
    """SipHash-1-3 of a text."""
    cdef Py_ssize_t size = text.end - text.at, at = 0
    cdef unsigned long long[4] v
    cdef unsigned long long word
    v[0], v[1] = HASH_KEY[0] ^ 0x736F6D6570736575ULL, HASH_KEY[1] ^ 0x646F72616E646F6DULL
    v[2], v[3] = HASH_KEY[0] ^ 0x6C7967656E657261ULL, HASH_KEY[1] ^ 0x7465646279746573ULL
    while size - at >= 8:
        memcpy(&word, text.at + at, 8)
        v[3] ^= word
        mix(v)
        v[0] ^= word
        at += 8
    word = <unsigned long long> size << 56
    memcpy(&word, text.at + at, size - at)
    v[3] ^= word
    mix(v)
    v[0] ^= word
    v[2] ^= 0xFF
    mix(v)
    mix(v)
    mix(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


cdef inline void mix(unsigned long long* v) noexcept nogil:
    """A round of SipHash."""
    v[0] += v[1]
    v[1] = (v[1] << 13 | v[1] >> 51) ^ v[0]
    v[0] = v[0] << 32 | v[0] >> 32
    v[2] += v[3]
    v[3] = (v[3] << 16 | v[3] >> 48) ^ v[2]
    v[0] += v[3]
    v[3] = (v[3] << 21 | v[3] >> 43) ^ v[0]
    v[2] += v[1]
    v[1] = (v[1] << 17 | v[1] >> 47) ^ v[2]
    v[2] = v[2] << 32 | v[2] >> 32


cdef inline unsigned long long read_fixed(Cursor* cursor, Py_ssize_t size) except? 0xFFFF_FFFF_FFFF_FFFF nogil:
    """Reads a number of at most 8 bytes."""
    cdef unsigned long long number = 0
    memcpy(&number, take(cursor, size), size)
    return number


cdef inline unsigned long long read_varint(Cursor* cursor) except? 0xFFFF_FFFF_FFFF_FFFF nogil:
    """Reads a number with seven bits per byte."""
    cdef unsigned long long number = 0
    cdef unsigned char byte = 0x80
    cdef int shift = 0
    while byte & 0x80 and shift < 64:
        byte = take(cursor, 1)[0]
        number |= <unsigned long long> (byte & 0x7F) << shift
        shift += 7
    return number


cdef inline int write_varint(Cursor* cursor, unsigned long long number) except -1 nogil:
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
    #: The longest such beginning.
    SIZE_BYTES = 5


#: What matters of an event to `UnitSearch`.
cdef struct Seen:
    int kind
    long long time_us
    long long label


DAMAGED = "a chunk of the changelog is damaged"


#: Reads the orders in a chunk of the changelog, one after the other.
cdef struct Entries:
    Cursor cursor
    Py_ssize_t left


cdef int begin_entries(const unsigned char[::1] chunk, Entries* entries) except -1:
    """Sets a reader to the first order of a chunk, which must stay where it is."""
    entries.cursor.at = entries.cursor.end = NULL
    if chunk.shape[0]:
        entries.cursor.at = <unsigned char*> &chunk[0]
        entries.cursor.end = entries.cursor.at + chunk.shape[0]
    entries.left = read_size(&entries.cursor, SHORT_ARRAY, MOST_SHORT_ARRAY, 0, ARRAY_2, ARRAY_4)
    return 0


cdef bint next_entry(Entries* entries, Cursor* order, Cursor* events) except -1 nogil:
    """Sets cursors to the id and the packed events of the next order; returns whether there is one.

    Raises:
        IndexError: The chunk is damaged.
    """
    cdef Cursor* cursor = &entries.cursor
    cdef Py_ssize_t size
    if entries.left == 0:
        if cursor.at != cursor.end:
            with gil:
                raise IndexError("more than one value")
        return False
    entries.left -= 1
    if take(cursor, 1)[0] != PAIR:
        with gil:
            raise IndexError("no pair")
    size = read_size(cursor, SHORT_TEXT, MOST_SHORT_TEXT, TEXT_1, TEXT_2, TEXT_4)
    order.at = take(cursor, size)
    order.end = cursor.at
    if not is_ascii(order):
        with gil:
            string_of(order)  # raises where it is not UTF-8
    size = read_size(cursor, 0, 0, BYTES_1, BYTES_2, BYTES_4)
    events.at = take(cursor, size)
    events.end = cursor.at
    return True


#: An order in a chunk: its id, the hash of this, and its packed events.
cdef struct Entry:
    Cursor order
    Cursor events
    unsigned long long number


#: So many orders of a chunk are looked up together: what each needs of memory is asked for before the first of them waits for it.
cdef enum:
    TOGETHER = 16


@cython.final
cdef class Restoring:
    """As `steps.Restoring`; the place of an order is its address."""

    runs_beside = True

    cdef PackedOrders orders
    cdef _Buffer places
    cdef _Buffer first
    cdef _Buffer second
    cdef _Buffer followed
    cdef _Buffer longer
    cdef Py_ssize_t length
    cdef Py_ssize_t size

    def __init__(self, PackedOrders orders not None):
        self.orders = orders
        self.clear()

    def __len__(self):
        return self.length

    def put(self, chunks):
        """As in `steps`.

        Other threads run meanwhile, without the lock of the interpreter being taken but for a new block. They may use `order_at` for
        what was put before: an entry stays where and as it is, the list of blocks is only added to with that lock, and what is
        written otherwise, the index and `compact`, `order_at` does not touch. Everything else has to wait.
        """
        cdef list views = [memoryview(chunk) for chunk in chunks]
        cdef _Buffer readers = _Buffer(len(views) * sizeof(Entries))
        cdef Entries* entries = <Entries*> readers.kept
        cdef Py_ssize_t number, count = len(views)
        try:
            for number in range(count):
                begin_entries(views[number], &entries[number])
            with nogil:
                for number in range(count):
                    self.put_all(&entries[number])
        except IndexError as error:
            raise ValueError(DAMAGED) from error

    cdef int put_all(self, Entries* entries) except -1 nogil:
        cdef Entry[TOGETHER] some
        cdef Entry* entry
        cdef Py_ssize_t count = TOGETHER, number
        while count == TOGETHER:
            count = 0
            while count < TOGETHER and next_entry(entries, &some[count].order, &some[count].events):
                some[count].number = hash_of(&some[count].order)
                self.orders.ask_for_slot(some[count].number)
                count += 1
            for number in range(count):
                self.orders.ask_for_order(some[number].number)
            for number in range(count):
                entry = &some[number]
                if self.orders.find_text(entry.number, &entry.order) == 0:
                    self.put_order(entry.number, &entry.order, &entry.events)
        return 0

    def taken(self):
        """As in `steps`."""
        made = Restored(
            numbers_in(self.places),
            heads_in(self.first),
            heads_in(self.second),
            numbers_in(self.followed),
            numbers_in(self.longer).tolist(),
            self.size,
        )
        self.clear()
        return made

    cdef int clear(self) except -1:
        self.places, self.first, self.second = _Buffer(0), _Buffer(0), _Buffer(0)
        self.followed, self.longer = _Buffer(0), _Buffer(0)
        self.length = self.size = 0
        return 0

    cdef int put_order(self, unsigned long long number, const Cursor* order, const Cursor* events) except -1 nogil:
        """Puts a new order, and notes its first events."""
        cdef Cursor rest = events[0]
        cdef unsigned long long address = self.orders.add_new(number, order, events)
        append(self.places, &address, ADDRESS_BYTES)
        append_event(self.first, &rest)
        if rest.at < rest.end:
            append(self.followed, &self.length, sizeof(self.length))
            append_event(self.second, &rest)
            if rest.at < rest.end:
                append(self.longer, &self.length, sizeof(self.length))
        self.length += 1
        self.size += characters_of(order) + (events.end - events.at)
        return 0


@cython.final
cdef class UnitSearch:
    """As `steps.UnitSearch`; the place of an order is its address."""

    cdef PackedOrders orders
    #: Bits of kinds.
    cdef unsigned int sole, kinds
    cdef object label_of
    #: By the codes of the dimensions, -1 for one that is not known yet.
    cdef long long[::1] labels
    cdef _Buffer times
    cdef _Buffer found_labels
    cdef _Buffer places
    cdef _Buffer others
    #: Of the order that is looked at: how many events were read, the first two of them, and whether any has a label.
    cdef Py_ssize_t events
    cdef Seen first, second
    cdef bint has_label

    def __init__(self, PackedOrders orders not None, sole, kinds, label_of):
        self.orders, self.label_of = orders, label_of
        for kind in sole:
            self.sole |= 1 << <int> kind
        for kind in kinds:
            self.kinds |= 1 << <int> kind
        self.labels = array("q", [-1] * 16)
        self.times, self.found_labels, self.places, self.others = _Buffer(256), _Buffer(256), _Buffer(256), _Buffer(256)

    def look(self, const long long[::1] places not None):
        """As in `steps`."""
        cdef Py_ssize_t number
        for each in (self.times, self.found_labels, self.places, self.others):
            (<_Buffer> each).filled = 0
        for number in range(places.shape[0]):
            self.look_at(places[number])
        units = PlainUnits(numbers_in(self.times), numbers_in(self.found_labels), numbers_in(self.places))
        return units, numbers_in(self.others)

    cdef int look_at(self, unsigned long long address) except -1:
        """Looks at the order at an address."""
        cdef Cursor first, cursor
        cdef unsigned long long id_bytes, entry
        self.events = 0
        self.has_label = False
        self.orders.seek(address, &first)
        id_bytes = read_varint(&first)
        entry = read_fixed(&first, LATEST_BYTES)
        while entry > INSTEAD:
            self.orders.seek(entry, &cursor)
            read_varint(&cursor)
            entry = read_varint(&cursor)
            self.read(&cursor, 0)
        if entry == AFTER_FIRST:
            self.read(&first, id_bytes - 1)
        if self.events == 1:
            if self.sole >> self.first.kind & 1:
                return self.note(address, &self.first)
        elif self.events == 2:
            if self.is_delivered_later(&self.first, &self.second) or self.is_delivered_later(&self.second, &self.first):
                self.note(address, &self.first)
                return self.note(address, &self.second)
        if self.has_label:
            append(self.others, &address, ADDRESS_BYTES)
        return 0

    cdef int read(self, Cursor* entry, Py_ssize_t id_bytes) except -1:
        """Reads the events of an entry, as `decode` does."""
        cdef Cursor events
        cdef Head head
        cdef Py_ssize_t size = read_varint(entry), text_bytes
        cdef unsigned char content
        take(entry, id_bytes)
        events.at = take(entry, size)
        events.end = entry.at
        while events.at < events.end:
            content = take(&events, 1)[0]
            if content & AS_PACKED:
                while events.at < events.end:
                    take(&events, next_head(events, &head))
                    self.see(head.content & KIND, <long long> head.time_us, head.dims)
                return 0
            take(&events, 1)
            read_varint(&events)
            read_varint(&events)
            head.time_us = read_fixed(&events, TIME_BYTES)
            read_varint(&events)
            head.dims = read_varint(&events) & 0xFFFF_FFFF
            text_bytes = read_varint(&events)
            if not content & HAS_UUID:
                read_varint(&events)
            read_varint(&events)
            take(&events, text_bytes + (UUID_BYTES if content & HAS_UUID else 0))
            self.see(content & KIND, <long long> head.time_us, head.dims)
        return 0

    cdef inline int see(self, int kind, long long time_us, Py_ssize_t dims) except -1:
        """Notes an event of the order that is looked at."""
        cdef Seen* seen = &self.first if self.events == 0 else &self.second
        cdef long long label
        if dims >= self.labels.shape[0]:
            larger = array("q", self.labels)
            larger.extend([-1] * (dims + 1))
            self.labels = larger
        label = self.labels[dims]
        if label < 0:
            label = self.labels[dims] = self.label_of(dims)
        self.has_label = self.has_label or label != 0
        if self.events < 2:
            seen.kind, seen.time_us, seen.label = kind, time_us, label
        self.events += 1
        return 0

    cdef inline bint is_delivered_later(self, const Seen* placed, const Seen* delivered) noexcept:
        return placed.kind == PLACED and delivered.kind == DELIVERED and placed.time_us < delivered.time_us

    cdef inline int note(self, unsigned long long address, const Seen* event) except -1:
        """Notes a unit, if it is of the metric and has a label."""
        if self.kinds >> event.kind & 1 and event.label:
            append(self.times, &event.time_us, sizeof(event.time_us))
            append(self.found_labels, &event.label, sizeof(event.label))
            append(self.places, &address, ADDRESS_BYTES)
        return 0


def order_at(PackedOrders orders not None, unsigned long long place):
    """As `steps.order_at`."""
    return orders.id_at(place), orders.events(place)


#: What `Heads` has of an event.
cdef enum:
    COLUMNS = 5


cdef int append_event(_Buffer heads, Cursor* events) except -1 nogil:
    """Appends the next event without its text; the cursor moves behind it."""
    cdef Head head
    cdef long long[COLUMNS] columns
    memcpy(&head, take(events, HEAD_BYTES), HEAD_BYTES)
    take(events, head.text_bytes)
    columns[0], columns[1] = head.content & KIND, <long long> head.time_us
    columns[2], columns[3], columns[4] = head.source, head.dims, head.origin & BACKFILL
    return append(heads, columns, sizeof(columns))


cdef object heads_in(_Buffer these):
    return Heads(*numbers_in(these).reshape(-1, COLUMNS).T)


cdef int append(_Buffer these, const void* more, Py_ssize_t size) except -1 nogil:
    cdef Cursor room
    these.room_for(size, &room)
    write(&room, more, size)
    return these.fill(&room)


cdef bytes whole_buffer(_Buffer these):
    return PyBytes_FromStringAndSize(<char*> these.kept, these.filled)


cdef object numbers_in(_Buffer these):
    return np.frombuffer(whole_buffer(these), np.int64)


cdef Py_ssize_t read_size(
    Cursor* cursor,
    unsigned char short,
    unsigned char most_short,
    unsigned char in_1,
    unsigned char in_2,
    unsigned char in_4,
) except -1 nogil:
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
        with gil:
            raise IndexError("another kind of value")
    for byte in range(bytes_of_size):
        size = size << 8 | take(cursor, 1)[0]
    return size


cdef int write_size(
    Cursor* room,
    Py_ssize_t size,
    unsigned char short,
    unsigned char most_short,
    unsigned char in_1,
    unsigned char in_2,
    unsigned char in_4,
) except -1:
    """Writes the beginning of a MessagePack value, as `read_size` reads it."""
    cdef Py_ssize_t byte, bytes_of_size = 4
    if size <= most_short - short and most_short:
        take(room, 1)[0] = short + size
        return 0
    if size < 1 << 8 and in_1:
        take(room, 1)[0] = in_1
        bytes_of_size = 1
    elif size < 1 << 16:
        take(room, 1)[0] = in_2
        bytes_of_size = 2
    else:
        take(room, 1)[0] = in_4
    for byte in range(bytes_of_size):
        take(room, 1)[0] = size >> 8 * (bytes_of_size - 1 - byte) & 0xFF
    return 0


# Storing ------------------------------------------------------------------------------------------------------------

#: An order that a step has touched: its address, and where its id and its packed events are; the first are from before the step.
cdef struct Touch:
    unsigned long long address
    Py_ssize_t id_at
    Py_ssize_t id_bytes
    Py_ssize_t at
    Py_ssize_t before
    Py_ssize_t size


@cython.final
cdef class Touched:
    """As `steps.Touched`."""

    cdef PackedOrders orders
    #: Ids and packed events.
    cdef _Buffer kept
    cdef _Buffer touches
    cdef Py_ssize_t length
    #: A hash index by address: numbers of touches from 1 on.
    cdef unsigned int[::1] index
    #: Scratch memory: the event to be stored.
    cdef _Buffer event

    def __init__(self, PackedOrders orders not None):
        self.orders = orders
        self.kept, self.touches, self.event = _Buffer(1 << 12), _Buffer(1 << 12), _Buffer(256)
        self.index = array("I", bytes(4 * 64))

    def __len__(self):
        return self.length

    def __iter__(self):
        cdef Cursor order
        for number in range(self.length):
            self.id_of(number, &order)
            yield string_of(&order)

    def keys(self):
        """As of a `dict`."""
        return iter(self)

    def __getitem__(self, order_id):
        cdef Py_ssize_t number = self.find(self.orders.find(order_id))
        cdef Cursor now
        if number < 0:
            raise KeyError(order_id)
        self.events_of(number, &now)
        return bytes_of(&now)

    def items(self):
        """As of a `dict`."""
        return [(order_id, self[order_id]) for order_id in self]

    def __eq__(self, others):
        return dict(self) == others

    def chunks(self, Py_ssize_t full_bytes):
        """As in `steps`."""
        cdef Py_ssize_t number = 0, first, size
        cdef Cursor order
        cdef list made = []
        while number < self.length:
            first, size = number, 0
            while number < self.length and size < full_bytes:
                self.id_of(number, &order)
                size += characters_of(&order) + self.touch(number).size + 4
                number += 1
            made.append(self.chunk(first, number))
        return made

    cdef bytes chunk(self, Py_ssize_t first, Py_ssize_t end):
        """Some orders as a chunk of the changelog, uncompressed."""
        cdef Py_ssize_t number, size = SIZE_BYTES
        cdef Cursor order, now, room
        cdef Touch* touch
        cdef _Buffer made
        for number in range(first, end):
            touch = self.touch(number)
            size += 1 + SIZE_BYTES + touch.id_bytes + SIZE_BYTES + touch.size
        made = _Buffer(size)
        made.room_for(size, &room)
        write_size(&room, end - first, SHORT_ARRAY, MOST_SHORT_ARRAY, 0, ARRAY_2, ARRAY_4)
        for number in range(first, end):
            self.id_of(number, &order)
            self.events_of(number, &now)
            take(&room, 1)[0] = PAIR
            write_size(&room, order.end - order.at, SHORT_TEXT, MOST_SHORT_TEXT, TEXT_1, TEXT_2, TEXT_4)
            write(&room, order.at, order.end - order.at)
            write_size(&room, now.end - now.at, 0, 0, BYTES_1, BYTES_2, BYTES_4)
            write(&room, now.at, now.end - now.at)
        made.fill(&room)
        made.filled_from(0, &room)
        return bytes_of(&room)

    cdef inline Touch* touch(self, Py_ssize_t number) except NULL:
        cdef Cursor cursor
        self.touches.filled_from(number * sizeof(Touch), &cursor)
        return <Touch*> take(&cursor, sizeof(Touch))

    cdef int id_of(self, Py_ssize_t number, Cursor* order) except -1:
        cdef Touch* touch = self.touch(number)
        self.kept.filled_from(touch.id_at, order)
        order.end = order.at + touch.id_bytes
        return 0

    cdef int events_of(self, Py_ssize_t number, Cursor* now) except -1:
        cdef Touch* touch = self.touch(number)
        self.kept.filled_from(touch.at, now)
        now.end = now.at + touch.size
        return 0

    cdef Py_ssize_t slot(self, unsigned long long address) noexcept:
        """Where probing for an address begins."""
        return <Py_ssize_t> ((address * 0x9E37_79B9_7F4A_7C15ULL >> 32) * <unsigned long long> self.index.shape[0] >> 32)

    cdef Py_ssize_t find(self, unsigned long long address) except -2:
        """The number of a touch, -1 if the order at an address was not touched."""
        cdef Py_ssize_t at = self.slot(address)
        while self.index[at]:
            if self.touch(self.index[at] - 1).address == address:
                return self.index[at] - 1
            at = at + 1 if at + 1 < self.index.shape[0] else 0
        return -1

    cdef int add(self, unsigned long long address, const Cursor* order, const Cursor* known, const Cursor* event) except -1:
        """Adds an order and its events; those from before the step may be NULL."""
        cdef Touch touch
        cdef Cursor room
        cdef Py_ssize_t number, before
        touch.address = address
        touch.id_at, touch.id_bytes = self.kept.filled, order.end - order.at
        touch.before = 0 if known == NULL else known.end - known.at
        touch.size = touch.before + (event.end - event.at)
        touch.at = touch.id_at + touch.id_bytes
        self.kept.room_for(touch.id_bytes + touch.size, &room)
        write(&room, order.at, touch.id_bytes)
        if known != NULL:
            write(&room, known.at, touch.before)
        write(&room, event.at, event.end - event.at)
        self.kept.fill(&room)
        append(self.touches, &touch, sizeof(Touch))
        self.length += 1
        if 2 * self.length > self.index.shape[0]:
            self.index = array("I", bytes(4 * 4 * self.index.shape[0]))
            for number in range(self.length):
                self.put(number)
        else:
            self.put(self.length - 1)
        return 0

    cdef int put(self, Py_ssize_t number) except -1:
        """Puts a touch into the index."""
        cdef Py_ssize_t at = self.slot(self.touch(number).address)
        while self.index[at]:
            at = at + 1 if at + 1 < self.index.shape[0] else 0
        self.index[at] = number + 1
        return 0

    cdef int extend(self, Py_ssize_t number, const Cursor* event) except -1:
        """Appends an event to those of an order."""
        cdef Touch* touch = self.touch(number)
        cdef Cursor room, now
        cdef Py_ssize_t size = event.end - event.at, at = self.kept.filled
        if touch.at + touch.size == at:
            self.kept.room_for(size, &room)
        else:
            self.kept.room_for(touch.size + size, &room)
            self.events_of(number, &now)
            write(&room, now.at, now.end - now.at)
            touch.at = at
        write(&room, event.at, size)
        self.kept.fill(&room)
        touch.size += size
        return 0


#: Of dimensions, not of a scope.
cdef unsigned long long OF_DIMS = 1ULL << 63

cdef enum:
    FIRST_SEEN = 1 << 8
    PLACE_BITS = 24
    KIND_BITS = 3


@cython.final
cdef class _LocalHours:
    """The cells of instants, on UTC days each of whose cells is a local hour: most events are of the day of the one before.

    Args:
        offset_of: As of `OwnUnits`.
    """

    cdef object offset_of
    cdef long long day, offset
    cdef bint are_cells

    def __cinit__(self, offset_of):
        self.offset_of = offset_of
        self.forget()

    cdef inline void forget(self) noexcept:
        """Notes that other days may be such."""
        self.day = NEVER

    cdef inline bint know(self, long long time_us) except -1:
        """Whether an instant is on such a day; to be asked before `cell`."""
        cdef long long day = time_us // DAY_US
        if day != self.day:
            offset = self.offset_of(day)
            self.are_cells = offset is not None
            self.offset = offset or 0
            self.day = day
        return self.are_cells

    cdef inline long long cell(self, long long time_us) noexcept:
        """The cell of an instant of the same day."""
        return (time_us + self.offset) // HOUR_US + EPOCH_CELL


@cython.final
cdef class TouchedCounts:
    """As `steps.TouchedCounts`."""

    cdef object scopes_of, places_of
    cdef _LocalHours hours
    #: By code of the dimensions; None for one that is not known yet.
    cdef list scopes
    #: A hash table of scopes, kinds and places, and of dimensions, kinds and places; no place is 0.
    cdef unsigned long long* seen
    cdef Py_ssize_t room, used
    cdef readonly Py_ssize_t counts, contradictions, order_bytes, event_bytes

    def __cinit__(self, scopes_of, offset_of, places_of):
        self.scopes_of, self.places_of = scopes_of, places_of
        self.hours = _LocalHours(offset_of)
        self.scopes = []
        self.clear()

    def __dealloc__(self):
        PyMem_Free(self.seen)

    def clear(self):
        """As `steps.TouchedCounts.clear`."""
        PyMem_Free(self.seen)
        self.seen = NULL
        self.room = self.used = 0
        self.counts = self.contradictions = self.order_bytes = self.event_bytes = 0
        self.hours.forget()

    cdef int note(self, const Cursor* order, const Cursor* known, const Cursor* event, bint is_touched) except -1:
        """As `steps.TouchedCounts.note`; `known` is NULL if there are no events before."""
        cdef Head head, first
        cdef Cursor cursor
        cdef Py_ssize_t size = event.end - event.at
        cdef bint is_sole, is_expected, is_late
        self.event_bytes = max(self.event_bytes, size)
        self.order_bytes += size
        if not is_touched:
            self.order_bytes += order.end - order.at
            if known != NULL:
                self.order_bytes += known.end - known.at
        memcpy(&head, event.at, HEAD_BYTES)
        if known == NULL:
            self.contradictions += head.content & KIND != PLACED
            return self.touch(head.content & KIND, <long long> head.time_us, head.dims)
        is_sole = next_head(known[0], &first) == known.end - known.at
        is_expected = (
            is_sole
            and head.content & KIND == DELIVERED
            and first.content & KIND == PLACED
            and <long long> first.time_us < <long long> head.time_us
        )
        is_late = (
            is_sole
            and head.content & KIND == PLACED
            and first.content & KIND == DELIVERED
            and <long long> head.time_us < <long long> first.time_us
        )
        self.contradictions += not is_expected
        if is_expected or is_late:
            return self.touch(head.content & KIND, <long long> head.time_us, head.dims)
        self.touch_all(&head, known, &head)
        cursor = known[0]
        while cursor.at < cursor.end:
            take(&cursor, next_head(cursor, &first))
            self.touch_all(&first, known, &head)
        return 0

    cdef int touch_all(self, const Head* event, const Cursor* known, const Head* last) except -1:
        """Touches what an event may add to, by the dimensions of all events of its order."""
        cdef Cursor cursor = known[0]
        cdef Head other
        self.touch(event.content & KIND, <long long> event.time_us, last.dims)
        while cursor.at < cursor.end:
            take(&cursor, next_head(cursor, &other))
            self.touch(event.content & KIND, <long long> event.time_us, other.dims)
        return 0

    cdef int touch(self, int kind, long long time_us, Py_ssize_t dims) except -1:
        if kind == VOIDED:
            return 0
        if self.hours.know(time_us):
            return self.add(dims, kind, self.hours.cell(time_us) // HOURS)
        for place in self.places_of(time_us):
            self.add(dims, kind, place)
        return 0

    cdef int add(self, unsigned long long dims, unsigned long long kind, unsigned long long place) except -1:
        cdef tuple scopes
        cdef unsigned long long scope
        cdef Py_ssize_t number = <Py_ssize_t> dims
        if place >> PLACE_BITS:
            raise OverflowError("no such place")
        # Most events of a busy day have the dimensions of others.
        if not self.is_new(OF_DIMS | (dims << KIND_BITS | kind) << PLACE_BITS | place):
            return 0
        if number >= len(self.scopes):
            self.scopes += [None] * (number + 1)
        scopes = self.scopes[number]
        if scopes is None:
            scopes = self.scopes[number] = self.scopes_of(number)
        for scope in scopes:
            if self.is_new((scope << KIND_BITS | kind) << PLACE_BITS | place):
                self.counts += 2 if kind == PLACED else 1
        return 0

    cdef inline bint is_new(self, unsigned long long key) except -1:
        """Puts a key into the table. Returns whether it was not there."""
        if 2 * (self.used + 1) > self.room:
            self.grow()
        if not self.put(key):
            return False
        self.used += 1
        return True

    cdef inline bint put(self, unsigned long long key) noexcept:
        """Puts a key into the table, which has room. Returns whether it is new."""
        cdef unsigned long long hash_ = (key ^ HASH_KEY[1]) * 0x9E37_79B9_7F4A_7C15ULL
        cdef Py_ssize_t at = <Py_ssize_t> (hash_ >> 32) & (self.room - 1)
        while self.seen[at]:
            if self.seen[at] == key:
                return False
            at = at + 1 & (self.room - 1)
        self.seen[at] = key
        return True

    cdef int grow(self) except -1:
        cdef unsigned long long* before = self.seen
        cdef Py_ssize_t room = self.room, at
        cdef unsigned long long* larger = <unsigned long long*> PyMem_Calloc(
            2 * room if room else FIRST_SEEN, sizeof(unsigned long long)
        )
        if larger == NULL:
            raise MemoryError
        self.seen, self.room = larger, 2 * room if room else FIRST_SEEN
        for at in range(room):
            if before[at]:
                self.put(before[at])
        PyMem_Free(before)
        return 0


@cython.final
cdef class _Codes:
    """The codes that a vocabulary has for the words of `Events`, by number; -1 for one that is not known yet."""

    cdef list words
    cdef object vocabulary
    cdef long long[::1] codes

    def __init__(self):
        self.codes = array("q")

    cdef int between(self, list words, vocabulary) except -1:
        """Begins anew if the words or the vocabulary are others than before."""
        if self.words is not words or self.vocabulary is not vocabulary:
            self.words, self.vocabulary, self.codes = words, vocabulary, array("q")
        return 0

    cdef long long code(self, Py_ssize_t number) except -1:
        """The code of a word."""
        if number >= self.codes.shape[0]:
            larger = array("q", self.codes)
            larger.frombytes(b"\xff" * (8 * (number + 1)))
            self.codes = larger
        if self.codes[number] < 0:
            self.codes[number] = self.vocabulary.code(self.words[number])
        return self.codes[number]


def store(
    facts,
    PackedOrders orders not None,
    Touched touched not None,
    TouchedCounts counts not None,
    vocabulary,
    dict last_by_source,
    Py_ssize_t below_limit_bytes,
    refusal,
    list refused,
):
    """As `steps.store`."""
    cdef _Storing storing = _Storing(orders, touched, counts, vocabulary.words, last_by_source, below_limit_bytes, refusal, refused)
    cdef const unsigned char[::1] packed
    cdef const long long[::1] starts
    cdef Py_ssize_t place
    cdef Cursor cursor, order, event
    cdef Head head
    if type(facts) is not Events:
        for place, fact in enumerate(facts):
            storing.take_fact(place, fact, vocabulary)
        return storing.ended()
    packed, starts = facts.packed, facts.starts
    orders.codes.between(facts.words, vocabulary)
    for place in range(len(facts)):
        if starts[place] < 0:
            storing.take_fact(place, facts.others[place], vocabulary)
            continue
        cursor.at = <unsigned char*> &packed[starts[place]]
        cursor.end = cursor.at + packed.shape[0] - starts[place]
        order.at = take(&cursor, read_fixed(&cursor, 2))
        order.end = cursor.at
        memcpy(&head, take(&cursor, HEAD_BYTES), HEAD_BYTES)
        head.source = orders.codes.code(head.source)
        head.dims = orders.codes.code(head.dims)
        touched.event.filled = 0
        touched.event.room_for(HEAD_BYTES + head.text_bytes, &event)
        write(&event, &head, HEAD_BYTES)
        write(&event, take(&cursor, head.text_bytes), head.text_bytes)
        touched.event.fill(&event)
        touched.event.filled_from(0, &event)
        storing.take(place, &order, &event)
    return storing.ended()


@cython.final
cdef class _Storing:
    """Stores the events of one call."""

    cdef PackedOrders orders
    cdef Touched touched
    #: None for what is not a step of its own.
    cdef TouchedCounts counts
    cdef object refusal
    cdef list words, refused
    cdef dict last_by_source
    cdef Py_ssize_t below_limit_bytes
    cdef Py_ssize_t duplicates, backfilled, new_bytes
    #: Of the last event: events from the same source often come in a row.
    cdef long long source, last_us

    def __cinit__(
        self,
        PackedOrders orders,
        Touched touched,
        TouchedCounts counts,
        list words,
        dict last_by_source,
        Py_ssize_t below_limit_bytes,
        refusal,
        list refused,
    ):
        self.orders, self.touched, self.words, self.last_by_source = orders, touched, words, last_by_source
        self.counts = counts
        self.below_limit_bytes, self.refusal, self.refused = below_limit_bytes, refusal, refused
        self.source = -1

    cdef int take_fact(self, Py_ssize_t place, fact, vocabulary) except -1:
        """Stores a fact."""
        cdef Cursor order, event
        cdef bytes packed = pack(fact, vocabulary)
        order_id = fact.order_id
        text_of(order_id, &order)
        whole_of(packed, &event)
        return self.take(place, &order, &event)

    cdef int take(self, Py_ssize_t place, const Cursor* order, const Cursor* event) except -1:
        """Stores a packed event."""
        cdef unsigned long long number = hash_of(order), address = self.orders.find_text(number, order)
        cdef Py_ssize_t touch
        cdef Cursor known
        cdef Head head
        if address == 0:
            if self.counts is not None:
                self.counts.note(order, NULL, event, False)
            address = self.orders.add_new(number, order, event)
            self.touched.add(address, order, NULL, event)
            self.new_bytes += characters_of(order)
        else:
            touch = self.touched.find(address)
            self.find_known(address, touch, &known)
            if self.is_refused(place, order, &known, event):
                return 0
            if self.counts is not None:
                self.counts.note(order, &known, event, touch >= 0)
            if touch < 0:
                self.touched.add(address, order, &known, event)
            else:
                self.touched.extend(touch, event)
            self.orders.extend(address, event)
        memcpy(&head, event.at, HEAD_BYTES)
        self.new_bytes += event.end - event.at
        return self.note(&head)

    cdef int follow(self, const Cursor* order, const Cursor* events) except -1:
        """Takes what an order has in addition to what is known of it."""
        cdef unsigned long long number = hash_of(order), address = self.orders.find_text(number, order)
        cdef Py_ssize_t touch
        cdef Cursor known, new = events[0], cursor
        cdef Head head
        if address != 0:
            touch = self.touched.find(address)
            self.find_known(address, touch, &known)
            if not starts_with(&new, &known):
                raise ValueError(f"order {string_of(order)} has other events in a later chunk of the changelog")
            new.at += known.end - known.at
            if new.at == new.end:
                return 0
        elif new.at == new.end:
            raise ValueError(f"order {string_of(order)} has other events in a later chunk of the changelog")
        cursor = new
        while cursor.at < cursor.end:
            memcpy(&head, take(&cursor, HEAD_BYTES), HEAD_BYTES)
            take(&cursor, head.text_bytes)
            self.note(&head)
        self.new_bytes += new.end - new.at
        if address == 0:
            address = self.orders.add_new(number, order, &new)
            self.touched.add(address, order, NULL, &new)
            self.new_bytes += characters_of(order)
            return 0
        if touch < 0:
            self.touched.add(address, order, &known, &new)
        else:
            self.touched.extend(touch, &new)
        return self.orders.extend(address, &new)

    cdef inline int note(self, const Head* head) except -1:
        """Notes a new event's source, time and whether it was backfill."""
        self.backfilled += head.origin & 1
        if head.source != self.source:
            self.note_source()
            self.source, self.last_us = head.source, <long long> head.time_us
        elif <long long> head.time_us > self.last_us:
            self.last_us = <long long> head.time_us
        return 0

    cdef int find_known(self, unsigned long long address, Py_ssize_t touch, Cursor* known) except -1:
        """Sets a cursor to the events of an order; valid until others are looked for."""
        if touch < 0:
            return self.orders.find_events(address, known)
        return self.touched.events_of(touch, known)

    cdef bint is_refused(self, Py_ssize_t place, const Cursor* order, const Cursor* known, const Cursor* event) except -1:
        """Whether an order that has some events cannot take one more; notes why."""
        cdef int found = compared(known, event)
        if found == SAME:
            self.duplicates += 1
            return True
        if found == OTHER and known.end - known.at < self.below_limit_bytes:
            return False
        refused_for = self.refusal(string_of(order), bytes_of(known), bytes_of(event))
        if refused_for is None:
            return False
        if refused_for[0]:
            self.refused.append((place, *refused_for))
        else:
            self.duplicates += 1
        return True

    cdef int note_source(self) except -1:
        """Notes the greatest time of the events that came in a row from one source."""
        if self.source >= 0:
            source = self.words[self.source]
            if self.last_us > self.last_by_source.get(source, 0):
                self.last_by_source[source] = self.last_us
        return 0

    cdef tuple ended(self):
        self.note_source()
        return self.duplicates, self.backfilled, self.new_bytes


def follow(const unsigned char[::1] chunk not None, PackedOrders orders not None, Touched touched not None, words, dict last_by_source):
    """As `steps.follow`."""
    cdef _Storing storing = _Storing(orders, touched, None, words, last_by_source, 0, None, [])
    cdef Entries entries
    cdef Cursor order, events
    try:
        begin_entries(chunk, &entries)
        while next_entry(&entries, &order, &events):
            storing.follow(&order, &events)
        return storing.ended()[1:]
    except IndexError as error:
        raise ValueError(DAMAGED) from error


def order_ids(PackedOrders orders not None):
    """As `steps.order_ids`."""
    return iter(orders)


#: How an event compares with those of its order: one may have its id, none has it, or one is the same with the same content.
cdef enum:
    SIMILAR, OTHER, SAME


cdef int compared(const Cursor* known, const Cursor* event) except -1:
    """Compares a packed event with others: if none of their texts begins with its id, none has this id."""
    cdef Head head, own
    cdef Cursor cursor = known[0]
    cdef Py_ssize_t size = event.end - event.at, id_bytes
    cdef unsigned char* start
    cdef int found = OTHER
    memcpy(&own, event.at, HEAD_BYTES)
    # A character takes at least a byte.
    id_bytes = min(own.id_end, own.text_bytes)
    while cursor.at < cursor.end:
        start = cursor.at
        memcpy(&head, take(&cursor, HEAD_BYTES), HEAD_BYTES)
        take(&cursor, head.text_bytes)
        if head.text_bytes >= id_bytes and memcmp(start + HEAD_BYTES, event.at + HEAD_BYTES, id_bytes) == 0:
            if cursor.at - start == size and memcmp(
                start + COORDINATES_BYTES, event.at + COORDINATES_BYTES, size - COORDINATES_BYTES
            ) == 0:
                return SAME
            found = SIMILAR
    return found


# Counting -----------------------------------------------------------------------------------------------------------


@cython.final
cdef class Sum:
    """As `sums.Sum`."""

    cdef public long long removed
    #: Of the units added: how many, and the least and the greatest time of an event.
    cdef long long added
    cdef readonly long long first_us, last_us
    #: Their orders: addresses of those whose events came packed, ids of those that came as facts.
    cdef _Buffer places
    cdef list ids
    #: The packed event with the greatest time, and the others: a touch, and a position among its order's events.
    cdef Touched touched
    cdef Py_ssize_t last_touch, last_at
    cdef list others
    #: Events with that time that came as facts.
    cdef list causes

    def __cinit__(self):
        self.places = _Buffer(4 * ADDRESS_BYTES)
        self.last_us = self.last_touch = -1
        self.first_us = LATEST_US

    def add(self, cause):
        """As `sums.Sum.add`."""
        if self.ids is None:
            self.ids = []
        self.ids.append(cause.order_id)
        if self.is_latest(cause.time_us):
            if self.causes is None:
                self.causes = []
            self.causes.append(cause)

    cdef inline int add_packed(self, Touched touched, Py_ssize_t touch, Py_ssize_t at, long long time_us) except -1:
        """As `sums.Sum.add_packed`."""
        append(self.places, &touched.touch(touch).address, ADDRESS_BYTES)
        if self.is_latest(time_us):
            if self.last_touch < 0:
                self.touched, self.last_touch, self.last_at = touched, touch, at
            else:
                if self.others is None:
                    self.others = []
                self.others.append((touch, at))
        return 0

    cdef inline bint is_latest(self, long long time_us) except -1:
        """Counts a unit. Returns whether its event has the greatest time; forgets those that had it before."""
        self.added += 1
        self.first_us = min(self.first_us, time_us)
        if time_us > self.last_us:
            self.last_us = time_us
            self.last_touch = -1
            self.others = self.causes = None
        return time_us == self.last_us

    @property
    def count(self):
        """As `sums.Sum.count`."""
        return self.removed + self.added

    def latest(self, words):
        """As `sums.Sum.latest`."""
        cdef list latest = [] if self.causes is None else [*self.causes]
        if self.last_touch >= 0:
            latest.append(self.fact(self.last_touch, self.last_at, words))
        if self.others is not None:
            latest += [self.fact(touch, at, words) for touch, at in self.others]
        return latest

    cdef object fact(self, Py_ssize_t touch, Py_ssize_t at, words):
        cdef Cursor order, now
        cdef Head head
        self.touched.id_of(touch, &order)
        self.touched.events_of(touch, &now)
        take(&now, at)
        now.end = now.at + next_head(now, &head)
        return unpack_at(string_of(&order), bytes_of(&now), 0, words)


@cython.final
cdef class DaySum:
    """As `sums.DaySum`."""

    cdef long long[HOURS] counts
    #: The sums with the greatest time of an event.
    cdef long long last_us
    cdef list latest_sums

    def __cinit__(self):
        self.last_us = -1
        self.latest_sums = []

    @property
    def by_hour(self):
        """As `sums.DaySum.by_hour`; only hours with units."""
        return {hour: self.counts[hour] for hour in range(HOURS) if self.counts[hour]}

    cdef int add(self, Py_ssize_t hour, Sum change) except -1:
        """As `sums.DaySum.add`."""
        if not 0 <= hour < HOURS:
            raise IndexError("no hour of a day")
        self.counts[hour] += change.removed + change.added
        if change.last_us > self.last_us:
            self.last_us = change.last_us
            self.latest_sums = []
        if change.last_us == self.last_us:
            self.latest_sums.append(change)
        return 0

    def latest(self, words):
        """As `sums.DaySum.latest`."""
        return [cause for change in self.latest_sums for cause in change.latest(words)]


def add_up(dict cell not None, Py_ssize_t hour, dict sums not None):
    """As `steps.add_up`."""
    cdef DaySum of_day
    for key, change in cell.items():
        of_day = sums.get(key)
        if of_day is None:
            of_day = sums[key] = DaySum()
        of_day.add(hour, change)


#: The counts of a series on a date.
cdef struct Day:
    long long count
    long long backfilled
    int series
    int ordinal
    int[HOURS] by_hour
    #: Whether a unit has been removed since there were none.
    int has_left
    #: Its number, from 1 on, among the days that the step has changed; 0 if it has not.
    int touch

#: A hash index: upper half of a hash, and the number of a day from 1 on.
cdef struct DaySlots:
    unsigned long long* slots
    Py_ssize_t room
    Py_ssize_t used

#: A changed day as it is sorted: series and date, and which day it is.
cdef struct Changed:
    unsigned long long key
    unsigned int day

cdef enum:
    BLOCK_DAYS = 1 << 12
    #: The index has parts that grow independently, each in far less than a millisecond.
    DAY_PARTS = 1 << 8
    FIRST_SLOTS = 1 << 4
    #: An upper bound of the bytes of a count besides its latest unit.
    COUNT_BYTES = 128 + (HOURS + 2) * (DIGITS + 1)

cdef long long MOST_UNITS = (1LL << 31) - 1
cdef bytes NO_UNIT = b"null"
_encode_unit = msgspec.json.Encoder().encode


cdef int in_order(const void* one, const void* other) noexcept nogil:
    cdef unsigned long long first = (<const Changed*> one).key, second = (<const Changed*> other).key
    return (first > second) - (first < second)


@cython.final
cdef class _Unit:
    """A `LatestUnit`, and how it is written."""

    cdef long long time_us
    cdef object unit
    cdef bytes json

    cdef bint is_later(self, _Unit other) except -1:
        """As `counted_days.later`."""
        if other is None or self.time_us != other.time_us:
            return other is None or self.time_us > other.time_us
        return rank(self.unit) > rank(other.unit)


cdef _Unit unit_of(unit):
    """A `LatestUnit` with its text; None if there is none."""
    cdef _Unit made
    if unit is None:
        return None
    made = _Unit()
    made.time_us, made.unit, made.json = unit.time_us, unit, _encode_unit(unit)
    return made


cdef object latest_unit(DaySum change, words):
    """The latest unit of a sum, None if it has added none. Nearly always only one event can be it, and is packed."""
    cdef Sum of_cell
    cdef Cursor now
    cdef Head head
    if len(change.latest_sums) == 1:
        of_cell = change.latest_sums[0]
        if of_cell.last_touch >= 0 and of_cell.others is None and of_cell.causes is None:
            of_cell.touched.events_of(of_cell.last_touch, &now)
            take(&now, of_cell.last_at)
            next_head(now, &head)
            return LatestUnit(
                <long long> head.time_us,
                event_id(now, &head),
                words[head.source],
                topic_of(&head),
                head.partition,
                head.offset,
            )
    return latest_of(change.latest(words))


@cython.final
cdef class CountedDays:
    """As `counted_days.CountedDays`."""

    cdef object names
    cdef Day** blocks
    cdef Py_ssize_t length
    cdef DaySlots[DAY_PARTS] index
    #: By day: the latest unit of the last step that added any; the latest of all, None if it is not known.
    cdef list latest
    cdef list newest
    #: What the step has changed, in order once it is being ended, and the latest unit that it has added to each, by `Day.touch`.
    cdef Changed* changes
    cdef Py_ssize_t touched, room
    cdef list added
    #: By ordinal.
    cdef dict dates

    def __init__(self, names):
        self.names = names
        self.latest, self.newest, self.added, self.dates = [], [], [], {}

    def __dealloc__(self):
        cdef Py_ssize_t place
        for place in range((self.length + BLOCK_DAYS - 1) // BLOCK_DAYS):
            PyMem_Free(self.blocks[place])
        for place in range(DAY_PARTS):
            PyMem_Free(self.index[place].slots)
        PyMem_Free(self.blocks)
        PyMem_Free(self.changes)

    def __len__(self):
        return self.length

    def add(self, tuple series not None, int ordinal, DaySum change not None, int flags, words):
        """As `counted_days.CountedDays.add`."""
        cdef _Unit latest = unit_of(latest_unit(change, words))
        cdef int number
        for number in series:
            self.add_to(self.put(number, ordinal), change.counts, flags, latest)

    def add_counted(self, int series, int ordinal, list by_hour not None, long long backfilled, list latest not None):
        """As `counted_days.CountedDays.add_counted`."""
        cdef long long[HOURS] counts
        cdef int hour
        cdef Py_ssize_t day = self.put(series, ordinal)
        for hour in range(HOURS):
            counts[hour] = by_hour[hour]
        self.add_to(day, counts, 0, unit_of(latest_of(latest)))
        self.day(day).backfilled += backfilled

    cdef int add_to(self, Py_ssize_t number, const long long* counts, int flags, _Unit latest) except -1:
        """Adds units to a day."""
        cdef Day* day = self.day(number)
        cdef _Unit before
        cdef long long units, count = 0
        cdef int hour
        for hour in range(HOURS):
            if counts[hour]:
                units = day.by_hour[hour] + counts[hour]
                if not -MOST_UNITS <= units <= MOST_UNITS:
                    raise OverflowError("too many units in an hour")
                day.by_hour[hour] = <int> units
                count += counts[hour]
        day.count += count
        if flags & BACKFILL:
            day.backfilled += count
        if flags & LEAVING:
            day.has_left = True
        if not day.touch:
            self.touch(number)
            self.added.append(latest)
        elif latest is not None:
            before = self.added[day.touch - 1]
            if latest.is_later(before):
                self.added[day.touch - 1] = latest
        return 0

    cdef inline Day* day(self, Py_ssize_t number) except NULL:
        if not 0 <= number < self.length:
            raise IndexError("there is no such day")
        return &self.blocks[number // BLOCK_DAYS][number % BLOCK_DAYS]

    cdef int touch(self, Py_ssize_t number) except -1:
        """Notes that the step has changed a day."""
        cdef Day* day = self.day(number)
        cdef Py_ssize_t room
        cdef void* larger
        if self.touched == self.room:
            room = 2 * self.room + FIRST_SLOTS
            larger = PyMem_Realloc(self.changes, room * sizeof(Changed))
            if larger == NULL:
                raise MemoryError
            self.changes, self.room = <Changed*> larger, room
        self.changes[self.touched].key = <unsigned long long> day.series << 32 | <unsigned long long> day.ordinal
        self.changes[self.touched].day = <unsigned int> number
        self.touched += 1
        day.touch = <int> self.touched
        return 0

    cdef unsigned long long hash(self, int series, int ordinal) noexcept:
        cdef unsigned long long number = (<unsigned long long> series << 32 | <unsigned long long> ordinal) ^ HASH_KEY[0]
        number = (number ^ number >> 32) * 0x9E37_79B9_7F4A_7C15ULL
        number = (number ^ number >> 29) * 0xBF58_476D_1CE4_E5B9ULL
        return number ^ number >> 32

    cdef Py_ssize_t find(self, int series, int ordinal) except -2:
        """The number of a day; -1 if there is none."""
        cdef unsigned long long hash_ = self.hash(series, ordinal)
        cdef DaySlots* part = &self.index[hash_ % DAY_PARTS]
        cdef Py_ssize_t at = <Py_ssize_t> (hash_ // DAY_PARTS & 0xFFFF_FFFF) & (part.room - 1), number
        cdef Day* day
        if not part.room:
            return -1
        while part.slots[at]:
            if part.slots[at] >> 32 == hash_ >> 32:
                number = <Py_ssize_t> (part.slots[at] & 0xFFFF_FFFF) - 1
                day = self.day(number)
                if day.series == series and day.ordinal == ordinal:
                    return number
            at = at + 1 & (part.room - 1)
        return -1

    cdef Py_ssize_t put(self, int series, int ordinal) except -1:
        """The number of a day, which is added if there is none."""
        cdef Py_ssize_t number = self.find(series, ordinal)
        cdef Day* day
        if number >= 0:
            return number
        if series < 0 or ordinal < 0 or self.length > 0xFFFF_FFF0:
            raise OverflowError("no such day")
        self.index_new(self.hash(series, ordinal))
        if self.length % BLOCK_DAYS == 0:
            self.add_block()
        number = self.length
        self.length += 1
        day = self.day(number)
        day.series, day.ordinal = series, ordinal
        self.latest.append(None)
        self.newest.append(None)
        return number

    cdef int add_block(self) except -1:
        cdef Py_ssize_t blocks = self.length // BLOCK_DAYS
        cdef void* larger = PyMem_Realloc(self.blocks, (blocks + 1) * sizeof(void*))
        if larger == NULL:
            raise MemoryError
        self.blocks = <Day**> larger
        self.blocks[blocks] = <Day*> PyMem_Calloc(BLOCK_DAYS, sizeof(Day))
        if self.blocks[blocks] == NULL:
            raise MemoryError
        return 0

    cdef int index_new(self, unsigned long long hash_) except -1:
        """Puts the next day into the index."""
        cdef DaySlots* part = &self.index[hash_ % DAY_PARTS]
        cdef DaySlots larger
        cdef Py_ssize_t at
        cdef Day* day
        if 2 * (part.used + 1) > part.room:
            larger.room, larger.used = max(2 * part.room, FIRST_SLOTS), part.used
            larger.slots = <unsigned long long*> PyMem_Calloc(larger.room, sizeof(unsigned long long))
            if larger.slots == NULL:
                raise MemoryError
            for at in range(part.room):
                if part.slots[at]:
                    day = self.day(<Py_ssize_t> (part.slots[at] & 0xFFFF_FFFF) - 1)
                    put_slot(&larger, self.hash(day.series, day.ordinal), part.slots[at] & 0xFFFF_FFFF)
            PyMem_Free(part.slots)
            part[0] = larger
        put_slot(part, hash_, <unsigned long long> self.length + 1)
        part.used += 1
        return 0

    def begin_ending(self):
        """As `counted_days.CountedDays.begin_ending`."""
        if self.touched:
            qsort(self.changes, self.touched, sizeof(Changed), in_order)
        return self.touched

    def end(self, Py_ssize_t first, Py_ssize_t end):
        """As `counted_days.CountedDays.end`."""
        cdef Py_ssize_t at, number
        cdef Day* day
        cdef _Unit latest, newest
        for at in range(max(first, 0), min(end, self.touched)):
            number = self.changes[at].day
            day = self.day(number)
            latest = self.added[day.touch - 1]
            day.touch = 0
            if latest is not None:
                self.latest[number] = latest
            if not day.count:
                self.newest[number] = None
                day.has_left = False
            elif day.has_left:
                self.newest[number] = None
            elif latest is not None:
                newest = self.newest[number]
                if newest is None or latest.is_later(newest):
                    self.newest[number] = latest

    def changed(self, Py_ssize_t first, Py_ssize_t end):
        """As `counted_days.CountedDays.changed`."""
        cdef dict made = {}
        cdef Py_ssize_t at
        for at in range(max(first, 0), min(end, self.touched)):
            self.tell(self.changes[at].day, made)
        return made

    def end_step(self):
        """As `counted_days.CountedDays.end_step`."""
        PyMem_Free(self.changes)
        self.changes = NULL
        self.touched = self.room = 0
        self.added = []

    def all(self, Py_ssize_t first, Py_ssize_t end):
        """As `counted_days.CountedDays.all`."""
        cdef dict made = {}
        cdef Py_ssize_t number
        for number in range(max(first, 0), min(end, self.length)):
            self.tell(number, made)
        return made

    cdef int tell(self, Py_ssize_t number, dict made) except -1:
        """Adds a day, and its value, as of its record."""
        cdef unsigned char[COUNT_BYTES] text
        cdef unsigned char* at = text
        cdef Day* day = self.day(number)
        cdef _Unit latest = self.latest[number]
        cdef bytes unit = NO_UNIT if latest is None else latest.json, value, on = self.dates.get(day.ordinal)
        cdef bint is_newest = latest is not None and latest is self.newest[number]
        cdef Py_ssize_t size
        cdef int hour
        if on is None:
            on = self.dates[day.ordinal] = date.fromordinal(day.ordinal).isoformat().encode()
        at = put_number(put(at, b'{"count":', 9), day.count)
        at = put_number(put(at, b',"backfilled":', 14), day.backfilled)
        at = put(at, b',"by_hour":[', 12)
        for hour in range(HOURS):
            if hour:
                at = put(at, b",", 1)
            at = put_number(at, day.by_hour[hour])
        at = put(at, b'],"latest":', 11)
        size = at - text
        value = PyBytes_FromStringAndSize(NULL, size + PyBytes_GET_SIZE(unit) + (18 if is_newest else 1))
        at = put(<unsigned char*> PyBytes_AS_STRING(value), <char*> text, size)
        at = put_bytes(at, unit)
        if is_newest:
            at = put(at, b',"is_newest":true', 17)
        put(at, b"}", 1)
        made[<bytes?> self.names[day.series] + on] = value
        return 0

    def units(self, int series, int ordinal):
        """As `counted_days.CountedDays.units`."""
        cdef Py_ssize_t number = self.find(series, ordinal)
        return self.day(number).count if number >= 0 else 0

    def by_hour(self, int series, int ordinal):
        """As `counted_days.CountedDays.by_hour`."""
        cdef Py_ssize_t number = self.find(series, ordinal)
        cdef int hour
        return [self.day(number).by_hour[hour] if number >= 0 else 0 for hour in range(HOURS)]


cdef inline void put_slot(DaySlots* part, unsigned long long hash_, unsigned long long number) noexcept:
    """Puts the number of a day, from 1 on, into a part of the index that has room."""
    cdef Py_ssize_t at = <Py_ssize_t> (hash_ // DAY_PARTS & 0xFFFF_FFFF) & (part.room - 1)
    while part.slots[at]:
        at = at + 1 & (part.room - 1)
    part.slots[at] = hash_ >> 32 << 32 | number


@cython.final
cdef class OwnUnits:
    """As `steps.OwnUnits`."""

    cdef dict cells
    cdef list words
    cdef _LocalHours hours
    cdef object cell_of
    cdef object code_of
    #: By the codes of the dimensions in the vocabulary, -1 for one that is not known yet.
    cdef long long[::1] codes
    #: What the unit before was added to, within one call.
    cdef long long known_number, known_key
    cdef dict cell
    cdef dict known_cell
    cdef Sum known_sum

    def __init__(self, dict cells not None, words, offset_of, cell_of, code_of):
        self.cells, self.cell_of, self.code_of = cells, cell_of, code_of
        self.hours = _LocalHours(offset_of)
        self.words = words if type(words) is list else list(words)
        self.codes = array("q", [-1] * 16)
        self.forget()

    cdef void forget(self) noexcept:
        self.hours.forget()
        self.known_number = NEVER
        self.known_key = -1
        self.cell = self.known_cell = self.known_sum = None

    cdef int add(self, long long shifted, const Head* head, Touched touched, Py_ssize_t touch, Py_ssize_t at) except -1:
        """As `steps.OwnUnits.add`."""
        cdef long long time_us = <long long> head.time_us
        cdef long long number, key
        cdef dict cell
        if self.hours.know(time_us):
            number = self.hours.cell(time_us)
            if number != self.known_number:
                self.cell = self.cells.get(number)
                if self.cell is None:
                    self.cell = self.cells[number] = {}
                self.known_number = number
            cell = self.cell
        else:
            cell = self.cell_of(time_us)
        key = self.code(head.dims) | shifted | head.origin & 1
        if cell is not self.known_cell or key != self.known_key:
            found = cell.get(key)
            if found is None:
                found = cell[key] = Sum()
            self.known_sum, self.known_cell, self.known_key = found, cell, key
        return self.known_sum.add_packed(touched, touch, at, time_us)

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
    Touched touched not None,
    Py_ssize_t first,
    Py_ssize_t end,
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
    cdef Touch* touch
    cdef Cursor order, now, rest
    cdef Head head, second, known
    cdef Py_ssize_t number, after
    cdef bint is_new, is_doubtful
    cdef int kind
    units.forget()
    for number in range(first, min(end, touched.length)):
        touch = touched.touch(number)
        touched.id_of(number, &order)
        touched.events_of(number, &now)
        is_new = touch.before == 0
        is_doubtful = bool(known_violations) and string_of(&order) in known_violations
        rest = now
        take(&rest, touch.before)
        after = touch.before + next_head(rest, &head)
        kind = head.content & KIND
        if after == touch.size:
            if not is_new and kind == PLACED:
                if is_sole(now, touch.before, DELIVERED, &known) and <long long> head.time_us < <long long> known.time_us:
                    units.add(placing, &head, touched, number, touch.before)
                    late.append(string_of(&order))
                    continue
            elif not is_doubtful:
                if is_new and kind == PLACED:
                    units.add(placing, &head, touched, number, 0)
                    continue
                if kind == DELIVERED and (
                    is_new
                    or is_sole(now, touch.before, PLACED, &known)
                    and <long long> known.time_us < <long long> head.time_us
                ):
                    units.add(delivering, &head, touched, number, touch.before)
                    if deliveries is not None:
                        deliveries.append((string_of(&order), bytes_of(&now), touch.before))
                    if is_new and orders_known:
                        early.append((string_of(&order), units.words[head.source], event_id(now, &head)))
                    continue
        elif is_new and not is_doubtful:
            take(&rest, after)
            if after + next_head(rest, &second) == touch.size and head.time_us != second.time_us:
                if <long long> head.time_us < <long long> second.time_us:
                    if kind == PLACED and second.content & KIND == DELIVERED:
                        units.add(placing, &head, touched, number, 0)
                        units.add(delivering, &second, touched, number, after)
                        if deliveries is not None:
                            deliveries.append((string_of(&order), bytes_of(&now), after))
                        continue
                elif kind == DELIVERED and second.content & KIND == PLACED:
                    units.add(placing, &second, touched, number, after)
                    units.add(delivering, &head, touched, number, 0)
                    if deliveries is not None:
                        deliveries.append((string_of(&order), bytes_of(&now), 0))
                    continue
        others.append((string_of(&order), bytes_of(&now), touch.before))
    return others


def hours(Touched touched not None):
    """As `steps.hours`."""
    cdef set found = set()
    cdef Cursor now
    cdef Head head
    cdef Py_ssize_t number
    cdef long long quarter, known_quarter = -1
    cdef int kind, known_kind = -1
    cdef long long source, known_source = -1
    for number in range(touched.length):
        touched.events_of(number, &now)
        take(&now, touched.touch(number).before)
        while now.at < now.end:
            take(&now, next_head(now, &head))
            if head.origin & 1:
                continue
            kind, source, quarter = head.content & KIND, head.source, <long long> head.time_us // QUARTER_HOUR_US
            if kind != known_kind or source != known_source or quarter != known_quarter:
                known_kind, known_source, known_quarter = kind, source, quarter
                found.add((kind, source, quarter))
    return found


cdef inline Py_ssize_t next_head(Cursor events, Head* head) except -1:
    """Reads the head of the next event. Returns the size of the event."""
    memcpy(head, take(&events, HEAD_BYTES), HEAD_BYTES)
    take(&events, head.text_bytes)
    return HEAD_BYTES + head.text_bytes


cdef inline bint is_sole(Cursor events, Py_ssize_t size, int kind, Head* head) except -1:
    """Whether the first so many bytes of an order's events are just one event, of the given kind; reads its head."""
    return next_head(events, head) == size and head.content & KIND == kind


cdef str event_id(Cursor events, const Head* head):
    """The id of the next event, whose head was read."""
    take(&events, HEAD_BYTES)
    events.end = events.at + head.text_bytes
    return string_of(&events)[: head.id_end]
