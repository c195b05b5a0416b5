from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from dfbatch.progress import BatchMark, Cause, Share, Snapshot, summary

if TYPE_CHECKING:
    from typing import Final

NASTY: Final = "<script>alert('x')</script>\x1b[2J"
VOID_FREE: Final = {"div", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "code", "img"}


def test_one_line_says_all_that_matters_while_waiting(halfway: Snapshot) -> None:
    assert summary.line(halfway) == (
        "dfbatch run 7f3a “topics of 2026”: waiting for 2 batches · 597/1,000 rows · 7 refused · 40 reused · 4 min"
        " · $0.41 as-if · SmolLM2, not Claude · all sent: safe to close"
    )


def test_one_line_leaves_the_safety_out_when_the_run_is_over(ended: Snapshot) -> None:
    assert summary.line(ended) == (
        "dfbatch run 7f3a “topics of 2026”: done · 1,000/1,000 rows · 7 refused · 3 invalid · 40 reused · 3 h 05 min"
        " · $0.41 as-if · SmolLM2, not Claude"
    )


def test_plain_text_has_outcomes_facts_and_the_way_back(ended: Snapshot) -> None:
    assert summary.text(ended).splitlines() == [
        "dfbatch run 7f3a “topics of 2026”: done after 3 h 05 min",
        "  ✓ succeeded  990   99.0 %",
        "  ⊘ refused      7    0.7 %",
        "  ≠ invalid      3    0.3 %",
        "  rows:    1,000 (960 requests, 40 rows reused from the ledger)",
        "  model:   claude-haiku-4-5, answered by SmolLM2, not Claude",
        "  spent:   $0.41 as-if",
        "  batches: msgbatch_01, msgbatch_02, msgbatch_03",
        "  reopen:  dfbatch.open('7f3a')",
    ]


def test_html_reads_the_same_with_its_styles_taken_away(ended: Snapshot) -> None:
    assert _Reader.of(summary.html(ended)).cells == [
        *("outcome", "rows", "share", ""),
        *("✓ succeeded", "990", "99.0 %", ""),
        *("⊘ refused", "7", "0.7 %", ""),
        *("≠ invalid", "3", "0.3 %", ""),
        *("rows", "1,000 (960 requests, 40 rows reused from the ledger)"),
        *("model", "claude-haiku-4-5, answered by SmolLM2, not Claude"),
        *("spent", "$0.41 as-if"),
        *("batches", "msgbatch_01, msgbatch_02, msgbatch_03"),
        *("reopen", "dfbatch.open('7f3a')"),
    ]


def test_a_run_left_half_way_says_that_it_is_not_over(halfway: Snapshot) -> None:
    lost = replace(halfway.batches[2], state="planned", batch_id=None)
    left = replace(halfway, batches=(*halfway.batches[:2], lost), message="network down")
    cells = _Reader.of(summary.html(left)).cells

    assert "· pending" in cells
    assert cells[cells.index("state") + 1] == "do not close: 1 of 3 chunks not sent"
    assert cells[cells.index("note") + 1] == "network down"


def test_what_reuse_saved_stands_beside_what_was_spent(ended: Snapshot, halfway: Snapshot) -> None:
    saved = (("reuse", "$0.12 as-if"),)
    cells = _Reader.of(summary.html(replace(ended, saved=saved))).cells

    assert cells[cells.index("spent") + 1] == "$0.41 as-if, $0.12 as-if saved by reuse"
    assert "  spent:   $0.41 as-if, $0.12 as-if saved by reuse" in summary.text(replace(ended, saved=saved))
    assert summary.line(replace(ended, saved=saved)).endswith(
        "3 h 05 min · $0.41 as-if · $0.12 as-if saved by reuse · SmolLM2, not Claude"
    )
    assert "saved" not in summary.line(replace(halfway, saved=saved))


def test_why_nothing_is_reused_is_noted_until_something_matters_more(halfway: Snapshot) -> None:
    asked = replace(halfway, why="run 1a2b is not reused: model 'a' → 'b'")

    assert "  note:    run 1a2b is not reused: model 'a' → 'b'" in summary.text(asked)
    assert "  note:    network down" in summary.text(replace(asked, message="network down"))


def test_a_run_that_paused_did_so_after_a_time(halfway: Snapshot) -> None:
    assert summary.text(replace(halfway, status="paused")).startswith(
        "dfbatch run 7f3a “topics of 2026”: paused after 4 min\n"
    )


def test_nothing_a_user_or_server_wrote_becomes_markup(nasty: Snapshot) -> None:
    assert _Reader.of(summary.html(nasty)).tags <= VOID_FREE
    assert "<script" not in summary.html(nasty)


def test_nothing_a_user_or_server_wrote_drives_the_terminal(nasty: Snapshot) -> None:
    assert "\x1b" not in summary.text(nasty)
    assert "\x1b" not in summary.line(nasty)


@given(name=st.text(), counts=st.dictionaries(st.text(min_size=1), st.integers(0, 9)))
def test_any_text_stays_well_formed_and_whole(name: str, counts: dict[str, int]) -> None:
    snapshot = Snapshot("7f3a", name, "done", name, name, sum(counts.values()), 1, 0, counts, spent=name, message=name)
    page = _Reader.of(summary.html(snapshot))

    assert page.open == []
    assert page.tags <= VOID_FREE


def test_a_frame_without_rows_has_a_summary_too() -> None:
    empty = Snapshot("7f3a", "", "done", "m", "", 0, 0, 0)

    assert summary.line(empty) == "dfbatch run 7f3a: done · 0/0 rows · 0 s"
    assert _Reader.of(summary.html(empty)).cells[4:6] == ["rows", "0 (0 requests)"]


def test_a_thousand_batches_are_named_by_the_first_twelve(ended: Snapshot) -> None:
    batches = tuple(BatchMark(str(at), "done", 1, 1.0, f"msgbatch_{at}") for at in range(1000))
    cells = _Reader.of(summary.html(replace(ended, batches=batches))).cells

    assert cells[cells.index("batches") + 1].endswith("msgbatch_11 and 988 more")


def test_labels_and_causes_are_shown_and_nothing_in_them_becomes_markup(ended: Snapshot) -> None:
    hostile = "<script>alert('x')</script>"
    shares = tuple(Share(hostile, f"{hostile}{at}", 50 - at, 0.1, 0.05, 0.2) for at in range(20))
    seen = replace(ended, shares=shares, causes=(Cause("errored", hostile, 3, (1, 2)),))
    made = summary.html(seen)

    assert "script" not in _Reader.of(made).tags
    assert _Reader.of(made).cells.count(hostile) == 2
    assert "8 more" in _Reader.of(made).cells
    assert "1, 2, …" in _Reader.of(made).cells
    assert f"3 errored: {hostile} (rows 1, 2, …)" in summary.text(seen)


class _Reader(HTMLParser):
    """What a viewer without style sheets sees: the text of each cell."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.tags: set[str] = set()
        self.open: list[str] = []

    @classmethod
    def of(cls, markup: str) -> _Reader:
        reader = cls()
        reader.feed(markup)
        reader.close()
        return reader

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002  # HTMLParser's
        self.tags.add(tag)
        self.open.append(tag)
        if tag in {"td", "th"}:
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.cells and {"td", "th"} & set(self.open):
            self.cells[-1] += data
