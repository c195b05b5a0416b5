"""Why an earlier run on the same rows is not reused, in one line; and whether a model's name means another model now.

What is reused is decided in `claims.py`; nothing here changes it.
"""

from __future__ import annotations

import contextlib
import warnings
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from dfbatch.distinct import locate
from dfbatch.errors import LedgerDamaged, LedgerError, ModelChangedWarning, explain, outside
from dfbatch.ledger.states import ACCEPTED, COLLECTED
from dfbatch.results import CODE
from dfbatch.run.recovery import asked_in, found_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import RunRecord
    from dfbatch.run.claims import Cover
    from dfbatch.run.sheet import Sheet

    Array = np.ndarray[Any, np.dtype[Any]]

SAMPLE: Final = 1_000  # rows by which an earlier run on the same rows is known
LOOKED_AT: Final = 20  # earlier runs, newest first
AROUND: Final = 12  # signs of a text shown on either side of what changed
LONGEST: Final = 60  # signs of a text that are shown
ALIKE: Final = 0.6  # of two prompts that much is the same where one is the other rewritten
BY_WORDS: Final = 200  # signs from which on prompts are compared word by word …
WORDS: Final = 300  # … by so many of them …
LONG: Final = 20  # … where words are shorter than that: many languages have no spaces
SIGNS: Final = 600

_encode = msgspec.json.Encoder(order="deterministic").encode


def not_reused(ledger: Ledger, record: RunRecord, cover: Cover) -> str:
    """One line; empty where all is reused, or no earlier run was on the rows that are asked."""
    with contextlib.suppress(LedgerError, ValueError):  # files of an earlier run that cannot be read say nothing
        rows = ledger.read_array(ledger.run_file(record.id, "rows.npy"))
        new = np.flatnonzero(rows["request"] >= 0)
        new = new[~cover.covered[rows["request"][new]]]
        if not len(new):
            return ""
        sample = rows[new[np.linspace(0, len(new) - 1, min(SAMPLE, len(new))).astype(int)]]
        if (nearest := _nearest(ledger, record, sample)) is not None:
            earlier, changes = nearest
            return f"run {earlier.id} on these rows is not reused: {'; '.join(changes)}"
    return ""


def _nearest(ledger: Ledger, record: RunRecord, sample: Array) -> tuple[RunRecord, list[str]] | None:
    """The earlier run that is most like this one, and in what it differs: another question is no surprise.

    Of those that sent most of these rows with much the same prompt, the one that shares most of them, then the one
    with the fewest differences, then the newest.
    """
    runs = [known for known in ledger.runs() if known.id != record.id and known.created <= record.created]
    alike = [known for known in runs if known.spec.reads == record.spec.reads and _same_question(known, record)]
    distinct = np.unique(sample["content"])
    found: list[tuple[int, int, RunRecord, list[str]]] = []
    for known in alike[:LOOKED_AT]:
        try:
            contents = ledger.read_array(ledger.run_file(known.id, "rows.npy"))["content"]
        except LedgerDamaged:
            continue
        shared = int((np.unique(locate(contents, distinct)) >= 0).sum())
        if 2 * shared >= len(distinct) and any(chunk.state in ACCEPTED for chunk in ledger.chunks(known.id)):
            changes = _changes(ledger, known, record, sample)
            found.append((-shared, len(changes), known, changes))
    return min(found, key=lambda each: each[:2])[2:] if found else None  # of equals the first: the newest


def _same_question(old: RunRecord, new: RunRecord) -> bool:
    """Whether two prompts look like one rewritten. Of functions the name tells: where they stand changes with edits."""
    if old.spec.function and new.spec.function:
        return alike_enough(old.spec.function, new.spec.function)
    return alike_enough(old.spec.prompt, new.spec.prompt)


def alike_enough(old: str, new: str) -> bool:
    """Whether one prompt looks like the other rewritten, rather than like another question.

    >>> alike_enough("Classify the text: {text}", "Classify the review: {text}")
    True
    >>> alike_enough("Classify the text: {text}", "In which language is this? {text}")
    False
    """
    texts = old, new
    by_words = max(map(len, texts)) >= BY_WORDS and all(len(text.split()) >= len(text) / LONG for text in texts)
    one, other = (text.split()[:WORDS] if by_words else text[:SIGNS] for text in texts)
    match: SequenceMatcher[str] = SequenceMatcher(None, one, other, autojunk=False)
    return match.quick_ratio() >= ALIKE and match.ratio() >= ALIKE


def _changes(ledger: Ledger, old: RunRecord, new: RunRecord, sample: Array) -> list[str]:
    """What is not as it was, each in a few words."""
    told = [
        *_prompts(old, new),
        *_texts("system", old.spec.system, new.spec.system),
        *_texts("schema", old.spec.full, new.spec.full),
        *_texts("model", old.model, new.model),
        *_texts("answered by", _who(old), _who(new)),
        *_texts("betas", sorted(old.spec.betas), sorted(new.spec.betas)),
        *_others(_head(old), _head(new)),
    ]
    if not told and old.who != new.who:
        told = list(_texts("asked at", old.who, new.who))
    if not told and not new.spec.reuse:
        return ["reuse=False"]
    if new.max_tokens < old.max_tokens:  # where more is asked for, answers stay good
        told += _texts("max_tokens", old.max_tokens, new.max_tokens)
    return told or [_unseen(ledger, old, new, sample)]


