"""Compares what two installations make of the same events: standing milestones and window rows.

Both may keep counting meanwhile. So they are read several times, and only what differs every time counts: a row for which one is
merely a moment ahead is not a difference.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from schemas.codec import decode_milestone, decode_row
from schemas.outputs import ALERT_KINDS
from streams.errors import ExpectedError
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import partition_counts, read_latest, read_to_end, reader
from streams.kafka.records import record_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka import AIOKafkaConsumer

    from schemas.outputs import MilestoneEvent, WindowRow
    from streams.settings import Settings

_LOOKS: Final = 8
#: After this many readings without a change no more is expected: the totals' timers tick once a second.
_QUIET_LOOKS: Final = 3
_PAUSE_S: Final = 0.7

#: (`milestone` or `row`, its id)
Key = tuple[Literal["milestone", "row"], str]


@dataclass(frozen=True)
class RebuildDifference:
    """A milestone or row as each side has it, `None` if a side does not have it.

    A milestone is represented by its period, a row by its count, its counts by hour and its targets.
    """

    of: Literal["milestone", "row"]
    id: str
    live: dict[str, Any] | None
    other: dict[str, Any] | None


@dataclass(frozen=True)
class PublishedState:
    """What one installation has published.

    Attributes:
        milestones: Standing milestones by id.
        rows: Window rows by `metric/scope/period`, except empty ones.
    """

    milestones: Mapping[str, dict[str, Any]]
    rows: Mapping[str, dict[str, Any]]


async def read_state(settings: Settings, consumer: AIOKafkaConsumer) -> PublishedState:
    """What the installation of the settings has published so far."""
    catalogue = catalogue_of(settings)
    last: dict[str, MilestoneEvent] = {}
    async for records in read_to_end(settings, catalogue.milestones.whole, consumer=consumer):
        for event in (decode_milestone(record_value(record)) for record in records):
            # What was expected at which moment does not follow from the counts.
            if event.data.kind not in ALERT_KINDS:
                last[event.subject] = event
    rows: dict[str, dict[str, Any]] = {}
    for key, value in (await read_latest(settings, catalogue.windows.whole)).items():
        row = decode_row(value)
        # A row that lost its last unit stays as a zero; an installation that recounts may never have had it.
        if row.count or row.targets:
            rows[key.decode()] = _row(row)
    standing = {name: _milestone(event) for name, event in last.items() if event.stands}
    return PublishedState(standing, rows)


async def differences(live: Settings, other: Settings) -> list[RebuildDifference]:
    """What differs between two installations, milestones first.

    Raises:
        ExpectedError: One of the installations does not exist.
    """
    async with reader(live) as consumer:
        for settings in (live, other):
            await _check_exists(settings, consumer)
        found: dict[Key, RebuildDifference] | None = None
        before = await read_state(live, consumer)
        last: PublishedState | None = None
        quiet = 0
        for look in range(_LOOKS):
            if look:
                await asyncio.sleep(_PAUSE_S)
            mine = await read_state(other, consumer)
            after = await read_state(live, consumer)
            here = compare(before, mine)
            here = {
                key: here[key] for key in here.keys() & compare(after, mine) if not _between(key, before, mine, after)
            }
            found = here if found is None else {key: one for key, one in here.items() if key in found}
            quiet = quiet + 1 if before == after and last == mine else 0
            if not found or quiet == _QUIET_LOOKS:
                break
            before, last = after, mine
    return [one for _, one in sorted((found or {}).items(), key=lambda pair: pair[0])]


def compare(live: PublishedState, other: PublishedState) -> dict[Key, RebuildDifference]:
    """What differs at this moment."""
    found: dict[Key, RebuildDifference] = {}
    sides: tuple[
        tuple[Literal["milestone", "row"], Mapping[str, dict[str, Any]], Mapping[str, dict[str, Any]]], ...
    ] = (
        ("milestone", live.milestones, other.milestones),
        ("row", live.rows, other.rows),
    )
    for of, ours, theirs in sides:
        for name in ours.keys() | theirs.keys():
            if ours.get(name) != theirs.get(name):
                found[of, name] = RebuildDifference(of, name, ours.get(name), theirs.get(name))
    return found


def _between(key: Key, before: PublishedState, other: PublishedState, after: PublishedState) -> bool:
    """Whether a changing row lies between the live row's values before and after the other was read."""
    of, name = key
    if of != "row":
        return False
    first, middle, last = (int(said.rows.get(name, {"count": 0})["count"]) for said in (before, other, after))
    return first != last and min(first, last) <= middle <= max(first, last)


async def _check_exists(settings: Settings, consumer: AIOKafkaConsumer) -> None:
    catalogue = catalogue_of(settings)
    for name, found in (await partition_counts(consumer, (catalogue.windows.name, catalogue.milestones.name))).items():
        if not found:
            raise ExpectedError(
                f"{name} does not exist: there is nothing to compare with under this output prefix", exit_code=3
            )


def _milestone(event: MilestoneEvent) -> dict[str, Any]:
    # Not the count, which is that at the moment of detection.
    return {"period": event.data.period}


def _row(row: WindowRow) -> dict[str, Any]:
    document = row.model_dump(include={"count", "by_hour"}, exclude_none=True)
    document["targets"] = sorted((target.target_id, target.value, target.reached) for target in row.targets)
    return document
