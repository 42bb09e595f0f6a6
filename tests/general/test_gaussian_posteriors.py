"""Laplace, Gaussian and Monte Carlo posteriors against closed forms, quadrature and direct searches."""

from copy import copy
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.special import expit, logsumexp
from scipy.stats import multivariate_normal

import expmax as em
from expmax.errors import ParameterError
from expmax.general import (
    Finite,
    Gaussian,
    GaussianVariational,
    Laplace,
    Markov,
    MonteCarlo,
    Positive,
    Real,
)
from tests.general import models

LOADINGS = np.random.default_rng(7).normal(size=(4, 5))


def linear(inference, dim):
    """x = μ + W z + noise, z ~ N(0, I): everything has a closed form."""

    def log_joint(theta, x, z):
        mean = theta["mean"] + jnp.asarray(LOADINGS[:, :dim]) @ z
        return norm.logpdf(z).sum() + norm.logpdf(x, mean, theta["scale"]).sum()

    return em.JointModel(
        log_joint,
        latent=Gaussian(dim),
        parameters={"mean": Real(4, start=0.0), "scale": Positive(start=1.0)},
        inference=inference,
    )


def linear_answers(params, x, dim):
    """Oracle: log p(x), posterior means, posterior covariance."""
    w = LOADINGS[:, :dim]
    covariance = w @ w.T + params["scale"] ** 2 * np.eye(4)
    value = multivariate_normal(params["mean"], covariance).logpdf(x).sum()
    spread = np.linalg.inv(np.eye(dim) + w.T @ w / params["scale"] ** 2)
    return value, (x - params["mean"]) @ w @ spread / params["scale"] ** 2, spread


PARAMS = {"mean": np.array([0.3, -0.2, 1.0, 0.0]), "scale": np.array(0.8)}


@pytest.fixture(scope="module")
def observed():
    return np.random.default_rng(1).normal(0.3, 2.0, (9, 4))


@pytest.mark.parametrize(
    "inference", [Laplace(), GaussianVariational()], ids=["laplace", "gaussian"]
)
def test_five_dimensions_of_a_gaussian_posterior_are_exact(inference, observed):
    model = linear(inference, 5)
    found = model.expect(PARAMS, em.Block(observed))
    value, means, spread = linear_answers(PARAMS, observed, 5)
    assert found.kind == "approximate"  # no integral in five dimensions is known to be exact
    assert_allclose(found.log_likelihood, value, rtol=1e-10)
    assert_allclose(
        model.expected_log_joint(PARAMS, found.statistics) + found.entropy, value, rtol=1e-9
    )
    seen = model.posterior(PARAMS, observed)
    assert_allclose(seen["mean"], means, atol=1e-6)
    assert_allclose(seen["covariance"], np.broadcast_to(spread, (9, 5, 5)), atol=1e-6)


def test_five_dimensions_by_draws(observed):
    model = linear(MonteCarlo(draws=4000), 5)
    found = model.expect(PARAMS, em.Block(observed))
    value, means, spread = linear_answers(PARAMS, observed, 5)
    error = model.log_likelihood_error(found.statistics)
    assert 0 < error < 0.2
    assert abs(found.log_likelihood - value) < 4 * error
    seen = model.posterior(PARAMS, observed)
    size = seen["effective_sample_size"]
    assert (size > 1000).all()
    off = np.abs(seen["mean"] - means) / np.sqrt(np.diagonal(spread) / size[:, None])
    assert off.max() < 4.5  # of 45 numbers


def test_a_diagonal_gaussian_pays_what_the_correlations_hold(observed):
    # The best product of Gaussians to N(m, P⁻¹) has the precisions P_jj: KL = ½(Σ log P_jj − log|P|).
    model = linear(GaussianVariational("diagonal"), 2)
    value, means, spread = linear_answers(PARAMS, observed, 2)
    precision = np.linalg.inv(spread)
    cost = 0.5 * (np.log(np.diagonal(precision)).sum() - np.linalg.slogdet(precision)[1])
    found = model.expect(PARAMS, em.Block(observed))
    assert found.kind == "bound"
    assert_allclose(value - found.log_likelihood, 9 * cost, rtol=1e-8)
    assert_allclose(model.gap(PARAMS, observed), 9 * cost, rtol=1e-8)
    seen = model.posterior(PARAMS, observed)
    assert_allclose(seen["mean"], means, atol=1e-6)
    assert_allclose(seen["covariance"][0], np.diag(1 / np.diagonal(precision)), atol=1e-7)


