"""`milestones publish`: events from a file or a pipe to their topics."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from schemas.facts import FAMILIES, family_of
from streams.cli.options import TEXT, FilePath, Number, encoding_option, with_settings
from streams.cli.printable import printable
from streams.cli.running import run
from streams.errors import ExpectedError
from streams.events.event_files import EventReader, NumberedLine
from streams.events.ndjson import LineChecker, RejectedLine
from streams.events.table_files import TableMapping, TableReader, propose, read_mapping
from streams.kafka.publisher import Publisher
from streams.operations.load_progress import LoadJournal, LoadNote
from streams.operations.rehearsal import LoadRate, Rehearsal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from streams.settings import Settings

_READ_BYTES = 1 << 20
_ROWS = 5_000
_SHOWN_LINES = 20
_RARELY = (200_000, 50, 1000)
_USUAL = "one event a line"
#: Endings of files that are read only with a mapping.
_TABLES = {".csv", ".tsv"}
_TOPIC_WORDS = (*FAMILIES, "targets", "controls")


@dataclass
class _Tally:
    """What has become of a file; `before` is how far an interrupted load of it had come."""

    before: LoadNote = field(default_factory=LoadNote)
    lines: int = 0
    events: int = 0
    published: Counter[int] = field(default_factory=Counter)
    refused: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    first_lines: dict[str, int] = field(default_factory=dict)

    def note(self) -> LoadNote:
        """How far the load has come."""
        published = self.before.published + self.published.total()
        return LoadNote(self.events, published, self.before.refused + self.refused)


@click.command()
@click.argument("file", metavar="FILE|-", type=FilePath(allow_dash=True))
@click.option(
    "--topic",
    "topics",
    type=TEXT,
    multiple=True,
    help="Which of several topics of orders or of deliveries to publish to.",
)
@click.option(
    "--map",
    "mapping",
    type=FilePath(),
    default=None,
    help="FILE is CSV, Excel or Parquet, with columns as this TOML file says.",
)
@click.option(
    "--propose",
    "wants_proposal",
    is_flag=True,
    help="Print a draft of a mapping for FILE (CSV, Excel or Parquet); publish nothing.",
)
@encoding_option
@click.option(
    "--dry-run",
    is_flag=True,
    help="Show what would be rejected and what would be counted; publish nothing, contact no cluster.",
)
@click.option(
    "--backfill", is_flag=True, help="Mark the events as history, so that milestones they reach are not raised as news."
)
@click.option("--rate", type=Number(0.1), default=None, metavar="N", help="At most this many events per second.")
@click.option(
    "--from-start",
    is_flag=True,
    help="Publish all of FILE, even if an earlier load of it was interrupted.",
)
@with_settings
def command(
    file: Path,
    topics: tuple[str, ...],
    mapping: Path | None,
    wants_proposal: bool,
    encoding: str,
    dry_run: bool,
    backfill: bool,
    rate: float | None,
    from_start: bool,
    settings: Settings,
) -> None:
    """Publish events from a file or a pipe: JSON, or a table.

    Structured CloudEvents, one JSON object per line, an array, or objects over several lines. Files may be in UTF-8 or UTF-16, and compressed with gzip or zstd. With --map, a table is published, one event per row.

    Each event goes to the topic of its type, with its order_id, vin, target_id, campaign:NAME or metric/scope/period as key; a
    void of an order's event goes to the orders. If the settings list several topics of a kind, --topic says which. A line that is
    not a valid event is reported with its number and skipped, and the exit code is then 2. Publishing a file again is safe: an
    event counts once. An interrupted load of a file resumes where it was.
    """
    name = "stdin" if str(file) == "-" else str(file)
    if wants_proposal:
        with _on_disk(file) as path:
            click.echo(_proposal(path, name, settings.timezone, encoding), nl=False)
        return
    if mapping is None and file.suffix.lower() in _TABLES:
        raise ExpectedError(f"{name}: a table is published with --map; publish --propose {name} drafts a mapping")
    if encoding and mapping is None:
        raise click.UsageError("--encoding is that of a table: name its columns with --map")
    void_topic = family_of(min(settings.catalogue.published))
    columns = None if mapping is None else _mapping(mapping)
    checker = LineChecker(settings.future_limit_s, void_topic=void_topic, backfill=backfill and columns is None)
    gc.set_threshold(*_RARELY)  # millions of events live as long as their file is read
    with _opened(file) as stream, _on_disk(file, needed=columns is not None) as path:
        size = _size_of(file)
        table = None if columns is None else TableReader(path, columns, backfill, void_topic, encoding)
        pieces = _chunks(stream, name) if table is None else _rows(table, name)
        if dry_run:
            rehearsal = Rehearsal(settings)
            asyncio.run(_rehearse(rehearsal, checker, pieces, name, size))
            _print_rehearsal(rehearsal, name)
            return
        publisher = Publisher(settings, topics)
        journal = None
        if size:
            mapped = "" if mapping is None else mapping.read_bytes().decode(errors="replace")
            journal = LoadJournal(
                settings, file, [mapped, *sorted(topics), "history" if backfill else "", *filter(None, [encoding])]
            )
        tally = _Tally(before=LoadNote() if journal is None or from_start else journal.read())
        if tally.before.events:
            click.echo(f"{name}: goes on after {tally.before.events:,} events of an interrupted load", err=True)
        run(settings, _publish(publisher, checker, pieces, _Load(name, size, rate, journal), tally))
        if journal is not None:
            journal.end()
    _summarise(tally, name, settings)


def _proposal(file: Path, name: str, timezone: str, encoding: str) -> str:
    try:
        return propose(file, timezone, encoding)
    except OSError as error:
        raise ExpectedError(f"{name}: {error.strerror}; name a table, CSV, Excel or Parquet") from None
    except ValueError as error:
        raise ExpectedError(f"{name}: {error}", exit_code=2) from None


def _mapping(path: Path) -> TableMapping:
    try:
        return read_mapping(path.read_bytes())
    except OSError as error:
        raise ExpectedError(f"{path}: {error.strerror}; publish --propose FILE writes a first mapping") from None
    except ValueError as error:
        raise ExpectedError(f"{path}: {error}", exit_code=2) from None


async def _rows(table: TableReader, name: str) -> AsyncIterator[tuple[list[NumberedLine], int]]:
    """The rows of a table as events, in pieces; the next piece is made while one is published."""
    rows, read_bytes = table.events(), 0

    def make() -> tuple[list[NumberedLine], int]:
        return list(itertools.islice(rows, _ROWS)), table.read_bytes

    making = asyncio.ensure_future(asyncio.to_thread(make))
    try:
        while True:
            try:
                piece, reached = await making
            except (ValueError, OSError) as error:
                raise ExpectedError(f"{name}: {error}", exit_code=2) from None
            if not piece:
                break
            making = asyncio.ensure_future(asyncio.to_thread(make))
            yield piece, reached - read_bytes
            read_bytes = reached
    finally:
        making.cancel()
    with_ids = "" if "id" in table.mapping.columns else "; ids are digests of the rows"
    click.echo(f"{name}: {table.form}{with_ids}", err=True)


async def _rehearse(
    rehearsal: Rehearsal,
    checker: LineChecker,
    pieces: AsyncIterator[tuple[list[NumberedLine], int]],
    name: str,
    size_bytes: int,
) -> None:
    with _progress(name, size_bytes, "reading") as advance:
        async for lines, piece_bytes in pieces:
            rehearsal.take(*checker.judge(lines))
            advance(piece_bytes, len(lines))


def _print_rehearsal(rehearsal: Rehearsal, name: str) -> None:
    for reason, (count, numbers, message) in rehearsal.rejected.items():
        first = ", ".join(map(str, numbers))
        more = ", ..." if count > len(numbers) else ""
        click.echo(f"{name}: {count:,} {reason}, line{'s' if count > 1 else ''} {first}{more}: {printable(message)}")
    for (metric, month), count in sorted(rehearsal.months().items()):
        click.echo(f"{metric:<14} {month}  {count:>9,}")
    total = sum(count for count, _, _ in rehearsal.rejected.values())
    click.echo(
        f"{rehearsal.accepted:,} would be published, {total:,} rejected; {rehearsal.duplicates:,} are duplicates",
        err=True,
    )
    if total:
        raise ExpectedError(f"{name}: {total:,} would be rejected; correct them, or publish the others", exit_code=2)


def _size_of(file: Path) -> int:
    """Size of a file in bytes; 0 for a pipe."""
    return file.stat().st_size if file.is_file() else 0


@contextlib.contextmanager
def _on_disk(file: Path, *, needed: bool = True) -> Iterator[Path]:
    """The file; for a pipe, if `needed`, a copy of everything that comes through it, since tables are read more than once."""
    if str(file) != "-" or not needed:
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="milestones-") as folder:
        copy = Path(folder) / "stdin"
        with copy.open("wb") as kept:
            shutil.copyfileobj(click.get_binary_stream("stdin"), kept)
        yield copy


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


@dataclass(frozen=True)
class _Load:
    """A load: name and size of the file, how fast to publish it, and where to note its progress."""

    name: str
    size_bytes: int
    rate: float | None
    journal: LoadJournal | None


async def _publish(
    publisher: Publisher,
    checker: LineChecker,
    pieces: AsyncIterator[tuple[list[NumberedLine], int]],
    load: _Load,
    tally: _Tally,
) -> None:
    pace = LoadRate(load.rate)
    skipped = 0
    async with publisher:
        with _progress(load.name, load.size_bytes, "publishing") as advance:
            async for given, size_bytes in pieces:
                lines = given[max(0, tally.before.events - skipped) :]
                skipped += len(given) - len(lines)
                records, refused = checker.check(lines)
                for some in pace.portions(records):
                    await asyncio.sleep(pace.wait_s())
                    await publisher.send(some)
                    # Flush what has come through a pipe before waiting for more.
                    await publisher.flush()
                tally.lines = given[-1].number if given else tally.lines
                tally.events += len(given)
                tally.published.update(record.topic for record in records)
                _report(refused, tally, load.name)
                if load.journal is not None and lines:
                    load.journal.write(tally.note())
                advance(size_bytes, len(given))


async def _chunks(stream: IO[bytes], name: str) -> AsyncIterator[tuple[list[NumberedLine], int]]:
    """Events as they come, and the number of bytes read for them."""
    reader = EventReader()
    # read1 returns what is available and blocks only if there is nothing, so events of slow pipes are not delayed.
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
def _progress(name: str, size_bytes: int, verb: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar with rate and time left on a terminal, nothing elsewhere; call it with the bytes and events that are done."""
    console = Console(stderr=True)
    if not console.is_terminal or not size_bytes:
        yield lambda _size_bytes, _events: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    began_s, done = time.monotonic(), 0
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(f"{verb} {name}", total=size_bytes, rate="")

        def advance(more_bytes: int, events: int) -> None:
            nonlocal done
            done += events
            per_second = done / max(time.monotonic() - began_s, 0.001)
            progress.update(task, advance=more_bytes, rate=f"{per_second:,.0f} events/s")

        yield advance


