"""One emulator, one Jupyter server and one browser for all tests here; each test opens a notebook of its own.

They last as long as this folder's tests and no longer: playwright's event loop is the main thread's meanwhile.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from dfbatch.emulator import Server

from . import chromium, kernels
from .jupyter import Jupyter
from .notebook import Notebook, written

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from playwright.sync_api import BrowserContext

SHOTS: Final = os.environ.get("DFBATCH_SCREENSHOTS", "")
HOUR: Final = 3600
FAILED: Final = pytest.StashKey[bool]()


@pytest.fixture(scope="package")
def emulator() -> Iterator[Server]:
    """Answers with what it is asked, an hour after it was asked; the hour passes when `release` is called."""
    with Server(_echo, engine_name="an echo", law=f"fixed:{HOUR}") as server:
        yield server


@pytest.fixture
def release(emulator: Server) -> Callable[[], None]:
    """Ends all batches that were sent so far."""
    return lambda: emulator.advance(HOUR)


@pytest.fixture(scope="package")
def chrome() -> Iterator[BrowserContext]:
    """The browser; without one these tests are skipped, or fail where make has seen to it that there is one."""
    if why := chromium.missing():
        if chromium.MUST:
            pytest.fail(why)
        pytest.skip(why)
    with chromium.launched() as context:
        yield context


@pytest.fixture(scope="package")
def jupyter(chrome: BrowserContext, emulator: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    """The server; asked for after the browser, so that nothing starts where there is none."""
    folder = tmp_path_factory.mktemp("jupyter")
    environment = {
        "ANTHROPIC_BASE_URL": emulator.url,
        "ANTHROPIC_API_KEY": "emulator",
        "DFBATCH_HOME": str(folder / "ledger"),
    }
    with Jupyter(folder, environment) as server:
        yield server


@pytest.fixture(scope="package")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures go."""
    folder = Path(SHOTS) if SHOTS else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def opened(
    jupyter: Jupyter, chrome: BrowserContext, shots: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Notebook]]:
    """Opens a notebook of the given cells, named after the test: `opened(*cells, kernel=…, classic=…)`."""
    books: list[Notebook] = []

    def open_(*cells: str, kernel: str = kernels.OWN, classic: bool = False) -> Notebook:
        name = f"{request.node.name}-{len(books)}.ipynb".replace("[", "-").replace("]", "")
        path = written(jupyter.root / name, kernel, *cells)
        url = jupyter.classic(name) if classic else jupyter.lab(name)
        books.append(Notebook(chrome.new_page(), url, path, shots))
        books[-1].open()
        return books[-1]

    yield open_
    for book in books:
        if request.node.stash.get(FAILED, False):
            book.screenshot(f"failed-{book.path.stem}")
        book.close()
        book.page.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell fixtures that their test failed, while its page is still there."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How long each took; or, so that nobody overlooks it, that none was run."""
    for report in [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]:
        if report.when == "call" and "/browser/" in report.nodeid:
            terminalreporter.write_line(f"{report.duration:6.1f} s  {report.nodeid.rpartition('/')[2]}")
    if why := chromium.missing():
        terminalreporter.write_line(f"NO BROWSER: tests/browser is not run: {why}", red=True, bold=True)


def _echo(params: dict[str, Any]) -> Any:
    return params["messages"][-1]["content"]
