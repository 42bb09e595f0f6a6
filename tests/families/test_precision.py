"""Precision factors and covariances: definitions, and the written-out case of two columns against LAPACK."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from expmax.families.precision import (
    covariance_of,
    precision_cholesky,
    trace_of_precision,
    with_precision,
)


def covariances(k: int, d: int, scale: float = 1.0) -> np.ndarray:
    root = np.random.default_rng(d).standard_normal((k, d, d + 2))
    return scale * root @ root.swapaxes(1, 2)


@pytest.mark.parametrize("d", [1, 2, 3, 6])
@pytest.mark.parametrize("scale", [1e-200, 1e-8, 1.0, 1e200])
def test_the_factor_is_that_of_the_inverse(d, scale):
    covariance = covariances(4, d, scale)
    factor = with_precision(np.zeros((4, d)), covariance)["precision_cholesky"]
    lapack = np.linalg.inv(np.linalg.cholesky(covariance)).swapaxes(1, 2)
    # relative to each matrix: entries that are 0 up to rounding have no digits of their own
    assert_allclose(factor, lapack, rtol=1e-12, atol=1e-13 * np.abs(lapack).max())
    assert_allclose(np.tril(factor, -1), 0.0, atol=1e-13 * np.abs(lapack).max())


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize(
    "bad",
    [np.zeros((3, 3)), np.ones((3, 3)), -np.eye(3), np.full((3, 3), np.nan)],
)
def test_what_is_not_positive_definite_has_no_factor(d, bad):
    covariance = covariances(3, d)
    covariance[1] = bad[:d, :d]
    with np.errstate(all="ignore"):
        factor = with_precision(np.zeros((3, d)), covariance)["precision_cholesky"]
    assert np.isnan(factor[1]).any()
    assert np.isfinite(factor[[0, 2]]).all()


@pytest.mark.parametrize("d", [1, 2, 5])
def test_covariances_come_back_from_their_factors(d):
    covariance = covariances(3, d)
    assert_allclose(
        covariance_of(precision_cholesky({"mean": np.zeros((3, d)), "covariance": covariance})),
        covariance,
        rtol=1e-11,  # condition numbers of a few hundred
        atol=1e-12,
    )


def test_a_factor_that_is_singular_or_infinite_has_no_covariance():
    factor = np.stack([np.eye(2), np.diag([1.0, 0.0]), np.diag([1.0, np.inf])])
    covariance = covariance_of(factor)
    assert_allclose(covariance[0], np.eye(2))
    assert np.isnan(covariance[1:]).all()


@pytest.mark.parametrize("tied", [False, True])
def test_the_trace_is_that_of_the_inverse(tied):
    covariance = covariances(3, 4)
    if tied:
        covariance = np.broadcast_to(covariance[0], covariance.shape)
    parameters = with_precision(np.zeros((3, 4)), covariance)
    trace = np.trace(np.linalg.inv(covariance), axis1=1, axis2=2)
    assert_allclose(trace_of_precision(parameters), trace, rtol=1e-11)
