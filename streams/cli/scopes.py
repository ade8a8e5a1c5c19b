"""`milestones scopes`: what each set of scopes costs, what another set would cost, and how near the limits are."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from schemas.codec import read_row
from schemas.facts import DIMENSIONS
from schemas.rows import RowKey
from schemas.texts import template_name
from streams.cli.options import TEXT, WholeNumber, with_settings
from streams.cli.progress import watched
from streams.cli.running import run
from streams.cli.text_tables import print_columns
from streams.domain.hints.suggestions import unknown
from streams.domain.scopes.limit_usage import LimitUse, ScopeCosts, SetCost, limit_uses
from streams.errors import ExpectedError
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import read_latest
from streams.settings import MOST_KEPT_DAYS

if TYPE_CHECKING:
    from streams.settings import Settings

_HEADERS = ("set", "scopes", "rows", "bytes", "rows of the last day", "bytes of the last day")


@click.command()
@click.option(
    "--add",
    type=TEXT,
    metavar="DIMENSIONS",
    default=None,
    help="Also show what this set would cost, such as model,region.",
)
@click.option(
    "--keep-days",
    metavar="DAYS",
    type=WholeNumber(1, MOST_KEPT_DAYS),
    default=None,
    help="Show which rows would be removed if only this many days before the last one had rows ([keep_days]).",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of the table.")
@with_settings
def command(
    add: str | None,
    keep_days: int | None,
    as_json: bool,
    settings: Settings,
) -> None:
    """Show what the scopes cost, and how near the limits are.

    For each set of scopes: its rows and bytes.
    """
    wanted = None if add is None else _dimensions(add)
    costs = _read(settings)
    sets = {template_name(each): cost for each, cost in costs.sets().items()}
    added = None if wanted is None else _added(costs, wanted)
    uses = limit_uses(settings.limits.bounds, costs.values(), costs.scopes(), costs.rows())
    leaving = None if keep_days is None else {template_name(of): cost for of, cost in costs.leaving(keep_days).items()}
    if as_json:
        document = _document(costs, sets, uses, wanted, added)
        if leaving is not None:
            document["would_leave"] = [
                {"set": name, "rows": rows, "size_bytes": size} for name, (rows, size) in sorted(leaving.items())
            ]
        click.echo(json.dumps(document))
    elif sets:
        _print(costs, sets, wanted, added)
        if leaving is not None and keep_days is not None:
            _print_leaving(keep_days, sets, leaving)
    else:
        click.echo("no rows yet: is a worker running, and have events been published?", err=True)
    for use in uses:
        if use.is_near:
            click.echo(f"{use.line()}: list the values that matter under [values], or raise [limits]", err=True)


def _dimensions(text: str) -> tuple[str, ...]:
    names = [part.strip() for part in text.split(",") if part.strip()]
    for name in names:
        if name not in DIMENSIONS:
            raise ExpectedError(f"--add: {unknown('dimension', name, DIMENSIONS)}")
    if not names or len(set(names)) < len(names):
        raise ExpectedError("--add: name each dimension once, such as model,region")
    return tuple(name for name in DIMENSIONS if name in names)


def _read(settings: Settings) -> ScopeCosts:
    sizes: dict[bytes, tuple[int, int]] = {}

    def kept(key: bytes, value: bytes) -> bytes:
        sizes[key] = (len(key) + len(value), read_row(value).count)
        return b""

    windows = catalogue_of(settings).windows.whole
    with watched() as listener:
        latest = run(
            settings, read_latest(settings, windows, kept=kept, plan=listener.plan, progress=listener.progress)
        )
    costs = ScopeCosts()
    for key in latest:
        costs.add(RowKey.parse(key.decode()), *sizes[key])
    return costs


def _added(costs: ScopeCosts, wanted: tuple[str, ...]) -> SetCost | None:
    """What a set would cost; `None` if it is already counted."""
    if wanted in costs.sets():
        return None
    if len(wanted) < 2 or (missing := costs.missing(wanted)):
        name = wanted[0] if len(wanted) < 2 else missing[0]
        raise ExpectedError(
            f"--add: [{name}] is not counted alone, so that nothing is known of its values; add it first, next to what is "
            "counted, by milestones rebuild with scopes that have it"
        )
    return costs.estimate(wanted)


def _document(
    costs: ScopeCosts,
    sets: dict[str, SetCost],
    uses: list[LimitUse],
    wanted: tuple[str, ...] | None,
    added: SetCost | None,
) -> dict[str, Any]:
    document: dict[str, Any] = {
        "last_day": costs.last_day or None,
        "sets": [{"set": name, **asdict(cost)} for name, cost in sets.items()],
        "limits": [{**use._asdict(), "near": use.is_near} for use in uses],
    }
    if added is not None and wanted is not None:
        document["estimate"] = {"set": ",".join(wanted), **asdict(added)}
    return document


def _print(costs: ScopeCosts, sets: dict[str, SetCost], wanted: tuple[str, ...] | None, added: SetCost | None) -> None:
    total = SetCost(*(sum(column) for column in zip(*(asdict(cost).values() for cost in sets.values()), strict=True)))
    rows = [(name, *_cells(cost)) for name, cost in sets.items()]
    rows.append(("together", *_cells(total)))
    if added is not None and wanted is not None:
        after = SetCost(*(sum(pair) for pair in zip(asdict(total).values(), asdict(added).values(), strict=True)))
        rows += [(f"{','.join(wanted)}, about", *_cells(added)), ("together with it", *_cells(after))]
    print_columns(_HEADERS, rows, numbers=_HEADERS[1:], names=["set"])
    if costs.last_day:
        click.echo(f"the last day is {costs.last_day.partition(':')[2]}; bytes are keys and values before compression")
    if wanted is not None and added is None:
        click.echo(f"{','.join(wanted)} is counted already")


def _print_leaving(keep_days: int, sets: dict[str, SetCost], leaving: dict[str, tuple[int, int]]) -> None:
    click.echo(f"\nwith keep_days = {keep_days} these would leave, all of them rows of days:")
    headers = ("set", "rows", "of its rows", "bytes")
    rows = [
        (name, f"{found:,}", f"{found / cost.rows:.0%}", f"{size:,}")
        for name, cost in sets.items()
        for found, size in [leaving.get(name, (0, 0))]
    ]
    print_columns(headers, rows, numbers=headers[1:], names=["set"])


def _cells(cost: SetCost) -> tuple[str, ...]:
    return tuple(f"{number:,}" for number in asdict(cost).values())
