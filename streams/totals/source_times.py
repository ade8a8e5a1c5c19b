"""`source/NAME` on `vehicle.status.v1`: the latest event time of each event source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.codec import encode_status
from schemas.instants import utc_text
from schemas.outputs import Marker, SourceStatus
from streams.kafka.outbox import Outgoing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.context import Context

_MAX_SOURCES = 256


class SourceTimes:
    """The latest event time of each event source over all partitions; reports only changes."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._said: dict[str, int] = {}

    def records(self, markers: Iterable[Marker], now_us: int) -> list[Outgoing]:
        """The records of the sources that have had a later event since they were last written."""
        latest: dict[str, int] = {}
        for marker in markers:
            for source, time_us in marker.sources.items():
                latest[source] = max(time_us, latest.get(source, time_us))
        # A publisher that uses a new source for each event must not fill the topic.
        youngest = sorted(latest, key=latest.__getitem__, reverse=True)[:_MAX_SOURCES]
        changed = [source for source in youngest if self._said.get(source) != latest[source]]
        self._said.update((source, latest[source]) for source in changed)
        return [
            Outgoing(
                self._context.catalogue.status.name,
                0,
                f"source/{source}".encode(),
                encode_status(
                    SourceStatus(source=source, last_event_at=utc_text(latest[source]), updated_at=utc_text(now_us))
                ),
            )
            for source in changed
        ]
