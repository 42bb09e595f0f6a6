"""What a distribution of maximum entropy lives on: the sums or integrals of exp(λ·f) b over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from expmax.errors import InfeasibleMomentsError
from expmax.maxent.arrays import is_sparse
from expmax.maxent.continuous import TOLERANCE, extend, make_grid, solve_box
from expmax.maxent.features import Features
from expmax.maxent.finite import solve_points
from expmax.maxent.growth import tails
from expmax.maxent.moments import Moments
from expmax.maxent.quadrature import Grid
from expmax.maxent.sampling import sample_grid
from expmax.maxent.supports import Box, Interval
from expmax.statistics import Array

__all__ = ["BoxDomain", "Domain", "Integrals", "PointDomain"]

REMEMBERED = 256  # multipliers whose integrals are kept


@dataclass(frozen=True, slots=True)
class Integrals:
    """Everything about one λ."""

    log_partition: float  # A(λ), nats
    mean: Array  # E[f], (m,)
    covariance: Array  # Cov[f], (m, m)
    log_base: float  # E[log b], nats


class Domain(Protocol):
    """A support with features and base measure."""

    n_columns: int
    words: str

    def contains(self, x: Array) -> NDArray[np.bool_]:
        """Whether each row lies in the support: shape (n,)."""
        ...

    def statistics(self, x: Array) -> Array:
        """f of rows in the support: shape (n, m)."""
        ...

    def log_base(self, x: Array) -> Array:
        """log b of rows: shape (n,)."""
        ...

    def integrals(self, natural: Array) -> Integrals:
        """Log-partition and moments at λ."""
        ...

    def solve(self, moments: Moments) -> Array:
        """λ with E[f] as asked; NaN where there is none."""
        ...

    def sample(self, natural: Array, n: int, rng: np.random.Generator) -> Array:
        """n draws: shape (n, d)."""
        ...


class PointDomain:
    """Finitely many points, those of positive probability.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        The points as rows.
    features : Features
    matrix : ndarray or CSR matrix, shape (n, m)
        Features at the points.
    log_weight : ndarray, shape (n,)
        log b at the points.
    """

    def __init__(self, values: Array, features: Features, matrix: Any, log_weight: Array) -> None:
        self.values, self.features = values, features
        self.matrix, self.log_weight = matrix, log_weight
        self.n_columns = values.shape[1]
        self.words = f"{len(values)} points"
        self._rows: dict[bytes, int] | None = None

    def to_fields(self) -> dict[str, Any]:
        """What a model file holds: the features as numbers, whatever functions gave them."""
        names = list(self.features.names)
        parts = {"matrix": self.matrix, "log_weight": self.log_weight}
        return {"values": self.values, "names": names, **parts}

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> PointDomain:
        """From a model file."""
        features = Features(tuple(fields["names"]), None, fields["matrix"])
        return cls(fields["values"], features, fields["matrix"], fields["log_weight"])

    def find(self, x: Array) -> NDArray[np.intp]:
        """The point that each row is, −1 where none: shape (n,)."""
        if self._rows is None:
            keys = np.ascontiguousarray(self.values + 0.0)  # −0 is 0
            self._rows = {}
            for i in range(len(keys) - 1, -1, -1):
                self._rows[keys[i].tobytes()] = i
        rows = np.ascontiguousarray(np.asarray(x, float) + 0.0)
        return np.array([self._rows.get(row.tobytes(), -1) for row in rows], dtype=np.intp)

    def contains(self, x: Array) -> NDArray[np.bool_]:
        """Whether each row is one of the points."""
        return np.asarray(self.find(x) >= 0)

    def statistics(self, x: Array) -> Array:
        """f at rows that are points of the support: shape (n, m)."""
        rows: Any = self.matrix[self.find(x)]
        return np.asarray(rows.toarray() if is_sparse(rows) else rows, np.float64)

    def log_base(self, x: Array) -> Array:
        """log b at rows: shape (n,); −∞ off the support."""
        found = self.find(x)
        return np.where(found >= 0, self.log_weight[found], -np.inf)

    def probabilities(self, natural: Array) -> tuple[Array, float]:
        """p at the points, and A(λ)."""
        scores = np.asarray(self.matrix @ natural, float) + self.log_weight
        peak = scores.max()
        p = np.exp(scores - peak)
        total = p.sum()
        return p / total, float(peak + np.log(total))

    def integrals(self, natural: Array) -> Integrals:
        """Sums over the points."""
        if not np.isfinite(natural).all():
            return _nothing(len(natural))
        p, log_partition = self.probabilities(natural)
        mean = np.asarray(self.matrix.T @ p, float)
        if is_sparse(self.matrix):
            weighted = csr_array(self.matrix.multiply(p[:, None]))
            gram: Any = self.matrix.T @ weighted
            second = gram.toarray() - np.outer(mean, mean)
        else:
            rows = (self.matrix - mean) * np.sqrt(p)[:, None]
            second = rows.T @ rows
        return Integrals(log_partition, mean, np.asarray(second), float(p @ self.log_weight))

    def solve(self, moments: Moments) -> Array:
        """λ with E[f] as asked."""
        return solve_points(self.matrix, self.log_weight, moments, faces=False).natural

    def sample(self, natural: Array, n: int, rng: np.random.Generator) -> Array:
        """n points drawn: shape (n, d)."""
        p, _ = self.probabilities(natural)
        return np.asarray(self.values[rng.choice(len(p), size=n, p=p / p.sum())])


class BoxDomain:
    """An interval or a box.

    Parameters
    ----------
    support : Interval or Box
    features : callable
        x of shape (n, d) ↦ f(x) of shape (n, m).
    base : callable
        x ↦ log b(x), shape (n,).
    """

    def __init__(
        self,
        support: Interval | Box,
        features: Callable[[Array], Array],
        base: Callable[[Array], Array],
    ) -> None:
        self.support, self.features, self.base = support, features, base
        sides = support.sides if isinstance(support, Box) else (support,)
        self.ends = np.array([(side.low, side.high) for side in sides], float)
        self.n_columns = len(sides)
        self.words = " × ".join(f"[{low:.6g}, {high:.6g}]" for low, high in self.ends)
        self._grid: Grid | None = None
        self._known: dict[bytes, Integrals] = {}

    def to_fields(self) -> dict[str, Any]:
        """What a model file holds: functions by their names."""
        return {"support": self.support, "features": self.features, "base": self.base}

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> BoxDomain:
        """From a model file."""
        return cls(fields["support"], fields["features"], fields["base"])

    def contains(self, x: Array) -> NDArray[np.bool_]:
        """Whether each row lies in the box."""
        return np.asarray(((x >= self.ends[:, 0]) & (x <= self.ends[:, 1])).all(axis=1))

    def statistics(self, x: Array) -> Array:
        """f: shape (n, m)."""
        return np.asarray(self.features(x), float)

    def log_base(self, x: Array) -> Array:
        """log b: shape (n,)."""
        return np.where(self.contains(x), np.asarray(self.base(x), float), -np.inf)

    def grid(self, natural: Array) -> Grid | None:
        """Nodes fit for λ; None where the density is not integrable."""
        if not np.isfinite(natural).all():
            return None
        grid = (
            self._grid
            if self._grid is not None
            else make_grid(self.support, self.features, self.base, None)
        )
        self._grid = grid
        for _ in range(40):
            grid.adapt(natural, TOLERANCE[grid.dim])
            ends = tails(grid, natural)
            if any(state == "rising" for _, _, state in ends):
                return None
            if not extend(grid, ends):
                break
        return grid

    def integrals(self, natural: Array) -> Integrals:
        """Integrals over the box; A = +∞ where the density is not integrable."""
        known = self._known.get(natural.tobytes())
        if known is not None:
            return known
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        found = self._known[natural.tobytes()] = self._integrals(natural)
        return found

    def _integrals(self, natural: Array) -> Integrals:
        grid = self.grid(natural)
        if grid is None:
            return _nothing(len(natural), np.inf if np.isfinite(natural).all() else np.nan)
        points, weight = grid.flat()
        scores = points @ natural + weight
        peak = scores.max()
        p = np.exp(scores - peak)
        total = p.sum()
        p /= total
        mean = p @ points
        rows = (points - mean) * np.sqrt(p)[:, None]
        t = grid.points(grid.low, grid.high).reshape(-1, grid.dim)
        seen = p > 0
        base = np.asarray(self.base(grid.to_x(t[seen])[0]), float)
        return Integrals(float(peak + np.log(total)), mean, rows.T @ rows, float(p[seen] @ base))

    def solve(self, moments: Moments) -> Array:
        """λ with E[f] as asked; NaN where no density attains it."""
        try:
            found = solve_box(self.support, self.features, self.base, moments)
        except InfeasibleMomentsError:
            return np.full(len(moments), np.nan)
        if found.status == "not_attained":
            return np.full(len(moments), np.nan)
        self._grid = found.grid
        self.integrals(found.natural)  # while the grid fits
        return found.natural

    def sample(self, natural: Array, n: int, rng: np.random.Generator) -> Array:
        """n points drawn: shape (n, d)."""
        grid = self.grid(natural)
        if grid is None:
            return np.full((n, self.n_columns), np.nan)
        return sample_grid(grid, natural, n, rng)


def _nothing(m: int, log_partition: float = np.nan) -> Integrals:
    return Integrals(log_partition, np.full(m, np.nan), np.full((m, m), np.nan), np.nan)
