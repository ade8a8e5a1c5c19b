"""The contract's events are read as it says, its outputs have the bytes it shows, and its tables are complete."""

from __future__ import annotations

import gzip
import itertools
import json
import re
import tomllib
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import jsonschema
import msgspec
import pytest

from schemas import codec, export, outputs, strict_json
from schemas.authority import MAX_RECORD_BYTES
from schemas.counts import decode_counts_key
from schemas.events import (
    CONTROL_EVENTS,
    DELIVERY_EVENTS,
    EVENTS,
    ORDER_EVENTS,
    PRODUCTION_EVENTS,
    TARGET_EVENTS,
    CampaignEvent,
    CampaignSet,
    CampaignWithdrawn,
    ControlTotal,
    PlanEvent,
    canonical_scope,
)
from schemas.facts import (
    DELIVERIES,
    FAMILIES,
    METRICS,
    ORDERS,
    PRODUCTION,
    REASONS,
    Fact,
    Kind,
    Rejection,
    family_of,
    topic_number,
    type_of,
)
from schemas.instants import format_instant, micros_of, parse_instant
from schemas.texts import scope_names
from schemas.topics import DAY_MS, SOURCE_MAX_BYTES, Catalogue, Topic
from schemas.wrappers import WRAPPERS
from streams.audit.sums import Business
from streams.domain.announced.announcements import Announcement, CampaignBook, campaign_change_of
from streams.domain.ledger import Ledger
from streams.domain.scopes.scopes import Scopes
from streams.domain.time.calendar import WINDOWS
from streams.domain.time.campaigns import Campaign, Campaigns
from streams.domain.time.zone import MINUTE_US, BusinessZone, hour_of_cell
from streams.events.table_files import read_mapping
from streams.holidays import calendar_of, load_calendar
from streams.settings import Settings
from streams.settings_sections import ValueSettings
from streams.tables import KNOWN_COLUMNS
from tests.contract.builders import FUTURE_LIMIT_US, STRUCTURED, Record
from tests.contract.document import Block, blocks, blocks_of, codes, rows_of, tables, text
from tests.contract.test_golden_samples import coder
from tests.domain.facts import told
from tests.support.count_keys import encode_day_key

if TYPE_CHECKING:
    from collections.abc import Iterable

#: What blocks of code may be; each kind has a test here or in the other tests of the document.
KNOWN_BLOCKS = (
    r"json event accepted( orders| deliveries| production| targets| controls)+",
    rf"(json event|record) rejected (orders|deliveries|production|targets|controls) ({'|'.join(REASONS)})",
    r"record accepted (orders|deliveries|production|targets|controls)",
    r"json output [a-z0-9.-]+ key=\S+",
    r"milestones",
    r"forecasts",
    r"toml settings( built-in| demo| rejected: .+)?",
    r"json holidays",
    r"sh( run)?",
    r"toml mapping",
)
#: Checks of tables, here or in the other tests of the document.
KNOWN_CHECKS = {
    "topics",
    "types",
    "taken-as",
    "limits",
    "identity",
    "dead-letter-headers",
    "reasons",
    "wrappers",
    "orders",
    "vehicles",
    "violations",
    "dates",
    "windows",
    "rolling",
    "campaigns",
    "announced-campaigns",
    "day-starts",
    "metrics",
    "scope-ids",
    "listed-values",
    "kinds",
    "milestone-types",
    "alert-ends",
    "forecast-states",
    "forecast-qualities",
    "settings",
    "commands",
    "exit-codes",
    "list-columns",
    "corrections",
}
TOPICS = {
    "orders": ORDER_EVENTS,
    "deliveries": DELIVERY_EVENTS,
    "production": PRODUCTION_EVENTS,
    "targets": TARGET_EVENTS,
    "controls": CONTROL_EVENTS,
}
OF_MODEL = {model: name for name, model in (EVENTS | export.OUTPUTS).items()}
SCHEMAS = export.json_schemas()


def ids(found: Iterable[Block]) -> list[str]:
    return [str(block) for block in found]


def test_every_block_and_every_table_of_the_document_is_checked() -> None:
    """A block or a table that no test knows would be an unchecked claim."""
    for block in blocks():
        assert any(re.fullmatch(known, block.info) for known in KNOWN_BLOCKS), block
    assert sorted(table.check for table in tables()) == sorted(KNOWN_CHECKS)


# Events -------------------------------------------------------------------------------------------------------------


