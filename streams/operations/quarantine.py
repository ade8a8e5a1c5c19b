"""Quarantine: an operator orders single records to be skipped; they become dead letters.

An order to skip a record is a note in a compacted topic, keyed by the place where the record was published. It takes effect at
the home of the record's order: that ledger partition makes a dead letter of the record without decoding it; any other partition
forwards it there, also without decoding it. So there is one place to check whether the order has taken effect.

Giving or lifting an order briefly takes over the transactional ids of the two ledger partitions concerned. A worker that has
them open is fenced, and reopens them from what is committed, with the order. In between no worker can apply the record, so what
was found out about it still holds when the order is written.

Once in effect, the dead letter itself is the order: a ledger rebuilt from scratch finds it there.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas.codec import encode_note
from schemas.facts import QUARANTINED
from streams.errors import ExpectedError
from streams.kafka.log import require_topics
from streams.kafka.outbox import Outgoing
from streams.kafka.transactions import FencedError, InDoubtError
from streams.ledger.quarantine import read_orders
from streams.operations.record_status import (
    Fate,
    Stage,
    fate_of,
    home_of,
    ledger_of,
    reasons_of_dead_letters,
    record_at,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from schemas.notes import Place, Quarantine
    from streams.context import Context
    from streams.kafka.log import LogReader, LogWriter

_TRIES = 8
_PAUSE_S = 1.0


@dataclass(frozen=True)
class QuarantineStatus:
    """An order to skip a record, and what has become of the record."""

    place: Place
    order: Quarantine
    fate: Fate

    @property
    def state(self) -> str:
        """`in effect`, `waiting` for a worker to reach the record, or `without effect`."""
        if self.fate == Fate(Stage.DEAD_LETTER, QUARANTINED):
            return "in effect"
        return "waiting" if self.fate.stage is Stage.WAITING else "without effect"


async def quarantine(context: Context, place: Place, order: Quarantine) -> None:
    """Orders the record at `place` to be skipped.

    Raises:
        ExpectedError: There is no such record, or it is too late: it has been applied or rejected.
    """
    await _decide(context, place, encode_note(order))


async def lift(context: Context, place: Place) -> None:
    """Withdraws an order that has not taken effect.

    Raises:
        ExpectedError: There is no such order, or it has taken effect.
    """
    async with _orders_reader(context) as reader:
        if place not in await read_orders(context, reader):
            raise ExpectedError(f"{place} is not in quarantine: see milestones quarantine list")
    await _decide(context, place, None)


async def standing_orders(context: Context) -> list[QuarantineStatus]:
    """Every order to skip and the fate of its record, by place.

    Orders in effect are also found among the dead letters, if the note is gone.
    """
    async with _orders_reader(context) as reader:
        orders = await read_orders(context, reader)
        found = []
        for place, order in sorted(orders.items()):
            record = await record_at(context, place, reader)
            found.append(
                QuarantineStatus(place, order, await fate_of(context, place, home_of(record, context), reader))
            )
        return found


async def lines_in_force(context: Context) -> dict[Place, str]:
    """Every record that was or will be skipped, with the message that says who, when and why."""
    async with _orders_reader(context) as reader:
        lines = {place: order.line for place, order in (await read_orders(context, reader)).items()}
        letters = await reasons_of_dead_letters(context, range(context.settings.partitions), reader)
        return {place: "" for place, reason in letters.items() if reason == QUARANTINED} | lines


@contextlib.asynccontextmanager
async def _orders_reader(context: Context) -> AsyncIterator[LogReader]:
    async with context.log.reader() as reader:
        await _check_topics(context, reader)
        yield reader


async def _check_topics(context: Context, reader: LogReader) -> None:
    catalogue = context.catalogue
    names = [catalogue.quarantine.name, catalogue.dead_letters.name, catalogue.ledger.name, catalogue.rerouted.name]
    require_topics(await reader.partition_counts(names))


async def _decide(context: Context, place: Place, note: bytes | None) -> None:
    async with _orders_reader(context) as reader:
        home = home_of(await record_at(context, place, reader), context)
        written = False
        for _ in range(_TRIES):
            try:
                async with _holding(context, {ledger_of(place, context), home}) as writers:
                    fate = await fate_of(context, place, home, reader)
                    if _is_too_late(fate, lifting=note is None):
                        if written:
                            await writers[0].commit([_note(context, place, None)])
                        raise _too_late(place, fate, lifting=note is None)
                    for writer in writers:
                        # Commit under both ids: each success proves that no one else has taken over that partition.
                        await writer.commit([_note(context, place, note)])
                        written = note is not None
            except FencedError:
                # A worker, perhaps one in a restart loop, has just opened the partition, with or without the note: look at
                # everything again.
                await asyncio.sleep(_PAUSE_S)
            except InDoubtError as error:
                raise ExpectedError(
                    f"whether the note about {place} was written is not known ({error}): see milestones quarantine list",
                    exit_code=3,
                ) from error
            else:
                return
    raise ExpectedError(
        f"workers open the partitions of {place} again and again: stop them, then try again", exit_code=3
    )


@contextlib.asynccontextmanager
async def _holding(context: Context, numbers: set[int]) -> AsyncIterator[Sequence[LogWriter]]:
    """Takes over ledger partitions from their current owners."""
    writers = [context.log.writer(context.transactional_id(f"ledger-{number}")) for number in sorted(numbers)]
    try:
        for writer in writers:
            await writer.start()
        yield writers
    finally:
        for writer in writers:
            await writer.stop()


def _note(context: Context, place: Place, note: bytes | None) -> Outgoing:
    return Outgoing(context.catalogue.quarantine.name, 0, place.key, note)


def _is_too_late(fate: Fate, *, lifting: bool) -> bool:
    return fate == Fate(Stage.DEAD_LETTER, QUARANTINED) if lifting else fate.stage is not Stage.WAITING


def _too_late(place: Place, fate: Fate, *, lifting: bool) -> ExpectedError:
    if fate.stage is Stage.APPLIED:
        return ExpectedError(
            f"{place} has been applied already: to take it out, publish an event.voided.v1 of its order"
        )
    if fate.reason == QUARANTINED:
        what = (
            "to count it after all, replay it (milestones dead-letters replay)" if lifting else "nothing is left to do"
        )
        return ExpectedError(f"{place} has been skipped already: {what}")
    return ExpectedError(f"{place} is a dead letter already ({fate.reason}): it counts nowhere")
