"""What operators have decided about single records, kept in compact internal topics by the record's place."""

from __future__ import annotations

from typing import Annotated, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field

#: One line that a person has written: no control characters, so that it is fit for a header, a log and a terminal.
Line = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$")]


class Place(NamedTuple):
    """Where a source record was published: equal to the plain tuple (topic, partition, offset)."""

    topic: str
    partition: int
    offset: int

    @property
    def key(self) -> bytes:
        """Key of a note about the record: `TOPIC PARTITION OFFSET`."""
        return f"{self.topic} {self.partition} {self.offset}".encode()

    @classmethod
    def of_key(cls, key: bytes) -> Self:
        """The place that a key names.

        Raises:
            ValueError: It names none.
        """
        topic, partition, offset = key.decode().split(" ")
        return cls(topic, int(partition), int(offset))

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}@{self.offset}"


class _Note(BaseModel):
    # A command uses few of the models, and would wait for all of them at its start.
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", defer_build=True)

    by: Line
    at: str


class Quarantine(_Note):
    """An order to skip a record: `reason` says why, `by` who ordered it, `at` when (RFC 3339)."""

    reason: Line

    @property
    def line(self) -> str:
        """Who, when, why, as the dead letter's line for a person."""
        return f"quarantined by {self.by} at {self.at}: {self.reason}"


class Gap(_Note):
    """Records of a source partition that were removed unread are done without.

    Attributes:
        until: First offset that was left when it was accepted.
        reason: Why.
    """

    until: int
    reason: Line


def gap_key(topic: str, partition: int) -> bytes:
    """Key of the note about a gap of a source partition: `TOPIC PARTITION`, one part less than a `Place` has."""
    return f"{topic} {partition}".encode()


def gap_of_key(key: bytes) -> tuple[str, int] | None:
    """Topic and partition of the key of such a note; `None` for other keys."""
    parts = key.decode().split(" ")
    return (parts[0], int(parts[1])) if len(parts) == 2 else None


class Replayed(_Note):
    """A dead letter was published again: by whom, when (RFC 3339), to where, and whether its value was edited."""

    topic: str
    partition: int
    edited: bool
