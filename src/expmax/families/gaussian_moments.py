"""Gaussian densities and moments as sums over rows, centred about the means.

Rows are taken as residuals with a leading row of ones, E_k = (1, x − μ_k)ᵀ, shape (1 + d, n): then one
product Σ r E Eᵀ holds the count, the first and the second moments. Long axes lie last in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from expmax.families.base import Memo
from expmax.statistics import Additive, Array

__all__ = [
    "LOG_2PI",
    "GaussianStatistics",
    "add_ridge",
    "diagonal_log_density",
    "diagonal_moments",
    "full_log_density",
    "full_moments",
    "weighted_means",
]

LOG_2PI = float(np.log(2 * np.pi))
ALL = slice(None)
AT_ONCE = 1 << 16  # residuals held for all components together; beyond, one component after another


@dataclass(frozen=True, slots=True)
class GaussianStatistics(Additive):
    """Moments about a reference point of each component, so that nothing cancels.

    Full geometry: counts (K,), second (K, d, d). Diagonal geometry, where a missing cell only leaves its
    own column: counts (K, d), second (K, d). `reference` and `first` are (K, d).
    """

    counts: Array  # Σ r
    reference: Array  # c, the point that the moments are about
    first: Array  # Σ r (x − c)
    second: Array  # Σ r (x − c)(x − c)ᵀ

    def _combine(self, operation: Any, other: Self) -> Self:
        if other.reference is not self.reference and not np.array_equal(
            other.reference, self.reference
        ):
            other = other.about(self.reference)
        return type(self)(
            operation(self.counts, other.counts),
            self.reference,
            operation(self.first, other.first),
            operation(self.second, other.second),
        )

    def about(self, reference: Array) -> Self:
        """The same moments about another reference."""
        if reference is self.reference:
            return self
        shift = self.reference - reference
        added = shift * (self.counts if self.counts.ndim == 2 else self.counts[:, None])
        if self.second.ndim == 2:
            second = self.second + shift * (2.0 * self.first + added)
        else:
            cross = (self.first + 0.5 * added)[:, :, None] * shift[:, None, :]
            second = self.second + (cross + cross.swapaxes(1, 2))
        return type(self)(self.counts, reference, self.first + added, second)


def weighted_means(x: Array, responsibilities: Array, memo: Memo = None) -> Array:
    """Σ r x / Σ r over the cells present, about their own mean: shape (K, d)."""
    columns = _columns(x, memo)
    present = _present(columns, memo)
    if present is None:
        center = columns.mean(axis=1, keepdims=True) if len(x) else np.zeros((len(columns), 1))
        counts, centred = responsibilities.sum(axis=0)[:, None], columns - center
    else:
        center = np.nanmean(columns, axis=1, keepdims=True)
        counts, centred = responsibilities.T @ present.T, columns - center
        centred[present == 0.0] = 0.0
    with np.errstate(invalid="ignore", divide="ignore"):
        return center[:, 0] + (responsibilities.T @ centred.T) / counts


# -- full geometry ---------------------------------------------------------------------------------
def full_log_density(mean: Array, factor: Array, x: Array, memo: Memo = None) -> Array:
    """log N(x_i | μ_k, Σ_k), nats, with Σ_k⁻¹ = P_k P_kᵀ: shape (n, K).

    Parameters
    ----------
    factor : ndarray, shape (K, d, d)
        P, upper triangular.
    memo : dict, optional
        Of these rows: keeps the residuals for `full_moments` at the same means.
    """
    k, d = mean.shape
    offset = np.log(factor.diagonal(0, 1, 2)).sum(axis=1) - 0.5 * d * LOG_2PI
    squares, columns = np.empty((k, len(x))), _columns(x, memo)
    for part in _parts(mean, x):
        whitened = factor[part].swapaxes(1, 2) @ _residuals(mean, part, columns, memo)[:, 1:]
        np.einsum("kjn,kjn->kn", whitened, whitened, out=squares[part])
    squares *= -0.5
    squares += offset[:, None]
    return squares.T


def full_moments(
    mean: Array, x: Array, responsibilities: Array, memo: Memo = None
) -> GaussianStatistics:
    """Counts, first and second moments about the means, summed over rows."""
    k, d = mean.shape
    weights = responsibilities.T
    moments, columns = np.empty((k, 1 + d, 1 + d)), _columns(x, memo)
    for part in _parts(mean, x):
        e = _residuals(mean, part, columns, memo)
        np.matmul(e * weights[part, None, :], e.swapaxes(1, 2), out=moments[part])
    return GaussianStatistics(moments[:, 0, 0], mean, moments[:, 0, 1:], moments[:, 1:, 1:])


def add_ridge(scatter: Array, ridge: Array) -> Array:
    """Add ridge[k] to the diagonal of scatter[k], in place: (K, d, d), contiguous, and (K,)."""
    k, d, _ = scatter.shape
    scatter.reshape(k, d * d)[:, :: d + 1] += ridge[:, None]
    return scatter


# -- diagonal geometry -----------------------------------------------------------------------------
def diagonal_log_density(
    mean: Array, variance: Array, x: Array, penalty: float = 0.0, memo: Memo = None
) -> Array:
    """Σ_j log N(x_ij | μ_kj, v_kj) − ½ ε/v_kj over the cells present, nats: shape (n, K)."""
    precision = 1.0 / variance
    offset = LOG_2PI + np.log(variance) + penalty * precision
    out, columns = np.empty((len(mean), len(x))), _columns(x, memo)
    present = _present(columns, memo)
    for part in _parts(mean, x):
        _, squares = _diagonal_residuals(mean, part, columns, present, memo)
        np.matmul(precision[part, None, :], squares, out=out[part, None, :])
    out += offset.sum(axis=1)[:, None] if present is None else offset @ present
    out *= -0.5
    return out.T


def diagonal_moments(
    mean: Array, x: Array, responsibilities: Array, memo: Memo = None
) -> GaussianStatistics:
    """Per-column sums over the cells present, about the means."""
    weights = responsibilities.T
    first, second, columns = np.empty(mean.shape), np.empty(mean.shape), _columns(x, memo)
    present = _present(columns, memo)
    for part in _parts(mean, x):
        residuals, squares = _diagonal_residuals(mean, part, columns, present, memo)
        row = weights[part, None, :]
        np.matmul(row, residuals.swapaxes(1, 2), out=first[part, None, :])
        np.matmul(row, squares.swapaxes(1, 2), out=second[part, None, :])
    if present is None:
        counts = np.repeat(weights.sum(axis=1)[:, None], mean.shape[1], axis=1)
    else:
        counts = weights @ present.T
    return GaussianStatistics(counts, mean, first, second)


# -- residuals -------------------------------------------------------------------------------------
def _parts(mean: Array, x: Array) -> list[slice]:
    """All components at once where the residuals stay in cache, else one by one."""
    if x.size * len(mean) <= AT_ONCE:
        return [ALL]
    return [slice(k, k + 1) for k in range(len(mean))]


def _residuals(mean: Array, part: slice, columns: Array, memo: Memo) -> Array:
    """(1, x − μ_k)ᵀ, shape (K, 1 + d, n); the last ones are kept where there is a memo."""
    kept = None if memo is None or part is not ALL else memo.get("residuals")
    if kept is not None and kept[0] is mean:
        return np.asarray(kept[1])
    center, (d, n) = mean[part], columns.shape
    out = np.empty((len(center), 1 + d, n))
    out[:, 0] = 1.0
    np.subtract(columns, center[:, :, None], out=out[:, 1:])
    if memo is not None and part is ALL:
        memo["residuals"] = (mean, out)
    return out


def _diagonal_residuals(
    mean: Array, part: slice, columns: Array, present: Array | None, memo: Memo
) -> tuple[Array, Array]:
    """x − μ_k and its squares, shape (K, d, n), with 0 for missing cells; the last ones are kept."""
    kept = None if memo is None or part is not ALL else memo.get("squares")
    if kept is not None and kept[0] is mean:
        return kept[1], kept[2]
    out = columns - mean[part][:, :, None]
    if present is not None:
        out[:, present == 0.0] = 0.0
    squares = out * out
    if memo is not None and part is ALL:
        memo["squares"] = (mean, out, squares)
    return out, squares


def _columns(x: Array, memo: Memo) -> Array:
    """xᵀ, laid out column by column, shape (d, n)."""
    if memo is None:
        return np.ascontiguousarray(x.T, float)
    if "columns" not in memo:
        memo["columns"] = np.ascontiguousarray(x.T, float)
    return np.asarray(memo["columns"])


def _present(columns: Array, memo: Memo) -> Array | None:
    """1 where a cell is present, 0 where it is missing, shape (d, n); None without missing cells."""
    if memo is not None and "present" in memo:
        kept: Array | None = memo["present"]
        return kept
    missing = np.isnan(columns)
    present = (~missing).astype(float) if missing.any() else None
    if memo is not None:
        memo["present"] = present
    return present
