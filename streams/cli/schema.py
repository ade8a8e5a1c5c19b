"""`milestones schema check`: the verdict on events before they are published."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import click

from streams.cli.options import TEXT, FilePath
from streams.cli.printable import as_json, printable
from streams.errors import ExpectedError
from streams.events.checking import EventChecker, EventVerdict
from streams.installation import load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

#: If there are more events than this, only those that would be rejected are shown.
_SHOWN_WHOLE: Final = 20
_LARGEST_BYTES: Final = 256 << 20


@click.group(name="schema")
def command() -> None:
    """Try events against the contract."""


@command.command()
@click.argument("file", metavar="FILE|-", type=FilePath(allow_dash=True))
@click.option(
    "--topic", type=TEXT, default=None, help="The topic that the events are on (default: that of their type)."
)
@click.option("--json", "in_json", is_flag=True, help="One object per event.")
@click.option("--config", type=FilePath(), default=None, help="Settings file (default: milestones.toml).")
def check(file: Path, topic: str | None, in_json: bool, config: Path | None) -> None:
    """Show what a worker would make of the events in FILE, without Kafka.

    FILE holds events as publish reads them, or records: objects with value (or value_b64), key, headers and topic. Each is
    either accepted, with its topic, key, home partition and canonical form, and the deviations tolerated; or rejected, with the
    reason. Exit code 1 if any would become a dead letter.
    """
    settings = load_settings(config, {})
    name = "stdin" if str(file) == "-" else str(file)
    try:
        verdicts = EventChecker(settings).check(_content(file), topic)
    except ValueError as error:
        raise ExpectedError(f"{name}: {error}", exit_code=2) from None
    if not verdicts:
        raise ExpectedError(f"{name} is empty; give one event, or many", exit_code=2)
    if in_json:
        for verdict in verdicts:
            click.echo(as_json(verdict.document()))
    else:
        _print(verdicts, name)
    rejected = Counter(verdict.rejection.reason for verdict in verdicts if verdict.rejection is not None)
    if rejected:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in rejected.most_common())
        many = f"{rejected.total():,} of {len(verdicts):,} events" if len(verdicts) > 1 else "the event"
        raise ExpectedError(f"{name}: {many} would be rejected ({reasons})", exit_code=1)
    click.echo(f"{len(verdicts):,} event{'s' if len(verdicts) > 1 else ''} would be accepted", err=True)


def _content(file: Path) -> bytes:
    if str(file) == "-":
        return click.get_binary_stream("stdin").read()
    try:
        if file.stat().st_size > _LARGEST_BYTES:
            raise ExpectedError(f"{file} is larger than 256 MiB: try its first lines, or publish it", exit_code=2)
        return file.read_bytes()
    except OSError as error:
        raise ExpectedError(f"{file}: {error.strerror}; name a file of events, or - for stdin", exit_code=2) from None


def _print(verdicts: Sequence[EventVerdict], name: str) -> None:
    whole = len(verdicts) <= _SHOWN_WHOLE
    for verdict in verdicts:
        where = f"{name}:{verdict.number}"
        if verdict.rejection is not None:
            click.echo(f"{where}: rejected: {verdict.rejection.reason}: {printable(verdict.rejection.message)}")
        elif whole:
            home = "" if verdict.partition is None else f", partition {verdict.partition}"
            click.echo(f"{where}: accepted: {verdict.topic}, key {printable(verdict.key or '')}{home}")
            for line in verdict.made_good:
                click.echo(f"  made good: {printable(line)}")
            click.echo(f"  {as_json(verdict.event)}")