def record_of(block: Block) -> Record:
    """The record of a block: structured JSON with its own key, or key, headers and value as written."""
    if block.info.startswith("json"):
        data = json.loads(block.text).get("data", {}) if "rejected" not in block.info else loosely(block.text)
        key = (
            data.get("order_id")
            or data.get("target_id")
            or data.get("vin")
            or ("campaign" in data and f"campaign:{data['campaign']}")
            or "/".join((data.get("metric", ""), data.get("scope", ""), data.get("period", "total")))
        )
        return Record(block.text.encode(), key.encode(), STRUCTURED, after(block.text))
    head, _, value = block.text.partition("\n\n")
    pairs = [(name, text.strip()) for name, _, text in (line.partition(":") for line in head.splitlines())]
    lines = dict(pairs)
    key, appended = lines.get("key"), lines.get("append-time")
    return Record(
        value.encode(),
        key.encode() if key else None,
        tuple((name, text.encode()) for name, text in pairs if name not in {"key", "append-time"}),
        micros_of(parse_instant(appended)) // 1000 if appended else after(block.text),
    )


def loosely(value: str) -> dict[str, Any]:
    match = re.search(r'"(order_id|target_id)": ?"([^"]+)"', value)
    return {match[1]: match[2]} if match else {}


def after(value: str) -> int:
    """An append time, ms, right after the event's time."""
    match = re.search(r'(?:"time": ?"|ce[_-]time: )([^"\n]+)', value)
    try:
        return micros_of(parse_instant(match[1])) // 1000 + 1 if match else 0
    except ValueError:
        return 0


def read(record: Record, topic: str) -> Fact | PlanEvent | ControlTotal | Rejection:
    if topic == "targets":
        return codec.decode_target(record, future_limit_us=FUTURE_LIMIT_US)
    if topic == "controls":
        return codec.decode_control(record, future_limit_us=FUTURE_LIMIT_US)
    number = topic_number(FAMILIES.index(topic), 0)
    (outcome,) = codec.decode_batch([record], topic=number, future_limit_us=FUTURE_LIMIT_US)
    return outcome


ACCEPTED = [*blocks_of("json", "event", "accepted"), *blocks_of("record", "accepted")]
REJECTED = [*blocks_of("json", "event", "rejected"), *blocks_of("record", "rejected")]


@pytest.mark.parametrize("block", ACCEPTED, ids=ids(ACCEPTED))
def test_an_event_of_the_document_is_accepted_on_its_topics_and_on_no_other(block: Block) -> None:
    topics = block.info.partition("accepted ")[2].split()
    for topic in TOPICS:
        outcome = read(record_of(block), topic)
        if topic in topics:
            assert not isinstance(outcome, Rejection), outcome
        else:
            assert isinstance(outcome, Rejection)
            assert outcome.reason == "wrong_topic"


@pytest.mark.parametrize("block", blocks_of("json", "event", "accepted"), ids=str)
def test_an_accepted_event_of_the_document_keeps_to_the_schema_of_its_type(block: Block) -> None:
    document = json.loads(block.text)
    jsonschema.Draft202012Validator(SCHEMAS[document["type"]]).validate(document)


def test_every_type_of_event_has_an_example_that_is_accepted() -> None:
    shown = {json.loads(block.text)["type"] for block in blocks_of("json", "event", "accepted")}
    assert shown == set(EVENTS)


def test_a_fact_knows_the_type_of_its_event() -> None:
    shown = set()
    for block in blocks_of("json", "event", "accepted"):
        for topic in set(FAMILIES) & set(block.info.split()):
            fact = read(record_of(block), topic)
            assert isinstance(fact, Fact)
            assert type_of(fact) == json.loads(block.text)["type"]
            shown.add(Kind(fact.kind))
    assert shown == set(Kind)


@pytest.mark.parametrize("block", REJECTED, ids=ids(REJECTED))
def test_a_rejected_record_of_the_document_is_rejected_for_its_reason(block: Block) -> None:
    *_, topic, reason = block.info.split()
    outcome = read(record_of(block), topic)
    assert isinstance(outcome, Rejection)
    assert outcome.reason == reason


