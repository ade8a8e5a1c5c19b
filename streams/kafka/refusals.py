"""Why a cluster cannot be reached: one connection more, whose failure is told in words, with the setting to look at."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING, Any

from aiokafka.conn import create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from streams.errors import ExpectedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.settings import Settings

_TIMEOUT_S = 4.0
_UNREACHABLE_CODE = 3


async def refusal(settings: Settings, options: Mapping[str, Any], error: BaseException) -> ExpectedError:
    """The line for a cluster that could not be connected to.

    Args:
        settings: Named in the line.
        options: Of the client that has failed.
        error: What it raised; it says too little where nothing more is found out.
    """
    connection = {name: value for name, value in options.items() if name != "bootstrap_servers"}
    for server in options["bootstrap_servers"]:
        host, _, port = server.rpartition(":")
        found = await _failure_of(host, int(port), connection)
        if found is not None:
            line = explain(settings, server, found)
            if line is not None:
                return ExpectedError(line, exit_code=_UNREACHABLE_CODE)
    reason = str(error) or type(error).__name__
    return ExpectedError(
        f"no Kafka at {settings.bootstrap_servers}: {reason}; start one (milestones broker) or name it with --bootstrap-servers",
        exit_code=_UNREACHABLE_CODE,
    )


def explain(settings: Settings, server: str, error: BaseException) -> str | None:  # noqa: C901, PLR0912 - a table of causes
    """What has failed at a server, and the setting to look at; `None` where the error tells nothing."""
    protocol = settings.security_protocol
    match error:
        case SaslAuthenticationFailed():
            who = "the token" if settings.sasl_mechanism == "OAUTHBEARER" else f"user {settings.sasl_username!r}"
            setting = (
                "sasl_token_file" if settings.sasl_mechanism == "OAUTHBEARER" else "sasl_username and sasl_password"
            )
            return f"{server} refuses {who}: authentication failed; check {setting}"
        case UnsupportedSaslMechanismError():
            return f"{server} does not offer {settings.sasl_mechanism}; check sasl_mechanism"
        case IllegalSaslStateError():
            return f"{server} wants no SASL; check security_protocol (now {protocol})"
        case ssl.SSLCertVerificationError():
            reason = error.verify_message or "the certificate is not valid"
            if "expired" in reason:
                return f"{server} shows a certificate that has expired; it has to be renewed there"
            if "ostname mismatch" in reason or "IP address mismatch" in reason:
                return f"{server} shows a certificate for another host name; check bootstrap_servers"
            return f"{server} shows a certificate of an unknown authority; check ssl_ca_file"
        case ssl.SSLError() if "CERTIFICATE_REQUIRED" in str(error) or "ALERT" in str(error).upper():
            return f"{server} refuses our certificate; check ssl_certificate_file and ssl_key_file"
        case ssl.SSLError():
            return f"{server} speaks no TLS; check security_protocol (now {protocol})"
        case socket.gaierror():
            return f"{server}: there is no such host; check bootstrap_servers"
        case ConnectionRefusedError():
            return f"no Kafka at {server}: nothing listens there; start one (milestones broker) or name it with --bootstrap-servers"
        case TimeoutError():
            return f"{server} does not answer within {_TIMEOUT_S:.0f} s; check bootstrap_servers and security_protocol (now {protocol})"
        case ConnectionError() if "SSL" in protocol:
            return f"{server} closes the connection at the start of TLS; check security_protocol (now {protocol}): does it speak TLS?"
        case KafkaConnectionError() | ConnectionError():
            return (
                f"{server} closes the connection; check security_protocol (now {protocol}): does it want TLS or a user?"
            )
        case _:
            return None


async def _failure_of(host: str, port: int, connection: Mapping[str, Any]) -> BaseException | None:
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            made = await create_conn(host, port, request_timeout_ms=int(_TIMEOUT_S * 1000), **connection)
            try:
                # A server that wants a user tells its versions to anyone, and closes at the first question.
                await made.send(MetadataRequest([]))
            finally:
                made.close()
    except (KafkaError, OSError, TimeoutError) as error:
        return error
    return None
