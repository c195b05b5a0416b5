"""The panel in a real kernel (ipykernel, driven by nbclient as in a headless run), and what it hands to the browser."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

from dfbatch.progress import BatchMark, Snapshot, browser, drawing

ROOT = Path(__file__).parents[2]
VIEW = "application/vnd.jupyter.widget-view+json"

SHOW = """
from dataclasses import replace
from dfbatch.progress import BatchMark, Snapshot
from dfbatch.progress.choose import display
bad = "<script>alert('x')</script>"
half = Snapshot("7f3a", bad, "waiting", bad, bad, 1000, 960, 0, {"succeeded": 597, "pending": 403},
                (BatchMark("1", "waiting", 960, 61.0, "msgbatch_01"),), 61.0, bad, bad)
shown = display('auto')
shown.show(half)
"""
CLOSE = """
shown.close(replace(half, status="done", counts={"succeeded": 990, "refused": 10}, message=""))
"""
AUTO = "display('auto')"
LIVE = f"from dfbatch.progress.panel import Panel{SHOW.replace(AUTO, 'Panel()')}"
COMMS = "from ipywidgets.widgets.widget import _instances; print(len(_instances))"


@pytest.mark.parametrize("shown", ["display('auto')", "Panel()", "Panel(alive=False)"])
def test_a_saved_notebook_keeps_the_static_summary_and_no_widget(shown: str, tmp_path: Path) -> None:
    made = f"from dfbatch.progress.panel import Panel{SHOW.replace(AUTO, shown)}"
    saved = _run([made + CLOSE, COMMS], tmp_path)
    page, comms = saved.cells[0].outputs[0].data, saved.cells[1].outputs[0].text

    assert [len(saved.cells[0].outputs), sorted(page)] == [1, ["text/html", "text/plain"]]
    assert "990" in page["text/html"]
    assert "msgbatch_01" in page["text/html"]
    assert "dfbatch.open('7f3a')" in page["text/plain"]
    assert "&lt;script&gt;alert" in page["text/html"]
    assert "<script" not in page["text/html"]
    assert "alert('x')" not in json.dumps(saved.metadata)
    assert comms.strip() == "0"


BEGIN = """
import pandas as pd, dfbatch
from dfbatch.testing import answers
with answers(lambda params: "sport"):
    run = pd.DataFrame({"text": ["A goal!"]}).claude.submit("{text}")
"""
WAIT = """
import time
import pandas as pd, dfbatch
from dfbatch.emulator import Server
server = Server(engine=lambda params: time.sleep(1) or "sport").__enter__()
backend = dfbatch.Anthropic(api_key="k", base_url=server.url)
run = pd.DataFrame({"text": ["A goal!"]}).claude.submit("{text}", backend=backend)
run.wait()
"""


def test_a_run_that_a_cell_has_waited_for_is_not_printed_below_its_summary(tmp_path: Path) -> None:
    """`run.wait()` gives the run back: as the last line of a cell it would stand there twice. Alone it is shown."""
    saved = _run([WAIT, "run", "server.__exit__(None, None, None)"], tmp_path)
    pages = [[out for out in cell.outputs if "text/html" in out.get("data", {})] for cell in saved.cells]

    assert [len(shown) for shown in pages] == [1, 1, 0]
    assert all("done" in shown[0].data["text/html"] for shown in pages[:2])


def test_an_error_shows_the_lines_of_the_notebook_alone(tmp_path: Path) -> None:
    cell = BEGIN.replace("{text}", "{txt}")
    with pytest.raises(nbclient.exceptions.CellExecutionError) as caught:
        _run([cell], tmp_path)
    told = caught.value.traceback

    assert "\nTraceback (most recent call last):\n" in told
    assert 'claude.submit("{txt}")' in told
    assert "UnknownColumn: no column 'txt' in the frame" in told
    assert "Hint: did you mean {text}?" in told
    assert "accessor.py" not in told


def test_an_error_in_the_users_own_function_shows_where(tmp_path: Path) -> None:
    cell = BEGIN.replace('"{text}"', "ask").replace("with answers", "def ask(row):\n    return 1 / 0\nwith answers")
    with pytest.raises(nbclient.exceptions.CellExecutionError) as caught:
        _run([cell], tmp_path)

    assert "return 1 / 0" in caught.value.traceback
    assert "The above exception was the direct cause" in caught.value.traceback
    assert "PromptError: the prompt function raised ZeroDivisionError" in caught.value.traceback


def test_a_notebook_run_by_no_one_has_no_widget_state_either(tmp_path: Path) -> None:
    assert "widgets" not in _run([SHOW + CLOSE], tmp_path).metadata
    assert "widgets" in _run([LIVE + CLOSE], tmp_path).metadata  # what nbclient does with a widget, closed or not


def test_a_notebook_without_a_person_is_redrawn_while_it_runs(tmp_path: Path) -> None:
    twice = (
        SHOW
        + """
