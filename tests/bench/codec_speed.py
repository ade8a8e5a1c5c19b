"""Microseconds of one core per event for every way an input event can take: `python tests/bench/codec_speed.py`.

The best of many runs by CPU time, since other work on the machine only ever adds. `orjson.loads` alone, which checks
nothing, is the yardstick: machines differ, the ratio hardly does. `MILESTONES_HOT_PATH=python` measures the way in Python.
"""

from __future__ import annotations

import gc
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from aiokafka.structs import ConsumerRecord

sys.path.insert(0, str(Path(__file__).parents[2]))

from schemas.codec import decode_batch
from schemas.facts import Fact
from schemas.partitioner import homes
from streams.domain.hotpath import HOT_PATH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

EVENTS = 4000
RUNS = 25
STRUCTURED = (("content-type", b"application/cloudevents+json"),)
APPENDED_MS = 1_800_000_000_000
FUTURE_LIMIT_US = 300_000_000


def measure(run: Callable[[], object]) -> float:
    """Microseconds of CPU per event, the best of some runs."""
    best = float("inf")
    for _ in range(RUNS):
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return best / EVENTS * 1e6


def event(number: int, kind: str, **more: Any) -> dict[str, Any]:
    """One event; ids, times and VINs differ, factories and models repeat."""
    order_id = f"SO-20241007-{number:06d}"
    data: dict[str, Any] = {"order_id": order_id}
    if kind == "vehicle.delivered.v1":
        data["vin"] = f"LNBSU7A10R1{number:06d}"
    if kind != "order.cancelled.v1":
        data |= {"model": "SU7", "variant": ("Max", "Pro")[number % 2], "factory": "BJ1", "region": f"CN-{number % 31}"}
    attributes = {
        "specversion": "1.0",
        "id": str(uuid.UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128)),
        "source": "/factories/bj1/dispatch",
        "type": kind,
        "time": f"2024-10-{number % 28 + 1:02d}T{number % 24:02d}:{number % 60:02d}:{number // 60 % 60:02d}+08:00",
    }
    return {**attributes, **more, "data": data}


def record(number: int, document: dict[str, Any], *, binary: bool = False) -> ConsumerRecord[bytes, bytes]:
    """The document as a consumer gets it."""
    key = document["data"]["order_id"].encode()
    headers: tuple[tuple[str, bytes], ...] = STRUCTURED
    value: Any = document
    if binary:
        headers = (("content-type", b"application/json"),)
        headers += tuple((f"ce_{name}", str(text).encode()) for name, text in document.items() if name != "data")
        value = document["data"]
    body = orjson.dumps(value)
    return ConsumerRecord("orders", 0, number, APPENDED_MS, 1, key, body, None, len(key), len(body), headers)


def records(kind: str, *, binary: bool = False, **more: Any) -> list[ConsumerRecord[bytes, bytes]]:
    """A batch of one kind."""
    return [record(number, event(number, kind, **more), binary=binary) for number in range(EVENTS)]


def with_one_bad_in_fifty(batch: list[ConsumerRecord[bytes, bytes]]) -> list[Any]:
    """The batch with some records that are no events."""
    bad = ConsumerRecord("orders", 0, 0, APPENDED_MS, 1, b"k", b'{"broken', None, 1, 8, STRUCTURED)
    return [bad if number % 50 == 7 else each for number, each in enumerate(batch)]


def decoding(batch: Iterable[Any], topic: int) -> Callable[[], object]:
    """Decodes the batch in the sizes that a fetch has."""
    pieces = [list(batch)[start : start + 1000] for start in range(0, EVENTS, 1000)]
    return lambda: [decode_batch(piece, topic=topic, future_limit_us=FUTURE_LIMIT_US) for piece in pieces]


def kept(batch: list[Any]) -> Callable[[], object]:
    """Decodes with 200,000 facts alive, which the garbage collector might traverse again and again."""
    alive = [decode_batch(batch, topic=1, future_limit_us=FUTURE_LIMIT_US) for _ in range(200_000 // EVENTS)]
    run = decoding(batch, 1)
    return lambda: (run(), alive)


def main() -> None:
    """Measures and prints."""
    delivered = records("vehicle.delivered.v1")
    values = [each.value for each in delivered]
    assert all(type(fact) is Fact for fact in decode_batch(delivered, topic=1, future_limit_us=FUTURE_LIMIT_US))
    keys = [each.key or b"" for each in delivered]
    print(f"{EVENTS} events of {sum(map(len, values)) // EVENTS} bytes, microseconds per event; hot path: {HOT_PATH}")
    yardstick = measure(lambda: [orjson.loads(value) for value in values])
    ways: dict[str, Callable[[], object]] = {
        "delivered": decoding(delivered, 1),
        "placed": decoding(records("order.placed.v1"), 0),
        "cancelled": decoding(records("order.cancelled.v1"), 0),
        "delivered, binary mode": decoding(records("vehicle.delivered.v1", binary=True), 1),
        "delivered, 2 % broken": decoding(with_one_bad_in_fifty(delivered), 1),
        "delivered, by the authority (unknown attribute)": decoding(records("vehicle.delivered.v1", colour="red"), 1),
        "homes of the keys": lambda: homes(keys, 4),
        "delivered, 200,000 facts alive": kept(delivered),
    }
    print(f"{'orjson.loads':50s}{yardstick:8.3f}")
    for name, run in ways.items():
        cost = measure(run)
        print(f"{name:50s}{cost:8.3f}  {cost / yardstick:5.2f} x orjson")
    gc.freeze()
    cost = measure(ways["delivered, 200,000 facts alive"])
    print(f"{'the same after gc.freeze':50s}{cost:8.3f}  {cost / yardstick:5.2f} x orjson")


if __name__ == "__main__":
    main()
