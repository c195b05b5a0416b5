"""Bad input and bad weather: what each says, word for word, and that nothing was sent or nothing is lost.

Every text has three parts: what happened and where; what is known; `Hint:` what to do.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import polars as pl
import pydantic
import pytest

import dfbatch
from dfbatch import run as run_layer
from dfbatch.backends.anthropic import Anthropic
from dfbatch.emulator import Server
from dfbatch.errors import (
    ApiError,
    BatchLost,
    ColumnClash,
    DfbatchError,
    DiskFull,
    InputError,
    LedgerError,
    ModelMissing,
    NoBackend,
    NotAFrame,
    NotFound,
    NotTheApi,
    NullCell,
    OptionError,
    PromptError,
    RowsFailed,
    RowsFailedWarning,
    SchemaError,
    Unauthorized,
    UnknownColumn,
    Unreachable,
)
from dfbatch.ledger.migrations import STEPS
from dfbatch.run import clock
from dfbatch.testing import Emulator
from tests.wire import Peer, Wire, nobody, saying

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FRAME = pd.DataFrame({"text": ["a", "b", "c"], "n": [1, 2, 3]})
PAGE = {"data": [], "has_more": False, "first_id": None, "last_id": None}


class Review(pydantic.BaseModel):
    topic: Literal["sport", "tech"]
    score: int


class Empty(pydantic.BaseModel):
    pass


class Tree(pydantic.BaseModel):
    children: list[Tree]


class Shelf(pydantic.BaseModel):
    sizes: dict[str, int]


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


@pytest.fixture
def refused(emulator: Emulator) -> Callable[..., str]:
    """The text with which a call is refused; nobody was asked anything."""

    def text_of(kind: type[DfbatchError], prompt: Any, schema: Any = None, frame: Any = FRAME, **options: Any) -> str:
        with pytest.raises(kind) as caught:
            dfbatch.batch(frame, prompt, schema, progress=False, **options)
        assert isinstance(caught.value, kind)
        assert emulator.usage()["calls"] == {}
        assert dfbatch.runs() == []
        return str(caught.value)

    return text_of


def label(backend: Any, frame: Any = FRAME, **options: Any) -> Any:
    return dfbatch.batch(frame, "Say {text}", backend=backend, progress=False, **options)


def key_to(url: str) -> Anthropic:
    return Anthropic(api_key="sk-test", base_url=url)


class Racing:
    """A clock by which every pause is over at once."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> float:
        return 1_800_000_000.0 + self.passed

    async def pause(self, seconds: float, unless: asyncio.Event) -> None:
        self.passed += 0.0 if unless.is_set() else seconds
        unless.clear()
        await asyncio.sleep(0)


@pytest.fixture
def racing(monkeypatch: pytest.MonkeyPatch) -> Racing:
    made = Racing()
    monkeypatch.setattr(clock, "wall", made)
    return made


# ---------------------------------------------------------------------- who answers


def test_no_key_and_no_backend() -> None:
    with pytest.raises(NoBackend) as caught:
        FRAME.claude.batch("Say {text}", progress=False)

    assert str(caught.value) == (
        "no API key: neither ANTHROPIC_API_KEY nor ANTHROPIC_AUTH_TOKEN is set, and no backend was named\n"
        "nothing was sent\n"
        'Hint: set ANTHROPIC_API_KEY to ask Claude, or pass backend="local" for a small model on this machine'
    )
    assert dfbatch.runs() == []


def test_a_backend_that_is_none(refused: Callable[..., str]) -> None:
    assert refused(OptionError, "Say {text}", backend="claude") == (
        'backend=\'claude\'\nHint: "anthropic", "local", dfbatch.Anthropic(…) or dfbatch.Local(…)'
    )


def test_local_without_weights(refused: Callable[..., str], tmp_path: Path) -> None:
    file = tmp_path / "none.gguf"
    assert refused(ModelMissing, "Say {text}", backend=dfbatch.Local(model_file=file)) == (
        f"the weights of the local model are missing: {file}\n"
        "no other engine answers in its place: that would be a silent fallback\n"
        'Hint: run `dfbatch fetch-model`, or use backend=dfbatch.Local(engine="sample") for synthetic answers'
    )


# ---------------------------------------------------------------------- the prompt


