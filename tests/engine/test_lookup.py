"""Finding orders in the changelog: the index agrees with the ledger, whatever was merged, kept and read later."""

from __future__ import annotations

import random
from datetime import date
from typing import TYPE_CHECKING

import pytest

from schemas.changelog import decode_entries
from schemas.facts import NO_DIMS, Fact, Kind
from schemas.outputs import EVENT_EFFECTS
from streams.domain.ledger import Ledger
from streams.domain.orders.packing import unpack
from streams.domain.scopes.scopes import Scopes
from streams.domain.time.zone import BusinessZone
from streams.holidays import load_calendar
from streams.ledger.changelog import FULL_BYTES, Changelog
from streams.ledger.vocabulary import vocabulary_record
from streams.lookup import postings as module
from streams.lookup.finder import FoundOrder, Reach, Waiting
from streams.lookup.index import EVENT, ORDER, VIN, PartitionIndex
from streams.lookup.order_history import OrderLetter, OrderStory, Teller
from streams.lookup.postings import Postings
from streams.lookup.rejected_records import said_by
from streams.settings import Settings
from tests.support.outputs import Record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ZONE = BusinessZone("Asia/Shanghai")
SU7 = ("SU7", "Pro", "BJ1", "CN-11")
#: Noon in Shanghai on 7 October 2024.
NOON_US = 1_728_273_600_000_000
DAY_US = 86_400_000_000
NOTHING_WAITS = Reach(Waiting(0, 0))


def fact(  # noqa: PLR0917 - as a row of a table
    kind: Kind,
    identity: str,
    days: float = 0,
    order_id: str = "SO-1",
    vin: str = "",
    voids: tuple[str, str] | None = None,
) -> Fact:
    dims = SU7 if kind in (Kind.PLACED, Kind.DELIVERED) else NO_DIMS
    return Fact(kind, order_id, "/sales", identity, NOON_US + int(days * DAY_US), vin, dims, "", voids, False, 0, 1, 7)


class Log:
    """The changelog of a ledger partition, as seen by readers that began early or late."""

    def __init__(self) -> None:
        self.ledger = Ledger(ZONE, Scopes())
        self.changelog = Changelog(self.ledger.blob, self.ledger.order_ids)
        self.records: list[Record] = []

    def commit(self, facts: Sequence[Fact]) -> None:
        self.ledger.apply(facts)
        changes = self.ledger.drain()
        if changes.vocabulary:
            self._append(*vocabulary_record(changes.vocabulary))
        for key, value in self.changelog.write(changes.orders.chunks(FULL_BYTES), self.ledger.state_bytes):
            self._append(key, value)

    def _append(self, key: bytes, value: bytes | None) -> None:
        self.records.append(Record(key, value, len(self.records)))

    def blob(self, index: PartitionIndex, order_id: str) -> bytes | None:
        for offset in index.find(ORDER, order_id.encode()):
            for each, blob in decode_entries(self.records[offset].value or b""):
                if each == order_id:
                    return blob
        return None


def test_every_order_is_found_as_it_is_now_whatever_was_merged_kept_and_read_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GATHERED", 50)
    dice = random.Random(7)
    log, index = Log(), PartitionIndex(ZONE)
    read = 0
    for step in range(400):
        number = dice.randrange(120)
        kinds = (Kind.PLACED, Kind.DELIVERED)
        vin = f"LNBSU7A10R{number:07d}"
        log.commit(
            [
                fact(kind, f"e-{step}-{kind}", step / 40, f"SO-{number}", vin=vin if kind == Kind.DELIVERED else "")
                for kind in kinds
            ]
        )
        if dice.random() < 0.2:
            index.add(log.records[read:])
            read = len(log.records)
        if dice.random() < 0.05:
            index.save(tmp_path)
            if dice.random() < 0.5:
                index = PartitionIndex(ZONE)
                index.load(tmp_path)
            assert index.next == read
    index.add(log.records[read:])
    for order_id in log.ledger.order_ids():
        assert log.blob(index, order_id) == log.ledger.blob(order_id)
        for event in unpack(order_id, log.ledger.blob(order_id), index.vocabulary.words):
            for kind, text in ((EVENT, event.id), (VIN, event.vin)):
                holders = {
                    each
                    for offset in index.find(kind, text.encode())
                    for each, _ in decode_entries(log.records[offset].value or b"")
                }
                assert not text or order_id in holders
            day = ZONE.date_of(event.time_us)
            holding = set(index.find(ORDER, order_id.encode()))
            assert set(index.find_days([day])) & holding
            assert not event.vin or set(index.find_days([day], of_vehicles=True)) & holding
    assert log.blob(index, "SO-none") is None
    assert index.find_days([date(2001, 1, 1)]) == []


