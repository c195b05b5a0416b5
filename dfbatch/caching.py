"""Whether the part that all requests share is worth a prompt cache, and for how long. Marks are set in `requests.py`.

Writing costs more than plain input, reading a tenth or less; in a batch it is best effort. One request that goes ahead
alone writes the prefix, and the others mostly read it (platform.claude.com, batch processing, August 2026).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dfbatch.pricing import MILLION

if TYPE_CHECKING:
    from dfbatch.models import Model

BYTES: Final = 4.0  # of English text or JSON a token, up to Claude 4.6: for a guess, not for a bill
HITS: Final = 0.8  # of requests behind one that went ahead; the documentation says 30 to 98 %
WORTH: Final = 0.05  # USD: less than this is not worth the wait for one request
MANY: Final = 100  # requests


@dataclass(frozen=True, slots=True)
class Caching:
    """How a run marks what its requests share: "", "5m" or "1h"; `leads` where one request goes ahead to write it."""

    lifetime: str = ""
    leads: bool = False
    warning: str = ""


def prefix_tokens(shared_bytes: int, model: Model | None) -> int:
    """About how many tokens so many bytes of text are."""
    return round(shared_bytes / BYTES * (model.dense if model else 1.0))


def decide(said: str | None, model: Model | None, *, shared_bytes: int, requests: int, users: bool) -> Caching:
    """What `cache=` comes to for this model, prefix and number of requests; `users` where the call has marks itself.

    >>> from dfbatch.models import Models
    >>> haiku = Models().find("claude-haiku-4-5")
    >>> decide("auto", haiku, shared_bytes=40_000, requests=10_000, users=False)
    Caching(lifetime='1h', leads=True, warning='')
    >>> decide("auto", haiku, shared_bytes=400, requests=10_000, users=False).lifetime
    ''
    """
    tokens = prefix_tokens(shared_bytes, model)
    least = model.prefix if model else None
    if users or said in ("5m", "1h"):
        lifetime = "" if users else str(said)
        return Caching(lifetime, leads=bool(lifetime) and requests >= MANY, warning=_short(tokens, least))
    if said is None or model is None or least is None or tokens < least or requests < MANY:
        return Caching()
    price = model.price
    each = price.input - HITS * price.cache_read - (1 - HITS) * price.cache_write_1h
    saved = requests * tokens * each * model.batch / MILLION
    return Caching("1h", leads=True) if saved >= WORTH else Caching()


def _short(tokens: int, least: int | None) -> str:
    """What to tell where a prefix that was marked is surely too short to be cached."""
    if least is None or tokens * 1.5 >= least:
        return ""
    return f"about {tokens:,} tokens are shared, and this model caches {least:,} or more: the mark does nothing"
