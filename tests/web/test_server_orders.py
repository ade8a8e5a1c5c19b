"""The search field, and the pages of orders and units: what is not yet known is never called uncounted."""

from __future__ import annotations

import asyncio
import json
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from schemas.facts import NO_DIMS, PRODUCTION, Fact, Kind, topic_number
from streams.lookup.finder import FoundOrder
from streams.web.readmodel import Feed
from streams.web.spoken_dates import spoken
from tests.support.outputs import Record, letter_record, milestone, milestone_record, row
from tests.support.site import Site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

VIN = "LNBSU7A10R1000123"
#: Noon in Shanghai on 7 October 2024.
NOON_US = 1_728_273_600_000_000
MILESTONE = "deliveries/model=SU7/day:2024-10-07/exceeds:1"


def delivery(number: int) -> Fact:
    return Fact(
        Kind.DELIVERED, f"SO-{number}", "/bj1", f"d-{number}", NOON_US + number, VIN, ("SU7", "", "", ""), "", None,
        False, 1, 2, 40 + number,
    )  # fmt: skip


class FakeFinder:
    """A ledger of two deliveries, one of them contradicting."""

    ready, done, total = True, 1, 1

    def __init__(self) -> None:
        lost = Fact(Kind.CANCELLED, "SO-9", "/app", "c-9", NOON_US, "", NO_DIMS, "", None, False, 0, 0, 1)
        self.orders = {"SO-1": [delivery(1)], "SO-2": [delivery(2)], "SO-9": [lost]}

    async def read_on(self) -> None: ...

    def home(self, order_id: str) -> int:  # noqa: ARG002 - one partition
        return 0

    async def order(self, order_id: str) -> FoundOrder | None:
        facts = self.orders.get(order_id)
        return None if facts is None else FoundOrder(order_id, 0, facts)

    async def orders_with(self, *, vin: str = "", event_id: str = "") -> list[str]:
        found = (
            order_id
            for order_id, facts in self.orders.items()
            if any((vin and vin == fact.vin) or event_id == fact.id for fact in facts)
        )
        return sorted(found)

    async def orders_on(self, day: date, *, of_vehicles: bool) -> AsyncIterator[FoundOrder]:
        assert of_vehicles, "the tests ask for deliveries"
        assert day.isoformat() == "2024-10-07"
        for order_id, facts in self.orders.items():
            yield FoundOrder(order_id, 0, facts)


def looked_up(site: Site) -> None:
    """Lets the site look orders up."""
    orders: Any = site.web.orders
    orders._finder, orders._loop = FakeFinder(), asyncio.get_running_loop()


def filled(site: Site) -> None:
    site.read(Feed.MILESTONES, milestone_record(milestone(MILESTONE, threshold=1)))
    site.read(
        Feed.DEAD_LETTERS, letter_record(json.dumps({"source": "/erp", "id": "x", "data": {"vin": VIN}}).encode())
    )
    week = row("week:2024-W41", 2, start="2024-10-07", end="2024-10-13")
    golden = row("holiday:national-day:2024", 2, start="2024-10-01", end="2024-10-07")
    site.rows(row("day:2024-10-07", 2), row("month:2024-10", 2), week, golden, row("year:2024", 2, scope="model=YU7"))


@pytest.mark.parametrize(
    ("q", "address"),
    [
        ("2024-10-07", "/calendar/2024-10-07"),
        ("20241007", "/calendar/2024-10-07"),
        ("2024/10/7", "/calendar/2024-10-07"),
        ("2024\u5e7410\u67087\u65e5", "/calendar/2024-10-07"),
        ("Mon, Oct 7, 2024", "/calendar/2024-10-07"),
        ("Mon, 7 Oct 2024", "/calendar/2024-10-07"),
        ("2024\u5e7410\u6708", "/windows?period=month%3A2024-10"),
        ("\u56fd\u5e86\u8282", "/windows?period=holiday%3Anational-day%3A2024"),
        ("national day", "/windows?period=holiday%3Anational-day%3A2024"),
        ("2024-10", "/windows?period=month%3A2024-10"),
        ("year:2024", "/windows?period=year%3A2024"),
        ("week:2024-W41", "/windows?period=week%3A2024-W41"),
        ("su7", "/?scope=model%3DSU7"),
        ("model=YU7", "/?scope=model%3DYU7"),
        (MILESTONE, "/milestones/deliveries/model%3DSU7/day%3A2024-10-07/exceeds%3A1"),
        ("SO-2", "/orders/SO-2"),
        ("d-2", "/orders/SO-2"),
        (" SO-9 ", "/orders/SO-9"),
    ],
)
async def test_a_search_goes_where_its_text_means(tmp_path: Path, q: str, address: str) -> None:
    with Site(tmp_path) as site:
        filled(site)
        looked_up(site)
        answer = await site.get(f"/search?q={q}")
        assert (answer.status_code, answer.headers.get("location")) == (303, address)


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("7 october", "2024-10-07", ""),
        ("Oct. 7th", "2024-10-07", ""),
        ("Dec 24", "2023-12-24", ""),
        ("29 Feb", "2024-02-29", ""),
        ("Monday, 7 October 2030", "2030-10-07", ""),
        ("10\u67087\u65e5 \u661f\u671f\u4e00", "2024-10-07", ""),
        ("10\u67087\u53f7", "2024-10-07", ""),
        ("\u6628\u5929", "2024-10-07", ""),
        ("today", "2024-10-08", ""),
        ("October", "2024-10-01", "2024-10-31"),
        ("December 2024", "2024-12-01", "2024-12-31"),
        ("2024\u5e742\u6708\u4efd", "2024-02-01", "2024-02-29"),
        ("13\u6708", "", ""),
        ("31 June", "", ""),
        ("SU7 October", "", ""),
        ("10", "", ""),
        ("mon", "", ""),
        ("", "", ""),
    ],
)
def test_a_date_is_understood_as_it_is_said(text: str, first: str, last: str) -> None:
    found = spoken(text, date(2024, 10, 8))
    assert (
        (first, last) == ("", "")
        if found is None
        else (found[0].isoformat(), found[1].isoformat()) == (first, last or first)
    )


