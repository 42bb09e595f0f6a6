"""Annealed starts: tempered posteriors by enumeration, and the optimum that plain EM misses."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm
from numpy.testing import assert_allclose
from scipy.stats import norm as normal

import expmax as em
from expmax.errors import ParameterError
from expmax.general import Finite, Gaussian, Positive, Real, Simplex
from expmax.general.annealing import annealed
from tests.general import models

BETAS = (0.2, 0.4, 0.7)


def three_groups(**options):
    """Means of three Gaussians, two of which begin within one group and none near another."""

    def log_joint(theta, x, z):
        return jnp.log(theta["w"][z]) + norm.logpdf(x[0], theta["mean"][z], theta["scale"])

    return em.JointModel(
        log_joint,
        latent=Finite(3),
        parameters={
            "w": Simplex(3, start=np.full(3, 1 / 3)),
            "mean": Real(3, start=[-7.0, -5.0, 3.0]),
            "scale": Positive(start=1.0),
        },
        **options,
    )


def observed():
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(mean, 1.0, 40) for mean in (-6.0, 0.0, 6.0)])[:, None]


@pytest.fixture(scope="module")
def groups():
    return three_groups(anneal=BETAS, n_starts=1)


def start_of(model):
    return {name: one.start for name, one in model.space.constraints.items()}


def test_annealing_finds_what_plain_em_misses(groups):
    x = observed()
    plain = em.maximize_likelihood(
        groups, x, start_of(groups)
    )  # a start that is given is not annealed
    found = em.maximize_likelihood(groups, x, random_state=0)  # the same, annealed
    assert found.log_likelihood > plain.log_likelihood + 50
    near = start_of(groups) | {"mean": np.array([-6.0, 0.0, 6.0])}
    best = em.maximize_likelihood(groups, x, near)
    assert_allclose(found.log_likelihood, best.log_likelihood, atol=1e-4)
    assert_allclose(np.sort(found.params["mean"]), best.params["mean"], atol=1e-2)


def one_tempered_step(x, params, beta):
    """Oracle: weights and means after an EM step with q ∝ p(x, z)^β."""
    joint = params["w"] * normal.pdf(x, params["mean"], params["scale"])
    q = joint**beta / (joint**beta).sum(axis=1, keepdims=True)
    return q.mean(axis=0), (q * x).sum(axis=0) / q.sum(axis=0)


@pytest.mark.parametrize("keeps", [False, True], ids=["found again", "kept"])
def test_a_tempered_step(groups, keeps, monkeypatch):
    monkeypatch.setattr("expmax.general.annealing.STEPS", 1)
    x, params = observed(), start_of(groups)
    blocks = [em.Block(part, memo={} if keeps else None) for part in (x[:60], x[60:])]
    new = annealed(groups, params, blocks, (0.3,))
    weights, means = one_tempered_step(x, params, 0.3)
    assert_allclose(new["w"], weights, rtol=1e-8)
    assert_allclose(new["mean"], means, rtol=1e-7)


def test_a_tempered_step_of_a_chain(monkeypatch):
    monkeypatch.setattr("expmax.general.annealing.STEPS", 1)
    model = models.chain(anneal=BETAS)
    x, lengths = models.sequences()
    params = start_of(model)
    new = annealed(model, params, [em.Block(x)], (0.4,))
    first, pairs = np.zeros(2), np.zeros((2, 2))
    for row, length in zip(x, lengths, strict=True):
        paths = [(path, p**0.4) for path, p in models.paths(params, row, length)]
        total = sum(p for _, p in paths)
        for path, p in paths:
            first[path[0]] += p / total
            np.add.at(pairs, (path[:-1], path[1:]), p / total)
    assert_allclose(new["initial"], first / first.sum(), rtol=1e-7)
    assert_allclose(new["transition"], pairs / pairs.sum(axis=1, keepdims=True), rtol=1e-7)


@pytest.mark.parametrize("anneal", [0.5, "slow", (0.4, 0.2), (0.5, 1.0), (0.0, 0.5), (0.3, 0.3)])
def test_schedules_are_checked(anneal):
    with pytest.raises(ParameterError, match="between 0 and 1 that rise"):
        three_groups(anneal=anneal)


def test_continuous_latents_are_not_annealed():
    with pytest.raises(ParameterError, match="Only exact posteriors"):
        em.JointModel(
            lambda theta, x, z: theta["a"] * 0.0,
            latent=Gaussian(1),
            parameters={"a": Real(start=0.0)},
            anneal=BETAS,
        )
