"""`milestones worker`: one worker of the group."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import click

from streams.cli.options import TEXT, cluster_options
from streams.installation import load_settings

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.option(
    "--instance", type=TEXT, default=None, help="Name in the consumer group (default: this host and a free number)."
)
@cluster_options
def command(instance: str | None, bootstrap_servers: str | None, config: Path | None) -> None:
    """Run one worker; start more for more throughput."""
    # Until the worker handles the signal, nothing is open: ending at once is clean.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    settings = load_settings(config, {"bootstrap_servers": bootstrap_servers})
    # Imported here: Faust takes a second to load, and the settings may be wrong.
    from streams.app import create_app, worker_log_level  # noqa: PLC0415 - see above

    app = create_app(settings, instance or os.environ.get("MILESTONES_INSTANCE"))
    app.finalize()
    app.Worker(loglevel=worker_log_level(), redirect_stdouts=False).execute_from_commandline()
