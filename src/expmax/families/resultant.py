"""Free coordinates of η = κμ, a direction with its concentration: φ = asinh(κ) μ.

η itself is free too, but a concentration that grows without end would do so step by step; in φ it grows by
factors, and near κ = 0 φ is η.
"""

from __future__ import annotations

import numpy as np

from expmax.families.special import bessel_ratio
from expmax.statistics import Array

__all__ = ["from_free", "information", "slopes", "to_free"]

SERIES_FROM = 1e4  # κ/d from which the radial information is taken from its series


def to_free(natural: Array) -> Array:
    """φ of η: shape (K, d)."""
    kappa = np.linalg.norm(natural, axis=1)
    return _along(natural, _ratio(np.arcsinh(kappa), kappa))


def from_free(free: Array) -> Array:
    """η of φ: shape (K, d)."""
    length = np.linalg.norm(free, axis=1)
    with np.errstate(over="ignore"):
        return _along(free, _ratio(np.sinh(length), length))


def slopes(natural: Array) -> Array:
    """∂η/∂φ: √(1 + κ²) along the direction, κ/asinh κ across it: shape (K, d, d)."""
    kappa = np.linalg.norm(natural, axis=1)
    return _matrices(natural, np.hypot(1.0, kappa), _ratio(kappa, np.arcsinh(kappa)))


def information(natural: Array) -> Array:
    """Information of a row about φ: (1 + κ²) A'(κ) along the direction, κ A(κ)/asinh² κ across it."""
    d = natural.shape[1]
    kappa = np.linalg.norm(natural, axis=1)
    resultant = bessel_ratio(0.5 * d - 1, kappa)
    own = _ratio(resultant, kappa, 1.0 / d)
    with np.errstate(all="ignore"):
        exact = (1.0 + kappa**2) * ((1.0 - resultant) * (1.0 + resultant) - (d - 1) * own)
        series = 0.5 * (d - 1) * (1.0 - 0.5 * (d - 3) / kappa)
        along = np.where(kappa < SERIES_FROM * d, exact, series)
    return _matrices(natural, along, own * _ratio(kappa, np.arcsinh(kappa)) ** 2)


def _along(vectors: Array, factor: Array) -> Array:
    return np.asarray(vectors * factor[:, None])


def _ratio(above: Array, below: Array, at_zero: float = 1.0) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below == 0, at_zero, above / below)


def _matrices(vectors: Array, along: Array, across: Array) -> Array:
    """across · I + (along − across) μμᵀ."""
    length = np.linalg.norm(vectors, axis=1)
    unit = _along(vectors, _ratio(np.ones_like(length), length, 0.0))
    outer = unit[:, :, None] * unit[:, None, :]
    eye = np.eye(vectors.shape[1])
    return np.asarray(across[:, None, None] * eye + (along - across)[:, None, None] * outer)
