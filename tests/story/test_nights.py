"""The nights of the demo agree with the published figures, and a naive count of their records gives what is expected."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from streams.errors import ExpectedError
from streams.installation import load_settings
from streams.settings_file import night_rules
from streams.story.expected import standing_milestones
from streams.story.nights import NIGHTS, load_night, tell_night
from streams.wording.parts import length_of
from tests.support.recount import units

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", NIGHTS)
def test_the_published_figures_hold_and_the_rules_are_those_of_the_night(name: str) -> None:
    facts = load_night(name)
    night, launch = tell_night(facts), facts.launch
    assert [figure.id for figure in launch.figures if not figure.holds(night.expected.minutes[launch.period])] == []
    settings = load_settings(night_rules(name))
    (campaign,) = settings.campaigns
    assert (campaign.period_id, campaign.start_us) == (launch.period, night.span_s[0] * 1_000_000)
    stands = standing_milestones(
        settings, facts.model, night.expected.counts, night.expected.last_day, {}, night.expected.campaigns
    )
    highest = max(figure.value for figure in launch.figures)
    assert f"orders_placed/model={facts.model}/{launch.period}/reaches:{highest}" in stands
    assert len(stands) >= 6


def test_what_is_expected_of_a_night_is_a_plain_count_of_its_records() -> None:
    facts = load_night("yu7-launch")
    launch = dataclasses.replace(facts.launch, curve=((240, 300), (3600, 900)))
    facts = dataclasses.replace(facts, launch=launch)
    night = tell_night(facts)
    assert list(night.records()) == list(tell_night(facts).records())
    orders: dict[str, dict[tuple[str, str], dict[str, object]]] = {}
    copies = rejected = 0
    times = []
    for record in night.records():
        event = json.loads(record.value or b"")
        times.append(record.story_s)
        if datetime.fromisoformat(event["time"]).tzinfo is None:
            rejected += 1
            continue
        known = orders.setdefault(event["data"]["order_id"], {})
        copies += (event["source"], event["id"]) in known
        known[event["source"], event["id"]] = event
    assert times == sorted(times)
    by_minute: Counter[int] = Counter()
    for known in orders.values():
        for metric, event, model in units(list(known.values())):
            assert model == "YU7"
            if metric == "orders_placed":
                by_minute[int((datetime.fromisoformat(event["time"]) - launch.start).total_seconds() // 60)] += 1
    assert [by_minute[minute] for minute in range(60)] == night.expected.minutes["campaign:yu7-launch"]
    assert by_minute.total() == 900
    expected = night.expected
    assert (expected.duplicates, expected.dead_letters.total()) == (copies, rejected)
    assert expected.events == sum(len(known) for known in orders.values())
    assert expected.records == len(times)


def test_a_night_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "night.toml"
    with pytest.raises(ExpectedError, match="No such file"):
        load_night("yu7-launch", path)
    path.write_text("title = 1\n")
    with pytest.raises(ExpectedError, match=r"night\.toml: label is missing"):
        load_night("yu7-launch", path)


@pytest.mark.parametrize(
    ("after_s", "length"),
    [
        (0.4, [(0, "second")]),
        (43.9, [(43, "second")]),
        (1620.0, [(27, "minute")]),
        (1603.5, [(26, "minute"), (43, "second")]),
        (3600.0, [(1, "hour")]),
        (7325.0, [(2, "hour"), (2, "minute")]),
        (3605.0, [(1, "hour")]),
        (176_400.0, [(2, "day"), (1, "hour")]),
    ],
)
def test_a_length_is_told_by_its_two_largest_units(after_s: float, length: list[tuple[int, str]]) -> None:
    assert length_of(after_s) == length
