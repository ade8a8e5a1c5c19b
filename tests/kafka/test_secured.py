"""A cluster that wants a user: everything that connects does so with the settings, and what is refused says why."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from streams.embedded.broker import EmbeddedKafka
from tests.support.events import lifecycle
from tests.support.installation import Installation
from tests.support.recount import recount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

SECRET = "canary-7f3a"
USER = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "sasl_username": "app"}


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """A broker that lets nobody in without a password."""
    users = {"admin": "of-the-broker", "app": SECRET}
    with EmbeddedKafka(tmp_path_factory.mktemp("secured"), users=users) as broker:
        yield broker


@pytest.fixture
def installed(secured: EmbeddedKafka, prefix: str, tmp_path: Path) -> Iterator[Callable[..., Installation]]:
    """Makes installations on the secured broker, with other settings where named."""
    made: list[Installation] = []

    def install(bootstrap: str | None = None, **settings: Any) -> Installation:
        options = {**USER, "sasl_password": SECRET, **settings}
        made.append(Installation(bootstrap or secured.bootstrap, prefix, tmp_path, **options))
        return made[-1]

    yield install
    for installation in made:
        installation.end()


async def test_a_worker_counts_is_killed_and_taken_over_and_nobody_says_the_password(
    installed: Callable[..., Installation],
) -> None:
    installation = await installed().create()
    published = list(lifecycle(11, 200))
    first = installation.worker("w1")
    await installation.publish(published[:100])
    await installation.applied()
    first.kill()
    first.wait()
    installation.worker("w2")
    await installation.publish(published[100:])
    await installation.applied()
    assert await installation.counts() == recount(record.value for record in published)
    done = await installation.run("windows", "--period", "year:")
    assert done.returncode == 0, done.stderr
    said = installation.tails() + done.stdout + done.stderr
    assert SECRET not in said


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"sasl_password": "bad"}, ["refuses user 'app'", "authentication failed", "sasl_password"]),
        ({"sasl_username": "nobody"}, ["refuses user 'nobody'", "sasl_username"]),
        ({"sasl_mechanism": "SCRAM-SHA-512"}, ["does not offer SCRAM-SHA-512", "check sasl_mechanism"]),
        ({"security_protocol": "PLAINTEXT"}, ["closes the connection", "security_protocol (now PLAINTEXT)"]),
        ({"security_protocol": "SSL"}, ["at the start of TLS", "security_protocol (now SSL)"]),
        ({"security_protocol": "SASL_SSL"}, ["at the start of TLS", "security_protocol (now SASL_SSL)"]),
        (
            {"bootstrap": "no-such-host.invalid:9092"},
            ["no-such-host.invalid:9092", "no such host", "bootstrap_servers"],
        ),
    ],
)
async def test_a_refusal_is_one_line_within_ten_seconds_that_names_the_setting(
    installed: Callable[..., Installation], settings: dict[str, str], wanted: list[str]
) -> None:
    installation = installed(**settings)
    for command in (("windows",), ("doctor",), ("worker", "--instance", "w1")):
        started = time.monotonic()
        done = await installation.run(*command)
        assert time.monotonic() - started < 10, command
        said = done.stdout + done.stderr
        # The doctor writes the cure on a line below.
        lines = re.sub(r"\n +-> ", "; ", said).splitlines()
        (line,) = [line for line in lines if wanted[0] in line]
        assert all(part in line for part in wanted), said
        assert done.returncode == (1 if command == ("doctor",) else 3), said
        assert "Traceback" not in said
        assert SECRET not in said


@pytest.mark.parametrize(
    "servers",
    ["kafka://127.0.0.1:9092", "127.0.0.1", "127.0.0.1:notaport", "127.0.0.1:99999", "a:1,http://b:2/", " , "],
)
async def test_servers_that_are_not_host_and_port_are_wrong_settings(
    installed: Callable[..., Installation], servers: str
) -> None:
    done = await installed().run("windows", MILESTONES_BOOTSTRAP_SERVERS=servers)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("milestones: bootstrap_servers")
    assert len(done.stderr.splitlines()) == 1
