"""Events judged over HTTP, and names that are likely slips."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from streams.events.checking import EventChecker
from streams.settings import Settings
from tests.support.outputs import row
from tests.support.site import Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHECK = "/api/v1/check"
TOKEN = "0123456789abcdef0123456789abcdef"
GOOD = {
    "specversion": "1.0", "id": "1", "source": "/s", "type": "order.placed.v1", "time": "2024-10-07T14:03:11+0800",
    "data": {"order_id": " SO-1", "model": "SU7"},
}  # fmt: skip
BAD = GOOD | {"time": "2024-10-07T14:03:11"}
LINES = b"\n".join(json.dumps(event).encode() for event in (GOOD, BAD))


def asked(site: Site) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(site.app.asgi), base_url="http://127.0.0.1:8080")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("site"), web_check=True) as made:
        yield made


async def test_posted_events_get_the_verdicts_of_the_command_line(site: Site) -> None:
    async with asked(site) as client:
        answer = await client.post(CHECK, content=LINES)
        told = answer.json()
        assert (answer.status_code, told["accepted"], told["rejected"]) == (200, 1, 1)
        assert told["verdicts"] == [verdict.document() for verdict in EventChecker(Settings()).check(LINES)]
        assert told["verdicts"][0]["event"]["data"]["order_id"] == "SO-1"
        elsewhere = await client.post(f"{CHECK}?topic=vehicle.deliveries.v1", content=json.dumps(GOOD))
        assert elsewhere.json()["verdicts"][0]["reason"] == "wrong_topic"
        record = {"key": "SO-1", "headers": {"ce_specversion": "1.0"}, "value": "{}"}
        assert (await client.post(CHECK, content=json.dumps(record))).json()["rejected"] == 1


@pytest.mark.parametrize(
    ("content", "query", "code", "said"),
    [
        (b"", "", 422, "no events"),
        (LINES, "?topic=nix", 422, "no topic nix is read"),
        (LINES, "?topics=nix", 422, "did you mean topic?"),
        (b"[" + b"1," * 600_000 + b"1]", "", 413, "at most 1,048,576 bytes"),
        (b"{}\n" * 1_001, "", 413, "1,001 events; at most 1,000"),
    ],
)
async def test_too_much_and_nothing_are_refused_in_one_line(
    site: Site, content: bytes, query: str, code: int, said: str
) -> None:
    async with asked(site) as client:
        answer = await client.post(CHECK + query, content=content)
        assert (answer.status_code, said in answer.text) == (code, True), answer.text


async def test_a_body_without_a_length_is_cut_off_and_what_is_compressed_is_not_unpacked(site: Site) -> None:
    async def endless() -> Any:
        for _ in range(100):
            yield b" " * 65_536

    async with asked(site) as client:
        assert (await client.post(CHECK, content=endless())).status_code == 413
        packer = zlib.compressobj(wbits=31)
        packed = packer.compress(b"{}\n" * 1_000_000) + packer.flush()
        assert (await client.post(CHECK, content=packed)).json()["verdicts"][0]["reason"] == "compressed"


async def test_pages_of_other_sites_may_not_post_and_nothing_else_may_be_posted(site: Site) -> None:
    async with asked(site) as client:
        foreign = await client.post(CHECK, content=LINES, headers={"sec-fetch-site": "cross-site"})
        assert foreign.status_code == 403
        assert (await client.post("/api/v1/now", content=LINES)).status_code == 405
        assert (await client.put(CHECK, content=LINES)).status_code == 405
        assert "post" in (await client.get("/api/v1/openapi.json")).json()["paths"]["/api/v1/check"]


async def test_it_is_there_only_where_the_settings_allow_it_and_with_the_token(tmp_path: Path) -> None:
    with Site(tmp_path / "off") as closed:
        async with asked(closed) as client:
            assert (await client.post(CHECK, content=LINES)).status_code == 405
    with Site(tmp_path / "token", web_check=True, web_bind="0.0.0.0:80", web_token=TOKEN) as guarded:
        async with asked(guarded) as client:
            assert (await client.post(CHECK, content=LINES)).status_code == 401
            bearer = {"authorization": f"Bearer {TOKEN}"}
            assert (await client.post(CHECK, content=LINES, headers=bearer)).status_code == 200


async def test_names_that_are_likely_slips_are_among_the_violations(tmp_path: Path) -> None:
    rows = [row("year:2024", count, scope=f"model={name}") for name, count in (("SU7", 90), ("su7", 2), ("YU7", 4))]
    with Site(tmp_path / "a") as site:
        site.rows(*rows)
        (slip,) = (await site.get("/api/v1/violations")).json()["slips"]
        assert (slip["name"], slip["like"], slip["units"]) == ("su7", "SU7", 2)
        assert slip["alias"] == '[alias.model] "su7" = "SU7"'
        assert "likely slips" in (await site.get("/violations")).text
        assert "疑似误写的名称" in (await site.get("/violations?lang=zh")).text
    with Site(tmp_path / "b", alias={"model": {"su7": "SU7"}}) as site:
        site.rows(*rows)
        assert (await site.get("/api/v1/violations")).json()["slips"] == []
        assert "likely slips" not in (await site.get("/violations")).text
