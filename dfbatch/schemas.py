"""What answers look like: any schema a user may write, as the API takes it, as the ledger keeps it, as columns.

Whether one answer fits is judged in `judges.py`; the dtypes columns become are in `frames/`.
"""

from __future__ import annotations

import functools
import inspect
import json
import operator
import re
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from enum import Enum
from typing import Any, Literal

import typing_extensions
from pydantic import BaseModel, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter
from pydantic.errors import PydanticUndefinedAnnotation
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import SchemaValidator, core_schema

from dfbatch.errors import SchemaError
from dfbatch.judges import Invalid, Judge, judge, kind
from dfbatch.kinds import TEXT, Kind

__all__ = ["Invalid", "Schema", "from_ledger", "read"]

ANSWER = "answer"
# limits per request, from our API facts sheet §4 (structured outputs), compiled 2026-11-22; not tried at the API
MAX_OPTIONAL = 24
MAX_UNIONS = 16
MAX_NODES = 5_000  # ours: references that unfold without end stop here

_NULL = {"type": "null"}
_NOTES = ("title", "description", "default")
_NUMBER = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_LIMITS = {
    "string": ("format", "pattern", "minLength", "maxLength"),
    "integer": _NUMBER,
    "number": _NUMBER,
    "array": ("minItems", "maxItems", "uniqueItems"),
}
_ALL_LIMITS = tuple(dict.fromkeys(name for names in _LIMITS.values() for name in names))
_FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
# lookaround, back references, \b, named groups, flags, lazy or possessive repeats, {n,m} from 100
_HARD_PATTERN = re.compile(r"\\[^dDwWsSnrt\W_]|\(\?(?!:)|[*+?}][+?]|\{[\d,]*\d{3}")
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
_KNOWN = "known: a pydantic model, dataclass, TypedDict, Literal, Enum, list, scalar type, or a JSON schema dict"
_TYPE_HINT = "say which type it has: str, int, float, bool, a Literal, a list or a model"
_SPEC_HINT = "json-schema.org/understanding-json-schema says what each keyword takes"
_PAIRS_HINT = "use a list of objects with the fields key and value, or name the keys as fields"
_NOT_TYPES = (str, bytes, int, float, list, tuple, set, BaseModel, Enum)
_ASIDE = {"type", "metadata", "ref", "serialization"}
_OPAQUE = {"config", "default", "expected", "members", "cls", "discriminator", "generic_origin"}
_FIELD = {
    "schema",
    "validation_alias",
    "required",
    "name",
    "init",
    "kw_only",
    "serialization_alias",
    "serialization_exclude",
    "frozen",
}
_PLAIN: dict[str, set[str]] = {
    "str": {"min_length", "max_length", "pattern"},
    "int": {"ge", "gt", "le", "lt", "multiple_of"},
    "float": {"ge", "gt", "le", "lt", "multiple_of", "allow_inf_nan"},
    "bool": set(),
    "none": set(),
    "literal": {"expected"},
    "enum": {"cls", "members", "sub_type"},
    "list": {"items_schema", "min_length", "max_length"},
    "nullable": {"schema"},
    "union": {"choices", "mode"},
    "tagged-union": {"choices", "discriminator"},
    "default": {"schema", "default"},
    "date": set(),
    "datetime": {"microseconds_precision"},
    "model": {"cls", "schema", "config", "model_name", "generic_origin", "root_model", "frozen"},
    "model-fields": {"fields", "model_name", "extra_behavior", "config"},
    "model-field": _FIELD,
    "dataclass": {"cls", "schema", "config", "fields", "frozen", "slots", "cls_name", "generic_origin"},
    "dataclass-args": {"fields", "dataclass_name", "collect_init_only"},
    "dataclass-field": _FIELD,
    "typed-dict": {"cls", "fields", "cls_name", "total", "config", "extra_behavior"},
    "typed-dict-field": _FIELD,
    "definitions": {"schema", "definitions"},
    "definition-ref": {"schema_ref"},
}

