"""The hub: each change is encoded once, and clients read at their own pace and resume where they were."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from schemas.rows import RowKey
from streams.web import sse
from streams.web.readmodel import Changes
from streams.web.sse import Filter, Hub, Stream
from tests.support.time_limits import stretched

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DAY = RowKey("deliveries", "model=SU7", "day:2024-10-07")
MONTH = RowKey("orders", "all", "month:2024-10")


def events_of(chunk: bytes) -> list[tuple[str, str, str]]:
    """(event, data, id) of each event of a chunk."""
    found = []
    for block in chunk.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        if fields:
            found.append((fields["event"], fields["data"], fields.get("id", "")))
    return found


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A running hub."""
    made = Hub(lambda: '{"now": 1}')
    task = asyncio.create_task(made.run())
    yield made
    made.close()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(stream: Any, name: str) -> list[tuple[str, str, str]]:
    """Reads until an event with a name has come; returns all events."""
    found: list[tuple[str, str, str]] = []
    async with asyncio.timeout(stretched(3)):
        async for chunk in stream:
            found += events_of(chunk)
            if any(event[0] == name for event in found):
                return found
    raise AssertionError(f"the stream ended: {found}")


async def test_a_new_client_is_greeted_with_the_status_and_hears_of_changes(hub: Hub) -> None:
    stream = hub.subscribe(Filter(), None)
    greeting = events_of(await anext(stream))
    assert [event[0] for event in greeting] == ["hello", "status"]
    hub.changed(Changes(rows={DAY: '{"count": 1}'}))
    hub.changed(Changes(rows={DAY: '{"count": 2}', MONTH: None}))
    found = await until(stream, "row-gone")
    assert [event[1] for event in found if event[0] == "row"] == ['{"count": 2}'], "told as one, the latest"
    gone = next(json.loads(event[1]) for event in found if event[0] == "row-gone")
    assert gone == {"metric": "orders", "scope": "all", "period": "month:2024-10"}
    await stream.aclose()
    assert hub.clients == 0


@pytest.mark.parametrize(
    ("wanted", "takes"),
    [
        (Filter(), True),
        (Filter(metrics=frozenset({"deliveries"}), scopes=frozenset({"model=SU7"}), periods=("day:2024-10",)), True),
        (Filter(metrics=frozenset({"orders"})), False),
        (Filter(scopes=frozenset({"all"})), False),
        (Filter(periods=("month:", "year:")), False),
        (Filter(rows=False), False),
    ],
)
def test_a_client_hears_of_the_rows_that_it_wants(wanted: Filter, *, takes: bool) -> None:
    assert wanted.takes(DAY) is takes
    assert wanted.takes(None)


async def test_a_client_that_comes_back_is_told_what_it_has_missed_and_nothing_twice(hub: Hub) -> None:
    stream = hub.subscribe(Filter(), None)
    await anext(stream)
    hub.changed(Changes(milestones=["1"]))
    last = (await until(stream, "milestone"))[-1][2]
    await stream.aclose()
    hub.changed(Changes(milestones=["2", "3"]))
    back = hub.subscribe(Filter(), last)
    found = events_of(await anext(back)) + await until(back, "milestone")
    assert [event[1] for event in found if event[0] == "milestone"] == ["2", "3"]
    assert "reset" not in [event[0] for event in found]
    await back.aclose()


@pytest.mark.parametrize("last_event_id", ["00000000-1", "nonsense", "-", "00000000-99999999999999999999"])
async def test_an_id_of_another_process_means_loading_everything_again(hub: Hub, last_event_id: str) -> None:
    stream = hub.subscribe(Filter(), last_event_id)
    assert "reset" in [event[0] for event in events_of(await anext(stream))]
    await stream.aclose()


async def test_a_client_that_was_away_too_long_loads_everything_again(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "_KEPT_EVENTS", 5)
    stream = hub.subscribe(Filter(), None)
    first = events_of(await anext(stream))[0][2]
    await stream.aclose()
    for number in range(10):
        hub.changed(Changes(milestones=[str(number)]))
    back = hub.subscribe(Filter(), first)
    assert "reset" in [event[0] for event in events_of(await anext(back))]
    await back.aclose()


async def test_a_client_that_falls_behind_is_let_go(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "_KEPT_EVENTS", 5)
    stream = hub.subscribe(Filter(), None)
    await anext(stream)
    for number in range(10):
        hub.changed(Changes(milestones=[str(number)]))
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    assert (hub.clients, hub.dropped) == (0, 1)


async def test_a_client_that_takes_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "_SEND_TIMEOUT_S", 0.05)
    dropped: list[int] = []

    async def content() -> AsyncIterator[bytes]:
        yield b"x"

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    with pytest.raises(OSError, match="does not take"):
        await Stream(content(), dropped=lambda: dropped.append(1)).stream_response(send)
    assert dropped == [1]


async def test_the_status_is_told_every_second_once_for_all(hub: Hub) -> None:
    streams = [hub.subscribe(Filter(rows=False), None) for _ in range(3)]
    for stream in streams:
        await anext(stream)
    wires = [await anext(stream) for stream in streams]
    assert wires[0] is wires[1] or wires[0] == wires[1] == wires[2]
    assert {event[0] for event in events_of(wires[0])} == {"status"}
    for stream in streams:
        await stream.aclose()


async def test_closing_ends_every_stream(hub: Hub) -> None:
    stream = hub.subscribe(Filter(), None)
    await anext(stream)
    hub.close()
    async with asyncio.timeout(stretched(3)):
        assert [chunk async for chunk in stream] == []
