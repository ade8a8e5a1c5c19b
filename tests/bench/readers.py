"""The web view's tables alone, with any number of rows: how they are loaded, and how fast they answer.

    .venv/bin/python -m tests.bench readers [--rows N] [--json FILE]

Rows are those of 60 models by 300 regions by days, handed to the read model as a fetch would hand them. No Kafka is needed.
"""

from __future__ import annotations

import gc
import json
import random
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console
from rich.table import Table

from schemas.codec import encode_row
from schemas.rows import PlainRow, RowKey
from streams.domain.time.zone import BusinessZone

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from schemas.facts import Metric
    from streams.kafka.records import LogRecord
    from streams.web.readmodel import ReadModel, Snapshot

ROOT = Path(__file__).parents[2]
MODELS, REGIONS = 60, 300
LAST_DAY = date(2024, 12, 31)
_FETCH = 4000
_METRICS: tuple[Metric, ...] = ("orders_placed", "orders", "deliveries")


@dataclass(frozen=True)
class Fetched:
    """A record as the consumer hands it over."""

    key: bytes
    value: bytes | None
    offset: int
    topic: str = "vehicle.windows.v1"
    partition: int = 0
    timestamp: int = 1_735_689_600_000
    headers: tuple[tuple[str, bytes], ...] = ()


def scopes() -> list[str]:
    """All scopes, those with the fewest dimensions first."""
    models = [f"model=M{number}" for number in range(MODELS)]
    regions = [f"region=CN-{number}" for number in range(REGIONS)]
    return ["all", *models, *regions, *(f"{model},{region}" for model in models for region in regions)]


def fetches(rows: int) -> Iterator[list[Fetched]]:
    """Rows in lists of the size of a fetch: days from the last one back, with their months and years."""
    made: list[Fetched] = []
    for offset, row in enumerate(_rows(rows)):
        made.append(Fetched(str(RowKey.of(row)).encode(), encode_row(row), offset))
        if len(made) == _FETCH:
            yield made
            made = []
    if made:
        yield made


def _rows(limit: int) -> Iterator[PlainRow]:
    dice, names, left = random.Random(7), scopes(), limit
    day = LAST_DAY
    while True:
        for scope in names:
            for metric in _METRICS:
                # Most pairs of a model and a region have nothing on most days.
                if "," in scope and dice.random() > 0.1:
                    continue
                for row in _rows_of(metric, scope, day, dice):
                    yield row
                    left -= 1
                    if not left:
                        return
        day -= timedelta(days=1)


def _rows_of(metric: Metric, scope: str, day: date, dice: random.Random) -> Iterator[PlainRow]:
    hours = [0] * 24
    for _ in range(dice.randrange(1, 4)):
        hours[dice.randrange(7, 23)] += 1
    text = day.isoformat()
    yield _row(metric, scope, f"day:{text}", text, text, sum(hours), hours)
    if day.day == 1:
        yield _row(metric, scope, f"month:{text[:7]}", text, f"{text[:7]}-28", dice.randrange(1, 90), None)
    if text.endswith("-01-01"):
        yield _row(metric, scope, f"year:{text[:4]}", text, f"{text[:4]}-12-31", dice.randrange(1, 900), None)


def _row(  # noqa: PLR0917 - the fields of a row
    metric: Metric, scope: str, period: str, start: str, end: str, count: int, hours: list[int] | None
) -> PlainRow:
    return PlainRow(
        metric=metric,
        scope=scope,
        period=period,
        start=start,
        end=end,
        timezone="Asia/Shanghai",
        count=count,
        by_hour=hours,
        targets=[],
        status="closed",
        restated=0,
        version=1,
        updated_at="2025-01-05T02:00:00.000Z",
    )


def bench(rows: int) -> dict[str, Any]:
    """Runs all measurements, in a separate process, since memory is never given back."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.readers", str(rows)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the readers failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def show(found: dict[str, Any]) -> None:
    """Prints the results."""
    table = Table("measure", "value")
    for name, value in found.items():
        table.add_row(name.replace("_", " "), f"{value:,.1f}" if isinstance(value, float) else f"{value:,}")
    Console().print(table)


def _resident_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(rows: int, *, history: bool) -> dict[str, Any]:
    """Loads a read model and asks it."""
    from streams.web.readmodel import Feed, ReadModel  # noqa: PLC0415 - imports are part of what is resident

    before_mb = _resident_mb()
    model = ReadModel(BusinessZone("Asia/Shanghai"), bulk=True)
    found: dict[str, Any] = {"rows": rows, "resident_before_mb": before_mb}
    try:
        spent_s = cpu_s = 0.0
        for feed in (Feed.WINDOWS, Feed.HISTORY) if history else (Feed.WINDOWS,):
            for records in fetches(rows):
                started_s, started_cpu_s = time.perf_counter(), time.process_time()
                model.apply([(feed, cast("Sequence[LogRecord]", records))])
                spent_s += time.perf_counter() - started_s
                cpu_s += time.process_time() - started_cpu_s
        found |= {"apply_s": spent_s, "apply_cpu_s": cpu_s}
        started_s, started_cpu_s = time.perf_counter(), time.process_time()
        model.loaded()
        model.complete()
        found["order_s"], found["order_cpu_s"] = time.perf_counter() - started_s, time.process_time() - started_cpu_s
        gc.collect()
        found["resident_mb"] = _resident_mb()
        found |= asked(model)
    finally:
        model.close()
    return found


def asked(model: ReadModel) -> dict[str, Any]:
    """How long queries take, milliseconds."""
    from streams.web.readmodel import WindowQuery  # noqa: PLC0415 - see above

    def one_scope(view: Snapshot) -> object:
        return view.windows.page(WindowQuery(scopes=["model=M7,region=CN-3"]))

    questions: dict[str, Any] = {
        "page": lambda view: view.windows.page(WindowQuery()),
        "page_by_count": lambda view: view.windows.page(WindowQuery(sort="-count")),
        "page_of_scope": one_scope,
        "side_by_side": lambda view: view.windows.side_by_side("deliveries", "month", "region", "", "9999"),
        "scopes": lambda view: view.windows.scopes(),
    }
    found = {}
    for name, question in questions.items():
        with model.snapshot() as view:
            started_s = time.perf_counter()
            question(view)
            found[f"{name}_ms"] = (time.perf_counter() - started_s) * 1000
    return found


if __name__ == "__main__":
    print(json.dumps(measured(int(sys.argv[1]), history=len(sys.argv) > 2)))