def _report(refused: list[RejectedLine], tally: _Tally, name: str) -> None:
    for line in refused:
        tally.refused += 1
        tally.reasons[line.rejection.reason] += 1
        tally.first_lines.setdefault(line.rejection.reason, line.number)
        if tally.refused <= _SHOWN_LINES:
            click.echo(f"{name}:{line.number}: {line.rejection.reason}: {line.rejection.message}", err=True)


def _summarise(tally: _Tally, name: str, settings: Settings) -> None:
    total = tally.published.total()
    parts = ", ".join(
        f"{tally.published[topic]:,} to the {word}"
        for topic, word in enumerate(_TOPIC_WORDS)
        if tally.published[topic] or word != "production" or word in settings.families
    )
    click.echo(
        f"published {total:,} event{'' if total == 1 else 's'} ({parts}) at {settings.bootstrap_servers}", err=True
    )
    if tally.refused > _SHOWN_LINES:
        click.echo(f"{tally.refused - _SHOWN_LINES:,} more lines like these", err=True)
    if tally.refused > len(tally.reasons):
        for reason, count in tally.reasons.most_common():
            what = "1 line is" if count == 1 else f"{count:,} lines are"
            click.echo(f"{what} {reason}, the first is {name}:{tally.first_lines[reason]}", err=True)
    if tally.before.events:
        click.echo(
            f"with those of the interrupted load, {total + tally.before.published:,} events of {name} are published",
            err=True,
        )
    refused = tally.refused + tally.before.refused
    if refused:
        raise ExpectedError(
            f"{name}: {refused:,} of {tally.lines:,} lines were not published; correct them and publish the file "
            "again, what is there already counts once"
        )
