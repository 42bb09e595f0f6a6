"""Common orientation of several scatters: the D of EVE and VVE.

With w_kj = (Dᵀ W_k D)_jj and L_k = Σ_j log w_kj, the other parameters at their best leave

    VVE: minimise Σ_k n_k L_k            (common principal components: Flury 1984),
    EVE: minimise n d log Σ_k e^{L_k/d},

over orthogonal D. Solved by Newton in D → D·Cayley(S), S skew-symmetric (Absil, Mahony & Sepulchre
2008, ch. 6), with the absolute values of the Hessian's eigenvalues, so every step descends and
saddles are left. It reaches the optima of the majorisation of Browne & McNicholas (2014), in a few
steps instead of hundreds. The loss has local minima: D is a local minimiser.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

_MAX_STEPS = 50
_MAX_STARTS = 5
_MAX_HALVINGS = 12
# Newton squares its error: a step that promises less than this (nats per count) is the last.
_LAST_STEP = 1e-10
_ROUNDING = 64 * np.finfo(np.float64).eps
_LONGEST_STEP = 0.5  # radians, about
_GENERIC = 0.6180339887498949  # weights whose ties with data would be an accident


def common_orientation(
    counts: Array, scatter: Array, start: Array | None, *, equal_volume: bool
) -> Array:
    """The common axes D of EVE (equal_volume) or VVE, shape (d, d).

    Parameters
    ----------
    counts : ndarray, shape (K,)
    scatter : ndarray, shape (K, d, d)
        Of order 1; components with no count or no scatter do not matter.
    start : ndarray, shape (K, d, d), optional
        Current covariances; the descent starts at their common axes. Without it descents
        start at the best five among the axes of each scatter and of two means of them, and the
        best end is kept.
    equal_volume : bool
        EVE if true, else VVE.
    """
    d = scatter.shape[1]
    live = (counts > 0) & (np.trace(scatter, axis1=1, axis2=2) > 0)
    if d == 1 or not live.any():
        return np.eye(d)
    if not live.all():
        counts, scatter = counts[live], scatter[live]
    if len(scatter) == 1:
        return np.asarray(np.linalg.eigh(scatter[0])[1])
    if start is not None:
        traces = np.trace(start, axis1=1, axis2=2)
        start = start[np.isfinite(traces) & (traces > 0)]
        if len(start):
            return _descend(counts, scatter, _axes_of(start), equal_volume)[0]
    candidates = _candidates(scatter)
    losses = [
        _loss(counts, variances_along(axes, scatter)[1], equal_volume)[0] for axes in candidates
    ]
    best = candidates[np.argsort(losses)[:_MAX_STARTS]]
    results = [_descend(counts, scatter, axes, equal_volume) for axes in best]
    return min(results, key=lambda result: result[1])[0]


def variances_along(axes: Array, scatter: Array) -> tuple[Array, Array]:
    """Dᵀ W_k D, shape (K, d, d), and its diagonals w_kj, zero where rounding leaves no digit."""
    rotated = axes.T @ scatter @ axes
    variances = np.diagonal(rotated, axis1=1, axis2=2)
    suspicious = variances < 1e-12 * variances.max(axis=1, keepdims=True)
    if suspicious.any():
        size = np.abs(axes)
        summed = np.diagonal(size.T @ np.abs(scatter) @ size, axis1=1, axis2=2)
        variances = np.where(variances > _ROUNDING * summed, variances, 0.0)
    return rotated, variances


def _candidates(scatter: Array) -> Array:
    """Axes of every scatter, of their sum and of their mean at equal traces."""
    normed = scatter / np.trace(scatter, axis1=1, axis2=2)[:, None, None]
    means = np.stack([scatter.sum(axis=0), normed.sum(axis=0)])
    return np.linalg.eigh(np.concatenate([means, normed]))[1]


def _axes_of(covariances: Array) -> Array:
    """Common axes of covariances that share them: those of one generic combination.

    Where a near tie of the combination blurs them (or nothing is shared) the common principal
    components of the covariances sharpen them.
    """
    k = len(covariances)
    weights = 1 + np.arange(1, k + 1) * _GENERIC % 1
    traces = np.trace(covariances, axis1=1, axis2=2)
    axes = np.linalg.eigh(np.tensordot(weights / traces, covariances, 1))[1]
    rotated, variances = variances_along(axes, covariances)
    roots = np.sqrt(variances)
    residual = rotated / (roots[:, :, None] * roots[:, None, :]) - np.eye(len(axes))
    if np.abs(residual).max() > 1e-9:
        axes = _descend(np.ones(k), covariances, axes, equal_volume=False)[0]
    return axes


def _descend(counts: Array, scatter: Array, axes: Array, equal_volume: bool) -> tuple[Array, float]:
    """Newton with backtracking from given axes; ends at a minimum, a zero variance or the cap."""
    total = float(counts.sum())
    rotated, variances = variances_along(axes, scatter)
    loss, weights = _loss(counts, variances, equal_volume)
    for _ in range(_MAX_STEPS):
        if not variances.all():
            break
        gradient, hessian = _derivatives(rotated, variances, weights, equal_volume)
        if not np.isfinite(hessian).all():  # on the way to an unbounded likelihood
            break
        step, promise = _step(gradient, hessian, total)
        if promise <= _ROUNDING * total:
            break
        for _ in range(_MAX_HALVINGS):
            trial_axes = axes @ _rotation(step)
            trial = variances_along(trial_axes, scatter)
            trial_loss, trial_weights = _loss(counts, trial[1], equal_volume)
            if trial_loss < loss:
                break
            step = 0.5 * step
        else:
            break
        axes, (rotated, variances) = trial_axes, trial
        loss, weights = trial_loss, trial_weights
        if promise <= _LAST_STEP * total:
            break
    return axes, loss


def _loss(counts: Array, variances: Array, equal_volume: bool) -> tuple[float, Array]:
    """The loss and its derivative in L_k = Σ_j log w_kj, shape (K,)."""
    sums = np.log(variances).sum(axis=1)
    if not equal_volume:
        return float(counts @ sums), counts
    total, d = counts.sum(), variances.shape[1]
    largest = sums.max()
    volumes = np.exp((sums - largest) / d)
    volume = volumes.sum()
    return float(total * (largest + d * math.log(volume))), total / volume * volumes


def _derivatives(
    rotated: Array, variances: Array, weights: Array, equal_volume: bool
) -> tuple[Array, Array]:
    """Gradient (m,) and Hessian (m, m) of the loss in the m = d(d-1)/2 rotations.

    With G = DᵀW_kD, D → D e^S changes w_kj by 2 Σ_i G_ij S_ij + Σ_il S_ij G_il S_lj
    - Σ_i S_ij (S G)_ij + …; summed over k with weights c, the second-order terms of Σ_j log w_kj
    are a quadratic form of each column of S.
    """
    d = variances.shape[1]
    row, column, basis, flat_basis = _skew_basis(d)
    slopes = 2 * rotated / variances[:, None, :]
    weighted = weights[:, None, None] * slopes
    summed = weighted.sum(axis=0)
    by_column = (weights / variances.T * 2) @ rotated.reshape(len(weights), -1)
    form = by_column.reshape(d, d, d) - 0.5 * (summed + summed.T)
    form -= weighted.transpose(2, 1, 0) @ slopes.transpose(2, 0, 1)
    hessian = flat_basis.T @ (form @ basis).reshape(d * d, -1)
    gradient = summed[row, column] - summed[column, row]
    if equal_volume:
        log_slopes = slopes[:, row, column] - slopes[:, column, row]
        hessian += (log_slopes.T * (weights / d)) @ log_slopes
        hessian -= gradient[:, None] * (gradient / (weights.sum() * d))
    return gradient, hessian


@lru_cache
def _skew_basis(d: int) -> tuple[Indices, Indices, Array, Array]:
    """Pairs i < j, and E_ij - E_ji as [column, row, pair], also with the first two merged."""
    row, column = (index.astype(np.intp) for index in np.triu_indices(d, 1))
    pair = np.arange(len(row))
    basis = np.zeros((d, d, len(row)))
    basis[column, row, pair] = 1.0
    basis[row, column, pair] = -1.0
    return row, column, basis, basis.reshape(d * d, -1)


def _step(gradient: Array, hessian: Array, total: float) -> tuple[Array, float]:
    """Descent step on the absolute eigenvalues, and the fall that it promises.

    At a stationary point with a falling direction (a saddle) the step goes that way.
    """
    curvatures, directions = np.linalg.eigh(hessian)
    slopes = directions.T @ gradient
    sizes = np.maximum(np.abs(curvatures), _ROUNDING * total)
    promise = 0.5 * float(slopes @ (slopes / sizes))
    if promise <= _ROUNDING * total and curvatures[0] < -1e-6 * total:
        return _LONGEST_STEP * directions[:, 0], -0.5 * float(curvatures[0])
    step = -directions @ (slopes / sizes)
    length = math.sqrt(step @ step)
    return step * (_LONGEST_STEP / max(length, _LONGEST_STEP)), promise


def _rotation(step: Array) -> Array:
    """Cayley transform of the skew-symmetric matrix S: orthogonal, e^S to second order."""
    d = (1 + math.isqrt(1 + 8 * len(step))) // 2
    half = 0.5 * (_skew_basis(d)[3] @ step).reshape(d, d).T
    identity = np.eye(d)
    return np.asarray(np.linalg.solve(identity - half, identity + half))
