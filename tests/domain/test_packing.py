from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.facts import Fact, Kind
from streams.domain.orders.packing import MIN_EVENT_BYTES, Vocabulary, holds, pack, sole_event, unpack
from tests.domain.facts import SU7, VIN, cancelled, delivered, placed, reversal, us, void

names = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=256)
words = st.text("SU7abc.-_", max_size=64)

facts = st.builds(
    Fact,
    kind=st.sampled_from([int(kind) for kind in Kind]),
    order_id=st.just("SO-1"),
    source=names,
    id=names,
    time_us=st.integers(us("2000-01-01T00:00:00Z"), us("2100-01-01T00:00:00Z")),
    vin=st.sampled_from(["", VIN]),
    dims=st.tuples(words, words, words, words),
    extra=st.text(st.characters(exclude_categories=["Cs"]), max_size=80),
    voids=st.none() | st.tuples(names, names),
    backfill=st.booleans(),
    topic=st.sampled_from([0, 1]),
    partition=st.integers(0, 2**16 - 1),
    offset=st.integers(0, 2**63 - 1),
)


@given(st.lists(facts, max_size=6))
def test_events_come_back_as_they_were_packed(events: list[Fact]) -> None:
    vocabulary = Vocabulary()
    blob = b"".join([pack(event, vocabulary) for event in events])
    assert unpack("SO-1", blob, vocabulary.words) == events
    assert all(holds(blob, pack(event, vocabulary)) for event in events)
    assert len(blob) >= MIN_EVENT_BYTES * len(events)


@given(facts, facts)
def test_only_an_event_with_equal_content_is_held(one: Fact, other: Fact) -> None:
    vocabulary = Vocabulary()
    content = [
        (fact.kind, fact.source, fact.id, fact.time_us, fact.vin, fact.dims, fact.extra, fact.voids)
        for fact in (one, other)
    ]
    assert holds(pack(one, vocabulary), pack(other, vocabulary)) == (content[0] == content[1])


def test_an_event_is_the_same_from_wherever_it_is_read_and_backfill_or_not() -> None:
    vocabulary = Vocabulary()
    blob = pack(placed(1), vocabulary) + pack(delivered(2), vocabulary)
    again = delivered(2, backfill=True, offset=99)
    again.topic, again.partition = 0, 3
    assert holds(blob, pack(again, vocabulary))


def test_bytes_that_straddle_two_events_are_no_event() -> None:
    """The bytes of one event are hidden in the text of others; they count only at the start of an event."""
    vocabulary = Vocabulary()
    wanted = pack(placed(us("2024-10-07T00:00:00Z"), "x"), vocabulary)
    smuggler = placed(us("2024-10-07T00:00:00Z"), "y", extra=wanted[11:].decode("latin-1"))
    blob = pack(smuggler, vocabulary)
    # Only ASCII stays unchanged in UTF-8, so put the raw bytes in place of the text, and keep the length correct.
    raw = wanted[11:]
    tampered = blob[: -len(smuggler.extra.encode())] + raw + b"." * (len(smuggler.extra.encode()) - len(raw))
    assert raw in tampered
    assert not holds(tampered, wanted)
    assert holds(tampered + wanted, wanted)


@pytest.mark.parametrize(
    ("blob_of", "found"),
    [
        ([placed(7, extra="channel=app")], (Kind.PLACED, 7)),
        ([delivered(8)], (Kind.DELIVERED, 8)),
        ([reversal(9, extra="reason")], (Kind.REVERSED, 9)),
        ([placed(7), cancelled(8)], (0, 0)),
        ([void(7, "p")], (Kind.VOIDED, 7)),
    ],
)
def test_an_order_with_one_event_tells_its_kind_and_time(blob_of: list[Fact], found: tuple[int, int]) -> None:
    vocabulary = Vocabulary()
    assert sole_event(b"".join(pack(fact, vocabulary) for fact in blob_of)) == found


def test_a_delivered_event_with_a_uuid_takes_less_than_100_bytes() -> None:
    packed = pack(delivered(1, "8f14e45f-ea3c-4d2b-9d0b-6a3f0f6f2b11"), Vocabulary())
    assert len(packed) == 34 + 36 + 17


@pytest.mark.parametrize("vin", ["SHORT", VIN + "1"])
def test_a_vin_that_no_valid_event_has_is_not_packed(vin: str) -> None:
    with pytest.raises(ValueError, match="17 characters"):
        pack(delivered(1, vin=vin), Vocabulary())


def test_each_word_is_drained_once_and_taken_back_in_any_order() -> None:
    vocabulary = Vocabulary()
    pack(placed(1), vocabulary)
    first = vocabulary.drain()
    pack(placed(1), vocabulary)
    pack(delivered(2, source="/factories/bj1"), vocabulary)
    second = vocabulary.drain()
    assert [entry.word for entry in first] == ["/sales/web", SU7]
    assert second == [(2, "/factories/bj1")]
    restored = Vocabulary()
    restored.restore([*second, *first, *second])
    assert restored.words == vocabulary.words
    assert restored.codes == vocabulary.codes
    assert restored.drain() == []
    assert restored.code("/new") == 3


def test_dims_that_come_back_from_json_as_a_list_are_dims_again() -> None:
    vocabulary = Vocabulary()
    vocabulary.restore([(0, ["SU7", "Max", "BJ1", "CN-11"])])
    assert vocabulary.code(SU7) == 0


@pytest.mark.parametrize(
    ("entries", "line"),
    [
        ([(0, "/a"), (2, "/c")], "a word 2, but no word 1"),
        ([(0, "/a"), (0, "/b")], "contradicts itself at word 0"),
        ([(0, "/a"), (1, "/a")], "contradicts itself at word 1"),
    ],
)
def test_a_vocabulary_with_gaps_or_contradictions_is_refused(entries: list[tuple[int, str]], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        Vocabulary().restore(entries)
