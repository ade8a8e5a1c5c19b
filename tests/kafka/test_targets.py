"""Targets as events, corrections over time, news or recorded: real workers on a real Kafka with a clock set by tests."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import Counter
from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from aiokafka import AIOKafkaProducer

from schemas.outputs import ControlHeaders
from streams.kafka.admin import admin, apply_topics
from streams.kafka.clients import read_to_end
from streams.kafka.records import header_values, record_key, record_value
from tests.support.events import Published
from tests.support.installation import Installation, Worker
from tests.support.rules import rule, target
from tests.support.time_limits import deadline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PARTITIONS = 2
SHANGHAI = timezone(timedelta(hours=8))
SCOPE = "deliveries/model=SU7"


def rules(daily: int, *, window: str = "day", **more: Any) -> str:
    """Settings whose first rule is about windows above a number."""
    first = rule("daily", window=window, exceeds=daily, first=True, **more)
    return first + rule("records", record=True) + target("start", 4, scope="model=SU7")


class Clocked(Installation):
    """An installation whose workers' clock the test sets."""

    def clock(self, now: datetime) -> None:
        """Sets the service's clock, which runs on from there."""
        ahead_s = (now - datetime.now(UTC)).total_seconds()
        beside = self.folder / "clock.new"
        beside.write_text(str(ahead_s))
        beside.replace(self.folder / "clock")  # the worker may read it at any moment, and must not find half of it

    def clocked(self, *, slow_open_s: float = 0.0) -> Worker:
        clock = {"CLOCK_FILE": str(self.folder / "clock"), "SLOW_OPEN_S": str(slow_open_s)}
        environment = {**self.environment, **clock}
        worker = Worker(environment, "w1", self.folder / "w1.log", "tests.support.clocked_worker")
        self.workers.append(worker)
        return worker


@pytest.fixture
async def installation(bootstrap: str, tmp_path: Path) -> AsyncIterator[Clocked]:
    config = rules(3)
    async with Clocked.created(bootstrap, tmp_path, config=config, partitions=PARTITIONS) as made:
        made.clock(datetime.now(UTC))
        yield made


T = TypeVar("T")


async def until(condition: Callable[[], Awaitable[T | None]], installation: Installation, what: str) -> T:
    """Waits until something holds."""
    give_up_s = deadline(30)
    while time.monotonic() < give_up_s:
        found = await condition()
        if found:
            return found
        assert all(worker.process.poll() is None for worker in installation.workers), installation.tails()
        await asyncio.sleep(0.1)
    raise AssertionError(f"{what} did not come about\n{installation.tails()}")


async def end(installation: Installation, number: signal.Signals = signal.SIGKILL) -> None:
    for worker in installation.workers:
        worker.kill(number)
        await asyncio.to_thread(worker.wait)
    installation.workers.clear()


async def verified(installation: Installation) -> None:
    done = await installation.run("verify")
    assert done.returncode == 0, done.stdout + done.stderr


def delivered(number: str | int, day: date, *, hour: int = 12, backfill: bool = False) -> Published:
    """A delivery of an SU7 on a business date."""
    order = f"SO-{number}"
    moment = datetime(day.year, day.month, day.day, hour, tzinfo=SHANGHAI)
    document = {
        "specversion": "1.0",
        "id": f"{order}-d",
        "source": "/bj1",
        "type": "vehicle.delivered.v1",
        "time": moment.isoformat(),
        **({"backfill": True} if backfill else {}),
        "data": {"order_id": order, "vin": f"LNBSU7A1{abs(hash(order)) % 10**9:09}", "model": "SU7"},
    }
    return Published("deliveries", order.encode(), json.dumps(document).encode(), None)


def voided(number: str | int, day: date) -> Published:
    """A void: that delivery was reported by mistake."""
    order = f"SO-{number}"
    document = {
        "specversion": "1.0",
        "id": f"{order}-v",
        "source": "/bj1",
        "type": "event.voided.v1",
        "time": datetime(day.year, day.month, day.day, 13, tzinfo=SHANGHAI).isoformat(),
        "data": {"order_id": order, "voids": {"source": "/bj1", "id": f"{order}-d"}},
    }
    return Published("deliveries", order.encode(), json.dumps(document).encode(), None)


def target_event(name: str, value: int | None, *, moment: datetime | None = None, **changed: Any) -> bytes:
    """Sets the target `aim` of October 2024, or withdraws it if there is no value."""
    data: dict[str, Any] = {"target_id": "aim"}
    if value is not None:
        data |= {"metric": "deliveries", "scope": "model=SU7", "period": "month:2024-10", "value": value}
    return json.dumps(
        {
            "specversion": "1.0",
            "id": name,
            "source": "/plan",
            "type": "target.withdrawn.v1" if value is None else "target.set.v1",
            "time": (moment or datetime.now(UTC)).isoformat(),
            "data": data | changed,
        }
    ).encode()


