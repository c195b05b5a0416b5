"""The public names: exactly those that are promised, each with a docstring, each docstring's example runs."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dfbatch
from dfbatch.accessor import FrameAccessor, SeriesAccessor

PACKAGE = Path(dfbatch.__file__).parent
PROMISED = {
    *("batch", "submit", "preview", "plan", "Plan"),
    *("runs", "open", "last_run", "run_of", "Run"),
    *("adopt", "prune", "repair"),
    *("Anthropic", "Local"),
    *("errors", "DfbatchError", "Detached", "RowsFailedWarning", "ModelChangedWarning", "RetirementWarning"),
    *("testing", "allow_nested_loops"),
}
RUN = {
    *("id", "name", "status", "done", "counts", "cost", "as_of"),
    *("wait", "result", "answers", "join", "partial", "failures", "show", "objects"),
    *("retry", "resume", "cancel", "forget", "export", "__await__"),
}
NEEDS_AN_EXAMPLE = [
    *("batch", "submit", "preview", "plan", "adopt", "prune", "repair", "runs", "open", "last_run", "run_of"),
    *("Run", "Anthropic", "Local"),
]
MODULES = sorted(
    ".".join(("dfbatch", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
)


def test_the_public_names_are_those_that_are_promised() -> None:
    assert sorted(dfbatch.__all__) == sorted(PROMISED)
    assert dir(dfbatch) == sorted(PROMISED)


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(dfbatch, name) is not None


def test_a_star_import_brings_exactly_the_public_names() -> None:
    brought: dict[str, Any] = {}
    exec("from dfbatch import *", brought)  # what a user writes, in a place of its own

    assert brought.keys() - {"__builtins__"} == PROMISED


def test_a_name_that_is_not_there_is_a_plain_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'dfbatch' has no attribute 'btach'$"):
        _ = dfbatch.btach


def test_a_run_has_what_is_promised() -> None:
    assert [name for name in sorted(RUN) if name not in _all_of(dfbatch.Run)] == []


def _all_of(cls: type) -> set[str]:
    """Attributes of the class, and those that instances get in `__init__`."""
    source = inspect.getsource(cls)
    return {*dir(cls), *re.findall(r"self\.(\w+)(?:: [^=\n]+)? = ", source)}


def test_the_version_is_one_of_the_changelog_or_on_its_way_there() -> None:
    changelog = (PACKAGE.parent / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.findall(r"^## \[?(\S+?)\]?(?: .*)?$", changelog, re.MULTILINE)[0]

    assert re.fullmatch(r"\d+\.\d+\.\d+", dfbatch.__version__)
    assert newest in {"Unreleased", dfbatch.__version__}


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_every_public_name_has_a_docstring(name: str) -> None:
    doc = inspect.getdoc(getattr(dfbatch, name))

    assert doc
    assert doc[0].isupper() or doc[0] == "`"


@pytest.mark.parametrize("name", NEEDS_AN_EXAMPLE)
def test_every_public_verb_and_class_shows_an_example(name: str) -> None:
    assert ">>>" in (inspect.getdoc(getattr(dfbatch, name)) or "")


@pytest.mark.parametrize("owner", [dfbatch.Run, FrameAccessor, SeriesAccessor], ids=lambda owner: owner.__name__)
def test_every_public_method_has_a_docstring(owner: type) -> None:
    public = [name for name in vars(owner) if not name.startswith("_")]

    assert [name for name in public if not inspect.getdoc(getattr(owner, name))] == []


def test_no_example_is_skipped() -> None:
    skipped = [path.name for path in PACKAGE.rglob("*.py") if re.search(r"#\s*doctest:\s*\+SKIP", path.read_text())]

    assert skipped == []


def test_every_example_in_the_source_is_one_that_runs() -> None:
    written = {path: path.read_text().count(">>> ") for path in PACKAGE.rglob("*.py")}
    found = {}
    for path in written:
        nodes = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        documented = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, nodes)]
        docs = [ast.get_docstring(node) or "" for node in documented]
        found[path] = sum(doc.count(">>> ") for doc in docs)

    assert {path.name for path in written if written[path] != found[path]} == set()


@pytest.mark.parametrize("module", [module for module in MODULES if not module.endswith("__main__")])
def test_every_example_runs(module: str) -> None:
    loaded = importlib.import_module(module)
    told = doctest.testmod(loaded)

    assert told.failed == 0


def test_the_modules_import_alone_in_any_order() -> None:
    """A cycle shows only where a module is the first to be imported."""
    alone = ["dfbatch.run.loop", "dfbatch.run.prepare", "dfbatch.backends.choose", "dfbatch.progress.choose"]
    alone += ["dfbatch.ledger.records", "dfbatch.schemas.judges", "dfbatch.prompts.callables", "dfbatch.testing"]
    code = "import sys, importlib; importlib.import_module(sys.argv[1])"
    failed = [
        module for module in alone if subprocess.run([sys.executable, "-c", code, module], check=False).returncode
    ]

    assert failed == []
