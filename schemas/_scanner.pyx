# cython: language_level=3, boundscheck=True, wraparound=False
"""The fast way from a record to a fact, compiled: the same as `schemas.fast`, from bytes to facts in one pass.

It accepts only what is plain, and gives `None` for everything else, which the authority then decides. Plain is an event

- whose JSON is ASCII without a backslash and without control characters, and has known keys only, each at most once;
- whose values are texts that are not empty, except `data` and `backfill`;
- whose names, ids and order number neither begin nor end with a space.

Texts and tables are read with bounds checks: an index that is wrong raises, and reads nothing it must not.
"""

cimport cython

from schemas import cloudevents
from schemas.authority import digest_of
from schemas.events import VIN_CHARACTERS
from schemas.facts import DELIVERIES as _DELIVERIES, NO_DIMS as _NO_DIMS, ORDERS as _ORDERS, PRODUCTION as _PRODUCTION
from schemas.facts import Fact, family_of
from schemas.pools import POOL_SIZE, intern_dims, intern_text

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
    SPECVERSION, ID, SOURCE_, TYPE, TIME, SUBJECT, DATACONTENTTYPE, DATASCHEMA, TRACEPARENT, TRACESTATE, BACKFILL, DATA
    ORDER_ID, VIN, MODEL, VARIANT, FACTORY, REGION, CHANNEL, REASON
    FIELDS

#: What is known of a kind of event: its fields of data, as a set of bits, and those of them that it must have.
cdef enum:
    ENVELOPE = 1 << SPECVERSION | 1 << ID | 1 << SOURCE_ | 1 << TYPE | 1 << TIME | 1 << DATA
    OF_DATA = 1 << ORDER_ID | 1 << VIN | 1 << MODEL | 1 << VARIANT | 1 << FACTORY | 1 << REGION | 1 << CHANNEL | 1 << REASON
    DIMS = 1 << MODEL | 1 << VARIANT | 1 << FACTORY | 1 << REGION
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

#: As `schemas.facts.Kind` has them.
cdef enum:
    NO_KIND, PLACED, CANCELLED, DELIVERED, REVERSED, VOIDED, PRODUCED, SCRAPPED

cdef enum:
    LONGEST_ID = 256
    LONGEST_NAME = 64
    VIN_LENGTH = 17
    #: Four names and what parts them.
    DIMS_BYTES = 4 * (LONGEST_NAME + 1)
    FIRST_YEAR = 2000
    LAST_YEAR = 2100

#: Key, headers and value together are certainly within the limit if a value has this much room, bytes.
cdef Py_ssize_t ROOM_BYTES = 4096
cdef Py_ssize_t MAX_HEADER_BYTES = 2048
#: A time in milliseconds beyond this is none; a thousand times it is still a number of 64 bits.
cdef long long MOST_MS = 4_000_000_000_000_000

cdef int ORDERS = _ORDERS, DELIVERIES = _DELIVERIES, PRODUCTION = _PRODUCTION
cdef object NO_DIMS = _NO_DIMS

#: Characters of plain texts, and of VINs.
cdef unsigned char[256] IN_TEXT
cdef unsigned char[256] IN_VIN
cdef int _code
for _code in range(256):
    IN_TEXT[_code] = 0x20 <= _code < 0x7f and _code != c'"' and _code != c'\\'
    IN_VIN[_code] = _code < 0x80 and chr(_code) in VIN_CHARACTERS

#: Sources and dimensions as they stand in events → the objects of the pools.
cdef dict known_sources = {}
cdef dict known_dims = {}

#: Attributes by the names of headers in binary mode.
cdef dict HEADERS = {
    "content-type": DATACONTENTTYPE,
    "ce_specversion": SPECVERSION,
    "ce_id": ID,
    "ce_source": SOURCE_,
    "ce_type": TYPE,
    "ce_time": TIME,
    "ce_subject": SUBJECT,
    "ce_dataschema": DATASCHEMA,
    "ce_traceparent": TRACEPARENT,
    "ce_tracestate": TRACESTATE,
    "ce_backfill": BACKFILL,
}
#: Content types of structured mode, as the usual publishers write them.
cdef frozenset STRUCTURED = frozenset((
    b"application/cloudevents+json",
    b"application/cloudevents+json; charset=UTF-8",
    b"application/cloudevents+json; charset=utf-8",
))


def plain_facts(records, *, int topic, long long future_limit_us, Py_ssize_t max_bytes):
    """The facts of the plain records among `records`, and `None` for each of the others."""
    cdef _Event event = _Event(topic, future_limit_us, max_bytes - ROOM_BYTES)
    return [event.fact_of(record) for record in records]


