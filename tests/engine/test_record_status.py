"""The status of a source record whose home is not the ledger partition that reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from schemas.codec import encode_marker
from schemas.facts import ORDERS
from schemas.notes import Place
from schemas.outputs import Marker
from streams.context import Context
from streams.kafka.forwarding import forward
from streams.kafka.log import Bounds
from streams.ledger.changelog import STATE_KEY
from streams.operations.record_status import Fate, Stage, fate_of
from streams.settings import Settings
from tests.support.outputs import Record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

CONTEXT = Context(Settings(partitions=2))
SOURCE = CONTEXT.catalogue.orders.name
REROUTED = CONTEXT.source_topics.rerouted
PLACE = Place(SOURCE, 0, 5)


def marker(positions: Mapping[str, int]) -> Record:
    """The last record of a ledger partition that has read its sources up to these positions."""
    said = Marker(
        positions={name: (offset, "") for name, offset in positions.items()}, books={}, fingerprint="", rebuilding=False,
        caught_up=False, caught_up_us=0, clock_us=0, sources={}, backfilled=0, partitions=2,
    )  # fmt: skip
    return Record(STATE_KEY, encode_marker(said))


class Reader:
    """A consumer that returns the records of some partitions."""

    def __init__(self, records: Mapping[tuple[str, int], Sequence[Record]]) -> None:
        self._records = records

    async def read(self, partitions: Iterable[tuple[str, int]], **_options: Any) -> AsyncIterator[Sequence[Record]]:
        for partition in partitions:
            yield self._records.get(partition, ())

    async def bounds(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Bounds]:
        return {each: Bounds(0, len(self._records.get(each, ()))) for each in partitions}


@pytest.mark.parametrize(
    ("read_up_to", "is_forwarded", "home_up_to", "stage"),
    [
        (6, True, 4, Stage.APPLIED),
        (6, True, 3, Stage.WAITING),
        (0, False, 3, Stage.WAITING),
        (0, True, 3, Stage.WAITING),
        (0, True, 4, Stage.APPLIED),
        (None, True, 4, Stage.APPLIED),
        (None, False, None, Stage.WAITING),
    ],
)
async def test_what_was_forwarded_before_is_applied_once_its_home_has_taken_it_also_where_who_forwards_is_behind(
    read_up_to: int | None,
    is_forwarded: bool,
    home_up_to: int | None,
    stage: Stage,
) -> None:
    ledger = CONTEXT.catalogue.ledger.name
    copy = forward(Record(b"SO-1", b"{}", PLACE.offset, PLACE.partition), ORDERS, REROUTED, 1)
    reader: Any = Reader(
        {
            (ledger, 0): [] if read_up_to is None else [marker({SOURCE: read_up_to})],
            (ledger, 1): [] if home_up_to is None else [marker({REROUTED: home_up_to})],
            (REROUTED, 1): [Record(copy.key, copy.value, 3, 1, headers=copy.headers)] if is_forwarded else [],
        }
    )
    assert await fate_of(CONTEXT, PLACE, 1, reader) == Fate(stage)
