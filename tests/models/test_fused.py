"""The compiled path against the plain one, and the same bits for any number of workers."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

import expmax as em
from expmax.compute.reduce import Serial, Threads
from expmax.contract import Block
from expmax.engine.history import History
from expmax.engine.loop import em_step
from expmax.engine.problem import Problem
from expmax.models import fused
from tests.models.cases import CASES, Case, assert_identical, assert_same, draws, gaussians

pytest.importorskip("numba")


def clusters(d, spread, k=3, n=90):
    def sampler(rng, component, size):
        return gaussians(rng, component, size, d) + spread * component

    return draws(sampler, *[n] * k)


WIDE = [  # more columns: monomials about one point, or centred where these would cancel
    Case(
        f"Gaussian {name}, {d} columns, {spread:g} apart",
        em.Gaussian(name),
        *clusters(d, spread),
        3,
        blur=0.4 if spread < 10 else 0.0,
    )
    for name in ("full", "tied", "diag", "spherical")
    for d, spread in [(7, 0.5), (7, 1e6), (12, 2.0)]
]
COMPILED = [case for case in [*CASES, *WIDE] if len(case.model.groups) == 1]
every_compiled = pytest.mark.parametrize("case", COMPILED, ids=lambda case: case.name)
FEW = [
    c for c in CASES if c.name.startswith(("Gaussian V", "Poisson", "Product", "StudentT", "zero"))
]


def serves(case):
    family, part = case.model.groups[0].family, case.params.components[0]
    return fused.expect(family, part, case.params.log_weights, case.block()) is not None


@every_compiled
@pytest.mark.parametrize("extras", [True, False], ids=["weights and labels", "plain"])
def test_compiled_equals_plain(case, extras):
    plain, fast = case.model, replace(case.model, compiled=True)
    params = case.params
    for _ in range(3):
        a, b = (model.expect(params, case.block(extras)) for model in (plain, fast))
        assert_allclose(b.log_likelihood, a.log_likelihood, rtol=1e-11)
        assert_allclose(b.entropy, a.entropy, rtol=1e-10, atol=1e-9)
        assert_allclose(b.statistics.counts, a.statistics.counts, rtol=1e-10)
        q = plain.expected_log_joint(params, a.statistics)
        assert fast.expected_log_joint(params, b.statistics) == pytest.approx(q, rel=1e-11)
        # and each path takes the sums of the other
        assert fast.expected_log_joint(params, a.statistics) == pytest.approx(q, rel=1e-11)
        new, other = (m.maximize(s.statistics, params) for m, s in ((plain, a), (fast, b)))
        assert_same(other, new, max(case.exact, 1e-10))
        params = new


def test_kernels_serve_gaussians_and_exponential_families():
    served = {case.name for case in COMPILED if serves(case)}
    assert {"Poisson", "Gamma", "Dirichlet", "Beta", "Gaussian VVV"} <= served
    assert {case.name for case in WIDE} <= served
    # what the kernels cannot know stays on the plain path
    assert not served & {"Poisson, missing cells", "Gaussian diag, missing cells", "StudentT"}


@every_compiled
def test_the_compiled_chain_of_ascent_holds(case):
    """Tightness is the independent check of a kernel: its ℓ, its entropy and its sums."""
    model = replace(case.model, compiled=True)
    problem = Problem(model, case.blocks(64), Serial())
    point, history = problem.at(case.params), History()
    for _ in range(6):
        point, breach = em_step(problem, point, history)
        assert breach is None


@pytest.mark.parametrize("case", FEW, ids=lambda case: case.name)
@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
def test_the_number_of_workers_changes_no_bit(case, compiled):
    model = replace(case.model, compiled=compiled)
    blocks = case.blocks(11)
    assert len(blocks) > 8
    problems = [Problem(model, blocks, c) for c in (Serial(), Threads(2), Threads(8))]
    params = case.params
    for _ in range(3):
        points = [problem.at(params) for problem in problems]
        for point in points[1:]:
            assert_identical(point.expectation.statistics, points[0].expectation.statistics)
            assert point.objective == points[0].objective
            assert point.expectation.entropy == points[0].expectation.entropy
        params = problems[0].maximize(points[0])


@pytest.mark.parametrize(
    ("family", "x"),
    [
        (em.Gaussian(), np.random.default_rng(0).normal(size=(140_000, 1)) ** 3),
        (em.Exponential(), np.random.default_rng(1).standard_exponential((140_000, 1)) ** 1.5),
    ],
    ids=["Gaussian", "Exponential"],
)
def test_a_whole_fit_is_the_same_bits_for_any_number_of_workers(family, x):
    def fit(n_jobs):
        estimator = em.Mixture(family, 2, random_state=0, n_jobs=n_jobs, effort="quick")
        return estimator.fit(x)

    first = fit(1)
    for n_jobs in (2, 8):
        other = fit(n_jobs)
        assert_identical(other.params_, first.params_)
        assert other.log_likelihood_ == first.log_likelihood_
        assert other.history_.objective == first.history_.objective


def test_rows_of_weight_zero_are_absent_from_kernels():
    """Even where no component could have drawn them."""
    x = np.vstack([np.random.default_rng(0).normal(size=(50, 2)), [[1e9, -1e9]]])
    weight = np.append(np.ones(50), 0.0)
    case = Case("", em.Gaussian(), x[:50], np.arange(50) % 2, 2)
    model = replace(case.model, compiled=True)
    a = model.expect(case.params, Block(x[:50]))
    for other in (
        model.expect(case.params, Block(x, weight)),
        case.model.expect(case.params, Block(x, weight)),
    ):
        assert_allclose(other.log_likelihood, a.log_likelihood, rtol=1e-12)
        assert_same(other.statistics.counts, a.statistics.counts)
