"""The registry of families: each case runs through each identity of families/test_identities.py.

To add a family, append one `Case` to `CASES`. An identity that a family lacks (no natural
parameters, no quadrature given, missing cells refused) is skipped by what the case or the family
offers, not by name.

Cases called "… extreme" stress the formulas where SciPy loses digits: their oracle is mpmath.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, gammaln

from expmax.families.base import Family
from expmax.families.bernoulli import Bernoulli
from expmax.families.beta import Beta
from expmax.families.binomial import Binomial
from expmax.families.categorical import Categorical
from expmax.families.dirichlet import Dirichlet
from expmax.families.exponential import Exponential
from expmax.families.exponential_family import ExponentialFamily
from expmax.families.gamma import Gamma
from expmax.families.geometric import Geometric
from expmax.families.inverse_gaussian import InverseGaussian
from expmax.families.log_normal import LogNormal
from expmax.families.multinomial import Multinomial
from expmax.families.negative_binomial import NegativeBinomial
from expmax.families.poisson import Poisson
from expmax.families.von_mises import VonMises
from expmax.families.von_mises_fisher import VonMisesFisher
from expmax.families.weibull import Weibull
from expmax.statistics import Array

LogDensity = Callable[[Array], Array]


@dataclass(frozen=True)
class Case:
    """A family, parameters of K ≥ 3 components, and independent knowledge of what it should say."""

    name: str
    family: Family
    parameters: dict[str, Any]
    x: Array  # rows in the support, edges included, shape (n, d)
    reference: Sequence[LogDensity]  # one a component: x ↦ log p(x), by SciPy or mpmath
    n_parameters: int
    outside: Sequence[Sequence[float]] = ()  # rows outside the support
    quadrature: tuple[Array, Array] | None = (
        None  # (x, w): Σ w f(x) is the sum or integral over the support
    )
    over_complete: bool = False  # A = 0 by normalisation, so ∇A is not the mean
    sampling: bool = True  # E[T] can be checked by drawing
    # (n, 1) size of the terms that cancel in log p, if the family is not exponential; default 0
    cancelling: Callable[[Array], Array] | None = None
    # |Δη|/|η| after natural → mean → natural; looser only where E[T] in float64 holds η no better
    round_trip: float = 1e-10
    fit: Callable[[Array], dict[str, Any]] | None = None  # SciPy's estimate of one component

    @property
    def n_components(self) -> int:
        return len(next(iter(self.parameters.values())))

    @property
    def natural(self) -> Array:
        assert isinstance(self.family, ExponentialFamily)
        return self.family.natural(self.parameters)

    def component(self, k: int) -> dict[str, Any]:
        return {name: value[k : k + 1] for name, value in self.parameters.items()}

    def responsibilities(self, seed: int = 0) -> Array:
        """Random responsibilities of the rows of `x`; 0 where a component cannot emit a row."""
        r = np.random.default_rng(seed).dirichlet(np.ones(self.n_components), len(self.x))
        return np.where(np.isneginf(self.family.log_density(self.parameters, self.x)), 0.0, r)


# -- oracles ---------------------------------------------------------------------------------------
def by_scipy(distributions: Sequence[Any]) -> list[LogDensity]:
    """log p of frozen SciPy distributions of one column."""

    def of(d: Any) -> LogDensity:
        log_p = d.logpmf if hasattr(d.dist, "logpmf") else d.logpdf
        return lambda x: log_p(x[:, 0])

    return [of(d) for d in distributions]


def by_scipy_rows(log_densities: Sequence[LogDensity]) -> list[LogDensity]:
    """log p of SciPy's distributions of whole rows."""
    return [lambda x, f=f: np.array([float(f(row)) for row in x]) for f in log_densities]


