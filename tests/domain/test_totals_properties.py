"""Whatever the order of counts, evaluations and restarts, the final milestones are a function of the final counts."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.domain.totals_world import METRIC, World, rule, target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.domain.rules import Rule, Target

SCOPES = ("model=SU7", "model=SU7", "all", "all", "model=YU7")
MODELS = ("model=SU7", "model=YU7")
HOLIDAYS = ("national-day", "new-year")
WINDOWS = ("day", "week", "month", "quarter", "half", "year", "total", "holiday")
#: Of models only.
ROLLING = {3: (("model",),)}
DAYS = tuple(
    date.fromisoformat(day)
    for day in (
        "2023-10-02",
        "2023-12-30",
        "2024-01-01",
        "2024-02-29",
        "2024-09-30",
        "2024-10-01",
        "2024-10-04",
        "2024-10-07",
        "2024-10-08",
        "2024-10-09",
        "2025-10-03",
    )
)
RULES = (
    rule("day", exceeds=2, first=True),
    rule("day-more", reaches=5, streak=2),
    rule("month", "month", exceeds=6, first=True),
    rule("year", "year", reaches=9),
    rule("national-day", "holiday:national-day", exceeds=5, first=True),
    rule("holidays", "holiday", reaches=7, first=True, streak=2),
    rule("record", record=True, while_running=True),
    rule("double-days", factor=2),
    rule("days-on-days", scope=(), factor=1.5, while_running=True),
    rule("months-on-years", "month", scope=(), factor=1.2, than="last-year", while_running=True),
    rule("breaks-on-breaks", "holiday", factor=1, than="last-year", while_running=True),
    rule("all-records", record=True, scope=()),
    rule("all-days", exceeds=3, first=True, streak=2, scope=()),
    rule("quarters", "quarter", reaches=4, streak=2),
    rule("part-of-day", share=0.5, leader=True),
    rule("part-of-break", "holiday", share=0.6, leader=True),
    rule("part-of-year", "year", share=0.4),
    rule("week", "week", exceeds=8, first=True, record=True, while_running=True),
    rule("quarter", "quarter", every=10),
    rule("total", "total", every=15),
    rule("months", "month", every=10, record=True, scope=()),
    rule("three-days", "rolling:3d", exceeds=8, first=True, record=True),
)
TARGETS = (
    target(4, "floor"),
    target(9, "aim"),
    target(3, "day", "day:2024-10-07"),
    target(5, "break", "holiday:national-day:2024"),
    target(12, "year", "year:2024", scope="all", at=(0.3, 0.5)),
    target(30, "ever", "total", at=(0.5,)),
)
OTHER_TARGETS = (target(6, "floor"), target(3, "aim"))
FINAL_HOUR = 24 * 16
LAST_DATE = date(2024, 10, 16)
#: Periods that are not over then.
UNFINISHED = {"month:2024-10", "quarter:2024-Q4", "half:2024-H2", "year:2024"}
UNFINISHED |= {"day:2025-10-03", "week:2025-W40", "month:2025-10", "quarter:2025-Q4", "half:2025-H2", "year:2025"}
UNFINISHED |= {"holiday:national-day:2025"}


def at_us(hour: int) -> int:
    """Hours from the last day of September 2024, in Shanghai, as microseconds since 1970."""
    start = datetime(2024, 9, 30, tzinfo=timezone(timedelta(hours=8)))
    return int((start + timedelta(hours=hour)).timestamp()) * 1_000_000


@st.composite
def puts(draw: st.DrawFn) -> tuple[str, date, str, int, int, int, int]:
    """One shard's count of one day arrives."""
    count = draw(st.integers(0, 7))
    backfilled = draw(st.one_of(st.just(0), st.just(count), st.integers(0, count)))
    day, scope = draw(st.sampled_from(DAYS)), draw(st.sampled_from(SCOPES))
    return "put", day, scope, draw(st.integers(0, 1)), count, backfilled, draw(st.integers(0, 23))


