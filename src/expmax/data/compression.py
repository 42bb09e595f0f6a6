"""Exact compression: equal rows become one row whose weight is the sum of theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expmax.statistics import Array

__all__ = ["Rows", "compress"]

SAMPLE = 2048  # rows looked at before the whole is sorted
TABLE = 1 << 22  # largest table of counts that is tried in place of sorting


@dataclass(frozen=True, slots=True)
class Rows:
    """Distinct rows and what they stand for."""

    x: NDArray[Any]
    weight: Array | None  # Σ w of the rows behind each
    label: NDArray[np.int64] | None
    count: Array  # how many rows are behind each
    square: Array  # Σ w² of the rows behind each


def compress(x: NDArray[Any], weight: Array | None, label: NDArray[np.int64] | None) -> Rows:
    """Distinct rows (values and label) with their total weights; all rows as they are where few repeat.

    −0 equals 0 and NaN equals NaN. The order of the distinct rows does not depend on that of the data.

    Examples
    --------
    >>> rows = compress(np.array([[2.0], [0.0], [2.0], [2.0]]), None, None)
    >>> rows.x.ravel(), rows.weight
    (array([0., 2.]), array([1., 3.]))
    """
    found = _compressed(x, weight, label)
    if found is not None:
        return found
    ones = np.broadcast_to(1.0, len(x))
    return Rows(x, weight, label, ones, ones if weight is None else weight**2)


def _compressed(
    x: NDArray[Any], weight: Array | None, label: NDArray[np.int64] | None
) -> Rows | None:
    """The distinct rows, unless fewer than half of the rows would disappear."""
    if len(x) < 2 or x.shape[1] == 0 or not _repeats(x):
        return None
    key = _small_integers(x, label)
    first, inverse, n_distinct = _distinct(x, label) if key is None else _by_counting(*key)
    if 2 * n_distinct > len(x):
        return None
    totals = np.bincount(inverse, weight, n_distinct)
    counts = np.bincount(inverse, minlength=n_distinct).astype(np.float64)
    squares = counts
    if weight is not None:
        squares = np.bincount(inverse, weight**2, n_distinct).astype(float)
    return Rows(
        x[first] + 0.0,
        totals.astype(float),
        None if label is None else label[first],
        counts,
        squares,
    )


def _repeats(x: NDArray[Any]) -> bool:
    """Whether a sample of evenly spread rows repeats enough to be worth a full look."""
    if len(x) <= SAMPLE:
        return True
    sample = x[:: len(x) // SAMPLE]
    return len(np.unique(sample, axis=0, equal_nan=True)) < 0.9 * len(sample)


def _small_integers(
    x: NDArray[Any], label: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], int] | None:
    """Rows of small integers as one integer each (mixed radix), and the number of possible values."""
    key = np.zeros(len(x), np.int64) if label is None else label + 1
    size = 1 if label is None else int(label.max()) + 2
    for column in x.T:
        low, high = column.min(), column.max()
        if not (np.isfinite(low) and np.isfinite(high)) or (high - low + 1) * size > TABLE:
            return None
        code = (column - low).astype(np.int64)
        if not np.array_equal(code + low, column):
            return None
        radix = int(high - low) + 1
        key = key * radix + code
        size *= radix
    return key, size


def _by_counting(
    key: NDArray[np.int64], size: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
    """First row of each distinct key, and for each row the number of its key."""
    position = np.full(size, -1, np.intp)
    position[key[::-1]] = np.arange(len(key) - 1, -1, -1)
    present = np.flatnonzero(position >= 0)
    rank = np.zeros(size, np.intp)
    rank[present] = np.arange(len(present))
    return position[present], rank[key], len(present)


def _distinct(
    x: NDArray[Any], label: NDArray[np.int64] | None
) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
    """The same by sorting."""
    columns = [np.asarray(column) + 0.0 for column in x.T]
    if label is not None:
        columns.append(label.astype(float))
    order = np.lexsort(columns[::-1])
    new = np.zeros(len(x), bool)
    new[0] = True
    for column in columns:
        a, b = column[order[1:]], column[order[:-1]]
        new[1:] |= (a != b) & ~(np.isnan(a) & np.isnan(b))
    inverse = np.empty(len(x), np.intp)
    inverse[order] = np.cumsum(new) - 1
    return order[new], inverse, int(new.sum())
