"""The steps of Dawid & Skene as their paper writes them, in plain loops, against ours."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from expmax.compute.reduce import Serial
from expmax.contract import Block
from expmax.engine.problem import Problem
from expmax.models.dawid_skene import STRUCTURES, DawidSkeneModel, DawidSkeneStarts
from tests.models.cases import MODELS

CROWDS = [case for case in MODELS if case.name.startswith("Dawid-Skene")]


def labels_of(case):
    """(item, worker, label) one by one, from the codes."""
    k = case.model.n_components
    for i, row in enumerate(case.block.x):
        yield from ((i, int(c) // k, int(c) % k) for c in row if c >= 0)


def joint_by_loops(case):
    """p(true class, labels) of every item: eq. 2.2 of Dawid & Skene."""
    prevalence = np.exp(case.params.log_weights)
    confusion = case.model.confusion(case.params)
    joint = np.tile(prevalence, (len(case.block.x), 1))
    for i, worker, label in labels_of(case):
        joint[i] *= confusion[worker, :, label]
    for i, known in enumerate(case.block.label):
        if known >= 0:
            joint[i] *= np.arange(len(prevalence)) == known
    return joint


@pytest.mark.parametrize("case", CROWDS, ids=lambda case: case.name)
def test_likelihood_and_posterior_by_loops(case):
    joint = joint_by_loops(case)
    evidence = joint.sum(axis=1)
    weight = case.block.weight
    expectation = case.model.expect(case.params, case.block)
    assert_allclose(expectation.log_likelihood, weight @ np.log(evidence), rtol=1e-12)
    r, _, _ = case.model.assign(case.params, case.block)
    assert_allclose(r, joint / evidence[:, None], rtol=1e-10, atol=1e-14)
    assert_allclose(expectation.statistics.counts, weight @ r, rtol=1e-12)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_m_step_by_loops(structure):
    """Eq. 2.3 and 2.4, and their pooled forms, from a table of expected counts."""
    case = next(c for c in CROWDS if c.name == f"Dawid-Skene {structure}")
    joint = joint_by_loops(case)
    r = joint / joint.sum(axis=1, keepdims=True) * case.block.weight[:, None]
    k, n_workers = case.model.n_components, case.model.n_workers
    counts = np.zeros((n_workers, k, k))
    for i, worker, label in labels_of(case):
        counts[worker, :, label] += r[i]
    if structure == "homogeneous":
        counts[:] = counts.sum(axis=0)
    expected = counts / counts.sum(axis=2, keepdims=True)
    if structure in ("class_conditional", "one_coin"):
        right, whole = np.einsum("wkk->wk", counts), counts.sum(axis=2)
        if structure == "one_coin":
            right, whole = (np.repeat(v.sum(axis=1), k).reshape(-1, k) for v in (right, whole))
        accuracy = (right / whole)[:, :, None]
        expected = np.where(np.eye(k) > 0, accuracy, (1 - accuracy) / (k - 1))
    statistics = case.model.expect(case.params, case.block).statistics
    new = case.model.maximize(statistics, case.params)
    assert_allclose(case.model.confusion(new), expected, rtol=1e-11)
    assert_allclose(np.exp(new.log_weights), r.sum(axis=0) / case.block.weight.sum(), rtol=1e-12)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_confusion_matrices_go_back_and_forth(structure):
    case = next(c for c in CROWDS if c.name == f"Dawid-Skene {structure}")
    confusion = case.model.confusion(case.params)
    assert_allclose(confusion.sum(axis=2), 1.0, rtol=1e-13)
    again = case.model.from_confusion(np.exp(case.params.log_weights), confusion)
    assert_allclose(again.probability, case.params.probability, rtol=1e-12)


def test_the_vote_is_the_start_of_the_paper():
    """Eq. 3.1: T_ij is the share of j among the labels of item i; then eq. 2.3 and 2.4."""
    model = DawidSkeneModel(2, n_workers=2)
    x = np.array([[0, 2, 3], [1, 3, -1], [0, 3, -1]])  # worker 1 labels item 0 twice
    share = np.array([[2 / 3, 1 / 3], [0.0, 1.0], [0.5, 0.5]])
    params = DawidSkeneStarts(model, [Block(x)]).vote().params
    assert_allclose(np.exp(params.log_weights), share.mean(axis=0), rtol=1e-14)
    # worker 0 said 0, 1, 0; worker 1 said 0 and 1, 1, 1
    first = np.array([[share[0] + share[2], share[1]], [share[0], share.sum(axis=0)]])
    expected = first.transpose(0, 2, 1) / first.sum(axis=1)[:, :, None]
    assert_allclose(model.confusion(params), expected, rtol=1e-13)


def test_a_worker_who_saw_nothing_of_a_class_starts_with_the_errors_of_all():
    model = DawidSkeneModel(2, n_workers=3)
    x = np.array([[0, 2], [0, 2], [1, 3], [1, 2], [4, -1]])  # worker 2 saw one item
    block = Block(x, None, np.array([0, 0, 1, 1, 0]))
    confusion = model.confusion(DawidSkeneStarts(model, [block]).vote().params)
    assert_allclose(confusion[2, 1], [1 / 4, 3 / 4], rtol=1e-3)
    assert_allclose(confusion[2, 0], [1.0, 0.0], atol=1e-15)


def test_a_probability_that_em_sends_to_0_is_put_there_and_one_it_raises_is_not():
    case = CROWDS[0]
    block = replace(case.block, label=None)
    params = case.params
    for _ in range(60):
        params = case.model.maximize(case.model.expect(params, block).statistics, params)
    p = params.probability.copy()
    cell = int(np.argmax(p))
    segment = case.model.segment == case.model.segment[cell]
    p[segment] = np.where(np.arange(len(p))[segment] == cell, 1e-7, p[segment])
    p[segment] /= p[segment].sum()
    low = replace(params, probability=p)
    statistics = case.model.expect(low, block).statistics
    snapped = case.model.snap(low, statistics)
    assert (
        snapped is None or snapped.probability[cell] > 0
    )  # EM raises it: the maximum is elsewhere
    growing, _ = case.model.growing(low, statistics)
    assert growing[cell]


@pytest.mark.parametrize("n", [6000, 60_000])
def test_many_equal_items_do_not_look_like_a_wrong_formula(n):
    """Adding the same number again and again rounds the same way: 340 eps of the sum at 60 000 items."""
    model = DawidSkeneModel(3, n_workers=3)
    confusion = np.tile(0.6 * np.eye(3) + 0.4 / 3, (3, 1, 1))
    params = model.from_confusion(np.array([0.5, 0.3, 0.2]), confusion)
    x, _ = model.sample(params, n, np.random.default_rng(n))
    problem = Problem(model, [Block(x, memo={})], Serial())
    point = problem.at(DawidSkeneStarts(model, problem.blocks).vote().params)
    for _ in range(15):
        expectation = point.expectation
        gap = problem.q(point.params, point) + expectation.entropy - expectation.log_likelihood
        assert abs(gap) < problem.rounding(point)
        assert problem.careful_rounding(point) < 1e-6
        point = problem.at(problem.maximize(point))
