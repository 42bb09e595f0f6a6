"""From mean to natural parameters by safeguarded Newton steps, all components at once.

Nothing here clips or adds an epsilon: a mean on the boundary of a family gives the limit (0, ∞ or
NaN).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import digamma, polygamma

from expmax.families.special import (
    bessel_ratio,
    dirichlet_mean_log,
    log_minus_digamma,
    log_shape_information,
)
from expmax.statistics import Array

__all__ = [
    "concentration_of_resultant",
    "dirichlet_concentration",
    "gamma_shape",
    "newton",
]

EPS = float(np.finfo(float).eps)
TINY = float(np.finfo(float).tiny)
LOG_FLOAT = 745.0  # |log x| of every positive float64 is below this


def newton(
    function: Callable[[Array], tuple[Array, Array]], start: Array, lower: Array, upper: Array
) -> Array:
    """Roots of K increasing functions at once, by Newton steps kept inside a shrinking bracket.

    Parameters
    ----------
    function : callable
        u ↦ (value, slope), each of shape (K,); value < 0 left of the root and > 0 right of it.
    start, lower, upper : ndarray, shape (K,)
        First guess and bracket. A root outside the bracket gives the nearer end; NaN stays NaN.
    """
    u, lower, upper = start.copy(), lower.copy(), upper.copy()
    last = np.full(u.shape, np.inf)
    for _ in range(200):
        with np.errstate(all="ignore"):
            value, slope = function(u)
            lower, upper = np.where(value < 0, u, lower), np.where(value > 0, u, upper)
            step = -value / slope
            inside = (u + step >= lower) & (u + step <= upper)
            step = np.where(inside, step, 0.5 * (lower + upper) - u)
        step = np.where(value == 0, 0.0, step)
        size = np.abs(step)
        # below 1e-6 a Newton step that does not shrink is rounding: the root is reached
        done = (size <= 2 * EPS * (1 + np.abs(u))) | ((last < 1e-6) & (size >= last))
        u = np.where(done & (last < 1e-6), u, u + step)
        last = size
        if np.all(done | np.isnan(u)):
            break
    return u


def gamma_shape(gap: Array) -> Array:
    """a with log a − ψ(a) = gap, shape (K,): the maximum-likelihood shape of a gamma distribution.

    `gap` is log E[x] − E[log x]; 0 or less (values that do not vary) gives ∞. Newton in 1/a, in which
    the equation is nearly straight, from Minka's approximation (within 1.5 %).

    References
    ----------
    Minka (2002), Estimating a Gamma distribution, eq. 8-10.
    """
    with np.errstate(all="ignore"):
        root = np.hypot(gap - 3, np.sqrt(24 * np.abs(gap)))
        a = np.where(gap < 3, (3 - gap + root) / (12 * gap), 2 / (root + gap - 3))
        for _ in range(3):  # leaves 2e-14, relative
            a = a / (1 - a * (log_minus_digamma(a) - gap) / log_shape_information(a))
    return np.where(gap < TINY, np.inf, np.where(gap == np.inf, 0.0, a))


def inverse_digamma(y: Array) -> Array:
    """a > 0 with ψ(a) = y, as in Minka (2000), Estimating a Dirichlet distribution, app. C."""
    with np.errstate(all="ignore"):
        a = np.where(y >= -2.22, np.exp(y) + 0.5, -1 / (y - digamma(1.0)))
        for _ in range(6):
            a = a - (digamma(a) - y) / polygamma(1, a)
    return a


def dirichlet_concentration(mean_log: Array) -> Array:
    """α with ψ(α_j) − ψ(Σα) = E[log x_j], shape (K, d), by damped Newton steps.

    The Hessian is a diagonal minus a constant (Minka 2000). Steps are damped to δ/(1 + √2 λ),
    λ² = gᵀδ, as for a self-concordant objective (not proved here; tested for α from 1e-3 to 1e8),
    and full from λ < 1/4 on. Σ exp E[log x_j] ≥ 1 (rows that do not vary) gives ∞.
    """
    with np.errstate(all="ignore"):
        deficit = 1 - np.exp(mean_log).sum(axis=1, keepdims=True)
        total = 0.5 + (mean_log.shape[1] - 1) / (2 * deficit)  # from exp ψ(α) ≈ α − 1/2
        alpha = inverse_digamma(mean_log + digamma(total))
        last = np.full((len(alpha), 1), np.inf)
        for _ in range(200):
            step, decrement = _dirichlet_step(alpha, mean_log)
            full = decrement < 0.25
            step = np.where(full, step, step / (1 + np.sqrt(2.0) * decrement))
            shrink = np.max(-step / alpha, axis=1, keepdims=True)
            step = np.where(shrink > 0.9, step * 0.9 / shrink, step)
            size = np.max(np.abs(step) / alpha, axis=1, keepdims=True)
            done = (size <= 2 * EPS) | (full & (last < 1e-6) & (size >= last)) | ~np.isfinite(size)
            alpha = np.where(done, alpha, alpha + step)
            last = np.where(full, size, np.inf)
            if done.all():
                break
        return np.where(deficit <= 0, np.inf, alpha)


def _dirichlet_step(alpha: Array, mean_log: Array) -> tuple[Array, Array]:
    """Newton step and decrement λ of Σ α_j E[log x_j] − A(α): shapes (K, d) and (K, 1)."""
    total = alpha.sum(axis=1, keepdims=True)
    gradient = mean_log - dirichlet_mean_log(alpha)
    inverse, inverse_total = 1 / polygamma(1, alpha), 1 / polygamma(1, total)
    pull = (gradient * inverse).sum(axis=1, keepdims=True)
    step = inverse * (gradient + pull / (inverse_total - inverse.sum(axis=1, keepdims=True)))
    return step, np.sqrt((gradient * step).sum(axis=1, keepdims=True))


def concentration_of_resultant(order: float, length: Array) -> Array:
    """κ with I_{ν+1}(κ)/I_ν(κ) = R, shape (K,); R = 0 gives 0 and R ≥ 1 gives ∞.

    Newton on log φ against log κ, φ(R) = R(d − R²)/(1 − R²), d = 2ν + 2, which is within some
    percent of κ everywhere (Banerjee et al. 2005, JMLR 6, eq. 4.4), so the curve is almost a line
    of slope 1.
    """
    d = 2 * order + 2

    def log_guess(r: Array) -> Array:
        return np.log(r) + np.log(d - r * r) - np.log((1 - r) * (1 + r))

    with np.errstate(all="ignore"):
        target = log_guess(length)

    def excess(u: Array) -> tuple[Array, Array]:
        kappa = np.exp(u)
        ratio = bessel_ratio(order, kappa)
        slope = (1 - ratio) * (1 + ratio) - (d - 1) * ratio / kappa
        guess_slope = (
            1 / ratio - 2 * ratio / (d - ratio**2) + 2 * ratio / ((1 - ratio) * (1 + ratio))
        )
        # A'(κ) drowns in rounding where it is small, but there φ(A(κ)) ∝ κ
        return log_guess(ratio) - target, np.where(slope > 1e-8, kappa * slope * guess_slope, 1.0)

    bound = np.full(length.shape, LOG_FLOAT)
    with np.errstate(all="ignore"):
        kappa = np.exp(newton(excess, target, -bound, bound))
    return np.where(length == 0, 0.0, np.where(length >= 1, np.inf, kappa))