STEPS = st.lists(
    st.one_of(
        puts(),
        puts(),
        puts(),
        st.tuples(st.just("step"), st.integers(0, 24 * 3), st.booleans()),
        st.tuples(
            st.just("restart"), st.sets(st.sampled_from(range(len(RULES)))), st.sampled_from((TARGETS, OTHER_TARGETS))
        ),
        st.tuples(st.just("restart"), st.none(), st.none()),
        st.tuples(
            st.just("balance"), st.integers(0, 24 * 3), st.sampled_from(SCOPES), st.sampled_from((0, 1, 14, 15, 29, 40))
        ),
    ),
    max_size=40,
)

#: What happens, and its values: a count that arrives, an evaluation, a restart.
Step = tuple[Any, ...]


def play(world: World, steps: list[Step]) -> None:
    """Plays random steps; the clock only moves forward, and the last evaluation has everything."""
    hour = 0
    for kind, *values in steps:
        if kind == "put":
            day, scope, shard, count, backfilled, local_hour = values
            world.put(day, count, backfilled=backfilled, scope=scope, shard=shard, hour=local_hour)
        elif kind == "step":
            forward, caught_up = values
            hour = min(hour + forward, FINAL_HOUR)
            world.step(at_us(hour), caught_up=caught_up)
        elif kind == "balance":
            play_balance(world, hour, values)
        elif values[0] is None:
            world.restart()
        else:
            world.restart(*(RULES[index] for index in sorted(values[0])), targets=values[1])
    world.restart(*RULES, targets=TARGETS)
    world.step(at_us(FINAL_HOUR))


def naive_periods(day: date) -> list[str]:
    """The windows of a date, directly from the contract and the official notices."""
    year, week, _ = day.isocalendar()
    quarter = (day.month + 2) // 3
    found = [f"day:{day}", f"week:{year}-W{week:02}", f"month:{day:%Y-%m}", f"year:{day:%Y}", "total"]
    found += [f"quarter:{day.year}-Q{quarter}", f"half:{day.year}-H{(quarter + 1) // 2}"]
    if date(2024, 10, 1) <= day <= date(2024, 10, 7):
        found.append("holiday:national-day:2024")
    if day in (date(2025, 10, 3), date(2023, 10, 2)):
        found.append(f"holiday:national-day:{day.year}")
    if date(2023, 12, 30) <= day <= date(2024, 1, 1):
        found.append("holiday:new-year:2024")
    return found


def naive_rolling(scope: str, day: date) -> list[str]:
    """The rolling windows of a date that have begun with their last day by the end."""
    ends = [day + timedelta(days=ahead) for ahead in range(3)] if scope != "all" else []
    return [f"rolling:3d:{end}" for end in ends if end <= LAST_DATE]


def naive_counts(world: World) -> dict[tuple[str, str], int]:
    """Count by scope and period."""
    counts: Counter[tuple[str, str]] = Counter()
    for (_, _, scope, day), count in world.counts.items():
        for period in (*naive_periods(day), *naive_rolling(scope, day)):
            counts[scope, period] += count.count
    counts.update({(scope, "total"): units for scope, units in naive_balances(world).items() if units})
    return counts


def naive_balances(world: World) -> dict[str, int]:
    """The last opening balance of each scope."""
    return {each.scope: each.units for each in sorted(world.balances, key=lambda each: (each.time_us, each.id))}


def naive_comparisons(counts: dict[str, int], one: Rule, begins: str) -> dict[str, str]:
    """Records and factors of one scope."""
    standing = {}
    if one.record:
        standing = {f"{begins}/record:{p}": p for p in naive_records(counts, one.window, UNFINISHED)}
    if one.record and one.while_running:
        standing |= {f"{begins}/record-passed:{p}": p for p in naive_records(counts, one.window, set())}
    if one.factor is not None:
        name = f"factor:{one.factor:g}:{one.than}"
        standing |= {f"{begins}/{p}/{name}": p for p in naive_factors(counts, one)}
    return standing


