"""Several topics of orders or of deliveries, named by their owners: numbers, shares of the group, changes of the lists."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest

from schemas.codec import decode_batch
from schemas.facts import DELIVERIES, MAX_TOPICS, ORDERS, Fact, Rejection, family_of, topic_number
from schemas.topics import Catalogue
from streams.app import member_name
from streams.context import Context
from streams.domain.orders.packing import Vocabulary, pack, unpack
from streams.errors import ExpectedError
from streams.kafka.admin import Found, plan_of
from streams.kafka.publisher import Publisher
from streams.kafka.rights import ROLES, Operation, Role, rights_of
from streams.ledger.replica import _topics_of
from streams.settings import Settings
from streams.settings_sections import TopicSettings
from streams.worker.assignor import SharesAssignor, shares
from tests.contract.goldens import MARKER, MARKER_OF_SEVERAL
from tests.support.events import FIRST, event
from tests.support.outputs import Record

LISTED = TopicSettings(orders=("cn", "eu"), deliveries=("bj1",))


def context(topics: TopicSettings = LISTED, **settings: Any) -> Context:
    return Context(Settings(topics=topics, **settings))


def test_the_first_topic_of_each_family_has_the_number_it_had_when_there_was_one() -> None:
    assert Catalogue().names() == {0: "vehicle.orders.v1", 1: "vehicle.deliveries.v1"}
    assert Catalogue("x.", orders=["cn", "eu"]).names() == {0: "cn", 1: "x.vehicle.deliveries.v1", 2: "eu"}
    numbers = [topic_number(family, place) for place in range(MAX_TOPICS) for family in (ORDERS, DELIVERIES)]
    assert numbers == list(range(2 * MAX_TOPICS))
    assert [family_of(number) for number in (0, 1, 2, 3)] == [ORDERS, DELIVERIES, ORDERS, DELIVERIES]


@pytest.mark.parametrize("plain", [True, False], ids=["fast way", "authority"])
def test_each_topic_takes_the_events_of_its_family_and_the_ledger_keeps_its_number(*, plain: bool) -> None:
    value = event("order.placed.v1", "p", FIRST, {"order_id": "SO-1", "model": "SU7"})
    record = Record(b"SO-1", value if plain else value.replace(b'"p"', b'"\\u0070"'), 7)
    for place in (0, 1, MAX_TOPICS - 1):
        number = topic_number(ORDERS, place)
        (fact,) = decode_batch([record], topic=number, future_limit_us=1 << 62)
        assert isinstance(fact, Fact)
        assert (fact.topic, fact.id) == (number, "p")
        vocabulary = Vocabulary()
        assert unpack("SO-1", pack(fact, vocabulary), vocabulary.words) == [fact]
        (refused,) = decode_batch([record], topic=topic_number(DELIVERIES, place), future_limit_us=1 << 62)
        assert isinstance(refused, Rejection)
        assert refused.reason == "wrong_topic"


def test_partitions_of_one_number_belong_together_whatever_topic_they_are_of() -> None:
    found = shares(
        context(partitions=2),
        {"cn": 3, "eu": 5, "bj1": 1, "milestones.internal.rerouted": 2, "milestones.internal.questions": 2},
    )
    assert found[:2] == [
        {
            "cn": [0, 2],
            "bj1": [0],
            "eu": [0, 2, 4],
            "milestones.internal.rerouted": [0],
            "milestones.internal.questions": [0],
        },
        {"cn": [1], "bj1": [], "eu": [1, 3], "milestones.internal.rerouted": [1], "milestones.internal.questions": [1]},
    ]


def test_a_worker_with_a_shorter_list_gets_nothing_from_one_with_the_longer() -> None:
    counts = {"cn": 2, "eu": 2, "bj1": 2, "milestones.internal.rerouted": 4}
    new = {*context().ledger_topics, "milestones.internal.counts", "vehicle.targets.v1", "vehicle.controls.v1"}
    assignor = Mock()
    assignor.app.context = context()
    assignor._get_client_metadata.return_value.assignment = Mock(actives={}, standbys={})
    cluster = Mock()
    cluster.partitions_for_topic.side_effect = lambda topic: range(counts.get(topic, 1))
    members = {"new": Mock(subscription=list(new)), "old": Mock(subscription=list(new - {"eu"}))}
    SharesAssignor._perform_assignment(assignor, cluster, members)
    assigned = assignor._protocol_assignments.call_args.args[0]
    assert assigned["old"].actives == {}
    assert assigned["new"].actives["eu"] == [0, 1]


def test_a_worker_is_another_member_of_its_group_when_it_reads_other_topics() -> None:
    """Otherwise a group gives it its former partitions, without the added ones."""
    assert member_name("w1", context(TopicSettings())) == "w1"
    readers = [
        context(),
        context(TopicSettings(orders=("cn", "eu", "new"), deliveries=("bj1",))),
        context(TopicSettings(), families=("deliveries",)),
        context(TopicSettings(), standby_copies=1),
    ]
    names = [member_name("w1", each) for each in readers]
    assert len({"w1", *names}) == 5
    assert names == [member_name("w1", each) for each in readers]
    assert member_name("w2", readers[0]) != names[0]


def test_a_version_that_reads_more_topics_is_another_member_of_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the group gives a worker its partitions from before the upgrade, and nobody reads the added ones."""
    settings = Settings(families=("orders", "deliveries", "production"))
    judging, earlier = Context(settings), Context(settings)
    assert judging.catalogue.told.name in judging.ledger_topics
    without = tuple(topic for topic in judging.ledger_topics if topic != judging.catalogue.told.name)
    monkeypatch.setitem(vars(earlier), "ledger_topics", without)
    assert member_name("w1", judging) != member_name("w1", earlier)
    usual = Context(Settings())
    assert member_name("w1", usual) == "w1"
    monkeypatch.setitem(vars(usual), "ledger_topics", (*usual.ledger_topics, "added"))
    assert member_name("w1", usual) != "w1"


