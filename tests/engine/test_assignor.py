"""Which worker gets which share of the partitions."""

from __future__ import annotations

from collections import Counter
from typing import Any
from unittest.mock import Mock

import pytest
from faust.assignor.client_assignment import ClientAssignment
from hypothesis import given
from hypothesis import strategies as st

from streams.context import Context
from streams.settings import Settings
from streams.worker.assignor import SharesAssignor, divide, place_copies


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


@given(st.data())
def test_copies_are_even_and_never_with_the_owner_and_come_to_rest(data: st.DataObject) -> None:
    members = [f"w{number}" for number in range(data.draw(st.integers(2, 6)))]
    count = data.draw(st.integers(1, 12))
    owners = divide(count, members, data.draw(st.dictionaries(st.integers(0, count - 1), st.sampled_from(members))))
    before = data.draw(st.dictionaries(st.integers(0, count - 1), st.sampled_from([*members, "gone"])))
    keepers = place_copies(owners, members, before)
    assert all(keeper != owner for keeper, owner in zip(keepers, owners, strict=True))
    assert max(Counter(keepers).values()) <= -(-count // len(members)) + 1
    # Where an owner was the only one with room for a copy of its own share, one more round moves another.
    settled = place_copies(owners, members, dict(enumerate(keepers)))
    assert place_copies(owners, members, dict(enumerate(settled))) == settled


def test_one_worker_keeps_no_copies() -> None:
    assert place_copies(["w1", "w1"], ["w1"], {0: "w1", 1: "gone"}) == ["", ""]


@given(st.data())
def test_whoever_is_lost_is_replaced_by_those_with_copies_and_the_shares_stay_even(data: st.DataObject) -> None:
    members = [f"w{number}" for number in range(data.draw(st.integers(2, 6)))]
    count, totals = data.draw(st.integers(1, 16)), 1
    owners = divide(count + totals, members, {}, totals)
    keepers = place_copies(owners[:count], members, {})
    lost = data.draw(st.sampled_from(members))
    left = [member for member in members if member != lost]
    before = {share: owner for share, owner in enumerate(owners) if owner != lost}
    now = divide(count + totals, left, before, totals, copies=dict(enumerate(keepers)))
    assert spread(now, left) <= 1
    moved = [share for share in range(count) if owners[share] == lost]
    with_copy = sum(now[share] == keepers[share] for share in moved)
    # All of them, but for what evenness takes: where the totals are, and where shares are not the same for all.
    assert with_copy >= len(moved) - 2
    if len(left) == 1:
        assert with_copy == len(moved)


def assigned(context: Context, before: dict[str, ClientAssignment]) -> dict[str, ClientAssignment]:
    """What the members of a group get, given what they had."""
    assignor: Any = Mock()
    assignor.app.context = context
    assignor._get_client_metadata.side_effect = lambda metadata: Mock(assignment=before[metadata.name])
    cluster = Mock()
    cluster.partitions_for_topic.side_effect = lambda _: range(context.settings.partitions)
    read = [*context.ledger_topics, *context.totals_topics]
    members = {}
    for name in before:
        members[name] = Mock(subscription=read)
        members[name].name = name
    SharesAssignor._perform_assignment(assignor, cluster, members)
    found: dict[str, ClientAssignment] = assignor._protocol_assignments.call_args.args[0]
    return found


def nothing() -> ClientAssignment:
    return ClientAssignment(actives={}, standbys={})


@pytest.mark.parametrize("copies", [0, 1])
def test_what_a_lost_member_had_goes_to_those_who_have_copies_of_it(copies: int) -> None:
    context = Context(Settings(partitions=6, standby_copies=copies))
    orders, changelog = context.catalogue.orders.name, context.catalogue.ledger.name
    found = assigned(context, {"w1": nothing(), "w2": nothing(), "w3": nothing()})
    kept = {name: set(of.standbys.get(changelog, ())) for name, of in found.items()}
    if not copies:
        assert kept == {"w1": set(), "w2": set(), "w3": set()}
        return
    assert sorted(number for numbers in kept.values() for number in numbers) == [0, 1, 2, 3, 4, 5]
    assert all(not set(of.actives[orders]) & kept[name] for name, of in found.items())
    lost = set(found.pop("w1").actives[orders])
    later = assigned(context, {**found, "w0": nothing()})
    new = {
        name: set(of.actives[orders]) - set(found[name].actives[orders]) for name, of in later.items() if name != "w0"
    }
    assert all(numbers <= kept[name] & lost for name, numbers in new.items())
    later = assigned(context, found)
    new = {name: set(of.actives[orders]) - set(found[name].actives[orders]) for name, of in later.items()}
    assert all(numbers == kept[name] & lost for name, numbers in new.items())
    assert {number for numbers in new.values() for number in numbers} == lost


def test_a_worker_knows_its_copies_by_the_changelog() -> None:
    context = Context(Settings(partitions=4, standby_copies=1))
    assignor: Any = Mock()
    assignor.app.context = context
    assignor.assigned_standbys.return_value = {(context.catalogue.ledger.name, 2), ("another", 3)}
    assert SharesAssignor.standbys(assignor) == {2}