async def publish_targets(installation: Installation, values: Iterable[bytes | None], key: bytes = b"aim") -> None:
    producer = AIOKafkaProducer(bootstrap_servers=installation.settings.bootstrap_servers)
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(installation.catalogue.targets.name, value, key)
    finally:
        await producer.stop()


async def letters(installation: Installation) -> list[tuple[int, str]]:
    """(offset, reason) of the dead letters of the targets, in their order."""
    found = []
    topic = installation.catalogue.dead_letters
    async for records in read_to_end(installation.settings, [(topic.name, n) for n in range(topic.partitions)]):
        for record in records:
            headers = {name: value.decode() for name, value in header_values(record).items()}
            assert headers[ControlHeaders.TOPIC] == installation.catalogue.targets.name
            assert (record.partition, headers[ControlHeaders.PARTITION]) == (0, "0")
            found.append((int(headers[ControlHeaders.OFFSET]), headers[ControlHeaders.REASON]))
    return found


async def history(installation: Installation) -> list[tuple[str, int, int]]:
    """(row, version, count) of everything in the history."""
    found = []
    async for records in read_to_end(installation.settings, [(installation.catalogue.history.name, 0)]):
        for record in records:
            row = json.loads(record_value(record))
            assert record_key(record).decode() == f"{row['metric']}/{row['scope']}/{row['period']}"
            found.append((record_key(record).decode(), row["version"], row["count"]))
    return found


async def told(installation: Installation) -> list[tuple[str, str]]:
    """Every milestone event of the SU7 so far."""
    return [
        (event["type"].split(".")[1], event["subject"].removeprefix(f"{SCOPE}/"))
        for event in await installation.milestones()
        if event["subject"].startswith(SCOPE)
    ]


async def books(installation: Installation) -> dict[str, int]:
    status = await installation.status()
    found: dict[str, int] = status[f"topic/{installation.catalogue.targets.name}"]["books"]
    assert found["read"] == sum(count for name, count in found.items() if name != "read")
    return found


async def test_targets_live_and_each_bad_one_a_dead_letter_once_across_kills_and_lost_memory(
    installation: Clocked,
) -> None:
    """Set, replaced and withdrawn at once; an invalid target becomes exactly one dead letter, whatever happens to the worker."""
    month = f"{SCOPE}/month:2024-10"
    await installation.publish(delivered(n, date(2024, 10, 1 + n)) for n in range(5))
    installation.clocked()
    await installation.applied()

    async def shown() -> dict[str, tuple[int, bool]]:
        row = (await installation.rows()).get(month, {"targets": []})
        return {one["target_id"]: (one["value"], one["reached"]) for one in row["targets"]}

    async def shows(expected: dict[str, tuple[int, bool]]) -> None:
        async def so() -> bool:
            return await shown() == expected

        await until(so, installation, f"{expected}")

    await shows({"start": (4, True)})
    first = target_event("1", 5)
    await publish_targets(installation, [first])
    await shows({"start": (4, True), "aim": (5, True)})
    await publish_targets(installation, [target_event("2", 9, moment=datetime(2024, 9, 1, tzinfo=UTC))])
    await publish_targets(installation, [target_event("3", 7)])
    await shows({"start": (4, True), "aim": (7, False)})
    await verified(installation)
    soon = datetime.now(UTC) + timedelta(seconds=100)
    await publish_targets(installation, [target_event("4", 8, moment=soon), target_event("5", None, target_id="start")])
    # The key of that one names another target than its data.
    await publish_targets(installation, [target_event("5", None, target_id="start")], key=b"start")
    await shows({"aim": (7, False)})
    installation.clock(soon + timedelta(seconds=1))
    await shows({"aim": (8, False)})
    news = [("raised", "month:2024-10/target:start:4"), ("recorded", "month:2024-10/target:aim:5")]
    assert [event for event in await told(installation) if "/target:" in event[1]] == news

    bad: list[bytes | None] = [
        b"{",
        None,
        target_event("1", 6),  # other content with the same identity
        target_event("6", 0),
        target_event("7", 5, moment=datetime.now(UTC) + timedelta(hours=1)),
        json.dumps({**json.loads(target_event("8", 5)), "type": "order.placed.v1"}).encode(),
        first,  # a duplicate is no dead letter
    ]
    publishing = asyncio.create_task(publish_targets(installation, bad * 3))
    for _ in range(2):
        await asyncio.sleep(0.15)
        await end(installation)
        installation.clocked()
    await publishing
    expected = ["malformed_json", "not_an_event", "id_conflict", "invalid_field", "future_time", "wrong_topic"]

    async def all_there() -> bool:
        return len(await letters(installation)) >= 3 * len(expected) + 1

    await until(all_there, installation, "the dead letters")
    found = await letters(installation)
    assert [reason for _, reason in found] == ["wrong_key", *expected * 3]
    assert len({offset for offset, _ in found}) == len(found)

    async def booked(read: int) -> dict[str, int]:
        """The books with so many records; they are published less often than rows."""

        async def so() -> bool:
            return (await books(installation))["read"] == read

        await until(so, installation, f"books with {read} records")
        return await books(installation)

    assert await booked(27) == {"read": 27, "applied": 5, "duplicates": 3, "dead_letters": 19, "rerouted": 0}

    before = await told(installation), await letters(installation), await history(installation)
    await without_memory(installation)
    await publish_targets(installation, [target_event("9", 6, moment=soon)])
    await shows({"aim": (6, False)})
    assert (await told(installation), await letters(installation)) == before[:2]
    assert not {entry[:2] for entry in (await history(installation))[len(before[2]) :]} & {e[:2] for e in before[2]}
    assert await booked(28) == {"read": 28, "applied": 6, "duplicates": 3, "dead_letters": 19, "rerouted": 0}


