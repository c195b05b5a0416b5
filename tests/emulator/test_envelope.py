from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfbatch.emulator import envelope
from dfbatch.emulator.errors import ApiError

from .api import ROUTE, ask, refusal

if TYPE_CHECKING:
    from pathlib import Path

    from .api import Api

PLACE = "requests.0"


def body(*items: Any, **more: Any) -> bytes:
    return json.dumps({"requests": list(items), **more}).encode()


def item(custom_id: Any = "a", **more: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "params": ask(), **more}


BAD = [
    (b"", "The request body is not valid JSON"),
    (b"hello", "The request body is not valid JSON"),
    (b'{"requests": [', "The request body is not valid JSON"),
    (b'{"requests": [{"custom_id": "a", "params": {"a": "\xff"}}]}', "The request body is not valid JSON"),
    (b'{"requests": [{"custom_id": "a", "params": {"a": NaN}}]}', "The request body is not valid JSON"),
    (
        b'{"requests":[{"custom_id":"a","params":' + b"[" * 9000 + b"]" * 9000 + b"}]}",
        "The request body is not valid JSON",
    ),
    (b'{"requests":' + b"[" * 9000 + b"]" * 9000 + b"}", "The request body is not valid JSON"),
    (b'{"model":' + b"9" * 5000 + b"}", "model: Extra inputs are not permitted"),  # a number no float holds
    (
        b'{"requests": [{"custom_id": ' + b"9" * 5000 + b', "params": {}}]}',
        f"{PLACE}.custom_id: Input should be a valid",
    ),
    (b'{"requests": [{"custom_id": "a", "params": {}}, 5, {"custom', "requests.1: Input should be an object"),
    (b"[]", "Input should be an object"),
    (b"{}", "requests: Field required"),
    (b'{"requests": {}}', "requests: Input should be a valid array"),
    (b'{"requests": []}', "requests: List should have at least 1 item after validation, not 0"),
    (body(item(), model="x"), "model: Extra inputs are not permitted"),
    (body(5), f"{PLACE}: Input should be an object"),
    (body({"params": {}}), f"{PLACE}.custom_id: Field required"),
    (body({"custom_id": "a"}), f"{PLACE}.params: Field required"),
    (body(item(betas=["x"])), f"{PLACE}.betas: Extra inputs are not permitted"),
    (body(item(5)), f"{PLACE}.custom_id: Input should be a valid string"),
    (body(item("")), f"{PLACE}.custom_id: String should have at least 1 character"),
    (body(item("a" * 65)), f"{PLACE}.custom_id: String should have at most 64 characters"),
    (body(item("a b")), f"{PLACE}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'"),
    (body(item("a\n")), f"{PLACE}.custom_id: String should match pattern"),
    (body(item("é")), f"{PLACE}.custom_id: String should match pattern"),
    (body(item("a"), item("b"), item("a")), "requests.2.custom_id: custom_id must be unique within the batch"),
    (body(item("a"), {"custom_id": "b", "params": 5}), "requests.1.params: Input should be an object"),
]


@pytest.mark.parametrize(("content", "text"), BAD)
def test_a_bad_envelope_is_refused_whole(api: Api, content: bytes, text: str) -> None:
    status, kind, message = refusal(api.http.post(ROUTE, content=content))

    assert (status, kind) == (400, "invalid_request_error")
    assert message.startswith(text)
    assert api.http.get(ROUTE).json()["data"] == []


def test_a_custom_id_may_be_64_of_its_characters(api: Api) -> None:
    names = ["a" * 64, "A-Z_0-9", "-", "0"]

    assert sorted(api.results(api.create(**{name: ask() for name in names})["id"])) == sorted(names)


def test_more_than_100_000_requests_are_refused(api: Api) -> None:
    content = b'{"requests":[' + b",".join(b'{"custom_id":"%d","params":{}}' % row for row in range(100_001)) + b"]}"

    status, _kind, message = refusal(api.http.post(ROUTE, content=content))

    assert (status, message) == (400, "requests: List should have at most 100000 items after validation, not 100001")


