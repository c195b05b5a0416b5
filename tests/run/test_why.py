"""When an earlier run on these rows is not reused, one line says why and what it costs; and models that changed."""

from __future__ import annotations

import re
import time
import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dfbatch
from dfbatch.errors import ModelChangedWarning, StillRunning
from dfbatch.ledger.states import REJECTED
from dfbatch.progress import summary
from dfbatch.run.claims import Cover
from dfbatch.run.why import SAMPLE, alike_enough, difference, not_reused

from .plain_server import PlainServer, always, succeeded

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dfbatch.run import Run

Polars: Any = pl.DataFrame  # its `claude` is unknown to type checkers
TEXTS = ["a", "b", "a", None, "c"]

pytestmark = pytest.mark.filterwarnings("ignore::dfbatch.errors.RowsFailedWarning")


@pytest.fixture
def submit(claude: dfbatch.Anthropic) -> Callable[..., Run]:
    def begin(texts: Any = TEXTS, prompt: Any = "About {text}", schema: Any = None, **options: Any) -> Run:
        options = {"backend": claude, "progress": False} | options
        run: Run = Polars({"text": texts}).claude.submit(prompt, schema, **options)
        return run.wait()

    return begin


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"prompt": "Above {text}"}, "prompt 'About {text}' → 'Above {text}'"),
        ({"system": "Be brief."}, "system none → 'Be brief.'"),
        (
            {"model": "claude-sonnet-4-6"},
            """model 'claude-haiku-5-5' → 'claude-sonnet-4-6'; thinking '{"type":"disabled"}' → none""",
        ),
        ({"betas": ("some-beta",)}, """betas '[]' → '["some-beta"]'"""),
        ({"params": {"service_tier": "auto"}}, "service_tier none → 'auto'"),
        ({"params": {"metadata": {"user_id": "u"}}}, """metadata none → '{"user_id":"u"}'"""),
        ({"reuse": False}, "reuse=False"),
        ({"max_tokens": 4}, "max_tokens 1024 → 4"),
        ({"dedupe": False}, "the prompt is rendered in another way, or examples, samples or dedupe differ"),
        (
            {"prompt": "Above {text}", "system": "Hi", "max_tokens": 2048},
            "prompt 'About {text}' → 'Above {text}'; system none → 'Hi'",  # more tokens are no cause
        ),
    ],
    ids=str,
)
def test_what_changed_is_said_in_the_line_that_submit_prints(
    submit: Any, capsys: pytest.CaptureFixture[str], changed: dict[str, Any], why: str
) -> None:
    first = submit()
    capsys.readouterr()
    run = submit(**changed)
    said = capsys.readouterr().out

    assert run.why == f"run {first.id} on these rows is not reused: {why}"
    assert said.count("\n") == 1
    assert f" · {run.why} · dfbatch.open(" in said
    assert run.snapshot().why == f"{run.why} · asking again costs {run.forecast}"


def test_a_changed_schema_and_examples_are_shown_where_they_differ(submit: Any) -> None:
    first = submit(schema=Literal["sport", "tech"])
    wider = submit(schema=Literal["sport", "tech", "art"])
    shown = submit(schema=Literal["sport", "tech", "art"], examples=[("x", "art")])

    assert wider.why == (
        f"run {first.id} on these rows is not reused: "
        """schema '…port","tech"]}},"require…' → '…port","tech","art"]}},"require…'"""
    )
    assert shown.why.startswith(f"run {wider.id} on these rows is not reused: examples '[]' → '[{{\"content\":\"")


def test_who_answers_is_part_of_it(submit: Any, local: dfbatch.Anthropic, plain: PlainServer) -> None:
    first = submit()
    emulated = submit(backend=local)
    back = submit(prompt="Above {text}")
    with PlainServer() as elsewhere:
        moved = submit(backend=dfbatch.Anthropic(api_key="k", base_url=elsewhere.url), prompt="Above {text}")

    assert emulated.why == (
        f"run {first.id} on these rows is not reused: answered by 'Claude' → '{emulated.record.answered_by}'"
    )
    assert back.why == f"run {first.id} on these rows is not reused: prompt 'About {{text}}' → 'Above {{text}}'"
    assert moved.why.startswith(f"run {back.id} on these rows is not reused: asked at '…")


def test_a_function_that_makes_other_prompts_is_said(submit: Any) -> None:
    for words in ("About", "Above"):
        run = submit(prompt=lambda row, words=words: f"{words} {row['text']}")

    assert run.why.endswith("is not reused: the function makes other prompts, or examples, samples or dedupe differ")


