"""One post-import hook: `when_imported` calls back as soon as a library is there, and never imports it.

What is then registered is in `dfbatch/accessor.py`. The hook removes itself once nothing is awaited.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    Callback = Callable[[ModuleType], object]


def when_imported(name: str, callback: Callback) -> None:
    """Call `callback(module)` once: now if the module is imported, else right after its first import.

    A second callback for the same name takes the place of the first.
    """
    _awaited[name] = callback
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    if name in sys.modules:  # asked after the finder is in place: an import that begins in between meets the finder
        _wait_and_tell(name)


class _Finder:
    """Finds nothing itself: lets the other finders find, and has the loader of an awaited module tell when it ran."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        for waiting in tuple(_awaited):
            _tell_if_ready(waiting)
        if name not in _awaited:
            return None
        spec = _found_by_others(name, path, target)
        if spec is not None and spec.loader is not None:
            _listen(spec.loader, name)
        return spec


_awaited: dict[str, Callback] = {}
_finder = _Finder()


def _found_by_others(name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
    others = (finder for finder in tuple(sys.meta_path) if finder is not _finder and hasattr(finder, "find_spec"))
    specs = (finder.find_spec(name, path, target) for finder in others)
    return next((spec for spec in specs if spec is not None), None)


def _listen(loader: Any, name: str) -> None:
    """Have this one loader tell when it has run the module; its class, and so every check on it, stays as it is."""
    run = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        run(module)
        if module.__name__ == name:
            vars(loader).pop("exec_module", None)
            _tell(name, module)

    try:
        loader.exec_module = exec_module
    except AttributeError:  # a loader with slots: told at the next import of anything
        return


def _wait_and_tell(name: str) -> None:
    module = sys.modules.get(name)
    if module is not None and _is_half_imported(module):
        try:
            importlib.import_module(name)  # another thread is at it: this waits for the module's lock
        except ImportError:
            return  # it failed over there; the finder hears of the next try
    _tell_if_ready(name)


def _tell_if_ready(name: str) -> None:
    module = sys.modules.get(name)
    if module is not None and not _is_half_imported(module):
        _tell(name, module)


def _is_half_imported(module: ModuleType) -> bool:
    if type(module).__name__ == "_LazyModule":
        return True  # importlib.util.LazyLoader's stand-in: to look at it is to import it; its loader tells
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


def _tell(name: str, module: ModuleType) -> None:
    callback = _awaited.pop(name, None)  # one thread gets it
    if not _awaited:
        # a new list: taking ours out of the old one would make imports under way in other threads skip a finder
        sys.meta_path = [finder for finder in sys.meta_path if finder is not _finder]
    if callback is None:
        return
    try:
        callback(module)
    except Exception as error:  # noqa: BLE001  whatever it is, the user's `import pandas` must not fail for it
        warnings.warn(f"dfbatch could not set itself up for {name}: {error!r}", RuntimeWarning, stacklevel=2)
