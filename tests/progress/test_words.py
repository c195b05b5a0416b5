from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING
from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfbatch.progress import BatchMark, Snapshot, log, words

if TYPE_CHECKING:
    from collections.abc import Iterable


@given(counts=st.dictionaries(st.sampled_from([*words.OUTCOMES, "paused_turn"]), st.integers(0, 50)))
def test_outcomes_with_pending_always_sum_to_the_rows(counts: dict[str, int]) -> None:
    snapshot = Snapshot("7f3a", "", "waiting", "m", "", 1000, 1000, 0, counts)

    assert sum(count for _, count in words.outcomes(snapshot)) == 1000
    assert words.finished(snapshot) == sum(counts.values())


def test_nothing_counted_yet_means_that_all_rows_are_pending() -> None:
    snapshot = Snapshot("7f3a", "", "planned", "m", "", 12, 12, 0)

    assert words.outcomes(snapshot) == [("pending", 12)]
    assert words.finished(snapshot) == 0


@given(rows=st.integers(1, 10**9), data=st.data())
def test_only_all_rows_are_a_hundred_per_cent_and_only_none_are_zero(rows: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, rows))

    assert (words.share(count, rows) == "100.0 %") == (count == rows)
    assert (words.share(count, rows) == "0.0 %") == (count == 0)


@given(rows=st.integers(1, 10**9), data=st.data())
def test_every_share_has_one_decimal(rows: int, data: st.DataObject) -> None:
    assert re.fullmatch(r"<?\d{1,3}\.\d %", words.share(data.draw(st.integers(0, rows)), rows))


def test_no_two_signs_of_life_read_alike() -> None:
    seconds, read = 0.0, list[str]()
    while seconds < 86_400:
        read.append(words.duration(seconds))
        seconds += min(log.QUIETEST, max(log.QUIET, seconds / 20))

    assert [one for one, two in pairwise(read) if one == two] == []
    assert read[:5] == ["0 s", "30 s", "1 min", "1.5 min", "2 min"]


def test_a_ticking_time_has_whole_minutes() -> None:
    assert [words.ticking(seconds) for seconds in (59, 90, 3599, 3661)] == [
        *("59 s", "1 min 30 s", "59 min 59 s", "1 h 01 min 01 s"),
    ]


def test_a_share_of_no_rows_is_nothing() -> None:
    assert words.share(0, 0) == "0.0 %"


@pytest.mark.parametrize("colour", words.COLOURS.values())
@pytest.mark.parametrize("background", ["#ffffff", "#111111"])
def test_every_outcome_colour_stands_out_from_light_and_dark_pages(colour: str, background: str) -> None:
    light, dark = sorted((_luminance(colour), _luminance(background)), reverse=True)

    assert (light + 0.05) / (dark + 0.05) >= 3


def test_every_outcome_has_a_sign_of_its_own_and_a_colour() -> None:
    assert set(words.COLOURS) == set(words.OUTCOMES)
    assert len({words.SIGNS[name] for name in [*words.OUTCOMES, "pending"]}) == len(words.OUTCOMES) + 1


def test_doing_names_all_that_goes_on_side_by_side(halfway: Snapshot) -> None:
    states = _marks(["done", "waiting", "waiting", "collecting", "sending", "planned", "in doubt"])

    expected = "sending 2 chunks, waiting for 2 batches, collecting 1 batch, 1 chunk in doubt"
    assert words.doing(replace(halfway, batches=states)) == expected


def test_a_pilot_says_what_it_waits_for_and_not_that_the_rest_is_being_sent(halfway: Snapshot) -> None:
    held = replace(halfway, status="pilot", batches=(*halfway.batches, BatchMark("4", "planned", 9)))

    assert words.doing(held) == "pilot, waiting for 2 batches"
    assert words.doing(replace(held, batches=())) == "pilot"


@pytest.mark.parametrize("status", ["planned", "paused", "canceling", "canceled", "done"])
def test_a_status_that_stands_for_the_whole_run_is_said_as_it_is(halfway: Snapshot, status: str) -> None:
    assert words.doing(replace(halfway, status=status)) == status


def test_the_way_back_is_one_call_and_says_when_chunks_stay_unsent(halfway: Snapshot) -> None:
    sent = "Stop button = detach: batches go on, come back with dfbatch.open('7f3a')"
    unsent = "Stop button = detach: batches go on, nothing further is sent, come back with dfbatch.open('7f3a')"

    assert words.detach(halfway, key="Stop button") == sent
    assert words.detach(replace(halfway, batches=_marks(["planned"])), key="Stop button") == unsent
    assert "batches go on while this process lives, come" in words.detach(replace(halfway, tied=True), key="Ctrl-C")


@given(text=st.text())
def test_plain_text_is_one_line_that_nothing_in_it_drives_or_reorders(text: str) -> None:
    made = words.plain(text)
    left = {category(sign) for sign in made if sign not in "\u200c\u200d"}

    assert not left & {"Cc", "Zl", "Zp", "Cs"}
    assert words.plain(made) == made
    assert text.isprintable() is False or made == text or not text.isascii()


def _marks(states: Iterable[str]) -> tuple[BatchMark, ...]:
    return tuple(BatchMark(str(at), state, 1) for at, state in enumerate(states))  # type: ignore[arg-type]  # all valid


def _luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
