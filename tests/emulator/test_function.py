from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from dfbatch.emulator.errors import ApiError

from .api import ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from .api import Api


def echo(params: dict[str, Any]) -> Any:
    """Answers with what the text says in JSON."""
    return json.loads(params["messages"][0]["content"])


@pytest.mark.parametrize("value", [{"a": 1}, [1, 2], 5, None, True, "plain words"])
def test_an_answer_is_text_or_becomes_json(serve: Callable[..., Api], value: Any) -> None:
    (block,) = serve(engine=echo).message(ask(json.dumps(value)))["content"]

    assert block["text"] == (value if isinstance(value, str) else json.dumps(value, separators=(",", ":")))


def test_an_exception_becomes_an_errored_line_and_harms_no_other(serve: Callable[..., Api]) -> None:
    def moody(params: dict[str, Any]) -> str:
        if "bad" in params["messages"][0]["content"]:
            raise LookupError("no answer to that")
        return "fine"

    results = serve(engine=moody).run(ask("good"), ask("bad"), ask("busy"))

    assert [result["type"] for result in results] == ["succeeded", "errored", "succeeded"]
    assert results[1]["error"]["error"] == {"type": "api_error", "message": "LookupError: no answer to that"}


@pytest.mark.parametrize("leave", [lambda: pytest.fail("never asked"), lambda: sys.exit("over")])
def test_a_function_that_ends_its_test_or_program_ends_its_answer_alone(
    serve: Callable[..., Api], leave: Callable[[], None]
) -> None:
    def gone(params: dict[str, Any]) -> str:
        if params["messages"][0]["content"] != "good":
            leave()
        return "fine"

    results = serve(engine=gone).run(ask("good"), ask("bad"), ask("worse"))

    assert [result["type"] for result in results] == ["succeeded", "errored", "errored"]


def test_a_function_may_choose_its_error(serve: Callable[..., Api]) -> None:
    def busy(_params: dict[str, Any]) -> str:
        raise ApiError("later", status=529)

    (result,) = serve(engine=busy).run(ask())

    assert result["error"]["error"] == {"type": "overloaded_error", "message": "later"}


def test_what_is_no_json_is_an_errored_line(serve: Callable[..., Api]) -> None:
    assert "not JSON" in serve(engine=lambda _params: object()).error(ask())


def test_requests_are_kept_as_they_came(serve: Callable[..., Api]) -> None:
    api = serve(engine=echo)
    asked = [ask('"a"', system="s"), ask('"b"')]
    api.run(*asked)

    def text(params: Any) -> str:
        return str(params["messages"])

    assert sorted(api.server.requests, key=text) == asked


def test_the_engine_is_named_after_its_function_unless_named_otherwise(serve: Callable[..., Api]) -> None:
    named = [serve(engine=echo), serve(engine=echo, engine_name="parrot")]

    assert [api.http.get("/v1/models").headers["x-emulator-engine"] for api in named] == ["echo", "parrot"]
    assert named[1].http.get("/_emulator/health").json()["engine"] == "parrot"


def test_bad_requests_never_reach_the_function(serve: Callable[..., Api]) -> None:
    api = serve(engine=echo)
    api.run(ask(max_tokens=0))

    assert api.server.requests == []
