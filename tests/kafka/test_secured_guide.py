"""The guide to a secured cluster, followed to the letter, from its settings to a worker that counts."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

import pytest

from streams.kafka.rights import rights_of
from tests.support.installation import ROOT, Installation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.secured import SecuredKafka

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

GUIDE = (ROOT / "deploy/OPERATIONS.md").read_text().partition("## A secured cluster\n")[2].partition("\n## ")[0]
SAMPLES = dict(re.findall(r"```toml\n# (\w+)\n(.*?)```", GUIDE, re.DOTALL))


@pytest.mark.parametrize("way", ["SCRAM", "MTLS", "OAUTH"])
async def test_the_settings_of_the_guide_connect(
    secured: SecuredKafka, make_prefix: Callable[[], str], tmp_path: Path, way: str
) -> None:
    installation = _as_written(secured, make_prefix(), tmp_path, way)
    await secured.add_user("milestones")
    done = await installation.run("windows")
    assert (done.returncode, "is not allowed Read on topic" in done.stderr) == (3, True), done.stderr


async def test_the_steps_of_the_guide_lead_to_a_worker_that_counts(
    secured: SecuredKafka, make_prefix: Callable[[], str], tmp_path: Path
) -> None:
    installation = _as_written(secured, make_prefix(), tmp_path, "SCRAM")
    await secured.add_user("milestones")
    for role in re.findall(r"topics acls --principal User:milestones --role (\w+)", GUIDE):
        await secured.allow("milestones", rights_of(role, installation.settings))
    steps = re.findall(r"^milestones ((?:doctor|topics apply|worker|publish|windows)[^#\n]*)", GUIDE, re.MULTILINE)
    assert len(steps) == 6
    for step in (step.split() for step in steps):
        if step == ["worker"]:
            installation.worker("w1")
            continue
        if step[0] == "windows":
            await installation.applied()
        sample = str(ROOT / "deploy/demo/sample-events.ndjson")
        done = await installation.run(*(sample if word == "events.ndjson" else word for word in step))
        # The topics do not exist yet, and the doctor must say so.
        assert done.returncode == (1 if step[0] == "doctor" else 0), (step, done.stdout + done.stderr)
    assert "deliveries" in done.stdout
    await secured.disallow("milestones")
    installation.end()


def _as_written(secured: SecuredKafka, prefix: str, folder: Path, way: str) -> Installation:
    """The settings in the guide, with the addresses and paths of this cluster."""
    installation = Installation(secured.broker.bootstrap, prefix, folder)
    here = secured.settings(way, "milestones")
    written = tomllib.loads(SAMPLES[way])
    assert written.keys() == here.keys()
    assert {name for name, value in written.items() if value != here[name]} <= {
        name for name in here if name.endswith("_file") or name == "bootstrap_servers"
    }
    installation.client = here
    return installation
