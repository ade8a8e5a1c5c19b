"""A broker as run by owners of clusters: TLS, each way to authenticate, and Kafka's own authoriser."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import secrets
import socket
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import trustme
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
from aiokafka.protocol.admin import CreateAclsRequest_v1, DeleteAclsRequest_v1, DescribeAclsRequest_v1
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactBytes, CompactString, Int8, Int16, Int32, Schema, TaggedFields
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from streams.embedded.broker import EmbeddedKafka
from streams.embedded.config import BrokerListener
from streams.embedded.java import SHORT_LIVED
from tests.support.time_limits import deadline

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from streams.kafka.rights import Right

_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
_OAUTH = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;"
_VALIDATOR = "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler"
_AUDIENCE, _ISSUER = "kafka", "https://tokens.example.com"
_SCRAM_SHA_512 = 2
_ITERATIONS = 4096
#: Short, so that a test sees a connection outlive its session.
SESSION_S = 8
#: The broker learns of changes from the controller a moment later.
_SETTLE_S = 0.3


class Certificates:
    """Two certificate authorities, and the files that a broker and its clients need from them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority, self._stranger = trustme.CA(), trustme.CA()
        self.ca = self._write("ca.pem", self._authority.cert_pem.bytes())
        self.other_ca = self._write("other-ca.pem", self._stranger.cert_pem.bytes())
        self.server = self._store("server", self._authority.issue_cert("127.0.0.1", "localhost"))
        past = datetime.now(UTC) - timedelta(days=2)
        expired = self._authority.issue_cert("127.0.0.1", not_before=past, not_after=past + timedelta(days=1))
        self.expired_server = self._store("expired", expired)
        self.elsewhere = self._store("elsewhere", self._authority.issue_cert("kafka.example.com"))

    def client(self, user: str, *, password: str = "", expired: bool = False, stranger: bool = False) -> dict[str, str]:
        """The settings with a client's certificate and key."""
        authority = self._stranger if stranger else self._authority
        end = datetime.now(UTC) + timedelta(days=-1 if expired else 1)
        issued = authority.issue_cert(
            f"{user}@example.com", common_name=user, not_before=end - timedelta(days=3), not_after=end
        )
        name = f"client-{user}-{secrets.token_hex(4)}"
        chain = b"".join(part.bytes() for part in issued.cert_chain_pems)
        key = load_pem_private_key(issued.private_key_pem.bytes(), None)
        hidden = BestAvailableEncryption(password.encode()) if password else NoEncryption()
        return {
            "ssl_certificate_file": self._write(f"{name}.pem", chain),
            "ssl_key_file": self._write(f"{name}.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden)),
        }

    def _store(self, name: str, issued: trustme.LeafCert) -> str:
        """Key and certificates in one file, in Kafka's format."""
        key = load_pem_private_key(issued.private_key_pem.bytes(), None)
        text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return self._write(f"{name}.pem", text + b"".join(part.bytes() for part in issued.cert_chain_pems))

    def _write(self, name: str, content: bytes) -> str:
        path = self._folder / name
        path.write_bytes(content)
        return str(path)


class Tokens:
    """Issues OAUTHBEARER tokens, signed by a key that the broker knows from a file."""

    def __init__(self, folder: Path) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        numbers = self._key.public_key().public_numbers()
        key = {"kty": "RSA", "kid": "1", "use": "sig", "alg": "RS256", "n": _number(numbers.n), "e": _number(numbers.e)}
        self.jwks = folder / "jwks.json"
        self.jwks.write_text(json.dumps({"keys": [key]}))

    def issue(self, user: str, valid_s: float) -> str:
        """A signed token."""
        now = int(time.time())
        claims = {
            "sub": user,
            "iss": _ISSUER,
            "aud": _AUDIENCE,
            "iat": now,
            "exp": now + int(valid_s),
            "scope": "kafka",
        }
        signed = b".".join(
            _base64(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": "1", "typ": "JWT"}, claims)
        )
        return (signed + b"." + _base64(self._key.sign(signed, padding.PKCS1v15(), SHA256()))).decode()

    def write(self, path: Path, user: str, valid_s: float) -> None:
        """Replaces the token in a file atomically, as tools that refresh tokens do."""
        fresh = path.with_suffix(".new")
        fresh.write_text(self.issue(user, valid_s) + "\n")
        fresh.rename(path)


def _base64(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def _number(value: int) -> str:
    return _base64(value.to_bytes((value.bit_length() + 7) // 8)).decode()


class Silent:
    """A port of this machine that accepts anything and never answers, like a firewall that drops packets."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        """Frees the port."""
        self._socket.close()


class SecuredKafka:
    """One broker with a listener for each way to connect.

    Attributes:
        password: The password of every PLAIN user; must never be printed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificates, self.tokens = Certificates(folder), Tokens(folder)
        self.silent = Silent()
        self.password = f"canary-{secrets.token_hex(8)}"
        jwks = self.tokens.jwks.as_uri()
        self.broker = EmbeddedKafka(
            folder / "broker",
            listeners=self._listeners(),
            properties={
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": "User:ANONYMOUS;User:admin",
                "sasl.oauthbearer.jwks.endpoint.url": jwks,
                "sasl.oauthbearer.expected.audience": _AUDIENCE,
                "sasl.oauthbearer.expected.issuer": _ISSUER,
                "ssl.principal.mapping.rules": r"RULE:^CN=([^,]+).*$/$1/",
            },
            java_options=[*SHORT_LIVED, f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={jwks}"],
        )

    def _listeners(self) -> list[BrokerListener]:
        made = self.certificates
        trust = {"ssl.truststore.type": "PEM", "ssl.truststore.location": made.ca}

        def tls(store: str) -> dict[str, str]:
            return {"ssl.keystore.type": "PEM", "ssl.keystore.location": store, **trust}

        users = " ".join(f'user_{user}="{self.password}"' for user in ("admin", "app", "leaver", "nobody"))
        plain = {"sasl.enabled.mechanisms": "PLAIN", "plain.sasl.jaas.config": f"{_PLAIN} {users};"}
        scram = {"sasl.enabled.mechanisms": "SCRAM-SHA-512", "scram-sha-512.sasl.jaas.config": _SCRAM}
        oauth = {
            "sasl.enabled.mechanisms": "OAUTHBEARER",
            "oauthbearer.sasl.jaas.config": _OAUTH,
            "oauthbearer.sasl.server.callback.handler.class": _VALIDATOR,
            "oauthbearer.connections.max.reauth.ms": f"{SESSION_S * 1000}",
        }
        session = {"scram-sha-512.connections.max.reauth.ms": f"{SESSION_S * 1000}"}
        server = tls(made.server)
        return [
            BrokerListener("SCRAM", "SASL_SSL", server | scram),
            BrokerListener("SESSION", "SASL_SSL", server | scram | session),
            BrokerListener("PLAIN", "SASL_SSL", server | plain),
            BrokerListener("USER", "SASL_PLAINTEXT", plain),
            BrokerListener("MTLS", "SSL", server | {"ssl.client.auth": "required"}),
            BrokerListener("OAUTH", "SASL_SSL", server | oauth),
            BrokerListener("EXPIRED", "SSL", tls(made.expired_server)),
            BrokerListener("ELSEWHERE", "SSL", tls(made.elsewhere)),
            BrokerListener("ADVERTISED", "PLAINTEXT", advertised="kafka-internal.invalid:9092"),
            BrokerListener("SWALLOWED", "PLAINTEXT", advertised=self.silent.address),
        ]

    def close(self) -> None:
        """Frees everything but the broker."""
        self.silent.close()

    def address(self, way: str) -> str:
        """`HOST:PORT` for a way to connect; `CLIENTS` needs no authentication, `SILENT` never answers."""
        match way:
            case "CLIENTS":
                return self.broker.bootstrap
            case "SILENT":
                return self.silent.address
            case _:
                return self.broker.address(way)

    def token_file(self, user: str) -> Path:
        """The file with a user's token."""
        return self.folder / f"token-{user}"

    def settings(self, way: str, user: str = "app") -> dict[str, str]:
        """The settings of a client that connects in one of these ways."""
        address = {"bootstrap_servers": self.address(way)}
        tls = {"ssl_ca_file": self.certificates.ca}
        by_password = {"sasl_username": user, "sasl_password_file": str(self._password_file())}
        match way:
            case "SCRAM" | "SESSION":
                ways = {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512", **tls, **by_password}
            case "PLAIN":
                ways = {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", **tls, **by_password}
            case "USER":
                ways = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", **by_password}
            case "MTLS":
                secret = {"ssl_key_password_file": str(self._password_file())}
                made = self.certificates.client(user, password=self.password)
                ways = {"security_protocol": "SSL", **tls, **made, **secret}
            case "OAUTH":
                path = self.token_file(user)
                self.tokens.write(path, user, -60 if user == "stale" else 60)
                ways = {
                    "security_protocol": "SASL_SSL",
                    "sasl_mechanism": "OAUTHBEARER",
                    "sasl_token_file": str(path),
                    **tls,
                }
            case "EXPIRED" | "ELSEWHERE":
                ways = {"security_protocol": "SSL", **tls}
            case _:
                ways = {}
        return address | ways

    def _password_file(self) -> Path:
        path = self.folder / "password"
        path.write_text(f"{self.password}\n")
        return path

    async def add_user(self, user: str) -> None:
        """Creates a SCRAM user, or sets its password again."""
        salt = os.urandom(16)
        salted = hashlib.pbkdf2_hmac("sha512", self.password.encode(), salt, _ITERATIONS)
        await self._administer(_AlterScram([], [(user, _SCRAM_SHA_512, _ITERATIONS, salt, salted, {})]))

    async def remove_user(self, user: str) -> None:
        """Removes a SCRAM user; open sessions stay until they end."""
        await self._administer(_AlterScram([(user, _SCRAM_SHA_512, {})], []))

    async def allow(self, user: str, rights: Iterable[Right], settle_s: float = _SETTLE_S) -> None:
        """Grants rights to a user, through Kafka's own authoriser."""
        creations = [
            (
                *(right.resource.value, right.name, _PREFIXED if right.is_prefix else _LITERAL, f"User:{user}", "*"),
                *(operation.value, _ALLOW),
            )
            for right in rights
            for operation in right.operations
        ]
        wanted = {(name, operation) for _, name, _, _, _, operation, _ in creations}
        await self._administer(_AsIs(CreateAclsRequest_v1(creations)), settle_s)
        if settle_s:
            # The broker learns of it from its controller, after the topics that were created earlier.
            give_up_s = deadline(20)
            while wanted - await self._allowed(user):
                assert time.monotonic() < give_up_s, user
                await asyncio.sleep(0.05)

    async def disallow(self, user: str, right: Right | None = None, settle_s: float = _SETTLE_S) -> None:
        """Revokes a right of a user, or all of them."""
        if right is None:
            filters: list[tuple[Any, ...]] = [(_ANY, None, _ANY, f"User:{user}", None, _ANY, _ANY)]
        else:
            pattern = _PREFIXED if right.is_prefix else _LITERAL
            filters = [
                (right.resource.value, right.name, pattern, f"User:{user}", None, operation.value, _ANY)
                for operation in right.operations
            ]
        await self._administer(_AsIs(DeleteAclsRequest_v1(filters)), settle_s)

    async def _allowed(self, user: str) -> set[tuple[str, int]]:
        """(resource, operation) of every right of a user that the broker knows."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.broker.bootstrap)
        await admin.start()
        try:
            asked = DescribeAclsRequest_v1(_ANY, None, _ANY, f"User:{user}", None, _ANY, _ANY)
            answer = (await admin._send_to_controller(_AsIs(asked))).to_object()
            return {
                (resource["resource_name"], int(acl["operation"]))
                for resource in answer["resources"]
                for acl in resource["acls"]
            }
        finally:
            await admin.close()

    async def _administer(self, request: Any, settle_s: float = _SETTLE_S) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.broker.bootstrap)
        await admin.start()
        try:
            answer = await admin._send_to_controller(request)
            errors = [code for result in answer.to_object().popitem()[1] or [] if (code := _code(result))]
            assert not errors, for_code(errors[0])
            await asyncio.sleep(settle_s)
        finally:
            await admin.close()


_ANY, _ALLOW, _LITERAL, _PREFIXED = 1, 3, 3, 4


def _code(result: Any) -> int:
    return int(result["error_code"]) if isinstance(result, dict) else 0


class _AsIs(Request[RequestStruct]):
    """A request in the one version given."""

    API_KEY = 30

    def __init__(self, request: RequestStruct) -> None:
        self._request = request

    def prepare(self, versions: dict[int, tuple[int, int]]) -> RequestStruct:
        del versions
        return self._request

    def build(self, request_struct_class: type[RequestStruct]) -> RequestStruct:
        raise NotImplementedError


class _AlterScramResponse(Response):
    API_KEY = 51
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            CompactArray(
                ("user", CompactString("utf-8")),
                ("error_code", Int16),
                ("error_message", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _AlterScramStruct(RequestStruct):
    API_KEY = 51
    API_VERSION = 0
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _AlterScramResponse
    SCHEMA = Schema(
        ("deletions", CompactArray(("name", CompactString("utf-8")), ("mechanism", Int8), ("tags", TaggedFields))),
        (
            "upsertions",
            CompactArray(
                ("name", CompactString("utf-8")),
                ("mechanism", Int8),
                ("iterations", Int32),
                ("salt", CompactBytes),
                ("salted_password", CompactBytes),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


def _AlterScram(deletions: list[Any], upsertions: list[Any]) -> _AsIs:  # noqa: N802 - reads as the request it makes
    return _AsIs(_AlterScramStruct(deletions, upsertions, {}))


__all__ = ["Certificates", "SecuredKafka", "Tokens"]
