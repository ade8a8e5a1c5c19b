"""Contradictions between events, and deliveries of vehicles that were not produced: those published are those that the events give."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from tests.simulation.broken import BrokenError
from tests.simulation.committed import home_of
from tests.simulation.vehicles import Told

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.outputs import Marker
    from streams.kafka.log import Partition
    from tests.simulation.cluster import Entry
    from tests.simulation.committed import Committed, Contradiction, Shard


class Contradictions:
    """Compares published violations with the events.

    Args:
        so_far: What has been committed.
    """

    def __init__(self, so_far: Committed) -> None:
        self._so_far = so_far
        self._world = so_far.world
        count = len(so_far.shards)
        #: The contradictions that are published, by ledger partition and order.
        self.published: list[dict[str, list[Contradiction]]] = [{} for _ in so_far.shards]
        #: Ledger partition → how far it had read the sources when its state was deleted.
        self.read_before: list[dict[Partition, int]] = [{} for _ in so_far.shards]
        self.told = Told(lambda vin: home_of(vin.encode(), count), _not_told_so, so_far.world.seen)
        since = so_far.world.context.produced_since_us
        self._since_us = 0 if since is None else since

    def forget_internals(self, *, told: bool) -> None:
        """The internal topics are about to be deleted; the reports of ledger partitions to each other may stay."""
        if told:
            self.told.forget()
        self.told.restart()
        self.read_before = [dict(shard.positions) for shard in self._so_far.shards]

    def check_end(self) -> None:
        """Checks that in the end all contradictions are published, and all deliveries told."""
        for number, shard in enumerate(self._so_far.shards):
            judged_here = shard.contradictions.keys() | self.told.vehicles(number)
            self.compare(number, shard, self.published[number].keys() | judged_here)
            for (vin, order_id), delivery in shard.standing.items():
                home = home_of(vin.encode(), len(self._so_far.shards))
                if self._world.plan.produces and not self.told.has_heard(home, vin, delivery):
                    raise BrokenError("told", f"ledger {home} has not heard of {vin}, delivered under {order_id}")

    def forget_judging(self) -> None:
        """The states are now those of a version that judged no deliveries by production: everything must be reported."""
        self.told.forget()
        for shard, published in zip(self._so_far.shards, self.published, strict=True):
            shard.untold.update(shard.orders)
            shard.unjudged.update(published)

    def hear(self, number: int, shard: Shard, records: list[Entry]) -> None:
        published = self.published[number]
        for record in records:
            order_id = (record.key or b"").decode()
            if record.partition != number:
                raise BrokenError("violations", f"those of {order_id} are in partition {record.partition}")
            shard.unjudged.add(order_id)
            if record.value is None:
                published.pop(order_id, None)
                self._world.seen["violations resolved"] += 1
                continue
            body = orjson.loads(record.value)
            said = [(one["kind"], one["source"], one["id"]) for one in body["violations"]]
            if self._world.plan.produces and said == published.get(order_id):
                raise BrokenError("violations", f"{said} of {order_id} are published again")
            published[order_id] = said
            self._world.seen["violations"] += 1

    def hear_told(self, number: int, shard: Shard, records: list[Entry], marker: Marker) -> bool:
        """Takes the reports sent and received about deliveries. Returns whether violations are withheld."""
        state = marker.told
        if state is None:
            if self._world.plan.produces or records:
                raise BrokenError("told", f"the marker of ledger {number} says nothing of what was told")
            return False
        has_read = all(shard.positions[tp] >= before for tp, before in self.read_before[number].items())
        self.told.tell(number, records, has_read=has_read)
        waited = self.told.words_of_others(records, shard.touched)
        if waited > self._world.plan.part_rows:
            raise BrokenError(
                "told", f"ledger {number} tells of {waited} deliveries that have waited, in one transaction"
            )
        shard.unjudged |= self.told.hear(number, state, len(self._so_far.shards))
        if state.is_all:
            self.told.check_told(number, shard.standing, shard.untold)
            shard.untold = set()
        self._world.seen["contradictions withheld"] += state.withheld
        return state.withheld

    def compare(self, number: int, shard: Shard, order_ids: Iterable[str]) -> None:
        for order_id in sorted(order_ids):
            said, expected = self.published[number].get(order_id, []), shard.contradictions.get(order_id, [])
            some = self.told.found(number, order_id, shard.orders.get(order_id, {}).values(), self._since_us)
            self._world.seen["vehicles delivered and not produced"] += bool(some)
            expected = [*expected, *some]
            if said != expected:
                raise BrokenError(
                    "violations", f"ledger {number} says {said} of {order_id}, its records give {expected}"
                )


def _not_told_so(what: str) -> BrokenError:
    return BrokenError("told", what)
