"""Sentences about milestones and alerts: each kind in English and Chinese, with number, date and time after the start."""

from __future__ import annotations

from typing import Any

import pytest

from streams.wording.headline import headline
from streams.wording.sentences import sentences
from tests.contract.goldens import milestone_sample

NO_UNIT = {"achieved_on": None, "position": None}


@pytest.mark.parametrize(
    ("name", "change", "english", "chinese"),
    [
        (
            "threshold",
            {},
            "SU7 deliveries passed 1,000 on 7 Oct 2024: 1,001",
            "SU7 2024年10月7日交付量突破 1,000 辆\uff0c实际为 1,001 辆",
        ),
        (
            "threshold",
            {"kind": "first"},
            "SU7 deliveries passed 1,000 in a day for the first time, on 7 Oct 2024: 1,001",
            "SU7 单日交付量首次突破 1,000 辆\uff082024年10月7日\uff09\uff0c实际为 1,001 辆",
        ),
        (
            "threshold",
            {"kind": "first", "operator": "reaches", "position": 1000},
            "SU7 deliveries reached 1,000 in a day for the first time, on 7 Oct 2024: 1,000",
            "SU7 单日交付量首次达到 1,000 辆\uff082024年10月7日\uff09",
        ),
        (
            "unit",
            {},
            "deliveries reached 100,000 in all, on 16 Nov 2024: 100,000",
            "累计交付量于2024年11月16日达到 100,000 辆",
        ),
        (
            "unit",
            {"metric": "produced", "scope": "model=SU7,factory=other"},
            "SU7 other vehicles produced reached 100,000 in all, on 16 Nov 2024: 100,000",
            "SU7 其他 累计下线量于2024年11月16日达到 100,000 辆",
        ),
        (
            "campaign",
            {"after_s": 1604.2},
            "SU7 orders placed reached 50,000 in the su7-launch campaign after 26 minutes 44 seconds, on 28 Mar 2024: 50,000",
            "SU7 su7-launch 活动新下订单于开售26分44秒后\uff082024年3月28日\uff09达到 50,000 单",
        ),
        (
            "campaign",
            {"end": "2024-03-28"},
            "SU7 orders placed reached 50,000 in the su7-launch campaign after 27 minutes: 50,000",
            "SU7 su7-launch 活动新下订单于开售27分钟后达到 50,000 单",
        ),
        (
            "threshold",
            {"kind": "record", "period": "week:2024-W41", "count": 30012},
            "SU7 deliveries: a record week, 30,012 in week 41 of 2024",
            "SU7 单周交付量创新高\uff1a2024年第41周达 30,012 辆",
        ),
        (
            "streak",
            {},
            "SU7 deliveries passed 20,000 for the 5th month in a row, in October 2024, on 30 Oct 2024: 20,001",
            "SU7 2024年10月交付量于10月30日连续第5个月突破 20,000 辆\uff0c实际为 20,001 辆",
        ),
        (
            "streak",
            {"period": "holiday:national-day:2024", "streak": 22, "operator": "reaches", **NO_UNIT},
            "SU7 deliveries reached 20,000 for the 22nd holiday in a row, in the national day holiday of 2024: 20,003",
            "SU7 2024年国庆假期交付量连续第22个假期达到 20,000 辆\uff0c实际为 20,003 辆",
        ),
        (
            "factor",
            {},
            "SU7 deliveries reached 2 times the 10,021 of September 2024 in October 2024, on 30 Oct 2024: 20,042",
            "SU7 2024年10月交付量于10月30日达到2024年9月\uff0810,021 辆\uff09的 2 倍\uff0c实际为 20,042 辆",
        ),
        (
            "factor",
            {"kind": "record_passed"},
            "SU7 deliveries: more than in any month before, 20,042 in October 2024, on 30 Oct 2024",
            "SU7 2024年10月交付量于10月30日刷新单月纪录\uff0c达 20,042 辆",
        ),
        (
            "scope-share",
            {},
            "SU7 deliveries were 30 % of all or more in October 2024: 20,045 of 50,000",
            "SU7 2024年10月交付量占总量的 30% 以上\uff1a50,000 辆中的 20,045 辆",
        ),
        (
            "leader",
            {},
            "SU7 deliveries came first in October 2024: 20,045, before YU7 with 18,010",
            "SU7 2024年10月交付量升至首位\uff0c达 20,045 辆\uff0c其次为 YU7\uff0818,010 辆\uff09",
        ),
        (
            "leader",
            {"compared_scope": None},
            "SU7 deliveries came first in October 2024: 20,045",
            "SU7 2024年10月交付量升至首位\uff0c达 20,045 辆",
        ),
        (
            "target",
            {},
            "SU7 deliveries reached the target of 20,000 in October 2024: 19,999",
            "SU7 2024年10月交付量达到目标 20,000 辆\uff0c实际为 19,999 辆",
        ),
        (
            "target",
            {"kind": "share", "milestone_id": "deliveries/model=SU7/month:2024-10/share:su7-2024-10:20000:0.125"},
            "SU7 deliveries reached 12.5 % of the target of 20,000 in October 2024: 19,999",
            "SU7 2024年10月交付量达到目标 20,000 辆的 12.5%\uff0c实际为 19,999 辆",
        ),
    ],
)
def test_a_milestone_is_a_sentence(name: str, change: dict[str, Any], english: str, chinese: str) -> None:
    data = milestone_sample(name).data.model_copy(update=change)
    assert [sentences(language).sentence(data) for language in ("en", "zh")] == [english, chinese]


