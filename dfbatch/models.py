"""What is known of each model, as data: prices, limits, features, each with source and date. Sums are `pricing.py`'s.

Where a server tells limits itself (`/v1/models`), its word counts: `Model.told`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

import msgspec

from dfbatch.errors import OptionError

BATCH: Final = 0.5  # of every column, through a batch; platform.claude.com, pricing, August 2026
GEO_US: Final = 1.1  # times every column with inference_geo="us", Claude 4.6 and later; same page
WRITE_5M, WRITE_1H, READ = 1.25, 2.0, 0.1  # of the input price, where a model has no column of its own; same page

_AUGUST: Final = "platform.claude.com, models and pricing, August 2026"
_NOVEMBER: Final = "platform.claude.com, models and pricing, November 2026"
_REPORTED: Final = "reported by several third parties, November 2026; not confirmed"
_TABLE: Final = "platform.claude.com, batch processing, price table of May 2026"

_Usd = Annotated[float, msgspec.Meta(ge=0)]
_Share = Annotated[float, msgspec.Meta(gt=0, le=1)]


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens through `/v1/messages`; a batch costs `Model.batch` of it."""

    input: float
    output: float
    cache_write_5m: float
    cache_write_1h: float
    cache_read: float


def _price(into: float, out: float, read: float | None = None) -> Price:
    return Price(into, out, into * WRITE_5M, into * WRITE_1H, into * READ if read is None else read)


@dataclass(frozen=True, slots=True)
class Model:
    """One model: what it costs and what it can do. None: not known."""

    id: str
    price: Price
    source: str
    dated: str = ""  # of the id with a date, for which `id` is the alias
    batch: float = BATCH
    above: int | None = None  # tokens of a prompt, cached ones too, beyond which all of it costs …
    long: Price | None = None  # … this
    geo: float = GEO_US  # times every column in the United States; 1.0 where it cannot be asked for
    context: int | None = None  # tokens of prompt and answer
    most: int | None = None  # tokens of an answer, max_tokens at most …
    most_beta: int | None = None  # … and with the beta output-300k-2026-03-24, in batches alone
    prefix: int | None = None  # tokens that a prefix has at least to be cached
    thinking: frozenset[str] | None = None  # kinds of thinking that it takes
    structured: bool | None = None  # whether answers can be held to a schema
    batches: bool | None = True
    dense: float = 1.0  # tokens that it makes of a text, against Claude 4.6 and earlier

    def told(self, info: Mapping[str, Any]) -> Model:
        """With the limits and features that a server tells of it; what it leaves out stays as it is known."""
        able = _mapping(info.get("capabilities"))
        structured, batches = _can(able.get("structured_outputs")), _can(able.get("batch"))
        return replace(
            self,
            context=_count(info.get("max_input_tokens")) or self.context,
            most=_count(info.get("max_tokens")) or self.most,
            structured=self.structured if structured is None else structured,
            batches=self.batches if batches is None else batches,
            thinking=_kinds(able.get("thinking"), self.thinking),
        )


def unlisted(name: str) -> Model:
    """A model of which nothing is known, not even a price."""
    return Model(name, _price(0, 0), "", batches=None)


def relied_on(info: Mapping[str, Any]) -> dict[str, Any]:
    """As much of what a server tells of a model as `Model.told` reads, in the same form; the rest is not kept.

    >>> relied_on({"max_tokens": 64_000, "capabilities": {"batch": {"supported": True, "seen": "sk-ant-…"}}, "x": 1})
    {'max_tokens': 64000, 'capabilities': {'batch': {'supported': True}}}
    """
    able = _mapping(info.get("capabilities"))
    limits = {name: count for name in ("max_input_tokens", "max_tokens") if (count := _count(info.get(name)))}
    kept: dict[str, Any] = {
        name: {"supported": can}
        for name in ("batch", "structured_outputs", "thinking")
        if (can := _can(able.get(name))) is not None
    }
    types = _mapping(_mapping(able.get("thinking")).get("types"))
    kinds = {kind: {"supported": can} for kind in sorted(KINDS) if (can := _can(types.get(kind))) is not None}
    if kinds:
        kept["thinking"] = kept.get("thinking", {}) | {"types": kinds}
    return {**limits, "capabilities": kept}


def _mapping(told: Any) -> Mapping[str, Any]:
    return told if isinstance(told, Mapping) else {}


