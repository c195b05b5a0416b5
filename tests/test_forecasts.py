"""Figures of a plan: tokens by a line through a sample, answers by earlier ones, dollars with their range."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfbatch import forecasts
from dfbatch.forecasts import (
    Line,
    Plan,
    Range,
    answered,
    characters,
    of_request,
    scaled,
    shortened,
    spend,
    strata,
    unknown,
)
from dfbatch.models import Models

NASTY = "<script>alert('&')</script>"
SIZES = st.lists(st.integers(1, 10_000), min_size=1, max_size=60)


def made(**changes: Any) -> Plan:
    figures: dict[str, Any] = {
        "model": "claude-haiku-4-5",
        "rows": 1_000,
        "skipped": 12,
        "requests": 900,
        "reused": 40,
        "to_send": 860,
        "chunks": 2,
        "bytes": 1_234_567,
        "tokens_in": Range(80_000, 84_000, 90_000, "count_tokens of 20 requests"),
        "tokens_out": Range(28_000, 30_000, 33_000, "history of 40 answers"),
        "dollars": Range(0.1, 0.12, 0.14),
        "sync": 0.24,
        "without_dedupe": 0.15,
        "without_caching": 0.13,
        "first": ("Topic of: A goal",),
        "begin": lambda: "a run",
    }
    return Plan(**figures | changes)


@given(SIZES, st.floats(0, 1_000), st.floats(0, 2))
def test_tokens_on_a_line_are_found_exactly(sizes: list[int], base: float, slope: float) -> None:
    bytes_ = np.array(sizes, np.float64)
    sample = bytes_[strata(bytes_, 20)]
    line = Line.through(sample, np.maximum(1.0, base + slope * sample))
    total = line.total(bytes_, share=0.0, how="")

    if base >= 1 or slope >= 1:
        assert total.likely == pytest.approx(np.maximum(1.0, base + slope * bytes_).sum(), rel=1e-6)
    assert 0 <= total.low <= total.likely <= total.high


@given(SIZES, st.integers(1, 30))
def test_a_sample_holds_each_request_once_and_short_and_long_ones(sizes: list[int], most: int) -> None:
    picked = strata(np.array(sizes), most)

    assert len(picked) == min(most, len(sizes)) == len(set(picked.tolist()))
    if most >= 2 and len(sizes) >= 4:
        middle = np.median(sizes)
        assert min(sizes[at] for at in picked) <= middle <= max(sizes[at] for at in picked)


def test_what_is_counted_whole_has_no_doubt_but_that_of_the_count() -> None:
    sizes, tokens = np.array([10.0, 20, 30, 40]), np.array([5.0, 90, 7, 30])
    total = Line.through(sizes, tokens).total(sizes, share=0.0, how="here")

    assert (total.low, total.likely, total.high) == pytest.approx((132, 132, 132))
    assert total.how == "here"


def test_a_sample_that_lies_far_from_its_line_makes_the_range_wide() -> None:
    chance = np.random.default_rng(1)
    sizes = chance.integers(100, 1_000, 500).astype(float)
    tokens = sizes / 4 * chance.choice([1.0, 3.0], 500)
    sample = strata(sizes, 20)
    ranges = [Line.through(sizes[sample], tokens[sample] * part + sizes[sample] * (1 - part)) for part in (0.1, 1)]
    near, far = (line.total(sizes, share=0.0, how="") for line in ranges)

    assert far.high - far.low > 5 * (near.high - near.low)
    assert far.low < tokens.sum() < far.high


def test_texts_take_a_token_for_four_letters_and_more_in_other_scripts() -> None:
    assert characters("a" * 400) == 100
    assert characters("a" * 400, dense=1.3) == pytest.approx(130)
    assert 100 / 2 <= characters("語" * 100) <= 100 / 1.5


def test_a_request_by_its_characters_counts_system_tools_schema_and_turns() -> None:
    turns = [{"role": "user", "content": "a" * 40}]
    bare = of_request({"model": "m", "max_tokens": 5, "messages": turns})

    assert bare == 14
    assert of_request({"messages": turns, "system": "b" * 400}) == bare + 100
    assert of_request({"messages": turns, "system": [{"type": "text", "text": "b" * 400}]}) == bare + 100
    assert of_request({"messages": turns, "tools": [{"name": "t"}]}) > bare + 300
    schema = {"type": "object"}
    form = {"format": {"type": "json_schema", "schema": schema}}
    assert of_request({"messages": turns, "output_config": form}) == bare + len('{"type":"object"}') / 4


def test_images_and_documents_are_not_counted_by_their_letters() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "A" * 1_000_000}
    image = {"role": "user", "content": [{"type": "image", "source": source}]}
    pdf = {"role": "user", "content": [{"type": "document", "source": source}]}

    assert characters([image]) < 2_000
    assert 2_000 < characters([pdf]) < 60_000


@given(st.lists(st.integers(1, 500), min_size=1, max_size=100), st.integers(0, 10_000))
def test_answers_lie_between_a_token_each_and_max_tokens(lengths: list[int], requests: int) -> None:
    found = answered(np.array(lengths, np.uint32), requests, 300)

    assert requests <= found.low <= found.likely <= found.high <= 300 * requests
    assert found.likely == pytest.approx(requests * np.minimum(lengths, 300).mean())


def test_more_answers_make_the_range_narrower() -> None:
    lengths = np.random.default_rng(0).lognormal(3.7, 0.6, 400).astype(np.uint32)
    widths = [
        (one.high - one.low) / one.likely for one in (answered(lengths[:n], 5_000, 1024) for n in (1, 5, 40, 400))
    ]

    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 5
    assert widths[-1] < 0.2


@pytest.mark.parametrize("seen", [10, 40])
@pytest.mark.parametrize("sigma", [0.3, 0.6, 1.0])
def test_the_range_of_answers_covers_the_truth_nine_times_of_ten(seen: int, sigma: float) -> None:
    chance, covered = np.random.default_rng(7), 0
    for _ in range(400):
        drawn = np.minimum(np.maximum(1, chance.lognormal(np.log(40), sigma, 500 + seen).round()), 1024)
        found = answered(drawn[:seen].astype(np.uint32), 500, 1024)
        covered += found.low <= drawn[seen:].sum() <= found.high

    assert covered >= 0.86 * 400


@pytest.mark.parametrize("times", [0.5, 1, 3])
def test_where_longer_prompts_had_longer_answers_others_are_on_that_line(times: float) -> None:
    """Summaries: history of some prompts, and others that are longer or shorter."""
    chance, covered, blind = np.random.default_rng(11), 0, 0
    for _ in range(300):
        prompts = chance.lognormal(6, 0.5, 540)
        prompts[40:] *= times
        lengths = np.maximum(1, 0.2 * prompts * chance.lognormal(-0.08, 0.4, 540)).round()
        true, seen = lengths[40:].sum(), lengths[:40].astype(np.uint32)
        found = answered(seen, 500, 10_000, prompts=prompts[:40], asked=prompts[40:])
        covered += found.low <= true <= found.high
        without = answered(seen, 500, 10_000)
        blind += without.low <= true <= without.high

    assert covered >= 0.86 * 300
    assert times == 1 or blind < 0.1 * 300


def test_where_prompts_tell_nothing_of_answers_they_do_not_count() -> None:
    chance, same = np.random.default_rng(5), 0
    for _ in range(300):
        prompts, lengths = chance.lognormal(6, 0.5, 40), chance.lognormal(3, 0.6, 40).astype(np.uint32) + 1
        same += answered(lengths, 500, 1024, prompts=prompts, asked=8 * prompts) == answered(lengths, 500, 1024)

    assert same >= 290


def test_unknown_answers_are_between_a_token_and_max_tokens_each() -> None:
    assert unknown(10, 1024) == Range(10, 320, 10_240, "from max_tokens")
    assert unknown(0, 1024) == Range(0, 0, 0, "from max_tokens")


def test_doubts_that_are_independent_add_up_by_their_squares() -> None:
    found = spend(scaled(1.0, Range(70, 100, 130)), scaled(1.0, Range(60, 100, 140)))

    assert (found.low, found.likely, found.high) == pytest.approx((1.5, 2, 2.5))


def test_nothing_to_send_costs_nothing() -> None:
    nothing = Range(0, 0, 0)

    assert spend(scaled(0.0, nothing), scaled(0.0, nothing)) == Range(0, 0, 0)
    assert "dollars    $0.00" in repr(made(to_send=0, dollars=nothing, tokens_in=nothing, tokens_out=nothing))


def test_a_plan_prints_as_a_table() -> None:
    assert repr(made(notes=("so it is",))).splitlines() == [
        "plan             1,000 rows for claude-haiku-4-5",
        "rows             988 ask something, 12 are skipped",
        "requests         900 distinct, 40 of them paid for or under way already",
        "to send          860 in 2 chunks, 1.2 MB",
        "tokens in        84,000 (80,000 to 90,000; count_tokens of 20 requests)",
        "tokens out       30,000 (28,000 to 33,000; history of 40 answers)",
        "dollars          $0.12 ($0.10 to $0.14 in nine of ten cases)",
        "ordinary calls   $0.24 for the same requests, without a batch",
        "without dedupe   $0.15 with a request for every row",
        "without caching  $0.13 with every prefix as plain input",
        "request 1        Topic of: A goal",
        "note             so it is",
    ]


def test_a_price_that_is_not_known_is_said_to_be_unknown_and_never_zero() -> None:
    table = repr(made(dollars=None, sync=None, without_dedupe=None, without_caching=None))

    assert table.count("unknown") == 4
    assert "$" not in table


def test_its_html_says_the_same_and_runs_nothing() -> None:
    plan = made(model=NASTY, first=(NASTY,), notes=(NASTY,))
    markup = plan._repr_html_()
    found: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            assert tag in ("table", "tr", "th", "td"), (tag, attrs)

        def handle_data(self, data: str) -> None:
            found.append(data)

    Reader(convert_charrefs=True).feed(markup)

    assert found[::2] == [line.partition("  ")[0] for line in repr(plan).splitlines()]
    assert "<script" not in markup


def test_a_plan_is_frozen_and_submit_begins_it() -> None:
    plan = made()
    with pytest.raises(AttributeError):
        plan.rows = 5  # type: ignore[misc]

    assert plan.submit() == "a run"
    assert plan == made(begin=plan.begin)


def test_long_requests_are_shown_in_part() -> None:
    assert len(shortened("word " * 10_000)) == 160
    assert shortened("word " * 10_000).endswith("…")
    assert shortened(" " * 9_000 + "late") == "…"
    assert shortened("short") == "short"


def test_many_short_prompts_are_no_long_one() -> None:
    haiku = Models().find("claude-haiku-5-5")
    few, many = (forecasts.forecast(haiku, 500 * count, count, 100).high or 0.0 for count in (100, 10_000))

    assert many == pytest.approx(100 * few)
    assert (forecasts.forecast(haiku, 500_000, 1, 100).high or 0.0) > 4 * (
        forecasts.forecast(haiku, 200_000, 1, 100).high or 0.0
    )
