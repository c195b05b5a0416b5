"""What a job costs, request by request: prompts, cached prefixes, answers, each with its range.

Tokens and shares are handed in (`forecasts.py`, `hits.py`); what is fetched for them is `run/planning.py`'s.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dfbatch.forecasts import Range, scaled, spend
from dfbatch.hits import written
from dfbatch.pricing import MILLION

if TYPE_CHECKING:
    from dfbatch.models import Model

    Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Prefix:
    """What all batched requests read from the prompt cache, or write to it; nothing where nothing is marked."""

    tokens: Array = field(default_factory=lambda: np.zeros(1))  # of each request, or one number for all
    lifetime: str = ""
    price: Range = field(default_factory=lambda: Range(1.0, 1.0, 1.0))  # of a token, as a multiple of input's
    doubt: float = 0.0  # how far `tokens` may be off, as a share

    @property
    def how(self) -> str:
        """Where its price is from."""
        return self.price.how if self.tokens.any() else ""


@dataclass(frozen=True, slots=True)
class Job:
    """Requests by what money depends on."""

    model: Model
    prompts: Array  # tokens of each
    answer: float  # likely tokens of each
    direct: Array  # whether it goes through `/v1/messages`, at the full price and without a mark
    warm: Array  # whether it goes ahead to write the prefix
    prefix: Prefix = field(default_factory=Prefix)
    us: bool = False

    def _rates(self) -> tuple[Array, Array]:
        """USD of a token in and out of each, through ordinary calls."""
        model = self.model
        over = np.zeros(len(self.prompts), bool) if model.above is None else self.prompts > model.above
        long, geo = model.long or model.price, (model.geo if self.us else 1.0) / MILLION
        into = np.where(over, long.input, model.price.input) * geo
        return into, np.where(over, long.output, model.price.output) * geo

    def _parts(self, times: Array) -> tuple[float, float, float]:
        """USD of input that costs what it costs, of prefixes at the price of input, of answers."""
        into, out = self._rates()
        marked = np.where(self.direct, 0.0, np.minimum(self.prefix.tokens, self.prompts))
        first = written(self.model, self.prefix.lifetime) / (self.model.price.input or 1.0)
        plain = into * times * (self.prompts - marked * np.where(self.warm, 1 - first, 1.0))
        read = into * times * np.where(self.warm, 0.0, marked)
        return float(plain.sum()), float(read.sum()), float((out * times).sum()) * self.answer

    def dollars(self, tokens_in: Range, tokens_out: Range, *, times: Array | float = 1.0) -> Range:
        """What it costs as it is sent: in a batch, but for what goes ahead; each so many times."""
        plain, read, out = self._parts(times * self.shares)
        price = self.prefix.price
        likely = read * price.likely
        unsure = self.prefix.doubt * read * abs(1 - price.likely)
        return spend(
            scaled(plain + likely, tokens_in),
            scaled(out, tokens_out),
            Range(read * price.low - likely, 0.0, read * price.high - likely),
            Range(-unsure, 0.0, unsure),
        )

    def likely(self, times: Array, *, cached: bool = True) -> float:
        """What so many of each likely cost, through ordinary calls; or where nothing is read from the cache."""
        if not cached:
            return replace(self, prefix=Prefix()).likely(times)
        plain, read, out = self._parts(times)
        return plain + read * self.prefix.price.likely + out

    @property
    def shares(self) -> Array:
        """How much of the price of an ordinary call each request costs."""
        return np.where(self.direct, 1.0, self.model.batch)
