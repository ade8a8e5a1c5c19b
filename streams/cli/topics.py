"""`milestones topics`: what the contract needs on the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from streams.cli.acls import command as acls
from streams.cli.options import cluster_options
from streams.cli.running import run
from streams.installation import load_settings
from streams.kafka.admin import Plan, apply_topics, plan_topics

if TYPE_CHECKING:
    from pathlib import Path


@click.group(name="topics")
def command() -> None:
    """Show or create the topics that the contract needs, and what has to be allowed."""


command.add_command(acls)


@command.command()
@cluster_options
def plan(bootstrap_servers: str | None, config: Path | None) -> None:
    """Show what is missing or different; change nothing."""
    settings = load_settings(config, {"bootstrap_servers": bootstrap_servers})
    _print(run(settings, plan_topics(settings)), "nothing to do: the topics are as the contract needs them")


@command.command()
@cluster_options
def apply(bootstrap_servers: str | None, config: Path | None) -> None:
    """Create what is missing and alter what is different."""
    settings = load_settings(config, {"bootstrap_servers": bootstrap_servers})
    _print(run(settings, apply_topics(settings)), "nothing to do: the topics are as the contract needs them")


def _print(plan: Plan, nothing: str) -> None:
    for line in plan.lines() or [nothing]:
        click.echo(line)
