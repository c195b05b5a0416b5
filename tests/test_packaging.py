"""The wheel: what is in it, and that it works where nothing but its own dependencies is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import dfbatch
from tests.test_map import ISLAND, imports

PROJECT = Path(__file__).parents[1]
PARTS = ["dfbatch", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"]
LOCAL = ["starlette", "uvicorn", "xllamacpp"]


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing of this checkout is in it that git would not bring."""
    source = tmp_path_factory.mktemp("source")
    for part in PARTS:
        if (PROJECT / part).is_dir():
            shutil.copytree(PROJECT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(PROJECT / part, source / part)
    pip("wheel", "--no-deps", "--wheel-dir", str(source / "out"), str(source))
    [made] = (source / "out").iterdir()
    return made


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts folder of a new environment with the wheel and no extras."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    pip("--python", str(scripts / "python"), "install", "--no-compile", str(wheel))
    return scripts


def run(bare: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    program = [str(bare / command[0]), *command[1:]]
    return subprocess.run(
        program,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=bare,
        env={**kept, "PYTHONWARNINGS": "error", "COLUMNS": "100", **environment},
    )


def python(bare: Path, code: str) -> str:
    done = run(bare, "python", "-c", code)
    assert done.stderr == ""
    return done.stdout.strip()


def test_the_wheel_holds_the_package_and_all_its_data_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    ours = {name for name in names if ".dist-info/" not in name}
    written = {
        f"dfbatch/{path.relative_to(PROJECT / 'dfbatch').as_posix()}"
        for path in (PROJECT / "dfbatch").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert ours == written
    assert {"dfbatch/py.typed", "dfbatch/emulator/models.toml"} <= ours


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        facts = Parser().parsestr(archive.read(metadata).decode())
        licenses = [name for name in archive.namelist() if name.endswith("/LICENSE")]
    required = [text for text in facts.get_all("Requires-Dist", []) if "extra ==" not in text]

    assert (facts["Name"], facts["Version"]) == ("dfbatch", dfbatch.__version__)
    assert (facts["License-Expression"], len(licenses)) == ("MIT", 1)
    assert facts["Requires-Python"] == ">=3.11"
    assert sorted(facts.get_all("Provides-Extra", [])) == [
        "browser",
        "demo",
        "local",
        "pandas",
        "polars",
        "test",
        "testing",
    ]
    assert not [text for text in required if re.match(r"pandas|polars|starlette|uvicorn|xllamacpp|anthropic", text)]
    assert "dfbatch" in facts.get_payload()


def test_every_library_that_the_package_imports_is_a_dependency_or_an_extra(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        facts = Parser().parsestr(archive.read(metadata).decode())
    told = facts.get_all("Requires-Dist", [])
    always = {named(text) for text in told if "extra ==" not in text}
    extras = {named(text) for text in told if re.search(r"extra == .(pandas|polars|testing|local).", text)}
    brought = {"pydantic_core": "pydantic", "typing_extensions": "pydantic", "traitlets": "ipywidgets"}
    brought |= {"IPython": "ipywidgets", "pyarrow": "pandas"}
    used = {
        (brought.get(one.root, one.root), one.place)
        for one in imports(PROJECT / "dfbatch")
        if one.root not in sys.stdlib_module_names and not one.type_only and one.root != "dfbatch"
    }

    assert {root for root, place in used if place not in (ISLAND, "frames")} - always == set()
    assert {root for root, _ in used} - always - extras == set()


def named(requirement: str) -> str:
    """The import name of `nest-asyncio>=1.6; extra == "x"`."""
    return re.split(r"[^\w.-]", requirement)[0].replace("-", "_")


def test_a_bare_install_has_no_extras(bare: Path) -> None:
    code = f"import importlib.util as u; print([n for n in {['pandas', 'polars', *LOCAL]} if u.find_spec(n)])"

    assert python(bare, code) == "[]"


def test_a_bare_install_imports_all_public_names(bare: Path) -> None:
    code = (
        "import dfbatch; print([getattr(dfbatch, name).__name__ for name in dfbatch.__all__] != [], dfbatch.__file__)"
    )
    told, file = python(bare, code).split(" ", 1)

    assert told == "True"
    assert Path(file).is_relative_to(bare.parent)


def test_a_bare_install_has_its_data_at_hand(bare: Path) -> None:
    code = "import importlib.resources as r; print([(r.files('dfbatch') / p).is_file() for p in {}])"

    assert python(bare, code.format(["py.typed", "emulator/models.toml"])) == "[True, True]"


def test_the_command_helps_in_a_bare_install(bare: Path) -> None:
    done = run(bare, "dfbatch", "--help")

    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"  {name} " in done.stdout for name in ("runs", "show", "wait", "emulate", "fetch-model"))


def test_the_command_lists_runs_in_a_bare_install(bare: Path, tmp_path: Path) -> None:
    done = run(bare, "dfbatch", "runs", DFBATCH_HOME=str(tmp_path))

    assert (done.returncode, done.stdout, done.stderr) == (0, "no runs yet\n", "")


def test_the_emulator_says_what_to_install(bare: Path) -> None:
    done = run(bare, "dfbatch", "emulate")

    assert done.returncode == 1
    assert done.stderr.endswith(
        '\nHint: pip install "dfbatch[testing]", or "dfbatch[local]" for a language model too\n'
    )
    assert "Traceback" not in done.stderr


FRAMES = """
import dfbatch
from dfbatch.frames import by_name
try:
    by_name({library!r})
except dfbatch.DfbatchError as error:
    print(error)
"""


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_frame_library_that_is_missing_is_named_with_what_to_install(bare: Path, library: str) -> None:
    told = python(bare, FRAMES.format(library=library))

    assert f'pip install "dfbatch[{library}]"' in told


LOCALLY = """
import pathlib, dfbatch
for engine in ("sample", "smollm2"):
    try:
        dfbatch.Local(engine).ready(pathlib.Path({home!r}))
    except dfbatch.DfbatchError as error:
        print(error)
"""


def test_the_local_backend_says_what_to_install(bare: Path, tmp_path: Path) -> None:
    told = python(bare, LOCALLY.format(home=str(tmp_path))).splitlines()

    assert told.count('Hint: pip install "dfbatch[local]"') == 2


TESTING = """
import dfbatch
try:
    with dfbatch.testing.Emulator():
        pass
except ImportError as error:
    print("ImportError", error)
except dfbatch.DfbatchError as error:
    print(error)
"""


def test_the_testing_door_says_what_to_install(bare: Path) -> None:
    assert 'pip install "dfbatch[testing]"' in python(bare, TESTING)


@pytest.fixture(scope="module")
def tester(wheel: Path, bare: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the bare one, which it looks into, with the extra `testing` and a frame library."""
    folder = tmp_path_factory.mktemp("tester")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    [here], [there] = (list(place.rglob("site-packages")) for place in (folder, bare.parent))
    (here / "bare.pth").write_text(str(there))
    pip("--python", str(scripts / "python"), "install", "--no-compile", f"{wheel}[testing,polars]")
    return scripts


ANSWERED = """
import importlib.util, polars, dfbatch
from dfbatch.testing import Emulator, answers
with answers({"goal": "sport"}):
    run = dfbatch.submit(polars.DataFrame({"text": ["a goal"]}), "{text}", progress=False).wait()
    print(run.answers()["answer"].to_list(), importlib.util.find_spec("xllamacpp"))
try:
    with Emulator(engine="smollm2"):
        pass
except dfbatch.errors.PackageMissing as error:
    print(error)
"""


def test_the_extra_testing_is_enough_for_tests_and_brings_no_language_model(tester: Path) -> None:
    _, told, *missing = python(tester, ANSWERED).splitlines()

    assert told == "['sport'] None"
    assert missing[-1].startswith('Hint: pip install "dfbatch[local]"')


def test_what_is_no_frame_is_refused_in_words_where_no_frame_library_is(bare: Path) -> None:
    code = "import dfbatch\ntry:\n dfbatch.batch([1], 'x {a}')\nexcept dfbatch.errors.NotAFrame as error: print(error)"

    assert python(bare, code).startswith("expected a pandas or polars DataFrame, got list\nHint: ")
