"""The N-th unit is that of a naive recount, whatever the ledger partitions, the order of events, and the clocks."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, cast
from unittest.mock import patch
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.facts import METRICS
from schemas.questions import MOST_UNITS, Question, decode_questions, encode_questions
from streams.domain import hotpath
from streams.domain.counts import asked_units, nth
from streams.domain.counts.counted_units import CountedUnits
from streams.domain.counts.nth import Between, Miss, answer_of, nth_unit
from streams.domain.ledger import Ledger
from streams.domain.pauses import whole
from streams.domain.scopes.aliases import Alias, Aliases
from streams.domain.scopes.scopes import Scopes
from tests.domain.facts import SU7, YU7, chunks_of, delivered, read_counts, us, void
from tests.domain.test_ledger_properties import KEPT_ZONE, SCOPES, TIMES, ZONE, event_sets, new_ledger, recount_order

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from schemas.facts import Dims, Fact, Metric
    from schemas.questions import Answer, UnitKey

FEW = 4
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

units = st.tuples(
    st.integers(0, 40), st.sampled_from("abc"), st.sampled_from(["/a", "/b"]), st.just(1), st.just(0), st.integers(0, 5)
)


ANYWHERE = Between(None, None)


def search(
    number: int, ask: Callable[[Between], list[Answer]], likely: Between = ANYWHERE
) -> tuple[UnitKey | Miss, int]:
    """Asks as the totals do, first where the unit probably is; returns what is found, and after how many rounds."""
    bounds = likely
    for rounds in range(1, 20):
        found = nth_unit(number, ask(bounds))
        if found is Miss.BOUNDS and likely != ANYWHERE:
            bounds = likely = ANYWHERE
            continue
        if not isinstance(found, Between):
            return found, rounds
        narrower = Between(found.after or bounds.after, found.upto or bounds.upto)
        assert narrower != bounds
        bounds = narrower
    raise AssertionError(f"unit {number} is not found")


def question(
    metric: Metric,
    scope: str,
    cells: tuple[int, int],
    bounds: Between = Between(None, None),  # noqa: B008 - it is immutable
    *,
    latest: bool = False,
) -> Question:
    return Question(
        id="q",
        metric=metric,
        scope=scope,
        first_day=cells[0] // 24,
        first_cell=cells[0],
        last_cell=cells[1],
        after=bounds.after,
        upto=bounds.upto,
        latest=latest,
    )


@given(st.lists(units, unique=True, max_size=60), st.data())
def test_units_that_are_known_by_their_times_are_in_the_same_order_as_whole_ones(
    every: list[UnitKey], data: st.DataObject
) -> None:
    """With equal times, equal ids, and units added meanwhile."""
    counted = CountedUnits(lambda place, time_us: _with_time(every[cast("int", place)], time_us))
    added: list[UnitKey] = []
    while len(added) < len(every):
        some = range(len(added), data.draw(st.integers(len(added) + 1, len(every))))
        if data.draw(st.booleans()):
            counted.add_orders(np.array([every[number][0] for number in some], np.int64), np.array(some, np.int64))
        else:
            for number in some:
                counted.add(every[number])
        added += [every[number] for number in some]
        ordered = sorted(added)
        assert len(counted) == len(ordered)
        assert [counted[place] for place in range(len(ordered))] == ordered
        for unit in every:
            assert counted.up_to(unit) == bisect_right(ordered, unit)


@given(st.lists(st.lists(units, unique=True, max_size=40), min_size=1, max_size=5), st.data())
def test_the_unit_is_found_among_any_number_of_partitions_of_which_each_lists_a_few(
    shards: list[list[UnitKey]], data: st.DataObject
) -> None:
    every = sorted(unit for shard in shards for unit in shard)
    before = data.draw(st.lists(st.integers(0, 3), min_size=len(shards), max_size=len(shards)))
    number = data.draw(st.integers(1, len(every) + 1)) + sum(before)

    def ask(bounds: Between) -> list[Answer]:
        asked = question("deliveries", "all", (24, 47), bounds, latest=data.draw(st.booleans()))
        return [answer_of(asked, count, shard) for count, shard in zip(before, shards, strict=True)]

    with patch.object(nth, "MOST_UNITS", FEW):
        found, _ = search(number, ask)
    rank = number - sum(before)
    assert found == (every[rank - 1] if rank <= len(every) else Miss.CELLS)


def test_three_rounds_find_a_unit_of_a_hundred_thousand_and_bounds_that_no_longer_hold_are_noticed() -> None:
    shards: list[list[UnitKey]] = [
        [(time_us, "e", "/bj1", 1, number, time_us) for time_us in range(number, 120_000, 4)] for number in range(4)
    ]

    def ask(bounds: Between) -> list[Answer]:
        asked = question("deliveries", "all", (24, 24), bounds)
        return [answer_of(asked, 0, shard) for shard in shards]

    found, rounds = search(77_777, ask)
    assert found == (77_776, "e", "/bj1", 1, 0, 77_776)
    assert rounds <= 3
    assert nth_unit(5, ask(Between(shards[0][50], None))) is Miss.BOUNDS
    assert nth_unit(120_001, ask(Between(None, None))) is Miss.CELLS


@pytest.mark.parametrize("followed_by", [0, 1, 300, 700])
def test_a_unit_among_the_latest_of_very_many_is_found_with_one_question(followed_by: int) -> None:
    shards: list[list[UnitKey]] = [[] for _ in range(4)]
    dice, last = Random(followed_by), 100_000
    for time_us in range(last):
        number = dice.randrange(4)
        shards[number].append((time_us, "e", "/bj1", 1, number, time_us))

    def ask(bounds: Between) -> list[Answer]:
        asked = question("deliveries", "all", (24, 24), bounds, latest=True)
        return [answer_of(asked, 0, shard) for shard in shards]

    answers = ask(Between((last // 2, "", "", 0, 0, 0), None))
    assert max(len(answer.units) for answer in answers) == MOST_UNITS
    found = nth_unit(last - followed_by, answers)
    assert isinstance(found, tuple)
    assert found[0] == last - 1 - followed_by


@pytest.mark.parametrize("partitions", [1, 4])
@pytest.mark.parametrize("there", [2_000, 50_000])
def test_a_unit_is_found_while_others_come(partitions: int, there: int) -> None:
    """Units come out of order, many between two answers, so that the N-th is a different one each time."""
    dice = Random(there)
    shards: list[list[UnitKey]] = [[] for _ in range(partitions)]

    def come(several: int) -> None:
        for _ in range(several):
            number = dice.randrange(partitions)
            shards[number].append((dice.randrange(3_600_000_000), "e", "/bj1", 1, number, len(shards[number])))

    def ask(bounds: Between) -> list[Answer]:
        come(50)
        asked = question("deliveries", "all", (24, 24), bounds, latest=bounds == ANYWHERE)
        return [answer_of(asked, 0, shard) for shard in shards]

    come(there)
    for number in (there // 3, there // 2, there - 10):
        found, rounds = search(number, ask)
        assert found == sorted(unit for shard in shards for unit in shard)[number - 1]
        assert rounds <= 4


@given(event_sets(), st.integers(1, 3), st.lists(st.integers(0, 14), max_size=4), st.booleans(), st.data())
def test_ledger_partitions_answer_with_the_units_of_a_plain_recount(
    events: list[Fact], partitions: int, cuts: list[int], is_restored: bool, data: st.DataObject
) -> None:
    # Lists of a few orders are divided by time, as otherwise those of thousands.
    small = partial(hotpath.way.OrderLists, stretch_bytes=data.draw(st.sampled_from([1, 9, 1 << 20])))
    with patch.object(hotpath.way, "OrderLists", small):
        ledgers = [new_ledger() for _ in range(partitions)]
        for start, end in pairwise([0, *sorted(min(cut, len(events)) for cut in cuts), len(events)]):
            for number, ledger in enumerate(ledgers):
                ledger.apply([event for event in events[start:end] if _home(event, partitions) == number])
                ledger.drain()
        if is_restored:
            of_each = [[event for event in events if _home(event, partitions) == n] for n in range(partitions)]
            ledgers = [_restored(some) for some in of_each]
    metric = data.draw(st.sampled_from(METRICS))
    scope = data.draw(st.sampled_from(["all", "model=SU7", "model=YU7"]))
    naive = sorted(
        (event.time_us, event.id, event.source, event.topic, event.partition, event.offset)
        for of, event, dims in _units(events)
        if of == metric and scope in ("all", f"model={dims[0]}")
    )
    cells = [KEPT_ZONE.cell_of(unit[0]) for unit in naive]
    assert cells == sorted(cells)
    for rank, (unit, cell) in enumerate(zip(naive, cells, strict=True), 1):

        def ask(bounds: Between, cell: int = cell) -> list[Answer]:
            first_day = min(cells) // 24
            asked = Question(
                id="q",
                metric=metric,
                scope=scope,
                first_day=first_day,
                first_cell=cell,
                last_cell=cell,
                after=bounds.after,
                upto=bounds.upto,
                latest=data.draw(st.booleans()),
            )
            (asked,) = decode_questions(encode_questions([asked]))
            return [_answer(ledger, asked) for ledger in ledgers]

        margin_us = data.draw(st.none() | st.integers(0, 7_200_000_000))
        likely = ANYWHERE if margin_us is None else Between((unit[0] + 60_000_000 - margin_us, "", "", 0, 0, 0), None)
        with patch.object(nth, "MOST_UNITS", FEW):
            assert search(rank, ask, likely)[0] == unit


@given(event_sets(), st.integers(1, 4), st.sampled_from(METRICS))
def test_questions_about_many_scopes_and_days_are_answered_in_one_pass_in_portions_and_under_aliases(
    events: list[Fact], portion: int, metric: Metric
) -> None:
    aliases = Aliases([Alias("model", "YU7", "SU7", date(2024, 11, 3))])
    scopes = Scopes(SCOPES, aliases=aliases)
    ledger = Ledger(KEPT_ZONE, scopes)
    ledger.apply(events)
    ledger.drain()
    cells = KEPT_ZONE.cell_of(min(TIMES)), KEPT_ZONE.cell_of(max(TIMES))
    asked = [
        question(metric, scope, cells) for scope in ("all", "model=SU7", "model=YU7", "model=SU7,region=CN-11", "x=y")
    ]
    with patch.object(asked_units, "_PAUSE_LOOKED_AT", portion):
        answers = whole(ledger.answering(asked))
    for one, answer in zip(asked, answers, strict=True):
        assert answer.units == sorted(
            (event.time_us, event.id, event.source, event.topic, event.partition, event.offset)
            for of, event, dims in _units(events)
            if of == metric and one.scope in scopes.scopes_on(cast("Dims", dims), KEPT_ZONE.date_of(event.time_us))
        )


@given(event_sets(), st.lists(st.integers(0, 14), max_size=6), st.booleans())
def test_what_is_told_as_the_latest_of_a_day_is_the_latest_of_all_its_units(
    events: list[Fact], cuts: list[int], is_restored: bool
) -> None:
    ledger, steps = new_ledger(), [0, *sorted(min(cut, len(events)) for cut in cuts), len(events)]
    for start, end in pairwise(steps):
        if is_restored and start:
            ledger = _restored(events[:start])
        ledger.apply(events[start:end])
        for (metric, scope, day), count in read_counts(ledger.drain().counts).items():
            standing = [
                (event.time_us, event.id, event.source, event.topic, event.partition, event.offset)
                for of, event, dims in _units(events[:end])
                if of == metric and KEPT_ZONE.date_of(event.time_us) == day and scope in _scopes(dims)
            ]
            if count.is_newest:
                unit = count.latest
                assert unit is not None
                told = (unit.time_us, unit.id, unit.source, unit.topic, unit.partition, unit.offset)
                assert told == max(standing)
            assert count.count == len(standing)


def test_a_day_tells_its_latest_unit_until_one_has_left_and_again_when_none_is_there() -> None:
    ledger = Ledger(KEPT_ZONE, Scopes([[]]), orders_known=False)
    told = []
    for step in (
        [delivered("2024-10-07T10:00:00-04:00", "a", order="SO-1")],
        [delivered("2024-10-07T09:00:00-04:00", "b", order="SO-2")],
        [delivered("2024-10-07T11:00:00-04:00", "c", order="SO-3")],
        [void("2024-10-07T12:00:00-04:00", "c", "v", order="SO-3")],
        [delivered("2024-10-07T13:00:00-04:00", "d", order="SO-4")],
        [void("2024-10-07T14:00:00-04:00", of, f"v{of}", order=order) for of, order in (("a", "SO-1"), ("b", "SO-2"), ("d", "SO-4"))],
        [delivered("2024-10-07T08:00:00-04:00", "e", order="SO-5")],
    ):  # fmt: skip
        ledger.apply(step)
        counts = read_counts(ledger.drain().counts)
        told += [(count.count, count.is_newest) for (metric, *_), count in counts.items() if metric == "deliveries"]
    assert told == [(1, True), (2, False), (3, True), (2, False), (3, False), (0, False), (1, True)]


def test_the_scope_of_the_others_has_the_units_of_all_scopes_without_rows() -> None:
    ledger = Ledger(KEPT_ZONE, Scopes(SCOPES), orders_known=False)
    at_us = us("2024-10-07T14:03:11")
    ledger.apply([delivered(at_us, "a", order="SO-1", dims=SU7), delivered(at_us + 1, "b", order="SO-2", dims=YU7)])
    ledger.drain()
    cell = KEPT_ZONE.cell_of(at_us)
    asked = Question(
        id="q",
        metric="deliveries",
        scope="model=other",
        first_day=cell // 24,
        first_cell=cell,
        last_cell=cell,
        others_than=["model=SU7"],
    )
    assert [unit[1] for unit in _answer(ledger, asked).units] == ["b"]


def _with_time(unit: UnitKey, time_us: int) -> UnitKey:
    assert unit[0] == time_us
    return unit


def _home(event: Fact, partitions: int) -> int:
    return int(event.order_id[-1]) % partitions


def _answer(ledger: Ledger, asked: Question) -> Answer:
    (alone,) = whole(ledger.answering([asked]))
    others = [
        msgspec.structs.replace(asked, id=f"{asked.id}{scope}", scope=scope, others_than=None)
        for scope in ("all", "model=SU7", "model=YU7")
    ]
    assert whole(ledger.answering([*others, asked]))[-1] == alone
    return alone


def _restored(events: Sequence[Fact]) -> Ledger:
    ledger, again = new_ledger(), new_ledger()
    ledger.apply(events)
    changes = ledger.drain()
    again.restore(changes.vocabulary, chunks_of([changes]))
    return again


def _scopes(dims: tuple[str, ...]) -> list[str]:
    model, _, _, region = dims
    return ["all", f"model={model}", *([f"model={model},region={region}"] if region else [])]


def _units(events: Sequence[Fact]) -> list[tuple[str, Fact, tuple[str, ...]]]:
    found = []
    for order_id in {event.order_id for event in events}:
        found += recount_order([event for event in events if event.order_id == order_id])[0]
    return found


def test_hours_follow_each_other_in_this_zone_also_where_clocks_are_put_back() -> None:
    """What the test above relies on; if midnight itself comes twice, the question is about three days."""
    zone = ZoneInfo(ZONE)
    moments = [EPOCH + timedelta(microseconds=1_730_606_400_000_000 + step * 900_000_000) for step in range(200)]
    hours = [(moment.astimezone(zone).date(), moment.astimezone(zone).hour) for moment in moments]
    assert hours == sorted(hours)
