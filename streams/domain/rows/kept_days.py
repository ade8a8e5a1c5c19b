"""Which days have rows: for some sets of scopes only the latest, while their months and longer periods stay.

A set's first kept day only moves forward, with the latest known business date; if more days are to be kept than before, it
moves back once, when a worker starts.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_Template = tuple[str, ...]


class KeptState(NamedTuple):
    """What is remembered of a set of scopes.

    Attributes:
        since: The first day that has rows.
        days: The number of days before the latest one that the setting asked for at the time.
    """

    since: date
    days: int


class KeptSet:
    """A set of scopes.

    Attributes:
        since: Days before this one have no rows, or lose them with the current step.
        known_until: New rows of days before this one are rows that come back, which are no news.
        remembered: What is remembered of it.
    """

    __slots__ = ("days", "known_until", "remembered", "since")

    def __init__(self, days: int | None = None) -> None:
        self.days = days
        self.since = self.known_until = date.min
        self.remembered: KeptState | None = None

    @property
    def state(self) -> KeptState | None:
        """The state to remember now."""
        return None if self.days is None or self.since == date.min else KeptState(self.since, self.days)


class KeptDays:
    """The sets of scopes of an installation.

    Args:
        days: Dimensions → how many days before the latest business date keep their rows; all other sets keep theirs forever.
    """

    def __init__(self, days: Mapping[_Template, int] | None = None) -> None:
        self._sets = {template: KeptSet(number) for template, number in (days or {}).items()}
        self._all = KeptSet()

    def of(self, template: _Template) -> KeptSet:
        """The set with these dimensions."""
        return self._sets.get(template, self._all)

    def restore(self, template: _Template, state: KeptState) -> None:
        """Restores what is remembered, before anything is counted."""
        kept = self._sets.setdefault(template, KeptSet())
        kept.remembered, kept.known_until = state, state.since
        if kept.days is not None:
            kept.since = _before(state.since, max(0, kept.days - state.days))

    @property
    def keeps_all(self) -> bool:
        """Whether all days of all scopes have rows."""
        return not self._sets

    @property
    def comes_back(self) -> bool:
        """Whether rows come back, whose values are only in the counts."""
        return any(kept.since < kept.known_until for kept in self._sets.values())

    def advance(self, latest: date) -> bool:
        """Moves on to the latest business date. Returns whether days leave, or something else must be remembered."""
        for kept in self._sets.values():
            if kept.days is not None:
                kept.since = max(kept.since, _before(latest, kept.days))
        return any(kept.state != kept.remembered for kept in self._sets.values())

    def changed(self) -> Iterator[tuple[_Template, KeptState | None]]:
        """The states to remember that differ from the remembered ones; None to forget one."""
        for template, kept in self._sets.items():
            if kept.state != kept.remembered:
                kept.remembered = kept.state
                yield template, kept.state


def _before(day: date, days: int) -> date:
    return date.fromordinal(max(day.toordinal() - days, 1)) if day > date.min else day
