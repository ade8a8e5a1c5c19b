"""The exact moment of a milestone: finds the unit that passed its number, by asking the ledger partitions.

If it is the last unit of its window, the counts include it, once every ledger partition has read what was there. Otherwise rows only
have the number of units in each hour. So an event with the position of a unit waits, remembered in the transaction of its row, until
every ledger partition has read that far and answered a question about that unit's hour; then it is published with the unit's time and
event. A new writer finds the waiting events in the memory topic and asks again.

Events of one metric and scope are published in the order in which they were decided: a waiting one holds back those behind it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.codec import encode_memory, encode_milestone
from schemas.instants import micros_of
from schemas.memory import CUT, SIDE, WAITING, FoundAt, key_of
from schemas.questions import FROM_TOTALS, MOST_UNITS, Question, encode_questions
from schemas.rows import RowKey
from streams.domain.counts.nth import Between, Miss, nth_unit
from streams.domain.milestones.milestones import Completion, in_order
from streams.domain.time.campaigns import CAMPAIGN
from streams.domain.time.zone import HOURS, MINUTE_US, day_of_cell
from streams.kafka.outbox import Outgoing
from streams.kafka.pacing import pause
from streams.totals.milestone_records import milestone_record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.facts import Metric
    from schemas.outputs import Marker, MilestoneEvent
    from schemas.questions import Answer, UnitKey
    from streams.context import Context
    from streams.domain.counts.nth import InCell
    from streams.domain.totals import Totals
    from streams.totals.shards import Shards

logger = logging.getLogger(__name__)

#: Most questions that wait for answers at a time.
_MOST_ASKED: Final = 128
#: A question without an answer is sent again after the first of these, then after twice as long each time, up to the last.
_FIRST_WAIT_S: Final = 0.5
_LAST_WAIT_S: Final = 5.0
#: A ledger partition that is alive publishes something every half minute.
_SILENCE_S: Final = 60.0
#: A ledger partition whose last record was appended this long before a milestone was found was not behind at that time. If events are
#: the clock, they may be published at any speed, and this may be weeks.
_BEHIND_US: Final = 5_000_000
#: Three days; around a change of the clocks, three days may be longer or shorter.
_THREE_DAYS_US: Final = 3 * 86_400_000_000
_ANYWHERE: Final = Between(None, None)
#: How far before its expected time a unit is looked for: at first, and where it was not found. After that, in its whole hour.
_MARGINS_US: Final = (5_000_000, 60_000_000)


class _Place(NamedTuple):
    """What a question is about."""

    metric: Metric
    scope: str
    period: str
    start: str
    end: str
    position: int
    #: For a campaign: its instants when the milestone was found.
    instants: str = ""
    #: In which step it was found: after a correction, the N-th unit may be another one.
    step: int = 0

    @property
    def campaign(self) -> str:
        """Name of the campaign; empty for any other window."""
        kind, _, name = self.period.partition(":")
        return name if kind == CAMPAIGN else ""

    @property
    def starts_at(self) -> str:
        """For a campaign: its first instant."""
        return self.instants.partition("/")[0]

    @property
    def row(self) -> RowKey:
        """The window's row."""
        return RowKey(self.metric, self.scope, self.period)

    @classmethod
    def of(cls, event: MilestoneEvent, step: int = 0) -> _Place | None:
        """The place of an event; None if it needs no unit, or already has one."""
        data = event.data
        if data.position is None or data.achieved_at is not None:
            return None
        is_campaign = data.period.startswith(f"{CAMPAIGN}:")
        # Windows other than campaigns have the same units if they have the same dates.
        period = data.period if is_campaign else ""
        instants = f"{data.starts_at}/{data.ends_at}" if is_campaign else ""
        return cls(data.metric, data.scope, period, data.start, data.end, data.position - data.balance, instants, step)


class _Cells(NamedTuple):
    """The first day of a window, as an ordinal, and the cells of it that a question is about."""

    first_day: int
    first: int
    last: int


