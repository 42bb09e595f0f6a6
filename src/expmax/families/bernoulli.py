"""Vectors of independent yes/no answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Parameters
from expmax.families.charts import FamilyChart, LogitChart
from expmax.families.exponential_family import ExponentialFamily
from expmax.families.parameters import SHARE, intervals
from expmax.statistics import Array

__all__ = ["Bernoulli"]


@final
@dataclass(frozen=True)
class Bernoulli(ExponentialFamily):
    """Independent columns of 0/1: T(x) = (x, 1 − x), η = (log p, log(1 − p)) (over-complete), A = 0.

    Usual parameter: `probability` of a 1, shape (K, d); 0 and 1 are allowed (boundary). A missing cell has
    T = 0, so the other columns of its row still count.

    References
    ----------
    Bishop (2006), Pattern Recognition and Machine Learning, §9.3.3.
    """

    discrete = True
    counts = True
    support = "0 or 1"
    limits = intervals(probability=SHARE)

    def in_support(self, x: Array) -> NDArray[np.bool_]:
        return (x == 0) | (x == 1)

    def sufficient_statistics(self, x: Array) -> Array:
        return np.nan_to_num(np.hstack([x, 1.0 - x]), nan=0.0)

    def _moments_with_missing(
        self, x: Array, missing: NDArray[np.bool_]
    ) -> tuple[Array, Array, Array | None]:
        return self.sufficient_statistics(x), np.zeros(len(x)), None

    def log_partition(self, natural: Array) -> Array:
        return np.zeros(len(natural))

    def to_mean(self, natural: Array) -> Array:
        return np.exp(natural)

    def to_natural(self, mean: Array) -> Array:
        """Each column's pair (m₁, m₀) is a count of ones and zeros: log of its share of the two."""
        ones, zeros = np.hsplit(mean, 2)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(np.hstack([ones, zeros]) / np.hstack([ones + zeros, ones + zeros]))

    def fisher_information(self, natural: Array) -> Array:
        """Cov[T], singular along (1, 1) of each column: T is over-complete."""
        d = natural.shape[1] // 2
        p, q = np.hsplit(np.exp(natural), 2)
        return np.asarray(np.tile(np.eye(d), (2, 2)) * np.hstack([p * q, p * q])[:, :, None]) * (
            np.kron(np.array([[1.0, -1.0], [-1.0, 1.0]]), np.ones((d, d)))
        )

    def natural(self, parameters: Parameters) -> Array:
        p = parameters["probability"]
        with np.errstate(divide="ignore"):
            return np.hstack([np.log(p), np.log1p(-p)])

    def usual(self, natural: Array) -> dict[str, Array]:
        return {"probability": np.exp(np.hsplit(natural, 2)[0])}

    def location(self, parameters: Parameters) -> Array:
        return parameters["probability"]

    def chart(self, parameters: Parameters, statistics: Any) -> FamilyChart:
        return LogitChart(self, parameters, statistics)

    def sample(
        self, parameters: Parameters, component: int, n: int, rng: np.random.Generator
    ) -> Array:
        p = parameters["probability"][component]
        return (rng.random((n, len(p))) < p).astype(float)

    def n_parameters(self, parameters: Parameters) -> int:
        return parameters["probability"].size
