# cython: language_level=3, boundscheck=True, wraparound=False
"""What runs for every count and every row of the totals, compiled; `streams.domain.rows.windows` does the same, and the rare cases.

Counts and rows are read from their JSON and written to it without an object for each. Whatever is not in the form in which
this service writes it, or not plain, is left to the Python version. Columns are accessed by place, which is checked once; bytes
are read through cursors, which check each access against their end.
"""

cimport cython
from cpython cimport array
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeUTF8
from libc.string cimport memchr, memcmp, memcpy

import msgspec

from schemas.counts import HOURS_BEGIN as _HOURS_BEGIN, MARKER as _MARKER
from streams.domain.counts.packed_days import MOST_PARTS, MOST_SHARED, SHARED, SHARED_BYTES, WEIGHTS
from streams.domain.rows.row_columns import STATUSES

include "_json.pxi"

cdef extern from *:
    """
    #ifndef MILESTONES_SOURCE
    #define MILESTONES_SOURCE ""
    #endif
    """
    const char* MILESTONES_SOURCE

#: Digest of the source that this was built from; see `schemas.hotpath`.
SOURCE = (<bytes> MILESTONES_SOURCE).decode()

cdef enum:
    HOURS = 24
    #: Numbers of a partition in a packed day before its hours; see `streams.domain.counts.packed_days`.
    ENTRY = 4
    MOST_ENTRY = ENTRY + 2 * HOURS
    #: Upper bounds of the bytes of a packed number, and of a row besides its names and dates.
    PACKED_BYTES = 9
    ROW_BYTES = 1024
    #: More digits may not fit into 64 bits.
    MOST_DIGITS = 18
    STATUS_NAMES = 3
    #: Dates with more periods are left to the Python version.
    MOST_PERIODS = 32
    #: Codes of status.
    OPEN = 0
    CLOSED = 2
    UNPUBLISHED = -1

cdef bytes _marker = _MARKER, _hours_begin = _HOURS_BEGIN
cdef const char* MARKER = PyBytes_AS_STRING(_marker)
cdef const char* HOURS_BEGIN = PyBytes_AS_STRING(_hours_begin)
cdef Py_ssize_t MARKER_BYTES = len(_marker), HOURS_BYTES = len(_hours_begin)
cdef Py_ssize_t LONGEST_SHARED = SHARED_BYTES
cdef unsigned long long[HOURS] WEIGHT
cdef int _hour
for _hour in range(HOURS):
    WEIGHT[_hour] = WEIGHTS[_hour]

_status_texts = tuple([f'"{status}"'.encode() for status in STATUSES])
_encode_text = msgspec.json.Encoder().encode

#: Memory to read or write, from `at` on and never past `end`.
cdef struct Cursor:
    const unsigned char* at
    const unsigned char* end

#: The columns of `streams.domain.rows.row_columns`, valid until a row is added.
cdef struct Numbers:
    Py_ssize_t rows
    Py_ssize_t room
    int* series
    int* period
    int* version
    int* restated
    int* history_version
    long long* count
    long long* backfilled
    long long* published_count
    long long* published_backfilled
    long long* updated_us
    unsigned long long* hours
    unsigned long long* published_hours
    signed char* status
    signed char* published_status


cdef void* numbers_of(array.array column, Py_ssize_t rows, Py_ssize_t size) except? NULL:
    if column.ob_size < rows or column.itemsize != size:
        raise IndexError("a column has too few numbers, or other ones")
    return <void*> column.data.as_chars


cdef int look_up(object columns, Numbers* numbers) except -1:
    """Finds the columns; to be repeated whenever rows may have been added."""
    cdef Py_ssize_t rows = len(columns.cells)
    numbers.rows = rows
    numbers.room = len(columns.series)
    numbers.series = <int*> numbers_of(columns.series, rows, sizeof(int))
    numbers.period = <int*> numbers_of(columns.period, rows, sizeof(int))
    numbers.version = <int*> numbers_of(columns.version, rows, sizeof(int))
    numbers.restated = <int*> numbers_of(columns.restated, rows, sizeof(int))
    numbers.history_version = <int*> numbers_of(columns.history_version, rows, sizeof(int))
    numbers.count = <long long*> numbers_of(columns.count, rows, sizeof(long long))
    numbers.backfilled = <long long*> numbers_of(columns.backfilled, rows, sizeof(long long))
    numbers.published_count = <long long*> numbers_of(columns.published_count, rows, sizeof(long long))
    numbers.published_backfilled = <long long*> numbers_of(columns.published_backfilled, rows, sizeof(long long))
    numbers.updated_us = <long long*> numbers_of(columns.updated_us, rows, sizeof(long long))
    numbers.hours = <unsigned long long*> numbers_of(columns.hours, rows, sizeof(long long))
    numbers.published_hours = <unsigned long long*> numbers_of(columns.published_hours, rows, sizeof(long long))
    numbers.status = <signed char*> numbers_of(columns.status, rows, 1)
    numbers.published_status = <signed char*> numbers_of(columns.published_status, rows, 1)
    return 0


