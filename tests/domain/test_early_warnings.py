"""Alerts about forecasts: any forecasts, takeovers at any moment, against a recount that sees everything at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import decode_milestone, encode_milestone
from schemas.outputs import ProjectedDate, ProjectedTotal
from streams.audit.alerts import PublishedAlerts, check_alerts
from streams.domain.alerts.early_warnings import EarlyWarnings, TargetPlace
from streams.domain.rules import Rule, Target
from tests.domain.forecast_world import CALENDAR, a_forecast

if TYPE_CHECKING:
    from schemas.memory import LastExpected
    from schemas.outputs import Forecast, MilestoneEvent

VALUE = 1000
TARGET = Target("aim", "deliveries", "all", "month:2024-10", VALUE)
PERIOD = CALENDAR.period("month:2024-10")
PLACE = TargetPlace.of(TARGET)
IN_FORCE = {PLACE: (TARGET, PERIOD)}
SHARE, DAYS = 0.05, 4
RULE = Rule("risk", "deliveries", "month", (), None, None, forecast_behind=SHARE, forecast_moves_days=DAYS)
HORIZON = date(2024, 12, 1)


@dataclass(frozen=True)
class Said:
    """A forecast in short, and when it is made."""

    later_days: int
    total: int | None
    day: int | None
    state: str
    loaded: bool
    takes_over: bool


said = st.lists(
    st.builds(
        Said,
        later_days=st.sampled_from([1, 1, 0]),
        total=st.sampled_from([1000, 949, 950, 999, 1001, None]),
        day=st.sampled_from([10, 14, 15, 12, 13, 17, 18, 19, None]),
        state=st.sampled_from(["behind"] * 12 + ["reached"]),
        loaded=st.sampled_from([False] * 7 + [True]),
        takes_over=st.booleans(),
    ),
    min_size=8,
    max_size=16,
)


def forecast(number: int, day: date, one: Said) -> Forecast:
    """The forecast described; each a minute after the previous one."""
    reached_on = None if one.day is None or one.total is None else (date(2024, 10, 1) + timedelta(one.day)).isoformat()
    return a_forecast(
        metric="deliveries",
        scope="all",
        period=TARGET.period,
        target_id=TARGET.target_id,
        value=VALUE,
        state="reached" if one.state == "reached" else "behind",
        count=number,
        business_date=day.isoformat(),
        as_of=f"{day.isoformat()}T04:{number:02d}:00.000Z",
        projected_total=ProjectedTotal(p10=None, p50=one.total, p90=None),
        projected_date=ProjectedDate(p10=None, p50=reached_on, p90=None),
        horizon=HORIZON.isoformat(),
    )


class Writer:
    """Publishes forecasts and their alerts; a successor has only what was published and remembered."""

    def __init__(self) -> None:
        self.events: list[MilestoneEvent] = []
        self.forecasts: list[Forecast] = []
        self.expected: LastExpected | None = None
        self.take_over()

    def take_over(self) -> None:
        self.warnings = EarlyWarnings([RULE])
        for event in self.events:
            self.warnings.restore(decode_milestone(encode_milestone(event)))
        if self.expected is not None:
            self.warnings.restore_expected(PLACE, self.expected)
        assert list(self.warnings.begin(IN_FORCE, detected_at="2024-10-01T00:00:00.000Z")) == []

    def write(self, made: Forecast, loaded: int) -> None:
        before = self.forecasts[-1] if self.forecasts else None
        judged = self.warnings.judge(TARGET, PERIOD, before, made, loaded)
        self.events += judged.events
        self.forecasts.append(made)
        if judged.expected is not None:
            self.expected = judged.expected


def written(story: list[Said], *, takes_over: bool) -> Writer:
    """The alerts of a story."""
    writer, day, loaded = Writer(), date(2024, 10, 1), 0
    for number, one in enumerate(story):
        if takes_over and one.takes_over:
            writer.take_over()
        day += timedelta(one.later_days)
        loaded += one.loaded
        writer.write(forecast(number, day, one), loaded)
    return writer


@given(said)
def test_whoever_writes_the_alerts_are_the_same(story: list[Said]) -> None:
    assert written(story, takes_over=True).events == written(story, takes_over=False).events


@given(said)
def test_alerts_are_those_of_a_recount(story: list[Said]) -> None:
    writer = written(story, takes_over=True)
    found = [(event.data.kind, event.type, event.time, event.data.ended) for event in writer.events]
    assert found == recount(story)
    revisions: dict[str, int] = {}
    for event in writer.events:
        revisions[event.subject] = revisions.get(event.subject, 0) + 1
        assert event.data.revision == revisions[event.subject]
    published = PublishedAlerts({str(PLACE): writer.forecasts}, writer.events)
    assert check_alerts(published, lambda _: True, 0).differences == []


def recount(story: list[Said]) -> list[tuple[str, str, str, str | None]]:
    """Kind, type, time and end of the alerts, in one pass over everything."""
    recounted = Recount()
    for number, one in enumerate(story):
        recounted.take(number, one)
    return recounted.events


@dataclass
class Recount:
    """One pass; `behind` is None before there is a projection, `told_behind` whether the alert stands, dates in days of October."""

    events: list[tuple[str, str, str, str | None]] = field(default_factory=list)
    day: date = date(2024, 10, 1)
    told_on: date | None = None
    behind: bool | None = None
    told_behind: bool = False
    here: int | None = None
    origin: int | None = None
    time: str = ""

    def take(self, number: int, one: Said) -> None:
        self.day += timedelta(one.later_days)
        self.time = f"{self.day.isoformat()}T04:{number:02d}:00.000Z"
        if one.state == "reached":
            self._reach()
        elif one.total is not None:
            self._total(one.total, loaded=one.loaded)
            self._date((HORIZON - date(2024, 10, 1)).days + 1 if one.day is None else one.day, loaded=one.loaded)

    def _tell(self, kind: str, what: str, ended: str | None = None) -> None:
        self.events.append((kind, f"alert.{what}.v1", self.time, ended))
        self.told_on = self.day

    def _reach(self) -> None:
        if self.told_behind:
            self._tell("forecast_behind", "ended", "reached")
        if self.origin is not None:
            self._tell("forecast_moved", "ended", "reached")
        self.behind, self.told_behind, self.here, self.origin = False, False, None, None

    def _total(self, total: int, *, loaded: bool) -> None:
        is_low, is_back = total < VALUE * (1 - SHARE), total >= VALUE
        if self.told_behind:
            if is_back and self.told_on != self.day:
                self._tell("forecast_behind", "ended", "back")
                self.behind = self.told_behind = False
        elif self.behind is None or self.behind or loaded:
            self.behind = not is_back if self.behind else is_low
        elif is_low and self.told_on != self.day:
            self._tell("forecast_behind", "raised")
            self.behind = self.told_behind = True

    def _date(self, found: int, *, loaded: bool) -> None:
        if self.here is None:
            self.here = found
        elif self.origin is not None and abs(found - self.origin) <= DAYS // 2:
            if self.told_on != self.day:
                self._tell("forecast_moved", "ended", "back")
                self.here, self.origin = found, None
        elif abs(found - self.here) > DAYS and loaded:
            self.here = found
        elif abs(found - self.here) > DAYS and self.told_on != self.day:
            self._tell("forecast_moved", "raised")
            self.here, self.origin = found, self.here if self.origin is None else self.origin
