"""The records that a ledger partition skips by order of an operator.

`milestones quarantine` writes the orders; see `streams.operations.quarantine` for when they take effect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.codec import decode_quarantine
from schemas.notes import Place, Quarantine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.context import Context
    from streams.kafka.log import LogReader


class PassedOver:
    """The records to skip, by place, with the message for their dead letters."""

    def __init__(self, lines: Mapping[Place, str] | None = None) -> None:
        self._lines = dict(lines or {})

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, lines: Mapping[Place, str]) -> None:
        """More of them."""
        self._lines = {**lines, **self._lines}

    def line(self, topic: str, partition: int, offset: int) -> str | None:
        """The message of a record to skip, else `None`."""
        return self._lines.get(Place(topic, partition, offset))

    def touches(self, topic: str, partition: int, first: int, last: int) -> bool:
        """Whether any of them lies between two offsets, inclusive."""
        return any(
            place.topic == topic and place.partition == partition and first <= place.offset <= last
            for place in self._lines
        )


async def read_orders(context: Context, reader: LogReader) -> dict[Place, Quarantine]:
    """The orders that were given and not lifted."""
    orders: dict[Place, Quarantine] = {}
    async for records in reader.read([(context.catalogue.quarantine.name, 0)]):
        for record in records:
            place = Place.of_key(record.key)
            if record.value is None:
                orders.pop(place, None)
            else:
                orders[place] = decode_quarantine(record.value)
    return orders


async def passed_over(context: Context, reader: LogReader) -> PassedOver:
    """The records that a ledger partition has to skip, read when it is opened."""
    orders = await read_orders(context, reader)
    return PassedOver({place: order.line for place, order in orders.items()})
