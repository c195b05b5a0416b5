"""How a run ended, where it did not end well: chunks never sent, batches lost. Chunks in doubt are in `doubts.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dfbatch.errors import BatchLost, InputError, RunPaused
from dfbatch.ledger.states import IN_DOUBT, LOST
from dfbatch.progress.words import many
from dfbatch.run.doubts import in_doubt
from dfbatch.run.recovery import asked_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dfbatch.errors import DfbatchError
    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import ChunkRecord
    from dfbatch.run.loop import Work
    from dfbatch.run.sheet import Sheet

# Errors of a request that come again as often as it is asked (platform.claude.com, Errors, August 2026).
OF_THE_CALL: Final = ("invalid_request_error", "not_found_error", "request_too_large")
OF_THE_BILL: Final = ("credit balance", "usage limit", "billing")  # such a type too, and it passes once that is settled
MEND: Final = "mend the call and run the cell again"
REFUSED: Final = "the call is refused"  # by us, by what the server tells of its models
BUDGET: Final = "its budget of"
FAILED: Final = "the pilot failed"


def message(error: DfbatchError, before: str = "") -> str:
    """The line that stays of what stopped a run: where it was only looked at, what had stopped it before."""
    if before and type(error) is RunPaused:
        return before
    told = first_line(error)
    return f"{REFUSED}: {told}" if isinstance(error, InputError) else told


def of_the_call(message: str) -> bool:
    """Whether what was asked was refused, and will be again: sending the same once more does not help."""
    paid = any(words in message.lower() for words in OF_THE_BILL)
    return message.startswith(REFUSED) or (not paid and any(kind in message for kind in OF_THE_CALL))


def stays(message: str) -> bool:
    """Whether this is still what stops a run after somebody has looked at it, or waited for what is under way."""
    return of_the_call(message) or BUDGET in message or message.startswith(FAILED)


def way_on(run_id: str, message: str) -> str:
    """What to do about a run that paused with this message; empty where it just resumes."""
    if of_the_call(message):
        return MEND
    return f"dfbatch.open({run_id!r}).resume(budget=…) goes on" if BUDGET in message else ""


def stopped(work: Work, unsent: Sequence[ChunkRecord]) -> RunPaused | None:
    """What keeps a run from being done, where nothing went wrong while it was carried out."""
    run_id = work.record.id
    if lost := work.own(LOST):
        return _lost(run_id, lost)
    if chunks := work.chunks(*IN_DOUBT):
        return in_doubt(work, chunks)
    if unsent and not work.canceling:
        why = [work.before, *(first_line(chunk.error) for chunk in unsent)]
        return RunPaused(
            f"run {run_id} paused: {len(unsent)} of {len(work.ledger.chunks(run_id))} chunks not sent",
            *dict.fromkeys(filter(None, why)),
            "what was sent is collected: run.partial()",
            hint=way_on(run_id, work.before) or f"dfbatch.open({run_id!r}).resume() sends the rest",
        )
    if work.unasked:
        return RunPaused(
            f"run {run_id} paused: {work.unasked:,} requests were never accepted, or left by the process that had them",
            "what was answered is collected: run.partial()",
            hint=f"dfbatch.open({run_id!r}).resume() asks them",
        )
    return None


def _lost(run_id: str, lost: Sequence[ChunkRecord]) -> BatchLost:
    count = sum(chunk.requests for chunk in lost)
    return BatchLost(
        f"{lost[0].error}: no answer to {many(count, 'request')} of run {run_id}",
        "all other answers are kept",
        hint=f"dfbatch.open({run_id!r}).retry(which='missing') asks those again, and pays for them again;"
        " .resume() looks for the batch once more; .resume(lost='missing') lets them go",
    )


def cancel(ledger: Ledger, sheet: Sheet, chunks: Sequence[ChunkRecord]) -> None:
    """Give up chunks that were never sent: others may ask their requests. One whose POST is under way comes later."""
    for chunk in chunks:
        ledger.happen(chunk.id, "cancel", error=chunk.error)
        if ledger.chunk(chunk.id).state == "released":
            sheet.absent(asked_in(ledger, chunk), "canceled", "canceled before it was sent")


def first_line(error: BaseException | str) -> str:
    """The part of an error's text that says what happened."""
    return str(error).partition("\n")[0]
