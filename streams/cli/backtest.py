"""`milestones backtest`: what the forecasts would have said in the past, and how far they were off."""

from __future__ import annotations

import contextlib
import json
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console
from rich.table import Table

from schemas.codec import decode_row
from schemas.facts import INVENTORY
from streams.cli.options import CalendarDate, cluster_options
from streams.cli.running import run
from streams.domain.forecasts.backtest import DailyForecast, Past, Score, complete_periods, score
from streams.domain.rules import Target
from streams.domain.time.daytypes import DayTypes
from streams.domain.time.periods import month_period
from streams.errors import ExpectedError
from streams.holidays import calendar_of
from streams.installation import load_settings, targets_of
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import read_latest
from streams.settings_file import config_or_story
from streams.story import load_facts, tell

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from streams.domain.time.calendar import Calendar
    from streams.domain.time.periods import Period
    from streams.settings import Settings

_DAYS_OF_MONTH: Final = (1, 15)
_STORY_BY: Final = date(2024, 11, 30)
_NOTHING: Final = "-"


@dataclass
class _Series:
    """Day counts of one metric and scope, and its targets whose periods are over."""

    metric: str
    scope: str
    counts: dict[date, int] = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)


@dataclass(frozen=True)
class _Part:
    """A table: its rows, their score and, for a target, since when it was expected by a date."""

    series: _Series
    rows: list[DailyForecast]
    target: Target | None = None
    reached_on: date | None = None
    expected: tuple[date | None, date | None] | None = None

    @property
    def score(self) -> Score:
        return score(self.rows)


@click.command()
@click.option("--story", is_flag=True, help="Use the built-in story of the SU7, without Kafka.")
@click.option(
    "--by",
    type=CalendarDate(),
    metavar="DATE",
    default=None,
    help="Also: since when was each target expected by this date? With --story: 2024-11-30.",
)
@click.option("--json", "as_json", is_flag=True, help="One row, score or answer per line.")
@cluster_options
def command(
    story: bool,
    by: date | None,
    as_json: bool,
    bootstrap_servers: str | None,
    config: Path | None,
) -> None:
    """Show what the forecasts would have said in the past.

    On each 1st and 15th, next to the same pace and the last 28 days. Forecasts every month and every target whose period is over; each row only uses the days before its date. Day counts are
    today's: late events are included.
    """
    overrides = {} if story else {"bootstrap_servers": bootstrap_servers}
    settings = load_settings(config_or_story(config) if story else config, overrides)
    calendar = calendar_of(settings)
    found = _of_story(settings) if story else _of_cluster(settings)
    by_date = by if by is not None else (_STORY_BY if story else None)
    parts = [part for series in found for part in _parts(series, calendar, by_date)]
    if not parts:
        raise ExpectedError(
            "no month and no target's period is over yet: nothing to compare a forecast with; try --story"
        )
    if as_json:
        for line in _lines(parts, by_date):
            click.echo(json.dumps(line))
    else:
        _print(parts, by_date)


def _of_story(settings: Settings) -> list[_Series]:
    facts = load_facts()
    click.echo(f"{facts.title}, {facts.label}", err=True)
    with Console(stderr=True).status("simulating the story") if sys.stderr.isatty() else contextlib.nullcontext():
        counts = tell(facts).expected.counts
    found: dict[tuple[str, str], _Series] = {}
    for target in targets_of(settings):
        if target.scope in {"all", f"model={facts.model}"}:
            series = found.setdefault((target.metric, target.scope), _Series(target.metric, target.scope))
            series.counts = dict(counts[target.metric])
            series.targets.append(target)
    return list(found.values())


def _of_cluster(settings: Settings) -> list[_Series]:
    values = run(settings, read_latest(settings, catalogue_of(settings).windows.whole)).values()
    found: dict[tuple[str, str], _Series] = {}
    days: dict[tuple[str, str], dict[date, int]] = defaultdict(dict)
    for row in map(decode_row, values):
        key: tuple[str, str] = (row.metric, row.scope)
        if row.period.startswith("day:"):
            days[key][date.fromisoformat(row.start)] = row.count
        if row.targets and row.metric != INVENTORY:
            series = found.setdefault(key, _Series(*key))
            if row.status == "open":
                click.echo(f"{row.metric}/{row.scope}/{row.period}: not over yet, left out", err=True)
                continue
            series.targets += [
                Target(target.target_id, row.metric, row.scope, row.period, target.value) for target in row.targets
            ]
    for key, series in found.items():
        series.counts = days[key]
        series.targets.sort(key=lambda target: (target.period, target.value, target.target_id))
    return [found[key] for key in sorted(found)]


