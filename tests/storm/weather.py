"""What a storm is made of. `DFBATCH_STORM` is how many schedules are drawn, `DFBATCH_SEED` which."""

from __future__ import annotations

import os

SCHEDULES = int(os.environ.get("DFBATCH_STORM", "40"))
SEED = int(os.environ.get("DFBATCH_SEED", "0"))
PROCESSES = 60 if SCHEDULES >= 1_000 else 6  # schedules of real processes
TEXTS = list("abcdefgh")
FAULTS = [
    "429@create:times=1,retry_after=1",
    "429_bare@create:times=2",
    "429@list:times=1",
    "500@create:times=1",
    "529@create:times=1",
    "502@create:times=1",
    "400@create:times=1",
    "401@retrieve:times=1",
    "413@create:times=1",
    "408@create:times=1",
    "html@create:times=1",
    "reset@create:times=1",
    "lost_reply@create:how=reset,times=1",
    "lost_reply@create:how=close,times=2",
    "lost_reply@create:how=529,times=1",
    "404_after_create:seconds=90,times=1",
    "404_after_end:seconds=30,times=1",
    "500@retrieve:times=2",
    "500@list:times=2",
    "reset@list:times=1",
    "reset@retrieve:times=1",
    "500@results:times=1",
    "truncated@results:times=1",
    "blank_lines@results:times=1",
    "crlf@results:times=2",
    "duplicate_lines@results:times=1",
    "foreign_ids@results:times=1",
    "missing_lines@results:times=2",
    "no_content_type@results:times=2",
    "foreign_results_url@retrieve:times=2",
    "errored:kind=overloaded_error,times=2",
    "errored:kind=api_error,times=1",
]
IN_DOUBT = [
    fault for fault in FAULTS if "lost_reply" in fault or fault.startswith(("500@create", "408", "html@create"))
]


def answer_to(text: str) -> str:
    """What the emulator's engine says."""
    return f"answer to {text}"
