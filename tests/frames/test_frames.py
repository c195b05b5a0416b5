"""What holds for every library: who is taken, what is refused, and that pandas and polars agree."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from dfbatch.columns import Builder, Column, cells, prints
from dfbatch.errors import ColumnClash, NotAFrame
from dfbatch.frames import adapter, by_name
from dfbatch.kinds import TEXT, Kind

if TYPE_CHECKING:
    from tests.frames.conftest import Make

TOPIC = Kind("category", categories=("tech", "sport"))
ITEM = Kind(
    "struct",
    fields=(
        ("n", Kind("int")),
        ("topics", Kind("list", inner=TOPIC)),
        ("when", Kind("datetime")),
        ("inner", Kind("struct", fields=(("day", Kind("date")), ("any", Kind("json"))))),
    ),
)
VALUES: dict[str, tuple[Kind, list[Any]]] = {
    "s": (TEXT, ["a", None, "ü😀", ""]),
    "i": (Kind("int"), [2**62, None, -1, 0]),
    "f": (Kind("float"), [0.1, None, float("inf"), 2.0]),
    "b": (Kind("bool"), [True, None, False, True]),
    "c": (TOPIC, ["sport", None, "tech", "tech"]),
    "d": (Kind("date"), [date(2024, 1, 2), None, date(1000, 1, 1), date(9999, 12, 31)]),
    "t": (
        Kind("datetime"),
        [datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC), None, datetime(1969, 1, 1, tzinfo=UTC), None],
    ),
    "ls": (Kind("list", inner=TEXT), [["a", None], None, [], ["b"]]),
    "lc": (Kind("list", inner=TOPIC), [["sport", "tech"], None, [], [None]]),
    "ll": (Kind("list", inner=Kind("list", inner=Kind("float"))), [[[1.5], [], None], None, [], [[2.0, 3.0]]]),
    "st": (
        ITEM,
        [
            {
                "n": 1,
                "topics": ["tech"],
                "when": datetime(2024, 1, 2, tzinfo=UTC),
                "inner": {"day": date(2024, 1, 2), "any": {"k": ["é"]}},
            },
            None,
            {"n": None, "topics": None, "when": None, "inner": None},
            {"n": 2, "topics": [], "when": None, "inner": {"day": None, "any": None}},
        ],
    ),
    "lst": (Kind("list", inner=ITEM), [[{"n": 1, "topics": [], "when": None, "inner": None}, None], None, [], None]),
    "j": (Kind("json"), [{"a": [1, "é", None]}, None, "text", 3]),
}
OLD_PANIC = ("st", "lst") if int(pl.__version__.split(".")[0]) < 2 else ()
BACKENDS: list[Any] = [None, "pyarrow"]


def build(name: str, kind: Kind, values: list[Any]) -> Column:
    builder = Builder(name, kind, len(values))
    builder.put(range(len(values)), values)
    return builder.column()


def every_kind(rows: int = 4) -> list[Column]:
    return [build(name, kind, values[:rows]) for name, (kind, values) in VALUES.items()]


def every_kind_missing(rows: int) -> list[Column]:
    return [Builder(name, kind, rows).column() for name, (kind, _) in VALUES.items()]


def plain_block(frame: Any) -> dict[str, list[Any]]:
    table = adapter(frame).snapshot(frame, adapter(frame).names(frame))
    return table.block(0, table.height)


class MyPandas(pd.DataFrame):
    @property
    def _constructor(self) -> Any:
        return MyPandas


class MyPolars(pl.DataFrame):
    pass


def test_each_library_is_known_by_its_frames_series_and_subclasses() -> None:
    found = [adapter(obj).kind for obj in (pd.DataFrame(), MyPandas(), pd.Series(["a"]))]
    assert found == ["pandas"] * 3

    found = [adapter(obj).kind for obj in (pl.DataFrame(), MyPolars(), pl.Series(["a"]))]
    assert found == ["polars"] * 3


@pytest.mark.parametrize(
    ("obj", "text"),
    [
        (
            [{"text": "a"}],
            (
                "expected a pandas or polars DataFrame, got list\n"
                "Hint: make it a frame first: pd.DataFrame(...) or pl.DataFrame(...)"
            ),
        ),
        (
            pl.LazyFrame({"text": ["a"]}),
            (
                "expected a pandas or polars DataFrame, got polars.lazyframe.frame.LazyFrame\n"
                "Hint: call .collect() first: df.collect().claude.batch(...)"
            ),
        ),
        (
            pl.DataFrame({"text": ["a"]}).to_arrow(),
            "expected a pandas or polars DataFrame, got pyarrow.lib.Table\nHint: turn it into one first: .to_pandas()",
        ),
        (
            7,
            "expected a pandas or polars DataFrame, got int\nHint: pass a DataFrame, or a Series through series.claude",
        ),
        (
            pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")])),
            (
                "the frame has MultiIndex columns\nlevels: 2\n"
                "Hint: flatten them first: df.columns = ['_'.join(map(str, name)) for name in df.columns]"
            ),
        ),
        (
            pd.DataFrame([[1, 2, 3, 4, 5]], columns=["a", "b", "a", 1, "1"]),
            (
                "column names are not unique: 'a', '1'\n"
                "Hint: rename them, or keep the first of each: df.loc[:, ~df.columns.astype(str).duplicated()]"
            ),
        ),
    ],
    ids=["list", "lazy", "arrow", "int", "multiindex", "twice"],
)
def test_what_is_no_usable_frame_is_refused_with_a_way_out(obj: Any, text: str) -> None:
    with pytest.raises(NotAFrame) as raised:
        adapter(obj)

    assert str(raised.value) == text
    assert isinstance(raised.value, TypeError)


def test_neither_library_nor_numpy_is_imported_to_look_at_something_else() -> None:
    code = (
        "import sys\nfrom dfbatch.frames import adapter, hook\n"
        "try: adapter([])\nexcept TypeError: pass\n"
        "print(sorted({'pandas', 'polars', 'numpy', 'pyarrow'} & set(sys.modules)))"
    )

    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_kind_laid_on_a_frame_is_read_back_with_the_same_cells_and_fingerprints(
    frame: Make, backend: Any
) -> None:
    start = frame({"text": ["p", "q", "r", "s"]})
    room = adapter(start)
    out = room.lay(start, every_kind(), dtype_backend=backend)

    assert room.names(out) == ["text", *VALUES]
    assert room.height(out) == 4
    for column in every_kind():
        back = room.read_back(out, column.name, column.kind)
        assert back is not None, column.name
        assert cells(back, range(4)) == cells(column, range(4)), column.name
        assert prints(back).tolist() == prints(column).tolist(), column.name


@pytest.mark.parametrize("rows", [0, 1, 3])
@pytest.mark.parametrize("backend", BACKENDS)
def test_dtypes_are_the_same_when_every_row_failed(frame: Make, backend: Any, rows: int) -> None:
    start = frame({"text": ["p", "q", "r", "s"]})
    room = adapter(start)

    def dtypes(columns: list[Column]) -> list[Any]:
        out = room.new(columns, dtype_backend=backend)
        return [out[name].dtype for name in VALUES]

    assert dtypes(every_kind_missing(rows)) == dtypes(every_kind())


def test_laying_never_changes_the_frame_nor_the_column(frame: Make) -> None:
    start = frame({"text": ["p", "q"], "n": [1, 2]})
    room = adapter(start)
    column = build("n", Kind("int"), [8, None])
    out = room.lay(start, [column, build("more", TEXT, ["a", None])], replace=["n"])

    assert plain_block(start) == {"text": ["p", "q"], "n": [1, 2]}
    assert plain_block(out) == {"text": ["p", "q"], "n": [8, None], "more": ["a", None]}
    out[0, "n"] = 99 if room.kind == "polars" else None
    if room.kind == "pandas":
        out.iloc[0, 1] = 99
    assert cells(column, [0, 1]) == [8, None]
    assert plain_block(start)["n"] == [1, 2]


def test_replaced_columns_keep_their_place_and_new_ones_come_last_in_order(frame: Make) -> None:
    start = frame({"a": ["p"], "topic": ["x"], "z": [1]})
    room = adapter(start)
    fresh = [build("new_2", TEXT, ["2"]), build("topic", TOPIC, ["tech"]), build("new_1", TEXT, ["1"])]
    out = room.lay(start, fresh, replace=["topic", "not_there"])

    assert room.names(out) == ["a", "topic", "z", "new_2", "new_1"]
    assert plain_block(out)["topic"] == ["tech"]


def test_a_column_in_the_way_is_never_overwritten_unasked(frame: Make) -> None:
    start = frame({"a": ["p"], "b": ["x"]})
    with pytest.raises(ColumnClash, match=r"^columns in the way: 'a', 'b'\nHint: choose other names with into=$"):
        adapter(start).lay(start, [build("a", TEXT, ["1"]), build("b", TEXT, ["1"])])


@pytest.mark.parametrize("positions", [[], [0], [3, 0, 0]], ids=str)
def test_taken_rows_come_in_order_with_their_labels_and_dtypes(frame: Make, positions: list[int]) -> None:
    made = frame({"n": [1, 2, 3, 4], "text": ["a", None, "c", "d"]})
    if isinstance(made, pd.DataFrame):
        made.index = pd.Index([7, 7, 8, 9])
    rows = adapter(made).take(made, positions)

    assert type(rows) is type(made)
    assert [str(dtype) for dtype in rows.dtypes] == [str(dtype) for dtype in made.dtypes]
    assert list(rows["n"]) == [[1, 2, 3, 4][at] for at in positions]
    assert list(adapter(made).take(made["n"], positions)) == list(rows["n"])
    if isinstance(made, pd.DataFrame):
        assert rows.index.tolist() == [[7, 7, 8, 9][at] for at in positions]


def test_a_snapshot_does_not_see_later_changes(frame: Make) -> None:
    start = frame({"text": ["p", "q"], "n": [1, 2], "unused": [0, 0]})
    room = adapter(start)
    table = room.snapshot(start, ["n", "text"])
    if room.kind == "polars":
        start[0, "text"], start[0, "n"] = "changed", 99
    else:
        start.loc[0, "text"], start.loc[0, "n"] = "changed", 99

    assert table.names == ["n", "text"]
    assert table.height == 2
    assert table.block(0, 2) == {"n": [1, 2], "text": ["p", "q"]}


def test_blocks_cut_anywhere_are_the_whole(frame: Make) -> None:
    data: dict[str, list[Any]] = {
        "text": ["a", None, "c", "d", "e"],
        "n": [1, None, 3, 4, 5],
        "l": [["x"], None, [], ["y", None], ["z"]],
    }
    start = frame(data)
    table = adapter(start).snapshot(start, list(data))
    parts = [table.block(start, min(start + 2, 5)) for start in range(0, 5, 2)]

    assert {name: [cell for part in parts for cell in part[name]] for name in data} == data


def test_one_column_becomes_a_series_and_several_become_structs(frame: Make) -> None:
    start = frame({"text": ["p", "q"]})
    room = adapter(start)
    like = start["text"]
    pair = [build("n", Kind("int"), [1, None]), build("topic", TOPIC, ["tech", None])]
    one, several = room.series(pair[:1], like), room.series(pair, like)

    assert room.is_series(one)
    assert not room.is_series(start)
    assert (one.name, several.name) == ("n", "answer")
    assert plain_block(room.from_series(several)[0]) == {"answer": [{"n": 1, "topic": "tech"}, None]}


def test_a_series_becomes_a_frame_of_one_named_column(frame: Make) -> None:
    series = frame({"title": ["p", "q"]})["title"]
    room = adapter(series)
    as_frame, name = room.from_series(series)
    unnamed, default = room.from_series(series.rename("") if room.kind == "polars" else series.rename(None))

    assert (name, plain_block(as_frame)) == ("title", {"title": ["p", "q"]})
    assert (default, plain_block(unnamed)) == ("text", {"text": ["p", "q"]})


def test_a_new_frame_holds_nothing_but_the_columns(frame: Make) -> None:
    room = adapter(frame({"x": [1]}))

    assert plain_block(room.new(every_kind()[:2])) == {"s": VALUES["s"][1], "i": VALUES["i"][1]}
    assert room.height(room.new([])) == 0


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Kind("int"), ["a", "b"]),
        (TEXT, [1, 2]),
        (TOPIC, ["tech", "arts"]),
        (Kind("bool"), [1, 0]),
        (Kind("json"), ["{", 1]),
    ],
    ids=repr,
)
def test_a_column_that_holds_something_else_is_not_read_back(frame: Make, kind: Kind, values: list[Any]) -> None:
    if kind.name == "json":
        values = [str(value) for value in values]
    start = frame({"x": values})
    expected = (
        kind.name == "json"
        and adapter(start).kind == "pandas"
        and isinstance(start["x"].dtype, pd.StringDtype | np.dtype)
    )

    assert (adapter(start).read_back(start, "x", kind) is not None) == expected


def test_an_edited_cell_changes_its_fingerprint_alone(frame: Make) -> None:
    start = frame({"text": ["p", "q", "r"]})
    room = adapter(start)
    column = build("topic", TOPIC, ["tech", "tech", None])
    edited = room.lay(start, [build("topic", TOPIC, ["tech", "sport", "tech"])])
    back = room.read_back(edited, "topic", TOPIC)

    assert back is not None
    assert (prints(back) == prints(column)).tolist() == [True, False, False]


@pytest.mark.parametrize("by", ["pandas", "polars"])
def test_parquet_keeps_every_fingerprint(tmp_path: Any, by: Any) -> None:
    room = by_name(by)
    # parquet cannot hold JSON of mixed shapes; polars 1.20.0 and 1.30.0 (not 2.1.0) panic on an Enum in List in Struct
    columns = [column for column in every_kind() if column.name not in ("j", *OLD_PANIC)]
    out = room.new(columns)
    if by == "pandas":
        out.to_parquet(tmp_path / "x.parquet")
        out = pd.read_parquet(tmp_path / "x.parquet")
    else:
        out.write_parquet(tmp_path / "x.parquet")
        out = pl.read_parquet(tmp_path / "x.parquet")

    for column in columns:
        back = room.read_back(out, column.name, column.kind)
        assert back is not None, column.name
        assert prints(back).tolist() == prints(column).tolist(), column.name


@pytest.mark.parametrize("by", ["pandas", "polars"])
def test_csv_keeps_the_fingerprints_of_flat_columns(tmp_path: Any, by: Any) -> None:
    room = by_name(by)
    columns = [column for column in every_kind(3) if column.kind.name not in ("list", "struct", "json")]
    out = room.new(columns)
    if by == "pandas":
        out.to_csv(tmp_path / "x.csv", index=False)
        out = pd.read_csv(tmp_path / "x.csv")
    else:
        out.write_csv(tmp_path / "x.csv")
        out = pl.read_csv(tmp_path / "x.csv")

    for column in columns:
        back = room.read_back(out, column.name, column.kind)
        assert back is not None, column.name
        assert prints(back).tolist() == prints(column).tolist(), column.name
