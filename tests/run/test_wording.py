"""Errors that differ in values alone are told as one, whatever stands in them."""

from __future__ import annotations

import pytest

from dfbatch.run.wording import worded


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        (["got 'a', not 'z'", "got 'b', not 'z'"], {"got …, not 'z'"}),
        (["row 1 of 9", "row 2 of 9"], {"row … of 9"}),
        (["cut short: max_tokens"] * 3, {"cut short: max_tokens"}),
        (["bad value … at $", "bad value 'x' at $"], {"bad value … at $", "bad value 'x' at $"}),
        (["part…", "part1", "part2"], {"part…"}),
        (["isn't a 'cat'", "isn't a 'dog'"], {"isn't a …"}),
        (["'open", 'open"', "", "…"], {"'open", 'open"', "", "…"}),
    ],
)
def test_what_varies_is_left_out_and_what_does_not_is_told(errors: list[str], said: set[str]) -> None:
    same = worded(errors)

    assert same.keys() == {*errors}
    assert {*same.values()} == said


def test_as_many_errors_as_there_are_rows_are_worded_in_one_pass() -> None:
    """A hundred thousand answers that do not fit, each in its own way: pairs of them would be ten thousand million."""
    errors = [f"expected 'a' or 'b', got '{number}' at $.x" for number in range(100_000)]

    assert {*worded(errors).values()} == {"expected 'a' or 'b', got … at $.x"}