def test_of_functions_system_schema_model_and_params_are_compared_wherever_they_are_written(submit: Any) -> None:
    """In a notebook every run of a cell is another place."""

    def made(line: int) -> Any:
        place: dict[str, Any] = {}
        exec(
            compile("\n" * line + "def ask(row):\n    return 'About ' + str(row['text'])", f"cell-{line}", "exec"),
            place,
        )
        return place["ask"]

    first = submit(prompt=made(1))
    told = {}
    changes: list[tuple[str, dict[str, Any]]] = [
        ("system", {"system": "Be brief."}),
        ("model", {"model": "claude-sonnet-4-6"}),
        ("params", {"params": {"service_tier": "auto"}}),
        ("schema", {"schema": Literal["a", "b"]}),
        ("nothing", {}),
    ]
    for line, (name, changed) in enumerate(changes, 50):
        told[name] = submit(prompt=made(line), **changed).why.removeprefix(
            f"run {first.id} on these rows is not reused: "
        )

    assert told["system"] == "system none → 'Be brief.'"
    assert told["model"] == """model 'claude-haiku-5-5' → 'claude-sonnet-4-6'; thinking '{"type":"disabled"}' → none"""
    assert told["params"] == "service_tier none → 'auto'"
    assert told["schema"].startswith("schema none → ")
    assert told["nothing"] == ""  # it is reused


def test_the_nearest_of_the_earlier_runs_is_named_not_the_latest(submit: Any) -> None:
    near = submit(system="Be brief.")
    submit(system="Be long.", params={"service_tier": "auto"}, schema=Literal["a", "b"])
    run = submit(system="Be brief!")

    assert run.why == f"run {near.id} on these rows is not reused: system 'Be brief.' → 'Be brief!'"


def test_of_earlier_runs_the_one_with_most_of_the_rows_is_the_nearest(submit: Any) -> None:
    whole = submit(["a", "b", "c", "d"], system="Old", params={"service_tier": "auto"})
    submit(["a", "b"], system="Old")
    run = submit(["a", "b", "c", "d"], system="New")

    assert run.why == f"run {whole.id} on these rows is not reused: system 'Old' → 'New'; service_tier 'auto' → none"


def test_more_max_tokens_is_a_cause_only_for_answers_that_were_cut(submit: Any, plain: PlainServer) -> None:
    plain.result = always(succeeded("cut", stop_reason="max_tokens"))
    first = submit(max_tokens=10, retries=0)
    plain.result = always(succeeded("whole"))

    assert submit(max_tokens=500, retries=0).why == (
        f"run {first.id} on these rows is not reused: its answers to them were cut at max_tokens=10"
    )


def test_rows_that_an_earlier_run_left_without_an_answer(submit: Any, plain: PlainServer) -> None:
    plain.result = always({"type": "expired"})
    first = submit(retries=0)

    assert submit(retries=0).why == f"run {first.id} on these rows is not reused: it has no final answer to them"


def test_nothing_is_said_where_there_is_nothing_to_say(
    submit: Any, claude: dfbatch.Anthropic, capsys: pytest.CaptureFixture[str]
) -> None:
    first = submit()
    same = submit()
    grown = submit([*TEXTS, "d", "e"])
    other = submit([f"row {number}" for number in range(5)], prompt="Above {text}")
    frame = Polars({"text": TEXTS, "title": TEXTS})
    wider = frame.claude.submit("{title}: {text}", backend=claude, progress=False).wait()
    skipped = submit([None, None], prompt="Above {text}")

    assert [run.why for run in (first, same, grown, other, wider, skipped)] == [""] * 6
    assert [run.snapshot().why for run in (first, same)] == ["", ""]
    assert "not reused" not in capsys.readouterr().out


def test_the_newest_of_the_earlier_runs_is_named(submit: Any) -> None:
    submit(prompt="One {text}")
    two = submit(prompt="Two {text}")
    submit(["z"], prompt="Three {text}")

    assert submit(prompt="Four {text}").why.startswith(
        f"run {two.id} on these rows is not reused: prompt 'Two {{text}}' → 'Four {{text}}'"
    )


@pytest.mark.parametrize(
    ("old", "new", "alike"),
    [
        ("Classify the text: {text}", "Classify the review: {text}", True),
        ("{text:.300}", "Sum up in one sentence: {text:.300}", False),
        ("请把下面这段文字分类。" * 30 + "{text}", "请把下面这段评论分类。" * 30 + "{text}", True),
        ("the cat sat on the mat and " * 9_000, "the cat sat on the mat but " * 9_000, True),
        ("Sort this into classes. " * 20, "Write a poem about autumn rain. " * 20, False),
        ("", "", True),
    ],
)
def test_another_question_is_not_an_old_one_rewritten(*, old: str, new: str, alike: bool) -> None:
    assert alike_enough(old, new) is alike


def test_another_question_on_the_same_rows_is_no_surprise(submit: Any) -> None:
    submit(prompt="Which language is this: {text}")

    assert submit(prompt="{text}").why == ""