Shape = Literal["text", "scalar", "object"]
Node = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Schema:
    """One schema, read once: what goes over the wire, what the ledger keeps, which columns come of it.

    >>> read(Literal["sport", "tech"]).judge('{"answer": "Sport"}')
    ('sport',)
    """

    shape: Shape
    wire: Node | None
    full: Node | None
    fields: tuple[tuple[str, Kind], ...]
    _judge: Judge | None = field(default=None, repr=False, compare=False)

    @property
    def type_name(self) -> str:
        """A few words for messages.

        >>> read(list[str]).type_name
        'list[str]'
        """
        if self.shape == "object" and self.full and "title" in self.full:
            return str(self.full["title"])
        return (
            "text"
            if self.shape == "text"
            else repr(Kind("struct", fields=self.fields) if self.shape == "object" else self.fields[0][1])
        )

    def judge(self, text: str | bytes) -> tuple[Any, ...]:
        """The values of one answer in the order of `fields`; raises Invalid.

        >>> read({"type": "integer", "maximum": 5}).judge('{"answer": 4}')
        (4,)
        """
        return self._judge.values(text) if self._judge else (_decoded(text),)

    def objects(self, text: str | bytes) -> Any:
        """The answer as the user's own class, as a dict where there is none, or the scalar itself.

        >>> read(list[int]).objects('{"answer": [1, 2]}')
        [1, 2]
        """
        if self._judge is None:
            return _decoded(text)
        found = self._judge.instance(text)
        return found[ANSWER] if self.shape == "scalar" else found


def read(schema: Any) -> Schema:
    """Read whatever a user hands in as `schema=`; None is plain text.

    >>> read({"type": "object", "properties": {"score": {"type": "number"}}, "required": ["score"]}).fields
    (('score', float),)
    """
    if schema is None:
        return Schema("text", None, None, ((ANSWER, TEXT),))
    if isinstance(schema, Mapping):
        node = _Reader(dict(schema)).root()
        return _built(node)
    adapter = _adapter(schema)
    node = _Reader(adapter.json_schema(schema_generator=_Generator), python=True).root()
    return _built(node, adapter)


def from_ledger(full: Node | None, shape: str) -> Schema:
    """The schema as the ledger kept it: judges answers without the class it was read from.

    >>> kept = read(Literal["sport", "tech"])
    >>> from_ledger(kept.full, kept.shape) == kept
    True
    """
    if full is None:
        return read(None)
    return _schema("scalar" if shape == "scalar" else "object", full, judge(full))


def _built(node: Node, adapter: TypeAdapter[Any] | None = None) -> Schema:
    shape: Shape = "object" if node.get("type") == "object" else "scalar"
    full = node if shape == "object" else {"type": "object", "properties": {ANSWER: node}, "required": [ANSWER]}
    if adapter is None:
        return _schema(shape, full, judge(full))
    own = adapter.core_schema
    if shape == "scalar":
        own = core_schema.typed_dict_schema({ANSWER: core_schema.typed_dict_field(own)})
    return _schema(shape, full, judge(full, SchemaValidator(own), asks_own=not _is_plain(adapter.core_schema)))


def _schema(shape: Shape, full: Node, found: Judge) -> Schema:
    fields = tuple((name, kind(node)) for name, node in full["properties"].items())
    return Schema(shape, wire(full), full, fields, found)


def _decoded(text: str | bytes) -> str:
    return text if isinstance(text, str) else text.decode("utf-8", "replace")


# --- Python's types, through pydantic


def _adapter(schema: Any) -> TypeAdapter[Any]:
    if isinstance(schema, _NOT_TYPES) or (is_dataclass(schema) and not isinstance(schema, type)):
        hint = f"Literal[{', '.join(map(repr, schema))}]?" if isinstance(schema, list) and schema else "pass the class"
        raise SchemaError(f"expected a schema, got a value: {_short(schema)}", _KNOWN, hint=hint)
    missing: str | None = None
    # a class made inside a function may use names of that function: each frame outward is tried, from ours
    for depth, frame in enumerate(_frames(), start=2):
        try:
            adapter = TypeAdapter(_modern(schema, frame.f_locals), _parent_depth=depth)
            adapter.rebuild(raise_errors=True)  # nothing to do, unless a name is still open: this says which
        except (PydanticUndefinedAnnotation, NameError) as error:
            missing = error.name
        except (PydanticSchemaGenerationError, PydanticUserError, TypeError) as error:
            raise _unreadable(schema, error) from None
        else:
            return adapter
    raise SchemaError(
        f"the name {missing!r} in {_short(schema)} is not defined",
        hint="define it before the call, at the top of the module or in a cell",
    )


