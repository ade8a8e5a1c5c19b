"""The read model: what it keeps of the output topics, and its queries."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from schemas.rows import RowKey
from streams.domain.time.zone import BusinessZone
from streams.spreadsheets import defused
from streams.web.readmodel import (
    Changes,
    Feed,
    LetterQuery,
    MilestoneQuery,
    ReadModel,
    ViolationQuery,
    WindowQuery,
)
from streams.web.views.common import micros
from streams.web.views.windows import WindowsParameters, csv_lines
from tests.support.outputs import Record, letter_record, milestone, milestone_record, row, row_record

DAY = "day:2024-10-07"
KEY = RowKey("deliveries", "model=SU7", DAY)


def take(model: ReadModel, feed: Feed, *records: Record) -> Changes:
    return model.apply([(feed, records)])


def take_rows(model: ReadModel, *documents: dict[str, Any], feed: Feed = Feed.WINDOWS, offset: int = 0) -> Changes:
    return take(model, feed, *(row_record(each, offset + number) for number, each in enumerate(documents)))


def versions(*steps: tuple[int, str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Versions of the day's row: count, minute of 7 October 18:MM in Shanghai, other fields."""
    return [
        row(DAY, count, version=number, updated_at=f"2024-10-07T10:{minute}:00.000Z", **more)
        for number, (count, minute, more) in enumerate(steps, 1)
    ]


def test_a_row_reads_back_as_it_was_published(model: ReadModel) -> None:
    document = row(DAY, 7, targets=[{"target_id": "t", "value": 5, "reached": True}], backfilled=2)
    changes = take_rows(model, document)
    with model.snapshot() as view:
        found = view.windows.page(WindowQuery()).bodies
    assert [json.loads(body) for body in found] == [document]
    assert changes.rows[KEY] == found[0]


def test_the_latest_row_of_a_key_counts_and_a_tombstone_takes_it_away(model: ReadModel) -> None:
    take_rows(model, row(DAY, 1), row(DAY, 2))
    with model.snapshot() as view:
        assert [each.count for each in view.windows.page(WindowQuery()).rows] == [2]
    changes = take(model, Feed.WINDOWS, Record("/".join(KEY).encode(), None))
    assert changes.rows == {KEY: None}
    with model.snapshot() as view:
        assert view.windows.page(WindowQuery()).total == 0
        assert view.windows.get(*KEY) is None


def test_fields_that_the_contract_does_not_name_are_not_kept(model: ReadModel) -> None:
    take_rows(model, row(DAY, 1, customer="Zhang San"))
    take(model, Feed.MILESTONES, milestone_record(milestone("m", customer="Zhang San") | {"phone": "138"}))
    with model.snapshot() as view:
        kept = view.windows.page(WindowQuery()).bodies + view.milestones.page(MilestoneQuery()).bodies
    assert len(kept) == 2
    assert not any("Zhang" in body or "138" in body for body in kept)


def test_of_several_partitions_every_milestone_and_version_is_kept_and_the_newest_milestone_is_first() -> None:
    """Both topics have the same offsets."""
    model = ReadModel(BusinessZone("Asia/Shanghai"), bulk=True)
    found = [(0, 0, "08:00"), (0, 1, "12:00"), (1, 0, "10:00"), (1, 1, "11:00")]
    events = [
        replace(
            milestone_record(milestone(f"m{part}{at}", detected_at=f"2024-10-07T{time}:00.000Z"), at), partition=part
        )
        for part, at, time in found
    ]
    steps = versions((1, "01", {}), (2, "02", {}))
    others = [each | {"scope": "model=YU7"} for each in steps]
    kept = [replace(row_record(each, at), partition=0) for at, each in enumerate(steps)]
    kept += [replace(row_record(each, at), partition=1) for at, each in enumerate(others)]
    model.apply([(Feed.MILESTONES, events), (Feed.HISTORY, kept), (Feed.WINDOWS, kept)])
    model.loaded()
    at_us = micros("2024-10-07T10:01:30Z")
    with model.snapshot() as view:
        ids = [event.data.milestone_id for event in view.milestones.page(MilestoneQuery()).events]
        then = {each.scope: each.count for each in view.windows.page(WindowQuery(as_of_us=at_us)).rows}
    assert ids == ["m01", "m11", "m10", "m00"]
    model.close()
    assert then == {"model=SU7": 1, "model=YU7": 1}


def test_a_snapshot_stays_at_its_moment(model: ReadModel) -> None:
    take_rows(model, row(DAY, 1))
    with model.snapshot() as view:
        before = view.windows.get(*KEY)
        take_rows(model, row(DAY, 2))
        assert view.windows.get(*KEY) == before
    with model.snapshot() as view:
        assert view.windows.get(*KEY) != before


