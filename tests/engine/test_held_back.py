"""A delayed retraction is due at the same time even if another writer takes over meanwhile."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

import msgspec

from schemas.codec import decode_milestone, encode_day_count, encode_marker
from schemas.counts import encode_marker_key
from schemas.facts import DayCount
from schemas.questions import decode_questions
from streams.context import Context
from streams.domain.counts.nth import answer_of
from streams.settings import Settings
from streams.settings_sections import RuleSettings
from streams.totals.window_tables import WindowTables
from tests.bench.file_log import FileLog
from tests.bench.totals import batches_of, marker_of, process
from tests.support.count_keys import encode_day_key

if TYPE_CHECKING:
    from pathlib import Path

    from schemas.questions import UnitKey

SECOND_US = 1_000_000
DAY = date(2024, 10, 7)
#: Noon of that day in Shanghai.
NOON_US = 1_728_273_600 * SECOND_US


class World:
    """One ledger partition and the totals, on a log of files and a clock that is set."""

    def __init__(self, folder: Path) -> None:
        self._log = FileLog(folder)
        self.now_us = NOON_US
        self._answered = 0
        rule = RuleSettings(name="daily", metric="deliveries", window="day", scope=(), exceeds=1, retract_after_s=60)
        settings = Settings(partitions=1, scopes=((),), rule=(rule,))
        self._context = Context(settings, now_us=lambda: self.now_us, other_log=self._log)
        self._counts = self._context.catalogue.counts.name

    async def opened(self) -> WindowTables:
        """A writer that takes over."""
        tables = WindowTables(replace(self._context))
        await tables.open()
        return tables

    async def count(self, tables: WindowTables, deliveries: int) -> None:
        """The day has this many deliveries."""
        first = self._log.end_of(self._counts)
        records = [
            (
                encode_day_key(0, "deliveries", "all", DAY),
                encode_day_count(DayCount(deliveries, 0, [deliveries, *([0] * 23)], None)),
            ),
            (encode_marker_key(0), encode_marker(marker_of(self.now_us))),
        ]
        self._log.append(self._counts, records)
        (batch,) = batches_of(self._counts, iter(records), first)
        await process(tables, [batch])
        await self._answer(tables)

    async def _answer(self, tables: WindowTables) -> None:
        """The ledger partition answers with its units, if it was asked."""
        asked = self._log.records_of(self._context.catalogue.questions.name)
        questions = [one for record in asked for one in decode_questions(record.value or b"")][self._answered :]
        if not questions:
            return
        self._answered += len(questions)
        units: list[UnitKey] = [(NOON_US + number, f"e{number}", "/bj1", 1, 0, number) for number in range(2)]
        marker = msgspec.structs.replace(
            marker_of(self.now_us), answers=[answer_of(one, 0, units) for one in questions]
        )
        first = self._log.end_of(self._counts)
        records = [(encode_marker_key(0), encode_marker(marker))]
        self._log.append(self._counts, records)
        (batch,) = batches_of(self._counts, iter(records), first)
        await process(tables, [batch])

    def milestones(self) -> list[str]:
        """The kinds of the published events, in order."""
        topic = self._context.catalogue.milestones.name
        return [decode_milestone(record.value or b"").type for record in self._log.records_of(topic)]


async def test_it_comes_when_it_would_have_come_without_a_takeover(tmp_path: Path) -> None:
    world = World(tmp_path)
    tables = await world.opened()
    await world.count(tables, 2)
    world.now_us += 10 * SECOND_US
    await world.count(tables, 1)
    raised = world.milestones()
    assert len(raised) == 1
    await tables.close()
    world.now_us += 40 * SECOND_US
    after = await world.opened()
    await process(after, [])
    assert world.milestones() == raised
    world.now_us += 19 * SECOND_US
    await process(after, [])
    assert world.milestones() == raised
    world.now_us += 1 * SECOND_US
    await process(after, [])
    assert world.milestones() == [*raised, "milestone.retracted.v1"]
    await after.close()
