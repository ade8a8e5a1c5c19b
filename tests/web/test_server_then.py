"""Orders and units as of an earlier moment: what the sources had, and no wrong number if that cannot be known."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndTimestamp

from schemas.facts import NO_DIMS, Fact, Kind
from schemas.instants import parse_instant
from streams.lookup.finder import FoundOrder
from streams.lookup.moments import Moment, MomentNotKnownError
from tests.support.outputs import row
from tests.support.site import Site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import date
    from pathlib import Path

ORDERS, DELIVERIES = "vehicle.orders.v1", "vehicle.deliveries.v1"
NAMES: Final = {0: ORDERS, 1: DELIVERIES}
PLACE = TopicPartition(DELIVERIES, 2)
#: Noon in Shanghai on 7 October 2024.
NOON_US = 1_728_273_600_000_000
THEN = "2024-10-07T12:00:00+08:00"
AS_OF = f"as_of={quote(THEN)}"
DAY = "scope=model%3DSU7&period=day:2024-10-07"


def fact(kind: Kind, number: int, offset: int, *, topic: int = 1, partition: int = 2, **more: Any) -> Fact:
    given = {"id": f"{kind.name}-{offset}", "voids": None} | more
    dims = ("SU7", "", "", "") if kind == Kind.DELIVERED else NO_DIMS
    return Fact(
        kind, f"SO-{number}", "/bj1", given["id"], NOON_US - 1000 + number, f"LNBSU7A10R100012{number}", dims, "",
        given["voids"], False, topic, partition, offset,
    )  # fmt: skip


def moment(stop: int | None, *, begin: int = 0, end: int = 100) -> Moment:
    """A partition of the deliveries whose first later record is at an offset."""
    later = None if stop is None else OffsetAndTimestamp(stop, NOON_US // 1000 + 1)
    return Moment.of(NAMES, {PLACE: end}, {PLACE: later}, {PLACE: begin})


def test_a_fact_was_there_when_its_record_had_been_appended() -> None:
    facts = [fact(Kind.DELIVERED, 1, 41), fact(Kind.DELIVERED, 2, 42)]
    assert moment(42).before(facts) == facts[:1]
    assert moment(None).before(facts) == facts
    assert moment(0).before(facts) == []
    added = fact(Kind.DELIVERED, 1, 0, partition=7)
    assert moment(None).before([added]) == [], "a partition that was added later had nothing"


@pytest.mark.parametrize(
    ("then", "offset"), [(moment(50, begin=50), 49), (moment(60, begin=70), 69), (moment(None, begin=100), 41)]
)
def test_what_was_deleted_is_not_known_to_have_been_there(then: Moment, offset: int) -> None:
    with pytest.raises(MomentNotKnownError, match=r"vehicle\.deliveries\.v1-2") as error:
        then.before([fact(Kind.DELIVERED, 1, offset)])
    assert error.value.reason == "trimmed"
    assert then.before([fact(Kind.DELIVERED, 1, 100)]) == [], "what is left was appended later"


def test_what_was_deleted_before_a_record_of_the_moment_had_been_there() -> None:
    facts = [fact(Kind.DELIVERED, 1, 3)]
    assert moment(60, begin=50).before(facts) == facts
    assert moment(None, begin=50).before(facts) == facts


def test_an_event_of_a_former_topic_does_not_tell_when() -> None:
    with pytest.raises(MomentNotKnownError) as error:
        moment(42).before([fact(Kind.DELIVERED, 1, 1, topic=9)])
    assert error.value.reason == "former"


class FakeFinder:
    """Three deliveries and a void; by noon the brokers had the records below an offset."""

    ready, done, total = True, 1, 1

    def __init__(self) -> None:
        second = fact(Kind.DELIVERED, 2, 42)
        self.then = moment(44)
        self.orders = {
            "SO-1": [fact(Kind.DELIVERED, 1, 41)],
            "SO-2": [second, fact(Kind.VOIDED, 2, 50, voids=(second.source, second.id))],
            "SO-3": [fact(Kind.DELIVERED, 3, 51)],
        }

    async def read_on(self) -> None: ...

    async def moment(self, appended_us: int) -> Moment:
        assert appended_us == int(parse_instant(THEN).timestamp()) * 1_000_000
        return self.then

    def home(self, order_id: str) -> int:  # noqa: ARG002 - one partition
        return 0

    async def order(self, order_id: str) -> FoundOrder | None:
        facts = self.orders.get(order_id)
        return None if facts is None else FoundOrder(order_id, 0, facts)

    async def orders_within(self, first: date, last: date, *, of_vehicles: bool) -> AsyncIterator[FoundOrder]:
        assert of_vehicles, "the tests ask for deliveries"
        assert first <= last
        for order_id, facts in self.orders.items():
            yield FoundOrder(order_id, 0, facts)


def opened(folder: Path, **settings: Any) -> tuple[Site, FakeFinder]:
    """A site that can look up orders, with the evening's figures."""
    site, finder = Site(folder, **settings), FakeFinder()
    site.rows(row("day:2024-10-07", 2, updated_at="2024-10-07T09:00:00.000Z"))
    site.complete()
    site.worker()
    orders: Any = site.web.orders
    orders._finder, orders._loop = finder, asyncio.get_running_loop()
    return site, finder


