"""Milestones that wait for their units: when they are published, and what is forgotten."""

from __future__ import annotations

import asyncio
import json
from datetime import date
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from schemas.codec import decode_milestone
from schemas.facts import LatestUnit
from schemas.questions import Answer, Question, decode_questions
from streams.context import Context
from streams.domain.counts.nth import InCell
from streams.domain.time.zone import HOURS
from streams.settings import Settings
from streams.totals.moments import Moments
from tests.support.outputs import milestone

if TYPE_CHECKING:
    import pytest

    from schemas.outputs import MilestoneEvent
    from streams.kafka.outbox import Outgoing

DAY = date(2024, 10, 7)
UNIT = (1_728_278_000_000_000, "e", "/s", 1, 0, 7)


class Waiting:
    """The waiting events of a totals writer with one ledger partition."""

    def __init__(self) -> None:
        self.context = Context(Settings(partitions=1))
        self.marker = SimpleNamespace(answers=[], caught_up=True, caught_up_us=0, positions={}, campaigns="")
        self.shards = SimpleNamespace(settled=True, markers={0: self.marker}, campaigns="")
        #: The number of units of each window, and the latest, if that is known.
        self.units = 9
        self.newest: LatestUnit | None = None
        totals = SimpleNamespace(
            newest_unit=lambda *_: self.newest,
            hour_of_unit=self.hour_of_unit,
            others_than=lambda _scope: None,
        )
        self.moments = Moments(self.context, cast("Any", totals), cast("Any", self.shards))

    def hour_of_unit(self, *place: Any) -> InCell | None:
        """All units are in one hour."""
        return InCell(DAY.toordinal() * HOURS + 9, place[-1], self.units) if place[-1] <= self.units else None

    def raise_(self, scope: str, position: int | None) -> None:
        """An event is decided; it needs no unit if it has no position."""
        self.moments.publish([event(scope, position)])

    def has_more(self) -> bool:
        """Whether there is something to publish."""
        return self.moments.has_more

    async def questions(self) -> list[Question]:
        """The questions that are sent now."""
        records = await self.moments.questions()
        return [each for record in records for each in decode_questions(record.value or b"")]

    async def asked(self) -> dict[str, str]:
        """The questions that are sent now: scope → id."""
        return {each.scope: each.id for each in await self.questions()}

    def answer(self, question: str, units: int = 1) -> None:
        """The ledger partition answers with one unit in that hour, or none."""
        self.marker.answers = [Answer(question, 0, units, 0, units, [1][:units], [UNIT][:units])]
        self.moments.hear(0, cast("Any", self.marker))

    def published(self, room: int = 100) -> list[str]:
        """The scopes of the milestones that are published now."""
        records: list[Outgoing] = self.moments.completed(room)
        milestones = self.context.catalogue.milestones.name
        return [json.loads(record.value or b"")["data"]["scope"] for record in records if record.topic == milestones]


def event(scope: str, position: int | None) -> MilestoneEvent:
    """A milestone of a scope, with position 1, so that the answers have its unit."""
    at: dict[str, Any] = {"position": position, "achieved_at": None} if position is not None else {}
    found = milestone(f"deliveries/{scope}/day:2024-10-07/{position}", scope=scope, count=9, **at)
    return decode_milestone(json.dumps(found).encode())


def test_an_event_is_published_when_its_unit_is_found_and_holds_back_only_those_of_its_scope() -> None:
    async def play() -> None:
        world = Waiting()
        # Of two milestones that a step finds at the same unit, one question is enough.
        world.moments.publish([event(scope, 1) for scope in ("model=A", "model=B", "model=A")])
        world.raise_("model=B", None)
        asked = await world.asked()
        assert not world.has_more()
        assert world.published() == []
        world.answer(asked["model=B"])
        assert world.has_more()
        assert world.published() == ["model=B", "model=B"]
        assert not world.has_more()
        # It is forgotten.
        world.answer(asked["model=B"])
        assert not world.has_more()
        world.answer(asked["model=A"])
        assert world.published() == ["model=A", "model=A"]
        assert world.moments.rows() == set()

    asyncio.run(play())


def test_what_finds_no_room_is_published_with_the_next_ones() -> None:
    async def play() -> None:
        world = Waiting()
        for scope in ("model=A", "model=B", "model=C"):
            world.raise_(scope, 1)
        asked = await world.asked()
        for scope in ("model=C", "model=A"):
            world.answer(asked[scope])
        assert world.published(room=3) == ["model=C"]
        assert world.has_more()
        assert world.published(room=3) == ["model=A"]
        assert not world.has_more()
        # The same window once more is another question.
        world.raise_("model=A", 1)
        assert "model=A" in await world.asked()
        world.answer(asked["model=A"])
        assert world.published() == []

    asyncio.run(play())


