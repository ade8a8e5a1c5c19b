"""Builds the totals from the settings: calendar, rules, targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.domain.rules import Rule, Target
from streams.domain.totals import Totals
from streams.errors import ExpectedError
from streams.holidays import load_calendar

if TYPE_CHECKING:
    from streams.context import Context
    from streams.settings import RuleSettings, Settings


def rules_of(settings: Settings) -> list[Rule]:
    """The rules of the settings."""
    return [_rule(rule) for rule in settings.rule]


def targets_of(settings: Settings) -> list[Target]:
    """The start values of the targets."""
    return [
        Target(
            target_id=target.target_id,
            metric=target.metric,
            scope=target.scope,
            period=target.period,
            value=target.value,
            label=target.label,
        )
        for target in settings.target
    ]


def make_totals(context: Context) -> Totals:
    """The totals that the settings describe, without any state.

    Raises:
        ExpectedError: A rule or target is not valid; the line names it.
    """
    settings = context.settings
    try:
        return Totals(
            calendar=load_calendar(settings.holidays, context.zone),
            rules=rules_of(settings),
            targets=targets_of(settings),
            timezone=settings.timezone,
            closed_after_s=settings.closed_after_s,
            topics=context.source_topics.published,
            scopes=context.scopes,
        )
    except ValueError as error:
        raise ExpectedError(str(error)) from None


def _rule(rule: RuleSettings) -> Rule:
    if rule.exceeds is not None and rule.reaches is not None:
        raise ExpectedError(f"rule {rule.name!r}: give exceeds or reaches, not both")
    operator = "exceeds" if rule.exceeds is not None else "reaches" if rule.reaches is not None else None
    return Rule(
        name=rule.name,
        metric=rule.metric,
        window=rule.window,
        scope=rule.scope,
        operator=operator,
        threshold=rule.exceeds if rule.exceeds is not None else rule.reaches,
        first=rule.first,
        record=rule.record,
        retract_after_s=rule.retract_after_s,
    )
