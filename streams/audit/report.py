"""The result of an audit: checks, and the differences each has found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from schemas.facts import TYPES_OF_VEHICLES, Kind, type_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from schemas.facts import Fact
    from streams.audit.sums import Business, CampaignSpan


class Suspect(NamedTuple):
    """Where to look for the units behind a difference.

    Attributes:
        shard: The ledger partition; `None` for all.
        metric: The metric.
        scope: The scope.
        start: First date.
        end: Last date, inclusive.
        hours: Local hours that differ; empty for all.
        minutes: For a campaign, the minutes that differ; empty for all.
        campaign: The campaign, if it is one.
    """

    shard: int | None
    metric: str
    scope: str
    start: date
    end: date
    hours: tuple[int, ...]
    minutes: tuple[int, ...] = ()
    campaign: CampaignSpan | None = None


@dataclass
class Difference:
    """A difference: a line to read, and details for JSON."""

    line: str
    details: dict[str, Any] = field(default_factory=dict)
    suspect: Suspect | None = None  # where to look for the units behind it


@dataclass
class Check:
    """One comparison.

    Attributes:
        name: What was compared.
        compared: How many were compared.
        of: What should hold for them, in words.
        differences: The differences found.
    """

    name: str
    compared: int
    of: str
    differences: list[Difference] = field(default_factory=list)

    def differ(self, line: str, *, suspect: Suspect | None = None, **details: Any) -> None:
        """Adds a difference; `details` go into the JSON, so their values must be of JSON types."""
        self.differences.append(Difference(line, details, suspect))


@dataclass
class Report:
    """All checks of a run, the point up to which they hold, and notes that are not differences.

    Attributes:
        beginnings: Where records have been removed, and what was counted in their place.
    """

    point: dict[str, Any]
    checks: list[Check]
    warnings: list[Difference]
    beginnings: list[Difference]
    conflicts: list[dict[str, Any]]
    books: list[dict[str, Any]]
    records: int

    @property
    def differences(self) -> int:
        """The number of differences."""
        return sum(len(check.differences) for check in self.checks)

    def add(self, other: Report) -> None:
        """Adds the findings about other scopes, up to another moment; the point and the books remain those of this report."""
        for mine, theirs in zip(self.checks, other.checks, strict=True):
            mine.compared += theirs.compared
            known = {one.line for one in mine.differences}
            mine.differences += [one for one in theirs.differences if one.line not in known]
        for notes, more in ((self.warnings, other.warnings), (self.beginnings, other.beginnings)):
            known = {one.line for one in notes}
            notes += [one for one in more if one.line not in known]
        self.conflicts += [one for one in other.conflicts if one not in self.conflicts]
        self.records = max(self.records, other.records)

    def document(self) -> dict[str, Any]:
        """Everything, as JSON."""
        return {
            "ok": not self.differences,
            "point": self.point,
            "records": self.records,
            "checks": [
                {
                    "name": check.name,
                    "compared": check.compared,
                    "differences": [{"line": found.line, **found.details} for found in check.differences],
                }
                for check in self.checks
            ],
            "beginnings": [{"line": found.line, **found.details} for found in self.beginnings],
            "warnings": [{"line": found.line, **found.details} for found in self.warnings],
            "id_conflicts": self.conflicts,
            "books": self.books,
        }


#: Metric → the kind of event that makes its units.
KIND_OF_METRIC: Final[Mapping[str, Kind]] = {
    "orders_placed": Kind.PLACED,
    "orders": Kind.PLACED,
    "cancellations": Kind.CANCELLED,
    "deliveries": Kind.DELIVERED,
    "reversals": Kind.REVERSED,
    "produced": Kind.PRODUCED,
    "scrapped": Kind.SCRAPPED,
}


def describe_event(event: Fact, business: Business, names: Mapping[int, str]) -> dict[str, Any]:
    """An event as JSON: what it is, when, and the place of its record."""
    described: dict[str, Any] = {
        "type": type_of(event),
        "order_id": event.order_id,
        "time": business.exact(event.time_us).isoformat(),
        "source": event.source,
        "id": event.id,
        "topic": names[event.topic],
        "partition": event.partition,
        "offset": event.offset,
    }
    if event.vin:
        described["vin"] = event.vin
    if event.voids is not None:
        described["voids"] = {"source": event.voids[0], "id": event.voids[1]}
    if event.backfill:
        described["backfill"] = True
    return described


def owner_text(described: dict[str, Any]) -> str:
    """Whose event it is: `order SO-1`, or `vehicle LNBSU7A10R1000123`."""
    return f"{'vehicle' if described['type'] in TYPES_OF_VEHICLES else 'order'} {described['order_id']}"


def place_text(described: dict[str, Any]) -> str:
    """A place as other commands write it: `vehicle.deliveries.v1-2@48211`."""
    return f"{described['topic']}-{described['partition']}@{described['offset']}"