def by_mpmath(formula: Callable[..., Any], parameters: dict[str, Any]) -> list[LogDensity]:
    """log p by a formula of one row and the parameters of one component, in 60 digits."""
    columns = list(parameters.values())

    def of(k: int) -> LogDensity:
        def log_p(x: Array) -> Array:
            with mp.workdps(60):
                theta = [_exact(c[k]) for c in columns]
                return np.array([float(formula(_exact(row), *theta)) for row in x])

        return log_p

    return [of(k) for k in range(len(columns[0]))]


def _exact(value: Any) -> Any:
    value = np.asarray(value, float)
    entries = [mp.mpf(float(v)) for v in value.ravel()]
    return entries[0] if value.size == 1 and value.ndim <= 1 else entries


def mp_gamma(x: Any, a: Any, b: Any) -> Any:
    return (a - 1) * mp.log(x) - b * x - mp.loggamma(a) + a * mp.log(b)


def mp_beta(x: Any, a: Any, b: Any) -> Any:
    log_b = mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)
    return (a - 1) * mp.log(x) + (b - 1) * mp.log(1 - x) - log_b


def mp_dirichlet(x: Any, alpha: Any) -> Any:
    terms = [(a - 1) * mp.log(v) - mp.loggamma(a) for a, v in zip(alpha, x, strict=True)]
    return sum(terms) + mp.loggamma(sum(alpha))


def mp_inverse_gaussian(x: Any, m: Any, shape: Any) -> Any:
    return mp.log(shape / (2 * mp.pi * x**3)) / 2 - shape * (x - m) ** 2 / (2 * m**2 * x)


def mp_log_normal(x: Any, mu: Any, sigma: Any) -> Any:
    z = (mp.log(x) - mu) / sigma
    return -z * z / 2 - mp.log(x * sigma * mp.sqrt(2 * mp.pi))


def mp_log_bessel(order: Any, x: Any) -> Any:
    """log I_ν(x): the convergent series, or Hankel's expansion (DLMF 10.40.1) for large x."""
    if x < 5000:
        return mp.log(mp.besseli(order, x, maxterms=10**6))
    half = mp.mpf(1) / 2
    return (
        x - mp.log(2 * mp.pi * x) / 2 + mp.log(mp.hyp2f0(half + order, half - order, 1 / (2 * x)))
    )


def mp_von_mises(x: Any, mu: Any, kappa: Any) -> Any:
    return kappa * mp.cos(x - mu) - mp.log(2 * mp.pi) - mp_log_bessel(0, kappa)


def mp_von_mises_fisher(x: Any, mu: Any, kappa: Any) -> Any:
    d = mp.mpf(len(x))
    length = mp.sqrt(sum(v * v for v in x))
    dot = sum(u * v for u, v in zip(mu, x, strict=True)) / length
    nu = d / 2 - 1
    return kappa * dot - d / 2 * mp.log(2 * mp.pi) - mp_log_bessel(nu, kappa) + nu * mp.log(kappa)


def mp_binomial(n: int) -> Callable[..., Any]:
    def log_p(x: Any, p: Any) -> Any:
        hits = 0 if x == 0 else x * mp.log(p)
        misses = 0 if x == n else (n - x) * mp.log(1 - p)
        return mp.log(mp.binomial(n, x)) + hits + misses

    return log_p


def mp_negative_binomial(x: Any, m: Any, c: Any) -> Any:
    ways = mp.loggamma(x + c) - mp.loggamma(c) - mp.loggamma(x + 1)
    return ways - c * mp.log1p(m / c) + x * mp.log(m / (c + m))


# -- quadrature ------------------------------------------------------------------------------------
def positive(low: float, high: float, step: float) -> tuple[Array, Array]:
    """The trapezoid rule in log x: exponentially accurate for what decays at both ends."""
    x = np.exp(np.arange(low, high, step))
    return x[:, None], x * step


def unit_interval(bound: float = 36.0, step: float = 0.01) -> tuple[Array, Array]:
    """The trapezoid rule in the logit; to ±36, where 1 − x still is a float."""
    t = np.arange(-bound, bound, step)
    return expit(t)[:, None], expit(t) * expit(-t) * step


