"""Commands that look never write, also where the broker would create what is asked for by name."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from streams.embedded import config
from streams.embedded.broker import EmbeddedKafka
from streams.kafka.admin import admin, describe, plan_topics
from tests.support.installation import Installation

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.kafka


async def test_looking_creates_no_topic_and_apply_creates_what_the_plan_says(
    tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker with auto.create.topics.enable, Kafka's default."""
    written = config.server_properties

    def creating(*arguments: object) -> str:
        return written(*arguments).replace("auto.create.topics.enable=false", "auto.create.topics.enable=true")  # type: ignore[arg-type]

    monkeypatch.setattr(config, "server_properties", creating)
    with EmbeddedKafka(tmp_path / "kafka") as broker:
        installation = Installation(broker.bootstrap, prefix, tmp_path)
        for command in (("topics", "plan"), ("doctor",)):
            await installation.run(*command)
        async with admin(installation.settings) as client:
            assert [name for name in await client.list_topics() if prefix in name] == []
        done = await installation.run("topics", "apply")
        assert done.returncode == 0, done.stderr
        assert (await plan_topics(installation.settings)).empty


async def test_a_topic_that_is_deleted_while_it_is_described_is_not_there(
    bootstrap: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = await Installation(bootstrap, prefix, tmp_path).create()
    gone, stays = installation.catalogue.windows.name, installation.catalogue.status.name
    async with admin(installation.settings) as client:
        listed: list[Any] = await client.describe_topics()
        await client.delete_topics([gone])

        async def as_listed_before() -> list[Any]:
            return listed

        monkeypatch.setattr(client, "describe_topics", as_listed_before)
        for _ in range(100):
            if set(await describe(client, [gone, stays])) == {stays}:
                return
            await asyncio.sleep(0.1)
    raise AssertionError("it is still described")
