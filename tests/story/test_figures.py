from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from streams.errors import ExpectedError
from streams.story.figures import CountsByDate, Figure, Relation, data_file, load_facts

if TYPE_CHECKING:
    from pathlib import Path

FIRST, MIDDLE, LAST = date(2024, 10, 1), date(2024, 10, 2), date(2024, 10, 3)


def figure(relation: Relation, value: int) -> Figure:
    return Figure("f", "a figure", "deliveries", FIRST, LAST, relation, value, "official", "somebody")


@pytest.mark.parametrize(
    ("relation", "value", "holds"),
    [
        ("exactly", 29, False),
        ("exactly", 30, True),
        ("exactly", 31, False),
        ("more_than", 29, True),
        ("more_than", 30, False),
        ("at_least", 30, True),
        ("at_least", 31, False),
    ],
)
def test_a_figure_is_compared_with_the_sum_of_its_days_and_of_no_other(
    relation: Relation,
    value: int,
    holds: bool,
) -> None:
    days = {date(2024, 9, 30): 1000, FIRST: 9, LAST: 21, date(2024, 10, 4): 1000}
    assert figure(relation, value).counted(days) == 30
    assert figure(relation, value).holds(days) is holds


@pytest.mark.parametrize(
    ("days", "holds"),
    [
        ({FIRST: 10, MIDDLE: 10, LAST: 11}, True),
        ({FIRST: 10, MIDDLE: 11, LAST: 11}, False),
        ({FIRST: 10, MIDDLE: 10, LAST: 10}, False),
        ({LAST: 11, date(2024, 10, 4): 99}, True),
    ],
)
def test_the_first_day_above_a_number_is_above_it_and_no_earlier_day_is(days: CountsByDate, holds: bool) -> None:
    assert figure("first_day_above", 10).holds(days) is holds


def test_every_figure_names_its_source_and_its_grade() -> None:
    facts = load_facts()
    said = [(each.grade, each.source) for each in facts.figures]
    said += [(each.grade, each.source) for each in facts.launch.figures]
    for grade, source in said:
        assert grade in ("official", "reported")
        assert len(source) > 20


def test_the_figures_are_those_of_the_brief() -> None:
    said = {each.id: (each.relation, each.value, each.last.isoformat()) for each in load_facts().figures}
    assert said == {
        "by-3-april": ("more_than", 100000, "2024-04-03"),
        "locked-by-24-april": ("at_least", 75723, "2024-04-24"),
        "april": ("exactly", 7058, "2024-04-30"),
        "may": ("exactly", 8646, "2024-05-31"),
        "second-quarter": ("exactly", 27307, "2024-06-30"),
        "third-quarter": ("exactly", 39790, "2024-09-30"),
        "by-30-september": ("exactly", 67157, "2024-09-30"),
        "september": ("more_than", 10000, "2024-09-30"),
        "national-day": ("more_than", 6000, "2024-10-07"),
        "first-day-above-1000": ("first_day_above", 1000, "2024-10-07"),
        "october": ("more_than", 20000, "2024-10-31"),
        "100000th": ("at_least", 100000, "2024-11-18"),
        "100000th-built": ("reached_on", 100000, "2024-11-13"),
        "november": ("more_than", 20000, "2024-11-30"),
        "december": ("more_than", 25000, "2024-12-31"),
    }
    assert {each.id: (each.relation, each.value, each.minutes) for each in load_facts().launch.figures} == {
        "four-minutes": ("more_than", 10000, 4),
        "seven-minutes": ("more_than", 20000, 7),
        "27-minutes": ("more_than", 50000, 27),
        "24-hours": ("exactly", 88898, 1440),
    }
    assert {each.id for each in load_facts().figures if each.grade == "reported"} == {
        "first-day-above-1000",
        "december",
    }


def test_the_first_day_above_1000_is_reported_and_not_official() -> None:
    assert next(each.grade for each in load_facts().figures if each.id == "first-day-above-1000") == "reported"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seed = 20240328", "", "seed is missing"),
        ('relation = "exactly"', "relation =", "Invalid value"),
        ('what = "deliveries in April"', "", "what"),
        ("start = 2024-03-28T22:00:00+08:00", "start = 2024-03-28T22:00:00", "needs an offset"),
        ("seconds = 86400", "seconds = 86401", "full minutes"),
        ("seconds = 420", "seconds = 240", "seconds must rise"),
        ("orders = 20060", "orders = 60", "must not fall"),
    ],
)
def test_a_data_file_that_cannot_be_used_is_named_with_what_is_wrong(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    text = data_file().read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "story.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ExpectedError) as caught:
        load_facts(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)


def test_a_data_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExpectedError, match=r"story\.toml: No such file"):
        load_facts(tmp_path / "story.toml")
