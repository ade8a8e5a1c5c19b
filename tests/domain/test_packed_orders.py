"""To its callers, the compiled store of orders behaves like a dict, whatever bytes it is given."""

from __future__ import annotations

import platform
import random
import resource
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schemas.changelog import decode_entries, encode_entries
from streams.domain import hotpath
from streams.domain.orders import steps
from streams.domain.orders.packing import Vocabulary, pack
from tests.domain.facts import SU7, chunks_of, delivered, placed, us
from tests.domain.test_ledger_properties import new_ledger
from tests.domain.test_steps import facts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.domain.orders.steps import PackedOrders

pytestmark = pytest.mark.skipif(bool(hotpath.WHY_PYTHON), reason=f"not compiled: {hotpath.WHY_PYTHON}")

WORDS: Final = Vocabulary()
UUIDS: Final = [
    "8f14e45f-ea3c-4d2b-9d0b-00000000002a",
    "8F14E45F-ea3c-4d2b-9d0b-00000000002a",
    "8f14e45f-ea3c-4d2b-9d0b-00000000002g",
    "8f14e45f.ea3c-4d2b-9d0b-00000000002a",
    "红" + "0" * 35,
]


packed: Final = st.builds(
    lambda fact, identity, time_us: pack(_with(fact, identity, time_us), WORDS),
    facts,
    st.sampled_from(["", *UUIDS]),
    st.sampled_from([0, 0, -1, 2**56 - 1, 2**56]),
)
#: Events, parts of events, and other bytes.
blobs: Final = st.one_of(
    st.lists(packed, max_size=3).map(b"".join),
    st.tuples(packed, st.integers(0, 80)).map(lambda cut: cut[0][: -cut[1] or None]),
    st.binary(max_size=120),
)
order_ids: Final = st.one_of(st.sampled_from(["SO-1", "SO-2", "订单", "", "x" * 300]), st.integers(0, 40).map(str))


def _with(fact: Any, identity: str, time_us: int) -> Any:
    if identity:
        fact.id = identity
    if time_us:
        fact.time_us = time_us
    return fact


def compiled() -> PackedOrders:
    orders: PackedOrders = hotpath._steps.PackedOrders()
    return orders


@settings(max_examples=max(300, settings().max_examples))
@given(
    st.lists(
        st.tuples(st.sampled_from(["put", "add", "add", "get", "walk"]), order_ids, blobs),
        max_size=40,
    )
)
def test_they_are_as_a_dict_after_each_of_any_steps(did: list[tuple[str, str, bytes]]) -> None:
    orders, known = compiled(), dict[str, bytes]()
    for what, order_id, blob in did:
        match what:
            case "put":
                orders[order_id] = known[order_id] = blob
            case "add":
                orders[order_id] = known[order_id] = known.get(order_id, b"") + blob
            case "walk":
                assert list(orders.items()) == list(known.items())
                assert list(orders) == list(known)
        assert orders.get(order_id) == known.get(order_id)
        assert (order_id in orders, len(orders)) == (order_id in known, len(known))
    again = compiled()
    again.update(known)
    again.update(list(known.items()))
    assert list(again.items()) == list(orders.items()) == list(known.items())
    assert all(again[order_id] == orders[order_id] == blob for order_id, blob in known.items())


def lives(first: int, orders: int) -> dict[str, tuple[bytes, bytes]]:
    """Orders that were placed and delivered, with the usual kinds of ids."""
    made = {}
    for number in range(first, first + orders):
        identity = (str(uuid.UUID(int=number << 64 | kind)) for kind in (1, 2))
        order, at = f"SO-{number:09d}", us("2024-10-07T10:00:00") + number
        events = placed(at, next(identity), order=order), delivered(at + 10**12, next(identity), order=order, dims=SU7)
        for event in events:
            event.offset = number
        made[order] = pack(events[0], WORDS), pack(events[1], WORDS)
    return made


def test_many_orders_with_their_ids_take_130_bytes_each_and_are_all_found() -> None:
    orders, known = compiled(), lives(0, 30_000)
    for order_id, (first, _) in known.items():
        orders[order_id] = first
    for order_id, (first, second) in known.items():
        orders[order_id] = first + second
    assert list(orders.items()) == [(order_id, b"".join(events)) for order_id, events in known.items()]
    assert all(orders.get(f"{order_id}x") is None for order_id in known)
    # The last block is not yet full.
    assert (sys.getsizeof(orders) - 2**20) / len(orders) < 130


