"""Gamma-distributed positive numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaln, polygamma

from expmax.contract import Degeneracy, Parameters
from expmax.families.base import ExponentialFamily
from expmax.families.degeneracy import collapsed
from expmax.families.solvers import gamma_shape
from expmax.statistics import Array

__all__ = ["Gamma"]


@final
@dataclass(frozen=True)
class Gamma(ExponentialFamily):
    """Gamma: T(x) = (log x, x), η = (a, −b), A(η) = log Γ(a) − a log b, h(x) = 1/x on x > 0.

    Usual parameters: `shape` a > 0 and `rate` b > 0 (mean a/b). The shape comes from log E[x] −
    E[log x], whose rounding (about eps·|log x|) leaves a relative error of 2·shape times that.

    References
    ----------
    Minka (2002), Estimating a Gamma distribution. Johnson, Kotz & Balakrishnan (1994), Continuous
    Univariate Distributions 1, ch. 17.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import Gamma
    >>> family = Gamma()
    >>> natural = family.natural({"shape": np.array([3.0]), "rate": np.array([2.0])})
    >>> family.to_mean(natural).round(4)
    array([[0.2296, 1.5   ]])
    """

    scalar = True
    support = "x > 0"

    def in_support(self, x: Array) -> NDArray[np.bool_]:
        return np.isfinite(x) & (x > 0)

    def sufficient_statistics(self, x: Array) -> Array:
        return np.hstack([np.log(x), x])

    def log_base_measure(self, x: Array) -> Array:
        return -np.log(x[:, 0])

    def log_partition(self, natural: Array) -> Array:
        shape, rate = natural[:, 0], -natural[:, 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(gammaln(shape) - shape * np.log(rate))

    def to_mean(self, natural: Array) -> Array:
        shape, rate = natural[:, 0], -natural[:, 1]
        with np.errstate(invalid="ignore"):
            return np.stack([digamma(shape) - np.log(rate), shape / rate], axis=1)

    def to_natural(self, mean: Array) -> Array:
        mean_log, mean_x = mean.T
        with np.errstate(divide="ignore", invalid="ignore"):
            shape = gamma_shape(np.log(mean_x) - mean_log)
            return np.stack([shape, -shape / mean_x], axis=1)

    def fisher_information(self, natural: Array) -> Array:
        shape, rate = natural[:, 0], -natural[:, 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            rows = [polygamma(1, shape), 1 / rate, 1 / rate, shape / rate**2]
        return np.stack(rows, axis=1).reshape(-1, 2, 2)

    def natural(self, parameters: Parameters) -> Array:
        return np.stack([parameters["shape"], -parameters["rate"]], axis=1)

    def usual(self, natural: Array) -> dict[str, Array]:
        return {"shape": natural[:, 0], "rate": -natural[:, 1]}

    def expected_log_base_measure(self, natural: Array) -> Array:
        return -self.to_mean(natural)[:, 0]

    def location(self, parameters: Parameters) -> Array:
        with np.errstate(invalid="ignore"):
            return np.asarray(parameters["shape"] / parameters["rate"])[:, None]

    def degeneracies(
        self, parameters: Parameters, statistics: Any, marginal: Parameters | None
    ) -> list[Degeneracy]:
        """Equal values take the shape to ∞: judged by 1/shape, the squared relative spread."""
        whole = None if marginal is None else 1 / marginal["shape"]
        return collapsed("squared relative spread", 1 / parameters["shape"], whole)

    def sample(
        self, parameters: Parameters, component: int, n: int, rng: np.random.Generator
    ) -> Array:
        shape, rate = parameters["shape"][component], parameters["rate"][component]
        return rng.gamma(shape, 1.0 / rate, (n, 1))

    def n_parameters(self, parameters: Parameters) -> int:
        return 2 * len(parameters["shape"])
