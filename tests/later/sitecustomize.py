"""Sleep under a clock moved by libfaketime; Python imports this by itself where this folder is on its path.

`make test-later` puts it there, for the suite and its children. From Python 3.11 on `time.sleep` names a moment of
the monotonic clock, which libfaketime 0.9.10 shifts though it is told not to: EINVAL, or a sleep without end.
"""

from __future__ import annotations

import os
import select
import time
from typing import SupportsIndex

if "FAKETIME" in os.environ:

    def _sleep(seconds: float | SupportsIndex, /) -> None:
        select.select([], [], [], float(seconds))  # refuses what is below zero, as the other does

    time.sleep = _sleep
