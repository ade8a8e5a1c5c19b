"""Which worker gets which share of the partitions."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from streams.worker.assignor import divide


def spread(owners: list[str], members: list[str]) -> int:
    """The greatest difference between the members' numbers of shares."""
    loads = Counter(owners)
    of_each = [loads[member] for member in members]
    return max(of_each) - min(of_each)


def test_one_who_joins_gets_a_share_where_there_is_one_for_each() -> None:
    before = {0: "w1", 1: "w1", 2: "w2", 3: "w2", 4: "w3"}
    owners = divide(5, ["w1", "w2", "w3", "w4"], before)
    assert Counter(owners)["w4"] == 1
    assert sum(owners[share] != owner for share, owner in before.items()) == 1


@given(st.data())
def test_shares_are_even_and_those_of_the_totals_among_themselves_and_nothing_moves_without_need(
    data: st.DataObject,
) -> None:
    members = [f"w{number}" for number in range(data.draw(st.integers(1, 6)))]
    count = data.draw(st.integers(1, 12))
    totals = data.draw(st.integers(1, min(count, 4)))
    before = data.draw(st.dictionaries(st.integers(0, count - 1), st.sampled_from([*members, "gone"])))
    owners = divide(count, members, before, totals)
    assert spread(owners, members) <= 1
    if totals > 1:
        assert spread(owners[-totals:], members) <= 1
    assert divide(count, members, dict(enumerate(owners)), totals) == owners
