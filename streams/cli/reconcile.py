"""`milestones reconcile`: our counts against the totals, and the lists, of other systems."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click
from rich.console import Console
from rich.table import Table

from schemas.facts import METRICS, TYPES_OF_VEHICLES
from schemas.rows import RowKey
from streams.audit.differences import WRITERS, differences
from streams.audit.foreign_list import EITHER, Theirs, read_list
from streams.audit.reconciling import Match, Recounted, match, recount_windows
from streams.audit.report import describe_event, owner_text, place_text
from streams.cli.options import IDENTIFIER, TEXT, FilePath, business_text, encoding_option, with_settings
from streams.cli.periods import check_filter, is_in, metric_option, period_option, why_not_counted
from streams.cli.printable import as_json, printable
from streams.cli.progress import watched
from streams.cli.running import run
from streams.domain.hints.suggestions import unknown
from streams.errors import ExpectedError
from streams.operations.reconcile import Compared, Situation, read_situation
from streams.tables import DATE, ORDER_ID, VIN

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from streams.domain.announced.controls import Control
    from streams.settings import Settings

_SHOWN: Final = 20


class _Filter(NamedTuple):
    metric: str | None
    scope: str | None
    period: str | None
    source: str | None

    def takes(self, key: RowKey, source: str) -> bool:
        return is_in(key, self) and self.source in (None, source)

    def check_found(self, settings: Settings, situation: Situation) -> None:
        """Checks what nothing was found of, so that a misspelt name is not taken for totals that all agree.

        Raises:
            ExpectedError: No control total is about the scope or from the source, or the installation counts no such periods.
        """
        totals = [(one.key.scope, one.control.source) for one in situation.compared]
        totals += [(one.row.scope, one.source) for one in situation.elsewhere]
        known = {scope for scope, _ in totals}, {source for _, source in totals}
        for option, name, names in zip(("scope", "source"), (self.scope, self.source), known, strict=True):
            if name is not None and names and name not in names:
                raise ExpectedError(f"--{option}: {unknown(f'{option} with a control total', name, names)}")
        if (fault := run(settings, why_not_counted(settings, self.period))) is not None:
            raise ExpectedError(fault)

    @property
    def row(self) -> RowKey | None:
        """The row that the options name, if it is a single one."""
        if self.metric is None or self.scope is None or self.period is None:
            return None
        return RowKey(self.metric, self.scope, self.period)


@click.command()
@metric_option
@click.option("--scope", type=IDENTIFIER, default=None, help="Only this scope, such as model=SU7 or all.")
@period_option
@click.option("--source", type=IDENTIFIER, default=None, help="Only totals of this system, as its events name it.")
@click.option("--all", "show_all", is_flag=True, help="Also show totals that agree.")
@click.option("--units", is_flag=True, help="Also show the units on our side, recounted from the source topics.")
@click.option(
    "--against",
    type=FilePath(allow_dash=True),
    metavar="FILE|-",
    default=None,
    help="The other system's list for one row: order numbers or VINs, as CSV of any kind or an Excel workbook.",
)
@click.option(
    "--column",
    "columns",
    type=TEXT,
    multiple=True,
    metavar="KIND=NAME",
    help="The column of the list with the order_id, vin or date, by name or number; NAME alone for orders or VINs.",
)
@encoding_option
@click.option(
    "--out",
    type=FilePath(dir_okay=False),
    default=None,
    metavar="FILE",
    help="Write the differences from the list to FILE, .csv or .xlsx.",
)
@click.option("--json", "in_json", is_flag=True, help="One object per line.")
@with_settings
def command(
    metric: str | None,
    scope: str | None,
    period: str | None,
    source: str | None,
    show_all: bool,
    units: bool,
    against: Path | None,
    columns: tuple[str, ...],
    encoding: str,
    out: Path | None,
    in_json: bool,
    settings: Settings,
) -> int:
    """Compare our counts with those of factories and sales systems.

    Lists the rows with a control total whose total differs: ours, theirs, ours less theirs, and since when. Exit code 1 if any does. With --against,
    compares the units of one row with the other system's own list, and shows what is missing on which side, and why if known; the
    row needs no control total if --metric, --scope and --period name it. How the list was read is printed first, so that a wrong
    guess can be noticed.
    """
    if against is None and (columns or encoding or out):
        raise click.UsageError("--column, --encoding and --out say something about a list: name it with --against")
    if out is not None and out.suffix not in WRITERS:
        raise click.UsageError(f"--out {out}: differences are written as {' or '.join(WRITERS)}")
    if out is not None and against is not None and against.exists() and out.exists() and out.samefile(against):
        raise click.UsageError(f"--out {out} is the list itself: name another file")
    theirs = None if against is None else _theirs(against, _columns(columns), encoding)
    wanted = _Filter(metric, scope, period, source)
    check_filter(metric, METRICS, period)
    situation = run(settings, read_situation(settings))
    chosen = [one for one in situation.compared if wanted.takes(one.key, one.control.source)]
    differing = [one for one in chosen if one.control.difference]
    if not chosen and (theirs is None or wanted.row is None):
        wanted.check_found(settings, situation)
    if theirs is not None:
        key = _one_row(wanted, chosen, differing)
        return _against(settings, key, theirs, _name(against), out=out, in_json=in_json)
    listed = chosen if show_all else differing
    found = _recounted(settings, {one.key for one in listed}) if units and listed else None
    if in_json:
        for one in listed:
            more = {} if found is None else {"units": found.described(one.key)}
            click.echo(as_json({**one.document(), **more}))
    else:
        _print(listed, found, settings.timezone)
    _say_the_rest(situation, wanted, chosen, differing)
    return 1 if differing else 0


def _recounted(settings: Settings, keys: Collection[RowKey], asked: frozenset[str] = frozenset()) -> Recounted:
    try:
        with watched() as listener:
            return run(settings, recount_windows(settings, keys, asked, listener))
    except ValueError as error:
        raise ExpectedError(str(error), exit_code=2) from None


# Totals -------------------------------------------------------------------------------------------------------------


def _print(listed: Sequence[Compared], found: Recounted | None, timezone: str) -> None:
    if listed:
        table = Table(box=None, pad_edge=False)
        for column in ("metric", "scope", "period", "source"):
            table.add_column(column, no_wrap=True)
        for column in ("ours", "theirs", "difference"):
            table.add_column(column, justify="right", no_wrap=True)
        for column in ("differs since", "counted there", "status"):
            table.add_column(column, no_wrap=True)
        for one in listed:
            row, control = one
            difference = f"{control.difference:+,}" if control.difference else "agrees"
            numbers = (f"{row.count:,}", f"{control.count:,}", difference)
            since = control.differs_since
            when = (
                business_text(since, timezone) if since else "",
                business_text(control.as_of, timezone),
            )
            table.add_row(*one.key, printable(control.source), *numbers, *when, row.status)
        # Piped output is for other programs: keep lines whole, whatever the terminal's width.
        Console(width=None if click.get_text_stream("stdout").isatty() else 240).print(table)
    if found is not None:
        for key in dict.fromkeys(one.key for one in listed):
            described = found.described(key)
            click.echo(f"\n{'/'.join(key)}: {len(described):,} units by a recount")
            for unit in described:
                click.echo(_unit_line(unit))
            row = next(one.row for one in listed if one.key == key)
            _warn_of_movement(key, row.count - row.balance, len(described))


def _unit_line(unit: dict[str, Any]) -> str:
    vin = f"  VIN {unit['vin']}" if "vin" in unit and unit["type"] not in TYPES_OF_VEHICLES else ""
    event = printable(f"{unit['source']} {unit['id']}")
    return f"  {unit['time']}  {printable(owner_text(unit))}{vin}  {event}  {place_text(unit)}"


def _warn_of_movement(key: RowKey, published: int, recounted: int) -> None:
    if published != recounted:
        click.echo(
            f"{'/'.join(key)}: the row says {published:,}, the recount {recounted:,}: events are still coming in, or "
            "something is wrong; milestones verify tells",
            err=True,
        )


def _say_the_rest(
    situation: Situation, wanted: _Filter, chosen: Sequence[Compared], differing: Sequence[Compared]
) -> None:
    """Prints the number of rows, and the totals that could not be compared."""
    if not situation.compared and not situation.elsewhere:
        click.echo("no control totals yet: publish control.total.v1 events", err=True)
    elif not differing:
        many = "1 control total agrees" if len(chosen) == 1 else f"{len(chosen):,} control totals agree"
        click.echo(many if chosen else "no such control totals", err=True)
    elsewhere: list[Control] = [one for one in situation.elsewhere if wanted.takes(one.row, one.source)]
    for total in elsewhere[:_SHOWN]:
        click.echo(
            f"not compared: {'/'.join(total.row)} of {printable(total.source)}: {total.total:,}; its scope or holiday is "
            "not counted here (settings scopes and holidays), or no worker has taken it yet",
            err=True,
        )
    if len(elsewhere) > _SHOWN:
        click.echo(f"not compared: {len(elsewhere) - _SHOWN:,} more", err=True)


# Lists --------------------------------------------------------------------------------------------------------------


def _one_row(wanted: _Filter, chosen: Sequence[Compared], differing: Sequence[Compared]) -> RowKey:
    if wanted.row is not None:
        return wanted.row
    keys = {one.key for one in differing} or {one.key for one in chosen}
    if len(keys) != 1:
        raise click.UsageError(
            f"--against compares one row, and {len(keys)} are meant: name it with --metric, --scope and --period"
        )
    return keys.pop()


def _columns(given: Sequence[str]) -> dict[str, str]:
    """Parses `--column`: what a column holds → its name or number."""
    told: dict[str, str] = {}
    for each in given:
        kind, equals, name = each.partition("=")
        if not equals:
            kind, name = EITHER, each
        if kind not in {ORDER_ID, VIN, DATE, EITHER} or not name:
            raise click.UsageError(f"--column {each}: write order_id=NAME, vin=NAME, date=NAME, or NAME alone")
        told[kind] = name
    return told


def _name(file: Path | None) -> str:
    return "stdin" if str(file) == "-" else str(file)


def _theirs(file: Path, told: dict[str, str], encoding: str) -> Theirs:
    """The list; says how it was read."""
    try:
        theirs = read_list(_content(file), told, encoding)
    except ValueError as error:
        raise ExpectedError(f"{_name(file)}: {error}", exit_code=2) from None
    click.echo(f"{_name(file)}: {printable(theirs.how.line())}", err=True)
    return theirs


def _against(settings: Settings, key: RowKey, theirs: Theirs, name: str, *, out: Path | None, in_json: bool) -> int:
    found = _recounted(settings, [key], theirs.names)
    matched = match(found, key, theirs)
    if in_json:
        click.echo(as_json(_document(found, key, theirs, matched)))
    else:
        _print_match(found, key, theirs, matched, name)
    if out is not None:
        _write(out, found, theirs, matched)
    return 1 if matched.differs else 0


def _content(file: Path) -> bytes:
    if str(file) == "-":
        return click.get_binary_stream("stdin").read()
    try:
        return file.read_bytes()
    except OSError as error:
        raise ExpectedError(f"{file}: {error.strerror}; name a list, or - for stdin") from None


def _write(out: Path, found: Recounted, theirs: Theirs, matched: Match) -> None:
    lines = differences(found, theirs, matched)
    try:
        WRITERS[out.suffix](out, lines)
    except OSError as error:
        raise ExpectedError(f"{out} cannot be written: {error.strerror or error}; name another file") from None
    except ValueError as error:
        raise ExpectedError(f"{out}: {error}") from None
    click.echo(f"{out}: {len(lines):,} difference{'' if len(lines) == 1 else 's'}", err=True)


def _document(found: Recounted, key: RowKey, theirs: Theirs, matched: Match) -> dict[str, Any]:
    return {
        "row": "/".join(key),
        "ours": len(found.windows[key].units),
        "theirs": len(theirs.entries),
        "matched": matched.matched,
        "only_ours": [describe_event(unit, found.business, found.names) for unit in matched.only_ours],
        "only_theirs": [
            {"order_id": entry.order_id, "vin": entry.vin, "why": why} for entry, why in matched.only_theirs
        ],
        "repeated": matched.repeated,
        "damaged": {str(row): text for row, text in matched.damaged.items()},
        "read_as": theirs.how.line(),
    }


def _print_match(found: Recounted, key: RowKey, theirs: Theirs, matched: Match, name: str) -> None:
    ours = len(found.windows[key].units)
    click.echo(f"{'/'.join(key)}: {ours:,} here, {len(theirs.entries):,} in {name}, {matched.matched:,} in both")
    if matched.only_ours:
        click.echo(f"\nOnly here: {len(matched.only_ours):,}")
        for unit in matched.only_ours:
            click.echo(_unit_line(describe_event(unit, found.business, found.names)))
    if matched.only_theirs:
        click.echo(f"\nOnly in {name}: {len(matched.only_theirs):,}")
        for entry, why in matched.only_theirs:
            click.echo(f"  {printable(entry.text)}  {printable(why)}")
    if matched.repeated:
        click.echo(f"\nMore than once in {name}: {len(matched.repeated):,}")
        for text, times in matched.repeated.items():
            click.echo(f"  {printable(text)}  {times} times")
    if matched.damaged:
        click.echo(f"\nNumbers in {name} that Excel has shortened, export them as text: {len(matched.damaged):,}")
        for row, text in matched.damaged.items():
            click.echo(f"  row {row}  {printable(text)}")
