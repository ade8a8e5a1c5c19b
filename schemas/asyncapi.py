"""The topics and their messages as an AsyncAPI 3.0 document, for tools that read it; made from the catalogue and the models.

Payloads refer to the JSON Schemas next to the document, so that nothing is stated twice. Those schemas use only what JSON Schema
draft 07, which AsyncAPI tools know, and draft 2020-12 have in common.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

from schemas.events import EVENTS, Event
from schemas.facts import REASONS
from schemas.outputs import MILESTONE_HEADERS, ControlHeaders, MilestoneEvent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import BaseModel

    from schemas.topics import Catalogue, Topic

    Document = dict[str, Any]

ASYNCAPI_VERSION: Final = "3.0.0"
BINDING_VERSION: Final = "0.5.0"
FILE_NAME: Final = "asyncapi.json"

#: The version in the names of topics and types; anything incompatible gets another one.
CONTRACT_VERSION: Final = "1"

_PAYLOAD_FORMAT: Final = "application/schema+json;version=draft-07"
_STRUCTURED: Final = MILESTONE_HEADERS[0][1].decode()
_REJECTED: Final = "rejected-record"
_DESCRIPTION: Final = (
    "Orders and deliveries of a car maker are counted by windows of the business calendar, and each milestone that a"
    " window passes is raised exactly once. Read what the service sends with isolation.level=read_committed."
)


def document(catalogue: Catalogue, names: Mapping[type[BaseModel], str]) -> Document:
    """The AsyncAPI document.

    Args:
        catalogue: Its public topics are the channels.
        names: Output model → the name of its schema; schemas of input events are named by their types.

    Raises:
        KeyError: A topic has a model without a name.
    """
    names = {model: name for name, model in EVENTS.items()} | dict(names)
    topics = {topic: [names[model] for model in topic.models] for topic in catalogue.public()}
    messages = {
        names[model]: _message(names[model], model, topic) for topic in reversed(topics) for model in topic.models
    }
    topics[catalogue.dead_letters] = [_REJECTED]
    messages[_REJECTED] = _rejected(catalogue.dead_letters)
    return {
        "asyncapi": ASYNCAPI_VERSION,
        "info": {
            "title": "Milestones",
            "version": CONTRACT_VERSION,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "127.0.0.1:9092",
                "protocol": "kafka",
                "description": "The cluster of the settings; this is the default.",
            }
        },
        "channels": {topic.name: _channel(topic, of_topic) for topic, of_topic in topics.items()},
        "operations": {_operation_name(topic): _operation(topic, of_topic) for topic, of_topic in topics.items()},
        "components": {"messages": dict(sorted(messages.items()))},
    }


def is_source(topic: Topic) -> bool:
    """Whether others publish to the topic, and this service reads it."""
    return bool(topic.models) and all(issubclass(model, Event) for model in topic.models)


def _channel(topic: Topic, messages: Sequence[str]) -> Document:
    return {
        "address": topic.name,
        "description": f"The key of a record, UTF-8: {topic.key}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {key: _setting(key, value) for key, value in topic.configs.items()},
                "bindingVersion": BINDING_VERSION,
            }
        },
    }


def _operation(topic: Topic, messages: Sequence[str]) -> Document:
    channel = f"#/channels/{topic.name}"
    return {
        "action": "receive" if is_source(topic) else "send",
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{name}"} for name in messages],
    }


def _operation_name(topic: Topic) -> str:
    return f"{'receive' if is_source(topic) else 'send'}.{topic.name}"


def _message(name: str, model: type[BaseModel], topic: Topic) -> Document:
    structured = issubclass(model, Event | MilestoneEvent)
    return {
        "name": name,
        "summary": (inspect.getdoc(model) or name).partition("\n")[0],
        "contentType": _STRUCTURED if structured else "application/json",
        "payload": {"schemaFormat": _PAYLOAD_FORMAT, "schema": {"$ref": f"./{name}.json"}},
        "bindings": _key_binding(topic),
    }


def _rejected(topic: Topic) -> Document:
    """The message of the dead-letter topic: unmodified records, so the value has no schema."""
    texts: Document = {name: {"type": "string"} for name in sorted(ControlHeaders.ALL)}
    texts[ControlHeaders.REASON] = {"type": "string", "enum": list(REASONS)}
    return {
        "name": _REJECTED,
        "summary": "A record that is not a valid event: key, value and headers as they came, and why it was rejected.",
        "contentType": "application/octet-stream",
        "headers": {"type": "object", "properties": texts, "required": sorted(ControlHeaders.ALL)},
        "bindings": _key_binding(topic),
    }


def _key_binding(topic: Topic) -> Document:
    return {"kafka": {"key": {"type": "string", "description": topic.key}, "bindingVersion": BINDING_VERSION}}


def _setting(key: str, value: str) -> object:
    """A topic's setting in the type that the Kafka binding requires."""
    if key == "cleanup.policy":
        return value.split(",")
    try:
        return int(value)
    except ValueError:
        return value
