"""Comparison levels of record pairs, counted by pattern before anything else looks at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expmax.contract import iterate_rows
from expmax.data.compression import Rows
from expmax.data.reading import read_table
from expmax.data.tables import Table
from expmax.errors import DataError, parameter_error
from expmax.statistics import Array

__all__ = ["Levels", "read_levels"]

CHUNK = 1 << 14  # rows at a time: they stay in the cache
DENSE = 1 << 22  # possible patterns that a table of counts may have


@dataclass(frozen=True)
class Levels:
    """Fields of comparisons with levels 0 … L_g − 1, and the mixed-radix key of a row of them.

    A missing comparison (NaN) has the digit L_g.
    """

    sizes: tuple[int, ...]  # L_g
    names: tuple[str, ...] | None = None

    @property
    def radix(self) -> NDArray[np.int64]:
        """The weight of each field's digit."""
        digits = np.array([1, *(size + 1 for size in self.sizes[:0:-1])], np.int64)
        return np.cumprod(digits)[::-1].copy()

    @property
    def n_keys(self) -> int:
        """Possible patterns, missing comparisons among them."""
        out = 1
        for size in self.sizes:
            out *= size + 1
        return out

    def keys(self, x: NDArray[Any]) -> NDArray[np.int64]:
        """The keys of rows: shape (n,).

        Raises
        ------
        DataError
            A cell that is no level of its field; or more than 2⁵³ possible patterns.
        """
        if self.n_keys >= 1 << 53:
            raise DataError(
                f"{len(self.sizes)} fields have more than 2⁵³ possible patterns; leave out fields or levels."
            )
        sizes, radix = np.array(self.sizes, float), self.radix.astype(float)
        out = np.empty(len(x), np.int64)
        for rows in iterate_rows(len(x), CHUNK):
            part = np.asarray(x[rows], float)
            bad = (np.floor(part) != part) | (part < 0) | (part >= sizes)
            with np.errstate(invalid="ignore"):
                keys = part @ radix  # whole numbers below 2⁵³: exact
            if bad.any():
                missing = np.isnan(part)
                bad &= ~missing
                if bad.any():
                    self._refuse(part, bad, rows.start)
                holes = missing.any(axis=1)
                keys[holes] = np.where(missing[holes], sizes, part[holes]) @ radix
            out[rows] = keys
        return out

    def _refuse(self, part: NDArray[Any], bad: NDArray[np.bool_], first: int) -> None:
        row, field = (int(i) for i in np.argwhere(bad)[0])
        size = self.sizes[field]
        raise DataError(
            f"{self.label(field)} holds {part[row, field]:g} (row {first + row}), which is none of its "
            f"levels 0, …, {size - 1}; NaN marks a missing comparison."
        )

    def label(self, field: int) -> str:
        """How messages call a field."""
        return f"field {field}" if self.names is None else f"field {self.names[field]!r}"

    def rows(self, keys: NDArray[np.int64]) -> Array:
        """The rows behind keys: shape (n, number of fields)."""
        digits = (keys[:, None] // self.radix) % (np.array(self.sizes) + 1)
        return np.where(digits == np.array(self.sizes), np.nan, digits).astype(float)

    def count(
        self, x: NDArray[Any], weight: Array | None = None, label: NDArray[np.int64] | None = None
    ) -> Rows:
        """Distinct patterns (and known classes) with Σ w, Σ w² and numbers of rows, in order of their keys."""
        keys, n_labels = self.keys(x), 1
        if label is not None:
            n_labels = int(label.max()) + 2
            keys = keys * n_labels + (label + 1)
        if self.n_keys * n_labels <= max(DENSE, len(keys)):
            distinct, sums = _by_table(keys, self.n_keys * n_labels, weight)
        else:
            distinct, sums = _by_sorting(keys, weight)
        known = None if label is None else distinct % n_labels - 1
        return Rows(self.rows(distinct // n_labels), sums[1], known, sums[0], sums[2])


def _by_table(
    keys: NDArray[np.int64], n_keys: int, weight: Array | None
) -> tuple[NDArray[np.int64], list[Array]]:
    """Distinct keys, and their counts, Σ w and Σ w², from a table of all possible ones."""
    counts = np.bincount(keys, minlength=n_keys)
    present = np.flatnonzero(counts)
    sums = [counts[present].astype(float)]
    if weight is None:
        return present, sums * 3
    sums += [np.bincount(keys, own, n_keys)[present] for own in (weight, weight**2)]
    return present, sums


def _by_sorting(
    keys: NDArray[np.int64], weight: Array | None
) -> tuple[NDArray[np.int64], list[Array]]:
    """The same where there are too many possible keys for a table."""
    distinct, inverse = np.unique(keys, return_inverse=True)
    ones = np.ones(len(keys)) if weight is None else weight
    return distinct, [
        np.bincount(inverse, own, len(distinct)).astype(float) for own in (None, ones, ones**2)
    ]


def read_levels(X: Any) -> tuple[NDArray[Any], tuple[str, ...] | None]:
    """A matrix of comparison levels as it is, without a copy where it is an array, and its column names."""
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "biuf":
        if not X.size:
            Table(len(X), (), None).require_size(1, 1)
        return X, None
    table = read_table(X)
    table.require_size(1, 1)
    return table.values, None if table.names is None else tuple(table.names)


def learn_levels(
    x: NDArray[Any], names: tuple[str, ...] | None, given: int | Sequence[int] | None
) -> Levels:
    """How many levels each field has: those given, or one more than the largest found, at least two."""
    n_fields = x.shape[1]
    if given is not None:
        sizes = [given] * n_fields if isinstance(given, int | np.integer) else list(given)
        whole = all(isinstance(size, int | np.integer) and size >= 2 for size in sizes)
        if len(sizes) != n_fields or not whole:
            rule = f"an integer of at least 2, or one for each of {n_fields} fields"
            raise parameter_error("n_levels", rule, given)
        return Levels(tuple(int(size) for size in sizes), names)
    top = np.ones(n_fields)
    for rows in iterate_rows(len(x), CHUNK):
        part = x[rows]
        highest = float(np.fmax.reduce(part.ravel()))  # NaN counts for nothing
        if highest > top.min():
            top = np.fmax(top, np.fmax.reduce(part, axis=0))
    if np.isinf(top).any():
        raise DataError("X holds infinity; levels are 0, 1, … and NaN where missing.")
    if top.max() > 1000:
        field = int(np.argmax(top))
        raise DataError(
            f"{Levels((2,), names).label(field)} holds {top[field]:g}: X is to hold levels of agreement 0, 1, "
            "…, not values; compare the records first."
        )
    return Levels(tuple(int(size) + 1 for size in np.ceil(top)), names)
