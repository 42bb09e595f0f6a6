"""Rows of counts over fixed categories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from expmax.contract import Parameters
from expmax.errors import ParameterError
from expmax.families.charts import CategoryChart, FamilyChart
from expmax.families.expectations import expected_over_binomial
from expmax.families.exponential_family import ExponentialFamily
from expmax.families.parameters import SHARE, intervals
from expmax.statistics import Array

__all__ = ["Multinomial"]


@final
@dataclass(frozen=True)
class Multinomial(ExponentialFamily):
    """Counts given their total: T(x) = x, η = log p (over-complete), A = 0, h = (Σx)! / Πx_j!.

    Usual parameter: `probability`, shape (K, d), rows summing to 1; a zero is allowed (boundary).
    The total of each row is free; the likelihood is conditional on it.

    Parameters
    ----------
    n_trials : int, optional
        Total of the rows that `sample` draws and to which the mean and the entropy refer; it does
        not enter the likelihood. Default: the mean total seen, rounded.

    References
    ----------
    Bishop (2006), Pattern Recognition and Machine Learning, §2.2.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import Multinomial
    >>> Multinomial().estimate(np.array([[1.0, 0.0, 3.0], [0.0, 4.0, 2.0]]))
    {'probability': array([[0.1, 0.4, 0.5]])}
    """

    n_trials: int | None = None

    discrete = True
    counts = True
    accepts_missing = False
    support = "0, 1, 2, …"
    limits = intervals(probability=SHARE)

    def __post_init__(self) -> None:
        if self.n_trials is not None and not self.n_trials >= 1:
            raise ParameterError(f"n_trials must be an integer of at least 1; got {self.n_trials}.")

    def bind(self, x: NDArray[Any]) -> Any:
        bound = super().bind(x)
        if self.n_trials is not None or not len(x):
            return bound
        return Multinomial(max(1, round(float(x.sum(axis=1).mean()))))

    @property
    def _n(self) -> int:
        return 1 if self.n_trials is None else self.n_trials

    def in_support(self, x: Array) -> NDArray[np.bool_]:
        return np.asarray(np.isfinite(x) & (x >= 0) & (x == np.floor(x)))

    def sufficient_statistics(self, x: Array) -> Array:
        return x

    def log_base_measure(self, x: Array) -> Array:
        return np.asarray(gammaln(x.sum(axis=1) + 1) - gammaln(x + 1).sum(axis=1))

    def log_partition(self, natural: Array) -> Array:
        return np.zeros(len(natural))

    def to_mean(self, natural: Array) -> Array:
        return self._n * np.exp(natural)

    def to_natural(self, mean: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.log(mean / mean.sum(axis=1, keepdims=True)))

    def fisher_information(self, natural: Array) -> Array:
        """Cov[T] = n (diag p − ppᵀ), singular along 1: T is over-complete."""
        p = np.exp(natural)
        return np.asarray(self._n * p[:, :, None] * (np.eye(p.shape[1]) - p[:, None, :]))

    def natural(self, parameters: Parameters) -> Array:
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(parameters["probability"]))

    def usual(self, natural: Array) -> dict[str, Array]:
        return {"probability": np.exp(natural)}

    def expected_log_base_measure(self, natural: Array) -> Array:
        """log n! − Σ_j E[log x_j!]: each count is binomial."""
        n = self._n
        with np.errstate(divide="ignore"):
            other = np.log1p(-np.exp(natural))
        each = [
            expected_over_binomial(n, hit, miss, lambda x: gammaln(x + 1))
            for hit, miss in zip(natural.ravel(), other.ravel(), strict=True)
        ]
        return np.asarray(gammaln(n + 1.0) - np.reshape(each, natural.shape).sum(axis=1))

    def location(self, parameters: Parameters) -> Array:
        return np.asarray(parameters["probability"])

    def chart(self, parameters: Parameters, statistics: Any) -> FamilyChart:
        return CategoryChart(self, parameters, statistics)

    def sample(
        self, parameters: Parameters, component: int, n: int, rng: np.random.Generator
    ) -> Array:
        p = parameters["probability"][component]
        return rng.multinomial(self._n, p / p.sum(), n).astype(float)

    def n_parameters(self, parameters: Parameters) -> int:
        return np.size(parameters["probability"][:, 1:])
