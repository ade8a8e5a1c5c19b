"""One difference of every kind that `verify` can name, planted at once: each is in the text and in the JSON.

A worker counts a few events and ends. Then the outputs are falsified, and source records are appended of which the markers
say that they were applied.
"""

from __future__ import annotations

import ast
import asyncio
import json
import re
import signal
import time
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from schemas.codec import encode_memory
from schemas.memory import CUT, KEPT, SIDE, KeptRecord, key_of
from schemas.outputs import ControlHeaders
from schemas.partitioner import homes
from schemas.texts import scope_of_source
from streams.kafka.admin import admin
from streams.kafka.clients import read_latest, read_to_end
from streams.kafka.forwarding import ORIGIN_HEADER
from tests.contract.goldens import OUTPUTS
from tests.support.installation import Installation
from tests.support.rules import rule, target
from tests.support.time_limits import deadline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.shared_kafka import SharedKafka

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

AUDIT: Final = Path(__file__).parents[2] / "streams/audit"

CAMPAIGN: Final = '\n[[campaign]]\nname = "launch"\nstart = "2024-10-02T10:00:00+08:00"\nhours = 2\n'
#: Of vehicles that were not produced.
FAMILIES: Final = ("orders", "deliveries", "production")
RULES: Final = (
    f"families = {list(FAMILIES)}\n"
    + rule("daily", exceeds=2, first=True)
    + rule("launch", window="campaign", reaches=2)
    + target("october", 3)
    + CAMPAIGN
    + "\n[keep_days]\nall = 400\n"
)
PARTITIONS: Final = 2
FIRST_DAY, SECOND_DAY = "2024-10-02", "2024-10-03"
VIN: Final = "LNBSU7A10R10000"
FACTORY: Final = "/factories/bj1"
#: `timestamp_type` of a record that has its broker's time.
_APPEND_TIME: Final = 1

