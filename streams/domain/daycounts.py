"""Counts per metric, scope and business date, and per minute of campaigns, of one partition, and the changes of one step.

Units are first summed per cell (a local hour), per set of scopes and per group of metrics that always change together;
only at the end of the step are these few sums spread over days, scopes and metrics. During campaigns the cells are minutes.
The orders with units in a cell are kept too, for questions about the N-th unit.
"""

from __future__ import annotations

from datetime import date
from itertools import chain
from operator import add, attrgetter
from typing import TYPE_CHECKING, Final

from schemas.counts import CampaignHour
from schemas.facts import METRICS, DayCount, Dims, Fact, LatestUnit, Metric
from streams.domain import hotpath
from streams.domain.campaigns import MINUTES, Campaigns
from streams.domain.pauses import whole
from streams.domain.steps import BACKFILL, GROUP, GROUP_SHIFT, GROUPS_BITS, LEAVING
from streams.domain.zone import DAY_US, HOURS, MINUTE_US, QUARTER_HOUR_US, BusinessZone, day_of_cell, hour_of_cell

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from schemas.counts import CampaignKey, CountKey, DayKey
    from streams.domain.campaigns import Campaign
    from streams.domain.packed_columns import Places
    from streams.domain.packing import Word
    from streams.domain.scopes import Scopes
    from streams.domain.steps import DaySum, OrderLists, OwnUnits, PackedOrders, Sum

#: Groups of metrics: each metric alone, in the order of `METRICS`, and the two that a newly placed order adds to.
GROUPS: Final[tuple[tuple[Metric, ...], ...]] = (*((metric,) for metric in METRICS), ("orders_placed", "orders"))
GROUP_OF_METRIC: Final = {metric: number for number, metric in enumerate(METRICS)}
PLACED_GROUP: Final = len(METRICS)

_SCOPES_SHIFT: Final = GROUP_SHIFT + GROUPS_BITS

#: Sums to add up, days to add them to, and days to copy, between two pauses: a millisecond or two.
_PAUSE_SUMS: Final = 250
_PAUSE_SPREAD: Final = 250
_PAUSE_DAYS: Final = 250

#: Quarter-hours of a day.
_QUARTERS: Final = DAY_US // QUARTER_HOUR_US

_rank = attrgetter("time_us", "id", "source", "topic", "partition", "offset")


class _Day:
    """The absolute counts of one metric and scope on one date, or in one hour of a campaign."""

    __slots__ = ("backfilled", "by_hour", "count", "has_left", "latest", "newest")

    def __init__(self, parts: int = HOURS) -> None:
        self.count = 0
        self.backfilled = 0
        self.by_hour = [0] * parts
        self.latest: LatestUnit | None = None
        #: The latest of all units, as long as none has been removed; after that it is unknown until the day is empty.
        self.newest: LatestUnit | None = None
        self.has_left = False

    def add(self, parts: Mapping[int, int], flags: int) -> None:
        """Adds units to hours, or minutes; the flags are those in a key."""
        by_hour, count = self.by_hour, 0
        for part, units in parts.items():
            by_hour[part] += units
            count += units
        self.count += count
        if flags & BACKFILL:
            self.backfilled += count
        if flags & LEAVING:
            self.has_left = True

    def end_step(self, latest: Fact | None) -> None:
        """Takes the latest unit that a step has added, None if it has added none."""
        if latest is not None:
            self.latest = _latest_unit(latest)
        if not self.count:
            self.newest, self.has_left = None, False
        elif self.has_left:
            self.newest = None
        elif latest is not None and (self.newest is None or _rank(latest) > _rank(self.newest)):
            self.newest = self.latest

    def published(self) -> DayCount:
        """A copy that later steps do not change."""
        is_newest = self.latest is not None and self.latest is self.newest
        return DayCount(self.count, self.backfilled, self.by_hour.copy(), self.latest, is_newest)


#: The sums of a cell, by key.
_Cell = dict[int, "Sum"]