def test_a_frame_without_the_column(refused: Callable[..., str]) -> None:
    assert refused(UnknownColumn, "Topic of: {txet}") == (
        "no column 'txet' in the frame, named in the prompt - at line 1, character 11\n"
        "  Topic of: {txet}\n"
        "            ^\n"
        "columns: text, n\n"
        "Hint: did you mean {text}?"
    )


def test_a_prompt_without_a_column(refused: Callable[..., str]) -> None:
    assert refused(PromptError, "What is the topic?") == (
        "the prompt names no column: 'What is the topic?'\n"
        "columns: text, n\n"
        "Hint: name a column, such as {text}, or pass same_for_all=True if every row is to get the same prompt"
    )


def test_json_braces(refused: Callable[..., str]) -> None:
    assert refused(UnknownColumn, 'Answer like {"topic": "x"}\nfor {text}') == (
        "no column '\"topic\"' in the frame, named in the prompt - at line 1, character 13\n"
        '  Answer like {"topic": "x"}\n'
        "              ^\n"
        "columns: text, n\n"
        'Hint: this looks like JSON: double its braces: {{"topic": "x"}}'
    )


def test_a_brace_that_is_never_closed(refused: Callable[..., str]) -> None:
    assert refused(PromptError, "Answer {text") == (
        "'{' is never closed in the prompt - at line 1, character 8\n"
        "  Answer {text\n"
        "         ^\n"
        "Hint: write '{{' for a literal brace"
    )


def test_attributes_in_a_template(refused: Callable[..., str]) -> None:
    assert refused(PromptError, "{text.upper}") == (
        "attribute or index access is refused in the prompt - at line 1, character 1\n"
        "  {text.upper}\n"
        "  ^\n"
        "columns: text, n\n"
        "Hint: name a column, such as {text}; a callable can take values apart: lambda row: ..."
    )


def test_a_key_that_is_no_column(refused: Callable[..., str]) -> None:
    assert refused(UnknownColumn, "Say {text}", key="txt") == (
        "no column 'txt' for key=\ncolumns: text, n\nHint: did you mean key='text'?"
    )


def test_a_null_where_none_may_be(refused: Callable[..., str]) -> None:
    frame = pd.DataFrame({"text": ["a", None]})
    assert refused(NullCell, "Say {text}", frame=frame, on_null="raise") == (
        "null in column 'text' (row 1), and on_null='raise'\n"
        "Hint: on_null='skip' leaves such rows out; on_null='send' sends them with the field empty"
    )


# ---------------------------------------------------------------------- the frame


def test_column_names_in_the_way_are_all_listed(refused: Callable[..., str]) -> None:
    frame = FRAME.assign(score=0, topic="mine")
    assert refused(ColumnClash, "Say {text}", Review, frame=frame) == (
        "columns in the way: 'topic', 'score'\n"
        "'topic', row 0: 'mine' was never written by dfbatch: no run wrote a column of this name; so are 2 more rows\n"
        "'score', row 0: 0 was never written by dfbatch: no run wrote a column of this name; so are 2 more rows\n"
        "Hint: name the answer with into=, or pass overwrite=True to replace them; a cell set to None is filled"
    )


def test_multiindex_columns(refused: Callable[..., str]) -> None:
    frame = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")]))
    assert refused(NotAFrame, "Say {a}", frame=frame) == (
        "the frame has MultiIndex columns\n"
        "levels: 2\n"
        "Hint: flatten them first: df.columns = ['_'.join(map(str, name)) for name in df.columns]"
    )


def test_a_lazyframe(emulator: Emulator) -> None:
    with pytest.raises(NotAFrame) as caught:
        pl.LazyFrame({"text": ["a"]}).claude.batch("Say {text}")  # type: ignore[attr-defined]  # put there by dfbatch

    assert str(caught.value) == (
        "expected a pandas or polars DataFrame, got polars.lazyframe.frame.LazyFrame\n"
        "Hint: call .collect() first: df.collect().claude.batch(...)"
    )
    assert emulator.usage()["calls"] == {}


# ---------------------------------------------------------------------- the schema


