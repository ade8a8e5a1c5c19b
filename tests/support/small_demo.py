"""The command line with a demo whose story has a few thousand events; otherwise the real thing."""

from __future__ import annotations

import dataclasses
from datetime import date
from typing import TYPE_CHECKING
from unittest.mock import patch

from streams.cli import main
from streams.story import Story, load_facts, tell
from streams.story.delivery_faults import Transport
from streams.story.lives import Rates
from streams.story.nights import Night, NightFacts, tell_night

if TYPE_CHECKING:
    from streams.story.launches import Launch


def small_story() -> Story:
    """Two months of orders and one of deliveries in which nothing goes wrong but a repeated id."""
    facts = load_facts()
    small = dataclasses.replace(
        facts,
        deliveries=dataclasses.replace(
            facts.deliveries, months={"2024-05": 1500}, fixed_days={date(2024, 5, 25): 1100}, first=date(2024, 5, 20)
        ),
        orders=dataclasses.replace(facts.orders, months={"2024-03": 1000, "2024-04": 1000}, fixed_days={}),
        launch=smaller(facts.launch, 100),
        plant=None,
    )
    return tell(small, Rates(**{each.name: 0 for each in dataclasses.fields(Rates)}), Transport(id_conflicts=2))


def smaller(launch: Launch, times: int) -> Launch:
    """The same launch with so many times fewer orders."""
    return dataclasses.replace(launch, curve=tuple((seconds, orders // times) for seconds, orders in launch.curve))


def small_night(facts: NightFacts) -> Night:
    """A night with a fifth of its orders."""
    return tell_night(dataclasses.replace(facts, launch=smaller(facts.launch, 5)))


if __name__ == "__main__":
    # The one change to the real thing.
    with (
        patch("streams.demo.run.tell", lambda _: small_story()),
        patch("streams.demo.run.tell_night", small_night),
    ):
        main()
