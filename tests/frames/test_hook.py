"""The import hook: told once, in either order, from any thread, and gone without a trace afterwards."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

HOOK = Path(__file__).parents[2] / "dfbatch" / "frames" / "hook.py"

# the file by itself: `import dfbatch` listens for both libraries already, and its hook stays until both are there
HEAD = """
import importlib.util
spec = importlib.util.spec_from_file_location("hook", {hook!r})
hook = sys.modules["hook"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hook)
told = []
def listen(*names):
    for name in names:
        hook.when_imported(name, lambda module: told.append((module.__name__, hasattr(module, "DataFrame"))))
def hooks():
    return [finder for finder in sys.meta_path if type(finder).__module__ == "hook"]
"""
PANDAS = "[('pandas', True)]"
POLARS = "[('polars', True)]"


def run(code: str, *, folder: Path | None = None) -> str:
    """What a fresh interpreter prints, warnings being errors."""
    path = f"import sys; sys.path[:0] = {[str(folder)] if folder else []}"
    script = f"{path}\n{HEAD.format(hook=str(HOOK))}{textwrap.dedent(code)}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stderr == ""
    return done.stdout.strip()


def test_a_library_that_is_there_is_told_at_once() -> None:
    assert run("import pandas; listen('pandas'); print(told, hooks())") == f"{PANDAS} []"


@pytest.mark.parametrize(("name", "expected"), [("pandas", PANDAS), ("polars", POLARS)])
def test_a_library_that_comes_later_is_told_right_after_its_import(name: str, expected: str) -> None:
    assert run(f"listen('{name}'); print(told); import {name}; print(told, hooks())") == f"[]\n{expected} []"


def test_polars_is_never_imported_for_a_pandas_user() -> None:
    code = "import pandas; listen('pandas', 'polars'); print(told, 'polars' in sys.modules, len(hooks()))"

    assert run(code) == f"{PANDAS} False 1"


def test_both_libraries_are_told_once_each_and_then_the_hook_is_gone() -> None:
    code = "listen('pandas', 'polars'); import polars, pandas, pandas as again; print(told, hooks())"

    assert run(code) == "[('polars', True), ('pandas', True)] []"


def test_a_submodule_imported_first_tells_too() -> None:
    assert run("listen('pandas'); import pandas.api.types; print(told)") == PANDAS


def test_two_threads_that_import_at_once_tell_once() -> None:
    code = """
    import importlib, threading
    listen('pandas', 'polars')
    gate = threading.Barrier(4)
    def bring(name):
        gate.wait()
        importlib.import_module(name)
    threads = [threading.Thread(target=bring, args=(name,)) for name in ('pandas', 'polars') * 2]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    print(sorted(told), hooks())
    """

    assert run(code) == "[('pandas', True), ('polars', True)] []"


SLOW = """
import threading, sys
started, go = sys.started, sys.go
started.set()
go.wait()
class DataFrame: pass
"""


def test_a_module_half_imported_in_another_thread_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    code = """
    import threading
    sys.started, sys.go = threading.Event(), threading.Event()
    importer = threading.Thread(target=lambda: __import__('slow'))
    importer.start()
    sys.started.wait()
    listener = threading.Thread(target=listen, args=('slow',))
    listener.start()
    listener.join(0.3)
    print(told, listener.is_alive())
    sys.go.set()
    importer.join(); listener.join()
    print(told, hooks())
    """

    assert run(code, folder=tmp_path) == "[] True\n[('slow', True)] []"


def test_a_module_that_imports_us_while_it_is_imported_is_told_by_the_next_import(tmp_path: Path) -> None:
    (tmp_path / "outer.py").write_text("import __main__\n__main__.listen('outer')\nclass DataFrame: pass\n")
    code = "import outer; print(told); import colorsys; print(told, hooks())"

    assert run(code, folder=tmp_path) == "[]\n[('outer', True)] []"


def test_an_import_that_fails_is_told_when_it_works_at_last(tmp_path: Path) -> None:
    (tmp_path / "shaky.py").write_text("import sys\nif not hasattr(sys, 'well'): raise ImportError('no')\n")
    code = """
    listen('shaky')
    try:
        import shaky
    except ImportError as error:
        print(error, told)
    sys.well = True
    import shaky
    print(told, hooks())
    """

    assert run(code, folder=tmp_path) == "no []\n[('shaky', False)] []"


def test_a_missing_library_stays_a_plain_import_error() -> None:
    code = """
    listen('not_there_at_all')
    try:
        import not_there_at_all
    except ModuleNotFoundError as error:
        print(error, told, len(hooks()))
    """

    assert run(code) == "No module named 'not_there_at_all' [] 1"


def test_specs_loaders_and_reload_are_those_of_plain_python(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text("class DataFrame: pass\n")
    code = """
    import importlib, importlib.util, importlib.machinery as machinery, inspect
    listen('plain')
    spec = importlib.util.find_spec('plain')
    print(type(spec.loader) is machinery.SourceFileLoader, 'plain' in sys.modules, told)
    import plain
    print(type(plain.__loader__) is machinery.SourceFileLoader, plain.__spec__.loader is plain.__loader__)
    print(vars(plain.__loader__).keys() == {'name', 'path'}, inspect.getsource(plain.DataFrame).strip())
    importlib.reload(plain)
    print(told, hooks(), importlib.util.find_spec('plain') is plain.__spec__)
    """

    assert run(code, folder=tmp_path).splitlines() == [
        "True False []",
        "True True",
        "True class DataFrame: pass",
        "[('plain', True)] [] True",
    ]


def test_a_lazily_imported_module_is_told_when_it_is_really_imported(tmp_path: Path) -> None:
    (tmp_path / "idle.py").write_text("print('runs')\nclass DataFrame: pass\n")
    code = """
    import importlib.util
    listen('idle')
    spec = importlib.util.find_spec('idle')
    spec.loader = importlib.util.LazyLoader(spec.loader)
    idle = sys.modules['idle'] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(idle)
    import colorsys
    print(told)
    idle.DataFrame
    print(told, hooks())
    """

    assert run(code, folder=tmp_path) == "[]\nruns\n[('idle', True)] []"


def test_a_callback_that_fails_warns_and_the_import_goes_on() -> None:
    code = """
    import warnings
    hook.when_imported('colorsys', lambda module: 1 / 0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        import colorsys
    print(caught[0].category.__name__, caught[0].message, hooks())
    """

    assert run(code) == (
        "RuntimeWarning dfbatch could not set itself up for colorsys: ZeroDivisionError('division by zero') []"
    )
