"""The official SDK as a judge: what it sends is understood, what it gets it can read."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from anthropic import types
from pydantic import BaseModel, TypeAdapter

from .api import LABEL, ROUTE, Api, ask, blocks, with_schema
from .made import CITED, document, pdf, text, tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Serve = Callable[..., Api]
    Sdk = Callable[..., anthropic.Anthropic]


@pytest.fixture
def sdk() -> Iterator[Callable[..., anthropic.Anthropic]]:
    """Makes clients of the official SDK for an emulator."""
    with ExitStack() as stack:

        def make(api: Api, **options: Any) -> anthropic.Anthropic:
            settings: Any = {"api_key": "key-a", "base_url": api.server.url, "max_retries": 0, **options}
            return stack.enter_context(anthropic.Anthropic(**settings))

        yield make


def requests(*params: dict[str, Any]) -> Any:
    return [{"custom_id": f"r{row}", "params": item} for row, item in enumerate(params)]


def test_a_batch_from_creation_to_deletion(api: Api, sdk: Sdk) -> None:
    client = sdk(api)
    created = client.messages.batches.create(requests=requests(ask(**with_schema(LABEL)), ask(model="nope")))

    api.server.wait_idle()
    ended = client.messages.batches.retrieve(created.id)
    results = {line.custom_id: line.result for line in client.messages.batches.results(created.id)}
    deleted = client.messages.batches.delete(created.id)

    assert created.processing_status == "in_progress"
    assert created.expires_at - created.created_at == dt.timedelta(hours=24)
    assert (ended.request_counts.succeeded, ended.request_counts.errored) == (1, 1)
    assert results["r0"].type == "succeeded"
    assert results["r0"].message.content[0].type == "text"
    assert results["r1"].type == "errored"
    assert results["r1"].error.error.type == "not_found_error"
    assert deleted.id == created.id
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.retrieve(created.id)


def test_results_of_a_running_batch_are_not_even_asked_for(serve: Serve, sdk: Sdk) -> None:
    api = serve(law=100)
    client = sdk(api)
    created = client.messages.batches.create(requests=requests(ask()))

    with pytest.raises(anthropic.AnthropicError, match="for the given batch; Has it finished processing"):
        client.messages.batches.results(created.id)


def test_pages_are_turned_in_both_directions(api: Api, sdk: Sdk) -> None:
    client = sdk(api)
    made = [client.messages.batches.create(requests=requests(ask())).id for _ in range(7)]

    back = [batch.id for batch in client.messages.batches.list(limit=2)]
    forth = [batch.id for batch in client.messages.batches.list(limit=2, before_id=made[0])]

    assert back == made[::-1]
    assert sorted(forth) == sorted(made[1:])


def test_canceling(serve: Serve, sdk: Sdk) -> None:
    api = serve(law=100, lanes=1)
    client = sdk(api)
    created = client.messages.batches.create(requests=requests(ask(), ask("b")))

    canceling = client.messages.batches.cancel(created.id)
    api.server.advance(101)
    kinds = sorted(line.result.type for line in client.messages.batches.results(created.id))

    assert canceling.processing_status == "canceling"
    assert canceling.cancel_initiated_at is not None
    assert kinds == ["canceled", "succeeded"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("400", anthropic.BadRequestError),
        ("401", anthropic.AuthenticationError),
        ("403", anthropic.PermissionDeniedError),
        ("404", anthropic.NotFoundError),
        ("409", anthropic.ConflictError),
        ("413", anthropic.RequestTooLargeError),
        ("429", anthropic.RateLimitError),
        ("500", anthropic.InternalServerError),
        ("502", anthropic.InternalServerError),
        ("529", anthropic.OverloadedError),
        ("reset", anthropic.APIConnectionError),
        ("lost_reply@create", anthropic.APIConnectionError),
    ],
)
def test_each_fault_raises_the_error_of_its_class(serve: Serve, fault: str, error: type[Exception], sdk: Sdk) -> None:
    client = sdk(serve(faults=[fault]))

    with pytest.raises(error):
        client.messages.batches.create(requests=requests(ask()))


def test_errors_carry_type_and_request_id(api: Api, sdk: Sdk) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        sdk(api).messages.batches.create(requests=[{"custom_id": "a" * 65, "params": ask()}])  # type: ignore[typeddict-item]

    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id is not None
    assert caught.value.request_id.startswith("req_")
    assert "requests.0.custom_id: String should have at most 64 characters" in str(caught.value)


def test_the_sdk_comes_back_after_a_429_and_makes_a_second_batch_after_a_lost_reply(serve: Serve, sdk: Sdk) -> None:
    limited = serve(faults=["429@create:times=1,retry_after=0.01"])
    lost = serve(faults=["lost_reply:times=1"])
    for api in (limited, lost):
        sdk(api, max_retries=2).messages.batches.create(requests=requests(ask()))

    assert limited.server.usage()["batches_created"] == 1
    assert lost.server.usage()["batches_created"] == 2


def test_a_truncated_download_yields_whole_lines_and_then_raises(serve: Serve, sdk: Sdk) -> None:
    api = serve(faults=["truncated"])
    client = sdk(api)
    created = client.messages.batches.create(requests=requests(*(ask(f"text {row}") for row in range(40))))
    api.server.wait_idle()
    got = []

    with pytest.raises(Exception, match="incomplete"):  # noqa: PT012
        for line in client.messages.batches.results(created.id):
            got.append(line.custom_id)  # noqa: PERF401

    assert 10 < len(got) < 40


def test_a_direct_call_its_tokens_and_the_models(api: Api, sdk: Sdk) -> None:
    client = sdk(api)
    params: Any = ask(tools=[tool()], tool_choice={"type": "any"})
    message = client.messages.create(**params)
    count = client.messages.count_tokens(model="claude-haiku-4-5", messages=[{"role": "user", "content": "Hi"}])
    models = {model.id: model for model in client.models.list(limit=3)}

    assert message.content[0].type == "tool_use"
    assert message.usage.service_tier == "standard"
    assert count.input_tokens > 0
    assert models["claude-haiku-5-5"].max_tokens == 128_000
    assert client.models.retrieve("claude-haiku-4-5").id == "claude-haiku-4-5-20251001"


def test_the_beta_client_speaks_the_same_routes(api: Api, sdk: Sdk) -> None:
    client = sdk(api)
    created = client.beta.messages.batches.create(
        requests=requests(ask(model="claude-opus-5", max_tokens=200_000)), betas=["output-300k-2026-03-24"]
    )
    api.server.wait_idle()
    (line,) = client.beta.messages.batches.results(created.id)

    assert line.result.type == "succeeded"


def test_transformed_schemas_are_within_the_subset(api: Api) -> None:
    import pydantic

    class Review(pydantic.BaseModel):
        """What a review says."""

        stars: int = pydantic.Field(ge=1, le=5)
        words: list[str]
        when: dt.date | None = None

    schema = anthropic.transform_schema(Review)

    assert api.error(ask(**with_schema(schema))) == ""


def strangers(it: Any, place: str = "") -> list[str]:
    """Keys that the SDK's types do not know, anywhere inside."""
    if isinstance(it, list):
        return [found for row, part in enumerate(it) for found in strangers(part, f"{place}.{row}")]
    if not isinstance(it, BaseModel):
        return []
    inside = [strangers(getattr(it, name), f"{place}.{name}") for name in type(it).model_fields]
    return [f"{place}.{name}" for name in it.model_extra or {}] + [found for part in inside for found in part]


