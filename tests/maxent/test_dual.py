"""The dual function: derivatives by differences, blocks by addition, sparse by dense."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.sparse import csr_array
from scipy.special import logsumexp

from expmax.compute.reduce import Threads
from expmax.maxent.bounded import BoundedDual
from expmax.maxent.dual import Dual, DualSums
from expmax.maxent.newton import Penalty, newton

RNG = np.random.default_rng(7)
N, K = 5000, 4
FEATURES = RNG.normal(size=(N, K))
LOG_BASE = RNG.normal(size=N)
NATURAL = np.array([0.3, -1.2, 0.4, 0.8])


def plain_value(natural):
    """Oracle: log Σ b exp(λ·g) in one line."""
    return logsumexp(FEATURES @ natural + LOG_BASE)


def difference(function, x, step=1e-6):
    return np.array([(function(x + e) - function(x - e)) / (2 * step) for e in step * np.eye(K)])


def test_value_and_derivatives():
    at = Dual(FEATURES, LOG_BASE).evaluate(NATURAL)
    assert_allclose(at.value, plain_value(NATURAL), rtol=1e-14)
    assert_allclose(at.gradient, difference(plain_value, NATURAL), rtol=1e-7)
    gradient = lambda x: Dual(FEATURES, LOG_BASE).evaluate(x).gradient  # noqa: E731
    assert_allclose(at.hessian, difference(gradient, NATURAL), rtol=1e-6, atol=1e-9)


def test_blocks_add_to_the_whole():
    dual = Dual(FEATURES, LOG_BASE)
    cuts = [slice(0, 17), slice(17, 4000), slice(4000, N)]
    parts = [Dual(FEATURES[rows], LOG_BASE[rows]) for rows in cuts]
    sums = [part._sums(part.blocks[0], NATURAL, True) for part in parts]
    total = sums[0] + sums[1] + sums[2]
    assert_allclose(total.peak + np.log(total.mass), dual.evaluate(NATURAL).value, rtol=1e-14)
    mean = total.first / total.mass
    assert_allclose(mean, dual.evaluate(NATURAL).gradient, rtol=1e-12)
    assert_allclose(
        total.second / total.mass - np.outer(mean, mean), dual.evaluate(NATURAL).hessian, rtol=1e-11
    )


def test_sums_survive_any_peak():
    tiny = DualSums(-1e4, 2.0, np.ones(1), np.ones((1, 1)))
    huge = DualSums(1e4, 3.0, np.ones(1), np.ones((1, 1)))
    for total in (tiny + huge, huge + tiny):
        assert (total.peak, total.mass) == (1e4, 3.0)


def test_threads_change_no_bit():
    features = np.tile(FEATURES, (100, 1))
    base = np.tile(LOG_BASE, 100)
    one, two = Dual(features, base), Dual(features, base, compute=Threads(2))
    assert len(one.blocks) > 1
    a, b = one.evaluate(NATURAL), two.evaluate(NATURAL)
    assert a.value == b.value
    assert np.array_equal(a.gradient, b.gradient)
    assert np.array_equal(a.hessian, b.hessian)


def test_sparse_agrees_with_dense():
    dense = FEATURES * (np.abs(FEATURES) > 1.0)
    centre = np.array([0.1, -0.2, 0.0, 0.3])
    sparse = Dual(csr_array(dense), LOG_BASE, centre)
    plain = Dual(dense - centre, LOG_BASE)
    a, b = sparse.evaluate(NATURAL), plain.evaluate(NATURAL)
    assert_allclose(a.value, b.value, rtol=1e-13)
    assert_allclose(a.gradient, b.gradient, rtol=1e-11)
    assert_allclose(a.hessian, b.hessian, rtol=1e-10)
    for dual, at in ((sparse, a), (plain, b)):
        product, diagonal = dual.curvature(NATURAL, at)
        assert_allclose(product(NATURAL), b.hessian @ NATURAL, rtol=1e-9)
        assert_allclose(diagonal, b.hessian.diagonal(), rtol=1e-9)
    assert_allclose(
        [sparse.extent(NATURAL).low, sparse.extent(NATURAL).high],
        [plain.extent(NATURAL).low, plain.extent(NATURAL).high],
    )


def test_bounded_dual_derivatives():
    share = np.exp(LOG_BASE) / np.exp(LOG_BASE).sum()
    dual = BoundedDual(FEATURES[:, :3], share, 0.4, 2.5)
    x = np.array([0.1, 0.5, -0.6, 0.2])
    at = dual.evaluate(x)
    assert_allclose(at.gradient, difference(lambda v: dual.evaluate(v).value, x), rtol=1e-6)
    slopes = difference(lambda v: dual.evaluate(v).gradient, x, 1e-7)
    # the gradient has corners where a weight meets its bound: a few of the 5000 lie within the step
    assert_allclose(at.hessian, slopes, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("halfwidth", [0.0, 0.2])
def test_newton_ends_where_the_subgradient_vanishes(halfwidth):
    h = np.full(K, halfwidth)
    penalty = Penalty(h, np.full(K, 0.01))
    path = newton(Dual(FEATURES + 0.3, LOG_BASE), penalty, np.zeros(K))
    assert path.outcome == "solved"
    slope = path.at.gradient + 0.01 * path.natural
    still = path.natural == 0
    assert (np.abs(slope[still]) <= h[still] + 1e-12).all()
    assert_allclose(slope[~still], -h[~still] * np.sign(path.natural[~still]), atol=1e-12)
