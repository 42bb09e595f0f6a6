"""Conjugate priors: Bayes's identity, closed forms of SciPy, quadrature; and the prior called "weak"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import integrate, optimize, stats
from scipy.special import betaln, gammaln

from expmax import (
    Bernoulli,
    Binomial,
    Categorical,
    ConjugatePrior,
    Exponential,
    Gamma,
    Gaussian,
    Geometric,
    LogNormal,
    Mixture,
    Multinomial,
    NegativeBinomial,
    Poisson,
    Product,
    Weibull,
)
from expmax.errors import ParameterError
from expmax.families.parameters import flatten, take, unflatten
from expmax.priors import Conjugate, as_prior, conjugate, conjugate_of, weak_prior
from expmax.statistics import Array


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@dataclass(frozen=True)
class Case:
    name: str
    prior: Conjugate
    x: Array  # rows of data


SCALE = np.array([[2.0, 0.3, 0.0], [0.3, 1.0, -0.2], [0.0, -0.2, 1.5]])
ROWS = rng(7).normal([1.0, -2.0, 0.5], [1.0, 2.0, 0.5], (12, 3))


def gaussian(structure: str, d: int = 3, nu: float = 6.0, **more: Any) -> Conjugate:
    full = structure in ("full", "tied")
    scale: Any = SCALE[:d, :d] if full else np.diag(SCALE)[:d] if structure == "diag" else 1.3
    given = {"location": np.arange(d) - 0.5, "mean_precision": 0.7, "degrees_of_freedom": nu}
    return conjugate(Gaussian(structure), **{**given, "scale": scale, **more})


MIXED = Product(Poisson(), Gaussian("diag"), Bernoulli()).bind(np.array([[1.0, 0.3, 1.0]]))
CASES = [
    Case("Poisson", conjugate(Poisson(), shape=2.5, rate=0.8), rng().poisson(4, (9, 1))),
    Case("Exponential", conjugate(Exponential(), shape=2.5, rate=3.0), rng().gamma(1, 2, (9, 1))),
    Case(
        "Gamma of known shape",
        conjugate(Gamma(2.5), shape=3.5, rate=1.3),
        rng().gamma(2.5, 0.7, (9, 1)),
    ),
    Case(
        "Bernoulli",
        conjugate(Bernoulli(), a=[0.5, 2.0], b=[1.5, 3.0]),
        rng().integers(0, 2, (9, 2)),
    ),
    Case("Binomial", conjugate(Binomial(7), a=1.5, b=2.0), rng().binomial(7, 0.3, (9, 1))),
    Case("Geometric", conjugate(Geometric(), a=2.5, b=1.3), rng().geometric(0.3, (9, 1)) - 1),
    Case(
        "NegativeBinomial",
        conjugate(NegativeBinomial(2.5), a=3.5, b=1.3),
        rng().negative_binomial(2.5, 0.4, (9, 1)),
    ),
    Case(
        "Categorical",
        conjugate(Categorical(3), concentration=[0.5, 1.5, 2.0]),
        rng().integers(0, 3, (9, 1)),
    ),
    Case(
        "Multinomial",
        conjugate(Multinomial(4), concentration=[0.5, 1.5, 2.0]),
        rng().multinomial(4, [0.2, 0.3, 0.5], 9),
    ),
    Case("Gaussian full", gaussian("full"), ROWS),
    Case("Gaussian tied", gaussian("tied"), ROWS),
    Case("Gaussian diag", gaussian("diag"), ROWS),
    Case("Gaussian spherical", gaussian("spherical"), ROWS),
    Case("Gaussian EEI", gaussian("EEI"), ROWS),
    Case(
        "LogNormal",
        conjugate(LogNormal(), location=0.3, mean_precision=0.7, degrees_of_freedom=6.0, scale=1.3),
        rng().lognormal(1, 0.5, (9, 1)),
    ),
    Case(
        "Product",
        conjugate(
            MIXED,
            parts=[
                conjugate(Poisson(), shape=2.5, rate=0.8),
                gaussian("diag", 1, scale=1.3, nu=6.0),
                conjugate(Bernoulli(), a=[0.5], b=[1.5]),
            ],
        ),
        np.column_stack([rng().poisson(4, 9), ROWS[:9, 0], rng().integers(0, 2, 9)]),
    ),
]
CASES = [Case(c.name, c.prior, np.asarray(c.x, float)) for c in CASES]
LEAVES = [c for c in CASES if c.name != "Product"]


def over(cases: list[Case]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=[c.name for c in cases])


def assert_equal_distributions(one: Conjugate, other: Conjugate, rtol: float = 1e-11) -> None:
    about = [leaf.reference() for leaf in one.leaves()]
    for a, b, c in zip(one.leaves(), other.leaves(), about, strict=True):
        assert_allclose(a.natural(c), b.natural(c), rtol=rtol, atol=1e-11)


# -- identities ------------------------------------------------------------------------------------
@over(CASES)
def test_posterior_is_prior_times_likelihood_over_evidence(case: Case) -> None:
    """log p(θ|x) = log p(θ) + log p(x|θ) − log p(x) at any θ: all four formulas at once."""
    prior, family = case.prior, case.prior.family
    summary = family.summarize(case.x)
    posterior = prior.update(summary)
    drawn = prior.sample(0, 5, rng(1))
    for i in range(5):
        theta = take(drawn, [i])
        likelihood = family.log_density(theta, case.x).sum()
        got = posterior.log_density(theta)
        expected = prior.log_density(theta) + likelihood - prior.log_marginal_likelihood(summary)
        assert_allclose(got, expected, rtol=1e-10, atol=1e-9)


@over(CASES)
def test_one_batch_is_many_in_any_order(case: Case) -> None:
    prior, family = case.prior, case.prior.family
    whole = prior.update(family.summarize(case.x))
    for order in (np.arange(len(case.x)), rng(2).permutation(len(case.x))):
        posterior = prior
        for row in case.x[order]:
            posterior = posterior.update(family.summarize(row[None]))
        assert_equal_distributions(posterior, whole)
    merged = sum(family.summarize(case.x[i::3]) for i in range(3))
    assert_equal_distributions(prior.update(merged), whole)


@over(CASES)
def test_evidence_is_the_chain_of_predictives(case: Case) -> None:
    """log p(x₁ … x_n) = Σ log p(x_i | x₁ … x_{i−1})."""
    prior, family = case.prior, case.prior.family
    posterior, total = prior, 0.0
    for row in case.x:
        total += posterior.log_predictive(row[None])[0, 0]
        posterior = posterior.update(family.summarize(row[None]))
    evidence = prior.log_marginal_likelihood(family.summarize(case.x))
    assert_allclose(evidence, total, rtol=1e-11)


@over(CASES)
def test_weights_are_powers_of_the_likelihood(case: Case) -> None:
    family = case.prior.family
    weight = np.arange(len(case.x)) % 3.0
    repeated = np.repeat(case.x, weight.astype(int), axis=0)
    one = case.prior.update(family.summarize(case.x, weight))
    assert_equal_distributions(one, case.prior.update(family.summarize(repeated)))


@over(LEAVES)
def test_expected_statistics_are_the_gradient_of_log_normalizer(case: Case) -> None:
    q = case.prior.update(case.prior.family.summarize(case.x))
    for about in (q.reference(), None):
        natural = q.natural(about)
        assert_allclose(q.with_natural(natural, about).natural(about), natural, rtol=1e-12)
        expected = q.expected_statistics(about)
        for j in range(natural.shape[1]):
            step = np.zeros_like(natural)
            step[:, j] = 1e-4 * max(abs(natural[0, j]), 0.1)
            up, down = (
                q.with_natural(natural + sign * step, about).log_normalizer() for sign in (1, -1)
            )
            slope = (up - down) / (2 * step[:, j])
            assert_allclose(slope, expected[:, j], rtol=1e-5, atol=1e-6)


@over(LEAVES)
def test_kl_is_bregman_and_an_expectation(case: Case) -> None:
    p = case.prior
    q = p.update(p.family.summarize(case.x))
    about = p.reference()
    for a, b in ((q, p), (p, q), (p, p)):
        gap = (a.natural(about) - b.natural(about)) * a.expected_statistics(about)
        bregman = gap.sum(axis=1) - a.log_normalizer() + b.log_normalizer()
        assert_allclose(a.kl_divergence(b), bregman, rtol=1e-9, atol=1e-11)
        assert np.all(a.kl_divergence(b) >= -1e-12)
    theta = q.sample(0, 4000, rng(3))
    many = [leaf.take(np.zeros(4000, int)) for leaf in (q, p)] if len(q.natural()) == 1 else []
    if "tied" not in case.name and "EEI" not in case.name:
        ratio = many[0].log_density(theta) - many[1].log_density(theta)
        assert abs(ratio.mean() - q.kl_divergence(p)[0]) < 5 * ratio.std() / np.sqrt(4000)


@over(CASES)
def test_expected_log_density_is_an_average_over_draws(case: Case) -> None:
    family = case.prior.family
    q = case.prior.update(family.summarize(case.x))
    theta = q.sample(0, 4000, rng(4))
    each = family.log_density(theta, case.x)
    got = q.expected_log_density(case.x)
    error = each.std(axis=1) / np.sqrt(4000)
    assert np.all(np.abs(got[:, 0] - each.mean(axis=1)) < 5 * error + 1e-12)
    r = rng(5).random((len(case.x), 1))
    at = family.initialize(case.x, r)
    total = q.expected_log_likelihood(family.statistics(at, case.x, r))
    assert_allclose(total, (r * got).sum(), rtol=1e-11)


@over(CASES)
def test_predictive_is_an_average_over_draws(case: Case) -> None:
    q = case.prior.update(case.prior.family.summarize(case.x))
    theta = q.sample(0, 6000, rng(6))
    density = np.exp(case.prior.family.log_density(theta, case.x))
    error = density.std(axis=1) / np.sqrt(6000)
    got = np.exp(q.log_predictive(case.x))[:, 0]
    assert np.all(np.abs(got - density.mean(axis=1)) < 5 * error)


@over(CASES)
def test_predictive_draws_have_the_predictive_density(case: Case) -> None:
    """E[p(x*)] by two independent sets of draws agrees with direct draws of θ, then of x."""
    q = case.prior.update(case.prior.family.summarize(case.x))
    x = q.sample_predictive(0, 3000, rng(8))
    theta = q.sample(0, 3000, rng(9))
    other = np.vstack([q.family.sample(theta, i, 1, rng(10_000 + i)) for i in range(3000)])
    for f in (lambda rows: q.log_predictive(rows)[:, 0], lambda rows: np.tanh(rows[:, 0])):
        a, b = f(x), f(other)
        error = np.hypot(a.std(), b.std()) / np.sqrt(3000)
        assert abs(a.mean() - b.mean()) < 5 * error


@over(LEAVES)
def test_mode_is_the_highest_density(case: Case) -> None:
    """In usual coordinates by perturbation; in natural ones it is the fit to the imaginary rows."""
    q = case.prior.update(case.prior.family.summarize(case.x))
    top = q.mode("usual")
    best = q.log_density(top)[0]
    vector = flatten(top)
    generator = rng(11)
    simplex = case.name in ("Categorical", "Multinomial")
    size = {"NegativeBinomial": 0}.get(case.name)
    if size is None:  # its density is that of p, not of the mean
        for _ in range(50):
            step = generator.standard_normal(len(vector)) * 1e-3 * np.maximum(np.abs(vector), 0.1)
            if simplex:
                step -= step.mean()
            near = unflatten(vector + step, top)
            if "covariance" in near and near["covariance"].ndim == 3:
                near["covariance"] = 0.5 * (near["covariance"] + near["covariance"].swapaxes(1, 2))
            if case.name in ("Gaussian spherical",):
                near["covariance"][:] = near["covariance"][:, :1]
            assert q.log_density(near)[0] <= best + 1e-12
    rows = getattr(q, "pseudo_statistics", None)
    if rows is not None:
        fit = q.family.maximize(rows(), None)
        natural = q.mode("natural")
        for name in natural:
            assert_allclose(natural[name], fit[name], rtol=1e-10)


@over(LEAVES)
def test_mean_is_the_average_of_draws(case: Case) -> None:
    q = case.prior.update(case.prior.family.summarize(case.x))
    draws, mean = q.sample(0, 8000, rng(12)), q.mean()
    for name in mean:
        if name == "precision_cholesky":
            continue
        values = draws[name] ** 2 if name == "sigma" else draws[name]
        expected = mean[name][0] ** 2 if name == "sigma" else mean[name][0]
        error = values.std(axis=0) / np.sqrt(8000)
        assert np.all(np.abs(values.mean(axis=0) - expected) < 5 * error + 1e-12), name


@pytest.mark.parametrize("count", [0.5, 3.0])
@over([c for c in CASES if "Product" not in c.name])
def test_imaginary_rows_as_a_distribution(case: Case, count: float) -> None:
    """Its natural mode is the distribution that the rows came from, and MAP is the posterior's."""
    family = case.prior.family
    theta = case.prior.mode("natural")
    rows = family.pseudo_statistics(np.array([count]), theta)
    prior = conjugate_of(family, rows)
    summary = family.summarize(case.x)
    for q, fit in (
        (prior, theta),
        (prior.update(summary), family.maximize(rows + summary.statistics, None)),
    ):
        mode = q.mode("natural")
        for name in mode:
            if name != "precision_cholesky":
                assert_allclose(mode[name], fit[name], rtol=1e-9, atol=1e-12)


