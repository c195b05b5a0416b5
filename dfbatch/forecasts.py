"""A plan: what a job asks and what it may cost, each figure with its range and how it was found.

Counts and history are handed in; what fetches them is `run/planning.py`. Bounds that hold for sure are in `bounds.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from html import escape
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from dfbatch import pictures
from dfbatch.pricing import FROM_BYTES, Tokens, cost, dollars
from dfbatch.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from dfbatch.models import Model

    Array = np.ndarray[Any, np.dtype[Any]]

NORMAL: Final = 1.645  # standard deviations on either side that hold 90 %
COUNTED: Final = 0.02  # `count_tokens` is an estimate: usage differs "by a small amount" (platform.claude.com, 2026)
SKEWED: Final = 1.25  # upwards a range is wider: few answers seldom hold a long one. 1,500 drawn jobs (lognormal, 40
# answers known): the total is within it in 94 of 100 at sigma 0.6 and 91 at 1.0; without this, in 90 and 87
TREND: Final = 3.0  # standard errors of a slope that is taken for one: by chance alone once in 700 jobs
GUESSED: Final = 0.25  # how far characters a token may be off, as a share

# English is about four characters a token up to Claude 4.6; newer tokenizers make `Model.dense` times as many. Other
# scripts, accents and emoji take a token for 1.5 to 2 characters. Calibrated roughly, hence `GUESSED`.
LETTERS: Final = 4.0
OTHERS: Final = 1.75
MESSAGE: Final = 4.0  # tokens around each turn
TOOLS: Final = 320.0  # the instructions that come with tools
IMAGE: Final = 1_600.0  # tokens of an image at most
PAGE: Final = 2_000.0  # tokens of a page of a PDF …
PAGE_BYTES: Final = 50_000.0  # … and its bytes, roughly

# English prose is about four bytes a token; bounds for a forecast from bytes alone, not measurements.
BYTES_PER_TOKEN: Final = (5.0, 2.5)


SHOWN: Final = 160  # signs of a request that are shown
UNKNOWN: Final = "how long answers will be is not known yet"


@dataclass(frozen=True, slots=True)
class Forecast:
    """Dollars as a range, without the network; from bytes alone: answers of a tenth of max_tokens to all of it."""

    low: float | None
    high: float | None
    as_if: bool = False
    how: str = FROM_BYTES

    def __str__(self) -> str:
        """In words, and where it is from: the most, where nothing is known of the answers; else nine of ten cases."""
        if self.low is None or self.high is None:
            return "cost unknown: no price for this model"
        high = dollars(self.high, as_if=self.as_if)
        if self.how == FROM_BYTES:
            return f"at most {high} ({UNKNOWN})"
        return f"{dollars(self.low)} to {high} (in nine of ten cases, {self.how})"


def forecast(model: Model | None, body_bytes: int, requests: int, max_tokens: int, *, as_if: bool = False) -> Forecast:
    """What sending these bytes may cost in a batch, USD."""
    if model is not None and model.above is not None and body_bytes / BYTES_PER_TOKEN[1] <= model.above * requests:
        model = replace(model, long=None)  # all bytes together are long, but no prompt is
    low, high = (
        cost(model, Tokens(round(body_bytes / per_token), round(requests * answer)))
        for per_token, answer in zip(BYTES_PER_TOKEN, (max_tokens / 10, max_tokens), strict=True)
    )
    return Forecast(low, high, as_if)


@dataclass(frozen=True, slots=True)
class Range:
    """What is likely, and the ends that hold in nine of ten cases; `how` says where it is from."""

    low: float
    likely: float
    high: float
    how: str = ""


# ------------------------------------------------------------------ tokens in


def characters(value: Any, *, dense: float = 1.0) -> float:
    """Tokens of a part of a request by its characters alone: texts and JSON, images and PDFs by rules of thumb.

    >>> characters("What is it?"), characters("これは何ですか"), characters("What is it?", dense=1.3)
    (2.75, 4.0, 3.575)
    """
    if isinstance(value, str):
        plain = len(value) if value.isascii() else sum(map(str.isascii, value))
        return dense * (plain / LETTERS + (len(value) - plain) / OTHERS)
    if isinstance(value, list):
        return sum(characters(item, dense=dense) for item in value)
    return _of_object(value, dense) if isinstance(value, dict) else 0.0


def _of_object(value: dict[str, Any], dense: float) -> float:
    """A turn, a content block, or anything as JSON."""
    if "role" in value:
        return MESSAGE + characters(value.get("content"), dense=dense)
    kind = value.get("type")
    if kind == "image":
        return IMAGE
    if kind == "document" and (data := _base64(value)):
        return max(1.0, len(data) * 0.75 / PAGE_BYTES) * PAGE
    return characters(value.get("text") if kind == "text" else msgspec.json.encode(value).decode(), dense=dense)


def _base64(block: dict[str, Any]) -> str:
    source = block.get("source")
    return str(source.get("data", "")) if isinstance(source, dict) and source.get("type") == "base64" else ""


def of_request(params: dict[str, Any], *, dense: float = 1.0) -> float:
    """Tokens of a whole request by its characters."""
    form = (params.get("output_config") or {}).get("format") or {}
    parts = [params.get("messages"), params.get("system"), params.get("tools"), form.get("schema")]
    return sum(characters(part, dense=dense) for part in parts) + (TOOLS if params.get("tools") else 0.0)


def strata(sizes: Array, most: int) -> Array:
    """At most so many requests that stand for all: the middle one of each part, when they are sorted by length.

    >>> strata(np.array([5, 1, 4, 2, 3, 6]), 3)
    array([3, 2, 5])
    """
    order = np.argsort(sizes, kind="stable")
    if len(order) <= most:
        return np.sort(order)
    return np.array([part[len(part) // 2] for part in np.array_split(order, most)])


@dataclass(frozen=True, slots=True)
class Line:
    """Tokens of a request by the bytes of its own part: a line through a sample, by least squares."""

    base: float
    slope: float
    spread: float  # of the sample around the line
    sizes: Array

    @classmethod
    def through(cls, sizes: Array, tokens: Array) -> Line:
        """The line of a sample; level where lengths do not differ, or more bytes had fewer tokens."""
        across = sizes - sizes.mean()
        squares = float((across**2).sum())
        slope = max(0.0, float((across * tokens).sum()) / squares) if squares else 0.0
        base = float(tokens.mean() - slope * sizes.mean())
        left = tokens - (base + slope * sizes)
        return cls(base, slope, math.sqrt(float((left**2).sum()) / max(1, len(sizes) - 2)), sizes)

    def at(self, sizes: Array) -> Array:
        """The tokens of these requests."""
        found: Array = np.maximum(1.0, self.base + self.slope * sizes)
        return found

    def total(self, sizes: Array, *, share: float, how: str) -> Range:
        """All tokens of these requests; `share` is how far each count may be off."""
        count, seen = len(sizes), len(self.sizes)
        if not count:
            return Range(0.0, 0.0, 0.0, how)
        likely = float(self.at(sizes).sum())
        squares = float(((self.sizes - self.sizes.mean()) ** 2).sum())
        far = (float(sizes.mean()) - float(self.sizes.mean())) ** 2 / squares if squares else 0.0
        error = count * self.spread * math.sqrt((1 / seen + far + 1 / count) * max(0.0, 1 - seen / count))
        width = math.hypot(quantile(seen - 2) * error, share * likely)
        return Range(max(0.0, likely - width), likely, likely + width, how)


def quantile(freedom: int) -> float:
    """How many standard errors on either side hold 90 %, where the spread is known from a sample (Student's t).

    >>> round(quantile(5), 2), round(quantile(30), 2)
    (2.01, 1.7)
    """
    z, n = NORMAL, max(1, freedom)  # Abramowitz and Stegun, 26.7.5
    return z + (z**3 + z) / (4 * n) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2) + (n == 1) * 3.0


# ----------------------------------------------------------------- tokens out


def answered(
    lengths: Array, requests: int, max_tokens: int, *, prompts: Array | None = None, asked: Array | None = None
) -> Range:
    """Tokens of so many answers, by the lengths of earlier ones.

    A normal approximation of the total, in logarithms, since lengths are skewed. One answer's worth of doubt (as far
    off as the mean is long) is added to the spread, which makes small samples wide. Where longer `prompts` had longer
    answers, those to come are as long as the prompts that are `asked` make likely.
    """
    lengths = np.minimum(lengths.astype(np.float64), max_tokens)
    seen, mean = len(lengths), max(1.0, float(lengths.mean()))
    times, left, doubt = _trend(lengths, prompts, asked)
    likely = min(float(max_tokens), max(1.0, mean * times))
    variance = (float((left**2).sum()) + mean**2) / seen / mean**2
    width = quantile(seen - 1) * math.sqrt(variance * (1 / seen + 1 / max(1, requests)) + doubt**2)
    low, high = likely * math.exp(-min(width, 50.0)), likely * math.exp(min(SKEWED * width, 50.0))
    how = f"history of {seen:,} answer{'s' * (seen != 1)}"
    return Range(requests * max(1.0, low), requests * likely, requests * min(float(max_tokens), high), how)


def _trend(lengths: Array, prompts: Array | None, asked: Array | None) -> tuple[float, Array, float]:
    """How many times as long as the mean such answers are, what the trend leaves open, and how far off it may be.

    Answers are taken to grow with a power of the prompt, found by least squares in logarithms. Where that is within
    `TREND` standard errors of none, it is mostly chance, and left alone.
    """
    none = 1.0, lengths - lengths.mean(), 0.0
    if prompts is None or asked is None or len(lengths) < 3 or not len(asked) or not (prompts != prompts[0]).any():
        return none
    across, tall = np.log(np.maximum(1.0, prompts)), np.log(np.maximum(1.0, lengths))
    line = Line.through(across, tall)
    error = line.spread / math.sqrt(float(((across - across.mean()) ** 2).sum()))
    if line.slope <= TREND * error:
        return none
    there, here = (np.maximum(1.0, asked) ** line.slope), np.exp(across * line.slope)
    apart = float((there * np.log(np.maximum(1.0, asked))).sum() / there.sum() - (here * across).sum() / here.sum())
    return float(there.mean() / here.mean()), lengths - lengths.mean() / here.mean() * here, error * apart


def rest(spent: float, seen: Array, requests: int) -> Range:
    """USD of a run under way: what is spent, and what so many more requests will cost by those seen.

    >>> rest(0.5, np.array([0.1, 0.1, 0.1]), 10)
    Range(low=1.5, likely=1.5, high=1.5, how='by 3 answers of this run')
    """
    mean = float(seen.mean())
    variance = float(seen.var(ddof=1))
    width = quantile(len(seen) - 1) * math.sqrt(variance * requests * (1 + requests / len(seen)))
    likely = spent + requests * mean
    low, high = max(spent, likely - width), likely + SKEWED * width
    return Range(round(low, 12), round(likely, 12), round(high, 12), f"by {len(seen):,} answers of this run")


def unknown(requests: int, most: int, how: str = "from max_tokens") -> Range:
    """Tokens of so many answers, where nothing is known but their limit: from one token each to all of it."""
    return Range(requests, requests * math.sqrt(most), requests * most, how)


# -------------------------------------------------------------------- dollars


def scaled(amount: float, tokens: Range) -> Range:
    """The range of an amount of dollars, from that of the tokens that it pays."""
    share = amount / tokens.likely if tokens.likely else 0.0
    return Range(share * tokens.low, amount, share * tokens.high)


def spend(*parts: Range) -> Range:
    """The range of a sum of dollars, whose parts are independent of each other."""
    likely = sum(part.likely for part in parts)
    low = math.hypot(*(part.likely - part.low for part in parts))
    high = math.hypot(*(part.high - part.likely for part in parts))
    return Range(max(0.0, likely - low), likely, likely + high)


# ----------------------------------------------------------------------- plan


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Plan:
    """A job before it is sent: prints as a table; `submit()` carries it out.

    `dollars` is the price of what is to be sent, in a batch; None where the model's price is not known. `sync` is what
    the same requests cost through ordinary calls, `without_dedupe` what they cost in a batch where every row is a
    request of its own, `without_caching` what they cost where no prefix is read from the prompt cache. Automatic tries
    (`retries`) are not counted.
    """

    model: str
    rows: int
    skipped: int  # rows that ask nothing
    requests: int  # distinct ones
    reused: int  # of those, answered or under way already: they cost nothing
    to_send: int
    chunks: int
    bytes: int
    tokens_in: Range
    tokens_out: Range
    dollars: Range | None
    sync: float | None
    without_dedupe: float | None
    without_caching: float | None
    first: tuple[str, ...]
    as_if: bool = False
    notes: tuple[str, ...] = ()
    begin: Callable[[], Any] = field(compare=False)

    def submit(self) -> Any:
        """Carry out exactly this plan: a Run, under way. Raises PlanChanged where its requests are not the same now."""
        return self.begin()

    def __repr__(self) -> str:
        """A table for people."""
        table = [("plan", f"{self.rows:,} rows for {self.model}"), *self._facts()]
        width = max(len(label) for label, _ in table)
        return "\n".join(f"{label:<{width}}  {visible(value)}" for label, value in table)

    def _repr_html_(self) -> str:
        table = [("plan", f"{self.rows:,} rows for {self.model}"), *self._facts()]
        cell = 'style="text-align:left;vertical-align:top;padding:.1em .6em;white-space:normal"'
        rows = (
            f"<tr><th {cell}>{escape(label)}</th><td {cell}>{escape(visible(value))}</td></tr>"
            for label, value in table
        )
        return f'<table class="{pictures.PLAIN}">{"".join(rows)}</table>'

    @property
    def answers_known(self) -> bool:
        """Whether earlier answers tell how long these will be; else the high end of the dollars is a most."""
        return not self.tokens_out.how.startswith("from ")

    def _facts(self) -> list[tuple[str, str]]:
        facts = [
            ("rows", f"{self.rows - self.skipped:,} ask something, {self.skipped:,} are skipped"),
            ("requests", f"{self.requests:,} distinct, {self.reused:,} of them paid for or under way already"),
            ("to send", f"{self.to_send:,} in {self.chunks:,} chunk{'s' * (self.chunks != 1)}, {_size(self.bytes)}"),
        ]
        if self.to_send:
            facts += [
                ("tokens in", _tokens(self.tokens_in)),
                ("tokens out", _tokens(self.tokens_out, known=self.answers_known)),
            ]
        facts.append(("dollars", _span(self.dollars, as_if=self.as_if, known=self.answers_known)))
        if self.to_send:
            facts += [
                ("ordinary calls", f"{dollars(self.sync, as_if=self.as_if)} for the same requests, without a batch"),
                ("without dedupe", f"{dollars(self.without_dedupe, as_if=self.as_if)} with a request for every row"),
                (
                    "without caching",
                    f"{dollars(self.without_caching, as_if=self.as_if)} with every prefix as plain input",
                ),
            ]
        facts += [(f"request {number}", text) for number, text in enumerate(self.first, 1)]
        return facts + [("note", note) for note in self.notes]


def _tokens(tokens: Range, *, known: bool = True) -> str:
    if not known:
        return f"at most {tokens.high:,.0f} ({tokens.how})"
    return f"{tokens.likely:,.0f} ({tokens.low:,.0f} to {tokens.high:,.0f}; {tokens.how})"


def _span(amount: Range | None, *, as_if: bool, known: bool) -> str:
    if amount is None:
        return "unknown: no price for this model"
    if not amount.high:
        return dollars(0.0, as_if=as_if)
    if not known:
        return f"at most {dollars(amount.high, as_if=as_if)} ({UNKNOWN})"
    low, high = dollars(amount.low), dollars(amount.high)
    return f"{dollars(amount.likely, as_if=as_if)} ({low} to {high} in nine of ten cases)"


def _size(count: int) -> str:
    """Bytes for people.

    >>> _size(812), _size(12_345_678)
    ('812 B', '12.3 MB')
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def shortened(text: str) -> str:
    r"""A request on one line.

    >>> shortened("a\n\nb")
    'a b'
    """
    line = " ".join(text[: 8 * SHOWN].split())
    return line if len(line) <= SHOWN and len(text) <= 8 * SHOWN else line[: SHOWN - 1] + "…"
