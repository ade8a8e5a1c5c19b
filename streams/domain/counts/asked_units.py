"""Finds the units that questions are about, among the orders of a partition.

A busy hour has millions of orders, nearly all of which have a single event, or two of the most common kinds. These are looked at
where they are stored (`steps.UnitSearch`); only the others, if they may have one of these units, are judged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import numpy as np

from schemas.texts import template_of
from streams.domain import hotpath
from streams.domain.counts.counted_units import CountedUnits
from streams.domain.counts.daycounts import GROUP_OF_METRIC, GROUPS, PLACED_GROUP
from streams.domain.counts.nth import answer_of, answering
from streams.domain.orders.orders import DELIVERED, DELIVERIES_METRIC, PLACED, PRODUCED, PRODUCED_METRIC
from streams.domain.orders.packed_columns import cells_of
from streams.domain.orders.packing import dims_at
from streams.domain.orders.steps import ALWAYS
from streams.domain.time.zone import EARLIEST_US, HOURS, LATEST_US, MINUTE_US, day_of_cell

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from schemas.facts import Fact, Metric
    from schemas.questions import Answer, Question, UnitKey
    from streams.domain.counts.daycounts import DayCounts
    from streams.domain.orders.orders import Unit
    from streams.domain.orders.packed_columns import Numbers, Places
    from streams.domain.orders.packing import Word
    from streams.domain.orders.steps import PackedOrders, Times, UnitSearch

#: Orders to look at, and orders to judge, between two pauses.
_PAUSE_LOOKED_AT: Final = 5_000
_PAUSE_JUDGED: Final = 500

#: Kind of the only event of an order, or of a vehicle → the group of metrics that it adds to.
GROUP_OF_SOLE: Final = {
    PLACED: PLACED_GROUP,
    DELIVERED: GROUP_OF_METRIC[DELIVERIES_METRIC],
    PRODUCED: GROUP_OF_METRIC[PRODUCED_METRIC],
}

#: The number of the units that no question is about.
_UNASKED: Final = 0


class _Span(Protocol):
    """Some time: an instant in it has a cell."""

    def cells(self, times_us: Numbers) -> Numbers:
        """The cells of instants, microseconds since 1970; -1 for those outside."""


class _Hours(NamedTuple):
    """Local hours that follow each other."""

    days: DayCounts
    first_cell: int
    last_cell: int

    def cells(self, times_us: Numbers) -> Numbers:
        cells = cells_of(times_us, self.days)
        return np.where((cells >= self.first_cell) & (cells <= self.last_cell), cells, -1)


class _Minute(NamedTuple):
    """A minute, given since 1970, and its cell."""

    minute: int
    cell: int

    def cells(self, times_us: Numbers) -> Numbers:
        return np.where(times_us // MINUTE_US == self.minute, self.cell, -1)


class AskedUnits:
    """Answers questions from the orders of a partition.

    Args:
        days: The counts, as of the last step.
        orders: The packed orders.
        words: The vocabulary of their events.
        unpack: Returns the events of an order, given its id and its packed events.
        judge: Returns the units among the events of an order.
    """

    def __init__(
        self,
        days: DayCounts,
        orders: PackedOrders,
        words: Sequence[Word],
        unpack: Callable[[str, bytes], list[Fact]],
        judge: Callable[[Sequence[Fact]], Sequence[Unit]],
    ) -> None:
        self._days, self._orders, self._words = days, orders, words
        self._unpack, self._judge = unpack, judge

    def answering(self, questions: Sequence[Question]) -> Generator[None, None, list[Answer]]:
        """Answers questions; with pauses, during which nothing may change.

        Args:
            questions: Questions about one metric and the same local hours, which are answered in one pass over the orders of
                these hours, or if all have the same kind of bound, over some of them; or a single one about a campaign.
        """
        first, times = questions[0], _times_of(questions)
        if first.campaign:
            answer = yield from self._answering_of_campaign(first, self._scopes_meant(first), times)
            return [answer]
        counts: list[tuple[int, int]] = []
        groups = _Groups(self._unit)
        units_of: list[CountedUnits] = []
        first_cell, end_cell = first.first_cell, first.last_cell + 1
        for question in questions:
            scopes, window = self._scopes_meant(question), question.first_day * HOURS
            before, inside = (
                sum(self._days.units_in(first.metric, scope, *cells) for scope in scopes)
                for cells in ((window, first_cell), (first_cell, end_cell))
            )
            counts.append((before, inside))
            units_of.append(groups.of(scopes))
            yield
        hours = _Hours(self._days, first.first_cell, first.last_cell)
        places = self._days.places_in(first.metric, first.first_cell, first.last_cell, times)
        yield from self._finding(places, first.metric, hours, groups)
        answers = []
        for question, (before, inside), units in zip(questions, counts, units_of, strict=True):
            answers.append((yield from _answering_from(question, before, inside, units, times)))
        return answers

    def _answering_of_campaign(
        self, question: Question, wanted: set[str], times: Times
    ) -> Generator[None, None, Answer]:
        """The same for minutes of a campaign; the answer for one that is not counted is empty."""
        days, metric = self._days, question.metric
        campaign = days.campaign(question.campaign)
        if campaign is None:
            return answer_of(question, 0, [])
        first = campaign.start_us // MINUTE_US + question.first_cell
        end = campaign.start_us // MINUTE_US + question.last_cell + 1
        before, upto_end = (
            sum(days.units_of_campaign_before(metric, scope, campaign.name, minute) for scope in wanted)
            for minute in (question.first_cell, question.last_cell + 1)
        )
        groups = _Groups(self._unit)
        units = groups.of(wanted)
        for minute in range(first, end):
            span = _Minute(minute, days.cell_of(minute * MINUTE_US))
            yield from self._finding(days.places_in_minute(metric, minute, times), metric, span, groups)
        return (yield from _answering_from(question, before, upto_end - before, units, times))

    def _finding(self, places: Places, metric: Metric, span: _Span, groups: _Groups) -> Generator[None]:
        """Adds the units of a metric in some time to the groups that they are in, given the orders that may have any."""
        days, words = self._days, self._words
        #: The groups of a unit in each era of the aliases: nearly all units have the same few.
        labels: dict[tuple[tuple[int, ...], ...], int] = {((),) * days.eras: _UNASKED}

        def label_of(code: int) -> int:
            scopes_by_era = days.scopes_by_era(dims_at(words, code))
            if all(map(groups.are_none, scopes_by_era)):
                return _UNASKED
            return labels.setdefault(tuple(map(groups.with_any, scopes_by_era)), len(labels))

        kinds = [kind for kind, group in GROUP_OF_SOLE.items() if metric in GROUPS[group]]
        search: UnitSearch = hotpath.way.UnitSearch(self._orders, list(GROUP_OF_SOLE), kinds, label_of)
        for start in range(0, len(places), _PAUSE_LOOKED_AT):
            found, others = search.look(places[start : start + _PAUSE_LOOKED_AT])
            cells = span.cells(found.times_us)
            groups_of = list(labels)
            for cell in np.unique(cells[cells >= 0]).tolist():
                era = days.era(day_of_cell(cell))
                for label in np.unique(found.labels[cells == cell]).tolist():
                    which = (cells == cell) & (found.labels == label)
                    groups.add(groups_of[label][era], found.times_us[which], found.places[which])
            yield
            for number, place in enumerate(others.tolist(), 1):
                if number % _PAUSE_JUDGED == 0:
                    yield
                units = self._judge(self._unpack(*hotpath.way.order_at(self._orders, place)))
                of_metric = [(dims, cause) for each, dims, cause in units if each == metric]
                times_us = np.array([cause.time_us for _, cause in of_metric], np.int64)
                for (dims, cause), cell in zip(of_metric, span.cells(times_us).tolist(), strict=True):
                    if cell >= 0:
                        groups.add_one(groups.with_any(days.scopes_at(dims, cell)), key_of(cause))

    def _unit(self, place: object, time_us: int) -> UnitKey:
        """The unit of an order's only event of some time."""
        events = self._unpack(*hotpath.way.order_at(self._orders, place))
        (cause,) = [event for event in events if event.time_us == time_us]
        return key_of(cause)

    def _scopes_meant(self, question: Question) -> set[str]:
        """The scopes whose units a question is about, all with the same dimensions, so that no two share a unit."""
        if question.others_than is None:
            return {question.scope}
        kept = set(question.others_than)
        dimensions = template_of(question.scope)
        same = {scope for scope in self._days.scopes_of(question.metric) if template_of(scope) == dimensions}
        return (same - kept) | {question.scope}


