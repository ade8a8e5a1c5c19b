"""`milestones quarantine`: single records to skip."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from schemas.instants import utc_text
from schemas.notes import Place, Quarantine
from streams.cli.operators import one_line, operator
from streams.cli.options import IDENTIFIER, TEXT, WholeNumber, business_text, with_settings
from streams.cli.printable import as_json, printable
from streams.cli.running import run
from streams.context import Context, wall_clock_us
from streams.operations.quarantine import lift, quarantine, standing_orders

if TYPE_CHECKING:
    from streams.settings import Settings


class _AddByDefault(click.Group):
    """`milestones quarantine TOPIC ...` is `milestones quarantine add TOPIC ...`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands:
            args = ["add", *args]
        return super().resolve_command(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, "TOPIC PARTITION OFFSET --reason TEXT")
        formatter.write_usage(ctx.command_path, "list|lift [ARGS]...")


@click.group(name="quarantine", cls=_AddByDefault, context_settings={"ignore_unknown_options": True})
def command() -> None:
    """Skip one record that a worker cannot apply.

    A worker that ends because of a record names it, with the command to skip it. The record becomes a dead
    letter with the reason `quarantined` that says who, when and why; it is counted in the books, and can be replayed
    (milestones dead-letters replay) once a corrected version runs.

    TOPIC, PARTITION and OFFSET say where it was published. A running worker notices by itself and reopens the partition, which
    takes up to half a minute. A record that has already been applied cannot be skipped: milestones correct void takes it back.
    """


@command.command()
@click.argument("topic", type=IDENTIFIER)
@click.argument("partition", type=WholeNumber(min=0))
@click.argument("offset", type=WholeNumber(min=0))
@click.option("--reason", type=TEXT, required=True, help="Why, one line; it goes into the dead letter.")
@click.option("--by", type=TEXT, default=None, help="Name of the operator (default: user and host).")
@with_settings
def add(
    topic: str,
    partition: int,
    offset: int,
    reason: str,
    by: str | None,
    settings: Settings,
) -> None:
    """Skip a record; the word add is optional."""
    place = Place(topic, partition, offset)
    order = Quarantine(reason=one_line(reason, "--reason"), by=operator(by), at=utc_text(wall_clock_us()))
    run(settings, quarantine(Context(settings), place, order))
    click.echo(f"{place} will be skipped: as a dead letter of reason quarantined")
    click.echo(
        "start the workers that have ended; one that runs goes on without it by itself, within about "
        f"{2 * settings.session_timeout_s:.0f} s",
        err=True,
    )


@command.command(name="list")
@click.option("--json", "as_lines", is_flag=True, help="One record per line.")
@with_settings
def list_(
    as_lines: bool,
    settings: Settings,
) -> None:
    """Show what is or will be skipped."""
    found = run(settings, standing_orders(Context(settings)))
    for standing in found:
        place, order = standing.place, standing.order
        if as_lines:
            click.echo(as_json({**place._asdict(), **order.model_dump(), "state": standing.state}))
        else:
            click.echo(
                printable(
                    f"{place}  {standing.state}  {business_text(order.at, settings.timezone)}  {order.by}: {order.reason}"
                )
            )
    if not found:
        click.echo("nothing is in quarantine", err=True)


@command.command(name="lift")
@click.argument("topic", type=IDENTIFIER)
@click.argument("partition", type=WholeNumber(min=0))
@click.argument("offset", type=WholeNumber(min=0))
@with_settings
def lift_(topic: str, partition: int, offset: int, settings: Settings) -> None:
    """Apply a record after all, if it has not been skipped yet."""
    place = Place(topic, partition, offset)
    run(settings, lift(Context(settings), place))
    click.echo(f"{place} will be applied when it is reached")
