"""Gets rows from a web view that runs on this machine, since it has already read the topics."""

from __future__ import annotations

import contextlib
import http.client
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode

from streams.domain.scopes.limit_usage import LimitUse
from streams.errors import ExpectedError
from streams.settings import installation_digest, secret
from streams.web_addresses import web_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from streams.settings import Settings

#: Long enough for another process on the same machine.
_CONNECT_S: Final = 0.5
_ANSWER_S: Final = 20.0
_PAGE: Final = 1000
_EVERYWHERE: Final = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not bound


class WebRows(NamedTuple):
    """Rows as JSON as on the topic, by key; how many match; and whether there are any at all."""

    values: list[bytes]
    matching: int
    are_any: bool


class _NoAnswerError(Exception):
    """There is no web view of this installation that has read everything."""


_FAILURES: Final = (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, _NoAnswerError)


def rows_of_web_view(settings: Settings, wanted: Mapping[str, str], limit: int | None) -> WebRows | None:
    """The rows that a web view of this installation has.

    Args:
        settings: The settings of the installation; `web_bind` says where the web view would be.
        wanted: Parameters of `/api/v1/windows`: `metric`, `scope`, `period`.
        limit: Maximum number of rows; `None` for all.

    Returns:
        `None` if no web view runs, if it is another installation's, or if it has not read everything.

    Raises:
        ExpectedError: There is no such scope or period, exit code 2.
    """
    try:
        return _asked(settings, wanted, limit)
    except _FAILURES:
        return None


def limits_of_web_view(settings: Settings) -> list[LimitUse] | None:
    """The limits that are nearly reached, from a web view of this installation; `None` if none is running or has read everything."""
    try:
        with _connected(settings) as (_, status):
            return [LimitUse(each["what"], each["used"], each["limit"]) for each in status["limits"]]
    except _FAILURES:
        return None


def _asked(settings: Settings, wanted: Mapping[str, str], limit: int | None) -> WebRows:
    with _connected(settings) as (ask, _):
        return _rows(ask, wanted, limit)


@contextlib.contextmanager
def _connected(settings: Settings) -> Iterator[tuple[Callable[..., http.client.HTTPResponse], dict[str, Any]]]:
    """A function that queries a web view with complete data of this installation, and the web view's status."""
    host, port = web_address(settings)
    if not port:
        raise _NoAnswerError
    connection = http.client.HTTPConnection("127.0.0.1" if host in _EVERYWHERE else host, port, timeout=_CONNECT_S)
    token = secret(settings.web_token, settings.web_token_file, "web_token")
    headers = {"authorization": f"Bearer {token}"} if token else {}

    def ask(path: str, **query: object) -> http.client.HTTPResponse:
        connection.request("GET", f"/api/v1/{path}?{urlencode(query)}", headers=headers)
        response = connection.getresponse()
        if response.status == http.client.NOT_FOUND:
            refused = json.loads(response.read())
            raise ExpectedError(f"--{refused['parameter']}: {refused['detail']}")
        if response.status != http.client.OK:
            raise _NoAnswerError
        return response

    try:
        connection.connect()
        # Found; from now on it may take longer.
        connection.sock.settimeout(_ANSWER_S)
        status = json.loads(ask("status").read())
        reader = status["reader"]
        up_to_date = reader["rebuilt"] and not reader["lag_records"] and status["broker"]["reachable"]
        if status["installation"] != installation_digest(settings) or not up_to_date:
            raise _NoAnswerError
        yield ask, status
    finally:
        connection.close()


def _rows(ask: Callable[..., http.client.HTTPResponse], wanted: Mapping[str, str], limit: int | None) -> WebRows:
    first = json.loads(ask("windows", sort="key", limit=min(limit or 1, _PAGE), **wanted).read())
    total = first["total"]
    if limit is not None and limit <= _PAGE:
        values = [_text(row) for row in first["rows"]]
    else:
        values = list(_lines(ask("windows.ndjson", sort="key", **wanted), limit))
    return WebRows(values, total, are_any=bool(total or first["scope_count"]))


def _lines(response: http.client.HTTPResponse, limit: int | None) -> Iterator[bytes]:
    for number, line in enumerate(response):
        if number == limit:
            return
        yield line.rstrip(b"\n")


def _text(row: dict[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()
