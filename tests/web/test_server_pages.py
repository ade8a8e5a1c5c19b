"""What pages show of the numbers read."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from markupsafe import escape

from schemas.codec import decode_batch
from schemas.facts import PRODUCTION, Fact, Rejection, topic_number
from schemas.outputs import ALERT_KINDS, MilestoneEvent
from streams.web.readmodel import Feed
from streams.wording.sentences import sentences
from tests.contract.goldens import OUTPUTS
from tests.support.outputs import Record, forecast, milestone, milestone_record, row
from tests.support.site import Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: By the clock of the events, so that today is this day.
EVENTS = {"clock": "events"}
TODAY = "2024-10-07"


def source(at: str) -> Record:
    """An event source with its latest event then."""
    text = f'{{"source":"/shops","last_event_at":"{at}","updated_at":"{at}"}}'
    return Record(b"source/%2Fshops", text.encode(), 99)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A few rows of two scopes."""
    with Site(tmp_path_factory.mktemp("site")) as made:
        made.rows(row(f"day:{TODAY}", 107), row("day:2024-10-06", 90, scope="all"))
        yield made


@pytest.fixture
def rule() -> dict[str, Any]:
    return {"name": "daily-150", "metric": "deliveries", "window": "day", "scope": ["model"], "exceeds": 150}


async def test_a_target_of_the_day_comes_before_a_rule(tmp_path: Path, rule: dict[str, Any]) -> None:
    aims = [
        {"target_id": "plan", "value": 250, "reached": False},
        {"target_id": "least", "value": 100, "reached": True},
    ]
    with Site(tmp_path, rule=[rule], **EVENTS) as site:
        site.read(Feed.STATUS, source("2024-10-07T12:00:00.000Z"))
        site.rows(row(f"day:{TODAY}", 107, targets=aims), row("day:2024-10-06", 90))
        for path in ("/api/v1/now?scope=model=SU7", f"/api/v1/calendar/{TODAY}?scope=model=SU7"):
            answer = (await site.get(path)).json()
            shown = answer.get("today", answer)
            assert (shown["goal"]["value"], shown["goal"]["target_id"]) == (250, "plan"), path
            assert [aim["target_id"] for aim in shown["aims"]] == ["least", "plan"]
        for path in ("/?scope=model=SU7", f"/calendar/{TODAY}?scope=model=SU7"):
            page = (await site.get(path)).text
            assert "of 250" in page, path
            assert "of 150" not in page, path
        other = (await site.get("/api/v1/calendar/2024-10-06?scope=model=SU7")).json()
        assert (other["goal"]["rule"], other["goal"]["value"]) == ("daily-150", 150)


async def test_once_its_targets_are_reached_the_greatest_is_shown(tmp_path: Path) -> None:
    aims = [{"target_id": name, "value": value, "reached": True} for name, value in (("a", 90), ("b", 100))]
    with Site(tmp_path) as site:
        site.rows(row(f"day:{TODAY}", 107, targets=aims))
        answer = (await site.get(f"/api/v1/calendar/{TODAY}?scope=model=SU7")).json()
        assert answer["goal"]["target_id"] == "b"


@pytest.mark.parametrize(
    ("zone", "day", "said"),
    [
        ("Europe/Berlin", "2024-10-27", "25 hours"),
        ("Europe/Berlin", "2024-03-31", "23 hours"),
        ("Europe/Berlin", "2024-03-30", None),
        ("Asia/Shanghai", "2024-10-27", None),
    ],
)
async def test_a_day_on_which_clocks_change_says_so(tmp_path: Path, zone: str, day: str, said: str | None) -> None:
    with Site(tmp_path, timezone=zone) as site:
        site.rows(row(f"day:{day}", 7))
        page = (await site.get(f"/calendar/{day}?scope=model=SU7")).text
        assert said in page if said else " hours:" not in page


