"""What `milestones doctor` says of rules about forecasts and silences, and of the alerts that stand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from schemas.outputs import ALERT_ENDED, Forecast
from schemas.source_hours import SourceKey
from streams.checkup import Finding, note, ok
from streams.checkup.alerts import AlertBasis, alert_findings
from streams.settings import Settings
from tests.contract.goldens import OUTPUTS, milestone_sample

YEAR = 2024
NOTHING = AlertBasis()
EARLY = {"name": "at-risk", "metric": "deliveries", "window": "month", "scope": ["model"], "forecast_behind": 0.02}
SILENT = {"name": "silent", "metric": "deliveries", "window": "day", "scope": ["factory"], "stalled_hours": 3}
TARGET = {"target_id": "su7-2024-10", "metric": "deliveries", "scope": "model=SU7", "period": "month:2024-10"}


def settings(*rules: dict[str, object], **more: object) -> Settings:
    return Settings.model_validate({"scopes": [["model"], ["factory"], []], "rule": rules, **more})


def forecast(name: str = "ahead", **changes: object) -> Forecast:
    made = OUTPUTS[f"vehicle.forecasts.v1.{name}"]
    assert isinstance(made, Forecast)
    return made.model_copy(update=changes)


def found(of: Settings, published: AlertBasis = NOTHING, year: int = YEAR) -> list[Finding]:
    return list(alert_findings(of, published, year))


def test_without_rules_and_alerts_there_is_one_line() -> None:
    assert found(settings()) == [ok("alerts", "none stands, and no rule warns early or watches for silences")]


@pytest.mark.parametrize(
    ("forecasts", "expected"),
    [
        ((), note("alerts", "rule 'at-risk' watches the forecasts of 1 target, 1 has no forecast yet")),
        ((forecast(),), ok("alerts", "rule 'at-risk' watches the forecasts of 1 target")),
        (
            (forecast(), forecast(target_id="b", state="missed"), forecast(target_id="c", period="year:2024")),
            ok("alerts", "rule 'at-risk' watches the forecasts of 2 targets, 1 is reached or over"),
        ),
        (
            (forecast(projected_total=forecast("no-history").projected_total),),
            note(
                "alerts",
                "rule 'at-risk' watches the forecasts of 1 target, of 1 too little has been counted for a forecast",
            ),
        ),
    ],
)
def test_a_rule_about_forecasts_says_which_targets_it_watches(
    forecasts: tuple[Forecast, ...], expected: Finding
) -> None:
    of = settings(EARLY, target=[{**TARGET, "value": 20000}])
    assert found(of, AlertBasis(forecasts=forecasts)) == [expected, ok("alerts", "none stands")]


def test_a_rule_about_forecasts_without_a_target_warns_of_nothing() -> None:
    of = settings(EARLY, target=[{**TARGET, "value": 20000, "period": "year:2024"}])
    (first, _) = found(of)
    assert first == note(
        "alerts",
        "rule 'at-risk' warns of nothing: no target is one of deliveries with window month and scope [\"model\"]; "
        "list one under [[target]], or publish it",
    )


def test_a_rule_about_silences_says_how_many_scopes_it_watches() -> None:
    counted = {
        ("deliveries", "factory=BJ1"),
        ("deliveries", "factory=BJ2"),
        ("orders", "factory=BJ3"),
        ("deliveries", "all"),
    }
    assert found(settings(SILENT), AlertBasis(counted=counted))[0] == ok(
        "alerts", "rule 'silent' watches 2 scopes for 3 silent hours"
    )
    assert found(settings(SILENT))[0] == note(
        "alerts", "rule 'silent' watches nothing yet: no deliveries have been counted for scope [\"factory\"]"
    )


def test_a_rule_about_sources_says_how_many_it_watches() -> None:
    of = settings({**SILENT, "name": "publisher", "scope": ["source"], "stalled_hours": 1})
    sources = {SourceKey("deliveries", "/bj1"), SourceKey("deliveries", "/bj2"), SourceKey("orders", "/web")}
    watched = ok("alerts", "rule 'publisher' watches 2 sources for 1 silent hour")
    assert found(of, AlertBasis(sources=sources))[0] == watched
    nothing = "rule 'publisher' watches nothing yet: no events of deliveries have come that were not history"
    assert found(of)[0] == note("alerts", nothing)


def test_holidays_that_no_calendar_has_are_named_where_silences_are_watched() -> None:
    why = "what rests on a holiday is told as a silence"
    assert found(settings(SILENT), year=2090)[1] == note(
        "alerts", f"holiday_calendar CN has no holidays of 2090: {why}"
    )
    without = settings(SILENT, holiday_calendar="none", holidays=[])
    assert found(without)[1] == note("alerts", f"holiday_calendar is none: {why}")
    assert len(found(settings(EARLY), year=2090)) == 2


def test_alerts_that_stand_are_told_as_everywhere_the_oldest_first_and_so_is_what_nobody_watches() -> None:
    silence, behind = milestone_sample("stalled"), milestone_sample("forecast-behind")
    ended = behind.model_copy(update={"type": ALERT_ENDED, "data": behind.data.model_copy(update={"ended": "back"})})
    rules = {**SILENT, "stalled_hours": silence.data.silence.hours if silence.data.silence else 1}
    stands = found(settings(rules), AlertBasis(alerts=(silence, behind)))[1:]
    gone = "; no rule of these settings watches it: it ends when a worker starts with them"
    behind_line = (
        "stands: 2024-10-17  ALERT: SU7 deliveries: expected to miss the target of 20,000 in October 2024 by 900"
        f"  [{behind.subject}]{gone}"
    )
    silence_line = (
        "stands: 2024-10-17  ALERT: BJ1 deliveries: nothing since 2024-10-17 08:00, where 41.3 usually come in 3 hours"
        f"  [{silence.subject}]"
    )
    assert stands == [note("alerts", behind_line), note("alerts", silence_line)]
    assert found(settings(rules, EARLY), AlertBasis(alerts=(silence, ended)))[2:] == [note("alerts", silence_line)]
    other = found(settings({**rules, "stalled_hours": 9}), AlertBasis(alerts=(silence,)))[1:]
    assert other == [note("alerts", silence_line + gone)]


def test_more_alerts_than_a_screen_has_are_counted() -> None:
    silence = milestone_sample("stalled")
    several = tuple(
        silence.model_copy(
            update={"time": (datetime(2024, 10, 17, tzinfo=UTC) + timedelta(minutes=number)).isoformat()}
        )
        for number in range(23)
    )
    lines = found(settings(SILENT), AlertBasis(alerts=several))[1:]
    assert len(lines) == 21
    assert lines[-1] == note("alerts", "3 more stand: `milestones list` has them")
