"""What the totals remember besides what they have published, in the compact topic `milestones.internal.<prefix>totals`.

Keys are `KIND|NAME`; each record is written in the transaction that it describes.
"""

from __future__ import annotations

from typing import Final

import msgspec

#: Of a side topic: how far it has been taken. The name is the topic's.
SIDE: Final = "side"
#: Of a row: the last of its versions that the history has. The name is metric/scope/period.
HISTORY: Final = "history"
#: Of a milestone: since when its retraction is held back. The name is its id.
HELD: Final = "held"


def key_of(kind: str, name: str) -> bytes:
    """Key of a record."""
    return f"{kind}|{name}".encode()


def name_of(key: bytes) -> tuple[str, str]:
    """Kind and name of a record."""
    kind, _, name = key.decode().partition("|")
    return kind, name


class SideState(msgspec.Struct, frozen=True, kw_only=True):
    """How far a side topic has been taken, and its books: read = applied + duplicates + the rejected.

    Attributes:
        first: Where the topic began when its reading did.
        next: The first offset that has not been taken.
        digest: Of the last record that was taken; empty before there is one.
        applied: Events that count.
        duplicates: Events that were known.
        rejected: Offsets of the dead letters, as runs (first, last). They are not judged again.
    """

    first: int
    next: int
    digest: str = ""
    applied: int = 0
    duplicates: int = 0
    rejected: list[tuple[int, int]] = []


class Held(msgspec.Struct, frozen=True):
    """Since when the retraction of a milestone is held back, microseconds since 1970 by the service's clock."""

    since_us: int


class HistoryMark(msgspec.Struct, frozen=True):
    """The last version of a row that the history has, and when it was written, microseconds since 1970."""

    version: int
    written_us: int
