"""Totals of other systems on the rows: a wrong difference, an invented one and a missing one are found and named."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.outputs import RowControl, WindowRow
from schemas.rows import RowKey
from streams.audit.control_totals import Sent, SentTotals, compare_row_controls

KEY = RowKey("deliveries", "all", "day:2024-10-07")
FACTORY = "/factories/bj1"
NOW_MS = 1_728_345_600_000  # 2024-10-08T00:00:00Z
LONG_AGO_MS, JUST_NOW_MS = NOW_MS - 3_600_000, NOW_MS - 1_000
US = 1_728_340_000_000_000
AS_OF = "2024-10-07T22:26:40.000Z"


def row(count: int, *controls: RowControl) -> dict[RowKey, WindowRow]:
    fields: dict[str, Any] = {**KEY._asdict(), "start": "2024-10-07", "end": "2024-10-07"}
    more: dict[str, Any] = {
        "timezone": "Asia/Shanghai",
        "count": count,
        "targets": [],
        "status": "open",
        "restated": 0,
        "version": 1,
    }
    return {KEY: WindowRow(**fields, **more, updated_at=AS_OF, controls=list(controls))}


def control(count: int, difference: int, as_of: str = AS_OF, source: str = FACTORY) -> RowControl:
    return RowControl(source=source, count=count, difference=difference, as_of=as_of)


def sent(*totals: Sent) -> SentTotals:
    return SentTotals(NOW_MS, {(KEY, FACTORY): list(totals)} if totals else {})


OLD = Sent(US, "a", 5, LONG_AGO_MS)


@pytest.mark.parametrize(
    ("rows", "totals"),
    [
        (row(3), sent()),
        ({}, sent(OLD)),  # a scope that is not counted
        (row(3, control(5, -2)), sent(OLD)),
        (row(3, control(5, -2)), sent(OLD, Sent(US - 1_000_000, "z", 9, LONG_AGO_MS))),
        (row(3, control(5, -2)), sent(OLD._replace(as_of_us=US + 999))),
        (row(3, control(5, -2)), sent(OLD, Sent(US + 1_000_000, "b", 6, JUST_NOW_MS))),  # not taken yet
        (row(3, control(6, -3, "2024-10-07T23:00:00.000Z")), sent(OLD)),  # sent since the topic was read
        (row(3), sent(OLD._replace(appended_ms=JUST_NOW_MS))),
    ],
)
def test_rows_that_say_what_was_sent_are_right(rows: dict[RowKey, WindowRow], totals: SentTotals) -> None:
    assert compare_row_controls(rows, totals).differences == []


@pytest.mark.parametrize(
    ("rows", "totals", "line"),
    [
        (row(3, control(5, -1)), sent(OLD), "3 less the 5 of /factories/bj1 is given as -1"),
        (row(3, control(4, -1)), sent(OLD), f"/factories/bj1 has sent no total of 4 as of {AS_OF}"),
        (row(3), sent(OLD), "lacks the total of /factories/bj1, 5"),
        (
            row(3, control(5, -2)),
            sent(OLD, Sent(US + 1_000_000, "b", 6, LONG_AGO_MS)),
            "lacks the total of /factories/bj1, 6",
        ),
    ],
)
def test_a_total_that_is_wrong_on_its_row_is_named(
    rows: dict[RowKey, WindowRow], totals: SentTotals, line: str
) -> None:
    (difference,) = compare_row_controls(rows, totals).differences
    assert difference.line == f"deliveries/all/day:2024-10-07: {line}"