def test_a_body_beyond_256_mb_is_refused_as_cloudflare_does(api: Api) -> None:
    def endless() -> Any:
        for _ in range(257):
            yield b" " * 1_000_000

    for content, headers in ((endless(), {"content-length": "257000000"}), (endless(), {})):
        reply = api.http.post(ROUTE, content=content, headers=headers)

        assert reply.status_code == 413
        assert reply.json() == {"error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}}


def test_an_encoded_body_is_refused_with_its_code(api: Api) -> None:
    reply = api.http.post(ROUTE, content=b"x", headers={"content-encoding": "gzip"})

    assert refusal(reply)[0] == 400
    assert reply.json()["error"]["details"] == {"error_code": "request_body_encoding_unsupported"}


blanks = st.sampled_from([b"", b" ", b"\n\t ", b"\r\n"])
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=9) | st.just('},{"custom_id":"a","params":{}}'),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "custom_id", "params", "requests"]), inner, max_size=3)
    ),
    max_leaves=9,
)
objects = st.dictionaries(st.sampled_from(["custom_id", "params", "requests", "x"]), anything, max_size=4)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, list[Any]]:
    """A body of many shapes, with the params it holds."""
    params = draw(st.lists(objects, min_size=1, max_size=8))
    parts = []
    for row, inner in enumerate(params):
        pairs = [
            (b'"custom_id"', b'"r%d"' % row),
            (b'"params"', json.dumps(inner, ensure_ascii=draw(st.booleans())).encode()),
        ]
        if draw(st.booleans()):
            pairs.reverse()
        inside = b",".join(draw(blanks) + key + draw(blanks) + b":" + draw(blanks) + value for key, value in pairs)
        parts.append(draw(blanks) + b"{" + inside + draw(blanks) + b"}" + draw(blanks))
    opening = draw(blanks) + b"{" + draw(blanks) + b'"requests"' + draw(blanks) + b":" + draw(blanks) + b"["
    return opening + b",".join(parts) + draw(blanks) + b"]" + draw(blanks) + b"}" + draw(blanks), params


@settings(max_examples=40, deadline=None)
@given(made=bodies(), window=st.sampled_from([48, 64, 100, 300, 5000]))
def test_a_body_is_cut_into_its_requests_whatever_the_window(
    tmp_path_factory: pytest.TempPathFactory, made: tuple[bytes, list[Any]], window: int
) -> None:
    content, params = made
    path = tmp_path_factory.mktemp("body") / "body"
    path.write_bytes(content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(envelope, "_WINDOW", window)
        entries = envelope.read(path)
    found = [json.loads(content[start : start + length]) for start, length, _name in entries.tolist()]

    assert [name.decode() for name in entries["custom_id"].tolist()] == [f"r{row}" for row in range(len(params))]
    assert found == params


@settings(max_examples=40, deadline=None)
@given(made=bodies(), window=st.sampled_from([48, 100, 5000]), data=st.data())
def test_a_damaged_body_is_refused_whatever_the_window(
    tmp_path_factory: pytest.TempPathFactory, made: tuple[bytes, list[Any]], window: int, data: st.DataObject
) -> None:
    content = made[0]
    at = data.draw(st.integers(0, len(content) - 1))
    damaged = content[:at] + data.draw(st.sampled_from([b"", b"\x00", b"}", b'"', b"[[", b"\xff"])) + content[at + 1 :]
    path = tmp_path_factory.mktemp("body") / "body"
    path.write_bytes(damaged)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(envelope, "_WINDOW", window)
        try:
            entries = envelope.read(path)
        except ApiError:
            return
    body = json.loads(damaged)

    assert [request["params"] for request in body["requests"]] == [
        json.loads(damaged[start : start + length]) for start, length, _name in entries.tolist()
    ]


def test_memory_is_bounded_by_the_window_when_a_long_body_is_garbage(tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(b'{"requests":[' + b'{"custom_id":"a","params":{}},' * 50_000 + b"oops" + b" " * 9_000_000)

    with pytest.raises(ApiError, match="not valid JSON"):
        envelope.read(path)
