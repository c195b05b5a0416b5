"""Which browser the tests drive: the Chromium of this machine, through playwright, without a window.

playwright's own builds are not used: they come from no package registry.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import BrowserContext

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
PACKAGES: Final = ("jupyterlab", "notebook", "playwright", "axe_playwright_python")
MUST: Final = os.environ.get("DFBATCH_BROWSER") == "1"
"""Set by make where a browser is: there these tests fail where they cannot run. Read before tests hide DFBATCH_*."""
FLAGS: Final = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu")


def missing() -> str:
    """What keeps these tests from running here, in one line; empty where nothing does."""
    if not executable():
        return "no chromium on this machine: apt-get install chromium"
    absent = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    return f'not installed: {", ".join(absent)}: pip install -e ".[browser]"' if absent else ""


def executable() -> str:
    """The path of the first one found, or nothing."""
    return next(filter(None, map(shutil.which, NAMES)), "")


@contextmanager
def launched() -> Iterator[BrowserContext]:
    """A browser without a window, as one person's: what one page has fetched is there for the next.

    Its event loop is this thread's as long as it lives.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=list(FLAGS))
        yield browser.new_context(viewport={"width": 1200, "height": 800})
        browser.close()
