"""One notebook open in the browser: `Notebook`, what a person does with it and what they see of it.

All waiting is the browser's, for something to be true; how the page is found is `jupyter.py`'s matter.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import nbformat

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Locator, Page

PATIENCE: Final = 60_000.0  # milliseconds: a kernel starts in 2 s, on a busy machine in 20

_KERNEL: Final = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"
_IDLE: Final = f"() => {_KERNEL}?.connectionStatus === 'connected' && {_KERNEL}.status === 'idle'"
# Looking idle is not enough: cells that are run before all of these have come are silently not run.
_READY: Final = """async (app, panel) => {
  await app.restored;
  await panel.context.ready;
  await panel.sessionContext.ready;
  await panel.sessionContext.session.kernel.info;
}"""
_RUN: Final = """async (app, panel, [command, cell]) => {
  if (cell !== null) panel.content.activeCellIndex = cell;
  await app.commands.execute(command);
}"""
_WRITE: Final = """async (app, panel, [cell, source]) => {
  panel.content.widgets[cell].model.sharedModel.setSource(source);
}"""
_SAVE: Final = "(app, panel) => panel.context.save()"
_RESTART: Final = "(app, panel) => panel.sessionContext.session.kernel.restart()"
_THEME: Final = "(app, panel, theme) => app.commands.execute('apputils:change-theme', { theme })"
_SHUT: Final = "(app, panel) => panel.sessionContext.shutdown()"
# A promise is no condition to wait for, and awaited by `evaluate` it would be waited for without end.
_START: Final = """([slot, text, argument]) => {
  const app = window.jupyterapp;
  const told = window[slot] = {};
  const promise = Promise.resolve((0, eval)(text)(app, app.shell.currentWidget, argument));
  promise.then(() => { told.over = true; }, (error) => { told.over = true; told.error = String(error); });
}"""
_OVER: Final = "(slot) => window[slot].over"
_ERROR: Final = "(slot) => window[slot].error ?? ''"
_CELLS: Final = "dfbatchCells"  # how running them went; apart from acts, so that one may save while they run
_ACT: Final = "dfbatchAct"

_FORMS: Final = """(cell) => {
  const outputs = window.jupyterapp.shell.currentWidget.content.widgets[cell].model.outputs.toJSON();
  return outputs.filter((output) => output.data).map((output) => Object.keys(output.data).sort());
}"""
WIDGET: Final = "application/vnd.jupyter.widget-view+json"
STATIC: Final = ["text/html", "text/plain"]


def written(path: Path, kernel: str, *cells: str) -> Path:
    """A new notebook of code cells on disk."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
        metadata={"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}},
    )
    nbformat.write(notebook, path)
    return path


