from __future__ import annotations

import pytest
from aiokafka.partitioner import DefaultPartitioner

from schemas.facts import DELIVERIES, ORDERS, PRODUCTION
from streams.kafka.publication import CONTROLS, TARGETS, Publication, foreign_partition, partitions_for


def test_a_record_goes_to_the_partition_that_javas_partitioner_would_choose() -> None:
    keys = [f"SO-2024{number:04d}-{'x' * (number % 7)}".encode() for number in range(500)]
    counts = (4, 7, 3, 1, 1)
    for topic in (ORDERS, DELIVERIES, PRODUCTION, TARGETS, CONTROLS):
        every = list(range(counts[topic]))
        placed = partitions_for([Publication(topic, key, b"") for key in keys], counts)
        assert placed == [DefaultPartitioner()(key, every, every) for key in keys]


def test_topics_that_are_mixed_in_one_call_keep_their_own_number_of_partitions() -> None:
    records = [Publication(number % 5, f"SO-{number}".encode(), b"") for number in range(300)]
    placed = partitions_for(records, (4, 7, 3, 1, 1))
    for record, partition in zip(records, placed, strict=True):
        assert partition == partitions_for([record], (4, 7, 3, 1, 1))[0]
    assert {partition for record, partition in zip(records, placed, strict=True) if record.topic == DELIVERIES} == set(
        range(7)
    )


@pytest.mark.parametrize(("partitions", "expected"), [(4, 0xCBF43926 % 4), (7, 0xCBF43926 % 7), (1, 0)])
def test_the_foreign_publisher_places_by_the_crc_32_of_the_key(partitions: int, expected: int) -> None:
    assert foreign_partition(b"123456789", partitions) == expected
    foreign = Publication(DELIVERIES, b"123456789", b"", crc32_partitioner=True)
    assert partitions_for([foreign], (3, partitions, 1)) == [expected]


def test_a_record_without_a_key_has_a_place_too() -> None:
    assert partitions_for([Publication(ORDERS, None, b"x")], (4, 4, 1))[0] in range(4)
