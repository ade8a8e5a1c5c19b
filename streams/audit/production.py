"""Finds deliveries of vehicles that were not produced, by independent plain code, and compares them with the published contradictions.

What is published is from another moment than the recount. So a vehicle differs only if nothing published about it since before the
recount's moment agrees with the events up to that moment.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import date
from typing import TYPE_CHECKING, Final, NamedTuple

from aiokafka import TopicPartition

from schemas.codec import decode_violations
from streams.audit.report import Check
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import read_to_end
from streams.kafka.records import record_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka import AIOKafkaConsumer

    from schemas.outputs import Marker
    from streams.audit.judging import Reading
    from streams.audit.sums import Business
    from streams.settings import Settings

KIND: Final = "delivered_without_production"
_TRIES: Final = 4
_PAUSE_S: Final = 0.7


class Wrong(NamedTuple):
    """A delivery of a vehicle that was not produced: its order and its event."""

    order_id: str
    source: str
    id: str


class ProductionRecount:
    """Takes every order and every vehicle, and determines which deliveries contradict production."""

    def __init__(self, business: Business) -> None:
        since = business.settings.production_since
        self._judges = business.settings.catalogue.judges_production
        self._zone = business
        self._since = date.fromisoformat(since) if since else date.min
        self._delivered: dict[str, list[tuple[int, Wrong]]] = defaultdict(list)
        #: VIN → when its production was reported and when it was taken back, alternating.
        self._turns: dict[str, list[int]] = {}

    def take(self, life: str, reading: Reading) -> None:
        """Takes an order, or the production of a vehicle; keeps nothing if deliveries are not judged by production."""
        if not self._judges:
            return
        for unit in reading.units:
            event = unit.event
            if unit.metric == "deliveries" and self._zone.local(event.time_us).date() >= self._since:
                self._delivered[event.vin].append((event.time_us, Wrong(life, event.source, event.id)))
        turns = [
            event.time_us
            for event, effect in reading.effects
            if effect in {"produced", "produced_scrapped", "scrapped"}
        ]
        if turns:
            self._turns[life] = turns

    def found(self) -> dict[str, set[Wrong]]:
        """VIN → its deliveries at whose time no production stood; only vehicles that have such deliveries."""
        found: dict[str, set[Wrong]] = {}
        for vin, deliveries in self._delivered.items():
            turns = self._turns.get(vin, [])
            wrong = {delivery for time_us, delivery in deliveries if not _stood(turns, time_us)}
            if wrong:
                found[vin] = wrong
        return found

    @property
    def vehicles(self) -> int:
        """The number of vehicles with a delivery that is judged."""
        return len(self._delivered)


def _stood(turns: list[int], time_us: int) -> bool:
    """Whether something that was alternately set and taken back stood at a time; at those times themselves it did."""
    before = sum(turn < time_us for turn in turns)
    return before % 2 == 1 or time_us in turns


class PublishedContradictions:
    """What has been published about vehicles since before a recount.

    Args:
        settings: Topic names.
        consumer: Not used by anything else meanwhile.
    """

    def __init__(self, settings: Settings, consumer: AIOKafkaConsumer) -> None:
        self._settings = settings
        self._consumer = consumer
        self._parts = catalogue_of(settings).violations.whole
        self._ends: dict[tuple[str, int], int] = {}

    async def begin(self) -> None:
        """Notes the moment before the recount."""
        ends = await self._consumer.end_offsets([TopicPartition(*part) for part in self._parts])
        self._ends = {(tp.topic, tp.partition): end for tp, end in ends.items()}

    async def compare(self, recount: ProductionRecount, markers: Mapping[int, Marker]) -> Check:
        """Compares what was published with what was found, waiting a little for what is still on its way."""
        check = Check(
            "production", recount.vehicles, "vehicles delivered are contradictions exactly where no production stood"
        )
        if any(marker.told is None or marker.told.withheld for marker in markers.values()):
            check.compared = 0
            return check
        expected = recount.found()
        for tries_left in reversed(range(_TRIES)):
            versions = await self._versions()
            differing = [
                vin
                for vin in sorted(expected.keys() | versions.keys())
                if expected.get(vin, set()) not in versions.get(vin, [set()])
            ]
            if not differing:
                break
            if tries_left:
                await asyncio.sleep(_PAUSE_S)
        for vin in differing:
            _differ(check, vin, expected.get(vin, set()), versions.get(vin, [set()])[-1])
        return check

    async def _versions(self) -> dict[str, list[set[Wrong]]]:
        """VIN → what was published about it: the last version before the recount, and all since."""
        found: dict[str, list[set[Wrong]]] = {}
        async for records in read_to_end(self._settings, self._parts, consumer=self._consumer):
            for record in records:
                said = set() if record.value is None else _said(record.value)
                vin = record_key(record).decode()
                before = found.get(vin)
                if record.offset < self._ends.get((record.topic, record.partition), 0):
                    if said or before is not None:
                        found[vin] = [said]
                elif said or before is not None:
                    found.setdefault(vin, [set()]).append(said)
        return found


def _said(value: bytes) -> set[Wrong]:
    return {
        Wrong(each.order_id, each.source, each.id) for each in decode_violations(value).violations if each.kind == KIND
    }


def _differ(check: Check, vin: str, expected: set[Wrong], published: set[Wrong]) -> None:
    for order_id, source, id_ in sorted(expected - published):
        check.differ(
            f"VIN {vin}: delivered under order {order_id} ({source} {id_}) without having been produced, which is not published",
            vin=vin,
            order_id=order_id,
        )
    for order_id, source, id_ in sorted(published - expected):
        check.differ(
            f"VIN {vin}: published as delivered under order {order_id} ({source} {id_}) without having been produced, which is not so",
            vin=vin,
            order_id=order_id,
        )
