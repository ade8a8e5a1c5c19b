"""Keys of the day counts topic: a day of a ledger partition, an hour of a campaign, or the marker that ends a transaction."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple, cast

from schemas.facts import Metric

_CAMPAIGN = "campaign:"
#: How the keys of markers, and those of the hours of event sources (`schemas.source_hours`), go on after the shard.
MARKER, HOURS_BEGIN = b"applied", b"hours|"


class CampaignHour(NamedTuple):
    """An hour of a campaign: the campaign's name, and the number of the hour since its start, from 0."""

    campaign: str
    hour: int


#: (metric, scope, business date): what a day count is about.
DayKey = tuple[Metric, str, date]
#: (metric, scope, hour of a campaign): what a count of a campaign is about.
CampaignKey = tuple[Metric, str, CampaignHour]
CountKey = tuple[Metric, str, date | CampaignHour]


class CountsKey(NamedTuple):
    """A decoded key; `counted` is `None` for the marker."""

    shard: int
    counted: CountKey | None

    @property
    def day(self) -> DayKey | None:
        """The key as that of a day; `None` if it is not."""
        if self.counted is None:
            return None
        metric, scope, part = self.counted
        return None if isinstance(part, CampaignHour) else (metric, scope, part)

    @property
    def campaign(self) -> CampaignKey | None:
        """The key as that of an hour of a campaign; `None` if it is not."""
        if self.counted is None:
            return None
        metric, scope, part = self.counted
        return (metric, scope, part) if isinstance(part, CampaignHour) else None


def shard_prefix(shard: int) -> bytes:
    """What the keys of a shard begin with, before `encode_counted`."""
    return b"%d|" % shard


def encode_counted(key: CountKey) -> bytes:
    """What a count is about, as in its key: `metric|scope|date`, or `metric|scope|campaign:NAME:HOUR`."""
    metric, scope, part = key
    if isinstance(part, CampaignHour):
        return f"{metric}|{scope}|{_CAMPAIGN}{part.campaign}:{part.hour}".encode()
    return f"{metric}|{scope}|{part.isoformat()}".encode()


def decode_counted(counted: bytes) -> CountKey:
    """The inverse."""
    metric, scope, part = counted.decode().split("|")
    # The ledger writes no other metrics.
    return cast("Metric", metric), scope, _part_of(part)


def scope_counted(counted: bytes) -> str:
    """The scope that a count is about."""
    return counted.split(b"|", 2)[1].decode()


def is_of_campaign(counted: bytes) -> bool:
    """Whether a count is of an hour of a campaign."""
    return counted.rpartition(b"|")[2].startswith(_CAMPAIGN.encode())


def encode_marker_key(shard: int) -> bytes:
    """Key of a shard's marker, the last record of each of its transactions: `shard|applied`."""
    return shard_prefix(shard) + MARKER


def split_key(key: bytes) -> tuple[int, bytes]:
    """The shard of any key of the topic, and the rest of it: `MARKER`, or something that begins with `HOURS_BEGIN`, or a count's.

    Takes a tenth of the time of decoding all of it.

    Raises:
        ValueError: It does not begin with the number of a shard.
    """
    shard, _, rest = key.partition(b"|")
    return int(shard), rest


def decode_counts_key(key: bytes) -> CountsKey:
    """Decodes a key.

    Raises:
        ValueError: It is not of these three kinds.
    """
    shard, rest = split_key(key)
    return CountsKey(shard, None if rest == MARKER else decode_counted(rest))


def _part_of(text: str) -> date | CampaignHour:
    if not text.startswith(_CAMPAIGN):
        return date.fromisoformat(text)
    campaign, hour = text.removeprefix(_CAMPAIGN).split(":")
    return CampaignHour(campaign, int(hour))
