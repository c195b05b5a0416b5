"""Waiting for a run in the caller's own thread, with a display. The work goes on by itself on another (`driver.py`)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from dfbatch.errors import Detached, OptionError, StillRunning
from dfbatch.run.driver import STEP

if TYPE_CHECKING:
    from collections.abc import Callable

    from dfbatch.progress import Display, Snapshot
    from dfbatch.run.clicks import Clicks
    from dfbatch.run.driver import Driver
    from dfbatch.run.handle import Run

SHOWN: Final = 1.0  # seconds between moments that are shown, or …
REST: Final = 10.0  # … so many times as long as it took to look
STILL: Final = {  # what a run that goes on is at
    "planned": "not sent yet",
    "pilot": "waiting for its pilot",
    "sending": "still sending",
    "waiting": "still waiting for answers",
    "collecting": "still collecting answers",
    "canceling": "still being canceled",
}


def watch(
    run: Run,
    driver: Driver,
    display: Display | None,
    *,
    look: Callable[[], Snapshot | None],
    clicks: Clicks,
    timeout: float | None,
    until: str,
    quiet: float,
) -> None:
    """Wait until all is answered, or sent; nothing is shown for the first `quiet` seconds.

    Raises StillRunning after `timeout` seconds, and Detached on the stop button or a click on Detach.
    """
    if until not in ("done", "sent"):
        raise OptionError(f"until={until!r}", hint="one of 'done', 'sent'")
    deadline = None if timeout is None else time.monotonic() + timeout
    due = time.monotonic() + quiet
    try:
        while driver.running and not (until == "sent" and driver.all_sent):
            if deadline is not None and time.monotonic() >= deadline:
                raise _still(run, driver, timeout or 0.0)
            if clicks.detached:
                raise Detached(driver.let_go(), run=run)
            if display and time.monotonic() >= due:
                due = time.monotonic() + paced(lambda: show(display, look()))
            driver.pause(STEP if deadline is None else min(STEP, max(0.0, deadline - time.monotonic())))
    except Detached:
        raise
    except KeyboardInterrupt:
        raise Detached(driver.detach(), run=run) from None
    finally:
        if display:
            close(display, look())


def paced(act: Callable[[], None]) -> float:
    """Do it; seconds until it is done again: looking takes a tenth of the time at most, however many rows there are."""
    began = time.monotonic()
    act()
    return max(SHOWN, REST * (time.monotonic() - began))


def show(display: Display, seen: Snapshot | None) -> None:
    """Show a moment, where there was one to be seen."""
    if seen is not None:
        display.show(seen)


def close(display: Display, seen: Snapshot | None) -> None:
    """Leave the last moment that was seen."""
    if seen is not None:
        display.close(seen)


def watch_start(run: Run, driver: Driver) -> None:
    """Wait until the first chunk is accepted, or nothing is left to send."""
    try:
        while driver.running and not driver.any_sent:
            driver.pause(STEP)
    except KeyboardInterrupt:
        raise Detached(driver.detach(), run=run) from None


def _still(run: Run, driver: Driver, timeout: float) -> StillRunning:
    sent, status = driver.all_sent, run.status
    goes_on = "it goes on while this process lives" + ("" if sent else ", and goes on sending" * driver.sending)
    return StillRunning(
        f"run {run.id} is {STILL.get(status, f'still {status}')} after {timeout:g} s",
        *filter(None, [run.message]),
        "all is sent: it goes on at the server" if sent and not driver.tied else goes_on,
        hint=f"wait again, or come back with dfbatch.open({run.id!r}).{'wait' if sent else 'resume'}()",
        run=run,
    )
