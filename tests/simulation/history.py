"""What publishers send: the lives of orders with everything that goes wrong, and the meaning of each record."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.simulation.past import LATE_SHARE
from tests.support.events import event

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ORDERS, DELIVERIES, PRODUCTION = 0, 1, 2
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MODELS = ("SU7", "YU7")
_HALF_A_DAY_US = 43_200_000_000


class Sent(NamedTuple):
    """A record to publish; `topic` is the family; it counts if `is_event`, otherwise it must become a dead letter."""

    topic: int
    key: bytes | None
    value: bytes | None
    is_event: bool


class Publishers:
    """Makes records dated now or some time ago.

    Args:
        dice: Decides everything.
        mischief: Share of late, duplicated and wrong records.
        produces: Whether vehicles are produced too; then some orders have the number of their vehicle.
        earlier: When the first records are dated, which are units of earlier periods; some later ones are dated there, too.
        are_alike: Whether those first ones are all deliveries of one model.
        loads: Share of the events that are loaded as history; the milestones that only these pass are no news.
        loading: Decides which: with dice of its own, everything else is the same with and without them.
    """

    def __init__(
        self,
        dice: Random,
        mischief: float,
        *,
        produces: bool = False,
        earlier: Sequence[datetime] = (),
        are_alike: bool = False,
        loads: float = 0.0,
        loading: Random | None = None,
    ) -> None:
        self._dice = dice
        self._loads, self._loading = loads, loading or Random(0)
        self._produces = produces
        self._mischief = mischief
        self._earlier, self._are_alike = earlier, are_alike
        self._unpublished = [*reversed(earlier)]
        self._number = 0
        self._events = 0
        self._running: list[Iterator[tuple[int, str, dict[str, Any]]]] = []
        self._orders: list[bytes] = []
        self._sent: list[Sent] = []
        self._identities: list[tuple[str, str]] = []
        #: Events that count units: when and where they were published, the order, and the event.
        self._counted: list[tuple[int, int, str, tuple[str, str]]] = []

    def next(self, now_us: int) -> Sent:
        """The next record."""
        if self._unpublished:
            return self._unit(self._unpublished.pop())
        dice = self._dice
        roll = dice.random()
        if self._sent and roll < 0.3 * self._mischief:
            return dice.choice(self._sent)
        if roll < 0.5 * self._mischief:
            sent = self._wrong(now_us)
        elif roll < 0.75 * self._mischief and self._counted:
            sent = self.correction(now_us)
        else:
            if not self._running or dice.random() < 0.45:
                self._running.append(self._life())
            life = dice.choice(self._running)
            step = next(life, None)
            if step is None:
                self._running.remove(life)
                return self.next(now_us)
            topic, kind, data = step
            sent = Sent(topic, life_of(data).encode(), self._event(kind, now_us, data), is_event=True)
            if kind in ("order.placed.v1", "vehicle.delivered.v1", "vehicle.produced.v1"):
                self._counted.append((now_us, topic, life_of(data), self._identities[-1]))
        self._sent.append(sent)
        return sent

    def unit(self, now_us: int) -> Sent:
        """A unit like those of earlier periods, of now."""
        return self._unit(_EPOCH + timedelta(microseconds=now_us))

    def _unit(self, instant: datetime) -> Sent:
        """A unit without further events."""
        self._number += 1
        self._events += 1
        model = _MODELS[0] if self._are_alike else self._dice.choice(_MODELS)
        data: dict[str, Any] = {"order_id": f"SO-{self._number}", "model": model}
        topic, kind, source = ORDERS, "order.placed.v1", "/shop"
        if self._are_alike or self._dice.random() < 0.5:
            topic, kind, source = DELIVERIES, "vehicle.delivered.v1", "/plant"
            data["vin"] = f"LNBSU7A10R{self._number:07d}"
        identity = (f"e{self._events}", source)
        self._identities.append(identity)
        self._counted.append((int(instant.timestamp() * 1e6), topic, data["order_id"], identity))
        sent = Sent(topic, data["order_id"].encode(), self._made(kind, identity, instant, data), is_event=True)
        self._sent.append(sent)
        return sent

    def _event(self, kind: str, now_us: int, data: dict[str, Any]) -> bytes:
        self._events += 1
        identity = (f"e{self._events}", "/shop" if kind.startswith("order") else "/plant")
        self._identities.append(identity)
        if self._earlier and self._dice.random() < LATE_SHARE:
            return self._made(kind, identity, self._dice.choice(self._earlier), data)
        late_s = self._dice.choice([0, 0, 0, 3600, 90_000]) if self._dice.random() < self._mischief else 0
        moment = _EPOCH + timedelta(microseconds=now_us) - timedelta(seconds=late_s + self._dice.random())
        return self._made(kind, identity, moment, data)

    def _made(self, kind: str, identity: tuple[str, str], moment: datetime, data: dict[str, Any]) -> bytes:
        made = event(kind, identity[0], moment, data, source=identity[1])
        return made.replace(b"{", b'{"backfill":true,', 1) if self._loading.random() < self._loads else made

    def _life(self) -> Iterator[tuple[int, str, dict[str, Any]]]:
        self._number += 1
        number, dice = self._number, self._dice
        order = {"order_id": f"SO-{number}"}
        vin = f"LNBSU7A10R{number:07d}"
        model = {"model": dice.choice(_MODELS)}
        steps = [(ORDERS, "order.placed.v1", order | model)]
        ends = dice.random()
        if ends < 0.15:
            steps.append((ORDERS, "order.cancelled.v1", order))
        elif ends < 0.9:
            steps.append((DELIVERIES, "vehicle.delivered.v1", order | {"vin": vin} | model))
        if ends > 0.75 and len(steps) > 1:
            steps.append((DELIVERIES, "delivery.reversed.v1", order | {"vin": vin}))
        if self._produces:
            steps = self._with_production(steps, vin, model)
        if dice.random() < self._mischief:
            dice.shuffle(steps)
        for topic, kind, data in steps:
            yield topic, kind, data
            if dice.random() < 0.15 * self._mischief and self._identities:
                id_, source = self._identities[-1] if dice.random() < 0.8 else dice.choice(self._identities)
                yield topic, *_void(topic, life_of(data), source, id_)

    def _with_production(
        self, steps: list[tuple[int, str, dict[str, Any]]], vin: str, model: dict[str, Any]
    ) -> list[tuple[int, str, dict[str, Any]]]:
        dice = self._dice
        if dice.random() < 0.2:
            steps = [(topic, kind, data | {"order_id": vin}) for topic, kind, data in steps]
        made = [(PRODUCTION, "vehicle.produced.v1", {"vin": vin} | model)]
        if dice.random() < 0.3:
            made.append((PRODUCTION, "production.reversed.v1", {"vin": vin}))
        if dice.random() < 0.2:
            made.append((PRODUCTION, "vehicle.produced.v1", {"vin": vin} | model))
        return [*made, *steps] if dice.random() < 0.7 else made

    def correction(self, now_us: int) -> Sent:
        """Voids an event, preferably of a past day, which may then no longer be a record; otherwise the next record."""
        if not self._counted:
            return self.next(now_us)
        past = [one for one in self._counted if now_us - one[0] > _HALF_A_DAY_US]
        wrong = self._dice.choice(past or self._counted)
        self._counted.remove(wrong)
        _, topic, order_id, (id_, source) = wrong
        kind, data = _void(topic, order_id, source, id_)
        return Sent(topic, order_id.encode(), self._event(kind, now_us, data), is_event=True)

    def _wrong(self, now_us: int) -> Sent:
        """Records that are not valid events."""
        self._number += 1
        order_id = f"SO-{self._number}"
        good = self._event("order.placed.v1", now_us, {"order_id": order_id, "model": "SU7"})
        kind = self._dice.choice([0, 1, 1, 1, 2, 3, 4])
        if kind == 0:
            return Sent(ORDERS, b"k%d" % self._number, b"{not json %d" % self._number, is_event=False)
        if kind == 1:
            return Sent(ORDERS, b"other", good, is_event=False)  # a wrong key: a replay repairs it
        if kind == 2:
            return Sent(DELIVERIES, order_id.encode(), good, is_event=False)
        if kind == 3:
            return Sent(ORDERS, None, None, is_event=False)
        return Sent(ORDERS, order_id.encode(), good.replace(b"+00:00", b""), is_event=False)


def _void(topic: int, number: str, source: str, id_: str) -> tuple[str, dict[str, Any]]:
    """Type and data of an event that voids another one of an order, or of a vehicle's production."""
    voids = {"voids": {"source": source, "id": id_}}
    if topic == PRODUCTION:
        return "production.voided.v1", {"vin": number} | voids
    return "event.voided.v1", {"order_id": number} | voids