async def without_memory(installation: Clocked) -> None:
    """The worker restarts without memory: everything comes from what is published."""
    await end(installation, signal.SIGTERM)
    async with admin(installation.settings) as client:
        await client.delete_topics([installation.catalogue.totals.name])
    await asyncio.sleep(1)
    await apply_topics(installation.settings)
    installation.clocked()


async def test_the_history_has_a_version_a_minute_and_the_last_before_a_pause_once(installation: Clocked) -> None:
    """Also if the worker is killed within the minute; a delayed retraction survives it."""
    installation.configure(rules(3, retract_after_s=600))
    day, row = date(2024, 10, 7), f"{SCOPE}/day:2024-10-07"
    begun, retraction = datetime.now(UTC), ("retracted", "day:2024-10-07/exceeds:3")

    async def of_row() -> list[tuple[int, int]]:
        return [(version, count) for key, version, count in await history(installation) if key == row]

    async def counted(wanted: int) -> None:
        async def so() -> bool:
            return bool((await installation.rows()).get(row, {}).get("count") == wanted)

        await until(so, installation, f"{wanted} on the row")

    async def written(*wanted: tuple[int, int]) -> None:
        async def so() -> bool:
            return len(await of_row()) >= len(wanted)

        await until(so, installation, f"{wanted} in the history")
        assert await of_row() == list(wanted)

    async def caught_up() -> bool:
        earlier = (await installation.rows()).get(f"{SCOPE}/day:2024-10-06", {})
        return bool(earlier.get("status") == "closed")

    installation.clocked()
    # Before everything is read no day is over; the version in which one is does not wait for its minute.
    await installation.publish([delivered("earlier", date(2024, 10, 6))])
    await until(caught_up, installation, "the end of a day that is over")
    for number in range(4):
        await installation.publish([delivered(number, day)])
        await counted(number + 1)
    assert (await of_row())[0][0] == 1
    first = (await of_row())[0]
    await written(first)
    assert ("raised", "day:2024-10-07/exceeds:3") in await told(installation)
    await installation.publish([voided(0, day)])
    await counted(3)
    latest = (await installation.rows())[row]["version"]
    await end(installation)
    installation.clocked()
    await asyncio.sleep(3)
    await written(first)
    installation.clock(begun + timedelta(seconds=90))
    await written(first, (latest, 3))
    installation.clock(begun + timedelta(seconds=400))
    await asyncio.sleep(2.5)
    await written(first, (latest, 3))
    await installation.publish([delivered("more", day)])
    await written(first, (latest, 3), (latest + 1, 4))
    assert retraction not in await told(installation)

    await installation.publish([voided("more", day)])
    await counted(3)
    await end(installation)
    installation.clock(begun + timedelta(seconds=900))
    installation.clocked()
    await written(first, (latest, 3), (latest + 1, 4), (latest + 2, 3))
    assert retraction not in await told(installation)
    installation.clock(begun + timedelta(seconds=1100))

    async def retracted() -> bool:
        return retraction in await told(installation)

    await until(retracted, installation, "the retraction")
    versions = Counter((key, version) for key, version, _ in await history(installation))
    assert set(versions.values()) == {1}


