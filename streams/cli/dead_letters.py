"""`milestones dead-letters`: records that could not be read as valid events."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from schemas.outputs import ControlHeaders
from streams.admin import catalogue_of
from streams.cli.options import cluster_options
from streams.kafka import read_to_end
from streams.settings import Settings, load_settings

if TYPE_CHECKING:
    from pathlib import Path


class DeadLetter(NamedTuple):
    """Where a rejected record came from and why it was rejected."""

    topic: str
    partition: int
    offset: int
    reason: str
    message: str
    key: str | None


@click.group(name="dead-letters")
def command() -> None:
    """Look at rejected records."""


@command.command(name="list")
@click.option("--reason", default=None, help="Only this reason, such as malformed_json.")
@click.option("--topic", default=None, help="Only records of this source topic.")
@click.option("--json", "as_json", is_flag=True, help="One record a line.")
@cluster_options
def list_(
    reason: str | None,
    topic: str | None,
    as_json: bool,  # noqa: FBT001 - an option
    bootstrap_servers: str | None,
    config: Path | None,
) -> None:
    """Show rejected records: where they came from, why they were rejected."""
    settings = load_settings(config, {"bootstrap_servers": bootstrap_servers})
    letters = [
        letter
        for letter in asyncio.run(_letters(settings))
        if reason in (None, letter.reason) and topic in (None, letter.topic)
    ]
    for letter in letters:
        if as_json:
            click.echo(json.dumps(letter._asdict(), ensure_ascii=False))
        else:
            click.echo(f"{letter.topic}-{letter.partition}@{letter.offset}  {letter.reason}  {letter.message}")
    if not as_json:
        totals = ", ".join(
            f"{count} {name}" for name, count in Counter(letter.reason for letter in letters).most_common()
        )
        click.echo(f"{len(letters)} dead letters{f': {totals}' if totals else ''}", err=True)


async def _letters(settings: Settings) -> list[DeadLetter]:
    topic = catalogue_of(settings).dead_letters
    letters = []
    async for records in read_to_end(settings, [(topic.name, number) for number in range(topic.partitions)]):
        letters += [_letter(record) for record in records]
    return sorted(letters)


def _letter(record: Any) -> DeadLetter:
    headers = dict(record.headers)
    return DeadLetter(
        headers[ControlHeaders.TOPIC].decode(),
        int(headers[ControlHeaders.PARTITION]),
        int(headers[ControlHeaders.OFFSET]),
        headers[ControlHeaders.REASON].decode(),
        headers[ControlHeaders.MESSAGE].decode(),
        None if record.key is None else record.key.decode(errors="replace"),
    )
