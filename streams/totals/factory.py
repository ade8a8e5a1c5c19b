"""Builds the totals from the settings: calendar, rules, targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.domain.scopes.overflow import ScopeBounds
from streams.domain.totals import Totals
from streams.holidays import calendar_of
from streams.installation import rules_of, targets_of

if TYPE_CHECKING:
    from streams.context import Context


def make_totals(context: Context, number: int = 0) -> Totals:
    """A totals partition as the settings describe it, without any state.

    Raises:
        ValueError: A rule or target is invalid, which `streams.installation.load_settings` would have refused.
    """
    settings, homes = context.settings, context.totals_homes
    return Totals(
        calendar=calendar_of(settings),
        rules=rules_of(settings),
        targets=targets_of(settings),
        timezone=settings.timezone,
        closed_after_s=settings.closed_after_s,
        scopes=context.scopes,
        is_home=lambda scope: homes.of(scope) == number,
        keeps_inventory=settings.keeps_inventory,
        keep_days=settings.kept_days,
        bounds=ScopeBounds(settings.limits.bounds) if settings.limits.beyond == "other" else None,
    )
