"""Variational Bayes: the bound against enumeration and exact evidence, its ascent, its coordinates."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import gammaln, logsumexp

from expmax import (
    Bernoulli,
    Binomial,
    Categorical,
    Exponential,
    Gaussian,
    Geometric,
    LogNormal,
    Multinomial,
    NegativeBinomial,
    Poisson,
    Product,
)
from expmax.compute.reduce import Serial
from expmax.contract import Block
from expmax.engine.acceleration import accelerators
from expmax.engine.loop import ascend
from expmax.engine.problem import Problem
from expmax.families.base import Family
from expmax.models.mixture import Group
from expmax.models.variational import VariationalMixture
from expmax.models.variational_starts import VariationalStarts
from expmax.models.variational_weights import WeightDistribution
from expmax.priors import conjugate, weak_prior
from expmax.statistics import Array

RNG = np.random.default_rng(5)
KINDS = ("dirichlet_distribution", "dirichlet_process")


def two(low: Any, high: Any) -> Array:
    """Rows of two clusters."""
    return np.asarray(np.concatenate([low, high]), float).reshape(len(low) + len(high), -1)


PLANE = two(RNG.normal(0, 1, (40, 2)), RNG.normal([4, 2], [1, 0.5], (30, 2)))
MIXED = np.column_stack(
    [two(RNG.poisson(2, 40), RNG.poisson(12, 30)), PLANE[:, 1], RNG.integers(0, 3, 70)]
)
FAMILIES: list[tuple[str, Family, Array]] = [
    ("full", Gaussian(), PLANE),
    ("tied", Gaussian("tied"), PLANE),
    ("diag", Gaussian("diag"), PLANE),
    ("spherical", Gaussian("spherical"), PLANE),
    ("EEI", Gaussian("EEI"), PLANE),
    ("EII", Gaussian("EII"), PLANE),
    ("one column", Gaussian("tied"), PLANE[:, :1]),
    ("Poisson", Poisson(), MIXED[:, :1]),
    ("Exponential", Exponential(), two(RNG.exponential(1, 40), RNG.exponential(20, 30))),
    ("Bernoulli", Bernoulli(), (RNG.random((70, 5)) < 0.3 + 0.4 * (np.arange(70) > 40)[:, None])),
    ("Categorical", Categorical(3), MIXED[:, 2:]),
    ("Binomial", Binomial(9), two(RNG.binomial(9, 0.2, 40), RNG.binomial(9, 0.7, 30))),
    ("Multinomial", Multinomial(6), RNG.multinomial(6, [0.2, 0.3, 0.5], 70)),
    ("Geometric", Geometric(), two(RNG.geometric(0.6, 40), RNG.geometric(0.05, 30)) - 1),
    ("NegativeBinomial", NegativeBinomial(3.0), MIXED[:, :1]),
    ("LogNormal", LogNormal(), np.exp(PLANE[:, :1])),
    (
        "Product",
        Product(columns={0: Poisson(), (1, 2): Gaussian("diag"), 3: Categorical(3)}),
        np.column_stack([MIXED[:, 0], PLANE, MIXED[:, 2]]),
    ),
]
CASES = [
    (name, family.bind(np.asarray(x, float)), np.asarray(x, float)) for name, family, x in FAMILIES
]
over = pytest.mark.parametrize(("name", "family", "x"), CASES, ids=[c[0] for c in CASES])


def model_of(
    family: Family, x: Array, k: int = 3, kind: Any = KINDS[0], alpha: float = 0.4
) -> VariationalMixture:
    prior = weak_prior(family, family.summarize(x), k)
    groups = (Group(family, np.arange(k)),)
    return VariationalMixture(groups, k, WeightDistribution.prior(kind, k, alpha), (prior,))


def start_of(model: VariationalMixture, x: Array, seed: int = 0, **block: Any) -> Any:
    source = VariationalStarts(model, Block(x, **block, memo={}))  # type: ignore[arg-type]
    return next(source.starts(iter([np.random.default_rng(seed)]))).params


def problem_of(model: Any, x: Array, **block: Any) -> Problem:
    return Problem(model, [Block(x, **block, memo={})], Serial())


# -- the bound -------------------------------------------------------------------------------------
@over
def test_one_component_is_exact(name: str, family: Family, x: Array) -> None:
    """With K = 1 q(θ) is the posterior, and the bound the evidence."""
    model = model_of(family, x, 1)
    problem = problem_of(model, x)
    params = model.from_responsibilities([(problem.blocks[0], np.ones((len(x), 1)))])
    evidence = model.priors[0].log_marginal_likelihood(family.summarize(x)).sum()
    assert_allclose(problem.at(params).objective, evidence, rtol=1e-11)


SMALL: list[tuple[Family, Any, Array]] = [
    (Poisson(), {"shape": 2.0, "rate": 0.5}, np.array([[0.0], [1.0], [9.0], [8.0], [2.0]])),
    (
        Gaussian("diag"),
        {"location": 0.0, "mean_precision": 0.1, "degrees_of_freedom": 3.0, "scale": 1.0},
        np.array([[-3.0], [-2.5], [2.0], [2.2], [1.0], [9.0]]),
    ),
]


@pytest.mark.parametrize(("family", "hyper", "x"), SMALL)
def test_bound_lies_below_the_evidence(family: Family, hyper: Any, x: Array) -> None:
    """The evidence by enumerating all K**n assignments; the bound is below it, and not far."""
    k, alpha = 2, 0.7
    prior = conjugate(family, **hyper)
    terms = []
    for z in product(range(k), repeat=len(x)):
        n = np.bincount(z, minlength=k)
        value = (gammaln(alpha + n) - gammaln(alpha)).sum()
        value += gammaln(k * alpha) - gammaln(k * alpha + len(x))
        for j in range(k):
            rows = x[np.array(z) == j]
            if len(rows):
                value += float(prior.log_marginal_likelihood(family.summarize(rows))[0])
        terms.append(value)
    evidence = logsumexp(terms)
    weights = WeightDistribution.prior(KINDS[0], k, alpha)
    model = VariationalMixture(
        (Group(family, np.arange(k)),), k, weights, (prior.take(np.zeros(k, int)),)
    )
    problem = problem_of(model, x)
    bounds = []
    for seed in range(6):
        run = ascend(
            problem,
            problem.at(start_of(model, x, seed)),
            tol=1e-8,
            max_iter=2000,
            certifier=np.random.default_rng(0),
        )
        bounds.append(run.point.objective)
        assert run.point.expectation.kind == "bound"
    assert max(bounds) <= evidence
    assert max(bounds) >= evidence - 2.0  # about log K! and the correlations that q leaves out


@over
@pytest.mark.parametrize("kind", KINDS)
def test_every_step_proves_its_ascent(name: str, family: Family, x: Array, kind: str) -> None:
    """Tightness at the optimal q(z), ΔQ − ΔKL ≥ 0, KL(q(z)) ≥ 0, and their sum is the gain."""
    model = model_of(family, x, 4, kind)
    problem = problem_of(model, x)
    run = ascend(problem, problem.at(start_of(model, x)), tol=1e-7, max_iter=60)
    assert run.breach is None
    columns = run.history.as_arrays()
    slack = 1e-11 * (1 + np.abs(columns["objective"]).max())
    assert_allclose(columns["elbo"], columns["log_likelihood"], atol=slack)
    em = np.array([step == "em" for step in run.history.step])
    assert np.all(columns["delta_q"][em] >= -slack)
    assert np.all(columns["kl"][em] >= -slack)
    gains = np.diff(columns["objective"])
    assert np.all(gains >= -slack)
    assert_allclose(gains, (columns["delta_q"] + columns["kl"])[:-1], atol=10 * slack)


@over
def test_blocks_add_and_weights_are_copies(name: str, family: Family, x: Array) -> None:
    model = model_of(family, x)
    params = start_of(model, x)
    whole = model.expect(params, Block(x))
    parts = model.expect(params, Block(x[:20])) + model.expect(params, Block(x[20:]))
    assert_allclose(parts.log_likelihood, whole.log_likelihood, rtol=1e-12)
    assert_allclose(parts.entropy, whole.entropy, rtol=1e-10)
    weight = np.arange(len(x)) % 3.0
    weighted = model.expect(params, Block(x, weight))
    copies = model.expect(params, Block(np.repeat(x, weight.astype(int), axis=0)))
    assert_allclose(weighted.log_likelihood, copies.log_likelihood, rtol=1e-12)
    one, other = (model.maximize(e.statistics, params) for e in (weighted, copies))
    assert_allclose(model.log_prior(one), model.log_prior(other), rtol=1e-9)


@over
def test_labels_are_exchangeable(name: str, family: Family, x: Array) -> None:
    model = model_of(family, x)
    problem = problem_of(model, x)
    params = start_of(model, x)
    point = problem.at(params)
    order = np.array([2, 0, 1])
    moved = problem.at(model.permute(params, order))
    assert_allclose(moved.objective, point.objective, rtol=1e-12)
    again = problem.at(problem.maximize(moved))
    assert_allclose(again.objective, problem.at(problem.maximize(point)).objective, rtol=1e-12)


@over
def test_coordinates(name: str, family: Family, x: Array) -> None:
    """v → q(θ) → v; the score is the slope of the bound; the first step is the EM step."""
    model = model_of(family, x)
    problem = problem_of(model, x)
    point = problem.at(start_of(model, x))
    for _ in range(5):
        point = problem.at(problem.maximize(point))
    chart = model.chart(point.params, point.expectation.statistics)
    rng = np.random.default_rng(0)
    v = 0.05 * rng.standard_normal(len(chart.scale))
    there = problem.at(chart.from_vector(v))
    assert_allclose(chart.to_vector(there.params), v, atol=1e-6)
    score = chart.score(there.params, there.expectation.statistics)
    for _ in range(3):
        d = rng.standard_normal(len(v))
        d *= 1e-3 / np.linalg.norm(d)
        up, down = (problem.at(chart.from_vector(v + s * d)).objective for s in (1, -1))
        assert_allclose((up - down) / 2, score @ d, rtol=1e-3, atol=1e-8)
    here = chart.score(point.params, point.expectation.statistics)
    step = chart.to_vector(problem.maximize(point))
    assert_allclose(here, step, rtol=1e-3, atol=1e-5 * max(1.0, float(np.abs(step).max())))


def test_a_step_out_of_the_space_is_not_finite() -> None:
    _, family, x = CASES[0]
    model = model_of(family, x)
    problem = problem_of(model, x)
    point = problem.at(start_of(model, x))
    chart = model.chart(point.params, point.expectation.statistics)
    outside = problem.at(chart.from_vector(np.full(len(chart.scale), -1e3)))
    assert not outside.finite
    assert np.isnan(chart.score(outside.params, outside.expectation.statistics)).all()


@over
def test_acceleration_ends_no_lower(name: str, family: Family, x: Array) -> None:
    model = model_of(family, x)
    ends = []
    for accelerate in (None, "auto"):
        problem = problem_of(model, x)
        run = ascend(
            problem,
            problem.at(start_of(model, x)),
            tol=1e-6,
            max_iter=4000,
            accelerator=accelerators(accelerate),
            certifier=np.random.default_rng(0),
        )
        assert run.status == "stationary"
        ends.append(run.point.objective)
    assert ends[1] >= ends[0] - 1e-5


def test_known_components_are_kept() -> None:
    _, family, x = CASES[0]
    label = np.where(np.arange(70) % 2 == 0, (np.arange(70) >= 40).astype(int), -1)
    model = model_of(family, x, 2)
    block = Block(x, label=label)
    r, _, _ = model.assign(start_of(model, x, label=label), block)
    known = label >= 0
    assert_allclose(r[known, label[known]], 1.0)


def test_missing_cells_drop_out() -> None:
    x = PLANE.copy()
    x[::7, 1] = np.nan
    family = Gaussian("diag")
    model = model_of(family, x)
    problem = problem_of(model, x)
    run = ascend(problem, problem.at(start_of(model, x)), tol=1e-6, max_iter=300)
    assert run.breach is None
    posterior: Any = run.point.params.posteriors[0]
    n = posterior.mean_precision.sum(axis=0) - model.priors[0].mean_precision.sum(axis=0)  # type: ignore[attr-defined]
    assert_allclose(n, [70, 60])


def test_empty_components_keep_the_prior() -> None:
    _, family, x = CASES[7]
    model = model_of(family, x, 8, alpha=0.05)
    problem = problem_of(model, x)
    run = ascend(
        problem,
        problem.at(start_of(model, x)),
        tol=1e-6,
        max_iter=2000,
        certifier=np.random.default_rng(0),
    )
    counts = model.counts(run.point.params)
    empty = counts < 1e-3
    assert 1 <= (~empty).sum() <= 4
    posterior: Any = run.point.params.posteriors[0]
    prior: Any = model.priors[0]
    assert_allclose(posterior.rate[empty], prior.rate[empty], atol=1e-2)
    assert_allclose(counts.sum(), len(x))
