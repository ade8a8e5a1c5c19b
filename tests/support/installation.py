"""An installation of the service on the test broker, with its own prefixes, and workers as real processes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import signal
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import orjson
from aiokafka import AIOKafkaProducer, TopicPartition
from pydantic import BaseModel

from schemas import hotpath
from schemas.facts import FAMILIES, family_of
from schemas.memory import KEPT, SIDE, WAITING, key_of
from schemas.outputs import ENDS, source_name
from schemas.source_hours import decode_hours_key
from streams.kafka.admin import apply_topics, catalogue_of
from streams.kafka.client_options import client_options
from streams.kafka.clients import partition_counts, read_latest, read_to_end, reader
from streams.kafka.records import record_value
from streams.settings import Settings
from tests.support import processes, warm
from tests.support.time_limits import deadline, stretched

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Iterable, Mapping

    from tests.support.events import Published

ROOT = Path(__file__).parents[2]

_numbers = itertools.count(1)


class Worker:
    """A `milestones worker` process."""

    def __init__(
        self, environment: dict[str, str], instance: str, log: Path, module: str, *, cold: bool = False
    ) -> None:
        self.log = log
        with log.open("ab") as handle:
            self.process = warm.start(
                module, "worker", "--instance", instance, environment=environment, out=handle, err=handle, cold=cold
            )

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Sends a signal."""
        self.process.send_signal(number)

    def wait(self, timeout_s: float = 10.0) -> int:
        """Waits until it has ended; returns its exit code."""
        return self.process.wait(stretched(timeout_s))

    def end(self) -> None:
        """Ends it if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(stretched(10))


class Installation:
    """Topics, workers and what they have published.

    Attributes:
        client: Settings of workers and commands alone, if they connect to the cluster in another way than the test.
    """

    def __init__(
        self, bootstrap: str, prefix: str, folder: Path, *, source_prefix: str | None = None, **settings: Any
    ) -> None:
        self.settings = Settings(
            bootstrap_servers=bootstrap,
            source_prefix=prefix if source_prefix is None else source_prefix,
            output_prefix=prefix,
            state_dir=str(folder / "state"),
            session_timeout_s=6.0,
            **settings,
        )
        self.catalogue = catalogue_of(self.settings)
        self.folder = folder
        self.client: dict[str, str] = {}
        self.workers: list[Worker] = []
        self._config = folder / "milestones.toml"

    @classmethod
    @contextlib.asynccontextmanager
    async def created(
        cls, bootstrap: str, folder: Path, *, config: str = "", prefix: str = "", **settings: Any
    ) -> AsyncIterator[Self]:
        """An installation with its topics; workers that still run at the end are killed.

        Args:
            bootstrap: `HOST:PORT` of the broker.
            folder: Where to put state, logs and the settings file.
            config: Text of its workers' settings file.
            prefix: Prefix of topics and groups; unique within the run by default.
            settings: Any other settings.
        """
        name = re.sub(r"[^a-z0-9]+", "-", folder.name.lower())[:40].strip("-")
        made = cls(bootstrap, prefix or f"{name}-{os.getpid()}-{next(_numbers)}.", folder, **settings)
        if config:
            made.configure(config)
        await made.create()
        try:
            yield made
        finally:
            made.end()

    def configure(self, text: str) -> None:
        """Gives the workers a settings file (rules, targets)."""
        self._config.write_text(text)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of this installation's workers."""
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("MILESTONES_") or name == hotpath.VARIABLE
        }
        scalars = {name: value for name, value in self.settings if not isinstance(value, tuple | BaseModel)}
        default = Settings()
        changed = {name: value for name, value in scalars.items() if value != getattr(default, name)}
        environment |= {f"MILESTONES_{name.upper()}": str(value) for name, value in (changed | self.client).items()}
        environment.setdefault("MILESTONES_LOG_LEVEL", "INFO")
        if self._config.exists():
            environment["MILESTONES_CONFIG"] = str(self._config)
        return environment

    async def create(self) -> Installation:
        """Creates the topics."""
        await apply_topics(self.settings)
        return self

    def worker(
        self,
        instance: str = "w1",
        *,
        slow_open_s: float = 0.0,
        late_partition: int | None = None,
        cold: bool = False,
    ) -> Worker:
        """Starts a worker; optionally one that takes longer to open its partitions, or whose batches are late once.

        With `cold` it is started from scratch, see `tests.support.warm`.
        """
        environment = {**self.environment, "SLOW_OPEN_S": str(slow_open_s)}
        module = "tests.support.slow_worker" if slow_open_s else "streams"
        if late_partition is not None:
            environment |= {"LATE_PARTITION": str(late_partition), "LATE_S": "5"}
            module = "tests.support.late_worker"
        worker = Worker(environment, instance, self.folder / f"{instance}.log", module, cold=cold)
        self.workers.append(worker)
        return worker

    async def run(
        self, *arguments: str, module: str = "streams", timeout_s: float = 60.0, cold: bool = False, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end, as a user would."""
        return await asyncio.to_thread(
            processes.run_module,
            module,
            *arguments,
            env={**self.environment, **environment},
            timeout_s=timeout_s,
            cold=cold,
        )

    def end(self) -> None:
        """Ends every worker that still runs."""
        for worker in self.workers:
            worker.end()

    async def publish(self, records: Iterable[Published], *, pause_every: int = 0, pause_s: float = 0.0) -> None:
        """Publishes in order, with a pause after every `pause_every` records."""
        producer = AIOKafkaProducer(**client_options(self.settings), linger_ms=5, acks="all")
        published = self.catalogue.published
        families = {FAMILIES[family_of(number)]: topic.name for number, topic in reversed(list(published.items()))}
        await producer.start()
        try:
            for count, record in enumerate(records, 1):
                await producer.send(
                    families.get(record.topic, record.topic), record.value, record.key, record.partition
                )
                if pause_every and count % pause_every == 0:
                    await producer.flush()
                    await asyncio.sleep(pause_s)
            await producer.flush()
        finally:
            await producer.stop()

    async def source_values(self) -> list[bytes]:
        """Every value of the source topics."""
        values: list[bytes] = []
        async with reader(self.settings) as consumer:
            counts = await partition_counts(consumer, self.catalogue.names().values())
        partitions = [(topic, number) for topic, count in counts.items() for number in range(count)]
        async for records in read_to_end(self.settings, partitions):
            values += [record_value(record) for record in records]
        return values

    async def status(self) -> dict[str, Any]:
        """The records of the status topic, by key."""
        latest = await read_latest(self.settings, [(self.catalogue.status.name, 0)])
        return {key.decode(): orjson.loads(value) for key, value in latest.items()}

    async def rows(self) -> dict[str, Any]:
        """The current window rows, by key."""
        latest = await read_latest(self.settings, self.catalogue.windows.whole)
        return {key.decode(): orjson.loads(value) for key, value in latest.items()}

    async def counts(self) -> dict[tuple[str, str, str], int]:
        """The counts of the rows that are not at zero."""
        return _counts_of(await read_latest(self.settings, self.catalogue.windows.whole))

    async def milestones(self) -> list[dict[str, Any]]:
        """All milestone events, in order within each partition."""
        events = []
        async for records in read_to_end(self.settings, self.catalogue.milestones.whole):
            events += [orjson.loads(record_value(record)) for record in records]
        return events

    async def standing(self) -> set[str]:
        """Ids of the milestones that stand; asserts that every revision is there exactly once and in order."""
        last: dict[str, dict[str, Any]] = {}
        for event in await self.milestones():
            identity, revision = event["data"]["milestone_id"], event["data"]["revision"]
            assert revision == (last[identity]["data"]["revision"] if identity in last else 0) + 1, event
            last[identity] = event
        return {identity for identity, event in last.items() if event["type"] not in ENDS}

    async def applied(self, timeout_s: float = 60.0) -> None:
        """Waits until all source records are applied, their counts summed, and no milestone waits for its unit."""
        give_up_s = deadline(timeout_s)
        reason = "nothing seen"
        while time.monotonic() < give_up_s:
            reason = await self._behind()
            if not reason:
                return
            assert all(worker.process.poll() in (None, -9, 0) for worker in self.workers), self.tails()
            await asyncio.sleep(0.3)
        raise AssertionError(f"not applied within {timeout_s} s: {reason}\n{self.tails()}")

    async def _behind(self) -> str:
        topics = (*self.catalogue.names().values(), self.catalogue.rerouted.name)
        async with reader(self.settings) as consumer:
            counts = await partition_counts(consumer, topics)
            tps = [TopicPartition(topic, number) for topic, count in counts.items() for number in range(count)]
            ends = await consumer.end_offsets(tps)
            counted = await read_latest(self.settings, self.catalogue.counts.whole, consumer=consumer)
            reason = self._not_read(tps, ends, _markers_of(counted))
            if reason:
                return reason
            rows = await read_latest(self.settings, self.catalogue.windows.whole, consumer=consumer)
            memory = await read_latest(self.settings, self.catalogue.totals.whole, consumer=consumer)
        expected, found = _sums_of(counted), _counts_of(rows)
        days = {key: count for key, count in found.items() if key[2].startswith(("day:", "campaign:"))}
        differing = {key: (days.get(key), expected.get(key)) for key in days.keys() | expected.keys()}
        since = {
            key.removeprefix(key_of(SIDE, KEPT)).decode(): orjson.loads(value)["since"]
            for key, value in memory.items()
            if key.startswith(key_of(SIDE, KEPT))
        }
        differing = {
            (metric, scope, period): pair
            for (metric, scope, period), pair in differing.items()
            if pair[0] != pair[1]
            # Rows of days that are no longer kept are meant to be absent.
            # A campaign that is no longer counted keeps its row as it was.
            and not (period.startswith("campaign:") and not pair[1])
            and not (pair[0] is None and period[4:] < since.get(re.sub(r"=[^,]*", "", scope), ""))
        }
        if differing:
            return f"{len(differing)} rows differ from the sums: {dict(list(differing.items())[:5])}"
        waiting = [key for key in memory if key.startswith(key_of(SIDE, WAITING))]
        return f"{len(waiting)} milestones wait for their units: {waiting[:5]}" if waiting else ""

    def _not_read(
        self, tps: Iterable[TopicPartition], ends: Mapping[TopicPartition, int], markers: Mapping[int, Any]
    ) -> str:
        for tp in tps:
            ledger = tp.partition % self.settings.partitions
            marker = markers.get(ledger)
            source = source_name(tp.topic, tp.partition, ledger)
            # The transaction marker after the last record of the rerouted topic is no record to read.
            slack = 1 if tp.topic == self.catalogue.rerouted.name else 0
            if (
                marker is None
                or marker["rebuilding"]
                or marker["positions"].get(source, (-1, ""))[0] < ends[tp] - slack
            ):
                return f"{tp} ends at {ends[tp]}, marker {marker}"
        return ""

    async def markers(self) -> dict[int, Any]:
        """The last marker of each ledger partition."""
        return _markers_of(await read_latest(self.settings, self.catalogue.counts.whole))

    async def shard_sums(self) -> dict[tuple[str, str, str], int]:
        """Day counts summed over the ledger partitions."""
        return _sums_of(await read_latest(self.settings, self.catalogue.counts.whole))

    async def books_balance(self) -> Counter[str]:
        """The summed books of all partitions, after checking that each balances."""
        total: Counter[str] = Counter()
        for marker in (await self.markers()).values():
            for topic, books in marker["books"].items():
                parts = books["applied"] + books["duplicates"] + books["dead_letters"] + books["rerouted"]
                assert books["read"] == parts, (topic, books)
                total.update(
                    books if topic != self.catalogue.rerouted.name else {f"forwarded_{k}": v for k, v in books.items()}
                )
        return total

    def tails(self) -> str:
        """The last lines of the workers' logs, for a failed assertion."""
        return "\n".join(f"--- {log.name}\n{log.read_text()[-3000:]}" for log in sorted(self.folder.glob("*.log")))


def _markers_of(counted: Mapping[bytes, bytes]) -> dict[int, Any]:
    return {int(key.split(b"|")[0]): orjson.loads(value) for key, value in counted.items() if key.endswith(b"|applied")}


def _sums_of(counted: Mapping[bytes, bytes]) -> dict[tuple[str, str, str], int]:
    sums: dict[tuple[str, str, str], int] = defaultdict(int)
    for key, value in counted.items():
        if not key.endswith(b"|applied") and decode_hours_key(key) is None:
            _, metric, scope, part = key.decode().split("|")
            period = part.rpartition(":")[0] if part.startswith("campaign:") else f"day:{part}"
            sums[metric, scope, period] += orjson.loads(value)["count"]
    return {key: count for key, count in sums.items() if count}


def _counts_of(rows: Mapping[bytes, bytes]) -> dict[tuple[str, str, str], int]:
    read = [orjson.loads(value) for value in rows.values()]
    return {(row["metric"], row["scope"], row["period"]): row["count"] for row in read if row["count"]}
