"""The contract's stories, settings and commands are run."""

from __future__ import annotations

import json
import os
import shlex
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
import pytest
from click.testing import CliRunner

from schemas.outputs import AlertEnd, ForecastQuality, ForecastState, MilestoneKind, MilestoneType
from streams.cli import COMMANDS, group, main
from streams.domain.forecasts import forecast
from streams.domain.time.daytypes import HOLIDAY, WORK_DAY, DayTypes
from streams.errors import ExpectedError
from streams.holidays import holiday_years
from streams.installation import load_settings
from streams.settings import Settings
from streams.settings_file import FILE_NAME, STORY
from streams.totals.forecasts import NEWS_SHARE
from tests.contract import story
from tests.contract.document import Block, blocks, blocks_of, codes, rows_of, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel


@pytest.fixture(autouse=True)
def _nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes all other settings: an empty working directory, and no environment variables."""
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.startswith("MILESTONES_")]:
        monkeypatch.delenv(variable)


# Milestones ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", blocks_of("milestones"), ids=str)
def test_a_story_of_the_document_publishes_what_it_says(block: Block) -> None:
    story.run(block.text)


@pytest.mark.parametrize("block", blocks_of("forecasts"), ids=str)
def test_a_story_about_forecasts_raises_and_ends_what_it_says(block: Block) -> None:
    story.ForecastStory().run(block.text)


def test_a_story_that_says_too_little_or_too_much_fails() -> None:
    """Otherwise a story could claim anything."""
    rule = 'rule {name = "r", metric = "deliveries", window = "day", scope = ["model"], exceeds = 1}\n'
    happens = "count 2024-10-07 2\nat 2024-10-07T12:00:00+08:00\n"
    raised = "  raised deliveries/model=SU7/day:2024-10-07/exceeds:1 @1\n"
    story.run(rule + happens + raised)
    for wrong in (
        "  nothing",
        raised + raised,
        raised.replace("@1", "@2"),
        "  row deliveries/model=SU7/year:2024 count=3",
    ):
        with pytest.raises(AssertionError):
            story.run(rule + happens + wrong)


@pytest.mark.parametrize(
    ("check", "values"),
    [
        ("kinds", MilestoneKind),
        ("milestone-types", MilestoneType),
        ("alert-ends", AlertEnd),
        ("forecast-states", ForecastState),
        ("forecast-qualities", ForecastQuality),
    ],
)
def test_the_values_of_a_field_are_all_in_their_table(check: str, values: object) -> None:
    assert [codes(row[0])[0] for row in rows_of(check)] == list(get_args(values))


def test_every_kind_and_every_type_of_milestone_is_in_a_story() -> None:
    told = "\n".join(block.text for block in (*blocks_of("milestones"), *blocks_of("forecasts")))
    for row in rows_of("milestone-types"):
        assert codes(row[0])[0].split(".")[1] in told
    for example in (
        "/day:2024-10-07/exceeds:1000 ",
        "/first:day/exceeds:1000 ",
        "/record:day:",
        "/target:aim:20000 ",
        "/forecast-behind:aim",
        "/forecast-moved:aim",
    ):
        assert example in told


def test_the_numbers_about_forecasts_are_those_of_the_program() -> None:
    assert f"at most {forecast.HISTORY_DAYS} days back" in text()
    assert f"from fewer than {forecast.GOOD_DAYS} complete days" in text()
    assert f"moved by {NEWS_SHARE * 100:g} % of the value" in text()


# Settings -----------------------------------------------------------------------------------------------------------


def settings_of(block: Block) -> Settings:
    Path(FILE_NAME).write_text(block.text, encoding="utf-8")
    return load_settings()


def test_the_settings_of_the_document_are_the_defaults_with_the_rules_they_list() -> None:
    shown = settings_of(blocks_of("toml", "settings")[0])
    assert shown.model_copy(update={"rule": (), "target": ()}) == Settings()
    assert [rule.name for rule in shown.rule] == [
        "daily-1000",
        "daily-record",
        "double",
        "half-of-all",
        "month-at-risk",
    ]
    assert [target.target_id for target in shown.target] == ["su7-2024-10"]


def test_the_built_in_rules_are_those_of_the_document_and_there_is_no_target() -> None:
    built_in = load_settings()
    (block,) = blocks_of("toml", "settings", "built-in")
    assert settings_of(block) == built_in
    assert built_in.target == ()


def test_the_settings_of_the_demo_are_those_of_the_document() -> None:
    (block,) = blocks_of("toml", "settings", "demo")
    assert load_settings(STORY) == settings_of(block)


def test_a_calendar_of_ones_own_is_read_as_the_document_shows(tmp_path: Path) -> None:
    (block,) = blocks_of("json", "holidays")
    file = tmp_path / "works.json"
    file.write_text(block.text, encoding="utf-8")
    (year,) = holiday_years(str(file))
    assert [holiday.name for holiday in year.holidays] == ["works-holidays"]
    sorts = DayTypes((year,))
    assert (sorts.of(date(2026, 8, 10)), sorts.of(date(2026, 8, 22))) == (HOLIDAY, WORK_DAY)


@pytest.mark.parametrize("block", blocks_of("toml", "settings", "rejected:"), ids=str)
def test_a_mistake_in_the_settings_is_told_as_the_document_says(block: Block) -> None:
    with pytest.raises(ExpectedError) as caught:
        settings_of(block)
    assert block.info.partition("rejected: ")[2] in str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def _as_in_a_file(value: BaseModel) -> dict[str, Any]:
    return value.model_dump(exclude_defaults=True)


def test_every_setting_is_in_the_table_with_its_default() -> None:
    expected = {name: json.dumps(field.default, default=_as_in_a_file) for name, field in Settings.model_fields.items()}
    assert {codes(row[0])[0]: codes(row[1])[0] for row in rows_of("settings")} == expected


# Commands -----------------------------------------------------------------------------------------------------------


def leaves(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, with the words that call it."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from leaves(inner, (*words, name))
    else:
        yield words, command


@cache
def commands() -> dict[tuple[str, ...], click.Command]:
    """Every command by its words."""
    return dict(leaves(group))


def lines_of(*info: str) -> list[str]:
    found = [line for block in blocks() if block.info == " ".join(info) for line in block.text.splitlines()]
    assert found
    return found


def test_the_table_of_commands_is_complete() -> None:
    assert {codes(row[0])[0] for row in rows_of("commands")} == {
        " ".join(("milestones", *words)) for words in commands()
    }
    assert {words[0] for words in commands()} == set(COMMANDS)


def command_of(line: str) -> tuple[tuple[str, ...], click.Command, list[str]]:
    """The words of the command that a line runs, the command, and its arguments."""
    program, *arguments = shlex.split(line)
    assert program == "milestones"
    found: click.Command = group
    words: tuple[str, ...] = ()
    while isinstance(found, click.Group) and arguments:
        name, inner, arguments = found.resolve_command(click.Context(found), arguments)
        assert name is not None
        assert inner is not None
        words, found = (*words, name), inner
    return words, found, arguments


@pytest.mark.parametrize("line", lines_of("sh"))
def test_a_command_line_of_the_document_is_understood(line: str) -> None:
    words, command, arguments = command_of(line)
    command.make_context(words[-1], arguments)


def test_every_command_has_a_line_in_the_document() -> None:
    shown = {command_of(line)[0] for line in lines_of("sh")}
    shown |= {command_of(line)[0] for line in lines_of("sh", "run") if " --" not in line}
    assert shown == set(commands())


@pytest.mark.parametrize("block", [block for block in blocks_of("sh", "run") if block.info == "sh run"], ids=str)
def test_command_lines_of_the_document_that_need_no_cluster_end_with_0(block: Block) -> None:
    for line in block.text.splitlines():
        result = CliRunner().invoke(group, shlex.split(line)[1:])
        assert result.exit_code == 0, (line, result.output)


def test_all_commands_but_those_that_the_document_names_take_a_cluster() -> None:
    without = {words for words, command in commands().items() if "bootstrap_servers" not in names_of(command)}
    assert {words[0] for words in without} == {"broker", "contracts", "schema"}
    assert "All but `broker`, which is a cluster itself, and `contracts` and `schema`, which need none" in text()


def names_of(command: click.Command) -> set[str | None]:
    return {parameter.name for parameter in command.params}


def test_the_exit_codes_of_the_document_are_those_that_commands_end_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """0, 1 and 2 are tested here; other tests cover an absent cluster and an interruption."""

    def exit_code(*arguments: str) -> object:
        monkeypatch.setattr("sys.argv", ["milestones", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code

    assert [row[0] for row in rows_of("exit-codes")] == ["0", "1", "2", "3", "130"]
    assert exit_code("contracts", "check") == 0
    assert exit_code("contracts", "export", "exported") == 0
    path = Path("exported/order.placed.v1.json")
    path.write_text(path.read_text().replace('"channel"', '"way"'))
    assert exit_code("contracts", "check", "exported") == 1
    assert exit_code("contracts", "check", "--no-such-option") == 2
    Path(FILE_NAME).write_text("partitions = 0")
    assert exit_code("windows") == 2
