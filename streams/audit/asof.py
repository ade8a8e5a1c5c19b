"""Counts as of a past moment: a recount of everything appended by then."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from streams.audit.dead_letters import accepted, read_letters
from streams.audit.scopes import business_of
from streams.audit.sources import Sources
from streams.audit.sums import Tally, windows_of, without_later
from streams.audit.targets import read_targets
from streams.kafka.clients import reader
from streams.listener import ignore

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from streams.settings import Settings


@dataclass(frozen=True)
class AsOfRow:
    """A window as of that moment; only days have `by_hour`."""

    metric: str
    scope: str
    period: str
    start: date
    end: date
    count: int
    by_hour: list[int] | None

    def document(self) -> dict[str, Any]:
        """The row as on the windows topic, with the fields that can be recounted."""
        document = {**asdict(self), "start": self.start.isoformat(), "end": self.end.isoformat()}
        if self.by_hour is None:
            del document["by_hour"]
        return document


async def rows_as_of(
    settings: Settings,
    appended_us: int,
    *,
    plan: Callable[[int], None] = ignore,
    progress: Callable[[int], None] = ignore,
) -> list[AsOfRow]:
    """Recounts everything appended to the source topics up to a given time.

    Only windows with units are listed. Memory: the events of one ledger partition, about 500 bytes each, plus those published away
    from their home. A record that contradicts another one with the same id is left out if it is a dead letter now, even if it was
    rejected later.

    Args:
        settings: The installation: topic names, time zone, scopes, holidays.
        appended_us: The last append time to include, microseconds since 1970.
        plan: Called with the number of records to read.
        progress: Called with the number of records read since the last call.

    Raises:
        ExpectedError: The cluster is unreachable, or a source topic is missing.
    """
    async with reader(settings) as consumer:
        plans = await read_targets(settings, consumer)
        business = await business_of(plans.counted_by(settings, appended_us))
        tally = Tally(business)
        await Sources(settings, consumer).check()
        letters = await read_letters(settings, consumer)
        sources = letters.sources(settings, consumer, progress)
        stops = await sources.stops_at(appended_us)
        plan(2 * sum(stops.values()))
        strangers = await sources.strangers(stops)
        for number in range(settings.partitions):
            home = await sources.home(number, stops, strangers)
            for records in home.orders.values():
                for unit in business.read_order(accepted(records, letters.by_record).events).units:
                    tally.add(unit)
        balances = plans.balances(business, appended_us, appended_us)
    windows = windows_of(tally.days(), business, balances)
    windows = without_later(windows, business.local(appended_us).date() + timedelta(days=1))
    rows = [
        AsOfRow(metric, scope, period_id, window.period.start, window.period.end, window.count, window.by_hour)
        for (metric, scope, period_id), window in windows.items()
    ]
    return sorted(rows, key=lambda row: (row.metric, row.scope, row.start, row.end, row.period))