def _frames() -> Iterator[types.FrameType]:
    frame = inspect.currentframe()
    while frame and (frame := frame.f_back):
        yield frame


def _unreadable(schema: Any, error: Exception) -> SchemaError:
    known = str(error).split("\n")[0]
    return SchemaError(f"{_short(schema)} cannot be a schema", known, _KNOWN, hint="use types that JSON can hold")


def _short(schema: Any) -> str:
    text = schema.__name__ if isinstance(schema, type) else repr(schema)
    return text if len(text) <= 60 else text[:57] + "..."


def _modern(hint: Any, names: Mapping[str, Any]) -> Any:
    """typing.TypedDict as typing_extensions', since pydantic takes only that one before Python 3.12."""
    if sys.version_info >= (3, 12):
        return hint
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (list, typing.Union, types.UnionType):
        inner: Any = tuple(_modern(one, names) for one in arguments)
        return list[inner] if origin is list else functools.reduce(operator.or_, inner)
    if not typing.is_typeddict(hint) or type(hint).__module__ != "typing":
        return hint
    members = typing.get_type_hints(hint, localns=dict(names), include_extras=True)
    optional = hint.__optional_keys__
    typed = {name: _member(part, names, optional=name in optional) for name, part in members.items()}
    modern: Any = typing_extensions.TypedDict(hint.__name__, typed)  # type: ignore[misc]  # known at run time
    modern.__doc__ = hint.__doc__
    return modern


def _member(hint: Any, names: Mapping[str, Any], *, optional: bool) -> Any:
    origin = typing.get_origin(hint)
    inner = _modern(typing.get_args(hint)[0] if origin in (typing.Required, typing.NotRequired) else hint, names)
    optional = origin is typing.NotRequired or (optional and origin is not typing.Required)
    return typing.NotRequired[inner] if optional else inner


def _refusing(what: str) -> Any:
    return lambda *_: {"x-refused": what}


