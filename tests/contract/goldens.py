"""The content of each golden sample in `schemas/samples/`. A sample never changes; a new version gets a new one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import schemas
from schemas.facts import DayCount, Fact, Kind, LatestUnit
from schemas.outputs import (
    Books,
    Cause,
    Forecast,
    Marker,
    MilestoneData,
    MilestoneEvent,
    PartitionStatus,
    ProjectedDate,
    ProjectedTotal,
    RowControl,
    RowTarget,
    SourceStatus,
    TopicStatus,
    Violation,
    ViolationRecord,
    WindowRow,
    WorkerStatus,
)

if TYPE_CHECKING:
    from pydantic import BaseModel

SAMPLES: Final = Path(schemas.__file__).parent / "samples"

SU7 = ("SU7", "Max", "BJ1", "CN-11")
ORDER_ID = "SO-20241007-000123"
PLACED_ID = "c1b1ee33-0b0f-4a37-8a8a-3a5a1f4d9f10"
DELIVERED_ID = "8f14e45f-ea3c-4d2b-9d0b-6a3f0f6f2b11"
HOURS = [0, 0, 0, 0, 0, 0, 0, 2, 61, 88, 97, 84, 70, 91, 103, 110, 98, 96, 74, 44, 17, 6, 2, 0]


def _fact(kind: Kind, source: str, event_id: str, time_us: int, **fields: object) -> Fact:
    values = {"vin": "", "dims": ("", "", "", ""), "extra": "", "voids": None, "backfill": False, **fields}
    topic = 1 if kind in {Kind.DELIVERED, Kind.REVERSED} else 0
    return Fact(
        kind=int(kind),
        order_id=ORDER_ID,
        source=source,
        id=event_id,
        time_us=time_us,
        topic=topic,
        partition=2,
        offset=48211,
        **values,  # type: ignore[arg-type] # the parts of one model
    )


#: Sample of an input event -> the fact it becomes, in partition 2 at offset 48211.
FACTS: Final[dict[str, Fact]] = {
    "order.placed.v1": _fact(
        Kind.PLACED, "/shops/online", PLACED_ID, 1_720_000_500_250_000, dims=SU7, extra="web", backfill=True
    ),
    "order.cancelled.v1": _fact(
        Kind.CANCELLED,
        "/shops/online",
        "77d3a7c2-6d0f-4d7e-a3b9-5f3c2f0f7e21",
        1_720_087_200_000_000,
        extra="a9bc4d362e7fc54cc34476e54203f69b",
    ),
    "vehicle.delivered.v1": _fact(
        Kind.DELIVERED,
        "/factories/bj1/dispatch",
        DELIVERED_ID,
        1_728_280_991_000_000,
        vin="LNBSU7A10R1000123",
        dims=SU7,
    ),
    "delivery.reversed.v1": _fact(
        Kind.REVERSED,
        "/factories/bj1/dispatch",
        "a87ff679-a2f3-471d-9181-a67b7542122c",
        1_728_379_805_000_000,
        vin="LNBSU7A10R1000123",
    ),
    "event.voided.v1": _fact(
        Kind.VOIDED,
        "/shops/online",
        "e4da3b7f-bbce-4345-9777-2b0674a318d5",
        1_720_090_800_000_000,
        voids=("/shops/online", "77d3a7c2-6d0f-4d7e-a3b9-5f3c2f0f7e21"),
    ),
}

MILESTONE_ID = "deliveries/model=SU7/day:2024-10-07/exceeds:1000"

#: Sample of an output -> its model.
OUTPUTS: Final[dict[str, BaseModel]] = {
    "vehicle.windows.v1.day": WindowRow(
        metric="deliveries",
        scope="model=SU7",
        period="day:2024-10-07",
        start="2024-10-07",
        end="2024-10-07",
        timezone="Asia/Shanghai",
        count=1043,
        by_hour=HOURS,
        targets=[],
        status="open",
        restated=0,
        version=57,
        updated_at="2024-10-07T13:10:44.120Z",
    ),
    "vehicle.windows.v1.controls": WindowRow(
        metric="deliveries",
        scope="model=SU7",
        period="month:2024-10",
        start="2024-10-01",
        end="2024-10-31",
        timezone="Asia/Shanghai",
        count=20042,
        targets=[],
        status="provisional",
        restated=0,
        version=31,
        updated_at="2024-11-01T01:00:03.120Z",
        controls=[
            RowControl(
                source="/factories/bj1/dispatch",
                count=20044,
                difference=-2,
                as_of="2024-11-01T00:30:00.000Z",
                differs_since="2024-11-01T00:30:02.410Z",
            ),
            RowControl(source="/sales/web", count=20042, difference=0, as_of="2024-11-01T01:00:00.000Z"),
        ],
    ),
    "vehicle.windows.v1.holiday": WindowRow(
        metric="orders_placed",
        scope="model=SU7",
        period="holiday:national-day:2024",
        start="2024-10-01",
        end="2024-10-07",
        timezone="Asia/Shanghai",
        count=6241,
        targets=[RowTarget(target_id="national-day", value=6000, reached=True)],
        status="closed",
        restated=1,
        version=812,
        updated_at="2024-10-11T02:00:00.000Z",
        calendar="cn-2024.1",
        backfilled=12,
    ),
    "vehicle.milestones.v1.threshold": MilestoneEvent(
        id=f"{MILESTONE_ID}@1",
        source="/milestones",
        type="milestone.raised.v1",
        time="2024-10-07T11:42:09.310Z",
        subject=MILESTONE_ID,
        data=MilestoneData(
            milestone_id=MILESTONE_ID,
            revision=1,
            kind="threshold",
            rule="daily-1000",
            metric="deliveries",
            scope="model=SU7",
            period="day:2024-10-07",
            start="2024-10-07",
            end="2024-10-07",
            timezone="Asia/Shanghai",
            operator="exceeds",
            threshold=1000,
            count=1001,
            first=True,
            achieved_at="2024-10-07T19:42:08+08:00",
            detected_at="2024-10-07T11:42:09.310Z",
            cause=Cause(
                topic="vehicle.deliveries.v1",
                partition=2,
                offset=48211,
                event_source="/factories/bj1/dispatch",
                event_id=DELIVERED_ID,
            ),
        ),
    ),
    "vehicle.milestones.v1.unit": MilestoneEvent(
        id="deliveries/all/total/every:100000:100000@1",
        source="/milestones",
        type="milestone.raised.v1",
        time="2024-12-25T11:42:09.310Z",
        subject="deliveries/all/total/every:100000:100000",
        data=MilestoneData(
            milestone_id="deliveries/all/total/every:100000:100000",
            revision=1,
            kind="multiple",
            rule="each-100000",
            metric="deliveries",
            scope="all",
            period="total",
            start="1999-12-31",
            end="2101-01-01",
            timezone="Asia/Shanghai",
            operator="reaches",
            threshold=100000,
            count=107061,
            first=False,
            position=100000,
            achieved_at="2024-11-16T14:03:11+08:00",
            achieved_on="2024-11-16",
            detected_at="2024-12-25T11:42:09.310Z",
            cause=Cause(
                topic="vehicle.deliveries.v1",
                partition=2,
                offset=48211,
                event_source="/factories/bj1/dispatch",
                event_id=DELIVERED_ID,
            ),
        ),
    ),
    "vehicle.milestones.v1.target": MilestoneEvent(
        id="deliveries/model=SU7/month:2024-10/target:su7-2024-10:20000@2",
        source="/milestones",
        type="milestone.retracted.v1",
        time="2024-10-30T11:42:09.310Z",
        subject="deliveries/model=SU7/month:2024-10/target:su7-2024-10:20000",
        data=MilestoneData(
            milestone_id="deliveries/model=SU7/month:2024-10/target:su7-2024-10:20000",
            revision=2,
            kind="target",
            rule=None,
            target_id="su7-2024-10",
            metric="deliveries",
            scope="model=SU7",
            period="month:2024-10",
            start="2024-10-01",
            end="2024-10-31",
            timezone="Asia/Shanghai",
            operator="reaches",
            threshold=20000,
            count=19999,
            first=False,
            achieved_at=None,
            detected_at="2024-10-30T11:42:09.310Z",
            cause=None,
        ),
    ),
    "vehicle.forecasts.v1.ahead": Forecast(
        metric="deliveries",
        scope="model=SU7",
        period="month:2024-10",
        target_id="su7-2024-10",
        value=20000,
        start="2024-10-01",
        end="2024-10-31",
        timezone="Asia/Shanghai",
        state="ahead",
        count=10121,
        business_date="2024-10-16",
        as_of="2024-10-15T16:00:00.000Z",
        projected_total=ProjectedTotal(p10=19210, p50=21034, p90=22858),
        projected_date=ProjectedDate(p10="2024-10-28", p50="2024-10-30", p90="2024-11-02"),
        horizon="2024-12-01",
        reached_on=None,
        remaining_days=16.0,
        pace_needed=617.4,
        pace_recent=676.2,
        plan_count=9677,
        ahead_units=444,
        ahead_days=0.7,
        history_days=196,
        quality="good",
        note="expected on 2024-10-30, between 2024-10-28 and 2024-11-02 in 8 of 10 cases",
        model="weekday-level-trend",
        model_version="1",
    ),
    "vehicle.forecasts.v1.no-history": Forecast(
        metric="orders_placed",
        scope="all",
        period="year:2025",
        target_id="plan",
        value=250000,
        start="2025-01-01",
        end="2025-12-31",
        timezone="Asia/Shanghai",
        state="upcoming",
        count=0,
        business_date="2024-12-30",
        as_of="2024-12-29T16:00:00.000Z",
        projected_total=ProjectedTotal(p10=None, p50=None, p90=None),
        projected_date=ProjectedDate(p10=None, p50=None, p90=None),
        horizon="2026-04-02",
        reached_on=None,
        remaining_days=365.0,
        pace_needed=684.9,
        pace_recent=None,
        plan_count=0,
        ahead_units=0,
        ahead_days=0.0,
        history_days=0,
        quality="none",
        note="no complete day of history yet: nothing can be projected",
        model="weekday-level-trend",
        model_version="1",
    ),
    "vehicle.violations.v1": ViolationRecord(
        order_id=ORDER_ID,
        violations=[
            Violation(
                kind="delivered_without_order",
                source="/factories/bj1/dispatch",
                id=DELIVERED_ID,
                message="delivered and counted, although no order was placed before",
            )
        ],
    ),
    "vehicle.status.v1.partition": PartitionStatus(
        partition=2,
        applied={"vehicle.orders.v1": 1200, "vehicle.deliveries.v1": 48212},
        lag={"vehicle.orders.v1": 0, "vehicle.deliveries.v1": 3},
        books={"vehicle.orders.v1": Books(read=1200, applied=1170, duplicates=20, dead_letters=3, rerouted=7)},
        orders=1100,
        rebuilding=False,
        caught_up=False,
        updated_at="2024-10-07T13:10:44.120Z",
    ),
    "vehicle.status.v1.worker": WorkerStatus(
        name="bj-1",
        health="running",
        partitions=[0, 2],
        started_at="2024-10-07T00:00:00.000Z",
        updated_at="2024-10-07T13:10:44.120Z",
    ),
    "vehicle.status.v1.source": SourceStatus(
        source="/factories/bj1/dispatch",
        last_event_at="2024-10-07T13:10:40.000Z",
        updated_at="2024-10-07T13:10:44.120Z",
    ),
    "vehicle.status.v1.topic": TopicStatus(
        topic="vehicle.targets.v1",
        applied=14,
        lag=0,
        books=Books(read=14, applied=11, duplicates=1, dead_letters=2, rerouted=0),
        updated_at="2024-10-07T13:10:44.120Z",
    ),
}

DAY_COUNT: Final = DayCount(
    count=1043,
    backfilled=12,
    by_hour=HOURS,
    latest=LatestUnit(
        time_us=1_728_301_328_000_000,
        id=DELIVERED_ID,
        source="/factories/bj1/dispatch",
        topic=1,
        partition=2,
        offset=48211,
    ),
)
MARKER: Final = Marker(
    positions={"vehicle.orders.v1": (1200, "9b1c5a2e"), "vehicle.deliveries.v1": (48212, "")},
    books={"vehicle.orders.v1": Books(read=1200, applied=1170, duplicates=20, dead_letters=3, rerouted=7)},
    fingerprint="format=1 timezone=Asia/Shanghai scopes=model|all partitions=4",
    rebuilding=False,
    caught_up=True,
    caught_up_us=1_728_306_644_120_000,
    clock_us=1_728_306_640_000_000,
    sources={"/factories/bj1/dispatch": 1_728_306_640_000_000},
    backfilled=12,
    partitions=4,
)
MARKER_OF_SEVERAL: Final = Marker(
    positions={"sales.cn.orders": (1200, "9b1c5a2e"), "sales.eu.orders:5": (7, ""), "factory.handovers": (48212, "")},
    books={"sales.eu.orders:5": Books(read=7, applied=6, duplicates=0, dead_letters=0, rerouted=1)},
    fingerprint="format=1 timezone=Asia/Shanghai scopes=model|all partitions=4",
    rebuilding=False,
    caught_up=True,
    caught_up_us=1_728_306_644_120_000,
    clock_us=1_728_306_640_000_000,
    sources={"/factories/bj1/dispatch": 1_728_306_640_000_000},
    backfilled=0,
    partitions=4,
    topics={"sales.cn.orders": 0, "factory.handovers": 1, "sales.eu.orders": 2},
)
