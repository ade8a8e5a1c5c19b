"""Whether a replica that was read on is what one is that has read everything at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.ledger.replica import Replica


def differences(copy: Replica, fresh: Replica) -> list[str]:
    """The names of what differs; the order in which orders first came, and which unit of a day was the latest, may."""
    of_copy, of_fresh = dict(_parts(copy)), dict(_parts(fresh))
    differing = [name for name, part in of_fresh.items() if of_copy[name] != part]
    # A tombstone that was removed before it was read leaves the chunk on the list of those to be removed.
    if not of_fresh["chunks"].items() <= of_copy["chunks"].items():
        return differing
    return [name for name in differing if name != "chunks"]


def _parts(replica: Replica) -> Iterator[tuple[str, Any]]:
    memory, ledger = replica.memory, replica.memory.ledger
    yield "orders", {order_id: ledger.blob(order_id) for order_id in ledger.order_ids()}
    yield "words", ledger._vocabulary.words
    yield "words to report", ledger._vocabulary.drain()
    yield "counts", {key: (of.count, of.backfilled, of.by_hour) for key, of in ledger.counts().items() if of.count}
    yield "violations", ledger.violations()
    yield "deliveries to report", ledger._deliveries
    for name in ("clock_us", "last_by_source", "backfilled", "state_bytes"):
        yield name, getattr(ledger, name)
    yield "vehicles", {vin: ledger.vehicles.blob(vin) for vin in ledger.vehicles.vins()}
    yield "size of vehicles", ledger.vehicles.state_bytes
    yield "vehicles to judge", ledger.vehicles.touched
    yield "campaigns", (memory.announcement, memory.campaigns.text)
    yield "chunks", {number: (chunk.size, chunk.order_ids) for number, chunk in memory.changelog._chunks.items()}
    yield "next chunk", memory.changelog._next_id
    if memory.source_hours is not None:
        hours = memory.source_hours
        yield "hours", {of: dict(hours.hours_of(of)) for of in hours.names()}
    yield "marker", replica.marker
    yield "next", replica.next
