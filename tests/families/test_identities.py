"""Identities that hold for every family of the registry, tests/cases.py."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from expmax.errors import DataError, ParameterError
from expmax.families.base import Family
from expmax.families.bernoulli import Bernoulli
from expmax.families.binomial import Binomial
from expmax.families.categorical import Categorical
from expmax.families.exponential_family import ExponentialFamily
from expmax.families.geometric import Geometric
from expmax.families.local_statistics import LocalStatistics
from expmax.families.multinomial import Multinomial
from expmax.families.negative_binomial import NegativeBinomial
from expmax.families.poisson import Poisson
from expmax.families.solvers import dirichlet_concentration
from expmax.families.special import dirichlet_mean_log
from expmax.families.von_mises_fisher import VonMisesFisher
from expmax.families.weibull import Weibull
from expmax.statistics import Additive, Array
from tests.cases import CASES, Case, over

EPS = np.finfo(float).eps

EXPONENTIAL = [c for c in CASES if isinstance(c.family, ExponentialFamily)]
NUMERIC = [c for c in CASES if c.quadrature is not None]
LOCAL = [c for c in CASES if not isinstance(c.family, ExponentialFamily)]


def size_of_terms(case: Case, x: Array) -> Array:
    """|T|·|η| + |A| + |log h|, shape (n, K): the terms that cancel, with which rounding scales."""
    family = case.family
    if case.cancelling is not None:
        return case.cancelling(x) * np.ones(case.n_components)
    if not isinstance(family, ExponentialFamily):
        return np.zeros((len(x), case.n_components))
    eta = case.natural
    t, log_base, _ = family.moments(x)
    return np.abs(t) @ np.abs(eta).T + np.abs(family.log_partition(eta)) + np.abs(log_base)[:, None]


def leaves(record: Any) -> list[Any]:
    """The numbers and arrays of an additive record."""
    if isinstance(record, Additive):
        return [
            leaf for f in dataclasses.fields(record) for leaf in leaves(getattr(record, f.name))
        ]
    if isinstance(record, tuple):
        return [leaf for entry in record for leaf in leaves(entry)]
    return [record]


def assert_same(one: Any, other: Any, **tolerance: float) -> None:
    """Parameters or statistics agree."""
    if isinstance(one, Additive):
        for a, b in zip(leaves(one), leaves(other), strict=True):
            assert_allclose(a, b, **tolerance)
    else:
        assert one.keys() == other.keys()
        for name in one:
            assert_allclose(one[name], other[name], err_msg=name, **tolerance)


def draw(case: Case, k: int, n: int, seed: int = 0) -> Array:
    return case.family.sample(case.parameters, k, n, np.random.default_rng(seed))


# -- density ---------------------------------------------------------------------------------------
@over(CASES)
def test_log_density_is_the_reference(case: Case) -> None:
    """1e-12 relative, 1e-12 absolute near 0, and 16 roundings of the terms that cancel."""
    got = case.family.log_density(case.parameters, case.x)
    assert got.shape == (len(case.x), case.n_components)
    slack = 1e-12 + 16 * EPS * size_of_terms(case, case.x)
    for k, reference in enumerate(case.reference):
        expected = reference(case.x)
        same = got[:, k] == expected  # −∞ and −∞
        error = np.abs(np.where(same, 0.0, got[:, k]) - np.where(same, 0.0, expected))
        assert np.all(same | (error <= 1e-12 * np.abs(expected) + slack[:, k])), (
            k,
            error,
            expected,
        )


@over(NUMERIC)
def test_density_sums_to_one(case: Case) -> None:
    assert case.quadrature is not None
    x, w = case.quadrature
    assert_allclose(w @ np.exp(case.family.log_density(case.parameters, x)), 1.0, rtol=1e-10)


@over(CASES)
def test_memo_changes_nothing(case: Case) -> None:
    family, theta, r = case.family, case.parameters, case.responsibilities()
    memo: dict[Any, Any] = {}
    for _ in range(2):
        np.testing.assert_array_equal(
            family.log_density(theta, case.x, memo), family.log_density(theta, case.x)
        )
        assert_same(
            family.statistics(theta, case.x, r, memo), family.statistics(theta, case.x, r), rtol=0
        )
    assert memo


# -- the exponential family ------------------------------------------------------------------------
@over([c for c in EXPONENTIAL if not c.over_complete])
def test_gradient_of_log_partition_is_the_mean(case: Case) -> None:
    """Five-point differences; their rounding is that of A over the step."""
    family, eta = case.family, case.natural
    assert isinstance(family, ExponentialFamily)
    mean = family.to_mean(eta)
    partition = np.abs(family.log_partition(eta))
    for j in range(min(eta.shape[1], 6)):
        step = 1e-3 * np.where(eta[:, j] == 0, 1.0, np.abs(eta[:, j]))

        def shifted(times: float, j: int = j, step: Array = step) -> Array:
            shift = np.zeros_like(eta)
            shift[:, j] = times * step
            return family.log_partition(eta + shift)

        slope = (8 * (shifted(1) - shifted(-1)) - (shifted(2) - shifted(-2))) / (12 * step)
        slack = 1e-8 * np.abs(mean[:, j]) + 1e-9 + 10 * EPS * (1 + partition) / step
        assert np.all(np.abs(slope - mean[:, j]) <= slack), (j, slope, mean[:, j])


@over([c for c in EXPONENTIAL if c.quadrature is not None])
def test_mean_is_the_expected_statistic(case: Case) -> None:
    family = case.family
    assert isinstance(family, ExponentialFamily)
    assert case.quadrature is not None
    x, w = case.quadrature
    p = w[:, None] * np.exp(family.log_density(case.parameters, x))
    expected = p.T @ family.sufficient_statistics(x)
    assert_allclose(family.to_mean(case.natural), expected, rtol=1e-9, atol=1e-11)


@over([c for c in EXPONENTIAL if c.sampling])
def test_sampled_statistics_have_the_mean(case: Case) -> None:
    family = case.family
    assert isinstance(family, ExponentialFamily)
    mean = family.to_mean(case.natural)
    for k in range(case.n_components):
        x = draw(case, k, 4000)
        assert family.in_support(x).all()
        t = family.sufficient_statistics(x)
        # where all draws agree: rounding, or an event rarer than one in all the draws
        error = t.std(axis=0) / np.sqrt(len(t)) + 4 * EPS * np.abs(mean[k])
        error += family.discrete / len(t)
        assert np.all(np.abs(t.mean(axis=0) - mean[k]) < 5 * error), (k, t.mean(axis=0), mean[k])


@over([c for c in CASES if c.sampling and c.family.scalar and c not in EXPONENTIAL])
def test_sampled_rows_have_the_mean(case: Case) -> None:
    location = case.family.location(case.parameters)
    for k in range(case.n_components):
        x = draw(case, k, 4000)
        assert case.family.in_support(x).all()
        error = x.std() / np.sqrt(len(x)) + case.family.discrete / len(x)
        assert abs(x.mean() - location[k, 0]) < 5 * error


@over(EXPONENTIAL)
def test_natural_to_mean_and_back(case: Case) -> None:
    family = case.family
    assert isinstance(family, ExponentialFamily)
    mean = family.to_mean(case.natural)
    back = family.to_natural(mean)
    size = np.abs(case.natural).max(axis=1, keepdims=True)
    assert np.all(np.abs(back - case.natural) <= case.round_trip * size), back / case.natural - 1
    # the solution reproduces the mean to rounding even where η itself is ill determined
    assert_allclose(family.to_mean(back), mean, rtol=5e-14, atol=5e-14 * np.abs(mean).max())


@over(EXPONENTIAL)
def test_usual_to_natural_and_back(case: Case) -> None:
    assert isinstance(case.family, ExponentialFamily)
    assert_same(case.family.usual(case.natural), case.parameters, rtol=1e-12, atol=1e-15)


@over([c for c in NUMERIC if hasattr(c.family, "entropy")])
def test_entropy(case: Case) -> None:
    assert case.quadrature is not None
    x, w = case.quadrature
    log_p = case.family.log_density(case.parameters, x)
    expected = -(w @ np.where(np.isneginf(log_p), 0.0, np.exp(log_p) * np.maximum(log_p, -1e300)))
    is_exponential = isinstance(case.family, ExponentialFamily)
    family: Any = case.family
    got = family.entropy(case.natural if is_exponential else case.parameters)
    assert_allclose(got, expected, rtol=1e-9, atol=1e-10)


@over([c for c in EXPONENTIAL if c.quadrature is not None])
def test_kl_divergence(case: Case) -> None:
    family, eta = case.family, case.natural
    assert isinstance(family, ExponentialFamily)
    assert case.quadrature is not None
    x, w = case.quadrature
    log_p = family.log_density(case.parameters, x)
    for shift in range(1, case.n_components):
        got = family.kl_divergence(eta, np.roll(eta, -shift, axis=0))
        gap = log_p - np.roll(log_p, -shift, axis=1)
        numeric = w @ np.where(log_p < -700, 0.0, np.exp(log_p) * np.where(log_p < -700, 0, gap))
        assert_allclose(got, numeric, rtol=1e-8, atol=1e-9)
        assert np.all(got >= 0)


@over(EXPONENTIAL)
def test_kl_divergence_is_zero_at_equality_and_a_bregman_divergence(case: Case) -> None:
    family, eta = case.family, case.natural
    assert isinstance(family, ExponentialFamily)
    partition = family.log_partition(eta)
    scale = EPS * (1 + np.abs(partition) + np.abs(eta * family.to_mean(eta)).sum(axis=1))
    assert np.all(np.abs(family.kl_divergence(eta, eta)) <= 4 * scale)
    other = np.roll(eta, 1, axis=0)
    bregman = (
        family.log_partition(other) - partition - ((other - eta) * family.to_mean(eta)).sum(axis=1)
    )
    scale = scale + EPS * (np.abs(other * family.to_mean(eta)).sum(axis=1) + np.roll(partition, 1))
    assert np.all(np.abs(family.kl_divergence(eta, other) - bregman) <= 16 * np.abs(scale))


@pytest.mark.parametrize(("low", "high"), [(-3, -1), (-2, 2), (-2, 6), (6, 8)])
@pytest.mark.parametrize("d", [2, 3, 20])
def test_dirichlet_newton_converges_over_the_whole_range(d: int, low: float, high: float) -> None:
    """Relative error of a few eps·Σα·max|E log x|: what the rounding of the means leaves."""
    alpha = 10.0 ** np.random.default_rng(0).uniform(low, high, (200, d))
    mean_log = dirichlet_mean_log(alpha)
    error = np.abs(dirichlet_concentration(mean_log) / alpha - 1).max(axis=1)
    condition = 1 + alpha.sum(axis=1) * (1 + np.abs(mean_log).max(axis=1))
    assert np.all(error <= 64 * EPS * condition)


# -- estimation ------------------------------------------------------------------------------------
ESTIMABLE = [c for c in CASES if c.quadrature is not None]


def log_likelihood(case: Case, theta: Any, x: Array, weight: Array) -> float:
    return float(weight @ case.family.log_density(theta, x)[:, 0])


@over([c for c in ESTIMABLE if c in EXPONENTIAL])
def test_estimate_maximises_the_weighted_likelihood(case: Case) -> None:
    """Moments match; a step of the mean towards another component loses, to second order."""
    family = case.family
    assert isinstance(family, ExponentialFamily)
    means = family.to_mean(case.natural)
    for k in range(case.n_components):
        x = np.vstack([draw(case, k, 60), case.x[:1]])
        weight = np.random.default_rng(1).uniform(0, 3, len(x))
        theta = family.estimate(x, weight)
        moments = weight @ family.sufficient_statistics(x) / weight.sum()
        mean = family.to_mean(family.natural(theta))[0]
        if not case.over_complete:
            assert_allclose(mean, moments, rtol=1e-11, atol=1e-12)
        best = log_likelihood(case, theta, x, weight)
        for other in np.delete(means, k, axis=0):
            losses = []
            for step in (1e-5, 5e-6):  # kept inside the set of means
                near = (1 - step) * mean + step * other
                losses.append(
                    best
                    - log_likelihood(case, family.usual(family.to_natural(near[None])), x, weight)
                )
            assert losses[0] >= -1e-11 * abs(best)
            # no first-order term inside the boundary: halving the step quarters the loss
            if np.isfinite(family.natural(theta)).all():
                assert losses[1] <= 0.35 * losses[0] + 1e-10 * abs(best)


@over([c for c in LOCAL if c.quadrature is not None])
def test_estimate_is_stationary_in_each_parameter(case: Case) -> None:
    for k in range(case.n_components):
        x = draw(case, k, 200)
        weight = np.random.default_rng(1).uniform(0, 3, len(x))
        theta = case.family.estimate(x, weight)
        best = log_likelihood(case, theta, x, weight)
        for name in theta:
            up, down = (
                log_likelihood(case, {**theta, name: theta[name] * np.exp(h)}, x, weight) - best
                for h in (1e-3, -1e-3)
            )
            assert up <= 1e-12 * abs(best)
            assert down <= 1e-12 * abs(best)
            # first differences cancel to the third order of the step
            assert abs(up - down) <= 0.02 * abs(up + down) + 1e-11 * abs(best), (k, name, up, down)


@over([c for c in CASES if c.fit is not None])
def test_estimate_is_scipys(case: Case) -> None:
    """To 1e-3: SciPy's simplex stops there."""
    assert case.fit is not None
    for k in range(case.n_components):
        x = draw(case, k, 300)
        expected = case.fit(x)
        got = case.family.estimate(x)
        for name, value in expected.items():
            assert_allclose(got[name][0], value, rtol=1e-3, atol=1e-6, err_msg=name)


