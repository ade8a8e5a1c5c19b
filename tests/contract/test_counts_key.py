"""Keys of day counts are read as they were written."""

from __future__ import annotations

from datetime import date

import pytest

from schemas.counts import CountsKey, decode_counts_key, encode_marker_key
from tests.support.count_keys import encode_day_key


def test_a_cell_keeps_its_bytes_and_reads_back() -> None:
    key = encode_day_key(2, "deliveries", "model=SU7", date(2024, 10, 7))
    assert key == b"2|deliveries|model=SU7|2024-10-07"
    assert decode_counts_key(key) == CountsKey(2, ("deliveries", "model=SU7", date(2024, 10, 7)))


def test_a_marker_keeps_its_bytes_and_names_no_cell() -> None:
    assert encode_marker_key(11) == b"11|applied"
    assert decode_counts_key(b"11|applied") == CountsKey(11, None)


@pytest.mark.parametrize("key", [b"", b"1", b"1|deliveries", b"x|applied", b"1|deliveries|all", b"1|a|b|2024-10-07|c"])
def test_any_other_key_is_refused(key: bytes) -> None:
    with pytest.raises(ValueError, match=r"unpack|invalid|Invalid|isoformat"):
        decode_counts_key(key)
