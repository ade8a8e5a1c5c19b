"""The naive recount of alerts: what it must find missing, and what is no alert."""

from __future__ import annotations

from typing import Any

from schemas.outputs import ALERT_RAISED
from tests.simulation.alerts import Alerts

TARGET = {"metric": "deliveries", "scope": "all", "period": "month:2024-10", "target_id": "t"}
KEY = "/".join(TARGET.values())


def forecast(business_date: str, total: int, projected: str) -> dict[str, Any]:
    return {
        "as_of": f"{business_date}T22:00:00Z",
        "business_date": business_date,
        "horizon": "2024-12-31",
        "state": "behind",
        "value": 7,
        "projected_total": {"p50": total},
        "projected_date": {"p50": projected},
    }


def behind(of: dict[str, Any]) -> dict[str, Any]:
    """The alert that a forecast raises."""
    told = {name: of[name] for name in ("as_of", "business_date", "projected_total")}
    data = TARGET | {
        "milestone_id": f"{KEY}/behind",
        "kind": "forecast_behind",
        "rule": "at-risk-0",
        "forecast": told | {"projected_date": of["projected_date"]["p50"]},
    }
    return {"id": "an-alert", "type": ALERT_RAISED, "data": data}


def missing(*transactions: tuple[dict[str, Any], list[dict[str, Any]]]) -> list[str]:
    """What is broken after forecasts and their alerts."""
    found: list[str] = []
    alerts = Alerts(found.append, ["at-risk-0"])
    for made, raised in transactions:
        alerts.hear([(KEY, made)], raised)
    return found


def test_a_date_that_moves_by_days_without_an_alert_is_found() -> None:
    fine, later = forecast("2024-10-28", 8, "2024-10-26"), forecast("2024-10-30", 7, "2024-10-31")
    assert missing((fine, []), (later, [])) == [f"{KEY}: expected on 2024-10-31 after 2024-10-26"]


def test_the_date_of_a_day_on_which_another_alert_was_told_is_not_known_to_readers() -> None:
    fine, less = forecast("2024-10-28", 8, "2024-10-31"), forecast("2024-10-30", 4, "2024-11-05")
    nearly_as_before = forecast("2024-10-31", 6, "2024-11-01")
    assert missing((fine, []), (less, [behind(less)]), (nearly_as_before, [])) == []


def test_a_target_that_falls_behind_without_an_alert_is_found() -> None:
    fine, less = forecast("2024-10-28", 8, "2024-10-31"), forecast("2024-10-30", 4, "2024-10-31")
    assert missing((fine, []), (less, [])) == [f"{KEY}: 4 of 7 are expected after 8"]
