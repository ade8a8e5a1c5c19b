"""The web view as a process, with a real broker and a real worker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer

from streams.embedded.broker import EmbeddedKafka
from streams.embedded.java import SHORT_LIVED
from streams.kafka.admin import admin, apply_topics
from tests.support.events import FIRST, Published, event, lifecycle
from tests.support.installation import ROOT, Installation
from tests.support.outputs import milestone, milestone_record, row, row_record
from tests.support.time_limits import stretched
from tests.support.webview import WebView, listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.support.outputs import Record

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ORDERS = 400
CLIENTS = 200
TOKEN = "0123456789abcdef0123456789abcdef"


def environment(installation: Installation, **more: str) -> dict[str, str]:
    return installation.environment | {f"MILESTONES_{name.upper()}": value for name, value in more.items()}


@pytest.fixture
async def installation(bootstrap: str, tmp_path: Path) -> AsyncIterator[Installation]:
    """Without a worker."""
    async with Installation.created(bootstrap, tmp_path, clock="events") as made:
        yield made


@pytest.fixture
def web(installation: Installation) -> Iterator[WebView]:
    """Its web view."""
    with WebView(environment(installation), installation.folder / "web.txt") as made:
        yield made


async def write(installation: Installation, topic: str, *records: Record) -> None:
    """Writes output records in one transaction, as a worker does."""
    producer = AIOKafkaProducer(
        bootstrap_servers=installation.settings.bootstrap_servers, transactional_id=f"{topic}-test"
    )
    async with producer, producer.transaction():
        for record in records:
            await producer.send(topic, record.value, record.key, partition=0)


def order(number: int) -> Published:
    """One more order of the first day."""
    order_id = f"SO-more-{number:05d}"
    value = event("order.placed.v1", f"{order_id}-p", FIRST, {"order_id": order_id, "model": "SU7"})
    return Published("orders", order_id.encode(), value, None)


async def heard(events: AsyncIterator[Any], condition: Callable[[str, Any], bool], timeout_s: float) -> float:
    """Seconds until an event meets the condition."""
    started = time.monotonic()
    async with asyncio.timeout(stretched(timeout_s)):
        async for name, data, _ in events:
            if condition(name, data):
                return time.monotonic() - started
    raise AssertionError("the stream ended")


async def test_it_shows_what_the_topics_hold_and_follows_a_worker_that_is_killed_and_comes_back(
    installation: Installation, web: WebView
) -> None:
    worker = installation.worker()
    await installation.publish(lifecycle(7, ORDERS))
    await installation.applied()
    status = await web.until("/api/v1/status", lambda s: not s["stale"] and s["reader"]["lag_records"] == 0)
    assert [each["name"] for each in status["workers"]] == ["w1"]
    assert {each["source"] for each in status["sources"]} == {"/sales/web"}
    assert status["business_date"] >= "2024-10-07"

    rows = await installation.rows()
    async with web.client() as asked:
        shown: dict[str, Any] = {}
        after = ""
        while len(shown) < len(rows):
            page = (await asked.get("/api/v1/windows", params={"limit": 1000, "after": after})).json()
            assert page["total"] == len(rows)
            after = page["next"]
            shown |= {f"{r['metric']}/{r['scope']}/{r['period']}": r for r in page["rows"]}
        assert shown == rows
        page = (await asked.get("/api/v1/milestones?show=all&limit=1000")).json()
        assert [line["event"] for line in page["milestones"]][::-1] == await installation.milestones()
        lines = (await asked.get("/api/v1/windows.ndjson")).text.splitlines()
        assert {json.dumps(json.loads(line)) for line in lines} == {json.dumps(value) for value in rows.values()}
        for path in ("/", "/calendar", "/calendar/2024-10-01", "/windows", "/targets", "/api"):
            assert (await asked.get(path)).status_code == 200, path

        # Changes appear within a second; after the worker is killed, the view keeps serving.
        key = {"metric": "orders_placed", "scope": "model=SU7", "period": "day:2024-09-28"}
        async with listening(asked, "?scope=model%3DSU7&metric=orders_placed") as events:
            await installation.publish([order(1)])
            assert await heard(events, lambda name, row: name == "row" and key.items() <= row.items(), 10) < 1.0
            worker.kill(signal.SIGKILL)
            worker.wait()
            await installation.publish([order(2)])
            await asyncio.sleep(1)
            assert (await asked.get("/windows")).status_code == 200
            before = rows["orders_placed/model=SU7/day:2024-09-28"]["count"]
            installation.worker()
            await heard(events, lambda name, row: name == "row" and row.get("count") == before + 2, 30)
    assert web.end() == 0


async def test_two_hundred_clients_hear_the_same_within_a_second(installation: Installation, web: WebView) -> None:
    await write(installation, installation.catalogue.windows.name, row_record(row("day:2024-10-07", 1)))
    await web.rebuilt()
    async with contextlib.AsyncExitStack() as stack:
        asked = await stack.enter_async_context(web.client())
        streams = [await stack.enter_async_context(listening(asked)) for _ in range(CLIENTS)]
        waits = [
            asyncio.create_task(heard(events, lambda name, row: name == "row" and row["count"] == 2, 20))
            for events in streams
        ]
        await web.until("/api/v1/status", lambda _: True)
        await asyncio.sleep(1)
        started = time.monotonic()
        await write(installation, installation.catalogue.windows.name, row_record(row("day:2024-10-07", 2)))
        await asyncio.gather(*waits)
        assert time.monotonic() - started < stretched(2.5), "200 readers in this one process take their time too"
        assert f"milestones_web_streams {CLIENTS}" in (await asked.get("/metrics")).text
        # An open stream does not keep the process from ending.
        started = time.monotonic()
        assert await asyncio.to_thread(web.end) == 0
        assert time.monotonic() - started < stretched(5)


async def test_a_topic_that_was_recreated_is_read_again(installation: Installation, web: WebView) -> None:
    """Whether it is now shorter or longer than what was read of the old one."""
    catalogue = installation.catalogue
    windows, milestones = catalogue.windows.name, catalogue.milestones.name
    await write(installation, windows, *(row_record(row(f"day:2024-10-0{day}", day)) for day in (1, 2, 3)))
    await write(installation, milestones, milestone_record(milestone("old")))
    await web.until("/api/v1/windows", lambda page: page["total"] == 3)
    await web.until("/api/v1/milestones", lambda page: page["total"] == 1)
    async with web.client() as asked, listening(asked) as events:
        async with admin(installation.settings) as client:
            await client.delete_topics([windows, milestones])
        await asyncio.sleep(2)
        await apply_topics(installation.settings)
        await write(installation, windows, row_record(row("day:2024-10-09", 9)))
        await write(installation, milestones, *(milestone_record(milestone(f"new{number}")) for number in range(5)))
        await heard(events, lambda name, _: name == "reset", 20)
    page = await web.until("/api/v1/windows", lambda page: page["total"] == 1)
    assert page["rows"][0]["period"] == "day:2024-10-09"
    page = await web.until("/api/v1/milestones", lambda page: page["total"] == 5)
    assert all(line["event"]["subject"].startswith("new") for line in page["milestones"])


async def test_a_compacted_topic_with_tombstones_is_rebuilt_at_the_start(
    installation: Installation, tmp_path: Path
) -> None:
    name = installation.catalogue.windows.name
    await write(installation, name, *(row_record(row(f"day:2024-10-{day:02d}", day)) for day in range(1, 29)))
    gone = row_record(row("day:2024-10-05", 5))
    gone.value = None
    await write(installation, name, gone, row_record(row("day:2024-10-06", 66)))
    with WebView(environment(installation), tmp_path / "web2.txt") as web:
        await web.rebuilt()
        page = await web.until("/api/v1/windows?limit=1000", lambda page: page["total"] == 27)
        counts = {each["period"]: each["count"] for each in page["rows"]}
        assert "day:2024-10-05" not in counts
        assert counts["day:2024-10-06"] == 66


async def test_it_serves_before_there_is_a_broker_and_while_it_is_away(tmp_path: Path) -> None:
    broker = EmbeddedKafka(tmp_path / "kafka", java_options=SHORT_LIVED)
    await asyncio.to_thread(broker.start)
    try:
        made = await Installation(broker.bootstrap, "away.", tmp_path).create()
        await write(made, made.catalogue.windows.name, row_record(row("day:2024-10-07", 1)))
        await asyncio.to_thread(broker.stop)
        with WebView(environment(made), tmp_path / "web.txt") as web:
            async with web.client() as asked:
                assert (await asked.get("/")).status_code == 200
                assert (await asked.get("/healthz")).status_code == 200
                assert (await asked.get("/readyz")).status_code == 503
                status = (await asked.get("/api/v1/status")).json()
                assert status["stale"]
                assert status["reasons"][0] == "broker"
            await asyncio.to_thread(broker.start)
            await web.rebuilt()
            async with web.client() as asked, listening(asked) as events:
                assert (await asked.get("/readyz")).status_code == 200
                await asyncio.to_thread(broker.stop)
                gone = await heard(events, lambda name, data: name == "status" and "broker" in data["reasons"], 10)
                assert gone < 5.0, "marked stale within five seconds"
                page = (await asked.get("/api/v1/windows")).json()
                assert page["total"] == 1
                await asyncio.to_thread(broker.start)
                await heard(events, lambda name, data: name == "status" and "broker" not in data["reasons"], 20)
                await write(made, made.catalogue.windows.name, row_record(row("day:2024-10-07", 2)))
                await heard(events, lambda name, data: name == "row" and data["count"] == 2, 10)
    finally:
        await asyncio.to_thread(broker.stop)


async def test_topics_that_do_not_exist_yet_are_named_and_waited_for(
    bootstrap: str, prefix: str, tmp_path: Path
) -> None:
    made = Installation(bootstrap, prefix, tmp_path)
    with WebView(environment(made), tmp_path / "web.txt") as web:
        status = await web.until("/api/v1/status", lambda status: status["reader"]["missing_topics"])
        assert made.catalogue.windows.name in status["reader"]["missing_topics"]
        await made.create()
        await write(made, made.catalogue.windows.name, row_record(row("day:2024-10-07", 1)))
        await web.until("/api/v1/windows", lambda page: page["total"] == 1)
        status = await web.until("/api/v1/status", lambda status: not status["reader"]["missing_topics"])
        assert status["reader"]["rebuilt"]


async def test_no_group_is_made_on_the_cluster(installation: Installation, web: WebView) -> None:
    await write(installation, installation.catalogue.windows.name, row_record(row("day:2024-10-07", 1)))
    await web.rebuilt()
    async with admin(installation.settings) as client:
        assert not [
            group for group in await client.list_consumer_groups() if installation.settings.output_prefix in group[0]
        ]


def test_what_cannot_be_bound_or_may_not_is_told_in_one_line(tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MILESTONES_")}
    clean["PYTHONPATH"] = str(ROOT)

    def refused(bind: str) -> str:
        ended = subprocess.run(
            [sys.executable, "-m", "streams", "web", "--bind", bind],
            cwd=tmp_path,
            env=clean,
            capture_output=True,
            text=True,
            timeout=stretched(60),
            check=False,
        )
        assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1), ended
        return ended.stderr

    assert "can be reached from other machines" in refused("0.0.0.0:0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port} cannot be bound: Address already in use" in refused(f"127.0.0.1:{port}")


async def test_a_token_guards_the_stream_and_the_pages(bootstrap: str, prefix: str, tmp_path: Path) -> None:
    made = Installation(bootstrap, prefix, tmp_path)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    guarded = environment(made, web_token_file=str(tmp_path / "token"))
    with WebView(guarded, tmp_path / "web.txt", bind="0.0.0.0:0") as web:
        web.url = web.url.replace("0.0.0.0", "127.0.0.1")
        async with web.client() as asked:
            for path in ("/", "/api/v1/now", "/api/v1/stream", "/static/app.js", "/metrics"):
                assert (await asked.get(path)).status_code == 401, path
            asked.headers["authorization"] = f"Bearer {TOKEN}"
            assert (await asked.get("/api/v1/status")).status_code == 200
            assert "server" not in (await asked.get("/")).headers
        assert TOKEN not in web.log.read_text()
        assert web.end(signal.SIGINT) == 130


async def test_questions_out_of_bounds_are_refused_and_answers_are_compressed(
    installation: Installation, web: WebView
) -> None:
    rows = [row_record(row(f"day:2023-{month:02d}-{day:02d}", 1)) for month in range(1, 13) for day in range(1, 29)]
    await write(installation, installation.catalogue.windows.name, *rows)
    await web.until("/api/v1/windows", lambda page: page["total"] == len(rows))
    async with web.client() as asked:
        for query in (
            "limit=1001",
            "limit=0",
            "after=x",
            "offset=3",
            "sort=count;--",
            "kind=fortnight",
            "as_of=yesterday",
            "first=x",
        ):
            answer = await asked.get(f"/api/v1/windows?{query}")
            assert answer.status_code == 422, query
            assert query.partition("=")[0] in answer.json()["detail"]
            assert (await asked.get(f"/windows?{query}")).status_code == 422
        assert (await asked.get("/api/v1/calendar/2024-02-30")).status_code == 404
        assert (await asked.get("/api/v1/milestones/none/such")).status_code == 404
        assert (await asked.get("/static/../app.py")).status_code == 404
        assert (await asked.get("/static/%2e%2e/app.py")).status_code == 404
        # An unescaped plus sign in a URL is a space, and people do not escape it.
        page = (await asked.get("/api/v1/windows?as_of=2030-01-01T00:00:00+08:00")).json()
        assert page["as_of"] == "2030-01-01T00:00:00+08:00"
        packed = await asked.get("/api/v1/windows?limit=1000")
        assert packed.headers["content-encoding"] == "gzip"
        assert (await asked.head("/windows")).content == b""
        assert (await asked.head("/api/v1/stream")).status_code == 200
        for answer in (await asked.get("/"), await asked.get("/windows"), packed):
            assert "'unsafe-inline'" not in answer.headers["content-security-policy"]
        first = (await asked.get("/")).text.partition('href="/static/')[2].partition('"')[0]
        style = await asked.get(f"/static/{first}")
        assert "immutable" in style.headers["cache-control"]
        again = await asked.get(f"/static/{first}", headers={"if-none-match": style.headers["etag"]})
        assert again.status_code == 304
