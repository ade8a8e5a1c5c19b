"""Finds out by probe connections why a cluster cannot be reached, and names the setting to check."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeGuard

from aiokafka.errors import (
    IllegalSaslStateError,
    InconsistentGroupProtocolError,
    InvalidSessionTimeoutError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from schemas.messages import Message
from streams.errors import ExpectedError, UnreachableError
from streams.kafka.connection import TokenError, create_conn

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from streams.settings import Settings

#: For one attempt: long enough for a packet that is lost twice, short enough for two attempts within ten seconds.
_TIMEOUT_S = 3.5
#: For the other bootstrap servers, once one has answered.
_SECOND_ANSWER_S = 0.3
_UNREACHABLE_CODE = 3
_TLS_HANDSHAKE = 22
_TLS_ALERT = 21
#: The major version at the start of a TLS record, also of an alert.
_TLS_MAJOR = 3
#: OpenSSL's reasons when a server refuses a client's certificate.
_REFUSED_CERTIFICATE = ("CERTIFICATE", "UNKNOWN_CA", "HANDSHAKE_FAILURE", "ACCESS_DENIED")


class BrokerAddress(NamedTuple):
    """A broker's address."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @classmethod
    def of(cls, server: str) -> BrokerAddress:
        """Parses HOST:PORT."""
        host, _, port = server.rpartition(":")
        return cls(host.strip("[]"), int(port))


class _Metadata(Protocol):
    """The answer to a metadata request."""

    @property
    def brokers(self) -> Sequence[tuple[int, str, int, *tuple[object, ...]]]:
        """Id, host and port of each broker."""


#: A server's answer, or the reason why there is none.
_Answer = _Metadata | Exception


class RefusedError(ExpectedError):
    """The cluster answers but rejects us, and will keep doing so until someone changes something."""

    def __init__(self, message: str) -> None:
        super().__init__(message, exit_code=_UNREACHABLE_CODE)


class Reached(NamedTuple):
    """What answers.

    Attributes:
        servers: The bootstrap servers that answer.
        advertised: Each broker's advertised address → the problem with it, `None` if there is none.
    """

    servers: list[str]
    advertised: dict[BrokerAddress, ExpectedError | None]


async def reach(settings: Settings, options: Mapping[str, Any], *, everyone: bool = False) -> Reached:
    """Connects to all bootstrap servers, and to all other brokers they advertise, at the same time.

    Args:
        settings: For the error message.
        options: The clients' options.
        everyone: Wait for every broker; otherwise one answer is enough.

    Raises:
        ExpectedError: None of the bootstrap servers, or none of the brokers, accepts us; exit code 3.
    """
    connection = {name: value for name, value in options.items() if name != "bootstrap_servers"}
    servers: Sequence[str] = options["bootstrap_servers"]
    patience_s = min(_TIMEOUT_S, settings.cluster_timeout_s)
    answers = await _first_answers([_ask(BrokerAddress.of(server), connection, patience_s) for server in servers])
    living = [server for server, answer in zip(servers, answers, strict=True) if _is_good(answer)]
    if not living:
        raise await _failure(settings, servers[0], next(answer for answer in answers if isinstance(answer, Exception)))
    named = next(answer for answer in answers if _is_good(answer))
    known = {BrokerAddress.of(server) for server in living}
    brokers = [BrokerAddress(host, port) for _, host, port, *_ in named.brokers]
    unknown = [broker for broker in brokers if broker not in known]
    if len(unknown) < len(brokers) and not everyone:
        unknown = []
    asked = [_ask(broker, connection, patience_s) for broker in unknown]
    found = dict(zip(unknown, await (asyncio.gather(*asked) if everyone else _first_answers(asked)), strict=True))
    advertised: dict[BrokerAddress, ExpectedError | None] = dict.fromkeys(brokers)
    if everyone or not any(broker in known or _is_good(found.get(broker)) for broker in brokers):
        for broker, answer in found.items():
            if isinstance(answer, Exception):
                advertised[broker] = await _failure(settings, str(broker), answer)
    failures = [failure for failure in advertised.values() if failure is not None]
    if failures and len(failures) == len(advertised):
        if isinstance(failures[0], RefusedError):
            raise failures[0]
        reason = str(failures[0]).partition(";")[0]
        raise UnreachableError(
            f"{living[0]} answers, but advertises {brokers[0]}, where it cannot be reached from here ({reason}); name the "
            "listener that is meant for this network (bootstrap_servers), or correct advertised.listeners of the brokers",
        )
    return Reached(living, advertised)


