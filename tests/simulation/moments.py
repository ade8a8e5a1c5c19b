"""The exact moment: the unit of a milestone is the N-th of those that stood when it was found."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from itertools import product
from typing import TYPE_CHECKING, Any

import orjson

from schemas.codec import decode_cut
from schemas.memory import CUT, SIDE, WAITING, key_of
from schemas.notes import Place
from schemas.questions import decode_questions
from streams.kafka.log import Partition
from tests.simulation.broken import BrokenError
from tests.simulation.committed import OTHERS, offsets_in
from tests.simulation.decided import RETRACTED
from tests.simulation.periods import periods_of
from tests.simulation.thresholds import number_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.facts import Metric
    from schemas.memory import FoundAt
    from schemas.questions import Answer, Question
    from tests.simulation.cluster import Entry
    from tests.simulation.committed import Committed, Shard
    from tests.simulation.decided import Decided
    from tests.simulation.thresholds import Thresholds


class Moments:
    """Checks the units that milestones name.

    Args:
        so_far: What has been committed.
        thresholds: Is told which milestones no longer stand.
        decided: Is told of those that wait.
    """

    def __init__(self, so_far: Committed, thresholds: Thresholds, decided: Decided) -> None:
        self._so_far = so_far
        self._world = so_far.world
        self._thresholds, self._decided = thresholds, decided
        #: Questions about units by id, and what each ledger partition counted when it answered one.
        self._questions: dict[str, Question] = {}
        self._answered: dict[str, dict[int, list[list[tuple[str, str, str]]]]] = defaultdict(dict)
        #: Ledger partition and its positions → what it counted then, as `dated`.
        self.units_at: dict[tuple[Any, ...], dict[str, list[tuple[Metric, str, tuple[str, str, str]]]]] = {}
        #: Milestone → how far its ledger partitions had read when its unit was found, as published with it.
        self._cuts: dict[str, FoundAt] = {}
        #: Events that already have their unit and wait behind others.
        self.had_units: set[str] = set()
        #: Milestone events that wait for their units, by the key of the record that remembers them.
        self.waiting: dict[bytes, dict[str, Any]] = {}

    def forget_internals(self) -> None:
        """The internal topics are deleted: what waited is judged again."""
        for event in self.waiting.values():
            self._thresholds.turn(event, back=True)
            self._thresholds.forgotten.add(number_of(event["data"]))
        self.waiting = {}
        self._so_far.forget_decided()

    def note_answer(self, number: int, shard: Shard, answer: Answer) -> None:
        """Notes the units that the shard counts when it answers: the unit found must follow from these."""
        question = self._questions.get(answer.id)
        if question is None:
            return  # from before the internal topics were deleted
        units = units_of(shard.dated, question.metric, question.scope)
        self._answered[answer.id].setdefault(number, []).append(units)

    def check_unit(self, name: str, data: dict[str, Any]) -> None:
        """Checks that a milestone's unit is the N-th of its window, among the units that stood when the shards answered."""
        if data.get("position") is None:
            self._world.seen["milestones without their unit"] += 1
            return
        achieved = datetime.fromisoformat(data["achieved_at"])
        day = self._so_far.date_of(data["achieved_at"]).isoformat()
        if day != data["achieved_on"] or not data["start"] <= day <= data["end"]:
            raise BrokenError("moment", f"{name} was achieved at {achieved}, and on {data['achieved_on']}")
        self._check_length(name, data, achieved)
        self._check_cause(name, data["cause"])
        if self._so_far.kept is not None and data["scope"] == OTHERS:
            return  # which models those are is known to the totals
        unit = (achieved, data["cause"]["event_id"], data["cause"]["event_source"])
        # The latest unit of a window may have been known without asking, now or while the milestone waited behind others.
        markers = self._so_far.parts[self._so_far.home(data["scope"])].summed.markers
        cuts = [{number: offsets_in(marker) for number, marker in markers.items()}]
        said = self._cuts.get(data["milestone_id"])
        if said is not None and said.revision == data["revision"]:
            cuts.append(said.positions)
        told = [
            tuple(
                units_of(self.units_at.get(stand_of(number, offsets), {}), data["metric"], data["scope"])
                for number, offsets in cut.items()
            )
            for cut in cuts
        ]
        for id_, answers in self._answered.items():
            question = self._questions[id_]
            if (question.metric, question.scope) == (data["metric"], data["scope"]) and len(answers) == len(
                self._so_far.shards
            ):
                told += product(*answers.values())
        found = set()
        for one_of_each in told:
            units = sorted(
                (datetime.fromisoformat(time), event_id, source)
                for units in one_of_each
                for time, event_id, source in units
                if _is_between(time, data)
                and (
                    "starts_at" in data
                    or data["period"] in periods_of(self._so_far.date_of(time), self._so_far.calendar)
                    or data["start"] <= self._so_far.date_of(time).isoformat() <= data["end"]
                )
            )
            position = data["position"] - data.get("balance", 0)
            if len(units) >= position:
                found.add(units[position - 1])
        if unit not in found:
            raise BrokenError(
                "moment", f"unit {data['position']} of {name} is said to be {unit}, the events give {found}"
            )
        self._world.seen["milestones with their unit"] += 1

    def _check_cause(self, name: str, cause: dict[str, Any]) -> None:
        """Checks that the event of the unit is where it is said to have been published, unless retention has removed it."""
        place = Place(cause["topic"], cause["partition"], cause["offset"])
        tp = Partition(place.topic, place.partition)
        if tp.topic not in self._so_far.topics.published:
            raise BrokenError("moment", f"{name} is caused by a record of {tp}, which nobody publishes to")
        if place.offset < self._world.cluster.bounds(tp).first:
            return
        event = self._world.event_of(self._world.source_entry(place))
        if (event["id"], event["source"]) != (cause["event_id"], cause["event_source"]):
            raise BrokenError("moment", f"{name} is caused by {cause}, and there is {event['id']} of {event['source']}")

    def check_order(self, events: list[dict[str, Any]]) -> None:
        """Checks that smaller numbers come first, and that what is decided later waits for what has no unit yet.

        Args:
            events: Those of a transaction that are no alerts.
        """
        numbers: dict[tuple[str, ...], int] = {}
        waiting = {(event["data"]["metric"], event["data"]["scope"]) for event in self.waiting.values()}
        for event in events:
            data = event["data"]
            if event["id"] not in self.completed and (data["metric"], data["scope"]) in waiting:
                raise BrokenError("moment", f"{event['id']} is published before others of its scope that wait")
            if event["type"] != RETRACTED and data["kind"] in {"threshold", "multiple"}:
                row = data["metric"], data["scope"], data["period"], data["kind"], data["detected_at"]
                if data["threshold"] < numbers.get(row, 0):
                    raise BrokenError("moment", f"{event['id']} comes after {numbers[row]}")
                numbers[row] = data["threshold"]

    def _check_length(self, name: str, data: dict[str, Any], achieved: datetime) -> None:
        if "starts_at" in data:
            after_s = (achieved - datetime.fromisoformat(data["starts_at"])).total_seconds()
            if data["after_s"] != after_s:
                raise BrokenError("moment", f"{name} was achieved after {data['after_s']} s, not {after_s}")
            self._world.seen["milestones of campaigns with their unit"] += 1

    def hear_waiting(self, entries: list[Entry], questions: list[Entry]) -> None:
        """Takes events that are remembered until their units are known, and already stand; publishing one forgets it."""
        for entry in questions:
            for question in decode_questions(entry.value or b""):
                self._questions[question.id] = question
                where = "among the latest" if question.after is not None else "in a whole hour"
                self._world.seen[f"unit looked for {where}"] += 1
        self.completed: set[str] = set()
        cut = key_of(SIDE, CUT)
        self._cuts.update(
            (entry.key[len(cut) :].decode(), decode_cut(entry.value))
            for entry in entries
            if entry.key is not None and entry.key.startswith(cut) and entry.value is not None
        )
        for entry in entries:
            if not (entry.key or b"").startswith(key_of(SIDE, WAITING)):
                continue
            if entry.value is not None:
                event = self.waiting[entry.key or b""] = orjson.loads(entry.value)
                self._decided.hear(event)
                self._world.seen["milestones that wait"] += 1
                if event["data"]["achieved_at"]:
                    self.check_unit(event["id"], event["data"])
                    self.had_units.add(event["id"])
            else:
                self.completed.add(self.waiting.pop(entry.key or b"")["id"])


def _is_between(time: str, data: dict[str, Any]) -> bool:
    """Whether an instant is within a milestone's campaign; always true for other windows."""
    if "starts_at" not in data:
        return True
    first, end = (datetime.fromisoformat(data[name]) for name in ("starts_at", "ends_at"))
    return first <= datetime.fromisoformat(time) < end


def stand_of(number: int, offsets: Mapping[str, int]) -> tuple[Any, ...]:
    """A ledger partition, and how far it has read its sources."""
    return number, *sorted(offsets.items())


def units_of(
    dated: Mapping[str, list[tuple[Metric, str, tuple[str, str, str]]]], metric: str, scope: str
) -> list[tuple[str, str, str]]:
    """The units of a metric and scope."""
    return [
        unit
        for of_order in dated.values()
        for of, of_model, unit in of_order
        if of == metric and scope in ("all", of_model)
    ]
