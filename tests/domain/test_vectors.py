"""Operations on columns, in blocks, give the same result as number by number."""

from __future__ import annotations

from array import array
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import vectors
from streams.domain.pauses import whole

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE = 3
NUMBERS = st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2), st.integers(0, 2)), max_size=3 * _PIECE + 1)


@pytest.fixture(autouse=True, scope="module")
def pieces() -> Iterator[None]:
    """Small ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectors, "_AT_ONCE", _PIECE)
        yield


def _columns(rows: list[tuple[int, int, int]]) -> tuple[array[int], array[int], array[int]]:
    one, other, kind = zip(*rows, strict=True) if rows else ((), (), ())
    # More room than rows, as columns have.
    return array("q", [*one, 9]), array("q", [*other, 8]), array("i", [*kind, 0])


@given(NUMBERS)
def test_masks_and_places_are_those_of_all_numbers(rows: list[tuple[int, int, int]]) -> None:
    one, other, kind = _columns(rows)
    size = len(rows)
    differing = vectors.differing(size, (one, other))
    assert whole(differing) == bytes(a != b for a, b, _ in rows)
    assert whole(vectors.differing(size, (one, one), (one, other))) == bytes(a != b for a, b, _ in rows)
    assert whole(vectors.flagged(size, kind, b"\1\0\1")) == bytes(kind != 1 for _, _, kind in rows)
    beyond = list(vectors.beyond(size, one, other, (one, 0), (kind, 1)))
    assert list(chain(*beyond)) == [place for place, (a, b, kind) in enumerate(rows) if a > b and a >= 0 and kind >= 1]
    assert len(beyond) == -(-size // _PIECE)
    assert vectors.greatest(size, one) == max((a for a, _, _ in rows), default=0)


@given(NUMBERS)
def test_numbers_are_raised_to_the_level_of_their_kind(rows: list[tuple[int, int, int]]) -> None:
    levels = b"\0\1\2"
    _, _, kind = _columns(rows)
    column = array("b", [*(a for a, _, _ in rows), 7])
    rose = whole(vectors.raised(len(rows), column, kind, levels))
    assert rose == bytes(a < levels[kind] for a, _, kind in rows)
    assert list(column) == [*(max(a, levels[kind]) for a, _, kind in rows), 7]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(0, 5)), unique_by=lambda row: row[:2]))
def test_parts_add_up_to_sums_wherever_both_are(rows: list[tuple[int, int, int]]) -> None:
    # Kinds 0 and 1 are parts of kinds 3 and 4, kind 2 of kind 4; sums come after, before and among them.
    parents: list[tuple[int, ...]] = [(3, 4), (3, 4), (4,), (), ()]
    groups = sorted({group for group, _, _ in rows})
    sums = [(group, kind, 77) for group in groups for kind in (3, 4)]
    placed = [*sums[::3], *rows, *sums[1::3], *sums[2::3]]
    group, kind, count = (array("q", column) for column in (zip(*placed, strict=True) if placed else ((), (), ())))
    for _ in vectors.add_up(len(placed), group, kind, parents, count):
        pass
    wanted: Counter[tuple[int, int]] = Counter()
    for of, part, units in rows:
        wanted[of, part] = units
        wanted.update({(of, parent): units for parent in parents[part]})
    assert {(g, k): n for g, k, n in zip(group, kind, count, strict=True)} == {
        (g, k): wanted[g, k] for g, k, _ in placed
    }


def test_parts_without_a_sum_are_refused_unless_not_every_group_has_it() -> None:
    columns = array("q", [0, 0]), array("q", [0, 1]), array("q", [5, 0])
    with pytest.raises(ValueError, match="without a sum"):
        list(vectors.add_up(2, *columns[:2], [(1, 2), (), ()], columns[2]))
    list(vectors.add_up(2, *columns[:2], [(1, 2), (), ()], columns[2], of_some={2}))
    assert list(columns[2]) == [5, 5]
