"""The accessors: on all frames and Series, with docstrings, passing on what they are told."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd
import polars as pl
import pytest

import dfbatch
from dfbatch import testing
from dfbatch.errors import NoBackend, NoSuchRun, NotAFrame, OptionError, UnknownColumn
from dfbatch.options import Include, OnError, OnNull, Options, Progress

TEXTS = {"text": ["A goal!", "A chip"]}
FRAMES: list[Any] = [pd.DataFrame(TEXTS), pl.DataFrame(TEXTS)]
SERIES: list[Any] = [pd.Series(TEXTS["text"]), pl.Series(TEXTS["text"])]
TOPICS = {"goal": "sport", "chip": "tech"}


def named(value: Any) -> str:
    return f"{type(value).__module__.partition('.')[0]} {type(value).__name__}"


@pytest.mark.parametrize("made", [*FRAMES, *SERIES], ids=named)
@pytest.mark.parametrize("verb", ["batch", "submit"])
def test_every_frame_and_series_has_both_verbs_with_docstrings(made: Any, verb: str) -> None:
    doc = inspect.getdoc(getattr(made.claude, verb)) or ""

    assert doc.startswith("Label every ")


VERBS: list[Any] = [
    *(dfbatch.batch, dfbatch.submit, dfbatch.preview, dfbatch.plan),
    *(FRAMES[0].claude.batch, FRAMES[1].claude.submit, SERIES[0].claude.batch, SERIES[1].claude.submit),
    *(FRAMES[0].claude.preview, SERIES[0].claude.preview, FRAMES[0].claude.plan, SERIES[0].claude.plan),
]


def table(verb: Any) -> dict[str, tuple[str, str]]:
    """Option → its default and what it says, as the docstring has them."""
    lines = (inspect.getdoc(verb) or "").splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("option "))
    columns = [lines[start].index(word) for word in ("default", "what")]
    found: dict[str, tuple[str, str]] = {}
    for line in lines[start + 2 : lines.index("", start)]:
        name, default, said = (part.strip() for part in (line[: columns[0]], line[slice(*columns)], line[columns[1] :]))
        name, before = (name, "") if name else list(found.items())[-1]  # a second line of the last one
        found[name] = (default, said) if not before else (before[0], f"{before[1]} {said}")
    return found


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__qualname__)
def test_help_lists_exactly_the_options_with_their_defaults(verb: Any) -> None:
    usual = Options()
    expected = {each.name: repr(getattr(usual, each.name)) for each in fields(Options)}

    assert {name: default for name, (default, _) in table(verb).items()} == expected
    assert [name for name, (_, said) in table(verb).items() if not said] == []
    assert max(map(len, (inspect.getdoc(verb) or "").splitlines())) <= 116


@pytest.mark.parametrize(
    ("option", "kind"), [("include", Include), ("on_null", OnNull), ("on_error", OnError), ("progress", Progress)]
)
def test_help_names_every_value_that_an_option_takes(option: str, kind: Any) -> None:
    said = table(dfbatch.batch)[option][1]

    assert [value for value in get_args(kind) if repr(value) not in said] == []


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__qualname__)
def test_signatures_name_every_option_for_the_tab_key(verb: Any) -> None:
    found = inspect.signature(verb).parameters

    assert list(found)[-len(fields(Options)) :] == [each.name for each in fields(Options)]
    assert {found[each.name].kind for each in fields(Options)} == {inspect.Parameter.KEYWORD_ONLY}
    assert found["max_tokens"].default == 1024
    assert "options" not in found


def test_a_notebook_completes_options_at_the_first_press() -> None:
    shell = "from IPython.core.interactiveshell import InteractiveShell as Shell\nshell = Shell.instance()\n"
    shell += "shell.run_cell('import dfbatch')\nshell.Completer.use_jedi = False\n"
    shell += "print('max_tokens=' in shell.complete('max_t', 'dfbatch.batch(df, max_t', 23)[1])"
    done = subprocess.run([sys.executable, "-c", shell], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "True"


@pytest.mark.parametrize("owner", [pd.DataFrame, pd.Series, pl.DataFrame, pl.Series, pl.LazyFrame])
def test_the_accessor_itself_says_what_it_is(owner: Any) -> None:
    assert "`" in (inspect.getdoc(owner.claude) or "")


@pytest.mark.parametrize("frame", FRAMES, ids=named)
def test_a_frame_is_labelled_and_left_as_it_was(frame: Any) -> None:
    before = frame.copy() if isinstance(frame, pd.DataFrame) else frame.clone()
    with testing.answers(TOPICS):
        out = frame.claude.batch("Topic of: {text}", into="topic", progress=False)

    assert type(out) is type(frame)
    assert list(out.columns) == ["text", "topic"]
    assert list(out["topic"]) == ["sport", "tech"]
    assert frame.equals(before)


@pytest.mark.parametrize("series", SERIES, ids=named)
def test_a_series_becomes_a_series(series: Any) -> None:
    with testing.answers(TOPICS):
        out = series.claude.batch("Topic of: {}", progress=False)

    assert type(out) is type(series)
    assert list(out) == ["sport", "tech"]


def test_a_series_of_pandas_keeps_its_index() -> None:
    series: Any = pd.Series(TEXTS["text"], index=[7, 7])
    with testing.answers(TOPICS):
        out = series.claude.batch("Topic of: {}", progress=False)

    assert out.index.tolist() == [7, 7]


@pytest.mark.parametrize("frame", FRAMES, ids=named)
def test_the_accessor_and_the_twin_are_the_same_call(frame: Any) -> None:
    with testing.answers({"goal": {"answer": "sport"}, "chip": {"answer": "tech"}}):
        topic = Literal["sport", "tech"]
        through = frame.claude.batch("Topic of: {text}", topic, into="topic", progress=False)
        twin = dfbatch.batch(frame, "Topic of: {text}", schema=topic, into="topic", progress=False)
        run = dfbatch.submit(frame, "Topic of: {text}", topic, into="topic", progress=False)

        assert through.equals(twin)
        assert through.equals(run.result())


def test_options_are_passed_on() -> None:
    with testing.answers(TOPICS) as fake:
        FRAMES[0].claude.batch(
            "Topic of: {text}",
            model="claude-opus-4-6",
            system="Be brief.",
            max_tokens=7,
            params={"temperature": 0.0},
            examples=[("A match", "sport")],
            progress=False,
        )
        asked = sorted(fake.requests, key=lambda params: str(params["messages"][-1]), reverse=True)

    assert asked[0] == {
        "model": "claude-opus-4-6",
        "max_tokens": 7,
        "system": "Be brief.",
        "temperature": 0.0,
        "messages": [
            {"role": "user", "content": "Topic of: A match"},
            {"role": "assistant", "content": "sport"},
            {"role": "user", "content": "Topic of: A goal!"},
        ],
    }


def test_submit_returns_a_run_that_can_be_found_again() -> None:
    with testing.answers(TOPICS):
        run = FRAMES[0].claude.submit("Topic of: {text}", name="topics", progress=False)
        run.wait()

        assert isinstance(run, dfbatch.Run)
        assert (run.name, run.done, run.counts) == ("topics", True, {"succeeded": 2})
        assert dfbatch.last_run().id == dfbatch.open(run.id[:4]).id == run.id
        assert [one.id for one in dfbatch.runs()] == [run.id]


def test_a_run_is_opened_by_its_name() -> None:
    with testing.answers(TOPICS):
        run = FRAMES[0].claude.submit("Topic of: {text}", name="topics", progress=False).wait()

        assert dfbatch.open("topics").id == run.id


@pytest.mark.parametrize("name", ["topics.dfbatch", "topics"])
def test_what_a_run_exports_is_opened_whatever_the_file_is_called(tmp_path: Path, name: str) -> None:
    with testing.answers(TOPICS):
        run = FRAMES[0].claude.submit("Topic of: {text}", progress=False).wait()
        path = run.export(tmp_path / name)

        assert dfbatch.open(str(path)).answers()["answer"].tolist() == ["sport", "tech"]


def test_a_file_that_is_no_export_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no export")

    with pytest.raises(dfbatch.DfbatchError, match=r"notes\.txt"):
        dfbatch.open(str(tmp_path / "notes.txt"))


@pytest.mark.parametrize("name", ["/nope/x.zip", "nope.dfbatch", Path("nope")], ids=str)
def test_a_file_that_is_not_there_is_said_to_be_a_file(name: str | Path) -> None:
    with pytest.raises(NoSuchRun) as caught:
        dfbatch.open(name)

    assert str(caught.value) == (
        f"there is no file {str(name)!r}\nnor a run of that name\n"
        "Hint: run.export(path) writes files; dfbatch.runs() lists runs"
    )


def test_a_folder_is_no_exported_run(tmp_path: Path) -> None:
    with pytest.raises(NoSuchRun, match=r"^'.*' is a folder\n"):
        dfbatch.open(str(tmp_path))


def test_a_name_that_is_no_path_is_looked_for_among_runs() -> None:
    with pytest.raises(NoSuchRun, match=r"^no run 'topics' in the ledger\n"):
        dfbatch.open("topics")


def test_a_forgotten_run_still_has_a_repr() -> None:
    with testing.answers(TOPICS):
        run = FRAMES[0].claude.submit("Topic of: {text}", progress=False).wait()
        run.forget()

        assert run.id in repr(run)


@pytest.mark.parametrize("verb", ["batch", "submit"])
def test_a_lazy_frame_says_how_to_collect(verb: str) -> None:
    text = "expected a pandas or polars DataFrame, got polars.lazyframe.frame.LazyFrame\n"
    text += "Hint: call .collect() first: df.collect().claude.batch(...)"

    frame: Any = pl.LazyFrame(TEXTS)

    with pytest.raises(NotAFrame, match="^" + re.escape(text) + "$"):
        getattr(frame.claude, verb)("Topic of: {text}")


@pytest.mark.parametrize("given", [[{"text": "a"}], "a", None, 5], ids=str)
def test_what_is_no_frame_is_refused_in_words(given: Any) -> None:
    with pytest.raises(NotAFrame, match=r"^expected a pandas or polars DataFrame, got \w+\nHint: "):
        dfbatch.batch(given, "Topic of: {text}")


@pytest.mark.parametrize("made", [*FRAMES, *SERIES], ids=named)
def test_an_unknown_option_is_refused_before_anything_else(made: Any) -> None:
    with pytest.raises(OptionError, match=r"^unknown option 'max_token'\n"):
        made.claude.batch("no column at all", max_token=5)


@pytest.mark.parametrize("frame", FRAMES, ids=named)
def test_an_unknown_column_is_refused_before_anything_is_sent(frame: Any) -> None:
    with testing.answers(TOPICS) as fake:
        with pytest.raises(UnknownColumn, match=r"did you mean \{text\}"):
            frame.claude.batch("Topic of: {txt}", progress=False)

        assert fake.requests == []


def test_without_a_key_and_a_backend_both_ways_out_are_named() -> None:
    with pytest.raises(NoBackend) as caught:
        FRAMES[0].claude.batch("Topic of: {text}", progress=False)

    assert "ANTHROPIC_API_KEY" in str(caught.value)
    assert 'backend="local"' in str(caught.value)


@pytest.mark.parametrize("frame", FRAMES, ids=named)
def test_include_named_twice_is_refused_before_two_columns_share_a_name(frame: Any) -> None:
    text = "two columns would be called 'claude_status'\nHint: choose another into= or include="

    with testing.answers(TOPICS), pytest.raises(OptionError, match=f"^{text}$"):
        frame.claude.batch("Topic of: {text}", include=["status", "status"], progress=False)