@over(ESTIMABLE)
def test_weight_two_is_a_row_twice_and_weight_zero_no_row(case: Case) -> None:
    x = np.vstack([draw(case, 1, 40), case.x[:2]])
    weight = np.arange(len(x)) % 3.0
    repeated = np.repeat(x, weight.astype(int), axis=0)
    assert_same(
        case.family.estimate(x, weight),
        case.family.estimate(repeated),
        rtol=1e-8 if case in LOCAL else 1e-10,
        atol=1e-12,
    )


@over(CASES)
def test_statistics_of_two_halves_add_up(case: Case) -> None:
    family, theta, r = case.family, case.parameters, case.responsibilities()
    whole = family.statistics(theta, case.x, r)
    parts = [family.statistics(theta, case.x[rows], r[rows]) for rows in (slice(2), slice(2, None))]
    assert_same(parts[0] + parts[1], whole, rtol=1e-13, atol=1e-300)
    assert_same(whole - parts[1], parts[0], rtol=1e-9, atol=1e-9 * _largest(whole))
    assert_same(whole * 3.0, whole + whole + whole, rtol=1e-15)
    assert_same(whole.zero() + whole, whole, rtol=0)


def _largest(record: Additive) -> float:
    return max(float(np.max(np.abs(leaf), initial=0)) for leaf in leaves(record))


