"""Judges events as a worker would, without Kafka: the verdict, the canonical form, the ids."""

from __future__ import annotations

import base64
import binascii
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from schemas.authority import canonical
from schemas.cloudevents import canonical_name
from schemas.codec import encode_event
from schemas.facts import FAMILIES, Rejection, family_of, topic_number
from schemas.partitioner import homes
from schemas.texts import tidy_key
from schemas.wrappers import of_bytes
from streams.events.event_files import NumberedLine, events_of
from streams.events.ndjson import key_of, loosely, topic_of
from streams.kafka.publication import CONTROLS, STRUCTURED_HEADERS, TARGETS, Candidate, verdicts_on

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.settings import Settings

#: Keys that make a JSON object a record rather than an event.
_RECORD: Final = ("value", "value_b64")
_COMPRESSED: Final = "compressed"
_READ_AS_TEXT: Final = frozenset({_COMPRESSED, "utf_16"})


@dataclass(frozen=True)
class EventVerdict:
    """The verdict on one event.

    Attributes:
        number: Its line number, from 1.
        rejection: Why it would become a dead letter; `None` if it would not.
        topic: The topic it belongs on, or was said to be on.
        key: The key of its record.
        partition: Its home among the installation's partitions.
        made_good: Tolerated deviations from the contract, a line each.
        event: The canonical form, as structured JSON.
    """

    number: int
    rejection: Rejection | None
    topic: str
    key: str | None = None
    partition: int | None = None
    made_good: tuple[str, ...] = ()
    event: dict[str, Any] | None = None

    def document(self) -> dict[str, Any]:
        """Everything, for programs."""
        if self.rejection is not None:
            return {
                "line": self.number,
                "verdict": "rejected",
                "reason": self.rejection.reason,
                "message": self.rejection.message,
                "topic": self.topic,
            }
        event = self.event or {}
        return {
            "line": self.number,
            "verdict": "accepted",
            "topic": self.topic,
            "key": self.key,
            "partition": self.partition,
            "ids": {"source": event.get("source"), "id": event.get("id"), "key": self.key},
            "made_good": list(self.made_good),
            "event": event,
        }


@dataclass(frozen=True)
class _Given:
    """A record as given."""

    number: int
    candidate: Candidate
    family: int
    topic: str


class EventChecker:
    """Gives the verdict that a worker with these settings would give now."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._catalogue = catalogue = settings.catalogue
        self._void_topic = family_of(min(catalogue.published))
        self._families = {name: family_of(number) for number, name in catalogue.names().items()}
        self._families |= {catalogue.targets.name: TARGETS, catalogue.controls.name: CONTROLS}
        self._limit_us = settings.future_limit_s * 1_000_000
        self._framed = settings.accept_schema_registry_json

    def check(self, content: bytes, topic: str | None = None, *, unpacks: bool = True) -> list[EventVerdict]:
        """The verdicts on what a file holds: events in any form that `publish` reads, or records, or one raw value.

        A record is an object with `value` (a string) or `value_b64`, and optionally `key`, `headers` and `topic`.

        Args:
            content: The file.
            topic: Name of the topic that all are on; by default each is on that of its type.
            unpacks: Whether compressed content is decompressed, as for files; else it is judged as a worker would.

        Raises:
            ValueError: The file holds no events; or there is no such topic.
        """
        return self.verdicts(self.lines(content, unpacks=unpacks), topic)

    def lines(self, content: bytes, *, unpacks: bool = True) -> Sequence[NumberedLine]:
        """The events of a file, or its one raw value; arguments and errors as of `check`."""
        wrapper = of_bytes(content)
        if wrapper not in {None, *_READ_AS_TEXT} or (wrapper == _COMPRESSED and not unpacks):
            return [NumberedLine(1, content)]
        return [line for line in events_of(content) if line.text.strip()]

    def verdicts(self, lines: Sequence[NumberedLine], topic: str | None = None) -> list[EventVerdict]:
        """The verdict on each; `topic` and errors as of `check`."""
        return [self._verdict(self._given(line, topic)) for line in lines]

    def _given(self, line: NumberedLine, topic: str | None) -> _Given:
        now_ms = time.time_ns() // 1_000_000
        document = loosely(line.text)
        if any(name in document for name in _RECORD) and "specversion" not in document:
            key, value, headers = _record_of(document, line.number)
            content = loosely(value or b"")
            kind = content.get("type") or {canonical_name(name): text for name, text in headers}.get("ce_type")
            family = topic_of(kind.decode(errors="replace") if isinstance(kind, bytes) else kind, self._void_topic)
            if topic is None and document.get("topic") in self._families:
                topic = document["topic"]
        else:
            family = topic_of(document.get("type"), self._void_topic)
            key, value, headers = key_of(document, family), line.text.strip(), STRUCTURED_HEADERS
        if family < len(FAMILIES) and topic_number(family, 0) not in self._catalogue.published:
            family = self._void_topic
        if topic is not None:
            family = self._family(topic)
        return _Given(line.number, Candidate(key, value, headers, now_ms), family, topic or self._name(family))

    def _verdict(self, given: _Given) -> EventVerdict:
        (outcome,) = verdicts_on(
            [given.candidate], topic=given.family, future_limit_us=self._limit_us, framed=self._framed
        )
        if isinstance(outcome, Rejection):
            return EventVerdict(given.number, outcome, given.topic)
        event, made_good = canonical(given.candidate, framed=self._framed)
        key = tidy_key(given.candidate.key or b"")
        partition = None
        if given.family < len(FAMILIES):
            partition = homes([key], self._settings.partitions)[0]
        document = json.loads(encode_event(event))
        return EventVerdict(given.number, None, given.topic, key.decode(), partition, tuple(made_good), document)

    def _name(self, family: int) -> str:
        catalogue = self._catalogue
        others = {TARGETS: catalogue.targets, CONTROLS: catalogue.controls}
        return (others.get(family) or catalogue.published[topic_number(family, 0)]).name

    def _family(self, topic: str) -> int:
        if topic not in self._families:
            raise ValueError(f"no topic {topic} is read; there are {', '.join(self._families)}")
        return self._families[topic]


def _record_of(
    document: dict[str, Any], number: int
) -> tuple[bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]:
    headers = document.get("headers") or {}
    pairs = headers.items() if isinstance(headers, dict) else headers
    try:
        key = base64.b64decode(document["key_b64"]) if "key_b64" in document else _bytes(document.get("key"))
        value = base64.b64decode(document["value_b64"]) if "value_b64" in document else _bytes(document["value"])
        return key, value, tuple((str(name), _bytes(text)) for name, text in pairs)
    except (binascii.Error, TypeError, ValueError, AttributeError):
        raise ValueError(
            f"line {number}: a record has the texts key and value (or value_b64 in base64) and headers, an object of texts"
        ) from None


def _bytes(text: Any) -> bytes | None:
    if text is not None and not isinstance(text, str):
        raise TypeError
    return None if text is None else text.encode()
