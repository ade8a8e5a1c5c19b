"""The records that a ledger partition passes over because an operator said so.

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
    """The records that a ledger partition is to pass over, by their places, with the lines for their dead letters."""

    def __init__(self, lines: Mapping[Place, str] | None = None) -> None:
        self._lines = dict(lines or {})

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, lines: Mapping[Place, str]) -> None:
        """More of them."""
        self._lines = {**lines, **self._lines}

    def line(self, topic: str, partition: int, offset: int) -> str | None:
        """The line of a record that is to be passed over, else `None`."""
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
    """What a ledger partition that is being opened has to pass over."""
    orders = await read_orders(context, reader)
    return PassedOver({place: order.line for place, order in orders.items()})
