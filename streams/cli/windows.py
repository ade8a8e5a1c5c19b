"""`milestones windows`: the rows of the window tables, as they are now, as of a moment, or as first closed."""

from __future__ import annotations

import json
from bisect import insort
from heapq import nsmallest
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from schemas.codec import decode_row, encode_row, read_row
from schemas.facts import ROW_METRICS
from schemas.rows import RowKey
from schemas.texts import template_name, template_of
from streams.cli.options import IDENTIFIER, TEXT, WholeNumber, business_text, instant_us, with_settings
from streams.cli.periods import check_filter, is_in, metric_option, period_option, why_not_counted
from streams.cli.progress import watched
from streams.cli.running import run
from streams.cli.text_tables import print_columns
from streams.cli.webview import rows_of_web_view
from streams.domain.hints.suggestions import unknown
from streams.errors import ExpectedError
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import read_latest

if TYPE_CHECKING:
    from collections.abc import Collection

    from schemas.outputs import WindowRow
    from schemas.rows import PublishedRow
    from streams.settings import Settings

_FIRST_CLOSED = "first-closed"


class _Shown(NamedTuple):
    """A row as shown: its sort key, its JSON, and its cells of the table."""

    key: RowKey
    order: tuple[str, str, str, str, str]
    text: str
    cells: tuple[str, ...]


class _Rows(NamedTuple):
    """The rows to show, whether there are any at all, and how many match."""

    shown: list[_Shown]
    are_any: bool
    matching: int


class _Filter(NamedTuple):
    metric: str | None
    scope: str | None
    period: str | None

    def check_scope(self, known: Collection[str]) -> None:
        """Checks that there are rows of the scope, if there are rows at all.

        Raises:
            ExpectedError: There are none.
        """
        if self.scope is not None and known and self.scope not in known:
            raise ExpectedError(f"--scope: {unknown('scope', self.scope, known)}")

    def parameters(self) -> dict[str, str]:
        """The filter as parameters of the web view's API."""
        return {name: text for name, text in self._asdict().items() if text is not None}

    def takes(self, key: RowKey) -> bool:
        return is_in(key, self)


@click.command()
@metric_option
@click.option("--scope", type=IDENTIFIER, default=None, help="Only this scope, such as model=SU7 or all.")
@period_option
@click.option("--limit", type=WholeNumber(min=1), default=None, help="Show at most this many rows, the first ones.")
@click.option(
    "--as-of",
    type=TEXT,
    metavar="TIME",
    default=None,
    help="As of a moment, such as 2024-10-07T18:00:00+08:00: a recount of what had been appended by then.",
)
@click.option("--as-first-closed", is_flag=True, help="Show each period's figures as first closed.")
@click.option("--no-web", is_flag=True, help="Read the topic, even if a web view runs on this machine.")
@click.option("--json", "as_json", is_flag=True, help="One row per line, as on the topic.")
@with_settings
def command(
    metric: str | None,
    scope: str | None,
    period: str | None,
    limit: int | None,
    as_of: str | None,
    as_first_closed: bool,
    no_web: bool,
    as_json: bool,
    settings: Settings,
) -> None:
    """Show the counts: days, months, years, holidays, campaigns.

    Each row is the count of one metric and scope in one period.
    """
    if as_of is not None and as_first_closed:
        raise click.UsageError("--as-of and --as-first-closed are two different questions: ask one at a time")
    wanted = _Filter(metric, scope, period)
    check_filter(metric, ROW_METRICS, period)
    appended_us = None if as_of is None else instant_us(as_of, "--as-of")
    columns: tuple[str, ...] = ()
    if as_of is not None and appended_us is not None:
        rows, none = _all(_as_of(settings, as_of, appended_us), wanted), f"nothing had been counted by {as_of}"
    elif as_first_closed:
        rows, columns, none = (
            _all(_first_closed(settings), wanted),
            ("version", "closed at"),
            "no period has been closed yet",
        )
    else:
        rows, columns = _current(settings, wanted, limit, ask_web=not no_web), ("targets", "status", "updated")
        none = "no rows yet: is a worker running, and have events been published?"
    chosen = sorted(rows.shown, key=lambda row: row.order)[:limit]
    if as_json:
        for row in chosen:
            click.echo(row.text)
    elif chosen:
        _print([row.cells for row in chosen], columns)
    if not chosen:
        click.echo(_why_none(settings, wanted) if rows.are_any else none, err=True)
        return
    if rows.matching > len(chosen):
        click.echo(f"{rows.matching - len(chosen):,} more rows: raise --limit, or narrow the question", err=True)


def _why_none(settings: Settings, wanted: _Filter) -> str:
    """The message if no row matches.

    Raises:
        ExpectedError: None ever will: such periods are not counted.
    """
    if (fault := run(settings, why_not_counted(settings, wanted.period))) is not None:
        raise ExpectedError(fault)
    template = template_of(wanted.scope) if wanted.scope is not None else None
    days = settings.kept_days.get(template) if template is not None else None
    if days is None or not (wanted.period or "").startswith("day:"):
        return "no such rows"
    name = template_name(template or ())
    return f"no such rows: of {name}, days have rows for {days:,} days only ([keep_days]); weeks, months and years stay"


