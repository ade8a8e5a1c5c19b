"""`milestones windows`: which rows are shown, and how many."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from streams.cli import windows
from streams.errors import ExpectedError
from tests.support.outputs import row

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = [
    row(period, number, scope=scope)
    for scope in ("all", "model=SU7")
    for number, period in enumerate(("day:2024-10-07", "day:2024-10-06", "month:2024-10", "year:2024"), 1)
]


@pytest.fixture(autouse=True)
def topic(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The keys that a reading of the topic has kept."""
    kept: list[bytes] = []

    async def read_latest(*_: Any, wanted: Callable[[bytes], bool], **__: Any) -> dict[bytes, bytes]:
        records = {f"{one['metric']}/{one['scope']}/{one['period']}".encode(): json.dumps(one).encode() for one in ROWS}
        found = {key: value for key, value in records.items() if wanted(key)}
        kept.extend(found)
        return found

    monkeypatch.setattr(windows, "read_latest", read_latest)
    return kept


def shown(*arguments: str) -> tuple[list[str], Result]:
    result = CliRunner().invoke(windows.command, [*arguments, "--json", "--no-web"])
    assert result.exit_code == 0, result.output
    return [f"{one['scope']} {one['period']}" for one in map(json.loads, result.stdout.splitlines())], result


def test_rows_come_by_scope_and_date() -> None:
    found, result = shown("--scope", "all")
    assert found == ["all year:2024", "all month:2024-10", "all day:2024-10-06", "all day:2024-10-07"]
    assert result.stderr == ""


def test_the_first_of_many_are_those_that_would_come_first_and_the_rest_is_counted() -> None:
    found, result = shown("--limit", "5")
    assert found == [*shown("--scope", "all")[0], "model=SU7 year:2024"]
    assert "3 more rows" in result.stderr


def test_only_what_is_asked_for_is_kept_of_the_topic(topic: list[bytes]) -> None:
    assert shown("--scope", "model=SU7", "--period", "day:")[0] == [
        "model=SU7 day:2024-10-06",
        "model=SU7 day:2024-10-07",
    ]
    assert len(topic) == 2


def test_an_answer_without_rows_says_whether_there_are_any() -> None:
    result = CliRunner().invoke(windows.command, ["--metric", "reversals", "--no-web"])
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no such rows\n")


@pytest.mark.parametrize(
    ("period", "fault"),
    [
        (
            "week:2024-W41",
            "week is not among the windows of the settings; write day:2024-10-07, month:2024-10, year:2024",
        ),
        ("rolling:7d:2024-10-07", "rolling is not among the windows of the settings; write day:2024-10-07"),
        ("holiday:nix:2024", "'holiday:nix:2024': nix is not among the holidays of the settings"),
        ("day:2150-01-01", "'day:2150-01-01' is no period; write day:2024-10-07"),
        ("day:2024-13-01", "no day begins with '2024-13-01': write day:2024-10-07"),
    ],
)
def test_a_period_that_cannot_be_is_refused_and_not_said_to_have_no_rows(period: str, fault: str) -> None:
    result = CliRunner().invoke(windows.command, ["--period", period, "--no-web"])
    assert isinstance(result.exception, ExpectedError)
    assert (result.exception.exit_code, result.stdout) == (2, "")
    assert str(result.exception).startswith(f"--period: {fault}")


def test_a_period_that_may_come_has_no_rows() -> None:
    result = CliRunner().invoke(windows.command, ["--period", "day:2099-10-07", "--no-web"])
    assert (result.exit_code, result.stderr) == (0, "no such rows\n")
