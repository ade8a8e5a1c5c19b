"""Keys of the topic of day counts: one day of a ledger partition, or the marker that ends its transaction."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple, cast

from schemas.facts import Metric

_MARKER = "applied"


#: (metric, scope, business date): what one day count is about.
DayKey = tuple[Metric, str, date]


class CountsKey(NamedTuple):
    """A decoded key; `day` is `None` for the marker."""

    shard: int
    day: DayKey | None


def encode_day_key(shard: int, metric: str, scope: str, day: date) -> bytes:
    """Key of the count of one day: `shard|metric|scope|date`."""
    return f"{shard}|{metric}|{scope}|{day.isoformat()}".encode()


def encode_marker_key(shard: int) -> bytes:
    """Key of a shard's marker, the last record of each of its transactions: `shard|applied`."""
    return f"{shard}|{_MARKER}".encode()


def decode_counts_key(key: bytes) -> CountsKey:
    """Decodes a key.

    Raises:
        ValueError: It is neither of the two.
    """
    shard, metric, *rest = key.decode().split("|")
    if not rest and metric == _MARKER:
        return CountsKey(int(shard), None)
    scope, day = rest
    # The ledger writes no other metrics.
    return CountsKey(int(shard), (cast("Metric", metric), scope, date.fromisoformat(day)))
