"""The Kafka binding of CloudEvents 1.0: where the attributes of a record's event are.

A content-type `application/cloudevents...` means structured mode: the value is the event. Else a `ce_specversion`
header means binary mode: attributes are in `ce_` headers and the value is the data. Else the value is tried as
structured, which is more lenient than the binding.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from schemas.events import Event, is_json

#: Headers of a Kafka record, in their order; the same name may occur again.
Headers = Iterable[tuple[str, bytes | None]]

CONTENT_TYPE: Final = "content-type"
STRUCTURED: Final = b"application/cloudevents"

_ATTRIBUTE_OF: Final = {
    CONTENT_TYPE: "datacontenttype",
    # All other attributes are unknown extensions.
    **{f"ce_{name}": name for name in Event.model_fields if name not in {"data", "datacontenttype"}},
}


class HeaderError(ValueError):
    """A header that matters is given twice, or is not text."""


def is_structured(headers: Headers) -> bool:
    """Whether the record's value is the whole event.

    Raises:
        HeaderError: The content-type is given twice.
    """
    content_types = [value for name, value in headers if name.lower() == CONTENT_TYPE and value is not None]
    if len(content_types) > 1:
        raise HeaderError(f"header {CONTENT_TYPE} is given twice")
    if content_types and content_types[0].strip().lower().startswith(STRUCTURED):
        return True
    return not any(name == "ce_specversion" and value is not None for name, value in headers)


def attributes_of(headers: Headers) -> dict[str, Any]:
    """The attributes of an event in binary mode, typed as in structured mode.

    Raises:
        HeaderError: An attribute is given twice, is not UTF-8, or is not of its type; or the data are not JSON.
    """
    attributes: dict[str, Any] = {}
    for name, value in headers:
        header = CONTENT_TYPE if name.lower() == CONTENT_TYPE else name
        attribute = _ATTRIBUTE_OF.get(header)
        if attribute is None or value is None:
            continue
        if attribute in attributes:
            raise HeaderError(f"header {header} is given twice")
        try:
            attributes[attribute] = value.decode("utf-8")
        except UnicodeDecodeError:
            raise HeaderError(f"header {header} is not UTF-8") from None
    if not is_json(attributes.get("datacontenttype", "application/json")):
        raise HeaderError(f"header {CONTENT_TYPE}: the data must be JSON")
    if "backfill" in attributes:
        attributes["backfill"] = _boolean(attributes["backfill"])
    return attributes


def _boolean(text: str) -> bool:
    if text not in {"true", "false"}:
        raise HeaderError("header ce_backfill is neither true nor false")
    return text == "true"
