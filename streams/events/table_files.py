"""Makes events from tables, CSV of any kind, Excel or Parquet, by a mapping from columns to fields.

Each row becomes one event. If no column has its id, the id is a digest of the row's content, so that the same row is the same event
however often the file is published.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.codec import encode_document
from schemas.events import EVENTS
from schemas.facts import DELIVERIES, ORDERS
from streams.events.event_files import NumberedLine
from streams.events.ndjson import key_of, topic_of
from streams.events.table_rows import rows_of
from streams.settings_file import toml_of
from streams.tables import (
    KNOWN_COLUMNS,
    plain_name,
)
from streams.wrong_values import in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    _Maker = Callable[[int, Sequence[str]], NumberedLine]
    _PlainMaker = Callable[[int, Sequence[str]], NumberedLine | None]

_HEADER_WITHIN: Final = 10
#: A date as people and tools write it, with or without a time of day.
_LOCAL: Final = re.compile(
    r"([0-9]{4})[-/.年]([0-9]{1,2})[-/.月]([0-9]{1,2})日?"
    r"(?:[ T]+([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?)?"
)
_OFFSET: Final = re.compile(r"(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})$")
_DATA_FIELDS: Final = frozenset(
    name
    for model in EVENTS.values()
    for name in model.model_fields["data"].annotation.model_fields  # type: ignore[union-attr] # a model
)
_NUMBERS: Final = frozenset({"value", "count"})
_BY_ORDER: Final = frozenset({ORDERS, DELIVERIES})
_REMEMBERED: Final = 65_536
#: Fields that say what an event is of, or which one it is.
_IDENTITIES: Final = ("order_id", "vin", "id")
#: A long number as spreadsheets show and export it, with fewer digits; many numbers become the same.
_SHORTENED: Final = re.compile(r"-?[0-9](?:[.,][0-9]+)?[eE]\+[0-9]{2,3}")
#: All minutes and seconds of a time, as written after its hour.
_WITHIN_AN_HOUR: Final = frozenset(f":{minute:02}:{second:02}" for minute in range(60) for second in range(60))
_SPOILT: Final = "{}: a number that a spreadsheet has shortened, like 1.23E+15; wanted: all of its digits, so make it text there and export again"
#: Length of the digests used as ids.
_ID_BYTES: Final = 12
#: How a field is written in the digest (`_SAID`) and in JSON (`_MEMBER`).
_SAID: Final = '["%s",%s]'
_MEMBER: Final = '"%s":%s'


class TableMapping(BaseModel):
    """What a table's columns mean, from a TOML file.

    Attributes:
        type: Type of all events, or the name of the column that has it.
        source: Source of the events.
        timezone: Time zone of times without an offset, an IANA name.
        columns: Field (`order_id`, `time`, `id`, ...) → column.
        constants: Field → its value in all rows.
        types: Content of the `type` column → event type.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str
    source: str
    timezone: str = ""
    columns: dict[str, str]
    constants: dict[str, str | int | bool] = {}
    types: dict[str, str] = {}


def read_mapping(content: bytes) -> TableMapping:
    """Parses a mapping from TOML.

    Raises:
        ValueError: It is invalid; the message says in one line what is wrong.
    """
    try:
        mapping = TableMapping.model_validate(toml_of(content))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {in_words(first)}") from None
    known = _DATA_FIELDS | {"id", "time", "type", "backfill"}
    for name in [*mapping.columns, *mapping.constants]:
        if name not in known:
            raise ValueError(f"no event has a field {name}; there are {', '.join(sorted(known))}")
    if mapping.timezone:
        try:
            ZoneInfo(mapping.timezone)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"timezone: no IANA time zone is called {mapping.timezone!r}") from None
    return mapping


