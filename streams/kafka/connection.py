"""Connections that are replaced before the broker ends their session, and that notice when a token is refused.

A broker may limit how long an authentication is valid (`connections.max.reauth.ms`, or the life of a token). It then closes the
connection at the next request, even within a transaction. aiokafka does not authenticate again, so the connection is closed a
little earlier, while no answer is awaited; the next request opens a new one, which reads the token or password again.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import weakref
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

#: Share of a session after which its connection is replaced at the first opportunity, and how often to look for one.
_RENEWED_AFTER = 0.8
_LOOK_S = 0.02


class Connection(AIOKafkaConnection):
    """aiokafka's connection, replaced before its session ends."""

    _renewal: asyncio.TimerHandle | None = None

    def send(self, request: Any, expect_response: bool = True) -> Awaitable[Any]:  # noqa: FBT001, FBT002 - aiokafka's signature
        """Sends a request; returns what its answer is awaited by."""
        answer: Awaitable[Any] = super().send(request, expect_response)
        return self._authenticated(answer) if isinstance(request, SaslAuthenticateRequest) else answer

    def close(self, reason: Any = None, exc: BaseException | None = None) -> Any:
        """Closes the connection."""
        if self._renewal is not None:
            self._renewal.cancel()
        return super().close(reason, exc)

    async def _authenticated(self, answer: Awaitable[Any]) -> Any:
        response = await answer
        if self._sasl_mechanism == "OAUTHBEARER" and response.sasl_auth_bytes:
            # The broker first answers why it refuses a token, and fails the next request; aiokafka takes that answer for
            # success.
            raise SaslAuthenticationFailed(response.sasl_auth_bytes.decode(errors="replace"))
        lifetime_ms = getattr(response, "session_lifetime_ms", 0)
        if lifetime_ms > 0:
            after_s = lifetime_ms / 1000 * _RENEWED_AFTER
            self._renewal = asyncio.get_running_loop().call_later(after_s, _close_when_idle, weakref.ref(self))
        return response


def _close_when_idle(reference: weakref.ref[Connection]) -> None:
    connection = reference()
    if connection is None or not connection.connected():
        return
    if connection._requests:  # noqa: SLF001 - our class
        connection._renewal = asyncio.get_running_loop().call_later(_LOOK_S, _close_when_idle, reference)  # noqa: SLF001 - likewise
    else:
        connection.close(CloseReason.IDLE_DROP)


class _NoSecrets(logging.Filter):
    """Keeps requests with passwords or tokens out of the log, which at its finest level has every request."""

    def filter(self, record: logging.LogRecord) -> bool:
        arguments = record.args if isinstance(record.args, tuple) else ()
        return not any(isinstance(argument, _WITH_SECRETS) for argument in arguments)


_WITH_SECRETS = (*SaslAuthenticateRequest._CLASSES, SaslAuthenticateResponse_v0, SaslAuthenticateResponse_v1)  # noqa: SLF001 - all versions
logging.getLogger("aiokafka.conn").addFilter(_NoSecrets())


def _is_news(record: logging.LogRecord) -> bool:
    """Drops aiokafka's warning of SASL_PLAINTEXT at every connection: `doctor` gives it once."""
    return record.msg != "Sending username and password in the clear"


logging.getLogger("aiokafka.conn").addFilter(_is_news)


class TokenError(ConnectionError):
    """There is no usable OAUTHBEARER token; the message is for a person and names the setting.

    Attributes:
        has_expired: There is a token, and it has expired.
    """

    def __init__(self, message: str, *, has_expired: bool = False) -> None:
        super().__init__(message)
        self.has_expired = has_expired


#: Called when a connection was refused, since clients keep retrying and report nothing.
_told: list[Callable[[], None]] = []


def tell_refusals(to: Callable[[], None]) -> None:
    """Has a function called, in the event loop, whenever authentication or a certificate is refused."""
    _told.append(to)


async def create_conn(host: str, port: int, **options: Any) -> Connection:
    """Connects and authenticates; what aiokafka's clients call."""
    connection = Connection(host, port, **options)
    try:
        await connection.connect()
    except (SaslAuthenticationFailed, UnsupportedSaslMechanismError, ssl.SSLError, TokenError):
        for told in _told:
            told()
        raise
    return connection


# aiokafka's clients have no parameter for the class of their connections.
aiokafka.client.create_conn = create_conn

_coordinator_lookup = AIOKafkaClient.coordinator_lookup


async def _look_up_coordinator(client: AIOKafkaClient, kind: int, key: str) -> int:
    """Asks for a coordinator; where there is nobody to ask, it is not there, which its callers know how to wait for.

    A broker that has just come back, and has not been seen by its controller yet, names no brokers at all. aiokafka takes that
    for a bug of its own and raises an `AssertionError`.
    """
    if client.get_random_node() is None:
        raise CoordinatorNotAvailableError("the cluster names no brokers")
    found: int = await _coordinator_lookup(client, kind, key)
    return found


AIOKafkaClient.coordinator_lookup = _look_up_coordinator