cdef inline int check(const Numbers* numbers, Py_ssize_t place) except -1:
    if not 0 <= place < numbers.rows:
        raise IndexError("there is no such row")
    return 0


cdef object add(object columns, list cells, Numbers* numbers, dict rows, object series, object period):
    """Adds an empty row. Returns its place."""
    cdef Py_ssize_t place = numbers.rows
    cdef int of_series = series, of_period = period
    if place >= numbers.room:
        at = columns.add(series, period, OPEN)
        look_up(columns, numbers)
    else:
        at = place
        cells.append(None)
        numbers.rows += 1
        numbers.series[place], numbers.period[place], numbers.status[place] = of_series, of_period, OPEN
        numbers.published_status[place] = UNPUBLISHED
    rows[period] = at
    return at


# Reading ------------------------------------------------------------------------------------------------------------


cdef inline void read_from(bytes text, Cursor* cursor):
    cursor.at = <const unsigned char*> PyBytes_AS_STRING(text)
    cursor.end = cursor.at + PyBytes_GET_SIZE(text)


cdef inline bint reads(Cursor* cursor, const char* word, Py_ssize_t size) noexcept:
    """Whether a word comes next; then it is passed."""
    if cursor.end - cursor.at < size or memcmp(cursor.at, word, size) != 0:
        return False
    cursor.at += size
    return True


cdef inline bint reads_number(Cursor* cursor, long long* number) noexcept:
    """Whether a natural number comes next; then it is passed."""
    cdef const unsigned char* begin = cursor.at
    cdef long long found = 0
    while cursor.at < cursor.end and 48 <= cursor.at[0] <= 57:
        if cursor.at - begin >= MOST_DIGITS:
            return False
        found = found * 10 + (cursor.at[0] - 48)
        cursor.at += 1
    number[0] = found
    # JSON has no zeros in front.
    return cursor.at - begin == 1 or cursor.at > begin and begin[0] != 48


cdef inline bint reads_text(Cursor* cursor, Cursor* text) noexcept:
    """Whether characters without escapes come next, and a quotation mark; then both are passed."""
    text.at = cursor.at
    while cursor.at < cursor.end and cursor.at[0] != 34:
        if cursor.at[0] == 92 or cursor.at[0] < 32:
            return False
        cursor.at += 1
    text.end = cursor.at
    if cursor.at >= cursor.end:
        return False
    cursor.at += 1
    return True


cdef inline bint reads_hours(Cursor* cursor, long long* hours) noexcept:
    """Whether 24 numbers in brackets come next; then they are passed."""
    cdef int hour
    if not reads(cursor, b"[", 1):
        return False
    for hour in range(HOURS):
        if hour and not reads(cursor, b",", 1):
            return False
        if not reads_number(cursor, &hours[hour]):
            return False
    return reads(cursor, b"]", 1)


cdef inline str text_in(const Cursor* text):
    return PyUnicode_DecodeUTF8(<const char*> text.at, text.end - text.at, NULL)


cdef inline unsigned long long fingerprint_of(const long long* hours) noexcept:
    cdef unsigned long long found = 0
    cdef int hour
    for hour in range(HOURS):
        found += <unsigned long long> hours[hour] * WEIGHT[hour]
    return found


# Packed days; see `streams.domain.counts.packed_days` ----------------------------------------------------------------------


cdef inline unsigned long long big_endian(const unsigned char* at, int size) noexcept:
    cdef unsigned long long number = 0
    cdef int place
    for place in range(size):
        number = number << 8 | at[place]
    return number


