"""Rows without an answer: which and why, as a table; how many, in one warning; and what helps against the commonest.

One row in full is in `report.py`; asking again is `again.py`'s.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dfbatch.columns import Builder, Column
from dfbatch.kinds import TEXT, Kind
from dfbatch.results import CODE, OUTCOMES, PENDING, SUCCEEDED
from dfbatch.run.attempts import Attempts
from dfbatch.run.ending import OF_THE_BILL, OF_THE_CALL
from dfbatch.run.report import answer_text, asked
from dfbatch.run.wording import worded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import RunRecord
    from dfbatch.models import Models
    from dfbatch.run.sheet import Sheet

    Array = np.ndarray[Any, np.dtype[Any]]

_CAUSE: Final = 200  # characters of a cause in a warning
_ONCE: Final = Attempts(1, 1)
_LARGER: Final = 4  # times the limit that answers were cut at, in a hint

_OF_THE_KEY: Final = ("authentication_error", "permission_error", "billing_error")

_OF_CALLS: Final = (
    "include=['message'] in the cell shows what came, and asks nothing again; to get texts, leave the tools out or add"
    " 'tool_choice': {'type': 'none'} to params"
)

_HELPS: Final = {
    "refused": "run.retry(which='refused') asks them again, with model=… another model; retry() alone leaves them out",
    "invalid": "run.retry(which='invalid') asks them again; where answers are right as they are, widen the schema",
    "expired": "run.retry(which='expired') asks them again: what expires is not billed",
    "canceled": "run.retry(which='canceled') asks them again",
    "missing": "run.retry(which='missing') asks them again, and pays again for those that were billed already",
    "pending": "run.resume() goes on",
}


def table(ledger: Ledger, record: RunRecord, sheet: Sheet, take: Array, errors: Column) -> list[Column]:
    """Rows without an answer, the most frequent cause first; skipped ones too, which no warning counts."""
    outcomes = sheet.outcomes(take)
    failed = np.flatnonzero(~np.isin(outcomes, (SUCCEEDED, PENDING)))
    causes = [(OUTCOMES[outcomes[row]], str(errors.values[row] or "")) for row in failed.tolist()]
    same = worded(error for _, error in causes)
    groups = [(outcome, same[error]) for outcome, error in causes]
    frequency = Counter(groups)
    order = sorted(range(len(failed)), key=lambda at: (-frequency[groups[at]], groups[at], int(failed[at])))
    rows = failed[order].tolist()
    told = [answer_text(ledger, sheet, int(take[row])) if take[row] >= 0 else "" for row in rows]
    return [
        _column("row", Kind("int"), rows),
        _column("status", TEXT, [causes[at][0] for at in order]),
        _column("error", TEXT, [causes[at][1] or None for at in order]),
        _column("answer", TEXT, [text or None for text in told]),
        _column("prompt", TEXT, asked(ledger, record, sheet, take, rows)),
    ]


def _column(name: str, kind: Kind, values: Sequence[Any]) -> Column:
    builder = Builder(name, kind, len(values))
    builder.put(range(len(values)), values)
    return builder.column()


def told(record: RunRecord, sheet: Sheet, take: Array, errors: Column, models: Models) -> tuple[list[str], str]:
    """How many rows have no answer, with the commonest cause; and what helps against that. Nothing where all have."""
    outcomes = sheet.outcomes(take)
    failed = np.flatnonzero(~np.isin(outcomes, (SUCCEEDED, CODE["skipped"])))
    if not len(failed):
        return [], ""
    counts = Counter(OUTCOMES[code] for code in outcomes[failed].tolist())
    parts = ", ".join(f"{count:,} {name}" for name, count in counts.most_common())
    what = f"{len(failed):,} of {record.rows:,} rows of run {record.id} have no answer: {parts}"
    outcome = counts.most_common(1)[0][0]
    rows = failed[outcomes[failed] == CODE[outcome]]
    why = [str(errors.values[row]) for row in rows.tolist() if errors.valid[row]]
    same = worded(why)
    causes = Counter(same[error] for error in why).most_common(1)
    often = [f"most often: {cause[:_CAUSE]} ({count:,}×)" for cause, count in causes]
    attempts = Attempts.of(sheet, record, models, take[rows])
    often += [f"the {outcome} ones were {attempts}"] if str(attempts) else []
    help_ = helps(outcome, causes[0][0] if causes else "", _limit(record, sheet, take[rows]), attempts)
    return [what, *often], f"{help_}; run.failures() shows why (run = dfbatch.open({record.id!r}))"


def _limit(record: RunRecord, sheet: Sheet, requests: Array) -> int:
    """The most tokens that these requests were asked with: a cut answer was tried with more than the call says."""
    origins = np.unique(sheet.source[requests[requests >= 0]]).tolist()
    asked = [sheet.chunks[origin].max_tokens for origin in origins if origin >= 0]
    return max(asked, default=record.max_tokens)


def helps(outcome: str, cause: str, max_tokens: int, attempts: Attempts = _ONCE) -> str:
    """What to do about rows with this outcome, by the cause that most of them have, and by what was tried already.

    >>> helps("errored", "overloaded_error: Overloaded", 1024)
    "this may pass: run.retry(which='errored') asks them again"
    >>> helps("errored", "overloaded_error: Overloaded", 1024, Attempts(3, 3))
    "it did not pass in 3 tries: wait a while, then run.retry(which='errored') asks them again"
    >>> helps("invalid", "not JSON", 1024, Attempts(2, 2))
    "they were asked twice already: a clearer prompt or a wider schema helps more than run.retry(which='invalid')"
    """
    if outcome == "truncated":
        return _about_cut(cause, max_tokens, attempts.limits)
    if outcome == "errored":
        return _about_error(cause, attempts.most)
    if outcome == "invalid" and "include=['message']" in cause:
        return _OF_CALLS
    if outcome == "invalid" and attempts.most > 1:
        return (
            f"they were {attempts.often} already: a clearer prompt or a wider schema helps more than"
            " run.retry(which='invalid')"
        )
    if outcome == "invalid" and "is empty" in cause:
        return "run.retry(which='invalid') asks them once more; a prompt that asks for a word in any case may help"
    return _HELPS.get(outcome, f"run.retry(which={outcome!r}) asks them again")


def _about_cut(cause: str, max_tokens: int, limits: Sequence[int]) -> str:
    if "context_window" in cause:
        return "prompt and answer do not fit the model's context: shorten the prompt, asking again does not help"
    if "pause_turn" in cause:
        return "the model paused for its tools: leave them out, or ask those rows by yourself"
    more = _LARGER * max_tokens
    cuts = ", and again at ".join(f"{limit:,}" for limit in limits or (max_tokens,))
    return (
        f"they were cut at {cuts} tokens: max_tokens={more} in the cell asks only these rows again; so does"
        f" run.retry(which='truncated', max_tokens={more})"
    )


def _about_error(cause: str, tries: int) -> str:
    if any(words in cause.lower() for words in OF_THE_BILL):
        return "settle the account, then run.retry(which='errored') asks them again"
    if cause.startswith(OF_THE_CALL) or "413" in cause.partition(":")[0]:
        return "asking them again as they are does not help: mend the call, and run the cell; only they are asked"
    if cause.startswith(_OF_THE_KEY):
        return "mend the key or its account, then run.retry(which='errored') asks them again"
    if tries > 1:
        return f"it did not pass in {tries} tries: wait a while, then run.retry(which='errored') asks them again"
    return "this may pass: run.retry(which='errored') asks them again"
