"""What is said of an answer that does not fit: `Invalid`, and pydantic's errors in our words, at the answer's own path.

Whether an answer fits is decided in `judges.py`; errors in the schema itself are SchemaError, in `errors.py`.
"""

from __future__ import annotations

import re
from types import FunctionType
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails, ValidationError


class Invalid(Exception):
    """An answer that does not fit its schema: `.path` is where, `.reason` what was expected and what came."""

    def __init__(self, reason: str, path: str = "$") -> None:
        super().__init__(reason, path)
        self.reason = reason
        self.path = path

    def __str__(self) -> str:
        """Write it as msgspec does."""
        return f"{self.reason} - at {self.path}"


def parsed(text: str | bytes) -> Any:
    """The JSON value of an answer; raises Invalid.

    >>> parsed('{"a": 1}')
    {'a': 1}
    """
    try:
        return from_json(text)
    except ValueError as error:
        raise Invalid(f"not JSON: {error}") from None


def invalid(error: ValidationError, value: Any) -> Invalid:
    """What pydantic-core found in `value`, with the path that tells the most."""
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
    return f"expected {text}, got {_shown(first['input'])}"


def _got(error: ErrorDetails) -> str:
    value = error["input"]
    if error["type"].endswith(("_parsing", "_number")) or error["type"] == "datetime_type":
        return _shown(value)
    return {dict: "object", type(None): "null"}.get(type(value), type(value).__name__)


def _shown(value: Any) -> str:
    return "null" if value is None else short(value)


def short(value: Any) -> str:
    """A value in at most 60 characters.

    >>> short("a" * 99)
    "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa..."
    """
    text = value.__name__ if isinstance(value, type | FunctionType) else repr(value)
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
    "time_type": "a valid time",
    "time_parsing": "a valid time",
    "time_delta_type": "a valid duration",
    "time_delta_parsing": "a valid duration",
    "uuid_type": "a valid uuid",
    "uuid_parsing": "a valid uuid",
    "url_type": "a valid uri",
    "url_parsing": "a valid uri",
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
