"""`import dfbatch` is light, and brings `.claude` onto pandas and polars in whatever order they come."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

HEAVY = [
    *("asyncio", "pydantic", "pydantic_core", "httpx", "anyio", "ssl"),
    *("ipywidgets", "anywidget", "IPython", "traitlets", "tqdm", "nest_asyncio"),
    *("starlette", "uvicorn", "xllamacpp", "click", "platformdirs", "sqlite3", "msgspec"),
    *("numpy", "pandas", "polars", "pyarrow", "concurrent.futures", "logging", "subprocess"),
]
ALL_FOUR = """
import pandas, polars
def registered(*made):
    return [type(one).__module__.partition('.')[0] for one in made if type(one.claude).__name__.endswith('Accessor')]
print(registered(pandas.DataFrame(), pandas.Series([1]), polars.DataFrame(), polars.Series(), polars.LazyFrame()))
"""
REGISTERED = "['pandas', 'pandas', 'polars', 'polars', 'polars']"


def run(code: str) -> str:
    """What a fresh interpreter prints, warnings being errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stderr == ""
    return done.stdout.strip()


def test_importing_dfbatch_loads_nothing_heavy() -> None:
    assert run(f"import sys, dfbatch; print([name for name in {HEAVY} if name in sys.modules])") == "[]"


def test_importing_dfbatch_after_pandas_adds_nothing_heavy_to_what_pandas_loads() -> None:
    code = f"""
    import sys, pandas
    before = set(sys.modules)
    import dfbatch
    print([name for name in {HEAVY} if name in set(sys.modules) - before])
    """

    assert run(code) == "[]"


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_neither_library_is_imported_for_a_user_of_the_other(library: str) -> None:
    other = {"pandas": "polars", "polars": "pandas"}[library]
    code = f"import sys, {library}, dfbatch; {library}.DataFrame().claude; print('{other}' in sys.modules)"

    assert run(code) == "False"


def test_a_whole_run_in_pandas_never_imports_polars() -> None:
    code = """
    import os, sys, tempfile
    import pandas as pd
    import dfbatch
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DFBATCH_HOME"] = folder
        with dfbatch.testing.answers(lambda params: "sport"):
            out = pd.DataFrame({"text": ["a"]}).claude.batch("Topic: {text}", progress=False)
    print(out["answer"].tolist(), "polars" in sys.modules)
    """

    assert run(code) == "['sport'] False"


@pytest.mark.parametrize(
    "imports",
    [
        "import pandas, polars, dfbatch",
        "import dfbatch, pandas, polars",
        "import dfbatch, polars, pandas",
        "import pandas, dfbatch, polars",
        "import polars, dfbatch, pandas",
        "import dfbatch.testing; import pandas, polars",
        "import pandas.api.types, dfbatch; import polars.selectors",
        "from dfbatch import errors; import importlib; importlib.import_module('polars')",
    ],
)
def test_every_order_of_imports_registers_all_accessors(imports: str) -> None:
    assert run(f"{imports}\n{ALL_FOUR}") == REGISTERED


def test_the_hook_is_gone_once_both_libraries_are_there() -> None:
    code = """
    import sys, dfbatch
    def hooks():
        return [finder for finder in sys.meta_path if type(finder).__module__.startswith("dfbatch")]
    print(len(hooks()))
    import pandas
    print(len(hooks()))
    import polars
    print(len(hooks()))
    """

    assert run(code).split() == ["1", "1", "0"]


def test_threads_that_import_everything_at_once_all_see_the_accessors() -> None:
    code = """
    import importlib, threading
    names = ["dfbatch", "pandas", "polars"] * 2
    gate = threading.Barrier(len(names))
    failed = []
    def bring(name):
        gate.wait()
        try:
            importlib.import_module(name)
        except BaseException as error:
            failed.append(repr(error))
    threads = [threading.Thread(target=bring, args=(name,)) for name in names]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    print(failed)
    """

    assert run(code + textwrap.indent(ALL_FOUR, "    ")).splitlines() == ["[]", REGISTERED]


def test_importing_again_changes_nothing() -> None:
    code = """
    import importlib, pandas, dfbatch
    before = pandas.DataFrame.claude
    importlib.import_module("dfbatch")
    print(pandas.DataFrame.claude is before)
    """

    assert run(code) == "True"
