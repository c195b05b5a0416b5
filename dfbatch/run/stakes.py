"""The most that a chunk may cost, by its bytes, as it is told. What a budget goes by is stricter: `budgets.py`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from dfbatch.forecasts import forecast

if TYPE_CHECKING:
    from dfbatch.ledger.records import ChunkRecord, RunRecord
    from dfbatch.models import Model, Models, Price

_MARK: Final = '"cache_control"'
_AN_HOUR: Final = '"ttl":"1h"'


def at_most(models: Models, record: RunRecord, chunk: ChunkRecord) -> float | None:
    """USD in a batch; None where the price is not known. What is marked for the prompt cache may be written to it."""
    model = models.find(chunk.model or record.model)
    return forecast(_written(model, record, chunk), chunk.bytes, chunk.requests, chunk.max_tokens).high


def _written(model: Model | None, record: RunRecord, chunk: ChunkRecord) -> Model | None:
    """The model as if every token of a marked prompt had to be written to the cache."""
    head, spec = chunk.head or record.spec.head, record.spec
    if model is None or not (spec.cache or spec.marked or _MARK in head):
        return model
    hour = spec.cache == "1h" or spec.marked or _AN_HOUR in head

    def dearest(price: Price) -> Price:
        return replace(price, input=max(price.input, price.cache_write_1h if hour else price.cache_write_5m))

    return replace(model, price=dearest(model.price), long=model.long and dearest(model.long))
