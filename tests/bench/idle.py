"""What idle workers, web views and brokers cost: CPU, in per cent of a core.

    .venv/bin/python -m tests.bench idle

A few thousand events are counted first, so that every topic has records and every partition its position.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any, Final

import psutil
from rich.console import Console
from rich.table import Table

from tests.bench.load import lives, publish
from tests.bench.worker import cpu_s
from tests.support.installation import Installation
from tests.support.webview import WebView

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_ORDERS: Final = 2_000
#: For the broker to finish its work after a start, and for workers to finish what the events have changed.
_SETTLE_S: Final = 20.0
IDLE_S: Final = 60.0


async def bench(bootstrap: str, broker: int, folder: Path) -> dict[str, float]:
    """Per cent of a core of each process over a minute without events.

    Args:
        bootstrap: `HOST:PORT` of the broker.
        broker: Its process id.
        folder: For state and logs.
    """
    installation = await Installation(bootstrap, "idle.", folder).create()
    worker = installation.worker("idle")
    topics = (installation.catalogue.orders.name, installation.catalogue.deliveries.name)
    await publish(bootstrap, topics, installation.settings.partitions, lives(_ORDERS))
    await installation.applied()
    with WebView(installation.environment, folder / "web.txt") as web:
        processes = {"worker": worker.process.pid, "web view": web.process.pid, "broker": broker}
        await asyncio.sleep(_SETTLE_S)
        before = {name: cpu_s(psutil.Process(pid)) for name, pid in processes.items()}
        await asyncio.sleep(IDLE_S)
        used = {name: (cpu_s(psutil.Process(pid)) - before[name]) / IDLE_S * 100 for name, pid in processes.items()}
    worker.kill(signal.SIGTERM)
    worker.wait()
    return used


def show(results: Mapping[str, Any]) -> None:
    """Prints the figures."""
    table = Table("idle for a minute", "per cent of a core")
    for name, value in results.items():
        table.add_row(name, f"{value:.2f}")
    Console().print(table)