@dataclass
class _Asked:
    """A question and its answers.

    Attributes:
        place: What it is about.
        question: The question that was sent last; None before the first.
        found_us: When the milestone was found, microseconds since 1970.
        since_s: Since when it has been waiting, in seconds of the loop's clock.
        answers: Ledger partition → its answer to that question.
        sent_s: Ledger partition → when the question was last sent to it, and how often.
        positions: Ledger partition → how far it had read its sources when it answered.
        bounds: The units that the one looked for is between.
        misses: How often it was not where it was looked for.
        is_found: Whether `unit` is the result, which is None if there is no such unit.
        events: Number of events that wait for it.
    """

    place: _Place
    found_us: int
    since_s: float
    question: Question | None = None
    answers: dict[int, Answer] = field(default_factory=dict)
    positions: dict[int, dict[str, int]] = field(default_factory=dict)
    sent_s: dict[int, tuple[float, int]] = field(default_factory=dict)
    bounds: Between = _ANYWHERE
    misses: int = 0
    is_found: bool = False
    unit: UnitKey | None = None
    events: int = 0

    def ask_again(self, bounds: Between = _ANYWHERE) -> None:
        """Notes that a new question must be asked."""
        self.question, self.bounds = None, bounds
        self.answers, self.sent_s = {}, {}


class _Waiting(NamedTuple):
    """A waiting event, and the question that it waits for; None if it waits only for the events before it."""

    event: MilestoneEvent
    asked: _Asked | None

    @property
    def is_ready(self) -> bool:
        """Whether only events before it can hold it back."""
        return self.asked is None or self.asked.is_found


