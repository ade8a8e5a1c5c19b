"""The ledger's vocabulary in the changelog: one record with the new words per commit, never tombstoned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.changelog import decode_words, encode_words, is_words, words_key
from streams.kafka.records import record_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streams.domain.orders.packing import VocabularyEntry
    from streams.kafka.records import LogRecord


def is_vocabulary(key: bytes) -> bool:
    """Whether a record of the changelog topic holds words."""
    return is_words(key)


def vocabulary_record(entries: Sequence[VocabularyEntry]) -> tuple[bytes, bytes]:
    """Key and value of the record for new words."""
    return words_key(entries[0].code), encode_words(entries)


def vocabulary_of(records: Iterable[LogRecord]) -> list[tuple[int, str | list[str]]]:
    """The words in records, whose order does not matter."""
    return [entry for record in records for entry in decode_words(record_value(record))]
