"""Positive numbers whose logarithm is Gaussian."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Degeneracy, Parameters
from expmax.families.degeneracy import collapsed
from expmax.families.exponential_family import ExponentialFamily
from expmax.families.parameters import POSITIVE, intervals
from expmax.statistics import Array

__all__ = ["LogNormal"]


@final
@dataclass(frozen=True)
class LogNormal(ExponentialFamily):
    """Log-normal: T = (log x, log² x), η = (μ, −½)/σ², A = ½μ²/σ² + log σ, h = 1/(x√2π) on x > 0.

    Usual parameters: `mu` and `sigma` > 0, mean and standard deviation of log x (median exp μ). The
    moments are about 0, so σ² carries a rounding error of about eps·μ².

    References
    ----------
    Johnson, Kotz & Balakrishnan (1994), Continuous Univariate Distributions 1, ch. 14.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import LogNormal
    >>> LogNormal().estimate(np.exp([[1.0], [3.0]]))
    {'mu': array([2.]), 'sigma': array([1.])}
    """

    scalar = True
    support = "x > 0"
    limits = intervals(sigma=POSITIVE)

    def in_support(self, x: Array) -> NDArray[np.bool_]:
        return np.isfinite(x) & (x > 0)

    def sufficient_statistics(self, x: Array) -> Array:
        log_x = np.log(x)
        return np.hstack([log_x, log_x * log_x])

    def log_base_measure(self, x: Array) -> Array:
        return np.asarray(-0.5 * np.log(2 * np.pi) - np.log(x[:, 0]))

    def log_partition(self, natural: Array) -> Array:
        first, second = natural.T
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(-0.25 * first * (first / second) - 0.5 * np.log(-2 * second))

    def to_mean(self, natural: Array) -> Array:
        mu, sigma = self.usual(natural).values()
        return np.stack([mu, mu * mu + sigma * sigma], axis=1)

    def to_natural(self, mean: Array) -> Array:
        mu, second = mean.T
        variance = second - mu * mu
        with np.errstate(divide="ignore", invalid="ignore"):
            # rounding may take the boundary's 0 below it
            precision = np.where(variance <= 0, np.inf, 1 / variance)
            return np.stack([mu * precision, -0.5 * precision], axis=1)

    def fisher_information(self, natural: Array) -> Array:
        mu, sigma = self.usual(natural).values()
        v = sigma * sigma
        cross = 2 * mu * v
        rows = [v, cross, cross, 2 * v * v + 4 * mu * mu * v]
        return np.stack(rows, axis=1).reshape(-1, 2, 2)

    def natural(self, parameters: Parameters) -> Array:
        mu, sigma = parameters["mu"], parameters["sigma"]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.stack([mu / sigma**2, -0.5 / sigma**2], axis=1)

    def usual(self, natural: Array) -> dict[str, Array]:
        first, second = natural.T
        with np.errstate(divide="ignore", invalid="ignore"):
            return {"mu": -0.5 * first / second, "sigma": np.sqrt(-0.5 / second)}

    def to_free(self, parameters: Parameters) -> Array:
        """(μ, log σ): their information is diagonal."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.stack([parameters["mu"], np.log(parameters["sigma"])], axis=1)

    def from_free(self, free: Array) -> dict[str, Array]:
        return {"mu": free[:, 0], "sigma": np.exp(free[:, 1])}

    def free_slopes(self, parameters: Parameters) -> Array:
        mu, precision = parameters["mu"], parameters["sigma"] ** -2.0
        rows = [precision, -2.0 * mu * precision, np.zeros_like(mu), precision]
        return np.stack(rows, axis=1).reshape(-1, 2, 2)

    def free_information(self, parameters: Parameters) -> Array:
        """diag(1/σ², 2)."""
        precision = parameters["sigma"] ** -2.0
        rows = [precision, np.zeros_like(precision), np.zeros_like(precision)]
        return np.stack([*rows, np.full_like(precision, 2.0)], axis=1).reshape(-1, 2, 2)

    def expected_log_base_measure(self, natural: Array) -> Array:
        return np.asarray(-0.5 * np.log(2 * np.pi) - self.usual(natural)["mu"])

    def location(self, parameters: Parameters) -> Array:
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(parameters["mu"] + 0.5 * parameters["sigma"] ** 2)[:, None])

    def degeneracies(
        self, parameters: Parameters, statistics: Any, marginal: Parameters | None
    ) -> list[Degeneracy]:
        """A component of equal values has σ → 0."""
        whole = None if marginal is None else marginal["sigma"] ** 2
        floor = 1e-15 + 1e-14 * np.nan_to_num(parameters["mu"]) ** 2
        least = self.smallest_count(1)
        counts = None if statistics is None else statistics.counts
        return collapsed(
            "variance of log x", parameters["sigma"] ** 2, whole, counts, least=least, floor=floor
        )

    def sample(
        self, parameters: Parameters, component: int, n: int, rng: np.random.Generator
    ) -> Array:
        return rng.lognormal(parameters["mu"][component], parameters["sigma"][component], (n, 1))

    def n_parameters(self, parameters: Parameters) -> int:
        return 2 * np.size(parameters["mu"])
