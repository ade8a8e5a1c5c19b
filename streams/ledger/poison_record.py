"""Finds by trial the record in a batch that makes the program raise.

A trial starts from what is committed, as a restarted worker would, and applies the same records with the same code: first one
by one; then, if none raises alone, by bisection over prefixes, which finds the last record of the shortest one that raises.
"""

from __future__ import annotations

import logging
import shlex
from typing import TYPE_CHECKING, Protocol

from aiokafka.errors import KafkaError

from schemas.notes import Place
from streams.errors import FaultyRecordError
from streams.kafka.forwarding import origin_of
from streams.kafka.log import Partition
from streams.kafka.pacing import pause
from streams.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from streams.context import Context
    from streams.kafka.records import LogRecord
    from streams.kafka.transport import Batch

logger = logging.getLogger(__name__)

#: Errors caused neither by a record nor by the program.
INFRASTRUCTURE = (KafkaError, OSError, TimeoutError)

_YIELD_RECORDS = 200


class Trial(Protocol):
    """A state for trials; it writes nothing."""

    async def restore(self) -> Mapping[Partition, int]:
        """Restores what is committed."""

    async def rehearse(self, batches: Sequence[Batch]) -> None:
        """Applies the batches and commits nothing."""

    def positions(self) -> Mapping[Partition, int]:
        """Where to continue reading."""

    async def close(self) -> None:
        """Releases its resources."""


async def blamed(error: Exception, batches: Sequence[Batch], fresh: Callable[[], Trial], context: Context) -> Exception:
    """An error that names the record that caused `error`, or `error` itself if none is found.

    Args:
        error: Raised while the batches were applied.
        batches: Those batches.
        fresh: Makes a state, not yet restored.
        context: The worker's context.
    """
    if not batches:
        return error
    logger.error("applying has raised %s; looking for the record that does it", type(error).__name__)
    try:
        found = await find_culprit(fresh, batches)
    except Exception:
        logger.exception("the record could not be looked for")
        return error
    if found is None:
        logger.error("the same records raise nothing when they are applied again: none can be blamed")
        return error
    return FaultyRecordError(_last_words(place_of(found, context), error, context.settings))


async def find_culprit(fresh: Callable[[], Trial], batches: Sequence[Batch]) -> LogRecord | None:
    """The first record that makes a fresh state raise, `None` if none does."""
    batches = [batch for batch in batches if batch.records]
    found = await _first_alone(fresh, batches)
    if found is None:
        found = await _first_together(fresh, batches)
    return found


def place_of(record: LogRecord, context: Context) -> Place:
    """Where a record was originally published, even if it has been forwarded since."""
    origin = origin_of(record.headers) if record.topic == context.source_topics.rerouted else None
    if origin is None:
        return Place(record.topic, record.partition, record.offset)
    return Place(context.source_topics.name(origin.topic), origin.partition, origin.offset)


async def _first_alone(fresh: Callable[[], Trial], batches: Sequence[Batch]) -> LogRecord | None:
    trial = fresh()
    try:
        await trial.restore()
        tried = 0
        for batch in batches:
            for record in batch.records:
                if await _raises(trial, [_piece(trial, batch, [record])]):
                    return record
                tried += 1
                if tried % _YIELD_RECORDS == 0:
                    await pause()
    finally:
        await trial.close()
    return None


async def _first_together(fresh: Callable[[], Trial], batches: Sequence[Batch]) -> LogRecord | None:
    everything = [record for batch in batches for record in batch.records]
    passes, raises = 0, len(everything)
    if not await _prefix_raises(fresh, batches, raises):
        return None
    while raises - passes > 1:
        middle = (passes + raises) // 2
        if await _prefix_raises(fresh, batches, middle):
            raises = middle
        else:
            passes = middle
    return everything[raises - 1]


async def _prefix_raises(fresh: Callable[[], Trial], batches: Sequence[Batch], length: int) -> bool:
    trial = fresh()
    try:
        await trial.restore()
        pieces: list[Batch] = []
        for batch in batches:
            if length > 0:
                pieces.append(_piece(trial, batch, batch.records[:length], after=pieces))
            length -= len(batch.records)
        return await _raises(trial, pieces)
    finally:
        await trial.close()


def _piece(trial: Trial, batch: Batch, records: Sequence[LogRecord], after: Sequence[Batch] = ()) -> Batch:
    """Some records of a batch, as if the state had fetched them next."""
    tp = Partition(batch.topic, batch.partition)
    first = next((piece.next for piece in reversed(after) if (piece.topic, piece.partition) == tp), None)
    return batch._replace(
        first=trial.positions()[tp] if first is None else first, next=records[-1].offset + 1, records=records
    )


async def _raises(trial: Trial, batches: Sequence[Batch]) -> bool:
    try:
        await trial.rehearse(batches)
    except INFRASTRUCTURE:
        raise
    except Exception:  # noqa: BLE001 - any fault is what the trial looks for
        return True
    return False


def _last_words(place: Place, error: Exception, settings: Settings) -> str:
    kind = type(error).__name__
    command = ["milestones", "quarantine", place.topic, str(place.partition), str(place.offset)]
    command += ["--reason", f"applying it raises {kind}"]
    if settings.bootstrap_servers != Settings.model_fields["bootstrap_servers"].default:
        command += ["--bootstrap-servers", settings.bootstrap_servers]
    return (
        f"{place} cannot be applied: {kind}, a fault of the program; nothing is lost, a corrected version continues from here; "
        f"to pass this record over: {shlex.join(command)}"
    )
