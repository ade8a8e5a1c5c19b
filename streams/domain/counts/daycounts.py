"""Counts per metric, scope and business date, and per minute of campaigns, of one partition, and the changes of one step.

Units are first summed per cell (a local hour), per set of scopes and per group of metrics that always change together;
only at the end of the step are these few sums spread over days, scopes and metrics. During campaigns the cells are minutes.
The orders with units in a cell are kept too, for questions about the N-th unit.
"""

from __future__ import annotations

from datetime import date
from itertools import chain
from typing import TYPE_CHECKING, Final

from schemas.counts import CampaignHour, encode_counted
from schemas.facts import METRICS, Dims, Fact, LatestUnit, Metric
from streams.domain import hotpath
from streams.domain.orders.counted_days import CountedPart, later, latest_of, rank
from streams.domain.orders.packing import dims_at
from streams.domain.orders.steps import ALWAYS
from streams.domain.orders.sums import BACKFILL, GROUP, GROUP_SHIFT, GROUPS_BITS, LEAVING
from streams.domain.time.campaigns import MINUTES, Campaigns
from streams.domain.time.zone import DAY_US, HOURS, MINUTE_US, QUARTER_HOUR_US, BusinessZone, day_of_cell

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from schemas.counts import CampaignKey
    from streams.domain.orders.counted_days import CountedDays
    from streams.domain.orders.packed_columns import Numbers, Places
    from streams.domain.orders.packing import Word
    from streams.domain.orders.steps import OrderLists, OwnUnits, PackedOrders, Times, TouchedCounts
    from streams.domain.orders.sums import DaySum, Sum
    from streams.domain.scopes.scopes import Scopes
    from streams.domain.time.campaigns import Campaign

#: Groups of metrics: each metric alone, in the order of `METRICS`, and the two that a newly placed order adds to.
GROUPS: Final[tuple[tuple[Metric, ...], ...]] = (*((metric,) for metric in METRICS), ("orders_placed", "orders"))
GROUP_OF_METRIC: Final = {metric: number for number, metric in enumerate(METRICS)}
PLACED_GROUP: Final = len(METRICS)

_SCOPES_SHIFT: Final = GROUP_SHIFT + GROUPS_BITS
_FLAGS: Final = BACKFILL | LEAVING

#: Sums to add up, days to add them to, and days to copy, between two pauses: a millisecond or two.
_PAUSE_SUMS: Final = 250
_PAUSE_SPREAD: Final = 250
_PAUSE_DAYS: Final = 250

#: As many as the voiding of a placed or cancelled order and its replacement.
_METRICS_OF_EVENT: Final = 4

#: The first number of an hour of a campaign where dates are numbers too.
_FIRST_HOUR: Final = date.max.toordinal() + 1

