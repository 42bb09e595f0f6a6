"""Whatever holds rows and columns, read into a `Table`: arrays, nested lists, data frames."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from decimal import Decimal
from numbers import Integral, Real
from typing import Any, NoReturn

import narwhals.stable.v2 as nw
import numpy as np
from narwhals.exceptions import DuplicateError
from numpy.typing import NDArray
from scipy.sparse import issparse

from expmax.data.columns import Kind, column_label
from expmax.data.tables import Table, table_of_columns, table_of_matrix
from expmax.errors import DataError, DataTypeError

__all__ = ["read_table"]

_RESHAPE = (
    "Reshape your data either using array.reshape(-1, 1) if your data has a single feature or "
    "array.reshape(1, -1) if it contains a single sample."
)
_NUMBER_KINDS: dict[str, Kind] = {"f": "real", "i": "integer", "u": "integer", "b": "boolean"}


def read_table(X: Any, *, name: str = "X") -> Table:
    """Read an array, a list of rows or a data frame into a table.

    Parameters
    ----------
    X : array, list of lists, or data frame
        NumPy array (numbers, text, or objects), nested lists, or a pandas, polars, pyarrow or any
        other eager table that narwhals takes. A C-contiguous array of float64 or float32 is used
        as it is, without a copy; a masked cell of a masked array is missing.
    name : str
        How messages call it.

    Returns
    -------
    Table
        The kind of a column follows its declared type: whole numbers stored as floats are "real".

    Raises
    ------
    DataError
        Not two-dimensional, sparse, complex, infinite, ragged, or with two columns of one name.
    DataTypeError
        A cell or a column that is neither number, text nor missing (a date, a dict …).

    Examples
    --------
    >>> table = read_table([[1, 2.5, "a"], [None, 3.5, "b"]])
    >>> table.kinds
    ['integer', 'real', 'text']
    >>> table.column(0).cells
    array([ 1., nan])
    """
    if isinstance(X, Table):
        return X
    if issparse(X):
        raise DataTypeError(f"{name} is sparse, which is not supported; pass {name}.toarray().")
    if isinstance(X, list | tuple):
        return _read_array(_array_of_rows(X, name), name)
    try:
        frame = nw.from_native(X, pass_through=True)
        if isinstance(frame, nw.DataFrame):
            return _read_frame(frame, name)
    except DuplicateError:
        raise DataError(f"{name} has two columns of the same name; rename one.") from None
    if isinstance(frame, nw.LazyFrame):
        raise DataTypeError(f"{name} is a lazy table; collect it first, as by {name}.collect().")
    return _read_array(X if isinstance(X, np.ma.MaskedArray) else np.asarray(X), name)


# ----------------------------------------------------------------------------- arrays and lists


def _read_array(X: NDArray[Any], name: str) -> Table:
    if X.dtype.kind == "c":
        raise DataError(f"Complex data not supported: {name} has dtype {X.dtype}.")
    if X.ndim == 0:
        raise DataError(
            f"Expected 2D array, got scalar array instead: {name} is of type "
            f"{type(X.item()).__name__}. {_RESHAPE}"
        )
    if X.ndim == 1:
        raise DataError(
            f"Expected 2D array, got 1D array instead: {name} has shape {X.shape}. {_RESHAPE}"
        )
    if X.ndim > 2:
        raise DataError(
            f"Found array with dim {X.ndim}, while dim 2 is required: {name} has shape {X.shape}."
        )
    kind = _NUMBER_KINDS.get(X.dtype.kind)
    if kind is not None:
        return _read_matrix(X, kind, name)
    if X.dtype.kind not in "OUT":
        raise DataTypeError(
            f"{name} has dtype {X.dtype}; it must be of numbers, strings or objects. Convert it "
            "first."
        )
    cells = np.ma.filled(X.astype(object), np.nan)
    columns = [_read_objects(cells[:, i], f"column {i} of {name}") for i in range(X.shape[1])]
    return table_of_columns(columns, None, n_rows=len(X), source=name)


def _read_matrix(X: NDArray[Any], kind: Kind, name: str) -> Table:
    dtype = X.dtype if X.dtype in (np.float32, np.float64) else np.dtype(np.float64)
    if isinstance(X, np.ma.MaskedArray):
        X = np.ma.filled(X.astype(dtype), np.nan)
    with np.errstate(over="ignore"):  # an overflowing long double is refused as infinite below
        matrix = np.ascontiguousarray(X, dtype=dtype)
    labels = [column_label(i, None) for i in range(matrix.shape[1])]
    table = table_of_matrix(matrix, [kind] * len(labels), None, name, labels)
    with np.errstate(over="ignore", invalid="ignore"):
        suspicious = kind == "real" and not np.isfinite(matrix.sum())
    if suspicious:
        for column in table.columns:
            column.refuse_infinity(name)
    return table


def _array_of_rows(rows: Sequence[Any], name: str) -> NDArray[Any]:
    """Nested lists as an array of objects, so that each cell keeps its type."""
    widths = [
        len(row) if isinstance(row, Sized) and not isinstance(row, str) else -1 for row in rows
    ]
    for i, width in enumerate(widths):
        if width != widths[0] and min(widths) >= 0:
            raise DataError(
                f"every row of {name} must have the same number of cells; row 0 has {widths[0]}, "
                f"row {i} has {width}."
            )
    return np.array(rows, dtype=object)


def _read_objects(cells: NDArray[Any], where: str) -> tuple[Kind, NDArray[Any]]:
    """Kind and cells of a column of Python objects."""
    if set(map(type, cells)) == {str}:  # most columns of text: nothing to look for
        return "text", cells.copy()
    missing = np.fromiter(map(_is_missing, cells), bool, len(cells))
    present = cells[~missing]
    kind = _kind_of_types(set(map(type, present)))
    if kind is None:
        _refuse_mixture(cells, missing, where)
    if kind == "text":
        text = np.full(len(cells), None, dtype=object)
        text[~missing] = [str(cell) for cell in present]
        return kind, text
    numbers = np.full(len(cells), np.nan)
    try:
        numbers[~missing] = present.astype(np.float64)
    except OverflowError:
        raise DataError(f"{where} holds a number too large for float64; rescale it.") from None
    return kind, numbers


def _is_missing(cell: object) -> bool:
    if cell is None:
        return True
    if isinstance(cell, float | np.inexact | np.datetime64 | np.timedelta64 | Decimal):
        return bool(cell != cell)  # NaN and NaT
    return type(cell).__name__ in ("NAType", "NaTType")  # pandas.NA and NaT, without pandas


def _kind_of_types(types: set[type]) -> Kind | None:
    """Kind of a column whose cells have these types; None if they do not go together."""

    def all_of(*allowed: type) -> bool:
        return all(issubclass(each, allowed) for each in types)

    if not types:
        return "real"
    if all_of(str):
        return "text"
    if all_of(bool, np.bool_):
        return "boolean"
    if all_of(Integral, np.bool_):
        return "integer"
    return "real" if all_of(Real, Decimal, np.bool_) else None


def _refuse_mixture(cells: NDArray[Any], missing: NDArray[np.bool_], where: str) -> NoReturn:
    """Name the first cell that keeps the column from being all numbers or all text."""
    for row in np.flatnonzero(~missing):
        cell = cells[row]
        if isinstance(cell, complex | np.complexfloating):
            raise DataError(f"Complex data not supported: {where} holds {cell!r} (row {row}).")
        if not isinstance(cell, str) and _kind_of_types({type(cell)}) is None:
            raise DataTypeError(
                f"{where} holds a {type(cell).__name__} (row {row}): a cell of this argument must "
                "be a string, a number or missing."
            )
    present = np.flatnonzero(~missing)
    text = next(int(row) for row in present if isinstance(cells[row], str))
    number = next(int(row) for row in present if not isinstance(cells[row], str))
    raise DataError(
        f"{where} mixes text ({cells[text]!r}, row {text}) with numbers ({cells[number]!r}, row "
        f"{number}); make it one or the other."
    )


# ---------------------------------------------------------------------------------- data frames


def _read_frame(frame: nw.DataFrame[Any], name: str) -> Table:
    names = _column_names(frame.columns, name)
    columns = [
        _read_series(frame[:, i], f"{column_label(i, names)} of {name}")
        for i in range(frame.shape[1])
    ]
    return table_of_columns(columns, names, n_rows=frame.shape[0], source=name)


def _read_series(series: nw.Series[Any], where: str) -> tuple[Kind, NDArray[Any]]:
    dtype = series.dtype
    if dtype == nw.Boolean:
        return "boolean", _float64(series)
    if dtype.is_integer():
        return "integer", _float64(series)
    if dtype == nw.Float32:
        return "real", np.asarray(series.to_numpy(), dtype=np.float32)
    if dtype.is_float() or dtype == nw.Decimal:
        return "real", _float64(series)
    if dtype in (nw.Categorical, nw.Enum):
        cells = [None if _is_missing(cell) else str(cell) for cell in series.to_list()]
        return _read_objects(_objects(cells), where)
    if dtype in (nw.String, nw.Object, nw.Unknown):
        return _read_objects(_objects(series.to_list()), where)
    raise DataTypeError(
        f"{where} has type {dtype}: a cell of this argument must be a string, a number or missing. "
        "Convert the column first."
    )


def _float64(series: nw.Series[Any]) -> NDArray[np.float64]:
    return np.asarray(series.cast(nw.Float64).to_numpy(), dtype=np.float64)


def _objects(cells: list[Any]) -> NDArray[Any]:
    """A one-dimensional array of objects, also where the cells are lists."""
    array = np.empty(len(cells), dtype=object)
    array[:] = cells
    return array


def _column_names(names: Sequence[Any], source: str) -> list[str] | None:
    """Names if all are strings, None if none is: as scikit-learn reads them."""
    if all(isinstance(name, str) for name in names) and names:
        return [str(name) for name in names]
    if any(isinstance(name, str) for name in names):
        types = sorted({type(name).__name__ for name in names})
        raise DataTypeError(
            f"column names of {source} must be all strings or none; got types {', '.join(types)}."
        )
    return None
