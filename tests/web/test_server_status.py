"""What the header of each page says about the workers."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from streams.settings import Settings
from streams.web.readmodel import Feed
from streams.web.status import WORKER_SILENT_S, ServiceStatus, service_status
from streams.web.topic_follower import FollowState
from tests.support.outputs import Record

if TYPE_CHECKING:
    from streams.web.readmodel import ReadModel

LONG_AGO_S = 2 * 3600


def report(name: str, *partitions: int, ago_s: float = 0.0, health: str = "running", **more: Any) -> Record:
    """A worker's report of `ago_s` seconds ago, by the brokers' clock."""
    document = more | {
        "name": name,
        "health": health,
        "partitions": list(partitions),
        "started_at": "2024-10-07T10:00:00.000Z",
        "updated_at": "2024-10-07T10:00:00.000Z",
    }
    sent_ms = int((time.time() - ago_s) * 1000)
    return Record(f"worker/{name}".encode(), json.dumps(document).encode(), timestamp=sent_ms)


def status(model: ReadModel, *reports: Record) -> ServiceStatus:
    """The status after reading these."""
    model.apply([(Feed.STATUS, reports)])
    now_s = time.monotonic()
    state = FollowState(broker_seen_s=now_s, caught_up_s=now_s, problem="")
    with model.snapshot() as view:
        return service_status(view, state, Settings())


def test_a_worker_that_reports_is_well(model: ReadModel) -> None:
    found = status(model, report("a", 0, 1))
    assert found.reasons == []
    assert not found.workers[0].silent


def test_standby_copies_are_reported_with_how_far_they_are_behind(model: ReadModel) -> None:
    copies = [{"partition": 2, "behind": 7}, {"partition": 3, "behind": None}]
    (worker,) = status(model, report("a", 0, 1, standbys=copies)).workers
    assert [(copy.partition, copy.behind) for copy in worker.standbys] == [(2, 7), (3, None)]


def test_a_worker_that_has_said_nothing_for_long_is_silent_and_without_another_the_page_is_stale(
    model: ReadModel,
) -> None:
    found = status(model, report("a", 0, 1, ago_s=LONG_AGO_S))
    assert found.reasons == ["workers"]
    assert found.workers[0].silent


def test_a_silent_worker_makes_the_page_stale_until_its_partitions_are_taken_over(model: ReadModel) -> None:
    gone = report("a", 0, 1, ago_s=600)
    assert status(model, gone, report("b", 2, 3)).reasons == ["worker"]
    assert status(model, report("b", 1, 2, 3)).reasons == ["worker"]
    taken = status(model, report("b", 0, 1, 2, 3))
    assert taken.reasons == []
    assert [(each.name, each.silent) for each in taken.workers] == [("a", True), ("b", False)]


def test_a_worker_that_was_replaced_is_forgotten_after_an_hour_but_not_while_its_work_is_left(model: ReadModel) -> None:
    gone = report("a", 0, 1, ago_s=LONG_AGO_S)
    left = status(model, gone, report("b", 2, 3))
    assert left.reasons == ["worker"]
    assert [each.name for each in left.workers] == ["a", "b"]
    assert [each.name for each in status(model, report("b", 0, 1, 2, 3)).workers] == ["b"]


def test_a_worker_that_has_stopped_leaves_nothing_behind(model: ReadModel) -> None:
    assert status(model, report("a", health="stopped"), report("b", 0, 1)).reasons == []


@pytest.mark.parametrize("ahead_s", [-30.0, 30.0])
def test_clocks_of_brokers_that_are_wrong_by_seconds_make_no_worker_silent(model: ReadModel, ahead_s: float) -> None:
    assert abs(ahead_s) > WORKER_SILENT_S
    found = status(model, report("a", 0, ago_s=-ahead_s))
    assert found.reasons == []
    assert found.workers[0].age_s < WORKER_SILENT_S