async def test_periods_close_on_a_quiet_system_and_an_outage_of_three_days_leaves_no_trace(
    installation: Clocked,
) -> None:
    """Nothing is over before all of it has been read: no record of half a day, nothing restated or retracted."""
    today = datetime.now(SHANGHAI).date()
    days = [today - timedelta(days=back) for back in (3, 2, 1)]

    def clock(day: date, hour: int) -> None:
        installation.clock(datetime(day.year, day.month, day.day, hour, tzinfo=SHANGHAI))

    async def states(*wanted: str) -> dict[str, Any]:
        async def so() -> dict[str, Any] | None:
            rows: dict[str, Any] = await installation.rows()
            found = [rows.get(f"{SCOPE}/day:{day}", {}).get("status") for day in days]
            return rows if found == list(wanted) else None

        return await until(so, installation, f"{wanted}")

    clock(days[0], 18)
    await installation.publish(delivered(f"a{n}", days[0]) for n in range(40))
    installation.clocked()
    await installation.applied()
    await end(installation)
    await installation.publish(
        [
            *(delivered(f"b{n}", days[1], hour=1 + n % 22) for n in range(300)),
            *(delivered(f"c{n}", days[0], hour=20) for n in range(400)),
            *(delivered(f"d{n}", days[2], hour=9) for n in range(200)),
            *(delivered(f"e{n}", days[1], hour=23) for n in range(200)),
        ]
    )
    clock(today + timedelta(days=1), 1)
    installation.clocked(slow_open_s=3.0)
    rows = await states("closed", "provisional", "provisional")
    assert [rows[f"{SCOPE}/day:{day}"]["count"] for day in days] == [440, 500, 200]
    assert {row["restated"] for row in rows.values()} == {0}
    record = ("raised", f"record:day:{days[1]}")

    async def record_is_told() -> bool:
        return record in await told(installation)

    await until(record_is_told, installation, str(record))  # the ledger partitions must be asked for its unit
    kinds = Counter(await told(installation))
    assert kinds[record] == 1
    assert {kind for kind, _ in kinds} == {"raised"}
    assert not any("record" in name for _, name in kinds if days[1].isoformat() not in name)

    quiet = await installation.milestones()
    clock(today + timedelta(days=2), 1)
    await states("closed", "closed", "provisional")
    clock(today + timedelta(days=9), 1)
    rows = await states("closed", "closed", "closed")
    assert {row["restated"] for row in rows.values()} == {0}
    assert await installation.milestones() == quiet
    await installation.publish([delivered("late", days[2])])

    async def restated() -> bool:
        return bool((await installation.rows())[f"{SCOPE}/day:{days[2]}"]["restated"] == 1)

    await until(restated, installation, "the restatement")


async def test_history_and_new_rules_are_on_record_and_only_live_events_are_news(installation: Clocked) -> None:
    """A year is loaded during a live day; then a rule is changed and the worker restarted; then a rule is invalid."""
    year = [date(2023, 1, 1) + timedelta(days=n) for n in range(365)]
    loaded = [delivered(f"{day}-{n}", day, backfill=True) for day in year for n in range(1 + day.day % 6)]
    today = datetime.now(SHANGHAI).date()
    live = [delivered(f"live-{n}", today, hour=0) for n in range(5)]
    half = len(loaded) // 2
    installation.clocked()
    await installation.publish(loaded[:half], pause_every=300, pause_s=0.1)
    await installation.publish(live)
    await installation.publish(loaded[half:], pause_every=300, pause_s=0.1)
    await installation.applied()
    events = await told(installation)
    assert [name for kind, name in events if kind == "raised"] == [f"day:{today}/exceeds:3"]
    passed = sum(1 + day.day % 6 > 3 for day in year)
    assert len([name for kind, name in events if kind == "recorded" and name.endswith("exceeds:3")]) == passed + 1

    await end(installation, signal.SIGTERM)
    installation.configure(rules(4))
    installation.clocked()
    six = delivered("live-6", today, hour=0)
    await installation.publish([six])
    await installation.applied()
    assert [event for event in await told(installation) if event[0] == "raised"] == [
        ("raised", f"day:{today}/exceeds:3")
    ]
    assert ("recorded", f"day:{today}/exceeds:4") in await told(installation)
    await verified(installation)

    await end(installation, signal.SIGTERM)
    installation.configure(rules(4, window="week"))
    worker = installation.clocked()
    assert await asyncio.to_thread(worker.wait, 20) == 2
    (line,) = [line for line in worker.log.read_text().splitlines() if "week" in line]
    assert line == ("milestones: rule 'daily': week is not among the windows of the settings; list it there")
