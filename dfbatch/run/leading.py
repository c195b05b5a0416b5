"""What of a run goes ahead, in order: the first request alone, what warms the cache, a pilot, then all others.

What becomes of the rest once they are answered is in `gate.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from dfbatch.run.now import MOST, PILOT_NOW

if TYPE_CHECKING:
    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import RunRecord
    from dfbatch.run.spools import Terms

    Array = np.ndarray[Any, np.dtype[Any]]

FEW: Final = 20  # requests: for no more than that, none goes ahead alone
PILOT: Final = 40  # requests of a pilot
WORTH: Final = 1_000  # requests: a run of so many has a pilot, where nothing is known of its answers
LONG: Final = 21_333  # tokens; the official SDK refuses to wait for more without a stream (ten minutes; August 2026)
UNLIKE: Final = ("output-300k",)  # betas for batches alone: `/v1/messages` would refuse what a batch takes


class Part(NamedTuple):
    """Requests that travel in chunks of their own: which, why, and in which order they are cut into chunks."""

    which: np.ndarray[Any, Any]
    kind: str = ""
    order: np.ndarray[Any, Any] | None = None


def parts(
    ledger: Ledger, record: RunRecord, new: Array, *, known: int, terms: Terms, groups: Array | None = None
) -> list[Part]:
    """The parts of what a run asks: one, where it was asked before in any way or is asked again.

    `known` counts the requests of this run that were answered before, or are under way. Those of one group (a prefix
    of their own) stay together; with a budget all are in random order, the run's own, seeded by its id: what was
    answered so far is a sample of the rest then, whatever group it is of.
    """
    if terms.kind or not len(new) or ledger.chunks(record.id):
        return [Part(new, terms.kind)] if len(new) else []
    led: list[Part] = []
    spec, rest = record.spec, new
    if spec.preflight and len(new) > FEW and not known and not any(map(_batch_only, spec.betas)):
        led, rest = [Part(new[:1], "preflight")], new[1:]
    chance = np.random.default_rng(int.from_bytes(record.id.encode()))
    if spec.leads and len(rest) > 1:
        first = _firsts(rest, groups)
        led, rest = [*led, Part(rest[first], "warm")], rest[~first]
    size = int(spec.pilot) if spec.pilot.isdigit() else PILOT
    if _has_pilot(record, len(new), known, size) and len(rest) > size:
        drawn = np.zeros(len(rest), bool)
        drawn[chance.choice(len(rest), size, replace=False)] = True
        led.append(Part(rest[drawn], "pilot" if why_batch(record) else PILOT_NOW))
        rest = rest[~drawn]
    order = None if groups is None else np.argsort(groups[rest], kind="stable")
    order = order if spec.budget is None else chance.permutation(len(rest))
    return [*led, Part(rest, "", order)] if len(rest) else led


def _firsts(rest: Array, groups: Array | None) -> Array:
    """The requests that write what the others read: the first one, or the first of each group."""
    first: Array = np.arange(len(rest)) == 0
    if groups is not None and (groups[rest] >= 0).any():
        numbers, places = np.unique(groups[rest], return_index=True)
        first[:] = False
        first[places[numbers >= 0]] = True
    return first


def why_batch(record: RunRecord) -> str:
    """Why a pilot of this run goes in a batch, an hour perhaps; empty where it goes through `/v1/messages`, at once."""
    spec = record.spec
    if spec.pilot == "batch":
        return 'pilot="batch"'
    if spec.pilot != "now" and record.backend == "local":
        return "the local model answers one after the other"
    if only := next(filter(_batch_only, spec.betas), ""):
        return f"{only} is for batches alone"
    if spec.pilot.isdigit() and int(spec.pilot) > MOST:
        return f"no more than {MOST} requests go at once"
    if record.max_tokens > LONG:
        return f"answers of more than {LONG:,} tokens are too long to wait for on one connection"
    return ""


def _batch_only(beta: str) -> bool:
    return beta.startswith(UNLIKE)


def _has_pilot(record: RunRecord, new: int, known: int, size: int) -> bool:
    if record.spec.pilot == "auto":
        return new >= WORTH and known < size and record.backend != "local"
    return bool(record.spec.pilot) and known < size
