"""The M-step of Student t components: location, scale, ν and the scale α of u, jointly.

See `StudentT` for the expansion by α and for what is maximised.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Parameters
from expmax.families import covariance as structures
from expmax.families.precision import precision_cholesky, precision_factor
from expmax.families.solvers import gamma_shape
from expmax.families.special import log_minus_digamma
from expmax.families.student_t_estep import GAUSSIAN, StudentTStatistics, degrees_of_freedom
from expmax.statistics import Array

__all__ = [
    "LARGEST_DOF",
    "SMALLEST_DOF",
    "columnwise_structure",
    "divisor",
    "dof_score",
    "expansion",
    "joint_maximum",
    "scale_matrices",
    "with_factor",
]

SMALLEST_DOF, LARGEST_DOF = 1e-2, 1e6  # between which ν is estimated


def joint_maximum(
    structure: str, given: float | None, s: StudentTStatistics, parameters: Parameters | None
) -> dict[str, Array]:
    """The parameters that maximise Q.

    Parameters
    ----------
    structure : str
        mclust's name.
    given : float, optional
        ν where it is not estimated.
    parameters : mapping, optional
        Where structures that are solved by iteration start.
    """
    moments, equal_volume = s.moments, structure[0] == "E"
    structure = columnwise_structure(structure, moments.first.shape[1])
    # where u is 1 for certain, no other ν has a finite Q
    limit = np.zeros(len(s.counts), bool) if parameters is None else np.isinf(parameters["dof"])
    with np.errstate(invalid="ignore", divide="ignore"):
        shift = moments.first / divisor(moments.counts)
        scatter = moments.second - moments.first[:, :, None] * shift[:, None, :]
        start = None
        if parameters is not None and structure not in ("VVV", "EEE"):
            ratio = 1.0 + expansion(equal_volume, parameters, s)[1]
            start = parameters["scale"] * ratio[:, None, None]
        scale = scale_matrices(structure, s.counts, scatter, start)
        if s.imaginary:
            dof = _degrees_of_freedom((s.excess - s.logs) / s.counts, given)
        elif equal_volume and len(s.counts) > 1:
            dof, alpha = _with_common_mean(s, given, limit)
            scale = scale / alpha
        else:
            mean_precision = moments.counts / s.counts
            log_mean = _log_ratio(s.excess / s.counts, mean_precision)
            dof = _degrees_of_freedom(log_mean - s.logs / s.counts, given)
            scale = scale / mean_precision[:, None, None]
    return with_factor(moments.reference + shift, scale, np.where(limit, np.inf, dof))


def expansion(
    equal_volume: bool, parameters: Parameters, s: StudentTStatistics
) -> tuple[Array, Array, Array]:
    """T = tr Σ⁻¹ Σ r E u (x − μ)(x − μ)ᵀ, and α̂ − 1 and log α̂: each of shape (K,)."""
    moments = s.moments.about(parameters["mean"])
    factor, dof = precision_cholesky(parameters, "scale"), degrees_of_freedom(parameters)
    n_columns = moments.first.shape[1]
    trace = ((moments.second @ factor) * factor).sum(axis=(1, 2))
    if s.imaginary:
        return trace, np.zeros_like(trace), np.zeros_like(trace)
    beyond = trace - n_columns * s.counts + dof * s.excess
    total, norm = trace + dof * moments.counts, s.counts * (dof + n_columns)
    if equal_volume:
        beyond, total, norm = (np.full_like(v, v.sum()) for v in (beyond, total, norm))
    return trace, beyond / norm, _log_ratio(beyond / norm, total / norm)


def columnwise_structure(structure: str, n_columns: int) -> str:
    """The structure; in one column only the volume is left of it."""
    return structure if n_columns > 1 else structure[0] * 3


def scale_matrices(structure: str, counts: Array, scatter: Array, start: Array | None) -> Array:
    """The Gaussian M-step of the structure: shape (K, d, d)."""
    if structure == "VVV":
        return scatter / counts[:, None, None]
    if structure == "EEE":
        return np.broadcast_to(scatter.sum(axis=0) / counts.sum(), scatter.shape)
    return structures.maximize_covariance(structure, counts, scatter, start)


def divisor(counts: Array) -> Array:
    """Counts to divide sums by, shape (K, 1): a component without rows moves nowhere."""
    return np.where(counts > 0, counts, 1.0)[:, None]


def with_factor(mean: Array, scale: Array, dof: Array) -> dict[str, Array]:
    """Parameters with the precision factor of their scale matrices."""
    factor = precision_factor(scale)
    return {"mean": mean, "scale": scale, "dof": dof, "precision_cholesky": factor}


def dof_score(dof: Array, s: StudentTStatistics) -> Array:
    """∂Q/∂log ν, nats: shape (K,)."""
    half = 0.5 * np.minimum(dof, GAUSSIAN)
    return np.asarray(half * (s.counts * log_minus_digamma(half) - (s.excess - s.logs)))


def _degrees_of_freedom(gap: Array, given: float | None) -> Array:
    """ν with log(ν/2) − ψ(ν/2) = gap, within its bounds, or the ν given."""
    if given is not None:
        return np.full(len(gap), float(given))
    return np.clip(2.0 * gamma_shape(gap), SMALLEST_DOF, LARGEST_DOF)


def _with_common_mean(
    s: StudentTStatistics, given: float | None, limit: NDArray[np.bool_]
) -> tuple[Array, float]:
    """ν_k and α of the u of all components with E u = α, by ascent in turn.

    The two hardly interact, their cross derivative being U/n − α: a few rounds suffice.
    """
    used = s.counts > 0
    precision, excess, logs = (v / s.counts for v in (s.moments.counts, s.excess, s.logs))
    alpha = float(s.moments.counts.sum() / s.counts.sum())
    beyond = float(s.excess.sum() / s.counts.sum())  # α − 1
    for _ in range(100):
        gap = _log_ratio(np.array(beyond), np.array(alpha)) + (excess - beyond) / alpha - logs
        dof = np.where(limit, GAUSSIAN, _degrees_of_freedom(gap, given))
        weight = np.where(used, dof * s.counts, 0.0)
        weight /= weight.sum()
        before, alpha = alpha, float(weight[used] @ precision[used])
        beyond = float(weight[used] @ excess[used])
        if abs(alpha - before) <= 1e-14 * alpha:
            break
    return dof, alpha


def _log_ratio(beyond: Array, ratio: Array) -> Array:
    """log(ratio), ratio = 1 + beyond: from whichever of the two holds more digits."""
    return np.where(beyond > -0.5, np.log1p(np.maximum(beyond, -0.5)), np.log(ratio))
