"""Pages and API as of an earlier moment, which is kept from page to page."""

from __future__ import annotations

import json
import re
from functools import reduce
from operator import getitem
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from streams.web.readmodel import Feed
from tests.support.outputs import letter_record, milestone, milestone_record, row, row_record
from tests.support.site import Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

THEN = "2024-10-07T12:00:00+08:00"
AS_OF = f"as_of={quote(THEN)}"
SU7 = "scope=model%3DSU7"
EARLY, LATE = "2024-10-07T03:00:00.000Z", "2024-10-07T09:00:00.000Z"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """At noon today's count was 100, with one milestone; by the evening 150, with two."""
    aims = [{"target_id": "plan", "value": 250, "reached": False}]
    with Site(tmp_path_factory.mktemp("site")) as made:
        for place, period in enumerate(("day:2024-10-07", "month:2024-10", "year:2024")):
            first = row(period, 100, version=1, updated_at=EARLY, targets=aims)
            made.read(Feed.HISTORY, row_record(first, place))
        made.read(
            Feed.MILESTONES,
            milestone_record(milestone("deliveries/model=SU7/day:2024-10-07/exceeds:99", detected_at=EARLY), 0),
            milestone_record(milestone("deliveries/model=SU7/day:2024-10-07/exceeds:149", detected_at=LATE), 1),
        )
        made.rows(
            *(row(period, 150, version=2, updated_at=LATE, targets=aims) for period in (
                "day:2024-10-07", "month:2024-10", "year:2024"
            )),
            row("day:2024-10-07", 150, version=1, updated_at=LATE, metric="orders"),
        )  # fmt: skip
        yield made


async def asked(site: Site, path: str) -> Any:
    return (await site.get(f"/api/v1/{path}")).json()


async def test_every_answer_tells_what_was_known_then(site: Site) -> None:
    now = await asked(site, f"now?{SU7}&{AS_OF}")
    assert (now["business_date"], now["today"]["row"]["count"], now["month"]["row"]["count"]) == (
        "2024-10-07",
        100,
        100,
    )
    assert now["today"]["others"] == {}, "orders had not been counted yet"
    assert len(now["milestones"]) == 1
    assert now["past"] == {"at": THEN, "known": True, "known_since": EARLY}
    calendar = await asked(site, f"calendar?year=2024&{SU7}&{AS_OF}")
    assert calendar["total"] == 100
    day = await asked(site, f"calendar/2024-10-07?{SU7}&{AS_OF}")
    assert (day["row"]["count"], [each["version"] for each in day["versions"]]) == (100, [1])
    targets = await asked(site, f"targets?{AS_OF}")
    assert {line["count"] for line in targets["lines"]} == {100}
    compared = await asked(site, f"compare?period=month:2024-10&{SU7}&dimension=model&{AS_OF}")
    assert (compared["lines"][0]["whole"], compared["total"]) == (100, 100)
    beside = await asked(site, f"windows/side-by-side?{AS_OF}")
    assert (beside["ranking"]["period"], beside["ranking"]["total"]) == ("month:2024-10", 100)
    listed = await asked(site, f"milestones?{AS_OF}")
    assert [line["event"]["data"]["milestone_id"][-2:] for line in listed["milestones"]] == ["99"]
    assert (await asked(site, f"now?{SU7}"))["past"] is None
    files = await site.get(f"/api/v1/windows.csv?{AS_OF}&kind=month")
    assert ",100," in files.text
    late = await site.get(f"/milestones/deliveries/model=SU7/day:2024-10-07/exceeds:149?{AS_OF}")
    assert late.status_code == 404, "nobody knew of it then"


PAGES = (
    "/", "/calendar", "/calendar/2024-10-07", "/milestones", "/compare", "/windows", "/windows/side-by-side", "/targets",
    "/reconciliation", "/milestones/deliveries/model=SU7/day:2024-10-07/exceeds:99",
)  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_says_so_loudly_and_keeps_it(site: Site, path: str) -> None:
    page = (await site.get(f"{path}?{AS_OF}", accept_language="en")).text
    assert "Not the current figures: as they were published at 2024-10-07 12:00:00+08:00" in page
    assert "[2024-10-07 12:00:00+08:00]" in page[: page.index("</title>")]
    assert 'data-live="no"' in page
    assert 'data-stream="rows=false"' in page
    main = page[page.index("<header") :]
    links = [link for link in re.findall(r'href="(/[^"]*)"', main) if not link.startswith(("/api", "/static"))]
    back = f'<a href="{path}">Back to now</a>'
    assert back in page
    without = {link for link in links if "as_of=2024-10-07T12%3A00%3A00%2B08%3A00" not in link} - {path}
    assert without == set()
    assert re.search(r'<input type="hidden" name="as_of" value="2024-10-07T12:00:00\+08:00">', page)


