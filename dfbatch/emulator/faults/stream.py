"""Faults in the bytes of a results download: lines doubled, dropped, foreign, blank, joined, or the whole cut short.

Not here: the untouched stream (routes/batches.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dfbatch.emulator.faults import Fault

    Change = Callable[[int, bytes], list[bytes]]


def changed(lines: Iterable[bytes], faults: list[Fault]) -> Iterator[bytes]:
    """The lines as the faults leave them."""
    changes = [_CHANGES[fault.name](fault) for fault in faults if fault.name in _CHANGES]
    for number, line in enumerate(lines):
        parts = [line]
        for change in changes:
            parts = [piece for part in parts for piece in change(number, part)]
        yield from parts


def cut_at(size: int, faults: list[Fault]) -> int | None:
    """Where a download of `size` bytes breaks off, if it does: never at the end of a line by chance alone."""
    shares = [float(fault.options["share"]) for fault in faults if fault.name == "truncated"]
    return max(1, int(size * min(shares)) - 1) if shares else None


def _every(fault: Fault, change: Callable[[bytes], list[bytes]]) -> Change:
    step = max(1, int(fault.options["every"]))
    return lambda number, line: change(line) if number % step == step - 1 else [line]


def _foreign(line: bytes) -> list[bytes]:
    made = msgspec.json.decode(line)
    made["custom_id"] = "foreign-" + made["custom_id"][:40]
    return [line, msgspec.json.encode(made) + b"\n"]


def _unknown(line: bytes) -> list[bytes]:
    made = msgspec.json.decode(line)
    made["result"] = {"type": "deferred", "until": "a type that no client knows"}
    return [msgspec.json.encode(made) + b"\n"]


_CHANGES: dict[str, Callable[[Fault], Change]] = {
    "blank_lines": lambda fault: _every(fault, lambda line: [line, b"\n"]),
    "crlf": lambda _fault: lambda _number, line: [line[:-1] + b"\r\n"],
    "bom": lambda _fault: lambda number, line: [line if number else b"\xef\xbb\xbf" + line],
    "joined_lines": lambda fault: _every(fault, lambda line: [line[:-1]]),
    "stray_text": lambda fault: _every(fault, lambda line: [b"<!-- it's {a proxy} -->\0" + line]),
    "duplicate_lines": lambda fault: _every(fault, lambda line: [line, line]),
    "missing_lines": lambda fault: _every(fault, lambda _line: []),
    "foreign_ids": lambda fault: _every(fault, _foreign),
    "unknown_type": lambda fault: _every(fault, _unknown),
}
