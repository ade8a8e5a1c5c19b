"""Answering questions leaves a ledger partition time for events."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from schemas.questions import Answer, Question, encode_questions
from streams.kafka.transport import Batch
from streams.ledger.questions import Questions

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import pytest


class Ledger:
    """Answers after some time, with a pause."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.passes = 0

    def answering(self, questions: Sequence[Question]) -> Generator[None, None, list[Answer]]:
        """Takes its time."""
        self.passes += 1
        time.sleep(self._seconds)
        yield
        return [Answer(question.id, 0, 1, 0, 1, [], []) for question in questions]


def asked(hours: range) -> Questions:
    """Questions about the units of these hours."""
    questions = Questions()
    about = [
        Question(id=str(hour), metric="orders", scope="all", first_day=1, first_cell=hour, last_cell=hour)
        for hour in hours
    ]
    record: Any = SimpleNamespace(offset=0, value=encode_questions(about), headers=())
    questions.take([Batch("questions", 0, 1, 0, 1, 1, [record])])
    return questions


async def answered(questions: Questions, ledger: Any) -> list[str]:
    found = await questions.answers(ledger, lambda _scope: 0)
    return [answer.id for answers in found.values() for answer in answers]


async def test_passes_that_are_short_follow_each_other() -> None:
    questions, ledger = asked(range(5)), Ledger(0.0)
    assert await answered(questions, ledger) == ["0", "1", "2", "3", "4"]
    assert ledger.passes == 5
    assert not questions.has_more


async def test_after_a_long_pass_events_come_first() -> None:
    questions, ledger = asked(range(2)), Ledger(0.03)
    assert await answered(questions, ledger) == ["0"]
    assert await answered(questions, ledger) == []
    async with asyncio.timeout(10):
        while not questions.has_more:  # noqa: ASYNC110 - time alone changes it
            await asyncio.sleep(0.01)
    assert await answered(questions, ledger) == ["1"]


async def test_a_pass_is_not_long_because_of_the_work_that_others_do_between_its_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock_s = [asyncio.get_running_loop().time()]
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: clock_s[0])

    class InPieces(Ledger):
        def answering(self, questions: Sequence[Question]) -> Generator[None, None, list[Answer]]:
            for _ in range(3):
                clock_s[0] += 0.006
                yield
            return [Answer(question.id, 0, 1, 0, 1, [], []) for question in questions]

    async def others() -> None:
        while True:
            clock_s[0] += 0.05
            await asyncio.sleep(0)

    at_work = asyncio.create_task(others())
    try:
        assert await answered(asked(range(4)), InPieces(0.0)) == ["0", "1", "2", "3"]
    finally:
        at_work.cancel()
