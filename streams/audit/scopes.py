"""Which scopes the limits keep out, so that their units count elsewhere: only the published rows tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.rows import RowKey
from streams.audit.sums import Business
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import read_to_end
from streams.kafka.records import record_key

if TYPE_CHECKING:
    from streams.settings import Settings


async def business_of(settings: Settings) -> Business:
    """What counts depend on, including the scopes that have rows if these matter.

    Raises:
        ExpectedError: The cluster is unreachable, or has no such topic.
    """
    if settings.limits.beyond != "other":
        return Business(settings)
    scopes: set[str] = set()
    async for records in read_to_end(settings, catalogue_of(settings).windows.whole):
        scopes.update(RowKey.parse(record_key(record).decode()).scope for record in records)
    return Business(settings, frozenset(scopes))