@pytest.mark.parametrize(
    ("at", "count"),
    [
        ("2024-10-07T10:00:59Z", None),
        ("2024-10-07T10:01:00Z", 1),
        ("2024-10-07T18:02:30+08:00", 2),
        ("2024-10-07T10:05:00Z", 5),
        ("2024-12-01T00:00:00Z", 5),
    ],
)
def test_as_of_answers_the_version_in_force_at_that_instant(model: ReadModel, at: str, count: int | None) -> None:
    """The current version counts even if it is not in the history yet."""
    steps = versions((1, "01", {}), (2, "02", {}), (3, "03", {}), (5, "05", {}))
    take_rows(model, *steps[:3], feed=Feed.HISTORY)
    take_rows(model, steps[3])
    with model.snapshot() as view:
        found = view.windows.get(*KEY, as_of_us=micros(at))
        page = view.windows.page(WindowQuery(as_of_us=micros(at)))
    assert (found and found.count) == count
    assert [each.count for each in page.rows] == ([] if count is None else [count])
    assert page.total == len(page.rows)


def test_of_two_versions_of_the_same_instant_the_later_one_was_in_force(model: ReadModel) -> None:
    steps = versions((1, "01", {}), (2, "01", {}), (3, "03", {}))
    take_rows(model, *steps, feed=Feed.HISTORY)
    take_rows(model, steps[2])
    at_us = micros("2024-10-07T10:01:00Z")
    with model.snapshot() as view:
        assert [each.count for each in view.windows.page(WindowQuery(as_of_us=at_us)).rows] == [2]


def test_a_filter_as_of_an_instant_looks_at_the_version_of_then(model: ReadModel) -> None:
    open_, closed = versions((1, "01", {}), (2, "02", {"status": "closed"}))
    take_rows(model, open_, closed, feed=Feed.HISTORY)
    take_rows(model, closed)
    with model.snapshot() as view:
        then = WindowQuery(statuses=["open"], as_of_us=micros("2024-10-07T10:01:30Z"))
        assert view.windows.page(then).total == 1
        assert view.windows.page(WindowQuery(statuses=["open"])).total == 0