def _count(told: Any) -> int | None:
    """A limit; what is no number of tokens is none."""
    return told if isinstance(told, int) and not isinstance(told, bool) and told > 0 else None


def _can(told: Any) -> bool | None:
    """Whether something is supported; None where that is not said in so many words."""
    said = _mapping(told).get("supported", told)
    return said if isinstance(said, bool) else None


def _kinds(told: Any, known: frozenset[str] | None) -> frozenset[str] | None:
    """The kinds of thinking that a model takes: those known, but for what is told of each."""
    types = {kind: _can(can) for kind, can in _mapping(_mapping(told).get("types")).items()}
    refused = {kind for kind, can in types.items() if can is False}
    if _can(told) is False:  # it does not think at all; to say so in a request is no contradiction
        refused = (refused | KINDS) - {"disabled"}
    taken = {kind for kind, can in types.items() if can}
    if not refused | taken:
        return known
    return frozenset((KINDS if known is None else known) - refused | taken)


KINDS: Final = frozenset({"adaptive", "enabled", "disabled", "between_tools"})  # of thinking; SDK 2.12, November 2026
_ADAPTIVE: Final = frozenset({"adaptive"})
_BETWEEN: Final = frozenset({"adaptive", "between_tools"})
_EITHER: Final = frozenset({"adaptive", "disabled"})
_ALL: Final = frozenset({"adaptive", "enabled", "disabled"})
_BUDGETED: Final = frozenset({"enabled", "disabled"})

_DENSE: Final = 1.3  # the tokenizer of 4.7 and later makes about 30 % more tokens of a text
_NEW: Final[dict[str, Any]] = {"context": 1_000_000, "most": 128_000, "dense": _DENSE}
_OLD: Final[dict[str, Any]] = {"context": 200_000, "most": 64_000, "geo": 1.0, "structured": True}

LISTED: Final = (
    Model("claude-fable-5-2", _price(8, 40, 0.20), _REPORTED, prefix=512, thinking=_ADAPTIVE, **_NEW),
    Model("claude-fable-5-1", _price(10, 50, 0.25), _NOVEMBER, prefix=512, thinking=_ADAPTIVE, **_NEW),
    Model("claude-fable-5", _price(10, 50), _AUGUST, prefix=512, thinking=_ADAPTIVE, structured=True, **_NEW),
    Model("claude-mythos-5-2", _price(8, 40, 0.20), _REPORTED, prefix=512, thinking=_ADAPTIVE, **_NEW),
    Model("claude-mythos-5-1", _price(10, 50, 0.25), _NOVEMBER, prefix=512, thinking=_ADAPTIVE, **_NEW),
    Model("claude-mythos-5", _price(10, 50), _AUGUST, prefix=512, thinking=_ADAPTIVE, structured=True, **_NEW),
    Model("claude-opus-5-5", _price(4, 20, 0.20), _NOVEMBER, prefix=512, thinking=_ADAPTIVE, **_NEW),
    Model(
        *("claude-opus-5", _price(5, 25), _AUGUST),
        **{"most_beta": 300_000, "prefix": 512, "thinking": _EITHER, "structured": True, **_NEW},
    ),
    Model(
        *("claude-opus-4-8", _price(5, 25), _AUGUST),
        **{"most_beta": 300_000, "prefix": 1024, "thinking": _EITHER, "structured": True, **_NEW},
    ),
    Model(
        *("claude-opus-4-7", _price(5, 25), _AUGUST),
        **{"most_beta": 300_000, "prefix": 2048, "thinking": _EITHER, "structured": True, **_NEW},
    ),
    Model(
        *("claude-opus-4-6", _price(5, 25), _AUGUST),
        **{"most_beta": 300_000, "prefix": 4096, "thinking": _ALL, "structured": True, **_NEW, "dense": 1.0},
    ),
    Model("claude-opus-4-5", _price(5, 25), _AUGUST, dated="20251101", prefix=4096, thinking=_BUDGETED, **_OLD),
    Model("claude-opus-4-1", _price(15, 75), _TABLE, dated="20250805", geo=1.0),
    Model(
        "claude-sonnet-5-5", _price(2, 10, 0.10), _NOVEMBER, most_beta=300_000, prefix=512, thinking=_BETWEEN, **_NEW
    ),
    Model(
        *("claude-sonnet-5", _price(2, 10), _AUGUST),
        **{"most_beta": 300_000, "prefix": 1024, "thinking": _EITHER, "structured": True, **_NEW},
    ),
    Model(
        *("claude-sonnet-4-6", _price(3, 15), _AUGUST),
        **{"most_beta": 300_000, "prefix": 1024, "thinking": _ALL, "structured": True, **_NEW, "dense": 1.0},
    ),
    Model("claude-sonnet-4-5", _price(3, 15), _AUGUST, dated="20250929", prefix=1024, thinking=_BUDGETED, **_OLD),
    Model(
        *("claude-haiku-5-5", _price(0.10, 0.50), _NOVEMBER),
        **{"above": 100_000, "long": _price(0.50, 2.50), "prefix": 512, "thinking": _EITHER, **_NEW},
    ),
    Model("claude-haiku-4-5", _price(1, 5), _AUGUST, dated="20251001", prefix=4096, thinking=_BUDGETED, **_OLD),
    # On Bedrock and Vertex only; the API itself does not serve it any more.
    Model("claude-3-5-haiku", _price(0.80, 4), _TABLE, dated="20241022", geo=1.0, structured=False),
)


class Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A price as users write it, USD per million tokens through `/v1/messages`; what is left out follows the rules."""

    input: _Usd
    output: _Usd
    cache_write_5m: _Usd | None = None
    cache_write_1h: _Usd | None = None
    cache_read: _Usd | None = None
    batch: _Share | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Models:
    """All models that have a price: those listed here, and over them what users say.

    >>> Models().find("claude-haiku-4-5-20251001").price.input
    1
    >>> Models.read({"my-model": {"input": 1.0, "output": 2.0}}).find("my-model").price.cache_write_5m
    1.25
    """

    listed: tuple[Model, ...] = LISTED

    @classmethod
    def read(cls, said: Mapping[str, Any], *, source: str = "prices=") -> Models:
        """The models with prices that users give by id; raises OptionError where that is no price."""
        return cls().overlaid(said, source=source)

    def overlaid(self, said: Mapping[str, Any], *, source: str) -> Models:
        """With prices of users over those known."""
        if not isinstance(said, Mapping):
            raise OptionError(f"{source} must be a mapping, got {type(said).__name__}", hint=_EXAMPLE)
        known = {model.id: model for model in self.listed}
        for name, value in said.items():
            _check_currency(name, value, source)
            try:
                price = msgspec.convert(value, Said)
            except msgspec.ValidationError as error:
                raise OptionError(f"{source}: {error} (model {name!r})", hint=_EXAMPLE) from error
            before = self.find(name)
            model_id = before.id if before else name
            known[model_id] = _overlaid(before or unlisted(name), price, source)
        return Models(tuple(known.values()))

    def find(self, name: str) -> Model | None:
        """A model by its id, its dated id or its alias; None where its price is not known."""
        for model in self.listed:
            if name in (model.id, f"{model.id}-{model.dated}", f"{model.id}-latest"):
                return model
        if name[-9:-8] == "-" and name[-8:].isdecimal():  # a date that we do not know yet
            return self.find(name[:-9])
        return None


_EXAMPLE: Final = '{"claude-haiku-4-5": {"input": 1.0, "output": 5.0}}, in USD per million tokens through /v1/messages'


_MONEY: Final = ("currency", "unit", "units")


def _check_currency(name: str, value: Any, source: str) -> None:
    """Prices have no currency of their own: what is spent is compared with the API's, in USD."""
    held = [name, *value] if isinstance(value, Mapping) else [name]
    told = next((each for each in held if str(each).casefold() in _MONEY), None)
    if told is not None:
        raise OptionError(
            f"{source} has {told!r}: prices are in USD, whatever the currency of your bill",
            hint=f"convert them first, and leave {told} out: {_EXAMPLE}",
        )


def _overlaid(model: Model, said: Said, source: str) -> Model:
    usual = _price(said.input, said.output)
    price = Price(
        said.input,
        said.output,
        usual.cache_write_5m if said.cache_write_5m is None else said.cache_write_5m,
        usual.cache_write_1h if said.cache_write_1h is None else said.cache_write_1h,
        usual.cache_read if said.cache_read is None else said.cache_read,
    )
    batch = model.batch if said.batch is None else said.batch
    return replace(model, price=price, batch=batch, above=None, long=None, source=said.source or source)
