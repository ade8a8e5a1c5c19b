"""Keys of counts as records have them; a ledger puts the shard in front of keys that it has made before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.counts import encode_counted, shard_prefix

if TYPE_CHECKING:
    from datetime import date

    from schemas.counts import CountKey
    from schemas.facts import Metric


def encode_count_key(shard: int, key: CountKey) -> bytes:
    """Key of a count: `shard|metric|scope|date`, or `shard|metric|scope|campaign:NAME:HOUR`."""
    return shard_prefix(shard) + encode_counted(key)


def encode_day_key(shard: int, metric: Metric, scope: str, day: date) -> bytes:
    """Key of a day's count."""
    return encode_count_key(shard, (metric, scope, day))
