"""An independent recount: the contract's section 3, as plainly as it can be written, without any code of the service."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.facts import Metric

ZONE = ZoneInfo("Asia/Shanghai")

Counts = dict[tuple[str, str, str], int]  # (metric, scope, period id) → count


def recount(values: Iterable[bytes]) -> Counts:
    """Counts of valid structured events; the same event again counts once."""
    orders: dict[str, dict[tuple[str, str], dict[str, Any]]] = defaultdict(dict)
    for value in values:
        event = json.loads(value)
        orders[event["data"]["order_id"]].setdefault((event["source"], event["id"]), event)
    counts: Counts = defaultdict(int)
    for events in orders.values():
        for metric, event, model in units(list(events.values())):
            day = datetime.fromisoformat(event["time"]).astimezone(ZONE).date()
            for scope in ("all", f"model={model}"):
                for period in (f"day:{day}", f"month:{day:%Y-%m}", f"year:{day:%Y}"):
                    counts[metric, scope, period] += 1
                if day.month == 10 and day.day <= 7 and day.year == 2024:
                    counts[metric, scope, "holiday:national-day:2024"] += 1
    return dict(counts)


def units(events: list[dict[str, Any]]) -> list[tuple[Metric, dict[str, Any], str]]:
    """(metric, the event it is dated by, model) of each unit that one order's events make."""
    voided = {
        (event["data"]["voids"]["source"], event["data"]["voids"]["id"])
        for event in events
        if event["type"] == "event.voided.v1"
    }
    standing = [
        event for event in events if event["type"] != "event.voided.v1" and (event["source"], event["id"]) not in voided
    ]
    standing.sort(key=lambda event: (datetime.fromisoformat(event["time"]), event["id"], event["source"]))
    placed = cancelled = delivery = None
    found: list[tuple[Metric, dict[str, Any], str]] = []
    deliveries: list[dict[str, Any]] = []
    for event in standing:
        kind, data = event["type"], event["data"]
        if kind == "order.placed.v1" and placed is None:
            placed = event
        elif kind == "order.cancelled.v1" and placed is not None and cancelled is None and delivery is None:
            cancelled = event
        elif kind == "vehicle.delivered.v1" and delivery is None:
            delivery = event
            deliveries.append(event)
        elif kind == "delivery.reversed.v1" and delivery is not None and delivery["data"]["vin"] == data["vin"]:
            found.append(("reversals", event, delivery["data"]["model"]))
            deliveries.remove(delivery)
            delivery = None
    if placed is not None:
        found.append(("orders_placed", placed, placed["data"]["model"]))
        if cancelled is None:
            found.append(("orders", placed, placed["data"]["model"]))
        else:
            found.append(("cancellations", cancelled, placed["data"]["model"]))
    return found + [("deliveries", event, event["data"]["model"]) for event in deliveries]
