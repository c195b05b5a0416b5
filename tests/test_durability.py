"""Intent before act: what a POST stands on is on disk, with its folders, before the first byte of its body leaves.

The order is told by the process itself and, where the machine has strace, by the system. That the test can fail is
shown with copies of the package that are broken on purpose.
"""

from __future__ import annotations

import re
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.run.orders import ROOT, SIZE, TEXTS, can_trace, order
from tests.run.plain_server import PlainServer

if TYPE_CHECKING:
    from collections.abc import Iterator

BODY: Final = '{"requests":['
NONCE: Final = re.compile(r'"custom_id":"(d[0-9a-f]{9})')


BROKEN: Final = {  # what is wrong in the copy: where, what was there, what is there; and what must be told
    "files are not synced": ("ledger/files.py", {"os.fsync(file.fileno())": "pass"}, {"map.npy", "spool"}),
    "names are not synced": ("ledger/files.py", {"sync_folder(path.parent)": "pass"}, {"map.npy", "spool"}),
    "folders are not synced": ("ledger/files.py", {"sync_folder(made.parent)": "pass"}, {"chunks", "runs"}),
    "tables are not synced": ("ledger/__init__.py", {"synchronous=FULL": "synchronous=NORMAL"}, {"intent"}),
    "the act comes before the intent": (
        "run/sending.py",
        {
            'work.ledger.happen(chunk.id, "send", ': "dict(sent=True, ",
            "work.record.spec.betas)\n": 'work.record.spec.betas)\n        work.ledger.happen(chunk.id, "send")\n',
        },
        {"intent"},
    ),
}
WAYS: Final = {"told by itself": False, "told by the system": True}  # whether strace tells

Told = tuple[list[list[str]], Path]  # the order, and the ledger's folder


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Told]]]:
    """One cell of the package itself, in each way to look at it, and of each broken copy; two at one time."""

    def told(name: str) -> Told:
        folder = tmp_path_factory.mktemp("order")
        home, trace = folder / "new" / "ledger", WAYS.get(name, can_trace())
        package = broken(folder / "copy", *BROKEN[name][:2]) if name in BROKEN else ROOT
        return order(server.url, home, package=package, trace=trace), home

    with PlainServer() as server, ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(told, name) for name in (*WAYS, *BROKEN) if can_trace() or not WAYS.get(name)}


def broken(copy: Path, place: str, wrong: dict[str, str]) -> Path:
    """A copy of the package in which one thing is wrong."""
    shutil.copytree(ROOT / "dfbatch", copy / "dfbatch", ignore=shutil.ignore_patterns("__pycache__", "emulator"))
    path = copy / "dfbatch" / place
    for sound, other in wrong.items():
        text = path.read_text()
        assert text.count(sound) == 1, f"{place} has changed: {sound!r} is not there to be broken"
        path.write_text(text.replace(sound, other))
    return copy


def unkept(seen: list[list[str]], home: Path) -> list[str]:
    """What was not on disk when it had to be."""
    bodies = [place for place, what in enumerate(seen) if what[0] == "sent" and what[1].startswith(BODY)]
    found: list[str] = []
    for place in bodies:
        chunk = _chunk(seen, place)
        before = seen[:place]
        if ["state", chunk, "submitting"] not in before:
            found.append("intent")
        found += [name for name in ("map.npy", "spool") if not _is_whole(before, home / "chunks" / f"{chunk}.{name}")]
        run = home / "runs" / chunk.partition("-")[0]
        found += [name for name in ("rows.npy", "requests.npy") if not _is_whole(before, run / name)]
        found += [path for path in _folders(before, home) if not _is_kept(before, path)]
        found += [] if ["synced", str(home)] in before else ["ledger.sqlite"]
    found += _judged_too_soon(seen, home)
    return found


def _chunk(seen: list[list[str]], place: int) -> str:
    """The chunk whose body begins here, by the nonce in its ids."""
    sock = seen[place][2]
    text = "".join(what[1] for what in seen[place:] if what[0] == "sent" and what[2] == sock)
    nonce = NONCE.search(text)
    assert nonce, text
    (chunk,) = {Path(what[1]).stem for what in seen if what[0] == "named" and what[1].endswith(f"{nonce[1]}.spool")}
    return chunk


def _is_whole(before: list[list[str]], path: Path) -> bool:
    """Synced under another name, then named, then its folder synced."""
    named = [(place, what[2]) for place, what in enumerate(before) if what[:2] == ["named", str(path)]]
    return any(
        ["synced", part] in before[:place] and ["synced", str(path.parent)] in before[place:] for place, part in named
    )


def _folders(before: list[list[str]], home: Path) -> list[str]:
    return [what[1] for what in before if what[0] == "folder" and Path(what[1]).is_relative_to(home.parent)]


def _is_kept(before: list[list[str]], path: str) -> bool:
    """Whether the name of a folder that was made is on disk."""
    return ["synced", str(Path(path).parent)] in before[before.index(["folder", path]) :]


def _judged_too_soon(seen: list[list[str]], home: Path) -> list[str]:
    """Raw first: results are whole on disk before they are judged, and what was found before it is noted."""
    collected = [(place, what[1]) for place, what in enumerate(seen) if what[0] == "state" and what[2] == "collected"]
    return [
        name
        for place, chunk in collected
        for name in ("jsonl", "found.npy")
        if not _is_whole(seen[:place], home / "chunks" / f"{chunk}.{name}")
    ]


@pytest.mark.parametrize("way", WAYS)
def test_spool_map_and_intent_are_on_disk_before_the_first_byte_of_a_body_leaves(
    orders: dict[str, Future[Told]], way: str
) -> None:
    if way not in orders:
        pytest.skip("no strace here, or it may not look")
    seen, home = orders[way].result()

    assert sum(what[0] == "sent" and what[1].startswith(BODY) for what in seen) == len(TEXTS) // SIZE + 1
    assert unkept(seen, home) == []


@pytest.mark.parametrize("what", BROKEN)
def test_a_package_that_is_broken_on_purpose_does_not_pass(orders: dict[str, Future[Told]], what: str) -> None:
    seen, home = orders[what].result()

    assert {Path(name).name for name in unkept(seen, home)} >= BROKEN[what][2]
