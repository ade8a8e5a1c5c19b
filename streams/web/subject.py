"""What a page is about, so that the navigation leads to the same subject on another page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from streams.domain.time.periods import parse_period

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Page in the navigation → the parameters it takes; `scope` and `metric` in the plural if it takes several.
_TAKES: Final[Mapping[str, tuple[str, ...]]] = {
    "/": ("scope", "first", "last"),
    "/calendar": ("metric", "scope", "year"),
    "/milestones": ("metric", "scope"),
    "/compare": ("metric", "scopes", "stretch"),
    "/windows": ("metrics", "scopes", "period", "first", "last"),
    "/targets": ("scope",),
    "/dead-letters": ("day",),
}
_YEAR: Final = re.compile(r"(?<!\d)\d{4}(?!\d)")
_RANGE: Final = re.compile(r"(\d{4}-\d\d-\d\d)\.\.(\d{4}-\d\d-\d\d)")


def _is_whole(period: str) -> bool:
    """Whether it is the id of a period rather than a prefix of several."""
    if _RANGE.fullmatch(period) or re.fullmatch(r"holiday:.+:\d{4}", period):
        return True
    try:
        return parse_period(period) is not None
    except ValueError:
        return False


@dataclass(frozen=True)
class Subject:
    """The chosen metrics, scopes, and period, the latter by id or as two dates (`2024-10-01..2024-10-15`); empty if none."""

    metrics: Sequence[str] = ()
    scopes: Sequence[str] = ()
    period: str = ""

    @classmethod
    def of(cls, path: str, query: Mapping[str, Sequence[str]], data: Any) -> Subject:
        """The subject of a page.

        Args:
            path: The page's path.
            query: Parameter → all its values in the address.
            data: The page's view.
        """
        metrics, scopes = query.get("metric", ()), query.get("scope", ())
        period = next(iter(query.get("period", ())), "")
        if path.startswith("/calendar/"):
            period = f"day:{data.date}"
        elif path.startswith("/campaigns/"):
            metrics, scopes, period = [data.metric], [data.scope], data.period
        elif path == "/calendar" and "year" in query:
            period = f"year:{data.year}"
        elif path == "/units":
            metrics, scopes, period = [data.parameters.metric], [data.parameters.scope], data.parameters.period
        elif path.startswith("/milestones/"):
            about = data.latest.event.data
            metrics, scopes, period = [about.metric], [about.scope], about.period
        elif first := next(iter(query.get("first", ())), ""):
            last = next(iter(query.get("last", ())), "")
            period = f"{first}..{last}" if last else ""
        elif not _is_whole(period):
            period = ""
        return cls([each for each in metrics if each], [each for each in scopes if each], period)

    def query(self, path: str) -> dict[str, object]:
        """The parameters that make another page show the same subject, as far as it takes them."""
        dates = _RANGE.fullmatch(self.period)
        year = _YEAR.search(self.period)
        first, last = dates.groups() if dates else ("", "")
        known: dict[str, tuple[str, object]] = {
            "metric": ("metric", self.metrics[0] if self.metrics else ""),
            "metrics": ("metric", list(self.metrics)),
            "scope": ("scope", self.scopes[0] if self.scopes else ""),
            "scopes": ("scope", list(self.scopes)),
            "year": ("year", year.group() if year else ""),
            "period": ("period", "" if dates else self.period),
            "stretch": ("period", "" if self.period.startswith("total") else self.period),
            "first": ("first", first),
            "last": ("last", last),
            "day": ("day", self.period.removeprefix("day:") if self.period.startswith("day:") else ""),
        }
        return {name: value for name, value in (known[each] for each in _TAKES.get(path, ())) if value}
