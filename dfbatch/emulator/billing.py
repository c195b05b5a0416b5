"""What was billed: digests, tokens, dollars per workspace, the judge of "not paid twice".

Dollars follow from token sums and models.toml: batches pay half, inference in the US 1.1 times (reference §6).
Not here: which requests are billed at all (endings.py, routes/messages.py).
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from dfbatch.emulator.folder import private_open
from dfbatch.emulator.models import prices

if TYPE_CHECKING:
    from pathlib import Path

    from dfbatch.emulator.folder import Folder
    from dfbatch.emulator.store import Store, Sums

BATCH_SHARE = 0.5
US_FACTOR = 1.1
_DIGEST = 32
_DIRECT = "direct"


class Billing:
    """Sums from the store, digests from files."""

    def __init__(self, store: Store, folder: Folder) -> None:
        self._store = store
        self._folder = folder
        self._lock = threading.Lock()

    def direct(self, sums: Sums, digest: bytes) -> None:
        """One call of /v1/messages."""
        path = self._folder.billed / sums.workspace / _DIRECT
        with self._lock:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with private_open(path, "ab") as out:
                out.write(digest)
        self._store.bill(sums)

    def usage(self, *, digests: bool) -> dict[str, Any]:
        """The whole of `/_emulator/usage`, in total and by workspace."""
        created = self._store.created()
        billed = self._store.sums()
        names = sorted({*created, *(sums.workspace for sums in billed)})
        workspaces = {}
        for name in names:
            entry = _entry([sums for sums in billed if sums.workspace == name])
            entry["batches_created"], entry["requests_accepted"] = created.get(name, (0, 0))
            if digests:
                entry["billed_by_digest"] = dict(self._digests(name))
            workspaces[name] = entry
        total = _entry(billed)
        total["batches_created"] = sum(count for count, _requests in created.values())
        total["requests_accepted"] = sum(requests for _count, requests in created.values())
        if digests:
            counts: Counter[str] = Counter()
            for entry in workspaces.values():
                counts.update(entry["billed_by_digest"])
            total["billed_by_digest"] = dict(counts)
        return {**total, "workspaces": workspaces}

    def reset(self) -> None:
        """Forget the digests; the sums are the store's."""
        with self._lock:
            for path in self._folder.billed.glob("*/*"):
                path.unlink()

    def _digests(self, workspace: str) -> Counter[str]:
        counts: Counter[str] = Counter()
        for path in (self._folder.billed / workspace).glob("*"):
            counts.update(_read(path))
        return counts


def _read(path: Path) -> list[str]:
    content = path.read_bytes().hex()
    return [content[at : at + 2 * _DIGEST] for at in range(0, len(content), 2 * _DIGEST)]


def _entry(billed: list[Sums]) -> dict[str, Any]:
    return {
        "requests": sum(sums.requests for sums in billed),
        "input_tokens": sum(sums.input for sums in billed),
        "output_tokens": sum(sums.output for sums in billed),
        "cache_creation_input_tokens": sum(sums.write_5m + sums.write_1h for sums in billed),
        "cache_read_input_tokens": sum(sums.read for sums in billed),
        "dollars": round(sum(dollars(sums) for sums in billed), 9),
        "by_rate": {f"{sums.mode} {sums.rate} {sums.geo}": _figures(sums) for sums in billed},
    }


def _figures(sums: Sums) -> dict[str, Any]:
    return {
        "requests": sums.requests,
        "input_tokens": sums.input,
        "cache_write_5m_tokens": sums.write_5m,
        "cache_write_1h_tokens": sums.write_1h,
        "cache_read_tokens": sums.read,
        "output_tokens": sums.output,
        "dollars": round(dollars(sums), 9),
    }


def dollars(sums: Sums) -> float:
    """What the sums cost."""
    price = prices()[sums.rate]
    whole = (
        sums.input * price.input
        + sums.write_5m * price.write_5m
        + sums.write_1h * price.write_1h
        + sums.read * price.read
        + sums.output * price.output
    ) / 1e6
    return whole * (BATCH_SHARE if sums.mode == "batch" else 1) * (US_FACTOR if sums.geo == "us" else 1)
