"""Whether what requests share is worth a prompt cache, and for how long. Marks are set in `requests.py`.

Writing costs more than plain input, reading a tenth or less; in a batch it is best effort. One request that goes ahead
alone writes the prefix, and the others mostly read it (platform.claude.com, batch processing, August 2026).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dfbatch.pricing import MILLION, dollars

if TYPE_CHECKING:
    from dfbatch.models import Model

    Array = np.ndarray[Any, np.dtype[Any]]

BYTES: Final = 4.0  # of English text or JSON a token, up to Claude 4.6: for a guess, not for a bill
HITS: Final = 0.8  # of requests behind one that went ahead; the documentation says 30 to 98 %
WORTH: Final = 0.05  # USD: less than this is not worth the wait for one request
MANY: Final = 100  # requests for which one goes ahead where a cache is wished for by hand


@dataclass(frozen=True, slots=True)
class Caching:
    """How a run marks what its requests share: "", "5m" or "1h"; `leads` where one request goes ahead to write it.

    `marked`: the prompts hold marks of the user.
    """

    lifetime: str = ""
    leads: bool = False
    warning: str = ""
    marked: bool = False


def prefix_tokens(shared_bytes: int, model: Model | None) -> int:
    """About how many tokens so many bytes of text are."""
    return round(shared_bytes / BYTES * (model.dense if model else 1.0))


def decide(said: str | None, model: Model | None, *, shared_bytes: int, requests: int, users: bool) -> Caching:
    """What `cache=` comes to for this model, prefix and number of requests; `users` where the call has marks itself.

    >>> from dfbatch.models import Models
    >>> haiku = Models().find("claude-haiku-4-5")
    >>> decide("auto", haiku, shared_bytes=40_000, requests=10_000, users=False)
    Caching(lifetime='1h', leads=True, warning='', marked=False)
    >>> decide("auto", haiku, shared_bytes=400, requests=10_000, users=False).lifetime
    ''
    """
    tokens = prefix_tokens(shared_bytes, model)
    least = model.prefix if model else None
    if users or said in ("5m", "1h"):
        lifetime = "" if users else str(said)
        return Caching(lifetime, leads=bool(lifetime) and requests >= MANY, warning=_short(tokens, least))
    if said is None or model is None or least is None or tokens < least:
        return Caching()
    saved = float(saves(model, "1h", np.array([tokens]), np.array([requests])).sum())
    return Caching("1h", leads=True) if saved >= WORTH else Caching()


def saves(model: Model, lifetime: str, tokens: Array, counts: Array) -> Array:
    """USD that each prefix saves in a batch, by its tokens and how many requests begin with it: one writes it."""
    price = model.price
    write = price.cache_write_1h if lifetime == "1h" else price.cache_write_5m
    each = price.input - HITS * price.cache_read - (1 - HITS) * write
    saved: Array = tokens * (price.input - write + (counts - 1) * each) * model.batch / MILLION
    return saved


def worth(said: str | None, model: Model | None, *, shared_bytes: int, sizes: Array, counts: Array) -> Array:
    """Which prefixes beyond the shared part are marked, by their bytes and how many requests begin with each.

    >>> from dfbatch.models import Models
    >>> opus = Models().find("claude-opus-5")
    >>> worth("auto", opus, shared_bytes=0, sizes=np.array([40_000, 40_000]), counts=np.array([2, 20])).tolist()
    [False, True]
    """
    least = model.prefix if model else None
    tokens = (shared_bytes + sizes) / BYTES * (model.dense if model else 1.0)
    if said in ("5m", "1h"):
        return (counts > 1) & (tokens >= (least or 0))
    none = np.zeros(len(sizes), bool)
    if said is None or model is None or least is None:
        return none
    saved = saves(model, "1h", tokens, counts)
    taken = (tokens >= least) & (saved > 0)
    return taken if saved[taken].sum() >= WORTH else none


def verdict(model: Model | None, lifetime: str, *, shared_bytes: int, sizes: Array, counts: Array) -> str:
    """What to tell of marks that the user placed; nothing where they save more than they cost.

    >>> from dfbatch.models import Models
    >>> opus = Models().find("claude-opus-5")
    >>> verdict(opus, "5m", shared_bytes=0, sizes=np.full(900, 40_000), counts=np.ones(900))
    'cache_control marks 900 prefixes in 900 requests: writing them costs $7.31 more than reading them saves'
    """
    if model is None or model.prefix is None or not len(sizes):
        return ""
    tokens = (shared_bytes + sizes) / BYTES * model.dense
    if told := _short(int(tokens.max()), model.prefix):
        return told
    saved = float(saves(model, lifetime, tokens, counts)[tokens >= model.prefix].sum())
    if saved >= 0:
        return ""
    requests = int(counts.sum())
    return (
        f"cache_control marks {len(sizes):,} prefix{'es' * (len(sizes) != 1)} in {requests:,} request"
        f"{'s' * (requests != 1)}: writing them costs {dollars(-saved)} more than reading them saves"
    )


def _short(tokens: int, least: int | None) -> str:
    """What to tell where a prefix that was marked is surely too short to be cached."""
    if least is None or tokens * 1.5 >= least:
        return ""
    return f"about {tokens:,} tokens are shared, and this model caches {least:,} or more: the mark does nothing"