async def test_a_page_that_only_knows_now_says_that_and_keeps_the_moment(site: Site) -> None:
    for path in ("/dead-letters", "/violations", "/search?q=none"):
        page = (await site.get(f"{path}{'&' if '?' in path else '?'}{AS_OF}", accept_language="en")).text
        assert "This page is of now." in page, path
        assert f"/calendar?as_of={quote(THEN, safe='')}" in page
    answer = await site.get(f"/search?q=2024-10-07&{AS_OF}")
    assert answer.headers["location"] == f"/calendar/2024-10-07?as_of={quote(THEN, safe='')}"


async def test_scope_and_metric_go_along_and_a_link_keeps_everything(site: Site) -> None:
    page = (await site.get(f"/calendar?metric=deliveries&{SU7}", accept_language="en")).text
    for link in (f"/?{SU7}", f"/milestones?metric=deliveries&amp;{SU7}", f"/windows?metric=deliveries&amp;{SU7}"):
        assert f'<a href="{link}">' in page, link
    (link,) = re.findall(r'id="these" href="([^"]+)"', page)
    for part in ("metric=deliveries", SU7, "as_of=", "lang=en", "year="):
        assert part in link
    kept = (await site.get(link.replace("&amp;", "&"), accept_language="zh")).text
    assert "Not the current figures" in kept
    moved = await site.get(f"/calendar?{SU7}&at=2024-10-07T12:00:00")
    assert moved.headers["location"] == f"/calendar?{SU7}&as_of={quote(THEN, safe='')}"


