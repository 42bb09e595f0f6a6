"""Mean field against all states: a bound, exact where the posterior factorises, refused where it cannot be."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm
from numpy.testing import assert_allclose
from scipy.special import logsumexp
from scipy.stats import norm as normal

import expmax as em
from expmax.errors import NotFiniteError, ParameterError
from expmax.general import Finite, Finites, Gaussian, Interval, MeanField, Positive, Real
from tests.general import models

STATES = np.array(list(itertools.product(range(2), repeat=3)))


def factors(inference, threefold=0.0):
    """Three causes that are on or off add up to three observed numbers."""

    def log_joint(theta, x, z):
        prior = jnp.where(z == 1, jnp.log(theta["p"]), jnp.log1p(-theta["p"])).sum()
        mean = z @ theta["w"] + threefold * z[0] * z[1] * z[2]
        return prior + norm.logpdf(x, mean, theta["s"]).sum()

    return em.JointModel(
        log_joint,
        latent=Finites(2, 2, 2),
        parameters={
            "p": Interval(0, 1, shape=3, start=0.4),
            "w": Real((3, 3), start=np.eye(3) * 2 + 0.5),
            "s": Positive(start=1.0),
        },
        inference=inference,
    )


def log_joints(params, x):
    """Oracle: log p(x, z) of every row and state."""
    prior = np.where(STATES == 1, np.log(params["p"]), np.log1p(-params["p"])).sum(axis=1)
    return prior + normal.logpdf(x[:, None, :], STATES @ params["w"], params["s"]).sum(axis=2)


def random_params(seed):
    rng = np.random.default_rng(seed)
    return {
        "p": rng.uniform(0.2, 0.8, 3),
        "w": rng.normal(0.0, 1.5, (3, 3)),
        "s": np.array(rng.uniform(0.5, 2.0)),
    }


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    z = rng.random((30, 3)) < 0.4
    return z @ (2 * np.eye(3) + 0.6) + rng.normal(size=(30, 3))


@pytest.fixture(scope="module")
def full():
    return factors("mean_field")


@pytest.fixture(scope="module")
def pairwise():
    return factors(MeanField(limit=1))


def test_the_bound_lies_below_the_log_likelihood_by_the_gap(full, pairwise, data):
    block = em.Block(data)
    for seed in range(5):
        params = random_params(seed)
        table = log_joints(params, data)
        exact = logsumexp(table, axis=1).sum()
        found = full.expect(params, block)
        assert found.kind == "bound"
        assert found.log_likelihood < exact
        assert_allclose(full.gap(params, data), exact - found.log_likelihood, rtol=1e-9)
        # the bound of the probabilities shown, by sums over all states
        q = full.posterior(params, data)["probabilities"]
        product = np.prod([q[:, j][:, STATES[:, j]] for j in range(3)], axis=0)
        value = (product * (table - np.log(np.maximum(product, 1e-300)))).sum()
        assert_allclose(found.log_likelihood, value, rtol=1e-12)
        # no other product of the kind is better nearby
        moved = np.clip(q[:, 0, 1] + 0.01, 0, 1)
        other = (
            product
            / q[:, 0][:, STATES[:, 0]]
            * np.where(STATES[:, 0] == 1, moved[:, None], 1 - moved[:, None])
        )
        lower = (other * (table - np.log(np.maximum(other, 1e-300)))).sum(axis=1)
        best = (product * (table - np.log(np.maximum(product, 1e-300)))).sum(axis=1)
        assert (lower <= best + 1e-12).all()
        again = pairwise.expect(params, block)  # never looks at all states
        assert_allclose(again.log_likelihood, found.log_likelihood, rtol=1e-9)
        assert_allclose(
            pairwise.expected_log_joint(params, again.statistics),
            full.expected_log_joint(params, found.statistics),
            rtol=1e-7,
        )


def test_it_is_exact_where_the_posterior_factorises(full, pairwise, data):
    params = random_params(0) | {"w": np.diag([1.0, 2.0, -1.0])}
    exact = logsumexp(log_joints(params, data), axis=1).sum()
    for model in (full, pairwise):
        assert_allclose(model.expect(params, em.Block(data)).log_likelihood, exact, rtol=1e-12)
    assert_allclose(full.gap(params, data), 0.0, atol=1e-10)


def test_a_fit_climbs_its_bound(full, data):
    result = em.maximize_likelihood(full, data, random_state=0)
    assert result.kind == "bound"
    assert result.status in ("stationary", "boundary")
    history = result.history.as_arrays()
    assert (np.diff(history["objective"]) > -1e-9).all()
    steps = np.array(result.history.step) == "em"
    assert (history["kl"][steps] > -1e-9).all()
    assert_allclose(history["elbo"][steps], history["log_likelihood"][steps], rtol=1e-10)
    exact = logsumexp(log_joints(result.params, data), axis=1).sum()
    assert_allclose(result.gap(), exact - result.log_likelihood, rtol=1e-6, atol=1e-9)
    assert result.gap() >= 0
    assert result.standard_errors().errors["s"] > 0


def test_impossible_states_keep_no_probability():
    # Of the genotypes of an A, q keeps one allele at A: p_A (p_A + p_O); of an AB one order of the two.
    model = models.blood_groups(inference="mean_field")
    a, b, o = p = np.array([0.3, 0.2, 0.5])
    bound = np.log([a * (a + o), b * (b + o), a * b, o * o])
    block = models.blood_counts()
    found = model.expect({"p": p}, block)
    assert_allclose(found.log_likelihood, block.weight @ bound, rtol=1e-10)
    exact = np.log([a * a + 2 * a * o, b * b + 2 * b * o, 2 * a * b, o * o])
    assert_allclose(model.gap({"p": p}, block), block.weight @ (exact - bound), rtol=1e-9)


def test_terms_in_three_variables_are_refused(data):
    model = factors(MeanField(limit=1), threefold=1.0)
    with pytest.raises(NotFiniteError, match="three or more"):
        em.maximize_likelihood(model, data)
    with pytest.raises(ParameterError, match="enumerated"):
        model.gap(random_params(0), data)


def test_refusals():
    def log_joint(theta, x, z):
        return theta["a"] * 0.0

    parameters = {"a": Real(start=0.0)}
    for latent in (Gaussian(1), (Finite(2), Gaussian(1))):
        with pytest.raises(ParameterError, match="MeanField needs Finites"):
            em.JointModel(log_joint, latent=latent, parameters=parameters, inference="mean_field")
    with pytest.raises(ParameterError, match="posterior cannot be given"):
        em.JointModel(
            log_joint,
            latent=Finites(2, 2),
            parameters=parameters,
            inference="mean_field",
            posterior=lambda theta, x: jnp.ones((2, 2)) / 4,
        )
    with pytest.raises(ParameterError, match="more than the 4096"):
        em.JointModel(log_joint, latent=Finites(*[2] * 13), parameters=parameters)
