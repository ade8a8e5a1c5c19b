"""Every text of the pages exists in every language, with the same numbers and names in it."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import pytest
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po

from schemas.facts import METRICS, REASONS
from schemas.outputs import VIOLATION_MESSAGES, MilestoneData
from streams.holidays import holiday_years
from streams.web.app import FOLDER
from streams.web.filters import of_locale
from streams.web.rendering import LOCALES, _translations
from streams.wording.sentences import headline
from streams.wording.sentences import sentence as headline_sentence
from tests.contract.goldens import milestone_sample

if TYPE_CHECKING:
    from babel.messages import Catalog, Message

LOCALE = FOLDER / "locale"
TRANSLATED = [locale for locale in LOCALES if locale != "en"]
_PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[a-z%]")


def forms(text: Any) -> tuple[str, ...]:
    """Singular and plural, or the only text."""
    return text if isinstance(text, tuple) else (text,)


@pytest.fixture(scope="module")
def texts() -> set[str | tuple[str, ...]]:
    """Every text of templates and modules that is marked for translation."""
    method_map, options_map = parse_mapping_cfg(io.StringIO((LOCALE / "babel.cfg").read_text()))  # type: ignore[no-untyped-call] # babel
    found = extract_from_dir(FOLDER, method_map, options_map, keywords={**DEFAULT_KEYWORDS, "N_": None})
    return {message for _, _, message, _, _ in found}


def catalogue(locale: str) -> Catalog:
    with (LOCALE / locale / "LC_MESSAGES" / "messages.po").open("rb") as source:
        return read_po(source, locale=locale, abort_invalid=True)


def messages(locale: str) -> list[Message]:
    return [message for message in catalogue(locale) if message.id]


@pytest.mark.parametrize("locale", TRANSLATED)
def test_every_text_is_translated(texts: set[Any], locale: str) -> None:
    translated = {message.id for message in messages(locale) if all(forms(message.string)) and not message.fuzzy}
    assert texts - translated == set()


@pytest.mark.parametrize("locale", TRANSLATED)
def test_nothing_is_translated_that_no_page_says(texts: set[Any], locale: str) -> None:
    found = catalogue(locale)
    assert {message.id for message in messages(locale)} - texts == set()
    assert not found.obsolete
    assert not [message.id for message in messages(locale) if message.fuzzy]


@pytest.mark.parametrize("locale", TRANSLATED)
def test_a_translation_has_the_placeholders_of_its_text(locale: str) -> None:
    for message in messages(locale):
        wanted = sorted(_PLACEHOLDER.findall(forms(message.id)[-1]))
        for form in forms(message.string):
            assert sorted(_PLACEHOLDER.findall(form)) == wanted, (message.id, form)


def test_chinese_is_written_in_chinese() -> None:
    names = {"API", "Kafka", "%(scope)s %(metric)s", "of %(goal)s"}
    latin = [each.string for each in messages("zh") if not re.search("[\u4e00-\u9fff]", str(each.string))]
    assert {each.id for each in messages("zh") if each.string in latin} <= names


@pytest.mark.parametrize("locale", LOCALES)
def test_everything_that_the_service_may_name_has_a_name(locale: str) -> None:
    filters = of_locale(locale, _translations(FOLDER, locale).gettext)
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
    ("locale", "sentence"),
    [
        ("en", "SU7 deliveries passed 1,000 for the first time, Mon, Oct 7, 2024"),
        ("zh", "SU7 交付量首次突破 1,000\uff082024年10月7日周一\uff09"),
    ],
)
def test_a_milestone_is_a_sentence_of_the_language(locale: str, sentence: str) -> None:
    data = MilestoneData(
        milestone_id="deliveries/model=SU7/first:day/exceeds:1000",
        revision=1,
        kind="first",
        rule="daily-1000",
        metric="deliveries",
        scope="model=SU7",
        period="day:2024-10-07",
        start="2024-10-07",
        end="2024-10-07",
        timezone="Asia/Shanghai",
        operator="exceeds",
        threshold=1000,
        count=1043,
        first=True,
        achieved_at=None,
        detected_at="2024-10-07T11:42:09.310Z",
        cause=None,
    )
    assert of_locale(locale, _translations(FOLDER, locale).gettext)["sentence"](data) == sentence


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
    names = [of_locale(locale, _translations(FOLDER, locale).gettext)["period"] for locale in ("en", "zh")]
    assert [name(period) for name in names] == [english, chinese]


@pytest.mark.parametrize(
    ("kind", "period", "shown"),
    [
        (
            "record",
            "week:2024-W41",
            [
                ("SU7 deliveries: a record week, 30,012 in week 41 of 2024", None),
                ("SU7 deliveries: record week, 30,012 in Week 41, 2024", "more than in any week before"),
                ("SU7 交付量创单周新高\uff1a2024年第41周\uff0c30,012", "高于以往任何一周"),
            ],
        ),
        (
            "multiple",
            "quarter:FY2025-Q3",
            [
                ("SU7 deliveries reached 30,000 in Q3 FY2025: 30,012", None),
                ("SU7 deliveries reached 30,000, Q3 FY2025", "each multiple of 10,000 in a quarter"),
                ("SU7 交付量达到 30,000\uff082025财年第3季度\uff09", "一个季度内每满 10,000"),
            ],
        ),
    ],
)
def test_records_and_multiples_are_sentences(kind: Any, period: str, shown: list[tuple[str, str | None]]) -> None:
    is_record = kind == "record"
    data = MilestoneData(
        milestone_id=f"deliveries/model=SU7/{'record:' if is_record else ''}{period}{'' if is_record else '/every:10000:30000'}",
        revision=1,
        kind=kind,
        rule="each",
        metric="deliveries",
        scope="model=SU7",
        period=period,
        start="2024-10-07",
        end="2024-12-31",
        timezone="Asia/Shanghai",
        operator=None if is_record else "reaches",
        threshold=None if is_record else 30_000,
        count=30_012,
        first=False,
        achieved_at=None,
        detected_at="2024-10-07T11:42:09.310Z",
        cause=None,
    )
    assert headline_sentence(data) == shown[0][0]
    for locale, wanted in zip(("en", "zh"), shown[1:], strict=True):
        filters = of_locale(locale, _translations(FOLDER, locale).gettext)
        assert (filters["sentence"](data), filters["rule"](data)) == wanted


@pytest.mark.parametrize(
    ("period", "streak", "shown"),
    [
        (
            "month:2024-10",
            5,
            [
                ("SU7 deliveries passed 20,000 for the 5th month in a row, in October 2024: 20,003", None),
                (
                    "SU7 deliveries passed 20,000, the 5th month in a row, October 2024",
                    "more than 20,000, the 5th month in a row",
                ),
                ("SU7 交付量连续第5个月突破 20,000\uff082024年10月\uff09", "连续第5个月超过 20,000"),
            ],
        ),
        (
            "holiday:national-day:2024",
            22,
            [
                (
                    "SU7 deliveries passed 20,000 for the 22nd holiday in a row, in the national day holiday of 2024: 20,003",
                    None,
                ),
                (
                    "SU7 deliveries passed 20,000, the 22nd time in a row, National Day 2024",
                    "more than 20,000, the 22nd time in a row",
                ),
                ("SU7 交付量连续第22次突破 20,000\uff082024年国庆节\uff09", "连续第22次超过 20,000"),
            ],
        ),
    ],
)
def test_a_streak_is_a_sentence(period: str, streak: int, shown: list[tuple[str, str | None]]) -> None:
    sample = milestone_sample("streak")
    data = sample.data.model_copy(update={"period": period, "streak": streak, "achieved_on": None, "position": None})
    assert headline_sentence(data) == shown[0][0]
    for locale, wanted in zip(("en", "zh"), shown[1:], strict=True):
        filters = of_locale(locale, _translations(FOLDER, locale).gettext)
        assert (filters["sentence"](data), filters["rule"](data)) == wanted


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        (
            "factor",
            [
                (
                    "SU7 deliveries reached 2 times the 10,021 of September 2024 in October 2024, on 30 Oct 2024: 20,042",
                    None,
                ),
                (
                    "SU7 deliveries reached 2 times the 10,021 of September 2024, October 2024, on Wed, Oct 30, 2024",
                    "2 times the 10,021 of September 2024",
                ),
                (
                    "SU7 交付量达到2024年9月\uff0810,021\uff09的 2 倍\uff082024年10月\uff09\uff0c达成于2024年10月30日周三",
                    "2024年9月\uff0810,021\uff09的 2 倍",
                ),
            ],
        ),
        (
            "record_passed",
            [
                ("SU7 deliveries: more than in any month before, 20,042 in October 2024, on 30 Oct 2024", None),
                (
                    "SU7 deliveries passed the former record month with 20,042, October 2024, on Wed, Oct 30, 2024",
                    "more than in any month before",
                ),
                (
                    "SU7 交付量以 20,042 刷新单月新高\uff082024年10月\uff09\uff0c达成于2024年10月30日周三",
                    "高于以往任何一个月",
                ),
            ],
        ),
    ],
)
def test_a_comparison_is_a_sentence(kind: str, shown: list[tuple[str, str | None]]) -> None:
    sample = milestone_sample("factor")
    data = sample.data.model_copy(update={"kind": kind})
    assert headline_sentence(data) == shown[0][0]
    for locale, wanted in zip(("en", "zh"), shown[1:], strict=True):
        filters = of_locale(locale, _translations(FOLDER, locale).gettext)
        assert (filters["sentence"](data), filters["rule"](data)) == wanted


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (
            "scope-share",
            [
                ("SU7 deliveries were 30 % of all or more in October 2024: 20,045 of 50,000", None),
                ("SU7 deliveries were 30% of all or more, October 2024: 20,045 of 50,000", "30% of all or more"),
                (
                    "SU7 交付量占全部的 30% 以上\uff082024年10月\uff09\uff1a50,000 中的 20,045",
                    "占全部的 30% 以上",
                ),
            ],
        ),
        (
            "leader",
            [
                ("SU7 deliveries came first in October 2024: 20,045, before YU7 with 18,010", None),
                (
                    "SU7 deliveries came first, October 2024: 20,045 before YU7 with 18,010",
                    "more than any other, for the first time since another one was first",
                ),
                (
                    "SU7 交付量升至首位\uff082024年10月\uff09\uff1a20,045\uff0c其次为 YU7\uff0818,010\uff09",
                    "由他者居首变为高于其他任何一个",
                ),
            ],
        ),
    ],
)
def test_a_scope_among_others_is_a_sentence(name: str, shown: list[tuple[str, str | None]]) -> None:
    sample = milestone_sample(name)
    assert headline_sentence(sample.data) == shown[0][0]
    for locale, wanted in zip(("en", "zh"), shown[1:], strict=True):
        filters = of_locale(locale, _translations(FOLDER, locale).gettext)
        assert (filters["sentence"](sample.data), filters["rule"](sample.data)) == wanted


@pytest.mark.parametrize(
    ("name", "change", "shown"),
    [
        (
            "behind",
            {},
            (
                "expected to miss the target of 20,000 in October 2024 by 900",
                "SU7 deliveries are expected to miss the target of 20,000 by 900, October 2024",
                "SU7 交付量预计达不到目标 20,000\uff0c差 900\uff082024年10月\uff09",
            ),
        ),
        (
            "behind",
            {"ended": "back", "p50": 20300},
            (
                "expected to reach the target of 20,000 in October 2024 after all, 20,300",
                "SU7 deliveries are expected to reach the target of 20,000 after all, October 2024: 20,300",
                "SU7 交付量重新预计可达到目标 20,000\uff082024年10月\uff09\uff1a20,300",
            ),
        ),
        (
            "behind",
            {"ended": "over", "count": 19100},
            (
                "the target of 20,000 in October 2024 is missed by 900",
                "SU7 deliveries have missed the target of 20,000 by 900, October 2024",
                "SU7 交付量未达到目标 20,000\uff0c差 900\uff082024年10月\uff09",
            ),
        ),
        (
            "behind",
            {"ended": "reached"},
            (
                "the target of 20,000 in October 2024 is reached",
                "SU7 deliveries have reached the target of 20,000, October 2024",
                "SU7 交付量已达到目标 20,000\uff082024年10月\uff09",
            ),
        ),
        (
            "behind",
            {"ended": "gone"},
            (
                "the target of 20,000 in October 2024 is no longer watched",
                "SU7 deliveries: the target of 20,000, October 2024, is no longer watched",
                "SU7 交付量\uff1a不再关注目标 20,000\uff082024年10月\uff09",
            ),
        ),
        (
            "moved",
            {},
            (
                "the target of 20,000 in October 2024 is expected on 31 Oct 2024 again",
                "SU7 deliveries are expected to reach the target of 20,000, October 2024, on Thu, Oct 31, 2024 again",
                "SU7 交付量重新预计于 2024年10月31日周四达到目标 20,000\uff082024年10月\uff09",
            ),
        ),
        (
            "moved",
            {"ended": None},
            (
                "the target of 20,000 in October 2024 is expected on 31 Oct 2024, before on 30 Oct 2024",
                "SU7 deliveries are expected to reach the target of 20,000, October 2024, on Thu, Oct 31, 2024, not on Wed, Oct 30, 2024",
                "SU7 交付量预计于 2024年10月31日周四达到目标 20,000\uff082024年10月\uff09\uff0c而非此前的 2024年10月30日周三",
            ),
        ),
        (
            "moved",
            {"ended": None, "projected_date": None},
            (
                "the target of 20,000 in October 2024 is out of sight, before it was expected on 30 Oct 2024",
                "SU7 deliveries: the target of 20,000, October 2024, is out of sight, before it was expected on Wed, Oct 30, 2024",
                "SU7 交付量\uff1a目标 20,000\uff082024年10月\uff09已无法预见达成日期\uff0c此前预计为 2024年10月30日周三",
            ),
        ),
        (
            "moved",
            {"ended": None, "former_date": None},
            (
                "the target of 20,000 in October 2024 is expected on 31 Oct 2024, before it was out of sight",
                "SU7 deliveries: the target of 20,000, October 2024, was out of sight and is expected on Thu, Oct 31, 2024",
                "SU7 交付量\uff1a目标 20,000\uff082024年10月\uff09此前无法预见达成日期\uff0c现预计于 2024年10月31日周四达成",
            ),
        ),
        (
            "moved",
            {"projected_date": None},
            (
                "the target of 20,000 in October 2024 is out of sight again",
                "SU7 deliveries: the target of 20,000, October 2024, is out of sight again",
                "SU7 交付量\uff1a目标 20,000\uff082024年10月\uff09再次无法预见达成日期",
            ),
        ),
    ],
)
def test_an_alert_about_a_forecast_is_a_sentence(
    name: str, change: dict[str, Any], shown: tuple[str, str, str]
) -> None:
    sample = milestone_sample(f"forecast-{name}")
    assert sample.data.forecast is not None
    told = {key: value for key, value in change.items() if key in {"projected_date", "former_date"}}
    if "p50" in change:
        total = sample.data.forecast.projected_total.model_copy(update={"p50": change["p50"]})
        told["projected_total"] = total
    update = {key: value for key, value in change.items() if key in {"ended", "count"}}
    update["forecast"] = sample.data.forecast.model_copy(update=told)
    data = sample.data.model_copy(update=update)
    assert headline_sentence(data) == f"SU7 deliveries: {shown[0]}"
    for locale, wanted in zip(("en", "zh"), shown[1:], strict=True):
        assert of_locale(locale, _translations(FOLDER, locale).gettext)["sentence"](data) == wanted


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        (
            {},
            (
                "nothing since 2024-10-17 08:00, where 41.3 usually come in 3 hours",
                "BJ1 deliveries: nothing since Thu, Oct 17, 2024 08:00, where 41.3 usually come in 3 h",
                "BJ1 交付量\uff1a自 2024年10月17日周四 08:00起为零\uff0c而这 3 小时通常有 41.3",
            ),
        ),
        (
            {"count": 2},
            (
                "only 2 since 2024-10-17 08:00, where 41.3 usually come in 3 hours",
                "BJ1 deliveries: only 2 since Thu, Oct 17, 2024 08:00, where 41.3 usually come in 3 h",
                "BJ1 交付量\uff1a自 2024年10月17日周四 08:00起仅 2\uff0c而这 3 小时通常有 41.3",
            ),
        ),
        (
            {"ended": "back"},
            ("units come again", "BJ1 deliveries: units come again", "BJ1 交付量\uff1a已恢复"),
        ),
        (
            {"ended": "gone"},
            (
                "a silence is no longer watched",
                "BJ1 deliveries: a silence is no longer watched",
                "BJ1 交付量\uff1a不再监测是否中断",
            ),
        ),
    ],
)
def test_an_alert_about_a_silence_is_a_sentence(change: dict[str, Any], shown: tuple[str, str, str]) -> None:
    sample = milestone_sample("stalled")
    data = sample.data.model_copy(update=change)
    assert headline_sentence(data) == f"BJ1 deliveries: {shown[0]}"
    for locale, wanted in zip(("en", "zh"), shown[1:], strict=True):
        filters = of_locale(locale, _translations(FOLDER, locale).gettext)
        assert filters["sentence"](data) == wanted
        assert "3" in filters["rule"](data)


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        (
            {},
            (
                "no events since 2024-10-17 08:00, in 3 hours in which some usually come",
                "no events since Thu, Oct 17, 2024 08:00, in 3 h in which some usually come",
                "自 2024年10月17日周四 08:00起没有事件\uff0c而这 3 小时通常都有事件",
            ),
        ),
        ({"ended": "back"}, ("events come again", "events come again", "事件已恢复")),
        ({"ended": "gone"}, (*["a silence is no longer watched"] * 2, "不再监测是否中断")),
    ],
)
def test_an_alert_about_a_source_is_a_sentence(change: dict[str, Any], shown: tuple[str, str, str]) -> None:
    sample = milestone_sample("stalled")
    data = sample.data.model_copy(update={"scope": "source=%2Ffactories%2Fbj1", **change})
    assert headline_sentence(data) == f"/factories/bj1 deliveries: {shown[0]}"
    what = {"en": "/factories/bj1 deliveries: ", "zh": "/factories/bj1 交付量\uff1a"}
    rules = {"en": "no events in 3 hours in which some usually come", "zh": "通常有事件的 3 小时内没有事件"}
    for locale, wanted in zip(("en", "zh"), shown[1:], strict=True):
        filters = of_locale(locale, _translations(FOLDER, locale).gettext)
        assert filters["sentence"](data) == what[locale] + wanted
        assert filters["rule"](data) == rules[locale]


@pytest.mark.parametrize(
    ("locale", "sentence"),
    [
        ("en", "Deliveries reached 100,000, All time, on Sat, Nov 16, 2024"),
        ("zh", "交付量达到 100,000\uff08累计\uff09\uff0c达成于2024年11月16日周六"),
    ],
)
def test_what_was_found_late_says_when_it_was_reached_and_by_which_unit(locale: str, sentence: str) -> None:
    event = milestone_sample("unit")
    data = event.data
    assert headline(event).startswith("2024-11-16  deliveries reached 100,000")
    assert headline_sentence(data) == "deliveries reached 100,000 in all, on 16 Nov 2024: 100,000"
    assert of_locale(locale, _translations(FOLDER, locale).gettext)["sentence"](data) == sentence


@pytest.mark.parametrize(
    ("locale", "shown"),
    [
        ("en", ["1,234,567", "+12", "0", "25%", "October 2024", "Oct 7, 2024, 9:10:44\u202fPM"]),
        ("zh", ["1,234,567", "+12", "0", "25%", "2024年10月", "2024年10月7日 21:10:44"]),
    ],
)
def test_numbers_and_dates_are_written_as_the_language_does(locale: str, shown: list[str]) -> None:
    filters = of_locale(locale, _translations(FOLDER, locale).gettext)
    made = [
        filters["number"](1_234_567),
        filters["signed"](12),
        filters["signed"](0),
        filters["percent"](0.25),
        filters["period"]("month:2024-10"),
        filters["instant"]("2024-10-07T13:10:44Z", "Asia/Shanghai"),
    ]
    assert made == shown
