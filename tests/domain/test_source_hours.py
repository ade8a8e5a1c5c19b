"""The hours with events of each source: any steps, orders, takeovers and restores, against naive sets of hours."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.changelog import encode_entries
from schemas.counts import encode_marker_key
from schemas.facts import NO_DIMS, Fact, Kind
from schemas.source_hours import SourceKey, decode_hours, decode_hours_key, encode_hours, encode_hours_key
from schemas.texts import scope_of_source, source_of_scope, template_of
from streams.domain.alerts.silences import SilenceAlerts
from streams.domain.counts.source_hours import KEPT_DAYS, MOST_SOURCES, SourceHours
from streams.domain.ledger import Ledger
from streams.domain.rules import Rule
from streams.domain.scopes.scopes import Scopes
from streams.domain.time.daytypes import DayTypes
from streams.domain.time.zone import BusinessZone
from tests.domain import facts as make
from tests.support.count_keys import encode_day_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ZONE = BusinessZone("Asia/Kathmandu", 6)
START_US = make.us("2024-03-30T00:00:00+08:00")
HOUR_US = 3_600_000_000
SOURCES = ("/factories/bj1/dispatch", "/shops/a,b=c|d%2F", "urn:x")
FAMILY = {1: "orders", 2: "orders", 3: "deliveries", 4: "deliveries", 6: "production", 7: "production"}

dates = st.dictionaries(st.integers(738_000, 738_100), st.integers(1, 2**24 - 1), min_size=1, max_size=8)
events = st.lists(
    st.tuples(
        st.sampled_from(list(Kind)),
        st.sampled_from(SOURCES),
        st.integers(0, 100 * 24),  # hours
        st.integers(0, 5),  # orders
        st.integers(0, 3),  # ids
        st.sampled_from([False, False, True]),
    ),
    max_size=60,
)


def fact(drawn: tuple[Kind, str, int, int, int, bool]) -> Fact:
    """An event at some minute of an hour."""
    kind, source, hour, order, number, backfill = drawn
    time_us = START_US + hour * HOUR_US + (hour * 7 % 60) * 60_000_000
    voids = (source, "0") if kind is Kind.VOIDED else None
    return Fact(int(kind), f"SO-{order}", source, f"{number}", time_us, make.VIN, NO_DIMS, "", voids, backfill, 0, 0, 0)


def naive(taken: Iterable[Fact]) -> dict[SourceKey, set[tuple[date, int]]]:
    """Business date and hour of each event except voids and history, in the last 84 dates of its source."""
    found: dict[SourceKey, set[tuple[date, int]]] = {}
    first = {(each.order_id, each.source, each.id): each for each in reversed([*taken])}
    for each in first.values():
        if each.kind in FAMILY and not each.backfill:
            # Business days begin at six, in a zone 5:45 ahead of UTC.
            local = datetime.fromtimestamp(each.time_us / 1e6, UTC) + timedelta(hours=5 - 6, minutes=45)
            of = SourceKey(FAMILY[each.kind], each.source)  # type: ignore[arg-type]
            found.setdefault(of, set()).add((local.date(), local.hour))
    for of, hours in found.items():
        last = max(hours)[0]
        found[of] = {each for each in hours if (last - each[0]).days < KEPT_DAYS}
    return found


def as_sets(hours: SourceHours) -> dict[SourceKey, set[tuple[date, int]]]:
    return {of: bits(hours.hours_of(of)) for of in hours.names()}


def bits(days: Mapping[int, int]) -> set[tuple[date, int]]:
    return {(date.fromordinal(day), hour) for day, mask in days.items() for hour in range(24) if mask >> hour & 1}


@given(dates)
def test_hours_are_what_they_were_after_their_record(days: dict[int, int]) -> None:
    assert decode_hours(encode_hours(days)) == days


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_is_found_again_in_its_key_and_in_the_scope_that_stands_for_it(source: str) -> None:
    of = SourceKey("deliveries", source)
    assert decode_hours_key(encode_hours_key(3, of)) == of
    assert SourceKey.parse(str(of)) == of
    scope = scope_of_source(source)
    assert (source_of_scope(scope), template_of(scope)) == (source, ("source",))
    assert not set("/,|") & set(scope.partition("=")[2])
    assert decode_hours_key(encode_day_key(3, "deliveries", "all", date(2024, 1, 1))) is None
    assert decode_hours_key(encode_marker_key(3)) is None
    assert source_of_scope("model=source") is source_of_scope("all") is None


@given(st.lists(st.tuples(st.sampled_from(SOURCES), dates), max_size=8), st.randoms())
def test_hours_unite_in_any_order_and_again(parts: list[tuple[str, dict[int, int]]], random: object) -> None:
    one, other = SourceHours(), SourceHours()
    for source, days in parts:
        one.unite(SourceKey("orders", source), days)
    random.shuffle(parts)  # type: ignore[attr-defined]
    for source, days in [*parts, *parts]:
        other.unite(SourceKey("orders", source), days)
    assert as_sets(one) == as_sets(other)
    assert {of: dict(days or {}) for of, days in one.drain().items()} == {of: one.hours_of(of) for of in one.names()}
    assert not one.is_changed


@given(events, st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_a_ledger_notes_the_hours_of_what_it_takes_and_finds_them_again_when_it_is_restored(
    drawn: list[tuple[Kind, str, int, int, int, bool]], sizes: list[int]
) -> None:
    hours, restored_hours = SourceHours(), SourceHours()
    ledger = Ledger(ZONE, Scopes([[]]), source_hours=hours)
    taken: list[Fact] = []
    vocabulary, orders = [], dict[str, bytes]()
    told: dict[SourceKey, set[tuple[date, int]]] = {}
    given_facts = [fact(each) for each in drawn]
    while given_facts:
        size = sizes[len(taken) % len(sizes)]
        some, given_facts = given_facts[:size], given_facts[size:]
        applied = ledger.apply(some)
        refused = {index for index, _, _ in applied.refused}
        taken += [each for index, each in enumerate(some) if index not in refused]
        changes = ledger.drain()
        vocabulary += changes.vocabulary
        orders.update(changes.orders)
        # Each step's report is complete.
        told.update((of, bits(days)) for of, days in hours.drain().items() if days)
    assert as_sets(hours) == told == naive(taken)
    restored = Ledger(ZONE, Scopes([[]]), source_hours=restored_hours)
    restored.restore(vocabulary, [encode_entries(list(orders.items()))])
    assert as_sets(restored_hours) == told


def test_of_too_many_sources_those_with_the_most_hours_are_known() -> None:
    hours = SourceHours()
    steady = [SourceKey("deliveries", f"/factories/{number}") for number in range(5)]
    for hour in range(40):
        for number in range(60):
            hours.note(SourceKey("deliveries", f"/cars/{hour}/{number}"), [738_000 * 24 + hour])
        for of in steady:
            hours.note(of, [738_000 * 24 + hour])
        assert len(hours) <= MOST_SOURCES
    assert set(steady) <= set(hours.names())
    assert all(len(bits(hours.hours_of(of))) == 40 for of in steady)
    gone = [of for of, days in hours.drain().items() if days is None]
    assert len(gone) == 40 * 60 + 5 - MOST_SOURCES


RULE = Rule("silent", "deliveries", "day", ("source",), None, None, stalled_hours=3)
SHIFT = range(8, 18)
MONDAY = date(2024, 5, 13)


@given(st.sets(st.integers(0, 5 * 24 - 1), max_size=60), st.sets(st.integers(0, 5 * 24 - 1), max_size=20))
def test_a_source_that_falls_silent_is_told_as_a_recount_says(without: set[int], beside: set[int]) -> None:
    """Four weeks with events from 8 to 17 on five days, and a fifth one with missing and additional hours."""
    zone, hours, source = BusinessZone("Asia/Shanghai"), SourceHours(), SOURCES[0]
    of, scope = SourceKey("deliveries", source), scope_of_source(source)
    weeks = [MONDAY - timedelta(weeks=week, days=-day) for week in range(1, 5) for day in range(5)]
    hours.note(of, [day.toordinal() * 24 + hour for day in weeks for hour in SHIFT])
    alerts = SilenceAlerts([RULE], DayTypes(), zone)
    first = MONDAY.toordinal() * 24
    assert alerts.judge(hours, RULE, scope, first, zone.beginning_us(first)).event is None
    alerts.first_judged()
    assert alerts.judge(hours, RULE, scope, first, zone.beginning_us(first)).event is None
    assert alerts.first_judged(sources=True) == ["deliveries/source/hours/stalled:3"]
    told, expected, stands, come = [], [], False, set[int]()
    for now in range(1, 5 * 24):
        here = now - 1
        if (here % 24 in SHIFT and here not in without) or here in beside:
            come.add(here)
            hours.note(of, [first + here])
        heard = alerts.judge(hours, RULE, scope, first + now, zone.beginning_us(first + now))
        told += [] if heard.event is None else [(now, heard.event.type.split(".")[1], heard.event.data.ended)]
        usual = [hour for hour in range(now) if hour % 24 in SHIFT]
        # Of the Friday before, all hours came.
        is_silent = len(usual) >= 3 and not any(hour in come for hour in range(usual[-3], now))
        if is_silent is not stands:
            stands = is_silent
            expected.append((now, "raised", None) if stands else (now, "ended", "back"))
    assert told == expected
