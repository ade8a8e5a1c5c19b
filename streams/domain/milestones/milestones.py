"""The book of milestones: which stand, their revisions, and the events that say so.

A milestone is identified by its id. Whether it stands is a function of the counts; the book turns a change of that into the
next revision: raised or recorded, retracted, reinstated. Only the ledger partitions know which unit passed the number: an
event has that unit's position, and is completed once they have been asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from schemas.instants import micros_of, utc_text
from schemas.outputs import RETRACTED, Cause, MilestoneData, MilestoneEvent, MilestoneKind, MilestoneType, Operator

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from schemas.facts import Metric
    from schemas.questions import UnitKey
    from streams.domain.rows.window_row import Row
    from streams.domain.time.zone import BusinessZone

#: The source of installations that date from when there was no other.
EARLIEST_SOURCE = "/milestones"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS_IN_ORDER: Final[tuple[tuple[MilestoneKind, ...], ...]] = (
    ("threshold",),
    ("multiple",),
    ("first",),
    ("streak",),
    ("factor",),
    ("scope_share",),
    ("leader",),
    ("share", "target"),
    ("record_passed",),
    ("record",),
)
_KIND_ORDER = {kind: number for number, kinds in enumerate(_KINDS_IN_ORDER) for kind in kinds}
_RAISED: Final = "milestone.raised.v1"
_RECORDED: Final = "milestone.recorded.v1"
_REINSTATED: Final = "milestone.reinstated.v1"


class Standing(NamedTuple):
    """The last published state of a milestone.

    Args:
        revision: Number of its last event.
        period: The period that it stands for, or None while it is retracted.
    """

    revision: int
    period: str | None


@dataclass(frozen=True, slots=True)
class Claim:
    """What a milestone is about, apart from its window. `position` is that of the unit that passes its number, from 1."""

    milestone_id: str
    kind: MilestoneKind
    position: int
    rule: str | None = None
    target_id: str | None = None
    operator: Operator | None = None
    threshold: int | None = None
    streak: int | None = None
    factor: float | None = None
    compared_with: str | None = None
    share: float | None = None
    compared_scope: str | None = None
    compared_count: int | None = None


class MilestoneBook:
    """The standing of every milestone, and the events of the current step.

    Attributes:
        source: The CloudEvents source of the events, a URI reference.

    Args:
        timezone: IANA name of the business time zone.
    """

    def __init__(self, timezone: str) -> None:
        self.source = EARLIEST_SOURCE
        self._timezone = timezone
        self._standing: dict[str, Standing] = {}
        #: Prefix of the ids of a period's streaks → the lengths that stand.
        self._streaks: dict[str, set[int]] = {}
        self._events: list[MilestoneEvent] = []
        self._detected_at = ""
        #: Events that a previous writer had decided on and not published, and the ids of those that are settled now.
        self._decided: dict[str, MilestoneEvent] = {}
        self._settled: list[str] = []

    def restore(self, event: MilestoneEvent) -> None:
        """Restores a published event; the last one of a milestone counts."""
        data = event.data
        stands = event.type != RETRACTED
        self._set(data.milestone_id, data.streak, Standing(data.revision, data.period if stands else None))

    def restore_decided(self, event: MilestoneEvent) -> None:
        """Restores an event that was about to be published when the writer was replaced.

        Rows that it rests on may have been published since, so the change that decided it can no longer be seen.
        """
        self._decided[event.id] = event

    def settled(self) -> list[str]:
        """Ids of those events that have been published since the last call."""
        found, self._settled = self._settled, []
        return found

    def forget_decided(self) -> list[str]:
        """Drops the ones that are left, as their windows have changed since. Returns their ids."""
        found, self._decided = list(self._decided), {}
        return found

    def get(self, milestone_id: str) -> Standing | None:
        """The standing of a milestone; None before its first event."""
        return self._standing.get(milestone_id)

    def stands(self, milestone_id: str) -> bool:
        """Whether a milestone stands."""
        standing = self._standing.get(milestone_id)
        return standing is not None and standing.period is not None

    def streaks(self, streaks_id: str) -> list[int]:
        """The lengths of a period's streaks that stand, in order."""
        return sorted(self._streaks.get(streaks_id, ()))

    def _set(self, milestone_id: str, streak: int | None, standing: Standing) -> None:
        self._standing[milestone_id] = standing
        if streak is not None:
            lengths = self._streaks.setdefault(milestone_id.rpartition(":")[0], set())
            lengths.discard(streak)
            lengths.update({streak} if standing.period is not None else ())

    def begin_step(self, now_us: int) -> None:
        """Sets the detection time of this step's events, microseconds since 1970."""
        self._detected_at = utc_text(now_us)

    def pass_(self, claim: Claim, row: Row, *, news: bool, first: bool = False) -> None:
        """Makes a milestone stand for a window that it does not stand for yet.

        Args:
            claim: The milestone.
            row: The window that passed.
            news: Whether to raise it rather than to record it. One that has been published before is reinstated in either case.
            first: Whether the window is the first one ever to pass.
        """
        standing = self._standing.get(claim.milestone_id)
        first_type: MilestoneType = _RAISED if news else _RECORDED
        event_type: MilestoneType = first_type if standing is None else _REINSTATED
        self._append(event_type, claim, row, first=first)

    def retract(self, claim: Claim, row: Row, *, first: bool = False) -> None:
        """Retracts a milestone."""
        self._append(RETRACTED, claim, row, first=first)

    def end_step(self) -> list[MilestoneEvent]:
        """The events of this step in the order in which to publish them."""
        events, self._events = self._events, []
        return in_order(events)

    def _append(self, event_type: MilestoneType, claim: Claim, row: Row, *, first: bool) -> None:
        standing = self._standing.get(claim.milestone_id)
        revision = standing.revision + 1 if standing is not None else 1
        period = None if event_type == RETRACTED else row.period.id
        self._set(claim.milestone_id, claim.streak, Standing(revision, period))
        event_id = f"{claim.milestone_id}@{revision}"
        # Units of the opening balance are not known here.
        position = None if event_type == RETRACTED or claim.position <= row.balance else claim.position
        achieved_at, cause, balance = None, None, row.balance
        decided = self._decided.pop(event_id, None)
        if decided is not None:
            self._settled.append(event_id)
            if decided.data.period == row.period.id and (decided.type == RETRACTED) == (event_type == RETRACTED):
                event_type, was = decided.type, decided.data
                # An event decided by an earlier version has its unit and no position. Otherwise the unit is at the position that
                # follows from the counts of now, as all that the event says.
                is_of_earlier_version = was.position is None and was.cause is not None
                if is_of_earlier_version or (was.position, was.balance) == (position, balance):
                    position, balance, achieved_at, cause = was.position, was.balance, was.achieved_at, was.cause
        data = MilestoneData(
            milestone_id=claim.milestone_id,
            revision=revision,
            kind=claim.kind,
            rule=claim.rule,
            target_id=claim.target_id,
            metric=cast("Metric", row.metric),  # no rule is about inventory
            scope=row.scope,
            period=row.period.id,
            start=row.period.start.isoformat(),
            end=row.period.end.isoformat(),
            starts_at=row.period.instants.starts_at if row.period.instants is not None else None,
            ends_at=row.period.instants.ends_at if row.period.instants is not None else None,
            timezone=self._timezone,
            operator=claim.operator,
            threshold=claim.threshold,
            count=row.count,
            balance=balance,
            first=first,
            streak=claim.streak,
            factor=claim.factor,
            compared_with=claim.compared_with,
            share=claim.share,
            compared_scope=claim.compared_scope,
            compared_count=claim.compared_count,
            position=position,
            achieved_at=achieved_at,
            detected_at=self._detected_at,
            cause=cause,
        )
        self._events.append(
            MilestoneEvent(
                id=event_id,
                source=self.source,
                type=event_type,
                time=self._detected_at,
                subject=claim.milestone_id,
                data=data,
            )
        )


