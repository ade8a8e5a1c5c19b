"""The ends of periods: none is over before everything from before its end is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.notes import Place
from schemas.outputs import source_name
from tests.simulation.broken import BrokenError
from tests.simulation.committed import home_of
from tests.simulation.periods import Cell, end_of_day_s

if TYPE_CHECKING:
    from datetime import datetime

    from streams.kafka.log import Partition
    from tests.simulation.committed import Committed, Summed


class Over:
    """Checks rows that are called over.

    Args:
        so_far: What has been committed.
    """

    def __init__(self, so_far: Committed) -> None:
        self._so_far = so_far
        self._world = so_far.world
        #: Periods that were over before the totals knew of a partition that had been added.
        self._over_without: set[tuple[str, tuple[str, int]]] = set()

    def check(self, key: Cell, summed: Summed) -> None:
        """Checks that everything appended before the end of a day was counted when the day was declared over."""
        kind, _, text = key[2].partition(":")
        if kind not in ("day", "campaign") or self._world.settings.clock == "events":
            return
        if kind == "day":
            end_ms = int(end_of_day_s(text, self._so_far.zone, self._so_far.starts) * 1000)
        else:
            end_ms = int(self._so_far.end_s(key[2], self._so_far.table[key]) * 1000)
            self._world.seen["campaigns that are over"] += 1
        for tp in self._world.sources():
            if (key[2], tp) not in self._over_without:
                self._check_all_counted(key, tp, end_ms, summed)

    def check_read_up_to(self, what: str, instant: datetime, summed: Summed) -> None:
        """Checks that everything appended before an instant was counted, as everything before the end of a day must be."""
        for tp in self._world.sources() if self._world.settings.clock != "events" else ():
            if (what, tp) not in self._over_without:
                self._check_all_counted(("", "", what), tp, int(instant.timestamp() * 1000), summed)

    def _check_all_counted(self, key: Cell, tp: Partition, end_ms: int, summed: Summed) -> None:
        """Checks of a partition that what was appended before an instant is counted, at its home if it was forwarded."""
        reached_s = self._world.clock_reached_s(end_ms)
        number = tp.partition % len(self._so_far.shards)
        position = summed.markers[number].positions.get(source_name(*tp, number), (0, ""))[0]
        for entry in self._world.cluster.entries(tp):
            if entry.timestamp >= end_ms or entry.appended_s >= reached_s or entry.is_marker or entry.is_aborted:
                continue
            place = Place(*tp, entry.offset)
            if entry.offset >= position:
                if source_name(*tp, number) not in summed.markers[number].positions:
                    self._over_without.add((key[2], tp))
                    return
                raise BrokenError("called over", f"{key} is over and {place} of before its end was not read")
            home = home_of(entry.key, len(self._so_far.shards))
            if home == number or place in self._so_far.lost or not self._world.is_event(entry):
                continue
            arrived = self._so_far.forwarded.get(place)
            if arrived is None or summed.markers[home].positions[self._so_far.topics.rerouted][0] <= arrived[1]:
                raise BrokenError("called over", f"{key} is over and {place} is on its way to ledger {home}")

    def still_open(self) -> list[Cell]:
        """Periods that ended long ago by the machines' clock but are not closed."""
        if self._world.settings.clock == "events":
            return []
        now_s = self._world.now_us() / 1e6 - self._world.settings.closed_after_s
        return [
            key
            for key, row in self._so_far.table.items()
            if row["status"] != "closed"
            and self._so_far.end_s(key[2], row) <= now_s
            and not self._so_far.is_left_as_it_is(key)
        ]