def test_a_row_that_was_taken_away_is_still_there_as_of_before(model: ReadModel) -> None:
    take_rows(model, *versions((1, "01", {})), feed=Feed.HISTORY)
    take_rows(model, *versions((1, "01", {})))
    deleted = Record("/".join(KEY).encode(), None, timestamp=(micros("2024-10-07T12:00:00Z") or 0) // 1000)
    take(model, Feed.WINDOWS, deleted)
    with model.snapshot() as view:
        assert view.windows.get(*KEY, as_of_us=micros("2024-10-07T11:00:00Z")) is not None
        assert view.windows.get(*KEY, as_of_us=micros("2024-10-07T12:00:00Z")) is None


def test_earlier_versions_keep_the_dates_that_a_corrected_calendar_has_changed(model: ReadModel) -> None:
    period = "holiday:national-day:2024"
    old = row(period, 5, calendar="CN-2024.1 provisional")
    new = row(period, 6, end="2024-10-08", version=2, updated_at="2024-10-08T10:00:00.000Z", calendar="CN-2024.2")
    take_rows(model, old, feed=Feed.HISTORY)
    take_rows(model, old)
    take_rows(model, new)
    take_rows(model, new, feed=Feed.HISTORY, offset=1)
    with model.snapshot() as view:
        assert [each.end for each in view.windows.versions("deliveries", "model=SU7", period)] == [
            "2024-10-07",
            "2024-10-08",
        ]


def test_restatements_are_changes_of_a_count_after_the_first_closing(model: ReadModel) -> None:
    take_rows(
        model,
        *versions(
            (1, "01", {}),
            (2, "02", {"status": "closed"}),
            (4, "03", {"status": "closed", "restated": 1}),
            (
                4,
                "04",
                {"status": "closed", "restated": 2, "targets": [{"target_id": "t", "value": 9, "reached": False}]},
            ),
            (3, "05", {"status": "closed", "restated": 3}),
        ),
        feed=Feed.HISTORY,
    )
    with model.snapshot() as view:
        found = view.windows.restatements(*KEY)
        aims = view.windows.target_changes(*KEY)
    assert [(each.before.count, each.after.count) for each in found] == [(2, 4), (4, 3)]
    assert [(each.version, len(each.targets)) for each in aims] == [(1, 0), (4, 1), (5, 0)]


def test_rows_are_filtered_sorted_and_paged(model: ReadModel) -> None:
    take_rows(
        model, *(row(f"day:2024-10-{day:02d}", day % 7, scope=s) for day in range(1, 31) for s in ("all", "model=SU7"))
    )
    take_rows(model, row("month:2024-10", 99), row("month:2024-11", 1, metric="orders"))
    with model.snapshot() as view:
        page = view.windows.page
        assert page(WindowQuery(kinds=["month"])).total == 2
        assert page(WindowQuery(metrics=["orders"])).total == 1
        assert page(WindowQuery(period="day:2024-10-1", scopes=["all"])).total == 10
        assert page(WindowQuery(first="2024-10-31")).total == 2
        assert page(WindowQuery(last="2024-10-01", kinds=["day"])).total == 2
        most = page(WindowQuery(kinds=["day"], sort="-count", limit=3))
        assert (most.total, [each.count for each in most.rows]) == (60, [6, 6, 6])
        assert [each.start for each in page(WindowQuery(sort="start", limit=2, kinds=["day"])).rows] == [
            "2024-10-01"
        ] * 2
        with pytest.raises(ValueError, match="sorted by one of"):
            page(WindowQuery(sort="start; DROP TABLE windows"))


def test_dimensions_stand_side_by_side(model: ReadModel) -> None:
    scopes = {"all": 9, "model=SU7": 6, "model=YU7": 3, "model=SU7,region=CN-11": 4, "model=SU7,region=CN-31": 2}
    take_rows(model, *(row("month:2024-10", count, scope=scope) for scope, count in scopes.items()))
    with model.snapshot() as view:
        ask = view.windows.side_by_side
        assert view.windows.dimension_sets() == ["model", "model,region"]
        assert ask("deliveries", "month", "model", "", "9999") == {"month:2024-10": {"model=SU7": 6, "model=YU7": 3}}
        pairs = {"model=SU7,region=CN-11": 4, "model=SU7,region=CN-31": 2}
        assert ask("deliveries", "month", "model,region", "", "9999") == {"month:2024-10": pairs}
        assert ask("deliveries", "month", "model,region", "", "9999", "model=SU7,") == {"month:2024-10": pairs}
        assert ask("deliveries", "month", "model,region", "", "9999", "model=YU7,") == {}
        assert ask("deliveries", "month", "region", "", "9999") == {}
        assert ask("deliveries", "month", "model,region", "2024-11-01", "9999") == {}


def test_a_milestone_is_shown_by_its_latest_event_with_its_revisions(model: ReadModel) -> None:
    take(
        model,
        Feed.MILESTONES,
        milestone_record(milestone("a"), 0),
        milestone_record(milestone("b", kind="recorded"), 1),
        milestone_record(milestone("a", 2, "retracted"), 2),
    )
    with model.snapshot() as view:
        latest = view.milestones.page(MilestoneQuery()).events
        assert [(event.subject, event.data.revision) for event in latest] == [("a", 2), ("b", 1)]
        assert [event.subject for event in view.milestones.page(MilestoneQuery(standing=True)).events] == ["b"]
        assert view.milestones.page(MilestoneQuery(all_events=True)).total == 3
        assert [event.data.revision for event in view.milestones.revisions("a")] == [1, 2]
        assert view.milestones.revisions("c") == []


def test_violations_are_replaced_order_by_order_and_cured_by_a_tombstone(model: ReadModel) -> None:
    def found(*kinds: str) -> Record:
        listed = [{"kind": kind, "source": "/s", "id": kind, "message": "m"} for kind in kinds]
        return Record(b"SO-1", json.dumps({"order_id": "SO-1", "violations": listed}).encode())

    take(model, Feed.VIOLATIONS, found("second_placed", "cancelled_twice"), found("cancelled_twice"))
    with model.snapshot() as view:
        assert [each.kind for each in view.violations.page(ViolationQuery()).violations] == ["cancelled_twice"]
        assert [(each.name, each.count) for each in view.violations.by_kind()] == [("cancelled_twice", 1)]
    take(model, Feed.VIOLATIONS, Record(b"SO-1", None))
    with model.snapshot() as view:
        assert view.violations.page(ViolationQuery()) == ([], 0, None, None)


def test_a_delivery_that_contradicts_production_is_found_by_its_order(model: ReadModel) -> None:
    vin, kind = "LNBSU7A10R1000123", "delivered_without_production"
    listed = [
        {"kind": "produced_twice", "source": "/line", "id": "b", "message": "m"},
        {"kind": kind, "source": "/s", "id": "d", "message": "m", "order_id": "SO-1"},
    ]
    take(model, Feed.VIOLATIONS, Record(vin.encode(), json.dumps({"order_id": vin, "violations": listed}).encode()))
    with model.snapshot() as view:
        for query, kinds in (
            (ViolationQuery(order_id="SO-1"), [kind]),
            (ViolationQuery(order_ids=("SO-1", "SO-2")), [kind]),
            (ViolationQuery(order_id=vin), ["produced_twice"]),
        ):
            assert [each.kind for each in view.violations.page(query).violations] == kinds
        first = view.violations.page(ViolationQuery(limit=1))
        assert (first.total, [each.order_id for each in first.violations]) == (2, [vin]), "by order"
        second = view.violations.page(ViolationQuery(limit=1, after=first.next))
        assert [each.order_id for each in second.violations] == ["SO-1"]
    take(model, Feed.VIOLATIONS, Record(vin.encode(), None))
    with model.snapshot() as view:
        assert view.violations.page(ViolationQuery()).total == 0


@pytest.mark.parametrize(
    ("value", "headers", "day", "of_event"),
    [
        (b'{"time": "2024-10-06T23:30:00Z"}', [], "2024-10-07", True),
        (b"raw", [("ce_time", b"2024-10-01T00:00:00Z")], "2024-10-01", True),
        (b'{"time": "yesterday"}', [], "2024-10-08", False),
        (b"[" * 100_000, [], "2024-10-08", False),
        (b"\xff", [], "2024-10-08", False),
        (None, [], "2024-10-08", False),
    ],
)
def test_a_dead_letter_belongs_to_the_day_of_its_own_time_where_that_can_be_read(
    model: ReadModel, value: bytes | None, headers: list[tuple[str, bytes]], day: str, *, of_event: bool
) -> None:
    record = letter_record(value or b"", timestamp=(micros("2024-10-07T17:00:00Z") or 0) // 1000)
    record.value = value
    record.headers = [*record.headers, *headers]
    take(model, Feed.DEAD_LETTERS, record)
    with model.snapshot() as view:
        letters, total, *_ = view.dead_letters.page(LetterQuery(day=day))
    assert total == 1
    assert letters[0].day_is_of_event is of_event


def test_payloads_are_kept_only_where_they_may_be_shown(model: ReadModel) -> None:
    record = letter_record(b"<script>\x00\xff\xe5\xb0\x8f", key=b"\x1b[31mkey")
    shown = ReadModel(BusinessZone("Asia/Shanghai"), keep_payloads=True)
    try:
        for each in (model, shown):
            take(each, Feed.DEAD_LETTERS, record)
        with model.snapshot() as view:
            hidden = view.dead_letters.page(LetterQuery())[0][0]
        with shown.snapshot() as view:
            text = view.dead_letters.page(LetterQuery())[0][0]
    finally:
        shown.close()
    assert (hidden.key, hidden.value, hidden.size_bytes) == (None, None, 21)
    assert (text.key, text.value) == ("\\x1b[31mkey", "<script>\\x00\\xff小")


def test_what_cannot_be_read_is_counted_and_does_not_stop_what_follows(model: ReadModel) -> None:
    bad = [Record(b"k", b"{}", 0), Record(b"k", None, 1), Record(None, b"x", 2)]
    huge, letter = row_record(row(DAY, 10**30), 0), Record(b"k", b"of another hand", 0)
    model.apply([(Feed.MILESTONES, bad), (Feed.DEAD_LETTERS, [letter])])
    model.apply([(Feed.WINDOWS, [huge, row_record(row(DAY, 3), 1)])])
    with model.snapshot() as view:
        assert view.unreadable_count() == 5
        assert view.windows.page(WindowQuery()).total == 1


def test_forgetting_a_feed_leaves_the_others(model: ReadModel) -> None:
    take_rows(model, row(DAY, 1))
    take_rows(model, row(DAY, 1), feed=Feed.HISTORY)
    take(model, Feed.MILESTONES, milestone_record(milestone("a")))
    model.forget(Feed.WINDOWS)
    with model.snapshot() as view:
        assert view.windows.page(WindowQuery()).total == 0
        assert len(view.windows.versions(*KEY)) == 1
        assert view.milestones.page(MilestoneQuery()).total == 1
    model.forget(Feed.HISTORY)
    take_rows(model, row(DAY, 2), feed=Feed.HISTORY)
    with model.snapshot() as view:
        assert [each.count for each in view.windows.versions(*KEY)] == [2]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_text_that_a_spreadsheet_takes_for_a_formula_is_defused(text: str) -> None:
    assert defused(text) == f"'{text}"
    assert defused(f"a{text}") == f"a{text}"


def test_a_csv_file_has_all_rows_and_no_formula(model: ReadModel) -> None:
    evil = "=HYPERLINK(A1)"
    take_rows(model, row("month:2024-10", 5, targets=[{"target_id": evil, "value": 5, "reached": True}]))
    days = [
        f"day:20{year:02d}-{month:02d}-{day:02d}"
        for year in range(20, 24)
        for month in range(1, 13)
        for day in range(1, 29)
    ]
    take_rows(model, *(row(day, 1) for day in days))
    with model.snapshot() as view:
        text = "".join(csv_lines(view, WindowsParameters()))
    lines = text.split("\r\n")
    assert lines[0].startswith("\ufeffmetric,scope,period,")
    assert len(lines) == len(days) + 3  # header, month, nothing after the last line end
    assert f"'{evil}=5" in lines[1]