def test_an_empty_schema(refused: Callable[..., str]) -> None:
    assert refused(SchemaError, "Say {text}", Empty) == (
        "the schema has no fields - at $\nHint: declare at least one field"
    )


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (
            Tree,
            (
                "a recursive schema cannot be asked for: Tree holds itself - at $.children\n"
                "Hint: unfold it to the depth you need, or refer to parents by name"
            ),
        ),
        (
            Shelf,
            (
                "open keys (dict[str, ...]) cannot be asked for - at $.sizes\n"
                "Hint: use a list of objects with the fields key and value, or name the keys as fields"
            ),
        ),
        (set[int], "a set cannot be asked for - at $\nHint: use list[...]"),
        (
            {},
            (
                "the schema is empty: it asks for nothing - at $\n"
                "Hint: say which type it has: str, int, float, bool, a Literal, a list or a model"
            ),
        ),
        (
            Any,
            (
                "a value of any type cannot be asked for - at $\n"
                "Hint: say which type it has: str, int, float, bool, a Literal, a list or a model"
            ),
        ),
        (
            "topic",
            (
                "expected a schema, got a value: 'topic'\n"
                "known: a pydantic model, dataclass, TypedDict, Literal, Enum, list, scalar type,"
                " a list of labels, or a JSON schema dict\n"
                "Hint: pass the class"
            ),
        ),
    ],
    ids=["recursive", "open keys", "set", "empty dict", "Any", "a value"],
)
def test_schemas_that_cannot_be_asked_for(schema: Any, text: str, refused: Callable[..., str]) -> None:
    assert refused(SchemaError, "Say {text}", schema) == text


# ---------------------------------------------------------------------- the options


def test_max_tokens_0(refused: Callable[..., str]) -> None:
    assert refused(OptionError, "Say {text}", max_tokens=0) == (
        "max_tokens=0: a whole number of at least 1 is needed\nHint: max_tokens=1024"
    )


def test_samples_of_rows_that_are_each_asked(refused: Callable[..., str]) -> None:
    assert refused(OptionError, "Say {text}", samples=3, dedupe=False) == (
        "samples=3 with dedupe=False: both ask equal requests more than once\n"
        "Hint: samples=… asks each row that often and compares; dedupe=False asks each of several equal rows"
    )


def test_a_column_in_the_way_of_the_agreement(refused: Callable[..., str]) -> None:
    frame = FRAME.assign(claude_agreement=1.0)

    assert refused(ColumnClash, "Say {text}", frame=frame, samples=3).startswith(
        "columns in the way: 'claude_agreement'\n"
    )


def test_an_option_not_built_yet(refused: Callable[..., str]) -> None:
    assert refused(OptionError, "Say {text}", effort="low") == (
        'the option \'effort\' is not built yet\nHint: for now, use params={"output_config": {"effort": …}}'
    )


def test_an_unknown_option(refused: Callable[..., str]) -> None:
    text = refused(OptionError, "Say {text}", max_token=5)

    what, known, hint = text.splitlines()
    assert what == "unknown option 'max_token'"
    assert known.startswith("options: model, system, max_tokens, ")
    assert hint == "Hint: did you mean max_tokens=?"


def test_a_parameter_of_the_api_as_an_option(refused: Callable[..., str]) -> None:
    text = refused(OptionError, "Say {text}", temperature=0.5)

    assert text.endswith("it goes into params={'temperature': …}")


@pytest.mark.parametrize("params", [{"metadata": {"user_id": object()}}, {"tools": [len]}, {b"\xff": 1}])
def test_parameters_that_are_not_json(params: dict[Any, Any], refused: Callable[..., str]) -> None:
    what, known, hint = refused(OptionError, "Say {text}", params=params).splitlines()

    assert what.startswith("params, system or examples hold something that is not JSON: ")
    assert known == "nothing was sent"
    assert hint == "Hint: use texts, numbers, booleans, None, lists and dicts"


# ---------------------------------------------------------------------- the other side


def test_a_model_that_the_backend_does_not_know(emulator: Emulator) -> None:
    with pytest.raises(NotFound) as caught:
        label(None, model="claude-nope")

    what, *_, hint = str(caught.value).splitlines()
    assert what == "the API said 404 not_found_error: model: claude-nope"
    assert hint == "Hint: check model= and the address"
    assert set(emulator.usage()["calls"]) == {"GET /v1/messages/batches", "GET /v1/models/{id}"}
    assert emulator.usage()["requests"] == 0


