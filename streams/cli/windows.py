"""`milestones windows`: the current rows of the window tables."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from schemas.codec import decode_row
from streams.admin import catalogue_of
from streams.cli.options import cluster_options
from streams.kafka import read_latest
from streams.settings import Settings, load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from schemas.outputs import WindowRow


@click.command()
@click.option("--metric", default=None, help="Only this metric, such as deliveries.")
@click.option("--scope", default=None, help="Only this scope, such as model=SU7 or all.")
@click.option("--period", default=None, help="Only periods that start so, such as month:2024-10 or day:2024.")
@click.option("--json", "as_json", is_flag=True, help="One row a line, as on the topic.")
@cluster_options
def command(
    metric: str | None,
    scope: str | None,
    period: str | None,
    as_json: bool,  # noqa: FBT001 - an option
    bootstrap_servers: str | None,
    config: Path | None,
) -> None:
    """Show the current counts of days, months, years and holidays."""
    settings = load_settings(config, {"bootstrap_servers": bootstrap_servers})
    values = asyncio.run(_rows(settings))
    rows = [(decode_row(value), value) for value in values]
    chosen = [
        (row, value)
        for row, value in rows
        if (metric is None or row.metric == metric)
        and (scope is None or row.scope == scope)
        and (period is None or row.period.startswith(period))
    ]
    chosen.sort(key=lambda pair: (pair[0].metric, pair[0].scope, pair[0].start, pair[0].end, pair[0].period))
    if as_json:
        for _, value in chosen:
            click.echo(value.decode())
    elif chosen:
        _print([row for row, _ in chosen])
    else:
        what = "such rows" if rows else "rows yet: is a worker running, and have events been published?"
        click.echo(f"no {what}", err=True)


async def _rows(settings: Settings) -> list[bytes]:
    return list((await read_latest(settings, [(catalogue_of(settings).windows.name, 0)])).values())


def _print(rows: list[WindowRow]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("metric", "scope", "period"):
        table.add_column(column, no_wrap=True)
    table.add_column("count", justify="right", no_wrap=True)
    for column in ("targets", "status", "updated"):
        table.add_column(column, no_wrap=True)
    for row in rows:
        targets = ", ".join(f"{target.value:,}{' reached' if target.reached else ''}" for target in row.targets)
        table.add_row(row.metric, row.scope, row.period, f"{row.count:,}", targets, row.status, row.updated_at)
    # Piped output is for other programs: it keeps whole lines whatever the width of a terminal would be.
    console = Console(width=None if click.get_text_stream("stdout").isatty() else 200)
    console.print(table)