def test_the_two_modes_of_the_document_are_one_event() -> None:
    """The first structured and binary examples are one event, and so are those of history."""
    structured = blocks_of("json", "event", "accepted")
    first, otherwise, history = blocks_of("record", "accepted")
    assert read(record_of(first), "deliveries") == read(record_of(structured[0]), "deliveries")
    assert read(record_of(otherwise), "deliveries") == read(record_of(structured[0]), "deliveries")
    (loaded,) = [block for block in structured if '"backfill":true' in block.text]
    fact = read(record_of(history), "orders")
    assert fact == read(record_of(loaded), "orders")
    assert cast("Fact", fact).backfill


@pytest.mark.parametrize(("change", "outcome"), rows_of("identity"), ids=lambda cell: cell)
def test_an_event_that_comes_again_is_what_the_document_says(change: str, outcome: str) -> None:
    first = json.loads(blocks_of("json", "event", "accepted")[0].text)
    patch = json.loads(codes(change)[0])
    again = {**first, **patch, "data": {**first["data"], **patch.get("data", {})}}
    ledger = Ledger(BusinessZone("Asia/Shanghai"), Scopes())
    for document in (first, again):
        value = json.dumps(document)
        key = document["data"]["order_id"].encode()
        fact = read(Record(value.encode(), key, STRUCTURED, after(value)), "deliveries")
        assert isinstance(fact, Fact)
        applied = ledger.apply([fact])
    refused = f"`{applied.refused[0][1]}`" if applied.refused else ""
    assert outcome == (refused or ("a duplicate" if applied.duplicates else "another event"))


@pytest.mark.parametrize(("change", "outcome"), rows_of("taken-as"), ids=lambda cell: cell[:60])
def test_what_libraries_write_is_taken_as_the_document_says(change: str, outcome: str) -> None:
    first = json.loads(blocks_of("json", "event", "accepted")[0].text)
    patch = json.loads(change.strip("`"))
    data = patch.get("data", {})
    if isinstance(data, dict):
        data = {**first["data"], **data}
    value = json.dumps({**first, **patch, "data": data}).encode()
    key, appended = first["data"]["order_id"].encode(), after(json.dumps(first))
    fact = read(Record(value, key, STRUCTURED, appended), "deliveries")
    same = read(Record(json.dumps(first).encode(), key, STRUCTURED, appended), "deliveries")
    assert isinstance(same, Fact)
    if outcome == "the same event":
        assert fact == same
    elif outcome.startswith("another instant: "):
        assert fact == msgspec.structs.replace(same, time_us=micros_of(parse_instant(outcome.split(": ", 1)[1])))
    else:
        reason, words = outcome.split(": ", 1)
        assert isinstance(fact, Rejection)
        assert f"`{fact.reason}`" == reason
        assert words in fact.message


# Outputs ------------------------------------------------------------------------------------------------------------

OUTPUTS = blocks_of("json", "output")


@pytest.mark.parametrize("block", OUTPUTS, ids=str)
def test_an_output_of_the_document_is_written_to_the_same_bytes_under_the_same_key(block: Block) -> None:
    _, _, topic, key = block.info.split(" ")
    key = key.removeprefix("key=")
    document = json.loads(block.text)
    name = f"{topic}.{key.partition('/')[0]}" if topic == "vehicle.status.v1" else topic
    jsonschema.Draft202012Validator(SCHEMAS[name]).validate(document)
    assert set(document) <= set(SCHEMAS[name]["properties"])
    compact = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    model = export.OUTPUTS[name].model_validate_json(compact)
    assert coder(topic)[0](model) == compact
    assert key_of(topic, model) == key


def key_of(topic: str, model: Any) -> str:
    if topic == "vehicle.status.v1":
        names: dict[type, tuple[str, str]] = {
            outputs.PartitionStatus: ("partition", "partition"),
            outputs.WorkerStatus: ("worker", "name"),
            outputs.SourceStatus: ("source", "source"),
            outputs.TopicStatus: ("topic", "topic"),
        }
        name, field = names[type(model)]
        return f"{name}/{getattr(model, field)}"
    holder = model.data if hasattr(model, "data") else model
    (wanted,) = [found.key for found in Catalogue().public() if found.name == topic]
    return "/".join(getattr(holder, field) for field in wanted.split("/"))


def test_every_output_has_an_example() -> None:
    shown = set()
    for block in OUTPUTS:
        topic, key = block.info.split()[2], block.info.partition("key=")[2]
        shown.add(f"{topic}.{key.partition('/')[0]}" if topic == "vehicle.status.v1" else topic)
    assert shown == set(export.OUTPUTS)


