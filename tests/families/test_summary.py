"""Summaries: sums that stand for the data, over the registry of families."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from expmax.errors import ParameterError
from expmax.families.categorical import Categorical
from expmax.families.covariance import STRUCTURES
from expmax.families.exponential_family import ExponentialFamily
from expmax.families.gamma import Gamma
from expmax.families.gaussian import Gaussian
from expmax.families.multinomial import Multinomial
from expmax.families.negative_binomial import NegativeBinomial
from expmax.families.point_mass import PointMass
from expmax.families.poisson import Poisson
from expmax.families.product import Product
from expmax.families.student_t import StudentT
from expmax.families.weibull import Weibull
from expmax.statistics import Array
from tests.cases import CASES, Case, cancelling_terms, over

EXPONENTIAL = [c for c in CASES if isinstance(c.family, ExponentialFamily)]
MIXED = Product(Poisson(), Gaussian("diag"), Gamma()).bind(np.array([[1.0, 2.0, 3.0]]))


def rows(case: Case, n: int = 40, seed: int = 0) -> Array:
    """Rows of the middle component, and one of the case's own."""
    drawn = case.family.sample(case.parameters, 1, n, np.random.default_rng(seed))
    return np.vstack([drawn, case.x[:1]]) if case.family.discrete else drawn


@over([c for c in EXPONENTIAL if c.sampling])
def test_a_summary_stands_for_the_data(case: Case) -> None:
    x = rows(case)
    weight = np.random.default_rng(1).uniform(0, 2, len(x))
    summary = case.family.summarize(x, weight)
    direct = case.family.estimate(x, weight)
    for name, value in summary.fit().items():
        assert_allclose(value, direct[name], rtol=1e-13, err_msg=name)
    assert_allclose(summary.weight, weight.sum())
    log_density = case.family.log_density(direct, x)[:, 0]
    scale = (
        np.abs(weight * log_density).sum()
        + summary.weight * cancelling_terms(case.family.at(direct))[0]
    )
    assert abs(summary.log_likelihood() - weight @ log_density) <= 1e-12 * scale
    for k in range(case.n_components):
        log_density = case.family.log_density(case.component(k), x)[:, 0]
        got = summary.log_likelihood(case.component(k))
        if np.isfinite(log_density).all() and case.round_trip <= 1e-10:
            assert_allclose(got, weight @ log_density, rtol=1e-10)


@over([c for c in EXPONENTIAL if c.sampling])
def test_summaries_merge_in_any_order(case: Case) -> None:
    x = rows(case, 30)
    whole = case.family.summarize(x)
    parts = [case.family.summarize(x[i::3]) for i in range(3)]
    for order in permutations(parts):
        merged = sum(order)
        assert merged.n_rows == whole.n_rows
        assert_allclose(merged.statistics.sums, whole.statistics.sums, rtol=1e-12)
        tolerance = max(1e-9, case.round_trip)
        assert_allclose(merged.log_likelihood(), whole.log_likelihood(), rtol=tolerance)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_gaussian_summaries_far_from_the_origin(structure: str) -> None:
    """Moments about each part's own mean: a location of 1e8 leaves eight digits, not none."""
    x = np.random.default_rng(0).standard_normal((60, 3)) @ np.diag([1.0, 2.0, 0.5]) + 1e8
    family = Gaussian(structure)
    whole = family.summarize(x)
    for order in permutations([family.summarize(x[i::3]) for i in range(3)]):
        merged = sum(order)
        for name in ("mean", "covariance"):
            assert_allclose(merged.fit()[name], whole.fit()[name], rtol=1e-6)
    assert_allclose(whole.fit()["covariance"], family.estimate(x)["covariance"], rtol=1e-9)
    log_density = family.log_density(whole.fit(), x).sum()
    assert_allclose(whole.log_likelihood(), log_density, rtol=1e-7)


def test_summary_of_a_product() -> None:
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.poisson(3, 50), rng.normal(2, 1, 50), rng.gamma(2, 1, 50)])
    merged = MIXED.summarize(x[:20]) + MIXED.summarize(x[20:])
    fit = merged.fit()
    assert_allclose(fit["0"]["rate"], x[:, 0].mean())
    log_density = MIXED.log_density(fit, x).sum()
    assert_allclose(merged.log_likelihood(), log_density, rtol=1e-12)
    assert merged.estimate().standard_errors["1.mean"].shape == (1,)


def test_multinomial_parts_of_different_totals_add() -> None:
    x = np.array([[1.0, 2.0], [10.0, 7.0], [3.0, 0.0]])
    merged = Multinomial().summarize(x[:1]) + Multinomial().summarize(x[1:])
    assert_allclose(merged.fit()["probability"], [[14 / 23, 9 / 23]])


def test_what_has_no_summary_is_refused_by_name() -> None:
    x = np.array([[1.0], [2.0], [4.0]])
    for family in (Weibull(), NegativeBinomial(), StudentT(), PointMass(1)):
        with pytest.raises(ParameterError, match="no summary"):
            family.summarize(x)
    with pytest.raises(ParameterError, match="do not add"):
        Categorical().summarize(x) + Categorical().summarize(x[:1])
    with pytest.raises(ParameterError, match="weight must be"):
        Poisson().summarize(x, np.array([1.0, -1.0, 2.0]))


def test_summary_estimate_is_that_of_the_data() -> None:
    x = np.random.default_rng(0).gamma(2.0, 1.0, (100, 1))
    a, b = Gamma().summarize(x).estimate(), Gamma().estimate_with_errors(x)
    assert_allclose(a.covariance, b.covariance, rtol=1e-9)
    assert_allclose(a.log_likelihood, b.log_likelihood, rtol=1e-12)
    assert a.names == ("shape", "rate")
    shape, _, scale = stats.gamma.fit(x[:, 0], floc=0)
    assert_allclose(a.log_likelihood, stats.gamma.logpdf(x[:, 0], shape, 0, scale).sum(), rtol=1e-6)
