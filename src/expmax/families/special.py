"""Special functions without cancellation: of the gamma, Bessel and beta families."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numpy as np
from scipy.special import digamma, exp1, gammaln, zeta

from expmax.statistics import Array

__all__ = [
    "bessel_ratio",
    "dirichlet_mean_log",
    "log1p_minus",
    "log_bessel_i",
    "log_beta",
    "log_choose",
    "log_minus_digamma",
    "log_rising_excess",
    "log_rising_over_factorial",
    "log_shape_information",
    "scaled_exp1",
    "stirling_remainder",
]


# -- gamma functions -------------------------------------------------------------------------------
SERIES_FROM = 10.0  # from here on asymptotic series hold to rounding

# in powers of 1/a², lowest first, B being Bernoulli's numbers
_DIGAMMA_SERIES = np.array(  # −B₂ₖ/2k: ψ(a) = log a − 1/2a + Σ_k (−B₂ₖ/2k) a^(−2k)
    [-1 / 12, 1 / 120, -1 / 252, 1 / 240, -1 / 132, 691 / 32760, -1 / 12, 3617 / 8160]
)
_TRIGAMMA_SERIES = _DIGAMMA_SERIES * np.arange(2.0, 17.0, 2.0)
_STIRLING_SERIES = np.array(  # B₂ₖ/(2k(2k − 1))
    [1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156]
)


def log_minus_digamma(a: Array) -> Array:
    """log a − ψ(a) = 1/2a + 1/12a² + O(a⁻⁴), without the cancellation at large a.

    By the asymptotic series of Abramowitz & Stegun (1964), 6.3.18, from a = 10 on.
    """
    with np.errstate(all="ignore"):
        v = 1 / (a * a)
        series = 1 / (2 * a) - _polynomial(_DIGAMMA_SERIES, v) * v
        return np.where(a < SERIES_FROM, np.log(a) - digamma(a), series)


def log_shape_information(a: Array) -> Array:
    """a² (ψ'(a) − 1/a), what a gamma variable tells of log a: from 1 at 0 to ½ + 1/6a + O(a⁻³)."""
    with np.errstate(all="ignore"):
        series = 0.5 - _polynomial(_TRIGAMMA_SERIES, 1 / (a * a)) / a
        small = np.where(
            (a > 0) & (a < SERIES_FROM), a, np.nan
        )  # zeta takes |a| steps from below 0
        return np.where(a < SERIES_FROM, small * (small * zeta(2, small) - 1), series)


def stirling_remainder(a: Array) -> Array:
    """log Γ(a) − [(a − ½) log a − a + ½ log 2π] = 1/12a + O(a⁻³), to the last digit at large a.

    By Stirling's series, Abramowitz & Stegun (1964), 6.1.40, from a = 10 on.
    """
    with np.errstate(all="ignore"):
        exact = gammaln(a) - (a - 0.5) * np.log(a) + a - 0.5 * np.log(2 * np.pi)
        return np.where(a < SERIES_FROM, exact, _stirling_series(a))


def _stirling_series(a: Array) -> Array:
    return np.polyval(_STIRLING_SERIES[::-1], 1 / (a * a)) / a


def _polynomial(coefficients: Array, v: Array) -> Array:
    """Σ_j c_j v^j, in few calls: for arrays as small as parameters are."""
    return np.asarray(v[..., None] ** np.arange(len(coefficients)) @ coefficients)


def dirichlet_mean_log(alpha: Array) -> Array:
    """ψ(α_j) − ψ(Σα), shape (K, d), without the cancellation at large α."""
    total = alpha.sum(axis=1, keepdims=True)
    part, whole = log_minus_digamma(alpha), log_minus_digamma(total)
    with np.errstate(all="ignore"):
        return np.asarray(np.log(alpha / total) - part + whole)


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


# -- elementary functions without cancellation -----------------------------------------------------
def log1p_minus(u: Array) -> Array:
    """log(1 + u) − u for u ≥ 0, accurate as u → 0 (the atanh series below .3)."""
    with np.errstate(invalid="ignore"):
        r = u / (2 + u)
        q = r * r
        series = 2 * r * q * np.polyval(1.0 / np.arange(23, 2, -2), q) - u * r
        return np.where(u < 0.3, series, np.log1p(u) - u)


def log_rising_excess(size: Array, x: Array) -> Array:
    """log[Γ(x + c)/Γ(c)] − x log c = Σ_{t<x} log(1 + t/c) ≥ 0; tends to 0 as c → ∞.

    From c = 16 by differences of Stirling's series, in which nothing large cancels.
    """
    size, x = np.broadcast_arrays(size, x)
    with np.errstate(all="ignore"):
        direct = gammaln(size + x) - gammaln(size) - x * np.log(size)
        u = x / size
        stirling = size * log1p_minus(u) + (x - 0.5) * np.log1p(u)
        stirling = stirling + _stirling_series(size + x) - _stirling_series(size)
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


def scaled_exp1(z: Array) -> Array:
    """e^z E₁(z) for z > 0; from z = 50 by its asymptotic series, DLMF 6.12.1."""
    with np.errstate(all="ignore"):
        k = np.arange(1, 20)
        series = 1 + np.cumprod(-k / z[:, None], axis=1).sum(axis=1)
        return np.where(z < 50, np.exp(np.minimum(z, 50.0)) * exp1(z), series / z)
