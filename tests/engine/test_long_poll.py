"""How long a fetch waits at the broker, and which connection it takes."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.metadata import MetadataRequest

from streams.kafka import long_poll
from streams.kafka.long_poll import BACKLOG_BYTES, LONG_WAIT_MS, SHORT_WAIT_MS, LongPollConsumer, _FetchingClient

ONE, OTHER = TopicPartition("orders", 0), TopicPartition("deliveries", 0)


def answer_of(size: int) -> Any:
    """A fetch response with a number of bytes of records."""
    return SimpleNamespace(topics=[("orders", [(0, 0, 9, bytes(size)), (1, 0, 9, None)])])


def test_a_fetch_waits_for_long_only_where_it_asks_for_every_partition() -> None:
    states = {tp: SimpleNamespace(has_valid_position=True, paused=False) for tp in (ONE, OTHER)}
    assignment = SimpleNamespace(tps=states.keys(), state_value=states.get)
    consumer = object.__new__(LongPollConsumer)
    consumer._fetcher = SimpleNamespace(_records={}, _fetch_max_wait_ms=0)
    waits: list[int] = []
    consumer._plan = lambda _assignment: waits.append(consumer._fetcher._fetch_max_wait_ms)
    consumer._plan_patiently(assignment)
    consumer._fetcher._records[OTHER] = ["a record that waits to be taken"]
    consumer._plan_patiently(assignment)
    consumer._fetcher._records.clear()
    states[ONE].paused = True
    consumer._plan_patiently(assignment)
    states[ONE].paused = False
    states[ONE].has_valid_position = False
    consumer._plan_patiently(assignment)
    states[ONE].has_valid_position = True
    consumer._plan_patiently(assignment)
    assert waits == [LONG_WAIT_MS, SHORT_WAIT_MS, SHORT_WAIT_MS, SHORT_WAIT_MS, LONG_WAIT_MS]


async def test_a_fetch_has_a_connection_that_is_closed_with_it_and_other_requests_have_not() -> None:
    sent: list[tuple[type, dict[str, Any]]] = []
    closed: list[object] = []
    heard: list[tuple[Any, Any]] = []
    answer = answer_of(0)
    may_answer = asyncio.Event()

    async def send(_node_id: int, request: Any, **options: Any) -> Any:
        sent.append((type(request), options))
        if isinstance(request, FetchRequest):
            await may_answer.wait()
        return answer

    connections = {(1, "fetches"): SimpleNamespace(close=closed.append)}
    client: Any = _FetchingClient(
        SimpleNamespace(send=send, _conns=connections, cluster="its cluster"), lambda *both: heard.append(both)
    )
    assert client.cluster == "its cluster"
    assert await client.send(1, MetadataRequest([])) is answer
    fetch = asyncio.create_task(client.send(1, FetchRequest(LONG_WAIT_MS, 1, 1, 1, [])))
    await asyncio.sleep(0)
    assert not closed
    fetch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetch
    assert sent == [(MetadataRequest, {}), (FetchRequest, {"group": "fetches"})]
    assert len(closed) == 1
    assert not heard
    may_answer.set()
    request = FetchRequest(LONG_WAIT_MS, 1, 1, 1, [])
    assert await client.send(1, request) is answer
    assert heard == [(request, answer)]


@pytest.mark.parametrize("size", [0, BACKLOG_BYTES, BACKLOG_BYTES + 1])
async def test_between_two_fetches_of_a_broker_is_some_time_unless_there_is_a_backlog(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(long_poll, "PAUSE_S", 0.05)
    now_s = asyncio.get_running_loop().time
    sent: list[tuple[int, float]] = []

    async def send(node_id: int, _request: Any, **_: Any) -> Any:
        sent.append((node_id, now_s()))
        return answer_of(size)

    client: Any = _FetchingClient(SimpleNamespace(send=send), lambda _request, _answer: None)
    fetch = FetchRequest(LONG_WAIT_MS, 1, 1, 1, [])
    for node_id, request in ((1, fetch), (2, fetch), (1, MetadataRequest([])), (1, fetch), (1, fetch)):
        await client.send(node_id, request)
    assert [node_id for node_id, _ in sent] == [1, 2, 1, 1, 1]
    if size > BACKLOG_BYTES:
        assert sent[4][1] - sent[0][1] < 0.05
        return
    assert sent[2][1] - sent[0][1] < 0.05
    assert sent[3][1] - sent[0][1] >= 0.05
    assert sent[4][1] - sent[3][1] >= 0.05
    await asyncio.sleep(0.06)
    rested_s = now_s()
    await client.send(1, fetch)
    assert sent[-1][1] - rested_s < 0.05
