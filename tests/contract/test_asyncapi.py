"""The document is valid AsyncAPI 3.0 and agrees with the catalogue on every topic."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from schemas import asyncapi, export
from schemas.events import DELIVERY_EVENTS, EVENTS
from schemas.facts import REASONS
from schemas.outputs import ControlHeaders
from schemas.topics import Catalogue
from tests.contract.goldens import OUTPUTS, SAMPLES

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = export.asyncapi_document()
CHANNELS = DOCUMENT["channels"]
MESSAGES = DOCUMENT["components"]["messages"]
PUBLIC = {topic.name: topic for topic in Catalogue(production=()).public()}
READ = {
    "vehicle.orders.v1",
    "vehicle.deliveries.v1",
    "vehicle.production.v1",
    "vehicle.targets.v1",
    "vehicle.controls.v1",
}

#: What each object of AsyncAPI 3.0 must and may have, as far as the document uses them.
OBJECTS = {
    "document": ({"asyncapi", "info"}, {"defaultContentType", "servers", "channels", "operations", "components"}),
    "info": ({"title", "version"}, {"description", "license"}),
    "server": ({"host", "protocol"}, {"description"}),
    "channel": (set(), {"address", "description", "messages", "bindings"}),
    "operation": ({"action", "channel"}, {"messages"}),
    "message": (set(), {"name", "summary", "contentType", "headers", "payload", "bindings"}),
    "payload": ({"schemaFormat", "schema"}, set()),
    "channel binding": (set(), {"topic", "partitions", "topicConfiguration", "bindingVersion"}),
    "message binding": (set(), {"key", "bindingVersion"}),
}


def objects() -> Iterator[tuple[str, Any]]:
    yield "document", DOCUMENT
    yield "info", DOCUMENT["info"]
    yield from (("server", server) for server in DOCUMENT["servers"].values())
    yield from (("operation", operation) for operation in DOCUMENT["operations"].values())
    for channel in CHANNELS.values():
        yield "channel", channel
        yield "channel binding", channel["bindings"]["kafka"]
    for message in MESSAGES.values():
        yield "message", message
        yield "message binding", message["bindings"]["kafka"]
        if "payload" in message:
            yield "payload", message["payload"]


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            assert set(node) == {"$ref"}, "nothing may be next to a reference"
            yield node["$ref"]
        for member in node.values():
            yield from references(member)
    elif isinstance(node, list):
        for member in node:
            yield from references(member)


def resolved(reference: str) -> Any:
    place: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        place = place[part]
    return resolved(place["$ref"]) if isinstance(place, dict) and "$ref" in place else place


def test_every_object_has_what_asyncapi_asks_for_and_nothing_it_does_not_know() -> None:
    for kind, found in objects():
        required, optional = OBJECTS[kind]
        assert required <= set(found) <= required | optional, kind
    assert DOCUMENT["asyncapi"] == "3.0.0"
    names = re.compile(r"[a-zA-Z0-9._-]+")
    assert all(names.fullmatch(name) for name in (*MESSAGES, *DOCUMENT["operations"], *CHANNELS))


def test_every_reference_leads_somewhere() -> None:
    found = list(references(DOCUMENT))
    assert len(found) > 30
    files = export.files()
    for reference in found:
        if reference.startswith("./"):
            assert reference.removeprefix("./") in files
        else:
            assert resolved(reference)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_channel_says_what_the_catalogue_says(name: str) -> None:
    topic, channel = PUBLIC[name], CHANNELS[name]
    kafka = channel["bindings"]["kafka"]
    assert channel["address"] == kafka["topic"] == name
    assert kafka["partitions"] == topic.partitions
    texts = {
        key: ",".join(value) if isinstance(value, list) else str(value)
        for key, value in kafka["topicConfiguration"].items()
    }
    assert texts == dict(topic.configs)
    assert topic.key in channel["description"]
    assert channel["messages"], "a channel carries something"
    for message in channel["messages"]:
        assert MESSAGES[message]["bindings"]["kafka"]["key"]["description"] == topic.key


def test_the_channels_are_the_public_topics_and_nothing_internal() -> None:
    assert list(CHANNELS) == list(PUBLIC)
    assert "internal" not in json.dumps(CHANNELS)


def test_the_service_receives_what_others_publish_and_sends_the_rest() -> None:
    """An operation has all messages of its channel, and refers to them through the channel."""
    assert len(DOCUMENT["operations"]) == len(PUBLIC)
    for operation in DOCUMENT["operations"].values():
        channel = operation["channel"]["$ref"].removeprefix("#/channels/")
        assert operation["action"] == ("receive" if channel in READ else "send")
        assert [message["$ref"] for message in operation["messages"]] == [
            f"#/channels/{channel}/messages/{name}" for name in CHANNELS[channel]["messages"]
        ]


def test_each_message_is_named_after_its_schema_and_events_are_cloudevents() -> None:
    assert set(MESSAGES) == {*export.json_schemas(), "rejected-record"}
    for name, message in MESSAGES.items():
        assert message["name"] == name
        if name in EVENTS or name == "vehicle.milestones.v1":
            assert message["contentType"] == "application/cloudevents+json"
        elif name != "rejected-record":
            assert message["contentType"] == "application/json"
    assert list(CHANNELS["vehicle.deliveries.v1"]["messages"]) == [
        model.model_fields["type"].default for model in DELIVERY_EVENTS
    ]


def test_a_rejected_record_is_described_by_its_headers() -> None:
    headers = MESSAGES["rejected-record"]["headers"]
    jsonschema.Draft7Validator.check_schema(headers)
    assert set(headers["required"]) == set(headers["properties"]) == ControlHeaders.ALL
    assert headers["properties"][ControlHeaders.REASON]["enum"] == list(REASONS)
    assert "payload" not in MESSAGES["rejected-record"], "the payload of a rejected record is unknown"


@pytest.mark.parametrize("name", export.json_schemas())
def test_a_payload_schema_means_the_same_to_tools_that_know_draft_07_only(name: str) -> None:
    """AsyncAPI tools read JSON Schema draft 07, so schemas must not use keywords of later drafts."""
    schema = export.json_schemas()[name]
    jsonschema.Draft7Validator.check_schema(schema)
    later = {
        "prefixItems",
        "unevaluatedProperties",
        "unevaluatedItems",
        "dependentRequired",
        "dependentSchemas",
        "$dynamicRef",
        "minContains",
    }
    assert not later & set(re.findall(r'"([$a-zA-Z]+)":', json.dumps(schema)))
    assert MESSAGES[name]["payload"]["schemaFormat"] == "application/schema+json;version=draft-07"
    for sample in (sample for sample in (*EVENTS, *OUTPUTS) if sample.startswith(name)):
        jsonschema.Draft7Validator(schema).validate(json.loads((SAMPLES / f"{sample}.json").read_bytes()))


def test_a_model_without_a_name_is_not_passed_over() -> None:
    with pytest.raises(KeyError):
        asyncapi.document(Catalogue(), {})
