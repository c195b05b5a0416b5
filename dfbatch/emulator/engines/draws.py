"""Seeded choices that are the same on every Python: drawn from a digest, not from a random module.

Not here: what is chosen (sample.py, values.py).
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")
_LEAST = 1 << 64


class Draw:
    """A stream of choices that follows from its seed."""

    __slots__ = ("_left", "_seed")

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._left = int.from_bytes(seed)

    def below(self, count: int) -> int:
        """A whole number from 0 up to `count`, which is left out."""
        if self._left < _LEAST * count:
            self._seed = sha256(self._seed).digest()
            self._left = int.from_bytes(self._seed)
        self._left, drawn = divmod(self._left, count)
        return drawn

    def of(self, things: Sequence[T]) -> T:
        """One of these."""
        return things[self.below(len(things))]

    def share(self) -> float:
        """Evenly between 0 and 1, both left out."""
        return (self.below(1 << 32) + 0.5) / (1 << 32)
