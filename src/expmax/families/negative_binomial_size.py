"""The size of a negative binomial, estimated from sums at nodes around its current value."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from expmax.contract import Parameters
from expmax.families.local_statistics import (
    HALF,
    UNIT_NODES,
    Anchor,
    Interpolant,
    LocalStatistics,
    climb,
)
from expmax.families.negative_binomial_density import (
    expectation,
    log_clustered,
    log_near_poisson,
)
from expmax.families.special import log1p_minus, log_rising_excess, log_rising_over_factorial
from expmax.statistics import Array

__all__ = [
    "expected_log_density",
    "imagined_statistics",
    "local_statistics",
    "log_derivatives",
    "maximize",
]

STEP = 0.75  # log size moves by at most this in one M-step; see `NegativeBinomial`
LARGEST_SIZE = 1e9  # beyond, the distribution is Poisson to within (x − m)²/(2·size) nats


def local_statistics(parameters: Parameters, values: Array, weight: Array) -> LocalStatistics:
    """Sums over distinct counts, shape (m,), of weights of shape (m, K)."""
    anchor = _anchor(parameters)
    apart = ~_clustered(anchor)  # where x! is kept out of the values
    return LocalStatistics(
        counts=weight.sum(axis=0),
        sums=values @ weight,
        log_base=float(-gammaln(values + 1) @ weight[:, apart].sum(axis=1)),
        values=np.einsum("uk,ukj->kj", weight, _rising(anchor, values[:, None, None])),
        anchor=anchor,
    )


def imagined_statistics(count: Array, parameters: Parameters) -> LocalStatistics:
    """Expectations summed over the counts, at nodes around the parameters given."""
    anchor = _anchor(parameters)
    components = range(len(anchor.nodes))
    apart = ~_clustered(anchor)

    def rising(k: int) -> Array:
        own = Anchor(anchor.nodes[k : k + 1], anchor.unit[k : k + 1])
        return expectation(parameters, k, lambda x: _rising(own, x[:, None, None])[:, 0])

    log_factorial = [expectation(parameters, k, lambda x: gammaln(x + 1)) for k in components]
    return LocalStatistics(
        counts=count,
        sums=count * parameters["mean"],
        log_base=-float((count * apart) @ np.array(log_factorial)),
        values=count[:, None] * np.stack([rising(k) for k in components]),
        anchor=anchor,
    )


def expected_log_density(parameters: Parameters, statistics: LocalStatistics) -> float:
    """Q, nats; NaN for a size outside the nodes of the statistics."""
    used = statistics.counts > 0
    counts, sums = statistics.counts[used], statistics.sums[used]
    mean, size = parameters["mean"][used], parameters["size"][used]
    anchor = statistics.anchor
    s = _coordinate(size, anchor.nodes[used])
    with np.errstate(all="ignore"):
        each = np.where(
            _clustered(anchor)[used],
            log_clustered(mean, size, counts, sums),
            log_near_poisson(mean, size, counts, sums),
        )
    each += Interpolant(statistics.values[used])(s)
    return float(each.sum() + statistics.log_base)


def maximize(statistics: LocalStatistics) -> Parameters:
    """Mean in closed form, log size by Newton on the profile within the nodes."""
    with np.errstate(all="ignore"):
        mean = statistics.sums / statistics.counts
        rising = Interpolant(statistics.values / statistics.counts[:, None])
    current = statistics.anchor.nodes[:, HALF]
    clustered = _clustered(statistics.anchor)

    def profile(s: Array) -> Array:
        size = current * np.exp(STEP * s)
        with np.errstate(all="ignore"):
            small = log_clustered(mean, size, 1.0, mean)
            return rising(s) + np.where(clustered, small, log_near_poisson(mean, size, 1.0, mean))

    def slope(s: Array) -> tuple[Array, Array]:
        size = current * np.exp(STEP * s)
        lost, bend = _losses(mean / size, clustered)
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


def log_derivatives(parameters: Parameters, statistics: LocalStatistics) -> tuple[Array, Array]:
    """∂Q/∂(log m, log c), shape (K, 2), and −∂²Q where that vanishes, shape (K, 2, 2)."""
    counts, anchor = statistics.counts, statistics.anchor
    mean, size = parameters["mean"], parameters["size"]
    rising, s = Interpolant(statistics.values), _coordinate(size, anchor.nodes)
    clustered = _clustered(anchor)
    with np.errstate(all="ignore"):
        lost, bend = _losses(mean / size, clustered)
        excess = (statistics.sums - counts * mean) / (size + mean)
        by_size = rising(s, 1) / STEP - counts * size * lost
        by_size += excess * np.where(clustered, -size, mean)
        gradient = np.stack([size * excess, by_size], axis=1)
        information = np.zeros((len(counts), 2, 2))
        information[:, 0, 0] = counts * mean * size / (size + mean)
        information[:, 1, 1] = counts * size * (lost + bend) - rising(s, 2) / STEP**2
    return gradient, information


def _anchor(parameters: Parameters) -> Anchor:
    with np.errstate(all="ignore"):
        nodes = parameters["size"][:, None] * np.exp(STEP * UNIT_NODES)
    return Anchor(nodes, parameters["mean"])


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


def _losses(u: Array, clustered: NDArray[np.bool_]) -> tuple[Array, Array]:
    """What a row costs per unit of size, log(1 + u) (less u near Poisson), and its slope in log c."""
    lost = np.where(clustered, np.log1p(u), log1p_minus(u))
    return lost, np.where(clustered, -u, u * u) / (1 + u)


def _coordinate(size: Array, nodes: Array) -> Array:
    """Position of a size in [−1, 1] of its nodes; exactly 0 at the middle one."""
    with np.errstate(all="ignore"):
        return np.asarray(np.log(size / nodes[:, HALF]) / STEP)
