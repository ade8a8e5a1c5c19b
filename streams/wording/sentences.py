"""A milestone or alert as a sentence in a language: what happened, the number, when, and how long after the start of a campaign.

The texts are in the order of English; each language has its own order of the parts in the catalogue.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from babel.dates import format_datetime, format_skeleton
from babel.numbers import format_decimal
from babel.units import format_unit

from schemas.outputs import ALERT_KINDS
from schemas.texts import ALL, OTHER, scope_names, source_of_scope
from streams.wording.dates import DateForm, date_text
from streams.wording.languages import LANGUAGES, translations_in
from streams.wording.parts import length_of, ordinal, share_of

if TYPE_CHECKING:
    from babel.support import NullTranslations

    from schemas.outputs import AlertSilence, MilestoneData

#: Dates whose year has just been said.
_OF_YEAR_SAID: Final[dict[str, DateForm]] = {"en": "date", "zh": "of_year"}
_TIMES: Final = {"en": "yyyy-MM-dd HH:mm", "zh": "y年M月d日 HH:mm"}
#: What is counted in orders; everything else, in vehicles.
_OF_ORDERS: Final = frozenset({"orders_placed", "orders", "cancellations"})


@dataclass(frozen=True)
class Sentences:
    """Sentences in a language.

    Attributes:
        language: Such as `en`.
        translations: The catalogue of that language.
    """

    language: str
    translations: NullTranslations

    def sentence(self, data: MilestoneData, *, with_number: bool = True) -> str:
        """What happened, such as `SU7 deliveries passed 1,000 on 7 Oct 2024: 1,001`.

        Args:
            data: What is on the topic.
            with_number: Whether to end with the number that passed the line, which is that of the unit that passed it or, if that
                is not known, the count when it was detected. Sentences that are about a number have it anyway.
        """
        parts = {
            "scope": self._scope(data.scope),
            "metric": self._metric(data.metric),
            "kind": self._kind(data.period),
            "window": self._window(data.period),
            "line": "?" if data.threshold is None else self._amount(data.threshold, data),
            "count": self._amount(data.count, data),
            "number": self._amount(data.count if data.position is None else data.position, data),
            "compared": self._amount(data.compared_count or 0, data),
        }
        if data.silence is not None:
            return self._silence(data, data.silence, parts)
        if data.kind in ALERT_KINDS:
            return self._alert(data, parts)
        if data.kind in ("record", "scope_share", "leader"):
            return self._at_the_end(data, parts)
        return self._passed(data, parts | {"moment": self._moment(data)}, with_number=with_number)

    def happening(self, event_type: str) -> str:
        """What precedes the sentence of an event of a type; nothing if it is news."""
        _ = self._text
        return {
            "milestone.raised.v1": "",
            "milestone.recorded.v1": _("on record: "),
            "milestone.retracted.v1": _("RETRACTED: "),
            "milestone.reinstated.v1": _("reinstated: "),
            "alert.raised.v1": _("ALERT: "),
            "alert.ended.v1": _("alert ended: "),
        }.get(event_type, f"{event_type}: ")

    def identity(self, data: MilestoneData) -> str:
        """The milestone's id, and its revision after the first."""
        _ = self._text
        text = "%(identity)s" if data.revision == 1 else _("%(identity)s revision %(revision)s")
        return text % {"identity": data.milestone_id, "revision": data.revision}

    def length(self, after_s: float) -> str:
        """How long after the start of a campaign, such as 27 minutes, or 26 minutes 43 seconds.

        Args:
            after_s: Seconds.
        """
        parts = [self._units(number, unit) for number, unit in length_of(after_s)]
        if self.language != "zh":
            return " ".join(parts)
        # Minutes have a shorter name before seconds.
        return re.sub("分钟(?=.)", "分", "".join(parts))

    # Kinds of milestones ------------------------------------------------------------------------------------------------

    def _passed(self, data: MilestoneData, parts: dict[str, str], *, with_number: bool) -> str:
        """The sentence for a line that a unit passed."""
        _ = self._text
        exceeds = data.operator == "exceeds"
        if data.kind == "record_passed":
            text = _("%(scope)s%(metric)s: more than in any %(kind)s before, %(number)s %(window)s%(moment)s")
        elif data.kind == "factor":
            text = _("%(scope)s%(metric)s reached %(factor)s times the %(compared)s of %(other)s %(window)s%(moment)s")
            parts["factor"] = self._decimal(data.factor or 0)
            parts["other"] = self._period(data.compared_with or data.period)
        elif data.kind == "share":
            text = _("%(scope)s%(metric)s reached %(share)s %% of the target of %(line)s %(window)s%(moment)s")
            value, share = share_of(data)
            parts |= {"line": self._amount(value, data), "share": self._decimal(share * 100)}
        elif data.kind == "target":
            text = _("%(scope)s%(metric)s reached the target of %(line)s %(window)s%(moment)s")
        elif data.kind == "first":
            text = (
                _("%(scope)s%(metric)s passed %(line)s in a %(kind)s for the first time, %(window)s%(moment)s")
                if exceeds
                else _("%(scope)s%(metric)s reached %(line)s in a %(kind)s for the first time, %(window)s%(moment)s")
            )
        elif data.kind == "streak":
            text = (
                _("%(scope)s%(metric)s passed %(line)s %(row)s, %(window)s%(moment)s")
                if exceeds
                else _("%(scope)s%(metric)s reached %(line)s %(row)s, %(window)s%(moment)s")
            )
            parts["row"] = self._in_a_row(data)
        elif exceeds:
            text = _("%(scope)s%(metric)s passed %(line)s %(window)s%(moment)s")
        else:
            text = _("%(scope)s%(metric)s reached %(line)s %(window)s%(moment)s")
        # In Chinese, a number that is the line itself is not said twice.
        is_said = "%(number)s" in text or (
            self.language == "zh" and "%(line)s" in text and parts["number"] == parts["line"]
        )
        if with_number and not is_said:
            return _("%(sentence)s: %(number)s") % {**parts, "sentence": text % parts}
        return text % parts

    def _at_the_end(self, data: MilestoneData, parts: dict[str, str]) -> str:
        """The sentence for what is decided only at the end of a period: the date of its unit is of no interest."""
        _ = self._text
        if data.kind == "record":
            return _("%(scope)s%(metric)s: a record %(kind)s, %(count)s %(window)s") % parts
        if data.kind == "scope_share":
            text = _("%(scope)s%(metric)s were %(share)s %% of all or more %(window)s: %(count)s of %(compared)s")
            return text % {**parts, "share": self._decimal((data.share or 0) * 100)}
        if data.compared_scope is None:
            return _("%(scope)s%(metric)s came first %(window)s: %(count)s") % parts
        text = _("%(scope)s%(metric)s came first %(window)s: %(count)s, before %(other)s with %(compared)s")
        return text % {**parts, "other": self._scope(data.compared_scope).strip()}

    def _alert(self, data: MilestoneData, parts: dict[str, str]) -> str:
        """What is expected of a target, or why the alert has ended."""
        _ = self._text
        value, told = data.threshold or 0, data.forecast
        expected, former = (None, None) if told is None else (told.projected_date, told.former_date)
        total = (told.projected_total.p50 if told is not None else None) or 0
        if data.ended == "gone":
            text = _("%(scope)s%(metric)s: the target of %(line)s %(window)s is no longer watched")
        elif data.ended == "reached":
            text = _("%(scope)s%(metric)s: the target of %(line)s %(window)s is reached")
        elif data.ended == "over":
            text = _("%(scope)s%(metric)s: the target of %(line)s %(window)s is missed by %(missing)s")
            total = data.count
        elif data.kind != "forecast_moved" and data.ended is not None:
            text = _("%(scope)s%(metric)s: expected to reach the target of %(line)s %(window)s after all, %(total)s")
        elif data.kind != "forecast_moved":
            text = _("%(scope)s%(metric)s: expected to miss the target of %(line)s %(window)s by %(missing)s")
        elif data.ended is not None and expected is not None:
            text = _("%(scope)s%(metric)s: the target of %(line)s %(window)s is expected on %(date)s again")
        elif data.ended is not None:
            text = _("%(scope)s%(metric)s: the target of %(line)s %(window)s is out of sight again")
        elif expected is None:
            text = _(
                "%(scope)s%(metric)s: the target of %(line)s %(window)s is out of sight, before it was expected on %(former)s"
            )
        elif former is None:
            text = _(
                "%(scope)s%(metric)s: the target of %(line)s %(window)s is expected on %(date)s, before it was out of sight"
            )
        else:
            text = _(
                "%(scope)s%(metric)s: the target of %(line)s %(window)s is expected on %(date)s, before on %(former)s"
            )
        return text % {
            **parts,
            "date": self._date(expected) if expected else "",
            "former": self._date(former) if former else "",
            "total": self._amount(total, data),
            "missing": self._amount(value - total, data),
        }

    def _silence(self, data: MilestoneData, silence: AlertSilence, parts: dict[str, str]) -> str:
        """What does not come, or why the alert has ended."""
        _ = self._text
        is_source = source_of_scope(data.scope) is not None
        if data.ended == "back" and is_source:
            text = _("%(scope)s%(metric)s: events come again")
        elif data.ended == "back":
            text = _("%(scope)s%(metric)s: units come again")
        elif data.ended is not None:
            text = _("%(scope)s%(metric)s: a silence is no longer watched")
        elif is_source:
            text = _("%(scope)s%(metric)s: no events since %(since)s, in %(hours)s in which some usually come")
        elif data.count:
            text = _("%(scope)s%(metric)s: only %(count)s since %(since)s, where %(usual)s usually come in %(hours)s")
        else:
            text = _("%(scope)s%(metric)s: nothing since %(since)s, where %(usual)s usually come in %(hours)s")
        since = datetime.fromisoformat(silence.since)
        return text % {
            **parts,
            "since": format_datetime(since.replace(tzinfo=None), _TIMES[self.language], locale=self.language),
            "usual": self._measured(str(format_decimal(silence.usual, "#,##0.#", locale=self.language)), data),
            "hours": self._units(silence.hours, "hour"),
        }

    # Parts of sentences -------------------------------------------------------------------------------------------------

    def _scope(self, scope: str) -> str:
        """Its names, and a space; nothing if it is everything."""
        _ = self._text
        names = [] if scope == ALL else [_("other") if name == OTHER else name for name in scope_names(scope)]
        return "".join(f"{name} " for name in names)

    def _metric(self, metric: str) -> str:
        _ = self._text
        return {
            "orders_placed": _("orders placed"),
            "orders": _("orders"),
            "cancellations": _("cancellations"),
            "deliveries": _("deliveries"),
            "reversals": _("reversals"),
            "produced": _("vehicles produced"),
            "scrapped": _("vehicles scrapped"),
            "inventory": _("inventory"),
        }.get(metric, metric)

    def _moment(self, data: MilestoneData) -> str:
        """How long after the start of a campaign, and the business date if the window has more than one."""
        _ = self._text
        day = ""
        if data.achieved_on is not None and data.start != data.end:
            year = data.period.rpartition(":")[2][:4]
            has_year = year == data.achieved_on[:4] and not data.period.startswith("campaign:")
            day = self._date(data.achieved_on, _OF_YEAR_SAID[self.language] if has_year else "date")
        length = "" if data.after_s is None else self.length(data.after_s)
        if day and length:
            return _(" after %(length)s, on %(date)s") % {"length": length, "date": day}
        if length:
            return _(" after %(length)s") % {"length": length}
        return _(", on %(date)s") % {"date": day} if day else ""

    def _in_a_row(self, data: MilestoneData) -> str:
        """Such as `for the 5th month in a row`."""
        _ = self._text
        text = {
            "day": _("for the %(nth)s day in a row"),
            "week": _("for the %(nth)s week in a row"),
            "month": _("for the %(nth)s month in a row"),
            "quarter": _("for the %(nth)s quarter in a row"),
            "half": _("for the %(nth)s half-year in a row"),
            "year": _("for the %(nth)s year in a row"),
            "holiday": _("for the %(nth)s holiday in a row"),
        }.get(data.period.partition(":")[0], _("for the %(nth)s time in a row"))
        number = data.streak or 0
        return text % {"nth": ordinal(number) if self.language == "en" else self._decimal(number)}

    def _kind(self, period: str) -> str:
        """The kind of a period, as it qualifies a count: `month`, `7-day window`."""
        _ = self._text
        kind, _colon, rest = period.partition(":")
        if kind == "rolling":
            return _("%(days)s-day window") % {"days": rest.partition("d:")[0]}
        return {
            "day": _("day"),
            "week": _("week"),
            "month": _("month"),
            "quarter": _("quarter"),
            "half": _("half-year"),
            "year": _("year"),
            "campaign": _("campaign"),
            "holiday": _("holiday"),
        }.get(kind, kind)

    def _window(self, period: str) -> str:
        """`on 7 Oct 2024`, `in October 2024`, `in all`."""
        _ = self._text
        if period == "total":
            return _("in all")
        text = _("on %(period)s") if period.startswith("day:") else _("in %(period)s")
        return text % {"period": self._period(period)}

    def _period(self, period: str) -> str:
        """`7 Oct 2024`, `October 2024`, `week 41 of 2024`, `Q3 FY2025`, `the 7 days to 7 Oct 2024`, `the national day holiday of 2024`."""
        _ = self._text
        kind, _colon, rest = period.partition(":")
        match kind:
            case "day":
                return self._date(rest)
            case "month":
                return str(format_skeleton("yMMMM", date.fromisoformat(f"{rest}-01"), locale=self.language))
            case "campaign":
                return _("the %(name)s campaign") % {"name": rest}
            case "rolling":
                days, _colon, end = rest.partition("d:")
                return _("the %(days)s days to %(date)s") % {"days": days, "date": self._date(end)}
            case "holiday":
                name, _colon, year = rest.rpartition(":")
                return _("the %(holiday)s holiday of %(year)s") % {"holiday": self._holiday(name), "year": year}
        name, _dash, part = rest.partition("-")
        text = {
            "W": _("week %(number)s of %(year)s"),
            "Q": _("Q%(number)s %(year)s"),
            "H": _("H1 %(year)s") if part == "H1" else _("H2 %(year)s"),
        }.get(part[:1], "%(year)s")
        return text % {"number": part[1:].lstrip("0"), "year": self._year(name)}

    def _year(self, name: str) -> str:
        """`2024`, `FY2025`."""
        _ = self._text
        text = _("FY%(year)s") if name.startswith("FY") else _("%(year)s")
        return text % {"year": name.removeprefix("FY")}

    def _holiday(self, name: str) -> str:
        _ = self._text
        return {
            "new-year": _("new year"),
            "spring-festival": _("spring festival"),
            "qingming": _("qingming"),
            "labour-day": _("labour day"),
            "dragon-boat": _("dragon boat"),
            "mid-autumn": _("mid autumn"),
            "national-day": _("national day"),
        }.get(name) or name.replace("-", " ")

    def _date(self, text: str, form: DateForm = "date") -> str:
        """`7 Oct 2024`."""
        return date_text(text, self.language, form)

    def _amount(self, number: int, data: MilestoneData) -> str:
        # The same in all our languages, and written ten times as fast as by Babel.
        return self._measured(f"{number:,}", data)

    def _measured(self, number: str, data: MilestoneData) -> str:
        """A number with the measure word of what is counted, in languages that have them."""
        pgettext = self.translations.pgettext
        text = pgettext("orders", "%(number)s") if data.metric in _OF_ORDERS else pgettext("vehicles", "%(number)s")
        return str(text) % {"number": number}

    def _decimal(self, value: float) -> str:
        """At most four digits after the point."""
        return str(format_decimal(value, "#,##0.####", locale=self.language))

    def _units(self, number: int, unit: str) -> str:
        """`3 hours`."""
        # The long names of units are incomplete in Chinese.
        length: Literal["short", "long"] = "short" if self.language == "zh" else "long"
        return str(format_unit(number, f"duration-{unit}", length=length, locale=self.language))

    def _text(self, text: str) -> str:
        return self.translations.gettext(text)


@lru_cache
def sentences(language: str = LANGUAGES[0]) -> Sentences:
    """The sentences of a language.

    Args:
        language: One of `LANGUAGES`.
    """
    return Sentences(language, translations_in(Path(__file__).parent / "locale", language))
