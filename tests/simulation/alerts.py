"""A naive recount of alerts about forecasts: from everything ever published, without any other state."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

from schemas.outputs import ALERT_ENDED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: `forecast_behind` of the simulation's rules.
BEHIND: Final = 0.1
MOVES_DAYS: Final = 1
#: Windows watched, for every metric and scope; the simulation loads no history.
WATCHED: Final = ("month:2024-10",)
_DECIDED: Final = ("reached", "missed")


class Alerts:
    """What has been published about targets, and which alerts stand.

    Args:
        broken: Called with a description of what is wrong.
        rules: Names of the rules.
        loaded: Returns how many units of a metric and scope were loaded as history so far.
    """

    def __init__(
        self, broken: Callable[[str], None], rules: Iterable[str], loaded: Callable[[str, str], int] = lambda *_: 0
    ) -> None:
        self._broken = broken
        self._loaded = loaded
        #: The same at the time of the last forecast.
        self._loaded_then: dict[str, int] = {}
        self._rules = {*rules}
        self._said: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._standing: dict[str, dict[str, Any]] = {}
        self._told: dict[str, str] = {}

    def hear(self, forecasts: Iterable[tuple[str, dict[str, Any] | None]], alerts: list[dict[str, Any]]) -> None:
        """Takes the forecasts and alerts of a transaction, and checks that the alerts follow from the forecasts."""
        made: dict[str, dict[str, Any]] = {}
        for key, forecast in forecasts:
            if forecast is None:
                self._said.pop(key, None)
            else:
                if key in made:
                    self._broken(f"two forecasts of {key} in one transaction")
                made[key] = forecast
        for alert in alerts:
            self._check(alert, made)
        for key, forecast in made.items():
            loaded = self._loaded(*key.split("/")[:2])
            self._check_complete(key, forecast, alerts, is_baseline=loaded != self._loaded_then.get(key, loaded))
            self._said[key].append(forecast)
            self._loaded_then[key] = loaded

    def _check(self, alert: dict[str, Any], made: dict[str, dict[str, Any]]) -> None:
        data, name = alert["data"], alert["data"]["milestone_id"]
        if data["rule"] not in self._rules:
            self._broken(f"{name} is of no rule")
        key = _key(data)
        stood = self._standing.pop(name, None)
        if alert["type"] == ALERT_ENDED:
            if stood is None:
                self._broken(f"{name} has ended and did not stand")
        else:
            self._standing[name] = data
        if data.get("ended") == "gone":
            return
        forecast, told = made.get(key), data["forecast"]
        if forecast is None or any(
            told[field] != forecast[field] for field in ("as_of", "business_date", "projected_total")
        ):
            self._broken(f"{alert['id']} says what no forecast of its transaction does")
            return
        decided = forecast["state"] in _DECIDED
        if decided is not (data.get("ended") in {"reached", "over"}):
            self._broken(f"{alert['id']}: {forecast['state']}")
        if not decided and self._told.get(key) == told["business_date"]:
            self._broken(f"{alert['id']}: another one of its target on {told['business_date']}")
        self._told[key] = told["business_date"]
        if not decided:
            self._check_numbers(alert, forecast, stood)

    def _check_numbers(self, alert: dict[str, Any], forecast: dict[str, Any], stood: dict[str, Any] | None) -> None:
        """Checks that a forecast of an undecided target raises, or ends, an alert."""
        has_ended, told = alert["type"] == ALERT_ENDED, alert["data"]["forecast"]
        value = forecast["value"]
        missing = value - (forecast["projected_total"]["p50"] or 0)
        if alert["data"]["kind"] == "forecast_behind":
            if not (missing <= 0 if has_ended else missing > BEHIND * value and stood is None):
                self._broken(f"{alert['id']}: {missing} are missing of {value}")
        elif not has_ended:
            before = told.get("former_date") if stood is None else stood["forecast"]["projected_date"]
            if _days(before, told["projected_date"], forecast) <= MOVES_DAYS:
                self._broken(f"{alert['id']}: from {before} to {told['projected_date']}")

    def _check_complete(
        self, key: str, forecast: dict[str, Any], alerts: list[dict[str, Any]], *, is_baseline: bool
    ) -> None:
        """Checks that no alert is missing that is due.

        Args:
            key: The target.
            forecast: Its new forecast.
            alerts: Of the same transaction.
            is_baseline: Whether history was loaded since the last one, so that this one is not compared with it.
        """
        _, scope, period, _ = key.split("/")
        if period not in WATCHED or f"at-risk-{int(scope != 'all')}" not in self._rules:
            return
        events = {alert["data"]["kind"] for alert in alerts if _key(alert["data"]) == key}
        stands = {
            kind: next((name for name, of in self._standing.items() if of["kind"] == kind and _key(of) == key), None)
            for kind in ("forecast_behind", "forecast_moved")
        }
        if forecast["state"] in _DECIDED:
            if any(stands.values()):
                self._broken(f"{key} is {forecast['state']}, and {stands} stand")
            return
        if self._told.get(key) == forecast["business_date"]:
            return
        total, value = forecast["projected_total"]["p50"], forecast["value"]
        if total is None:
            return
        if stands["forecast_behind"] and total >= value:
            self._broken(f"{stands['forecast_behind']} stands at {total}")
        before = self._said[key][-1] if self._said[key] else None
        comparable = (
            not is_baseline and before is not None and before["value"] == value and before["state"] not in _DECIDED
        )
        if before is None or not comparable or before["projected_total"]["p50"] is None:
            return
        was_fine = before["projected_total"]["p50"] >= value and stands["forecast_behind"] is None
        if was_fine and value - total > BEHIND * value and "forecast_behind" not in events:
            self._broken(f"{key}: {total} of {value} are expected after {before['projected_total']['p50']}")
        if stands["forecast_moved"] is None and not events:
            self._check_date(key, before, forecast)

    def _check_date(self, key: str, before: dict[str, Any], forecast: dict[str, Any]) -> None:
        """Checks that the expected date did not move by days without an alert."""
        if self._told.get(key) == before["business_date"]:
            return  # one alert a day: readers may not have been told of the date that was expected then
        first, then = before["projected_date"]["p50"], forecast["projected_date"]["p50"]
        if _days(first, then, forecast) > 2 * MOVES_DAYS:
            self._broken(f"{key}: expected on {then} after {first}")


def _key(data: dict[str, Any]) -> str:
    return "/".join(data[part] for part in ("metric", "scope", "period", "target_id"))


def _days(first: str | None, then: str | None, forecast: dict[str, Any]) -> int:
    """Days between two dates; a date that is not in sight counts as the day after the horizon."""
    if first is None and then is None:
        return 0
    beyond = date.fromisoformat(forecast["horizon"]) + timedelta(days=1)
    one, other = (date.fromisoformat(day) if day is not None else beyond for day in (first, then))
    return abs((one - other).days)
