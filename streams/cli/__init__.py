"""The `milestones` command: one module per command group, imported on first use."""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.exceptions import NoArgsIsHelpError

from streams.cli.printable import printable
from streams.cli.wrong_use import in_one_line
from streams.errors import ExpectedError

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME = "milestones"
#: The commands by what they are for, in the order of the help.
SECTIONS = {
    "Try it": ("demo", "broker"),
    "Run it": ("doctor", "topics", "worker", "web"),
    "Publish events": ("publish", "schema", "contracts"),
    "See what has been counted": ("windows", "list", "forecasts", "order", "explain", "violations"),
    "Check it": ("verify", "reconcile", "scopes", "backtest"),
    "Repair": ("dead-letters", "correct", "quarantine", "gaps", "rebuild", "move"),
}
#: Command name → module that holds it as `command`.
COMMANDS = {name: f"streams.cli.{name.replace('-', '_')}" for names in SECTIONS.values() for name in names}
_LONGEST = max(map(len, COMMANDS))
#: What is left of a line beside the name.
_WIDEST = 80 - 6 - _LONGEST

_UNREACHABLE = 3
#: A disk is full, a quota or the largest size of a file is reached, a device fails.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


class _ReaderGoneError(Exception):
    """Whoever read our output (head, less) has ended."""


@contextlib.contextmanager
def _reader_noted() -> Iterator[None]:
    """Click would end with 1, which says that a check has found something."""
    try:
        yield
    except BrokenPipeError:
        raise _ReaderGoneError from None


class _LazyGroup(click.Group):
    """Imports a command's module on first use: `milestones --help` and `doctor` start without Kafka clients."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command = importlib.import_module(module).command
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}.command is not a command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command; proposes the one that was probably meant if there is none of that name."""
        near = get_close_matches(args[0], COMMANDS, 1)
        if args[0] not in COMMANDS and not args[0].startswith("-") and near:
            ctx.fail(f"No such command '{args[0]}'; did you mean {near[0]}?")
        return super().resolve_command(ctx, args)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parses the command line, and prints a help that it asks for."""
        with _reader_noted():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command."""
        with _reader_noted():
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands in their sections."""
        for section, names in SECTIONS.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            rows = [
                (name.ljust(_LONGEST), command.get_short_help_str(_WIDEST)) for name, command in commands if command
            ]
            with formatter.section(section):
                formatter.write_dl(rows)


@click.group(
    name=_NAME,
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with milestones demo; on your own cluster, with milestones doctor. Each command has its own --help.",
)
@click.version_option(package_name="milestones", prog_name=_NAME)
def group() -> None:
    """Count a car maker's orders, deliveries and production from Kafka, and raise each milestone exactly once."""


def main() -> None:
    """Runs the command line; expected failures end in one line on stderr and their exit code."""
    _prepare_output()
    try:
        code = group.main(prog_name=_NAME, standalone_mode=False, color=_in_colour())
    except ExpectedError as error:
        _say(str(error))
        if error.exit_code == _UNREACHABLE:
            # Do not wait for threads stuck on an unresponsive cluster or a DNS lookup.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(error.exit_code)
        sys.exit(error.exit_code)
    except NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except click.ClickException as error:
        click.echo(in_one_line(error, group, sys.argv[1:]), err=True)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
    except (_ReaderGoneError, BrokenPipeError):
        # Stop quietly.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if error.errno not in _FULL or error.filename is not None:
            raise
        _say(f"cannot write: {error.strerror}; make room where the output goes, and run it again")
        # What is left in the buffer cannot be written either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


def _in_colour() -> bool | None:
    """No, if the environment or the terminal asks for none (https://no-color.org), else where the output is a terminal."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


def _prepare_output() -> None:
    """Makes output possible where there is none (`>&-`, `2>&-`), and where it goes to a terminal that lacks the characters of a name."""
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - likewise
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _say(message: str) -> None:
    click.echo(f"{_NAME}: {printable(message)}", err=True)
