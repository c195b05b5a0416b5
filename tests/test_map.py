"""The map of the house is one-way: every import of the package is read, also those inside functions.

Values stand in a row and import only what stands before them; rooms import values, never each other; `run/` imports
rooms and values; doors import anything below; the emulator is an island. Imports for type checkers obey like all
others, but for one: errors carry `.run`, so `errors.py` may name `Run`.
"""

from __future__ import annotations

import ast
import functools
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGE = Path(__file__).parents[1] / "dfbatch"

VALUES = [
    *("version", "visible", "errors", "kinds", "models", "options", "prompts", "schemas", "requests"),
    "contradictions",
    *(
        "chunks",
        "lenient_json",
        "results",
        "columns",
        "pictures",
        "pricing",
        "caching",
        "bounds",
        "waves",
        "proportions",
        "distinct",
        "lengths",
        "forecasts",
    ),
    *("hits", "jobs"),
]
INSIDE = {  # the order of files in values that are packages
    "prompts": ["naming", "opaque", "templates", "contents", "callables", "__init__"],
    "schemas": [
        *("verdicts", "formats", "validators", "repairs", "judges"),
        *("declared", "spelling", "wire", "__init__"),
    ],
}
ROOMS = ["frames", "backends", "ledger", "progress"]
DOORS = ["__init__", "accessor", "cli", "testing"]
ISLAND = "emulator"
BELOW = {
    **{value: VALUES[:rank] for rank, value in enumerate(VALUES)},
    **dict.fromkeys(ROOMS, VALUES),
    "run": [*VALUES, *ROOMS],
    **{door: [*VALUES, *ROOMS, "run", *DOORS] for door in DOORS},
    ISLAND: [],
}
KNOW_THE_ISLAND = ["cli", "testing"]  # backends/local starts it as a process, by name
TYPE_ONLY = {("errors", "dfbatch.run", "Run")}

# What a value may import from outside: nothing that reaches network, disk, clock, processes or chance. An allow-list,
# so that a newcomer is looked at. PurePath is a text with manners; what else could slip through is in REACHING.
PURE = {
    *(
        "__future__",
        "base64",
        "collections",
        "contextlib",
        "copy",
        "dataclasses",
        "datetime",
        "decimal",
        "difflib",
        "enum",
    ),
    *(
        "functools",
        "hashlib",
        "html",
        "inspect",
        "ipaddress",
        "itertools",
        "json",
        "math",
        "operator",
        "re",
        "sys",
        "types",
    ),
    *("typing", "typing_extensions", "msgspec", "numpy", "pydantic", "pydantic_core", "dfbatch"),
}
PURE_NAMES = {("pathlib", "PurePath"), ("traceback", "TracebackException"), ("traceback", "StackSummary")}
REACHING = {"now", "today", "utcnow", "open", "print", "input", "sleep", "file_digest", "fromfile", "tofile"}

HOMES = {  # libraries that one place alone knows
    "frames": {"pandas", "polars", "pyarrow"},
    "backends": {"httpx", "ssl", "socket"},
    "ledger": {"sqlite3", "platformdirs", "fcntl"},
    "progress": {"tqdm", "anywidget", "ipywidgets", "traitlets", "IPython"},
    "schemas": {"pydantic", "pydantic_core"},
    "cli": {"click"},
    "__init__": {"nest_asyncio"},
    ISLAND: {"starlette", "uvicorn", "xllamacpp"},
}
NAMES_THAT_SAY_NOTHING = {
    "utils",
    "util",
    "helpers",
    "helper",
    "core",
    "manager",
    "managers",
    "types",
    "common",
    "misc",
}
LONGEST = 400


@dataclass(frozen=True, slots=True)
class Import:
    """One name brought in by one file."""

    file: str  # as in the tree: schemas/wire.py
    line: int
    module: str  # dfbatch.schemas.wire, pandas.api
    name: str  # what is taken out of it; empty for `import module`
    type_only: bool

    @property
    def place(self) -> str:
        """The place on the map of the file: frames, errors, __init__."""
        return place(self.file)

    @property
    def root(self) -> str:
        return self.module.partition(".")[0]

    def but(self, reason: str) -> str:
        return f"dfbatch/{self.file}:{self.line}: imports {self.module}: {reason}"


