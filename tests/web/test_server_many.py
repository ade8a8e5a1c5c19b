"""Thousands of scopes: pages stay small, scopes are searched for, and regions are ranked side by side."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from playwright.async_api import async_playwright

from streams.cli import windows
from streams.cli.webview import limits_of_web_view, rows_of_web_view
from streams.errors import ExpectedError
from streams.settings import Settings
from tests.support.browser import Heard, arguments, chromium
from tests.support.outputs import row
from tests.support.site import Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TODAY = "2024-10-07"
MODELS = [f"M{number}" for number in range(20)]
REGIONS = [f"CN-{number}" for number in range(60)]
RULE = {"name": "r", "metric": "deliveries", "window": "day", "scope": ["model"], "exceeds": 5}
#: The largest page allowed, bytes; a year has a cell for each of its days.
LIGHT, YEAR = 100_000, 150_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Models by regions."""
    pairs = [f"model={model},region={region}" for model in MODELS for region in REGIONS]
    named = ["all", *(f"model={model}" for model in MODELS), *(f"region={region}" for region in REGIONS), *pairs]
    with Site(tmp_path_factory.mktemp("many"), clock="events", rule=[RULE]) as made:
        made.rows(
            *(row(f"day:{TODAY}", 1 + number % 7, scope=scope) for number, scope in enumerate(named)),
            *(row("month:2024-10", 10 + number % 90, scope=scope) for number, scope in enumerate(named)),
            *(row("month:2024-09", 50, scope=scope) for scope in named[:81]),
            *(row("year:2024", 900 if scope == "model=M7" else 100, scope=scope) for scope in named[:81]),
        )
        yield made


@pytest.mark.parametrize("path", ["/", "/calendar", f"/calendar/{TODAY}", "/windows", "/milestones", "/targets"])
async def test_a_page_stays_small_whatever_the_number_of_scopes(site: Site, path: str) -> None:
    page = await site.get(path)
    assert page.status_code == 200
    assert len(page.content) < (YEAR if path == "/calendar" else LIGHT)
    twin = await site.get(f"/api/v1/{'now' if path == '/' else path.lstrip('/')}?")
    assert len(twin.json().get("scopes", [])) <= 60


async def test_the_scope_that_a_rule_speaks_of_is_shown_first_then_all(site: Site, tmp_path: Path) -> None:
    shown = (await site.get("/api/v1/now")).json()
    assert (shown["scope"], shown["scopes"][:2]) == ("model=M7", ["model=M7", "all"])
    assert shown["scope_count"] == 1281
    with Site(tmp_path, clock="events") as other:
        other.rows(row(f"day:{TODAY}", 1, scope="region=CN-1"), row(f"day:{TODAY}", 1, scope="all"))
        assert (await other.get("/api/v1/now")).json()["scope"] == "all"


async def test_scopes_are_searched_for_by_the_server(site: Site) -> None:
    answer = (await site.get("/api/v1/scopes?search=m7 cn-11")).json()
    assert answer["scopes"] == [{"scope": "model=M7,region=CN-11", "names": ["M7", "CN-11"]}]
    assert answer["total"] == 1281
    assert (await site.get("/api/v1/scopes?search=nothing")).json()["scopes"] == []
    assert len((await site.get("/api/v1/scopes?limit=5")).json()["scopes"]) == 5


async def test_without_a_script_words_lead_to_the_only_scope_or_to_a_choice(site: Site) -> None:
    only = await site.get("/windows?metric=deliveries&scope=m7+cn-11")
    assert only.status_code == 303
    assert only.headers["location"] == "/windows?metric=deliveries&scope=model%3DM7%2Cregion%3DCN-11"
    several = await site.get("/calendar?year=2024&scope=cn-11")
    assert several.status_code == 200
    links = re.findall(r'<li><a href="([^"]*)"><b>', several.text)
    assert links[0] == "/calendar?year=2024&amp;scope=region%3DCN-11"
    assert len(links) == 21
    none = await site.get("/?scope=nothing")
    assert none.status_code == 404
    assert "and 1,273 more" in none.text
    assert (await site.get("/api/v1/now?scope=cn-11")).status_code == 404, "a program is told that there is none"