# Tables -------------------------------------------------------------------------------------------------------------


def cleanup_of(topic: Topic) -> str:
    policy = topic.configs["cleanup.policy"]
    if policy == "compact":
        return policy
    days = int(topic.configs["retention.ms"]) / DAY_MS
    return f"{policy}, kept for ever" if days < 0 else f"{policy}, {days:g} days"


def test_the_table_of_topics_is_the_catalogue() -> None:
    keyed_by_order, keyed_by_window = 7, 3
    expected = []
    for topic in Catalogue(partitions=keyed_by_order, totals_partitions=keyed_by_window, production=()).public():
        values = ", ".join(f"`{OF_MODEL[model]}`" for model in topic.models) or "`rejected-record`"
        partitions = {keyed_by_order: "P", keyed_by_window: "T"}.get(topic.partitions, str(topic.partitions))
        expected.append((f"`{topic.name}`", topic.key, values, partitions, cleanup_of(topic)))
    assert rows_of("topics") == tuple(expected)


def test_the_document_names_the_internal_topics_and_the_sizes_of_the_catalogue() -> None:
    internal = {topic.name for topic in Catalogue(output_prefix="<output_prefix>").all() if topic.internal}
    prefix = "milestones.internal.<output_prefix>"
    assert all(name.startswith(prefix) for name in internal)
    named = set(re.findall(rf"`({re.escape(prefix)}[a-z]*)`", text()))
    assert prefix in named
    assert named - {prefix} <= internal
    assert len(named) > 1
    for size in (SOURCE_MAX_BYTES, MAX_RECORD_BYTES):
        assert f"{size:,}" in text()


def test_the_table_of_types_is_what_the_models_ask_for() -> None:
    expected = []
    for name, model in EVENTS.items():
        data = cast("Any", model.model_fields["data"].annotation)
        fields = {name: f"`{name}`" for name in data.model_fields}
        required = ", ".join(fields[name] for name, field in data.model_fields.items() if field.is_required())
        optional = ", ".join(fields[name] for name, field in data.model_fields.items() if not field.is_required())
        topics = ", ".join(topic for topic, models in TOPICS.items() if model in models)
        expected.append((f"`{name}`", topics, required, optional))
    assert rows_of("types") == tuple(expected)


def test_the_limits_are_those_of_the_program() -> None:
    ledger = Ledger(BusinessZone("Asia/Shanghai"), Scopes())
    numbers = [MAX_RECORD_BYTES, strict_json.MAX_DEPTH, ledger._max_events, Settings().future_limit_s]
    assert [row[1] for row in rows_of("limits")] == [f"{number:,}" for number in numbers]


def test_the_headers_of_a_dead_letter_are_all_there() -> None:
    assert {codes(row[0])[0] for row in rows_of("dead-letter-headers")} == outputs.ControlHeaders.ALL


def test_the_reasons_are_all_there_and_those_the_codec_gives_have_an_example_but_for_size_and_depth() -> None:
    assert [codes(row[0])[0] for row in rows_of("reasons")] == list(REASONS)
    with_state = {"too_many_events", "id_conflict", "beyond_limits", "quarantined"}
    shown = {block.info.split()[-1] for block in REJECTED}
    assert shown == set(REASONS) - with_state - {"too_large", "too_deep"} - IN_BYTES.keys()


#: Encodings that a page cannot show as text: some bytes of each.
IN_BYTES = {
    "schema_registry": b"\0\0\0\0\x0c{}",
    "utf_16": '{"specversion":"1.0"}'.encode("utf-16"),
    "compressed": gzip.compress(b"{}"),
    "messagepack": b"\x82\xabspecversion\xa31.0\xa2id\xa11",
    "avro": b"\xc3\x01\x12\x34\x56\x78\x9a\xbc\xde\xf0\x06foo",
    "protobuf": b"\x0a\x041.0a\x12\x01x\x1a\x01y",
}


def test_every_wrapper_has_a_reason_of_its_own_and_says_what_the_publisher_changes() -> None:
    assert {codes(reason)[0]: (seen, cure) for seen, reason, cure in rows_of("wrappers")} == WRAPPERS
    samples = {block.info.split()[-1]: record_of(block) for block in REJECTED}
    for reason, (seen, cure) in WRAPPERS.items():
        record = samples[reason] if reason in samples else Record(IN_BYTES[reason])
        outcome = read(record, "orders")
        assert isinstance(outcome, Rejection)
        assert outcome.reason == reason
        assert seen in outcome.message
        assert cure in outcome.message


