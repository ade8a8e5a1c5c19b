"""The same work with other kinds of events: what each costs, against clean events in the same run.

    .venv/bin/python -m tests.bench kinds [--orders N] [--runs R] [--only KIND ...]

Each kind has its own installation with a worker, and each round runs all kinds, so that a machine that is busy for a while affects
all of them. The best of the rounds counts.
"""

from __future__ import annotations

import random
from itertools import product
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
from rich.console import Console
from rich.table import Table

from schemas.facts import FAMILIES, topic_number
from tests.bench.load import Record, lives, publish
from tests.bench.worker import BenchWorker
from tests.support.installation import Installation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

ORDERS: Final = 100_000
RUNS: Final = 2
CLEAN: Final = "clean"
#: A copy follows within this many records, as when a publisher retries.
_NEAR: Final = 1000
_PRODUCED: Final = (
    b'{"specversion":"1.0","id":"produced-%s","source":"/factories/bj1/line","type":"vehicle.produced.v1","time":"%s",'
    b'"data":{"vin":"%s","model":"SU7","variant":"%s","factory":"BJ1"}}'
)


class Kind(NamedTuple):
    """A kind of load.

    Attributes:
        what: In words.
        make: Number of orders → the records.
        families: What the installation reads.
    """

    what: str
    make: Callable[[int], Iterator[Record]]
    families: tuple[str, ...] = ("orders", "deliveries")


def _binary(orders: int) -> Iterator[Record]:
    for record in lives(orders):
        event = orjson.loads(record.value)
        data = event.pop("data")
        headers = [
            ("content-type", b"application/json"),
            *((f"ce_{name}", str(event[name]).encode()) for name in event),
        ]
        yield record._replace(value=orjson.dumps(data), headers=headers)


def _of_topic(topic: int) -> Callable[[int], Iterator[Record]]:
    # The same number of events as the others.
    return lambda orders: (record for record in lives(2 * orders) if record.topic == topic)


def _produced(orders: int) -> Iterator[Record]:
    for record in lives(orders):
        if record.topic == 1:
            event = orjson.loads(record.value)
            vin, variant = event["data"]["vin"].encode(), event["data"]["variant"].encode()
            yield Record(2, vin, _PRODUCED % (vin, event["time"].encode(), vin, variant))
        yield record


def _twice(orders: int) -> Iterator[Record]:
    """Three records of ten are copies."""
    dice = random.Random(1)
    last: list[Record] = []
    for record in lives(orders):
        yield record
        last.append(record)
        if dice.random() < 3 / 7:
            yield dice.choice(last[-_NEAR:])
        if len(last) > 2 * _NEAR:
            del last[:_NEAR]


def _corrected(orders: int) -> Iterator[Record]:
    """One event of ten is voided and sent again, with another variant."""
    for number, record in enumerate(lives(orders)):
        yield record
        if number % 10 == 3:
            event = orjson.loads(record.value)
            data = {"order_id": event["data"]["order_id"], "voids": {"source": event["source"], "id": event["id"]}}
            void = event | {"id": f"void-{number}", "type": "event.voided.v1", "data": data}
            yield record._replace(value=orjson.dumps(void))
            right = event | {"id": f"right-{number}", "data": event["data"] | {"variant": "Ultra"}}
            yield record._replace(value=orjson.dumps(right))


def _rejected(orders: int) -> Iterator[Record]:
    """One record of twenty has no model."""
    for number, record in enumerate(lives(orders)):
        yield record._replace(value=record.value.replace(b'"model"', b'"name"')) if number % 20 == 7 else record


def _moved(orders: int) -> Iterator[Record]:
    """One record of five is on another partition than that of its key."""
    return (record._replace(moved=number % 5 == 3) for number, record in enumerate(lives(orders)))


KINDS: Final[Mapping[str, Kind]] = {
    CLEAN: Kind("structured events, in order", lives),
    "binary": Kind("binary mode", _binary),
    "deliveries": Kind("deliveries only", _of_topic(1), ("deliveries",)),
    "orders": Kind("orders only", _of_topic(0), ("orders",)),
    "production": Kind("production too, three events a vehicle", _produced, ("orders", "deliveries", "production")),
    "duplicates": Kind("30 % duplicates", _twice),
    "corrections": Kind("10 % voided and sent again", _corrected),
    "rejected": Kind("5 % dead letters", _rejected),
    "forwarded": Kind("20 % on another partition", _moved),
}


class Published(NamedTuple):
    """The content of the topics.

    Attributes:
        events: Records of its publishers.
        read: Those that are read: one that is forwarded is so twice.
    """

    events: int
    read: int


async def publish_kind(installation: Installation, kind: Kind, orders: int) -> Published:
    """Publishes the events of a number of orders to the topics of an installation."""
    settings, names = installation.settings, installation.catalogue.names()
    topics = tuple(names.get(topic_number(family, 0), "") for family in range(len(FAMILIES)))
    count = moved = 0

    def counted() -> Iterator[Record]:
        nonlocal count, moved
        for record in kind.make(orders):
            count += 1
            moved += record.moved > 0
            yield record

    await publish(settings.bootstrap_servers, topics, settings.partitions, counted())
    return Published(count, count + moved)


def installation_of(bootstrap: str, prefix: str, folder: Path, kind: Kind, **options: Any) -> Installation:
    """An installation that reads a kind of load, in a new folder."""
    folder.mkdir(exist_ok=True)
    made = Installation(bootstrap, prefix, folder, families=kind.families, **options)
    made.configure(f"families = {list(kind.families)!r}\n")
    return made


async def bench(
    bootstrap: str, folder: Path, *, orders: int = ORDERS, runs: int = RUNS, only: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Events per second and CPU seconds per million events, by kind."""
    names = [name for name in KINDS if not only or name in only or name == CLEAN]
    published = {}
    for name in names:
        source = installation_of(bootstrap, f"{name}.", folder / name, KINDS[name])
        published[name] = await publish_kind(await source.create(), KINDS[name], orders)
    idle = BenchWorker(await installation_of(bootstrap, "idle.", folder / "idle", KINDS[CLEAN]).create())
    await idle.idle()
    results: dict[str, Any] = {name: {"per_s": 0.0, "cpu_s_per_million": float("inf")} for name in names}
    for run, name in product(range(runs), names):
        events, read = published[name]
        place = folder / f"{name}-{run}"
        ours = installation_of(bootstrap, f"{name}-{run}.", place, KINDS[name], source_prefix=f"{name}.")
        worker = BenchWorker(await ours.create(), idle=idle)
        try:
            read_per_s = await worker.throughput(read)
        finally:
            worker.stop()
        found = results[name]
        found["per_s"] = max(found["per_s"], read_per_s * events / read)
        found["cpu_s_per_million"] = min(found["cpu_s_per_million"], worker.cpu_s / (events / 1e6))
    return results


def show(results: Mapping[str, Any]) -> None:
    """Prints a table."""
    clean = results[CLEAN]
    table = Table("events", "events/s", "of clean", "CPU s per million", "of clean")
    for name, found in results.items():
        table.add_row(
            KINDS[name].what,
            f"{found['per_s']:,.0f}",
            f"{found['per_s'] / clean['per_s']:.2f}",
            f"{found['cpu_s_per_million']:.1f}",
            f"{found['cpu_s_per_million'] / clean['cpu_s_per_million']:.2f}",
        )
    Console().print(table)
