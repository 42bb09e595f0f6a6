"""Uniform over a box with given bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expmax.contract import Parameters
from expmax.errors import ParameterError
from expmax.families.base import Family, Memo
from expmax.families.exponential_family import MomentStatistics
from expmax.statistics import Array

__all__ = ["Uniform"]


@final
@dataclass(frozen=True)
class Uniform(Family):
    """Uniform over a box: p(x) = Π_j 1/(high_j − low_j) inside, 0 outside. Nothing is estimated.

    Beside other families it is a noise component that catches outliers (Banfield & Raftery 1993).

    Parameters
    ----------
    low, high : float or sequence of float, optional
        Bounds of each column; default: the range of the data.

    Raises
    ------
    ParameterError
        `high` not above `low`.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import Uniform
    >>> family = Uniform(0.0, 4.0)
    >>> np.exp(family.log_density(family.estimate(np.array([[1.0]])), np.array([[1.0], [5.0]])))
    array([[0.25],
           [0.  ]])
    """

    low: float | tuple[float, ...] | None = None
    high: float | tuple[float, ...] | None = None

    accepts_missing = True
    is_estimated = False
    support = "the real numbers"

    def __post_init__(self) -> None:
        for name in ("low", "high"):  # hashable, whatever sequence was given
            value: ArrayLike | None = getattr(self, name)
            if value is not None and np.ndim(value):
                object.__setattr__(self, name, tuple(np.asarray(value, float).tolist()))
        if self.low is None or self.high is None:
            if self.low is not self.high:
                raise ParameterError("Uniform needs both bounds or none; give low and high.")
        elif not (np.asarray(self.high) > np.asarray(self.low)).all():
            raise ParameterError(f"high must be above low; got low={self.low}, high={self.high}.")

    def bind(self, x: NDArray[Any]) -> Uniform:
        self.check(x)
        if self.low is not None:
            return self
        low, high = np.nanmin(x, axis=0), np.nanmax(x, axis=0)
        if not (high > low).all():
            column = int(np.argmin(high > low))
            raise ParameterError(
                f"Uniform() takes its bounds from the data, but column {column} is constant "
                f"({low[column]:.6g}); give low and high."
            )
        return Uniform(tuple(low.tolist()), tuple(high.tolist()))

    def log_density(self, parameters: Parameters, x: Array, memo: Memo = None) -> Array:
        missing = np.isnan(x)
        low, high = np.asarray(self.low, float), np.asarray(self.high, float)
        inside = (((x >= low) & (x <= high)) | missing).all(axis=1)
        width = np.broadcast_to(high - low, x.shape[1:])
        log_height = -(np.where(missing, 0.0, np.log(width)).sum(axis=1))
        out = np.where(inside, log_height, -np.inf)
        return np.repeat(out[:, None], len(parameters["low"]), axis=1)

    def _constants(self, n_components: int) -> Parameters:
        return {
            "low": np.repeat(np.atleast_2d(np.asarray(self.low, float)), n_components, axis=0),
            "high": np.repeat(np.atleast_2d(np.asarray(self.high, float)), n_components, axis=0),
        }

    def statistics(
        self, parameters: Parameters, x: Array, responsibilities: Array, memo: Memo = None
    ) -> MomentStatistics:
        counts = responsibilities.sum(axis=0)
        density = self.log_density(parameters, x)[:, :1]
        rows = responsibilities.sum(axis=1) > 0
        log_base = float(responsibilities[rows].sum(axis=1) @ density[rows, 0])
        return MomentStatistics(counts, np.zeros((len(counts), 0)), log_base)

    def initialize(self, x: Array, responsibilities: Array, memo: Memo = None) -> Parameters:
        return self._constants(responsibilities.shape[1])

    def maximize(self, statistics: Any, parameters: Parameters | None) -> Parameters:
        return self._constants(len(statistics.counts))

    def expected_log_density(self, parameters: Parameters, statistics: Any) -> float:
        return float(statistics.log_base)

    def pseudo_statistics(self, count: Array, parameters: Parameters) -> MomentStatistics:
        return MomentStatistics(np.zeros_like(count), np.zeros((len(count), 0)), 0.0)

    def sample(
        self, parameters: Parameters, component: int, n: int, rng: np.random.Generator
    ) -> Array:
        low, high = parameters["low"][component], parameters["high"][component]
        return rng.uniform(low, high, (n, len(low)))

    def n_parameters(self, parameters: Parameters) -> int:
        return 0

    def smallest_count(self, n_columns: int) -> float:
        return 0.0

    def location(self, parameters: Parameters) -> Array:
        return 0.5 * (parameters["low"] + parameters["high"])
