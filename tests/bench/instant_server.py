"""A server for benchmarks: takes batches and answers every request at once, with ready-made answers.

It knows nothing of dfbatch or the emulator. Run as `python instant_server.py`; prints its address when it listens.
"""

from __future__ import annotations

import json
import random
import re
import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

CUSTOM_ID = re.compile(rb'"custom_id":\s?"([^"]+)"')
POOL = 1000
ANSWER = {"sentiment": "positive", "score": 4, "urgent": False, "topic": "delivery times and packaging"}

batches: dict[str, tuple[dict[str, Any], list[bytes]]] = {}


def tails() -> list[bytes]:
    """Everything behind the custom_id of a result line, in a thousand variants."""
    draw = random.Random(7)
    made = []
    for number in range(POOL):
        text = json.dumps(ANSWER | {"score": draw.randint(1, 5), "topic": f"{ANSWER['topic']} {number}"})
        message = {
            "id": f"msg_{number:024d}",
            "type": "message",
            "role": "assistant",
            "model": "claude-haiku-4-5-20251001",
            "content": [{"type": "text", "text": text, "citations": None}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": 600,
                "output_tokens": 40,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "service_tier": "batch",
            },
        }
        made.append(b'","result":{"type":"succeeded","message":' + json.dumps(message).encode() + b"}}\n")
    return made


TAILS = tails()


async def create(request: Request) -> Response:
    """Take a batch."""
    body = bytearray()
    async for block in request.stream():
        body += block
    ids = CUSTOM_ID.findall(body)
    random.Random(len(batches)).shuffle(ids)
    now = datetime.now(UTC)
    name = f"msgbatch_{len(batches):024d}"
    batch = {
        "id": name,
        "type": "message_batch",
        "processing_status": "ended",
        "request_counts": {"processing": 0, "succeeded": len(ids), "errored": 0, "canceled": 0, "expired": 0},
        "created_at": now.isoformat(),
        "expires_at": (now + timedelta(days=1)).isoformat(),
        "ended_at": now.isoformat(),
        "archived_at": None,
        "cancel_initiated_at": None,
        "results_url": f"{request.base_url}v1/messages/batches/{name}/results",
    }
    batches[name] = batch, ids
    return JSONResponse(batch)


async def listed(_: Request) -> Response:
    """All batches, newest first."""
    data = [batch for batch, _ in reversed(batches.values())]
    return JSONResponse({"data": data, "has_more": False, "first_id": None, "last_id": None})


async def retrieve(request: Request) -> Response:
    """One batch."""
    return JSONResponse(batches[request.path_params["name"]][0])


async def results(request: Request) -> Response:
    """Answers in shuffled order."""
    ids = batches[request.path_params["name"]][1]

    def blocks(size: int = 512) -> Any:
        for start in range(0, len(ids), size):
            part = ids[start : start + size]
            yield b"".join(b'{"custom_id":"' + one + TAILS[at % POOL] for at, one in enumerate(part, start))

    return StreamingResponse(blocks(), media_type="application/x-jsonl")


app = Starlette(
    routes=[
        Route("/v1/messages/batches", create, methods=["POST"]),
        Route("/v1/messages/batches", listed),
        Route("/v1/messages/batches/{name}", retrieve),
        Route("/v1/messages/batches/{name}/results", results),
    ]
)

if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])
