"""Tables: whatever holds rows and columns, read once into numbers, kinds and names.

Rows and columns count from 0. A missing cell (None, NaN, NaT, pandas.NA, null) is NaN among numbers
and None among text. Infinity is no data and is refused.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from decimal import Decimal
from numbers import Integral, Real
from typing import Any, Literal, NoReturn

import narwhals.stable.v2 as nw
import numpy as np
from narwhals.exceptions import DuplicateError
from numpy.typing import NDArray
from scipy.sparse import issparse

from expmax.errors import DataError, DataTypeError, ParameterError, parameter_error

__all__ = [
    "Category",
    "Column",
    "Encoded",
    "Encoding",
    "Kind",
    "Table",
    "read_table",
    "table_of_columns",
]

Kind = Literal["real", "integer", "boolean", "text"]
Category = str | int | float | bool
Numbers = NDArray[np.floating[Any]]

_RESHAPE = (
    "Reshape your data either using array.reshape(-1, 1) if your data has a single feature or "
    "array.reshape(1, -1) if it contains a single sample."
)
_NUMBER_KINDS: dict[str, Kind] = {"f": "real", "i": "integer", "u": "integer", "b": "boolean"}


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """A column as codes into its categories."""

    codes: NDArray[np.float64]  # 0 … C-1; -1 an unseen category; NaN missing, shape (n,)
    categories: list[Any]  # the C categories, plain Python values: str, int, float or bool
    unseen: list[Any]  # values that are no known category, sorted


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A table as one matrix of numbers: codes where a column has categories, values elsewhere."""

    values: Numbers  # shape (n, d), C-contiguous
    categories: dict[int, list[Any]]  # by position of column; fit for JSON
    unseen: dict[int, list[Any]]  # by position; only the columns where something was unseen


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One column: its cells as numbers (NaN missing) or, for text, as strings (None missing)."""

    kind: Kind
    cells: NDArray[Any]  # float64 or float32, or object for text, shape (n,)
    label: str = "column 0"  # how messages call it: "column 'age'" or "column 3"

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Which cells are missing, shape (n,)."""
        if self.kind == "text":
            return np.fromiter((cell is None for cell in self.cells), bool, len(self.cells))
        missing: NDArray[np.bool_] = np.isnan(self.cells)
        return missing

    def encode(self, categories: Sequence[Category] | None = None) -> Encoding:
        """Cells as codes 0 … C-1 into categories: those given, or those found here, sorted.

        Parameters
        ----------
        categories : sequence, optional
            The known categories, in the order of their codes. A number and the text that spells it
            are the same category: whether a file's column reads as text depends on its other rows.

        Examples
        --------
        >>> column = read_table([["b"], ["a"], [None], ["b"]]).column(0)
        >>> column.encode()
        Encoding(codes=array([ 1.,  0., nan,  1.]), categories=['a', 'b'], unseen=[])
        >>> column.encode(["b", "c"])
        Encoding(codes=array([ 0., -1., nan,  0.]), categories=['b', 'c'], unseen=['a'])
        """
        found, positions = self._distinct()
        known = found if categories is None else list(categories)
        index = {category: code for code, category in enumerate(known)}
        if len(index) < len(known):
            raise parameter_error("categories", "distinct", known)
        codes = [_code(value, index) for value in found]
        unseen = [value for value, code in zip(found, codes, strict=True) if code < 0]
        return Encoding(np.array([*codes, np.nan])[positions], known, unseen)

    def _distinct(self) -> tuple[list[Any], NDArray[np.intp]]:
        """The distinct values, sorted, and for each cell its position there; -1 where missing."""
        if self.kind == "text":
            found: list[Any] = sorted(set(self.cells) - {None})
            index = {value: position for position, value in enumerate(found)}
            places = (index.get(cell, -1) for cell in self.cells)
            return found, np.fromiter(places, np.intp, len(self.cells))
        present = ~self.missing
        values, inverse = np.unique(self.cells[present], return_inverse=True)
        positions = np.full(len(self.cells), -1)
        positions[present] = inverse
        plain = {"boolean": bool, "integer": int, "real": float}[self.kind]
        return [plain(value) for value in values], positions

    def _refuse_infinity(self, source: str) -> None:
        if self.kind != "text" and np.isinf(self.cells).any():
            row = int(np.isinf(self.cells).argmax())
            sign = "-" if self.cells[row] < 0 else ""
            raise DataError(
                f"{self.label} of {source} holds {sign}infinity (row {row}); drop the row or "
                "replace the value."
            )


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Rows and columns as read: made by `read_table` and `read_file`.

    Examples
    --------
    >>> import pandas as pd
    >>> table = read_table(pd.DataFrame({"length": [1.5, None], "species": ["a", "b"]}))
    >>> table.names, table.kinds
    (['length', 'species'], ['real', 'text'])
    >>> table.select(["length"]).values
    array([[1.5],
           [nan]])
    """

    n_rows: int
    columns: tuple[Column, ...] = field(repr=False)
    names: list[str] | None = None  # None where the columns have no names
    source: str = "X"  # how messages call the table
    matrix: Numbers | None = field(
        default=None, repr=False
    )  # all columns side by side, where all are numbers

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return len(self.columns)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.n_rows, self.n_columns

    @property
    def kinds(self) -> list[Kind]:
        """Kind of each column: real, integer, boolean or text."""
        return [column.kind for column in self.columns]

    @property
    def values(self) -> Numbers:
        """The numbers, shape (n, d), C-contiguous float64 or float32; NaN marks a missing cell.

        Raises
        ------
        DataError
            A column holds text; the message names it.
        """
        if self.matrix is None:
            self._refuse_text(next(column for column in self.columns if column.kind == "text"))
        return self.matrix

    def column(self, key: int | str) -> Column:
        """Return the column of that position (negative: from the end) or name."""
        return self.columns[self.position(key)]

    def label(self, key: int | str) -> str:
        """How messages call a column: "column 'age'", or "column 3" where it has no name."""
        return self.column(key).label

    def position(self, key: int | str) -> int:
        """Position of the column of that position (negative: from the end) or name.

        Raises
        ------
        ParameterError
            There is no such column.
        """
        if isinstance(key, str):
            return self._position_of_name(key)
        if not isinstance(key, Integral) or isinstance(key, bool):
            raise parameter_error("column", "a name or a position", key)
        if not -self.n_columns <= key < self.n_columns:
            raise ParameterError(
                f"{self.source} has no column {key}; it has {self.n_columns} columns, from 0."
            )
        return int(key) % self.n_columns

    def select(self, columns: int | str | Iterable[int | str]) -> Table:
        """Return the table of only these columns, by name or position, in the order given."""
        keys = [columns] if isinstance(columns, int | str) else list(columns)
        positions = [self.position(key) for key in keys]
        if len(set(positions)) < len(positions):
            twice = max(positions, key=positions.count)
            raise ParameterError(
                f"columns must be distinct; got {self.label(twice)} twice. Name each column once."
            )
        if positions == list(range(self.n_columns)):
            return self
        return table_of_columns(
            [(self.columns[i].kind, self.columns[i].cells) for i in positions],
            None if self.names is None else [self.names[i] for i in positions],
            n_rows=self.n_rows,
            source=self.source,
            labels=[self.columns[i].label for i in positions],
        )

    def encode(self, categories: Mapping[int, Sequence[Category]] | None = None) -> Encoded:
        """Return one matrix of numbers, with codes in place of categories.

        Parameters
        ----------
        categories : mapping of position to sequence, optional
            The known categories of the columns that have some, as an earlier `encode` returned
            them; every other column must hold numbers. By default the text columns are those, and
            their categories are learned: sorted.

        Examples
        --------
        >>> encoded = read_table([[0.5, "a"], [1.5, "b"]]).encode()
        >>> encoded.values
        array([[0.5, 0. ],
               [1.5, 1. ]])
        >>> read_table([[2.5, "c"]]).encode(encoded.categories).unseen
        {1: ['c']}
        """
        if categories is None:
            texts = (i for i, column in enumerate(self.columns) if column.kind == "text")
            encodings = {i: self.columns[i].encode() for i in texts}
        else:
            encodings = {
                self.position(i): self.column(i).encode(known) for i, known in categories.items()
            }
        for i, column in enumerate(self.columns):
            if column.kind == "text" and i not in encodings:
                self._refuse_text(column)
        if encodings:
            cells = [
                encodings[i].codes if i in encodings else column.cells
                for i, column in enumerate(self.columns)
            ]
            values = _side_by_side(cells, self.n_rows)
        else:
            values = self.values
        return Encoded(
            values,
            {i: encoding.categories for i, encoding in encodings.items()},
            {i: encoding.unseen for i, encoding in encodings.items() if encoding.unseen},
        )

    def require_size(self, rows: int = 1, columns: int = 1) -> None:
        """Refuse a table with fewer rows or columns.

        Raises
        ------
        DataError
            In scikit-learn's words: "Found array with 0 sample(s) (shape=(0, 2)) while …".
        """
        for found, least, noun in (
            (self.n_rows, rows, "sample"),
            (self.n_columns, columns, "feature"),
        ):
            if found < least:
                raise DataError(
                    f"Found array with {found} {noun}(s) (shape={self.shape}) while a minimum of "
                    f"{least} is required."
                )

    def require_complete(self) -> None:
        """Refuse missing cells.

        Raises
        ------
        DataError
            The message names the first such column and row.
        """
        for column in self.columns:
            missing = column.missing
            if missing.any():
                raise DataError(
                    f"{column.label} of {self.source} holds NaN or another missing value "
                    f"(row {int(missing.argmax())}), and every cell is needed here; drop the row "
                    "or choose a model that takes missing cells."
                )

    def _position_of_name(self, name: str) -> int:
        if self.names is None:
            raise ParameterError(
                f"{self.source} has no column names, so no {name!r}; choose columns by position, "
                "from 0."
            )
        if name not in self.names:
            near = difflib.get_close_matches(name, self.names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {_listed(self.names)}."
            raise ParameterError(f"{self.source} has no column {name!r}; {hint}")
        return self.names.index(name)

    def _refuse_text(self, column: Column) -> NoReturn:
        row = int((~column.missing).argmax())
        raise DataError(
            f"{column.label} of {self.source} holds text ({column.cells[row]!r}, row {row}) where "
            "numbers are needed; choose a family for categories, or leave the column out."
        )


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


def table_of_columns(
    columns: Sequence[tuple[Kind, NDArray[Any]]],
    names: list[str] | None,
    *,
    n_rows: int,
    source: str,
    labels: Sequence[str] | None = None,
) -> Table:
    """Join columns, all of n_rows cells, into a table; infinity is refused."""
    if labels is None:
        labels = [_label(i, names) for i in range(len(columns))]
    read = tuple(
        Column(kind, cells, label) for (kind, cells), label in zip(columns, labels, strict=True)
    )
    for column in read:
        column._refuse_infinity(source)
    if any(column.kind == "text" for column in read):
        return Table(n_rows, read, names, source)
    matrix = _side_by_side([column.cells for column in read], n_rows)
    return _table_of_matrix(matrix, [column.kind for column in read], names, source, labels)


def _table_of_matrix(
    matrix: Numbers,
    kinds: Sequence[Kind],
    names: list[str] | None,
    source: str,
    labels: Sequence[str],
) -> Table:
    columns = tuple(
        Column(kind, matrix[:, i], label)
        for i, (kind, label) in enumerate(zip(kinds, labels, strict=True))
    )
    return Table(len(matrix), columns, names, source, matrix)


def _side_by_side(cells: Sequence[NDArray[Any]], n_rows: int) -> Numbers:
    """One C-contiguous matrix; float32 only where every column is."""
    dtype = np.result_type(*cells) if cells else np.dtype(np.float64)
    matrix: Numbers = np.empty((n_rows, len(cells)), dtype)
    for i, column in enumerate(cells):
        matrix[:, i] = column
    return matrix


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
    labels = [_label(i, None) for i in range(matrix.shape[1])]
    table = _table_of_matrix(matrix, [kind] * len(labels), None, name, labels)
    with np.errstate(over="ignore", invalid="ignore"):
        suspicious = kind == "real" and not np.isfinite(matrix.sum())
    if suspicious:
        for column in table.columns:
            column._refuse_infinity(name)
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
        _read_series(frame[:, i], f"{_label(i, names)} of {name}") for i in range(frame.shape[1])
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


# ------------------------------------------------------------------------------------- wording


def _label(position: int, names: Sequence[str] | None) -> str:
    return f"column {position}" if names is None else f"column {names[position]!r}"


def _listed(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _code(value: Category, index: Mapping[Any, int]) -> int:
    """Code of a value, or of its other spelling (number or text); -1 if neither is known."""
    if value in index:
        return index[value]
    try:
        other = float(value) if isinstance(value, str) else str(value)
    except ValueError:
        return -1
    return index.get(other, -1)
