"""Python's types, through pydantic: the JSON schema of what a user declared, and whether that says all of it.

Which of that JSON schema can be asked for is settled in `spelling.py`; schemas given as JSON never come here.
"""

from __future__ import annotations

import functools
import inspect
import operator
import sys
import types
import typing
from dataclasses import dataclass, is_dataclass
from enum import Enum
from typing import Any

import typing_extensions
from pydantic import BaseModel, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter
from pydantic.errors import PydanticUndefinedAnnotation
from pydantic.json_schema import GenerateJsonSchema

from dfbatch.errors import SchemaError
from dfbatch.schemas.verdicts import short

if typing.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pydantic_core import core_schema

_KNOWN = (
    "known: a pydantic model, dataclass, TypedDict, Literal, Enum, list, scalar type, a list of labels,"
    " or a JSON schema dict"
)
_NOT_TYPES = (str, bytes, int, float, list, tuple, set, BaseModel, Enum, types.FunctionType)
_ASIDE = {"type", "metadata", "ref", "serialization"}
_OPAQUE = {"config", "default", "expected", "members", "cls", "generic_origin"}
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


@dataclass(frozen=True, slots=True)
class Declared:
    """A type as pydantic reads it: as JSON schema, and as the core schema that makes the user's own objects."""

    node: dict[str, Any]
    core: core_schema.CoreSchema
    said_in_full: bool  # JSON schema says all that the core schema checks: the faster judge gives the same verdict


def declared(schema: Any) -> Declared:
    """Read a type.

    >>> declared(list[int]).node
    {'items': {'type': 'integer'}, 'type': 'array'}
    """
    found = _adapter(schema)
    node = found.json_schema(schema_generator=_Generator)
    return Declared(node, found.core_schema, _is_plain(found.core_schema))


def labels(given: Sequence[Any]) -> Any:
    """Labels in a list as their Literal: distinct texts, or distinct whole numbers.

    >>> labels(["pos", "neg"])
    typing.Literal['pos', 'neg']
    """
    example = 'schema=["good", "bad"], or Literal["good", "bad"]'
    if not given:
        raise SchemaError(f"schema={given!r} holds no label", hint=example)
    for at, label in enumerate(given):
        if isinstance(label, type) or typing.get_origin(label) is not None:
            raise SchemaError(
                f"schema={short(given)} holds a type, not labels - at schema[{at}]",
                hint=f"list[{short(label)}] asks for a list of them, {short(label)} for one",
            )
        if isinstance(label, bool) or not isinstance(label, str | int):
            raise SchemaError(
                f"a label is a text or a whole number, got {type(label).__name__} {short(label)} - at schema[{at}]",
                hint=example,
            )
        if isinstance(label, str) and not label.strip():
            raise SchemaError(f"an empty label - at schema[{at}]", hint="name it: what is it that such a row is?")
        if label in given[:at]:
            raise SchemaError(f"the label {label!r} is there twice - at schema[{at}]", hint="name each label once")
        if isinstance(label, str) is not isinstance(given[0], str):
            raise SchemaError(f"texts and numbers are mixed: {short(given)}", hint="write all labels as texts")
    return typing.Literal[tuple(given)]


def _adapter(schema: Any) -> TypeAdapter[Any]:
    if isinstance(schema, _NOT_TYPES) or (is_dataclass(schema) and not isinstance(schema, type)):
        raise SchemaError(f"expected a schema, got a value: {short(schema)}", _KNOWN, hint=_value_hint(schema))
    missing: str | None = None
    # a class made inside a function may use names of that function: each frame outward is tried
    for depth, frame in sorted(enumerate(_frames(), start=2), key=_is_ours):
        try:
            adapter = TypeAdapter(_modern(schema, frame.f_locals), _parent_depth=depth)
            adapter.rebuild(raise_errors=True)  # (since pydantic 2.10) only if a name is still open: this says which
        except (PydanticUndefinedAnnotation, NameError) as error:
            missing = error.name
        except (PydanticSchemaGenerationError, PydanticUserError, ImportError, TypeError) as error:
            raise _unreadable(schema, error) from None
        else:
            return adapter
    raise SchemaError(
        f"the name {missing!r} in {short(schema)} is not defined",
        hint="define it before the call, at the top of the module or in a cell",
    )


def _value_hint(schema: Any) -> str:
    if isinstance(schema, types.FunctionType):
        return "the prompt is the first argument, the schema the second"
    return "labels have an order: pass them in a list" if isinstance(schema, set) else "pass the class"


def _frames() -> Iterator[types.FrameType]:
    frame = inspect.currentframe()
    while frame and (frame := frame.f_back):
        yield frame


def _is_ours(numbered: tuple[int, types.FrameType]) -> bool:
    """Our own frames come last: a user's forward reference `"Kind"` does not mean ours."""
    return str(numbered[1].f_globals.get("__name__")).partition(".")[0] == __name__.partition(".")[0]


def _unreadable(schema: Any, error: Exception) -> SchemaError:
    known = str(error).split("\n")[0]
    hint = "use types that JSON can hold"
    if isinstance(error, ImportError):
        hint = "install it, or use str"
    if getattr(error, "code", None) == "typed-dict-version":
        hint = "import TypedDict from typing_extensions"
    return SchemaError(f"{short(schema)} cannot be a schema", known, _KNOWN, hint=hint)


def _modern(hint: Any, names: Mapping[str, Any]) -> Any:
    """typing.TypedDict as typing_extensions', since pydantic takes only that one before Python 3.12."""
    if sys.version_info >= (3, 12):
        return hint
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return typing.Annotated[(_modern(hint.__origin__, names), *hint.__metadata__)]
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

    def literal_schema(self, schema: core_schema.LiteralSchema) -> dict[str, Any]:
        for label in schema["expected"]:
            if isinstance(label, Enum) and not isinstance(label, str | int):  # pydantic never takes it from JSON
                return {"x-refused": f"Literal[{label}]; make {type(label).__name__} a StrEnum or an IntEnum"}
        return super().literal_schema(schema)

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
