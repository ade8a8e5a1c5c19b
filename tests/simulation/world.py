"""One schedule: a small installation, its publishers, and everything that happens to them, determined by the seed."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import logging
import os
import traceback
import warnings
from bisect import bisect_left
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import lru_cache
from itertools import chain, count
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from zoneinfo import ZoneInfo

from aiokafka.errors import KafkaError
from msgspec import structs

from schemas.changelog import STATE_KEY, VEHICLE_CHUNKS, is_chunk
from schemas.codec import decode_marker, encode_marker
from schemas.facts import FAMILIES, USUAL_FAMILIES, family_of, topic_number
from schemas.notes import Place, Quarantine
from streams.context import BLOCK_ROWS, PART_ROWS, SNAPSHOT_AFTER, Context
from streams.domain import hotpath
from streams.domain.calendar import CHINA
from streams.errors import ExpectedError
from streams.kafka.log import Partition
from streams.kafka.transactions import Outgoing
from streams.operations.dead_letters import Wanted
from streams.operations.gaps import accept_gap, find_gaps
from streams.operations.quarantine import lift, quarantine
from streams.operations.replay import Repair, replay
from streams.settings import (
    AliasSettings,
    CampaignSettings,
    LimitSettings,
    RollingSettings,
    RuleSettings,
    Settings,
    TargetSettings,
    TopicSettings,
    ValueSettings,
)
from tests.simulation.alerts import BEHIND, MOVES_DAYS
from tests.simulation.beside import PREFIX, Beside
from tests.simulation.broken import BrokenError
from tests.simulation.client import Network, SimulatedLog
from tests.simulation.cluster import Cluster, FencedRequestError
from tests.simulation.committed import home_of
from tests.simulation.coverage import BOUNDARIES, Coverage
from tests.simulation.group import Group
from tests.simulation.history import DELIVERIES, ORDERS, Announcers, Planners, Publishers, life_of, meaning
from tests.simulation.invariants import Invariants
from tests.simulation.loop import Process, SimulatedLoop, current_process
from tests.simulation.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.simulation.cluster import Entry, Transaction
    from tests.simulation.history import Sent

_SETTLE_S = 240.0
_LOOK_S = 0.3
_LOOKS_OF_A_SUPERVISOR = 8
#: Longer than any timer of the service.
_QUIET_S = 1.2
_LAST_STEPS = 40
_TRIES_TO_SKIP = 3
#: Corrections of past days, when these are over, in schedules in which days pass.
_CORRECTIONS = 4
_AFTER_THE_DAYS_S = 3.0
#: Share of deletions that delete what is known about judging deliveries, in schedules that judge them.
_EARLIER_SHARE = 0.4
#: Share of the commands that may be killed which are.
_KILLED_SHARE = 0.6
#: How long a fault waits for the boundary that it is aimed at.
_AIM_S = 3.0
_ANOTHER_COMMITS = "another commits"
_ARMED_S = 0.1

#: Places and times: an ordinary midnight, the end of a month, and the ends of two days with clock changes.
_PLACES = (
    ("Asia/Shanghai", "2024-10-07T23:59:50"),
    ("Asia/Shanghai", "2024-10-31T23:59:45"),
    ("Europe/Berlin", "2024-10-26T23:59:50"),
    ("Europe/Berlin", "2025-03-30T01:59:50"),
    ("America/New_York", "2024-12-31T23:59:50"),
)

#: Faults besides lost and late messages.
FAULTS = (
    "crash",
    "pause",
    "rebalance",
    "compact",
    "jump ahead",
    "jump back",
    "replay",
    "forget",
    "join",
    "grow",
    "trim",
    "quarantine",
    "move leaders",
    "next day",
)
#: Faults that end in operators' commands.
_COMMANDS = ("replay", "trim", "quarantine")

#: Faults that come with a share of messages, at boundaries of writes, or from other faults.
MISHAPS = (
    "killed at a write",
    "wake up",
    "expelled",
    "late batch",
    "records lost",
    "records arrive late",
    "EndTxn lost",
    "EndTxn arrives late",
    "answer to EndTxn lost",
)


#: The topic of operators' decisions, without the prefix of an installation.
_DECISIONS = Settings().catalogue.quarantine.name


def kind_of(transaction: Transaction) -> str:
    """The kind of write of a transaction; empty for a publisher's.

    Commands that decide on records or gaps write under the ids of ledger partitions, but to a topic that these never write.
    """
    _, is_own, role = transaction.transactional_id.rpartition("milestones-")
    if not is_own:
        return ""
    kind = role.partition("-")[0]
    is_decision = transaction.records[0].topic.endswith(_DECISIONS)
    return kind if kind in ("ledger", "totals") and not is_decision else "command"


ALL_WINDOWS = ("day", "week", "month", "quarter", "half", "year", "total", "holiday")
_FEW_WINDOWS = ("day", "month"), ("day", "month", "total"), ("day", "week", "month")


class _Size(NamedTuple):
    """A kind of schedules: its share of all, how many records, how many faults and of how many kinds, and what is counted.

    Per CPU second, the long ones find somewhat more; the short ones are more numerous, and their findings are easier to
    understand.
    """

    share: float
    records: range
    faults: int
    kinds: int
    windows: tuple[tuple[str, ...], ...]
    part_rows: tuple[int, ...]


_SIZES = (
    _Size(0.74, range(3, 9), 4, 2, (*_FEW_WINDOWS, ALL_WINDOWS), (1, 6, 40, 40, *([PART_ROWS] * 4))),
    _Size(0.19, range(8, 16), 5, 4, (*_FEW_WINDOWS, ALL_WINDOWS), (1, 6, 40, 40, *([PART_ROWS] * 4))),
    _Size(0.07, range(30, 31), 7, len(FAULTS) - 1, (ALL_WINDOWS,), (1, 6, 80, 80, PART_ROWS)),
)


#: What faults are aimed at: mostly nothing. By chance alone, few would hit a command.
_AIMS = ("", "", "", "", "", "", "ledger", "totals", "command", "command")

#: The rules, by name.
RULES = (
    "daily",
    "monthly",
    "record",
    "more",
    "orders-record",
    "placed",
    "each",
    "built",
    "weeks",
    "quarters",
    "halves",
    "holidays",
    "silent",
    "publishers",
    "at-risk-0",
    "at-risk-1",
    "among",
    "two-days",
    "launches",
    "launched",
)

#: Records of a history whose windows have many rows.
_LONG = 16


@dataclass(frozen=True)
class Plan:
    """The parameters of a schedule; all follow from the seed."""

    seed: int
    partitions: int = 2
    #: Partitions of orders and deliveries; 0 for as many as there are homes.
    orders: int = 0
    deliveries: int = 0
    #: Whether there are two topics of each, named by their owners.
    several: bool = False
    workers: int = 2
    records: int = 40
    mischief: float = 0.3
    foreign: float = 0.2
    transactions: float = 0.2
    loss_share: float = 0.01
    slow_share: float = 0.01
    slow_leader_share: float = 0.01
    slow_hand_over_share: float = 0.01
    most_fetched: int = 10
    pace_s: float = 0.3
    targets: int = 0
    place: int = 0
    clock: str = "wall"
    faults: tuple[tuple[float, str], ...] = ()
    #: The kind of write at some boundary of which faults come, for which they wait; empty if they come when they are due.
    aim: str = ""
    #: Whether `milestones rebuild` recounts everything alongside.
    rebuilds: bool = False
    #: Rows and milestones in one transaction of the totals.
    part_rows: int = PART_ROWS
    #: Records after which the totals make a snapshot of their rows, and the number of rows in one record of it.
    snapshot_after: int = SNAPSHOT_AFTER
    block_rows: int = BLOCK_ROWS
    #: Whether the limit allows rows of only one model.
    bounded: bool = False
    #: Whether the limit allows only one model in a ledger partition, which rejects events of others.
    rejects: bool = False
    #: Partitions of the totals.
    totals: int = 1
    #: Version of the cluster's transaction protocol.
    protocol: int = 2
    #: Whether production is published too.
    produces: bool = False
    #: How many days before the latest one models keep their rows of days; 0 for all.
    keep_days: int = 0
    #: How long retractions of the daily threshold are held back.
    held_s: int = 0
    #: The windows that are counted, and with them the rules that watch them.
    windows: tuple[str, ...] = ALL_WINDOWS
    #: The process that reaches this many write boundaries is killed there; 0 for none.
    crash_at: int = 0
    #: Rules that this installation does not have.
    without: tuple[str, ...] = ()

    @property
    def limits(self) -> LimitSettings:
        """The limits of the installation."""
        if self.bounded or self.rejects:
            return LimitSettings(values=1, beyond="reject" if self.rejects else "other")
        return LimitSettings()

    @property
    def series_records(self) -> int:
        """More records than the rows and milestones of one metric and scope, so that they fit into one transaction."""
        return 40 if self.records < _LONG and all(fault != "next day" for _, fault in self.faults) else 80

    @classmethod
    def of(cls, seed: int) -> Plan:
        """The plan of a seed: mostly a short history with a few kinds of faults, sometimes a long one with all kinds."""
        dice = Random(seed)
        size = _SIZES[dice.choices(range(len(_SIZES)), [size.share for size in _SIZES])[0]]
        records = dice.choice(size.records)
        pace_s = dice.choice([0.05, 0.3, 0.6])
        # Faults come while there is something to do, and some of them afterwards.
        length_s = records * pace_s + dice.choice([1.0, 2.0, 5.0])
        kinds = dice.sample(FAULTS[:-1], size.kinds)
        aim = dice.choice(_AIMS)
        faults = tuple(
            sorted(
                (round(dice.uniform(0.5, length_s), 3), dice.choice(kinds)) for _ in range(dice.randrange(size.faults))
            )
        )
        if aim == "command":
            # Each of the other faults comes while a command runs.
            both = [((at_s, dice.choice(_COMMANDS)), (at_s, fault)) for at_s, fault in faults if fault not in _COMMANDS]
            faults = tuple(chain.from_iterable(both))
        if any(fault == "quarantine" for _, fault in faults) and dice.random() < 0.4:
            # Skipped records are skipped again when everything is recounted.
            faults = (*faults, (length_s + 1.0, "forget"))
        is_replayed = any(fault == "replay" for _, fault in faults)
        mischief = 0.5 if is_replayed else dice.choice([0.0, 0.2, 0.5])
        part_rows = size.part_rows
        if dice.random() < 0.1:
            # Days pass, so that there are record days and later events change them.
            records, mischief, part_rows = max(records, 20), 0.5, _SIZES[-1].part_rows
            pace_s = max(pace_s, 0.3)
            # Later days have more records, so that they are record days; in the end all of them are over.
            days = dice.randrange(2, 4)
            ends = [records * pace_s * (day / days) ** 1.5 for day in range(1, days)] + [records * pace_s + 1.0]
            leaps = [(round(end_s, 3), "next day") for end_s in ends]
            faults = tuple(sorted([*leaps, *faults[:2]]))
        plan = cls(
            seed,
            partitions=dice.choice([1, 1, 2, 2, 2, 3]),
            orders=dice.choice([0, 0, 0, 1, 3, 4]),
            deliveries=dice.choice([0, 0, 0, 2, 5]),
            workers=dice.choice([1, 2, 2, 3]),
            records=records,
            mischief=mischief,
            foreign=dice.choice([0.0, 0.1, 0.4]),
            transactions=dice.choice([0.0, 0.0, 0.3]),
            loss_share=dice.choice([0.0, 0.0, 0.005, 0.03]),
            slow_share=dice.choice([0.0, 0.005, 0.03]),
            slow_leader_share=dice.choice([0.0, 0.0, 0.02]),
            slow_hand_over_share=dice.choice([0.0, 0.0, 0.05]),
            most_fetched=dice.choice([1, 3, 20, 200]),
            pace_s=pace_s,
            targets=dice.choice([0, 0, 4]),
            place=dice.randrange(len(_PLACES)),
            clock=dice.choice(["wall", "wall", "wall", "events"]),
            faults=faults,
            aim=aim,
            crash_at=dice.choice([0, 0, dice.randrange(1, 120)]),
            part_rows=dice.choice(part_rows),
            several=dice.random() < 0.2,
            rebuilds=dice.random() < 0.03,
            snapshot_after=dice.choice([20, 60, SNAPSHOT_AFTER]),
            block_rows=dice.choice([3, 10, BLOCK_ROWS]),
            held_s=dice.choice([0, 0, 3, 6]),
            windows=dice.choice(size.windows),
        )
        # The world has its own dice for the plan's seed: with shared ones, the choices of both would always be correlated.
        bounds, totals, produces, kept, rules, protocol = (Random(f"{seed} {part}") for part in range(6))
        plan = plan.with_bounds(bounds).with_totals(totals).with_kept_days(kept).with_some_rules(rules)
        return replace(plan, produces=produces.random() < 0.15, protocol=protocol.choice([1, 2]))

    def with_bounds(self, dice: Random) -> Self:
        """Sets limits in one schedule of five; then a rebuild, which may let in another model first, is not compared."""
        is_bounded, rejects = dice.random() < 0.2 and not self.rebuilds, dice.random() < 0.3
        return replace(self, bounded=is_bounded and not rejects, rejects=is_bounded and rejects)

    def with_totals(self, dice: Random) -> Self:
        """In one schedule of five, the totals have two or three partitions."""
        return replace(self, totals=dice.choice([2, 2, 3]) if dice.random() < 0.2 else 1)

    def with_kept_days(self, dice: Random) -> Self:
        """In one schedule of eight, rows of days leave while days pass."""
        if self.bounded or dice.random() > 0.125:
            return self
        records, pace_s = max(self.records, 12), max(self.pace_s, 0.3)
        leaps = [(round(dice.uniform(0.1, 0.9) * records * pace_s, 3), "next day") for _ in range(dice.randrange(3, 6))]
        faults = tuple(sorted([*self.faults, *leaps]))
        return replace(self, records=records, pace_s=pace_s, keep_days=dice.choice([1, 1, 2]), faults=faults)

    def with_some_rules(self, dice: Random) -> Self:
        """In two schedules of three, rules are left out: this shows what they hide, and leaves time for more schedules."""
        share = dice.choice([0.0, 0.5, 0.8])
        return replace(self, without=tuple(name for name in RULES if dice.random() < share))


@dataclass
class Result:
    """How a schedule ended."""

    plan: Plan
    broken: str = ""
    invariant: str = ""
    last: tuple[str, ...] = ()
    seen: Counter[str] = field(default_factory=Counter)
    boundaries: int = 0
    steps: int = 0


#: The models that `values` lists, if it lists any.
LISTED = ("SU7",)


@lru_cache(maxsize=500)
def _settings(
    partitions: int,
    totals: int,
    timezone: str,
    clock: str,
    *,
    several: bool,
    aliased_from: date | None,
    limits: LimitSettings,
    held_s: int,
    windows: tuple[str, ...],
    rolling: bool,
    day_starts: int,
    produces: bool,
    keep_days: int,
    campaigns: tuple[CampaignSettings, ...],
    announces: bool,
    without: tuple[str, ...],
) -> Settings:
    rules = (
        RuleSettings(
            name="daily",
            metric="deliveries",
            window="day",
            scope=("model",),
            exceeds=1 if held_s else 2,
            streak=None if keep_days else 2,
            retract_after_s=held_s,
        ),
        RuleSettings(name="monthly", metric="orders", window="month", scope=(), exceeds=4, first=True),
        RuleSettings.model_validate(
            {
                "name": "record",
                "metric": "deliveries",
                "window": "day",
                "scope": ["model"],
                "record": True,
                "as": "passed",
            }
        ),
        RuleSettings.model_validate(
            {"name": "more", "metric": "orders_placed", "window": "day", "scope": [], "factor": 1, "as": "passed"}
        ),
        RuleSettings(name="orders-record", metric="orders", window="day", scope=(), record=True),
        RuleSettings(name="placed", metric="orders_placed", window="day", scope=(), exceeds=1, streak=2),
        RuleSettings(name="each", metric="orders_placed", window="total", scope=(), every=10),
        *(
            (RuleSettings(name="built", metric="produced", window="day", scope=("model",), exceeds=1),)
            if produces
            else ()
        ),
        RuleSettings(name="weeks", metric="deliveries", window="week", scope=(), every=10, record=True),
        RuleSettings(name="quarters", metric="deliveries", window="quarter", scope=("model",), reaches=3, record=True),
        RuleSettings(name="halves", metric="orders", window="half", scope=(), exceeds=2),
        RuleSettings(
            name="holidays", metric="orders_placed", window="holiday", scope=("model",), exceeds=1, first=True
        ),
        # Nothing is usual in so few days: no alert is ever raised, but every scope is checked.
        RuleSettings(name="silent", metric="deliveries", window="day", scope=("model",), stalled_hours=1),
        RuleSettings(name="publishers", metric="deliveries", window="day", scope=("source",), stalled_hours=1),
        *(
            RuleSettings(
                name=f"at-risk-{len(scope)}",
                metric="deliveries",
                window="month",
                scope=scope,
                forecast_behind=BEHIND,
                forecast_moves_days=MOVES_DAYS,
            )
            for scope in ((), ("model",))
        ),
    )
    if totals == 1:
        # Rules that compare scopes need all of them in one place.
        rules += (
            RuleSettings(name="among", metric="orders_placed", window="day", scope=("model",), share=0.6, leader=True),
        )
    if rolling:
        rules = (
            *rules,
            RuleSettings(
                name="two-days", metric="deliveries", window="rolling:2d", scope=("model",), exceeds=2, record=True
            ),
        )
    if campaigns or announces:
        rules = (
            *rules,
            RuleSettings(
                name="launches",
                metric="orders_placed",
                window="campaign",
                scope=("model",),
                exceeds=1,
                first=True,
                record=True,
            ),
            *(
                (RuleSettings(name="launched", metric="deliveries", window="campaign:a-launch", every=10),)
                if campaigns
                else ()
            ),
        )
    # Without a rule about silent sources, the hours of their events are not published.
    assert {rule.name for rule in rules} <= {*RULES, "publishers"}, "each other one can be left out"
    targets = (
        TargetSettings(
            target_id="t", metric="deliveries", scope="model=SU7", period="month:2024-10", value=5, at=(0.5,)
        ),
        # The forecasts are about whether it will be reached.
        TargetSettings(target_id="far", metric="deliveries", scope="all", period="month:2024-10", value=60),
    )
    return Settings(
        limits=limits,
        alias=AliasSettings.model_validate({"model": {"YU7": {"name": "SU7", "from": aliased_from}}})
        if aliased_from is not None
        else AliasSettings(),
        families=FAMILIES if produces else USUAL_FAMILIES,
        topics=TopicSettings(
            orders=("cn.orders", "eu.orders"),
            deliveries=("bj1", "bj2"),
            **({"production": ("l1", "l2")} if produces else {}),
        )
        if several
        else TopicSettings(),
        partitions=partitions,
        totals_partitions=totals,
        timezone=timezone,
        day_starts=f"{day_starts:02}:00",
        clock=clock,  # type: ignore[arg-type] # one of the two
        holiday_calendar=CHINA,
        holidays=("national-day",) if "holiday" in windows else (),
        windows=windows,
        scopes=(("model",), ()),
        # If there are several topics, one of the two models is counted as `other`.
        values=ValueSettings(model=LISTED if several else ()),
        closed_after_s=3600,
        transaction_timeout_s=4.0,
        session_timeout_s=6.0,
        # These rules compare days, including old ones.
        rule=tuple(
            rule
            for rule in rules
            if (rule.window in windows or rule.window.startswith(("rolling:", "campaign")))
            and not (keep_days and rule.name in ("record", "among"))
            and rule.name not in without
        ),
        rolling=(RollingSettings(days=2, scopes=((), ("model",))),) if rolling else (),
        campaign=campaigns,
        keep_days={"model": keep_days} if keep_days else {},
        target=targets,
    )


def _campaigns(dice: Random, start: datetime) -> tuple[CampaignSettings, ...]:
    """In one schedule of six, two campaigns that follow each other, or overlap, while the schedule runs."""
    if dice.random() > 1 / 6:
        return ()
    begins = start.replace(second=0) - timedelta(minutes=dice.choice([0, 1, 70]))
    changes = start.replace(second=0) + timedelta(minutes=1)
    return (
        CampaignSettings(name="a-launch", start=begins, end=changes),
        CampaignSettings(
            name="b-night",
            start=changes - timedelta(minutes=dice.choice([0, 0, 1])) * (begins < changes - timedelta(minutes=1)),
            end=changes + timedelta(minutes=dice.choice([1, 3])),
        ),
    )


class World:
    """Everything in one schedule."""

    def __init__(self, plan: Plan, loop: SimulatedLoop, dice: Random) -> None:
        zone, start = _PLACES[plan.place]
        # In one schedule of five, days begin at six, and everything is later accordingly.
        day_starts = 6 if Random(plan.seed + 3).random() < 0.2 else 0
        start = (datetime.fromisoformat(start) + timedelta(hours=day_starts)).isoformat()
        self.plan = plan
        self.loop = loop
        self.dice = dice
        self.nobody = contextvars.copy_context()
        #: From when on YU7 is counted as SU7, if ever: in one schedule of five, the day after the first.
        self.aliased_from = (
            datetime.fromisoformat(start).date() + timedelta(days=1) if Random(plan.seed + 1).random() < 0.2 else None
        )
        #: Whether events announce campaigns: in one schedule of six.
        self.announces = Random(plan.seed + 7).random() < 1 / 6
        # In half of the schedules long work pauses wherever it may, in the others nowhere, as where there is little of it.
        loop.turn_s = 0.0 if Random(f"{plan.seed} turns").random() < 0.5 else float("inf")
        self.settings = _settings(
            plan.partitions,
            plan.totals,
            zone,
            plan.clock,
            several=plan.several,
            aliased_from=self.aliased_from,
            rolling=Random(plan.seed + 2).random() < 0.25 and not plan.keep_days,
            day_starts=day_starts,
            limits=plan.limits.model_copy(
                update={"announced_campaigns": 1 if Random(f"{plan.seed} campaigns").random() < 1 / 3 else 100}
            ),
            held_s=plan.held_s,
            windows=plan.windows,
            produces=plan.produces,
            keep_days=plan.keep_days,
            without=plan.without,
            campaigns=_campaigns(Random(plan.seed + 6), datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone))),
            announces=self.announces,
        )
        self.context = Context(self.settings)
        self._start_us = int(datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1e6)
        self._jumps: list[tuple[float, int]] = [(0.0, 0)]
        self._zero_us = self._start_us
        self.faults_on = True
        self.is_over = False
        self.seen: Counter[str] = Counter()
        self.coverage = Coverage(self.seen)
        self.last: deque[str] = deque(maxlen=_LAST_STEPS)
        self.boundaries = 0
        #: Asked at each write boundary, besides the plan, whether the process is killed there.
        self.kills_at: Callable[[int], bool] | None = None
        self._numbers = count(1)
        self._meanings: dict[tuple[bytes | None, bytes | None, int], Any] = {}
        self._failed = asyncio.Event()
        self.failure: BrokenError | None = None
        self.network = Network(self)
        self.cluster = Cluster(self.context.catalogue, lambda: self.now_us() // 1000, dice, loop, plan.protocol)
        self.cluster.transaction_timeout_s = self.settings.transaction_timeout_s
        for number, topic in self.context.source_topics.names.items():
            partitions = {ORDERS: plan.orders, DELIVERIES: plan.deliveries}.get(number, plan.partitions + 1)
            if partitions:
                self.cluster.resize(topic, partitions)
        self.invariants = Invariants(self)
        self.cluster.on_commit.append(self._hear)
        self.group = Group(self)
        self.workers: dict[str, Worker] = {}
        #: The installation of a rebuild, once there is one.
        self.beside: Beside | None = None
        #: All workers that were ever started, to be taken apart.
        self._started: list[Worker] = []
        self._forgetting = False
        self._awaited = ""
        self._armed_until_s = 0.0
        self._is_reached = asyncio.Event()
        #: Running commands that order a record to be skipped.
        self._deciding: list[Process] = []
        self._judging = Random(f"{plan.seed} judging")

    def take_apart(self) -> None:
        """Frees memory that would otherwise wait for the collector, which is slower than a schedule's own work."""
        for worker in self._started:
            for part in (worker.engine, worker.consumer, worker.process, worker):
                vars(part).clear()
        self.cluster.take_apart()
        vars(self).clear()

    # What the parts need ----------------------------------------------------------------------------------------------

    def next_number(self) -> int:
        """An unused number."""
        return next(self._numbers)

    def now_us(self) -> int:
        """The clock of all machines, as set by operators and time servers."""
        return self._zero_us + int(self.loop.now_s * 1e6)

    def clock_reached_s(self, instant_ms: int) -> float:
        """When, on the loop's clock, the machines' clock first showed an instant."""
        for index, (since_s, offset_us) in enumerate(self._jumps):
            until_s = self._jumps[index + 1][0] if index + 1 < len(self._jumps) else float("inf")
            at_s = (instant_ms * 1000 - self._start_us - offset_us) / 1e6
            if at_s < until_s:
                return max(at_s, since_s)
        return float("inf")

    def note(self, what: str) -> None:
        """Logs a step for the report of a failure."""
        self.last.append(f"{self.loop.time():9.3f} s  {what}")

    def hand_over_delay_s(self) -> float:
        """How long a batch waits between Faust and the runner."""
        share = self.plan.slow_hand_over_share
        if share and self.faults_on and self.dice.random() < share:
            self.happened("late batch")
            return self.dice.uniform(0.5, 8.0)
        return 0.0

    def meta_of(self, transactional_id: str, process: Process) -> Any:
        """What a totals writer has summed when it commits: a look into its memory, for the checks."""
        state = process.totals.get(transactional_id)
        return state and (state._next, state._shards.settled, state.between_steps, state._step_us)

    def is_killed_at(self, role: str, boundary: str, process: Process) -> bool:
        """Whether the plan kills the process at this write boundary."""
        self.boundaries += 1
        process.boundaries_left -= 1
        is_killed = self.boundaries == self.plan.crash_at or process.boundaries_left == 0
        if not is_killed and (self.kills_at is None or not self.kills_at(self.boundaries)):
            return False
        self.note(f"{process} is killed {boundary} of {role}")
        self.seen[f"killed: {role} {boundary}"] += 1
        self.coverage_of("killed at a write")
        for worker in self.workers.values():
            if worker.process is process:
                worker.tell_runners("killed")
        process.kill()
        return True

    def coverage_of(self, fault: str) -> None:
        """Counts a fault, wherever the writers are."""
        self.coverage.happened(fault, {kind_of(one) for one in self.cluster.open_transactions()} - {""})

    def happened(self, fault: str) -> None:
        """Counts a fault by its name, and by where it came."""
        self.seen[fault] += 1
        self.coverage_of(fault)

    def took_over(self, role: str, epoch: int) -> None:
        """Notes that a writer has its epoch; with the first epoch it has not replaced anyone."""
        if epoch:
            self.seen[f"takeover: {role}"] += 1
        self.coverage.wrote("takeover")

    def worker_ended(self, worker: Worker, error: BaseException) -> None:
        """Notes that a worker has ended on its own."""
        if self.is_over:
            return
        self.note(f"{worker.process} ends: {error!r}")
        self.seen[f"ended: {type(error).__name__}"] += 1
        if "SIMULATION_TRACE" in os.environ:
            traceback.print_exception(error)
        if worker.is_program_fault() or "trimmed" in str(error) or "recreated" in str(error):
            self._fail(BrokenError("no fault of the program", f"{worker.process} ended: {error!r}"))

    def expelled(self, worker: Worker) -> None:
        """Notes that the group continues without a worker."""
        self.note(f"{worker.process} is expelled from the group")
        self.happened("expelled")

    # Records and their meaning ----------------------------------------------------------------------------------------

    def between(self, tp: Partition, first: int, end: int) -> list[Entry]:
        """Entries of a partition between two offsets."""
        log = self.cluster._logs[tp]
        return log.entries[bisect_left(log.offsets, first) : bisect_left(log.offsets, end)]

    def sources(self) -> list[Partition]:
        """All partitions of the orders and deliveries."""
        numbers = self.context.source_topics.numbers
        return [tp for tp in self.cluster.partitions() if tp.topic in numbers]

    def source_entry(self, place: Place) -> Entry:
        """The record at a place of the sources."""
        (entry,) = self.between(Partition(place.topic, place.partition), place.offset, place.offset + 1)
        return entry

    def is_event(self, entry: Entry) -> bool:
        """Whether a source record is a valid event."""
        return self._meaning(entry) is not None

    def event_of(self, entry: Entry) -> dict[str, Any]:
        """The event in a valid record."""
        event: dict[str, Any] = self._meaning(entry)
        return event

    def _meaning(self, entry: Entry) -> Any:
        key = (entry.key, entry.value, family_of(self.context.source_topics.numbers[entry.topic]))
        if key in self._meanings:
            return self._meanings[key]
        # Published by a replay: the record with a repaired key.
        found = meaning(entry.value or b"") if (entry.value or b"").startswith(b'{"') else None
        if found is not None and (
            entry.key != life_of(found["data"]).encode() or "+" not in found["time"] or key[2] != 0
        ):
            found = None
        self._meanings[key] = found
        return found

    def learn(self, sent: Sent) -> None:
        """Remembers what a record means."""
        self._meanings[sent.key, sent.value, sent.topic] = meaning(sent.value or b"") if sent.is_event else None

    # The run ----------------------------------------------------------------------------------------------------------

    def _hear(self, transaction: Transaction) -> None:
        if self.failure is not None:
            return
        self.note(f"{transaction.transactional_id} commits {len(transaction.records)} records")
        kind = kind_of(transaction)
        if kind:
            self.coverage.wrote(kind)
            if self._armed_until_s > self.loop.now_s and kind != self.plan.aim:
                self._is_reached.set()
        beside = self.beside
        is_beside = beside is not None and transaction.transactional_id.startswith(PREFIX)
        try:
            (beside.invariants if beside is not None and is_beside else self.invariants).committed(transaction)
        except BrokenError as error:
            self._fail(error)

    def _fail(self, error: BrokenError) -> None:
        if self.failure is None:
            self.failure = error
            self._failed.set()

    async def run(self) -> None:
        """The whole schedule."""
        self.group.start()
        for number in range(self.plan.workers):
            self._start(f"w{number}")
        publishing = self.loop.create_task(self._publish())
        planning = self.loop.create_task(self._plan_targets())
        announcing = self.loop.create_task(self._announce())
        failing = self.loop.create_task(self._make_faults())
        rebuilding = self.loop.create_task(self._count_again())
        ending = self.loop.create_task(self._end(rebuilding, publishing, planning, announcing, failing))
        failed = self.loop.create_task(self._failed.wait())
        await asyncio.wait({ending, failed}, return_when=asyncio.FIRST_COMPLETED)
        if self.failure is None:
            ending.result()

    async def _end(self, rebuilding: asyncio.Task[None], *first: asyncio.Task[None]) -> None:
        for task in first:
            await task
        self.faults_on = False
        self._look()
        for worker in self.workers.values():
            worker.process.resume()
        self._heal()
        await rebuilding
        # The day after tomorrow everything is over and closed.
        await self._until_quiet(0.0)
        self._jump(2 * 86_400 + 7200)
        await self._until_quiet(_QUIET_S)
        try:
            self.invariants.check_end()
        except BrokenError as error:
            self._fail(error)

    async def _until_quiet(self, quiet_s: float) -> None:
        """Waits until everything is read and closed, and nothing has been committed for some seconds."""
        committed, quiet_since_s = -1, 0.0
        for number in range(int(_SETTLE_S / _LOOK_S)):
            await asyncio.sleep(_LOOK_S)
            if number % _LOOKS_OF_A_SUPERVISOR == 0:
                self._heal()
                if any(worker.engine.stopped for worker in self.workers.values()):
                    self._look_at_gaps()
            behind = not self._is_idle() or self.invariants.over.still_open() or self.invariants.announced.is_announcing
            if behind or committed != self.invariants.commits.total():
                committed, quiet_since_s = self.invariants.commits.total(), self.loop.time()
            elif self.loop.time() - quiet_since_s >= quiet_s:
                return

    def _is_idle(self) -> bool:
        """Whether everything is open, no transaction waits for markers, and nothing is left to read."""
        engines = [worker.engine for worker in self.workers.values() if worker.alive]
        totals = [part for engine in engines for part in engine._totals.items()]
        kept = sum(len(engine.partitions) for engine in engines if engine.ready)
        reads = self.context.read_by_totals
        return (
            kept == self.plan.partitions
            and sorted(number for number, _ in totals) == list(range(len(reads)))
            and self.cluster.is_at_rest
            and not self._lags()
            and not self.invariants.waits
            and not any(runner._busy.locked() for engine in engines for runner in engine._runners())
            and all(
                runner.positions.get(tp) == self.cluster.bounds(tp).end
                for number, runner in totals
                for tp in (Partition(*each) for each in reads[number])
            )
        )

    def _lags(self) -> bool:
        topics, position = self.context.source_topics, self.invariants.so_far.position
        return any(end and tp.topic in topics and end > position(tp) for tp, end in self.cluster.ends())

    def _heal(self) -> None:
        """A supervisor restarts ended processes."""
        if self._forgetting:
            return
        for instance, worker in list(self.workers.items()):
            if not worker.alive:
                self._start(instance)

    def _start(self, instance: str) -> None:
        self.note(f"{instance} starts")
        worker = self.workers[instance] = Worker(self, instance)
        self._started.append(worker)
        self.group.join(worker)

    async def _publish(self) -> None:
        publishers = Publishers(self.dice, self.plan.mischief, produces=self.plan.produces)
        names = self.context.source_topics.names
        open_until = 0
        epoch = -1
        records = self.plan.records
        days_pass = any(fault == "next day" for _, fault in self.plan.faults)
        for number in range(records + (_CORRECTIONS if days_pass else 0)):
            await asyncio.sleep(self.dice.uniform(0.0, 2 * self.plan.pace_s))
            if number == records:
                await asyncio.sleep(_AFTER_THE_DAYS_S)
            sent = publishers.next(self.now_us()) if number < records else publishers.correction(self.now_us())
            self.learn(sent)
            # Any topic of the family will do.
            topic = names[topic_number(sent.topic, self.dice.randrange(2) if self.plan.several else 0)]
            partitions = self.cluster.partition_count(topic)
            placed = home_of(sent.key, partitions)
            if self.dice.random() < self.plan.foreign:
                placed = self.dice.randrange(partitions)
            tp = Partition(topic, placed)
            headers = (("traceparent", b"00-%d" % number),) if number % 3 == 0 else ()
            await self.cluster.led([tp])
            if epoch < 0 and self.dice.random() < self.plan.transactions:
                epoch = await self.cluster.init("publisher")
                open_until = number + self.dice.randrange(6)
            if epoch >= 0:
                self._produce_in_transaction(tp, sent, headers, epoch)
                if number >= open_until:
                    await self._end_publishers(epoch)
                    epoch = -1
            else:
                self.cluster.append(tp, sent.key, sent.value, headers)
        if epoch >= 0:
            await self._end_publishers(epoch)

    async def _plan_targets(self) -> None:
        planners = Planners(self.dice)
        for _ in range(self.plan.targets):
            await asyncio.sleep(self.dice.uniform(0.0, 2 * self.plan.pace_s * self.plan.records / self.plan.targets))
            sent = planners.next(self.now_us())
            tp = Partition(self.context.side_topics[sent.topic], 0)
            await self.cluster.led([tp])
            entry = self.cluster.append(tp, sent.key, sent.value, ())
            if not sent.is_event:
                self.invariants.expect_dead_letter(entry)

    async def _announce(self) -> None:
        if not self.announces:
            return
        dice = Random(self.plan.seed + 8)
        announcers = Announcers(dice, datetime.fromtimestamp(self._start_us / 1e6, ZoneInfo(self.settings.timezone)))
        several = dice.randrange(2, 6)
        for _ in range(several):
            await asyncio.sleep(dice.uniform(0.0, 2 * self.plan.pace_s * self.plan.records / several))
            sent = announcers.next(self.now_us())
            tp = Partition(self.context.side_topics[0], 0)
            await self.cluster.led([tp])
            entry = self.cluster.append(tp, sent.key, sent.value, ())
            if not sent.is_event:
                self.invariants.expect_dead_letter(entry)

    def _produce_in_transaction(
        self, tp: Partition, sent: Sent, headers: tuple[tuple[str, bytes], ...], epoch: int
    ) -> None:
        try:
            self.cluster.produce("publisher", epoch, [Outgoing(tp.topic, tp.partition, sent.key, sent.value, headers)])
        except FencedRequestError:
            self.seen["publisher's transaction expired"] += 1

    async def _end_publishers(self, epoch: int) -> None:
        commit = self.dice.random() < 0.7
        self.seen["publisher commits" if commit else "publisher aborts"] += 1
        try:
            self.cluster.end("publisher", epoch, commit=commit)
        except FencedRequestError:
            self.seen["publisher's transaction expired"] += 1
        await self.cluster.may_begin("publisher")

    async def _make_faults(self) -> None:
        lasting = []
        for at_s, fault in self.plan.faults:
            await asyncio.sleep(max(0.0, at_s - self.loop.time()))
            if self.plan.aim and fault not in _COMMANDS:
                await self._boundary()
            self.note(f"fault: {fault}")
            self.seen[f"fault: {fault}"] += 1
            self.coverage_of(fault)
            coming = getattr(self, "_fault_" + fault.replace(" ", "_"))()
            if fault == "quarantine":  # others may come while its commands run
                lasting.append(self.loop.create_task(coming))
            else:
                await coming
        for task in lasting:
            await task
        await asyncio.sleep(0)

    async def _boundary(self) -> None:
        """Waits, not for long, until a writer of the aimed kind reaches a boundary of some kind.

        Or until another writer commits before this one does.
        """
        self._awaited = self.dice.choice((*BOUNDARIES, _ANOTHER_COMMITS, _ANOTHER_COMMITS))
        self._armed_until_s = 0.0
        self._is_reached.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_AIM_S):
                await self._is_reached.wait()

    def reached(self, boundary: str) -> None:
        """Notes that a writer of the aimed kind is at a boundary."""
        if boundary == self._awaited:
            self._is_reached.set()
        elif self._awaited == _ANOTHER_COMMITS:
            self._armed_until_s = 0.0 if boundary == "after the end" else self.loop.now_s + _ARMED_S

    async def _count_again(self) -> None:
        """Runs a rebuild that begins at some moment and lasts at most until some time after the last fault."""
        if not self.plan.rebuilds:
            return
        await asyncio.sleep(self.dice.uniform(0.5, self.plan.records * self.plan.pace_s))
        self.beside = beside = Beside(self)
        process, running = self._command("rebuild", beside.rebuild())
        until_s = float("inf")
        while not running.done():
            await asyncio.sleep(_LOOK_S)
            if not process.alive:  # its worker ends with it, and someone starts again
                beside.kill()
                process, running = self._command("rebuild", beside.rebuild())
            if self.faults_on:
                until_s = self.loop.time() + _SETTLE_S
            elif self.loop.time() > until_s:
                self._fail(BrokenError("rebuild", "it does not come to an end"))
                break
        beside.stop()

    def _anyone(self) -> Worker:
        return self.dice.choice([worker for _, worker in sorted(self.workers.items())])

    async def _fault_crash(self) -> None:
        worker = self._anyone()
        worker.tell_runners("killed")
        worker.process.kill()
        self.loop.call_later(self.dice.uniform(0.1, 15.0), self._heal)

    async def _fault_pause(self) -> None:
        worker = self._anyone()
        worker.tell_runners("paused")
        worker.process.pause()
        self.loop.call_later(self.dice.choice([0.5, 5.0, 14.0, 30.0]), self._wake, worker)

    def _wake(self, worker: Worker) -> None:
        if not worker.process.paused:
            return
        self.note(f"{worker.process} wakes up")
        self.coverage_of("wake up")
        worker.process.resume()

    async def _fault_rebalance(self) -> None:
        self.group.rebalance()

    async def _fault_join(self) -> None:
        if len(self.workers) < 4:
            self._start(f"w{len(self.workers)}")

    async def _fault_trim(self) -> None:
        """Retention, up to any offset; its operator looks at the gaps a while later."""
        tp = self.dice.choice(self.sources())
        self.cluster.trim(tp, self.dice.randint(0, self.cluster.high_water(tp)))
        # In time for the fault that waits for the command.
        after_s = self.dice.uniform(0.1, _AIM_S if self.plan.aim == "command" else 10.0)
        self.loop.call_later(after_s, self._look_at_gaps, context=self.nobody)

    def _look_at_gaps(self) -> None:
        self._command("gaps", self._accept_gaps())

    async def _accept_gaps(self) -> None:
        context = self.context_of(current_process())
        for gap in await find_gaps(context):
            if gap.state == "open":
                self.seen["gaps accepted"] += 1
                await accept_gap(context, gap.source, reason="retention", by="somebody", at="2024-10-07T00:00:00Z")

    async def _fault_grow(self) -> None:
        topic = self.dice.choice(self.context.source_topics.published)
        self.cluster.grow(topic, self.cluster.partition_count(topic) + self.dice.randrange(1, 4))
        self.loop.call_later(self.dice.uniform(0.0, 10.0), self._look)

    def _look(self) -> None:
        """The groups' leaders check how many partitions there are."""
        self.group.look()
        if self.beside is not None:
            self.beside.group.look()

    async def _fault_move_leaders(self) -> None:
        """A broker stops: some partitions have no leader for a while, and then one that is briefly behind."""
        share, away_s = self.dice.choice([0.2, 0.5, 1.0]), self.dice.choice([0.05, 0.5, 3.0, 9.0])
        for tp in self.cluster.partitions():
            if self.dice.random() < share:
                self.cluster.move(tp, away_s=away_s, behind_s=self.dice.uniform(0.0, 0.9))

    async def _fault_compact(self) -> None:
        for tp in self.cluster.partitions():
            if self.dice.random() < 0.7:
                self.cluster.compact(tp)

    async def _fault_jump_ahead(self) -> None:
        self._jump(self.dice.choice([10, 7200, 86_400, 86_400]))

    async def _fault_next_day(self) -> None:
        self._jump(86_400)

    async def _fault_jump_back(self) -> None:
        self._jump(-self.dice.choice([1, 30, 120]))

    def _jump(self, seconds: int) -> None:
        self._jumps.append((self.loop.time(), self._jumps[-1][1] + seconds * 1_000_000))
        self._zero_us = self._start_us + self._jumps[-1][1]
        self.note(f"the clock jumps by {seconds} s")

    async def _fault_replay(self) -> None:
        self._command("replay", self._replay(), most=8)

    async def _replay(self) -> None:
        await replay(self.context_of(current_process()), Wanted(), Repair(by="somebody"), lambda _: None)

    async def _fault_quarantine(self) -> None:
        """An operator orders a record to be skipped, mostly one just published, and sometimes takes that back.

        If it was too late, another record is tried.
        """
        before = self.seen["records to be skipped"]
        for _ in range(_TRIES_TO_SKIP):
            await self._skip_one()
            await self.loop.pause(0.5)
            if self.seen["records to be skipped"] > before:
                return

    async def _skip_one(self) -> None:
        ends = {tp: self.cluster.high_water(tp) for tp in self.sources()}
        for _ in range(100):
            await self.loop.pause(0.01)
            new = [tp for tp in self.sources() if self.cluster.high_water(tp) > ends.get(tp, 0)]
            if new:
                break
        tp = self.dice.choice(new or self.sources())
        found = [entry for entry in self.cluster.entries(tp) if not entry.is_marker]
        if found:
            entry = found[-1] if new else self.dice.choice(found)
            place = Place(entry.topic, entry.partition, entry.offset)
            process, _ = self._command("quarantine", self._quarantine(place), most=16)
            self._deciding.append(process)

    async def _quarantine(self, place: Place) -> None:
        context = self.context_of(current_process())
        self.invariants.accounts.asked_to_skip(place)
        await quarantine(context, place, Quarantine(reason="bad", by="somebody", at="2024-10-07T00:00:00Z"))
        self.seen["records to be skipped"] += 1
        self.note(f"{place} will be skipped")
        try:
            self.invariants.accounts.will_be_skipped(place)
        except BrokenError as error:
            self._fail(error)
        if self.dice.random() < 0.5:
            await self.loop.pause(self.dice.uniform(0.0, 0.5))
            self.invariants.accounts.asked_to_lift(place)
            await lift(context, place)
            self.seen["quarantines lifted"] += 1

    def context_of(self, process: Process) -> Context:
        """The installation as seen by a command."""
        return replace(self.context, now_us=self.now_us, other_log=SimulatedLog(self, process))

    def _command(
        self, name: str, coroutine: Coroutine[Any, Any, None], *, most: int = 0
    ) -> tuple[Process, asyncio.Task[None]]:
        """Runs a command in its own process; it may be killed at one of its first `most` write boundaries."""
        process = Process(f"{name}.{self.next_number()}", self.loop)
        process.is_command = True
        task = process.spawn(coroutine)
        task.add_done_callback(self._done)
        process.boundaries_left = self.dice.randrange(most) if most and self.dice.random() < _KILLED_SHARE else 0
        return process, task

    def _done(self, done: asyncio.Task[None]) -> None:
        error = None if done.cancelled() else done.exception()
        if isinstance(error, BrokenError):
            self._fail(error)
        elif error is not None and not self.is_over and not isinstance(error, (ExpectedError, KafkaError)):
            self._fail(BrokenError("no fault of the program", f"a command ended: {error!r}"))

    async def _fault_forget(self) -> None:
        """All processes stop, the internal topics or what is known about judging deliveries are deleted, all start again."""
        self._forgetting = True
        for process in (*(worker.process for worker in self.workers.values()), *self._deciding):
            process.kill()
        await asyncio.sleep(self.settings.transaction_timeout_s + 13.0)  # messages still under way arrive
        if self.plan.produces and self._judging.random() < _EARLIER_SHARE:
            self._forget_judging()
        else:
            self._forget_internals()
        self._forgetting = False
        self._heal()

    def _forget_judging(self) -> None:
        """Turns the states into those of a version that judged no deliveries, with other aliases, so that all is republished."""
        self.seen["deliveries judged for the first time"] += 1
        catalogue = self.context.catalogue
        self.cluster.delete(catalogue.told.name)
        for number in range(self.plan.partitions):
            at = Partition(catalogue.ledger.name, number)
            self.cluster.drop(at, lambda key: is_chunk(key, VEHICLE_CHUNKS))
            markers = [entry for entry in self.cluster.entries(at) if entry.is_visible and entry.key == STATE_KEY]
            for last in markers[-1:]:
                marker = structs.replace(decode_marker(last.value or b""), told=None, aliases="others")
                self.cluster.append(at, STATE_KEY, encode_marker(marker), ())
        self.invariants.contradictions.forget_judging()

    def _forget_internals(self) -> None:
        catalogue = self.context.catalogue
        sides = (catalogue.sides,) if self.plan.totals > 1 else ()
        for topic in (catalogue.ledger, catalogue.counts, catalogue.totals, *sides):
            self.cluster.delete(topic.name)
        told = self.plan.produces and self.dice.random() < 0.5
        if told:
            self.cluster.delete(catalogue.told.name)
            self.seen["what was told deleted"] += 1
        self.invariants.forget_internals(told=told)
        if self.dice.random() < (0.8 if self._deciding else 0.2):
            self.cluster.delete(catalogue.quarantine.name)
            self.invariants.accounts.forget_decisions()
            self.seen["operators' decisions deleted"] += 1


