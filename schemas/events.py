"""Input events: frozen models that are the authority on what is valid.

Each class is one `type` of the contract, a CloudEvents 1.0 envelope with its `data`. Unknown fields are ignored. A field
that may be absent may also be null: CloudEvents reads a null attribute as absent, and optional data fields follow suit;
an empty text is as good as absent there. Texts are taken as `schemas.texts` tidies them, VINs in capitals.
"""

from __future__ import annotations

import re
import string
from datetime import date, datetime, timedelta
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from schemas.facts import DIMENSIONS, MOST_MINUTES, Kind, Metric
from schemas.instants import FIRST_YEAR, LAST_YEAR, MissingOffsetError, format_instant, micros_of, parse_instant
from schemas.texts import ALL, SPACES, escaped, is_name, tidy, tidy_name, unescaped

#: Largest magnitude of an integer that every JSON implementation keeps exact.
MAX_INTEGER: Final = 2**53 - 1

VIN_CHARACTERS: Final = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"  # without I, O and Q

_JSON_MEDIA_TYPE: Final = re.compile(
    r"\s*(?:(?:application|text)/json|[^/\s;]+/[^/\s;]+\+json)\s*(?:;.*)?", re.IGNORECASE | re.DOTALL
)
#: Of ASCII letters, as `str.translate` wants them.
CAPITALS: Final = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)
#: A boolean as a text, as headers have it and as some libraries write extensions.
_BOOLEANS: Final = {"true": True, "false": False}
_PERIOD: Final = re.compile(
    r"day:(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})|month:(?P<month>[0-9]{4}-[0-9]{2})"
    r"|week:(?P<week>[0-9]{4})-W(?:0[1-9]|[1-4][0-9]|5[0-3])"
    r"|(?:quarter:(?:FY)?(?P<quarter>[0-9]{4})-Q[1-4])|(?:half:(?:FY)?(?P<half>[0-9]{4})-H[12])"
    r"|year:(?:FY)?(?P<year>[0-9]{4})|holiday:[a-z0-9][a-z0-9-]{0,63}:(?P<holiday>[0-9]{4})"
)
_CAMPAIGN: Final = re.compile(r"campaign:(?=.{1,64}$)[a-z0-9]+(?:-[a-z0-9]+)*")


def is_json(media_type: str) -> bool:
    """Whether a media type, parameters allowed, says that the data are JSON."""
    return _JSON_MEDIA_TYPE.fullmatch(media_type) is not None


