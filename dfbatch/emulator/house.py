"""Everything one emulator is made of, put together from its options, and the few verbs that concern all of it.

Not here: sockets and threads of the server (server.py, listener.py).
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from dfbatch.emulator.billing import Billing
from dfbatch.emulator.caching import PromptCache
from dfbatch.emulator.clock import SECOND, Clock
from dfbatch.emulator.faults import Faults
from dfbatch.emulator.folder import Folder
from dfbatch.emulator.keys import Keys
from dfbatch.emulator.life import Life, Pace
from dfbatch.emulator.limits import Limits
from dfbatch.emulator.meter import Meter
from dfbatch.emulator.processing import Processor
from dfbatch.emulator.schedule import Law
from dfbatch.emulator.store import Store

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from dfbatch.emulator.engines import Engine
    from dfbatch.emulator.faults import Fault

VERSION = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What can be said about an emulator."""

    seed: int = 0
    law: str = "0"
    speed: float = 1.0
    lanes: int = 1_000
    tier: str = "none"
    faults: Iterable[Fault | str] = ()
    cache_hit: float = 1.0
    keys: Mapping[str, str] | None = field(default=None, repr=False)
    seed_id: str | None = None


class House:
    """Store, life, engine and all the rest; opened by its maker, closed with `close`."""

    def __init__(self, root: Path, engine: Engine, options: Options, *, clock: Callable[[], float]) -> None:
        if not 0 < options.speed < math.inf or options.lanes < 1 or not 0 <= options.cache_hit <= 1:
            raise ValueError("speed must be a number above 0, lanes at least 1, cache_hit between 0 and 1")
        pace = Pace(Law.parse(options.law), options.lanes, options.speed, options.seed)
        self.seed = options.seed
        self.seed_id = options.seed_id
        self.engine = engine
        self.clock = Clock(clock)
        self.faults = Faults(options.faults, seed=options.seed)
        self.keys = Keys(options.keys, lenient=options.seed_id is not None)
        self.limits = Limits(options.tier, self.clock)
        self.cache = PromptCache(seed=options.seed, hit_rate=options.cache_hit)
        self.meter = Meter()
        self.connections: dict[Any, asyncio.Transport] = {}
        self.refuse: Callable[[float], None] = lambda _seconds: None
        # options are fine: from here on there is something to close
        self.folder = Folder(root)
        self.store = Store(self.folder.database)
        self.clock.advance(int(self.store.value("clock_offset") or 0) / SECOND)
        self.organization = self._organization()
        self.life = Life(self.store, self.folder, self.clock, limits=self.limits, pace=pace, instant=engine.instant)
        self.billing = Billing(self.store, self.folder)
        self.folder.sweep(keep=self.store.kept(), live={batch.id for batch in self.store.live()})
        self._processor = Processor(self.life, engine, self.cache, self.faults)

    def open(self) -> None:
        """Start answering."""
        self._processor.start()

    def close(self) -> None:
        """Stops answering after the line under way; what is accepted stays on disk."""
        self.life.stop()
        self._processor.join()
        self.store.close()
        self.engine.close()

    def health(self) -> dict[str, Any]:
        """What `/_emulator/health` answers."""
        return {
            "engine": self.engine.name,
            "model_digest": self.engine.model_digest,
            "loaded": self.engine.loaded,
            "seed": self.seed,
            "version": VERSION,
            "pid": os.getpid(),
        }

    def usage(self, *, digests: bool = True) -> dict[str, Any]:
        """What `/_emulator/usage` answers."""
        self.life.settle()
        return {**self.billing.usage(digests=digests), "calls": self.meter.told()}

    def advance(self, seconds: float, patience: float) -> None:
        """Move the clock, once what was accepted is answered or patience ends."""
        if self.engine.instant:
            self.life.wait_idle(patience)
        self.store.keep("clock_offset", str(self.clock.advance(seconds)))
        self.life.settle()

    def reset(self) -> None:
        """As new, but for the clock."""
        self.life.forget_all()
        self.billing.reset()
        self.faults.arm([], replace=True)
        self.cache.clear()
        self.limits.clear()
        self.meter.clear()

    def _organization(self) -> str:
        known = self.store.value("organization")
        if known is None:
            digest = sha256(os.urandom(16)).hexdigest()
            known = "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32]))
            self.store.keep("organization", known)
        return known
