"""`milestones dead-letters`: records that are not valid events, and how to repair them."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from schemas.instants import micros_of, utc_text
from schemas.notes import Place
from streams.cli.operators import operator
from streams.cli.options import cluster_options, instant_us
from streams.cli.printable import as_json, printable
from streams.cli.running import run
from streams.context import Context
from streams.errors import ExpectedError
from streams.installation import load_settings
from streams.operations.dead_letters import DeadLetter, Wanted, read_letters, read_replayed
from streams.operations.replay import Outcome, Repair, rehearse, replay

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from schemas.notes import Replayed
    from streams.settings import Settings

_WORDS = {
    "replay": "published again",
    "skipped": "skipped",
    "left": "left",
    "replayed before": "published again before",
}


@click.group(name="dead-letters")
def command() -> None:
    """Show rejected records, and publish them again once repaired."""


def _filters(function: Callable[..., Any]) -> Callable[..., Any]:
    for option, text in (
        ("--until", "Only those rejected before TIME, or on this date or before."),
        ("--since", "Only those rejected at TIME or later: RFC 3339, or a date of the business time zone."),
        ("--topic", "Only records of this source topic."),
        ("--reason", "Only this reason, such as malformed_json."),
    ):
        metavar = "TIME" if option in {"--since", "--until"} else None
        function = click.option(option, metavar=metavar, default=None, help=text)(function)
    return function


@command.command(name="list")
@_filters
@click.option("--by-reason", is_flag=True, help="Only how many there are of each reason.")
@click.option("--json", "as_lines", is_flag=True, help="One JSON object a line.")
@cluster_options
def list_(
    reason: str | None,
    topic: str | None,
    since: str | None,
    until: str | None,
    by_reason: bool,  # noqa: FBT001 - an option
    as_lines: bool,  # noqa: FBT001 - an option
    bootstrap_servers: str | None,
    config: Path | None,
) -> None:
    """Show rejected records: where they came from, why they were rejected, whether they were published again."""
    settings = load_settings(config, {"bootstrap_servers": bootstrap_servers})
    letters, replayed = run(settings, _read(Context(settings), _wanted(settings, reason, topic, since, until)))
    counts = Counter(letter.reason for letter in letters)
    if by_reason:
        for name, count in counts.most_common():
            click.echo(as_json({"reason": name, "count": count}) if as_lines else printable(f"{count:>9,}  {name}"))
        return
    for letter in letters:
        note = replayed.get(letter.place)
        click.echo(as_json(_document(letter, note)) if as_lines else _line(letter, note))
    if not as_lines:
        again = sum(letter.place in replayed for letter in letters)
        parts = [f"{count:,} {printable(name)}" for name, count in counts.most_common()]
        parts += [f"{again:,} published again"] if again else []
        click.echo(f"{_counted(len(letters))}{': ' if parts else ''}{', '.join(parts)}", err=True)


@command.command(name="replay")
@_filters
@click.option(
    "--offset", "offsets", metavar="TOPIC:PARTITION:OFFSET", multiple=True, help="Only this record; may be given again."
)
@click.option(
    "--edit",
    metavar="COMMAND",
    default=None,
    help="Gets each value on stdin, gives the repaired one on stdout; nothing skips it, an exit code but 0 leaves it.",
)
@click.option("--force", is_flag=True, help="Publish also what would be rejected again.")
@click.option("--by", default=None, help="Who does it (default: user and host).")
@click.option("--dry-run", is_flag=True, help="Show what would be published; publish nothing.")
@click.option("--json", "as_lines", is_flag=True, help="One JSON object a line.")
@cluster_options
def replay_(
    reason: str | None,
    topic: str | None,
    since: str | None,
    until: str | None,
    offsets: tuple[str, ...],
    edit: str | None,
    force: bool,  # noqa: FBT001 - an option
    by: str | None,
    dry_run: bool,  # noqa: FBT001 - an option
    as_lines: bool,  # noqa: FBT001 - an option
    bootstrap_servers: str | None,
    config: Path | None,
) -> None:
    """Repair dead letters and publish them to their source topics again, each exactly once.

    A wrong key is corrected. Records that would be rejected again stay, and the exit code is then 1; so
    do records for which the command fails. A second replay takes over from one that is running. The
    command is run by the shell; DEAD_LETTER_REASON, _TOPIC, _PARTITION, _OFFSET and _KEY describe the record.
    """
    settings = load_settings(config, {"bootstrap_servers": bootstrap_servers})
    wanted = _wanted(settings, reason, topic, since, until, {_place(text) for text in offsets})
    repair = Repair(edit, force, operator(by))
    counts: Counter[str] = Counter()

    def told(outcome: Outcome) -> None:
        counts[outcome.what] += 1
        click.echo(as_json(_outcome_document(outcome)) if as_lines else _outcome_line(outcome, dry_run=dry_run))

    if dry_run:
        for outcome in run(settings, rehearse(Context(settings), wanted, repair)):
            told(outcome)
    else:
        run(settings, replay(Context(settings), wanted, repair, told))
    _summarise(counts, dry_run=dry_run)


def _summarise(counts: Counter[str], *, dry_run: bool) -> None:
    parts = [
        f"{count:,} {'would be ' * (dry_run and what == 'replay')}{_WORDS[what]}" for what, count in counts.items()
    ]
    click.echo(f"{_counted(counts.total())}{': ' if parts else ''}{', '.join(parts)}", err=True)
    if counts["left"]:
        raise ExpectedError(
            f"{counts['left']:,} were left as they are: repair them with --edit, or publish them all the same with --force",
            exit_code=1,
        )


def _counted(count: int) -> str:
    return f"{count:,} dead letter{'' if count == 1 else 's'}"


async def _read(context: Context, wanted: Wanted) -> tuple[list[DeadLetter], dict[Place, Replayed]]:
    async with context.log.reader() as reader:
        return await read_letters(context, wanted, reader), await read_replayed(context, reader)


def _wanted(
    settings: Settings,
    reason: str | None,
    topic: str | None,
    since: str | None,
    until: str | None,
    places: set[Place] | None = None,
) -> Wanted:
    zone = ZoneInfo(settings.timezone)
    return Wanted(
        reason,
        topic,
        None if since is None else _moment_us(since, "--since", zone),
        None if until is None else _moment_us(until, "--until", zone, days=1),
        places or set(),
    )


def _moment_us(text: str, option: str, zone: ZoneInfo, *, days: int = 0) -> int:
    """An instant, or the start of the business date a number of days after the one given."""
    try:
        day = date.fromisoformat(text) if len(text) == len("2024-10-07") else None
    except ValueError:
        day = None
    if day is None:
        return instant_us(text, option)
    return micros_of(datetime.combine(day + timedelta(days=days), time(), zone))


def _place(text: str) -> Place:
    topic, _, rest = text.partition(":")
    partition, _, offset = rest.partition(":")
    if not (topic and partition.isdecimal() and offset.isdecimal()):
        raise click.UsageError(
            f"--offset {printable(text)}: give TOPIC:PARTITION:OFFSET, as in vehicle.orders.v1:2:48211"
        )
    return Place(topic, int(partition), int(offset))


def _line(letter: DeadLetter, note: Replayed | None) -> str:
    again = f"  (published again by {note.by} at {note.at})" if note is not None else ""
    return printable(f"{utc_text(letter.rejected_us)}  {letter.place}  {letter.reason}  {letter.message}{again}")


def _document(letter: DeadLetter, note: Replayed | None) -> dict[str, Any]:
    return {
        **letter.place._asdict(),
        "reason": letter.reason,
        "message": letter.message,
        "key": None if letter.key is None else letter.key.decode(errors="replace"),
        "rejected_at": utc_text(letter.rejected_us),
        "replayed": None if note is None else note.model_dump(),
    }


def _outcome_line(outcome: Outcome, *, dry_run: bool) -> str:
    what = _WORDS[outcome.what]
    if outcome.record is not None:
        to = f" -> {outcome.record.topic}-{outcome.record.partition}"
        what = f"would be {what}{to}" if dry_run else f"{what}{to}"
    why = (
        f" ({outcome.why})" if outcome.record is not None and outcome.why else f": {outcome.why}" if outcome.why else ""
    )
    return printable(f"{outcome.letter.place}  {outcome.letter.reason}  {what}{why}")


def _outcome_document(outcome: Outcome) -> dict[str, Any]:
    record = outcome.record
    return {
        **outcome.letter.place._asdict(),
        "reason": outcome.letter.reason,
        "outcome": outcome.what,
        "why": outcome.why or None,
        "edited": outcome.edited,
        "to_topic": record.topic if record else None,
        "to_partition": record.partition if record else None,
        "key": record.key.decode(errors="replace") if record and record.key is not None else None,
        "value": record.value.decode(errors="replace") if record and record.value is not None else None,
    }
