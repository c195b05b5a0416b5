"""How long an answer that fits a schema can be, where that bounds it: labels, flags and numbers, no free texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

FIXED: Final = {"boolean": 5, "null": 4, "integer": 20, "number": 25}  # bytes of JSON, of numbers people have use for
FORMATS: Final = {"date": 12, "date-time": 40}
DEEPEST: Final = 20  # a schema that is deeper refers to itself
SPACED: Final = 2  # times as long, for line breaks and indents that a model may write …
AROUND: Final = 16  # … and tokens around


def tokens(schema: Mapping[str, Any] | None) -> int | None:
    """The most tokens of an answer, at a byte each; None where nothing bounds it.

    >>> tokens({"type": "object", "properties": {"good": {"type": "boolean"}}})
    46
    >>> tokens({"type": "string"}) is None
    True
    """
    found = _bytes(schema, schema.get("$defs", {}), 0) if schema else None
    return None if found is None else SPACED * found + AROUND


def _bytes(node: Any, defs: Mapping[str, Any], depth: int) -> int | None:
    if not isinstance(node, dict) or depth > DEEPEST:
        return None
    if "enum" in node or "const" in node:
        return max((len(msgspec.json.encode(value)) for value in node.get("enum", [node.get("const")])), default=0)
    if parts := _parts(node, defs):
        found = [_bytes(part, defs, depth + 1) for part in parts]
        return None if None in found else max(each or 0 for each in found)
    kind = node.get("type")
    if kind == "object":
        return _object(node.get("properties", {}), defs, depth)
    return FORMATS.get(str(node.get("format"))) if kind == "string" else FIXED.get(str(kind))


def _object(fields: Mapping[str, Any], defs: Mapping[str, Any], depth: int) -> int | None:
    values = [_bytes(field, defs, depth + 1) for field in fields.values()]
    names = sum(len(msgspec.json.encode(name)) + 2 for name in fields)  # a colon, a comma
    return None if not fields or None in values else 2 + names + sum(value or 0 for value in values)


def _parts(node: Mapping[str, Any], defs: Mapping[str, Any]) -> list[Any]:
    """What a schema stands for, where it is not one itself: one of these."""
    if "$ref" in node:
        return [defs.get(str(node["$ref"]).rpartition("/")[2])]
    for name in ("anyOf", "oneOf", "allOf"):
        if name in node:
            return list(node[name])
    kind = node.get("type")
    return [{**node, "type": one} for one in kind] if isinstance(kind, list) else []
