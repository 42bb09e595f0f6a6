"""Rows of shares that sum to one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy.special import polygamma

from expmax.contract import Degeneracy, Parameters
from expmax.families.degeneracy import collapsed
from expmax.families.exponential_family import ExponentialFamily
from expmax.families.parameters import POSITIVE, intervals
from expmax.families.solvers import dirichlet_concentration
from expmax.families.special import dirichlet_mean_log, log_beta
from expmax.statistics import Array

__all__ = ["Dirichlet", "LogMoments"]


class LogMoments(ExponentialFamily):
    """T = log x of parts that sum to 1, h = Π 1/x: the formulas of Dirichlet, of which Beta has two parts."""

    def log_partition(self, natural: Array) -> Array:
        return log_beta(natural)

    def to_mean(self, natural: Array) -> Array:
        return dirichlet_mean_log(natural)

    def to_natural(self, mean: Array) -> Array:
        return dirichlet_concentration(mean)

    def fisher_information(self, natural: Array) -> Array:
        """diag ψ'(α) − ψ'(Σα)."""
        own = polygamma(1, natural)[:, :, None] * np.eye(natural.shape[1])
        return np.asarray(own - polygamma(1, natural.sum(axis=1))[:, None, None])

    def to_free(self, parameters: Parameters) -> Array:
        """log α."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.log(self.natural(parameters)))

    def from_free(self, free: Array) -> dict[str, Array]:
        return self.usual(np.exp(free))

    def free_slopes(self, parameters: Parameters) -> Array:
        alpha = self.natural(parameters)
        return np.asarray(alpha[:, :, None] * np.eye(alpha.shape[1]))

    def expected_log_base_measure(self, natural: Array) -> Array:
        return np.asarray(-self.to_mean(natural).sum(axis=1))


@final
@dataclass(frozen=True)
class Dirichlet(LogMoments):
    """Shares on the open simplex: T = log x, η = α, A = Σ log Γ(α_j) − log Γ(Σα_j), h = Π 1/x_j.

    Usual parameter: `concentration` α > 0, shape (K, d) (mean α/Σα). The density is that of the
    first d − 1 shares. Rows must sum to 1 within 1e-6; a share of 0 lies outside the support.

    References
    ----------
    Minka (2000), Estimating a Dirichlet distribution.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import Dirichlet
    >>> family = Dirichlet()
    >>> x = np.array([[0.2, 0.3, 0.5]])
    >>> np.exp(family.log_density({"concentration": np.ones((1, 3))}, x))
    array([[2.]])
    """

    accepts_missing = False
    support = "rows of positive shares that sum to 1"
    limits = intervals(concentration=POSITIVE)

    def in_support(self, x: Array) -> NDArray[np.bool_]:
        with np.errstate(invalid="ignore"):
            return np.asarray((x > 0) & (np.abs(x.sum(axis=1, keepdims=True) - 1) <= 1e-6))

    def sufficient_statistics(self, x: Array) -> Array:
        return np.log(x)

    def log_base_measure(self, x: Array) -> Array:
        return np.asarray(-np.log(x).sum(axis=1))

    def natural(self, parameters: Parameters) -> Array:
        return np.asarray(parameters["concentration"])

    def usual(self, natural: Array) -> dict[str, Array]:
        return {"concentration": natural}

    def location(self, parameters: Parameters) -> Array:
        alpha = parameters["concentration"]
        with np.errstate(invalid="ignore"):
            return np.asarray(alpha / alpha.sum(axis=1, keepdims=True))

    def degeneracies(
        self, parameters: Parameters, statistics: Any, marginal: Parameters | None
    ) -> list[Degeneracy]:
        """A component of equal rows has α → ∞: judged by 1/Σα."""

        def spread(of: Parameters) -> Array:
            return np.asarray(1 / of["concentration"].sum(axis=1))

        whole = None if marginal is None else spread(marginal)
        least = self.smallest_count(parameters["concentration"].shape[1])
        counts = None if statistics is None else statistics.counts
        return collapsed("1/Σα", spread(parameters), whole, counts, least=least)

    def sample(
        self, parameters: Parameters, component: int, n: int, rng: np.random.Generator
    ) -> Array:
        return rng.dirichlet(parameters["concentration"][component], n)

    def n_parameters(self, parameters: Parameters) -> int:
        return np.size(parameters["concentration"])
