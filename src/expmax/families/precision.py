"""Covariance matrices with the factor of their inverse, which densities need."""

from __future__ import annotations

import math

import numpy as np

from expmax.contract import Parameters
from expmax.statistics import Array

__all__ = [
    "covariance_of",
    "log_determinant",
    "precision_cholesky",
    "precision_factor",
    "trace_of_precision",
    "with_precision",
]

NOT_DEFINITE = ((math.nan, math.nan), (math.nan, math.nan))


def precision_factor(matrices: Array) -> Array:
    """Upper triangular P with Σ_k⁻¹ = P_k P_kᵀ; NaN where Σ_k is not positive definite: (K, d, d)."""
    tied = matrices.strides[0] == 0
    factor = _factors(matrices[:1] if tied else matrices)
    return np.broadcast_to(factor, matrices.shape) if tied else factor


def precision_cholesky(parameters: Parameters, matrices: str = "covariance") -> Array:
    """The factor kept beside the matrices of that name, or computed: see `precision_factor`."""
    factor = parameters.get("precision_cholesky")
    return np.asarray(precision_factor(parameters[matrices]) if factor is None else factor)


def with_precision(mean: Array, covariance: Array) -> dict[str, Array]:
    """Parameters of full geometry together with the precision factor."""
    factor = precision_factor(covariance)
    return {"mean": mean, "covariance": covariance, "precision_cholesky": factor}


def log_determinant(factor: Array) -> Array:
    """log|P_k| = −½ log|Σ_k| of triangular P_k, nats: shape (K,)."""
    return np.asarray(np.log(factor.diagonal(0, 1, 2)).sum(axis=1))


def covariance_of(factor: Array) -> Array:
    """Σ_k = P_k⁻ᵀ P_k⁻¹ of upper triangular P_k; NaN where P_k is singular or not finite: (K, d, d)."""
    regular = np.isfinite(factor).all(axis=(1, 2)) & (factor.diagonal(0, 1, 2) != 0.0).all(axis=1)
    if not regular.all():
        out = np.full(factor.shape, np.nan)
        out[regular] = covariance_of(factor[regular])
        return out
    inverse = np.linalg.inv(factor)
    return np.asarray(inverse.swapaxes(1, 2) @ inverse)


def trace_of_precision(parameters: Parameters) -> Array:
    """tr Σ_k⁻¹ = |P_k|²: shape (K,)."""
    factor = precision_cholesky(parameters)
    rows = factor.reshape(len(factor), -1)
    return np.asarray(np.vecdot(rows, rows))


def _factors(matrices: Array) -> Array:
    if matrices.shape[1] == 2:
        return _factors_of_two_columns(matrices)
    try:
        return np.linalg.inv(np.linalg.cholesky(matrices)).swapaxes(1, 2)
    except np.linalg.LinAlgError:
        return np.stack([_factor_or_nan(matrix) for matrix in matrices])


def _factors_of_two_columns(matrices: Array) -> Array:
    """The same recursion written out: a third of the time that calls of LAPACK take."""
    out = []
    for (a, _), (b, c) in matrices.tolist():
        left = math.sqrt(a) if a > 0.0 else math.nan
        below = b / left
        square = c - below * below
        if square > 0.0 and max(left, square) < math.inf:
            right = math.sqrt(square)
            out.append(((1.0 / left, -below / left / right), (0.0, 1.0 / right)))
        else:
            out.append(NOT_DEFINITE)
    return np.array(out)


def _factor_or_nan(matrix: Array) -> Array:
    try:
        return np.asarray(np.linalg.inv(np.linalg.cholesky(matrix)).T)
    except np.linalg.LinAlgError:
        return np.full_like(matrix, np.nan)
