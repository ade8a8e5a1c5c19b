"""Published control totals: the rows with their difference to other systems, and totals without a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from schemas.codec import decode_control, decode_row
from schemas.facts import Rejection
from schemas.rows import RowKey
from streams.context import wall_clock_us
from streams.domain.announced.controls import Controls, control_of
from streams.errors import ExpectedError
from streams.kafka.admin import catalogue_of
from streams.kafka.append_time import with_append_times
from streams.kafka.clients import partition_counts, read_latest, read_to_end, reader

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

    from schemas.outputs import RowControl, WindowRow
    from streams.domain.announced.controls import Control
    from streams.settings import Settings


class Compared(NamedTuple):
    """Another system's total next to the row that it checks."""

    row: WindowRow
    control: RowControl

    @property
    def key(self) -> RowKey:
        """Metric, scope, period."""
        return RowKey.of(self.row)

    def document(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "metric": self.row.metric,
            "scope": self.row.scope,
            "period": self.row.period,
            "source": self.control.source,
            "ours": self.row.count,
            "theirs": self.control.count,
            "difference": self.control.difference,
            "as_of": self.control.as_of,
            "differs_since": self.control.differs_since,
            "status": self.row.status,
        }


@dataclass(frozen=True)
class Situation:
    """All published control totals.

    Attributes:
        compared: By metric, scope, dates and source.
        elsewhere: Totals of windows without a row here: their scope or holiday is not counted, or they are not taken yet.
    """

    compared: list[Compared]
    elsewhere: list[Control]


async def read_situation(settings: Settings) -> Situation:
    """Reads the rows and the totals.

    Raises:
        ExpectedError: The cluster is unreachable, or the installation does not exist.
    """
    catalogue = catalogue_of(settings)
    async with reader(settings) as consumer:
        counts = await partition_counts(consumer, [catalogue.windows.name, catalogue.controls.name])
        for name, count in counts.items():
            if not count:
                raise ExpectedError(f"{name} does not exist; create it with: milestones topics apply", exit_code=3)
        rows = await _rows(settings, consumer)
        totals = await _totals(settings, consumer, catalogue.controls.name)
    compared = [Compared(row, control) for row in rows for control in row.controls]
    compared.sort(key=lambda one: (one.row.metric, one.row.scope, one.row.start, one.row.end, one.control.source))
    shown = {(*one.key, one.control.source) for one in compared}
    elsewhere = [
        total for row in sorted(totals.rows()) for total in totals.of(row) if (*row, total.source) not in shown
    ]
    return Situation(compared, elsewhere)


async def _rows(settings: Settings, consumer: AIOKafkaConsumer) -> list[WindowRow]:
    latest = await read_latest(settings, catalogue_of(settings).windows.whole, consumer=consumer)
    return [decode_row(value) for value in latest.values()]


async def _totals(settings: Settings, consumer: AIOKafkaConsumer, topic: str) -> Controls:
    totals = Controls()
    async for records in read_to_end(settings, [(topic, 0)], consumer=consumer):
        for dated in with_append_times(records, wall_clock_us() // 1000, lambda _record: False):
            event = decode_control(
                dated,
                future_limit_us=settings.future_limit_s * 1_000_000,
                framed=settings.accept_schema_registry_json,
            )
            if not isinstance(event, Rejection):
                totals.take(control_of(event))
    return totals
