"""Connections that are replaced before the broker ends their session, notice when a token is refused, and count what quotas cost.

A broker may limit how long an authentication is valid (`connections.max.reauth.ms`, or a token's lifetime). It then closes the
connection at the next request, even within a transaction. aiokafka does not reauthenticate, so from a little earlier on a
connection takes no more requests: the next request opens a new one, which reads the token or password again, and the old one
is closed once its last answer is there.
"""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiokafka.client
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import (
    CoordinatorNotAvailableError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.admin import (
    SaslAuthenticateRequest,
    SaslAuthenticateResponse_v0,
    SaslAuthenticateResponse_v1,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: Share of a session after which its connection takes no more requests, and how often to check whether all are answered.
_RENEWED_AFTER = 0.8
_LOOK_S = 0.02


@dataclass
class Throttling:
    """How long the cluster's quotas have held up the requests of this process.

    Attributes:
        seconds: In all. Requests on several connections are held up side by side, so it can grow faster than time passes.
        until_s: Until when a broker does not answer, by `time.monotonic`.
    """

    seconds: float = 0.0
    until_s: float = 0.0


throttling = Throttling()


class Connection(AIOKafkaConnection):
    """aiokafka's connection, replaced before its session ends.

    Attributes:
        client: The client that opened it, if any.
    """

    client: AIOKafkaClient | None = None
    _renewed_at_s = math.inf
    _patience_s: float | None = None  # for an answer, once quotas have held up one
    _held_until_s = 0.0
    _renewal: asyncio.TimerHandle | None = None

    def connected(self) -> bool:
        """Whether it takes requests; if not, a client opens another."""
        # Checked here too, because a stalled event loop may write before it runs the timers that are due.
        return bool(super().connected()) and self._loop.time() < self._renewed_at_s

    def send(self, request: Any, expect_response: bool = True) -> Awaitable[Any]:  # noqa: FBT001, FBT002 - aiokafka's signature
        """Sends a request; returns an awaitable for its answer."""
        if self._patience_s is not None:
            self._request_timeout = self._patience_s + max(0.0, self._held_until_s - time.monotonic())
        answer: Awaitable[Any] = super().send(request, expect_response)
        return self._authenticated(answer) if isinstance(request, SaslAuthenticateRequest) else answer

    def _handle_frame(self, resp: bytes) -> None:
        answer = self._requests[0][2]
        super()._handle_frame(resp)
        if answer.done() and not answer.cancelled() and answer.exception() is None:
            held_ms = getattr(answer.result(), "throttle_time_ms", 0)
            if held_ms > 0:
                self._hold(held_ms / 1000)

    def _hold(self, seconds: float) -> None:
        """Notes that the broker does not read from this connection for a while."""
        if self._patience_s is None:
            self._patience_s = self._request_timeout
        self._held_until_s = time.monotonic() + seconds
        throttling.seconds += seconds
        throttling.until_s = max(throttling.until_s, self._held_until_s)

    def close(self, reason: Any = None, exc: BaseException | None = None) -> Any:
        """Closes the connection."""
        if self._renewal is not None:
            self._renewal.cancel()
        _draining.discard(self)
        return super().close(reason, exc)

    async def _authenticated(self, answer: Awaitable[Any]) -> Any:
        response = await answer
        if self._sasl_mechanism == "OAUTHBEARER" and response.sasl_auth_bytes:
            # The broker first answers with the reason why it refuses a token, and fails only the next request; aiokafka takes
            # that answer for success.
            raise SaslAuthenticationFailed(response.sasl_auth_bytes.decode(errors="replace"))
        lifetime_ms = getattr(response, "session_lifetime_ms", 0)
        if lifetime_ms > 0:
            self._renewed_at_s = self._loop.time() + lifetime_ms / 1000 * _RENEWED_AFTER
            # The timer also keeps the connection alive, which its client forgets before the last answer is there.
            self._renewal = self._loop.call_at(self._renewed_at_s, self._close_when_idle)
        return response

    def _close_when_idle(self) -> None:
        if self._requests:
            _draining.add(self)
            self._renewal = self._loop.call_later(_LOOK_S, self._close_when_idle)
        else:
            self.close(CloseReason.IDLE_DROP)


#: Connections awaiting their last answer.
_draining: set[Connection] = set()


class _NoSecrets(logging.Filter):
    """Keeps requests with passwords or tokens out of the log, which at debug level has every request."""

    def filter(self, record: logging.LogRecord) -> bool:
        arguments = record.args if isinstance(record.args, tuple) else ()
        return not any(isinstance(argument, _WITH_SECRETS) for argument in arguments)


_WITH_SECRETS = (*SaslAuthenticateRequest._CLASSES, SaslAuthenticateResponse_v0, SaslAuthenticateResponse_v1)  # noqa: SLF001 - all versions
logging.getLogger("aiokafka.conn").addFilter(_NoSecrets())


def _is_news(record: logging.LogRecord) -> bool:
    """Drops aiokafka's warning about SASL_PLAINTEXT at every connection: `doctor` gives it once."""
    return record.msg != "Sending username and password in the clear"


logging.getLogger("aiokafka.conn").addFilter(_is_news)


class TokenError(ConnectionError):
    """There is no usable OAUTHBEARER token; the message is for a person and names the setting.

    Attributes:
        has_expired: Whether there is a token that has expired.
    """

    def __init__(self, message: str, *, has_expired: bool = False) -> None:
        super().__init__(message)
        self.has_expired = has_expired


#: Called when a connection is refused, since clients keep retrying and report nothing.
_told: list[Callable[[], None]] = []


def tell_refusals(to: Callable[[], None]) -> None:
    """Has a function called, in the event loop, whenever authentication or a certificate is refused."""
    _told.append(to)


async def create_conn(host: str, port: int, **options: Any) -> Connection:
    """Connects and authenticates; called by aiokafka's clients."""
    connection = Connection(host, port, **options)
    connection.client = getattr(options.get("on_close"), "__self__", None)
    try:
        await connection.connect()
    except (SaslAuthenticationFailed, UnsupportedSaslMechanismError, ssl.SSLError, TokenError):
        for told in _told:
            told()
        raise
    return connection


_close_client = AIOKafkaClient.close


async def _close_all(client: AIOKafkaClient) -> None:
    """Closes a client with all its connections."""
    await asyncio.gather(
        *(connection.close(CloseReason.SHUTDOWN) for connection in list(_draining) if connection.client is client)
    )
    await _close_client(client)


AIOKafkaClient.close = _close_all

# aiokafka's clients have no option for the class of their connections.
aiokafka.client.create_conn = create_conn

_coordinator_lookup = AIOKafkaClient.coordinator_lookup


async def _look_up_coordinator(client: AIOKafkaClient, kind: int, key: str) -> int:
    """Looks up a coordinator; if there is no broker to ask, it is unavailable, an error for which all callers wait and retry.

    A broker that has just come back and that its controller has not seen yet names no brokers at all. aiokafka takes that for a
    bug in itself and raises an `AssertionError`.
    """
    if client.get_random_node() is None:
        raise CoordinatorNotAvailableError("the cluster names no brokers")
    found: int = await _coordinator_lookup(client, kind, key)
    return found


AIOKafkaClient.coordinator_lookup = _look_up_coordinator
