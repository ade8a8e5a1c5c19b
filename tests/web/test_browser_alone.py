"""The pages in a real browser without brokers: what depends only on the browser and on the numbers."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import Browser, async_playwright, expect

from schemas.texts import scope_of_source
from streams.web.readmodel import Feed
from tests.contract.goldens import milestone_sample
from tests.support.browser import arguments, chromium
from tests.support.outputs import Record, milestone_record, row
from tests.support.site import Site
from tests.support.time_limits import stretched

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.slow

CLICKS = 30
TABS = 12


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Chromium."""
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=chromium(), args=arguments())
        yield started
        await started.close()


async def opened(browser: Browser, base: str, **options: Any) -> Any:
    """A visitor."""
    context = await browser.new_context(base_url=base, **({"locale": "en"} | options))
    context.set_default_timeout(1000 * stretched(15))
    return context


async def test_thirty_clicks_in_one_tab_and_twelve_tabs_of_one_browser_are_all_answered(
    browser: Browser, tmp_path: Path
) -> None:
    """A browser opens six connections to a server, and each page holds one for its endless stream."""
    with Site(tmp_path) as site:
        site.worker()
        site.rows(row("day:2024-10-07", 7), row("month:2024-10", 7))
        async with site.served() as base:
            context = await opened(browser, base)
            page = await context.new_page()
            await page.goto("/")
            for number in range(CLICKS):
                name = ("Calendar", "Windows", "Targets", "Milestones")[number % 4]
                started = time.monotonic()
                await page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()
                await expect(page.locator("#nav a[aria-current]")).to_have_text(name, timeout=1000 * stretched(15))
                assert time.monotonic() - started < stretched(10), f"click {number}"
            assert site.app.hub.clients <= 2
            pages = [await context.new_page() for _ in range(TABS)]
            for number, tab in enumerate(pages):
                await tab.goto("/" if number % 2 else "/windows")
                await expect(tab.locator("#main h1")).to_be_visible()
            site.worker()
            for tab in pages:
                await expect(tab.locator("body")).to_have_class("fresh")
            assert site.app.hub.clients <= 2, "the tabs of a browser share one stream"
            await context.close()


async def test_a_browser_without_shared_workers_follows_too_and_a_page_that_is_left_takes_no_connection(
    browser: Browser, tmp_path: Path
) -> None:
    with Site(tmp_path) as site:
        site.worker()
        site.rows(row("day:2024-10-07", 7))
        async with site.served() as base:
            context = await opened(browser, base)
            await context.add_init_script("delete window.SharedWorker")
            page = await context.new_page()
            await page.goto("/")
            await expect(page.locator("body")).to_have_class("fresh")
            for path in ("/windows", "/targets", "/calendar"):
                await page.goto(path)
                await expect(page.locator("body")).to_have_class("fresh")
            await page.go_back()
            await expect(page.locator("body")).to_have_class("fresh")
            await page.wait_for_function("true")
            assert site.app.hub.clients <= 2
            await context.close()


async def test_the_page_of_what_is_being_read_becomes_the_page_that_was_asked_for(
    browser: Browser, tmp_path: Path
) -> None:
    with Site(tmp_path) as site:
        async with site.served() as base:
            context = await opened(browser, base)
            page = await context.new_page()
            await page.goto("/windows")
            await expect(page.locator("h1")).to_have_text("The numbers are being read")
            site.worker()
            site.rows(row("day:2024-10-07", 1234))
            await expect(page.locator("#rows tbody tr")).to_contain_text("1,234")
            site.web.state.caught_up_s = None  # a topic was recreated
            await expect(page.locator("h1")).to_have_text("The numbers are being read")
            await context.close()


