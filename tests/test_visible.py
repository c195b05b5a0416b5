"""What would drive a terminal is shown and not obeyed, wherever one is written; data stays as it came."""

from __future__ import annotations

import importlib
import logging
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unicodedata import category

import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import dfbatch
from dfbatch import cli
from dfbatch.emulator.answers import Answer, text_block
from dfbatch.errors import DfbatchError, explain
from dfbatch.progress import BatchMark, Cause, Snapshot
from dfbatch.progress.bar import Bar
from dfbatch.progress.log import Log
from dfbatch.progress.summary import html, text
from dfbatch.testing import Emulator
from dfbatch.visible import one_line, visible

if TYPE_CHECKING:
    from pathlib import Path

EVIL = "\x1b[31mred\x1b]0;title\x07\x9b2J\r\u202egnp.exe\u2066\u200b\ufeff\x00\x08\U000e0041 end"
SHOWN = r"\x1b[31mred\x1b]0;title\x07\x9b2J\r\u202egnp.exe\u2066\u200b\ufeff\x00\x08\U000e0041 end"
DRIVING = {sign for sign in EVIL if not sign.isprintable()}


def drives(shown: str) -> set[str]:
    """The signs in a text that a terminal would obey or hide."""
    return DRIVING & set(shown)


# ---------------------------------------------------------------------- the function


def test_every_sign_that_drives_hides_or_reorders_is_written_out() -> None:
    assert visible(EVIL) == one_line(EVIL) == SHOWN


@pytest.mark.parametrize(
    "text",
    [
        "plain\ttext\nof lines\r\n",
        "naïve 中文，日本語　全角 עברית العربية",
        "نمی‌خواهم",  # Persian is written with joiners
        "👩‍👩‍👧 🏳️‍🌈 é e\u0301",
        "a\xa0b\u2009c",
        r"C:\new \x1b",
    ],
)
def test_what_people_write_stays(text: str) -> None:
    assert visible(text) == text


def test_joiners_that_hide_among_latin_letters_do_not_stay() -> None:
    assert visible("pass\u200dword\u200c") == r"pass\u200dword\u200c"


@given(st.text())
def test_nothing_is_left_to_obey_and_what_is_shown_is_shown_the_same_again(text: str) -> None:
    shown = visible(text)
    left = {category(sign) for sign in shown.replace("\r\n", "\n") if sign not in "\t\n\u200c\u200d"}

    assert not left & {"Cc", "Cs", "Zl", "Zp"}
    assert visible(shown) == shown
    assert "\n" not in one_line(text)


# ---------------------------------------------------- everything that a terminal is given


@pytest.fixture
def snapshot() -> Snapshot:
    made = Snapshot("7f3a", EVIL, "waiting", EVIL, EVIL, 3, 3, 0, {"succeeded": 1, EVIL: 1, "pending": 1})
    mark = BatchMark("1", "waiting", 3, 5.0, EVIL)
    causes = (Cause("errored", EVIL, 1, (1,)),)
    return replace(made, batches=(mark,), message=EVIL, why=EVIL, spent=EVIL, way_on=EVIL, causes=causes)


def test_log_lines_and_bar_obey_nothing(snapshot: Snapshot, capsys: pytest.CaptureFixture[str]) -> None:
    for status in ("waiting", "paused", "done"):
        for display in (Log(), Bar()):
            display.show(replace(snapshot, status=status))
            display.close(replace(snapshot, status=status))
    told = capsys.readouterr()

    assert r"\x1b[31mred" in told.err
    assert "\x1b[31m" not in told.err
    assert drives(told.err) <= {"\r", "\x1b"}  # tqdm's own: it draws its line again
    assert r"\u202egnp" in told.err


def test_summaries_obey_nothing_in_text_and_reorder_nothing_in_a_page(snapshot: Snapshot) -> None:
    assert drives(text(snapshot)) == drives(html(snapshot)) == set()
    assert SHOWN in text(snapshot)


def test_errors_warnings_and_tracebacks_obey_nothing() -> None:
    error = DfbatchError(f"the API said {EVIL}", EVIL, hint=EVIL)

    assert str(error) == f"the API said {SHOWN}\n{SHOWN}\nHint: {SHOWN}"
    assert drives("\n".join(error._render_traceback_())) == set()
    assert drives(explain(EVIL)) == set()


def test_what_is_logged_obeys_nothing(caplog: pytest.LogCaptureFixture) -> None:
    importlib.import_module("dfbatch.run")
    logging.getLogger("dfbatch").warning("run %s: batch %s", "7f3a", EVIL)

    assert caplog.messages == [f"run 7f3a: batch {SHOWN}"]


def test_a_run_with_such_answers_names_and_prompts_is_shown_and_its_data_stays(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = EVIL.replace("\x00", "")
    frame = pd.DataFrame({"text": [clean, "refused"], EVIL: [1, 2]})

    def say(params: dict[str, Any]) -> Answer:
        if params["messages"][-1]["content"].startswith("refused"):
            return Answer([text_block(EVIL)], "refusal")
        return Answer([text_block(EVIL)])

    with Emulator(engine=say):
        run = dfbatch.submit(frame, "{text}" + clean, name=clean, progress=False).wait()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            out = run.result()
        plan = dfbatch.plan(frame, "{text}? " + clean, progress=False)
        shown = [repr(run.show(0)), repr(run.show(1)), repr(run), repr(dfbatch.runs()), repr(plan), plan._repr_html_()]
        shown += [str(warning.message) for warning in told]
        for command in (["runs"], ["show", run.id], ["wait", run.id], ["costs"], ["show", EVIL]):
            shown.append(CliRunner().invoke(cli.main, command).output)
        with pytest.raises(DfbatchError) as caught:
            dfbatch.open(EVIL)
        shown += [str(caught.value), capsys.readouterr().out]

    assert out["answer"].tolist()[0] == EVIL
    assert [drives(each) for each in shown] == [set()] * len(shown)
    assert r"\x1b[31mred" in shown[0]
    assert r"\x1b[31mred" in shown[1]


def test_a_servers_words_are_shown_on_standard_error_of_a_script(tmp_path: Path) -> None:
    code = """
import dfbatch, pandas, sys
dfbatch.batch(pandas.DataFrame({"text": ["a"]}), "{text}", progress="log")
"""
    html = "<title>\x1b]0;owned\x07\u202e</title>"
    with _Page(html) as url:
        home = {"DFBATCH_HOME": str(tmp_path), "ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": url}
        done = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | home, check=False, capture_output=True, text=True
        )

    assert done.returncode == 1
    assert drives(done.stderr) == set()
    assert r"\x1b]0;owned\x07" in done.stderr.replace("\\\\", "\\")


class _Page:
    """A server that says the same page to everything."""

    def __init__(self, page: str) -> None:
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
        from threading import Thread

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = page.encode()
                self.send_response(403)
                self.send_header("content-type", "text/html")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