cdef Py_ssize_t unpack(Cursor cursor, long long* integers) except -1:
    """Unpacks integers, of which there is room for as many as there are bytes. Returns how many there are.

    Raises:
        ValueError: These are not packed natural numbers.
    """
    cdef Py_ssize_t size = -1, place
    cdef int width
    cdef unsigned char code
    if cursor.at < cursor.end:
        code = cursor.at[0]
        cursor.at += 1
        if 0x90 <= code <= 0x9F:
            size = code & 0x0F
        elif 0xDC <= code <= 0xDD:
            width = 2 if code == 0xDC else 4
            if cursor.end - cursor.at >= width:
                size = <Py_ssize_t> big_endian(cursor.at, width)
                cursor.at += width
    if size < 0 or size > cursor.end - cursor.at:
        raise ValueError("no packed day")
    for place in range(size):
        if cursor.at >= cursor.end:
            raise ValueError("a packed day is cut off")
        code = cursor.at[0]
        cursor.at += 1
        if code < 0x80:
            integers[place] = code
            continue
        if not 0xCC <= code <= 0xCF:
            raise ValueError("a packed day has another kind of number")
        width = 1 << (code - 0xCC)
        if cursor.end - cursor.at < width:
            raise ValueError("a packed day is cut off")
        integers[place] = <long long> big_endian(cursor.at, width)
        if integers[place] < 0:
            raise ValueError("a packed day has too great a number")
        cursor.at += width
    return size


cdef inline unsigned char* put_big_endian(unsigned char* at, unsigned long long number, int size) noexcept:
    cdef int place
    for place in range(size):
        at[place] = <unsigned char> (number >> 8 * (size - 1 - place))
    return at + size


cdef bytes pack(const long long* integers, Py_ssize_t size):
    """Packs natural numbers, each in as few bytes as MessagePack has for it."""
    cdef unsigned char* made = <unsigned char*> PyMem_Malloc(size * PACKED_BYTES + PACKED_BYTES)
    cdef unsigned char* at = made
    cdef unsigned long long number
    cdef Py_ssize_t place
    if made == NULL:
        raise MemoryError
    if size < 0x10:
        at = put_big_endian(at, 0x90 | size, 1)
    elif size < 0x1_0000:
        at = put_big_endian(put_big_endian(at, 0xDC, 1), size, 2)
    else:
        at = put_big_endian(put_big_endian(at, 0xDD, 1), size, 4)
    for place in range(size):
        number = <unsigned long long> integers[place]
        if number < 0x80:
            at = put_big_endian(at, number, 1)
        elif number < 0x100:
            at = put_big_endian(put_big_endian(at, 0xCC, 1), number, 1)
        elif number < 0x1_0000:
            at = put_big_endian(put_big_endian(at, 0xCD, 1), number, 2)
        elif number < 0x1_0000_0000:
            at = put_big_endian(put_big_endian(at, 0xCE, 1), number, 4)
        else:
            at = put_big_endian(put_big_endian(at, 0xCF, 1), number, 8)
    try:
        return PyBytes_FromStringAndSize(<char*> made, at - made)
    finally:
        PyMem_Free(made)


cdef bytes shared(bytes packed):
    """As `streams.domain.counts.packed_days.shared`."""
    cdef dict known = SHARED
    if PyBytes_GET_SIZE(packed) > LONGEST_SHARED:
        return packed
    found = known.get(packed)
    if found is not None:
        return found
    if len(known) >= MOST_SHARED:
        known.clear()
    known[packed] = packed
    return packed


#: A partition's count of a day, as read; `before` and `fingerprint` say what it replaces.
cdef struct Count:
    long long shard
    long long count
    long long backfilled
    long long[HOURS] hours
    long long before
    long long backfilled_before
    unsigned long long fingerprint


cdef object replaced(object packed, Count* count):
    """The packed day after a partition's count has replaced its earlier one, or a day without counts if it is None."""
    cdef long long[MOST_ENTRY] entry
    cdef long long* integers
    cdef Cursor cursor
    cdef Py_ssize_t size = 0, room, at = 0, end, place, of_entry = ENTRY
    cdef int hour
    for hour in range(HOURS):
        if count.hours[hour]:
            entry[of_entry] = hour
            entry[of_entry + 1] = count.hours[hour]
            of_entry += 2
    entry[0], entry[1], entry[2], entry[3] = count.shard, count.count, count.backfilled, (of_entry - ENTRY) // 2
    count.before = count.backfilled_before = 0
    count.fingerprint = fingerprint_of(count.hours)
    if packed is None:
        return shared(pack(entry, of_entry))
    read_from(<bytes?> packed, &cursor)
    room = cursor.end - cursor.at + MOST_ENTRY
    integers = <long long*> PyMem_Malloc(room * sizeof(long long))
    if integers == NULL:
        raise MemoryError
    try:
        size = unpack(cursor, integers)
        while True:
            if at == size:
                end = at
                break
            end = at + ENTRY + 2 * integers[at + 3] if at + ENTRY <= size else size + 1
            if end > size or end < at + ENTRY:
                raise ValueError("a packed day is cut off")
            if integers[at] == count.shard:
                count.before, count.backfilled_before = integers[at + 1], integers[at + 2]
                for place in range(at + ENTRY, end, 2):
                    if integers[place] >= HOURS:
                        raise ValueError("a packed day has another hour")
                    count.fingerprint -= <unsigned long long> integers[place + 1] * WEIGHT[integers[place]]
                break
            at = end
        # What follows moves to the end of the new entry.
        if of_entry > end - at:
            place = size - 1
            while place >= end:
                integers[place + of_entry - (end - at)] = integers[place]
                place -= 1
        else:
            for place in range(end, size):
                integers[place + of_entry - (end - at)] = integers[place]
        memcpy(integers + at, entry, of_entry * sizeof(long long))
        return shared(pack(integers, size + of_entry - (end - at)))
    finally:
        PyMem_Free(integers)


