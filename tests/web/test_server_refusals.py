"""What is said of addresses that ask for something impossible: in our own words, and in the reader's language."""

from __future__ import annotations

import asyncio
import html
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import pytest

from streams.web.readmodel import Feed
from tests.support.outputs import milestone, milestone_record, row
from tests.support.site import Site

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What a parameter or a part of a path may be by mistake.
GARBAGE = (
    "x", "NIX!", "-1", "1e999", "NaN", "9" * 30, "2024-13-45", "2024-02-30", "day:2024-02-30", "month:2024-13", "\u0661\u0662",
    "\0", "a\nb", "{}", "'\"<", "2024-10-07T10:00:00", "2024-10-07T25:00:00+08:00", "2016-12-31T23:59:60Z", "2024-10-07T10:00:00+99:00",
    "1999-01-01T00:00:00Z", "2024-10-07T10:00:00-00:00", "a" * 300, "a" * 3000, "campaign:nix", "\U0001f697", "\u202eabc", "2024-10-07",
    " ", "day:2024", "2024", "total", "total:x", "model=NIX", "holiday:!", "rolling:0d", "week:2024-W99", "1000-01-01..2999-12-31",
)  # fmt: skip
PARTS = {"day": "2024-10-07", "name": "su7-launch", "milestone_id": "nix", "order_id": "SO-1"}
REQUIRED = {"scope": "model=SU7", "period": "day:2024-10-07"}
CAMPAIGN = {"name": "su7-launch", "start": "2024-03-28T22:00:00+08:00", "end": "2024-03-29T22:00:00+08:00"}

