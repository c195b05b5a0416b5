from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import dfbatch
from dfbatch.pricing import Tokens
from dfbatch.testing import answers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd

TOPICS = ["business", "entertainment", "politics", "sports", "tech"]


@pytest.fixture(scope="module")
def bbc() -> Iterator[Any]:
    """The script, as a module; pydantic finds the names of its annotations through `sys.modules`."""
    path = Path(__file__).parent.parent / "examples" / "bbc_topics.py"
    spec = importlib.util.spec_from_file_location("bbc_topics", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bbc_topics"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["bbc_topics"]


@pytest.fixture(scope="module")
def news(bbc: Any) -> pd.DataFrame:
    frame: pd.DataFrame = bbc.corpus()
    return frame


def test_the_corpus_is_2225_articles_in_five_topics_less_the_headlines_that_come_twice(news: pd.DataFrame) -> None:
    assert len(news) == 2096
    assert news.index.max() == 2224
    assert sorted(news["truth"].unique()) == TOPICS
    assert news["title"].is_unique
    assert news["text"].str[:200].is_unique


def test_two_seeds_draw_different_articles_and_one_seed_the_same(bbc: Any, news: pd.DataFrame) -> None:
    (_, one), (_, other), (_, same) = (bbc.draw(news, 24, seed) for seed in (0, 1, 0))

    assert one.equals(same)
    assert len(set(one["title"])) == 24
    assert len(set(one["title"]) & set(other["title"])) < 3  # of 2,091 two draws may share one by chance


def test_the_examples_are_one_a_topic_always_the_same_and_never_asked_about(bbc: Any, news: pd.DataFrame) -> None:
    (shown, all_others), (same, _) = bbc.draw(news, len(news) - 5, 0), bbc.draw(news, 1, 7)

    assert list(shown["truth"]) == TOPICS
    assert shown.equals(same)
    assert not set(shown["title"]) & set(all_others["title"])


def always(topic: str) -> Callable[[dict[str, Any]], dict[str, str]]:
    return lambda _: {"topic": topic, "confidence": "high"}


def test_the_table_holds_what_the_engine_answered(bbc: Any, news: pd.DataFrame) -> None:
    shown, asked = bbc.draw(news, 12, 0)
    truth = dict(zip(asked["text"].str[:300], asked["truth"], strict=True))

    def knowing(params: dict[str, Any]) -> dict[str, str]:
        return {"topic": truth[params["messages"][-1]["content"]], "confidence": "low"}

    said = {}
    for name, engine in {"sports": always("sports"), "tech": always("tech"), "truth": knowing}.items():
        with answers(engine):
            said[name] = bbc.report(bbc.label(asked, shown), 1.0).splitlines()

    rights = {name: int((asked["truth"] == name).sum()) for name in ("sports", "tech")} | {"truth": 12}
    assert rights["sports"] != rights["tech"]
    for name, right in rights.items():
        marks = [line[0] for line in said[name][1:13]]
        assert marks.count("✓") == right
        assert marks.count("✗") == 12 - right
        assert f"{right} of 12 right" in said[name][14]
    assert [line.split()[2] for line in said["tech"][1:13]] == ["tech"] * 12
    assert [line.split()[1] for line in said["tech"][1:13]] == list(asked["truth"])


def test_the_model_reads_five_examples_and_the_text_but_never_the_truth(bbc: Any, news: pd.DataFrame) -> None:
    shown, asked = bbc.draw(news, 3, 0)
    with answers(always("tech")) as emulator:
        bbc.label(asked, shown)
        requests = emulator.requests

    assert sorted(request["messages"][-1]["content"] for request in requests) == sorted(asked["text"].str[:300])
    for request in requests:
        turns = [(turn["role"], turn["content"]) for turn in request["messages"][:-1]]
        assert [role for role, _ in turns] == ["user", "assistant"] * 5
        assert [text for role, text in turns if role == "assistant"] == [
            f'{{"topic":"{topic}","confidence":"high"}}' for topic in TOPICS
        ]
        assert [text for role, text in turns if role == "user"] == list(shown["text"].str[:200])


def test_tokens_and_price_are_computed_from_what_the_answers_took(bbc: Any, news: pd.DataFrame) -> None:
    shown, asked = bbc.draw(news, 6, 0)
    with answers(always("tech")):
        labelled = bbc.label(asked, shown)
        tokens = dfbatch.run_of(labelled).cost.tokens
        text = bbc.report(labelled, 1.0)

    dollars = (tokens.input * 0.1 + tokens.output * 0.5) / 1e6
    assert tokens.input > 6 * 100
    assert f"tokens       {tokens.input:,} in, {tokens.output:,} out" in text
    batch, sync = re.findall(r"\$([\d.]+)", text)
    assert float(batch) == pytest.approx(dollars / 2, rel=0.05)
    assert float(sync) == pytest.approx(dollars, rel=0.05)


def test_a_count_of_another_model_is_called_an_approximation_and_claudes_own_is_not(bbc: Any) -> None:
    tokens = Tokens(input=1_000_000, output=100_000)

    assert bbc.price(tokens, exact=True) == "$0.075 on claude-haiku-5-5 in a batch, $0.15 one by one"
    assert bbc.price(tokens, exact=False).endswith("one by one, about: another model counted the tokens")


@pytest.mark.parametrize(
    ("right", "asked", "interval"),  # Wilson's, as R's prop.test(correct = FALSE) gives it
    [(20, 30, "49% to 81%"), (0, 10, "0% to 28%"), (10, 10, "72% to 100%"), (15, 20, "53% to 89%")],
)
def test_accuracy_comes_with_wilsons_interval(bbc: Any, right: int, asked: int, interval: str) -> None:
    said = bbc.accuracy(right, asked)

    assert said == f"{right} of {asked} right = {right / asked:.0%} (95% interval {interval}; guessing gives 20%)"


def test_an_article_without_an_answer_counts_as_wrong_and_shows_a_dash(bbc: Any, news: pd.DataFrame) -> None:
    shown, asked = bbc.draw(news, 2, 0)
    asked.loc[1, "text"] = None
    with answers(always(asked.loc[0, "truth"])):
        lines = bbc.report(bbc.label(asked, shown), 1.0).splitlines()

    assert lines[2].split()[:4] == ["✗", asked.loc[1, "truth"], "—", "—"]
    assert "1 of 2 right = 50%" in lines[4]


def test_the_command_run_twice_reuses_its_answers_and_another_seed_does_not(
    bbc: Any, news: pd.DataFrame, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bbc, "corpus", lambda: news)  # read once
    said = []
    for seed in ("0", "0", "1"):
        bbc.main(["--backend", "sample", "--articles", "5", "--seed", seed])
        said.append(capsys.readouterr().out.splitlines())

    first, second, other = said
    assert first[:-1] == second[:-1]
    assert first[1:6] != other[1:6]
    assert [lines[-1].partition(" s, ")[2] for lines in said] == [
        "0 of 5 answers reused from an earlier run",
        "5 of 5 answers reused from an earlier run",
        "0 of 5 answers reused from an earlier run",
    ]
    assert "answered by  the sample engine, not Claude" in first


def test_without_a_key_the_command_says_so_and_no_other_model_answers(bbc: Any) -> None:
    with pytest.raises(dfbatch.errors.NoBackend, match="ANTHROPIC_API_KEY"):
        bbc.main(["--backend", "anthropic", "--articles", "2"])


@pytest.mark.model
def test_the_local_model_labels_four_articles_end_to_end(bbc: Any, capsys: pytest.CaptureFixture[str]) -> None:
    bbc.main(["--articles", "4"])
    lines = capsys.readouterr().out.splitlines()

    assert {line.split()[2] for line in lines[1:5]} <= set(TOPICS)
    assert "answered by  SmolLM2, not Claude" in lines
    assert re.search(r"tokens       1,\d\d\d in, 4\d out", "\n".join(lines))
