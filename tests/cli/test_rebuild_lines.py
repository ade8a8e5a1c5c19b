"""The lines of `milestones rebuild --diff`."""

from __future__ import annotations

import pytest

from streams.cli.rebuild import _line
from streams.operations.rebuild_diff import RebuildDifference

DAY = "deliveries/model=SU7/day:2024-10-07"
FIRST = "deliveries/model=SU7/first:day/exceeds:1000"


def row(count: int, hour: int = 9) -> dict[str, object]:
    return {"count": count, "by_hour": [count if number == hour else 0 for number in range(24)], "targets": []}


@pytest.mark.parametrize(
    ("difference", "line"),
    [
        (RebuildDifference("row", DAY, row(1043), row(1041)), f"other         row        {DAY}  live 1,043, x. 1,041"),
        (RebuildDifference("row", DAY, row(1043), None), f"only live     row        {DAY}  1,043"),
        (RebuildDifference("row", DAY, None, row(1043)), f"only x.       row        {DAY}  1,043"),
        (RebuildDifference("row", DAY, row(7), row(7, hour=10)), f"other hours   row        {DAY}  7"),
        (
            RebuildDifference("row", DAY, {"count": 7, "targets": []}, {"count": 7, "targets": [("t", 7, True)]}),
            f"other targets row        {DAY}  7",
        ),
        (
            RebuildDifference("milestone", f"{DAY}/exceeds:1000", {"period": "day:2024-10-07"}, None),
            f"only live     milestone  {DAY}/exceeds:1000",
        ),
        (
            RebuildDifference("milestone", FIRST, {"period": "day:2024-10-07"}, {"period": "day:2024-10-06"}),
            f"other         milestone  {FIRST}  live day:2024-10-07, x. day:2024-10-06",
        ),
    ],
)
def test_a_difference_says_which_side_has_what(difference: RebuildDifference, line: str) -> None:
    assert _line(difference, "x.") == line
