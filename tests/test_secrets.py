"""A key is sent to the address it is for and seen nowhere else: no file, no repr, no message, no log, no traceback."""

from __future__ import annotations

import copy
import json
import logging
import traceback
from typing import TYPE_CHECKING, Any

import nbclient
import nbformat
import pandas as pd
import pytest

import dfbatch
from dfbatch.backends.anthropic import Anthropic
from dfbatch.emulator import Server
from dfbatch.errors import DfbatchError, RowsFailedWarning
from tests.wire import Peer, Wire, nobody, saying

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = "sk-ant-api03-nobody-may-see-this"
HEADER = "Basic nobody-may-see-this"  # of a gateway
SECRET = "nobody-may-see-this"
FRAME = pd.DataFrame({"text": ["a", "b", "c"]})
PAGE = {"data": [], "has_more": False, "first_id": None, "last_id": None}


@pytest.fixture(autouse=True)
def with_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)


def told(error: BaseException) -> str:
    """All that a traceback may show, with the local variables of each frame, as IPython's Verbose mode does."""
    whole = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(whole.format(chain=True)) + repr(error) + str(vars(error))


def test_the_key_reaches_the_api_and_nothing_else_at_its_address() -> None:
    """A server on this machine is asked whether it is an emulator; that is none of the key's business."""
    with Wire(saying(401, {"error": {"type": "authentication_error", "message": "no"}})) as wire:
        with pytest.raises(DfbatchError):
            FRAME.claude.batch("Say {text}", backend=Anthropic(base_url=wire.url), progress=False)

        seen = {call.path: call.header("x-api-key") for call in wire.calls}
        assert seen == {"/_emulator/health": None, "/v1/messages/batches?limit=1": KEY}


def test_no_file_below_the_ledger_holds_the_key(ledger_home: Path, tmp_path: Path) -> None:
    with Server(faults=["429@create:times=1,retry_after=0", "errored:times=1"]) as server:
        backend = Anthropic(base_url=server.url, headers={"authorization": HEADER})
        with pytest.warns(RowsFailedWarning):
            out = FRAME.claude.batch(
                "Say {text}", backend=backend, progress=False, chunk_size=1, include=["message"], retries=0
            )
        refusal = {"error": {"type": "permission_error", "message": "no"}}
        with Wire(saying(403, refusal)) as wire, pytest.raises(DfbatchError):
            FRAME.claude.batch("Now {text}", backend=Anthropic(base_url=wire.url), progress=False)
        exported = dfbatch.runs()[-1].export(tmp_path / "run.zip")
    kept = [path for path in ledger_home.rglob("*") if path.is_file()]

    assert {path.name for path in kept} >= {"ledger.sqlite", "rows.npy", "requests.npy"}
    assert [str(path) for path in [*kept, exported] if SECRET.encode() in path.read_bytes()] == []
    assert SECRET not in str(out.attrs) + out.to_csv()


def test_no_repr_and_no_copy_shows_the_key() -> None:
    backend = Anthropic(headers={"authorization": HEADER})

    shown = [repr(backend), str(backend), str(vars(backend)), str(backend.recipe), backend.who, backend.answered_by]
    shown += [str(vars(copy.copy(backend))), str(vars(copy.deepcopy(backend)))]
    assert [text for text in shown if SECRET in text] == []


def reset(peer: Peer) -> None:
    if peer.call():
        peer.reset()


def talk_rubbish(peer: Peer) -> None:
    if peer.call():
        peer.sock.sendall(b"\x00\x00\r\n\r\n")


