"""Secured clusters: every connection uses the settings, and refusals say why."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import click
import psutil
import pytest
from aiokafka import AIOKafkaConsumer

from streams.cli import COMMANDS, group
from streams.kafka.client_options import client_options
from streams.kafka.rights import rights_of
from streams.settings import Settings
from tests.support import processes
from tests.support.events import lifecycle
from tests.support.installation import ROOT, Installation
from tests.support.recount import recount
from tests.support.secured import SESSION_S
from tests.support.time_limits import deadline, stretched

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.support.secured import SecuredKafka

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

#: How owners of clusters let clients in: Strimzi, Confluent Cloud and Aliyun, Strimzi and MSK, MSK and Confluent Cloud.
WAYS = ("SCRAM", "PLAIN", "MTLS", "OAUTH")
_TOKEN_S = 15


@pytest.fixture
async def installed(
    secured: SecuredKafka, make_prefix: Callable[[], str], tmp_path: Path
) -> AsyncIterator[Callable[..., Installation]]:
    """Makes installations whose workers and commands connect in one of the ways, as user app."""
    made: list[Installation] = []

    def install(way: str, user: str = "app", **settings: str) -> Installation:
        folder = tmp_path / f"{way}-{len(made)}"
        folder.mkdir()
        made.append(Installation(secured.broker.bootstrap, make_prefix(), folder))
        made[-1].client = secured.settings(way, user) | settings
        return made[-1]

    yield install
    for installation in made:
        installation.end()


async def test_a_worker_counts_is_killed_and_taken_over_on_each_kind_of_cluster(
    secured: SecuredKafka, installed: Callable[..., Installation]
) -> None:
    await secured.add_user("app")
    await asyncio.gather(*(_count_through_a_kill(secured, way, installed(way)) for way in WAYS))
    await secured.disallow("app")


async def _count_through_a_kill(secured: SecuredKafka, way: str, installation: Installation) -> None:
    await installation.create()
    await secured.allow("app", rights_of("worker", installation.settings))
    keeper = asyncio.create_task(_keep_fresh(secured)) if way == "OAUTH" else None
    began_s = time.monotonic()
    published = list(lifecycle(11, 60))
    first = installation.worker("w1")
    await installation.publish(published[:30])
    await installation.applied()
    first.kill()
    first.wait()
    installation.worker("w2")
    # The tokens and sessions that the workers began with have expired when the rest comes.
    await asyncio.sleep(began_s + _TOKEN_S + 1 - time.monotonic())
    await installation.publish(published[30:])
    await installation.applied()
    if keeper is not None:
        keeper.cancel()
    assert await installation.counts() == recount(record.value for record in published), way
    said = "".join(worker.log.read_text() for worker in installation.workers)
    assert secured.password not in said
    # Sessions end several times meanwhile, without interrupting a transaction.
    assert not [line for line in said.splitlines() if "opened again" in line], way
    # The first start of a healthy cluster logs no errors, although its coordinators do not exist yet.
    assert not [line for line in said.splitlines() if "[ERROR]" in line], way
    assert "Traceback" not in said, said


async def _keep_fresh(secured: SecuredKafka) -> None:
    """Replaces the token, as a sidecar of a pod does."""
    while True:
        secured.tokens.write(secured.token_file("app"), "app", _TOKEN_S)
        await asyncio.sleep(_TOKEN_S / 3)


async def test_no_request_is_lost_where_sessions_end(
    secured: SecuredKafka, installed: Callable[..., Installation], caplog: pytest.LogCaptureFixture
) -> None:
    await secured.add_user("app")
    installation = installed("SESSION")
    await installation.create()
    await secured.allow("app", rights_of("worker", installation.settings))
    # Nearly always an answer is awaited, so there is no moment to close the connection instead.
    options = client_options(_settings(installation))
    consumer = AIOKafkaConsumer(
        f"{installation.settings.source_prefix}vehicle.deliveries.v1", **options, fetch_max_wait_ms=3000
    )
    await consumer.start()
    try:
        reading = asyncio.create_task(consumer.getone())
        await asyncio.sleep(0.7 * SESSION_S)
        # After a loop is held up past the end of the session, requests come first, before due timers.
        time.sleep(0.4 * SESSION_S)  # noqa: ASYNC251 - it is what is tried
        await asyncio.gather(*(consumer.topics() for _ in range(5)))
        await asyncio.sleep(0.4 * SESSION_S)
        assert not reading.done()
        reading.cancel()
    finally:
        await consumer.stop()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def _other(way: str, **settings: str) -> Callable[[SecuredKafka], dict[str, str]]:
    """The settings of a way, with some replaced; `@` begins the address of another way."""

    def made(secured: SecuredKafka) -> dict[str, str]:
        named = {
            name: secured.address(value[1:]) if value.startswith("@") else value for name, value in settings.items()
        }
        return secured.settings(way) | named

    return made


_WRONG_PASSWORD = {"sasl_password_file": "", "sasl_password": "of-somebody-else"}
REFUSALS: dict[str, tuple[Callable[[SecuredKafka], dict[str, str]], list[str]]] = {
    "expired certificate": (_other("EXPIRED"), ["a certificate that has expired", "renewed there"]),
    "unknown CA": (_other("SCRAM", ssl_ca_file="/etc/ssl/certs/ca-certificates.crt"), ["unknown authority", "check ssl_ca_file"]),
    "wrong host name": (_other("ELSEWHERE"), ["certificate for another host name", "check bootstrap_servers"]),
    "wrong password": (_other("SCRAM", **_WRONG_PASSWORD), ["refuses user 'app'", "sasl_password"]),
    "wrong password, PLAIN": (_other("PLAIN", **_WRONG_PASSWORD), ["refuses user 'app'", "sasl_password"]),
    "wrong user": (_other("SCRAM", sasl_username="stranger"), ["refuses user 'stranger'", "sasl_username"]),
    "wrong mechanism": (_other("SCRAM", sasl_mechanism="PLAIN"), ["does not offer PLAIN", "check sasl_mechanism"]),
    "plaintext to TLS": (_other("CLIENTS", bootstrap_servers="@MTLS"), ["speaks TLS", "security_protocol", "(now PLAINTEXT)"]),
    "TLS to plaintext": (_other("MTLS", bootstrap_servers="@CLIENTS"), ["speaks no TLS", "security_protocol", "(now SSL)"]),
    "no user": (_other("CLIENTS", bootstrap_servers="@USER"), ["wants a user", "SASL_PLAINTEXT (now PLAINTEXT)"]),
    "a user too many": (_other("USER", bootstrap_servers="@CLIENTS"), ["wants no user", "PLAINTEXT (now SASL_PLAINTEXT)"]),
    "no certificate of ours": (
        _other("MTLS", ssl_certificate_file="", ssl_key_file=""),
        ["refuses our certificate (none is given)", "check ssl_certificate_file"],
    ),
    "our certificate expired": (
        lambda secured: secured.settings("MTLS") | secured.certificates.client("app", expired=True),
        ["ssl_certificate_file", "it expired on"],
    ),
    "a stranger's certificate": (
        lambda secured: secured.settings("MTLS") | secured.certificates.client("app", stranger=True),
        ["refuses our certificate", "check ssl_certificate_file"],
    ),
    "key without its password": (_other("MTLS", ssl_key_password_file=""), ["the key needs ssl_key_password_file"]),
    "no such certificate": (_other("MTLS", ssl_certificate_file="/no/such.pem"), ["ssl_certificate_file", "/no/such.pem"]),
    "no such authority": (_other("SCRAM", ssl_ca_file="/no/such.pem"), ["ssl_ca_file", "/no/such.pem"]),
    "no such password": (_other("SCRAM", sasl_password_file="/no/such"), ["sasl_password_file", "/no/such"]),
    "no such token": (_other("OAUTH", sasl_token_file="/no/such"), ["sasl_token_file", "/no/such"]),
    "empty token": (_other("OAUTH", sasl_token_file="/dev/null"), ["sasl_token_file", "is empty"]),
    "stale token": (lambda secured: secured.settings("OAUTH", "stale"), ["sasl_token_file", "expired at"]),
    "no token of this cluster": (_other("OAUTH", sasl_token_file="/etc/hostname"), ["refuses the token", "check sasl_token_file"]),
    "no such host": (_other("CLIENTS", bootstrap_servers="no-such-host.invalid:9092"), ["there is no such host", "bootstrap_servers"]),
    "silence": (_other("SILENT"), ["does not answer within", "check bootstrap_servers"]),
    "advertised elsewhere": (
        _other("ADVERTISED"),
        ["advertises kafka-internal.invalid:9092", "there is no such host", "advertised.listeners"],
    ),
    "advertised where packets are swallowed": (_other("SWALLOWED"), ["advertises 127.0.0.1:", "does not answer", "advertised.listeners"]),
}  # fmt: skip


#: Unusable files are wrong settings, exit code 2; refusals are 3.
WRONG_SETTINGS = {
    "key without its password",
    "no such certificate",
    "no such authority",
    "no such password",
    "no such token",
    "empty token",
}

#: The same code finds the others, before a command does anything else.
_TOLD_BY_ALL = (
    "expired certificate",
    "wrong password",
    "TLS to plaintext",
    "no such token",
    "silence",
    "advertised elsewhere",
)


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refusal_is_one_line_within_ten_seconds_that_names_the_setting(
    secured: SecuredKafka, installed: Callable[..., Installation], name: str
) -> None:
    settings, wanted = REFUSALS[name]
    installation = installed("CLIENTS")
    installation.client = settings(secured)
    quiet: dict[str, Any] = {"MILESTONES_LOG_LEVEL": "WARNING"}
    started = time.monotonic()
    outcomes = {"windows": await installation.run("windows", **quiet)}
    assert time.monotonic() - started < stretched(10)
    if name in _TOLD_BY_ALL:
        commands = ("doctor", "worker")
        done = await asyncio.gather(*(installation.run(command, **quiet) for command in commands))
        outcomes |= zip(commands, done, strict=True)
    for command, outcome in outcomes.items():
        said = outcome.stdout + outcome.stderr
        # The doctor writes the cure on a line below.
        lines = re.sub(r"\n +-> ", "; ", said).splitlines()
        found = [line for line in lines if wanted[0] in line]
        assert found, (command, said)
        assert all(part in found[0] for part in wanted), (command, said)
        # If nothing can be read, the doctor ends as other commands do, after reporting what it can.
        code = 2 if name in WRONG_SETTINGS else 3
        assert outcome.returncode == code or (command, outcome.returncode) == ("doctor", 1), (command, said)
        assert command == "doctor" or len(lines) == 1, (command, said)
        assert "Traceback" not in said
        assert secured.password not in said


@pytest.mark.parametrize(
    "servers",
    ["kafka://127.0.0.1:9092", "127.0.0.1", "127.0.0.1:notaport", "127.0.0.1:99999", "a:1,http://b:2/", " , "],
)
async def test_servers_that_are_not_host_and_port_are_wrong_settings(
    installed: Callable[..., Installation], servers: str
) -> None:
    done = await installed("CLIENTS", bootstrap_servers=servers).run("windows")
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("milestones: bootstrap_servers")
    assert len(done.stderr.splitlines()) == 1


async def test_certificates_that_name_no_hosts_are_taken_where_the_settings_say_so(
    installed: Callable[..., Installation],
) -> None:
    installation = await installed("ELSEWHERE", ssl_check_hostname="false").create()
    done = await installation.run("windows")
    assert done.returncode == 0, done.stderr


async def test_a_command_gives_up_on_a_cluster_that_stops_answering(
    secured: SecuredKafka, installed: Callable[..., Installation]
) -> None:
    installation = await installed("CLIENTS").create()
    sample = (ROOT / "deploy/demo/sample-events.ndjson").read_bytes().splitlines(keepends=True)[0]
    command = [sys.executable, "-m", "streams", "publish", "-", "--timeout", "3"]
    publisher = await asyncio.create_subprocess_exec(
        *command,
        env=installation.environment,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert publisher.stdin is not None
    publisher.stdin.write(sample)
    while not await installation.source_values():  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.1)
    await processes.pause(secured.broker.pid)
    started = time.monotonic()
    try:
        _, stderr = await asyncio.wait_for(publisher.communicate(sample), stretched(30))
    finally:
        os.kill(secured.broker.pid, signal.SIGCONT)
    assert time.monotonic() - started < stretched(15)
    assert publisher.returncode == 3, stderr
    assert stderr.startswith(b"milestones: "), stderr
    assert len(stderr.splitlines()) == 1, stderr


async def test_a_server_that_is_away_is_passed_over_for_one_that_answers(
    secured: SecuredKafka, installed: Callable[..., Installation]
) -> None:
    installation = await installed("CLIENTS").create()
    installation.client["bootstrap_servers"] = f"{secured.silent.address},{secured.broker.bootstrap}"
    started = time.monotonic()
    done = await installation.run("windows")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < stretched(10)


async def test_the_doctor_shows_where_the_brokers_advertise_themselves(
    secured: SecuredKafka, installed: Callable[..., Installation]
) -> None:
    done = await installed("CLIENTS").run("doctor")
    assert re.search(rf"^ok +advertised +{secured.broker.bootstrap}$", done.stdout, re.MULTILINE), done.stdout


async def test_nobody_says_a_secret_at_any_level_of_logging(
    secured: SecuredKafka, installed: Callable[..., Installation]
) -> None:
    """Passwords, the key's password and tokens, from files and from the environment."""
    plain, keyed, bearer = installed("PLAIN"), installed("MTLS"), installed("OAUTH")
    plain.client |= {"sasl_password_file": "", "sasl_password": secured.password}
    keyed.client |= {"ssl_key_password_file": "", "ssl_key_password": secured.password}
    await secured.add_user("app")
    for installation in (plain, keyed, bearer):
        await installation.create()
        await secured.allow("app", rights_of("worker", installation.settings))
        installation.client["log_level"] = "DEBUG"
        installation.worker("w1", cold=True)  # whose command line is its own
    token = secured.token_file("app").read_text().strip()
    said = [done.stdout + done.stderr for done in await asyncio.gather(
        *(installation.run(*command) for installation in (plain, keyed, bearer) for command in (("doctor",), ("windows",)))
    )]  # fmt: skip
    wrong = await plain.run("windows", MILESTONES_SASL_USERNAME="stranger")
    said += [wrong.stderr, *(repr(_settings(installation)) for installation in (plain, keyed, bearer))]
    for installation in (plain, keyed, bearer):
        (worker,) = installation.workers
        await _joined(installation)
        family = [psutil.Process(worker.process.pid), *psutil.Process(worker.process.pid).children(recursive=True)]
        said += [" ".join(process.cmdline()) for process in family]
        log = worker.log.read_text()
        assert "[DEBUG]" in log
        said.append(log)
    for text in said:
        assert secured.password not in text
        assert token not in text
        assert token.rpartition(".")[2] not in text
    await secured.disallow("app")


def _settings(installation: Installation) -> Settings:
    named = {name: value for name, value in installation.client.items() if name != "log_level"}
    return Settings.model_validate(named)


async def _joined(installation: Installation) -> None:
    give_up_s = deadline(60)
    while "has joined group" not in installation.workers[0].log.read_text():
        assert time.monotonic() < give_up_s, installation.tails()
        await asyncio.sleep(0.2)


def test_no_option_takes_a_secret() -> None:
    for name in COMMANDS:
        command = group.get_command(click.Context(group), name)
        assert command is not None
        parts = command.commands.values() if isinstance(command, click.Group) else [command]
        for part in parts:
            options = {option for parameter in part.params for option in parameter.opts}
            assert not [option for option in options if re.search("password|token|secret|key", option)], (name, options)
