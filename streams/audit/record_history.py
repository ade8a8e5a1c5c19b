"""All records of an order in append order, each with its effect, judged by the recount's own reading of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from schemas.facts import Fact, Rejection
from schemas.texts import tidy_key
from streams.audit.dead_letters import Letters, accepted
from streams.audit.judging import EFFECTS
from streams.audit.production import KIND as NOT_PRODUCED
from streams.audit.production import ProductionRecount, Wrong
from streams.audit.report import describe_event
from streams.audit.sources import Sources, Stops, coordinates_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from streams.audit.judging import Reading
    from streams.audit.sources import Coordinates
    from streams.audit.sums import Business
    from streams.lookup.finder import Finder


class _Told(NamedTuple):
    """A record of an order; `appended_ms` is `None` if it is no longer in its topic."""

    place: Coordinates
    appended_ms: int | None
    outcome: Fact | Rejection


async def order_history(
    order_id: str, business: Business, sources: Sources, stops: Stops, letters: Letters
) -> list[dict[str, Any]]:
    """All records of an order in append order: what each is, its place, and its effect.

    Events whose records are gone come first; their append times are unknown, `None`.
    """
    records = await sources.history({order_id}, stops)
    events = [outcome for _, outcome in records if isinstance(outcome, Fact)]
    gone = await sources.remembered({order_id}, stops, events)
    told = [_Told(coordinates_of(event), None, event) for event in gone]
    told += [
        _Told((sources.numbers[record.topic], record.partition, record.offset), record.timestamp, outcome)
        for record, outcome in records
    ]
    not_produced = await _not_produced_by_sources(order_id, [*gone, *events], business, sources, stops, letters)
    return _described_history(told, business, sources, letters, not_produced)


async def known_history(  # noqa: PLR0913, PLR0917 - what is known, from wherever
    order_id: str, facts: list[Fact], business: Business, sources: Sources, letters: Letters, not_produced: set[Wrong]
) -> list[dict[str, Any]]:
    """What the ledger has of an order, and its rejected records, all reread from their places."""
    known = {coordinates_of(fact): fact for fact in facts}
    told = []
    for place in [*known, *(at for at in letters.by_key.get(order_id.encode(), ()) if at not in known)]:
        record = await sources.at(place)
        # After a move, the places of earlier events are those on the other cluster.
        is_it = record is not None and tidy_key(record.key or b"") == order_id.encode()
        if record is not None and is_it:
            outcome = known.get(place) or next(sources.decoded([record], place[0]))[1]
            told.append(_Told(place, record.timestamp, outcome))
        elif place in known:
            told.append(_Told(place, None, known[place]))
        else:
            message = "its record is no longer in the topic"
            told.append(_Told(place, None, Rejection(letters.by_record[place].reason, message)))
    told.sort(key=lambda each: (each.appended_ms or 0, each.place))
    return _described_history(told, business, sources, letters, not_produced)


def _described_history(
    records: list[_Told],
    business: Business,
    sources: Sources,
    letters: Letters,
    not_produced: Collection[Wrong] = (),
) -> list[dict[str, Any]]:
    # In the recount's order, so that of two contents with the same id the same one counts.
    events = sorted((one.outcome for one in records if isinstance(one.outcome, Fact)), key=coordinates_of)
    found = accepted(events, letters.by_record)
    effects = {coordinates_of(event): effect for event, effect in business.read_order(found.events).effects}
    duplicates = {coordinates_of(event) for event in found.duplicates}
    history = []
    for at, appended_ms, outcome in records:
        appended = (
            None if appended_ms is None else business.exact(appended_ms * 1000).isoformat(timespec="milliseconds")
        )
        if not isinstance(outcome, Fact):
            described = {"topic": sources.names[at[0]], "partition": at[1], "offset": at[2]}
            history.append(
                {**described, "appended_at": appended, "effect": f"dead letter: {outcome.reason}: {outcome.message}"}
            )
            continue
        letter = letters.by_record.get(at)
        if at in effects:
            is_wrong = Wrong(outcome.order_id, outcome.source, outcome.id) in not_produced
            code = effects[at]
            effect = EFFECTS[NOT_PRODUCED if is_wrong and code == "delivered" else code]
        elif at in duplicates:
            effect = "no effect: the same event again"
        else:
            effect = (
                f"dead letter: {letter.reason}" if letter is not None else "no effect: contradicts an earlier event"
            )
        history.append({**describe_event(outcome, business, sources.names), "appended_at": appended, "effect": effect})
    return history


async def not_produced(order_id: str, facts: list[Fact], business: Business, finder: Finder) -> set[Wrong]:
    """The delivery of an order, if its vehicle's production did not stand at that time."""
    recount = ProductionRecount(business)
    recount.take(order_id, business.read_order(facts))
    vin = next(iter(recount.found()), None)
    vehicle = await finder.order(vin) if vin is not None else None
    if vehicle is not None:
        recount.take(vehicle.order_id, business.read_order(vehicle.facts))
    return recount.found().get(vin or "", set())


async def _not_produced_by_sources(  # noqa: PLR0913, PLR0917 - what is known, from wherever
    order_id: str, facts: list[Fact], business: Business, sources: Sources, stops: Stops, letters: Letters
) -> set[Wrong]:
    """As `not_produced`, by what the source topics hold of the vehicle."""
    recount = ProductionRecount(business)
    recount.take(order_id, _read(facts, business, letters))
    vin = next(iter(recount.found()), None)
    if vin is None or vin == order_id:
        return recount.found().get(vin or "", set())
    here = [outcome for _, outcome in await sources.history({vin}, stops) if isinstance(outcome, Fact)]
    gone = await sources.remembered({vin}, stops, here)
    recount.take(vin, _read([*gone, *here], business, letters))
    return recount.found().get(vin, set())


def _read(facts: Iterable[Fact], business: Business, letters: Letters) -> Reading:
    """The judgement of an order's records; of two contents with one id the same one counts as everywhere."""
    return business.read_order(accepted(sorted(facts, key=coordinates_of), letters.by_record).events)
