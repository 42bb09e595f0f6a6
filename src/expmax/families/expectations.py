"""Expectations over the counts of one distribution."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from expmax.families.special import log_choose
from expmax.statistics import Array

__all__ = [
    "expected_over_binomial",
    "expected_over_counts",
]


def expected_over_counts(
    log_mass: Callable[[Array], Array],
    function: Callable[[Array], Array],
    center: float,
    spread: float,
    top: float,
) -> Array:
    """Σ_x p(x) f(x) over the counts x ≤ top of one distribution.

    Every count where there are few; else every count to 65,536 and beyond it, where p and f are
    smooth on the scale of 1, the integral over log x by Gauss-Legendre panels narrower than the
    distribution.

    Parameters
    ----------
    log_mass, function : callable
        x of shape (m,) ↦ log p(x), shape (m,), and f(x), shape (m, ...).
    center, spread : float
        Mean and standard deviation: nothing is expected more than 60 spreads below the mean.
    top : float
        Nothing is expected above.
    """
    bottom, top = np.floor(max(0.0, center - 60 * spread - 60)), np.ceil(top)
    split = top if top - bottom <= 1 << 17 else max(bottom, float(1 << 16))
    x = np.arange(bottom, split + 1)
    total = np.tensordot(np.exp(log_mass(x)), function(x), axes=1)
    if split < top:
        low, high = np.log(split + 0.5), np.log(top + 0.5)
        n_panels = int(np.ceil((high - low) / min(0.25, 0.5 * spread / center)))
        edges = np.linspace(low, high, n_panels + 1)
        node, weight = np.polynomial.legendre.leggauss(16)
        half = 0.5 * np.diff(edges)[:, None]
        x = np.exp(edges[:-1, None] + half * (1 + node)).ravel()
        mass = np.exp(log_mass(x)) * x * (half * weight).ravel()
        total = total + np.tensordot(mass, function(x), axes=1)
    return np.asarray(total)


def expected_over_binomial(
    n: int, log_hit: float, log_miss: float, function: Callable[[Array], Array]
) -> Array:
    """E[f(x)] of the successes x in n trials, from log p and log(1 − p)."""

    def log_mass(x: Array) -> Array:
        with np.errstate(invalid="ignore"):
            hits, misses = (
                np.where(x == 0, 0.0, x * log_hit),
                np.where(x == n, 0.0, (n - x) * log_miss),
            )
        return np.asarray(log_choose(n, x) + hits + misses)

    mean = n * np.exp(log_hit)
    spread = float(np.sqrt(mean * np.exp(log_miss)))
    top = min(float(n), mean + 60 * spread + 60)
    return expected_over_counts(log_mass, function, mean, spread, top)
