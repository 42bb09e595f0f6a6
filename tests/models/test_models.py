"""What is true of every model of the contract: all identities of check_model, sums, ascent, coordinates."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

import expmax as em
from expmax.compute.reduce import Serial, tree_sum
from expmax.contract import Block
from expmax.engine.history import History
from expmax.engine.loop import em_step
from expmax.engine.problem import Problem
from tests.models.cases import MODELS, assert_identical, assert_same

every_model = pytest.mark.parametrize("case", MODELS, ids=lambda case: case.name)


def cut(block, rows):
    parts = [slice(i, i + rows) for i in range(0, len(block.x), rows)]
    return [Block(block.x[p], block.weight[p], block.label[p], {}) for p in parts]


@every_model
def test_every_identity_holds(case):
    report = em.check_model(case.model, cut(case.block, 50), case.params)
    assert report.ok, f"\n{report}"
    held = {row.name for row in report.rows if row.verdict == "holds"}
    assert held >= {
        "tightness",
        "enumeration",
        "M-step optimal",
        "score",
        "Fisher's identity",
        "memo",
    }


@every_model
def test_blocks_sum_to_the_whole(case):
    whole = case.model.expect(case.params, case.block)
    parts = [case.model.expect(case.params, block) for block in cut(case.block, 17)]
    total = tree_sum(parts)
    assert_same(total.statistics, whole.statistics, 1e-12)
    assert_allclose(total.log_likelihood, whole.log_likelihood, rtol=1e-13)
    memo = replace(case.block, memo={})
    for _ in range(2):
        assert_identical(case.model.expect(case.params, memo).statistics, whole.statistics)


@every_model
def test_every_em_step_proves_its_ascent(case):
    problem = Problem(case.model, [case.block], Serial())
    point, history = problem.at(case.params), History()
    first = point.objective
    for _ in range(12):
        point, breach = em_step(problem, point, history)
        assert breach is None
    assert point.objective > first


@every_model
def test_the_number_of_parameters_is_the_number_of_coordinates(case):
    expectation = case.model.expect(case.params, case.block)
    new = case.model.maximize(expectation.statistics, case.params)
    chart = case.model.chart(new, expectation.statistics)
    assert len(chart.scale) == case.model.n_parameters(new)
    away = chart.from_vector(0.1 * chart.scale)
    sums = case.model.totals(away.probability)
    assert_allclose(sums, 1.0, rtol=1e-13)
    assert_allclose(np.exp(away.log_weights).sum(), 1.0, rtol=1e-13)


@every_model
def test_vectors_for_extrapolation_go_back_and_forth(case):
    vector = case.model.to_array(case.params)
    assert_same(case.model.from_array(vector, case.params), case.params, 1e-13)
    assert (
        case.model.from_array(np.where(np.arange(len(vector)) == 4, -0.1, vector), case.params)
        is None
    )
