"""A milestone event as one plain sentence."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from schemas.outputs import ALERT_KINDS
from schemas.texts import ALL, scope_names, source_of_scope

if TYPE_CHECKING:
    from schemas.outputs import AlertSilence, MilestoneData, MilestoneEvent

_UNITS = {
    "orders_placed": "orders placed",
    "orders": "orders",
    "cancellations": "cancellations",
    "deliveries": "deliveries",
    "reversals": "reversals",
    "produced": "vehicles produced",
    "scrapped": "vehicles scrapped",
}
_TYPES = {
    "milestone.raised.v1": "",
    "milestone.recorded.v1": "on record: ",
    "milestone.retracted.v1": "RETRACTED: ",
    "milestone.reinstated.v1": "reinstated: ",
    "alert.raised.v1": "ALERT: ",
    "alert.ended.v1": "alert ended: ",
}


def headline(event: MilestoneEvent) -> str:
    """Date, what was reached, the number, and the identity, on one line."""
    data = event.data
    # An event without a unit is dated by the end of its window, or by its detection if the window has not ended.
    when = data.achieved_on or (data.achieved_at[:10] if data.achieved_at else min(data.end, data.detected_at[:10]))
    if data.forecast is not None and event.stands:
        when = data.forecast.business_date
    elif data.silence is not None:
        when = data.start
    revision = f" revision {data.revision}" if data.revision > 1 else ""
    return f"{when}  {_TYPES.get(event.type, f'{event.type}: ')}{sentence(data)}  [{data.milestone_id}{revision}]"


def sentence(data: MilestoneData) -> str:
    """What happened, such as `SU7 deliveries passed 1,000 on 7 Oct 2024: 1,001`.

    The last number is that of the unit that passed the threshold; if it is not known, the count when that was detected.
    """
    what = f"{_scope(data.scope)}{_UNITS.get(data.metric, data.metric)}"
    return f"{what}: {_alert(data)}" if data.kind in ALERT_KINDS else _milestone(data, what)


def _milestone(data: MilestoneData, what: str) -> str:
    window = _window(data)
    if data.kind == "record":
        return f"{what}: a record {_kind(data)}, {data.count:,} {window}"
    if data.kind == "scope_share":
        whole = f"{data.count:,} of {data.compared_count or 0:,}"
        return f"{what} were {(data.share or 0) * 100:.4g} % of all or more {window}: {whole}"
    if data.kind == "leader":
        other = (
            f", before{_scope_name(data.compared_scope)} with {data.compared_count or 0:,}"
            if data.compared_scope
            else ""
        )
        return f"{what} came first {window}: {data.count:,}{other}"
    if data.kind == "record_passed":
        number = data.count if data.position is None else data.position
        return f"{what}: more than in any {_kind(data)} before, {number:,} {window}{_after(data)}{_on(data)}"
    line = f"{data.threshold:,}" if data.threshold is not None else "?"
    window += _after(data) + _on(data)
    number = data.count if data.position is None else data.position
    if data.kind == "factor":
        other = f"the {data.compared_count or 0:,} of {_period(data.compared_with or data.period)}"
        return f"{what} reached {data.factor:.10g} times {other} {window}: {number:,}"
    if data.kind == "share":
        value, share = share_of(data)
        return f"{what} reached {share * 100:.4g} % of the target of {value:,} {window}: {number:,}"
    if data.kind == "target":
        return f"{what} reached the target of {line} {window}: {number:,}"
    verb = "passed" if data.operator == "exceeds" else "reached"
    how = ""
    if data.kind == "first":
        how = f" in a {_kind(data)} for the first time,"
    elif data.kind == "streak":
        how = f" for the {ordinal(data.streak or 0)} {_kind(data)} in a row,"
    return f"{what} {verb} {line}{how} {window}: {number:,}"


def _alert(data: MilestoneData) -> str:
    """An alert: what is expected of a target, or which events do not come, or why the alert has ended."""
    if data.silence is not None:
        return _silence(data, data.silence)
    value = data.threshold or 0
    target = f"the target of {value:,} {_window(data)}"
    if data.ended == "gone":
        return f"{target} is no longer watched"
    if data.ended == "reached":
        return f"{target} is reached"
    if data.ended == "over":
        return f"{target} is missed by {value - data.count:,}"
    told = data.forecast
    if data.kind == "forecast_moved":
        day, former = (None if told is None else told.projected_date, None if told is None else told.former_date)
        if data.ended is not None:
            return f"{target} is expected on {_date(day)} again" if day else f"{target} is out of sight again"
        if day is None:
            return f"{target} is out of sight, before it was expected on {_date(former)}"
        return (
            f"{target} is expected on {_date(day)}, before {f'on {_date(former)}' if former else 'it was out of sight'}"
        )
    total = (told.projected_total.p50 if told is not None else None) or 0
    if data.ended is not None:
        return f"expected to reach {target} after all, {total:,}"
    return f"expected to miss {target} by {value - total:,}"


def _silence(data: MilestoneData, silence: AlertSilence) -> str:
    is_source = source_of_scope(data.scope) is not None
    if data.ended is not None:
        back = "events come again" if is_source else "units come again"
        return back if data.ended == "back" else "a silence is no longer watched"
    since = silence.since[:16].replace("T", " ")
    hours = "1 hour" if silence.hours == 1 else f"{silence.hours} hours"
    if is_source:
        return f"no events since {since}, in {hours} in which some usually come"
    what = "nothing" if data.count == 0 else f"only {data.count:,}"
    return f"{what} since {since}, where {silence.usual:,.4g} usually come in {hours}"


def _date(text: str | None) -> str:
    """`7 Oct 2024`."""
    if text is None:
        return "no date"
    day = date.fromisoformat(text)
    return f"{day.day} {day:%b %Y}"


def ordinal(number: int) -> str:
    """`3rd`, `1,012th`."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number:,}{ending}"


