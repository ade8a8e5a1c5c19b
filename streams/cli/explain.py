"""`milestones explain`: what is behind a milestone, or behind a window's change between two times."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from schemas.facts import INVENTORY, ROW_METRICS, TYPES_OF_VEHICLES
from schemas.rows import RowKey
from schemas.texts import source_of_scope
from streams.audit.alerts import AlertExplanation
from streams.audit.explaining import MilestoneExplanation, explain_milestone
from streams.audit.report import owner_text, place_text
from streams.audit.window_changes import WindowExplanation, explain_window
from streams.cli.options import IDENTIFIER, TEXT, business_text, instant_us, language_option, with_settings
from streams.cli.progress import watched
from streams.cli.running import run
from streams.errors import ExpectedError
from streams.wording.headline import headline
from streams.wording.parts import ordinal
from streams.wording.sentences import sentences

if TYPE_CHECKING:
    from schemas.outputs import Forecast, MilestoneData
    from streams.settings import Settings

_SHOWN_CHANGES = 20


@click.command()
@click.argument("what", metavar="MILESTONE_ID|METRIC/SCOPE/PERIOD", type=IDENTIFIER)
@click.option(
    "--between",
    type=TEXT,
    nargs=2,
    metavar="T1 T2",
    default=None,
    help="For a window: two append times with an offset, such as 2024-10-07T18:00:00+08:00. Default: everything.",
)
@click.option(
    "--sources", "from_sources", is_flag=True, help="Reread all source topics: slow, but also finds exact copies."
)
@click.option("--json", "as_json", is_flag=True, help="Everything as one JSON object.")
@language_option
@with_settings
def command(
    what: str,
    between: tuple[str, str] | None,
    from_sources: bool,
    as_json: bool,
    language: str,
    settings: Settings,
) -> None:
    """Show which unit passed a number, or what changed a window.

    For a milestone: the exact unit by (time, id), the history of its order, the units before and after it, the places of their
    records, and all revisions. For a window, such as deliveries/model=SU7/day:2024-10-07: each unit that entered or left between
    two append times, and the events that caused it.

    Orders are found in the ledger's changelog through an index, which is kept on this machine and built when first needed, and
    judged by the code of verify. Exact copies of an event change nothing and are not kept by the ledger: --between shows those
    that came in between, --sources shows all.
    """
    key = _row_key(what)
    if key is None:
        if between:
            raise click.UsageError("--between is about a window, METRIC/SCOPE/PERIOD; this is the id of a milestone")
        with watched() as listener:
            milestone = run(settings, explain_milestone(settings, what, listener, from_sources=from_sources))
        if as_json:
            click.echo(json.dumps(milestone.document(), ensure_ascii=False))
        else:
            _print_explanation(milestone, language)
        return
    times = _times(between) if between else None
    with watched() as listener:
        try:
            window = run(settings, explain_window(settings, key, times, listener, from_sources=from_sources))
        except ValueError as error:
            raise ExpectedError(str(error), exit_code=2) from None
    if as_json:
        click.echo(json.dumps({**window.document(), "between": list(between) if between else None}, ensure_ascii=False))
    else:
        _print_window(window, between)


def _row_key(what: str) -> RowKey | None:
    """The key of a row; None if it is something else: a milestone's id has more parts, or a different third one."""
    parts = what.split("/")
    key = RowKey(*parts) if len(parts) == 3 else None
    if key is None or key.metric not in ROW_METRICS or key.period.startswith(("record:", "record-passed:")):
        return None
    if key.metric == INVENTORY:
        of = f"{key.scope}/{key.period}"
        raise ExpectedError(
            f"{what} is what was produced less what was delivered: explain produced/{of} or deliveries/{of}"
        )
    return key


def _times(between: tuple[str, str]) -> tuple[int, int]:
    first, last = (instant_us(text, "--between") for text in between)
    if last < first:
        raise click.UsageError("--between: the second time is before the first")
    return first, last


