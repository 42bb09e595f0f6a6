"""Gaussian densities and moments: against SciPy and loops, with missing cells and scratch pads."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import multivariate_normal, norm

from expmax.families import gaussian_moments
from expmax.families.gaussian_moments import (
    diagonal_log_density,
    diagonal_moments,
    full_log_density,
    full_moments,
    weighted_means,
)
from expmax.families.precision import with_precision

K, D, N = 3, 2, 40


@pytest.fixture(params=["together", "one by one"])
def at_once(request, monkeypatch):
    """Both ways through the components give the same numbers."""
    if request.param == "one by one":
        monkeypatch.setattr(gaussian_moments, "AT_ONCE", 0)


def problem(seed: int = 0, missing: bool = False):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((N, D)) * [1.0, 30.0] + [1e6, -4.0]
    if missing:
        x[rng.random(x.shape) < 0.2] = np.nan
    mean = np.array([1e6, -4.0]) + rng.standard_normal((K, D))
    root = rng.standard_normal((K, D, D + 1))
    r = rng.dirichlet(np.ones(K), N)
    return x, mean, root @ root.swapaxes(1, 2), r


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("pad", [False, True])
def test_full_density_is_scipys(pad):
    memo = {} if pad else None
    x, mean, covariance, _ = problem()
    factor = with_precision(mean, covariance)["precision_cholesky"]
    expected = [multivariate_normal(m, c).logpdf(x) for m, c in zip(mean, covariance, strict=True)]
    for _ in range(2):  # the second time from the scratch pad
        assert_allclose(full_log_density(mean, factor, x, memo), np.transpose(expected), rtol=1e-8)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("pad", [False, True])
def test_full_moments_are_the_sums_over_rows(pad):
    memo = {} if pad else None
    x, mean, _, r = problem()
    for shift in (0.0, 1.0):  # other means: what was kept for the first must not be used
        sums = full_moments(mean + shift, x, r, memo)
        e = x[:, None, :] - (mean + shift)
        assert_allclose(sums.counts, r.sum(axis=0), rtol=1e-13)
        assert_allclose(sums.first, np.einsum("nk,nki->ki", r, e), rtol=1e-9)
        assert_allclose(sums.second, np.einsum("nk,nki,nkj->kij", r, e, e), rtol=1e-9)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("pad", [False, True])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("penalty", [0.0, 0.3])
def test_diagonal_density_sums_the_cells_present(pad, missing, penalty):
    memo = {} if pad else None
    x, mean, covariance, _ = problem(missing=missing)
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    cells = norm(mean, np.sqrt(variance)).logpdf(x[:, None, :]) - 0.5 * penalty / variance
    for _ in range(2):
        assert_allclose(
            diagonal_log_density(mean, variance, x, penalty, memo),
            np.nansum(cells, axis=2),
            rtol=1e-8,
        )


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("pad", [False, True])
@pytest.mark.parametrize("missing", [False, True])
def test_diagonal_moments_are_the_sums_over_cells(pad, missing):
    memo = {} if pad else None
    x, mean, _, r = problem(missing=missing)
    weights = np.where(np.isnan(x), 0.0, 1.0)[:, None, :] * r[:, :, None]
    for shift in (0.0, 1.0):
        sums = diagonal_moments(mean + shift, x, r, memo)
        e = np.nan_to_num(x[:, None, :] - (mean + shift))
        assert_allclose(sums.counts, weights.sum(axis=0), rtol=1e-13)
        assert_allclose(sums.first, (weights * e).sum(axis=0), rtol=1e-9)
        assert_allclose(sums.second, (weights * e**2).sum(axis=0), rtol=1e-9)


@pytest.mark.parametrize("missing", [False, True])
def test_weighted_means(missing):
    x, _, _, r = problem(missing=missing)
    weights = np.where(np.isnan(x), 0.0, 1.0)[:, None, :] * r[:, :, None]
    expected = (weights * np.nan_to_num(x)[:, None, :]).sum(axis=0) / weights.sum(axis=0)
    assert_allclose(weighted_means(x, r), expected, rtol=1e-12)


@pytest.mark.parametrize("diagonal", [False, True])
def test_moments_about_another_reference(diagonal):
    x, mean, _, r = problem()
    moments = diagonal_moments if diagonal else full_moments
    moved, direct = moments(mean, x, r).about(mean - 2.5), moments(mean - 2.5, x, r)
    for name in ("counts", "reference", "first", "second"):
        assert_allclose(getattr(moved, name), getattr(direct, name), rtol=1e-9)
