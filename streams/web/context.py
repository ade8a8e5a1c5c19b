"""What routes work with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streams.domain.time.zone import BusinessZone
from streams.holidays import holiday_years
from streams.web.metrics import Metrics
from streams.web.status import ServiceStatus, service_status

if TYPE_CHECKING:
    from streams.domain.time.calendar import HolidayYear
    from streams.settings import Settings
    from streams.web.orders import Orders
    from streams.web.readmodel import ReadModel
    from streams.web.rendering import Pages
    from streams.web.sse import Hub
    from streams.web.topic_follower import FollowState


@dataclass(frozen=True)
class Web:
    """The parts of the web view."""

    settings: Settings
    model: ReadModel
    state: FollowState
    hub: Hub
    pages: Pages
    orders: Orders
    metrics: Metrics = field(default_factory=Metrics)

    def status(self) -> ServiceStatus:
        """The current status of the service."""
        with self.model.snapshot() as view:
            return service_status(view, self.state, self.settings)

    @property
    def zone(self) -> BusinessZone:
        """The business time zone."""
        return BusinessZone(self.settings.timezone, self.settings.day_starts_hour)

    @property
    def holidays(self) -> tuple[HolidayYear, ...]:
        """The known holidays and working weekend days."""
        return holiday_years(self.settings.calendar_name)
