"""The table of runs: what was answered, what it takes on the disk, who answered, and how long results can be had."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import dfbatch
from dfbatch.pricing import dollars
from dfbatch.run.listing import in_bytes

from .plain_server import PlainServer, succeeded

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dfbatch.run import Run

Polars: Any = pl.DataFrame  # its `claude` is unknown to type checkers
EXPIRED = {"type": "expired"}

pytestmark = pytest.mark.filterwarnings("ignore::dfbatch.errors.RowsFailedWarning")


@pytest.fixture
def submit(claude: dfbatch.Anthropic) -> Callable[..., Run]:
    def begin(texts: Any = ("a", "b", "a", None, "c"), prompt: str = "{text}", **options: Any) -> Run:
        options = {"backend": claude, "progress": False} | options
        run: Run = Polars({"text": list(texts)}).claude.submit(prompt, **options)
        return run

    return begin


def told() -> str:
    (line,) = repr(dfbatch.runs()).splitlines()
    return line


def test_a_line_says_what_was_answered_of_all_rows(submit: Any, plain: PlainServer) -> None:
    plain.result = lambda params: EXPIRED if "b" in str(params["messages"]) else succeeded("good")
    run = submit(retries=0, name="topics").wait()
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.record.created))

    assert re.fullmatch(
        rf"{run.id}  {made}  done                 3/5 rows +\$0\.0000035 +[\d.]+ kB"
        r"  claude-haiku-5-5  topics  '\{text\}'",
        told(),
    )
    plain.result = lambda _: succeeded("good")
    run.retry().wait()
    assert " 4/5 rows " in told()


def test_rows_asked_again_of_another_model_count(submit: Any, plain: PlainServer) -> None:
    plain.result = lambda params: EXPIRED if params["model"] == "claude-haiku-5-5" else succeeded("good")
    run = submit(retries=0).wait()
    run.retry(model="claude-sonnet-5-5").wait()

    assert run.counts == {"succeeded": 4, "skipped": 1}
    assert " 4/5 rows " in told()


def test_rows_of_a_run_that_draws_on_another_count_and_their_bytes_do_not(submit: Any, ledger_home: Path) -> None:
    submit([f"row {number}" * 50 for number in range(100)]).wait()
    submit([f"row {number}" * 50 for number in range(100)]).wait()
    second, first, _ = repr(dfbatch.runs()).splitlines()
    sizes = [re.search(r"([\d.]+) kB", line) for line in (second, first)]

    assert " 100/100 rows " in second
    assert [size and float(size[1]) < 25 for size in sizes] == [True, False]


def test_several_runs_have_a_total_in_which_nothing_as_if_is_spent(
    submit: Any, local: dfbatch.Anthropic, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, free = submit(["a"]).wait(), submit(["b"]).wait(), submit(["c"], backend=local).wait()
    paid = dollars(one.cost.spent + two.cost.spent)
    pattern = rf"3 runs: {re.escape(f'{paid} spent, {free.cost}')}; [\d.]+ kB on disk"

    assert re.fullmatch(pattern, repr(dfbatch.runs()).splitlines()[-1])
    assert re.search(f"<p>{pattern}</p>", dfbatch.runs()._repr_html_())
    monkeypatch.setattr("dfbatch.models.Models.find", lambda *_: None)
    assert "3 runs: an unknown sum spent, an unknown sum; " in repr(dfbatch.runs())


def test_one_sample_is_enough_for_a_row(submit: Any, plain: PlainServer) -> None:
    seen: list[Any] = []

    def result(params: dict[str, Any]) -> dict[str, Any]:
        seen.append(params)
        return EXPIRED if len(seen) % 2 else succeeded("good")

    plain.result = result
    run = submit(["a", "b"], samples=3, retries=0).wait()

    assert f" {run.counts.get('succeeded', 0)}/2 rows " in told()


def test_a_long_prompt_is_told_in_short_on_one_line(submit: Any) -> None:
    submit(prompt="Sort this:\n{text}\ninto one of the classes that are named here")

    assert "  'Sort this: {text} into one of the class…'" in told()


def test_who_answered_is_named_where_it_was_not_claude(submit: Any, local: dfbatch.Anthropic) -> None:
    run = submit(backend=local).wait()

    assert run.record.answered_by
    assert told().endswith(f"  {run.record.answered_by}  '{{text}}'")
    assert "claude" not in told()


@pytest.mark.parametrize(
    ("age", "said"), [(1.5, "for 27 days, until"), (28.5, "for 0 days, until"), (30.0, "could be had until")]
)
def test_days_left_are_told_of_what_is_not_collected(submit: Any, plain: PlainServer, age: float, said: str) -> None:
    plain.ending.clear()
    run = submit()
    while run.status != "waiting":
        run._driver.pause(0.01)
    made = datetime.now(UTC) - timedelta(days=age)
    with run._ledger.transaction():
        run._ledger._link.execute("UPDATE batches SET created_at = ?", (made.isoformat(),))
    last = (made + timedelta(days=29)).date()

    assert re.search(rf"waiting .* 0/5 rows .*  \((the )?results [a-z_0-9 ]*{said} {last}\)$", told())
    plain.ending.set()
    run.wait()
    assert "results" not in told()


def test_a_message_and_a_name_cannot_drive_the_terminal(submit: Any) -> None:
    run = submit(name="topics\x1b[2J").wait()
    run._ledger.say(run.id, "paused", "no\nkey")

    assert told().endswith("  topics\\x1b[2J  '{text}'  (no\\nkey)")


def test_a_notebook_shows_the_same_and_nothing_becomes_markup(submit: Any) -> None:
    run = submit(name="<script>alert('x')</script>").wait()
    table = _Cells()
    table.feed(dfbatch.runs()._repr_html_())

    head = ["run", "made", "status", "answered", "spent", "on disk", "answered by", "name", "asked", "note"]
    assert table.cells[:11] == [*head, "go on"]
    assert table.cells[11:16] == [run.id, *told().split("  ")[1:2], "done", "4/5", "$0.0000052"]
    assert table.cells[17:20] == ["claude-haiku-5-5", "<script>alert('x')</script>", "{text}"]
    assert table.cells[21] == f"dfbatch.open('{run.id}').answers()"
    assert "script" not in table.tags


class _Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - HTMLParser's
        self.tags.add(tag)
        if tag in {"td", "th"}:
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        self.cells[-1] += data


def test_a_run_forgotten_since_is_left_out(submit: Any) -> None:
    first, second = submit(["a"]).wait(), submit(["b"]).wait()
    listed = dfbatch.runs()
    first.forget()

    assert repr(listed).startswith(second.id)
    assert len(repr(listed).splitlines()) == 1


def test_nobody_is_asked_and_no_answer_is_judged(submit: Any, plain: PlainServer, monkeypatch: Any) -> None:
    submit().wait()
    before = sum(gate.count for gate in plain.gates.values())
    from dfbatch.run.sheet import Sheet

    monkeypatch.setattr(Sheet, "take", None)

    assert " 4/5 rows " in told()
    assert "4/5" in dfbatch.runs()._repr_html_()
    assert sum(gate.count for gate in plain.gates.values()) == before


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (9_949, "9.9 kB"), (12_345, "12 kB"), (5e15, "5000 TB")],
)
def test_bytes_are_read_at_a_glance(count: float, said: str) -> None:
    assert in_bytes(count) == said
