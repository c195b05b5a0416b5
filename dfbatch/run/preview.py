"""Some rows now, through `/v1/messages`, at the full price: which rows, and how they are claimed.

Asking them is `now.py`'s; the later run over the whole frame reuses the answers.
"""

from __future__ import annotations

import dataclasses
import warnings
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dfbatch.errors import OptionError
from dfbatch.ledger.states import COLLECTED
from dfbatch.models import BATCH
from dfbatch.pricing import dollars
from dfbatch.prompts import compile_prompt
from dfbatch.requests import parts
from dfbatch.run.claims import Claimed, claim
from dfbatch.run.now import MOST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dfbatch.forecasts import Forecast
    from dfbatch.frames import Adapter
    from dfbatch.frames.cells import Table
    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import RunRecord
    from dfbatch.models import Model
    from dfbatch.options import Options
    from dfbatch.prompts import Prompt
    from dfbatch.run.spools import Terms, Wanted

LOOKS: Final = 10  # rows that are looked at, for each one that is shown, to find one that differs from the others


def check(rows: Any, options: Options) -> None:
    """Raise where so many rows cannot be previewed."""
    if isinstance(rows, bool) or not isinstance(rows, int) or not 1 <= rows <= MOST:
        raise OptionError(f"rows={rows!r}: a preview shows 1 to {MOST} rows", hint="rows=20")
    if rows * options.samples > MOST:
        raise OptionError(
            f"{rows:,} rows with samples={options.samples} are {rows * options.samples:,} requests",
            f"a preview asks {MOST} at most",
            hint=f"rows={max(1, MOST // options.samples)}",
        )


def quiet(options: Options) -> Options:
    """As the call says it, but nothing is asked twice: a preview shows what comes, at once."""
    return dataclasses.replace(options, retries=0)


def spread(adapter: Adapter, frame: Any, prompt: Any, options: Options, *, rows: int, series: str | None) -> list[int]:
    """The positions of so many rows, evenly over the frame and in order; those that ask something new come first."""
    height = adapter.height(frame)
    if height <= rows:
        return list(range(height))
    compiled = compile_prompt(prompt, adapter.names(frame), series=series, same_for_all=options.same_for_all)
    table = adapter.snapshot(frame, list(compiled.needs))
    bounds = np.linspace(0, height, rows + 1).astype(int).tolist()
    seen: set[bytes] = set()
    chosen: list[int] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the rows that are taken tell by themselves
        for start, stop in pairwise(bounds):
            new = (at for at in _places(start, stop, LOOKS) if _is_new(compiled, table, at, seen))
            chosen += islice(new, 1)
        # where a part of the frame had nothing new
        more = (at for at in _places(0, height, LOOKS * rows) if _is_new(compiled, table, at, seen))
        chosen += islice(more, rows - len(chosen))
    rest = np.setdiff1d(np.arange(height), chosen)
    fill = ((np.arange(rows - len(chosen)) + 0.5) * len(rest) / max(1, rows - len(chosen))).astype(int)
    return sorted([*chosen, *rest[fill].tolist()])


def _places(start: int, stop: int, most: int) -> Iterator[int]:
    """At most so many positions of a part of the frame, its middle first."""
    step = max(1, -(-(stop - start) // most))
    found = range(start + (stop - start) % step // 2, stop, step)
    middle = len(found) // 2
    yield from found[middle:]
    yield from found[:middle]


def _is_new(prompt: Prompt, table: Table, position: int, seen: set[bytes]) -> bool:
    """Whether a row asks something that none before it asked."""
    block = table.block(position, position + 1)
    (content,) = prompt.render(block, start=position, on_null="skip", rows=1).contents
    if content is None:
        return False
    (made,) = parts([content])
    new = made not in seen
    seen.add(made)
    return new


def at_once(
    ledger: Ledger,
    record: RunRecord,
    wanted: Wanted,
    *,
    terms: Terms,
    reuse: bool,
    before: Callable[[], None],
) -> Claimed:
    """Claim what nobody has asked yet for `/v1/messages` (a `Claiming`)."""
    terms = dataclasses.replace(terms, kind="now", size=None)
    return claim(ledger, record, wanted, terms=terms, reuse=reuse, before=before)


def announced(ledger: Ledger, record: RunRecord, forecast: Forecast, model: Model | None) -> str:
    """One line, before anything is sent: how many requests, and at most how many dollars.

    The forecast is a batch's, which costs a share of an ordinary call.
    """
    chunks = ledger.chunks(record.id)
    count = sum(chunk.requests for chunk in chunks if chunk.run == record.id)
    known = record.requests - count
    told = f"preview: {count:,} request{'s' * (count != 1)} through /v1/messages, at the full price"
    if not count:
        told = "preview: nothing to send"
    elif forecast.high is None:
        told += ": cost unknown, no price for this model"
    else:
        told += f": up to about {dollars(forecast.high / (model.batch if model else BATCH), as_if=forecast.as_if)}"
    waits = " or under way" if any(chunk.run != record.id and chunk.state != COLLECTED for chunk in chunks) else ""
    return told + (f" · {known:,} answered{waits} already" if known else "")
