"""The campaigns that events announce: from the totals to the ledger partitions, and back with their counts.

Totals partition 0 reads the events and sends their result to each ledger partition, in the partition of its questions, until its
marker says that it counts by it. Like a question, that is no state: if it is lost on the way, it is sent again. Once all ledger
partitions count by another announcement, a totals partition remembers it in its last transaction and is reopened, because only the
first step of a writer distinguishes news from what was already there.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from schemas.codec import decode_target
from schemas.events import CampaignSet, CampaignWithdrawn
from schemas.memory import ANNOUNCED, SIDE, key_of
from schemas.questions import FROM_TOTALS, announcing
from streams.domain.announced.announcements import Announcement, CampaignBook, campaign_change_of
from streams.kafka.append_time import with_append_times
from streams.kafka.outbox import Outgoing

if TYPE_CHECKING:
    from schemas.events import CampaignEvent
    from streams.context import Context
    from streams.domain.announced.disposition import Disposition
    from streams.domain.time.campaigns import Campaigns
    from streams.kafka.log import LogReader
    from streams.totals.shards import Shards

#: How long to wait for a ledger partition before telling it again, seconds.
_AGAIN_S: Final = 2.0


class Announcing:
    """What one totals partition knows about announced campaigns.

    Attributes:
        by: The announcement by which its rows are counted.
        campaigns: The campaigns that are counted by it.
    """

    def __init__(self, context: Context, shards: Shards, number: int = 0) -> None:
        self._context = context
        self._shards = shards
        self._number = number
        self._book = _empty_book(context)
        self._told_s: dict[int, float] = {}
        self._told = ""
        self._last_wanted: tuple[object, frozenset[str], Announcement] | None = None
        self.by = Announcement()
        self.campaigns: Campaigns = context.campaigns

    def recall(self, value: bytes | None) -> None:
        """Restores the announcement that the previous writer counted by; None if it never had one."""
        self.by = Announcement.parse(value.decode() if value is not None else "")
        self.campaigns = self.by.beside(self._context.campaigns)

    def take(self, event: CampaignEvent) -> Disposition:
        """Takes an event of a campaign."""
        return self._book.take(campaign_change_of(event, self._context.templates))

    def to_tell(self) -> list[Outgoing]:
        """Records for the ledger partitions that do not count by the result of the events yet."""
        if self._number:
            return []
        wanted, now_s = self._wanted().text, asyncio.get_running_loop().time()
        if wanted != self._told:
            self._told, self._told_s = wanted, {}
        records = []
        for shard, marker in sorted(self._shards.markers.items()):
            if marker.announced != wanted and now_s - self._told_s.get(shard, -_AGAIN_S) >= _AGAIN_S:
                self._told_s[shard] = now_s
                value, headers = announcing(wanted)
                records.append(Outgoing(self._context.catalogue.questions.name, shard, FROM_TOTALS, value, headers))
        return records

    def to_adopt(self) -> Outgoing | None:
        """What to remember before the state is reopened, once all ledger partitions count by another announcement."""
        text = self._shards.announced
        if text is None or text == self.by.text:
            return None
        if self._number == 0 and text != self._wanted().text:
            return None  # some of them have lost theirs, or it is out of date: they are told again
        if Announcement.parse(text).number < self.by.number:
            return None
        return Outgoing(self._context.catalogue.totals.name, self._number, key_of(SIDE, ANNOUNCED), text.encode())

    def _wanted(self) -> Announcement:
        """The result of the events, with a greater number than any other announcement sent so far."""
        decided, said = self._book.decided, frozenset(marker.announced for marker in self._shards.markers.values())
        if self._last_wanted is not None:
            decided_then, said_then, wanted = self._last_wanted
            if decided_then is decided and said_then == said:
                return wanted
        last = max([self.by, *map(Announcement.parse, said)], key=lambda each: each.number)
        wanted = last if last.decided == decided else Announcement(last.number + 1, decided)
        self._last_wanted = decided, said, wanted
        return wanted


async def announces(context: Context, reader: LogReader) -> bool:
    """Whether events announce campaigns, or withdraw those of the settings, as judged by totals without any state."""
    settings, book = context.settings, _empty_book(context)
    limit_us, framed = settings.future_limit_s * 1_000_000, settings.accept_schema_registry_json
    async for records in reader.read([(context.catalogue.targets.name, 0)]):
        for record in with_append_times(records, context.now_us() // 1000, lambda _record: False):
            event = decode_target(record, future_limit_us=limit_us, framed=framed)
            if isinstance(event, CampaignSet | CampaignWithdrawn):
                book.take(campaign_change_of(event, context.templates))
    return bool(book.decided)


def _empty_book(context: Context) -> CampaignBook:
    names = (campaign.name for campaign in context.campaigns)
    return CampaignBook(names, context.settings.limits.announced_campaigns)
