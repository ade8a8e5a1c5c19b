"""The plan of a schedule: all of its parameters, which follow from its seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from random import Random
from typing import NamedTuple, Self

from streams.context import BLOCK_ROWS, MANY_LEFT, PART_ROWS, SNAPSHOT_AFTER, STEP_RECORDS
from streams.settings_sections import LimitSettings
from tests.simulation import past

#: Places and times: an ordinary midnight, the end of a month, and the ends of two days with clock changes.
PLACES = (
    ("Asia/Shanghai", "2024-10-07T23:59:50"),
    ("Asia/Shanghai", "2024-10-31T23:59:45"),
    ("Europe/Berlin", "2024-10-26T23:59:50"),
    ("Europe/Berlin", "2025-03-30T01:59:50"),
    ("America/New_York", "2024-12-31T23:59:50"),
    ("Asia/Shanghai", "2025-10-08T23:59:50"),
)
#: The places of most schedules; those with a history of years are where there was the same holiday in the year before.
_ORDINARY_PLACES = len(PLACES) - 1
_A_YEAR_LATER = _ORDINARY_PLACES

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
COMMANDS = ("replay", "trim", "quarantine")

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
    *past.RULES,
)

#: Share of schedules with a history of earlier periods.
_PAST_SHARE = 0.045
#: Share of the rules about histories that such a schedule leaves out.
_LEFT_OUT = 0.25
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
    #: Counts, violations, dead letters and forwarded records in one transaction of a ledger partition.
    step_records: int = STEP_RECORDS
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
    #: Whether workers keep standby copies of each other's ledger partitions.
    standbys: bool = False
    loads: float = 0.0
    #: Rules that this installation does not have.
    without: tuple[str, ...] = ()
    #: What was published of earlier periods, a kind of history; empty for nothing.
    past: str = ""
    #: The month in which years begin, and whether weeks begin on Sundays.
    year_starts: int = 1
    on_sundays: bool = False

    @property
    def limits(self) -> LimitSettings:
        """The limits of the installation."""
        if self.bounded or self.rejects:
            return LimitSettings(values=1, beyond="reject" if self.rejects else "other")
        return LimitSettings()

    @property
    def series_records(self) -> int:
        """More records than the rows and milestones of one metric and scope, so that they fit into one transaction."""
        if self.past:
            return PART_ROWS
        return 40 if self.records < _LONG and all(fault != "next day" for _, fault in self.faults) else 80

    @property
    def many_left(self) -> int:
        """Counts that are many if they are left at the broker."""
        return (2, 6, MANY_LEFT)[self.seed % 3]

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
            both = [((at_s, dice.choice(COMMANDS)), (at_s, fault)) for at_s, fault in faults if fault not in COMMANDS]
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
            pace_s=pace_s,
            mischief=mischief,
            foreign=dice.choice([0.0, 0.1, 0.4]),
            transactions=dice.choice([0.0, 0.0, 0.3]),
            loss_share=dice.choice([0.0, 0.0, 0.005, 0.03]),
            slow_share=dice.choice([0.0, 0.005, 0.03]),
            slow_leader_share=dice.choice([0.0, 0.0, 0.02]),
            slow_hand_over_share=dice.choice([0.0, 0.0, 0.05]),
            most_fetched=dice.choice([1, 3, 20, 200]),
            targets=dice.choice([0, 0, 4]),
            place=dice.randrange(_ORDINARY_PLACES),
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
        bounds, totals, produces, kept, rules, protocol, standbys, history, steps, loads = (
            Random(f"{seed} {part}") for part in range(10)
        )
        plan = plan.with_bounds(bounds).with_totals(totals).with_kept_days(kept).with_some_rules(rules)
        plan = replace(plan, produces=produces.random() < 0.15, protocol=protocol.choice([1, 2]))
        plan = replace(plan, step_records=steps.choice([1, 20, 60, *([STEP_RECORDS] * 5)]))
        # In one of four, where there are others to keep them.
        plan = replace(plan, standbys=plan.workers > 1 and standbys.random() < 0.4)
        plan = replace(plan, loads=loads.choice([0.0, 0.0, 0.0, 0.1, 0.5]))
        return plan.with_past(history) if history.random() < _PAST_SHARE else plan

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

    def with_past(self, dice: Random) -> Self:
        """Gives the schedule a history, the windows that it is about, and leaps in time where hours matter."""
        kind = dice.choice((*past.KINDS, past.HOURS, past.HOURS))
        faults, records, pace_s = self.faults, max(self.records, 6), self.pace_s
        if kind == past.HOURS:
            pace_s = max(pace_s, 0.6)
            # All scopes have been looked at before the first of them.
            leaps = (dice.uniform(3.0, 5.0), dice.uniform(6.0, 8.0), records * pace_s + 1.5)
            faults = tuple(sorted([*faults[:1], *((round(at_s, 3), "jump ahead") for at_s in leaps)]))
        # Its own rules are mostly there, and what is usual for event sources is looked at.
        own = {*past.RULES, "silent"}
        without = tuple(name for name in RULES if (dice.random() < _LEFT_OUT if name in own else name in self.without))
        return replace(
            self,
            past=kind,
            without=without,
            windows=(*past.KINDS[kind].others, *past.KINDS[kind].compared),
            # No limits, and no days that leave if days are compared: what is compared should be there.
            bounded=False,
            rejects=False,
            keep_days=self.keep_days if kind == past.HOURS else 0,
            records=records,
            pace_s=pace_s,
            mischief=max(self.mischief, 0.2),
            place=_A_YEAR_LATER if kind == "years" else self.place,
            faults=faults,
            part_rows=dice.choice([1, 6, PART_ROWS, PART_ROWS, PART_ROWS]),
            year_starts=dice.choice([1, 1, 4, 10]),
            on_sundays=dice.random() < 0.3,
        )

    def with_some_rules(self, dice: Random) -> Self:
        """In two schedules of three, rules are left out: this shows what they hide, and leaves time for more schedules."""
        share = dice.choice([0.0, 0.5, 0.8])
        return replace(self, without=tuple(name for name in RULES if dice.random() < share))
