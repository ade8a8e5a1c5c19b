"""Scopes compared with each other in one period: their share of `all`, and which one has the most units."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from schemas.rows import RowKey
from schemas.texts import ALL, OTHER, template_of
from streams.domain.scopes.scopes import named_values

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streams.domain.rows.window_row import Row
    from streams.domain.rows.windows import Windows
    from streams.domain.rules import Rule
    from streams.domain.time.calendar import Calendar
    from streams.domain.time.periods import Period


class Leaders(NamedTuple):
    """The two scopes of one template with the most units in one period; those that name `other` are left out.

    Attributes:
        first: The scope with the most units; None if two tie, or none has any.
        units: Its units, or those of the tied scopes.
        second: The scope with the most units of the others; None if there is none.
        second_units: Its units.
    """

    first: str | None
    units: int
    second: str | None
    second_units: int


class AmongScopes:
    """Which scope leads, worked out once a step: counts do not change within one.

    Args:
        windows: All rows.
        calendar: Says which period comes before and after another.
    """

    def __init__(self, windows: Windows, calendar: Calendar) -> None:
        self._windows = windows
        self._calendar = calendar
        self._found: dict[tuple[str, tuple[str, ...], str], Leaders] = {}
        #: Metric and id of each period that is over in some row.
        self._over: set[tuple[str, str]] = set()

    def begin_step(self) -> None:
        """Counts may have changed."""
        self._found.clear()

    def note(self, row: Row) -> None:
        """Notes a row that is being judged."""
        if row.is_over:
            self._over.add((row.metric, row.period.id))

    def leaders(self, metric: str, template: tuple[str, ...], period_id: str) -> Leaders:
        """The first and the second of a period."""
        key = metric, template, period_id
        found = self._found.get(key)
        if found is None:
            rows = [row for row in self._windows.rows_of(metric, period_id) if template_of(row.scope) == template]
            named = sorted(
                ((row.count, row.scope) for row in rows if row.count and not _has_other(row.scope)), reverse=True
            )
            units, first = named[0] if named else (0, None)
            second_units, second = named[1] if len(named) > 1 else (0, None)
            found = Leaders(first if units > second_units else None, units, second, second_units)
            self._found[key] = found
        return found

    def led_before(self, row: Row) -> str | None:
        """The first scope of the period before one that is over, an empty string if two tied; None if no scope has units in it.

        That period is over too. Its rows may not say so yet: after units that came late, or to a writer that has just taken over.
        """
        before = self._calendar.before(row.period)
        if before is None:
            return None
        leaders = self.leaders(row.metric, template_of(row.scope), before.id)
        return (leaders.first or "") if leaders.units else None

    def touched(self, rules: Sequence[Rule]) -> Iterator[RowKey]:
        """Rows whose judgement may change because of other rows that changed since the last step.

        Args:
            rules: Those that compare scopes.
        """
        for metric, scope, period in self._windows.changed() if rules else ():
            kinds = {period.kind, period.window}
            for rule in rules:
                if rule.metric != metric or rule.window not in kinds:
                    continue
                if rule.share is not None and scope == ALL:
                    yield from self._over_in(rule, period)
                if rule.leader and template_of(scope) == rule.template:
                    yield from self._over_in(rule, period)
                    yield from self._over_in(rule, self._calendar.after(period))

    def _over_in(self, rule: Rule, period: Period | None) -> Iterator[RowKey]:
        """The rows of the scopes of a rule in a period, if that is over."""
        if period is not None and (rule.metric, period.id) in self._over:
            yield from (RowKey(rule.metric, scope, period.id) for scope in self._scopes(rule, period.id))

    def _scopes(self, rule: Rule, period_id: str) -> list[str]:
        """The scopes of a rule that have a row for a period that is over."""
        scopes = self._windows.scopes_over(rule.metric, period_id)
        return [scope for scope in scopes if template_of(scope) == rule.template]


def _has_other(scope: str) -> bool:
    return any(value == OTHER for _, value in named_values(scope))
