"""`milestones forecasts`: what to expect for the current targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from schemas.codec import decode_forecast
from streams.cli.options import TEXT, business_text, with_settings
from streams.cli.running import run
from streams.cli.text_tables import print_columns
from streams.domain.hints.suggestions import unknown
from streams.domain.time.periods import TOTAL
from streams.errors import ExpectedError
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import read_latest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.outputs import Forecast
    from streams.settings import Settings

_NOTHING = "-"


@click.command()
@click.option("--target", "target_id", type=TEXT, default=None, help="Only this target.")
@click.option("--json", "as_json", is_flag=True, help="One forecast per line, as on the topic.")
@with_settings
def command(
    target_id: str | None,
    as_json: bool,
    settings: Settings,
) -> None:
    """Show the forecast of each target.

    The total at the end of the period, the date of reaching it, and the pace needed. In 8 of 10 past cases, the outcome was within the range (P10 to P90). `milestones backtest` shows how good forecasts were.
    """
    values = run(settings, read_latest(settings, catalogue_of(settings).forecasts.whole)).values()
    forecasts = [(decode_forecast(value), value) for value in values]
    chosen = [pair for pair in forecasts if target_id in (None, pair[0].target_id)]
    if forecasts and not chosen and target_id is not None:
        raise ExpectedError(f"--target: {unknown('target', target_id, {made.target_id for made, _ in forecasts})}")
    chosen.sort(key=lambda pair: (pair[0].end, pair[0].start, pair[0].metric, pair[0].scope, pair[0].target_id))
    if as_json:
        for _, value in chosen:
            click.echo(value.decode())
    elif chosen:
        _print([made for made, _ in chosen])
    else:
        click.echo("no forecasts yet: is a target set, a worker running?", err=True)


def _print(forecasts: Iterable[Forecast]) -> None:
    numbers = ("value", "count", "to plan", "P10", "P50", "P90", "pace", "needed")
    headers = ("target", "what", "state", *numbers[:6], "expected on", *numbers[6:], "as of", "note")
    rows = []
    for made in forecasts:
        total = made.projected_total
        rows.append(
            (
                made.target_id,
                f"{made.metric} {made.scope} {made.period}",
                made.state,
                f"{made.value:,}",
                f"{made.count:,}",
                f"{made.ahead_units:+,} ({made.ahead_days:+.1f} d)" if made.period != TOTAL else _NOTHING,
                *(_number(units) for units in (total.p10, total.p50, total.p90)),
                made.projected_date.p50 or _NOTHING,
                _number(made.pace_recent),
                _number(made.pace_needed),
                business_text(made.as_of, made.timezone),
                made.note,
            )
        )
    print_columns(headers, rows, numbers=numbers, names=["note", "target", "what"])


def _number(units: float | None) -> str:
    return _NOTHING if units is None else f"{units:,}"
