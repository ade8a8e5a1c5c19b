"""Writes records of the output topics to the tables of the read model, and collects the changes that pages are told about.

Only fields that the models of `schemas.outputs` know are kept: they ignore all others, so that nothing in an event that is not meant
to be public can get through here.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from schemas.codec import (
    checked_row,
    decode_forecast,
    decode_milestone,
    decode_status,
    decode_violations,
    encode_forecast,
    encode_milestone,
    encode_row,
    encode_status,
)
from schemas.instants import micros_of, parse_instant
from schemas.outputs import ControlHeaders
from schemas.rows import RowKey
from schemas.texts import scope_names
from streams.kafka.records import header_values, record_key, record_value
from streams.lookup.rejected_records import said_by
from streams.web.readmodel.loading import Loading
from streams.web.readmodel.windows import dimensions_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence

    from schemas.rows import PublishedRow
    from streams.domain.time.zone import BusinessZone
    from streams.kafka.records import LogRecord
    from streams.web.readmodel.database import Database

#: Where the part of a row's JSON begins that differs between versions. Inside a string, its quotes would be escaped.
_TAIL: Final = '"count":'
#: How many raw bytes of a dead letter are kept, if they may be shown at all.
MAX_PAYLOAD_BYTES: Final = 16 * 1024
#: How much brokers' clocks may differ from ours in judging the age of a status.
_CLOCKS_DIFFER_MS: Final = 60_000
#: The totals have at most 100 partitions.
_PARTITION_BITS: Final = 7
_MAX_PARSED_BYTES: Final = 256 * 1024


class Feed(StrEnum):
    """An output topic, by its content."""

    WINDOWS = "windows"
    HISTORY = "history"
    MILESTONES = "milestones"
    FORECASTS = "forecasts"
    VIOLATIONS = "violations"
    STATUS = "status"
    DEAD_LETTERS = "dead_letters"


#: The tables that each feed fills; emptied when its topic has been recreated.
_TABLES: Final[dict[Feed, tuple[str, ...]]] = {
    Feed.HISTORY: ("history", "history_begins"),
    Feed.MILESTONES: ("milestones",),
    Feed.FORECASTS: ("forecasts", "forecast_history"),
    Feed.VIOLATIONS: ("violations",),
    Feed.STATUS: ("status",),
    Feed.DEAD_LETTERS: ("dead_letters",),
}


@dataclass
class Changes:
    """What a batch has changed: the latest JSON of each row and forecast, `None` for removed ones.

    Attributes:
        rows: Window → its row.
        milestones: Events, in order.
        forecasts: Key → forecast.
        counts: Feed → number of records, for the others (dead letters, violations, status).
    """

    rows: dict[RowKey, str | None] = field(default_factory=dict)
    milestones: list[str] = field(default_factory=list)
    forecasts: dict[str, str | None] = field(default_factory=dict)
    counts: Counter[Feed] = field(default_factory=Counter)


class Writer:
    """Applies records; used by one thread at a time.

    Args:
        database: The database to write to.
        zone: The business time zone, for the days of dead letters.
        keep_payloads: Whether keys and values of dead letters may be kept, to be shown.
        keep_vins: Whether VINs may be kept, to be searched.
    """

    def __init__(self, database: Database, zone: BusinessZone, *, keep_payloads: bool, keep_vins: bool = False) -> None:
        self._database = database
        self._zone = zone
        self._keep_payloads = keep_payloads
        self._keep_vins = keep_vins
        self._loading = None if database.indexed else Loading(database)
        self._scopes: set[str] = {row[0] for row in database.writer.execute("SELECT name FROM scopes")}
        self._metrics: set[str] = {row[0] for row in database.writer.execute("SELECT name FROM metrics")}
        begins = database.writer.execute("SELECT updated_us FROM history_begins").fetchone()
        self._history_begins_us: int | None = begins and begins["updated_us"]
        self._apply: dict[Feed, Callable[[sqlite3.Connection, LogRecord, Changes], None]] = {
            Feed.WINDOWS: self._window,
            Feed.HISTORY: self._version,
            Feed.MILESTONES: self._milestone,
            Feed.FORECASTS: self._forecast,
            Feed.VIOLATIONS: self._violations,
            Feed.STATUS: self._status,
            Feed.DEAD_LETTERS: self._dead_letter,
        }

    def apply(self, batch: Iterable[tuple[Feed, Sequence[LogRecord]]]) -> Changes:
        """Applies records in one transaction; unreadable ones are noted and skipped."""
        changes = Changes()
        with self._database.writing() as connection:
            for feed, records in batch:
                apply = self._apply[feed]
                changes.counts[feed] += len(records)
                for record in records:
                    try:
                        apply(connection, record, changes)
                    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
                        self._unreadable(connection, feed, record, error)
                self._note_read(connection, feed, records)
            if self._loading is not None:
                self._loading.flush(connection)
        return changes

    def loaded(self) -> None:
        """Called once everything has been applied: if records were only appended, puts them in order."""
        if self._loading is not None:
            self._loading.finish()
            self._loading = None
            begins = self._database.writer.execute("SELECT updated_us FROM history_begins").fetchone()
            self._history_begins_us = begins and begins["updated_us"]

    @staticmethod
    def _note_read(connection: sqlite3.Connection, feed: Feed, records: Sequence[LogRecord]) -> None:
        last = {record.partition: record for record in records}
        connection.executemany(
            "INSERT OR REPLACE INTO read VALUES (?, ?, ?, ?, ?)",
            [(feed, part, record.offset + 1, record.offset, digest(record)) for part, record in last.items()],
        )

    def forget(self, feed: Feed) -> None:
        """Empties the tables of a feed whose topic has been recreated."""
        if feed is Feed.HISTORY:
            self._history_begins_us = None
        with self._database.writing() as connection:
            for table in _TABLES.get(feed, ()):
                connection.execute(f"DELETE FROM {table}")
            if feed is Feed.WINDOWS and self._loading is None:
                connection.execute("UPDATE windows SET present = 0")
            elif self._loading is not None:
                if feed is Feed.WINDOWS:
                    self._loading.forget_windows(connection)
                elif feed is Feed.HISTORY:
                    self._loading.forget_history(connection)
            connection.execute("DELETE FROM unreadable WHERE feed = ?", (feed,))
            connection.execute("DELETE FROM read WHERE feed = ?", (feed,))
            self._database.incomplete()

    def _window(self, connection: sqlite3.Connection, record: LogRecord, changes: Changes) -> None:
        if record.value is None:
            key = RowKey.parse(record_key(record).decode())
            if self._loading is not None:
                self._loading.gone(key, record.timestamp * 1000)
                return
            connection.execute(
                "UPDATE windows SET present = 0, deleted_us = ? WHERE metric = ? AND scope = ? AND period = ?",
                (record.timestamp * 1000, *key),
            )
            changes.rows[key] = None
            return
        row = checked_row(record.value)
        key = RowKey.of(row)
        head, tail = _split(encode_row(row).decode())
        columns = (
            row.period.partition(":")[0],
            row.start,
            row.end,
            row.count,
            row.status,
            row.restated,
            row.version,
            _micros(row.updated_at),
            len(row.targets),
            len(row.controls),
        )
        if row.scope not in self._scopes:
            self._note_scope(connection, row.scope)
        if row.metric not in self._metrics:
            connection.execute("INSERT OR IGNORE INTO metrics VALUES (?)", (row.metric,))
            self._metrics.add(row.metric)
        if self._loading is not None:
            self._loading.window(key, columns, (head, tail))
            return
        found = self._find(connection, key)
        if found is None:
            number = connection.execute(
                """INSERT INTO windows (metric, scope, period, kind, start, end, count, status, restated, version, updated_us,
                targets, controls, present) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)""",
                (*key, *columns),
            ).lastrowid
            connection.execute("INSERT INTO bodies VALUES (?, ?, ?)", (number, head, tail))
        else:
            number, known = found
            connection.execute(
                """UPDATE windows SET kind = ?, start = ?, end = ?, count = ?, status = ?, restated = ?, version = ?,
                updated_us = ?, targets = ?, controls = ?, present = 1, deleted_us = NULL WHERE id = ?""",
                (*columns, number),
            )
            connection.execute("UPDATE bodies SET head = ?, tail = ? WHERE id = ?", (head, tail, number))
            if known != head:
                # If the window's head changes, as for a corrected holiday, earlier versions get their own copy of the old one.
                connection.execute("UPDATE history SET head = ? WHERE window_id = ? AND head IS NULL", (known, number))
        changes.rows.pop(key, None)
        changes.rows[key] = head + tail

    def _note_scope(self, connection: sqlite3.Connection, scope: str) -> None:
        dimensions = dimensions_of(scope)
        folded = f"{scope} {' '.join(scope_names(scope))}".casefold()
        connection.execute(
            "INSERT OR IGNORE INTO scopes VALUES (?, ?, ?, ?)",
            (scope, dimensions, dimensions.count(",") + 1 if dimensions else 0, folded),
        )
        pairs = [part.split("=", 1) for part in scope.split(",") if "=" in part]
        connection.executemany("INSERT OR IGNORE INTO scope_values VALUES (?, ?)", pairs)
        self._scopes.add(scope)

    def _version(self, connection: sqlite3.Connection, record: LogRecord, _changes: Changes) -> None:
        row = checked_row(record_value(record))
        key = RowKey.of(row)
        head, tail = _split(encode_row(row).decode())
        updated_us = _micros(row.updated_at)
        if self._loading is not None:
            columns = (row.period.partition(":")[0], row.start, row.end, updated_us)
            said = (row.version, row.count, row.status, row.restated)
            self._loading.version(_number_of(record), key, (*columns, *said), (head, tail))
            return
        number, current = self._window_of(connection, key, row, head)
        if self._history_begins_us is None or updated_us < self._history_begins_us:
            self._history_begins_us = updated_us
            connection.execute("DELETE FROM history_begins")
            connection.execute("INSERT INTO history_begins VALUES (?)", (updated_us,))
        connection.execute(
            "INSERT OR REPLACE INTO history VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                number,
                _number_of(record),
                updated_us,
                row.version,
                row.count,
                row.status,
                row.restated,
                None if head == current else head,
                tail,
            ),
        )

    def _window_of(self, connection: sqlite3.Connection, key: RowKey, row: PublishedRow, head: str) -> tuple[int, str]:
        """The window's id and current head; a window known only from its history is created, marked as not present."""
        found = self._find(connection, key)
        if found is not None:
            return found
        number = connection.execute(
            "INSERT INTO windows VALUES (NULL, ?, ?, ?, ?, ?, ?, 0, '', 0, 0, 0, 0, NULL, 0, 0)",
            (*key, row.period.partition(":")[0], row.start, row.end),
        ).lastrowid
        connection.execute("INSERT INTO bodies VALUES (?, ?, '')", (number, head))
        return number or 0, head

    @staticmethod
    def _find(connection: sqlite3.Connection, key: RowKey) -> tuple[int, str] | None:
        found = connection.execute(
            """SELECT w.id, b.head FROM windows w JOIN bodies b ON b.id = w.id
            WHERE w.metric = ? AND w.scope = ? AND w.period = ?""",
            key,
        ).fetchone()
        return None if found is None else (found["id"], found["head"])

    @staticmethod
    def _milestone(connection: sqlite3.Connection, record: LogRecord, changes: Changes) -> None:
        event = decode_milestone(record_value(record))
        data, body = event.data, encode_milestone(event).decode()
        connection.execute(
            "INSERT OR REPLACE INTO milestones VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                _number_of(record),
                data.milestone_id,
                data.revision,
                event.type,
                data.kind,
                data.metric,
                data.scope,
                data.period,
                data.start,
                _micros(data.detected_at),
                body,
            ),
        )
        changes.milestones.append(body)

    @staticmethod
    def _forecast(connection: sqlite3.Connection, record: LogRecord, changes: Changes) -> None:
        key = record_key(record).decode()
        if record.value is None:
            connection.execute("DELETE FROM forecasts WHERE key = ?", (key,))
            changes.forecasts[key] = None
            return
        forecast = decode_forecast(record.value)
        body = encode_forecast(forecast).decode()
        connection.execute("INSERT OR REPLACE INTO forecasts VALUES (?, ?)", (key, body))
        connection.execute(
            "INSERT OR REPLACE INTO forecast_history VALUES (?, ?, ?, ?)",
            (key, _number_of(record), _micros(forecast.as_of), body),
        )
        changes.forecasts[key] = body

    @staticmethod
    def _violations(connection: sqlite3.Connection, record: LogRecord, _changes: Changes) -> None:
        order_id = record_key(record).decode()
        found = decode_violations(record.value).violations if record.value is not None else []
        connection.execute("DELETE FROM violations WHERE part = ? AND order_id = ?", (record.partition, order_id))
        connection.executemany(
            "INSERT INTO violations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    *(record.partition, order_id, number, each.kind, each.source, each.id, each.message),
                    record.timestamp,
                    each.order_id or order_id,
                )
                for number, each in enumerate(found)
            ],
        )

    @staticmethod
    def _status(connection: sqlite3.Connection, record: LogRecord, _changes: Changes) -> None:
        key = record_key(record).decode()
        if record.value is None:
            connection.execute("DELETE FROM status WHERE key = ?", (key,))
            return
        body = encode_status(decode_status(record_key(record), record.value)).decode()
        # Brokers' clocks may differ from ours by seconds, and seconds decide whether a worker is silent. Only records written long ago, read
        # at the start, keep their own time.
        now_ms = time.time_ns() // 1_000_000
        heard_ms = now_ms if abs(now_ms - record.timestamp) < _CLOCKS_DIFFER_MS else record.timestamp
        connection.execute("INSERT OR REPLACE INTO status VALUES (?, ?, ?, ?)", (key, body, record.timestamp, heard_ms))

    def _dead_letter(self, connection: sqlite3.Connection, record: LogRecord, _changes: Changes) -> None:
        headers = header_values(record)
        day, of_event = self._day(record, headers)
        size = len(record.key or b"") + len(record.value or b"")
        kept = self._keep_payloads
        said = said_by(record.key, record.value, record.headers)
        connection.execute(
            "INSERT OR REPLACE INTO dead_letters VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                record.partition,
                record.offset,
                headers[ControlHeaders.TOPIC].decode(),
                int(headers[ControlHeaders.PARTITION]),
                int(headers[ControlHeaders.OFFSET]),
                headers[ControlHeaders.REASON].decode(),
                headers[ControlHeaders.MESSAGE].decode(errors="replace"),
                record.timestamp,
                day,
                of_event,
                size,
                record.key[:MAX_PAYLOAD_BYTES] if kept and record.key is not None else None,
                record.value[:MAX_PAYLOAD_BYTES] if kept and record.value is not None else None,
                said.order_id,
                said.source,
                said.id,
                said.vin if self._keep_vins else "",
            ),
        )

    def _day(self, record: LogRecord, headers: dict[str, bytes]) -> tuple[str, bool]:
        """The business date of a rejected record's own `time`, else that of its rejection."""
        moment = _time_of(record.value, headers)
        of_event = moment is not None
        if moment is None:
            moment = datetime.fromtimestamp(record.timestamp / 1000, UTC)
        return self._zone.date_of(micros_of(moment)).isoformat(), of_event

    @staticmethod
    def _unreadable(connection: sqlite3.Connection, feed: Feed, record: LogRecord, error: Exception) -> None:
        # Error texts quote the payload, so only the type of the error is kept.
        problem = error.errors()[0]["type"] if isinstance(error, ValidationError) else type(error).__name__
        connection.execute(
            "INSERT OR REPLACE INTO unreadable VALUES (?, ?, ?, ?)", (feed, record.partition, record.offset, problem)
        )


def digest(record: LogRecord) -> bytes:
    """A digest that distinguishes a record from another one at the same offset."""
    parts = (str(record.timestamp).encode(), record.key or b"", record.value or b"")
    return hashlib.blake2b(b"\0".join(parts), digest_size=16).digest()


def _number_of(record: LogRecord) -> int:
    """A number that is unique among the records of all partitions of a topic, and in order of offset within a partition."""
    return record.offset << _PARTITION_BITS | record.partition


def _split(body: str) -> tuple[str, str]:
    at = body.index(_TAIL)
    return body[:at], body[at:]


@lru_cache(maxsize=4096)
def _micros(instant: str) -> int:
    return micros_of(parse_instant(instant))


def _time_of(value: bytes | None, headers: dict[str, bytes]) -> datetime | None:
    """The event time of a rejected record, if it can be read."""
    try:
        if "ce_time" in headers:
            return parse_instant(headers["ce_time"].decode())
        if not value or len(value) > _MAX_PARSED_BYTES:
            return None
        document = json.loads(value)
        time = document.get("time") if isinstance(document, dict) else None
        return parse_instant(time) if isinstance(time, str) else None
    except (ValueError, RecursionError):
        return None
