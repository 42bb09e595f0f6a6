"""Overdispersed counts: Poisson counts whose rate is gamma distributed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy

from expmax.contract import Parameters
from expmax.errors import ParameterError
from expmax.families.base import ExponentialFamily, Family, Memo
from expmax.families.charts import FamilyChart
from expmax.families.expectations import expected_over_counts
from expmax.families.local_statistics import (
    HALF,
    UNIT_NODES,
    Anchor,
    Interpolant,
    LocalChart,
    LocalStatistics,
    climb,
)
from expmax.families.special import log1p_minus, log_rising_excess, log_rising_over_factorial
from expmax.statistics import Additive, Array

__all__ = ["NegativeBinomial"]

STEP = 0.75  # log size moves by at most this in one M-step; see `NegativeBinomial`
LARGEST_SIZE = 1e9  # beyond, the distribution is Poisson to within (x − m)²/(2·size) nats


@dataclass(frozen=True)
class NegativeBinomial(Family):
    """Overdispersed counts: p(x) = Γ(x + c)/(Γ(c) x!) (c/(c + m))^c (m/(c + m))^x.

    Not an exponential family in the size c. Usual parameters: `mean` m ≥ 0 and `size` c > 0
    (variance m + m²/c; probability of success c/(c + m)). With the size given it is an exponential
    family: T = x, η = log(c·m/(c + m)), A(η) = −c log(1 − exp(η)/c), h = Γ(x + c)/(Γ(c) cˣ x!),
    which at c = ∞ is Poisson.

    Local statistics, if the size is estimated: at the current c an E-step sums Σ r Σ_{t<x} log(1 +
    t/c_j) at 15 Chebyshev–Lobatto nodes of log c ± 3/4, beside Σ r and Σ r x. That sum is analytic
    in log c in a strip of half-width π, so the polynomial through the nodes is exact to about
    1e-13. The mean has a closed form. Data without overdispersion take the size up to 1e9 and no
    further.

    Parameters
    ----------
    size : float, optional
        A fixed size, the same for every component; default: estimated for each.

    References
    ----------
    Johnson, Kemp & Kotz (2005), Univariate Discrete Distributions, ch. 5. Levin & Reeds (1977),
    Annals of Statistics 5(1): the size is finite exactly if the variance exceeds the mean.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import NegativeBinomial
    >>> x = np.array([[0.0], [1.0], [1.0], [4.0], [9.0]])
    >>> fit = NegativeBinomial().estimate(x)
    >>> {name: value.round(4) for name, value in fit.items()}
    {'mean': array([3.]), 'size': array([0.9846])}
    >>> NegativeBinomial(size=2.0).estimate(x)
    {'mean': array([3.]), 'size': array([2.])}
    """

    size: float | None = None

    scalar = True
    discrete = True
    accepts_prior = False  # its statistics belong to the current size
    accepts_missing = True
    support = "0, 1, 2, …"

    @property
    def local_statistics(self) -> bool:  # type: ignore[override]
        return self.size is None

    def __new__(cls, size: float | None = None) -> Self:
        """As `pathlib.Path`: the kind of object follows from the argument."""
        kind = cls if size is None else NegativeBinomialOfSize
        return object.__new__(kind)  # type: ignore[return-value]

    def __post_init__(self) -> None:
        if self.size is not None and not self.size > 0:
            raise ParameterError(f"size must be positive; got {self.size}.")

    def in_support(self, x: Array) -> NDArray[np.bool_]:
        return np.asarray(np.isfinite(x) & (x >= 0) & (x == np.floor(x)))

    def log_density(self, parameters: Parameters, x: Array, memo: Memo = None) -> Array:
        mean, size = parameters["mean"], parameters["size"]
        values, rows, present = _distinct(x, memo)
        column = values[:, None]
        with np.errstate(all="ignore"):
            small = log_rising_over_factorial(size, column)
            small += _log_clustered(mean, size, 1.0, column)
            large = log_rising_excess(size, column) - gammaln(column + 1)
            large += _log_near_poisson(mean, size, 1.0, column)
            log_p = np.where(size <= mean, small, large)
        return np.where(present[:, None], log_p[rows], 0.0)

    def statistics(
        self, parameters: Parameters, x: Array, responsibilities: Array, memo: Memo = None
    ) -> Additive:
        values, rows, present = _distinct(x, memo)
        weight = _sum_by_value(rows, responsibilities * present[:, None], len(values))
        with np.errstate(all="ignore"):
            nodes = parameters["size"][:, None] * np.exp(STEP * UNIT_NODES)
        anchor = Anchor(nodes, parameters["mean"])
        apart = ~_clustered(anchor)  # where x! is kept out of the values
        return LocalStatistics(
            counts=weight.sum(axis=0),
            sums=values @ weight,
            log_base=float(-gammaln(values + 1) @ weight[:, apart].sum(axis=1)),
            values=np.einsum("uk,ukj->kj", weight, _rising(anchor, values[:, None, None])),
            anchor=anchor,
        )

    def expected_log_density(self, parameters: Parameters, statistics: Any) -> float:
        """Q, nats; NaN for a size outside the nodes of the statistics."""
        used = statistics.counts > 0
        counts, sums = statistics.counts[used], statistics.sums[used]
        mean, size = parameters["mean"][used], parameters["size"][used]
        anchor = statistics.anchor
        s = _coordinate(size, anchor.nodes[used])
        with np.errstate(all="ignore"):
            each = np.where(
                _clustered(anchor)[used],
                _log_clustered(mean, size, counts, sums),
                _log_near_poisson(mean, size, counts, sums),
            )
        each += Interpolant(statistics.values[used])(s)
        return float(each.sum() + statistics.log_base)

    def maximize(self, statistics: Any, parameters: Parameters | None) -> Parameters:
        """Mean in closed form, log size by Newton on the profile within the nodes."""
        with np.errstate(all="ignore"):
            mean = statistics.sums / statistics.counts
            rising = Interpolant(statistics.values / statistics.counts[:, None])
        current = statistics.anchor.nodes[:, HALF]
        clustered = _clustered(statistics.anchor)

        def profile(s: Array) -> Array:
            size = current * np.exp(STEP * s)
            with np.errstate(all="ignore"):
                small = _log_clustered(mean, size, 1.0, mean)
                return rising(s) + np.where(
                    clustered, small, _log_near_poisson(mean, size, 1.0, mean)
                )

        def slope(s: Array) -> tuple[Array, Array]:
            size = current * np.exp(STEP * s)
            u = mean / size
            lost = np.where(clustered, np.log1p(u), log1p_minus(u))
            bend = np.where(clustered, -u, u * u) / (1 + u)
            return (
                rising(s, 1) - STEP * size * lost,
                rising(s, 2) - STEP**2 * size * (lost + bend),
            )

        with np.errstate(all="ignore"):
            room = np.log(LARGEST_SIZE / current) / STEP
        upper = np.where(room > 0, np.minimum(room, 1.0), 0.0)
        s = climb(profile, slope, upper)
        with np.errstate(all="ignore"):
            size = current * np.exp(STEP * s)
        return {"mean": mean, "size": np.where(s == 0, current, size)}

    def log_derivatives(
        self, parameters: Parameters, statistics: LocalStatistics
    ) -> tuple[Array, Array]:
        """∂Q/∂(log m, log c), shape (K, 2), and −∂²Q where that vanishes, shape (K, 2, 2)."""
        counts, anchor = statistics.counts, statistics.anchor
        mean, size = parameters["mean"], parameters["size"]
        rising, s = Interpolant(statistics.values), _coordinate(size, anchor.nodes)
        clustered = _clustered(anchor)
        with np.errstate(all="ignore"):
            u = mean / size
            lost = np.where(clustered, np.log1p(u), log1p_minus(u))
            bend = np.where(clustered, -u, u * u) / (1 + u)
            excess = (statistics.sums - counts * mean) / (size + mean)
            by_size = rising(s, 1) / STEP - counts * size * lost
            by_size += excess * np.where(clustered, -size, mean)
            gradient = np.stack([size * excess, by_size], axis=1)
            information = np.zeros((len(counts), 2, 2))
            information[:, 0, 0] = counts * mean * size / (size + mean)
            information[:, 1, 1] = counts * size * (lost + bend) - rising(s, 2) / STEP**2
        return gradient, information

    def chart(self, parameters: Parameters, statistics: Any) -> FamilyChart | None:
        return LocalChart(self, parameters, statistics)

    def initialize(self, x: Array, responsibilities: Array, memo: Memo = None) -> Parameters:
        """Mean and variance, then steps of ascent."""
        values, rows, present = _distinct(x, memo)
        weight = _sum_by_value(rows, responsibilities * present[:, None], len(values))
        with np.errstate(all="ignore"):
            weight = weight / weight.sum(axis=0)
            mean = values @ weight
            variance = np.einsum("uk,uk->k", weight, (values[:, None] - mean) ** 2)
            size = mean**2 / (variance - mean)
        # at or below the variance of a Poisson the likelihood rises with the size for ever; a
        # start short of that keeps the way back open when the responsibilities change
        large = 100 * np.fmax(mean, 1)
        size = np.where(variance > mean, np.fmin(size, large), large)
        parameters: Parameters = {"mean": mean, "size": size}
        for _ in range(3):
            statistics = self.statistics(parameters, x, responsibilities, memo)
            parameters = self.maximize(statistics, parameters)
        return parameters

    def pseudo_statistics(self, count: Array, parameters: Parameters) -> Additive:
        """Expectations summed over the counts, at nodes around the parameters given."""
        nodes = parameters["size"][:, None] * np.exp(STEP * UNIT_NODES)
        anchor = Anchor(nodes, parameters["mean"])
        apart = ~_clustered(anchor)

        def rising(k: int) -> Array:
            own = Anchor(nodes[k : k + 1], parameters["mean"][k : k + 1])
            return _expectation(parameters, k, lambda x: _rising(own, x[:, None, None])[:, 0])

        log_factorial = [
            _expectation(parameters, k, lambda x: gammaln(x + 1)) for k in range(len(nodes))
        ]
        return LocalStatistics(
            counts=count,
            sums=count * parameters["mean"],
            log_base=-float((count * apart) @ np.array(log_factorial)),
            values=count[:, None] * np.stack([rising(k) for k in range(len(nodes))]),
            anchor=anchor,
        )

    def location(self, parameters: Parameters) -> Array:
        return np.asarray(parameters["mean"][:, None])

    def sample(
        self, parameters: Parameters, component: int, n: int, rng: np.random.Generator
    ) -> Array:
        mean, size = parameters["mean"][component], parameters["size"][component]
        rate = mean if np.isinf(size) else rng.gamma(size, mean / size, (n, 1))
        return rng.poisson(rate, (n, 1)).astype(float)

    def n_parameters(self, parameters: Parameters) -> int:
        return 2 * np.size(parameters["mean"])


@final
@dataclass(frozen=True)
class NegativeBinomialOfSize(ExponentialFamily, NegativeBinomial):
    """Of given size c: T(x) = x, η = log(c·m/(c + m)), A(η) = −c log(1 − exp(η)/c)."""

    accepts_prior = True

    @property
    def _c(self) -> float:
        assert self.size is not None
        return float(self.size)

    def sufficient_statistics(self, x: Array) -> Array:
        return x

    def log_base_measure(self, x: Array) -> Array:
        count = x[:, 0]
        return np.asarray(log_rising_excess(np.array(self._c), count) - gammaln(count + 1))

    def log_partition(self, natural: Array) -> Array:
        with np.errstate(all="ignore"):  # η ≥ log c lies outside the family
            rate = np.exp(natural[:, 0])
            return rate if np.isinf(self._c) else -self._c * np.log1p(-rate / self._c)

    def to_mean(self, natural: Array) -> Array:
        with np.errstate(all="ignore"):
            rate = np.exp(natural)
            return rate / (1 - rate / self._c)

    def to_natural(self, mean: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(mean) - np.log1p(mean / self._c)

    def fisher_information(self, natural: Array) -> Array:
        mean = self.to_mean(natural)
        return np.asarray((mean * (1 + mean / self._c))[:, :, None])

    def natural(self, parameters: Parameters) -> Array:
        return self.to_natural(parameters["mean"][:, None])

    def usual(self, natural: Array) -> dict[str, Array]:
        return {"mean": self.to_mean(natural)[:, 0], "size": np.full(len(natural), self._c)}

    def expected_log_base_measure(self, natural: Array) -> Array:
        """E[log h(x)], summed until the tail is below rounding."""
        theta = self.usual(natural)
        each = [
            _expectation(theta, k, lambda x: self.log_base_measure(x[:, None]))
            for k in range(len(natural))
        ]
        return np.array(each)

    def n_parameters(self, parameters: Parameters) -> int:
        return np.size(parameters["mean"])


# Two arrangements of log p, in each of which nothing large cancels. With c ≤ m ("clustered"):
#   log[Γ(x + c)/(Γ(c) x!)] − c log(1 + m/c) − x log(1 + c/m);
# with c > m (near Poisson), where c log(1 + m/c) tends to m and the rising factorial over cˣ to 1:
#   log[Γ(x + c)/(Γ(c) cˣ)] − log x! + x log m − (x + c) log(1 + m/c).


def _log_clustered(mean: Array, size: Array, count: Any, total: Array) -> Array:
    """−N c log(1 + m/c) − Σx log(1 + c/m)."""
    return np.asarray(-count * size * np.log1p(mean / size) - total * np.log1p(size / mean))


def _log_near_poisson(mean: Array, size: Array, count: Any, total: Array) -> Array:
    """Σx log m − (Σx + N c) log(1 + m/c)."""
    turn = (total + count * size) * np.log1p(mean / size)
    return np.asarray(xlogy(total, mean) - np.where(np.isinf(size), count * mean, turn))


def _clustered(anchor: Anchor) -> NDArray[np.bool_]:
    """Whether the local statistics of a component are of the first arrangement."""
    return np.asarray(anchor.nodes[:, HALF] <= anchor.unit)


def _rising(anchor: Anchor, x: Array) -> Array:
    """What the local statistics sum at each node, for x of shape (n, 1, 1): shape (n, K, 15)."""
    clustered = _clustered(anchor)
    out = np.empty((len(x), *anchor.nodes.shape))
    out[:, clustered] = log_rising_over_factorial(anchor.nodes[clustered], x)
    out[:, ~clustered] = log_rising_excess(anchor.nodes[~clustered], x)
    return out


def _distinct(x: Array, memo: Memo) -> tuple[Array, NDArray[np.intp], NDArray[np.bool_]]:
    """The distinct counts, the one of each row (the first where missing), and the rows present."""
    if memo is not None and "distinct" in memo:
        return memo["distinct"]
    present = ~np.isnan(x[:, 0])
    values, rows = np.unique(np.where(present, x[:, 0], 0.0), return_inverse=True)
    result = values, rows, present
    if memo is not None:
        memo["distinct"] = result
    return result


def _sum_by_value(rows: NDArray[np.intp], weight: Array, n_values: int) -> Array:
    """Σ of weights over the rows of each distinct count: shape (n_values, K)."""
    columns = [np.bincount(rows, column, minlength=n_values) for column in weight.T]
    return np.stack(columns, axis=1)


def _coordinate(size: Array, nodes: Array) -> Array:
    """Position of a size in [−1, 1] of its nodes; exactly 0 at the middle one."""
    with np.errstate(all="ignore"):
        return np.asarray(np.log(size / nodes[:, HALF]) / STEP)


def _expectation(parameters: Parameters, k: int, function: Callable[[Array], Array]) -> Array:
    """E[f(x)] of component k; its tail is geometric, of ratio m/(m + c)."""
    theta = {name: value[k : k + 1] for name, value in parameters.items()}
    mean, size = float(theta["mean"][0]), float(theta["size"][0])
    spread = float(np.sqrt(mean + mean**2 / size))
    free = NegativeBinomial()
    return expected_over_counts(
        lambda x: free.log_density(theta, x[:, None])[:, 0],
        function,
        mean,
        spread,
        mean + 45 * (1 + mean / size) + 12 * spread,
    )
