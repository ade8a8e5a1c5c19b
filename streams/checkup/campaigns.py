"""Checks of the campaigns that events announce: what was rejected, what is not counted, and what no rule watches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from schemas.changelog import STATE_KEY
from schemas.codec import decode_document, decode_marker, decode_side_state, decode_target
from schemas.events import CampaignSet, CampaignWithdrawn, TargetSet, TargetWithdrawn
from schemas.facts import ID_CONFLICT, Rejection
from schemas.memory import ANNOUNCED, SIDE, key_of
from streams.checkup import Finding, note, ok, wrong
from streams.context import Context
from streams.domain.announced.announcements import Announcement, CampaignBook, campaign_change_of
from streams.domain.time.campaigns import CAMPAIGN, Campaigns
from streams.installation import rules_of, targets_of
from streams.kafka.append_time import LOG_APPEND_TIME
from streams.kafka.clients import partition_counts, read_last, read_latest, read_to_end
from streams.kafka.records import record_value
from streams.settings_sections import as_written

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from aiokafka import AIOKafkaConsumer

    from schemas.events import PlanEvent
    from schemas.memory import SideState
    from streams.domain.announced.announcements import CampaignChange
    from streams.domain.rules import Rule
    from streams.kafka.records import LogRecord
    from streams.settings import Settings

NAME: Final = "campaigns"
#: How long after an announcement all partitions count by it, with much to spare: as a rule it takes less than a second.
_ADOPTED_WITHIN_US: Final = 60_000_000
#: Names in a line, and lines about rejected events.
_MOST_NAMES: Final = 5
_MOST_LINES: Final = 20
_NO_LIMIT_US: Final = 1 << 62
_TYPES: Final = ("campaign.set.v1", "campaign.withdrawn.v1")
_AGAIN: Final = "publish it again, corrected and with another id"


class PlanRecord(NamedTuple):
    """A record of the topic of targets.

    Attributes:
        offset: In its partition.
        appended_us: When it was appended, microseconds since 1970.
        outcome: The event, or why the record is invalid.
        said: Type, campaign, source and id, if it looks like an event of a campaign.
    """

    offset: int
    appended_us: int
    outcome: PlanEvent | Rejection
    said: tuple[str, str, str, str] | None


class CampaignBasis(NamedTuple):
    """What a cluster has about announced campaigns.

    Attributes:
        records: The topic of targets.
        side: How far the workers have read it; None if none has.
        counted_by: Ledger partition → the announcement in its last marker.
        adopted: Partition of the totals → the announcement that its rows are counted by.
    """

    records: tuple[PlanRecord, ...] = ()
    side: SideState | None = None
    counted_by: Mapping[int, str] = {}
    adopted: Mapping[int, str] = {}


async def read_campaigns(settings: Settings, consumer: AIOKafkaConsumer) -> CampaignBasis:
    """Reads everything about announced campaigns; nothing from topics that do not exist.

    Args:
        settings: The settings of the installation.
        consumer: The consumer to read with.
    """
    catalogue = settings.catalogue
    targets, memory, ledger = catalogue.targets.name, catalogue.totals, catalogue.ledger
    there = await partition_counts(consumer, [targets, memory.name, ledger.name])
    side, adopted = None, dict[int, str]()
    if there[memory.name]:
        keys = key_of(SIDE, targets), key_of(SIDE, ANNOUNCED)
        for part in memory.whole:
            known = await read_latest(settings, [part], consumer=consumer, wanted=lambda key: key in keys)
            adopted[part[1]] = (known.get(keys[1]) or b"").decode()
            side = decode_side_state(known[keys[0]]) if keys[0] in known else side
    records: list[PlanRecord] = []
    if there[targets]:
        async for some in read_to_end(settings, [(targets, 0)], consumer=consumer):
            records += (_plan_record(record, settings, 0 if side is None else side.next) for record in some)
    counted_by = await _counted_by(settings, consumer) if there[ledger.name] else {}
    return CampaignBasis(tuple(records), side, counted_by, adopted)


def _plan_record(record: LogRecord, settings: Settings, next_offset: int) -> PlanRecord:
    # Workers have judged whether what they have read lay too far in the future.
    has_limit = record.offset >= next_offset and record.timestamp_type == LOG_APPEND_TIME
    limit_us = settings.future_limit_s * 1_000_000 if has_limit else _NO_LIMIT_US
    outcome = decode_target(record, future_limit_us=limit_us, framed=settings.accept_schema_registry_json)
    if isinstance(outcome, CampaignSet | CampaignWithdrawn):
        said = (outcome.type, outcome.data.campaign, outcome.source, outcome.id)
        return PlanRecord(record.offset, record.timestamp * 1000, outcome, said)
    return PlanRecord(record.offset, record.timestamp * 1000, outcome, _said_by(record.value or b""))


def _said_by(value: bytes) -> tuple[str, str, str, str] | None:
    """What an invalid record says of itself, if it looks like an event of a campaign."""
    try:
        document: Any = decode_document(value[value.find(b"{") :])
    except ValueError:
        return None
    if not isinstance(document, dict) or document.get("type") not in _TYPES:
        return None
    data = document.get("data")
    name = data.get("campaign") if isinstance(data, dict) else None
    return str(document["type"]), str(name or ""), str(document.get("source", "")), str(document.get("id", ""))


async def _counted_by(settings: Settings, consumer: AIOKafkaConsumer) -> dict[int, str]:
    """Ledger partition → the announcement in its last marker; those without a marker are left out."""
    found = {}
    for part in settings.catalogue.ledger.whole:
        last = await read_last(settings, part, STATE_KEY, consumer=consumer)
        if last is not None:
            found[part[1]] = decode_marker(record_value(last)).announced
    return found


def campaign_findings(settings: Settings, basis: CampaignBasis, now_us: int) -> Iterator[Finding]:
    """What is wrong with announcements, then what rules and targets about campaigns lack; nothing if there are no campaigns.

    Args:
        settings: The settings of the installation.
        basis: What the cluster has.
        now_us: The time, microseconds since 1970.
    """
    topic, templates = settings.catalogue.targets.name, Context(settings).templates
    most = settings.limits.announced_campaigns
    book = CampaignBook((campaign.name for campaign in settings.campaigns), most)
    accepted, refused = _judged(basis, book, templates)
    for record, why in refused[:_MOST_LINES]:
        type_, _, source, id_ = record.said or ("", "", "", "")
        yield wrong(NAME, f"{type_} {source} {id_} at {topic}-0@{record.offset} {why}", _AGAIN)
    if len(refused) > _MOST_LINES:
        yield wrong(NAME, f"{len(refused) - _MOST_LINES:,} more events of campaigns are invalid", _AGAIN)
    last: dict[str, tuple[PlanRecord, CampaignChange]] = {}
    for record, change in accepted:
        if change.name not in last or change.order > last[change.name][1].order:
            last[change.name] = record, change
    yield from _without_effect(accepted, last, topic)
    yield from _scopes(last, templates)
    yield from _beyond_limit(last, book, most, now_us)
    counted = Announcement(1, book.decided).beside(settings.campaigns)
    behind: list[Finding] = []
    if accepted:
        behind += _behind(basis, book, max(record.appended_us for record, _ in accepted), now_us)
    yield from behind
    yield from _rules(rules_of(settings), counted, now_us)
    yield from _targets(settings, basis, counted)
    if accepted and not behind:
        yield ok(
            NAME,
            f"{len(last):,} {'has' if len(last) == 1 else 'have'} been announced, and all partitions count by that",
        )


def _judged(
    basis: CampaignBasis, book: CampaignBook, templates: Sequence[tuple[str, ...]]
) -> tuple[list[tuple[PlanRecord, CampaignChange]], list[tuple[PlanRecord, str]]]:
    """The events of campaigns that were or will be accepted, and those rejected, each with the reason, that none has followed.

    The book takes those that are accepted.
    """
    accepted: list[tuple[PlanRecord, CampaignChange]] = []
    refused: list[tuple[PlanRecord, str]] = []
    read = 0 if basis.side is None else basis.side.next
    runs = () if basis.side is None else basis.side.rejected
    for record in basis.records:
        if record.said is None:
            continue
        is_letter = any(first <= record.offset <= end for first, end in runs)
        tense = "was rejected" if record.offset < read else "will be rejected"
        if isinstance(record.outcome, Rejection):
            if is_letter or record.offset >= read:
                refused.append((record, f"{tense}: {record.outcome.message}"))
        elif isinstance(record.outcome, CampaignSet | CampaignWithdrawn):
            change = campaign_change_of(record.outcome, templates)
            if is_letter:
                refused.append(
                    (
                        record,
                        f"{tense}, by a version that did not know it, or since another event has its source and id",
                    )
                )
            elif book.take(change) == ID_CONFLICT:
                refused.append((record, f"{tense}: another event with the same source and id came before this one"))
            else:
                # It repairs what was wrong with its campaign before.
                refused = [one for one in refused if one[0].said is None or one[0].said[1] != change.name]
                accepted.append((record, change))
    return accepted, refused


def _without_effect(
    accepted: Iterable[tuple[PlanRecord, CampaignChange]],
    last: Mapping[str, tuple[PlanRecord, CampaignChange]],
    topic: str,
) -> Iterator[Finding]:
    """The event of a campaign that came last, if an earlier one decides since its time is later."""
    came_last = {change.name: (record, change) for record, change in accepted}
    for name, (record, change) in sorted(came_last.items()):
        decides = last[name][1]
        if change.order < decides.order and change.campaign != decides.campaign:
            yield note(
                NAME,
                f"{change.source} {change.id} at {topic}-0@{record.offset} came last about {name} and has no effect: "
                f"{decides.source} {decides.id} decides, as its time is not earlier",
            )


def _scopes(
    last: Mapping[str, tuple[PlanRecord, CampaignChange]], templates: Sequence[tuple[str, ...]]
) -> Iterator[Finding]:
    """Campaigns that are announced for scopes that are not counted."""
    for name, (record, _) in sorted(last.items()):
        event = record.outcome
        if not isinstance(event, CampaignSet) or event.data.scopes is None:
            continue
        unknown = [each for each in event.data.scopes if tuple(each) not in templates]
        if len(unknown) == len(event.data.scopes):
            cure = f"announce it for some of the scopes of the settings, which are {as_written(templates)}"
            yield wrong(
                NAME,
                f"{name} is not counted: none of its scopes {as_written(unknown)} is among those of the settings",
                cure,
            )
        elif unknown:
            yield note(
                NAME, f"{name} is not counted for {as_written(unknown)}: these are not among the scopes of the settings"
            )


def _beyond_limit(
    last: Mapping[str, tuple[PlanRecord, CampaignChange]], book: CampaignBook, most: int, now_us: int
) -> Iterator[Finding]:
    """Campaigns that are not counted because too many are announced."""
    announced = [change.campaign for _, change in last.values() if change.campaign is not None]
    counted = {name for name, campaign in book.decided if campaign is not None}
    left_out = sorted(
        (campaign for campaign in announced if campaign.name not in counted),
        key=lambda campaign: (campaign.start_us, campaign.name),
    )
    needed = [campaign.name for campaign in left_out if campaign.end_us > now_us]
    if needed:
        yield wrong(
            NAME,
            f"{_names(needed)} {'is' if len(needed) == 1 else 'are'} not counted: of {len(announced):,} that are announced, "
            f"only {most:,} are, first those that are not over and begin before the others",
            "set announced_campaigns in [limits] to more and restart the workers, or withdraw others that are not over",
        )
    elif left_out:
        yield note(
            NAME,
            f"{len(left_out):,} that are over are no longer counted, since more than {most:,} are announced: "
            "their rows stay as they are, unless announced_campaigns in [limits] is more",
        )


def _behind(basis: CampaignBasis, book: CampaignBook, last_us: int, now_us: int) -> Iterator[Finding]:
    """Partitions that do not count by the result of the events."""
    if not basis.counted_by:
        yield note(NAME, "no worker has counted anything yet")
        return
    others = {
        "ledger": [
            number for number, text in basis.counted_by.items() if Announcement.parse(text).decided != book.decided
        ],
        "totals": [
            number for number, text in basis.adopted.items() if Announcement.parse(text).decided != book.decided
        ],
    }
    for what, numbers in others.items():
        if not numbers:
            continue
        plural = "" if len(numbers) == 1 else "s"
        detail = f"{what} partition{plural} {', '.join(map(str, sorted(numbers)))}"
        if now_us - last_us < _ADOPTED_WITHIN_US:
            yield note(NAME, f"{detail} will soon count by what was announced a moment ago")
        else:
            minutes = (now_us - last_us) // 60_000_000
            cure = "make sure that workers run, own these partitions and know events of campaigns: /readyz and their logs say it"
            yield wrong(
                NAME,
                f"{detail} do{'es' if not plural else ''} not count by what was announced {minutes:,} min ago",
                cure,
            )
        return  # the totals follow the ledger


def _rules(rules: Iterable[Rule], counted: Campaigns, now_us: int) -> Iterator[Finding]:
    """Rules that no campaign fits, and campaigns to come that no rule is about."""
    about = [rule for rule in rules if rule.window.partition(":")[0] == CAMPAIGN]
    for rule in about:
        fitting = [campaign for campaign in counted if _fits(rule, campaign.period_id, campaign.templates)]
        if fitting:
            continue
        name = rule.window.partition(":")[2]
        if name and counted.get(name) is None:
            why = f"campaign {name} is withdrawn, or not counted"
        else:
            why = f"{f'campaign {name}' if name else 'no campaign'} is {'not ' if name else ''}counted for scope {as_written([rule.template])}"
        yield note(NAME, f"rule {rule.name!r} raises nothing: {why}")
    lacking = [
        campaign.name
        for campaign in counted
        if campaign.end_us > now_us and not any(_fits(rule, campaign.period_id, campaign.templates) for rule in about)
    ]
    if lacking:
        yield note(
            NAME,
            f"no rule is about {_names(lacking)}: {'it is' if len(lacking) == 1 else 'they are'} counted and raise{'s' if len(lacking) == 1 else ''} no milestones of rules",
        )


def _fits(rule: Rule, period_id: str, templates: Collection[tuple[str, ...]]) -> bool:
    return rule.window in (CAMPAIGN, period_id) and rule.template in templates


def _targets(settings: Settings, basis: CampaignBasis, counted: Campaigns) -> Iterator[Finding]:
    """Targets for campaigns that are not counted."""
    periods = {target.target_id: target.period for target in targets_of(settings)}
    events = (record.outcome for record in basis.records)
    changes = [event for event in events if isinstance(event, TargetSet | TargetWithdrawn)]
    for event in sorted(changes, key=lambda event: (event.time_us, event.id, event.source)):
        periods[event.data.target_id] = event.data.period if isinstance(event, TargetSet) else ""
    for target_id, period in sorted(periods.items()):
        kind, _, name = period.partition(":")
        if kind == CAMPAIGN and counted.get(name) is None:
            yield note(NAME, f"target {target_id!r} has no effect: campaign {name} is not counted")


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more
