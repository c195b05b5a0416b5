"""What the server still has of a batch that nothing here knows: its results, and in their ids the rows that asked.

What is made of it is in `adopt.py`.
"""

from __future__ import annotations

import re
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from dfbatch.chunks import MAX_REQUESTS
from dfbatch.errors import ApiError, BatchLost, InputError, NotFound, RunPaused
from dfbatch.ledger.files import lines, whole
from dfbatch.ledger.records import BatchRecord
from dfbatch.requests import CHECK_WIDTH, ID_WIDTH, NONCE_WIDTH, POSITION_WIDTH, REQUEST, custom_ids
from dfbatch.results import lines_in
from dfbatch.run import thread
from dfbatch.run.collect import AROUND, BYTES_A_TOKEN
from dfbatch.run.polling import moment
from dfbatch.run.tries import LONGEST
from dfbatch.run.using import in_use

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from pathlib import Path

    from dfbatch.backends import Backend, Batch

    Array = np.ndarray[Any, np.dtype[Any]]

_FORM: Final = re.compile(rf"d[0-9a-f]{{{NONCE_WIDTH - 1}}}[0-9]{{{POSITION_WIDTH}}}[0-9a-f]{{{CHECK_WIDTH}}}")


class _Named(msgspec.Struct):
    """As much of a line as says which request it answers."""

    custom_id: str


def ended_ones(backend: Backend, batch_ids: Sequence[str]) -> list[Batch]:
    """These batches, oldest first; an error where the results of one cannot be had, or not yet."""
    if not batch_ids:
        return []
    told: dict[str, Batch | None] = _on_the_thread(backend, lambda: backend.poll(set(batch_ids)))
    batches = [_ended(batch_id, told[batch_id]) for batch_id in batch_ids]
    return sorted(batches, key=lambda batch: (batch.created or 0.0, batch.id))


def _ended(batch_id: str, batch: Batch | None) -> Batch:
    if batch is None:
        raise NotFound(
            f"no batch {batch_id} for this key",
            "nothing was changed here",
            hint="check its id, and that ANTHROPIC_API_KEY is of the workspace that sent it",
            status=404,
        )
    if batch.archived_at:
        raise BatchLost(
            f"the results of batch {batch_id} were archived on {batch.archived_at}: they cannot be had any more",
            "nothing was changed here",
            hint="batch() asks these rows again",
        )
    if not batch.ended:
        end = moment(batch.expires_at)
        until = f"{end:%Y-%m-%d %H:%M} UTC" if end else "24 hours after it was made"
        raise RunPaused(
            f"batch {batch_id} has not ended yet: it is {batch.processing_status}, with {batch.requests:,} requests",
            f"it ends by {until} at the latest; nothing was changed here",
            hint=f"call dfbatch.adopt({batch_id!r}, …) again when it has ended",
        )
    return batch


def download(backend: Backend, batch: Batch, path: Path, *, max_tokens: int) -> None:
    """The results of a batch as they came, whole and synced."""
    most = (batch.requests or MAX_REQUESTS) * (BYTES_A_TOKEN * max(max_tokens, LONGEST) + AROUND)
    _on_the_thread(backend, lambda: _download(backend, batch.id, path, most))


async def _download(backend: Backend, batch_id: str, path: Path, most: int) -> None:
    size = 0
    with whole(path) as file:
        async with aclosing(backend.results(batch_id)) as blocks:  # type: ignore[type-var]
            async for block in blocks:
                size += len(block)
                if size > most:  # the server is not trusted with our disk
                    raise ApiError(
                        f"the results of batch {batch_id} are larger than {most:,} bytes",
                        "the download was stopped; nothing was changed here",
                        hint="check the address this key is sent to",
                    )
                file.write(block)


def _on_the_thread(backend: Backend, ask: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """What the backend says, asked on the I/O thread; an interrupt leaves nothing under way there."""

    async def asked() -> Any:
        async with in_use(backend):
            return await ask()

    future = thread.start(asked())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def ids_of(path: Path, batch_id: str) -> Array:
    """The custom_ids of a file of results, by position, each position once; one that is not ours is an error."""
    decode = msgspec.json.Decoder(_Named).decode
    found: set[str] = set()
    for line in lines(path):
        try:
            found.add(decode(line).custom_id)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):  # blank, or torn, or something before it
            found.update(each.custom_id for each, _, _ in lines_in(line))
    ids = sorted(found)
    _check(ids, batch_id)
    _, first = np.unique(positions(np.array(ids, f"S{ID_WIDTH}")), return_index=True)
    kept: Array = np.array(ids, f"S{ID_WIDTH}")[first]
    return kept


def _check(ids: list[str], batch_id: str) -> None:
    strange = next((name for name in ids if not _FORM.fullmatch(name)), None)
    if strange is not None:
        why = f"it has the custom_id {strange!r}"
    elif not ids:
        why = "it has no results"
    elif ids[0][:NONCE_WIDTH] != ids[-1][:NONCE_WIDTH]:
        why = f"its custom_ids begin in different ways: {ids[0]!r}, {ids[-1]!r}"
    else:
        return
    raise InputError(
        f"batch {batch_id} was not made by dfbatch: {why}",
        "nothing was kept",
        hint="which row a result belongs to is told by ids of dfbatch alone; check the id of the batch",
    )


def nonce_of(ids: Array) -> str:
    """What all ids of a batch begin with."""
    nonce: bytes = ids[0][:NONCE_WIDTH]
    return nonce.decode()


def positions(ids: Array) -> Array:
    """The positions that these ids hold."""
    return np.array([int(name[NONCE_WIDTH : NONCE_WIDTH + POSITION_WIDTH]) for name in ids.tolist()], np.int64)


def ours(requests: Array, ids: Array) -> tuple[Array, Array]:
    """Which requests are those of a batch with these ids, and which id is whose."""
    wanted = custom_ids(nonce_of(ids), requests)
    at = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    which = np.flatnonzero(ids[at] == wanted)
    return which, at[which]


def map_of(ids: Array) -> Array:
    """A map with these ids. Of digests only their first digits are known; the rest of them tells them apart."""
    sent = np.empty(len(ids), REQUEST)
    sent["position"] = positions(ids)
    sent["digest"] = [
        bytes.fromhex(name[-CHECK_WIDTH:].decode()) + _made_up(position)
        for name, position in zip(ids.tolist(), sent["position"].tolist(), strict=True)
    ]
    return sent


def _made_up(position: int) -> bytes:
    """What stands for the unknown part of a digest: no digest has it by chance."""
    return b"\xff" * 6 + position.to_bytes(8)


def is_made_up(sent: Array) -> Array:
    """Which requests of a map are known by their first digits alone."""
    known = zip(sent["digest"].tolist(), sent["position"].tolist(), strict=True)
    return np.array([digest.ljust(16, b"\0")[-14:] == _made_up(position) for digest, position in known], bool)


def record_of(chunk_id: str, batch: Batch, backend: Backend, *, accepted: float, proved: bool = True) -> BatchRecord:
    """What the ledger keeps of a batch that was found, in a listing or by its id; `accepted` in our clock."""
    return BatchRecord(
        chunk=chunk_id,
        id=batch.id,
        base_url=getattr(backend, "base_url", ""),
        organization=getattr(backend, "organization", ""),
        workspace=getattr(backend, "workspace", ""),
        request_id="",
        status=batch.processing_status,
        created_at=batch.created_at,
        expires_at=batch.expires_at,
        ended_at=batch.ended_at or "",
        accepted=accepted,
        proved=proved,
    )
