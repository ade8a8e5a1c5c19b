"""Targets, opening balances and control totals: rows show those in force."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Any

import orjson

from schemas.notes import Place
from streams.kafka.log import Partition
from tests.simulation.broken import BrokenError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.simulation.committed import Committed
    from tests.simulation.periods import Cell
    from tests.simulation.rows import Rows


class Plans:
    """Compares rows with the events of plans.

    Args:
        so_far: What has been committed.
        rows: Knows which rows may be missing.
    """

    def __init__(self, so_far: Committed, rows: Rows) -> None:
        self._so_far = so_far
        self._world = so_far.world
        self._rows = rows

    def check_end(self) -> None:
        """Checks that rows show the targets and balances in force and the latest control totals, in whatever partition."""
        if self._world.settings.clock == "events":
            return  # a target whose time has not come by the last event is not in force
        plans = self.events()
        in_force, balances = self._targets_in(plans), self._balances_in(plans)
        totals: dict[Cell, dict[str, int]] = defaultdict(dict)
        for event in plans:
            data = event["data"]
            if event["type"] == "control.total.v1":
                totals[data["metric"], data["scope"], data["period"]][event["source"]] = data["count"]
        for key in self._so_far.table.keys() | in_force.keys() | totals.keys() | balances.keys():
            row = self._so_far.table.get(key, {"targets": [], "controls": []})
            shown = {each["target_id"]: each["value"] for each in row["targets"]}
            said_reached = {each["target_id"] for each in row["targets"] if each["reached"]}
            reached = {target_id for target_id, value in shown.items() if row["count"] >= value}
            if said_reached != reached:
                raise BrokenError(
                    "plans", f"{key} shows as reached {said_reached}, and with {row['count']} it is {reached}"
                )
            said = {each["source"]: each["count"] for each in row.get("controls", [])}
            values = {target_id: of["value"] for target_id, of in in_force.get(key, {}).items()}
            wanted = values, totals.get(key, {}), balances.get(key, 0)
            if not self._rows.may_lack(key) and (shown, said, row.get("balance", 0)) != wanted:
                raise BrokenError(
                    "plans", f"{key} shows {shown}, {said}, {row.get('balance', 0)}; in force are {wanted}"
                )
            self._check_reached(key, in_force.get(key, {}))

    def _check_reached(self, key: Cell, targets: Mapping[str, dict[str, Any]]) -> None:
        """Checks that of targets in force exactly those stand that are reached, and of their shares likewise."""
        count = self._so_far.table.get(key, {"count": 0})["count"]
        for target_id, of in targets.items():
            value = of["value"]
            wanted = {f"target:{target_id}:{value}": value}
            wanted |= {
                f"share:{target_id}:{value}:{share}": ceil(Fraction(str(share)) * value) for share in of.get("at", ())
            }
            for name, units in wanted.items():
                stands = "/".join((*key, name)) in self._so_far.standing
                if stands != (count >= units):
                    raise BrokenError("plans", f"{name} of {key} {'stands' if stands else 'does not stand'} at {count}")
                self._world.seen["targets and shares that stand"] += stands

    def _targets_in(self, plans: list[dict[str, Any]]) -> dict[Cell, dict[str, dict[str, Any]]]:
        """Row → target and what it says, for the targets that are in force after some events."""
        targets: dict[str, dict[str, Any] | None] = {
            start.target_id: start.model_dump() for start in self._world.settings.target
        }
        for event in plans:
            data = event["data"]
            if "target_id" in data:
                targets[data["target_id"]] = data if "value" in data else None
        found: dict[Cell, dict[str, dict[str, Any]]] = defaultdict(dict)
        for target_id, of in targets.items():
            # A target of a window that is not counted has no row.
            if of is not None and (of["period"] != "total" or "total" in self._so_far.calendar.windows):
                found[of["metric"], of["scope"], of["period"]][target_id] = of
        return found

    def _balances_in(self, plans: list[dict[str, Any]]) -> dict[Cell, int]:
        """Row → its opening balance after some events."""
        found: dict[Cell, int] = {}
        for event in plans if "total" in self._so_far.calendar.windows else ():
            data = event["data"]
            if event["type"] == "balance.set.v1":
                found[data["metric"], data["scope"], "total"] = data["count"]
        self._world.seen["opening balances"] += len(found)
        return found

    def events(self) -> list[dict[str, Any]]:
        """The valid events of targets and control totals, in their defined order."""
        parts = [Partition(topic, 0) for topic in self._world.context.side_topics]
        entries = [entry for part in parts for entry in self._world.cluster.entries(part)]
        errors = self._so_far.side_errors
        valid = [entry for entry in entries if Place(entry.topic, entry.partition, entry.offset) not in errors]
        events = [orjson.loads(entry.value or b"") for entry in valid if not entry.is_marker]
        return sorted(events, key=lambda event: (event["time"], event["id"]))