def life_of(data: dict[str, Any]) -> str:
    """The number of the order, or the VIN, that an event is about."""
    number: str = data.get("order_id") or data["vin"]
    return number


class Planners:
    """Sets and withdraws targets, sets opening balances, sends control totals, and makes mistakes."""

    def __init__(self, dice: Random) -> None:
        self._dice = dice
        self._number = 0

    def next(self, now_us: int) -> Sent:
        """The next record; its topic is 0 for the targets, 1 for the control totals."""
        dice = self._dice
        self._number += 1
        if dice.random() < 0.3:
            return Sent(dice.randrange(2), b"wrong", b"not json %d" % self._number, is_event=False)
        what: dict[str, Any] = {"metric": "deliveries", "scope": "all", "period": "month:2024-10"}
        if dice.random() < 0.3:
            key = "/".join(what.values())
            value = self._event("control.total.v1", now_us, what | {"count": dice.randrange(9)}, key)
            return Sent(1, key.encode(), value, is_event=True)
        if dice.random() < 0.3:
            of = dice.choice([("orders_placed", "all"), ("deliveries", "model=SU7")])
            data = {"metric": of[0], "scope": of[1], "count": dice.randrange(25)}
            key = "/".join((*of, "total"))
            return Sent(0, key.encode(), self._event("balance.set.v1", now_us, data, key), is_event=True)
        target_id = dice.choice(["t", "u"])
        if dice.random() < 0.3:
            value = self._event("target.withdrawn.v1", now_us, {"target_id": target_id}, target_id)
        else:
            period = dice.choice(["month:2024-10", "total"])
            data = what | {"target_id": target_id, "value": dice.randrange(1, 9), "period": period}
            data |= {"at": [0.5, 0.75]} if self._number % 2 else {}
            value = self._event("target.set.v1", now_us, data, target_id)
        return Sent(0, target_id.encode(), value, is_event=True)

    def _event(self, kind: str, now_us: int, data: dict[str, Any], subject: str) -> bytes:
        moment = _EPOCH + timedelta(microseconds=now_us)
        return json.dumps(
            {
                "specversion": "1.0",
                "id": f"p{self._number}",
                "source": "/planning",
                "type": kind,
                "time": moment.isoformat(timespec="milliseconds"),
                "subject": subject,
                "data": data,
            }
        ).encode()


