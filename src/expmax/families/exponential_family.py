"""Exponential families, which need only formulas: p(x | η) = h(x) exp(η·T(x) − A(η)).

A family writes `sufficient_statistics`, `log_base_measure`, `log_partition`, `to_mean`, `to_natural` and its
usual parameters; densities, expected statistics, moment matching, KL divergence and entropy follow here.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Parameters
from expmax.families.base import Family, Memo
from expmax.families.charts import FamilyChart, FreeChart
from expmax.families.parameters import put
from expmax.statistics import Additive, Array

__all__ = ["ExponentialFamily", "MomentStatistics", "masked_dot", "paired_dot"]

VANISHING = 1e-2  # expected events below which a parameter is tried at 0


def masked_dot(statistics: Array, natural: Array) -> Array:
    """statistics @ natural.T with 0·(−∞) = 0 and t·(−∞) = −∞ for t > 0: shape (n, K).

    A natural coordinate is −∞ on the boundary of a family (a zero rate or probability).
    """
    infinite = np.isneginf(natural)
    with np.errstate(invalid="ignore"):  # a collapsed component has a coordinate of +∞: NaN
        if not infinite.any():
            return statistics @ natural.T
        out = statistics @ np.where(infinite, 0.0, natural).T
    out[(statistics > 0).astype(float) @ infinite.T.astype(float) > 0] = -np.inf
    return out


def paired_dot(natural: Array, mean: Array) -> Array:
    """Row-wise η·μ with 0·(±∞) = 0."""
    with np.errstate(invalid="ignore"):
        return np.where(mean == 0, 0.0, natural * mean).sum(axis=-1)


@dataclass(frozen=True, slots=True)
class MomentStatistics(Additive):
    """Weighted sums of T(x): all that an exponential family needs of the data."""

    counts: Array  # Σ_i r_ik over rows present, shape (K,)
    sums: Array  # Σ_i r_ik T(x_i), shape (K, dim)
    log_base: float  # Σ_i Σ_k r_ik log h(x_i), nats


class ExponentialFamily(Family):
    """p(x | η) = h(x) exp(η·T(x) − A(η)): moment matching is maximum likelihood."""

    accepts_missing = True
    counts: ClassVar[bool] = False  # T(x) ≥ 0 counts events, and a mean of 0 is on the boundary

    # -- the formulas a family writes --------------------------------------------------------------
    @abstractmethod
    def sufficient_statistics(self, x: Array) -> Array:
        """T(x): shape (n, dim)."""

    def log_base_measure(self, x: Array) -> Array:
        """log h(x): shape (n,)."""
        return np.zeros(len(x))

    @abstractmethod
    def log_partition(self, natural: Array) -> Array:
        """A(η), nats: shape (K,)."""

    @abstractmethod
    def to_mean(self, natural: Array) -> Array:
        """μ = ∇A(η) = E[T(x)]: shape (K, dim)."""

    @abstractmethod
    def to_natural(self, mean: Array) -> Array:
        """η with ∇A(η) = μ: shape (K, dim)."""

    @abstractmethod
    def natural(self, parameters: Parameters) -> Array:
        """η of the usual parameters: shape (K, dim)."""

    @abstractmethod
    def usual(self, natural: Array) -> dict[str, Array]:
        """The usual parameters of η."""

    def expected_log_base_measure(self, natural: Array) -> Array:
        """E[log h(x)], nats: shape (K,). Zero unless a family says otherwise."""
        return np.zeros(len(natural))

    # -- free coordinates, for charts: η itself unless its space is bounded ------------------------
    def to_free(self, parameters: Parameters) -> Array:
        """Unconstrained coordinates φ of the parameters: shape (K, dim)."""
        return self.natural(parameters)

    def from_free(self, free: Array) -> dict[str, Array]:
        """The usual parameters at φ."""
        return self.usual(free)

    def free_slopes(self, parameters: Parameters) -> Array | None:
        """∂η_i/∂φ_j, shape (K, dim, dim); None where φ = η."""
        return None

    def free_information(self, parameters: Parameters) -> Array:
        """Jᵀ ∇²A J with J = ∂η/∂φ, the information of a row about φ: shape (K, dim, dim)."""
        information = self.fisher_information(self.natural(parameters))
        slopes = self.free_slopes(parameters)
        if slopes is None:
            return information
        return np.asarray(slopes.swapaxes(1, 2) @ information @ slopes)

    def fisher_information(self, natural: Array) -> Array:
        """∇²A(η) = Cov[T(x)]: shape (K, dim, dim); central differences of ∇A unless a family knows it."""
        step = 1e-5 * np.maximum(np.abs(natural), 1e-3)
        columns = []
        for j in range(natural.shape[1]):
            shift = np.zeros_like(natural)
            shift[:, j] = step[:, j]
            with np.errstate(all="ignore"):  # a component on the boundary has none: NaN says so
                rise = self.to_mean(natural + shift) - self.to_mean(natural - shift)
            columns.append(rise / (2.0 * step[:, j : j + 1]))
        matrix = np.stack(columns, axis=2)
        return 0.5 * (matrix + matrix.swapaxes(1, 2))

    def chart(self, parameters: Parameters, statistics: Any) -> FamilyChart | None:
        return FreeChart(self, parameters, statistics)

    def boundary(self, parameters: Parameters) -> list[tuple[int, str]]:
        with np.errstate(all="ignore"):
            edge = ~np.isfinite(self.natural(parameters)).all(axis=1)
        name = next(iter(self.named_parameters(parameters)))
        return [(int(k), name) for k in np.flatnonzero(edge)]

    def snap(self, parameters: Parameters, statistics: MomentStatistics) -> Parameters | None:
        """Where T counts something, an expected count below `VANISHING` is put to 0."""
        if not self.counts:
            return None
        vanishing = (statistics.sums < VANISHING) & (statistics.sums > 0)
        vanishing &= (statistics.counts > 1.0)[:, None]
        if not vanishing.any():
            return None
        sums = np.where(vanishing, 0.0, statistics.sums)
        new = self.maximize(MomentStatistics(statistics.counts, sums, 0.0), parameters)
        return put(parameters, new, np.asarray(vanishing.any(axis=1)))

    # -- what follows from them --------------------------------------------------------------------
    def entropy(self, natural: Array) -> Array:
        """H = A(η) − η·∇A(η) − E[log h(x)], nats: shape (K,)."""
        products = paired_dot(natural, self.to_mean(natural))
        return self.log_partition(natural) - products - self.expected_log_base_measure(natural)

    def convex_conjugate(self, mean: Array) -> Array:
        """A*(μ) = sup_η η·μ − A(η), at η(μ): −H − E[log h], nats: shape (K,)."""
        natural = self.to_natural(mean)
        return paired_dot(natural, mean) - self.log_partition(natural)

    def kl_divergence(self, natural: Array, other: Array) -> Array:
        """KL(p_η ‖ p_η') = A(η') − A(η) − (η' − η)·∇A(η), a Bregman divergence, nats: shape (K,)."""
        mean = self.to_mean(natural)
        gap = self.log_partition(other) - self.log_partition(natural)
        return gap - paired_dot(other, mean) + paired_dot(natural, mean)

    def log_density(self, parameters: Parameters, x: Array, memo: Memo = None) -> Array:
        t, log_base, present = self.moments(x, memo)
        natural = self.natural(parameters)
        out = masked_dot(t, natural)
        partition = self.log_partition(natural)
        with np.errstate(invalid="ignore"):
            out += log_base[:, None] - (
                partition if present is None else present[:, None] * partition
            )
        return self._only_inside(parameters, out)

    def moments(self, x: Array, memo: Memo = None) -> tuple[Array, Array, Array | None]:
        """T(x), log h(x) and the rows present (None: all); rows with a missing cell are zero."""
        if memo is not None and "moments" in memo:
            return memo["moments"]
        x = np.asarray(x, float)
        missing: NDArray[np.bool_] = np.asarray(np.isnan(x).any(axis=1))
        if missing.any():
            result = self._moments_with_missing(x, missing)
        else:
            result = self.sufficient_statistics(x), self.log_base_measure(x), None
        if memo is not None:
            memo["moments"] = result
        return result

    def _moments_with_missing(
        self, x: Array, missing: NDArray[np.bool_]
    ) -> tuple[Array, Array, Array | None]:
        seen = x[~missing]
        t = np.zeros((len(x), self.sufficient_statistics(seen).shape[1]))
        log_base = np.zeros(len(x))
        t[~missing] = self.sufficient_statistics(seen)
        log_base[~missing] = self.log_base_measure(seen)
        return t, log_base, (~missing).astype(float)

    def statistics(
        self, parameters: Parameters, x: Array, responsibilities: Array, memo: Memo = None
    ) -> MomentStatistics:
        t, log_base, present = self.moments(x, memo)
        rows = responsibilities if present is None else responsibilities * present[:, None]
        return MomentStatistics(rows.sum(axis=0), rows.T @ t, float(log_base @ rows.sum(axis=1)))

    def initialize(self, x: Array, responsibilities: Array, memo: Memo = None) -> Parameters:
        return self.maximize(self.statistics({}, x, responsibilities, memo), None)

    def maximize(
        self, statistics: MomentStatistics, parameters: Parameters | None
    ) -> dict[str, Array]:
        """Moment matching: ∇A(η) = Σ r T(x) / Σ r."""
        with np.errstate(invalid="ignore"):
            mean = statistics.sums / statistics.counts[:, None]
        return self.usual(self.to_natural(mean))

    def expected_log_density(self, parameters: Parameters, statistics: MomentStatistics) -> float:
        natural = self.natural(parameters)
        used = statistics.counts > 0
        linear = paired_dot(natural[used], statistics.sums[used]).sum()
        partition = statistics.counts[used] @ self.log_partition(natural[used])
        with np.errstate(invalid="ignore"):
            return float(linear - partition + statistics.log_base)

    def magnitude(self, parameters: Parameters, statistics: MomentStatistics) -> float:
        natural = self.natural(parameters)
        used = statistics.counts > 0
        linear = paired_dot(np.abs(natural[used]), np.abs(statistics.sums[used])).sum()
        partition = statistics.counts[used] @ np.abs(self.log_partition(natural[used]))
        return float(linear + partition + abs(statistics.log_base))

    def pseudo_statistics(self, count: Array, parameters: Parameters) -> MomentStatistics:
        mean = self.to_mean(self.natural(parameters))
        return MomentStatistics(count, count[:, None] * mean, 0.0)

    def location(self, parameters: Parameters) -> Array:
        return self.to_mean(self.natural(parameters))
