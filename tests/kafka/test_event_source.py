"""The `source` of the milestone events: unique to each installation, and constant over its life."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer

from schemas.codec import encode_milestone
from schemas.outputs import MilestoneEvent
from streams.kafka.admin import admin
from streams.kafka.client_options import client_options
from tests.contract.goldens import OUTPUTS
from tests.support.events import FIRST, Published, event
from tests.support.installation import Installation
from tests.support.rules import rule

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.kafka

RULES = rule("any", "orders_placed", scope=(), reaches=1)


@pytest.fixture
async def installation(bootstrap: str, tmp_path: Path) -> AsyncIterator[Installation]:
    async with Installation.created(bootstrap, tmp_path, config=RULES) as made:
        yield made


async def sources_after(installation: Installation, day: int) -> list[str]:
    """A worker raises another milestone for the day; returns the sources of all events so far."""
    order = {"order_id": f"SO-{day}", "model": "SU7"}
    value = event("order.placed.v1", f"p-{day}", FIRST + timedelta(days=day), order)
    worker = installation.worker(f"w{day}")
    await installation.publish([Published("orders", order["order_id"].encode(), value, None)])
    await installation.applied()
    worker.end()
    return [milestone["source"] for milestone in await installation.milestones()]


async def test_a_new_installation_is_named_by_cluster_and_prefix_and_goes_on_as_it_began(
    installation: Installation,
) -> None:
    async with admin(installation.settings) as client:
        cluster = (await client.describe_cluster())["cluster_id"]
    first = f"/milestones/{cluster}/{installation.settings.output_prefix}"
    assert await sources_after(installation, 1) == [first]
    installation.settings = installation.settings.model_copy(update={"event_source": "/sales/cn"})
    assert await sources_after(installation, 2) == [first, "/sales/cn"]
    installation.settings = installation.settings.model_copy(update={"event_source": ""})
    assert await sources_after(installation, 3) == [first, "/sales/cn", "/sales/cn"]


async def test_an_installation_from_before_there_was_a_choice_keeps_its_source(installation: Installation) -> None:
    old = OUTPUTS["vehicle.milestones.v1.threshold"]
    assert isinstance(old, MilestoneEvent)
    async with AIOKafkaProducer(**client_options(installation.settings)) as producer:
        await producer.send_and_wait(
            installation.catalogue.milestones.name, encode_milestone(old), old.subject.encode()
        )
    assert await sources_after(installation, 1) == ["/milestones", "/milestones"]