from dfbatch.progress.pace import Pace
from dfbatch.progress.panel import Panel
now = 0.0
shown = Panel(Pace(clock=lambda: now), alive=False)
shown.show(half)
now = 2.0
shown.show(replace(half, counts={"succeeded": 612, "pending": 388}))
"""
    )
    saved = _run([twice], tmp_path)

    assert ["612" in output.data["text/html"] for output in saved.cells[0].outputs] == [False, True]


def test_a_notebook_whose_kernel_never_came_to_the_end_still_says_how_to_come_back(tmp_path: Path) -> None:
    page = _run([LIVE], tmp_path).cells[0].outputs[0].data

    assert sorted(page) == [VIEW, "text/html", "text/plain"]
    assert "dfbatch.open('7f3a')" in page["text/plain"]


def test_a_run_that_is_over_before_anything_was_shown_leaves_its_summary(tmp_path: Path) -> None:
    saved = _run([SHOW.replace("shown.show(half)", "") + CLOSE], tmp_path)

    assert sorted(saved.cells[0].outputs[0].data) == ["text/html", "text/plain"]


def test_a_kernel_without_anywidget_gets_lines_and_one_that_says_why(tmp_path: Path) -> None:
    saved = _run(["import sys; sys.modules['anywidget'] = None" + SHOW + CLOSE], tmp_path)
    lines = "".join(output.text for output in saved.cells[0].outputs).splitlines()

    assert lines[0].startswith("dfbatch: a plainer display follows (ModuleNotFoundError: ")
    assert "waiting for 1 batch · 597/1,000 rows" in lines[1]
    assert "done · 1,000/1,000 rows" in lines[2]
    assert len(lines) == 3


def test_the_widget_is_told_at_most_once_a_second(tmp_path: Path) -> None:
    count = """
from dfbatch.progress.pace import Pace
from dfbatch.progress.panel import Panel
now, told = 0.0, []
shown = Panel(Pace(clock=lambda: now))
for step in range(100):
    now = step / 10
    shown.show(replace(half, elapsed=now))
    told.append(shown._widget.state["elapsed"])
print(sorted(set(told), key=told.index))
"""
    saved = _run([SHOW + CLOSE, count], tmp_path)
    printed = "".join(output.text for output in saved.cells[1].outputs if output.output_type == "stream")

    assert printed.strip() == str([f"{second} s" for second in range(10)])


def test_the_bar_speaks_of_rows_that_have_an_outcome_and_of_nothing_else(halfway: Snapshot) -> None:
    said = drawing.state(halfway)

    assert (said["done"], said["rows"]) == (597, 1000)
    assert said["spoken"] == ("597 of 1,000 rows have an outcome: 590 succeeded, 7 refused; waiting for 2 batches")


def test_every_part_of_the_bar_has_its_word_and_sign_beside_the_colour(halfway: Snapshot) -> None:
    parts = drawing.state(halfway)["parts"]

    assert [(part["sign"], part["count"], part["name"]) for part in parts] == [
        ("✓", "590", "succeeded"),
        ("⊘", "7", "refused"),
        ("·", "403", "pending"),
    ]
    assert sum(part["width"] for part in parts) == pytest.approx(100)


def test_every_batch_has_a_mark_with_its_state_and_age(halfway: Snapshot) -> None:
    assert [mark["text"] for mark in drawing.state(halfway)["marks"]] == [
        "1: done",
        "2: waiting 2 min",
        "3: waiting 1 min",
    ]
    assert drawing.state(halfway)["marks"][1]["title"] == "240 requests, msgbatch_02"


def test_a_thousand_batches_are_counted_instead_of_drawn(halfway: Snapshot) -> None:
    states = ["done"] * 700 + ["waiting"] * 60 + ["failed"] + ["planned"] * 239
    marks = tuple(BatchMark(str(at), state, 1) for at, state in enumerate(states))  # type: ignore[arg-type]  # all valid
    said = drawing.state(replace(halfway, batches=marks))

    assert said["more"] == "and 239 planned, 21 waiting, 700 done"
    assert [mark["state"] for mark in said["marks"]] == ["failed", *["waiting"] * 39]


def test_all_that_is_handed_over_is_one_small_json_value(halfway: Snapshot) -> None:
    marks = tuple(BatchMark(str(at), "waiting", 1, 1.0, f"msgbatch_{at:024}") for at in range(10_000))
    said = drawing.state(replace(halfway, batches=marks))

    assert json.loads(json.dumps(said)) == said
    assert len(json.dumps(said)) < 8192


def test_the_drawing_never_parses_text_as_markup() -> None:
    source = browser.ESM

    assert not [
        word for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(") if word in source
    ]
    assert "http" not in source + browser.CSS


HEAR = """
class Noted:
    blocks, held, said = True, False, []
    def cancel(self): self.said.append("cancel")
    def detach(self): self.said.append("detach")
    def hold(self): self.said.append("hold")
    def send(self): self.said.append("send")