#: Pixels of a card that are left empty below its content.
EMPTY = """(card) => card.getBoundingClientRect().bottom - Math.max(...[...card.children].map((each) => each.getBoundingClientRect().bottom))"""
#: Whether the names of the pages, the search field and the tools follow each other, and end where the page does.
IN_LINE = """(() => {
    const box = (name) => document.querySelector(name).getBoundingClientRect();
    const [brand, nav, find, tools, menu] = ['.brand', '.nav > :last-child', '.find', '.tools', '.menu-button'].map(box);
    const line = [brand, nav, find, tools, menu].filter((each) => each.width);
    const wrapped = [...document.querySelectorAll('.tool')].some((each) => each.scrollHeight > each.clientHeight + 1);
    const gaps = line.slice(1).map((each, at) => each.left - line[at].right);
    return Math.min(...gaps) >= 0 && !wrapped && innerWidth - line.at(-1).right < 40;
})()"""


async def test_the_card_of_today_is_filled_and_nothing_in_the_line_above_the_page_overlaps(
    browser: Browser, crowded: str
) -> None:
    context = await opened(browser, crowded)
    page = await context.new_page()
    widths = (360, 1234, 1280, 1440, 1920)
    await page.goto("/")
    await expect(page.locator("#today .plot canvas")).to_be_visible()
    for width in widths:
        await page.set_viewport_size({"width": width, "height": 900})
        assert await page.locator("#today").evaluate(EMPTY) < 24, width
        assert await page.evaluate(IN_LINE), width
    await page.goto("/reconciliation")  # the widest of the names
    for width in widths:
        await page.set_viewport_size({"width": width, "height": 900})
        assert await page.evaluate(IN_LINE), width
    await context.close()


@pytest.mark.parametrize("width", [1280, 640])
async def test_the_slash_leads_to_the_search_field_also_where_it_is_in_the_menu(
    browser: Browser, crowded: str, width: int
) -> None:
    """640 pixels are what is left of 1,280 when everything is enlarged to 200 %."""
    context = await opened(browser, crowded, viewport={"width": width, "height": 450})
    page = await context.new_page()
    await page.goto("/windows")
    await expect(page.locator("body")).to_have_class("fresh")
    await page.keyboard.press("/")
    await expect(page.locator("#q")).to_be_focused()
    await page.keyboard.type("2024-10-07")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/calendar/2024-10-07*")
    await context.close()


async def test_escape_closes_the_menu_and_leads_back_to_its_button(browser: Browser, crowded: str) -> None:
    context = await opened(browser, crowded, viewport={"width": 375, "height": 700})
    page = await context.new_page()
    await page.goto("/windows")
    await expect(page.locator("body")).to_have_class("fresh")
    button = page.locator("#menu-button")
    await button.focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#nav a").first).to_be_visible()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Escape")
    await expect(button).to_be_focused()
    await expect(button).to_have_attribute("aria-expanded", "false")
    await expect(page.locator("#nav a").first).to_be_hidden()
    await context.close()


HUGE = 1_234_567
LONG = "model=SU7-Ultra-Nurburgring-Edition-Founders-Run-2024-LongName-0001"
UNBROKEN = f"model={'W' * 60}"
TODAY = "2024-10-07"
#: Numbers wider than their element, or beyond the edge of the page.
CUT = """[...document.querySelectorAll('.big, .cell .count, td.num, dd b')].filter((each) => {
    const box = each.getBoundingClientRect(), home = (each.closest('.cell, td, .card') ?? document.body).getBoundingClientRect();
    return box.width && !each.closest('.scroll') && (box.right > home.right + 1 || box.left < home.left - 1);
}).map((each) => each.textContent)"""
#: Cards that overlap, and elements over a chart's plot.
OVERLAPS = """(() => {
    const boxes = [...document.querySelectorAll('.card')].map((each) => each.getBoundingClientRect()).filter((each) => each.height);
    const over = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
    const cards = boxes.filter((a, at) => boxes.slice(at + 1).some((b) => over(a, b))).length;
    const plots = [...document.querySelectorAll('.plot canvas')].filter((each) => {
        const plot = each.closest('.plot').getBoundingClientRect(), box = each.getBoundingClientRect();
        return box.height > plot.height + 1 || box.width > plot.width + 1;
    }).length;
    return cards + plots;
})()"""