def as_typed(kind: Any, it: Any) -> Any:
    """It, as an instance of the SDK's type, validated strictly; nothing is left over."""
    typed = TypeAdapter(kind).validate_json(json.dumps(it))
    assert strangers(typed) == []
    return typed


SHAPES = [
    ask(),
    ask(max_tokens=2),
    ask(**with_schema(LABEL)),
    ask(tools=[tool()], tool_choice={"type": "any"}),
    ask(thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=3000),
    ask(model="claude-opus-5-5", thinking={"type": "adaptive", "display": "summarized"}),
    ask(**blocks(document(**CITED), text("?"))),
    ask(**blocks(pdf(2, **CITED), text("?"))),
    ask(**blocks(text("word " * 9_000, cache_control={"type": "ephemeral", "ttl": "1h"}))),
]


def test_every_shape_of_answer_is_of_the_sdks_types_with_nothing_left_over(serve: Serve) -> None:
    api = serve(faults=["refusal:p=0.3"])
    lines = api.lines(api.ended(api.create(*SHAPES, *SHAPES, ask(model="nope"))["id"])["id"])

    for line in lines:
        as_typed(types.messages.MessageBatchIndividualResponse, line)
    for params in SHAPES:
        as_typed(types.Message, api.http.post("/v1/messages", json=params).json())
    assert {line["result"]["type"] for line in lines} == {"succeeded", "errored"}


def test_batches_pages_and_models_are_of_the_sdks_types_with_nothing_missing(serve: Serve) -> None:
    api = serve(law=100, lanes=1)
    running, canceled, ended = (api.create(ask(), ask("b"))["id"] for _ in range(3))
    api.http.post(f"{ROUTE}/{canceled}/cancel")
    shown = [api.get(name) for name in (running, canceled)]
    api.server.advance(101)
    shown += [api.get(name) for name in (canceled, ended)]
    api.server.advance(30 * 86_400)
    shown += [api.get(ended), *api.http.get(ROUTE).json()["data"]]

    for batch in shown:
        assert set(batch) == set(types.messages.MessageBatch.model_fields)
        as_typed(types.messages.MessageBatch, batch)
    for query in ("active", "deprecated", "retired"):
        page = api.http.get("/v1/models", params={"lifecycle[]": query}).json()
        assert set(page) == {"data", "has_more", "first_id", "last_id"}
        for model in page["data"]:
            assert set(model) == set(types.ModelInfo.model_fields)
            assert as_typed(types.ModelInfo, model).lifecycle == query
    as_typed(types.messages.DeletedMessageBatch, api.http.delete(f"{ROUTE}/{ended}").json())


def test_counting_under_the_context_beta_tells_what_it_was_before(api: Api) -> None:
    params = ask(max_tokens=None, context_management={"edits": []})
    beta = {"anthropic-beta": "context-management-2025-06-27"}
    count = as_typed(
        types.beta.BetaMessageTokensCount,
        api.http.post("/v1/messages/count_tokens", json=params, headers=beta).json(),
    )

    assert count.context_management.original_input_tokens == count.input_tokens


def test_the_async_client(api: Api) -> None:
    async def run() -> tuple[list[str], list[str]]:
        async with anthropic.AsyncAnthropic(api_key="key-a", base_url=api.server.url, max_retries=0) as client:
            created = await client.messages.batches.create(requests=requests(ask(), ask("b")))
            await asyncio.to_thread(api.server.wait_idle)
            lines = [line.custom_id async for line in await client.messages.batches.results(created.id)]
            listed = [batch.id async for batch in client.messages.batches.list(limit=1)]
            with pytest.raises(anthropic.BadRequestError):
                await client.messages.batches.cancel(created.id)
            await client.messages.batches.delete(created.id)
            return lines, listed

    lines, listed = asyncio.run(run())

    assert sorted(lines) == ["r0", "r1"]
    assert len(listed) == 1