@dataclass
class TableReader:
    """Reads the rows of one table as events.

    Attributes:
        backfill: Whether to mark the events as history.
        void_topic: The topic for events that void others.
        encoding: Of CSV; detected from the content if empty.
        form: How the table was read, in words.
        read_bytes: Number of bytes of the file read so far.
    """

    path: Path
    mapping: TableMapping
    backfill: bool = False
    void_topic: int = ORDERS
    encoding: str = ""
    form: str = ""
    read_bytes: int = 0
    _offsets: dict[str, str] = field(default_factory=dict)

    def _reached(self, position: int) -> None:
        self.read_bytes = position

    def events(self) -> Iterator[NumberedLine]:
        """Each row as a structured event: errors in it are left to the codec, but for numbers that a spreadsheet has shortened.

        Raises:
            ValueError: The table cannot be read, or lacks a column that the mapping names.
        """
        rows, form = rows_of(self.path, self.encoding, self._reached)
        wanted = {name: plain_name(column) for name, column in self.mapping.columns.items()}
        make: _Maker | None = None
        make_plain: _PlainMaker | None = None
        for tried, (number, cells, is_plain) in enumerate(rows):
            if make is not None:
                made = make_plain(number, cells) if is_plain and make_plain is not None else None
                if made is None and any(cells):
                    made = make(number, cells)
                if made is not None:
                    yield made
                continue
            names = [plain_name(cell) for cell in cells]
            if all(column in names for column in wanted.values()):
                at = {name: names.index(column) for name, column in wanted.items()}
                make, make_plain = self._maker(at), self._plain_maker(at)
                self.form = _with_header(form, number)
            elif tried >= _HEADER_WITHIN:
                break
        if make is None:
            raise ValueError(
                f"no row within the first {_HEADER_WITHIN} has the columns {', '.join(self.mapping.columns.values())}"
            )

    def _plain_maker(self, at: Mapping[str, int]) -> _PlainMaker | None:
        """A function that makes the same event of a row as `_maker`'s, in a third of the time, if cells need no escaping in JSON.

        It returns `None` for a row that lacks something. For mappings that are not simple enough there is no such function.

        Args:
            at: Field → index of its column.
        """
        mapping, constants = self.mapping, self.mapping.constants
        kind = mapping.types.get(mapping.type, mapping.type)
        topic = topic_of(kind, self.void_topic)
        names = sorted({*at, *constants} & _DATA_FIELDS)
        is_simple = {"time", "order_id"} <= set(at) and not {"type", "backfill"} & {*at, *constants}
        if not is_simple or topic not in _BY_ORDER or _NUMBERS & set(names) or "id" in constants:
            return None
        given = [name for name in names if name in at]
        identities = [at[name] for name in _IDENTITIES if name in at]
        places = [at[name] for name in given]
        order_at, time_at, id_at, width = at["order_id"], at["time"], at.get("id", -1), max(at.values()) + 1

        def text(value: object) -> str:
            return encode_document(value).decode().replace("%", "%%")

        def values(pair: str) -> str:
            return ",".join(pair % (name, '"%s"' if name in at else text(constants[name])) for name in names)

        said = f'[{text(kind)},"%s",[{values(_SAID)}]]'
        mark = ',"backfill":true' if self.backfill else ""
        event = (
            f'{{"specversion":"1.0","id":"%s","source":{text(mapping.source)},"type":{text(kind)},"time":"%s"{mark},'
            f'"data":{{{values(_MEMBER)}}}}}'
        )
        digest = hashlib.blake2b

        def make(number: int, cells: Sequence[str]) -> NumberedLine | None:
            if len(cells) < width:
                return None
            found = [cells[place] for place in places]
            if "" in found or any("+" in cells[place] for place in identities):
                return None
            time = self._time(cells[time_at])
            if id_at < 0:
                identity = f"row-{digest((said % (time, *found)).encode(), digest_size=_ID_BYTES).hexdigest()}"
            else:
                identity = cells[id_at]
                if not identity:
                    return None
            return NumberedLine(number, (event % (identity, time, *found)).encode(), topic, cells[order_at].encode())

        return make

    def _maker(self, at: Mapping[str, int]) -> _Maker:
        """A function that makes an event of a row: it is called a million times, so whatever rows share is computed beforehand.

        Args:
            at: Field → index of its column.
        """
        mapping, constants = self.mapping, self.mapping.constants
        kinds = mapping.types
        # Sorted by name, as in the digest: (name, index of the column or -1, value in all rows).
        fields = [
            (name, at.get(name, -1), constants.get(name, "")) for name in sorted({*at, *constants} & _DATA_FIELDS)
        ]
        places = {name: at.get(name, -1) for name in ("type", "id", "time", "backfill")}
        defaults = {"type": mapping.type} | {name: constants.get(name, "") for name in ("id", "time", "backfill")}
        identities = [(name, at[name]) for name in _IDENTITIES if name in at]
        topics: dict[Any, int] = {}
        time_at, kind_of_all = places["time"], kinds.get(mapping.type, mapping.type)
        has_kinds = "type" in {*at, *constants}
        has_ids = "id" in {*at, *constants}
        has_marks = self.backfill or "backfill" in {*at, *constants}

        def shared(name: str, cells: Sequence[str]) -> Any:
            place = places[name]
            return (cells[place] if 0 <= place < len(cells) else "") or defaults[name]

        def make(number: int, cells: Sequence[str]) -> NumberedLine:
            width = len(cells)
            data: dict[str, Any] = {}
            for name, place, constant in fields:
                value: Any = (cells[place] if 0 <= place < width else "") or constant
                if value != "":
                    data[name] = int(value) if name in _NUMBERS and str(value).isdigit() else value
            kind = kind_of_all
            if has_kinds:
                kind = shared("type", cells)
                kind = kinds.get(kind, kind)
            time = self._time(cells[time_at] if 0 <= time_at < width else str(defaults["time"]))
            identity = shared("id", cells) if has_ids else ""
            if not identity:
                said = encode_document([kind, time, list(data.items())])
                identity = f"row-{hashlib.blake2b(said, digest_size=_ID_BYTES).hexdigest()}"
            event = {"specversion": "1.0", "id": identity, "source": mapping.source, "type": kind, "time": time}
            if has_marks and (mark := self.backfill or shared("backfill", cells)) != "":
                event["backfill"] = mark
            event["data"] = data
            topic = topics.get(kind)
            if topic is None:
                topic = topics[kind] = topic_of(kind, self.void_topic)
            order_id = data.get("order_id")
            # Cells have been cleaned already.
            is_plain = topic in _BY_ORDER and isinstance(order_id, str) and order_id != constants.get("order_id")
            key = order_id.encode() if is_plain else key_of({"data": data}, topic)  # type: ignore[union-attr] # it is a text
            spoilt = next((name for name, at in identities if at < width and _SHORTENED.fullmatch(cells[at])), "")
            return NumberedLine(number, encode_document(event), topic, key, _SPOILT.format(spoilt) if spoilt else "")

        return make

    def _time(self, text: str) -> str:
        # The usual case: the offset remembered for this hour applies.
        offset = self._offsets.get(text[:13])
        if offset is not None and text[13:] in _WITHIN_AN_HOUR:
            return f"{text[:10]}T{text[11:]}{offset}"
        if _OFFSET.search(text) or not self.mapping.timezone:
            return text
        match = _LOCAL.fullmatch(text)
        if match is None:
            return text
        year, month, day, hour, minute, second, fraction = match.groups()
        date_and_hour = f"{year}-{month:0>2}-{day:0>2}T{hour or '0':0>2}"
        offset = self._offsets.get(date_and_hour)
        if offset is None:
            if len(self._offsets) >= _REMEMBERED:
                self._offsets.clear()
            offset = self._offset(int(year), int(month), int(day), int(hour or 0))
            self._offsets[date_and_hour] = self._offsets[date_and_hour.replace("T", " ")] = offset
        tail = f".{fraction}" if fraction else ""
        return f"{date_and_hour}:{minute or '00'}:{second or '00'}{tail}{offset}"

    def _offset(self, year: int, month: int, day: int, hour: int) -> str:
        try:
            text = datetime(year, month, day, hour, tzinfo=ZoneInfo(self.mapping.timezone)).strftime("%z")
        except ValueError:
            return ""
        return f"{text[:3]}:{text[3:]}"


