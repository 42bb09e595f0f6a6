"""All mass at one given point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from expmax.contract import Parameters
from expmax.families.base import Family, Memo
from expmax.families.exponential_family import MomentStatistics
from expmax.statistics import Array

__all__ = ["PointMass"]


@final
@dataclass(frozen=True)
class PointMass(Family):
    """All mass at one given point: p(x) = 1 if x = value, else 0. Nothing is estimated.

    Beside discrete families it inflates one value (`[PointMass(0), Poisson()]` is the zero-inflated
    Poisson). Beside continuous ones a row that hits the point belongs to it: the density is with respect
    to Lebesgue measure plus the atom.

    Parameters
    ----------
    value : float
        The point; the same in every column.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import PointMass
    >>> PointMass(0).log_density({"value": np.array([0.0])}, np.array([[0.0], [3.0]]))
    array([[  0.],
           [-inf]])
    """

    value: float = 0.0

    discrete = True
    accepts_missing = True
    is_estimated = False
    support = "the real numbers"

    def log_density(self, parameters: Parameters, x: Array, memo: Memo = None) -> Array:
        missing = np.isnan(x)
        hit = ((x == self.value) | missing).all(axis=1)
        return np.where(hit[:, None], 0.0, -np.inf) + np.zeros(len(parameters["value"]))

    def statistics(
        self, parameters: Parameters, x: Array, responsibilities: Array, memo: Memo = None
    ) -> MomentStatistics:
        counts = responsibilities.sum(axis=0)
        return MomentStatistics(counts, np.zeros((len(counts), 0)), 0.0)

    def initialize(self, x: Array, responsibilities: Array, memo: Memo = None) -> Parameters:
        return {"value": np.full(responsibilities.shape[1], float(self.value))}

    def maximize(self, statistics: Any, parameters: Parameters | None) -> Parameters:
        return {"value": np.full(len(statistics.counts), float(self.value))}

    def expected_log_density(self, parameters: Parameters, statistics: Any) -> float:
        return 0.0

    def pseudo_statistics(self, count: Array, parameters: Parameters) -> MomentStatistics:
        return MomentStatistics(np.zeros_like(count), np.zeros((len(count), 0)), 0.0)

    def sample(
        self, parameters: Parameters, component: int, n: int, rng: np.random.Generator
    ) -> Array:
        return np.full((n, 1), float(self.value))

    def n_parameters(self, parameters: Parameters) -> int:
        return 0

    def smallest_count(self, n_columns: int) -> float:
        return 0.0

    def location(self, parameters: Parameters) -> Array:
        return parameters["value"][:, None]
