"""Runs the demo: starts broker, topics, worker, web view and story in this order, and stops them in reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import click

from streams.demo.display import Display
from streams.demo.following import Seen, follow, source_ends
from streams.demo.playing import Halts, Playing, play
from streams.demo.stamp import Stamp
from streams.demo.summary import book_differences, result_differences, speed_line, summary_lines
from streams.demo.warnings import noon_s, stops_of
from streams.embedded.broker import EmbeddedKafka
from streams.embedded.java import SHORT_LIVED
from streams.installation import rules_of
from streams.kafka.admin import apply_topics
from streams.kafka.clients import quiet_clients
from streams.kafka.publisher import Publisher
from streams.story import load_facts, tell
from streams.story.nights import Night, load_night, tell_night
from streams.worker.child_process import ServiceProcess, WorkerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from aiokafka import TopicPartition

    from streams.settings import Settings
    from streams.story import Story

_TICK_S = 0.1
#: Once all events are applied, rows and milestones are final if none has come for this long; the units of a launch's milestones are
#: searched among a hundred thousand in a minute.
_QUIET_S = 30.0
#: Longest wait at a stop; then the story continues, and the summary says what is missing.
_MOST_FOR_A_STOP_S = 60.0

T = TypeVar("T")


@dataclass(frozen=True)
class DemoPlan:
    """What to run.

    Attributes:
        directory: Folder for data and logs.
        environment: The environment of worker and web view.
        working_directory: The working directory of worker and web view.
        make_settings: Makes the settings, given the bootstrap servers.
        bootstrap_servers: An existing cluster; `None` starts the embedded Kafka.
        port: Port of the embedded Kafka; `None` takes a free one.
        speed: 1 tells the year in a minute and a night in its own time; `None` is as fast as possible.
        end_after_story: Whether to sum up and end; otherwise it stays until a signal.
        web_bind: Where the web view listens; `None` for no web view.
        language: The language of the sentences about milestones.
        night: The night to tell; `None` for the year.
    """

    directory: Path
    environment: dict[str, str]
    working_directory: Path
    make_settings: Callable[[str], Settings]
    bootstrap_servers: str | None
    port: int | None
    speed: float | None
    end_after_story: bool
    web_bind: str | None
    language: str
    night: str | None = None


async def run(plan: DemoPlan, ending: Callable[[], None]) -> int:
    """Runs the demo to its end; returns the exit code.

    Args:
        plan: What to run.
        ending: Called once when only closing is left to do.

    Raises:
        ExpectedError: Broker, worker or cluster fails.
    """
    async with contextlib.AsyncExitStack() as stack:
        try:
            return await _run(plan, stack)
        finally:
            ending()


async def _run(plan: DemoPlan, stack: contextlib.AsyncExitStack) -> int:
    """Opens everything in order, on the stack, and runs the demo."""
    telling = asyncio.create_task(asyncio.to_thread(_told, plan.night))
    kafka: EmbeddedKafka | None = None
    bootstrap_servers = plan.bootstrap_servers
    if bootstrap_servers is None:
        kafka = EmbeddedKafka(plan.directory, port=plan.port, java_options=SHORT_LIVED, log=_say)
        await stack.enter_async_context(kafka)
        bootstrap_servers = kafka.bootstrap
    settings = plan.make_settings(bootstrap_servers)
    await apply_topics(settings)
    environment = plan.environment | {"MILESTONES_BOOTSTRAP_SERVERS": settings.bootstrap_servers}
    services: list[ServiceProcess] = [WorkerProcess(plan.directory, environment, plan.working_directory)]
    if plan.web_bind is not None:
        command = ("web", "--bind", plan.web_bind)
        services.append(ServiceProcess(command, plan.directory, environment, plan.working_directory))
    for service in services:
        await stack.enter_async_context(_in_thread(service))
    story = await telling
    session = _Session(plan, settings, story, services, kafka)
    return await session.run()


def _told(night: str | None) -> Story | Night:
    return tell(load_facts()) if night is None else tell_night(load_night(night))


@contextlib.asynccontextmanager
async def _in_thread(service: ServiceProcess) -> AsyncIterator[ServiceProcess]:
    """Starts a service, and finally stops it, without blocking the event loop."""
    service.__enter__()
    try:
        yield service
    finally:
        await asyncio.to_thread(service.__exit__, None, None, None)


class _Session:
    """The part of the demo for which broker and worker are running."""

    def __init__(
        self,
        plan: DemoPlan,
        settings: Settings,
        story: Story | Night,
        services: Sequence[ServiceProcess],
        kafka: EmbeddedKafka | None,
    ) -> None:
        self._plan = plan
        self._settings = settings
        self._story = story
        self._services = services
        self._web_url: str | None = None
        self._kafka = kafka
        self._seen = Seen(settings, story.facts.model)
        self._playing = Playing()
        self._stamp = Stamp(plan.directory, story.fingerprint())

    async def run(self) -> int:
        click.echo(f"{self._story.facts.title}, {self._story.facts.label}")
        told = None if self._plan.end_after_story else self._plan.language
        # Newly created topics have no leader for a moment, about which clients would log every time.
        with (
            quiet_clients(),
            Display(self._story, self._playing, self._seen, told) as display,
        ):
            following = asyncio.create_task(follow(self._settings, self._seen, display.raised))
            watching = asyncio.create_task(self._watch(display))
            try:
                started_s = await self._alongside(self._tell(), following, watching)
                if not self._plan.end_after_story:
                    self._invite()
                    await self._alongside(asyncio.Event().wait(), following, watching)
                ends = await source_ends(self._settings)
                await self._alongside(self._settle(ends), following, watching)
                seconds = self._seen.changed_at_s - started_s if started_s is not None else None
            finally:
                for task in (following, watching):
                    task.cancel()
                await asyncio.gather(following, watching, return_exceptions=True)
        return self._sum_up(seconds, alone=sum(ends.values()) == self._story.expected.records)

    async def _alongside(self, work: Awaitable[T], *others: asyncio.Task[None]) -> T:
        """Awaits `work`; a failure of any of the others fails it."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task, *others}, return_when=asyncio.FIRST_COMPLETED)
            for other in others:
                if other.done():
                    other.result()
            return await task
        finally:
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _tell(self) -> float | None:
        """Publishes the story; returns when it began, monotonic seconds, or `None` if it is already on the topics.

        A story that was broken off is published again from the start: what is already there counts once.
        """
        if self._stamp.complete:
            click.echo("the story has been published before; the service continues with it", err=True)
            return None
        # The worker's start-up time does not count as story time.
        await self._seen.until(lambda: len(self._seen.partitions) == self._settings.partitions)
        self._stamp.begin()
        started_s = time.monotonic()
        async with Publisher(self._settings) as publisher:
            await publisher.send(self._story.balances())
            # Opening balances have to be known before anything is counted on top of them.
            await publisher.flush()
            stops = self._stops()
            await play(self._story, publisher, self._playing, speed=self._plan.speed, stops=stops)
        self._stamp.finish()
        # Waiting for forecasts does not count as time spent counting.
        return started_s + stops.waited_s

    def _stops(self) -> Halts:
        """Where the year waits until it is counted and forecast: its early warnings must not depend on how fast it is read."""
        story, offset_s = self._story, self._story.facts.utc_offset_s()
        if isinstance(story, Night) or not any(rule.watches_forecasts for rule in rules_of(self._settings)):
            return Halts()
        return Halts([noon_s(day, offset_s) for day in stops_of(story)], partial(self._counted, offset_s))

    async def _counted(self, offset_s: int, stop_s: int) -> None:
        """Waits until everything published so far is counted, and there are forecasts of the date."""
        ends, day = await source_ends(self._settings), datetime.fromtimestamp(stop_s + offset_s, UTC).date()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_MOST_FOR_A_STOP_S):
                await self._seen.until(lambda: self._seen.has_applied(ends) and self._is_forecast(day))

    def _is_forecast(self, day: date) -> bool:
        """Whether all targets whose period is not over have a forecast made on this date or later."""
        forecasts = self._seen.forecasts.values()
        return bool(forecasts) and all(
            each.business_date >= day.isoformat() for each in forecasts if each.end >= day.isoformat()
        )

    async def _watch(self, display: Display) -> None:
        while True:
            for service in self._services:
                service.check()
            self._show_web()
            if self._kafka is not None and not self._kafka.alive:
                raise self._kafka.failure()
            display.tick()
            await asyncio.sleep(_TICK_S)

    def _show_web(self) -> None:
        """Prints the address of the web view once."""
        if self._plan.web_bind is not None and self._web_url is None:
            self._web_url = self._services[-1].said("web view at ")
            if self._web_url is not None:
                _say(f"web view at {self._web_url}{self._page}")

    @property
    def _page(self) -> str:
        """The page of the web view to look at."""
        if not isinstance(self._story, Night):
            return ""
        facts = self._story.facts
        return f"campaigns/{facts.launch.campaign}?scope=model%3D{facts.model}"

    async def _settle(self, ends: Mapping[TopicPartition, int]) -> None:
        """Waits until everything is applied and summed: as simulated or, if that does not come, until nothing changes any more."""
        await self._seen.until(lambda: self._seen.has_applied(ends))
        with contextlib.suppress(TimeoutError):
            while result_differences(self._story, self._seen, self._settings):
                async with asyncio.timeout(_QUIET_S):
                    await self._seen.more_results()

    def _sum_up(self, seconds: float | None, *, alone: bool) -> int:
        """Prints the summary; `alone`: the topics hold the story once and nothing else."""
        for line in summary_lines(self._story, self._seen, self._plan.language):
            click.echo(line)
        if seconds is not None:
            click.echo(
                f"  {speed_line(self._story.expected.records, seconds)}, from the start of publishing to the last row"
            )
        found = result_differences(self._story, self._seen, self._settings)
        if not alone:
            # A story broken off and published again is as good as one told once; events published by others are not ours.
            same = "counts and milestones are exactly those of the simulation"
            click.echo(f"  {'other events are on the topics too: not compared with the simulation' if found else same}")
            return 0
        found += book_differences(self._story, self._seen, self._settings)
        for line in found:
            click.echo(f"milestones: not as simulated: {line}", err=True)
        if not found:
            click.echo("  counts, milestones and books are exactly those of the simulation")
        return 1 if found else 0

    def _invite(self) -> None:
        prefixes = "".join(
            f"MILESTONES_{name.upper()}={value} "
            for name in ("source_prefix", "output_prefix")
            if (value := getattr(self._settings, name))
        )
        click.echo(
            "the story is told, the tables stay live; Ctrl-C ends the demo. "
            f"{f'See {self._web_url} or try' if self._web_url else 'Try'}:\n"
            f"  {prefixes}milestones windows --period {'campaign' if isinstance(self._story, Night) else 'month'} --bootstrap-servers {self._settings.bootstrap_servers}",
            err=True,
        )


def _say(line: str) -> None:
    click.echo(line, err=True)
