"""Checks the control totals on the rows against what other systems have sent."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.codec import decode_control
from schemas.facts import Rejection
from schemas.instants import micros_of, parse_instant
from schemas.rows import RowKey
from streams.audit.report import Check
from streams.audit.sources import future_limit_us
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import partition_counts, read_to_end

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from aiokafka import AIOKafkaConsumer

    from schemas.outputs import RowControl, WindowRow
    from streams.settings import Settings

#: A total appended less than this long ago need not be on its row yet; milliseconds.
_GRACE_MS: Final = 60_000


class Sent(NamedTuple):
    """A total sent by a system; the greatest, by the fields in order, counts. Times in microseconds or milliseconds since 1970."""

    as_of_us: int
    id: str
    total: int
    appended_ms: int


@dataclass
class SentTotals:
    """All valid totals, each identity once.

    Attributes:
        by_row: (metric, scope, period) and source → the totals.
        read_ms: When they were read, milliseconds since 1970.
    """

    read_ms: int
    by_row: dict[tuple[RowKey, str], list[Sent]] = field(default_factory=dict)


async def read_sent_totals(settings: Settings, consumer: AIOKafkaConsumer) -> SentTotals:
    """Reads the topic of control totals to its end."""
    found = SentTotals(time.time_ns() // 1_000_000)
    topic = catalogue_of(settings).controls.name
    if not (await partition_counts(consumer, [topic]))[topic]:
        return found
    seen: set[tuple[str, str]] = set()
    async for records in read_to_end(settings, [(topic, 0)], consumer=consumer):
        for record in records:
            event = decode_control(record, future_limit_us=future_limit_us(record, settings))
            if not isinstance(event, Rejection) and (event.source, event.id) not in seen:
                seen.add((event.source, event.id))
                data = event.data
                totals = found.by_row.setdefault((RowKey.of(data), event.source), [])
                totals.append(Sent(event.time_us, event.id, data.count, record.timestamp))
    return found


def compare_row_controls(rows: Mapping[RowKey, WindowRow], sent: SentTotals) -> Check:
    """Checks that the rows show each system's latest total and the right difference."""
    check = Check("control totals", 0, "totals of other systems are on their rows, with the right difference")
    for key, row in rows.items():
        for control in row.controls:
            source = control.source
            check.compared += 1
            if control.difference != row.count - control.count:
                check.differ(
                    f"{'/'.join(key)}: {row.count:,} less the {control.count:,} of {source} is given as "
                    f"{control.difference:+,}"
                )
            if not _was_sent(control, sent.by_row.get((key, source), ())):
                check.differ(f"{'/'.join(key)}: {source} has sent no total of {control.count:,} as of {control.as_of}")
    for (key, source), totals in sorted(sent.by_row.items()):
        settled = [one for one in totals if one.appended_ms < sent.read_ms - _GRACE_MS]
        if key not in rows or not settled:
            continue  # scopes and holidays that are not counted have no row
        latest = max(settled)
        as_of_us = max((_us(one.as_of) for one in rows[key].controls if one.source == source), default=0)
        if as_of_us < latest.as_of_us // 1000 * 1000:
            check.differ(f"{'/'.join(key)}: lacks the total of {source}, {latest.total:,}")
    return check


def _was_sent(control: RowControl, totals: Collection[Sent]) -> bool:
    """Whether a total was sent, to the millisecond as on rows; assumed if it is newer than what was read."""
    as_of_us = _us(control.as_of)
    if any(one.total == control.count and one.as_of_us // 1000 * 1000 == as_of_us for one in totals):
        return True
    return as_of_us > max((one.as_of_us for one in totals), default=0)


def _us(text: str) -> int:
    return micros_of(parse_instant(text))
