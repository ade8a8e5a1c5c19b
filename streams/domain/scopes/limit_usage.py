"""How close an installation is to its limits (values of a dimension, scopes, rows), and what each set of scopes costs."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.rows import date_of_day
from schemas.texts import template_of
from streams.domain.scopes.scopes import named_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from schemas.rows import RowKey

#: The fraction of a limit at which a warning is due.
WARN_AT: Final = 0.8
#: Periods of a kind that an estimate samples, spread over all.
_SAMPLES: Final = 24


class LimitUse(NamedTuple):
    """How much of a limit is used; `what` is `rows`, `scopes`, or a dimension, for its distinct values."""

    what: str
    used: int
    limit: int

    @property
    def is_near(self) -> bool:
        """Whether a warning is due."""
        return self.used >= WARN_AT * self.limit

    def line(self) -> str:
        """One line for people."""
        what = self.what if self.what in {"rows", "scopes"} else f"values of {self.what}"
        far = (
            "are beyond the limit of" if self.used > self.limit else f"are {self.used / self.limit:.0%} of the limit of"
        )
        return f"{self.used:,} {what} {far} {self.limit:,}"


def limit_uses(limits: Mapping[str, int], values: Mapping[str, int], scopes: int, rows: int) -> list[LimitUse]:
    """How much of each limit is used.

    Args:
        limits: The limits by name: `values` (of one dimension), `scopes`, `rows`.
        values: Dimension → number of its distinct values.
        scopes: Number of scopes.
        rows: Number of rows.
    """
    return [
        *(LimitUse(name, used, limits["values"]) for name, used in values.items()),
        LimitUse("scopes", scopes, limits["scopes"]),
        LimitUse("rows", rows, limits["rows"]),
    ]


@dataclass
class SetCost:
    """What a set of scopes costs: rows and bytes (keys and values as published), in total and for the last day with a row."""

    scopes: int = 0
    rows: int = 0
    size_bytes: int = 0
    day_rows: int = 0
    day_bytes: int = 0


@dataclass
class ScopeCosts:
    """Sums up rows; add each key once.

    Attributes:
        last_day: The id of the last day with a row; empty if there is none.
    """

    last_day: str = ""
    _scopes: defaultdict[tuple[str, ...], set[str]] = field(default_factory=lambda: defaultdict(set))
    _values: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _all: defaultdict[tuple[str, ...], list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    _days: defaultdict[tuple[tuple[str, ...], str], list[int]] = field(
        default_factory=lambda: defaultdict(lambda: [0, 0])
    )
    #: Dimension → (metric, period) → counts by value, for the sets of one dimension.
    _counts: defaultdict[str, defaultdict[tuple[str, str], list[int]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )

    def add(self, key: RowKey, size_bytes: int, count: int) -> None:
        """Adds a row: its key, the bytes of key and value, and its count."""
        dimensions = template_of(key.scope)
        self._scopes[dimensions].add(key.scope)
        for name, value in named_values(key.scope):
            self._values[name].add(value)
        places = [self._all[dimensions]]
        if key.period.startswith("day:"):
            self.last_day = max(self.last_day, key.period)
            places.append(self._days[dimensions, key.period])
        for place in places:
            place[0] += 1
            place[1] += size_bytes
        if len(dimensions) == 1 and count:
            self._counts[dimensions[0]][key.metric, key.period].append(count)

    def sets(self) -> dict[tuple[str, ...], SetCost]:
        """The cost of each set: `all` first, then those with the fewest dimensions."""
        return {
            dimensions: SetCost(
                len(self._scopes[dimensions]),
                *self._all[dimensions],
                *self._days.get((dimensions, self.last_day), (0, 0)),
            )
            for dimensions in sorted(self._scopes, key=lambda each: (len(each), each))
        }

    def values(self) -> dict[str, int]:
        """Dimension → how many distinct values it has."""
        return {name: len(found) for name, found in self._values.items()}

    def scopes(self) -> int:
        """How many there are."""
        return sum(map(len, self._scopes.values()))

    def rows(self) -> int:
        """How many there are."""
        return sum(place[0] for place in self._all.values())

    def leaving(self, keep_days: int) -> dict[tuple[str, ...], tuple[int, int]]:
        """Rows and bytes of each set that belong to days more than `keep_days` before the last one; other windows stay."""
        found: dict[tuple[str, ...], tuple[int, int]] = {}
        last_day = date_of_day(self.last_day)
        if last_day is not None:
            since = last_day - timedelta(days=keep_days)
            for (dimensions, period), (rows, size_bytes) in self._days.items():
                day = date_of_day(period)
                if day is not None and day < since:
                    before = found.get(dimensions, (0, 0))
                    found[dimensions] = before[0] + rows, before[1] + size_bytes
        return found

    def missing(self, dimensions: Sequence[str]) -> list[str]:
        """The dimensions that no set counts alone, so that the distribution of their units is unknown."""
        return [name for name in dimensions if not self._counts.get(name)]

    def estimate(self, dimensions: tuple[str, ...]) -> SetCost:
        """What a set that is not counted yet would cost if its dimensions were independent of each other.

        The units of a period are thrown at the pairs of values; a pair that is hit has a row. Dependent dimensions,
        such as models sold in some regions only, have fewer rows.

        Args:
            dimensions: Two or more, each also counted alone; see `missing`.
        """
        spreads = [self._counts[name] for name in dimensions]
        by_kind: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for metric, period in sorted(set.intersection(*(set(spread) for spread in spreads))):
            by_kind[metric, period.partition(":")[0]].append(period)
        row_bytes = self._bytes_a_row()
        made, hit_last = SetCost(), 0.0
        rows = 0.0
        for (metric, kind), periods in by_kind.items():
            chosen = periods[:: max(len(periods) // _SAMPLES, 1)]
            hits = [_hits([spread[metric, period] for spread in spreads]) for period in chosen]
            rows += sum(hits) / len(hits) * len(periods)
            if kind == "day" and self.last_day in periods:
                hit_last += _hits([spread[metric, self.last_day] for spread in spreads])
        most = 1
        for name in dimensions:
            most *= len(self._values[name])
        made.rows, made.day_rows = round(rows), round(hit_last)
        made.scopes = min(most, made.rows)
        made.size_bytes, made.day_bytes = round(rows * row_bytes), round(hit_last * row_bytes)
        return made

    def _bytes_a_row(self) -> float:
        return sum(place[1] for place in self._all.values()) / max(self.rows(), 1)


def _hits(spreads: Iterable[Sequence[int]]) -> float:
    """The expected number of combinations that are hit; each spread has the counts by value of one dimension."""
    shares, units = Counter({1.0: 1}), 0
    for counts in spreads:
        total = sum(counts)
        units = max(units, total)
        # Values with equal counts are handled together.
        alike = Counter(count / total for count in counts)
        wider: Counter[float] = Counter()
        for share, times in shares.items():
            for other, more in alike.items():
                wider[share * other] += times * more
        shares = wider
    return sum(times * (1.0 - (1.0 - share) ** units) for share, times in shares.items())
