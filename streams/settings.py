"""The settings: what there is, with its bounds, and what follows from them; `settings_file.py` reads them.

Sections are in `settings_sections.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from schemas.facts import DIMENSIONS, FAMILIES, METRICS_OF, USUAL_FAMILIES, EventFamily, family_of
from schemas.texts import ALL, SOURCE
from schemas.topics import Catalogue
from streams.domain.time.calendar import CHINA, DEFAULT_WINDOWS, NO_CALENDAR, WINDOWS
from streams.domain.time.campaigns import CAMPAIGN, Campaign, Campaigns
from streams.domain.time.periods import ROLLING, TOTAL, WEEK_DAYS, Reckoning
from streams.domain.time.zone import MINUTE_US
from streams.errors import ExpectedError
from streams.settings_sections import (
    AliasSettings,
    CampaignSettings,
    LimitSettings,
    RollingSettings,
    RuleSettings,
    Section,
    TargetSettings,
    TopicSettings,
    ValueSettings,
    as_written,
    in_order,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streams.domain.scopes.aliases import Aliases
    from streams.domain.time.zone import BusinessZone

#: Time zones whose default holiday calendar is China's.
CHINESE_ZONES: Final = frozenset(
    ("Asia/Shanghai", "Asia/Chongqing", "Asia/Chungking", "Asia/Harbin", "Asia/Kashgar", "Asia/Urumqi", "PRC")
)

#: Each has a row for every scope and date.
MOST_ROLLING_WINDOWS: Final = 4
MOST_CAMPAIGNS: Final = 200
MOST_KEPT_DAYS: Final = 36_525

_PREFIX = re.compile(r"[A-Za-z0-9._-]{0,100}")
_HEADER = re.compile(r"[A-Za-z0-9-]{0,64}")
_FULL_HOUR = re.compile(r"([01][0-9]|2[0-3]):00")
_MONTH_AND_DAY = re.compile(r"(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])")
_URI_REFERENCE = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*")


class Settings(Section):
    """Everything an operator can set. Durations end in `_s` (seconds) or `_ms` (milliseconds).

    The web view's settings: `web_bind` is HOST:PORT; `web_token(_file)` the token that readers present, and `web_proxy_header` a
    header set by an authenticating proxy at one of `web_trusted_proxies` (addresses, networks); an address that is not loopback
    needs one of the two. `web_hosts` are more names allowed in the Host header; `web_lag_limit_s` is the lag from which the view
    counts as stale; `web_show_payloads` says whether keys and values of dead letters are shown, `web_show_vins` whether VINs are
    shown and searched, `web_check` whether `POST /api/v1/check` judges events, and `web_orders` whether single orders can be
    looked up, for which the view reads the ledger's changelog. `web_max_connections`, `web_max_streams` (open pages) and
    `web_rate_per_s` (requests per second and client) are limits.
    """

    bootstrap_servers: str = "127.0.0.1:9092"
    timezone: str = "Asia/Shanghai"
    day_starts: str = "00:00"
    clock: Literal["wall", "events"] = "wall"
    holiday_calendar: str = Field(default="", max_length=1024)
    holidays: tuple[str, ...] = ("national-day",)
    windows: tuple[str, ...] = DEFAULT_WINDOWS
    rolling: tuple[RollingSettings, ...] = Field(default=(), max_length=MOST_ROLLING_WINDOWS)
    campaign: tuple[CampaignSettings, ...] = Field(default=(), max_length=MOST_CAMPAIGNS)
    week_starts: str = WEEK_DAYS[0]
    fiscal_year_start: str = "01-01"
    scopes: tuple[tuple[str, ...], ...] = (("model",), ())
    values: ValueSettings = ValueSettings()
    limits: LimitSettings = LimitSettings()
    keep_days: dict[str, Annotated[int, Field(ge=1, le=MOST_KEPT_DAYS)]] = {}  # noqa: RUF012 - pydantic copies it
    families: tuple[EventFamily, ...] = USUAL_FAMILIES
    production_since: str = ""
    alias: AliasSettings = AliasSettings()
    rule: tuple[RuleSettings, ...] = ()
    target: tuple[TargetSettings, ...] = ()

    partitions: int = Field(default=4, ge=1, le=1000)
    totals_partitions: int = Field(default=1, ge=1, le=100)
    replication_factor: int = Field(default=-1, ge=-1)
    min_insync_replicas: int = Field(default=0, ge=0)
    source_prefix: str = ""
    topics: TopicSettings = TopicSettings()
    output_prefix: str = ""

    event_source: str = Field(default="", max_length=256)
    accept_schema_registry_json: bool = False
    future_limit_s: int = Field(default=300, ge=0)
    closed_after_s: int = Field(default=259_200, ge=0)
    commit_interval_ms: int = Field(default=45, ge=1, le=5000)
    transaction_timeout_s: float = Field(default=10.0, ge=2.0, le=600.0)
    session_timeout_s: float = Field(default=10.0, ge=6.0, le=300.0)
    metadata_max_age_s: float = Field(default=30.0, ge=1.0, le=3600.0)
    open_timeout_s: float = Field(default=600.0, ge=10.0)
    standby_copies: int = Field(default=0, ge=0, le=1)
    state_dir: str = ""
    orders_in: Literal["memory", "file"] = "memory"
    cluster_timeout_s: float = Field(default=30.0, ge=1.0, le=86_400.0)

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = "PLAIN"
    sasl_username: str = ""
    sasl_password: str = Field(default="", repr=False)
    sasl_password_file: str = ""
    sasl_token_file: str = ""
    ssl_ca_file: str = ""
    ssl_check_hostname: bool = True
    ssl_certificate_file: str = ""
    ssl_key_file: str = ""
    ssl_key_password: str = Field(default="", repr=False)
    ssl_key_password_file: str = ""

    web_bind: str = "127.0.0.1:8080"
    web_token: str = Field(default="", repr=False)
    web_token_file: str = ""
    web_proxy_header: str = ""
    web_trusted_proxies: str = ""
    web_hosts: str = ""
    web_lag_limit_s: float = Field(default=30.0, gt=0.0)
    web_show_payloads: bool = False
    web_show_vins: bool = False
    web_orders: bool = True
    web_check: bool = False
    web_max_connections: int = Field(default=1000, ge=10, le=100_000)
    web_max_streams: int = Field(default=500, ge=1, le=100_000)
    web_rate_per_s: float = Field(default=50.0, gt=0.0)

    @model_validator(mode="before")
    @classmethod
    def _holidays_of_the_calendar(cls, values: Any) -> Any:
        """Without a setting for holidays, none are counted unless the calendar is China's."""
        if not isinstance(values, dict) or "holidays" in values:
            return values
        fields = cls.model_fields
        given = [values.get(name, fields[name].default) for name in ("holiday_calendar", "timezone")]
        if not all(isinstance(value, str) for value in given):
            return values  # which is said where each setting is checked by itself
        return values if calendar_name(*given) == CHINA else values | {"holidays": ()}

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"no IANA time zone is called {value!r}; Asia/Shanghai is one") from None
        return value

    @field_validator(
        "state_dir",
        "holiday_calendar",
        "sasl_password_file",
        "sasl_token_file",
        "ssl_ca_file",
        "ssl_certificate_file",
        "ssl_key_file",
        "ssl_key_password_file",
        "web_token_file",
    )
    @classmethod
    def _in_the_home_folder(cls, value: str) -> str:
        """A shell would have replaced the `~`; without this, a folder of that name would be made where the command runs."""
        try:
            return str(Path(value).expanduser()) if value.startswith("~") else value
        except RuntimeError:
            return value  # nobody is called that

    @field_validator("source_prefix", "output_prefix")
    @classmethod
    def _fit_for_a_topic(cls, value: str) -> str:
        if not _PREFIX.fullmatch(value):
            raise ValueError("at most 100 of the characters A-Z a-z 0-9 . _ - make a prefix of topic names")
        return value

    @field_validator("event_source")
    @classmethod
    def _uri_reference(cls, value: str) -> str:
        if not _URI_REFERENCE.fullmatch(value):
            raise ValueError("a URI reference is needed, such as /sales/milestones: no blanks, and ASCII only")
        return value

    @field_validator("web_proxy_header")
    @classmethod
    def _name_of_a_header(cls, value: str) -> str:
        if not _HEADER.fullmatch(value):
            raise ValueError(
                "at most 64 letters, digits and hyphens make the name of a header, such as X-Forwarded-User"
            )
        return value

    @field_validator("windows")
    @classmethod
    def _known_windows(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = next((name for name in value if name not in WINDOWS), None)
        if unknown is not None:
            raise ValueError(f"no window is called {unknown!r}; choose from {', '.join(WINDOWS)}")
        if "day" not in value or len(set(value)) != len(value):
            raise ValueError("list each window once, day among them: all others are sums of days")
        return value

    @field_validator("week_starts")
    @classmethod
    def _day_of_a_week(cls, value: str) -> str:
        if value not in WEEK_DAYS:
            raise ValueError(f"no day is called {value!r}; choose from {', '.join(WEEK_DAYS)}")
        return value

    @field_validator("day_starts")
    @classmethod
    def _full_hour(cls, value: str) -> str:
        if not _FULL_HOUR.fullmatch(value):
            raise ValueError(f"{value!r} is no full hour; write HH:00, such as 06:00")
        return value

    @field_validator("fiscal_year_start")
    @classmethod
    def _month_and_day(cls, value: str) -> str:
        if not _MONTH_AND_DAY.fullmatch(value):
            raise ValueError(
                f"{value!r} is no date on which every year can begin; write MM-DD, such as 04-01, up to the 28th"
            )
        return value

    @field_validator("scopes")
    @classmethod
    def _known_dimensions(cls, value: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        for template in value:
            unknown = [name for name in template if name not in DIMENSIONS]
            if unknown or len(set(template)) != len(template):
                raise ValueError(f"{as_written([template])} is no scope: each of {', '.join(DIMENSIONS)} at most once")
        if len({frozenset(template) for template in value}) != len(value) or not value:
            raise ValueError("list each scope once, and at least one")
        return value

    @field_validator("families")
    @classmethod
    def _each_family_once(cls, value: tuple[EventFamily, ...]) -> tuple[EventFamily, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError(f"list each of {', '.join(FAMILIES)} that is published, once, and at least one")
        return tuple(family for family in FAMILIES if family in value)

    @field_validator("production_since", mode="before")
    @classmethod
    def _date_of_production(cls, value: Any) -> Any:
        """The date as text; TOML has a date type."""
        if isinstance(value, date) and not isinstance(value, datetime):
            return value.isoformat()
        if value:
            try:
                return date.fromisoformat(value).isoformat()
            except (TypeError, ValueError):
                given = repr(value) if isinstance(value, str) else value  # TOML has types for times
                raise ValueError(f"{given} is no date; write YYYY-MM-DD, such as 2024-11-01") from None
        return value

    @model_validator(mode="after")
    def _production_is_published(self) -> Settings:
        missing = [family for family in ("deliveries", "production") if family not in self.families]
        if self.production_since and missing:
            are = "are" if missing[0].endswith("s") else "is"
            raise ValueError(
                f"production_since: {missing[0]} {are} not among the families, so that nothing could be judged by it"
            )
        return self

    @model_validator(mode="after")
    def _only_what_is_published(self) -> Settings:
        for family in FAMILIES:
            if family in self.families:
                continue
            if getattr(self.topics, family):
                raise ValueError(f"topics: {family} are not among the families, and so their topics are not read")
            for kind, name, metric in (
                *(("rule", rule.name, rule.metric) for rule in self.rule),
                *(("target", target.target_id, target.metric) for target in self.target),
            ):
                if metric in METRICS_OF[family]:
                    raise ValueError(f"{kind} {name!r}: {metric} come from {family}, which are not among the families")
        return self

    @model_validator(mode="after")
    def _rolling_windows_have_their_scopes(self) -> Settings:
        templates = {frozenset(template) for template in self.scopes}
        for window in self.rolling:
            missing = next((each for each in window.scopes if frozenset(each) not in templates), None)
            if missing is not None:
                raise ValueError(f"rolling of {window.days} days: {self._not_counted(missing)}")
        if len({window.days for window in self.rolling}) != len(self.rolling):
            raise ValueError("rolling: list each number of days once")
        return self

    @model_validator(mode="after")
    def _campaigns_have_their_scopes(self) -> Settings:
        templates = {in_order(template) for template in self.scopes}
        for campaign in Campaigns(self.campaigns):
            missing = next((each for each in campaign.templates if each not in templates), None)
            if missing is not None:
                raise ValueError(f"campaign {campaign.name!r}: {self._not_counted(missing)}")
        return self

    @model_validator(mode="after")
    def _rules_have_their_scope(self) -> Settings:
        templates = {frozenset(template) for template in self.scopes}
        for rule in self.rule:
            # Event sources can be watched although they are not counted.
            if SOURCE not in rule.scope and frozenset(rule.scope) not in templates:
                raise ValueError(f"rule {rule.name!r}: {self._not_counted(rule.scope)}")
        return self

    def _not_counted(self, scope: Sequence[str]) -> str:
        """Why a set of dimensions cannot be used, as a settings file writes sets."""
        named = [part.partition("=")[0].strip() for part in scope]
        if named != list(scope) and frozenset(named) in map(frozenset, self.scopes):
            return f"a scope names dimensions, without values: write {as_written([named])}, which stands for each of their values"
        known = as_written(self.scopes)
        return f"scope {as_written([scope])} is not among the scopes of this service, which are {known}"

    @model_validator(mode="after")
    def _days_can_leave(self) -> Settings:
        templates = {in_order(template) for template in self.scopes}
        for name, days in self.keep_days.items():
            where = f"keep_days: {name!r}"
            template = _named_set(name)
            if template is None or template not in templates:
                known = ", ".join(sorted(repr(",".join(each) or ALL) for each in templates))
                raise ValueError(f"{where} is no set of scopes of this service; there are {known}")
            if "month" not in self.windows:
                raise ValueError(f"{where}: days leave, and their months stay: list month among the windows")
            rolling = next((window.days for window in self.rolling if template in map(in_order, window.scopes)), None)
            if rolling is not None:
                raise ValueError(
                    f"{where}: rolling windows of {rolling} days have a row for each day, too, and keep them: leave one of the "
                    "two out"
                )
            if days * 86_400 < self.closed_after_s:
                raise ValueError(
                    f"{where}: days are closed {self.closed_after_s} seconds after their end (closed_after_s) and must be "
                    f"kept until then: at least {-(-self.closed_after_s // 86_400)} days"
                )
            for rule in self.rule:
                comparing = ("first", "record", "streak", "factor", "share", "leader")
                what = next((each for each in comparing if getattr(rule, each)), None)
                if what is not None and rule.window == "day" and in_order(rule.scope) == template:
                    raise ValueError(
                        f"rule {rule.name!r}: {what} compares days, also old ones, and keep_days of {name!r} keeps {days}: "
                        "leave one of the two out"
                    )
        return self

    @model_validator(mode="after")
    def _each_topic_for_one_thing(self) -> Settings:
        catalogue = self.catalogue
        published = Counter(catalogue.names().values())
        for name, times in published.items():
            if times > 1:
                first, second = [FAMILIES[family_of(number)] for number, of in catalogue.names().items() if of == name][
                    :2
                ]
                raise ValueError(f"topics: {name} would be read for {first} and for {second}; they need topics apart")
        for topic in catalogue.all()[len(catalogue.published) :]:
            if topic.name in published:
                use = "reads for something else" if topic in catalogue.sources() else "writes itself"
                raise ValueError(f"topics: {topic.name} is a topic that this service {use}")
        return self

    @model_validator(mode="after")
    def _enough_replicas(self) -> Settings:
        if self.replication_factor == 0:
            raise ValueError("replication_factor is 0: give at least 1, or -1 for the cluster's own default")
        if 0 < self.replication_factor < self.min_insync_replicas:
            raise ValueError(
                f"min_insync_replicas is {self.min_insync_replicas} and replication_factor {self.replication_factor}: nothing could "
                "be written; raise replication_factor, or lower the other"
            )
        return self

    @property
    def catalogue(self) -> Catalogue:
        """The topics of the installation."""
        return Catalogue(
            self.source_prefix,
            self.output_prefix,
            self.partitions,
            totals_partitions=self.totals_partitions,
            orders=self.topics.orders if "orders" in self.families else None,
            deliveries=self.topics.deliveries if "deliveries" in self.families else None,
            production=self.topics.production if "production" in self.families else None,
        )

    @property
    def keeps_inventory(self) -> bool:
        """Whether produced, undelivered vehicles have rows: if both families are published, and all time is counted."""
        return {"production", "deliveries"} <= set(self.families) and TOTAL in self.windows

    @property
    def watches_sources(self) -> bool:
        """Whether any rule is about event sources."""
        return any(SOURCE in rule.scope for rule in self.rule)

    def produced_since_us(self, zone: BusinessZone) -> int | None:
        """Deliveries from this time on are judged by production, microseconds since 1970; `None` if none are."""
        if not self.catalogue.judges_production:
            return None
        return zone.first_us(date.fromisoformat(self.production_since)) if self.production_since else 0

    @property
    def kept_days(self) -> dict[tuple[str, ...], int]:
        """Set of dimensions → how many days before the latest one keep their rows, for sets that do not keep all."""
        return {_named_set(name) or (): days for name, days in self.keep_days.items()}

    @property
    def reckoning(self) -> Reckoning:
        """When weeks and years begin."""
        month, day = self.fiscal_year_start.split("-")
        return Reckoning(WEEK_DAYS.index(self.week_starts), (int(month), int(day)))

    @property
    def rolling_windows(self) -> dict[int, tuple[tuple[str, ...], ...]]:
        """Length of each rolling window in days → the sets of dimensions that have it, in the order of scope ids."""
        return {
            window.days: tuple(tuple(name for name in DIMENSIONS if name in each) for each in window.scopes)
            for window in self.rolling
        }

    @property
    def campaigns(self) -> tuple[Campaign, ...]:
        """The campaigns of the settings.

        Raises:
            ValueError: One is not valid; the message names it.
        """
        return tuple(each.campaign(self.scopes) for each in self.campaign)

    def with_campaigns(self, campaigns: Iterable[Campaign]) -> Settings:
        """The settings with these campaigns instead: events may have announced other ones."""
        given = tuple(
            CampaignSettings(
                name=each.name,
                start=datetime.fromtimestamp(each.start_us // MINUTE_US * 60, UTC),
                end=datetime.fromtimestamp(each.end_us // MINUTE_US * 60, UTC),
                scopes=each.templates,
            )
            for each in campaigns
            # An empty list of scopes would mean all of them.
            if each.templates
        )
        return self.model_copy(update={"campaign": given})

    @property
    def day_starts_hour(self) -> int:
        """The local hour at which a business day begins."""
        return int(self.day_starts[:2])

    @property
    def period_kinds(self) -> tuple[str, ...]:
        """The kinds of period that are counted, including rolling windows, and campaigns, which events may announce at any time."""
        return (*self.windows, *((ROLLING,) if self.rolling else ()), CAMPAIGN)

    @property
    def counted_holidays(self) -> tuple[str, ...]:
        """Names of the holidays that are counted; none unless holidays are among the windows."""
        return self.holidays if "holiday" in self.windows else ()

    @property
    def aliases(self) -> Aliases:
        """The names that other names are counted as."""
        return self.alias.all()

    @property
    def calendar_name(self) -> str:
        """The holiday calendar: the one set, else China's in a Chinese time zone, else none."""
        return calendar_name(self.holiday_calendar, self.timezone)

    @property
    def group_id(self) -> str:
        """The workers' consumer group; contains the output prefix, so that installations do not collide."""
        return f"{self.output_prefix}milestones"


def _named_set(name: str) -> tuple[str, ...] | None:
    """The dimensions that a text such as `model,region` or `all` names; None if it names none."""
    parts = () if name.strip() == ALL else tuple(part.strip() for part in name.split(","))
    return in_order(parts) if len(set(parts)) == len(parts) and set(parts) <= set(DIMENSIONS) else None


def calendar_name(setting: str, timezone: str) -> str:
    """The effective holiday calendar, by its name in `streams.holidays`."""
    return setting or (CHINA if timezone in CHINESE_ZONES else NO_CALENDAR)


def secret(value: str, file_name: str, setting: str) -> str:
    """A secret, given directly or in a file.

    Raises:
        ExpectedError: The file cannot be read.
    """
    if not file_name:
        return value
    try:
        return Path(file_name).read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
        raise ExpectedError(
            f"{setting}_file: cannot read {file_name}: {reason}; name a file that can be read"
        ) from None


def state_dir(settings: Settings) -> Path:
    """Folder for lock files, Faust's data directory and the web view's tables; none of it is state of the service."""
    if settings.state_dir:
        return Path(settings.state_dir)
    return Path(tempfile.gettempdir()) / f"milestones-{os.getuid()}"


def installation_digest(settings: Settings) -> str:
    """A text of 16 characters that is equal for settings with the same brokers and output topics, and does not reveal them."""
    servers = sorted(part.strip() for part in settings.bootstrap_servers.split(","))
    named = json.dumps([servers, settings.output_prefix, settings.timezone])
    return hashlib.sha256(named.encode()).hexdigest()[:16]
