"""Rows that nothing watches are published without being judged, with the same result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import example, given
from hypothesis import strategies as st

from schemas.rows import RowKey
from streams.domain.time.campaigns import Campaign
from tests.domain.test_totals_properties import at_us
from tests.domain.totals_world import World, rule, target

if TYPE_CHECKING:
    from schemas.outputs import WindowRow
    from streams.domain.rows.windows import Windows

RULES = (rule("day", exceeds=2, first=True), rule("record", record=True))
#: These watch rows that are plain under the rules above.
MORE_RULES = (*RULES, rule("region", scope=("region",), reaches=3), rule("part", share=0.5))
TARGETS = (target(4, "of-region", scope="region=CN-11"),)
SCOPES = ("model=SU7", "region=CN-11", "region=CN-31", "all")
DAYS = ("2024-09-29", "2024-09-30", "2024-10-01", "2024-10-07")

ACTIONS = st.lists(
    st.one_of(
        *[
            st.tuples(
                st.just("put"),
                st.sampled_from(DAYS),
                st.sampled_from(SCOPES),
                st.sampled_from(("deliveries", "orders")),
                st.integers(0, 4),
                st.integers(0, 4),
                st.integers(0, 1),
            )
        ]
        * 4,
        st.tuples(
            st.just("step"), st.integers(0, 100), st.booleans(), st.sampled_from((2, 5, 1000)), st.integers(0, 9)
        ),
        st.tuples(st.just("restart"), st.booleans(), st.booleans()),
    ),
    max_size=20,
)


class JudgingWorld(World):
    """A world whose writers treat no row as plain."""

    def _make(self) -> Any:
        totals = super()._make()
        windows: Windows = totals.windows

        def parted(places: list[int], *, are_judged: bool = False) -> tuple[list[int], list[int]]:
            del are_judged
            return places, []

        windows.parted = parted  # type: ignore[method-assign] # what is to make no difference
        return totals


def versions(world: World) -> dict[str, list[WindowRow | RowKey]]:
    """The versions of each row on the topic, in order."""
    found: dict[str, list[WindowRow | RowKey]] = {}
    for each in world.topic:
        found.setdefault(str(RowKey.of(each)), []).append(each)
    return found


def put(day: str, count: int, scope: str = "region=CN-11") -> tuple[Any, ...]:
    return "put", day, scope, "deliveries", count, 0, 0


@given(ACTIONS)
# A row without units so far is open again while not everything has been read.
@example([put("2024-09-29", 0), ("step", 90, True, 1000, 0), put("2024-09-29", 2), ("step", 1, False, 1000, 0)])
# A day is no longer kept when it would first be published.
@example([put("2024-09-29", 1), put("2024-10-07", 1), ("step", 24 * 8, True, 1000, 0)])
def test_plain_rows_are_published_as_if_they_had_been_judged(actions: list[tuple[Any, ...]]) -> None:
    settings: dict[str, Any] = {"windows": ("day", "month", "rolling:3d"), "rolling": {3: (("region",), ("model",))}}
    settings["keep_days"] = {("region",): 5}
    worlds = World(*RULES, **settings), JudgingWorld(*RULES, **settings)
    hour, has_died = 0, False
    for action, *values in (*actions, ("step", 0, True, 1000, 0), ("step", 24 * 9, True, 1000, 0)):
        if action == "put":
            day, scope, metric, count, backfilled, shard = values
            for world in worlds:
                world.put(day, count, scope=scope, metric=metric, backfilled=min(count, backfilled), shard=shard)
        elif action == "step":
            forward, caught_up, most, dies_after = values
            hour += forward
            for world in worlds:
                world.parts(at_us(hour), caught_up=caught_up, most=most, dies_after=dies_after or None)
        else:
            for world in worlds:
                world.restart(*(MORE_RULES if values[0] else RULES), targets=TARGETS if values[1] else ())
        plain, judging = worlds
        assert plain.rows == judging.rows
        assert plain.replaced == judging.replaced
        assert plain.standing() == judging.standing()
        assert plain.kept == judging.kept
        has_died |= action == "step" and bool(values[3])
        if not has_died:
            assert versions(plain) == versions(judging)


def test_a_campaign_that_nothing_watches_has_minutes_also_when_none_of_them_is_left() -> None:
    minute_us = at_us(0)
    campaign = Campaign("launch", minute_us, minute_us + 3_600_000_000, (("model",),))
    world = World(campaigns=(campaign,))
    world.put_minute("launch", 3, 25)
    world.step(at_us(1))
    assert world.row("campaign:launch", "orders_placed").by_minute == [0, 0, 0, 25]
    world.hours.clear()  # its ledger partition has lost its events
    world.restart(rule("day", exceeds=2))
    world.step(at_us(1))
    row = world.row("campaign:launch", "orders_placed")
    assert (row.count, row.by_minute) == (0, [])
