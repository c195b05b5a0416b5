"""What a server tells of a model (`/v1/models`), asked before anything is sent and kept a day; what contradicts it.

Only the server's word stops a call: what dfbatch has listed itself may be outdated, and is a note in a plan. A server
that tells nothing, nothing readable or nothing in time stops nobody. What contradicts what is in `contradictions.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from dfbatch.contradictions import Asked, contradictions, crowded, retired, retiring, successor
from dfbatch.errors import DfbatchError, NoBackend, NotFound, OptionError
from dfbatch.ledger.files import private_folder, whole
from dfbatch.models import Models, relied_on, unlisted
from dfbatch.run import thread
from dfbatch.run.clock import current
from dfbatch.run.ending import first_line
from dfbatch.run.now import DIRECT
from dfbatch.run.using import in_use

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date
    from pathlib import Path

    from dfbatch.backends import Backend
    from dfbatch.contradictions import Contradiction
    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import ChunkRecord, RunRecord
    from dfbatch.models import Model
    from dfbatch.run.clock import Clock
    from dfbatch.run.loop import Work
    from dfbatch.run.spools import Terms

log = logging.getLogger("dfbatch")

FOLDER: Final = "models"  # in the ledger's: a file for each model of each server
DAY: Final = 86_400.0  # seconds that a reply is kept
PATIENCE: Final = 5.0  # seconds that one is waited for
AGAIN: Final = ("again", "longer", "empty", "corrected", "hand")  # kinds of chunks whose terms were looked at before
UNSENT: Final = "this is told before it is sent: nothing is billed for it"


class Told(msgspec.Struct, frozen=True):
    """What a server told of a model, and when; of a server that was silent, None."""

    who: str
    model: str
    asked: float
    info: dict[str, Any] | None


_told = msgspec.json.Decoder(Told).decode


class Limits:
    """What the server of one backend tells of models; each is asked for once, and not again within a day."""

    def __init__(self, folder: Path, backend: Backend, clock: Clock) -> None:
        self._folder = folder
        self._backend = backend
        self._clock = clock
        self._heard: dict[str, Told] = {}  # by model: what was asked for here

    async def check(self, requests: Sequence[Asked]) -> None:
        """Raise OptionError where the server's word is against a request, NotFound where it has no such model."""
        if self._backend.kind == "local":
            return
        for asked in dict.fromkeys(requests):
            told = await self._told(asked)
            if found := self._against(asked, told):
                raise self._refused(found)

    def _against(self, asked: Asked, told: dict[str, Any] | None) -> list[Contradiction]:
        """By the server's word; where it is silent, by what every model or our own list alone says."""
        today = day(self._clock.now())
        if told is not None:
            return against(asked, told, today)
        model = Models().find(asked.model) or unlisted(asked.model)
        over = retired(asked, model, today)
        return [*filter(None, [over]), *(each for each in contradictions(asked, model) if each.by == "rule")]

    def info(self, model: str) -> dict[str, Any]:
        """What is known here of a model by its server's word; nobody is asked."""
        now, heard = self._clock.now(), self._heard.get(model)
        if heard is not None and is_fresh(heard, now):
            return heard.info or {}
        return kept_of(self._folder, self._backend.who, model, now) or {}

    async def _told(self, asked: Asked) -> dict[str, Any] | None:
        """Before what was kept stops a call, it is asked for again: it may be true no more."""
        now = self._clock.now()
        heard = self._heard.get(asked.model)
        if heard is not None and is_fresh(heard, now):
            return heard.info
        kept = kept_of(self._folder, self._backend.who, asked.model, now)
        if kept is not None and not against(asked, kept, day(now)):
            return kept
        return await self._ask(asked.model, now) or kept

    async def _ask(self, model: str, now: float) -> dict[str, Any] | None:
        info: dict[str, Any] | None = None
        try:
            async with asyncio.timeout(PATIENCE):
                info = await self._backend.describe(model)
        except NotFound as error:
            raise _missing(error, model) from None
        except (DfbatchError, TimeoutError) as error:  # whatever it is, what comes next tells it better
            log.info("nothing is told of model %s: %s", model, first_line(error) or f"no answer in {PATIENCE:g} s")
        told = Told(self._backend.who, model, now, None if info is None else relied_on(info))
        self._heard[model] = told
        if told.info is not None:
            keep(self._folder, told)
        return told.info

    def _refused(self, found: Sequence[Contradiction]) -> OptionError:
        server = f"/v1/models of {getattr(self._backend, 'base_url', 'this server')}"
        says = {"told": f"{server} says", "rule": "the Messages API says", "list": "known from"}
        return OptionError(
            "; ".join(each.what for each in found),
            *(f"{says[each.by]}: {each.known}" for each in found),
            UNSENT,
            hint="; ".join(each.hint for each in found),
        )


