"""`milestones list`: the milestones, oldest first."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple, get_args

import click
from aiokafka import TopicPartition

from schemas.codec import decode_milestone
from schemas.facts import METRICS
from schemas.outputs import MilestoneKind
from streams.cli.options import IDENTIFIER, WholeNumber, language_option, with_settings
from streams.cli.periods import check_period, is_in, period_option, why_not_counted
from streams.cli.running import run
from streams.domain.hints.suggestions import unknown
from streams.errors import ExpectedError
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import read_to_end, reader
from streams.kafka.records import in_order_of_time, record_value
from streams.wording.headline import headline

if TYPE_CHECKING:
    from schemas.outputs import MilestoneData
    from streams.kafka.records import LogRecord
    from streams.settings import Settings


_KINDS = get_args(MilestoneKind)


@click.command()
@click.option("--metric", type=click.Choice(METRICS), default=None, help="Only of this metric.")
@click.option("--scope", type=IDENTIFIER, default=None, help="Only of this scope, such as model=SU7 or all.")
@period_option
@click.option("--kind", type=click.Choice(_KINDS), default=None, help="Only of this kind.")
@click.option("--limit", type=WholeNumber(1), default=None, help="Show at most this many, the latest ones.")
@click.option("--follow", is_flag=True, help="Continue with new milestones until interrupted.")
@click.option("--json", "as_json", is_flag=True, help="One event per line, as on the topic.")
@language_option
@with_settings
def command(
    metric: str | None,
    scope: str | None,
    period: str | None,
    kind: str | None,
    limit: int | None,
    follow: bool,
    as_json: bool,
    language: str,
    settings: Settings,
) -> None:
    """Show the milestones, retractions and reinstatements."""
    check_period(period)
    printer = _Printer(_Filter(metric, scope, period, kind), limit, None if as_json else language)
    run(settings, _list(settings, printer, follow=follow))


class _Filter(NamedTuple):
    metric: str | None
    scope: str | None
    period: str | None
    kind: str | None

    def takes(self, data: MilestoneData) -> bool:
        return is_in(data, self) and self.kind in (None, data.kind)


class _Printer:
    """Prints the requested milestones; with a limit, the latest of them at the end.

    Args:
        wanted: The requested ones.
        limit: At most this many.
        language: The language of their lines; `None` prints events as JSON.

    Attributes:
        taken: How many of the requested ones there have been so far.
    """

    def __init__(self, wanted: _Filter, limit: int | None, language: str | None) -> None:
        self.wanted, self._limit, self._language = wanted, limit, language
        self._latest: deque[bytes] = deque(maxlen=limit)
        self._scopes: set[str] = set()
        self.taken = 0

    def take(self, record: LogRecord, *, at_once: bool = False) -> None:
        value = record_value(record)
        data = decode_milestone(value).data
        self._scopes.add(data.scope)
        if not self.wanted.takes(data):
            return
        self.taken += 1
        if at_once or self._limit is None:
            self._print(value)
        else:
            self._latest.append(value)

    def end(self, *, follow: bool) -> None:
        scope = self.wanted.scope
        if scope is not None and self._scopes and scope not in self._scopes:
            raise ExpectedError(f"--scope: {unknown('scope with a milestone', scope, self._scopes)}")
        for value in self._latest:
            self._print(value)
        if not self.taken and not follow:
            click.echo("no such milestones" if self._scopes else "no milestones yet", err=True)

    def _print(self, value: bytes) -> None:
        click.echo(value.decode() if self._language is None else headline(decode_milestone(value), self._language))


async def _list(settings: Settings, printer: _Printer, *, follow: bool) -> None:
    whole = catalogue_of(settings).milestones.whole
    async with reader(settings, follows=follow) as consumer:
        several: list[LogRecord] = []
        async for records in read_to_end(settings, whole, consumer=consumer):
            if len(whole) > 1:
                several += records
            else:
                for record in records:
                    printer.take(record)
        for record in in_order_of_time(several):
            printer.take(record)
        fault = None if printer.taken else await why_not_counted(settings, printer.wanted.period)
        if fault is not None:
            raise ExpectedError(fault)
        printer.end(follow=follow)
        if follow:
            consumer.resume(*(TopicPartition(*part) for part in whole))
            async for record in consumer:
                printer.take(record, at_once=True)