FAULTS: dict[str, Callable[[Peer], object]] = {
    "401": saying(401, {"error": {"type": "authentication_error", "message": "invalid x-api-key"}}),
    "a page": saying(200, b"<html></html>"),
    "a redirect": saying(307, location="http://127.0.0.1:9/"),
    "a reset": reset,
    "rubbish": talk_rubbish,
    "500": saying(500, b"oh"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_no_error_and_no_traceback_shows_the_key(fault: str) -> None:
    with Wire(FAULTS[fault]) as wire, pytest.raises(DfbatchError) as caught:
        FRAME.claude.batch("Say {text}", backend=Anthropic(base_url=wire.url), progress=False)

    assert SECRET not in told(caught.value)


@pytest.mark.parametrize("fault", FAULTS)
def test_no_error_of_a_create_shows_the_key(fault: str) -> None:
    """What is in doubt after it is looked for, and that is refused."""

    def serve(peer: Peer) -> None:
        if not wire.calls or wire.calls[-1].path.startswith("/_emulator"):
            saying(200, PAGE)(peer)
        elif any(call.method == "POST" for call in wire.calls):
            FAULTS["401"](peer)
        else:
            FAULTS[fault](peer)

    with Wire(serve) as wire, pytest.raises(DfbatchError) as caught:
        FRAME.claude.batch("Say {text}", backend=Anthropic(base_url=wire.url), progress=False)

    run = dfbatch.last_run()
    errors = [chunk.error for chunk in run._ledger.chunks(run.id)]
    assert [call.method for call in wire.calls].count("POST") == 1
    assert SECRET not in told(caught.value) + "".join(errors) + run.message


def test_no_error_without_a_connection_shows_the_key() -> None:
    with pytest.raises(DfbatchError) as caught:
        FRAME.claude.batch("Say {text}", backend=Anthropic(base_url=nobody()), progress=False)

    assert SECRET not in told(caught.value)


@pytest.mark.parametrize("ending", ["\nx", "“", " x", "\x00", "ü"])
def test_a_key_with_a_slip_in_it_is_not_shown_either(ending: str) -> None:
    with pytest.raises(DfbatchError) as caught:
        Anthropic(api_key=KEY + ending)

    assert SECRET not in str(caught.value) + repr(caught.value) + "".join(traceback.format_exception(caught.value))


def test_a_header_with_a_slip_in_it_is_not_shown_either() -> None:
    with pytest.raises(DfbatchError) as caught:
        Anthropic(headers={"authorization": HEADER + "\nx"})

    assert str(caught.value) == (
        "the value of the header 'authorization' is no plain text in one line\n"
        "nothing was sent\n"
        "Hint: headers={name: value} takes ASCII texts"
    )


def test_logs_hold_neither_key_nor_prompt_nor_answer(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    frame = pd.DataFrame({"text": ["a patient's story"]})
    with Server(engine=lambda _: "a diagnosis", faults=["lost_reply:after=1"]) as server:
        frame.claude.batch("Say {text}", backend=Anthropic(base_url=server.url), progress=False)
        frame.claude.batch("Say {text}", backend=Anthropic(base_url=server.url), progress=False, reuse=False)
    ours = [record for record in caplog.records if record.name.startswith("dfbatch")]
    every = [f"{record.getMessage()} {record.args}" for record in caplog.records]

    assert {record.name for record in ours} == {"dfbatch"}
    assert [record.levelname for record in ours] == ["INFO", "WARNING", "INFO"]
    assert "(request-id req_" in ours[0].getMessage()
    assert [line for line in every if SECRET in line] == []
    assert [line for line in every if "patient" in line or "diagnosis" in line] == []


def test_request_ids_are_in_the_ledger() -> None:
    with Server(faults=["500@create:after=1", "401@list:after=1"]) as server:
        backend = Anthropic(base_url=server.url)
        with pytest.raises(DfbatchError):
            FRAME.claude.batch("Say {text}", backend=backend, progress=False, chunk_size=2)
        run = dfbatch.last_run()
        chunks = run._ledger.chunks(run.id)
        batches = [run._ledger.batch(chunk.id) for chunk in chunks]

    assert [batch.request_id.startswith("req_") for batch in batches if batch] == [True]
    assert ["request-id: req_" in chunk.error for chunk in chunks if chunk.state == "orphaned"] == [True]


CELLS = [
    "import pandas as pd, dfbatch\nfrom dfbatch import Anthropic\nframe = pd.DataFrame({'text': ['a', 'b']})",
    "%xmode Verbose",
    "backend = Anthropic(); backend",
    "frame.claude.batch('Say {text}', backend=backend)",
    "dfbatch.last_run()",
    "dfbatch.runs()",
    "vars(backend)",
    "frame.claude.batch('Say {text}', backend=Anthropic(base_url='http://127.0.0.1:9'))",
    "frame.claude.batch('Say {txt}', backend=backend)",
]


def test_no_output_of_a_notebook_holds_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also not the tracebacks of IPython's Verbose mode, which show the variables of each frame."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    with Server() as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        nbclient.NotebookClient(
            notebook, timeout=60, kernel_name="python3", allow_errors=True, resources={"metadata": {"path": tmp_path}}
        ).execute()
    outputs: list[Any] = [cell.outputs for cell in notebook.cells]

    failed = [at for at, told in enumerate(outputs) if any(output.output_type == "error" for output in told)]
    assert failed == [7, 8]
    assert "Unreachable" in json.dumps(outputs[7])
    assert SECRET not in nbformat.writes(notebook)
