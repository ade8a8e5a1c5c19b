"""`milestones web`: the web view."""

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
    "--bind",
    type=TEXT,
    metavar="HOST:PORT",
    default=None,
    help="Where to listen (default: 127.0.0.1:8080; port 0 is a free one).",
)
@click.option("--fresh", is_flag=True, hidden=True, help="Reload templates and static files on each request.")
@cluster_options
def command(
    bind: str | None,
    fresh: bool,
    bootstrap_servers: str | None,
    config: Path | None,
) -> int:
    """Serve counts, milestones and forecasts as pages and JSON.

    Reads output topics only and keeps serving, marked stale, while workers or brokers are down. An address that other
    machines can reach needs a token (setting web_token_file) or an authenticating proxy (web_proxy_header).
    """
    # Until the server handles the signal, nothing is open: ending at once is clean.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    settings = load_settings(config, {"bootstrap_servers": bootstrap_servers, "web_bind": bind})
    # Imported here: the settings may be wrong.
    from streams.web.server import serve  # noqa: PLC0415 - see above

    return serve(settings, lambda line: click.echo(line, err=True), fresh=fresh)