@pytest.fixture(scope="module")
async def crowded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A site of large numbers, long names, eight targets, fourteen sources and an alert; its address."""
    with Site(tmp_path_factory.mktemp("crowded"), clock="events") as site:
        site.worker()
        for number in range(14):
            name, at = f"/factories/bj{number}/dispatch", f"2024-10-07T{10 - number % 10:02d}:00:00.000Z"
            text = json.dumps({"source": name, "last_event_at": at, "updated_at": at})
            site.read(Feed.STATUS, Record(f"source/{name}".encode(), text.encode(), 10 + number))
        alert = milestone_sample("stalled")
        told = alert.data.model_copy(update={"scope": scope_of_source(f"/{'x' * 90}")})
        named = alert.model_copy(update={"data": told})
        site.read(Feed.MILESTONES, milestone_record(named.model_dump(mode="json"), 1))
        rows = []
        for scope in ("model=SU7", LONG):
            aims = [{"target_id": f"t{at}", "value": at * HUGE, "reached": at < 4} for at in range(1, 9)]
            rows += [row(f"day:2024-10-0{day}", HUGE if day > 4 else 900 + day, scope=scope) for day in range(1, 8)]
            rows += [
                row("month:2024-10", 4 * HUGE, scope=scope, targets=aims),
                row("year:2024", 12 * HUGE, scope=scope),
            ]
        site.rows(*rows)
        async with site.served() as base:
            yield base


#: 320: also what is left of 1,280 pixels when everything is enlarged to 400 %.
@pytest.mark.parametrize(("locale", "width"), [("en", 320), ("en", 360), ("zh", 320)])
async def test_on_a_phone_no_number_is_cut_and_nothing_scrolls_sideways(
    browser: Browser, crowded: str, locale: str, width: int
) -> None:
    context = await opened(browser, crowded, locale=locale, viewport={"width": width, "height": 740})
    page = await context.new_page()
    for path in (
        f"/?scope={LONG}",
        f"/calendar?year=2024&scope={LONG}",
        f"/calendar/{TODAY}?scope=model=SU7",
        "/windows",
        "/targets",
        "/milestones?show=all",
    ):
        await page.goto(path)
        if path.startswith("/?"):
            await expect(page.locator("#alerts li")).to_have_count(1)
            # Times are wrapped between words, not letter by letter.
            heights = "cells => Math.max(...cells.map((each) => each.getBoundingClientRect().height))"
            assert await page.locator("#source-rows tr").evaluate_all(heights) < 90
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert await page.evaluate(CUT) == [], path
    await page.goto("/calendar?year=2024&scope=model=SU7")
    await expect(page.locator(f"#d-{TODAY} .count")).to_have_text("1.23M" if locale == "en" else "123万")
    levels = await page.locator("[id='2024-10'] .cell").evaluate_all(
        "cells => new Set(cells.map((each) => each.className)).size"
    )
    assert levels > 4, "one huge day makes the others no paler"
    await page.goto("/windows")
    assert await page.locator("#rows td.name").first.evaluate("cell => cell.getBoundingClientRect().width") < 200
    assert await page.locator('#rows td[title*="LongName-0001"]').count() > 0
    await context.close()


async def test_a_name_without_a_place_to_break_it_does_not_make_a_page_wider_than_a_phone(
    browser: Browser, tmp_path: Path
) -> None:
    with Site(tmp_path, clock="events") as site:
        site.rows(row(f"day:{TODAY}", 107, scope=UNBROKEN), row("month:2024-10", 107, scope=UNBROKEN))
        async with site.served() as base:
            context = await opened(browser, base, viewport={"width": 320, "height": 740})
            page = await context.new_page()
            for path in (
                "/?",
                "/calendar?year=2024&",
                f"/calendar/{TODAY}?",
                "/compare?",
                f"/units?period=day:{TODAY}&",
            ):
                await page.goto(f"{path}scope={UNBROKEN}")
                assert await page.evaluate("document.documentElement.scrollWidth") <= 320, path
            await context.close()


async def test_on_a_wall_of_many_targets_the_last_reached_and_the_next_are_shown(
    browser: Browser, crowded: str
) -> None:
    context = await opened(browser, crowded, viewport={"width": 1920, "height": 1080})
    page = await context.new_page()
    await page.goto("/?kiosk=1&scope=model=SU7")
    assert await page.locator(".month .aim").count() == 2
    await expect(page.locator(".month .more")).to_have_text("+6 more targets")
    assert await page.locator("#source-rows tr").count() == 4
    await expect(page.locator(".sources .more")).to_contain_text("+10 more")
    assert await page.evaluate(OVERLAPS) == 0
    assert await page.evaluate("document.documentElement.scrollHeight <= innerHeight")
    inside = (
        "[...document.querySelectorAll('.month, .sources')].every((card) => card.scrollHeight <= card.clientHeight + 1)"
    )
    assert await page.evaluate(inside)
    await context.close()


#: How much wider a canvas is shown than it was drawn, relative to its height.
STRETCHED = """canvases => canvases.map((c) => {
  const box = c.getBoundingClientRect();
  return box.width / box.height / (c.width / c.height);
})"""


@pytest.mark.parametrize("paper", ["A4", "Letter"])
async def test_what_is_printed_is_whole_and_says_when_it_was_made(browser: Browser, crowded: str, paper: str) -> None:
    width = {"A4": 703, "Letter": 725}[paper]
    context = await opened(browser, crowded, viewport={"width": 1280, "height": 900}, color_scheme="dark")
    page = await context.new_page()
    for path in ("/?scope=model=SU7", f"/calendar/{TODAY}?scope=model=SU7", "/targets", "/milestones", "/windows"):
        await page.goto(path)
        await expect(page.locator("body")).to_have_class("fresh")
        assert (await page.pdf(format=paper)).startswith(b"%PDF")
        await page.set_viewport_size({"width": width, "height": 1000})
        await page.emulate_media(media="print")
        await page.evaluate("dispatchEvent(new Event('beforeprint'))")
        stretched = await page.locator("canvas").evaluate_all(STRETCHED)
        assert all(0.85 < each < 1.15 for each in stretched), (path, stretched)
        broken = await page.locator(".card").evaluate_all("cards => cards.map((c) => getComputedStyle(c).breakInside)")
        assert broken[:3] == ["avoid"] * len(broken[:3]) or path in {"/milestones", "/windows"}, path
        await expect(page.locator("#made")).to_contain_text("Milestones, as of 20")
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert await page.evaluate(OVERLAPS) == 0, path
        white = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert white == "rgb(255, 255, 255)"
        top = await page.locator("#main").evaluate("main => main.getBoundingClientRect().top")
        assert top < 200, "the first page is not empty"
        await page.evaluate("dispatchEvent(new Event('afterprint'))")
        if path == "/windows":
            first = await page.locator("#rows tbody tr").first.evaluate("line => line.getBoundingClientRect().top")
            assert first < 400
        await page.emulate_media(media="screen")
        await page.set_viewport_size({"width": 1280, "height": 900})
    await context.close()


async def test_one_walks_through_an_earlier_moment_and_from_a_number_to_its_units(
    browser: Browser, crowded: str
) -> None:
    context = await opened(browser, crowded)
    page = await context.new_page()
    await page.goto(f"/calendar?year=2024&scope={LONG}")
    await page.locator("form.moment input[name=at]").fill("2024-10-08T20:00:00")
    await page.locator("form.moment button").click()
    await expect(page.locator("#as-of")).to_contain_text("published at 2024-10-08 20:00:00+08:00")
    await expect(page.locator("body")).to_have_attribute("data-live", "no")
    for name in ("Now", "Milestones", "Windows", "Targets", "Comparison", "Calendar"):
        await page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()
        await expect(page.locator("#nav a[aria-current]")).to_have_text(name)
        await expect(page.locator("#as-of")).to_be_visible()
        assert "scope=" in page.url
    await page.locator("main a.count").first.click()
    await expect(page.locator("#as-of")).to_contain_text("published at 2024-10-08 20:00:00+08:00")
    await expect(page.locator("#not-told")).to_contain_text("Moments are those of the events here")
    await expect(page.locator("#count")).to_have_text("\u2013")
    assert "/units?" in page.url
    await page.get_by_role("link", name="Back to now").click()
    await expect(page.locator("#as-of")).to_have_count(0)
    assert "as_of" not in page.url
    await context.close()
