"""Features: functions of a point, columns of the points, or a matrix with one row a point."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from expmax.errors import DataError, ParameterError, parameter_error
from expmax.maxent.arrays import is_sparse
from expmax.maxent.supports import PointSet
from expmax.statistics import Array

__all__ = ["Coordinate", "Features", "Forgotten", "Some", "forget_functions", "read_features"]

Function = Callable[[Any], Any]


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Named features: as functions that take any points, or as the matrix of fixed ones."""

    names: tuple[str, ...]
    functions: tuple[Function, ...] | None  # each of m' ≤ m functions gives one column or more
    matrix: Any = None  # (n, m), dense or CSR, where the points are fixed

    def __len__(self) -> int:
        return len(self.names)

    def __call__(self, x: Array) -> Array:
        """f(x) of points, shape (n, d): shape (n, m); functions of one column get it flat."""
        if self.functions is None:
            raise ParameterError(
                "features given as a matrix are known at the points of the support alone; give "
                "functions to evaluate them elsewhere."
            )
        argument = x[:, 0] if x.shape[1] == 1 else x
        columns = [_columns(function(argument), len(x)) for function in self.functions]
        return np.hstack([np.empty((len(x), 0)), *columns])


@dataclass(frozen=True, slots=True)
class Coordinate:
    """A column of the points, as a function of them."""

    index: int

    def __call__(self, x: Array) -> Array:
        """The column: shape (n,)."""
        return x if x.ndim == 1 else x[:, self.index]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Where a function stood that a model file could not hold."""

    name: str

    def __call__(self, x: Array) -> Array:
        """Refuse: the function is gone."""
        raise ParameterError(
            f"the function {self.name!r} was not kept in the model file; give it again with set_params "
            "before fitting."
        )


@dataclass(frozen=True, slots=True, eq=False)
class Some:
    """Some of the columns of features."""

    features: Features
    kept: NDArray[np.intp]

    def __call__(self, x: Array) -> Array:
        """f(x) of the columns kept: shape (n, k)."""
        return self.features(x)[:, self.kept]


def read_features(features: Any, support: Any, names: Sequence[str] | None = None) -> Features:
    """Read what a user gives as features.

    Parameters
    ----------
    features : callable, str, int, array, sparse matrix, or sequence or mapping by name of these
        A function takes the points, shape (n,) in one dimension and (n, d) in more, and returns shape
        (n,) or (n, k). A name or number is a column of the points. A matrix has one row a point.
    support : PointSet, Interval or Box
    names : sequence of str, optional
        Names of the columns of a matrix, or of the features.
    """
    if features is None:
        return Features((), ())
    fixed = support if isinstance(support, PointSet) else None
    if is_sparse(features) or (isinstance(features, np.ndarray) and features.ndim == 2):
        return _of_matrix(features, fixed, names)
    items, labels = _items(features)
    functions: list[Function] = []
    columns: list[Any] = []
    for item in items:
        if isinstance(item, str | int | np.integer):
            functions.append(_column_of(item, fixed, support))
        elif callable(item):
            functions.append(item)
        else:
            columns.append(item)
    if columns and functions:
        raise ParameterError("features must be all functions and columns, or all arrays; not both.")
    if columns:
        matrix = np.column_stack([np.asarray(column, float) for column in columns])
        return _of_matrix(matrix, fixed, names or labels)
    return _named(functions, labels, names, _probe(support))


def forget_functions(value: Any) -> Any:
    """A user's argument with its functions replaced by their names, for a model file."""
    if isinstance(value, Mapping):
        return {name: forget_functions(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(forget_functions(item) for item in value)
    known = isinstance(value, np.ufunc | Coordinate | Forgotten)
    if callable(value) and not known:
        return Forgotten(getattr(value, "__name__", type(value).__name__))
    return value


def _items(features: Any) -> tuple[list[Any], list[str]]:
    if isinstance(features, Mapping):
        return list(features.values()), [str(name) for name in features]
    flat = isinstance(features, np.ndarray) and features.ndim == 1
    if callable(features) or isinstance(features, str | int) or flat:
        features = [features]
    items = list(features)
    labels = []
    for j, item in enumerate(items):
        name = item if isinstance(item, str) else getattr(item, "__name__", "")
        labels.append(name if name and name != "<lambda>" else f"f{j}")
    return items, labels


def _of_matrix(matrix: Any, support: PointSet | None, names: Sequence[str] | None) -> Features:
    if support is None:
        raise ParameterError("features must be functions where the support is not a set of points.")
    if matrix.shape[0] != support.n:
        raise DataError(
            f"features must have one row a point of the support, {support.n} in all; got "
            f"{matrix.shape[0]}."
        )
    labels = tuple(names) if names is not None else tuple(f"f{j}" for j in range(matrix.shape[1]))
    if len(labels) != matrix.shape[1]:
        raise parameter_error("names", f"{matrix.shape[1]} names", names)
    sparse = is_sparse(matrix)
    values: Any = csr_array(matrix, dtype=np.float64) if sparse else np.asarray(matrix, np.float64)
    _finite(values, labels)
    return Features(labels, None, values)


def _finite(values: Any, names: Sequence[str]) -> None:
    sparse = is_sparse(values)
    with np.errstate(over="ignore", invalid="ignore"):
        cells = values.data if sparse else values
        if np.isfinite(cells.sum()) or np.isfinite(cells).all():
            return
    dense = values.toarray() if sparse else values
    row, column = np.argwhere(~np.isfinite(dense))[0]
    raise DataError(
        f"feature {names[column]!r} is {dense[row, column]} at point {row}; leave the point out of the "
        "support or correct the feature."
    )


def _column_of(key: int | str | np.integer[Any], support: PointSet | None, where: Any) -> Function:
    if isinstance(key, str):
        if support is None or support.columns is None or key not in support.columns:
            known = None if support is None else support.columns
            raise parameter_error("a feature", f"a function or one of the columns {known}", key)
        key = support.columns.index(key)
    n_columns = _probe(where).shape[1]
    if not 0 <= key < n_columns:
        raise parameter_error("a feature's column", f"from 0 to {n_columns - 1}", int(key))
    return Coordinate(int(key))


def _probe(support: Any) -> Array:
    """A point to learn how many columns each function gives."""
    if isinstance(support, PointSet):
        return support.matrix[:1]
    sides = getattr(support, "sides", (support,))
    inside = []
    for side in sides:
        low = side.low if np.isfinite(side.low) else min(side.high, 1.0) - 1.0
        high = side.high if np.isfinite(side.high) else max(side.low, -1.0) + 1.0
        inside.append(low + 0.382 * (high - low))
    return np.array([inside], float)


def _named(
    functions: list[Function], labels: list[str], names: Sequence[str] | None, probe: Array
) -> Features:
    argument = probe[:, 0] if probe.shape[1] == 1 else probe
    found: list[str] = []
    for function, label in zip(functions, labels, strict=True):
        width = _columns(function(argument), 1).shape[1]
        found += [label] if width == 1 else [f"{label}[{i}]" for i in range(width)]
    if names is not None:
        if len(names) != len(found):
            raise parameter_error("names", f"{len(found)} names", names)
        found = [str(name) for name in names]
    if len(set(found)) < len(found):
        raise parameter_error("names", "distinct", found)
    return Features(tuple(found), tuple(functions))


def _columns(values: Any, n: int) -> Array:
    try:
        array = np.asarray(values, float)
    except (TypeError, ValueError):
        raise DataError(f"a feature must return numbers; got {values!r}.") from None
    if array.ndim == 0:
        array = np.full(n, float(array))
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or len(array) != n:
        raise DataError(
            f"a feature of {n} points must return shape ({n},) or ({n}, k); got {np.shape(values)}."
        )
    return array
