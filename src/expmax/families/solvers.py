"""Numerics shared by families: special functions, Newton from mean to natural, local statistics.

Nothing here clips or adds an epsilon: a mean on the boundary of a family gives the limit (0, ∞ or
NaN).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any, Self

import numpy as np
from numpy.polynomial import chebyshev
from scipy.special import digamma, exp1, gammaln, polygamma

from expmax.contract import Degeneracy, Parameters
from expmax.errors import ParameterError
from expmax.statistics import Additive, Array

__all__ = [
    "Anchor",
    "Interpolant",
    "LocalChart",
    "LocalStatistics",
    "bessel_ratio",
    "climb",
    "collapsed",
    "concentration_of_resultant",
    "dirichlet_concentration",
    "dirichlet_mean_log",
    "expected_over_binomial",
    "expected_over_counts",
    "gamma_shape",
    "log1p_minus",
    "log_bessel_i",
    "log_beta",
    "log_choose",
    "log_minus_digamma",
    "log_rising_excess",
    "log_rising_over_factorial",
    "newton",
    "scaled_exp1",
]

EPS = float(np.finfo(float).eps)
LOG_FLOAT = 745.0  # |log x| of every positive float64 is below this


# -- roots -----------------------------------------------------------------------------------------
def newton(
    function: Callable[[Array], tuple[Array, Array]], start: Array, lower: Array, upper: Array
) -> Array:
    """Roots of K increasing functions at once, by Newton steps kept inside a shrinking bracket.

    Parameters
    ----------
    function : callable
        u ↦ (value, slope), each of shape (K,); value < 0 left of the root and > 0 right of it.
    start, lower, upper : ndarray, shape (K,)
        First guess and bracket. A root outside the bracket gives the nearer end; NaN stays NaN.
    """
    u, lower, upper = start.copy(), lower.copy(), upper.copy()
    last = np.full(u.shape, np.inf)
    for _ in range(200):
        with np.errstate(all="ignore"):
            value, slope = function(u)
            lower, upper = np.where(value < 0, u, lower), np.where(value > 0, u, upper)
            step = -value / slope
            inside = (u + step >= lower) & (u + step <= upper)
            step = np.where(inside, step, 0.5 * (lower + upper) - u)
        step = np.where(value == 0, 0.0, step)
        size = np.abs(step)
        # below 1e-6 a Newton step that does not shrink is rounding: the root is reached
        done = (size <= 2 * EPS * (1 + np.abs(u))) | ((last < 1e-6) & (size >= last))
        u = np.where(done & (last < 1e-6), u, u + step)
        last = size
        if np.all(done | np.isnan(u)):
            break
    return u


def log_minus_digamma(a: Array) -> tuple[Array, Array]:
    """log a − ψ(a) > 0 and its slope in a, without the cancellation at large a.

    From a = 10 on by the asymptotic series, Abramowitz & Stegun (1964), 6.3.18.
    """
    with np.errstate(all="ignore"):
        value, slope = np.log(a) - digamma(a), 1 / a - polygamma(1, a)
        v = 1 / (a * a)
        series = 1 / (2 * a) - np.polyval(_DIGAMMA_SERIES, v) * v
        orders = 2.0 * np.arange(len(_DIGAMMA_SERIES), 0, -1)
        series_slope = -v / 2 + np.polyval(_DIGAMMA_SERIES * orders, v) * v / a
    return np.where(a < 10, value, series), np.where(a < 10, slope, series_slope)


# −B₂ₖ/(2k), highest k first: ψ(a) = log a − 1/(2a) + Σ_k (−B₂ₖ/2k) a^(−2k)
_DIGAMMA_SERIES = np.array(
    [3617 / 8160, -1 / 12, 691 / 32760, -1 / 132, 1 / 240, -1 / 252, 1 / 120, -1 / 12]
)


def gamma_shape(gap: Array) -> Array:
    """a with log a − ψ(a) = gap, shape (K,): the maximum-likelihood shape of a gamma distribution.

    `gap` is log E[x] − E[log x]; 0 or less (values that do not vary) gives ∞. In the logarithms of
    both sides the curve is almost a line of slope −1, so Newton needs a handful of steps from
    anywhere.
    """
    with np.errstate(all="ignore"):
        root = np.hypot(gap - 3, np.sqrt(24 * np.abs(gap)))
        start = np.log(np.where(gap < 3, (3 - gap + root) / (12 * gap), 2 / (root + gap - 3)))
        log_gap = np.log(gap)

    def excess(u: Array) -> tuple[Array, Array]:
        a = np.exp(u)
        value, slope = log_minus_digamma(a)
        return log_gap - np.log(value), -a * slope / value

    bound = np.full(gap.shape, LOG_FLOAT)
    with np.errstate(all="ignore"):
        shape = np.exp(newton(excess, start, -bound, bound))
    return np.where(gap <= 0, np.inf, np.where(gap == np.inf, 0.0, shape))


def dirichlet_mean_log(alpha: Array) -> Array:
    """ψ(α_j) − ψ(Σα), shape (K, d), without the cancellation at large α."""
    total = alpha.sum(axis=1, keepdims=True)
    part, whole = log_minus_digamma(alpha)[0], log_minus_digamma(total)[0]
    with np.errstate(all="ignore"):
        return np.asarray(np.log(alpha / total) - part + whole)


def inverse_digamma(y: Array) -> Array:
    """a > 0 with ψ(a) = y, as in Minka (2000), Estimating a Dirichlet distribution, app. C."""
    with np.errstate(all="ignore"):
        a = np.where(y >= -2.22, np.exp(y) + 0.5, -1 / (y - digamma(1.0)))
        for _ in range(6):
            a = a - (digamma(a) - y) / polygamma(1, a)
    return a


def dirichlet_concentration(mean_log: Array) -> Array:
    """α with ψ(α_j) − ψ(Σα) = E[log x_j], shape (K, d), by damped Newton steps.

    The Hessian is a diagonal minus a constant (Minka 2000). Steps are damped to δ/(1 + √2 λ),
    λ² = gᵀδ, as for a self-concordant objective (not proved here; tested for α from 1e-3 to 1e8),
    and full from λ < 1/4 on. Σ exp E[log x_j] ≥ 1 (rows that do not vary) gives ∞.
    """
    with np.errstate(all="ignore"):
        deficit = 1 - np.exp(mean_log).sum(axis=1, keepdims=True)
        total = 0.5 + (mean_log.shape[1] - 1) / (2 * deficit)  # from exp ψ(α) ≈ α − 1/2
        alpha = inverse_digamma(mean_log + digamma(total))
        last = np.full((len(alpha), 1), np.inf)
        for _ in range(200):
            step, decrement = _dirichlet_step(alpha, mean_log)
            full = decrement < 0.25
            step = np.where(full, step, step / (1 + np.sqrt(2.0) * decrement))
            shrink = np.max(-step / alpha, axis=1, keepdims=True)
            step = np.where(shrink > 0.9, step * 0.9 / shrink, step)
            size = np.max(np.abs(step) / alpha, axis=1, keepdims=True)
            done = (size <= 2 * EPS) | (full & (last < 1e-6) & (size >= last)) | ~np.isfinite(size)
            alpha = np.where(done, alpha, alpha + step)
            last = np.where(full, size, np.inf)
            if done.all():
                break
        return np.where(deficit <= 0, np.inf, alpha)


def _dirichlet_step(alpha: Array, mean_log: Array) -> tuple[Array, Array]:
    """Newton step and decrement λ of Σ α_j E[log x_j] − A(α): shapes (K, d) and (K, 1)."""
    total = alpha.sum(axis=1, keepdims=True)
    gradient = mean_log - dirichlet_mean_log(alpha)
    inverse, inverse_total = 1 / polygamma(1, alpha), 1 / polygamma(1, total)
    pull = (gradient * inverse).sum(axis=1, keepdims=True)
    step = inverse * (gradient + pull / (inverse_total - inverse.sum(axis=1, keepdims=True)))
    return step, np.sqrt((gradient * step).sum(axis=1, keepdims=True))


# -- Bessel functions ------------------------------------------------------------------------------
N_DEBYE = 14  # terms of the uniform expansion: below 1e-17 from √(ν² + x²) = 50 on
DEBYE_FROM = 50.0


@cache
def _debye() -> Array:
    """Coefficients of U_k(p) = p^k Σ_i c[k, i] p^(2i), DLMF 10.41.9: shape (N_DEBYE, N_DEBYE)."""
    table = np.zeros((N_DEBYE, N_DEBYE))
    u = {0: Fraction(1)}  # power of p → coefficient
    for k in range(N_DEBYE):
        for power, c in u.items():
            table[k, (power - k) // 2] = c
        nxt: dict[int, Fraction] = {}
        for n, c in u.items():
            for power, term in (
                (n + 1, c * n / 2 + c / (8 * (n + 1))),
                (n + 3, -c * n / 2 - 5 * c / (8 * (n + 3))),
            ):
                nxt[power] = nxt.get(power, Fraction(0)) + term
        u = nxt
    return table


def _debye_sums(order: float, x: Array) -> tuple[Array, Array, Array]:
    """r = √(ν² + x²), Σ_k U_k/ν^k, and the sum that the derivative adds to it."""
    r = np.hypot(order, x)
    squares = np.vander((order / r) ** 2, N_DEBYE, increasing=True)
    powers = (1 / r)[:, None] ** np.arange(N_DEBYE)
    k = np.arange(N_DEBYE)
    table = _debye()
    plain = ((squares @ table.T) * powers).sum(axis=1)
    slope = ((squares @ (table * (k[:, None] + 0.5 + 2 * k)).T) * powers).sum(axis=1)
    return r, plain, slope


def _bessel_series(order: float, x: Array) -> Array:
    """Γ(ν + 1) (2/x)^ν I_ν(x) = Σ_k (x²/4)^k / (k! (ν+1)…(ν+k)): positive terms, for x ≤ 50."""
    k = np.arange(1, 121)
    ratios = (x * x / 4)[:, None] / (k * (order + k))
    return np.asarray(1 + np.cumprod(ratios, axis=1).sum(axis=1))


def log_bessel_i(order: float, x: Array) -> Array:
    """log(I_ν(x) x^−ν), shape (K,), for every ν ≥ 0 and x ≥ 0 (finite at x = 0).

    Power series where √(ν² + x²) < 50; beyond, Debye's expansion uniform in x/ν, whose small
    parameter is 1/√(ν² + x²): it holds for small ν and large x too.

    References
    ----------
    NIST Digital Library of Mathematical Functions, 10.25.2 and 10.41.3.
    """
    with np.errstate(all="ignore"):
        near = np.where(np.hypot(order, x) < DEBYE_FROM, x, 0.0)
        series = np.log(_bessel_series(order, near)) - order * np.log(2.0) - gammaln(order + 1)
        r, plain, _ = _debye_sums(order, x)
        debye = r - order * np.log(order + r) - 0.5 * np.log(2 * np.pi * r) + np.log(plain)
    return np.where(r < DEBYE_FROM, series, debye)


def bessel_ratio(order: float, x: Array) -> Array:
    """I_{ν+1}(x) / I_ν(x), shape (K,): the mean resultant length of von Mises and Fisher."""
    with np.errstate(all="ignore"):
        near = np.where(np.hypot(order, x) < DEBYE_FROM, x, 0.0)
        quotient = _bessel_series(order + 1, near) / _bessel_series(order, near)
        series = near / (2 * (order + 1)) * quotient
        r, plain, slope = _debye_sums(order, x)
        debye = x * (1 / (r + order) - slope / plain / r / r)
        debye = np.where(np.isinf(x), 1.0, debye)
    return np.where(r < DEBYE_FROM, series, debye)


def concentration_of_resultant(order: float, length: Array) -> Array:
    """κ with I_{ν+1}(κ)/I_ν(κ) = R, shape (K,); R = 0 gives 0 and R ≥ 1 gives ∞.

    Newton on log φ against log κ, φ(R) = R(d − R²)/(1 − R²), d = 2ν + 2, which is within some
    percent of κ everywhere (Banerjee et al. 2005, JMLR 6, eq. 4.4), so the curve is almost a line
    of slope 1.
    """
    d = 2 * order + 2

    def log_guess(r: Array) -> Array:
        return np.log(r) + np.log(d - r * r) - np.log((1 - r) * (1 + r))

    with np.errstate(all="ignore"):
        target = log_guess(length)

    def excess(u: Array) -> tuple[Array, Array]:
        kappa = np.exp(u)
        ratio = bessel_ratio(order, kappa)
        slope = (1 - ratio) * (1 + ratio) - (d - 1) * ratio / kappa
        guess_slope = (
            1 / ratio - 2 * ratio / (d - ratio**2) + 2 * ratio / ((1 - ratio) * (1 + ratio))
        )
        # A'(κ) drowns in rounding where it is small, but there φ(A(κ)) ∝ κ
        return log_guess(ratio) - target, np.where(slope > 1e-8, kappa * slope * guess_slope, 1.0)

    bound = np.full(length.shape, LOG_FLOAT)
    with np.errstate(all="ignore"):
        kappa = np.exp(newton(excess, target, -bound, bound))
    return np.where(length == 0, 0.0, np.where(length >= 1, np.inf, kappa))


# -- elementary functions without cancellation -----------------------------------------------------
def log1p_minus(u: Array) -> Array:
    """log(1 + u) − u for u ≥ 0, accurate as u → 0 (the atanh series below .3)."""
    with np.errstate(invalid="ignore"):
        r = u / (2 + u)
        q = r * r
        series = 2 * r * q * np.polyval(1.0 / np.arange(23, 2, -2), q) - u * r
        return np.where(u < 0.3, series, np.log1p(u) - u)


# B₂ₖ/(2k(2k−1)), highest k first: remainder of Stirling's series for log Γ
_STIRLING_SERIES = np.array([-691 / 360360, 1 / 1188, -1 / 1680, 1 / 1260, -1 / 360, 1 / 12])


def log_rising_excess(size: Array, x: Array) -> Array:
    """log[Γ(x + c)/Γ(c)] − x log c = Σ_{t<x} log(1 + t/c) ≥ 0; tends to 0 as c → ∞.

    From c = 16 by differences of Stirling's series, in which nothing large cancels.
    """
    size, x = np.broadcast_arrays(size, x)
    with np.errstate(all="ignore"):
        direct = gammaln(size + x) - gammaln(size) - x * np.log(size)
        u = x / size
        stirling = size * log1p_minus(u) + (x - 0.5) * np.log1p(u)
        stirling = stirling + _stirling_remainder(size + x) - _stirling_remainder(size)
    return np.where(size < 16, direct, np.where(np.isinf(size), 0.0, stirling))


def log_beta(alpha: Array) -> Array:
    """Σ_j log Γ(α_j) − log Γ(Σα) along the last axis; the largest α_j does not cancel."""
    with np.errstate(all="ignore"):
        largest = alpha.max(axis=-1)
        ordered = np.sort(alpha, axis=-1)[..., :-1]
        rest = ordered.sum(axis=-1)
        rising = log_rising_excess(largest, rest) + rest * np.log(largest)
        return np.asarray(gammaln(ordered).sum(axis=-1) - rising)


def log_rising_over_factorial(size: Array, x: Array) -> Array:
    """log[Γ(x + c)/(Γ(c) x!)], accurate for x ≫ c, where log Γ(x + c) and log x! cancel."""
    size, x = np.broadcast_arrays(size, x)
    return -np.log(x + size) - log_beta(np.stack([x + 1, size], axis=-1))


def log_choose(n: float, x: Array) -> Array:
    """log of the binomial coefficient, accurate for few among many (log Γ cancels there)."""
    few = np.minimum(x, n - x)
    rest = n - few + 1
    return np.asarray(log_rising_excess(rest, few) + few * np.log(rest) - gammaln(few + 1))


def _stirling_remainder(a: Array) -> Array:
    return np.polyval(_STIRLING_SERIES, 1 / (a * a)) / a


def scaled_exp1(z: Array) -> Array:
    """e^z E₁(z) for z > 0; from z = 50 by its asymptotic series, DLMF 6.12.1."""
    with np.errstate(all="ignore"):
        k = np.arange(1, 20)
        series = 1 + np.cumprod(-k / z[:, None], axis=1).sum(axis=1)
        return np.where(z < 50, np.exp(np.minimum(z, 50.0)) * exp1(z), series / z)


def expected_over_counts(
    log_mass: Callable[[Array], Array],
    function: Callable[[Array], Array],
    center: float,
    spread: float,
    top: float,
) -> Array:
    """Σ_x p(x) f(x) over the counts x ≤ top of one distribution.

    Every count where there are few; else every count to 65,536 and beyond it, where p and f are
    smooth on the scale of 1, the integral over log x by Gauss-Legendre panels narrower than the
    distribution.

    Parameters
    ----------
    log_mass, function : callable
        x of shape (m,) ↦ log p(x), shape (m,), and f(x), shape (m, ...).
    center, spread : float
        Mean and standard deviation: nothing is expected more than 60 spreads below the mean.
    top : float
        Nothing is expected above.
    """
    bottom, top = np.floor(max(0.0, center - 60 * spread - 60)), np.ceil(top)
    split = top if top - bottom <= 1 << 17 else max(bottom, float(1 << 16))
    x = np.arange(bottom, split + 1)
    total = np.tensordot(np.exp(log_mass(x)), function(x), axes=1)
    if split < top:
        low, high = np.log(split + 0.5), np.log(top + 0.5)
        n_panels = int(np.ceil((high - low) / min(0.25, 0.5 * spread / center)))
        edges = np.linspace(low, high, n_panels + 1)
        node, weight = np.polynomial.legendre.leggauss(16)
        half = 0.5 * np.diff(edges)[:, None]
        x = np.exp(edges[:-1, None] + half * (1 + node)).ravel()
        mass = np.exp(log_mass(x)) * x * (half * weight).ravel()
        total = total + np.tensordot(mass, function(x), axes=1)
    return np.asarray(total)


def expected_over_binomial(
    n: int, log_hit: float, log_miss: float, function: Callable[[Array], Array]
) -> Array:
    """E[f(x)] of the successes x in n trials, from log p and log(1 − p)."""

    def log_mass(x: Array) -> Array:
        with np.errstate(invalid="ignore"):
            hits, misses = (
                np.where(x == 0, 0.0, x * log_hit),
                np.where(x == n, 0.0, (n - x) * log_miss),
            )
        return np.asarray(log_choose(n, x) + hits + misses)

    mean = n * np.exp(log_hit)
    spread = float(np.sqrt(mean * np.exp(log_miss)))
    top = min(float(n), mean + 60 * spread + 60)
    return expected_over_counts(log_mass, function, mean, spread, top)


# -- degeneracy ------------------------------------------------------------------------------------
def collapsed(
    name: str, spread: Array, marginal: Array | None, floor: Array | float = 1e-13
) -> list[Degeneracy]:
    """Components whose squared spread is lost beside that of the one-component fit, or in rounding.

    Parameters
    ----------
    name : str
        What `spread` is, for the message.
    spread : ndarray, shape (K,)
        A squared scale of each component; 0 where its values do not vary.
    marginal : ndarray, shape (1,), optional
        The same of the one-component fit: below 1e-9 of it a component has collapsed.
    floor : float or ndarray, shape (K,)
        What rounding of the moments leaves of a spread of zero.
    """
    limit = np.broadcast_to(np.asarray(floor, float), spread.shape)
    if marginal is not None and np.isfinite(marginal[0]):
        limit = np.maximum(limit, 1e-9 * marginal[0])
    return [
        Degeneracy(int(k), f"collapsed: its values do not vary ({name} {spread[k]:.2g})")
        for k in np.flatnonzero(spread <= limit)
    ]


# -- local statistics ------------------------------------------------------------------------------
HALF = 7  # 2·7 + 1 = 15 nodes, the middle one exactly 0
UNIT_NODES = np.sin(np.pi * np.arange(-HALF, HALF + 1) / (2 * HALF))
_BARYCENTRIC = np.array([1.0 if j % 2 == 0 else -1.0 for j in range(2 * HALF + 1)])
_BARYCENTRIC[[0, -1]] *= 0.5
_TO_CHEBYSHEV = np.linalg.inv(chebyshev.chebvander(UNIT_NODES, 2 * HALF)).T


@dataclass(frozen=True, slots=True)
class Anchor(Additive):
    """Where local statistics were taken: nodes of the shape, and the scale. It does not add."""

    nodes: Array  # parameter values, shape (K, 15); the middle one is the current value
    unit: Array  # current value of the other parameter (scale or mean), shape (K,)

    def _combine(self, operation: Callable[[Any, Any], Any], other: Self) -> Self:
        same = self is other or (
            np.array_equal(self.nodes, other.nodes, equal_nan=True)
            and np.array_equal(self.unit, other.unit, equal_nan=True)
        )
        if not same:
            raise ParameterError(
                "local statistics taken at different parameters do not add "
                f"(first component: {self.nodes[0, HALF]:.6g} and {other.nodes[0, HALF]:.6g}); "
                "take both at the same parameters. Families with local statistics (Weibull, "
                "NegativeBinomial) take no conjugate prior and no online EM."
            )
        return self


@dataclass(frozen=True, slots=True)
class LocalStatistics(Additive):
    """Sums that depend on a shape parameter, kept at nodes around its current value."""

    counts: Array  # Σ_i r_ik over rows present, shape (K,)
    sums: Array  # Σ_i r_ik t(x_i) of the statistic that does not depend on the shape, shape (K,)
    log_base: float  # Σ_i Σ_k r_ik log h(x_i), nats
    values: Array  # Σ_i r_ik f(x_i; node_kj), shape (K, 15)
    anchor: Anchor


class Interpolant:
    """The polynomial through K functions known at the Chebyshev–Lobatto points `UNIT_NODES`.

    References
    ----------
    Berrut & Trefethen (2004), SIAM Review 46(3), eq. 4.2 and 5.4.
    """

    def __init__(self, values: Array) -> None:
        self.values = values
        with np.errstate(invalid="ignore"):
            coefficients = (values @ _TO_CHEBYSHEV).T
        self.derivatives = [
            np.asarray(chebyshev.chebder(coefficients, order, axis=0), float) for order in range(3)
        ]
        size = np.abs(coefficients)
        with np.errstate(invalid="ignore"):
            self.resolved = size[-2:].max(axis=0) <= 1e-12 * size.max(axis=0)

    def __call__(self, s: Array, derivative: int = 0) -> Array:
        """Value or derivative at s, shape (K,) or (m, K).

        At a node the value is the one given; between nodes NaN unless the polynomial is resolved.
        """
        if derivative:
            coefficients = self.derivatives[derivative]
            if s.ndim == 2:
                coefficients = coefficients[:, None, :]
            return np.asarray(chebyshev.chebval(s, coefficients, tensor=False))
        gap = s[..., None] - UNIT_NODES
        hit = np.abs(gap) <= 1e-14  # what rounding leaves of a node after a change of coordinates
        with np.errstate(all="ignore"):
            weight = np.where(hit.any(axis=-1, keepdims=True), hit, _BARYCENTRIC / gap)
            terms = np.where(weight == 0, 0.0, weight * self.values)
            out = terms.sum(axis=-1) / weight.sum(axis=-1)
        inside = (np.abs(s) <= 1) & self.resolved
        return np.asarray(np.where(inside | hit.any(axis=-1), out, np.nan))


def climb(
    value: Callable[[Array], Array],
    slope: Callable[[Array], tuple[Array, Array]],
    upper: Array,
) -> Array:
    """s in [−1, upper] that maximises K smooth functions, never below their value at 0: shape (K,).

    Parameters
    ----------
    value : callable
        s of shape (m, K) ↦ values; NaN where they cannot be trusted, and then the best node is
        taken.
    slope : callable
        s of shape (K,) ↦ first and second derivative.
    upper : ndarray, shape (K,)
        End of the interval, in [0, 1].
    """
    grid = np.broadcast_to(UNIT_NODES[:, None], (len(UNIT_NODES), len(upper)))
    heights = value(grid)
    heights = np.where(np.isnan(heights) | (grid > upper), -np.inf, heights)
    best = np.where(heights[HALF] == heights.max(axis=0), HALF, heights.argmax(axis=0))
    node = UNIT_NODES[best]
    left = UNIT_NODES[np.maximum(best - 1, 0)]
    right = np.minimum(UNIT_NODES[np.minimum(best + 1, len(UNIT_NODES) - 1)], upper)

    def descent(s: Array) -> tuple[Array, Array]:
        first, second = slope(s)
        return -first, -second

    root = np.clip(newton(descent, node, left, right), left, right)
    with np.errstate(invalid="ignore"):
        at_root, at_best = value(root[None])[0], heights.max(axis=0)
        better = at_root >= at_best - 16 * EPS * np.abs(at_best)
    return np.where(np.isfinite(at_best), np.where(better, root, node), 0.0)


class LocalChart:
    """Logarithms of both parameters of a family with local statistics, v = Lᵀ(log θ − log θ₀).

    LLᵀ = −∂²Q/∂(log θ)² at the reference. A coordinate along which Q is flat (a size at its cap, a
    component without data) is left out.
    """

    def __init__(self, family: Any, parameters: Parameters, statistics: LocalStatistics) -> None:
        self.family, self.parameters, self.names = family, parameters, tuple(parameters)
        self.reference = self._logarithms(parameters)
        _, information = family.log_derivatives(parameters, statistics)
        diagonal = np.diagonal(information, axis1=1, axis2=2)
        with np.errstate(invalid="ignore"):
            live = np.isfinite(self.reference) & (diagonal > 1e-9 * statistics.counts[:, None])
            crossed = information[:, 0, 1] ** 2 >= information[:, 0, 0] * information[:, 1, 1]
        live[crossed & live.all(axis=1)] = False  # not a maximum of Q
        self.live = live
        self.factors = [
            np.linalg.cholesky(matrix[np.ix_(used, used)])
            for matrix, used in zip(information, live, strict=True)
        ]
        self.scale = np.repeat(np.sqrt(statistics.counts), live.sum(axis=1))
        self._cuts = np.cumsum(live.sum(axis=1))[:-1]

    def _logarithms(self, parameters: Parameters) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.log(np.stack([parameters[name] for name in self.names], axis=1)))

    def to_vector(self, parameters: Parameters) -> Array:
        change = self._logarithms(parameters) - self.reference
        parts = zip(self.factors, change, self.live, strict=True)
        return np.concatenate([factor.T @ row[used] for factor, row, used in parts])

    def from_vector(self, vector: Array) -> Parameters:
        shift = np.zeros(self.reference.shape)
        for k, part in enumerate(np.split(vector, self._cuts)):
            shift[k, self.live[k]] = np.linalg.solve(self.factors[k].T, part)
        with np.errstate(over="ignore"):
            return {
                name: self.parameters[name] * np.exp(shift[:, j])
                for j, name in enumerate(self.names)
            }

    def score(self, parameters: Parameters, statistics: LocalStatistics) -> Array:
        gradient, _ = self.family.log_derivatives(parameters, statistics)
        parts = zip(self.factors, gradient, self.live, strict=True)
        return np.concatenate([np.linalg.solve(factor, row[used]) for factor, row, used in parts])
