"""Starts on the edge of the space, and densities without a curvature."""

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import xlogy
from jax.scipy.stats import norm
from numpy.testing import assert_allclose

import expmax as em
from expmax.general import Finite, Real, Simplex


def votes():
    """Answers of three voters about 60 questions, counted, none ever one too high: shape (60, 3, 3)."""
    rng = np.random.default_rng(5)
    truth = rng.integers(3, size=(60, 1))
    return np.eye(3)[np.where(rng.random((60, 3)) < 0.7, truth, (truth + 2) % 3)]


def test_newton_matches_the_closed_m_step_from_probabilities_of_zero():
    """The M-step of a latent class model is shares of expected counts, whatever cells the start has at 0."""
    model = em.JointModel(
        log_prior=lambda theta, z: jnp.log(theta["weight"][z]),
        log_likelihood=lambda theta, x, z: xlogy(x, theta["p"][:, z]).sum(),
        latent=Finite(3),
        parameters={"weight": Simplex(3), "p": Simplex(3, shape=(3, 3))},
    )
    x = votes()
    start = {"weight": np.full(3, 1 / 3), "p": np.empty((3, 3, 3))}
    start["p"][:] = [[0.8, 0.0, 0.2], [0.4, 0.6, 0.0], [0.0, 0.3, 0.7]]
    expectation = model.expect(start, em.Block(x, memo={}))
    r = model.posterior(start, x)["probabilities"]
    shares = np.einsum("iz,ijk->jzk", r, x)
    closed = {"weight": r.mean(axis=0), "p": shares / shares.sum(axis=2, keepdims=True)}
    new = model.maximize(expectation.statistics, start)
    assert_allclose(new["weight"], closed["weight"], rtol=0, atol=1e-9)
    assert_allclose(new["p"], closed["p"], rtol=0, atol=1e-9)
    best = model.expected_log_joint(closed, expectation.statistics)
    assert_allclose(model.expected_log_joint(new, expectation.statistics), best, rtol=1e-13)


def test_no_certificate_where_q_has_no_curvature():
    """|a|^1.5 has a slope at 0 and an infinite second derivative: nothing is verified there."""

    def log_joint(theta, x, z):
        return norm.logpdf(x[0]) - jnp.abs(theta["a"]) ** 1.5 - jnp.log(2.0)

    model = em.JointModel(log_joint, latent=Finite(2), parameters={"a": Real(start=0.0)})
    result = em.maximize_likelihood(model, np.zeros((3, 1)), max_iter=20)
    assert result.status == "uncertified"
