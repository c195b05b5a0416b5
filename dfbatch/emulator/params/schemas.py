"""The subset of JSON schema that structured output accepts, and how complex a schema is (reference §4).

Not here: how many optional or union parameters are too many (rules.py), or making answers that fit (engines/).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
TYPES = {"object", "array", "string", "integer", "number", "boolean", "null"}

# keywords that go with anything, and those of one type; what is not listed is refused for that type
_ANYWHERE = {
    *("type", "title", "description", "default", "examples", "enum", "const", "anyOf", "allOf", "$ref", "$defs"),
    *("definitions", "$schema", "$id", "$comment", "deprecated", "readOnly", "writeOnly"),
}
_OF_TYPE = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "minItems"},
    "string": {"format", "pattern"},
}
_BAD_REGEX = (
    (re.compile(r"\(\?(?:[=!]|<[=!])"), "lookaround"),
    (re.compile(r"\\[1-9]|\(\?P=|\\k<"), "backreferences"),
    (re.compile(r"\\[bB]"), "word boundaries"),
    (re.compile(r"\{\d{4,}|\{\d*,\d{4,}"), "large repetition counts"),
)
_DEEP = 100


def problem(schema: Any, place: str) -> str:
    """What is outside the subset, in the API's words where they are known, or nothing."""
    return _Reader(schema).problem(schema, place, ()) if isinstance(schema, dict) else f"{place}: must be an object"


def optional_parameters(schema: dict[str, Any]) -> int:
    """Properties that are not required, anywhere in the schema."""
    objects = (part for part in _parts(schema) if isinstance(part.get("properties"), dict))
    return sum(len(set(part["properties"]) - set(part.get("required") or [])) for part in objects)


def union_parameters(schema: dict[str, Any]) -> int:
    """Places with anyOf or a list of types."""
    return sum("anyOf" in part or isinstance(part.get("type"), list) for part in _parts(schema))


def resolve(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any] | None:
    """The schema a $ref points at within `root`, or None if there is none."""
    target: Any = root
    for step in str(schema["$ref"]).removeprefix("#").strip("/").split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        target = target.get(name) if isinstance(target, dict) else None
        if not step:
            return root
    return target if isinstance(target, dict) else None


class _Reader:
    """One walk through one schema."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._fine: set[str] = set()  # references already followed, or a net of them takes for ever

    def problem(self, schema: Any, place: str, above: tuple[str, ...]) -> str:
        if not isinstance(schema, dict):
            return f"{place}: must be an object"
        if len(above) > _DEEP:
            return f"{place}: Schema is too complex for compilation."
        if "$ref" in schema:
            return self._reference(schema, place, above)
        return self._keywords(schema, place) or self._inside(schema, place, (*above, ""))

    def _reference(self, schema: dict[str, Any], place: str, above: tuple[str, ...]) -> str:
        reference = schema["$ref"]
        if not isinstance(reference, str) or not reference.startswith("#"):
            return f"{place}: External $ref is not supported: {reference}"
        if reference in above:
            return f"{place}: Recursive schemas are not supported: {reference}"
        target = resolve(schema, self._root)
        if target is None:
            return f"{place}: cannot resolve $ref {reference}"
        if reference in self._fine:
            return ""
        text = self.problem(target, place, (*above, reference))
        if not text:
            self._fine.add(reference)
        return text

    def _keywords(self, schema: dict[str, Any], place: str) -> str:
        kinds = schema.get("type", [])
        kinds = kinds if isinstance(kinds, list) else [kinds]
        unknown = [kind for kind in kinds if not isinstance(kind, str) or kind not in TYPES]
        if unknown:
            return f"{place}: unknown type {unknown[0]!r}"
        if not kinds and not schema.keys() & {"enum", "const", "anyOf", "allOf"}:
            return f"{place}: a schema needs a type, enum, const, anyOf, allOf or $ref"
        allowed = _ANYWHERE.union(*(_OF_TYPE.get(kind, set()) for kind in kinds))
        odd = [word for word in schema if word not in allowed]
        if odd:
            kind = f"'{kinds[0]}' type" if kinds else "this schema"
            return f"{place}: For {kind}, properties {', '.join(odd)} are not supported"
        return self._values(schema, kinds, place)

    def _values(self, schema: dict[str, Any], kinds: list[str], place: str) -> str:
        text = _object_problem(schema) if "object" in kinds else ""
        text = text or _enum_problem(schema)
        if schema.get("minItems", 0) not in (0, 1):
            text = text or "For 'array' type, 'minItems' values other than 0 or 1 are not supported"
        if "format" in schema and str(schema["format"]) not in FORMATS:
            text = text or f"string format '{schema['format']}' is not supported"
        return f"{place}: {text}" if text else self._pattern(schema.get("pattern"), place)

    def _pattern(self, pattern: Any, place: str) -> str:
        if pattern is None:
            return ""
        try:
            re.compile(pattern)
        except (re.error, TypeError, OverflowError, RecursionError):
            return f"{place}: Invalid regex in pattern: {pattern}"
        bad = next((name for test, name in _BAD_REGEX if test.search(pattern)), None)
        return f"{place}: Regex {bad} are not supported in pattern" if bad else ""

    def _inside(self, schema: dict[str, Any], place: str, above: tuple[str, ...]) -> str:
        for name, part in _children(schema):
            if name.startswith("allOf") and isinstance(part, dict) and "$ref" in part:
                return f"{place}.{name}: allOf with $ref is not supported"
            text = self.problem(part, f"{place}.{name}", above)
            if text:
                return text
        return ""


def _object_problem(schema: dict[str, Any]) -> str:
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if schema.get("additionalProperties") is not False:
        return "For 'object' type, 'additionalProperties' must be explicitly set to false"
    if not isinstance(properties, dict) or not isinstance(required, list):
        return "'properties' must be an object and 'required' a list"
    if any(not isinstance(name, str) or name not in properties for name in required):
        return "'required' names properties that are not there"
    return ""


def _enum_problem(schema: dict[str, Any]) -> str:
    values = schema.get("enum", [])
    if not isinstance(values, list) or ("enum" in schema and not values):
        return "'enum' must be a list with at least one value"
    if any(isinstance(value, dict | list) for value in [*values, schema.get("const")]):
        return "Enum values must be primitive"
    return ""


def _children(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for word in ("properties", "$defs", "definitions"):
        parts = schema.get(word) or {}
        if isinstance(parts, dict):
            yield from ((f"{word}.{name}", part) for name, part in parts.items())
    if "items" in schema:
        yield "items", schema["items"]
    for word in ("anyOf", "allOf"):
        parts = schema.get(word) or []
        if isinstance(parts, list):
            yield from ((f"{word}.{row}", part) for row, part in enumerate(parts))


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    """The schema and every schema inside it, each definition once."""
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting.extend(inner for _name, inner in _children(part))
