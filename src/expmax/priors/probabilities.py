"""Beta and Dirichlet distributions of probabilities."""
# ruff: noqa: D102 -- the base class `Conjugate` documents the method

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self, final

import numpy as np
from scipy.special import digamma, xlog1py, xlogy

from expmax.contract import Parameters
from expmax.families.bernoulli import Bernoulli
from expmax.families.binomial import Binomial
from expmax.families.exponential_family import ExponentialFamily, MomentStatistics, masked_dot
from expmax.families.multinomial import Multinomial
from expmax.families.negative_binomial import NegativeBinomial
from expmax.families.special import log_beta, log_rising_over_factorial
from expmax.priors.conjugate import Coordinates, MomentConjugate, check_positive
from expmax.statistics import Array

__all__ = ["BetaProbability", "DirichletProbability"]


@final
@dataclass(frozen=True, eq=False)
class BetaProbability(MomentConjugate):
    """p ~ Beta(a, b): density p^(a−1) (1 − p)^(b−1)/B(a, b).

    Bernoulli (each column its own): a + ones, b + zeros. Binomial: a + successes, b + failures;
    predictive beta-binomial. Geometric: a + Σw, b + Σx; predictive beta-geometric. NegativeBinomial of
    known size c, p = c/(c + mean): a + c Σw, b + Σx; predictive beta negative binomial. Log density with
    respect to p; natural coordinates are logit p (Bernoulli, Binomial) and log(1 − p).

    Parameters
    ----------
    family : Bernoulli, Binomial, Geometric or NegativeBinomial(size)
    a, b : ndarray, shape (K,), or (K, d) for Bernoulli

    References
    ----------
    Gelman et al. (2013), Bayesian Data Analysis, §2.4. Johnson, Kemp & Kotz (2005), Univariate Discrete
    Distributions, §6.2.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import Binomial
    >>> from expmax.priors import conjugate
    >>> prior = conjugate(Binomial(10), a=1.0, b=1.0)
    >>> np.exp(prior.log_predictive(np.array([[0.0], [7.0]]))).round(4)  # uniform on 0 … 10
    array([[0.0909],
           [0.0909]])
    """

    family: ExponentialFamily
    a: Array
    b: Array

    classical_name = "beta"

    @classmethod
    def of(cls, family: ExponentialFamily, rows: MomentStatistics) -> Self:
        """From imaginary rows."""
        if isinstance(family, Bernoulli):
            return cls(family, *np.hsplit(rows.sums, 2))
        if isinstance(family, Binomial):
            return cls(family, *rows.sums.T)
        return cls(family, _trials(family) * rows.counts + 1.0, rows.sums[:, 0])

    @property
    def _two_sided(self) -> bool:
        """Whether successes and failures are counted alike, and η is the logit."""
        return isinstance(self.family, Bernoulli | Binomial)

    @property
    def n_components(self) -> int:
        return len(self.a)

    def pseudo_statistics(self) -> MomentStatistics:
        if isinstance(self.family, Bernoulli):
            return MomentStatistics((self.a + self.b).mean(axis=1), self.natural(), 0.0)
        if isinstance(self.family, Binomial):
            return MomentStatistics((self.a + self.b) / self.family._n, self.natural(), 0.0)
        counts = (self.a - 1.0) / _trials(self.family)
        return MomentStatistics(counts, self.b[:, None], 0.0)

    def natural(self, about: Any = None) -> Array:
        return np.hstack([_columns(self.a), _columns(self.b)])

    def with_natural(self, natural: Array, about: Any = None) -> Self:
        a, b = np.hsplit(natural, 2)
        return replace(self, a=a.reshape(self.a.shape), b=b.reshape(self.b.shape))

    def increments(self, statistics: MomentStatistics) -> Array:
        if self._two_sided:
            return statistics.sums
        counts = _trials(self.family) * statistics.counts[:, None]
        return np.hstack([counts, statistics.sums])

    def is_proper(self) -> bool:
        return bool((self.a > 0).all() and (self.b > 0).all())

    def check(self) -> None:
        """Refuse an improper distribution."""
        check_positive("a", self.a)
        check_positive("b", self.b)

    def log_normalizer(self) -> Array:
        return _columns(log_beta(np.stack([self.a, self.b], axis=-1))).sum(axis=1)

    def expected_statistics(self, about: Any = None) -> Array:
        """E[log p], E[log(1 − p)]."""
        a, b = _columns(self.a), _columns(self.b)
        return np.hstack([digamma(a), digamma(b)]) - np.tile(digamma(a + b), 2)

    def expected_natural(self) -> Array:
        if self._two_sided:
            return self.expected_statistics()
        log_size = np.log(_trials(self.family))
        return self.expected_statistics()[:, 1:] + log_size

    def expected_log_partition(self) -> Array:
        if self._two_sided:
            return np.zeros(len(self.a))
        return np.asarray(-_trials(self.family) * self.expected_statistics()[:, 0])

    def _constant(self, statistics: MomentStatistics) -> Array:
        if self._two_sided:
            return np.zeros(len(statistics.counts))
        return np.asarray(np.log(_trials(self.family)) * statistics.sums[:, 0])

    def _probability(self, parameters: Parameters) -> Array:
        if isinstance(self.family, NegativeBinomial):
            return np.asarray(parameters["size"] / (parameters["size"] + parameters["mean"]))
        return np.asarray(parameters["probability"])

    def _usual(self, p: Array) -> dict[str, Array]:
        if not isinstance(self.family, NegativeBinomial):
            return {"probability": p}
        size = np.full(len(p), _trials(self.family))
        with np.errstate(divide="ignore"):
            return {"mean": size * (1.0 - p) / p, "size": size}

    def log_density(self, parameters: Parameters) -> Array:
        p = self._probability(parameters)
        terms = np.asarray(xlogy(self.a - 1.0, p) + xlog1py(self.b - 1.0, -p), float)
        return np.asarray(_columns(terms).sum(axis=1) - self.log_normalizer())

    def mean(self) -> dict[str, Array]:
        """a/(a + b); of a negative binomial E[mean] = c b/(a − 1)."""
        if isinstance(self.family, NegativeBinomial):
            size = np.full(len(self.a), _trials(self.family))
            with np.errstate(divide="ignore"):
                mean = np.where(self.a > 1, size * self.b / np.maximum(self.a - 1.0, 0.0), np.inf)
            return {"mean": mean, "size": size}
        return self._usual(self.a / (self.a + self.b))

    def mode(self, coordinates: Coordinates = "natural") -> dict[str, Array]:
        """a/(a + b) in the logit, (a − 1)/(a − 1 + b) in log(1 − p), (a − 1)/(a + b − 2) in p."""
        a, b = self.a, self.b
        if coordinates == "usual":
            a, b = np.maximum(a - 1.0, 0.0), np.maximum(b - 1.0, 0.0)
        elif not self._two_sided:
            a = np.maximum(a - 1.0, 0.0)
        with np.errstate(invalid="ignore"):
            return self._usual(a / (a + b))

    def sample(self, component: int, n: int, rng: np.random.Generator) -> dict[str, Array]:
        a, b = self.a[component], self.b[component]
        return self._usual(rng.beta(a, b, (n, *np.shape(a))))

    def log_predictive(self, x: Array) -> Array:
        x = np.asarray(x, float)
        a, b = self.a, self.b
        if isinstance(self.family, Bernoulli):
            share = np.hstack([a, b]) / np.tile(a + b, 2)
            return masked_dot(self.family.sufficient_statistics(x), np.log(share))
        present = ~np.isnan(x)
        x = np.where(present, x, 0.0)
        rising = log_rising_over_factorial
        if isinstance(self.family, Binomial):
            n = float(self.family._n)
            out = rising(a, x) + rising(b, n - x) - rising(a + b, np.full_like(x, n))
        else:
            c = _trials(self.family)
            out = rising(a, np.full_like(x, c)) + rising(b, x) - rising(a + b, c + x)
            out = out - rising(np.array(c + 1.0), x) + rising(np.array(c), x)
        return np.where(present, out, 0.0)

    def sample_predictive(self, component: int, n: int, rng: np.random.Generator) -> Array:
        theta = self.sample(component, n, rng)
        p = _columns(self._probability(theta))
        if isinstance(self.family, Bernoulli):
            return (rng.random(p.shape) < p).astype(float)
        if isinstance(self.family, Binomial):
            return rng.binomial(self.family._n, p).astype(float)
        return rng.negative_binomial(_trials(self.family), p).astype(float)


