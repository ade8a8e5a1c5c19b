"""The ledger's vocabulary in the changelog: new words, one record per commit, never tombstoned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from streams.kafka.records import record_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streams.domain.packing import VocabularyEntry
    from streams.kafka.records import LogRecord

_KEY_PREFIX = b"v|"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[int, str | list[str]]]).decode


def is_vocabulary(key: bytes) -> bool:
    """Whether a record of the changelog topic holds words."""
    return key.startswith(_KEY_PREFIX)


def vocabulary_record(entries: Sequence[VocabularyEntry]) -> tuple[bytes, bytes]:
    """Key and value for new words."""
    return _KEY_PREFIX + b"%08x" % entries[0].code, _encode([tuple(entry) for entry in entries])


def vocabulary_of(records: Iterable[LogRecord]) -> list[tuple[int, str | list[str]]]:
    """The words of records, in any order."""
    return [entry for record in records for entry in _decode(record_value(record))]
