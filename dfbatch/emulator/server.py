"""Server: an emulator inside this process, on a thread of its own; for tests, tutorials, and the command.

Not here: the command itself (__main__.py).
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dfbatch.emulator import app
from dfbatch.emulator.engines import DEFAULT_OUTPUT, open_engine
from dfbatch.emulator.house import House, Options
from dfbatch.emulator.listener import Listener, bind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from dfbatch.emulator.faults import Fault


class Server:
    """`with Server() as server:` and any client of the API, pointed at `server.url`, talks to it.

    `engine` is "sample", "smollm2", the path of a GGUF file, or a function `params -> answer`. Without `data` the state
    is in a temporary folder that goes with the server. `law`, `speed`, `tier`, `faults`: see this package's README.
    """

    def __init__(
        self,
        engine: str | Path | Callable[[dict[str, Any]], Any] = "sample",
        *,
        engine_name: str | None = None,
        model_file: Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        data: Path | str | None = None,
        seed: int = 0,
        law: str | float = "0",
        output_law: str | float = DEFAULT_OUTPUT,
        speed: float = 1.0,
        lanes: int = 1_000,
        tier: str = "none",
        faults: Iterable[Fault | str] = (),
        cache_hit: float = 1.0,
        keys: Mapping[str, str] | None = None,
        seed_id: str | None = None,
        clock: Callable[[], float] | None = None,
        unsafe_bind: bool = False,
    ) -> None:
        self._where = (host, port, unsafe_bind)
        self._data = data
        self._clock = clock or time.time
        self._options = Options(
            seed=seed,
            law=str(law),
            speed=speed,
            lanes=lanes,
            tier=tier,
            faults=tuple(faults),
            cache_hit=cache_hit,
            keys=keys,
            seed_id=seed_id,
        )
        self.engine = open_engine(
            engine, name=engine_name, model_file=model_file, seed=seed, output_law=str(output_law)
        )
        self._closing = contextlib.ExitStack()
        self._listener: Listener | None = None
        self._house: House | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Server {self.engine.name} {self.url if self._listener else 'not started'}>"

    @property
    def url(self) -> str:
        """The base URL to give a client."""
        if self._listener is None:
            raise RuntimeError("the emulator is not started. Hint: `with Server() as server:`")
        host = self._where[0]
        return f"http://{f'[{host}]' if ':' in host else host}:{self._listener.port}"

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The params a function engine was given so far."""
        return list(getattr(self.engine, "requests", []))

    @property
    def house(self) -> House:
        """The parts of the running emulator."""
        if self._house is None:
            raise RuntimeError("the emulator is not started. Hint: `with Server() as server:`")
        return self._house

    def usage(self, *, digests: bool = True) -> dict[str, Any]:
        """What `/_emulator/usage` answers."""
        return self.house.usage(digests=digests)

    def advance(self, seconds: float) -> None:
        """Move the emulator's clock forward, once what was accepted is answered."""
        self.house.advance(seconds, 60.0)

    def wait_idle(self, timeout: float = 60.0) -> bool:
        """Until every accepted request has its answer, whatever the clock says of it."""
        return self.house.life.wait_idle(timeout)

    def start(self) -> Self:
        """Listen; a second call changes nothing."""
        if self._listener is not None:
            return self
        host, port, unsafe = self._where
        with contextlib.ExitStack() as opening:
            sock = bind(host, port, unsafe=unsafe)
            opening.callback(sock.close)
            root = self._data or opening.enter_context(tempfile.TemporaryDirectory(prefix="dfbatch-emulator-"))
            self._house = House(Path(root), self.engine, self._options, clock=self._clock)
            opening.callback(self._house.close)
            ready = threading.Event()
            self._listener = Listener(app.build(self._house), self._house, sock, ready=ready.set)
            self._thread = threading.Thread(target=self._listener.run, name="emulator-server", daemon=True)
            self._house.open()
            self._thread.start()
            ready.wait(30)
            self._closing = opening.pop_all()
        return self

    def stop(self) -> None:
        """Close the socket, end the threads, remove the temporary folder."""
        if self._listener is None or self._thread is None:
            return
        self._listener.stop()
        self._thread.join()
        self._closing.close()
        self._listener = self._house = self._thread = None
