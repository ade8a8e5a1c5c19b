"""Facts for tests, in short form: what is not given does not matter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from schemas.changelog import encode_entries
from schemas.codec import decode_day_count
from schemas.counts import decode_counted
from schemas.facts import DELIVERIES, NO_DIMS, ORDERS, PRODUCTION, Dims, Fact, Kind, topic_number
from streams.domain import hotpath
from streams.domain.orders.delivered_vehicles import said_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from schemas.counts import CountKey
    from schemas.facts import DayCount, Metric
    from schemas.told import VehicleDelivery
    from streams.domain.ledger import Ledger, LedgerChanges
    from streams.domain.orders.delivered_vehicles import DeliveryKey

VIN = "LNBSU7A10R1000123"
OTHER_VIN = "LNBSU7A10R1000999"
SU7: Dims = ("SU7", "Max", "BJ1", "CN-11")
YU7: Dims = ("YU7", "", "", "")
WEB = "/sales/web"


def chunks_of(steps: Iterable[LedgerChanges]) -> list[bytes]:
    """What some steps have reported about orders, in the form that `Ledger.restore` takes: a chunk for each step, the latest first."""
    return [encode_entries(list(changes.orders.items())) for changes in steps][::-1]


def read_counts(counts: Mapping[bytes, bytes]) -> dict[CountKey, DayCount]:
    """The counts of a step, which it reports in the form of their records."""
    return {decode_counted(counted): decode_day_count(value) for counted, value in counts.items()}


def us(text: str) -> int:
    """Microseconds of an RFC 3339 text; a date and time without offset is Shanghai's."""
    moment = datetime.fromisoformat(text if text[-6] in "+-" or text.endswith("Z") else f"{text}+08:00")
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _fact(
    kind: Kind,
    at: str | int,
    id: str,  # noqa: A002 - CloudEvents calls it so
    *,
    order: str = "SO-1",
    source: str = WEB,
    vin: str = "",
    dims: Dims = NO_DIMS,
    extra: str = "",
    voids: tuple[str, str] | None = None,
    backfill: bool = False,
    offset: int = 0,
) -> Fact:
    topic = DELIVERIES if kind in (Kind.DELIVERED, Kind.REVERSED) else ORDERS
    if kind in (Kind.PRODUCED, Kind.SCRAPPED) or (kind == Kind.VOIDED and vin):
        topic = topic_number(PRODUCTION, 0)
    time_us = at if isinstance(at, int) else us(at)
    return Fact(int(kind), order, source, id, time_us, vin, dims, extra, voids, backfill, topic, 1, offset)


def placed(at: str | int, id: str = "p", **more: Any) -> Fact:  # noqa: A002 - likewise
    return _fact(Kind.PLACED, at, id, **{"dims": SU7, **more})


def cancelled(at: str | int, id: str = "c", **more: Any) -> Fact:  # noqa: A002 - likewise
    return _fact(Kind.CANCELLED, at, id, **more)


def delivered(at: str | int, id: str = "d", **more: Any) -> Fact:  # noqa: A002 - likewise
    return _fact(Kind.DELIVERED, at, id, **{"dims": SU7, "vin": VIN, **more})


def reversal(at: str | int, id: str = "r", **more: Any) -> Fact:  # noqa: A002 - likewise
    return _fact(Kind.REVERSED, at, id, **{"vin": VIN, **more})


def produced(at: str | int, id: str = "b", **more: Any) -> Fact:  # noqa: A002 - likewise
    return _fact(Kind.PRODUCED, at, id, **{"order": VIN, "dims": (*SU7[:3], ""), "vin": VIN, **more})


def scrapped(at: str | int, id: str = "s", **more: Any) -> Fact:  # noqa: A002 - likewise
    return _fact(Kind.SCRAPPED, at, id, **{"order": VIN, "vin": VIN, **more})


def void(at: str | int, of: str, id: str = "v", **more: Any) -> Fact:  # noqa: A002 - likewise
    return _fact(Kind.VOIDED, at, id, **{"voids": (WEB, of), **more})


def orders_in(ledger: Ledger, metric: Metric, first_cell: int, last_cell: int) -> list[str]:
    """The orders that have, or had, units of a metric in some cells."""
    places = ledger._days.places_in(metric, first_cell, last_cell)
    return [hotpath.way.order_at(ledger._orders, place)[0] for place in places.tolist()]


def told(deliveries: Mapping[DeliveryKey, Fact | None]) -> list[VehicleDelivery]:
    """The reports about deliveries that have changed."""
    return [said_of(key, fact) for key, fact in deliveries.items()]
