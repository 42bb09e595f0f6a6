"""The answer to a moment problem as an exponential family: T = f, A = log Z, on a fixed support."""

from __future__ import annotations

from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Parameters
from expmax.errors import DataError
from expmax.families.exponential_family import ExponentialFamily
from expmax.maxent.domains import Domain, Integrals
from expmax.maxent.moments import Moments
from expmax.statistics import Array

__all__ = ["MaximumEntropyDensity", "MaximumEntropyFamily", "MaximumEntropyPoints"]


class MaximumEntropyFamily(ExponentialFamily):
    """p(x | λ) = b(x) exp(λ·f(x) − A(λ)) on a given support, for given features f.

    Its log-partition function is a sum over points or an adaptive quadrature, its moment matching a
    moment problem. Constraints that were redundant have no coordinate. Usual parameter: `natural`, λ.

    Made by `maximum_entropy(…).family`; a component of `Mixture` like any other family.
    """

    def __init__(self, domain: Domain, names: tuple[str, ...]) -> None:
        self.domain, self.names = domain, names

    def to_fields(self) -> dict[str, Any]:
        """What a model file holds."""
        return {"domain": self.domain, "names": self.names}

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Self:
        """From a model file."""
        return cls(fields["domain"], fields["names"])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.names)}; {self.domain.words})"

    def bind(self, x: NDArray[Any]) -> Self:
        """Check the number of columns and the support."""
        if x.shape[1] != self.domain.n_columns:
            raise DataError(
                f"X has {x.shape[1]} columns, but the support of {type(self).__name__} has "
                f"{self.domain.n_columns}."
            )
        self.check(x)
        return self

    def in_support(self, x: Array) -> NDArray[np.bool_]:
        """Whether each row, and so each cell, lies in the support: shape (n, d)."""
        return np.repeat(self.domain.contains(x)[:, None], x.shape[1], axis=1)

    def sufficient_statistics(self, x: Array) -> Array:
        """f(x): shape (n, m)."""
        return self.domain.statistics(x)

    def log_base_measure(self, x: Array) -> Array:
        """log b(x): shape (n,)."""
        return self.domain.log_base(x)

    def _integrals(self, natural: Array) -> list[Integrals]:
        return [self.domain.integrals(row) for row in natural]

    def log_partition(self, natural: Array) -> Array:
        """A(λ), nats: shape (K,); +∞ where the density is not integrable."""
        return np.array([one.log_partition for one in self._integrals(natural)])

    def to_mean(self, natural: Array) -> Array:
        """E[f]: shape (K, m)."""
        return np.array([one.mean for one in self._integrals(natural)]).reshape(natural.shape)

    def fisher_information(self, natural: Array) -> Array:
        """Cov[f]: shape (K, m, m)."""
        return np.array([one.covariance for one in self._integrals(natural)])

    def expected_log_base_measure(self, natural: Array) -> Array:
        """E[log b], nats: shape (K,)."""
        return np.array([one.log_base for one in self._integrals(natural)])

    def to_natural(self, mean: Array) -> Array:
        """η with E[f] = μ, a moment problem each; NaN where no density attains the mean."""
        zero = np.zeros(mean.shape[1])
        rows = []
        for row in mean:
            known = np.isfinite(row).all()
            asked = Moments(self.names, row, row, zero)
            rows.append(self.domain.solve(asked) if known else np.full(len(row), np.nan))
        return np.array(rows).reshape(mean.shape)

    def natural(self, parameters: Parameters) -> Array:
        """λ: shape (K, m)."""
        return np.asarray(parameters["natural"], float)

    def usual(self, natural: Array) -> dict[str, Array]:
        """The parameters by name."""
        return {"natural": natural}

    def sample(
        self, parameters: Parameters, component: int, n: int, rng: np.random.Generator
    ) -> Array:
        """n draws from one component: shape (n, d)."""
        return self.domain.sample(self.natural(parameters)[component], n, rng)

    def n_parameters(self, parameters: Parameters) -> int:
        """Number of multipliers."""
        return int(self.natural(parameters).size)

    def named_parameters(self, parameters: Parameters) -> dict[str, Array]:
        """The multipliers by constraint."""
        natural = self.natural(parameters)
        return {name: natural[:, j] for j, name in enumerate(self.names)}


@final
class MaximumEntropyPoints(MaximumEntropyFamily):
    """On finitely many points: a probability mass function."""

    discrete = True
    support = "the points of its support"


@final
class MaximumEntropyDensity(MaximumEntropyFamily):
    """On an interval or box: a density."""

    support = "its interval or box"