#: Fields of an alert that are not of its forecast.
_OF_DATA: Final = ("ended", "revision")
#: Check of the report → how the line of a difference reads; one entry a kind.
KINDS: Final = (
    ("day counts", r"deliveries/all/day:2024-10-02 in ledger partition 0: published \d+, recounted \d+ \([+-]\d+\); \d\dh"),
    ("day counts", r"deliveries/all/campaign:launch in ledger partition 0, hour 1: published \d+, recounted \d+ \([+-]\d+\); minute 1 \d+ for \d+"),
    ("rows", r"deliveries/model=YU7/day:2024-10-03: published 2, recounted 1 \(\+1\)$"),
    ("shards", r"deliveries/model=YU7/day:2024-10-03: published 2, recounted 1 \(\+1\)$"),
    ("sums", r"deliveries/model=YU7/day:2024-10-03: 2, its hours add up to 1"),
    ("sums", r"deliveries/model=YU7/month:2024-10: 1, its days add up to 2"),
    ("sums", r"deliveries/all/campaign:launch: \d, its minutes add up to \d"),
    ("sums", r"inventory/all/total: 5, produced and not delivered are 0"),
    ("milestones", r"deliveries/model=SU7/day:2024-10-02/exceeds:2: should stand \(day:2024-10-02 counts \d\), and does not"),
    ("milestones", r"deliveries/model=YU7/day:2024-10-03/exceeds:2: stands, and should not \(day:2024-10-03 counts 1\)"),
    ("milestones", r"deliveries/model=SU7/first:day/exceeds:2: stands for day:2024-10-03, should for day:2024-10-02"),
    ("milestones", r"deliveries/model=SU7/first:day/exceeds:2: revision 5 follows revision 1"),
    ("moments", r"deliveries/model=YU7/day:2024-10-03/exceeds:2: achieved at 2024-10-02T10:00:00\+08:00, on 2024-10-02$"),
    ("moments", r"deliveries/model=YU7/day:2024-10-03/exceeds:2: says unit 7, its number is passed by 3$"),
    ("moments", r"deliveries/model=SU7/campaign:launch/reaches:2: achieved at 2024-10-02T10:00:00\+08:00, after 7\.0 seconds$"),
    ("moments", r"deliveries/all/month:2024-10/target:october:3: unit 3 is said to be /factories/bj1 nobody of \S+, which was none"),
    ("alerts", r"forecast-behind:a:20000@1: has ended and was not raised"),
    ("alerts", r"forecast-moved:b:20000@1: on 2024-10-17 there was an alert about its target already, \S+/forecast-behind:b:20000"),
    ("alerts", r"forecast-behind:c:20000@1: there is no forecast of 2024-10-16T17:00:00.000Z"),
    ("alerts", r"forecast-behind:d:20000@1: does not say what its forecast of 2024-10-16T16:00:00.000Z says"),
    ("alerts", r"forecast-behind:e:20000@2: has ended as reached, and its forecast says behind"),
    ("alerts", r"forecast-behind:f:20000@1: was raised by a forecast of 20,500 for 20,000"),
    ("alerts", r"forecast-moved:g:20000@1: the date is 2024-11-02, as it was before"),
    ("alerts", r"forecast-behind:h:20000@1: stands, and its target is reached since 2024-10-18"),
    ("alerts", r"forecast-behind:i:20000@1: stands, and the forecast of 2024-10-17T16:00:00.000Z expects 20,300 for 20,000"),
    ("alerts", r"deliveries/model=YU7/hours/stalled:3@1: stands, and rows have 1 since then"),
    ("alerts", r"hours/stalled:3@1: stands, and its source has sent \d+ events dated since then"),
    ("targets", r"deliveries/all/year:2024: shows the targets \{'x': 9\}, in force are \{\}"),
    ("targets", r"deliveries/all/month:2024-10: target october 3 is marked not reached at \d"),
    ("targets", r"deliveries/all/month:2025-01: has no row, though the targets \{'january': 7\} are in force"),
    ("balances", r"deliveries/all/year:2024: shows a balance of 7, in force is 0"),
    ("campaigns", r"ledger 1 does not count the campaign night \(from 2024-09-01T12:00:00Z for 60 minutes, of all, model\)"),
    ("kept days", r"all: days have rows from 2024-10-01 on; the latest with counts is 2024-10-03, and 400 days before it are"),
    ("control totals", r"deliveries/all/day:2024-10-03: \d less the 5 of /factories/bj1 is given as \+9"),
    ("control totals", r"deliveries/all/day:2024-10-03: /factories/bj1 has sent no total of 5 as of"),
    ("control totals", r"deliveries/model=SU7/day:2024-10-03: lacks the total of /factories/bj1, 8"),
    ("production", r"VIN LNBSU7A10R1000001: delivered under order \S+ \(/factories/bj1 \S+-d\) without having been produced, which is not published"),
    ("production", r"VIN LNBSU7A10R1000099: published as delivered under order SO-99 \(/factories/bj1 nobody\) without having been produced, which is not so"),
    ("books", r"vehicle\.orders\.v1-0: read \d+ is not applied \d+ \+ duplicates \d+ \+ dead letters \d+ \+ rerouted \d+"),
    ("books", r"vehicle\.orders\.v1-0: read \d+, counted \d+"),
    ("books", r"vehicle\.orders\.v1-0: dead letters 0, counted \d"),
    ("books", r"vehicle\.deliveries\.v1-0: rerouted \d, counted \d"),
    ("books", r"vehicle\.deliveries\.v1-1: duplicates 0, counted 1"),
    ("books", r"ledger partition 0: applied \d+, counted \d+"),
    ("books", r"ledger partition 1: duplicates 0, counted 1"),
    ("dead letters", r"vehicle\.orders\.v1-0@\d+: is not a valid event \(malformed_json\) and has no dead letter"),
    ("dead letters", r"vehicle\.orders\.v1-0@\d+: among the dead letters as invalid_field, but it is malformed_json"),
    ("dead letters", r"vehicle\.orders\.v1-0@\d+: its dead letter has another key or value"),
    ("dead letters", r"vehicle\.orders\.v1-0@\d+: 2 dead letters of one record"),
    ("dead letters", r"vehicle\.deliveries\.v1-0@\d+: among the dead letters as malformed_json, but it is a valid event"),
    ("dead letters", r"order \S+: 65 events were taken, 64 are allowed"),
    ("dead letters", r"vehicle\.deliveries\.v1-0@\d+: contradicts an event of the same id, and there is no dead letter"),
    ("dead letters", r"vehicle\.orders\.v1-0@\d+: among the dead letters as too_many_events, but nothing in its order"),
    ("forwarded", r"vehicle\.deliveries\.v1-1@\d+: was forwarded twice"),
    ("forwarded", r"vehicle\.deliveries\.v1-1@\d+: was forwarded to partition 1, which is not its home"),
    ("forwarded", r"vehicle\.deliveries\.v1-0@\d+: belongs to partition 1 and was not forwarded to it"),
    ("forwarded", r"vehicle\.deliveries\.v1-0@\d+: was forwarded with different content"),
    ("sources", r"vehicle\.deliveries\.v1-1: ends at \d+, applied was up to \d+: the topic was recreated or trimmed"),
    ("sources", r"vehicle\.orders\.v1-6: is not there, applied was up to 7: the topic was recreated with fewer partitions"),
    ("sources", r"former\.orders-0: was counted, and topics does not list it: this recount lacks it"),
)  # fmt: skip