#: Words of pydantic, of Python's parsers, of regular expressions and of the framework.
_FOREIGN = re.compile(
    r"function-|constrained|\[a-z|\[0-9|\^|\\d|must be in|out of range|isoformat|Input should|valid |Traceback|Error|Not Found|\['"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two scopes, and a campaign that is counted."""
    with Site(tmp_path_factory.mktemp("site"), campaign=[CAMPAIGN], web_check=True) as made:
        made.rows(row("day:2024-10-07", 107), row("day:2024-10-06", 90, scope="all"))
        made.read(Feed.MILESTONES, milestone_record(milestone("deliveries/model=SU7/day:2024-10-07/exceeds:100")))
        made.web.orders.knows_campaigns = True
        yield made


async def addresses(site: Site) -> list[str]:
    """The paths of the document with each kind of garbage in each of their parameters; a parameter of several paths is tried once."""
    found, tried = [], set()
    for path, item in (await site.get("/api/v1/openapi.json")).json()["paths"].items():
        if "get" not in item or path.endswith("/stream"):
            continue
        parameters = item["get"].get("parameters", [])
        whole = re.sub(r"\{(\w+)\}", lambda part: PARTS[part[1]], path)
        needed = {
            each["name"]: REQUIRED[each["name"]] for each in parameters if each["required"] and each["in"] == "query"
        }
        for each in parameters:
            if (kind := f"{each['name']} {each['schema']}") in tried:
                continue
            tried.add(kind)
            for text in GARBAGE:
                if each["in"] == "path":
                    found.append(path.replace(f"{{{each['name']}}}", quote(text, safe="")))
                elif each["in"] == "query":
                    found.append(f"{whole}?{urlencode(needed | {each['name']: text})}")
    return found


def without_values(text: str) -> str:
    """What is said, without the values that it is said of."""
    return re.sub(r"'[^']*'", "", text)


@pytest.fixture(scope="module")
async def refusals(site: Site) -> dict[str, str]:
    """Everything that is said of garbage → an address of which it is said."""
    found: dict[str, str] = {}
    for path in await addresses(site):
        answer = await site.get(path)
        if answer.status_code >= 400:
            assert answer.status_code in {404, 422, 503}, path
            found.setdefault(without_values(answer.json()["detail"]), path)
    return found


def test_no_refusal_is_in_the_words_of_a_library_or_shows_a_pattern(refusals: dict[str, str]) -> None:
    assert len(refusals) > 60
    for detail, path in refusals.items():
        assert not _FOREIGN.search(detail), (path, detail)
        assert len(detail.splitlines()) == 1, (path, detail)


async def test_the_document_says_how_refusals_look(site: Site) -> None:
    document = (await site.get("/api/v1/openapi.json")).json()
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert set(document["components"]["schemas"]["Problem"]["properties"]) == {"detail", "parameter"}


async def test_the_page_about_the_api_shows_how_events_are_judged_where_they_are(site: Site) -> None:
    page = await site.get("/api")
    assert page.status_code == 200
    assert re.search(r">POST</span> <code[^>]*>/api/v1/check<", page.text)
    assert 'href="/api/v1/check"' not in page.text


async def test_what_is_wrong_is_told_to_chinese_readers_in_chinese(site: Site, refusals: dict[str, str]) -> None:
    told = 0
    for path in refusals.values():
        page = path.removeprefix("/api/v1").replace("/now", "/")
        answer = await site.get(page, accept_language="zh-CN")
        if answer.status_code < 400 or "html" not in answer.headers["content-type"]:
            continue
        found = re.search(r'<p class="break"><span class="muted">\d+</span> <span>(.*?)</span></p>', answer.text)
        assert found is not None, (page, answer.text)
        line = without_values(html.unescape(found[1]))
        assert re.search("[\u4e00-\u9fff]", line), (page, line)
        # Names of settings, windows and examples stay; there is no sentence of English in between.
        assert not re.search(r"[a-z]{2,} [a-z]{2,}", line), (page, line)
        told += 1
    assert told > 40


@pytest.mark.parametrize(
    ("path", "english", "chinese"),
    [
        (
            "/windows?first=2024-13-01",
            "first: '2024-13-01' is no date; write YYYY-MM-DD, such as 2024-10-07",
            "first\uff1a'2024-13-01' 不是日期\uff1b请写 YYYY-MM-DD\uff0c例如 2024-10-07",
        ),
        (
            "/campaigns/NIX!",
            "there is no campaign 'NIX!'; known are su7-launch",
            "没有活动 'NIX!'\uff1b已知的有 su7-launch",
        ),
        (
            "/windows?scope=model%3DSU8",
            "there is no scope 'model=SU8'; did you mean model=SU7? Known are all, model=SU7",
            "没有范围 'model=SU8'\uff1b您要找的是 model=SU7 吗\uff1f已知的有 all, model=SU7",
        ),
        ("/nowhere", "there is no such page", "没有这个页面"),
    ],
)
async def test_the_same_is_said_in_both_languages(site: Site, path: str, english: str, chinese: str) -> None:
    assert english in html.unescape((await site.get(path, accept_language="en")).text)
    assert chinese in html.unescape((await site.get(path, accept_language="zh")).text)


@pytest.mark.parametrize("accepted", ["en", "zh"])
async def test_a_refusal_at_the_door_is_in_the_readers_language_too(site: Site, accepted: str) -> None:
    for path, code in (("/?x=" + "a" * 5000, 414), ("/", 421)):
        headers = {"accept_language": accepted} | ({"host": "elsewhere.example"} if code == 421 else {})
        answer = await site.get(path, **headers)
        assert answer.status_code == code
        assert bool(re.search("[\u4e00-\u9fff]", answer.text)) == (accepted == "zh"), answer.text
    # Programs get the same from all machines.
    assert "an address has at most" in (await site.get("/api/v1/now?x=" + "a" * 5000, accept_language="zh")).text


#: Everything that takes the beginning of a period, apart from the stream, which may wait for one.
_OF_PERIODS = ("/windows", "/windows.csv", "/windows.ndjson", "/targets")


@pytest.mark.parametrize("path", _OF_PERIODS)
@pytest.mark.parametrize(
    ("period", "detail"),
    [
        ("campaign:nix", "there is no campaign 'nix'; known are su7-launch"),
        ("rolling:7d", "rolling is not among the windows of the settings; write "),
        ("holiday:qingming:2024", "'holiday:qingming:2024': qingming is not among the holidays of the settings"),
    ],
)
async def test_a_period_that_is_not_counted_is_not_an_empty_list(
    site: Site, path: str, period: str, detail: str
) -> None:
    answer = await site.get(f"/api/v1{path}?period={quote(period)}")
    assert answer.status_code == 404
    told: dict[str, Any] = answer.json()
    assert told["detail"].startswith(detail)
    assert told["parameter"] == "period"


@pytest.mark.parametrize("path", _OF_PERIODS)
@pytest.mark.parametrize("period", ["campaign:su7", "campaign:", "month:2031-01", "day:2024-10-08", "camp"])
async def test_one_that_has_no_rows_yet_is_empty(site: Site, path: str, period: str) -> None:
    assert (await site.get(f"/api/v1{path}?period={quote(period)}")).status_code == 200


async def test_where_it_is_not_known_which_campaigns_are_announced_none_is_refused(site: Site) -> None:
    site.web.orders.knows_campaigns = False
    try:
        assert (await site.get("/api/v1/windows?period=campaign:nix")).status_code == 200
    finally:
        site.web.orders.knows_campaigns = True


@pytest.mark.parametrize("query", ["metric=nix", "period=nix:1", "metric=deliveries&metric=nix"])
async def test_a_stream_of_what_cannot_be_is_refused(site: Site, query: str) -> None:
    answer = await asyncio.wait_for(site.get(f"/api/v1/stream?{query}"), 5)
    assert answer.status_code == 422
