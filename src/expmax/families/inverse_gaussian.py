"""Inverse Gaussian (Wald) first-passage times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Degeneracy, Parameters
from expmax.families.degeneracy import collapsed
from expmax.families.exponential_family import ExponentialFamily
from expmax.families.parameters import POSITIVE, intervals
from expmax.families.special import scaled_exp1
from expmax.statistics import Array

__all__ = ["InverseGaussian"]


@final
@dataclass(frozen=True)
class InverseGaussian(ExponentialFamily):
    """Inverse Gaussian: T = (x, 1/x), η = −½(λ/m², λ), A = −λ/m − ½ log λ, h = (2πx³)^−½ on x > 0.

    Usual parameters: `mean` m > 0 and `shape` λ > 0 (variance m³/λ).

    References
    ----------
    Tweedie (1957), Annals of Mathematical Statistics 28(2). Johnson, Kotz & Balakrishnan (1994),
    Continuous Univariate Distributions 1, ch. 15.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import InverseGaussian
    >>> InverseGaussian().estimate(np.array([[1.0], [2.0], [2.0], [5.0]]))
    {'mean': array([2.5]), 'shape': array([6.66666667])}
    """

    scalar = True
    support = "x > 0"
    limits = intervals(mean=POSITIVE, shape=POSITIVE)

    def in_support(self, x: Array) -> NDArray[np.bool_]:
        return np.isfinite(x) & (x > 0)

    def sufficient_statistics(self, x: Array) -> Array:
        return np.hstack([x, 1.0 / x])

    def log_base_measure(self, x: Array) -> Array:
        return np.asarray(-0.5 * np.log(2 * np.pi) - 1.5 * np.log(x[:, 0]))

    def log_partition(self, natural: Array) -> Array:
        first, second = -2.0 * natural.T
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(-np.sqrt(first) * np.sqrt(second) - 0.5 * np.log(second))

    def to_mean(self, natural: Array) -> Array:
        first, second = -2.0 * natural.T
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.sqrt(second / first)
            return np.stack([mean, 1 / mean + 1 / second], axis=1)

    def to_natural(self, mean: Array) -> Array:
        m, mean_inverse = mean.T
        with np.errstate(divide="ignore", invalid="ignore"):
            excess = mean_inverse - 1 / m  # 1/λ; rounding may take the boundary's 0 below it
            shape = np.where(excess <= 0, np.inf, 1 / excess)
            return -0.5 * np.stack([shape / m**2, shape], axis=1)

    def fisher_information(self, natural: Array) -> Array:
        """Var x = m³/λ, Cov(x, 1/x) = −m/λ, Var 1/x = 1/(mλ) + 2/λ²."""
        m, shape = self.usual(natural).values()
        with np.errstate(divide="ignore", invalid="ignore"):
            cross = -m / shape
            rows = [m**3 / shape, cross, cross, 1 / (m * shape) + 2 / shape**2]
        return np.stack(rows, axis=1).reshape(-1, 2, 2)

    def natural(self, parameters: Parameters) -> Array:
        m, shape = parameters["mean"], parameters["shape"]
        return -0.5 * np.stack([shape / m**2, shape], axis=1)

    def usual(self, natural: Array) -> dict[str, Array]:
        with np.errstate(divide="ignore", invalid="ignore"):
            return {"mean": np.sqrt(natural[:, 1] / natural[:, 0]), "shape": -2.0 * natural[:, 1]}

    def to_free(self, parameters: Parameters) -> Array:
        """(log m, log λ): their information is diagonal."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(np.stack([parameters["mean"], parameters["shape"]], axis=1))

    def from_free(self, free: Array) -> dict[str, Array]:
        return {"mean": np.exp(free[:, 0]), "shape": np.exp(free[:, 1])}

    def free_slopes(self, parameters: Parameters) -> Array:
        first, second = self.natural(parameters).T
        rows = [-2.0 * first, first, np.zeros_like(second), second]
        return np.stack(rows, axis=1).reshape(-1, 2, 2)

    def free_information(self, parameters: Parameters) -> Array:
        """diag(λ/m, ½)."""
        ratio = parameters["shape"] / parameters["mean"]
        rows = [ratio, np.zeros_like(ratio), np.zeros_like(ratio), np.full_like(ratio, 0.5)]
        return np.stack(rows, axis=1).reshape(-1, 2, 2)

    def expected_log_base_measure(self, natural: Array) -> Array:
        """E[log x] = log m − e^z E₁(z) with z = 2λ/m."""
        m, shape = self.usual(natural).values()
        mean_log = np.log(m) - scaled_exp1(2 * shape / m)
        return np.asarray(-0.5 * np.log(2 * np.pi) - 1.5 * mean_log)

    def location(self, parameters: Parameters) -> Array:
        return np.asarray(parameters["mean"][:, None])

    def degeneracies(
        self, parameters: Parameters, statistics: Any, marginal: Parameters | None
    ) -> list[Degeneracy]:
        """Equal values take λ to ∞: judged by m/λ, the squared relative spread."""

        def spread(of: Parameters) -> Array:
            return np.where(np.isinf(of["shape"]), 0.0, of["mean"] / of["shape"])

        whole = None if marginal is None else spread(marginal)
        least = self.smallest_count(1)
        counts = None if statistics is None else statistics.counts
        return collapsed("squared relative spread", spread(parameters), whole, counts, least=least)

    def sample(
        self, parameters: Parameters, component: int, n: int, rng: np.random.Generator
    ) -> Array:
        return rng.wald(parameters["mean"][component], parameters["shape"][component], (n, 1))

    def n_parameters(self, parameters: Parameters) -> int:
        return 2 * np.size(parameters["mean"])