def order(home: int, number: int) -> str:
    """The id of an order whose home is a partition."""
    found = (f"SO-{number}-{attempt}" for attempt in range(1000))
    return next(one for one in found if homes([one.encode()], PARTITIONS) == [home])


def envelope(kind: str, identity: str, at: str, source: str = FACTORY, **data: Any) -> bytes:
    event = {"specversion": "1.0", "id": identity, "source": source, "type": kind, "time": at, "data": data}
    return json.dumps(event).encode()


def delivery(order_id: str, day: str, number: int, model: str = "SU7", hour: int = 10) -> bytes:
    at = f"{day}T{hour:02d}:00:00+08:00"
    return envelope(
        "vehicle.delivered.v1", f"{order_id}-d", at, order_id=order_id, vin=f"{VIN}{number:02d}", model=model
    )


@dataclass
class Planter:
    """Writes what no worker has written.

    Attributes:
        ends: Topic and partition → position after the last source record planted there.
    """

    installation: Installation
    producer: AIOKafkaProducer
    ends: dict[tuple[str, int], int] = field(default_factory=dict)

    async def put(self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Any = ()) -> int:
        """Appends a record and returns its offset."""
        sent = await self.producer.send_and_wait(topic, value, key, partition, headers=list(headers))
        self.ends[topic, partition] = sent.offset + 1
        return int(sent.offset)

    async def letter(self, source: tuple[str, int, int], key: bytes, value: bytes, reason: str) -> None:
        """Appends a dead letter of a source record."""
        topic = self.installation.catalogue.dead_letters.name
        await self.put(topic, source[1], key, value, ControlHeaders.of(*source, "planted", reason))

    async def forwarded(self, source: tuple[int, int, int], to: int, key: bytes, value: bytes) -> None:
        """Appends a forwarded record."""
        origin = "{} {} {}".format(*source) + f" {time.time_ns() // 10**6}"
        await self.put(self.installation.catalogue.rerouted.name, to, key, value, [(ORIGIN_HEADER, origin.encode())])

    async def source_records(self) -> None:
        """Records that the markers will say were applied, and dead letters and forwarded records that do not fit."""
        catalogue = self.installation.catalogue
        orders, deliveries = catalogue.orders.name, catalogue.deliveries.name

        await self.put(orders, 0, b"a", b"{")  # no dead letter at all
        at = await self.put(orders, 0, b"b", b"{")
        await self.letter((orders, 0, at), b"b", b"{", "invalid_field")
        at = await self.put(orders, 0, b"c", b"{")
        await self.letter((orders, 0, at), b"c", b"[", "malformed_json")
        at = await self.put(orders, 0, b"d", b"{")
        for _ in range(2):
            await self.letter((orders, 0, at), b"d", b"{", "malformed_json")

        fine = order(0, 50)
        value = delivery(fine, FIRST_DAY, 50)
        at = await self.put(deliveries, 0, fine.encode(), value)
        await self.letter((deliveries, 0, at), fine.encode(), value, "malformed_json")

        many = order(0, 51)
        for number in range(65):
            cancelled = envelope("order.cancelled.v1", f"c{number}", "2024-10-02T10:00:00+08:00", order_id=many)
            await self.put(orders, 0, many.encode(), cancelled)
        alone = order(0, 52)
        cancelled = envelope("order.cancelled.v1", "c", "2024-10-02T10:00:00+08:00", order_id=alone)
        at = await self.put(orders, 0, alone.encode(), cancelled)
        await self.letter((orders, 0, at), alone.encode(), cancelled, "too_many_events")

        known = order(0, 1)
        await self.put(deliveries, 0, known.encode(), delivery(known, FIRST_DAY, 1, hour=11))  # contradicts
        again = order(1, 3)
        await self.put(deliveries, 1, again.encode(), delivery(again, FIRST_DAY, 3))  # a duplicate that is in no books

        lost, changed, astray = order(1, 53), order(1, 54), order(0, 55)
        await self.put(deliveries, 0, lost.encode(), delivery(lost, FIRST_DAY, 53))
        at = await self.put(deliveries, 0, changed.encode(), delivery(changed, FIRST_DAY, 54))
        await self.forwarded((1, 0, at), 1, changed.encode(), delivery(changed, FIRST_DAY, 54, model="YU7"))
        value = delivery(astray, FIRST_DAY, 55)
        at = await self.put(deliveries, 1, astray.encode(), value)
        await self.forwarded((1, 1, at), 1, astray.encode(), value)

    async def forward_again(self) -> None:
        """What a worker has forwarded, once more."""
        topic = self.installation.catalogue.rerouted
        async for records in read_to_end(self.installation.settings, [(topic.name, n) for n in range(PARTITIONS)]):
            for record in records:
                await self.put(topic.name, record.partition, record.key, record.value, record.headers)

    async def totals(self) -> None:
        """A target without a row, and a total that is on no row although it came an hour ago."""
        catalogue = self.installation.catalogue
        january: dict[str, Any] = {
            "metric": "deliveries",
            "scope": "all",
            "period": "month:2025-01",
            "target_id": "january",
            "value": 7,
        }
        at = "2024-09-28T18:00:00+08:00"
        await self.put(catalogue.targets.name, 0, b"january", envelope("target.set.v1", "j", at, **january))
        night = {"campaign": "night", "start": "2024-09-01T20:00:00+08:00", "end": "2024-09-01T21:00:00+08:00"}
        await self.put(catalogue.targets.name, 0, b"campaign:night", envelope("campaign.set.v1", "n", at, **night))
        async with admin(self.installation.settings) as client:
            create_time = {"message.timestamp.type": "CreateTime"}
            await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, catalogue.controls.name, create_time)])
        # The broker hears of the setting a moment later; totals of a scope that is not counted show when it has.
        give_up_s = deadline(20)
        number = 0
        while (await self._total("region=CN-11", f"probe-{number}")).timestamp_type == _APPEND_TIME:
            assert time.monotonic() < give_up_s
            number += 1
            await asyncio.sleep(0.1)
        for scope in ("model=SU7", "all"):
            await self._total(scope, scope)

    async def _total(self, scope: str, identity: str) -> Any:
        """Sends a total that came an hour ago; what the broker says of its record."""
        where = {"metric": "deliveries", "scope": scope, "period": f"day:{SECOND_DAY}"}
        return await self.producer.send_and_wait(
            self.installation.catalogue.controls.name,
            envelope("control.total.v1", identity, "2024-10-04T01:00:00+08:00", **where, count=8),
            "/".join(where.values()).encode(),
            0,
            timestamp_ms=time.time_ns() // 10**6 - 3_600_000,
        )

    async def rows(self) -> None:
        """Rows that disagree with their events, their hours, their days, the targets and the totals of others."""
        rows = await self.installation.rows()

        def change(key: str, **more: Any) -> None:
            rows[key] = {**rows[key], **more}

        # Two units more in a ledger partition, its rows summed from it: only the events say that it is wrong.
        for key in [f"deliveries/all/{period}" for period in (f"day:{FIRST_DAY}", "month:2024-10", "year:2024")] + [
            "deliveries/all/holiday:national-day:2024"
        ]:
            change(key, count=rows[key]["count"] + 2)
        hours = list(rows[f"deliveries/all/day:{FIRST_DAY}"]["by_hour"])
        hours[10] += 2
        change(f"deliveries/all/day:{FIRST_DAY}", by_hour=hours)
        change("deliveries/all/campaign:launch", count=rows["deliveries/all/campaign:launch"]["count"] + 1)
        yu7 = f"deliveries/model=YU7/day:{SECOND_DAY}"
        control = {"source": FACTORY, "count": 5, "difference": -3, "as_of": "2024-10-03T16:00:00.000Z"}
        long_ago = "2024-10-03T16:00:00.000Z"
        change(yu7, count=rows[yu7]["count"] + 1, controls=[control], updated_at=long_ago)
        rows["inventory/all/total"] = rows["deliveries/all/year:2024"] | {
            "metric": "inventory",
            "period": "total",
            "start": "1999-12-31",
            "end": "2101-01-01",
            "count": 5,
        }
        change("deliveries/all/year:2024", balance=7, targets=[{"target_id": "x", "value": 9, "reached": False}])
        (october,) = rows["deliveries/all/month:2024-10"]["targets"]
        change("deliveries/all/month:2024-10", targets=[{**october, "reached": False}])
        control = {"source": FACTORY, "count": 5, "difference": 9, "as_of": "2024-10-03T16:00:00.000Z"}
        change(f"deliveries/all/day:{SECOND_DAY}", controls=[control])
        for key, row in rows.items():
            await self.put(self.installation.catalogue.windows.name, 0, key.encode(), json.dumps(row).encode())

    async def milestones(self) -> None:
        """A milestone retracted without reason, one raised without reason, one of another day with a missing revision."""
        events = {event["subject"]: event for event in await self.installation.milestones()}
        day = f"deliveries/model=SU7/day:{FIRST_DAY}/exceeds:2"
        yu7 = f"deliveries/model=YU7/day:{SECOND_DAY}"
        second = {"period": f"day:{SECOND_DAY}", "start": SECOND_DAY, "end": SECOND_DAY}
        taken_back = self._milestone(events[day], "milestone.retracted.v1", revision=2)
        invented = self._milestone(
            events[day], "milestone.raised.v1", milestone_id=f"{yu7}/exceeds:2", scope="model=YU7", position=7, **second
        )
        moved = self._milestone(
            events["deliveries/model=SU7/first:day/exceeds:2"], "milestone.raised.v1", revision=5, **second
        )
        launch = events["deliveries/model=SU7/campaign:launch/reaches:2"]
        later = self._milestone(launch, "milestone.reinstated.v1", revision=2, after_s=7.0)
        for event in (taken_back, invented, moved, later, await self._with_another_unit(events)):
            topic = self.installation.catalogue.milestones.name
            await self.put(topic, 0, event["subject"].encode(), json.dumps(event).encode())

    async def alerts(self) -> None:
        """Forecasts, and alerts that contradict them, each about a different target."""
        late = {"as_of": "2024-10-17T16:00:00.000Z", "business_date": "2024-10-18"}
        behind, moved = "behind", "moved"
        await self._alert("a", [{"p50": 20300}], [(behind, {"ended": "back", "p50": 20300})])
        later = {"as_of": "2024-10-16T17:00:00.000Z"}
        await self._alert("b", [{}, later], [(behind, {}), (moved, {**later, "former_date": "2024-10-20"})])
        await self._alert("c", [{}, {"as_of": "2024-10-16T18:00:00.000Z"}], [(behind, later)])
        await self._alert("d", [{"p50": 19000}], [(behind, {})])
        await self._alert("e", [{}, late], [(behind, {}), (behind, {**late, "ended": "reached", "revision": 2})])
        await self._alert("f", [{"p50": 20500}], [(behind, {"p50": 20500})])
        await self._alert("g", [{}], [(moved, {"former_date": "2024-11-02"})])
        await self._alert("h", [{}, {**late, "state": "reached"}], [(behind, {})])
        await self._alert("i", [{}, {**late, "p50": 20300}], [(behind, {})])

    async def silence(self) -> None:
        """An alert that there were no units, about hours in which rows have one."""
        sample = OUTPUTS["vehicle.milestones.v1.stalled"].model_dump(mode="json")
        silence = sample["data"]["silence"] | {
            "since": f"{SECOND_DAY}T08:00:00+08:00",
            "until": f"{SECOND_DAY}T11:00:00+08:00",
        }
        name = "deliveries/model=YU7/hours/stalled:3"
        day = {"period": f"day:{SECOND_DAY}", "start": SECOND_DAY, "end": SECOND_DAY}
        event = self._milestone(sample, "alert.raised.v1", milestone_id=name, scope="model=YU7", silence=silence, **day)
        topic = self.installation.catalogue.milestones.name
        await self.put(topic, 0, name.encode(), json.dumps(event).encode())
        # The same about a source that had sent events before those hours were over.
        scope, hours = scope_of_source(FACTORY), (f"{FIRST_DAY}T08:00:00+08:00", "2099-01-01T00:00:00+08:00")
        name, silence = (
            f"deliveries/{scope}/hours/stalled:3",
            silence | dict(zip(("since", "until"), hours, strict=True)),
        )
        event = self._milestone(sample, "alert.raised.v1", milestone_id=name, scope=scope, silence=silence, **day)
        await self.put(topic, 0, name.encode(), json.dumps(event).encode())

    async def _alert(
        self, target_id: str, forecasts: list[dict[str, Any]], alerts: list[tuple[str, dict[str, Any]]]
    ) -> None:
        """Appends forecasts of a target, then alerts about it, each with something other than the sample has."""
        catalogue = self.installation.catalogue
        sample = OUTPUTS["vehicle.milestones.v1.forecast-behind"].model_dump(mode="json")
        key = f"deliveries/model=SU7/month:2024-10/{target_id}".encode()
        for change in forecasts:
            told = {**sample["data"]["forecast"], **change}
            made = OUTPUTS["vehicle.forecasts.v1.ahead"].model_dump(mode="json") | {
                "target_id": target_id,
                "count": sample["data"]["count"],
                "state": told.get("state", "behind"),
                "as_of": told["as_of"],
                "business_date": told["business_date"],
            }
            made["projected_total"] = {**told["projected_total"], "p50": change.get("p50", 19100)}
            made["projected_date"]["p50"] = told["projected_date"]
            await self.put(catalogue.forecasts.name, 0, key, json.dumps(made).encode())
        for kind, change in alerts:
            told = {**sample["data"]["forecast"], **{name: change[name] for name in change if name not in _OF_DATA}}
            told["projected_total"] = {**told["projected_total"], "p50": told.pop("p50", 19100)}
            event = self._milestone(
                sample,
                "alert.ended.v1" if "ended" in change else "alert.raised.v1",
                milestone_id=f"{key.decode().rpartition('/')[0]}/forecast-{kind}:{target_id}:20000",
                kind=f"forecast_{kind}",
                target_id=target_id,
                forecast=told,
                **{name: change[name] for name in _OF_DATA if name in change},
            )
            await self.put(catalogue.milestones.name, 0, event["subject"].encode(), json.dumps(event).encode())

    async def _with_another_unit(self, events: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """A revision of the target's milestone that names an event that never existed, found at the time of the first revision."""
        name = "deliveries/all/month:2024-10/target:october:3"
        totals = self.installation.catalogue.totals.name
        key = key_of(SIDE, CUT + name)
        cut = json.loads((await read_latest(self.installation.settings, [(totals, 0)]))[key])
        await self.put(totals, 0, key, json.dumps({**cut, "revision": 2}).encode())
        cause = {**events[name]["data"]["cause"], "event_id": "nobody"}
        return self._milestone(events[name], "milestone.reinstated.v1", revision=2, cause=cause)

    @staticmethod
    def _milestone(like: dict[str, Any], event_type: str, **data: Any) -> dict[str, Any]:
        changed = {**like["data"], **data}
        identity = f"{changed['milestone_id']}@{changed['revision']}"
        return {**like, "type": event_type, "id": identity, "subject": changed["milestone_id"], "data": changed}

    async def counts(self) -> None:
        """Counts of a day and of a campaign's hour that are two units too high, and markers that say that all of the above was applied."""
        catalogue = self.installation.catalogue
        latest = await read_latest(self.installation.settings, [(catalogue.counts.name, 0)])
        for of, place in ((FIRST_DAY, 10), ("campaign:launch:0", 0)):
            key = f"0|deliveries|all|{of}".encode()
            cell = json.loads(latest[key])
            cell["count"] += 2
            cell["by_hour"][place] += 2
            await self.put(catalogue.counts.name, 0, key, json.dumps(cell).encode())
        for shard in range(PARTITIONS):
            marker = json.loads(latest[f"{shard}|applied".encode()])
            for topic in (catalogue.orders.name, catalogue.deliveries.name):
                position = self.ends.get((topic, shard), marker["positions"][topic][0])
                beyond = 5 * (topic == catalogue.deliveries.name and shard == 1)
                marker["positions"][topic] = [position + beyond, ""]
            if shard == 0:
                marker["books"][catalogue.orders.name]["read"] += 1
                marker["positions"]["former.orders"] = [7, ""]
                marker["positions"][f"{catalogue.orders.name}:6"] = [7, ""]
            await self.put(catalogue.counts.name, 0, f"{shard}|applied".encode(), json.dumps(marker).encode())

    async def violations(self) -> None:
        """One is retracted without reason, one is raised without reason."""
        name = self.installation.catalogue.violations.name
        published = await read_latest(self.installation.settings, self.installation.catalogue.violations.whole)
        known, unknown = f"{VIN}01".encode(), f"{VIN}99".encode()
        assert known in published
        await self.put(name, homes([known], PARTITIONS)[0], known, None)
        wrong = json.loads(published[known]) | {"order_id": unknown.decode()}
        wrong["violations"][0] |= {"id": "nobody", "order_id": "SO-99"}
        await self.put(name, homes([unknown], PARTITIONS)[0], unknown, json.dumps(wrong).encode())

    async def kept_days(self) -> None:
        """The memory topic says that rows of days were removed that should be kept."""
        value = encode_memory(KeptRecord(date(2024, 10, 1), 2))
        await self.put(self.installation.catalogue.totals.name, 0, key_of(SIDE, KEPT), value)

    async def trim(self) -> None:
        """The first record of one partition is gone."""
        async with admin(self.installation.settings) as client:
            first = TopicPartition(self.installation.catalogue.orders.name, 1)
            await client.delete_records({first: RecordsToDelete(before_offset=1)})


@pytest.fixture(scope="module")
async def installation(kafka: SharedKafka, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    """An installation with one difference of every kind."""
    async with (
        Installation.created(
            kafka.bootstrap,
            tmp_path_factory.mktemp("every"),
            config=RULES,
            partitions=PARTITIONS,
            families=FAMILIES,
        ) as made,
        AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer,
    ):
        planter = Planter(made, producer)
        await _base(made, planter)
        before = await made.run("verify")
        assert before.returncode == 0, before.stdout + before.stderr
        await planter.source_records()
        await planter.forward_again()
        await planter.totals()
        await planter.rows()
        await planter.milestones()
        await planter.alerts()
        await planter.silence()
        await planter.counts()
        await planter.kept_days()
        await planter.violations()
        await planter.trim()
        yield made


async def _base(installation: Installation, planter: Planter) -> None:
    """What a worker counts before anything is falsified."""
    orders, deliveries = installation.catalogue.orders.name, installation.catalogue.deliveries.name
    await planter.put(orders, 1, b"first", b"{")
    for number, (home, day) in enumerate([(0, FIRST_DAY), (0, FIRST_DAY), (1, FIRST_DAY), (0, SECOND_DAY)], start=1):
        name = order(home, number)
        await planter.put(deliveries, home, name.encode(), delivery(name, day, number))
    for number, model, partition in ((5, "SU7", 0), (6, "SU7", 0), (7, "YU7", 1)):
        name = order(0, number)  # the last of them away from home
        await planter.put(deliveries, partition, name.encode(), delivery(name, SECOND_DAY, number, model))
    worker = installation.worker()
    await installation.applied()
    give_up_s = deadline(20)
    while len(await installation.standing()) < 4:
        assert time.monotonic() < give_up_s, f"{await installation.standing()}\n{installation.tails()}"
        await asyncio.sleep(0.2)
    worker.kill(signal.SIGTERM)
    assert await asyncio.to_thread(worker.wait) == 0


@pytest.fixture(scope="module")
async def text(installation: Installation) -> list[tuple[str, str]]:
    """The differences in the text: (subject of the check, line)."""
    done = await installation.run("verify", timeout_s=120)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stdout + done.stderr
    found, check = [], ""
    for line in done.stdout.splitlines():
        if line.startswith("WRONG"):
            check = line.partition(": ")[0].split(maxsplit=2)[2]
        elif line.startswith("        ") and not line.startswith("         "):
            found.append((check, line.strip()))
    assert re.search(r"^\d+ differences \(", done.stdout.splitlines()[-1]), done.stdout
    return found


@pytest.fixture(scope="module")
async def document(installation: Installation) -> dict[str, list[str]]:
    """The differences in the JSON: check → lines."""
    done = await installation.run("verify", "--json", timeout_s=120)
    assert (done.returncode, done.stderr) == (1, ""), done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["ok"] is False
    return {check["name"]: [found["line"] for found in check["differences"]] for check in told["checks"]}


@pytest.mark.parametrize(
    ("check", "pattern"), KINDS, ids=[f"{name}-{number}" for number, (name, _) in enumerate(KINDS)]
)
def test_a_difference_is_named_in_the_text_and_in_the_json(
    check: str, pattern: str, text: list[tuple[str, str]], document: dict[str, list[str]], installation: Installation
) -> None:
    prefix = installation.settings.source_prefix
    in_json = [line for line in document[check] if re.search(pattern, line.replace(prefix, ""))]
    assert in_json, "\n".join(document[check])
    assert {line for _, line in text} & set(in_json), "\n".join(f"{of}: {line}" for of, line in text)


def test_every_line_that_verify_can_say_was_planted(document: dict[str, list[str]]) -> None:
    lines = [line for of_check in document.values() for line in of_check]
    said = list(_said())
    assert len(said) > 20
    assert [parts for parts in said if not any(all(part in line for part in parts) for line in lines)] == []


def _said() -> Iterator[list[str]]:
    """The fixed parts of every line that the code gives to a check."""
    for path in sorted(AUDIT.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "differ":
                parts = [one.value for one in ast.walk(node.args[0]) if isinstance(one, ast.Constant)]
                fixed = [part for part in parts if isinstance(part, str) and len(part) > 3]
                if fixed:
                    yield fixed


def test_nothing_is_wrong_about_a_record_that_is_gone(document: dict[str, list[str]]) -> None:
    assert not [line for line in document["dead letters"] if "vehicle.orders.v1-1@0: " in line]
    assert not [line for of_check in document.values() for line in of_check if "vehicle.orders.v1-1: " in line]


# The other commands that name differences, on the same installation -------------------------------------------------


async def both(installation: Installation, *arguments: str) -> tuple[int, str, str]:
    """A command's exit code and what it says, as text and with `--json`; both must end alike, with no traceback."""
    text, in_json = [await installation.run(*arguments, *more, timeout_s=120) for more in ((), ("--json",))]
    assert text.returncode == in_json.returncode, text.stderr + in_json.stderr
    assert "Traceback" not in text.stderr + in_json.stderr
    return text.returncode, text.stdout + text.stderr, in_json.stdout


async def test_explain_says_that_a_milestone_was_taken_back_and_which_records_had_no_effect(
    installation: Installation,
) -> None:
    code, text, in_json = await both(
        installation, "explain", "--sources", f"deliveries/model=SU7/day:{FIRST_DAY}/exceeds:2"
    )
    found = json.loads(in_json)
    assert (code, found["standing"], [one["data"]["revision"] for one in found["revisions"]]) == (0, False, [1, 2])
    assert "RETRACTED; the source topics now hold" in text
    assert found["unit"] is not None


async def test_explain_says_that_no_unit_passes_the_line_of_a_milestone_without_reason(
    installation: Installation,
) -> None:
    code, text, in_json = await both(
        installation, "explain", "--sources", f"deliveries/model=YU7/day:{SECOND_DAY}/exceeds:2"
    )
    found = json.loads(in_json)
    assert (code, found["unit"], found["history"], found["position"], found["count"]) == (0, None, [], 3, 1)
    assert "No unit passes the line: it takes 3, there are 1" in text


async def test_explain_of_a_window_counts_the_records_that_have_no_effect(installation: Installation) -> None:
    code, text, in_json = await both(installation, "explain", "--sources", f"deliveries/model=SU7/day:{FIRST_DAY}")
    found = json.loads(in_json)
    assert (code, found["before"], found["after"]) == (0, 0, len(found["changes"]))
    assert {change["change"] for change in found["changes"]} == {"entered"}
    assert found["without_effect"] == {"dead letter": 1, "no effect: the same event again": 1}
    assert re.search(r"1  dead letter\n", text)
    assert re.search(r"1  the same event again\n", text)


async def test_reconcile_lists_totals_that_differ_one_that_is_on_no_row_and_a_row_that_its_units_do_not_make(
    installation: Installation,
) -> None:
    code, text, in_json = await both(installation, "reconcile", "--units")
    found = [json.loads(line) for line in in_json.splitlines()]
    assert [(one["scope"], one["ours"], one["theirs"], one["difference"]) for one in found] == [
        ("all", 4, 5, 9),
        ("model=YU7", 2, 5, -3),
    ]
    assert code == 1
    assert [[unit["vin"][-2:] for unit in one["units"]] for one in found] == [["04", "05", "06", "07"], ["07"]]
    assert re.search(r"deliveries +all +day:2024-10-03 +/factories/bj1 +4 +5 +\+9 ", text)
    assert f"not compared: deliveries/model=SU7/day:{SECOND_DAY} of {FACTORY}: 8" in text
    assert f"deliveries/model=YU7/day:{SECOND_DAY}: the row says 2, the recount 1" in text


async def test_reconcile_against_a_list_says_who_is_missing_where_and_why(installation: Installation) -> None:
    """One entry for every reason there is."""
    entries = {
        order(0, 4): None,
        order(0, 1): "counted in day:2024-10-02",
        order(0, 52): "known, but there is no event that delivers it",
        "SO-NOBODY": "not known here",
        "a": "dead letter: malformed_json",
        f"{VIN}04": "counted, and met by another entry of the list",
        order(0, 7): "counted in day:2024-10-03 of model=YU7 and all",
    }
    theirs = installation.folder / "theirs.txt"
    theirs.write_text("".join(f"{name}\n" for name in [*entries, "SO-NOBODY"]))
    where = ("--metric", "deliveries", "--scope", "model=SU7", "--period", f"day:{SECOND_DAY}")
    code, text, in_json = await both(installation, "reconcile", *where, "--against", str(theirs))
    found = json.loads(in_json)
    assert (code, found["ours"], found["matched"]) == (1, 3, 1)
    assert sorted(unit["vin"] for unit in found["only_ours"]) == [f"{VIN}05", f"{VIN}06"]
    assert found["repeated"] == {"SO-NOBODY": 2}
    why = {one["order_id"]: one["why"] for one in found["only_theirs"]}
    for name, reason in entries.items():
        if reason is not None:
            assert reason in why[name], why
            assert f"  {name}  {why[name]}\n" in text
    assert "SO-NOBODY  2 times" in text
    assert f"VIN {VIN}05" in text
