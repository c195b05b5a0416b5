"""Whether an answer fits, and the plain values it holds: one pydantic-core validator per schema, built from JSON alone.

What a node may look like (references unfolded, one spelling for each thing) is settled in `schemas.py`.
"""

from __future__ import annotations

import ipaddress
import math
import operator
import re
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic_core import (
    CoreConfig,
    PydanticCustomError,
    SchemaError,
    SchemaValidator,
    ValidationError,
    from_json,
    to_json,
)
from pydantic_core import core_schema as core

from dfbatch import errors
from dfbatch.kinds import Kind, Name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic_core import ErrorDetails

_STRICT = CoreConfig(strict=True)
_SCALARS: dict[str, Name] = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "json"}
_BOUNDS = {
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
}
_INT64 = {"ge": -(2**63), "le": 2**63 - 1}  # an int column is 64 bits wide


class Invalid(Exception):
    """An answer that does not fit its schema: `.path` is where, `.reason` what was expected and what came."""

    def __init__(self, reason: str, path: str = "$") -> None:
        super().__init__(reason, path)
        self.reason = reason
        self.path = path

    def __str__(self) -> str:
        """Write it as msgspec does."""
        return f"{self.reason} - at {self.path}"


@dataclass(frozen=True, slots=True)
class Judge:
    """The validator of one schema; `own` is that of the user's class, `asks_own` if it knows more than JSON schema."""

    full: dict[str, Any]
    plain: SchemaValidator
    pick: Callable[[dict[str, Any]], tuple[Any, ...]]
    own: SchemaValidator | None = None
    asks_own: bool = False

    def values(self, text: str | bytes) -> tuple[Any, ...]:
        """The plain values of one answer, in declared order."""
        if self.asks_own:  # its validators may change values; what they return still has to fit the columns
            text = to_json(named(self.instance(text)))
        return self.pick(self._validated(self.plain, text))

    def instance(self, text: str | bytes) -> Any:
        """The answer as the user's class; a plain dict where the class is not at hand."""
        return self._validated(self.own or self.plain, text)

    def _validated(self, validator: SchemaValidator, text: str | bytes) -> Any:
        try:
            return validator.validate_json(text, strict=True)
        except ValidationError as error:
            value = _parsed(text)
            mended = repaired(value, self.full)
            if mended is value:
                raise _invalid(error, value) from None
        try:
            return validator.validate_json(to_json(mended), strict=True)
        except ValidationError as error:
            raise _invalid(error, mended) from None


def named(value: Any) -> Any:
    """An instance as dicts under the names that answers use, which may differ from those it is written out with."""
    members = getattr(type(value), "__pydantic_fields__", None)
    if members is not None:
        return {_alias(member) or name: named(getattr(value, name)) for name, member in members.items()}
    if is_dataclass(value):
        return {member.name: named(getattr(value, member.name)) for member in fields(value)}
    if isinstance(value, dict):
        return {name: named(part) for name, part in value.items()}
    return [named(part) for part in value] if isinstance(value, list | tuple) else value


def _alias(member: Any) -> str | None:
    alias = member.validation_alias or member.alias
    for choice in getattr(alias, "choices", [alias]):  # as pydantic's JSON schema chooses
        if isinstance(choice, str):
            return choice
    return None


def judge(full: dict[str, Any], own: SchemaValidator | None = None, *, asks_own: bool = False) -> Judge:
    """Build the judge of a full object schema."""
    validator = SchemaValidator(_core(full, "$"), _STRICT)
    return Judge(full, validator, _picker(tuple(full["properties"])), own, asks_own)


def _picker(names: tuple[str, ...]) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    if len(names) == 1:
        return lambda values: (values[names[0]],)
    return operator.itemgetter(*names)  # in C; absent fields are there by then, as their default or None


def kind(node: Mapping[str, Any]) -> Kind:
    """What a column holds whose values fit the node."""
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


