"""Counts of successes in a known number of trials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Parameters
from expmax.errors import ParameterError
from expmax.families.charts import FamilyChart, LogitChart
from expmax.families.expectations import expected_over_binomial
from expmax.families.exponential_family import ExponentialFamily
from expmax.families.parameters import SHARE, intervals
from expmax.families.special import log_choose
from expmax.statistics import Array

__all__ = ["Binomial"]


@final
@dataclass(frozen=True)
class Binomial(ExponentialFamily):
    """Successes in n trials: T = (x, n − x), η = (log p, log(1 − p)), A = 0, h = C(n, x).

    Over-complete. Usual parameter: `probability` of a success, shape (K,); 0 and 1 are allowed
    (boundary).

    Parameters
    ----------
    n_trials : int, optional
        n; default: the largest count seen.

    References
    ----------
    Johnson, Kemp & Kotz (2005), Univariate Discrete Distributions, ch. 3.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import Binomial
    >>> Binomial(n_trials=10).estimate(np.array([[2.0], [3.0], [7.0]]))
    {'probability': array([0.4])}
    """

    n_trials: int | None = None

    scalar = True
    discrete = True
    counts = True
    support = "the counts 0, 1, …, n_trials"
    limits = intervals(probability=SHARE)

    def __post_init__(self) -> None:
        if self.n_trials is not None and not self.n_trials >= 1:
            raise ParameterError(f"n_trials must be an integer of at least 1; got {self.n_trials}.")

    def bind(self, x: NDArray[Any]) -> Any:
        if x.shape[1] != 1 or self.n_trials is not None:
            return super().bind(x)
        Binomial(1 << 62).check(x)
        seen = x[~np.isnan(x)]
        return Binomial(max(1, int(seen.max())) if seen.size else 1)

    @property
    def _n(self) -> int:
        if self.n_trials is None:
            raise ParameterError(
                "n_trials must be known here; got None. Give it, or bind the data."
            )
        return self.n_trials

    def in_support(self, x: Array) -> NDArray[np.bool_]:
        return np.asarray(np.isfinite(x) & (x >= 0) & (x <= self._n) & (x == np.floor(x)))

    def sufficient_statistics(self, x: Array) -> Array:
        return np.hstack([x, self._n - x])

    def log_base_measure(self, x: Array) -> Array:
        return log_choose(self._n, x[:, 0])

    def log_partition(self, natural: Array) -> Array:
        return np.zeros(len(natural))

    def to_mean(self, natural: Array) -> Array:
        return self._n * np.exp(natural)

    def to_natural(self, mean: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.log(mean / mean.sum(axis=1, keepdims=True)))

    def fisher_information(self, natural: Array) -> Array:
        """Cov[T], singular along (1, 1): T is over-complete."""
        variance = self._n * np.exp(natural).prod(axis=1)
        return np.asarray(variance[:, None, None] * np.array([[1.0, -1.0], [-1.0, 1.0]]))

    def natural(self, parameters: Parameters) -> Array:
        p = parameters["probability"]
        with np.errstate(divide="ignore"):
            return np.stack([np.log(p), np.log1p(-p)], axis=1)

    def usual(self, natural: Array) -> dict[str, Array]:
        return {"probability": np.exp(natural[:, 0])}

    def expected_log_base_measure(self, natural: Array) -> Array:
        """E[log C(n, x)]."""
        n = self._n
        each = [
            expected_over_binomial(n, hit, miss, lambda x: log_choose(n, x))
            for hit, miss in natural
        ]
        return np.array(each)

    def location(self, parameters: Parameters) -> Array:
        return np.asarray(self._n * parameters["probability"][:, None])

    def chart(self, parameters: Parameters, statistics: Any) -> FamilyChart:
        return LogitChart(self, parameters, statistics)

    def sample(
        self, parameters: Parameters, component: int, n: int, rng: np.random.Generator
    ) -> Array:
        return rng.binomial(self._n, parameters["probability"][component], (n, 1)).astype(float)

    def n_parameters(self, parameters: Parameters) -> int:
        return len(parameters["probability"])