async def test_many_regions_are_a_ranking_of_one_period(site: Site) -> None:
    view = (await site.get("/api/v1/windows/side-by-side?dimension=region")).json()
    ranking = view["ranking"]
    assert (ranking["period"], ranking["before"], len(ranking["rows"])) == ("month:2024-10", "month:2024-09", 60)
    counts = [each["count"] for each in ranking["rows"]]
    assert counts == sorted(counts, reverse=True)
    assert {each["before"] for each in ranking["rows"]} == {50}
    assert view["withins"][0] == "model=M0"
    page = await site.get("/windows/side-by-side?dimension=region&sort=name")
    names = re.findall(r'<th scope="row" class="name"><a href="[^"]*">([^<]*)</a>', page.text)
    assert names == REGIONS, "numbers in names are ordered by their values"
    assert len(page.content) < LIGHT
    within = (await site.get("/api/v1/windows/side-by-side?dimension=region&within=model=M3")).json()
    assert {each.partition(",")[0] for each in within["scopes"]} == {"model=M3"}
    assert len(within["names"]) == 60
    earlier = (await site.get("/api/v1/windows/side-by-side?dimension=region&period=month:2024-09")).json()
    assert earlier["ranking"]["period"] == "month:2024-09"


async def test_the_command_line_asks_a_web_view_of_the_same_installation(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.served() as base:
        address = base.removeprefix("http://")
        settings = Settings(web_bind=address)

        async def asked(given: Settings, limit: int | None = None, **wanted: str) -> Any:
            return await asyncio.to_thread(rows_of_web_view, given, wanted, limit)

        found = await asked(settings, scope="model=M7", limit=3)
        assert (found.matching, len(found.values), found.are_any) == (4, 3, True)
        assert [value.partition(b'"period":"')[2][:9] for value in found.values] == [
            b"year:2024",
            b"month:202",
            b"month:202",
        ]
        assert len((await asked(settings, metric="deliveries")).values) == 2724
        assert len((await asked(settings, metric="deliveries", limit=1500)).values) == 1500
        with pytest.raises(ExpectedError, match="did you mean model=M7"):
            await asked(settings, scope="M7")
        assert await asked(Settings(web_bind=address, output_prefix="other.")) is None
        assert await asked(Settings(web_bind="127.0.0.1:1")) is None

        monkeypatch.setenv("MILESTONES_WEB_BIND", address)
        monkeypatch.chdir(tmp_path)
        done = await asyncio.to_thread(
            CliRunner().invoke, windows.command, ["--scope", "region=CN-3", "--period", "month:", "--json"]
        )
        assert (done.exit_code, len(done.stdout.splitlines())) == (0, 2)


async def test_a_scope_is_found_while_typing(site: Site) -> None:
    async with site.served() as base, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=arguments())
        page = await browser.new_page(base_url=base)
        heard = Heard(page)
        await page.goto("/")
        field = page.get_by_role("combobox", name="Scope")
        await field.fill("m3 cn-44")
        await page.locator('#scope-list option[value="model=M3,region=CN-44"]').wait_for(state="attached")
        await field.fill("model=M3,region=CN-44")
        await field.press("Enter")
        await page.wait_for_url("**/?scope=model%3DM3%2Cregion%3DCN-44")
        await page.goto("/windows?limit=100")
        first = await page.locator("#rows tbody tr").first.inner_text()
        await page.get_by_role("link", name="Next").click()
        await page.wait_for_url("**after=**")
        assert await page.locator("#rows tbody tr").first.inner_text() != first
        await page.get_by_role("link", name="Previous").click()
        await page.wait_for_url("**before=**")
        assert await page.locator("#rows tbody tr").first.inner_text() == first
        assert heard.faults == []
        await browser.close()


async def test_a_limit_that_is_nearly_reached_is_said_on_every_page_and_by_the_doctor(tmp_path: Path) -> None:
    with Site(tmp_path, clock="events", limits={"values": 2, "scopes": 100}) as site:
        assert (await site.get("/api/v1/status")).json()["limits"] == [], "nothing is known before everything was read"
        site.rows(*(row(f"day:{TODAY}", 1, scope=scope) for scope in ("all", "model=A", "model=B", "region=N")))
        status = (await site.get("/api/v1/status")).json()
        assert status["limits"] == [{"what": "model", "used": 2, "limit": 2}]
        assert re.search(r'id="s-limits"[^>]*>\s*Model 2 / 2<', (await site.get("/targets")).text)
        assert "车型 2 / 2" in (await site.get("/targets?lang=zh")).text
        async with site.served() as base:
            settings = Settings(web_bind=base.removeprefix("http://"))
            (use,) = await asyncio.to_thread(limits_of_web_view, settings) or []
            assert use.line() == "2 values of model are 100% of the limit of 2"


async def test_units_of_values_that_are_not_listed_have_a_name_in_both_languages(tmp_path: Path) -> None:
    with Site(tmp_path, clock="events") as site:
        site.rows(row(f"day:{TODAY}", 1, scope="model=SU7,region=other"))
        assert "SU7, other" in (await site.get("/windows")).text
        assert "SU7, 其他" in (await site.get("/windows?lang=zh")).text
