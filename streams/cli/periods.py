"""`--metric`, and `--period`, the beginning of periods' ids: refused if there are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.audit.targets import counted_now
from streams.domain.campaigns import CAMPAIGN
from streams.domain.suggestions import is_whole, period_fault, unknown
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
    kind, colon, rest = start.partition(":")
    if kind == CAMPAIGN and colon:
        known = {campaign.name for campaign in (await counted_now(settings)).campaigns}
        if any(name.startswith(rest) for name in known):
            return None
        none = f"there is no campaign {rest!r}, neither in the settings nor announced"
        return f"--period: {unknown('campaign', rest, known) if known else none}"
    calendar = calendar_of(settings)
    if colon and not calendar.counts(kind):
        return f"--period: {kind} is not among the windows of the settings; write {calendar.forms}"
    if is_whole(start):
        try:
            calendar.period(start)
        except ValueError as error:
            return f"--period: {error}"
    return None
