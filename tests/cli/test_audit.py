"""`verify`, `explain` and `windows --as-of` against a real worker: right on a live stream, and a difference of 1 is named."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer

from schemas.codec import decode_row, encode_row
from streams.audit.asof import rows_as_of
from streams.audit.explaining import explain_milestone
from streams.audit.silent_sources import read_markers
from streams.audit.verifying import verify
from streams.kafka.clients import read_latest, reader
from streams.listener import Listener
from tests.support.events import Published, event, lifecycle
from tests.support.installation import Installation
from tests.support.recount import ZONE, recount, units
from tests.support.rules import rule, target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from schemas.outputs import WindowRow
    from tests.support.shared_kafka import SharedKafka

pytestmark = pytest.mark.kafka

RULES = (
    rule("daily-20", exceeds=20, first=True)
    + rule("in-a-row", scope=(), reaches=8, streak=2)
    + rule("record", scope=(), record=True, **{"as": "passed"})
    + rule("more", scope=(), factor=1, **{"as": "passed"})
    + rule("among", share=0.4, leader=True)
    + target("october", 50)
)
NOON = datetime(2024, 10, 7, 4, tzinfo=UTC)
VIN = "LNBSU7A10R1000123"
DELIVERED = "vehicle.delivered.v1"


def about(order: str, kind: str, identity: str, time: datetime = NOON, **data: Any) -> Published:
    """One event of an order, at its home."""
    topic = "orders" if kind.startswith("order.") else "deliveries"
    return Published(topic, order.encode(), event(kind, identity, time, {"order_id": order, **data}), None)


def mishaps() -> list[Published]:
    """Records that are not valid events, or contradict one."""
    car: dict[str, Any] = {"vin": VIN, "model": "SU7"}
    return [
        Published("orders", b"SO-BAD", b"{", None),
        Published("orders", None, b"{}", None),
        about("SO-TWICE", DELIVERED, "d", **car),
        about("SO-TWICE", DELIVERED, "d", NOON + timedelta(hours=1), **car),
        about("SO-OTHER", DELIVERED, "d", **car),  # the same VIN
        *(about("SO-MANY", "order.placed.v1", f"p{number}", model="SU7") for number in range(67)),
    ]


RECORDS = [*lifecycle(7, 500), *mishaps()]


@pytest.fixture(scope="module")
async def running(kafka: SharedKafka, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    """A worker."""
    async with Installation.created(kafka.bootstrap, tmp_path_factory.mktemp("audit"), config=RULES) as made:
        made.worker()
        await made.applied()
        yield made


@pytest.fixture(scope="module")
async def stream(running: Installation) -> asyncio.Task[None]:
    """Events that keep coming during the first test."""
    return asyncio.create_task(running.publish(RECORDS, pause_every=20, pause_s=0.12))


@pytest.fixture(scope="module")
async def installation(running: Installation, stream: asyncio.Task[None]) -> Installation:
    """A worker that has applied all of them."""
    await stream
    await running.applied()
    return running


async def run(installation: Installation, *arguments: str) -> tuple[int, str, str]:
    """Runs the command: exit code, stdout, stderr."""
    done = await installation.run(*arguments, timeout_s=120)
    return done.returncode, done.stdout, done.stderr


def settings_of(installation: Installation) -> Any:
    """The settings with the rules, as the worker has them."""
    from streams.installation import load_settings  # noqa: PLC0415 - reads the environment, which is set for it

    with pytest.MonkeyPatch.context() as patch:
        for name, value in installation.environment.items():
            patch.setenv(name, value)
        return load_settings()


async def test_a_stream_that_goes_on_is_verified_up_to_a_fixed_point(
    running: Installation, stream: asyncio.Task[None]
) -> None:
    settings = settings_of(running)
    seen: list[int] = []
    while not stream.done() or not seen:
        report = await verify(settings)
        assert [found.line for check in report.checks for found in check.differences] == []
        seen.append(report.records)
    await stream
    assert seen == sorted(seen)
    assert any(0 < count < len(RECORDS) for count in seen), seen
    await running.applied()
    report = await verify(settings)
    assert [found.line for check in report.checks for found in check.differences] == []
    assert report.point["records"] == {
        running.catalogue.orders.name: sum(record.topic == "orders" for record in RECORDS),
        running.catalogue.deliveries.name: sum(record.topic == "deliveries" for record in RECORDS),
    }
    by_name = {check.name: check for check in report.checks}
    assert by_name["dead letters"].compared == 2 + 1 + 3
    assert by_name["forwarded"].compared > 0
    assert by_name["milestones"].compared > 3
    assert [conflict["order_id"] for conflict in report.conflicts] == ["SO-TWICE"]
    assert [[found["counts"] for found in conflict["records"]] for conflict in report.conflicts] == [[True, False]]
    assert [warning.details["vin"] for warning in report.warnings] == [VIN]


async def test_explain_names_the_exact_unit_its_neighbours_and_the_history(installation: Installation) -> None:
    event_of = next(
        one
        for one in await installation.milestones()
        if (one["data"]["kind"], one["data"]["rule"]) == ("threshold", "daily-20")
    )
    milestone_id, period = event_of["subject"], event_of["data"]["period"]
    model = event_of["data"]["scope"].removeprefix("model=")
    delivered = await _delivered(installation, period.removeprefix("day:"), model)
    code, out, err = await run(installation, "explain", milestone_id, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["count"] == len(delivered)
    assert [found[name]["id"] for name in ("before", "unit", "after")] == [one["id"] for one in delivered[19:22]]
    kinds = [(record["type"], record["order_id"]) for record in found["history"]]
    assert ("vehicle.delivered.v1", delivered[20]["data"]["order_id"]) in kinds
    assert [revision["data"]["revision"] for revision in found["revisions"]] == [1]
    assert found["unit"]["topic"] == installation.catalogue.deliveries.name
    code, out, _ = await run(installation, "explain", milestone_id)
    assert "The 21st unit by time and id passed the line" in out
    # Rereading the source topics gives the same, and also the copies and the records of other homes.
    _, out, _ = await run(installation, "explain", milestone_id, "--sources", "--json")
    recounted = json.loads(out)
    assert (found["from_sources"], recounted["from_sources"]) == (False, True)
    for name in ("count", "position", "revisions"):
        assert found[name] == recounted[name], name
    # Which of several copies of an event counts depends on which was applied first.
    for name in ("before", "unit", "after"):
        assert _identity(found[name]) == _identity(recounted[name]), name
    same_again = "no effect: the same event again"
    told = [{(each["id"], each["effect"]) for each in one["history"]} for one in (found, recounted)]
    assert told[0] == {each for each in told[1] if each[1] != same_again}
    assert all(each["appended_at"] for each in found["history"])


def _identity(unit: dict[str, Any] | None) -> tuple[str, str] | None:
    return None if unit is None else (unit["source"], unit["id"])


async def test_a_record_and_a_window_are_explained_by_the_ledger_as_by_the_sources(installation: Installation) -> None:
    records = [one for one in await installation.milestones() if one["data"]["kind"] == "record"]
    for what in (records[-1]["subject"], "deliveries/all/month:2024-10"):
        (_, known, _), (_, recounted, _) = (
            await run(installation, "explain", what, "--json"),
            await run(installation, "explain", what, "--json", "--sources"),
        )
        found, expected = json.loads(known), json.loads(recounted)
        for name in ("count", "position", "earlier_best"):
            assert found.get(name) == expected.get(name), (what, name)
        if "unit" in expected:
            assert _identity(found["unit"]) == _identity(expected["unit"])
        assert [each["id"] for each in found.get("changes", [])] == [each["id"] for each in expected.get("changes", [])]
        expected.get("without_effect", {}).pop("no effect: the same event again", None)
        assert found.get("without_effect") == expected.get("without_effect")


async def test_how_far_silences_were_surely_judged_is_read_from_the_markers_of_all_partitions(
    installation: Installation,
) -> None:
    settings = settings_of(installation)
    async with reader(settings) as consumer:
        said = await read_markers(settings, consumer)
    assert sorted(said) == list(range(settings.partitions))
    newest_us = max(some[-1].appended_us for some in said.values())
    assert abs(time.time() * 1e6 - newest_us) < 600e6
    for some in said.values():
        assert [each.offset for each in some] == sorted(each.offset for each in some)
        # The rules of this installation do not watch sources.
        assert not some[-1].marker.tells_hours


async def test_what_other_periods_or_scopes_decide_is_explained_by_the_ledger_as_by_the_sources(
    installation: Installation,
) -> None:
    settings = settings_of(installation)
    last = {one["subject"]: one for one in await installation.milestones()}
    standing = [one["data"] for one in last.values() if one["type"] != "milestone.retracted.v1"]
    latest = {data["kind"]: data for data in standing}
    for kind in ("streak", "factor", "leader"):
        data = latest[kind]
        known, recounted = [
            await explain_milestone(settings, data["milestone_id"], Listener(), from_sources=from_sources)
            for from_sources in (False, True)
        ]
        found, expected = known.document(), recounted.document()
        for name in ("count", "position", "earlier_best", "compared", "in_a_row"):
            assert found[name] == expected[name], (kind, name)
        assert _identity(found["unit"]) == _identity(expected["unit"])
        assert (len(found["in_a_row"]) == (data.get("streak") or 1) - 1) is True, kind
        assert (found["compared"] is not None) is (kind == "factor")


async def _delivered(installation: Installation, day: str, model: str) -> list[dict[str, Any]]:
    """The standing deliveries of a day by (time, id), recounted by separate code."""
    orders: dict[str, dict[Any, Any]] = {}
    for value in await installation.source_values():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            found = json.loads(value)
            orders.setdefault(found["data"]["order_id"], {}).setdefault((found["source"], found["id"]), found)
    events = [
        found
        for of_order in orders.values()
        for metric, found, of_model in units(list(of_order.values()))
        if metric == "deliveries"
        and of_model == model
        and str(datetime.fromisoformat(found["time"]).astimezone(ZONE).date()) == day
    ]
    return sorted(events, key=lambda found: (datetime.fromisoformat(found["time"]), found["id"]))


async def test_an_unknown_milestone_is_answered_with_those_that_are_near(installation: Installation) -> None:
    milestone_id = next(one["subject"] for one in await installation.milestones() if one["data"]["kind"] == "first")
    code, out, err = await run(installation, "explain", milestone_id + "0")
    assert (code, out) == (2, "")
    assert f"did you mean {milestone_id}" in err


async def test_what_entered_and_left_between_two_times_is_named_and_each_time_has_its_counts(
    installation: Installation,
) -> None:
    day = datetime(2024, 12, 24, 4, tzinfo=UTC)  # nothing else is on this day
    car: dict[str, Any] = {"vin": VIN, "model": "SU7"}
    first = [about(f"SO-{name}", DELIVERED, f"d-{name}", day, **car) for name in ("A", "B", "C")]
    await installation.publish(first)
    before = await _now(installation)
    await installation.publish(
        [
            about("SO-A", "delivery.reversed.v1", "r-A", day + timedelta(days=1), vin=VIN),
            about("SO-B", "event.voided.v1", "v-B", day, voids={"source": "/sales/web", "id": "d-B"}),
            about("SO-D", DELIVERED, "d-D", day, **car),
            first[2],
        ]
    )
    after = await _now(installation)
    row = "deliveries/all/day:2024-12-24"
    code, out, _ = await run(installation, "explain", row, "--between", before, after, "--json")
    found = json.loads(out)
    assert (code, found["before"], found["after"]) == (0, 3, 2)
    changes = {change["order_id"]: (change["change"], change["effect"]) for change in found["changes"]}
    assert changes == {
        "SO-A": ("left", "delivers the vehicle, which comes back later"),
        "SO-B": ("left", "no effect: voided, it counts as never sent"),
        "SO-D": ("entered", "delivers the vehicle, although no order was placed before"),
    }
    causes = {change["order_id"]: [reason["id"] for reason in change["because"]] for change in found["changes"]}
    assert causes == {"SO-A": ["r-A"], "SO-B": ["v-B"], "SO-D": ["d-D"]}
    assert found["without_effect"] == {"no effect: the same event again": 1}
    counts = []
    for at in (before, after):
        _, out, _ = await run(installation, "windows", "--as-of", at, "--period", "day:2024-12-24", "--json")
        rows = [json.loads(line) for line in out.splitlines()]
        assert {one["as_of"] for one in rows} == {at}
        counts.append(next(one["count"] for one in rows if (one["metric"], one["scope"]) == ("deliveries", "all")))
    assert counts == [3, 2]
    code, _, err = await run(installation, "windows", "--as-of", "2024-12-24T00:00:00")
    assert code == 2
    assert "offset" in err


async def _now(installation: Installation) -> str:
    """A time after what has been appended and before what will be, as a person would write it."""
    await asyncio.sleep(0.05)
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    await asyncio.sleep(0.05)
    await installation.applied()
    return now


async def test_the_counts_of_now_as_a_library_are_those_of_another_recount(installation: Installation) -> None:
    rows = await rows_as_of(settings_of(installation), time.time_ns() // 1000)
    values = []
    for value in await installation.source_values():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            if json.loads(value)["data"]["order_id"] != "SO-MANY":
                values.append(value)
    # An order with 67 events keeps 64: the first one counts, whichever of the others are kept.
    expected = recount(values)
    found = {(row.metric, row.scope, row.period): row.count for row in rows}
    for metric in ("orders", "orders_placed"):
        for scope in ("all", "model=SU7"):
            for period in ("day:2024-10-07", "month:2024-10", "year:2024", "holiday:national-day:2024"):
                expected[metric, scope, period] = expected.get((metric, scope, period), 0) + 1
    assert found == expected


async def test_a_falsified_row_is_named_with_what_is_right(installation: Installation) -> None:
    assert await run_verify(installation) == (0, "no difference")
    await _end_worker(installation)
    row = next(one for one in await _rows(installation) if one.period == "day:2024-10-02" and one.count > 3)
    hour = next(number for number, count in enumerate(row.by_hour or []) if count)
    hours = list(row.by_hour or [])
    hours[hour] += 1
    wrong = row.model_copy(update={"count": row.count + 1, "by_hour": hours})
    await _put(installation, installation.catalogue.windows.name, _key(row), encode_row(wrong))
    code, out, _ = await run(installation, "verify")
    assert code == 1
    assert f"{_key(row)}: published {row.count + 1:,}, recounted {row.count:,} (+1); {hour:02d}h" in out
    assert f"{hours[hour] - 1:,} units in those hours by the recount" in out
    assert "its days add up to" in out
    code, out, _ = await run(installation, "verify", "--json")
    assert code == 1
    differing = {check["name"]: check["differences"] for check in json.loads(out)["checks"] if check["differences"]}
    assert {"rows", "shards", "sums"} <= differing.keys()
    assert all(found["row"] == _key(row) and found["recounted"] == row.count for found in differing["shards"])
    await _put(installation, installation.catalogue.windows.name, _key(row), encode_row(row))
    assert await run_verify(installation) == (0, "no difference")


async def test_a_falsified_count_of_a_partition_is_named_with_its_units(installation: Installation) -> None:
    await _end_worker(installation)
    topic = installation.catalogue.counts.name
    latest = await read_latest(installation.settings, [(topic, 0)])
    key = next(
        key for key, value in latest.items() if b"|deliveries|all|2024-10-02" in key and json.loads(value)["count"]
    )
    shard = key.split(b"|")[0]
    count = json.loads(latest[key])
    hour = next(number for number, many in enumerate(count["by_hour"]) if many)
    wrong = {**count, "count": count["count"] - 1, "by_hour": [*count["by_hour"]]}
    wrong["by_hour"][hour] -= 1
    await _put(installation, topic, key.decode(), json.dumps(wrong).encode())
    await _put(installation, topic, f"{shard.decode()}|applied", latest[shard + b"|applied"])
    report = await verify(settings_of(installation))
    # The rows were summed before that, so an earlier moment is compared, and all is well.
    assert report.differences == 0
    row = next(one for one in await _rows(installation) if _key(one) == "deliveries/all/day:2024-10-02")
    for one in await _rows(installation):
        if (one.metric, one.scope) == ("deliveries", "all") and one.start <= row.start <= one.end:
            less: dict[str, Any] = {"count": one.count - 1}
            if one.by_hour is not None:
                less["by_hour"] = [many - (number == hour) for number, many in enumerate(one.by_hour)]
            await _put(
                installation, installation.catalogue.windows.name, _key(one), encode_row(one.model_copy(update=less))
            )
    report = await verify(settings_of(installation))
    by_name = {check.name: check.differences for check in report.checks}
    assert [name for name, found in by_name.items() if found] == ["day counts", "rows"]
    (difference,) = by_name["day counts"]
    assert difference.line.startswith(f"deliveries/all/day:2024-10-02 in ledger partition {shard.decode()}: published")
    assert difference.details["unit_count"] == len(difference.details["units"]) == count["by_hour"][hour]
    assert {found.details["row"].rpartition("/")[2] for found in by_name["rows"]} == {
        "day:2024-10-02",
        "month:2024-10",
        "year:2024",
        "holiday:national-day:2024",
    }


async def run_verify(installation: Installation) -> tuple[int, str]:
    """Exit code and last line without the time it took."""
    code, out, err = await run(installation, "verify")
    assert err == "", err
    return code, out.splitlines()[-1].partition(" (")[0]


async def _end_worker(installation: Installation) -> None:
    for worker in installation.workers:
        if worker.process.poll() is None:
            worker.process.terminate()
            await asyncio.to_thread(worker.wait, 15)


async def _rows(installation: Installation) -> list[WindowRow]:
    latest = await read_latest(installation.settings, [(installation.catalogue.windows.name, 0)])
    return [decode_row(value) for value in latest.values()]


def _key(row: WindowRow) -> str:
    return f"{row.metric}/{row.scope}/{row.period}"


async def _put(installation: Installation, topic: str, key: str, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=installation.settings.bootstrap_servers)
    await producer.start()
    try:
        await producer.send_and_wait(topic, value, key.encode(), 0)
    finally:
        await producer.stop()