def test_what_was_kept_by_another_zone_or_is_broken_is_not_used(tmp_path: Path) -> None:
    log, index = Log(), PartitionIndex(ZONE)
    log.commit([fact(Kind.PLACED, "p")])
    index.add(log.records)
    index.save(tmp_path)
    other = PartitionIndex(BusinessZone("Europe/Berlin"))
    other.load(tmp_path)
    assert other.next == 0
    (tmp_path / "index.json").write_text('{"format": 1')
    index.load(tmp_path)
    assert (index.next, index.chunks) == (0, [])


def test_what_is_kept_replaces_files_of_another_content(tmp_path: Path) -> None:
    log, berlin = Log(), PartitionIndex(BusinessZone("Europe/Berlin"))
    # Half past midnight in Shanghai, the day before in Berlin.
    log.commit([fact(Kind.DELIVERED, "d", 12.5 / 24, vin="LNBSU7A10R1000123")])
    berlin.add(log.records)
    berlin.save(tmp_path)
    index = PartitionIndex(ZONE)
    index.load(tmp_path)
    index.add(log.records)
    index.save(tmp_path)
    for day, found in ((7, 0), (8, 1)):
        assert len(index.find_days([date(2024, 10, day)], of_vehicles=True)) == found


def test_hashes_that_collide_are_all_found() -> None:
    made = Postings()
    made.add([5, 5, 9], 10, {10, 11})
    made.gather({10, 11})
    made.add([5], 11, {10, 11})
    assert made.find(5) == {10, 11}
    assert made.find(6) == set()


def told(
    facts: Sequence[Fact], reach: Reach = NOTHING_WAITS, letters: Sequence[OrderLetter] = (), **settings: object
) -> OrderStory:
    chosen = Settings.model_validate(settings)
    teller = Teller(chosen, load_calendar(("national-day",), ZONE, "CN"), vins_shown=True)
    return teller.story("SO-1", 0, FoundOrder("SO-1", 0, list(facts)) if facts else None, reach, letters)


LETTER = OrderLetter(
    reason="malformed_json",
    message="m",
    topic="t",
    partition=0,
    offset=1,
    rejected_at="2024-10-07T10:00:00Z",
    command="c",
)


@pytest.mark.parametrize(
    ("reach", "letters", "state"),
    [
        (NOTHING_WAITS, [], "unknown"),
        (NOTHING_WAITS, [LETTER], "rejected"),
        (Reach(None), [], "not_known"),
        (Reach(None), [LETTER], "not_known"),
        (Reach(Waiting(3, 0)), [], "unknown"),
        (Reach(Waiting(3, 1)), [], "waiting"),
        (Reach(Waiting(30_000, None)), [], "not_known"),
        (Reach(Waiting(0, 0), [0]), [], "not_known"),
    ],
)
def test_what_is_not_known_yet_is_never_called_not_counted(
    reach: Reach, letters: list[OrderLetter], state: str
) -> None:
    assert told([], reach, letters).state == state


