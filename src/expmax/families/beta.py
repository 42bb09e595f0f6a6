"""Shares between 0 and 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Degeneracy, Parameters
from expmax.families.degeneracy import collapsed
from expmax.families.dirichlet import LogMoments
from expmax.families.parameters import POSITIVE, intervals
from expmax.statistics import Array

__all__ = ["Beta"]


@final
@dataclass(frozen=True)
class Beta(LogMoments):
    """Beta: T = (log x, log(1 − x)), η = (a, b), A = log B(a, b), h = 1/(x(1 − x)) on 0 < x < 1.

    Usual parameters: `a` > 0 and `b` > 0 (mean a/(a + b)). Rounding of E[T] (about eps·|T|) leaves
    a relative error of about 2(a + b) times that.

    References
    ----------
    Johnson, Kotz & Balakrishnan (1995), Continuous Univariate Distributions 2, ch. 25.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import Beta
    >>> family = Beta()
    >>> family.to_mean(family.natural({"a": np.array([2.0]), "b": np.array([1.0])}))
    array([[-0.5, -1.5]])
    """

    scalar = True
    support = "0 < x < 1"
    limits = intervals(a=POSITIVE, b=POSITIVE)

    def in_support(self, x: Array) -> NDArray[np.bool_]:
        return (x > 0) & (x < 1)

    def sufficient_statistics(self, x: Array) -> Array:
        return np.hstack([np.log(x), np.log1p(-x)])

    def log_base_measure(self, x: Array) -> Array:
        return -np.log(x[:, 0]) - np.log1p(-x[:, 0])

    def natural(self, parameters: Parameters) -> Array:
        return np.stack([parameters["a"], parameters["b"]], axis=1)

    def usual(self, natural: Array) -> dict[str, Array]:
        return {"a": natural[:, 0], "b": natural[:, 1]}

    def location(self, parameters: Parameters) -> Array:
        a, b = parameters["a"], parameters["b"]
        with np.errstate(invalid="ignore"):
            return np.asarray((a / (a + b))[:, None])

    def degeneracies(
        self, parameters: Parameters, statistics: Any, marginal: Parameters | None
    ) -> list[Degeneracy]:
        """A component of equal values has a, b → ∞: judged by 1/(a + b)."""

        def spread(of: Parameters) -> Array:
            return np.asarray(1 / (of["a"] + of["b"]))

        whole = None if marginal is None else spread(marginal)
        least = self.smallest_count(1)
        counts = None if statistics is None else statistics.counts
        return collapsed("1/(a + b)", spread(parameters), whole, counts, least=least)

    def sample(
        self, parameters: Parameters, component: int, n: int, rng: np.random.Generator
    ) -> Array:
        return rng.beta(parameters["a"][component], parameters["b"][component], (n, 1))

    def n_parameters(self, parameters: Parameters) -> int:
        return 2 * np.size(parameters["a"])
