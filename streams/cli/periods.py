"""`--metric`, `--scope`, and `--period`, the beginning of periods' ids: which rows are meant; refused if there are none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import click

from streams.audit.targets import counted_now
from streams.cli.options import TEXT
from streams.domain.hints.suggestions import not_counted, period_fault, unknown
from streams.domain.time.campaigns import CAMPAIGN
from streams.errors import ExpectedError
from streams.holidays import calendar_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from streams.cli.options import F
    from streams.settings import Settings


class _Place(Protocol):
    """A row, what is about one, or which are wanted: `None` is any."""

    @property
    def metric(self) -> str | None: ...
    @property
    def scope(self) -> str | None: ...
    @property
    def period(self) -> str | None: ...


def metric_option(function: F) -> F:
    """Adds `--metric`, to be checked by `check_filter`."""
    return click.option("--metric", type=TEXT, default=None, help="Only this metric, such as deliveries.")(function)


def period_option(function: F) -> F:
    """Adds `--period`."""
    return click.option(
        "--period",
        type=TEXT,
        default=None,
        help="Only periods whose id starts like this, such as month:2024-10 or day:2024.",
    )(function)


def is_in(place: _Place, wanted: _Place) -> bool:
    """Whether a row, or what is about one, is among those that are wanted, of which `period` is the beginning of ids."""
    return (
        wanted.metric in (None, place.metric)
        and wanted.scope in (None, place.scope)
        and (wanted.period is None or (place.period or "").startswith(wanted.period))
    )


def check_period(start: str | None) -> None:
    """Checks what can be checked of a `--period` without a cluster.

    Raises:
        ExpectedError: No id of a period starts like this.
    """
    if start is not None and (fault := period_fault(start)) is not None:
        raise ExpectedError(f"--period: {fault}")


def check_filter(metric: str | None, metrics: Collection[str], period: str | None) -> None:
    """Checks what can be checked of `--metric` and `--period` without a cluster.

    Raises:
        ExpectedError: There is no such metric among these, or no period whose id starts like this.
    """
    if metric is not None and metric not in metrics:
        raise ExpectedError(f"--metric: {unknown('metric', metric, metrics)}")
    check_period(period)


async def why_not_counted(settings: Settings, start: str | None) -> str | None:
    """Why the installation counts no periods that start like a `--period`, in one line; `None` if it does.

    To be asked if nothing was found, not before: rows of what is no longer counted stay.

    Raises:
        ExpectedError: The cluster is unreachable.
    """
    if start is None:
        return None
    campaigns: set[str] = set()
    if start.startswith(f"{CAMPAIGN}:"):
        campaigns = {campaign.name for campaign in (await counted_now(settings)).campaigns}
    fault = not_counted(start, calendar_of(settings), campaigns)
    return None if fault is None else f"--period: {fault}"
