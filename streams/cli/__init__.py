"""The `milestones` command: one module per command group, imported on first use."""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from pathlib import Path

import click

from streams.errors import ExpectedError

#: Command name → module that holds it as `command`.
COMMANDS = {
    "backtest": "streams.cli.backtest",
    "broker": "streams.cli.broker",
    "contracts": "streams.cli.contracts",
    "correct": "streams.cli.correct",
    "dead-letters": "streams.cli.dead_letters",
    "demo": "streams.cli.demo",
    "doctor": "streams.cli.doctor",
    "forecasts": "streams.cli.forecasts",
    "explain": "streams.cli.explain",
    "gaps": "streams.cli.gaps",
    "list": "streams.cli.list",
    "move": "streams.cli.move",
    "order": "streams.cli.order",
    "publish": "streams.cli.publish",
    "quarantine": "streams.cli.quarantine",
    "rebuild": "streams.cli.rebuild",
    "reconcile": "streams.cli.reconcile",
    "schema": "streams.cli.schema",
    "scopes": "streams.cli.scopes",
    "topics": "streams.cli.topics",
    "verify": "streams.cli.verify",
    "violations": "streams.cli.violations",
    "web": "streams.cli.web",
    "windows": "streams.cli.windows",
    "worker": "streams.cli.worker",
}

_UNREACHABLE = 3
#: A disk is full, a quota or the largest size of a file is reached, a device fails.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


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


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="milestones", prog_name="milestones")
def group() -> None:
    """Counts a car maker's orders and deliveries from Kafka and raises each milestone exactly once."""


def main() -> None:
    """Runs the command line; expected failures end in one line on stderr and their exit code."""
    _prepare_output()
    try:
        code = group.main(standalone_mode=False)
    except ExpectedError as error:
        _say(str(error))
        if error.exit_code == _UNREACHABLE:
            # Do not wait for threads stuck on an unresponsive cluster or a DNS lookup.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(error.exit_code)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output (head, less) is gone: stop quietly.
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


def _prepare_output() -> None:
    """Makes output possible where there is none (`>&-`), and where it goes to a terminal that lacks the characters of a name."""
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _say(message: str) -> None:
    click.echo(f"milestones: {message}", err=True)