def test_a_model_that_the_backend_does_not_know_and_does_not_tell_of(emulator: Emulator) -> None:
    emulator.house.faults.arm(["500@model"])
    with pytest.warns(RowsFailedWarning) as warned:
        out = label(None, model="claude-nope")
    run = dfbatch.last_run()
    with pytest.raises(RowsFailed) as caught:
        label(None, model="claude-nope", on_error="raise", reuse=False)

    assert out["answer"].isna().all()
    assert run.counts == {"errored": 3}
    assert run.failures()["error"].tolist() == ["not_found_error: model: claude-nope"] * 3
    assert str(warned[0].message) == (
        f"3 of 3 rows of run {run.id} have no answer: 3 errored\n"
        "most often: not_found_error: model: claude-nope (3×)\n"
        "Hint: asking them again as they are does not help: mend the call, and run the cell; only they are asked;"
        f" run.failures() shows why (run = dfbatch.open({run.id!r}))"
    )
    assert str(caught.value) == str(warned[0].message).replace(run.id, dfbatch.last_run().id)
    assert emulator.usage()["requests"] == 0


def test_a_base_url_that_answers_html() -> None:
    with Wire(saying(200, b"<html><head><title>Sign in</title></head></html>")) as wire:
        with pytest.raises(NotTheApi) as caught:
            label(key_to(wire.url))

        assert str(caught.value) == (
            f"{wire.url}/v1/messages/batches?limit=1 answered 200 with text/html, "
            "which is not the Message Batches API\n"
            "it says: 'Sign in'\n"
            "Hint: check ANTHROPIC_BASE_URL; some proxies lack the batch route"
        )
        assert {call.method for call in wire.calls} == {"GET"}
    assert caught.value.__notes__ == [how_to_go_on()]


def how_to_go_on() -> str:
    run_id = dfbatch.last_run().id
    go_on = f"dfbatch.open({run_id!r}).resume()"
    return f"run {run_id}: nothing was accepted, nothing is billed; run the cell again, or {go_on}"


def test_a_base_url_that_answers_404_in_html() -> None:
    with Wire(saying(404, b"<html><body><h1>404</h1> no such page</body></html>")) as wire:
        with pytest.raises(NotTheApi) as caught:
            label(key_to(wire.url))

        assert str(caught.value) == (
            f"{wire.url}/v1/messages/batches?limit=1 answered 404 with text/html, "
            "which is not the Message Batches API\n"
            "it says: '404 no such page'\n"
            "Hint: check ANTHROPIC_BASE_URL; some proxies lack the batch route"
        )
        assert {call.method for call in wire.calls} == {"GET"}


def test_connection_refused() -> None:
    url = nobody()
    with pytest.raises(Unreachable) as caught:
        label(key_to(url))

    assert str(caught.value) == (
        f"cannot reach the API: ConnectError at {url}: All connection attempts failed\n"
        "nothing was accepted\n"
        "Hint: check the network, ANTHROPIC_BASE_URL and proxy settings, then go on"
    )
    assert caught.value.__notes__ == [how_to_go_on()]


def test_401() -> None:
    with Server(keys={"another-key": "team"}) as server:
        with pytest.raises(Unauthorized) as caught:
            label(key_to(server.url))

        assert str(caught.value) == (
            "the API said 401 authentication_error: invalid x-api-key\n"
            f"request-id: {caught.value.request_id}\n"
            "Hint: check ANTHROPIC_API_KEY: it is missing, mistyped or revoked"
        )
        assert str(caught.value.request_id).startswith("req_")
        assert server.usage()["calls"] == {"GET /v1/messages/batches": 1}


@pytest.mark.filterwarnings("ignore::dfbatch.errors.RowsFailedWarning")
def test_413_as_cloudflare_says_it() -> None:
    """Halved down to single requests, each of which has failed; nothing was accepted."""
    with Emulator(faults=["413@create"]) as emulator:
        out = label(None)
        run = dfbatch.last_run()

        assert out["answer"].isna().all()
        assert run.counts == {"errored": 3}
        assert set(run.answers()["error"]) == {"the API said 413 request_too_large: Request exceeds the maximum size"}
        assert [chunk.state for chunk in run._ledger.chunks(run.id)] == ["split", "split", *["oversized"] * 3]

        emulator.house.faults.arm([], replace=True)

        assert label(None)["answer"].notna().all()
        assert emulator.usage()["requests"] == 3