async def test_the_units_are_those_of_what_the_sources_had(tmp_path: Path) -> None:
    with opened(tmp_path)[0] as site:
        for period in (DAY, "scope=model%3DSU7&period=2024-10-06..2024-10-08"):
            view = (await site.get(f"/api/v1/units?{period}&{AS_OF}")).json()
            assert [line["unit"]["order_id"] for line in view["lines"]] == ["SO-1", "SO-2"]
            assert (view["count"], view["past"]["at"]) == (2, THEN)
        assert view["published"] == 0, "nothing had been published yet"
        last = (await site.get(f"/api/v1/units?{DAY}&{AS_OF}&limit=1")).json()
        assert [(line["position"], line["unit"]["order_id"]) for line in last["lines"]] == [(2, "SO-2")]
        page = (await site.get(f"/units?{DAY}&{AS_OF}", accept_language="en")).text
        assert "Not of now: what had been appended to the source topics by 2024-10-07 12:00:00+08:00" in page
        assert "By the append times of the records." in page
        assert "Published by then, to the minute: 0" in page
        assert f"/orders/SO-2?as_of={quote(THEN, safe='')}" in page
        assert "SO-3" not in page
        assert (
            "截至 2024-10-07 12:00:00+08:00 已写入来源主题的内容"
            in (await site.get(f"/units?{DAY}&{AS_OF}", accept_language="zh")).text
        )
        plain = (await site.get("/units", accept_language="en")).text
        assert 'id="these" href="/units?as_of=' in plain
        assert "period=day%3A" in plain[plain.index('id="these"') :][:300], "the link keeps what was left to default"


async def test_an_order_is_told_as_it_was_and_is_not_corrected_there(tmp_path: Path) -> None:
    with opened(tmp_path)[0] as site:
        now = (await site.get("/api/v1/orders/SO-2")).json()
        assert (now["past"], now["story"]["state"]) == (None, "not_counted")
        then = (await site.get(f"/api/v1/orders/SO-2?{AS_OF}")).json()
        assert (then["past"]["at"], then["story"]["state"]) == (THEN, "counted")
        assert [event["effect"] for event in then["story"]["events"]] == ["delivered_without_order"], (
            "it had not been voided"
        )
        page = (await site.get(f"/orders/SO-2?{AS_OF}", accept_language="en")).text
        assert "What it counted as then" in page
        assert "milestones correct" not in page
        late = (await site.get(f"/orders/SO-3?{AS_OF}", accept_language="en")).text
        assert "Nothing of this order had arrived by then." in late
        assert "ever arrived" not in late


async def test_what_cannot_be_told_is_no_number(tmp_path: Path) -> None:
    site, finder = opened(tmp_path)
    with site:
        finder.then = moment(60, begin=60)
        for path in ("orders/SO-1", "units"):
            query = DAY if path == "units" else ""
            answer = await site.get(f"/api/v1/{path}?{query}&{AS_OF}")
            assert (answer.status_code, answer.headers.get("retry-after")) == (410, None)
            page = (await site.get(f"/{path}?{query}{'&' if query else ''}{AS_OF}", accept_language="en")).text
            assert "Records of that time have been deleted from a source topic." in page
            assert "Nothing is counted here." not in page


async def test_where_the_clock_is_that_of_the_events_no_moment_is_told(tmp_path: Path) -> None:
    with opened(tmp_path, clock="events")[0] as site:
        assert (await site.get(f"/api/v1/units?{DAY}&{AS_OF}")).status_code == 410
        assert (await site.get(f"/api/v1/orders/SO-1?{AS_OF}")).status_code == 410
