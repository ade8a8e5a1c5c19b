"""`partition/N` on `vehicle.status.v1`: the status of a ledger partition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.codec import encode_status
from schemas.instants import utc_text
from schemas.outputs import Marker, PartitionStatus
from streams.kafka.outbox import Outgoing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.context import Context


def partition_record(context: Context, number: int, marker: Marker, lag: Mapping[str, int], orders: int) -> Outgoing:
    """The record of `partition/N`: applied offsets, lag and books."""
    status = PartitionStatus(
        partition=number,
        applied={topic: offset for topic, (offset, _) in marker.positions.items()},
        lag=dict(lag),
        books=marker.books,
        orders=orders,
        rebuilding=marker.rebuilding,
        caught_up=marker.caught_up,
        updated_at=utc_text(context.now_us()),
        lost=marker.lost,
    )
    return Outgoing(context.catalogue.status.name, 0, b"partition/%d" % number, encode_status(status))
