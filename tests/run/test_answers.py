"""Answers as users see them: one row in full, wherever it is looked at; rows that are not of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import polars as pl
import pytest

import dfbatch
from dfbatch.errors import RowsFailedWarning

from .plain_server import PlainServer, always, succeeded

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dfbatch.run import Run

TEXTS = ["a", "b", "a", None, "c"]
ERROR = {"type": "errored", "error": {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}}

pytestmark = pytest.mark.filterwarnings("ignore::dfbatch.errors.RowsFailedWarning")


@pytest.fixture
def submit(claude: dfbatch.Anthropic, new: Any) -> Callable[..., Run]:
    def begin(prompt: Any = "Say {text}", texts: list[Any] = TEXTS, **options: Any) -> Run:
        run: Run = new({"text": texts, "n": range(len(texts))}).claude.submit(
            prompt, backend=claude, progress=False, **options
        )
        return run.wait()

    return begin


def elsewhere(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """As another process finds it."""
    from dfbatch import run as run_layer

    run_layer.close_ledgers()
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    return dfbatch.open(run.id)


def test_a_row_that_succeeded_shows_its_prompt_made_again_from_the_frame(submit: Any) -> None:
    run = submit()

    assert repr(run.show(2)) == (
        "row 2: succeeded\nmodel: claude-haiku-5-5\nasked (made again from the frame): Say a\n"
        "answered: answer to Say a\nanswer: 'answer to Say a'"
    )
    assert run.show(4).asked == "Say c"
    with pytest.raises(IndexError, match=r"row 5: run .* has rows 0 to 4"):
        run.show(5)


@pytest.mark.parametrize(
    "prompt",
    [
        lambda row: f"Say {row['text']}",
        [{"role": "user", "content": "Say {text}"}],
    ],
    ids=["function", "messages"],
)
def test_every_kind_of_prompt_is_made_again(submit: Any, prompt: Any) -> None:
    assert "Say b" in (submit(prompt).show(1).asked or "")


def test_a_series_shows_its_prompts_too(claude: dfbatch.Anthropic) -> None:
    series: Any = pd.Series(["a", "b"])
    run = series.claude.submit("Say {}", backend=claude, progress=False).wait()

    assert run.show(1).asked == "Say b"


def test_a_row_that_was_skipped_was_not_sent(submit: Any) -> None:
    assert repr(submit().show(3)) == (
        "row 3: skipped (null in column 'text')\nmodel: claude-haiku-5-5\nasked: not sent\nanswer: None"
    )


def test_a_row_that_failed_shows_what_was_kept_of_it_in_any_process(
    submit: Any, plain: PlainServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain.result = always(ERROR)
    run = submit()

    here = repr(run.show(1))

    assert here == "row 1: errored (invalid_request_error: no)\nmodel: claude-haiku-5-5\nasked: Say b\nanswer: None"
    assert repr(elsewhere(run, monkeypatch).show(1)) == here


def test_without_the_frame_a_row_says_what_is_not_kept(submit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = elsewhere(submit(), monkeypatch)

    assert "\nasked: not kept once it was answered; shown where the frame is at hand\nanswered: " in repr(run.show(0))
    assert "\nasked: not sent\n" in repr(run.show(3))


def test_an_exported_run_shows_the_prompts_of_failed_rows_alone(
    submit: Any, plain: PlainServer, tmp_path: Path
) -> None:
    plain.result = lambda params: ERROR if "b" in str(params["messages"]) else succeeded("good")
    opened = dfbatch.open(str(submit().export(tmp_path / "run.zip")))

    assert [opened.show(row).asked for row in range(5)] == [None, "Say b", None, None, None]
    assert opened.answers()["status"].tolist() if opened.record.frame == "pandas" else True
    opened._ledger.close()


def test_a_frame_that_was_changed_in_place_is_not_passed_off_as_what_was_asked(claude: dfbatch.Anthropic) -> None:
    frame = pd.DataFrame({"text": ["a", "b"]})
    run = frame.claude.submit("Say {text}", backend=claude, progress=False).wait()
    frame.loc[0, "text"] = "changed"

    assert run.show(0).asked is None
    assert run.show(0).about == "not kept once it was answered, and this row of the frame was changed since"
    assert run.show(1).asked == "Say b"


def test_a_retry_with_another_model_names_it(submit: Any, plain: PlainServer) -> None:
    plain.result = always(succeeded("no", stop_reason="refusal"))
    run = submit()
    plain.result = always(succeeded("yes"))
    run.retry("refused", model="claude-sonnet-5-5").wait()

    assert run.show(0).model == "claude-sonnet-5-5"


def test_who_answered_is_said_where_it_was_not_claude(local: dfbatch.Anthropic) -> None:
    run = pd.DataFrame({"text": ["a"]}).claude.submit("{text}", backend=local, progress=False).wait()

    assert run.show(0).model.startswith("claude-haiku-5-5, answered by ")
    assert run.show(0).model.endswith(", not Claude")


@pytest.mark.parametrize("samples", [1, 2])
def test_rows_that_are_not_of_the_run_are_missing_and_not_skipped(submit: Any, new: Any, samples: int) -> None:
    run = submit(include=["status", "error"], samples=samples)
    with pytest.warns(UserWarning, match="1 of 3 rows are not in run"):
        out = run.join(new({"text": ["a", "new", None]}))

    assert list(out["claude_status"]) == ["succeeded", "missing", "skipped"]
    assert [value if isinstance(value, str) else None for value in out["answer"]] == ["answer to Say a", None, None]


def test_a_run_that_paused_says_how_to_go_on_beside_what_it_has(
    submit: Any, plain: PlainServer, claude: dfbatch.Anthropic
) -> None:
    run = submit()
    run._work.error = dfbatch.errors.RunPaused("run paused", hint="run.resume() sends the rest")
    with pytest.warns(RowsFailedWarning, match=r"run paused\nHint: run\.resume\(\) sends the rest"):
        run.answers()
    assert isinstance(run.partial(), pd.DataFrame | pl.DataFrame)
