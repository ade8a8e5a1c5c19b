"""An earlier export against today's models: which changes are compatible, and which are not."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from schemas import export
from schemas.compatibility import Change, ContractChange, asyncapi_changes, schema_changes
from streams.cli import group
from streams.errors import ExpectedError

CODE = {"type": "string", "pattern": "^[a-z]+$"}
BASE: dict[str, Any] = {
    "title": "Order",
    "properties": {
        "id": CODE,
        "count": {"type": "integer", "minimum": 1},
        "state": {"enum": ["open", "closed"], "type": "string"},
        "label": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        "data": {"$ref": "#/$defs/Data"},
        "list": {"type": "array", "items": {"type": "integer"}, "maxItems": 24},
        "map": {"type": "object", "additionalProperties": {"type": "integer"}},
    },
    "required": ["id", "count", "state", "data"],
    "$defs": {"Data": {"type": "object", "properties": {"vin": CODE}, "required": ["vin"]}},
    "type": "object",
}


def changed(*path: str, **values: Any) -> dict[str, Any]:
    """The schema with changed values at a path; `None` removes one."""
    schema: dict[str, Any] = json.loads(json.dumps(BASE))  # so that no part is in two places
    place = schema
    for name in path:
        place = place[name]
    for name, value in values.items():
        if value is None:
            del place[name]
        else:
            place[name] = value
    return schema


FIELD = ("properties",)
# (new schema, where, as an input, as an output)
CASES: dict[str, tuple[dict[str, Any], str, bool, bool]] = {
    "a new optional field": (changed("properties", new=CODE), "new", True, True),
    "a field that is gone": (changed("properties", label=None), "label", False, False),
    "an inner field that is gone": (changed("$defs", Data={"type": "object"}), "data.vin", False, False),
    "a field that is required now": (changed(required=[*BASE["required"], "label"]), "label", False, True),
    "a field that is required no more": (changed(required=["id", "count", "state"]), "data", True, False),
    "a higher minimum": (changed("properties", "count", minimum=2), "count", False, True),
    "a lower minimum": (changed("properties", "count", minimum=0), "count", True, False),
    "no minimum any more": (changed("properties", "count", minimum=None), "count", True, False),
    "a new maximum": (changed("properties", "count", maximum=9), "count", False, True),
    "fewer elements": (changed("properties", "list", maxItems=12), "list", False, True),
    "more elements": (changed("properties", "list", maxItems=25), "list", True, False),
    "another type": (changed("properties", "count", type="string"), "count", False, False),
    "a wider type": (changed("properties", "count", type="number"), "count", True, False),
    "another type of elements": (changed("properties", "list", items={"type": "string"}), "list[]", False, False),
    "another type of members": (
        changed("properties", "map", additionalProperties={"type": "string"}),
        "map.*",
        False,
        False,
    ),
    "another pattern": (changed("$defs", "Data", "properties", vin={"type": "string"}), "data.vin", False, False),
    "a value that is gone": (changed("properties", "state", enum=["open"]), "state", False, False),
    "a new value": (changed("properties", "state", enum=["open", "closed", "lost"]), "state", True, False),
    "any value instead of listed ones": (changed("properties", "state", enum=None), "state", True, False),
    "listed values instead of any": (changed("properties", "id", enum=["a"]), "id", False, True),
    "null no more": (changed("properties", label={"type": "string", "default": None}), "label", False, True),
    "null as well": (changed("properties", id={"anyOf": [CODE, {"type": "null"}]}), "id", True, False),
    "another default": (changed("properties", "label", default="none"), "label", False, False),
    "another keyword": (changed("properties", "count", multipleOf=2), "count", False, False),
    "another title": (changed(title="An order"), "", True, True),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("is_input", [True, False], ids=["input", "output"])
def test_each_change_is_found_at_its_place_and_judged_from_its_side(name: str, is_input: bool) -> None:
    new, where, as_input, as_output = CASES[name]
    (change,) = schema_changes(BASE, new, is_input=is_input)
    assert (change.where, change.compatible) == (where, as_input if is_input else as_output), change.what


def test_a_new_required_field_breaks_publishers_only() -> None:
    new = changed("properties", new=CODE)
    new["required"] = [*new["required"], "new"]
    for is_input in (True, False):
        (change,) = schema_changes(BASE, new, is_input=is_input)
        assert change.where == "new"
        assert change.compatible is not is_input


def test_a_new_type_of_event_is_compatible_for_readers() -> None:
    old = {"properties": {"type": {"enum": ["a.v1"], "type": "string"}}}
    new = {"properties": {"type": {"enum": ["a.v1", "b.v1"], "type": "string"}}}
    assert [change.compatible for change in schema_changes(old, new, is_input=False)] == [True]


def test_names_of_definitions_and_the_order_of_fields_change_nothing_for_others() -> None:
    new = copy.deepcopy(BASE)
    new["$defs"] = {"Fields": new["$defs"]["Data"]}
    new["properties"]["data"] = {"$ref": "#/$defs/Fields"}
    (change,) = schema_changes(BASE, new, is_input=True)
    assert change.compatible
    assert schema_changes(BASE, copy.deepcopy(BASE), is_input=True) == []


# AsyncAPI -----------------------------------------------------------------------------------------------------------

TODAY = export.asyncapi_document()


def edited(edit: str) -> dict[str, Any]:
    """An earlier document with one difference from today's."""
    document = copy.deepcopy(TODAY)
    channel = document["channels"]["vehicle.windows.v1"]
    kafka = channel["bindings"]["kafka"]
    if edit == "a topic is gone":
        document["channels"]["vehicle.former.v1"] = channel
    elif edit == "a topic is new":
        del document["channels"]["vehicle.windows.v1"]
    elif edit == "a message is gone":
        channel["messages"]["vehicle.former.v1"] = {}
    elif edit == "a message is new":
        channel["messages"].clear()
    elif edit == "another key":
        channel["description"] = "The key of a record, UTF-8: period."
    elif edit == "another number of partitions":
        kafka["partitions"] = 2
    elif edit == "another cleanup":
        kafka["topicConfiguration"]["cleanup.policy"] = ["delete"]
    elif edit == "another size of segments":
        kafka["topicConfiguration"]["segment.ms"] = 1
    elif edit == "another content type":
        document["components"]["messages"]["vehicle.windows.v1"]["contentType"] = "text/plain"
    else:
        document["info"]["title"] = edit
    return document