async def test_milestones_in_the_order_in_which_they_were_noticed_show_when_that_was(tmp_path: Path) -> None:
    late = milestone("late", detected_at="2024-10-09T10:00:00.000Z", achieved_at="2024-10-01T09:00:00+08:00")
    record = milestone("record", detected_at="2024-10-08T16:00:00.000Z", achieved_at=None)
    with Site(tmp_path) as site:
        site.read(Feed.MILESTONES, milestone_record(record), milestone_record(late, 1))
        site.rows()
        page = (await site.get("/milestones")).text
        assert page.index("noticed 2024-10-09 18:00") < page.index("noticed 2024-10-09 00:00")
        assert "achieved 2024-10-01 09:00:00" in page


async def test_every_kind_of_milestone_has_its_sentence_and_its_page_in_both_languages(tmp_path: Path) -> None:
    found = (one for one in OUTPUTS.values() if isinstance(one, MilestoneEvent))
    samples = [one for one in found if one.data.position is not None or one.data.kind in ALERT_KINDS]
    kinds = {"multiple", "streak", "factor", "scope_share", "leader", *ALERT_KINDS}
    assert {one.data.kind for one in samples} >= kinds
    with Site(tmp_path) as site:
        records = [milestone_record(one.model_dump(mode="json"), at) for at, one in enumerate(samples)]
        site.read(Feed.MILESTONES, *records)
        site.rows()
        for language in ("en", "zh"):
            listed = (await site.get(f"/milestones?lang={language}")).text
            for sample in samples:
                told = sentences(language)
                said = [str(escape(told.sentence(sample.data, with_number=whole))) for whole in (False, True)]
                # Sentences on pages begin with a capital; in a list, the number has a column of its own.
                assert f"{said[0][1:]}</a>" in listed, sample.data.kind
                page = await site.get(f"/milestones/{quote(sample.subject, safe='')}?lang={language}")
                assert (page.status_code, f"{said[1][1:]}</h1>" in page.text) == (200, True), sample.data.kind


async def test_the_first_page_shows_the_alerts_that_stand(tmp_path: Path) -> None:
    raised, ended = (
        OUTPUTS[f"vehicle.milestones.v1.{name}"].model_dump(mode="json")
        for name in ("forecast-behind", "forecast-moved")
    )
    with Site(tmp_path) as site:
        site.read(Feed.MILESTONES, milestone_record(raised), milestone_record(ended, 1))
        site.rows(row(f"day:{TODAY}", 7))
        page = (await site.get("/")).text
        alerts = page.partition('id="alerts"')[2].partition("</section>")[0]
        assert "SU7 deliveries: expected to miss the target of 20,000 in October 2024 by 900" in alerts
        assert alerts.count("<li") == 1
        shown = (await site.get("/api/v1/now")).json()
        assert [line["event"]["id"] for line in shown["alerts"]] == [raised["id"]]
        assert shown["alert_count"] == 1
        listed = (await site.get("/api/v1/milestones?show=standing")).json()
        assert [line["event"]["id"] for line in listed["milestones"]] == [raised["id"]]
        assert "预计达不到目标 20,000" in (await site.get("/?lang=zh")).text


async def test_an_alert_that_has_ended_is_not_struck_out_like_what_was_retracted(tmp_path: Path) -> None:
    ended = OUTPUTS["vehicle.milestones.v1.forecast-moved"].model_dump(mode="json")
    retracted = milestone("deliveries/model=SU7/day:2024-10-07/exceeds:5", 2, "retracted")
    with Site(tmp_path) as site:
        site.read(Feed.MILESTONES, milestone_record(ended), milestone_record(retracted, 1))
        site.rows(row(f"day:{TODAY}", 7))
        for path in ("/milestones", "/"):
            classes = re.findall('<li class="(event [^"]*)"', (await site.get(path)).text)
            assert set(classes) <= {"event forecast_moved over", "event threshold gone"}, path
            assert "event threshold gone" in classes, path
        assert "event forecast_moved over" in (await site.get("/milestones")).text


