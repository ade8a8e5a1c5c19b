"""Brokers that are set otherwise than a worker needs: `doctor` says so, and a worker ends with the reason, where it would wait for ever."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from streams.embedded.broker import EmbeddedKafka
from streams.embedded.java import SHORT_LIVED
from tests.support.installation import Installation
from tests.support.time_limits import stretched

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.kafka


async def test_what_the_brokers_do_not_allow_is_told(tmp_path: Path) -> None:
    properties = {"transaction.max.timeout.ms": "5000", "group.min.session.timeout.ms": "20000"}
    with EmbeddedKafka(tmp_path / "kafka", heap_mb=256, properties=properties, java_options=SHORT_LIVED) as broker:
        async with Installation.created(broker.bootstrap, tmp_path) as made:
            told = await made.run("doctor", "--json")
            times = [each for each in json.loads(told.stdout)["findings"] if each["name"] == "times"]
            assert (told.returncode, [each["detail"] for each in times]) == (
                1,
                [
                    "transaction_timeout_s is 10, and the brokers allow at most 5 (transaction.max.timeout.ms)",
                    "session_timeout_s is 6, and the brokers want at least 20 (group.min.session.timeout.ms)",
                ],
            )
            first = await made.run("worker")
            assert (first.returncode, "session_timeout_s is 6, which the brokers do not allow" in first.stderr) == (
                2,
                True,
            )
            second = await made.run("worker", MILESTONES_SESSION_TIMEOUT_S="20")
            assert (second.returncode, "transaction_timeout_s is 10, and the brokers allow less" in second.stderr) == (
                2,
                True,
            )
            third = await made.run(
                "doctor", "--json", MILESTONES_SESSION_TIMEOUT_S="20", MILESTONES_TRANSACTION_TIMEOUT_S="5"
            )
            assert "times" not in {each["name"] for each in json.loads(third.stdout)["findings"]}


async def test_a_log_of_groups_that_cannot_be_created_is_told(tmp_path: Path) -> None:
    properties = {"offsets.topic.replication.factor": "3"}
    with EmbeddedKafka(tmp_path / "kafka", heap_mb=256, properties=properties, java_options=SHORT_LIVED) as broker:
        async with Installation.created(broker.bootstrap, tmp_path) as made:
            told = await made.run("doctor", "--json")
            (groups,) = [each for each in json.loads(told.stdout)["findings"] if each["name"] == "groups"]
            assert groups["detail"].startswith("the cluster keeps 3 copies of its log of groups and has 1 broker")
            worker = made.worker("w1", cold=True)
            async with asyncio.timeout(stretched(60)):
                while "has had no coordinator" not in worker.log.read_text():  # noqa: ASYNC110 - another process is waited for
                    await asyncio.sleep(0.5)
            await asyncio.sleep(3)
            lines = worker.log.read_text().splitlines()
            assert len([line for line in lines if "coordinator" in line]) == 1, lines
            assert "milestones doctor looks for the reason" in lines[-1]
