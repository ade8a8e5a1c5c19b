"""Which days have rows, if a setting keeps rows of days of some scopes only for a limited time.

Rows of earlier days are meant to be absent. One that is still there is compared like any other.
"""

from __future__ import annotations

from collections import UserDict
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

from schemas.codec import decode_kept
from schemas.memory import KEPT, SIDE, key_of
from schemas.rows import date_of_day
from schemas.texts import template_of
from streams.audit.report import Check
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import partition_counts, read_latest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiokafka import AIOKafkaConsumer

    from schemas.rows import RowKey
    from streams.settings import Settings


class KeptSince(UserDict[tuple[str, ...], date]):
    """Set of dimensions → the first day whose rows are kept, for sets that do not keep all."""

    def of(self, scope: str) -> date:
        """The first day for which a scope has rows."""
        return self.get(template_of(scope), date.min)

    def lacks(self, key: RowKey) -> bool:
        """Whether a row is meant to be absent."""
        day = date_of_day(key.period)
        return day is not None and day < self.of(key.scope)


#: For installations that keep all days.
ALL_KEPT: Final = KeptSince()


async def read_kept(settings: Settings, consumer: AIOKafkaConsumer) -> KeptSince:
    """Reads what the totals remember of it; to be called after reading the rows.

    Raises:
        ExpectedError: The cluster is unreachable.
    """
    totals = catalogue_of(settings).totals
    beginning = key_of(SIDE, KEPT)
    kept = KeptSince()
    if not (await partition_counts(consumer, [totals.name]))[totals.name]:
        return kept
    for part in totals.whole:
        latest = await read_latest(settings, [part], consumer=consumer, wanted=lambda key: key.startswith(beginning))
        for key, value in latest.items():
            dimensions = tuple(filter(None, key.removeprefix(beginning).decode().split(",")))
            # Each totals partition goes by the events it has seen; rows that the slowest has not removed yet are not a fault.
            kept[dimensions] = max(kept.get(dimensions, date.min), decode_kept(value).since)
    return kept


def check_kept(settings: Settings, kept: KeptSince, days: Iterable[date]) -> Check:
    """Checks that no more rows have been removed than the setting says, by the latest business date with counts."""
    check = Check("kept days", 0, "days have rows as long as keep_days says")
    latest = max(days, default=date.min)
    for dimensions, number in sorted(settings.kept_days.items()):
        since = kept.get(dimensions, date.min)
        check.compared += 1
        if date.min < since > latest - timedelta(days=number):
            check.differ(
                f"{','.join(dimensions) or 'all'}: days have rows from {since} on; the latest with counts is {latest}, and "
                f"{number} days before it are to be kept",
                kept_since=since.isoformat(),
                latest=latest.isoformat(),
                keep_days=number,
            )
    return check
