"""Finds the N-th unit of a window among ledger partitions, none of which knows the units of the others.

Its hour follows from the counts. Each partition lists the units of that hour, or if there are many, some of them with their
ranks. If all units around the one looked for are listed, its rank is certain. Otherwise it lies between two of the listed ones,
and the next question is only about that part, with some margin on both sides, since units arrive meanwhile. A hundred thousand
units in an hour take three rounds; one that is among the latest takes one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from schemas.questions import MOST_UNITS, Answer
from streams.domain.pauses import whole

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from schemas.questions import Question, UnitKey


#: Margin on each side, in units, while there are too many to be listed next; after that, one that lets all be listed.
_FAR_MARGIN: Final = 350
#: Units to list between two pauses: all of the same second may have to be sorted for one of them.
_PAUSE_UNITS: Final = 16


class Miss(Enum):
    """Why answers do not lead to the unit: it is no longer in the cells, or no longer between the bounds."""

    CELLS = "cells"
    BOUNDS = "bounds"


class Between(NamedTuple):
    """The unit is after one unit and not after another; None leaves a bound as it was."""

    after: UnitKey | None
    upto: UnitKey | None


class InCell(NamedTuple):
    """Where a unit of a window is, according to the counts.

    Attributes:
        cell: Its local hour; of a campaign, its minute.
        number: Its number in this cell, from 1.
        units: The number of units in this cell.
    """

    cell: int
    number: int
    units: int

    def probably_after(self, start_us: int, end_us: int, margin_us: int) -> int | None:
        """A time after which the unit probably is, if those of its cell are evenly spread; `None` if that may be any time.

        Args:
            start_us: When the cell begins, microseconds since 1970.
            end_us: When it ends, or its latest unit.
            margin_us: How much earlier than expected it may be; besides, twice as far from the end.
        """
        followed_by = self.units - self.number
        after_us = end_us - 2 * followed_by * (end_us - start_us) // self.units - margin_us
        return after_us if after_us > start_us else None


class InOrder(Protocol):
    """Units in order."""

    def __len__(self) -> int: ...
    def __getitem__(self, place: int, /) -> UnitKey: ...
    def up_to(self, unit: UnitKey, /) -> int:
        """How many units are not after this one."""


class _Sorted(list["UnitKey"]):
    """Units, sorted."""

    def up_to(self, unit: UnitKey) -> int:
        return bisect_right(self, unit)


def answer_of(question: Question, before: int, units: Sequence[UnitKey]) -> Answer:
    """A partition's answer.

    Args:
        question: What was asked.
        before: The partition's units in the window before the cells.
        units: Its units in the cells, in any order.
    """
    return whole(answering(question, before, len(units), _Sorted(sorted(units))))


def answering(
    question: Question, before: int, inside: int, ordered: InOrder, earlier: int = 0
) -> Generator[None, None, Answer]:
    """The same with pauses.

    Args:
        question: What was asked.
        before: As in `answer_of`.
        inside: The number of units in the cells.
        ordered: Those of them between the question's bounds, in order, and perhaps some that follow each other around these.
        earlier: How many of the units in the cells are before those in `ordered`.
    """
    first = earlier + ordered.up_to(question.after) if question.after is not None else 0
    end = earlier + ordered.up_to(question.upto) if question.upto is not None else inside
    within = max(0, end - first)
    latest = 3 * MOST_UNITS // 4 if question.latest and within > MOST_UNITS else 0
    ranks = [*_evenly(within - latest, MOST_UNITS - latest), *range(within - latest + 1, within + 1)]
    units: list[UnitKey] = []
    for rank in ranks:
        if len(units) % _PAUSE_UNITS == 0:
            yield
        units.append(ordered[first - earlier + rank - 1])
    return Answer(
        id=question.id,
        before=before,
        inside=inside,
        passed=first,
        within=within,
        ranks=ranks,
        units=units,
    )


def _evenly(units: int, most: int) -> list[int]:
    """Ranks of some units, evenly spaced, of which the last unit is one."""
    listed = min(units, most)
    return [(number * units + listed - 1) // listed for number in range(1, listed + 1)]


def nth_unit(number: int, answers: Sequence[Answer]) -> UnitKey | Between | Miss:
    """The N-th unit of the window; or the two units that it lies between; or why the answers do not lead to it.

    Args:
        number: Which unit, from 1.
        answers: One from each partition, to the same question.
    """
    rank = number - sum(answer.before for answer in answers)
    if not 1 <= rank <= sum(answer.inside for answer in answers):
        return Miss.CELLS
    rank -= sum(answer.passed for answer in answers)
    if not 1 <= rank <= sum(answer.within for answer in answers):
        return Miss.BOUNDS
    listed = sorted(unit for answer in answers for unit in answer.units)
    if len(listed) == sum(answer.within for answer in answers):
        return listed[rank - 1]
    place = bisect_left(listed, rank, key=lambda unit: _rank_of(unit, answers)[1])
    if place < len(listed) and _rank_of(listed[place], answers) == (rank, rank):
        return listed[place]
    # Units come and go until the next answers: with a margin around it, it will still be between the bounds.
    is_far = sum(answer.within for answer in answers) > 16 * MOST_UNITS
    found = _between(rank, _FAR_MARGIN if is_far else 2 * MOST_UNITS // 5, listed, answers)
    return found if found != Between(None, None) else _between(rank, 0, listed, answers)


def _between(rank: int, margin: int, listed: Sequence[UnitKey], answers: Sequence[Answer]) -> Between:
    """The listed units around the one with a rank, at least `margin` units away on each side."""
    after: UnitKey | None = None
    for unit in listed:
        least, most = _rank_of(unit, answers)
        if least >= rank + margin:
            return Between(after, unit)
        if most < rank - margin:
            after = unit
    return Between(after, None)


def _rank_of(unit: UnitKey, answers: Sequence[Answer]) -> tuple[int, int]:
    """The least and the greatest possible number of units up to this one."""
    least = most = 0
    for answer in answers:
        place = bisect_right(answer.units, unit)
        least += answer.ranks[place - 1] if place else 0
        most += answer.ranks[place] - 1 if place < len(answer.ranks) else answer.within
    return least, most
