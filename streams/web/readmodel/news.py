"""Questions about milestones and forecasts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from schemas.codec import decode_forecast, decode_milestone
from schemas.outputs import RETRACTED

if TYPE_CHECKING:
    import sqlite3

    from schemas.outputs import Forecast, MilestoneEvent

MAX_EVENTS: Final = 1000


@dataclass(frozen=True)
class MilestoneQuery:
    """Which milestones; each by its latest event unless `all_events`.

    Attributes:
        kind: `threshold`, `first`, `target`, `record`; empty is all.
        metric: Only of this metric.
        scope: Only of this scope.
        standing: Only those that stand.
        day: Only those whose period begins on this date.
        all_events: Retractions and earlier revisions too.
        offset: Events to skip.
        limit: Events at most, up to `MAX_EVENTS`.
    """

    kind: str = ""
    metric: str = ""
    scope: str = ""
    standing: bool = False
    day: str = ""
    all_events: bool = False
    offset: int = 0
    limit: int = 100


@dataclass(frozen=True)
class MilestonePage:
    """Events, the newest first, and how many there are on all pages."""

    bodies: list[str]
    total: int

    @property
    def events(self) -> list[MilestoneEvent]:
        """The events as models."""
        return [decode_milestone(body.encode()) for body in self.bodies]


class MilestoneReader:
    """Milestone events as one reader sees them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def page(self, query: MilestoneQuery) -> MilestonePage:
        """The events that a query wants, newest first."""
        conditions = ["1"]
        values: list[object] = []
        for column, wanted in (
            ("kind", query.kind),
            ("metric", query.metric),
            ("scope", query.scope),
            ("start", query.day),
        ):
            if wanted:
                conditions.append(f"{column} = ?")
                values.append(wanted)
        if not query.all_events:
            conditions.append("position IN (SELECT max(position) FROM milestones GROUP BY milestone_id)")
        if query.standing:
            conditions.append("type <> ?")
            values.append(RETRACTED)
        where = " AND ".join(conditions)
        total = self._connection.execute(f"SELECT count(*) FROM milestones WHERE {where}", values).fetchone()[0]  # noqa: S608 - fixed texts
        found = self._connection.execute(
            f"SELECT body FROM milestones WHERE {where} ORDER BY position DESC LIMIT ? OFFSET ?",  # noqa: S608 - fixed texts
            (*values, min(query.limit, MAX_EVENTS), query.offset),
        )
        return MilestonePage([row["body"] for row in found], total)

    def events(self) -> dict[tuple[str, str], int]:
        """(kind, what happened: `raised`, `recorded`, `retracted`, `reinstated`) → how many events there are."""
        found = self._connection.execute("SELECT kind, type, count(*) FROM milestones GROUP BY 1, 2 ORDER BY 1, 2")
        return {(row[0], row[1].split(".")[1]): row[2] for row in found}

    def ids_like(self, text: str, limit: int) -> list[str]:
        """Ids of milestones that a text is, or is part of, the shortest first."""
        found = self._connection.execute(
            """SELECT DISTINCT milestone_id FROM milestones WHERE instr(lower(milestone_id), lower(?)) > 0
            ORDER BY length(milestone_id), milestone_id LIMIT ?""",
            (text, limit),
        )
        return [row[0] for row in found]

    def revisions(self, milestone_id: str) -> list[MilestoneEvent]:
        """Every event of one milestone, oldest first; none where there is no such milestone."""
        found = self._connection.execute(
            "SELECT body FROM milestones WHERE milestone_id = ? ORDER BY position", (milestone_id,)
        )
        return [decode_milestone(row["body"].encode()) for row in found]


class ForecastReader:
    """Forecasts as one reader sees them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def current(self) -> list[Forecast]:
        """The forecast of each target in force, by the end of the period, the shorter first."""
        bodies = self._connection.execute("SELECT body FROM forecasts")
        found = [decode_forecast(row["body"].encode()) for row in bodies]
        return sorted(found, key=lambda each: (each.end, -int(each.start.replace("-", "")), each.target_id))

    def get(self, metric: str, scope: str, period: str, target_id: str) -> Forecast | None:
        """One forecast."""
        key = f"{metric}/{scope}/{period}/{target_id}"
        found = self._connection.execute("SELECT body FROM forecasts WHERE key = ?", (key,)).fetchone()
        return None if found is None else decode_forecast(found["body"].encode())

    def history(self, metric: str, scope: str, period: str, target_id: str, limit: int = MAX_EVENTS) -> list[Forecast]:
        """What was forecast over time, oldest first.

        The topic keeps the latest of each only, and earlier ones for an hour or more; those that this process has seen
        are kept beyond that, until it ends.
        """
        key = f"{metric}/{scope}/{period}/{target_id}"
        found = self._connection.execute(
            "SELECT body FROM forecast_history WHERE key = ? ORDER BY position DESC LIMIT ?", (key, limit)
        )
        return [decode_forecast(row["body"].encode()) for row in found][::-1]