def circle(n: int) -> tuple[Array, Array]:
    """Equal steps round a full turn, open at −π."""
    angle = np.pi - 2 * np.pi * np.arange(n) / n
    return angle[:, None], np.full(n, 2 * np.pi / n)


def counts(top: int) -> tuple[Array, Array]:
    """0 … top, each once."""
    return np.arange(top + 1.0)[:, None], np.ones(top + 1)


def all_rows(values: Sequence[float], d: int) -> tuple[Array, Array]:
    """Every row of d of the values."""
    x = np.array(list(product(values, repeat=d)), float)
    return x, np.ones(len(x))


def rows_of_total(total: int, d: int) -> tuple[Array, Array]:
    """Every row of d counts with this total."""
    x, _ = all_rows(range(total + 1), d)
    x = x[x.sum(axis=1) == total]
    return x, np.ones(len(x))


def triangle(bound: float = 30.0, step: float = 0.2) -> tuple[Array, Array]:
    """The simplex of three shares, by logits of the first and of the rest."""
    t = np.arange(-bound, bound, step)
    s, u = (a.ravel() for a in np.meshgrid(t, t))
    first, rest = expit(s), expit(-s)
    x = np.stack([first, rest * expit(u), rest * expit(-u)], axis=1)
    return x, first * rest * rest * expit(u) * expit(-u) * step**2


def sphere(n: int = 120) -> tuple[Array, Array]:
    """The unit sphere in three dimensions: Gauss-Legendre in height, equal steps in longitude."""
    height, weight = np.polynomial.legendre.leggauss(n)
    angle = 2 * np.pi * np.arange(2 * n) / (2 * n)
    z, turn = (a.ravel() for a in np.meshgrid(height, angle))
    r = np.sqrt(1 - z * z)
    w = np.tile(weight, 2 * n) * (np.pi / n)
    return np.stack([r * np.cos(turn), r * np.sin(turn), z], axis=1), w


# -- parameters ------------------------------------------------------------------------------------
def column(*values: float) -> Array:
    return np.array(values, float)[:, None]


def arrays(**parameters: Any) -> dict[str, Any]:
    return {name: np.array(value, float) for name, value in parameters.items()}


def each(make: Callable[..., Any], parameters: dict[str, Any]) -> list[Any]:
    """One object a component."""
    return [make(*theta) for theta in zip(*parameters.values(), strict=True)]


def unit_rows(*rows: Sequence[float]) -> Array:
    x = np.array(rows, float)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def around(center: Array, spread: Array) -> Array:
    """Values in the bulk of each component of an extreme case."""
    return (center + spread * np.array([-2.0, -0.3, 0.7, 3.0])[:, None]).reshape(-1, 1)


