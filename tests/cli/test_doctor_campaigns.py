"""What `milestones doctor` says about announced campaigns: each difference is planted, and reported as text and as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from schemas.instants import micros_of
from schemas.memory import SideState
from streams.checkup import Finding, note, ok, wrong
from streams.checkup.campaigns import CampaignBasis, _plan_record, campaign_findings
from streams.domain.announced.announcements import Announcement, CampaignBook, campaign_change_of
from streams.kafka.records import FetchedRecord
from streams.settings import Settings
from tests.cli.test_doctor import told_both_ways

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

NOW = datetime(2025, 6, 26, 14, 0, tzinfo=UTC)
START = datetime(2025, 6, 26, 14, 0, tzinfo=UTC)
RULE = {"name": "launches", "metric": "orders_placed", "window": "campaign", "scope": ["model"], "every": 1000}
SOURCE = "/marketing"


def settings(**more: object) -> Settings:
    return Settings.model_validate({"scopes": [["model"], []], "rule": [RULE], **more})


def event(name: str = "yu7", id_: str = "v1", *, at: int = 0, type_: str = "campaign.set.v1", **data: object) -> bytes:
    """An event of a campaign, dated a number of minutes after 21:00 in Shanghai."""
    given = {"campaign": name, **data}
    if type_ == "campaign.set.v1":
        given.setdefault("start", START.isoformat())
    time = datetime(2025, 6, 26, 13, at % 60, tzinfo=UTC)
    document = {
        "specversion": "1.0",
        "id": id_,
        "source": SOURCE,
        "type": type_,
        "time": time.isoformat(),
        "data": given,
    }
    return json.dumps(document).encode()


def withdrawn(name: str = "yu7", id_: str = "w1", *, at: int = 30) -> bytes:
    return event(name, id_, at=at, type_="campaign.withdrawn.v1")


def key_of(value: bytes) -> bytes:
    data = json.loads(value)["data"]
    return (f"campaign:{data['campaign']}" if "campaign" in data else data["target_id"]).encode()


def basis(
    of: Settings,
    *values: bytes,
    rejected: Sequence[int] = (),
    read: int | None = None,
    age_s: int = 3600,
    behind: Sequence[int] = (),
    totals_behind: bool = False,
    counted_by: dict[int, str] | None = None,
) -> CampaignBasis:
    """Announcements that all partitions count by, except those that are behind."""
    appended_ms = round((NOW - timedelta(seconds=age_s)).timestamp() * 1000)
    side = SideState(
        first=0,
        next=len(values) if read is None else read,
        rejected=[(offset, offset) for offset in rejected],
    )
    records = tuple(
        _plan_record(
            FetchedRecord("vehicle.targets.v1", 0, offset, appended_ms, 1, key_of(value), value, ()), of, side.next
        )
        for offset, value in enumerate(values)
    )
    book = CampaignBook((campaign.name for campaign in of.campaigns), of.limits.announced_campaigns)
    for record in records:
        outcome: Any = record.outcome
        if record.said is not None and not hasattr(outcome, "reason") and record.offset not in rejected:
            book.take(campaign_change_of(outcome, tuple(map(tuple, of.scopes))))
    text = Announcement(7, book.decided).text if book.decided else ""
    known = {number: "" if number in behind else text for number in range(4)} if counted_by is None else counted_by
    return CampaignBasis(records, side, known, {0: "" if totals_behind else text})


def found(of: Settings, on: CampaignBasis) -> list[Finding]:
    return list(campaign_findings(of, on, micros_of(NOW)))


def test_without_campaigns_nothing_is_said_and_with_one_that_all_count_one_line() -> None:
    assert found(settings(rule=[]), CampaignBasis()) == []
    assert found(settings(), basis(settings(), event())) == [
        ok("campaigns", "1 has been announced, and all partitions count by that")
    ]
    both = basis(settings(), event(), event("su7", "v2"))
    assert found(settings(), both) == [ok("campaigns", "2 have been announced, and all partitions count by that")]


_AGAIN = "publish it again, corrected and with another id"


@pytest.mark.parametrize(
    ("values", "rejected", "read", "detail"),
    [
        (
            [event(start="2025-06-26T22:00:30+08:00")],
            [0],
            None,
            "campaign.set.v1 /marketing v1 at vehicle.targets.v1-0@0 was rejected: ",
        ),
        (
            [event(), event("su7", "v2", end="2025-06-26T21:00:00+08:00")],
            [],
            1,
            "campaign.set.v1 /marketing v2 at vehicle.targets.v1-0@1 will be rejected: ",
        ),
        (
            [event(), event(start="2025-06-26T20:00:00+08:00")],
            [],
            1,
            "campaign.set.v1 /marketing v1 at vehicle.targets.v1-0@1 will be rejected: another event with the same source and id",
        ),
        (
            [event()],
            [0],
            None,
            "campaign.set.v1 /marketing v1 at vehicle.targets.v1-0@0 was rejected, by a version that did not know it",
        ),
    ],
)
def test_an_announcement_that_was_or_will_be_rejected_is_found(
    monkeypatch: pytest.MonkeyPatch, values: list[bytes], rejected: list[int], read: int | None, detail: str
) -> None:
    of = settings()
    faults = [each for each in found(of, basis(of, *values, rejected=rejected, read=read)) if each.state == "wrong"]
    assert [(fault.name, fault.detail.startswith(detail), fault.cure) for fault in faults] == [
        ("campaigns", True, _AGAIN)
    ], faults
    _told(monkeypatch, faults[0])


def test_what_was_rejected_and_then_published_well_is_no_fault() -> None:
    of = settings()
    repaired = basis(of, event(start="2025-06-26T22:00:30+08:00"), event(id_="v2"), rejected=[0])
    assert [finding.state for finding in found(of, repaired)] == ["ok"]


def test_an_announcement_that_not_all_partitions_count_by_is_found_after_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of = settings()
    cure = (
        "make sure that workers run, own these partitions and know events of campaigns: /readyz and their logs say it"
    )
    late = wrong("campaigns", "ledger partitions 1, 3 do not count by what was announced 60 min ago", cure)
    assert found(of, basis(of, event(), behind=[1, 3])) == [late]
    _told(monkeypatch, late)
    totals = wrong("campaigns", "totals partition 0 does not count by what was announced 60 min ago", cure)
    assert found(of, basis(of, event(), totals_behind=True)) == [totals]
    soon = "ledger partition 2 will soon count by what was announced a moment ago"
    assert found(of, basis(of, event(), behind=[2], age_s=5)) == [note("campaigns", soon)]
    nobody = basis(of, event(), counted_by={})
    assert found(of, nobody) == [note("campaigns", "no worker has counted anything yet")]


def test_campaigns_beyond_the_hundred_that_are_counted_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    of = settings()
    earlier = [event(f"c-{n}", f"v{n}", start=(START - timedelta(minutes=1 + n)).isoformat()) for n in range(100)]
    first, *_ = found(of, basis(of, event(), *earlier))
    assert first == wrong(
        "campaigns",
        "yu7 is not counted: of 101 that are announced, only 100 are, first those that are not over and begin before the others",
        "set announced_campaigns in [limits] to more and restart the workers, or withdraw others that are not over",
    )
    _told(monkeypatch, first)
    over = event(start="2025-05-01T00:00:00+08:00")
    first, *_ = found(of, basis(of, over, *earlier))
    assert (first.state, first.detail) == (
        "note",
        (
            "1 that are over are no longer counted, since more than 100 are announced: their rows stay as they are, "
            "unless announced_campaigns in [limits] is more"
        ),
    )
    more = settings(limits={"announced_campaigns": 101})
    assert [each.state for each in found(more, basis(more, event(), *earlier))] == ["ok"]


def test_a_campaign_for_scopes_that_are_not_counted_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    of = settings()
    first, *_ = found(of, basis(of, event(scopes=[["factory"]])))
    assert first == wrong(
        "campaigns",
        'yu7 is not counted: none of its scopes ["factory"] is among those of the settings',
        'announce it for some of the scopes of the settings, which are ["model"], []',
    )
    _told(monkeypatch, first)
    first, *_ = found(of, basis(of, event(scopes=[["model"], ["factory"]])))
    assert first == note(
        "campaigns", 'yu7 is not counted for ["factory"]: these are not among the scopes of the settings'
    )


def test_an_announcement_that_came_last_and_does_not_decide_is_told() -> None:
    of = settings()
    first, *_ = found(of, basis(of, event(at=20), event(id_="v2", at=10, end="2025-06-26T23:00:00+08:00")))
    assert first == note(
        "campaigns",
        "/marketing v2 at vehicle.targets.v1-0@1 came last about yu7 and has no effect: /marketing v1 decides, as its time is not "
        "earlier",
    )
    same = basis(of, event(at=20), event(id_="v2", at=10))
    assert [finding.state for finding in found(of, same)] == ["ok"], "both say the same"


def test_rules_that_no_campaign_fits_and_campaigns_without_a_rule_are_told() -> None:
    named = {**RULE, "name": "launch", "window": "campaign:su7", "scope": []}
    of = settings(
        rule=[RULE, named],
        campaign=[{"name": "su7", "start": "2024-03-28T22:00:00+08:00", "hours": 24, "scopes": [[]]}],
    )
    first, second = found(of, basis(of, withdrawn("su7")))[:2]
    assert first == note("campaigns", "rule 'launches' raises nothing: no campaign is counted for scope [\"model\"]")
    assert second == note("campaigns", "rule 'launch' raises nothing: campaign su7 is withdrawn, or not counted")
    first, *_ = found(of, basis(of, event("su7", scopes=[["model"]])))
    assert first == note("campaigns", "rule 'launch' raises nothing: campaign su7 is not counted for scope []")
    without = settings(rule=[])
    first, *_ = found(
        without, basis(without, event(), event("su7", "v2"), event("old", "v3", start="2025-01-01T00:00:00Z"))
    )
    assert first == note("campaigns", "no rule is about su7, yu7: they are counted and raise no milestones of rules")


def test_a_target_for_a_campaign_that_is_not_counted_is_told() -> None:
    target = {"target_id": "t", "metric": "orders_placed", "scope": "model=SU7", "period": "campaign:yu7", "value": 5}
    document = {
        "specversion": "1.0", "id": "t1", "source": "/plan", "type": "target.set.v1", "time": "2025-06-26T13:00:00Z",
        "data": target,
    }  # fmt: skip
    of = settings()
    value = json.dumps(document).encode()
    told = note("campaigns", "target 't' has no effect: campaign yu7 is not counted")
    assert told in found(of, basis(of, event(), withdrawn(), value))
    assert told not in found(of, basis(of, event(), value))


def _told(monkeypatch: pytest.MonkeyPatch, fault: Finding) -> None:
    async def cluster_findings(*_: object) -> AsyncIterator[Finding]:
        yield fault

    monkeypatch.setattr("streams.checkup.cluster.cluster_findings", cluster_findings)
    monkeypatch.setattr("streams.cli.doctor.machine_findings", list)
    told_both_ways(fault, "--bootstrap-servers", "127.0.0.1:1")
