"""A rolling upgrade on a real Kafka: `python -m tests.faults.upgrade EARLIER_TREE [--production] [--kill]`.

Three workers of an earlier version, from a checkout of it, are replaced one by one by workers of this one while events come. At the end
`verify` must find no difference, and no revision of a milestone may be there twice. With `--production` deliveries are judged by it,
with `--kill` workers are killed, and the first new one is killed once more, so that its partitions go back to the earlier version.

    git worktree add /tmp/earlier COMMIT && ln -s $PWD/.venv /tmp/earlier/.venv
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from streams.embedded.broker import EmbeddedKafka
from streams.embedded.java import SHORT_LIVED
from tests.support.events import lifecycle, production
from tests.support.installation import ROOT, Installation
from tests.support.rules import rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.events import Published

CONFIG: Final = (
    'windows = ["day", "week", "month", "year", "total"]\nscopes = [["model"], []]\n'
    + rule("daily", exceeds=40, first=True)
    + rule("placed", metric="orders_placed", window="total", scope=(), every=250)
    + rule("record", scope=(), record=True, **{"as": "passed"})
    + rule("in-a-row", scope=(), reaches=30, streak=2)
    + rule("launch", metric="orders_placed", window="campaign", scope=(), every=20)
    + '[[campaign]]\nname = "opening"\nstart = "2024-10-01T00:00:00+08:00"\nhours = 48\n'
)
WORKERS: Final = ("w1", "w2", "w3")
_ORDERS: Final = 3500
_VEHICLES: Final = 1000
#: Some hundred events a second, for about a minute.
_AT_ONCE: Final = 60
_PAUSE_S: Final = 0.5
_BETWEEN_S: Final = 10.0
#: `verify` takes some seconds; a command that takes this long hangs.
_COMMAND_S: Final = 120.0


class Upgrade:
    """One run.

    Args:
        made: The installation.
        earlier: The checkout of the earlier version.
        kills: Whether workers are killed.
    """

    def __init__(self, made: Installation, earlier: Path, *, kills: bool) -> None:
        self._made, self._earlier, self._kills = made, earlier, kills
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        self._started_s = time.monotonic()

    async def run(self, records: list[Published]) -> bool:
        """Whether everything is correct at the end."""
        try:
            self._command(self._earlier, "topics", "apply")
            for name in WORKERS:
                self._start(self._earlier, name)
            publishing = asyncio.create_task(self._made.publish(records, pause_every=_AT_ONCE, pause_s=_PAUSE_S))
            await asyncio.sleep(2 * _BETWEEN_S)
            self._say(self._command(ROOT, "topics", "apply").strip())
            for number, name in enumerate(WORKERS):
                await self._replace(name)
                if self._kills and not number:
                    # The earlier version takes its partitions over.
                    await self._replace(name, away_s=2 * self._made.settings.session_timeout_s)
            await publishing
            await self._made.applied(120)
            told = self._command(ROOT, "verify")
            self._say(told)
            standing = await self._made.standing()
            self._say(f"{len(standing)} milestones stand, each revision was published once")
            ended = [name for name, worker in self._workers.items() if worker.poll() is not None]
            self._say(f"ended by themselves: {ended or 'none'}")
            is_judged = "        0 vehicles delivered" not in told
            return "\nno difference" in told and is_judged and not ended
        finally:
            for worker in self._workers.values():
                worker.kill()
                worker.wait()

    async def _replace(self, name: str, *, away_s: float = 0.0) -> None:
        worker = self._workers[name]
        if (code := worker.poll()) is not None:
            raise AssertionError(f"{name} has ended with {code}\n{self._made.tails()}")
        worker.send_signal(signal.SIGKILL if self._kills else signal.SIGTERM)
        await asyncio.to_thread(worker.wait, 30)
        await asyncio.sleep(away_s)
        self._start(ROOT, name)
        await asyncio.sleep(_BETWEEN_S)
        rows = await self._made.rows()
        latest = max(row["updated_at"] for row in rows.values())
        self._say(f"{name} is replaced; {len(rows)} rows, the latest of {latest}")

    def _start(self, tree: Path, name: str) -> None:
        with (self._made.folder / f"{name}.log").open("ab") as log:
            self._workers[name] = subprocess.Popen(
                [sys.executable, "-m", "streams", "worker", "--instance", name],
                cwd=tree,
                env={**self._made.environment, "PYTHONPATH": str(tree)},
                stdout=log,
                stderr=log,
            )

    def _command(self, tree: Path, *arguments: str) -> str:
        environment = {**self._made.environment, "PYTHONPATH": str(tree)}
        command = [sys.executable, "-m", "streams", *arguments]
        done = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, check=False, timeout=_COMMAND_S
        )
        if done.stderr:
            self._say(done.stderr)
        return done.stdout

    def _say(self, line: str) -> None:
        print(f"{time.monotonic() - self._started_s:6.1f} s  {line}", flush=True)  # noqa: T201 - a command


def _mixed(orders: Iterator[Published], vehicles: Iterator[Published]) -> Iterator[Published]:
    for number, record in enumerate(orders):
        yield record
        if number % 4 == 0:
            yield from islice(vehicles, 1)
    yield from vehicles


async def _main(earlier: Path, *, judges: bool, kills: bool) -> bool:
    with tempfile.TemporaryDirectory(prefix="milestones-upgrade-") as folder:
        async with EmbeddedKafka(Path(folder) / "kafka", java_options=SHORT_LIVED) as broker:
            if judges:
                families = 'families = ["orders", "deliveries", "production"]\n'
                made = Installation(
                    broker.bootstrap, "upgrade.", Path(folder), families=("orders", "deliveries", "production")
                )
            else:
                families, made = "", Installation(broker.bootstrap, "upgrade.", Path(folder))
            made.configure(families + CONFIG)
            vehicles = production(6, _VEHICLES) if judges else iter(())
            return await Upgrade(made, earlier, kills=kills).run(list(_mixed(lifecycle(5, _ORDERS), vehicles)))


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.upgrade", description=__doc__)
    parser.add_argument("earlier", type=Path, help="a checkout of the earlier version")
    parser.add_argument("--production", action="store_true", help="deliveries are judged by production")
    parser.add_argument("--kill", action="store_true", help="workers are killed, and one of the new ones once more")
    chosen = parser.parse_args()
    return 0 if asyncio.run(_main(chosen.earlier.resolve(), judges=chosen.production, kills=chosen.kill)) else 1


if __name__ == "__main__":
    sys.exit(main())