@pytest.mark.parametrize(
    ("topics", "line"),
    [
        (TopicSettings(orders=("sales.cn.orders", "sales.eu.orders"), deliveries=("factory.handovers",)), ""),
        (
            TopicSettings(orders=("sales.cn.orders", "sales.eu.orders", "new"), deliveries=("factory.handovers", "b")),
            "",
        ),
        (TopicSettings(orders=("sales.cn.orders",), deliveries=("factory.handovers",)), "sales.eu.orders was counted"),
        (
            TopicSettings(orders=("sales.eu.orders", "sales.cn.orders"), deliveries=("factory.handovers",)),
            "sales.cn.orders was counted, and is not in its place of the settings: list the topics as before and new ones",
        ),
        (TopicSettings(), "sales.cn.orders was counted"),
    ],
)
def test_lists_grow_at_their_ends_and_change_nowhere_else(topics: TopicSettings, line: str) -> None:
    named = context(topics).source_topics
    before = _topics_of(MARKER_OF_SEVERAL, 0, named)
    if not line:
        named.check_same(before)
        return
    with pytest.raises(ExpectedError, match=line) as refused:
        named.check_same(before)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("topics", "fits"),
    [
        (TopicSettings(), True),
        (TopicSettings(orders=("vehicle.orders.v1", "eu")), True),
        (TopicSettings(orders=("eu", "vehicle.orders.v1")), False),
        (TopicSettings(deliveries=("bj1",)), False),
    ],
)
def test_a_state_from_when_each_family_had_one_topic_goes_on_under_a_list_that_begins_with_it(
    topics: TopicSettings, *, fits: bool
) -> None:
    named = context(topics).source_topics
    if fits:
        named.check_same(_topics_of(MARKER, 0, named))
        return
    with pytest.raises(ExpectedError, match=r"vehicle\.\w+\.v1 was counted"):
        named.check_same(_topics_of(MARKER, 0, named))


def test_a_record_of_a_topic_that_is_listed_no_more_is_named_by_its_place() -> None:
    with pytest.raises(
        ExpectedError, match="topic 2 of the deliveries were counted, and the settings list only 1: list"
    ):
        context().source_topics.name(topic_number(DELIVERIES, 1))


def test_how_long_a_topic_of_others_is_kept_is_their_affair() -> None:
    (topic, own) = (Catalogue(orders=["cn"]).published[number] for number in (0, 1))
    there = {name: Found(3, {"retention.ms": "604800000"}, 1) for name in (topic.name, own.name)}
    changes = plan_of([topic, own], there).alter
    assert changes["cn"] == {"message.timestamp.type": ("", "LogAppendTime")}
    assert changes[own.name]["retention.ms"] == ("604800000", "-1")
    (created,) = plan_of([replace(topic, name="eu")], there).create
    assert created.configs["retention.ms"] == "-1"


@pytest.mark.parametrize(
    ("into", "line"),
    [
        (["cn", "bj1"], ""),
        (
            ["vehicle.orders.v1"],
            "--topic vehicle.orders.v1: this service reads no such topic; it reads cn, eu, bj1, vehicle",
        ),
        (["cn", "eu"], "--topic cn and eu take the same events: name one of them"),
    ],
)
async def test_what_is_published_goes_to_one_topic_of_each_family(into: list[str], line: str) -> None:
    if not line:
        assert Publisher(context().settings, into)._topics == [*into, "", "vehicle.targets.v1", "vehicle.controls.v1"]
        return
    with pytest.raises(ExpectedError, match=line) as refused:
        Publisher(context().settings, into)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("role", ROLES)
def test_the_rights_of_each_role_are_on_the_topics_that_are_listed(role: Role) -> None:
    rights = rights_of(role, context().settings)
    names = {right.name for right in rights}
    assert names & {"cn", "eu", "bj1"} == {"cn", "eu", "bj1"}
    if role == "web":
        assert {right.operations for right in rights if right.name in {"cn", "eu", "bj1"}} == {(Operation.DESCRIBE,)}
    assert not names & {"vehicle.orders.v1", "vehicle.deliveries.v1"}


def test_settings_that_were_written_out_are_read_again() -> None:
    assert Settings(**Settings().model_dump()) == Settings()
