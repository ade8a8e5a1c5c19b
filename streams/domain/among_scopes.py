"""Scopes compared with each other in one period: the share of `all`, and which one has most."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from schemas.rows import RowKey
from schemas.texts import OTHER
from streams.domain.scopes import ALL, named_values, template_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streams.domain.calendar import Calendar
    from streams.domain.rules import Rule
    from streams.domain.windows import Row, Windows


class Leaders(NamedTuple):
    """Of the scopes of one template in one period that name no `other`: how many units the first and the second have.

    Attributes:
        first: The scope with the most; None where two have as many, or none any.
        units: Its units, or theirs.
        second: The scope with the most of the others; None where there is none.
        second_units: Its units.
        is_over: Whether the period is.
    """

    first: str | None
    units: int
    second: str | None
    second_units: int
    is_over: bool


class AmongScopes:
    """Who has most, worked out once a step: counts do not change within one.

    Args:
        windows: All rows.
        calendar: Which period comes before and after another.
    """

    def __init__(self, windows: Windows, calendar: Calendar) -> None:
        self._windows = windows
        self._calendar = calendar
        self._found: dict[tuple[str, tuple[str, ...], str], Leaders] = {}
        #: Metrics and ids of the periods of which a row has been over.
        self._over: set[tuple[str, str]] = set()

    def begin_step(self) -> None:
        """Counts may have changed."""
        self._found.clear()

    def note(self, row: Row) -> None:
        """Takes a row that is judged."""
        if row.is_over:
            self._over.add((row.metric, row.period.id))

    def leaders(self, metric: str, template: tuple[str, ...], period_id: str) -> Leaders:
        """The first and the second of a period."""
        key = metric, template, period_id
        found = self._found.get(key)
        if found is None:
            rows = [row for row in self._windows.rows_of(metric, period_id) if template_of(row.scope) == template]
            is_over = any(row.is_over for row in rows)
            named = sorted(
                ((row.count, row.scope) for row in rows if row.count and not _has_other(row.scope)), reverse=True
            )
            units, first = named[0] if named else (0, None)
            second_units, second = named[1] if len(named) > 1 else (0, None)
            found = Leaders(first if units > second_units else None, units, second, second_units, is_over)
            self._found[key] = found
        return found

    def led_before(self, row: Row) -> str | None:
        """What was the first in the period before, an empty text where two were; None where that cannot be told."""
        before = self._calendar.before(row.period)
        if before is None:
            return None
        leaders = self.leaders(row.metric, template_of(row.scope), before.id)
        return (leaders.first or "") if leaders.is_over and leaders.units else None

    def touched(self, rules: Sequence[Rule]) -> Iterator[RowKey]:
        """Rows that the changes since the last step may decide although nothing has changed in them.

        Args:
            rules: Those that compare scopes.
        """
        for metric, scope, period in self._windows.changed() if rules else ():
            if (metric, period.id) not in self._over:
                continue
            template = template_of(scope)
            kinds = {period.kind, period.window}
            for rule in rules:
                if rule.metric != metric or rule.window not in kinds:
                    continue
                if rule.share is not None and scope == ALL:
                    yield from (RowKey(rule.metric, of, period.id) for of in self._scopes(rule, period.id))
                if rule.leader and template == rule.template:
                    after = self._calendar.after(period)
                    for period_id in (period.id, *([after.id] if after is not None else ())):
                        yield from (RowKey(rule.metric, of, period_id) for of in self._scopes(rule, period_id))

    def _scopes(self, rule: Rule, period_id: str) -> list[str]:
        """The scopes of a rule that have a row of a period which is over."""
        scopes = self._windows.scopes_over(rule.metric, period_id)
        return [scope for scope in scopes if template_of(scope) == rule.template]


def _has_other(scope: str) -> bool:
    return any(value == OTHER for _, value in named_values(scope))
