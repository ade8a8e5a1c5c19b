"""JSON Schemas of every public model and the AsyncAPI document: `python -m schemas.export DIR` writes them.

Schemas of input events say what is accepted, those of outputs what is written. The contract says what they cannot: the year and the
offset of a time, the key of a record, the size and depth of a text.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic.json_schema import GenerateJsonSchema

from schemas import asyncapi, outputs
from schemas.compatibility import Change, ContractChange, asyncapi_changes, schema_changes
from schemas.events import EVENTS
from schemas.topics import Catalogue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

DIALECT: Final = GenerateJsonSchema.schema_dialect

#: Output models by the name of their schema: that of the topic and, for status records, of what they are about.
OUTPUTS: Final[dict[str, type[BaseModel]]] = {
    "vehicle.windows.v1": outputs.WindowRow,
    "vehicle.milestones.v1": outputs.MilestoneEvent,
    "vehicle.forecasts.v1": outputs.Forecast,
    "vehicle.violations.v1": outputs.ViolationRecord,
    "vehicle.status.v1.partition": outputs.PartitionStatus,
    "vehicle.status.v1.worker": outputs.WorkerStatus,
    "vehicle.status.v1.source": outputs.SourceStatus,
    "vehicle.status.v1.topic": outputs.TopicStatus,
}


def json_schemas() -> dict[str, dict[str, Any]]:
    """Every JSON Schema by name: the `type` of an input event, the topic of an output."""
    schemas = {name: _input(name, model) for name, model in EVENTS.items()}
    schemas |= {name: _output(model) for name, model in OUTPUTS.items()}
    return {name: {"$schema": DIALECT, **schema} for name, schema in schemas.items()}


def asyncapi_document() -> dict[str, Any]:
    """The AsyncAPI document of an installation that counts everything, with default names and numbers."""
    return asyncapi.document(Catalogue(production=()), {model: name for name, model in OUTPUTS.items()})


def documents() -> dict[str, dict[str, Any]]:
    """File name -> JSON document, as `schemas/json/` holds them."""
    return {f"{name}.json": schema for name, schema in json_schemas().items()} | {
        asyncapi.FILE_NAME: asyncapi_document()
    }


def files() -> dict[str, str]:
    """File name -> text, as `schemas/json/` holds them."""
    return {name: json.dumps(document, indent=2, ensure_ascii=False) + "\n" for name, document in documents().items()}


def export(directory: Path) -> None:
    """Writes the files; others in the directory are left alone.

    Raises:
        OSError: The directory cannot be written to.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (directory / name).write_text(text, encoding="utf-8")


def read(directory: Path) -> dict[str, dict[str, Any]]:
    """What an export has written to a directory: file name -> document. Other files are left out.

    Raises:
        OSError: The directory or a file cannot be read.
        ValueError: A file is not a JSON object; the message names it.
    """
    found = {}
    for path in sorted(directory.glob("*.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is not JSON: {error}") from None
        if isinstance(document, dict) and ("$schema" in document or "asyncapi" in document):
            found[path.name] = document
    return found


def differences(old: Mapping[str, dict[str, Any]]) -> list[ContractChange]:
    """How the models and the catalogue differ from exported documents, in the order of the file names.

    Args:
        old: File name -> document.

    Raises:
        ValueError: A document does not have the form of an exported one; the message names it.
    """
    new = documents()
    return [
        ContractChange(name.removesuffix(".json"), *change)
        for name in sorted(old.keys() | new.keys())
        for change in _changes(name, old.get(name), new.get(name))
    ]


def _changes(name: str, old: dict[str, Any] | None, new: dict[str, Any] | None) -> list[Change]:
    if old is None:
        return [Change("", "the document is new", compatible=True)]
    if new is None:
        return [Change("", "the document is gone", compatible=False)]
    try:
        if name == asyncapi.FILE_NAME:
            return asyncapi_changes(old, new)
        return schema_changes(old, new, is_input=name.removesuffix(".json") in EVENTS)
    except (KeyError, TypeError, AttributeError):
        raise ValueError(f"{name} has not the form of a document that was exported here") from None


def _input(name: str, model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(mode="validation")
    # The models fill these in when an event is made; an event that is read must have them.
    schema["required"] = ["specversion", *schema["required"], "type"]
    schema["properties"]["type"] = {"const": name, "type": "string"}
    return schema


def _output(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(mode="serialization")
    # Fields with a default are written too, except those that are left out when they say nothing.
    schema["required"] = [name for name, field in model.model_fields.items() if field.exclude_if is None]
    return schema


def main(arguments: list[str]) -> int:
    """Writes the schemas to the directory given as the only argument."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m schemas.export DIR\n")
        return 2
    export(Path(arguments[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
