"""Exponential waiting times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Parameters
from expmax.families.exponential_family import ExponentialFamily
from expmax.families.parameters import POSITIVE, intervals
from expmax.statistics import Array

__all__ = ["Exponential"]


@final
@dataclass(frozen=True)
class Exponential(ExponentialFamily):
    """Exponential waiting times: T(x) = x, η = −rate, A(η) = −log(−η), h(x) = 1 on x ≥ 0.

    Usual parameter: `rate` > 0 (mean 1/rate).

    References
    ----------
    Johnson, Kotz & Balakrishnan (1994), Continuous Univariate Distributions 1, ch. 19.
    """

    scalar = True
    support = "x ≥ 0"
    limits = intervals(rate=POSITIVE)

    def in_support(self, x: Array) -> NDArray[np.bool_]:
        return np.isfinite(x) & (x >= 0)

    def sufficient_statistics(self, x: Array) -> Array:
        return x

    def log_partition(self, natural: Array) -> Array:
        return -np.log(-natural[:, 0])

    def to_mean(self, natural: Array) -> Array:
        return -1.0 / natural

    def to_natural(self, mean: Array) -> Array:
        with np.errstate(divide="ignore"):
            return -1.0 / mean

    def fisher_information(self, natural: Array) -> Array:
        return (natural**-2.0)[:, :, None]

    def natural(self, parameters: Parameters) -> Array:
        return -parameters["rate"][:, None]

    def usual(self, natural: Array) -> dict[str, Array]:
        return {"rate": -natural[:, 0]}

    def to_free(self, parameters: Parameters) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.log(parameters["rate"])[:, None])

    def from_free(self, free: Array) -> dict[str, Array]:
        return self.usual(-np.exp(free))

    def free_slopes(self, parameters: Parameters) -> Array:
        return np.asarray(-parameters["rate"][:, None, None])

    def free_information(self, parameters: Parameters) -> Array:
        return np.ones((len(parameters["rate"]), 1, 1))

    def smallest_count(self, n_columns: int) -> float:
        return 0.0  # one parameter: a single waiting time is no spike

    def sample(
        self, parameters: Parameters, component: int, n: int, rng: np.random.Generator
    ) -> Array:
        return rng.exponential(1.0 / parameters["rate"][component], (n, 1))

    def n_parameters(self, parameters: Parameters) -> int:
        return parameters["rate"].size
