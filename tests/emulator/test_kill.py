"""SIGKILL at any moment: no accepted batch is lost, and no line is delivered twice or differently."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from .api import ROUTE, ask
from .nursery import Nursery
from .test_command import emulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HEADERS = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
COUNT = 150
REQUESTS = [{"custom_id": f"r{row}", "params": ask(f"text {row}")} for row in range(COUNT)]
BODY = json.dumps({"requests": REQUESTS}).encode()
OPTIONS = ("--port=0", "--engine=sample", "--law=uniform:0:60", "--lanes=1000", "--speed=1", "--tier=none", "--quiet")
A_WHILE = 61  # seconds after which every request has been processed


class Ward:
    """One data folder whose emulator is killed again and again, and what its replies have promised so far."""

    def __init__(self, nursery: Nursery, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.accepted: dict[str, Any] = {}  # as the last reply about it had it
        self.deleted: set[str] = set()
        self.canceling: set[str] = set()  # asked to be canceled, and no reply came
        self.deleting: set[str] = set()  # asked to be deleted, and no reply came
        self.unheard = 0  # batches sent without a reply
        self.kills = 0
        self.pid = 0
        self._nursery = nursery
        self._lives = 0

    @contextmanager
    def life(self, begin: str = "", die_at: int = 0, tally: Path | None = None) -> Iterator[httpx.Client | None]:
        """An emulator on the folder, dead at the end; None if it died before it listened."""
        self._lives += 1
        ready = self.folder / f"ready-{self._lives}.json"
        options = (*OPTIONS, f"--data={self.data}", f"--ready-file={ready}")
        self.pid = pid = self._nursery.start(*options, begin=begin, die_at=die_at, tally=tally)
        while not ready.exists() and self._nursery.lives(pid):
            pass
        try:
            if ready.exists():
                with httpx.Client(base_url=json.loads(ready.read_text())["url"], headers=HEADERS, timeout=60) as http:
                    yield http
            else:
                yield None
        finally:
            code = self._nursery.ended(pid, signal.SIGTERM if begin else signal.SIGKILL)
            assert code in ({-signal.SIGKILL, 0} if begin else {-signal.SIGKILL})
            self.kills += code == -signal.SIGKILL

    # what may be under way when the kill comes

    def create(self, http: httpx.Client) -> str:
        self.unheard += 1
        pieces = (BODY[at : at + 1000] for at in range(0, len(BODY), 1000))
        batch = self._heard(http.post(ROUTE, content=pieces))
        self.unheard -= 1
        return batch

    def answer(self, http: httpx.Client) -> None:
        self.create(http)
        http.post("/_emulator/clock", json={"advance_seconds": 0})  # answers once all is answered

    def cancel(self, http: httpx.Client) -> None:
        batch = self.create(http)
        self.canceling.add(batch)
        self._heard(http.post(f"{ROUTE}/{batch}/cancel"))
        self.canceling.discard(batch)

    def end(self, http: httpx.Client) -> str:
        batch = self.create(http)
        http.post("/_emulator/clock", json={"advance_seconds": A_WHILE})
        return batch

    def delete(self, http: httpx.Client) -> None:
        batch = self.end(http)
        self._heard(http.get(f"{ROUTE}/{batch}"))
        self.deleting.add(batch)
        reply = http.delete(f"{ROUTE}/{batch}")
        assert reply.status_code == 200, reply.text
        self.deleting.discard(batch)
        self.deleted.add(batch)

    def _heard(self, reply: httpx.Response) -> str:
        assert reply.status_code == 200, reply.text
        batch = reply.json()
        self.accepted[batch["id"]] = batch
        return str(batch["id"])

    # what must be true after it

    def listed(self, http: httpx.Client) -> dict[str, Any]:
        """All batches that are there, which are those that must be, as they were promised."""
        found = {batch["id"]: batch for batch in http.get(f"{ROUTE}?limit=1000").json()["data"]}
        assert set(self.accepted) - self.deleted - self.deleting <= set(found)
        assert not self.deleted & set(found)
        assert len(set(found) - set(self.accepted)) <= self.unheard
        assert {path.name for path in (self.data / "batches").iterdir()} == set(found)
        for name, batch in found.items():
            promised = self.accepted.get(name, batch)
            assert (batch["created_at"], sum(batch["request_counts"].values())) == (promised["created_at"], COUNT)
            assert batch["cancel_initiated_at"] == promised["cancel_initiated_at"] or name in self.canceling
            assert promised["processing_status"] in {batch["processing_status"], "in_progress", "canceling"}
        return found

    def audit(self, http: httpx.Client, lines: set[bytes]) -> None:
        """Every batch is whole, and paid for once."""
        http.post("/_emulator/clock", json={"advance_seconds": A_WHILE}).raise_for_status()
        found = self.listed(http)
        billed = COUNT * len(set(self.accepted) - set(found))  # those deleted had ended well
        for name, batch in found.items():
            counts = batch["request_counts"]
            got = http.get(f"{ROUTE}/{name}/results").content.splitlines(keepends=True)
            told = {json.loads(line)["custom_id"]: line for line in got}
            assert len(got) == len(told) == COUNT
            assert batch["processing_status"] == "ended"
            assert counts["succeeded"] + counts["canceled"] == COUNT
            assert counts["succeeded"] == COUNT or batch["cancel_initiated_at"]
            assert len(set(got) & lines) == counts["succeeded"]
            assert {json.loads(line)["result"]["type"] for line in set(got) - lines} <= {"canceled"}
            billed += counts["succeeded"]
        usage = http.get("/_emulator/usage").json()
        assert usage["requests"] == sum(usage["billed_by_digest"].values()) == billed
        assert usage["batches_created"] == len(self.accepted) + len(set(found) - set(self.accepted))
        assert list((self.data / "incoming").iterdir()) == []


# the function from whose first call lines are counted, and what is asked of the emulator meanwhile
MOMENTS: dict[str, tuple[str, Callable[[Ward, httpx.Client], Any]]] = {
    "starting": ("House.__init__", lambda ward, http: ward.listed(http)),
    "receiving": ("create", Ward.create),
    "accepting": ("Life.accept", Ward.create),
    "answering": ("Processor._answer", Ward.answer),
    "canceling": ("Life.cancel", Ward.cancel),
    "ending": ("Life._end", Ward.end),
    "deleting": ("Life.delete", Ward.delete),
}


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as started:
        yield started


@pytest.fixture(scope="module")
def spans(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """How many lines each moment has when nothing kills it."""
    found = {}
    for name, (begin, act) in MOMENTS.items():
        folder = tmp_path_factory.mktemp(name)
        with Ward(nursery, folder).life(begin, tally=folder / "lines") as http:
            assert http
            act(Ward(nursery, folder), http)
        found[name] = int((folder / "lines").read_text())
    return found


@pytest.fixture(scope="module")
def lines(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> set[bytes]:
    """The result lines of the batch, made by an emulator that nobody kills before."""
    ward = Ward(nursery, tmp_path_factory.mktemp("whole"))
    with ward.life() as http:
        assert http
        return set(http.get(f"{ROUTE}/{ward.end(http)}/results").content.splitlines(keepends=True))


FULL = [pytest.param(seed, marks=pytest.mark.full) for seed in range(1, 12)]


@pytest.mark.parametrize("seed", [0, *FULL])
def test_killed_at_any_line_no_accepted_batch_is_lost(
    nursery: Nursery, spans: dict[str, int], lines: set[bytes], tmp_path: Path, seed: int
) -> None:
    """One folder, 42 kills: every moment six times in an order and at lines that the seed draws."""
    rng = random.Random(seed)
    ward = Ward(nursery, tmp_path)
    for name in rng.sample(list(MOMENTS) * 6, 6 * len(MOMENTS)):
        begin, act = MOMENTS[name]
        with ward.life(begin, rng.randint(1, spans[name])) as http, suppress(httpx.TransportError):
            if http:
                ward.listed(http)
                act(ward, http)
    with ward.life() as http:
        assert http
        ward.audit(http, lines)

    assert ward.kills > 5 * len(MOMENTS)  # where work was less than expected, a clean stop was the end


@pytest.mark.parametrize("seed", [0, *FULL])
def test_killed_at_any_time_no_accepted_batch_is_lost(
    nursery: Nursery, lines: set[bytes], tmp_path: Path, seed: int
) -> None:
    """By another process: right after a reply, or while one thing after another is asked."""
    rng = random.Random(seed)
    ward = Ward(nursery, tmp_path)
    for _ in range(16):
        with ward.life() as http, suppress(httpx.TransportError):
            assert http
            acts: list[Callable[[Ward, httpx.Client], Any]] = [Ward.create, Ward.cancel, Ward.end, Ward.delete]
            rng.choice(acts)(ward, http)
            if rng.random() < 0.5:  # right after the reply, or while more is asked
                continue
            timer = threading.Timer(rng.uniform(0, 0.3), os.kill, (ward.pid, signal.SIGKILL))
            timer.start()
            try:
                for act in itertools.cycle(rng.sample(acts, 4)):
                    act(ward, http)
            finally:
                timer.join()
    with ward.life() as http:
        assert http
        ward.audit(http, lines)

    assert ward.kills == 17


def ended(process: subprocess.Popen[str], url: str, batch_id: str) -> Any:
    while True:
        batch = httpx.get(f"{url}{ROUTE}/{batch_id}", headers=HEADERS).json()
        if batch["processing_status"] == "ended":
            return batch
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.02)


def test_answering_goes_on_after_the_last_whole_line(tmp_path: Path) -> None:
    options = ("--data", str(tmp_path / "data"), "--law", "0", "--tier", "none", "--quiet")
    with emulator(tmp_path, *options) as (process, facts):
        requests = [{"custom_id": f"r{row}", "params": ask(f"text {row}")} for row in range(8_000)]
        reply = httpx.post(facts["url"] + ROUTE, json={"requests": requests}, headers=HEADERS, timeout=60)
        batch_id = reply.json()["id"]
        part = tmp_path / "data" / "batches" / batch_id / "lines.part"
        while not part.exists() or part.stat().st_size < 500_000:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.002)
        process.kill()
        process.wait()
    (tmp_path / "ready.json").unlink()
    half = part.read_bytes()
    with part.open("ab") as out:
        out.write(b'{"custom_id":"torn')
    with emulator(tmp_path, *options) as (process, facts):
        batch = ended(process, facts["url"], batch_id)
        whole = httpx.get(f"{facts['url']}{ROUTE}/{batch_id}/results", headers=HEADERS, timeout=60).content

    assert batch["request_counts"]["succeeded"] == 8_000
    assert len({json.loads(line)["custom_id"] for line in whole.split(b"\n")[:-1]}) == 8_000
    assert whole.startswith(half[: half.rfind(b"\n") + 1][:400_000])