def test_the_violations_and_their_messages_are_all_there() -> None:
    assert {codes(kind)[0]: message for kind, message in rows_of("violations")} == outputs.VIOLATION_MESSAGES


def test_the_metrics_are_all_there() -> None:
    assert [codes(row[0])[0] for row in rows_of("metrics")] == list(METRICS)


@pytest.mark.parametrize(("model", "scope"), rows_of("scope-ids"))
def test_the_id_of_a_scope_is_what_the_document_says_and_names_its_model(model: str, scope: str) -> None:
    (name,), (expected,) = codes(model), codes(scope)
    value = json.dumps({**json.loads(blocks_of("json", "event", "accepted")[1].text)})
    document = json.loads(value)
    document["data"]["model"] = name
    fact = read(
        Record(json.dumps(document).encode(), document["data"]["order_id"].encode(), STRUCTURED, after(value)), "orders"
    )
    assert isinstance(fact, Fact)
    assert Scopes().scopes_of(fact.dims) == (expected, "all")
    assert Business(Settings()).scopes_at(fact.dims, fact) == (expected, "all")
    assert scope_names(expected) == [name]
    assert canonical_scope(expected) == expected
    assert decode_counts_key(encode_day_key(1, "orders", expected, date(2024, 7, 3))).day == (
        "orders",
        expected,
        date(2024, 7, 3),
    )


@pytest.mark.parametrize(("model", "scope"), rows_of("listed-values"))
def test_a_value_that_is_not_listed_counts_as_another(model: str, scope: str) -> None:
    (name,), (expected,) = codes(model), codes(scope)
    values = ValueSettings(model=("SU7", "SU7 Ultra"))
    dims = (name, "", "", "")
    assert Scopes(values=values.listed()).scopes_of(dims) == (expected, "all")
    assert Business(Settings(values=values)).scopes_of(dims, date(2024, 10, 7)) == (expected, "all")


@pytest.mark.parametrize("row", rows_of("dates"), ids=lambda row: row[0])
def test_an_instant_counts_in_the_periods_of_the_document(row: tuple[str, str]) -> None:
    zone = BusinessZone(Settings().timezone)
    day = zone.date_of(micros_of(parse_instant(row[0])))
    periods = load_calendar(Settings().holidays, zone).periods_of(day)
    assert {period.id for period in periods} == set(codes(row[1]))


@pytest.mark.parametrize("row", rows_of("windows"), ids=lambda row: f"{row[1]} {row[2]}")
def test_a_date_counts_in_the_window_of_the_document(row: tuple[str, ...]) -> None:
    kind, period_id = codes(row[0])[0], codes(row[3])[0]
    changed = tomllib.loads("\n".join(codes(row[1])))
    calendar = calendar_of(Settings(windows=tuple({"day", kind}), **changed))
    found = next(period for period in calendar.periods_of(date.fromisoformat(row[2])) if period.kind == kind)
    assert (found.id, found.start.isoformat(), found.end.isoformat()) == (period_id, row[4], row[5])
    assert calendar.period(period_id) == found


@pytest.mark.parametrize("row", rows_of("day-starts"), ids=lambda row: row[0])
def test_an_instant_is_of_the_business_date_of_the_document(row: tuple[str, ...]) -> None:
    settings = Settings(timezone=row[1], day_starts="06:00", holidays=())
    zone, time_us = BusinessZone(settings.timezone, settings.day_starts_hour), micros_of(parse_instant(row[0]))
    assert (zone.date_of(time_us).isoformat(), hour_of_cell(zone.cell_of(time_us))) == (row[2], int(row[3]))
    local = Business(settings).local(time_us)
    assert (local.date().isoformat(), local.hour) == (row[2], int(row[3]))
    day = calendar_of(settings).period(f"day:{row[2]}")
    assert zone.first_us(day.start) <= time_us < calendar_of(settings).ends_at_us(day)


def test_a_date_is_in_the_rolling_windows_of_the_document() -> None:
    settings = Settings.model_validate({"rolling": ({"days": 3},)})
    found = calendar_of(settings).rolling_of(date(2024, 10, 7), 3)
    told = [(codes(period)[0], first, last) for period, first, last in rows_of("rolling")]
    assert [(each.id, each.start.isoformat(), each.end.isoformat()) for each in found] == told
    for each in found:
        assert calendar_of(settings).period(each.id) == each
    assert Business(settings).periods_at(date(2024, 10, 7), "all")[-3:] == found
    assert Business(settings).periods_at(date(2024, 10, 7), "model=SU7") == Business(settings).periods_of(
        date(2024, 10, 7)
    )


