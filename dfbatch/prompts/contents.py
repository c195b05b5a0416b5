"""What one request may say: text, content blocks or messages, checked and copied; messages made of templates.

Which columns a text names is in `templates.py`; rows become contents in `prompts.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from dfbatch.errors import PromptError
from dfbatch.prompts.opaque import help_for, kind
from dfbatch.prompts.templates import Template, clean, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dfbatch.prompts.naming import Names
    from dfbatch.prompts.templates import Block, Places

# mid-conversation system messages: platform.claude.com/docs/en/api/messages, read 2026-11
ROLES = ("user", "assistant", "system")
_EXAMPLE = "[{'role': 'user', 'content': 'Classify: {text}'}]"


def checked(content: Any, place: str = "") -> Any:
    """The content as plain JSON values of our own, lone surrogates replaced; `place` ends the error's first line.

    >>> checked([{"type": "text", "text": "one"}])
    [{'type': 'text', 'text': 'one'}]
    """
    if isinstance(content, str):
        return clean(str.__str__(content))  # a str subclass such as StrEnum by its value
    if not isinstance(content, list):
        hint = help_for(content, "data") if kind(content) else ""
        raise _unfit("str, list of content blocks, list of messages or None", content, "", place, hint=hint)
    copy: list[Any] = _copied(content, "$", place)
    if any(isinstance(item, dict) and "role" in item for item in copy):
        return _messages(copy, place)
    return _blocks(copy, "$", place)


def is_blank(content: Any) -> bool:
    """Whether there is nothing to answer: only white space in the text, in all blocks, or in a user message."""
    if isinstance(content, str):
        return not content or content.isspace()
    if content and "role" in content[0]:
        return any(message["role"] == "user" and is_blank(message["content"]) for message in content)
    return all(block["type"] == "text" and is_blank(block["text"]) for block in content)


def texts_of(content: Any) -> Iterator[str]:
    """The texts of a content that was checked: itself, those of its blocks, or of its messages."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for item in content:
            yield from texts_of(item.get("content") if "role" in item else item.get("text"))


def kind_of(value: Any) -> str:
    """The type of a value as errors name it."""
    return "None" if value is None else type(value).__name__


@dataclass(frozen=True, slots=True)
class Messages:
    """A list of messages whose texts are templates, in the order in which they stand; other blocks are verbatim."""

    messages: list[dict[str, Any]]
    templates: tuple[Template, ...]

    @classmethod
    def parse(cls, prompt: list[Any], names: Names) -> Messages:
        """The messages with their texts parsed; shapes are checked first."""
        if not prompt:
            raise PromptError("the list of messages is empty", hint=f"write {_EXAMPLE}")
        messages = _messages(_copied(prompt, "$", ""), "")
        return cls(messages, tuple(parse(text, names, f"the prompt at {path}") for path, text in _texts(messages)))

    @property
    def source(self) -> str:
        """The list as JSON."""
        return msgspec.json.encode(self.messages).decode()

    @property
    def fields(self) -> tuple[str, ...]:
        """The columns named as `{field}` in any text."""
        return tuple(dict.fromkeys(name for template in self.templates for name in template.fields))

    @property
    def reads(self) -> frozenset[str]:
        """The columns whose cells are in the texts."""
        return frozenset(name for template in self.templates for name in template.reads)

    @property
    def never_blank(self) -> bool:
        """Whether no row can make a blank text."""
        return bool(self.templates) and all(template.never_blank for template in self.templates)

    def render(self, block: Block, places: Places) -> list[list[dict[str, Any]]]:
        """One list of messages a row."""
        if not self.templates:
            return [self._filled(iter(())) for _ in range(len(places))]
        columns = [template.render(block, places) for template in self.templates]
        return [self._filled(iter(texts)) for texts in zip(*columns, strict=True)]

    def _filled(self, texts: Iterator[str]) -> list[dict[str, Any]]:
        return [{**message, "content": _filled(message["content"], texts)} for message in self.messages]


def _filled(content: Any, texts: Iterator[str]) -> Any:
    if isinstance(content, str):
        return next(texts)
    return [{**block, "text": next(texts)} if block["type"] == "text" else block for block in content]


def _texts(messages: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for at, message in enumerate(messages):
        if isinstance(message["content"], str):
            yield f"$[{at}].content", message["content"]
            continue
        for block_at, block in enumerate(message["content"]):
            if block["type"] == "text":
                yield f"$[{at}].content[{block_at}].text", block["text"]


def _messages(messages: list[Any], place: str) -> list[dict[str, Any]]:
    for at, message in enumerate(messages):
        path = f"$[{at}]"
        if not isinstance(message, dict):
            raise _unfit("a message dict", message, path, place)
        if message.get("role") not in ROLES:
            raise _unfit(f"one of {', '.join(ROLES)}", message.get("role"), f"{path}.role", place, shown=True)
        content = message.get("content")
        if isinstance(content, list):
            _blocks(content, f"{path}.content", place)
        elif not isinstance(content, str):
            raise _unfit("str or list of content blocks", content, f"{path}.content", place)
    if not any(message["role"] == "user" for message in messages):
        raise PromptError(f"the list of messages has no user message{place}", hint=f"write {_EXAMPLE}")
    return messages


def _blocks(blocks: list[Any], path: str, place: str) -> list[dict[str, Any]]:
    for at, block in enumerate(blocks):
        here = f"{path}[{at}]"
        if not isinstance(block, dict):
            raise _unfit("a content block (dict)", block, here, place)
        if not isinstance(block.get("type"), str):
            raise _unfit("str", block.get("type"), f"{here}.type", place)
        if block["type"] == "text" and not isinstance(block.get("text"), str):
            raise _unfit("str", block.get("text"), f"{here}.text", place)
    return blocks


def _copied(value: Any, path: str, place: str) -> Any:
    """Our own copy: a function may hand out one list for every row and change it in between."""
    if isinstance(value, str):
        return clean(str.__str__(value))
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return [_copied(item, f"{path}[{at}]", place) for at, item in enumerate(value)]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {clean(str.__str__(key)): _copied(item, f"{path}.{key}", place) for key, item in value.items()}
    raise _unfit("a JSON value", value, path, place, hint=help_for(value, "data") if kind(value) else "")


def _unfit(expected: str, got: Any, path: str, place: str, *, shown: bool = False, hint: str = "") -> PromptError:
    what = repr(got) if shown and got is not None else kind_of(got)
    at = f" - at {path}" if path else ""
    usual = f"a prompt is text, content blocks or messages: {_EXAMPLE}"
    return PromptError(f"expected {expected}, got {what}{at}{place}", hint=hint or usual)
