"""Every text of the pages and of sentences exists in every language, with the same numbers and names in it."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po

import schemas
import streams.wording
from schemas.facts import METRICS, REASONS
from schemas.outputs import VIOLATION_MESSAGES
from streams.holidays import holiday_years
from streams.web.app import FOLDER
from streams.web.filters import of_locale
from streams.wording.languages import LANGUAGES, translations_in
from tests.contract.goldens import milestone_sample

if TYPE_CHECKING:
    from collections.abc import Callable

    from babel.messages import Catalog, Message

#: Each has its own catalogue.
FOLDERS = (FOLDER, Path(streams.wording.__file__).parent)
TRANSLATED = [locale for locale in LANGUAGES if locale != "en"]
_PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[a-z%]")


def forms(text: Any) -> tuple[str, ...]:
    """Singular and plural, or the only text."""
    return text if isinstance(text, tuple) else (text,)


@pytest.fixture(scope="module", params=FOLDERS, ids=lambda folder: folder.name)
def folder(request: pytest.FixtureRequest) -> Path:
    """One that has a catalogue."""
    return cast("Path", request.param)


@pytest.fixture(scope="module")
def texts(folder: Path) -> set[str | tuple[str, ...]]:
    """Every text of templates and modules that is marked for translation."""
    method_map, options_map = parse_mapping_cfg(io.StringIO((folder / "locale" / "babel.cfg").read_text()))  # type: ignore[no-untyped-call] # babel
    found = [*extract_from_dir(folder, method_map, options_map, keywords={**DEFAULT_KEYWORDS, "N_": None})]
    if folder == FOLDER:
        # What is wrong is said by whoever finds out.
        for package in (streams, schemas):
            root = Path(str(package.__file__)).parent
            found += extract_from_dir(root, [("**.py", "python")], {}, keywords={"Message": None})
    return {message for _, _, message, _, _ in found}


def catalogue(folder: Path, locale: str) -> Catalog:
    with (folder / "locale" / locale / "LC_MESSAGES" / "messages.po").open("rb") as source:
        return read_po(source, locale=locale, abort_invalid=True)


def messages(folder: Path, locale: str) -> list[Message]:
    return [message for message in catalogue(folder, locale) if message.id]


def filters_of(locale: str) -> dict[str, Callable[..., Any]]:
    return of_locale(locale, translations_in(FOLDER / "locale", locale).gettext)


@pytest.mark.parametrize("locale", TRANSLATED)
def test_every_text_is_translated(folder: Path, texts: set[Any], locale: str) -> None:
    assert texts
    found = messages(folder, locale)
    translated = {message.id for message in found if all(forms(message.string)) and not message.fuzzy}
    assert texts - translated == set()


@pytest.mark.parametrize("locale", TRANSLATED)
def test_nothing_is_translated_that_is_not_said(folder: Path, texts: set[Any], locale: str) -> None:
    found = catalogue(folder, locale)
    assert {message.id for message in messages(folder, locale)} - texts == set()
    assert not found.obsolete
    assert not [message.id for message in messages(folder, locale) if message.fuzzy]


@pytest.mark.parametrize("locale", TRANSLATED)
def test_a_translation_has_the_placeholders_of_its_text(folder: Path, locale: str) -> None:
    for message in messages(folder, locale):
        wanted = sorted(_PLACEHOLDER.findall(forms(message.id)[-1]))
        for form in forms(message.string):
            assert sorted(_PLACEHOLDER.findall(form)) == wanted, (message.id, form)


def test_chinese_is_written_in_chinese(folder: Path) -> None:
    names = {
        "API", "Kafka", "of %(goal)s", "on %(period)s", "in %(period)s", "%(where)s: %(what)s", "%(period)r: %(why)s",
    }  # fmt: skip
    latin = [each for each in messages(folder, "zh") if not re.search("[\u4e00-\u9fff]", str(each.string))]
    assert {each.id for each in latin} <= names


@pytest.mark.parametrize("locale", LANGUAGES)
def test_everything_that_the_service_may_name_has_a_name(locale: str) -> None:
    filters = filters_of(locale)
    holidays = {holiday.name for year in holiday_years() for holiday in year.holidays}
    for known, name in (
        (METRICS, "metric"),
        (REASONS, "rejection"),
        (VIOLATION_MESSAGES, "violation"),
        (holidays, "holiday"),
    ):
        assert [each for each in known if filters[name](each) == each] == [], name
    assert [each for each in VIOLATION_MESSAGES if filters["violation_effect"](each) == each] == []


@pytest.mark.parametrize(
    ("period", "english", "chinese"),
    [
        ("week:2024-W41", "Week 41, 2024", "2024年第41周"),
        ("quarter:2024-Q3", "Q3 2024", "2024年第3季度"),
        ("quarter:FY2025-Q4", "Q4 FY2025", "2025财年第4季度"),
        ("half:2024-H2", "Second half of 2024", "2024年下半年"),
        ("half:FY2025-H1", "First half of FY2025", "2025财年上半年"),
        ("year:2024", "2024", "2024年"),
        ("year:FY2025", "FY2025", "2025财年"),
        ("week:2024-41", "week:2024-41", "week:2024-41"),
    ],
)
def test_a_period_has_a_name_in_both_languages(period: str, english: str, chinese: str) -> None:
    names = [filters_of(locale)["period"] for locale in ("en", "zh")]
    assert [name(period) for name in names] == [english, chinese]


@pytest.mark.parametrize(
    ("name", "change", "english", "chinese"),
    [
        ("record", {"kind": "record", "period": "week:2024-W41"}, "more than in any week before", "高于以往任何一周"),
        (
            "multiple",
            {
                "kind": "multiple",
                "period": "quarter:FY2025-Q3",
                "milestone_id": "deliveries/model=SU7/quarter:FY2025-Q3/every:10000:30000",
            },
            "each multiple of 10,000 in a quarter",
            "一个季度内每满 10,000",
        ),
        ("streak", {}, "more than 20,000, the 5th month in a row", "连续第5个月超过 20,000"),
        (
            "streak",
            {"period": "holiday:national-day:2024", "streak": 22},
            "more than 20,000, the 22nd time in a row",
            "连续第22次超过 20,000",
        ),
        ("factor", {}, "2 times the 10,021 of September 2024", "2024年9月\uff0810,021\uff09的 2 倍"),
        ("factor", {"kind": "record_passed"}, "more than in any month before", "高于以往任何一个月"),
        ("scope-share", {}, "30% of all or more", "占全部的 30% 以上"),
        (
            "leader",
            {},
            "more than any other, for the first time since another one was first",
            "由他者居首变为高于其他任何一个",
        ),
        (
            "stalled",
            {},
            "nothing, or little, in 3 hours in which units usually come",
            "通常有记录的 3 小时内没有或只有很少",
        ),
        (
            "stalled",
            {"scope": "source=%2Ffactories%2Fbj1"},
            "no events in 3 hours in which some usually come",
            "通常有事件的 3 小时内没有事件",
        ),
    ],
)
def test_a_rule_is_told_in_both_languages(name: str, change: dict[str, Any], english: str, chinese: str) -> None:
    sample = "threshold" if name in ("record", "multiple") else name
    data = milestone_sample(sample).data.model_copy(update=change)
    assert [filters_of(locale)["rule"](data) for locale in ("en", "zh")] == [english, chinese]


def test_a_sentence_on_a_page_begins_with_a_capital_and_names_keep_their_case() -> None:
    data = milestone_sample("unit").data
    sentence = filters_of("en")["sentence"]
    assert sentence(data) == "Deliveries reached 100,000 in all, on 16 Nov 2024: 100,000"
    assert sentence(data, with_number=False) == "Deliveries reached 100,000 in all, on 16 Nov 2024"
    named = data.model_copy(update={"scope": "model=iCar"})
    assert sentence(named) == "iCar deliveries reached 100,000 in all, on 16 Nov 2024: 100,000"


@pytest.mark.parametrize(
    ("locale", "shown"),
    [
        ("en", ["9 Sep 2024", "Mon, 9 Sep 2024", "Monday, 9 September 2024", "9 Sep", "Mon, 9 Sep"]),
        ("zh", ["2024年9月9日", "2024年9月9日周一", "2024年9月9日星期一", "9月9日", "9月9日周一"]),
    ],
)
def test_a_date_is_written_on_pages_as_it_is_in_sentences(locale: str, shown: list[str]) -> None:
    filters = filters_of(locale)
    forms = ("date", "weekday", "full", "of_year", "weekday_of_year")
    assert [filters["day"]("2024-09-09", form) for form in forms] == shown
    assert filters["period"]("day:2024-09-09") == shown[1]
    data = milestone_sample("unit").data.model_copy(update={"achieved_on": "2024-09-09"})
    assert shown[0] in filters["sentence"](data)


@pytest.mark.parametrize(
    ("locale", "shown"),
    [
        ("en", ["1,234,567", "+12", "0", "25%", "October 2024", "2024-10-07 21:10:44+08:00"]),
        ("zh", ["1,234,567", "+12", "0", "25%", "2024年10月", "2024-10-07 21:10:44+08:00"]),
    ],
)
def test_numbers_and_dates_are_written_as_the_language_does(locale: str, shown: list[str]) -> None:
    filters = filters_of(locale)
    made = [
        filters["number"](1_234_567),
        filters["signed"](12),
        filters["signed"](0),
        filters["percent"](0.25),
        filters["period"]("month:2024-10"),
        filters["instant"]("2024-10-07T13:10:44Z", "Asia/Shanghai", "yyyy-MM-dd HH:mm:ss"),
    ]
    assert made == shown
