"""`milestones order`: everything known about an order: what came, what counts today and where, and what would correct it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from schemas.instants import utc_text
from schemas.outputs import EVENT_EFFECTS
from streams.cli.options import IDENTIFIER, VIN, business_text, with_settings
from streams.cli.printable import as_json, printable
from streams.cli.progress import watched
from streams.cli.running import run
from streams.context import Context
from streams.errors import ExpectedError
from streams.holidays import calendar_of
from streams.kafka.log import KafkaLog
from streams.lookup.finder import Finder, FoundOrder, Reach
from streams.lookup.order_history import (
    STATES,
    OrderContradiction,
    OrderEvent,
    OrderLetter,
    OrderStory,
    Teller,
    replay_command,
)
from streams.lookup.rejected_records import said_by
from streams.operations.dead_letters import Wanted, read_letters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemas.facts import Fact
    from streams.listener import Listener
    from streams.settings import Settings

_NOT_KNOWN: Final = 1


@click.command()
@click.argument("order_id", metavar="[ORDER_ID]", type=IDENTIFIER, required=False)
@click.option("--vin", type=VIN, default=None, help="The orders of this vehicle, instead of an order number.")
@click.option(
    "--event",
    "event_id",
    metavar="ID",
    type=IDENTIFIER,
    default=None,
    help="The orders that have an event with this id.",
)
@click.option(
    "--copies",
    "with_copies",
    is_flag=True,
    help="Also list exact copies of its events, which takes reading the sources of its partition.",
)
@click.option("--json", "in_json", is_flag=True, help="One JSON object per order.")
@with_settings
def command(
    order_id: str | None,
    vin: str | None,
    event_id: str | None,
    with_copies: bool,
    in_json: bool,
    settings: Settings,
) -> int:
    """Was an order counted, where, and why not?

    Shows its events in order of arrival, each with its record and effect, what the order counts as today and in which windows,
    what was rejected or is contradictory, and the command that corrects it. It is found in the ledger's changelog through an
    index, which is kept on this machine and built when first needed. Exact copies of an event change nothing and are not kept by
    the ledger: --copies looks for them in the source topics.

    Exit code 1 if nothing is known about it but records that may belong to it are waiting, 2 if nothing has ever come.
    """
    if sum(each is not None for each in (order_id, vin, event_id)) != 1:
        raise click.UsageError("give an order number, or --vin VIN, or --event ID")
    with watched() as listener:
        wanted = _Wanted(order_id, vin, event_id, with_copies=with_copies)
        stories = run(settings, _stories(settings, wanted, listener))
    for number, story in enumerate(stories):
        if in_json:
            click.echo(as_json(story.model_dump(mode="json")))
        else:
            if number:
                click.echo()
            _print(story, settings)
    if all(story.state == "unknown" and not story.violations for story in stories):
        what = f"order {order_id}" if order_id else f"VIN {vin}" if vin else f"event {event_id}"
        raise ExpectedError(f"nothing of {what} has ever arrived: is it written as its system writes it?", exit_code=2)
    return _NOT_KNOWN if any(story.state in {"waiting", "not_known"} for story in stories) else 0


@dataclass(frozen=True)
class _Wanted:
    order_id: str | None
    vin: str | None
    event_id: str | None
    with_copies: bool


async def _stories(settings: Settings, wanted: _Wanted, listener: Listener) -> list[OrderStory]:
    order_id, vin, event_id = wanted.order_id, wanted.vin, wanted.event_id
    context = Context(settings)
    async with Finder.opened(settings) as finder:
        listener.say("reading the ledger")
        if order_id is not None:
            numbers, reach = [order_id], Reach(None)
            await finder.read_on([finder.home(numbers[0])], listener)
        else:
            await finder.read_on(listener=listener)
            # Records that are waiting now but taken in meanwhile are found with the order itself.
            reach = await finder.reach()
            numbers = await finder.orders_with(vin=vin or "", event_id=event_id or "")
        listener.say("reading the dead letters")
        async with KafkaLog(settings).reader() as reader:
            letters = await read_letters(context, Wanted(), reader)
        by_order: dict[str, list[OrderLetter]] = {}
        for letter in letters:
            said = said_by(letter.key, letter.value, letter.headers)
            if said.order_id in numbers or (vin and said.vin.upper() == vin) or (event_id and said.id == event_id):
                by_order.setdefault(said.order_id, []).append(
                    OrderLetter(
                        reason=letter.reason,
                        message=letter.message,
                        topic=letter.place.topic,
                        partition=letter.place.partition,
                        offset=letter.place.offset,
                        rejected_at=utc_text(letter.rejected_us),
                        command=replay_command(*letter.place),
                    )
                )
        if not numbers and not by_order and not reach.is_complete:
            what = (
                "records have arrived that are not counted yet" if reach.waiting else "no worker has said how far it is"
            )
            raise ExpectedError(f"not known yet: {what}; ask again once they are", exit_code=1)
        teller = Teller(settings, calendar_of(await finder.counted_by()), vins_shown=True)
        stories = []
        for number in sorted({*numbers, *by_order}):
            home = finder.home(number)
            found, reach = await finder.look(number, [home] if order_id is not None else None)
            copies = None
            if wanted.with_copies and found is not None:
                listener.say("reading the sources")
                copies = await finder.copies(found, listener)
            vin = teller.vehicle_of(found)
            vehicle = await _vehicle(finder, vin) if vin else None
            delivered = await _with_vin(finder, number) if teller.may_be_vehicle(number) else []
            rejected = by_order.get(number, [])
            stories.append(
                teller.story(number, home, found, reach, rejected, copies=copies, vehicle=vehicle, delivered=delivered)
            )
        return stories


async def _vehicle(finder: Finder, vin: str) -> list[Fact]:
    """What is known about a VIN."""
    await finder.read_on([finder.home(vin)])
    found = await finder.order(vin)
    return [] if found is None else found.facts


async def _with_vin(finder: Finder, vin: str) -> list[FoundOrder]:
    """The orders with a VIN."""
    await finder.read_on()
    numbers = await finder.orders_with(vin=vin)
    return [found for number in numbers if (found := await finder.order(number)) is not None]


def _print(story: OrderStory, settings: Settings) -> None:
    _say(f"{'Vehicle' if story.is_vehicle else 'Order'} {story.order_id}: {STATES[story.state]}")
    if waiting := _waiting(story):
        _say(waiting)
    if story.rebuilding:
        _say(f"Ledger partition {story.partition} is being read again from the beginning.")
    _section("What came, in the order of arrival", [line for event in story.events for line in _event(event, settings)])
    _section("Exact copies, which change nothing", _copies(story))
    _section(
        "What counts today",
        [
            f"{unit.metric}  {unit.date}  in {', '.join(unit.periods)}  of {', '.join(unit.scopes)}"
            for unit in story.units
        ],
    )
    _section("Violations", [_violation(each) for each in story.violations])
    _section("Rejected", [line for letter in story.letters for line in _letter(letter, settings)])
    _section("To take one of its events back", [event.correction for event in story.events if event.correction])


def _section(title: str, lines: list[str]) -> None:
    if lines:
        click.echo()
        _say(title)
    for line in lines:
        _say(f"  {line}")


def _say(line: str) -> None:
    click.echo(printable(line))


def _event(event: OrderEvent, settings: Settings) -> Iterator[str]:
    yield f"{business_text(event.time, settings.timezone)}  {event.type:<21}  {EVENT_EFFECTS[event.effect]}"
    more = [f"VIN {event.vin}"] if event.vin else []
    more += [f"{name}={value}" for name, value in event.dimensions.items()]
    more += ["history"] if event.backfill else []
    yield "  ".join([f"    {event.source} {event.id}", event.place, *more])
    if event.voids is not None:
        yield f"    voids {event.voids[0]} {event.voids[1]}"


def _violation(found: OrderContradiction) -> str:
    under = f"  delivered under order {found.order_id}" if found.order_id is not None else ""
    return f"{found.kind}  {found.source} {found.id}{under}"


def _copies(story: OrderStory) -> list[str]:
    if story.copies is not None:
        return [f"{each.source} {each.id}  {each.topic}-{each.partition}@{each.offset}" for each in story.copies]
    if not story.copies_in_partition or not story.events:
        return []
    return [f"{story.copies_in_partition:,} in its ledger partition, of all orders: --copies lists those of this one"]


def _letter(letter: OrderLetter, settings: Settings) -> Iterator[str]:
    place = f"{letter.topic}-{letter.partition}@{letter.offset}"
    yield f"{place}  {letter.reason}  rejected {business_text(letter.rejected_at, settings.timezone)}"
    yield f"    {letter.message}"
    yield f"    {letter.command}"


def _waiting(story: OrderStory) -> str:
    if story.waiting is None:
        return "No worker has ever said how far it is: whether records of it wait is not known."
    if not story.waiting:
        return ""
    own = (
        "too many to look through for those of it"
        if story.waiting_of_order is None
        else f"{story.waiting_of_order:,} of them of it"
    )
    return f"{story.waiting:,} records have arrived and are not counted yet, {own}."