def test_once_all_is_read_that_was_there_the_last_unit_of_a_window_needs_no_question() -> None:
    async def play() -> None:
        world = Waiting()
        world.marker.caught_up = False
        world.units, world.newest = 1, LatestUnit(*UNIT)
        for scope in ("model=A", "model=B"):
            world.raise_(scope, 1)
        # Earlier units may be still to come, so nobody can say yet.
        assert await world.asked() == {}
        assert not world.has_more()
        world.marker.caught_up = True
        world.marker.positions = {"orders-0": (7, None)}
        assert await world.asked() == {}
        topic = world.context.catalogue.milestones.name
        records = [record for record in world.moments.completed(100) if record.topic == topic]
        found = [json.loads(record.value or b"")["data"] for record in records]
        assert [(each["scope"], each["cause"]["event_id"]) for each in found] == [("model=A", "e"), ("model=B", "e")]
        world.raise_("model=A", 1)
        world.units = 2
        assert list(await world.asked()) == ["model=A"]

    asyncio.run(play())


def test_what_was_found_for_a_milestone_is_not_taken_for_its_next_revision() -> None:
    """A correction came between the two: by then, another unit may be the N-th."""

    async def play() -> None:
        world = Waiting()
        world.raise_("model=A", 1)
        first = (await world.asked())["model=A"]
        world.answer(first)
        world.raise_("model=A", None)
        world.raise_("model=A", 1)
        assert world.published() == ["model=A", "model=A"]
        again = (await world.asked())["model=A"]
        assert again != first
        world.answer(again)
        assert world.published() == ["model=A"]

    asyncio.run(play())


def test_an_answer_that_comes_after_a_question_was_given_up_is_not_that_to_the_same_question_asked_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def play() -> None:
        clock_s = 1000.0
        monkeypatch.setattr("streams.totals.moments._now_s", lambda: clock_s)
        world = Waiting()
        world.raise_("model=A", 1)
        given_up = (await world.asked())["model=A"]
        clock_s += 3600
        assert world.published() == ["model=A"]
        world.raise_("model=A", 1)
        asked = (await world.asked())["model=A"]
        world.answer(given_up)
        assert world.published() == []
        world.answer(asked)
        assert world.published() == ["model=A"]

    asyncio.run(play())


def test_what_was_asked_again_takes_no_further_answer_to_the_question_before() -> None:
    async def play() -> None:
        world = Waiting()
        world.raise_("model=A", 1)
        before = (await world.asked())["model=A"]
        world.answer(before, units=0)
        asked = (await world.asked())["model=A"]
        world.answer(before)
        assert world.published() == []
        world.answer(asked)
        assert world.published() == ["model=A"]

    asyncio.run(play())


def test_a_unit_is_first_looked_for_among_the_latest_of_its_hour_then_among_more_and_at_last_everywhere() -> None:
    async def play() -> None:
        world = Waiting()
        zone = world.context.zone
        start_us = zone.beginning_us(DAY.toordinal() * HOURS + 9)
        # Half an hour has passed; a unit every 1.8 seconds, and the one looked for is the last but 10.
        latest_us = start_us + 1_800_000_000
        world.units, world.newest = 1_000, LatestUnit(latest_us, *UNIT[1:])
        world.raise_("model=A", 990)
        expected_us = latest_us - 2 * 18_000_000
        for margin_us in (5_000_000, 60_000_000, None):
            (question,) = await world.questions()
            after = None if margin_us is None else (expected_us - margin_us, "", "", 0, 0, 0)
            # Those that have come since then are not listed: it is among the last of the others.
            upto = None if margin_us is None else (latest_us, *UNIT[1:])
            assert (question.after, question.upto, question.latest) == (after, upto, True)
            # All units that the ledger partition has are before that.
            world.marker.answers = [Answer(question.id, 0, 1_000, 1_000, 0, [], [])]
            world.moments.hear(0, cast("Any", world.marker))
        (question,) = await world.questions()
        assert (question.after, question.upto) == (None, None)

    asyncio.run(play())


def test_a_unit_that_may_be_anywhere_in_its_hour_is_looked_for_everywhere() -> None:
    async def play() -> None:
        world = Waiting()
        world.units = 1_000
        world.raise_("model=A", 400)
        (question,) = await world.questions()
        # It is not among the latest either.
        assert (question.after, question.upto, question.latest) == (None, None, False)

    asyncio.run(play())
