"""Several answers a row: which of its samples stands for it, and how many agree. How rows are asked is `prepare.py`'s.

Sample s of a row asks the request of its first sample + s × (requests of one sample). Answers agree where all columns
do (floats to 40 bits, as everywhere); the answer that most samples gave is the row's, with ties the earliest sample's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dfbatch.columns import prints
from dfbatch.results import PENDING, SUCCEEDED

if TYPE_CHECKING:
    from dfbatch.columns import Column
    from dfbatch.run.sheet import Sheet

    Array = np.ndarray[Any, np.dtype[Any]]

AGREEMENT: Final = "agreement"  # the column: the share of a row's samples that gave its answer
_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio: prints of columns are well mixed already


def every(sheet: Sheet, samples: int, take: Array) -> Array:
    """The requests of every sample of every row, row by row; -1 where the row asks nothing."""
    size = len(sheet.requests) // samples
    at = take[:, None] + size * np.arange(samples)
    wide: Array = np.where(take[:, None] < 0, -1, at).ravel()
    return wide


def standing(sheet: Sheet, samples: int, take: Array) -> Array:
    """For each row, a sample with the row's outcome, without a count of votes.

    A row succeeded if a sample did, is pending while one is that may yet, and is else what its first sample is.
    """
    if samples == 1:
        return take
    outcomes = sheet.found["outcome"].reshape(samples, -1)
    best = _rank(outcomes, outcomes == SUCCEEDED).argmax(axis=0)
    size = outcomes.shape[1]
    return _spread(best * size + np.arange(size), take, -1)


def elected(sheet: Sheet, samples: int, take: Array) -> tuple[Array, Array]:
    """For each row, the sample that stands for it, and the share of all samples that agree with it (0: none did).

    `take` may name any sample of a row.
    """
    if samples == 1:
        return take, _spread((sheet.found["outcome"] == SUCCEEDED).astype(float), take, 0)
    size = len(sheet.requests) // samples
    take = np.where(take < 0, -1, take % max(size, 1))
    wanted = np.unique(take[take >= 0])  # rows of equal requests vote once
    asked = wanted + size * np.arange(samples)[:, None]
    outcomes = sheet.found["outcome"][asked]
    votes = _votes(_answers(sheet, asked), outcomes == SUCCEEDED)
    best = _rank(outcomes, votes).argmax(axis=0)  # the first of the highest: the earliest sample
    chosen, share = np.full(size, -1, np.int64), np.zeros(size)
    chosen[wanted] = best * size + wanted
    share[wanted] = votes.max(axis=0) / samples
    return _spread(chosen, take, -1), _spread(share, take, 0)


def _rank(outcomes: Array, votes: Array) -> Array:
    rank: Array = 2 * votes + (outcomes == PENDING)
    return rank


def _votes(answers: Array, good: Array) -> Array:
    """How many samples of its row gave each sample's answer; only good ones vote."""
    return np.stack([((answers == one) & good).sum(axis=0) for one in answers]) * good


def _answers(sheet: Sheet, asked: Array) -> Array:
    """One number for the whole answer of each request."""
    whole = np.zeros(asked.size, np.uint64)
    for column in sheet.columns(asked.ravel()):
        whole = whole * _ODD + _prints(column)
    return whole.reshape(asked.shape)


def _prints(column: Column) -> Array:
    """Fingerprints for this process alone: Python's own hashes of texts are twenty times as fast."""
    if column.kind.name == "str":
        return np.fromiter(map(hash, column.values), np.int64, len(column)).view(np.uint64)
    return prints(column)


def _spread(values: Array, take: Array, fill: object) -> Array:
    """Values of requests fanned out onto rows."""
    spread = np.full(len(take), fill, values.dtype)
    spread[take >= 0] = values[take[take >= 0]]
    return spread
