"""Damaged counts and rows for the totals, compiled and in Python; `tests.fuzz.records` feeds them."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

from schemas.codec import decode_day_count, encode_day_count
from schemas.facts import DayCount, LatestUnit
from streams.domain import hotpath
from tests.domain.totals_world import World, us
from tests.fuzz.__main__ import ROWS
from tests.fuzz.damage import grown
from tests.support.count_keys import encode_day_key

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from streams.domain.totals import Totals

#: Half of them are counts.
COUNTS: Final = ROWS // 2
#: Of them in one step of the totals.
_OF_STEP: Final = 50
_LATEST: Final = LatestUnit(1_728_000_000_000_000, 'e"1', "/bj1", 1, 3, 7)
#: What no count of this service is without; what follows only watched rows look at, so it may be anything where none is.
_LATEST_BEGINS: Final = b'"latest":'
_SCOPES: Final = ("all", "model=SU7", "region=CN-11", 'model=“SU7”\\"\n', "model=车,region=CN-31")
_UNITS: Final = (0, 0, 0, 1, 2, 250, 1 << 16, 1 << 32, 1 << 40)
_FIRST_DAY: Final = date(2024, 9, 25)
_NOW_US: Final = us("2024-10-20T12:00:00+08:00")
_REFUSED: Final = (ValueError, IndexError, OverflowError)


class Side:
    """Totals that take in counts and rows one way.

    Args:
        way: The compiled module, None for the way in Python.
    """

    def __init__(self, way: Any) -> None:
        self._way = way
        self.values: list[bytes] = []
        with self._taken():
            self.totals: Totals = World().totals

    @contextmanager
    def _taken(self) -> Iterator[None]:
        hotpath.rows = self._way
        yield

    def take(self, count: tuple[bytes, bytes]) -> str:
        """Takes a count; how it ended."""
        return self._ended(lambda: self.totals.take([count]))

    def restore(self, row: bytes) -> str:
        """Restores a row; how it ended."""
        return self._ended(lambda: self.totals.restore_rows([row]))

    def step(self, hours: int) -> list[Any]:
        """What a step publishes."""
        with self._taken():
            now_us = _NOW_US + hours * 3_600_000_000
            parts = [part.plain for part in self.totals.steps(now_us=now_us, caught_up=True, most=40) if part]
        self.values += [value for part in parts for _, value in part.records]
        return parts

    def state(self) -> Any:
        """The rows, as far as the two ways may differ in them."""
        windows = self.totals.windows
        columns = windows.columns
        return (
            windows.series_names(0, windows.sizes[1]),
            columns.cells,
            {
                name: list(values)[: len(columns)]
                for name, values in vars(columns).items()
                if hasattr(values, "typecode")
            },
            windows.newest_day,
            windows._first_cells,
            set(windows.days),
        )

    def _ended(self, call: Callable[[], object]) -> str:
        with self._taken():
            try:
                call()
            except _REFUSED:
                return "refused"
        return "taken"


def count_of(dice: random.Random) -> tuple[bytes, bytes]:
    """A count of a day, as a ledger partition publishes it."""
    hours = [dice.choice(_UNITS) for _ in range(24)] if dice.randrange(2) else [0] * 23 + [dice.choice(_UNITS)]
    day = _FIRST_DAY + timedelta(dice.randrange(20))
    key = encode_day_key(dice.randrange(300), dice.choice(("orders", "deliveries")), dice.choice(_SCOPES), day)
    latest = dice.choice((None, _LATEST))
    return key, encode_day_count(DayCount(sum(hours), min(dice.choice(_UNITS), sum(hours)), hours, latest))


def damaged(dice: random.Random, count: tuple[bytes, bytes], others: list[bytes]) -> tuple[bytes, bytes]:
    """A count with some damage before its latest unit, or after the number of its partition."""
    key, value = count
    if dice.randrange(3) == 0:
        shard, found, rest = key.partition(b"|")
        return shard + found + grown(dice, rest, [rest]), value
    begin, found, rest = value.partition(_LATEST_BEGINS)
    value = grown(dice, begin, others) + found + rest
    return (key, value) if is_day_or_nothing(value) else count


def is_day_or_nothing(value: bytes) -> bool:
    """Whether this is a count of a day or no count at all: none of other hours, or of impossible numbers, is ever written."""
    try:
        count = decode_day_count(value)
    except ValueError:
        return True
    return len(count.by_hour) == 24 and all(
        0 <= units < 1 << 50 for units in (count.count, count.backfilled, *count.by_hour)
    )


def feed(way: Any, dice: random.Random) -> int:
    """Counts, and then the rows that they have made, one way and the other. Returns how many were damaged and taken all the same.

    Raises:
        AssertionError: The two ways differ.
    """
    compiled, plain, alone = Side(way), Side(None), Side(way)
    values = [count_of(dice)[1].partition(_LATEST_BEGINS)[0] for _ in range(20)]
    accepted = 0
    for number in range(COUNTS):
        count = count_of(dice)
        if dice.randrange(3):
            count = damaged(dice, count, values)
        ends = compiled.take(count), plain.take(count)
        assert ends[0] == ends[1], (count, ends)
        accepted += ends[0] == "taken"
        # What is damaged elsewhere may be taken, but nothing else may happen.
        alone.take(dice.choice((count, (grown(dice, count[0], [count[0]]), grown(dice, count[1], values)))))
        if number % _OF_STEP == _OF_STEP - 1:
            assert compiled.state() == plain.state(), number
            assert compiled.step(number) == plain.step(number), number
            damage_days(alone, dice)
    rows = compiled.values
    ends_of_days = compiled, plain = Side(way), Side(None)
    for _ in range(COUNTS):
        count = count_of(dice)
        for side in ends_of_days:
            side.take(count)
    for _ in range(COUNTS):
        row = dice.choice(rows)
        if dice.randrange(3):
            row = grown(dice, row, rows)
        ends = compiled.restore(row), plain.restore(row)
        assert ends[0] == ends[1], (row, ends)
        accepted += ends[0] == "taken"
    assert compiled.state() == plain.state()
    return accepted


def damage_days(side: Side, dice: random.Random) -> None:
    """Publishes, and counts on, with packed days that are damaged."""
    cells = side.totals.windows.columns.cells
    for place, packed in enumerate(cells):
        if packed is not None and dice.randrange(4) == 0:
            cells[place] = grown(dice, packed, [packed])
    for _ in range(_OF_STEP):
        side.take(count_of(dice))
    with side._taken():
        for place in range(len(cells)):
            with suppress(*_REFUSED):
                side.totals.windows.published([place])
