"""A plan being carried out: the layer that knows rooms and values, and the only one that waits.

handle    Run, as users hold it          shelf     runs begun, and found again
prepare   from a call to a run on disk    rows      what every row asks
claims    equal requests are paid once    spools    chunks on disk
loop      send, poll, collect             driver    the waiting thread's side;  thread: the I/O thread;  clock
collect   batches to raw files            reader    raw files to lines;  sheet: lines to columns
layout    columns and their names         report    a run in words;  votes: several answers a row
join      rows known again                again     asked again by hand;  portable: a run as one file
using     whose connections stay open    listing   the table of runs;  prune: room on the disk
why       why nothing is reused          adopt     batches of a lost ledger;  relics: what is left of them
preview   some rows now                   planning  what a run would ask and cost;  sizing: how large it would be
history   what earlier answers tell      outlook   what was expected, kept for the end;  ends: when it may end
views     a run as it is looked at       clicks    what is done to it from there;  waiting;  notice: telling of its end
peek      the first answers              shares    how often each label;  failures: rows without an answer, and why
standing  where a run stands that nobody carries on;  wording: errors that say the same;  ending: what stopped a run
doubts    chunks nobody knows about: what is at stake;  attempts: how often requests were asked
groups    requests that begin alike
leading   what of a run goes ahead        gate      what may be sent now;  budgets: what it may spend
allowance how much of a chunk a budget allows now
preflight the first request alone         now       what is asked at once;  unheard: replies that were lost
limits    what the server tells of models
prices    whose prices count             costs     what a run cost;  accounts: what all of them cost
parts     where the money went            stakes    the most that a chunk may cost
damage    files that are not as they were   recovery  files made again from others;  repairs: all that can be mended
lending   files of earlier runs made again from the frame
"""

from dfbatch.run.handle import Run
from dfbatch.run.prune import Pruned
from dfbatch.run.repairs import Repaired
from dfbatch.run.shelf import (
    Runs,
    adopt_batches,
    all_accounts,
    all_runs,
    begin,
    close_ledgers,
    ledger,
    models,
    newest,
    open_run,
    plan_run,
    preview_rows,
    prune_runs,
    repair_runs,
    run_of,
)

__all__ = [
    "Pruned",
    "Repaired",
    "Run",
    "Runs",
    "adopt_batches",
    "all_accounts",
    "all_runs",
    "begin",
    "close_ledgers",
    "ledger",
    "models",
    "newest",
    "open_run",
    "plan_run",
    "preview_rows",
    "prune_runs",
    "repair_runs",
    "run_of",
]
