"""What a batch may do to the memory of a ledger partition, and when the memory has caught up."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, Mock

import pytest

from schemas.codec import encode_day_count
from schemas.counts import encode_counted
from schemas.facts import DayCount
from schemas.notes import Place
from schemas.outputs import ControlHeaders
from streams.context import Context
from streams.domain.ledger import LedgerChanges
from streams.domain.orders.steps import Touched
from streams.errors import ExpectedError
from streams.kafka.digest import digest_of
from streams.kafka.log import Bounds, Partition
from streams.kafka.log_ends import LogEnd
from streams.kafka.transport import Batch
from streams.ledger.application import Application
from streams.ledger.memory import Memory
from streams.ledger.quarantine import SkippedRecords
from streams.ledger.recovery import Recovery
from streams.ledger.sources import Source, check
from streams.settings import Settings
from streams.settings_sections import LimitSettings
from tests.domain.facts import chunks_of
from tests.support.outputs import Record, letter_record

if TYPE_CHECKING:
    from streams.kafka.outbox import Outgoing
    from streams.kafka.records import LogRecord

CONTEXT = Context(Settings(partitions=1))
ORDERS = CONTEXT.catalogue.orders.name


async def nothing_trimmed(_partition: Partition) -> int:
    return 0


def opened() -> Memory:
    """A memory to which nothing has been applied yet."""
    memory = Memory(CONTEXT, 0)
    memory.sources.update({Partition(topic, 0): Source() for topic in CONTEXT.source_topics})
    return memory


def application(memory: Memory) -> Application:
    return Application(memory, CONTEXT, nothing_trimmed)


def batch(first: int, *records: LogRecord) -> Batch:
    following = records[-1].offset + 1 if records else first
    return Batch(ORDERS, 0, 1, first, following, following, list(records))


def garbage(offset: int) -> Record:
    return Record(b"SO-1", b"{", offset, topic=ORDERS, headers=[("traceparent", b"00-ab"), ("x", b"")])


async def test_a_batch_that_does_not_follow_on_what_was_applied_is_refused_and_moves_nothing() -> None:
    memory = opened()
    ledger = application(memory)
    await ledger.apply(batch(0, garbage(0)))
    with pytest.raises(RuntimeError, match=rf"{ORDERS}-0: applied up to 1, fetched from 2"):
        await ledger.apply(batch(2, garbage(2)))
    assert memory.sources[Partition(ORDERS, 0)].next == 1


async def test_what_was_applied_already_is_cut_off_a_batch() -> None:
    memory = opened()
    ledger = application(memory)
    await ledger.apply(batch(0, garbage(0), garbage(1)))
    out = await ledger.apply(batch(0, garbage(0), garbage(1), garbage(2)))
    assert [dict(record.headers)[ControlHeaders.OFFSET] for record in out] == [b"2"]
    assert (memory.sources[Partition(ORDERS, 0)].next, memory.sources[Partition(ORDERS, 0)].read) == (3, 3)


async def test_a_dead_letter_is_the_record_as_it_came_and_our_headers_behind_its_own() -> None:
    rejected = garbage(7)
    (letter,) = await application(opened()).apply(batch(0, rejected))
    assert (letter.topic, letter.partition) == (CONTEXT.catalogue.dead_letters.name, 0)
    assert (letter.key, letter.value) == (rejected.key, rejected.value)
    assert list(letter.headers[:2]) == rejected.headers
    assert {name for name, _ in letter.headers[2:]} == ControlHeaders.ALL


def test_nothing_is_caught_up_before_the_leader_of_each_source_has_said_where_its_end_is() -> None:
    """More records may follow the committed end seen at opening: those of transactions that were open then."""
    memory = opened()
    *heard, last = memory.sources.values()
    for source in heard:
        source.hear(LogEnd(0, 1))
    said = []
    for end in (None, LogEnd(0, 1), LogEnd(1, 2)):
        last.hear(end)
        said.append(memory.caught_up)
    assert said == [False, True, False]


@pytest.mark.parametrize(
    ("source", "elsewhere", "line"),
    [
        (Source(next=3, digest=digest_of(garbage(2))), False, ""),
        (Source(next=3, digest=digest_of(garbage(2))), True, ""),
        (Source(next=3), False, ""),
        (Source(), True, ""),
        (
            Source(next=3),
            True,
            "-0 was applied up to 3 on another cluster, and no record tells whether that is the same",
        ),
        (
            Source(next=9),
            False,
            "-0 holds offsets 0 to 5, the ledger has applied up to 9: the topic was recreated, or mirr",
        ),
        (
            Source(next=3, digest="other"),
            False,
            "has another record at offset 2 than the one the ledger applied: the topic",
        ),
    ],
)
async def test_offsets_of_another_cluster_go_on_only_where_a_record_proves_them(
    source: Source, *, elsewhere: bool, line: str
) -> None:
    here = Partition(ORDERS, 0)
    reader = Mock(record_at=AsyncMock(return_value=garbage(2)), bounds=AsyncMock(return_value={here: Bounds(0, 5)}))
    if not line:
        await check({here: source}, {here: Bounds(0, 5)}, {}, reader, is_elsewhere=elsewhere)
        return
    with pytest.raises(ExpectedError, match=line) as refused:
        await check({here: source}, {here: Bounds(0, 5)}, {}, reader, is_elsewhere=elsewhere)
    assert refused.value.exit_code == 2


EVENT = (
    b'{"specversion":"1.0","id":"1","source":"/s","type":"order.placed.v1","time":"2024-10-07T14:03:11+08:00",'
    b'"data":{"order_id":"SO-1","model":"SU7"}}'
)


@pytest.mark.parametrize(
    ("value", "judged", "applied"),
    [
        (b"\xef\xbb\xbf" + EVENT, {}, 1),
        (b"\xef\xbb\xbf" + EVENT, {Place(ORDERS, 0, 0): "malformed_json"}, 0),
        (EVENT, {Place(ORDERS, 0, 0): "malformed_json"}, 1),
    ],
    ids=["read as this version reads", "rejected by an earlier version", "never rightly rejected"],
)
async def test_what_an_earlier_version_rejected_stays_rejected_in_a_state_that_is_built_again(
    value: bytes, judged: dict[Place, str], applied: int
) -> None:
    """It is counted as a dead letter, and not published again."""
    memory = opened()
    memory.recovery = Recovery({}, dead=set(judged), judged=judged)
    record = Record(b"SO-1", value, 0, topic=ORDERS)
    assert await application(memory).apply(batch(0, record)) == []
    source = memory.sources[Partition(ORDERS, 0)]
    assert (source.applied, source.dead_letters) == (applied, 1 - applied)


async def test_what_was_forwarded_before_a_rebuild_is_judged_by_its_home_alone() -> None:
    memory = opened()
    memory.recovery = Recovery({}, forwarded={Place(ORDERS, 0, 0): 1})
    out = await application(memory).apply(batch(0, garbage(0), garbage(1)))
    assert [dict(record.headers)[ControlHeaders.OFFSET] for record in out] == [b"1"]
    source = memory.sources[Partition(ORDERS, 0)]
    assert (source.rerouted, source.dead_letters, memory.forwarded[1]) == (1, 1, 1)


REJECTING = Context(Settings(partitions=1, limits=LimitSettings(values=2, beyond="reject")))


def rejecting(memory: Memory, limits: Context = REJECTING) -> Application:
    return Application(memory, limits, nothing_trimmed)


def placed(offset: int, model: str) -> Record:
    value = EVENT.replace(b"SO-1", b"SO-%d" % offset).replace(b'"id":"1"', b'"id":"%d"' % offset)
    return Record(b"SO-%d" % offset, value.replace(b"SU7", model.encode()), offset, topic=ORDERS)


def rejected(out: list[Outgoing]) -> list[tuple[bytes | None, bytes | None]]:
    """Offset and reason of each dead letter."""
    headers = [dict(letter.headers) for letter in out]
    return [(each[ControlHeaders.OFFSET], each[ControlHeaders.REASON]) for each in headers]


async def test_an_event_for_whose_model_there_is_no_room_is_a_dead_letter_and_what_is_known_is_taken() -> None:
    memory = opened()
    ledger = rejecting(memory)
    out = await ledger.apply(
        batch(0, *(placed(at, model) for at, model in enumerate(["SU7", "YU7", "X9", "SU7", "X8"])))
    )
    assert rejected(out) == [(b"2", b"beyond_limits"), (b"4", b"beyond_limits")]
    assert dict(out[0].headers)[ControlHeaders.MESSAGE] == (
        b"model X9 would be beyond the 2 values of model that a partition may have by [limits] values"
    )
    source = memory.sources[Partition(ORDERS, 0)]
    assert (source.read, source.applied, source.dead_letters) == (5, 3, 2)


async def test_after_a_restart_the_same_models_are_known_and_a_raised_limit_lets_the_next_in() -> None:
    memory = opened()
    await rejecting(memory).apply(batch(0, placed(0, "SU7"), placed(1, "YU7"), placed(2, "X9")))
    changes = memory.ledger.drain()
    again = opened()
    again.ledger.restore(changes.vocabulary, chunks_of([changes]))
    again.sources[Partition(ORDERS, 0)].next = 3
    ledger = rejecting(again)
    ledger.start(SkippedRecords())
    assert rejected(await ledger.apply(batch(3, placed(3, "YU7"), placed(4, "X9")))) == [(b"4", b"beyond_limits")]
    raised = rejecting(again, Context(Settings(partitions=1, limits=LimitSettings(values=3, beyond="reject"))))
    raised.start(SkippedRecords())
    assert rejected(await raised.apply(batch(5, placed(5, "X9"), placed(6, "X8")))) == [(b"6", b"beyond_limits")]


async def test_a_state_that_was_lost_takes_and_rejects_the_same_again() -> None:
    """The topics no longer show which of the models came first."""
    memory = opened()
    here = Partition(ORDERS, 0)
    models = ["X9", "SU7", "YU7", "N1", "X8", "SU7"]
    rejected_then = {Place(ORDERS, 0, 0): "beyond_limits"}
    memory.recovery = Recovery({here: 4}, dead={*rejected_then}, judged=rejected_then, is_repetition=True)
    out = await rejecting(memory).apply(batch(0, *(placed(at, model) for at, model in enumerate(models))))
    # X9's dead letter exists already; three models were taken under another limit; X8 comes after that.
    assert rejected(out) == [(b"4", b"beyond_limits")]
    source = memory.sources[here]
    assert (source.applied, source.dead_letters) == (4, 2)


async def test_a_first_load_is_held_to_the_limits() -> None:
    memory = opened()
    memory.recovery = Recovery({Partition(ORDERS, 0): 3})
    out = await rejecting(memory).apply(batch(0, placed(0, "SU7"), placed(1, "YU7"), placed(2, "X9")))
    assert rejected(out) == [(b"2", b"beyond_limits")]


def test_a_rebuild_knows_the_letters_of_its_own_partition_and_not_those_of_events_that_it_forwarded() -> None:
    letter = letter_record(EVENT, "beyond_limits", partition=1)
    at_home, elsewhere = Recovery({}), Recovery({})
    at_home.hear(letter, 1)
    elsewhere.hear(letter, 0)
    assert (len(at_home.judged), len(elsewhere.judged)) == (1, 0)


async def test_what_a_rebuild_has_held_back_comes_by_parts_and_it_is_over_with_the_last() -> None:
    memory = opened()
    value = encode_day_count(DayCount(1, 0, [0] * 24, None))
    days = {encode_counted(("orders", "all", date(2024, 10, number))): value for number in range(1, 6)}
    memory.recovery = Recovery({})
    memory.recovery.counts.add(days.items())
    memory.recovery.violations.add([("SO-1", None)])
    seen: list[list[Any]] = []
    said = []
    for _ in range(3):
        changes = LedgerChanges(Touched({}), [], {}, {})
        said.append((await memory.finish_recovery(changes, 2), memory.is_releasing))
        seen.append([*changes.counts, *changes.violations])
    assert said == [(False, True), (False, True), (True, False)]
    assert [len(part) for part in seen] == [2, 2, 2]
    assert {one for part in seen for one in part} == {*days, "SO-1"}
    assert memory.recovery is None