@pytest.mark.parametrize(
    ("period", "english", "chinese"),
    [
        ("week:2024-W01", "in week 1 of 2024", "2024年第1周"),
        ("month:2024-10", "in October 2024", "2024年10月"),
        ("quarter:2024-Q3", "in Q3 2024", "2024年第3季度"),
        ("quarter:FY2025-Q4", "in Q4 FY2025", "2025财年第4季度"),
        ("half:2024-H1", "in H1 2024", "2024年上半年"),
        ("half:FY2025-H2", "in H2 FY2025", "2025财年下半年"),
        ("year:2024", "in 2024", "2024年"),
        ("year:FY2025", "in FY2025", "2025财年"),
        ("total", "in all", "累计"),
        ("rolling:7d:2024-10-07", "in the 7 days to 7 Oct 2024", "截至2024年10月7日的7天"),
        ("holiday:spring-festival:2024", "in the spring festival holiday of 2024", "2024年春节假期"),
        ("holiday:open-day:2024", "in the open day holiday of 2024", "2024年open day假期"),
        ("campaign:su7-launch", "in the su7-launch campaign", "su7-launch 活动"),
    ],
)
def test_each_window_has_its_words(period: str, english: str, chinese: str) -> None:
    data = milestone_sample("threshold").data.model_copy(update={"period": period})
    assert sentences("en").sentence(data, with_number=False) == f"SU7 deliveries passed 1,000 {english}"
    assert sentences("zh").sentence(data, with_number=False) == f"SU7 {chinese}交付量突破 1,000 辆"


def test_a_date_outside_the_year_just_said_has_its_year() -> None:
    data = milestone_sample("streak").data
    in_fiscal_year = data.model_copy(update={"kind": "threshold", "period": "year:FY2025"})
    assert sentences("zh").sentence(in_fiscal_year).startswith("SU7 2025财年交付量于2024年10月30日突破")


@pytest.mark.parametrize(
    ("name", "change", "english", "chinese"),
    [
        (
            "behind",
            {},
            "SU7 deliveries: expected to miss the target of 20,000 in October 2024 by 900",
            "SU7 2024年10月交付量预计达不到目标 20,000 辆\uff0c差 900 辆",
        ),
        (
            "behind",
            {"ended": "back", "p50": 20300},
            "SU7 deliveries: expected to reach the target of 20,000 in October 2024 after all, 20,300",
            "SU7 2024年10月交付量重新预计可达到目标 20,000 辆\uff0c预计为 20,300 辆",
        ),
        (
            "behind",
            {"ended": "over", "count": 19100},
            "SU7 deliveries: the target of 20,000 in October 2024 is missed by 900",
            "SU7 2024年10月交付量未达到目标 20,000 辆\uff0c差 900 辆",
        ),
        (
            "behind",
            {"ended": "reached"},
            "SU7 deliveries: the target of 20,000 in October 2024 is reached",
            "SU7 2024年10月交付量已达到目标 20,000 辆",
        ),
        (
            "behind",
            {"ended": "gone"},
            "SU7 deliveries: the target of 20,000 in October 2024 is no longer watched",
            "SU7 2024年10月交付量目标 20,000 辆不再受关注",
        ),
        (
            "moved",
            {},
            "SU7 deliveries: the target of 20,000 in October 2024 is expected on 31 Oct 2024 again",
            "SU7 2024年10月交付量重新预计于2024年10月31日达到目标 20,000 辆",
        ),
        (
            "moved",
            {"ended": None},
            "SU7 deliveries: the target of 20,000 in October 2024 is expected on 31 Oct 2024, before on 30 Oct 2024",
            "SU7 2024年10月交付量预计于2024年10月31日达到目标 20,000 辆\uff0c此前预计为2024年10月30日",
        ),
        (
            "moved",
            {"ended": None, "projected_date": None},
            "SU7 deliveries: the target of 20,000 in October 2024 is out of sight, before it was expected on 30 Oct 2024",
            "SU7 2024年10月交付量无法预计何时达到目标 20,000 辆\uff0c此前预计为2024年10月30日",
        ),
        (
            "moved",
            {"ended": None, "former_date": None},
            "SU7 deliveries: the target of 20,000 in October 2024 is expected on 31 Oct 2024, before it was out of sight",
            "SU7 2024年10月交付量预计于2024年10月31日达到目标 20,000 辆\uff0c此前无法预计",
        ),
        (
            "moved",
            {"projected_date": None},
            "SU7 deliveries: the target of 20,000 in October 2024 is out of sight again",
            "SU7 2024年10月交付量再次无法预计何时达到目标 20,000 辆",
        ),
    ],
)
def test_an_alert_about_a_forecast_is_a_sentence(name: str, change: dict[str, Any], english: str, chinese: str) -> None:
    sample = milestone_sample(f"forecast-{name}")
    assert sample.data.forecast is not None
    told = {key: value for key, value in change.items() if key in {"projected_date", "former_date"}}
    if "p50" in change:
        total = sample.data.forecast.projected_total.model_copy(update={"p50": change["p50"]})
        told["projected_total"] = total
    update = {key: value for key, value in change.items() if key in {"ended", "count"}}
    update["forecast"] = sample.data.forecast.model_copy(update=told)
    data = sample.data.model_copy(update=update)
    assert [sentences(language).sentence(data) for language in ("en", "zh")] == [english, chinese]


