"""Events that correct what a publisher sent, in an operator's name: made from the records they correct, published together.

A correction never changes a record. It voids an event, or voids it and publishes it again with another time, or cancels an
order; undoing a correction is another correction. The ids of its events are digests of what is corrected and of all known events
of the order, so the same correction of the same order yields the same events, however often it is requested.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from schemas.authority import canonical
from schemas.codec import encode_document, encode_event
from schemas.facts import PRODUCTION, Fact, Kind, Rejection, family_of
from schemas.instants import MissingOffsetError, format_instant, parse_instant, utc_text
from schemas.partitioner import homes
from schemas.texts import tidy_key
from streams.errors import ExpectedError
from streams.kafka.outbox import Outgoing
from streams.kafka.publication import STRUCTURED_HEADERS, Candidate, verdicts_on
from streams.kafka.transactions import FencedError, InDoubtError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from streams.context import Context
    from streams.kafka.log import LogReader
    from streams.kafka.records import LogRecord
    from streams.settings import Settings

#: `source` of every event of a correction.
SOURCE: Final = "/milestones/corrections"

_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_DIGEST_BYTES: Final = 10
_LATER: Final = 1 << 62


class Note(NamedTuple):
    """What the events of a correction say about it.

    Attributes:
        by: The operator.
        reason: One line.
        at_us: Time of the correction, microseconds since 1970.
    """

    by: str
    reason: str
    at_us: int


class Corrected(NamedTuple):
    """An event of the order that is corrected.

    Attributes:
        event: The event as applied.
        record: The record that brought it; `None` if it was deleted.
        topic: Name of its topic, if there is no record to tell.
    """

    event: Fact
    record: LogRecord | None
    topic: str = ""

    @property
    def published_at(self) -> tuple[int, int]:
        """A sort key by time of publication: milliseconds since 1970, and an offset."""
        if self.record is None:
            return self.event.time_us // 1000, self.event.offset
        return self.record.timestamp, self.record.offset


@dataclass(frozen=True)
class Draft:
    """One event of a correction.

    Attributes:
        topic: Name of its topic, the same as that of the record it corrects.
        number: Number of that topic.
        event: The event as structured JSON.
    """

    topic: str
    number: int
    event: dict[str, Any]

    @property
    def key(self) -> bytes:
        """The key of its record."""
        return str(self.event["subject"]).encode()

    @property
    def value(self) -> bytes:
        """The value of its record."""
        return encode_document(self.event)


class Correction:
    """The events of one correction, in the order in which they are published.

    Args:
        action: What is done: void, move, cancel or undo.
        order_id: The order.
        known: (source, id) of all events of the order.
        note: Who, why, when.
        about: What else distinguishes this correction, such as the time to move to.
    """

    def __init__(
        self, action: str, order_id: str, known: Collection[tuple[str, str]], note: Note, about: Sequence[str]
    ) -> None:
        told = json.dumps([action, order_id, sorted(known), list(about)], ensure_ascii=False).encode()
        self.id = f"{action}-{hashlib.blake2b(told, digest_size=_DIGEST_BYTES).hexdigest()}"
        self.drafts: list[Draft] = []
        self._order_id = order_id
        self._note = note

    def void(self, given: Corrected) -> None:
        """Voids an event."""
        voids = {"source": given.event.source, "id": given.event.id}
        of_production = family_of(given.event.topic) == PRODUCTION
        data = {"vin" if of_production else "order_id": self._order_id, "voids": voids, "reason": self._note.reason}
        kind = "production.voided.v1" if of_production else "event.voided.v1"
        self._add(given, kind, utc_text(self._note.at_us), data)

    def again(self, given: Corrected, time: str | None = None) -> None:
        """Publishes an event again, with its own time or another one, RFC 3339.

        Raises:
            ExpectedError: Its record was deleted; exit code 2.
        """
        if given.record is None:
            raise ExpectedError(
                f"the record of event {given.event.id} was deleted (retention), so it cannot be published again from here: void "
                "it, and publish it again from where it came",
                exit_code=2,
            )
        document = json.loads(encode_event(canonical(given.record, framed=True)[0]))
        self._add(given, document["type"], time or document["time"], document["data"])

    def cancel(self, placed: Corrected, time: str) -> None:
        """Cancels the order that an event placed."""
        data = {"order_id": self._order_id, "reason": self._note.reason}
        self._add(placed, "order.cancelled.v1", time, data)

    def _add(self, given: Corrected, kind: str, time: str, data: dict[str, Any]) -> None:
        event: dict[str, Any] = {
            "specversion": "1.0",
            "id": f"{self.id}-{len(self.drafts) + 1}",
            "source": SOURCE,
            "type": kind,
            "time": time,
            "subject": self._order_id,
            "datacontenttype": "application/json",
        }
        if given.event.backfill:
            event["backfill"] = True
        event |= {"operator": self._note.by, "operatorreason": self._note.reason, "data": data}
        self.drafts.append(Draft(given.record.topic if given.record else given.topic, given.event.topic, event))

    def facts(self, settings: Settings) -> list[Fact]:
        """The events as a worker would decode them.

        Raises:
            ExpectedError: A worker would reject one; exit code 2.
        """
        facts = []
        for place, draft in enumerate(self.drafts):
            record = Candidate(draft.key, draft.value, STRUCTURED_HEADERS, self._note.at_us // 1000, 0, _LATER + place)
            (outcome,) = verdicts_on(
                [record], topic=family_of(draft.number), future_limit_us=settings.future_limit_s * 1_000_000
            )
            if isinstance(outcome, Rejection):
                raise ExpectedError(f"that would be no valid event: {outcome.reason}: {outcome.message}", exit_code=2)
            if isinstance(outcome, Fact):  # as are all events on these topics
                facts.append(outcome)
        return facts


def last_correction(events: Sequence[Corrected]) -> list[Corrected]:
    """The events of the last correction of an order, in order; none if it was never corrected."""
    groups: dict[str, list[Corrected]] = {}
    for given in events:
        if given.event.source == SOURCE:
            groups.setdefault(given.event.id.rpartition("-")[0], []).append(given)
    if not groups:
        return []
    # The records of a correction are in one transaction, so they share a time; within a partition, offsets order them.
    last = max(groups.values(), key=lambda group: max(one.published_at for one in group))
    return sorted(last, key=lambda given: int(given.event.id.rpartition("-")[2]))


def taken_back(events: Sequence[Corrected], correction: Correction) -> None:
    """Adds to a correction what undoes the last one: what that voided is published again, what it published is voided."""
    by_identity = {(given.event.source, given.event.id): given for given in events}
    voided = {given.event.voids for given in events if given.event.voids is not None}
    last = last_correction(events)
    for given in last:
        if given.event.kind != Kind.VOIDED and (given.event.source, given.event.id) not in voided:
            correction.void(given)
    for given in last:
        voids = given.event.voids
        if voids is not None and voids in by_identity:
            correction.again(by_identity[voids])


def moved_time(event: Fact, to: str, timezone: str, day_starts: int = 0) -> str:
    """The time that an event is moved to, RFC 3339 with the business time zone's offset.

    Args:
        event: The event.
        to: A business date, on which the event keeps its time of day; or a date and time, in business time if without an offset.
        timezone: The business time zone.
        day_starts: Local hour at which a business day begins: an earlier time of day is on the next civil date.

    Raises:
        ValueError: `to` is neither.
    """
    zone = ZoneInfo(timezone)
    was = (_EPOCH + timedelta(microseconds=event.time_us)).astimezone(zone)
    text = to.strip()
    try:
        if len(text) == len("2024-10-30"):
            day = datetime.fromisoformat(text) + timedelta(days=was.hour < day_starts)
            moved = day.replace(
                hour=was.hour, minute=was.minute, second=was.second, microsecond=was.microsecond, tzinfo=zone
            )
            # A time of day that a clock change skips becomes an hour later.
            return format_instant((_EPOCH + (moved - _EPOCH)).astimezone(zone))
        return format_instant(parse_instant(text).astimezone(zone))
    except MissingOffsetError:
        local = datetime.fromisoformat(text.replace("t", "T")).replace(tzinfo=zone)
        return format_instant((_EPOCH + (local - _EPOCH)).astimezone(zone))
    except ValueError:
        raise ValueError("not a date such as 2024-10-30, or a time such as 2024-10-30T14:00+08:00") from None


async def publish(context: Context, correction: Correction, since: Mapping[tuple[str, int], int]) -> None:
    """Publishes the events of a correction in one transaction.

    Args:
        context: The installation.
        correction: The correction with its events.
        since: How far each source partition had been read when it was made.

    Raises:
        ExpectedError: The order has received events since (exit code 1), another correction has taken over, or the outcome is in
            doubt.
    """
    writer = context.log.writer(context.transactional_id("correct"))
    key = correction.drafts[0].key
    try:
        async with context.log.reader() as reader:
            counts = await reader.partition_counts({draft.topic for draft in correction.drafts})
            # A run that starts later fences us, so no other correction can commit between this read and our commit.
            await writer.start()
            await _refuse_if_changed(reader, key, since)
            home = {topic: homes([key], count)[0] for topic, count in counts.items()}
            await writer.commit(
                [
                    Outgoing(draft.topic, home[draft.topic], draft.key, draft.value, STRUCTURED_HEADERS)
                    for draft in correction.drafts
                ]
            )
    except FencedError:
        raise ExpectedError(
            "another correction has been started and taken over; nothing was published: run it again", exit_code=3
        ) from None
    except InDoubtError as error:
        raise ExpectedError(
            f"whether the correction was published is not known here ({error}), but in Kafka: run the same command again, "
            "it says so or publishes the same events",
            exit_code=3,
        ) from error
    finally:
        await writer.stop()


async def _refuse_if_changed(reader: LogReader, key: bytes, since: Mapping[tuple[str, int], int]) -> None:
    async for records in reader.read(since, since=since):
        if any(record.key is not None and tidy_key(record.key) == key for record in records):
            raise ExpectedError(
                f"order {key.decode()} has got another event meanwhile; nothing was published: look at it again",
                exit_code=1,
            )
