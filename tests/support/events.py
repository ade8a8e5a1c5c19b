"""Seeded random orders with everything that happens to them, for tests against a real Kafka."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST = datetime(2024, 9, 28, tzinfo=UTC)
_VIN = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"


class Published(NamedTuple):
    """A record for a source topic: the first topic of `orders` or `deliveries`, or a topic by its name."""

    topic: str
    key: bytes | None
    value: bytes
    partition: int | None


def event(kind: str, identity: str, time: datetime, data: dict[str, Any], source: str = "/sales/web") -> bytes:
    """A structured CloudEvent."""
    return json.dumps(
        {
            "specversion": "1.0",
            "id": identity,
            "source": source,
            "type": kind,
            "time": time.isoformat(timespec="milliseconds"),
            "subject": data["order_id"] if "order_id" in data else data["vin"],
            "data": data,
        },
        separators=(",", ":"),
    ).encode()


def lifecycle(seed: int, orders: int, *, days: int = 12, partitions: int = 4) -> Iterator[Published]:
    """Orders placed, delivered, cancelled, reversed, voided; one in fifty twice, some late, some in wrong partitions."""
    dice = random.Random(seed)
    late: list[Published] = []
    for number in range(orders):
        for record in _order(dice, seed, number, days):
            foreign = dice.random() < 0.03
            published = record._replace(partition=dice.randrange(partitions)) if foreign else record
            if dice.random() < 0.1:
                late.append(published)
            else:
                yield published
            if dice.random() < 0.02:
                late.append(published)
            if late and dice.random() < 0.12:
                yield late.pop(dice.randrange(len(late)))
    yield from late


def production(seed: int, vehicles: int, *, days: int = 12) -> Iterator[Published]:
    """Vehicles produced, some of them scrapped, some by mistake; one in ten is published twice."""
    dice = random.Random(seed)
    for number in range(vehicles):
        vin = "".join(dice.choices(_VIN, k=17))
        time = FIRST + timedelta(seconds=dice.randrange(days * 86_400))
        made: list[tuple[str, dict[str, Any]]] = [
            ("vehicle.produced.v1", {"model": dice.choice(("SU7", "YU7")), "factory": "BJ1"})
        ]
        fate = dice.random()
        if fate < 0.1:
            made.append(("production.reversed.v1", {"reason": "crash test"}))
        if fate < 0.05:
            made.append(("production.voided.v1", {"voids": {"source": "/line", "id": f"{seed}-{number}-1"}}))
        for step, (kind, data) in enumerate(made):
            value = event(kind, f"{seed}-{number}-{step}", time + timedelta(hours=step), {"vin": vin, **data}, "/line")
            record = Published("production", vin.encode(), value, None)
            yield record
            if dice.random() < 0.1:
                yield record


def _order(dice: random.Random, seed: int, number: int, days: int) -> Iterator[Published]:
    order_id = f"SO-{seed}-{number:07d}"
    model = dice.choice(("SU7", "SU7", "YU7"))
    vin = "".join(dice.choices(_VIN, k=17))
    time = FIRST + timedelta(seconds=dice.randrange(days * 86_400))

    def make(topic: str, kind: str, step: str, data: dict[str, Any]) -> Published:
        value = event(kind, f"{order_id}-{step}", time, {"order_id": order_id, **data})
        return Published(topic, order_id.encode(), value, None)

    yield make("orders", "order.placed.v1", "p", {"model": model, "region": "CN-11"})
    time += timedelta(hours=dice.randrange(1, 60))
    if dice.random() < 0.08:
        yield make("orders", "order.cancelled.v1", "c", {"reason": "changed my mind"})
        return
    if dice.random() < 0.6:
        yield make("deliveries", "vehicle.delivered.v1", "d", {"vin": vin, "model": model, "factory": "BJ1"})
        time += timedelta(hours=dice.randrange(1, 60))
        fate = dice.random()
        if fate < 0.04:
            yield make("deliveries", "delivery.reversed.v1", "r", {"vin": vin})
        elif fate < 0.06:
            yield make("deliveries", "event.voided.v1", "v", {"voids": {"source": "/sales/web", "id": f"{order_id}-d"}})
