"""Weibull lifetimes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy.special import gamma

from expmax.contract import Degeneracy, Parameters
from expmax.families.base import Family, Memo
from expmax.families.degeneracy import collapsed
from expmax.families.local_statistics import (
    HALF,
    UNIT_NODES,
    Anchor,
    Interpolant,
    LocalChart,
    LocalStatistics,
    climb,
)
from expmax.families.parameters import POSITIVE, intervals
from expmax.statistics import Array

__all__ = ["Weibull"]

STEP = 0.25  # the shape moves by at most a quarter in one M-step; see `Weibull`


@final
@dataclass(frozen=True)
class Weibull(Family):
    """Weibull: p(x) = (c/s)(x/s)^(c−1) exp(−(x/s)^c) on x > 0; not an exponential family in c.

    Usual parameters: `shape` c > 0 and `scale` s > 0 (mean s·Γ(1 + 1/c)).

    Local statistics: at the current (c, s) an E-step sums z_j = Σ r (x/s)^(c_j) at 15
    Chebyshev–Lobatto nodes c_j = c(1 ± 1/4), beside Σ r and Σ r log(x/s). Each (x/s)^c is
    exponential in c, so the polynomial through the nodes is exact to rounding while no weighted row
    has (x/s)^c above about 10⁴; the decay of its Chebyshev coefficients tells, and where it is not,
    the M-step takes the best of the nodes. The scale has a closed form given c, and the profile is
    concave in c.

    References
    ----------
    Johnson, Kotz & Balakrishnan (1994), Continuous Univariate Distributions 1, ch. 21.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import Weibull
    >>> fit = Weibull().estimate(np.array([[1.0], [2.0], [4.0], [5.0]]))
    >>> {name: value.round(4) for name, value in fit.items()}
    {'shape': array([2.0142]), 'scale': array([3.3959])}
    """

    scalar = True
    accepts_missing = True
    local_statistics = True
    support = "x > 0"
    limits = intervals(shape=POSITIVE, scale=POSITIVE)
    accepts_prior = False  # its statistics belong to the current shape

    def in_support(self, x: Array) -> NDArray[np.bool_]:
        return np.isfinite(x) & (x > 0)

    def log_density(self, parameters: Parameters, x: Array, memo: Memo = None) -> Array:
        shape, scale = parameters["shape"], parameters["scale"]
        log_x, present = _log_values(x, memo)
        with np.errstate(all="ignore"):
            log_ratio = log_x[:, None] - np.log(scale)
            out = np.log(shape / scale) + (shape - 1) * log_ratio - np.exp(shape * log_ratio)
        return self._only_inside(parameters, np.where(present[:, None], out, 0.0))

    def statistics(
        self, parameters: Parameters, x: Array, responsibilities: Array, memo: Memo = None
    ) -> LocalStatistics:
        log_x, present = _log_values(x, memo)
        rows = responsibilities * present[:, None]
        with np.errstate(all="ignore"):
            # a row without weight must not contribute 0·∞
            log_ratio = np.where(rows > 0, log_x[:, None] - np.log(parameters["scale"]), 0.0)
            nodes = parameters["shape"][:, None] * (1 + STEP * UNIT_NODES)
            powers = [
                np.einsum("nk,nk->k", rows, np.exp(nodes[:, j] * log_ratio))
                for j in range(len(UNIT_NODES))
            ]
        return LocalStatistics(
            counts=rows.sum(axis=0),
            sums=np.einsum("nk,nk->k", rows, log_ratio),
            log_base=float(-(log_x @ rows.sum(axis=1))),
            values=np.stack(powers, axis=1),
            anchor=Anchor(nodes, parameters["scale"]),
        )

    def expected_log_density(self, parameters: Parameters, statistics: LocalStatistics) -> float:
        """Q, nats; NaN for a shape outside the nodes of the statistics."""
        used = statistics.counts > 0
        counts, anchor = statistics.counts[used], statistics.anchor
        shape, scale = parameters["shape"][used], parameters["scale"][used]
        powers = Interpolant(statistics.values[used])(_coordinate(shape, anchor.nodes[used]))
        with np.errstate(all="ignore"):
            log_ratio = np.log(scale / anchor.unit[used])
            each = counts * (np.log(shape) - shape * log_ratio)
            each += shape * statistics.sums[used] - powers * np.exp(-shape * log_ratio)
        return float(each.sum() + statistics.log_base)

    def maximize(self, statistics: LocalStatistics, parameters: Parameters | None) -> Parameters:
        """Scale in closed form, shape by Newton on the profile, which is concave."""
        counts, anchor = statistics.counts, statistics.anchor
        powers = Interpolant(statistics.values)
        current = anchor.nodes[:, HALF]
        with np.errstate(all="ignore"):
            mean_log = statistics.sums / counts

        def profile(s: Array) -> Array:
            shape = current * (1 + STEP * s)
            with np.errstate(all="ignore"):
                return np.log(shape) + shape * mean_log - np.log(powers(s))

        def slope(s: Array) -> tuple[Array, Array]:
            shape, unit = current * (1 + STEP * s), current * STEP
            value, first, second = powers(s), powers(s, 1), powers(s, 2)
            rate = first / value
            return (
                unit * (1 / shape + mean_log) - rate,
                -((unit / shape) ** 2) - second / value + rate**2,
            )

        s = climb(profile, slope, np.ones(len(counts)))
        with np.errstate(all="ignore"):
            shape = current * (1 + STEP * s)
            scale = anchor.unit * (powers(s) / counts) ** (1 / shape)
        return {"shape": shape, "scale": scale}

    def log_derivatives(
        self, parameters: Parameters, statistics: LocalStatistics
    ) -> tuple[Array, Array]:
        """∂Q/∂(log c, log s), shape (K, 2), and −∂²Q where that vanishes, shape (K, 2, 2)."""
        counts, anchor = statistics.counts, statistics.anchor
        shape, current = parameters["shape"], anchor.nodes[:, HALF]
        powers, s = Interpolant(statistics.values), _coordinate(shape, anchor.nodes)
        with np.errstate(all="ignore"):
            log_ratio = np.log(parameters["scale"] / anchor.unit)
            # z = Σ r (x/s)^c and its first two derivatives in c
            turn, unit = np.exp(-shape * log_ratio), STEP * current
            raw, first, second = powers(s), powers(s, 1) / unit, powers(s, 2) / unit**2
            z = raw * turn
            dz = (first - log_ratio * raw) * turn
            ddz = (second - 2 * log_ratio * first + log_ratio**2 * raw) * turn
            by_shape = counts + shape * (statistics.sums - counts * log_ratio - dz)
            gradient = np.stack([by_shape, shape * (z - counts)], axis=1)
            corner = shape * (counts - z - shape * dz)
            information = np.stack(
                [[counts + shape**2 * ddz, corner], [corner, shape**2 * z]]
            ).transpose(2, 0, 1)
        return gradient, information

    def chart(self, parameters: Parameters, statistics: LocalStatistics) -> LocalChart:
        return LocalChart(self, parameters, statistics)

    def initialize(self, x: Array, responsibilities: Array, memo: Memo = None) -> Parameters:
        """Mean and variance of log x (Menon 1963, Technometrics 5(2)), then steps of ascent."""
        log_x, present = _log_values(x, memo)
        rows = responsibilities * present[:, None]
        with np.errstate(all="ignore"):
            weights = rows / rows.sum(axis=0)
            mean = log_x @ weights
            variance = np.einsum("nk,nk->k", weights, (log_x[:, None] - mean) ** 2)
            shape = np.pi / np.sqrt(6 * variance)
            scale = np.exp(mean + np.euler_gamma / shape)
        parameters: Parameters = {"shape": shape, "scale": scale}
        for _ in range(3):
            statistics = self.statistics(parameters, x, responsibilities, memo)
            parameters = self.maximize(statistics, parameters)
        return parameters

    def pseudo_statistics(self, count: Array, parameters: Parameters) -> LocalStatistics:
        """E (x/s)^(c_j) = Γ(1 + c_j/c), E log(x/s) = −γ/c, at nodes around the parameters given."""
        shape, scale = parameters["shape"], parameters["scale"]
        nodes = shape[:, None] * (1 + STEP * UNIT_NODES)
        powers = count[:, None] * gamma(1 + nodes / shape[:, None])
        sums = -count * np.euler_gamma / shape
        log_base = -float(sums.sum() + count @ np.log(scale))
        return LocalStatistics(count, sums, log_base, powers, Anchor(nodes, scale))

    def entropy(self, parameters: Parameters) -> Array:
        """H = γ(1 − 1/c) + log(s/c) + 1, nats: shape (K,)."""
        shape, scale = parameters["shape"], parameters["scale"]
        return np.asarray(np.euler_gamma * (1 - 1 / shape) + np.log(scale / shape) + 1)

    def location(self, parameters: Parameters) -> Array:
        with np.errstate(divide="ignore"):
            return np.asarray(parameters["scale"] * gamma(1 + 1 / parameters["shape"]))[:, None]

    def degeneracies(
        self, parameters: Parameters, statistics: Any, marginal: Parameters | None
    ) -> list[Degeneracy]:
        """A component of equal values has c → ∞: judged by 1/c², the squared spread of log x."""
        whole = None if marginal is None else marginal["shape"] ** -2.0
        least = self.smallest_count(1)
        counts = None if statistics is None else statistics.counts
        return collapsed(
            "squared spread of log x", parameters["shape"] ** -2.0, whole, counts, least=least
        )

    def sample(
        self, parameters: Parameters, component: int, n: int, rng: np.random.Generator
    ) -> Array:
        shape, scale = parameters["shape"][component], parameters["scale"][component]
        return np.asarray(scale * rng.weibull(shape, (n, 1)))

    def n_parameters(self, parameters: Parameters) -> int:
        return 2 * np.size(parameters["shape"])


def _log_values(x: Array, memo: Memo) -> tuple[Array, NDArray[np.bool_]]:
    """log x (0 where missing) and the rows present."""
    if memo is not None and "log" in memo:
        return memo["log"]
    present = ~np.isnan(x[:, 0])
    result = np.log(np.where(present, x[:, 0], 1.0)), present
    if memo is not None:
        memo["log"] = result
    return result


def _coordinate(shape: Array, nodes: Array) -> Array:
    """Position of a shape in [−1, 1] of its nodes; exactly 0 at the middle one."""
    with np.errstate(invalid="ignore"):
        return np.asarray((shape / nodes[:, HALF] - 1) / STEP)
