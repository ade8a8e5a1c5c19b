"""A log of files, for benchmarks of what keeps a state: the cluster costs nothing and holds no memory of the process."""

from __future__ import annotations

import contextlib
import struct
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from streams.kafka.log import Bounds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from streams.kafka.log import LogReader, LogWriter
    from streams.kafka.records import LogRecord
    from streams.kafka.transactions import Outgoing

_HEAD = struct.Struct("<ii")
_FETCH_RECORDS = 2000


class FileRecord(NamedTuple):
    """A record as a consumer gives it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int = 0
    timestamp_type: int = 1
    headers: Sequence[tuple[str, bytes]] = ()


class FileLog:
    """Each topic has one partition and is one file; a transaction is an append.

    Attributes:
        transactions: Records and bytes of each transaction, in order.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.transactions: list[tuple[int, int]] = []
        self.records: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def append(self, topic: str, records: Iterable[tuple[bytes | None, bytes | None]]) -> int:
        """Appends keys and values; returns the bytes of both."""
        size = 0
        with (self._folder / topic).open("ab") as file:
            for key, value in records:
                file.write(_HEAD.pack(-1 if key is None else len(key), -1 if value is None else len(value)))
                file.write(key or b"")
                file.write(value or b"")
                size += len(key or b"") + len(value or b"")
                self.records[topic] += 1
        self.bytes[topic] += size
        return size

    def records_of(self, topic: str) -> Iterator[FileRecord]:
        """All records of a topic."""
        path = self._folder / topic
        if not path.exists():
            return
        with path.open("rb", buffering=1 << 20) as file:
            offset = 0
            while head := file.read(_HEAD.size):
                of_key, of_value = _HEAD.unpack(head)
                key = None if of_key < 0 else file.read(of_key)
                value = None if of_value < 0 else file.read(of_value)
                yield FileRecord(topic, 0, offset, key, value)
                offset += 1

    @contextlib.asynccontextmanager
    async def reader(self) -> AsyncIterator[LogReader]:
        """A reader."""
        yield _Reader(self)

    def writer(self, transactional_id: str) -> LogWriter:
        """A writer that notes what its transactions hold."""
        del transactional_id
        return _Writer(self)


class _Reader:
    def __init__(self, log: FileLog) -> None:
        self._log = log
        self._ends: Counter[tuple[str, int]] = Counter()

    async def read(
        self, partitions: Iterable[tuple[str, int]], *, since: Mapping[tuple[str, int], int] | None = None
    ) -> AsyncIterator[Sequence[LogRecord]]:
        del since
        for partition in partitions:
            fetched: list[FileRecord] = []
            for record in self._log.records_of(partition[0]):
                self._ends[partition] += 1
                fetched.append(record)
                if len(fetched) == _FETCH_RECORDS:
                    yield fetched
                    fetched = []
            if fetched:
                yield fetched

    async def position(self, partition: tuple[str, int]) -> int:
        return self._ends[partition]

    async def bounds(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Bounds]:
        return {each: Bounds(0, sum(1 for _ in self._log.records_of(each[0]))) for each in partitions}

    async def record_at(self, partition: tuple[str, int], offset: int) -> LogRecord | None:
        return next((record for record in self._log.records_of(partition[0]) if record.offset == offset), None)

    async def partition_counts(self, topics: Iterable[str]) -> dict[str, int]:
        return dict.fromkeys(topics, 1)

    async def cluster_id(self) -> str:
        return "files"


class _Writer:
    def __init__(self, log: FileLog) -> None:
        self._log = log

    async def start(self) -> None:
        pass

    async def commit(self, records: Sequence[Outgoing]) -> None:
        by_topic: dict[str, list[tuple[bytes | None, bytes | None]]] = {}
        for record in records:
            by_topic.setdefault(record.topic, []).append((record.key, record.value))
        size = sum(self._log.append(topic, several) for topic, several in by_topic.items())
        self._log.transactions.append((len(records), size))

    async def stop(self) -> None:
        pass