_LOGGER = logging.getLogger("streams")


class _Listener(logging.Handler):
    """Adds the service's warnings to the steps."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.note: Callable[[str], None] = lambda _: None
        self.seen: Counter[str] = Counter()

    def attach(self, world: World) -> None:
        """Listens for one world only; other tests of this process have their own listeners."""
        self.note, self.seen = world.note, world.seen
        _LOGGER.addHandler(self)
        _LOGGER.propagate = False

    def forget(self) -> None:
        """Stops listening: its world has ended."""
        self.note, self.seen = lambda _: None, Counter()
        _LOGGER.removeHandler(self)
        _LOGGER.propagate = True

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        self.note(f"{current_process()}: {message}")
        if "taken over by another worker" in message:
            self.seen["fenced"] += 1
        elif "opened again" in message:
            self.seen["opened again in doubt"] += 1


_LISTENER = _Listener()


def run(plan: Plan, kills_at: Callable[[int], bool] | None = None) -> Result:
    """Runs a schedule to its end or the first violated invariant; odd seeds take the hot path in Python, the others as usual.

    Args:
        plan: The schedule.
        kills_at: Asked at each write boundary, from 1 on, whether the process that reaches it is killed there.
    """
    dice = Random(plan.seed)
    loop = SimulatedLoop(dice)
    result = Result(plan)
    asyncio.set_event_loop(loop)
    world: World | None = None

    async def main() -> None:
        nonlocal world
        world = World(plan, loop, dice)
        world.kills_at = kills_at
        _LISTENER.attach(world)
        await world.run()
        world.is_over = True

    collecting = gc.isenabled()
    if plan.seed % 2:
        hotpath.take("python")
    # The collector would close generators of killed processes in loop steps at unpredictable times.
    gc.disable()
    with warnings.catch_warnings():
        # Coroutines that a killed process was about to start never start.
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        try:
            loop.run_until_complete(main())
        finally:
            hotpath.take(hotpath.HOT_PATH)
            loop.bury()
            _LISTENER.forget()
            asyncio.set_event_loop(None)
            if collecting:
                gc.enable()
    if world is None or loop.errors:
        raise RuntimeError(f"the simulation itself failed: {loop.errors}")
    if world.failure is not None:
        result.broken, result.invariant = str(world.failure), world.failure.invariant
        result.last = tuple(world.last)
    result.seen, result.boundaries, result.steps = world.seen, world.boundaries, loop.steps
    result.seen["rebalances"] += world.group.rebalances
    result.seen["compactions"] += world.cluster.compactions
    world.take_apart()
    return result
