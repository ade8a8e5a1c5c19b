"""Records of the output topics as the service would write them, for tests of their readers."""

from __future__ import annotations

import calendar
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

FIELDS = {"timezone": "Asia/Shanghai", "targets": [], "status": "open", "restated": 0}


@dataclass
class Record:
    """A record as a consumer returns it."""

    key: bytes | None
    value: bytes | None
    offset: int = 0
    partition: int = 0
    timestamp: int = 1_728_300_000_000
    timestamp_type: int = 1
    headers: Sequence[tuple[str, bytes | None]] = ()
    topic: str = ""


def row(
    period: str, count: int, *, metric: str = "deliveries", scope: str = "model=SU7", **more: Any
) -> dict[str, Any]:
    """A window row; fields that are not given are plausible."""
    start, end = _span(period)
    document = {"metric": metric, "scope": scope, "period": period, "start": start, "end": end, "count": count}
    document |= FIELDS | {"version": 1, "updated_at": "2024-10-07T10:00:00.000Z"} | more
    if period.startswith("day:"):
        document.setdefault("by_hour", [count, *[0] * 23])
    return document


def row_record(document: dict[str, Any], offset: int = 0) -> Record:
    """The record of a row."""
    key = f"{document['metric']}/{document['scope']}/{document['period']}"
    return Record(key.encode(), json.dumps(document).encode(), offset)


def milestone(milestone_id: str, revision: int = 1, kind: str = "raised", **data: Any) -> dict[str, Any]:
    """A milestone event of a threshold on 7 October."""
    document: dict[str, Any] = {
        "milestone_id": milestone_id,
        "revision": revision,
        "kind": "threshold",
        "rule": "daily-1000",
        "metric": "deliveries",
        "scope": "model=SU7",
        "period": "day:2024-10-07",
        "start": "2024-10-07",
        "end": "2024-10-07",
        "timezone": "Asia/Shanghai",
        "operator": "exceeds",
        "threshold": 1000,
        "count": 1001,
        "first": True,
        "achieved_at": "2024-10-07T19:42:08+08:00",
        "detected_at": "2024-10-07T11:42:09.310Z",
        "cause": None,
    } | data
    return {
        "specversion": "1.0",
        "id": f"{milestone_id}@{revision}",
        "source": "/milestones",
        "type": f"milestone.{kind}.v1",
        "time": "2024-10-07T11:42:09.310Z",
        "subject": milestone_id,
        "datacontenttype": "application/json",
        "data": document,
    }


def milestone_record(document: dict[str, Any], offset: int = 0) -> Record:
    """The record of a milestone event."""
    return Record(document["subject"].encode(), json.dumps(document).encode(), offset)


def forecast(period: str, **changes: Any) -> dict[str, Any]:
    """The forecast of a target of a month of deliveries that has too little history."""
    start, end = _span(period)
    nothing = {"p10": None, "p50": None, "p90": None}
    document: dict[str, Any] = {
        "metric": "deliveries", "scope": "model=SU7", "period": period, "target_id": "plan", "value": 20000,
        "start": start, "end": end, "timezone": "Asia/Shanghai", "count": 107, "state": "behind",
        "business_date": "2024-10-07", "as_of": "2024-10-07T12:00:00.000Z", "horizon": "2024-12-01", "reached_on": None,
        "projected_total": nothing, "projected_date": nothing, "remaining_days": 24.0, "pace_needed": 800.0,
        "pace_recent": None, "plan_count": 4000, "ahead_units": -3893, "ahead_days": -6.0, "history_days": 0,
        "quality": "none", "note": "", "model": "m", "model_version": "1",
    }  # fmt: skip
    return document | changes


def letter_record(value: bytes, reason: str = "invalid_field", offset: int = 0, **changes: Any) -> Record:
    """A dead letter of a delivery."""
    headers = [
        ("__dlq.errors.topic", b"vehicle.deliveries.v1"),
        ("__dlq.errors.partition", b"2"),
        ("__dlq.errors.offset", str(offset + 100).encode()),
        ("__dlq.errors.message", b"vin: 17 characters"),
        ("milestones.reason", reason.encode()),
    ]
    return Record(changes.pop("key", b"SO-1"), value, offset, headers=headers, **changes)


def _span(period: str) -> tuple[str, str]:
    kind, _, rest = period.partition(":")
    if kind == "day":
        return rest, rest
    if kind == "month":
        year, month = map(int, rest.split("-"))
        return f"{rest}-01", f"{rest}-{calendar.monthrange(year, month)[1]}"
    if kind == "year":
        return f"{rest}-01-01", f"{rest}-12-31"
    return "2024-10-01", "2024-10-07"
