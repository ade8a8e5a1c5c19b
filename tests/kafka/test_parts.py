"""A step of the totals in many transactions on a real Kafka, with a takeover in the middle."""

from __future__ import annotations

import gc
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest

from schemas.codec import encode_day_count, encode_marker
from schemas.counts import encode_marker_key
from schemas.facts import DayCount, LatestUnit
from schemas.outputs import Books, Marker
from schemas.questions import decode_questions
from schemas.texts import ALL
from streams.context import Context
from streams.domain.counts.nth import answer_of
from streams.kafka.log import Partition
from streams.kafka.outbox import Outgoing
from streams.kafka.transactions import FencedError, quiet_abandoned_futures
from streams.kafka.transport import Batch
from streams.settings_sections import RuleSettings
from streams.totals.window_tables import WindowTables
from tests.support.count_keys import encode_day_key
from tests.support.installation import Installation

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

FIRST = date(2024, 8, 20)
DAYS, SCOPES = 40, ("model=SU7", "model=YU7", ALL)
RULES = (
    RuleSettings(name="day", metric="deliveries", window="day", scope=("model",), exceeds=60, first=True),
    RuleSettings(name="record", metric="deliveries", window="day", scope=("model",), record=True),
)
#: Records of a transaction; a scope has more than 40 rows and 20 milestones.
PART_ROWS = 100


def units_of(scope: str, number: int) -> int:
    """The units of a scope on one day."""
    return (number * 7 + len(scope)) % 90 + 1


async def publish_counts(context: Context) -> None:
    """Commits as a ledger partition that has read everything."""
    counts = context.catalogue.counts.name
    records = []
    for scope in SCOPES:
        for number in range(DAYS):
            key = encode_day_key(0, "deliveries", scope, FIRST + timedelta(days=number))
            latest = LatestUnit(1_724_100_000_000_000 + number, f"e{number}", "/bj1", 1, 0, number)
            units = units_of(scope, number)
            records.append(Outgoing(counts, 0, key, encode_day_count(DayCount(units, 0, [units, *[0] * 23], latest))))
    records.append(Outgoing(counts, 0, encode_marker_key(0), encode_marker(marker_of(context))))
    await commit(context, records)


def marker_of(context: Context) -> Marker:
    """Of a ledger partition that has read everything."""
    return Marker(
        positions={},
        books={context.source_topics.rerouted: Books(0, 0, 0, 0, 0)},
        fingerprint="",
        rebuilding=False,
        caught_up=True,
        caught_up_us=context.now_us() + 10**12,
        clock_us=context.now_us(),
        sources={},
        backfilled=0,
        partitions=1,
    )


async def commit(context: Context, records: list[Outgoing]) -> None:
    """As the ledger partition."""
    writer = context.log.writer(context.transactional_id("ledger-0"))
    await writer.start()
    await writer.commit(records)
    await writer.stop()


async def answer(context: Context, tables: WindowTables) -> int:
    """Answers as the ledger partition while there are questions. Returns how many there were."""
    asked, counts = 0, Partition(context.catalogue.counts.name, 0)
    while True:
        async with context.log.reader() as reader:
            told = [
                record async for records in reader.read([(context.catalogue.questions.name, 0)]) for record in records
            ]
        questions = [one for record in told for one in decode_questions(record.value or b"")][asked:]
        if not questions:
            return asked
        asked += len(questions)
        answers = []
        for one in questions:
            units = units_of(one.scope, one.first_day - FIRST.toordinal())
            answers.append(answer_of(one, 0, [(1_724_100_000_000_000 + n, "e", "/bj1", 1, 0, n) for n in range(units)]))
        body = encode_marker(marker_of(context).with_answers(answers))
        await commit(context, [Outgoing(*counts, encode_marker_key(0), body)])
        first = tables.positions()[counts]
        async with context.log.reader() as reader:
            since: dict[tuple[str, int], int] = {counts: first}
            found = [record async for records in reader.read([counts], since=since) for record in records]
            following = await reader.position(counts)
        await tables.process([Batch(*counts, 0, first, following, following, found)])
        while tables.unfinished:
            await tables.process([])


async def test_a_takeover_in_the_middle_of_a_step_goes_on_with_it(bootstrap: str, tmp_path: Path) -> None:
    async with Installation.created(
        bootstrap, tmp_path, partitions=1, scopes=(("model",), ()), rule=RULES, holidays=()
    ) as made:
        context = replace(Context(made.settings), part_rows=PART_ROWS)
        await publish_counts(context)
        quiet_abandoned_futures()
        first, second = WindowTables(context), WindowTables(context)
        try:
            await first.open()
            await first.process([])
            assert first.unfinished
            begun = await made.rows()
            assert 0 < len(begun) < len(SCOPES) * DAYS
            # Each scope that has begun is complete, with its milestones.
            for scope, days in Counter(row["scope"] for row in begun.values() if row["period"][:3] == "day").items():
                assert days == DAYS, scope
            assert {event["data"]["scope"] for event in await made.milestones()} <= {
                row["scope"] for row in begun.values()
            }

            await second.open()
            with pytest.raises(FencedError):
                await first.process([])
            await second.process([])
            while second.unfinished:
                await second.process([])
            assert await answer(context, second) > 0
        finally:
            await first.close()
            await second.close()
            gc.collect()  # aiokafka's remains of the fenced transaction must not be collected during another test

        expected: Counter[str] = Counter()
        for scope in SCOPES:
            for number in range(DAYS):
                day, units = FIRST + timedelta(days=number), units_of(scope, number)
                for period in (f"day:{day}", f"month:{day:%Y-%m}", f"year:{day:%Y}"):
                    expected[f"deliveries/{scope}/{period}"] += units
        rows = await made.rows()
        assert {key: row["count"] for key, row in rows.items()} == expected
        # Nothing was published twice, and the second writer's milestones are as much news as the first one's.
        assert {row["version"] for row in rows.values()} == {1}
        standing = await made.standing()
        over = {
            f"{key}/exceeds:60" for key, units in expected.items() if "model" in key and "/day:" in key and units > 60
        }
        assert {one for one in standing if "/day:" in one and "record" not in one} == over
        assert {event["type"] for event in await made.milestones()} == {"milestone.raised.v1"}
