"""The settings of the installation in a schedule."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final

from schemas.facts import FAMILIES, USUAL_FAMILIES
from streams.context import Context
from streams.domain.time.calendar import CHINA
from streams.settings import Settings
from streams.settings_sections import (
    AliasSettings,
    CampaignSettings,
    LimitSettings,
    RollingSettings,
    RuleSettings,
    TargetSettings,
    TopicSettings,
    ValueSettings,
)
from tests.simulation import past
from tests.simulation.alerts import BEHIND, MOVES_DAYS
from tests.simulation.plan import RULES

if TYPE_CHECKING:
    from random import Random

#: What of a context follows from its settings alone.
_FOLLOWS: Final = [name for name, each in vars(Context).items() if isinstance(each, cached_property) and name != "log"]

#: The models that `values` lists, if it lists any.
LISTED = ("SU7",)


@cache
def _usual_rules(held_s: int, *, keeps_days: bool, produces: bool) -> tuple[RuleSettings, ...]:
    """The rules of every installation, where they are not left out."""
    return (
        RuleSettings(
            name="daily",
            metric="deliveries",
            window="day",
            scope=("model",),
            exceeds=1 if held_s else 2,
            streak=None if keeps_days else 2,
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
        # Without a history nothing is usual: no alert is ever raised, but every scope is looked at.
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


@lru_cache(maxsize=500)
def settings_of(
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
    standbys: bool,
    without: tuple[str, ...],
    past_kind: str,
    year_starts: int,
    on_sundays: bool,
) -> Settings:
    rules = _usual_rules(held_s, keeps_days=bool(keep_days), produces=produces)
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
    if past_kind:
        rules = (*rules, *past.rules_of(past_kind, held_s=held_s, compares_scopes=totals == 1))
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
        week_starts="sunday" if on_sundays else "monday",
        fiscal_year_start=f"{year_starts:02}-01",
        scopes=(("model",), ()),
        # If there are several topics, one of the two models is counted as `other`.
        values=ValueSettings(model=LISTED if several else ()),
        closed_after_s=3600,
        transaction_timeout_s=4.0,
        session_timeout_s=6.0,
        standby_copies=int(standbys),
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


def as_seen_by_another(context: Context, **other: Any) -> Context:
    """An installation as another process sees it, with what follows from its settings, which is worked out once."""
    seen = replace(context, **other)
    vars(seen).update({name: getattr(context, name) for name in _FOLLOWS})
    return seen


def campaigns_of(dice: Random, start: datetime) -> tuple[CampaignSettings, ...]:
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
