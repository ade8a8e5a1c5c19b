"""`milestones move`: continues from a state mirrored from another cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from streams.cli.options import with_settings
from streams.cli.printable import as_json
from streams.cli.running import run
from streams.context import Context
from streams.operations.move import move

if TYPE_CHECKING:
    from streams.settings import Settings


@click.command()
@click.option("--json", "as_lines", is_flag=True, help="One source partition per line.")
@with_settings
def command(
    as_lines: bool,
    settings: Settings,
) -> None:
    """Continue from a state mirrored from another cluster.

    For a mirror whose offsets differ. To be run while the workers are stopped: every source is read from its beginning here. Events counted before are known and
    count once, those that no longer exist stay counted, and no milestone is published twice. If the state fits the sources,
    nothing is done.
    """
    moved = run(settings, move(Context(settings)))
    for one in moved:
        topic, partition = one.source
        if as_lines:
            document = {
                "topic": topic,
                "partition": partition,
                "before": one.before,
                "first": one.first,
                "end": one.end,
            }
            click.echo(as_json(document))
        else:
            click.echo(
                f"{topic}-{partition}  was applied up to {one.before:,}, is read here from {one.first:,} to {one.end:,}"
            )
    click.echo("start the workers" if moved else "nothing to do: the state fits the sources as they are", err=True)
