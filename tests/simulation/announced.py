"""Announced campaigns: everything is counted by the result of the events about them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from schemas.memory import ANNOUNCED, COUNTED, SIDE, key_of
from tests.simulation.broken import BrokenError
from tests.simulation.periods import LONGEST, Campaign, Campaigns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.outputs import Marker
    from tests.simulation.cluster import Entry
    from tests.simulation.committed import Committed, Shard
    from tests.simulation.counts import Counts


class Announced:
    """Checks by which campaigns partitions count.

    Args:
        so_far: What has been committed.
        counts: Counts orders again.
    """

    def __init__(self, so_far: Committed, counts: Counts) -> None:
        self._so_far = so_far
        self._world = so_far.world
        self._counts = counts

    def _counted_after(self, events: Sequence[dict[str, Any]]) -> Campaigns:
        """The campaigns that are counted after some events, by the plain rule."""
        settled, found = dict(self._so_far.of_settings), Campaigns()
        for event in sorted(events, key=lambda event: (event["time"], event["id"])):
            data = event["data"]
            settled.pop(f"campaign:{data['campaign']}", None)
            found.pop(f"campaign:{data['campaign']}", None)
            if event["type"] == "campaign.set.v1":
                start = datetime.fromisoformat(data["start"])
                end = datetime.fromisoformat(data["end"]) if "end" in data else start + LONGEST
                found[f"campaign:{data['campaign']}"] = Campaign(start, end, "scopes" not in data)
        most = self._world.settings.limits.announced_campaigns
        while len(found) > most:
            latest = max(datetime.fromisoformat(event["time"]) for event in events)
            over = [period for period, campaign in found.items() if campaign.end <= latest]
            if over:
                # The one that began longest ago; of two, the one whose name is the last.
                earliest = min(found[period].start for period in over)
                del found[max(period for period in over if found[period].start == earliest)]
                self._world.seen["campaigns over beyond the limit"] += 1
            else:
                del found[max(found, key=lambda period: (found[period].start, period))]
            self._world.seen["campaigns beyond the limit"] += 1
        return settled | found

    def _campaigns_by(self, text: str, who: str) -> Campaigns:
        """The campaigns of an announcement, which must be the result of the events up to one of them."""
        said = dict(self._so_far.of_settings)
        for each in filter(None, text.partition(" ")[2].split("; ")):
            name, _, span = each.partition("@")
            said.pop(f"campaign:{name}", None)
            if span != "-":
                said[f"campaign:{name}"] = _campaign_in(span)
        events = self._so_far.announcements()
        if not any(said == self._counted_after(events[:known]) for known in range(len(events) + 1)):
            raise BrokenError("announced", f"{who} counts by {text!r}, which no events come to")
        return said

    def hear(self, shard: Shard, marker: Marker, number: int) -> None:
        """Recounts everything in a ledger partition that counts by other campaigns."""
        if shard.campaigns is not None and marker.announced == shard.announced:
            return
        before, shard.announced = shard.campaigns, marker.announced
        shard.campaigns = self._campaigns_by(marker.announced, f"ledger {number}")
        self._world.seen["announcements counted by"] += before is not None
        for order_id in shard.orders:
            self._counts.count_again(shard, order_id)

    def hear_adopted(self, number: int, entries: list[Entry]) -> None:
        """Checks that all ledger partitions count by the announcement that a totals partition adopts."""
        part = self._so_far.parts[number]
        for entry in entries:
            if entry.key != key_of(SIDE, ANNOUNCED):
                continue
            part.announced = (entry.value or b"").decode()
            part.campaigns = self._campaigns_by(part.announced, f"totals {number}")
            others = {shard: marker.announced for shard, marker in part.summed.markers.items()}
            if set(others.values()) != {part.announced} or len(others) != len(self._so_far.shards):
                raise BrokenError("announced", f"totals {number} goes on by {part.announced!r}, ledgers by {others}")
            self._world.seen["announcements adopted"] += 1
            part.unchecked |= {key for key in part.summed.sums if key[2].startswith("campaign:")}

    def hear_judged(self, number: int, entries: list[Entry], *, has_rows: bool) -> None:
        """Notes the campaigns whose rows have been judged with this transaction, as the totals remember them."""
        part = self._so_far.parts[number]
        if part.judged is None and not part.has_published:
            part.judged = {}
        part.has_published |= has_rows
        prefix = key_of(SIDE, COUNTED)
        for entry in entries:
            if not (entry.key or b"").startswith(prefix):
                continue
            period = (entry.key or b"")[len(prefix) :].decode()
            part.judged = part.judged or {}
            part.judged.pop(period, None)
            if entry.value is not None:
                part.judged[period] = _campaign_in(entry.value.decode().partition("@")[2])

    @property
    def is_announcing(self) -> bool:
        """Whether any partition does not count by the result of all campaign events yet."""
        if not self._world.announces:
            return False
        expected = self._counted_after(self._so_far.announcements())
        totals = (self._so_far.of_settings if part.campaigns is None else part.campaigns for part in self._so_far.parts)
        return any(each != expected for each in (*(shard.campaigns for shard in self._so_far.shards), *totals))

    def check_end(self) -> None:
        """Checks that in the end everything counts by the result of all campaign events."""
        if not self._world.announces:
            return
        expected = self._counted_after(self._so_far.announcements())
        if self.is_announcing:
            ledgers, totals = (
                [one.announced for one in self._so_far.shards],
                [one.announced for one in self._so_far.parts],
            )
            raise BrokenError("announced", f"ledgers count by {ledgers}, totals by {totals}, announced are {expected}")
        for key, row in self._so_far.table.items():
            if key[2] in expected and not self._so_far.is_left_as_it_is(key):
                instants = [datetime.fromisoformat(row[name]).timestamp() for name in ("starts_at", "ends_at")]
                if instants != [each.timestamp() for each in expected[key[2]][:2]]:
                    raise BrokenError("announced", f"{key} is {row['starts_at']} to {row['ends_at']}, not {expected}")
        self._world.seen["campaigns that were announced"] += len(expected.keys() - self._so_far.of_settings.keys())
        self._world.seen["campaigns withdrawn"] += any(
            key[2].startswith("campaign:") and self._so_far.is_left_as_it_is(key) for key in self._so_far.table
        )


def _campaign_in(span: str) -> Campaign:
    """The campaign in the text that follows its name."""
    times, _, scopes = span.partition(" ")
    first, minutes = map(int, times.split("+"))
    start = datetime.fromtimestamp(first * 60, UTC)
    return Campaign(start, start + timedelta(minutes=minutes), "all" in scopes.split("|"))
