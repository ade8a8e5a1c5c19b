"""What a ledger partition knows: its orders, how far each source has been applied, and what was forwarded and has arrived."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from schemas.outputs import source_name, source_of
from streams.domain.announced.announcements import Announcement
from streams.domain.counts.source_hours import SourceHours
from streams.domain.ledger import Ledger
from streams.domain.pauses import whole
from streams.kafka.log import Partition
from streams.kafka.pacing import in_turns
from streams.ledger.changelog import Changelog
from streams.ledger.orders_file import orders_room
from streams.ledger.recovery import Recovery
from streams.ledger.sources import Source
from streams.ledger.vehicles import Vehicles

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from schemas.outputs import Marker
    from streams.context import Context
    from streams.domain.ledger import LedgerChanges


class Memory:
    """The memory of ledger partition `number`.

    Attributes:
        ledger: The judged orders.
        source_hours: The hours in which events of each event source came; None if no rule needs them.
        changelog: Which chunks of the orders are in the log.
        sources: Source partition → how far it has been applied.
        forwarded: Home → number of records sent there, including those that a lost state sent and that cannot be read again.
        arrived: Ledger partition → number of records it has forwarded here.
        cluster: Id of the cluster that holds the sources.
        moved: Number of events that were applied on another cluster.
        topic_ids: Topic of orders or deliveries → its id.
        announcement: The campaigns that the totals have announced.
        campaigns: The campaigns that are counted now, announced ones and those of the settings.
        recovery: Set during a rebuild, which publishes nothing.
        vehicles: The vehicles whose home this is; None unless deliveries are judged by production.
    """

    def __init__(self, context: Context, number: int) -> None:
        self.number = number
        self.source_hours = SourceHours() if context.settings.watches_sources else None
        self.ledger = Ledger(
            context.zone,
            context.scopes,
            campaigns=context.campaigns,
            orders_known="orders" in context.settings.families,
            produced_since_us=context.produced_since_us,
            source_hours=self.source_hours,
            room=orders_room(context.settings),
        )
        self.vehicles = Vehicles(context, number, self.ledger) if context.catalogue.judges_production else None
        self.changelog = Changelog(self.ledger.blob, self.ledger.order_ids)
        self.sources: dict[Partition, Source] = {}
        self.forwarded: Counter[int] = Counter()
        self.arrived: Counter[int] = Counter()
        self.cluster = ""
        self.moved = 0
        self.topic_ids: dict[str, str] = {}
        self.announcement = Announcement()
        self.campaigns = context.campaigns
        self._of_settings = context.campaigns
        self.recovery: Recovery | None = None

    def positions(self) -> Mapping[Partition, int]:
        """Where to continue reading each source."""
        return {tp: source.next for tp, source in self.sources.items()}

    def named_sources(self) -> Iterator[tuple[str, Source]]:
        """The sources, by the names they have in markers."""
        for (topic, partition), source in self.sources.items():
            yield source_name(topic, partition, self.number), source

    @property
    def caught_up(self) -> bool:
        """Whether every source has been applied to its end and no rebuild is under way."""
        return self.recovery is None and all(source.lag == 0 and source.is_heard_of for source in self.sources.values())

    @property
    def applied_up_to_us(self) -> int:
        """Everything appended to any source before this moment has been applied; microseconds since 1970."""
        return min(source.applied_up_to_us for source in self.sources.values())

    def adopt(self, marker: Marker) -> None:
        """Resumes from the last commit."""
        for name, (offset, digest) in marker.positions.items():
            source = self.sources[Partition(*source_of(name, self.number))] = Source()
            source.adopt(offset, digest, marker.books[name])
            source.lost = marker.lost.get(name, 0)
        self.ledger.clock_us = max(self.ledger.clock_us, marker.clock_us)
        self.forwarded.update(marker.forwarded)
        self.arrived.update(marker.arrived)
        self.moved = marker.moved

    def announce(self, announcement: Announcement) -> None:
        """Takes over announced campaigns before there are any orders."""
        whole(self.counting_by(announcement))

    async def announce_now(self, announcement: Announcement, changes: LedgerChanges, most: int) -> None:
        """Takes over announced campaigns at the end of a step; the counts that change are added to the step's.

        Args:
            announcement: The new announcement.
            changes: The changes of the step.
            most: Counts per transaction; if there are more, the partition counts as being rebuilt until all are published.
        """
        changes.counts.update(await in_turns(self.counting_by(announcement)))
        if self.recovery is None and len(changes.counts) + len(changes.violations) > most:
            self.recovery = Recovery({})

    def counting_by(self, announcement: Announcement) -> Generator[None, None, dict[bytes, bytes]]:
        """Takes over announced campaigns between two steps; with pauses. Returns the counts that change."""
        self.announcement, self.campaigns = announcement, announcement.beside(self._of_settings)
        return self.ledger.counting_by(self.campaigns)

    @property
    def is_releasing(self) -> bool:
        """Whether a rebuild has read everything, and now publishes in parts what it has held back."""
        return self.recovery is not None and self.has_read

    @property
    def has_read(self) -> bool:
        """Whether no rebuild is under way that has more to read."""
        return self.recovery is None or self.recovery.done(self.positions())

    @property
    def is_unfinished(self) -> bool:
        """Whether there is something to write even if no batch comes."""
        vehicles = self.vehicles
        return self.is_releasing or (
            vehicles is not None and vehicles.has_more(self.positions(), has_read=self.has_read)
        )

    async def hold_back(self, changes: LedgerChanges, most: int) -> bool:
        """Takes out of the changes what must not be published yet, and adds what need no longer wait, up to `most`.

        Returns:
            Whether a phase that markers mention has ended.
        """
        if self.vehicles is not None:
            self.vehicles.note(changes)
        ends = await self.finish_recovery(changes, most)
        if self.vehicles is not None and self.recovery is None:
            ends |= await self.vehicles.release(changes, self.positions(), max(0, most - len(changes.counts)))
        return ends

    async def finish_recovery(self, changes: LedgerChanges, most: int) -> bool:
        """During a rebuild, holds the changes back, and at its end releases them, up to `most` per step.

        Markers say that it is rebuilding until the last are released, so that nobody sums up a part of them.

        Returns:
            Whether the rebuild has ended.
        """
        if self.recovery is None:
            return False
        await in_turns(self.recovery.holding_back(changes))
        if not self.is_releasing:
            return False
        self.recovery.release(changes, most)
        if not self.recovery.is_released:
            return False
        self.recovery = None
        return True
