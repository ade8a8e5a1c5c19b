"""`milestones dead-letters`: records that are not valid events, and how to repair them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from schemas.facts import REASONS
from schemas.instants import FIRST_YEAR, LAST_YEAR, micros_of, utc_text
from schemas.notes import Place
from streams.cli.operators import operator
from streams.cli.options import IDENTIFIER, TEXT, VIN, business_text, instant_us, with_settings
from streams.cli.printable import as_json, printable
from streams.cli.progress import watched
from streams.cli.running import run
from streams.context import Context
from streams.domain.hints.suggestions import unknown
from streams.errors import ExpectedError
from streams.operations.dead_letters import DeadLetter, Wanted, read_letters, read_replayed
from streams.operations.repairs import UNWRAPPERS, Mending
from streams.operations.replay import Outcome, Repair, rehearse, replay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from schemas.notes import Replayed
    from streams.kafka.outbox import Outgoing
    from streams.settings import Settings

_SHOWN_CHARACTERS = 400
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
        function = click.option(option, type=TEXT, metavar=metavar, default=None, help=text)(function)
    return function


@command.command(name="list")
@_filters
@click.option(
    "--order", "order_id", type=IDENTIFIER, default=None, help="Only records of this order, as far as they can be read."
)
@click.option("--vin", type=VIN, default=None, help="Only records of this vehicle, likewise.")
@click.option("--source", type=TEXT, default=None, help="Only records of this event source, likewise.")
@click.option("--by-reason", is_flag=True, help="Show only the number of records for each reason.")
@click.option("--json", "as_lines", is_flag=True, help="One JSON object per line.")
@with_settings
def list_(
    reason: str | None,
    topic: str | None,
    since: str | None,
    until: str | None,
    order_id: str | None,
    vin: str | None,
    source: str | None,
    by_reason: bool,
    as_lines: bool,
    settings: Settings,
) -> None:
    """Show rejected records, and why they were rejected.

    Also where each came from, and whether it was published again.
    """
    wanted = replace(_wanted(settings, reason, topic, since, until), order_id=order_id, vin=vin, source=source)
    letters, replayed = run(settings, _read(Context(settings), wanted))
    counts = Counter(letter.reason for letter in letters)
    if by_reason:
        for name, count in counts.most_common():
            click.echo(as_json({"reason": name, "count": count}) if as_lines else printable(f"{count:>9,}  {name}"))
        return
    for letter in letters:
        note = replayed.get(letter.place)
        click.echo(as_json(_document(letter, note)) if as_lines else _line(letter, note, settings.timezone))
    if not as_lines:
        again = sum(letter.place in replayed for letter in letters)
        parts = [f"{count:,} {printable(name)}" for name, count in counts.most_common()]
        parts += [f"{again:,} published again"] if again else []
        click.echo(f"{_counted(len(letters))}{': ' if parts else ''}{', '.join(parts)}", err=True)


@command.command(name="replay")
@_filters
@click.option(
    "--offset",
    "offsets",
    type=TEXT,
    metavar="TOPIC:PARTITION:OFFSET",
    multiple=True,
    help="Only this record; may be given again.",
)
@click.option(
    "--edit",
    type=TEXT,
    metavar="COMMAND",
    default=None,
    help="A filter that reads all records, one JSON object per line, and writes them repaired; those it leaves out are skipped.",
)
@click.option(
    "--edit-with",
    type=click.Choice(["record", "value"]),
    default="record",
    help="value: start COMMAND for each record, with the value on stdin, and take the new one from stdout.",
)
@click.option(
    "--set",
    "fields",
    type=TEXT,
    metavar="FIELD=VALUE",
    multiple=True,
    help="Set a field, such as data.model=SU7, or an attribute: time=...",
)
@click.option(
    "--set-header",
    "headers",
    type=TEXT,
    metavar="NAME=VALUE",
    multiple=True,
    help="Set a header; without a VALUE, remove it.",
)
@click.option("--unwrap", type=click.Choice(list(UNWRAPPERS)), multiple=True, help="Remove a wrapper around the value.")
@click.option("--strip-bom", is_flag=True, help="Remove a byte order mark.")
@click.option(
    "--time-offset", type=TEXT, metavar="+HH:MM", default=None, help="Append this offset to times without one."
)
@click.option("--force", is_flag=True, help="Publish even what would be rejected again.")
@click.option("--by", type=TEXT, default=None, help="Name of the operator (default: user and host).")
@click.option("--dry-run", is_flag=True, help="Show what would be published; publish nothing.")
@click.option("--json", "as_lines", is_flag=True, help="One JSON object per line.")
@with_settings
def replay_(
    reason: str | None,
    topic: str | None,
    since: str | None,
    until: str | None,
    offsets: tuple[str, ...],
    edit: str | None,
    edit_with: str,
    fields: tuple[str, ...],
    headers: tuple[str, ...],
    unwrap: tuple[str, ...],
    strip_bom: bool,
    time_offset: str | None,
    force: bool,
    by: str | None,
    dry_run: bool,
    as_lines: bool,
    settings: Settings,
) -> None:
    """Repair dead letters and publish them again, each exactly once.

    They go to their source topics. A wrong key is corrected. Repairs are made in the order --unwrap, --strip-bom, --set-header, --set, --time-offset, --edit,
    each on the records to which it applies; --dry-run shows each record before and after, and the verdict. Records that would be
    rejected again are left, and the exit code is then 1. A second replay takes over from a running one.

    --edit reads objects with topic, partition, offset, reason, message, key, headers and value (value_text or value_b64 if it is not
    a JSON object), and writes them back, as jq -c '.value.data.model = "SU7"' does. If the command fails, nothing is published, and the
    exit code is 2. With --edit-with value, the variables DEAD_LETTER_REASON, _TOPIC, _PARTITION, _OFFSET and _KEY describe the record,
    and a record for which the command fails is left.
    """
    wanted = _wanted(settings, reason, topic, since, until, {_place(text) for text in offsets})
    mending = _mending(fields, headers, unwrap, strip_bom=strip_bom, time_offset=time_offset)
    repair = Repair(edit, edit_with == "value", mending, force, operator(by))
    counts: Counter[str] = Counter()

    def told(outcome: Outcome) -> None:
        counts[outcome.what] += 1
        click.echo(as_json(_outcome_document(outcome)) if as_lines else _outcome_line(outcome, dry_run=dry_run))
        if dry_run and not as_lines and outcome.after is not None:
            for line in _changes(outcome.letter, outcome.after):
                click.echo(f"  {printable(line)}")

    with watched() as listener:
        outcomes = []
        if dry_run:
            outcomes = run(settings, rehearse(Context(settings), wanted, repair, listener))
        else:
            run(settings, replay(Context(settings), wanted, repair, told, listener))
    for outcome in outcomes:
        told(outcome)
    _summarise(counts, dry_run=dry_run)


def _mending(
    fields: Sequence[str], headers: Sequence[str], unwrap: tuple[str, ...], *, strip_bom: bool, time_offset: str | None
) -> Mending:
    try:
        return Mending(unwrap, strip_bom, _pairs("--set", fields), _pairs("--set-header", headers), time_offset or "")
    except ValueError as error:
        raise click.UsageError(printable(str(error))) from None


def _pairs(option: str, given: Sequence[str]) -> tuple[tuple[str, str], ...]:
    pairs = [text.partition("=") for text in given]
    for text, (name, equals, _) in zip(given, pairs, strict=True):
        if not name or not equals:
            raise click.UsageError(f"{option} {printable(text)}: write NAME=VALUE")
    return tuple((name, value) for name, _, value in pairs)


def _changes(letter: DeadLetter, after: Outgoing) -> Iterator[str]:
    """What the repairs have changed: before, then after."""
    if letter.key != after.key:
        yield f"- key {_shown(letter.key)}"
        yield f"+ key {_shown(after.key)}"
    yield from (f"- {name}: {_shown(value)}" for name, value in letter.headers if (name, value) not in after.headers)
    yield from (f"+ {name}: {_shown(value)}" for name, value in after.headers if (name, value) not in letter.headers)
    if letter.value != after.value:
        yield f"- {_shown(letter.value)}"
        yield f"+ {_shown(after.value)}"


def _shown(content: bytes | None) -> str:
    if content is None:
        return "none"
    text = content.decode(errors="replace")
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]} … ({len(text):,} characters)"


def _summarise(counts: Counter[str], *, dry_run: bool) -> None:
    parts = [
        f"{count:,} {'would be ' * (dry_run and what == 'replay')}{_WORDS[what]}" for what, count in counts.items()
    ]
    click.echo(f"{_counted(counts.total())}{': ' if parts else ''}{', '.join(parts)}", err=True)
    if counts["left"]:
        raise ExpectedError(
            f"{counts['left']:,} were left as they are: repair them with --set, --set-header, --unwrap, --time-offset or "
            "--edit, or publish them all the same with --force",
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
    if reason is not None and reason not in REASONS:
        raise ExpectedError(f"--reason: {unknown('reason', reason, REASONS)}")
    read = [each.name for each in settings.catalogue.sources()]
    if topic is not None and topic not in read:
        raise ExpectedError(f"--topic: {unknown('topic', topic, read)}")
    zone = ZoneInfo(settings.timezone)
    return Wanted(
        reason,
        topic,
        None if since is None else _moment_us(since, "--since", zone),
        None if until is None else _moment_us(until, "--until", zone, days=1),
        places or set(),
    )


def _moment_us(text: str, option: str, zone: ZoneInfo, *, days: int = 0) -> int:
    """An instant, or the start of the business date `days` days after the one given."""
    if len(text) != len("2024-10-07"):
        return instant_us(text, option)
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = date.min
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise click.UsageError(
            f"{option} {text}: no date from {FIRST_YEAR} to {LAST_YEAR}; write one such as 2024-10-07, or a date and time with an offset"
        )
    return micros_of(datetime.combine(day + timedelta(days=days), time(), zone))


def _place(text: str) -> Place:
    topic, _, rest = text.partition(":")
    partition, _, offset = rest.partition(":")
    if not (topic and partition.isdecimal() and offset.isdecimal()):
        raise click.UsageError(
            f"--offset {printable(text)}: give TOPIC:PARTITION:OFFSET, as in vehicle.orders.v1:2:48211"
        )
    return Place(topic, int(partition), int(offset))


def _line(letter: DeadLetter, note: Replayed | None, timezone: str) -> str:
    again = f"  (published again by {note.by} at {business_text(note.at, timezone)})" if note is not None else ""
    rejected = business_text(utc_text(letter.rejected_us), timezone)
    return printable(f"{rejected}  {letter.place}  {letter.reason}  {letter.message}{again}")


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
        "headers": [[name, None if value is None else value.decode(errors="replace")] for name, value in record.headers]
        if record
        else None,
    }
