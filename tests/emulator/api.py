"""A thin client of the emulator for its tests: real sockets, nothing hidden, few words.

Not here: anything of dfbatch's own client, which the emulator must not know.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Self

import httpx
import msgspec

if TYPE_CHECKING:
    from dfbatch.emulator.server import Server

ROUTE = "/v1/messages/batches"
NEW = {"anthropic-version": "2026-10-21"}
LABEL = {
    "type": "object",
    "properties": {"topic": {"type": "string", "enum": ["sport", "tech"]}, "note": {"type": "string"}},
    "required": ["topic", "note"],
    "additionalProperties": False,
}


def ask(text: str = "Hello there", **more: Any) -> dict[str, Any]:
    """Params of an ordinary request; None leaves a key out."""
    params = {"model": "claude-haiku-4-5", "max_tokens": 64, "messages": [{"role": "user", "content": text}], **more}
    return {key: value for key, value in params.items() if value is not None}


def with_schema(schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}, **more}}


def blocks(*content: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content)}]}


class Api:
    """One caller with one key."""

    def __init__(self, server: Server, *, key: str = "key-a", headers: dict[str, str] | None = None) -> None:
        self.server = server
        own = {"x-api-key": key, "anthropic-version": "2023-06-01", **(headers or {})}
        self.http = httpx.Client(base_url=server.url, headers=own, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def create(self, *params: dict[str, Any], headers: dict[str, str] | None = None, **named: dict[str, Any]) -> Any:
        """A batch of these, named r0, r1, … or as given."""
        ids = {**{f"r{row}": item for row, item in enumerate(params)}, **named}
        body = {"requests": [{"custom_id": name, "params": item} for name, item in ids.items()]}
        reply = self.http.post(ROUTE, json=body, headers=headers)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def get(self, batch_id: str) -> Any:
        reply = self.http.get(f"{ROUTE}/{batch_id}")
        assert reply.status_code == 200, reply.text
        return reply.json()

    def ended(self, batch_id: str) -> Any:
        """The batch once the engine is through with it."""
        assert self.server.wait_idle(60)
        return self.get(batch_id)

    def lines(self, batch_id: str) -> list[Any]:
        reply = self.http.get(f"{ROUTE}/{batch_id}/results")
        assert reply.status_code == 200, reply.text
        return [msgspec.json.decode(line) for line in reply.content.split(b"\n")[:-1]]

    def results(self, batch_id: str) -> dict[str, Any]:
        """Results by custom_id."""
        self.ended(batch_id)
        return {line["custom_id"]: line["result"] for line in self.lines(batch_id)}

    def run(self, *params: dict[str, Any], headers: dict[str, str] | None = None) -> list[Any]:
        """The results of these, in their order."""
        results = self.results(self.create(*params, headers=headers)["id"])
        return [results[f"r{row}"] for row in range(len(params))]

    def message(self, params: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
        """The Message that answers one batched request."""
        (result,) = self.run(params, headers=headers)
        assert result["type"] == "succeeded", result
        return result["message"]

    def error(self, params: dict[str, Any], headers: dict[str, str] | None = None) -> str:
        """The text of the errored line of one batched request, or nothing."""
        (result,) = self.run(params, headers=headers)
        return str(result["error"]["error"]["message"]) if result["type"] == "errored" else ""


def refusal(reply: httpx.Response) -> tuple[int, str, str]:
    """(status, type, message) of an error in the API's shape, which is checked on the way."""
    body = reply.json()
    assert body["type"] == "error"
    assert body["request_id"] == reply.headers["request-id"]
    return reply.status_code, body["error"]["type"], body["error"]["message"]


def pages(api: Api, limit: int, anchor: str = "after_id") -> list[str]:
    """The ids of all batches, page by page."""
    found: list[str] = []
    query: dict[str, Any] = {"limit": limit}
    for _ in itertools.count():
        page = api.http.get(ROUTE, params=query).json()
        ids = [batch["id"] for batch in page["data"]]
        found = [*found, *ids] if anchor == "after_id" else [*ids, *found]
        if not page["has_more"]:
            return found
        query[anchor] = page["last_id"] if anchor == "after_id" else page["first_id"]
    raise AssertionError