@final
@dataclass(frozen=True, eq=False)
class DirichletProbability(MomentConjugate):
    """p ~ Dirichlet(α): density Π p_j^(α_j − 1)/B(α), with respect to all shares but the last.

    Categorical and Multinomial: α + counts; predictive α/Σα and Dirichlet-multinomial. Natural coordinates
    are the logarithms of p up to a common constant.

    Parameters
    ----------
    family : Categorical or Multinomial
    concentration : ndarray, shape (K, C)

    References
    ----------
    Gelman et al. (2013), Bayesian Data Analysis, §3.4. Minka (2000), Estimating a Dirichlet distribution.
    """

    family: ExponentialFamily
    concentration: Array

    classical_name = "Dirichlet"

    @classmethod
    def of(cls, family: ExponentialFamily, rows: MomentStatistics) -> Self:
        """From imaginary rows."""
        return cls(family, rows.sums)

    @property
    def n_components(self) -> int:
        return len(self.concentration)

    @property
    def _multinomial(self) -> bool:
        return isinstance(self.family, Multinomial)

    def pseudo_statistics(self) -> MomentStatistics:
        per_row = self.family._n if isinstance(self.family, Multinomial) else 1
        return MomentStatistics(self.concentration.sum(axis=1) / per_row, self.concentration, 0.0)

    def natural(self, about: Any = None) -> Array:
        return self.concentration

    def with_natural(self, natural: Array, about: Any = None) -> Self:
        return replace(self, concentration=natural)

    def increments(self, statistics: MomentStatistics) -> Array:
        return statistics.sums

    def is_proper(self) -> bool:
        return bool((self.concentration > 0).all())

    def check(self) -> None:
        """Refuse an improper distribution."""
        check_positive("concentration", self.concentration)

    def log_normalizer(self) -> Array:
        return log_beta(self.concentration)

    def expected_statistics(self, about: Any = None) -> Array:
        total = self.concentration.sum(axis=1, keepdims=True)
        return np.asarray(digamma(self.concentration) - digamma(total))

    def expected_natural(self) -> Array:
        return self.expected_statistics()

    def expected_log_partition(self) -> Array:
        return np.zeros(self.n_components)

    def log_density(self, parameters: Parameters) -> Array:
        terms = xlogy(self.concentration - 1.0, parameters["probability"])
        return np.asarray(terms.sum(axis=1) - self.log_normalizer())

    def mean(self) -> dict[str, Array]:
        return {"probability": _shares(self.concentration)}

    def mode(self, coordinates: Coordinates = "natural") -> dict[str, Array]:
        """α/Σα in the logits; (α − 1)₊, normalised, in p."""
        if coordinates == "natural":
            return self.mean()
        return {"probability": _shares(np.maximum(self.concentration - 1.0, 0.0))}

    def sample(self, component: int, n: int, rng: np.random.Generator) -> dict[str, Array]:
        return {"probability": rng.dirichlet(self.concentration[component], n)}

    def log_predictive(self, x: Array) -> Array:
        x = np.asarray(x, float)
        if not self._multinomial:
            t, _, _ = self.family.moments(x)
            return masked_dot(t, np.log(_shares(self.concentration)))
        each = log_rising_over_factorial(self.concentration, x[:, None, :]).sum(axis=2)
        total = self.concentration.sum(axis=1)
        return np.asarray(each - log_rising_over_factorial(total, x.sum(axis=1)[:, None]))

    def sample_predictive(self, component: int, n: int, rng: np.random.Generator) -> Array:
        p = self.sample(component, n, rng)["probability"]
        if isinstance(self.family, Multinomial):
            return rng.multinomial(self.family._n, p).astype(float)
        drawn = (rng.random((n, 1)) > np.cumsum(p, axis=1)[:, :-1]).sum(axis=1)
        return drawn[:, None].astype(float)


def _trials(family: Any) -> float:
    """Successes that one row waits for."""
    if isinstance(family, NegativeBinomial):
        assert family.size is not None
        return float(family.size)
    return 1.0


def _shares(values: Array) -> Array:
    with np.errstate(invalid="ignore"):
        return np.asarray(values / values.sum(axis=1, keepdims=True))


def _columns(values: Array) -> Array:
    return values[:, None] if values.ndim == 1 else values