def naive_among_scopes(counts: dict[tuple[str, str], int], one: Rule, scope: str) -> dict[str, str]:
    """Shares of all and leaders, of one scope."""
    standing = {}
    for period in {period for _, period in counts} - UNFINISHED:
        if not f"{period}:".startswith(f"{one.window}:") or not counts.get((scope, period)):
            continue
        mine, whole = counts[scope, period], counts.get(("all", period), 0)
        if one.share is not None and whole and mine >= one.share * whole:
            standing[f"{METRIC}/{scope}/{period}/share-of-all:{one.share}"] = period
        kind, _, rest = period.rpartition(":")
        before = f"{kind}:{int(rest) - 1}" if kind.startswith("holiday") else f"day:{naive_day_before(rest)}"
        if one.leader and naive_leader(counts, period) == scope and naive_leader(counts, before) not in (None, scope):
            standing[f"{METRIC}/{scope}/{period}/leader"] = period
    return standing


def naive_day_before(text: str) -> date | None:
    return date.fromisoformat(text) - timedelta(days=1) if len(text) == len("2024-10-07") else None


def naive_leader(counts: dict[tuple[str, str], int], period: str) -> str | None:
    """The model with the most units in a period; all of them if several tie, None if none has any."""
    best = max(counts.get((scope, period), 0) for scope in MODELS)
    first = [scope for scope in MODELS if counts.get((scope, period), 0) == best]
    return ",".join(first) if best else None


def naive_factors(counts: dict[str, int], one: Rule) -> list[str]:
    """Periods with a multiple of the count of another one that is over and not the first with units."""
    mine = [p for p in counts if p.startswith(f"{one.window}:") and counts[p]]
    found = []
    for period in mine:
        kind, name, rest = period.rpartition(":")[0], period[:-4], period.rpartition(":")[2]
        if one.than == "previous":
            base = f"day:{date.fromisoformat(rest) - timedelta(days=1)}"
        elif kind.startswith("holiday"):
            base = f"{name}{int(rest) - 1}"
        else:
            base = f"{kind}:{int(rest[:4]) - 1}{rest[4:]}"
        has_history = any(p.startswith(f"{kind}:") and p < base for p in mine)
        if (
            base in mine
            and base not in UNFINISHED
            and has_history
            and counts[period] >= (one.factor or 0) * counts[base]
        ):
            found += [period] if one.while_running or period not in UNFINISHED else []
    return found


def naive_records(counts: dict[str, int], window: str, unfinished: set[str]) -> list[str]:
    """Periods of a window that are over and have more units than all earlier ones, one of which had any."""
    in_order = sorted(p for p in counts if p.startswith(f"{window}:") and p not in unfinished)
    best = [max((counts[p] for p in in_order[:index]), default=0) for index in range(len(in_order))]
    return [p for p, before in zip(in_order, best, strict=True) if 0 < before < counts[p]]


def naive_streaks(passed: list[str]) -> dict[str, int]:
    """The length of the streak that each period ends, from names alone."""
    return {period: naive_streak(period, passed) for period in passed}


def naive_streak(period: str, passed: list[str]) -> int:
    """The length of the streak that a period ends."""
    kind, _, rest = period.partition(":")
    if kind == "holiday":
        before = f"{period[:-4]}{int(period[-4:]) - 1}"
    elif kind == "quarter":
        year, number = int(rest[:4]), int(rest[-1])
        before = f"quarter:{year}-Q{number - 1}" if number > 1 else f"quarter:{year - 1}-Q4"
    else:
        before = f"day:{date.fromisoformat(rest) - timedelta(days=1)}"
    return 1 + (naive_streak(before, passed) if before in passed else 0)


def naive_targets(counts: dict[tuple[str, str], int], targets: tuple[Target, ...]) -> dict[str, str]:
    """The targets that are reached, and their shares."""
    standing = {}
    for aim in targets:
        if counts[aim.scope, aim.period] >= aim.value:
            name = f"{METRIC}/{aim.scope}/{aim.period}/target:{aim.target_id}:{aim.value}"
            standing[name] = aim.period
        for share in aim.at:
            if counts[aim.scope, aim.period] >= aim.value * share:
                standing[f"{METRIC}/{aim.scope}/{aim.period}/share:{aim.target_id}:{aim.value}:{share}"] = aim.period
    return standing