# -- SciPy's closed forms --------------------------------------------------------------------------
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


# -- making them -----------------------------------------------------------------------------------
def test_several_components() -> None:
    prior: Any = conjugate(Poisson(), 3, shape=[1.0, 2.0, 3.0], rate=1.0)
    x = np.array([[2.0], [0.0]])
    r = np.array([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]])
    posterior = prior.update(Poisson().statistics({}, x, r))
    assert_allclose(posterior.shape, [2.0, 3.0, 3.0])
    assert_allclose(posterior.rate, [1.5, 2.5, 1.0])
    assert_allclose(posterior.take(np.array([2, 0])).shape, [3.0, 2.0])


def test_bad_hyperparameters_are_named() -> None:
    with pytest.raises(ParameterError, match="shape must be positive"):
        conjugate(Poisson(), shape=-1.0, rate=1.0)
    with pytest.raises(ParameterError, match=r"hyperparameters must be shape, rate \(gamma\)"):
        conjugate(Poisson(), a=1.0, b=1.0)
    with pytest.raises(ParameterError, match=r"degrees_of_freedom must be above d − 1 = 2"):
        gaussian("full", nu=1.0)
    with pytest.raises(ParameterError, match="symmetric and positive definite"):
        gaussian("full", scale=-np.eye(3))
    for family in (Gamma(), Weibull(), NegativeBinomial(), Gaussian("VEV"), Product(Gamma())):
        with pytest.raises(ParameterError, match="no conjugate distribution"):
            conjugate(family, shape=1.0, rate=1.0)
    with pytest.raises(ParameterError, match="summary of"):
        conjugate(Poisson(), shape=1.0, rate=1.0).update(Geometric().summarize(np.ones((2, 1))))


