"""Statistics of families without finite ones: sums at nodes around the current value of a shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.polynomial import chebyshev

from expmax.contract import Parameters
from expmax.errors import ParameterError
from expmax.families.solvers import newton
from expmax.statistics import Additive, Array

__all__ = [
    "HALF",
    "UNIT_NODES",
    "Anchor",
    "Interpolant",
    "LocalChart",
    "LocalStatistics",
    "climb",
]

EPS = float(np.finfo(float).eps)
HALF = 7  # 2·7 + 1 = 15 nodes, the middle one exactly 0
UNIT_NODES = np.sin(np.pi * np.arange(-HALF, HALF + 1) / (2 * HALF))
_BARYCENTRIC = np.array([1.0 if j % 2 == 0 else -1.0 for j in range(2 * HALF + 1)])
_BARYCENTRIC[[0, -1]] *= 0.5
_TO_CHEBYSHEV = np.linalg.inv(chebyshev.chebvander(UNIT_NODES, 2 * HALF)).T


@dataclass(frozen=True, slots=True)
class Anchor(Additive):
    """Where local statistics were taken: nodes of the shape, and the scale. It does not add."""

    nodes: Array  # parameter values, shape (K, 15); the middle one is the current value
    unit: Array  # current value of the other parameter (scale or mean), shape (K,)

    def _combine(self, operation: Callable[[Any, Any], Any], other: Self) -> Self:
        same = self is other or (
            np.array_equal(self.nodes, other.nodes, equal_nan=True)
            and np.array_equal(self.unit, other.unit, equal_nan=True)
        )
        if not same:
            raise ParameterError(
                "local statistics taken at different parameters do not add "
                f"(first component: {self.nodes[0, HALF]:.6g} and {other.nodes[0, HALF]:.6g}); "
                "take both at the same parameters. Families with local statistics (Weibull, "
                "NegativeBinomial) take no conjugate prior and no online EM."
            )
        return self


@dataclass(frozen=True, slots=True)
class LocalStatistics(Additive):
    """Sums that depend on a shape parameter, kept at nodes around its current value."""

    counts: Array  # Σ_i r_ik over rows present, shape (K,)
    sums: Array  # Σ_i r_ik t(x_i) of the statistic that does not depend on the shape, shape (K,)
    log_base: float  # Σ_i Σ_k r_ik log h(x_i), nats
    values: Array  # Σ_i r_ik f(x_i; node_kj), shape (K, 15)
    anchor: Anchor


class Interpolant:
    """The polynomial through K functions known at the Chebyshev–Lobatto points `UNIT_NODES`.

    References
    ----------
    Berrut & Trefethen (2004), SIAM Review 46(3), eq. 4.2 and 5.4.
    """

    def __init__(self, values: Array) -> None:
        self.values = values
        with np.errstate(invalid="ignore"):
            coefficients = (values @ _TO_CHEBYSHEV).T
        self.derivatives = [
            np.asarray(chebyshev.chebder(coefficients, order, axis=0), float) for order in range(3)
        ]
        size = np.abs(coefficients)
        with np.errstate(invalid="ignore"):
            self.resolved = size[-2:].max(axis=0) <= 1e-12 * size.max(axis=0)

    def __call__(self, s: Array, derivative: int = 0) -> Array:
        """Value or derivative at s, shape (K,) or (m, K).

        At a node the value is the one given; between nodes NaN unless the polynomial is resolved.
        """
        if derivative:
            coefficients = self.derivatives[derivative]
            if s.ndim == 2:
                coefficients = coefficients[:, None, :]
            return np.asarray(chebyshev.chebval(s, coefficients, tensor=False))
        gap = s[..., None] - UNIT_NODES
        hit = np.abs(gap) <= 1e-14  # what rounding leaves of a node after a change of coordinates
        with np.errstate(all="ignore"):
            weight = np.where(hit.any(axis=-1, keepdims=True), hit, _BARYCENTRIC / gap)
            terms = np.where(weight == 0, 0.0, weight * self.values)
            out = terms.sum(axis=-1) / weight.sum(axis=-1)
        inside = (np.abs(s) <= 1) & self.resolved
        return np.asarray(np.where(inside | hit.any(axis=-1), out, np.nan))


def climb(
    value: Callable[[Array], Array],
    slope: Callable[[Array], tuple[Array, Array]],
    upper: Array,
) -> Array:
    """s in [−1, upper] that maximises K smooth functions, never below their value at 0: shape (K,).

    Parameters
    ----------
    value : callable
        s of shape (m, K) ↦ values; NaN where they cannot be trusted, and then the best node is
        taken.
    slope : callable
        s of shape (K,) ↦ first and second derivative.
    upper : ndarray, shape (K,)
        End of the interval, in [0, 1].
    """
    grid = np.broadcast_to(UNIT_NODES[:, None], (len(UNIT_NODES), len(upper)))
    heights = value(grid)
    heights = np.where(np.isnan(heights) | (grid > upper), -np.inf, heights)
    best = np.where(heights[HALF] == heights.max(axis=0), HALF, heights.argmax(axis=0))
    node = UNIT_NODES[best]
    left = UNIT_NODES[np.maximum(best - 1, 0)]
    right = np.minimum(UNIT_NODES[np.minimum(best + 1, len(UNIT_NODES) - 1)], upper)

    def descent(s: Array) -> tuple[Array, Array]:
        first, second = slope(s)
        return -first, -second

    root = np.clip(newton(descent, node, left, right), left, right)
    with np.errstate(invalid="ignore"):
        at_root, at_best = value(root[None])[0], heights.max(axis=0)
        better = at_root >= at_best - 16 * EPS * np.abs(at_best)
    return np.where(np.isfinite(at_best), np.where(better, root, node), 0.0)


class LocalChart:
    """Logarithms of both parameters of a family with local statistics, v = Lᵀ(log θ − log θ₀).

    LLᵀ = −∂²Q/∂(log θ)² at the reference. A coordinate along which Q is flat (a size at its cap, a
    component without data) is left out.
    """

    def __init__(self, family: Any, parameters: Parameters, statistics: LocalStatistics) -> None:
        self.family, self.parameters, self.names = family, parameters, tuple(parameters)
        self.reference = self._logarithms(parameters)
        _, information = family.log_derivatives(parameters, statistics)
        diagonal = np.diagonal(information, axis1=1, axis2=2)
        with np.errstate(invalid="ignore"):
            live = np.isfinite(self.reference) & (diagonal > 1e-9 * statistics.counts[:, None])
            crossed = information[:, 0, 1] ** 2 >= information[:, 0, 0] * information[:, 1, 1]
        live[crossed & live.all(axis=1)] = False  # not a maximum of Q
        self.live = live
        self.factors = [
            np.linalg.cholesky(matrix[np.ix_(used, used)])
            for matrix, used in zip(information, live, strict=True)
        ]
        self.scale = np.repeat(np.sqrt(statistics.counts), live.sum(axis=1))
        self._cuts = np.cumsum(live.sum(axis=1))[:-1]

    def _logarithms(self, parameters: Parameters) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.log(np.stack([parameters[name] for name in self.names], axis=1)))

    def to_vector(self, parameters: Parameters) -> Array:
        change = self._logarithms(parameters) - self.reference
        parts = zip(self.factors, change, self.live, strict=True)
        return np.concatenate([factor.T @ row[used] for factor, row, used in parts])

    def from_vector(self, vector: Array) -> Parameters:
        shift = np.zeros(self.reference.shape)
        for k, part in enumerate(np.split(vector, self._cuts)):
            shift[k, self.live[k]] = np.linalg.solve(self.factors[k].T, part)
        with np.errstate(over="ignore"):
            new = {
                name: self.parameters[name] * np.exp(shift[:, j])
                for j, name in enumerate(self.names)
            }
        left = self.live.any(axis=1) & ~self.family.in_space(new)
        return {name: np.where(left, np.nan, value) for name, value in new.items()}

    def score(self, parameters: Parameters, statistics: LocalStatistics) -> Array:
        gradient, _ = self.family.log_derivatives(parameters, statistics)
        parts = zip(self.factors, gradient, self.live, strict=True)
        return np.concatenate([np.linalg.solve(factor, row[used]) for factor, row, used in parts])
