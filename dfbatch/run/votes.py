"""Several answers a row: what its samples say column by column, and how many agree. How rows are asked: `prepare.py`.

Sample s of a row asks the request of its first sample + s × (requests of one sample). Every column holds the value that
most samples gave (floats to 40 bits, as everywhere). A row's agreement is told by its closed columns (Literal, Enum,
bool), since free texts hardly ever agree: the share of all samples behind the least sure of them; where no column is
closed, of all columns. The sample that agrees best with the others there stands for the row: with ties a
column has its value, else the earliest sample's, so that a reason is that of a sample with the row's label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from dfbatch.columns import prints
from dfbatch.results import PENDING, SUCCEEDED

if TYPE_CHECKING:
    from collections.abc import Collection

    from dfbatch.columns import Column
    from dfbatch.run.sheet import Sheet

    Array = np.ndarray[Any, np.dtype[Any]]

AGREEMENT: Final = "agreement"  # the column: the share of a row's samples that gave its label


class Election(NamedTuple):
    """What the samples of rows came to."""

    take: Array  # for each row, the request of the sample that stands for it
    share: Array  # of all its samples that agree; 0: none has an answer
    takes: list[Array]  # for each column, the request that each row has its value from

    def columns(self, sheet: Sheet, *, kinds: Collection[str] = ()) -> list[Column]:
        """The columns as they were voted, or those of these kinds."""
        return sheet.columns(self.takes, kinds=kinds)


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


def elect(sheet: Sheet, samples: int, take: Array) -> Election:
    """Count the votes; `take` may name any sample of a row."""
    fields = sheet.schema.fields
    if samples == 1:
        share = _spread((sheet.found["outcome"] == SUCCEEDED).astype(float), take, 0)
        return Election(take, share, [take] * len(fields))
    size = len(sheet.requests) // samples
    take = np.where(take < 0, -1, take % max(size, 1))
    wanted = np.unique(take[take >= 0])  # rows of equal requests vote once
    asked = wanted + size * np.arange(samples)[:, None]
    outcomes = sheet.found["outcome"][asked]
    good = outcomes == SUCCEEDED
    votes = [_votes(_prints(column).reshape(asked.shape), good) for column in sheet.columns(asked.ravel())]
    closed = [votes[at] for at, (name, _) in enumerate(fields) if name in sheet.schema.closed] or votes
    stands = _rank(outcomes, np.sum(closed, axis=0)).argmax(axis=0)  # the first of the highest: the earliest sample

    def fanned(best: Array) -> Array:
        chosen = np.full(size, -1, np.int64)
        chosen[wanted] = best * size + wanted
        return _spread(chosen, take, -1)

    share = np.zeros(size)
    share[wanted] = np.min([each.max(axis=0) for each in closed], axis=0) / samples
    return Election(fanned(stands), _spread(share, take, 0), [fanned(_winners(each, stands)) for each in votes])


def _winners(votes: Array, stands: Array) -> Array:
    """For each row, the sample whose value has the most votes: with ties the one that stands for the row, if it is."""
    best = votes.argmax(axis=0)
    at = np.arange(votes.shape[1])
    winners: Array = np.where(votes[stands, at] == votes[best, at], stands, best)
    return winners


def _rank(outcomes: Array, votes: Array) -> Array:
    rank: Array = 2 * votes + (outcomes == PENDING)
    return rank


def _votes(answers: Array, good: Array) -> Array:
    """How many samples of its row gave each sample's value; only good ones vote."""
    return np.stack([((answers == one) & good).sum(axis=0) for one in answers]) * good


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
