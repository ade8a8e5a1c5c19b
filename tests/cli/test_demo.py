"""The demo: its parts alone, and the whole as a person runs it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import psutil
import pytest
from aiokafka import TopicPartition

from schemas.codec import encode_milestone, encode_row, encode_status
from schemas.outputs import (
    Books,
    MilestoneData,
    MilestoneEvent,
    MilestoneType,
    PartitionStatus,
    WindowRow,
    WorkerStatus,
)
from streams.demo.following import Seen
from streams.demo.playing import Halts, Playing, Schedule, play
from streams.demo.stamp import Stamp
from streams.demo.summary import book_differences, result_differences, summary_lines
from streams.demo.warnings import noon_s, told_warnings
from streams.embedded.machine import free_port
from streams.errors import ExpectedError
from streams.kafka.clients import reader
from streams.settings import Settings
from streams.settings_file import STORY, read_settings
from streams.settings_sections import RuleSettings
from streams.story import load_facts, tell
from streams.story.expected import standing_milestones
from streams.worker.child_process import WorkerProcess
from tests.contract.goldens import milestone_sample
from tests.support.small_demo import small_story
from tests.support.time_limits import deadline, stretched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemas.facts import Metric
    from streams.kafka.publication import Publication
    from streams.story import Story

ROOT = Path(__file__).parents[2]
MUST_STAND = (
    "orders_placed/model=SU7/campaign:su7-launch/every:10000:50000",
    "orders_placed/model=SU7/campaign:su7-launch/reaches:88898",
    "deliveries/model=SU7/first:day/exceeds:1000",
    "deliveries/model=SU7/day:2024-10-07/exceeds:1000",
    "deliveries/model=SU7/month:2024-09/target:su7-2024-09:10000",
    "deliveries/model=SU7/month:2024-10/target:su7-2024-10:20000",
    "deliveries/model=SU7/year:2024/target:su7-2024:100000",
    "orders_placed/model=SU7/holiday:national-day:2024/exceeds:6000",
    "deliveries/model=SU7/month:2024-12/streak:exceeds:20000:3",
    "produced/model=SU7/month:2024-10/target:su7-2024-10-built:20000",
    "produced/model=SU7/total/every:100000:100000",
)

#: The demo with a story of some thousand events.
SMALL = "tests.support.small_demo"
INSTANT = "2024-10-07T11:42:09.310Z"
SETTINGS = Settings(
    rule=(RuleSettings(name="ten", metric="deliveries", window="day", scope=("model",), exceeds=10, first=True),)
)


@pytest.fixture(scope="module")
def story() -> Story:
    return small_story()


def row(metric: str, day: date, count: int) -> tuple[bytes, bytes]:
    period = f"day:{day}"
    made = WindowRow(
        metric=cast("Metric", metric),  # the story names its metrics by text
        scope="model=SU7",
        period=period,
        start=str(day),
        end=str(day),
        timezone="Asia/Shanghai",
        count=count,
        targets=[],
        status="open",
        restated=0,
        version=1,
        updated_at=INSTANT,
    )
    return f"{metric}/model=SU7/{period}".encode(), encode_row(made)


def milestone(identity: str, revision: int = 1, kind: MilestoneType = "milestone.raised.v1") -> bytes:
    data = MilestoneData(
        milestone_id=identity,
        revision=revision,
        kind="threshold",
        rule="ten",
        metric="deliveries",
        scope="model=SU7",
        period="day:2024-05-20",
        start="2024-05-20",
        end="2024-05-20",
        timezone="Asia/Shanghai",
        operator="exceeds",
        threshold=10,
        count=11,
        first=False,
        achieved_at=None,
        detected_at=INSTANT,
        cause=None,
    )
    return encode_milestone(
        MilestoneEvent(
            id=f"{identity}@{revision}", source="/milestones", type=kind, time=INSTANT, subject=identity, data=data
        )
    )


def status(partition: int, position: int, **books: int) -> tuple[bytes, bytes]:
    def made(**changes: int) -> Books:
        return Books(**{"read": 0, "applied": 0, "duplicates": 0, "dead_letters": 0, "rerouted": 0, **changes})

    record = PartitionStatus(
        partition=partition,
        applied={"vehicle.orders.v1": position, "vehicle.deliveries.v1": position},
        lag={},
        books={
            "vehicle.orders.v1": made(**books),
            "milestones.internal.rerouted": made(read=books.get("rerouted", 0), applied=books.get("rerouted", 0)),
        },
        orders=1,
        rebuilding=False,
        caught_up=True,
        updated_at=INSTANT,
    )
    return f"partition/{partition}".encode(), encode_status(record)


def told(story: Story) -> Seen:
    """Outputs of a service that has done everything right."""
    seen = Seen(SETTINGS, "SU7")
    for metric, days in story.expected.counts.items():
        for day, count in days.items():
            seen.take_row(*row(metric, day, count))
    clock = max(max(days) for days in story.expected.counts.values() if days)
    for identity in standing_milestones(SETTINGS, "SU7", story.expected.counts, clock):
        seen.take_milestone(milestone(identity))
    expected = story.expected
    rerouted = expected.rerouted(4)
    seen.take_status(
        *status(
            0,
            9,
            read=expected.records,
            applied=expected.events - rerouted,
            duplicates=expected.duplicates,
            dead_letters=expected.dead_letters.total(),
            rerouted=rerouted,
        )
    )
    return seen


def test_a_service_that_counts_as_simulated_has_no_differences(story: Story) -> None:
    seen = told(story)
    assert len(seen.milestones) > 3
    assert result_differences(story, seen, SETTINGS) == []
    assert book_differences(story, seen, SETTINGS) == []


STORY_SETTINGS = read_settings(STORY)
MOVED = "deliveries/model=SU7/year:2024/forecast-moved:su7-2024:100000"


def test_a_warning_that_is_not_told_or_was_not_asked_for_or_stands_for_ever_is_a_difference(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = tell(load_facts()).expected
    monkeypatch.setattr("streams.demo.summary.stops_of", lambda _: (date(2024, 6, 5), date(2024, 10, 25)))
    year = dataclasses.replace(story, expected=dataclasses.replace(story.expected, counts=expected.counts))
    must, may = told_warnings(STORY_SETTINGS, "SU7", expected.counts, (date(2024, 6, 5), date(2024, 10, 25)))
    assert must == may == {MOVED}
    assert told_warnings(STORY_SETTINGS, "SU7", expected.counts, (date(2024, 7, 3), date(2024, 7, 17)))[0] == set()

    seen = told(story)
    assert f"{MOVED} should have been told" in result_differences(year, seen, STORY_SETTINGS)
    for name, kind, wrong in (
        (MOVED.replace("100000", "9"), "alert.ended.v1", "should not have been told"),
        (MOVED, "alert.raised.v1", "stands, and its target is reached"),
        (MOVED, "alert.ended.v1", None),
    ):
        alert = milestone_sample("forecast-moved").model_copy(update={"subject": name, "type": kind})
        data = alert.data.model_copy(update={"target_id": "su7-2024", "threshold": 100000})
        seen.take_milestone(encode_milestone(alert.model_copy(update={"data": data})))
        seen.take_milestone(milestone("deliveries/model=SU7/year:2024/target:su7-2024:100000"))
        found = [line for line in result_differences(year, seen, STORY_SETTINGS) if line.startswith(f"{name} ")]
        assert found == ([f"{name} {wrong}"] if wrong else [])


@pytest.mark.parametrize("speed", [None, 1.0])
async def test_a_story_waits_at_its_stops_and_is_whole(
    story: Story, speed: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops = [noon_s(date(2024, 4, 10), 28800), noon_s(date(2024, 5, 25), 28800)]
    recorder, playing, reached = Recorder(), Playing(), []

    async def sleep(seconds: float) -> None:
        recorder.now += seconds

    async def wait(stop_s: int) -> None:
        assert recorder.flushed == len(recorder.at)
        assert all(record.story_s < stop_s for _, record in recorder.at)
        reached.append((stop_s, len(recorder.at)))
        recorder.now += 5

    monkeypatch.setattr("streams.demo.playing.asyncio.sleep", sleep)
    halts = Halts(stops, wait)
    await play(story, recorder, playing, speed=speed, clock_s=lambda: recorder.now, stops=halts)  # type: ignore[arg-type] # it records what it is told to publish
    assert [record for _, record in recorder.at] == list(story.records())
    assert [stop_s for stop_s, _ in reached] == stops
    assert 0 < reached[0][1] < reached[1][1] < len(recorder.at)
    assert halts.waited_s == 10
    if speed is not None:
        assert recorder.at[-1][0] == pytest.approx(70, rel=0.1)


def test_a_day_that_is_off_by_one_is_a_difference_that_names_it(story: Story) -> None:
    seen = told(story)
    day, count = next(iter(story.expected.counts["deliveries"].items()))
    seen.take_row(*row("deliveries", day, count + 1))
    assert result_differences(story, seen, SETTINGS) == [f"deliveries on {day}: {count + 1} counted, {count} simulated"]


def test_a_day_that_is_not_simulated_is_a_difference(story: Story) -> None:
    seen = told(story)
    seen.take_row(*row("reversals", date(2024, 6, 1), 1))
    assert result_differences(story, seen, SETTINGS) != []


def test_a_milestone_too_few_and_one_too_many_are_differences_and_so_is_one_taken_back(story: Story) -> None:
    seen = told(story)
    gone = next(iter(seen.milestones))
    seen.take_milestone(milestone(gone, 2, "milestone.retracted.v1"))
    seen.take_milestone(milestone("deliveries/model=SU7/day:2024-06-01/exceeds:10"))
    assert set(result_differences(story, seen, SETTINGS)) == {
        f"{gone} should stand",
        "deliveries/model=SU7/day:2024-06-01/exceeds:10 should not stand",
    }
    seen.take_milestone(milestone(gone, 3, "milestone.reinstated.v1"))
    assert f"{gone} should stand" not in result_differences(story, seen, SETTINGS)


def test_books_with_one_record_too_many_are_a_difference(story: Story) -> None:
    seen = told(story)
    seen.take_status(*status(1, 9, read=1, duplicates=1))
    assert {line.split(":")[0] for line in book_differences(story, seen, SETTINGS)} == {"read", "duplicates"}


def test_the_summary_says_that_it_is_simulated_and_which_figures_do_not_hold(story: Story) -> None:
    text = "\n".join(summary_lines(story, told(story), "en"))
    assert "SIMULATED from published totals" in text
    assert "DOES NOT HOLD" in text
    assert "60 deliveries of the total by 30 September are in no published part" in text
    assert "交付量" in "\n".join(summary_lines(story, told(story), "zh"))


def test_all_is_applied_only_when_every_partition_says_so_and_what_was_forwarded_has_arrived() -> None:
    seen = Seen(SETTINGS, "SU7")
    ends = {TopicPartition("vehicle.orders.v1", 0): 5, TopicPartition("vehicle.deliveries.v1", 1): 7}
    assert not seen.has_applied(ends)
    seen.take_status(*status(0, 5))
    assert not seen.has_applied(ends)
    seen.take_status(*status(1, 6))
    assert not seen.has_applied(ends)
    seen.take_status(*status(1, 7))
    assert seen.has_applied(ends)
    key, value = status(1, 7, rerouted=2)
    lost = json.loads(value)
    lost["books"]["milestones.internal.rerouted"]["read"] = 1
    seen.take_status(key, json.dumps(lost).encode())
    assert not seen.has_applied(ends)


def test_the_status_of_a_worker_is_no_status_of_a_partition() -> None:
    seen = Seen(SETTINGS, "SU7")
    worker = WorkerStatus(name="w", health="running", partitions=[0], started_at=INSTANT, updated_at=INSTANT)
    seen.take_status(b"worker/w", encode_status(worker))
    assert seen.partitions == {}


class Recorder:
    """Records what a publisher would send."""

    def __init__(self) -> None:
        self.at: list[tuple[float, Publication]] = []
        self.flushed = 0
        self.now = 0.0

    async def send(self, records: list[Publication]) -> None:
        """Notes what came, and when."""
        self.at += [(self.now, record) for record in records]

    async def flush(self) -> None:
        """Notes how much is acknowledged."""
        self.flushed = len(self.at)


@pytest.mark.parametrize("speed", [None, 1.0, 20.0])
async def test_a_story_is_published_whole_in_its_order_and_flushed(
    story: Story, speed: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, playing = Recorder(), Playing()

    async def sleep(seconds: float) -> None:
        recorder.now += seconds

    monkeypatch.setattr("streams.demo.playing.asyncio.sleep", sleep)
    await play(story, recorder, playing, speed=speed, clock_s=lambda: recorder.now)  # type: ignore[arg-type] # it records what it is told to publish
    assert [record for _, record in recorder.at] == list(story.records())
    assert recorder.flushed == playing.published == story.expected.records
    if speed is not None:
        assert recorder.at[-1][0] == pytest.approx(60 / speed, rel=0.1)


def test_the_pace_begins_at_0_ends_at_1_and_gives_a_crowded_night_its_time() -> None:
    pace = Schedule((0, 1000), 101)
    assert pace.due(0, 0) == 0
    assert pace.due(101, 1000) == 1
    assert pace.due(100, 1) > 0.49


def test_a_directory_remembers_whether_its_story_is_complete(tmp_path: Path) -> None:
    stamp = Stamp(tmp_path, "a")
    assert not stamp.complete
    stamp.begin()
    assert not Stamp(tmp_path, "a").complete
    stamp.finish()
    assert Stamp(tmp_path, "a").complete


def test_a_directory_with_the_story_of_another_version_is_refused_with_the_cure(tmp_path: Path) -> None:
    Stamp(tmp_path, "a").begin()
    with pytest.raises(ExpectedError, match=r"another version.*name another --data-dir"):
        Stamp(tmp_path, "b")


def until_it_fails(worker: WorkerProcess) -> None:
    for _ in range(300):
        worker.check()
        time.sleep(0.1)


def test_a_worker_that_ends_by_itself_is_told_with_its_last_words_and_its_log(tmp_path: Path) -> None:
    environment = {**os.environ, "MILESTONES_TIMEZONE": "Nowhere/Else"}
    with WorkerProcess(tmp_path, environment, tmp_path) as worker:
        with pytest.raises(ExpectedError, match="Nowhere/Else") as caught:
            until_it_fails(worker)
        assert str(caught.value).endswith(f"(log: {tmp_path}/worker.log)")


# The whole.


class Demo:
    """A running `milestones demo`."""

    def __init__(self, directory: Path, *options: str, module: str = "streams") -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MILESTONES_")}
        self.out, self.err = directory / "out", directory / "err"
        with self.out.open("ab") as out, self.err.open("ab") as err:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    module,
                    "demo",
                    "--headless",
                    "--data-dir",
                    str(directory / "data"),
                    "--port",
                    str(free_port()),
                    *options,
                ],
                stdout=out,
                stderr=err,
                cwd=directory,
                env={**environment, "PYTHONPATH": str(ROOT)},
            )

    def wait_for(self, words: str, timeout_s: float = 90) -> None:
        """Waits until it has printed a text, on either stream."""
        give_up_s = deadline(timeout_s)
        while words not in self.out.read_text() + self.err.read_text():
            assert self.process.poll() is None, self.err.read_text()
            assert time.monotonic() < give_up_s, self.out.read_text() + self.err.read_text()
            time.sleep(0.1)

    def descendants(self) -> list[psutil.Process]:
        """All processes that it has started."""
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Any]:
    started: list[Demo] = []

    def start(*options: str, module: str = "streams") -> Demo:
        started.append(Demo(tmp_path, *options, module=module))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.terminate()
            each.process.wait(stretched(40))


def gone(processes: list[psutil.Process], timeout_s: float) -> bool:
    return not psutil.wait_procs(processes, timeout=timeout_s)[1]


@pytest.mark.kafka
@pytest.mark.slow
def test_the_whole_story_ends_with_its_milestones_and_exactly_the_simulated_numbers(demo: Any) -> None:
    run = demo("--exit")
    assert run.process.wait(stretched(240)) == 0, run.err.read_text()
    said = run.out.read_text()
    assert "SIMULATED from published totals" in said.splitlines()[0]
    for identity in MUST_STAND:
        assert f"[{identity}]" in said
    # The worker starts on a backlog: dates and numbers are those of the units all the same.
    reached = [line.partition("  [")[0] for line in said.splitlines() if " reached " in line]
    assert "  2024-11-16  SU7 deliveries reached the target of 100,000 in 2024, on 16 Nov 2024: 100,000" in reached
    assert (
        "  2024-10-30  SU7 deliveries reached the target of 20,000 in October 2024, on 30 Oct 2024: 20,000" in reached
    )
    assert "  2024-11-13  SU7 vehicles produced reached 100,000 in all, on 13 Nov 2024: 100,000" in reached
    assert "Early warnings that were told, as they ended: 1" in said
    assert f"[{MOVED} revision " in said
    assert "DOES NOT HOLD" not in said
    assert said.count("  holds") == 19
    # After how long a number was passed depends by seconds on which orders had been read when it was.
    assert re.search(
        r"2024-03-28  SU7 orders placed reached 50,000 in the su7-launch campaign after 2[67] minutes", said
    )
    assert "counts, milestones and books are exactly those of the simulation" in said


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_in_the_middle_ends_the_demo_and_all_its_children(
    demo: Any, number: signal.Signals, code: int
) -> None:
    run = demo("--speed", "4", module=SMALL)
    run.wait_for("2024-03: ")
    children = run.descendants()
    assert len(children) >= 4
    run.process.send_signal(number)
    assert run.process.wait(stretched(30)) == code
    assert gone(children, 1)
    assert "Traceback" not in run.err.read_text()


@pytest.mark.kafka
@pytest.mark.slow
def test_a_demo_that_is_killed_leaves_no_process_and_its_story_can_be_told_to_the_end_later(demo: Any) -> None:
    run = demo("--speed", "4", module=SMALL)
    run.wait_for("2024-04: ")
    children = run.descendants()
    run.process.kill()
    run.process.wait(stretched(10))
    assert gone(children, 25)
    run.out.write_text("")
    again = demo("--exit", module=SMALL)
    assert again.process.wait(stretched(240)) == 0, again.err.read_text()
    assert "counts and milestones are exactly those of the simulation" in again.out.read_text()


@pytest.mark.kafka
@pytest.mark.slow
def test_a_night_of_a_start_of_sale_is_counted_by_the_minute_and_a_second_run_goes_on(demo: Any) -> None:
    """And its milestones say after how long a number was passed."""
    run = demo("--story", "yu7-launch", "--exit", module=SMALL)
    assert run.process.wait(stretched(240)) == 0, run.err.read_text()
    told = run.out.read_text()
    assert "counts, milestones and books are exactly those of the simulation" in told
    assert "YU7 orders placed reached 50,000 in the yu7-launch campaign after " in told
    assert "orders within the first hour                57,800   at least 289,000    official  DOES NOT HOLD" in told

    run.out.write_text("")
    again = demo("--story", "yu7-launch", "--exit", module=SMALL)
    assert again.process.wait(stretched(120)) == 0, again.err.read_text()
    assert "published before" in again.err.read_text()
    assert "counts, milestones and books are exactly those of the simulation" in again.out.read_text()


def test_options_of_the_embedded_kafka_make_no_sense_with_another_cluster() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "streams", "demo", "--bootstrap-servers", "127.0.0.1:1", "--port", "9"],
        capture_output=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 2
    assert b"leave them out" in done.stderr


@pytest.mark.kafka
async def test_a_cluster_that_is_there_gets_the_story_under_names_of_its_own(bootstrap: str, tmp_path: Path) -> None:
    """Real topics must not receive simulated events."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streams", "demo", "--bootstrap-servers", bootstrap),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with reader(Settings(bootstrap_servers=bootstrap)) as consumer, asyncio.timeout(stretched(60)):
            while "demo.vehicle.milestones.v1" not in (topics := await consumer.topics()):
                assert process.returncode is None, await process.communicate()
                await asyncio.sleep(0.1)
        assert "demo.vehicle.orders.v1" in topics
        assert "vehicle.orders.v1" not in topics
        process.terminate()
        async with asyncio.timeout(stretched(20)):
            await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0
