"""M-steps of the six axis-parallel covariance structures, with a count for every cell.

Maximised: -½ Σ_kj [ n_kj log σ²_kj + w_kj / σ²_kj ], w_kj = Σ_i r_ik (x_ij - μ_kj)² over the rows
where column j is observed. Missing cells make n_kj differ between the columns of a component.

VEI (and its relatives VEE and VEV) is convex in the log volumes and is solved there: Newton on as
many unknowns as there are components, with the alternation of Celeux & Govaert (1995) as its
safeguard. VEI is the scaling of a matrix to given row and column sums, and the alternation is
that of Sinkhorn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DIAGONAL_STRUCTURES: Final = ("EII", "VII", "EEI", "VEI", "EVI", "VVI")

_MAX_STEPS = 50
# Newton squares its error: a step that promises less than this (nats per count) is the last.
_LAST_STEP = 1e-10
_WIDEST = 600.0  # log of the largest ratio of two volumes: beyond it there is no maximum
_ROUNDING = 64 * np.finfo(np.float64).eps

# loss, its gradient plus the targets (K,), and Z (K, p): the Hessian is diag(gradient) - Z Zᵀ
VolumeLoss = Callable[[Array], tuple[float, Array, Array]]


def maximize_variances(
    structure: str, counts: Array, scatter: Array, start: Array | None = None
) -> Array:
    """Variances of one axis-parallel structure that maximise the expected log-likelihood.

    Parameters
    ----------
    structure : str
        One of `DIAGONAL_STRUCTURES`.
    counts : ndarray, shape (K, d)
        n_kj ≥ 0, the total responsibility of component k over the rows that show column j.
    scatter : ndarray, shape (K, d)
        w_kj = Σ_i r_ik (x_ij - μ_kj)² over those rows; any scale.
    start : ndarray, shape (K, d), optional
        The current variances, a member of the structure; where VEI and, with unequal counts, EVI
        begin. Both are convex, so the result does not depend on it.

    Returns
    -------
    ndarray, shape (K, d)
        Zero where the likelihood is unbounded. A variance that no datum informs is NaN: a cell
        without count in VVI or EVI, a component without any in VII or VEI, a column without any
        in EEI or VEI. All NaN if the scatter is not finite.

    Raises
    ------
    ValueError
        The structure is not one of `DIAGONAL_STRUCTURES`.
    """
    if structure not in DIAGONAL_STRUCTURES:
        known = ", ".join(DIAGONAL_STRUCTURES)
        raise ValueError(f"structure must be one of {known}; got {structure!r}.")
    scale = power_of_two(scatter)
    if scale is None:
        return np.full(scatter.shape, np.nan)
    with np.errstate(all="ignore"):
        scaled_start = None if start is None else start / scale
        return np.asarray(scale * _maximize(structure, counts, scatter / scale, scaled_start))


def power_of_two(scatter: Array) -> float | None:
    """The power of two that brings the largest scatter near 1; None if it is not finite."""
    largest = float(np.abs(scatter).max())
    if not math.isfinite(largest):
        return None
    return math.ldexp(1.0, min(max(math.frexp(largest)[1], -1000), 1000))


def _maximize(structure: str, counts: Array, scatter: Array, start: Array | None) -> Array:
    if structure == "EII":
        variances = scatter.sum() / counts.sum()
    elif structure == "VII":
        variances = (scatter.sum(axis=1) / counts.sum(axis=1))[:, None]
    elif structure == "EEI":
        variances = scatter.sum(axis=0) / counts.sum(axis=0)
    elif structure == "VVI":
        variances = scatter / counts
    elif structure == "VEI":
        log_precision = None if start is None else -np.log(start).mean(axis=1)
        variances = proportional_variances(counts, scatter, log_precision)
    elif (counts == counts[:, :1]).all():
        variances = equal_volumes(counts[:, 0], scatter)
    else:
        variances = _equal_volumes_by_newton(counts, scatter, start)
    return np.broadcast_to(variances, scatter.shape)


def proportional_variances(counts: Array, scatter: Array, log_precision: Array | None) -> Array:
    """VEI: σ²_kj = λ_k a_j. Given λ, a_j = Σ_k w_kj / λ_k / Σ_k n_kj, which leaves u = -log λ.

    minimise Σ_j N_j log Σ_k e^{u_k} w_kj - Σ_k R_k u_k, with row sums R and column sums N of the
    counts: a sum of log-sum-exps, convex.
    """
    live_rows, live_columns = scatter.max(axis=1) > 0, scatter.max(axis=0) > 0
    if not (live_rows.all() and live_columns.all()):
        return _proportional_where_alive(counts, scatter, log_precision, live_rows, live_columns)
    rows, columns = counts.sum(axis=1), counts.sum(axis=0)
    root_columns = np.sqrt(columns)

    def evaluate(u: Array) -> tuple[float, Array, Array]:
        weighted = np.exp(u)[:, None] * scatter
        sums = weighted.sum(axis=0)
        shares = weighted / sums
        return float(columns @ np.log(sums) - rows @ u), shares @ columns, shares * root_columns

    u = solve_volumes(evaluate, rows, log_precision)
    if u is None:
        u = np.log(rows / scatter.sum(axis=1))
    u -= u.mean()
    return np.asarray(np.exp(-u)[:, None] * (np.exp(u) @ scatter / columns))


def _proportional_where_alive(
    counts: Array, scatter: Array, log_precision: Array | None, rows: Array, columns: Array
) -> Array:
    """VEI beside components or columns without any scatter: those are zero, or NaN if uncounted."""
    uncounted = (counts.sum(axis=1) == 0)[:, None] | (counts.sum(axis=0) == 0)
    result = np.where(uncounted, np.nan, 0.0)
    if rows.any():
        block = np.ix_(rows, columns)
        start = None if log_precision is None else log_precision[rows]
        result[block] = proportional_variances(counts[block], scatter[block], start)
    return result


def solve_volumes(evaluate: VolumeLoss, targets: Array, start: Array | None) -> Array | None:
    """Minimise a convex loss of log precisions u, defined up to a common shift.

    The loss falls by each alternation u_k += log(target_k / share_k); Newton is used where it
    falls further. None if the loss is infinite from the beginning.
    """
    total = targets.sum()

    def reach(u: Array) -> tuple[float, Array, Array]:
        spread = u.max() - u.min()
        return evaluate(u) if spread < _WIDEST else (math.inf, u, u)

    if start is None or not np.isfinite(start).all():
        u = np.zeros(len(targets))
        u += np.log(targets / evaluate(u)[1])
    else:
        u = start
    value = reach(u)
    if not math.isfinite(value[0]):
        return None
    for _ in range(_MAX_STEPS):
        gradient = value[1] - targets
        if np.abs(gradient).max() <= _ROUNDING * total:
            break
        step, promise = _newton_step(gradient, value[1], value[2])
        trial = reach(u + step)
        if not trial[0] <= value[0] + _ROUNDING * total:
            promise = math.inf
            step = np.log(targets / value[1])
            trial = reach(u + step)
            if not trial[0] < value[0]:
                break
        u, value = u + step, trial
        if promise <= _LAST_STEP * total:
            break
    return u


def _newton_step(gradient: Array, shares: Array, factor: Array) -> tuple[Array, float]:
    """Newton step and the fall that it promises; NaN where the loss is flat."""
    hessian = np.diag(shares) - factor @ factor.T
    hessian += shares.mean()  # a common shift of u changes nothing: pin it
    try:
        step = np.asarray(-np.linalg.solve(hessian, gradient), dtype=np.float64)
    except np.linalg.LinAlgError:
        return np.full_like(gradient, np.nan), math.inf
    return step, -0.5 * float(gradient @ step)


def equal_volumes(counts: Array, scatter: Array) -> Array:
    """EVI with counts (K,): σ²_kj = λ w_kj / g_k, g_k = (Π_j w_kj)^(1/d), λ = Σ_k g_k / n.

    A component with a zero has no maximum (its other variances would grow without end): it is
    returned as w_kj / n_k.
    """
    volumes = np.exp(np.log(scatter).mean(axis=1))
    factors = np.where(volumes > 0, volumes.sum() / counts.sum() / volumes, 1 / counts)
    return np.asarray(scatter * factors[:, None])


def _equal_volumes_by_newton(counts: Array, scatter: Array, start: Array | None) -> Array:
    """EVI with a count per cell: Newton on t = log σ² under Σ_j t_kj equal over k.

    At the optimum σ²_kj = w_kj / (n_kj + m_k) with Σ_k m_k = 0. A component with an empty cell
    is free of the constraint, and one with a zero has no maximum: both are w_kj / n_kj.
    """
    bound = (scatter > 0).all(axis=1)
    result = scatter / counts
    if bound.any():
        n, w = counts[bound], scatter[bound]
        starts = [np.log(w / n)]
        if start is not None:
            starts.append(np.log(start[bound]))
        starts = [_to_equal_volumes(n, w, t) for t in starts]
        t = min(starts, key=lambda t: _diagonal_loss(n, w, t))
        result[bound] = np.exp(_descend_equal_volumes(n, w, t))
    return result


def _to_equal_volumes(counts: Array, scatter: Array, t: Array) -> Array:
    """Log variances of the same shapes, with the best common volume."""
    t = t - t.mean(axis=1, keepdims=True)
    return np.asarray(t + np.log((scatter * np.exp(-t)).sum() / counts.sum()))


def _diagonal_loss(counts: Array, scatter: Array, t: Array) -> float:
    loss = float((counts * t + scatter * np.exp(-t)).sum())
    return loss if math.isfinite(loss) else math.inf


def _descend_equal_volumes(counts: Array, scatter: Array, t: Array) -> Array:
    """Damped Newton in the plane of equal volumes: convex, so the minimum is global."""
    total = counts.sum()
    loss = _diagonal_loss(counts, scatter, t)
    for _ in range(_MAX_STEPS):
        curvature = scatter * np.exp(-t)
        gradient = counts - curvature
        inverse_sums = (1 / curvature).sum(axis=1)
        slopes = (gradient / curvature).sum(axis=1)
        shift = -(slopes / inverse_sums).sum() / (1 / inverse_sums).sum()
        multipliers = -(slopes + shift) / inverse_sums
        step = -(gradient + multipliers[:, None]) / curvature
        promise = -0.5 * float((gradient * step).sum())
        for _ in range(_MAX_STEPS):
            trial = _diagonal_loss(counts, scatter, t + step)
            if trial <= loss + _ROUNDING * total:
                break
            step = 0.5 * step
        else:
            break
        t, loss = t + step, trial
        if promise <= _LAST_STEP * total:
            break
    return t