# A milestone --------------------------------------------------------------------------------------------------------


def _print_units(found: MilestoneExplanation) -> None:
    """The unit that passed the line, and its neighbours."""
    if found.position <= found.data.balance:
        click.echo(f"The opening balance passes the line: it takes {found.position:,}")
    elif found.unit is None:
        click.echo(f"No unit passes the line: it takes {found.position:,}, there are {found.count:,}")
    else:
        click.echo(f"The {ordinal(found.position)} unit by time and id passed the line")
        _print_event(found.unit)
    for unit, place, position in (
        (found.before, "before it", found.position - 1),
        (found.after, "after it", found.position + 1),
    ):
        if unit is not None:
            click.echo(f"The {ordinal(position)}, {place}")
            _print_event(unit)


def _print_milestone(found: MilestoneExplanation, language: str) -> None:
    data = found.data
    click.echo(f"{sentences(language).sentence(data)}  [{data.milestone_id}]")
    click.echo(
        f"{'stands' if found.standing else 'RETRACTED'}; "
        f"{'the source topics now hold' if found.from_sources else 'the ledger now has'} {found.count:,} in {data.period}"
    )
    if data.balance:
        click.echo(f"{data.balance:,} of them are the opening balance")
    _print_waiting(found.waiting)
    if found.earlier_best is not None:
        period, count = found.earlier_best
        best = period.start.isoformat() if period.kind == "day" else period.id
        click.echo(f"the best {period.kind} before was {best} with {count:,}")
    if data.compared_scope is not None:
        click.echo(f"compared with {data.compared_scope}, which had {data.compared_count or 0:,} when it was found")
    if found.compared is not None:
        click.echo(f"compared with {found.compared[0].id}, which counts {found.compared[1]:,} now")
    if found.in_a_row:
        click.echo(f"before it in a row: {', '.join(f'{period.id} {count:,}' for period, count in found.in_a_row)}")
    click.echo()
    _print_units(found)
    if found.unit is not None:
        click.echo()
        owner = owner_text(found.unit)
        click.echo(f"{owner[0].upper()}{owner[1:]}: all its records, as they were appended")
        for record in found.history:
            _print_record(record)
    click.echo()
    click.echo("Revisions")
    for event in found.revisions:
        cause = event.data.cause
        because = (
            f"by {cause.event_source} {cause.event_id} at {cause.topic}-{cause.partition}@{cause.offset}"
            if cause is not None
            else "by a clock, a target, a setting or a correction"
        )
        click.echo(
            f"  {event.data.revision}  detected {business_text(event.data.detected_at, data.timezone)}  {headline(event, language)}"
        )
        click.echo(f"     {because}")


def _print_event(event: dict[str, Any]) -> None:
    vin = f"  VIN {event['vin']}" if "vin" in event and event["type"] not in TYPES_OF_VEHICLES else ""
    click.echo(f"  {event['time']}  {owner_text(event)}{vin}")
    click.echo(f"  {event['type']}  {event['source']} {event['id']}  {place_text(event)}")


def _print_record(record: dict[str, Any]) -> None:
    when = f"{record['time']}  {record['type']:<21}  " if "time" in record else ""
    click.echo(f"  {when}{record['effect']}")
    identity = f"{record['source']} {record['id']}  " if "id" in record else ""
    appended = f"appended {record['appended_at']}" if record["appended_at"] else "no longer in its topic"
    click.echo(f"      {identity}{place_text(record)}  {appended}")


def _print_waiting(waiting: int | None) -> None:
    if waiting is None:
        click.echo("No worker has ever said how far it is: what waits is not known.")
    elif waiting:
        click.echo(f"{waiting:,} records have arrived and are not counted yet.")


# An alert -----------------------------------------------------------------------------------------------------------


