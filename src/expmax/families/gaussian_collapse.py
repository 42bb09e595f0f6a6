"""Gaussian components at which the likelihood is unbounded: which, and how that shows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Degeneracy, Parameters
from expmax.families.precision import precision_cholesky, trace_of_precision
from expmax.statistics import Array

__all__ = ["collapsed", "diagonal_degeneracies", "full_degeneracies"]

COLLAPSE = 1e9  # largest precision, in units of the one-component fit's
RESOLUTION = 1e-10  # a deviation below this share of the values themselves is rounding
HELD_UP = 1.1  # variance, in units of the penalty, below which nothing else holds a component up


def full_degeneracies(
    parameters: Parameters,
    counts: Array | None,
    marginal: Parameters | None,
    *,
    penalty: float,
    least: float,
) -> list[Degeneracy]:
    """Collapsed components of full geometry.

    Parameters
    ----------
    counts : ndarray, shape (K,), optional
        Expected rows of each component, where known.
    marginal : mapping, optional
        The one-component fit, whose covariance is the unit of size.
    penalty : float
        ε that the M-step adds to the diagonal.
    least : float
        Rows below which a small component is a spike.
    """
    factor, covariance = precision_cholesky(parameters), parameters["covariance"]
    root = None if marginal is None else precision_cholesky(marginal)
    if root is not None and np.isnan(root).any():
        reason = "the rows lie in a subspace, such as a constant column"
        return [Degeneracy(k, reason) for k in range(len(factor))]
    if not _suspect(parameters, marginal, penalty):
        return []
    if root is not None:
        factor = np.linalg.inv(root) @ factor
    bad = collapsed(factor, parameters["mean"], covariance, counts, least)
    if penalty and marginal is not None:
        bad |= _held_up(parameters, marginal, penalty)
    return [Degeneracy(int(k), _smallest_direction(covariance[k])) for k in np.flatnonzero(bad)]


def _suspect(parameters: Parameters, marginal: Parameters | None, penalty: float) -> bool:
    """Whether any component needs a closer look; one that is not finite does."""
    factor = precision_cholesky(parameters)
    scaled = factor if marginal is None else marginal["covariance"] @ factor
    if not np.einsum("kij,kij->k", scaled, factor).max() < COLLAPSE:
        return True
    if not penalty or marginal is None:
        return False
    # no variance is below 1 / tr Σ⁻¹
    return not trace_of_precision(parameters).max() * HELD_UP * penalty < 1.0


def collapsed(
    factor: Array, mean: Array, covariance: Array, counts: Array | None, least: float
) -> NDArray[np.bool_]:
    """Which components shrink without end, shape (K,), and not just lie far from the others.

    `factor` is the precision factor in units of the one-component fit. A component much smaller than the
    data is a spike where it rests on fewer than `least` rows, is flat in some direction only, or has come
    down to the resolution of its own location.
    """
    bad = ~((factor**2).sum(axis=(1, 2)) < COLLAPSE)
    for k in np.flatnonzero(bad):
        if not np.isfinite(factor[k]).all() or (counts is not None and counts[k] < least):
            continue
        singular = np.linalg.svd(factor[k], compute_uv=False)
        variances = np.linalg.eigvalsh(covariance[k])
        # flat in the data's units and in its own: neither scaled columns nor distant clusters are
        flat = min((singular[0] / singular[-1]) ** 2, variances[-1] / variances[0]) > COLLAPSE
        bad[k] = (
            flat
            or not variances[0] > 0
            or variances[0] <= (RESOLUTION * np.abs(mean[k]).max()) ** 2
        )
    return bad


def _held_up(parameters: Parameters, marginal: Parameters, penalty: float) -> NDArray[np.bool_]:
    """Whether a component varies by the penalty alone along some direction in which the data vary."""
    covariance = parameters["covariance"]
    held = np.zeros(len(covariance), bool)
    suspect = ~(trace_of_precision(parameters) * HELD_UP * penalty < 1.0)
    finite = np.isfinite(covariance).all(axis=(1, 2))
    for k in np.flatnonzero(suspect & finite):
        variances, axes = np.linalg.eigh(covariance[k])
        flat = axes[:, variances < HELD_UP * penalty]
        if flat.size:
            spread = flat.T @ marginal["covariance"][0] @ flat
            held[k] = np.linalg.eigvalsh(spread)[-1] > 2.0 * penalty
    return held


def diagonal_degeneracies(
    parameters: Parameters,
    counts: Array | None,
    marginal: Parameters | None,
    *,
    penalty: float,
    least: float,
) -> list[Degeneracy]:
    """Collapsed components of diagonal geometry, whose counts are (K, d); see `full_degeneracies`."""
    variance = parameters["covariance"]
    scale = np.ones(1) if marginal is None else marginal["covariance"]
    bad = ~(variance * COLLAPSE > scale)
    if bad.any():
        few: Any = False if counts is None else counts < least
        resolved = variance > _resolution(parameters["mean"], scale) ** 2
        bad &= ~resolved | few
    if penalty:  # held up by the penalty alone, where the data do vary
        bad |= (variance < HELD_UP * penalty) & (scale > 2.0 * penalty)
    if not bad.any():
        return []
    first = [(int(k), int(np.argmax(bad[k]))) for k in np.flatnonzero(bad.any(axis=1))]
    return [Degeneracy(k, f"the variance of column {j} is {variance[k, j]:.2g}") for k, j in first]


def _resolution(mean: Array, variance: Array) -> Array:
    """The smallest deviation that means something at a location: shape (K, d)."""
    return RESOLUTION * np.maximum(np.abs(mean), np.sqrt(variance))


def _smallest_direction(covariance: Array) -> str:
    if not np.isfinite(covariance).all():
        return "no rows support it"
    values = np.linalg.eigvalsh(covariance)
    return f"its smallest variance is {max(values[0], 0.0):.2g} along some direction"
