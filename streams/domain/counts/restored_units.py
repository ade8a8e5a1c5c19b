"""Counts the orders of a restored ledger, many at a time, in columns of numbers: one by one takes five times as long.

Only plain orders are counted this way: those with a single event, and those that were placed and later delivered or cancelled,
with no event during a campaign. Nearly all are; `domain/orders/orders.py` judges the others.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from streams.domain import hotpath
from streams.domain.counts.daycounts import GROUP_OF_METRIC, GROUPS, PLACED_GROUP
from streams.domain.orders.orders import (
    CANCELLATIONS_METRIC,
    CANCELLED,
    DELIVERED,
    DELIVERIES_METRIC,
    ORDERS_PLACED_METRIC,
    PLACED,
    PRODUCED,
    PRODUCED_METRIC,
)
from streams.domain.orders.packed_columns import cells_of
from streams.domain.orders.packing import KIND, heads
from streams.domain.orders.sums import GROUP, GROUPS_BITS
from streams.domain.time.zone import HOURS, QUARTER_HOUR_US

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from numpy.typing import NDArray

    from schemas.facts import Fact, Metric
    from streams.domain.counts.daycounts import DayCounts
    from streams.domain.orders.packed_columns import Numbers, Places, Restored
    from streams.domain.orders.packing import Word

#: Finds id and packed events of a restored order by its place.
OrderAt = Callable[[Any], tuple[str, bytes]]
#: Orders with many events to look at between two pauses, and lists of orders, names, series, or days to add to.
_PAUSE_ORDERS: Final = 1000
_PAUSE_DAYS: Final = 1000

#: By the kind of an order's only event: the group of metrics that it adds to, -1 for none.
_GROUP_OF_SOLE: Final = np.full(KIND + 1, -1, np.int64)
_GROUP_OF_SOLE[PLACED] = PLACED_GROUP
_GROUP_OF_SOLE[DELIVERED] = GROUP_OF_METRIC[DELIVERIES_METRIC]
_GROUP_OF_SOLE[PRODUCED] = GROUP_OF_METRIC[PRODUCED_METRIC]
#: Bits of the kind of an event.
_KIND_BITS: Final = KIND.bit_length()
#: Bits of the code of a set of scopes with the backfill flag, and bits of the ordinal of a date.
_CODE_BITS: Final = 32
_CODE: Final = (1 << _CODE_BITS) - 1
_DAY_BITS: Final = 22
_DAY: Final = (1 << _DAY_BITS) - 1


class _Events(NamedTuple):
    """The first events of some orders, followed by their second ones, in columns.

    For each order, `second` has the index of its second event, -1 if there is none, and `has_more` whether others follow.
    """

    kind: Numbers
    time_us: Numbers
    source: Numbers
    dims: Numbers
    backfill: Numbers
    second: Numbers
    has_more: NDArray[np.bool_]


class _Units(NamedTuple):
    """Units in columns: their group and dimensions; time and flag of their causes; which event of which order caused each."""

    group: Numbers
    dims: Numbers
    time_us: Numbers
    backfill: Numbers
    order: Numbers
    event: Numbers


class RestoredUnits:
    """Counts orders into the day counts of an empty ledger.

    Args:
        days: Where to count them.
        words: The ledger's vocabulary.
        orders_known: Whether a delivery without an order is a contradiction, and so not plain.
        notes_hours: Whether `quarters` will be called.

    Attributes:
        backfilled: Number of the events taken that were backfill.
    """

    def __init__(
        self, days: DayCounts, words: Sequence[Word], *, orders_known: bool, notes_hours: bool = False
    ) -> None:
        self._days = days
        self._words = words
        self._groups = _GROUP_OF_SOLE.copy()
        if orders_known:
            self._groups[DELIVERED] = -1
        self._codes = np.full(len(words), -1, np.int64)
        self._minutes_matter = np.array(sorted(days.campaign_quarters), np.int64)
        self._series: dict[tuple[Metric, str], int] = {}
        self.backfilled = 0
        self._last_us = np.zeros(len(words), np.int64)
        #: Kind, source and quarter-hour of events, as one number each, if they are noted.
        self._quarters: set[int] | None = set() if notes_hours else None

    def taking(self, restored: Restored, order_at: OrderAt) -> Generator[None, None, list[int]]:
        """Counts the plain ones of some orders; with pauses.

        Args:
            restored: The orders.
            order_at: Finds an order by its place.

        Returns:
            The indices of the others.
        """
        events = _events_of(restored)
        self._note(events)
        units, is_plain = self._units_of(events)
        if len(units.group):
            yield from self._counting(units, restored.places, order_at)
        for number, place in enumerate(restored.places[restored.longer], 1):
            if number % _PAUSE_ORDERS == 0:
                yield
            for kind, time_us, source, _, backfill in heads(order_at(place)[1])[2:]:
                self.backfilled += backfill
                if self._quarters is not None and not backfill:
                    self._quarters.add((time_us // QUARTER_HOUR_US * len(self._words) + source) << _KIND_BITS | kind)
                self._last_us[source] = max(self._last_us[source], time_us)
        return np.flatnonzero(~is_plain).tolist()

    def last_by_source(self) -> list[tuple[int, int]]:
        """The code of each source that has sent events after 1970, and its latest event time, microseconds since 1970."""
        sources = np.flatnonzero(self._last_us)
        return list(zip(sources.tolist(), self._last_us[sources].tolist(), strict=True))

    def quarters(self) -> Iterator[tuple[int, int, int]]:
        """Kind, code of the source and UTC quarter-hour of all events taken that were not backfill, each combination once."""
        for number in self._quarters or ():
            rest, kind = number >> _KIND_BITS, number & KIND
            yield kind, rest % len(self._words), rest // len(self._words)

    def _note(self, events: _Events) -> None:
        self.backfilled += int(np.count_nonzero(events.backfill))
        if self._quarters is not None:
            numbers = (events.time_us // QUARTER_HOUR_US * len(self._words) + events.source) << _KIND_BITS | events.kind
            self._quarters.update(np.unique(numbers[events.backfill == 0]).tolist())
        np.maximum.at(self._last_us, events.source, events.time_us)

    def _units_of(self, events: _Events) -> tuple[_Units, NDArray[np.bool_]]:
        """The units of the plain orders, and a mask of these orders."""
        kind, time_us, second = events.kind, events.time_us, events.second
        has_second = second >= 0
        by_minute = self._by_minute(events)
        group = np.where(has_second | by_minute, -1, self._groups.take(kind[: len(second)]))
        is_plain = group >= 0
        single = np.flatnonzero(is_plain)
        parts = [_part(events, group.take(single), single, single, single)]
        pairs = np.flatnonzero(has_second & ~events.has_more & ~by_minute)
        other = second.take(pairs)
        is_turned = (kind.take(other) == PLACED) & (time_us.take(other) < time_us.take(pairs))
        placed, later = np.where(is_turned, other, pairs), np.where(is_turned, pairs, other)
        is_order = (kind.take(placed) == PLACED) & (time_us.take(placed) < time_us.take(later))
        ends = kind.take(later)
        for end, groups in (
            (DELIVERED, (PLACED_GROUP, GROUP_OF_METRIC[DELIVERIES_METRIC])),
            (CANCELLED, (GROUP_OF_METRIC[ORDERS_PLACED_METRIC], GROUP_OF_METRIC[CANCELLATIONS_METRIC])),
        ):
            some = np.flatnonzero(is_order & (ends == end))
            orders, first, last = pairs.take(some), placed.take(some), later.take(some)
            is_plain[orders] = True
            parts.append(_part(events, groups[0], first, first, orders))
            # A cancellation counts with the dimensions of its order.
            parts.append(_part(events, groups[1], last, last if end == DELIVERED else first, orders))
        return _Units(*map(np.concatenate, zip(*parts, strict=True))), is_plain

    def _by_minute(self, events: _Events) -> NDArray[np.bool_]:
        """Mask of the orders with one of their first two events during a campaign, when units are counted by the minute."""
        found = np.zeros(len(events.second), np.bool_)
        if len(self._minutes_matter):
            is_timed = np.isin(events.time_us // QUARTER_HOUR_US, self._minutes_matter)
            found |= is_timed[: len(found)]
            followed = np.flatnonzero(events.second >= 0)
            found[followed] |= is_timed[events.second[followed]]
        return found

    def _counting(self, units: _Units, places_of: Places, order_at: OrderAt) -> Generator[None]:
        """Sums units by cell, group, scopes and flag, and adds these sums to their days."""
        keys = (cells_of(units.time_us, self._days) << GROUPS_BITS | units.group) << _CODE_BITS
        codes = yield from self._codes_of(units.dims)
        keys |= codes << 1 | units.backfill
        sequence = np.argsort(keys, kind="stable")
        keys, times = keys.take(sequence), units.time_us.take(sequence)
        places_in_order = places_of.take(units.order.take(sequence))
        first, counts, numbers = _runs(keys >> _CODE_BITS)
        for turn, (number, start, count) in enumerate(
            zip(numbers.tolist(), first.tolist(), counts.tolist(), strict=True)
        ):
            if turn % _PAUSE_DAYS == 0:
                yield
            noted = slice(start, start + count)
            self._days.note_restored(number, places_in_order[noted], times[noted])
        first, counts, sums = _runs(keys)
        latest_us = np.maximum.reduceat(times, first)
        latest = np.flatnonzero(times == np.repeat(latest_us, counts))
        causes = _Causes(places_in_order.take(latest), units.event.take(sequence.take(latest)), order_at, self._words)
        causes_at = np.searchsorted(latest, np.append(first, len(keys)))
        yield from self._spreading(sums, counts, latest_us, causes_at, causes)

    def _spreading(
        self, sums: Numbers, counts: Numbers, latest_us: Numbers, causes_at: Numbers, causes: _Causes
    ) -> Generator[None]:
        """Adds sums to the days of the metrics and scopes in which they count."""
        place = sums >> _CODE_BITS
        day, hour = np.divmod(place >> GROUPS_BITS, HOURS)
        series, of = yield from self._series_of(place & GROUP, (sums & _CODE) >> 1, day)
        yield
        day_keys = series << _DAY_BITS | day[of]
        sequence = np.argsort(day_keys, kind="stable")
        of = of[sequence]
        first, sizes, day_keys = _runs(day_keys[sequence])
        index = np.repeat(np.arange(len(first)), sizes)
        size = len(first)
        by_hour = np.bincount(index * HOURS + hour[of], counts[of], size * HOURS).astype(np.int64).reshape(size, HOURS)
        backfilled = np.bincount(index, (counts * (sums & 1))[of], size).astype(np.int64)
        is_latest = latest_us[of] == np.repeat(np.maximum.reduceat(latest_us[of], first), sizes)
        of = of[is_latest]
        names = list(self._series)
        found: list[list[Fact]] = [[] for _ in range(size)]
        for turn, (at, start, end) in enumerate(
            zip(index[is_latest].tolist(), causes_at[of].tolist(), causes_at[of + 1].tolist(), strict=True)
        ):
            if turn % _PAUSE_DAYS == 0:
                yield
            found[at] += map(causes.fact, range(start, end))
        for number, (day_key, hours, loaded, facts) in enumerate(
            zip(day_keys.tolist(), by_hour.tolist(), backfilled.tolist(), found, strict=True)
        ):
            if number % _PAUSE_DAYS == 0:
                yield
            metric, scope = names[day_key >> _DAY_BITS]
            self._days.add_counted(metric, scope, day_key & _DAY, hours, loaded, facts)

    def _series_of(
        self, groups: Numbers, codes: Numbers, days: Numbers
    ) -> Generator[None, None, tuple[Numbers, Numbers]]:
        """For each metric and scope in which sums count, its number and the index of the sum."""
        eras = self._days.eras
        era_of_day = dict.fromkeys(np.unique(days).tolist() if eras > 1 else (), 0)
        for day in era_of_day:
            era_of_day[day] = self._days.era(date.fromordinal(day))
        era = np.array([era_of_day.get(day, 0) for day in days.tolist()], np.int64) if eras > 1 else 0
        kinds, kind_of = np.unique((codes << GROUPS_BITS | groups) * eras + era, return_inverse=True)
        members: list[int] = []
        starts = [0]
        for turn, kind in enumerate(kinds.tolist()):
            if turn % _PAUSE_DAYS == 0:
                yield
            of, at = divmod(kind, eras)
            members += [
                self._series.setdefault((metric, scope), len(self._series))
                for metric in GROUPS[of & GROUP]
                for scope in self._days.scopes_of_code(of >> GROUPS_BITS, at)
            ]
            starts.append(len(members))
        bounds = np.array(starts, np.int64)
        sizes = np.diff(bounds)[kind_of]
        sums = np.repeat(np.arange(len(groups)), sizes)
        within = np.arange(len(sums)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return np.array(members, np.int64)[bounds[kind_of][sums] + within], sums

    def _codes_of(self, dims: Numbers) -> Generator[None, None, Numbers]:
        codes = self._codes
        for turn, word in enumerate(sorted(set(dims[codes.take(dims) < 0].tolist()))):
            if turn % _PAUSE_DAYS == 0:
                yield
            name = self._words[word]
            if isinstance(name, str):
                raise TypeError(f"word {word} of the vocabulary is a source, not the dimensions of a unit")
            codes[word] = self._days.code_of(name)
        return codes.take(dims)


class _Causes:
    """The events of the latest units, unpacked on demand.

    Args:
        places: For each, the place of its order.
        events: For each, its index among the events of its order.
        order_at: Finds an order by its place.
        words: The ledger's vocabulary.
    """

    def __init__(self, places: Places, events: Numbers, order_at: OrderAt, words: Sequence[Word]) -> None:
        self._places, self._events = places.tolist(), events.tolist()
        self._order_at = order_at
        self._words = words
        self._facts: dict[int, Fact] = {}

    def fact(self, number: int) -> Fact:
        """The event of the latest unit with this number."""
        fact = self._facts.get(number)
        if fact is None:
            facts: list[Fact] = hotpath.way.unpack(*self._order_at(self._places[number]), self._words)
            fact = facts[self._events[number]]
            self._facts[number] = fact
        return fact


def _events_of(restored: Restored) -> _Events:
    kind, time_us, source, dims, backfill = map(np.concatenate, zip(restored.first, restored.second, strict=True))
    orders = len(restored.places)
    second = np.full(orders, -1, np.int64)
    second[restored.followed] = np.arange(orders, orders + len(restored.followed))
    has_more = np.zeros(orders, np.bool_)
    has_more[restored.longer] = True
    return _Events(kind, time_us, source, dims, backfill, second, has_more)


def _part(events: _Events, group: Numbers | int, causes: Numbers, dims_of: Numbers, orders: Numbers) -> _Units:
    """Units with their causes and the events whose dimensions they have, by index among the events."""
    return _Units(
        np.broadcast_to(np.asarray(group, np.int64), len(causes)),
        events.dims.take(dims_of),
        events.time_us.take(causes),
        events.backfill.take(causes),
        orders,
        # The first events, one of each order, precede the second ones.
        (causes >= len(events.second)).astype(np.int64),
    )


def _runs(numbers: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Runs of sorted numbers: the start of each distinct number, its number of occurrences, and the number itself."""
    is_first = np.ones(len(numbers), np.bool_)
    np.not_equal(numbers[1:], numbers[:-1], out=is_first[1:])
    first = np.flatnonzero(is_first)
    return first, np.diff(first, append=len(numbers)), numbers[first]
