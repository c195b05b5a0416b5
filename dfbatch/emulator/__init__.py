"""The other side of the wire: Anthropic's Message Batches API on 127.0.0.1, for learning, tests and rehearsals.

An island: nothing here imports the rest of dfbatch, and the rest talks to it over HTTP alone.

    server     Server: starts and stops one emulator inside this process
    __main__   the same from the shell, in a process of its own
    app        which route leads where; gate: what every request passes on its way in
    routes/    the six batch endpoints, their neighbours, and /_emulator/
    life       a batch from creation to archive; processing: the thread that has requests answered
    asks       one request read, judged by rules, and understood
    engines/   who answers: sample, smollm2, a function
    faults/    what can be made to go wrong
    store      what survives a kill; folder: where the files lie
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dfbatch.emulator.faults import Fault
    from dfbatch.emulator.server import Server

__all__ = ["Fault", "Server"]


def __getattr__(name: str) -> Any:
    """Load what was asked for: `dfbatch.emulator.weights` must work where starlette is not installed."""
    if name == "Server":
        from dfbatch.emulator.server import Server

        return Server
    if name == "Fault":
        from dfbatch.emulator.faults import Fault

        return Fault
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