class Moments:
    """The events that wait.

    Pass every marker to `hear` and every event to `publish`; commit what `completed` and, last in a transaction, `questions`
    return.
    """

    def __init__(self, context: Context, totals: Totals, shards: Shards, number: int = 0) -> None:
        self._context = context
        self._number = number
        self._totals = totals
        self._shards = shards
        self._complete = Completion(context.zone, context.source_topics.names)
        self._queues: dict[tuple[str, str], deque[_Waiting]] = {}
        #: Those of them whose first event no longer has to wait, in this order.
        self._ready: dict[tuple[str, str], None] = {}
        self._asked: dict[_Place, _Asked] = {}
        self._by_id: dict[str, _Asked] = {}
        self._heard_s: dict[int, float] = {}
        self._behind_us = _BEHIND_US if context.settings.clock != "events" else 0
        self._numbers = self._step = 0
        #: Distinguishes the questions of this writer from those of others.
        self._name = f"{number}-{context.now_us():x}"

    def restore(self, event: MilestoneEvent) -> None:
        """Restores a waiting event; call it in the order in which the events were decided."""
        self._wait(event)

    def publish(self, events: Iterable[MilestoneEvent]) -> list[Outgoing]:
        """The records of events that a step has decided: the events themselves, or the memory of those that wait."""
        self._step += 1
        by_series: dict[tuple[str, str], list[MilestoneEvent]] = {}
        for event in events:
            by_series.setdefault((event.data.metric, event.data.scope), []).append(event)
        published: list[MilestoneEvent] = []
        records: list[Outgoing] = []
        for series, decided in by_series.items():
            of_series = [self._at_once(event) for event in decided]
            records += filter(None, map(self._cut_at_once, decided, of_series))
            # Events that are decided together are published together.
            if series not in self._queues and not any(map(_Place.of, of_series)):
                published += of_series
                continue
            for event in of_series:
                self._wait(event)
                records.append(self._memory(WAITING + event.id, encode_milestone(event)))
        return [*map(self._record, in_order(published)), *records]

    def hear(self, shard: int, marker: Marker) -> None:
        """Takes the marker of a ledger partition."""
        self._heard_s[shard] = _now_s()
        for answer in marker.answers:
            asked = self._by_id.get(answer.id)
            if asked is None:
                continue
            is_of_other = asked.place.campaign and marker.campaigns != self._shards.campaigns
            if is_of_other or not self._is_up_to(marker, asked.found_us):
                # It already counts by other campaigns, or has just begun to read what arrived while it was down.
                asked.sent_s.pop(shard, None)
                continue
            asked.answers[shard] = answer
            asked.positions[shard] = _offsets(marker)
            if len(asked.answers) == self._context.settings.partitions:
                self._weigh(asked)

    def rows(self) -> set[RowKey]:
        """The windows of the waiting events."""
        waiting = (event.data for queue in self._queues.values() for event, _ in queue)
        return {RowKey(data.metric, data.scope, data.period) for data in waiting}

    @property
    def has_more(self) -> bool:
        """Whether `completed` would return something now."""
        return bool(self._ready) and self._shards.settled

    def completed(self, room: int) -> list[Outgoing]:
        """The records of events that no longer have to wait.

        Args:
            room: The maximum number of records.
        """
        if not self._queues or not self._shards.settled:
            return []
        self._give_up()
        released: list[_Waiting] = []
        for series in list(self._ready):
            queue = self._queues[series]
            while queue and 3 * len(released) + 2 < room and queue[0].is_ready:
                released.append(queue.popleft())
            if not queue:
                del self._queues[series]
            if not (queue and queue[0].is_ready):
                del self._ready[series]
        records = [self._memory(WAITING + event.id, None) for event, _ in released]
        records += [self._record(self._completed(event, asked)) for event, asked in released]
        records += filter(None, (self._cut(event, asked) for event, asked in released))
        for _, asked in released:
            if asked is not None:
                self._let_go(asked)
        return records

    # Which unit -----------------------------------------------------------------------------------------------------

    def _wait(self, event: MilestoneEvent) -> None:
        series, place = (event.data.metric, event.data.scope), _Place.of(event, self._step)
        asked = None
        if place is not None:
            asked = self._asked.get(place)
            if asked is None:
                asked = self._asked[place] = _Asked(place, self._context.now_us(), _now_s())
            asked.events += 1
        queue = self._queues.setdefault(series, deque())
        queue.append(_Waiting(event, asked))
        if len(queue) == 1 and queue[0].is_ready:
            self._ready[series] = None

    def _at_once(self, event: MilestoneEvent) -> MilestoneEvent:
        """The event with its unit, if that is the latest of its window, which the ledger partitions publish with the counts."""
        place, now_us = _Place.of(event), self._context.now_us()
        if place is None or event.data.count - event.data.balance != place.position or not self._are_up_to(now_us):
            return event
        unit = self._newest(place)
        return event if unit is None else self._complete.with_unit(event, unit)

    def _newest(self, place: _Place) -> UnitKey | None:
        """The latest unit of a window, if the ledger partitions have published which it is."""
        if place.campaign:
            unit = self._totals.newest_unit_of_campaign(place.row)
        else:
            first, last = date.fromisoformat(place.start), date.fromisoformat(place.end)
            unit = self._totals.newest_unit(place.metric, place.scope, first, last)
            if unit is not None and self._clocks_change_near(self._context.zone.date_of(unit.time_us)):
                return None
        return None if unit is None else (unit.time_us, unit.id, unit.source, unit.topic, unit.partition, unit.offset)

    def _cut_at_once(self, before: MilestoneEvent, after: MilestoneEvent) -> Outgoing | None:
        if before is after:
            return None
        return self._found_at(after, self._positions())

    def _positions(self) -> dict[int, dict[str, int]]:
        """Ledger partition → how far it had read its sources when it published its latest counts."""
        return {shard: _offsets(marker) for shard, marker in self._shards.markers.items()}

    def _end(self, asked: _Asked, unit: UnitKey | None = None) -> None:
        """Ends the search with its result; None if there is no such unit, or no partition knows it."""
        asked.is_found, asked.unit = True, unit
        series = asked.place.metric, asked.place.scope
        queue = self._queues.get(series)
        if queue and queue[0].asked is asked:
            self._ready[series] = None

    def _completed(self, event: MilestoneEvent, asked: _Asked | None) -> MilestoneEvent:
        return event if asked is None else self._complete.with_unit(event, asked.unit)

    def _weigh(self, asked: _Asked) -> None:
        """Evaluates the answers of all partitions."""
        self._expect_no_answer(asked)
        found = nth_unit(asked.place.position, list(asked.answers.values()))
        if isinstance(found, Between):
            asked.ask_again(Between(found.after or asked.bounds.after, found.upto or asked.bounds.upto))
        elif isinstance(found, Miss):
            # It was before the likely time, or units have come or gone since the hour was looked up.
            asked.misses += 1
            asked.ask_again()
        else:
            self._end(asked, found)

    def _give_up(self) -> None:
        """Publishes without their units the events held back by a ledger partition that has been silent for long."""
        now_s = _now_s()
        for place, asked in islice(self._asked.items(), _MOST_ASKED):
            if asked.is_found:
                continue
            silent = [
                number
                for number in self._shards.markers
                if number not in asked.answers
                and now_s - max(asked.since_s, self._heard_s.get(number, 0.0)) > _SILENCE_S
            ]
            if silent:
                logger.warning(
                    "%s/%s: which unit was number %d from %s on is not known, as ledger partitions %s say nothing",
                    *place[:2], place.position, place.campaign or place.start, silent,
                )  # fmt: skip
                self._end(asked)

    def _is_up_to(self, marker: Marker, found_us: int) -> bool:
        """Whether a ledger partition has read everything that was there when a milestone was found, or was not behind then.

        Otherwise, earlier units than those it has counted may still be to come.
        """
        return marker.caught_up or marker.caught_up_us >= found_us - self._behind_us

    def _are_up_to(self, found_us: int) -> bool:
        return all(self._is_up_to(marker, found_us) for marker in self._shards.markers.values())

    def _let_go(self, asked: _Asked) -> None:
        """Notes that an event was published; the result of a place is forgotten with its last event."""
        asked.events -= 1
        if not asked.events:
            del self._asked[asked.place]
            self._expect_no_answer(asked)

    def _expect_no_answer(self, asked: _Asked) -> None:
        """Passes over further answers to a question: it has all of them, or nobody needs them any longer."""
        if asked.question is not None:
            self._by_id.pop(asked.question.id, None)

    # Asking ---------------------------------------------------------------------------------------------------------

    async def questions(self) -> list[Outgoing]:
        """The questions to ask now, at most one record per ledger partition; with pauses, as each looks at the days of a series."""
        if not self._asked or not self._shards.settled:
            return []
        now_s = _now_s()
        to_send: dict[int, list[Question]] = {}
        for place, asked in islice(self._asked.items(), _MOST_ASKED):
            if asked.is_found:
                continue
            if asked.question is None:
                if not self._are_up_to(asked.found_us):
                    continue  # what the others answer would be known only then
                await pause()
                asked.question = self._question(place, asked)
                if asked.question is None:
                    continue
                self._by_id[asked.question.id] = asked
            for number, marker in self._shards.markers.items():
                if number in asked.answers or not self._is_up_to(marker, asked.found_us):
                    continue
                sent_s, times = asked.sent_s.get(number, (0.0, 0))
                if not times or now_s - sent_s >= min(_FIRST_WAIT_S * 2 ** (times - 1), _LAST_WAIT_S):
                    asked.sent_s[number] = now_s, times + 1
                    to_send.setdefault(number, []).append(asked.question)
        topic = self._context.catalogue.questions.name
        return [
            Outgoing(topic, number, FROM_TOTALS, encode_questions(questions))
            for number, questions in sorted(to_send.items())
        ]

    def _question(self, place: _Place, asked: _Asked) -> Question | None:
        """The question to ask; None if there is none, as it is known that there is no such unit, or which it is."""
        found = self._cell(place, place.position)
        if found is None:
            self._end(asked)  # corrections have lowered the count since, or the campaign has changed
            return None
        newest = self._newest(place)
        if newest is not None and self._cell(place, place.position + 1) is None:
            # It was too early to say so when the milestone was decided.
            asked.positions = self._positions()
            self._end(asked, newest)
            return None
        is_late = False
        if asked.bounds == _ANYWHERE:
            asked.bounds = self._likely(place, found, newest, asked.misses)
            is_late = found.units - found.number <= MOST_UNITS // 2 * self._context.settings.partitions
        cell = found.cell
        if place.campaign:
            return self._ask(place, asked.bounds, _Cells(0, cell, cell), latest=is_late)
        first, last = date.fromisoformat(place.start), date.fromisoformat(place.end)
        first_cell, last_cell, day = cell, cell, day_of_cell(cell)
        if self._clocks_change_near(day):
            # If the clocks are put back across midnight, the end of a day comes after the beginning of the next.
            first_cell = max(first, day - _DAY).toordinal() * HOURS
            last_cell = min(last, day + _DAY).toordinal() * HOURS + HOURS - 1
        return self._ask(place, asked.bounds, _Cells(first.toordinal(), first_cell, last_cell), latest=is_late)

    def _likely(self, place: _Place, found: InCell, newest: UnitKey | None, misses: int) -> Between:
        """Where a unit probably is in its cell: nearly always among the latest, and a busy hour has millions of others.

        Those that come meanwhile are rarely before it.
        """
        if misses >= len(_MARGINS_US):
            return _ANYWHERE
        start_us, end_us = self._span(place, found.cell)
        upto = newest if newest is not None and start_us <= newest[0] < end_us else None
        after_us = found.probably_after(start_us, upto[0] if upto else end_us, _MARGINS_US[misses])
        return Between(None if after_us is None else (after_us, "", "", 0, 0, 0), upto)

    def _span(self, place: _Place, cell: int) -> tuple[int, int]:
        """The first instant of a local hour, or minute of a campaign, and the one after its last, microseconds since 1970."""
        if place.campaign:
            start_us = micros_of(datetime.fromisoformat(place.starts_at)) + cell * MINUTE_US
            return start_us, start_us + MINUTE_US
        return self._context.zone.beginning_us(cell), self._context.zone.beginning_us(cell + 1)

    def _cell(self, place: _Place, number: int) -> InCell | None:
        """The local hour, or minute of the campaign, of the N-th unit (from 1) of a window; None if there are not that many."""
        if place.campaign:
            if self._totals.instants_of(place.period) != place.instants:
                return None
            return self._totals.minute_of_unit(place.row, number)
        first, last = date.fromisoformat(place.start), date.fromisoformat(place.end)
        return self._totals.hour_of_unit(place.metric, place.scope, first, last, number)

    def _ask(self, place: _Place, bounds: Between, cells: _Cells, *, latest: bool) -> Question:
        self._numbers += 1
        return Question(
            id=f"{self._name}-{self._numbers}",
            metric=place.metric,
            scope=place.scope,
            first_day=cells.first_day,
            first_cell=cells.first,
            last_cell=cells.last,
            after=bounds.after,
            upto=bounds.upto,
            latest=latest,
            others_than=self._totals.others_than(place.scope),
            campaign=place.campaign,
        )

    def _clocks_change_near(self, day: date) -> bool:
        zone = self._context.zone
        return zone.first_us(day + 2 * _DAY) - zone.first_us(day - _DAY) != _THREE_DAYS_US

    # Records --------------------------------------------------------------------------------------------------------

    def _record(self, event: MilestoneEvent) -> Outgoing:
        return milestone_record(self._context.catalogue.milestones.name, self._number, event)

    def _cut(self, event: MilestoneEvent, asked: _Asked | None) -> Outgoing | None:
        """The record of the source positions at which the unit of an event was found, so that this can be checked."""
        if asked is None or asked.unit is None:
            return None
        return self._found_at(event, asked.positions)

    def _found_at(self, event: MilestoneEvent, positions: dict[int, dict[str, int]]) -> Outgoing:
        cut = FoundAt(event.data.revision, positions, self._context.scopes.aliases.text)
        return self._memory(CUT + event.data.milestone_id, encode_memory(cut))

    def _memory(self, name: str, value: bytes | None) -> Outgoing:
        return Outgoing(self._context.catalogue.totals.name, self._number, key_of(SIDE, name), value)


_DAY: Final = timedelta(days=1)


def _offsets(marker: Marker) -> dict[str, int]:
    """Source → the first offset that a ledger partition has not read."""
    return {name: offset for name, (offset, _) in marker.positions.items()}


def _now_s() -> float:
    return asyncio.get_running_loop().time()
