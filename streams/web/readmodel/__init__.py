"""The data behind pages and API: the output topics as tables to query.

`ReadModel.snapshot()` returns a consistent view of everything; all its queries see the same moment.

    with model.snapshot() as view:
        page = view.windows.page(WindowQuery(metrics=["deliveries"], kinds=["day"], limit=1000))
        view.milestones.page(MilestoneQuery(standing=True, limit=10)).events
        view.forecasts.current()
        view.dead_letters.by("reason")
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, NamedTuple

from schemas.codec import decode_status
from streams.web.readmodel.database import Database
from streams.web.readmodel.milestones import ForecastReader, MilestonePage, MilestoneQuery, MilestoneReader
from streams.web.readmodel.rejected import (
    DeadLetterEntry,
    DeadLetterReader,
    Group,
    LetterQuery,
    ViolationEntry,
    ViolationQuery,
    ViolationReader,
)
from streams.web.readmodel.windows import Restatement, WindowPage, WindowQuery, WindowReader
from streams.web.readmodel.writing import Changes, Feed, Writer

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from schemas.outputs import Status
    from streams.domain.time.zone import BusinessZone
    from streams.web.readmodel.persistence import KeptFolder

__all__ = [
    "Changes",
    "DeadLetterEntry",
    "Feed",
    "Group",
    "LetterQuery",
    "MilestonePage",
    "MilestoneQuery",
    "Read",
    "ReadModel",
    "Restatement",
    "Snapshot",
    "ViolationEntry",
    "ViolationQuery",
    "WindowPage",
    "WindowQuery",
]


class Snapshot:
    """The read model at one moment; see the classes of its attributes for the queries.

    Args:
        connection: A connection in a transaction.
        as_of_us: For what was known then, microseconds since 1970; `None` is now. Violations and statuses are always those of now.
        zone: As in `WindowReader`.
        events: As in `WindowReader`.
    """

    def __init__(
        self, connection: sqlite3.Connection, as_of_us: int | None, zone: BusinessZone, *, events: bool
    ) -> None:
        self._connection = connection
        self.windows = WindowReader(connection, as_of_us, zone, events=events)
        self.milestones = MilestoneReader(connection, as_of_us)
        self.forecasts = ForecastReader(connection, as_of_us)
        self.dead_letters = DeadLetterReader(connection, as_of_us)
        self.violations = ViolationReader(connection)

    def statuses(self) -> list[tuple[Status, int, int]]:
        """The last reported status of partitions, workers and event sources, each with two times.

        The first is the time of the record which, unlike `updated_at`, is always wall-clock time. The second is when it was received here,
        by the clock of this process. Both in milliseconds since 1970.
        """
        found = self._connection.execute("SELECT key, body, recorded_ms, heard_ms FROM status ORDER BY key")
        return [
            (decode_status(row["key"].encode(), row["body"].encode()), row["recorded_ms"], row["heard_ms"])
            for row in found
        ]

    def unreadable_count(self) -> int:
        """The number of output records that this version cannot read."""
        found: int = self._connection.execute("SELECT count(*) FROM unreadable").fetchone()[0]
        return found


class Read(NamedTuple):
    """How far a partition has been read: the next offset, and offset and `digest` of the last record."""

    feed: Feed
    partition: int
    next: int
    last: int
    digest: bytes


class ReadModel:
    """The tables and their one writer.

    Args:
        zone: The business time zone.
        keep_payloads: Whether keys and values of dead letters may be kept, to be shown.
        keep_vins: Whether VINs may be kept, to be searched.
        place: Where to keep the tables between two runs; without it, in a temporary file.
        bulk: Whether new tables are filled without indexes until `loaded`, which is three times as fast. Until then the queries of
            `Snapshot.windows` have no results.
        events: Whether the service's clock is that of the events.
    """

    def __init__(  # noqa: PLR0913 - by name
        self,
        zone: BusinessZone,
        *,
        keep_payloads: bool = False,
        keep_vins: bool = False,
        place: KeptFolder | None = None,
        bulk: bool = False,
        events: bool = False,
    ) -> None:
        self._zone = zone
        self._events = events
        self._database = Database(place, indexed=not bulk)
        self._writer = Writer(self._database, zone, keep_payloads=keep_payloads, keep_vins=keep_vins)
        self.apply = self._writer.apply
        self.forget = self._writer.forget
        self.loaded = self._writer.loaded

    @contextlib.contextmanager
    def snapshot(self, as_of_us: int | None = None) -> Iterator[Snapshot]:
        """A view of one moment, for use by one thread at a time; `as_of_us` as in `Snapshot`."""
        with self._database.reading() as connection:
            yield Snapshot(connection, as_of_us, self._zone, events=self._events)

    @property
    def complete_ms(self) -> int | None:
        """When it was last complete, milliseconds since 1970; `None` if it never was."""
        return self._database.complete_ms

    def read_so_far(self) -> list[Read]:
        """How far each partition has been read, for a process that continues from a kept file."""
        with self._database.reading() as connection:
            found = connection.execute("SELECT feed, part, next, last, digest FROM read").fetchall()
        return [Read(Feed(row["feed"]), row["part"], row["next"], row["last"], row["digest"]) for row in found]

    def complete(self) -> None:
        """Notes that it is complete as of now; called by the thread that applies records."""
        self._database.complete(time.time_ns() // 1_000_000)

    def close(self) -> None:
        """Closes the database, and removes it unless it is to be kept."""
        self._database.close()
