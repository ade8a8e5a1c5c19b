"""The pages in a real browser with a real broker and a real worker, with hostile text wherever text may be."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import shlex
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import orjson
import pytest
from aiokafka import TopicPartition
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from schemas.memory import JUDGED
from schemas.texts import scope_of_source
from streams.kafka.clients import read_latest, reader
from tests.support import hostile
from tests.support.browser import WATCH, Heard, arguments, chromium, picture_lines
from tests.support.installation import Installation
from tests.support.time_limits import deadline, stretched
from tests.support.webview import WebView

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

VENDOR = Path(__file__).parent / "vendor" / "axe-core"
AXE = VENDOR / "axe.min.js"
#: The rule about colours, by far the slowest.
CONTRAST = "color-contrast"
#: Two elements of each kind of text, since of a single character the checker cannot tell. How well a text can be read depends on its own style, on what is painted behind it by everything
#: around it, and on what else is painted over it, which is none of that: a text that is placed freely is a kind of its own.
KINDS_OF_TEXT = """(() => {
    const paths = new Map(), kinds = new Map();
    const path = (each) => {
        if (!each) return '';
        if (!paths.has(each)) {
            const style = getComputedStyle(each), free = ['absolute', 'fixed'].includes(style.position);
            paths.set(each, [
                path(each.parentElement), style.color, style.backgroundColor, style.backgroundImage, style.opacity,
                style.filter, style.textShadow, style.fontSize, style.fontWeight, free ? paths.size : '',
            ].join());
        }
        return paths.get(each);
    };
    const shown = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT, (text) => text.data.trim() &&
        text.parentElement.checkVisibility() ? NodeFilter.FILTER_ACCEPT : NodeFilter.FILTER_SKIP);
    while (shown.nextNode()) {
        const each = shown.currentNode.parentElement, kind = kinds.get(path(each)) ?? { first: each, longest: each };
        if (each.textContent.length > kind.longest.textContent.length) kind.longest = each;
        kinds.set(path(each), kind);
    }
    const found = [...kinds.values()].flatMap((kind) => [kind.first, kind.longest]);
    return [...new Set(found), ...document.querySelectorAll('input, select, textarea')];
})()"""
#: The rules that depend on how much room texts take.
SIZES = ["scrollable-region-focusable", "target-size"]
TODAY_ROW = f"deliveries|model=SU7|day:{hostile.TODAY}"
TARGET_MILESTONE = f"deliveries/model=SU7/month:2024-09/target:{hostile.TARGET_ID}:250"
ALERT = f"orders_placed/{scope_of_source(hostile.SHOP)}/hours/stalled:2"
PAGES = {
    "now": "/",
    "calendar": "/calendar",
    "day": f"/calendar/{hostile.TODAY}",
    "milestones": "/milestones?show=all",
    "milestone": f"/milestones/{quote(TARGET_MILESTONE, safe='')}",
    "windows": "/windows",
    "windows-as-of": "/windows?as_of=2024-10-07T20:00:00%2B08:00",
    "windows-sorted": "/windows?metric=deliveries&metric=orders&kind=day&sort=-count",
    "side-by-side": "/windows/side-by-side?dimension=variant&kind=day",
    "side-by-side-none": "/windows/side-by-side?dimension=region",
    "targets": "/targets",
    "compare": "/compare?period=month:2024-09&period=2024-10-01..2024-10-07&dimension=model&scope=model%3DSU7",
    "order": f"/orders/{quote(hostile.ODD_ORDER, safe='')}",
    # With a unit that has passed a milestone.
    "units": "/units?scope=model%3DSU7&period=month:2024-09&position=250",
    "search": "/search?q=su7",
    "dead-letters": "/dead-letters",
    "violations": "/violations",
    "reconciliation": "/reconciliation",
    "api": "/api",
    "nowhere": f"/nowhere/{quote(hostile.PAYLOAD, safe='')}",
    "refused": f"/windows?sort={quote(hostile.PAYLOAD, safe='')}",
    "kiosk": "/?kiosk=1",
    "campaign": f"/campaigns/{hostile.CAMPAIGN}?metric=deliveries&scope=model%3DSU7",
    "campaign-empty": f"/campaigns/{hostile.CAMPAIGN}?metric=cancellations&scope=model%3DSU7",
    "day-kiosk": f"/calendar/{hostile.TODAY}?kiosk=1",
    "campaign-kiosk": f"/campaigns/{hostile.CAMPAIGN}?metric=deliveries&scope=model%3DSU7&kiosk=1",
    "alerts": "/milestones?kind=stalled&show=all",
    "alert": f"/milestones/{quote(ALERT, safe='')}",
}
#: Texts that a person must find on a page.
HOSTILE_PAGES = ("alerts", "alert", "order", "milestone", "targets", "dead-letters", "violations", "reconciliation")
#: Names of a list that have no space between them and the values beside them.
TOUCHING = """[...document.querySelectorAll('dl dt')].filter((name) => {
    const value = name.nextElementSibling;
    if (value?.tagName !== 'DD' || !name.offsetWidth || !value.offsetWidth) return false;
    const [left, right] = [name, value].map((each) => {
        const range = document.createRange();
        range.selectNodeContents(each);
        return range.getBoundingClientRect();
    });
    return right.width && right.top < left.bottom && left.top < right.bottom && right.left - left.right < 3;
}).map((name) => name.textContent)"""
#: Elements beyond the right edge of a phone, for the message of a failed test.
STICKS_OUT = """[...document.querySelectorAll('body *')]
    .filter((each) => each.getBoundingClientRect().right > 361 && !each.parentElement.closest('.scroll'))
    .map((each) => `${each.tagName}.${each.className} ${each.textContent.trim().slice(0, 40)}`).slice(0, 5)"""
#: The height of the lowest chart.
LOWEST_PLOT = """[...document.querySelectorAll('.chart .plot')].filter((each) => each.checkVisibility())
    .map((each) => each.getBoundingClientRect().height).reduce((one, other) => Math.min(one ?? other, other), null)"""
#: Where the lowest card ends.
LOWEST_CARD = """Math.max(...[...document.querySelectorAll('main .card')].filter((each) => each.checkVisibility())
    .map((each) => each.getBoundingClientRect().bottom))"""
SETTINGS = {"MILESTONES_WEB_SHOW_PAYLOADS": "true", "MILESTONES_WEB_RATE_PER_S": "1000"}


@dataclass
class Site:
    """Everything that runs."""

    installation: Installation
    web: WebView
    browser: Browser

    def serve(self, log: str, bind: str) -> WebView:
        """Starts another web view."""
        environment = self.installation.environment | SETTINGS
        return WebView(environment, self.installation.folder / log, bind=bind).__enter__()

    @contextlib.asynccontextmanager
    async def page(self, path: str | None = None, **options: Any) -> AsyncIterator[Page]:
        """A page in a separate browser context; `heard` collects its console messages."""
        options = {"viewport": {"width": 1280, "height": 900}, "locale": "en"} | options
        context = await self.browser.new_context(base_url=self.web.url, **options)
        context.set_default_timeout(1000 * stretched(15))
        try:
            await context.add_init_script(WATCH)
            page = await context.new_page()
            if path is not None:
                await page.goto(path)
            yield page
        finally:
            await context.close()


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Chromium."""
    path = chromium()
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=path, args=arguments())
        yield started
        await started.close()


