"""Symmetric Dirichlet distributions by maximum likelihood from mean logarithms."""

from __future__ import annotations

import numpy as np
from scipy.special import digamma, polygamma

from expmax.families.solvers import newton
from expmax.statistics import Array

__all__ = ["symmetric_concentration"]

LARGEST = 80.0  # of |log a|


def symmetric_concentration(size: int, mean_log: float) -> float:
    """The a > 0 with ψ(a) − ψ(size · a) = mean_log, by Newton steps in log a.

    It maximises the mean log density of Dirichlet(a, …, a) over rows of `size` shares whose logarithms have the
    mean `mean_log`, nats; mean_log >= −log(size) (shares all equal) has no such a and gives e^80.

    References
    ----------
    Minka (2000), Estimating a Dirichlet distribution.
    """

    def excess(u: Array) -> tuple[Array, Array]:
        a = np.exp(u)
        value = digamma(a) - digamma(size * a) - mean_log
        slope = a * (polygamma(1, a) - size * polygamma(1, size * a))
        return value, slope

    edge = np.full(1, LARGEST)
    return float(np.exp(newton(excess, np.zeros(1), -edge, edge))[0])