def place(file: str) -> str:
    return file.partition("/")[0].removesuffix(".py")


def files(package: Path) -> list[Path]:
    return sorted(package.rglob("*.py"))


def imports(package: Path) -> Iterator[Import]:
    """Every import of the package, wherever in a file it stands."""
    for path in files(package):
        yield from imports_of(path.read_text(encoding="utf-8"), path.relative_to(package).as_posix(), package)


@functools.cache
def imports_of(source: str, file: str, package: Path) -> tuple[Import, ...]:
    found: list[Import] = []
    for node, type_only in nodes_of(source):
        if isinstance(node, ast.Import):
            found += [Import(file, node.lineno, alias.name, "", type_only) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = absolute(node, file)
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                whole = is_module(inner, package)
                found.append(
                    Import(file, node.lineno, inner if whole else module, "" if whole else alias.name, type_only)
                )
        elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__"):
            texts = [given.value for given in node.args[:1] if isinstance(given, ast.Constant)]
            found += [Import(file, node.lineno, str(module), "", type_only) for module in texts]
    return tuple(found)


@functools.cache
def nodes_of(source: str) -> list[tuple[ast.AST, bool]]:
    """The nodes that matter here, and whether only a type checker sees them."""
    told = (ast.Import, ast.ImportFrom, ast.Call)
    return [found for found in walk(ast.parse(source), type_only=False) if isinstance(found[0], told)]


def walk(node: ast.AST, *, type_only: bool) -> Iterator[tuple[ast.AST, bool]]:
    """All nodes, and whether only a type checker sees them."""
    yield node, type_only
    if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        for guarded in node.body:
            yield from walk(guarded, type_only=True)
        for otherwise in node.orelse:
            yield from walk(otherwise, type_only=type_only)
        return
    for inner in ast.iter_child_nodes(node):
        yield from walk(inner, type_only=type_only)


def absolute(node: ast.ImportFrom, file: str) -> str:
    if not node.level:
        return node.module or ""
    folder = ["dfbatch", *Path(file).parent.parts]
    return ".".join([*folder[: len(folder) - node.level + 1], *([node.module] if node.module else [])])


def is_module(dotted: str, package: Path) -> bool:
    first, *rest = dotted.split(".")
    if first != "dfbatch" or not rest:
        return False
    where = package.joinpath(*rest)
    return where.with_suffix(".py").is_file() or (where / "__init__.py").is_file()


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def upward(package: Path) -> list[str]:
    """The imports of our own modules that the map forbids: file, line and why."""
    return [found.but(reason) for found in imports(package) if found.root == "dfbatch" and (reason := forbidden(found))]


def forbidden(found: Import) -> str:
    """Why the map forbids this import; empty where it does not."""
    here, there = found.place, part(found.module, 1)
    if here == there:
        return out_of_order(found) if here in INSIDE else ""
    if there in BELOW.get(here, ()) or (there == ISLAND and here in KNOW_THE_ISLAND):
        return ""
    if found.type_only and (here, found.module, found.name) in TYPE_ONLY:
        return ""
    return f"{there} is not below {here}"


def out_of_order(found: Import) -> str:
    """Why a file of a value that is a package may not import this one of its siblings."""
    order = INSIDE[found.place]
    here, there = Path(found.file).stem, part(found.module, 2)
    if here in order and there in order[: order.index(here)]:
        return ""
    return f"{there} is not below {here} in {found.place}/"


def part(module: str, depth: int) -> str:
    """`schemas` of dfbatch.schemas.wire at depth 1, `wire` at depth 2, `__init__` where there is no more."""
    return [*module.split("."), "__init__", "__init__"][depth]


def impure(package: Path) -> list[str]:
    """What values do that reaches beyond memory."""
    ways = [found.but("a value is pure") for found in imports(package) if found.place in VALUES and not is_pure(found)]
    return ways + [
        f"dfbatch/{file}:{line}: calls {name}"
        for file, line, name in calls(package)
        if place(file) in VALUES and name in REACHING
    ]


def is_pure(found: Import) -> bool:
    return found.root in PURE or (found.module, found.name) in PURE_NAMES


def away_from_home(package: Path) -> list[str]:
    """Libraries outside of the one place that knows them; the island knows what it likes."""
    return [
        found.but(f"only {home} knows {found.root}")
        for found in imports(package)
        for home, libraries in HOMES.items()
        if found.root in libraries and found.place not in (home, ISLAND) and not found.type_only
    ]


def sleepers(package: Path) -> list[str]:
    """Calls that let time pass outside of run/; the island has a clock of its own."""
    slept = [(file, line) for file, line, name in calls(package) if name == "sleep"]
    return [f"dfbatch/{file}:{line}: sleeps" for file, line in slept if place(file) not in ("run", ISLAND)]


def calls(package: Path) -> Iterator[tuple[str, int, str]]:
    """File, line and last name of everything that is called."""
    for path in files(package):
        nodes = (node for node, _ in nodes_of(path.read_text(encoding="utf-8")) if isinstance(node, ast.Call))
        yield from ((path.relative_to(package).as_posix(), node.lineno, called(node)) for node in nodes)


def test_every_import_points_one_way() -> None:
    assert upward(PACKAGE) == []


def test_values_are_pure() -> None:
    assert impure(PACKAGE) == []


def test_each_library_is_known_in_one_place() -> None:
    assert away_from_home(PACKAGE) == []


def test_nothing_sleeps_but_run() -> None:
    assert sleepers(PACKAGE) == []


def test_every_file_of_the_package_has_a_place_on_the_map() -> None:
    places = {place(path.relative_to(PACKAGE).as_posix()) for path in files(PACKAGE)}

    assert places == set(BELOW)


@pytest.mark.parametrize("package", INSIDE)
def test_every_file_of_a_value_that_is_a_package_has_its_turn(package: str) -> None:
    assert {path.stem for path in (PACKAGE / package).rglob("*.py")} == set(INSIDE[package])


def test_no_module_has_a_name_that_says_nothing() -> None:
    named = [path.relative_to(PACKAGE).as_posix() for path in files(PACKAGE)]

    assert [file for file in named if NAMES_THAT_SAY_NOTHING & set(file.removesuffix(".py").split("/"))] == []


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {path.relative_to(PACKAGE).as_posix(): len(path.read_text().splitlines()) for path in files(PACKAGE)}

    assert {file: length for file, length in lengths.items() if length > LONGEST} == {}


def test_every_file_opens_with_its_docstring() -> None:
    silent = [path.name for path in files(PACKAGE) if not ast.get_docstring(ast.parse(path.read_text()))]

    assert silent == []


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package once more, to plant something in."""
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(PACKAGE, tmp_path_factory.mktemp("map") / "dfbatch", ignore=ignored))


class Planted:
    """Code appended to a file of the copy, and what a check says then that it did not say before."""

    def __init__(self, package: Path) -> None:
        self._package = package
        self._kept: dict[Path, str] = {}

    def reports(self, check: Callable[[Path], list[str]], file: str, code: str) -> list[str]:
        path = self._package / file
        before = check(self._package)
        self._kept[path] = path.read_text()
        path.write_text(f"{self._kept[path]}\n{code}\n")
        here = len(self._kept[path].splitlines()) + 2
        found = [report for report in check(self._package) if report not in before]
        return [re.sub(r":(\d+):", lambda line: f":+{int(line[1]) - here}:", report) for report in found]

    def restore(self) -> None:
        for path, text in self._kept.items():
            path.write_text(text)


@pytest.fixture
def planted(copy: Path) -> Iterator[Planted]:
    planted = Planted(copy)
    yield planted
    planted.restore()


@pytest.mark.parametrize(
    ("file", "code", "reason"),
    [
        ("errors.py", "import dfbatch.kinds", "imports dfbatch.kinds: kinds is not below errors"),
        ("kinds.py", "from dfbatch.options import read", "imports dfbatch.options: options is not below kinds"),
        ("requests.py", "from dfbatch import distinct", "imports dfbatch.distinct: distinct is not below requests"),
        ("results.py", "import dfbatch", "imports dfbatch: __init__ is not below results"),
        ("pricing.py", "from .ledger import Ledger", "imports dfbatch.ledger: ledger is not below pricing"),
        ("distinct.py", "from dfbatch.run.loop import Work", "imports dfbatch.run.loop: run is not below distinct"),
        (
            "schemas/__init__.py",
            "from ..requests import part",
            "imports dfbatch.requests: requests is not below schemas",
        ),
        (
            "schemas/formats.py",
            "from . import wire",
            "imports dfbatch.schemas.wire: wire is not below formats in schemas/",
        ),
        (
            "prompts/templates.py",
            "from dfbatch.prompts import Prompt",
            "imports dfbatch.prompts: __init__ is not below templates in prompts/",
        ),
        ("progress/words.py", "import dfbatch.ledger", "imports dfbatch.ledger: ledger is not below progress"),
        ("backends/local.py", "from dfbatch import testing", "imports dfbatch.testing: testing is not below backends"),
        ("run/thread.py", "from dfbatch import __version__", "imports dfbatch: __init__ is not below run"),
        ("backends/local.py", "import dfbatch.emulator", "imports dfbatch.emulator: emulator is not below backends"),
        ("accessor.py", "import dfbatch.emulator", "imports dfbatch.emulator: emulator is not below accessor"),
        ("emulator/ids.py", "from dfbatch import errors", "imports dfbatch.errors: errors is not below emulator"),
        ("emulator/ids.py", "from ..results import parse", "imports dfbatch.results: results is not below emulator"),
    ],
)
def test_a_planted_upward_import_is_reported_with_file_and_line(
    planted: Planted, file: str, code: str, reason: str
) -> None:
    assert planted.reports(upward, file, code) == [f"dfbatch/{file}:+0: {reason}"]


@pytest.mark.parametrize(
    "hidden",
    [
        "def late():\n    from dfbatch.distinct import locate",
        "class Odd:\n    import dfbatch.distinct",
        "try:\n    import dfbatch.distinct\nexcept ImportError:\n    pass",
        "if TYPE_CHECKING:\n    from dfbatch.distinct import Distinct",
        "plan = lambda:\\\n    importlib.import_module('dfbatch.distinct')",
    ],
    ids=["in a function", "in a class", "in a try", "for type checkers", "through importlib"],
)
def test_an_upward_import_is_found_wherever_it_hides(planted: Planted, hidden: str) -> None:
    expected = "dfbatch/chunks.py:+1: imports dfbatch.distinct: distinct is not below chunks"

    assert planted.reports(upward, "chunks.py", hidden) == [expected]


def test_errors_may_name_run_for_type_checkers_and_in_no_other_way(planted: Planted) -> None:
    code = "from dfbatch.run import Run\nif TYPE_CHECKING:\n    from dfbatch.run import Run\n    import dfbatch.run"

    assert planted.reports(upward, "errors.py", code) == [
        "dfbatch/errors.py:+0: imports dfbatch.run: run is not below errors",
        "dfbatch/errors.py:+3: imports dfbatch.run: run is not below errors",
    ]


@pytest.mark.parametrize(
    "module",
    [
        *("socket", "ssl", "http.client", "urllib.request", "httpx"),
        *("os", "pathlib", "sqlite3", "tempfile", "shutil", "io", "logging"),
        *("time", "asyncio", "threading", "subprocess", "multiprocessing", "secrets", "random"),
        *("pandas", "polars", "pyarrow", "dfbatch_plugin"),
    ],
)
def test_a_planted_way_out_of_a_value_is_reported(planted: Planted, module: str) -> None:
    expected = f"dfbatch/columns.py:+1: imports {module}: a value is pure"

    assert planted.reports(impure, "columns.py", f"def late():\n    import {module}") == [expected]


@pytest.mark.parametrize("call", ["open('x')", "datetime.now(UTC)", "date.today()", "print('x')"])
def test_a_planted_call_that_reaches_out_of_a_value_is_reported(planted: Planted, call: str) -> None:
    [found] = planted.reports(impure, "columns.py", call)

    assert found.startswith("dfbatch/columns.py:+0: calls ")


def test_a_library_taken_from_its_home_is_reported(planted: Planted) -> None:
    expected = "dfbatch/run/thread.py:+0: imports httpx: only backends knows httpx"

    assert planted.reports(away_from_home, "run/thread.py", "import httpx") == [expected]


def test_a_planted_sleep_is_reported(planted: Planted) -> None:
    assert planted.reports(sleepers, "backends/local.py", "time.sleep(1)") == ["dfbatch/backends/local.py:+0: sleeps"]