def _core(node: dict[str, Any], at: str, *, text_dates: bool = False) -> core.CoreSchema:
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
    parts = [_core(branch, at, text_dates=text_dates or whole in ("json", "str")) for branch in branches]
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
        schema = _core(part, f"{at}.{name}", text_dates=text_dates)
        required = name in node["required"]
        if not required:
            schema = core.with_default_schema(schema, default=_default(part, schema, f"{at}.{name}"))
        members[name] = core.typed_dict_field(schema, required=required)
    return core.typed_dict_schema(members, extra_behavior="forbid" if "additionalProperties" in node else "ignore")


def _default(part: dict[str, Any], schema: core.CoreSchema, at: str) -> Any:
    if part.get("default") is None:
        return None
    try:
        return SchemaValidator(schema, _STRICT).validate_json(to_json(part["default"]), strict=True)
    except ValidationError as error:
        raise errors.SchemaError(
            f"the default {part['default']!r} does not fit: {_invalid(error, part['default']).reason} - at {at}",
            hint="use a default that an answer could also hold, or None",
        ) from None


def _array(node: dict[str, Any], at: str, *, text_dates: bool) -> core.CoreSchema:
    inner = _core(node["items"], f"{at}[...]", text_dates=text_dates)
    schema = core.list_schema(inner, min_length=node.get("minItems"), max_length=node.get("maxItems"))
    return core.no_info_after_validator_function(_distinct, schema) if node.get("uniqueItems") else schema


def _string(node: dict[str, Any], at: str, *, text_dates: bool) -> core.CoreSchema:
    form = node.get("format")
    if form == "date" and not text_dates:
        return core.date_schema()
    if form == "date-time" and not text_dates:
        return core.no_info_plain_validator_function(_moment)
    schema = _text(node, at)
    return core.no_info_after_validator_function(_formed(form), schema) if form and form in _FORMS else schema


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


def _moment(value: Any) -> datetime:
    if not isinstance(value, str) or not re.match(r"\d{4}-", value):  # a bare number would be taken as a timestamp
        raise PydanticCustomError("datetime_type", "expected datetime")
    try:
        moment: datetime = _MOMENT.validate_python(value)
    except ValidationError:
        raise PydanticCustomError("datetime_parsing", "expected datetime") from None
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("datetime_parsing", "expected datetime") from None


def _formed(form: str) -> Callable[[str], str]:
    fits = _FORMS[form]

    def check(text: str) -> str:
        try:
            good = fits(text)
        except ValueError:
            good = False
        if not good:
            raise PydanticCustomError("form", "Input should be a valid {form}", {"form": form})
        return text

    return check


def _by(schema: core.CoreSchema) -> Callable[[str], Any]:
    validator = SchemaValidator(schema, _STRICT)
    return lambda text: validator.validate_json(to_json(text)) is not None  # ValidationError is a ValueError


_MOMENT = SchemaValidator(core.datetime_schema())
_FORMS: dict[str, Callable[[str], Any]] = {
    "date": _by(core.date_schema()),
    "date-time": _moment,
    "time": _by(core.time_schema()),
    "duration": _by(core.timedelta_schema()),
    "uuid": _by(core.uuid_schema()),
    "uri": _by(core.url_schema()),
    "ipv4": ipaddress.IPv4Address,
    "ipv6": ipaddress.IPv6Address,
    "email": re.compile(r"[^@\s]+@[^@\s]+").fullmatch,
    "hostname": re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*").fullmatch,
}


# --- after a failure: what can be mended without guessing


def repaired(value: Any, node: Mapping[str, Any]) -> Any:
    """The value with labels in their declared capitals and 5.0 as 5 where an int is due; itself if nothing changed.

    The API may change the capitals of enum and const values with no signal (API facts sheet §4, 2026-11-22).
    """
    if "anyOf" in node:
        return _repaired_union(value, [branch for branch in node["anyOf"] if branch.get("type") != "null"])
    if "enum" in node:
        return _declared(value, node["enum"])
    match node["type"], value:
        case "integer", float() if value.is_integer():
            return int(value)
        case "array", [*items]:
            mended = [repaired(item, node["items"]) for item in items]
            return value if all(map(operator.is_, mended, items)) else mended
        case "object", {**members}:
            parts = node["properties"]
            changed = {name: repaired(part, parts[name]) for name, part in members.items() if name in parts}
            return value if all(part is value[name] for name, part in changed.items()) else {**value, **changed}
    return value