@cython.final
cdef class _Event:
    """The event that is being read: what was found, and where."""

    cdef int family
    cdef object topic
    cdef long long future_limit_us
    cdef Py_ssize_t longest
    #: What was found, as a set of bits; of texts, where they start and end.
    cdef unsigned int seen
    cdef Py_ssize_t[FIELDS] starts
    cdef Py_ssize_t[FIELDS] ends
    cdef bint backfill
    #: The text that a field is in: the value, in binary mode a header.
    cdef bytes of_id
    cdef bytes of_source
    cdef bytes of_type
    cdef bytes of_time

    def __cinit__(self, int topic, long long future_limit_us, Py_ssize_t longest):
        self.family = family_of(topic)
        self.topic = topic
        self.future_limit_us = future_limit_us
        self.longest = longest

    cdef object fact_of(self, object record):
        """The fact of a record, `None` if it is not plain."""
        value = record.value
        key = record.key
        if type(value) is not bytes or type(key) is not bytes:
            return None
        if len(<bytes> value) > self.longest:
            return None
        self.seen = 0
        self.backfill = False
        headers = record.headers
        if is_structured(headers):
            if not self.read_structured(<bytes> value):
                return None
        elif not self.read_headers(headers) or not self.read_data(<bytes> value):
            return None
        return self.checked(record, <bytes> value, <bytes> key)

    # Reading --------------------------------------------------------------------------------------------------------

    cdef bint read_structured(self, bytes value) except -1:
        """Reads the event of a value."""
        cdef Py_ssize_t at = self.read_object(value, space_end(value, 0), False)
        if at < 0 or space_end(value, at) != len(value):
            return False
        if not is_word(value, self.starts[SPECVERSION], self.ends[SPECVERSION], b"1.0"):
            return False
        if self.has(DATACONTENTTYPE) and not is_word(
            value, self.starts[DATACONTENTTYPE], self.ends[DATACONTENTTYPE], b"application/json"
        ):
            return False
        self.of_id = self.of_source = self.of_type = self.of_time = value
        return True

    cdef bint read_data(self, bytes value) except -1:
        """Reads the data of an event in binary mode."""
        cdef Py_ssize_t at = self.read_object(value, space_end(value, 0), True)
        self.seen |= 1 << DATA
        return at >= 0 and space_end(value, at) == len(value)

    cdef bint read_headers(self, object headers) except -1:
        """Reads the attributes of an event in binary mode."""
        cdef bytes text
        cdef Py_ssize_t field
        for name, value in headers:
            found = HEADERS.get(name)
            if found is None or type(value) is not bytes:
                return False
            field = found
            if not 0 <= field < FIELDS or self.has(field):
                return False
            self.seen |= 1 << field
            text = value
            if not is_tidy(text, 0, len(text), LONGEST_ID) or text_end(text, 0) != len(text):
                return False
            self.starts[field] = 0
            self.ends[field] = len(text)
            if field == ID:
                self.of_id = text
            elif field == SOURCE_:
                self.of_source = text
            elif field == TYPE:
                self.of_type = text
            elif field == TIME:
                self.of_time = text
            elif field == SPECVERSION:
                if text != b"1.0":
                    return False
            elif field == DATACONTENTTYPE:
                if text != b"application/json":
                    return False
            elif field == BACKFILL:
                self.backfill = text == b"true"
                if not self.backfill and text != b"false":
                    return False
        return True

    cdef Py_ssize_t read_object(self, bytes text, Py_ssize_t at, bint is_data) except -2:
        """Reads an object, the event or its data, from its brace on. Returns the position behind it, -1 if it is not plain."""
        cdef Py_ssize_t end, field
        if not has_at(text, at, c"{"):
            return -1
        at += 1
        while True:
            at = space_end(text, at)
            if not has_at(text, at, c'"'):
                return -1
            end = text_end(text, at + 1)
            if not has_at(text, end, c'"'):
                return -1
            field = data_field(text, at + 1, end) if is_data else envelope_field(text, at + 1, end)
            if not 0 <= field < FIELDS or self.has(field):
                return -1
            self.seen |= 1 << field
            at = space_end(text, end + 1)
            if not has_at(text, at, c":"):
                return -1
            at = space_end(text, at + 1)
            if field == DATA:
                at = self.read_object(text, at, True)
                if at < 0:
                    return -1
            elif field == BACKFILL:
                at = self.read_backfill(text, at)
                if at < 0:
                    return -1
            else:
                if not has_at(text, at, c'"'):
                    return -1
                end = text_end(text, at + 1)
                if end == at + 1 or not has_at(text, end, c'"'):
                    return -1
                self.starts[field] = at + 1
                self.ends[field] = end
                at = end + 1
            at = space_end(text, at)
            if has_at(text, at, c"}"):
                return at + 1
            if not has_at(text, at, c","):
                return -1
            at += 1

    cdef Py_ssize_t read_backfill(self, bytes text, Py_ssize_t at) except -2:
        if is_word(text, at, at + 4, b"true"):
            self.backfill = True
            return at + 4
        return at + 5 if is_word(text, at, at + 5, b"false") else -1

    cdef bint has(self, Py_ssize_t field) noexcept:
        return self.seen >> field & 1

    # Checking -------------------------------------------------------------------------------------------------------

    cdef object checked(self, object record, bytes value, bytes key):
        """The fact of what was read, `None` if it is not plain."""
        cdef Py_ssize_t named_by
        cdef int kind = self.kind()
        cdef long long time_us, appended_ms
        if kind == NO_KIND:
            return None
        named_by = VIN if self.family == PRODUCTION else ORDER_ID
        if not is_tidy(value, self.starts[named_by], self.ends[named_by], LONGEST_ID):
            return None
        if not is_word(value, self.starts[named_by], self.ends[named_by], key):
            return None
        if not is_tidy(self.of_id, self.starts[ID], self.ends[ID], LONGEST_ID):
            return None
        if self.has(VIN) and not is_vin(value, self.starts[VIN], self.ends[VIN]):
            return None
        time_us = micros_of(self.of_time, self.starts[TIME], self.ends[TIME])
        if time_us < 0:
            return None
        appended_ms = record.timestamp
        if not -MOST_MS < appended_ms < MOST_MS or time_us > appended_ms * 1000 + self.future_limit_us:
            return None
        source = self.source()
        dims = self.dims(value) if self.has(MODEL) else NO_DIMS
        extra = self.extra(value)
        if source is None or dims is None or extra is None:
            return None
        return Fact(
            kind,
            value[self.starts[named_by] : self.ends[named_by]].decode("ascii"),
            source,
            self.of_id[self.starts[ID] : self.ends[ID]].decode("ascii"),
            time_us,
            value[self.starts[VIN] : self.ends[VIN]].decode("ascii") if self.has(VIN) else "",
            dims,
            extra,
            None,
            self.backfill,
            self.topic,
            record.partition,
            record.offset,
        )

    cdef int kind(self) except -1:
        """The kind by the type, if the family has it and all fields are there that it needs, and no others."""
        cdef bytes text = self.of_type
        cdef Py_ssize_t start = self.starts[TYPE], end = self.ends[TYPE]
        if self.seen & ENVELOPE != ENVELOPE:
            return NO_KIND
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
        return NO_KIND

    cdef bint has_fields(self, unsigned int must, unsigned int may) noexcept:
        cdef unsigned int found = self.seen & OF_DATA
        return found & must == must and found & ~may == 0

    cdef object source(self):
        """The source, `None` if it is not plain."""
        cdef Py_ssize_t start = self.starts[SOURCE_], end = self.ends[SOURCE_]
        text = self.of_source[start:end].decode("ascii")
        found = known_sources.get(text)
        if found is None and is_tidy(self.of_source, start, end, LONGEST_ID):
            if len(known_sources) >= POOL_SIZE:
                known_sources.clear()
            found = known_sources[text] = intern_text(text)
        return found

    cdef object dims(self, bytes value):
        """The dimensions, `None` if they are not plain."""
        cdef unsigned char[DIMS_BYTES] joined
        cdef Py_ssize_t size = 0, field, at
        for field in range(MODEL, REGION + 1):
            if self.has(field):
                if not is_tidy(value, self.starts[field], self.ends[field], LONGEST_NAME):
                    return None
                for at in range(self.starts[field], self.ends[field]):
                    if size >= DIMS_BYTES:
                        return None
                    joined[size] = value[at]
                    size += 1
            # No text has a line end in it.
            if size >= DIMS_BYTES:
                return None
            joined[size] = c"\n"
            size += 1
        names = <bytes> joined[:size]
        found = known_dims.get(names)
        if found is None:
            if len(known_dims) >= POOL_SIZE:
                known_dims.clear()
            found = known_dims[names] = intern_dims(tuple(names.decode("ascii").split("\n")[:4]))
        return found

    cdef object extra(self, bytes value):
        """What stands for the channel or the reason, `None` if it is not plain."""
        if self.has(CHANNEL):
            if not is_tidy(value, self.starts[CHANNEL], self.ends[CHANNEL], LONGEST_NAME):
                return None
            return intern_text(value[self.starts[CHANNEL] : self.ends[CHANNEL]].decode("ascii"))
        if self.has(REASON):
            return digest_of(value[self.starts[REASON] : self.ends[REASON]].decode("ascii"))
        return ""


