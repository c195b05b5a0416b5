"""Frames of every make: `frame` turns columns of plain values into pandas (numpy or Arrow inside) or polars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import polars as pl
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[[dict[str, list[Any]]], Any]


def numpy_backed(data: dict[str, list[Any]]) -> pd.DataFrame:
    return pd.DataFrame(data)


def pyarrow_backed(data: dict[str, list[Any]]) -> pd.DataFrame:
    return pd.DataFrame(data).convert_dtypes(dtype_backend="pyarrow")


@pytest.fixture(params=[numpy_backed, pyarrow_backed, pl.DataFrame], ids=["pandas", "pandas-pyarrow", "polars"])
def frame(request: pytest.FixtureRequest) -> Make:
    make: Make = request.param
    return make
