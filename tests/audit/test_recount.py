"""The recount agrees with the ledger on any set of events, and for any past moment."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from streams.audit.dead_letters import Letter, accepted
from streams.audit.judging import read_order
from streams.audit.sources import coordinates_of
from streams.audit.sums import Business, Day, Tally, windows_of
from streams.domain.ledger import Ledger
from streams.domain.scopes.scopes import Scopes
from streams.settings import Settings
from streams.settings_sections import AliasSettings, LimitSettings
from tests.domain.facts import SU7, YU7, cancelled, delivered, placed, reversal, void
from tests.domain.test_ledger_properties import KEPT_ZONE, SCOPES, ZONE, arrivals, counted, new_ledger, take

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.facts import Dims, Fact

BUSINESS = Business(Settings(timezone=ZONE, scopes=(("model",), ("model", "region"), ())))
SHANGHAI = Business(Settings())
DAY = date(2024, 10, 7)


def days_of(events: Iterable[Fact], business: Business = BUSINESS) -> dict[Any, Day]:
    """The recount of events in the order of their arrival, without any dead letters."""
    orders: dict[str, list[Fact]] = defaultdict(list)
    for event in events:
        orders[event.order_id].append(event)
    tally = Tally(business)
    for records in orders.values():
        for unit in read_order(accepted(records, {}).events).units:
            tally.add(unit)
    return tally.days()


@hypothesis_settings(max_examples=300)
@given(arrivals(), st.data())
def test_the_recount_of_any_prefix_equals_a_fresh_ledger_that_was_fed_it(arrival: Any, data: st.DataObject) -> None:
    """As of any moment, with events permuted, duplicated, voided, reversed, around midnight and clock changes."""
    _, steps = arrival
    stream = [event for batches in steps for batch in batches for event in batch]
    known = stream[: data.draw(st.integers(0, len(stream)))]
    ledger = new_ledger()
    take(ledger, [[known]])
    found = {key: (day.count, day.by_hour) for key, day in days_of(known).items()}
    assert found == {key: (count, by_hour) for key, (count, _, by_hour) in counted(ledger).items()}


@hypothesis_settings(max_examples=100)
@given(arrivals())
def test_the_recount_knows_the_aliases_of_the_ledger(arrival: Any) -> None:
    """One alias from a day on, one from the beginning."""
    _, steps = arrival
    given_aliases = {
        "model": {"YU7": {"name": "SU7", "from": date(2024, 11, 3)}},
        "region": {"CN-11": "CN-31"},
    }
    settings = BUSINESS.settings.model_copy(update={"alias": AliasSettings.model_validate(given_aliases)})
    ledger = Ledger(KEPT_ZONE, Scopes(SCOPES, aliases=settings.aliases))
    take(ledger, steps)
    stream = [event for batches in steps for batch in batches for event in batch]
    found = {key: (day.count, day.by_hour) for key, day in days_of(stream, Business(settings)).items()}
    assert found == {key: (count, by_hour) for key, (count, _, by_hour) in counted(ledger).items()}


@pytest.mark.parametrize(
    ("events", "metrics", "effects"),
    [
        ([placed("2024-10-07T10:00:00")], {"orders_placed": 1, "orders": 1}, ["placed"]),
        (
            [placed("2024-10-07T10:00:00"), cancelled("2024-10-08T10:00:00")],
            {"orders_placed": 1, "cancellations": 1},
            ["placed_cancelled", "cancelled"],
        ),
        ([cancelled("2024-10-08T10:00:00")], {}, ["cancelled_without_order"]),
        (
            [placed("2024-10-07T10:00:00"), delivered("2024-10-08T10:00:00"), cancelled("2024-10-09T10:00:00")],
            {"orders_placed": 1, "orders": 1, "deliveries": 1},
            ["placed", "delivered", "cancelled_while_delivered"],
        ),
        (
            [delivered("2024-10-08T10:00:00"), delivered("2024-10-09T10:00:00", "d2")],
            {"deliveries": 1},
            ["delivered_unplaced", "delivered_twice"],
        ),
        (
            [delivered("2024-10-08T10:00:00"), reversal("2024-10-09T10:00:00"), delivered("2024-10-10T10:00:00", "d2")],
            {"deliveries": 1, "reversals": 1},
            ["delivered_reversed", "reversed", "delivered_unplaced"],
        ),
        (
            [delivered("2024-10-08T10:00:00"), reversal("2024-10-09T10:00:00", vin="LNBSU7A10R1000999")],
            {"deliveries": 1},
            ["delivered_unplaced", "reversed_other_vin"],
        ),
        (
            [
                delivered("2024-10-08T10:00:00"),
                void("2024-10-07T10:00:00", "d"),
                void("2024-10-09T10:00:00", "v", "v2"),
            ],
            {},
            ["voids", "voided", "void_of_void"],
        ),
        ([void("2024-10-07T10:00:00", "d")], {}, ["void_of_unknown_event"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) and value and isinstance(value[0], str) else "",
)
def test_each_row_of_the_contract_s_table(events: list[Fact], metrics: dict[str, int], effects: list[str]) -> None:
    reading = read_order(events)
    found: dict[str, int] = defaultdict(int)
    for unit in reading.units:
        found[unit.metric] += 1
    assert (dict(found), [effect for _, effect in reading.effects]) == (metrics, effects)


def test_days_add_up_to_months_years_and_holidays() -> None:
    days = days_of(
        [
            placed("2024-09-30T23:59:59", order="SO-1"),
            placed("2024-10-01T00:00:00", order="SO-2"),
            placed("2024-10-07T23:59:59", order="SO-3", dims=YU7),
            placed("2024-12-31T23:59:59", order="SO-4"),
        ],
        SHANGHAI,
    )
    counts = {key[1:]: window.count for key, window in windows_of(days, SHANGHAI).items() if key[0] == "orders"}
    assert {period: count for (scope, period), count in counts.items() if scope == "all"} == {
        "day:2024-09-30": 1,
        "day:2024-10-01": 1,
        "day:2024-10-07": 1,
        "day:2024-12-31": 1,
        "month:2024-09": 1,
        "month:2024-10": 2,
        "month:2024-12": 1,
        "year:2024": 4,
        "holiday:national-day:2024": 2,
    }
    assert counts["model=SU7", "month:2024-10"] == counts["model=YU7", "month:2024-10"] == 1


def test_a_unit_without_a_scopes_dimension_is_not_counted_there() -> None:
    dims: Dims = ("SU7", "", "", "")
    assert BUSINESS.scopes_of(dims, DAY) == ("model=SU7", "all")
    assert BUSINESS.scopes_of(SU7, DAY) == ("model=SU7", "model=SU7,region=CN-11", "all")


def _letters(*events: Fact, reason: str = "id_conflict") -> dict[Any, Letter]:
    return {coordinates_of(event): Letter(reason, offset, 0) for offset, event in enumerate(events)}


def test_of_two_contents_the_one_that_is_no_dead_letter_counts() -> None:
    one, other = placed("2024-10-07T10:00:00", offset=1), placed("2024-10-07T11:00:00", offset=2)
    again = placed("2024-10-07T11:00:00", offset=3)
    found = accepted([one, other, again], _letters(one))
    assert (found.events, found.duplicates, found.contradicting) == ([other], [again], [])


def test_two_contents_without_a_dead_letter_are_a_contradiction() -> None:
    one, other = placed("2024-10-07T10:00:00", offset=1), placed("2024-10-07T11:00:00", offset=2)
    assert accepted([one, other], {}).contradicting == [other]


def test_of_two_contents_that_are_both_dead_letters_the_one_that_lost_first_counts() -> None:
    """As after the state was rebuilt and the other event came first."""
    one, other = placed("2024-10-07T10:00:00", offset=1), placed("2024-10-07T11:00:00", offset=2)
    assert accepted([one, other], _letters(one, other)).events == [one]
    assert accepted([one, other], _letters(other, one)).events == [other]


def test_events_beyond_what_an_order_takes_are_left_out_by_their_dead_letters() -> None:
    events = [placed("2024-10-07T10:00:00", f"p{number}", offset=number) for number in range(65)]
    found = accepted(events, _letters(events[3], reason="too_many_events"))
    assert len(found.events) == 64
    assert events[3] not in found.events


def test_an_event_beyond_the_limits_is_left_out_also_when_it_came_again_after_they_were_raised() -> None:
    first, again = placed("2024-10-07T10:00:00", offset=1), placed("2024-10-07T10:00:00", offset=2)
    letters = _letters(first, reason="beyond_limits")
    assert accepted([first], letters) == ([], [], [])
    assert accepted([first, again], letters) == ([again], [], [])


@pytest.mark.parametrize(
    ("day", "start", "end"),
    [
        ("2024-02-29", "2024-02-01", "2024-02-29"),
        ("2023-02-01", "2023-02-01", "2023-02-28"),
        ("2024-12-31", "2024-12-01", "2024-12-31"),
        ("2024-04-30", "2024-04-01", "2024-04-30"),
    ],
)
def test_a_month_has_its_first_and_last_date(day: str, start: str, end: str) -> None:
    month = SHANGHAI.periods_of(date.fromisoformat(day))[1]
    assert (month.id, str(month.start), str(month.end)) == (f"month:{day[:7]}", start, end)


def test_where_orders_are_not_published_nothing_is_said_about_them() -> None:
    delivery = delivered("2024-10-08T10:00:00")
    assert [effect for _, effect in read_order([delivery]).effects] == ["delivered_unplaced"]
    alone = Business(Settings(families=("deliveries",)))
    assert [effect for _, effect in alone.read_order([delivery]).effects] == ["delivered"]


def test_units_of_scopes_without_rows_are_found_where_they_count() -> None:
    settings = Settings(scopes=(("model",), ("model", "region"), ()), limits=LimitSettings(beyond="other"))
    business = Business(settings, frozenset({"all", "model=SU7", "model=other"}))
    on = date(2024, 10, 7)
    assert business.scopes_of(("SU7", "", "", "CN-11"), on) == ("model=SU7", "model=other,region=other", "all")
    assert business.scopes_of(("YU7", "", "", ""), on) == ("model=other", "all")
