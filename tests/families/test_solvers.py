"""Equations from mean to natural parameters: solved over their whole range."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from expmax.families.solvers import gamma_shape
from expmax.families.special import log_minus_digamma, log_shape_information


def test_the_shape_of_a_gamma_distribution_is_found_everywhere():
    a = np.geomspace(1e-3, 1e15, 4001)
    assert_allclose(gamma_shape(log_minus_digamma(a)), a, rtol=2e-14)


def test_the_shape_of_a_gamma_distribution_at_its_limits():
    gaps = np.array([0.0, -1.0, 5e-324, np.inf, np.nan])
    assert_array_equal(gamma_shape(gaps), [np.inf, np.inf, np.inf, 0.0, np.nan])


def test_a_gap_of_rounding_size_is_answered_at_once():
    """ψ' far below 0 takes as many steps as its argument is large: Newton may go there, and must not ask."""
    gap = np.concatenate(
        [[0.0, -1e-16, -1e-13, 5e-324], 10.0 ** np.linspace(-18, -12, 200) * (1 + 1e-9)]
    )
    shape = gamma_shape(gap)
    assert (shape > 0).all()
    assert np.isnan(log_shape_information(np.array([-1e15 + 0.5, -3.5]))).all()
