"""`milestones scopes`: costs, an estimate, warnings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from streams.cli import scopes
from streams.errors import ExpectedError
from tests.support.outputs import row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROWS = [
    row(period, 5, scope=scope)
    for scope in ("all", "model=SU7", "model=YU7", "region=CN-11")
    for period in ("day:2024-10-06", "day:2024-10-07", "month:2024-10")
]


@pytest.fixture(autouse=True)
def topic(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The rows on the topic."""
    rows = list(ROWS)

    async def read_latest(*_: Any, kept: Callable[[bytes, bytes], bytes], **__: Any) -> dict[bytes, bytes]:
        records = {f"{one['metric']}/{one['scope']}/{one['period']}".encode(): json.dumps(one).encode() for one in rows}
        return {key: kept(key, value) for key, value in records.items()}

    monkeypatch.setattr(scopes, "read_latest", read_latest)
    return rows


def test_each_set_has_its_cost_and_another_one_is_estimated() -> None:
    done = CliRunner().invoke(scopes.command, ["--add", "region,model"])
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[:3] for line in lines[1:4]] == [["all", "1", "3"], ["model", "2", "6"], ["region", "1", "3"]]
    assert lines[4][:3] == ["together", "4", "12"]
    assert lines[5][:2] == ["model,region,", "about"]
    assert done.stderr == ""
    document = json.loads(CliRunner().invoke(scopes.command, ["--add", "model,region", "--json"]).stdout)
    assert document["last_day"] == "day:2024-10-07"
    assert document["estimate"]["set"] == "model,region"
    assert document["sets"][1]["rows"] == 6
    assert [limit["what"] for limit in document["limits"]] == ["model", "region", "scopes", "rows"]


def test_what_would_leave_is_said_by_set(topic: list[dict[str, Any]]) -> None:
    topic.append(row("day:2024-10-05", 1, scope="model=SU7"))
    done = CliRunner().invoke(scopes.command, ["--keep-days", "1"])
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[:3] for line in lines[-3:]] == [["all", "0", "0%"], ["model", "1", "14%"], ["region", "0", "0%"]]
    document = json.loads(CliRunner().invoke(scopes.command, ["--keep-days", "1", "--json"]).stdout)
    assert [(one["set"], one["rows"]) for one in document["would_leave"]] == [("model", 1)]


def test_what_is_near_a_limit_is_said(tmp_path: Path) -> None:
    config = tmp_path / "milestones.toml"
    config.write_text("[limits]\nvalues = 2\nrows = 11\n")
    done = CliRunner().invoke(scopes.command, ["--config", str(config)])
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == [
        "2 values of model are 100% of the limit of 2",
        "12 rows are beyond the limit of 11",
    ]


def test_without_rows_there_is_nothing_to_cost(topic: list[dict[str, Any]]) -> None:
    topic.clear()
    assert "no rows yet" in CliRunner().invoke(scopes.command, []).stderr


@pytest.mark.parametrize(
    ("add", "line"),
    [
        ("modle", "--add: there is no dimension 'modle'; did you mean model?"),
        ("model,model", "--add: name each dimension once"),
        ("factory", r"--add: \[factory\] is not counted alone"),
        ("model,factory", r"--add: \[factory\] is not counted alone"),
    ],
)
def test_a_set_of_which_nothing_is_known_is_refused(add: str, line: str) -> None:
    done = CliRunner().invoke(scopes.command, ["--add", add])
    assert isinstance(done.exception, ExpectedError)
    assert done.exception.exit_code == 2
    with pytest.raises(ExpectedError, match=line):
        raise done.exception


def test_a_set_that_is_counted_needs_no_estimate() -> None:
    assert "model is counted already" in CliRunner().invoke(scopes.command, ["--add", "model"]).stdout
