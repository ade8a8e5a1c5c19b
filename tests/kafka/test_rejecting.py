"""An installation that rejects events beyond its limits until the limits are raised."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.support.events import Published, lifecycle
from tests.support.installation import Installation
from tests.support.recount import recount

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

CONFIG = """
partitions = 4
[limits]
values = {values}
beyond = "reject"
"""


def misspelt(record: Published, number: int) -> Published:
    """The same event of an unknown model."""
    document = json.loads(record.value)
    document["data"]["model"] = f"SU7-{number}"
    return record._replace(value=json.dumps(document).encode())


async def test_events_of_models_beyond_the_limit_are_dead_letters_and_count_when_replayed_under_a_higher_one(
    bootstrap: str, tmp_path: Path
) -> None:
    records = list(lifecycle(17, 30))
    models = Counter(model for record in records if (model := json.loads(record.value)["data"].get("model")))
    wrong = [
        misspelt(record, number)
        for number, record in enumerate(lifecycle(18, 12))
        if json.loads(record.value)["type"] == "order.placed.v1"
    ]
    async with Installation.created(bootstrap, tmp_path, config=CONFIG.format(values=len(models))) as made:
        await made.publish(records)
        worker = made.worker("w1")
        await made.applied()
        await made.publish(wrong)
        await made.applied()
        right = recount(record.value for record in records)
        assert await made.counts() == right
        listed = await made.run("dead-letters", "list", "--by-reason", "--json")
        assert json.loads(listed.stdout) == {"reason": "beyond_limits", "count": len(wrong)}
        verified = await made.run("verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr

        worker.kill()
        worker.wait()
        made.configure(CONFIG.format(values=1000))
        # The successor decodes in Python: each way continues with the state of the other.
        made.client = {"hot_path": "python"}
        made.worker("w2")
        made.client = {}
        replayed = await made.run("dead-letters", "replay", "--reason", "beyond_limits")
        assert replayed.returncode == 0, replayed.stdout + replayed.stderr
        await made.applied()
        assert await made.counts() == recount(record.value for record in [*records, *wrong])
        assert "the hot path runs in Python, as MILESTONES_HOT_PATH says" in (tmp_path / "w2.log").read_text()
        verified = await made.run("verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr
