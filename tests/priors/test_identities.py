"""Conjugate distributions: what holds of every one, Bayes's identity first."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from expmax.families.parameters import flatten, take, unflatten
from expmax.priors import Conjugate, conjugate_of
from tests.cases import over
from tests.priors.cases import CASES, LEAVES, Case, rng


def assert_equal_distributions(one: Conjugate, other: Conjugate, rtol: float = 1e-11) -> None:
    about = [leaf.reference() for leaf in one.leaves()]
    for a, b, c in zip(one.leaves(), other.leaves(), about, strict=True):
        assert_allclose(a.natural(c), b.natural(c), rtol=rtol, atol=1e-11)


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
