"""M-steps of the fourteen Gaussian covariance structures of mclust, as functions of arrays.

Σ_k = λ_k D_k A_k D_kᵀ with |A_k| = 1: volume λ, shape A, orientation D. A name has one letter for
each, in that order: E (equal over components), V (varying), I (identity). The M-step maximises

    Q(Σ) = -½ Σ_k [ n_k log|Σ_k| + tr(Σ_k⁻¹ W_k) ],   W_k = Σ_i r_ik (x_i - μ_k)(x_i - μ_k)ᵀ.

How each structure is solved:

- closed form: EII VII EEI EVI VVI EEE EEV EVV VVV (Celeux & Govaert 1995);
- convex in the log volumes, by Newton, global maximum: VEI VEE VEV;
- common orientation, by Newton on the rotations, local maximum in D: EVE VVE.

No formula floors, clips or adds to a variance. Where the maximum does not exist the singular
covariance comes back, with its zeros where they fall, for the caller to name.

References
----------
Celeux & Govaert (1995), Gaussian parsimonious clustering models, Pattern Recognition 28(5).
Browne & McNicholas (2014), Estimating common principal components in high dimensions, Adv. Data
Anal. Classif. 8(2): EVE and VVE.
Scrucca, Fop, Murphy & Raftery (2016), mclust 5, The R Journal 8(1), table 3.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from expmax.families.covariance_diagonal import (
    DIAGONAL_STRUCTURES,
    equal_volumes,
    maximize_variances,
    power_of_two,
    proportional_variances,
    solve_volumes,
)
from expmax.families.covariance_orientation import common_orientation, variances_along

__all__ = [
    "DIAGONAL_STRUCTURES",
    "ITERATIVE",
    "LINEAR",
    "STRUCTURES",
    "maximize_covariance",
    "maximize_variances",
    "n_covariance_parameters",
    "nearest",
    "objective",
]

Array = NDArray[np.float64]

STRUCTURES: Final = (
    *DIAGONAL_STRUCTURES,
    *("EEE", "VEE", "EVE", "VVE"),
    *("EEV", "VEV", "EVV", "VVV"),
)

ITERATIVE: Final = ("VEI", "VEE", "VEV", "EVE", "VVE")  # no closed form

LINEAR: Final = ("EII", "VII", "EEI", "VVI", "EEE", "VVV")  # closed under linear combination

_ROUNDING = 64 * np.finfo(np.float64).eps


def maximize_covariance(
    structure: str, counts: Array, scatter: Array, start: Array | None = None
) -> Array:
    """Covariances of one structure that maximise the expected Gaussian log-likelihood.

    Parameters
    ----------
    structure : str
        One of `STRUCTURES`.
    counts : ndarray, shape (K,)
        n_k = Σ_i r_ik ≥ 0.
    scatter : ndarray, shape (K, d, d)
        W_k = Σ_i r_ik (x_i - μ_k)(x_i - μ_k)ᵀ, positive semi-definite; any scale.
    start : ndarray, shape (K, d, d), optional
        The current covariances, a member of the structure. The iterative structures (VEI, VEE,
        VEV, EVE, VVE) begin there, and the objective never falls below its value there. Without
        it they begin from the scatter itself, EVE and VVE from several orientations.

    Returns
    -------
    ndarray, shape (K, d, d)
        Singular where the likelihood is unbounded or its supremum is not attained. A component
        with no count gets the shared covariance if all of it is shared (EII, EEI, EEE), and NaN
        if any part of it would be its own. All NaN if the scatter is not finite.

    Raises
    ------
    ValueError
        The structure is not one of `STRUCTURES`.

    Examples
    --------
    >>> counts = np.array([10.0, 30.0])
    >>> scatter = np.array([np.diag([10.0, 40.0]), np.diag([90.0, 30.0])])
    >>> maximize_covariance("EEE", counts, scatter)[0]
    array([[2.5 , 0.  ],
           [0.  , 1.75]])
    """
    _check(structure, STRUCTURES)
    if structure in DIAGONAL_STRUCTURES:
        return _maximize_diagonal(structure, counts, scatter, start)
    scale = power_of_two(scatter)
    if scale is None:
        return np.full_like(scatter, np.nan)
    with np.errstate(all="ignore"):
        scaled_start = None if start is None else start / scale
        result = _MAXIMIZERS[structure](counts, scatter / scale, scaled_start)
        return np.asarray(result * scale)


def nearest(structure: str, weights: Array, covariances: Array) -> Array:
    """The member of a structure of least Σ_k w_k KL(N(μ_k, C_k) ‖ N(μ_k, Σ_k)) to given C_k.

    Parameters
    ----------
    weights : ndarray, shape (K,)
    covariances : ndarray, shape (K, d, d), or the variances, shape (K, d)
        Positive definite.
    """
    if covariances.ndim == 2:
        counts = np.repeat(weights[:, None], covariances.shape[1], axis=1)
        return maximize_variances(structure, counts, counts * covariances)
    return maximize_covariance(structure, weights, weights[:, None, None] * covariances)


def objective(counts: Array, scatter: Array, covariances: Array) -> float:
    """-½ Σ_k [ n_k log|Σ_k| + tr(Σ_k⁻¹ W_k) ], what `maximize_covariance` maximises, in nats.

    Components without count add nothing, whatever their covariance. NaN when a covariance with
    a positive count is not positive definite: the value depends on the path of approach.
    """
    counted = counts > 0
    try:
        root = np.linalg.cholesky(covariances[counted])
    except np.linalg.LinAlgError:
        return float("nan")
    log_determinants = 2 * np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
    inverse = np.linalg.inv(root)
    traces = ((inverse @ scatter[counted]) * inverse).sum(axis=(1, 2))
    return float(-0.5 * (counts[counted] @ log_determinants + traces.sum()))


def n_covariance_parameters(structure: str, n_components: int, n_columns: int) -> int:
    """Number of free covariance parameters (Celeux & Govaert 1995, table 1; mclust nVarParams).

    >>> [n_covariance_parameters(name, 4, 3) for name in ("EII", "VEI", "EVE", "VVV")]
    [1, 6, 12, 24]
    """
    _check(structure, STRUCTURES)
    volume, shape, orientation = tuple(structure)
    copies = {"I": 0, "E": 1, "V": n_components}
    return (
        copies[volume]
        + copies[shape] * (n_columns - 1)
        + copies[orientation] * n_columns * (n_columns - 1) // 2
    )


def _check(structure: str, known: tuple[str, ...]) -> None:
    if structure not in known:
        raise ValueError(f"structure must be one of {', '.join(known)}; got {structure!r}.")


def _maximize_diagonal(structure: str, counts: Array, scatter: Array, start: Array | None) -> Array:
    """The six axis-parallel structures, from the diagonals alone."""
    variances = maximize_variances(
        structure,
        np.broadcast_to(counts[:, None], scatter.shape[:2]),
        np.diagonal(scatter, axis1=1, axis2=2),
        None if start is None else np.diagonal(start, axis1=1, axis2=2),
    )
    return variances[:, :, None] * np.eye(scatter.shape[1])


def _eee(counts: Array, scatter: Array, start: Array | None) -> Array:
    """Σ = Σ_k W_k / n."""
    return np.broadcast_to(scatter.sum(axis=0) / counts.sum(), scatter.shape)


def _vvv(counts: Array, scatter: Array, start: Array | None) -> Array:
    """Σ_k = W_k / n_k."""
    return np.asarray(scatter / counts[:, None, None])


def _eev(counts: Array, scatter: Array, start: Array | None) -> Array:
    """D_k holds the eigenvectors of W_k, in one order; λA is the mean of the eigenvalues."""
    eigenvalues, axes = _eigen(scatter)
    shared = eigenvalues.sum(axis=0) / counts.sum()
    return _assemble(axes, np.where(counts[:, None] > 0, shared, np.nan))


def _vev(counts: Array, scatter: Array, start: Array | None) -> Array:
    """D_k as in EEV, which is optimal for every λ and A; then VEI on the eigenvalues."""
    eigenvalues, axes = _eigen(scatter)
    per_column = np.broadcast_to(counts[:, None], eigenvalues.shape)
    log_precision = None if start is None else -_log_determinants(start) / scatter.shape[1]
    return _assemble(axes, proportional_variances(per_column, eigenvalues, log_precision))


def _evv(counts: Array, scatter: Array, start: Array | None) -> Array:
    """Σ_k = λ W_k / |W_k|^(1/d), λ = Σ_k |W_k|^(1/d) / n; a singular W_k stays W_k / n_k."""
    volumes = np.exp(_log_determinants(scatter) / scatter.shape[1])
    factors = np.where(volumes > 0, volumes.sum() / counts.sum() / volumes, 1 / counts)
    return np.asarray(scatter * factors[:, None, None])


def _vee(counts: Array, scatter: Array, start: Array | None) -> Array:
    """Σ_k = λ_k C: given λ, C = Σ_k W_k / (n λ_k), which leaves a convex problem in u = -log λ.

    minimise n log|Σ_k e^{u_k} W_k| - Σ_k n_k d u_k (log|·| of a sum with weights e^u is a
    log-sum-exp).
    """
    d = scatter.shape[1]
    traces = np.trace(scatter, axis1=1, axis2=2)
    live = traces > 0
    result = np.where(counts > 0, 0.0, np.nan)[:, None, None] * np.ones((d, d))
    if not live.any():
        return result
    if start is not None:
        start = start[live]
    w, live_counts = scatter[live], counts[live]
    total = live_counts.sum()

    def evaluate(u: Array) -> tuple[float, Array, Array]:
        weighted = np.exp(u)[:, None, None] * w
        try:
            root = np.linalg.cholesky(weighted.sum(axis=0))
        except np.linalg.LinAlgError:
            return np.inf, live_counts, live_counts
        inverse = np.linalg.inv(root)
        shares = (inverse @ weighted @ inverse.T).reshape(len(u), -1)
        loss = 2 * total * np.log(root.diagonal()).sum() - d * live_counts @ u
        return float(loss), total * shares[:, :: d + 1].sum(axis=1), np.sqrt(total) * shares

    u = None if start is None else -_log_determinants(start) / d
    u = solve_volumes(evaluate, d * live_counts, u)
    if u is None:  # the pooled scatter is singular: so is C, whatever the volumes
        u = np.log(live_counts / traces[live])
    u -= u.mean()
    shape = (np.exp(u)[:, None, None] * w).sum(axis=0) / total
    result[live] = np.exp(-u)[:, None, None] * shape
    return result


def _eve(counts: Array, scatter: Array, start: Array | None) -> Array:
    return _common_axes(counts, scatter, start, equal_volume=True)


def _vve(counts: Array, scatter: Array, start: Array | None) -> Array:
    return _common_axes(counts, scatter, start, equal_volume=False)


def _common_axes(
    counts: Array, scatter: Array, start: Array | None, *, equal_volume: bool
) -> Array:
    """Σ_k = D Λ_k Dᵀ: best D, then EVI or VVI along its axes."""
    axes = common_orientation(counts, scatter, start, equal_volume=equal_volume)
    variances = variances_along(axes, scatter)[1]
    if equal_volume:
        variances = equal_volumes(counts, variances)
    else:
        variances = variances / counts[:, None]
    return _assemble(axes, variances)


def _eigen(scatter: Array) -> tuple[Array, Array]:
    """Eigenvalues, ascending, and axes; a scatter has no negative ones but by rounding."""
    eigenvalues, axes = np.linalg.eigh(scatter)
    return np.maximum(eigenvalues, 0.0), axes


def _assemble(axes: Array, variances: Array) -> Array:
    """D Λ_k Dᵀ, exactly symmetric; axes of shape (d, d) or (K, d, d)."""
    product = (axes * variances[:, None, :]) @ np.swapaxes(axes, -1, -2)
    return np.asarray(0.5 * (product + np.swapaxes(product, 1, 2)))


def _log_determinants(matrices: Array) -> Array:
    """log|W_k|; -inf where W_k is singular to rounding: a Cholesky pivot lost its digits."""
    try:
        roots = np.linalg.cholesky(matrices)
    except np.linalg.LinAlgError:
        if len(matrices) == 1:
            return np.array([-np.inf])
        return np.concatenate([_log_determinants(w[None]) for w in matrices])
    pivots = np.diagonal(roots, axis1=1, axis2=2) ** 2
    kept = (pivots > _ROUNDING * np.diagonal(matrices, axis1=1, axis2=2)).all(axis=1)
    return np.where(kept, np.log(pivots).sum(axis=1), -np.inf)


_MAXIMIZERS: Final = {
    "EEE": _eee,
    "VEE": _vee,
    "EVE": _eve,
    "VVE": _vve,
    "EEV": _eev,
    "VEV": _vev,
    "EVV": _evv,
    "VVV": _vvv,
}
