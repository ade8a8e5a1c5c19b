"""The pages in a real browser without brokers: what depends on the browser and on the numbers, not on who wrote them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import Browser, async_playwright, expect

from tests.support.browser import arguments, chromium
from tests.support.outputs import row
from tests.support.site import Site

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
    context.set_default_timeout(15_000)
    return context


async def test_thirty_clicks_in_one_tab_and_twelve_tabs_of_one_browser_are_all_answered(
    browser: Browser, tmp_path: Path
) -> None:
    """A browser opens six connections to a server, and each page follows a stream that has no end."""
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
                await expect(page.locator("#nav a[aria-current]")).to_have_text(name, timeout=15_000)
                assert time.monotonic() - started < 10, f"click {number}"
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
