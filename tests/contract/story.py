"""Runs the stories of the contract's document: what arrives, and what is then published."""

from __future__ import annotations

import json
import re
import tomllib
from typing import TYPE_CHECKING, Any

from streams.domain.calendar import DEFAULT_WINDOWS
from streams.installation import rules_of, targets_of
from streams.settings import RuleSettings, TargetSettings
from tests.domain.totals_world import SCOPE, World

if TYPE_CHECKING:
    from streams.domain.rules import Rule, Target
    from streams.domain.totals import Step

_COUNT = re.compile(r"count (\S+) (\d+)(?: of (\S+))?(?: backfilled (\d+))?")
_ROW = re.compile(r"row (\S+) (.+)")
_MILESTONE = re.compile(r"(raised|recorded|retracted|reinstated) +(\S+) @(\d+)")


class _Rules:
    """As much of the settings as rules and targets are made of."""

    def __init__(self) -> None:
        self.rule: list[RuleSettings] = []
        self.target: list[TargetSettings] = []

    def rules(self) -> tuple[Rule, ...]:
        return tuple(rules_of(self))  # type: ignore[arg-type] # it has what is asked of settings

    def targets(self) -> tuple[Target, ...]:
        return tuple(targets_of(self))  # type: ignore[arg-type] # it has what is asked of settings


def run(story: str) -> None:
    """Runs a story, line by line.

    Raises:
        AssertionError: Something else happens than the story says; the line names where.
    """
    _Story(story).run()


class _Story:
    def __init__(self, story: str) -> None:
        self._lines = [line for line in story.splitlines() if line.strip() and not line.startswith("#")]
        self._rules = _Rules()
        self._windows = DEFAULT_WINDOWS
        self._rolling: dict[int, tuple[tuple[str, ...], ...]] = {}
        self._world: World | None = None
        self._step: Step | None = None
        self._said: list[str] = []

    def run(self) -> None:
        for line in self._lines:
            if line.startswith("  "):
                self._expect(line.strip())
            else:
                self._end_of_step()
                self._arrive(line)
        self._end_of_step()

    @property
    def _open_world(self) -> World:
        if self._world is None:
            self._world = World(
                *self._rules.rules(), targets=self._rules.targets(), windows=self._windows, rolling=self._rolling
            )
        return self._world

    def _arrive(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "rule":
            self._rules.rule.append(RuleSettings(**_toml(rest)))
        elif word == "windows":
            self._windows = tuple(json.loads(rest))
        elif word == "rolling":
            self._rolling[int(rest)] = (("model",), ())
        elif word == "target":
            self._rules.target.append(TargetSettings(**_toml(rest)))
        elif word == "balance":
            time, units = rest.split(" ")
            self._open_world.balance(time, int(units))
        elif word == "restart":
            self._open_world.restart(*self._rules.rules(), targets=self._rules.targets())
        elif word == "count":
            match = _COUNT.fullmatch(line)
            assert match, line
            self._open_world.put(match[1], int(match[2]), backfilled=int(match[4] or 0), scope=match[3] or SCOPE)
        else:
            assert word == "at", line
            self._step = self._open_world.step(rest)

    def _expect(self, line: str) -> None:
        assert self._step is not None, line
        row = _ROW.fullmatch(line)
        if row:
            self._expect_row(line, row[1], row[2])
        else:
            self._said.append(line)

    def _expect_row(self, line: str, key: str, fields: str) -> None:
        found = self._open_world.rows[key]
        for field in fields.split(" "):
            name, _, value = field.partition("=")
            assert str(getattr(found, name)) == value, f"{line}: {name} is {getattr(found, name)}"

    def _end_of_step(self) -> None:
        """What the story has said of a step must be all its milestones, in their order."""
        if self._step is None:
            return
        happened = [(event.type.split(".")[1], event.subject, event.data.revision) for event in self._step.milestones]
        expected = []
        for line in self._said:
            match = _MILESTONE.fullmatch(line)
            assert match or line == "nothing", line
            if match:
                expected.append((match[1], match[2], int(match[3])))
        assert happened == expected
        self._step, self._said = None, []


def _toml(table: str) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(f"it = {table}")["it"]
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
