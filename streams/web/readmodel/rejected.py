"""Queries about dead letters, violations, and records of the output topics that could not be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from streams.web.readmodel import keyset_pages
from streams.web.readmodel.keyset_pages import Selection

if TYPE_CHECKING:
    import sqlite3

    from streams.web.readmodel.keyset_pages import LinePlace

MAX_LETTERS: Final = 1000
#: The newest first.
LETTER_ORDER: Final = [("recorded_ms", True), ("part", False), ("position", True)]
VIOLATION_ORDER: Final = [
    ("recorded_ms", True),
    ("of_order", False),
    ("number", False),
    ("part", False),
    ("order_id", False),
]


@dataclass(frozen=True)
class DeadLetterEntry:
    r"""A rejected record: where it was published, why it was rejected, and where it is now.

    Attributes:
        topic: Where it was published, with `partition` and `offset`.
        dead_letter_partition: Where its dead letter is, with `dead_letter_offset`.
        day: Business date of its `time` if that can be read (`day_is_of_event`), else of its rejection.
        recorded_ms: When it was rejected, milliseconds since 1970.
        size_bytes: Size of key and value.
        order_id: Its order, as far as the record can be read; likewise the `source` and `event_id` of its event.
        key: The key as text, only if payloads may be shown; unreadable bytes as `\xNN`.
        value: The beginning of the value, likewise.
    """

    topic: str
    partition: int
    offset: int
    reason: str
    message: str
    dead_letter_partition: int
    dead_letter_offset: int
    recorded_ms: int
    day: str
    day_is_of_event: bool
    size_bytes: int
    order_id: str
    source: str
    event_id: str
    key: str | None
    value: str | None


@dataclass(frozen=True)
class LetterQuery:
    """Which dead letters: by reason, source topic, day, order, vehicle, event source; newest first."""

    reason: str = ""
    topic: str = ""
    day: str = ""
    order_id: str = ""
    vin: str = ""
    source: str = ""
    after: LinePlace | None = None
    before: LinePlace | None = None
    limit: int = 100


@dataclass(frozen=True)
class ViolationEntry:
    """A contradiction: the offending event by `source` and `event_id`, and its order, or the VIN of a produced vehicle."""

    order_id: str
    kind: str
    source: str
    event_id: str
    message: str
    recorded_ms: int


@dataclass(frozen=True)
class ViolationQuery:
    """Which violations: by kind, order, any of several orders, event source; newest first."""

    kind: str = ""
    order_id: str = ""
    order_ids: tuple[str, ...] | None = None
    source: str = ""
    after: LinePlace | None = None
    before: LinePlace | None = None
    limit: int = 100


class LetterPage(NamedTuple):
    """Dead letters, the total over all pages, and the places of the adjacent pages."""

    letters: list[DeadLetterEntry]
    total: int
    previous: LinePlace | None = None
    next: LinePlace | None = None


class ViolationPage(NamedTuple):
    """Violations, the total over all pages, and the places of the adjacent pages."""

    violations: list[ViolationEntry]
    total: int
    previous: LinePlace | None = None
    next: LinePlace | None = None


@dataclass(frozen=True)
class Group:
    """The number of records in a group, and when the latest one came, milliseconds since 1970."""

    name: str
    count: int
    latest_ms: int


class DeadLetterReader:
    """Dead letters as one reader sees them.

    Args:
        connection: A connection in a transaction.
        as_of_us: Pages only have records rejected by then, microseconds since 1970; `None` is now.
    """

    def __init__(self, connection: sqlite3.Connection, as_of_us: int | None = None) -> None:
        self._connection = connection
        self._as_of_us = as_of_us

    def page(self, query: LetterQuery) -> LetterPage:
        """The dead letters that a query selects."""
        conditions, values = _equal(
            ("reason", query.reason),
            ("topic", query.topic),
            ("day", query.day),
            ("order_id", query.order_id),
            ("vin", query.vin),
            ("event_source", query.source),
        )
        if self._as_of_us is not None:
            conditions.append("recorded_ms <= :as_of_ms")
            values["as_of_ms"] = self._as_of_us // 1000
        found = keyset_pages.page(
            self._connection,
            Selection("dead_letters", "*", conditions, values),
            LETTER_ORDER,
            after=query.after,
            before=query.before,
            limit=min(query.limit, MAX_LETTERS),
        )
        return LetterPage([_letter(row) for row in found.rows], found.total, found.previous, found.next)

    def by(self, column: str) -> list[Group]:
        """Numbers of dead letters by `reason` or `topic`, the most frequent first.

        Raises:
            ValueError: They cannot be grouped by that column.
        """
        if column not in ("reason", "topic"):
            raise ValueError(f"dead letters are not grouped by {column}")
        return _groups(self._connection, "dead_letters", column)

    def on(self, day: str) -> list[DeadLetterEntry]:
        """The dead letters of a business date."""
        return self.page(LetterQuery(day=day, limit=MAX_LETTERS)).letters


class ViolationReader:
    """Violations as one reader sees them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def page(self, query: ViolationQuery) -> ViolationPage:
        """The violations that a query selects."""
        conditions, values = _equal(("kind", query.kind), ("of_order", query.order_id), ("source", query.source))
        if query.order_ids is not None:
            names = [f"order{number}" for number in range(len(query.order_ids))]
            conditions.append(f"of_order IN ({', '.join(f':{name}' for name in names)})")
            values |= dict(zip(names, query.order_ids, strict=True))
        found = keyset_pages.page(
            self._connection,
            Selection("violations", "of_order, kind, source, event_id, message, recorded_ms", conditions, values),
            VIOLATION_ORDER,
            after=query.after,
            before=query.before,
            limit=min(query.limit, MAX_LETTERS),
        )
        entries = [ViolationEntry(*tuple(row)[:6]) for row in found.rows]
        return ViolationPage(entries, found.total, found.previous, found.next)

    def by_kind(self) -> list[Group]:
        """Numbers of violations by kind, the most frequent first."""
        return _groups(self._connection, "violations", "kind")


def _groups(connection: sqlite3.Connection, table: str, column: str) -> list[Group]:
    found = connection.execute(
        f"SELECT {column}, count(*), max(recorded_ms) FROM {table} GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    return [Group(*row) for row in found]


def _equal(*wanted: tuple[str, str]) -> tuple[list[str], dict[str, object]]:
    given = {column: value for column, value in wanted if value}
    return [f"{column} = :{column}" for column in given], dict(given)


def _letter(row: sqlite3.Row) -> DeadLetterEntry:
    return DeadLetterEntry(
        topic=row["topic"],
        partition=row["source_part"],
        offset=row["source_offset"],
        reason=row["reason"],
        message=row["message"],
        dead_letter_partition=row["part"],
        dead_letter_offset=row["position"],
        recorded_ms=row["recorded_ms"],
        day=row["day"],
        day_is_of_event=bool(row["day_is_of_event"]),
        size_bytes=row["size_bytes"],
        order_id=row["order_id"],
        source=row["event_source"],
        event_id=row["event_id"],
        key=_text(row["key"]),
        value=_text(row["value"]),
    )


def _text(raw: bytes | None) -> str | None:
    r"""Bytes as text, with control characters and invalid UTF-8 as `\xNN`."""
    if raw is None:
        return None
    text = raw.decode("utf-8", errors="backslashreplace")
    return "".join(each if each.isprintable() or each in "\n\t" else f"\\x{ord(each):02x}" for each in text)