def naive_standing(world: World, rules: tuple[Rule, ...], targets: tuple[Target, ...]) -> dict[str, str]:
    """What stands when every day is over, judged from the counts alone: milestone id → period."""
    counts = naive_counts(world)
    standing: dict[str, str] = {}
    each = [(one, scope) for one in rules for scope in (("all",) if one.scope == () else MODELS)]
    for one, scope in each:
        of_scope = {period: count for (s, period), count in counts.items() if s == scope}
        standing |= naive_comparisons(of_scope, one, f"{METRIC}/{scope}") | naive_among_scopes(counts, one, scope)
        mine = [p for p in of_scope if f"{p}:".startswith(f"{one.window}:")]
        for period in mine if one.every else ():
            for multiple in range(one.every or 0, of_scope[period] + 1, one.every or 1):
                standing[f"{METRIC}/{scope}/{period}/every:{one.every}:{multiple}"] = period
        if one.operator is not None:
            line = one.threshold or 0
            passed = [p for p in mine if of_scope[p] > line - (one.operator == "reaches")]
            for period in passed:
                standing[f"{METRIC}/{scope}/{period}/{one.operator}:{line}"] = period
            for period, length in naive_streaks(passed).items() if one.streak is not None else ():
                if length >= (one.streak or 0):
                    standing[f"{METRIC}/{scope}/{period}/streak:{one.operator}:{line}:{length}"] = period
            if one.first and passed:
                # New year's day comes before the national day, so the text after the last colon does not matter here.
                order = {"holiday:new-year:2024": "2023-12-30", "holiday:national-day:2024": "2024-10-01"}
                order |= {"holiday:national-day:2023": "2023-09-29", "holiday:national-day:2025": "2025-10-01"}
                first = min(passed, key=lambda p: order.get(p, p))
                standing[f"{METRIC}/{scope}/first:{one.window}/{one.operator}:{line}"] = first
    return standing | naive_targets(counts, targets)


def in_force(standing: dict[str, str], targets: tuple[Target, ...]) -> dict[str, str]:
    """Leaves out milestones of targets that have been replaced, which stand forever."""
    values = {f"target:{aim.target_id}:{aim.value}" for aim in targets}
    return {i: p for i, p in standing.items() if "/target:" not in i or i.rpartition("/")[2] in values}


def _put(year: int, month: int, day: int, *, shard: int = 0, count: int) -> Step:
    return "put", date(year, month, day), "model=SU7", shard, count, 0, 0


@settings(max_examples=250)
@given(STEPS)
def test_what_stands_is_a_function_of_the_final_counts(steps: list[Step]) -> None:
    """Random counts, evaluations and restarts with other rules end like a single evaluation, and like a naive recount."""
    world = World(*RULES, targets=TARGETS, holidays=HOLIDAYS, windows=WINDOWS, rolling=ROLLING)
    play(world, steps)
    standing = in_force(world.standing(), TARGETS)
    assert standing == naive_standing(world, RULES, TARGETS)

    at_once = World(*RULES, targets=TARGETS, holidays=HOLIDAYS, windows=WINDOWS, rolling=ROLLING)
    at_once.counts, at_once.balances = world.counts, world.balances
    at_once.restart()
    at_once.step(at_us(FINAL_HOUR))
    assert standing == at_once.standing()

    counts = naive_counts(world)
    for key, row in world.rows.items():
        assert row.count == counts[row.scope, row.period], key
        assert row.balance == (naive_balances(world).get(row.scope, 0) if row.period == "total" else 0), key
        same = at_once.rows.get(key)
        if same is not None:
            kept = {"version", "restated", "updated_at"}
            assert row.model_dump(exclude=kept) == same.model_dump(exclude=kept)
        else:
            assert row.count == 0, key
    assert world.rows.keys() >= at_once.rows.keys()


