"""What a rejected record says about itself, as far as it can be read: order, event, vehicle."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from schemas.texts import tidy_key

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_PARSED_BYTES: Final = 256 * 1024
_MAX_TEXT: Final = 256


class Said(NamedTuple):
    """What a record names; empty where it does not say."""

    order_id: str
    source: str
    id: str
    vin: str


def said_by(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> Said:
    """What a record names: the key takes precedence over the value, header attributes (binary mode) over those in the value."""
    given = {name.lower(): text.decode("utf-8", "replace") for name, text in headers if text is not None}
    document = _document(value)
    data = document.get("data")
    inner = document if "ce_type" in given or not isinstance(data, dict) else data
    order_id = tidy_key(key or b"").decode("utf-8", "replace") or _text(inner, "order_id")
    return Said(
        order_id[:_MAX_TEXT],
        (given.get("ce_source") or _text(document, "source"))[:_MAX_TEXT],
        (given.get("ce_id") or _text(document, "id"))[:_MAX_TEXT],
        _text(inner, "vin")[:_MAX_TEXT],
    )


def _document(value: bytes | None) -> dict[str, Any]:
    if not value or len(value) > _MAX_PARSED_BYTES:
        return {}
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(document: dict[str, Any], name: str) -> str:
    found = document.get(name)
    return found.strip() if isinstance(found, str) else ""
