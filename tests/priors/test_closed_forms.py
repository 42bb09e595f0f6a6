"""Conjugate distributions against SciPy, quadrature and textbooks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.testing import assert_allclose
from scipy import integrate, optimize, stats
from scipy.special import betaln, gammaln

from expmax import (
    Binomial,
    Categorical,
    Exponential,
    Gamma,
    Gaussian,
    Geometric,
    Multinomial,
    NegativeBinomial,
    Poisson,
)
from expmax.priors import conjugate
from tests.priors.cases import ROWS, SCALE, gaussian


def test_densities_of_scipy() -> None:
    theta: Any = {"rate": np.array([0.7])}
    q: Any = conjugate(Poisson(), shape=2.5, rate=0.8)
    assert_allclose(q.log_density(theta), stats.gamma.logpdf(0.7, 2.5, scale=1 / 0.8))
    q = conjugate(Binomial(7), a=1.5, b=2.0)
    assert_allclose(q.log_density({"probability": np.array([0.3])}), stats.beta.logpdf(0.3, 1.5, 2))
    p = np.array([0.2, 0.3, 0.5])
    q = conjugate(Categorical(3), concentration=[0.5, 1.5, 2.0])
    expected = stats.dirichlet.logpdf(p, [0.5, 1.5, 2.0])
    assert_allclose(q.log_density({"probability": p[None]}), expected)
    q = gaussian("full")
    covariance = SCALE + 0.5 * np.eye(3)
    theta = {"mean": np.array([[1.0, 0.0, 2.0]]), "covariance": covariance[None]}
    expected = stats.invwishart.logpdf(covariance, 6.0, SCALE)
    expected += stats.multivariate_normal.logpdf([1, 0, 2], np.arange(3) - 0.5, covariance / 0.7)
    assert_allclose(q.log_density(theta), expected)
    q = gaussian("diag")
    theta = {"mean": np.array([[1.0, 0.0, 2.0]]), "covariance": np.array([[0.5, 1.0, 2.0]])}
    v = theta["covariance"][0]
    expected = stats.invgamma.logpdf(v, 3.0, scale=np.diag(SCALE) / 2).sum()
    expected += stats.norm.logpdf([1, 0, 2], np.arange(3) - 0.5, np.sqrt(v / 0.7)).sum()
    assert_allclose(q.log_density(theta), expected)


def test_predictives_of_scipy() -> None:
    x = np.array([[0.0], [1.0], [4.0], [7.0]])
    q: Any = conjugate(Poisson(), shape=2.5, rate=0.8)
    expected = stats.nbinom.logpmf(x, 2.5, 0.8 / 1.8)
    assert_allclose(q.log_predictive(x), expected)
    q = conjugate(Exponential(), shape=2.5, rate=3.0)
    assert_allclose(q.log_predictive(x), stats.lomax.logpdf(x, 2.5, scale=3.0))
    q = conjugate(Gamma(1.5), shape=2.5, rate=3.0)
    assert_allclose(q.log_predictive(x + 0.1), stats.betaprime.logpdf(x + 0.1, 1.5, 2.5, scale=3.0))
    q = conjugate(Binomial(7), a=1.5, b=2.0)
    assert_allclose(q.log_predictive(x), stats.betabinom.logpmf(x, 7, 1.5, 2.0))
    q = conjugate(Geometric(), a=2.5, b=1.3)
    expected = stats.betanbinom.logpmf(x, 1, 2.5, 1.3)
    assert_allclose(q.log_predictive(x), expected)
    q = conjugate(NegativeBinomial(3.0), a=2.5, b=1.3)
    assert_allclose(q.log_predictive(x), stats.betanbinom.logpmf(x, 3, 2.5, 1.3))
    q = conjugate(Multinomial(7), concentration=[0.5, 1.5, 2.0])
    rows = np.array([[7.0, 0, 0], [1, 2, 4], [0, 0, 7]])
    expected = stats.dirichlet_multinomial.logpmf(rows.astype(int), [0.5, 1.5, 2.0], 7)
    assert_allclose(q.log_predictive(rows)[:, 0], expected)
    for structure in ("full", "tied"):
        q = gaussian(structure)
        shape = SCALE * 1.7 / (0.7 * 4.0)
        expected = stats.multivariate_t.logpdf(ROWS, np.arange(3) - 0.5, shape, df=4.0)
        assert_allclose(q.log_predictive(ROWS)[:, 0], expected)
    q = gaussian("diag")
    deviation = np.sqrt(np.diag(SCALE) * 1.7 / (0.7 * 6.0))
    expected = stats.t.logpdf(ROWS, 6.0, np.arange(3) - 0.5, deviation).sum(axis=1)
    assert_allclose(q.log_predictive(ROWS)[:, 0], expected)
    q = gaussian("spherical")
    shape = np.eye(3) * 1.3 * 1.7 / (0.7 * 6.0)
    expected = stats.multivariate_t.logpdf(ROWS, np.arange(3) - 0.5, shape, df=6.0)
    assert_allclose(q.log_predictive(ROWS)[:, 0], expected)


def test_predictives_do_not_cancel_for_large_counts() -> None:
    """Sure posteriors: the plug-in density, where differences of log Γ lose all digits."""
    x = np.array([[0.0], [3.0], [9.0]])
    q: Any = conjugate(Poisson(), shape=4e13, rate=1e13)
    assert_allclose(q.log_predictive(x), stats.poisson.logpmf(x, 4.0), rtol=1e-11)
    q = conjugate(Binomial(9), a=2e13, b=3e13)
    assert_allclose(q.log_predictive(x), stats.binom.logpmf(x, 9, 0.4), rtol=1e-9)


def test_evidence_by_quadrature() -> None:
    x = np.array([[1.0], [4.0], [2.0]])
    q: Any = conjugate(Poisson(), shape=2.5, rate=0.8)
    value, _ = integrate.quad(
        lambda r: np.exp(stats.poisson.logpmf(x, r).sum() + stats.gamma.logpdf(r, 2.5, scale=1.25)),
        0,
        60,
    )
    assert_allclose(q.log_marginal_likelihood(Poisson().summarize(x)), np.log(value), rtol=1e-8)
    prior = gaussian("diag", 1)

    def joint(log_v: float, m: float) -> float:
        v = np.exp(log_v)
        theta = {"mean": np.array([[m]]), "covariance": np.array([[v]])}
        density = prior.log_density(theta)[0] + prior.family.log_density(theta, x).sum()
        return float(np.exp(density)) * v

    value, _ = integrate.dblquad(joint, -12, 14, -5, 8, epsabs=1e-10)
    evidence = prior.log_marginal_likelihood(prior.family.summarize(x))
    assert_allclose(evidence, np.log(value), rtol=1e-4)


def test_evidence_of_textbooks() -> None:
    """Beta-binomial and Dirichlet-multinomial: differences of log B."""
    x = np.array([[3.0], [5.0]])
    q: Any = conjugate(Binomial(7), a=1.5, b=2.0)
    ways = np.log(stats.binom.pmf(x, 7, 0.5)).sum() + 14 * np.log(2)
    expected = betaln(1.5 + 8, 2.0 + 6) - betaln(1.5, 2.0) + ways
    assert_allclose(q.log_marginal_likelihood(Binomial(7).summarize(x)), expected)
    alpha = np.array([0.5, 1.5, 2.0])
    x = np.array([[0.0], [2.0], [2.0], [1.0]])
    n = np.array([1, 1, 2])
    expected = (gammaln(alpha + n) - gammaln(alpha)).sum() + gammaln(4) - gammaln(8)
    got = conjugate(Categorical(3), concentration=alpha)
    evidence = got.log_marginal_likelihood(Categorical(3).summarize(x))
    assert_allclose(evidence, expected)


def test_missing_cells_leave_their_column() -> None:
    x = ROWS.copy()
    x[0, 1] = np.nan
    for structure in ("diag", "spherical"):
        q: Any = gaussian(structure)
        posterior = q.update(Gaussian(structure).summarize(x))
        assert_allclose(posterior.mean_precision, [[12.7, 11.7, 12.7]])
        alone = gaussian("diag", 1)
        both: Any = gaussian("diag", 3)
        assert np.isfinite(posterior.log_predictive(x)).all()
        if structure == "diag":
            expected = both.log_predictive(ROWS[:1])[0, 0] - stats.t.logpdf(
                ROWS[0, 1], 6.0, 0.5, np.sqrt(1.0 * 1.7 / (0.7 * 6.0))
            )
            assert_allclose(both.log_predictive(x[:1])[0, 0], expected)
            assert alone.n_components == 1


def test_usual_mode_of_a_negative_binomial_is_that_of_p() -> None:
    q: Any = conjugate(NegativeBinomial(2.5), a=3.5, b=1.3)

    def minus(p: float) -> float:
        theta = {"mean": np.array([2.5 * (1 - p) / p]), "size": np.array([2.5])}
        return -float(q.log_density(theta)[0])

    best = optimize.minimize_scalar(minus, bounds=(0.01, 0.999), method="bounded")
    mean = q.mode("usual")["mean"][0]
    assert_allclose(2.5 / (2.5 + mean), best.x, rtol=1e-5)