cdef int hours_in(object packed, long long* hours) except -1:
    """Adds up the hours of a packed day over all partitions."""
    cdef Cursor cursor
    cdef Py_ssize_t size, at = 0, end, place
    cdef int hour
    cdef long long* integers
    for hour in range(HOURS):
        hours[hour] = 0
    if packed is None:
        return 0
    read_from(<bytes?> packed, &cursor)
    integers = <long long*> PyMem_Malloc((cursor.end - cursor.at + 1) * sizeof(long long))
    if integers == NULL:
        raise MemoryError
    try:
        size = unpack(cursor, integers)
        while at < size:
            end = at + ENTRY + 2 * integers[at + 3] if at + ENTRY <= size else size + 1
            if end > size or end < at + ENTRY:
                raise ValueError("a packed day is cut off")
            for place in range(at + ENTRY, end, 2):
                if integers[place] >= HOURS:
                    raise ValueError("a packed day has another hour")
                hours[integers[place]] += integers[place + 1]
            at = end
    finally:
        PyMem_Free(integers)
    return 0


# Counts -------------------------------------------------------------------------------------------------------------


cdef bint reads_count(bytes value, Count* count) noexcept:
    """Whether this is a count of a day as this service writes it. Its latest unit is left out."""
    cdef Cursor cursor
    read_from(value, &cursor)
    return (
        reads(&cursor, b'{"count":', 9)
        and reads_number(&cursor, &count.count)
        and reads(&cursor, b',"backfilled":', 14)
        and reads_number(&cursor, &count.backfilled)
        and reads(&cursor, b',"by_hour":', 11)
        and reads_hours(&cursor, count.hours)
        and reads(&cursor, b',"latest":', 10)
        and names_unit(&cursor)
    )


cdef inline bint names_unit(Cursor* cursor) noexcept:
    """Whether a unit comes next, or none, and then the end."""
    return cursor.at < cursor.end and cursor.end[-1] == 125 and (cursor.at[0] == 123 or reads(cursor, b"null}", 5) and cursor.at == cursor.end)


cdef bint reads_key(bytes key, long long* shard, Cursor* metric, Cursor* scope, Cursor* part) noexcept:
    """Whether this is the key of a count, `shard|metric|scope|date`; the date may also be an hour of a campaign."""
    cdef Cursor cursor
    cdef const unsigned char* found
    read_from(key, &cursor)
    if not (reads_number(&cursor, shard) and reads(&cursor, b"|", 1)):
        return False
    metric.at = cursor.at
    found = <const unsigned char*> memchr(cursor.at, 124, cursor.end - cursor.at)
    if found == NULL:
        return False
    metric.end, scope.at = found, found + 1
    found = <const unsigned char*> memchr(scope.at, 124, cursor.end - scope.at)
    if found == NULL:
        return False
    scope.end, part.at, part.end = found, found + 1, cursor.end
    return memchr(part.at, 124, part.end - part.at) == NULL


def hold_back(list pairs not None, Py_ssize_t at, dict waiting not None):
    """As `streams.totals.shards.hold_back`."""
    cdef Cursor cursor
    cdef long long shard, known = -1
    cdef list of_shard = None
    cdef tuple pair
    while 0 <= at < len(pairs):
        pair = pairs[at]
        read_from(<bytes?> pair[0], &cursor)
        if not (reads_number(&cursor, &shard) and reads(&cursor, b"|", 1)):
            break
        if reads(&cursor, MARKER, MARKER_BYTES) and cursor.at == cursor.end or reads(&cursor, HOURS_BEGIN, HOURS_BYTES):
            break
        if shard != known:
            of_shard, known = waiting.get(shard), shard
        if of_shard is None:
            break
        of_shard.append(pair)
        at += 1
    return at


#: As it ends if its unit is the latest of all.
cdef bytes NEWEST = b',"is_newest":true}'