def test_orders_whose_ids_have_the_same_hash_are_told_apart() -> None:
    """The index knows 32 bits of a hash, so about ten pairs of these are alike."""
    orders = compiled()
    orders.update((str(number), b"%d" % number) for number in range(300_000))
    assert len(orders) == 300_000
    assert all(orders[str(number)] == b"%d" % number for number in range(300_000))


def test_orders_that_come_while_others_are_gone_through_are_left_out() -> None:
    orders = compiled()
    orders.update((f"SO-{number}", b"first") for number in range(100))
    seen = []
    for number, order_id in enumerate(hotpath._steps.order_ids(orders)):
        orders.update((f"SO-{number}-{other}", b"x" * 40) for other in range(20))
        orders[order_id] += b"second"
        seen.append(order_id)
    assert seen == [f"SO-{number}" for number in range(100)]
    assert len(orders) == 100 + 100 * 20


@pytest.mark.parametrize("odd", [["no text"], "\ud800", 7, None], ids=repr)
def test_an_id_that_is_no_text_raises(odd: Any) -> None:
    orders = compiled()
    with pytest.raises((TypeError, UnicodeError)):
        orders[odd] = b""
    assert (len(orders), list(orders)) == (0, [])
    with pytest.raises(KeyError):
        orders["SO-1"]


@pytest.mark.parametrize("odd", [None, "text", bytearray(b"x")], ids=repr)
def test_events_that_are_no_bytes_raise(odd: Any) -> None:
    with pytest.raises(TypeError):
        compiled()["SO-1"] = odd


def whole(sizes: Sequence[int]) -> bytes:
    return b"".join(bytes([size % 251]) * size for size in sizes)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 2**20 - 1, 2**20, 3 * 2**20])
def test_an_order_larger_than_a_block_is_kept_as_any_other(size: int) -> None:
    orders = compiled()
    orders["before"], orders["SO-1"], orders["after"] = b"1", whole([size]), b"2"
    orders["SO-1"] += whole([size, 7])
    expected = {"before": b"1", "SO-1": whole([size, size, 7]), "after": b"2"}
    assert dict(orders.items()) == expected


numbers: Final = st.integers(0, 3)


times: Final = st.integers(-50, 50)


@given(
    st.lists(st.tuples(numbers, st.lists(st.tuples(st.integers(0, 60), times), min_size=1, max_size=5))),
    st.lists(numbers, unique=True),
    st.integers(1, 20),
    times,
    times,
    st.data(),
)
def test_lists_of_orders_are_as_those_in_python_and_give_all_of_a_time(  # noqa: PLR0917 - what is drawn
    notes: list[tuple[int, list[tuple[int, int]]]],
    asked: list[int],
    stretch_bytes: int,
    first_us: int,
    last_us: int,
    data: st.DataObject,
) -> None:
    orders = compiled()
    # Of three blocks, so that addresses differ by much in both directions.
    orders.update((f"订单{number}", bytes([number]) * 100) for number in range(61))
    lists, expected = hotpath._steps.OrderLists(orders, stretch_bytes), steps.OrderLists({}, stretch_bytes)
    for number, noted in notes:
        ids, times_us = [f"订单{order}" for order, _ in noted], [time_us for _, time_us in noted]
        as_places = data.draw(st.booleans())
        for each, in_way in ((lists, orders), (expected, None)):
            if as_places:
                each.note_places(number, places_of_ids(in_way, ids), np.array(times_us, np.int64))
            else:
                each.note(number, ids, min(times_us), max(times_us))
    assert lists.noted(asked) == expected.noted(asked)
    of_time = {
        f"订单{order}"
        for number, noted in notes
        for order, time_us in noted
        if number in asked and first_us <= time_us <= last_us
    }
    for found in (
        [hotpath._steps.order_at(orders, place)[0] for place in lists.places(asked, first_us, last_us).tolist()],
        expected.places(asked, first_us, last_us).tolist(),
    ):
        assert of_time <= set(found) <= set(lists.noted(asked))
        assert len(found) == len(set(found))


