"""Kernels of several ipykernel releases over one environment: a folder with that release alone, put first on the path.

Installed when first asked for, into this user's cache folder, and kept there for later sessions.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Final

from platformdirs import user_cache_path

OWN: Final = "own"
"""The kernel of the environment that runs the tests: whatever ipykernel is current there."""
RELEASES: Final = ("6.31.0", "7.3.0", "7.4.0")
"""Three ways of clicks: not while a cell blocks; on a subshell; to where the widget was last spoken of."""
PROJECT: Final = Path(__file__).parents[2]


def release(name: str) -> str:
    """Which ipykernel the kernel of this name must say it is."""
    return version("ipykernel") if name == OWN else name


def specify(name: str, data: Path) -> None:
    """Write the kernelspec of this name into a Jupyter data folder; installs the release where it is not there."""
    first = [] if name == OWN else [installed(name)]
    about = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": f"ipykernel {release(name)}",
        "language": "python",
        "env": {"PYTHONPATH": os.pathsep.join(map(str, [*first, PROJECT]))},
    }
    folder = data / "kernels" / name
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps(about), "utf-8")


def installed(name: str) -> Path:
    """The folder of one release; half an installation is never left under its name."""
    folder = user_cache_path("dfbatch-test") / "kernels" / f"ipykernel-{name}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=folder.parent))
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--target", str(draft / "site"), f"ipykernel=={name}"], check=True, timeout=300)
        with suppress(OSError):  # another session was quicker
            (draft / "site").rename(folder)
        shutil.rmtree(draft)
    return folder
