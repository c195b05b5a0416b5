"""What a run was expected to cost before most of it was sent, kept so that the end can be held against it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from dfbatch.forecasts import Range

if TYPE_CHECKING:
    from dfbatch.ledger import Ledger


_range = msgspec.json.Decoder(Range).decode


def note(ledger: Ledger, run_id: str, expected: Range) -> None:
    """Keep a forecast (USD); a later one, by the answers of a pilot, takes its place."""
    ledger.write_lines(ledger.run_file(run_id, "outlook"), [msgspec.json.encode(expected)])


def noted(ledger: Ledger, run_id: str) -> Range | None:
    """The forecast of a run; None where none was made, or its file is not as it was."""
    try:
        return _range(next(iter(ledger.read_lines(ledger.run_file(run_id, "outlook")))))
    except (OSError, StopIteration, msgspec.MsgspecError):
        return None