def _with_header(form: str, number: int) -> str:
    """How a table was read, and where its header is; row 0 means that the names are not in a row."""
    return f"{form}, header in row {number}" if number else form


#: Column name that only occurs with events → field; the others are in `KNOWN_COLUMNS`.
_MORE_NAMES: Final = {
    "model": "model", "车型": "model", "variant": "variant", "版本": "variant", "配置": "variant", "factory": "factory",
    "plant": "factory", "工厂": "factory", "region": "region", "地区": "region", "区域": "region", "channel": "channel",
    "渠道": "channel", "builtat": "time", "producedat": "time", "productiondate": "time", "下线时间": "time", "下线日期": "time",
    "生产日期": "time", "id": "id", "eventid": "id", "流水号": "id", "reason": "reason", "原因": "reason",
}  # fmt: skip


def propose(path: Path, timezone: str, encoding: str = "") -> str:
    """A first draft of a table's mapping, as TOML to be reviewed.

    Args:
        path: The table.
        timezone: IANA name of the zone of its times.
        encoding: Of CSV; detected from the content if empty.

    Raises:
        ValueError: The table cannot be read, or no row looks like a header.
    """
    rows, form = rows_of(path, encoding)
    kinds = {"order_id": "order_id", "vin": "vin", "date": "time"}
    for tried, (number, cells, _) in enumerate(rows):
        found: dict[str, str] = {}
        for cell in cells:
            name = plain_name(cell)
            kind = kinds.get(KNOWN_COLUMNS.get(name, ""), _MORE_NAMES.get(name))
            if kind is not None:
                found.setdefault(kind, cell)
        kind = _kind_of_table(found)
        if kind:
            lines = [
                f"# {path.name}: {_with_header(form, number)}. Look it through: what is not right here is wrong in every event.",
                f"type = {_quoted(kind)}",
                f"source = {_quoted('/files/' + path.name.partition('.')[0])}",
                f"timezone = {_quoted(timezone)}  # of times without an offset",
                "",
                "[columns]  # field = column; without a column for id, ids are digests of the rows",
                *(f"{name} = {_quoted(column)}" for name, column in found.items()),
                "",
                "[constants]",
                *(f"# {name} = ..." for name in ("model", "time") if name not in found),
            ]
            rest = [cell for cell in cells if cell and cell not in found.values()]
            return "\n".join([*lines, *(["", f"# not used: {', '.join(rest)}"] if rest else []), ""])
        if tried >= _HEADER_WITHIN:
            break
    raise ValueError(
        "no row within the first ten names a column of order numbers, or of VINs and times; write the mapping by hand"
    )


def _kind_of_table(fields: Collection[str]) -> str:
    """The event type that a table with these fields has; empty if they do not tell."""
    if "order_id" in fields:
        return "vehicle.delivered.v1" if "vin" in fields else "order.placed.v1"
    return "vehicle.produced.v1" if {"vin", "time"} <= set(fields) else ""


def _quoted(text: str) -> str:
    return encode_document(text).decode()