async def test_a_search_lists_what_it_may_mean_and_says_when_orders_are_not_known(tmp_path: Path) -> None:
    with Site(tmp_path) as site:
        filled(site)
        answer = (await site.get("/api/v1/search?q=u7")).json()
        assert [hit["text"] for hit in answer["hits"] if hit["kind"] == "scope"] == ["model=SU7", "model=YU7"]
        assert answer["problem"]["why"] == "orders cannot be looked up yet"
        page = (await site.get("/search?q=SO-2")).text
        assert "Not known yet." in page
        assert "Nothing is called that" not in page
        looked_up(site)
        assert "Nothing is called that" in (await site.get("/search?q=SO-404")).text


async def test_an_order_says_what_it_counts_as_and_hides_the_vehicle(tmp_path: Path) -> None:
    with Site(tmp_path) as site:
        filled(site)
        assert (await site.get("/api/v1/orders/SO-2")).status_code == 503
        assert "Not known yet." in (await site.get("/orders/SO-2")).text
        looked_up(site)
        story = await story_of(site, "SO-2")
        assert (story["state"], [unit["metric"] for unit in story["units"]]) == ("counted", ["deliveries"])
        assert story["events"][0]["vin"] is None
        page = (await site.get("/orders/SO-2")).text
        assert VIN not in page
        assert "vehicle.deliveries.v1-2@42" in page
        assert "/units?metric=deliveries&amp;scope=model%3DSU7&amp;period=day%3A2024-10-07" in page
        assert (await story_of(site, "SO-1"))["letters"][0]["reason"] == "invalid_field"
        assert (await story_of(site, "SO-9"))["state"] == "not_counted"
        assert (await story_of(site, "SO-404"))["state"] == "unknown"
        assert (await site.get(f"/search?q={VIN}")).status_code == 200
        assert (await site.get(f"/dead-letters?vin={VIN}")).status_code == 404


async def story_of(site: Site, order_id: str, **worker: Any) -> Any:
    """What the page of an order shows right after a worker's report."""
    site.complete()
    site.worker(**worker)
    return (await site.get(f"/api/v1/orders/{order_id}")).json()["story"]


async def test_while_events_wait_or_nobody_reports_an_order_that_is_not_there_is_not_known(tmp_path: Path) -> None:
    with Site(tmp_path) as site:
        filled(site)
        looked_up(site)
        assert (await site.get("/api/v1/orders/SO-404")).json()["story"]["state"] == "not_known"
        assert (await story_of(site, "SO-404", partition_lag=3))["state"] == "not_known"
        page = (await site.get("/orders/SO-404")).text
        assert "3 events have arrived that are not counted yet" in page
        assert "Nothing of this order has ever arrived" not in page


async def test_vehicles_are_shown_and_looked_for_where_a_setting_allows_it(tmp_path: Path) -> None:
    with Site(tmp_path, web_show_vins=True) as site:
        filled(site)
        looked_up(site)
        site.read(
            Feed.VIOLATIONS,
            Record(
                b"SO-2",
                json.dumps(
                    {
                        "order_id": "SO-2",
                        "violations": [
                            {"kind": "delivered_without_order", "source": "/bj1", "id": "d-2", "message": "m"}
                        ],
                    }
                ).encode(),
            ),
        )
        assert VIN in (await site.get("/orders/SO-2")).text
        hits = (await site.get(f"/api/v1/search?q={VIN.lower()}")).json()["hits"]
        assert [hit["text"] for hit in hits] == ["SO-1", "SO-2"]
        for query, total in ((f"vin={VIN}", 1), ("source=/erp", 1), ("order_id=SO-1", 1), ("source=/other", 0)):
            assert (await site.get(f"/api/v1/dead-letters?{query}")).json()["total"] == total, query
        for query, total in ((f"vin={VIN}", 1), ("source=/bj1", 1), ("order_id=SO-1", 0), ("source=/other", 0)):
            assert (await site.get(f"/api/v1/violations?{query}")).json()["total"] == total, query