class Completion:
    """Completes events with the units at their positions.

    Args:
        zone: The business time zone, for the offset of `achieved_at` and the business date `achieved_on`.
        topics: Number → name of the source topics that contain the causes.
    """

    def __init__(self, zone: BusinessZone, topics: Mapping[int, str]) -> None:
        self._zone = zone
        self._topics = topics

    def with_unit(self, event: MilestoneEvent, unit: UnitKey | None) -> MilestoneEvent:
        """The event with the unit that passed its number; without a unit (None), it has no position either."""
        if unit is None:
            return event.model_copy(update={"data": event.data.model_copy(update={"position": None})})
        time_us, event_id, source, topic, partition, offset = unit
        achieved_at = self._zone.datetime_of(time_us)
        cause = Cause(
            topic=self._topics[topic], partition=partition, offset=offset, event_source=source, event_id=event_id
        )
        found: dict[str, Cause | str | float] = {
            "achieved_at": achieved_at.isoformat(),
            "achieved_on": self._zone.date_of(time_us).isoformat(),
            "cause": cause,
        }
        if event.data.starts_at is not None:
            found["after_s"] = (time_us - micros_of(datetime.fromisoformat(event.data.starts_at))) / 1_000_000
        return event.model_copy(update={"data": event.data.model_copy(update=found)})


def in_order(events: Iterable[MilestoneEvent]) -> list[MilestoneEvent]:
    """Sorts events that are published together.

    Thresholds come before multiples, firsts, streaks, comparisons with other periods and scopes, targets with their shares,
    records just passed, and records; smaller numbers come before greater ones; then by id and revision.
    """
    return sorted(events, key=_publishing_order)


def _publishing_order(event: MilestoneEvent) -> tuple[int, int, str, int]:
    data = event.data
    return _KIND_ORDER[data.kind], data.threshold or 0, data.milestone_id, data.revision