async def refusal(settings: Settings, options: Mapping[str, Any], error: BaseException) -> ExpectedError:
    """The error for a client that has failed: what probing finds, else the client's own error."""
    try:
        reached = await reach(settings, options, everyone=True)
    except ExpectedError as found:
        return found
    reason = str(error) or type(error).__name__
    away = next((failure for failure in reached.advertised.values() if failure is not None), None)
    if away is not None:
        reason = f"{reason}, and {str(away).partition(';')[0]}"
    return UnreachableError(
        f"Kafka at {settings.bootstrap_servers} did not do what was asked: {reason}; look at the brokers, and try again",
    )


def _is_good(answer: _Answer | None) -> TypeGuard[_Metadata]:
    return answer is not None and not isinstance(answer, Exception)


async def _first_answers(asked: Sequence[Coroutine[object, None, _Answer]]) -> list[_Answer]:
    """The answers in order; once there is a good one, the others get little more time."""
    tasks = [asyncio.create_task(question) for question in asked]
    waiting = set(tasks)
    good = False
    while waiting:
        limit = _SECOND_ANSWER_S if good else None
        done, waiting = await asyncio.wait(waiting, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            break
        good = good or any(_is_good(task.result()) for task in done)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return [TimeoutError() if task.cancelled() else task.result() for task in tasks]


async def _ask(address: BrokerAddress, connection: Mapping[str, Any], patience_s: float) -> _Answer:
    """The cluster's brokers, or the problem."""
    try:
        async with asyncio.timeout(patience_s):
            made = await create_conn(
                address.host, address.port, request_timeout_ms=int(patience_s * 1000), **connection
            )
            try:
                # A server that requires authentication tells anyone its versions, but closes at the first request after that.
                answer: _Metadata = await made.send(MetadataRequest([]))
                return answer
            finally:
                made.close()
    except (KafkaError, OSError, EOFError, TimeoutError, TokenError) as error:
        return error


async def _failure(settings: Settings, server: str, error: BaseException) -> ExpectedError:
    """The problem with a server and the setting to check."""
    failure = explain(settings, server, error)
    if failure is not None:
        return failure
    protocol = settings.security_protocol
    speaks_tls, speaks_plain = await _speaks(BrokerAddress.of(server))
    if "SSL" in protocol and speaks_plain:
        wanted = protocol.replace("SASL_SSL", "SASL_PLAINTEXT").replace("SSL", "PLAINTEXT")
        return RefusedError(
            Message(
                "%(server)s speaks no TLS; set security_protocol to %(wanted)s (now %(now)s)",
                server=server,
                wanted=wanted,
                now=protocol,
            )
        )
    if "SSL" not in protocol and speaks_tls:
        wanted = "SASL_SSL" if "SASL" in protocol else "SSL or SASL_SSL"
        return RefusedError(
            Message(
                "%(server)s speaks TLS; set security_protocol to %(wanted)s (now %(now)s)",
                server=server,
                wanted=wanted,
                now=protocol,
            )
        )
    if "SASL" not in protocol and (speaks_plain or speaks_tls):
        wanted = "SASL_SSL" if "SSL" in protocol else "SASL_PLAINTEXT"
        return RefusedError(
            Message(
                "%(server)s wants a user; set security_protocol to %(wanted)s (now %(now)s)",
                server=server,
                wanted=wanted,
                now=protocol,
            )
        )
    reason = "" if isinstance(error, KafkaError | EOFError) else f" ({str(error) or type(error).__name__})"
    line = Message(
        "%(server)s closes the connection%(reason)s; check bootstrap_servers and security_protocol (now %(now)s)",
        server=server,
        reason=reason,
        now=protocol,
    )
    return UnreachableError(line)


def group_refusal(settings: Settings, error: KafkaError) -> ExpectedError:
    """What to do about a group that does not take a worker."""
    match error:
        case InvalidSessionTimeoutError():
            return ExpectedError(
                f"session_timeout_s is {settings.session_timeout_s:g}, which the brokers do not allow: set it within their "
                "group.min.session.timeout.ms and group.max.session.timeout.ms, or change these"
            )
        case InconsistentGroupProtocolError():
            return ExpectedError(
                f"consumers of another kind are in the group {settings.group_id}: stop them, or set another output_prefix"
            )
    return ExpectedError(f"the group {settings.group_id} refuses this worker: {error}", exit_code=_UNREACHABLE_CODE)


def explain(settings: Settings, server: str, error: BaseException) -> ExpectedError | None:
    """The message for an error that explains itself, else `None`."""
    refused = _refused(settings, server, error)
    if refused is not None:
        return RefusedError(refused)
    match error:
        case socket.gaierror():
            line = Message("%(server)s: there is no such host; check bootstrap_servers", server=server)
        case ConnectionRefusedError():
            line = Message(
                "no Kafka at %(server)s: nothing listens there; start one (milestones broker) or name it with --bootstrap-servers",
                server=server,
            )
        case TimeoutError():
            line = Message(
                "%(server)s does not answer within %(seconds)s s; check bootstrap_servers, and whether a firewall is in between",
                server=server,
                seconds=f"{min(_TIMEOUT_S, settings.cluster_timeout_s):g}",
            )
        case OSError(errno=errno.ENETUNREACH | errno.EHOSTUNREACH):
            line = Message("there is no way to %(server)s from this network; check bootstrap_servers", server=server)
        case KafkaError(__cause__=BaseException() as cause):
            return explain(settings, server, cause)
        case _:
            return None
    return UnreachableError(line)


def _refused(settings: Settings, server: str, error: BaseException) -> str | None:
    match error:
        case TokenError():
            return str(error)
        case SaslAuthenticationFailed() if settings.sasl_mechanism == "OAUTHBEARER":
            return Message(
                "%(server)s refuses the token: authentication failed; check sasl_token_file: is its token fresh, and for this cluster?",
                server=server,
            )
        case SaslAuthenticationFailed():
            return Message(
                "%(server)s refuses user %(user)r: authentication failed; check sasl_username and sasl_password",
                server=server,
                user=settings.sasl_username,
            )
        case UnsupportedSaslMechanismError():
            return Message(
                "%(server)s does not offer %(mechanism)s; check sasl_mechanism",
                server=server,
                mechanism=settings.sasl_mechanism,
            )
        case IllegalSaslStateError():
            wanted = settings.security_protocol.removeprefix("SASL_")
            return Message(
                "%(server)s wants no user; set security_protocol to %(wanted)s (now %(now)s)",
                server=server,
                wanted=wanted,
                now=settings.security_protocol,
            )
        case ssl.SSLCertVerificationError():
            return _distrust(server, error.verify_message or "")
        case ssl.SSLError() if any(word in str(error).upper() for word in _REFUSED_CERTIFICATE):
            given = settings.ssl_certificate_file or "none is given"
            return Message(
                "%(server)s refuses our certificate (%(given)s); check ssl_certificate_file and ssl_key_file",
                server=server,
                given=given,
            )
        case _:
            return None


def _distrust(server: str, reason: str) -> Message:
    if "expired" in reason:
        return Message("%(server)s shows a certificate that has expired; it has to be renewed there", server=server)
    if "not yet valid" in reason:
        return Message(
            "%(server)s shows a certificate that is not valid yet; compare the clocks of this machine and the broker",
            server=server,
        )
    if "ostname mismatch" in reason or "IP address mismatch" in reason:
        return Message(
            "%(server)s shows a certificate for another host name; check bootstrap_servers, and ssl_check_hostname where certificates name no hosts",
            server=server,
        )
    return Message("%(server)s shows a certificate of an unknown authority; check ssl_ca_file", server=server)


async def _speaks(address: BrokerAddress) -> tuple[bool, bool]:
    """Whether a server speaks TLS, and whether it speaks Kafka without it."""
    found = await asyncio.gather(_answer(address, _client_hello()), _answer(address, _API_VERSIONS))
    tls, plain = found
    speaks_tls = len(tls) > 1 and tls[0] in (_TLS_HANDSHAKE, _TLS_ALERT) and tls[1] == _TLS_MAJOR
    return speaks_tls, plain[4:8] == _API_VERSIONS[8:12]


async def _answer(address: BrokerAddress, request: bytes) -> bytes:
    """The first bytes of a server's answer; empty if there is none."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_TIMEOUT_S / 2):
            reader, writer = await asyncio.open_connection(*address)
            try:
                writer.write(request)
                return await reader.read(64)
            finally:
                writer.close()
    return b""


#: Length, ApiVersions (18) version 0, a correlation id that the answer repeats, no client id.
_API_VERSIONS = b"\0\0\0\x0a\0\x12\0\0mile\xff\xff"


def _client_hello() -> bytes:
    """TLS's first message, as written by Python's own library."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    return outgoing.read()
