"""The story against the codec and the domain: what it claims is what they compute."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from schemas.codec import decode_batch
from schemas.facts import DELIVERIES, METRICS, ORDERS, PRODUCTION, Fact, Kind, Rejection, topic_number
from streams.domain.orders.orders import judge
from streams.domain.time.zone import BusinessZone
from streams.installation import load_settings
from streams.kafka.publication import Publication, partitions_for
from streams.settings_file import STORY
from streams.story import Story, StoryFacts, load_facts, tell
from streams.story.delivery_faults import Transport
from streams.story.expected import standing_milestones
from streams.story.lives import Rates
from tests.support.small_demo import smaller
from tests.support.whole_story import whole_story

if TYPE_CHECKING:
    from streams.settings import Settings

pytestmark = pytest.mark.slow

PARTITIONS = 4
NOW_MS = 1_750_000_000_000
DAY_US = 86_400_000_000


class AsRead(NamedTuple):
    """A record as a consumer has it."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp: int
    partition: int
    offset: int


class Judged(NamedTuple):
    """Units by metric and business date, the number of orders with violations, and units by metric and minute of the launch."""

    counts: dict[str, Counter[date]]
    violating: int
    in_launch: dict[str, Counter[int]]


@dataclass
class Heard:
    """The results of reading the records, in one pass."""

    records: int = 0
    rerouted: int = 0
    duplicates: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    accepted: dict[tuple[str, str, str], Fact] = field(default_factory=dict)
    repeats: list[tuple[Fact, Fact]] = field(default_factory=list)
    story_s: list[int] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    modes: Counter[bool] = field(default_factory=Counter)

    def take(self, chunk: list[Publication]) -> None:
        """Reads some more records."""
        places = partitions_for(chunk, (PARTITIONS,) * 3)
        elsewhere = [number for number, record in enumerate(chunk) if record.crc32_partitioner]
        homes = partitions_for([chunk[n]._replace(crc32_partitioner=False) for n in elsewhere], (PARTITIONS,) * 2)
        foreign = {n for n, home in zip(elsewhere, homes, strict=True) if places[n] != home}
        for topic in (ORDERS, DELIVERIES, PRODUCTION):
            at = [number for number, record in enumerate(chunk) if record.topic == topic]
            read = [
                AsRead(chunk[n].key, chunk[n].value, chunk[n].headers, NOW_MS, places[n], self.records + n) for n in at
            ]
            facts = decode_batch(read, topic=topic_number(topic, 0), future_limit_us=300_000_000)
            for number, fact in zip(at, facts, strict=True):
                self.judge(chunk[number], fact, foreign=number in foreign)
        self.records += len(chunk)
        self.story_s += [record.story_s for record in chunk]

    def judge(self, record: Publication, fact: Fact | Rejection, *, foreign: bool) -> None:
        """Notes the outcome of a record."""
        if isinstance(fact, Rejection):
            self.rejected[fact.reason] += 1
            return
        self.rerouted += foreign
        self.modes[record.headers[0][0] == "ce_specversion"] += 1
        self.late.append(record.story_s - fact.time_us // 1_000_000)
        first = self.accepted.setdefault((fact.order_id, fact.source, fact.id), fact)
        if first is not fact:
            same = content(first) == content(fact)
            self.duplicates += same
            self.rejected["id_conflict"] += not same
            if not same:
                self.repeats.append((first, fact))


def content(fact: Fact) -> tuple[object, ...]:
    return (fact.kind, fact.time_us, fact.vin, fact.dims, fact.extra, fact.voids, fact.topic)


@pytest.fixture(scope="module")
def story() -> Story:
    return whole_story()


@pytest.fixture(scope="module")
def heard(story: Story) -> Heard:
    heard = Heard()
    chunk: list[Publication] = []
    # The collector would go through all that is kept again and again, which takes a third of the time.
    gc.disable()
    try:
        for record in story.records():
            chunk.append(record)
            if len(chunk) == 5000:
                heard.take(chunk)
                chunk = []
        heard.take(chunk)
    finally:
        gc.enable()
    return heard


@pytest.fixture(scope="module")
def judged(story: Story, heard: Heard) -> Judged:
    """What the domain's own rules make of the records."""
    orders: dict[str, list[Fact]] = defaultdict(list)
    for fact in heard.accepted.values():
        orders[fact.order_id].append(fact)
    zone = BusinessZone("Asia/Shanghai")
    counts: dict[str, Counter[date]] = defaultdict(Counter)
    in_launch: dict[str, Counter[int]] = defaultdict(Counter)
    start_us, end_us = (second * 1_000_000 for second in (story.facts.launch.start_s, story.facts.launch.end_s))
    violating = 0
    for facts in orders.values():
        judgement = judge(facts)
        violating += bool(judgement.violations)
        for unit in judgement.units:
            assert unit.dims[0] == "SU7"
            counts[unit.metric][zone.date_of(unit.cause.time_us)] += 1
            if start_us <= unit.cause.time_us < end_us:
                in_launch[unit.metric][(unit.cause.time_us - start_us) // 60_000_000] += 1
    return Judged(counts, violating, in_launch)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("nothing"))
        return load_settings(STORY)


def small(facts: StoryFacts, **changes: Any) -> StoryFacts:
    """The same story with a hundredth of the units, which matches no published figure."""
    deliveries = {month: units // 100 for month, units in facts.deliveries.months.items()}
    orders = {month: units // 90 for month, units in facts.orders.months.items()}
    return dataclasses.replace(
        facts,
        deliveries=dataclasses.replace(facts.deliveries, months=deliveries, fixed_days={}),
        orders=dataclasses.replace(
            facts.orders, months=orders | {"2024-03": 1200}, fixed_days={date(2024, 3, 29): 1000}
        ),
        launch=smaller(facts.launch, 100),
        plant=dataclasses.replace(facts.plant, stock=20, scrapped=2) if facts.plant is not None else None,
        **changes,
    )


FEW = Rates(**{each.name: 2 for each in dataclasses.fields(Rates) if each.name != "cancelled_share"})


def digest(facts: StoryFacts) -> str:
    told = tell(facts, FEW, Transport(id_conflicts=2))
    return hashlib.sha256("\n".join(map(repr, told.records())).encode()).hexdigest()


def test_every_published_figure_holds_in_counts_made_by_the_domains_own_rules(story: Story, judged: Judged) -> None:
    counts, openings = judged.counts, story.expected.openings
    assert {f.id: f.holds(counts[f.metric], openings.get(f.metric, 0)) for f in story.facts.figures} == {
        f.id: True for f in story.facts.figures
    }


def test_the_launch_is_as_published_by_the_minute_in_counts_made_by_the_domains_own_rules(
    story: Story, judged: Judged, settings: Settings
) -> None:
    launch, expected = story.facts.launch, story.expected
    (campaign,) = settings.campaigns
    assert (campaign.period_id, campaign.start_us, campaign.end_us) == (
        launch.period,
        launch.start_s * 1_000_000,
        launch.end_s * 1_000_000,
    )
    minutes = judged.in_launch["orders_placed"]
    assert [minutes[minute] for minute in range(1440)] == expected.minutes[launch.period]
    assert {f.id: f.holds(expected.minutes[launch.period]) for f in launch.figures} == {
        "four-minutes": True,
        "seven-minutes": True,
        "27-minutes": True,
        "24-hours": True,
    }
    for metric in METRICS:
        assert judged.in_launch[metric].total() == expected.campaigns[launch.period][metric]


def test_orders_of_the_launch_are_cancelled_for_a_week_and_the_others_delivered_later(heard: Heard) -> None:
    became: dict[str, dict[int, int]] = defaultdict(dict)
    for fact in heard.accepted.values():
        if fact.order_id.startswith("SO-20240328-0"):
            became[fact.order_id][fact.kind] = fact.time_us
    assert len(became) == 88_898
    days = Counter(
        (kind, (at - facts[Kind.PLACED]) // DAY_US)
        for facts in became.values()
        for kind, at in facts.items()
        if kind != Kind.PLACED
    )
    week = sum(days[Kind.CANCELLED, day] for day in range(7))
    assert week / len(became) == pytest.approx(0.45, abs=0.001)
    assert sum(orders for (kind, _), orders in days.items() if kind == Kind.CANCELLED) - week < 50
    delivered = sum(orders for (kind, _), orders in days.items() if kind == Kind.DELIVERED)
    assert len(became) - week - 50 < delivered < len(became) - week + 300


def test_more_is_ordered_than_is_delivered_within_the_year(story: Story) -> None:
    assert story.expected.counts["orders"].total() > 1.3 * story.expected.counts["deliveries"].total()


def test_the_story_knows_every_count_of_every_day(story: Story, judged: Judged) -> None:
    for metric in METRICS:
        assert +judged.counts[metric] == +story.expected.counts[metric]


def test_the_story_knows_how_many_orders_are_contradictory(story: Story, judged: Judged) -> None:
    assert judged.violating == story.expected.violating_orders > 200


def test_the_story_knows_what_is_read_applied_twice_rejected_and_rerouted(story: Story, heard: Heard) -> None:
    expected = story.expected
    assert heard.records == expected.records
    assert len(heard.accepted) == expected.events
    assert heard.duplicates == expected.duplicates
    assert heard.rejected == expected.dead_letters
    assert heard.rerouted == expected.rerouted(PARTITIONS)


def test_about_two_in_a_hundred_events_are_sent_twice(story: Story) -> None:
    assert 0.015 < story.expected.duplicates / story.expected.events < 0.025


def test_dead_letters_have_at_least_ten_different_reasons_and_stay_few(story: Story) -> None:
    assert len(story.expected.dead_letters) >= 10
    assert story.expected.dead_letters.total() < 100


def test_an_id_conflict_comes_after_the_event_it_contradicts_and_lands_in_the_same_partition(heard: Heard) -> None:
    assert len(heard.repeats) == 12
    for first, other in heard.repeats:
        assert (first.topic, first.partition) == (other.topic, other.partition)
        assert first.offset < other.offset


def test_records_come_in_the_order_of_the_storys_own_time(heard: Heard) -> None:
    assert heard.story_s == sorted(heard.story_s)


def test_a_vehicle_is_built_before_it_is_delivered_or_else_before_the_line_reported(story: Story, heard: Heard) -> None:
    built = {fact.vin: fact.time_us for fact in heard.accepted.values() if fact.kind == Kind.PRODUCED}
    mistakes = {fact.voids for fact in heard.accepted.values() if fact.voids is not None}
    delivered: dict[str, int] = {}
    for fact in heard.accepted.values():
        if fact.kind == Kind.DELIVERED and (fact.source, fact.id) not in mistakes:
            delivered[fact.vin] = min(fact.time_us, delivered.get(fact.vin, fact.time_us))
    assert len(built.keys() & delivered.keys()) > 60_000
    assert all(built[vin] < delivered[vin] for vin in built.keys() & delivered.keys())
    assert story.expected.openings == {"produced": len(delivered.keys() - built.keys())}
    assert len(built.keys() - delivered.keys()) == 2100 + 12


def test_some_events_come_days_late_and_none_before_it_happened(heard: Heard) -> None:
    assert min(heard.late) >= 0
    assert sum(late > 86_400 for late in heard.late) > 1000
    assert max(heard.late) < 9 * 86_400


def test_both_content_modes_are_used(heard: Heard) -> None:
    assert heard.modes[True] > 10_000
    assert heard.modes[False] > 100_000


def test_an_order_is_placed_at_least_two_days_before_its_first_delivery(heard: Heard) -> None:
    placed: dict[str, int] = {}
    for fact in heard.accepted.values():
        if fact.kind == Kind.PLACED:
            placed[fact.order_id] = min(fact.time_us, placed.get(fact.order_id, fact.time_us))
    leads = [
        fact.time_us - placed[fact.order_id]
        for fact in heard.accepted.values()
        if fact.kind == Kind.DELIVERED and fact.order_id in placed
    ]
    assert len(leads) > 130_000
    assert min(leads) >= 2 * DAY_US
    assert 20 * DAY_US < sorted(leads)[len(leads) // 2] < 150 * DAY_US


def test_no_vin_belongs_to_two_orders(heard: Heard) -> None:
    owners = {(fact.vin, fact.order_id) for fact in heard.accepted.values() if fact.kind == Kind.DELIVERED}
    assert len({vin for vin, _ in owners}) == len(owners)


def test_the_sixty_unexplained_deliveries_stay_visible_by_their_source_their_month_and_their_lack_of_an_order(
    heard: Heard, judged: Judged
) -> None:
    unexplained = [fact for fact in heard.accepted.values() if fact.source.startswith("/simulated/unexplained/")]
    assert len(unexplained) == 60
    assert all(fact.order_id.startswith("UNEXPLAINED-") for fact in unexplained)
    assert sum(units for day, units in judged.counts["deliveries"].items() if day < date(2024, 4, 1)) == 60
    ids = {fact.order_id for fact in unexplained}
    assert not [fact for fact in heard.accepted.values() if fact.order_id in ids and fact.kind == Kind.PLACED]


def test_every_event_says_that_it_is_simulated(heard: Heard) -> None:
    assert all(fact.source.startswith("/simulated/") for fact in heard.accepted.values())


def test_the_milestones_of_the_year_stand_at_the_end(story: Story, settings: Settings) -> None:
    expected = story.expected
    standing = standing_milestones(
        settings, "SU7", expected.counts, date(2024, 12, 31), expected.openings, expected.campaigns
    )
    assert standing >= {
        "orders_placed/model=SU7/campaign:su7-launch/every:10000:50000",
        "orders_placed/model=SU7/campaign:su7-launch/every:10000:80000",
        "orders_placed/model=SU7/campaign:su7-launch/reaches:88898",
        "deliveries/model=SU7/month:2024-11/streak:exceeds:20000:2",
        "deliveries/model=SU7/month:2024-12/streak:exceeds:20000:3",
        "deliveries/model=SU7/total/every:50000:100000",
        "produced/model=SU7/total/every:100000:100000",
        "produced/model=SU7/month:2024-10/target:su7-2024-10-built:20000",
        "deliveries/model=SU7/first:day/exceeds:1000",
        "deliveries/model=SU7/day:2024-10-07/exceeds:1000",
        "deliveries/model=SU7/record:day:2024-10-07",
        "deliveries/model=SU7/month:2024-09/target:su7-2024-09:10000",
        "deliveries/model=SU7/month:2024-10/target:su7-2024-10:20000",
        "deliveries/model=SU7/year:2024/target:su7-2024:100000",
        "orders_placed/model=SU7/holiday:national-day:2024/exceeds:6000",
    }


def test_no_day_before_7_october_passes_1000_even_with_all_that_is_taken_back_later(heard: Heard) -> None:
    zone = BusinessZone("Asia/Shanghai")
    sent = Counter(zone.date_of(fact.time_us) for fact in heard.accepted.values() if fact.kind == Kind.DELIVERED)
    assert max(units for day, units in sent.items() if day < date(2024, 10, 7)) < 1000


def test_the_same_seed_tells_the_same_story_to_the_byte_and_another_seed_another() -> None:
    facts = small(load_facts())
    assert digest(facts) == digest(facts)
    assert digest(facts) != digest(small(load_facts(), seed=facts.seed + 1))


def test_a_story_can_be_read_twice() -> None:
    told = tell(small(load_facts()), FEW, Transport(id_conflicts=2))
    assert list(told.records()) == list(told.records())


def test_too_few_orders_for_the_deliveries_are_refused() -> None:
    facts = small(load_facts())
    scarce = dataclasses.replace(facts.orders, months=dict.fromkeys(facts.orders.months, 30), fixed_days={})
    with pytest.raises(ValueError, match=r"simulation\.orders"):
        tell(dataclasses.replace(facts, orders=scarce), dataclasses.replace(FEW, cancelled_share=0.01))
