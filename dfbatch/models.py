"""What is known of each model, as data: prices, limits, features, each with source and date. Sums are `pricing.py`'s.

Where a server tells limits itself (`/v1/models`), its word counts: `Model.told`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from difflib import get_close_matches
from typing import Annotated, Any, Final

import msgspec

from dfbatch.errors import OptionError

BATCH: Final = 0.5  # of every column, through a batch; platform.claude.com, pricing, August 2026
GEO_US: Final = 1.1  # times every column with inference_geo="us", Claude 4.6 and later; same page
CLOSE: Final = 0.85  # how like a model's name another is to be the one that was meant: haiku-45, not nope
WRITE_5M, WRITE_1H, READ = 1.25, 2.0, 0.1  # of the input price, where a model has no column of its own; same page

_AUGUST: Final = "platform.claude.com, models and pricing, August 2026"
_NOVEMBER: Final = "platform.claude.com, models and pricing, November 2026"
_REPORTED: Final = "reported by several third parties, November 2026; not confirmed"
_TABLE: Final = "platform.claude.com, batch processing, price table of May 2026"
_MODELS: Final = "platform.claude.com, models overview, November 2026"
_READ_AGAIN: Final = "platform.claude.com, pricing, as two price trackers read it in October 2026"
_SDK: Final = "deprecated models of the anthropic SDK 2.14.0, November 2026"
_UNDATED: Final = "by then in no list of the anthropic SDK; the day itself is not known"

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
    thinks: bool = False  # whether it thinks where a request does not say
    silenced: bool = False  # whether dfbatch asks it not to think where the call does not say
    sampling: bool | None = None  # whether it takes temperature, top_p and top_k
    retires: date | None = None  # the last day on which it answers, where that is known …
    retirement: str = ""  # … and the source of that
    successor: str = ""  # the id of the model to ask instead

    def told(self, info: Mapping[str, Any]) -> Model:
        """With the limits and features that a server tells of it; what it leaves out stays as it is known.

        What it says of the model's life takes the place of what is known here of its retirement.
        """
        able = _mapping(info.get("capabilities"))
        structured, batches = _can(able.get("structured_outputs")), _can(able.get("batch"))
        return replace(
            self,
            context=_count(info.get("max_input_tokens")) or self.context,
            most=_count(info.get("max_tokens")) or self.most,
            structured=self.structured if structured is None else structured,
            batches=self.batches if batches is None else batches,
            thinking=_kinds(able.get("thinking"), self.thinking),
            **_retirement(info),
        )

    def is_retired(self, today: date) -> bool:
        """Whether its last day is over."""
        return self.retires is not None and self.retires < today


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
    life = {"lifecycle": stage} if (stage := info.get("lifecycle")) in LIFECYCLES else {}
    life |= {"retires_at": day.isoformat()} if (day := _day(info.get("retires_at"))) else {}
    return {**limits, **life, "capabilities": kept}


def _retirement(info: Mapping[str, Any]) -> dict[str, Any]:
    """The model's last day as a server tells it; nothing where it does not speak of it."""
    day, stage = _day(info.get("retires_at")), info.get("lifecycle")
    if day is None and stage not in LIFECYCLES:
        return {}
    if stage == "retired" and day is None:
        day = date.min
    return {"retires": day, "retirement": "/v1/models"}


def _day(told: Any) -> date | None:
    """The day of a time as servers write it; 1970 stands for an unknown one."""
    try:
        day = date.fromisoformat(told[:10])
    except (TypeError, ValueError):
        return None
    return day if day.year > 1970 else None


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


LIFECYCLES: Final = ("active", "deprecated", "retired")  # as /v1/models has them; SDK 2.14, November 2026
KINDS: Final = frozenset({"adaptive", "enabled", "disabled", "between_tools"})  # of thinking; SDK 2.12, November 2026
_ADAPTIVE: Final = frozenset({"adaptive"})
_BETWEEN: Final = frozenset({"adaptive", "between_tools"})
_EITHER: Final = frozenset({"adaptive", "disabled"})
_ALL: Final = frozenset({"adaptive", "enabled", "disabled"})
_BUDGETED: Final = frozenset({"enabled", "disabled"})

_DENSE: Final = 1.3  # the tokenizer of 4.7 and later makes about 30 % more tokens of a text
_LONG: Final = 300_000  # tokens of an answer with the beta
# Temperature, top_p and top_k are refused by 4.7 and later; all current models enforce schemas (developersdigest.tech,
# third party, 18 October 2026). Who thinks by default: platform.claude.com, extended thinking, November 2026.
_NEW: Final[dict[str, Any]] = {
    "context": 1_000_000,
    "most": 128_000,
    "dense": _DENSE,
    "structured": True,
    "sampling": False,
}
_THINKS: Final[dict[str, Any]] = {**_NEW, "thinks": True}
_OLD: Final[dict[str, Any]] = {"context": 200_000, "most": 64_000, "geo": 1.0, "structured": True, "sampling": True}
_WARM: Final[dict[str, Any]] = {**_NEW, "dense": 1.0, "sampling": True}

