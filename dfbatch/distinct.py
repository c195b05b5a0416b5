"""Equal rows made one: which request each row asks, and requests found again by their digests.

Finding out what was paid already is the ledger's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dfbatch.requests import DIGEST, REQUEST, Digester


@dataclass(frozen=True, slots=True)
class Distinct:
    """Equal rows made one: the requests, and for each row which one it asks (-1: none)."""

    requests: np.ndarray[Any, Any]  # REQUEST: position of the first row that asks, digest; by position
    row_request: np.ndarray[Any, Any]  # int64, one a row


def distinct(digests: np.ndarray[Any, Any], asks: np.ndarray[Any, Any]) -> Distinct:
    """Requests of rows: `digests` one a row, `asks` whether the row asks anything."""
    rows = np.flatnonzero(asks)
    unique, first, inverse = np.unique(digests[rows], return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")  # by position, not by digest
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    requests = np.empty(len(unique), REQUEST)
    requests["position"] = rows[first[order]]
    requests["digest"] = unique[order]
    row_request = np.full(len(digests), -1, np.int64)
    row_request[rows] = rank[inverse]
    return Distinct(requests, row_request)


def occurrences(digests: np.ndarray[Any, Any], asks: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """For each row, how many rows before it ask the same: 0 for the first."""
    counts = np.zeros(len(digests), np.int64)
    rows = np.flatnonzero(asks)
    _, inverse = np.unique(digests[rows], return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    grouped = inverse[order]
    starts = np.flatnonzero(np.r_[True, grouped[1:] != grouped[:-1]]) if len(grouped) else np.empty(0, np.int64)
    ranks = np.arange(len(grouped)) - np.repeat(starts, np.diff(np.r_[starts, len(grouped)]))
    counts[rows[order]] = ranks
    return counts


def locate(wanted: np.ndarray[Any, Any], among: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Where each of the wanted digests stands among others; -1 where it does not."""
    if not len(among):
        return np.full(len(wanted), -1, np.int64)
    keys, asked = _halves(among), _halves(wanted)
    order = np.argsort(keys, kind="stable")
    near = keys[order]
    if ((near[1:] == near[:-1]) & (among[order[1:]] != among[order[:-1]])).any():  # once in 2**64
        keys, asked = among, wanted
        order = np.argsort(keys, kind="stable")
    spot = np.minimum(np.searchsorted(keys, asked, sorter=order), len(among) - 1)
    found = order[spot]
    return np.where(among[found] == wanted, found, -1)


def _halves(digests: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The first eight bytes as numbers, which sort ten times faster than text."""
    return np.ascontiguousarray(digests).view(np.uint64)[::2]


__all__ = ["DIGEST", "Digester", "Distinct", "distinct", "locate", "occurrences"]