async def test_in_berlin_the_calendar_has_no_chinese_holiday_and_with_a_setting_the_german_ones(tmp_path: Path) -> None:
    for setting, names in (("", []), ("DE", ["german-unity-day"])):
        with Site(tmp_path / setting, timezone="Europe/Berlin", holiday_calendar=setting) as site:
            site.rows(row(f"day:{TODAY}", 7))
            shown = (await site.get("/api/v1/calendar?year=2024")).json()
            found = [each["name"] for each in shown["holidays"] if each["start"].startswith("2024-10")]
            assert found == names
            sorts = {each["date"]: each["sort"] for each in shown["days"]}
            assert (sorts["2024-10-02"], sorts["2024-09-14"]) == ("working", "weekend")


@pytest.mark.parametrize(
    ("path", "code", "said"),
    [
        ("windows?scope=model=NIX", 404, "there is no scope 'model=NIX'; did you mean model=SU7?"),
        ("now?scope=SU7", 404, "did you mean model=SU7?"),
        ("calendar?scope=su7", 404, "did you mean model=SU7?"),
        ("milestones?scope=model=SU", 404, "did you mean model=SU7?"),
        ("windows?metric=delivery", 422, "there is no metric 'delivery'; did you mean deliveries?"),
        ("windows/side-by-side?metric=order", 422, "did you mean orders?"),
        ("windows?period=2024-10", 422, "did you mean month:2024-10?"),
        ("windows?period=days:2024", 422, "did you mean day?"),
        ("windows?foo=1", 422, "there is no parameter 'foo'"),
        ("windows?scopes=model=SU7", 422, "did you mean scope?"),
        ("status?verbose=1", 422, "there is no parameter 'verbose'"),
        ("windows.csv?scope=model=NIX", 404, "there is no scope 'model=NIX'"),
        ("dead-letters?reason=malformed", 422, "did you mean malformed_json?"),
        ("violations?kind=placed_twice", 422, "there is no kind 'placed_twice'"),
    ],
)
async def test_a_name_that_there_is_not_is_refused_with_the_nearest(
    site: Site, path: str, code: int, said: str
) -> None:
    answer = await site.get(f"/api/v1/{path}")
    assert answer.status_code == code
    assert said in answer.json()["detail"]
    if not path.startswith(("windows.", "status", "now")):
        page = await site.get(f"/{path}")
        assert page.status_code == code
        assert said.replace("'", "&#39;") in page.text


#: What looks like a period, and dates beyond those that there are.
ODD_PERIODS = (
    *(
        "day:",
        "day:2024-13-01",
        "day:2024-02-30",
        "day:9999-12-31",
        "month:2024",
        "month:2024-13",
        "month:0000-01",
        "month:9999-12",
    ),
    *(
        "week:2024-W54",
        "week:9999-W52",
        "quarter:2024-Q5",
        "year:0",
        "year:9999",
        "rolling:0d:2024-10-07",
        "rolling:7d:9999-12-31",
    ),
    *("holiday::", "holiday:x:2024", "campaign:", "total:x", "0001-01-01..9999-12-31", "..", "%00"),
)


async def test_no_address_with_a_period_that_there_is_not_fails(tmp_path: Path) -> None:
    with Site(tmp_path, web_rate_per_s=10_000) as site:
        site.rows(row(f"day:{TODAY}", 107))
        for period in ODD_PERIODS:
            given = period if "%" in period else quote(period, safe="")
            for path in (
                f"units?metric=deliveries&scope=model=SU7&period={given}",
                f"search?q={given}",
                f"windows?period={given}",
                f"windows/side-by-side?dimension=model&period={given}",
                f"compare?metric=deliveries&period={given}&period=month:2024-10",
                f"calendar/{given}",
                f"campaigns/{given}",
                f"milestones?day={given}",
            ):
                assert (await site.get(f"/api/v1/{path}")).status_code < 500, path
            # A page also says which part of it is about the period.
            assert (await site.get(f"/windows?period={given}")).status_code < 500, period


