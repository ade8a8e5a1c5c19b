"""The data of pages and API: the output topics as tables to query.

`ReadModel.snapshot()` gives a consistent view of everything; all its queries see the same moment.

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
    from streams.domain.zone import BusinessZone
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
    """One moment of the read model; see the classes of its attributes for the queries.

    Args:
        connection: In a transaction.
        as_of_us: What was known then, microseconds since 1970; `None` is now. Violations and statuses are of now.
        zone: As of `WindowReader`.
        events: Likewise.
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
        """The last reported status of partitions, workers and event sources, each with its time, twice.

        First the time of the record: unlike `updated_at` always of the wall clock. Then when it was received here, by the
        clock of this process. Both in milliseconds since 1970.
        """
        found = self._connection.execute("SELECT key, body, recorded_ms, heard_ms FROM status ORDER BY key")
        return [
            (decode_status(row["key"].encode(), row["body"].encode()), row["recorded_ms"], row["heard_ms"])
            for row in found
        ]

    def unreadable_count(self) -> int:
        """Records of the output topics that this version cannot read."""
        found: int = self._connection.execute("SELECT count(*) FROM unreadable").fetchone()[0]
        return found


class Read(NamedTuple):
    """How far a partition has been read: the next offset, and the last record by its offset and `digest`."""

    feed: Feed
    partition: int
    next: int
    last: int
    digest: bytes


class ReadModel:
    """The tables and their one writer.

    Args:
        zone: The business time zone.
        keep_payloads: Whether key and value of dead letters may be kept, to be shown.
        keep_vins: Whether VINs may be kept, to be looked for.
        place: Where to keep the tables between two runs; a temporary file without it.
        bulk: Whether new tables are filled without indexes until `loaded`: three times as fast. Until then the
            questions of `Snapshot.windows` have no answer.
        events: Whether the clock is that of the events.
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
        """A view of one moment, to be used by one thread at a time; `as_of_us` as of `Snapshot`."""
        with self._database.reading() as connection:
            yield Snapshot(connection, as_of_us, self._zone, events=self._events)

    @property
    def complete_ms(self) -> int | None:
        """When it last had everything there was, milliseconds since 1970; `None` before it has been complete."""
        return self._database.complete_ms

    def read_so_far(self) -> list[Read]:
        """How far each partition has been read, for the first question of a process that goes on with a kept file."""
        with self._database.reading() as connection:
            found = connection.execute("SELECT feed, part, next, last, digest FROM read").fetchall()
        return [Read(Feed(row["feed"]), row["part"], row["next"], row["last"], row["digest"]) for row in found]

    def complete(self) -> None:
        """Notes that it has everything there is now; by the thread that applies."""
        self._database.complete(time.time_ns() // 1_000_000)

    def close(self) -> None:
        """Closes the database, and removes one that is not kept."""
        self._database.close()