def take(columns, dict scopes not None, dict days not None, dict first_cells not None, list changed, list heard, counts, list made not None, new_day, new_series, others):
    """Takes counts of days in, in order; each replaces the earlier one of its partition.

    Args:
        columns: The rows.
        scopes: Scope → metric → series.
        days: Business date as in a key → the date, and the numbers of its periods, its own first.
        first_cells: Rows of days that have changed since their first version → their packed day then.
        changed: Receives, for each count of a day that nothing watches, the rows that contain the day, its partition, and its units
            before and now; None if nobody wants to know.
        heard: The same for counts of other days.
        counts: Keys and values, as in the topic.
        made: Receives the places of new rows.
        new_day: Adds a date to `days`; None if the text is none.
        new_series: Makes a series of a metric and scope; None if there is no such metric.
        others: Called with the key and the value of each count that is not plain.

    Returns:
        The latest date of the plain ones, None if there are none.
    """
    cdef Numbers numbers
    cdef Count count
    cdef Cursor metric_text, scope_text, part
    cdef dict rows
    cdef list cells = columns.cells, noted
    cdef Py_ssize_t[MOST_PERIODS] places
    cdef Py_ssize_t own = 0, period, periods
    cdef long long more, more_backfilled
    cdef tuple day
    cdef bytes text
    newest = None
    look_up(columns, &numbers)
    for key, value in counts:
        day = by_metric = series = None
        if reads_key(<bytes?> key, &count.shard, &metric_text, &scope_text, &part) and reads_count(<bytes?> value, &count):
            text = PyBytes_FromStringAndSize(<const char*> part.at, part.end - part.at)
            scope, metric = text_in(&scope_text), text_in(&metric_text)
            day = days.get(text)
            if day is None:
                day = new_day(text)
            if day is not None:
                by_metric = scopes.get(scope)
                series = (<dict?> by_metric).get(metric) if by_metric is not None else None
                if series is None:
                    series = new_series(metric, scope)
        if series is None or series.rolling or day[0] < series.kept.since or len(<tuple?> day[1]) > MOST_PERIODS:
            others(key, value)
            look_up(columns, &numbers)
            continue
        rows = series.rows
        periods = 0
        for number in <tuple> day[1]:
            at = rows.get(number)
            if at is None:
                at = add(columns, cells, &numbers, rows, series.number, number)
                made.append(at)
            places[periods] = at
            check(&numbers, places[periods])
            periods += 1
        own = places[0]
        if (
            numbers.version[own] == 1
            and numbers.history_version[own] == 0
            and numbers.hours[own] == numbers.published_hours[own]
            and own not in first_cells
        ):
            first_cells[own] = cells[own]
        cells[own] = replaced(cells[own], &count)
        numbers.hours[own] += count.fingerprint
        more, more_backfilled = count.count - count.before, count.backfilled - count.backfilled_before
        for period in range(periods):
            numbers.count[places[period]] += more
            if more_backfilled:
                numbers.backfilled[places[period]] += more_backfilled
        if newest is None or day[0] > newest:
            newest = day[0]
        noted = changed
        if series.is_watched:
            noted = heard
            note_watched(series, day[0], count.shard, value)
        if noted is not None:
            noted.append((tuple([places[period] for period in range(periods)]), count.shard, count.before, count.count))
    return newest


