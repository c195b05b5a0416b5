"""The notebooks: as they are saved in the repository, and as they run on this machine with the local model."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
FIRST, PROJECT = FOLDER / "01_first_labels.ipynb", FOLDER / "02_label_a_table.ipynb"
TOPICS = {"business", "entertainment", "politics", "sports", "tech"}


@pytest.fixture(scope="module")
def saved() -> Any:
    """The notebook as it is committed."""
    return json.loads(FIRST.read_text("utf-8"))


@pytest.fixture(scope="module")
def project() -> Any:
    """The second one as it is committed."""
    return json.loads(PROJECT.read_text("utf-8"))


@pytest.fixture(params=[FIRST, PROJECT], ids=lambda path: path.stem)
def any_saved(request: pytest.FixtureRequest) -> Any:
    """Each of them."""
    return json.loads(request.param.read_text("utf-8"))


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a kernel that is this very interpreter, whatever else is installed; nothing outside is touched."""
    folder = tmp_path / "jupyter"
    (folder / "kernels" / "dfbatch-test").mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    about = {"argv": argv, "display_name": "test", "language": "python"}
    (folder / "kernels" / "dfbatch-test" / "kernel.json").write_text(json.dumps(about), "utf-8")
    for name in ("JUPYTER_PATH", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(folder))
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent))
    return "dfbatch-test"