@pytest.mark.parametrize(
    "period", ["day:2024-02-30", "month:2024", "month:2024-13", "year:0", "holiday:x:2024", "week:2024-W41"]
)
async def test_units_of_a_period_that_is_none_are_not_said_to_be_0(site: Site, period: str) -> None:
    answer = await site.get(f"/api/v1/units?metric=deliveries&scope=model=SU7&period={period}")
    assert answer.status_code == 404
    assert period.partition(":")[2] in answer.json()["detail"]
    is_one = await site.get("/api/v1/units?metric=deliveries&scope=model=SU7&period=month:2024-09")
    assert (is_one.status_code, is_one.json()["count"]) == (200, 0)


async def test_what_pages_take_besides_their_own_is_no_unknown_name(site: Site) -> None:
    assert (await site.get("/windows?kiosk=1&lang=zh&theme=dark&kind=day")).status_code == 200
    assert (await site.get("/api/v1/windows?lang=zh")).status_code == 422


async def test_a_file_of_rows_has_all_of_them_and_begins_with_a_byte_order_mark(site: Site) -> None:
    rows = [
        row(f"day:{year}-{month:02d}-{day:02d}", 1)
        for year in range(2000, 2012)
        for month in range(1, 13)
        for day in (1, 9)
    ]
    names = [{**each, "scope": f"model=M{number}"} for number in range(12) for each in rows]
    site.rows(*names)
    answer = await site.get("/api/v1/windows.csv?period=day:20&metric=deliveries&limit=5")
    assert answer.content.startswith(b"\xef\xbb\xbfmetric,scope,period")
    assert len(answer.text.splitlines()) == 1 + len(names) + 2
    lines = (await site.get("/api/v1/windows.ndjson?period=day:20")).text.splitlines()
    assert len({(row["scope"], row["period"]) for row in map(json.loads, lines)}) == len(names) + 2


async def test_metrics_tell_counts_targets_milestones_and_silences_by_the_conventions(tmp_path: Path) -> None:
    aim = forecast("month:2024-10", target_id='a"b')
    key = f"deliveries/model=SU7/month:2024-10/{aim['target_id']}".encode()
    with Site(tmp_path, **EVENTS) as site:
        assert "milestones_window_units" not in (await site.get("/metrics")).text, "not everything has been read"
        site.worker()
        site.read(Feed.STATUS, source("2024-10-07T12:00:00.000Z"))
        site.read(Feed.FORECASTS, Record(key, json.dumps(aim).encode()))
        site.read(Feed.MILESTONES, milestone_record(milestone("m")), milestone_record(milestone("n"), 1))
        scopes = [f"model=M{number}" for number in range(120)]
        site.rows(
            row(f"day:{TODAY}", 107),
            row("month:2024-10", 200),
            *(row(f"day:{TODAY}", 1, scope=each) for each in scopes),
        )
        text = (await site.get("/metrics")).text
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert samples['milestones_window_units{metric="deliveries",scope="model=SU7",window="day"}'] == "107"
    assert samples['milestones_window_units{metric="deliveries",scope="model=SU7",window="month"}'] == "200"
    assert samples['milestones_left_out{of="scopes"}'] == "21"
    labels = 'metric="deliveries",scope="model=SU7",period="month:2024-10",target="a\\"b",state="behind"'
    assert samples[f"milestones_target_ahead_units{{{labels}}}"] == "-3893"
    assert samples['milestones_raised_total{kind="threshold",event="raised"}'] == "2"
    assert float(samples['milestones_source_silence_seconds{source="/shops"}']) == 0
    assert_conventions(text)