LISTED: Final = (
    # Its price is confirmed; that of reading the cache is reported by several third parties alone.
    Model("claude-fable-5-2", _price(8, 40, 0.20), _MODELS, prefix=512, thinking=_ADAPTIVE, **_THINKS),
    Model("claude-fable-5-1", _price(10, 50, 0.25), _NOVEMBER, prefix=512, thinking=_ADAPTIVE, **_THINKS),
    Model("claude-fable-5", _price(10, 50), _AUGUST, prefix=512, thinking=_ADAPTIVE, **_THINKS),
    Model("claude-mythos-5-2", _price(8, 40, 0.20), _REPORTED, prefix=512, thinking=_ADAPTIVE, **_THINKS),
    Model("claude-mythos-5-1", _price(10, 50, 0.25), _NOVEMBER, prefix=512, thinking=_ADAPTIVE, **_THINKS),
    Model("claude-mythos-5", _price(10, 50), _AUGUST, prefix=512, thinking=_ADAPTIVE, **_THINKS),
    Model(
        *("claude-opus-5-5", _price(4, 20, 0.20), _NOVEMBER),
        **{"most_beta": _LONG, "prefix": 512, "thinking": _ADAPTIVE, **_THINKS},
    ),
    Model(
        *("claude-opus-5", _price(5, 25), _AUGUST),
        **{"most_beta": _LONG, "prefix": 512, "thinking": _EITHER, **_THINKS},
    ),
    Model(
        *("claude-opus-4-8", _price(5, 25), _AUGUST),
        **{"most_beta": _LONG, "prefix": 1024, "thinking": _EITHER, **_NEW},
    ),
    Model(
        *("claude-opus-4-7", _price(5, 25), _AUGUST),
        **{"most_beta": _LONG, "prefix": 2048, "thinking": _EITHER, **_NEW},
    ),
    Model(
        *("claude-opus-4-6", _price(5, 25), _AUGUST),
        **{"most_beta": _LONG, "prefix": 4096, "thinking": _ALL, **_WARM},
    ),
    Model(
        *("claude-opus-4-5", _price(5, 25), _AUGUST),
        **{"dated": "20251101", "prefix": 4096, "thinking": _BUDGETED, **_OLD},
        retires=date(2027, 1, 22),
        retirement=_SDK,
        successor="claude-opus-5-5",
    ),
    Model(
        *("claude-opus-4-1", _price(15, 75), _TABLE),
        dated="20250805",
        geo=1.0,
        successor="claude-opus-5-5",
        retires=date(2026, 11, 22),
        retirement=_UNDATED,
    ),
    Model(
        *("claude-sonnet-5-5", _price(2, 10, 0.10), _READ_AGAIN),
        **{"most_beta": _LONG, "prefix": 512, "thinking": _BETWEEN, **_THINKS},
    ),
    Model(
        *("claude-sonnet-5", _price(2, 10), _AUGUST),
        **{"most_beta": _LONG, "prefix": 1024, "thinking": _EITHER, **_THINKS},
    ),
    Model(
        *("claude-sonnet-4-6", _price(3, 15), _AUGUST),
        **{"most_beta": _LONG, "prefix": 1024, "thinking": _ALL, **_WARM},
    ),
    Model(
        *("claude-sonnet-4-5", _price(3, 15), _AUGUST),
        **{"dated": "20250929", "prefix": 1024, "thinking": _BUDGETED, **_OLD},
        retires=date(2026, 11, 30),
        retirement=_SDK,
        successor="claude-sonnet-5-5",
    ),
    Model(
        *("claude-haiku-5-5", _price(0.10, 0.50), "platform.claude.com, models, Haiku 5.5, October 2026"),
        above=100_000,
        long=_price(0.50, 2.50),
        most_beta=_LONG,
        prefix=512,
        thinking=_EITHER,
        **{**_THINKS, "silenced": True},
    ),
    Model("claude-haiku-4-5", _price(1, 5), _AUGUST, dated="20251001", prefix=4096, thinking=_BUDGETED, **_OLD),
    # On Bedrock and Vertex only; the API itself does not serve it any more.
    Model(
        *("claude-3-5-haiku", _price(0.80, 4), _TABLE),
        dated="20241022",
        geo=1.0,
        structured=False,
        successor="claude-haiku-5-5",
        retires=date(2026, 11, 22),
        retirement=_UNDATED,
    ),
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

    def near(self, name: str) -> Model | None:
        """The model that a misspelled name may mean.

        >>> Models().near("claude-haiku-55").id
        'claude-haiku-5-5'
        """
        ids = [model.id for model in self.listed]
        return next((self.find(close) for close in get_close_matches(name, ids, n=1, cutoff=CLOSE)), None)

    def find(self, name: str) -> Model | None:
        """A model by its id, its dated id or its alias; None where its price is not known."""
        for model in self.listed:
            if name in (model.id, f"{model.id}-{model.dated}", f"{model.id}-latest"):
                return model
        if name[-9:-8] == "-" and name[-8:].isdecimal():  # a date that we do not know yet
            return self.find(name[:-9])
        return None


_EXAMPLE: Final = '{"claude-haiku-5-5": {"input": 0.1, "output": 0.5}}, in USD per million tokens through /v1/messages'


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
