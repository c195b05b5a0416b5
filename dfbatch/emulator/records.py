"""One entry of fixed size for each answered request: where its line lies, how it ended, what it costs.

100,000 of them are 8 MB, read and summed as one array. Not here: the lines themselves (lines.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dfbatch.emulator.models import prices
from dfbatch.emulator.store import Sums

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

RECORD = np.dtype(
    [
        ("offset", "<i8"),
        ("length", "<i8"),
        ("succeeded", "?"),
        ("billed", "?"),
        ("rate", "u1"),  # place in `rates()`
        ("us", "?"),  # inference_geo us
        *((name, "<i4") for name in ("input", "write_5m", "write_1h", "read", "output")),
        ("digest", "V32"),
    ]
)
Row = tuple[int, int, bool, bool, int, bool, int, int, int, int, int, bytes]
_SUMMED = ("input", "write_5m", "write_1h", "read", "output")


def rates() -> list[str]:
    """The names of price lists, by their number in a record."""
    return list(prices())


def packed(rows: list[Row]) -> bytes:
    """The rows as bytes for the file."""
    return np.array(rows, RECORD).tobytes()


def load(path: Path) -> NDArray[np.void]:
    """The whole records of the file; a torn one at the end is left out."""
    content = path.read_bytes() if path.exists() else b""
    return np.frombuffer(content[: len(content) // RECORD.itemsize * RECORD.itemsize], RECORD)


def sums(records: NDArray[np.void], *, workspace: str, mode: str) -> Iterator[Sums]:
    """What the billed ones among them add up to, by price list and geography."""
    names = rates()
    paid = records[records["billed"]]
    for number in np.unique(paid["rate"]).tolist():
        for us in (False, True):
            part = paid[(paid["rate"] == number) & (paid["us"] == us)]
            if len(part):
                figures = (int(part[name].sum(dtype=np.int64)) for name in _SUMMED)
                yield Sums(workspace, mode, names[number], "us" if us else "global", len(part), *figures)