def _print_explanation(found: MilestoneExplanation | AlertExplanation, language: str) -> None:
    if isinstance(found, AlertExplanation):
        _print_alert(found, language)
    else:
        _print_milestone(found, language)


def _print_alert(found: AlertExplanation, language: str) -> None:
    data = found.data
    click.echo(f"{sentences(language).sentence(data)}  [{data.milestone_id}]")
    click.echo(f"{'stands' if found.standing else 'has ended'}; raised by the rule {data.rule}")
    if data.silence is None:
        click.echo(f"the last forecast of its target: {_forecast_text(found.latest)}")
    click.echo()
    click.echo("Revisions")
    for event in found.revisions:
        told = event.data
        detected = business_text(told.detected_at, told.timezone)
        click.echo(f"  {told.revision}  detected {detected}  {headline(event, language)}")
        if told.ended == "gone":
            click.echo("     its target or rule was no longer there, or the target had another value")
            continue
        if told.silence is not None:
            _print_hours(told, found.published.hours_of(told))
            continue
        made, before, after = found.published.around(told)
        for name, forecast in (("by the forecast", made), ("the one before", before), ("the one after", after)):
            click.echo(f"     {name:<15}  {_forecast_text(forecast)}")


def _print_hours(data: MilestoneData, hours: list[int]) -> None:
    """Prints what the rows have now for the hours of a silence."""
    now, *weeks = hours
    silence = data.silence
    if silence is not None:
        is_source = source_of_scope(data.scope) is not None
        have = f"{now:,} hours have events" if is_source else f"the rows have {now:,}"
        click.echo(f"     from {silence.since} to {silence.until} {have}")
        click.echo(
            f"     in the same hours one to {len(weeks)} weeks before {', '.join(f'{units:,}' for units in weeks)}"
        )


def _forecast_text(made: Forecast | None) -> str:
    if made is None:
        return "no longer there"
    total, day = made.projected_total, made.projected_date.p50
    within = f" ({total.p10:,} to {total.p90:,})" if total.p10 is not None and total.p90 is not None else ""
    number = "nothing" if total.p50 is None else f"{total.p50:,}{within}"
    on = f"on {day}" if day is not None else "not in sight"
    return f"{business_text(made.as_of, made.timezone)}  expected {number} for {made.value:,}, {on}; counted {made.count:,}"


# A window -----------------------------------------------------------------------------------------------------------


def _print_window(found: WindowExplanation, between: tuple[str, str] | None) -> None:
    entered = [change for change in found.changes if change.entered]
    left = [change for change in found.changes if not change.entered]
    when = f"appended after {between[0]} until {between[1]}" if between else "from the first record until now"
    click.echo(f"{'/'.join(found.key)}, {when}")
    click.echo(f"{found.before:,} before, {len(entered):,} entered, {len(left):,} left, {found.after:,} after")
    _print_waiting(found.waiting)
    for title, changes in (("Left", left), ("Entered", entered)):
        if not changes:
            continue
        shown = changes[-_SHOWN_CHANGES:]
        more = f" (the latest {len(shown)} of {len(changes):,}; --json lists all)" if len(shown) < len(changes) else ""
        click.echo()
        click.echo(f"{title}{more}")
        for change in shown:
            described = found.described(change)
            place = place_text(described)
            click.echo(f"  {described['time']}  {owner_text(described)}  {place}  {described['effect']}")
            # The unit's own event is on its line; other events of its order are the reason, or part of the story.
            for reason in described["because"]:
                if place_text(reason) != place:
                    click.echo(f"      {reason['time']}  {reason['effect']}  {reason['type']}  {place_text(reason)}")
    if not (found.before or found.changes):
        click.echo("No unit was ever counted here: are metric, scope and period right?", err=True)
    if found.without_effect:
        click.echo()
        click.echo("Events dated here that came in between and do not count")
        for effect, count in found.without_effect.most_common():
            click.echo(f"  {count:>7,}  {effect.removeprefix('no effect: ')}")
