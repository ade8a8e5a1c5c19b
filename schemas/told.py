"""What ledger partitions tell each other: which deliveries stand, to the homes of the vehicles.

All events of an order are at the home of the order, those of a vehicle's production at the home of its VIN. To judge deliveries by
production, each partition tells the home of a vehicle which of the orders here have a standing delivery of it, and when that
changes. What it tells is absolute, so the last record about a vehicle and an order counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence


class VehicleDelivery(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A delivery that stands, or that no longer does.

    Attributes:
        vin: The vehicle.
        order_id: The order under which it was delivered.
        time_us: Event time, microseconds since 1970; `None` if no delivery of the vehicle stands under this order.
        source: CloudEvents source of the delivery.
        id: CloudEvents id of the delivery.
    """

    vin: str
    order_id: str
    time_us: int | None = None
    source: str = ""
    id: str = ""


class Told(msgspec.Struct, frozen=True, array_like=True):
    """The value of a record; its key is the partition that wrote it.

    Attributes:
        number: Number of records that this partition had written to the same home before.
        is_all: Whether with this record it has told about everything that stood when it was opened.
        deliveries: In order, with each pair of vehicle and order once.
    """

    number: int
    is_all: bool
    deliveries: list[VehicleDelivery]


class Delivered(NamedTuple):
    """A standing delivery of a vehicle, as kept at its home; sorted by these fields, whatever the order of arrival.

    Attributes:
        time_us: Event time, microseconds since 1970.
        id: CloudEvents id.
        source: CloudEvents source.
        order_id: The order.
    """

    time_us: int
    id: str
    source: str
    order_id: str


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[Delivered]).decode
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Told).decode


def encode_told(told: Told) -> bytes:
    """The value of a record."""
    return _encode(told)


def decode_told(value: bytes) -> Told:
    """Decodes the value of a record."""
    return _decode(value)


def pack(deliveries: Sequence[tuple[int, str, str, str]]) -> bytes:
    """Packs the deliveries of a vehicle, each a `Delivered`, for memory and the changelog."""
    return _pack(deliveries)


def unpack(packed: bytes) -> list[Delivered]:
    """Inverts `pack`."""
    return _unpack(packed)


def teller_key(partition: int) -> bytes:
    """The key of the records that a ledger partition writes."""
    return b"%d" % partition


def teller_of(key: bytes) -> int:
    """The ledger partition that wrote a record with this key."""
    return int(key)