def executed(kernel: str, path: Path) -> Any:
    """A notebook after a headless run of all cells, as it would be saved."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    NotebookClient(notebook, timeout=300, kernel_name=kernel, record_timing=False).execute()
    return json.loads(nbformat.writes(notebook))


def code(notebook: Any) -> dict[str, Any]:
    """The code cells by their id."""
    return {cell["id"]: cell for cell in notebook["cells"] if cell["cell_type"] == "code"}


def shown(cell: Any, mime: str = "text/html") -> str:
    """All that a cell shows in one form."""
    return "\n".join("".join(output["data"].get(mime, "")) for output in cell["outputs"] if "data" in output)


def shape(notebook: Any) -> dict[str, list[tuple[str, ...]]]:
    """What kinds of output each cell has."""
    return {
        name: [(output["output_type"], *sorted(output.get("data", {}))) for output in cell["outputs"]]
        for name, cell in code(notebook).items()
    }


def check_summary(cell: Any, who: str) -> None:
    """One static summary, and nothing that needs a live kernel or a front end to be read."""
    (output,) = [output for output in cell["outputs"] if output["output_type"] == "display_data"]
    html = "".join(output["data"]["text/html"])

    assert not [mime for mime in output["data"] if "widget" in mime]
    assert re.search(r"<strong>dfbatch run [0-9a-f]{8}</strong>: done after", html)
    assert f"answered by {who}, not Claude" in html
    assert "20 (20 requests" in html
    assert re.search(r"succeeded</td><td[^>]*>20</td>", html)
    assert not re.search(r"<script|<style|<link|javascript:|https?:", html)


def check_story(notebook: Any, who: str = "SmolLM2") -> None:
    """What the notebook promises its reader, whoever answers."""
    cells = code(notebook)
    check_summary(cells["ask"], who)
    check_summary(cells["again"], who)
    assert "20 rows reused from the ledger" in shown(cells["again"])
    assert shown(cells["again"], "text/plain").endswith("True")
    headers = re.findall(r"<th>(\w+)</th>", shown(cells["look"]))
    assert [name for name in headers if name.isalpha()] == ["title", "truth", "topic", "confidence"]
    told = re.findall(r"<td>([^<]*)</td>", shown(cells["look"]))
    assert len(told) == 80
    assert set(told[1::4]) | set(told[2::4]) <= TOPICS
    assert set(told[3::4]) <= {"low", "medium", "high"}
    types = shown(cells["types"], "text/plain").splitlines()
    assert [line.split() for line in types[:2]] == [["topic", "category"], ["confidence", "category"]]
    assert "null in column" in shown(cells["run"])
    assert shown(cells["counts"], "text/plain") == "{'succeeded': 4, 'skipped': 1}"
    assert re.findall(r"<small>shape: (.*?)</small>", shown(cells["polars"])) == ["(5, 4)"]
    assert shown(cells["polars"]).count("<td>enum</td>") == 2


def rights(notebook: Any) -> dict[str, tuple[int, int]]:
    """The table of accuracies: right answers, and of how many."""
    table = shown(code(notebook)["compare"], "text/plain")
    rows = re.findall(r"(five examples|no example)\s+(\d+)\s+(\d+)", table)
    return {name: (int(right), int(of)) for name, right, of in rows}


def test_a_saved_notebook_is_executed_in_order_and_without_errors(any_saved: Any) -> None:
    cells = list(code(any_saved).values())

    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell["outputs"] for cell in cells)
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert kinds <= {"display_data", "execute_result", "stream"}
    assert {output.get("name", "stdout") for cell in cells for output in cell["outputs"]} == {"stdout"}


def test_a_saved_notebook_keeps_nothing_of_the_machine_no_widgets_and_no_article(any_saved: Any) -> None:
    text = json.dumps(any_saved, ensure_ascii=False)

    assert "widgets" not in any_saved["metadata"]
    assert "widget-view" not in text
    assert not re.search(r"/(home|root|tmp|work|Users|usr|var)/|[A-Z]:\\\\|127\.0\.0\.1|localhost", text)
    assert "<script" not in text
    assert any_saved["metadata"]["kernelspec"]["name"] == "python3"
    assert {key for cell in any_saved["cells"] for key in cell["metadata"]} == set()
    assert len(text) < 60_000


def test_the_saved_notebook_tells_its_story(saved: Any) -> None:
    check_story(saved)


def test_the_saved_notebook_sets_few_shot_beside_zero_shot(saved: Any) -> None:
    found = rights(saved)

    assert {of for _, of in found.values()} == {20}
    assert found["five examples"] > found["no example"]


def test_the_notebook_runs_headless_on_answers_made_up_and_has_the_same_shape(
    kernels: str, saved: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DFBATCH_ENGINE", "sample")
    notebook = executed(kernels, FIRST)

    check_story(notebook, "the sample engine")
    assert shape(notebook) == shape(saved)
    assert rights(notebook).keys() == rights(saved).keys()


@pytest.mark.model
@pytest.mark.full
def test_the_notebook_runs_headless_on_the_local_model_and_comes_out_as_it_is_saved(kernels: str, saved: Any) -> None:
    notebook = executed(kernels, FIRST)

    check_story(notebook)
    assert "metadata" in notebook
    assert "widgets" not in notebook["metadata"]
    assert shape(notebook) == shape(saved)
    assert rights(notebook).keys() == rights(saved).keys()


def check_project(notebook: Any) -> None:
    """What the second notebook promises, whoever answers."""
    cells = code(notebook)
    plan = shown(cells["plan"])
    summary = shown(cells["reopen"])
    cost = shown(cells["cost"], "text/plain")

    assert "48 ask something" in plan
    assert "at most $" in plan
    assert "4 of 48 answered already, history of 4 answers" in shown(cells["planned"], "text/plain")
    assert re.search(r"<strong>dfbatch run [0-9a-f]{8} “topics of the news”</strong>: done after", summary)
    assert "share (95 % interval)" in summary
    assert summary.count("<img alt=") == 6  # one for the outcomes, one a label
    assert not re.search(r"<script|<style|<link|javascript:|https?:", summary.replace("http://www.w3.org/2000/svg", ""))
    assert shown(cells["cut"], "text/plain") == "{'truncated': 6}"
    assert shown(cells["failures"], "text/plain").count("cut short: max_tokens") == 6
    assert "'succeeded': " in shown(cells["retry"], "text/plain")
    assert re.search(r"foretold .* by 40 answers of this run; off by [+-]?\d", cost)
    assert "saved by batch" in cost
    assert shown(cells["runs"], "text/html").count("<tr>") >= 4
    assert re.search(r"\d+ of 48 right: \d+%, with 95 % confidence between", shown(cells["accuracy"], "text/plain"))


def test_the_saved_project_tells_its_story_and_is_mostly_right(project: Any) -> None:
    check_project(project)
    right = re.search(r"(\d+) of 48 right", shown(code(project)["accuracy"], "text/plain"))

    assert right
    assert int(right[1]) > 36
    assert "answered by SmolLM2, not Claude" in shown(code(project)["reopen"])


def test_the_project_runs_headless_on_answers_made_up_and_has_the_same_shape(
    kernels: str, project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DFBATCH_ENGINE", "sample")
    notebook = executed(kernels, PROJECT)

    check_project(notebook)
    assert shape(notebook) == shape(project)


@pytest.mark.model
@pytest.mark.full
def test_the_project_runs_headless_on_the_local_model_and_comes_out_as_it_is_saved(kernels: str, project: Any) -> None:
    notebook = executed(kernels, PROJECT)

    check_project(notebook)
    assert shape(notebook) == shape(project)
