"""The lines of the table of windows: as a template would render them, and safe whatever a row contains."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import pytest

from streams.web.app import FOLDER
from streams.web.filters import of_locale
from streams.web.rowlines import RowLines, page_url
from streams.wording.languages import translations_in
from tests.support.outputs import row

MANNER = {"timezone": "Asia/Shanghai", "live": False, "dim": False, "kiosk": False}
HOSTILE = "\"><script>alert(1)</script>'&"
TARGET = {"target_id": "year-plan", "value": 1000, "reached": True}
CONTROL = {"source": "erp", "count": 5, "difference": -2, "as_of": "2024-10-07T10:00:00.000Z"}


class Cells(HTMLParser):
    """The elements of a line, and the text of its cells."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in {"th", "td"}:
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data.strip("\n")

    def attributes(self, tag: str, name: str) -> list[str | None]:
        return [found[name] for each, found in self.elements if each == tag and name in found]


def cells(document: dict[str, Any], locale: str = "en", **manner: Any) -> Cells:
    gettext = translations_in(FOLDER / "locale", locale).gettext
    lines = RowLines(of_locale(locale, gettext), gettext)
    return Cells(lines([json.dumps(document)], **{**MANNER, **manner}))


def test_a_line_says_what_the_row_says() -> None:
    found = cells(row("day:2024-10-07", 1234, version=5, restated=2, updated_at="2024-10-07T10:30:00.123Z"))
    assert found.cells == [
        "Mon, 7 Oct 2024", "1,234", "Deliveries", "SU7", "", "Open", "2", "5", "2024-10-07 18:30:00+08:00"
    ]  # fmt: skip
    assert found.attributes("a", "href") == [
        "/calendar/2024-10-07?metric=deliveries&scope=model%3DSU7",
        "/units?metric=deliveries&scope=model%3DSU7&period=day%3A2024-10-07",
    ]


def test_targets_and_other_systems_totals_are_marked() -> None:
    document = row("month:2024-10", 7, targets=[TARGET, {**TARGET, "value": 2000, "reached": False}])
    found = cells(document | {"controls": [CONTROL, CONTROL | {"difference": 0}]})
    assert found.cells[4].split() == ["1,000", "✓", "reached", "2,000", "-2", "different", "from", "erp"]
    assert found.attributes("a", "href")[1:] == ["/reconciliation"]
    assert cells(document, "zh").cells[4].split() == ["1,000", "✓", "已达成", "2,000"]


@pytest.mark.parametrize("field", ["metric", "scope", "period", "start", "status"])
def test_no_field_of_a_row_becomes_markup(field: str) -> None:
    plain = row("day:2024-10-07", 7, targets=[TARGET])
    found = cells(plain | {field: HOSTILE}, live=True)
    assert [tag for tag, _ in found.elements] == [tag for tag, _ in cells(plain, live=True).elements]


def test_no_field_of_a_target_or_total_becomes_markup() -> None:
    document = row("month:2024-10", 7, targets=[TARGET | {"target_id": HOSTILE}])
    found = cells(document | {"controls": [CONTROL | {"source": HOSTILE}]})
    assert found.attributes("span", "title") == [HOSTILE]
    assert found.attributes("a", "title") == [HOSTILE]
    assert "script" not in [tag for tag, _ in found.elements]


def test_only_live_lines_follow_the_stream_and_old_ones_are_dimmed() -> None:
    document = row("day:2024-10-07", 7)
    assert cells(document, live=True).attributes("span", "data-row") == ["deliveries|model=SU7|day:2024-10-07"]
    assert cells(document).attributes("span", "data-row") == []
    assert cells(document, dim=True).attributes("tr", "class") == ["dim"]


def test_the_same_row_is_shown_in_each_manner() -> None:
    """Lines cached for one display are not used for another."""
    gettext = translations_in(FOLDER / "locale", "en").gettext
    lines = RowLines(of_locale("en", gettext), gettext)
    body = json.dumps(row("day:2024-10-07", 7))
    plain, kiosk = lines([body], **MANNER), lines([body], **{**MANNER, "kiosk": True})
    assert "kiosk=1" in kiosk
    assert "kiosk=1" not in plain
    assert lines([body], **MANNER) == plain


def test_an_address_leaves_out_what_is_empty() -> None:
    assert page_url("/windows", {"metric": "", "scope": None, "kind": "day"}, kiosk=False) == "/windows?kind=day"
    assert page_url("/windows", {}, kiosk=False) == "/windows"
    assert page_url("/windows", {}, kiosk=True) == "/windows?kiosk=1"


def test_an_inventory_has_no_units_to_lead_to() -> None:
    found = cells(row("total", -12, metric="inventory", start="1999-12-31", end="2101-01-01"))
    assert found.cells[1:3] == ["-12", "Inventory"]
    assert found.attributes("a", "href") == []