class _Groups:
    """Sets of scopes, each with the units found; questions about the same scopes are about the same units.

    Args:
        unit_of: As of `CountedUnits`.
    """

    def __init__(self, unit_of: Callable[[object, int], UnitKey]) -> None:
        self._unit_of = unit_of
        self._numbers: dict[frozenset[str], int] = {}
        self._units: list[CountedUnits] = []
        #: Scope → the numbers of the groups that it is in.
        self._with: dict[str, list[int]] = {}
        #: Whether no group has any of some scopes.
        self.are_none: Callable[[Iterable[str]], bool] = self._with.keys().isdisjoint

    def of(self, scopes: Iterable[str]) -> CountedUnits:
        """The units of some scopes."""
        group = frozenset(scopes)
        number = self._numbers.get(group)
        if number is None:
            number = self._numbers[group] = len(self._units)
            self._units.append(CountedUnits(self._unit_of))
            for scope in group:
                self._with.setdefault(scope, []).append(number)
        return self._units[number]

    def with_any(self, scopes: Iterable[str]) -> tuple[int, ...]:
        """The numbers of the groups that have any of these scopes, each once."""
        return tuple(sorted({number for scope in scopes for number in self._with.get(scope, ())}))

    def add(self, numbers: Iterable[int], times_us: Numbers, places: Places) -> None:
        """Adds units to groups, given their times and the places of their orders."""
        for number in numbers:
            self._units[number].add_orders(times_us, places)

    def add_one(self, numbers: Iterable[int], unit: UnitKey) -> None:
        """Adds a unit to groups."""
        for number in numbers:
            self._units[number].add(unit)


def _times_of(questions: Sequence[Question]) -> Times:
    """From when on, or until when, the units must be found to answer all of these: a busy hour has many others.

    Not from one time to another: it would not be known how many units precede them.
    """
    after = [question.after for question in questions if question.after is not None]
    upto = [question.upto for question in questions if question.upto is not None]
    if len(after) == len(questions):
        return min(after)[0], LATEST_US
    if len(upto) == len(questions):
        return EARLIEST_US, max(upto)[0]
    return ALWAYS


def _answering_from(
    question: Question, before: int, inside: int, units: CountedUnits, times: Times
) -> Generator[None, None, Answer]:
    """Answers from the units found of some times, and perhaps others."""
    first_us, _ = times
    return answering(question, before, inside, units, inside - len(units) if first_us > EARLIEST_US else 0)


def key_of(cause: Fact) -> UnitKey:
    """The unit of an event."""
    return cause.time_us, cause.id, cause.source, cause.topic, cause.partition, cause.offset
