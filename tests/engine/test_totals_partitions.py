"""Several partitions of the totals: what belongs to which, which worker gets which, and what is passed on to each."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from schemas.codec import encode_row
from schemas.memory import SIDE, key_of
from schemas.outputs import Books, Marker, WindowRow
from streams.app import member_name
from streams.audit.published import Published, _united
from streams.audit.report import Check, Difference, Report
from streams.context import Context
from streams.domain.scopes.totals_homes import TotalsHomes
from streams.errors import ExpectedError
from streams.kafka.admin import Found, plan_of
from streams.kafka.records import in_order_of_time
from streams.settings import Settings
from streams.settings_sections import LimitSettings
from streams.totals.passed_on_sides import PassedOnSides
from streams.totals.side_topics import SideTopics
from streams.totals.window_tables import WindowTables
from streams.worker.assignor import divide, shares
from tests.bench.file_log import FileLog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from streams.kafka.outbox import Outgoing
    from streams.totals.side_topics import Take

OTHER = LimitSettings(beyond="other")


def context_of(totals: int, **more: Any) -> Context:
    # Records of the file log were appended in 1970.
    return Context(Settings(totals_partitions=totals, partitions=4, future_limit_s=10**10), **more)


@pytest.mark.parametrize(
    ("scope", "home", "home_of_its_dimensions"),
    [
        ("all", 1, 1),
        ("model=SU7", 2, 1),
        ("model=星辰", 2, 1),
        ("model=SU7,region=CN-11", 0, 3),
        ("region=CN-11", 0, 2),
    ],
)
def test_a_scope_has_one_home_for_ever(scope: str, home: int, home_of_its_dimensions: int) -> None:
    assert TotalsHomes(1).of(scope) == 0
    assert TotalsHomes(4).of(scope) == home
    assert TotalsHomes(4, by_dimensions=True).of(scope) == home_of_its_dimensions


def test_the_number_is_part_of_the_fingerprint_but_for_the_one_that_there_always_was() -> None:
    one = Context(Settings()).fingerprint
    assert one == "format=1 timezone=Asia/Shanghai scopes=model|all partitions=4"
    assert Context(Settings(limits=OTHER)).fingerprint == one
    assert Context(Settings(totals_partitions=2)).fingerprint == f"{one} totals=2"
    assert "timezone=Asia/Shanghai 06:00 scopes" in Context(Settings(day_starts="06:00")).fingerprint
    assert Context(Settings(totals_partitions=2, limits=OTHER)).fingerprint == f"{one} totals=2-by-dimensions"


def test_a_worker_of_another_number_is_another_member_of_its_group() -> None:
    names = [member_name("w1", context_of(totals)) for totals in (1, 2, 3)]
    assert names[0] == "w1"
    assert len(set(names)) == 3


def test_each_partition_of_the_totals_is_a_share_with_all_that_it_reads() -> None:
    context = context_of(3)
    counts = dict.fromkeys(context.ledger_topics, 4) | {"milestones.internal.counts": 3, "milestones.internal.sides": 3}
    found = shares(context, counts | {"vehicle.targets.v1": 1, "vehicle.controls.v1": 1})
    assert found[4:] == [
        {"milestones.internal.counts": [0], "vehicle.targets.v1": [0], "vehicle.controls.v1": [0]},
        {"milestones.internal.counts": [1], "milestones.internal.sides": [1]},
        {"milestones.internal.counts": [2], "milestones.internal.sides": [2]},
    ]
    assert {topic for share in found for topic in share} == {*context.ledger_topics, *context.totals_topics}


def test_the_totals_are_dealt_out_evenly_also_when_a_worker_joins_one_that_has_everything() -> None:
    alone = divide(6, ["a"], {}, totals=2)
    assert alone == ["a"] * 6
    both = divide(6, ["a", "b"], dict(enumerate(alone)), totals=2)
    assert sorted(both[4:]) == ["a", "b"]
    assert sorted(both) == ["a", "a", "a", "b", "b", "b"]
    assert divide(6, ["a", "b"], dict(enumerate(both)), totals=2) == both, "nothing moves without need"
    assert divide(6, ["b"], dict(enumerate(both)), totals=2) == ["b"] * 6


def test_a_topic_of_another_size_is_told_by_the_setting_that_sizes_it() -> None:
    topics = {topic.name: topic for topic in context_of(1).catalogue.all()}
    for name, setting in (
        ("vehicle.windows.v1", "1 is wanted: set totals_partitions = 2"),
        ("vehicle.violations.v1", "4 are wanted: set partitions = 2"),
        ("vehicle.status.v1", "1 is wanted, whatever the settings"),
    ):
        (line,) = plan_of([topics[name]], {name: Found(2, dict(topics[name].configs), 1)}).refused
        assert setting in line


async def test_rows_of_another_number_of_partitions_are_refused(tmp_path: Path) -> None:
    context = context_of(2, other_log=FileLog(tmp_path))
    row = WindowRow.model_validate(
        {"metric": "orders", "scope": "all", "period": "day:2024-10-07", "start": "2024-10-07", "end": "2024-10-07"}
        | {"timezone": "Asia/Shanghai", "count": 1, "by_hour": [1, *([0] * 23)], "targets": [], "status": "open"}
        | {"restated": 0, "version": 1, "updated_at": "2024-10-07T01:00:00.000Z"}
    )
    log: Any = context.log
    log.append(context.catalogue.windows.name, [(b"orders/all/day:2024-10-07", encode_row(row))])
    tables = WindowTables(context, 0)
    with pytest.raises(ExpectedError, match="has rows of all, which belong to another partition") as refused:
        await tables.open()
    assert refused.value.exit_code == 3


# What partition 0 passes on ------------------------------------------------------------------------------------------


def target_event(name: str) -> tuple[bytes, bytes]:
    data = {"target_id": "aim", "metric": "orders", "scope": "all", "period": "month:2024-10", "value": 9}
    document = {"specversion": "1.0", "id": name, "source": "/plan", "type": "target.set.v1", "data": data}
    return b"aim", json.dumps(document | {"time": "2024-09-28T18:00:00+08:00"}).encode()


def takes_of(context: Context, totals: WindowTables) -> Mapping[str, Take]:
    return {context.catalogue.targets.name: totals._take_target, context.catalogue.controls.name: totals._take_control}


async def opened_sides(context: Context, memory: Mapping[str, bytes]) -> list[Outgoing]:
    """What partition 0 writes as it opens."""
    sides = SideTopics(context, takes_of(context, WindowTables(context, 0)))
    async with context.log.reader() as reader:
        await sides.open(memory, reader)
    return sides.records(context.now_us())


async def test_what_is_accepted_is_passed_on_to_each_other_partition_once_and_what_is_not_is_not(
    tmp_path: Path,
) -> None:
    context = context_of(3, other_log=FileLog(tmp_path))
    log: Any = context.log
    targets, sides = context.catalogue.targets.name, context.catalogue.sides.name
    log.append(targets, [target_event("one"), (b"aim", b"not json"), target_event("one"), target_event("two")])
    records = await opened_sides(context, {})
    passed_on = [record for record in records if record.topic == sides]
    assert [(record.partition, json.loads(record.value or b"")["id"]) for record in passed_on] == [
        (1, "one"), (2, "one"), (1, "two"), (2, "two"),
    ]  # fmt: skip
    memory = {
        name: record.value or b""
        for name in context.side_topics
        for record in records
        if record.key == key_of(SIDE, name)
    }
    assert len(memory) == 2
    log.append(sides, [(record.key, record.value) for record in passed_on])
    assert not [record for record in await opened_sides(context, memory) if record.topic == sides]
    (tmp_path / sides).unlink()
    (tmp_path / f"{sides}.index").unlink()
    again = [record for record in await opened_sides(context, memory) if record.topic == sides]
    assert again == passed_on, "where the topic was made again, everything"


class _Told:
    """A reader of what was passed on to a partition."""

    def __init__(self, records: Sequence[Any]) -> None:
        self._records = records

    async def read(self, partitions: Sequence[tuple[str, int]], **_: object) -> AsyncIterator[Sequence[Any]]:
        yield [record for record in self._records if (record.topic, record.partition) in partitions]

    async def position(self, partition: tuple[str, int]) -> int:
        return sum((record.topic, record.partition) == partition for record in self._records)


async def test_a_partition_that_is_told_takes_the_events_as_partition_0_has_taken_them(tmp_path: Path) -> None:
    context = context_of(2, other_log=FileLog(tmp_path))
    log: Any = context.log
    log.append(context.catalogue.targets.name, [target_event("one"), target_event("two")])
    sent = [record for record in await opened_sides(context, {}) if record.topic == context.catalogue.sides.name]
    told = [SimpleNamespace(**record._asdict(), offset=number) for number, record in enumerate(sent)]
    tables = WindowTables(context, 1)
    sides = PassedOnSides(context, takes_of(context, tables), 1)
    reader: Any = _Told(told)
    await sides.open({}, reader)
    assert sides.positions() == {(context.catalogue.sides.name, 1): 2}
    assert context.catalogue.sides.name in sides
    assert context.catalogue.targets.name not in sides
    tables._totals.evaluate(now_us=1_728_273_600_000_000, caught_up=True)
    assert [(target.target_id, target.value) for target in tables._totals.targets] == [("aim", 9)]
    others = WindowTables(context, 0)
    others._totals.evaluate(now_us=1_728_273_600_000_000, caught_up=True)
    assert others._totals.targets == ()


# Readers -------------------------------------------------------------------------------------------------------------


def test_records_of_several_partitions_are_ordered_by_time_and_those_of_one_by_their_offsets() -> None:
    made = [(0, 0, 10), (0, 1, 5), (0, 2, 30), (1, 0, 7), (1, 1, 20)]
    records: Any = [SimpleNamespace(topic="m", partition=part, offset=at, timestamp=ms) for part, at, ms in made]
    assert [(record.partition, record.offset) for record in in_order_of_time(records)] == [
        (1, 0), (0, 0), (0, 1), (1, 1), (0, 2),
    ]  # fmt: skip


def published(number: int, position: int, caught_up_us: int = 0) -> Published:
    books = {"orders": Books(position, position, 0, 0, 0)}
    marker = Marker(
        positions={"orders": (position, "")}, books=books, fingerprint="", rebuilding=False, caught_up=True,
        caught_up_us=caught_up_us, clock_us=0, sources={}, backfilled=0, partitions=1,
    )  # fmt: skip
    return Published({0: marker}, {0: {}}, {}, [], 10, 1, number)


def test_partitions_of_the_totals_are_verified_together_where_they_have_summed_up_the_same() -> None:
    (one,) = _united([published(0, 5, 1), published(1, 5, 2)])
    assert (one.number, one.counts_offset, one.counts_after) == (None, 20, 2)
    assert [each.number for each in _united([published(0, 5), published(1, 6)])] == [0, 1]
    assert [each.number for each in _united([published(0, 5)])] == [None]


def test_what_is_found_of_one_partition_is_added_to_what_was_found_of_another_and_nothing_is_said_twice() -> None:
    def report(*lines: str) -> Report:
        check = Check("rows", 3, "of", [Difference(line) for line in lines])
        return Report({"of": lines}, [check], [], [Difference("begins late")], [{"id": 1}], [], 4)

    whole = report("a", "b")
    whole.add(report("b", "c"))
    assert [each.line for each in whole.checks[0].differences] == ["a", "b", "c"]
    assert (whole.checks[0].compared, whole.records, whole.differences) == (6, 4, 3)
    assert (whole.point, len(whole.beginnings), whole.conflicts) == ({"of": ("a", "b")}, 1, [{"id": 1}])
