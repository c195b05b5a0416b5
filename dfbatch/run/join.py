"""Rows known again: which row of a run a row of some frame is, by content or key; and which run a frame is of."""

from __future__ import annotations

import hashlib
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from dfbatch.errors import NoSuchRun, UnknownColumn, outside
from dfbatch.ledger.files import lines, read_array
from dfbatch.plan import locate
from dfbatch.run.prepare import encoded_keys
from dfbatch.run.rows import contents

if TYPE_CHECKING:
    from dfbatch.frames import Adapter
    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import RunRecord


def matched(
    ledger: Ledger, record: RunRecord, rows: np.ndarray[Any, Any], adapter: Adapter, df: Any
) -> np.ndarray[Any, Any]:
    """For each row of the frame, the request it asked; -1 where the run does not know it."""
    spec = record.spec
    by = [spec.key] if spec.key is not None else spec.reads
    missing = [name for name in by if name not in adapter.names(df)]
    if missing:
        raise UnknownColumn(
            f"the frame has no column {missing[0]!r}, by which rows of run {record.id} are known",
            hint=f"join needs the columns {', '.join(map(repr, by))} as they were",
        )
    table = adapter.snapshot(df, by)
    if spec.key is not None:
        here = _digests(encoded_keys(table, spec.key))
        there = _digests(list(lines(ledger.run_file(record.id, "keys.jsonl"))))
    else:
        here, there = contents(table, by), rows["content"]
    spot = locate(here, there)
    unknown = int((spot < 0).sum())
    if unknown:
        by_what = f"key {spec.key!r}" if spec.key is not None else "content of " + ", ".join(map(repr, by))
        warnings.warn(
            f"{unknown:,} of {len(spot):,} rows are not in run {record.id} (known by the {by_what}): new, or changed"
            " since they were sent; their columns are missing",
            stacklevel=outside(),
        )
    if not len(rows):
        return np.full(len(spot), -1, np.int64)
    take: np.ndarray[Any, Any] = np.where(spot >= 0, rows["request"][spot], -1)
    return take


def _digests(texts: list[bytes]) -> np.ndarray[Any, Any]:
    return np.array([hashlib.blake2b(text, digest_size=16).digest() for text in texts], "S16")


def writer(ledger: Ledger, adapter: Adapter, df: Any) -> RunRecord:
    """The newest run that wrote columns this frame has, for rows it has."""
    names = adapter.names(df)
    hinted = set(getattr(df, "attrs", {}).get("dfbatch", {}).values())
    for record in sorted(ledger.runs(), key=lambda record: record.id not in hinted):
        spec = record.spec
        if not all(name in names for name, _ in spec.columns) or not set(spec.reads) <= set(names):
            continue
        rows = read_array(ledger.run_file(record.id, "rows.npy"))
        known = locate(contents(adapter.snapshot(df, spec.reads), spec.reads), rows["content"]) >= 0
        if known.any():
            return record
    raise NoSuchRun("no run of the ledger wrote columns of this frame", hint="dfbatch.runs() lists all runs")
