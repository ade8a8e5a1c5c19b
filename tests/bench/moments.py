"""How long milestones wait for their unit: from the transaction that decides them to the one that publishes them.

    .venv/bin/python -m tests.bench moments [--rates R ...] [--seconds S] [--before N] [--json FILE]

Rules with `every` raise some milestones a second on the count of a region. Where several orders come in one step, the one that
reaches the number is among others, so the ledger partitions are asked which it is. Both transactions are dated by the worker's
clock. With `--before`, so many orders without a region come first, as late in a busy hour (unless a new hour begins).
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import orjson
from rich.console import Console
from rich.table import Table

from schemas.memory import SIDE, WAITING, key_of
from streams.kafka.clients import read_to_end
from streams.kafka.records import record_key
from tests.bench.latency import publish_at
from tests.support.installation import Installation
from tests.support.rules import rule

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

RATES: Final = (500, 3_000)
#: Milestones a second, half of them on either of two metrics.
_A_SECOND: Final = 4
#: A new broker compiles its hot paths for half a minute, on the same cores; a new worker needs a moment.
_WARM_UP_S, _NEXT_WARM_UP_S = 30, 8
_ANSWERED_S: Final = 5
#: Orders a second of those that come first.
_FILL_RATE: Final = 20_000
_WAITING: Final = key_of(SIDE, WAITING)


async def bench_moments(
    bootstrap: str, folder: Path, rates: Sequence[int] = RATES, seconds: int = 20, before: int = 0
) -> dict[int, dict[str, float]]:
    """Of each rate: milestones, how many of them were asked for, and the waits of these in milliseconds.

    Args:
        bootstrap: `HOST:PORT` of the broker.
        folder: For state and logs.
        rates: Orders per second, one rate after the other, each with its own worker.
        seconds: How long each is measured.
        before: How many orders come first.
    """
    return {
        rate: await _measure(
            bootstrap, folder, rate, seconds, before, _WARM_UP_S if rate == rates[0] else _NEXT_WARM_UP_S
        )
        for rate in rates
    }


async def _measure(  # noqa: PLR0917 - where, and what is measured
    bootstrap: str, folder: Path, rate: int, seconds: int, before: int, warm_up_s: int
) -> dict[str, float]:
    place = folder / f"moments-{rate}"
    place.mkdir()
    installation = Installation(bootstrap, f"moments{rate}.", place)
    every = 2 * rate // _A_SECOND
    scope = ("region",)
    installation.configure(
        f"scopes = [{json.dumps(scope)}, []]\n"
        + rule("placed", "orders_placed", scope=scope, every=every)
        + rule("orders", "orders", scope=scope, every=every)
    )
    await installation.create()
    worker = installation.worker("moments")
    await asyncio.sleep(5)
    warm, total = before + rate * warm_up_s, before + rate * (warm_up_s + seconds)
    # No order is the first of a further model.
    await publish_at(installation, {}, range(1, before), _FILL_RATE, total, region=None)
    await publish_at(installation, {}, range(max(1, before), warm), rate, total)
    since_ms = time.time() * 1000
    await publish_at(installation, {}, range(warm, total), rate, total)
    await asyncio.sleep(_ANSWERED_S)
    worker.kill(signal.SIGTERM)
    worker.wait()
    return await _waits(installation, since_ms)


async def _waits(installation: Installation, since_ms: float) -> dict[str, float]:
    """What the topics say of the milestones published since a time, milliseconds since 1970."""
    remembered: dict[str, int] = {}
    async for records in read_to_end(installation.settings, [(installation.catalogue.totals.name, 0)]):
        for record in records:
            if record.value is not None and record_key(record).startswith(_WAITING):
                remembered[orjson.loads(record.value)["id"]] = record.timestamp
    asked: list[float] = []
    delays: list[float] = []
    async for records in read_to_end(installation.settings, [(installation.catalogue.milestones.name, 0)]):
        for record in records:
            event = orjson.loads(record.value or b"")
            if record.timestamp < since_ms:
                continue
            detected_ms = datetime.fromisoformat(event["data"]["detected_at"]).timestamp() * 1000
            delays.append(record.timestamp - detected_ms)
            if event["id"] in remembered:
                asked.append(record.timestamp - remembered[event["id"]])
            if event["data"].get("position") is None:
                raise RuntimeError(f"{event['id']} has no unit")
    return {"milestones": len(delays), "asked": len(asked)} | _parts("wait", asked) | _parts("published", delays)


def _parts(name: str, values_ms: list[float]) -> dict[str, float]:
    ordered = sorted(values_ms) or [0.0]
    return {
        f"{name}_p50_ms": ordered[len(ordered) // 2],
        f"{name}_p99_ms": ordered[int(len(ordered) * 0.99)],
        f"{name}_max_ms": ordered[-1],
    }


def show(results: Mapping[int, Mapping[str, Any]]) -> None:
    """Prints the figures."""
    table = Table(
        "orders/s", "milestones", "asked for", "wait p50, ms", "p99", "max", "detected to published p50, ms", "p99"
    )
    names = (
        "milestones", "asked", "wait_p50_ms", "wait_p99_ms", "wait_max_ms", "published_p50_ms", "published_p99_ms",
    )  # fmt: skip
    for rate, found in results.items():
        table.add_row(f"{rate:,}", *(f"{found[name]:.0f}" for name in names))
    Console().print(table)