# -- a logistic model with random intercepts -------------------------------------------------------
@pytest.fixture(scope="module")
def groups():
    return models.groups(1.2, 40, seed=5)


def logits(params, x, z):
    """Terms of log p(x | z), for z (n, m): shape (n, m)."""
    there = ~np.isnan(x[..., 0])
    y, covariate = np.where(there, x[..., 0], 0.0), np.where(there, x[..., 1], 0.0)
    b, sigma = params["b"], params["sigma"]
    logit = b[0] + b[1] * covariate[:, None, :] + sigma * z[:, :, None]
    terms = np.where(there[:, None], y[:, None] * logit - np.logaddexp(0, logit), 0.0)
    return terms.sum(axis=2), logit, there


def exact(params, x):
    """Oracle: log p(x) by the trapezoidal rule."""
    points = np.linspace(-12, 12, 1201)
    terms, _, _ = logits(params, x, np.broadcast_to(points, (len(x), len(points))))
    density = np.exp(terms - 0.5 * points**2) / np.sqrt(2 * np.pi)
    return np.log(density.sum(axis=1) * (points[1] - points[0])).sum()


def laplace(params, x):
    """Oracle: Laplace's value, modes by bisection of the derivative."""
    y = np.where(np.isnan(x[..., 0]), 0.0, x[..., 0])

    def slope(z):
        _, logit, there = logits(params, x, z[:, None])
        p = np.where(there, expit(logit[:, 0]), 0.0)
        return params["sigma"] * (y - p).sum(axis=1) - z, p

    low, high = np.full(len(x), -30.0), np.full(len(x), 30.0)
    for _ in range(60):
        middle = 0.5 * (low + high)
        up = slope(middle)[0] > 0
        low, high = np.where(up, middle, low), np.where(up, high, middle)
    z, p = low, slope(low)[1]
    curvature = 1 + params["sigma"] ** 2 * (p * (1 - p)).sum(axis=1)
    return (logits(params, x, z[:, None])[0][:, 0] - 0.5 * z**2 - 0.5 * np.log(curvature)).sum()


def unpacked(v):
    return {"b": np.asarray(v[:2]), "sigma": np.exp(v[2])}


def random_params(seed):
    return unpacked(np.random.default_rng(seed).normal(0, 0.7, 3))


def test_laplace_ends_where_a_direct_search_ends(groups):
    model = models.random_intercept(inference="laplace")
    for seed in range(3):
        params = random_params(seed)
        found = model.expect(params, em.Block(groups))
        assert_allclose(found.log_likelihood, laplace(params, groups), rtol=1e-9)
    result = em.maximize_likelihood(model, groups, tol=1e-7, random_state=0)
    best = minimize(lambda v: -laplace(unpacked(v), groups), np.zeros(3), method="BFGS")
    assert result.kind == "approximate"
    assert result.status == "stationary"
    assert_allclose(result.log_likelihood, -best.fun, atol=1e-6)
    assert_allclose(result.params["b"], best.x[:2], atol=2e-4)
    assert_allclose(result.params["sigma"], np.exp(best.x[2]), atol=2e-4)
    off = abs(exact(result.params, groups) - result.log_likelihood)
    estimate = model.approximation_error(result.params, em.Block(groups))
    assert 0.2 * off < estimate < 5 * off  # by other points, so of the right size, no more


def test_a_gaussian_bound_lies_below_and_climbs(groups):
    model = models.random_intercept(inference="gaussian")
    for seed in range(5):
        params = random_params(seed)
        found = model.expect(params, em.Block(groups))
        gap = exact(params, groups) - found.log_likelihood
        assert found.kind == "bound"
        assert 0 < gap < 1
        assert_allclose(model.gap(params, groups), gap, atol=1e-6)
    result = em.maximize_likelihood(model, groups, random_state=0)
    assert result.kind == "bound"
    history = result.history.as_arrays()
    assert (np.diff(history["objective"]) > -1e-8).all()
    assert_allclose(result.gap(), exact(result.params, groups) - result.log_likelihood, atol=1e-7)


@pytest.fixture(scope="module")
def drawn():
    return models.random_intercept(inference=MonteCarlo(draws=400, max_draws=1600, tol=0.03))


