"""What a conjugate distribution of parameters is: the interface, and what follows from its formulas.

A conjugate distribution is itself an exponential family, p(θ) = exp(λ·s(θ) − log Z(λ)), and the data add to λ:
the posterior is λ + (what the statistics say). So marginal likelihood, divergence and expected log-density all
follow from log Z and E[s] = ∇ log Z.

Prior and posterior are objects of one class; each holds K components, arrays with the component first.
"""
# ruff: noqa: D102 -- the base class `Conjugate` documents the method

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Parameters
from expmax.errors import ParameterError, parameter_error
from expmax.families.base import Family
from expmax.families.exponential_family import ExponentialFamily, MomentStatistics, masked_dot
from expmax.families.summary import Summary
from expmax.statistics import Array

__all__ = ["Conjugate", "Coordinates", "MomentConjugate", "check_positive", "statistics_of"]

Coordinates = Literal["natural", "usual"]


class Conjugate(ABC):
    """A conjugate distribution of the parameters of K components: a prior, or a posterior.

    `update` adds statistics, so one batch is many batches. Coordinates: `mode("natural")` is where the
    density of the natural parameters is highest, which is the maximum-likelihood fit to the imaginary rows
    (what `Mixture(prior=…)` climbs to); `mode("usual")` that of the parameters in which `log_density` is
    taken. The mean, E[θ], is of the usual parameters.

    References
    ----------
    Diaconis & Ylvisaker (1979), Ann. Statist. 7(2), 269-281. Bernardo & Smith (2000), Bayesian Theory,
    §5.2 and app. A. Gelman et al. (2013), Bayesian Data Analysis, 3rd ed., ch. 2-3.
    """

    classical_name: ClassVar[str] = ""
    family: Family

    # -- as an exponential family of its own -------------------------------------------------------
    @abstractmethod
    def natural(self, about: Any = None) -> Array:
        """λ, shape (B, m): B = K, or 1 where the components share parameters."""

    @abstractmethod
    def with_natural(self, natural: Array, about: Any = None) -> Self:
        """The distribution of λ."""

    @abstractmethod
    def expected_statistics(self, about: Any = None) -> Array:
        """E[s(θ)] = ∇ log Z(λ): shape (B, m)."""

    @abstractmethod
    def log_normalizer(self) -> Array:
        """log Z(λ), nats, up to a constant of the dimension: shape (B,)."""

    @abstractmethod
    def update(self, data: Any) -> Self:
        """The posterior after more data.

        Parameters
        ----------
        data : Summary or Additive
            A summary of rows (one component), or the family's statistics of K components.
        """

    @abstractmethod
    def is_proper(self) -> bool:
        """Whether the density integrates to one."""

    def reference(self) -> Any:
        """Where natural coordinates are best taken from: nothing, or the means."""
        return None

    def sizes(self, about: Any = None) -> Array:
        """A positive size of each natural coordinate, for differences: shape (B, m)."""
        return np.abs(self.natural(about))

    # -- the distribution of θ ---------------------------------------------------------------------
    @abstractmethod
    def log_density(self, parameters: Parameters) -> Array:
        """Log density at usual parameters, normalised, nats: shape (B,)."""

    @abstractmethod
    def mean(self) -> dict[str, Any]:
        """E[θ] of the usual parameters; infinite where the expectation does not exist."""

    @abstractmethod
    def mode(self, coordinates: Coordinates = "natural") -> dict[str, Any]:
        """Usual parameters at the highest density, in natural or in usual coordinates."""

    @abstractmethod
    def sample(self, component: int, n: int, rng: np.random.Generator) -> dict[str, Any]:
        """n draws of one component's parameters, as n components."""

    @abstractmethod
    def kl_divergence(self, other: Self) -> Array:
        """KL(self ‖ other), nats: shape (B,)."""

    # -- what it says of rows ----------------------------------------------------------------------
    @abstractmethod
    def log_predictive(self, x: Array) -> Array:
        """log ∫ p(x_i | θ) p(θ) dθ, nats, of each row alone: shape (n, K)."""

    @abstractmethod
    def sample_predictive(self, component: int, n: int, rng: np.random.Generator) -> Array:
        """n rows, each from its own draw of θ: shape (n, d)."""

    @abstractmethod
    def log_marginal_likelihood(self, data: Any) -> Array:
        """log ∫ p(data | θ) p(θ) dθ, nats: shape (B,)."""

    @abstractmethod
    def expected_log_density(self, x: Array, memo: Any = None) -> Array:
        """E[log p(x_i | θ_k)], nats: shape (n, K)."""

    @abstractmethod
    def expected_log_likelihood(self, statistics: Any) -> float:
        """Σ_k E[Σ_i r_ik log p(x_i | θ_k)], nats, from the statistics alone."""

    # -- components --------------------------------------------------------------------------------
    @property
    @abstractmethod
    def n_components(self) -> int:
        """K."""

    def take(self, order: NDArray[np.intp]) -> Self:
        """The components of an index array, in its order; what is shared stays."""
        k = self.n_components
        changes = {
            part.name: value[order]
            for part in fields(self)  # type: ignore[arg-type]
            if isinstance(value := getattr(self, part.name), np.ndarray) and len(value) == k
        }
        return replace(self, **changes)  # type: ignore[type-var]

    def leaves(self) -> Iterator[Conjugate]:
        """The distributions that this one is the product of."""
        yield self

    def with_leaves(self, leaves: Iterator[Any]) -> Self:
        """The same product of others."""
        return next(leaves)

    def __post_init__(self) -> None:
        for part in fields(self):  # type: ignore[arg-type]
            if part.name != "family":
                value = np.asarray(getattr(self, part.name), float)
                object.__setattr__(self, part.name, value)