POISSON = arrays(rate=[0.3, 4.0, 60.0])
EXPONENTIAL = arrays(rate=[0.01, 1.0, 30.0])
CATEGORICAL = arrays(probability=[[0.2, 0.5, 0.3], [0.98, 0.01, 0.01], [0.1, 0.1, 0.8]])
BERNOULLI = arrays(probability=[[0.2, 0.5, 0.3], [0.98, 0.01, 0.999], [1e-9, 0.1, 0.8]])
BINOMIAL = arrays(probability=[0.3, 1e-6, 0.97])
BINOMIAL_EXTREME = arrays(probability=[0.5, 1e-12, 0.999999])
MULTINOMIAL = arrays(probability=[[0.2, 0.5, 0.3], [0.98, 0.01, 0.01], [1e-7, 0.2, 0.8 - 1e-7]])
GEOMETRIC = arrays(probability=[0.03, 0.5, 0.99])
GEOMETRIC_EXTREME = arrays(probability=[1e-9, 1e-4, 1 - 1e-9])
GAMMA = arrays(shape=[0.5, 1.0, 40.0], rate=[0.1, 1.0, 3.0])
GAMMA_OF_SHAPE = arrays(shape=[2.5, 2.5, 2.5], rate=[2, 0.05, 40])
GAMMA_EXTREME = arrays(shape=[1e-3, 1e5, 1e8, 30.0], rate=[1e-3, 1e3, 1e8, 1e12])
INVERSE_GAUSSIAN = arrays(mean=[0.5, 2.0, 30.0], shape=[0.4, 40.0, 100.0])
INVERSE_GAUSSIAN_EXTREME = arrays(mean=[1e3, 2.0, 1e-4], shape=[1e-3, 1e8, 1e-4])
LOG_NORMAL = arrays(mu=[-1.0, 0.0, 3.0], sigma=[0.3, 1.0, 2.0])
LOG_NORMAL_EXTREME = arrays(mu=[-100.0, 10.0, 0.0], sigma=[3.0, 1e-4, 1e-6])
BETA = arrays(a=[2.0, 3.0, 30.0], b=[2.5, 1.5, 12.0])
BETA_EXTREME = arrays(a=[1e-2, 1e6, 1e-2, 40.0], b=[1e-2, 1e6, 1e4, 3e5])
DIRICHLET = arrays(concentration=[[2.0, 2.5, 3.0], [4.0, 1.5, 1.7], [20.0, 12.0, 7.0]])
DIRICHLET_EXTREME = arrays(
    concentration=[[1e-2, 0.03, 0.01, 0.2], [1e6, 1e5, 1e6, 3e6], [1e-2, 1e4, 1.0, 30.0]]
)
VON_MISES = arrays(mean=[0.4, np.pi, -2.0], concentration=[0.2, 3.0, 80.0])
VON_MISES_EXTREME = arrays(mean=[0.0, 3.1, -2.0, 1.0], concentration=[1e-6, 1e4, 1e8, 49.999])
FISHER = {
    "mean": unit_rows([1, 2, 3], [0, 0, -1], [1, -1, 0]),
    "concentration": np.array([0.3, 5.0, 70.0]),
}
FISHER_EXTREME = {
    "mean": unit_rows(np.ones(40), np.arange(40.0), np.eye(40)[3]),
    "concentration": np.array([1e-6, 200.0, 1e8]),
}
NEGATIVE_BINOMIAL = arrays(mean=[0.5, 4.0, 20.0], size=[0.3, 2.0, 50.0])
FIXED_SIZE = arrays(mean=[0.5, 4.0, 20.0], size=[2.5, 2.5, 2.5])
FIXED_HUGE_SIZE = arrays(mean=[1e-3, 5.0, 60.0], size=[1e12] * 3)
NEGATIVE_BINOMIAL_EXTREME = arrays(mean=[3.0, 1e-6, 1e6, 1e4], size=[1e4, 2.0, 1e-3, 1e3])
NEARLY_POISSON = arrays(mean=[3.0, 1e-6, 1e6], size=[1e9, 1e8, 1e12])
WEIBULL = arrays(shape=[0.7, 1.0, 5.0], scale=[0.5, 2.0, 30.0])
WEIBULL_EXTREME = arrays(shape=[0.05, 300.0, 2.0], scale=[1e-3, 5.0, 1e12])


def wald(mean: float, shape: float) -> Any:
    return stats.invgauss(mean / shape, scale=shape)


def negative_binomial(mean: float, size: float) -> Any:
    return stats.nbinom(size, size / (size + mean))


def gamma_fit(x: Array) -> dict[str, Any]:
    shape, _, scale = stats.gamma.fit(x[:, 0], floc=0)
    return {"shape": shape, "rate": 1 / scale}


def wald_fit(x: Array) -> dict[str, Any]:
    ratio, _, scale = stats.invgauss.fit(x[:, 0], floc=0)
    return {"mean": ratio * scale, "shape": scale}