cdef int note_watched(series, day, long long shard, bytes value) except -1:
    """Keeps what a count says of its latest unit; see `streams.domain.rows.row_table.Series`."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(NEWEST), ends = PyBytes_GET_SIZE(value) - size
    if day >= series.newest_day:
        if day > series.newest_day:
            series.newest_day, series.newest = day, {}
        is_newest = ends >= 0 and memcmp(PyBytes_AS_STRING(value) + ends, PyBytes_AS_STRING(NEWEST), size) == 0
        series.newest[shard] = value if is_newest else None
    return 0


# Rows as JSON -------------------------------------------------------------------------------------------------------


@cython.final
cdef class _Scratch:
    """Memory to write a row in."""

    cdef unsigned char* memory
    cdef Py_ssize_t size

    def __dealloc__(self):
        PyMem_Free(self.memory)

    cdef int have_room(self, Py_ssize_t size) except -1:
        if size > self.size:
            PyMem_Free(self.memory)
            self.size = 0
            self.memory = <unsigned char*> PyMem_Malloc(2 * size)
            if self.memory == NULL:
                raise MemoryError
            self.size = 2 * size
        return 0


cdef tuple record_of(_Scratch scratch, const Numbers* numbers, Py_ssize_t place, series, tuple period, packed, bytes updated_at):
    """Key and value of the published version of a plain row.

    Args:
        scratch: To write in.
        numbers: The columns.
        place: Of the row.
        series: Its metric and scope.
        period: See `publish`.
        packed: Its packed day, if it is one.
        updated_at: As in the row.
    """
    cdef long long[HOURS] hours
    cdef Py_ssize_t of_metric, of_scope, of_json
    cdef const char* metric = PyUnicode_AsUTF8AndSize(series.metric, &of_metric)
    cdef const char* scope = PyUnicode_AsUTF8AndSize(series.scope, &of_scope)
    cdef const char* scope_json = scope
    cdef bytes id_ = period[0], dates = period[1], calendar = period[2], quoted = None, key
    cdef bytes status = _status_texts[numbers.published_status[place]]
    cdef unsigned char* at
    cdef int hour
    of_json = of_scope
    if not is_plain_text(scope, of_scope):
        quoted = _encode_text(series.scope)
        scope_json, of_json = PyBytes_AS_STRING(quoted) + 1, len(quoted) - 2
    scratch.have_room(
        2 * of_metric + of_scope + of_json + len(id_) + len(dates) + len(calendar) + len(updated_at) + ROW_BYTES
    )
    at = put(scratch.memory, metric, of_metric)
    at = put(at, b"/", 1)
    at = put(at, scope, of_scope)
    at = put(at, b"/", 1)
    at = put_bytes(at, id_)
    key = PyBytes_FromStringAndSize(<char*> scratch.memory, at - scratch.memory)
    at = put(scratch.memory, b'{"metric":"', 11)
    at = put(at, metric, of_metric)
    at = put(at, b'","scope":"', 11)
    at = put(at, scope_json, of_json)
    at = put(at, b'"', 1)
    at = put_bytes(at, dates)
    at = put_number(at, numbers.published_count[place])
    if period[3]:
        hours_in(packed, hours)
        at = put(at, b',"by_hour":[', 12)
        for hour in range(HOURS):
            if hour:
                at = put(at, b",", 1)
            at = put_number(at, hours[hour])
        at = put(at, b"]", 1)
    at = put(at, b',"targets":[],"status":', 23)
    at = put_bytes(at, status)
    at = put(at, b',"restated":', 12)
    at = put_number(at, numbers.restated[place])
    at = put(at, b',"version":', 11)
    at = put_number(at, numbers.version[place])
    at = put(at, b',"updated_at":"', 15)
    at = put_bytes(at, updated_at)
    at = put(at, b'"', 1)
    at = put_bytes(at, calendar)
    if numbers.published_backfilled[place]:
        at = put(at, b',"backfilled":', 14)
        at = put_number(at, numbers.published_backfilled[place])
    at = put(at, b"}", 1)
    return key, PyBytes_FromStringAndSize(<char*> scratch.memory, at - scratch.memory)


def publish(columns, list places, list series, list periods, dict first_cells, long long updated_us, text_of, opens, bint asks_all, bint asks_late):
    """The next versions of plain rows.

    Args:
        columns: The rows.
        places: Which of them.
        series: By number: metric and scope.
        periods: By number: the id; the fields from the period to the count, as they begin in JSON; those of the calendar; whether it is a
            day.
        first_cells: Rows of days that have changed since their first version → their packed day then.
        updated_us: The instant of these versions, microseconds since 1970.
        text_of: An instant as text.
        opens: Whether a row that was never published is to be now; otherwise those with units are.
        asks_all: Calls it for each of them.
        asks_late: Calls it for those that are not open.

    Returns:
        Those of the places that have a next version; key and value of each; key and value of each first version replaced.
    """
    cdef Numbers numbers
    cdef list cells = columns.cells, changed = [], records = [], earlier = []
    cdef _Scratch scratch = _Scratch()
    cdef Py_ssize_t place
    cdef long long loaded, first_us = updated_us
    cdef bint is_loaded
    cdef bytes updated_at = text_of(updated_us).encode(), first_at = updated_at
    look_up(columns, &numbers)
    for at in places:
        place = at
        check(&numbers, place)
        if numbers.version[place] == 0:
            # Asked of those without units as well if late: they are opened, too.
            if asks_late and numbers.status[place] != OPEN or asks_all and numbers.count[place]:
                if not opens(at):
                    continue
            elif not numbers.count[place]:
                continue
        elif (
            numbers.count[place] == numbers.published_count[place]
            and numbers.hours[place] == numbers.published_hours[place]
            and numbers.backfilled[place] == numbers.published_backfilled[place]
            and numbers.status[place] == numbers.published_status[place]
        ):
            continue
        loaded = numbers.backfilled[place] - numbers.published_backfilled[place]
        is_loaded = loaded > 0 and loaded >= numbers.count[place] - numbers.published_count[place]
        of_series, period = series[numbers.series[place]], periods[numbers.period[place]]
        if numbers.version[place] == 1 and numbers.history_version[place] == 0:
            if numbers.updated_us[place] != first_us:
                first_us = numbers.updated_us[place]
                first_at = text_of(first_us).encode()
            packed = first_cells[at] if at in first_cells else cells[place]
            earlier.append(record_of(scratch, &numbers, place, of_series, period, packed, first_at))
            numbers.history_version[place] = 1
        if numbers.published_status[place] == CLOSED and not is_loaded:
            numbers.restated[place] += 1
        numbers.version[place] += 1
        numbers.published_count[place] = numbers.count[place]
        numbers.published_backfilled[place] = numbers.backfilled[place]
        numbers.published_status[place] = numbers.status[place]
        numbers.published_hours[place] = numbers.hours[place]
        numbers.updated_us[place] = updated_us
        changed.append(at)
        records.append(record_of(scratch, &numbers, place, of_series, period, cells[place], updated_at))
    return changed, records, earlier


def note_first(columns, list places not None, long long now_us):
    """Notes when rows of which a first version is being published got it, for `streams.totals.history`.

    Returns:
        The places of those that need more: they have had a version before, or are closed and of loaded history.
    """
    cdef Numbers numbers
    cdef array.array history_us = columns.history_us
    cdef long long* written_us
    cdef list others = []
    cdef Py_ssize_t place
    look_up(columns, &numbers)
    written_us = <long long*> numbers_of(history_us, numbers.rows, sizeof(long long))
    for at in places:
        place = at
        check(&numbers, place)
        if numbers.version[place] != 1 or numbers.published_status[place] == CLOSED and numbers.published_backfilled[place]:
            others.append(at)
        else:
            numbers.history_version[place], written_us[place] = 0, now_us
    return others


def parted(columns, list places, list series, campaigns, tuple rare, bint are_judged):
    """Rows that must be judged, and plain ones.

    Args:
        columns: The rows.
        places: Which of them.
        series: By number; `is_watched` says whether its rows must be judged.
        campaigns: Numbers of the periods whose rows must be judged.
        rare: Dictionaries of further rows that must be judged, by place.
        are_judged: Whether they have been judged; then it does not matter who watches them.
    """
    cdef array.array of_series = columns.series, of_period = columns.period
    cdef Py_ssize_t rows = len(columns.cells), place
    cdef const int* number = <const int*> numbers_of(of_series, rows, sizeof(int))
    cdef const int* period = <const int*> numbers_of(of_period, rows, sizeof(int))
    cdef list judged = [], plain = []
    cdef bint has_campaigns = bool(campaigns), is_judged
    more = [each for each in rare if each]
    for at in places:
        place = at
        if not 0 <= place < rows:
            raise IndexError("there is no such row")
        is_judged = not are_judged and series[number[place]].is_watched or has_campaigns and period[place] in campaigns
        if not is_judged:
            for each in more:
                if at in each:
                    is_judged = True
                    break
        (judged if is_judged else plain).append(at)
    return judged, plain


def by_scope(columns, places, list series):
    """Scope → its rows, in the order of the places."""
    cdef array.array of_series = columns.series
    cdef Py_ssize_t rows = len(columns.cells), place
    cdef const int* number = <const int*> numbers_of(of_series, rows, sizeof(int))
    cdef dict found = {}
    for at in sorted(places):
        place = at
        if not 0 <= place < rows:
            raise IndexError("there is no such row")
        scope = series[number[place]].scope
        of_scope = found.get(scope)
        if of_scope is None:
            found[scope] = [at]
        else:
            (<list> of_scope).append(at)
    return found


def encode(columns, list places, list series, list periods, text_of):
    """Key and value of the published version of plain rows; the arguments as for `publish`."""
    cdef Numbers numbers
    cdef list cells = columns.cells, records = []
    cdef _Scratch scratch = _Scratch()
    cdef Py_ssize_t place
    cdef long long updated_us = -1
    cdef bytes updated_at = b""
    look_up(columns, &numbers)
    for at in places:
        place = at
        check(&numbers, place)
        if numbers.updated_us[place] != updated_us:
            updated_us = numbers.updated_us[place]
            updated_at = text_of(updated_us).encode()
        records.append(
            record_of(
                scratch, &numbers, place, series[numbers.series[place]], periods[numbers.period[place]], cells[place], updated_at
            )
        )
    return records


def restore(columns, dict scopes, dict by_id, list periods, dict first_cells, tuple rare, values, micros_of, others):
    """Restores the published versions of plain rows, in order.

    Args:
        columns: The rows.
        scopes: Scope → metric → series.
        by_id: Number of a period by its id.
        periods: See `publish`; the last element of each is whether its rows can be plain.
        first_cells: Rows of days that have changed since their first version → their packed day then.
        rare: Dictionaries of rows that are not plain, by place.
        values: As in the topic.
        micros_of: An instant from its text.
        others: Called with each value of a row that is not plain, or that does not exist yet.
    """
    cdef Numbers numbers
    cdef Cursor cursor, metric_text, scope_text, period_text, updated_text, begin
    cdef long long[HOURS] hours
    cdef long long count, restated, version, backfilled, updated_us = 0
    cdef unsigned long long fingerprint
    cdef bytes last_text = None, dates, calendar, status
    cdef int code
    cdef bint is_plain
    cdef Py_ssize_t place
    cdef tuple period
    look_up(columns, &numbers)
    for value in values:
        read_from(<bytes?> value, &cursor)
        at = None
        is_plain = (
            reads(&cursor, b'{"metric":"', 11)
            and reads_text(&cursor, &metric_text)
            and reads(&cursor, b',"scope":"', 10)
            and reads_text(&cursor, &scope_text)
        )
        begin = cursor
        if is_plain and reads(&cursor, b',"period":"', 11) and reads_text(&cursor, &period_text):
            number = by_id.get(text_in(&period_text))
            by_metric = scopes.get(text_in(&scope_text)) if number is not None else None
            series = (<dict?> by_metric).get(text_in(&metric_text)) if by_metric is not None else None
            at = (<dict?> series.rows).get(number) if series is not None else None
        if at is not None:
            period = periods[number]
            dates, calendar = period[1], period[2]
            cursor = begin
            is_plain = (
                period[4]
                and reads(&cursor, PyBytes_AS_STRING(dates), PyBytes_GET_SIZE(dates))
                and reads_number(&cursor, &count)
            )
            fingerprint = 0
            if is_plain and period[3]:
                is_plain = reads(&cursor, b',"by_hour":', 11) and reads_hours(&cursor, hours)
                fingerprint = fingerprint_of(hours)
            is_plain = is_plain and reads(&cursor, b',"targets":[],"status":', 23)
            code = UNPUBLISHED
            if is_plain:
                for code in range(STATUS_NAMES):
                    status = _status_texts[code]
                    if reads(&cursor, PyBytes_AS_STRING(status), PyBytes_GET_SIZE(status)):
                        break
                else:
                    is_plain = False
            is_plain = (
                is_plain
                and reads(&cursor, b',"restated":', 12)
                and reads_number(&cursor, &restated)
                and reads(&cursor, b',"version":', 11)
                and reads_number(&cursor, &version)
                and reads(&cursor, b',"updated_at":"', 15)
                and reads_text(&cursor, &updated_text)
                and reads(&cursor, PyBytes_AS_STRING(calendar), PyBytes_GET_SIZE(calendar))
            )
            backfilled = 0
            if is_plain and reads(&cursor, b',"backfilled":', 14):
                is_plain = reads_number(&cursor, &backfilled)
            is_plain = is_plain and reads(&cursor, b"}", 1) and cursor.at == cursor.end
            if is_plain:
                place = at
                check(&numbers, place)
                # The first version of a changed day must be kept.
                is_plain = (not period[3] or version != 1 or fingerprint == numbers.hours[place]) and max(version, restated) < 1 << 31
            for several in rare:
                if several and at in <dict?> several:
                    is_plain = False
        if at is None or not is_plain:
            others(value)
            look_up(columns, &numbers)
            continue
        if last_text is None or updated_text.end - updated_text.at != PyBytes_GET_SIZE(last_text) or memcmp(
            updated_text.at, PyBytes_AS_STRING(last_text), PyBytes_GET_SIZE(last_text)
        ):
            last_text = PyBytes_FromStringAndSize(<const char*> updated_text.at, updated_text.end - updated_text.at)
            updated_us = micros_of(last_text.decode())
        numbers.version[place] = <int> version
        numbers.restated[place] = <int> restated
        numbers.status[place] = numbers.published_status[place] = <signed char> code
        numbers.published_count[place] = count
        numbers.published_backfilled[place] = backfilled
        numbers.updated_us[place] = updated_us
        if period[3]:
            numbers.published_hours[place] = fingerprint
            if first_cells:
                first_cells.pop(at, None)


if MOST_PARTS < HOURS:
    raise ImportError("days have more hours than this was built for")