class DayCounts:
    """The day counts of a partition and the sums of the current step.

    Args:
        zone: The business time zone.
        scopes: The scopes that are counted.
        orders: The orders whose units are added; they must be there when the step ends.
        campaigns: The campaigns that are counted.
        words: The vocabulary of packed events; it may grow.

    Attributes:
        own: Adds units that have the time and the dimensions of their own event, given packed.
    """

    def __init__(
        self,
        zone: BusinessZone,
        scopes: Scopes,
        orders: PackedOrders,
        campaigns: Campaigns | None = None,
        words: Sequence[Word] = (),
    ) -> None:
        self._zone = zone
        self._scopes = scopes
        self._words = words
        self._campaigns = campaigns or Campaigns()
        self._campaign_quarters = self._campaigns.quarters
        self._campaign_days = _days_of(self._campaign_quarters)
        self._scopes_codes: dict[Dims, int] = {}
        # Scopes for each era of the aliases; there is nearly always just one.
        self._scopes_sets: dict[tuple[tuple[str, ...], ...], int] = {}
        self._scopes_by_code: list[tuple[tuple[str, ...], ...]] = []
        self._days: dict[DayKey, _Day] = {}
        self._campaign_hours: dict[CampaignKey, _Day] = {}
        self._first_day = date.max
        #: By cell and group, shifted: the orders that have had units there.
        self._orders: OrderLists = hotpath.way.OrderLists(orders)
        #: The same by minutes of campaigns, so that a question about a minute does not search a whole busy hour.
        self._orders_of_minutes: OrderLists = hotpath.way.OrderLists(orders)
        #: Days that got units by `add_counted`, with the latest unit added.
        self._counted: dict[DayKey, Fact | None] = {}
        self._cells: dict[int, _Cell] = {}
        #: In quarter-hours of campaigns each UTC minute is a cell.
        self._minutes: dict[int, _Cell] = {}
        self.own: OwnUnits = hotpath.way.OwnUnits(self._cells, words, self._offset_us, self._cell, self._scopes_code)
        #: While the units of some times are being recounted: the campaigns that are new or changed, the quarter-hours that had
        #: no minutes before, and hours of campaigns with their latest unit.
        self._recounted = Campaigns()
        self._new_quarters: AbstractSet[int] = frozenset()
        self._touched_hours: dict[CampaignKey, Fact | None] = {}

    def add(self, group: int, dims: Dims, cause: Fact) -> None:
        """Adds one unit to each metric of a group.

        Args:
            group: Index in `GROUPS`.
            dims: Dimensions of the unit.
            cause: The event that adds it and determines its date.
        """
        self._sum(group, dims, cause.time_us, cause.backfill).add(cause)

    def remove(self, group: int, dims: Dims, cause: Fact) -> None:
        """Removes one unit that an earlier step has added."""
        self._sum(group, dims, cause.time_us, LEAVING | cause.backfill).removed -= 1

    def end_step(self) -> dict[CountKey, DayCount]:
        """Adds the step to the counts. Returns the touched ones by metric, scope and date, hours of campaigns last."""
        return whole(self.ending_step())

    def ending_step(self) -> Generator[None, None, dict[CountKey, DayCount]]:
        """The same with pauses, during which nothing may be added."""
        touched, of_campaigns = yield from self._spreading()
        days = yield from _in_order(touched)
        for number, day_key in enumerate(days, 1):
            self._days[day_key].end_step(touched[day_key])
            if number % _PAUSE_DAYS == 0:
                yield
        for campaign_key, latest in of_campaigns.items():
            self._campaign_hours[campaign_key].end_step(latest)
        return (yield from self._published(days, of_campaigns))

    def _published(
        self, days: Iterable[DayKey], of_campaigns: Iterable[CampaignKey]
    ) -> Generator[None, None, dict[CountKey, DayCount]]:
        """The counts of days in their order, then those of hours of campaigns."""
        made: dict[CountKey, DayCount] = {}
        for day_key in days:
            made[day_key] = self._days[day_key].published()
            if len(made) % _PAUSE_DAYS == 0:
                yield
        for campaign_key in sorted(of_campaigns, key=_order_of_campaigns):
            made[campaign_key] = self._campaign_hours[campaign_key].published()
        return made

    def ending_restoring(self) -> Generator[None]:
        """Adds what was restored to the counts without reporting it as a change; with pauses."""
        touched, of_campaigns = yield from self._spreading()
        for number, (day_key, latest) in enumerate(touched.items(), 1):
            self._days[day_key].end_step(latest)
            if number % _PAUSE_DAYS == 0:
                yield
        for campaign_key, latest in of_campaigns.items():
            self._campaign_hours[campaign_key].end_step(latest)

    def _spreading(self) -> Generator[None, None, tuple[dict[DayKey, Fact | None], dict[CampaignKey, Fact | None]]]:
        """Adds the step to its days and hours of campaigns. Returns these, with the latest unit added to each."""
        touched, self._counted = self._counted, {}
        of_campaigns: dict[CampaignKey, Fact | None] = {}
        # For a day with many hours, each metric and scope is looked up once.
        days: dict[int, dict[int, DaySum]] = {}
        spread = 0
        cells = ((number, None, cell) for number, cell in self._cells.items())
        minutes = ((self._zone.cell_of(minute * MINUTE_US), minute, cell) for minute, cell in self._minutes.items())
        for number, minute, cell in chain(cells, minutes):
            ordinal, hour = divmod(number, HOURS)
            hotpath.way.add_up(cell, hour, days.setdefault(ordinal, {}))
            self._orders.note_cell(number, cell)
            if minute is not None:
                self._orders_of_minutes.note_cell(minute, cell)
                totals = {key: (change.count, self._latest(change)) for key, change in cell.items()}
                self._spread_over_campaigns(self._campaigns, minute, number, totals, of_campaigns)
            spread += len(cell)
            if spread >= _PAUSE_SUMS:
                spread = 0
                yield
        for ordinal, sums in days.items():
            day = date.fromordinal(ordinal)
            for key, of_day in sums.items():
                # A busy day may have thousands of them, and each counts in several scopes.
                spread += self._spread(key, of_day, day, touched)
                if spread >= _PAUSE_SPREAD:
                    spread = 0
                    yield
        self._cells.clear()
        self._minutes.clear()
        return touched, of_campaigns

    def _latest(self, change: Sum | DaySum) -> Fact | None:
        """The latest unit added."""
        return max(change.latest(self._words), key=_rank, default=None)

    # Many at once ---------------------------------------------------------------------------------------------------

    @property
    def eras(self) -> int:
        """How many eras of the aliases there are."""
        return len(self._scopes.aliases.first_days)

    def era(self, day: date) -> int:
        """The era of a date."""
        return self._scopes.aliases.era(day)

    def cell_of_quarter(self, quarter: int) -> int | None:
        """As in `BusinessZone`."""
        return self._zone.cell_of_quarter(quarter)

    # Other campaigns ------------------------------------------------------------------------------------------------

    def count_by(self, campaigns: Campaigns) -> list[tuple[int, int]]:
        """Switches to other campaigns, between two steps.

        Pass all units of the returned times to `recount`, then call `end_recounting`.

        Returns:
            Spans of time, each as its first instant and the first one after it, microseconds since 1970.
        """
        before, quarters_before = self._campaigns, self._campaign_quarters
        self._campaigns, self._campaign_quarters = campaigns, campaigns.quarters
        self._campaign_days = _days_of(self._campaign_quarters)
        texts = {campaign.text for campaign in before}
        kept = {campaign.name for campaign in campaigns if campaign.text in texts}
        self._recounted = Campaigns(campaign for campaign in campaigns if campaign.name not in kept)
        self._touched_hours = {key: None for key in self._campaign_hours if key[2].campaign not in kept}
        for key in self._touched_hours:
            del self._campaign_hours[key]
        self._new_quarters = campaigns.quarters.keys() - quarters_before.keys()
        return [
            (
                campaign.start_us // QUARTER_HOUR_US * QUARTER_HOUR_US,
                -(-campaign.end_us // QUARTER_HOUR_US) * QUARTER_HOUR_US,
            )
            for campaign in self._recounted
        ]

    def orders_between(self, times: Iterable[tuple[int, int]]) -> Iterator[str]:
        """Ids of the orders that have, or had, units in the hours of these times; each once."""
        found: set[str] = set()
        quarters = {
            quarter for first, end in times for quarter in range(first // QUARTER_HOUR_US, end // QUARTER_HOUR_US)
        }
        for cell in sorted({self._zone.cell_of(quarter * QUARTER_HOUR_US) for quarter in quarters}):
            for order_id in self._orders.noted(cell << GROUPS_BITS | group for group in range(len(GROUPS))):
                if order_id not in found:
                    found.add(order_id)
                    yield order_id

    def recount(self, group: int, dims: Dims, order_ids: list[str], latest: Iterable[Fact]) -> None:
        """Counts units, which are already in the days, in the campaigns that are new or changed.

        Args:
            group: Index in `GROUPS`.
            dims: Dimensions of the units.
            order_ids: The order of each unit. All units are in one minute, and either all or none are backfill.
            latest: The causes of the units with the latest time.
        """
        cause = max(latest, key=_rank)
        minute, cell = cause.time_us // MINUTE_US, self._zone.cell_of(cause.time_us)
        if cause.time_us // QUARTER_HOUR_US in self._new_quarters:
            self._orders_of_minutes.note(minute << GROUPS_BITS | group, order_ids)
        key = self._scopes_code(dims) | group << GROUP_SHIFT | cause.backfill
        totals = {key: (len(order_ids), cause)}
        self._spread_over_campaigns(self._recounted, minute, cell, totals, self._touched_hours)

    def end_recounting(self) -> dict[CountKey, DayCount]:
        """The recounted hours of campaigns; those that are no longer counted are at zero."""
        touched, self._touched_hours = self._touched_hours, {}
        made: dict[CountKey, DayCount] = {}
        for key in sorted(touched, key=_order_of_campaigns):
            counted = self._campaign_hours.get(key) or _Day(MINUTES)
            counted.end_step(touched[key])
            made[key] = counted.published()
        return made

    @property
    def campaign_quarters(self) -> Collection[int]:
        """The UTC quarter-hours in which units are counted by the minute: these must not go through `add_counted`."""
        return self._campaign_quarters.keys()

    def code_of(self, dims: Dims) -> int:
        """The code of the set of scopes of some dimensions."""
        return self._scopes_code(dims) >> _SCOPES_SHIFT

    def scopes_of_code(self, code: int, era: int) -> tuple[str, ...]:
        """The scopes that a code stands for in an era."""
        return self._scopes_by_code[code][era]

    def add_counted(self, key: DayKey, by_hour: list[int], backfilled: int, latest: Iterable[Fact]) -> None:
        """Adds units to a day; `latest` are those with the latest time. The next step reports the day."""
        total = self._day(key)
        total.count += sum(by_hour)
        total.backfilled += backfilled
        total.by_hour = list(map(add, total.by_hour, by_hour))
        self._counted[key] = max((*latest, *filter(None, (self._counted.get(key),))), key=_rank)

    def note_restored(self, number: int, places: Places) -> None:
        """Notes restored orders that have units in a cell and group, shifted."""
        self._orders.note_places(number, places)

    def places_in(self, metric: Metric, first_cell: int, last_cell: int) -> Places:
        """Places of the orders that have, or had, units of a metric in these cells, each once; as of the last step."""
        return self._orders.places(
            cell << GROUPS_BITS | group
            for cell in range(first_cell, last_cell + 1)
            for group, metrics in enumerate(GROUPS)
            if metric in metrics
        )

    def places_in_minute(self, metric: Metric, minute: int) -> Places:
        """Places of the orders that have, or had, units of a metric in a UTC minute of a campaign, each once."""
        return self._orders_of_minutes.places(
            minute << GROUPS_BITS | group for group, metrics in enumerate(GROUPS) if metric in metrics
        )

    def units_before(self, metric: Metric, scope: str, first_day: date, cell: int) -> int:
        """Units of a metric and scope from a date up to, but not including, a cell, as of the last step."""
        end, total = day_of_cell(cell), 0
        for number in range(max(first_day, self._first_day).toordinal(), end.toordinal()):
            counted = self._days.get((metric, scope, date.fromordinal(number)))
            if counted is not None:
                total += counted.count
        last = self._days.get((metric, scope, end)) if end >= first_day else None
        return total + (sum(last.by_hour[: hour_of_cell(cell)]) if last is not None else 0)

    def campaign(self, name: str) -> Campaign | None:
        """The campaign with a name."""
        return self._campaigns.get(name)

    def units_of_campaign_before(self, metric: Metric, scope: str, campaign: str, minute: int) -> int:
        """Units of a metric and scope in a campaign before one of its minutes, as of the last step."""
        end, total = minute // MINUTES, 0
        for hour in range(end + 1):
            counted = self._campaign_hours.get((metric, scope, CampaignHour(campaign, hour)))
            if counted is not None:
                total += counted.count if hour < end else sum(counted.by_hour[: minute % MINUTES])
        return total

    def scopes_at(self, dims: Dims, cell: int) -> tuple[str, ...]:
        """The scopes in which a unit with these dimensions counts in a cell."""
        eras = self.scopes_by_era(dims)
        return eras[self._scopes.aliases.era(day_of_cell(cell))] if len(eras) > 1 else eras[0]

    def scopes_by_era(self, dims: Dims) -> tuple[tuple[str, ...], ...]:
        """The scopes in which units with these dimensions count, for each era of the aliases."""
        code = self._scopes_codes.get(dims)
        if code is None:
            code = self._scopes_code(dims)
        return self._scopes_by_code[code >> _SCOPES_SHIFT]

    def cell_of(self, time_us: int) -> int:
        """The cell of an instant."""
        return self._zone.cell_of(time_us)

    def scopes_of(self, metric: Metric) -> set[str]:
        """The scopes in which a metric has, or had, counts."""
        return {scope for of, scope, _ in self._days if of == metric}

    def all(self) -> Generator[None, None, dict[CountKey, DayCount]]:
        """Every day and campaign hour that ever had a count, including those back at zero; with pauses."""
        return (yield from self._published((yield from _in_order(self._days)), self._campaign_hours))

    def _spread(self, key: int, change: DaySum, day: date, touched: dict[DayKey, Fact | None]) -> int:
        """Adds the units of a key to its metrics and scopes on a day. Returns how many these are."""
        latest, by_hour = self._latest(change), change.by_hour
        metrics, scopes = GROUPS[key >> GROUP_SHIFT & GROUP], self._scopes_of(key, day)
        for metric in metrics:
            for scope in scopes:
                day_key = (metric, scope, day)
                self._day(day_key).add(by_hour, key)
                before = touched.get(day_key)
                if before is None or (latest is not None and _is_later(latest, before)):
                    touched[day_key] = latest
        return len(metrics) * len(scopes)

    def _day(self, key: DayKey) -> _Day:
        found = self._days.get(key)
        if found is None:
            found = self._days[key] = _Day()
            self._first_day = min(self._first_day, key[2])
        return found

    def _spread_over_campaigns(
        self,
        campaigns: Campaigns,
        minute: int,
        cell: int,
        totals: Mapping[int, tuple[int, Fact | None]],
        touched: dict[CampaignKey, Fact | None],
    ) -> None:
        """Adds the units of a UTC minute to the hours of some campaigns.

        Args:
            campaigns: Which ones.
            minute: Since 1970.
            cell: Of the minute; determines the scopes, which may differ from day to day.
            totals: Key → number of units, and the latest one added.
            touched: Receives these hours, with the latest unit added to each.
        """
        day = day_of_cell(cell)
        for campaign, number in campaigns.at(minute):
            hour = CampaignHour(campaign.name, number // MINUTES)
            for key, (count, latest) in totals.items():
                for scope in self._scopes_of(key, day):
                    if not campaigns.has(campaign, scope):
                        continue
                    for metric in GROUPS[key >> GROUP_SHIFT & GROUP]:
                        place = (metric, scope, hour)
                        total = self._campaign_hours.get(place)
                        if total is None:
                            total = self._campaign_hours[place] = _Day(MINUTES)
                        total.add({number % MINUTES: count}, key)
                        before = touched.get(place)
                        if before is None or (latest is not None and _is_later(latest, before)):
                            touched[place] = latest

    def _scopes_of(self, key: int, day: date) -> tuple[str, ...]:
        """The scopes that the units of a key count in on a day."""
        eras = self._scopes_by_code[key >> _SCOPES_SHIFT]
        return eras[self._scopes.aliases.era(day)] if len(eras) > 1 else eras[0]

    def _sum(self, group: int, dims: Dims, time_us: int, flags: int) -> Sum:
        cell = self._cell(time_us)
        code = self._scopes_codes.get(dims)
        if code is None:
            code = self._scopes_code(dims)
        key = code | group << GROUP_SHIFT | flags
        found = cell.get(key)
        if found is None:
            found = cell[key] = hotpath.way.Sum()
        return found

    def _cell(self, time_us: int) -> _Cell:
        quarter = time_us // QUARTER_HOUR_US
        if quarter in self._campaign_quarters:
            # From 2000 on, the clocks of all zones change at full minutes.
            return self._minutes.setdefault(time_us // MINUTE_US, {})
        return self._cells.setdefault(self._zone.cell_of(time_us), {})

    def _offset_us(self, day: int) -> int | None:
        """What to add to the instants of a UTC day for the local time if each of its cells is a local hour, else `None`."""
        return None if day in self._campaign_days else self._zone.offset_us(day)

    def _scopes_code(self, dims: Dims) -> int:
        """The code of the set of scopes of these dimensions, shifted to its place in a key."""
        scopes = self._scopes.scopes_by_era(dims)
        if scopes not in self._scopes_sets:
            self._scopes_sets[scopes] = len(self._scopes_by_code)
            self._scopes_by_code.append(scopes)
        code = self._scopes_codes[dims] = self._scopes_sets[scopes] << _SCOPES_SHIFT
        return code


def _days_of(quarters: Iterable[int]) -> set[int]:
    """The UTC days of some quarter-hours."""
    return {quarter // _QUARTERS for quarter in quarters}


def _is_later(fact: Fact, other: Fact | None) -> bool:
    """Compares by (time, id); the rest only makes the choice the same in every run."""
    if other is None or fact.time_us != other.time_us:
        return other is None or fact.time_us > other.time_us
    return bool(_rank(fact) > _rank(other))


def _latest_unit(fact: Fact) -> LatestUnit:
    return LatestUnit(fact.time_us, fact.id, fact.source, fact.topic, fact.partition, fact.offset)


def _in_order(touched: Iterable[DayKey]) -> Generator[None, None, list[DayKey]]:
    """Days by metric, scope and date. Scope by scope: sorting a hundred thousand at once takes a fifth of a second."""
    by_metric: dict[Metric, dict[str, list[DayKey]]] = {metric: {} for metric in METRICS}
    for place, day_key in enumerate(touched, 1):
        by_metric[day_key[0]].setdefault(day_key[1], []).append(day_key)
        if place % _PAUSE_DAYS == 0:
            yield
    ordered: list[DayKey] = []
    for by_scope in by_metric.values():
        if len(by_scope) > _PAUSE_DAYS:
            yield
        for scope in sorted(by_scope):
            paused = len(ordered) // _PAUSE_DAYS
            ordered += sorted(by_scope[scope])
            if len(ordered) // _PAUSE_DAYS > paused:
                yield
    return ordered


def _order_of_campaigns(key: CampaignKey) -> tuple[int, str, str, int]:
    metric, scope, (campaign, hour) = key
    return GROUP_OF_METRIC[metric], scope, campaign, hour
