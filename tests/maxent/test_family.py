"""The answer as an exponential family: the identities of every family, and mixtures of it."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import expmax as em
from expmax.errors import DataError
from expmax.maxent import Interval

POINTS = em.maximum_entropy(
    [lambda x: x, lambda x: x**2], [4.5, 22.25], support=np.arange(1, 7), names=["mean", "second"]
)
MATRIX = em.maximum_entropy(
    np.random.default_rng(0).normal(size=(20, 3)),
    np.zeros(3),
    base_measure=np.linspace(1, 2, 20),
    names=["a", "b", "c"],
)
DENSITY = em.maximum_entropy(
    [lambda x: x, np.log],
    [2.0, 0.4],
    support="half-line",
    base_measure=lambda x: np.exp(-x * x / 50),
)
RESULTS = {"points": POINTS, "matrix": MATRIX, "density": DENSITY}


@pytest.fixture(params=RESULTS)
def result(request):
    return RESULTS[request.param]


def stacked(result):
    """Three components around the solution."""
    natural = result.parameters["natural"]
    return np.vstack([natural, 0.7 * natural, natural - 0.1])


def test_gradient_of_the_log_partition_is_the_mean(result):
    natural, step = stacked(result), 1e-5
    for j in range(natural.shape[1]):
        shift = step * np.eye(natural.shape[1])[j]
        slope = (
            result.family.log_partition(natural + shift)
            - result.family.log_partition(natural - shift)
        ) / (2 * step)
        assert_allclose(result.family.to_mean(natural)[:, j], slope, rtol=1e-6, atol=1e-7)


def test_fisher_information_is_the_curvature(result):
    natural, step = stacked(result), 1e-5
    for j in range(natural.shape[1]):
        shift = step * np.eye(natural.shape[1])[j]
        slope = (
            result.family.to_mean(natural + shift) - result.family.to_mean(natural - shift)
        ) / (2 * step)
        assert_allclose(
            result.family.fisher_information(natural)[:, j], slope, rtol=1e-5, atol=1e-7
        )


def test_moment_matching_inverts_to_mean(result):
    natural = stacked(result)
    assert_allclose(result.family.to_natural(result.family.to_mean(natural)), natural, rtol=1e-7)


def test_family_at_its_parameters_is_the_result(result):
    natural = result.parameters["natural"]
    assert_allclose(result.family.log_partition(natural), [result.log_partition], rtol=1e-9)
    assert_allclose(result.family.entropy(natural), [result.entropy], rtol=1e-8)
    assert_allclose(result.family.to_mean(natural)[0], result.mean, rtol=1e-9, atol=1e-12)


def test_kl_divergence_is_bregman(result):
    natural = stacked(result)
    mean = result.family.to_mean(natural)
    for k in (1, 2):
        one, other = natural[:1], natural[k : k + 1]
        kl = result.family.kl_divergence(one, other)[0]
        assert kl > 0
        dual = (
            result.family.log_partition(other)[0]
            - result.family.log_partition(one)[0]
            - (other - one)[0] @ mean[0]
        )
        assert_allclose(kl, dual, rtol=1e-6)


def test_log_density_sums_to_one():
    x = np.arange(1.0, 7.0)[:, None]
    log_p = POINTS.family.log_density(POINTS.parameters, x)[:, 0]
    assert_allclose(np.exp(log_p).sum(), 1.0, rtol=1e-13)
    assert_allclose(np.exp(log_p), POINTS.probabilities, rtol=1e-12)


def test_off_the_support():
    family = POINTS.family
    with pytest.raises(DataError, match="outside the support"):
        family.bind(np.array([[2.5]]))
    assert family.bind(np.array([[2.0], [6.0]])) is family
    with pytest.raises(DataError, match="2 columns"):
        family.bind(np.ones((3, 2)))


def test_not_integrable_is_infinite():
    gauss = em.maximum_entropy([lambda x: x, lambda x: x**2], [0.0, 1.0], support="line").family
    assert gauss.log_partition(np.array([[0.0, 0.1]]))[0] == np.inf
    assert np.isnan(gauss.to_natural(np.array([[1.0, 0.5]]))).all()


def test_mixture_of_a_density_is_the_gaussian_mixture():
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(-3, 1, 90), rng.normal(3, 1.5, 60)])[:, None]
    family = em.maximum_entropy([lambda x: x, lambda x: x**2], [0.0, 1.0], support="line").family
    start = np.repeat([0, 1], [90, 60])
    ours = em.Mixture(family, 2, init=start).fit(x)
    plain = em.Mixture(em.Gaussian(), 2, init=start).fit(x)
    assert ours.status_ == "stationary"
    assert_allclose(ours.log_likelihood_, plain.log_likelihood_, rtol=1e-9)
    natural = ours.params_["f0"], ours.params_["f1"]
    assert_allclose(-natural[0] / (2 * natural[1]), plain.params_["mean"].ravel(), rtol=1e-3)


def test_mixture_of_dice():
    rng = np.random.default_rng(2)
    family = em.maximum_entropy(lambda x: x, 3.0, support=np.arange(1, 7)).family
    p = 0.6 * np.exp(-0.8 * np.arange(6)) / np.exp(-0.8 * np.arange(6)).sum()
    p += 0.4 * np.exp(1.2 * np.arange(6)) / np.exp(1.2 * np.arange(6)).sum()
    rolls = rng.choice(6, 400, p=p)[:, None] + 1.0
    model = em.Mixture(family, 2, n_init=3, random_state=0).fit(rolls)
    assert model.converged_
    counts = np.bincount(rolls[:, 0].astype(int), minlength=7)[1:]
    assert model.log_likelihood_ > 400 * np.log(p) @ (counts / 400) - 1e-6  # at least the truth
    assert model.log_likelihood_ <= counts @ np.log(counts / 400) + 1e-9  # at most the frequencies


def test_mixture_of_unlike_families():
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.exponential(1.0, 80), rng.normal(12, 1, 60)])[:, None]
    decay = em.maximum_entropy(lambda x: x, 1.0, support=Interval(0)).family
    model = em.Mixture([decay, em.Gaussian()], init=np.repeat([0, 1], [80, 60])).fit(np.abs(x))
    reference = em.Mixture([em.Exponential(), em.Gaussian()], init=np.repeat([0, 1], [80, 60])).fit(
        np.abs(x)
    )
    assert_allclose(model.log_likelihood_, reference.log_likelihood_, rtol=1e-9)


def test_boundary_means_stay_finite():
    family = em.maximum_entropy(lambda x: x, 3.0, support=np.arange(1, 7)).family
    natural = family.to_natural(np.array([[6.0]]))
    assert np.isfinite(natural).all()
    assert_allclose(family.to_mean(natural), [[6.0]], rtol=1e-12)


def test_samples_of_a_component():
    rng = np.random.default_rng(4)
    draws = DENSITY.family.sample(DENSITY.parameters, 0, 20_000, rng)
    assert draws.shape == (20_000, 1)
    mean = DENSITY.family.to_mean(DENSITY.parameters["natural"])[0]
    spread = np.sqrt(DENSITY.covariance.diagonal() / 20_000)
    assert (
        np.abs(DENSITY.family.sufficient_statistics(draws).mean(axis=0) - mean) < 5 * spread
    ).all()
    assert stats.describe(draws).minmax[0] > 0