# -- the prior called "weak" -----------------------------------------------------------------------
def test_weak_prior_of_a_gaussian_is_fraley_and_raftery() -> None:
    x = rng().normal([1, 2, 3], [1, 5, 0.1], (50, 3))
    prior: Any = weak_prior(Gaussian(), Gaussian().summarize(x), 4)
    covariance = np.cov(x, rowvar=False, bias=True)
    assert_allclose(prior.mean_precision, 0.01)
    assert_allclose(prior.degrees_of_freedom, 3 + 2.01)
    assert_allclose(prior.scale, np.broadcast_to(covariance / 4 ** (2 / 3), (4, 3, 3)))
    assert_allclose(prior.location, np.broadcast_to(x.mean(axis=0), (4, 3)))
    tied: Any = weak_prior(Gaussian("tied"), Gaussian("tied").summarize(x), 4)
    assert_allclose(tied.scale[0], covariance / 4 ** (2 / 3))
    diag: Any = weak_prior(Gaussian("diag"), Gaussian("diag").summarize(x), 4)
    assert_allclose(diag.scale[0], np.diag(covariance) / 4 ** (2 / 3))


WEAK = [
    (Gaussian(), rng().normal(0, 1, (60, 2)), 1e3),
    (Gaussian("tied"), rng().normal(0, 1, (60, 2)), 1e3),
    (Gaussian("diag"), rng().normal(0, 1, (60, 2)), 1e3),
    (Gaussian("VEV"), rng().normal(0, 1, (60, 2)), 1e3),
    (Exponential(), rng().exponential(1, (60, 1)), 1e3),
    (Gamma(), rng().gamma(2, 1, (60, 1)), 1e3),
    (LogNormal(), rng().lognormal(0, 1, (60, 1)), 1.0),
    (Poisson(), rng().poisson(4, (60, 1)).astype(float), 1.0),
    (Bernoulli(), rng().integers(0, 2, (60, 4)).astype(float), 1.0),
    (Categorical(3), rng().integers(0, 3, (60, 1)).astype(float), 1.0),
    (
        Product(Poisson(), Gaussian("diag")),
        np.column_stack([rng().poisson(3, 60), rng().normal(0, 1, 60)]),
        1.0,
    ),
]


