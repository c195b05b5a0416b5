"""Template, callable or message list + row → content. A prompt is compiled once and renders blocks of rows.

How a text with `{fields}` is parsed is in `templates.py`, what functions see in `callables.py`, what contents may
look like in `contents.py`, values without a text in `opaque.py`; how content becomes a request is in `requests.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from inspect import iscoroutinefunction
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from dfbatch.errors import DfbatchError, NullCell, PromptError, UnknownColumn
from dfbatch.prompts.callables import Function
from dfbatch.prompts.contents import Messages, is_blank, kind_of
from dfbatch.prompts.naming import Names, listed, near_miss
from dfbatch.prompts.templates import Places, clean, no_column, parse

if TYPE_CHECKING:
    from dfbatch.prompts.templates import Block

Kind = Literal["template", "callable", "messages"]
OnNull = Literal["skip", "send", "raise"]

BLANK = "blank prompt"
NOTHING = "prompt function returned None"


@dataclass(frozen=True, slots=True)
class Rendered:
    """One block of rows: the content of each (text, content blocks or messages), or None and why it is not sent."""

    contents: list[Any]
    why: list[str | None]


class Maker(Protocol):
    """What makes contents: one template, several in messages, or the user's function."""

    @property
    def source(self) -> str:
        """What the ledger and the summary show."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The columns named as `{field}`."""

    @property
    def reads(self) -> Collection[str]:
        """The columns whose cells make up the content."""

    @property
    def never_blank(self) -> bool:
        """Whether no row can render blank."""

    def render(self, block: Block, places: Places) -> list[Any]:
        """One content a row."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the rows ask, ready to render; `needs` are the columns that must be in the snapshot.

    >>> compile_prompt("Classify: {text}", ["text"]).render({"text": ["good", None]})
    Rendered(contents=['Classify: good', None], why=[None, "null in column 'text'"])
    """

    kind: Kind
    maker: Maker = field(repr=False)
    names: Names = field(repr=False)
    needs: tuple[str, ...]
    same_for_all: bool = field(default=False, repr=False)

    @property
    def text(self) -> str:
        """The template, the messages as JSON, or where the function is written: for the ledger and the summary."""
        return self.maker.source

    @property
    def fields(self) -> tuple[str, ...]:
        """The columns named as `{field}`: `on_null` is about these."""
        return self.maker.fields

    @property
    def may_have_blocks(self) -> bool:
        """Whether a content may be more than one text."""
        return self.kind != "template"

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that make up a row's content, in frame order; of a function: what it has read so far."""
        return self.names.ordered(self.maker.reads)

    def render(self, block: Block, *, start: int = 0, on_null: OnNull = "skip", rows: int | None = None) -> Rendered:
        """The contents of the rows from `start` on; `rows` says how many there are where the prompt needs no column."""
        size = len(next(iter(block.values()), ())) if rows is None else rows
        why = _nulls(self.fields if on_null != "send" else (), block, size)
        sent = [at for at, reason in enumerate(why) if reason is None] if any(why) else range(size)
        if len(sent) == size:
            contents = self.maker.render(block, Places(range(start, start + size)))
        elif on_null == "raise":
            raise self._null(block, next(at for at in range(size) if why[at]), start)
        else:
            contents = [None] * size
            part = {name: [block[name][at] for at in sent] for name in self.needs}
            for at, content in zip(sent, self.maker.render(part, Places([start + at for at in sent])), strict=True):
                contents[at] = content
        return Rendered(contents, why) if self.maker.never_blank else _without_blanks(contents, why)

    def check_reads(self) -> None:
        """Raise if the prompt is a function that has been called and has read no column."""
        if isinstance(self.maker, Function) and self.maker.called and not self.maker.reads and not self.same_for_all:
            raise PromptError(
                f"the prompt function {self.text} read no column of its rows",
                listed(self.names.whole),
                hint="read one, as in row['text'], or pass same_for_all=True if every row is to get the same prompt",
            )

    def _null(self, block: Block, at: int, start: int) -> NullCell:
        column = next(name for name in self.fields if block[name][at] is None)
        return NullCell(
            f"null in column {column!r} (row {start + at}), and on_null='raise'",
            hint="on_null='skip' leaves such rows out; on_null='send' sends them with the field empty",
            row=start + at,
            column=column,
        )


def compile_prompt(
    prompt: str | Callable[[Mapping[str, Any]], Any] | list[dict[str, Any]],
    columns: Sequence[str],
    *,
    series: str | None = None,
    replaced: Collection[str] = (),
    same_for_all: bool = False,
) -> Prompt:
    """The prompt, checked against the columns before anything is sent.

    >>> compile_prompt("{title}: {body}", ["id", "body", "title"]).reads
    ('body', 'title')
    """
    alone = () if series is None or series in columns else (series,)
    names = Names((*columns, *alone), series, frozenset(replaced))
    if isinstance(prompt, str):
        return _of_texts("template", parse(prompt, names), names, same_for_all=same_for_all)
    if isinstance(prompt, list):
        return _of_texts("messages", Messages.parse(prompt, names), names, same_for_all=same_for_all)
    if _is_function(prompt):
        return Prompt("callable", Function(prompt, names), names, names.whole, same_for_all)
    got = "an async function" if iscoroutinefunction(prompt) else kind_of(prompt)
    raise PromptError(
        f"a prompt is a template, a function or a list of messages, got {got}",
        hint="write 'Classify: {text}', lambda row: ..., or [{'role': 'user', 'content': 'Classify: {text}'}]",
    )


