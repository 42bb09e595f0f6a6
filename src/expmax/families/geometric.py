"""Failures before the first success."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Parameters
from expmax.families.exponential_family import ExponentialFamily
from expmax.families.parameters import SHARE, intervals
from expmax.statistics import Array

__all__ = ["Geometric"]


@final
@dataclass(frozen=True)
class Geometric(ExponentialFamily):
    """Failures before the first success: T(x) = x, η = log(1 − p), A(η) = −log(1 − exp η), h = 1.

    Usual parameter: `probability` of a success (mean (1 − p)/p; 1 on the boundary: all counts
    zero).

    References
    ----------
    Johnson, Kemp & Kotz (2005), Univariate Discrete Distributions, ch. 5.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import Geometric
    >>> Geometric().estimate(np.array([[0.0], [2.0], [7.0]]))
    {'probability': array([0.25])}
    """

    scalar = True
    discrete = True
    support = "0, 1, 2, …"
    limits = intervals(probability=SHARE)

    def in_support(self, x: Array) -> NDArray[np.bool_]:
        return np.asarray(np.isfinite(x) & (x >= 0) & (x == np.floor(x)))

    def sufficient_statistics(self, x: Array) -> Array:
        return x

    def log_partition(self, natural: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):  # η ≥ 0 lies outside the family
            return -np.log(-np.expm1(natural[:, 0]))

    def to_mean(self, natural: Array) -> Array:
        with np.errstate(divide="ignore", over="ignore"):
            return 1.0 / np.expm1(-natural)

    def to_natural(self, mean: Array) -> Array:
        with np.errstate(divide="ignore"):
            return -np.log1p(1.0 / mean)

    def fisher_information(self, natural: Array) -> Array:
        mean = self.to_mean(natural)
        return np.asarray((mean * (1 + mean))[:, :, None])

    def natural(self, parameters: Parameters) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.log1p(-parameters["probability"])[:, None])

    def usual(self, natural: Array) -> dict[str, Array]:
        return {"probability": -np.expm1(natural[:, 0])}

    def to_free(self, parameters: Parameters) -> Array:
        """Log mean, log((1 − p)/p)."""
        p = parameters["probability"]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((np.log1p(-p) - np.log(p))[:, None])

    def from_free(self, free: Array) -> dict[str, Array]:
        return {"probability": 1.0 / (1.0 + np.exp(free[:, 0]))}

    def free_slopes(self, parameters: Parameters) -> Array:
        return np.asarray(parameters["probability"][:, None, None])

    def free_information(self, parameters: Parameters) -> Array:
        return np.asarray((1.0 - parameters["probability"])[:, None, None])

    def sample(
        self, parameters: Parameters, component: int, n: int, rng: np.random.Generator
    ) -> Array:
        return rng.geometric(parameters["probability"][component], (n, 1)).astype(float) - 1.0

    def n_parameters(self, parameters: Parameters) -> int:
        return np.size(parameters["probability"])