def test_a_run_that_was_never_accepted_is_no_earlier_run(submit: Any) -> None:
    run = submit()
    run._ledger.note(run._ledger.chunks(run.id)[0].id, state=REJECTED)

    assert submit(prompt="Above {text}").why == ""


def test_most_rows_must_be_those_of_the_earlier_run(submit: Any) -> None:
    submit(["a", "b", "c"])

    assert submit(["a", "d", "e"], prompt="Above {text}").why == ""
    assert submit(["a", "b", "d"], prompt="Over {text}").why != ""


def test_files_of_an_earlier_run_that_are_gone_stop_nothing(submit: Any, ledger_home: Path) -> None:
    first = submit()
    (ledger_home / "runs" / first.id / "rows.npy").unlink()

    assert submit(prompt="Above {text}").why == ""


def test_it_is_the_first_thing_that_a_log_says(
    submit: Any, claude: dfbatch.Anthropic, plain: PlainServer, capsys: pytest.CaptureFixture[str]
) -> None:
    first = submit()
    plain.ending.clear()
    frame = Polars({"text": TEXTS})
    run = frame.claude.submit("Above {text}", backend=claude, progress="log")
    with pytest.raises(StillRunning):
        run.wait(timeout=0.2)
    lines = capsys.readouterr().err.splitlines()
    why = f"run {first.id} on these rows is not reused: prompt 'About {{text}}' → 'Above {{text}}'"
    plain.ending.set()
    run.wait()

    assert lines[0].startswith(f"dfbatch run {run.id}: {why} · asking again costs at most $0.00")
    assert lines[1].startswith(f"dfbatch run {run.id}: waiting for 1 batch · 1/5 rows")
    assert f"note:    {why} · asking again costs at most $0.00" in summary.text(run.snapshot())


def test_a_sample_is_enough_for_large_frames(submit: Any) -> None:
    texts = [f"row {number}" for number in range(3 * SAMPLE)]
    submit(texts, chunk_size=1500)
    run = submit(texts, prompt="Above {text}", chunk_size=1500)
    began = time.perf_counter()
    nothing_covered = Cover(np.zeros(len(texts), bool), {}, under_way=False)
    said = not_reused(run._ledger, run.record, nothing_covered)

    assert said == run.why != ""
    assert time.perf_counter() - began < 1


@given(old=st.text(max_size=200), new=st.text(max_size=200))
def test_a_difference_is_short_and_shows_where_texts_part(old: str, new: str) -> None:
    told = difference(old, new)

    assert told.isprintable()
    assert len(told) < 1500
    assert "\n" not in told
    assert old == new or told.partition(" → ")[0] != told.partition(" → ")[2]


@given(start=st.text("ab", max_size=100), end=st.text("ab", max_size=100))
def test_what_differs_is_seen_however_far_inside_it_is(start: str, end: str) -> None:
    old, new = difference(f"{start}X{end}", f"{start}Y{end}").split(" → ")

    assert "X" in old
    assert "Y" in new
    assert max(len(old), len(new)) <= 1 + 2 * 15 + 5


# ------------------------------------------------------------------------- models


def test_one_name_for_two_models_is_said_once(submit: Any, plain: PlainServer) -> None:
    plain.result = always(succeeded("old", model="claude-haiku-5-5"))
    submit(["a", "b"])
    plain.result = always(succeeded("new", model="claude-haiku-5-5-20261101"))
    with pytest.warns(ModelChangedWarning) as caught:
        run = submit(["a", "b", "c"])

    assert str(caught[0].message) == (
        f"run {run.id} mixes answers of 2 models that are called 'claude-haiku-5-5': 2 by claude-haiku-5-5,"
        " 1 by claude-haiku-5-5-20261101\n"
        "the name means another model than when the older answers were given\n"
        "Hint: name one exactly, as in model='…-20251001', or ask all again with reuse=False"
    )
    assert [item.filename for item in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run.wait().result()["answer"].to_list() == ["old", "old", "new"]


def test_the_same_model_or_one_asked_for_by_name_is_no_news(submit: Any, plain: PlainServer) -> None:
    plain.result = lambda params: succeeded("good", model=params["model"] + "-20251001")
    submit(["a", "b"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        submit(["a", "b", "c"])
        plain.result = lambda params: succeeded("good", model=params["model"] + "-20261101")
        submit(["a", "b"])  # all reused: nothing tells what the name means now
        submit(["a", "b", "d"], reuse=False)
        submit(["a", "b", "d"], model="claude-sonnet-4-6")


def test_a_forecast_is_part_of_the_line(submit: Any) -> None:
    submit()
    run = submit(prompt="Above {text}")

    assert re.search(
        r" · asking again costs at most \$0\.\d+ \(how long answers will be is not known yet\)$", run.snapshot().why
    )
