"""Golden bytes: what has ever been on a topic stays readable, and what is written does not change."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from schemas import codec, export
from schemas.events import EVENTS, BalanceSet, CampaignSet, CampaignWithdrawn, ControlTotal, TargetSet, TargetWithdrawn
from schemas.told import decode_told, encode_told
from tests.contract.builders import Record, by_authority, decoded, key_of
from tests.contract.goldens import DAY_COUNT, FACTS, MARKER, MARKER_OF_SEVERAL, MARKER_OF_TOLD, OUTPUTS, SAMPLES, TOLD

if TYPE_CHECKING:
    from collections.abc import Callable

    from schemas.outputs import ViolationRecord

TARGETS: dict[str, type[TargetSet | TargetWithdrawn]] = {
    "target.set.v1": TargetSet,
    "target.withdrawn.v1": TargetWithdrawn,
}
CONTROL = "control.total.v1"
BALANCE = "balance.set.v1"
CAMPAIGNS = ("campaign.set.v1", "campaign.withdrawn.v1")
INTERNAL = (
    "internal.day-count",
    "internal.marker",
    "internal.marker.several-topics",
    "internal.marker.told",
    "internal.told",
)
SCHEMAS = export.json_schemas()


def sample(name: str) -> bytes:
    return (SAMPLES / f"{name}.json").read_bytes()


def encode_violation_record(record: ViolationRecord) -> bytes:
    return codec.encode_violations(record.order_id, record.violations)


CODERS: dict[str, tuple[Callable[[Any], bytes], Callable[[bytes], Any]]] = {
    "vehicle.windows": (codec.encode_row, codec.decode_row),
    "vehicle.milestones": (codec.encode_milestone, codec.decode_milestone),
    "vehicle.forecasts": (codec.encode_forecast, codec.decode_forecast),
    "vehicle.violations": (encode_violation_record, codec.decode_violations),
    "vehicle.status": (codec.encode_status, lambda value: value),
}


def coder(name: str) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    return CODERS[name.partition(".v1")[0]]


def schema_of(name: str) -> dict[str, Any]:
    """The schema with a sample's name, else that of its topic."""
    return SCHEMAS.get(name) or SCHEMAS[name.partition(".v1")[0] + ".v1"]


def test_every_type_and_version_has_a_sample_and_every_sample_is_tested() -> None:
    found = {path.name.removesuffix(".json") for path in SAMPLES.iterdir()}
    assert found == {*FACTS, *TARGETS, BALANCE, *CAMPAIGNS, CONTROL, *OUTPUTS, *INTERNAL}
    assert set(SCHEMAS) <= {name if name in SCHEMAS else name.rpartition(".")[0] for name in found}


@pytest.mark.parametrize("name", FACTS)
def test_a_sample_event_becomes_the_same_fact_for_ever(name: str) -> None:
    record = Record(sample(name), key=key_of(name), timestamp=1_728_400_000_000)  # after all of them
    topic = FACTS[name].topic
    assert decoded(record, topic=topic) == FACTS[name]
    assert by_authority(record, topic=topic) == FACTS[name]


@pytest.mark.parametrize("name", TARGETS)
def test_a_sample_target_is_read_as_its_model(name: str) -> None:
    target = codec.decode_target(
        Record(sample(name), key=b"su7-2024-10", timestamp=1_800_000_000_000), future_limit_us=0
    )
    assert isinstance(target, TARGETS[name])
    assert target.data.target_id == "su7-2024-10"


def test_the_sample_opening_balance_is_read_as_its_model() -> None:
    record = Record(sample(BALANCE), key=b"deliveries/all/total", timestamp=1_728_400_000_000)
    balance = codec.decode_target(record, future_limit_us=0)
    assert isinstance(balance, BalanceSet)
    assert (balance.data.count, balance.data.period) == (480_000, "total")


def test_the_sample_campaign_is_read_as_its_model() -> None:
    announced, withdrawn = (
        codec.decode_target(
            Record(sample(name), key=b"campaign:yu7-launch", timestamp=1_800_000_000_000), future_limit_us=0
        )
        for name in CAMPAIGNS
    )
    assert isinstance(announced, CampaignSet)
    assert isinstance(withdrawn, CampaignWithdrawn)
    assert announced.data.campaign == withdrawn.data.campaign == "yu7-launch"
    assert announced.data.end is not None
    assert (announced.data.end - announced.data.start).total_seconds() == 24 * 3600
    assert announced.data.scopes == [["model"], []]


