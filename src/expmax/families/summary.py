"""Sums that replace the data: fit, likelihood and posterior follow from them.

Families without finite sufficient statistics (Weibull, StudentT, NegativeBinomial of free size) have none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from expmax.contract import Parameters
from expmax.errors import ParameterError
from expmax.families.base import Family
from expmax.families.distribution import as_components
from expmax.families.exponential_family import ExponentialFamily
from expmax.families.gaussian import Gaussian
from expmax.families.multinomial import Multinomial
from expmax.families.product import Product
from expmax.families.standard_errors import Estimate, estimate_at, weighted_rows
from expmax.statistics import Array

__all__ = ["Summary", "has_summary", "summarize"]


@dataclass(frozen=True)
class Summary:
    """Σ w, Σ w T(x) and Σ w log h(x): all that fit, likelihood and posterior need of the data.

    Summaries of parts add to the summary of the whole, in any order (to rounding).

    Parameters
    ----------
    family : Family
        Bound to the data.
    statistics : Additive
        The family's own record, of one component.
    weight : float
        Σ w.
    n_rows : int

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import Poisson
    >>> x = np.array([[1.0], [2.0], [6.0]])
    >>> whole = Poisson().summarize(x[:1]) + Poisson().summarize(x[1:])
    >>> whole.fit(), round(whole.log_likelihood({"rate": 3.0}), 4)
    ({'rate': array([3.])}, -6.3849)
    """

    family: Family
    statistics: Any
    weight: float
    n_rows: int

    def __add__(self, other: Summary) -> Summary:
        if not isinstance(other, Summary):
            return NotImplemented
        if other.family != self.family:
            raise ParameterError(
                f"summaries of {self.family!r} and {other.family!r} do not add; summarize all "
                "parts with one family, its size (n_trials, n_categories) given."
            )
        return Summary(
            self.family,
            self.statistics + other.statistics,
            self.weight + other.weight,
            self.n_rows + other.n_rows,
        )

    def __radd__(self, other: Any) -> Summary:
        """So that `sum(summaries)` works."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def fit(self) -> Parameters:
        """The maximum-likelihood parameters (K = 1)."""
        return self.family.maximize(self.statistics, None)

    def log_likelihood(self, parameters: Parameters | None = None) -> float:
        """Σ w log p(x | θ), nats; at the maximum where no parameters are given."""
        theta = self.fit() if parameters is None else as_components(self.family, parameters)
        return self.family.expected_log_density(theta, self.statistics)

    def estimate(self) -> Estimate:
        """The fit with standard errors; weights count as frequencies."""
        parameters = self.fit()
        chart = self.family.chart(parameters, self.statistics)
        return estimate_at(self.family, parameters, self.log_likelihood(parameters), chart, None)


def has_summary(family: Family) -> bool:
    """Whether finite sums of the data determine the likelihood of a family."""
    if isinstance(family, Product):
        return all(map(has_summary, family.families))
    return isinstance(family, ExponentialFamily | Gaussian)


def summarize(family: Family, x: Array, weight: Array | None = None) -> Summary:
    """See `Family.summarize`."""
    if not has_summary(family):
        raise ParameterError(
            f"{family!r} has no summary: no finite sums of the data determine its likelihood. "
            "Use estimate, or fix the shape or size."
        )
    rows, w = weighted_rows(x, weight)
    bound = _bind(family, rows)
    center = bound.initialize(rows, w[:, None]) if _has_reference(bound) else {}
    statistics = bound.statistics(center, rows, w[:, None])
    return Summary(bound, statistics, float(w.sum()), int((w > 0).sum()))


def _has_reference(family: Family) -> bool:
    """Whether statistics are moments about a point, which here is the mean itself."""
    if isinstance(family, Product):
        return any(map(_has_reference, family.families))
    return isinstance(family, Gaussian)


def _bind(family: Family, x: Array) -> Family:
    """Bind to the data, but to nothing that the statistics do not depend on."""
    bound = family.bind(x)
    return _without_total(family, bound)


def _without_total(family: Family, bound: Family) -> Family:
    """A Multinomial's total, taken from the data, concerns only what it draws: parts should add."""
    if isinstance(family, Multinomial):
        return family
    if isinstance(bound, Product) and isinstance(family, Product):
        parts = zip(family.families, bound.families, strict=True)
        return bound._bound(bound.slices, [_without_total(*pair) for pair in parts])
    return bound
