"""What is shown before everything has been read, and what a restart begins with."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from aiokafka import TopicPartition

from streams.domain.time.zone import BusinessZone
from streams.settings import Settings
from streams.web.readmodel import Feed, ReadModel, WindowQuery
from streams.web.readmodel.persistence import kept_folder
from streams.web.topic_follower import Follower
from tests.support.outputs import Record, row, row_record
from tests.support.site import Site

if TYPE_CHECKING:
    from pathlib import Path

YEAR = row("year:2024", 5331)
PAGES = ("/", "/calendar", "/calendar/2024-10-07", "/windows", "/windows/side-by-side", "/milestones", "/targets",
         "/dead-letters", "/violations", "/reconciliation", "/?kiosk=1")  # fmt: skip
QUESTIONS = ("now", "calendar", "calendar/2024-10-07", "windows", "windows.csv", "windows.ndjson", "milestones", "targets",
             "dead-letters", "violations", "reconciliation")  # fmt: skip


def half_read(site: Site) -> None:
    """Five of ten records of the windows."""
    site.read(Feed.WINDOWS, row_record(YEAR, 4))
    site.web.state.positions[Feed.WINDOWS, 0] = 5
    site.web.state.ends[Feed.WINDOWS, 0] = 10
    site.web.state.broker_seen_s, site.web.state.problem = time.monotonic(), ""


async def test_until_everything_is_read_a_page_says_how_far_and_shows_no_number(tmp_path: Path) -> None:
    with Site(tmp_path) as site:
        half_read(site)
        for path in PAGES:
            page = await site.get(path)
            assert page.status_code == 200
            assert "5 of 10 records" in page.text, path
            assert "5,331" not in page.text, path
            assert page.headers["retry-after"] == "2"
        site.complete()
        for path in PAGES:
            assert "5 of 10 records" not in (await site.get(path)).text, path


async def test_until_everything_is_read_the_api_answers_503_and_when_to_ask_again(tmp_path: Path) -> None:
    with Site(tmp_path) as site:
        half_read(site)
        for name in QUESTIONS:
            answer = await site.get(f"/api/v1/{name}")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2"), name
            assert answer.json() == {"detail": "not everything has been read yet: 5 of 10 records"}
        assert not (await site.get("/api/v1/status")).json()["reader"]["rebuilt"]
        site.complete()
        for name in QUESTIONS:
            assert (await site.get(f"/api/v1/{name}")).status_code == 200, name


async def test_the_page_of_an_installation_without_topics_names_the_command_that_makes_them(tmp_path: Path) -> None:
    with Site(tmp_path) as site:
        assert "milestones doctor" in (await site.get("/")).text
        half_read(site)
        site.web.state.missing = ("vehicle.windows.v1",)
        page = await site.get("/", accept_language="zh")
        assert "milestones topics apply" in page.text
        assert "以下主题尚不存在" in page.text


def kept(folder: Path, **settings: str) -> ReadModel:
    chosen = Settings(state_dir=str(folder), **settings)  # type: ignore[arg-type] # all of them are texts
    return ReadModel(BusinessZone(chosen.timezone), place=kept_folder(chosen))


def counts(model: ReadModel) -> list[int]:
    with model.snapshot() as view:
        return [each.count for each in view.windows.page(WindowQuery()).rows]


def test_a_restart_begins_with_the_last_complete_state_and_its_age(tmp_path: Path) -> None:
    model = kept(tmp_path)
    last = row_record(YEAR, 7)
    model.apply([(Feed.WINDOWS, [row_record(row("year:2024", 1), 6), last])])
    model.complete()
    model.close()

    model = kept(tmp_path)
    try:
        assert counts(model) == [5331]
        follower = Follower(Settings(), model)
        assert follower.state.rebuilt
        assert follower.state.positions == {(Feed.WINDOWS, 0): 8}
        assert follower.state.caught_up_s == pytest.approx(time.monotonic(), abs=30)
        asked = follower._identities._proven[TopicPartition("vehicle.windows.v1", 0)]
        assert asked.offset == 7, "it is looked up whether the topic is still the one that was read"
    finally:
        model.close()


async def test_what_was_kept_is_shown_with_its_age_until_the_brokers_answer(tmp_path: Path) -> None:
    with Site(tmp_path) as site:
        site.rows(YEAR)
        site.web.model.complete()
    with Site(tmp_path) as site:
        assert [each["count"] for each in (await site.get("/api/v1/windows")).json()["rows"]] == [5331]
        status = (await site.get("/api/v1/status")).json()
        assert (status["stale"], status["reasons"]) == (True, ["broker"])
        assert 0 <= status["reader"]["behind_s"] < 60


def test_what_was_never_complete_or_has_another_origin_is_not_used(tmp_path: Path) -> None:
    model = kept(tmp_path / "half")
    model.apply([(Feed.WINDOWS, [row_record(YEAR)])])
    model.close()
    model = kept(tmp_path / "half")
    assert (counts(model), model.complete_ms, model.read_so_far()) == ([], None, [])
    model.apply([(Feed.WINDOWS, [row_record(YEAR)])])
    model.complete()
    model.forget(Feed.WINDOWS)
    model.close()
    model = kept(tmp_path / "half")
    assert model.complete_ms is None, "a topic was read again from its beginning"
    model.apply([(Feed.WINDOWS, [row_record(YEAR)])])
    model.complete()
    model.close()
    model = kept(tmp_path / "half", timezone="Europe/Berlin")
    assert (counts(model), model.complete_ms) == ([], None)
    model.close()


def test_a_broken_or_old_file_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for spoil in (True, False):
        model = kept(tmp_path)
        model.apply([(Feed.WINDOWS, [row_record(YEAR)])])
        model.complete()
        model.close()
        (file,) = tmp_path.rglob("readmodel.sqlite")
        if spoil:
            file.write_bytes(b"SQLite format 3\0" + bytes(8192))
        else:
            later = time.time() + 8 * 86_400
            monkeypatch.setattr(time, "time", lambda at=later: at)
        model = kept(tmp_path)
        assert (counts(model), model.complete_ms) == ([], None)
        model.close()


def test_a_second_process_works_with_a_file_of_its_own(tmp_path: Path) -> None:
    first, second = kept(tmp_path), kept(tmp_path)
    first.apply([(Feed.WINDOWS, [row_record(YEAR)])])
    assert (counts(first), counts(second)) == ([5331], [])
    first.close()
    second.close()


def test_after_a_restart_versions_keep_the_dates_that_a_corrected_calendar_has_changed(tmp_path: Path) -> None:
    period = "holiday:national-day:2024"
    old = row(period, 5, calendar="CN-2024.1 provisional")
    new = row(period, 6, end="2024-10-08", version=2, updated_at="2024-10-08T10:00:00.000Z", calendar="CN-2024.2")
    model = kept(tmp_path)
    model.apply([(Feed.HISTORY, [row_record(old)]), (Feed.WINDOWS, [row_record(old)])])
    model.complete()
    model.close()
    model = kept(tmp_path)
    model.apply([(Feed.WINDOWS, [row_record(new, 1)]), (Feed.HISTORY, [row_record(new, 1)])])
    with model.snapshot() as view:
        found = [each.end for each in view.windows.versions("deliveries", "model=SU7", period)]
    model.close()
    assert found == ["2024-10-07", "2024-10-08"]


async def test_events_that_wait_are_not_known_once_no_worker_reports(tmp_path: Path) -> None:
    with Site(tmp_path) as site:
        site.worker(partition_lag=50)
        site.complete()
        assert (await site.get("/api/v1/status")).json()["lag"] == 50
        site.worker(partition_lag=0, ago_s=600)
        status = (await site.get("/api/v1/status")).json()
        assert (status["lag"], status["reasons"]) == (None, ["workers"])
        told = datetime.fromisoformat(status["data_as_of"]).astimezone(UTC)
        assert abs(time.time() - 600 - told.timestamp()) < 30
        said = r'id="s-lag">not known since (\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d\+08:00<'
        assert re.search(said, (await site.get("/")).text)
        site.worker(partition_lag=0, ago_s=2 * 86_400)
        assert re.search(r'id="s-asof">\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+08:00<', (await site.get("/")).text)


async def test_a_page_that_is_behind_says_so_and_nothing_of_the_workers(tmp_path: Path) -> None:
    """The web view has not received them."""
    with Site(tmp_path) as site:
        site.worker(ago_s=600)
        site.complete(age_s=60)
        status = (await site.get("/api/v1/status")).json()
        assert status["reasons"] == ["lag"]
        assert not status["workers"][0]["silent"]


async def test_without_scripts_a_page_is_of_its_moment_and_never_live(tmp_path: Path) -> None:
    with Site(tmp_path) as site:
        site.worker()
        site.rows(YEAR)
        page = (await site.get("/")).text
        assert re.search(r'id="s-state">As of \d\d:\d\d:\d\d\+08:00<', page)
        assert 'class="still"' in page


def test_records_without_a_value_are_remembered_as_read(tmp_path: Path) -> None:
    model = kept(tmp_path)
    model.apply([(Feed.WINDOWS, [Record(b"deliveries/model=SU7/day:2024-10-07", None, offset=3)])])
    (read,) = model.read_so_far()
    model.close()
    assert (read.next, read.last) == (4, 3)
