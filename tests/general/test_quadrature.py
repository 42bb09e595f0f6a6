"""Continuous latents against published values, finer rules and integrals in closed form."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

import expmax as em
from expmax.general import Gaussian, Positive, PositiveDefinite, Quadrature, Real
from tests.general import models

LSAT6 = Path(__file__).parents[2] / "examples" / "data" / "lsat6.csv"


def test_two_parameter_logistic_model_of_lsat6():
    # −2466.653 is what R's mirt reports for this model of these data (Chalmers 2012, J. Stat. Software
    # 48(6)).
    x = np.loadtxt(LSAT6, delimiter=",", skiprows=1)
    model = models.two_parameter_logistic()
    result = em.maximize_likelihood(model, x, random_state=0)
    assert_allclose(result.log_likelihood, -2466.653, atol=6e-4)
    assert result.kind == "approximate"
    assert result.status == "stationary"
    assert model.approximation_error(result.params, em.Block(x)) < 1e-8

    def objective(p):
        return _logistic_log_likelihood(p[:5], p[5:], x)

    best = np.concatenate([result.params["slope"], result.params["intercept"]])
    assert_allclose(result.log_likelihood, objective(best), atol=1e-8)
    errors = result.standard_errors()
    spread = np.sqrt(np.diagonal(np.linalg.inv(-_second_differences(objective, best))))
    assert_allclose(np.concatenate(list(errors.errors.values())), spread, rtol=1e-4)
    assert errors.names[:2] == ("slope[0]", "slope[1]")


def _logistic_log_likelihood(slope, intercept, x):
    """Oracle: a fixed Gauss–Hermite rule of many nodes."""
    points, weights = np.polynomial.hermite_e.hermegauss(61)
    logit = slope * points[:, None] + intercept
    terms = x[:, None, :] * logit - np.logaddexp(0.0, logit)
    return np.log(np.exp(terms.sum(axis=2)) @ weights / np.sqrt(2 * np.pi)).sum()


def _second_differences(function, at, step=1e-3):
    unit = step * np.eye(len(at))
    return np.array(
        [
            [
                sum(s * t * function(at + s * a + t * b) for s in (1, -1) for t in (1, -1))
                / (4 * step**2)
                for b in unit
            ]
            for a in unit
        ]
    )


def _intercept_objective(p, x, nodes=80):
    """Oracle: −log-likelihood by a fixed Gauss–Hermite rule of many nodes."""
    points, weights = np.polynomial.hermite.hermgauss(nodes)
    there = ~np.isnan(x[..., 0])
    y, covariate = np.where(there, x[..., 0], 0.0), np.where(there, x[..., 1], 0.0)
    logit = p[0] + p[1] * covariate[..., None] + np.exp(p[2]) * np.sqrt(2) * points
    terms = np.where(there[..., None], y[..., None] * logit - np.logaddexp(0, logit), 0.0)
    return -np.log(np.exp(terms.sum(axis=1)) @ weights / np.sqrt(np.pi)).sum()


def test_random_intercept_reaches_the_optimum_of_a_direct_search():
    x = models.groups(1.0, 60, seed=3)
    result = em.maximize_likelihood(models.random_intercept(), x, tol=1e-8, random_state=0)
    oracle = minimize(_intercept_objective, [0.0, 0.0, 0.0], args=(x,), method="BFGS")
    assert_allclose(result.log_likelihood, -oracle.fun, atol=1e-6)
    assert_allclose(result.params["b"], oracle.x[:2], atol=1e-4)
    assert_allclose(result.params["sigma"], np.exp(oracle.x[2]), atol=1e-4)


def test_a_variance_of_zero_ends_on_the_boundary():
    x = models.groups(0.0, 40, seed=2)  # the first seed at which the direct search ends at σ = 0
    oracle = minimize(_intercept_objective, [0.0, 0.0, -1.0], args=(x,), method="BFGS")
    assert np.exp(oracle.x[2]) < 1e-2
    result = em.maximize_likelihood(models.random_intercept(), x, random_state=0)
    assert result.status == "boundary"
    assert result.certificate.boundary == ("sigma at 0",)
    assert_allclose(result.log_likelihood, -oracle.fun, atol=1e-4)
    with pytest.raises(em.errors.InformationError, match="sigma at 0"):
        result.standard_errors()


def test_classes_with_intercepts_equal_their_closed_form():
    x = models.levels(40, seed=5)
    model = models.classes_with_intercepts()
    result = em.maximize_likelihood(model, x, random_state=0)
    p, m = result.params, x.shape[1]
    density = sum(
        p["w"][k]
        * multivariate_normal.pdf(
            x, np.full(m, p["mean"][k]), p["scale"] ** 2 * np.eye(m) + p["tau"][k] ** 2
        )
        for k in range(2)
    )
    assert_allclose(result.log_likelihood, np.log(density).sum(), rtol=1e-10)
    posterior = model.posterior(result.params, x)
    assert_allclose(posterior["probabilities"].sum(axis=1), 1.0, rtol=1e-12)


TIMES = np.linspace(-1.0, 1.0, 5)
DESIGN = np.stack([np.ones(5), TIMES], axis=1)


def _growth(posterior=None):
    """Random intercept and slope: everything is Gaussian, so the answer is known."""
    import jax.numpy as jnp
    from jax.scipy.stats import multivariate_normal as normal
    from jax.scipy.stats import norm

    def log_joint(theta, x, z):
        fit = norm.logpdf(x, jnp.asarray(DESIGN) @ z, theta["scale"]).sum()
        return normal.logpdf(z, theta["mean"], theta["cov"]) + fit

    return em.JointModel(
        log_joint,
        latent=Gaussian(2),
        parameters={
            "mean": Real(2, start=0.0),
            "cov": PositiveDefinite(2, start=np.eye(2)),
            "scale": Positive(start=1.0),
        },
        inference=Quadrature(nodes=5),
        posterior=posterior,
    )


def _growth_data():
    rng = np.random.default_rng(5)
    b = rng.multivariate_normal([1.0, 2.0], [[1.0, 0.4], [0.4, 0.5]], size=40)
    return b @ DESIGN.T + 0.5 * rng.normal(size=(40, 5))


def _growth_log_likelihood(p, x):
    covariance = DESIGN @ p["cov"] @ DESIGN.T + p["scale"] ** 2 * np.eye(5)
    return multivariate_normal.logpdf(x, DESIGN @ p["mean"], covariance).sum()


def test_a_gaussian_posterior_is_integrated_exactly_by_few_nodes():
    x = _growth_data()
    result = em.maximize_likelihood(_growth(), x, random_state=0)
    assert_allclose(result.log_likelihood, _growth_log_likelihood(result.params, x), rtol=1e-10)
    assert result.status == "stationary"


def test_a_given_mean_and_covariance_place_the_nodes():
    import jax.numpy as jnp

    def posterior(theta, x):
        precision = jnp.linalg.inv(theta["cov"])
        covariance = jnp.linalg.inv(precision + DESIGN.T @ DESIGN / theta["scale"] ** 2)
        return covariance @ (
            precision @ theta["mean"] + DESIGN.T @ x / theta["scale"] ** 2
        ), covariance

    x = _growth_data()
    params = {
        "mean": np.array([0.5, 1.0]),
        "cov": np.array([[1.0, 0.3], [0.3, 2.0]]),
        "scale": np.array(0.7),
    }
    found = [model.expect(params, em.Block(x)) for model in (_growth(), _growth(posterior))]
    for one in found:
        assert_allclose(one.log_likelihood, _growth_log_likelihood(params, x), rtol=1e-11)
    assert_allclose(found[0].entropy, found[1].entropy, rtol=1e-9)


def test_too_few_nodes_show_in_the_error_estimate():
    x = models.groups(3.0, 20, seed=2)
    block = em.Block(x)
    params = {"b": np.array([-0.5, 1.0]), "sigma": np.array(3.0)}
    exact = -_intercept_objective([-0.5, 1.0, np.log(3.0)], x, nodes=180)
    coarse = models.random_intercept(inference=Quadrature(nodes=3))
    wrong = abs(coarse.expect(params, block).log_likelihood - exact)
    estimate = coarse.approximation_error(params, block)
    assert wrong > 1e-4
    assert 0.3 * wrong < estimate < 3.0 * wrong


@pytest.mark.parametrize("name", ["gaussian", "mixed"])
def test_every_identity_that_applies_holds(name):
    if name == "gaussian":
        model = models.random_intercept(inference=Quadrature(nodes=15))
        block = em.Block(models.groups(1.0, 8, seed=1))
        params = {"b": np.array([-0.3, 0.8]), "sigma": np.array(0.8)}
    else:
        model = models.classes_with_intercepts()
        block = em.Block(models.levels(24, seed=2), weight=np.linspace(0.5, 2.0, 24))
        params = {
            "w": np.array([0.4, 0.6]),
            "mean": np.array([-1.0, 1.2]),
            "tau": np.array([0.4, 0.7]),
            "scale": np.array(0.8),
        }
    report = em.check_model(model, block, params)
    assert report.ok, str(report)
