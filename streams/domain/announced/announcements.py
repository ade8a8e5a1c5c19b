"""Campaigns as events: which are announced, whatever the order in which their events arrive, and how that is passed on.

The event of a campaign with the greatest (time, id, source) decides, as soon as it is read: the counts do not depend on when
a campaign is announced, so there is nothing to wait for. Campaigns of the settings are initial values, like targets.

One totals partition judges the events. Their result travels as a line of text, the announcement: to the ledger partitions,
which count by it and say so in their markers, and from these to all totals partitions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.events import CampaignSet
from schemas.facts import ID_CONFLICT, MOST_MINUTES
from schemas.instants import micros_of
from streams.domain.announced.disposition import APPLIED, DUPLICATE
from streams.domain.time.campaigns import Campaign, Campaigns
from streams.domain.time.zone import MINUTE_US

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from schemas.events import CampaignEvent
    from streams.domain.announced.disposition import Disposition

_WITHDRAWN: Final = "@-"
_BETWEEN: Final = "; "


class CampaignChange(NamedTuple):
    """One event of a campaign. In the order of (time, id, source) later ones replace earlier ones.

    Attributes:
        time_us: Microseconds since 1970.
        id: The event's own; unique within its source and campaign.
        source: The CloudEvents source.
        name: Which campaign.
        campaign: The campaign as it is counted from then on; None when it is withdrawn.
        text: Label or reason; only distinguishes events and is not used otherwise.
    """

    time_us: int
    id: str
    source: str
    name: str
    campaign: Campaign | None
    text: str | None = None

    @property
    def order(self) -> tuple[int, str, str]:
        """The key to order changes by; the greatest decides."""
        return self.time_us, self.id, self.source


def campaign_change_of(event: CampaignEvent, of_service: Sequence[tuple[str, ...]]) -> CampaignChange:
    """The change that an event brings.

    Args:
        event: As read.
        of_service: The sets of dimensions whose scopes are counted, each in the order of scope ids; others are ignored.
    """
    name = event.data.campaign
    if not isinstance(event, CampaignSet):
        return CampaignChange(event.time_us, event.id, event.source, name, None, event.data.reason)
    data = event.data
    start_us = micros_of(data.start)
    end_us = micros_of(data.end) if data.end is not None else start_us + MOST_MINUTES * MINUTE_US
    listed = of_service if data.scopes is None else [tuple(each) for each in data.scopes]
    campaign = Campaign(name, start_us, end_us, tuple(sorted(each for each in of_service if each in listed)))
    return CampaignChange(event.time_us, event.id, event.source, name, campaign, data.label)


@dataclass(frozen=True)
class Announcement:
    """The result of all campaign events, with a number that grows with every change.

    Attributes:
        number: 0 if nothing has been announced.
        decided: (name, campaign) of those counted besides those of the settings or in their place, sorted by name; None
            instead of a campaign that is withdrawn.
    """

    number: int = 0
    decided: tuple[tuple[str, Campaign | None], ...] = ()

    @cached_property
    def text(self) -> str:
        """All of it in one line; "" if nothing is announced."""
        if not self.number:
            return ""
        return f"{self.number} {_BETWEEN.join(_text_of(name, campaign) for name, campaign in self.decided)}"

    @classmethod
    def parse(cls, text: str) -> Announcement:
        """Parses such a text.

        Raises:
            ValueError: It is no announcement.
        """
        if not text:
            return cls()
        number, _, listed = text.partition(" ")
        return cls(int(number), tuple(_named(each) for each in listed.split(_BETWEEN) if each))

    def beside(self, of_settings: Iterable[Campaign]) -> Campaigns:
        """The campaigns that are counted, given those of the settings."""
        found: dict[str, Campaign | None] = {campaign.name: campaign for campaign in of_settings}
        found.update(self.decided)
        return Campaigns(campaign for campaign in found.values() if campaign is not None and campaign.templates)


class CampaignBook:
    """Every event of every campaign.

    Args:
        of_settings: Names of the campaigns of the settings.
        most: How many of those announced are counted, since the announcement travels with every transaction: see `_rank`.
    """

    def __init__(self, of_settings: Iterable[str], most: int) -> None:
        self._most = most
        self._of_settings = frozenset(of_settings)
        self._seen: dict[tuple[str, str, str], CampaignChange] = {}
        self._last: dict[str, CampaignChange] = {}
        self._latest_us = 0
        self._decided: tuple[tuple[str, Campaign | None], ...] | None = None

    def take(self, change: CampaignChange) -> Disposition:
        """Takes one event; if one identity comes with several contents, the first counts."""
        known = self._seen.setdefault((change.name, change.source, change.id), change)
        if known is not change:
            return DUPLICATE if known == change else ID_CONFLICT
        last = self._last.get(change.name)
        if last is None or change.order > last.order:
            self._last[change.name] = change
        self._latest_us = max(self._latest_us, change.time_us)
        self._decided = None
        return APPLIED

    @property
    def decided(self) -> tuple[tuple[str, Campaign | None], ...]:
        """The result of the events, as in an announcement; the same object as long as nothing has changed."""
        if self._decided is None:
            last = {name: change.campaign for name, change in self._last.items()}
            counted = [campaign for campaign in last.values() if campaign is not None]
            counted.sort(key=self._rank)
            kept = {campaign.name for campaign in counted[: self._most]}
            # One that is left out counts as withdrawn, which matters if the settings have one of that name.
            self._decided = tuple(
                (name, campaign if name in kept else None)
                for name, campaign in sorted(last.items())
                if name in kept or name in self._of_settings
            )
        return self._decided

    def _rank(self, campaign: Campaign) -> tuple[bool, int, str]:
        """The place of a campaign if there are too many.

        First come those that are not over, the one that begins first before all, so that however many are announced, none of
        them takes the place of one that runs; then those that are over, the latest first. Whether one is over is decided by the
        latest time of an event of any campaign: a clock would make the result depend on when it is looked at.
        """
        if campaign.end_us > self._latest_us:
            return False, campaign.start_us, campaign.name
        return True, -campaign.start_us, campaign.name


def _text_of(name: str, campaign: Campaign | None) -> str:
    return campaign.text if campaign is not None else f"{name}{_WITHDRAWN}"


def _named(text: str) -> tuple[str, Campaign | None]:
    if text.endswith(_WITHDRAWN):
        return text.removesuffix(_WITHDRAWN), None
    campaign = Campaign.parse(text)
    return campaign.name, campaign