@pytest.mark.parametrize(("family", "x", "scale"), WEAK, ids=[repr(w[0]) for w in WEAK])
def test_weak_prior_in_a_mixture(family: Any, x: Array, scale: float) -> None:
    """MAP by name: the objective rises at every step, and rescaled data give the rescaled fit."""
    init = (x[:, 0] > x[:, 0].mean()).astype(int)
    fits = [
        Mixture(family, 2, prior="weak", init=init, tol=1e-8, accelerate=None, max_iter=4000).fit(
            factor * x
        )
        for factor in {1.0, scale}
    ]
    gains = np.diff(fits[0].history_.objective)
    assert np.all(gains >= -1e-9)
    assert (
        len({round(fit.history_.objective[-1] - fit.history_.objective[0], 4) for fit in fits}) == 1
    )
    assert_allclose(fits[0].weights_, fits[-1].weights_, rtol=1e-3)


def test_weak_prior_saves_collapsing_components() -> None:
    x = np.vstack([np.zeros((5, 2)), rng().normal(5, 1, (40, 2))])
    fit = Mixture(Gaussian(), 2, prior="weak", random_state=0).fit(x)
    assert fit.status_ in ("stationary", "boundary")
    assert_allclose(fit.params_["mean"][0], 0.0, atol=0.05)


