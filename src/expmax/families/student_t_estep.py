"""The E-step of Student t components: expectations of each row's latent precision u, summed over rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from expmax.contract import Parameters
from expmax.families.base import Memo
from expmax.families.gaussian_moments import LOG_2PI, GaussianStatistics
from expmax.families.precision import precision_cholesky
from expmax.families.special import log_minus_digamma, stirling_remainder
from expmax.statistics import Additive, Array

__all__ = [
    "GAUSSIAN",
    "StudentTStatistics",
    "degrees_of_freedom",
    "expected_statistics",
    "imagined_statistics",
    "observed",
    "populated",
    "residual_moments",
    "squared_distances",
]


GAUSSIAN = 1e150  # a ν at which every formula has reached its Gaussian limit, to the last digit


def degrees_of_freedom(parameters: Parameters) -> Array:
    """ν as a number: ∞ as one so large that nothing changes beyond it, shape (K,)."""
    return np.minimum(parameters["dof"], GAUSSIAN)


@dataclass(frozen=True, slots=True)
class StudentTStatistics(Additive):
    """Expected sums over rows, u being a row's latent precision.

    Each number of `excess` and `logs` is O(1/ν) as ν grows: kept apart from Σ r E[u], they do not
    drown in it.
    """

    counts: Array  # Σ r, shape (K,)
    excess: Array  # Σ r (E[u] − 1), shape (K,)
    logs: Array  # Σ r E[log u], shape (K,)
    moments: GaussianStatistics  # of rows weighted by r E[u]: its counts are Σ r E[u]
    entropy: float  # Σ r H[q(u)], nats
    imaginary: float  # rows that a prior imagines: with any, u is not rescaled

    def about(self, reference: Array) -> Self:
        """The same sums, the moments about another reference."""
        return replace(self, moments=self.moments.about(reference))


def expected_statistics(parameters: Parameters, x: Array, r: Array) -> StudentTStatistics:
    """Sums of E u = (ν + d)/(ν + δ), E log u = log E u − (log a − ψ(a)), a = (ν + d)/2.

    Parameters
    ----------
    r : ndarray, shape (K, n)
        Responsibilities, 0 for rows that are missing.
    """
    mean, dof = parameters["mean"], degrees_of_freedom(parameters)
    n_columns = mean.shape[1]
    residuals = x[None] - mean[:, None]
    squares = squared_distances(residuals, precision_cholesky(parameters, "scale"))
    counts = r.sum(axis=1)
    lag, spread = _posterior_constants(dof, n_columns)
    log_precision = np.log1p(n_columns / dof)[:, None] - np.log1p(squares / dof[:, None])
    total_log = np.einsum("ki,ki->k", r, log_precision)
    scaled = r / (dof[:, None] + squares)
    weights = scaled * (dof + n_columns)[:, None]
    first, second = residual_moments(weights, residuals)
    return StudentTStatistics(
        counts,
        np.einsum("ki,ki->k", scaled, n_columns - squares),
        total_log - counts * lag,
        GaussianStatistics(weights.sum(axis=1), mean, first, second),
        float(total_log.sum() + counts @ spread),
        0.0,
    )


def imagined_statistics(count: Array, parameters: Parameters) -> StudentTStatistics:
    """E u = 1, E log u = ψ(ν/2) − log(ν/2), E u (x − μ)(x − μ)ᵀ = Σ."""
    mean, dof = parameters["mean"], degrees_of_freedom(parameters)
    log_precision = -log_minus_digamma(0.5 * dof)
    lag, spread = _posterior_constants(dof, mean.shape[1])
    second = count[:, None, None] * parameters["scale"]
    return StudentTStatistics(
        count,
        np.zeros_like(count),
        count * log_precision,
        GaussianStatistics(count, mean, np.zeros_like(mean), second),
        float(count @ (log_precision + lag + spread)),
        float(count.sum()),
    )


def _posterior_constants(dof: Array, n_columns: int) -> tuple[Array, Array]:
    """Of Γ(a, rate b), a = (ν + d)/2: log(a/b) − E log u, and the entropy less log(a/b), nats."""
    half = 0.5 * (dof + n_columns)
    lag = log_minus_digamma(half)
    spread = stirling_remainder(half) + (half - 1.0) * lag - 0.5 * (np.log(half) - LOG_2PI)
    return lag, spread


def squared_distances(residuals: Array, factor: Array) -> Array:
    """δ = |Pᵀ(x − μ)|², Mahalanobis distances by the factor of Σ⁻¹ = PPᵀ: shape (K, n)."""
    if residuals.shape[2] == 1:
        return np.asarray((residuals[:, :, 0] * factor[:, 0]) ** 2)
    whitened = residuals @ factor
    return np.asarray(np.einsum("kij,kij->ki", whitened, whitened))


def residual_moments(weights: Array, residuals: Array) -> tuple[Array, Array]:
    """Σ w z and Σ w zzᵀ: shapes (K, d) and (K, d, d)."""
    weighted = weights[:, :, None] * residuals
    return weighted.sum(axis=1), weighted.swapaxes(1, 2) @ residuals


def observed(x: Array, memo: Memo) -> tuple[Array, Array | None]:
    """The rows, and which of them are present (None: all); only a single column may have gaps."""
    x = np.asarray(x, float)
    if x.shape[1] > 1:
        return x, None
    if memo is not None and "observed" in memo:
        return memo["observed"]
    missing = np.isnan(x)
    result: tuple[Array, Array | None] = x, None
    if missing.any():
        fill = x[~missing].mean() if not missing.all() else 0.0
        result = np.where(missing, fill, x), (~missing[:, 0]).astype(float)
    if memo is not None:
        memo["observed"] = result
    return result


def populated(
    parameters: Parameters, s: StudentTStatistics
) -> tuple[Parameters, StudentTStatistics]:
    """The components that some row supports."""
    used = s.counts > 0
    if used.all():
        return parameters, s
    kept = {name: value[used] for name, value in parameters.items()}
    m = s.moments
    moments = GaussianStatistics(m.counts[used], m.reference[used], m.first[used], m.second[used])
    counts, excess, logs = (v[used] for v in (s.counts, s.excess, s.logs))
    return kept, StudentTStatistics(counts, excess, logs, moments, s.entropy, s.imaginary)