def with_options(model, **options):
    """The same compiled functions under other options."""
    other = copy(model)
    other.rule = replace(model.rule, **options)
    return other


def test_the_noise_of_draws_is_what_it_is_said_to_be(drawn, groups):
    params, new = unpacked(np.zeros(3)), unpacked(np.array([-0.2, 0.3, 0.2]))
    doubled = em.Block(np.concatenate([groups, groups[:20]]))  # equal rows have equal draws
    values, errors, gains, gain_errors = [], [], [], []
    for turn in range(30):
        model = drawn.redrawn(turn, 400)
        found = model.expect(params, doubled)
        values.append(found.log_likelihood)
        errors.append(model.log_likelihood_error(found.statistics))
        gain, error = model.gain(new, params, found.statistics)
        gains.append(gain)
        gain_errors.append(error)
        q = [model.expected_log_joint(theta, found.statistics) for theta in (new, params)]
        assert_allclose(gain, q[0] - q[1], rtol=1e-9)
    # a standard deviation of 30 numbers is known to 13 %, here to three times that
    assert_allclose(np.std(values), np.mean(errors), rtol=0.4)
    assert_allclose(np.std(gains), np.mean(gain_errors), rtol=0.4)
    truth = exact(params, doubled.x)
    assert abs(np.mean(values) - truth) < 4 * np.mean(errors) / np.sqrt(30) + 0.02  # bias O(1/m)


def test_draws_depend_on_seed_and_row_alone(drawn, groups):
    params = unpacked(np.zeros(3))
    q = drawn.posterior(params, groups)["mean"]
    assert_allclose(drawn.posterior(params, groups[::-1])["mean"][::-1], q, rtol=1e-12)
    assert_allclose(drawn.posterior(params, groups[:33])["mean"], q[:33], rtol=1e-12)
    assert np.abs(drawn.redrawn(1, 400).posterior(params, groups)["mean"] - q).min() > 0
    other = copy(drawn)
    other.seed = 1
    assert np.abs(other.posterior(params, groups)["mean"] - q).min() > 0


def test_ascent_based_monte_carlo(drawn, groups):
    from expmax.compute.reduce import Serial, Threads

    best = minimize(lambda v: -exact(unpacked(v), groups), np.zeros(3), method="BFGS")
    blocks = [em.Block(groups[i : i + 16], memo={}) for i in range(0, 40, 16)]
    one, two = (
        em.maximize_likelihood(drawn, blocks, compute=compute) for compute in (Serial(), Threads(2))
    )
    assert one.log_likelihood == two.log_likelihood
    assert all((one.params[name] == two.params[name]).all() for name in one.params)
    assert one.kind == "monte_carlo"
    assert one.status == "uncertified"
    assert 0 < one.certificate.remaining < 0.1
    steps = np.array(one.history.step) == "monte_carlo"
    assert steps.sum() == len(steps) - 1
    assert (one.history.as_arrays()["delta_q"][steps] > 0).all()
    value = exact(one.params, groups)
    assert -best.fun - value < 0.1  # tol is .03 nats
    assert abs(one.log_likelihood - value) < 4 * one.log_likelihood_error
    assert "standard error" in str(one.certificate)
    spread = np.sqrt(np.diagonal(best.hess_inv))[:2]
    assert_allclose(one.standard_errors().errors["b"], spread, rtol=0.2)


@pytest.fixture(scope="module")
def averaging():
    rule = MonteCarlo(draws=40, max_draws=40, algorithm="saem", burn_in=8, average=15)
    return models.random_intercept(inference=rule)


def test_stochastic_approximation(averaging, groups):
    result = em.maximize_likelihood(averaging, groups)
    best = minimize(lambda v: -exact(unpacked(v), groups), np.zeros(3), method="BFGS")
    value = exact(result.params, groups)
    assert -best.fun - value < 0.1
    assert abs(result.log_likelihood - value) < 4 * result.log_likelihood_error
    assert result.history.step[0] == "burn_in"
    assert result.history.step[-2:] == ["saem", "end"]
    assert result.certificate.monotone
    assert result.status == "uncertified"


