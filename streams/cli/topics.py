"""`milestones topics`: the topics of the contract on the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from streams.cli.acls import command as acls
from streams.cli.options import with_settings
from streams.cli.running import run
from streams.kafka.admin import TopicPlan, apply_topics, plan_topics, refuse

if TYPE_CHECKING:
    from streams.settings import Settings

_NOTHING = "nothing to do: the topics are as the contract needs them"


@click.group(name="topics")
def command() -> None:
    """Show or create the topics, and show who needs which rights."""


command.add_command(acls)


@command.command()
@with_settings
def plan(settings: Settings) -> int:
    """Show what is missing or different; change nothing.

    Exit code 1 if there is something to do, 3 if something prevents it.
    """
    found = run(settings, plan_topics(settings))
    _print(found)
    return found.exit_code


@command.command()
@click.option(
    "--print", "only_print", is_flag=True, help="Change nothing; print the commands for the cluster's administrator."
)
@with_settings
def apply(
    only_print: bool,
    settings: Settings,
) -> int:
    """Create what is missing and alter what is different, then verify it.

    If only an administrator may create topics, --print shows the commands of Kafka's own tools. Exit code 1 if something is left
    that neither can do.
    """
    if only_print:
        return _print_commands(settings)
    done = run(settings, apply_topics(settings))
    _print(done)
    return 1 if done.by_hand else 0


def _print_commands(settings: Settings) -> int:
    found = run(settings, plan_topics(settings))
    refuse(found)
    secured = settings.security_protocol != "PLAINTEXT"
    for line in found.commands(settings.bootstrap_servers, secured=secured):
        click.echo(line)
    if secured and not found.empty:
        click.echo("admin.properties is the file that says how the administrator connects", err=True)
    if found.empty:
        click.echo(_NOTHING, err=True)
    return 0


def _print(plan: TopicPlan) -> None:
    for line in plan.lines() or [_NOTHING]:
        click.echo(line)
