"""How often each route was called, since the start or the last reset.

Not here: what calls cost (billing.py).
"""

from __future__ import annotations

import threading
from collections import Counter


class Meter:
    """Counts by `METHOD template`, the calls that met a fault included."""

    def __init__(self) -> None:
        self._calls: Counter[str] = Counter()
        self._lock = threading.Lock()

    def count(self, template: str) -> None:
        """One more call."""
        with self._lock:
            self._calls[template] += 1

    def told(self) -> dict[str, int]:
        """Counts so far."""
        with self._lock:
            return dict(self._calls)

    def clear(self) -> None:
        """Start again from none."""
        with self._lock:
            self._calls.clear()
