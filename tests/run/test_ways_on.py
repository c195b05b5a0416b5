"""What is offered where a run has paused is what helps: the same again, another budget or call, a settled bill."""

from __future__ import annotations

import pytest

from dfbatch.run.ending import MEND, way_on
from dfbatch.run.failures import helps

SAID = "the API said 400 invalid_request_error: "
LARGER = "dfbatch.open('7f3a').resume(budget=…) goes on"
POOR = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade."


@pytest.mark.parametrize(
    ("message", "way"),
    [
        (SAID + "max_tokens: 200000 > 64000", MEND),
        ("the API said 404 not_found_error: model: claude-hiaku", MEND),
        ("the call is refused: thinking is not for this model", MEND),
        (SAID + POOR, ""),
        (SAID + "You have reached your specified API usage limits.", ""),
        (
            "run 7f3a paused with $0.10 left of its budget of $2.00: too little for a batch worth sending",
            "dfbatch.open('7f3a').resume(budget=…) goes on",
        ),
        ("no connection to the API", ""),
        ("", ""),
    ],
)
def test_what_helps_depends_on_what_stopped_it(message: str, way: str) -> None:
    assert way_on("7f3a", message) == way


def test_rows_that_failed_for_want_of_credit_are_asked_again_once_that_is_settled() -> None:
    told = helps("errored", f"invalid_request_error: {POOR}", 1024)

    assert told == "settle the account, then run.retry(which='errored') asks them again"
