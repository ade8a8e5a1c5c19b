"""Asks a port whether a Kafka broker answers there."""

from __future__ import annotations

import socket
import struct

_API_VERSIONS = 18
_VERSION = 0
_CLIENT_ID = b"milestones"
_CORRELATION_ID = 0x6D696C65


def answers(host: str, port: int, timeout_s: float = 2.0) -> bool:
    """Whether a broker answers an ApiVersions request, the first that every Kafka client sends.

    An open port is not enough: a broker listens before it serves.
    """
    try:
        with socket.create_connection((host, port), timeout_s) as connection:
            connection.settimeout(timeout_s)
            connection.sendall(_request())
            return _is_answer(_read(connection, 10))
    except OSError:
        return False


def _request() -> bytes:
    header = struct.pack(">hhih", _API_VERSIONS, _VERSION, _CORRELATION_ID, len(_CLIENT_ID)) + _CLIENT_ID
    return struct.pack(">i", len(header)) + header


def _is_answer(start: bytes) -> bool:
    """Whether these are the first bytes of a response: length (4 bytes), our correlation id (4), error code 0 (2).

    Anything else is not a broker; nor is our own request, which comes back if nothing listens and TCP has connected the socket
    to itself.
    """
    if len(start) < 10:
        return False
    _, correlation_id, error_code = struct.unpack(">iih", start)
    return bool(correlation_id == _CORRELATION_ID and error_code == 0)


def _read(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            break
        data += chunk
    return data
