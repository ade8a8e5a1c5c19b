"""Looks orders up for the pages: follows the ledger's changelog in the background, and answers from other threads."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aiokafka.errors import KafkaError
from starlette.exceptions import HTTPException

from schemas.facts import METRICS_OF
from streams.errors import ExpectedError
from streams.holidays import calendar_of
from streams.kafka.clients import quiet_clients
from streams.lookup.finder import Finder, FoundOrder, Reach, Waiting
from streams.lookup.order_history import DayUnit, OrderLetter, OrderStory, Teller, replay_command
from streams.web.bounded_waits import within
from streams.web.times import text_of_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterable
    from datetime import date

    from streams.settings import Settings
    from streams.web.readmodel import DeadLetterEntry
    from streams.web.status import ServiceStatus

logger = logging.getLogger(__name__)

T = TypeVar("T")

_READ_INTERVAL_S: Final = 2.0
_KEEP_INTERVAL_S: Final = 60.0
_RETRY_S: Final = 3.0
#: How long a question waits for an answer before it is told that there is none yet.
_PATIENCE_S: Final = 4.0
_OUTAGES: Final = (KafkaError, OSError, TimeoutError, ExpectedError)


class OrdersNotKnownError(HTTPException):
    """Orders cannot be looked up now; `detail` says why, and `done` of `total` offsets have been read."""

    def __init__(self, why: str, done: int = 0, total: int = 0) -> None:
        super().__init__(503, why, {"retry-after": "2"})
        self.done, self.total = done, total


class Orders:
    """Orders, for the pages.

    Args:
        settings: Of the cluster, and of what may be shown.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._finder: Finder | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._problem = "" if settings.web_orders else "orders are not looked up here: web_orders = false"
        self._teller = Teller(settings, calendar_of(settings), vins_shown=settings.web_show_vins)

    @property
    def vins_shown(self) -> bool:
        """Whether identifiers of vehicles may be shown and looked for."""
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
                self._problem = (str(error) or type(error).__name__).splitlines()[0]
            finally:
                self._finder = None
            await asyncio.sleep(_RETRY_S)
        await asyncio.Event().wait()

    async def _follow(self, finder: Finder) -> None:
        kept_s = self._now_s()
        while True:
            await finder.read_on()
            self._problem = ""
            if self._now_s() - kept_s > _KEEP_INTERVAL_S:
                kept_s = self._now_s()
                await finder.keep()
            await asyncio.sleep(_READ_INTERVAL_S)

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()

    def story(self, order_id: str, status: ServiceStatus, letters: Iterable[DeadLetterEntry]) -> OrderStory:
        """Everything about an order.

        Args:
            order_id: Its number.
            status: How the service is: whether events wait.
            letters: Its rejected records.

        Raises:
            OrdersNotKnownError: Orders cannot be looked up now.
        """

        async def found(finder: Finder) -> tuple[FoundOrder | None, int]:
            await finder.read_on()
            return await finder.order(order_id), finder.home(order_id)

        order, home = self._asked(found)
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
        return self._teller.story(order_id, home, order, reach_of(status), rejected)

    def with_vin(self, vin: str) -> list[str]:
        """Numbers of the orders of a vehicle.

        Raises:
            OrdersNotKnownError: Orders cannot be looked up now, or not by vehicles.
        """
        if not self.vins_shown:
            raise OrdersNotKnownError("vehicles are not looked up here; web_show_vins = true allows it")
        return self._asked(lambda finder: finder.orders_with(vin=vin))

    def with_event(self, event_id: str) -> list[str]:
        """Numbers of the orders that have an event with an id.

        Raises:
            OrdersNotKnownError: Orders cannot be looked up now.
        """
        return self._asked(lambda finder: finder.orders_with(event_id=event_id))

    def has(self, order_id: str) -> bool:
        """Whether the ledger has an order of this number.

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
            day: Business date.
            with_rows: As of `Teller.units_on`.

        Raises:
            OrdersNotKnownError: Orders cannot be looked up now.
        """

        async def found(finder: Finder) -> list[DayUnit]:
            await finder.read_on()
            units = []
            async for order in finder.orders_on(day, of_vehicles=metric in METRICS_OF["deliveries"]):
                units += self._teller.units_on(order, metric, scope, day.isoformat(), with_rows)
            return sorted(units, key=lambda unit: (unit.time, unit.id, unit.source))

        return self._asked(found)

    def _asked(self, work: Callable[[Finder], Coroutine[Any, Any, T]]) -> T:
        """The answer of the finder, asked from another thread."""
        finder, loop = self._finder, self._loop
        if finder is None or loop is None:
            raise OrdersNotKnownError(self._problem or "orders cannot be looked up yet")
        if not finder.ready:
            raise OrdersNotKnownError(self._problem or "the ledger is being read", finder.done, finder.total)
        try:
            with contextlib.suppress(TimeoutError):
                return asyncio.run_coroutine_threadsafe(within(_PATIENCE_S, work(finder)), loop).result(_PATIENCE_S + 1)
        except _OUTAGES as error:
            raise OrdersNotKnownError((str(error) or type(error).__name__).splitlines()[0]) from None
        raise OrdersNotKnownError("the ledger does not answer in time", finder.done, finder.total)


def reach_of(status: ServiceStatus) -> Reach:
    """How far what the ledger has goes, by what its workers have reported."""
    rebuilding = [each.partition for each in status.partitions if each.rebuilding]
    copies = {each.partition: sum(books.duplicates for books in each.books.values()) for each in status.partitions}
    waiting = None if status.lag is None else Waiting(status.lag, None if status.lag else 0)
    return Reach(waiting, rebuilding, copies)
