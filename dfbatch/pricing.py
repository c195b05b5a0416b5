"""What tokens cost, and what was not paid. Prices are data in `models.py`; what may be spent is not decided here."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from dfbatch import pictures

if TYPE_CHECKING:
    from dfbatch.models import Model, Price

MILLION = 1e6
FEW_CHUNKS = 5  # as many are told one by one
FIRST = "first"  # the kind of a chunk that asks for the first time
FROM_BYTES = "from bytes"  # where a forecast is from that knows nothing of the answers but their limit


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of a run or a row, as `usage` counts them; those written to the cache by how long they are kept."""

    input: int = 0
    output: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    cache_read: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        """The sum, part by part."""
        return Tokens(*(getattr(self, part.name) + getattr(other, part.name) for part in fields(Tokens)))

    @classmethod
    def of(cls, found: np.ndarray[Any, Any]) -> Tokens:
        """The sum of what was found of requests (`results.FOUND`)."""
        total = {name: int(column(found, name).sum(dtype=np.int64)) for name in _PARTS}
        return cls(
            total["input"],
            total["output"],
            total["written"] - total["written_1h"],
            total["written_1h"],
            total["read"],
        )


NONE = Tokens()

_PARTS = ("input", "output", "written", "written_1h", "read")


def column(found: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    """A field of what was found; nothing where it was kept before there was such a field."""
    names = found.dtype.names or ()
    part: np.ndarray[Any, Any] = found[name] if name in names else np.zeros(len(found), np.uint32)
    return part


def cost(model: Model | None, tokens: Tokens, *, batch: bool = True) -> float | None:
    """USD of one request with these tokens, through a batch or synchronously; None where the price is not known.

    >>> from dfbatch.models import Models
    >>> round(cost(Models().find("claude-haiku-4-5"), Tokens(input=1_000_000, output=100_000)), 2)
    0.75
    """
    if model is None:
        return None
    prompt = tokens.input + tokens.cache_write_5m + tokens.cache_write_1h + tokens.cache_read
    price = model.long if model.long and model.above is not None and prompt > model.above else model.price
    full: float = _full(price, tokens)
    return full * model.batch if batch else full


def _full(price: Price, tokens: Any) -> Any:
    return (
        tokens.input * price.input
        + tokens.output * price.output
        + tokens.cache_write_5m * price.cache_write_5m
        + tokens.cache_write_1h * price.cache_write_1h
        + tokens.cache_read * price.cache_read
    ) / MILLION


@dataclass(frozen=True, slots=True)
class _Columns:
    """Tokens of many requests, one number a request."""

    input: np.ndarray[Any, Any]
    output: np.ndarray[Any, Any]
    cache_write_5m: np.ndarray[Any, Any]
    cache_write_1h: np.ndarray[Any, Any]
    cache_read: np.ndarray[Any, Any]


def costs(
    model: Model | None, found: np.ndarray[Any, Any], *, batch: bool = True, cached: bool = True, cold: bool = False
) -> np.ndarray[Any, Any] | None:
    """USD of each request, from what was found of it (`results.FOUND`); None where the price is not known.

    What used no tokens costs nothing, whatever the price is.

    `cached=False`: what they would have cost without a prompt cache; `cold=True`: at most, had all that was read from
    it been written, for as long as costs most.
    """
    if model is None:
        return None if any(column(found, name).any() for name in _PARTS) else np.zeros(len(found))
    parts = {name: column(found, name).astype(np.float64) for name in _PARTS}
    prompt = parts["input"] + parts["written"] + parts["read"]
    columns = _Columns(
        parts["input"], parts["output"], parts["written"] - parts["written_1h"], parts["written_1h"], parts["read"]
    )
    if not cached:
        none = np.zeros(len(found))
        columns = _Columns(prompt, parts["output"], none, none, none)
    if cold:
        none, marked = np.zeros(len(found)), parts["written"] + parts["read"]
        columns = _Columns(parts["input"], parts["output"], none, marked, none)
    full: np.ndarray[Any, Any] = _full(model.price, columns)
    if model.long and model.above is not None:
        full = np.where(prompt > model.above, _full(model.long, columns), full)
    full = full * np.where(column(found, "us") > 0, model.geo, 1.0)
    return full * model.batch if batch else full


@dataclass(frozen=True, slots=True)
class Saved:
    """What a run did not pay, in USD: by batches against ordinary calls, by asking equal rows once, by answers of
    earlier runs, by the prompt cache (less than nothing where writing it cost more than reading it saved).
    """  # noqa: D205 - one sentence

    batch: float = 0.0
    dedupe: float = 0.0
    reuse: float = 0.0
    cache: float = 0.0

    @property
    def total(self) -> float:
        """All of it."""
        return self.batch + self.dedupe + self.reuse + self.cache


@dataclass(frozen=True, slots=True)
class ChunkCost:
    """What one chunk of a run cost, in USD; `batch` is the server's id, None where it went through `/v1/messages`.

    `kind` says why it was asked: first, preflight, pilot, pilot now, warm (writes the prompt cache), now, again,
    longer, corrected, hand (`run.retry`). `input_tokens` are those outside the prompt cache, as the API counts them.
    """

    chunk: int
    kind: str
    batch: str | None
    requests: int
    input_tokens: int
    output_tokens: int
    cache_write_tokens: int
    cache_read_tokens: int
    usd: float | None

    def __str__(self) -> str:
        """`2`, or `1 (pilot)` where it was not asked like most."""
        return f"{self.chunk}" if self.kind == FIRST else f"{self.chunk} ({self.kind})"


@dataclass(frozen=True, slots=True)
class OutcomeCost:
    """What all answers of one outcome cost, in USD; every try counts as what it was, one that gave way too."""

    outcome: str
    requests: int
    input_tokens: int
    output_tokens: int
    cache_write_tokens: int
    cache_read_tokens: int
    usd: float | None


@dataclass(frozen=True, slots=True, repr=False)
class Cost:
    """What a run's answers cost so far: USD, None where the price is not known; `as_if` where nothing is spent.

    `reserved` is the most that what is under way may cost, `forecast` the range in which the whole run will end (a
    `forecasts.Range`), by its answers so far, or by its bytes. `outlook` is what it was expected to cost before most of
    it was sent: after its pilot, where it has one. `saved` says what was not paid, and why. `chunks` and `outcomes` say
    where it went, and each sums to `spent`: `pd.DataFrame(run.cost.chunks)` is a table. `unknown` is the most that may
    have been billed besides, for requests through `/v1/messages` whose replies were lost; a budget counts it as spent.
    """

    spent: float | None
    tokens: Tokens
    as_if: bool = False
    saved: Saved | None = None
    reserved: float | None = 0.0
    forecast: Any = None
    outlook: Any = None
    chunks: tuple[ChunkCost, ...] = ()
    outcomes: tuple[OutcomeCost, ...] = ()
    unknown: float | None = 0.0

    @property
    def error(self) -> float | None:
        """How far off the outlook was, as a share of what the run cost in the end.

        None before it has ended, and where there was none but a range from bytes, which holds no guess.
        """
        over = self.forecast is not None and self.forecast.low == self.forecast.high
        if not over or not self.outlook or not self.spent or self.outlook.how == FROM_BYTES:
            return None
        return float(self.outlook.likely / self.spent - 1)

    @property
    def hits(self) -> float | None:
        """The share of marked prompt tokens that were read from the cache, not written; None where none was marked."""
        marked = self.tokens.cache_read + self.tokens.cache_write_5m + self.tokens.cache_write_1h
        return self.tokens.cache_read / marked if marked else None

    def __str__(self) -> str:
        """`$0.41`, `$0.41 as-if`, `unknown` or `$0.41 (up to $0.002 more, not known)`."""
        more = besides(self.unknown)
        return dollars(self.spent, as_if=self.as_if) + (f" ({more})" if more else "")

    def __repr__(self) -> str:
        """A table for people."""
        facts = self._facts()
        width = max(len(label) for label, _ in facts)
        return "\n".join(f"{label:<{width}}  {value}" for label, value in facts)

    def _repr_html_(self) -> str:
        facts = [(label, value, "") for label, value in self._facts()]
        if self.outlook is not None and self.spent is not None:
            ends, alt = self.outlook, f"{self._told(self.outlook)}; spent {self}"
            facts.append(("", "", pictures.span(ends.low, ends.likely, ends.high, self.spent, alt)))
        return pictures.table(("", "", ""), facts, pictures=2)

    def _facts(self) -> list[tuple[str, str]]:
        used = self.tokens
        facts = [("spent", str(self)), ("tokens", f"{used.input:,} in, {used.output:,} out")]
        if self.hits is not None:
            wrote = used.cache_write_5m + used.cache_write_1h
            facts.append(("prompt cache", f"{used.cache_read:,} read, {wrote:,} written: {self.hits:.0%} hits"))
        if self.reserved:
            facts.append(("reserved", f"{dollars(self.reserved, as_if=self.as_if)} at most, for what is under way"))
        if self.forecast is not None and self.forecast.low < self.forecast.high:
            facts.append(("forecast", f"{self._told(self.forecast)}, {self.forecast.how}"))
        if self.outlook is not None:
            off = "" if self.error is None else f"; off by {off_by(self.error)}"
            facts.append(("foretold", f"{self._told(self.outlook)}, {self.outlook.how}{off}"))
        return [*facts, *self._parts(), *self._saved()]

    def _parts(self) -> list[tuple[str, str]]:
        """Where the money went, where it went more than one way; of many chunks, the range."""
        facts, as_if = [], " (as-if)" if self.as_if else ""
        if len(self.outcomes) > 1:
            told = [f"{part.outcome} {dollars(part.usd)}" for part in self.outcomes]
            facts.append(("by outcome", ", ".join(told) + as_if))
        known = [part.usd for part in self.chunks if part.usd is not None]
        if 1 < len(self.chunks) <= FEW_CHUNKS:
            told = [f"{part} {dollars(part.usd)}" for part in self.chunks]
            facts.append(("by chunk", ", ".join(told) + as_if))
        elif len(self.chunks) > 1 and known:
            span = f"{dollars(min(known))} to {dollars(max(known))}"
            facts.append(("by chunk", f"{len(self.chunks):,} chunks of {span}{as_if}: run.cost.chunks has each"))
        return facts

    def _told(self, usd: Any) -> str:
        if usd.how == FROM_BYTES:
            return f"at most {dollars(usd.high, as_if=self.as_if)}"
        return f"{dollars(usd.likely, as_if=self.as_if)} ({dollars(usd.low)} to {dollars(usd.high)})"

    def _saved(self) -> list[tuple[str, str]]:
        if self.saved is None:
            return []
        by = {"batch": self.saved.batch, "dedupe": self.saved.dedupe, "reuse": self.saved.reuse}
        by["cache"] = self.saved.cache
        return [(f"saved by {how}", dollars(usd, as_if=self.as_if)) for how, usd in by.items() if usd]


def besides(unknown: float | None) -> str:
    """What may have been billed besides what is known, in words; empty where nothing is.

    >>> besides(0.002), besides(0.0), besides(None)
    ('up to $0.002 more, not known', '', 'and more, not known')
    """
    if unknown is None:
        return "and more, not known"
    return f"up to {dollars(unknown)} more, not known" if unknown else ""


def off_by(error: float) -> str:
    """How far off a forecast was, as a share of the truth.

    >>> off_by(0.123), off_by(-0.0001)
    ('+12.3 %', '0.0 %')
    """
    text = f"{100 * error:+.1f} %"
    return text[1:] if text[1:] == "0.0 %" else text


def dollars(amount: float | None, *, as_if: bool = False) -> str:
    """An amount for people: cents, or two significant digits below ten cents.

    >>> dollars(12.3456), dollars(0.00041), dollars(0.00004802), dollars(-0.03), dollars(None)
    ('$12.35', '$0.00041', '$0.000048', '-$0.03', 'unknown')
    """
    if amount is None:
        return "unknown"
    if amount < 0:
        return f"-{dollars(-amount, as_if=as_if)}"
    text = f"${amount:,.2f}" if amount >= 0.1 or amount == 0 else f"${amount:.2g}"
    if "e" in text:
        text = f"${np.format_float_positional(amount, precision=2, fractional=False)}"
    return f"{text} as-if" if as_if else text