class Notebook:
    """The notebook at `url` in one page; its file is `path`. Cells are counted from 0."""

    def __init__(self, page: Page, url: str, path: Path, shots: Path) -> None:
        self.page = page
        self.path = path
        self.dialogs: list[str] = []
        self._url = url
        self._shots = shots
        page.set_default_timeout(PATIENCE)
        page.on("dialog", self._answer)

    # ---------------------------------------------------------------- doing

    def open(self) -> None:
        """Open it and wait for its kernel."""
        self.page.goto(self._url)
        self.connected()

    def connected(self) -> None:
        """Wait until the kernel is there, listens, and does nothing."""
        self.page.wait_for_function(_IDLE)
        self._do(_READY)
        self.page.wait_for_function(_IDLE)

    def start(self, cell: int | None = None) -> None:
        """Start all cells, or one, and do not wait."""
        command = "notebook:run-all-cells" if cell is None else "notebook:run-cell"
        self._begin(_CELLS, _RUN, [command, cell])

    def ended(self) -> None:
        """Wait until what was started has ended, well or not."""
        self._over(_CELLS)

    def run(self, cell: int | None = None) -> None:
        """Start all cells, or one, and wait for the end."""
        self.start(cell)
        self.ended()

    def click(self, name: str) -> None:
        """Click the button of this name among the outputs."""
        self.page.locator(".jp-OutputArea").get_by_role("button", name=name).click()

    def interrupt(self) -> None:
        """Press the toolbar's stop button."""
        self.page.locator('.jp-NotebookPanel-toolbar [data-jp-item-name="interrupt"]').click()

    def write(self, cell: int, source: str) -> None:
        """Write other code into a cell."""
        self._do(_WRITE, [cell, source])

    def restart(self) -> None:
        """Restart the kernel and wait for the new one."""
        self._do(_RESTART)
        self.connected()

    def theme(self, name: str) -> None:
        """Choose how the application looks."""
        self._do(_THEME, name)

    def save(self) -> Any:
        """Save it; what is on disk then."""
        self._do(_SAVE)
        return json.loads(self.path.read_text("utf-8"))

    def reload(self) -> None:
        """Save, and open anew, as on another day; the kernel goes on."""
        self.save()
        self.open()

    def close(self) -> None:
        """End its kernel."""
        self._do(_SHUT)

    # --------------------------------------------------------------- seeing

    def outputs(self, cell: int) -> Locator:
        """The outputs below a cell, each an element."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(cell).locator(".jp-OutputArea-output")

    def forms(self, cell: int) -> list[list[str]]:
        """In which forms (mime types) the notebook holds each rich output of a cell now."""
        forms: list[list[str]] = self.page.evaluate(_FORMS, cell)
        return forms

    def sees(self, text: str, cell: int = 0) -> None:
        """Wait until a text shows below a cell."""
        self.outputs(cell).filter(has_text=text).first.wait_for()

    def text(self, cell: int) -> str:
        """All text below a cell."""
        return "\n".join(self.outputs(cell).all_inner_texts())

    def html(self, cell: int) -> str:
        """All markup below a cell."""
        return "\n".join(output.inner_html() for output in self.outputs(cell).all())

    def moves(self, cell: int = 0) -> None:
        """Wait until what is shown below a cell changes."""
        seen = self.outputs(cell).first
        before = seen.inner_text()
        handle = seen.element_handle()
        self.page.wait_for_function("([shown, before]) => shown.innerText !== before", arg=[handle, before])

    def barriers(self, cell: int) -> list[str]:
        """What the outputs of a cell put in the way of people who see, hear or move differently, as axe finds it."""
        from axe_playwright_python.sync_playwright import Axe

        found: list[dict[str, Any]] = []
        for output in self.outputs(cell).all():
            output.evaluate("(element) => { element.dataset.audited = 'now'; }")
            found += Axe().run(self.page, context="[data-audited]").response["violations"]
            output.evaluate("(element) => { delete element.dataset.audited; }")
        return [f"{rule['id']}: {node['html']}" for rule in found for node in rule["nodes"]]

    def screenshot(self, name: str) -> None:
        """Keep a picture of the page."""
        self.page.screenshot(path=self._shots / f"{name}.png")

    def picture(self, name: str, cell: int) -> None:
        """Keep a picture of what is below a cell alone."""
        self.page.locator(".jp-Notebook .jp-Cell").nth(cell).locator(".jp-OutputArea").screenshot(
            path=self._shots / f"{name}.png"
        )

    def _do(self, text: str, argument: Any = None) -> None:
        """Do something with the application's own objects and wait until it is done."""
        self._begin(_ACT, text, argument)
        self._over(_ACT)

    def _begin(self, slot: str, text: str, argument: Any) -> None:
        self.page.evaluate(_START, [slot, text, argument])

    def _over(self, slot: str) -> None:
        self.page.wait_for_function(_OVER, arg=slot)
        error = self.page.evaluate(_ERROR, slot)
        assert not error, error

    def _answer(self, dialog: Any) -> None:
        """A dialog of the page's own is noted; that of leaving it is the browser's."""
        if dialog.type != "beforeunload":
            self.dialogs.append(dialog.message)
        dialog.accept()
