"""The catalogue says what the contract's table of topics says."""

from __future__ import annotations

import pytest

from schemas.authority import MAX_RECORD_BYTES
from schemas.topics import Catalogue

KEEP = {"cleanup.policy": "delete", "retention.ms": "-1"}
COMPACT = {"cleanup.policy": "compact"}
TABLE = [
    ("vehicle.orders.v1", 6, KEEP | {"message.timestamp.type": "LogAppendTime"}),
    ("vehicle.deliveries.v1", 6, KEEP | {"message.timestamp.type": "LogAppendTime"}),
    ("vehicle.targets.v1", 1, KEEP | {"message.timestamp.type": "LogAppendTime"}),
    ("vehicle.controls.v1", 1, KEEP | {"message.timestamp.type": "LogAppendTime"}),
    ("vehicle.windows.v1", 1, COMPACT),
    ("vehicle.window-history.v1", 1, {"cleanup.policy": "delete", "retention.ms": "34560000000"}),
    ("vehicle.milestones.v1", 1, KEEP),
    ("vehicle.forecasts.v1", 1, COMPACT),
    ("vehicle.violations.v1", 6, COMPACT),
    ("vehicle.status.v1", 1, COMPACT),
    ("vehicle.dead-letters.v1", 6, KEEP),
    ("milestones.internal.counts", 1, COMPACT),
    ("milestones.internal.ledger", 6, COMPACT),
    ("milestones.internal.rerouted", 6, KEEP),
    ("milestones.internal.totals", 1, COMPACT),
    ("milestones.internal.questions", 6, {"cleanup.policy": "delete", "retention.ms": "86400000"}),
    ("milestones.internal.quarantine", 1, COMPACT),
    ("milestones.internal.replayed", 1, COMPACT),
]


@pytest.mark.parametrize(("name", "partitions", "configs"), TABLE)
def test_each_topic_has_the_partitions_and_the_cleanup_of_the_contract(
    name: str, partitions: int, configs: dict[str, str]
) -> None:
    topic = {topic.name: topic for topic in Catalogue(partitions=6).all()}[name]
    assert topic.partitions == partitions
    assert {key: topic.configs[key] for key in configs} == configs


def test_the_catalogue_is_complete_and_always_in_the_same_order() -> None:
    assert [topic.name for topic in Catalogue().all()] == [name for name, _, _ in TABLE]
    assert [topic.name for topic in Catalogue().public()] == [name for name, _, _ in TABLE[:11]]
    assert Catalogue().partitions == 4


def test_several_partitions_of_the_totals_are_those_of_what_is_keyed_by_window_and_one_more_topic_passes_targets_on() -> (
    None
):
    names = [name for name, _, _ in TABLE]
    found = {topic.name: topic.partitions for topic in Catalogue(totals_partitions=3).all()}
    assert list(found) == [*names[:15], "milestones.internal.sides", *names[15:]]
    assert {name.rpartition(".v1")[0] or name for name, partitions in found.items() if partitions == 3} == {
        "vehicle.windows",
        "vehicle.window-history",
        "vehicle.milestones",
        "vehicle.forecasts",
        "milestones.internal.counts",
        "milestones.internal.totals",
        "milestones.internal.sides",
    }


def test_prefixes_stand_before_what_is_read_and_before_what_is_written() -> None:
    names = [topic.name for topic in Catalogue("in.", "out.", 1).all()]
    assert names == [
        *(f"in.{name}" for name, _, _ in TABLE[:4]),
        *(f"out.{name}" for name, _, _ in TABLE[4:11]),
        "milestones.internal.out.counts",
        "milestones.internal.out.ledger",
        "milestones.internal.out.rerouted",
        "milestones.internal.out.totals",
        "milestones.internal.out.questions",
        "milestones.internal.out.quarantine",
        "milestones.internal.out.replayed",
    ]


def test_a_record_passed_on_has_room_for_the_headers_that_are_added() -> None:
    catalogue = Catalogue()
    source = int(catalogue.orders.configs["max.message.bytes"])
    assert source > MAX_RECORD_BYTES, "a record that is too large must get as far as the dead letters"
    for topic in (catalogue.dead_letters, catalogue.rerouted):
        assert int(topic.configs["max.message.bytes"]) >= source + 64 * 1024


def test_settings_are_texts_as_the_broker_gives_them_back() -> None:
    assert all(type(value) is str for topic in Catalogue().all() for value in topic.configs.values())
