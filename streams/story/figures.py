"""The published figures about the SU7's 2024 with their sources, and the settings of the simulation."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from importlib import resources
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal, TypeVar

from streams.errors import ExpectedError
from streams.story.launches import Launch, launch_of

Facts = TypeVar("Facts")

FILE_NAME = "su7-2024.toml"

Relation = Literal["exactly", "more_than", "at_least", "first_day_above", "reached_on"]

#: Counts of one metric by business date; missing dates count 0.
CountsByDate = Mapping[date, int]


@dataclass(frozen=True)
class Figure:
    """A published figure: the count of `metric` from `first` to `last`, inclusive, stands in `relation` to `value`.

    With `first_day_above`, `last` is the earliest date whose own count is above `value`; with `reached_on` it is the date on which the
    all-time count, with an opening balance, reaches it.
    """

    id: str
    what: str
    metric: str
    first: date
    last: date
    relation: Relation
    value: int
    grade: Literal["official", "reported"]
    source: str
    note: str = ""

    def counted(self, days: CountsByDate, opening: int = 0) -> int:
        """The days' value for this figure: a sum, or for `first_day_above` the count of its day.

        Args:
            days: Date → units.
            opening: Units from before the first date, included for `reached_on`.
        """
        if self.relation == "first_day_above":
            return days.get(self.last, 0)
        counted = sum(count for day, count in days.items() if self.first <= day <= self.last)
        return counted + opening if self.relation == "reached_on" else counted

    def holds(self, days: CountsByDate, opening: int = 0) -> bool:
        """Whether the days agree with what was published."""
        counted = self.counted(days, opening)
        if self.relation == "reached_on":
            return counted >= self.value > counted - days.get(self.last, 0)
        if self.relation == "exactly":
            return counted == self.value
        if self.relation == "more_than":
            return counted > self.value
        if self.relation == "at_least":
            return counted >= self.value
        earlier = (count for day, count in days.items() if self.first <= day < self.last)
        return counted > self.value and not any(count > self.value for count in earlier)


@dataclass(frozen=True)
class Volume:
    """How many units to simulate: by month, with some days fixed.

    `cap` is the daily maximum before `cap_before`; `first` is the first date with units. Orders of the launch come on top.
    """

    months: Mapping[str, int]
    fixed_days: Mapping[date, int]
    first: date
    cap: int | None = None
    cap_before: date | None = None


@dataclass(frozen=True)
class Unexplained:
    """Deliveries in a published total that its published parts do not account for."""

    count: int
    day: date
    source: str


@dataclass(frozen=True)
class Refunds:
    """The share of the launch's orders that is cancelled while the deposit can be returned, and for how many days it can be."""

    share: float
    days: int


@dataclass(frozen=True)
class Plant:
    """How vehicles are built.

    Attributes:
        first: The first reported date.
        days: Minimum and maximum days from a vehicle's production to its first delivery.
        stock: Number of vehicles built in the last days that have no order yet.
        scrapped: Number of vehicles that were scrapped.
    """

    first: date
    days: tuple[float, float]
    stock: int
    scrapped: int


@dataclass(frozen=True)
class StoryFacts:
    """The validated data file."""

    title: str
    label: str
    model: str
    figures: tuple[Figure, ...]
    unexplained: Unexplained
    seed: int
    launch: Launch
    refunds: Refunds
    deliveries: Volume
    orders: Volume
    plant: Plant | None = None

    def utc_offset_s(self) -> int:
        """Offset of local time in seconds, the same for the whole story."""
        return self.launch.utc_offset_s()


def data_file(name: str = FILE_NAME) -> Path:
    """A story's file in a checkout (`deploy/demo/`), else the copy in the installed package.

    Raises:
        ExpectedError: Neither is there.
    """
    package = Path(str(resources.files("streams")))
    candidates = (package.parent / "deploy" / "demo" / name, package / "data" / name)
    for path in candidates:
        if path.is_file():
            return path
    raise ExpectedError(f"the story's data file is missing: {candidates[1]}; install the milestones package again")


def load_facts(path: Path | None = None) -> StoryFacts:
    """Reads the data file.

    Raises:
        ExpectedError: It cannot be read or is invalid; one line that names the file.
    """
    return read_facts(path or data_file(), _facts)


def read_facts(path: Path, made_of: Callable[[dict[str, Any]], Facts]) -> Facts:
    """Reads a data file.

    Args:
        path: TOML.
        made_of: Makes the facts from its content; raises KeyError, ValueError or TypeError if that is invalid.

    Raises:
        ExpectedError: It cannot be read or is invalid; one line that names the file.
    """
    try:
        return made_of(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ExpectedError(f"{path}: {error.strerror or error}") from None
    except KeyError as error:
        raise ExpectedError(f"{path}: {error.args[0]} is missing") from None
    except (ValueError, TypeError) as error:
        raise ExpectedError(f"{path}: {error}") from None


def _facts(data: dict[str, Any]) -> StoryFacts:
    simulation = data["simulation"]
    launch = launch_of(data["launch"])
    cap = simulation["delivery_cap"]
    unexplained = data["unexplained"]
    return StoryFacts(
        title=data["title"],
        label=data["label"],
        model=data["model"],
        figures=tuple(Figure(**figure) for figure in data["figure"]),
        unexplained=Unexplained(unexplained["count"], unexplained["date"], unexplained["source"]),
        seed=simulation["seed"],
        launch=launch,
        refunds=Refunds(simulation["refunds"]["share"], simulation["refunds"]["days"]),
        deliveries=Volume(
            simulation["deliveries"],
            _by_date(simulation["delivery_days"]),
            simulation["first_delivery"],
            cap["per_day"],
            cap["before"],
        ),
        orders=Volume(simulation["orders"], _by_date(simulation["order_days"]), launch.end.date()),
        plant=Plant(
            simulation["production"]["first"],
            (simulation["production"]["least_days"], simulation["production"]["most_days"]),
            simulation["production"]["stock"],
            simulation["production"]["scrapped"],
        ),
    )


def _by_date(days: Mapping[str, int]) -> dict[date, int]:
    return {date.fromisoformat(day): count for day, count in days.items()}


def month_days(month: str) -> list[date]:
    """The dates of a month such as `2024-10`."""
    first = date.fromisoformat(f"{month}-01")
    every = (first + timedelta(days=number) for number in range(31))
    return list(takewhile(lambda day: day.month == first.month, every))