@over(CASES)
def test_expected_log_density_is_the_sum_of_log_densities(case: Case) -> None:
    family, theta, r = case.family, case.parameters, case.responsibilities()
    got = family.expected_log_density(theta, family.statistics(theta, case.x, r))
    log_p = np.where(r > 0, family.log_density(theta, case.x), 0.0)
    scale = np.abs(r * log_p).sum() + (r * size_of_terms(case, case.x)).sum()
    assert abs(got - (r * log_p).sum()) <= 1e-12 * scale


@over([c for c in CASES if c.sampling])
def test_pseudo_statistics_are_stationary(case: Case) -> None:
    family, theta = case.family, case.parameters
    statistics = family.pseudo_statistics(np.arange(1.0, case.n_components + 1), theta)
    tolerance = max(case.round_trip, 1e-9 if case in LOCAL else 0)
    assert_same(family.maximize(statistics, theta), theta, rtol=tolerance, atol=1e-12)


@over(CASES)
def test_n_parameters(case: Case) -> None:
    assert case.family.n_parameters(case.parameters) == case.n_parameters


@over(CASES)
def test_location_is_one_finite_point_a_component(case: Case) -> None:
    location = case.family.location(case.parameters)
    assert location.ndim == 2
    assert len(location) == case.n_components
    assert np.isfinite(location).all()


