"""`--language`, and `MILESTONES_LANGUAGE`: sentences about milestones in Chinese."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import click
import pytest
from click.testing import CliRunner

from schemas.codec import encode_milestone
from streams.cli import group
from streams.cli.list import _Filter, _Printer
from streams.cli.options import language_option
from streams.demo.display import Display
from streams.demo.following import Seen
from streams.demo.playing import Playing
from streams.settings import Settings
from streams.settings_file import read_settings
from tests.contract.goldens import milestone_sample
from tests.support.outputs import Record
from tests.support.small_demo import small_story

if TYPE_CHECKING:
    from pathlib import Path

ENGLISH = (
    "2024-11-16  deliveries reached 100,000 in all, on 16 Nov 2024: 100,000  [deliveries/all/total/every:100000:100000]"
)
CHINESE = "2024-11-16  累计交付量于2024年11月16日达到 100,000 辆  [deliveries/all/total/every:100000:100000]"


@click.command()
@language_option
def told(language: str) -> None:
    """Say which language it is."""
    click.echo(language)


@pytest.mark.parametrize(
    ("arguments", "variable", "language"),
    [
        ([], None, "en"),
        ([], "", "en"),
        ([], "zh", "zh"),
        (["--language", "zh"], None, "zh"),
        (["--language", "en"], "zh", "en"),
    ],
)
def test_the_option_goes_before_the_variable(arguments: list[str], variable: str | None, language: str) -> None:
    done = CliRunner().invoke(told, arguments, env={"MILESTONES_LANGUAGE": variable})
    assert (done.exit_code, done.output) == (0, f"{language}\n")


def test_the_variable_is_no_setting_and_hinders_no_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    plain = read_settings()
    monkeypatch.setenv("MILESTONES_LANGUAGE", "zh")
    assert read_settings() == plain


@pytest.mark.parametrize("name", ["list", "explain", "demo"])
def test_another_language_is_refused(name: str) -> None:
    done = CliRunner().invoke(group, [name, "--language", "fr"])
    assert done.exit_code == 2
    assert "'fr' is not one of 'en', 'zh'" in done.output


@pytest.mark.parametrize(("language", "line"), [("en", ENGLISH), ("zh", CHINESE)])
def test_the_list_and_the_demo_print_lines_of_the_language(
    language: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    event = milestone_sample("unit")
    printer = _Printer(_Filter(None, None, None, None), None, language)
    printer.take(cast("Any", Record(event.subject.encode(), encode_milestone(event))))
    assert capsys.readouterr().out == f"{line}\n"
    story = small_story()
    Display(story, Playing(), Seen(Settings(), "SU7"), language).raised(event)
    assert capsys.readouterr().out == f"{line}\n"


def test_a_demo_that_only_sums_up_prints_no_milestone_as_it_comes(capsys: pytest.CaptureFixture[str]) -> None:
    Display(small_story(), Playing(), Seen(Settings(), "SU7"), None).raised(milestone_sample("unit"))
    assert capsys.readouterr().out == ""


def test_the_list_as_json_is_the_event_of_the_topic(capsys: pytest.CaptureFixture[str]) -> None:
    event = milestone_sample("unit")
    printer = _Printer(_Filter(None, None, None, None), None, None)
    printer.take(cast("Any", Record(event.subject.encode(), encode_milestone(event))))
    assert capsys.readouterr().out == f"{encode_milestone(event).decode()}\n"
