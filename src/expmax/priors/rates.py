"""Gamma distributions of rates: conjugate to Poisson counts, exponential times, gammas of known shape."""
# ruff: noqa: D102 -- the base class `Conjugate` documents the method

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self, final

import numpy as np
from scipy.special import betaln, digamma, gammaln, xlog1py, xlogy

from expmax.contract import Parameters
from expmax.families.exponential_family import ExponentialFamily, MomentStatistics
from expmax.families.gamma import Gamma
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
    b + Σx; predictive Lomax (Pareto II) of shape a and scale b. Gamma of known shape c: a + c Σw, b + Σx;
    predictive compound gamma, b times a beta prime of c and a. Log density with respect to the rate;
    natural coordinates are log rate (Poisson) and −rate (the others).

    Parameters
    ----------
    family : Poisson, Exponential or Gamma(shape)
    shape, rate : ndarray, shape (K,)
        a and b.

    References
    ----------
    Gelman et al. (2013), Bayesian Data Analysis, §2.6. Dubey (1970), Compound gamma, beta and F
    distributions, Metrika 16, 27-31.

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
        return cls(family, _known_shape(family) * rows.counts + 1.0, rows.sums[:, 0])

    @property
    def _poisson(self) -> bool:
        return isinstance(self.family, Poisson)

    @property
    def n_components(self) -> int:
        return len(self.shape)

    def pseudo_statistics(self) -> MomentStatistics:
        if self._poisson:
            return MomentStatistics(self.rate, self.shape[:, None], 0.0)
        counts = (self.shape - 1.0) / _known_shape(self.family)
        return MomentStatistics(counts, self.rate[:, None], 0.0)

    def natural(self, about: Any = None) -> Array:
        return np.stack([self.shape, self.rate], axis=1)

    def with_natural(self, natural: Array, about: Any = None) -> Self:
        return replace(self, shape=natural[:, 0], rate=natural[:, 1])

    def increments(self, statistics: MomentStatistics) -> Array:
        if self._poisson:
            return np.stack([statistics.sums[:, 0], statistics.counts], axis=1)
        events = _known_shape(self.family) * statistics.counts
        return np.stack([events, statistics.sums[:, 0]], axis=1)

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
        return np.asarray(-minus_mean if self._poisson else -_known_shape(self.family) * mean_log)

    def log_density(self, parameters: Parameters) -> Array:
        rate = parameters["rate"]
        return np.asarray(xlogy(self.shape - 1.0, rate) - self.rate * rate - self.log_normalizer())

    def _usual(self, rate: Array) -> dict[str, Array]:
        if isinstance(self.family, Gamma):
            return {"shape": np.full(len(rate), _known_shape(self.family)), "rate": rate}
        return {"rate": rate}

    def mean(self) -> dict[str, Array]:
        return self._usual(self.shape / self.rate)

    def mode(self, coordinates: Coordinates = "natural") -> dict[str, Array]:
        """a/b in log rate; (a − 1)/b, or 0, in the rate."""
        by_log = coordinates == "natural" and self._poisson
        top = self.shape if by_log else np.maximum(self.shape - 1.0, 0.0)
        return self._usual(top / self.rate)

    def sample(self, component: int, n: int, rng: np.random.Generator) -> dict[str, Array]:
        return self._usual(rng.gamma(self.shape[component], 1.0 / self.rate[component], n))

    def log_predictive(self, x: Array) -> Array:
        x = np.asarray(x, float)
        if self._poisson:
            theta = {"mean": self.shape / self.rate, "size": self.shape}
            return NegativeBinomial().log_density(theta, x)
        c, ratio = _known_shape(self.family), x / self.rate
        top = xlogy(c - 1.0, ratio) - xlog1py(self.shape + c, ratio)
        return np.where(np.isnan(x), 0.0, top - betaln(c, self.shape) - np.log(self.rate))

    def sample_predictive(self, component: int, n: int, rng: np.random.Generator) -> Array:
        rate = self.sample(component, n, rng)["rate"][:, None]
        if self._poisson:
            return rng.poisson(rate).astype(float)
        return rng.gamma(_known_shape(self.family), 1.0 / rate)


def _known_shape(family: ExponentialFamily) -> float:
    """The shape of a gamma distribution, of which the exponential is the one of shape 1."""
    if isinstance(family, Gamma):
        assert family.shape is not None
        return float(family.shape)
    return 1.0