# -- missing cells, the edge of the support --------------------------------------------------------
@over([c for c in CASES if c.family.accepts_missing])
def test_missing_rows_do_not_contribute(case: Case) -> None:
    family, theta, r = case.family, case.parameters, case.responsibilities()
    x = np.vstack([case.x, np.full((1, case.x.shape[1]), np.nan)])
    family.check(x)
    log_p = family.log_density(theta, x)
    assert_allclose(log_p[:-1], family.log_density(theta, case.x), rtol=1e-15)
    assert np.all(log_p[-1] == 0)
    r_all = np.vstack([r, np.full((1, case.n_components), 0.5)])
    with_missing, without = family.statistics(theta, x, r_all), family.statistics(theta, case.x, r)
    assert_same(family.maximize(with_missing, theta), family.maximize(without, theta), rtol=1e-14)
    assert_allclose(
        family.expected_log_density(theta, with_missing),
        family.expected_log_density(theta, without),
        rtol=1e-14,
    )
    all_missing = np.full((2, case.x.shape[1]), np.nan)
    assert np.all(family.log_density(theta, all_missing) == 0)


@over([c for c in CASES if not c.family.accepts_missing])
def test_missing_cells_are_refused_by_column_and_row(case: Case) -> None:
    x = case.x.copy()
    x[1, 2] = np.nan
    with pytest.raises(DataError, match=r"column 2 holds NaN \(row 1\)"):
        case.family.bind(x)


