"""Tables: rows and columns, read once into numbers, kinds and names.

Rows and columns count from 0. Infinity is no data and is refused.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from expmax.data.columns import Category, Column, Kind, column_label
from expmax.errors import DataError, ParameterError, parameter_error

__all__ = ["Encoded", "Table", "table_of_columns", "table_of_matrix"]

Numbers = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A table as one matrix of numbers: codes where a column has categories, values elsewhere."""

    values: Numbers  # shape (n, d), C-contiguous
    categories: dict[int, list[Any]]  # by position of column; fit for JSON
    unseen: dict[int, list[Any]]  # by position; only the columns where something was unseen


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Rows and columns as read: made by `read_table` and `read_file`.

    Examples
    --------
    >>> import pandas as pd
    >>> from expmax.data import read_table
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
        >>> from expmax.data import read_table
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
        labels = [column_label(i, names) for i in range(len(columns))]
    read = tuple(
        Column(kind, cells, label) for (kind, cells), label in zip(columns, labels, strict=True)
    )
    for column in read:
        column.refuse_infinity(source)
    if any(column.kind == "text" for column in read):
        return Table(n_rows, read, names, source)
    matrix = _side_by_side([column.cells for column in read], n_rows)
    return table_of_matrix(matrix, [column.kind for column in read], names, source, labels)


def table_of_matrix(
    matrix: Numbers,
    kinds: Sequence[Kind],
    names: list[str] | None,
    source: str,
    labels: Sequence[str],
) -> Table:
    """Make a table of one matrix of numbers, its columns views of it."""
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


def _listed(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
