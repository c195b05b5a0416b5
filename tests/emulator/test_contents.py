"""The validation table, row by row, for `messages`: turns, blocks, media and cache marks; in a batch and directly.

Not here: all other keys (test_params.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .api import LABEL, NEW, ask, blocks, refusal, with_schema
from .made import (
    CITED,
    HOUR,
    MARK,
    TOOL_RESULT,
    TOOL_USE,
    assert_told,
    document,
    errors,
    image,
    pdf,
    refusals,
    text,
    tool,
    turns,
)

if TYPE_CHECKING:
    from .api import Api
    from .made import Case

PREFILL = "This model does not support assistant message prefill. The conversation must end with a user message."
DIRECTIVE = "the directive-only form (content: [] with output_config) is accepted at any position"
SYSTEM = f"role 'system' must precede an 'assistant' message or end the array; {DIRECTIVE}"

# under 2023-06-01
TABLE: list[Case] = [
    ("no messages", ask(messages=None), "messages: Field required"),
    ("messages empty", ask(messages=[]), "messages: at least one message is required"),
    ("messages a text", ask(messages="hi"), "messages: Input should be a valid array"),
    (
        "role unknown",
        ask(**turns(("robot", "hi"))),
        'messages: Unexpected role "robot". Allowed roles are "user" or "assistant"',
    ),
    ("no content", ask(messages=[{"role": "user"}]), "messages.0.content: Field required"),
    ("content a number", ask(**turns(("user", 5))), "messages.0.content: Input should be a valid array"),
    ("content empty", ask(**turns(("user", ""))), "messages.0: user messages must have non-empty content"),
    ("text block empty", ask(**blocks(text(""))), "messages: text content blocks must be non-empty"),
    (
        "block unknown",
        ask(**blocks({"type": "poem"})),
        "messages.0.content.0: Input tag 'poem' found using 'type' does not match any of the expected tags: …",
    ),
    ("block without type", ask(**blocks({"text": "hi"})), "messages.0.content.0.type: Field required"),
    ("text block without text", ask(**blocks({"type": "text"})), "messages.0.content.0.text.text: Field required"),
    (
        "key unknown in a block",
        ask(**blocks(text("hi", bold=True))),
        "messages.0.content.0.text.bold: Extra inputs are not permitted",
    ),
    ("prefill on a new model", ask(model="claude-opus-4-6", **turns(("user", "a"), ("assistant", "b"))), PREFILL),
    (
        "prefill with a schema",
        ask(**turns(("user", "a"), ("assistant", "{")), **with_schema(LABEL)),
        "Prefilling the assistant message is not supported with output_config.format",
    ),
    (
        "tool use without result",
        ask(**turns(("user", "a"), ("assistant", [TOOL_USE]), ("user", "b"))),
        (
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1. Each "
            "`tool_use` block must have a corresponding `tool_result` block in the next message."
        ),
    ),
    (
        "tool result without use",
        ask(**turns(("user", [TOOL_RESULT]))),
        (
            "messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks: toolu_1. Each "
            "`tool_result` block must have a corresponding `tool_use` block in the previous message."
        ),
    ),
    (
        "citations with a schema",
        ask(**blocks(document(**CITED), text("?")), **with_schema(LABEL)),
        "Citations are not supported with output_config.format",
    ),
    (
        "citations on some documents",
        ask(**blocks(document(**CITED), document(), text("?"))),
        "Citations must be enabled on all documents in a request, or on none.",
    ),
    (
        "five marks",
        ask(**blocks(*(text(f"t{row}", **MARK) for row in range(5)))),
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    (
        "an automatic fifth mark",
        ask(**blocks(*(text(f"t{row}", **MARK) for row in range(4))), **MARK),
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    (
        "an hour after five minutes",
        ask(**blocks(text("a", **MARK), text("b", **HOUR))),
        (
            "messages.0.content.1.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' "
            "cache_control block. Note that blocks are processed in the following order: tools, system, messages."
        ),
    ),
    (
        "media type unknown",
        ask(**blocks({"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": ""}})),
        (
            "messages.0.content.0.image.source.base64.media_type: Input should be 'image/jpeg', 'image/png', "
            "'image/gif' or 'image/webp'"
        ),
    ),
    (
        "media type not the data's",
        ask(**blocks({"type": "image", "source": {**image()["source"], "media_type": "image/jpeg"}})),
        (
            "messages.0.content.0.image.source.base64: The image was specified using the image/jpeg media type, but "
            "the image appears to be a image/png image"
        ),
    ),
    (
        "not base64",
        ask(**blocks({"type": "image", "source": {**image()["source"], "data": "§§§"}})),
        "messages.0.content.0.image.source.base64: invalid base64 data",
    ),
    (
        "image too wide",
        ask(**blocks(image(8001, 5))),
        (
            "messages.0.content.0.image.source.base64.data: At least one of the image dimensions exceed max allowed "
            "size: 8000 pixels"
        ),
    ),
    (
        "too many wide images",
        ask(**blocks(*(image(2001, 5) for _ in range(21)))),
        (
            "messages.0.content.0.image.source.base64.data: At least one of the image dimensions exceed max allowed "
            "size for many-image requests: 2000 pixels"
        ),
    ),
    ("too many images", ask(**blocks(*(image() for _ in range(101)))), "messages: Too many images: 101 > 100"),
    ("too many pages", ask(**blocks(pdf(101))), "messages: A maximum of 100 PDF pages may be provided."),
    ("prompt too long", ask("word " * 170_000), "prompt is too long: 212504 tokens > 200000 maximum"),
    ("content null", ask(**turns(("user", None))), "messages.0.content: Input should be a valid array"),
    (
        "block a number",
        ask(messages=[{"role": "user", "content": [7]}]),
        "messages.0.content.0: Input should be an object",
    ),
    (
        "empty turns",
        ask(**turns(("user", "a"), ("assistant", "b"), ("user", []), ("user", ""))),
        "messages.2: user messages must have non-empty content",
    ),
    (
        "an empty answer in the middle",
        ask(**turns(("user", "a"), ("assistant", []), ("user", "b"))),
        "messages.1: all messages must have non-empty content …",
    ),
    (
        "system first",
        ask(**turns(("system", "a"), ("user", "b"))),
        f"messages.0: use the top-level 'system' parameter for the initial system prompt; {DIRECTIVE}",
    ),
    (
        "system before a user",
        ask(**turns(("user", "a"), ("system", "b"), ("system", "c"), ("user", "d"))),
        f"messages.2: {SYSTEM}",
    ),
    (
        "system empty",
        ask(**turns(("user", "a"), ("system", []))),
        "messages.1: system content must contain at least one block",
    ),
    (
        "system blank",
        ask(**turns(("user", "a"), ("system", " "))),
        "messages.1: system text blocks must contain non-whitespace text",
    ),
    (
        "system with an image",
        ask(**turns(("user", "a"), ("system", [image()]))),
        "messages.1: role 'system' supports text, tool_addition, and tool_removal blocks only",
    ),
    (
        "image no image",
        ask(**blocks({"type": "image", "source": {**image()["source"], "data": "aGVsbG8="}})),
        "Could not process image",
    ),
    (
        "image too large",
        ask(
            **blocks(
                {
                    "type": "image",
                    "source": {**image()["source"], "data": image()["source"]["data"].rstrip("=") + "A" * 14_000_000},
                }
            )
        ),
        "messages.0.content.0.image.source.base64: image exceeds 10 MB maximum: …",
    ),
    (
        "page no PDF",
        ask(**blocks({"type": "document", "source": {**pdf()["source"], "data": "aGVsbG8="}})),
        "messages.0.content.0.pdf.source.base64.data: The PDF specified was not valid.",
    ),
    (
        "too many images for a large model",
        ask(model="claude-opus-5", **blocks(*(image() for _ in range(601)))),
        "messages: Too many images: 601 > 600",
    ),
    (
        "too many pages for a large model",
        ask(model="claude-opus-5", **blocks(pdf(601))),
        "messages: A maximum of 600 PDF pages may be provided.",
    ),
    (
        "an automatic mark of another lifetime",
        ask(**blocks(text("a", **HOUR)), **MARK),
        "cache_control.ttl: conflicts with the ttl='1h' of the last block's own cache_control",
    ),
]
NEW_VERSION: list[Case] = [
    (
        "a document of the assistant's",
        ask(**turns(("user", "a"), ("assistant", [document()]), ("user", "b"))),
        "messages.1.content.0: document blocks are not permitted in assistant messages",
    ),
    (
        "a quoting user",
        ask(**blocks(text("a", citations=[{"type": "char_location"}]))),
        "messages.0.content.0.citations: citations are not permitted in user messages",
    ),
    (
        "a quoting search result",
        ask(
            **blocks(
                {
                    "type": "search_result",
                    "source": "s",
                    "title": "t",
                    "content": [text("a", citations=[{"type": "char_location"}])],
                }
            )
        ),
        "messages.0.content.0.citations: citations are not permitted in user messages",
    ),
]
FINE: list[tuple[str, dict[str, Any]]] = [
    ("prefill on 4.5", ask(**turns(("user", "a"), ("assistant", "b")))),
    ("turns of one role", ask(**turns(("user", "a"), ("user", "b")))),
    ("a tool's turn", ask(**turns(("user", "a"), ("assistant", [TOOL_USE]), ("user", [TOOL_RESULT])), tools=[tool()])),
    ("an image", ask(**blocks(image(), text("what?")))),
    (
        "an image by address",
        ask(**blocks({"type": "image", "source": {"type": "url", "url": "https://example.com/a"}})),
    ),
    ("a page", ask(**blocks(pdf(3), text("what?")))),
    ("a file", ask(**blocks({"type": "document", "source": {"type": "file", "file_id": "file_1"}}, text("?")))),
    ("citations", ask(**blocks(document(**CITED), document(**CITED), text("?")))),
    ("four marks", ask(**blocks(*(text(f"t{row}", **MARK) for row in range(4))))),
    ("an hour, then minutes", ask(**blocks(text("a", **HOUR), text("b", **MARK)))),
    ("system at the end", ask(**turns(("user", "a"), ("system", "b")))),
    (
        "system before an answer",
        ask(**turns(("user", "a"), ("system", "b"), ("system", "c"), ("assistant", "d"), ("user", "e"))),
    ),
    ("an empty message in a turn", ask(**turns(("user", []), ("user", "a")))),
    ("an answer not begun", ask(model="claude-sonnet-5", **turns(("user", "a"), ("assistant", [])))),
    ("an automatic mark", ask(**blocks(text("a")), **HOUR)),
    ("600 images on a large model", ask(model="claude-opus-5", **blocks(*(image() for _ in range(600))))),
]


def test_each_bad_request_of_a_batch_is_an_errored_line_with_the_apis_text(api: Api) -> None:
    assert_told(TABLE, errors(api, TABLE))


def test_each_bad_direct_request_is_refused_with_the_same_text(api: Api) -> None:
    assert_told(TABLE, refusals(api, TABLE))


def test_the_newer_api_version_has_two_rules_more_for_blocks(api: Api) -> None:
    assert_told(NEW_VERSION, errors(api, NEW_VERSION, NEW))
    assert errors(api, NEW_VERSION) == [""] * len(NEW_VERSION)


def test_the_newer_rules_hold_for_direct_calls_and_counting_too(api: Api) -> None:
    for _name, params, text_ in NEW_VERSION:
        counted = {key: value for key, value in params.items() if key != "max_tokens"}

        assert refusal(api.http.post("/v1/messages", json=params, headers=NEW))[2] == text_
        assert refusal(api.http.post("/v1/messages/count_tokens", json=counted, headers=NEW))[2] == text_
        assert api.http.post("/v1/messages/count_tokens", json=counted).status_code == 200


def test_good_requests_are_answered(api: Api) -> None:
    told = errors(api, FINE)

    assert [(case[0], said) for case, said in zip(FINE, told, strict=True) if said] == []


def test_images_too_wide_are_named_in_the_details_of_the_error(api: Api) -> None:
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [image(8001, 5)]}
    params = ask(**turns(("user", [image(9000, 9)]), ("assistant", [TOOL_USE]), ("user", [text("a"), result])))
    details = {
        "error_code": "image_dimensions_too_large",
        "max_side_length_pixels": 8000,
        "paths": ["messages.0.content.0", "messages.2.content.1.content.0"],
    }
    (line,) = api.run(params)

    assert line["error"]["error"]["details"] == details
    assert api.http.post("/v1/messages", json=params).json()["error"]["details"] == details
