"""What the totals remember besides what they have published, in the compacted topic `milestones.internal.<prefix>totals`.

Keys are `KIND|NAME`; each record is written in the transaction that it describes. A snapshot saves a new owner from reading all
rows and counts: it only has to read what has been written since.
"""

from __future__ import annotations

from datetime import date  # noqa: TC003 - msgspec reads annotations at run time
from typing import Final

import msgspec

from schemas.outputs import Marker  # noqa: TC001 - msgspec reads annotations at run time

#: How far a side topic has been taken; the name is the topic's.
SIDE: Final = "side"
#: Since when the retraction of a milestone has been held back; the name is the milestone's id.
HELD: Final = "held"
#: Prefix of the names of a snapshot's parts. Their kind is SIDE, like that of all further prefixes: earlier versions skip names that
#: are not those of their topics.
SNAPSHOT: Final = "snapshot/"
#: Prefix of the id of a milestone event that has been decided but not published yet, because its rows take several transactions.
DECIDED: Final = "decided/"
#: Prefix of the id of a milestone event that waits for the ledger partitions to say which unit passed its number.
WAITING: Final = "waiting/"
#: Prefix of the id of a milestone: what had been counted when its unit was found. Only `verify` reads it.
CUT: Final = "cut/"
#: Prefix of a set of dimensions, separated by commas: the date from which days of such scopes have rows.
KEPT: Final = "kept/"

#: Prefix of the key of a forecast: what alerts about it are compared with, and what no event says.
EXPECTED: Final = "expected/"
#: Prefix of the period id of a campaign that is counted; the value describes it in text. Without this record, what its rows already
#: have is not news.
COUNTED: Final = "counted/"

#: The announcement of campaigns, in text, by which the rows are counted.
ANNOUNCED: Final = "announced"

#: Prefix of the id of an alert about a silence that was there before its rule; also of the rule's, once all scopes have been checked.
QUIET: Final = "quiet/"
JUDGED: Final = "judged/"
#: Prefix of a `SourceKey`: the hours in which events of that source have come, over all ledger partitions.
SOURCE_HOURS: Final = "hours/"


def key_of(kind: str, name: str) -> bytes:
    """The key of a record."""
    return f"{kind}|{name}".encode()


def name_of(key: bytes) -> tuple[str, str]:
    """The kind and name in a key."""
    kind, _, name = key.decode().partition("|")
    return kind, name


class SideState(msgspec.Struct, frozen=True, kw_only=True):
    """How far a side topic has been taken, and its books: read = applied + duplicates + rejected.

    Attributes:
        first: The topic's first offset when reading began.
        next: The first offset that has not been taken.
        digest: Digest of the last record taken; empty before there is one.
        applied: Number of events that count.
        duplicates: Number of events that were known already.
        rejected: Offsets of the rejected records, as runs (first, last). They are not judged again.
    """

    first: int
    next: int
    digest: str = ""
    applied: int = 0
    duplicates: int = 0
    rejected: list[tuple[int, int]] = []


class Held(msgspec.Struct, frozen=True):
    """Since when the retraction of a milestone has been held back, microseconds since 1970 by the service's clock."""

    since_us: int


class KeptRecord(msgspec.Struct, frozen=True):
    """The business date from which days of a set of scopes have rows.

    Attributes:
        since: The first such date.
        days: How many days before the latest one the setting asked to keep then.
    """

    since: date
    days: int


class LastExpected(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was last known about a target's forecast, with or without an alert.

    Attributes:
        value: The target's value; the rest only holds for this value.
        is_behind: Whether the target was expected to be missed; None if nobody was to be alerted.
        expected_on: When it was expected to be reached, by the last alert or, before the first alert, by the first forecast; None if
            nobody was to be alerted.
        is_in_sight: Whether that was a date of the forecast, not the first one after its horizon.
        backfilled: Number of units of its metric and scope loaded as history by then.
    """

    value: int
    is_behind: bool | None = None
    expected_on: date | None = None
    is_in_sight: bool = True
    backfilled: int = 0


class FoundAt(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far the ledger partitions had read when they said which unit passed the number of a milestone.

    Attributes:
        revision: The milestone's revision.
        positions: Ledger partition → source by `source_name` → the first offset not yet taken.
        aliases: The aliases by which names were counted.
    """

    revision: int
    positions: dict[int, dict[str, int]]
    aliases: str = ""


class RowBlock(msgspec.Struct, frozen=True, array_like=True):
    """Consecutive rows of a snapshot.

    Attributes:
        columns: Name → fixed-size little-endian numbers; published values as XOR with the current ones.
        cells: The packed counts of each row, for days.
        others: Published versions that the columns cannot hold completely, as on their topic.
    """

    columns: dict[str, bytes]
    cells: list[bytes | None]
    others: list[bytes]


class SeriesBlock(msgspec.Struct, frozen=True, array_like=True):
    """Consecutive series of a snapshot, by number: metric and scope."""

    series: list[tuple[str, str]]


class PeriodBlock(msgspec.Struct, frozen=True, array_like=True):
    """Consecutive periods of a snapshot, by number: id, first date, last date, version of the calendar or instants of a campaign."""

    periods: list[tuple[str, str, str, str | None]]


class TopicMark(msgspec.Struct, frozen=True):
    """A topic as it was: its next offset, and offset, time in milliseconds and digest of its first record.

    A recreated topic has a different first record.
    """

    next: int
    first: tuple[int, int, str] | None


class SnapshotHead(msgspec.Struct, frozen=True, kw_only=True):
    """The head of a snapshot, written once all its parts are: they hold at these offsets, or at later ones.

    Attributes:
        generation: The numbering of rows, series and periods; parts of different generations do not belong together.
        rows: Number of rows.
        block_rows: Number of rows in each block but the last.
        series: Number of series.
        periods: Number of periods.
        cluster: Id of the cluster; empty if it has none.
        counts: The topic of day counts.
        windows: The topic of rows.
        history: The next offset of the topic of row versions.
        markers: Shard → its last marker.
        campaigns: The campaigns that were counted.
    """

    generation: str
    rows: int
    block_rows: int
    series: int
    periods: int
    cluster: str
    counts: TopicMark
    windows: TopicMark
    history: int
    markers: dict[int, Marker]
    campaigns: str = ""