def against(asked: Asked, info: dict[str, Any], today: date) -> list[Contradiction]:
    """Contradictions to the server's word; how far a beta lifts a limit is for our own list to say, and stops nobody.

    Which models take temperature and its like no server tells: there, our list counts.
    """
    listed = Models().find(asked.model) or unlisted(asked.model)
    alone = replace(unlisted(asked.model), most_beta=listed.most_beta, sampling=listed.sampling).told(info)
    found = [each for each in contradictions(asked, alone) if each.by != "list"]
    return [*found, *filter(None, [retired(asked, alone, today)])]


def day(seconds: float) -> date:
    """The day of a time in seconds since 1970, UTC."""
    return datetime.fromtimestamp(seconds, UTC).date()


def _missing(error: NotFound, model: str) -> NotFound:
    """The same error, with the model that may be meant."""
    after, near = successor(model), Models().near(model)
    meant = after or (near.id if near else "")
    return NotFound(
        first_line(error),
        *([f"{model} is retired, or not on offer there; {after} follows it"] if after else []),
        UNSENT,
        hint=f"did you mean model={meant!r}?" if meant else "check model= and the address",
        status=error.status,
        kind=error.type,
        request_id=error.request_id,
        code=error.code,
    )


# ------------------------------------------------------------------ who looks, and when


async def look(work: Work, queue: Sequence[ChunkRecord]) -> None:
    """Before chunks are sent: what a run asks as its call says it. What it asks in another way was looked at before."""
    ways = {chunk.kind in DIRECT for chunk in queue if not chunk.head and chunk.kind not in AGAIN}
    if ways and work.may_send:
        await work.limits.check([of(work.record, direct=way) for way in sorted(ways)])


def look_at_change(work: Work, terms: Terms) -> None:
    """Before requests are planned in another way, by hand: where that is refused, the run stays as it is."""
    work.backend.ready(work.ledger.folder)
    asked = of(work.record, terms.head, direct=terms.kind in DIRECT)
    thread.start(_checked(work.limits, work.backend, [asked])).result()


def noted(ledger: Ledger, backend: Backend, record: RunRecord, *, direct: bool) -> list[str]:
    """For a plan: raise what a run would raise, and return what our own list alone has against it."""
    if backend.kind == "local":
        return []
    asked = [of(record, direct=way) for way in ([False, True] if direct else [False])]
    limits = Limits(ledger.folder, backend, current())
    with contextlib.suppress(NoBackend):  # a plan needs no key
        backend.ready(ledger.folder)
        thread.start(_checked(limits, backend, asked)).result()
    listed = Models().find(record.model) or unlisted(record.model)
    model = listed.told(limits.info(record.model))
    says = {"rule": "the Messages API"}
    found = [each for one in asked for each in contradictions(one, model)]
    told = [f"{each.what}: {each.known}, says {says.get(each.by, model.source)}" for each in found]
    soon = retiring(model, day(current().now()))
    return [*dict.fromkeys([*told, *filter(None, [soon, crowded(asked[0], model)])])]


async def _checked(limits: Limits, backend: Backend, asked: Sequence[Asked]) -> None:
    async with in_use(backend):
        await limits.check(asked)


def of(record: RunRecord, head: str = "", *, direct: bool) -> Asked:
    """What each request of a run asks; `head` is the shared part of those that are asked in another way."""
    shared = (head or record.spec.head).removesuffix(",") + record.spec.tail
    version = str(record.spec.backend.get("version", ""))
    return Asked.of(shared.encode(), record.spec.betas, direct=direct, version=version)


def as_told(folder: Path, record: RunRecord, model: Model | None) -> Model:
    """The model of a run as its server told it, where that is kept; nobody is asked."""
    info = kept_of(folder, record.who, record.model, current().now())
    return (model or unlisted(record.model)).told(info or {})


# ------------------------------------------------------------------ kept


def is_fresh(told: Told, now: float) -> bool:
    """Whether it was told within a day; what is of a time to come is not."""
    return 0 <= now - told.asked < DAY


def kept_of(folder: Path, who: str, model: str, now: float) -> dict[str, Any] | None:
    """What was kept within a day; a file that cannot be read is as good as none."""
    try:
        told = _told(_file(folder, who, model).read_bytes())
    except (OSError, msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return told.info if (told.who, told.model) == (who, model) and is_fresh(told, now) else None


def keep(folder: Path, told: Told) -> None:
    """Keep it for all processes; where that cannot be done, it is asked for again."""
    with contextlib.suppress(DfbatchError, OSError):
        place = private_folder(folder / FOLDER)
        for old in place.iterdir():  # nobody reads those any more
            if told.asked - old.stat().st_mtime > DAY:
                old.unlink(missing_ok=True)
        with whole(_file(folder, told.who, told.model), durable=False) as file:
            file.write(msgspec.json.encode(told))


def _file(folder: Path, who: str, model: str) -> Path:
    """One for each who answers and model, so that no two write over each other; of whom it is, is in the file."""
    name = hashlib.blake2b(f"{who}\n{model}".encode(errors="replace"), digest_size=12).hexdigest()
    return folder / FOLDER / f"{name}.json"
