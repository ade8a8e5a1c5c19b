"""A ledger with any number of orders, in memory or in a file: `python tests/bench/orders_file.py ORDERS [FOLDER]`.

With a FOLDER, orders are in a mapped file there. Each was placed and delivered, in turn over three years, and is restored from a chunk of
the changelog. Then events come of orders that are new, and of any that are known. To see what a machine with less memory does, limit
that of this process, for example by a control group.
"""

from __future__ import annotations

import random
import resource
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from schemas.changelog import FULL_BYTES, encode_chunks
from schemas.facts import DELIVERIES, NO_DIMS, ORDERS, Dims, Fact, Kind
from streams.domain.hotpath import HOT_PATH
from streams.domain.ledger import Ledger
from streams.domain.scopes.scopes import Scopes
from streams.domain.time.zone import BusinessZone
from streams.ledger.orders_file import OrdersFile
from tests.bench.ledger_speed import FIRST_US, HOUR_US, say

if TYPE_CHECKING:
    from collections.abc import Iterator

#: All of a chunk have entries of one size.
_CHUNK_ORDERS = 1_000
_DAYS = 3 * 365
_MODEL: Dims = ("SU7", "SU7 Max", "CN-11", "bj1")
_MIB = 1 << 20


def main() -> None:
    """Restores the orders, then applies events."""
    orders = int(sys.argv[1]) // _CHUNK_ORDERS * _CHUNK_ORDERS
    room = OrdersFile(Path(sys.argv[2])).room if len(sys.argv) > 2 else None
    say(f"hot path: {HOT_PATH}; orders in {'a file' if room else 'memory'}")
    ledger = Ledger(BusinessZone("Asia/Shanghai"), Scopes(), room=room)
    template = Ledger(BusinessZone("Asia/Shanghai"), Scopes())
    made = list(_facts(template, range(_CHUNK_ORDERS)))
    started, cpu = time.monotonic(), time.process_time()
    vocabulary = list(enumerate(template._vocabulary.words))
    ledger.restore(vocabulary, _chunks(template, made, orders))
    say(f"{time.monotonic() - started:8.1f} s, {time.process_time() - cpu:.1f} of CPU: {len(ledger):,} orders restored")
    _say_memory(orders)
    dice = random.Random(1)
    _run("orders that are new", ledger, (range(at, at + 1_000) for at in range(orders, orders + 50_000, 1_000)))
    _run("any orders", ledger, ([dice.randrange(orders) for _ in range(1_000)] for _ in range(50)))
    _run(
        "the latest orders",
        ledger,
        ([dice.randrange(orders * 49 // 50, orders) for _ in range(1_000)] for _ in range(50)),
    )
    _say_memory(orders)


def _facts(ledger: Ledger, numbers: range) -> Iterator[tuple[Fact, Fact]]:
    """Applies the two events of each order, and yields them."""
    for number in numbers:
        two = _fact(Kind.PLACED, number, FIRST_US + number), _fact(Kind.DELIVERED, number, FIRST_US + HOUR_US + number)
        ledger.apply(list(two))
        ledger.drain()
        yield two


def _fact(kind: Kind, number: int, time_us: int) -> Fact:
    is_delivered = kind is Kind.DELIVERED
    return Fact(
        int(kind),
        f"SO-{number:012d}",
        "/factories/bj1/dispatch" if is_delivered else "/sales/web",
        str(uuid.UUID(int=random.getrandbits(128), version=4)),
        time_us,
        f"LNBSU7A1{number:09d}" if is_delivered else "",
        _MODEL if kind is not Kind.CANCELLED else NO_DIMS,
        "channel=app" if kind is Kind.PLACED else "",
        None,
        False,
        DELIVERIES if is_delivered else ORDERS,
        2,
        number,
    )


def _chunks(template: Ledger, made: list[tuple[Fact, Fact]], orders: int) -> Iterator[bytes]:
    """Chunks of the changelog like the template's, of other orders, with other ids and times."""
    ids = [placed.order_id for placed, _ in made]
    (chunk,) = encode_chunks([(order_id, template.blob(order_id)) for order_id in ids], 4 * FULL_BYTES)
    size = len(chunk) // len(ids)
    begins = len(chunk) - size * len(ids)
    bare = np.frombuffer(chunk, np.uint8, offset=begins).reshape(len(ids), size).copy()
    first = bare[0].tobytes()
    digits = first.index(ids[0].encode()) + len("SO-")
    events = [(first.index(each.id.encode()), first.index(each.time_us.to_bytes(8, "little"))) for each in made[0]]
    dice = np.random.default_rng(1)
    hexadecimal = np.frombuffer(b"0123456789abcdef", np.uint8)
    uuid_places = np.array([place for place in range(36) if place not in {8, 13, 18, 23}])
    for at in range(0, orders, len(ids)):
        numbers = np.arange(at, at + len(ids))
        for place in range(12):
            bare[:, digits + place] = ord("0") + numbers // 10 ** (11 - place) % 10
        times = FIRST_US + numbers * (_DAYS * 24 * HOUR_US // orders) + dice.integers(0, HOUR_US, len(ids))
        for late, (text, moment) in enumerate(events):
            drawn = np.frombuffer(dice.bytes(16 * len(ids)), np.uint8).reshape(-1, 16)
            bare[:, text + uuid_places] = hexadecimal[np.concatenate((drawn >> 4, drawn & 0xF), axis=1)]
            bare[:, moment : moment + 8] = (times + late * 40 * HOUR_US).astype("<i8").view(np.uint8).reshape(-1, 8)
        yield chunk[:begins] + bare.tobytes()


def _run(name: str, ledger: Ledger, steps: Any) -> None:
    count, cpu, began, longest = 0, time.process_time(), time.monotonic(), 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
    for numbers in steps:
        facts = [_fact(Kind.CANCELLED, number, FIRST_US + _DAYS * 24 * HOUR_US) for number in numbers]
        start = time.monotonic()
        ledger.apply(facts)
        ledger.drain()
        longest = max(longest, time.monotonic() - start)
        count += len(facts)
    read = resource.getrusage(resource.RUSAGE_SELF).ru_majflt - before
    say(
        f"{(time.monotonic() - began) / count * 1e6:8.1f} us, {(time.process_time() - cpu) / count * 1e6:.1f} of CPU: an event of "
        f"{name}; longest step of 1,000 {longest * 1e3:.0f} ms; {read / count:.3f} pages read from disk an event"
    )


def _say_memory(orders: int) -> None:
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in {"RssAnon", "RssFile"}:
            size = int(value.split()[0]) * 1024
            say(f"{size / _MIB:8.0f} MiB, {size / orders:.0f} bytes an order: {name}")


if __name__ == "__main__":
    main()