def _parts(series: _Series, calendar: Calendar, by: date | None) -> Iterator[_Part]:
    try:
        past = Past(series.counts, DayTypes(calendar.years))
    except ValueError:
        return
    months = complete_periods(past, month_period)
    rows = [past.say(month, as_of) for month in months for as_of in past.dates(month, _DAYS_OF_MONTH)]
    if rows:
        yield _Part(series, rows)
    for target in series.targets:
        part = _target_part(series, target, past, calendar.period(target.period), by)
        if part.rows:
            yield part


def _target_part(series: _Series, target: Target, past: Past, period: Period, by: date | None) -> _Part:
    rows = [past.say(period, as_of, target.value) for as_of in past.dates(period, _DAYS_OF_MONTH)]
    expected = None
    if by is not None and period.start <= by <= period.end:
        expected = past.first_expected_by(period, target.value, by)
    return _Part(series, rows, target, past.date_reaching(period, target.value), expected)


def _lines(parts: Iterable[_Part], by: date | None) -> Iterator[dict[str, Any]]:
    for part in parts:
        about: Mapping[str, Any] = {
            "metric": part.series.metric,
            "scope": part.series.scope,
            "target_id": part.target.target_id if part.target else None,
            "value": part.target.value if part.target else None,
        }
        for row in part.rows:
            model, same, recent = row.errors()
            yield {
                **about,
                "line": "said",
                "as_of": row.as_of.isoformat(),
                "period": row.period,
                "count": row.count,
                "projected_total": row.total.model_dump(),
                "projected_date": row.date.model_dump(),
                "same_pace": row.same_pace,
                "last_28_days": row.recent_pace,
                "actual": row.actual,
                "error": {"model": round(model, 4), "same_pace": round(same, 4), "last_28_days": round(recent, 4)},
            }
        mean = part.score
        yield {
            **about,
            "line": "score",
            "mean_absolute_error": {
                "model": round(mean.model, 4),
                "same_pace": round(mean.same_pace, 4),
                "last_28_days": round(mean.recent_pace, 4),
            },
            "ranges": mean.ranges,
            "ranges_held": mean.held,
        }
        if part.expected is not None and by is not None:
            first, since = part.expected
            yield {
                **about,
                "line": "expected_by",
                "by": by.isoformat(),
                "first_on": first.isoformat() if first else None,
                "always_since": since.isoformat() if since else None,
                "reached_on": part.reached_on.isoformat() if part.reached_on else None,
            }


def _print(parts: Iterable[_Part], by: date | None) -> None:
    # Piped output is for other programs: keep lines whole, whatever the terminal's width.
    console = Console(width=None if click.get_text_stream("stdout").isatty() else 200, highlight=False)
    for number, part in enumerate(parts):
        if number:
            console.print()
        console.print(_title(part))
        console.print(_table(part))
        console.print(_verdict(part.score))
        if part.expected is not None and by is not None:
            console.print(_answer(part, by))


def _title(part: _Part) -> str:
    what = f"{part.series.metric} {part.series.scope}"
    if part.target is None:
        return f"{what}, each month"
    reached = f"reached on {part.reached_on}" if part.reached_on else "not reached"
    return f"{what}, target {part.target.target_id}: {part.target.value:,} in {part.target.period}, {reached}"


def _table(part: _Part) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("as of", "period"):
        table.add_column(column, no_wrap=True)
    for column in ("so far", "P10", "P50", "P90", "in the end", "error", "same pace", "28 days"):
        table.add_column(column, justify="right", no_wrap=True)
    if part.target is not None:
        table.add_column("expected on", no_wrap=True)
    for row in part.rows:
        cells = [
            row.as_of.isoformat(),
            row.period,
            f"{row.count:,}",
            *(_units(units) for units in (row.total.p10, row.total.p50, row.total.p90)),
            f"{row.actual:,}",
            *(f"{error:+.1%}" for error in row.errors()),
        ]
        table.add_row(*cells, *([_dates(row, part.reached_on)] if part.target is not None else []))
    return table


def _dates(row: DailyForecast, reached_on: date | None) -> str:
    if reached_on is not None and reached_on < row.as_of:
        return "reached"
    early, middle, late = row.date.p10, row.date.p50, row.date.p90
    if early is None and middle is None:
        return "not in sight"
    within = f" ({early or _NOTHING} to {late or _NOTHING})" if early is not None or late is not None else ""
    return f"{middle or _NOTHING}{within}"


def _verdict(mean: Score) -> str:
    return (
        f"mean absolute error: model {mean.model:.1%}, same pace {mean.same_pace:.1%}, last 28 days {mean.recent_pace:.1%}; "
        f"{mean.held} of {mean.ranges} ranges held the total"
    )


def _answer(part: _Part, by: date) -> str:
    if part.expected is None or part.expected[0] is None:
        return f"reaching it by {by} was never the middle projection"
    first, since = part.expected
    stayed = "and on every morning after that" if first == since else f"and without a break since {since}"
    return f"reaching it by {by} was the middle projection first on the morning of {first}, {stayed}"


def _units(units: int | None) -> str:
    return _NOTHING if units is None else f"{units:,}"