def assert_conventions(text: str) -> None:
    """What `promtool check metrics` checks."""
    kinds = dict(line.split()[2:4] for line in text.splitlines() if line.startswith("# TYPE"))
    helped = {line.split()[2] for line in text.splitlines() if line.startswith("# HELP")}
    assert kinds.keys() == helped
    for name, kind in kinds.items():
        assert name.endswith("_total") is (kind == "counter"), name
        assert not name.endswith(("_count", "_sum", "_bucket", "_info")), name
    seen = [line.rsplit(" ", 1)[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(seen) == len(set(seen))
    for sample in seen:
        base = re.sub(r"_(bucket|sum|count)$", "", sample.partition("{")[0])
        assert base in kinds or sample.partition("{")[0] in kinds, sample


async def test_an_empty_installation_says_how_to_publish_the_first_event_and_shows_no_number(tmp_path: Path) -> None:
    with Site(tmp_path) as site:
        site.rows()
        for language, title in (
            ("en", "Nothing has been counted yet"),
            ("zh", "\u5c1a\u672a\u8ba1\u5165\u4efb\u4f55\u4e8b\u4ef6"),
        ):
            page = (await site.get("/", accept_language=language)).text
            assert title in page
            assert "milestones publish -" in page
            assert 'class="big"' not in page
        sample = (await site.get("/api/v1/now")).json()["sample"]
    assert isinstance(decode(sample.encode()), Fact)


async def test_the_first_page_has_the_inventory_where_there_is_one_and_production_alone_is_tried_with_a_vehicle(
    tmp_path: Path,
) -> None:
    with Site(tmp_path, families=("orders", "deliveries", "production")) as site:
        site.rows(
            row(f"day:{TODAY}", 107), row("total", 2280, metric="inventory", start="1999-12-31", end="2101-01-01")
        )
        assert [part["count"] for part in (await site.get("/api/v1/now")).json()["parts"]] == [2280]
        page = (await site.get("/")).text
        assert 'data-row="inventory|model=SU7|total">2,280<' in page
        assert "metric=inventory" not in page, "it has no units"
        assert "库存" in (await site.get("/?lang=zh")).text
    with Site(tmp_path, families=("production",)) as site:
        site.rows()
        sample = (await site.get("/api/v1/now")).json()["sample"]
        assert isinstance(decode(sample.encode(), "LNBSU7A10R1000001", topic_number(PRODUCTION, 0)), Fact)
        site.rows(row(f"day:{TODAY}", 107, metric="produced"))
        assert (await site.get("/api/v1/now")).json()["metric"] == "produced"
        assert "Produced today" in (await site.get("/")).text
        assert "今日下线" in (await site.get("/?lang=zh")).text


async def test_where_only_orders_are_counted_the_pages_speak_of_orders(tmp_path: Path) -> None:
    with Site(tmp_path, families=["orders"], clock="events") as site:
        assert (await site.get("/api/v1/status")).status_code == 200
        site.read(Feed.STATUS, source("2024-10-07T12:00:00.000Z"))
        site.rows(*(row(f"{kind}", 107, metric="orders_placed") for kind in (f"day:{TODAY}", "month:2024-10")))
        for language, title in (("en", "Orders placed today"), ("zh", "\u4eca\u65e5")):
            page = (await site.get("/", accept_language=language)).text
            assert title in page
            assert "Deliveries" not in page
            assert "\u4eca\u65e5\u4ea4\u4ed8" not in page
            assert f'data-row="orders_placed|model=SU7|day:{TODAY}">107<' in page
        for path, count in (("calendar?year=2024", "total"), ("units", "count")):
            view = (await site.get(f"/api/v1/{path}{'&' if '?' in path else '?'}scope=model=SU7")).json()
            assert view[count] == 107 if count in view else view["detail"] == "orders cannot be looked up yet"
        compared = (await site.get("/api/v1/compare")).json()
        assert (compared["parameters"]["metric"], compared["lines"][0]["whole"]) == ("orders_placed", 107)


def decode(value: bytes, key: str = "TRY-1", topic: int = 0) -> Fact | Rejection:
    """As a worker reads it."""
    headers = [("content-type", b"application/cloudevents+json")]
    (found,) = decode_batch(
        [Record(key.encode(), value, timestamp=int(time.time() * 1000), headers=headers)],
        topic=topic,
        future_limit_us=300_000_000,
    )
    return found


async def test_each_reason_names_what_it_is_about_and_the_command_that_helps(tmp_path: Path) -> None:
    with Site(tmp_path, bootstrap_servers="kafka-1:9092") as site:
        status = (await site.get("/api/v1/status")).json()
        assert status["causes"][0] == {"reason": "broker", "what": "kafka-1:9092", "command": "milestones doctor"}
        site.worker(ago_s=600)
        site.complete()
        status = (await site.get("/api/v1/status")).json()
        assert status["causes"] == [{"reason": "workers", "what": "w1", "command": "milestones worker"}]
        assert "<code>milestones worker</code>" in (await site.get("/")).text
        site.web.state.missing = ("vehicle.windows.v1",)
        assert "milestones topics apply" in (await site.get("/windows")).text


async def test_an_answer_that_a_program_has_is_not_sent_again_and_the_document_says_how_to_ask(site: Site) -> None:
    first = await site.get("/api/v1/windows")
    etag = first.headers["etag"]
    again = await site.get("/api/v1/windows", if_none_match=etag)
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert (await site.get("/api/v1/windows", if_none_match='W/"other"')).status_code == 200
    assert (await site.get("/api/v1/windows?limit=1", if_none_match=etag)).status_code == 200
    document = (await site.get("/api/v1/openapi.json")).json()
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert document["servers"] == [{"url": "/"}]


async def test_a_range_of_dates_is_shown_on_the_first_page(site: Site) -> None:
    view = (await site.get(f"/api/v1/now?scope=model=SU7&first=2024-10-01&last={TODAY}")).json()
    assert sum(day["count"] for day in view["own"]["days"]) == 107
    page = (await site.get(f"/?scope=model=SU7&first=2024-10-01&last={TODAY}")).text
    assert re.search(r'id="own-count">107<', page)
    assert 'id="own-count"' not in (await site.get("/?scope=model=SU7")).text
    for query in (f"first={TODAY}&last=2024-10-01", "first=2000-01-01&last=2024-01-01"):
        assert (await site.get(f"/?{query}")).status_code == 404, query
    for query in ("/?first=2025-02-30", "/?first=2025-02-01&last=2025-13-01", "/windows?last=0000-01-01"):
        assert (await site.get(query)).status_code == 422, query
        assert (await site.get(query.replace("/", "/api/v1/now" if query[1] == "?" else "/api/v1/"))).status_code == 422
    assert (await site.get("/?first=9999-12-31&last=9999-12-31")).status_code == 200


@pytest.mark.parametrize(("timezone", "said"), [("Asia/Shanghai", "Asia/Shanghai UTC+08:00"), ("UTC", "UTC")])
async def test_every_page_names_the_offset_of_its_times(tmp_path: Path, timezone: str, said: str) -> None:
    with Site(tmp_path, timezone=timezone) as site:
        site.rows(row(f"day:{TODAY}", 1))
        page = (await site.get("/milestones")).text
        assert f"Business time zone: {said}<" in page
        assert f"({said})</p>" in page


async def test_where_days_begin_later_the_business_date_and_the_hours_of_a_day_do(tmp_path: Path) -> None:
    with Site(tmp_path, day_starts="06:00", **EVENTS) as site:
        # Five in the morning of the 8th: the last hour of the 7th.
        site.read(Feed.STATUS, source("2024-10-07T21:30:00.000Z"))
        site.rows(row(f"day:{TODAY}", 107, by_hour=[100, *[0] * 22, 7]), row("day:2024-10-06", 90))
        status = (await site.get("/api/v1/status")).json()
        assert (status["business_date"], status["day_clock"]) == (TODAY, f"{TODAY}T23:30:00")
        assert status["business_now"].startswith("2024-10-08T05:30")
        for path in ("/?scope=model=SU7", f"/calendar/{TODAY}?scope=model=SU7"):
            page = (await site.get(path)).text
            hours = re.findall(r'<th scope="row">([0-9]{2}:00)</th>', page)
            assert (hours[0], hours[-1]) == ("06:00", "05:00"), path
            assert 'data-day-starts="6"' in page