@pytest.mark.filterwarnings("ignore::dfbatch.errors.RowsFailedWarning")
def test_413_as_the_api_says_it() -> None:
    error = {"type": "error", "error": {"type": "request_too_large", "message": "Request body too large."}}

    def serve(peer: Peer) -> None:
        call = peer.call()
        if call and call.method == "GET":
            peer.reply(200, PAGE)
        elif call:
            peer.reply(413, error, request_id="req_5")

    with Wire(serve) as wire:
        out = label(key_to(wire.url), include=["error"])

    assert out["claude_error"].tolist() == ["the API said 413 request_too_large: Request body too large."] * 3


def test_a_refusal_of_the_batch_as_a_whole() -> None:
    with Emulator(faults=["402@create"]), pytest.raises(ApiError) as caught:
        label(None)

    assert str(caught.value) == (
        "the API said 402 billing_error: Refused by the emulator, on demand.\n"
        f"request-id: {caught.value.request_id}\n"
        "Hint: check the credit balance in the Claude Console"
    )


def test_a_key_that_is_revoked_before_the_results_are_read() -> None:
    with Emulator(faults=["403@results"]), pytest.raises(Unauthorized) as caught:
        label(None)

    assert "ledger" not in str(caught.value)
    assert str(caught.value).endswith("\nHint: this key may not do that: check its workspace and permissions")


def test_a_busy_api_is_waited_for_also_before_anything_is_sent(racing: Racing) -> None:
    with Emulator(faults=["529@list:times=3", "429@list:times=2,retry_after=30"]) as emulator:
        out = label(None)

        assert out["answer"].notna().all()
        assert racing.passed > 60
        assert emulator.usage()["requests"] == 3


def test_a_batch_deleted_behind_our_back(racing: Racing) -> None:
    with Emulator(law="fixed:1000", faults=["deleted"]):
        with pytest.raises(BatchLost) as caught:
            label(None)
        run = dfbatch.last_run()
        batch = run._ledger.batch(run._ledger.chunks(run.id)[0].id)

        assert batch
        assert caught.value.run
        assert str(caught.value) == (
            f"batch {batch.id} is not there any more: it was deleted at the server: no answer to 3 requests of run"
            f" {run.id}\n"
            "all other answers are kept\n"
            f"Hint: dfbatch.open({run.id!r}).retry(which='missing') asks those again, and pays for them again;"
            " .resume() looks for the batch once more; .resume(lost='missing') lets them go"
        )
        assert racing.passed >= 300
        assert run.status == "paused"


@pytest.mark.usefixtures("racing")
def test_a_404_that_passes_is_not_believed() -> None:
    with Emulator(faults=["404@retrieve:times=5"]) as emulator:
        out = label(None)

        assert out["answer"].notna().all()
        assert emulator.usage()["calls"]["GET /v1/messages/batches/{id}"] >= 6


