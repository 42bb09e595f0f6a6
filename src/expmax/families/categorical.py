"""One column of unordered categories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Parameters
from expmax.errors import ParameterError
from expmax.families.charts import CategoryChart, FamilyChart
from expmax.families.exponential_family import ExponentialFamily
from expmax.families.parameters import SHARE, intervals
from expmax.statistics import Array

__all__ = ["Categorical"]


@final
@dataclass(frozen=True)
class Categorical(ExponentialFamily):
    """One of C categories coded 0 … C−1: T(x) = one-hot of x, η = log p (over-complete), A = 0.

    Usual parameter: `probability`, shape (K, C), rows summing to 1; a zero is allowed (boundary).

    Parameters
    ----------
    n_categories : int, optional
        C; default: the largest code seen, plus one.

    References
    ----------
    Bishop (2006), Pattern Recognition and Machine Learning, §2.4.
    """

    n_categories: int | None = None

    scalar = True
    discrete = True
    counts = True
    support = "the category codes 0, 1, …, n_categories − 1"
    limits = intervals(probability=SHARE)

    def __post_init__(self) -> None:
        if self.n_categories is not None and self.n_categories < 1:
            raise ParameterError(f"n_categories must be at least 1; got {self.n_categories}.")

    def bind(self, x: NDArray[Any]) -> Any:
        if x.shape[1] != 1 or self.n_categories is not None:
            return super().bind(x)
        Categorical(1 << 62).check(x)
        seen = x[~np.isnan(x)]
        return Categorical(int(seen.max()) + 1 if seen.size else 1)

    def in_support(self, x: Array) -> NDArray[np.bool_]:
        assert self.n_categories is not None
        return np.isfinite(x) & (x >= 0) & (x < self.n_categories) & (x == np.floor(x))

    def sufficient_statistics(self, x: Array) -> Array:
        assert self.n_categories is not None
        return (x == np.arange(self.n_categories)).astype(float)

    def log_partition(self, natural: Array) -> Array:
        return np.zeros(len(natural))

    def to_mean(self, natural: Array) -> Array:
        return np.exp(natural)

    def to_natural(self, mean: Array) -> Array:
        with np.errstate(divide="ignore"):
            return np.log(mean)

    def fisher_information(self, natural: Array) -> Array:
        """Cov[T] = diag p − ppᵀ, singular along 1: T is over-complete."""
        p = np.exp(natural)
        return np.asarray(p[:, :, None] * (np.eye(p.shape[1]) - p[:, None, :]))

    def natural(self, parameters: Parameters) -> Array:
        return self.to_natural(parameters["probability"])

    def usual(self, natural: Array) -> dict[str, Array]:
        return {"probability": np.exp(natural)}

    def embed(self, x: Array) -> Array:
        return self.sufficient_statistics(x)

    def chart(self, parameters: Parameters, statistics: Any) -> FamilyChart:
        return CategoryChart(self, parameters, statistics)

    def sample(
        self, parameters: Parameters, component: int, n: int, rng: np.random.Generator
    ) -> Array:
        p = parameters["probability"][component]
        return rng.choice(len(p), size=(n, 1), p=p / p.sum()).astype(float)

    def n_parameters(self, parameters: Parameters) -> int:
        n_components, n_categories = parameters["probability"].shape
        return n_components * (n_categories - 1)
