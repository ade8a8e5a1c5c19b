"""A small business with hostile names: enough data for each page, and script wherever text may be."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka import AIOKafkaProducer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.installation import Installation

#: Runs if it gets into a page as anything but text, in one of several ways.
PAYLOAD = "'\"><img src=x onerror=window.hacked=1><script>window.hacked=1</script>{{7*7}}</textarea>`${window.hacked=1}"
TODAY = "2024-10-07"
#: Deliveries of today when the pages are opened; the rule needs more than `GOAL`.
DELIVERED_TODAY = 18
GOAL = 20
TARGET_ID = f"sept-{PAYLOAD}"
#: An order that contradicts itself.
ODD_ORDER = f"SO-odd-0-{PAYLOAD}"

#: A publisher that falls silent.
SHOP = f"/sales/shop{PAYLOAD}"
CAMPAIGN = "golden-week"

_FIRST = datetime(2024, 9, 9, tzinfo=UTC)
_DAYS = 29
_VIN = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"
_VARIANTS = ("Standard", "Pro", "Max")

CONFIGURATION = f"""
scopes = [["model"], ["model", "variant"], ["factory"], []]

[[rule]]
name = "busy-day"
metric = "deliveries"
window = "day"
scope = ["model"]
exceeds = {GOAL}
first = true

[[rule]]
name = "record-day"
metric = "deliveries"
window = "day"
scope = ["model"]
record = true

[[rule]]
name = "holiday"
metric = "orders_placed"
window = "holiday:national-day"
scope = ["model"]
exceeds = 40

[[rule]]
name = "golden-tens"
metric = "deliveries"
window = "campaign"
scope = ["model"]
every = 10

[[rule]]
name = "shops-silent"
metric = "orders_placed"
window = "day"
scope = ["source"]
stalled_hours = 2

[[campaign]]
name = "{CAMPAIGN}"
start = "{TODAY}T08:00:00+08:00"
hours = 12

[[target]]
target_id = "year"
metric = "deliveries"
scope = "model=SU7"
period = "year:2024"
value = 5000

[[target]]
target_id = "october"
metric = "deliveries"
scope = "model=SU7"
period = "month:2024-10"
value = 400
"""


class Sent(NamedTuple):
    """A record for a source topic: `orders`, `deliveries`, `targets` or `controls`."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


def event(kind: str, identity: str, time: datetime, data: dict[str, Any], source: str) -> bytes:
    """A structured CloudEvent; the subject is hostile."""
    attributes = {"specversion": "1.0", "id": identity, "source": source, "type": kind, "subject": PAYLOAD}
    return json.dumps(attributes | {"time": time.isoformat(), "data": data}).encode()


def delivery(number: int, time: datetime) -> Sent:
    """A delivery of an order that was placed."""
    order_id = _order_id(number)
    data = {
        "order_id": order_id,
        "vin": _vin(number),
        "model": "SU7",
        "variant": _VARIANTS[number % 3],
        "factory": "BJ1",
    }
    source = f"/factories/bj1{PAYLOAD}" if number % 5 == 0 else "/factories/bj1"
    return Sent("deliveries", order_id.encode(), event("vehicle.delivered.v1", f"d-{number}", time, data, source))


def today(hour: int, minute: int = 0) -> datetime:
    """A time of the business date."""
    return datetime.fromisoformat(f"{TODAY}T{hour:02d}:{minute:02d}:00+08:00")


def history() -> Iterator[Sent]:
    """Four weeks up to noon of today, contradictions, targets that change, and the totals of two other systems."""
    yield from _deliveries(is_later=False)
    yield from _orders_of_the_shop()
    yield from _contradictions()
    yield from _plans()


def afternoon() -> Iterator[Sent]:
    """The rest of today, without any order of a shop that sent some in the morning."""
    yield from _deliveries(is_later=True)


