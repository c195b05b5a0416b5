"""After a failure: what of an answer can be mended without guessing.

When a repair is tried, and what is judged after it, is in `judges.py`.
"""

from __future__ import annotations

import operator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pydantic_core import SchemaValidator, ValidationError, to_json

from dfbatch.schemas.validators import STRICT, validator_schema

if TYPE_CHECKING:
    from collections.abc import Mapping


def repaired(value: Any, node: Mapping[str, Any]) -> Any:
    """The value with labels in their declared capitals and 5.0 as 5 where an int is due; itself if nothing changed.

    The API may change the capitals of enum and const values with no signal (API facts sheet §4, 2026-11-22).

    >>> repaired("Sport", {"enum": ["sport", "tech"]})
    'sport'
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
        SchemaValidator(validator_schema(dict(branch), "$"), STRICT).validate_json(to_json(value))
        return True
    return False