#: Quarter-hours of a day.
_QUARTERS: Final = DAY_US // QUARTER_HOUR_US

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
        touched: At most how many counts the current step touches.
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
        self._look_at_campaigns()
        self._scopes_codes: dict[Dims, int] = {}
        # Scopes for each era of the aliases; there is nearly always just one.
        self._scopes_sets: dict[tuple[tuple[str, ...], ...], int] = {}
        self._scopes_by_code: list[tuple[tuple[str, ...], ...]] = []
        #: By metric and scope; and how what the counts of each are about begins, as in their keys.
        self._series: dict[tuple[Metric, str], int] = {}
        self._names: list[bytes] = []
        #: The series that a sum counts in, by the code of its scopes, its group and the era.
        self._series_of_sums: dict[tuple[int, int], tuple[int, ...]] = {}
        self._days: CountedDays = hotpath.way.CountedDays(self._names)
        self._campaign_hours: dict[CampaignKey, CountedPart] = {}
        self._first_day = date.max.toordinal()
        #: By cell and group, shifted: the orders that have had units there.
        self._orders: OrderLists = hotpath.way.OrderLists(orders)
        #: The same by minutes of campaigns, so that a question about a minute does not search a whole busy hour.
        self._orders_of_minutes: OrderLists = hotpath.way.OrderLists(orders)
        self._cells: dict[int, _Cell] = {}
        #: In quarter-hours of campaigns each UTC minute is a cell.
        self._minutes: dict[int, _Cell] = {}
        self.own: OwnUnits = hotpath.way.OwnUnits(self._cells, words, self._offset_us, self._cell, self._scopes_code)
        self.touched: TouchedCounts = hotpath.way.TouchedCounts(self._scope_numbers, self._offset_us, self._places)
        self._numbers_of_scopes: dict[str, int] = {}
        self._numbers_of_hours: dict[tuple[str, int], int] = {}
        #: While the units of some times are being recounted: the campaigns that are new or changed, the quarter-hours that had
        #: no minutes before, and hours of campaigns with their latest unit.
        self._recounted = Campaigns()
        self._new_quarters: AbstractSet[int] = frozenset()
        self._touched_hours: dict[CampaignKey, LatestUnit | None] = {}

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

    @property
    def most_of_event(self) -> int:
        """How many counts an event changes at most; more only if it changes what several others of its order count as."""
        return _METRICS_OF_EVENT * self._scopes.most * (1 + self._most_campaigns)

    def ending_step(self) -> Generator[None, None, dict[bytes, bytes]]:
        """Adds the step to the counts; with pauses, during which nothing may be added.

        Returns:
            The touched counts: what each is about (`schemas.counts.encode_counted`) and its value; hours of campaigns last.
        """
        changed, of_campaigns = yield from self._ending()
        made: dict[bytes, bytes] = {}
        for first in range(0, changed, _PAUSE_DAYS):
            made |= self._days.changed(first, first + _PAUSE_DAYS)
            yield
        self._days.end_step()
        self.touched.clear()
        return made | self._hours(of_campaigns)

    def ending_restoring(self) -> Generator[None]:
        """Adds what was restored to the counts without reporting it as a change; with pauses."""
        yield from self._ending()
        self._days.end_step()
        self.touched.clear()

    def _ending(self) -> Generator[None, None, tuple[int, list[CampaignKey]]]:
        """Adds the step to its days and hours of campaigns. Returns how many days these are, and which hours."""
        of_campaigns = yield from self._spreading()
        changed = self._days.begin_ending()
        for first in range(0, changed, _PAUSE_DAYS):
            self._days.end(first, first + _PAUSE_DAYS)
            yield
        for campaign_key, latest in of_campaigns.items():
            self._campaign_hours[campaign_key].end_step(latest)
        return changed, list(of_campaigns)

    def _hours(self, of_campaigns: Iterable[CampaignKey]) -> dict[bytes, bytes]:
        in_order = sorted(of_campaigns, key=_order_of_campaigns)
        return {encode_counted(key): self._campaign_hours[key].encode() for key in in_order}

    def _spreading(self) -> Generator[None, None, dict[CampaignKey, LatestUnit | None]]:
        """Adds the step to its days and hours of campaigns. Returns the latter, with the latest unit added to each."""
        of_campaigns: dict[CampaignKey, LatestUnit | None] = {}
        # For a day with many hours, each series is looked up once.
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
                totals = {key: (change.count, latest_of(change.latest(self._words))) for key, change in cell.items()}
                self._spread_over_campaigns(self._campaigns, minute, number, totals, of_campaigns)
            spread += len(cell)
            if spread >= _PAUSE_SUMS:
                spread = 0
                yield
        for ordinal, sums in days.items():
            self._first_day = min(self._first_day, ordinal)
            era = self.era(date.fromordinal(ordinal)) if self.eras > 1 else 0
            for key, of_day in sums.items():
                # A busy day may have thousands of them, and each counts in several scopes.
                series = self._series_of_sum(key, era)
                self._days.add(series, ordinal, of_day, key & _FLAGS, self._words)
                spread += len(series)
                if spread >= _PAUSE_SPREAD:
                    spread = 0
                    yield
        self._cells.clear()
        self._minutes.clear()
        return of_campaigns

    def _series_of_sum(self, key: int, era: int) -> tuple[int, ...]:
        """The series that the units of a key count in."""
        of = key >> GROUP_SHIFT, era
        found = self._series_of_sums.get(of)
        if found is None:
            scopes = self._scopes_by_code[key >> _SCOPES_SHIFT][era]
            metrics = GROUPS[key >> GROUP_SHIFT & GROUP]
            found = tuple(self._series_number(metric, scope) for metric in metrics for scope in scopes)
            self._series_of_sums[of] = found
        return found

    def _series_number(self, metric: Metric, scope: str) -> int:
        number = self._series.get((metric, scope))
        if number is None:
            number = self._series[metric, scope] = len(self._series)
            self._names.append(f"{metric}|{scope}|".encode())
        return number

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

    def offset_us(self, day: int) -> int | None:
        """As in `BusinessZone`."""
        return self._zone.offset_us(day)

    # Other campaigns ------------------------------------------------------------------------------------------------

    def count_by(self, campaigns: Campaigns) -> list[tuple[int, int]]:
        """Switches to other campaigns, between two steps.

        Pass all units of the returned times to `recount`, then call `end_recounting`.

        Returns:
            Spans of time, each as its first instant and the first one after it, microseconds since 1970.
        """
        before, quarters_before = self._campaigns, self._campaign_quarters
        self._campaigns = campaigns
        self._look_at_campaigns()
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

    def _look_at_campaigns(self) -> None:
        """Derives what steps ask of the campaigns, of which there may be many."""
        self._campaign_quarters = self._campaigns.quarters
        self._campaign_days = _days_of(self._campaign_quarters)
        #: The most campaigns that a unit is in.
        self._most_campaigns = max(map(len, self._campaign_quarters.values()), default=0)

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
        cause = max(latest, key=rank)
        minute, cell = cause.time_us // MINUTE_US, self._zone.cell_of(cause.time_us)
        if cause.time_us // QUARTER_HOUR_US in self._new_quarters:
            first_us = minute * MINUTE_US
            self._orders_of_minutes.note(minute << GROUPS_BITS | group, order_ids, first_us, first_us + MINUTE_US - 1)
        key = self._scopes_code(dims) | group << GROUP_SHIFT | cause.backfill
        totals = {key: (len(order_ids), latest_of([cause]))}
        self._spread_over_campaigns(self._recounted, minute, cell, totals, self._touched_hours)

    def end_recounting(self) -> dict[bytes, bytes]:
        """The recounted hours of campaigns, as `ending_step` returns counts; those that are no longer counted are at zero."""
        touched, self._touched_hours = self._touched_hours, {}
        made: dict[bytes, bytes] = {}
        for key in sorted(touched, key=_order_of_campaigns):
            counted = self._campaign_hours.get(key) or CountedPart(MINUTES)
            counted.end_step(touched[key])
            made[encode_counted(key)] = counted.encode()
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

    def add_counted(  # noqa: PLR0913, PLR0917 - a day and its units
        self, metric: Metric, scope: str, ordinal: int, by_hour: list[int], backfilled: int, latest: list[Fact]
    ) -> None:
        """Adds units to a day, given by its number; `latest` are those with the latest time. The next step reports the day."""
        self._first_day = min(self._first_day, ordinal)
        self._days.add_counted(self._series_number(metric, scope), ordinal, by_hour, backfilled, latest)

    def note_restored(self, number: int, places: Places, times_us: Numbers) -> None:
        """Notes restored orders that have units in a cell and group, shifted, with the times of these."""
        self._orders.note_places(number, places, times_us)

    def places_in(self, metric: Metric, first_cell: int, last_cell: int, times: Times = ALWAYS) -> Places:
        """Places of orders that have, or had, units of a metric in these cells, each once; as of the last step.

        All that have units at these times are among them.
        """
        numbers = (
            cell << GROUPS_BITS | group
            for cell in range(first_cell, last_cell + 1)
            for group, metrics in enumerate(GROUPS)
            if metric in metrics
        )
        return self._orders.places(numbers, *times)

    def places_in_minute(self, metric: Metric, minute: int, times: Times = ALWAYS) -> Places:
        """The same in a UTC minute of a campaign."""
        numbers = (minute << GROUPS_BITS | group for group, metrics in enumerate(GROUPS) if metric in metrics)
        return self._orders_of_minutes.places(numbers, *times)

    def units_in(self, metric: Metric, scope: str, first_cell: int, end_cell: int) -> int:
        """Units of a metric and scope from a cell up to, but not including, another, as of the last step."""
        series = self._series.get((metric, scope))
        if series is None:
            return 0
        total = 0
        for ordinal in range(max(first_cell // HOURS, self._first_day), -(-end_cell // HOURS)):
            first, end = max(first_cell - ordinal * HOURS, 0), min(end_cell - ordinal * HOURS, HOURS)
            is_whole = end - first == HOURS
            total += (
                self._days.units(series, ordinal) if is_whole else sum(self._days.by_hour(series, ordinal)[first:end])
            )
        return total

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
        return {scope for of, scope in self._series if of == metric}

    def all(self) -> Generator[None, None, dict[bytes, bytes]]:
        """Every day and campaign hour that ever had a count, including those back at zero, as of `ending_step`; with pauses."""
        made: dict[bytes, bytes] = {}
        for first in range(0, len(self._days), _PAUSE_DAYS):
            made |= self._days.all(first, first + _PAUSE_DAYS)
            yield
        return made | self._hours(self._campaign_hours)

    def _spread_over_campaigns(
        self,
        campaigns: Campaigns,
        minute: int,
        cell: int,
        totals: Mapping[int, tuple[int, LatestUnit | None]],
        touched: dict[CampaignKey, LatestUnit | None],
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
                            total = self._campaign_hours[place] = CountedPart(MINUTES)
                        total.add({number % MINUTES: count}, key)
                        touched[place] = later(touched.get(place), latest)

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

    def _scope_numbers(self, dims: int) -> tuple[int, ...]:
        """Numbers of the scopes in which units with the dimensions of a code may count, in whatever era."""
        scopes = dict.fromkeys(chain.from_iterable(self.scopes_by_era(dims_at(self._words, dims))))
        numbers = self._numbers_of_scopes
        return tuple(numbers.setdefault(scope, len(numbers)) for scope in scopes)

    def _places(self, time_us: int) -> tuple[int, ...]:
        """Numbers of the date and of the hours of campaigns in which a unit may count."""
        numbers = self._numbers_of_hours
        hours = [(campaign.name, number // MINUTES) for campaign, number in self._campaigns.at(time_us // MINUTE_US)]
        return (
            self._zone.cell_of(time_us) // HOURS,
            *(_FIRST_HOUR + numbers.setdefault(hour, len(numbers)) for hour in hours),
        )

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


def _order_of_campaigns(key: CampaignKey) -> tuple[int, str, str, int]:
    metric, scope, (campaign, hour) = key
    return GROUP_OF_METRIC[metric], scope, campaign, hour
