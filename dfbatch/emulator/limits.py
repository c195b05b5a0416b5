"""Rate limits of the tiers: calls per minute over all batch endpoints together, requests in the queue, token counting.

Figures of the reference §1.8 (documentation of August 2026). Not here: what a call costs (billing.py).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dfbatch.emulator.clock import SECOND, rfc3339
from dfbatch.emulator.errors import ApiError

if TYPE_CHECKING:
    from dfbatch.emulator.clock import Clock


@dataclass(frozen=True, slots=True)
class Tier:
    """What an organization may do; 0 is no limit."""

    calls: int = 0  # per minute
    queue: int = 0  # batched requests waiting
    counts: int = 0  # count_tokens per minute


TIERS = {
    "none": Tier(),
    "start": Tier(calls=1_000, queue=200_000, counts=2_000),
    "build": Tier(calls=2_000, queue=300_000, counts=4_000),
    "scale": Tier(calls=4_000, queue=500_000, counts=8_000),
}


class Limits:
    """One token bucket per organization and kind of call, filled by the emulator's clock."""

    def __init__(self, tier: str, clock: Clock) -> None:
        if tier not in TIERS:
            raise ValueError(f"unknown tier {tier!r}. Known are {', '.join(TIERS)}")
        self.tier = TIERS[tier]
        self._clock = clock
        self._buckets: dict[tuple[str, str], Bucket] = {}
        self._lock = threading.Lock()

    def take(self, organization: str, kind: str) -> dict[str, str]:
        """One call of kind `batches` or `counts`; the headers that tell what is left, or a 429."""
        rate = {"batches": self.tier.calls, "counts": self.tier.counts}.get(kind, 0)
        if not rate:
            return {}
        with self._lock:
            bucket = self._buckets.setdefault((organization, kind), Bucket(rate, self._clock.now()))
            wait = bucket.take(self._clock.now())
        headers = bucket.headers(self._clock.now())
        if wait:
            seconds = str(-(-wait // SECOND))
            message = f"This request would exceed your organization's rate limit of {rate} requests per minute."
            raise ApiError(message, status=429, headers={"retry-after": seconds, **headers})
        return headers

    def admit(self, waiting: int, coming: int) -> None:
        """Whether so many more requests fit in the queue."""
        if self.tier.queue and waiting + coming > self.tier.queue:
            raise ApiError(  # text and retry-after: [?] §1.8
                f"This request would exceed your organization's limit of {self.tier.queue} batch requests in the "
                f"processing queue: {waiting} are waiting and {coming} would be added.",
                status=429,
                headers={"retry-after": "60"},
            )

    def clear(self) -> None:
        """Fill every bucket."""
        with self._lock:
            self._buckets.clear()


class Bucket:
    """Holds at most a minute's calls and fills evenly."""

    def __init__(self, rate: int, now: int) -> None:
        self._rate = rate
        self._level = float(rate)
        self._seen = now

    def take(self, now: int) -> int:
        """Microseconds to wait, or 0 if the call may pass."""
        self._level = min(self._rate, self._level + (now - self._seen) * self._rate / (60 * SECOND))
        self._seen = now
        if self._level < 1:
            return int((1 - self._level) * 60 * SECOND / self._rate) + 1
        self._level -= 1
        return 0

    def headers(self, now: int) -> dict[str, str]:
        """The rate limit headers for a call made now."""
        full = now + int((self._rate - self._level) * 60 * SECOND / self._rate)
        return {
            "anthropic-ratelimit-requests-limit": str(self._rate),
            "anthropic-ratelimit-requests-remaining": str(int(self._level)),
            "anthropic-ratelimit-requests-reset": f"{rfc3339(full)}"[:19] + "Z",
        }
