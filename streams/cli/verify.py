"""`milestones verify`: a recount from the source topics, compared with everything that was published."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click

from streams.audit.report import place_text
from streams.audit.verifying import verify
from streams.cli.options import business_text, with_settings
from streams.cli.progress import watched
from streams.cli.running import run

if TYPE_CHECKING:
    from typing import Any

    from streams.audit.report import Check, Difference, Report
    from streams.settings import Settings

_SHOWN_DIFFERENCES = 20
_SHOWN_UNITS = 5
_SHOWN_WARNINGS = 10
_SHOWN_BEGINNINGS = 3


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object, with books and units.")
@with_settings
def command(
    as_json: bool,
    settings: Settings,
) -> int:
    """Recount everything from the source topics and compare.

    Recounts with code separate from the service's, up to what the service says it has applied; events may keep arriving
    meanwhile. Compares rows (also by hour), milestones, targets, deliveries without production, books and dead letters. Exit
    code 1 if anything differs. A vehicle delivered under two orders is a fact in the events, and reported as a note.

    Holds the events of one ledger partition in memory at a time: about 500 bytes each.
    """
    started = time.monotonic()
    with watched() as listener:
        report = run(settings, verify(settings, listener))
    if as_json:
        click.echo(json.dumps(report.document(), ensure_ascii=False))
    else:
        _print(report, time.monotonic() - started, settings.timezone)
    return 1 if report.differences else 0


def _print(report: Report, elapsed_s: float, timezone: str) -> None:
    records = ", ".join(f"{count:,} of {name}" for name, count in report.point["records"].items())
    rows_at = report.point["rows_updated_at"]
    rows_at = "no time" if rows_at is None else business_text(rows_at, timezone)
    click.echo(f"recounted up to {records}; rows of {rows_at}")
    _print_beginnings(report)
    behind = report.point["counts_behind"]
    if behind:
        click.echo(f"{behind:,} records of day counts after this point are not in the rows yet", err=True)
    for check in report.checks:
        _print_check(check)
    if report.conflicts:
        click.echo(f"note  {len(report.conflicts):,} event ids have more than one content; --json lists them")
    for warning in report.warnings[:_SHOWN_WARNINGS]:
        click.echo(f"note  {warning.line}")
    if len(report.warnings) > _SHOWN_WARNINGS:
        click.echo(f"note  {len(report.warnings) - _SHOWN_WARNINGS:,} more such vehicles; --json lists them")
    result = f"{report.differences:,} differences" if report.differences != 1 else "1 difference"
    click.echo(f"{result if report.differences else 'no difference'} ({elapsed_s:.1f} s)")


def _print_beginnings(report: Report) -> None:
    """Prints where sources begin whose earlier records were counted and have been deleted."""
    found = report.beginnings
    for beginning in found[:_SHOWN_BEGINNINGS]:
        click.echo(f"note  {beginning.line}")
    if len(found) > _SHOWN_BEGINNINGS:
        click.echo(f"note  {len(found) - _SHOWN_BEGINNINGS:,} more such partitions; --json lists them")
    if found:
        click.echo("note  which of the deleted records were rejected, forwarded or duplicates is not judged again")


def _print_check(check: Check) -> None:
    if not check.differences:
        click.echo(f"ok    {check.compared:>9,} {check.of}")
        return
    click.echo(f"WRONG {check.compared:>9,} {check.of}: {len(check.differences):,} differ")
    for difference in check.differences[:_SHOWN_DIFFERENCES]:
        click.echo(f"        {difference.line}")
        _print_units(difference)
    if len(check.differences) > _SHOWN_DIFFERENCES:
        click.echo(f"        and {len(check.differences) - _SHOWN_DIFFERENCES:,} more; --json lists them")


def _print_units(difference: Difference) -> None:
    units: list[dict[str, Any]] = difference.details.get("units", [])
    if units:
        where = " in those hours" if difference.details.get("hours") else ""
        click.echo(f"          {difference.details['unit_count']:,} units{where} by the recount, among them")
    for unit in units[:_SHOWN_UNITS]:
        click.echo(f"          {unit['time']}  {unit['order_id']}  {unit['source']} {unit['id']}  {place_text(unit)}")
    without: list[dict[str, Any]] = difference.details.get("without_effect", [])
    if without:
        click.echo(f"          {len(without):,} events there do not count, among them")
    for unit in without[:_SHOWN_UNITS]:
        click.echo(f"          {unit['time']}  {unit['order_id']}  {place_text(unit)}  {unit['effect']}")
