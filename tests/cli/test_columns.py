"""Tables on the command line: a number is never cut."""

from __future__ import annotations

import pytest

from streams.cli.text_tables import lines_of, shortened
from streams.domain.hints.suggestions import nearest, period_fault, unknown

ROWS = [
    ("a-target-with-a-very-long-identifier-of-the-north", "1,234,567", "behind"),
    ("b", "5,962", "ahead"),
]


def lines(limit: int | None) -> list[str]:
    return list(lines_of(("target", "count", "state"), ROWS, numbers=["count"], names=["target"], limit=limit))


def test_what_is_piped_keeps_its_lines_whole() -> None:
    assert ROWS[0][0] in lines(None)[1]


@pytest.mark.parametrize("limit", [20, 30, 40, 60])
def test_a_narrow_terminal_shortens_names_and_never_numbers(limit: int) -> None:
    shown = lines(limit)
    assert all("1,234,567" in line or "5,962" in line for line in shown[1:])
    assert max(map(len, shown)) <= max(limit, 28)
    assert shown[1].startswith("a-ta") if limit < 40 else shown[1].startswith("a-target")


def test_numbers_are_set_to_the_right() -> None:
    assert lines(30)[2].index("5,962") + 5 == lines(30)[1].index("1,234,567") + 9


def test_a_shortened_name_keeps_its_beginning_and_its_end() -> None:
    assert shortened("su7-north-2024-10", 9) == "su7-\u20264-10"
    assert shortened("short", 9) == "short"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("SU7", "model=SU7"),
        ("model=su7", "model=SU7"),
        ("model=SU8", "model=SU7"),
        ("CN-11", "model=SU7,region=CN-11"),
        ("x", None),
    ],
)
def test_the_nearest_name_has_what_was_written_as_a_part_or_is_spelt_alike(name: str, found: str | None) -> None:
    assert nearest(name, {"all", "model=SU7", "model=SU7,region=CN-11"}) == found


def test_a_line_lists_what_is_known_and_not_all_of_a_thousand() -> None:
    assert unknown("scope", "x", ()) == "there is no scope 'x': none is known yet"
    line = unknown("scope", "x", [f"model=M{number}" for number in range(1000)])
    assert line.endswith("and 992 more")
    assert len(line) < 200


@pytest.mark.parametrize(
    "text",
    [
        "day",
        "day:",
        "day:2024",
        "month:2024-10",
        "year:2024",
        "holiday:national-day",
        "d",
        "holi",
        "day:2024-1",
        "day:2024-02-29",
        "day:2",
        "week:2026-W53",
        "half:FY2025-H",
        "year:FY",
        "rolling:7d:2024-10-3",
        "campaign:",
        "campaign:su7-",
        "holiday:national-day:20",
        "total",
    ],
)
def test_the_beginning_of_a_period_is_one(text: str) -> None:
    assert period_fault(text) is None


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2024-10", "month:2024-10"),
        ("2024", "year:2024"),
        ("2024-10-07", "day:2024-10-07"),
        ("months:2024", "month"),
        ("day:x", "day:2024-10-07"),
        ("", "day:2024-10-07"),
        ("day:2024-13-01", "day:2024-10-07"),
        ("day:2024-13", "day:2024-10-07"),
        ("day:2023-02-29", "day:2024-10-07"),
        ("day:0000-01-01", "day:2024-10-07"),
        ("day:FY2024", "day:2024-10-07"),
        ("month:2024-13", "month:2024-10"),
        ("week:2024-W54", "week:2024-W41"),
        ("quarter:2024-Q5", "quarter:2024-Q4"),
        ("half:2024-H3", "half:2024-H2"),
        ("year:2024-10", "year:2024"),
        ("rolling:7d:2024-02-30", "rolling:7d:2024-10-07"),
        ("campaign:SU7", "campaign:su7-launch"),
        ("holiday:national-day:2024-10", "holiday:national-day:2024"),
        ("total:2024", "write total"),
    ],
)
def test_what_begins_no_period_is_told_with_what_may_have_been_meant(text: str, meant: str) -> None:
    assert meant in (period_fault(text) or "")