@pytest.mark.parametrize(
    ("path", "leads"),
    [
        (f"/calendar/2024-10-07?metric=orders&{SU7}", {
            "/": SU7, "/calendar": f"metric=orders&{SU7}&year=2024", "/compare": f"metric=orders&{SU7}&period=day%3A2024-10-07",
            "/windows": f"metric=orders&{SU7}&period=day%3A2024-10-07", "/targets": SU7, "/dead-letters": "day=2024-10-07",
        }),
        ("/units?period=month:2024-10", {
            "/calendar": f"metric=deliveries&{SU7}&year=2024", "/compare": f"metric=deliveries&{SU7}&period=month%3A2024-10",
        }),
        ("/milestones/deliveries/model=SU7/day:2024-10-07/exceeds:99", {
            "/windows": f"metric=deliveries&{SU7}&period=day%3A2024-10-07", "/milestones": f"metric=deliveries&{SU7}",
        }),
        (f"/?{SU7}&first=2024-10-01&last=2024-10-07", {
            "/": f"{SU7}&first=2024-10-01&last=2024-10-07", "/compare": f"{SU7}&period=2024-10-01..2024-10-07",
            "/windows": f"{SU7}&first=2024-10-01&last=2024-10-07",
        }),
        (f"/compare?period=2024-10-01..2024-10-07&{SU7}", {"/": f"{SU7}&first=2024-10-01&last=2024-10-07"}),
        ("/calendar?year=2023", {"/calendar": "year=2023", "/compare": "period=year%3A2023", "/milestones": ""}),
        ("/windows?period=month:2024-1", {"/compare": "", "/windows": ""}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("as_of", ["", AS_OF])
async def test_what_was_chosen_goes_along_to_every_page_that_takes_it(
    site: Site, path: str, leads: dict[str, str], as_of: str
) -> None:
    page = (await site.get(f"{path}{'&' if '?' in path else '?'}{as_of}", accept_language="en")).text
    nav = page[page.index('<nav class="nav"') :].partition("</nav>")[0]
    links = [link.replace("&amp;", "&") for link in re.findall(r'href="(/[^"]*)"', nav)]
    for address, query in leads.items():
        kept = "&".join(filter(None, (query, as_of and f"as_of={quote(THEN, safe='')}")))
        assert (f"{address}?{kept}" if kept else address) in links
    for link in links:
        assert (await site.get(link)).status_code == 200, link


async def test_lists_are_paged_by_the_place_of_their_lines(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Site(tmp_path_factory.mktemp("many")) as site:
        site.read(Feed.MILESTONES, *(milestone_record(milestone(f"m{number}"), number) for number in range(7)))
        letters = [letter_record(json.dumps({"id": str(number)}).encode(), offset=number) for number in range(7)]
        site.read(Feed.DEAD_LETTERS, *letters)
        site.rows()
        for path, lines, keys in (
            ("milestones", "milestones", ("event", "data", "milestone_id")),
            ("dead-letters", "letters", ("letter", "event_id")),
        ):
            seen: list[list[Any]] = []
            query = ""
            while True:
                view = await asked(site, f"{path}?limit=3{query}")
                seen.append([reduce(getitem, keys, line) for line in view[lines]])
                assert view["total"] == 7
                if not view["next"]:
                    break
                query = f"&after={view['next']}"
            assert [len(each) for each in seen] == [3, 3, 1]
            assert len({each for page in seen for each in page}) == 7
            back = await asked(site, f"{path}?limit=3&before={view['previous']}")
            assert [reduce(getitem, keys, line) for line in back[lines]] == seen[1]
            assert (await site.get(f"/api/v1/{path}?after=nonsense")).status_code == 422
            assert 'rel="next"' in (await site.get(f"/{path}?limit=3")).text


def played_fast(folder: Path, clock: str) -> Site:
    """History was played fast: of current periods, versions between the first and the ninth are not known."""
    site = Site(folder, clock=clock)
    periods = ("day:2024-10-07", "month:2024-10", "year:2024")
    aims = [{"target_id": "plan", "value": 250, "reached": False}]
    for place, period in enumerate(periods):
        site.read(Feed.HISTORY, row_record(row(period, 0, version=1, updated_at=EARLY, targets=aims), place))
    site.rows(
        *(row(period, 150, version=9, updated_at=LATE, targets=aims) for period in periods),
        row("day:2024-10-06", 40, version=3, updated_at=EARLY),
        row("day:2024-10-07", 150, version=1, updated_at=LATE, metric="orders"),
    )
    return site


async def test_what_was_counted_then_is_not_said_to_be_nothing_where_it_is_not_known(tmp_path: Path) -> None:
    with played_fast(tmp_path, "events") as site:
        now = await asked(site, f"now?{SU7}&{AS_OF}&first=2024-10-06")
        assert [now[span]["count"] for span in ("today", "month", "year", "own")] == [None] * 4
        assert (now["today"]["others"], now["month"]["days"][5:]) == (
            {"orders": None},
            [{"date": "2024-10-06", "count": 40}, {"date": "2024-10-07", "count": None}],
        )
        assert (await asked(site, f"now?{SU7}&{AS_OF}&first=2024-10-05&last=2024-10-06"))["own"]["count"] == 40
        calendar = await asked(site, f"calendar?year=2024&{SU7}&{AS_OF}")
        days = {day["date"]: (day["count"], day["known"]) for day in calendar["days"]}
        assert (calendar["total"], days["2024-10-07"], days["2024-10-08"]) == (None, (None, False), (None, True))
        day = await asked(site, f"calendar/2024-10-07?{SU7}&{AS_OF}")
        assert (day["count"], day["unknown"]) == (None, ["deliveries", "orders"])
        assert (await asked(site, f"targets?{AS_OF}"))["unknown"] == 3
        compared = await asked(site, f"compare?period=month:2024-10&{SU7}&dimension=model&{AS_OF}")
        assert [compared["lines"][0][each] for each in ("whole", "so_far")] == [None, None]
        assert (compared["total"], compared["top"][0]["count"]) == (None, None)
        beside = await asked(site, f"windows/side-by-side?{AS_OF}")
        assert (beside["lines"][0], beside["ranking"]["total"], beside["ranking"]["rows"][0]["count"]) == (
            {"period": "month:2024-10", "counts": [None], "total": None},
            None,
            None,
        )
        assert (await asked(site, f"windows?{AS_OF}"))["unknown"] == 4
        file = (await site.get(f"/api/v1/windows.csv?{AS_OF}&kind=month")).text
        assert file.splitlines()[1:] == [f"deliveries,model=SU7,month:2024-10,2024-10-01,2024-10-31,,,,,,,,{THEN}"]
        for path in (
            "/",
            "/calendar",
            "/calendar/2024-10-07",
            "/targets",
            "/compare",
            "/windows/side-by-side",
            "/windows",
        ):
            scope = "" if path.endswith("side") else f"&{SU7}"
            page = (await site.get(f"{path}?{AS_OF}{scope}", accept_language="en")).text
            main = re.sub(r"<[^>]*>", " ", page[page.index("<main") : page.index("</main>")])
            assert "\u2013" in main or "not known" in main, path
            assert "No target is in force" not in main, path
        assert (await asked(site, f"calendar/2024-10-07?{SU7}"))["count"] == 150


async def test_by_the_wall_clock_what_had_no_version_was_not_there_unless_its_first_ones_are_forgotten(
    tmp_path: Path,
) -> None:
    with played_fast(tmp_path, "wall") as site:
        before = quote("2024-10-06T12:00:00+08:00")
        now = await asked(site, f"now?{SU7}&as_of={before}")
        assert (now["month"]["count"], now["year"]["count"]) == (0, 0), "their first version is of the next day"
        assert now["today"]["count"] is None, "the first of its versions that is left is the third"
        assert (await asked(site, f"now?{SU7}&{AS_OF}"))["month"]["count"] == 0
