"""What the service has published so far: its rows, milestones and books, read like any consumer with read_committed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import date
from typing import TYPE_CHECKING

from aiokafka import TopicPartition

from schemas.codec import decode_forecast, decode_milestone, decode_row, decode_status
from schemas.facts import METRICS
from schemas.outputs import MilestoneEvent, PartitionStatus
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import reader
from streams.kafka.records import record_key, record_value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from schemas.outputs import Forecast
    from streams.kafka.records import LogRecord
    from streams.settings import Settings

_STANDING = ("milestone.raised.v1", "milestone.recorded.v1", "milestone.reinstated.v1")
_POLL_MS = 100


class Seen:
    """The outputs as far as they have been read.

    Attributes:
        milestones: Milestone id → its latest event, in the order of these events.
        partitions: Partition → its latest status.
        forecasts: Target → its latest forecast.
        changed_at_s: When a row or a milestone was last read, monotonic seconds.
    """

    def __init__(self, settings: Settings, model: str) -> None:
        self._scope = f"model={model}"
        self._rows: dict[str, bytes] = {}
        self._sources = set(catalogue_of(settings).names().values())
        self.milestones: dict[str, MilestoneEvent] = {}
        self.partitions: dict[int, PartitionStatus] = {}
        self.forecasts: dict[str, Forecast] = {}
        self.changed_at_s = time.monotonic()
        self._news = asyncio.Event()
        self._results = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns once the condition holds; it is checked after every read."""
        while not condition():
            self._news.clear()
            await self._news.wait()

    async def more_results(self) -> None:
        """Returns when the next row or milestone has been read."""
        self._results.clear()
        await self._results.wait()

    def take_row(self, key: bytes, value: bytes | None) -> None:
        """Takes a row of the windows topic, or its tombstone."""
        if value is None:
            self._rows.pop(key.decode(), None)
        else:
            self._rows[key.decode()] = value
        self._changed()

    def take_milestone(self, value: bytes) -> MilestoneEvent:
        """Takes an event of the milestones topic."""
        event = decode_milestone(value)
        self.milestones.pop(event.subject, None)
        self.milestones[event.subject] = event
        self._changed()
        return event

    def take_forecast(self, key: bytes, value: bytes | None) -> None:
        """Takes a record of the forecasts topic."""
        if value is None:
            self.forecasts.pop(key.decode(), None)
        else:
            self.forecasts[key.decode()] = decode_forecast(value)
        self._news.set()

    def take_status(self, key: bytes, value: bytes) -> None:
        """Takes a record of the status topic; only partition statuses matter here."""
        status = decode_status(key, value)
        if isinstance(status, PartitionStatus):
            self.partitions[status.partition] = status
            self._news.set()

    def _changed(self) -> None:
        self.changed_at_s = time.monotonic()
        self._news.set()
        self._results.set()

    def standing(self) -> list[MilestoneEvent]:
        """The standing milestones, in the order of their last events."""
        return [event for event in self.milestones.values() if event.type in _STANDING]

    def warnings(self) -> list[MilestoneEvent]:
        """The last events of all alerts about forecasts, standing or not, in order."""
        return [event for event in self.milestones.values() if event.data.forecast is not None]

    def count(self, metric: str, period: str) -> int:
        """Count of a window of the story's model; 0 if there is no row."""
        value = self._rows.get(f"{metric}/{self._scope}/{period}")
        return decode_row(value).count if value else 0

    def minutes(self, metric: str, period: str) -> list[int]:
        """Counts by minute of a campaign of the story's model; empty if there is no row."""
        value = self._rows.get(f"{metric}/{self._scope}/{period}")
        return list(decode_row(value).by_minute or ()) if value else []

    def opening(self, metric: str) -> int:
        """The opening balance of the story's model."""
        value = self._rows.get(f"{metric}/{self._scope}/total")
        return decode_row(value).balance if value else 0

    def day_counts(self) -> dict[str, Counter[date]]:
        """Metric → business date → count of the story's model, without zeros."""
        counts: dict[str, Counter[date]] = {metric: Counter() for metric in METRICS}
        for key, value in self._rows.items():
            metric, scope, period = key.split("/", 2)
            kind, _, day = period.partition(":")
            if scope == self._scope and kind == "day":
                row = decode_row(value)
                if row.count:
                    counts[metric][date.fromisoformat(day)] = row.count
        return counts

    def books(self) -> Counter[str]:
        """Totals of the books: read and rerouted from the source topics only, the rest from all topics."""
        totals: Counter[str] = Counter()
        for status in self.partitions.values():
            for topic, books in status.books.items():
                if topic in self._sources:
                    totals.update(read=books.read, rerouted=books.rerouted)
                else:
                    totals.update(arrived=books.read)
                totals.update(applied=books.applied, duplicates=books.duplicates, dead_letters=books.dead_letters)
        return totals

    def has_applied(self, ends: Mapping[TopicPartition, int]) -> bool:
        """Whether everything below the ends of the source topics has been applied, including forwarded records."""
        applied = all(
            tp.partition in self.partitions and self.partitions[tp.partition].applied.get(tp.topic, 0) >= end
            for tp, end in ends.items()
        )
        books = self.books()
        return applied and books["arrived"] >= books["rerouted"]


async def follow(settings: Settings, seen: Seen, raised: Callable[[MilestoneEvent], None]) -> None:
    """Reads the outputs until cancelled.

    Args:
        settings: The settings of the installation.
        seen: Filled with what is read.
        raised: Called with each event of the milestones topic.
    """
    catalogue = catalogue_of(settings)
    windows, milestones, status = catalogue.windows.name, catalogue.milestones.name, catalogue.status.name
    forecasts = catalogue.forecasts.name
    tps = [
        TopicPartition(*part)
        for topic in (catalogue.windows, catalogue.milestones, catalogue.status, catalogue.forecasts)
        for part in topic.whole
    ]
    async with reader(settings, follows=True) as consumer:
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        while True:
            fetched: Mapping[TopicPartition, list[LogRecord]] = await consumer.getmany(timeout_ms=_POLL_MS)
            by_topic: dict[str, list[LogRecord]] = {windows: [], milestones: [], status: [], forecasts: []}
            for tp, records in fetched.items():
                by_topic[tp.topic] += records
            for record in by_topic[windows]:
                seen.take_row(record_key(record), record.value)
            for record in by_topic[forecasts]:
                seen.take_forecast(record_key(record), record.value)
            for record in by_topic[status]:
                if record.value is not None:
                    seen.take_status(record_key(record), record.value)
            for record in by_topic[milestones]:
                raised(seen.take_milestone(record_value(record)))


async def source_ends(settings: Settings) -> dict[TopicPartition, int]:
    """The end offsets of all source partitions."""
    catalogue = catalogue_of(settings)
    tps = [
        TopicPartition(topic.name, partition)
        for topic in catalogue.published.values()
        for partition in range(topic.partitions)
    ]
    async with reader(settings) as consumer:
        ends: dict[TopicPartition, int] = await consumer.end_offsets(tps)
        return ends
