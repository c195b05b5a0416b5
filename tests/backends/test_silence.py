"""How a server shows that it tells nothing of tokens and models, and what is an error instead."""

from __future__ import annotations

import gzip
import json
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from dfbatch.backends.anthropic import Anthropic
from dfbatch.errors import Ambiguous, ApiError, NotFound, RateLimited, TooLarge, Unauthorized, Unreachable
from tests.backends.advice import COUNT, INFO, MODEL, PAGE, both, counting, describing, encoded, refusal, told
from tests.wire import Peer, Wire, nobody, saying

if TYPE_CHECKING:
    from tests.backends.advice import Ask, Question

KEY = "sk-unseen"


# servers that do not tell


NOWHERE = [
    (404, b""),
    (404, b"404 page not found\n"),
    (404, PAGE),
    (404, {"detail": "Not Found"}),
    (404, {"error": "Not Found"}),
    (404, {"error": None}),
    (404, []),
    (404, refusal("not_found_error", "Not Found")),
    (404, refusal("not_found_error", "Not found")),
    (404, refusal("not_found_error", "no")),
    (404, refusal("not_found_error", "")),
    (404, {"type": "error", "error": {"type": "not_found_error"}}),
    (404, refusal("not_found_error", f"Cannot GET /v1/models/{MODEL}")),
    (404, refusal("some_error", f"model: {MODEL}")),
    (404, {"error": {"type": "invalid_request_error", "message": "Unknown request URL", "code": "unknown_url"}}),
    (404, refusal("invalid_request_error", f"model: {MODEL}")),
    (405, b""),
    (405, {"detail": "Method Not Allowed"}),
    (405, refusal("invalid_request_error", "Method Not Allowed")),
    (501, b""),
    (501, refusal("api_error", f"model: {MODEL} cannot be counted")),
    (400, b"inference error: BadRequest - no parser registered"),
    (400, {"detail": "no"}),
    (410, PAGE),
    (422, {"detail": [{"loc": ["body"], "msg": "Field required"}]}),
    (301, b""),
    (307, PAGE),
    (200, b""),
    (200, PAGE),
    (200, b"null"),
    (200, b"[]"),
    (200, b"12"),
    (200, b'"ok"'),
    (200, b"\xff"),
    (200, b"{"),
    (200, b"[" * 100_000),
    (200, b'{"x":' * 100_000),
    (200, {"error": {"type": "api_error", "message": "no"}}),
    (204, b""),
]


@both
@pytest.mark.parametrize(("status", "body"), NOWHERE)
def test_a_server_that_does_not_tell_is_no_error(status: int, body: Any, question: Question, ask: Ask) -> None:
    assert told(ask, question, status, body, location="https://login.example/") is None


# a missing model


@both
@pytest.mark.parametrize(
    "message",
    [
        f"model: {MODEL}",
        f"model '{MODEL}' not found",
        f"The model `{MODEL}` does not exist or you do not have access to it.",
        f"Model not found: {MODEL}",
        f"{MODEL} is not a model that can be used with this API",
    ],
)
def test_a_missing_model_is_told_from_a_missing_route(message: str, question: Question, ask: Ask) -> None:
    with pytest.raises(NotFound) as caught:
        told(ask, question, 404, refusal("not_found_error", message), request_id="req_7")

    assert str(caught.value) == (
        f"the API said 404 not_found_error: {message}\nrequest-id: req_7\nHint: check model= and the address"
    )
    assert (caught.value.status, caught.value.type) == (404, "not_found_error")


@pytest.mark.parametrize(
    "model", ["m", "o", "my-model", "org/model-x", "模型", "50%", "a(b", "claude haiku", "x" * 200]
)
def test_a_missing_model_may_have_any_name(model: str, ask: Ask) -> None:
    for question in (
        lambda backend: backend.describe(model),
        lambda backend: backend.count(encoded(model=model), ()),
    ):
        with pytest.raises(NotFound):
            told(ask, question, 404, refusal("not_found_error", f"model: {model}"))


@pytest.mark.parametrize("model", ["m", "o", "my-model", "org/model-x", "model", "models", "Not Found", "x" * 200])
@pytest.mark.parametrize(
    "message", ["Not Found", "Cannot GET /v1/models/{}", "no route for GET /v1/model/{}", "/v1/models/{} not found", ""]
)
def test_a_missing_route_may_name_the_model_in_its_path(model: str, message: str, ask: Ask) -> None:
    error = refusal("not_found_error", message.format(model))

    assert told(ask, lambda backend: backend.describe(model), 404, error) is None


