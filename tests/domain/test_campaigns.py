"""Campaigns count the units between two instants by the minute, whenever they become known, and find the N-th unit."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.counts import CampaignHour, CountKey
from schemas.facts import METRICS, DayCount
from schemas.questions import Question
from schemas.rows import RowKey
from streams.domain.counts.nth import answer_of
from streams.domain.ledger import Ledger
from streams.domain.pauses import whole
from streams.domain.rules import check_rules
from streams.domain.scopes.scopes import Scopes
from streams.domain.time.calendar import Calendar
from streams.domain.time.campaigns import Campaign, Campaigns
from streams.domain.time.zone import MINUTE_US
from tests.domain.facts import cancelled, chunks_of, placed, read_counts
from tests.domain.test_ledger_properties import (
    KEPT_ZONE,
    SCOPES,
    TIMES,
    ZONE,
    arrivals,
    event_sets,
    recount_order,
    take,
)
from tests.domain.totals_world import SCOPE, World, rule, told

if TYPE_CHECKING:
    from schemas.facts import Fact
    from streams.domain.rules import Rule

MODELS = (("model",), ())
LAUNCH = Campaign("launch", TIMES[0] // MINUTE_US * MINUTE_US, TIMES[0] // MINUTE_US * MINUTE_US + 3600_000_000, MODELS)
EVENING = "2024-03-28T22:00:00+08:00"
FIRST_US = 1_711_634_400_000_000

#: Around the instants of the events, and around the change of the clocks.
spans = st.tuples(st.integers(-90, 120), st.integers(1, 240), st.sampled_from([MODELS, ((),), (("model",),)]))


@st.composite
def campaigns(draw: st.DrawFn) -> tuple[Campaign, ...]:
    minute = TIMES[0] // MINUTE_US
    return tuple(
        Campaign(name, (minute + first) * MINUTE_US, (minute + first + length) * MINUTE_US, templates)
        for name, (first, length, templates) in zip("abc", draw(st.lists(spans, min_size=1, max_size=3)), strict=False)
    )


def ledger_of(several: tuple[Campaign, ...]) -> Ledger:
    return Ledger(KEPT_ZONE, Scopes(SCOPES), campaigns=Campaigns(several))


def units_of(events: list[Fact]) -> list[tuple[str, Fact, Any]]:
    return [
        unit
        for order_id in {event.order_id for event in events}
        for unit in recount_order([event for event in events if event.order_id == order_id])[0]
    ]


def scopes_of(model: str) -> dict[tuple[str, ...], str]:
    return {(): "all", ("model",): f"model={model}"}


def recount(events: list[Fact], several: tuple[Campaign, ...]) -> dict[tuple[str, str, CampaignHour], Counter[int]]:
    """Units by metric, scope, hour and minute of the hour, counted naively."""
    found: dict[tuple[str, str, CampaignHour], Counter[int]] = defaultdict(Counter)
    for metric, event, dims in units_of(events):
        for campaign in several:
            if campaign.start_us <= event.time_us < campaign.end_us:
                minute = (event.time_us - campaign.start_us) // 60_000_000
                for template, scope in scopes_of(dims[0]).items():
                    if template in campaign.templates:
                        found[metric, scope, CampaignHour(campaign.name, minute // 60)][minute % 60] += 1
    return found


def counted(counts: dict[CountKey, DayCount]) -> dict[tuple[str, str, CampaignHour], Counter[int]]:
    return {
        (metric, scope, hour): Counter({minute: units for minute, units in enumerate(count.by_hour) if units})
        for (metric, scope, hour), count in counts.items()
        if isinstance(hour, CampaignHour) and count.count
    }


def told_rows(ledger: Ledger) -> dict[CountKey, tuple[int, int, list[int]]]:
    """What a ledger counts after these steps, without zeros."""
    return {key: (one.count, one.backfilled, one.by_hour) for key, one in ledger.counts().items() if one.count}


@given(arrivals(), campaigns())
def test_a_campaign_counts_the_units_of_each_of_its_minutes_whatever_the_way_they_came(
    arrival: tuple[list[Fact], list[list[list[Fact]]]], several: tuple[Campaign, ...]
) -> None:
    events, steps = arrival
    ledger, restored, plain = ledger_of(several), ledger_of(several), ledger_of(())
    drained = take(ledger, steps)
    heard: dict[CountKey, DayCount] = {}
    for changes in drained:
        heard.update(read_counts(changes.counts))
    restored.restore([entry for changes in drained for entry in changes.vocabulary], chunks_of(drained))
    expected = recount(events, several)
    assert counted(ledger.counts()) == counted(heard) == counted(restored.counts()) == expected
    take(plain, steps)
    days = {key: count for key, count in ledger.counts().items() if not isinstance(key[2], CampaignHour)}
    assert days == plain.counts()
    for key, count in restored.counts().items():
        assert count.count == sum(count.by_hour) >= count.backfilled >= 0, key


def test_a_unit_that_leaves_in_a_later_step_leaves_its_minute() -> None:
    ledger = ledger_of((LAUNCH,))
    take(ledger, [[[placed(LAUNCH.start_us)]]])
    key = ("orders", "all", CampaignHour(LAUNCH.name, 0))
    assert counted(ledger.counts())[key] == {0: 1}
    take(ledger, [[[cancelled(LAUNCH.end_us)]]])
    assert key not in counted(ledger.counts())


@given(event_sets(), campaigns(), st.integers(1, 3), st.data())
def test_ledger_partitions_say_which_unit_of_a_minute_is_which(
    events: list[Fact], several: tuple[Campaign, ...], partitions: int, data: st.DataObject
) -> None:
    campaign = several[0]
    metric = data.draw(st.sampled_from(METRICS))
    template = data.draw(st.sampled_from(campaign.templates))
    scope = scopes_of("SU7")[template]
    of_scope = [
        (event.time_us, event.id, event.source, event.topic, event.partition, event.offset)
        for of, event, dims in units_of(events)
        if of == metric and scope == scopes_of(dims[0])[template]
    ]
    inside = sorted(unit for unit in of_scope if campaign.start_us <= unit[0] < campaign.end_us)
    ledgers = [ledger_of(several) for _ in range(partitions)]
    for number, ledger in enumerate(ledgers):
        take(ledger, [[[event for event in events if int(event.order_id[3:]) % partitions == number]]])
    minute = data.draw(
        st.integers(0, campaign.minutes - 1) | st.sampled_from([_minute_of(unit, campaign) for unit in inside] or [0])
    )
    asked = Question(
        id="q", metric=metric, scope=scope, first_day=0, first_cell=minute, last_cell=minute, campaign=campaign.name
    )
    of_minute = [unit for unit in inside if _minute_of(unit, campaign) == minute]
    after, upto = (data.draw(st.none() | st.sampled_from(of_minute) if of_minute else st.none()) for _ in range(2))
    asked = msgspec.structs.replace(asked, after=after, upto=upto)
    answers = [answer for ledger in ledgers for answer in whole(ledger.answering([asked]))]
    assert sum(answer.before for answer in answers) == sum(_minute_of(unit, campaign) < minute for unit in inside)
    listed = sorted(unit for answer in answers for unit in answer.units)
    expected = answer_of(asked, 0, of_minute)
    assert listed == expected.units
    for name in ("inside", "passed", "within"):
        assert sum(getattr(answer, name) for answer in answers) == getattr(expected, name), name


def _minute_of(unit: tuple[int, ...] | tuple[Any, ...], campaign: Campaign) -> int:
    return (unit[0] - campaign.start_us) // MINUTE_US


#: One shard's count of a minute: (shard, campaign, minute, units); the minutes span both campaigns.
moves = st.tuples(st.integers(0, 1), st.sampled_from(["a-night", "b-night"]), st.integers(0, 130), st.integers(0, 9))


@given(
    st.lists(moves | st.sampled_from(["restart", "step", "parts"]), max_size=25),
    st.integers(1, 30),
    st.integers(0, 3),
)
def test_rows_and_milestones_of_campaigns_are_those_of_a_plain_sum_across_takeovers(
    happening: list[Any], most: int, dies_after: int
) -> None:
    known = (
        Campaign("a-night", FIRST_US, FIRST_US + 120 * MINUTE_US, MODELS),
        Campaign("b-night", FIRST_US + 60 * MINUTE_US, FIRST_US + 200 * MINUTE_US, MODELS),
    )
    rules = (
        rule("each", "campaign", metric="orders_placed", every=10),
        rule("best", "campaign", metric="orders_placed", reaches=15, first=True, record=True),
    )
    world = World(*rules, campaigns=known, windows=("day",))
    minutes: dict[tuple[int, str, int], int] = {}
    now = FIRST_US
    for one in [*happening, "step"]:
        if one == "restart":
            world.restart()
        elif one == "step":
            now += 10 * MINUTE_US
            world.step(now)
        elif one == "parts":
            now += 10 * MINUTE_US
            world.parts(now, caught_up=True, most=most, dies_after=dies_after)
        else:
            shard, name, minute, units = one
            minutes[shard, name, minute] = units
            world.put_minute(name, minute, units, shard=shard)
    expected: dict[str, list[int]] = {}
    for (_, name, minute), units in minutes.items():
        of = expected.setdefault(name, [0] * 200)
        of[minute] += units
    counts = {}
    for name, by_minute in expected.items():
        counts[name] = sum(by_minute)
        if sum(by_minute) or f"orders_placed/{SCOPE}/campaign:{name}" in world.rows:
            row = world.row(f"campaign:{name}", "orders_placed")
            shown = list(row.by_minute or ())
            assert row.count == sum(by_minute)
            assert shown == by_minute[: len(shown)]
            assert not any(by_minute[len(shown) :])
            ends_us = FIRST_US + (120 if name == "a-night" else 200) * MINUTE_US
            assert row.status == ("open" if now < ends_us else "provisional")
    standing = {name.split("/", 2)[2] for name in world.standing()}
    multiples = {
        f"campaign:{name}/every:10:{multiple}"
        for name, count in counts.items()
        for multiple in range(10, count + 1, 10)
    }
    passing = [name for name in sorted(counts) if counts[name] >= 15]
    passed = {f"campaign:{name}/reaches:15" for name in passing}
    firsts = {"first:campaign/reaches:15"} if passing else set()
    over = now >= FIRST_US + 200 * MINUTE_US
    is_record = over and 0 < counts.get("a-night", 0) < counts.get("b-night", 0)
    assert standing == multiples | passed | firsts | ({"record:campaign:b-night"} if is_record else set())


def test_what_a_campaign_had_passed_when_it_became_known_is_on_record_and_the_rest_is_news() -> None:
    launch = Campaign("launch", FIRST_US, FIRST_US + 1440 * MINUTE_US, MODELS)
    each = rule("each", "campaign", metric="orders_placed", every=10)
    world = World(windows=("day",))
    world.put("2024-03-28", 1)
    world.step(EVENING)
    world.restart(each, campaigns=(launch,))
    world.put_minute("launch", 3, 25)
    assert told(world.step("2024-03-28T22:05:00+08:00")) == [
        ("recorded", "campaign:launch/every:10:10"),
        ("recorded", "campaign:launch/every:10:20"),
    ]
    world.put_minute("launch", 5, 5)
    world.restart()
    assert told(world.step("2024-03-28T22:06:00+08:00")) == [("raised", "campaign:launch/every:10:30")]
    # Its end is moved: the units this adds were there before.
    world.restart(campaigns=(Campaign("launch", FIRST_US, FIRST_US + 60 * MINUTE_US, MODELS),))
    world.put_minute("launch", 6, 10)
    assert told(world.step("2024-03-28T22:07:00+08:00")) == [("recorded", "campaign:launch/every:10:40")]
    assert world.row("campaign:launch", "orders_placed").ends_at == "2024-03-28T23:00:00+08:00"
    # It is removed: its row stays as it is.
    before = world.row("campaign:launch", "orders_placed")
    world.rules = ()
    world.restart(campaigns=())
    assert told(world.step("2024-03-28T22:08:00+08:00")) == []
    assert world.row("campaign:launch", "orders_placed") == before
    assert world.counted == {}


def test_a_campaign_that_had_more_than_earlier_ones_when_it_became_known_is_a_record_on_record() -> None:
    rules = rule("best", "campaign", metric="orders_placed", record=True, while_running=True)
    early, late, last = (
        Campaign(name, FIRST_US + hour * 60 * MINUTE_US, FIRST_US + (hour + 1) * 60 * MINUTE_US, MODELS)
        for hour, name in enumerate(("early", "late", "last"))
    )
    world = World(rules, windows=("day",), campaigns=(early,))
    world.put_minute("early", 1, 5)
    world.step("2024-03-28T22:05:00+08:00")
    world.restart(campaigns=(early, late, last))
    world.put_minute("late", 1, 9)
    assert told(world.step("2024-03-29T00:05:00+08:00")) == [
        ("recorded", "record-passed:campaign:late"),
        ("recorded", "record:campaign:late"),
    ]
    world.put_minute("last", 6, 10)
    assert told(world.step("2024-03-29T00:07:00+08:00")) == [("raised", "record-passed:campaign:last")]


def test_loaded_orders_are_on_record_and_a_unit_may_move_to_another_minute() -> None:
    launch = Campaign("launch", FIRST_US, FIRST_US + 1440 * MINUTE_US, MODELS)
    world = World(rule("each", "campaign", metric="orders_placed", every=10), windows=("day",), campaigns=(launch,))
    world.step(EVENING)
    world.put_minute("launch", 3, 10, backfilled=10)
    assert told(world.step("2024-03-28T22:05:00+08:00")) == [("recorded", "campaign:launch/every:10:10")]
    world.put_minute("launch", 3, 9, backfilled=9)
    world.put_minute("launch", 64, 1, backfilled=1)
    assert told(world.step("2024-03-28T23:05:00+08:00")) == []
    row = world.row("campaign:launch", "orders_placed")
    assert (row.count, row.backfilled, row.version) == (10, 10, 2)
    assert row.by_minute == [0, 0, 0, 9, *[0] * 60, 1]
    key = RowKey("orders_placed", SCOPE, "campaign:launch")
    of_units = [world.totals.minute_of_unit(key, number) for number in (1, 9, 10, 11)]
    assert of_units == [(3, 1, 9), (3, 9, 9), (64, 1, 1), None]


@pytest.mark.parametrize(
    ("given_rule", "fault"),
    [
        (rule("r", "campaign", exceeds=1, streak=2), "campaigns are not compared so"),
        (rule("r", "campaign:launch", exceeds=1, first=True), "first is among all campaigns: give the window campaign"),
        (rule("r", "campaign:other", exceeds=1), "is not among the campaigns of the settings (campaign:launch)"),
        (rule("r", "campaign", exceeds=1, scope=("region",)), "campaign is not counted for these scopes"),
    ],
)
def test_a_rule_that_campaigns_cannot_have_is_refused(given_rule: Rule, fault: str) -> None:
    calendar = Calendar((), (), ZONE, campaigns=(LAUNCH,))
    with pytest.raises(ValueError, match=f"rule 'r': .*{fault.replace('(', '[(]').replace(')', '[)]')}"):
        check_rules([given_rule], calendar)


def test_one_rule_for_all_and_one_for_one_campaign_do_not_raise_the_same() -> None:
    calendar = Calendar((), (), ZONE, campaigns=(LAUNCH,))
    two = [rule("all", "campaign", exceeds=5), rule("one", "campaign:launch", exceeds=5)]
    with pytest.raises(ValueError, match="raises the same milestones as rule 'all'"):
        check_rules(two, calendar)
    check_rules([two[0], rule("one", "campaign:launch", exceeds=6)], calendar)


@pytest.mark.parametrize(
    ("name", "start_us", "length", "fault"),
    [
        ("Launch", 0, 1, "lower-case words joined by hyphens"),
        ("launch", 1, 1, "full minutes"),
        ("launch", 0, 0, "ends before it begins"),
        ("launch", 0, 7 * 1440 + 1, "10,080 at most"),
    ],
)
def test_what_is_no_campaign_is_refused(name: str, start_us: int, length: int, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Campaign(name, FIRST_US + start_us, FIRST_US + start_us + length * MINUTE_US, MODELS)


def test_consecutive_campaigns_share_no_instant() -> None:
    first = Campaign("a", FIRST_US, FIRST_US + MINUTE_US, MODELS)
    second = Campaign("b", first.end_us, first.end_us + MINUTE_US, MODELS)
    both = Campaigns((first, second))
    found = [
        [(campaign.name, minute) for campaign, minute in both.at((FIRST_US + number * MINUTE_US) // MINUTE_US)]
        for number in range(-1, 3)
    ]
    assert found == [[], [("a", 0)], [("b", 0)], []]
    assert [both.last_end_us(FIRST_US + number * MINUTE_US) for number in range(3)] == [0, first.end_us, second.end_us]
    assert [campaign.name for campaign in both] == ["a", "b"]