@pytest.mark.parametrize("row", rows_of("campaigns"), ids=lambda row: row[0])
def test_an_instant_is_in_the_minute_of_a_campaign_that_the_document_says(row: tuple[str, ...]) -> None:
    settings = Settings.model_validate(
        {"campaign": ({"name": "su7-launch", "start": "2024-03-28T22:00:00+08:00", "hours": 24},)}
    )
    time_us, minute = micros_of(parse_instant(row[0])), None if row[1] == "none" else int(row[1])
    (campaign,) = settings.campaigns
    assert campaign.minute_of(time_us) == minute
    assert [number for _, number in Campaigns([campaign]).at(time_us // MINUTE_US)] == (
        [] if minute is None else [minute]
    )
    (span,) = Business(settings).campaigns
    assert span.minute_of(time_us) == minute


def _said(text: str) -> Campaign | None:
    """The campaign that a cell describes, on one evening; None if none is counted."""
    found = re.fullmatch(r".*?(\d\d:\d\d) (?:to (\d\d:\d\d)|for 7 days)", text) or re.fullmatch(
        r"set from (\d\d:\d\d)()", text
    )
    if found is None:
        assert text in ("withdrawn", "not at all"), text
        return None
    start_us = micros_of(parse_instant(f"2026-03-01T{found[1]}:00Z"))
    end = f"2026-03-01T{found[2]}:00Z" if found[2] else "2026-03-08T20:00:00Z"
    return Campaign("spring-sale", start_us, micros_of(parse_instant(end)), ((),))


def _event_of_campaign(time: str, event_id: str, text: str) -> CampaignEvent:
    said = _said(text)
    data: dict[str, Any] = {"campaign": "spring-sale"}
    if said is not None:
        data["start"] = format_instant(datetime.fromtimestamp(said.start_us / 1e6, UTC))
        data |= {"end": format_instant(datetime.fromtimestamp(said.end_us / 1e6, UTC))} if " to " in text else {}
    document = {
        "specversion": "1.0", "id": event_id, "source": "/plan", "data": data, "time": f"2026-03-01T{time}:00Z",
        "type": "campaign.set.v1" if said is not None else "campaign.withdrawn.v1",
    }  # fmt: skip
    value = json.dumps(document)
    event = read(Record(value.encode(), b"campaign:spring-sale", STRUCTURED, after(value)), "targets")
    assert isinstance(event, CampaignSet | CampaignWithdrawn), event
    return event


@pytest.mark.parametrize("known", range(1, len(rows_of("announced-campaigns")) + 1))
def test_which_campaign_is_counted_is_what_the_document_says_in_whatever_order_the_events_come(known: int) -> None:
    settings, *rows = rows_of("announced-campaigns")[:known]
    of_settings = _said(settings[2])
    assert of_settings is not None
    wanted = _said((rows or [settings])[-1][3])
    events = [_event_of_campaign(time, codes(event_id)[0], text) for time, event_id, text, _ in rows]
    for order in itertools.islice(itertools.permutations(events), 720):
        book = CampaignBook(["spring-sale"], 100)
        for event in order:
            book.take(campaign_change_of(event, ((),)))
        found = Announcement(1, book.decided).beside([of_settings])
        assert list(found) == ([wanted] if wanted is not None else [])


def test_the_table_of_windows_has_every_kind() -> None:
    assert tuple(dict.fromkeys(codes(row[0])[0] for row in rows_of("windows"))) == WINDOWS


def test_the_mapping_of_the_document_is_one() -> None:
    (block,) = blocks_of("toml", "mapping")
    assert read_mapping(block.text.encode()).columns == {"order_id": "订单号", "vin": "车架号", "time": "交付时间"}


def test_the_names_of_columns_are_all_there() -> None:
    shown = {name: codes(kind)[0] for kind, names in rows_of("list-columns") for name in codes(names)}
    assert shown == KNOWN_COLUMNS


# One order's events -------------------------------------------------------------------------------------------------

VINS = {"A": "LNBSU7A10R1000123", "B": "LNBSU7A10R1000999"}
KINDS = {
    "placed": Kind.PLACED,
    "cancelled": Kind.CANCELLED,
    "delivered": Kind.DELIVERED,
    "reversed": Kind.REVERSED,
    "produced": Kind.PRODUCED,
    "scrapped": Kind.SCRAPPED,
}
_EVENT = re.compile(
    rf"(?:(?P<id>[a-z0-9]+): )?(?:(?P<kind>{'|'.join(KINDS)})|void of (?P<of>[a-z0-9]+))"
    r" (?P<day>\d\d-\d\d)(?: (?P<vin>[AB]))?"
)
NOON = timedelta(hours=4)  # in Shanghai, of UTC
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def fact_of(words: str) -> Fact:
    """The fact of an event such as `d2: delivered 10-06 B`."""
    match = _EVENT.fullmatch(words)
    assert match, words
    kind = KINDS[match["kind"]] if match["kind"] else Kind.VOIDED
    moment = datetime.strptime(f"2024-{match['day']}", "%Y-%m-%d").replace(tzinfo=UTC) + NOON
    return Fact(
        kind=int(kind),
        order_id="SO-1",
        source="/s",
        id=match["id"] or kind.name.lower()[0],
        time_us=(moment - EPOCH) // timedelta(microseconds=1),
        vin=VINS[match["vin"]] if match["vin"] else "",
        dims=("SU7", "", "", "") if kind in {Kind.PLACED, Kind.DELIVERED, Kind.PRODUCED} else ("", "", "", ""),
        extra="",
        voids=("/s", match["of"]) if match["of"] else None,
        backfill=False,
        topic=_topic_of(kind, has_vin=match["vin"] is not None),
        partition=0,
        offset=0,
    )


def _topic_of(kind: Kind, *, has_vin: bool) -> int:
    if kind in {Kind.DELIVERED, Kind.REVERSED}:
        return topic_number(DELIVERIES, 0)
    return topic_number(PRODUCTION if has_vin else ORDERS, 0)


@pytest.mark.parametrize("row", rows_of("orders"), ids=lambda row: row[0])
def test_an_orders_events_count_as_the_document_says_in_every_order_of_arrival(row: tuple[str, ...]) -> None:
    _, events, counts, violations = row
    facts = [fact_of(words) for words in events.split("; ")]
    for arrival in itertools.permutations(facts):
        ledger = Ledger(BusinessZone("Asia/Shanghai"), Scopes([[]]))
        for fact in arrival:
            assert ledger.apply([fact, fact]).duplicates == 1
            ledger.drain()
        counted = [
            f"{metric} {day:%m-%d}" for (metric, _, day), count in ledger.counts().items() for _ in range(count.count)
        ]
        assert sorted(counted) == sorted(filter(None, counts.split(", ")))
        found = ledger.violations().get("SO-1", ())
        assert [violation.kind for violation in found] == codes(violations)


def _of_vehicle(fact: Fact) -> Fact:
    """The fact under its VIN if it is an event of production."""
    of_production = family_of(fact.topic) == PRODUCTION
    return msgspec.structs.replace(fact, order_id=fact.vin) if of_production else fact


@pytest.mark.parametrize("row", rows_of("vehicles"), ids=lambda row: row[0])
def test_deliveries_are_judged_by_production_as_the_document_says_in_every_order_of_arrival(
    row: tuple[str, ...],
) -> None:
    _, events, violations = row
    facts = [_of_vehicle(fact_of(words)) for words in events.split("; ")]
    for arrival in itertools.permutations(facts):
        ledger = Ledger(BusinessZone("Asia/Shanghai"), Scopes([[]]), orders_known=False, produced_since_us=0)
        for fact in arrival:
            ledger.apply([fact])
            deliveries = ledger.drain().deliveries
            ledger.hear(told(deliveries))
            ledger.drain()
        # Among the order's events, only the second delivery is a contradiction.
        found = [each for vin in VINS.values() for each in ledger.violations().get(vin, ())]
        assert [(each.kind, each.order_id) for each in found] == [(kind, "SO-1") for kind in codes(violations)]


def test_every_kind_of_violation_is_in_a_row_about_events() -> None:
    shown = {kind for row in rows_of("orders") for kind in codes(row[3])}
    shown |= {kind for row in rows_of("vehicles") for kind in codes(row[2])}
    assert shown == set(outputs.VIOLATION_MESSAGES)
