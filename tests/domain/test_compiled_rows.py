"""Counts and rows that nothing watches are taken in, published and restored by compiled code with the same result as in Python."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.codec import encode_day_count, encode_row, read_row
from schemas.facts import DayCount, LatestUnit
from schemas.rows import RowKey
from streams.domain import hotpath
from streams.domain.announced.targets import TargetChange
from streams.domain.rows.row_columns import Columns
from tests.domain.test_totals_properties import at_us
from tests.domain.totals_world import World, rule, target
from tests.support.count_keys import encode_day_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.domain.milestones.step_parts import Step
    from streams.domain.rows.row_versions import PublishedRecord
    from streams.domain.rules import Rule
    from streams.domain.totals import Totals

pytestmark = pytest.mark.skipif(bool(hotpath.WHY_PYTHON), reason=f"not compiled: {hotpath.WHY_PYTHON}")

_LATEST: Final = LatestUnit(1_728_000_000_000_000, 'e"1', "/bj1", 1, 3, 7)
_UNITS: Final = st.one_of(st.integers(0, 3), st.integers(0, 1 << 40))
_HOURS: Final = st.one_of(
    st.dictionaries(st.integers(0, 23), _UNITS, max_size=3).map(
        lambda units: [units.get(hour, 0) for hour in range(24)]
    ),
    st.lists(_UNITS, min_size=24, max_size=24),
)
_SCOPES: Final = st.sampled_from(("all", "model=SU7", "region=CN-11", 'model=“SU7”\\"\n', "model=车,region=CN-31"))
COUNTS: Final = st.lists(
    st.tuples(
        st.integers(0, 300),
        st.sampled_from(("orders", "deliveries")),
        _SCOPES,
        st.sampled_from((date(2024, 9, 29), date(2024, 10, 1), date(2024, 10, 7))),
        st.builds(
            lambda hours, backfilled, latest: DayCount(sum(hours), min(backfilled, sum(hours)), hours, latest),
            _HOURS,
            _UNITS,
            st.sampled_from((_LATEST, None)),
        ),
    ),
    max_size=12,
)


class Side:
    """One of the two ways, with totals that take what the other one takes."""

    def __init__(self, *rules: Rule, is_compiled: bool, **settings: Any) -> None:
        self._rows = hotpath.rows if is_compiled else None
        self._rules, self._settings = rules, settings
        self.values: list[bytes] = []
        with self._taken():
            self.totals = World(*rules, **settings).totals

    @contextmanager
    def _taken(self) -> Iterator[None]:
        before, hotpath.rows = hotpath.rows, self._rows
        try:
            yield
        finally:
            hotpath.rows = before

    def take(self, counts: list[tuple[Any, ...]]) -> None:
        self.take_as_they_are([(encode_day_key(*key), encode_day_count(count)) for *key, count in counts])

    def take_as_they_are(self, counts: list[tuple[bytes, bytes]]) -> None:
        with self._taken():
            self.totals.take(counts)

    def step(self, hour: int, *, caught_up: bool) -> list[Step]:
        with self._taken():
            parts = [part for part in self.totals.steps(now_us=at_us(hour), caught_up=caught_up, most=40) if part]
        self.values += [value for part in parts for _, value in part.plain.records]
        return parts

    def take_over(self, counts: list[tuple[Any, ...]]) -> None:
        """Another writer, which reads these counts and what was published."""
        with self._taken():
            self.totals = World(*self._rules, **self._settings).totals
            self.take(counts)
            self.totals.restore_rows(self.values)

    def published(self) -> list[PublishedRecord | None]:
        with self._taken():
            return self.totals.windows.published(range(len(self.totals.windows)))


def state(totals: Totals) -> Any:
    """The rows of totals, as far as the two ways may differ in them."""
    windows = totals.windows
    columns: Columns = windows.columns
    return (
        windows.series_names(0, windows.sizes[1]),
        columns.cells,
        {name: list(values)[: len(columns)] for name, values in vars(columns).items() if hasattr(values, "typecode")},
        windows.newest_day,
        windows._first_cells,
        set(windows.days),
    )


#: A count of nothing: its row is never published.
_NOTHING: Final = (0, "orders", "all", date(2024, 9, 29), DayCount(0, 0, [0] * 24, _LATEST))


#: What looks at `all`, and at scopes whose days may leave.
_WATCHING: Final = st.sampled_from(
    ((), (rule("all", exceeds=3, scope=(), metric="deliveries"),), (rule("models", exceeds=3, metric="deliveries"),))
)


@given(
    st.lists(st.tuples(COUNTS, st.integers(0, 40), st.booleans()), max_size=5), st.booleans(), st.booleans(), _WATCHING
)
@example(steps=[([_NOTHING], 0, True), ([_NOTHING], 0, False)], with_target=False, keeps_few=False, rules=())
def test_both_ways_lead_to_the_same_rows_and_bytes(
    steps: list[tuple[list[tuple[Any, ...]], int, bool]],
    with_target: bool,
    keeps_few: bool,
    rules: tuple[Rule, ...],
) -> None:
    settings: dict[str, Any] = {"keep_days": {("model",): 3} if keeps_few else {}}
    if with_target:
        settings["targets"] = (target(4, scope="region=CN-11"),)
    one, other = (Side(*rules, is_compiled=is_compiled, **settings) for is_compiled in (True, False))
    hour = 0
    last: dict[tuple[Any, ...], DayCount] = {}
    for counts, hours, caught_up in steps:
        hour += hours
        last |= {tuple(key): count for *key, count in counts}
        for side in (one, other):
            side.take(counts)
        assert state(one.totals) == state(other.totals)
        assert one.step(hour, caught_up=caught_up) == other.step(hour, caught_up=caught_up)
        assert state(one.totals) == state(other.totals)
        assert one.published() == other.published()
    for side in (one, other):
        side.take_over([(*key, count) for key, count in last.items()])
    assert state(one.totals) == state(other.totals)
    assert one.step(hour, caught_up=True) == other.step(hour, caught_up=True)


def test_a_target_that_is_set_in_the_step_of_a_days_counts_meets_them_in_their_order() -> None:
    key = (0, "deliveries", "region=CN-11", date(2024, 10, 1))
    counts = [(*key, DayCount(units, 0, [units, *[0] * 23], latest)) for units, latest in ((6, _LATEST), (5, None))]
    aim = target(5, scope="region=CN-11")
    raised = []
    for is_compiled in (True, False):
        side = Side(is_compiled=is_compiled)
        side.take([(*key, DayCount(4, 0, [4, *[0] * 23], _LATEST))])
        side.step(24, caught_up=True)
        side.take(counts)
        side.totals.take_target(TargetChange(at_us(24), "t1", "/plans", "aim", aim))
        raised.append([event.type for part in side.step(25, caught_up=True) for event in part.milestones])
    assert raised == [["milestone.raised.v1"]] * 2


def test_a_row_is_written_as_its_object_would_be() -> None:
    side = Side(is_compiled=True)
    hours = [1 << 40, *range(23)]
    scope = 'model=“SU7”\\"\n车'
    side.take([(3, "deliveries", scope, date(2024, 10, 1), DayCount(sum(hours), 7, hours, None))])
    records = [record for part in side.step(0, caught_up=False) for record in part.plain.records]
    assert {key.decode().rpartition("/")[2] for key, _ in records} >= {
        "day:2024-10-01",
        "holiday:national-day:2024",
    }
    for key, value in records:
        row = read_row(value)
        assert (encode_row(row), str(RowKey.of(row))) == (value, key.decode())
        assert (row.scope, row.count, row.backfilled) == (scope, sum(hours), 7)
        assert row.by_hour in (hours, None)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"3|deliveries|all|2024-10-01", b'{"count":1,"backfilled":0,"by_hour":[1,],"latest":null}'),
        (b"3|deliveries|all|2024-10-01", b'{"count":1,"backfilled":0'),
        (b"3|deliveries|all|yesterday", b"{}"),
        (b"x|deliveries|all|2024-10-01", b"{}"),
        (b"3|deliveries", b"{}"),
        (b"", b""),
    ],
)
def test_what_is_no_count_is_refused_by_both_ways(key: bytes, value: bytes) -> None:
    for is_compiled in (True, False):
        side = Side(is_compiled=is_compiled)
        side.take([(3, "deliveries", "all", date(2024, 10, 1), DayCount(1, 0, [1, *[0] * 23], None))])
        before = state(side.totals)
        with side._taken(), pytest.raises((ValueError, IndexError)):
            side.totals.take([(key, value)])
        assert state(side.totals) == before


def test_a_place_without_a_row_is_refused() -> None:
    with pytest.raises(IndexError):
        hotpath.rows.publish(Columns(), [0], [], [], {}, 0, str, bool, False, False)


def test_a_damaged_day_is_refused() -> None:
    side = Side(is_compiled=True)
    counts = [(3, "deliveries", "all", date(2024, 10, 1), DayCount(1, 0, [1, *[0] * 23], None))]
    side.take(counts)
    whole = side.totals.windows.columns.cells[0]
    assert whole is not None
    for end in range(len(whole)):
        side.totals.windows.columns.cells[0] = whole[:end]
        with pytest.raises(ValueError, match="packed day"):
            side.take(counts)


def test_rules_see_what_compiled_code_has_taken_in() -> None:
    """Before anything has counted there is no series, and no row that is watched is plain."""
    world = World(rule("day", exceeds=2), targets=(target(3, "of-region", scope="region=CN-11"),))
    for count in range(1, 5):
        for scope in ("model=SU7", "region=CN-11", "all"):
            world.put("2024-10-01", count, scope=scope)
        world.step("2024-10-01T12:00:00+08:00")
    assert len(world.standing()) == 2
    assert world.row("day:2024-10-01", scope="all").count == 4


def test_what_follows_a_count_that_is_not_plain_is_heard_of_as_well() -> None:
    """Such as one of a rolling window, or one that is not written as we write it, between two of days that rules watch."""

    def counted(units: int) -> list[tuple[bytes, bytes]]:
        value = encode_day_count(DayCount(units, 0, [units, *[0] * 23], _LATEST))
        keys = [encode_day_key(0, "deliveries", "all", date(2024, 10, day)) for day in (1, 2, 3)]
        return [(keys[0], value), (keys[1], value.replace(b":", b": ", 1)), (keys[2], value)]

    watching = rule("all", exceeds=1_000, scope=(), metric="deliveries")
    sides = [Side(watching, is_compiled=is_compiled) for is_compiled in (True, False)]
    for hour, units in ((24 * 9, 1), (24 * 9 + 1, 2)):
        for side in sides:
            side.take_as_they_are(counted(units))
        one, other = (side.step(hour, caught_up=True) for side in sides)
        assert one == other
        rows = [sides[0].totals.windows.get(RowKey("deliveries", "all", f"day:2024-10-0{day}")) for day in (1, 2, 3)]
        assert [row.published_count for row in rows if row is not None] == [units] * 3