def test_a_story_says_what_each_event_did_and_where_the_order_counts() -> None:
    vin = "LNBSU7A10R1000123"
    story = told(
        [
            fact(Kind.PLACED, "p", -2),
            fact(Kind.PLACED, "p2", -1),
            fact(Kind.DELIVERED, "d", 0, vin=vin),
            fact(Kind.DELIVERED, "d2", 1, vin=vin),
            fact(Kind.VOIDED, "v", 2, voids=("/sales", "p2")),
            fact(Kind.VOIDED, "v2", 2, voids=("/sales", "nothing")),
        ]
    )
    assert {event.id: event.effect for event in story.events} == {
        "p": "placed",
        "p2": "voided",
        "d": "delivered",
        "d2": "delivered_twice",
        "v": "voids",
        "v2": "void_of_unknown_event",
    }
    assert all(event.effect in EVENT_EFFECTS for event in story.events)
    assert story.state == "counted"
    assert [(unit.metric, unit.date) for unit in story.units] == [
        ("orders_placed", "2024-10-05"),
        ("orders", "2024-10-05"),
        ("deliveries", "2024-10-07"),
    ]
    assert story.units[2].scopes == ["model=SU7", "all"]
    assert story.units[2].periods == [
        "day:2024-10-07",
        "month:2024-10",
        "year:2024",
        "holiday:national-day:2024",
    ]
    assert [each.kind for each in story.violations] == ["delivered_twice", "void_of_unknown_event"]
    assert [event.id for event in story.events if event.correction] == ["p", "d", "d2"]


@pytest.mark.parametrize(
    ("built", "scrapped", "since", "is_wrong"),
    [
        (-3, None, "", False),
        (None, None, "", True),
        (1, None, "", True),
        (-3, -2, "", True),
        (-3, 2, "", False),
        (None, None, "2024-10-08", False),
        (None, None, "2024-10-07", True),
    ],
)
def test_a_story_says_that_the_vehicle_was_not_produced(
    built: float | None, scrapped: float | None, since: str, *, is_wrong: bool
) -> None:
    vin = "LNBSU7A10R1000123"
    settings = Settings(families=("orders", "deliveries", "production"), production_since=since)
    teller = Teller(settings, load_calendar(("national-day",), ZONE, "CN"), vins_shown=False)
    facts = [fact(Kind.PLACED, "p", -2), fact(Kind.DELIVERED, "d", 0, vin=vin)]
    vehicle = [
        fact(kind, kind.name, day, vin=vin)
        for kind, day in ((Kind.PRODUCED, built), (Kind.SCRAPPED, scrapped))
        if day is not None
    ]
    found = FoundOrder("SO-1", 0, facts)
    assert teller.vehicle_of(found) == ("" if since == "2024-10-08" else vin)
    known = vehicle if teller.vehicle_of(found) else None
    story = teller.story("SO-1", 0, found, NOTHING_WAITS, [], vehicle=known)
    kind = "delivered_without_production"
    assert [(each.kind, each.id) for each in story.violations] == [(kind, "d")] * is_wrong
    assert [event.effect for event in story.events] == ["placed", kind if is_wrong else "delivered"]
    came_back = FoundOrder("SO-1", 0, [*facts, fact(Kind.REVERSED, "r", 3, vin=vin)])
    assert teller.vehicle_of(came_back) == ""
    assert Teller(Settings(), load_calendar((), ZONE, "CN"), vins_shown=True).vehicle_of(found) == ""


