"""What the totals remember besides what they have published, in the compact topic `milestones.internal.<prefix>totals`.

Keys are `KIND|NAME`; each record is written in the transaction that it describes. A snapshot spares whoever takes over from
reading all rows and counts: what has been written since is read on top of it.
"""

from __future__ import annotations

from datetime import date  # noqa: TC003 - msgspec reads annotations at run time
from typing import Final

import msgspec

from schemas.outputs import Marker  # noqa: TC001 - msgspec reads annotations at run time

#: Of a side topic: how far it has been taken. The name is the topic's.
SIDE: Final = "side"
#: Of a milestone: since when its retraction is held back. The name is its id.
HELD: Final = "held"
#: Before the names of the parts of a snapshot. Their kind is SIDE, as is the next one's: earlier versions pass over names that
#: are no topic of theirs.
SNAPSHOT: Final = "snapshot/"
#: Before the id of a milestone event that is decided and not published yet, because its rows take several transactions.
DECIDED: Final = "decided/"
#: Before the id of a milestone event that waits for the ledger partitions to say which unit passed its number.
WAITING: Final = "waiting/"
#: Before the id of a milestone: what had been counted when its unit was found. Nobody but `verify` reads it.
CUT: Final = "cut/"
#: Before the dimensions of a set of scopes, with commas between: from when on days of such scopes have rows.
KEPT: Final = "kept/"

#: Before the key of a forecast: what alerts about it are compared with, and no event says.
EXPECTED: Final = "expected/"
#: Before the id of the period of a campaign: it is counted, as the value says in text. Of one without it, what is there is no news.
COUNTED: Final = "counted/"

#: The announcement of campaigns, in text, that the rows are counted by.
ANNOUNCED: Final = "announced"

#: Before the id of an alert about a silence that was there before its rule, and before that of the rule once all scopes have been
#: looked at.
QUIET: Final = "quiet/"
JUDGED: Final = "judged/"
#: Before a `SourceKey`: in which hours events have come of that source, of all ledger partitions.
HOURS: Final = "hours/"


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


class KeptRecord(msgspec.Struct, frozen=True):
    """From which business date on days of a set of scopes have rows.

    Attributes:
        since: The first one.
        days: How many before the latest one the setting asked for then.
    """

    since: date
    days: int


class LastExpected(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was last known of a target's forecast, with or without an alert.

    Attributes:
        value: Of the target; of another value nothing is known.
        is_behind: Whether the target was expected to be missed; None where nobody was to know.
        expected_on: When it was expected to be reached, by the last alert or, before there is one, at first; None likewise.
        is_in_sight: Whether that was a date of the forecast, not the first one after its horizon.
        backfilled: Units of its metric and scope that had been loaded as history.
    """

    value: int
    is_behind: bool | None = None
    expected_on: date | None = None
    is_in_sight: bool = True
    backfilled: int = 0


class FoundAt(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the ledger partitions had taken when they said which unit passed the number of a milestone.

    Attributes:
        revision: Of the milestone.
        positions: Ledger partition → source by `source_name` → the first offset that it had not taken.
        aliases: What names were counted as.
    """

    revision: int
    positions: dict[int, dict[str, int]]
    aliases: str = ""


class RowBlock(msgspec.Struct, frozen=True, array_like=True):
    """Consecutive rows of a snapshot.

    Attributes:
        columns: By name, numbers of fixed size each, little-endian; published ones as their difference (XOR) from the current.
        cells: The packed counts of each row, on days.
        others: Published versions that the columns do not hold in full, as on their topic.
    """

    columns: dict[str, bytes]
    cells: list[bytes | None]
    others: list[bytes]


class SeriesBlock(msgspec.Struct, frozen=True, array_like=True):
    """Consecutive series of a snapshot: metric and scope, by number."""

    series: list[tuple[str, str]]


class PeriodBlock(msgspec.Struct, frozen=True, array_like=True):
    """Consecutive periods of a snapshot, by number: id, first date, last date, version of the calendar or instants of a campaign."""

    periods: list[tuple[str, str, str, str | None]]


class TopicMark(msgspec.Struct, frozen=True):
    """A topic as it was: the next offset, and of its first record, offset, time in milliseconds and digest.

    A topic that was deleted and made again has another first record.
    """

    next: int
    first: tuple[int, int, str] | None


class SnapshotHead(msgspec.Struct, frozen=True, kw_only=True):
    """Written last, once all parts are: what they say holds at these offsets, or at later ones.

    Attributes:
        generation: Of the numbering of rows, series and periods; parts of different ones do not belong together.
        rows: How many rows there are.
        block_rows: How many of them each block has, but the last.
        series: How many series.
        periods: How many periods.
        cluster: Id of the cluster; empty where it tells none.
        counts: The topic of day counts.
        windows: The topic of rows.
        history: The next offset of the topic of their versions.
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
