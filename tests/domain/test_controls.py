"""Control totals of other systems: which one is current, and what a row shows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import decode_control
from schemas.events import ControlTotal
from schemas.rows import RowKey
from streams.domain.announced.controls import Control, Controls, compare, control_of
from tests.contract.builders import Record, structured

if TYPE_CHECKING:
    from schemas.outputs import RowControl

ROW = RowKey("deliveries", "model=SU7", "day:2024-10-07")
OTHER_ROW = RowKey("deliveries", "model=SU7", "month:2024-10")
FACTORY, SALES = "/factories/bj1", "/sales/web"
SECOND = 1_000_000
NOW, LATER = "2024-10-08T01:00:00.000Z", "2024-10-08T02:00:00.000Z"


def control(count: int, at_s: int = 0, id: str = "1", **given: Any) -> Control:  # noqa: A002 - CloudEvents calls it so
    fields: dict[str, Any] = {"source": FACTORY, "id": id, "row": ROW, "total": count, "as_of_us": at_s * SECOND}
    return Control(**(fields | given))


def taken(*controls: Control) -> Controls:
    found = Controls()
    assert [found.take(one) for one in controls] == ["applied"] * len(controls)
    return found


# The current total --------------------------------------------------------------------------------------------------


def test_an_event_brings_a_total_of_its_source_for_its_window() -> None:
    event = decode_control(
        Record(structured("control.total.v1"), key=b"deliveries/model=SU7/day:2024-10-07"), future_limit_us=0
    )
    assert isinstance(event, ControlTotal)
    assert control_of(event) == Control(
        "/factories/bj1/dispatch",
        "8f14e45f-ea3c-4d2b-9d0b-6a3f0f6f2b11",
        ROW,
        1045,
        1_728_280_991_000_000,
        "handed over",
    )


def test_the_latest_total_of_a_source_counts_and_not_the_last_to_arrive() -> None:
    assert taken(control(10, 1, "a"), control(12, 3, "b"), control(11, 2, "c")).of(ROW) == (control(12, 3, "b"),)


def test_of_two_totals_of_one_instant_the_greater_id_counts() -> None:
    both = (control(10, 1, "a"), control(12, 1, "b"))
    assert taken(*both).of(ROW) == taken(*reversed(both)).of(ROW) == (both[1],)


def test_sources_and_windows_have_totals_of_their_own_in_the_order_of_sources() -> None:
    found = taken(control(9, source=SALES), control(10), control(300, id="m", row=OTHER_ROW))
    assert [one.source for one in found.of(ROW)] == [FACTORY, SALES]
    assert [one.total for one in found.of(OTHER_ROW)] == [300]
    assert set(found.rows()) == {ROW, OTHER_ROW}
    assert found.of(RowKey("orders", "all", "year:2024")) == ()


def test_the_same_total_again_is_a_duplicate_and_another_under_its_identity_a_conflict() -> None:
    found = taken(control(10, 1))
    assert found.take(control(10, 1)) == "duplicate"
    assert found.take(control(11, 1)) == "id_conflict"
    assert found.take(control(10, 2)) == "id_conflict"
    assert found.take(control(10, 1, row=OTHER_ROW)) == "id_conflict"
    assert found.take(control(10, 1, label="corrected")) == "id_conflict"
    assert found.take(control(10, 1, source=SALES)) == "applied"
    assert found.of(ROW)[0].total == 10


totals = st.lists(
    st.builds(
        Control,
        source=st.sampled_from([FACTORY, SALES]),
        id=st.sampled_from("abcdef"),
        row=st.sampled_from([ROW, OTHER_ROW]),
        total=st.integers(0, 5),
        as_of_us=st.integers(0, 3),
    ),
    unique_by=lambda one: (one.source, one.id),
)


@given(totals, st.data())
def test_the_current_totals_are_a_function_of_the_set_of_events(several: list[Control], data: st.DataObject) -> None:
    arrival = data.draw(st.permutations(several + several[:2]))
    found = Controls()
    for one in arrival:
        found.take(one)
    for row in (ROW, OTHER_ROW):
        latest: dict[str, Control] = {}
        for one in sorted(several, key=lambda one: (one.as_of_us, one.id)):
            if one.row == row:
                latest[one.source] = one
        assert found.of(row) == tuple(latest[source] for source in sorted(latest))


# What a row says ----------------------------------------------------------------------------------------------------


def said(of: list[RowControl]) -> list[tuple[str, int, int, str | None]]:
    return [(one.source, one.count, one.difference, one.differs_since) for one in of]


def test_a_difference_is_ours_less_theirs_and_is_dated_by_the_version_that_found_it() -> None:
    found = compare((control(1045), control(1040, source=SALES)), 1043, {}, NOW)
    assert said(found) == [(FACTORY, 1045, -2, NOW), (SALES, 1040, 3, NOW)]
    assert {one.as_of for one in found} == {"1970-01-01T00:00:00.000Z"}


def test_a_total_that_agrees_stays_with_a_difference_of_nothing() -> None:
    assert said(compare((control(1043),), 1043, {}, NOW)) == [(FACTORY, 1043, 0, None)]


def test_a_difference_that_only_changes_keeps_its_beginning_and_a_new_one_starts_over() -> None:
    first = {one.source: one for one in compare((control(1045),), 1043, {}, NOW)}
    second = {one.source: one for one in compare((control(1045),), 1044, first, LATER)}
    cured = {one.source: one for one in compare((control(1045),), 1045, second, LATER)}
    again = compare((control(1045),), 1046, cured, LATER)
    assert [one.differs_since for one in (*second.values(), *cured.values(), *again)] == [NOW, None, LATER]
