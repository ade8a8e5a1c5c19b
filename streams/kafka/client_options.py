"""How clients connect by the settings: servers, TLS, users and tokens; everything is checked before anything is opened."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import ssl
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiokafka.abc import AbstractTokenProvider

from streams.errors import ExpectedError
from streams.kafka.connection import TokenError
from streams.settings import Settings, secret

_LAST_PORT = 65_535
#: What the DNS allows, in characters: of a name, and between two dots of it.
_LONGEST_HOST, _LONGEST_LABEL = 253, 63
_NOT_IN_HOSTS = re.compile(r"[\s/;,@\[\]]")


class _FileToken(AbstractTokenProvider):
    """An OAUTHBEARER token in a file that another process keeps fresh; read at every authentication."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    async def token(self) -> str:
        return await asyncio.to_thread(self.read)

    def read(self) -> str:
        """The token that the file holds now.

        Raises:
            TokenError: There is no token, or it has expired.
        """
        try:
            text = self._path.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise TokenError(
                f"sasl_token_file: cannot read {self._path}: {_reason(error)}; name a file that can be read"
            ) from None
        if not text:
            raise TokenError(f"sasl_token_file: {self._path} is empty; look at what puts the token there")
        end_s = _end_of(text)
        # Brokers tolerate clock skew: they accept an expired token and close the connection at once.
        if end_s is not None and end_s < time.time():
            end = datetime.fromtimestamp(end_s, UTC).isoformat()
            raise TokenError(
                f"sasl_token_file: the token in {self._path} expired at {end}; look at what keeps it fresh, and at the clock",
                has_expired=True,
            )
        return text


def _end_of(token: str) -> float | None:
    """When a token expires, seconds since 1970; `None` if it is not a JWT or does not say."""
    body = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return float(claims["exp"])
    except (ValueError, KeyError, TypeError):
        return None


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error)


def ssl_context(settings: Settings) -> ssl.SSLContext | None:
    """The TLS context of the settings; `None` if the protocol needs none.

    Raises:
        ExpectedError: A certificate or key file cannot be used.
    """
    if "SSL" not in settings.security_protocol:
        return None
    context = _trusting(settings.ssl_ca_file)
    context.check_hostname = settings.ssl_check_hostname
    if settings.ssl_certificate_file:
        _identify(context, settings)
    elif settings.ssl_key_file:
        raise ExpectedError("ssl_key_file is set without ssl_certificate_file: name the certificate too")
    return context


def _trusting(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except ssl.SSLError:
        raise _unusable("ssl_ca_file", ca_file, "it holds no certificates in PEM format") from None
    except OSError as error:
        raise _unusable("ssl_ca_file", ca_file, _reason(error)) from None


def _identify(context: ssl.SSLContext, settings: Settings) -> None:
    """Adds the client certificate and its key."""
    certificate, key = settings.ssl_certificate_file, settings.ssl_key_file
    for name, path in (("ssl_certificate_file", certificate), ("ssl_key_file", key)):
        try:
            if path:
                Path(path).read_bytes()
        except OSError as error:
            raise _unusable(name, path, _reason(error)) from None
    password = secret(settings.ssl_key_password, settings.ssl_key_password_file, "ssl_key_password")
    try:
        # Without this, OpenSSL would prompt for a password at the terminal.
        context.load_cert_chain(certificate, key or None, password=lambda: password)
    except (OSError, ValueError) as error:
        reason = str(error)
        if "MISMATCH" in reason:
            raise _unusable("ssl_key_file", key, f"it is not the key of {certificate}") from None
        if password:
            raise _unusable(
                "ssl_key_file", key or certificate, "it holds no key in PEM format that ssl_key_password opens"
            ) from None
        raise _unusable(
            "ssl_certificate_file and ssl_key_file",
            f"{certificate}, {key}" if key else certificate,
            "one holds no certificate or no key in PEM format, or the key needs ssl_key_password_file",
        ) from None
    _refuse_expired(certificate)


def _refuse_expired(certificate: str) -> None:
    """Raises if the certificate has expired: a broker would refuse it without saying why."""
    # The standard library can read certificates, but has no public call for it.
    end = ssl._ssl._test_decode_cert(certificate).get("notAfter")  # type: ignore[attr-defined]  # noqa: SLF001 - see above
    if end and ssl.cert_time_to_seconds(end) < time.time():
        raise ExpectedError(
            f"ssl_certificate_file: cannot use {certificate}: it expired on {end}; have it renewed", exit_code=3
        )


def _unusable(setting: str, path: str, reason: str) -> ExpectedError:
    return ExpectedError(f"{setting}: cannot use {path}: {reason}; correct the file, or name another one")


def servers_of(settings: Settings) -> list[str]:
    """The bootstrap servers, each `HOST:PORT`.

    Raises:
        ExpectedError: One is not in that form.
    """
    servers = [server.strip() for server in settings.bootstrap_servers.split(",") if server.strip()]
    for server in servers:
        if not _is_address(server):
            plain = server.rpartition("://")[2].strip("/")
            raise ExpectedError(f"bootstrap_servers: {server!r} is not HOST:PORT, such as {_example(plain)}")
    if not servers:
        raise ExpectedError("bootstrap_servers is empty: name the cluster, such as 127.0.0.1:9092")
    return servers


def _is_address(server: str) -> bool:
    """Whether it is HOST:PORT; an address of IPv6 has brackets around it, and names are as long as the DNS allows."""
    host, _, port = server.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    is_host = bool(bare) and (":" not in bare or bare != host) and not _NOT_IN_HOSTS.search(bare)
    is_port = port.isascii() and port.isdigit() and 0 < int(port) <= _LAST_PORT
    return is_host and is_port and len(bare) <= _LONGEST_HOST and max(map(len, bare.split("."))) <= _LONGEST_LABEL


def _example(server: str) -> str:
    if _is_address(server):
        return server
    host = re.split("[^A-Za-z0-9.-]", server)[0]
    return f"{host}:9092" if _is_address(f"{host}:9092") else "127.0.0.1:9092"


def client_options(settings: Settings) -> dict[str, Any]:
    """Connection and security options, common to all aiokafka clients."""
    options: dict[str, Any] = {
        "bootstrap_servers": servers_of(settings),
        "security_protocol": settings.security_protocol,
        "ssl_context": ssl_context(settings),
    }
    if settings.security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.sasl_mechanism
        if settings.sasl_mechanism == "OAUTHBEARER":
            if not settings.sasl_token_file:
                raise ExpectedError("sasl_token_file: OAUTHBEARER needs the file that holds the token")
            token = _FileToken(settings.sasl_token_file)
            try:
                token.read()
            except TokenError as error:
                raise ExpectedError(str(error), exit_code=3 if error.has_expired else 2) from None
            options["sasl_oauth_token_provider"] = token
        else:
            if not settings.sasl_username:
                raise ExpectedError(f"sasl_username: {settings.sasl_mechanism} needs the name of the user")
            options["sasl_plain_username"] = settings.sasl_username
            options["sasl_plain_password"] = secret(
                settings.sasl_password, settings.sasl_password_file, "sasl_password"
            )
    return options