@over(CASES)
def test_rows_in_the_support_are_accepted(case: Case) -> None:
    assert case.family.in_support(case.x).all()
    assert isinstance(case.family.bind(case.x), type(case.family))


@over([c for c in CASES if c.outside])
def test_rows_outside_the_support_are_refused_by_column_and_row(case: Case) -> None:
    for row in case.outside:
        x = np.vstack([case.x[:2], row])
        with pytest.raises(DataError, match=r"column \d+ holds .* \(row 2\), outside the support"):
            case.family.bind(x)


BOUNDARY = [
    # family, parameters, x, expected log-density of the one component
    (Poisson(), {"rate": [0.0]}, [[0], [1]], [0, -np.inf]),
    (Geometric(), {"probability": [1.0]}, [[0], [1]], [0, -np.inf]),
    (Binomial(3), {"probability": [0.0]}, [[0], [1], [3]], [0, -np.inf, -np.inf]),
    (Binomial(3), {"probability": [1.0]}, [[0], [2], [3]], [-np.inf, -np.inf, 0]),
    (Bernoulli(), {"probability": [[0.0, 1.0]]}, [[0, 1], [1, 1]], [0, -np.inf]),
    (Categorical(3), {"probability": [[0.0, 0.5, 0.5]]}, [[0], [1]], [-np.inf, np.log(0.5)]),
    (
        Multinomial(),
        {"probability": [[0.0, 0.5, 0.5]]},
        [[0, 1, 1], [1, 1, 0]],
        [np.log(0.5), -np.inf],
    ),
    (NegativeBinomial(), {"mean": [0.0], "size": [2.0]}, [[0], [1]], [0, -np.inf]),
    (NegativeBinomial(2.0), {"mean": [0.0], "size": [2.0]}, [[0], [1]], [0, -np.inf]),
]


@pytest.mark.parametrize(("family", "parameters", "x", "expected"), BOUNDARY)
def test_boundary_of_the_parameters(
    family: Family, parameters: dict[str, Any], x: Any, expected: Any
) -> None:
    """Zero rates and probabilities: −∞ where T > 0, 0·(−∞) = 0; the estimate stays there."""
    theta = {name: np.array(value, float) for name, value in parameters.items()}
    rows = np.array(x, float)
    log_p = family.log_density(theta, rows)[:, 0]
    assert_allclose(log_p, expected, atol=1e-15)
    possible = np.isfinite(log_p)
    r = possible[:, None].astype(float)
    statistics = family.statistics(theta, rows, r)
    assert_allclose(
        family.expected_log_density(theta, statistics), log_p[possible].sum(), atol=1e-15
    )
    again = family.maximize(statistics, theta)
    assert_allclose(family.log_density(again, rows)[:, 0] == -np.inf, ~possible)


# -- degenerate data -------------------------------------------------------------------------------
COLLAPSING = [
    c
    for c in CASES
    if type(c.family).degeneracies is not Family.degeneracies and c.quadrature is not None
]


