"""`milestones demo`: plays the story of the SU7's 2024 on a real Kafka, with one command."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from schemas import hotpath
from streams.cli.options import FilePath, Number, WholeNumber, cluster_options, language_option
from streams.demo.run import DemoPlan, run
from streams.embedded.machine import port_is_free
from streams.errors import ExpectedError
from streams.installation import load_settings
from streams.settings import Settings
from streams.settings_file import ENVIRONMENT_PREFIX, STORY, config_or_story, night_rules
from streams.story.nights import NIGHTS

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The default story.
YEAR = "su7-2024"
#: The port that clients use by default.
_USUAL_PORT = 9092
_SIGNAL_CHECK_S = 0.2
#: A closed terminal (SIGHUP) must not leave a temporary directory behind either.
_EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 0, signal.SIGHUP: 129}
#: On an existing cluster, the demo stays away from topics that may be real.
_PREFIX = "demo."
#: Variables about the machine rather than an installation.
_KEPT_VARIABLES = {"MILESTONES_JARS", "MILESTONES_MAVEN_REPOSITORY", "MILESTONES_LOG_LEVEL", hotpath.VARIABLE}


@click.command()
@click.option("--headless", is_flag=True, help="Do not start the web view.")
@click.option("--exit", "end_after_story", is_flag=True, help="Play at full speed, sum up and end.")
@click.option(
    "--data-dir",
    type=FilePath(file_okay=False),
    help="Keep everything here; a second run continues from it (default: a temporary directory).",
)
@click.option("--port", type=WholeNumber(1, 65535), help="Port of the embedded Kafka (default: 9092, else a free one).")
@click.option(
    "--speed",
    type=Number(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="1 tells the year in a minute, and a night in its own time.",
)
@click.option(
    "--story",
    type=click.Choice((YEAR, *NIGHTS)),
    default=YEAR,
    show_default=True,
    help="The SU7's year from its launch on, or the night of the YU7's start of sale, by the second.",
)
@language_option
@cluster_options
def command(
    headless: bool,
    end_after_story: bool,
    data_dir: Path | None,
    port: int | None,
    speed: float,
    story: str,
    language: str,
    bootstrap_servers: str | None,
    config: Path | None,
) -> int:
    """Play the SU7's year 2024 and watch the milestones.

    With --story yu7-launch, plays the night of the YU7's start of sale. The events are SIMULATED from published totals.

    Starts its own Kafka, worker and web view, with the rules and targets of the story or those of --config. With
    --bootstrap-servers it uses that cluster, with your settings and under names that begin with `demo.`.
    """
    if bootstrap_servers and (data_dir or port):
        raise click.UsageError(
            "--data-dir and --port are about the embedded Kafka: leave them out with --bootstrap-servers"
        )
    rules = STORY if story == YEAR else night_rules(story)
    config = config_or_story(config, rules) if bootstrap_servers else config or rules
    config = config.absolute() if config else None
    with _directory(data_dir) as directory:
        plan = DemoPlan(
            directory=directory,
            environment=_environment(bootstrap_servers, config),
            working_directory=Path.cwd() if bootstrap_servers else directory,
            make_settings=lambda servers: _settings(servers, config, directory, own_cluster=not bootstrap_servers),
            bootstrap_servers=bootstrap_servers,
            port=port or _usual_port(end_after_story=end_after_story),
            speed=None if end_after_story else speed,
            end_after_story=end_after_story,
            web_bind=None if headless or end_after_story else _web_bind(),
            language=language,
            night=None if story == YEAR else story,
        )
        # Report wrong settings before starting Kafka in vain.
        plan.make_settings(bootstrap_servers or Settings.model_fields["bootstrap_servers"].default)
        return asyncio.run(_until_signal(plan))


def _usual_port(*, end_after_story: bool) -> int | None:
    return _USUAL_PORT if not end_after_story and port_is_free(_USUAL_PORT) else None


def _web_bind() -> str:
    usual = Settings.model_fields["web_bind"].default
    host, _, port = usual.rpartition(":")
    return f"{host}:{port if port_is_free(int(port)) else 0}"


async def _until_signal(plan: DemoPlan) -> int:
    """Runs the demo; a signal ends it cleanly and decides the exit code."""
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()
    task = asyncio.create_task(run(plan, ending.set))
    codes: list[int] = []
    for number, code in _EXIT_CODES.items():
        loop.add_signal_handler(number, codes.append, code)
    while not task.done():
        # Kafka clients swallow cancellations in places, so it is repeated, but only until closing begins, which is bounded and must not
        # be interrupted.
        if codes and not ending.is_set():
            task.cancel()
        await asyncio.wait({task}, timeout=_SIGNAL_CHECK_S)
    try:
        return task.result()
    except asyncio.CancelledError:
        return codes[0]


@contextlib.contextmanager
def _directory(given: Path | None) -> Iterator[Path]:
    """The directory given, else a temporary one that is removed at the end; kept after a failure, for the logs."""
    if given is not None:
        try:
            given.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ExpectedError(
                f"{given}: cannot keep data there: {error.strerror or error}; name another --data-dir"
            ) from None
        yield given.absolute()
        return
    directory = Path(tempfile.mkdtemp(prefix="milestones-demo-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def _settings(servers: str, config: Path | None, directory: Path, *, own_cluster: bool) -> Settings:
    overrides = {"bootstrap_servers": servers, "clock": "events"}
    if not own_cluster:
        return load_settings(config, overrides | {"source_prefix": _PREFIX, "output_prefix": _PREFIX, "topics": {}})
    # Use the story's own rules, whatever settings file or variables there are for another installation.
    with contextlib.chdir(directory), _without_settings():
        return load_settings(config, overrides)


@contextlib.contextmanager
def _without_settings() -> Iterator[None]:
    taken = {name: value for name, value in os.environ.items() if _is_setting(name)}
    for name in taken:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(taken)


def _environment(bootstrap_servers: str | None, config: Path | None) -> dict[str, str]:
    """The environment of worker and web view, without the bootstrap servers."""
    if bootstrap_servers:
        environment = {**os.environ, "MILESTONES_SOURCE_PREFIX": _PREFIX, "MILESTONES_OUTPUT_PREFIX": _PREFIX}
    else:
        environment = {name: value for name, value in os.environ.items() if not _is_setting(name)}
    if config:
        environment["MILESTONES_CONFIG"] = str(config)
    return environment | {"MILESTONES_CLOCK": "events"}


def _is_setting(variable: str) -> bool:
    return variable.startswith(ENVIRONMENT_PREFIX) and variable not in _KEPT_VARIABLES