def example_turns(
    prompt: Prompt, examples: Sequence[tuple[Any, Any]], *, as_json: Callable[[Any], str]
) -> list[dict[str, Any]]:
    """Few-shot pairs of input and answer as user and assistant turns; inputs go in as values and are never parsed.

    >>> example_turns(compile_prompt("Topic: {text}", ["text"]), [("a {goal}", "sport")], as_json=str)
    [{'role': 'user', 'content': 'Topic: a {goal}'}, {'role': 'assistant', 'content': 'sport'}]
    """
    if isinstance(prompt.maker, Function):
        prompt = replace(prompt, maker=prompt.maker.unseen())
    turns: list[dict[str, Any]] = []
    pairs: Sequence[Any] = examples
    for number, pair in enumerate(pairs):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise PromptError(
                f"expected a pair of input and answer, got {kind_of(pair)} - at examples[{number}]",
                hint="examples=[('the input', 'its answer'), ...]",
            )
        turns += _question(prompt, pair[0], number)
        turns.append({"role": "assistant", "content": _answer(pair[1], number, as_json)})
    return turns


def _is_function(prompt: Any) -> bool:
    return callable(prompt) and not isinstance(prompt, type) and not iscoroutinefunction(prompt)


def _of_texts(kind: Kind, maker: Maker, names: Names, *, same_for_all: bool) -> Prompt:
    reads = names.ordered(maker.reads)
    if not reads and not same_for_all:
        raise no_column(maker.source, names)
    return Prompt(kind, maker, names, reads, same_for_all)


def _nulls(fields: tuple[str, ...], block: Block, size: int) -> list[str | None]:
    why: list[str | None] = [None] * size
    for name in reversed(fields):  # the first field of the prompt has the last word
        if NoneType in set(map(type, block[name])):
            text = f"null in column {name!r}"
            why = [text if cell is None else reason for cell, reason in zip(block[name], why, strict=True)]
    return why


def _without_blanks(contents: list[Any], why: list[str | None]) -> Rendered:
    for at, content in enumerate(contents):
        if content is None:
            why[at] = why[at] or NOTHING
        elif is_blank(content):
            contents[at], why[at] = None, BLANK
    return Rendered(contents, why)


def _question(prompt: Prompt, given: Any, number: int) -> list[dict[str, Any]]:
    """The turns that ask one example, rendered as a block of one row."""
    block = {name: [cell] for name, cell in _cells(prompt, given, number).items()}
    try:
        content = prompt.maker.render(block, Places([number], "examples[%d]"))[0]
    except UnknownColumn as error:  # the function reads what the example does not give
        raise PromptError(str(error)) from error
    if content is None or is_blank(content):
        raise PromptError(f"the prompt is empty - at examples[{number}]", hint="give the example an input")
    if isinstance(content, str):
        return [{"role": "user", "content": clean(content)}]
    return list(content) if "role" in content[0] else [{"role": "user", "content": content}]


def _cells(prompt: Prompt, given: Any, number: int) -> dict[str, Any]:
    place = f"examples[{number}]"
    if not isinstance(given, Mapping):
        only = prompt.names.series or (prompt.needs[0] if len(prompt.needs) == 1 else None)
        if only is not None:
            return {only: given}
        raise PromptError(
            f"expected a mapping of column to value, got {kind_of(given)} - at {place}",
            f"the prompt needs {', '.join(prompt.needs)}",
            hint="examples=[({'column': 'value', ...}, 'its answer'), ...]",
        )
    for name in given:
        if name not in prompt.names.columns:
            near = near_miss(str(name), prompt.names.columns)
            hint = f"did you mean {near!r}?" if near is not None else ""
            raise PromptError(f"no column {name!r} - at {place}", listed(prompt.names.columns), hint=hint)
    cells = {name: given[name] for name in prompt.needs if name in given}
    if prompt.kind != "callable" and len(cells) < len(prompt.needs):
        missing = next(name for name in prompt.needs if name not in given)
        raise PromptError(f"no value for column {missing!r} - at {place}", hint="None stands for a null")
    return cells


def _answer(answer: Any, number: int, as_json: Callable[[Any], str]) -> str:
    try:
        text = clean(as_json(answer))
    except (DfbatchError, ValueError, TypeError, LookupError) as error:
        raise PromptError(f"the answer does not fit: {error} - at examples[{number}]") from error
    if is_blank(text):
        raise PromptError(f"the answer is empty - at examples[{number}]", hint="every example needs an answer")
    return text
