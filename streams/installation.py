"""Checks the settings as a whole, so that all commands refuse the same settings in the same words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams.domain.rules import Rule, Target, check_rules, check_targets
from streams.errors import ExpectedError
from streams.holidays import calendar_of
from streams.settings_file import read_settings
from streams.web_addresses import web_address, web_proxies

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from schemas.outputs import Operator
    from streams.settings import Settings
    from streams.settings_sections import RuleSettings


def load_settings(config: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Reads the settings and checks all that a worker needs; every command loads its settings here.

    Args:
        config: The file named on the command line.
        overrides: Values given on the command line, by setting; `None` values are not given.

    Raises:
        ExpectedError: Something cannot be read or is invalid, exit code 2: one line that names it.
    """
    # Imported here so that `doctor` works even where the Kafka client is broken.
    from streams.kafka.client_options import client_options  # noqa: PLC0415 - see above

    settings = read_settings(config, overrides)
    check_installation(settings)
    # Addresses and secrets are checked too, although nothing is opened yet.
    client_options(settings)
    web_address(settings)
    web_proxies(settings)
    return settings


def check_installation(settings: Settings) -> None:
    """Checks settings that depend on each other: rules and targets against calendar, holidays and scopes.

    Raises:
        ExpectedError: A holiday, rule or target is invalid; the message names it.
    """
    try:
        calendar = calendar_of(settings)
        check_rules(rules_of(settings), calendar)
        check_targets(targets_of(settings), calendar)
        _check_comparable(settings)
    except ValueError as error:
        raise ExpectedError(str(error)) from None


def _check_comparable(settings: Settings) -> None:
    """Checks that rules that compare scopes find all of them in one totals partition, and shares find `all` among them.

    Raises:
        ValueError: They do not.
    """
    for rule in settings.rule:
        if rule.share is None and not rule.leader:
            continue
        key = "share" if rule.share is not None else "leader"
        if settings.totals_partitions > 1:
            raise ValueError(
                f"rule {rule.name!r}: {key} compares scopes, which {settings.totals_partitions} totals_partitions keep apart;"
                " set totals_partitions = 1 or leave the rule out"
            )
        if rule.share is not None and () not in settings.scopes:
            raise ValueError(f"rule {rule.name!r}: share compares with all, which is not counted; add [] to scopes")


def rules_of(settings: Settings) -> list[Rule]:
    """The rules of the settings.

    Raises:
        ValueError: One has two thresholds.
    """
    return [_rule(rule) for rule in settings.rule]


def targets_of(settings: Settings) -> list[Target]:
    """The targets of the settings, with their initial values."""
    return [
        Target(
            target_id=target.target_id,
            metric=target.metric,
            scope=target.scope,
            period=target.period,
            value=target.value,
            label=target.label,
            at=target.at,
        )
        for target in settings.target
    ]


def _rule(rule: RuleSettings) -> Rule:
    if rule.exceeds is not None and rule.reaches is not None:
        raise ValueError(f"rule {rule.name!r}: give exceeds or reaches, not both")
    operator: Operator | None = (
        "exceeds" if rule.exceeds is not None else "reaches" if rule.reaches is not None else None
    )
    return Rule(
        name=rule.name,
        metric=rule.metric,
        window=rule.window,
        scope=rule.scope,
        operator=operator,
        threshold=rule.exceeds if rule.exceeds is not None else rule.reaches,
        first=rule.first,
        record=rule.record,
        retract_after_s=rule.retract_after_s,
        every=rule.every,
        streak=rule.streak,
        factor=rule.factor,
        than=rule.than,
        share=rule.share,
        leader=rule.leader,
        while_running=rule.as_ == "passed",
        forecast_behind=rule.forecast_behind,
        forecast_moves_days=rule.forecast_moves_days,
        stalled_hours=rule.stalled_hours,
        stalled_below=rule.stalled_below,
    )
