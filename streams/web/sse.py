"""Changes as server-sent events: encoded once, kept for a while, and sent to each client at its own pace.

A hub keeps the latest events, numbered. A client is a position in them and a filter; it is woken when there are more. A client that
has fallen behind what is kept, or does not accept what it is sent, is disconnected; browsers reconnect automatically.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.types import Message

from schemas.rows import RowKey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from starlette.types import Send

    from streams.web.readmodel import Changes

#: Changes to the same row within this time are sent as one.
FLUSH_INTERVAL_S: Final = 0.2
HEARTBEAT_INTERVAL_S: Final = 1.0
_KEPT_EVENTS: Final = 4096
_KEPT_BYTES: Final = 4 << 20
#: A client that accepts nothing for this long is disconnected.
_SEND_TIMEOUT_S: Final = 10.0
#: The most events to send to a client at once.
_CHUNK_EVENTS: Final = 512
_RETRY_MS: Final = 1000


@dataclass(frozen=True)
class Filter:
    """Which rows a client subscribes to; milestones, forecasts and the status go to all.

    Attributes:
        metrics: Any of these; empty is all.
        scopes: Any of these; empty is all.
        periods: Periods whose id starts with any of these; empty is all.
        rows: Whether it wants any rows at all.
    """

    metrics: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    periods: tuple[str, ...] = ()
    rows: bool = True

    def takes(self, row: RowKey | None) -> bool:
        """Whether an event about this row, or with `None` about something else, is wanted."""
        if row is None:
            return True
        return (
            self.rows
            and (not self.metrics or row.metric in self.metrics)
            and (not self.scopes or row.scope in self.scopes)
            and (not self.periods or row.period.startswith(self.periods))
        )


class _Event(NamedTuple):
    number: int
    row: RowKey | None
    heartbeat: bool
    wire: bytes


class Hub:
    """Passes changes on to all clients.

    Args:
        status: Makes the JSON of the heartbeat.
    """

    def __init__(self, status: Callable[[], str]) -> None:
        self._status = status
        #: Tells event numbers of other processes apart, which mean nothing here.
        self._epoch = secrets.token_hex(4)
        self._number = 0
        self._events: deque[_Event] = deque()
        self._bytes = 0
        self._rows: dict[RowKey, str | None] = {}
        self._more = asyncio.Event()
        self._collected = asyncio.Event()
        self._closed = False
        self.clients = 0
        self.dropped = 0
        self.sent_events = 0

    async def run(self) -> None:
        """Sends what has been collected, and the status every second while there are clients, until cancelled."""
        loop = asyncio.get_running_loop()
        due_s = flushed_s = loop.time()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due_s):
                    await self._collected.wait()
                    await asyncio.sleep(flushed_s + FLUSH_INTERVAL_S - loop.time())
            if self._rows:
                flushed_s = loop.time()
            self._collected.clear()
            self._flush_rows()
            if loop.time() >= due_s:
                due_s = max(due_s + HEARTBEAT_INTERVAL_S, loop.time())
                if self.clients:  # a new client is told at once
                    self._append("status", await asyncio.to_thread(self._status), heartbeat=True)
            self._wake()

    def changed(self, changes: Changes | None) -> None:
        """Takes a batch's changes; `None` means that clients must reload everything."""
        if changes is None:
            self._rows.clear()
            self._append("reset", "{}")
        else:
            for key, body in changes.rows.items():
                self._rows[key] = body
            if self._rows:
                self._collected.set()
            for body in changes.milestones:
                self._append("milestone", body)
            for name, forecast in changes.forecasts.items():
                if forecast is None:
                    self._append("forecast-withdrawn", json.dumps({"key": name}))
                else:
                    self._append("forecast", forecast)
            if changes.milestones or changes.forecasts:
                self._flush_rows()
        self._wake()

    def close(self) -> None:
        """Ends all clients' streams."""
        self._closed = True
        self._wake()

    def note_dropped(self) -> None:
        """Notes that a client was disconnected."""
        self.dropped += 1

    async def subscribe(self, wanted: Filter, last_event_id: str | None) -> AsyncGenerator[bytes, None]:
        """A client's stream: what it has missed since its last event, then new events.

        Args:
            wanted: The rows it wants.
            last_event_id: The last event of a client that reconnects.
        """
        position, first = self._resume(last_event_id)
        self.clients += 1
        try:
            yield first
            while not self._closed:
                more = self._more
                if self._events and self._events[0].number > position + 1:
                    self.note_dropped()
                    return
                chunk = self._after(position)
                if not chunk:
                    await more.wait()
                    continue
                position = chunk[-1].number
                wires = [event.wire for event in chunk if wanted.takes(event.row)]
                self.sent_events += len(wires)
                if wires:
                    yield b"".join(wires)
        finally:
            self.clients -= 1

    def _resume(self, last_event_id: str | None) -> tuple[int, bytes]:
        """The position from which a client resumes, and its first bytes: a `reset` if it missed events that are no longer kept."""
        status = format_sse_event(event="status", data_str=self._status(), retry=_RETRY_MS)
        here = format_sse_event(event="hello", data_str="{}", id=f"{self._epoch}-{self._number}")
        if not last_event_id:
            return self._number, here + status
        epoch, _, text = last_event_id.partition("-")
        oldest = self._events[0].number if self._events else self._number + 1
        if epoch == self._epoch and text.isdecimal() and oldest - 1 <= int(text) <= self._number:
            return int(text), status
        return self._number, here + format_sse_event(event="reset", data_str="{}") + status

    def _after(self, position: int) -> Sequence[_Event]:
        """The next events after a number; of heartbeats only the newest."""
        if not self._events or self._number <= position:
            return ()
        skip = position + 1 - self._events[0].number
        found = [self._events[at] for at in range(skip, min(skip + _CHUNK_EVENTS, len(self._events)))]
        last = max((event.number for event in found if event.heartbeat), default=0)
        kept = [event for event in found if not event.heartbeat or event.number == last]
        return kept if kept[-1].number == found[-1].number else [*kept, found[-1]]

    def _flush_rows(self) -> None:
        for key, body in self._rows.items():
            gone = json.dumps({"metric": key.metric, "scope": key.scope, "period": key.period})
            self._append("row" if body is not None else "row-gone", body if body is not None else gone, row=key)
        self._rows.clear()

    def _append(self, name: str, data: str, *, row: RowKey | None = None, heartbeat: bool = False) -> None:
        self._number += 1
        wire = format_sse_event(event=name, data_str=data, id=f"{self._epoch}-{self._number}")
        self._events.append(_Event(self._number, row, heartbeat, wire))
        self._bytes += len(wire)
        while len(self._events) > _KEPT_EVENTS or self._bytes > _KEPT_BYTES:
            self._bytes -= len(self._events.popleft().wire)

    def _wake(self) -> None:
        self._more.set()
        self._more = asyncio.Event()


class Stream(EventSourceResponse):
    """A stream whose client must keep up: only the socket's buffer holds data for it."""

    def __init__(self, content: AsyncIterator[bytes], *, dropped: Callable[[], None] = lambda: None) -> None:
        super().__init__(content, headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        self._dropped = dropped

    async def stream_response(self, send: Send) -> None:
        """Sends until the stream ends, or the client has accepted nothing for ten seconds."""

        async def bounded_send(message: Message) -> None:
            await asyncio.wait_for(send(message), _SEND_TIMEOUT_S)

        try:
            await super().stream_response(bounded_send)
        except TimeoutError:
            self._dropped()
            raise ConnectionResetError("a client does not take its events") from None
        finally:
            with contextlib.suppress(RuntimeError):
                await self.body_iterator.aclose()  # type: ignore[attr-defined] # it is the generator given above
