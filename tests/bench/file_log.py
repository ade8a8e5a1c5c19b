"""A log in files, for benchmarks of states: the cluster takes neither CPU nor memory of the process."""

from __future__ import annotations

import contextlib
import struct
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from streams.kafka.log import Bounds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from streams.kafka.log import LogReader, LogWriter
    from streams.kafka.outbox import Outgoing
    from streams.kafka.records import LogRecord

_HEAD = struct.Struct("<ii")
_POSITION = struct.Struct("<q")
#: Records between two entries of the index of a topic.
_INDEXED = 1024
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
        records: By topic, what has been appended here, and likewise `bytes`.
        timestamp_ms: When the records were appended.
    """

    timestamp_ms = 0

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.transactions: list[tuple[int, int]] = []
        self.records: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self._next: dict[str, int] = {}

    def append(self, topic: str, records: Iterable[tuple[bytes | None, bytes | None]]) -> int:
        """Appends keys and values; returns the bytes of both."""
        size = 0
        if topic not in self._next:
            self._next[topic] = self.end_of(topic)
        with (self._folder / topic).open("ab") as file, (self._folder / f"{topic}.index").open("ab") as index:
            for key, value in records:
                if self._next[topic] % _INDEXED == 0:
                    index.write(_POSITION.pack(file.tell()))
                self._next[topic] += 1
                file.write(_HEAD.pack(-1 if key is None else len(key), -1 if value is None else len(value)))
                file.write(key or b"")
                file.write(value or b"")
                size += len(key or b"") + len(value or b"")
                self.records[topic] += 1
        self.bytes[topic] += size
        return size

    def records_of(self, topic: str, since: int = 0) -> Iterator[FileRecord]:
        """The records of a topic from an offset on."""
        path = self._folder / topic
        if not path.exists():
            return
        with path.open("rb", buffering=1 << 20) as file:
            offset = since - since % _INDEXED
            index = (self._folder / f"{topic}.index").read_bytes()
            if offset // _INDEXED * _POSITION.size >= len(index):
                return
            file.seek(*_POSITION.unpack_from(index, offset // _INDEXED * _POSITION.size))
            while head := file.read(_HEAD.size):
                of_key, of_value = _HEAD.unpack(head)
                key = None if of_key < 0 else file.read(of_key)
                value = None if of_value < 0 else file.read(of_value)
                if offset >= since:
                    yield FileRecord(topic, 0, offset, key, value, self.timestamp_ms)
                offset += 1

    def end_of(self, topic: str) -> int:
        """The next offset of a topic."""
        path = self._folder / f"{topic}.index"
        whole = max(0, path.stat().st_size // _POSITION.size - 1) * _INDEXED if path.exists() else 0
        return whole + sum(1 for _ in self.records_of(topic, whole))

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
        self,
        partitions: Iterable[tuple[str, int]],
        *,
        since: Mapping[tuple[str, int], int] | None = None,
        complete: bool = False,
    ) -> AsyncIterator[Sequence[LogRecord]]:
        del complete  # no transaction is ever open
        for partition in partitions:
            fetched: list[FileRecord] = []
            first = self._ends[partition] = (since or {}).get(partition, 0)
            for record in self._log.records_of(partition[0], first):
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
        return {each: Bounds(0, self._log.end_of(each[0])) for each in partitions}

    async def record_at(self, partition: tuple[str, int], offset: int) -> LogRecord | None:
        return next(self._log.records_of(partition[0], offset), None)

    async def partition_counts(self, topics: Iterable[str]) -> dict[str, int]:
        return dict.fromkeys(topics, 1)

    async def cluster_id(self) -> str:
        return "files"

    async def topic_ids(self, topics: Iterable[str]) -> dict[str, str]:
        return dict.fromkeys(topics, "files")


class _Writer:
    def __init__(self, log: FileLog) -> None:
        self._log = log

    async def start(self) -> None:
        pass

    async def commit(self, records: Collection[Outgoing]) -> None:
        by_topic: dict[str, list[tuple[bytes | None, bytes | None]]] = {}
        for record in records:
            by_topic.setdefault(record.topic, []).append((record.key, record.value))
        size = sum(self._log.append(topic, several) for topic, several in by_topic.items())
        self._log.transactions.append((len(records), size))

    async def stop(self) -> None:
        pass
