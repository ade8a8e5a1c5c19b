"""`milestones rebuild`: what it claims to have counted is there."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from schemas.facts import INVENTORY
from schemas.notes import Place
from tests.simulation.broken import BrokenError
from tests.simulation.committed import units_in
from tests.simulation.history import life_of
from tests.simulation.periods import Cell, periods_of
from tests.support.recount import judged

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streams.kafka.log import Partition
    from tests.simulation.committed import Committed
    from tests.simulation.rows import Rows


class Rebuilt:
    """Checks the claim of a rebuild.

    Args:
        so_far: What has been committed.
        rows: Knows which rows may be missing.
    """

    def __init__(self, so_far: Committed, rows: Rows) -> None:
        self._so_far = so_far
        self._world = so_far.world
        self._rows = rows

    def check_counted_again(self, ends: Mapping[Partition, int], records: int) -> None:
        """Checks a rebuild's claim that everything from before it began is applied, summed and published.

        Args:
            ends: The ends of the sources when it began.
            records: How many of their records it claims to have read.
        """
        for tp, end in sorted(ends.items()):
            if self._so_far.position(tp) < end:
                raise BrokenError("rebuild", f"{tp} stands at {self._so_far.position(tp)} of {end}")
        there = [
            (place, entry)
            for tp, end in ends.items()
            for entry in self._world.between(tp, 0, end)
            if entry.is_visible and (place := Place(*tp, entry.offset)) not in self._so_far.lost
        ]
        if records < len(there):
            raise BrokenError("rebuild", f"{records} records were counted again, there were {len(there)}")
        then = self._sums_of(
            self._world.event_of(entry)
            for place, entry in there
            if self._world.is_event(entry) and place not in self._so_far.dead
        )
        moving = self._moving_since(ends)
        announced = {f"campaign:{event['data']['campaign']}" for event in self._so_far.announcements()}
        for key in sorted(key for key in then.keys() | self._so_far.table.keys() if key[2] not in announced):
            count = units_in(self._so_far.table[key]) if key in self._so_far.table else 0
            is_compared = key[0] != INVENTORY and not self._rows.is_to_come(key) and not self._rows.may_lack(key)
            if count != then[key] and key[2] not in moving and is_compared:
                raise BrokenError("rebuild", f"{key} is published as {count}, the records give {then[key]}")

    def _moving_since(self, ends: Mapping[Partition, int]) -> set[str]:
        """Periods whose rows may have more or less than at these ends: those of all orders with later events."""
        later = {
            life_of(self._world.event_of(entry)["data"])
            for tp in self._world.sources()
            for entry in self._world.between(tp, ends.get(tp, 0), self._world.cluster.high_water(tp))
            if not entry.is_marker and self._world.is_event(entry)
        }
        return {
            period
            for shard in self._so_far.shards
            for order_id in later & shard.orders.keys()
            for event in shard.orders[order_id].values()
            for period in self._periods_at(event["time"])
        }

    def _sums_of(self, events: Iterable[dict[str, Any]]) -> Counter[Cell]:
        orders: dict[str, dict[tuple[str, str], dict[str, Any]]] = defaultdict(dict)
        for event in events:
            orders[life_of(event["data"])].setdefault((event["source"], event["id"]), event)
        sums: Counter[Cell] = Counter()
        for known in orders.values():
            for metric, event, model in judged(list(known.values()))[0]:
                day = self._so_far.date_of(event["time"])
                for period in self._periods_at(event["time"]):
                    sums.update(
                        [(metric, "all", period), (metric, f"model={self._so_far.counted_as(model, day)}", period)]
                    )
        return sums

    def _periods_at(self, text: str) -> tuple[str, ...]:
        """Ids of the periods that an instant is in; only campaigns that no event has announced are included."""
        announced = {f"campaign:{event['data']['campaign']}" for event in self._so_far.announcements()}
        settled = {period: each for period, each in self._so_far.of_settings.items() if period not in announced}
        of_date = periods_of(self._so_far.date_of(text), self._so_far.calendar)
        return (*of_date, *(minute.period for minute in self._so_far.minutes_of(text, settled)))
