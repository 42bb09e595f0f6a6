"""A member of a family with every quantity in one place: coordinates, entropy, divergences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from expmax.contract import Parameters
from expmax.errors import ParameterError
from expmax.families.base import Family
from expmax.families.coordinates import Coordinates, coordinates
from expmax.families.exponential_family import ExponentialFamily, paired_dot
from expmax.families.gaussian import Gaussian
from expmax.families.precision import precision_cholesky, with_precision
from expmax.families.product import Product
from expmax.statistics import Array

__all__ = ["Distribution", "as_components", "at"]


@dataclass(frozen=True, eq=False)
class Distribution:
    """K members of a family, with every quantity of the exponential family in one place.

    Attributes
    ----------
    natural, mean : ndarray, shape (K, dim)
        η, and μ = E[T(x)].
    log_partition, entropy, convex_conjugate : ndarray, shape (K,)
        A(η); H = A − η·μ − E[log h], nats; A*(μ) = η·μ − A(η) = −H − E[log h].
    fisher_information : ndarray, shape (K, dim, dim)
        Cov[T(x)], which is ∇²A(η) where η is free (singular for the over-complete forms of Bernoulli,
        Binomial, Categorical and Multinomial).

    References
    ----------
    Barndorff-Nielsen (1978), Information and Exponential Families, ch. 8-9. Amari & Nagaoka (2000),
    Methods of Information Geometry, ch. 3.

    Examples
    --------
    >>> from expmax import Gamma
    >>> one, other = Gamma().at(shape=3.0, rate=2.0), Gamma().at(shape=2.0, rate=1.0)
    >>> one.natural
    array([[ 3., -2.]])
    >>> one.kl_divergence(other).round(4), one.bregman_divergence(other).round(4)
    (array([0.1159]), array([0.1159]))
    """

    family: Family
    parameters: Parameters

    @property
    def _formulas(self) -> Coordinates:
        return coordinates(self.family, self.parameters)

    @property
    def natural(self) -> Array:
        """η: shape (K, dim)."""
        return self._formulas.natural(self.parameters)

    @property
    def mean(self) -> Array:
        """μ = E[T(x)]: shape (K, dim)."""
        return self._formulas.to_mean(self.natural)

    @property
    def log_partition(self) -> Array:
        """A(η), nats: shape (K,)."""
        return self._formulas.log_partition(self.natural)

    @property
    def fisher_information(self) -> Array:
        """Cov[T(x)], the information of one row about η: shape (K, dim, dim)."""
        return self._formulas.fisher_information(self.natural)

    @property
    def entropy(self) -> Array:
        """H, nats: shape (K,)."""
        return _entropy(self.family, self.parameters)

    @property
    def convex_conjugate(self) -> Array:
        """A*(μ) = η·μ − A(η), nats: shape (K,)."""
        natural = self.natural
        return paired_dot(natural, self._formulas.to_mean(natural)) - self.log_partition

    def kl_divergence(self, other: Distribution) -> Array:
        """KL(self ‖ other), nats, component by component: shape (K,)."""
        return _kl(self.family, self.parameters, other.parameters)

    def bregman_divergence(self, other: Distribution) -> Array:
        """A*(μ) − A*(μ') − η'·(μ − μ'), nats: the same number as `kl_divergence`, from mean parameters."""
        gap = self.convex_conjugate - other.convex_conjugate
        eta = other.natural
        return gap - paired_dot(eta, self.mean) + paired_dot(eta, other.mean)

    def log_density(self, x: Array) -> Array:
        """log p(x_i), nats: shape (n, K)."""
        return self.family.log_density(self.parameters, np.asarray(x, float))

    def sample(self, n: int, rng: np.random.Generator, component: int = 0) -> Array:
        """n rows of one component: shape (n, d)."""
        return self.family.sample(self.parameters, component, n, rng)


def at(family: Family, parameters: Parameters | None, named: Mapping[str, Any]) -> Distribution:
    """The members of a family with these parameters; numbers without a component axis are one component."""
    given = dict(parameters or {}) | dict(named)
    return Distribution(family, as_components(family, given))


def as_components(family: Family, given: Parameters) -> dict[str, Any]:
    """Usual parameters as arrays with the component first; numbers without one are one component."""
    if isinstance(family, Product):
        pairs = zip(family.labels, family.families, strict=True)
        return {label: as_components(factor, given[label]) for label, factor in pairs}
    arrays = {name: np.asarray(value, float) for name, value in given.items()}
    if isinstance(family, Gaussian):
        mean, covariance = arrays["mean"], arrays["covariance"]
        mean = np.atleast_2d(mean)
        rank = 2 if family.diagonal else 3
        covariance = covariance.reshape((1,) * (rank - covariance.ndim) + covariance.shape)
        shape = mean.shape if rank == 2 else (*mean.shape, mean.shape[1])
        covariance = np.broadcast_to(covariance, shape)
        return (
            {"mean": mean, "covariance": covariance}
            if rank == 2
            else with_precision(mean, np.array(covariance))
        )
    return {
        name: value[None] if value.ndim == 0 or _is_vector(family, name, value) else value
        for name, value in arrays.items()
    }


def _is_vector(family: Family, name: str, value: Array) -> bool:
    """Whether a one-dimensional array is one component's vector rather than K components' numbers."""
    if value.ndim != 1:
        return False
    kind = type(family).__name__
    wide = {
        "Bernoulli": ("probability",),
        "Categorical": ("probability",),
        "Multinomial": ("probability",),
        "Dirichlet": ("concentration",),
        "VonMisesFisher": ("mean",),
        "StudentT": ("mean",),
    }
    return name in wide.get(kind, ())


def _entropy(family: Family, parameters: Parameters) -> Array:
    if isinstance(family, Product):
        pairs = zip(family.families, family.labels, strict=True)
        return np.sum([_entropy(f, parameters[label]) for f, label in pairs], axis=0)
    if isinstance(family, ExponentialFamily):
        return family.entropy(family.natural(parameters))
    own: Any = getattr(family, "entropy", None)
    if own is None:
        raise ParameterError(f"{family!r} has no entropy in closed form; average its log_density.")
    return own(parameters)


def _kl(family: Family, one: Parameters, other: Parameters) -> Array:
    if isinstance(family, Product):
        pairs = zip(family.families, family.labels, strict=True)
        return np.sum([_kl(f, one[label], other[label]) for f, label in pairs], axis=0)
    if isinstance(family, ExponentialFamily):
        return family.kl_divergence(family.natural(one), family.natural(other))
    if not isinstance(family, Gaussian):
        raise ParameterError(f"{family!r} has no KL divergence in closed form; sample it.")
    shift = other["mean"] - one["mean"]
    if family.diagonal:
        ratio = one["covariance"] / other["covariance"]
        square = shift**2 / other["covariance"]
        return 0.5 * (ratio - 1.0 - np.log(ratio) + square).sum(axis=1)
    factor = precision_cholesky(other)
    whitened = factor.swapaxes(1, 2) @ np.linalg.cholesky(one["covariance"])
    square = (np.einsum("kij,ki->kj", factor, shift) ** 2).sum(axis=1)
    log_det = 2.0 * np.log(np.abs(np.diagonal(whitened, axis1=1, axis2=2))).sum(axis=1)
    return np.asarray(0.5 * ((whitened**2).sum(axis=(1, 2)) - shift.shape[1] - log_det + square))
