"""Checks that the record at an offset is still the one that was read there."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schemas.authority import SourceRecord


def digest_of(record: SourceRecord) -> str:
    """A CRC-32 of key and value, as 8 hexadecimal digits."""
    return f"{zlib.crc32(record.value or b'', zlib.crc32(record.key or b'')):08x}"
