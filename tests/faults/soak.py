"""Minutes of faults on a real Kafka, watched by a spy: `python -m tests.faults.soak --minutes N [--seed K]`.

Three workers are killed, ended, paused and started again, each time after progress; half-way, and now and then, a fourth one
joins, takes its share and leaves again. Meanwhile there is a plain publisher
with duplicates, wrong partitions and rejected records, and one with transactions that commits some and aborts others. With odd
seeds, workers keep standby copies of each other's ledger partitions. In the end everything that was committed is counted, once, and lag falls to 0.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiokafka import AIOKafkaProducer, TopicPartition

from schemas.codec import decode_batch
from schemas.facts import Fact
from streams.embedded.broker import EmbeddedKafka
from streams.embedded.java import SHORT_LIVED
from streams.kafka.client_options import client_options
from streams.kafka.clients import quiet_clients, read_to_end, reader
from streams.kafka.records import record_value
from tests.faults.spy import Spy
from tests.support.events import Published, lifecycle
from tests.support.installation import Installation
from tests.support.recount import recount
from tests.support.rules import rule, target
from tests.support.time_limits import deadline

if TYPE_CHECKING:
    from collections.abc import Callable

RULES: Final = rule("daily-20", exceeds=20, first=True, retract_after_s=0) + target("october", 150)
WORKERS: Final = ("w1", "w2", "w3")
#: Faults of a worker.
FAULTS: Final = ("kill", "end", "pause", "zombie")
#: A worker paused for longer than the session timeout of 6 s is removed from the group and wakes as a zombie.
_ZOMBIE_S: Final = 9.0
_YOUNG_S: Final = 10.0
_NO_PROGRESS_S: Final = 90.0
#: How long a joining worker may take to open something.
_JOINING_S: Final = 90.0
_MIN_FAULTS: Final = 2  # however short the time
_GARBAGE: Final = (b"{", b"", b'{"specversion":"1.0"}', b"\xff\xfe", b'{"a":1,"a":2}')


class Soak:
    """One run.

    Attributes:
        faults: What was done to the workers, and by publishers, and how often.
        spy: Reads along.
    """

    def __init__(self, installation: Installation, seed: int, say: Callable[[str], None]) -> None:
        self._installation = installation
        self._dice = random.Random(seed)
        self._seed = seed
        self._say = say
        self._enough = asyncio.Event()
        self._started_s: dict[str, float] = {}
        self.faults: Counter[str] = Counter()
        self.spy = Spy(installation)

    async def run(self, seconds: float) -> None:
        """Injects faults for a time, lets the service settle, and checks everything.

        Raises:
            AssertionError: Something was lost, counted twice, out of order, or stuck.
        """
        installation, ended = self._installation, asyncio.Event()
        spying = asyncio.create_task(self.spy.run(ended))
        for name in WORKERS:
            self._start(name)
        publishing = [asyncio.create_task(self._publish()), asyncio.create_task(self._publish_transactions())]
        try:
            harm = asyncio.create_task(self._do_harm(seconds))
            await asyncio.wait([harm, spying, *publishing], return_when=asyncio.FIRST_COMPLETED)
            for task in (spying, *publishing):
                if task.done():
                    await task
            await harm
            self._enough.set()
            await asyncio.gather(*publishing)
            self._say("no more faults: everything must come to be counted")
            await installation.applied(timeout_s=120)
            await self._rows_equal_a_recount()
            await installation.standing()
            await self._no_lag()
            ended.set()
            await spying
        finally:
            for task in (spying, *publishing):
                task.cancel()
            await asyncio.gather(spying, *publishing, return_exceptions=True)
            await asyncio.to_thread(installation.end)

    # Workers --------------------------------------------------------------------------------------------------------

    async def _do_harm(self, seconds: float) -> None:
        began = time.monotonic()
        seen = await self._progress(-1)
        while True:
            passed = time.monotonic() - began
            if passed > seconds and sum(self.faults[one] for one in FAULTS) >= _MIN_FAULTS and self.faults["join"]:
                return
            await asyncio.sleep(self._dice.random() * 2)
            fault = self._dice.choice(("kill", *FAULTS, "join"))
            name = self._dice.choice(WORKERS)
            if fault == "join" or (passed > seconds / 2 and not self.faults["join"]):
                fault, name = "join", f"w{len(WORKERS) + 1 + self.faults['join']}"
            started = time.monotonic()
            await getattr(self, f"_{fault}")(name)
            self.faults[fault] += 1
            seen = await self._progress(seen)
            self._say(f"{fault} {name}, {time.monotonic() - started:.1f} s; {self.spy.steps} markers checked")

    async def _kill(self, name: str) -> None:
        await self._end(name, signal.SIGKILL)

    async def _end_worker(self, name: str, number: signal.Signals) -> None:
        worker = next(one for one in reversed(self._installation.workers) if one.log.stem == name)
        worker.kill(number)
        code = await asyncio.to_thread(worker.wait, 15)
        # A worker that has just been started may not handle signals yet.
        is_young = time.monotonic() - self._started_s[name] < _YOUNG_S
        expected = (
            {-number, *([0] if number == signal.SIGTERM else [])} if is_young or number == signal.SIGKILL else {0}
        )
        assert code in expected, f"{name} ended with {code}\n{worker.log.read_text()[-3000:]}"
        self._installation.workers.remove(worker)

    async def _end(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        await self._end_worker(name, number)
        await asyncio.sleep(self._dice.random() * 3)
        self._start(name)

    def _start(self, name: str) -> None:
        self._installation.worker(name)
        self._started_s[name] = time.monotonic()

    async def _join(self, name: str) -> None:
        """Another worker joins, writes, and leaves, by SIGTERM or SIGKILL."""
        self._start(name)
        worker = self._installation.workers[-1]
        give_up_s = deadline(_JOINING_S)
        while ": open after " not in worker.log.read_text():
            assert time.monotonic() < give_up_s, (
                f"{name} has nothing after {_JOINING_S} s\n{self._installation.tails()}"
            )
            await asyncio.sleep(0.2)
        await self._progress(await self._progress(-1))
        await self._end_worker(name, self._dice.choice((signal.SIGTERM, signal.SIGKILL)))

    async def _pause(self, name: str, seconds: float = 1.5) -> None:
        worker = next(one for one in self._installation.workers if one.log.stem == name)
        worker.kill(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        worker.kill(signal.SIGCONT)

    async def _zombie(self, name: str) -> None:
        await self._pause(name, _ZOMBIE_S)

    async def _progress(self, seen: int) -> int:
        """Waits until there are day counts after an offset; returns their new end."""
        tp = TopicPartition(self._installation.catalogue.counts.name, 0)
        give_up_s = deadline(_NO_PROGRESS_S)
        async with reader(self._installation.settings) as consumer:
            while True:
                end = int((await consumer.end_offsets([tp]))[tp])
                if end > seen:
                    return end
                assert time.monotonic() < give_up_s, f"no output for {_NO_PROGRESS_S} s\n{self._installation.tails()}"
                await asyncio.sleep(0.1)

    # Publishers -----------------------------------------------------------------------------------------------------

    async def _publish(self) -> None:
        """Publishes events, one in fifty twice, some away from home; and records that are no events."""
        dice = random.Random(self._seed + 1)
        number = 0
        producer = AIOKafkaProducer(**client_options(self._installation.settings), linger_ms=5)
        await producer.start()
        try:
            while not self._enough.is_set():
                number += 1
                for record in [*lifecycle(self._seed * 1000 + number, 20), *self._garbage(dice)]:
                    await self._send(producer, record)
                await producer.flush()
                await asyncio.sleep(dice.random())
        finally:
            await producer.stop()

    async def _publish_transactions(self) -> None:
        """Publishes batches in transactions, one in three of them aborted."""
        dice = random.Random(self._seed + 2)
        number = 0
        producer = AIOKafkaProducer(
            **client_options(self._installation.settings),
            transactional_id=f"{self._installation.settings.output_prefix}publisher",
        )
        await producer.start()
        try:
            while not self._enough.is_set():
                number += 1
                await producer.begin_transaction()
                for record in [*lifecycle(self._seed * 1000 + 500_000 + number, 12), *self._garbage(dice)]:
                    await self._send(producer, record)
                await asyncio.sleep(dice.random() * 0.3)
                taken_back = dice.random() < 1 / 3
                await (producer.abort_transaction() if taken_back else producer.commit_transaction())
                self.faults["aborted transactions" if taken_back else "committed transactions"] += 1
                await asyncio.sleep(dice.random())
        finally:
            await producer.stop()

    def _garbage(self, dice: random.Random) -> list[Published]:
        count = dice.randrange(3)
        return [
            Published(dice.choice(("orders", "deliveries")), b"SO-%d" % dice.randrange(9), dice.choice(_GARBAGE), None)
            for _ in range(count)
        ]

    async def _send(self, producer: AIOKafkaProducer, record: Published) -> None:
        catalogue = self._installation.catalogue
        topic = catalogue.orders.name if record.topic == "orders" else catalogue.deliveries.name
        headers = [("traceparent", b"00-ab"), ("x", b"")]
        await producer.send(topic, record.value, record.key, record.partition, headers=headers)

    # The end --------------------------------------------------------------------------------------------------------

    async def _rows_equal_a_recount(self) -> None:
        catalogue, settings = self._installation.catalogue, self._installation.settings
        values = []
        for number, topic in enumerate((catalogue.orders, catalogue.deliveries)):
            async for records in read_to_end(settings, [(topic.name, n) for n in range(topic.partitions)]):
                outcomes = decode_batch(records, topic=number, future_limit_us=settings.future_limit_s * 1_000_000)
                values += [
                    record_value(one)
                    for one, outcome in zip(records, outcomes, strict=True)
                    if isinstance(outcome, Fact)
                ]
        expected = recount(values)
        found = await self._installation.counts()
        assert found == expected, {key: (found.get(key), expected.get(key)) for key in found.keys() ^ expected.keys()}

    async def _no_lag(self) -> None:
        give_up_s = deadline(30)
        while True:
            status = await self._installation.status()
            lags = {key: one["lag"] for key, one in status.items() if key.startswith("partition/")}
            if lags and not any(lag for of_sources in lags.values() for lag in of_sources.values()):
                return
            assert time.monotonic() < give_up_s, f"{lags}\n{self._installation.tails()}"
            await asyncio.sleep(0.2)


async def soak(folder: Path, bootstrap: str, seconds: float, seed: int, say: Callable[[str], None]) -> Soak:
    """Runs on a broker; returns what was done and seen."""
    name = f"soak-{seed}-{time.time_ns() % 10**9}."
    installation = Installation(bootstrap, name, folder, standby_copies=seed % 2)
    installation.configure(RULES)
    await installation.create()
    run = Soak(installation, seed, say)
    await run.run(seconds)
    return run


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {line}", flush=True)  # noqa: T201 - a command

    folder = Path(tempfile.mkdtemp(prefix="milestones-soak-"))
    say(f"logs of the workers in {folder}")
    with EmbeddedKafka(folder / "kafka", java_options=SHORT_LIVED) as kafka, quiet_clients():
        run = asyncio.run(soak(folder, kafka.bootstrap, options.minutes * 60, options.seed, say))
    say(f"faults: {', '.join(f'{count} {what}' for what, count in sorted(run.faults.items()))}")
    say(f"{run.spy.steps} markers checked; records: {', '.join(f'{n:,} {what}' for what, n in run.spy.became.items())}")
    say("nothing lost, nothing twice")


if __name__ == "__main__":
    main()
