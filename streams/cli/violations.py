"""`milestones violations`: contradictions among the events of an order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from schemas.codec import decode_violations
from streams.cli.options import cluster_options
from streams.cli.running import run
from streams.installation import load_settings
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import read_latest

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.option("--order", "order_id", default=None, help="Only this order.")
@click.option("--json", "as_json", is_flag=True, help="One order a line, as on the topic.")
@cluster_options
def command(
    order_id: str | None,
    as_json: bool,  # noqa: FBT001 - an option
    bootstrap_servers: str | None,
    config: Path | None,
) -> None:
    """Show the orders whose events contradict each other, and how."""
    settings = load_settings(config, {"bootstrap_servers": bootstrap_servers})
    topic = catalogue_of(settings).violations
    latest = run(settings, read_latest(settings, [(topic.name, number) for number in range(topic.partitions)]))
    chosen = sorted((key.decode(), value) for key, value in latest.items() if order_id in (None, key.decode()))
    for key, value in chosen:
        if as_json:
            click.echo(value.decode())
        else:
            for violation in decode_violations(value).violations:
                click.echo(f"{key}  {violation.kind}  {violation.source} {violation.id}  {violation.message}")
    if not chosen:
        click.echo("no violations", err=True)
