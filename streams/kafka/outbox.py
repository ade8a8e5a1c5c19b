"""The records of a transaction before it is written."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


class Outgoing(NamedTuple):
    """A record of a transaction."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


class OutgoingRun(NamedTuple):
    """Records of one partition, as keys and values, without headers."""

    topic: str
    partition: int
    records: Sequence[tuple[bytes | None, bytes | None]]


class Outbox(Collection[Outgoing]):
    """Records in order. Many of one partition may be added as a run: making an object of each would cost as much as writing it."""

    def __init__(self, records: Iterable[Outgoing] = ()) -> None:
        #: In order, single ones and runs.
        self.parts: list[Outgoing | OutgoingRun] = [*records]
        self._length = len(self.parts)

    def append(self, record: Outgoing) -> None:
        """Adds a record."""
        self.parts.append(record)
        self._length += 1

    def add_run(self, topic: str, partition: int, records: Sequence[tuple[bytes | None, bytes | None]]) -> None:
        """Adds records of a partition, given their keys and values."""
        if records:
            self.parts.append(OutgoingRun(topic, partition, records))
            self._length += len(records)

    def __iadd__(self, records: Iterable[Outgoing]) -> Self:
        """Adds records."""
        if isinstance(records, list):  # mostly, and cheaper to find out than whether it is an outbox
            self.parts += records
            self._length += len(records)
        elif isinstance(records, Outbox):
            self.parts += records.parts
            self._length += records._length
        else:
            before = len(self.parts)
            self.parts += records
            self._length += len(self.parts) - before
        return self

    def __len__(self) -> int:
        return self._length

    def __contains__(self, record: object) -> bool:
        return any(record == each for each in self)

    def __iter__(self) -> Iterator[Outgoing]:
        for part in self.parts:
            if isinstance(part, Outgoing):
                yield part
            else:
                yield from (Outgoing(part.topic, part.partition, *record) for record in part.records)