from dfbatch.progress.pace import Pace
from dfbatch.progress.panel import Panel
now = 0.0
shown = Panel(Pace(clock=lambda: now), controls=Noted())
shown.show(half)
widget = shown._widget
def click(word):
    shown._hear(widget, {"say": word}, [])
"""


def test_buttons_are_alive_once_the_panel_has_said_hello(tmp_path: Path) -> None:
    said = HEAR + "before = widget.state['live']; click('hello'); print(before, widget.state['live'])"

    assert _printed(_run([SHOW + CLOSE, said], tmp_path)) == "False True"


def test_what_is_clicked_is_done_while_the_panel_is_shown_and_never_after(tmp_path: Path) -> None:
    said = (
        HEAR
        + """
for word in ("cancel", "detach", "hold", "send", "__class__", None): click(word)
shown._hear(widget, "cancel", [])
shown.close(half)
for word in ("cancel", "hello"): click(word)
print(Noted.said)
"""
    )

    assert _printed(_run([SHOW + CLOSE, said], tmp_path)) == "['cancel', 'detach', 'hold', 'send']"


class _Controls:
    blocks, held = True, False

    def cancel(self) -> None: ...

    def detach(self) -> None: ...

    def hold(self) -> None: ...

    def send(self) -> None: ...


def _labels(snapshot: Snapshot, **said: Any) -> list[str]:
    controls = _Controls()
    for name, value in said.items():
        setattr(controls, name, value)
    return [button["label"] for button in drawing.state(snapshot, controls=controls)["buttons"]]


def test_only_what_can_be_done_now_is_offered(halfway: Snapshot, ended: Snapshot) -> None:
    unsent = replace(halfway, batches=(BatchMark("1", "planned", 600),))

    assert _labels(halfway) == ["Cancel", "Detach"]
    assert _labels(halfway, blocks=False) == ["Cancel"]
    assert _labels(unsent) == ["Cancel", "Detach", "Pause new chunks"]
    assert _labels(unsent, held=True) == ["Cancel", "Detach", "Send the rest"]
    assert _labels(halfway, held=True) == ["Cancel", "Detach", "Send the rest"]
    assert _labels(ended) == drawing.state(halfway)["buttons"] == []


def test_what_cannot_be_undone_is_asked_about_with_what_it_means(halfway: Snapshot) -> None:
    asked = {button["say"]: button["ask"] for button in drawing.state(halfway, controls=_Controls())["buttons"]}

    assert asked == {
        "cancel": "Cancel 1,000 rows? What is answered is kept and paid; nothing else is sent.",
        "detach": "",
    }


def test_money_is_told_as_far_as_it_is_known(halfway: Snapshot) -> None:
    rich = replace(halfway, reserved="$2.00", forecast="$1.10 to $1.60", saved=(("batches", "$0.41"),), retries=3)

    assert drawing.state(halfway)["money"] == ["spent $0.41 as-if"]
    assert drawing.state(rich)["money"] == [
        "spent $0.41 as-if",
        "reserved $2.00",
        "forecast $1.10 to $1.60",
        "$0.41 saved by batches",
    ]
    assert drawing.state(rich)["facts"][-1] == "3 requests asked again"


def _printed(saved: Any) -> str:
    return "".join(out.text for out in saved.cells[1].outputs if out.output_type == "stream").strip()


def _run(cells: list[str], folder: Path) -> Any:
    """Execute cells in a kernel of this very interpreter, with a home of its own."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = nbclient.NotebookClient(
        book, kernel_name="python3", timeout=120, resources={"metadata": {"path": str(ROOT)}}
    )
    return client.execute(env={**os.environ, "IPYTHONDIR": str(folder)})
