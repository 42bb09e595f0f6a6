"""Constraints on vectors and matrices: probabilities, ordered numbers, covariances, correlations."""

from __future__ import annotations

from math import prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expmax.general.backend import jnp
from expmax.general.constraints import (
    CLOSE,
    COLLAPSED,
    EDGE,
    LEAST,
    SMALL,
    SMALLER,
    Constraint,
    at,
    distance,
    make_shape,
    make_size,
)
from expmax.statistics import Array

__all__ = ["CholeskyCorrelation", "Ordered", "PositiveDefinite", "Simplex"]

SINGULAR = 1e-13  # stands for an eigenvalue of 0, relative to the mean: less has no Cholesky factor


def _contrasts(k: int) -> Array:
    """Orthonormal columns that sum to 0: shape (k, k − 1)."""
    columns = np.zeros((k, k - 1))
    for j in range(k - 1):
        columns[: j + 1, j] = 1.0 / (j + 1)
        columns[j + 1, j] = -1.0
        columns[:, j] *= sqrt((j + 1) / (j + 2))
    return columns


class Simplex(Constraint):
    """k probabilities that sum to 1, by isometric log-ratios.

    Parameters
    ----------
    k : int
        At least 2.
    shape : int or tuple of int
        Independent vectors: the value has shape (*shape, k).
    start : array-like, optional

    References
    ----------
    Egozcue, Pawlowsky-Glahn, Mateu-Figueras & Barceló-Vidal (2003), Math. Geology 35(3).
    """

    rule = "probabilities that sum to 1"

    def __init__(self, k: int, shape: Any = (), *, start: ArrayLike | None = None) -> None:
        self.k = make_size("k", k, 2)
        self.contrasts = _contrasts(self.k)
        super().__init__(make_shape(shape), (self.k,), self.k - 1, start)

    def holds(self, value: Array) -> bool:
        """Zeros included."""
        return bool((value >= 0).all() and (abs(value.sum(axis=-1) - 1) <= CLOSE * self.k).all())

    def default(self) -> Array:
        """All equal."""
        return np.full(self.shape, 1.0 / self.k)

    def to_free(self, value: Any) -> Any:
        """Contrasts of the logarithms."""
        return jnp.ravel(jnp.log(jnp.maximum(value, EDGE)) @ self.contrasts)

    def from_free(self, free: Any) -> Any:
        """Softmax of the contrasts."""
        logs = free.reshape(*self.batch, self.k - 1) @ self.contrasts.T
        shifted = logs - logs.max(axis=-1, keepdims=True)
        raw = jnp.exp(jnp.maximum(shifted, np.log(LEAST)))
        return raw / raw.sum(axis=-1, keepdims=True)

    def edges(self, value: Array) -> list[tuple[str, float, Array]]:
        """Each probability at 0."""
        found = []
        for index in np.ndindex(self.shape):
            moved = value.copy()
            moved[index] = 0.0
            total = moved[index[:-1]].sum()
            if total > 0:
                moved[index[:-1]] /= total
                moved[index] = EDGE
                found.append((f"{at(index)} at 0", distance(float(value[index]) * self.k), moved))
        return found


