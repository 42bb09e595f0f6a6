"""Special functions against mpmath at 50 digits."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose

from expmax.families.special import log_minus_digamma, log_shape_information, stirling_remainder

# both sides of a = 10, where formulas turn into series
SHAPES = np.concatenate([np.geomspace(1e-3, 1e15, 91), [9.999999, 10.0, 10.000001]])


def stirling(a):
    return mpmath.loggamma(a) - ((a - 0.5) * mpmath.log(a) - a + mpmath.log(2 * mpmath.pi) / 2)


@pytest.mark.parametrize(
    ("function", "reference", "tolerance"),
    [
        (log_minus_digamma, lambda a: mpmath.log(a) - mpmath.digamma(a), 2e-14),
        (log_shape_information, lambda a: a**2 * (mpmath.psi(1, a) - 1 / a), 2e-14),
        (stirling_remainder, stirling, 1e-12),  # eps·log Γ(10) / R(10), just below the series
    ],
)
def test_functions_of_the_gamma_distribution_keep_their_digits(function, reference, tolerance):
    with mpmath.workdps(50):
        exact = [float(reference(mpmath.mpf(a))) for a in SHAPES]
    assert_allclose(function(SHAPES), exact, rtol=tolerance)


def test_stirling_remainder_keeps_its_digits_in_the_series():
    a = SHAPES[SHAPES >= 10]
    with mpmath.workdps(50):
        exact = [float(stirling(mpmath.mpf(v))) for v in a]
    assert_allclose(stirling_remainder(a), exact, rtol=1e-14)
