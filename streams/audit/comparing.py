"""Compares what was published with the recount; each comparison returns a check."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from schemas.counts import CampaignHour
from schemas.facts import DIMENSIONS
from schemas.rows import RowKey
from schemas.texts import template_name
from streams.audit.expected_milestones import (
    expected_standing,
    found_standing,
    is_judged,
    is_of_campaign_left_out,
    may_be_held,
)
from streams.audit.kept_days import ALL_KEPT
from streams.audit.report import Check, Suspect
from streams.audit.sums import Day, Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from schemas.counts import CountKey
    from schemas.outputs import Marker, MilestoneEvent, WindowRow
    from streams.audit.expected_milestones import TargetInForce
    from streams.audit.kept_days import KeptSince
    from streams.audit.sums import Business, CampaignSpan
    from streams.settings import Settings

_NO_HOURS = [0] * 24
_MINUTES_OF_HOUR = 60


def compare_shards(
    published: Mapping[int, Mapping[CountKey, Day]],
    recounted: Mapping[int, Mapping[CountKey, Day]],
    business: Business,
) -> Check:
    """Compares the day counts of every ledger partition, hour by hour, and those of campaigns, minute by minute."""
    check = Check("day counts", 0, "day counts of the ledger partitions equal the events")
    for shard in sorted(published):
        theirs, ours = published[shard], recounted.get(shard, {})
        for key in sorted(theirs.keys() | ours.keys(), key=str):
            check.compared += 1
            metric, scope, day = key
            if isinstance(day, CampaignHour):
                _compare_hour(check, shard, key, theirs.get(key), ours.get(key), business)
                continue
            was, found = theirs.get(key, Day()), ours.get(key, Day())
            if (was.count, was.by_hour) != (found.count, found.by_hour):
                hours = _hours(was.by_hour, found.by_hour)
                check.differ(
                    f"{metric}/{scope}/day:{day} in ledger partition {shard}: "
                    f"{_numbers(was.count, found.count)}{_hours_text(hours)}",
                    shard=shard,
                    row=f"{metric}/{scope}/day:{day}",
                    published=was.count,
                    recounted=found.count,
                    hours=_hours_details(hours),
                    suspect=Suspect(shard, metric, scope, day, day, tuple(hours)),
                )
    return check


def _compare_hour(  # noqa: PLR0913, PLR0917 - what is compared with what
    check: Check, shard: int, key: CountKey, theirs: Day | None, ours: Day | None, business: Business
) -> None:
    """Compares one hour of a campaign in one ledger partition."""
    metric, scope, hour = key
    if not isinstance(hour, CampaignHour):
        raise TypeError(f"{key} is no hour of a campaign")
    span = next((span for span in business.campaigns if span.period.id == f"campaign:{hour.campaign}"), None)
    if span is None:
        return  # an earlier campaign, which is no longer counted
    was, found = (each.by_hour if each is not None else [0] * _MINUTES_OF_HOUR for each in (theirs, ours))
    count = theirs.count if theirs is not None else 0
    if (count, was) != (sum(found), found):
        minutes = {hour.hour * _MINUTES_OF_HOUR + number: pair for number, pair in _hours(was, found).items()}
        numbers = _numbers(count, sum(found), "minutes")
        check.differ(
            f"{metric}/{scope}/{span.period.id} in ledger partition {shard}, hour {hour.hour + 1}: "
            f"{numbers}{_minutes_text(minutes)}",
            shard=shard,
            row=f"{metric}/{scope}/{span.period.id}",
            published=count,
            recounted=sum(found),
            minutes=_minutes_details(minutes),
            suspect=Suspect(shard, metric, scope, span.period.start, span.period.end, (), tuple(minutes), span),
        )


def compare_rows(
    rows: Mapping[RowKey, WindowRow], windows: Mapping[RowKey, Window], business: Business, check: Check
) -> Check:
    """Compares the published rows with the counts, except rows of holidays that are no longer counted."""
    for key in sorted(rows.keys() | windows.keys()):
        row, window = rows.get(key), windows.get(key)
        if window is None and row is not None and not business.is_counted(key.period):
            continue
        check.compared += 1
        was, found = (row.count if row else 0), (window.count if window else 0)
        hours: dict[int, tuple[int, int]] = {}
        if row is not None and row.by_hour is not None:
            hours = _hours(row.by_hour, (window.by_hour if window else None) or _NO_HOURS)
        minutes = _minutes(row, window)
        if was != found or hours or minutes:
            period = window.period if window is not None else None
            start = period.start if period is not None else date.fromisoformat(row.start if row else "")
            end = period.end if period is not None else date.fromisoformat(row.end if row else "")
            numbers = _numbers(was, found, "minutes" if minutes else "hours")
            check.differ(
                f"{key}: {numbers}{_hours_text(hours)}{_minutes_text(minutes)}",
                row="/".join(key),
                published=was,
                recounted=found,
                hours=_hours_details(hours),
                **({"minutes": _minutes_details(minutes)} if minutes else {}),
                suspect=Suspect(
                    None,
                    key.metric,
                    key.scope,
                    start,
                    end,
                    tuple(hours),
                    tuple(minutes),
                    next((span for span in business.campaigns if span.period.id == key.period), None),
                ),
            )
    return check


def compare_sums(rows: Mapping[RowKey, WindowRow], kept: KeptSince = ALL_KEPT) -> Check:
    """Compares every published month, year and holiday with the published days in it, if all of them have rows."""
    check = Check("sums", 0, "months, years and holidays are the sums of their days")
    days: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for (metric, scope, period), row in rows.items():
        if period.startswith("day:"):
            days.setdefault((metric, scope), []).append((row.start, row.count))
    for key, row in sorted(rows.items()):
        metric, scope, period = key
        if period.startswith("day:"):
            if row.by_hour is not None and sum(row.by_hour) != row.count:
                check.differ(f"{key}: {row.count:,}, its hours add up to {sum(row.by_hour):,}")
            continue
        if metric == "inventory":
            check.compared += 1
            _compare_inventory(check, rows, key)
            continue
        if row.start < kept.of(scope).isoformat():
            continue
        check.compared += 1
        if row.by_minute is not None:
            _compare_minutes(check, row, key)
            continue
        # ISO dates sort like the days they name.
        found = sum(count for day, count in days.get((metric, scope), ()) if row.start <= day <= row.end)
        if found != row.count - row.balance:
            check.differ(
                f"{key}: {row.count - row.balance:,}, its days add up to {found:,}",
                row="/".join(key),
                published=row.count - row.balance,
                days=found,
            )
    return check


def _compare_minutes(check: Check, row: WindowRow, key: RowKey) -> None:
    found = sum(row.by_minute or ())
    if found != row.count:
        check.differ(f"{key}: {row.count:,}, its minutes add up to {found:,}")


def _compare_inventory(check: Check, rows: Mapping[RowKey, WindowRow], key: RowKey) -> None:
    produced, delivered = (rows.get(RowKey(metric, key.scope, key.period)) for metric in ("produced", "deliveries"))
    found = (produced.count if produced else 0) - (delivered.count if delivered else 0)
    if found != rows[key].count:
        check.differ(
            f"{key}: {rows[key].count:,}, produced and not delivered are {found:,}",
            row="/".join(key),
            published=rows[key].count,
            recounted=found,
        )


def compare_milestones(  # noqa: PLR0913, PLR0917 - what is compared with what
    settings: Settings,
    windows: Mapping[RowKey, Window],
    rows: Mapping[RowKey, WindowRow],
    milestones: Sequence[MilestoneEvent],
    targets: Sequence[TargetInForce],
    kept: KeptSince = ALL_KEPT,
) -> Check:
    """Compares the standing milestones with those that should stand, and checks that revisions come once and in order."""
    check = Check("milestones", 0, "milestones stand as the rules and targets say")
    expected = expected_standing(settings, windows, rows, targets)
    found = found_standing(milestones)
    for milestone_id in sorted(expected.periods.keys() | found.keys()):
        event = found.get(milestone_id)
        if milestone_id not in expected.periods and event is not None and not is_judged(settings, event, targets):
            continue
        if event is not None and _stays_as_it_was(settings, event, rows, kept):
            continue
        check.compared += 1
        if event is None:
            what = _count_text(milestone_id, expected.periods[milestone_id], windows)
            check.differ(f"{milestone_id}: should stand{what}, and does not", milestone_id=milestone_id)
        elif event.data.period != expected.periods.get(milestone_id) and may_be_held(settings, event):
            continue
        elif milestone_id not in expected.periods:
            what = _count_text(milestone_id, event.data.period, windows)
            check.differ(f"{milestone_id}: stands, and should not{what}", milestone_id=milestone_id)
        elif event.data.period != expected.periods[milestone_id]:
            check.differ(
                f"{milestone_id}: stands for {event.data.period}, should for {expected.periods[milestone_id]}",
                milestone_id=milestone_id,
            )
    last: dict[str, int] = {}
    for event in milestones:
        data = event.data
        if data.revision != last.get(data.milestone_id, 0) + 1:
            check.differ(
                f"{data.milestone_id}: revision {data.revision} follows revision {last.get(data.milestone_id, 0)}",
                milestone_id=data.milestone_id,
            )
        last[data.milestone_id] = data.revision
    return check


def _stays_as_it_was(
    settings: Settings, event: MilestoneEvent, rows: Mapping[RowKey, WindowRow], kept: KeptSince
) -> bool:
    """Whether a milestone belongs to a campaign no longer counted, or rightly stands as it did when its day was last kept."""
    key = RowKey.of(event.data)
    return is_of_campaign_left_out(settings, event.data) or (key not in rows and kept.lacks(key))


def compare_row_targets(
    rows: Iterable[WindowRow], targets: Sequence[TargetInForce], kept: KeptSince = ALL_KEPT
) -> Check:
    """Compares the targets on the rows with those in force, and checks that each is marked as reached exactly if it is."""
    check = Check("targets", 0, "targets in force are on their rows, reached or not as the count says")
    wanted: dict[RowKey, dict[str, int]] = {}
    for target in targets:
        if not kept.lacks(RowKey.of(target)):
            wanted.setdefault(RowKey.of(target), {})[target.target_id] = target.value
    seen: set[RowKey] = set()
    for row in rows:
        key = RowKey.of(row)
        seen.add(key)
        shown = {target.target_id: target.value for target in row.targets}
        if kept.lacks(key):
            continue  # its row is about to be removed
        if shown or key in wanted:
            check.compared += len(shown) or 1
        if shown != wanted.get(key, {}):
            check.differ(f"{key}: shows the targets {shown}, in force are {wanted.get(key, {})}")
        for shown_target in row.targets:
            if shown_target.reached is not (row.count >= shown_target.value):
                is_marked = "reached" if shown_target.reached else "not reached"
                check.differ(
                    f"{key}: target {shown_target.target_id} {shown_target.value:,} is marked {is_marked} at {row.count:,}"
                )
    for missing in sorted(wanted.keys() - seen):
        check.differ(f"{missing}: has no row, though the targets {wanted[missing]} are in force")
    return check


def compare_row_balances(rows: Mapping[RowKey, WindowRow], balances: Mapping[RowKey, int]) -> Check:
    """Compares the opening balances on the rows with those in force."""
    check = Check("balances", 0, "opening balances in force are on their rows")
    shown = {key: row.balance for key, row in rows.items() if row.balance}
    for key in sorted(shown.keys() | balances.keys()):
        check.compared += 1
        if shown.get(key, 0) != balances.get(key, 0):
            check.differ(f"{key}: shows a balance of {shown.get(key, 0):,}, in force is {balances.get(key, 0):,}")
    return check


def compare_campaigns(markers: Mapping[int, Marker], business: Business) -> Check:
    """Compares the campaigns that the ledger partitions count with those of settings and events."""
    check = Check("campaigns", 0, "ledger partitions count the campaigns of settings and events")
    wanted = {_text_of(span) for span in business.campaigns}
    for shard, marker in sorted(markers.items()):
        counted = set(filter(None, marker.campaigns.split("; ")))
        check.compared += len(wanted | counted)
        for text in sorted(wanted ^ counted):
            name, _, span = text.partition("@")
            what = "counts" if text in counted else "does not count"
            check.differ(
                f"ledger {shard} {what} the campaign {name} ({_span(span)})",
                ledger=shard, campaign=name, counted=text in counted,
            )  # fmt: skip
    return check


def _text_of(span: CampaignSpan) -> str:
    """A campaign as written in a marker."""
    name, minute = span.period.id.removeprefix("campaign:"), timedelta(minutes=1)
    sets = sorted([one for one in DIMENSIONS if one in template] for template in span.templates)
    scopes = "|".join(template_name(each) for each in sets)
    return f"{name}@{int(span.start.timestamp()) // 60}+{(span.end - span.start) // minute} {scopes}"


def _span(text: str) -> str:
    """When a campaign is and for which scopes, in words."""
    span, _, scopes = text.partition(" ")
    first, _, minutes = span.partition("+")
    start = datetime.fromtimestamp(int(first) * 60, UTC).isoformat().replace("+00:00", "Z")
    return f"from {start} for {minutes} minutes, of {scopes.replace('|', ', ') or 'no scopes'}"


def _count_text(milestone_id: str, period: str, windows: Mapping[RowKey, Window]) -> str:
    metric, scope = milestone_id.split("/")[:2]
    window = windows.get(RowKey(metric, scope, period))
    return f" ({period} counts {window.count if window is not None else 0:,})"


def _numbers(published: int, recounted: int, parts: str = "hours") -> str:
    if published == recounted:
        return f"published and recounted {published:,}, in other {parts}"
    return f"published {published:,}, recounted {recounted:,} ({published - recounted:+,})"


def _hours(published: Sequence[int], recounted: Sequence[int]) -> dict[int, tuple[int, int]]:
    pairs = enumerate(zip(published, recounted, strict=True))
    return {hour: (was, found) for hour, (was, found) in pairs if was != found}


def _minutes(row: WindowRow | None, window: Window | None) -> dict[int, tuple[int, int]]:
    """The minutes of a campaign that differ; a row without minutes has no units in any."""
    was = list(row.by_minute or ()) if row is not None else []
    found = list(window.by_minute or ()) if window is not None else []
    length = max(len(was), len(found))
    return _hours(was + [0] * (length - len(was)), found + [0] * (length - len(found)))


def _minutes_text(minutes: Mapping[int, tuple[int, int]]) -> str:
    if not minutes:
        return ""
    shown = [f"minute {minute + 1:,} {was:,} for {found:,}" for minute, (was, found) in list(minutes.items())[:4]]
    return f"; {', '.join(shown)}{' ...' if len(minutes) > 4 else ''}"


def _minutes_details(minutes: Mapping[int, tuple[int, int]]) -> list[dict[str, Any]]:
    return [{"minute": minute, "published": was, "recounted": found} for minute, (was, found) in minutes.items()]


def _hours_text(hours: Mapping[int, tuple[int, int]]) -> str:
    if not hours:
        return ""
    shown = [f"{hour:02d}h {was:,} for {found:,}" for hour, (was, found) in list(hours.items())[:4]]
    return f"; {', '.join(shown)}{' ...' if len(hours) > 4 else ''}"


def _hours_details(hours: Mapping[int, tuple[int, int]]) -> list[dict[str, Any]]:
    return [{"hour": hour, "published": was, "recounted": found} for hour, (was, found) in hours.items()]
