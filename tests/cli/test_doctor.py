"""`milestones doctor` on this machine, on a machine with faults, and on a real cluster."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import AsyncMock, Mock

import pytest
from aiokafka import AIOKafkaProducer
from click.testing import CliRunner
from msgspec import structs

from schemas.changelog import STATE_KEY
from schemas.codec import encode_marker
from streams.checkup import Finding, wrong
from streams.checkup.cluster import _transactions, topic_findings
from streams.checkup.machine import machine_findings
from streams.cli.doctor import command
from streams.domain import hotpath
from streams.domain.announced.announcements import Announcement
from streams.domain.scopes.limit_usage import LimitUse
from streams.domain.time.campaigns import Campaign
from streams.embedded import java
from streams.errors import ExpectedError
from streams.kafka.admin import TopicPlan, apply_topics, catalogue_of
from streams.settings import Settings
from tests.bench.totals import marker_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.shared_kafka import SharedKafka

ROOT = Path(__file__).parents[2]


def doctor(*options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "streams", "doctor", *options],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def findings(name: str, *options: str, **variables: str) -> list[dict[str, str]]:
    """The checks with one name in `--json`."""
    done = doctor("--json", *options, **variables)
    told = json.loads(done.stdout)
    assert told["ok"] is (done.returncode == 0)
    assert told["ok"] is all(finding["state"] != "wrong" for finding in told["findings"])
    return [finding for finding in told["findings"] if finding["name"] == name]


def test_it_says_how_the_hot_path_runs() -> None:
    (usual,) = findings("hot path")
    if hotpath.WHY_PYTHON:
        assert usual["state"] == ("wrong" if hotpath.IS_UNUSABLE else "note")
    else:
        assert usual == {"name": "hot path", "state": "ok", "detail": "compiled", "cure": ""}
    (forced,) = findings("hot path", MILESTONES_HOT_PATH="python")
    assert forced["state"] == "note"
    assert forced["detail"].startswith("Python, as MILESTONES_HOT_PATH says")


def test_compiled_modules_that_cannot_be_used_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    why = "the extension was built from another version of its source"
    monkeypatch.setattr("streams.checkup.machine.hotpath.WHY_PYTHON", why)
    monkeypatch.setattr("streams.checkup.machine.hotpath.IS_UNUSABLE", True)
    found = next(finding for finding in machine_findings() if finding.name == "hot path")
    assert (found.state, why in found.detail) == ("wrong", True)
    assert "install milestones again with this Python" in found.cure
    told_both_ways(found)


def test_each_thing_that_is_wrong_comes_with_its_cure_and_wrong_settings_end_it_with_2(tmp_path: Path) -> None:
    assert doctor(MILESTONES_JARS=str(tmp_path)).returncode == 1
    done = doctor(MILESTONES_JARS=str(tmp_path), MILESTONES_TIMEZONE="Mars/Olympus")
    assert done.returncode == 2
    lines = done.stdout.splitlines()
    jars = next(number for number, line in enumerate(lines) if line.startswith("WRONG  jars"))
    assert "lacks 45 of 45 jars" in lines[jars]
    assert "-> add them or unset MILESTONES_JARS" in lines[jars + 1]
    assert any(line.startswith("WRONG  settings") and "MILESTONES_TIMEZONE" in line for line in lines)
    (line,) = done.stderr.splitlines()
    assert line.startswith("milestones: MILESTONES_TIMEZONE: timezone: no IANA time zone is called 'Mars/Olympus'")


def test_without_a_cluster_named_its_absence_is_no_fault() -> None:
    (cluster,) = findings("cluster")
    assert cluster["state"] in ("note", "ok")  # a person may have one at the usual address


def test_a_cluster_that_was_named_and_does_not_answer_is_a_fault() -> None:
    (cluster,) = findings("cluster", "--bootstrap-servers", "127.0.0.1:1")
    assert cluster["state"] == "wrong"
    assert "no Kafka at 127.0.0.1:1" in cluster["detail"]
    assert "milestones broker" in cluster["cure"]


@pytest.mark.parametrize(
    ("attribute", "value", "name", "cure"),
    [
        ("streams.checkup.machine.sys.version_info", (3, 10, 2), "python", "install Python 3.11"),
        ("streams.embedded.machine.available_memory_mb", lambda: 100, "memory", "more memory"),
        ("streams.embedded.machine.free_disk_mb", lambda _path: 1, "disk", "free some space"),
        ("streams.embedded.machine.port_is_free", lambda _port: False, "ports", "name one with --port"),
        ("streams.checkup.machine.ZoneInfo", lambda _name: UTC, "time zones", "install the package tzdata"),
    ],
)
def test_what_the_machine_lacks_is_found(
    monkeypatch: pytest.MonkeyPatch, attribute: str, value: object, name: str, cure: str
) -> None:
    monkeypatch.setattr(attribute, value)
    found = [finding for finding in machine_findings() if finding.state == "wrong"]
    assert [finding.name for finding in found] == [name]
    assert cure in found[0].cure
    told_both_ways(found[0])


def told_both_ways(wrong: Finding, *options: str) -> None:
    """The command reports a fault in two lines and in the JSON, and ends with 1."""
    text = CliRunner().invoke(command, options, standalone_mode=False)
    assert (text.exception, text.return_value) == (None, 1)
    lines = text.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith(f"WRONG  {wrong.name} "))
    assert wrong.detail in lines[at]
    assert lines[at + 1].strip() == f"-> {wrong.cure}"
    in_json = CliRunner().invoke(command, ["--json", *options], standalone_mode=False)
    assert (in_json.exception, in_json.return_value) == (None, 1)
    told = json.loads(in_json.stdout)
    assert told["ok"] is False
    assert asdict(wrong) in told["findings"]


def test_a_java_that_does_not_run_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "java"
    program.write_text("#!/bin/false\n")
    program.chmod(0o755)
    monkeypatch.setattr(java, "java", lambda: program)
    with pytest.raises(ExpectedError, match=r"does not run here"):
        java.java_version()
    (found,) = [finding for finding in machine_findings() if finding.state == "wrong"]
    assert found.name == "java"
    told_both_ways(found)


def test_a_cache_that_cannot_be_written_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "milestones").write_text("a file where a folder is to be")
    monkeypatch.setattr("streams.embedded.machine.cache_root", lambda: tmp_path / "milestones")
    (found,) = [finding for finding in machine_findings() if finding.name == "cache"]
    assert (found.state, "XDG_CACHE_HOME" in found.cure) == ("wrong", True)
    told_both_ways(found)


@pytest.mark.parametrize("place", ["file", "file/within"])
def test_a_folder_for_state_that_cannot_be_is_found(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("a file where a folder is to be")
    (state,) = findings("state", MILESTONES_STATE_DIR=str(tmp_path / place))
    assert (state["state"], state["detail"]) == ("wrong", f"{tmp_path / 'file'} is not a folder")
    assert "state_dir" in state["cure"]


def test_looking_creates_no_folder(tmp_path: Path) -> None:
    places = {"MILESTONES_STATE_DIR": str(tmp_path / "state"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    for name in ("state", "cache"):
        (found,) = findings(name, **places)
        assert found["state"] == "ok"
    assert list(tmp_path.iterdir()) == []


def test_topics_that_are_missing_altered_or_of_another_size_each_have_their_line_and_cure() -> None:
    orders, deliveries, *_ = catalogue_of(Settings()).all()
    plan = TopicPlan(
        create=[orders],
        alter={deliveries.name: {"retention.ms": ("1000", "-1"), "message.timestamp.type": ("", "LogAppendTime")}},
        refused=["vehicle.x.v1 has 4 partitions, 3 are wanted: set partitions = 4, or load the events into new topics"],
    )
    cure = "run: milestones topics apply"
    assert topic_findings(plan, 17) == [
        wrong("topics", "vehicle.deliveries.v1: retention.ms is 1000, -1 is needed", cure),
        wrong("topics", "vehicle.deliveries.v1: message.timestamp.type is unset, LogAppendTime is needed", cure),
        wrong(
            "topics",
            "vehicle.x.v1 has 4 partitions, 3 are wanted",
            "set partitions = 4, or load the events into new topics",
        ),
        wrong("topics", "1 of 17 are missing: vehicle.orders.v1", cure),
    ]


@pytest.mark.parametrize(
    ("partitions", "configs", "detail"),
    [
        ([(-1, [1]), (1, [1])], {}, "1 of 2 partitions of __transaction_state have no leader"),
        (
            [(1, [1]), (1, [1, 2])],
            {"min.insync.replicas": "2"},
            "1 of 2 partitions of __transaction_state have fewer than 2 replicas in sync",
        ),
        (
            None,
            {"transaction.state.log.replication.factor": "3"},
            "the cluster keeps 3 copies of its log of transactions and has 1 broker",
        ),
    ],
)
def test_a_log_of_transactions_that_cannot_be_written_is_found(
    monkeypatch: pytest.MonkeyPatch,
    partitions: list[tuple[int, list[int]]] | None,
    configs: dict[str, str],
    detail: str,
) -> None:
    described = [{"leader": leader, "isr": isr} for leader, isr in partitions or ()]
    client = AsyncMock(
        describe_topics=AsyncMock(
            return_value=[{"topic": "__transaction_state", "partitions": described}] if partitions else []
        ),
        describe_cluster=AsyncMock(return_value={"brokers": [{"node_id": 1}]}),
        describe_configs=AsyncMock(return_value=[Mock(resources=[(0, "", 2, "", [*configs.items()])])]),
    )
    monkeypatch.setattr("streams.checkup.cluster.missing_rights", AsyncMock(return_value=[]))
    visible = AsyncMock(return_value={"__transaction_state": Mock(is_hidden=False)})
    monkeypatch.setattr("streams.checkup.cluster.topic_answers", visible)
    found = asyncio.run(_transactions(client, Settings()))
    assert (found.name, found.state, found.detail) == ("transactions", "wrong", detail)

    async def cluster_findings(*_: object) -> AsyncIterator[Finding]:
        yield found

    monkeypatch.setattr("streams.checkup.cluster.cluster_findings", cluster_findings)
    monkeypatch.setattr("streams.cli.doctor.machine_findings", list)
    told_both_ways(found, "--bootstrap-servers", "127.0.0.1:1")


def test_a_limit_that_is_passed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def cluster_findings(*_: object) -> AsyncIterator[Finding]:
        yield Finding("cluster", "ok", "there")

    monkeypatch.setattr("streams.checkup.cluster.cluster_findings", cluster_findings)
    monkeypatch.setattr("streams.cli.doctor.machine_findings", list)
    monkeypatch.setattr("streams.cli.webview.limits_of_web_view", lambda _: [LimitUse("model", 1200, 1000)])
    cure = "list the values that matter under [values] and count again with milestones rebuild, or raise [limits]"
    found = wrong("limits", "1,200 values of model are beyond the limit of 1,000", cure)
    told_both_ways(found, "--bootstrap-servers", "127.0.0.1:1")


async def _announce(settings: Settings) -> None:
    """One good announcement and one that is invalid; ledger partition 1 counts by it, and its marker lies far before the end."""
    catalogue = settings.catalogue
    said = Announcement(1, (("yu7", Campaign("yu7", 1_750_946_400_000_000, 1_751_032_800_000_000, (("model",), ()))),))
    markers = [marker_of(0), structs.replace(marker_of(0), announced=said.text)]
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers) as producer:
        for id_, end in (("v1", "2025-06-27T22:00:00+08:00"), ("v2", "never")):
            data = {"campaign": "yu7", "start": "2025-06-26T22:00:00+08:00", "end": end}
            envelope = {"specversion": "1.0", "id": id_, "source": "/marketing", "type": "campaign.set.v1"}
            value = json.dumps({**envelope, "time": "2025-06-26T21:00:00+08:00", "data": data}).encode()
            await producer.send_and_wait(catalogue.targets.name, value, b"campaign:yu7", 0)
        for number, marker in enumerate(markers):
            await producer.send(catalogue.ledger.name, encode_marker(marker), STATE_KEY, number)
            for other in range(90 * number):
                await producer.send(catalogue.ledger.name, b"words", b"v|%d" % other, number)


@pytest.mark.kafka
async def test_topics_are_missing_then_right_then_altered_by_somebody(kafka: SharedKafka, prefix: str) -> None:
    """The same catalogue as `topics apply`, seen from the cluster."""
    options = ("--bootstrap-servers", kafka.bootstrap)
    prefixes = {"MILESTONES_SOURCE_PREFIX": prefix, "MILESTONES_OUTPUT_PREFIX": prefix}
    settings = Settings(bootstrap_servers=kafka.bootstrap, source_prefix=prefix, output_prefix=prefix)

    needed = len(catalogue_of(settings).all())
    text = doctor(*options, **prefixes)
    assert (text.returncode, text.stderr) == (1, "")
    assert f"WRONG  topics        {needed} of {needed} are missing: " in text.stdout
    (topics,) = findings("topics", *options, **prefixes)
    assert topics["state"] == "wrong"
    assert topics["detail"].startswith(f"{needed} of {needed} are missing: ")
    assert topics["cure"] == "run: milestones topics apply"

    await apply_topics(settings)
    done = doctor("--json", *options, **prefixes)
    assert done.returncode == 0, done.stdout
    by_name = {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert by_name["topics"]["detail"] == f"all {needed} are as the contract needs them"
    assert "1 broker, Kafka 4.1 or newer" in by_name["cluster"]["detail"]
    assert by_name["transactions"]["state"] == "ok"

    await _announce(settings)
    (rejected, behind), repartitioned = (
        [finding for finding in told if finding["name"] == name]
        for told in [json.loads(doctor("--json", *options, **prefixes, MILESTONES_PARTITIONS="3").stdout)["findings"]]
        for name in ("campaigns", "topics")
    )
    assert "/marketing v2 at vehicle.targets.v1-0@1 will be rejected: " in rejected["detail"].replace(prefix, "")
    assert behind["detail"] == "ledger partition 0 will soon count by what was announced a moment ago"
    assert len(repartitioned) == 5  # violations, dead letters, ledger, rerouted, questions
    assert all("has 4 partitions" in finding["detail"] for finding in repartitioned)
    assert all("set partitions = 4" in finding["cure"] for finding in repartitioned)


@pytest.mark.kafka
async def test_a_source_topic_with_create_time_is_found(kafka: SharedKafka, prefix: str) -> None:
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType  # noqa: PLC0415 - used here only

    from streams.kafka.admin import admin  # noqa: PLC0415 - likewise

    settings = Settings(bootstrap_servers=kafka.bootstrap, source_prefix=prefix, output_prefix=prefix)
    await apply_topics(settings)
    async with admin(settings) as client:
        topic = ConfigResource(
            ConfigResourceType.TOPIC,
            f"{prefix}vehicle.orders.v1",
            {"retention.ms": "-1", "retention.bytes": "-1", "max.message.bytes": str(1024 * 1024)},
        )
        await client.alter_configs([topic])
    (topics,) = findings(
        "topics",
        "--bootstrap-servers",
        kafka.bootstrap,
        MILESTONES_SOURCE_PREFIX=prefix,
        MILESTONES_OUTPUT_PREFIX=prefix,
    )
    assert "message.timestamp.type is CreateTime, LogAppendTime is needed" in topics["detail"]
