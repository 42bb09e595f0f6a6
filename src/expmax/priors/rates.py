"""Gamma distributions of rates: conjugate to Poisson counts and to exponential waiting times."""
# ruff: noqa: D102 -- the base class `Conjugate` documents the method

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self, final

import numpy as np
from scipy.special import digamma, gammaln, xlogy

from expmax.contract import Parameters
from expmax.families.base import ExponentialFamily, MomentStatistics
from expmax.families.negative_binomial import NegativeBinomial
from expmax.families.poisson import Poisson
from expmax.priors.conjugate import Coordinates, MomentConjugate, check_positive
from expmax.statistics import Array

__all__ = ["GammaRate"]


@final
@dataclass(frozen=True, eq=False)
class GammaRate(MomentConjugate):
    """rate ~ Gamma(a, b): density b^a rate^(a−1) exp(−b·rate)/Γ(a).

    Poisson: a + Σx, b + Σw; predictive negative binomial, of size a and mean a/b. Exponential: a + Σw,
    b + Σx; predictive Lomax (Pareto II) of shape a and scale b. Log density with respect to the rate;
    natural coordinates are log rate (Poisson) and −rate (Exponential).

    Parameters
    ----------
    family : Poisson or Exponential
    shape, rate : ndarray, shape (K,)
        a and b.

    References
    ----------
    Gelman et al. (2013), Bayesian Data Analysis, §2.6.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import Poisson
    >>> from expmax.priors import conjugate
    >>> prior = conjugate(Poisson(), shape=2.0, rate=1.0)
    >>> posterior = prior.update(Poisson().summarize(np.array([[3.0], [5.0]])))
    >>> posterior.shape, posterior.rate, posterior.mean()
    (array([10.]), array([3.]), {'rate': array([3.33333333])})
    """

    family: ExponentialFamily
    shape: Array
    rate: Array

    classical_name = "gamma"

    @classmethod
    def of(cls, family: ExponentialFamily, rows: MomentStatistics) -> Self:
        """From imaginary rows."""
        if isinstance(family, Poisson):
            return cls(family, rows.sums[:, 0], rows.counts)
        return cls(family, rows.counts + 1.0, rows.sums[:, 0])

    @property
    def _poisson(self) -> bool:
        return isinstance(self.family, Poisson)

    @property
    def n_components(self) -> int:
        return len(self.shape)

    def pseudo_statistics(self) -> MomentStatistics:
        if self._poisson:
            return MomentStatistics(self.rate, self.shape[:, None], 0.0)
        return MomentStatistics(self.shape - 1.0, self.rate[:, None], 0.0)

    def natural(self, about: Any = None) -> Array:
        return np.stack([self.shape, self.rate], axis=1)

    def with_natural(self, natural: Array, about: Any = None) -> Self:
        return replace(self, shape=natural[:, 0], rate=natural[:, 1])

    def increments(self, statistics: MomentStatistics) -> Array:
        columns = [statistics.sums[:, 0], statistics.counts]
        return np.stack(columns if self._poisson else columns[::-1], axis=1)

    def is_proper(self) -> bool:
        return bool((self.shape > 0).all() and (self.rate > 0).all())

    def check(self) -> None:
        """Refuse an improper distribution."""
        check_positive("shape", self.shape)
        check_positive("rate", self.rate)

    def log_normalizer(self) -> Array:
        return np.asarray(gammaln(self.shape) - self.shape * np.log(self.rate))

    def expected_statistics(self, about: Any = None) -> Array:
        return np.stack([digamma(self.shape) - np.log(self.rate), -self.shape / self.rate], axis=1)

    def expected_natural(self) -> Array:
        mean_log, minus_mean = np.hsplit(self.expected_statistics(), 2)
        return mean_log if self._poisson else minus_mean

    def expected_log_partition(self) -> Array:
        mean_log, minus_mean = self.expected_statistics().T
        return np.asarray(-minus_mean if self._poisson else -mean_log)

    def log_density(self, parameters: Parameters) -> Array:
        rate = parameters["rate"]
        return np.asarray(xlogy(self.shape - 1.0, rate) - self.rate * rate - self.log_normalizer())

    def mean(self) -> dict[str, Array]:
        return {"rate": self.shape / self.rate}

    def mode(self, coordinates: Coordinates = "natural") -> dict[str, Array]:
        """a/b in log rate; (a − 1)/b, or 0, in the rate."""
        by_log = coordinates == "natural" and self._poisson
        top = self.shape if by_log else np.maximum(self.shape - 1.0, 0.0)
        return {"rate": top / self.rate}

    def sample(self, component: int, n: int, rng: np.random.Generator) -> dict[str, Array]:
        return {"rate": rng.gamma(self.shape[component], 1.0 / self.rate[component], n)}

    def log_predictive(self, x: Array) -> Array:
        x = np.asarray(x, float)
        if self._poisson:
            theta = {"mean": self.shape / self.rate, "size": self.shape}
            return NegativeBinomial().log_density(theta, x)
        tail = (self.shape + 1.0) * np.log1p(x / self.rate)
        return np.where(np.isnan(x), 0.0, np.log(self.shape / self.rate) - tail)

    def sample_predictive(self, component: int, n: int, rng: np.random.Generator) -> Array:
        rate = self.sample(component, n, rng)["rate"][:, None]
        return rng.poisson(rate).astype(float) if self._poisson else rng.exponential(1.0 / rate)
