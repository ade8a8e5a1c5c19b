"""A dictionary in parts, against a whole one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.domain.pauses import whole
from streams.ledger.parted_dict import PartedDict

_ENTRIES = st.dictionaries(st.integers(0, 200), st.integers(), max_size=30)


@given(st.lists(_ENTRIES | st.integers(-1, 40), max_size=20))
def test_entries_replace_each_other_by_key_and_each_is_taken_once_as_it_was_last(
    steps: list[dict[int, int] | int],
) -> None:
    parted: PartedDict[int, int] = PartedDict()
    expected: dict[int, int] = {}
    for step in [*steps, 1000]:
        if isinstance(step, dict):
            whole(parted.adding(step.items()))
            expected |= step
        else:
            taken = parted.take(step)
            assert len(taken) == max(0, min(step, len(expected)))
            assert taken == {key: expected.pop(key) for key in taken}
        assert dict(parted.items()) == expected
        assert len(parted) == len(expected)
    assert not parted
