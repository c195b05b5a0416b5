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
_FORMS: dict[str, tuple[type, str]] = {
    **dict.fromkeys(("properties", "$defs", "definitions"), (dict, "an object")),
    **dict.fromkeys(("required", "enum", "anyOf", "allOf"), (list, "an array")),
    **dict.fromkeys(("$ref", "format", "pattern", "title", "description"), (str, "a string")),
    "minItems": (int, "an integer"),
}

TOO_COMPLEX = "Schema is too complex for compilation."


def problem(schema: Any, place: str) -> str:
    """What is outside the subset, in the API's words where they are known, or nothing."""
    text = _Reader(schema).problem(schema, ())
    return f"{place}: {text}" if text else ""


def optional_parameters(schema: dict[str, Any]) -> int:
    """Properties that are not required, anywhere in a valid schema."""
    return sum(len(set(part.get("properties", {})) - set(part.get("required", []))) for part in _parts(schema))


def union_parameters(schema: dict[str, Any]) -> int:
    """Places with anyOf or a list of types, anywhere in a valid schema."""
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

    def problem(self, schema: Any, above: tuple[str, ...]) -> str:
        if not isinstance(schema, dict):
            return "Schema must be an object"
        if len(above) > _DEEP:
            return TOO_COMPLEX
        text = _form_problem(schema) or self._reference(schema, above)
        return text or _keyword_problem(schema) or self._inside(schema, (*above, ""))

    def _reference(self, schema: dict[str, Any], above: tuple[str, ...]) -> str:
        reference = schema.get("$ref")
        if reference is None or reference in self._fine:
            return ""
        if not reference.startswith("#"):
            return f"External $ref is not supported: {reference}"
        if reference in above:
            return f"Recursive schemas are not supported: {reference}"
        target = resolve(schema, self._root)
        if target is None:
            return f"cannot resolve $ref {reference}"
        text = self.problem(target, (*above, reference))
        if not text:
            self._fine.add(reference)
        return text

    def _inside(self, schema: dict[str, Any], above: tuple[str, ...]) -> str:
        for name, part in _children(schema):
            if name == "allOf" and isinstance(part, dict) and "$ref" in part:
                return "allOf with $ref is not supported"
            text = self.problem(part, above)
            if text:
                return text
        return ""


def _form_problem(schema: dict[str, Any]) -> str:
    """The first keyword whose value is of the wrong kind."""
    for word, (kind, name) in _FORMS.items():
        if word in schema and not isinstance(schema[word], kind):
            return f"'{word}' must be {name}"
    empty = next((word for word in ("anyOf", "allOf", "enum") if schema.get(word) == []), None)
    return f"'{empty}' must not be empty" if empty else ""


def _keyword_problem(schema: dict[str, Any]) -> str:
    kinds = schema.get("type", [])
    kinds = kinds if isinstance(kinds, list) else [kinds]
    unknown = [kind for kind in kinds if not isinstance(kind, str) or kind not in TYPES]
    if unknown:
        return f"Schema type {unknown[0]!r} is not supported"
    if not kinds and not schema.keys() & {"enum", "const", "anyOf", "allOf", "$ref"}:
        return "a schema needs a type, enum, const, anyOf, allOf or $ref"
    allowed = _ANYWHERE.union(*(_OF_TYPE.get(kind, set()) for kind in kinds))
    odd = sorted(word for word in schema if word not in allowed)
    if odd:
        which = f"property '{odd[0]}' is" if len(odd) == 1 else f"properties {', '.join(odd)} are"
        return f"For '{kinds[0]}' type, {which} not supported" if kinds else f"{which} not supported without a type"
    text = _object_problem(schema) if "object" in kinds else ""
    return text or _value_problem(schema) or _pattern_problem(schema.get("pattern"))


def _object_problem(schema: dict[str, Any]) -> str:
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        return (
            "For 'object' type, 'additionalProperties: object' is not supported. Please set 'additionalProperties' to "
            "false"
        )
    if more is not False:
        return "For 'object' type, 'additionalProperties' must be explicitly set to false"
    names = schema.get("properties", {})
    if any(not isinstance(name, str) or name not in names for name in schema.get("required", [])):
        return "'required' names properties that are not there"
    return ""


def _value_problem(schema: dict[str, Any]) -> str:
    if any(isinstance(value, dict | list) for value in [*schema.get("enum", []), schema.get("const")]):
        return "Enum values must be primitive"
    if schema.get("minItems", 0) not in (0, 1):
        return "For 'array' type, 'minItems' values other than 0 or 1 are not supported"
    if schema.get("format", "date") not in FORMATS:
        return f"string format '{schema['format']}' is not supported"
    return ""


def _pattern_problem(pattern: str | None) -> str:
    if pattern is None:
        return ""
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return f"Invalid regex in pattern: {pattern}"
    bad = next((name for test, name in _BAD_REGEX if test.search(pattern)), None)
    return f"Regex {bad} are not supported in pattern" if bad else ""


def _children(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """(keyword, schema) of every schema right inside this one."""
    for word in ("properties", "$defs", "definitions"):
        yield from ((word, part) for part in schema.get(word, {}).values())
    if "items" in schema:
        yield "items", schema["items"]
    for word in ("anyOf", "allOf"):
        yield from ((word, part) for part in schema.get(word, []))


def _parts(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The schema and every schema inside it, each definition once."""
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        yield part
        waiting.extend(inner for _word, inner in _children(part))