@over(COLLAPSING)
def test_equal_rows_are_named_as_collapsed(case: Case) -> None:
    family = case.family
    x = draw(case, 1, 30)
    marginal = family.estimate(x)
    assert family.degeneracies(marginal, None, marginal) == []
    spike = family.estimate(np.repeat(x[:1], 30, axis=0))
    for whole in (None, marginal):
        found = family.degeneracies(spike, None, whole)
        assert [d.component for d in found] == [0]
        assert found[0].reason.startswith("its values do not vary")  # "collapsed" comes before it


@over(COLLAPSING)
def test_a_narrow_component_is_a_spike_on_few_rows_and_a_cluster_on_many(case: Case) -> None:
    family = case.family
    x = draw(case, 1, 30)
    marginal = family.estimate(x)
    close = x[:1] + 3e-6 * (x - x[:1])
    if isinstance(family, VonMisesFisher):  # back on the sphere
        close /= np.linalg.norm(close, axis=1, keepdims=True)
    narrow = family.estimate(close)

    def found(n_rows: float) -> int:
        weight = np.full((len(x), 1), n_rows / len(x))
        return len(family.degeneracies(narrow, family.statistics(narrow, close, weight), marginal))

    assert [found(n) for n in (3.0, 30.0)] == [1, 0]


@over(ESTIMABLE)
def test_an_empty_component_warns_of_nothing_and_leaves_the_others(case: Case) -> None:
    family, theta, r = case.family, case.parameters, case.responsibilities()
    r[:, 0] = 0.0
    statistics = family.statistics(theta, case.x, r)
    assert np.isfinite(family.expected_log_density(theta, statistics))
    update = family.maximize(statistics, theta)
    alone = {name: value[1:] for name, value in theta.items()}
    expected = family.maximize(family.statistics(alone, case.x, r[:, 1:]), alone)
    assert_same(
        {name: value[1:] for name, value in update.items()}, expected, rtol=1e-12, atol=1e-14
    )
    family.initialize(case.x, r)


# -- local statistics ------------------------------------------------------------------------------
def shape_name(case: Case) -> str:
    return "shape" if "shape" in case.parameters else "size"


INTERPOLATED = [
    c
    for c in LOCAL
    if isinstance(c.family.statistics(c.parameters, c.x, c.responsibilities()), LocalStatistics)
]


@over([c for c in INTERPOLATED if c.quadrature is not None])
def test_expected_log_density_between_the_nodes(case: Case) -> None:
    """Interpolated to 1e-12 of its size, for rows drawn from the model."""
    family = case.family
    name = shape_name(case)
    for k in range(case.n_components):
        theta, x = case.component(k), draw(case, k, 300)
        ones = np.ones((len(x), 1))
        statistics = family.statistics(theta, x, ones)
        for factor in np.linspace(0.76, 1.24, 13):
            other = {key: 1.1 * value for key, value in theta.items()}
            other[name] = factor * theta[name]
            log_p = family.log_density(other, x)
            got = family.expected_log_density(other, statistics)
            assert abs(got - log_p.sum()) <= 1e-12 * np.abs(log_p).sum()


@over(INTERPOLATED)
def test_steps_ascend_from_anywhere(case: Case) -> None:
    """Wrong starts too, where the polynomial is not resolved and the best node is taken."""
    family = case.family
    name = shape_name(case)
    for k in range(case.n_components):
        x = draw(case, k, 100)
        ones = np.ones((len(x), 1))
        for factor in (0.05, 1.0, 20.0):
            theta: Any = case.component(k)
            theta[name] = factor * theta[name]
            for _ in range(5):
                log_p = family.log_density(theta, x)
                if not np.isfinite(log_p).all():
                    break
                update = family.maximize(family.statistics(theta, x, ones), theta)
                after = family.log_density(update, x)
                rounding = 1e-13 * (np.abs(log_p).sum() + np.abs(after).sum())
                rounding += 2 * EPS * size_of_terms(case, x).sum()
                assert after.sum() >= log_p.sum() - rounding
                theta = update


@over(INTERPOLATED)
def test_statistics_at_different_parameters_do_not_add(case: Case) -> None:
    family, r = case.family, case.responsibilities()
    name = shape_name(case)
    here = family.statistics(case.parameters, case.x, r)
    moved = {**case.parameters, name: case.parameters[name] * 1.01}
    there = family.statistics(moved, case.x, r)
    with pytest.raises(ParameterError, match="different parameters do not add"):
        here + there
    assert np.isnan(family.expected_log_density({**moved, name: 3 * moved[name]}, here))


