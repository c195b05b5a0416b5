"""What users do to a run by hand: ask again, go on, decide about chunks in doubt, forget. The verbs are `Run`'s."""

from __future__ import annotations

import math
import shutil
import warnings
from typing import TYPE_CHECKING, Any, Final

from dfbatch.errors import OptionError, explain, outside
from dfbatch.ledger.states import COLLECTED, ENDED, FORGONE, IN_DOUBT, LOST, POSTED
from dfbatch.run import thread
from dfbatch.run.again import ask, changed_terms, chosen, give_up
from dfbatch.run.budgets import budget_of, keep, no_price
from dfbatch.run.costs import PAY_TWICE
from dfbatch.run.ending import FAILED
from dfbatch.run.limits import look_at_change
from dfbatch.run.now import DIRECT, MOST
from dfbatch.run.recovery import asked_in
from dfbatch.run.spools import remove
from dfbatch.run.using import in_use

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dfbatch.run.loop import Work

ROUTES: Final = {"batch": "hand", "now": "now"}  # via → kind of chunk


def ask_by_hand(work: Work, which: str | Sequence[str] | None, via: str, *, max_tokens: Any, model: str | None) -> bool:
    """Plan the requests with these outcomes once more; whether there are any."""
    if via not in ROUTES:
        raise OptionError(f"via={via!r}", hint='via="batch" (half the price) or via="now" (at once)')
    if max_tokens is not None and (isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1):
        raise OptionError(f"max_tokens={max_tokens!r}: a whole number of at least 1 is needed", hint="max_tokens=4096")
    if model and budget_of(work) is not None and work.models.find(model) is None:
        raise no_price(model)
    wanted = chosen(work.sheet, which)
    if which is not None and not len(wanted):
        names = which if isinstance(which, str) else " or ".join(which)
        warnings.warn(f"no row of run {work.record.id} is {names}: nothing is asked", stacklevel=outside())
    if not len(wanted):
        return False
    if via == "now" and len(wanted) > MOST:
        raise OptionError(
            f"{len(wanted):,} requests are too many for via='now', which takes {MOST}",
            "nothing was sent",
            hint='via="batch" asks them at half the price',
        )
    terms = changed_terms(work.record, ROUTES[via], max_tokens=max_tokens, model=model)
    if terms.head or terms.kind in DIRECT:
        look_at_change(work, terms)
    _give_up(work)
    work.ledger.want_cancel(work.record.id, wanted=False)
    asked = ask(work.ledger, work.record, work.sheet, wanted, terms=terms, reuse=False)
    if len(asked) < len(wanted):
        warnings.warn(
            explain(
                f"{len(wanted) - len(asked):,} of {len(wanted):,} requests of run {work.record.id} are not asked again:"
                " what they asked is not kept here",
                "they had an answer once, which was lost with a damaged file",
                hint="run the cell again: it asks, and pays for, those alone",
            ),
            stacklevel=outside(),
        )
    work.sheet.asked_again(asked)
    return bool(len(asked))


def before_resuming(work: Work, lost: str | None, budget: Any) -> None:
    """What `resume` decides before the run goes on."""
    if budget is not None:
        if isinstance(budget, bool) or not isinstance(budget, int | float) or not 0 <= budget < math.inf:
            raise OptionError(f"budget={budget!r}", hint="budget=5.00, in USD")
        keep(work.ledger, work.record.id, budget)
    work.gate.open = work.ledger.standing(work.record.id)[1].startswith(FAILED)
    if lost not in (None, "missing"):
        raise OptionError(f"lost={lost!r}", hint="lost='missing'")
    if lost:
        _give_up(work)
    work.ledger.want_cancel(work.record.id, wanted=False)
    work.canceling = False


def _give_up(work: Work) -> None:
    """Batches that are gone stay gone: their rows are missing."""
    for chunk in work.own(LOST):
        work.ledger.happen(chunk.id, "give up", error=chunk.error)
    for chunk in work.own(FORGONE):
        work.sheet.absent(asked_in(work.ledger, chunk), "missing", chunk.error)


def resolve(work: Work, *, pay_twice: bool) -> None:
    """Give up chunks in doubt, so that their requests are asked again: the user's decision, and nobody else's."""
    if not pay_twice:
        raise OptionError(
            "resolve() asks again what may have been accepted already",
            hint=f"dfbatch.open({work.record.id!r}).wait() finds out for free; resolve(pay_twice=True) does not wait",
        )
    for chunk in work.chunks(*POSTED):
        if chunk.id not in work.posting and work.ledger.lock(chunk.run).is_free():
            work.ledger.happen(chunk.id, "process died")
    work.ledger.want_cancel(work.record.id, wanted=False)
    work.canceling = False
    for chunk in work.chunks(*IN_DOUBT):
        give_up(work.ledger, work.record, chunk, "pay twice", error=PAY_TWICE, asks=True)
    work.restart = True


def forget(work: Work, *, at_server: bool) -> None:
    """Remove all files and records of a run that nothing else draws on; its batches at the server if asked."""
    ledger, run_id = work.ledger, work.record.id
    batches = [ledger.batch(chunk.id) for chunk in work.own(ENDED, COLLECTED)] if at_server else []
    if batches:
        work.backend.ready(ledger.folder)
        thread.start(_delete(work, [batch.id for batch in batches if batch is not None])).result()
    remove(ledger, ledger.forget(run_id))
    shutil.rmtree(ledger.run_file(run_id, "rows.npy").parent, ignore_errors=True)


async def _delete(work: Work, batch_ids: Sequence[str]) -> None:
    async with in_use(work.backend):
        for batch_id in batch_ids:
            await work.backend.delete(batch_id)
