"""The N-th unit of a window, found among ledger partitions none of which knows the units of the others.

The hour that it is in follows from the counts. Of the units of that hour each partition lists all, or if they are many some with
their ranks; then the unit lies between two of those that are listed, and only what is between them is asked about next, with
some more on both sides, since units come meanwhile. A hundred thousand units in an hour take three rounds.
"""

from __future__ import annotations

from bisect import bisect_right
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from schemas.questions import MOST_UNITS, Answer
from streams.domain.pauses import whole

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from schemas.questions import Question, UnitKey


#: Units on each side that are asked about too, while there are too many to be listed next; then so many that all are.
_FAR_MARGIN: Final = 350
#: Units that are told between two pauses: all of the same second may have to be sorted for one of them.
_PAUSE_UNITS: Final = 16


class Miss(Enum):
    """Why answers do not lead to the unit: there is no longer such a unit in the cells, or between the bounds."""

    CELLS = "cells"
    BOUNDS = "bounds"


class Between(NamedTuple):
    """The unit is after one and up to another; None is no other bound than before."""

    after: UnitKey | None
    upto: UnitKey | None


class InOrder(Protocol):
    """Units in their order."""

    def __len__(self) -> int: ...
    def __getitem__(self, place: int, /) -> UnitKey: ...
    def up_to(self, unit: UnitKey, /) -> int:
        """How many are not after one."""


class _Sorted(list["UnitKey"]):
    """Units, sorted."""

    def up_to(self, unit: UnitKey) -> int:
        return bisect_right(self, unit)


def answer_of(question: Question, before: int, units: Sequence[UnitKey]) -> Answer:
    """One partition's answer.

    Args:
        question: What was asked.
        before: The partition's units in the window before the cells.
        units: Its units in the cells, in any order.
    """
    return whole(answering(question, before, _Sorted(sorted(units))))


def answering(question: Question, before: int, ordered: InOrder) -> Generator[None, None, Answer]:
    """The same of units in their order, with pauses."""
    first = ordered.up_to(question.after) if question.after is not None else 0
    end = ordered.up_to(question.upto) if question.upto is not None else len(ordered)
    within = max(0, end - first)
    listed = min(within, MOST_UNITS)
    ranks = [(number * within + listed - 1) // listed for number in range(1, listed + 1)]
    units: list[UnitKey] = []
    for rank in ranks:
        if len(units) % _PAUSE_UNITS == 0:
            yield
        units.append(ordered[first + rank - 1])
    return Answer(
        id=question.id,
        before=before,
        inside=len(ordered),
        passed=first,
        within=within,
        ranks=ranks,
        units=units,
    )


def nth_unit(number: int, answers: Sequence[Answer]) -> UnitKey | Between | Miss:
    """The N-th unit of the window; or between which units it is; or why the answers do not tell.

    Args:
        number: Which unit, from 1.
        answers: One of each partition, to the same question.
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
    # Until the next answers units come and go: with those around it, it is still between the bounds then.
    is_far = sum(answer.within for answer in answers) > 16 * MOST_UNITS
    found = _between(rank, _FAR_MARGIN if is_far else 2 * MOST_UNITS // 5, listed, answers)
    return found if found != Between(None, None) else _between(rank, 0, listed, answers)


def _between(rank: int, margin: int, listed: Sequence[UnitKey], answers: Sequence[Answer]) -> Between:
    """Between which listed units the one of a rank is, with as many others as the margin on each side."""
    after: UnitKey | None = None
    for unit in listed:
        least, most = _rank_of(unit, answers)
        if least >= rank + margin:
            return Between(after, unit)
        if most < rank - margin:
            after = unit
    return Between(after, None)


def _rank_of(unit: UnitKey, answers: Sequence[Answer]) -> tuple[int, int]:
    """How many units, at least and at most, there are up to one."""
    least = most = 0
    for answer in answers:
        place = bisect_right(answer.units, unit)
        least += answer.ranks[place - 1] if place else 0
        most += answer.ranks[place] - 1 if place < len(answer.ranks) else answer.within
    return least, most