class Announcers:
    """Announce campaigns around a moment, change and withdraw them, and make mistakes."""

    def __init__(self, dice: Random, start: datetime) -> None:
        self._dice = dice
        self._start = start.replace(second=0, microsecond=0)
        self._number = 0

    def next(self, now_us: int) -> Sent:
        """The next record, for the topic of the targets."""
        dice = self._dice
        self._number += 1
        name = dice.choice(["a-launch", "c-night"])
        first = self._start - timedelta(minutes=dice.choice([0, 1, 70]))
        data: dict[str, Any] = {"campaign": name}
        kind, is_event = "campaign.set.v1", dice.random() > 0.15
        if dice.random() < 0.25:
            kind = "campaign.withdrawn.v1"
            data |= {} if is_event else {"campaign": "A launch"}
        else:
            data["start"] = (first if is_event else first + timedelta(seconds=30)).isoformat()
            # Many last until they are changed.
            length = dice.choice([None, 1, 2, 75])
            data |= {"end": (first + timedelta(minutes=length)).isoformat()} if length else {}
            data |= {"scopes": [["model"]]} if dice.random() < 0.2 else {}
        moment = _EPOCH + timedelta(microseconds=now_us)
        document = {
            "specversion": "1.0", "id": f"c{self._number}", "source": "/marketing", "type": kind,
            "time": moment.isoformat(timespec="milliseconds"), "data": data,
        }  # fmt: skip
        return Sent(0, f"campaign:{data['campaign']}".encode(), json.dumps(document).encode(), is_event=is_event)


def meaning(value: bytes) -> dict[str, Any]:
    """The event in a valid value."""
    parsed: dict[str, Any] = json.loads(value)
    return parsed
