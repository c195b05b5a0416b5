"""JSON schema in one spelling: references unfolded, oneOf and type lists as anyOf, const as enum; or why not.

How Python's types become JSON schema is in `declared.py`; what of it the API takes is in `wire.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dfbatch.errors import SchemaError
from dfbatch.schemas.verdicts import short

MAX_NODES = 5_000  # ours: references that unfold without end stop here
NULL = {"type": "null"}
_NOTES = ("title", "description", "default")
_NUMBER = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
LIMITS = {
    "string": ("format", "pattern", "minLength", "maxLength"),
    "integer": _NUMBER,
    "number": _NUMBER,
    "array": ("minItems", "maxItems", "uniqueItems"),
}
_SHAPES: dict[str, Any] = {"$ref": str, "properties": Mapping} | dict.fromkeys(
    ("required", "enum", "anyOf", "oneOf", "allOf"), (list, tuple)
)
_FOREIGN = {
    "not",
    "if",
    "then",
    "else",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "prefixItems",
    "additionalItems",
    "contains",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$dynamicRef",
}
_TYPE_HINT = "say which type it has: str, int, float, bool, a Literal, a list or a model"
_SPEC_HINT = "json-schema.org/understanding-json-schema says what each keyword takes"
_PAIRS_HINT = "use a list of objects with the fields key and value, or name the keys as fields"

Node = dict[str, Any]


def spelled(source: Mapping[str, Any], *, python: bool = False) -> Node:
    """The schema in our one spelling; `python` if it was made from a Python type.

    >>> spelled({"oneOf": [{"const": "a"}, {"const": "b"}]})
    {'enum': ['a', 'b']}
    """
    return _Reader(dict(source), python=python).root()


@dataclass(slots=True)
class _Reader:
    source: Node
    python: bool = False
    left: int = MAX_NODES

    def root(self) -> Node:
        if not self.source and not self.python:
            raise SchemaError("the schema is empty: it asks for nothing - at $", hint=_TYPE_HINT)
        return self.node(self.source, "$", ("#",))

    def node(self, raw: Any, at: str, trail: tuple[str, ...]) -> Node:
        self.left -= 1
        if self.left < 0:
            raise SchemaError(f"more than {MAX_NODES} parts once references are unfolded - at $", hint="ask for less")
        raw, trail = self.unfolded(raw, at, trail)
        if "x-refused" in raw:
            what, _, hint = raw["x-refused"].partition("; ")
            raise SchemaError(f"{what} cannot be asked for - at {at}", hint=hint)
        if foreign := sorted(_FOREIGN & raw.keys()):
            tuples = "prefixItems" in foreign
            what = "a tuple of fixed length (prefixItems)" if tuples else repr(foreign[0])
            hint = "use list[...], or a model with a field for each" if tuples else "leave it out"
            raise SchemaError(f"{what} is not in the API's schema subset - at {at}", hint=hint)
        found = self.plain(raw, at, trail)
        return {**{name: raw[name] for name in _NOTES if raw.get(name) is not None}, **found}

    def plain(self, raw: Node, at: str, trail: tuple[str, ...]) -> Node:
        if "anyOf" in raw:
            rest = {name: value for name, value in raw.items() if name not in ("anyOf", *_NOTES)}
            return _joined([self.node({"allOf": [part, rest]}, at, trail) for part in raw["anyOf"]])
        if "enum" in raw:
            return _enum(raw["enum"], at)
        name = raw.get("type") or ("object" if "properties" in raw else "array" if "items" in raw else None)
        match name:
            case [*names]:
                return _joined([self.node({**raw, "type": one}, at, trail) for one in names])
            case "object":
                return self.object(raw, at, trail)
            case "array" if "items" in raw:
                return {"type": name, "items": self.node(raw["items"], f"{at}[...]", trail), **_limits(raw, name, at)}
            case "string" | "integer" | "number" | "boolean" | "null":
                return {"type": name, **_limits(raw, name, at)}
        if at == "$" and not name and not self.python:
            raise SchemaError(
                f"this dict is read as a JSON schema, and says no type: {short(raw)} - at $",
                hint='for columns of their own: a TypedDict or a pydantic model; as JSON schema: {"type": "object",'
                ' "properties": {"label": {"type": "string"}}}',
            )
        what = "items of any type" if name == "array" else f"type {name!r}" if name else "a value of any type"
        raise SchemaError(f"{what} cannot be asked for - at {at}", hint=_TYPE_HINT)

    def object(self, raw: Node, at: str, trail: tuple[str, ...]) -> Node:
        parts = raw.get("properties", {})
        more = raw.get("additionalProperties")
        if (more and more is not True) or ("properties" not in raw and (more or not self.python)):
            raise SchemaError(f"open keys (dict[str, ...]) cannot be asked for - at {at}", hint=_PAIRS_HINT)
        if not parts:
            raise SchemaError(f"the schema has no fields - at {at}", hint="declare at least one field")
        required = raw.get("required", [])
        if unknown := [name for name in required if name not in parts]:
            raise SchemaError(f"required field {unknown[0]!r} is not among the properties - at {at}", hint="declare it")
        return {
            "type": "object",
            "properties": {name: self.node(part, f"{at}.{name}", trail) for name, part in parts.items()},
            "required": [name for name in parts if name in required],
            **({"additionalProperties": False} if raw.get("additionalProperties") is False else {}),
        }

    def unfolded(self, raw: Any, at: str, trail: tuple[str, ...]) -> tuple[Node, tuple[str, ...]]:
        """Without $ref, allOf, oneOf and const."""
        if raw is True or raw == {}:
            raise SchemaError(f"a value of any type cannot be asked for - at {at}", hint=_TYPE_HINT)
        if not isinstance(raw, Mapping):
            raise SchemaError(f"expected a schema, got {short(raw)} - at {at}", hint=_TYPE_HINT)
        _check(raw, at)
        parts = [{name: part for name, part in raw.items() if name not in ("$ref", "allOf")}]
        if "$ref" in raw:
            ref = raw["$ref"]
            if ref in trail:
                name = ref.rpartition("/")[2] if "/" in ref else "the schema"
                raise SchemaError(
                    f"a recursive schema cannot be asked for: {name} holds itself - at {at.removesuffix('[...]')}",
                    hint="unfold it to the depth you need, or refer to parents by name",
                )
            target, trail = self.unfolded(self.target(ref, at), at, (*trail, ref))
            parts.append(target)
        for part in raw.get("allOf", ()):
            if part:
                inner, trail = self.unfolded(part, at, trail)
                parts.append(inner)
        merged = _merged(parts, at)
        if "oneOf" in merged:
            merged["anyOf"] = merged.pop("oneOf")
        if "const" in merged:
            merged["enum"] = [merged.pop("const")]
        return merged, trail

    def target(self, ref: str, at: str) -> Any:
        if not ref.startswith("#"):
            raise SchemaError(f"the reference {ref!r} leads outside the schema - at {at}", hint="copy it into $defs")
        found: Any = self.source
        for step in ref.removeprefix("#").split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, Mapping) or name not in found:
                raise SchemaError(f"the reference {ref!r} leads nowhere - at {at}", hint="define it in $defs")
            found = found[name]
        return found


def _check(raw: Mapping[str, Any], at: str) -> None:
    for name, form in _SHAPES.items():
        if name in raw and not isinstance(raw[name], form):
            raise SchemaError(f"{name} is {short(raw[name])}, which it cannot be - at {at}", hint=_SPEC_HINT)


def _merged(parts: list[Node], at: str) -> Node:
    merged: Node = {}
    for part in parts:
        for name, value in part.items():
            if name not in merged or name in _NOTES:
                merged.setdefault(name, value)
            elif name == "properties":
                merged[name] = {**merged[name], **value}
            elif name == "required":
                merged[name] = [*merged[name], *value]
            elif merged[name] != value:
                raise SchemaError(f"two parts disagree on {name!r} - at {at}", hint="write the part out")
    return merged


def _joined(branches: list[Node]) -> Node:
    flat: list[Node] = []
    for branch in branches:
        for one in branch.get("anyOf", [branch]):
            if one not in flat:
                flat.append(one)
    solid = [one for one in flat if one.get("type") != "null"]
    labels = [label for one in solid for label in one.get("enum", [None])]
    if solid and all(isinstance(label, str) for label in labels):  # Literal["a"] | Literal["b"] is one set of labels
        solid = [solid[0] | {"enum": [*dict.fromkeys(labels)]}]
    if {"type": "number"} in solid:  # which every integer is
        solid = [one for one in solid if one.get("type") != "integer"]
    flat = [*solid, *([NULL] if NULL["type"] in [one.get("type") for one in flat] else [])]
    return flat[0] if len(flat) == 1 else {"anyOf": flat}


def _enum(values: Any, at: str) -> Node:
    solid = [value for value in values if value is not None]
    found = {type(value) for value in solid}
    if found - {str, bool, int, float}:
        raise SchemaError(f"labels must be strings, numbers or booleans - at {at}", hint="use plain values")
    if len(found) > 1 and found != {int, float}:
        names = " and ".join(sorted(one.__name__ for one in found))
        raise SchemaError(
            f"labels of mixed types ({names}) cannot share a column - at {at}", hint="use strings for all"
        )
    if not solid:
        raise SchemaError(f"no labels to choose from - at {at}", hint="declare at least one")
    node: Node = {"enum": [*dict.fromkeys(solid)]}
    return node if len(solid) == len(values) else {"anyOf": [node, NULL]}


def _limits(raw: Node, name: str, at: str) -> Node:
    found = {key: raw[key] for key in LIMITS.get(name, ()) if raw.get(key) is not None}
    for key, value in found.items():
        wanted = {"pattern": str, "format": str, "uniqueItems": bool}.get(
            key, float if name in ("integer", "number") else int
        )
        if isinstance(value, bool) != (wanted is bool) or not isinstance(
            value, (wanted, int) if wanted is float else wanted
        ):
            raise SchemaError(f"{key} is {value!r}, which it cannot be - at {at}", hint=_SPEC_HINT)
    return found
