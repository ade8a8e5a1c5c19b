"""Operators' decisions about single records, kept in compacted internal topics by the record's place."""

from __future__ import annotations

from typing import Annotated, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field

#: One line written by a person: without control characters, so that it is safe in a header, a log and a terminal.
Line = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$")]


class Place(NamedTuple):
    """Where a source record was published; equal to the plain tuple (topic, partition, offset)."""

    topic: str
    partition: int
    offset: int

    @property
    def key(self) -> bytes:
        """The key of a note about the record: `TOPIC PARTITION OFFSET`."""
        return f"{self.topic} {self.partition} {self.offset}".encode()

    @classmethod
    def of_key(cls, key: bytes) -> Self:
        """The place that a key names.

        Raises:
            ValueError: The key does not name a place.
        """
        topic, partition, offset = key.decode().split(" ")
        return cls(topic, int(partition), int(offset))

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}@{self.offset}"


class _Note(BaseModel):
    # A command uses few of the models, and would otherwise wait at its start for all of them to be built.
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", defer_build=True)

    by: Line
    at: str


class Quarantine(_Note):
    """An order to skip a record: `reason` says why, `by` who ordered it, `at` when (RFC 3339)."""

    reason: Line

    @property
    def line(self) -> str:
        """Who, when and why, as the dead letter's message."""
        return f"quarantined by {self.by} at {self.at}: {self.reason}"


class Gap(_Note):
    """Acceptance that records of a source partition were removed unread.

    Attributes:
        until: The first remaining offset when it was accepted.
        reason: Why it was accepted.
    """

    until: int
    reason: Line


def gap_key(topic: str, partition: int) -> bytes:
    """The key of the note about a gap in a source partition: `TOPIC PARTITION`, one part fewer than in a `Place`."""
    return f"{topic} {partition}".encode()


def gap_of_key(key: bytes) -> tuple[str, int] | None:
    """The topic and partition in the key of such a note; `None` for other keys."""
    parts = key.decode().split(" ")
    return (parts[0], int(parts[1])) if len(parts) == 2 else None


class Replayed(_Note):
    """A dead letter was published again: by whom, when (RFC 3339), to where, and whether its value was edited."""

    topic: str
    partition: int
    edited: bool
