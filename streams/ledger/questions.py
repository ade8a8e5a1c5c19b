"""The questions of the totals to a ledger partition, and their answers by its counts; and which campaigns are announced.

Nothing of this is state: whoever takes over reads on at the end, and what was lost on the way is asked again.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from schemas.questions import ANNOUNCEMENT, decode_questions
from streams.domain.announcements import Announcement
from streams.kafka.pacing import in_turns
from streams.kafka.records import header_values, record_value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from schemas.questions import Answer, Question
    from streams.domain.ledger import Ledger
    from streams.kafka.transport import Batch

#: Units in the answers of one transaction; their record is then a tenth of what a topic accepts, unless ids are very long.
_MOST_UNITS: Final = 1_000
#: Characters of ids and sources in them, which may come to four bytes each.
_MOST_CHARACTERS: Final = 150_000
#: Questions that are answered in one pass over the orders of an hour.
_MOST_TOGETHER: Final = 200


class Questions:
    """What waits for an answer.

    Attributes:
        next: Where to continue reading.
    """

    def __init__(self) -> None:
        self.next = 0
        self._waiting: dict[str, Question] = {}
        self._announcement: Announcement | None = None

    @property
    def has_more(self) -> bool:
        """Whether any waits."""
        return bool(self._waiting)

    def drop(self) -> None:
        """Forgets what waits."""
        self._waiting.clear()

    def take(self, batches: Sequence[Batch]) -> None:
        """Takes the new records of batches of its topic."""
        for batch in batches:
            for record in batch.records:
                if record.offset >= self.next:
                    text = header_values(record).get(ANNOUNCEMENT)
                    if text is not None:
                        self._announcement = Announcement.parse(text.decode())
                    self._waiting.update((one.id, one) for one in decode_questions(record_value(record)))
            self.next = max(self.next, batch.next)

    def take_announcement(self) -> Announcement | None:
        """The last announcement of campaigns that has come since the last call; None where none has."""
        announcement, self._announcement = self._announcement, None
        return announcement

    async def answers(self, ledger: Ledger, home_of: Callable[[str], int]) -> dict[int, list[Answer]]:
        """Answers, to so many as one transaction should have; the others wait for the next one.

        Args:
            ledger: Whose counts they are.
            home_of: Which partition of the totals a scope belongs to.

        Returns:
            Partition of the totals → answers to its questions.
        """
        found: dict[int, list[Answer]] = {}
        units = characters = 0
        while self._waiting and units < _MOST_UNITS and characters < _MOST_CHARACTERS:
            together = self._take_alike()
            for question, answer in zip(together, await in_turns(ledger.answering(together)), strict=True):
                if units >= _MOST_UNITS or characters >= _MOST_CHARACTERS:
                    # Answered by the counts of the next transaction.
                    self._waiting[question.id] = question
                    continue
                found.setdefault(home_of(question.scope), []).append(answer)
                units += len(answer.units)
                characters += sum(len(event_id) + len(source) for _, event_id, source, *_ in answer.units)
        return found

    def _take_alike(self) -> list[Question]:
        """The question that has waited longest, with others that the same orders answer."""
        first = next(iter(self._waiting.values()))
        about = _about(first)
        alike = (first,) if first.campaign else (each for each in self._waiting.values() if _about(each) == about)
        together = list(islice(alike, _MOST_TOGETHER))
        for question in together:
            del self._waiting[question.id]
        return together


def _about(question: Question) -> tuple[str, str, int, int]:
    return question.campaign, question.metric, question.first_cell, question.last_cell
