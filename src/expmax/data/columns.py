"""Columns: cells of one kind, as numbers or as codes into categories.

A missing cell (None, NaN, NaT, pandas.NA, null) is NaN among numbers and None among text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from expmax.errors import DataError, parameter_error

__all__ = ["Category", "Column", "Encoding", "Kind", "column_label"]

Kind = Literal["real", "integer", "boolean", "text"]
Category = str | int | float | bool


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """A column as codes into its categories."""

    codes: NDArray[np.float64]  # 0 … C-1; -1 an unseen category; NaN missing, shape (n,)
    categories: list[Any]  # the C categories, plain Python values: str, int, float or bool
    unseen: list[Any]  # values that are no known category, sorted


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
            absent: NDArray[np.bool_] = np.asarray(self.cells == None, np.bool_)  # noqa: E711
            return absent
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
        >>> from expmax.data import read_table
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
            index = {value: position for position, value in enumerate(found)} | {None: -1}
            return found, np.fromiter(map(index.__getitem__, self.cells), np.intp, len(self.cells))
        present = ~self.missing
        values, inverse = np.unique(self.cells[present], return_inverse=True)
        positions = np.full(len(self.cells), -1)
        positions[present] = inverse
        plain = {"boolean": bool, "integer": int, "real": float}[self.kind]
        return [plain(value) for value in values], positions

    def refuse_infinity(self, source: str) -> None:
        """Refuse infinity, naming its row."""
        if self.kind != "text" and np.isinf(self.cells).any():
            row = int(np.isinf(self.cells).argmax())
            sign = "-" if self.cells[row] < 0 else ""
            raise DataError(
                f"{self.label} of {source} holds {sign}infinity (row {row}); drop the row or "
                "replace the value."
            )


def column_label(position: int, names: Sequence[str] | None) -> str:
    """How messages call a column: by its name, or by its position where it has none."""
    return f"column {position}" if names is None else f"column {names[position]!r}"


def _code(value: Category, index: Mapping[Any, int]) -> int:
    """Code of a value, or of its other spelling (number or text); -1 if neither is known."""
    if value in index:
        return index[value]
    try:
        other = float(value) if isinstance(value, str) else str(value)
    except ValueError:
        return -1
    return index.get(other, -1)