def _declared(value: Any, allowed: list[Any]) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value) if type(allowed[0]) is int else value
    if not isinstance(value, str) or value in allowed:
        return value
    same = [one for one in allowed if isinstance(one, str) and one.casefold() == value.casefold()]
    return same[0] if len(same) == 1 else value


def _repaired_union(value: Any, branches: list[Mapping[str, Any]]) -> Any:
    if len(branches) == 1:
        return repaired(value, branches[0])
    if any(_fits(value, branch) for branch in branches):
        return value
    mended = [(repaired(value, branch), branch) for branch in branches]
    fitting = [one for one, branch in mended if _fits(one, branch)]
    return fitting[0] if fitting and all(one == fitting[0] for one in fitting) else value


def _fits(value: Any, branch: Mapping[str, Any]) -> bool:
    with suppress(ValidationError):
        SchemaValidator(_core(dict(branch), "$"), _STRICT).validate_json(to_json(value))
        return True
    return False


# --- in words


def _parsed(text: str | bytes) -> Any:
    try:
        return from_json(text)
    except ValueError as error:
        raise Invalid(f"not JSON: {error}") from None


def _invalid(error: ValidationError, value: Any) -> Invalid:
    found = [(_steps(one, value), one) for one in error.errors(include_url=False)]
    deepest = max((steps for steps, _ in found), key=len)  # branches of a union that nearly fit tell the most
    told = [one for steps, one in found if steps == deepest]
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in deepest)
    return Invalid(_reason(told), f"${path}")


def _steps(error: ErrorDetails, value: Any) -> tuple[int | str, ...]:
    """The location in the answer itself, without the names pydantic adds for branches of a union."""
    steps: list[int | str] = []
    for part in error["loc"]:
        inside = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        if part in inside:
            value = value[part]
        elif error["type"] != "missing" or part != error["loc"][-1]:
            continue
        steps.append(part)
    return tuple(steps)


def _reason(told: list[ErrorDetails]) -> str:
    first = told[0]
    if first["type"] in _EXPECTED:
        expected = dict.fromkeys(_EXPECTED[one["type"]] for one in told if one["type"] in _EXPECTED)
        return f"expected {' or '.join(expected)}, got {_got(first)}"
    if first["type"] in _TEXTS:
        return _TEXTS[first["type"]]
    text = re.sub(r"^(Value error|Assertion failed), |^(Input|String|List) should ", "", first["msg"])
    if text == first["msg"] or first["type"] in ("value_error", "assertion_error"):
        return text
    text = text.partition(" after validation")[0]
    for words, sign in _SIGNS.items():
        text = text.replace(words, sign)
    return f"expected {text}, got {_short(first['input'])}"


def _got(error: ErrorDetails) -> str:
    value = error["input"]
    if error["type"].endswith(("_parsing", "_number")) or error["type"] == "datetime_type":
        return _short(value)
    return {dict: "object", type(None): "null"}.get(type(value), type(value).__name__)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


_EXPECTED = {
    "int_type": "int",
    "float_type": "float",
    "finite_number": "finite float",
    "string_type": "str",
    "bool_type": "bool",
    "list_type": "list",
    "dict_type": "object",
    "model_type": "object",
    "dataclass_type": "object",
    "date_type": "date",
    "date_parsing": "date",
    "date_from_datetime_parsing": "date",
    "datetime_type": "datetime",
    "datetime_parsing": "datetime",
    "datetime_from_date_parsing": "datetime",
}
_TEXTS = {"missing": "required field missing", "extra_forbidden": "unknown field"}
_SIGNS = {
    "be greater than or equal to": ">=",
    "be less than or equal to": "<=",
    "be greater than": ">",
    "be less than": "<",
    "have at least": "at least",
    "have at most": "at most",
    "match pattern": "to match",
    "be ": "",
}
