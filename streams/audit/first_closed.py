"""Finds the first closed version of each window row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas.codec import decode_row
from schemas.rows import RowKey
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import partition_counts, read_latest, read_to_end, reader
from streams.kafka.records import record_value

if TYPE_CHECKING:
    from schemas.outputs import WindowRow
    from streams.settings import Settings


@dataclass
class FirstClosed:
    """First closed versions of rows.

    Attributes:
        rows: The versions found.
        forgotten: Current rows that were restated, and whose history no longer reaches back to when they were closed.
    """

    rows: list[WindowRow]
    forgotten: list[WindowRow]


async def rows_as_first_closed(settings: Settings) -> FirstClosed:
    """Finds each row's figures as first closed, plus history loaded since.

    A row that was never restated is its own first closed version; for the others the history is read, which is kept for 400 days.

    Raises:
        ExpectedError: The cluster is unreachable.
    """
    catalogue = catalogue_of(settings)
    earliest: dict[RowKey, WindowRow] = {}
    async with reader(settings) as consumer:
        if (await partition_counts(consumer, [catalogue.history.name]))[catalogue.history.name]:
            async for records in read_to_end(settings, catalogue.history.whole, consumer=consumer):
                for record in records:
                    _note(earliest, decode_row(record_value(record)))
    found = FirstClosed([], [])
    for value in (await read_latest(settings, catalogue.windows.whole)).values():
        row = decode_row(value)
        _note(earliest, row)
        first = earliest.get(_key(row))
        if first is not None:
            found.rows.append(first)
        elif row.status == "closed":
            found.forgotten.append(row)
    return found


def _note(earliest: dict[RowKey, WindowRow], row: WindowRow) -> None:
    """Keeps the last closed version without a restatement: since the first one, only history has been loaded."""
    if row.status == "closed" and row.restated == 0:
        known = earliest.get(_key(row))
        if known is None or row.version > known.version:
            earliest[_key(row)] = row


def _key(row: WindowRow) -> RowKey:
    return RowKey.of(row)
