"""The totals' questions to a ledger partition, its answers from its counts, and the campaigns that the totals announce.

None of this is state: a new owner starts reading at the end of the topic, and lost questions are asked again.
"""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING, Final

from schemas.questions import ANNOUNCEMENT, decode_questions
from streams.domain.announced.announcements import Announcement
from streams.kafka.pacing import in_turns
from streams.kafka.records import header_values, record_value

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from schemas.questions import Answer, Question
    from streams.domain.ledger import Ledger
    from streams.kafka.transport import Batch

#: Units in the answers of one transaction; their record is then a tenth of a topic's limit, unless ids are very long.
_MOST_UNITS: Final = 1_000
#: Characters of ids and sources in these answers; each may take up to four bytes.
_MOST_CHARACTERS: Final = 150_000
#: Questions answered in one pass over the orders of an hour.
_MOST_TOGETHER: Final = 200
#: After a pass with more work than this, answering rests for so many times as long. An hour may have millions of orders, and a worker
#: that is behind is asked more: without a rest, it would stay behind.
_LONG_S: Final = 0.02
_REST: Final = 4


class Questions:
    """The questions that await an answer.

    Attributes:
        next: Where to continue reading.
    """

    def __init__(self) -> None:
        self.next = 0
        self._waiting: dict[str, Question] = {}
        self._announcement: Announcement | None = None
        self._rests_until_s = 0.0

    @property
    def has_more(self) -> bool:
        """Whether any question is waiting, and answering does not rest."""
        return bool(self._waiting) and not self._rests

    @property
    def _rests(self) -> bool:
        return asyncio.get_running_loop().time() < self._rests_until_s

    def drop(self) -> None:
        """Forgets all waiting questions."""
        self._waiting.clear()

    def take(self, batches: Sequence[Batch]) -> None:
        """Takes the new records from batches of the questions topic."""
        for batch in batches:
            for record in batch.records:
                if record.offset >= self.next:
                    text = header_values(record).get(ANNOUNCEMENT)
                    if text is not None:
                        self._announcement = Announcement.parse(text.decode())
                    self._waiting.update((one.id, one) for one in decode_questions(record_value(record)))
            self.next = max(self.next, batch.next)

    def take_announcement(self) -> Announcement | None:
        """The latest announcement of campaigns since the last call; None if there was none."""
        announcement, self._announcement = self._announcement, None
        return announcement

    async def answers(self, ledger: Ledger, home_of: Callable[[str], int]) -> dict[int, list[Answer]]:
        """Answers as many questions as fit into one transaction; the others wait for the next, or until answering has rested.

        Args:
            ledger: The orders to answer from.
            home_of: Scope → the totals partition it belongs to.

        Returns:
            Totals partition → answers to its questions.
        """
        found: dict[int, list[Answer]] = {}
        units = characters = 0
        while self.has_more and units < _MOST_UNITS and characters < _MOST_CHARACTERS:
            together = self._take_alike()
            for question, answer in zip(together, await self._answered(together, ledger), strict=True):
                if units >= _MOST_UNITS or characters >= _MOST_CHARACTERS:
                    # To be answered with the next transaction, from its counts.
                    self._waiting[question.id] = question
                    continue
                found.setdefault(home_of(question.scope), []).append(answer)
                units += len(answer.units)
                characters += sum(len(event_id) + len(source) for _, event_id, source, *_ in answer.units)
        return found

    async def _answered(self, together: Sequence[Question], ledger: Ledger) -> list[Answer]:
        work = _Timed(ledger.answering(together))
        answers = await in_turns(work.pieces())
        if work.took_s > _LONG_S:
            self._rests_until_s = asyncio.get_running_loop().time() + _REST * work.took_s
        return answers

    def _take_alike(self) -> list[Question]:
        """The question that has waited longest, and others that can be answered from the same orders."""
        first = next(iter(self._waiting.values()))
        about = _about(first)
        alike = (first,) if first.campaign else (each for each in self._waiting.values() if _about(each) == about)
        together = list(islice(alike, _MOST_TOGETHER))
        for question in together:
            del self._waiting[question.id]
        return together


class _Timed:
    """Work in pieces, and how long these took: between them the event loop does other work, for many times as long if there is much.

    Attributes:
        took_s: Seconds so far.

    Args:
        work: Has a result at its end.
    """

    def __init__(self, work: Generator[None, None, list[Answer]]) -> None:
        self._work = work
        self.took_s = 0.0

    def pieces(self) -> Generator[None, None, list[Answer]]:
        """The same work."""
        clock = asyncio.get_running_loop().time
        while True:
            began_s = clock()
            try:
                next(self._work)
            except StopIteration as end:
                found: list[Answer] = end.value
                return found
            finally:
                self.took_s += clock() - began_s
            yield


def _about(question: Question) -> tuple[str, str, int, int, bool]:
    # One about any unit of the hour would make answering those about the latest ones as long as itself.
    return question.campaign, question.metric, question.first_cell, question.last_cell, question.after is None
