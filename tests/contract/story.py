"""Runs the stories of the contract's document: what arrives, and what is then published."""

from __future__ import annotations

import json
import re
import tomllib
from typing import TYPE_CHECKING, Any

from schemas.outputs import ProjectedDate, ProjectedTotal
from streams.domain.alerts.early_warnings import EarlyWarnings, TargetPlace
from streams.domain.time.calendar import DEFAULT_WINDOWS
from streams.installation import rules_of, targets_of
from streams.settings_sections import CampaignSettings, RuleSettings, TargetSettings
from tests.domain.forecast_world import CALENDAR, a_forecast
from tests.domain.totals_world import SCOPE, World

if TYPE_CHECKING:
    from schemas.memory import LastExpected
    from schemas.outputs import Forecast, MilestoneEvent
    from streams.domain.milestones.step_parts import Step
    from streams.domain.rules import Rule, Target
    from streams.domain.time.campaigns import Campaign

_COUNT = re.compile(r"count (\S+) (\d+)(?: of (\S+))?(?: backfilled (\d+))?")
_MINUTE = re.compile(r"orders (\d+) in minute (\d+) of (\S+)")
_ROW = re.compile(r"row (\S+) (.+)")
_MILESTONE = re.compile(r"(raised|recorded|retracted|reinstated) +(\S+) @(\d+)")
_FORECAST = re.compile(r"forecast (\S+) (\d+|unknown)(?: on (\S+))?(?: (reached|missed))?(?: loaded (\d+))?")
#: The period of the targets in stories about forecasts.
_HORIZON = "2024-12-01"


class _Rules:
    """The part of the settings that rules and targets are made from."""

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


class ForecastStory:
    """Runs a story of forecasts, published one after another for one target of October 2024."""

    def __init__(self) -> None:
        self._rules, self._period = _Rules(), CALENDAR.period("month:2024-10")
        self._events: list[MilestoneEvent] = []
        self._expected: dict[TargetPlace, LastExpected] = {}
        self._last: Forecast | None = None
        self._warnings: EarlyWarnings | None = None

    def run(self, story: str) -> None:
        """Runs a story, line by line.

        Raises:
            AssertionError: Something else happens than the story says.
        """
        happened: list[str] | None = None
        said: list[str] = []
        for line in [*(line for line in story.splitlines() if line.strip() and not line.startswith("#")), "end"]:
            if line.startswith("  "):
                said += [] if line.strip() == "nothing" else [" ".join(line.split())]
                continue
            assert happened is None or happened == said, (happened, said)
            said, happened = [], self._arrive(line)

    def _arrive(self, line: str) -> list[str] | None:
        word, _, rest = line.partition(" ")
        if word == "rule":
            self._rules.rule.append(RuleSettings(**_toml(rest)))
        elif word == "target":
            self._rules.target = [TargetSettings(**_toml(rest))] if rest != "none" else []
            return self._begin() if self._warnings is not None else None
        elif word == "restart":
            self._warnings = None
        elif word == "forecast":
            match = _FORECAST.fullmatch(line)
            assert match, line
            return self._judge(match)
        else:
            assert line == "end", line
        return None

    def _open(self) -> EarlyWarnings:
        if self._warnings is None:
            self._warnings = EarlyWarnings(self._rules.rules())
            for event in self._events:
                self._warnings.restore(event)
            for place, expected in self._expected.items():
                self._warnings.restore_expected(place, expected)
            self._begin()
        return self._warnings

    def _begin(self) -> list[str]:
        assert self._warnings is not None
        targets = {TargetPlace.of(each): (each, self._period) for each in self._rules.targets()}
        return self._take(list(self._warnings.begin(targets, detected_at="2024-10-01T00:00:00.000Z")))

    def _judge(self, match: re.Match[str]) -> list[str]:
        (target,) = self._rules.targets()
        total = int(match[2]) if match[2] != "unknown" else None
        made = a_forecast(
            metric=target.metric,
            scope=target.scope,
            period=target.period,
            target_id=target.target_id,
            value=target.value,
            state={"reached": "reached", "missed": "missed"}.get(match[4], "behind"),
            count=0,
            business_date=match[1],
            as_of=f"{match[1]}T04:00:00.000Z",
            projected_total=ProjectedTotal(p10=None, p50=total, p90=None),
            projected_date=ProjectedDate(p10=None, p50=match[3], p90=None),
            horizon=_HORIZON,
        )
        judged = self._open().judge(target, self._period, self._last, made, int(match[5] or 0))
        self._last = made
        if judged.expected is not None:
            self._expected[TargetPlace.of(target)] = judged.expected
        return self._take(judged.events)

    def _take(self, events: list[MilestoneEvent]) -> list[str]:
        self._events += events
        return [
            f"{event.type.split('.')[1]} {event.subject} @{event.data.revision}"
            + (f" {event.data.ended}" if event.data.ended else "")
            for event in events
        ]


class _Story:
    def __init__(self, story: str) -> None:
        self._lines = [line for line in story.splitlines() if line.strip() and not line.startswith("#")]
        self._rules = _Rules()
        self._windows = DEFAULT_WINDOWS
        self._rolling: dict[int, tuple[tuple[str, ...], ...]] = {}
        self._campaigns: list[Campaign] = []
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
                *self._rules.rules(),
                targets=self._rules.targets(),
                windows=self._windows,
                rolling=self._rolling,
                campaigns=tuple(self._campaigns),
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
        elif word == "campaign":
            self._campaigns.append(CampaignSettings(**_toml(rest)).campaign([("model",), ()]))
        elif word == "orders":
            match = _MINUTE.fullmatch(line)
            assert match, line
            self._open_world.put_minute(match[3], int(match[2]), int(match[1]))
        elif word == "target":
            self._rules.target.append(TargetSettings(**_toml(rest)))
        elif word == "balance":
            time, units = rest.split(" ")
            self._open_world.balance(time, int(units))
        elif word == "restart":
            self._open_world.restart(
                *self._rules.rules(), targets=self._rules.targets(), campaigns=tuple(self._campaigns)
            )
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
        """Checks that the story lists all milestones of the step, in order."""
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
