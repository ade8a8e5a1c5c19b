"""The record that makes the program raise is found by trying, whether it does so alone or only with others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest
from faust.types.tuples import TP

from streams.kafka.records import record_key
from streams.kafka.transport import Batch
from streams.ledger.poison_record import find_culprit
from tests.support.outputs import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.kafka.records import LogRecord

#: Everything applied so far, size of the step → whether it raises.
Raises = Callable[[Sequence[str], int], bool]


class Trial:
    """A state that raises when `raises` says so, given everything applied so far and the size of the step."""

    started = 0
    closed = 0

    def __init__(self, raises: Raises) -> None:
        self._raises = raises
        self._applied: list[str] = []
        self._next = {"orders": 10, "deliveries": 0}

    async def restore(self) -> Mapping[TP, int]:
        Trial.started += 1
        return self.positions()

    def positions(self) -> Mapping[TP, int]:
        return {TP(topic, 0): offset for topic, offset in self._next.items()}

    async def rehearse(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            assert batch.first == self._next[batch.topic], "a trial must not see a gap"
            self._next[batch.topic] = batch.next
            self._applied += [record_key(record).decode() for record in batch.records]
        if self._raises(self._applied, sum(len(batch.records) for batch in batches)):
            raise ZeroDivisionError

    async def close(self) -> None:
        Trial.closed += 1


def batch(topic: str, first: int, names: str) -> Batch:
    records: list[LogRecord] = [
        Record(name.encode(), b"", first + index, topic=topic) for index, name in enumerate(names)
    ]
    return Batch(topic, 0, 1, first, first + len(names), first + len(names), records)


BATCHES = [batch("orders", 10, "abc"), batch("deliveries", 0, "de"), batch("orders", 13, "fgh")]


@pytest.mark.parametrize(
    ("raises", "found"),
    [
        (lambda applied, _: "a" in applied, "a"),
        (lambda applied, _: "e" in applied, "e"),
        (lambda applied, _: "h" in applied, "h"),
        (lambda applied, _: {"b", "f"} <= set(applied), "f"),  # only after another one
        (lambda applied, size: size > 1 and {"c", "g"} <= set(applied), "g"),  # only in one step with others
        (lambda _, size: size > 5, "f"),  # no record is bad in itself: the one that makes it too much
        (lambda _applied, _size: False, None),  # it does not happen again: no record is blamed
    ],
)
async def test_the_record_is_the_one_with_which_it_raises_and_without_which_it_does_not(
    raises: Raises, found: str | None
) -> None:
    Trial.started = Trial.closed = 0
    record = await find_culprit(lambda: Trial(raises), BATCHES)
    assert (record_key(record).decode() if record is not None else None) == found
    assert Trial.started == Trial.closed > 0


async def test_a_cluster_that_fails_while_it_is_looked_for_blames_no_record() -> None:
    def unreachable(_applied: Sequence[str], _size: int) -> bool:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await find_culprit(lambda: Trial(unreachable), BATCHES)
