"""A day is over only when everything appended before its end is counted, including forwarded records."""

from __future__ import annotations

from datetime import date
from typing import Any, NamedTuple

import msgspec

from schemas.codec import encode_day_count, encode_marker
from schemas.counts import decode_counts_key, encode_marker_key
from schemas.facts import DayCount
from schemas.outputs import Books, Marker
from streams.totals.shards import Shards
from tests.support.count_keys import encode_day_key

MIDNIGHT_US = 1_000_000


class Record(NamedTuple):
    """What a reader of the counts gets."""

    key: bytes
    value: bytes
    offset: int = 0


def marker(
    *,
    upto_us: int,
    forwarded: dict[int, int] | None = None,
    arrived: dict[int, int] | None = None,
    rerouted: int | None = None,
    read: int | None = None,
    clock_us: int = 0,
) -> Marker:
    """A marker whose books agree with `forwarded` and `arrived` unless given separately."""
    forwarded, arrived = forwarded or {}, arrived or {}
    rerouted = sum(forwarded.values()) if rerouted is None else rerouted
    read = sum(arrived.values()) if read is None else read
    return Marker(
        positions={},
        books={
            "orders": Books(read=rerouted, applied=0, duplicates=0, dead_letters=0, rerouted=rerouted),
            "rerouted": Books(read=read, applied=read, duplicates=0, dead_letters=0, rerouted=0),
        },
        fingerprint="",
        rebuilding=False,
        caught_up=False,
        caught_up_us=upto_us,
        clock_us=clock_us,
        sources={},
        backfilled=0,
        partitions=3,
        forwarded=forwarded,
        arrived=arrived,
    )


def shards(*markers: Marker) -> Shards:
    """The shards after one marker of each."""
    made = Shards(len(markers), "rerouted")
    for number, one in enumerate(markers):
        say(made, number, one)
    return made


def say(made: Shards, number: int, one: Marker) -> None:
    """Takes a marker of one shard."""
    record: Any = Record(encode_marker_key(number), encode_marker(one))
    assert [shard for shard, _ in made.take([record])] == [number]


def test_a_day_is_not_over_while_its_last_record_is_between_a_shard_and_its_home() -> None:
    """The home reports first; then another shard forwards it a record that was appended before midnight."""
    made = shards(marker(upto_us=MIDNIGHT_US), marker(upto_us=0), marker(upto_us=MIDNIGHT_US))
    assert made.settled
    assert not made.read_up_to(MIDNIGHT_US)
    say(made, 1, marker(upto_us=MIDNIGHT_US, forwarded={0: 1}))
    assert not made.read_up_to(MIDNIGHT_US)
    say(made, 0, marker(upto_us=MIDNIGHT_US + 5))
    assert not made.read_up_to(MIDNIGHT_US)
    say(made, 0, marker(upto_us=MIDNIGHT_US + 9, arrived={1: 1}))
    assert made.read_up_to(MIDNIGHT_US)


def test_arrivals_from_another_shard_do_not_stand_for_those_that_are_missing() -> None:
    made = shards(
        marker(upto_us=MIDNIGHT_US), marker(upto_us=MIDNIGHT_US, forwarded={0: 1}), marker(upto_us=MIDNIGHT_US)
    )
    assert not made.read_up_to(MIDNIGHT_US)
    say(made, 2, marker(upto_us=MIDNIGHT_US + 1, forwarded={0: 1}))
    say(made, 0, marker(upto_us=MIDNIGHT_US + 1, arrived={2: 1}))
    assert not made.read_up_to(MIDNIGHT_US)
    say(made, 0, marker(upto_us=MIDNIGHT_US + 2, arrived={2: 1, 1: 1}))
    assert made.read_up_to(MIDNIGHT_US)


def test_what_is_forwarded_later_does_not_hold_a_day_open() -> None:
    """A steady stream of forwarded records must not keep days from ending."""
    made = shards(marker(upto_us=MIDNIGHT_US), marker(upto_us=MIDNIGHT_US), marker(upto_us=MIDNIGHT_US))
    assert made.read_up_to(MIDNIGHT_US)
    say(made, 1, marker(upto_us=MIDNIGHT_US + 1, forwarded={0: 7}))
    assert made.read_up_to(MIDNIGHT_US)
    assert not made.read_up_to(MIDNIGHT_US + 1)


