"""The Kafka binding of CloudEvents 1.0: where a record has the attributes of its event.

A content-type `application/cloudevents...` means structured mode: the value is the event. Otherwise a `ce_specversion` header means
binary mode: attributes are in `ce_` headers and the value is the data. Otherwise the value is tried as structured, which is more
lenient than the binding. Header names are case-insensitive, and `ce-` is accepted for `ce_`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from schemas.events import Event, is_json
from schemas.texts import SPACES

#: Headers of a Kafka record, in order; a name may occur more than once.
Headers = Iterable[tuple[str, bytes | None]]

CONTENT_TYPE: Final = "content-type"
STRUCTURED: Final = b"application/cloudevents"
BATCH: Final = b"application/cloudevents-batch"

_ATTRIBUTE_OF: Final = {
    CONTENT_TYPE: "datacontenttype",
    # All other attributes are unknown extensions.
    **{f"ce_{name}": name for name in Event.model_fields if name not in {"data", "datacontenttype"}},
}


class HeaderError(ValueError):
    """A relevant header is given twice with different values, or is not text."""


class BatchError(ValueError):
    """The value is a batch of events, according to its content type."""


def canonical_name(name: str) -> str:
    """A header's name in lower case, with `ce_` for `ce-`: several libraries write the names as in HTTP."""
    small = name.lower()
    return f"ce_{small[3:]}" if small.startswith("ce-") else small


def is_structured(headers: Headers) -> bool:
    """Whether the record's value is the whole event.

    Raises:
        HeaderError: The content-type is given twice with different values.
        BatchError: The content-type is that of a batch.
    """
    content_types = {
        value.strip().lower() for name, value in headers if value is not None and name.lower() == CONTENT_TYPE
    } - {b""}
    if len(content_types) > 1:
        raise HeaderError(f"header {CONTENT_TYPE}: given twice with two values; wanted: one")
    for content_type in content_types:
        if content_type.startswith(BATCH):
            raise BatchError("a batch of events by its content-type; wanted: one event a record")
        if content_type.startswith(STRUCTURED):
            return True
    return not any(canonical_name(name) == "ce_specversion" and value is not None for name, value in headers)


def attributes_of(headers: Headers) -> dict[str, Any]:
    """The attributes of an event in binary mode, as strings; empty ones count as absent.

    Raises:
        HeaderError: An attribute is given twice with different values or is not UTF-8, or the data are not JSON.
    """
    attributes: dict[str, Any] = {}
    for name, value in headers:
        header = canonical_name(name)
        attribute = _ATTRIBUTE_OF.get(header)
        if attribute is None or not value:
            continue
        try:
            text = value.decode("utf-8").strip(SPACES)
        except UnicodeDecodeError:
            raise HeaderError(f"header {header}: not UTF-8; wanted: text in UTF-8") from None
        if text and attributes.setdefault(attribute, text) != text:
            raise HeaderError(f"header {header}: given twice with two values; wanted: one")
    if not is_json(attributes.get("datacontenttype", "application/json")):
        raise HeaderError(f"header {CONTENT_TYPE}: not a media type of JSON; wanted: application/json, and JSON data")
    return attributes
