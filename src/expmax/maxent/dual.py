"""The dual of a moment problem over finitely many points, as sums over blocks of points.

Among distributions p on points x_i with base weights b_i, −Σ p_i log(p_i/b_i) is largest subject to
E_p[f] = Δ at p_i = b_i exp(λ·g_i)/Z, g_i = f(x_i) − Δ, where λ minimises the convex V(λ) = log Z(λ). Its
value, its gradient E[g] and its Hessian Cov[g] are sums over blocks of points, relative to a common peak.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from expmax.contract import iterate_rows
from expmax.maxent.arrays import is_sparse
from expmax.statistics import Array

__all__ = ["Dual", "DualSums", "DualValue", "Extent", "Points", "Reducer", "Serial"]

A = TypeVar("A")


class Reducer(Protocol):
    """Who sums the blocks (`expmax.compute` has some; `Serial` is the one used by default)."""

    def total(self, function: Callable[[Any], Any], blocks: Sequence[Any]) -> Any:
        """The sum of function(block) over the blocks, in an order that never changes."""
        ...


class Serial:
    """One block after another, summed in a fixed tree."""

    def total(self, function: Callable[[Any], Any], blocks: Sequence[Any]) -> Any:
        """The sum of function(block) over the blocks."""
        level = [function(block) for block in blocks]
        while len(level) > 1:
            pairs = [level[i] + level[i + 1] for i in range(0, len(level) - 1, 2)]
            level = pairs + level[len(pairs) * 2 :]
        return level[0]


@dataclass(frozen=True, slots=True)
class Points:
    """Some of the points."""

    features: Any  # g_i (dense) or g_i + centre (CSR), shape (n, k)
    log_base: Array  # log b_i, shape (n,)
    rows: slice  # where they stand among all points


@dataclass(frozen=True, slots=True)
class DualSums:
    """Σ_i e_i, Σ_i e_i g_i and Σ_i e_i g_i g_iᵀ with e_i = exp(s_i − peak); they add over blocks."""

    peak: float  # max_i s_i, s_i = log b_i + λ·g_i, nats
    mass: float
    first: Array  # (k,)
    second: Array | None  # (k, k)

    def __add__(self, other: DualSums) -> DualSums:
        peak = max(self.peak, other.peak)
        a, b = float(np.exp(self.peak - peak)), float(np.exp(other.peak - peak))
        second = None
        if self.second is not None and other.second is not None:
            second = a * self.second + b * other.second
        return DualSums(
            peak, a * self.mass + b * other.mass, a * self.first + b * other.first, second
        )


@dataclass(frozen=True, slots=True)
class DualValue:
    """V(λ) and its derivatives."""

    value: float  # log Z(λ), nats
    gradient: Array  # E[g], shape (k,)
    hessian: Array | None  # Cov[g], shape (k, k)


@dataclass(frozen=True, slots=True)
class Extent:
    """Smallest and largest of some numbers; "adds" over blocks."""

    low: float
    high: float

    def __add__(self, other: Extent) -> Extent:
        return Extent(min(self.low, other.low), max(self.high, other.high))


@dataclass(frozen=True, slots=True)
class Vector:
    """A sum of vectors."""

    value: Array

    def __add__(self, other: Vector) -> Vector:
        return Vector(self.value + other.value)


class Dual:
    """V(λ) = log Σ_i b_i exp(λ·g_i) of given points.

    Parameters
    ----------
    features : ndarray or CSR matrix, shape (n, k)
        g_i, or g_i + `centre` where `centre` is given (a sparse matrix stays sparse).
    log_base : ndarray, shape (n,)
        log b_i, finite.
    centre : ndarray, shape (k,), optional
    compute : Reducer, optional
        Who sums the blocks.

    Examples
    --------
    >>> import numpy as np
    >>> dual = Dual(np.array([[-1.0], [1.0]]), np.zeros(2))
    >>> value = dual.evaluate(np.zeros(1))
    >>> float(np.exp(value.value)), float(value.gradient[0]), float(value.hessian[0, 0])
    (2.0, 0.0, 1.0)
    """

    def __init__(
        self,
        features: Any,
        log_base: Array,
        centre: Array | None = None,
        compute: Reducer | None = None,
    ) -> None:
        self.n_points, self.dim = features.shape
        self.centre = centre
        self.sparse = is_sparse(features)
        self.compute: Reducer = Serial() if compute is None else compute
        width = features.nnz / max(self.n_points, 1) if self.sparse else self.dim
        size = int(np.clip((1 << 18) / (width + 1), 1024, 1 << 18))
        self.blocks = [
            Points(features[rows], log_base[rows], rows)
            for rows in iterate_rows(self.n_points, size)
        ]

    # -- one pass ----------------------------------------------------------------------------------
    def evaluate(self, natural: Array, *, hessian: bool = True) -> DualValue:
        """V(λ), ∇V and, if wanted, ∇²V in one pass over the blocks."""
        sums: DualSums = self.compute.total(lambda b: self._sums(b, natural, hessian), self.blocks)
        mean = sums.first / sums.mass
        curvature = None
        if sums.second is not None:
            curvature = sums.second / sums.mass - np.outer(mean, mean)
        return DualValue(sums.peak + float(np.log(sums.mass)), mean, curvature)

    def log_density(self, natural: Array, log_partition: float) -> Array:
        """log p_i of every point: shape (n,)."""
        return np.concatenate([self._scores(b, natural) - log_partition for b in self.blocks])

    def extent(self, direction: Array, natural: Array | None = None, value: float = 0.0) -> Extent:
        """Smallest and largest v·g_i over the points, or those with log p_i > −45 at a given λ."""

        def of(block: Points) -> Extent:
            along = self._along(block, direction)
            if natural is not None:
                along = along[self._scores(block, natural) > value - 45.0]
            low, high = along.min(initial=np.inf), along.max(initial=-np.inf)
            return Extent(float(low), float(high))

        result: Extent = self.compute.total(of, self.blocks)
        return result

    def margin(self, direction: Array) -> float:
        """Largest v·g_i over the points."""
        return self.extent(direction).high

    def curvature(self, natural: Array, at: DualValue) -> tuple[Callable[[Array], Array], Array]:
        """The product v ↦ ∇²V v, two products with the features a time, and the diagonal of ∇²V."""
        weight = np.exp(self.log_density(natural, at.value))

        def of(block: Points, v: Array) -> Vector:
            p = weight[block.rows]
            return Vector(self._transpose(block, p * self._along(block, v)))

        def product(v: Array) -> Array:
            total: Vector = self.compute.total(lambda block: of(block, v), self.blocks)
            return total.value - at.gradient * float(at.gradient @ v)

        diagonal = self.compute.total(
            lambda block: Vector(self._squares(block, weight[block.rows])), self.blocks
        )
        return product, np.maximum(diagonal.value - at.gradient**2, 0.0)

    # -- one block ---------------------------------------------------------------------------------
    def _along(self, block: Points, direction: Array) -> Array:
        along = np.asarray(block.features @ direction, float)
        return along if self.centre is None else along - float(self.centre @ direction)

    def _scores(self, block: Points, natural: Array) -> Array:
        return block.log_base + self._along(block, natural)

    def _transpose(self, block: Points, weight: Array) -> Array:
        total = np.asarray(block.features.T @ weight, float)
        return total if self.centre is None else total - self.centre * weight.sum()

    def _squares(self, block: Points, weight: Array) -> Array:
        if not self.sparse:
            return np.asarray(weight @ block.features**2, float)
        total = np.asarray(block.features.multiply(block.features).T @ weight, float)
        if self.centre is None:
            return total
        first = np.asarray(block.features.T @ weight, float)
        return np.asarray(total - 2.0 * self.centre * first + self.centre**2 * weight.sum())

    def _sums(self, block: Points, natural: Array, hessian: bool) -> DualSums:
        scores = self._scores(block, natural)
        peak = float(scores.max())
        weight = np.exp(scores - peak)
        first = self._transpose(block, weight)
        second = self._second(block, weight, first) if hessian else None
        return DualSums(peak, float(weight.sum()), first, second)

    def _second(self, block: Points, weight: Array, first: Array) -> Array:
        if not self.sparse:
            root = block.features * np.sqrt(weight)[:, None]
            return np.asarray(root.T @ root, float)
        rows = block.features.multiply(weight[:, None]).tocsr()
        gram = np.asarray((block.features.T @ rows).todense(), float)
        if self.centre is None:
            return gram
        raw = first + self.centre * weight.sum()
        cross = np.outer(self.centre, raw)
        square = np.outer(self.centre, self.centre) * weight.sum()
        return np.asarray(gram - cross - cross.T + square)
