"""SIGKILL at any moment: no accepted batch is lost, and no line is delivered twice or differently."""

from __future__ import annotations

import json
import random
import subprocess
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from .api import ROUTE, ask
from .test_command import emulator

if TYPE_CHECKING:
    from pathlib import Path

HEADERS = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
COUNT = 300


def create(url: str, name: str) -> str | None:
    """The id of an accepted batch, or None if the emulator died first."""
    requests = [{"custom_id": f"{name}-{row}", "params": ask(f"{name} {row}")} for row in range(COUNT)]
    try:
        reply = httpx.post(url + ROUTE, json={"requests": requests}, headers=HEADERS, timeout=30)
    except httpx.TransportError:
        return None
    assert reply.status_code == 200, reply.text
    return str(reply.json()["id"])


def ended(process: subprocess.Popen[str], url: str, batch_id: str) -> Any:
    while True:
        batch = httpx.get(f"{url}{ROUTE}/{batch_id}", headers=HEADERS).json()
        if batch["processing_status"] == "ended":
            return batch
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.02)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.full), pytest.param(3, marks=pytest.mark.full)])
def test_a_killed_emulator_loses_no_accepted_batch(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    accepted: list[str] = []
    options = ("--data", str(tmp_path / "data"), "--law", "0", "--tier", "none", "--quiet")
    for turn in range(3):
        with emulator(tmp_path, *options) as (process, facts):
            timer = threading.Timer(rng.uniform(0.0, 0.3), process.kill)
            for row in range(50):
                batch_id = create(facts["url"], f"t{turn}-{row}")
                if batch_id is None:
                    break
                accepted.append(batch_id)
                if not row:
                    timer.start()
            timer.join()
            process.wait()
        (tmp_path / "ready.json").unlink(missing_ok=True)
    with emulator(tmp_path, *options) as (process, facts):
        listed = httpx.get(f"{facts['url']}{ROUTE}?limit=1000", headers=HEADERS).json()["data"]
        seen = {}
        for batch_id in accepted:
            batch = ended(process, facts["url"], batch_id)
            lines = httpx.get(f"{facts['url']}{ROUTE}/{batch_id}/results", headers=HEADERS).content.split(b"\n")
            seen[batch_id] = (
                batch["request_counts"]["succeeded"],
                len({json.loads(line)["custom_id"] for line in lines[:-1]}),
            )
        for batch in listed:
            ended(process, facts["url"], batch["id"])
        usage = httpx.get(f"{facts['url']}/_emulator/usage").json()

    assert len(accepted) >= 3
    assert set(accepted) <= {batch["id"] for batch in listed}
    assert set(seen.values()) == {(COUNT, COUNT)}
    assert usage["requests"] == COUNT * len(listed)
    assert set(usage["billed_by_digest"].values()) == {1}


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
