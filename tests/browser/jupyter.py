"""One Jupyter server in a process of its own, which serves JupyterLab and Notebook 7 alike; nothing of this user's.

What is done in its pages is in `notebook.py`, its kernels are in `kernels.py`.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Final, Self

from . import kernels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

START: Final = 90.0  # seconds: 5 are usual, 30 were seen on a cold and busy machine
STOP: Final = 20.0  # seconds for it and its kernels to end
READY: Final = "is running at:"
HIDDEN: Final = ("ANTHROPIC_", "DFBATCH_", "JUPYTER", "IPYTHON", "PYTEST_", "PYTHONPATH")


class Jupyter:
    """`with Jupyter(folder, environment) as server:`; its kernels see `environment`, its files are below `folder`."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._token = secrets.token_hex(16)
        self._port = _free_port()
        self._process: subprocess.Popen[str] | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._log: list[str] = []
        self.root = folder / "root"

    def __enter__(self) -> Self:
        self._lay_out()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab"],
            env=self._seen(),
            cwd=self.root,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        impatience = threading.Timer(START, self._process.kill)
        impatience.start()
        up = any(READY in line for line in self._lines())
        impatience.cancel()
        assert up, "Jupyter did not start:\n" + "".join(self._log[-30:])
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(STOP)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(STOP)
        assert self._process.stderr is not None
        self._process.stderr.close()

    def lab(self, name: str) -> str:
        """The address of a notebook in JupyterLab, with no layout of an earlier visit."""
        return f"http://127.0.0.1:{self._port}/lab/tree/{name}?token={self._token}&reset"

    def classic(self, name: str) -> str:
        """The address of a notebook in Notebook 7."""
        return f"http://127.0.0.1:{self._port}/notebooks/{name}?token={self._token}"

    def _lines(self) -> Iterator[str]:
        """What it says, kept for the day it does not start."""
        assert self._process is not None
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._log.append(line)
            yield line

    def _read(self) -> None:
        """Take what it says from its hands, so that it never waits to be heard."""
        for _ in self._lines():
            pass

    def _lay_out(self) -> None:
        """Files that it reads at its start: its config, its kernels, and the answer to "Jupyter news?"."""
        self.root.mkdir(parents=True)
        for name in (kernels.OWN, *kernels.RELEASES):
            kernels.specify(name, self._folder / "data")
        config = {
            "ServerApp": {
                "ip": "127.0.0.1",
                "port": self._port,
                "port_retries": 0,
                "open_browser": False,
                "allow_root": True,
                "root_dir": str(self.root),
                "jpserver_extensions": {"jupyterlab": True, "notebook": True, "jupyter_lsp": False},
            },
            "IdentityProvider": {"token": self._token},
            "LabApp": {"expose_app_in_browser": True, "extension_manager": "readonly"},
            "JupyterNotebookApp": {"expose_app_in_browser": True},
        }
        _write(self._folder / "config" / "jupyter_server_config.json", config)
        news = {"fetchNews": "false", "checkForUpdates": False}
        settings = self._folder / "settings" / "@jupyterlab" / "apputils-extension"
        _write(settings / "notification.jupyterlab-settings", news)

    def _seen(self) -> dict[str, str]:
        """The environment of the server and its kernels."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(HIDDEN)}
        own = {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "IPYTHONDIR": "ipython",
        }
        folders = {name: str(self._folder / folder) for name, folder in own.items()}
        return kept | folders | {"PYDEVD_DISABLE_FILE_VALIDATION": "1"} | dict(self._environment)


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content), "utf-8")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
