"""The models the emulator knows, read from models.toml: what each accepts, how long, at what price.

Not here: the rules that use these facts (params/rules.py) and the sums (billing.py).
"""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path
from typing import Final

import msgspec


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Dollars per million tokens."""

    input: float
    output: float
    write_5m: float
    write_1h: float
    read: float


class Long(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another price for prompts above so many tokens."""

    above: int
    price: Price


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model's facts; the fields are explained at the head of models.toml."""

    id: str
    name: str
    line: str
    price: Price
    context: int
    output: int
    tokenizer: str
    thinking: list[str]
    thinking_default: str
    efforts: list[str]
    default_effort: str
    sampling: bool
    prefill: bool
    forced: bool
    geo: bool
    cache_min: int
    alias: str | None = None
    created: str | None = None
    retires: str | None = None
    batch_max: int | None = None
    quiet_effort: str | None = None
    long: Long | None = None

    def is_retired(self, today: str) -> bool:
        """Whether its last day is over; days are written as 2026-12-01."""
        return self.retires is not None and self.retires < today

    def rate(self, prompt_tokens: int) -> str:
        """The name of the price list that a prompt of this length pays by."""
        return f"{self.id}+long" if self.long and prompt_tokens > self.long.above else self.id


class Retired(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model that is named in the catalogue and answers no more."""

    id: str
    name: str
    line: str


class Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of models.toml."""

    models: list[Model]
    retired: list[Retired]

    def find(self, name: object) -> Model | None:
        """By id or alias."""
        return _by_name().get(name) if isinstance(name, str) else None


_READING: Final = threading.Lock()


def catalogue() -> Catalogue:
    """All models, read once: two threads that decode into one type for the first time can crash msgspec 0.22."""
    with _READING:
        return _catalogue()


@cache
def _catalogue() -> Catalogue:
    return msgspec.toml.decode(Path(__file__).with_name("models.toml").read_bytes(), type=Catalogue)


@cache
def prices() -> dict[str, Price]:
    """By rate name: a model's id, or its id and `+long`."""
    found = {model.id: model.price for model in catalogue().models}
    found.update({f"{model.id}+long": model.long.price for model in catalogue().models if model.long})
    return found


@cache
def _by_name() -> dict[str, Model]:
    models = catalogue().models
    return {model.id: model for model in models} | {model.alias: model for model in models if model.alias}
