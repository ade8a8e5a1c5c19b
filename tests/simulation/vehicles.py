"""What ledger partitions report to each other about deliveries, and which of these contradict their vehicle's production.

Checked from the log alone, by independent plain code: each report is news, goes to the home of its vehicle and follows from the
orders of the partition that sent it; each violation follows from the reports so far and the production that was applied.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from schemas.outputs import ToldState
    from tests.simulation.cluster import Entry

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Delivery(NamedTuple):
    """A delivery that stands, in the order in which those of a vehicle are listed."""

    time_us: int
    id: str
    source: str
    order_id: str


class _Said(NamedTuple):
    """One report about a vehicle and an order, and where it was made."""

    offset: int
    vin: str
    order_id: str
    delivery: Delivery | None


def delivery_of(event: dict[str, Any]) -> Delivery:
    """The delivery in an event."""
    return Delivery(_us(event), event["id"], event["source"], event["data"]["order_id"])


def stood(events: Iterable[dict[str, Any]], time_us: int) -> bool:
    """Whether a production of a vehicle stood at a time, by all events under its VIN."""
    some = list(events)
    named = {
        (event["data"]["voids"]["source"], event["data"]["voids"]["id"])
        for event in some
        if event["type"].endswith(".voided.v1")
    }
    built_us: int | None = None
    for event in sorted(some, key=lambda one: (_us(one), one["id"], one["source"])):
        if (event["source"], event["id"]) in named:
            continue
        if event["type"] == "vehicle.produced.v1" and built_us is None:
            built_us = _us(event)
        elif event["type"] == "production.reversed.v1" and built_us is not None:
            if built_us <= time_us <= _us(event):
                return True
            built_us = None
    return built_us is not None and built_us <= time_us


def _us(event: dict[str, Any]) -> int:
    return round((datetime.fromisoformat(event["time"]) - _EPOCH).total_seconds() * 1_000_000)


class Told:
    """The reports by each ledger partition, and to each.

    Args:
        home_of: The ledger partition of a VIN.
        broken: Ends the schedule with what does not hold.
        seen: Counts of what has happened.
    """

    def __init__(self, home_of: Callable[[str], int], broken: Callable[[str], Exception], seen: Counter[str]) -> None:
        self._home_of = home_of
        self._broken = broken
        self._seen = seen
        self.forget()

    def forget(self) -> None:
        """The topic is deleted."""
        self._by_teller: dict[int, dict[tuple[str, str], Delivery]] = {}
        self._to_home: dict[int, list[_Said]] = {}
        self._written: Counter[tuple[int, int]] = Counter()
        #: Home → the offset of each record in it, and the partition that declares itself complete with it.
        self._records: dict[int, list[tuple[int, int | None]]] = {}
        self._next: dict[int, int] = {}
        self.restart()

    def restart(self) -> None:
        """The states of the ledger partitions are deleted."""
        #: Partitions that had reported something, and are rereading everything.
        self._silent = {teller for teller, known in self._by_teller.items() if known}
        #: Home → how far it had read its reports; until it has done so again, it has nothing to correct.
        self._before = dict(self._next)
        self._heard: dict[int, dict[str, dict[str, Delivery]]] = {}
        self._next = {}

    def tell(self, teller: int, entries: Iterable[Entry], *, has_read: bool) -> None:
        """Takes the reports in a ledger partition's transaction: none until it has reread what a lost state had read."""
        if has_read:
            self._silent.discard(teller)
        known = self._by_teller.setdefault(teller, {})
        for entry in entries:
            home = entry.partition
            number, is_all, words = orjson.loads(entry.value or b"")
            self._records.setdefault(home, []).append((entry.offset, teller if is_all else None))
            if words and teller in self._silent:
                raise self._broken(f"ledger {teller} reads all again, and tells {home} of {words}")
            if (entry.key, number) != (b"%d" % teller, self._written[teller, home]):
                raise self._broken(f"ledger {teller} tells {home} as {entry.key!r}, record {number}")
            self._written[teller, home] += 1
            for vin, order_id, time_us, source, id_ in words:
                now = None if time_us is None else Delivery(time_us, id_, source, order_id)
                if self._home_of(vin) != home:
                    raise self._broken(f"{vin} is told of to {home}, which is not its home")
                if known.get((vin, order_id)) == now:
                    raise self._broken(f"ledger {teller} tells {now} of {vin} again")
                if now is None:
                    del known[vin, order_id]
                else:
                    known[vin, order_id] = now
                self._to_home.setdefault(home, []).append(_Said(entry.offset, vin, order_id, now))
                self._seen["deliveries told" if now else "deliveries told to stand no longer"] += 1

    @staticmethod
    def words_of_others(entries: Iterable[Entry], touched: set[str]) -> int:
        """The number of deliveries that a transaction reports without having taken an event of their orders."""
        words = (word for entry in entries for word in orjson.loads(entry.value or b"")[2])
        return sum(order_id not in touched for _, order_id, *_ in words)

    def check_told(self, teller: int, standing: Mapping[tuple[str, str], Delivery], touched: set[str]) -> None:
        """Checks that the reports of touched orders match the deliveries that stand."""
        known = self._by_teller.get(teller, {})
        for key in known.keys() | standing.keys():
            if key[1] in touched and known.get(key) != standing.get(key):
                raise self._broken(f"ledger {teller} has told {known.get(key)} of {key}, {standing.get(key)} stands")

    def hear(self, home: int, state: ToldState, homes: int) -> set[str]:
        """Takes reports as far as a marker says they were read. Returns the vehicles that they are about."""
        position = state.next
        taken = [teller for offset, teller in self._records.get(home, ()) if offset < position]
        if (state.read, set(state.all_of)) != (len(taken), {teller for teller in taken if teller is not None}):
            raise self._broken(f"ledger {home} says {state}, and was told by {taken}")
        if not state.withheld and len(state.all_of) < homes:
            raise self._broken(f"ledger {home} publishes contradictions, and only {state.all_of} have told it all")
        if not state.withheld and position < self._before.get(home, 0):
            raise self._broken(f"ledger {home} publishes contradictions, and has not heard again what it had")
        heard = self._heard.setdefault(home, {})
        before = self._next.get(home, 0)
        if position < before:
            raise self._broken(f"ledger {home} has read up to {position} what it is told, and before up to {before}")
        self._next[home] = position
        some = [word for word in self._to_home.get(home, ()) if before <= word.offset < position]
        for word in some:
            of_vehicle = heard.setdefault(word.vin, {})
            if word.delivery is None:
                of_vehicle.pop(word.order_id, None)
            else:
                of_vehicle[word.order_id] = word.delivery
        return {word.vin for word in some}

    @property
    def is_on_its_way(self) -> bool:
        """Whether any report has not been taken yet."""
        return any(records[-1][0] >= self._next.get(home, 0) for home, records in self._records.items())

    def vehicles(self, home: int) -> set[str]:
        """All vehicles that a home has got reports about."""
        return set(self._heard.get(home, ()))

    def has_heard(self, home: int, vin: str, delivery: Delivery) -> bool:
        """Whether a home knows of a delivery."""
        return self._heard.get(home, {}).get(vin, {}).get(delivery.order_id) == delivery

    def found(self, home: int, vin: str, events: Iterable[dict[str, Any]], since_us: int) -> list[tuple[str, str, str]]:
        """Kind, source and id of each delivery of a vehicle that contradicts its production."""
        some = list(events)
        return [
            ("delivered_without_production", one.source, one.id)
            for one in sorted(self._heard.get(home, {}).get(vin, {}).values())
            if one.time_us >= since_us and not stood(some, one.time_us)
        ]
