"""What must be so in every kernel, whatever its ipykernel does with clicks: the stop button detaches."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from . import kernels
from .notebook import STATIC

if TYPE_CHECKING:
    from collections.abc import Callable

    from dfbatch.emulator import Server

    from .notebook import Notebook

WHICH = "import ipykernel, pandas as pd, dfbatch; print(ipykernel.__version__)"
BLOCKS = """\
frame = pd.DataFrame({{"text": ["{0} a", "{0} b"]}})
out = frame.claude.batch("{{text}}", into="label")"""
GOES_ON = "run = dfbatch.last_run(); was = run.status; run.wait(timeout=60); print(was, 'then', run.status)"
OPENS = "import dfbatch; run = dfbatch.open('RUN'); print('new kernel:', run.status, list(run.answers()['label']))"


def names() -> list[Any]:
    """The releases of the matrix, and the one of this environment where it is none of them."""
    first, between, last = kernels.RELEASES
    rest = [] if kernels.release(kernels.OWN) in kernels.RELEASES else [kernels.OWN]
    return [first, pytest.param(between, marks=pytest.mark.full), last, *rest]


@pytest.mark.parametrize("kernel", names())
def test_the_stop_button_detaches_the_run_ends_by_itself_and_opens_in_a_new_kernel(
    kernel: str, opened: Callable[..., Notebook], emulator: Server, release: Callable[[], None]
) -> None:
    book = opened(WHICH, BLOCKS.format(f"stop {kernel}"), GOES_ON, kernel=kernel)
    book.run(0)
    cancels = emulator.usage()["calls"].get("cancel", 0)
    book.start(1)
    book.sees("waiting for 1 batch", 1)
    book.interrupt()
    book.ended()
    book.sees("Detached", 1)
    book.screenshot(f"detached-{kernel}")

    assert book.text(0).strip() == kernels.release(kernel)
    assert book.forms(1) == [STATIC]
    assert "1 of 1 chunks sent" in book.text(1)
    assert "Traceback" not in book.text(1)
    assert emulator.usage()["calls"].get("cancel", 0) == cancels

    release()
    book.run(2)

    assert "waiting then done" in book.text(2)

    found = re.search(r"dfbatch\.open\('(\w+)'\)", book.text(1))
    assert found
    book.restart()
    book.write(2, OPENS.replace("RUN", found[1]))
    book.run(2)

    assert f"new kernel: done ['stop {kernel} a', 'stop {kernel} b']" in book.text(2)
