"""Coordinates: there and back, the score against finite differences, the information against Q."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from expmax.compute.reduce import Serial
from expmax.engine.problem import Problem
from tests.models.cases import CASES, assert_same

every_model = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


class At:
    """A chart taken at parameters, with the objective as a function of v."""

    def __init__(self, case, params=None, extras=True):
        self.case = case
        self.problem = Problem(case.model, [case.block(extras)], Serial())
        self.params = case.model.hold(case.params if params is None else params)
        self.point = self.problem.at(self.params)
        self.statistics = self.point.expectation.statistics
        self.chart = case.model.chart(self.params, self.statistics)
        if self.chart is None:
            pytest.skip("no coordinates")
        self.size = len(self.chart.scale)

    def objective(self, vector):
        return self.problem.at(self.chart.from_vector(vector)).objective

    def score(self, vector):
        point = self.problem.at(self.chart.from_vector(vector))
        return self.chart.score(point.params, point.expectation.statistics)

    def q(self, vector):
        model = self.case.model
        params = self.chart.from_vector(vector)
        return model.expected_log_joint(params, self.statistics) + model.log_prior(params)


def derivative(function, at, step):
    """Central differences of fourth order along each coordinate."""
    out = np.empty(len(at))
    for j in range(len(at)):
        e = np.zeros(len(at))
        e[j] = step[j]
        near = function(at + e) - function(at - e)
        far = function(at + 2 * e) - function(at - 2 * e)
        out[j] = (8 * near - far) / (12 * step[j])
    return out


@every_model
def test_zero_is_the_reference(case):
    at = At(case)
    assert_allclose(at.chart.to_vector(at.params), 0.0, atol=1e-9 * at.chart.scale.max())
    assert_same(at.chart.from_vector(np.zeros(at.size)), at.params, 1e-12)


@every_model
def test_there_and_back(case):
    at = At(case)
    rng = np.random.default_rng(0)
    for size in (1e-3, 0.1, 0.5):
        vector = size * rng.uniform(-1, 1, at.size) * at.chart.scale
        back = at.chart.to_vector(at.chart.from_vector(vector))
        assert_allclose(back, vector, rtol=0, atol=1e-10 * at.chart.scale.max())


@every_model
@pytest.mark.parametrize("extras", [True, False], ids=["weights and labels", "plain"])
def test_the_score_is_the_gradient_of_the_objective(case, extras):
    """Fisher's identity: ∂ℓ/∂v = ∂Q/∂v at the statistics of the same parameters."""
    at = At(case, extras=extras)
    rng = np.random.default_rng(1)
    step = 1e-3 * at.chart.scale
    for vector in (np.zeros(at.size), 0.1 * rng.uniform(-1, 1, at.size) * at.chart.scale):
        expected = derivative(at.objective, vector, step)
        assert_allclose(at.score(vector), expected, rtol=1e-6, atol=1e-6 * at.chart.scale.max())


@every_model
def test_the_complete_data_information_is_the_identity(case):
    """At the M-step of the statistics, Q falls by |v|²/2."""
    model, block = case.model, case.block()
    statistics = model.expect(case.params, block).statistics
    new = model.maximize(statistics, case.params)
    chart = model.chart(new, statistics)
    if chart is None:
        pytest.skip("no coordinates")

    def q(vector):
        params = chart.from_vector(vector)
        return model.expected_log_joint(params, statistics) + model.log_prior(params)

    top = q(np.zeros(len(chart.scale)))
    rng = np.random.default_rng(2)
    for _ in range(6):
        vector = rng.normal(size=len(chart.scale)) * 0.01 * chart.scale / np.sqrt(len(chart.scale))
        drop = top - 0.5 * (q(vector) + q(-vector))  # the third order cancels
        assert drop == pytest.approx(0.5 * vector @ vector, rel=case_tolerance(case))


def case_tolerance(case):
    # a t with a free number of degrees of freedom: location and ν are whitened apart
    return 0.5 if case.own_latent else 1e-3


@every_model
def test_the_first_order_of_em_is_the_score(case):
    """Near a fixed point the EM step in v is the score."""
    at = At(case)
    params = at.params
    for _ in range(300):
        point = at.problem.at(params)
        params = case.model.maximize(point.expectation.statistics, params)
    near = At(case, params)
    rng = np.random.default_rng(3)
    vector = 1e-3 * rng.uniform(-1, 1, near.size) * near.chart.scale
    start = near.problem.at(near.chart.from_vector(vector))
    new = case.model.maximize(start.expectation.statistics, start.params)
    step = near.chart.to_vector(new) - vector
    score = near.chart.score(start.params, start.expectation.statistics)
    if case.own_latent:  # parameter-expanded: its steps are longer than EM's
        assert step @ score > 0
        return
    assert_allclose(step, score, rtol=0.05, atol=0.02 * np.abs(score).max())