def statistics_of(family: Family, data: Any) -> Any:
    """The statistics behind a summary, or the statistics themselves."""
    if not isinstance(data, Summary):
        return data
    if type(data.family) is not type(family):
        raise ParameterError(
            f"data must be a summary of {family!r}; got one of {data.family!r}. Summarize with the "
            "prior's own family."
        )
    return data.statistics


def check_positive(name: str, value: Array, remedy: str = "") -> None:
    """Refuse hyperparameters that are not positive numbers."""
    array = np.asarray(value, float)
    if not (np.isfinite(array).all() and (array > 0).all()):
        raise parameter_error(name, "positive and finite", value, remedy)


class MomentConjugate(Conjugate):
    """Of an exponential family whose hyperparameters are sums of its statistics."""

    family: ExponentialFamily

    @abstractmethod
    def increments(self, statistics: MomentStatistics) -> Array:
        """What statistics add to λ: shape (K, m)."""

    @abstractmethod
    def expected_natural(self) -> Array:
        """E[η]: shape (K, dim)."""

    @abstractmethod
    def expected_log_partition(self) -> Array:
        """E[A(η)], nats: shape (K,)."""

    @abstractmethod
    def pseudo_statistics(self) -> MomentStatistics:
        """The imaginary rows (ν, ν χ) of the density exp(ν(η·χ − A(η))) of η."""

    def update(self, data: Any) -> Self:
        statistics = statistics_of(self.family, data)
        return self.with_natural(self.natural() + self.increments(statistics))

    def log_marginal_likelihood(self, data: Any) -> Array:
        statistics = statistics_of(self.family, data)
        gain = self.update(statistics).log_normalizer() - self.log_normalizer()
        return np.asarray(gain + statistics.log_base + self._constant(statistics))

    def _constant(self, statistics: MomentStatistics) -> Array:
        """What of η·T is known beforehand."""
        return np.zeros(len(statistics.counts))

    def kl_divergence(self, other: Self) -> Array:
        gap = ((self.natural() - other.natural()) * self.expected_statistics()).sum(axis=1)
        return np.asarray(gap - self.log_normalizer() + other.log_normalizer())

    def expected_log_density(self, x: Array, memo: Any = None) -> Array:
        t, log_base, present = self.family.moments(x, memo)
        out = masked_dot(t, self.expected_natural()) + log_base[:, None]
        partition = self.expected_log_partition()
        return out - (partition if present is None else present[:, None] * partition)

    def expected_log_likelihood(self, statistics: MomentStatistics) -> float:
        linear = float((self.expected_natural() * statistics.sums).sum())
        partition = float(statistics.counts @ self.expected_log_partition())
        return linear - partition + statistics.log_base
