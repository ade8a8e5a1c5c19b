"""A command line that cannot be understood, told in one line: the command, what is wrong, and where the right use is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from streams.cli.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Names of options, which click puts in quotes.
_QUOTED = re.compile(r"'(--?[a-z-]+)'")


def in_one_line(error: click.ClickException, root: click.Group, arguments: Sequence[str]) -> str:
    """What click has to say, which takes several lines of its own, in the form of all other errors.

    Args:
        error: What click has raised.
        root: The command of which all others are parts.
        arguments: What followed its name.
    """
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context is not None else _command_of(root, arguments)
    told = printable(_what(error).strip().rstrip("."))
    return f"{command}: {told}{' See' if told.endswith('?') else '; see'} {command} --help"


def _what(error: click.ClickException) -> str:
    """What is wrong, without click's capital at the start."""
    if isinstance(error, click.NoSuchOption):
        meant = " or ".join(sorted(error.possibilities or ()))
        return f"there is no option {error.option_name}{f'; did you mean {meant}?' if meant else ''}"
    if isinstance(error, click.MissingParameter):
        return f"{_name(error)} is missing"
    if isinstance(error, click.BadParameter):
        name, message = _name(error), " ".join(error.message.split())
        return f"{name}: {message}" if name else message
    message = _QUOTED.sub(r"\1", " ".join(error.format_message().split()))
    return message[:1].lower() + message[1:]


def _name(error: click.BadParameter) -> str:
    """The option or argument as users write it."""
    if error.param_hint is not None:
        return error.param_hint if isinstance(error.param_hint, str) else " or ".join(error.param_hint)
    if isinstance(error.param, click.Option):
        return " or ".join(error.param.opts)
    return error.param.make_metavar(error.ctx) if error.param is not None and error.ctx is not None else ""


def _command_of(root: click.Group, arguments: Sequence[str]) -> str:
    """The command that arguments begin with, for errors which do not say: `milestones dead-letters replay`."""
    names, command = [root.name or ""], click.Context(root, info_name=root.name)
    for argument in arguments:
        if not isinstance(command.command, click.Group):
            break
        following = command.command.get_command(command, argument)
        if following is None:
            break
        names.append(argument)
        command = click.Context(following, command, info_name=argument)
    return " ".join(names)