class _Generator(GenerateJsonSchema):
    """pydantic's JSON schema, with a mark where a type has no place in an answer: the refusal then knows the path."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default", "skipped-discriminator"}  # noqa: RUF012  # theirs
    set_schema: Any = _refusing("a set; use list[...]")
    frozenset_schema: Any = set_schema
    generator_schema: Any = _refusing("an iterator; use list[...]")
    bytes_schema: Any = _refusing("bytes; use str")
    decimal_schema: Any = _refusing("a Decimal; use float, or str to keep every digit")
    complex_schema: Any = _refusing("a complex number; use two floats")
    handle_invalid_for_json_schema: Any = _refusing("a type outside JSON; use str, numbers, lists or models")

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  # their signature
        return False  # the name again: tokens in every request for nothing

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> dict[str, Any]:
        found = super().default_schema(schema)
        return {**found, "default": []} if schema.get("default_factory") is list else found


def _is_plain(node: Any) -> bool:
    """Whether JSON schema says all that the core schema checks, so that the faster judge gives the same verdict."""
    if isinstance(node, list | tuple):
        return all(map(_is_plain, node))
    if not isinstance(node, dict):
        return True
    if not isinstance(node.get("type"), str):  # fields by name
        return all(map(_is_plain, node.values()))
    known = _PLAIN.get(node["type"])
    return (
        known is not None
        and all(
            value is list
            or (name in known and (name in _OPAQUE or _is_plain(value)))  # default_factory=list is in both
            for name, value in node.items()
            if name not in _ASIDE and value
        )
        and not any(name.startswith("str_") for name in node.get("config") or ())
    )


# --- JSON schema in one spelling: references unfolded, oneOf and type lists as anyOf, const as enum


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
        what = "items of any type" if name == "array" else f"type {name!r}" if name else "a value of any type"
        raise SchemaError(f"{what} cannot be asked for - at {at}", hint=_TYPE_HINT)

    def object(self, raw: Node, at: str, trail: tuple[str, ...]) -> Node:
        parts = raw.get("properties", {})
        if raw.get("additionalProperties") or ("properties" not in raw and not self.python):
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
            raise SchemaError(f"expected a schema, got {_short(raw)} - at {at}", hint=_TYPE_HINT)
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
            raise SchemaError(f"{name} is {_short(raw[name])}, which it cannot be - at {at}", hint=_SPEC_HINT)


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
    flat = [*solid, *([_NULL] if _NULL["type"] in [one.get("type") for one in flat] else [])]
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
    return node if len(solid) == len(values) else {"anyOf": [node, _NULL]}


def _limits(raw: Node, name: str, at: str) -> Node:
    found = {key: raw[key] for key in _LIMITS.get(name, ()) if raw.get(key) is not None}
    for key, value in found.items():
        wanted = {"pattern": str, "format": str, "uniqueItems": bool}.get(
            key, float if name in ("integer", "number") else int
        )
        if isinstance(value, bool) != (wanted is bool) or not isinstance(
            value, (wanted, int) if wanted is float else wanted
        ):
            raise SchemaError(f"{key} is {value!r}, which it cannot be - at {at}", hint=_SPEC_HINT)
    return found


# --- on the wire: the API's subset; what it does not know is told to the model in the description, and judged by us


def wire(full: Node) -> Node:
    """The schema as the API takes it."""
    first = _Wire()
    found = first.node(full)
    if first.unions > MAX_UNIONS:
        first = _Wire(spare=max(0, first.nulls - (first.unions - MAX_UNIONS)))
        found = first.node(full)
    for count, limit, what in ((first.optional, MAX_OPTIONAL, "optional fields"), (first.unions, MAX_UNIONS, "unions")):
        if count > limit:
            raise SchemaError(
                f"{count} {what}, and the API takes {limit} a request - at $",
                hint='fewer optional fields, or a sentinel value such as "" or -1 instead of None',
            )
    return found


@dataclass(slots=True)
class _Wire:
    spare: int = MAX_NODES  # how many `X | None = None` may be asked for as unions
    nulls: int = 0
    optional: int = 0
    unions: int = 0

    def node(self, node: Node) -> Node:
        notes = {name: node[name] for name in _ALL_LIMITS if name in node and not _api_takes(name, node[name])}
        told = ", ".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in notes.items())
        text = node.get("description", "")
        found = {name: node[name] for name in ("title", "type", "enum", "default") if node.get(name) is not None}
        found |= {name: node[name] for name in _ALL_LIMITS if name in node and name not in notes}
        if text or told:
            found["description"] = f"{text} ({told})" if text and told else text or told
        if "anyOf" in node:
            self.unions += 1
            found["anyOf"] = [self.node(branch) for branch in node["anyOf"]]
        if "items" in node:
            found["items"] = self.node(node["items"])
        return found | self.members(node) if "properties" in node else found

    def members(self, node: Node) -> Node:
        parts, required = {}, []
        for name, part in node["properties"].items():
            solid, must = self.settled(part, must=name in node["required"])
            parts[name] = self.node(solid)
            self.optional += not must
            required += [name] if must else []
        return {"properties": parts, "required": required, "additionalProperties": False}

    def settled(self, part: Node, *, must: bool) -> tuple[Node, bool]:
        """`X | None = None` as required but nullable, or as optional but not nullable: absent and null mean the same.

        The plain translation, optional and nullable, costs one of each budget.
        """
        if must or part.get("default") is not None or _NULL not in part.get("anyOf", ()):
            return part, must
        if self.nulls < self.spare:
            self.nulls += 1
            return part, True
        solid = [branch for branch in part["anyOf"] if branch != _NULL]
        rest = {name: value for name, value in part.items() if name != "anyOf"}
        return {**solid[0], **rest} if len(solid) == 1 else {**rest, "anyOf": solid}, False


def _api_takes(name: str, value: Any) -> bool:
    if name == "pattern":
        return not _HARD_PATTERN.search(value)
    return (name == "format" and value in _FORMATS) or (name == "minItems" and value in (0, 1))
