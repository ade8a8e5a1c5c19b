"""Rows: the sums of the counts, with their versions, in the partitions of their scopes; days that are no longer kept leave."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from schemas.facts import INVENTORY
from schemas.memory import KEPT, SIDE, SNAPSHOT, key_of
from tests.simulation.broken import BrokenError
from tests.simulation.committed import OTHERS, units_in
from tests.simulation.periods import Cell, Minute, day_of, periods_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from tests.simulation.cluster import Entry
    from tests.simulation.committed import Committed, TotalsPart
    from tests.simulation.thresholds import Thresholds


class Rows:
    """Checks the rows that totals publish.

    Args:
        so_far: What has been committed.
        thresholds: Judges rows by their numbers.
    """

    def __init__(self, so_far: Committed, thresholds: Thresholds) -> None:
        self._so_far = so_far
        self._world = so_far.world
        self._thresholds = thresholds
        #: The latest time of a step that has called something over or closed, microseconds since 1970.
        self._latest_us = 0

    def check_homes(self, number: int, found: dict[str, list[Entry]]) -> None:
        """A totals partition writes only to its partitions, and only about its scopes, and tells the others of targets."""
        catalogue = self._so_far.catalogue
        for topic in (catalogue.windows, catalogue.history, catalogue.milestones, catalogue.forecasts):
            # Most rows of a transaction are of a few scopes.
            entries = {(entry.partition, (entry.key or b"").split(b"/", 2)[1]): entry for entry in found[topic.name]}
            for (_, name), entry in entries.items():
                scope = name.decode()
                home = 0 if scope.startswith("source=") else self._so_far.home(scope)
                if entry.partition != number or home != number:
                    raise BrokenError("homes", f"totals {number} wrote {entry.key!r} to {topic.name}-{entry.partition}")
        if number and (
            found[catalogue.dead_letters.name] or found[catalogue.status.name] or found[catalogue.sides.name]
        ):
            raise BrokenError("homes", f"totals {number} speaks for the others")
        self._world.seen["events passed on to other totals"] += len(found[catalogue.sides.name])

    def hear(self, found: Mapping[str, list[Entry]], part: TotalsPart) -> tuple[list[Cell], set[Cell]]:
        """Takes the rows of a transaction. Returns those whose period has ended with it, and all of them."""
        over: list[Cell] = []
        published: set[Cell] = set()
        replaced = [orjson.loads(entry.value or b"") for entry in found[self._so_far.catalogue.history.name]]
        head = key_of(SIDE, f"{SNAPSHOT}head")
        self._world.seen["snapshots"] += sum(entry.key == head for entry in found[self._so_far.catalogue.totals.name])
        part.history.update({(row["metric"], row["scope"], row["period"]): row["version"] for row in replaced})
        self._hear_kept(part, found[self._so_far.catalogue.totals.name])
        self._so_far.before = {}
        for entry in found[self._so_far.catalogue.windows.name]:
            if entry.value is None:
                self._leave(part, entry.key or b"")
                continue
            row = orjson.loads(entry.value)
            key = (row["metric"], row["scope"], row["period"])
            before = self._so_far.table.get(key)
            self._check_version(key, row, before, replaced)
            if row["status"] != "open" and (before is None or before["status"] == "open"):
                over.append(key)
            self._check_status(key, row, before, part)
            self._so_far.put(key, row)
            self._so_far.before.setdefault(key, before)
            published.add(key)
            if key[0] != INVENTORY:
                part.unchecked.add(key)
                self._thresholds.judge(key, row["count"])
        return over, published

    def _check_version(
        self, key: Cell, row: dict[str, Any], before: dict[str, Any] | None, replaced: Collection[dict[str, Any]]
    ) -> None:
        """Checks the number of a version, and what it says of targets, control totals and versions before."""
        if before is not None and before["version"] == 1 and before not in replaced:
            raise BrokenError("history", f"the first version of {key} is replaced and nowhere else: {before}")
        if row["version"] != (before["version"] if before is not None else 0) + 1:
            raise BrokenError("versions", f"{key} is version {row['version']} after {before}")
        self._check_restated(key, row, before)
        if row["targets"] or row.get("controls"):
            _check_plans(key, row, before)

    def _check_status(self, key: Cell, row: dict[str, Any], before: dict[str, Any] | None, part: TotalsPart) -> None:
        """Checks that a period is not called over or closed by the clock before it is."""
        is_moved = before is not None and before.get("ends_at") != row.get("ends_at")
        self._world.seen["campaigns with another end"] += is_moved
        if not is_moved and row["status"] == (before["status"] if before is not None else "open"):
            return
        if row["status"] == "open":
            return
        due_s = self._so_far.end_s(key[2], row)
        due_s += self._world.settings.closed_after_s if row["status"] == "closed" else 0
        self._latest_us = max(self._latest_us, part.step_us)
        # What is over by a clock that is set back stays over.
        is_due = due_s <= self._latest_us / 1e6 or (
            self._world.settings.clock != "events"
            and self._world.clock_reached_s(int(due_s * 1000)) <= self._world.loop.time()
        )
        if not is_due:
            raise BrokenError("called over", f"{key} is {row['status']} at {part.step_us / 1e6}, which is too early")

    def _check_restated(self, key: Cell, row: dict[str, Any], before: dict[str, Any] | None) -> None:
        """Checks the number of versions since the first closed one, of which those that only add history are none."""
        expected = before["restated"] if before is not None else 0
        if before is not None and before["status"] == "closed":
            had, balance = before["count"], before.get("balance", 0)
            had += 0 if balance else row.get("balance", 0)
            expected += not 0 < row.get("backfilled", 0) - before.get("backfilled", 0) >= row["count"] - had
        if row["restated"] != expected:
            raise BrokenError("restated", f"{key} is restated {row['restated']} times, not {expected}: {before}, {row}")

    def check_inventories(self, scopes: Iterable[str]) -> None:
        """Checks that produced and undelivered vehicles have a row, in one transaction with the rows that it follows from."""
        if not self._world.settings.keeps_inventory:
            return
        for scope in scopes:
            produced, delivered, stock = (
                self._so_far.table.get((metric, scope, "total")) for metric in ("produced", "deliveries", INVENTORY)
            )
            expected = None if produced is None else produced["count"] - (delivered["count"] if delivered else 0)
            found = None if stock is None else stock["count"]
            if found != expected and (expected or stock is not None):
                raise BrokenError("inventory", f"{scope} has {found}, its rows give {expected}")
            self._world.seen["inventories"] += found is not None

    def _hear_kept(self, part: TotalsPart, entries: list[Entry]) -> None:
        for entry in entries:
            if entry.key == key_of(SIDE, f"{KEPT}model"):
                since = orjson.loads(entry.value or b"")["since"]
                if since < part.kept_since or since > self._first_kept(part):
                    raise BrokenError("kept days", f"{since} after {part.kept_since}, not {self._first_kept(part)}")
                part.kept_since = since

    def _first_kept(self, part: TotalsPart) -> str:
        """The first day for which models have rows, by the counts and the clock of the step."""
        days = self._world.plan.keep_days
        newest = max((day for _, (_, _, day) in part.summed.cells if isinstance(day, date)), default=None)
        if not days or newest is None or not part.step_us:
            return ""
        today = datetime.fromtimestamp(part.step_us / 1e6, self._so_far.zone).date()
        return str(min(newest, today) - timedelta(days=days))

    def may_lack(self, key: Cell) -> bool:
        """Whether the row may be missing because its day is not kept."""
        part, day = self._so_far.parts[self._so_far.home(key[1])], key[2].removeprefix("day:")
        is_day = key[2].startswith("day:") and key[1] != "all"
        return is_day and key not in self._so_far.table and day < max(part.kept_since, self._first_kept(part))

    def _leave(self, part: TotalsPart, name: bytes) -> None:
        """Checks a leaving row: its day is not kept, nothing waits for it, and the history has its last version."""
        metric, scope, period = name.decode().split("/")
        key = metric, scope, period
        row = self._so_far.remove(key)
        if not period.startswith("day:") or scope == "all" or period.removeprefix("day:") >= part.kept_since:
            raise BrokenError("kept days", f"{key} has left, kept are days from {part.kept_since} on")
        if part.history.get(key) != row["version"]:
            raise BrokenError("history", f"{key} has left, and its version {row['version']} is nowhere")
        part.unchecked.discard(key)
        self._world.seen["rows of days that left"] += 1

    def check_kept(self, waiting: Iterable[dict[str, Any]]) -> None:
        """Checks that no row of a day that is not kept is left, unless a retraction, or a milestone without its unit, waits."""
        named = {(data["scope"], data["period"]) for data in waiting}
        for number, part in enumerate(self._so_far.parts):
            for key in self._so_far.table:
                is_day = key[2].startswith("day:") and key[1] != "all" and self._so_far.home(key[1]) == number
                waits = key[1:] in named or any(name[1:3] == key[1:] for name in part.below_since_us)
                if is_day and key[2].removeprefix("day:") < part.kept_since and not waits:
                    raise BrokenError("kept days", f"{key} is there, kept are days from {part.kept_since} on")
            if part.kept_since != self._first_kept(part) and self._world.settings.clock != "events":
                raise BrokenError("kept days", f"days from {part.kept_since} on, not {self._first_kept(part)}")

    def consistent(self, published: set[Cell], part: TotalsPart) -> set[Cell]:
        """Within a step: the published rows and the other changes of the same metrics and scopes."""
        if self._so_far.kept is not None:
            # Which models were let in can be seen only when all of them are published.
            self._world.seen["parts of a step with limits"] += 1
            return {key for key in published if key[1] == "all"}
        if self._world.plan.part_rows < self._world.plan.series_records:
            return published  # so small that even the rows of one metric and scope are split
        self._world.seen["parts of a step"] += 1
        touched = {key[:2] for key in published}
        return {key for key in part.unchecked if key[:2] in touched}

    def check_sums(self, position: int, part: TotalsPart, keys: set[Cell]) -> None:
        summed = part.summed
        for key in keys:
            if self.may_lack(key) or self._so_far.is_left_as_it_is(key):
                continue
            count = units_in(self._so_far.table[key]) if key in self._so_far.table else 0
            expected = (
                summed.sums[key]
                if self._so_far.kept is None
                else self._so_far.kept.expected(self._so_far.table, summed.sums, key)
            )
            if count != expected and not self.is_to_come(key):
                raise BrokenError("sums", f"{key} is published as {count}, the counts up to {position} give {expected}")
            if self._so_far.kept is None and key in self._so_far.table:
                loaded = self._so_far.table[key].get("backfilled", 0)
                if loaded != summed.loaded[key]:
                    raise BrokenError("sums", f"{key} says {loaded} were loaded, the counts give {summed.loaded[key]}")
        part.unchecked = part.unchecked - keys

    def is_to_come(self, key: Cell) -> bool:
        """Whether a rolling window may lack a row because its last date has not begun: no later day has a row."""
        if not key[2].startswith("rolling:") or key in self._so_far.table:
            return False
        days = (
            period[4:]
            for metric, scope, period in self._so_far.table
            if period[:4] == "day:" and (metric, scope) == key[:2]
        )
        return key[2][-10:] >= max(days, default="")

    def check_minutes(self) -> None:
        """Checks that campaign rows have the minutes of the events; only the totals know which models are kept out."""
        expected: defaultdict[Cell, Counter[int]] = defaultdict(Counter)
        for shard in self._so_far.shards:
            for (metric, scope, part), count in shard.expected.items():
                if isinstance(part, Minute) and count:
                    expected[metric, scope, part.period][part.number] += count
        for key, row in self._so_far.table.items():
            if not key[2].startswith("campaign:") or (self._so_far.kept is not None and key[1] != "all"):
                continue
            if self._so_far.is_left_as_it_is(key):
                continue
            published = {number: count for number, count in enumerate(row["by_minute"]) if count}
            if published != expected[key]:
                raise BrokenError("end", f"{key} has the minutes {published}, the events give {expected[key]}")

    def check_hours(self) -> None:
        """Checks that days have the hours of the events, from the one in which days begin; only the totals know which models are kept out."""
        so_far = self._so_far
        expected: defaultdict[Cell, list[int]] = defaultdict(lambda: [0] * 24)
        for shard in so_far.shards:
            for of_order in shard.dated.values():
                for metric, scope, (time, _, _) in of_order:
                    hour = datetime.fromisoformat(time).astimezone(so_far.zone).hour - so_far.starts
                    for each in ("all", scope):
                        expected[metric, each, f"day:{so_far.date_of(time)}"][hour % 24] += 1
        for key, row in so_far.table.items():
            is_known = so_far.kept is None or key[1] == "all"
            if is_known and key[2].startswith("day:") and row["by_hour"] != expected[key]:
                raise BrokenError("end", f"{key} has the hours {row['by_hour']}, the events give {expected[key]}")

    def expected_sums(self) -> Counter[Cell]:
        """The count of each row by the events."""
        sums: Counter[Cell] = Counter()
        for shard in self._so_far.shards:
            for (metric, scope, part), count in shard.expected.items():
                of_minute = (part.period,) if isinstance(part, Minute) else None
                for period in of_minute or periods_of(day_of(part), self._so_far.calendar):
                    sums[metric, scope, period] += count
        if self._so_far.kept is None:
            return sums
        folded = self._so_far.kept.folded(self._so_far.table, sums)
        self._world.seen["models kept out"] += any(count and scope == OTHERS for (_, scope, _), count in folded.items())
        return folded


def _check_plans(key: Cell, row: dict[str, Any], before: dict[str, Any] | None) -> None:
    """Checks which targets a row says are reached, and the differences from other systems' counts."""
    for each in row["targets"]:
        if each["reached"] is not (row["count"] >= each["value"]):
            raise BrokenError("plans", f"{key} has {row['count']} and says {each}")
    earlier = {each["source"]: each for each in (before or {}).get("controls", [])}
    for each in row.get("controls", []):
        since, was = each.get("differs_since"), earlier.get(each["source"], {}).get("differs_since")
        differs = each["difference"] != 0
        if each["difference"] != row["count"] - each["count"] or differs is not (since is not None):
            raise BrokenError("plans", f"{key} has {row['count']} and says {each}")
        if differs and since != (was or row["updated_at"]):
            raise BrokenError("plans", f"{key} differs since {was or row['updated_at']}, and says {each}")
