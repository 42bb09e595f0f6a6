"""The negative binomial density, arranged so that nothing large cancels.

With c ≤ m ("clustered") log p(x) is

    log[Γ(x + c)/(Γ(c) x!)] − c log(1 + m/c) − x log(1 + c/m);

with c > m (near Poisson), where c log(1 + m/c) tends to m and the rising factorial over cˣ to 1,

    log[Γ(x + c)/(Γ(c) cˣ)] − log x! + x log m − (x + c) log(1 + m/c).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import gammaln, xlogy

from expmax.contract import Parameters
from expmax.families.expectations import expected_over_counts
from expmax.families.special import log_rising_excess, log_rising_over_factorial
from expmax.statistics import Array

__all__ = ["expectation", "log_clustered", "log_mass", "log_near_poisson"]


def log_mass(mean: Array, size: Array, x: Array) -> Array:
    """log p(x_i | m_k, c_k), nats, of the counts x, shape (n,): shape (n, K)."""
    column = x[:, None]
    with np.errstate(all="ignore"):
        small = log_rising_over_factorial(size, column)
        small += log_clustered(mean, size, 1.0, column)
        large = log_rising_excess(size, column) - gammaln(column + 1)
        large += log_near_poisson(mean, size, 1.0, column)
        return np.where(size <= mean, small, large)


def log_clustered(mean: Array, size: Array, count: Any, total: Array) -> Array:
    """−N c log(1 + m/c) − Σx log(1 + c/m)."""
    return np.asarray(-count * size * np.log1p(mean / size) - total * np.log1p(size / mean))


def log_near_poisson(mean: Array, size: Array, count: Any, total: Array) -> Array:
    """Σx log m − (Σx + N c) log(1 + m/c)."""
    turn = (total + count * size) * np.log1p(mean / size)
    return np.asarray(xlogy(total, mean) - np.where(np.isinf(size), count * mean, turn))


def expectation(parameters: Parameters, k: int, function: Callable[[Array], Array]) -> Array:
    """E[f(x)] of component k; its tail is geometric, of ratio m/(m + c)."""
    own_mean, own_size = parameters["mean"][k : k + 1], parameters["size"][k : k + 1]
    mean, size = float(own_mean[0]), float(own_size[0])
    spread = float(np.sqrt(mean + mean**2 / size))
    return expected_over_counts(
        lambda x: log_mass(own_mean, own_size, x)[:, 0],
        function,
        mean,
        spread,
        mean + 45 * (1 + mean / size) + 12 * spread,
    )
