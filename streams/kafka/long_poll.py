"""Fetches that cost nothing while no records come, and delay nothing.

A broker holds a fetch until the first of the records it asks for. A fetch for every partition may wait long. One that leaves out
a partition must not: records of that partition go unnoticed until it returns. So how long a fetch waits depends on what it asks
for; aiokafka has a single maximum wait for all.

A broker answers the requests of a connection one after the other, and keeps waiting for a fetch that the client has abandoned.
So fetches have a connection to themselves, which is closed when one is abandoned: otherwise the first fetch after a rebalance
would queue behind it.

If records come one by one, each would take a separate fetch, which costs as much as a hundred records. So fetches from a broker
start at least `PAUSE_S` apart: what comes meanwhile comes with the second.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.conn import CloseReason
from aiokafka.protocol.fetch import FetchRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiokafka.client import AIOKafkaClient

#: For a fetch that leaves out partitions: they are paused, or their records have not been taken yet.
SHORT_WAIT_MS: Final = 10
#: For a fetch from all partitions, which returns at the first record. The only cost: the ends of partitions are known later.
LONG_WAIT_MS: Final = 1000
#: How often aiokafka looks for something to fetch without being prompted; answers, records taken, partitions resumed and leader
#: changes prompt it.
_LOOK_MS: Final = 5000
#: Minimum time between the starts of two fetches from a broker, unless the first brought so much that there is a backlog.
PAUSE_S: Final = 0.01
BACKLOG_BYTES: Final = 32 * 1024
#: aiokafka keeps connections by broker and purpose; this is a third purpose besides its own two.
_FETCHES: Final = "fetches"


class LongPollConsumer(AIOKafkaConsumer):
    """aiokafka's consumer, whose fetches wait as described above.

    Args:
        options: The options of aiokafka's consumer, except those about waiting.
    """

    def __init__(self, *topics: str, **options: Any) -> None:
        super().__init__(*topics, fetch_max_wait_ms=SHORT_WAIT_MS, consumer_timeout_ms=_LOOK_MS, **options)

    async def start(self) -> None:
        """Starts the consumer."""
        await super().start()
        fetcher = self._fetcher
        fetcher._client = _FetchingClient(self._client, self._hear)  # noqa: SLF001 - aiokafka has no connections for fetches alone
        self._plan = fetcher._get_actions_per_node  # noqa: SLF001 - aiokafka has one wait for all requests
        fetcher._get_actions_per_node = self._plan_patiently  # noqa: SLF001 - the same

    def _hear(self, request: FetchRequest, answer: Any) -> None:
        """Called with each answer to a fetch, before it is processed."""

    def _plan_patiently(self, assignment: Any) -> Any:
        """Plans the next requests; fetches may wait long at the brokers if they ask for every partition."""
        fetcher, held = self._fetcher, assignment.tps
        asks_for_all = fetcher._records.keys().isdisjoint(held) and all(  # noqa: SLF001 - what waits to be taken
            state.has_valid_position and not state.paused for state in map(assignment.state_value, held)
        )
        fetcher._fetch_max_wait_ms = LONG_WAIT_MS if asks_for_all else SHORT_WAIT_MS  # noqa: SLF001 - as above
        return self._plan(assignment)


class _FetchingClient:
    """The client as the fetcher sees it: fetches use a separate connection."""

    def __init__(self, client: AIOKafkaClient, hear: Callable[[FetchRequest, Any], None]) -> None:
        self._client = client
        self._hear = hear
        #: Broker → when the next fetch may start, by the loop's clock.
        self._next_s: dict[int, float] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def send(self, node_id: int, request: Any, **options: Any) -> Any:
        """Sends a request; if it is an abandoned fetch, closes its connection."""
        if not isinstance(request, FetchRequest):
            return await self._client.send(node_id, request, **options)
        now_s = asyncio.get_running_loop().time
        if (pause_s := self._next_s.get(node_id, 0.0) - now_s()) > 0:
            await asyncio.sleep(pause_s)
        self._next_s[node_id] = now_s() + PAUSE_S
        try:
            answer = await self._client.send(node_id, request, group=_FETCHES)
        except asyncio.CancelledError:
            connection = self._client._conns.get((node_id, _FETCHES))  # noqa: SLF001 - aiokafka has no way to give up a request
            if connection is not None:
                # Any other reason would make the client refresh its metadata.
                connection.close(CloseReason.IDLE_DROP)
            raise
        if _brings(answer) > BACKLOG_BYTES:
            del self._next_s[node_id]
        self._hear(request, answer)
        return answer


def _brings(answer: Any) -> int:
    """Bytes of records in the answer to a fetch."""
    return sum(len(data[-1] or b"") for _, partitions in answer.topics for data in partitions)
