"""Commands that look never write, also where the broker would create what is asked for by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streams.embedded import config
from streams.embedded.broker import EmbeddedKafka
from streams.kafka.admin import admin, plan_topics
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
