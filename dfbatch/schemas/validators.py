"""One node of JSON schema, read two ways: the column its values make, and the pydantic-core schema that checks them.

What a node may look like (references unfolded, one spelling for each thing) is settled in `spelling.py`; what is done
with a whole answer is in `judges.py`.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from pydantic_core import (
    CoreConfig,
    PydanticCustomError,
    SchemaError,
    SchemaValidator,
    ValidationError,
    to_json,
)
from pydantic_core import core_schema as core

from dfbatch import errors
from dfbatch.kinds import Kind, Name
from dfbatch.schemas.formats import FORMS, formed, moment
from dfbatch.schemas.verdicts import invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

STRICT = CoreConfig(strict=True)
_SCALARS: dict[str, Name] = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "json"}
_BOUNDS = {
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
}
_INT64 = {"ge": -(2**63), "le": 2**63 - 1}  # an int column is 64 bits wide


def kind(node: Mapping[str, Any]) -> Kind:
    """What a column holds whose values fit the node.

    >>> kind({"anyOf": [{"type": "integer"}, {"type": "number"}, {"type": "null"}]})
    float
    """
    if "anyOf" in node:
        return _union_kind([kind(branch) for branch in node["anyOf"] if branch.get("type") != "null"])
    if "enum" in node:
        return _enum_kind(node["enum"])
    if node["type"] == "object":
        return Kind("struct", fields=tuple((name, kind(part)) for name, part in node["properties"].items()))
    if node["type"] == "array":
        return Kind("list", inner=kind(node["items"]))
    dates: dict[str | None, Name] = {"date": "date", "date-time": "datetime"}
    return Kind(dates.get(node.get("format")) or _SCALARS[node["type"]])


def is_closed(node: Mapping[str, Any]) -> bool:
    """Whether all values that fit the node are known beforehand, or are lists and objects of such.

    >>> is_closed({"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]}), is_closed({"type": "integer"})
    (True, False)
    """
    if "anyOf" in node:
        return all(map(is_closed, node["anyOf"]))
    if "enum" in node:
        return True
    if node["type"] == "array":
        return is_closed(node["items"])
    if node["type"] == "object":
        return all(map(is_closed, node["properties"].values()))
    return node["type"] in ("boolean", "null")


def _union_kind(kinds: list[Kind]) -> Kind:
    if all(one == kinds[0] for one in kinds):
        return kinds[0]
    names = {one.name for one in kinds}
    if names == {"int", "float"}:
        return Kind("float")
    return Kind("str" if names <= {"str", "category", "date", "datetime"} else "json")


def _enum_kind(values: list[Any]) -> Kind:
    found = {type(value) for value in values}
    if found == {str}:
        return Kind("category", categories=tuple(values))
    if found == {bool}:
        return Kind("bool")
    return Kind("int") if found == {int} else Kind("float")


# --- the validator, node by node; `text_dates` where dates stay text, since a json cell holds JSON


def validator_schema(node: dict[str, Any], at: str, *, text_dates: bool = False) -> core.CoreSchema:
    """The checks of one node.

    >>> validator_schema({"type": "integer", "minimum": 1, "maximum": 5}, "$")
    {'type': 'int', 'le': 5, 'ge': 1}
    """
    if "anyOf" in node:
        return _union(node, at, text_dates=text_dates)
    if "enum" in node:
        return _enum(node["enum"])
    match node["type"]:
        case "object":
            return _object(node, at, text_dates=text_dates)
        case "array":
            return _array(node, at, text_dates=text_dates)
        case "string":
            return _string(node, at, text_dates=text_dates)
    return _scalar(node, at)


def _scalar(node: dict[str, Any], at: str) -> core.CoreSchema:
    match node["type"]:
        case "integer":
            return _integer(node, at)
        case "number":
            return _number(node)
        case "boolean":
            return core.bool_schema()
    return core.none_schema()


def _union(node: dict[str, Any], at: str, *, text_dates: bool) -> core.CoreSchema:
    branches = [branch for branch in node["anyOf"] if branch.get("type") != "null"]
    whole = kind(node).name
    parts = [validator_schema(branch, at, text_dates=text_dates or whole in ("json", "str")) for branch in branches]
    inner = parts[0] if len(parts) == 1 else core.union_schema(list(parts))
    if whole == "float" and len(parts) > 1:
        inner = core.no_info_after_validator_function(float, inner)
    return core.nullable_schema(inner) if len(branches) < len(node["anyOf"]) else inner


def _enum(values: list[Any]) -> core.CoreSchema:
    name = _enum_kind(values).name
    if name == "category":
        return core.literal_schema(values)
    # a literal alone takes true for 1 and 1 for true
    first = {"bool": core.bool_schema(), "int": core.int_schema(), "float": core.float_schema()}[name]
    return core.chain_schema([first, core.literal_schema([*map(float, values)] if name == "float" else values)])


def _object(node: dict[str, Any], at: str, *, text_dates: bool) -> core.CoreSchema:
    members = {}
    for name, part in node["properties"].items():
        schema = validator_schema(part, f"{at}.{name}", text_dates=text_dates)
        required = name in node["required"]
        if not required:
            schema = core.with_default_schema(schema, default=_default(part, schema, f"{at}.{name}"))
        members[name] = core.typed_dict_field(schema, required=required)
    return core.typed_dict_schema(members, extra_behavior="forbid" if "additionalProperties" in node else "ignore")


def _default(part: dict[str, Any], schema: core.CoreSchema, at: str) -> Any:
    if part.get("default") is None:
        return None
    try:
        return SchemaValidator(schema, STRICT).validate_json(to_json(part["default"]), strict=True)
    except ValidationError as error:
        raise errors.SchemaError(
            f"the default {part['default']!r} does not fit: {invalid(error, part['default']).reason} - at {at}",
            hint="use a default that an answer could also hold, or None",
        ) from None


def _array(node: dict[str, Any], at: str, *, text_dates: bool) -> core.CoreSchema:
    inner = validator_schema(node["items"], f"{at}[...]", text_dates=text_dates)
    schema = core.list_schema(inner, min_length=node.get("minItems"), max_length=node.get("maxItems"))
    return core.no_info_after_validator_function(_distinct, schema) if node.get("uniqueItems") else schema


def _string(node: dict[str, Any], at: str, *, text_dates: bool) -> core.CoreSchema:
    form = node.get("format")
    if form == "date" and not text_dates:
        return core.date_schema()
    if form == "date-time" and not text_dates:
        return core.no_info_plain_validator_function(moment)
    schema = _text(node, at)
    return core.no_info_after_validator_function(formed(form), schema) if form and form in FORMS else schema


def _text(node: dict[str, Any], at: str) -> core.CoreSchema:
    engines: tuple[Literal["rust-regex", "python-re"], ...] = ("rust-regex", "python-re")
    for engine in engines:  # the first is faster and never explodes, the second knows lookaround
        schema = core.str_schema(
            pattern=node.get("pattern"),
            min_length=node.get("minLength"),
            max_length=node.get("maxLength"),
            regex_engine=engine,
        )
        with suppress(SchemaError, re.error):
            SchemaValidator(schema)
            return schema
    raise errors.SchemaError(
        f"the pattern {node['pattern']!r} is not a regular expression - at {at}", hint="correct the pattern"
    )


def _integer(node: dict[str, Any], at: str) -> core.CoreSchema:
    bounds: dict[str, Any] = dict(_INT64)
    if "minimum" in node:
        bounds["ge"] = max(math.ceil(node["minimum"]), bounds["ge"])
    if "maximum" in node:
        bounds["le"] = min(math.floor(node["maximum"]), bounds["le"])
    if "exclusiveMinimum" in node:
        bounds["gt"] = math.floor(node["exclusiveMinimum"])
    if "exclusiveMaximum" in node:
        bounds["lt"] = math.ceil(node["exclusiveMaximum"])
    if "multipleOf" in node:
        if node["multipleOf"] != int(node["multipleOf"]):
            raise errors.SchemaError(f"multipleOf {node['multipleOf']} on an integer - at {at}", hint="use a number")
        bounds["multiple_of"] = int(node["multipleOf"])
    return core.int_schema(**bounds)


def _number(node: dict[str, Any]) -> core.CoreSchema:
    bounds = {ours: node[theirs] for theirs, ours in _BOUNDS.items() if theirs in node}
    return core.float_schema(allow_inf_nan=False, **bounds)


def _distinct(values: list[Any]) -> list[Any]:
    if len({to_json(value) for value in values}) < len(values):
        raise PydanticCustomError("unique", "expected items that all differ")
    return values