class PositiveDefinite(Constraint):
    """A symmetric positive definite d × d matrix, by its Cholesky factor with the diagonal in logs.

    Parameters
    ----------
    d : int
    shape : int or tuple of int
        Independent matrices: the value has shape (*shape, d, d).
    start : array-like, optional

    References
    ----------
    Pinheiro & Bates (1996), Statistics and Computing 6, §2.2.
    """

    rule = "symmetric and positive definite"

    def __init__(self, d: int, shape: Any = (), *, start: ArrayLike | None = None) -> None:
        self.d = make_size("d", d, 1)
        self.below = np.tril_indices(self.d, -1)
        super().__init__(make_shape(shape), (self.d, self.d), self.d * (self.d + 1) // 2, start)

    def holds(self, value: Array) -> bool:
        """Positive definite as far as a factor exists."""
        size = float(np.abs(value).max(initial=0.0))
        if np.abs(value - np.swapaxes(value, -1, -2)).max(initial=0.0) > CLOSE * size:
            return False
        try:
            np.linalg.cholesky(value)
        except np.linalg.LinAlgError:
            return False
        return True

    def default(self) -> Array:
        """The unit matrix."""
        return np.array(np.broadcast_to(np.eye(self.d), self.shape))

    def to_free(self, value: Any) -> Any:
        """Log diagonal of the factor, then what is below it."""
        factor = jnp.linalg.cholesky(value)
        diagonal = jnp.diagonal(factor, axis1=-2, axis2=-1)
        lower = factor[(..., *self.below)]
        return jnp.ravel(jnp.concatenate([jnp.log(diagonal), lower], axis=-1))

    def from_free(self, free: Any) -> Any:
        """Factor times its transpose."""
        free = free.reshape(*self.batch, -1)
        rows = np.arange(self.d)
        factor = jnp.zeros(self.shape)
        factor = factor.at[..., rows, rows].set(jnp.exp(free[..., : self.d]))
        factor = factor.at[(..., *self.below)].set(free[..., self.d :])
        return factor @ jnp.swapaxes(factor, -1, -2)

    def has_unit(self) -> NDArray[np.bool_]:
        """What is below the diagonal."""
        one = np.arange(self.d * (self.d + 1) // 2) >= self.d
        return np.tile(one, prod(self.batch))

    def edges(self, value: Array) -> list[tuple[str, float, Array]]:
        """Each matrix singular, its least eigenvalue at 0."""
        found = []
        for index in np.ndindex(self.batch):
            values, vectors = np.linalg.eigh(value[index])
            moved = value.copy()
            share = float(values[0] / values.mean())
            values[0] = SINGULAR * values.mean()
            moved[index] = _symmetric(vectors, values)
            found.append((f"{at(index)} singular", 0.0 if share < 10 * SINGULAR else share, moved))
        return found

    def collapses(self, value: Array) -> list[tuple[str, Array, Array]]:
        """Matrices with an eigenvalue far below those at the start."""
        begin = self.default() if self.start is None else self.start
        found = []
        for index in np.ndindex(self.batch):
            values, vectors = np.linalg.eigh(value[index])
            size = float(np.trace(begin[index])) / self.d
            if values[0] < COLLAPSED * size:
                both = []
                for share in (SMALL, SMALLER):
                    matrix = value.copy()
                    matrix[index] = _symmetric(vectors, np.maximum(values, share * size))
                    both.append(matrix)
                found.append((at(index), both[0], both[1]))
        return found


def _symmetric(vectors: Array, values: Array) -> Array:
    matrix = (vectors * values) @ vectors.T
    return np.asarray(0.5 * (matrix + matrix.T))


class Ordered(Constraint):
    """k numbers in rising order: the first, then the logarithms of the steps.

    Parameters
    ----------
    k : int
    shape : int or tuple of int
        Independent vectors: the value has shape (*shape, k).
    start : array-like, optional
    """

    rule = "in rising order"

    def __init__(self, k: int, shape: Any = (), *, start: ArrayLike | None = None) -> None:
        self.k = make_size("k", k, 1)
        super().__init__(make_shape(shape), (self.k,), self.k, start)

    def holds(self, value: Array) -> bool:
        """No step down."""
        return bool((np.diff(value, axis=-1) >= 0).all())

    def default(self) -> Array:
        """Unit steps about 0."""
        return np.array(np.broadcast_to(np.arange(self.k) - 0.5 * (self.k - 1), self.shape))

    def to_free(self, value: Any) -> Any:
        """First value and log steps."""
        steps = jnp.log(jnp.maximum(jnp.diff(value, axis=-1), EDGE))
        return jnp.ravel(jnp.concatenate([value[..., :1], steps], axis=-1))

    def from_free(self, free: Any) -> Any:
        """Running sums."""
        free = free.reshape(*self.batch, self.k)
        steps = jnp.concatenate([free[..., :1], jnp.exp(free[..., 1:])], axis=-1)
        return jnp.cumsum(steps, axis=-1)

    def has_unit(self) -> NDArray[np.bool_]:
        """The first of each."""
        return np.tile(np.arange(self.k) == 0, prod(self.batch))

    def edges(self, value: Array) -> list[tuple[str, float, Array]]:
        """Each step at 0, relative to the whole range."""
        found = []
        for index in np.ndindex(self.batch):
            steps = np.diff(value[index])
            for j, step in enumerate(steps):
                moved = value.copy()
                moved[index][j + 1 :] -= step
                share = float(step / max(steps.sum(), EDGE))
                found.append((f"{at((*index, j))} next to the one above", distance(share), moved))
        return found


class CholeskyCorrelation(Constraint):
    """Lower-triangular factor L of a d × d correlation matrix LLᵀ, by partial correlations.

    Parameters
    ----------
    d : int
        At least 2.
    shape : int or tuple of int
        Independent factors: the value has shape (*shape, d, d).
    start : array-like, optional

    References
    ----------
    Lewandowski, Kurowicka & Joe (2009), J. Multivariate Analysis 100(9), §2.
    """

    rule = "lower triangular with rows of length 1 and a positive diagonal"

    def __init__(self, d: int, shape: Any = (), *, start: ArrayLike | None = None) -> None:
        self.d = make_size("d", d, 2)
        super().__init__(make_shape(shape), (self.d, self.d), self.d * (self.d - 1) // 2, start)

    def holds(self, value: Array) -> bool:
        """Unit rows, nothing above the diagonal."""
        unit = abs((value**2).sum(axis=-1) - 1) <= CLOSE * self.d
        diagonal = np.diagonal(value, axis1=-2, axis2=-1)
        return bool(unit.all() and (np.triu(value, 1) == 0).all() and (diagonal > 0).all())

    def default(self) -> Array:
        """No correlation."""
        return np.array(np.broadcast_to(np.eye(self.d), self.shape))

    def to_free(self, value: Any) -> Any:
        """Inverse hyperbolic tangents of the partial correlations, row by row."""
        columns = []
        for i in range(1, self.d):
            left = 1.0
            for j in range(i):
                entry = value[..., i, j]
                columns.append(jnp.arctanh(entry / jnp.sqrt(left)))
                left = left - entry**2
        return jnp.ravel(jnp.stack(columns, axis=-1))

    def from_free(self, free: Any) -> Any:
        """Rows filled from the left with what length is left."""
        partial = jnp.tanh(free.reshape(*self.batch, -1))
        factor = jnp.zeros(self.shape).at[..., 0, 0].set(1.0)
        position = 0
        for i in range(1, self.d):
            left = jnp.ones(self.batch)
            for j in range(i):
                z = partial[..., position]
                factor = factor.at[..., i, j].set(z * jnp.sqrt(left))
                left = left * (1.0 - z**2)
                position += 1
            factor = factor.at[..., i, i].set(jnp.sqrt(left))
        return factor