@pytest.mark.parametrize("shown", [True, False])
async def test_a_vehicle_that_was_produced_is_known_by_its_vin_which_may_be_hidden(
    tmp_path: Path, *, shown: bool
) -> None:
    produced = Fact(
        Kind.PRODUCED, VIN, "/line", "b-1", NOON_US, VIN, ("SU7", "", "", ""), "", None, False,
        topic_number(PRODUCTION, 0), 2, 40,
    )  # fmt: skip
    with Site(tmp_path, web_show_vins=shown, families=("orders", "deliveries", "production")) as site:
        filled(site)
        looked_up(site)
        finder: Any = site.web.orders._finder
        finder.orders[VIN] = [produced]
        site.rows(row("day:2024-10-07", 1, metric="produced"))
        twice = {"kind": "produced_twice", "source": "/line", "id": "b-2", "message": "m"}
        document = json.dumps({"order_id": VIN, "violations": [twice]}).encode()
        site.read(Feed.VIOLATIONS, Record(VIN.encode(), document))
        (violation,) = (await site.get("/api/v1/violations")).json()["violations"]
        assert violation["order_id"] == (VIN if shown else "")
        (line,) = (await site.get("/api/v1/units?metric=produced&scope=model=SU7&period=day:2024-10-07")).json()[
            "lines"
        ]
        assert line["unit"]["order_id"] == (VIN if shown else "")
        for path in ("/violations", "/units?metric=produced&scope=model=SU7&period=day:2024-10-07"):
            assert (VIN in (await site.get(path)).text) == shown, path
        answer = await site.get(f"/api/v1/orders/{VIN}")
        assert (answer.json().get("story") is not None) == shown
        assert [hit["text"] for hit in (await site.get("/api/v1/search?q=b-1")).json()["hits"]] == [VIN] * shown


@pytest.mark.parametrize("shown", [True, False])
async def test_the_page_of_a_vehicle_says_that_it_was_delivered_and_not_produced(
    tmp_path: Path, *, shown: bool
) -> None:
    families = ("orders", "deliveries", "production")
    with Site(tmp_path, web_show_vins=shown, families=families) as site:
        filled(site)
        looked_up(site)
        story = await story_of(site, VIN)
        found = [(each["kind"], each["id"], each["order_id"]) for each in story["violations"]]
        kind = "delivered_without_production"
        assert found == [(kind, "d-1", "SO-1"), (kind, "d-2", "SO-2")] * shown
        page = (await site.get(f"/orders/{VIN}")).text
        assert ('<p class="sub">Vehicle</p>' in page) is shown
        assert ("Nothing of the production of this vehicle has ever arrived." in page) is shown
        assert ('href="/orders/SO-2"' in page) is shown
        assert ("Delivered, not produced" in page) is shown
        chinese = (await site.get(f"/orders/{VIN}?lang=zh")).text
        assert ("\u4ea4\u4ed8\u6240\u5c5e\u8ba2\u5355" in chinese) is shown


async def test_a_number_leads_to_its_units_and_to_the_one_that_passed_a_line(tmp_path: Path) -> None:
    with Site(tmp_path) as site:
        filled(site)
        looked_up(site)
        view = (await site.get("/api/v1/units?scope=model=SU7&period=day:2024-10-07")).json()
        assert [(line["position"], line["unit"]["order_id"]) for line in view["lines"]] == [(1, "SO-1"), (2, "SO-2")]
        assert [len(line["passed"]) for line in view["lines"]] == [0, 1]
        second = (await site.get("/api/v1/units?scope=model=SU7&period=day:2024-10-07&position=2&limit=1")).json()
        assert [line["position"] for line in second["lines"]] == [2]
        page = (await site.get(f"/milestones/{MILESTONE}")).text
        assert "/units?metric=deliveries&amp;scope=model%3DSU7&amp;period=day%3A2024-10-07&amp;position=2" in page
        for path in ("/?scope=model=SU7", "/calendar/2024-10-07?scope=model=SU7", "/windows"):
            assert "/units?metric=deliveries&amp;scope=model%3DSU7" in (await site.get(path)).text, path
        assert (await site.get("/units?scope=model=NIX")).status_code == 404
        assert (await site.get("/units?scope=model=SU7&period=2024-10")).status_code == 404
