"""Rows known again: which row of a run a row of some frame is, by content or key; and which run a frame is of."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dfbatch.distinct import locate
from dfbatch.errors import LedgerDamaged, NoSuchRun, UnknownColumn, outside
from dfbatch.run.layout import STRANGER
from dfbatch.run.recovery import has_contents
from dfbatch.run.rows import contents, encoded_keys, key_digests

if TYPE_CHECKING:
    from dfbatch.frames import Adapter
    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import RunRecord


SHOWN: Final = 5  # rows named in a warning


def matched(
    ledger: Ledger, record: RunRecord, rows: np.ndarray[Any, Any], adapter: Adapter, df: Any
) -> np.ndarray[Any, Any]:
    """For each row of the frame, the request it asked; STRANGER where the run does not know it."""
    spec = record.spec
    by = [spec.key] if spec.key is not None else spec.reads
    missing = [name for name in by if name not in adapter.names(df)]
    if missing:
        raise UnknownColumn(
            f"the frame has no column {missing[0]!r}, by which rows of run {record.id} are known",
            hint=f"join needs the columns {', '.join(map(repr, by))} as they were",
        )
    table = adapter.snapshot(df, by)
    if spec.key is None and not has_contents(rows):
        ledger.check(ledger.run_file(record.id, "rows.npy"))  # raises: which row is which is not known any more
    if spec.key is not None:
        here = key_digests(encoded_keys(table, spec.key))
        there = key_digests(list(ledger.read_lines(ledger.run_file(record.id, "keys.jsonl"))))
    else:
        here, there = contents(table, by), rows["content"]
    spot = locate(here, there)
    unknown = np.flatnonzero(spot < 0)
    if len(unknown):
        by_what = f"key {spec.key!r}" if spec.key is not None else "content of " + ", ".join(map(repr, by))
        warnings.warn(
            f"{len(unknown):,} of {len(spot):,} rows are not in run {record.id} (known by the {by_what}): new, or"
            f" changed since they were sent; their columns are missing: {_rows(unknown)}",
            stacklevel=outside(),
        )
    if not len(rows):
        return np.full(len(spot), STRANGER, np.int64)
    if spec.key is not None:
        _tell_changed(record, rows, adapter, df, spot)
    take: np.ndarray[Any, Any] = np.where(spot >= 0, rows["request"][spot], STRANGER)
    return take


def _tell_changed(
    record: RunRecord, rows: np.ndarray[Any, Any], adapter: Adapter, df: Any, spot: np.ndarray[Any, Any]
) -> None:
    """Rows known by their key, whose text is not the one that was answered."""
    reads = record.spec.reads
    if not set(reads) <= set(adapter.names(df)):
        return
    here = contents(adapter.snapshot(df, reads), reads)
    changed = np.flatnonzero((spot >= 0) & (here != rows["content"][spot]))
    if len(changed):
        warnings.warn(
            f"{len(changed):,} of {len(spot):,} rows were changed since run {record.id} sent them, in"
            f" {', '.join(map(repr, reads))}; they have the answer to what was sent: {_rows(changed)}",
            stacklevel=outside(),
        )


def _rows(places: np.ndarray[Any, Any]) -> str:
    """`row 3`, or the first few of many: `rows 3, 8, 9, 12, 20, …`."""
    named = ", ".join(f"{place:,}" for place in places[:SHOWN].tolist())
    return f"row{'s' * (len(places) > 1)} {named}{', …' * (len(places) > SHOWN)}"


def writer(ledger: Ledger, adapter: Adapter, df: Any) -> RunRecord:
    """The newest run that wrote columns this frame has, for rows it has."""
    names = adapter.names(df)
    hinted = set(getattr(df, "attrs", {}).get("dfbatch", {}).values())
    for record in sorted(ledger.runs(), key=lambda record: record.id not in hinted):
        spec = record.spec
        if not all(name in names for name, _ in spec.columns) or not set(spec.reads) <= set(names):
            continue
        try:
            rows = ledger.read_array(ledger.run_file(record.id, "rows.npy"))
        except LedgerDamaged:
            continue
        known = locate(contents(adapter.snapshot(df, spec.reads), spec.reads), rows["content"]) >= 0
        if known.any():
            return record
    raise NoSuchRun("no run of the ledger wrote columns of this frame", hint="dfbatch.runs() lists all runs")
