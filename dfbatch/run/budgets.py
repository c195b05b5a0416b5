"""What a run may spend, and the most that requests may cost before they are answered. Who asks is `gate.py`."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, Final

from dfbatch import waves
from dfbatch.errors import BudgetNeeded, LedgerDamaged, LedgerError, OptionError
from dfbatch.ledger.states import SPLIT
from dfbatch.models import Models
from dfbatch.pricing import FROM_BYTES, MILLION, dollars
from dfbatch.run.now import DIRECT
from dfbatch.run.spools import shared_of

if TYPE_CHECKING:
    import numpy as np

    from dfbatch.forecasts import Forecast
    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import ChunkRecord, RunRecord
    from dfbatch.models import Model
    from dfbatch.run.loop import Work

    Array = np.ndarray[Any, np.dtype[Any]]

ALIKE: Final = ("", "pilot")  # kinds of chunks that are a random part of a run, in batches
BRAKE: Final = 20.0  # USD: a forecast above it needs a budget
ADDED: Final = 100  # tokens that the API may add to a prompt by itself; a bound, not a measurement …
ADDED_TO: Final = (b'"tools"', b'"output_config"', b'"thinking"')  # … but for what comes with an explanation:
EXPLAINED: Final = 1_000
FAR: Final = (b'"type":"url"', b'"file_id"')  # what a request names and does not hold: its tokens are not its bytes
MARK: Final = b'"cache_control"'  # what is written to the prompt cache costs more than input
CONTEXT: Final = 1_000_000  # tokens of a prompt at most, where the model's limit is not known


def named(budget: float | None) -> float | None:
    """The budget of a call, or that of the environment."""
    told = os.environ.get("DFBATCH_BUDGET", "").strip()
    if budget is not None or not told:
        return budget
    try:
        value = float(told.lstrip("$"))
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise OptionError(f"DFBATCH_BUDGET={told!r} is no amount of USD", hint="DFBATCH_BUDGET=5.00")
    return value


def keep(ledger: Ledger, run_id: str, budget: float) -> None:
    """Note another budget of a run, for all processes, and how often the one before cut it."""
    told = [repr(float(budget)).encode(), b"%d" % _cut(ledger, run_id)]
    ledger.write_lines(ledger.run_file(run_id, "budget"), told)


def cuts(ledger: Ledger, run_id: str) -> int:
    """How often a run was cut since its budget was named."""
    path = ledger.run_file(run_id, "budget")
    told = list(ledger.read_lines(path)) if path.exists() else []
    before = int(told[1]) if len(told) > 1 else 0
    return max(0, _cut(ledger, run_id) - before)


def _cut(ledger: Ledger, run_id: str) -> int:
    return sum(chunk.run == run_id and chunk.kind in ALIKE for chunk in ledger.chunks(run_id, SPLIT))


def budget_of(work: Work) -> float | None:
    """USD that a run may spend; None where nothing limits it. Where nothing is spent, nothing does."""
    if work.record.backend == "local":
        return None
    path = work.ledger.run_file(work.record.id, "budget")
    if not path.exists() and not work.ledger.is_lost(path):
        return work.record.spec.budget
    try:
        return float(next(iter(work.ledger.read_lines(path))))
    except (LedgerDamaged, ValueError, StopIteration) as damage:
        raise LedgerDamaged(
            f"run {work.record.id} is damaged: the budget that it was given later is not known any more",
            "nothing is sent without it",
            hint=f"dfbatch.open({work.record.id!r}).resume(budget=…) names it once more",
            path=path,
            run_id=work.record.id,
        ) from damage


def foretold(record: RunRecord, model: Model | None, *, tokens: Array, sizes: Array, answer: float, pilot: int) -> str:
    """What the budget of a call will do to it, for its plan: by tokens and bytes of each request, a likely answer."""
    budget = record.spec.budget
    if budget is None or model is None or not len(tokens) or record.backend == "local":
        return ""
    price, whole = model.price, record.spec.head.encode() + record.spec.tail.encode()
    added = EXPLAINED if any(mark in whole for mark in ADDED_TO) else ADDED
    longest = len(whole) + float(sizes.max()) + added
    share = model.batch / MILLION
    most = (longest * price.input + record.max_tokens * price.output) * share
    return waves.foretold((tokens * price.input + answer * price.output) * share, most, budget, pilot=pilot)


def brake(forecast: Forecast, name: str, model: Model | None, *, budget: float | None, spends: bool) -> None:
    """Raise before anything is sent where a budget is missing, or cannot be kept."""
    if budget is not None and model is None:
        raise no_price(name)
    if budget is not None or not spends or forecast.high is None or forecast.high <= BRAKE:
        return
    enough = "lets it go" if forecast.how == FROM_BYTES else "is likely to be enough"
    narrower = "; after df.claude.preview(…) the forecast is narrower" if forecast.how == FROM_BYTES else ""
    raise BudgetNeeded(
        f"this run may cost up to {dollars(forecast.high)}: more than {dollars(BRAKE)} needs a budget",
        f"forecast: {forecast}; nothing was sent",
        hint=f"budget={math.ceil(forecast.high)} {enough} (USD, never more); a smaller one stops it in time{narrower}",
        high=forecast.high,
    )


def no_price(name: str) -> OptionError:
    """The error of a budget that cannot be kept, since nobody knows what this model costs: a slip in its name first."""
    if near := Models().near(name):
        return OptionError(
            f"model={name!r} is not known, and a budget needs its price",
            hint=f'did you mean model="{near.id}"? Else prices={{"{name}": {{"input": …, "output": …}}}}, in USD per'
            " million tokens",
        )
    return OptionError(
        "a budget needs a price, and the price of this model is not known",
        hint='prices={"its-id": {"input": …, "output": …}}, in USD per million tokens',
    )


def worst(work: Work, chunk: ChunkRecord) -> float:
    """The most that one request of a chunk can cost (USD): a token has a byte at least, answers end at max_tokens."""
    model = work.models.find(chunk.model or work.record.model)
    if model is None:
        return 0.0
    shared = shared_of(work.record, chunk.head)
    longest, far, marked = _longest(work, chunk)
    whole = shared.head + shared.tail
    tokens = len(whole) + longest + (EXPLAINED if any(mark in whole for mark in ADDED_TO) else ADDED)
    if far or any(mark in whole for mark in FAR):
        tokens = model.context or CONTEXT
    price = model.long if model.long and model.above is not None and tokens > model.above else model.price
    into = max(price.input, price.cache_write_1h) if marked or MARK in shared.head else price.input
    usd = (tokens * into + chunk.max_tokens * price.output) / MILLION
    usd *= model.geo if b'"inference_geo":"us"' in whole else 1.0
    return usd if chunk.kind in DIRECT else usd * model.batch


def _longest(work: Work, chunk: ChunkRecord) -> tuple[int, bool, bool]:
    """Bytes of the longest of its requests' own parts; whether one names what it does not hold, or marks a prefix.

    A spool that was emptied meanwhile, since all is answered, tells nothing: all bytes of the chunk are enough for one.
    """
    longest, far, marked, (url, file) = 0, False, False, FAR
    path = work.ledger.chunk_file(chunk.id, "spool")
    try:
        for block in work.ledger.read_blocks(path):
            longest = max(longest, *map(len, block.split(b"\n")))
            far = far or url in block or file in block
            marked = marked or MARK in block
    except LedgerError:
        if path.exists():
            raise
        return chunk.bytes, far, True
    return longest, far, marked
