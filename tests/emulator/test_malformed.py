"""Whatever is thrown at a route, it answers: never a 500, never a hang, always in the API's error shape."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dfbatch.emulator import Server
from dfbatch.emulator.params import shapes

from .api import LABEL, ROUTE, Api, ask
from .test_params import CITED, FINE, MARK, TABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

PATHS = [
    *(ROUTE, f"{ROUTE}/x", f"{ROUTE}/x/results", f"{ROUTE}/x/cancel", "/v1/messages", "/v1/messages/count_tokens"),
    *("/v1/models", "/v1/models/x", "/_emulator/clock", "/_emulator/faults", "/_emulator/usage", "/", "/v1"),
]
KEYS = {key.rstrip("!") for shape in shapes.SHAPES.values() for key in shape if key != "*"}
MORE = ("requests", "custom_id", "params", "$ref", "anyOf", "properties", "required", "enum", "pattern", "items")
TAGS = {tag for union in shapes.UNIONS.values() for tag in union} | {"object", "string"}
words = st.sampled_from([*sorted(KEYS), *MORE])
tags = st.sampled_from(sorted(TAGS))
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | tags
)
junk = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4), max_leaves=12
)
bases = [params for _name, params in FINE] + [params for _name, params, _text in TABLE if len(str(params)) < 5_000]
bases += [ask(**MARK), ask(**CITED), ask(output_config={"format": {"type": "json_schema", "schema": LABEL}})]


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """Params that were good once, with a few places overwritten by junk."""
    value: Any = json.loads(json.dumps(draw(st.sampled_from(bases))))
    for _ in range(draw(st.integers(1, 3))):
        at = value
        for _depth in range(6):
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not keys:
                break
            key: Any = draw(st.sampled_from(keys))
            if isinstance(at[key], dict | list) and draw(st.booleans()):
                at = at[key]
                continue
            at[key] = draw(junk)
            break
    return value


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with Server() as server, Api(server) as api:
        yield api


def assert_answered(api: Api, method: str, path: str, **more: Any) -> None:
    reply = api.http.request(method, path, timeout=10, **more)

    assert reply.status_code < 500, reply.text
    if reply.status_code >= 400 and reply.status_code != 413:
        body = reply.json()
        assert set(body) == {"type", "error", "request_id"}
        assert {"type", "message"} <= set(body["error"])
        assert body["request_id"] == reply.headers["request-id"]


quick = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@quick
@given(
    method=st.sampled_from(["GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"]),
    path=st.sampled_from(PATHS)
    | st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?#"), max_size=9).map("/".__add__),
    query=st.dictionaries(
        st.sampled_from(["limit", "before_id", "after_id", "beta", "lifecycle[]"]), st.text(max_size=4)
    ),
    body=st.binary(max_size=40) | junk.map(lambda value: json.dumps(value).encode()),
)
def test_any_call_is_answered(api: Api, method: str, path: str, query: dict[str, str], body: bytes) -> None:
    if path == "/_emulator/faults" or path.startswith("//"):
        return
    assert_answered(api, method, path, params=query, content=body)


@quick
@given(params=mutated() | junk)
def test_any_params_are_answered_directly(api: Api, params: Any) -> None:
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        assert_answered(api, "POST", path, content=json.dumps(params))


@quick
@given(many=st.lists(mutated() | st.dictionaries(words, junk, max_size=5), min_size=1, max_size=12))
def test_any_params_are_answered_in_a_batch_and_none_is_an_error_of_ours(api: Api, many: list[Any]) -> None:
    body = {"requests": [{"custom_id": f"r{row}", "params": params} for row, params in enumerate(many)]}
    batch = api.http.post(ROUTE, content=json.dumps(body)).json()
    results = api.results(batch["id"])

    assert len(results) == len(many)
    for result in results.values():
        if result["type"] == "errored":
            assert result["error"]["error"]["type"] in {"invalid_request_error", "not_found_error"}, result


@quick
@given(item=st.dictionaries(words, junk, max_size=4) | junk, whole=st.booleans())
def test_any_envelope_is_answered(api: Api, item: Any, *, whole: bool) -> None:
    assert_answered(api, "POST", ROUTE, content=json.dumps(item if whole else {"requests": [item]}))


@pytest.mark.full
@settings(quick, max_examples=1500)
@given(params=mutated() | junk)
def test_many_params_are_answered_directly(api: Api, params: Any) -> None:
    assert_answered(api, "POST", "/v1/messages", content=json.dumps(params))
