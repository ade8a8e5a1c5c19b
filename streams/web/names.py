"""Names for metrics, scopes, periods and kinds of milestones on pages, in the reader's language.

Addresses and commands use the identities (`model=SU7`, `month:2024-10`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Final

from babel.dates import format_date, format_skeleton, format_timedelta
from babel.numbers import format_decimal, format_percent

from schemas.outputs import ALERT_KINDS
from schemas.texts import ALL, OTHER, scope_names, source_of_scope
from streams.wording.dates import date_text
from streams.wording.parts import every_of, ordinal, share_of
from streams.wording.sentences import sentences

if TYPE_CHECKING:
    from collections.abc import Callable

    from schemas.outputs import MilestoneData

_NOTHING: Final = "\u2013"


@dataclass(frozen=True)
class Names:
    """Names in a language.

    Attributes:
        locale: Such as `en`.
        gettext: Translates one of our texts.
    """

    locale: str
    gettext: Callable[[str], str]

    def filters(self) -> dict[str, Callable[..., str]]:
        """The filters by the names that templates use."""
        return {
            "metric": self.metric,
            "scope": self.scope,
            "period": self.period,
            "holiday": self.holiday,
            "kind": self.kind,
            "happening": self.happening,
            "window": self.window,
            "window_status": self.window_status,
            "stale_reason": self.stale_reason,
            "forecast_state": self.forecast_state,
            "day_sort": self.day_sort,
            "duration": self.duration,
            "campaign_length": self.length,
            "sentence": self.sentence,
            "rule": self.rule,
        }

    def metric(self, value: str) -> str:
        """`orders_placed`: Orders placed."""
        _ = self.gettext
        return {
            "orders_placed": _("Orders placed"),
            "orders": _("Orders"),
            "cancellations": _("Cancellations"),
            "deliveries": _("Deliveries"),
            "reversals": _("Reversals"),
            "produced": _("Produced"),
            "scrapped": _("Scrapped"),
            "inventory": _("Inventory"),
        }.get(value, value)

    def scope(self, value: str) -> str:
        """`model=SU7,region=north`: SU7, north."""
        if value == ALL:
            return self.gettext("All")
        return ", ".join(self.gettext("other") if name == OTHER else name for name in scope_names(value)) or value

    def period(self, value: str) -> str:
        """`month:2024-10`: October 2024; anything else is returned unchanged."""
        kind, _, rest = value.partition(":")
        try:
            match kind:
                case "day":
                    return self.date(date.fromisoformat(rest))
                case "month":
                    return str(format_skeleton("yMMMM", date.fromisoformat(f"{rest}-01"), locale=self.locale))
                case "week" | "quarter" | "half" | "year":
                    return self._part_of_year(rest)
                case "total":
                    return self.gettext("All time")
                case "rolling":
                    days, _colon, end = rest.partition("d:")
                    parts = {"days": str(int(days)), "date": self.date(date.fromisoformat(end))}
                    return self.gettext("%(days)s days to %(date)s") % parts
                case "campaign":
                    return self.gettext("Campaign %(name)s") % {"name": rest}
                case "holiday":
                    name, _, year = rest.rpartition(":")
                    return self.gettext("%(holiday)s %(year)s") % {"holiday": self.holiday(name), "year": year}
        except ValueError:
            pass
        return value

    def _part_of_year(self, text: str) -> str:
        """`2024-W41`: Week 41, 2024; `FY2025-Q3`: Q3 FY2025; `2024`: 2024."""
        _ = self.gettext
        name, _dash, part = text.partition("-")
        if name.startswith("FY"):
            year = _("FY%(year)s") % {"year": name.removeprefix("FY")}
        else:
            year = str(format_skeleton("y", date(int(name), 1, 1), locale=self.locale))
        parts = {"year": year, "number": str(int(part[1:])) if part else ""}
        match part[:1]:
            case "W":
                return _("Week %(number)s, %(year)s") % parts
            case "Q":
                return _("Q%(number)s %(year)s") % parts
            case "H":
                return (_("First half of %(year)s") if part == "H1" else _("Second half of %(year)s")) % parts
            case "":
                return year
        raise ValueError(text)

    def date(self, value: date) -> str:
        """Such as Mon, 7 Oct 2024."""
        return date_text(value, self.locale, "weekday")

    def holiday(self, value: str) -> str:
        """`national-day`: National Day."""
        _ = self.gettext
        return {
            "new-year": _("New Year"),
            "spring-festival": _("Spring Festival"),
            "qingming": _("Qingming Festival"),
            "labour-day": _("Labour Day"),
            "dragon-boat": _("Dragon Boat Festival"),
            "mid-autumn": _("Mid-Autumn Festival"),
            "national-day": _("National Day"),
        }.get(value) or value.replace("-", " ").capitalize()

    def kind(self, value: str) -> str:
        """The kind of a milestone: `first`: First ever."""
        _ = self.gettext
        return {
            "threshold": _("Threshold"),
            "multiple": _("Multiple"),
            "first": _("First ever"),
            "streak": _("In a row"),
            "factor": _("Comparison"),
            "scope_share": _("Share of all"),
            "leader": _("First of all"),
            "share": _("Share of a target"),
            "target": _("Target"),
            "record_passed": _("Record passed"),
            "record": _("Record"),
            "forecast_behind": _("Target at risk"),
            "forecast_moved": _("Expected date moved"),
            "stalled": _("Silence"),
        }.get(value, value)

    def happening(self, value: str) -> str:
        """The type of a milestone event: `milestone.raised.v1`: Raised."""
        _ = self.gettext
        return {
            "milestone.raised.v1": _("Raised"),
            "milestone.recorded.v1": _("On record"),
            "milestone.retracted.v1": _("Retracted"),
            "milestone.reinstated.v1": _("Reinstated"),
            "alert.raised.v1": _("Alert"),
            "alert.ended.v1": _("Alert ended"),
        }.get(value, value)

    def window_status(self, value: str) -> str:
        """The status of a row: `open`: Open."""
        _ = self.gettext
        return {"open": _("Open"), "provisional": _("Provisional"), "closed": _("Closed")}.get(value, value)

    def stale_reason(self, value: str) -> str:
        """Why the numbers may be old: `broker`: Kafka does not answer."""
        _ = self.gettext
        return {
            "rebuilding": _("the page's data is being read"),
            "broker": _("Kafka does not answer"),
            "topics": _("topics are missing"),
            "lag": _("this page is behind"),
            "workers": _("no worker reports"),
            "worker": _("a worker does not report"),
            "web": _("the web view does not answer"),
        }.get(value, value)

    def forecast_state(self, value: str) -> str:
        """The state of a forecast: `ahead`: Ahead of plan."""
        _ = self.gettext
        return {
            "upcoming": _("Not begun"),
            "ahead": _("Ahead of plan"),
            "behind": _("Behind plan"),
            "reached": _("Reached"),
            "missed": _("Missed"),
        }.get(value, value)

    def day_sort(self, value: str | int) -> str:
        """The type of a date: `holiday`, or a number as in `UsualDay.sort`."""
        _ = self.gettext
        if isinstance(value, int) and 0 <= value < 7:
            return str(format_date(date(2024, 1, 1 + value), "EEEE", locale=self.locale))
        return {
            "working": _("Working day"),
            "weekend": _("Weekend"),
            "holiday": _("Holiday"),
            "make-up": _("Make-up work day"),
            7: _("holiday"),
            8: _("make-up work day"),
        }.get(value, str(value))

    def duration(self, seconds: float | None) -> str:
        """Such as 12 sec, 3 min, 5 days."""
        if seconds is None:
            return _NOTHING
        return str(
            format_timedelta(
                round(max(seconds, 0)), granularity="second", threshold=2, format="short", locale=self.locale
            )
        )

    def sentence(self, data: MilestoneData, *, with_number: bool = True) -> str:
        """What happened, such as `SU7 deliveries passed 1,000 on 7 Oct 2024: 1,001`; see `streams.wording.sentences`."""
        text = sentences(self.locale).sentence(data, with_number=with_number)
        # Names of models keep their own case.
        return text[0].upper() + text[1:] if data.scope == ALL else text

    def length(self, after_s: float) -> str:
        """How long after the start of a campaign, such as 27 minutes, or 26 minutes 43 seconds."""
        return sentences(self.locale).length(after_s)

    def rule(self, data: MilestoneData) -> str:
        """What had to happen, such as `more than 1,000 in a day`."""
        _ = self.gettext
        parts = {"line": self._number(data.threshold), "window": self.window(data.period.partition(":")[0])}
        is_record = data.kind in ("record", "record_passed")
        if is_record and data.period.startswith("day:"):
            return _("more than on any day before")
        if is_record:
            return _("more than in any %(window)s before") % parts
        if data.kind in ("scope_share", "leader", "factor", "streak"):
            return self._comparison_rule(data, parts)
        if data.kind in ALERT_KINDS:
            return self._alert_rule(data) % parts
        if data.kind == "share":
            value, share = share_of(data)
            return _("%(share)s of the target of %(line)s") % {
                "line": self._number(value),
                "share": self._percent(share),
            }
        if data.period == "total":
            return self._of_total(data)
        if data.kind == "multiple":
            return _("each multiple of %(line)s in a %(window)s") % {**parts, "line": self._number(every_of(data))}
        if data.kind == "first":
            return _("more than %(line)s in a %(window)s for the first time") % parts
        if data.operator == "exceeds":
            return _("more than %(line)s in a %(window)s") % parts
        return _("%(line)s or more in a %(window)s") % parts

    def _alert_rule(self, data: MilestoneData) -> str:
        """What an alert is about."""
        _ = self.gettext
        if data.silence is not None:
            is_source = source_of_scope(data.scope) is not None
            text = (
                _("no events in %(hours)s hours in which some usually come")
                if is_source
                else _("nothing, or little, in %(hours)s hours in which units usually come")
            )
            return text.replace("%(hours)s", self._number(data.silence.hours))
        if data.kind == "forecast_moved":
            return _("the target of %(line)s is expected on another date")
        return _("the target of %(line)s is expected to be missed")

    def _comparison_rule(self, data: MilestoneData, parts: dict[str, str]) -> str:
        """What had to happen for such a kind."""
        _ = self.gettext
        if data.kind == "scope_share":
            return _("%(share)s of all or more") % {"share": self._percent(data.share or 0)}
        if data.kind == "leader":
            return _("more than any other, for the first time since another one was first")
        if data.kind == "factor":
            return _("%(factor)s times the %(count)s of %(other)s") % self._compared(data)
        text = _("more than %(line)s, %(row)s") if data.operator == "exceeds" else _("%(line)s or more, %(row)s")
        return text % {**parts, "row": self._in_a_row(data)}

    def _compared(self, data: MilestoneData) -> dict[str, str]:
        """The factor, and what it is a multiple of."""
        return {
            "factor": str(format_decimal(data.factor or 0, "#,##0.####", locale=self.locale)),
            "count": self._number(data.compared_count),
            "other": self.period(data.compared_with or ""),
        }

    def _in_a_row(self, data: MilestoneData) -> str:
        """Such as `the 5th month in a row`."""
        _ = self.gettext
        text = {
            "day": _("the %(nth)s day in a row"),
            "week": _("the %(nth)s week in a row"),
            "month": _("the %(nth)s month in a row"),
            "quarter": _("the %(nth)s quarter in a row"),
            "half": _("the %(nth)s half-year in a row"),
            "year": _("the %(nth)s year in a row"),
        }.get(data.period.partition(":")[0], _("the %(nth)s time in a row"))
        return text % {"nth": self._number(data.streak) if self.locale == "zh" else ordinal(data.streak or 0)}

    def _of_total(self, data: MilestoneData) -> str:
        _ = self.gettext
        if data.kind == "multiple":
            return _("each multiple of %(line)s in all") % {"line": self._number(every_of(data))}
        text = _("more than %(line)s in all") if data.operator == "exceeds" else _("%(line)s or more in all")
        return text % {"line": self._number(data.threshold)}

    def window(self, value: str) -> str:
        """A kind of period, such as `day`."""
        _ = self.gettext
        return {
            "day": _("day"),
            "week": _("week"),
            "month": _("month"),
            "quarter": _("quarter"),
            "half": _("half-year"),
            "year": _("year"),
            "total": _("total"),
            "rolling": _("rolling window"),
            "campaign": _("campaign"),
            "holiday": _("holiday"),
        }.get(value, value)

    def _percent(self, value: float) -> str:
        return str(format_percent(value, "#,##0.####%", locale=self.locale))

    def _number(self, value: int | None) -> str:
        return _NOTHING if value is None else str(format_decimal(value, locale=self.locale))
