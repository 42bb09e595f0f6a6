"""The distribution of mixing weights: Dirichlet, or sticks broken one after another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from expmax.errors import parameter_error
from expmax.families.bernoulli import Bernoulli
from expmax.families.categorical import Categorical
from expmax.priors.probabilities import BetaProbability, DirichletProbability
from expmax.statistics import Array

__all__ = ["WeightDistribution", "WeightType"]

WeightType = Literal["dirichlet_distribution", "dirichlet_process"]


@dataclass(frozen=True, eq=False)
class WeightDistribution:
    """The distribution of K mixing weights: Dirichlet, or stick-breaking cut at K (a Dirichlet process).

    Sticks: w_k = v_k Π_{j<k} (1 − v_j) with v_k ~ Beta(1, α) and v_K = 1; they favour early components.

    References
    ----------
    Ishwaran & James (2001), J. Am. Statist. Assoc. 96, 161-173. Blei & Jordan (2006), Bayesian Anal. 1(1).
    """

    kind: WeightType
    distribution: Any  # DirichletProbability, or BetaProbability of K − 1 sticks, of one component

    @classmethod
    def prior(cls, kind: WeightType, n_components: int, concentration: Any) -> WeightDistribution:
        """Symmetric Dirichlet of parameter α, or sticks Beta(1, α)."""
        alpha = np.asarray(concentration, float)
        if not (np.isfinite(alpha).all() and (alpha > 0).all()):
            raise parameter_error("concentration", "positive and finite", concentration)
        if kind == "dirichlet_distribution":
            values = np.broadcast_to(alpha, (1, n_components))
            return cls(kind, DirichletProbability(Categorical(n_components), np.array(values)))
        ones = np.ones((1, n_components - 1))
        return cls(kind, BetaProbability(Bernoulli(), ones, alpha * ones))

    def update(self, counts: Array) -> WeightDistribution:
        """The posterior after expected counts."""
        if self.kind == "dirichlet_process":
            later = np.cumsum(counts[::-1])[::-1][1:]
            counts = np.concatenate([counts[:-1], later])
        made = self.distribution.with_natural(self.distribution.natural() + counts)
        return replace(self, distribution=made)

    def expected_log(self) -> Array:
        """E[log w_k], nats: shape (K,)."""
        logs = self.distribution.expected_statistics()[0]
        if self.kind == "dirichlet_distribution":
            return np.asarray(logs)
        hit, miss = np.split(logs, 2)
        return np.append(hit, 0.0) + np.concatenate([[0.0], np.cumsum(miss)])

    def mean(self) -> Array:
        """E[w_k]: shape (K,)."""
        share = self.distribution.mean()["probability"][0]
        if self.kind == "dirichlet_distribution":
            return np.asarray(share)
        return np.append(share, 1.0) * np.concatenate([[1.0], np.cumprod(1.0 - share)])

    def kl_divergence(self, other: WeightDistribution) -> float:
        """KL(self ‖ other), nats."""
        return float(self.distribution.kl_divergence(other.distribution).sum())

    def take(self, order: NDArray[np.intp]) -> WeightDistribution:
        """Components relabelled; sticks keep their order."""
        if self.kind == "dirichlet_process":
            return self
        values = self.distribution.concentration[:, order]
        return replace(self, distribution=replace(self.distribution, concentration=values))