def test_of_a_long_list_only_what_was_noted_around_a_time_is_given() -> None:
    orders = compiled()
    ids = list(lives(0, 50_000))
    orders.update((order_id, b"x" * 60) for order_id in ids)
    lists, expected = hotpath._steps.OrderLists(orders), steps.OrderLists({})
    for first in range(0, len(ids), 50):
        for each in (lists, expected):
            each.note(7, ids[first : first + 50], first, first + 49)
    assert len(lists.places([7], 49_000)) < 5_000
    assert len(expected.places([7], 49_000)) < 1_200
    assert len(lists.places([7], 20_000, 20_999)) < 5_000
    assert len(lists.places([7])) == len(expected.places([7])) == len(ids)


def places_of_ids(orders: Any, ids: list[str]) -> Any:
    """The places of orders."""
    if orders is None:
        return np.array(ids, object)
    lists = hotpath._steps.OrderLists(orders)
    places = []
    for order_id in ids:
        lists.note(order_id, [order_id], 0, 0)
        places += lists.places([order_id]).tolist()
    return np.array(places, np.int64)


def test_an_order_takes_five_bytes_in_a_list_whatever_its_place_and_two_after_the_one_before() -> None:
    orders = compiled()
    ids = list(lives(0, 30_000))
    orders.update((order_id, b"x" * 60) for order_id in ids)
    of_any, in_order = (hotpath._steps.OrderLists(orders) for _ in range(2))
    in_order.note(0, ids, 0, 0)
    assert sys.getsizeof(in_order) / len(ids) < 2.3
    random.Random(7).shuffle(ids)
    of_any.note(0, ids, 0, 0)
    assert sys.getsizeof(of_any) / len(ids) < 5
    assert of_any.noted([0]) == ids


def test_an_order_that_is_not_stored_cannot_be_noted() -> None:
    orders = compiled()
    orders["SO-1"] = b""
    lists = hotpath._steps.OrderLists(orders)
    with pytest.raises(KeyError):
        lists.note(0, ["SO-1", "SO-2"], 0, 0)
    assert lists.noted([0]) == []


