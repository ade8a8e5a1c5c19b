"""Which days have rows: of some sets of scopes only the last ones, while their months and longer periods stay.

A set's first kept day only moves forward, by the latest business date that is known; where more days are to be kept than
before, it moves back once, as a worker starts.
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
        days: How many days before the latest one the setting asked for then.
    """

    since: date
    days: int


class KeptSet:
    """A set of scopes.

    Attributes:
        since: Days before this one have no rows, or lose them with the current step.
        known_until: Rows of days before this one that are new come back: they are no news.
        remembered: What is remembered of it.
    """

    __slots__ = ("days", "known_until", "remembered", "since")

    def __init__(self, days: int | None = None) -> None:
        self.days = days
        self.since = self.known_until = date.min
        self.remembered: KeptState | None = None

    @property
    def state(self) -> KeptState | None:
        """What is to be remembered now."""
        return None if self.days is None or self.since == date.min else KeptState(self.since, self.days)


class KeptDays:
    """The sets of scopes of an installation.

    Args:
        days: Dimensions → how many days before the latest business date keep their rows; those of all others do for ever.
    """

    def __init__(self, days: Mapping[_Template, int] | None = None) -> None:
        self._sets = {template: KeptSet(number) for template, number in (days or {}).items()}
        self._all = KeptSet()

    def of(self, template: _Template) -> KeptSet:
        """The set with these dimensions."""
        return self._sets.get(template, self._all)

    def restore(self, template: _Template, state: KeptState) -> None:
        """Takes over what is remembered, before anything is counted."""
        kept = self._sets.setdefault(template, KeptSet())
        kept.remembered, kept.known_until = state, state.since
        if kept.days is not None:
            kept.since = _before(state.since, max(0, kept.days - state.days))

    @property
    def comes_back(self) -> bool:
        """Whether rows come back, which only the counts say."""
        return any(kept.since < kept.known_until for kept in self._sets.values())

    def advance(self, latest: date) -> bool:
        """Moves on to the latest business date. Returns whether days leave, or something else is to be remembered."""
        for kept in self._sets.values():
            if kept.days is not None:
                kept.since = max(kept.since, _before(latest, kept.days))
        return any(kept.state != kept.remembered for kept in self._sets.values())

    def changed(self) -> Iterator[tuple[_Template, KeptState | None]]:
        """What is to be remembered, as far as it is not; None is nothing any more."""
        for template, kept in self._sets.items():
            if kept.state != kept.remembered:
                kept.remembered = kept.state
                yield template, kept.state


def _before(day: date, days: int) -> date:
    return date.fromordinal(max(day.toordinal() - days, 1)) if day > date.min else day