def test_priors_by_argument() -> None:
    assert as_prior("weak") == as_prior(as_prior("weak"))
    assert as_prior(2) == ConjugatePrior(2.0)
    with pytest.raises(ParameterError, match='"weak", or None'):
        as_prior("strong")


def test_map_is_the_mode_of_the_posterior() -> None:
    """One component: Mixture(prior=…) climbs to the natural mode of the exact posterior."""
    x = rng().normal([0, 3], [1, 2], (30, 2))
    for family in (Gaussian(), Gaussian("diag"), Gaussian("spherical")):
        fit = Mixture(family, 1, prior="weak").fit(x)
        summary = family.summarize(x)
        mode = weak_prior(family, summary).update(summary).mode("natural")
        for name in ("mean", "covariance"):
            assert_allclose(fit.params_[name], mode[name], rtol=1e-9)


def test_usual_mode_of_a_negative_binomial_is_that_of_p() -> None:
    q: Any = conjugate(NegativeBinomial(2.5), a=3.5, b=1.3)

    def minus(p: float) -> float:
        theta = {"mean": np.array([2.5 * (1 - p) / p]), "size": np.array([2.5])}
        return -float(q.log_density(theta)[0])

    best = optimize.minimize_scalar(minus, bounds=(0.01, 0.999), method="bounded")
    mean = q.mode("usual")["mean"][0]
    assert_allclose(2.5 / (2.5 + mean), best.x, rtol=1e-5)
