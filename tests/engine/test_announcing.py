"""Ledger partitions are told announced campaigns until they count by them; the totals adopt an announcement when all do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from schemas.events import CampaignSet, CampaignSetData, CampaignWithdrawn, CampaignWithdrawnData
from schemas.memory import ANNOUNCED, SIDE, key_of
from schemas.questions import ANNOUNCEMENT, decode_questions
from streams.context import Context
from streams.domain.announced.announcements import Announcement
from streams.domain.announced.disposition import APPLIED
from streams.settings import Settings
from streams.settings_sections import CampaignSettings
from streams.totals import announcing
from streams.totals.announcing import Announcing
from streams.totals.shards import Shards
from tests.bench.totals import marker_of

if TYPE_CHECKING:
    import pytest

    from schemas.outputs import Marker
    from streams.kafka.outbox import Outgoing

START = datetime(2026, 3, 1, 20, tzinfo=UTC)
NIGHT = CampaignSettings(name="night", start=START, hours=2)
ENVELOPE = {"source": "/plan", "time": START}


def set_to(hours: int, identity: str) -> CampaignSet:
    data = CampaignSetData(campaign="night", start=START, end=START + timedelta(hours=hours))
    return CampaignSet.model_validate({**ENVELOPE, "id": identity, "data": data})


class World:
    """Two ledger partitions, by their markers, and a partition of the totals."""

    def __init__(self, number: int = 0, *, of_settings: bool = False) -> None:
        self.context = Context(
            Settings(partitions=2, scopes=((),), totals_partitions=2, campaign=(NIGHT,) if of_settings else ())
        )
        self.shards = Shards(2, "rerouted")
        self.announcing = Announcing(self.context, self.shards, number)

    def say(self, shard: int, text: str, *, rebuilding: bool = False) -> None:
        """A ledger partition reports the announcement that it counts by."""
        marker: Marker = msgspec.structs.replace(marker_of(1), announced=text, rebuilding=rebuilding)
        self.shards.restore({shard: marker})

    def told(self) -> dict[int, str]:
        return {record.partition: text_of(record) for record in self.announcing.to_tell()}

    def adopted(self) -> str | None:
        record = self.announcing.to_adopt()
        if record is None:
            return None
        assert record.key == key_of(SIDE, ANNOUNCED)
        return (record.value or b"").decode()


def text_of(record: Outgoing) -> str:
    # Versions without announcements find no question in it.
    assert decode_questions(record.value or b"") == []
    return (dict(record.headers)[ANNOUNCEMENT] or b"").decode()


async def test_each_ledger_partition_is_told_until_its_marker_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.say(0, "")
    world.say(1, "")
    assert world.told() == {}, "nothing is announced"
    assert world.announcing.take(set_to(1, "a")) == APPLIED
    text = "1 night@29539920+60 all"
    assert world.told() == {0: text, 1: text}
    assert world.told() == {}, "they have been told just now"
    world.say(0, text)
    monkeypatch.setattr(announcing, "_AGAIN_S", 0.0)
    assert world.told() == {1: text}, "what is lost on the way is told again"
    assert world.adopted() is None, "one of them does not count by it"
    world.say(1, text, rebuilding=True)
    assert world.adopted() is None, "one has not told all of its counts"
    world.say(1, text)
    assert (world.told(), world.adopted()) == ({}, text)
    world.announcing.recall(text.encode())
    assert (world.told(), world.adopted()) == ({}, None)
    assert [campaign.name for campaign in world.announcing.campaigns] == ["night"]
    # One has lost its state: it is told what the others know, and none goes back.
    world.say(0, "")
    assert (world.told(), world.adopted()) == ({0: text}, None)


async def test_a_later_announcement_has_a_greater_number_whatever_was_told_meanwhile() -> None:
    world = World(of_settings=True)
    world.say(0, "7 night@29539920+30 all")
    world.say(1, "6 night@29539920+60 all")
    world.announcing.take(set_to(1, "a"))
    text = "8 night@29539920+60 all"
    assert world.told() == {0: text, 1: text}
    withdrawn = CampaignWithdrawn.model_validate(
        {**ENVELOPE, "id": "b", "data": CampaignWithdrawnData(campaign="night")}
    )
    world.say(0, text)
    world.say(1, text)
    world.announcing.take(withdrawn)
    assert world.adopted() is None, "it is out of date already"
    assert world.told() == {0: "9 night@-", 1: "9 night@-"}
    world.announcing.recall(b"9 night@-")
    assert [*world.announcing.campaigns] == []


async def test_other_partitions_of_the_totals_follow_the_ledgers_and_never_go_back() -> None:
    world = World(number=1)
    world.announcing.take(set_to(1, "a"))
    world.say(0, "3 night@29539920+60 all")
    assert (world.told(), world.adopted()) == ({}, None)
    world.say(1, "3 night@29539920+60 all")
    assert world.adopted() == "3 night@29539920+60 all"
    world.announcing.recall(b"3 night@29539920+60 all")
    world.say(0, "")
    world.say(1, "")
    assert world.adopted() is None, "both have lost their states"
    world.say(0, "4 ")
    world.say(1, "4 ")
    assert world.adopted() == "4 "
    assert Announcement.parse("4 ").decided == ()
