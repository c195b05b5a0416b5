"""Errors: the family is the one that is drawn, and every text has its three parts."""

from __future__ import annotations

import contextlib
import inspect
import pickle
import re

import pytest

from dfbatch import errors
from dfbatch.errors import (
    ApiError,
    Detached,
    DfbatchError,
    LedgerError,
    ModelChangedWarning,
    NoFrame,
    NullCell,
    RateLimited,
    RowsFailedWarning,
    StillRunning,
    Unauthorized,
    UnknownColumn,
    explain,
)

CLASSES = {
    name: made
    for name, made in vars(errors).items()
    if inspect.isclass(made) and issubclass(made, BaseException) and made.__module__ == "dfbatch.errors"
}
WARNINGS = [name for name, made in CLASSES.items() if issubclass(made, Warning)]
TREE = {name: made for name, made in CLASSES.items() if issubclass(made, DfbatchError)}


def drawn() -> list[tuple[str, str, list[str]]]:
    """The tree of the docstring: name, parent, and the builtins in parentheses."""
    found: list[tuple[str, str, list[str]]] = []
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"([│├└─ ]*)(\w+)(?:\((\w+)\))?(?: {2,}.*)?$", line):
            if not match[1] and match[2] != "DfbatchError":
                continue
            depth = len(match[1]) // 4
            above[depth:] = [match[2]]
            found.append((match[2], above[depth - 1] if depth else "Exception", [match[3]] if match[3] else []))
    return found


def test_every_error_is_drawn_in_the_tree_once() -> None:
    assert sorted(name for name, _, _ in drawn()) == sorted(TREE)


@pytest.mark.parametrize(("name", "parent", "builtin"), drawn(), ids=str)
def test_an_error_stands_where_it_is_drawn(name: str, parent: str, builtin: list[str]) -> None:
    bases = [base.__name__ for base in TREE[name].__bases__]

    assert bases == [parent, *builtin]


def test_detached_and_the_warnings_stand_outside() -> None:
    assert set(CLASSES) - set(TREE) == {"Detached", "ModelChangedWarning", "RetirementWarning", "RowsFailedWarning"}
    assert ModelChangedWarning.__bases__ == (UserWarning,)
    assert all(re.search(rf"^{name} {{3,}}\w", errors.__doc__ or "", re.MULTILINE) for name in WARNINGS)
    assert Detached.__bases__ == (KeyboardInterrupt,)
    assert RowsFailedWarning.__bases__ == (UserWarning,)


@pytest.mark.parametrize("name", CLASSES)
def test_every_error_says_what_it_is(name: str) -> None:
    assert inspect.getdoc(CLASSES[name]) != inspect.getdoc(CLASSES[name].__bases__[0])


def test_a_text_has_what_what_is_known_and_a_hint() -> None:
    text = explain("no column 'txt'", "columns: text, id", "rows: 3", hint="did you mean {text}?")

    assert text == "no column 'txt'\ncolumns: text, id\nrows: 3\nHint: did you mean {text}?"
    assert explain("no column 'txt'") == "no column 'txt'"


@pytest.mark.parametrize("name", TREE)
def test_an_error_shows_its_text_as_it_was_written(name: str) -> None:
    error = TREE[name]("what 'happened'", "what is known", hint="what to do")

    assert str(error) == "what 'happened'\nwhat is known\nHint: what to do"


@pytest.mark.parametrize("name", TREE)
def test_an_error_travels_between_processes(name: str) -> None:
    error = pickle.loads(pickle.dumps(TREE[name]("what", "known", hint="do")))

    assert type(error) is TREE[name]
    assert str(error) == "what\nknown\nHint: do"


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (UnknownColumn("no column"), KeyError),
        (UnknownColumn("no column"), ValueError),
        (Unauthorized("401"), PermissionError),
        (LedgerError("read-only"), OSError),
        (StillRunning("still waiting"), TimeoutError),
        (NoFrame("gone"), LookupError),
    ],
)
def test_an_error_is_caught_as_the_builtin_a_user_expects(error: DfbatchError, builtin: type[Exception]) -> None:
    with pytest.raises(builtin, match=re.escape(str(error))):
        raise error


def test_an_api_error_carries_what_the_server_said() -> None:
    error = RateLimited("429", hint="wait", status=429, kind="rate_limit_error", request_id="req_1", retry_after=7.5)

    assert str(error) == "429\nrequest-id: req_1\nHint: wait"
    assert (error.status, error.type, error.request_id, error.retry_after) == (429, "rate_limit_error", "req_1", 7.5)
    assert (ApiError("no").status, ApiError("no").request_id) == (None, None)


def test_a_null_cell_carries_its_place_also_between_processes() -> None:
    error = pickle.loads(pickle.dumps(NullCell("null", row=17, column="text")))

    assert (error.row, error.column) == (17, "text")


def test_the_stop_button_is_not_swallowed_by_except_exception() -> None:
    def swallow() -> None:
        with contextlib.suppress(Exception):
            raise Detached("detached")

    with pytest.raises(KeyboardInterrupt, match="detached"):
        swallow()
