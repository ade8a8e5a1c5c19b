"""Names for metrics, scopes, periods and milestones on pages, in the reader's language.

Addresses and commands use the identities (`model=SU7`, `month:2024-10`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Final

from babel.dates import format_date, format_skeleton, format_timedelta
from babel.numbers import format_decimal, format_percent
from babel.units import format_unit

from schemas.outputs import ALERT_KINDS
from schemas.texts import ALL, OTHER, scope_names, source_of_scope
from streams.wording.sentences import every_of, length_of, ordinal, share_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from schemas.outputs import MilestoneData

_NOTHING: Final = "\u2013"
#: Kinds that are decided only at the end of a period: the date of their unit is of no interest.
_AT_THE_END: Final = ("record", "scope_share", "leader")


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
        """Such as Mon, Oct 7, 2024."""
        return str(format_skeleton("yMMMEd", value, locale=self.locale))

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

    def sentence(self, data: MilestoneData) -> str:
        """What happened, such as `SU7 deliveries passed 1,000 on Mon, Oct 7, 2024`."""
        sentence = self._sentence(data)
        if data.after_s is not None and data.kind not in _AT_THE_END:
            parts = {"sentence": sentence, "length": self.length(data.after_s)}
            sentence = self.gettext("%(sentence)s, after %(length)s") % parts
        if data.achieved_on is None or data.start == data.end or data.kind in _AT_THE_END:
            return sentence
        day = self.date(date.fromisoformat(data.achieved_on))
        return self.gettext("%(sentence)s, on %(date)s") % {"sentence": sentence, "date": day}

    def length(self, after_s: float) -> str:
        """How long after the start of a campaign, such as 27 minutes, or 26 minutes 43 seconds."""
        is_chinese = self.locale == "zh"  # no spaces there, and the long names are incomplete
        return ("" if is_chinese else " ").join(
            str(format_unit(number, f"duration-{unit}", length="short" if is_chinese else "long", locale=self.locale))
            for number, unit in length_of(after_s)
        )

    def _sentence(self, data: MilestoneData) -> str:
        _ = self.gettext
        parts = {
            "what": self._what(data),
            "line": self._number(data.threshold),
            "when": self.period(data.period),
            "count": self._number(data.count),
        }
        if data.kind == "record":
            if data.period.startswith("day:"):
                return _("%(what)s: record day, %(count)s on %(when)s") % parts
            return _("%(what)s: %(record)s, %(count)s in %(when)s") % {**parts, "record": self._record(data.period)}
        if data.kind in ("scope_share", "leader", "record_passed", "factor", "streak"):
            return self._comparison(data, parts)
        if data.kind in ALERT_KINDS:
            text = self._silence(data) if data.kind == "stalled" else self._alert(data)
            return text % (parts | self._expected(data))
        if data.kind == "share":
            value, share = share_of(data)
            parts |= {"line": self._number(value), "share": self._percent(share)}
            return _("%(what)s reached %(share)s of the target of %(line)s, %(when)s") % parts
        if data.kind == "target":
            return _("%(what)s reached the target of %(line)s, %(when)s") % parts
        if data.kind == "first":
            return _("%(what)s passed %(line)s for the first time, %(when)s") % parts
        if data.operator == "reaches":
            return _("%(what)s reached %(line)s, %(when)s") % parts
        return _("%(what)s passed %(line)s, %(when)s") % parts

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

    def _alert(self, data: MilestoneData) -> str:
        """The sentence pattern of an alert: what is expected of a target, or why the alert has ended."""
        _ = self.gettext
        if data.ended == "gone":
            return _("%(what)s: the target of %(line)s, %(when)s, is no longer watched")
        if data.ended == "reached":
            return _("%(what)s have reached the target of %(line)s, %(when)s")
        if data.ended == "over":
            return _("%(what)s have missed the target of %(line)s by %(short)s, %(when)s")
        told = data.forecast
        if data.kind == "forecast_moved":
            has_date = told is not None and told.projected_date is not None
            if data.ended is not None and has_date:
                return _("%(what)s are expected to reach the target of %(line)s, %(when)s, on %(date)s again")
            if data.ended is not None:
                return _("%(what)s: the target of %(line)s, %(when)s, is out of sight again")
            if not has_date:
                return _(
                    "%(what)s: the target of %(line)s, %(when)s, is out of sight, before it was expected on %(former)s"
                )
            if told is not None and told.former_date is None:
                return _("%(what)s: the target of %(line)s, %(when)s, was out of sight and is expected on %(date)s")
            return _("%(what)s are expected to reach the target of %(line)s, %(when)s, on %(date)s, not on %(former)s")
        if data.ended is not None:
            return _("%(what)s are expected to reach the target of %(line)s after all, %(when)s: %(total)s")
        return _("%(what)s are expected to miss the target of %(line)s by %(missing)s, %(when)s")

    def _silence(self, data: MilestoneData) -> str:
        _ = self.gettext
        is_source = source_of_scope(data.scope) is not None
        if data.ended == "back":
            return _("%(what)s: events come again") if is_source else _("%(what)s: units come again")
        if data.ended is not None:
            return _("%(what)s: a silence is no longer watched")
        if is_source:
            return _("%(what)s: no events since %(since)s, in %(hours)s h in which some usually come")
        if data.count:
            return _("%(what)s: only %(count)s since %(since)s, where %(usual)s usually come in %(hours)s h")
        return _("%(what)s: nothing since %(since)s, where %(usual)s usually come in %(hours)s h")

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

    def _expected(self, data: MilestoneData) -> dict[str, str]:
        """The parts of the sentence of an alert about a forecast."""
        told = data.forecast
        if data.silence is not None:
            since = datetime.fromisoformat(data.silence.since)
            return {
                "since": f"{self.date(since.date())} {since:%H:%M}",
                "usual": str(format_decimal(data.silence.usual, "#,##0.#", locale=self.locale)),
                "hours": self._number(data.silence.hours),
            }
        if told is None:
            return {}
        total, value = told.projected_total.p50 or 0, data.threshold or 0
        dates = {"date": told.projected_date, "former": told.former_date}
        return {name: self.date(date.fromisoformat(day)) if day else _NOTHING for name, day in dates.items()} | {
            "total": self._number(total),
            "missing": self._number(value - total),
            "short": self._number(value - data.count),
        }

    def _comparison(self, data: MilestoneData, parts: dict[str, str]) -> str:
        """The sentence for a kind that also depends on other periods or scopes."""
        _ = self.gettext
        if data.kind in ("scope_share", "leader"):
            return self._among_scopes(data) % parts
        if data.kind == "record_passed":
            number = self._number(data.count if data.position is None else data.position)
            record = _("record day") if data.period.startswith("day:") else self._record(data.period)
            return _("%(what)s passed the former %(record)s with %(count)s, %(when)s") % {
                **parts,
                "count": number,
                "record": record,
            }
        if data.kind == "factor":
            return _("%(what)s reached %(factor)s times the %(count)s of %(other)s, %(when)s") % {
                **parts,
                **self._compared(data),
            }
        text = (
            _("%(what)s passed %(line)s, %(row)s, %(when)s")
            if data.operator == "exceeds"
            else _("%(what)s reached %(line)s, %(row)s, %(when)s")
        )
        return text % {**parts, "row": self._in_a_row(data)}

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

    def _among_scopes(self, data: MilestoneData) -> str:
        """The sentence pattern for kinds that compare scopes."""
        _ = self.gettext
        if data.kind == "scope_share":
            text = _("%(what)s were %(share)s of all or more, %(when)s: %(count)s of %(number)s")
        elif data.compared_scope is None:
            text = _("%(what)s came first, %(when)s: %(count)s")
        else:
            text = _("%(what)s came first, %(when)s: %(count)s before %(other)s with %(number)s")
        found = {
            "share": self._percent(data.share or 0).replace("%", "%%"),
            "other": self.scope(data.compared_scope or "").replace("%", "%%"),
            "number": self._number(data.compared_count),
        }
        return text % {**found, "what": "%(what)s", "when": "%(when)s", "count": "%(count)s"}

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

    def _record(self, period: str) -> str:
        _ = self.gettext
        return {
            "week": _("record week"),
            "month": _("record month"),
            "quarter": _("record quarter"),
            "half": _("record half-year"),
            "year": _("record year"),
            "rolling": _("record rolling window"),
            "campaign": _("record campaign"),
        }.get(period.partition(":")[0], _("record holiday"))

    def _what(self, data: MilestoneData) -> str:
        metric = self.metric(data.metric)
        if data.scope == ALL:
            return metric
        parts = {"scope": self.scope(data.scope), "metric": metric if self.locale == "zh" else metric.lower()}
        return self.gettext("%(scope)s %(metric)s") % parts

    def _percent(self, value: float) -> str:
        return str(format_percent(value, "#,##0.####%", locale=self.locale))

    def _number(self, value: int | None) -> str:
        return _NOTHING if value is None else str(format_decimal(value, locale=self.locale))
