"""The packed form of an event, and access to bytes with checks; included by the modules that read and write it.

`streams.domain.orders.packing` says what each field means.
"""

cdef extern from *:
    """
    #ifndef MILESTONES_SOURCE
    #define MILESTONES_SOURCE ""
    #endif
    """
    const char* MILESTONES_SOURCE

#: Digest of the source that this was built from, this file included; see `schemas.hotpath`.
SOURCE = (<bytes> MILESTONES_SOURCE).decode()

cdef enum:
    HEAD_BYTES = 34
    #: The kind of the event, in its content.
    KIND = 0b111
    #: A topic's number is in the origin, except for its highest bit, which is in the content.
    TOPIC_BITS = 7
    OF_PRODUCTION_SHIFT = 5

#: The fixed part of a packed event, before its text; little endian, as are all machines that this is built for.
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

cdef inline int topic_of(const Head* head) noexcept:
    """The number of an event's topic."""
    return head.origin >> 1 | (head.content >> OF_PRODUCTION_SHIFT & 1) << TOPIC_BITS


#: Memory to read or write, from `at` on and never past `end`.
cdef struct Cursor:
    unsigned char* at
    unsigned char* end


cdef inline unsigned char* take(Cursor* cursor, Py_ssize_t size) except NULL nogil:
    """The next bytes; moves the cursor past them."""
    cdef unsigned char* at = cursor.at
    if not 0 <= size <= cursor.end - at:
        with gil:
            raise IndexError("beyond the end")
    cursor.at = at + size
    return at


cdef inline int write(Cursor* cursor, const void* these, Py_ssize_t size) except -1 nogil:
    """Writes bytes; if there are none, the pointer may be NULL."""
    if size != 0:
        memcpy(take(cursor, size), these, size)
    return 0