def test_the_sample_control_total_is_read_as_its_model() -> None:
    record = Record(sample(CONTROL), key=b"deliveries/model=SU7/day:2024-10-07", timestamp=1_728_400_000_000)
    control = codec.decode_control(record, future_limit_us=0)
    assert isinstance(control, ControlTotal)
    assert (control.data.count, control.data.label) == (1045, "handed over")


@pytest.mark.parametrize("name", [*FACTS, *TARGETS, BALANCE, *CAMPAIGNS, CONTROL])
def test_a_publisher_writes_an_event_as_the_sample_has_it(name: str) -> None:
    model = EVENTS[name]
    assert codec.encode_event(model.model_validate_json(sample(name))) == sample(name)


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_is_written_to_exactly_the_golden_bytes(name: str) -> None:
    encode, _ = coder(name)
    assert encode(OUTPUTS[name]) == sample(name)


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_golden_output_is_read_as_its_model(name: str) -> None:
    if name.startswith("vehicle.status"):
        kind = name.rpartition(".")[2].encode()
        assert codec.decode_status(kind + b"/x", sample(name)) == OUTPUTS[name]
    else:
        _, decode = coder(name)
        assert decode(sample(name)) == OUTPUTS[name]


def test_internal_records_are_written_and_read_as_the_samples_have_them() -> None:
    assert codec.encode_day_count(DAY_COUNT) == sample("internal.day-count")
    assert codec.decode_day_count(sample("internal.day-count")) == DAY_COUNT
    assert codec.encode_marker(MARKER) == sample("internal.marker")
    assert codec.decode_marker(sample("internal.marker")) == MARKER
    assert codec.encode_marker(MARKER_OF_SEVERAL) == sample("internal.marker.several-topics")
    assert codec.decode_marker(sample("internal.marker.several-topics")) == MARKER_OF_SEVERAL
    assert codec.encode_marker(MARKER_OF_TOLD) == sample("internal.marker.told")
    assert codec.decode_marker(sample("internal.marker.told")) == MARKER_OF_TOLD
    assert encode_told(TOLD) == sample("internal.told")
    assert decode_told(sample("internal.told")) == TOLD


# JSON Schemas -------------------------------------------------------------------------------------------------------


def test_the_checked_in_schemas_are_those_of_the_models() -> None:
    directory = SAMPLES.parent / "json"
    found = {path.name: path.read_text(encoding="utf-8") for path in directory.iterdir()}
    assert found == export.files(), "run: python -m schemas.export schemas/json"


def test_the_export_writes_what_is_checked_in(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert export.main([str(tmp_path / "new")]) == 0
    assert {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "new").iterdir()} == export.files()
    assert export.main([]) == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_is_a_valid_schema(name: str) -> None:
    schemas = jsonschema.Draft202012Validator(jsonschema.Draft202012Validator.META_SCHEMA)
    assert list(schemas.iter_errors(SCHEMAS[name])) == []


@pytest.mark.parametrize("name", [*FACTS, *TARGETS, CONTROL, *OUTPUTS])
def test_samples_validate_and_with_a_required_field_less_they_do_not(name: str) -> None:
    validator = jsonschema.Draft202012Validator(schema_of(name))
    document = json.loads(sample(name))
    validator.validate(document)
    for field in schema_of(name)["required"]:
        with pytest.raises(jsonschema.ValidationError):
            validator.validate({key: value for key, value in document.items() if key != field})


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_holds_only_what_its_schema_describes(name: str) -> None:
    assert set(json.loads(sample(name))) <= set(schema_of(name)["properties"])


@pytest.mark.parametrize(
    ("field", "value"), [("vin", "LNBSU7A10R100012O"), ("model", "SU\n7"), ("order_id", ""), ("variant", "x" * 65)]
)
def test_the_schema_of_an_event_refuses_what_the_codec_refuses(field: str, value: str) -> None:
    document = json.loads(sample("vehicle.delivered.v1"))
    document["data"][field] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMAS["vehicle.delivered.v1"]).validate(document)