def _prompts(old: RunRecord, new: RunRecord) -> Iterator[str]:
    """What changed in the prompt: of functions the name, since what they make is not kept."""
    if old.spec.function and new.spec.function:
        yield from _texts("prompt function", old.spec.function, new.spec.function)
    else:
        yield from _texts("prompt", old.spec.prompt, new.spec.prompt)


def _unseen(ledger: Ledger, old: RunRecord, new: RunRecord, sample: Array) -> str:
    """Why, where the call is the same as far as it can be told."""
    asked = ledger.read_array(ledger.run_file(new.id, "requests.npy"))["digest"][sample["request"]]
    if (locate(asked, ledger.read_array(ledger.run_file(old.id, "requests.npy"))["digest"]) >= 0).any():
        cut = new.max_tokens > old.max_tokens and _were_cut(ledger, old, asked)
        return (
            f"its answers to them were cut at max_tokens={old.max_tokens}" if cut else "it has no final answer to them"
        )
    return (
        "the function makes other prompts, or examples, samples or dedupe differ"
        if new.spec.function
        else "the prompt is rendered in another way, or examples, samples or dedupe differ"
    )


def _were_cut(ledger: Ledger, old: RunRecord, asked: Array) -> bool:
    """Whether the answers to these requests were cut short, as far as they came."""
    for chunk in ledger.chunks(old.id, COLLECTED):
        outcomes = found_of(ledger, chunk)["outcome"]
        cut = asked_in(ledger, chunk)["digest"][outcomes == CODE["truncated"]]
        if (locate(asked, cut) >= 0).any():
            return True
    return False


def _texts(name: str, old: object, new: object) -> Iterator[str]:
    """`model 'claude-a' → 'claude-b'` or `system none → 'Be brief.'`, where they differ."""
    if old == new:
        return
    if isinstance(old, int | float | None) or isinstance(new, int | float | None):
        yield f"{name} {_alone(old)} → {_alone(new)}"
    else:
        yield f"{name} {difference(_text(old), _text(new))}"


def _alone(value: object) -> str:
    """What has nothing on the other side to be compared with."""
    if value is None:
        return "none"
    return str(value) if isinstance(value, int | float) else _part(_text(value), 0, 0)


def _text(value: object) -> str:
    return value if isinstance(value, str) else _encode(value).decode()


def difference(old: str, new: str) -> str:
    """Two texts where they differ, with a little of what is around.

    >>> print(difference("Classify the following text: {text}", "Classify the following review: {text}"))
    '…e following text: {text}' → '…e following review: {text}'
    """
    start = _alike(old, new)
    end = _alike(old[start:][::-1], new[start:][::-1])
    return f"{_part(old, start, end)} → {_part(new, start, end)}"


def _alike(one: str, other: str) -> int:
    """How many signs two texts have in common from the start."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _part(text: str, start: int, end: int) -> str:
    first, last = max(0, start - AROUND), min(len(text), len(text) - end + AROUND)
    first, last = (0 if first < 3 else first), (len(text) if len(text) - last < 3 else last)
    shown = text[first : min(last, first + LONGEST)]
    return repr("…" * (first > 0) + shown + "…" * (first + len(shown) < len(text)))


def _who(record: RunRecord) -> str:
    return record.answered_by or "Claude"


def _head(record: RunRecord) -> dict[str, Any]:
    """What all requests of a run have in common, as it was sent."""
    head: dict[str, Any] = msgspec.json.decode(record.spec.head.removesuffix(",") + "]}")
    return head


def _others(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """Parameters and examples; what has words of its own is left out."""
    for name in dict.fromkeys([*old, *new]):
        if name == "messages":
            yield from _texts("examples", old[name], new[name])
        elif name not in ("model", "max_tokens", "system"):
            before, after = (_without_schema(head.get(name)) for head in (old, new))
            yield from _texts(name, before, after)


def _without_schema(value: Any) -> Any:
    return {key: part for key, part in value.items() if key != "format"} or None if isinstance(value, dict) else value


# ------------------------------------------------------------------ models


def tell_models(record: RunRecord, sheet: Sheet) -> bool:
    """Warn where one name of a model was answered by several models; whether it was so."""
    answered: dict[str, dict[str, int]] = {}
    for origin, chunk in enumerate(sheet.chunks):
        if (model := sheet.models.get(chunk.id)) and (count := int((sheet.source == origin).sum())):
            by = answered.setdefault(chunk.model or record.model, {})
            by[model] = by.get(model, 0) + count
    for name, by in answered.items():
        if len(by) > 1:
            parts = ", ".join(f"{count:,} by {model}" for model, count in by.items())
            warnings.warn(
                explain(
                    f"run {record.id} mixes answers of {len(by)} models that are called {name!r}: {parts}",
                    "the name means another model than when the older answers were given",
                    hint="name one exactly, as in model='…-20251001', or ask all again with reuse=False",
                ),
                ModelChangedWarning,
                stacklevel=outside(),
            )
    return any(len(by) > 1 for by in answered.values())
