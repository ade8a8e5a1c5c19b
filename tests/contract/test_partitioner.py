"""The home of an order is where Kafka's Java clients put it."""

from __future__ import annotations

import pytest
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from hypothesis import given
from hypothesis import strategies as st

from schemas.partitioner import homes, murmur2
from schemas.texts import tidy_key


@pytest.mark.parametrize(
    ("key", "signed"),
    [
        # From the tests of the Java client, where the hash is a signed number.
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_that_of_the_java_client(key: bytes, signed: int) -> None:
    assert murmur2(key) == signed % 2**32
    assert homes([key] * 20, 1000) == [(signed % 2**32 & 0x7FFFFFFF) % 1000] * 20


@given(st.lists(st.binary(max_size=40), max_size=60), st.integers(1, 50))
def test_keys_hashed_together_have_the_homes_that_a_producer_would_choose(keys: list[bytes], partitions: int) -> None:
    assert homes(keys, partitions) == [(aiokafka_murmur2(tidy_key(key)) & 0x7FFFFFFF) % partitions for key in keys]
    assert [murmur2(key) for key in keys] == [aiokafka_murmur2(key) % 2**32 for key in keys]


@pytest.mark.parametrize("length", range(20))
def test_keys_of_one_length_have_the_same_homes_as_one_by_one(length: int) -> None:
    keys = [bytes((number * 31 + position * 7) % 256 for position in range(length)) for number in range(100)]
    expected = [(aiokafka_murmur2(key) & 0x7FFFFFFF) % 7 for key in keys]
    assert homes(keys, 7) == expected
    assert all(type(home) is int for home in homes(keys, 7))


def test_no_keys_have_no_homes() -> None:
    assert homes([], 4) == []