@pytest.mark.parametrize(
    ("edit", "compatible"),
    [
        ("a topic is gone", False),
        ("a topic is new", True),
        ("a message is gone", False),
        ("a message is new", True),
        ("another key", False),
        ("another number of partitions", False),
        ("another cleanup", False),
        ("another size of segments", True),
        ("another content type", False),
        ("another title", True),
    ],
)
def test_each_change_of_topics_and_messages_is_found_and_judged(edit: str, compatible: bool) -> None:
    changes = asyncapi_changes(edited(edit), TODAY)
    assert [change.compatible for change in changes] == [compatible], changes


def test_the_same_document_has_not_changed() -> None:
    assert asyncapi_changes(copy.deepcopy(TODAY), TODAY) == []


# The commands -------------------------------------------------------------------------------------------------------


def run(*arguments: str) -> Any:
    return CliRunner().invoke(group, ["contracts", *arguments])


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    result = run("export", str(tmp_path / "new"))
    assert result.exit_code == 0
    assert sorted(result.stdout.split()) == sorted(str(path) for path in (tmp_path / "new").iterdir())
    return tmp_path / "new"


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_export_is_what_the_module_exports_and_what_is_checked_in(exported: Path) -> None:
    """The documents in the repository are those that the command writes."""
    checked_in = Path(export.__file__).parent / "json"
    for directory in (exported, checked_in):
        found = {path.name: path.read_text() for path in directory.iterdir()}
        assert found == export.files(), "run: python -m schemas.export schemas/json"


def test_a_check_without_a_directory_compares_what_comes_with_the_program() -> None:
    result = run("check")
    assert (result.exit_code, result.stdout) == (0, "")


def test_each_change_is_a_line_and_the_exit_code_is_1(exported: Path) -> None:
    rewrite(exported / "order.placed.v1.json", '"channel"', '"way"')
    (exported / "target.set.v1.json").unlink()
    (exported / "order.former.v1.json").write_text((exported / "order.placed.v1.json").read_text())
    result = run("check", str(exported))
    assert result.stdout.splitlines() == [
        "incompatible: order.former.v1: the document is gone",
        "incompatible: order.placed.v1: data.way: the field is gone",
        "compatible: order.placed.v1: data.channel: a new optional field",
        "compatible: target.set.v1: the document is new",
    ]
    assert isinstance(result.exception, ExpectedError)
    assert result.exception.exit_code == 1
    assert str(result.exception) == "4 changes, 2 incompatible"


def test_compatible_changes_can_be_passed_over(exported: Path) -> None:
    (exported / "target.set.v1.json").unlink()
    assert run("check", str(exported)).exit_code != 0
    result = run("check", "--incompatible-only", str(exported))
    assert (result.exit_code, result.stdout) == (0, "")


def test_other_files_in_the_directory_are_left_alone(exported: Path) -> None:
    (exported / "package.json").write_text('{"name": "not ours"}')
    (exported / "notes.txt").write_text("not ours")
    assert run("export", str(exported)).exit_code == 0
    assert run("check", str(exported)).exit_code == 0
    assert (exported / "notes.txt").read_text() == "not ours"


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("order.placed.v1.json", "{", "is not JSON"),
        ("order.placed.v1.json", '{"$schema": "x", "properties": {"data": {"$ref": "#/gone"}}}', "has not the form"),
        ("asyncapi.json", '{"asyncapi": "2.6.0"}', "has not the form"),
    ],
)
def test_what_cannot_be_compared_is_one_line_and_2(exported: Path, name: str, text: str, line: str) -> None:
    (exported / name).write_text(text)
    result = run("check", str(exported))
    assert isinstance(result.exception, ExpectedError)
    assert result.exception.exit_code == 2
    assert line in str(result.exception)


def test_a_directory_without_an_export_or_that_cannot_be_written_is_one_line_and_2(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for arguments in (
        ("check", str(tmp_path)),
        ("check", str(tmp_path / "absent")),
        ("export", str(tmp_path / "file/x")),
    ):
        result = run(*arguments)
        assert isinstance(result.exception, ExpectedError), arguments
        assert result.exception.exit_code == 2


def test_a_change_is_a_tuple_that_reads_as_a_line() -> None:
    change = Change("data.vin", "the field is gone", compatible=False)
    assert str(ContractChange("x.v1", *change)) == "incompatible: x.v1: data.vin: the field is gone"
    assert json.dumps(change) == '["data.vin", "the field is gone", false]'