def _event_time(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return parse_instant(value.strip(SPACES))
        except MissingOffsetError as error:
            raise PydanticCustomError("missing_offset", "{what}", {"what": str(error)}) from None
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise PydanticCustomError("missing_offset", "a datetime without an offset names no instant")
        if not FIRST_YEAR <= value.year <= LAST_YEAR:
            raise ValueError(f"the year is not within {FIRST_YEAR}-{LAST_YEAR}")
    return value


def _tidied(value: Any) -> Any:
    return tidy(value) if isinstance(value, str) else value


def _tidied_name(value: Any) -> Any:
    return tidy_name(value) if isinstance(value, str) else value


def _tidied_vin(value: Any) -> Any:
    # Only the letters of ASCII: others have no place in a VIN, and their capitals may be two.
    return tidy(value).translate(CAPITALS) if isinstance(value, str) else value


def _absent_if_empty(value: Any) -> Any:
    return None if isinstance(value, str) and not value.strip(SPACES) else value


def _boolean(value: Any) -> Any:
    return _BOOLEANS.get(value.lower(), value) if isinstance(value, str) else value


def _json_media_type(value: str) -> str:
    if not is_json(value):
        raise ValueError("not a media type of JSON")
    return value


def canonical_scope(value: str) -> str:
    """The id of a scope: names tidied, and escaped where that is needed.

    Raises:
        ValueError: It names no dimensions, or not in their order.
    """
    value = tidy_name(value)
    if value == ALL:
        return value
    parts = []
    for part in value.split(","):
        dimension, _, name = part.partition("=")
        name = tidy_name(unescaped(name))
        if dimension.strip(SPACES) not in DIMENSIONS or not is_name(name):
            raise ValueError("not a scope: all, or dimensions such as model=SU7,region=CN-11")
        parts.append((dimension.strip(SPACES), name))
    dimensions = [dimension for dimension, _ in parts]
    if dimensions != [dimension for dimension in DIMENSIONS if dimension in dimensions]:
        raise ValueError(f"a scope names each dimension once, in the order {', '.join(DIMENSIONS)}")
    return ",".join(f"{dimension}={escaped(name)}" for dimension, name in parts)


def _name(value: str) -> str:
    if not is_name(value):
        raise PydanticCustomError("no_name", "no name")
    return value


def _period(value: str) -> str:
    if value == "total" or _CAMPAIGN.fullmatch(value):
        return value
    match = _PERIOD.fullmatch(value)
    if match is None:
        raise ValueError("not a period: day:2024-10-07, month:2024-10, year:2024, total or holiday:national-day:2024")
    first = f"{next(filter(None, match.groups()))}-01-01"[:10]
    try:
        year = date.fromisoformat(first).year
    except ValueError:
        raise ValueError("there is no such date") from None
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise ValueError(f"the year is not within {FIRST_YEAR}-{LAST_YEAR}")
    return value


def _full_minute(value: datetime) -> datetime:
    if value.second or value.microsecond:
        raise ValueError("a campaign begins and ends at full minutes")
    return value


def _dimensions_once(template: list[str]) -> list[str]:
    if len(set(template)) != len(template):
        raise ValueError("a dimension is listed twice")
    return sorted(template, key=DIMENSIONS.index)


def _each_template_once(templates: list[list[str]]) -> list[list[str]]:
    if len({tuple(template) for template in templates}) != len(templates):
        raise ValueError("a set of dimensions is listed twice")
    return templates


def _each_once(shares: list[float]) -> list[float]:
    if len(set(shares)) != len(shares):
        raise ValueError("a share is listed twice")
    return sorted(shares)


#: 1-256 characters, none of them a control character (C0, DEL, C1).
Identifier = Annotated[
    str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$"), BeforeValidator(_tidied)
]
Name = Annotated[
    str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,64}$"), AfterValidator(_name), BeforeValidator(_tidied_name)
]
OptionalName = Annotated[Name | None, BeforeValidator(_absent_if_empty)]
Vin = Annotated[str, Field(pattern=f"^[{VIN_CHARACTERS}]{{17}}$"), BeforeValidator(_tidied_vin)]
EventTime = Annotated[
    datetime,
    BeforeValidator(
        _event_time, json_schema_input_type=Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    ),
    PlainSerializer(format_instant, return_type=str, when_used="json"),
]
JsonMediaType = Annotated[str, AfterValidator(_json_media_type)]
Scope = Annotated[str, AfterValidator(canonical_scope)]
#: A part of a target that is a milestone too.
TargetShare = Annotated[float, Field(gt=0, lt=1)]
PeriodId = Annotated[str, AfterValidator(_period)]
CampaignName = Annotated[
    str, Field(min_length=1, max_length=64, pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$"), BeforeValidator(_tidied)
]
FullMinute = Annotated[EventTime, AfterValidator(_full_minute)]
OptionalFullMinute = Annotated[FullMinute | None, BeforeValidator(_absent_if_empty)]
#: Dimensions of scopes that are kept together; none for `all`.
Template = Annotated[list[Literal["model", "variant", "factory", "region"]], AfterValidator(_dimensions_once)]


class _Model(BaseModel):
    # A command uses few of the models, and would wait for all of them at its start.
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", defer_build=True)


class OrderPlacedData(_Model):
    """A firm, locked order of one vehicle."""

    order_id: Identifier
    model: Name
    variant: OptionalName = None
    factory: OptionalName = None
    region: OptionalName = None
    channel: OptionalName = None


class OrderCancelledData(_Model):
    """The order is cancelled."""

    order_id: Identifier
    reason: str | None = None


class VehicleDeliveredData(_Model):
    """The order's vehicle is handed over."""

    order_id: Identifier
    vin: Vin
    model: Name
    variant: OptionalName = None
    factory: OptionalName = None
    region: OptionalName = None


class DeliveryReversedData(_Model):
    """The car came back."""

    order_id: Identifier
    vin: Vin
    reason: str | None = None


class EventReference(_Model):
    """Identity of another event of the same order."""

    source: Identifier
    id: Identifier


class EventVoidedData(_Model):
    """That event was sent by mistake."""

    order_id: Identifier
    voids: EventReference
    reason: str | None = None


class VehicleProducedData(_Model):
    """The vehicle has left the line, complete."""

    vin: Vin
    model: Name
    variant: OptionalName = None
    factory: OptionalName = None


class ProductionReversedData(_Model):
    """The vehicle was scrapped, or no longer exists as a vehicle."""

    vin: Vin
    reason: str | None = None


class ProductionVoidedData(_Model):
    """That event of the same vehicle was sent by mistake."""

    vin: Vin
    voids: EventReference
    reason: str | None = None


class TargetSetData(_Model):
    """A window is to reach a value."""

    target_id: Identifier
    metric: Metric
    scope: Scope
    period: PeriodId
    value: int = Field(ge=1, le=MAX_INTEGER)
    label: str | None = None
    at: Annotated[list[TargetShare], AfterValidator(_each_once)] | None = Field(default=None, max_length=20)


class TargetWithdrawnData(_Model):
    """A target is no longer in force."""

    target_id: Identifier
    reason: str | None = None


class ControlTotalData(_Model):
    """How many units a factory or a sales system counts itself in a window."""

    metric: Metric
    scope: Scope
    period: PeriodId
    count: int = Field(ge=0, le=MAX_INTEGER)
    label: str | None = None


class BalanceSetData(_Model):
    """How many units there were before those that are counted here."""

    metric: Metric
    scope: Scope
    count: int = Field(ge=0, le=MAX_INTEGER)
    label: str | None = None

    @property
    def period(self) -> str:
        """The window that a balance is part of."""
        return "total"


class CampaignSetData(_Model):
    """A campaign is the window between two instants; without an end it lasts as long as one may."""

    campaign: CampaignName
    start: FullMinute
    end: OptionalFullMinute = None
    scopes: Annotated[list[Template], AfterValidator(_each_template_once)] | None = Field(
        default=None, min_length=1, max_length=100
    )
    label: str | None = None

    @field_validator("end")
    @classmethod
    def _ends_in_time(cls, value: datetime | None, info: ValidationInfo) -> datetime | None:
        start = info.data.get("start")  # missing if it is no instant
        if (
            start is not None
            and value is not None
            and not timedelta() < value - start <= timedelta(minutes=MOST_MINUTES)
        ):
            raise ValueError("a campaign ends after it begins, and within 7 days")
        return value


class CampaignWithdrawnData(_Model):
    """A campaign is no longer counted."""

    campaign: CampaignName
    reason: str | None = None


class Event(_Model):
    """What all events have: the CloudEvents envelope. `type` and `data` are those of the class."""

    specversion: Literal["1.0"] = "1.0"
    id: Identifier
    source: Identifier
    type: str
    time: EventTime
    subject: str | None = None
    datacontenttype: Annotated[JsonMediaType | None, BeforeValidator(_absent_if_empty)] = None
    dataschema: str | None = None
    backfill: Annotated[bool | None, BeforeValidator(_boolean)] = Field(
        default=None, description="true: history being loaded"
    )
    data: BaseModel

    @property
    def time_us(self) -> int:
        """Event time, microseconds since 1970."""
        return micros_of(self.time)


class OrderPlaced(Event):
    """`order.placed.v1`: a firm, locked order."""

    kind: ClassVar[Kind] = Kind.PLACED
    type: Literal["order.placed.v1"] = "order.placed.v1"
    data: OrderPlacedData


class OrderCancelled(Event):
    """`order.cancelled.v1`."""

    kind: ClassVar[Kind] = Kind.CANCELLED
    type: Literal["order.cancelled.v1"] = "order.cancelled.v1"
    data: OrderCancelledData


class VehicleDelivered(Event):
    """`vehicle.delivered.v1`."""

    kind: ClassVar[Kind] = Kind.DELIVERED
    type: Literal["vehicle.delivered.v1"] = "vehicle.delivered.v1"
    data: VehicleDeliveredData


class DeliveryReversed(Event):
    """`delivery.reversed.v1`: the car came back."""

    kind: ClassVar[Kind] = Kind.REVERSED
    type: Literal["delivery.reversed.v1"] = "delivery.reversed.v1"
    data: DeliveryReversedData


class EventVoided(Event):
    """`event.voided.v1`: another event of the same order was sent by mistake."""

    kind: ClassVar[Kind] = Kind.VOIDED
    type: Literal["event.voided.v1"] = "event.voided.v1"
    data: EventVoidedData


class VehicleProduced(Event):
    """`vehicle.produced.v1`: the vehicle has left the line, complete."""

    kind: ClassVar[Kind] = Kind.PRODUCED
    type: Literal["vehicle.produced.v1"] = "vehicle.produced.v1"
    data: VehicleProducedData


class ProductionReversed(Event):
    """`production.reversed.v1`: the vehicle was scrapped."""

    kind: ClassVar[Kind] = Kind.SCRAPPED
    type: Literal["production.reversed.v1"] = "production.reversed.v1"
    data: ProductionReversedData


class ProductionVoided(Event):
    """`production.voided.v1`: another event of the same vehicle's production was sent by mistake."""

    kind: ClassVar[Kind] = Kind.VOIDED
    type: Literal["production.voided.v1"] = "production.voided.v1"
    data: ProductionVoidedData


class TargetSet(Event):
    """`target.set.v1`: a target comes into force, or is replaced."""

    type: Literal["target.set.v1"] = "target.set.v1"
    data: TargetSetData


class TargetWithdrawn(Event):
    """`target.withdrawn.v1`."""

    type: Literal["target.withdrawn.v1"] = "target.withdrawn.v1"
    data: TargetWithdrawnData


class BalanceSet(Event):
    """`balance.set.v1`: the opening balance of a metric and scope, for all time, comes into force or is replaced."""

    type: Literal["balance.set.v1"] = "balance.set.v1"
    data: BalanceSetData


class CampaignSet(Event):
    """`campaign.set.v1`: a campaign is counted from now on, or between other instants."""

    type: Literal["campaign.set.v1"] = "campaign.set.v1"
    data: CampaignSetData


class CampaignWithdrawn(Event):
    """`campaign.withdrawn.v1`."""

    type: Literal["campaign.withdrawn.v1"] = "campaign.withdrawn.v1"
    data: CampaignWithdrawnData


class ControlTotal(Event):
    """`control.total.v1`: another system's own count of a window, to be compared with ours."""

    type: Literal["control.total.v1"] = "control.total.v1"
    data: ControlTotalData


ProductionEvent = VehicleProduced | ProductionReversed | ProductionVoided
LedgerEvent = OrderPlaced | OrderCancelled | VehicleDelivered | DeliveryReversed | EventVoided | ProductionEvent
TargetEvent = TargetSet | TargetWithdrawn
CampaignEvent = CampaignSet | CampaignWithdrawn
#: What people plan and set: targets, opening balances and campaigns.
PlanEvent = TargetEvent | BalanceSet | CampaignEvent

#: What each source topic takes.
ORDER_EVENTS: Final = (OrderPlaced, OrderCancelled, EventVoided)
DELIVERY_EVENTS: Final = (VehicleDelivered, DeliveryReversed, EventVoided)
PRODUCTION_EVENTS: Final = (VehicleProduced, ProductionReversed, ProductionVoided)
TARGET_EVENTS: Final = (TargetSet, TargetWithdrawn, BalanceSet, CampaignSet, CampaignWithdrawn)
CONTROL_EVENTS: Final = (ControlTotal,)

#: Every input event by its `type`.
EVENTS: Final[dict[str, type[Event]]] = {
    model.model_fields["type"].default: model
    for model in (
        OrderPlaced,
        OrderCancelled,
        VehicleDelivered,
        DeliveryReversed,
        EventVoided,
        VehicleProduced,
        ProductionReversed,
        ProductionVoided,
        TargetSet,
        TargetWithdrawn,
        BalanceSet,
        CampaignSet,
        CampaignWithdrawn,
        ControlTotal,
    )
}
