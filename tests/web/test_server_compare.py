"""Comparisons of periods and scopes, and which scopes gained and lost."""

from __future__ import annotations

import io
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import openpyxl
import pytest

from streams.spreadsheets import workbook
from tests.support.outputs import row
from tests.support.site import Site

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A Thursday; 1 to 7 October were days off, 12 October a Saturday that was worked.
TODAY = "2024-10-10"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two months of one delivery a day of the SU7, 25 regions, by the clock of the events."""
    with Site(tmp_path_factory.mktemp("site"), clock="events", scopes=[["model"], ["region"], []]) as made:
        made.at(f"{TODAY}T04:00:00.000Z")
        first = date(2024, 9, 1)
        days = [(first + timedelta(days=number)).isoformat() for number in range(40)]
        rows = [row(f"day:{day}", 1) for day in days]
        rows += [row("day:2024-10-09", number, scope=f"region=R{number:02d}") for number in range(25)]
        rows += [row("day:2024-09-09", 10, scope=f"region=R{number:02d}") for number in range(25)]
        made.rows(*rows)
        yield made


async def test_counts_side_by_side_are_a_file_too(site: Site) -> None:
    answer = await site.get("/api/v1/windows/side-by-side.csv?dimension=region&kind=day")
    lines = answer.text.splitlines()
    assert lines[0] == "\ufeffscope,name,day:2024-09-09,day:2024-10-09"
    assert lines[1] == "region=R24,R24,10,24"
    assert (len(lines), lines[-1]) == (27, ",,250,300")
    named = await site.get("/api/v1/windows/side-by-side.csv?dimension=region&kind=day&sort=name")
    assert named.text.splitlines()[1] == "region=R00,R00,10,0"
    book = await site.get("/api/v1/windows/side-by-side.xlsx?dimension=region&kind=day")
    sheet = openpyxl.load_workbook(io.BytesIO(book.content), data_only=True).active
    read = [["" if cell is None else str(cell) for cell in line] for line in sheet.iter_rows(values_only=True)]
    assert read == [line.removeprefix("\ufeff").split(",") for line in lines]
    page = (await site.get("/windows/side-by-side?dimension=region&kind=day")).text
    assert 'href="/api/v1/windows/side-by-side.csv?dimension=region&amp;kind=day"' in page


def test_text_in_a_workbook_stays_text_and_too_much_is_refused() -> None:
    texts: list[str | int | None] = ["=1+1", " a <b>&\x00", "\u5317\u4eac", None, 7]
    sheet = openpyxl.load_workbook(io.BytesIO(workbook([texts]))).active
    assert [cell.value for cell in sheet[1]] == ["=1+1", " a <b>&", "\u5317\u4eac", None, 7]
    assert sheet["A1"].data_type != "f"
    with pytest.raises(ValueError, match="16,384 columns"):
        workbook([[0] * 16_385])


async def asked(site: Site, query: str) -> Any:
    return (await site.get(f"/api/v1/compare?{query}")).json()


async def test_this_month_stands_next_to_the_last_and_that_of_last_year_up_to_the_same_day(site: Site) -> None:
    view = await asked(site, "scope=model=SU7")
    assert [line["period"] for line in view["lines"]] == ["month:2024-10", "month:2024-09", "month:2023-10"]
    assert [(line["so_far"], line["whole"]) for line in view["lines"]] == [(10, 10), (10, 30), (0, 0)]
    assert view["place"] == 10
    tenth, eleventh = view["lines"][0]["days"][9:11]
    assert (tenth["count"], tenth["total"], eleventh["count"], eleventh["total"]) == (1, 10, None, None)


async def test_by_working_day_a_day_off_counts_with_the_working_day_before_it(site: Site) -> None:
    view = await asked(site, "scope=model=SU7&period=month:2024-10&period=month:2024-09&align=working-day")
    october, september = view["lines"]
    # The holiday at the beginning is one place; 8, 9 and 10 October are worked.
    firsts = [day["first"] for day in october["days"][:4]]
    assert firsts == ["2024-10-01", "2024-10-08", "2024-10-09", "2024-10-10"]
    assert (view["place"], october["so_far"], september["so_far"]) == (4, 10, 4)
    assert [day["count"] for day in september["days"][:6]] == [1, 1, 1, 1, 1, 3]
    saturday = next(day for day in october["days"] if day["first"] == "2024-10-12")
    assert saturday["last"] == "2024-10-13"


async def test_who_gained_and_lost_is_told_of_the_first_and_last_ten_and_the_file_has_all(site: Site) -> None:
    query = "period=month:2024-10&period=month:2024-09&dimension=region"
    view = await asked(site, query)
    assert (view["ranked"], view["total"], view["total_before"]) == (25, 300, 250)
    assert [each["name"] for each in view["top"]] == [f"R{number:02d}" for number in range(24, 14, -1)]
    assert [each["name"] for each in view["bottom"]] == [f"R{number:02d}" for number in range(9, -1, -1)]
    page = (await site.get(f"/compare?{query}&sort=count")).text
    assert "5 more; the CSV file has all" in page
    lines = (await site.get(f"/api/v1/compare.csv?{query}")).text.splitlines()
    assert lines[0] == "\ufeffscope,month:2024-10,month:2024-09,difference"
    assert len(lines) == 26


async def test_two_dates_are_a_period_and_what_is_none_is_refused(site: Site) -> None:
    view = await asked(site, "scope=model=SU7&period=2024-09-01..2024-09-05&period=holiday:national-day:2024")
    assert [line["whole"] for line in view["lines"]] == [5, 7]
    lines = (await site.get("/api/v1/compare.csv?scope=model=SU7&period=2024-09-01..2024-09-02")).text.splitlines()
    assert lines[1:] == ["1,2024-09-01,1,1", "2,2024-09-02,1,2"]
    for period in ("2024-10", "month:2024-13", "2024-09-05..2024-09-01", "2000-01-01..2024-01-01", "..", "week:1"):
        answer = await site.get(f"/compare?period={period}")
        assert answer.status_code == 404, period
    assert (await site.get("/compare?scope=model=NIX")).status_code == 404