def test_monte_carlo_says_where_it_stops_and_what_it_cannot(averaging, groups, tmp_path):
    ascending = with_options(averaging, algorithm="ascent", tol=1e-9)
    result = em.maximize_likelihood(ascending, groups, tol=1e-9)
    assert result.status == "uncertified"
    assert "raise max_draws" in result.certificate.advice
    result = em.maximize_likelihood(ascending, groups, max_iter=1)
    assert result.status == "max_iter"
    with pytest.raises(ParameterError, match="Monte Carlo"):
        em.maximize_likelihood(ascending, groups, checkpoint=tmp_path / "fit.json")


def test_a_row_whose_draws_are_worth_little_is_named():
    # z² is seen with little noise: two narrow modes far apart, and a proposal that sits between.
    def log_joint(theta, x, z):
        return norm.logpdf(z[0], theta["a"], 3.0) + norm.logpdf(x[0], z[0] ** 2 * x[1], 0.01)

    model = em.JointModel(
        log_joint,
        latent=Gaussian(1),
        parameters={"a": Real(start=0.0)},
        inference=MonteCarlo(draws=50),
    )
    rows = np.array([[0.0, 0.0], [9.0, 1.0], [0.0, 0.0]])
    assert "row 1" in model.explain_draws({"a": np.array(0.0)}, [em.Block(rows)])
    assert model.explain_draws({"a": np.array(0.0)}, [em.Block(rows[:1])]) == ""


def mixed_answers(params, x):
    """Oracle: log p(x, class), shape (n, 2), and E[z | x, class]; all is Gaussian given the class."""
    joints, means = [], []
    for w, mean, tau in zip(params["w"], params["mean"], params["tau"], strict=True):
        covariance = tau**2 + params["scale"] ** 2 * np.eye(x.shape[1])
        joints.append(
            np.log(w) + multivariate_normal([mean] * len(covariance), covariance).logpdf(x)
        )
        means.append(tau * np.linalg.solve(covariance, (x - mean).T).sum(axis=0))
    return np.transpose(joints), np.transpose(means)


def test_mixed_latents():
    x = models.levels(12, seed=2)
    for rule in (Laplace(), GaussianVariational(), MonteCarlo(draws=1000)):
        model = models.classes_with_intercepts(inference=rule)
        params = {name: one.start for name, one in model.space.constraints.items()}
        found = model.expect(params, em.Block(x))
        seen = model.posterior(params, x)
        joints, means = mixed_answers(params, x)
        value = logsumexp(joints, axis=1)
        probability = np.exp(joints - value[:, None])
        slack = 0.0, 1e-6
        if found.kind == "monte_carlo":
            slack = 4 * model.log_likelihood_error(found.statistics), 0.15
        assert_allclose(found.log_likelihood, value.sum(), atol=slack[0], rtol=1e-9)
        assert_allclose(seen["probabilities"], probability, atol=slack[1])
        assert_allclose(seen["mean"][:, 0], (probability * means).sum(axis=1), atol=slack[1])


@pytest.mark.parametrize("rule", ["laplace", "gaussian", "monte_carlo", "quadrature"])
def test_rules_for_continuous_latents_refuse_others(rule):
    def log_joint(theta, x, z):
        return theta["a"] * 0.0

    parameters = {"a": Real(start=0.0)}
    with pytest.raises(ParameterError, match="a rule for this latent type"):
        em.JointModel(log_joint, latent=Finite(2), parameters=parameters, inference=rule)
    chain = dict.fromkeys(("log_initial", "log_transition", "log_likelihood"), log_joint)
    with pytest.raises(ParameterError, match="a rule for this latent type"):
        em.JointModel(latent=Markov(2), parameters=parameters, inference=rule, **chain)


def test_options_are_checked():
    def model(rule, dim=1):
        return linear(rule, dim)

    with pytest.raises(ParameterError, match="it goes to 3"):
        model("quadrature", 4)
    with pytest.raises(ParameterError, match="'full' or 'diagonal'"):
        model(GaussianVariational("banded"))
    for rule in (MonteCarlo(draws=5), MonteCarlo(max_draws=50), MonteCarlo(burn_in=0)):
        with pytest.raises(ParameterError, match="integer of at least"):
            model(rule)
    with pytest.raises(ParameterError, match="'ascent' or 'saem'"):
        model(MonteCarlo(algorithm="gibbs"))
    with pytest.raises(ParameterError, match="positive number of nats"):
        model(MonteCarlo(tol=0.0))
    with pytest.raises(ParameterError, match="whose log-likelihood is a bound"):
        model("laplace").gap(PARAMS, np.zeros((1, 4)))
