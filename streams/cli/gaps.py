"""`milestones gaps`: records that were removed before they were read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from schemas.instants import utc_text
from streams.cli.operators import one_line, operator
from streams.cli.options import IDENTIFIER, TEXT, WholeNumber, business_text, with_settings
from streams.cli.printable import as_json, printable
from streams.cli.running import run
from streams.context import Context, wall_clock_us
from streams.kafka.log import Partition
from streams.operations.gaps import accept_gap, find_gaps

if TYPE_CHECKING:
    from streams.settings import Settings


@click.group(name="gaps")
def command() -> None:
    """Continue after records that were removed unread.

    If retention removes source records that no worker has read, the ledger partition that should read them stops and says so;
    the others continue. Publish the missing records again if you can, then accept the gap.
    """


@command.command(name="list")
@click.option("--json", "as_lines", is_flag=True, help="One gap per line.")
@with_settings
def list_(
    as_lines: bool,
    settings: Settings,
) -> None:
    """Show what is missing, and which losses were accepted."""
    found = run(settings, find_gaps(Context(settings)))
    for gap in found:
        note = gap.accepted
        if as_lines:
            said = None if note is None else note.model_dump()
            document = {"topic": gap.source.topic, "partition": gap.source.partition, "state": gap.state}
            click.echo(as_json({**document, "read": gap.read, "first": gap.first, "lost": gap.lost, "accepted": said}))
            continue
        line = (
            f"{gap.source.topic}-{gap.source.partition}  {gap.state}  read up to {gap.read:,}, begins at {gap.first:,}"
        )
        line += f", {gap.lost:,} lost" if gap.lost else ""
        line += f"  {business_text(note.at, settings.timezone)}  {note.by}: {note.reason}" if note is not None else ""
        click.echo(printable(line))
    if not found:
        click.echo("nothing is missing", err=True)


@command.command()
@click.argument("topic", type=IDENTIFIER)
@click.argument("partition", type=WholeNumber(min=0))
@click.option("--reason", type=TEXT, required=True, help="Why, one line.")
@click.option("--by", type=TEXT, default=None, help="Name of the operator (default: user and host).")
@with_settings
def accept(topic: str, partition: int, reason: str, by: str | None, settings: Settings) -> None:
    """Continue counting without what was removed.

    TOPIC and PARTITION are those of the source, as list shows them.
    """
    gap = run(
        settings,
        accept_gap(
            Context(settings),
            Partition(topic, partition),
            reason=one_line(reason, "--reason"),
            by=operator(by),
            at=utc_text(wall_clock_us()),
        ),
    )
    click.echo(
        f"{topic}-{partition}: {gap.first - gap.read:,} offsets are done without, {gap.read:,} to {gap.first - 1:,}"
    )
    click.echo("the worker that stands still goes on by itself within half a minute", err=True)