def test_by_the_events_clock_forwarded_records_are_waited_for_as_well() -> None:
    late: dict[str, Any] = {"upto_us": 0, "clock_us": MIDNIGHT_US}
    made = shards(marker(**late), marker(**late, forwarded={2: 1}), marker(**late))
    assert not made.told_up_to(MIDNIGHT_US)
    say(made, 2, marker(**late, arrived={1: 1}))
    assert made.told_up_to(MIDNIGHT_US)


def test_a_state_that_began_before_ways_were_counted_goes_by_the_sums() -> None:
    """One shard knows how much it has forwarded but not where to; days still end."""
    made = shards(
        marker(upto_us=MIDNIGHT_US, read=5),
        marker(upto_us=MIDNIGHT_US, forwarded={0: 1}, rerouted=6),
        marker(upto_us=MIDNIGHT_US),
    )
    assert not made.read_up_to(MIDNIGHT_US)
    say(made, 0, marker(upto_us=MIDNIGHT_US, read=6, arrived={1: 1}))
    assert made.read_up_to(MIDNIGHT_US)


def test_what_was_forwarded_before_a_rebuild_is_waited_for_too() -> None:
    """The originals are gone, so the books lack the record; it reaches its home before the one forwarded last."""
    made = shards(
        marker(upto_us=MIDNIGHT_US),
        marker(upto_us=MIDNIGHT_US, forwarded={0: 3}, rerouted=1),
        marker(upto_us=MIDNIGHT_US),
    )
    say(made, 0, marker(upto_us=MIDNIGHT_US + 1, arrived={1: 2}))
    assert not made.settled
    assert not made.read_up_to(MIDNIGHT_US)
    say(made, 0, marker(upto_us=MIDNIGHT_US + 2, arrived={1: 3}))
    assert made.read_up_to(MIDNIGHT_US)


def test_each_day_waits_for_what_was_forwarded_before_its_own_end() -> None:
    """A complete previous day says nothing about this one."""
    next_midnight_us = MIDNIGHT_US + 10
    made = shards(marker(upto_us=MIDNIGHT_US), marker(upto_us=MIDNIGHT_US), marker(upto_us=MIDNIGHT_US))
    assert made.read_up_to(MIDNIGHT_US)
    for number, forwarded in enumerate(({}, {0: 1}, {})):
        say(made, number, marker(upto_us=next_midnight_us, forwarded=forwarded))
    assert not made.read_up_to(next_midnight_us)
    say(made, 0, marker(upto_us=next_midnight_us, arrived={1: 1}))
    assert made.read_up_to(next_midnight_us)


def test_a_shard_that_has_fallen_behind_may_forward_more_before_a_day_is_over() -> None:
    """With `clock = "events"`, `caught_up` comes and goes: records forwarded in between count for the day, too."""
    behind: dict[str, Any] = {"upto_us": 0, "clock_us": 0}
    there: dict[str, Any] = {"upto_us": 0, "clock_us": MIDNIGHT_US}
    made = shards(marker(**there), marker(**there), marker(**there))
    assert made.told_up_to(MIDNIGHT_US)
    say(made, 1, marker(**behind))
    assert not made.told_up_to(MIDNIGHT_US)
    say(made, 1, marker(**there, forwarded={0: 1}))
    assert not made.told_up_to(MIDNIGHT_US)
    say(made, 0, marker(**there, arrived={1: 1}))
    assert made.told_up_to(MIDNIGHT_US)


def test_counts_wait_for_their_marker_and_a_snapshot_begins_before_the_first_that_waits() -> None:
    made = Shards(3, "rerouted")

    def count(shard: int, offset: int) -> Any:
        key = encode_day_key(shard, "orders", "all", date(2024, 10, 7))
        value = encode_day_count(DayCount(1, 0, [1, *[0] * 23], None))
        return Record(key, value, offset)

    assert list(made.take([count(1, 10)])) == list(made.take([count(0, 11), count(1, 12)])) == []
    assert made.counted_before(13) == 10
    marked: Any = Record(encode_marker_key(1), encode_marker(marker(upto_us=0)), 13)
    ((shard, applied),) = made.take([count(1, 12), marked])
    assert (shard, [decode_counts_key(key).day for key, _ in applied]) == (
        1,
        [("orders", "all", date(2024, 10, 7))] * 3,
    )
    assert made.counted_before(14) == 11


def test_nothing_is_settled_while_a_shard_counts_by_former_aliases() -> None:
    made = Shards(2, "rerouted", "model:su7=SU7")
    for number, aliases in ((0, "model:su7=SU7"), (1, ""), (1, "model:su7=SU7")):
        before = made.settled
        say(made, number, msgspec.structs.replace(marker(upto_us=1), aliases=aliases))
    assert (before, made.settled) == (False, True)
