"""The string formats of JSON schema: what each accepts, and the moment that a date-time names.

Which nodes ask for a format is in `validators.py`; what the API knows of formats is in `wire.py`.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticCustomError, SchemaValidator, ValidationError, to_json
from pydantic_core import core_schema as core

if TYPE_CHECKING:
    from collections.abc import Callable


def moment(value: Any) -> datetime:
    """The moment a date-time names, in UTC, which is also what no offset means.

    >>> moment("2024-01-02T05:04:00+02:00").isoformat()
    '2024-01-02T03:04:00+00:00'
    """
    if not isinstance(value, str) or not re.match(r"\d{4}-\d\d-\d\d[Tt _]", value):  # else a date or a number would do
        raise PydanticCustomError("datetime_type", "expected datetime")
    try:
        moment: datetime = _MOMENT.validate_python(value)
    except ValidationError:
        raise PydanticCustomError("datetime_parsing", "expected datetime") from None
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("datetime_parsing", "expected datetime") from None


def formed(form: str) -> Callable[[str], str]:
    """A check that a text has the format, which gives it back unchanged.

    >>> formed("ipv4")("127.0.0.1")
    '127.0.0.1'
    """
    fits = FORMS[form]

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
    validator = SchemaValidator(schema)
    return lambda text: (
        validator.validate_json(to_json(text), strict=True) is not None
    )  # ValidationError is a ValueError


_MOMENT = SchemaValidator(core.datetime_schema())
FORMS: dict[str, Callable[[str], Any]] = {
    "date": _by(core.date_schema()),
    "date-time": moment,
    "time": _by(core.time_schema()),
    "duration": _by(core.timedelta_schema()),
    "uuid": _by(core.uuid_schema()),
    "uri": _by(core.url_schema()),
    "ipv4": ipaddress.IPv4Address,
    "ipv6": ipaddress.IPv6Address,
    "email": re.compile(r"[^@\s]+@[^@\s]+").fullmatch,
    "hostname": re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*").fullmatch,
}
