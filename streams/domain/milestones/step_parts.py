"""What a step of the totals publishes, and how it is cut into parts: each of them leaves every scope consistent."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.rows import PublishedRow, RowKey
from streams.domain.milestones.milestones import in_order
from streams.domain.rows.row_versions import PlainVersions

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from schemas.outputs import MilestoneEvent
    from streams.domain.rows.kept_days import KeptState
    from streams.domain.rows.leaving_rows import Left
    from streams.domain.rows.window_row import Row
    from streams.domain.rows.windows import Windows

#: Rows to judge, or publish, between two pauses; a millisecond or two.
PAUSE_ROWS: Final = 200
#: Most records of a row in a step: its next version, and its first one if that is replaced.
RECORDS_OF_ROW: Final = 2
#: Kinds of milestones that depend on one row; the others compare rows.
_OF_ONE_ROW: Final = ("threshold", "multiple", "share", "target")


@dataclass(frozen=True, slots=True)
class Step:
    """What an evaluation, or a part of it, publishes in one transaction: changed rows, and milestones in order.

    `places` are those of the rows.
    `plain` are the changed rows that nothing watches, in the form of their records: the same for these rows.
    `held` must be remembered: id of a milestone → since when its retraction has been delayed, None once it is not.
    `decided` likewise: id of an event → an event that a later part publishes, None once it is published or void.
    `replaced` are versions of rows that nothing else has: first ones that have been replaced, and those of rows that left.
    `left` are the rows that have left their topic, because their days are no longer kept.
    `kept` must be remembered: dimensions → since when days of such scopes have rows, None if all do.
    `campaigns` must be remembered: id of the period → what defines the campaign, None once it is no longer counted.
    `is_last` says that this is the last part of the evaluation.
    """

    rows: list[PublishedRow] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    plain: PlainVersions = field(default_factory=lambda: PlainVersions([], [], []))
    milestones: list[MilestoneEvent] = field(default_factory=list)
    held: dict[str, int | None] = field(default_factory=dict)
    decided: dict[str, MilestoneEvent | None] = field(default_factory=dict)
    replaced: list[PublishedRow] = field(default_factory=list)
    left: list[RowKey] = field(default_factory=list)
    kept: dict[tuple[str, ...], KeptState | None] = field(default_factory=dict)
    campaigns: dict[str, str | None] = field(default_factory=dict)
    is_last: bool = False

    def add(self, other: Step) -> None:
        """Adds another part."""
        self.rows.extend(other.rows)
        self.places.extend(other.places)
        self.plain.extend(other.plain)
        self.milestones.extend(other.milestones)
        self.held.update(other.held)
        self.decided.update(other.decided)
        self.replaced.extend(other.replaced)
        self.left.extend(other.left)
        self.kept.update(other.kept)
        self.campaigns.update(other.campaigns)

    @property
    def size(self) -> int:
        """Number of its records."""
        rows = len(self.rows) + len(self.replaced) + len(self.plain.records) + len(self.plain.replaced) + len(self.left)
        remembered = len(self.held) + len(self.decided) + len(self.kept) + len(self.campaigns)
        return rows + len(self.milestones) + remembered


#: Separates the rows that rise in a step from those that leave with it: decided milestones must be published in between, and
#: the places of rows that have left get other rows.
RISEN: Final = Step()


class JudgedRows(NamedTuple):
    """Rows of one scope, and what they lead to.

    Attributes:
        rows: The rows by key, without the plain ones.
        plain: The places of the plain rows.
        milestones: The decided events.
        held: Milestone → since when its retraction has been waiting, None if it no longer is.
        settled: Ids of the events that were remembered as decided and are settled now.
    """

    rows: list[Row]
    plain: list[int]
    milestones: list[MilestoneEvent]
    held: dict[str, int | None]
    settled: list[str]

    def by_metric(self, metric_of: Callable[[int], str]) -> list[JudgedRows]:
        """The same split by metric, with which the ids of milestones begin.

        Args:
            metric_of: Returns the metric of a place.
        """
        found: dict[str, JudgedRows] = {}

        def of(metric: str) -> JudgedRows:
            return found.setdefault(metric, JudgedRows([], [], [], {}, []))

        for row in self.rows:
            of(row.metric).rows.append(row)
        for place in self.plain:
            of(metric_of(place)).plain.append(place)
        for event in self.milestones:
            of(event.data.metric).milestones.append(event)
        for milestone_id, since_us in self.held.items():
            of(milestone_id.partition("/")[0]).held[milestone_id] = since_us
        for event_id in self.settled:
            of(event_id.partition("/")[0]).settled.append(event_id)
        return list(found.values())


class StepParts:
    """Publishes what has been judged, in parts that fit into a transaction.

    Args:
        windows: All rows.
        timezone: IANA name of the business time zone.
    """

    def __init__(self, windows: Windows, timezone: str) -> None:
        self._windows = windows
        self._timezone = timezone
        #: The time of the step, as rows have it.
        self.updated_at = ""

    def in_one(self, judged: JudgedRows) -> Iterator[Step | None]:
        """Publishes everything at once; None is a pause."""
        whole = Step(milestones=judged.milestones, held=judged.held, decided=dict.fromkeys(judged.settled))
        rows = {row.place: row for row in judged.rows}
        others, plain = self._windows.parted(list(rows), are_judged=True)
        for number, place in enumerate(others):
            self._publish(rows[place], whole)
            yield from pause(number)
        self._windows.forget(plain)
        plain += judged.plain
        for first in range(0, len(plain), PAUSE_ROWS):
            if first:
                yield None
            self._publish_plain(plain[first : first + PAUSE_ROWS], whole)
        if whole.size:
            yield whole

    def fits(self, judged: JudgedRows, most: int) -> Generator[None, None, bool]:
        """Whether it comes to at most `most` records."""
        rest = len(judged.milestones) + len(judged.held) + len(judged.settled)
        if (len(judged.rows) + len(judged.plain)) * RECORDS_OF_ROW + rest <= most:
            return True
        size = rest
        for number, row in enumerate(judged.rows):
            size += self._windows.changes(row)
            yield from pause(number)
        for number, place in enumerate(judged.plain):
            size += self._windows.changes_plain(place)
            yield from pause(number)
        return size <= most

    def in_pieces(self, judged: JudgedRows) -> Iterator[Step | None]:
        """Rows of one scope and the milestones that they lead to, in the smallest possible parts; None is a pause."""
        # The start of a retraction's wait is remembered before its row shows the reason, and until it is decided.
        yield from (Step(held={id_: since_us}) for id_, since_us in judged.held.items() if since_us is not None)
        known = set(judged.settled)
        for event in judged.milestones:
            if event.id not in known:
                yield Step(decided={event.id: event})
        of_rows: dict[RowKey, list[MilestoneEvent]] = {}
        for event in judged.milestones:
            if event.data.kind in _OF_ONE_ROW:
                of_rows.setdefault(RowKey.of(event.data), []).append(event)
        for number, row in enumerate(judged.rows):
            piece = Step(milestones=of_rows.get(row.key, []))
            piece.decided.update((event.id, None) for event in piece.milestones)
            self._publish(row, piece)
            if piece.size:
                yield piece
            yield from pause(number)
        yield from self._one_by_one(judged.plain)
        for event in judged.milestones:
            if event.data.kind not in _OF_ONE_ROW:
                yield Step(milestones=[event], decided={event.id: None})
        yield from (Step(held={id_: None}) for id_, since_us in judged.held.items() if since_us is None)

    def _one_by_one(self, plain: Sequence[int]) -> Iterator[Step | None]:
        for number, place in enumerate(plain):
            piece = self.plain_rows([place])
            if piece.size:
                yield piece
            yield from pause(number)

    def _publish(self, row: Row, part: Step) -> None:
        """Adds the next version of a row to a part, if there is one."""
        made = row.publish(self._timezone, self.updated_at)
        if made is not None:
            part.rows.append(made)
            part.places.append(row.place)
            part.replaced.extend(self._windows.replaced())

    def plain_rows(self, places: Sequence[int]) -> Step:
        """The next versions of plain rows."""
        part = Step()
        self._publish_plain(places, part)
        return part

    def _publish_plain(self, places: Sequence[int], part: Step) -> None:
        """The same for plain rows."""
        part.plain.extend(self._windows.publish_plain(places, self.updated_at))


def departure(left: Left) -> Step:
    """What a row that has left publishes."""
    version = [left.version] if left.version is not None else []
    return Step(replaced=version, left=[left.key] if left.is_published else [])


def ordered(step: Step, *, is_last: bool = False) -> Step:
    """A part with its milestones in the order in which they are published."""
    return replace(step, milestones=in_order(step.milestones), is_last=is_last)


def pause(number: int) -> Iterator[None]:
    """Pauses after every `PAUSE_ROWS` rows."""
    if number % PAUSE_ROWS == PAUSE_ROWS - 1:
        yield None
