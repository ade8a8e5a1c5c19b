"""Finds what has changed between two versions of the exported documents, and whether others have to change as well.

Inputs and outputs are judged from opposite sides. Publishers are safe if everything that was accepted still is; readers are safe
if everything that is written now could have been written before. What cannot be judged, such as a changed pattern, counts as
incompatible: a person has to decide.

Two changes are incompatible for either side, because they change what a document means rather than its form: a value that has left
a list of values, and a field that no longer exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Schema = dict[str, Any]

#: Keywords that only inform people.
_ANNOTATIONS: Final = frozenset({"title", "description", "examples", "$schema", "$defs", "$comment", "deprecated"})
#: Limit → whether a greater number is stricter.
_LIMITS: Final = {
    "minimum": True,
    "minLength": True,
    "minItems": True,
    "maximum": False,
    "maxLength": False,
    "maxItems": False,
}
_STRUCTURE: Final = frozenset(
    {"$ref", "anyOf", "properties", "required", "items", "additionalProperties", "enum", "const", "type"}
)
#: Settings of a topic that readers or publishers depend on; the others are the cluster's business.
_TOPIC_PROMISES: Final = ("cleanup.policy", "message.timestamp.type")


class ContractChange(NamedTuple):
    """One change.

    Attributes:
        document: File name without its extension.
        where: Path of fields in it; "" for the whole.
        what: The change in words.
        compatible: Whether no one else has to change.
    """

    document: str
    where: str
    what: str
    compatible: bool

    def __str__(self) -> str:
        verdict = "compatible" if self.compatible else "incompatible"
        return f"{verdict}: {self.document}: {f'{self.where}: ' if self.where else ''}{self.what}"


class Change(NamedTuple):
    """One change within a document."""

    where: str
    what: str
    compatible: bool


def schema_changes(old: Schema, new: Schema, *, is_input: bool) -> list[Change]:
    """What has changed between two JSON Schemas, in the order of the old one's fields.

    Args:
        old: The schema as exported.
        new: The schema of the current models.
        is_input: Whether others write such documents and this service reads them; else the reverse.
    """
    return list(_Comparison(old, new, is_input=is_input).changes())


def asyncapi_changes(old: Schema, new: Schema) -> list[Change]:
    """What has changed between two AsyncAPI documents: channels, their messages, keys and settings."""
    changes = list(_members("channel", old["channels"], new["channels"]))
    for name, channel in old["channels"].items():
        if name in new["channels"]:
            where = f"channel {name}"
            changes += [
                Change(where, change.what, change.compatible)
                for change in _members("message", channel["messages"], new["channels"][name]["messages"])
            ]
            changes += _binding_changes(where, channel, new["channels"][name])
    was, now = old["components"]["messages"], new["components"]["messages"]
    for name in was.keys() & now.keys():
        before, after = was[name]["contentType"], now[name]["contentType"]
        if before != after:
            changes.append(Change(f"message {name}", f"content type {before} -> {after}", compatible=False))
    return changes or (
        [] if old == new else [Change("", "texts or names of the document have changed", compatible=True)]
    )


def _members(noun: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for name in old:
        if name not in new:
            yield Change("", f"{noun} {name} is gone", compatible=False)
    for name in new:
        if name not in old:
            yield Change("", f"{noun} {name} is new", compatible=True)


def _binding_changes(where: str, old: Schema, new: Schema) -> Iterator[Change]:
    if old["description"] != new["description"]:
        yield Change(where, f"{old['description']} Now: {new['description']}", compatible=False)
    was, now = old["bindings"]["kafka"], new["bindings"]["kafka"]
    if was["partitions"] != now["partitions"]:
        yield Change(where, f"partitions {was['partitions']} -> {now['partitions']}", compatible=False)
    before, after = was["topicConfiguration"], now["topicConfiguration"]
    for key in before | after:
        if before.get(key) != after.get(key):
            yield Change(where, f"{key} {before.get(key)} -> {after.get(key)}", key not in _TOPIC_PROMISES)


class _Comparison:
    """Two schemas, and the side from which they are judged."""

    def __init__(self, old: Schema, new: Schema, *, is_input: bool) -> None:
        self._old, self._new = old, new
        self._input = is_input

    def changes(self) -> Iterator[Change]:
        found = list(self._compare(self._old, self._new, ""))
        if not found and self._old != self._new:
            found = [Change("", "texts or names of the schema have changed", compatible=True)]
        yield from found

    def _compare(self, old: Schema, new: Schema, where: str) -> Iterator[Change]:
        old, new = _resolved(old, self._old), _resolved(new, self._new)
        if "anyOf" in old or "anyOf" in new:
            yield from self._compare_alternatives(old, new, where)
            return
        yield from self._compare_type(old, new, where)
        yield from self._compare_values(old, new, where)
        yield from self._compare_limits(old, new, where)
        yield from self._compare_fields(old, new, where)
        yield from self._compare_elements(old, new, where)
        for key in sorted((old.keys() | new.keys()) - _ANNOTATIONS - _STRUCTURE - _LIMITS.keys()):
            if old.get(key) != new.get(key):
                yield Change(where, f"{key} {_text(old, key)} -> {_text(new, key)}", compatible=False)

    def _compare_type(self, old: Schema, new: Schema, where: str) -> Iterator[Change]:
        was, now = old.get("type"), new.get("type")
        if was == now:
            return
        wider = now is None or (was, now) == ("integer", "number")
        narrower = was is None or (was, now) == ("number", "integer")
        yield Change(where, f"type {was or 'any'} -> {now or 'any'}", wider if self._input else narrower)

    def _compare_values(self, old: Schema, new: Schema, where: str) -> Iterator[Change]:
        was, now = _values(old), _values(new)
        if was is None and now is None:
            return
        if was is None or now is None:
            fewer = was is None
            what = "only listed values now" if fewer else "any value now, not only listed ones"
            yield Change(where, what, fewer != self._input)
            return
        for value in was:
            if value not in now:
                yield Change(where, f"value {value!r} is gone", compatible=False)
        for value in now:
            if value not in was:
                # Readers ignore unknown event types; of other lists they rely on knowing every value.
                yield Change(where, f"value {value!r} is new", self._input or where == "type")

    def _compare_limits(self, old: Schema, new: Schema, where: str) -> Iterator[Change]:
        for key, greater_is_stricter in _LIMITS.items():
            was, now = old.get(key), new.get(key)
            if was != now:
                stricter = now is not None and (was is None or (now > was) == greater_is_stricter)
                yield Change(where, f"{key} {_text(old, key)} -> {_text(new, key)}", stricter != self._input)

    def _compare_fields(self, old: Schema, new: Schema, where: str) -> Iterator[Change]:
        was, now = old.get("properties", {}), new.get("properties", {})
        needed_before, needed_now = set(old.get("required", ())), set(new.get("required", ()))
        for name in was:
            inner = f"{where}.{name}".lstrip(".")
            if name not in now:
                yield Change(inner, "the field is gone", compatible=False)
                continue
            yield from self._compare(was[name], now[name], inner)
            if name in needed_before - needed_now:
                yield Change(inner, "no longer required" if self._input else "no longer always there", self._input)
            if name in needed_now - needed_before:
                yield Change(inner, "now required" if self._input else "always there now", not self._input)
        for name in now:
            if name not in was:
                required = name in needed_now
                yield Change(
                    f"{where}.{name}".lstrip("."),
                    f"a new {'required' if required else 'optional'} field",
                    not (required and self._input),
                )

    def _compare_elements(self, old: Schema, new: Schema, where: str) -> Iterator[Change]:
        for key, suffix in (("items", "[]"), ("additionalProperties", ".*")):
            was, now = old.get(key), new.get(key)
            if isinstance(was, dict) and isinstance(now, dict):
                yield from self._compare(was, now, where + suffix)
            elif was != now:
                yield Change(where, f"{key} {_text(old, key)} -> {_text(new, key)}", compatible=False)

    def _compare_alternatives(self, old: Schema, new: Schema, where: str) -> Iterator[Change]:
        was, now = _alternatives(old, self._old), _alternatives(new, self._new)
        if was is None or now is None:
            if old != new:
                yield Change(where, "the alternatives are others", compatible=False)
            return
        for name in was:
            if name in now:
                yield from self._compare(was[name], now[name], where)
            else:
                yield Change(where, f"{name} is not possible any more", not self._input)
        for name in now:
            if name not in was:
                yield Change(where, f"{name} is possible now", self._input)
        if old.get("default") != new.get("default"):
            yield Change(where, f"default {_text(old, 'default')} -> {_text(new, 'default')}", compatible=False)


def _resolved(schema: Schema, root: Schema) -> Schema:
    """The schema with its references resolved."""
    while "$ref" in schema:
        target: Schema = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema


def _alternatives(schema: Schema, root: Schema) -> dict[str, Schema] | None:
    """Alternatives by JSON type; `None` if two have the same type, or one has none."""
    found: dict[str, Schema] = {}
    for alternative in schema.get("anyOf", [schema]):
        resolved = _resolved(alternative, root)
        name = resolved.get("type")
        if not isinstance(name, str) or name in found:
            return None
        # The keys next to the alternatives have been compared already.
        found[name] = {key: value for key, value in resolved.items() if key != "default"}
    return found


def _values(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    values: list[Any] | None = schema.get("enum")
    return values


def _text(schema: Schema, key: str) -> str:
    return repr(schema[key]) if key in schema else "(none)"
