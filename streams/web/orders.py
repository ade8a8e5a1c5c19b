"""Looks up orders for the pages: follows the ledger's changelog in the background, and answers other threads."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aiokafka.errors import KafkaError
from starlette.exceptions import HTTPException

from schemas.facts import METRICS_OF
from schemas.messages import Message, first_line, message_of
from streams.errors import ExpectedError
from streams.holidays import calendar_of
from streams.kafka.clients import quiet_clients
from streams.lookup.finder import Finder, FoundOrder, Reach, Waiting
from streams.lookup.moments import MomentNotKnownError, Reason
from streams.lookup.order_history import DayUnit, OrderLetter, OrderStory, Teller, replay_command
from streams.web.bounded_waits import within
from streams.web.times import text_of_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterable
    from datetime import date

    from schemas.facts import Fact
    from streams.settings import Settings
    from streams.web.readmodel import DeadLetterEntry
    from streams.web.status import ServiceStatus

logger = logging.getLogger(__name__)

T = TypeVar("T")

_NO_VEHICLES: Final = Message("vehicles are not looked up here; web_show_vins = true allows it")
_READ_INTERVAL_S: Final = 2.0
_KEEP_INTERVAL_S: Final = 60.0
_RETRY_S: Final = 3.0
#: How long a query waits before it is answered that there is no result yet.
_PATIENCE_S: Final = 4.0
_OUTAGES: Final = (KafkaError, OSError, TimeoutError, ExpectedError)


class OrdersNotKnownError(HTTPException):
    """Orders cannot be looked up now; `detail` says why, and `done` of `total` offsets have been read.

    With a `reason`, it is the earlier moment that cannot be reconstructed, and asking again does not help.
    """

    def __init__(self, why: str, done: int = 0, total: int = 0, reason: Reason | None = None) -> None:
        if reason is None:
            super().__init__(503, why, {"retry-after": "2"})
        else:
            super().__init__(422 if reason == "long" else 410, why)
        self.done, self.total, self.reason = done, total, reason


class Orders:
    """Answers queries about orders.

    Args:
        settings: The settings of the cluster, and of what may be shown.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._finder: Finder | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._problem: str = "" if settings.web_orders else Message("orders are not looked up here: web_orders = false")
        #: The settings with the campaigns that the ledger counts; and whether it has said which.
        self.counted_by = settings
        self.knows_campaigns = False
        self._calendar = calendar_of(settings)
        self._teller = Teller(settings, self._calendar, vins_shown=settings.web_show_vins)

    @property
    def vins_shown(self) -> bool:
        """Whether vehicle identifiers may be shown and searched."""
        return self._settings.web_show_vins

    async def run(self) -> None:
        """Follows the changelog until cancelled."""
        self._loop = asyncio.get_running_loop()
        while self._settings.web_orders:
            try:
                with quiet_clients():
                    async with Finder.opened(self._settings) as finder:
                        self._finder = finder
                        await self._follow(finder)
            except _OUTAGES as error:
                self._problem = first_line(error)
            finally:
                self._finder = None
            await asyncio.sleep(_RETRY_S)
        await asyncio.Event().wait()

    async def _follow(self, finder: Finder) -> None:
        kept_s = self._now_s()
        while True:
            await finder.read_on()
            self._problem = ""
            self._count_by(await finder.counted_by())
            if self._now_s() - kept_s > _KEEP_INTERVAL_S:
                kept_s = self._now_s()
                await finder.keep()
            await asyncio.sleep(_READ_INTERVAL_S)

    def _count_by(self, settings: Settings) -> None:
        """Uses these campaigns from now on; queries already running use the former ones."""
        self.knows_campaigns = True
        if settings.campaigns != self.counted_by.campaigns:
            self.counted_by = settings
            self._calendar = calendar_of(settings)
            self._teller = Teller(settings, self._calendar, vins_shown=settings.web_show_vins)

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()

    def story(
        self, order_id: str, status: ServiceStatus, letters: Iterable[DeadLetterEntry], as_of_us: int | None = None
    ) -> OrderStory:
        """Everything about an order.

        Args:
            order_id: The order number.
            status: The status of the service, for whether events are waiting.
            letters: Its rejected records.
            as_of_us: Only what had been appended to the sources by then, microseconds since 1970; `None` is now.

        Raises:
            OrdersNotKnownError: Orders cannot be looked up now, or not as of then.
        """
        self._check_clock(as_of_us)

        async def then(finder: Finder, number: str) -> FoundOrder | None:
            order = await finder.order(number)
            if order is not None and as_of_us is not None:
                had = (await finder.moment(as_of_us)).before(order.facts)
                order = FoundOrder(number, order.home, had) if had else None
            return order

        async def found(finder: Finder) -> tuple[FoundOrder | None, int, list[Fact] | None, list[FoundOrder]]:
            await finder.read_on()
            order = await then(finder, order_id)
            vin = self._teller.vehicle_of(order)
            vehicle = await then(finder, vin) if vin else None
            is_looked_for = self.vins_shown and self._teller.may_be_vehicle(order_id)
            numbers = await finder.orders_with(vin=order_id) if is_looked_for else []
            delivered = [each for number in numbers if (each := await then(finder, number)) is not None]
            return order, finder.home(order_id), (vehicle.facts if vehicle else []) if vin else None, delivered

        order, home, vehicle, delivered = self._asked(found)
        rejected = [
            OrderLetter(
                reason=letter.reason,
                message=letter.message,
                topic=letter.topic,
                partition=letter.partition,
                offset=letter.offset,
                rejected_at=text_of_ms(letter.recorded_ms),
                command=replay_command(letter.topic, letter.partition, letter.offset),
            )
            for letter in letters
        ]
        story = self._teller.story(
            order_id, home, order, reach_of(status), rejected, vehicle=vehicle, delivered=delivered
        )
        if story.is_vehicle and not self.vins_shown:
            raise OrdersNotKnownError(_NO_VEHICLES)
        if as_of_us is None:
            return story
        # Copies are only counted, their times are unknown; and what would correct it depends on what has come since.
        events = [event.model_copy(update={"correction": None}) for event in story.events]
        return story.model_copy(update={"events": events, "copies_in_partition": None})

    def with_vin(self, vin: str) -> list[str]:
        """Numbers of the orders of a vehicle.

        Raises:
            OrdersNotKnownError: Orders cannot be looked up now, or not by VIN.
        """
        if not self.vins_shown:
            raise OrdersNotKnownError(_NO_VEHICLES)
        return self._asked(lambda finder: finder.orders_with(vin=vin))

    def with_event(self, event_id: str) -> list[str]:
        """Numbers of the orders that have an event with an id.

        Raises:
            OrdersNotKnownError: Orders cannot be looked up now.
        """
        return self._asked(lambda finder: finder.orders_with(event_id=event_id))

    def has(self, order_id: str) -> bool:
        """Whether the ledger has an order with this number.

        Raises:
            OrdersNotKnownError: Orders cannot be looked up now.
        """

        async def found(finder: Finder) -> bool:
            await finder.read_on()
            return await finder.order(order_id) is not None

        return self._asked(found)

    def units(self, metric: str, scope: str, day: date, with_rows: Collection[str] | None = None) -> list[DayUnit]:
        """The units of a metric and scope on a date, by time and id.

        Args:
            metric: Such as `deliveries`.
            scope: Such as `model=SU7`.
            day: The business date.
            with_rows: As in `Teller.units_on`.

        Raises:
            OrdersNotKnownError: Orders cannot be looked up now.
        """

        async def found(finder: Finder) -> list[DayUnit]:
            await finder.read_on()
            units = []
            async for order in finder.orders_on(day, of_vehicles=metric not in METRICS_OF["orders"]):
                units += self._teller.units_on(order, metric, scope, day.isoformat(), with_rows)
            return sorted(units, key=lambda unit: (unit.time, unit.id, unit.source))

        return self._asked(found)

    def period_fault(self, period: str) -> str | None:
        """Why a period is not counted, in one line; `None` if it is, and for campaigns, which events may announce."""
        if period.startswith("campaign:"):
            return None
        try:
            self._calendar.period(period)
        except ValueError as error:
            return message_of(error)
        return None

    def dates_of(self, period: str) -> tuple[date, date] | None:
        """The first and the last date of a period; `None` if it is not counted."""
        try:
            found = self._calendar.period(period)
        except ValueError:
            return None
        return found.start, found.end

    def units_then(
        self,
        metric: str,
        scope: str,
        dates: tuple[date, date],
        as_of_us: int,
        with_rows: Collection[str] | None = None,
    ) -> list[DayUnit]:
        """The units of a metric and scope between two dates, by time and id, from what had been appended to the sources.

        Args:
            metric: Such as `deliveries`.
            scope: Such as `model=SU7`.
            dates: The first and the last date.
            as_of_us: The last append time that counts, microseconds since 1970.
            with_rows: As in `Teller.units_within`.

        Raises:
            OrdersNotKnownError: Orders cannot be looked up now, or not as of then.
        """
        self._check_clock(as_of_us)
        within_dates = dates[0].isoformat(), dates[1].isoformat()

        async def found(finder: Finder) -> list[DayUnit]:
            await finder.read_on()
            moment = await finder.moment(as_of_us)
            units = []
            async for order in finder.orders_within(*dates, of_vehicles=metric not in METRICS_OF["orders"]):
                then = FoundOrder(order.order_id, order.home, moment.before(order.facts))
                units += self._teller.units_within(then, metric, scope, within_dates, with_rows)
            return sorted(units, key=lambda unit: (datetime.fromisoformat(unit.time), unit.id, unit.source))

        return self._asked(found, late="long" if dates[0] < dates[1] else None)

    def _check_clock(self, as_of_us: int | None) -> None:
        if as_of_us is not None and self._settings.clock == "events":
            raise OrdersNotKnownError(
                Message(
                    'clock = "events": moments are those of the events, and records are known by when they were appended'
                ),
                reason="clock",
            )

    def _asked(self, work: Callable[[Finder], Coroutine[Any, Any, T]], late: Reason | None = None) -> T:
        """The finder's answer, for another thread; `late` is the reason to give if it takes too long."""
        finder, loop = self._finder, self._loop
        if finder is None or loop is None:
            raise OrdersNotKnownError(self._problem or Message("orders cannot be looked up yet"))
        if not finder.ready:
            raise OrdersNotKnownError(self._problem or Message("the ledger is being read"), finder.done, finder.total)
        try:
            with contextlib.suppress(TimeoutError):
                return asyncio.run_coroutine_threadsafe(within(_PATIENCE_S, work(finder)), loop).result(_PATIENCE_S + 1)
        except MomentNotKnownError as error:
            raise OrdersNotKnownError(message_of(error), reason=error.reason) from None
        except _OUTAGES as error:
            raise OrdersNotKnownError(first_line(error)) from None
        if late is not None:
            raise OrdersNotKnownError(Message("counting all units of the period again takes too long"), reason=late)
        raise OrdersNotKnownError(Message("the ledger does not answer in time"), finder.done, finder.total)


def reach_of(status: ServiceStatus) -> Reach:
    """How complete the ledger's data are, by what its workers have reported."""
    rebuilding = [each.partition for each in status.partitions if each.rebuilding]
    copies = {each.partition: sum(books.duplicates for books in each.books.values()) for each in status.partitions}
    waiting = None if status.lag is None else Waiting(status.lag, None if status.lag else 0)
    return Reach(waiting, rebuilding, copies)
