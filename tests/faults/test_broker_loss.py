"""The most important of three brokers is killed while a worker counts; the counts stay exact."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from streams.embedded.cluster import EmbeddedCluster
from streams.kafka.admin import admin
from tests.faults.test_faults import RULES, expected_milestones, progress
from tests.support.events import lifecycle
from tests.support.installation import Installation
from tests.support.recount import recount

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[EmbeddedCluster]:
    """Three brokers, all of them controllers, too."""
    with EmbeddedCluster(tmp_path / "cluster") as three:
        yield three


async def leader_of(installation: Installation, topic: str) -> int:
    """The node that leads partition 0 of a topic."""
    async with admin(installation.settings) as client:
        (described,) = await client.describe_topics([topic])
        return int(described["partitions"][0]["leader"])


async def test_one_of_three_brokers_is_lost_and_then_the_worker_too(
    cluster: EmbeddedCluster, prefix: str, tmp_path: Path
) -> None:
    """Kills the broker that leads the counts, with its controller; the next worker opens from the other two."""
    installation = Installation(cluster.bootstrap, prefix, tmp_path, replication_factor=3, min_insync_replicas=2)
    installation.configure(RULES)
    await installation.create()
    published = list(lifecycle(31, 900))
    third = len(published) // 3
    try:
        first = installation.worker("w1")
        await installation.publish(published[:third])
        seen = await progress(installation, 0)
        lost = cluster.nodes[await leader_of(installation, installation.catalogue.counts.name) - 1]
        os.kill(lost.pid, signal.SIGKILL)
        await installation.publish(published[third : 2 * third], pause_every=200, pause_s=0.1)
        seen = await progress(installation, seen)
        assert not lost.alive
        first.kill()
        await asyncio.to_thread(first.wait)
        installation.worker("w2")
        await installation.publish(published[2 * third :], pause_every=200, pause_s=0.1)
        await progress(installation, seen)
        await installation.applied(90)
    finally:
        installation.end()

    expected = recount(record.value for record in published)
    assert await installation.counts() == expected
    assert await installation.standing() == expected_milestones(expected)
    books = await installation.books_balance()
    # A publisher that has lost its broker sends again: repeated records are duplicates and count once.
    assert books["applied"] + books["forwarded_applied"] == len({record.value for record in published})
    assert books["dead_letters"] == books["forwarded_dead_letters"] == 0
