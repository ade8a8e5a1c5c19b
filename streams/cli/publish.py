"""`milestones publish`: events from a file or a pipe to their topics."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from streams.cli.options import cluster_options
from streams.cli.running import run
from streams.errors import ExpectedError
from streams.installation import load_settings
from streams.kafka.publisher import Publisher
from streams.operations.event_files import EventReader, NumberedLine
from streams.operations.ndjson import LineChecker, RejectedLine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from streams.settings import Settings

_READ_BYTES = 1 << 20
_SHOWN_LINES = 20
_USUAL = "one event a line"
_TOPIC_WORDS = ("orders", "deliveries", "targets", "controls")


@dataclass
class _Tally:
    lines: int = 0
    published: Counter[int] = field(default_factory=Counter)
    refused: int = 0


@click.command()
@click.argument("file", metavar="FILE|-", type=click.Path(allow_dash=True, path_type=Path))
@click.option(
    "--topic", "topics", multiple=True, help="Which of several topics of orders or of deliveries to publish to."
)
@cluster_options
def command(file: Path, topics: tuple[str, ...], bootstrap_servers: str | None, config: Path | None) -> None:
    """Publish structured CloudEvents: one JSON object per line, an array, or objects over several lines.

    Files may be in UTF-8 or UTF-16 and compressed with gzip or zstd.

    Each goes to the topic of its type, with its order_id, target_id or metric/scope/period as key; a void goes to the
    orders. Where the settings list several topics of orders or of deliveries, --topic says which. A line that is not a
    valid event is reported with its number and skipped, and the exit code is then 2. Publishing a file again is safe: an
    event counts once.
    """
    settings = load_settings(config, {"bootstrap_servers": bootstrap_servers})
    name = "stdin" if str(file) == "-" else str(file)
    with _opened(file) as stream:
        tally = run(settings, _publish(Publisher(settings, topics), settings, stream, name))
    _summarise(tally, name, settings)


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    if str(file) == "-":
        yield click.get_binary_stream("stdin")
        return
    try:
        stream = file.open("rb")
    except OSError as error:
        raise ExpectedError(f"{file}: {error.strerror}; name a file of events, one a line, or - for stdin") from None
    with stream:
        yield stream


async def _publish(publisher: Publisher, settings: Settings, stream: IO[bytes], name: str) -> _Tally:
    tally = _Tally()
    checker = LineChecker(settings.future_limit_s, void_topic=min(settings.catalogue.published))
    async with publisher:
        with _progress(stream, name) as advance:
            async for lines, size_bytes in _chunks(stream, name):
                records, refused = checker.check(lines)
                await publisher.send(records)
                # Flush what has come through a pipe before waiting for more.
                await publisher.flush()
                tally.lines = lines[-1].number if lines else tally.lines
                tally.published.update(record.topic for record in records)
                _report(refused, tally, name)
                advance(size_bytes)
    return tally


async def _chunks(stream: IO[bytes], name: str) -> AsyncIterator[tuple[list[NumberedLine], int]]:
    """Events as they come, and the bytes read for them."""
    reader = EventReader()
    # read1 returns what is available and blocks only if there is nothing, so slow pipes are not held up.
    read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
    while True:
        chunk = await asyncio.to_thread(read, _READ_BYTES)
        try:
            yield reader.feed(chunk), len(chunk)
        except ValueError as error:
            raise ExpectedError(f"{name}: {error}") from None
        if not chunk:
            if reader.form and reader.form != _USUAL:
                click.echo(f"{name}: {reader.form}", err=True)
            return


@contextlib.contextmanager
def _progress(stream: IO[bytes], name: str) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal or name == "stdin":
        yield lambda _size_bytes: None
        return
    size = stream.seek(0, 2)
    stream.seek(0)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(f"publishing {name}", total=size)
        yield lambda size_bytes: progress.advance(task, size_bytes)


def _report(refused: list[RejectedLine], tally: _Tally, name: str) -> None:
    for line in refused:
        tally.refused += 1
        if tally.refused <= _SHOWN_LINES:
            click.echo(f"{name}:{line.number}: {line.rejection.reason}: {line.rejection.message}", err=True)


def _summarise(tally: _Tally, name: str, settings: Settings) -> None:
    total = tally.published.total()
    parts = ", ".join(f"{tally.published[topic]:,} to the {word}" for topic, word in enumerate(_TOPIC_WORDS))
    click.echo(
        f"published {total:,} event{'' if total == 1 else 's'} ({parts}) at {settings.bootstrap_servers}", err=True
    )
    if tally.refused > _SHOWN_LINES:
        click.echo(f"{tally.refused - _SHOWN_LINES:,} more lines like these", err=True)
    if tally.refused:
        raise ExpectedError(
            f"{name}: {tally.refused:,} of {tally.lines:,} lines were not published; correct them and publish the file "
            "again, what is there already counts once"
        )
