"""Access to the web view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from streams.errors import ExpectedError
from streams.settings import Settings
from streams.web.app import FOLDER
from streams.web.assets import Assets
from streams.web.rendering import Pages
from streams.web.security import Guard, access_of

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "0123456789abcdef0123456789abcdef"


async def inner(scope: Any, _receive: Any, send: Any) -> None:
    """The guarded application, whose answer shows that it was reached."""
    body = f"inside {scope['method']} {scope['path']}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})


def client(
    *, peer: str = "127.0.0.1", base: str = "http://127.0.0.1:8080", rate: float = 1000.0, **settings: Any
) -> httpx.AsyncClient:
    pages = Pages(FOLDER, Assets(FOLDER / "static"))
    guard = Guard(inner, access_of(Settings(**settings)), rate_per_s=rate, words=pages.words, login=pages.login)
    return httpx.AsyncClient(transport=httpx.ASGITransport(guard, client=(peer, 4711)), base_url=base)


@pytest.mark.parametrize("bind", ["127.0.0.1:0", "localhost:8080", "[::1]:8080", "127.9.9.9:1"])
def test_a_loopback_address_needs_nothing(bind: str) -> None:
    assert access_of(Settings(web_bind=bind)).token == ""


@pytest.mark.parametrize("bind", ["0.0.0.0:8080", "[::]:8080", "192.168.1.5:80", "example.com:80"])
def test_any_other_address_needs_a_token_or_a_proxy(bind: str) -> None:
    with pytest.raises(ExpectedError, match="can be reached from other machines") as raised:
        access_of(Settings(web_bind=bind))
    assert raised.value.exit_code == 2
    assert access_of(Settings(web_bind=bind, web_token=TOKEN)).token == TOKEN
    guarded = Settings(web_bind=bind, web_proxy_header="X-User", web_trusted_proxies="10.0.0.0/8, ::1")
    assert len(access_of(guarded).proxies) == 2


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"web_bind": "8080"}, "is no address"),
        ({"web_bind": "127.0.0.1:99999"}, "is no address"),
        ({"web_bind": "::1:80"}, "is no address"),
        ({"web_token": "short"}, "too easily guessed"),
        ({"web_proxy_header": "X-User"}, "anybody can send that header"),
        ({"web_trusted_proxies": "proxy.local"}, "web_trusted_proxies"),
    ],
)
def test_settings_that_guard_nothing_are_refused(settings: dict[str, str], line: str) -> None:
    with pytest.raises(ExpectedError, match=line):
        access_of(Settings(**settings))  # type: ignore[arg-type] # all of them are texts


def test_an_empty_token_file_guards_nothing(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    with pytest.raises(ExpectedError, match="too easily guessed"):
        access_of(Settings(web_bind="0.0.0.0:80", web_token_file=str(tmp_path / "token")))


async def test_every_answer_has_the_security_headers() -> None:
    async with client() as asked:
        for answer in (await asked.get("/"), await asked.post("/"), await asked.get("/", headers={"host": "evil"})):
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
async def test_only_get_and_head_are_answered(method: str) -> None:
    async with client() as asked:
        answer = await asked.request(method, "/")
        assert answer.status_code == 405
        assert answer.headers["allow"] == "GET, HEAD"


async def test_of_a_head_only_the_head_is_answered() -> None:
    async with client() as asked:
        answer = await asked.head("/x")
        assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "LOCALHOST", "[::1]:8080"])
async def test_names_of_this_machine_are_served(host: str) -> None:
    async with client() as asked:
        assert (await asked.get("/", headers={"host": host})).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil:8080"])
async def test_a_name_that_was_made_to_point_here_is_not(host: str) -> None:
    async with client() as asked:
        assert (await asked.get("/", headers={"host": host})).status_code == 421


async def test_names_can_be_given() -> None:
    async with client(web_hosts="Board.Example, other") as asked:
        assert (await asked.get("/", headers={"host": "board.example:80"})).status_code == 200


async def test_a_long_address_is_refused() -> None:
    async with client() as asked:
        assert (await asked.get("/?a=" + "x" * 4000)).status_code == 200
        assert (await asked.get("/?a=" + "x" * 4200)).status_code == 414


async def test_without_the_token_there_is_a_form_and_with_it_a_session() -> None:
    async with client(web_bind="0.0.0.0:80", web_token=TOKEN, base="http://board") as asked:
        refused = await asked.get("/windows")
        assert refused.status_code == 401
        assert 'type="password"' in refused.text
        assert (await asked.get("/?token=wrong")).status_code == 401
        welcome = await asked.get(f"/windows?kind=day&token={TOKEN}")
        assert welcome.status_code == 200
        assert welcome.headers["refresh"] == "0; url=/windows?kind=day"
        cookie = welcome.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert TOKEN not in cookie
        assert TOKEN not in welcome.text
        assert (await asked.get("/windows")).text == "inside GET /windows"


async def test_the_form_speaks_the_language_of_its_reader_and_says_when_a_token_is_wrong() -> None:
    async with client(web_bind="0.0.0.0:80", web_token=TOKEN, base="http://board") as asked:
        english = (await asked.get("/windows?kind=day&x=%22%3E%3Cscript%3E")).text
        assert "These pages need a token." in english
        assert '<input type="hidden" name="kind" value="day">' in english
        assert "<script" not in english
        assert "This is not the token." not in english
        chinese = (await asked.get("/?token=wrong", headers={"accept-language": "zh-CN"})).text
        assert '<html lang="zh-CN"' in chinese
        assert "\u4ee4\u724c\u4e0d\u6b63\u786e" in chinese
        for path, code in (("/static/app.css", 200), ("/static/icon.svg", 200), ("/static/app.js", 401)):
            assert (await asked.get(path)).status_code == code


async def test_programs_present_the_token_in_a_header() -> None:
    async with client(web_bind="0.0.0.0:80", web_token=TOKEN, base="http://board") as asked:
        assert (await asked.get("/api/v1/now", headers={"authorization": f"Bearer {TOKEN}"})).status_code == 200
        refused = await asked.get("/api/v1/now", headers={"authorization": f"Bearer {TOKEN}x"})
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Bearer")
        assert (await asked.get("/metrics")).status_code == 401
        assert (await asked.get("/healthz")).status_code == 200


async def test_a_session_cannot_lead_to_another_site() -> None:
    async with client(web_bind="0.0.0.0:80", web_token=TOKEN, base="http://board") as asked:
        answer = await asked.get(f"//evil.example/%0d%0aset-cookie:x=1?token={TOKEN}&a=%22%3E%3Cscript%3E")
        assert answer.headers["refresh"].startswith("0; url=/")
        assert not answer.headers["refresh"].startswith("0; url=//")
        assert "<script>" not in answer.text
        assert answer.headers.get_list("set-cookie")[0].startswith("milestones_session=")
        assert len(answer.headers.get_list("set-cookie")) == 1


async def test_the_header_of_a_proxy_counts_only_from_the_proxy() -> None:
    proxy: dict[str, Any] = {
        "web_bind": "0.0.0.0:80",
        "web_proxy_header": "X-User",
        "web_trusted_proxies": "10.0.0.0/8",
    }
    async with client(peer="10.1.2.3", base="http://board", **proxy) as asked:
        assert (await asked.get("/", headers={"x-user": "li"})).status_code == 200
        assert (await asked.get("/")).status_code == 403
    async with client(peer="192.168.0.9", base="http://board", **proxy) as asked:
        assert (await asked.get("/", headers={"x-user": "li"})).status_code == 403


async def test_a_client_that_asks_too_often_is_told_to_wait() -> None:
    async with client(rate=1.0) as asked:
        codes = [(await asked.get("/")).status_code for _ in range(12)]
        assert codes[:8] == [200] * 8
        assert codes[-1] == 429
        assert (await asked.get("/healthz")).status_code == 200