# Modes --------------------------------------------------------------------------------------------------------------


cdef bint is_structured(object headers) except -1:
    """Whether headers are small and leave no doubt that the value is the event."""
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


cdef inline Py_ssize_t space_end(bytes text, Py_ssize_t at) except -2:
    """The position behind the white space that begins at a position, if any does."""
    cdef unsigned char character
    while at < len(text):
        character = text[at]
        if character != c" " and character != c"\n" and character != c"\t" and character != c"\r":
            break
        at += 1
    return at


cdef inline Py_ssize_t text_end(bytes text, Py_ssize_t at) except -2:
    """The position of the first character from a position on that is not in plain texts."""
    while at < len(text) and IN_TEXT[<unsigned char> text[at]]:
        at += 1
    return at


cdef inline bint has_at(bytes text, Py_ssize_t at, unsigned char character) except -1:
    return at < len(text) and text[at] == character


cdef inline bint is_word(bytes text, Py_ssize_t start, Py_ssize_t end, bytes word) except -1:
    """Whether a part of a text is a word."""
    cdef Py_ssize_t at
    if end - start != len(word) or end > len(text):
        return False
    for at in range(len(word)):
        if text[start + at] != word[at]:
            return False
    return True


cdef inline bint is_tidy(bytes text, Py_ssize_t start, Py_ssize_t end, Py_ssize_t longest) except -1:
    """Whether a part of a text is as long as a name may be, and neither begins nor ends with a space."""
    return 0 < end - start <= longest and text[start] != c" " and text[end - 1] != c" "


