"""What a run cost, try by try, and what it did not pay again. Prices are in `pricing.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dfbatch import pricing
from dfbatch.pricing import Cost, Tokens

if TYPE_CHECKING:
    from dfbatch.run.loop import Work


def cost(work: Work) -> Cost:
    """Every answer that the run's own chunks brought, those that gave way to a better one too.

    What was asked by hand through `/v1/messages` is at the full price, everything else at a batch's.
    """
    tokens, spent = Tokens(), 0.0
    known = True
    for chunk in work.sheet.chunks:
        if chunk.run == work.record.id:
            paid = work.sheet.paid.get(chunk.id, Tokens())
            price = pricing.cost(chunk.model or work.record.model, paid, batch=chunk.kind != "now")
            tokens, spent, known = tokens + paid, spent + (price or 0.0), known and price is not None
    return Cost(
        spent if known else None,
        tokens,
        as_if=not (work.record.spends and work.backend.spends),
        saved=saved(work),
    )


def saved(work: Work) -> float | None:
    """What the answers drawn from other runs would have cost again in a batch, USD."""
    sheet = work.sheet
    foreign = [origin for origin, chunk in enumerate(sheet.chunks) if chunk.run != work.record.id]
    part = sheet.found[np.isin(sheet.source, foreign)]
    return pricing.cost(
        work.record.model, Tokens(*(int(part[name].sum()) for name in ("input", "output", "written", "read")))
    )
