"""`milestones correct`: corrects publishers' mistakes in an operator's name."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from schemas.instants import format_instant, utc_text
from streams.audit.consequences import Consequences, changed_units, consequences, read_state
from streams.audit.correcting import KINDS, FoundOrders, OrderEvents, choose, described, find_orders, placed
from streams.audit.judging import EFFECTS
from streams.audit.sums import Business
from streams.audit.targets import counted_now
from streams.cli.operators import one_line, operator
from streams.cli.options import IDENTIFIER, TEXT, with_settings
from streams.cli.printable import as_json, printable
from streams.cli.progress import watched
from streams.cli.running import run
from streams.context import Context, wall_clock_us
from streams.errors import ExpectedError
from streams.operations.corrections import (
    Corrected,
    Correction,
    Note,
    last_correction,
    moved_time,
    publish,
    taken_back,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.audit.correcting import Judged
    from streams.settings import Settings

F = TypeVar("F", bound="Callable[..., Any]")


@dataclass(frozen=True)
class _How:
    """The options that all corrections share."""

    by: str
    dry_run: bool
    yes: bool
    in_json: bool


@click.group(name="correct")
def command() -> None:
    """Correct what was published about an order, or undo that.

    ORDER|VIN is an order number or a VIN. Shows the rows and milestones that would change and asks before anything is
    published. The events carry the operator's name and the reason, and are published together or not at all; undo takes back
    the last correction of an order. Nothing that others have published is changed.
    """


def _options(function: F) -> F:
    """Adds the options of all corrections, and calls the function with the `settings` and `how` that they lead to."""

    @functools.wraps(function)
    def told(*args: Any, by: str | None, dry_run: bool, yes: bool, in_json: bool, **options: Any) -> Any:
        return function(*args, how=_How(operator(by), dry_run, yes, in_json), **options)

    told = with_settings(told)
    for option in (
        click.option("--json", "in_json", is_flag=True, help="One JSON object: events, rows, milestones."),
        click.option("--yes", is_flag=True, help="Publish without asking."),
        click.option("--dry-run", is_flag=True, help="Only show what would change."),
        click.option("--by", type=TEXT, default=None, help="Name of the operator (default: user and host)."),
    ):
        told = option(told)
    return cast("F", told)


def _choosing(function: F) -> F:
    """Adds the options that choose an event."""
    function = click.option(
        "--event", "event_id", type=IDENTIFIER, default=None, metavar="ID", help="The id of the event that is meant."
    )(function)
    return click.option(
        "--what", type=click.Choice(list(KINDS)), default=None, help="Which event of the order is meant."
    )(function)


@command.command()
@click.argument("which", metavar="ORDER|VIN", type=IDENTIFIER)
@click.option("--reason", type=TEXT, required=True, help="Why, one line; it goes into the events.")
@_choosing
@_options
def void(
    which: str,
    reason: str,
    what: str | None,
    event_id: str | None,
    settings: Settings,
    how: _How,
) -> int:
    """Void an event: it counts as never sent.

    For a VIN, its delivery is voided; for an order, the only event that counts, or the one that --what or --event names.
    """
    note = Note(how.by, one_line(reason, "--reason"), wall_clock_us())
    business = Business(settings)
    found = _found(settings, which)
    order, judged = choose(found, business, moves=False, what=what, event_id=event_id)
    correction = _correction("void", order, note, judged.event.source, judged.event.id)
    correction.void(_corrected(judged))
    title = f"order {order.order_id}: the {described(business, judged.event)} counts as never sent"
    return _carry_out(settings, found, order, correction, title, how)


@command.command()
@click.argument("which", metavar="ORDER|VIN", type=IDENTIFIER)
@click.option(
    "--to",
    type=TEXT,
    required=True,
    metavar="DATE|TIME",
    help="The right date, such as 2024-10-30 (the time of day stays), or the right time; business time without an offset.",
)
@click.option("--reason", type=TEXT, required=True, help="Why, one line; it goes into the events.")
@_choosing
@_options
def move(
    which: str,
    to: str,
    reason: str,
    what: str | None,
    event_id: str | None,
    settings: Settings,
    how: _How,
) -> int:
    """Move an event to another time: it is voided and published again.

    Moves the delivery if the order has one; --what or --event names another event.
    """
    note = Note(how.by, one_line(reason, "--reason"), wall_clock_us())
    business = Business(settings)
    found = _found(settings, which)
    order, judged = choose(found, business, moves=True, what=what, event_id=event_id)
    try:
        time = moved_time(judged.event, to, settings.timezone, settings.day_starts_hour)
    except ValueError as error:
        raise click.UsageError(f"--to {to}: {error}") from None
    if time == moved_time(judged.event, _exact(business, judged.event.time_us), settings.timezone):
        raise ExpectedError(
            f"order {order.order_id}: the {described(business, judged.event)} is there already", exit_code=2
        )
    correction = _correction("move", order, note, judged.event.source, judged.event.id, time)
    correction.void(_corrected(judged))
    correction.again(_corrected(judged), time)
    title = f"order {order.order_id}: the {described(business, judged.event)} moves to {time.replace('T', ' ')}"
    return _carry_out(settings, found, order, correction, title, how)


@command.command()
@click.argument("which", metavar="ORDER|VIN", type=IDENTIFIER)
@click.option("--at", type=TEXT, default=None, metavar="DATE|TIME", help="When it was cancelled (default: now).")
@click.option("--reason", type=TEXT, required=True, help="Why, one line; it goes into the events.")
@_options
def cancel(
    which: str,
    at: str | None,
    reason: str,
    settings: Settings,
    how: _How,
) -> int:
    """Cancel an order whose cancellation was never sent."""
    note = Note(how.by, one_line(reason, "--reason"), wall_clock_us())
    business = Business(settings)
    found = _found(settings, which)
    order, judged = placed(found, business)
    try:
        time = (
            utc_text(note.at_us)
            if at is None
            else moved_time(judged.event, at, settings.timezone, settings.day_starts_hour)
        )
    except ValueError as error:
        raise click.UsageError(f"--at {at}: {error}") from None
    correction = _correction("cancel", order, note, *([] if at is None else [time]))
    correction.cancel(_corrected(judged), time)
    title = f"order {order.order_id}: the {described(business, judged.event)} is cancelled at {time.replace('T', ' ')}"
    return _carry_out(settings, found, order, correction, title, how, must_be="cancelled")


@command.command()
@click.argument("which", metavar="ORDER|VIN", type=IDENTIFIER)
@click.option("--reason", type=TEXT, default=None, help="Why, one line; it goes into the events.")
@_options
def undo(
    which: str,
    reason: str | None,
    settings: Settings,
    how: _How,
) -> int:
    """Take back the last correction of an order.

    An undo is a correction, too: what it voided is published again, and what it published is voided.
    """
    found = _found(settings, which)
    corrected = [order for order in found.orders.values() if last_correction(_events_of(order))]
    if len(corrected) != 1:
        if corrected:
            names = " or ".join(order.order_id for order in corrected)
            raise ExpectedError(f"{found.text} is ambiguous: name the order, {names}", exit_code=2)
        raise ExpectedError(f"{found.text}: there is no correction to take back", exit_code=2)
    (order,) = corrected
    name = last_correction(_events_of(order))[0].event.id.rpartition("-")[0]
    note = Note(how.by, one_line(reason or f"takes back {name}", "--reason"), wall_clock_us())
    correction = _correction("undo", order, note, name)
    taken_back(_events_of(order), correction)
    if not correction.drafts:
        raise ExpectedError(f"order {order.order_id}: nothing is left of its last correction, {name}", exit_code=2)
    return _carry_out(settings, found, order, correction, f"order {order.order_id}: {name} is taken back", how)


def _found(settings: Settings, which: str) -> FoundOrders:
    with watched() as listener:
        return run(settings, find_orders(settings, which, listener))


def _exact(business: Business, time_us: int) -> str:
    return format_instant(business.exact(time_us))


def _corrected(judged: Judged) -> Corrected:
    return Corrected(judged.event, judged.record, judged.topic)


def _events_of(order: OrderEvents) -> list[Corrected]:
    return [_corrected(judged) for judged in order.events]


def _correction(action: str, order: OrderEvents, note: Note, *about: str) -> Correction:
    known = [(event.source, event.id) for event in order.facts]
    return Correction(action, order.order_id, known, note, about)


def _carry_out(
    settings: Settings,
    found: FoundOrders,
    order: OrderEvents,
    correction: Correction,
    title: str,
    how: _How,
    *,
    must_be: str = "",
) -> int:
    """Shows what would change, asks, and publishes.

    Args:
        settings: The installation.
        found: What was read for it.
        order: The order to correct.
        correction: The correction with its events.
        title: What is done, in one line.
        how: The options.
        must_be: The effect that its event must have, a key of `EFFECTS`.
    """
    settings = run(settings, counted_now(settings))
    business = Business(settings)
    added = correction.facts(settings)
    changes = changed_units(business, order.facts, [*order.facts, *added])
    state = run(settings, read_state(settings, changes))
    would = consequences(settings, business, order.facts, added, state)
    if must_be:
        (effect,) = [later for event, _, later in would.effects if event.id == added[0].id]
        if effect != EFFECTS[must_be]:
            raise ExpectedError(f"order {order.order_id}: that would have {effect}", exit_code=2)
    if not how.in_json:
        _show(title, would, business)
    publishes = not how.dry_run and (how.yes or _agreed(correction, how.by))
    if publishes:
        run(settings, publish(Context(settings), correction, found.read_to))
    if how.in_json:
        events = [{"topic": draft.topic, "event": draft.event} for draft in correction.drafts]
        told = {"correction": correction.id, "order_id": order.order_id, "what": title, "published": publishes}
        click.echo(as_json({**told, "events": events, **would.document()}))
    elif publishes:
        click.echo(
            f"published as {correction.id}; to take it back: milestones correct undo {printable(order.order_id)}"
        )
    if not publishes:
        click.echo("nothing was published", err=True)
    return 0 if publishes or how.dry_run else 1


def _agreed(correction: Correction, by: str) -> bool:
    topics = ", ".join(dict.fromkeys(draft.topic for draft in correction.drafts))
    count = len(correction.drafts)
    question = f"publish {count} event{'' if count == 1 else 's'} to {topics} as {printable(by)}?"
    try:
        return click.confirm(question, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise ExpectedError(
            "nothing was published: nobody answered; --yes publishes without asking", exit_code=2
        ) from None


def _show(title: str, would: Consequences, business: Business) -> None:
    click.echo(printable(title))
    for event, before, after in would.effects:
        became = f"{after}; before: {before}" if before else after
        click.echo(printable(f"  {described(business, event)} ({event.source} {event.id}): {became}"))
    width = max((len(str(change.key)) for change in would.rows), default=0)
    for change in would.rows:
        closed = "  closed, is restated" if change.is_closed else ""
        click.echo(printable(f"  {change.key!s:<{width}}  {change.before:>9,} -> {change.after:,}{closed}"))
    if not would.rows:
        click.echo("  no row changes its count")
    for milestone in would.milestones:
        held = f"  after {milestone.held_s} s" if milestone.held_s else ""
        click.echo(printable(f"  {milestone.becomes:<10}  {milestone.milestone_id}{held}"))