def length_of(after_s: float) -> list[tuple[int, str]]:
    """How long after the start of a campaign something happened, as people say it: the two largest nonzero units, rounded down.

    Returns:
        Pairs such as (26, "minute"), (43, "second"); seconds only within the first hour.
    """
    seconds = int(after_s)
    sizes = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
    parts = []
    for unit, size in sizes:
        number, seconds = divmod(seconds, size)
        parts.append((number, unit))
    first = next((place for place, (number, _) in enumerate(parts) if number), len(parts) - 1)
    return [part for part in parts[first : first + 2] if part[0] or part is parts[first]]


def _after(data: MilestoneData) -> str:
    """How long after the start of a campaign, in words."""
    if data.after_s is None:
        return ""
    return " after " + " ".join(
        f"{number:,} {unit}{'' if number == 1 else 's'}" for number, unit in length_of(data.after_s)
    )


def _on(data: MilestoneData) -> str:
    """The business date, if the window has more than one."""
    if data.achieved_on is None or data.start == data.end:
        return ""
    day = date.fromisoformat(data.achieved_on)
    return f", on {day.day} {day:%b %Y}"


def share_of(data: MilestoneData) -> tuple[int, float]:
    """The target's value and the share, between 0 and 1, of a milestone of kind `share`."""
    value, share = data.milestone_id.rsplit(":", 2)[1:]
    return int(value), float(share)


def every_of(data: MilestoneData) -> int:
    """The number whose multiples are raised, of a milestone of kind `multiple`."""
    return int(data.milestone_id.rsplit(":", 2)[1])


def _scope(scope: str) -> str:
    if scope == ALL:
        return ""
    return " ".join(scope_names(scope)) + " "


def _scope_name(scope: str) -> str:
    return f" {' '.join(scope_names(scope))}"


def _kind(data: MilestoneData) -> str:
    kind = data.period.partition(":")[0]
    if kind == "rolling":
        return f"{data.period.split(':')[1].removesuffix('d')}-day window"
    return "half-year" if kind == "half" else kind


def _window(data: MilestoneData) -> str:
    kind = data.period.partition(":")[0]
    if kind == "total":
        return "in all"
    return f"{'on' if kind == 'day' else 'in'} {_period(data.period)}"


def _period(period_id: str) -> str:
    """`7 Oct 2024`, `October 2024`, `week 41 of 2024`, `Q3 FY2025`, `the 7 days to 7 Oct 2024`, `the national day holiday of 2024`."""
    kind, _, rest = period_id.partition(":")
    if kind == "day":
        day = date.fromisoformat(rest)
        return f"{day.day} {day:%b %Y}"
    if kind == "campaign":
        return f"the {rest} campaign"
    if kind == "month":
        return f"{date.fromisoformat(f'{rest}-01'):%B %Y}"
    if kind == "rolling":
        days, _, end = rest.partition("d:")
        day = date.fromisoformat(end)
        return f"the {days} days to {day.day} {day:%b %Y}"
    year, _, part = rest.partition("-")
    if kind == "week":
        return f"week {int(part.removeprefix('W'))} of {year}"
    if kind in ("quarter", "half"):
        return f"{part} {year}"
    if kind == "year":
        return year
    name, _, year = rest.rpartition(":")
    return f"the {name.replace('-', ' ')} holiday of {year}"
