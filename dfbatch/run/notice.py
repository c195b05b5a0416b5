"""Telling somebody that a run has ended: a function that is called with it, or a command of the shell."""

from __future__ import annotations

import logging
import os
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dfbatch.progress.summary import line

if TYPE_CHECKING:
    from dfbatch.run.handle import Run

log = logging.getLogger("dfbatch")

Notice = Callable[[Any], object] | str


def tell_all(run: Run | None, notices: Sequence[Notice]) -> None:
    """Tell all of them on a thread of its own: whoever waits for the run there finds it ended. Leaving waits for it."""

    def each() -> None:
        for how in notices:
            _tell(run, how)

    if notices:
        threading.Thread(target=each, name="dfbatch-notice").start()


def _tell(run: Run | None, how: Notice) -> None:
    """Call it, or run it; what goes wrong there is logged, and nothing else.

    A command is given what to say in its environment, not in its text: `DFBATCH_RUN` (the id), `DFBATCH_STATUS` and
    `DFBATCH_SUMMARY` (one line).
    """
    if run is None:
        return
    try:
        if isinstance(how, str):
            told = {"DFBATCH_RUN": run.id, "DFBATCH_STATUS": run.status, "DFBATCH_SUMMARY": line(run.snapshot())}
            place = {**os.environ, **told}
            subprocess.run(how, shell=True, check=True, env=place, stdin=subprocess.DEVNULL)  # noqa: S602 - the user's
        else:
            how(run)
    except subprocess.CalledProcessError as error:  # whose text holds the command, and that may hold a secret
        log.warning("run %s has ended, and telling so failed: the command ended with %d", run.id, error.returncode)
    except Exception as error:  # noqa: BLE001 - whatever breaks there, the run is as it is
        log.warning("run %s has ended, and telling so failed: %s: %s", run.id, type(error).__name__, error)