@pytest.mark.parametrize(
    ("built", "wrong"), [(None, ["SO-2", "SO-1"]), (-3.0, []), (0.5, ["SO-2", "SO-1"]), (0.0, ["SO-2"])]
)
def test_a_vehicle_says_which_of_its_deliveries_it_was_not_produced_for(built: float | None, wrong: list[str]) -> None:
    vin, kind = "LNBSU7A10R1000123", "delivered_without_production"
    settings = Settings(families=("orders", "deliveries", "production"))
    teller = Teller(settings, load_calendar(("national-day",), ZONE, "CN"), vins_shown=True)
    assert [teller.may_be_vehicle(number) for number in (vin, "SO-1", vin.lower())] == [True, False, False]
    assert not Teller(Settings(), load_calendar((), ZONE, "CN"), vins_shown=True).may_be_vehicle(vin)
    orders = [
        FoundOrder("SO-1", 0, [fact(Kind.DELIVERED, "d1", 0, vin=vin)]),
        FoundOrder("SO-2", 0, [fact(Kind.DELIVERED, "d2", -1, vin=vin)]),
        FoundOrder("SO-3", 0, [fact(Kind.DELIVERED, "d3", 0, vin="LNBSU7A10R1000999")]),
        FoundOrder("SO-4", 0, [fact(Kind.DELIVERED, "d4", 0, vin=vin), fact(Kind.REVERSED, "r4", 1, vin=vin)]),
    ]
    vehicle = FoundOrder(vin, 0, [fact(Kind.PRODUCED, "b", built, vin=vin)]) if built is not None else None
    story = teller.story(vin, 0, vehicle, NOTHING_WAITS, [], delivered=orders)
    assert [(each.kind, each.order_id) for each in story.violations] == [(kind, order_id) for order_id in wrong]
    assert story.is_vehicle or not wrong
    assert (story.state == "unknown") is (vehicle is None)


def test_an_order_that_came_back_or_was_cancelled_says_so() -> None:
    vin = "LNBSU7A10R1000123"
    back = told([fact(Kind.DELIVERED, "d", 0, vin=vin), fact(Kind.REVERSED, "r", 1, vin=vin)], families=("deliveries",))
    assert [event.effect for event in back.events] == ["delivered_reversed", "reversed"]
    assert [unit.metric for unit in back.units] == ["reversals"]
    cancelled = told([fact(Kind.CANCELLED, "c", 1), fact(Kind.PLACED, "p", 0)])
    assert [event.effect for event in cancelled.events] == ["cancelled", "placed_cancelled"]
    alone = told([fact(Kind.CANCELLED, "c", 1)])
    assert (alone.state, [event.effect for event in alone.events]) == ("not_counted", ["cancelled_without_order"])


@pytest.mark.parametrize(
    ("key", "value", "headers", "said"),
    [
        (b" SO-1 ", b"not JSON", [], ("SO-1", "", "", "")),
        (b"SO-1", b'{"source":"/a","id":"i","data":{"order_id":"SO-2","vin":"V"}}', [], ("SO-1", "/a", "i", "V")),
        (None, b'{"data":{"order_id":"SO-2"}}', [], ("SO-2", "", "", "")),
        (None, b'{"order_id":"SO-3","vin":"W"}', [("ce_type", b"t"), ("ce_id", b"j")], ("SO-3", "", "j", "W")),
        (None, None, [], ("", "", "", "")),
        (b"\xff", b"[1]", [("x", None)], ("\ufffd", "", "", "")),
    ],
)
def test_what_a_rejected_record_says_of_itself(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]], said: tuple[str, ...]
) -> None:
    assert said_by(key, value, headers) == said


def test_units_of_a_scope_without_rows_are_found_where_they_count() -> None:
    teller = Teller(Settings(), load_calendar(("national-day",), ZONE, "CN"), vins_shown=True)
    order = FoundOrder("SO-1", 0, [fact(Kind.PLACED, "p", 0)])

    def found(scope: str, with_rows: set[str] | None) -> int:
        return len(teller.units_on(order, "orders", scope, "2024-10-07", with_rows))

    assert [found("model=SU7", rows) for rows in (None, {"model=SU7"}, {"model=other"})] == [1, 1, 0]
    assert [found("model=other", rows) for rows in (None, {"model=SU7"}, {"model=other"})] == [0, 0, 1]
    assert [found("all", rows) for rows in (None, {"all"}, set())] == [1, 1, 1]
