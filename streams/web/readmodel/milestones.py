"""Queries about milestones and forecasts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from schemas.codec import decode_forecast, decode_milestone
from schemas.outputs import ALERT_KINDS, ENDS
from streams.web.readmodel import keyset_pages
from streams.web.readmodel.keyset_pages import Selection

if TYPE_CHECKING:
    import sqlite3

    from schemas.outputs import Forecast, MilestoneEvent
    from streams.web.readmodel.keyset_pages import LinePlace

MAX_EVENTS: Final = 1000
#: The newest first.
MILESTONE_ORDER: Final = [("detected_us", True), ("position", True)]


@dataclass(frozen=True)
class MilestoneQuery:
    """Which milestones, each by its latest event unless `all_events`.

    Attributes:
        kind: Such as `threshold`; empty for all.
        metric: Only of this metric.
        scope: Only of this scope.
        standing: Only those that stand.
        day: Only those whose period begins on this date.
        alerts: Only alerts.
        all_events: Include retractions and earlier revisions.
        after: The place of an event; only older events.
        before: The place of an event; only newer events, the nearest ones.
        limit: Maximum number of events, up to `MAX_EVENTS`.
    """

    kind: str = ""
    metric: str = ""
    scope: str = ""
    standing: bool = False
    alerts: bool = False
    day: str = ""
    all_events: bool = False
    after: LinePlace | None = None
    before: LinePlace | None = None
    limit: int = 100


@dataclass(frozen=True)
class MilestonePage:
    """Events, the newest first, the total over all pages, and the places of the adjacent pages."""

    bodies: list[str]
    total: int
    previous: LinePlace | None = None
    next: LinePlace | None = None

    @property
    def events(self) -> list[MilestoneEvent]:
        """The events as models."""
        return [decode_milestone(body.encode()) for body in self.bodies]


class MilestoneReader:
    """Milestone events as one reader sees them.

    Args:
        connection: A connection in a transaction.
        as_of_us: Only events detected by then, microseconds since 1970; `None` is now.
    """

    def __init__(self, connection: sqlite3.Connection, as_of_us: int | None = None) -> None:
        self._connection = connection
        self._as_of_us = as_of_us

    def page(self, query: MilestoneQuery) -> MilestonePage:
        """The events that a query selects, newest first."""
        wanted = {"kind": query.kind, "metric": query.metric, "scope": query.scope, "start": query.day}
        values: dict[str, object] = {column: value for column, value in wanted.items() if value}
        conditions = [f"{column} = :{column}" for column in values]
        known = "1" if self._as_of_us is None else "detected_us <= :as_of"
        values["as_of"] = self._as_of_us
        conditions.append(known)
        if not query.all_events:
            conditions.append(f"position IN (SELECT max(position) FROM milestones WHERE {known} GROUP BY milestone_id)")
        if query.alerts:
            conditions.append(f"kind IN ({', '.join(map(repr, sorted(ALERT_KINDS)))})")
        if query.standing:
            conditions.append(f"type NOT IN ({', '.join(map(repr, sorted(ENDS)))})")
        found = keyset_pages.page(
            self._connection,
            Selection("milestones", "body", conditions, values),
            MILESTONE_ORDER,
            after=query.after,
            before=query.before,
            limit=min(query.limit, MAX_EVENTS),
        )
        return MilestonePage([row["body"] for row in found.rows], found.total, found.previous, found.next)

    def events(self) -> dict[tuple[str, str], int]:
        """(kind, what happened: `raised`, `recorded`, `retracted`, `reinstated`) → number of events."""
        found = self._connection.execute("SELECT kind, type, count(*) FROM milestones GROUP BY 1, 2 ORDER BY 1, 2")
        return {(row[0], row[1].split(".")[1]): row[2] for row in found}

    def ids_like(self, text: str, limit: int) -> list[str]:
        """Ids of milestones that contain a text, the shortest first."""
        found = self._connection.execute(
            """SELECT DISTINCT milestone_id FROM milestones WHERE instr(lower(milestone_id), lower(?)) > 0
            ORDER BY length(milestone_id), milestone_id LIMIT ?""",
            (text, limit),
        )
        return [row[0] for row in found]

    def revisions(self, milestone_id: str) -> list[MilestoneEvent]:
        """All events of a milestone, oldest first; none if there is no such milestone."""
        found = self._connection.execute(
            "SELECT body FROM milestones WHERE milestone_id = ? AND detected_us <= ifnull(?, detected_us) ORDER BY position",
            (milestone_id, self._as_of_us),
        )
        return [decode_milestone(row["body"].encode()) for row in found]


class ForecastReader:
    """Forecasts as one reader sees them.

    Args:
        connection: A connection in a transaction.
        as_of_us: What had been forecast by then, microseconds since 1970, as far as still known; `None` is now.
    """

    def __init__(self, connection: sqlite3.Connection, as_of_us: int | None = None) -> None:
        self._connection = connection
        self._as_of_us = as_of_us

    def current(self) -> list[Forecast]:
        """The forecasts of all targets in force now, by end of the period, shorter periods first."""
        bodies = self._connection.execute("SELECT body FROM forecasts")
        found = [decode_forecast(row["body"].encode()) for row in bodies]
        return sorted(found, key=lambda each: (each.end, -int(each.start.replace("-", "")), each.target_id))

    def get(self, metric: str, scope: str, period: str, target_id: str) -> Forecast | None:
        """A forecast."""
        if self._as_of_us is not None:
            return next(iter(self.history(metric, scope, period, target_id, limit=1)), None)
        key = f"{metric}/{scope}/{period}/{target_id}"
        found = self._connection.execute("SELECT body FROM forecasts WHERE key = ?", (key,)).fetchone()
        return None if found is None else decode_forecast(found["body"].encode())

    def history(self, metric: str, scope: str, period: str, target_id: str, limit: int = MAX_EVENTS) -> list[Forecast]:
        """The forecasts made over time, oldest first.

        The topic keeps only the latest forecast of each target, and earlier ones for an hour or more; those that this process has seen are
        kept longer, until it ends.
        """
        key = f"{metric}/{scope}/{period}/{target_id}"
        found = self._connection.execute(
            """SELECT body FROM forecast_history WHERE key = ? AND as_of_us <= ifnull(?, as_of_us)
            ORDER BY position DESC LIMIT ?""",
            (key, self._as_of_us, limit),
        )
        return [decode_forecast(row["body"].encode()) for row in found][::-1]
