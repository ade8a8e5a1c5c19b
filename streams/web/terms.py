"""Names on the less frequent pages: why records are rejected, what is contradictory, dimensions, kinds of period.

The texts are in English and are translated when used: `N_` only marks them for the catalogue. Anything unknown here, such as a reason
from a newer worker, is shown by its internal name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable


def N_(text: str) -> str:  # noqa: N802 - the usual name of this marker
    """Marks a text for translation, without translating it."""
    return text


_DIMENSIONS: Final = {
    "model": N_("Model"),
    "variant": N_("Variant"),
    "factory": N_("Factory"),
    "region": N_("Region"),
}
_LIMITS: Final = {"rows": N_("Rows"), "scopes": N_("Scopes"), **_DIMENSIONS}
_PERIOD_KINDS: Final = {
    "day": N_("Days"),
    "week": N_("Weeks"),
    "month": N_("Months"),
    "quarter": N_("Quarters"),
    "half": N_("Half-years"),
    "year": N_("Years"),
    "total": N_("All time"),
    "holiday": N_("Holidays"),
    "rolling": N_("Rolling windows"),
    "campaign": N_("Campaigns"),
}
_QUALITIES: Final = {
    "none": N_("no history yet"),
    "little": N_("too little history for a range"),
    "fair": N_("fair"),
    "good": N_("good"),
}
_REJECTIONS: Final = {
    "malformed_json": N_("Not JSON"),
    "duplicate_key": N_("A name twice in the JSON"),
    "not_an_event": N_("Not an event"),
    "unknown_type": N_("Unknown event type"),
    "invalid_field": N_("Field missing or wrong"),
    "wrong_topic": N_("On the wrong topic"),
    "missing_offset": N_("Time without a UTC offset"),
    "future_time": N_("Time in the future"),
    "too_large": N_("Too large"),
    "too_deep": N_("Nested too deeply"),
    "wrong_key": N_("Key is not the order number"),
    "schema_registry": N_("In a schema registry's wire format"),
    "connect_envelope": N_("In Kafka Connect's envelope"),
    "debezium_envelope": N_("In Debezium's envelope"),
    "outbox_row": N_("A row of an outbox table"),
    "json_in_json": N_("JSON encoded twice"),
    "utf_16": N_("In UTF-16"),
    "compressed": N_("Compressed before it was sent"),
    "messagepack": N_("MessagePack, not JSON"),
    "avro": N_("Avro, not JSON"),
    "protobuf": N_("Protobuf, not JSON"),
    "too_many_events": N_("Too many events for one order"),
    "id_conflict": N_("Same id, other content"),
    "beyond_limits": N_("Beyond the limits"),
    "quarantined": N_("Quarantined by an operator"),
}
_VIOLATIONS: Final = {
    "second_placed": N_("Placed twice"),
    "cancelled_without_order": N_("Cancelled, never placed"),
    "cancelled_twice": N_("Cancelled twice"),
    "cancelled_while_delivered": N_("Cancelled after delivery"),
    "delivered_without_order": N_("Delivered, never placed"),
    "delivered_after_cancellation": N_("Delivered after cancellation"),
    "delivered_twice": N_("Delivered twice"),
    "reversed_without_delivery": N_("Reversed, never delivered"),
    "reversed_other_vin": N_("Reversed with another VIN"),
    "void_of_unknown_event": N_("Voids an unknown event"),
    "void_of_void": N_("Voids a void"),
    "produced_twice": N_("Produced twice"),
    "scrapped_without_production": N_("Scrapped, never produced"),
    "delivered_without_production": N_("Delivered, not produced"),
}
_EFFECTS: Final = {
    "second_placed": N_("This order event changes nothing."),
    "cancelled_without_order": N_("No effect until the order arrives."),
    "cancelled_twice": N_("This cancellation has no effect."),
    "cancelled_while_delivered": N_("No effect while the delivery stands."),
    "delivered_without_order": N_("The delivery counts."),
    "delivered_after_cancellation": N_("The delivery counts."),
    "delivered_twice": N_("This delivery has no effect."),
    "reversed_without_delivery": N_("This reversal has no effect."),
    "reversed_other_vin": N_("This reversal has no effect."),
    "void_of_unknown_event": N_("No effect until that event arrives."),
    "void_of_void": N_("No effect: a void cannot be voided."),
    "produced_twice": N_("This production event has no effect."),
    "scrapped_without_production": N_("No effect until the vehicle's production arrives."),
    "delivered_without_production": N_("The delivery counts. This goes once the vehicle's production arrives."),
}
_EVENT_TYPES: Final = {
    "order.placed.v1": N_("Order placed"),
    "order.cancelled.v1": N_("Order cancelled"),
    "vehicle.delivered.v1": N_("Vehicle delivered"),
    "delivery.reversed.v1": N_("Delivery reversed"),
    "event.voided.v1": N_("Event voided"),
    "vehicle.produced.v1": N_("Vehicle produced"),
    "production.reversed.v1": N_("Vehicle scrapped"),
    "production.voided.v1": N_("Production event voided"),
}
_EVENT_EFFECTS: Final = {
    "placed": N_("Places the order."),
    "cancelled": N_("Cancels the order."),
    "delivered": N_("Delivers the vehicle."),
    "delivered_without_order": N_("Delivers the vehicle, although no order was placed before."),
    "delivered_after_cancellation": N_("Delivers the vehicle, although the order is cancelled."),
    "delivered_without_production": N_("Delivers the vehicle, although it was not produced before."),
    "placed_cancelled": N_("Places the order, which is cancelled later."),
    "delivered_reversed": N_("Delivers the vehicle, which comes back later."),
    "reversed": N_("Takes the delivery back."),
    "voids": N_("Voids another event, which counts as never sent."),
    "voided": N_("No effect: voided, it counts as never sent."),
    "second_placed": N_("No effect: the order was placed before."),
    "cancelled_without_order": N_("No effect: no order was placed before."),
    "cancelled_twice": N_("No effect: the order was cancelled before."),
    "cancelled_while_delivered": N_("No effect: a delivery stands."),
    "delivered_twice": N_("No effect: a delivery of this order stands."),
    "reversed_without_delivery": N_("No effect: no delivery stands."),
    "reversed_other_vin": N_("No effect: the delivery that stands has another VIN."),
    "void_of_unknown_event": N_("No effect: the event it voids is not known."),
    "void_of_void": N_("No effect: a void cannot be voided."),
    "produced": N_("Produces the vehicle."),
    "produced_scrapped": N_("Produces the vehicle, which is scrapped later."),
    "scrapped": N_("Takes the vehicle out of production."),
    "produced_twice": N_("No effect: the vehicle was produced before."),
    "scrapped_without_production": N_("No effect: no production stands."),
}
_ORDER_STATES: Final = {
    "counted": N_("It counts"),
    "not_counted": N_("Not counted: none of its events has an effect today"),
    "rejected": N_("Not counted: all its records were rejected"),
    "waiting": N_("Not known yet: events of it have arrived"),
    "not_known": N_("Not known yet: not everything is counted"),
    "unknown": N_("Never arrived"),
}
_HIT_KINDS: Final = {
    "order": N_("Orders"),
    "vehicle": N_("Orders of the vehicle"),
    "day": N_("Dates"),
    "period": N_("Periods"),
    "milestone": N_("Milestones"),
    "scope": N_("Models, regions and other scopes"),
    "target": N_("Targets"),
}
#: Filter → the table in which it looks up names.
_FILTERS: Final = {
    "event_type": _EVENT_TYPES,
    "event_effect": _EVENT_EFFECTS,
    "order_state": _ORDER_STATES,
    "hit_kind": _HIT_KINDS,
    "dimension": _DIMENSIONS,
    "limit_name": _LIMITS,
    "period_kind": _PERIOD_KINDS,
    "forecast_quality": _QUALITIES,
    "rejection": _REJECTIONS,
    "violation": _VIOLATIONS,
    "violation_effect": _EFFECTS,
}


def of_language(gettext: Callable[[str], str]) -> dict[str, Callable[[str], str]]:
    """The filters: `letter.reason | rejection`.

    Args:
        gettext: Translates one of our texts.
    """
    return {name: _lookup(texts, gettext) for name, texts in _FILTERS.items()}


def _lookup(texts: dict[str, str], gettext: Callable[[str], str]) -> Callable[[str], str]:
    translated = {name: gettext(text) for name, text in texts.items()}
    return lambda name: translated.get(name, name)