# ---------------------------------------------------------------------- the disk


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Path]]:
    """Mount a disk of a size and keep the ledger on it; what cannot mount skips, and says so."""
    place = tmp_path / "disk"

    def mount(options: str) -> Path:
        place.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("NOT TESTED: a full or read-only disk needs the right to mount one (root on Linux)")
        monkeypatch.setenv("DFBATCH_HOME", str(place / "ledger"))
        return place

    yield mount
    run_layer.close_ledgers()
    if place.is_mount():
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    """Leave no space on a disk."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 10, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue
    return ballast


def test_a_ledger_folder_below_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DFBATCH_HOME", str(tmp_path / "file" / "ledger"))
    with Server() as server, pytest.raises(LedgerError) as caught:
        label(key_to(server.url))

    assert str(caught.value) == cannot_use(tmp_path / "file" / "ledger", "Not a directory")


def cannot_use(path: Path, why: str) -> str:
    return (
        f"the ledger cannot use {path}: {why}\n"
        "nothing is sent without a ledger: it is what keeps answers from being paid twice\n"
        "Hint: make the folder writable, or set DFBATCH_HOME to one that is"
    )


def test_a_read_only_ledger_folder(disk: Callable[[str], Path]) -> None:
    place = disk("ro,size=1m")
    with Server() as server:
        with pytest.raises(LedgerError) as caught:
            label(key_to(server.url))

        assert str(caught.value) == cannot_use(place / "ledger", "Read-only file system")
        assert server.usage()["calls"] == {}


def test_a_ledger_that_became_read_only(disk: Callable[[str], Path]) -> None:
    place = disk("size=4m")
    with Server() as server:
        label(key_to(server.url))
        run_layer.close_ledgers()
        before = server.usage()["calls"]
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        with pytest.raises(LedgerError) as caught:
            label(key_to(server.url), FRAME.assign(text=["d", "e", "f"]))

        assert str(caught.value).startswith(f"the ledger cannot use {place}/ledger/ledger.sqlite")
        assert str(caught.value).endswith("\nHint: make the folder writable, or set DFBATCH_HOME to one that is")
        assert server.usage()["calls"] == before


def test_a_full_disk_before_the_intent(disk: Callable[[str], Path]) -> None:
    place = disk("size=1m")
    frame = pd.DataFrame({"text": [f"{row} " + "word " * 2_000 for row in range(200)]})
    with Server() as server:
        with pytest.raises(DiskFull) as caught:
            label(key_to(server.url), frame)

        what, known, hint = str(caught.value).splitlines()
        assert what.startswith(f"no space left on the disk of {place}/ledger")
        assert known == "what was on disk before is intact"
        assert hint == "Hint: free some space, or point DFBATCH_HOME at a larger disk"
        assert server.usage()["calls"] == {}
        assert dfbatch.runs() == []
        assert [path for path in (place / "ledger" / "runs").rglob("*") if path.is_file()] == []
        assert label(key_to(server.url))["answer"].notna().all()


class Filling(Anthropic):
    """A backend under whose eyes the disk fills up, once the API is proved and before anything is sent."""

    place: Path

    async def probe(self) -> None:
        await super().probe()
        fill(self.place)


def test_a_disk_that_is_full_when_the_intent_is_to_be_written(disk: Callable[[str], Path]) -> None:
    place = disk("size=2m")
    with Server() as server:
        backend = Filling(api_key="k", base_url=server.url)
        backend.place = place
        with pytest.raises(DiskFull) as caught:
            label(backend)

        assert str(caught.value) == (
            f"no space left on the disk of {place}/ledger\n"
            "what was on disk before is intact\n"
            "Hint: free some space, or point DFBATCH_HOME at a larger disk"
        )
        assert "POST /v1/messages/batches" not in server.usage()["calls"]
        (place / "ballast").unlink()
        assert label(key_to(server.url))["answer"].notna().all()
        assert server.usage()["requests"] == 3


def test_a_full_disk_while_downloading(disk: Callable[[str], Path]) -> None:
    place = disk("size=3m")
    with Server(engine=lambda _: "word " * 40_000) as server:
        frame = pd.DataFrame({"text": list("abcdefghijklmnop")})
        with pytest.raises(DiskFull) as caught:
            label(key_to(server.url), frame, model="claude-haiku-4-5", max_tokens=64_000)
        run = dfbatch.last_run()
        batch = run._ledger.batch(run._ledger.chunks(run.id)[0].id)

        assert batch
        results = server.house.folder.batch(batch.id).results.stat().st_size
        vanish = (pd.Timestamp(batch.created_at) + pd.Timedelta(days=29)).strftime("%Y-%m-%d")
        assert str(caught.value) == (
            f"no space left for the results of batch {batch.id}: {results:,} bytes are needed\n"
            f"nothing is lost: the API keeps them until {vanish}\n"
            f"Hint: free some space, or move {place}/ledger to a larger disk and set DFBATCH_HOME;"
            f" then dfbatch.open({run.id!r}).resume()"
        )
        assert run.status == "paused"
        assert list((place / "ledger").rglob("*.part*")) == []
        subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
        answers = run.resume().answers()

        assert answers["status"].tolist() == ["succeeded"] * 16
        assert server.usage()["requests"] == 16


def test_a_ledger_written_by_a_newer_version(ledger_home: Path, tmp_path: Path) -> None:
    del tmp_path
    dfbatch.runs()
    run_layer.close_ledgers()
    with closing(sqlite3.connect(ledger_home / "ledger.sqlite")) as link:
        link.execute("PRAGMA user_version = 99")
    with Server() as server:
        with pytest.raises(LedgerError) as caught:
            label(key_to(server.url))

        assert str(caught.value) == (
            f"the ledger at {ledger_home} was written by a newer dfbatch (its version 99, ours {len(STEPS)})\n"
            "nothing was changed in it\n"
            "Hint: pip install -U dfbatch, or set DFBATCH_HOME to another folder"
        )
        assert server.usage()["calls"] == {}


def test_every_input_error_is_a_value_error_as_users_expect() -> None:
    assert issubclass(InputError, ValueError)
    assert os.environ.get("ANTHROPIC_API_KEY") is None