cdef bint is_vin(bytes text, Py_ssize_t start, Py_ssize_t end) except -1:
    cdef Py_ssize_t at
    if end - start != VIN_LENGTH:
        return False
    for at in range(start, end):
        if not IN_VIN[<unsigned char> text[at]]:
            return False
    return True


cdef Py_ssize_t envelope_field(bytes text, Py_ssize_t start, Py_ssize_t end) except -2:
    """The attribute with a name, -1 if it is not known."""
    cdef Py_ssize_t length = end - start
    if length == 2:
        return ID if is_word(text, start, end, b"id") else -1
    if length == 4:
        if is_word(text, start, end, b"type"):
            return TYPE
        if is_word(text, start, end, b"time"):
            return TIME
        return DATA if is_word(text, start, end, b"data") else -1
    if length == 6:
        return SOURCE_ if is_word(text, start, end, b"source") else -1
    if length == 7:
        return SUBJECT if is_word(text, start, end, b"subject") else -1
    if length == 8:
        return BACKFILL if is_word(text, start, end, b"backfill") else -1
    if length == 10:
        if is_word(text, start, end, b"dataschema"):
            return DATASCHEMA
        return TRACESTATE if is_word(text, start, end, b"tracestate") else -1
    if length == 11:
        if is_word(text, start, end, b"specversion"):
            return SPECVERSION
        return TRACEPARENT if is_word(text, start, end, b"traceparent") else -1
    if length == 15:
        return DATACONTENTTYPE if is_word(text, start, end, b"datacontenttype") else -1
    return -1


cdef Py_ssize_t data_field(bytes text, Py_ssize_t start, Py_ssize_t end) except -2:
    """The field of the data with a name, -1 if it is not known."""
    cdef Py_ssize_t length = end - start
    if length == 3:
        return VIN if is_word(text, start, end, b"vin") else -1
    if length == 5:
        return MODEL if is_word(text, start, end, b"model") else -1
    if length == 6:
        if is_word(text, start, end, b"region"):
            return REGION
        return REASON if is_word(text, start, end, b"reason") else -1
    if length == 7:
        if is_word(text, start, end, b"variant"):
            return VARIANT
        if is_word(text, start, end, b"factory"):
            return FACTORY
        return CHANNEL if is_word(text, start, end, b"channel") else -1
    if length == 8:
        return ORDER_ID if is_word(text, start, end, b"order_id") else -1
    return -1


# Times --------------------------------------------------------------------------------------------------------------


cdef long long micros_of(bytes text, Py_ssize_t start, Py_ssize_t end) except -2:
    """Microseconds since 1970 of RFC 3339 in its usual form, such as `2024-10-07T14:03:11.25+08:00`; -1 for any other."""
    cdef int year, month, day, hour, minute, second, hours, minutes, digits = 0
    cdef long long fraction_us = 0, offset_min = 0
    cdef Py_ssize_t at = start + 19
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


cdef inline int number_of(bytes text, Py_ssize_t start, Py_ssize_t digits) except -2:
    """The number that some digits make, -1 if one is none."""
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
    """Days since 1970-01-01, of a date from 2000 on."""
    # Years that begin in March have their leap day at the end.
    cdef long long years = year if month > 2 else year - 1
    cdef long long months = month - 3 if month > 2 else month + 9
    return years * 365 + years // 4 - years // 100 + years // 400 + (153 * months + 2) // 5 + day - 1 - 719_468
