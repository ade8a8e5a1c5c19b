"""The sections of the settings: rules, targets, windows of your own, topics, values, limits, aliases, each with its bounds."""

from __future__ import annotations

import json
import re
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from schemas.events import canonical_scope
from schemas.facts import DIMENSIONS, MAX_TOPICS, MOST_MINUTES, Metric
from schemas.instants import micros_of, parse_instant
from schemas.texts import is_name, tidy_name
from streams.domain.scopes.aliases import Alias, Aliases
from streams.domain.time.campaigns import MINUTES, Campaign
from streams.domain.time.periods import LEAST_ROLLING, MOST_ROLLING
from streams.domain.time.zone import MINUTE_US

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")


class Section(BaseModel):
    """Settings that belong together: no others are accepted, and none changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, about: ValidationInfo) -> Any:
        """By default, `true` would be taken as 1."""
        if isinstance(value, bool) and about.field_name is not None:
            annotation = cls.model_fields[about.field_name].annotation
            if annotation is not bool:
                raise ValueError(f"{str(value).lower()} is neither a number nor a text")
        return value


class RuleSettings(Section):
    """One `[[rule]]`: raises a milestone when a window passes a number or each of its multiples, or sets a record."""

    name: str = Field(min_length=1, max_length=64)
    metric: Metric
    window: str
    scope: tuple[str, ...] = ()
    exceeds: int | None = Field(default=None, ge=0)
    reaches: int | None = Field(default=None, ge=1)
    every: int | None = None
    first: bool = False
    streak: int | None = None
    factor: float | None = None
    than: Literal["previous", "last-year"] = "previous"
    share: float | None = None
    leader: bool = False
    record: bool = False
    forecast_behind: float | None = None
    forecast_moves_days: int | None = None
    stalled_hours: int | None = None
    stalled_below: float | None = None
    #: When records and factors become milestones: once their period is over, or the moment they are passed.
    as_: Literal["confirmed", "passed"] = Field(default="confirmed", alias="as")
    retract_after_s: int = Field(default=0, ge=0, le=31_536_000)


class TargetSettings(Section):
    """One `[[target]]`: a value that a window is to reach."""

    target_id: str = Field(min_length=1, max_length=256)
    metric: Metric
    scope: str = "all"
    period: str
    value: int = Field(ge=1)
    label: str | None = Field(default=None, max_length=256)
    at: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(default=(), max_length=20)

    @field_validator("at")
    @classmethod
    def _each_once(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(value)) != len(value):
            raise ValueError("list each share once")
        return tuple(sorted(value))

    @field_validator("scope")
    @classmethod
    def _scope_as_in_ids(cls, value: str) -> str:
        try:
            return canonical_scope(value)
        except ValueError:
            return value  # named with the target's id when all targets are checked


class RollingSettings(Section):
    """One `[[rolling]]`: a window of a number of days up to each date, for the scopes of some sets of dimensions."""

    days: int = Field(ge=LEAST_ROLLING, le=MOST_ROLLING)
    scopes: tuple[tuple[str, ...], ...] = Field(default=((),), min_length=1)


class CampaignSettings(Section):
    """One `[[campaign]]`: a named window between two instants; without `end` or `hours` it has the maximum length."""

    name: str
    start: datetime
    end: datetime | None = None
    hours: int | None = Field(default=None, ge=1)
    scopes: tuple[tuple[str, ...], ...] = Field(default=(), max_length=100)

    @field_validator("start", "end", mode="before")
    @classmethod
    def _instant(cls, value: object) -> object:
        if isinstance(value, int | float):
            # By default, it would be taken as seconds since 1970.
            raise ValueError("a date and time with an offset is needed, such as 2025-06-26T22:00:00+08:00")  # noqa: TRY004 - for pydantic
        text = value.isoformat() if isinstance(value, date) else value  # TOML has types for both
        return parse_instant(text) if isinstance(text, str) else value

    @model_validator(mode="after")
    def _one_end(self) -> CampaignSettings:
        if self.end is not None and self.hours is not None:
            raise ValueError(f"campaign {self.name!r}: give end or hours, not both")
        return self

    def campaign(self, of_service: Sequence[tuple[str, ...]]) -> Campaign:
        """The campaign, by default for all scopes of the service.

        Raises:
            ValueError: It is not valid; the message names it.
        """
        start_us = micros_of(self.start)
        end_us = micros_of(self.end) if self.end is not None else start_us + _length_us(self.hours)
        try:
            return Campaign(self.name, start_us, end_us, tuple(map(in_order, self.scopes or of_service)))
        except ValueError as error:
            raise ValueError(f"campaign {self.name!r}: {error}") from None


def _length_us(hours: int | None) -> int:
    return (hours * MINUTES if hours is not None else MOST_MINUTES) * MINUTE_US


class TopicSettings(Section):
    """`[topics]`: the topic names of each family; for a family left out they follow from the prefix."""

    orders: tuple[str, ...] = ()
    deliveries: tuple[str, ...] = ()
    production: tuple[str, ...] = ()

    @field_validator("*", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        if value == []:  # as a file gives it; the default is a tuple
            raise ValueError("list at least one topic, or leave the key out")
        return [value] if isinstance(value, str) else value

    @field_validator("*")
    @classmethod
    def _legal(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not _TOPIC.fullmatch(name) or name in {".", ".."}:
                raise ValueError(f"{name!r} is no name of a topic: 1 to 249 of A-Z a-z 0-9 . _ -")
        twice = next((name for name in value if value.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} is listed twice")
        if len(value) > MAX_TOPICS:
            raise ValueError(f"{len(value)} topics; {MAX_TOPICS} at most can be read")
        return value


class ValueSettings(Section):
    """`[values]`: the values of a dimension that have their own scopes; all others count as `other`."""

    model: tuple[str, ...] = ()
    variant: tuple[str, ...] = ()
    factory: tuple[str, ...] = ()
    region: tuple[str, ...] = ()

    @field_validator("*")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(tidy_name(each) for each in value)
        for name in names:
            if not is_name(name):
                raise ValueError(f"{name!r} is no name of 1 to 64 characters")
            if names.count(name) > 1:
                raise ValueError(f"{name!r} is listed twice")
        return names

    def listed(self) -> dict[str, tuple[str, ...]]:
        """Dimension → its values, for dimensions whose values are listed."""
        return {name: values for name in DIMENSIONS if (values := getattr(self, name))}


class LimitSettings(Section):
    """`[limits]`: numbers that an installation should stay below; warnings begin at 80 %."""

    values: int = Field(default=1_000, ge=1)
    scopes: int = Field(default=20_000, ge=1)
    rows: int = Field(default=2_000_000, ge=1)
    announced_campaigns: int = Field(default=100, ge=1, le=1_000)
    beyond: Literal["warn", "other", "reject"] = "warn"

    @property
    def bounds(self) -> dict[str, int]:
        """The limits by name; announced campaigns beyond theirs are not counted."""
        return {"values": self.values, "scopes": self.scopes, "rows": self.rows}


class AliasTarget(Section):
    """The name that a name is counted as, for units dated from a business date on."""

    name: str
    since: date = Field(default=date.min, alias="from")


class AliasSettings(Section):
    """`[alias.model]` and so on: name → the name it is counted as, or `{name = "SU7", from = 2024-11-01}`."""

    model: dict[str, AliasTarget] = {}
    variant: dict[str, AliasTarget] = {}
    factory: dict[str, AliasTarget] = {}
    region: dict[str, AliasTarget] = {}

    @field_validator("model", "variant", "factory", "region", mode="before")
    @classmethod
    def _name_or_more(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {tidy_name(name): {"name": means} if isinstance(means, str) else means for name, means in value.items()}

    @field_validator("model", "variant", "factory", "region")
    @classmethod
    def _names(cls, value: dict[str, AliasTarget]) -> dict[str, AliasTarget]:
        tidied = {name: target.model_copy(update={"name": tidy_name(target.name)}) for name, target in value.items()}
        for name, target in tidied.items():
            for text in (name, target.name):
                if not is_name(text):
                    raise ValueError(f"{text!r} is no name: 1 to 64 letters, digits, signs and inner spaces")
            if target.name in tidied:
                raise ValueError(
                    f"{name} is to be counted as {target.name}, which is an alias itself: name what that means"
                )
        return tidied

    @property
    def known(self) -> frozenset[tuple[str, str]]:
        """(dimension, name) of every alias."""
        return frozenset((dimension, name) for dimension in DIMENSIONS for name in getattr(self, dimension))

    def all(self) -> Aliases:
        """The aliases of every dimension."""
        return Aliases(
            Alias(dimension, name, target.name, target.since)
            for dimension in DIMENSIONS
            for name, target in getattr(self, dimension).items()
        )


def as_written(templates: Iterable[Sequence[str]]) -> str:
    """Sets of dimensions as a settings file and an event have them: `["model", "region"], []`."""
    return ", ".join(json.dumps(list(template)) for template in templates)


def in_order(template: Sequence[str]) -> tuple[str, ...]:
    """A set of dimensions in the order of scope ids."""
    return tuple(name for name in DIMENSIONS if name in template)
