"""An independent recount: section 3 of the contract, written as plainly as possible, without any code of the service."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.facts import Metric

_VOIDS = ("event.voided.v1", "production.voided.v1")
#: Contradictions of deliveries that count nevertheless.
_COUNTED = ("delivered_without_order", "delivered_after_cancellation")
ZONE = ZoneInfo("Asia/Shanghai")

Counts = dict[tuple[str, str, str], int]  # (metric, scope, period id) → count


def recount(values: Iterable[bytes]) -> Counts:
    """Counts of valid structured events; the same event again counts once."""
    orders: dict[str, dict[tuple[str, str], dict[str, Any]]] = defaultdict(dict)
    for value in values:
        event = json.loads(value)
        orders[event["data"].get("order_id") or event["data"]["vin"]].setdefault((event["source"], event["id"]), event)
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
    """(metric, the event that dates it, model) of each unit of one order's events."""
    return judged(events)[0]


def judged(  # noqa: C901, PLR0912 - as the table is written
    events: list[dict[str, Any]],
) -> tuple[list[tuple[Metric, dict[str, Any], str]], list[tuple[str, str, str]]]:
    """The units of one order's events, and (kind, source, id) of each that contradicts the others."""
    types = {(event["source"], event["id"]): event["type"] for event in events}
    named = {_voided_by(event) for event in events if event["type"] in _VOIDS}
    so_far: dict[str, dict[str, Any]] = {}
    found: list[tuple[Metric, dict[str, Any], str]] = []
    wrong: list[tuple[str, str, str]] = []
    for event in sorted(events, key=lambda event: (_moment(event["time"]), event["id"], event["source"])):
        kind, identity = event["type"], (event["source"], event["id"])
        if kind in _VOIDS:
            of = types.get(_voided_by(event))
            what = "void_of_unknown_event" if of is None else "void_of_void" if of in _VOIDS else ""
        elif identity in named:
            continue
        else:
            what = _contradiction(event, so_far)
            if kind == "delivery.reversed.v1" and not what:
                found.append(("reversals", event, so_far.pop("vehicle.delivered.v1")["data"]["model"]))
            elif kind == "production.reversed.v1" and not what:
                found.append(("scrapped", event, so_far.pop("vehicle.produced.v1")["data"]["model"]))
            elif not what or what in _COUNTED:
                so_far[kind] = event
        if what:
            wrong.append((what, *identity))
    placed, cancelled, delivered = (
        so_far.get(kind) for kind in ("order.placed.v1", "order.cancelled.v1", "vehicle.delivered.v1")
    )
    if placed is not None:
        found.append(("orders_placed", placed, placed["data"]["model"]))
        if cancelled is None:
            found.append(("orders", placed, placed["data"]["model"]))
        else:
            found.append(("cancellations", cancelled, placed["data"]["model"]))
    if delivered is not None:
        found.append(("deliveries", delivered, delivered["data"]["model"]))
    if "vehicle.produced.v1" in so_far:
        produced = so_far["vehicle.produced.v1"]
        found.append(("produced", produced, produced["data"]["model"]))
    return found, wrong


def _contradiction(event: dict[str, Any], so_far: dict[str, dict[str, Any]]) -> str:
    """What is wrong with an event, given those that stand before it."""
    placed, cancelled, delivered = (
        so_far.get(kind) for kind in ("order.placed.v1", "order.cancelled.v1", "vehicle.delivered.v1")
    )
    kind = event["type"]
    if kind == "vehicle.produced.v1":
        cases = [(kind in so_far, "produced_twice")]
    elif kind == "production.reversed.v1":
        cases = [("vehicle.produced.v1" not in so_far, "scrapped_without_production")]
    elif kind == "order.placed.v1":
        cases = [(placed is not None, "second_placed")]
    elif kind == "order.cancelled.v1":
        cases = [
            (placed is None, "cancelled_without_order"),
            (cancelled is not None, "cancelled_twice"),
            (delivered is not None, "cancelled_while_delivered"),
        ]
    elif kind == "vehicle.delivered.v1":
        cases = [
            (delivered is not None, "delivered_twice"),
            (placed is None, "delivered_without_order"),
            (cancelled is not None, "delivered_after_cancellation"),
        ]
    else:
        cases = [
            (delivered is None, "reversed_without_delivery"),
            (delivered is not None and delivered["data"]["vin"] != event["data"]["vin"], "reversed_other_vin"),
        ]
    return next((what for is_so, what in cases if is_so), "")


def _voided_by(event: dict[str, Any]) -> tuple[str, str]:
    return event["data"]["voids"]["source"], event["data"]["voids"]["id"]


@lru_cache(maxsize=10_000)
def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