whole_orders: Final = st.lists(packed, min_size=1, max_size=4).map(b"".join)
chunks: Final = st.lists(
    st.tuples(st.sampled_from(["SO-1", "SO-2", "订单", "", "x" * 300]), whole_orders), max_size=5
).map(encode_entries)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A chunk with another byte, without its end, or with more than that."""
    chunk = draw(chunks)
    at = draw(st.integers(0, len(chunk) - 1))
    return draw(
        st.sampled_from([chunk[:at], chunk[:at] + draw(st.binary(max_size=2)) + chunk[at + 1 :], chunk + b"\x90"])
    )


def restored(way: Any, several: Sequence[bytes]) -> list[Any]:
    """What is to be seen of orders while chunks are put."""
    orders = way.PackedOrders()
    restoring = way.Restoring(orders)
    seen: list[Any] = []
    for number, chunk in enumerate(several):
        try:
            restoring.put([chunk])
            seen.append(len(restoring))
            if number % 2:
                taken = restoring.taken()
                seen += [column.tolist() for column in (*taken.first, *taken.second, taken.followed)]
                seen += [taken.longer, taken.size]
                seen.append([way.order_at(orders, place) for place in taken.places.tolist()])
                lists = way.OrderLists(orders)
                lists.note_places(7, taken.places[::-1].copy(), np.zeros(len(taken.places), np.int64))
                seen.append(lists.noted([7]))
        except ValueError:
            return ["refused"]
    return [*seen, list(orders.items())]


@settings(max_examples=max(300, settings().max_examples))
@given(st.lists(chunks, max_size=4))
def test_orders_in_chunks_are_put_as_in_python(several: list[bytes]) -> None:
    several = [*several, b"\x90"]
    seen = restored(hotpath._steps, several)
    assert seen == restored(steps, several) != ["refused"]


@pytest.mark.parametrize("orders", [15, 16, 17, 31, 32, 33, 1000])
def test_of_an_order_that_a_chunk_has_twice_the_first_entry_counts(orders: int) -> None:
    event, other = pack(placed(10**15), WORDS), pack(delivered(2 * 10**15), WORDS)
    ids = [f"SO-{number}" for number in range(orders)]
    chunk = encode_entries([entry for each in ids for entry in ((each, event), (each, event + other))])
    earlier = encode_entries([(each, other) for each in ("SO-new", *ids)])
    seen = restored(hotpath._steps, [chunk, earlier])
    assert seen == restored(steps, [chunk, earlier])
    assert seen[-1] == [*((each, event) for each in ids), ("SO-new", other)]


def test_orders_that_were_put_can_be_looked_at_while_others_are_put() -> None:
    event, other = pack(placed(10**15), WORDS), pack(delivered(2 * 10**15), WORDS)
    ids = [f"SO-{number:06}" for number in range(60_000)]
    chunks = [
        encode_entries([(each, event + other) for each in some])
        for some in (ids[at : at + 3000] for at in range(0, len(ids), 3000))
    ]
    orders: Any = compiled()
    restoring = hotpath._steps.Restoring(orders)
    restoring.put(chunks[:1])
    with ThreadPoolExecutor(1) as other_thread:
        for number in range(1, len(chunks)):
            places = restoring.taken().places.tolist()
            putting = other_thread.submit(restoring.put, [chunks[number]])
            first = 3000 * (number - 1)
            for _ in range(3):
                seen = [hotpath._steps.order_at(orders, place) for place in places]
                assert seen == [(each, event + other) for each in ids[first : first + 3000]]
            putting.result()
    assert len(orders) == len(ids)
    assert list(orders) == ids


@settings(max_examples=max(300, settings().max_examples))
@given(damaged())
def test_a_damaged_chunk_is_refused_or_read_alike(chunk: bytes) -> None:
    assume(b"\n" not in chunk)  # no id has one, and lists in Python have an id a line
    assert restored(hotpath._steps, [chunk, b"\x90"]) == restored(steps, [chunk, b"\x90"])


#: More than the codes of any packed event.
SOURCES: Final = [f"/{number}" for number in range(2**16)]


def followed(way: Any, several: Sequence[bytes]) -> list[Any]:
    """What is to be seen of orders while chunks are followed."""
    orders = way.PackedOrders()
    touched, last = way.Touched(orders), dict[str, int]()
    try:
        told = [way.follow(chunk, orders, touched, SOURCES, last) for chunk in several]
    except ValueError:
        return ["refused"]
    return [told, list(orders.items()), list(touched.items()), last, way.hours(touched)]


@settings(max_examples=max(300, settings().max_examples))
@given(st.lists(chunks, max_size=4), st.data())
def test_chunks_are_followed_as_in_python(several: list[bytes], data: st.DataObject) -> None:
    # Mostly, later chunks have more of an order.
    known: dict[str, bytes] = {}
    for number, chunk in enumerate(several):
        if data.draw(st.integers(0, 5)):
            entries = [(order_id, known.get(order_id, b"") + blob) for order_id, blob in decode_entries(chunk)]
            known |= dict(entries)
            several[number] = encode_entries(list(dict(entries).items()))
    assert followed(hotpath._steps, several) == followed(steps, several)


@settings(max_examples=max(300, settings().max_examples))
@given(damaged())
def test_a_damaged_chunk_is_refused_or_followed_alike(chunk: bytes) -> None:
    assert followed(hotpath._steps, [chunk]) == followed(steps, [chunk])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only this C library keeps much of what was freed")
def test_what_another_thread_has_freed_is_given_back_once_everything_is_restored() -> None:
    def work(kept: list[bytes]) -> None:
        some = [b"x" * 1_000 + bytes([number % 256]) for number in range(50_000)]
        # What is below it cannot be returned by shortening the heap.
        kept.append(some[-1])

    ledger, again = new_ledger(), new_ledger()
    ledger.apply([placed("2024-10-07T14:03:11+08:00", order="SO-1")])
    changes = ledger.drain()
    last = None
    for piece in again.restoring(changes.vocabulary, chunks_of([changes])):
        last = piece
        if piece is not None:
            piece()
    assert last is not None
    kept: list[bytes] = []
    thread = threading.Thread(target=work, args=(kept,))
    thread.start()
    thread.join()
    before = resident_bytes()
    last()
    assert before - resident_bytes() > 20_000_000


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
