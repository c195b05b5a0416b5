"""The notebooks: as they are saved in the repository, and as they run on this machine with the local model."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "01_first_labels.ipynb"
TOPICS = {"business", "entertainment", "politics", "sports", "tech"}


@pytest.fixture(scope="module")
def saved() -> Any:
    """The notebook as it is committed."""
    return json.loads(NOTEBOOK.read_text("utf-8"))


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
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parent.parent))
    return "dfbatch-test"


def executed(kernel: str) -> Any:
    """The notebook after a headless run of all cells, as it would be saved."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
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


def check_summary(cell: Any) -> None:
    """One static summary, and nothing that needs a live kernel or a front end to be read."""
    (output,) = [output for output in cell["outputs"] if output["output_type"] == "display_data"]
    html = "".join(output["data"]["text/html"])

    assert not [mime for mime in output["data"] if "widget" in mime]
    assert re.search(r"<strong>dfbatch run [0-9a-f]{8}</strong>: done after", html)
    assert "answered by SmolLM2, not Claude" in html
    assert "20 (20 requests" in html
    assert re.search(r"succeeded</td><td[^>]*>20</td>", html)
    assert not re.search(r"<script|<style|<link|javascript:|https?:", html)


def check_story(notebook: Any) -> None:
    """What the notebook promises its reader."""
    cells = code(notebook)
    check_summary(cells["ask"])
    check_summary(cells["again"])
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


def test_the_saved_notebook_is_executed_in_order_and_without_errors(saved: Any) -> None:
    cells = list(code(saved).values())

    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell["outputs"] for cell in cells)
    assert {output["output_type"] for cell in cells for output in cell["outputs"]} <= {"display_data", "execute_result"}


def test_the_saved_notebook_keeps_nothing_of_the_machine_no_widgets_and_no_article(saved: Any) -> None:
    text = json.dumps(saved, ensure_ascii=False)

    assert "widgets" not in saved["metadata"]
    assert "widget-view" not in text
    assert not re.search(r"/(home|root|tmp|work|Users|usr|var)/|[A-Z]:\\\\|127\.0\.0\.1|localhost", text)
    assert "<script" not in text
    assert saved["metadata"]["kernelspec"]["name"] == "python3"
    assert {key for cell in saved["cells"] for key in cell["metadata"]} == set()
    assert len(text) < 60_000


def test_the_saved_notebook_tells_its_story(saved: Any) -> None:
    check_story(saved)


def test_the_saved_notebook_sets_few_shot_beside_zero_shot(saved: Any) -> None:
    found = rights(saved)

    assert {of for _, of in found.values()} == {20}
    assert found["five examples"] > found["no example"]


@pytest.mark.model
def test_the_notebook_runs_headless_on_the_local_model_and_comes_out_as_it_is_saved(kernels: str, saved: Any) -> None:
    notebook = executed(kernels)

    check_story(notebook)
    assert "metadata" in notebook
    assert "widgets" not in notebook["metadata"]
    assert shape(notebook) == shape(saved)
    assert rights(notebook).keys() == rights(saved).keys()
