"""JSON Schemas of every public model: `python -m schemas.export DIR` writes them.

Those of input events say what is accepted, those of outputs what is written. What they cannot say stands in the
contract: the year and the offset of a time, the key of a record, the size and depth of a text.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic.json_schema import GenerateJsonSchema

from schemas import outputs
from schemas.events import EVENTS

if TYPE_CHECKING:
    from pydantic import BaseModel

DIALECT: Final = GenerateJsonSchema.schema_dialect

#: Output models by the name of their schema: the topic's, and of status records whose they are.
OUTPUTS: Final[dict[str, type[BaseModel]]] = {
    "vehicle.windows.v1": outputs.WindowRow,
    "vehicle.milestones.v1": outputs.MilestoneEvent,
    "vehicle.violations.v1": outputs.ViolationRecord,
    "vehicle.status.v1.partition": outputs.PartitionStatus,
    "vehicle.status.v1.worker": outputs.WorkerStatus,
    "vehicle.status.v1.source": outputs.SourceStatus,
}


def json_schemas() -> dict[str, dict[str, Any]]:
    """Every JSON Schema by name: the `type` of an input event, the topic of an output."""
    schemas = {name: _input(name, model) for name, model in EVENTS.items()}
    schemas |= {name: _output(model) for name, model in OUTPUTS.items()}
    return {name: {"$schema": DIALECT, **schema} for name, schema in schemas.items()}


def files() -> dict[str, str]:
    """File name -> text, as `schemas/json/` holds them."""
    return {
        f"{name}.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        for name, schema in json_schemas().items()
    }


def export(directory: Path) -> None:
    """Writes the files; others in the directory are left alone.

    Raises:
        OSError: The directory cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (directory / name).write_text(text, encoding="utf-8")


def _input(name: str, model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(mode="validation")
    # The models give these themselves when an event is made; an event that is read must have them.
    schema["required"] = ["specversion", *schema["required"], "type"]
    schema["properties"]["type"] = {"const": name, "type": "string"}
    return schema


def _output(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(mode="serialization")
    # Fields with a default are written as well, but for those that are left out where they say nothing.
    schema["required"] = [name for name, field in model.model_fields.items() if field.exclude_if is None]
    return schema


def main(arguments: list[str]) -> int:
    """Writes the schemas into the directory that is the one argument."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m schemas.export DIR\n")
        return 2
    export(Path(arguments[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