@over([c for c in INTERPOLATED if c.quadrature is not None])
def test_chart_whitens_the_complete_information(case: Case) -> None:
    """The score in v is the slope of Q, −∂²Q/∂v² is the identity, and v → θ → v is."""
    family, r = case.family, np.ones((300, 1))
    for k in range(case.n_components):
        x = draw(case, k, 300)
        theta = family.estimate(x)
        statistics = family.statistics(theta, x, r)
        chart = family.chart(theta, statistics)
        assert chart is not None
        assert_allclose(chart.scale, np.sqrt(300.0))
        v = np.array([0.03, -0.02])[: len(chart.scale)]
        assert_allclose(chart.to_vector(chart.from_vector(v)), v, rtol=1e-9)
        assert_allclose(chart.score(theta, statistics), 0.0, atol=1e-5)
        score = chart.score(chart.from_vector(v), statistics)
        for j, step in enumerate(1e-3 * np.eye(len(v))):
            up, down = (
                family.expected_log_density(chart.from_vector(v + h), statistics)
                for h in (step, -step)
            )
            assert_allclose(score[j], (up - down) / 2e-3, atol=1e-5)
            ahead, behind = (chart.score(chart.from_vector(h), statistics) for h in (step, -step))
            assert_allclose((behind - ahead) / 2e-3, np.eye(len(v))[j], atol=1e-3)


def test_a_weibull_component_far_from_a_row_of_no_weight_stays_finite() -> None:
    family = Weibull()
    theta = {"shape": np.array([100.0, 0.5]), "scale": np.array([1.0, 1e4])}
    x = np.array([[1.0], [1.1], [1e9], [1e5]])
    log_p = family.log_density(theta, x)
    r = np.exp(log_p - np.logaddexp.reduce(log_p, axis=1, keepdims=True))
    statistics = family.statistics(theta, x, r)
    assert np.isfinite(statistics.values).all()
    update = family.maximize(statistics, theta)
    gain = family.expected_log_density(update, statistics)
    assert gain >= family.expected_log_density(theta, statistics)


def test_negative_binomial_without_overdispersion_walks_towards_poisson() -> None:
    x = np.random.default_rng(0).binomial(8, 0.5, (200, 1)).astype(float)
    theta = NegativeBinomial().estimate(x)
    assert 1e6 < theta["size"][0] <= 1e9
    poisson = Poisson().log_density({"rate": theta["mean"]}, x)
    assert_allclose(NegativeBinomial().log_density(theta, x), poisson, atol=2e-5)
    limit = {"mean": theta["mean"], "size": np.array([np.inf])}
    assert_allclose(NegativeBinomial().log_density(limit, x), poisson, rtol=1e-13)
    family = NegativeBinomial(np.inf)
    assert_allclose(family.log_density(limit, x), poisson, rtol=1e-13)


def test_negative_binomial_is_of_two_kinds() -> None:
    free, fixed = NegativeBinomial(), NegativeBinomial(2.0)
    assert isinstance(fixed, NegativeBinomial)
    assert isinstance(fixed, ExponentialFamily)
    assert not isinstance(free, ExponentialFamily)
    for family in (free, fixed):
        assert pickle.loads(pickle.dumps(family)) == family
    with pytest.raises(ParameterError, match="size must be positive"):
        NegativeBinomial(-1.0)


# -- binding ---------------------------------------------------------------------------------------
def test_bind_finds_what_the_data_tell() -> None:
    assert Binomial().bind(np.array([[2.0], [np.nan], [7.0]])) == Binomial(7)
    assert Binomial().bind(np.array([[0.0]])) == Binomial(1)
    assert Multinomial().bind(np.array([[2.0, 3.0], [1.0, 0.0]])) == Multinomial(3)
    with pytest.raises(ParameterError, match="n_trials"):
        Binomial(0)
    with pytest.raises(ParameterError, match="n_trials"):
        Binomial().log_density({"probability": np.array([0.5])}, np.array([[1.0]]))
