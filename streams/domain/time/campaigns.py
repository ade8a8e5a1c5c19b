"""Campaigns: named windows between two instants rather than dates, counted by the minute.

A campaign begins and ends at full minutes, so the UTC minute of an event decides in which campaigns it counts. A ledger
partition publishes its counts of a campaign by hours, counted from its start, each with 60 minutes: like a day with 24 hours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from schemas.facts import MOST_MINUTES
from schemas.texts import ALL, template_name, template_of
from streams.domain.time.zone import MINUTE_US, QUARTER_HOUR_US

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

#: The kind of campaigns' periods.
CAMPAIGN: Final = "campaign"
#: Minutes in each hour of a campaign.
MINUTES: Final = 60
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_LONGEST_NAME: Final = 64
_QUARTER_MINUTES: Final = QUARTER_HOUR_US // MINUTE_US


@dataclass(frozen=True, slots=True)
class Campaign:
    """One campaign.

    Args:
        name: Lower-case words joined by hyphens, such as `yu7-launch`.
        start_us: Its first instant, microseconds since 1970, a full minute.
        end_us: The first instant after it, also a full minute.
        templates: Sets of dimensions, in the order of scope ids, whose scopes it is counted for.

    Raises:
        ValueError: These make no campaign; one line says why.
    """

    name: str
    start_us: int
    end_us: int
    templates: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or len(self.name) > _LONGEST_NAME:
            raise ValueError(
                f"{self.name!r}: a campaign's name is lower-case words joined by hyphens, {_LONGEST_NAME} characters at most"
            )
        if self.start_us % MINUTE_US or self.end_us % MINUTE_US:
            raise ValueError("a campaign begins and ends at full minutes")
        if self.end_us <= self.start_us:
            raise ValueError("it ends before it begins")
        if self.minutes > MOST_MINUTES:
            raise ValueError(
                f"it has {self.minutes:,} minutes; a campaign has {MOST_MINUTES:,} at most, which are 7 days"
            )

    @property
    def period_id(self) -> str:
        """The id of its period."""
        return f"{CAMPAIGN}:{self.name}"

    @property
    def minutes(self) -> int:
        """How many minutes it has."""
        return (self.end_us - self.start_us) // MINUTE_US

    @property
    def text(self) -> str:
        """Everything that its counts depend on, in one line."""
        scopes = "|".join(template_name(template) for template in sorted(self.templates))
        return f"{self.name}@{self.start_us // MINUTE_US}+{self.minutes} {scopes}"

    @classmethod
    def parse(cls, text: str) -> Campaign:
        """Parses the text of a campaign.

        Raises:
            ValueError: The text is no campaign.
        """
        name, _, rest = text.partition("@")
        span, _, scopes = rest.partition(" ")
        start, _, minutes = span.partition("+")
        start_us = int(start) * MINUTE_US
        templates = tuple(tuple(each.split(",")) if each != ALL else () for each in scopes.split("|") if each)
        return cls(name, start_us, start_us + int(minutes) * MINUTE_US, templates)

    def has(self, scope: str) -> bool:
        """Whether it is counted for a scope."""
        return template_of(scope) in self.templates

    def minute_of(self, time_us: int) -> int | None:
        """The number of the minute that an instant is in, from 0; None outside the campaign."""
        return (time_us - self.start_us) // MINUTE_US if self.start_us <= time_us < self.end_us else None


class Campaigns:
    """All campaigns of an installation.

    Raises:
        ValueError: Two have the same name.
    """

    def __init__(self, campaigns: Iterable[Campaign] = ()) -> None:
        self._by_name: dict[str, Campaign] = {}
        for campaign in campaigns:
            if campaign.name in self._by_name:
                raise ValueError(f"two campaigns are called {campaign.name!r}")
            self._by_name[campaign.name] = campaign
        self._scopes: dict[tuple[str, str], bool] = {}

    def __iter__(self) -> Iterator[Campaign]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    @classmethod
    def parse(cls, text: str) -> Campaigns:
        """Parses the text of campaigns.

        Raises:
            ValueError: The text is no list of campaigns.
        """
        return cls(map(Campaign.parse, filter(None, text.split("; "))))

    @cached_property
    def text(self) -> str:
        """Everything that counts depend on; "" without campaigns."""
        return "; ".join(sorted(campaign.text for campaign in self))

    @cached_property
    def quarters(self) -> Mapping[int, tuple[Campaign, ...]]:
        """UTC quarter-hour, as in `streams.domain.time.zone` → the campaigns that have a minute in it."""
        found: dict[int, tuple[Campaign, ...]] = {}
        for campaign in self:
            for quarter in range(campaign.start_us // QUARTER_HOUR_US, -(-campaign.end_us // QUARTER_HOUR_US)):
                found[quarter] = (*found.get(quarter, ()), campaign)
        return found

    def get(self, name: str) -> Campaign | None:
        """The campaign with a name."""
        return self._by_name.get(name)

    def at(self, minute: int) -> list[tuple[Campaign, int]]:
        """The campaigns that a UTC minute since 1970 is in, each with the minute's number within the campaign."""
        return [
            (campaign, number)
            for campaign in self.quarters.get(minute // _QUARTER_MINUTES, ())
            if (number := campaign.minute_of(minute * MINUTE_US)) is not None
        ]

    def has(self, campaign: Campaign, scope: str) -> bool:
        """Whether a campaign is counted for a scope; remembered."""
        key = campaign.name, scope
        found = self._scopes.get(key)
        if found is None:
            found = self._scopes[key] = campaign.has(scope)
        return found

    def last_end_us(self, now_us: int) -> int:
        """The latest end of the campaigns that are over by an instant; 0 if none is."""
        if not self._by_name:
            return 0
        return max((campaign.end_us for campaign in self if campaign.end_us <= now_us), default=0)
