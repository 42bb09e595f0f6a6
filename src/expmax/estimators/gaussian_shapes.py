"""Covariances in the shapes that scikit-learn publishes them in, one for each covariance type."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Parameters
from expmax.families.gaussian import Gaussian
from expmax.families.precision import covariance_of, precision_cholesky
from expmax.statistics import Array

__all__ = ["expand", "from_published", "published", "published_shape"]


def published_shape(covariance_type: str, k: int, d: int) -> tuple[int, ...]:
    """Shape of covariances_, precisions_ and precisions_cholesky_."""
    family = Gaussian(covariance_type)
    if family.structure == "EEE":
        return (d, d)
    if not family.diagonal:
        return (k, d, d)
    return (k,) if family.structure[1] == "I" else (k, d)


def expand(covariance_type: str, array: Array, k: int, d: int) -> Array:
    """A published array as one matrix, or one row of variances, a component."""
    if Gaussian(covariance_type).diagonal:
        return np.broadcast_to(array[:, None] if array.ndim == 1 else array, (k, d))
    if d == 1:
        return np.broadcast_to(array.reshape(-1, 1), (k, 1))
    return np.broadcast_to(array, (k, d, d))


def published(covariance_type: str, part: Parameters) -> tuple[NDArray[np.float64], ...]:
    """Covariances, precisions and the Cholesky factors of these, in their published shape."""
    family = Gaussian(covariance_type)
    k, d = part["mean"].shape
    shape = published_shape(covariance_type, k, d)
    if not family.diagonal and d > 1:
        factor = precision_cholesky(part)
        arrays = part["covariance"], factor @ factor.swapaxes(1, 2), factor
        if len(shape) == 2:
            arrays = arrays[0][0], arrays[1][0], arrays[2][0]
    else:
        variance = part["covariance"][:, 0] if len(shape) == 1 else part["covariance"]
        variance = variance[:1] if family.structure == "EEE" else variance
        arrays = variance, 1.0 / variance, 1.0 / np.sqrt(variance)
    return tuple(np.reshape(array, shape) for array in arrays)


def from_published(covariance_type: str, mean: Array, precision_factor: Array) -> Parameters:
    """Parameters of means_ and precisions_cholesky_."""
    roots = expand(covariance_type, precision_factor, *mean.shape)
    if roots.ndim == 3:
        return {"mean": mean, "covariance": covariance_of(roots), "precision_cholesky": roots}
    return {"mean": mean, "covariance": roots**-2.0}
