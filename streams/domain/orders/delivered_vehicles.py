"""The vehicles whose home is one partition: their deliveries that stand, as the homes of their orders have reported them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.told import Delivered, VehicleDelivery, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.facts import Fact

#: A vehicle, and the order that it is or was delivered under.
DeliveryKey = tuple[str, str]


class DeliveredVehicles:
    """VIN → its deliveries that stand, packed: nearly always one.

    Attributes:
        touched: VINs changed since the last drain → the time of their first delivery, -1 if they have none.
        state_bytes: Size of all packed deliveries, with the VINs.
    """

    def __init__(self) -> None:
        self._packed: dict[str, bytes] = {}
        self.touched: dict[str, int] = {}
        self.state_bytes = 0

    def __contains__(self, vin: object) -> bool:
        return vin in self._packed

    def __len__(self) -> int:
        return len(self._packed)

    def vins(self) -> list[str]:
        """All vehicles that have a delivery."""
        return list(self._packed)

    def blob(self, vin: str) -> bytes:
        """The deliveries of a vehicle, packed; empty if it has none."""
        return self._packed.get(vin, b"")

    def deliveries(self, vin: str) -> list[Delivered]:
        """The deliveries of a vehicle, in order."""
        packed = self._packed.get(vin)
        return [] if packed is None else unpack(packed)

    def take(self, deliveries: Iterable[VehicleDelivery]) -> None:
        """Takes what was reported, in order; the last report of a vehicle and order counts."""
        packed = self._packed
        for each in deliveries:
            vin = each.vin
            before = packed.get(vin)
            if before is None:
                if each.time_us is None:
                    continue
                after, first_us = pack(((each.time_us, each.id, each.source, each.order_id),)), each.time_us
            else:
                entries = [entry for entry in unpack(before) if entry.order_id != each.order_id]
                if each.time_us is not None:
                    entries.append(Delivered(each.time_us, each.id, each.source, each.order_id))
                entries.sort()
                after, first_us = (pack(entries), entries[0].time_us) if entries else (b"", -1)
                if after == before:
                    continue
            self._put(vin, after)
            self.touched[vin] = first_us

    def drain(self) -> dict[str, bytes]:
        """VIN → deliveries, packed as in `blob`, of the vehicles that have changed since the last drain."""
        touched = {vin: self.blob(vin) for vin in self.touched}
        self.touched.clear()
        return touched

    def restore(self, entries: Iterable[tuple[str, bytes]]) -> None:
        """Restores what drains have returned; the last entry of a vehicle counts."""
        for vin, packed in entries:
            self._put(vin, packed)

    def follow(self, entries: Iterable[tuple[str, bytes]]) -> None:
        """Takes what later drains have returned, as a change."""
        for vin, packed in entries:
            if packed != self.blob(vin):
                self._put(vin, packed)
                self.touched[vin] = unpack(packed)[0].time_us if packed else -1

    def _put(self, vin: str, packed: bytes) -> None:
        before = self._packed.pop(vin, None)
        if before is not None:
            self.state_bytes -= len(vin) + len(before)
        if packed:
            self._packed[vin] = packed
            self.state_bytes += len(vin) + len(packed)


def said_of(key: DeliveryKey, delivery: Fact | None) -> VehicleDelivery:
    """What is reported of a vehicle and an order: the delivery that stands, or that none does."""
    vin, order_id = key
    if delivery is None:
        return VehicleDelivery(vin, order_id)
    return VehicleDelivery(vin, order_id, delivery.time_us, delivery.source, delivery.id)
