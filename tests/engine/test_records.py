"""Keys, values and headers of records in the log, which others may have written in any form."""

from __future__ import annotations

import pytest

from streams.kafka.records import header_values, record_key, record_value
from tests.support.outputs import Record


def test_key_and_value_of_a_record_that_has_both() -> None:
    record = Record(b"k", b"", 7, topic="rows")
    assert (record_key(record), record_value(record)) == (b"k", b"")


def test_a_record_without_key_or_value_is_named() -> None:
    record = Record(None, None, 7, topic="rows")
    with pytest.raises(ValueError, match=r"^rows-0@7 has no key$"):
        record_key(record)
    with pytest.raises(ValueError, match=r"^rows-0@7 has no value$"):
        record_value(record)


def test_of_headers_the_last_one_with_a_value_counts() -> None:
    record = Record(b"k", b"v", 7, headers=(("a", b"1"), ("b", None), ("a", b"2"), ("a", None)))
    assert header_values(record) == {"a": b"2"}
