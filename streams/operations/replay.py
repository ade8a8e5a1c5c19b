"""Publishes dead letters again: repaired, and never twice.

A republished record and the note about it are written in one transaction, so a killed run leaves both or neither. All runs use
one transactional id: a run that starts fences any other and reads the notes afterwards, so no other run can replay what it finds
not yet replayed.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from schemas.cloudevents import BatchError, HeaderError, is_structured
from schemas.codec import encode_note
from schemas.facts import BEYOND_LIMITS, BY_STATE, QUARANTINED, Rejection, family_of
from schemas.instants import utc_text
from schemas.notes import Replayed
from schemas.partitioner import homes
from streams.errors import ExpectedError
from streams.events.ndjson import key_of, loosely
from streams.kafka.log import require_topics
from streams.kafka.outbox import Outgoing
from streams.kafka.publication import CONTROLS, TARGETS, Candidate, verdicts_on
from streams.kafka.transactions import FencedError, InDoubtError
from streams.listener import Listener
from streams.operations.dead_letters import DeadLetter, Wanted, read_letters, read_replayed
from streams.operations.repairs import NOT_RUN, Content, Mending, ended, filtered, how_it_failed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from schemas.notes import Place
    from streams.context import Context
    from streams.kafka.log import LogReader, LogWriter
    from streams.operations.repairs import Edited

#: Reasons that depend on earlier events, which a replay does not change.
DECIDED_BY_STATE: Final = BY_STATE - {QUARANTINED, BEYOND_LIMITS}

_EDIT_TIMEOUT_S: Final = 60.0
#: Records per transaction; bounds what is repeated after a failure.
_MOST_RECORDS: Final = 4_000
_MOST_BYTES: Final = 4 << 20
#: Dead letters between two progress reports.
_TOLD_TOGETHER: Final = 200
_NOBODY: Final = Listener()
_ASK_FOR_IT: Final = "in quarantine: ask for it with --reason quarantined, once a corrected version runs"


@dataclass(frozen=True)
class Outcome:
    """What becomes of one dead letter.

    Attributes:
        letter: The dead letter.
        what: `replay`, `skipped` (the command returned nothing, or it is in quarantine and was not asked for), `left` (see `why`)
            or `replayed before`.
        why: For `left` the reason in words, for `replay` what was repaired.
        record: What is published; `None` unless `what` is `replay`.
        edited: Whether value or headers were changed.
        after: The record after the repairs, if they changed anything, whatever becomes of it.
    """

    letter: DeadLetter
    what: str
    why: str = ""
    record: Outgoing | None = None
    edited: bool = False
    after: Outgoing | None = None


@dataclass(frozen=True)
class Repair:
    """How dead letters are repaired.

    Attributes:
        command: A shell command to run after the common repairs; `None` for none.
        gets_values: Whether the command is started for each record, with the value as input and the new value as output; else it
            is started once for all records, as `repairs.filtered` writes them.
        mending: The common repairs.
        force: Whether to publish even what would be rejected again.
        by: The operator.
    """

    command: str | None = None
    gets_values: bool = False
    mending: Mending = field(default_factory=Mending)
    force: bool = False
    by: str = ""


async def rehearse(context: Context, wanted: Wanted, repair: Repair, listener: Listener = _NOBODY) -> list[Outcome]:
    """What `replay` would do; changes nothing."""
    async with context.log.reader() as reader:
        run = _Run(context, repair, reader, listener)
        await run.check_topics()
        return [outcome async for outcome in run.outcomes(wanted)]


async def replay(
    context: Context, wanted: Wanted, repair: Repair, told: Callable[[Outcome], None], listener: Listener = _NOBODY
) -> None:
    """Publishes dead letters again.

    Args:
        context: The installation.
        wanted: Which of them.
        repair: How to repair them.
        told: Called with the outcome of each; for published ones once they are committed.
        listener: Told about progress.

    Raises:
        ExpectedError: Another run has taken over, or a transaction is in doubt; run it again to continue.
    """
    writer = context.log.writer(context.transactional_id("replay"))
    try:
        async with context.log.reader() as reader:
            run = _Run(context, repair, reader, listener)
            await run.check_topics()
            await writer.start()
            await run.publish(wanted, writer, told)
    except FencedError:
        raise ExpectedError(
            "another replay of this installation has started and taken over; what was replayed is remembered",
            exit_code=3,
        ) from None
    except InDoubtError as error:
        raise ExpectedError(
            f"whether the last records were published is not known here ({error}), but in Kafka: run the same command again to continue",
            exit_code=3,
        ) from error
    finally:
        await writer.stop()


class _Run:
    def __init__(self, context: Context, repair: Repair, reader: LogReader, listener: Listener) -> None:
        self._listener = listener
        catalogue = context.catalogue
        self._context = context
        self._repair = repair
        self._reader = reader
        self._sources = {name: family_of(number) for number, name in catalogue.names().items()}
        self._sources |= {catalogue.targets.name: TARGETS, catalogue.controls.name: CONTROLS}
        self._partitions: dict[str, int] = {}

    async def check_topics(self) -> None:
        names = [self._context.catalogue.replayed.name, *self._sources]
        self._partitions = await self._reader.partition_counts(names)
        require_topics(self._partitions)

    async def outcomes(self, wanted: Wanted) -> AsyncIterator[Outcome]:
        """What to do with each selected dead letter, in order."""
        self._listener.say("reading the dead letters")
        letters = await read_letters(self._context, wanted, self._reader)
        missing = set(wanted.places) - {letter.place for letter in letters}
        if missing:
            raise ExpectedError(f"there is no such dead letter of {min(missing)}: see milestones dead-letters list")
        before = await read_replayed(self._context, self._reader)
        is_filtered = self._repair.command is not None and not self._repair.gets_values
        self._listener.plan(len(letters) * (2 if is_filtered else 1))
        edited = await self._edited(letters, wanted, before)
        self._listener.say("judging and publishing")
        for number, letter in enumerate(letters, start=1):
            if not number % _TOLD_TOGETHER:
                self._listener.progress(_TOLD_TOGETHER)
            note = before.get(letter.place)
            if note is not None:
                yield Outcome(letter, "replayed before", f"by {note.by} at {note.at}")
            elif _is_not_asked_for(letter, wanted):
                yield Outcome(letter, "skipped", _ASK_FOR_IT)
            else:
                yield await self._repaired(letter, edited)

    async def _edited(
        self, letters: Sequence[DeadLetter], wanted: Wanted, before: Mapping[Place, Replayed]
    ) -> dict[Place, Edited] | None:
        """The filter's results for the records; `None` if there is no filter."""
        if self._repair.command is None or self._repair.gets_values:
            return None
        mended = [
            (letter, self._repair.mending.apply(Content(letter.key, letter.value, letter.headers)))
            for letter in letters
            if letter.place not in before and not _is_not_asked_for(letter, wanted)
        ]
        if not mended:
            return {}
        try:
            self._listener.say("in the hands of the command")
            return await filtered(self._repair.command, mended, self._listener.progress)
        except ValueError as error:
            raise ExpectedError(f"--edit: {error}; nothing was published") from None

    async def publish(self, wanted: Wanted, writer: LogWriter, told: Callable[[Outcome], None]) -> None:
        ready: list[Outcome] = []
        size = 0
        async for outcome in self.outcomes(wanted):
            if outcome.record is None:
                told(outcome)
                continue
            ready.append(outcome)
            size += _size(outcome.record)
            if len(ready) >= _MOST_RECORDS or size >= _MOST_BYTES:
                await self._commit(ready, writer, told)
                ready, size = [], 0
        await self._commit(ready, writer, told)

    async def _commit(self, ready: Sequence[Outcome], writer: LogWriter, told: Callable[[Outcome], None]) -> None:
        if not ready:
            return
        records = [outcome.record for outcome in ready if outcome.record is not None]
        at = utc_text(self._context.now_us())
        notes = [
            Outgoing(
                self._context.catalogue.replayed.name,
                0,
                outcome.letter.place.key,
                encode_note(
                    Replayed(
                        by=self._repair.by,
                        at=at,
                        topic=record.topic,
                        partition=record.partition,
                        edited=outcome.edited,
                    )
                ),
            )
            for outcome, record in zip(ready, records, strict=True)
        ]
        await writer.commit([*records, *notes])
        for outcome in ready:
            told(outcome)

    # One dead letter ------------------------------------------------------------------------------------------------

    async def _repaired(self, letter: DeadLetter, edited: Mapping[Place, Edited] | None) -> Outcome:
        if letter.place.topic not in self._sources:
            return Outcome(letter, "left", "its topic is none that this installation reads")
        topic = self._sources[letter.place.topic]
        before = Content(letter.key, letter.value, letter.headers)
        content = self._repair.mending.apply(before)
        if edited is not None:
            answer = edited.get(letter.place)
            if answer is None:
                return Outcome(letter, "skipped", "the command gave nothing")
            if answer.content is None:
                return Outcome(letter, "left", answer.failure)
            content = answer.content
        elif self._repair.command is not None:
            value, failure = await _edit(self._repair.command, letter, content.value)
            if failure:
                return Outcome(letter, "left", failure)
            if not value:
                return Outcome(letter, "skipped", "the command gave nothing")
            content = content._replace(value=value)
        repaired = [
            words
            for words, changed in (
                ("edited", content.value != before.value),
                ("headers edited", content.headers != before.headers),
            )
            if changed
        ]
        key = _key_of(content.value, content.headers, topic) or content.key
        if key != letter.key:
            repaired.append("key repaired")
        why_not = "" if self._repair.force else self._would_be_rejected(letter, topic, content._replace(key=key))
        record = Outgoing(
            letter.place.topic,
            homes([key or b""], self._partitions[letter.place.topic])[0],
            key,
            content.value,
            content.headers,
        )
        if why_not:
            return Outcome(letter, "left", why_not, after=record if repaired else None)
        is_edited = content[1:] != before[1:]
        return Outcome(letter, "replay", ", ".join(repaired), record, is_edited, record if repaired else None)

    def _would_be_rejected(
        self,
        letter: DeadLetter,
        topic: int,
        content: Content,
    ) -> str:
        """Why the record would become a dead letter again; empty if it would not."""
        record = Candidate(*content, self._context.now_us() // 1000)
        limit_us = self._context.settings.future_limit_s * 1_000_000
        framed = self._context.settings.accept_schema_registry_json
        (outcome,) = verdicts_on([record], topic=topic, future_limit_us=limit_us, framed=framed)
        if isinstance(outcome, Rejection):
            return f"would be rejected again: {outcome.reason}: {outcome.message}"
        if letter.reason in DECIDED_BY_STATE and content[1:] == (letter.value, letter.headers):
            return f"would be rejected again: {letter.reason}: other events of its order stand against it"
        return ""


def _is_not_asked_for(letter: DeadLetter, wanted: Wanted) -> bool:
    """Whether replaying could crash the worker again, and was not requested explicitly."""
    return letter.reason == QUARANTINED and wanted.reason != QUARANTINED and not wanted.places


async def _edit(command: str, letter: DeadLetter, value: bytes | None) -> tuple[bytes, str]:
    """The new value, or why there is none.

    The command's environment describes the record: DEAD_LETTER_TOPIC, _PARTITION, _OFFSET, _REASON, _KEY.
    """
    place = letter.place
    environment = {
        "DEAD_LETTER_TOPIC": place.topic,
        "DEAD_LETTER_PARTITION": str(place.partition),
        "DEAD_LETTER_OFFSET": str(place.offset),
        "DEAD_LETTER_REASON": letter.reason,
        "DEAD_LETTER_KEY": (letter.key or b"").decode(errors="replace").replace("\0", ""),
    }
    process = await asyncio.create_subprocess_shell(
        command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
        process_group=0,
    )
    try:
        async with asyncio.timeout(_EDIT_TIMEOUT_S):
            output, _ = await process.communicate(value or b"")
    except TimeoutError:
        return b"", f"the command took longer than {_EDIT_TIMEOUT_S:.0f} s"
    finally:
        await ended(process)
    if process.returncode in NOT_RUN:
        raise ExpectedError(f"--edit: {how_it_failed(process.returncode)}")
    if process.returncode:
        return b"", how_it_failed(process.returncode)
    # Commands usually end their output with a line feed, which is not part of the value.
    if not (value or b"").endswith(b"\n"):
        output = output.removesuffix(b"\n")
    return output, ""


def _key_of(value: bytes | None, headers: Sequence[tuple[str, bytes | None]], topic: int) -> bytes | None:
    """The key that follows from the record's value; `None` if it has none."""
    document = loosely((value or b"").removeprefix(b"\xef\xbb\xbf"))
    try:
        event = document if is_structured(headers) else {"data": document}
    except (HeaderError, BatchError):
        return None
    return key_of(event, topic)


def _size(record: Outgoing) -> int:
    return len(record.key or b"") + len(record.value or b"") + sum(len(value or b"") for _, value in record.headers)
