"""What ledger partitions tell each other: which deliveries stand, to the homes of the vehicles.

All events of an order are at the home of the order, those of a vehicle's production at the home of its VIN. To judge one by the
other, each partition tells the home of a vehicle which of its orders have a delivery of it that stands, and when that changes. What
is told is absolute, so the last word about a vehicle and an order counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence


class VehicleDelivery(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A delivery that stands, or no longer does.

    Attributes:
        vin: The vehicle.
        order_id: The order that it was delivered under.
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
    """Value of a record; its key is the partition that tells.

    Attributes:
        number: How many records this partition had written to the same home before.
        is_all: With this record it has told of everything that stood when it was opened.
        deliveries: In order, each vehicle and order once.
    """

    number: int
    is_all: bool
    deliveries: list[VehicleDelivery]


class Delivered(NamedTuple):
    """A delivery of a vehicle that stands, as its home keeps it; sorted by these, whatever the way it came to be known.

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
    """Value of a record."""
    return _encode(told)


def decode_told(value: bytes) -> Told:
    """What a record tells."""
    return _decode(value)


def pack(deliveries: Sequence[tuple[int, str, str, str]]) -> bytes:
    """The deliveries of a vehicle, each as a `Delivered`: the form in memory and in the changelog."""
    return _pack(deliveries)


def unpack(packed: bytes) -> list[Delivered]:
    """What `pack` was given."""
    return _unpack(packed)


def teller_key(partition: int) -> bytes:
    """Key of the records that a ledger partition writes."""
    return b"%d" % partition


def teller_of(key: bytes) -> int:
    """The ledger partition that has written a record with this key."""
    return int(key)
