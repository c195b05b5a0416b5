"""Prices as data, each with source and date, and what tokens cost. When money may be spent is not decided here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

BATCH_DISCOUNT: Final = 0.5  # half of every column; platform.claude.com, pricing, August 2026


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens through `/v1/messages`; `source` says where and when it was read."""

    input: float
    output: float
    cache_write: float
    cache_read: float
    source: str


PRICES: Final[dict[str, Price]] = {
    "claude-haiku-4-5": Price(1.0, 5.0, 1.25, 0.10, "platform.claude.com, pricing, August 2026"),
}


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of a run or a row, as `usage` counts them."""

    input: int = 0
    output: int = 0
    cache_write: int = 0
    cache_read: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        """The sum, part by part."""
        return Tokens(
            self.input + other.input,
            self.output + other.output,
            self.cache_write + other.cache_write,
            self.cache_read + other.cache_read,
        )


def price_of(model: str) -> Price | None:
    """The price of a model by its id, alias or dated id; None where it is not known, never zero.

    >>> price_of("claude-haiku-4-5-20251001").input
    1.0
    """
    known = PRICES.get(model)
    if known is None and model[-9:-8] == "-" and model[-8:].isdecimal():
        known = PRICES.get(model[:-9])
    return known


def cost(model: str, tokens: Tokens, *, batch: bool = True) -> float | None:
    """USD for these tokens, through a batch or synchronously; None where the model's price is not known.

    >>> round(cost("claude-haiku-4-5", Tokens(input=1_000_000, output=100_000)), 2)
    0.75
    """
    price = price_of(model)
    if price is None:
        return None
    full = (
        tokens.input * price.input
        + tokens.output * price.output
        + tokens.cache_write * price.cache_write
        + tokens.cache_read * price.cache_read
    ) / 1e6
    return full * BATCH_DISCOUNT if batch else full


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run's answers cost so far: USD, None where the price is not known; `as_if` where nothing is spent.

    `saved` is what answers of earlier runs would have cost again.
    """

    spent: float | None
    tokens: Tokens
    as_if: bool = False
    saved: float | None = 0.0

    def __str__(self) -> str:
        """`$0.41`, `$0.41 as-if` or `unknown`."""
        return dollars(self.spent, as_if=self.as_if)


def dollars(amount: float | None, *, as_if: bool = False) -> str:
    """An amount for people: cents, or two significant digits below ten cents.

    >>> dollars(12.3456), dollars(0.00041), dollars(None)
    ('$12.35', '$0.00041', 'unknown')
    """
    if amount is None:
        return "unknown"
    text = f"${amount:,.2f}" if amount >= 0.1 or amount == 0 else f"${amount:.2g}"
    if "e" in text:
        text = "$" + f"{amount:.8f}".rstrip("0")
    return f"{text} as-if" if as_if else text
