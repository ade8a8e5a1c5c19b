"""Speed and size of the ledger alone: `python tests/bench/ledger_speed.py [ORDERS]`.

Prints microseconds an event for each way an event can take, bytes an order, and the seconds of a restore. Applying and
draining count alike; a step has 10,000 events, as a busy partition's transactions do. `MILESTONES_HOT_PATH=python` measures
the way in Python. Events are stored as facts, as in a worker only those that are not plain: packing each takes a microsecond more.
"""

from __future__ import annotations

import gc
import resource
import sys
import time
import uuid
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.changelog import encode_chunks
from schemas.facts import DELIVERIES, NO_DIMS, ORDERS, Dims, Fact, Kind
from streams.domain.hotpath import HOT_PATH
from streams.domain.ledger import Ledger
from streams.domain.scopes.scopes import Scopes
from streams.domain.time.zone import BusinessZone
from streams.ledger.changelog import FULL_BYTES, Changelog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STEP_EVENTS = 10_000
FIRST_US = 1_711_900_000_000_000
HOUR_US = 3_600_000_000
DAYS = 240
#: Multiples of it look like random numbers.
ODD = 0x9E3779B97F4A7C15F39CC0605CEDC835

VARIANTS = ("Standard", "Pro", "Max")
DIMS: list[Dims] = [("SU7", variant, "BJ1", f"CN-{number}") for variant in VARIANTS for number in range(31)]


def main() -> None:
    """Measures one ledger through a run of orders."""
    orders = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    order_ids = [f"SO-{number:012d}" for number in range(orders)]
    times = [FIRST_US + number * (DAYS * 24 * HOUR_US // orders) for number in range(orders)]
    say(f"hot path: {HOT_PATH}")
    before = _resident_bytes()
    ledger = Ledger(BusinessZone("Asia/Shanghai"), Scopes())

    def event(kind: Kind, number: int, delay_h: int = 0) -> Fact:
        delivered, backfill = kind is Kind.DELIVERED, False
        return Fact(
            int(kind),
            order_ids[number],
            "/factories/bj1/dispatch" if delivered else "/sales/web",
            str(uuid.UUID(int=(4 * number + kind) * ODD % 2**128, version=4)),
            times[number] + delay_h * HOUR_US,
            f"LNBSU7A1{number:09d}" if delivered else "",
            NO_DIMS if kind is Kind.CANCELLED else DIMS[number % len(DIMS)],
            "channel=app" if kind is Kind.PLACED else "",
            None,
            backfill,
            DELIVERIES if delivered else ORDERS,
            2,
            number,
        )

    tenth = orders // 10
    _run("first event (placed)", ledger, (event(Kind.PLACED, number) for number in range(orders)))
    for name in ("second event (delivered)", "duplicate of a second event"):
        _run(name, ledger, (event(Kind.DELIVERED, number, 40) for number in range(tenth)))
    _run("second event (cancelled)", ledger, (event(Kind.CANCELLED, number, 50) for number in range(tenth, 2 * tenth)))
    _run("second event (delivered)", ledger, (event(Kind.DELIVERED, n, 40) for n in range(2 * tenth, orders)))
    _run("third event (judged twice)", ledger, (event(Kind.CANCELLED, number, 60) for number in range(tenth // 10)))
    say(f"{ledger.state_bytes / orders:8.0f} bytes an order in state")
    say(f"{(_resident_bytes() - before) / orders:8.0f} bytes an order resident")
    _early_deliveries(event, tenth)
    _restore(ledger)


def say(line: str) -> None:
    """Prints one line of the result immediately."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _early_deliveries(event: Callable[..., Fact], orders: int) -> None:
    ledger = Ledger(BusinessZone("Asia/Shanghai"), Scopes())
    _run("first event (delivered early)", ledger, (event(Kind.DELIVERED, number, 40) for number in range(orders)))
    _run("second event (placed late)", ledger, (event(Kind.PLACED, number) for number in range(orders)))


def _run(name: str, ledger: Ledger, facts: Iterator[Fact]) -> None:
    apply_s = drain_s = 0.0
    events = 0
    while step := list(islice(facts, STEP_EVENTS)):
        start = time.process_time()
        applied = ledger.apply(step)
        middle = time.process_time()
        ledger.drain()
        end = time.process_time()
        apply_s += middle - start
        assert not applied.refused, "events of one id and different contents are not what is measured"
        drain_s += end - middle
        events += len(step)
    total = (apply_s + drain_s) / events * 1e6
    say(
        f"{total:8.2f} us  {name}  (apply {apply_s / events * 1e6:.2f}, drain {drain_s / events * 1e6:.2f}; {events} events)"
    )


def _restore(ledger: Ledger) -> None:
    written = Changelog(ledger.blob, ledger.order_ids)
    read = Changelog(ledger.blob, ledger.order_ids)
    ids = ledger.order_ids()
    while some := list(islice(ids, STEP_EVENTS)):
        chunks = encode_chunks([(order_id, ledger.blob(order_id)) for order_id in some], FULL_BYTES)
        for key, value in written.write(chunks, ledger.state_bytes):
            read.read(key, value)
    vocabulary = list(enumerate(ledger._vocabulary.words))
    restored = Ledger(BusinessZone("Asia/Shanghai"), Scopes())
    start = before = time.process_time()
    longest = 0.0
    for step in restored.restoring(vocabulary, read.chunks(latest_first=True)):
        longest = max(longest, time.process_time() - before)
        if step is not None:
            step()  # a worker runs it in another thread
        before = time.process_time()
    longest = max(longest, time.process_time() - before)
    say(f"{before - start:8.2f} s   restore of {len(restored)} orders from chunks of the changelog")
    say(f"{longest * 1000:8.0f} ms  its longest piece")


def _resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    main()
