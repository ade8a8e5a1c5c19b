"""`milestones forecasts`: what to expect of the current targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from schemas.codec import decode_forecast
from streams.cli.options import cluster_options
from streams.cli.running import run
from streams.installation import load_settings
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import read_latest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from schemas.outputs import Forecast

_NOTHING = "-"


@click.command()
@click.option("--target", "target_id", default=None, help="Only this target.")
@click.option("--json", "as_json", is_flag=True, help="One forecast a line, as on the topic.")
@cluster_options
def command(
    target_id: str | None,
    as_json: bool,  # noqa: FBT001 - an option
    bootstrap_servers: str | None,
    config: Path | None,
) -> None:
    """Show the forecast of each target: total at the period's end, date of reaching it, pace needed.

    A range (P10 to P90) held the truth in 8 of 10 cases of the past. `milestones backtest` shows how good it was.
    """
    settings = load_settings(config, {"bootstrap_servers": bootstrap_servers})
    values = run(settings, read_latest(settings, [(catalogue_of(settings).forecasts.name, 0)])).values()
    forecasts = [(decode_forecast(value), value) for value in values]
    chosen = [pair for pair in forecasts if target_id in (None, pair[0].target_id)]
    chosen.sort(key=lambda pair: (pair[0].end, pair[0].start, pair[0].metric, pair[0].scope, pair[0].target_id))
    if as_json:
        for _, value in chosen:
            click.echo(value.decode())
    elif chosen:
        _print([made for made, _ in chosen])
    else:
        what = (
            f"forecast of a target {target_id!r}" if forecasts else "forecasts yet: is a target set, a worker running?"
        )
        click.echo(f"no {what}", err=True)


def _print(forecasts: Iterable[Forecast]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("target", "what", "state"):
        table.add_column(column, no_wrap=True)
    for column in ("value", "count", "to plan", "P10", "P50", "P90"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("expected on", no_wrap=True)
    for column in ("pace", "needed"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("as of", no_wrap=True)
    table.add_column("note", no_wrap=True)
    for made in forecasts:
        total = made.projected_total
        table.add_row(
            made.target_id,
            f"{made.metric} {made.scope} {made.period}",
            made.state,
            f"{made.value:,}",
            f"{made.count:,}",
            f"{made.ahead_units:+,} ({made.ahead_days:+.1f} d)",
            *(_number(units) for units in (total.p10, total.p50, total.p90)),
            made.projected_date.p50 or _NOTHING,
            _number(made.pace_recent),
            _number(made.pace_needed),
            made.as_of,
            made.note,
        )
    # Piped output is for other programs: keep lines whole, whatever the terminal width.
    console = Console(width=None if click.get_text_stream("stdout").isatty() else 400)
    console.print(table)


def _number(units: float | None) -> str:
    return _NOTHING if units is None else f"{units:,}"
