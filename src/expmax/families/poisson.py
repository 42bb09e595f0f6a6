"""Poisson counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from expmax.contract import Parameters
from expmax.families.exponential_family import ExponentialFamily
from expmax.families.parameters import NOT_NEGATIVE, intervals
from expmax.statistics import Array

__all__ = ["Poisson"]


@final
@dataclass(frozen=True)
class Poisson(ExponentialFamily):
    """Poisson counts: T(x) = x, η = log rate, A(η) = exp η, h(x) = 1/x!.

    Usual parameter: `rate` > 0 (0 on the boundary: all counts zero).

    References
    ----------
    Johnson, Kemp & Kotz (2005), Univariate Discrete Distributions, ch. 4.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import Poisson
    >>> family = Poisson()
    >>> natural = family.natural({"rate": np.array([2.0])})
    >>> family.to_mean(natural)
    array([[2.]])
    """

    scalar = True
    discrete = True
    counts = True
    support = "0, 1, 2, …"
    limits = intervals(rate=NOT_NEGATIVE)

    def in_support(self, x: Array) -> NDArray[np.bool_]:
        return np.isfinite(x) & (x >= 0) & (x == np.floor(x))

    def sufficient_statistics(self, x: Array) -> Array:
        return x

    def log_base_measure(self, x: Array) -> Array:
        return -gammaln(x[:, 0] + 1)

    def log_partition(self, natural: Array) -> Array:
        return np.exp(natural[:, 0])

    def to_mean(self, natural: Array) -> Array:
        return np.exp(natural)

    def to_natural(self, mean: Array) -> Array:
        with np.errstate(divide="ignore"):
            return np.log(mean)

    def fisher_information(self, natural: Array) -> Array:
        return np.exp(natural)[:, :, None]

    def natural(self, parameters: Parameters) -> Array:
        return self.to_natural(parameters["rate"][:, None])

    def usual(self, natural: Array) -> dict[str, Array]:
        return {"rate": np.exp(natural[:, 0])}

    def expected_log_base_measure(self, natural: Array) -> Array:
        """−E[log x!], summed until the tail is below rounding."""
        rate = np.exp(natural[:, 0])
        top = int(np.max(rate + 12 * np.sqrt(rate) + 40, initial=0))
        x = np.arange(top + 1.0)
        log_mass = np.log(np.maximum(rate, 5e-324))[:, None] * x - rate[:, None] - gammaln(x + 1)
        return -(np.exp(log_mass) @ gammaln(x + 1))

    def sample(
        self, parameters: Parameters, component: int, n: int, rng: np.random.Generator
    ) -> Array:
        return rng.poisson(parameters["rate"][component], (n, 1)).astype(float)

    def n_parameters(self, parameters: Parameters) -> int:
        return parameters["rate"].size
