"""Overdispersed counts: Poisson counts whose rate is gamma distributed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from expmax.contract import Parameters
from expmax.errors import ParameterError
from expmax.families import negative_binomial_size as local
from expmax.families.base import Family, Memo
from expmax.families.charts import FamilyChart
from expmax.families.exponential_family import ExponentialFamily
from expmax.families.local_statistics import LocalChart, LocalStatistics
from expmax.families.negative_binomial_density import expectation, log_mass
from expmax.families.parameters import NOT_NEGATIVE, SMALLEST, intervals
from expmax.families.special import log_rising_excess
from expmax.statistics import Additive, Array

__all__ = ["NegativeBinomial"]


@dataclass(frozen=True)
class NegativeBinomial(Family):
    """Overdispersed counts: p(x) = Γ(x + c)/(Γ(c) x!) (c/(c + m))^c (m/(c + m))^x.

    Not an exponential family in the size c. Usual parameters: `mean` m ≥ 0 and `size` c > 0
    (variance m + m²/c; probability of success c/(c + m)). With the size given it is an exponential
    family: T = x, η = log(c·m/(c + m)), A(η) = −c log(1 − exp(η)/c), h = Γ(x + c)/(Γ(c) cˣ x!),
    which at c = ∞ is Poisson.

    Local statistics, if the size is estimated: at the current c an E-step sums Σ r Σ_{t<x} log(1 +
    t/c_j) at 15 Chebyshev–Lobatto nodes of log c ± 3/4, beside Σ r and Σ r x. That sum is analytic
    in log c in a strip of half-width π, so the polynomial through the nodes is exact to about
    1e-13. The mean has a closed form. Data without overdispersion take the size up to 1e9 and no
    further.

    Parameters
    ----------
    size : float, optional
        A fixed size, the same for every component; default: estimated for each.

    References
    ----------
    Johnson, Kemp & Kotz (2005), Univariate Discrete Distributions, ch. 5. Levin & Reeds (1977),
    Annals of Statistics 5(1): the size is finite exactly if the variance exceeds the mean.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import NegativeBinomial
    >>> x = np.array([[0.0], [1.0], [1.0], [4.0], [9.0]])
    >>> fit = NegativeBinomial().estimate(x)
    >>> {name: value.round(4) for name, value in fit.items()}
    {'mean': array([3.]), 'size': array([0.9846])}
    >>> NegativeBinomial(size=2.0).estimate(x)
    {'mean': array([3.]), 'size': array([2.])}
    """

    size: float | None = None

    scalar = True
    discrete = True
    accepts_prior = False  # its statistics belong to the current size
    accepts_missing = True
    support = "0, 1, 2, …"
    limits = intervals(mean=NOT_NEGATIVE, size=(SMALLEST, np.inf))  # of size ∞: Poisson

    @property
    def local_statistics(self) -> bool:  # type: ignore[override]
        return self.size is None

    def __new__(cls, size: float | None = None) -> Self:
        """As `pathlib.Path`: the kind of object follows from the argument."""
        kind = cls if size is None else NegativeBinomialOfSize
        return object.__new__(kind)  # type: ignore[return-value]

    def __post_init__(self) -> None:
        if self.size is not None and not self.size > 0:
            raise ParameterError(f"size must be positive; got {self.size}.")

    def in_support(self, x: Array) -> NDArray[np.bool_]:
        return np.asarray(np.isfinite(x) & (x >= 0) & (x == np.floor(x)))

    def log_density(self, parameters: Parameters, x: Array, memo: Memo = None) -> Array:
        values, rows, present = _distinct(x, memo)
        log_p = log_mass(parameters["mean"], parameters["size"], values)
        return self._only_inside(parameters, np.where(present[:, None], log_p[rows], 0.0))

    def statistics(
        self, parameters: Parameters, x: Array, responsibilities: Array, memo: Memo = None
    ) -> Additive:
        return local.local_statistics(parameters, *_weighted_values(x, responsibilities, memo))

    def expected_log_density(self, parameters: Parameters, statistics: Any) -> float:
        return local.expected_log_density(parameters, statistics)

    def maximize(self, statistics: Any, parameters: Parameters | None) -> Parameters:
        return local.maximize(statistics)

    def log_derivatives(
        self, parameters: Parameters, statistics: LocalStatistics
    ) -> tuple[Array, Array]:
        return local.log_derivatives(parameters, statistics)

    def chart(self, parameters: Parameters, statistics: Any) -> FamilyChart | None:
        return LocalChart(self, parameters, statistics)

    def initialize(self, x: Array, responsibilities: Array, memo: Memo = None) -> Parameters:
        """Mean and variance, then steps of ascent."""
        values, weight = _weighted_values(x, responsibilities, memo)
        with np.errstate(all="ignore"):
            weight = weight / weight.sum(axis=0)
            mean = values @ weight
            variance = np.einsum("uk,uk->k", weight, (values[:, None] - mean) ** 2)
            size = mean**2 / (variance - mean)
        # at or below the variance of a Poisson the likelihood rises with the size for ever; a
        # start short of that keeps the way back open when the responsibilities change
        large = 100 * np.fmax(mean, 1)
        size = np.where(variance > mean, np.fmin(size, large), large)
        parameters: Parameters = {"mean": mean, "size": size}
        for _ in range(3):
            statistics = self.statistics(parameters, x, responsibilities, memo)
            parameters = self.maximize(statistics, parameters)
        return parameters

    def pseudo_statistics(self, count: Array, parameters: Parameters) -> Additive:
        return local.imagined_statistics(count, parameters)

    def location(self, parameters: Parameters) -> Array:
        return np.asarray(parameters["mean"][:, None])

    def sample(
        self, parameters: Parameters, component: int, n: int, rng: np.random.Generator
    ) -> Array:
        mean, size = parameters["mean"][component], parameters["size"][component]
        rate = mean if np.isinf(size) else rng.gamma(size, mean / size, (n, 1))
        return rng.poisson(rate, (n, 1)).astype(float)

    def n_parameters(self, parameters: Parameters) -> int:
        return 2 * np.size(parameters["mean"])


@final
@dataclass(frozen=True)
class NegativeBinomialOfSize(ExponentialFamily, NegativeBinomial):
    """Of given size c: T(x) = x, η = log(c·m/(c + m)), A(η) = −c log(1 − exp(η)/c)."""

    accepts_prior = True

    @property
    def _c(self) -> float:
        assert self.size is not None
        return float(self.size)

    def sufficient_statistics(self, x: Array) -> Array:
        return x

    def log_base_measure(self, x: Array) -> Array:
        count = x[:, 0]
        return np.asarray(log_rising_excess(np.array(self._c), count) - gammaln(count + 1))

    def log_partition(self, natural: Array) -> Array:
        with np.errstate(all="ignore"):  # η ≥ log c lies outside the family
            rate = np.exp(natural[:, 0])
            return rate if np.isinf(self._c) else -self._c * np.log1p(-rate / self._c)

    def to_mean(self, natural: Array) -> Array:
        with np.errstate(all="ignore"):
            rate = np.exp(natural)
            return rate / (1 - rate / self._c)

    def to_natural(self, mean: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(mean) - np.log1p(mean / self._c)

    def fisher_information(self, natural: Array) -> Array:
        mean = self.to_mean(natural)
        return np.asarray((mean * (1 + mean / self._c))[:, :, None])

    def natural(self, parameters: Parameters) -> Array:
        return self.to_natural(parameters["mean"][:, None])

    def usual(self, natural: Array) -> dict[str, Array]:
        return {"mean": self.to_mean(natural)[:, 0], "size": np.full(len(natural), self._c)}

    def to_free(self, parameters: Parameters) -> Array:
        """log m."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.log(parameters["mean"])[:, None])

    def from_free(self, free: Array) -> dict[str, Array]:
        return {"mean": np.exp(free[:, 0]), "size": np.full(len(free), self._c)}

    def free_slopes(self, parameters: Parameters) -> Array:
        return np.asarray(1.0 / (1.0 + parameters["mean"] / self._c))[:, None, None]

    def free_information(self, parameters: Parameters) -> Array:
        mean = parameters["mean"]
        return np.asarray(mean / (1.0 + mean / self._c))[:, None, None]

    def expected_log_base_measure(self, natural: Array) -> Array:
        """E[log h(x)], summed until the tail is below rounding."""
        theta = self.usual(natural)
        each = [
            expectation(theta, k, lambda x: self.log_base_measure(x[:, None]))
            for k in range(len(natural))
        ]
        return np.array(each)

    def n_parameters(self, parameters: Parameters) -> int:
        return np.size(parameters["mean"])


def _distinct(x: Array, memo: Memo) -> tuple[Array, NDArray[np.intp], NDArray[np.bool_]]:
    """The distinct counts, the one of each row (the first where missing), and the rows present."""
    if memo is not None and "distinct" in memo:
        return memo["distinct"]
    present = ~np.isnan(x[:, 0])
    values, rows = np.unique(np.where(present, x[:, 0], 0.0), return_inverse=True)
    result = values, rows, present
    if memo is not None:
        memo["distinct"] = result
    return result


def _weighted_values(x: Array, responsibilities: Array, memo: Memo) -> tuple[Array, Array]:
    """The distinct counts, shape (m,), and the sums of weights over their rows, shape (m, K)."""
    values, rows, present = _distinct(x, memo)
    columns = (responsibilities * present[:, None]).T
    sums = [np.bincount(rows, column, minlength=len(values)) for column in columns]
    return values, np.stack(sums, axis=1)
