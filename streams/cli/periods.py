"""`--metric`, and `--period`, the beginning of periods' ids: refused if there are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.audit.targets import counted_now
from streams.domain.hints.suggestions import not_counted, period_fault, unknown
from streams.domain.time.campaigns import CAMPAIGN
from streams.errors import ExpectedError
from streams.holidays import calendar_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from streams.settings import Settings


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