def test_another_model_than_the_one_asked_for_proves_nothing(ask: Ask) -> None:
    assert told(ask, describing, 404, refusal("not_found_error", "model: another")) is None


def test_a_file_that_is_missing_is_no_missing_model(ask: Ask) -> None:
    assert told(ask, counting, 404, refusal("not_found_error", "File not found: file_1")) is None


# errors


@both
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ApiError),
        (401, Unauthorized),
        (402, ApiError),
        (403, Unauthorized),
        (408, ApiError),
        (409, ApiError),
        (413, TooLarge),
        (422, ApiError),
        (429, RateLimited),
        (500, ApiError),
        (503, ApiError),
        (504, ApiError),
        (529, ApiError),
    ],
)
def test_a_refusal_of_the_api_is_the_usual_error(
    status: int, kind: type[ApiError], question: Question, ask: Ask
) -> None:
    with pytest.raises(kind) as caught:
        told(ask, question, status, refusal(), request_id="req_5")

    assert type(caught.value) is kind
    assert str(caught.value).startswith(f"the API said {status} some_error: no\nrequest-id: req_5\nHint: ")
    assert "batch" not in str(caught.value)
    assert (caught.value.status, caught.value.type) == (status, "some_error")


@both
@pytest.mark.parametrize(
    ("status", "kind"), [(401, Unauthorized), (403, Unauthorized), (429, RateLimited), (502, ApiError)]
)
def test_a_refusal_by_what_stands_between_is_an_error_all_the_same(
    status: int, kind: type[ApiError], question: Question, ask: Ask
) -> None:
    with pytest.raises(kind) as caught:
        told(ask, question, status, PAGE)

    assert str(caught.value).startswith(f"the API said {status}: Sign in\n")


@both
@pytest.mark.parametrize(("told_to", "seconds"), [("7", 7.0), ("0.5", 0.5), ("soon", None), ("-1", 0.0)])
def test_too_many_calls_tell_when_to_come_back(
    told_to: str, seconds: float | None, question: Question, ask: Ask
) -> None:
    with pytest.raises(RateLimited) as caught:
        told(ask, question, 429, refusal("rate_limit_error"), retry_after=told_to)

    assert caught.value.retry_after == seconds


@both
def test_no_answer_is_certain_since_nothing_is_paid(question: Question, ask: Ask) -> None:
    def serve(peer: Peer) -> None:
        if peer.call():
            peer.reset()

    with Wire(serve) as wire:
        for url in (wire.url, nobody()):
            with pytest.raises(Unreachable) as caught:
                ask(Anthropic(api_key="k", base_url=url), question)

            assert not isinstance(caught.value, Ambiguous)


@both
def test_an_answer_that_breaks_off_is_unreachable(question: Question, ask: Ask) -> None:
    def serve(peer: Peer) -> None:
        if peer.call():
            peer.sock.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"input_')
            peer.reset()

    with Wire(serve) as wire, pytest.raises(Unreachable):
        ask(Anthropic(api_key="k", base_url=wire.url), question)


@both
def test_an_answer_without_end_is_read_no_further_than_its_bound(question: Question, ask: Ask) -> None:
    packed = gzip.compress(bytes(1 << 20)) * 65  # a megabyte more than is held

    assert told(ask, question, 200, packed, content_encoding="gzip") is None
    assert told(ask, question, 404, bytes(2 << 20)) is None
    assert told(ask, question, 200, json.dumps(COUNT | INFO).encode(), content_encoding="br") is None


@both
def test_no_error_shows_the_key(question: Question, ask: Ask) -> None:
    def serve(peer: Peer) -> None:
        if peer.call():
            peer.reply(*answers.pop(0))

    answers: list[tuple[int, Any]] = [
        (401, refusal()),
        (500, PAGE),
        (404, refusal("not_found_error", f"model: {MODEL}")),
    ]
    with Wire(serve) as wire:
        for url in [wire.url] * len(answers) + [nobody()]:
            with pytest.raises(ApiError) as caught:
                ask(Anthropic(api_key=KEY, base_url=url), question)

            shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
            assert KEY not in "".join(shown.format()) + repr(vars(caught.value))


@both
def test_the_key_does_not_follow_a_redirect(question: Question, ask: Ask) -> None:
    with Wire(saying(200, COUNT | INFO)) as other, Wire(saying(307, b"", location=other.url)) as wire:
        assert ask(Anthropic(api_key="k", base_url=wire.url), question) is None

        assert other.calls == []
