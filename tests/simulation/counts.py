"""The units of each order, counted again, and compared with what ledger partitions publish."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.broken import BrokenError
from tests.simulation.periods import Counted, Minute, Part
from tests.simulation.vehicles import delivery_of
from tests.support.recount import judged

if TYPE_CHECKING:
    from collections.abc import Collection

    from schemas.facts import Metric
    from tests.simulation.committed import Committed, Shard


class Counts:
    """Counts orders again.

    Args:
        so_far: What has been committed.
    """

    def __init__(self, so_far: Committed) -> None:
        self._so_far = so_far
        self._world = so_far.world

    def count_again(self, shard: Shard, order_id: str) -> None:
        """The units and contradictions of one order, by the plain rules of `tests.support.recount`."""
        before = shard.cells.get(order_id, [])
        found, shard.contradictions[order_id] = judged(list(shard.orders[order_id].values()))
        dated = [(metric, model, self._so_far.date_of(event["time"])) for metric, event, model in found]
        days: list[Counted] = [(metric, self._so_far.counted_as(model, day), day) for metric, model, day in dated]
        now = shard.cells[order_id] = [
            cell
            for (metric, model, day), (_, event, _) in zip(days, found, strict=True)
            for part in (day, *self._so_far.minutes_of(event["time"], shard.campaigns or {}))
            for cell in self._cells_at(metric, model, part, shard)
        ]
        shard.dated[order_id] = [
            (metric, f"model={model}", (event["time"], event["id"], event["source"]))
            for (metric, model, _), (_, event, _) in zip(days, found, strict=True)
        ]
        shard.unjudged.add(order_id)
        shard.untold.add(order_id)
        for key in [key for key in shard.standing if key[1] == order_id]:
            del shard.standing[key]
        for metric, event, _ in found:
            if metric == "deliveries":
                shard.standing[event["data"]["vin"], order_id] = delivery_of(event)
        loaded_before = shard.loaded_cells.get(order_id, [])
        loaded = shard.loaded_cells[order_id] = [
            cell
            for (metric, model, day), (_, event, _) in zip(days, found, strict=True)
            if event.get("backfill")
            for cell in self._cells_at(metric, model, day, shard)
        ]
        for sign, cells in ((-1, before), (1, now)):
            for cell in cells:
                shard.expected[cell] += sign
                shard.uncompared.add(cell)
        for sign, cells in ((-1, loaded_before), (1, loaded)):
            for cell in cells:
                shard.loaded[cell] += sign

    @staticmethod
    def _cells_at(metric: Metric, model: str, part: Part, shard: Shard) -> list[Counted]:
        """The cells in which a unit of a model is counted."""
        of_model: Counted = (metric, f"model={model}", part)
        campaign = (shard.campaigns or {}).get(part.period) if isinstance(part, Minute) else None
        return [of_model] if campaign is not None and not campaign.is_of_all else [(metric, "all", part), of_model]

    def compare(self, number: int, shard: Shard, cells: Collection[Counted]) -> None:
        wrong = [cell for cell in cells if shard.counts.get(cell, 0) != shard.expected.get(cell, 0)]
        if wrong:
            cell = min(wrong, key=str)
            raise BrokenError(
                "recount",
                f"ledger {number} says {shard.counts.get(cell, 0)} for {cell}, its records give"
                f" {shard.expected.get(cell, 0)} ({len(wrong)} cells differ)",
            )
        for cell in cells:
            if shard.told_loaded.get(cell, 0) != shard.loaded[cell]:
                raise BrokenError(
                    "recount",
                    f"ledger {number} says that {shard.told_loaded.get(cell, 0)} of {cell} were loaded as history,"
                    f" its records give {shard.loaded[cell]}",
                )