@pytest.mark.parametrize(
    ("change", "english", "chinese"),
    [
        (
            {},
            "BJ1 deliveries: nothing since 2024-10-17 08:00, where 41.3 usually come in 3 hours",
            "BJ1 交付量自2024年10月17日 08:00 起为零\uff0c而这3小时内通常有 41.3 辆",
        ),
        (
            {"count": 2},
            "BJ1 deliveries: only 2 since 2024-10-17 08:00, where 41.3 usually come in 3 hours",
            "BJ1 交付量自2024年10月17日 08:00 起仅 2 辆\uff0c而这3小时内通常有 41.3 辆",
        ),
        ({"ended": "back"}, "BJ1 deliveries: units come again", "BJ1 交付量已恢复"),
        ({"ended": "gone"}, "BJ1 deliveries: a silence is no longer watched", "BJ1 交付量\uff1a不再监测是否中断"),
        (
            {"scope": "source=%2Ffactories%2Fbj1"},
            "/factories/bj1 deliveries: no events since 2024-10-17 08:00, in 3 hours in which some usually come",
            "/factories/bj1 交付量自2024年10月17日 08:00 起没有事件\uff0c而这3小时内通常都有",
        ),
        (
            {"scope": "source=%2Ffactories%2Fbj1", "ended": "back"},
            "/factories/bj1 deliveries: events come again",
            "/factories/bj1 交付量事件已恢复",
        ),
    ],
)
def test_an_alert_about_a_silence_is_a_sentence(change: dict[str, Any], english: str, chinese: str) -> None:
    data = milestone_sample("stalled").data.model_copy(update=change)
    assert [sentences(language).sentence(data) for language in ("en", "zh")] == [english, chinese]


@pytest.mark.parametrize(
    ("after_s", "english", "chinese"),
    [
        (0.4, "0 seconds", "0秒"),
        (59, "59 seconds", "59秒"),
        (60, "1 minute", "1分钟"),
        (1604.9, "26 minutes 44 seconds", "26分44秒"),
        (4561, "1 hour 16 minutes", "1小时16分钟"),
        (90_000, "1 day 1 hour", "1天1小时"),
    ],
)
def test_a_length_of_time_has_its_two_largest_units(after_s: float, english: str, chinese: str) -> None:
    assert [sentences(language).length(after_s) for language in ("en", "zh")] == [english, chinese]


def test_an_hour_and_large_counts_are_written_out() -> None:
    data = milestone_sample("stalled").data
    assert data.silence is not None
    hour = data.model_copy(update={"silence": data.silence.model_copy(update={"hours": 1, "usual": 12_345.6})})
    assert sentences().sentence(hour).endswith("where 12,345.6 usually come in 1 hour")


@pytest.mark.parametrize(
    ("name", "language", "line"),
    [
        (
            "unit",
            "en",
            "2024-11-16  deliveries reached 100,000 in all, on 16 Nov 2024: 100,000  [deliveries/all/total/every:100000:100000]",
        ),
        (
            "unit",
            "zh",
            "2024-11-16  累计交付量于2024年11月16日达到 100,000 辆  [deliveries/all/total/every:100000:100000]",
        ),
        (
            "target",
            "en",
            "2024-10-30  RETRACTED: SU7 deliveries reached the target of 20,000 in October 2024: 19,999  [deliveries/model=SU7/month:2024-10/target:su7-2024-10:20000 revision 2]",
        ),
        (
            "target",
            "zh",
            "2024-10-30  已撤回\uff1aSU7 2024年10月交付量达到目标 20,000 辆\uff0c实际为 19,999 辆  [deliveries/model=SU7/month:2024-10/target:su7-2024-10:20000 第 2 次变更]",
        ),
    ],
)
def test_a_line_has_the_date_what_became_of_it_and_the_identity(name: str, language: str, line: str) -> None:
    assert headline(milestone_sample(name), language) == line