def _current(settings: Settings, wanted: _Filter, limit: int | None, *, ask_web: bool) -> _Rows:
    if ask_web and (found := rows_of_web_view(settings, wanted.parameters(), limit)) is not None:
        return _Rows(_shown(found.values), are_any=found.are_any, matching=found.matching)
    scopes: set[str] = set()

    def takes(key: bytes) -> bool:
        named = RowKey.parse(key.decode())
        scopes.add(named.scope)
        return wanted.takes(named)

    windows = catalogue_of(settings).windows.whole
    first = _First(limit)
    with watched() as listener:
        latest = run(
            settings,
            read_latest(
                settings, windows, wanted=takes, kept=first.kept, plan=listener.plan, progress=listener.progress
            ),
        )
        if limit is not None and sum(map(bool, latest.values())) < min(limit, len(latest)):
            # Some of the first rows were removed again, and the rows that take their places were not kept.
            latest = run(
                settings, read_latest(settings, windows, wanted=takes, plan=listener.plan, progress=listener.progress)
            )
    wanted.check_scope(scopes)
    values = [value for value in latest.values() if value]
    if limit is not None:
        # Models are only made of the rows that are shown.
        values = nsmallest(limit, values, key=lambda value: _order(read_row(value)))
    return _Rows(_shown(values), are_any=bool(scopes), matching=len(latest))


class _First:
    """Keeps the values of the first rows while reading, and of all others only that they exist."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._order: list[tuple[str, str, str, bytes]] = []
        self._keys: set[bytes] = set()

    def kept(self, key: bytes, value: bytes) -> bytes:
        """The value, if it is among the first so far, else nothing."""
        if self._limit is None or key in self._keys:
            return value
        place = (*_beginning(key, value), key)
        if len(self._order) >= self._limit:
            if place[:3] > self._order[-1][:3]:
                return b""
            if place < self._order[-1]:
                self._keys.discard(self._order.pop()[3])
            else:
                return value
        insort(self._order, place)
        self._keys.add(key)
        return value


def _beginning(key: bytes, value: bytes) -> tuple[str, str, str]:
    """The first parts of a row's sort key: metric, scope and first date."""
    metric, scope, period = RowKey.parse(key.decode())
    kind, _, rest = period.partition(":")
    if kind in ("day", "month", "year") and rest[:1].isdigit():
        return metric, scope, f"{rest}-01-01"[: len("2024-01-01")]
    return metric, scope, read_row(value).start


def _shown(values: list[bytes]) -> list[_Shown]:
    return [_published(decode_row(value), value.decode()) for value in values]


def _all(rows: list[_Shown], wanted: _Filter) -> _Rows:
    wanted.check_scope({row.key.scope for row in rows})
    chosen = [row for row in rows if wanted.takes(row.key)]
    return _Rows(chosen, are_any=bool(rows), matching=len(chosen))


def _published(row: WindowRow, text: str) -> _Shown:
    targets = ", ".join(f"{target.value:,}{' reached' if target.reached else ''}" for target in row.targets)
    key = RowKey.of(row)
    cells = (*key, f"{row.count:,}", targets, row.status, business_text(row.updated_at, row.timezone))
    return _Shown(key, _order(row), text, cells)


def _order(row: PublishedRow) -> tuple[str, str, str, str, str]:
    return row.metric, row.scope, row.start, row.end, row.period


def _as_of(settings: Settings, as_of: str, appended_us: int) -> list[_Shown]:
    # Imported here, since current rows do not need it.
    from streams.audit.asof import rows_as_of  # noqa: PLC0415 - see above

    with watched() as listener:
        rows = run(settings, rows_as_of(settings, appended_us, plan=listener.plan, progress=listener.progress))
    shown = []
    for row in rows:
        key = RowKey.of(row)
        document = {**row.document(), "timezone": settings.timezone, "as_of": as_of}
        order = (row.metric, row.scope, row.start.isoformat(), row.end.isoformat(), row.period)
        shown.append(_Shown(key, order, _json(document), (*key, f"{row.count:,}")))
    return shown


def _first_closed(settings: Settings) -> list[_Shown]:
    from streams.audit.first_closed import rows_as_first_closed  # noqa: PLC0415 - see above

    found = run(settings, rows_as_first_closed(settings))
    shown = []
    for row in found.rows:
        document = {**json.loads(encode_row(row)), "as_of": _FIRST_CLOSED}
        cells = (
            row.metric,
            row.scope,
            row.period,
            f"{row.count:,}",
            f"{row.version}",
            business_text(row.updated_at, row.timezone),
        )
        shown.append(_published(row, _json(document))._replace(cells=cells))
    for row in found.forgotten:
        key = RowKey.of(row)
        document = {
            "metric": row.metric,
            "scope": row.scope,
            "period": row.period,
            "count": None,
            "as_of": _FIRST_CLOSED,
        }
        shown.append(_published(row, _json(document))._replace(cells=(*key, "not known any more", "", "")))
    if found.forgotten:
        line = f"{len(found.forgotten):,} periods were restated since they were closed, and the history does not hold the version that was first closed"
        click.echo(line, err=True)
    return shown


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _print(rows: list[tuple[str, ...]], more_columns: tuple[str, ...]) -> None:
    headers = ("metric", "scope", "period", "count", *more_columns)
    names = [name for name in ("targets", "scope") if name in headers]
    print_columns(headers, rows, numbers=["count"], names=names)
