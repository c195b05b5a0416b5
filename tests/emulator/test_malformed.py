"""Whatever is thrown at a route, it answers: never a 500, never a hang, always in the API's error shape."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dfbatch.emulator import Server
from dfbatch.emulator.params import shapes

from . import test_contents, test_params
from .api import LABEL, ROUTE, Api, ask
from .made import CITED, MARK, thing

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
fine = test_params.FINE + test_contents.FINE
bad = test_params.TABLE + test_contents.TABLE
bases = [params for params in (case[1] for case in (*fine, *bad)) if len(str(params)) < 5_000]
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


# JSON that Python's own writer would not write, and some that readers have died of
LITERALS = [
    *(
        '"\\ud800"',
        '"\\udc00\\ud800"',
        '"\\u0000"',
        '"\\x"',
        '"\x01"',
        "1e999",
        "-0",
        "1.0",
        "NaN",
        "-Infinity",
        "+1",
        "01",
        "",
    ),
    *("9" * 5_000, "-" + "9" * 5_000, "1." + "9" * 5_000, "1e-99999", "[" * 3_000 + "]" * 3_000, "[" * 3_000),
    *('{"a":' * 3_000 + "1" + "}" * 3_000, '{"a":1,"a":2}', '{"\\ud800":1}', '{"":1}', '{"a"}', "[1,]", "// a", "'a'"),
]
literals = st.sampled_from(LITERALS)
SCHEMA_WORDS = (
    "type",
    "properties",
    "required",
    "items",
    "anyOf",
    "allOf",
    "enum",
    "const",
    "$ref",
    "$defs",
    "minItems",
)
schemas = st.recursive(
    leaves | st.sampled_from([{"$ref": "#"}, {"$ref": "#/$defs/a"}, {"type": "string", "pattern": "[a-z]+"}, LABEL]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from([*SCHEMA_WORDS, "pattern", "format", "a"]), inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2).map(
            lambda parts: {**thing(**parts), "$defs": parts}
        )
    ),
    max_leaves=8,
)
HEADERS = {
    "anthropic-version": ["", "2023-06-01", "2026-10-21", "1", "x" * 3_000, "\xff"],
    "anthropic-beta": ["", ",,,", "output-300k-2026-03-24", "a" * 3_000, "\xff", "mcp-client-2025-11-20,,x"],
    "x-api-key": ["", "k", "\xe9\xff", "a" * 3_000],
    "authorization": ["Bearer", "Bearer k", "Basic k", "\xff"],
    "anthropic-workspace-id": ["", "wrkspc_1", "\xff"],
    "anthropic-user-profile-id": ["", "a", "\xff"],
    "content-type": ["", "text/xml", "application/json; charset=utf-16", "\xff"],
    "content-encoding": ["", "identity", "gzip", "br, gzip", "\xff"],
    "accept": ["", "image/png", "application/binary"],
    "host": ["", "a b", "evil.example:99999", "[::1", "\xff"],
    "range": ["bytes=5-", "x"],
    "expect": ["100-continue", "x"],
}
headers = st.dictionaries(st.sampled_from(sorted(HEADERS)), st.integers(0, 9), max_size=4).map(
    lambda drawn: {name: HEADERS[name][which % len(HEADERS[name])].encode("latin-1") for name, which in drawn.items()}
)


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with Server() as server, Api(server) as api:
        yield api


def assert_answered(api: Api, method: str, path: str, **more: Any) -> None:
    reply = api.http.request(method, path, timeout=10, **more)

    assert reply.status_code < 500, reply.text
    assert reply.headers["request-id"].startswith("req_")
    if reply.status_code >= 400 and method != "HEAD":
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
    if path.startswith("//"):
        return
    assert_answered(api, method, path, params=query, content=body)
    if path == "/_emulator/faults":
        api.http.delete(path)


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


@quick
@given(
    key=words, literal=literals, place=st.sampled_from(["params", "envelope", "item", "custom_id", "requests", "body"])
)
def test_any_text_that_is_nearly_json_is_answered(api: Api, key: str, literal: str, place: str) -> None:
    params = json.dumps(ask())[:-1] + f', "{key}": {literal}}}'
    item = f'{{"custom_id": "a", "params": {params}}}'
    body = {
        "params": f'{{"requests": [{item}]}}',
        "envelope": f'{{"{key}": {literal}, "requests": [{item}]}}',
        "item": f'{{"requests": [{item[:-1]}, "{key}": {literal}}}]}}',
        "custom_id": f'{{"requests": [{{"custom_id": {literal}, "params": {params}}}]}}',
        "requests": f'{{"requests": [{literal}, {item}]}}',
        "body": literal,
    }[place].encode()

    assert_answered(api, "POST", ROUTE, content=body)
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        assert_answered(api, "POST", path, content=params.encode())


@quick
@given(schema=schemas, strict=st.booleans())
def test_any_schema_is_answered(api: Api, schema: Any, *, strict: bool) -> None:
    form = {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    tool = {"tools": [{"name": "a", "strict": True, "input_schema": schema}], "tool_choice": {"type": "any"}}

    assert_answered(api, "POST", "/v1/messages", content=json.dumps(ask(**(tool if strict else form))))


@quick
@given(
    sent=headers,
    call=st.sampled_from(
        [("GET", ROUTE), ("GET", f"{ROUTE}/x"), ("POST", ROUTE), ("POST", "/v1/messages"), ("GET", "/v1/models")]
    ),
)
def test_any_headers_are_answered(api: Api, sent: dict[str, bytes], call: tuple[str, str]) -> None:
    method, path = call
    body = {"requests": [{"custom_id": "a", "params": ask()}]} if path == ROUTE else ask()

    assert_answered(api, method, path, headers=sent, content=json.dumps(body) if method == "POST" else None)


@quick
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "DELETE", "PUT", "TRACE"]),
    parts=st.lists(
        st.sampled_from(["v1", "messages", "batches", "models", "results", "cancel", "count_tokens", "_emulator"])
        | st.sampled_from(["%00", "%ff", "..", "%2e%2e", "%2f", "", "%ed%a0%80", "a" * 5_000, "msgbatch_01", "é", "*"]),
        min_size=1,
        max_size=6,
    ),
)
def test_any_path_is_answered(api: Api, method: str, parts: list[str]) -> None:
    assert_answered(api, method, f"{api.server.url}/{'/'.join(parts)}")


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nhost: a\r\ncontent-length: -5\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01" + b"\x00" * 40 + b"\r\n\r\n",
    ],
)
def test_what_is_no_http_is_answered_and_hung_up_on(api: Api, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", int(api.server.url.rpartition(":")[2])), timeout=10) as raw:
        raw.sendall(sent)
        answer = b"".join(iter(lambda: raw.recv(1 << 16), b""))

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert api.http.get(ROUTE).status_code == 200


@pytest.mark.full
@settings(quick, max_examples=1500)
@given(params=mutated() | junk)
def test_many_params_are_answered_directly(api: Api, params: Any) -> None:
    assert_answered(api, "POST", "/v1/messages", content=json.dumps(params))


@pytest.mark.full
@settings(quick, max_examples=1500)
@given(schema=schemas)
def test_many_schemas_are_answered(api: Api, schema: Any) -> None:
    form = {"format": {"type": "json_schema", "schema": schema}}

    assert_answered(api, "POST", "/v1/messages", content=json.dumps(ask(output_config=form)))
