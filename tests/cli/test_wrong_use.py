"""A command line that cannot be understood ends like every other mistake: one line, and exit code 2."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click
import pytest

from streams.cli import COMMANDS, group, main

if TYPE_CHECKING:
    from collections.abc import Iterator


def commands(
    parent: click.Group = group, names: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands, the groups among them too, with what is typed to call them."""
    context = click.Context(parent)
    for name in parent.list_commands(context):
        command = parent.get_command(context, name)
        assert command is not None
        yield (*names, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*names, name))


ALL = dict(commands())


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line on stderr of a command that ends with 2."""
    monkeypatch.setattr(sys, "argv", ["milestones", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, ""), arguments
    (line,) = err.splitlines()
    return line


def test_there_are_commands_within_commands() -> None:
    assert ("dead-letters", "replay") in ALL
    assert len(ALL) > len(COMMANDS)


@pytest.mark.parametrize("names", ALL, ids=" ".join)
def test_an_option_that_no_command_has_is_told_in_one_line_that_names_the_command(
    names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = said(monkeypatch, capsys, *names, "--xyzzy")
    # Without a command of its own, `quarantine` adds.
    command = "milestones quarantine add" if names == ("quarantine",) else " ".join(("milestones", *names))
    assert line == f"{command}: there is no option --xyzzy; see {command} --help"


@pytest.mark.parametrize(
    ("names", "option"),
    [
        (names, option.opts[-1])
        for names, command in ALL.items()
        for option in command.params
        if isinstance(option, click.Option) and not option.is_flag
    ],
    ids=lambda each: each if isinstance(each, str) else " ".join(each),
)
def test_an_option_without_its_value_is_told_in_one_line_that_names_both(
    names: tuple[str, ...], option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = " ".join(("milestones", *names))
    line = said(monkeypatch, capsys, *names, option)
    assert line.replace("2 arguments", "an argument") == (
        f"{command}: option {option} requires an argument; see {command} --help"
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["wndows"], "milestones: no such command 'wndows'; did you mean windows? See milestones --help"),
        (["--nope"], "milestones: there is no option --nope; see milestones --help"),
        (
            ["dead-letters", "nope"],
            "milestones dead-letters: no such command 'nope'; see milestones dead-letters --help",
        ),
        (
            ["publish", "--tpic", "x"],
            "milestones publish: there is no option --tpic; did you mean --topic? See milestones publish --help",
        ),
        (["publish"], "milestones publish: FILE|- is missing; see milestones publish --help"),
        (
            ["topics", "apply", "now"],
            "milestones topics apply: got unexpected extra argument (now); see milestones topics apply --help",
        ),
        (
            ["windows", "--json=3"],
            "milestones windows: option --json does not take a value; see milestones windows --help",
        ),
        (
            ["windows", "--limit", "many"],
            "milestones windows: --limit: 'many' is no whole number of at least 1; see milestones windows --help",
        ),
        (
            ["broker", "--port", "99999"],
            "milestones broker: --port: '99999' is no whole number from 1 to 65,535; see milestones broker --help",
        ),
        (
            ["list", "--limit", "9" * 26],
            f"milestones list: --limit: '{'9' * 26}' is too large: give at most 9,223,372,036,854,775,807; see milestones list --help",
        ),
        (
            ["windows", "--timeout", "nan"],
            "milestones windows: --timeout: 'nan' is no number from 1 to 86,400; see milestones windows --help",
        ),
        (
            ["list", "--language", "fr"],
            "milestones list: --language: 'fr' is not one of 'en', 'zh'; see milestones list --help",
        ),
        (
            ["order"],
            "milestones order: give an order number, or --vin VIN, or --event ID; see milestones order --help",
        ),
        (
            ["backtest", "--by", "2024-13-01"],
            "milestones backtest: --by: '2024-13-01' is no date, such as 2024-10-07; see milestones backtest --help",
        ),
        (
            ["explain", " "],
            "milestones explain: MILESTONE_ID|METRIC/SCOPE/PERIOD: it is empty: give a value; see milestones explain --help",
        ),
        (
            ["windows", "--scope", ""],
            "milestones windows: --scope: it is empty: give a value, or leave the option out; see milestones windows --help",
        ),
        (["windows", "a\nb\x1b[2J"], None),
        (
            ["windows", "--config", "a\nb\x1b[2J"],
            r"milestones: a\x0ab\x1b[2J: No such file or directory; name a readable file with --config",
        ),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_each_kind_of_wrong_use_is_one_line(
    arguments: list[str], line: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = said(monkeypatch, capsys, *arguments)
    assert found.isprintable()
    assert found == (line or found)


@pytest.mark.parametrize(
    ("names", "parameter"),
    [
        (names, parameter)
        for names, command in ALL.items()
        for parameter in command.params
        if isinstance(parameter.type, click.Path)
    ],
    ids=lambda each: each.name if isinstance(each, click.Parameter) else " ".join(each),
)
def test_an_empty_path_is_not_the_current_directory(
    names: tuple[str, ...],
    parameter: click.Parameter,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As of a variable of a script that is not set."""
    command = " ".join(("milestones", *names))
    given = (parameter.opts[-1], "") if isinstance(parameter, click.Option) else ("",)
    assert ": it is empty: give a value" in (line := said(monkeypatch, capsys, *names, *given))
    assert line.endswith(f"; see {command} --help")


#: The empty prefix is that of an installation without one.
_MAY_BE_EMPTY = {"--output-prefix", "--against"}


@pytest.mark.parametrize(
    ("names", "option"),
    [
        (names, option)
        for names, command in ALL.items()
        for option in command.params
        if isinstance(option, click.Option) and not option.is_flag
        if names != ("rebuild",) or option.opts[-1] not in _MAY_BE_EMPTY
    ],
    ids=lambda each: each.opts[-1] if isinstance(each, click.Option) else " ".join(each),
)
def test_an_empty_value_is_not_taken_for_no_option(
    names: tuple[str, ...], option: click.Option, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As of a variable of a script that is not set: `--source "$SOURCE"`."""
    line = said(monkeypatch, capsys, *names, option.opts[-1], *[""] * option.nargs)
    assert line.startswith(f"{' '.join(('milestones', *names))}: {option.opts[-1]}: "), line
    assert "it is empty: give a value" in line or "''" in line


def test_a_group_without_a_command_shows_its_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["milestones", "dead-letters"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "Commands:" in capsys.readouterr().err
