"""What additional events of an order would change: what its events do, the rows, and the milestones that stand.

Everything is judged by the recount's code, and compared with the published rows and milestones.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from schemas.codec import decode_milestone, decode_row
from schemas.outputs import RETRACTED
from schemas.rows import RowKey
from streams.audit.expected_milestones import TargetInForce, expected_standing
from streams.audit.judging import EFFECTS
from streams.audit.kept_days import KeptSince, read_kept
from streams.audit.sources import coordinates_of
from streams.audit.sums import Business, Window
from streams.kafka.admin import catalogue_of
from streams.kafka.clients import partition_counts, read_latest, read_to_end, reader
from streams.kafka.records import record_value
from streams.wording.parts import share_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from schemas.facts import Fact
    from schemas.outputs import MilestoneEvent, WindowRow
    from streams.audit.expected_milestones import ExpectedStanding
    from streams.settings import Settings


class RowChange(NamedTuple):
    """A row whose count would change."""

    key: RowKey
    before: int
    after: int
    is_closed: bool


class MilestoneChange(NamedTuple):
    """A milestone that would be `raised`, `retracted` or `reinstated`; `held_s` is how long its rule would delay that."""

    milestone_id: str
    becomes: str
    held_s: int = 0


@dataclass(frozen=True)
class Consequences:
    """What would change.

    Attributes:
        effects: Event → its effect now (empty for new ones) and then, in words; only where these differ.
        rows: By key.
        milestones: By id.
    """

    effects: list[tuple[Fact, str, str]]
    rows: list[RowChange]
    milestones: list[MilestoneChange]

    def document(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "effects": [
                {"source": event.source, "id": event.id, "before": before or None, "after": after}
                for event, before, after in self.effects
            ],
            "rows": [
                {"row": str(change.key), "before": change.before, "after": change.after, "closed": change.is_closed}
                for change in self.rows
            ],
            "milestones": [
                {"milestone_id": change.milestone_id, "becomes": change.becomes, "held_s": change.held_s}
                for change in self.milestones
            ],
        }


@dataclass(frozen=True)
class ScopeState:
    """The published rows and milestone events of the metrics and scopes that matter."""

    rows: Mapping[RowKey, WindowRow]
    milestones: Sequence[MilestoneEvent]
    kept: KeptSince = field(default_factory=KeptSince)


def changed_units(business: Business, before: Sequence[Fact], after: Sequence[Fact]) -> Counter[RowKey]:
    """How many units each row would gain or lose, without zeros."""
    changes: Counter[RowKey] = Counter()
    for events, sign in ((before, -1), (after, 1)):
        for unit in business.read_order(events).units:
            day = business.local(unit.event.time_us).date()
            for scope in business.scopes_of(unit.dims, day):
                campaigns = business.campaigns_at(unit.event.time_us, scope)
                for period in (*business.periods_at(day, scope), *campaigns):
                    changes[RowKey(unit.metric, scope, period.id)] += sign
    return Counter({key: change for key, change in changes.items() if change})


async def read_state(settings: Settings, changes: Iterable[RowKey]) -> ScopeState:
    """Reads what is published about the metrics and scopes of some rows.

    Raises:
        ExpectedError: The cluster is unreachable.
    """
    # If rules compare scopes, units of one affect the milestones of others.
    compared = {rule.metric for rule in settings.rule if rule.share is not None or rule.leader}
    wanted = {f"{key.metric}/{'' if key.metric in compared else f'{key.scope}/'}".encode() for key in changes}
    prefixes = tuple(wanted)
    catalogue = catalogue_of(settings)
    async with reader(settings) as consumer:
        names = (catalogue.windows.name, catalogue.milestones.name)
        if not prefixes or not all((await partition_counts(consumer, names)).values()):
            return ScopeState({}, ())
        values = await read_latest(
            settings, catalogue.windows.whole, consumer=consumer, wanted=lambda key: key.startswith(prefixes)
        )
        milestones = []
        async for records in read_to_end(settings, catalogue.milestones.whole, consumer=consumer):
            milestones += [
                decode_milestone(record_value(record)) for record in records if (record.key or b"").startswith(prefixes)
            ]
        kept = await read_kept(settings, consumer)
    rows = [decode_row(value) for value in values.values()]
    return ScopeState({RowKey.of(row): row for row in rows}, milestones, kept)


def consequences(
    settings: Settings, business: Business, before: Sequence[Fact], added: Sequence[Fact], state: ScopeState
) -> Consequences:
    """What additional events of an order would change.

    Args:
        settings: The rules.
        business: Time zone, scopes, holidays.
        before: The accepted events of the order.
        added: The additional events.
        state: What is published.
    """
    after = [*before, *added]
    changes = changed_units(business, before, after)
    for key in [key for key in changes if key not in state.rows and state.kept.lacks(key)]:
        del changes[key]  # its day no longer has a row, and gets none
    rows = []
    # A rolling window that ends with a later date has no row yet.
    changes = Counter(
        {key: n for key, n in changes.items() if not key.period.startswith("rolling:") or key in state.rows}
    )
    for key, change in sorted(changes.items()):
        row = state.rows.get(key)
        count = row.count if row is not None else 0
        rows.append(RowChange(key, count, max(0, count + change), row is not None and row.status == "closed"))
    return Consequences(_effects(business, before, after), rows, _milestones(settings, business, changes, state))


def _effects(business: Business, before: Sequence[Fact], after: Sequence[Fact]) -> list[tuple[Fact, str, str]]:
    was = {coordinates_of(event): EFFECTS[effect] for event, effect in business.read_order(before).effects}
    found = [
        (event, was.get(coordinates_of(event), ""), EFFECTS[effect])
        for event, effect in business.read_order(after).effects
    ]
    return [(event, earlier, later) for event, earlier, later in found if earlier != later]


def _milestones(
    settings: Settings, business: Business, changes: Mapping[RowKey, int], state: ScopeState
) -> list[MilestoneChange]:
    counts = {key: row.count for key, row in state.rows.items() if business.is_counted(key.period)}
    targets = {
        TargetInForce(
            target.target_id,
            row.metric,
            row.scope,
            row.period,
            target.value,
            _shares(settings, state, target.target_id),
        )
        for row in state.rows.values()
        for target in row.targets
    }

    def standing(counts: Mapping[RowKey, int]) -> ExpectedStanding:
        windows = {key: Window(business.calendar.period(key.period), count) for key, count in counts.items()}
        return expected_standing(settings, windows, state.rows, targets)

    now = standing(counts)
    then = standing({key: counts.get(key, 0) + changes.get(key, 0) for key in {*counts, *changes}})
    rules = {rule.name: rule for rule in settings.rule}
    last = {event.data.milestone_id: event.type for event in state.milestones}
    found = []
    for milestone_id in sorted(now.periods.keys() | then.periods.keys()):
        earlier, later = now.periods.get(milestone_id), then.periods.get(milestone_id)
        if earlier == later:
            continue
        stands = last.get(milestone_id, RETRACTED) != RETRACTED
        if earlier is not None and stands:
            rule = rules.get(now.rule_of.get(milestone_id, ""))
            held_s = rule.retract_after_s if rule is not None and later is None else 0
            found.append(MilestoneChange(milestone_id, "retracted", held_s))
        if later is not None and not (stands and earlier is None):
            found.append(MilestoneChange(milestone_id, "reinstated" if milestone_id in last else "raised"))
    return found


def _shares(settings: Settings, state: ScopeState, target_id: str) -> tuple[float, ...]:
    """The shares of a target that are milestones: those in the settings, and those that have been published."""
    known = {share for target in settings.target if target.target_id == target_id for share in target.at}
    of_target = (event.data for event in state.milestones if event.data.target_id == target_id)
    known |= {share_of(data)[1] for data in of_target if data.kind == "share"}
    return tuple(sorted(known))