def _deliveries(*, is_later: bool) -> Iterator[Sent]:
    dice = random.Random(7)
    number = 0
    for day in range(_DAYS):
        is_today = day == _DAYS - 1
        for _ in range(DELIVERED_TODAY if is_today else dice.randrange(8, 18)):
            time = _FIRST + timedelta(days=day, minutes=dice.randrange(0, 540))
            if (time >= today(12)) is is_later:
                yield _placed(_order_id(number), number, time - timedelta(days=3), f"/sales/web{PAYLOAD}")
                yield delivery(number, time)
            number += 1


def _orders_of_the_shop() -> Iterator[Sent]:
    """Three orders in the morning of each day of the holiday, today only one."""
    for day in range(7):
        for hour in (9, 10, 11) if day else (9,):
            number = 3000 + 10 * day + hour
            yield _placed(f"SO-{number}", number, today(hour, 30) - timedelta(days=day), SHOP)


def _placed(order_id: str, number: int, time: datetime, source: str) -> Sent:
    data = {"order_id": order_id, "model": "SU7", "variant": _VARIANTS[number % 3], "channel": "app"}
    return Sent("orders", order_id.encode(), event("order.placed.v1", f"p-{number}", time, data, source))


def _contradictions() -> Iterator[Sent]:
    for number in range(3):
        order_id = f"SO-odd-{number}-{PAYLOAD}"
        data = {"order_id": order_id, "reason": PAYLOAD}
        value = event("order.cancelled.v1", f"c-{PAYLOAD}", today(9), data, f"/sales/app{PAYLOAD}")
        yield Sent("orders", order_id.encode(), value)


def _plans() -> Iterator[Sent]:
    for value, month_day in ((300, "09-10"), (250, "09-20")):
        data = {
            "target_id": TARGET_ID,
            "metric": "deliveries",
            "scope": "model=SU7",
            "period": "month:2024-09",
            "value": value,
            "label": PAYLOAD,
        }
        time = datetime.fromisoformat(f"2024-{month_day}T08:00:00+08:00")
        yield Sent("targets", TARGET_ID.encode(), event("target.set.v1", f"t-{value}", time, data, PAYLOAD))
    for source, count in ((f"/erp{PAYLOAD}", 1), ("/mes", DELIVERED_TODAY)):
        total = {"metric": "deliveries", "scope": "model=SU7", "period": f"day:{TODAY}", "count": count}
        key = f"deliveries/model=SU7/day:{TODAY}".encode()
        yield Sent("controls", key, event("control.total.v1", f"k-{count}", today(12), total, source))


def rejected() -> Iterator[Sent]:
    """Records that become dead letters, one for each of several reasons."""
    hostile = PAYLOAD.encode()
    yield Sent("deliveries", hostile, hostile)
    yield Sent("deliveries", hostile, None)
    yield Sent("deliveries", hostile, b'{"a":1,"a":2}')
    yield Sent("orders", b"\x00\xff\x1b[31m", event("order.placed.v1", "x", today(9), {"order_id": PAYLOAD}, PAYLOAD))
    yield Sent("orders", b"x", event(f"order.{PAYLOAD}.v1", "x", today(9), {"order_id": "x"}, PAYLOAD))
    yield Sent("orders", b"x", hostile, (("content-type", hostile), ("ce_type", hostile)))


async def send(installation: Installation, records: Iterator[Sent] | list[Sent]) -> None:
    """Publishes in order."""
    catalogue = installation.catalogue
    topics = {name: getattr(catalogue, name).name for name in ("orders", "deliveries", "targets", "controls")}
    async with AIOKafkaProducer(bootstrap_servers=installation.settings.bootstrap_servers, linger_ms=5) as producer:
        for record in records:
            await producer.send(topics[record.topic], record.value, record.key, headers=list(record.headers))
        await producer.flush()


def _order_id(number: int) -> str:
    return f"SO-{number:05d}-{PAYLOAD}" if number % 7 == 0 else f"SO-{number:05d}"


def _vin(number: int) -> str:
    dice = random.Random(number)
    return "".join(dice.choices(_VIN, k=17))
