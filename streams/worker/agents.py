"""The two agents: each hands the batches it receives to the task runner of their partition.

Decoding, applying and committing is left to the runner: a partition's orders, deliveries and forwarded records are three
streams to Faust, but share one state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from streams.kafka.transport import BatchTopic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import faust

    from streams.kafka.transport import Batch
    from streams.worker.engine import Engine


class _Event(Protocol):
    @property
    def value(self) -> Batch: ...


class _Stream(Protocol):
    def events(self) -> AsyncIterator[_Event]: ...


def register(app: faust.App, engine: Engine) -> None:
    """Declares the topics and agents of the app."""
    context = engine.context

    def topic(*names: str) -> BatchTopic:
        return BatchTopic(app, topics=names, value_serializer="raw", key_serializer="raw", acks=False, internal=False)

    @app.agent(topic(*context.ledger_topics), name="ledger", isolated_partitions=True)
    async def ledger(stream: _Stream) -> None:
        """One instance per source topic and partition: orders and deliveries become day counts."""
        async for event in stream.events():
            await engine.submit_ledger(event.value)

    @app.agent(topic(*context.totals_topics), name="totals", isolated_partitions=True)
    async def totals(stream: _Stream) -> None:
        """One instance per topic and partition: day counts become windows and milestones; side topics supply what they are compared with."""
        async for event in stream.events():
            await engine.submit_totals(event.value)