@pytest.fixture(scope="module")
async def site(browser: Browser, kafka: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A worker that has applied everything, and a web view that has read it."""
    folder = tmp_path_factory.mktemp("browser")
    async with Installation.created(
        kafka.bootstrap, folder, config=hostile.CONFIGURATION, prefix="browser.", clock="events"
    ) as installation:
        web = WebView(installation.environment | SETTINGS, folder / "web.txt")
        made = Site(installation, web, browser)
        try:
            installation.worker()
            await hostile.send(installation, [*hostile.rejected(), *hostile.history()])
            await installation.applied()
            await _until_sources_were_looked_at(installation)
            await hostile.send(installation, [*hostile.afternoon()])
            await installation.applied()
            web.__enter__()
            await web.until("/api/v1/milestones?kind=stalled", lambda view: view["total"] >= 1)
            await web.until("/api/v1/dead-letters", lambda view: view["total"] >= 6)
            await web.until("/api/v1/reconciliation", lambda view: view["compared"] == 2)
            await web.until("/api/v1/milestones?kind=target", lambda view: view["total"] >= 1)
            await web.until(f"/api/v1/units?scope=model%3DSU7&period=day:{hostile.TODAY}", lambda view: "lines" in view)
            await web.until("/api/v1/targets", lambda view: any(window["forecasts"] for window in view["windows"]))
            await web.until("/api/v1/status", lambda status: not status["stale"])
            yield made
        finally:
            made.web.__exit__()


async def _until_sources_were_looked_at(installation: Installation) -> None:
    """A silence that has already begun is not news."""
    give_up_s = deadline(40)
    while True:
        memory = await read_latest(installation.settings, [(installation.catalogue.totals.name, 0)])
        if any(JUDGED.encode() in key for key in memory):
            return
        assert time.monotonic() < give_up_s, installation.tails()
        await asyncio.sleep(0.2)


@pytest.fixture(scope="module")
async def visitors(site: Site) -> AsyncIterator[dict[tuple[str, str], tuple[BrowserContext, Page, Heard]]]:
    """A page for each language and each theme, which navigates from address to address."""
    made: dict[tuple[str, str], tuple[BrowserContext, Page, Heard]] = {}
    ways: list[tuple[str, Literal["light", "dark"]]] = [("en-GB", "light"), ("en-GB", "dark"), ("zh-CN", "light")]
    for locale, theme in ways:
        context = await site.browser.new_context(
            base_url=site.web.url, locale=locale, color_scheme=theme, viewport={"width": 1280, "height": 900}
        )
        await context.add_init_script(WATCH)
        page = await context.new_page()
        made[locale, theme] = context, page, Heard(page)
    yield made
    for context, _, _ in made.values():
        await context.close()


async def settled(page: Page) -> None:
    """Waits until the page is drawn and connected to its stream."""
    await page.wait_for_function("document.getElementById('s-state')?.textContent.length > 0")
    await page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


async def keep(page: Page, name: str) -> None:
    """Takes a screenshot if someone wants one (`SCREENSHOTS=folder`)."""
    if folder := os.environ.get("SCREENSHOTS"):
        await page.screenshot(path=Path(folder) / f"{name}.png")


def test_the_accessibility_checker_is_the_one_its_note_names() -> None:
    digest = hashlib.sha256(AXE.read_bytes()).hexdigest()
    assert digest in (VENDOR / "README.md").read_text()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
async def test_a_page_is_whole_safe_and_accessible_in_both_languages(
    visitors: dict[tuple[str, str], tuple[BrowserContext, Page, Heard]], name: str, theme: str
) -> None:
    """In Chinese in one theme only: themes differ in colours alone, which do not depend on the language."""
    for locale in ("en-GB", "zh-CN") if theme == "light" else ("en-GB",):
        _, page, heard = visitors[locale, theme]
        heard.faults.clear()
        await page.goto(PAGES[name])
        await settled(page)
        assert await page.get_attribute("html", "lang") == ("zh-CN" if locale == "zh-CN" else "en")
        words = await page.inner_text("main" if name.endswith("kiosk") else "nav#nav")
        assert bool(re.search(r"[\u4e00-\u9fff]", words)) == (locale == "zh-CN")
        # Unfold everything, so that folded parts are checked, too.
        await page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        assert picture_lines(await page.screenshot()) > 100
        await keep(page, f"{name}-{locale[:2]}-{theme}")
        await assert_nothing_ran(page)
        await assert_accessible(page, locale, theme)
        if name in HOSTILE_PAGES:
            assert hostile.PAYLOAD[2:20] in await page.inner_text("main"), "hostile text is shown as text"
        for command in await page.locator(".command code").all_inner_texts():
            assert hostile.PAYLOAD[2:20] not in shlex.split(command)[0]
            assert name != "alert" or shlex.split(command) == ["milestones", "explain", ALERT]
        lowest = await page.evaluate(LOWEST_PLOT)
        assert lowest is None or lowest > 60, f"a chart of {lowest} pixels"
        assert heard.faults == []


async def assert_nothing_ran(page: Page) -> None:
    """Nothing of the hostile text has become an element or run."""
    found = await page.evaluate(
        "[window.hacked, window.violations, document.querySelectorAll('img, main script, [onerror]').length]"
    )
    assert found == [0, [], 0]
    assert "{{7*7}}" not in await page.title() or "49" not in await page.title()


async def assert_accessible(page: Page, locale: str, theme: str = "light", *, phone: bool = False) -> None:
    """Runs axe, which must find no barriers.

    No colour depends on the language, nothing but colours on the theme, and nothing but sizes on both the language and the screen, so
    each rule is checked only where it may find something new.
    """
    colours, all_else = locale == "en-GB", theme == "light"
    if not colours and not all_else:
        return
    await page.evaluate(AXE.read_text())
    found = []
    if colours:
        found += await _barriers(page, KINDS_OF_TEXT, [CONTRAST])
    if phone and not colours:
        found += await _barriers(page, "document", SIZES)
    elif all_else:
        found += await _barriers(page, "document", None)
    grave = [
        f"{each['id']} ({each['impact']}): {each['help']}: {[node['html'][:200] for node in each['nodes'][:3]]}"
        for each in found
        if each["impact"] in {"serious", "critical"}
    ]
    assert grave == []


async def _barriers(page: Page, where: str, rules: list[str] | None) -> list[dict[str, Any]]:
    """What some of the rules find, or all but that about colours, in an element or a list of elements."""
    # Selectors and the texts of style sheets take half of the time, and tell no more than the elements' HTML.
    options: dict[str, Any] = {"resultTypes": ["violations"], "selectors": False, "preload": False}
    if rules is None:
        options["rules"] = {CONTRAST: {"enabled": False}}
    else:
        options["runOnly"] = {"type": "rule", "values": rules}
    found: list[dict[str, Any]] = await page.evaluate(
        f"(options) => axe.run({where}, options).then((result) => result.violations)", options
    )
    return found


async def row_times(site: Site, counts: set[int], found: dict[int, float], ready: asyncio.Event) -> None:
    """When today's rows with these counts could be read from their topic, by this machine's clock."""
    topic = site.installation.catalogue.windows.name
    async with reader(site.installation.settings) as consumer:
        tp = TopicPartition(topic, 0)
        consumer.assign([tp])
        await consumer.seek_to_end(tp)
        await consumer.position(tp)
        ready.set()
        while not counts <= found.keys():
            for records in (await consumer.getmany(timeout_ms=100)).values():
                for record in records:
                    row = orjson.loads(record.value or b"{}")
                    if f"{row.get('metric')}|{row.get('scope')}|{row.get('period')}" == TODAY_ROW:
                        found.setdefault(row["count"], time.time())


async def test_the_page_follows_the_story_live_and_a_milestone_makes_itself_noticed(site: Site) -> None:
    start = hostile.DELIVERED_TODAY
    async with site.page("/", locale="en-GB") as page:
        number = page.locator(f"main [data-row='{TODAY_ROW}']").first
        await expect(number).to_have_text(str(start))
        await page.evaluate(
            """(key) => {
                window.loaded = true; window.seen = {};
                const element = document.querySelector(`main [data-row='${key}']`);
                new MutationObserver(() => { seen[element.textContent] ??= Date.now(); })
                    .observe(element, { childList: true, characterData: true, subtree: true });
            }""",
            TODAY_ROW,
        )
        written: dict[int, float] = {}
        ready = asyncio.Event()
        wanted = set(range(start + 1, start + 4))
        async with asyncio.timeout(stretched(30)):
            watching = asyncio.create_task(row_times(site, wanted, written, ready))
            await ready.wait()
            for step in range(3):
                await hostile.send(site.installation, [hostile.delivery(1000 + step, hostile.today(17, step + 1))])
                await expect(number).to_have_text(str(start + step + 1))
            await watching
        await expect(number).to_have_text(str(start + 3))
        seen = await page.evaluate("window.seen")
        late = {
            count: round(int(seen[str(count)]) / 1000 - written[count], 3) for count in wanted if str(count) in seen
        }
        assert start + 3 in late
        assert max(late.values()) < stretched(0.5), late
        banner = page.locator("#banner")
        await expect(banner).to_be_visible()
        await expect(banner.locator(".what")).to_contain_text(str(hostile.GOAL))
        await expect(page.locator("#news")).to_contain_text("for the first time")
        assert await page.evaluate("window.loaded"), "the page was not loaded again"
        await keep(page, "now-live")


async def test_a_page_says_that_no_worker_is_left_and_when_one_is_back(site: Site) -> None:
    async with site.page("/") as page:
        await expect(page.locator("body")).to_have_class("fresh")
        worker = site.installation.workers[-1]
        worker.kill(signal.SIGTERM)
        worker.wait()
        await expect(page.locator("#s-why")).to_have_text("no worker reports", timeout=1000 * stretched(5))
        await expect(page.locator("body")).to_have_class("stale")
        await expect(page.locator("#polite")).to_contain_text("no worker reports")
        await keep(page, "now-stale")
        site.installation.worker()
        await expect(page.locator("body")).to_have_class("fresh", timeout=1000 * stretched(30))


async def test_a_page_follows_a_worker_that_is_killed_and_starts_again(site: Site) -> None:
    async with site.page("/") as page:
        number = page.locator(f"main [data-row='{TODAY_ROW}']").first
        before = int(await number.inner_text())
        await expect(page.locator("body")).to_have_class("fresh")
        worker = site.installation.workers[-1]
        worker.kill(signal.SIGKILL)
        worker.wait()
        await expect(page.locator("#s-why")).to_have_text("no worker reports", timeout=1000 * stretched(7))
        await hostile.send(site.installation, [hostile.delivery(2000, hostile.today(18))])
        site.installation.worker()
        await expect(number).to_have_text(str(before + 1), timeout=1000 * stretched(30))
        await expect(page.locator("body")).to_have_class("fresh", timeout=1000 * stretched(30))


async def test_a_page_says_within_five_seconds_that_the_web_view_is_gone_and_goes_on_when_it_is_back(
    site: Site,
) -> None:
    async with site.page("/windows") as page:
        await expect(page.locator("body")).to_have_class("fresh")
        address = site.web.url.removeprefix("http://")
        site.web.process.kill()
        site.web.process.wait(stretched(10))
        await expect(page.locator("#s-why")).to_have_text("the web view does not answer", timeout=1000 * stretched(5))
        await expect(page.locator("table#rows tbody tr").first).to_be_visible()
        site.web = site.serve("web-again.txt", address)
        await expect(page.locator("body")).to_have_class("fresh", timeout=1000 * stretched(20))


async def test_everything_is_reached_by_keyboard_and_what_has_the_focus_is_seen(site: Site) -> None:
    async with site.page("/windows") as page:
        await page.keyboard.press("Tab")
        skip = page.locator("a.skip")
        await expect(skip).to_be_focused()
        box = await skip.bounding_box()
        assert box is not None
        assert box["y"] >= 0, "the skip link comes into view"
        await page.keyboard.press("Enter")
        await expect(page.locator("main")).to_be_focused()
        await page.reload()
        names = []
        for _ in range(36):
            await page.keyboard.press("Tab")
            name, outline = await page.evaluate(
                """() => { const has = document.activeElement, style = getComputedStyle(has);
                    return [has.textContent.trim() || has.name, parseFloat(style.outlineWidth) * (style.outlineStyle !== 'none')]; }"""
            )
            names.append(name)
            assert outline >= 2, f"{name} has the focus, unseen"
        assert names[:2] == ["Skip to the content", "Milestones"]
        menu = [
            names.index(name, 2) for name in ("Now", "Calendar", "Milestones", "Windows", "Targets", "Dead letters")
        ]
        assert menu == sorted(menu), names
        assert names.index("Show") > names.index("Reconciliation"), names


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
async def test_every_page_fits_a_phone(site: Site, locale: str) -> None:
    async with site.page(viewport={"width": 360, "height": 740}, has_touch=True, locale=locale) as page:
        wide = {}
        for name, path in PAGES.items():
            await page.goto(path)
            await settled(page)
            await keep(page, f"phone-{locale[:2]}-{name}")
            await assert_accessible(page, locale, phone=True)
            await page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
            if await page.evaluate("document.documentElement.scrollWidth") > 360:
                wide[name] = await page.evaluate(STICKS_OUT)
            assert await page.evaluate(TOUCHING) == [], name
        assert wide == {}


async def test_a_person_asks_for_an_order_from_any_page_and_comes_from_a_number_to_its_units(site: Site) -> None:
    async with site.page("/targets") as page:
        await page.keyboard.press("/")
        await expect(page.locator("#q")).to_be_focused()
        await page.keyboard.type("SO-00001")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/orders/SO-00001")
        await expect(page.locator("#events tbody tr")).to_have_count(2)
        await expect(page.locator("#counts")).to_contain_text("Deliveries")
        await page.locator("#counts a[href*='/units']").last.click()
        await expect(page.locator("#units")).to_contain_text("SO-")
        await page.goto(f"/calendar/{hostile.TODAY}?scope=model%3DSU7")
        await page.locator(".units-of").click()
        count = int(await page.locator("#count").inner_text())
        await expect(page.locator("#units tbody tr")).to_have_count(count)
        await page.goto("/search?q=no-such-thing")
        await expect(page.locator("main")).to_contain_text("Nothing is called that")


async def test_tables_filter_sort_and_go_back_in_time_without_script(site: Site) -> None:
    async with site.page("/windows", java_script_enabled=False) as page:
        await page.select_option("select[name=metric]", "deliveries")
        await page.select_option("select[name=kind]", "day")
        await page.get_by_role("button", name="Show").click()
        await page.wait_for_url("**/windows?metric=deliveries&kind=day&*")
        assert "scope=" not in page.url, "what was not chosen is not in the address"
        await page.get_by_role("link", name="Count").click()
        await page.wait_for_url("**sort=-count*")
        cells = await page.locator("table#rows tbody td.num.strong").all_inner_texts()
        counts = [int(cell) for cell in cells]
        assert len(counts) > 20
        assert counts == sorted(counts, reverse=True)
        await page.fill("input[name=at]", "2024-10-01T12:00:00")
        await page.get_by_role("button", name="Show").click()
        await page.wait_for_url("**as_of=2024-10-01T12%3A00%3A00%2B08%3A00*")
        await expect(page.locator("#as-of")).to_contain_text("2024-10-01 12:00:00")
        await page.goto("/dead-letters?reason=malformed_json")
        await page.locator("details summary").first.click()
        await expect(page.locator("pre.payload").first).to_contain_text("<script>")


async def test_what_is_downloaded_is_what_is_shown(site: Site) -> None:
    async with site.page("/windows?metric=deliveries&scope=model%3DSU7&kind=month") as page:
        async with page.expect_download() as started:
            await page.get_by_role("link", name="CSV").click()
        file = await (await started.value).path()
        lines = (await asyncio.to_thread(Path(file).read_text)).splitlines()
        shown = await page.locator("table#rows tbody tr").count()
        assert len(lines) == shown + 1
        assert all(line.startswith("deliveries,model=SU7,month:") for line in lines[1:])


async def test_the_language_and_the_theme_that_were_chosen_stay(site: Site) -> None:
    async with site.page("/windows") as page:
        await page.get_by_role("link", name="中文").click()
        await expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
        await page.locator("#theme").click()
        await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        await page.goto("/targets")
        await expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
        await expect(page.locator("html")).to_have_attribute("data-theme", "dark")


async def test_a_kiosk_shows_everything_on_one_screen_and_nothing_to_click(site: Site) -> None:
    for width, height in ((1920, 1080), (1366, 768)):
        async with site.page("/?kiosk=1", viewport={"width": width, "height": height}) as page:
            await settled(page)
            await keep(page, f"kiosk-{width}")
            assert await page.locator("nav, form, button:visible").count() == 0
            size = await page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
            assert size == [width, height]


@pytest.mark.parametrize("name", ["day-kiosk", "campaign-kiosk"])
async def test_a_page_on_a_wall_fits_the_screen_and_no_card_is_cut_off(site: Site, name: str) -> None:
    for width, height in ((1920, 1080), (2560, 1440), (3840, 2160)):
        async with site.page(PAGES[name], viewport={"width": width, "height": height}) as page:
            await settled(page)
            await keep(page, f"{name}-{width}")
            size = await page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
            assert size == [width, height]
            lowest = await page.evaluate(LOWEST_CARD)
            assert lowest <= height
            assert await page.locator("main :is(form, button):visible").count() == 0


async def test_two_tabs_in_two_languages_stay_in_theirs_and_the_choice_stays_that_of_the_reader(site: Site) -> None:
    async with site.page("/windows") as page:
        other = await page.context.new_page()
        await other.goto("/?lang=zh")
        for tab, heading in ((page, "Windows"), (other, hostile.TODAY[:4])):
            await tab.bring_to_front()
            # What a script has changed is put right when the page is fetched again.
            await tab.evaluate("document.querySelector('main h1').textContent = 'old'")
            await tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
            await expect(tab.locator("main h1")).to_contain_text(heading)
        # A tab whose address has a language, after another one was chosen elsewhere.
        await page.goto("/windows?lang=en")
        await other.goto("/targets?lang=zh")
        await page.bring_to_front()
        await page.evaluate("document.querySelector('main h1').textContent = 'old'")
        await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await expect(page.locator("main h1")).to_contain_text("Windows")
        chosen = {cookie["name"]: cookie["value"] for cookie in await page.context.cookies()}
        assert chosen["lang"] == "zh"


async def test_how_long_a_campaign_has_lasted_never_stands_beside_a_count_from_much_later(site: Site) -> None:
    async with site.page(PAGES["campaign"]) as page:
        lasted = page.locator(".headline [data-elapsed]")
        await expect(lasted).to_contain_text("after ")
        before = await lasted.text_content()
        # The count follows the stream; the words come with the page, which is not answered for now.
        await page.route("**/campaigns/**", lambda route: route.abort())
        await hostile.send(site.installation, [hostile.delivery(1100, hostile.today(19, 30))])
        await expect(lasted).to_be_hidden()
        await page.unroute("**/campaigns/**")
        await hostile.send(site.installation, [hostile.delivery(1101, hostile.today(19, 31))])
        await expect(lasted).to_be_visible()
        assert await lasted.text_content() != before
