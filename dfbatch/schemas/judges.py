"""Whether an answer fits, and the plain values it holds: one pydantic-core validator per schema, built from JSON alone.

The validator of a node is in `validators.py`, what can be mended in `repairs.py`, what is said in `verdicts.py`.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from pydantic_core import SchemaValidator, ValidationError, to_json

from dfbatch.schemas.repairs import repaired
from dfbatch.schemas.validators import STRICT, kind, validator_schema
from dfbatch.schemas.verdicts import Invalid, invalid, parsed

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Invalid", "Judge", "judge", "kind", "named", "repaired"]


@dataclass(frozen=True, slots=True)
class Judge:
    """The validator of one schema; `own` is that of the user's class, `asks_own` if it knows more than JSON schema."""

    full: dict[str, Any]
    plain: SchemaValidator
    pick: Callable[[dict[str, Any]], tuple[Any, ...]]
    own: SchemaValidator | None = None
    asks_own: bool = False

    def quick(self) -> Callable[[str], tuple[Any, ...]]:
        """What `values` does, for those who judge many: nothing is looked up twice."""
        if self.asks_own:
            return self.values
        validate, pick = self.plain.validate_json, self.pick

        def values(text: str) -> tuple[Any, ...]:
            try:
                return pick(validate(text, strict=True))
            except ValidationError:
                return self.values(text)

        return values

    def values(self, text: str | bytes) -> tuple[Any, ...]:
        """The plain values of one answer, in declared order."""
        if not self.asks_own:
            try:
                return self.pick(self.plain.validate_json(text, strict=True))
            except ValidationError:
                pass  # it is mended or told below
        elif self.own is not None:  # its validators may change values; what they return still has to fit the columns
            text = to_json(named(self.instance(text)))
        return self.pick(self._validated(self.plain, text))

    def instance(self, text: str | bytes) -> Any:
        """The answer as the user's class; a plain dict where the class is not at hand."""
        return self._validated(self.own or self.plain, text)

    def _validated(self, validator: SchemaValidator, text: str | bytes) -> Any:
        try:
            return validator.validate_json(text, strict=True)
        except ValidationError as error:
            value = parsed(text)
            mended = repaired(value, self.full)
            if mended is value:
                raise invalid(error, value) from None
        try:
            return validator.validate_json(to_json(mended), strict=True)
        except ValidationError as error:
            raise invalid(error, mended) from None


def named(value: Any) -> Any:
    """An instance as dicts under the names that answers use, which may differ from those it is written out with.

    >>> from pydantic import BaseModel, Field
    >>> class Review(BaseModel):
    ...     kind: str = Field(validation_alias="class")
    >>> named([Review.model_validate({"class": "good"})])
    [{'class': 'good'}]
    """
    if getattr(type(value), "__pydantic_root_model__", False):
        return named(value.root)
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
    """Build the judge of a full object schema.

    >>> judge({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}).values('{"a": 5.0}')
    (5,)
    """
    validator = SchemaValidator(validator_schema(full, "$"), STRICT)
    return Judge(full, validator, _picker(tuple(full["properties"])), own, asks_own)


def _picker(names: tuple[str, ...]) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    if len(names) == 1:
        return lambda values: (values[names[0]],)
    return operator.itemgetter(*names)  # in C; absent fields are there by then, as their default or None
