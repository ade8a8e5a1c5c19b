"""Access control: the outermost layer of the web view.

A loopback address is open to everyone on this machine. On any other address, the server only starts with a token or an authenticating
proxy. Requests must be GET or HEAD, small, for one of our host names, and not too frequent; with `web_check`, events may be posted to
be judged.
"""

from __future__ import annotations

import hashlib
import hmac
import html
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode

from starlette.types import Scope

from schemas.messages import Message
from streams.errors import ExpectedError
from streams.settings import Settings, secret
from streams.web_addresses import Network, web_address, web_proxies

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Receive, Send
    from starlette.types import Message as Sent

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS: Final = [
    (b"content-security-policy", CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
]
#: Open for an orchestrator's probes, which have no token; these paths reveal only the health of this process.
OPEN_PATHS: Final = frozenset(("/healthz", "/readyz"))
#: Files for the page that asks for the token; the same for everyone.
_OF_LOGIN: Final = frozenset(("/static/app.css", "/static/icon.svg"))
#: Where events may be posted if `web_check` is set.
CHECK_PATH: Final = "/api/v1/check"
MAX_URL_BYTES: Final = 4096
MAX_BODY_BYTES: Final = 1 << 20
MIN_TOKEN_CHARACTERS: Final = 16
_COOKIE: Final = "milestones_session"
_BURST_S: Final = 8.0
_REMEMBERED_CLIENTS: Final = 10_000


#: (request, what is wrong) → the same in the reader's language.
InLanguage = Callable[[Scope, Message], str]
#: (request, its query without a token, whether a wrong token was given) → the page that asks for it.
Login = Callable[[Scope, list[tuple[str, str]], bool], str]


@dataclass(frozen=True)
class Access:
    """Who has access.

    Attributes:
        host: The host to bind.
        port: The port to bind; 0 takes a free one.
        token: The token to present, as `Authorization: Bearer`, or once as `?token=`; empty for none.
        proxy_header: The header in which an authenticating proxy names the user; empty for none.
        proxies: The addresses of such proxies.
        hosts: Names allowed in the Host header; `None` allows any.
        checks: Whether events may be posted to be judged.
    """

    host: str
    port: int
    token: str
    proxy_header: str
    proxies: tuple[Network, ...]
    hosts: frozenset[str] | None
    checks: bool = False

    @property
    def session(self) -> str:
        """The value of the cookie, from which the token cannot be derived."""
        return hmac.new(self.token.encode(), b"milestones web session 1", hashlib.sha256).hexdigest()


def access_of(settings: Settings) -> Access:
    """The access control that the settings describe.

    Raises:
        ExpectedError: The address is invalid, or reachable from other machines and not protected.
    """
    host, port = web_address(settings)
    token = secret(settings.web_token, settings.web_token_file, "web_token")
    if (settings.web_token_file or token) and len(token) < MIN_TOKEN_CHARACTERS:
        raise ExpectedError(
            f"web_token: {len(token)} characters are too easily guessed; use at least {MIN_TOKEN_CHARACTERS}, such as from: openssl rand -hex 16"
        )
    proxies = web_proxies(settings)
    if settings.web_proxy_header and not proxies:
        raise ExpectedError(
            "web_proxy_header: anybody can send that header; name the addresses of the proxy in web_trusted_proxies"
        )
    loopback = host == "localhost" or _is_loopback(host)
    if not (loopback or token or settings.web_proxy_header):
        raise ExpectedError(
            f"web_bind: {settings.web_bind} can be reached from other machines; set web_token_file (or web_token), "
            "or web_proxy_header with web_trusted_proxies, or bind 127.0.0.1"
        )
    named = frozenset(name.strip().lower() for name in settings.web_hosts.split(",") if name.strip())
    hosts: frozenset[str] | None = named or None
    if loopback and not settings.web_proxy_header:
        hosts = named | {"localhost", "127.0.0.1", "::1", host}
    return Access(
        "127.0.0.1" if host == "localhost" else host,
        port,
        token,
        settings.web_proxy_header,
        proxies,
        hosts,
        settings.web_check,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """Passes on what `Access` allows, and adds the security headers to every response; an ASGI application.

    Args:
        app: The application behind it.
        access: Who has access.
        rate_per_s: Requests per second and client, with bursts of eight seconds' worth.
        words: Says what is wrong in the language of whoever opens a page.
        login: Makes the page that asks for the token; gets the request, its query without a token, and whether a wrong one was given.
    """

    def __init__(self, app: ASGIApp, access: Access, *, rate_per_s: float, words: InLanguage, login: Login) -> None:
        self._app = app
        self._words, self._login = words, login
        self._access = access
        self._rates = _Rates(rate_per_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request or passes it on; the response to HEAD has no body."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        head_only = scope["method"] == "HEAD"
        outgoing = _HeaderingSend(send, head_only=head_only)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await refusal.send(outgoing)
            return
        if head_only:
            scope = {**scope, "method": "GET", "milestones.head_only": True}
        await self._app(scope, receive, outgoing)

    def _refusal(self, scope: Scope, headers: Mapping[str, str]) -> _Answer | None:
        posts = self._access.checks and scope["method"] == "POST" and scope["path"] == CHECK_PATH
        if posts:
            if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
                return self._refused(scope, 403, Message("pages of other sites may not post here"))
            length = headers.get("content-length", "0")
            if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
                return self._refused(scope, 413, Message("at most %(most)s bytes at once", most=f"{MAX_BODY_BYTES:,}"))
        elif scope["method"] not in ("GET", "HEAD"):
            return self._refused(scope, 405, Message("only GET and HEAD are answered here"), [(b"allow", b"GET, HEAD")])
        if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_URL_BYTES:
            return self._refused(
                scope, 414, Message("an address has at most %(most)s bytes", most=f"{MAX_URL_BYTES:,}")
            )
        if self._access.hosts is not None and _host_name(headers.get("host", "")) not in self._access.hosts:
            return self._refused(
                scope, 421, Message("this host name is not served here; web_hosts names those that are")
            )
        if scope["path"] in OPEN_PATHS:
            return None
        wait_s = self._rates.wait_s(scope["client"][0] if scope["client"] else "")
        if wait_s:
            return self._refused(
                scope, 429, Message("too many requests"), [(b"retry-after", str(int(wait_s) + 1).encode())]
            )
        if scope["path"] in _OF_LOGIN:
            return None
        return self._unauthorised(scope, headers)

    def _unauthorised(self, scope: Scope, headers: Mapping[str, str]) -> _Answer | None:
        access = self._access
        if access.proxy_header:
            peer = scope["client"][0] if scope["client"] else ""
            if headers.get(access.proxy_header.lower(), "") and _is_within(peer, access.proxies):
                return None
        if not access.token:
            return self._refused(scope, 403, Message("ask through the proxy")) if access.proxy_header else None
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and _same(given.strip(), access.token):
            return None
        if _same(_cookie(headers.get("cookie", "")), access.session):
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        offered = [value for name, value in query if name == "token"]
        if offered and _same(offered[0], access.token):
            return _welcome(
                scope, access, self._words(scope, _GO_ON), [(name, value) for name, value in query if name != "token"]
            )
        return self._ask_for_token(scope, [pair for pair in query if pair[0] != "token"], wrong=bool(offered))

    def _refused(
        self, scope: Scope, status: int, message: Message, headers: list[tuple[bytes, bytes]] | None = None
    ) -> _Answer:
        of_api = scope["path"].startswith("/api/")
        return _Answer(status, message if of_api else self._words(scope, message), headers)

    def _ask_for_token(self, scope: Scope, query: list[tuple[str, str]], *, wrong: bool) -> _Answer:
        headers = [(b"www-authenticate", b'Bearer realm="milestones"'), (b"vary", b"cookie, accept-language")]
        if scope["path"].startswith("/api/"):
            return _Answer(401, "a token is needed: Authorization: Bearer TOKEN", headers)
        return _Answer(401, self._login(scope, query, wrong), headers, page=True)


_GO_ON: Final = Message("Go on")


def _welcome(scope: Scope, access: Access, go_on: str, query: list[tuple[str, str]]) -> _Answer:
    """Sets the session cookie and reloads the page without the token in the address.

    The page refreshes itself, because a redirect after a link from another site would be requested without the strict cookie.
    """
    path = "/" + scope["path"].lstrip("/")
    target = path + (f"?{urlencode(query)}" if query else "")
    secure = "; Secure" if scope["scheme"] == "https" else ""
    cookie = f"{_COOKIE}={access.session}; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000{secure}"
    safe = html.escape(target, quote=True)
    text = f'<p><a href="{safe}">{html.escape(go_on)}</a></p>'
    refresh = target.encode("ascii", "ignore").replace(b"\n", b"").replace(b"\r", b"")
    return _Answer(200, text, [(b"set-cookie", cookie.encode()), (b"refresh", b"0; url=" + refresh)], page=True)


class _Answer:
    """A short response."""

    def __init__(
        self, status: int, text: str, headers: list[tuple[bytes, bytes]] | None = None, *, page: bool = False
    ) -> None:
        self._status = status
        self._headers = headers or []
        document = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Milestones</title>{text}'
        whole = text if text.lstrip().startswith("<!doctype") else document
        self._body = (whole if page else f"{text}\n").encode()
        self._type = b"text/html; charset=utf-8" if page else b"text/plain; charset=utf-8"

    async def send(self, send: Send) -> None:
        headers = [
            (b"content-type", self._type),
            (b"content-length", str(len(self._body)).encode()),
            (b"cache-control", b"no-store"),
            *self._headers,
        ]
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        await send({"type": "http.response.body", "body": self._body})


class _HeaderingSend:
    """Adds the security headers; drops the body of a response to HEAD."""

    def __init__(self, send: Send, *, head_only: bool) -> None:
        self._send = send
        self._head_only = head_only

    async def __call__(self, message: Sent) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *_HEADERS]}
        elif message["type"] == "http.response.body" and self._head_only:
            message = {**message, "body": b""}
        await self._send(message)


class _Rates:
    """A token bucket per client; the least recently used are forgotten."""

    def __init__(self, rate_per_s: float) -> None:
        self._rate_per_s = rate_per_s
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, client: str) -> float:
        """Takes a token from the bucket; returns 0, or how long to wait for one."""
        now_s, full = time.monotonic(), self._rate_per_s * _BURST_S
        tokens, at_s = self._buckets.pop(client, (full, now_s))
        tokens = min(full, tokens + (now_s - at_s) * self._rate_per_s)
        self._buckets[client] = (max(tokens - 1, 0), now_s)
        if len(self._buckets) > _REMEMBERED_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if tokens >= 1 else (1 - tokens) / self._rate_per_s


def _host_name(host: str) -> str:
    """The Host header without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _is_within(peer: str, networks: tuple[Network, ...]) -> bool:
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    return any(address in network for network in networks)


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())


def _cookie(header: str) -> str:
    try:
        found = SimpleCookie(header).get(_COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""
