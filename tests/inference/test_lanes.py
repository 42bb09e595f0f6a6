"""Code written lane by lane against NumPy, and the exponential and logarithm of whole registers."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

pytest.importorskip("numba")

from numba import njit

from expmax.inference.fastexp import LOWEST, exp_lanes, log_lanes
from expmax.inference.lanes import LANES, staged, sums_of, transposed


@staged()
def transpose(emit, source, target):
    rows = [source.load(i * LANES) for i in range(LANES)]
    for i, row in enumerate(transposed(rows)):
        target.store(row, i * LANES)


@staged()
def row_sums(emit, source, target):
    target.store(sums_of([source.load(i * LANES) for i in range(LANES)]))


@staged()
def powers(emit, x, n_registers, e, log):
    with emit.loop(n_registers) as i:
        lanes = x.load(i * LANES)
        e.store(exp_lanes(lanes), i * LANES)
        log.store(log_lanes(1e-3 - lanes), i * LANES)


def test_shuffles_against_numpy():
    @njit
    def both(square, turned, sums):
        transpose(square, turned)
        row_sums(square, sums)

    square = np.random.default_rng(0).integers(-9, 9, size=(LANES, LANES)).astype(float)
    turned, sums = np.empty_like(square), np.empty(LANES)
    both(square, turned, sums)
    assert_array_equal(turned, square.T)
    assert_array_equal(sums, square.sum(axis=1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_single_precision_is_read_as_double(dtype):
    @njit
    def turn(square, turned):
        transpose(square, turned)

    square = np.random.default_rng(0).normal(size=(LANES, LANES)).astype(dtype)
    turned = np.empty(square.shape)
    turn(square, turned)
    assert_array_equal(turned, square.T.astype(float))


def test_exponential_and_logarithm_of_registers():
    @njit
    def both(x, e, log):
        powers(x, len(x) // LANES, e, log)

    x = np.concatenate([np.linspace(LOWEST, 0, 20_000), -np.geomspace(1e-300, 1, 999), [np.nan]])
    x = x[len(x) % LANES :]
    e, log = np.empty_like(x), np.empty_like(x)
    both(x, e, log)
    exact = np.exp(x[:-1].astype(np.longdouble))
    bound = (4 + np.abs(x[:-1]) / 3) * 2.0**-53  # as promised by exp_nonpositive
    assert (np.abs(e[:-1] / exact - 1) < bound).all()
    exact = np.log((1e-3 - x[:-1]).astype(np.longdouble))
    assert np.abs(log[:-1] - exact).max() < 12 * 2.0**-52
    assert np.isnan([e[-1], log[-1]]).all()
    assert_allclose(e[:-1], np.exp(x[:-1]), rtol=1e-13)
