"""The initial load of the read model, keyset pages, and the search for scopes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import checked_row, decode_row, encode_row
from streams.domain.time.zone import BusinessZone
from streams.web.readmodel import Feed, ReadModel, WindowQuery
from streams.web.readmodel.windows import SORTS
from tests.support.outputs import Record, row, row_record

if TYPE_CHECKING:
    from collections.abc import Iterable

ZONE = BusinessZone("Asia/Shanghai")
SCOPES = ["all", "model=SU7", "model=星辰", "model=SU7,region=CN-2", "model=SU7,region=CN-11", "region=CN-2"]

_rows = st.builds(
    lambda scope, day, count, minute, targets, calendar: row(
        f"day:2024-10-{day:02d}",
        count,
        scope=scope,
        version=minute + 1,
        updated_at=f"2024-11-01T10:{minute:02d}:00.000Z",
        targets=targets,
        **({"calendar": calendar} if calendar else {}),
        timezone=calendar or "Asia/Shanghai",
    ),
    st.sampled_from(SCOPES[:3]),
    st.integers(1, 3),
    st.integers(0, 4),
    st.integers(0, 5),
    st.sampled_from([[], [{"target_id": "t", "value": 2, "reached": False}]]),
    st.sampled_from(["", "Europe/Berlin"]),
)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just(Feed.WINDOWS), _rows),
        st.tuples(st.just(Feed.HISTORY), _rows),
        # The removed rows had been there.
        st.tuples(st.just("gone"), _rows),
    ),
    max_size=30,
)


def everything(model: ReadModel) -> dict[str, Any]:
    """All queries of windows, in an order that does not depend on ids."""
    found: dict[str, Any] = {}
    with model.snapshot() as view:
        page = view.windows.page(WindowQuery(limit=1000, sort="scope"))
        found["now"] = page.bodies
        for minute in range(7):
            then = 1_730_455_200_000_000 + minute * 60_000_000
            found[f"as of {minute}"] = view.windows.page(WindowQuery(as_of_us=then, limit=1000, sort="scope")).bodies
        for scope in SCOPES:
            for day in range(1, 4):
                found[f"{scope} {day}"] = view.windows.versions("deliveries", scope, f"day:2024-10-{day:02d}")
        found["scopes"] = view.windows.scopes()
        found["metrics"] = view.windows.metrics()
        found["years"] = view.windows.years()
        found["since"] = view.windows.history_since_us()
    return found


@settings(max_examples=40)
@given(_steps, st.integers(1, 4))
def test_filling_at_once_and_row_by_row_come_to_the_same(steps: list[tuple[Any, dict[str, Any]]], size: int) -> None:
    records, seen = [], set()
    for offset, (feed, document) in enumerate(steps):
        record = row_record(document, offset)
        if feed == "gone":
            if record.key not in seen:
                continue
            records.append((Feed.WINDOWS, Record(record.key, None, offset, timestamp=1_730_455_500_000)))
        else:
            if feed is Feed.WINDOWS:
                seen.add(record.key)
            records.append((feed, record))
    found = []
    for bulk in (False, True):
        model = ReadModel(ZONE, bulk=bulk)
        try:
            for at in range(0, len(records), size):
                model.apply([(feed, [record]) for feed, record in records[at : at + size]])
            model.loaded()
            found.append(everything(model))
        finally:
            model.close()
    assert found[0] == found[1]


def test_what_comes_after_the_filling_changes_it() -> None:
    bulk = ReadModel(ZONE, bulk=True)
    try:
        bulk.apply([(Feed.WINDOWS, [row_record(row("day:2024-10-01", 1)), row_record(row("day:2024-10-01", 2), 1)])])
        bulk.loaded()
        bulk.apply([(Feed.WINDOWS, [row_record(row("day:2024-10-01", 3), 2), row_record(row("day:2024-10-02", 1), 3)])])
        with bulk.snapshot() as view:
            assert [each.count for each in view.windows.page(WindowQuery()).rows] == [1, 3]
    finally:
        bulk.close()


def test_a_topic_that_is_recreated_while_it_is_read_for_the_first_time_begins_from_nothing() -> None:
    bulk = ReadModel(ZONE, bulk=True)
    try:
        take(bulk, [row("day:2024-10-01", 1, updated_at="2024-10-01T08:00:00.000Z")], feed=Feed.HISTORY)
        take(bulk, [row("day:2024-10-01", 1, updated_at="2024-10-01T09:00:00.000Z")])
        bulk.forget(Feed.WINDOWS)
        bulk.forget(Feed.HISTORY)
        take(bulk, [row("day:2024-10-02", 2, updated_at="2024-10-02T10:00:00.000Z")])
        bulk.loaded()
        with bulk.snapshot() as view:
            assert [each.period for each in view.windows.page(WindowQuery()).rows] == ["day:2024-10-02"]
            assert view.windows.history_since_us() == 1_727_863_200_000_000
    finally:
        bulk.close()


def take(model: ReadModel, documents: Iterable[dict[str, Any]], feed: Feed = Feed.WINDOWS) -> None:
    model.apply([(feed, [row_record(each, number) for number, each in enumerate(documents)])])


@pytest.mark.parametrize("sort", [f"{sign}{name}" for name in SORTS for sign in ("", "-")])
def test_pages_by_keys_are_the_whole_list_in_its_order_forwards_and_backwards(model: ReadModel, sort: str) -> None:
    days = [f"day:2024-10-{day:02d}" for day in range(1, 8)]
    take(model, [row(day, len(day + scope) % 3, scope=scope) for scope in SCOPES for day in days])
    take(model, [row("month:2024-10", 5, scope=scope) for scope in SCOPES])
    with model.snapshot() as view:
        whole = view.windows.page(WindowQuery(sort=sort, limit=1000)).bodies
        assert len(whole) == 8 * len(SCOPES)
        assert [body for bodies in view.windows.every(WindowQuery(sort=sort)) for body in bodies] == whole
        pages = [view.windows.page(WindowQuery(sort=sort, limit=7))]
        assert pages[0].previous is None
        while pages[-1].next is not None:
            pages.append(view.windows.page(WindowQuery(sort=sort, limit=7, after=pages[-1].next)))
        assert [body for page in pages for body in page.bodies] == whole
        assert {page.total for page in pages} == {len(whole)}
        back = pages[-1]
        for page in pages[-2::-1]:
            assert back.previous is not None
            back = view.windows.page(WindowQuery(sort=sort, limit=7, before=back.previous))
            assert back.bodies == page.bodies
        assert back.previous is None


def test_the_first_page_of_a_list_reads_only_what_it_shows(model: ReadModel) -> None:
    """With any number of rows, the latest periods come from an index, on later pages too."""
    take(model, [row("day:2024-10-01", 1)])
    plans: list[str] = []
    with model.snapshot() as view:
        connection = view.windows._connection
        connection.set_trace_callback(plans.append)
        view.windows.page(WindowQuery())
        view.windows.page(WindowQuery(after=("2024-10-01", "2024-10-01", "day:2024-10-01", "deliveries", "all")))
        connection.set_trace_callback(None)
        asked = [plan for plan in plans if "ORDER BY" in plan]
        assert len(asked) == 2
        for statement in asked:
            steps = [step["detail"] for step in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
            assert any("windows_in_order" in step for step in steps)
            assert not any("TEMP B-TREE" in step for step in steps)


@pytest.mark.parametrize("query", [WindowQuery(period="year:", sort="key"), WindowQuery(kinds=["year"], sort="key")])
def test_years_are_found_without_looking_at_days(model: ReadModel, query: WindowQuery) -> None:
    take(model, [row("day:2024-10-01", 1), row("year:2024", 1), row("year:2023", 2, scope="all")])
    plans: list[str] = []
    with model.snapshot() as view:
        connection = view.windows._connection
        connection.set_trace_callback(plans.append)
        assert [each.count for each in view.windows.page(query).rows] == [2, 1]
        connection.set_trace_callback(None)
        for statement in (plan for plan in plans if "FROM (SELECT" in plan):
            steps = [step["detail"] for step in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
            assert any("windows_of_longer" in step for step in steps), steps
            assert not any("TEMP B-TREE" in step for step in steps)


def test_scopes_are_found_by_parts_of_their_names_in_any_case(model: ReadModel) -> None:
    take(model, [row("day:2024-10-01", 1, scope=scope) for scope in SCOPES])
    with model.snapshot() as view:
        assert view.windows.scopes() == ["all", "model=SU7", "model=星辰", "region=CN-2", *sorted(SCOPES[3:5])]
        assert view.windows.scopes(words=["su7", "cn-1"]) == ["model=SU7,region=CN-11"]
        assert view.windows.scopes(words=["星"]) == ["model=星辰"]
        assert view.windows.scopes(words=["nothing"]) == []
        assert len(view.windows.scopes(limit=2)) == 2
        assert view.windows.scopes(dimensions=["model,region"]) == sorted(SCOPES[3:5])
        assert view.windows.greatest_scope("deliveries", "model") is None
    take(model, [row("year:2024", count, scope=f"model={name}") for name, count in (("SU7", 3), ("YU7", 9))])
    with model.snapshot() as view:
        assert view.windows.greatest_scope("deliveries", "model") == "model=YU7"


def test_a_scope_without_rows_is_no_scope(model: ReadModel) -> None:
    take(model, [row("day:2024-10-01", 1, scope="model=A"), row("day:2024-10-01", 1, scope="model=B")])
    model.apply([(Feed.WINDOWS, [Record(b"deliveries/model=A/day:2024-10-01", None, 9)])])
    with model.snapshot() as view:
        assert view.windows.scopes() == ["model=B"]


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"targets": [{"target_id": "t", "value": 5, "reached": True}]},
        {"backfilled": 2},
        {"customer": "Zhang San"},
        {"start": "2024-1-7"},
        {"end": ""},
        {"count": -1},
        {"count": "1"},
        {"count": None},
        {"by_hour": [0] * 23},
        {"by_hour": [*[0] * 23, -1]},
        {"by_hour": None},
        {"version": 0},
        {"restated": -1},
        {"status": "gone"},
        {"metric": "sales"},
        {"updated_at": "yesterday"},
        {"updated_at": "2024-10-07T10:00:00.000Z; "},
        {"scope": 7},
        {"targets": [{}]},
        {"backfilled": -2},
    ],
)
def test_a_row_is_checked_in_a_hurry_as_it_is_by_its_model(changed: dict[str, Any]) -> None:
    value = json.dumps(row("day:2024-10-07", 3) | changed).encode()
    try:
        wanted = encode_row(decode_row(value))
    except ValueError:
        with pytest.raises(ValueError, match="validation error"):
            checked_row(value)
    else:
        assert encode_row(checked_row(value)) == wanted


@pytest.mark.parametrize("value", [b"", b"{", b"null", b"[]", b"\xff", b'{"metric":"\xff"}'])
def test_what_is_no_row_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
        checked_row(value)
