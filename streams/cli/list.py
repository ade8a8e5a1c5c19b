"""`milestones list`: the milestones, oldest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from aiokafka import TopicPartition

from schemas.codec import decode_milestone
from streams.cli.options import cluster_options
from streams.cli.running import run
from streams.headline import headline
from streams.installation import load_settings
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import read_to_end, reader
from streams.kafka.records import record_value

if TYPE_CHECKING:
    from pathlib import Path

    from streams.settings import Settings


@click.command()
@click.option("--follow", is_flag=True, help="Go on with new milestones until interrupted.")
@click.option("--json", "as_json", is_flag=True, help="One event a line, as on the topic.")
@cluster_options
def command(
    follow: bool,  # noqa: FBT001 - an option
    as_json: bool,  # noqa: FBT001 - an option
    bootstrap_servers: str | None,
    config: Path | None,
) -> None:
    """Show the milestones, retractions and reinstatements."""
    settings = load_settings(config, {"bootstrap_servers": bootstrap_servers})
    run(settings, _list(settings, follow=follow, as_json=as_json))


async def _list(settings: Settings, *, follow: bool, as_json: bool) -> None:
    topic = catalogue_of(settings).milestones.name
    async with reader(settings) as consumer:
        count = 0
        async for records in read_to_end(settings, [(topic, 0)], consumer=consumer):
            for record in records:
                count += 1
                _print(record_value(record), as_json=as_json)
        if not count and not follow:
            click.echo("no milestones yet", err=True)
        if follow:
            partition = TopicPartition(topic, 0)
            consumer.resume(partition)
            async for record in consumer:
                _print(record_value(record), as_json=as_json)


def _print(value: bytes, *, as_json: bool) -> None:
    click.echo(value.decode() if as_json else headline(decode_milestone(value)))