@settings(max_examples=150)
@given(STEPS)
def test_every_revision_is_published_once_and_standing_alternates(steps: list[Step]) -> None:
    """Revisions run from 1 without a gap: news or record first, then retracted and reinstated in turn."""
    world = World(*RULES, targets=TARGETS, holidays=HOLIDAYS, windows=WINDOWS, rolling=ROLLING)
    play(world, steps)
    history: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for event in world.events:
        history[event.subject].append((event.data.revision, event.type.split(".")[1]))
    for milestone_id, events in history.items():
        assert [revision for revision, _ in events] == list(range(1, len(events) + 1)), milestone_id
        assert events[0][1] in ("raised", "recorded"), milestone_id
        expected = ["retracted" if revision % 2 == 0 else "reinstated" for revision, _ in events[1:]]
        assert [kind for _, kind in events[1:]] == expected, milestone_id


@settings(max_examples=100)
@given(STEPS)
# A row without units until its period was over.
@example([_put(2023, 12, 30, count=0), ("step", 0, True), _put(2023, 12, 30, count=1), ("step", 0, False)])
def test_restarts_change_nothing_that_is_published(steps: list[Step]) -> None:
    """With unchanged rules, a writer that restarts before every step publishes the same as one that never does.

    Only causes may differ: on takeover the shard that grew is not known.
    """
    steps = [step for step in steps if step[0] != "restart"]
    steady, restarting = (
        World(*RULES, targets=TARGETS, holidays=HOLIDAYS, windows=WINDOWS, rolling=ROLLING) for _ in range(2)
    )
    play(steady, steps)
    hour = 0
    for step in steps:
        if step[0] == "put":
            play_put(restarting, step)
        elif step[0] == "balance":
            play_balance(restarting, hour, step[1:])
        else:
            hour = min(hour + step[1], FINAL_HOUR)
            restarting.restart()
            restarting.step(at_us(hour), caught_up=step[2])
    restarting.restart()
    restarting.step(at_us(FINAL_HOUR))
    assert _without_causes(restarting) == _without_causes(steady)
    assert restarting.rows == steady.rows


PARTS = st.tuples(st.sampled_from((1, 2, 7, 1000)), st.one_of(st.none(), st.integers(0, 5)))


@settings(max_examples=250)
@given(STEPS, st.lists(PARTS, min_size=1, max_size=10))
# The writer dies after publishing the day: the target of its month is still reached by a unit.
@example([_put(2024, 10, 1, shard=1, count=3), ("step", 0, False), _put(2024, 10, 1, shard=0, count=1)], [(1, 1)])
def test_a_step_in_parts_publishes_what_a_whole_one_does(
    steps: list[Step], parts: list[tuple[int, int | None]]
) -> None:
    """However small the parts, and even if writers die between them and others continue.

    Only causes may differ, as on every takeover, and how many versions a row took.
    """
    whole, parted = (
        World(*RULES, targets=TARGETS, holidays=HOLIDAYS, windows=WINDOWS, rolling=ROLLING) for _ in range(2)
    )
    hour = 0
    for number, step in enumerate([*steps, ("step", FINAL_HOUR, True)]):
        if step[0] == "put":
            play_put(whole, step)
            play_put(parted, step)
        elif step[0] == "balance":
            play_balance(whole, hour, step[1:])
            play_balance(parted, hour, step[1:])
        elif step[0] == "step":
            hour = min(hour + step[1], FINAL_HOUR)
            most, dies_after = parts[number % len(parts)]
            whole.step(at_us(hour), caught_up=step[2])
            parted.parts(at_us(hour), caught_up=step[2], most=most, dies_after=dies_after)
            assert parted.rows == whole.rows
    assert sorted(_without_causes(parted), key=_identity) == sorted(_without_causes(whole), key=_identity)


def _identity(event: dict[str, Any]) -> str:
    return str(event["id"])


def play_balance(world: World, hour: int, values: Sequence[Any]) -> None:
    """An opening balance is set from now or a later hour on."""
    ahead, scope, units = values
    world.balance(at_us(min(hour + ahead, FINAL_HOUR)), units, scope=scope)


def play_put(world: World, step: Step) -> None:
    """One count arrives."""
    _, day, scope, shard, count, backfilled, hour = step
    world.put(day, count, backfilled=backfilled, scope=scope, shard=shard, hour=hour)


def _without_causes(world: World) -> list[dict[str, Any]]:
    return [event.model_dump(exclude={"data": {"cause", "achieved_at"}}) for event in world.events]