def log_normal_fit(x: Array) -> dict[str, Any]:
    sigma, _, scale = stats.lognorm.fit(x[:, 0], floc=0)
    return {"mu": np.log(scale), "sigma": sigma}


def beta_fit(x: Array) -> dict[str, Any]:
    return dict(zip("ab", stats.beta.fit(x[:, 0], floc=0, fscale=1)[:2], strict=True))


def von_mises_fit(x: Array) -> dict[str, Any]:
    kappa, mean, _ = stats.vonmises.fit(x[:, 0], fscale=1)
    return {"mean": mean, "concentration": kappa}


def fisher_fit(x: Array) -> dict[str, Any]:
    mean, kappa = stats.vonmises_fisher.fit(x)
    return {"mean": mean, "concentration": kappa}


def weibull_fit(x: Array) -> dict[str, Any]:
    shape, _, scale = stats.weibull_min.fit(x[:, 0], floc=0)
    return {"shape": shape, "scale": scale}


CASES: list[Case] = [
    Case(
        "Poisson",
        Poisson(),
        POISSON,
        column(0, 1, 2, 7, 60, 150),
        by_scipy(each(stats.poisson, POISSON)),
        n_parameters=3,
        outside=[[-1], [1.5], [np.inf]],
        quadrature=counts(400),
    ),
    Case(
        "Exponential",
        Exponential(),
        EXPONENTIAL,
        column(0, 1e-300, 0.01, 1, 50, 1e4),
        by_scipy(each(lambda rate: stats.expon(scale=1 / rate), EXPONENTIAL)),
        n_parameters=3,
        outside=[[-0.1], [np.inf]],
        quadrature=positive(-45, 12, 0.01),
        fit=lambda x: {"rate": 1 / stats.expon.fit(x[:, 0], floc=0)[1]},
    ),
    Case(
        "Categorical",
        Categorical(3),
        CATEGORICAL,
        column(0, 1, 2, 0, 1),
        by_scipy(each(lambda p: stats.rv_discrete(values=(range(3), p)).freeze(), CATEGORICAL)),
        n_parameters=6,
        outside=[[3], [0.5], [-1]],
        quadrature=counts(2),
        over_complete=True,
    ),
    Case(
        "Bernoulli",
        Bernoulli(),
        BERNOULLI,
        all_rows([0, 1], 3)[0],
        each(lambda p: lambda x: stats.bernoulli(p).logpmf(x).sum(axis=1), BERNOULLI),
        n_parameters=9,
        outside=[[0, 1, 2], [0.5, 1, 1]],
        quadrature=all_rows([0, 1], 3),
        over_complete=True,
    ),
    Case(
        "Binomial",
        Binomial(12),
        BINOMIAL,
        column(0, 1, 5, 11, 12),
        by_scipy(each(lambda p: stats.binom(12, p), BINOMIAL)),
        n_parameters=3,
        outside=[[13], [-1], [2.5]],
        quadrature=counts(12),
        over_complete=True,
    ),
    Case(
        "Binomial extreme",
        Binomial(100_000),
        BINOMIAL_EXTREME,
        column(0, 1, 50_000, 49_700, 99_999, 100_000),
        by_mpmath(mp_binomial(100_000), BINOMIAL_EXTREME),
        n_parameters=3,
        over_complete=True,
    ),
    Case(
        "Multinomial",
        Multinomial(6),
        MULTINOMIAL,
        np.array([[6, 0, 0], [1, 2, 3], [0, 0, 0], [0, 1, 0], [40, 3, 70.0]]),
        by_scipy_rows(
            each(lambda p: lambda row: stats.multinomial.logpmf(row, row.sum(), p), MULTINOMIAL)
        ),
        n_parameters=6,
        outside=[[1, -1, 2], [0.5, 0, 0]],
        quadrature=rows_of_total(6, 3),
        over_complete=True,
    ),
    Case(
        "Geometric",
        Geometric(),
        GEOMETRIC,
        column(0, 1, 2, 30, 200),
        by_scipy(each(lambda p: stats.geom(p, loc=-1), GEOMETRIC)),
        n_parameters=3,
        outside=[[-1], [0.5]],
        quadrature=counts(2000),
    ),
    Case(
        "Geometric extreme",
        Geometric(),
        GEOMETRIC_EXTREME,
        column(0, 1, 1e4, 1e9, 1e12),
        by_mpmath(lambda x, p: mp.log(p) + x * mp.log(1 - p), GEOMETRIC_EXTREME),
        n_parameters=3,
    ),
    Case(
        "Gamma",
        Gamma(),
        GAMMA,
        column(1e-200, 0.01, 1, 13, 100),
        by_scipy(each(lambda a, b: stats.gamma(a, scale=1 / b), GAMMA)),
        n_parameters=6,
        outside=[[0], [-1], [np.inf]],
        quadrature=positive(-90, 9, 0.01),
        fit=gamma_fit,
    ),
    Case(
        "Gamma of shape 2.5",
        Gamma(shape=2.5),
        GAMMA_OF_SHAPE,
        column(1e-200, 0.01, 1, 13, 100),
        by_scipy(each(lambda a, b: stats.gamma(a, scale=1 / b), GAMMA_OF_SHAPE)),
        n_parameters=3,
        outside=[[0], [-1], [np.inf]],
        quadrature=positive(-90, 9, 0.01),
        fit=lambda x: {"shape": np.array([2.5]), "rate": 2.5 / x.mean(axis=0)},
    ),
    Case(
        "Gamma extreme",
        Gamma(),
        GAMMA_EXTREME,
        np.vstack(
            [
                column(1e-250, 1e-3, 50, 3e4),
                around(np.array([1e2, 1, 3e-11]), np.array([0.3, 1e-4, 5e-12])),
            ]
        ),
        by_mpmath(mp_gamma, GAMMA_EXTREME),
        n_parameters=8,
        sampling=False,  # shape 1e-3 draws zeros
        round_trip=1e-7,  # shape 1e8: log E[x] − E[log x] = 5e-9, held to 1e-16
    ),
    Case(
        "InverseGaussian",
        InverseGaussian(),
        INVERSE_GAUSSIAN,
        column(0.01, 0.5, 2, 33, 400),
        by_scipy(each(wald, INVERSE_GAUSSIAN)),
        n_parameters=6,
        outside=[[0], [-1], [np.inf]],
        quadrature=positive(-9, 11, 0.001),
        fit=wald_fit,
    ),
    Case(
        "InverseGaussian extreme",
        InverseGaussian(),
        INVERSE_GAUSSIAN_EXTREME,
        np.vstack([column(1e-8, 1e-3, 1, 1e5), around(np.array([2.0]), np.array([3e-4]))]),
        by_mpmath(mp_inverse_gaussian, INVERSE_GAUSSIAN_EXTREME),
        n_parameters=6,
        sampling=False,  # m/λ = 1e6: the sampler's own cancellation
        round_trip=1e-7,  # λ/m = 5e7: 1/λ = E[1/x] − 1/m cancels
    ),
    Case(
        "LogNormal",
        LogNormal(),
        LOG_NORMAL,
        column(1e-5, 0.3, 1, 20, 1e7),
        by_scipy(each(lambda mu, sigma: stats.lognorm(sigma, scale=np.exp(mu)), LOG_NORMAL)),
        n_parameters=6,
        outside=[[0], [-1], [np.inf]],
        quadrature=positive(-25, 28, 0.01),
        fit=log_normal_fit,
    ),
    Case(
        "LogNormal extreme",
        LogNormal(),
        LOG_NORMAL_EXTREME,
        np.vstack(
            [column(1e-40, 1e-46, 1, 1 + 2e-6), np.exp(around(np.array([10.0]), np.array([1e-4])))]
        ),
        by_mpmath(mp_log_normal, LOG_NORMAL_EXTREME),
        n_parameters=6,
        round_trip=1e-5,  # σ²/μ² = 1e-10: the second moment about 0 cancels
    ),
    Case(
        "Beta",
        Beta(),
        BETA,
        column(1e-10, 0.2, 0.5, 0.7, 1 - 1e-10),
        by_scipy(each(stats.beta, BETA)),
        n_parameters=6,
        outside=[[0], [1], [-0.1], [1.1]],
        quadrature=unit_interval(),
        fit=beta_fit,
    ),
    Case(
        "Beta extreme",
        Beta(),
        BETA_EXTREME,
        np.vstack(
            [column(1e-200, 1e-6, 1.3e-4, 1 - 1e-12), around(np.array([0.5]), np.array([4e-4]))]
        ),
        by_mpmath(mp_beta, BETA_EXTREME),
        n_parameters=8,
        sampling=False,  # a = .01 draws zeros and ones
        round_trip=1e-8,  # a + b = 2e6 amplifies rounding of E[log x] by as much
    ),
    Case(
        "Dirichlet",
        Dirichlet(),
        DIRICHLET,
        np.array([[0.2, 0.3, 0.5], [1e-9, 0.5, 0.5 - 1e-9], [0.7, 0.1, 0.2]]),
        by_scipy_rows(each(lambda a: lambda row: stats.dirichlet.logpdf(row, a), DIRICHLET)),
        n_parameters=9,
        outside=[[0.5, 0.5, 0], [0.5, 0.4, 0.2], [1.2, -0.1, -0.1]],
        quadrature=triangle(),
    ),
    Case(
        "Dirichlet extreme",
        Dirichlet(),
        DIRICHLET_EXTREME,
        np.array([[0.2, 0.3, 0.25, 0.25], [1e-200, 0.5, 0.25, 0.25], [10, 1, 10, 30]])
        / np.array([[1], [1], [51.0]]),
        by_mpmath(mp_dirichlet, DIRICHLET_EXTREME),
        n_parameters=12,
        sampling=False,  # α = .01 draws zeros
        round_trip=1e-8,  # Σα = 5e6 amplifies rounding of E[log x] by as much
    ),
    Case(
        "VonMises",
        VonMises(),
        VON_MISES,
        column(-3.1, -2, 0, 0.4, np.pi, 9.0),
        by_scipy(each(lambda mu, kappa: stats.vonmises(kappa, loc=mu), VON_MISES)),
        n_parameters=6,
        outside=[[np.inf], [-np.inf]],
        quadrature=circle(2000),
        fit=von_mises_fit,
    ),
    Case(
        "VonMises extreme",
        VonMises(),
        VON_MISES_EXTREME,
        np.vstack([column(-3, 0, 1), around(np.array([3.1, -2.0]), np.array([1e-2, 1e-4]))]),
        by_mpmath(mp_von_mises, VON_MISES_EXTREME),
        n_parameters=8,
        round_trip=2e-7,  # κ = 1e8: 1 − R = 5e-9, and R is held to 1e-16
    ),
    Case(
        "VonMisesFisher",
        VonMisesFisher(),
        FISHER,
        unit_rows([1, 2, 3], [0, 0, -1], [1, -1, 0.1], [-3, 1, 1]),
        by_scipy_rows(each(lambda m, kappa: stats.vonmises_fisher(m, kappa).logpdf, FISHER)),
        n_parameters=9,
        outside=[[1, 1, 0], [0, 0, 0], [0.9, 0, 0]],
        quadrature=sphere(),
        fit=fisher_fit,
    ),
    Case(
        "VonMisesFisher extreme",
        VonMisesFisher(),
        FISHER_EXTREME,
        unit_rows(np.ones(40), np.arange(40.0) - 3, np.eye(40)[3] + 1e-4 * np.cos(np.arange(40))),
        by_mpmath(mp_von_mises_fisher, FISHER_EXTREME),
        n_parameters=120,
        round_trip=1e-8,  # κ = 1e8, d = 40: 1 − R = 2e-7, and R is held to 1e-16
    ),
    Case(
        "NegativeBinomial",
        NegativeBinomial(),
        NEGATIVE_BINOMIAL,
        column(0, 1, 2, 7, 30, 90),
        by_scipy(each(negative_binomial, NEGATIVE_BINOMIAL)),
        n_parameters=6,
        outside=[[-1], [0.5], [np.inf]],
        quadrature=counts(600),
    ),
    Case(
        "NegativeBinomial extreme",
        NegativeBinomial(),
        NEGATIVE_BINOMIAL_EXTREME,
        column(0, 1, 3, 12, 1000, 998_000, 3e6),
        by_mpmath(mp_negative_binomial, NEGATIVE_BINOMIAL_EXTREME),
        n_parameters=8,
        cancelling=lambda x: gammaln(x + 1),  # as in a Poisson of so large a rate
        round_trip=1e-7,  # m = 1e4, c = 1e3: log c bends Q by 1e-4 of the terms in it
    ),
    Case(
        "NegativeBinomial nearly Poisson",
        NegativeBinomial(),
        NEARLY_POISSON,
        column(0, 1, 3, 12, 1000, 998_000, 3e6),
        by_mpmath(mp_negative_binomial, NEARLY_POISSON),
        n_parameters=6,
        cancelling=lambda x: gammaln(x + 1),
        sampling=False,  # such a size is not determined by moments in float64
    ),
    Case(
        "NegativeBinomial of size 2.5",
        NegativeBinomial(2.5),
        FIXED_SIZE,
        column(0, 1, 2, 7, 30, 90),
        by_scipy(each(negative_binomial, FIXED_SIZE)),
        n_parameters=3,
        outside=[[-1], [0.5], [np.inf]],
        quadrature=counts(1000),
    ),
    Case(
        "NegativeBinomial of size 1e12",
        NegativeBinomial(1e12),
        FIXED_HUGE_SIZE,
        column(0, 1, 2, 7, 30, 90),
        by_mpmath(mp_negative_binomial, FIXED_HUGE_SIZE),
        n_parameters=3,
        quadrature=counts(400),
    ),
    Case(
        "Weibull",
        Weibull(),
        WEIBULL,
        column(0.01, 0.5, 3, 33, 60),
        by_scipy(each(lambda c, s: stats.weibull_min(c, scale=s), WEIBULL)),
        n_parameters=6,
        outside=[[0], [-1], [np.inf]],
        quadrature=positive(-60, 8, 0.002),
        fit=weibull_fit,
    ),
    Case(
        "Weibull extreme",
        Weibull(),
        WEIBULL_EXTREME,
        column(1e-9, 1e-3, 4.9, 5.02, 1e11, 2e12),
        by_mpmath(
            lambda x, c, s: mp.log(c / s) + (c - 1) * mp.log(x / s) - (x / s) ** c, WEIBULL_EXTREME
        ),
        n_parameters=6,
        sampling=False,  # shape .05: the mean is 1e18 medians
    ),
]


def over(cases: Sequence[Any]) -> Any:
    """Run a test on each of these cases, named by the case."""
    return pytest.mark.parametrize("case", cases, ids=[c.name for c in cases])


def cancelling_terms(one: Any) -> Array:
    """Size of what cancels in A + A* − η·μ of a `Distribution`: shape (K,)."""
    mean = np.abs(one.mean)
    natural = np.where(mean == 0, 0.0, np.abs(one.natural))  # 0·∞ = 0 on the boundary
    return 1 + np.abs(one.log_partition) + (natural * mean).sum(axis=1)
