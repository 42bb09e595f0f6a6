"""The toolkit: coordinates, divergences, summaries and standard errors, over the registry of families."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from expmax.errors import InformationError, ParameterError
from expmax.families.base import ExponentialFamily
from expmax.families.bernoulli import Bernoulli
from expmax.families.categorical import Categorical
from expmax.families.covariance import STRUCTURES
from expmax.families.exponential import Exponential
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
from tests.cases import CASES, Case

EPS = np.finfo(float).eps
EXPONENTIAL = [c for c in CASES if isinstance(c.family, ExponentialFamily)]
NUMERIC = [c for c in EXPONENTIAL if c.quadrature is not None]


def over(cases: list[Case]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=[c.name for c in cases])


def rows(case: Case, n: int = 40, seed: int = 0) -> Array:
    """Rows of the middle component, and one of the case's own."""
    drawn = case.family.sample(case.parameters, 1, n, np.random.default_rng(seed))
    return np.vstack([drawn, case.x[:1]]) if case.family.discrete else drawn


def size(one: Any) -> Array:
    """The terms that cancel in A + A* − η·μ."""
    mean = np.abs(one.mean)
    natural = np.where(mean == 0, 0.0, np.abs(one.natural))  # 0·∞ = 0 on the boundary
    return 1 + np.abs(one.log_partition) + (natural * mean).sum(axis=1)


GAUSSIANS = [
    (
        Gaussian(),
        {
            "mean": np.array([[1.0, -2.0, 0.5], [3.0, 1.0, 0.0]]),
            "covariance": np.array(
                [
                    [[2.0, 0.3, 0.1], [0.3, 1.0, -0.2], [0.1, -0.2, 0.5]],
                    [[1.0, -0.4, 0.0], [-0.4, 3.0, 0.2], [0.0, 0.2, 0.7]],
                ]
            ),
        },
    ),
    (
        Gaussian("diag"),
        {
            "mean": np.array([[1.0, -2.0], [3.0, 1.0]]),
            "covariance": np.array([[2.0, 0.3], [1.0, 3.0]]),
        },
    ),
]
MIXED = Product(Poisson(), Gaussian("diag"), Gamma()).bind(np.array([[1.0, 2.0, 3.0]]))
MIXED_PARAMETERS = {
    "0": {"rate": [2.0, 5.0]},
    "1": {"mean": [[0.0], [1.0]], "covariance": [[1.0], [2.5]]},
    "2": {"shape": [2.0, 3.0], "rate": [1.0, 0.4]},
}


# -- coordinates and divergences -------------------------------------------------------------------
@over(EXPONENTIAL)
def test_partition_and_conjugate_meet_at_the_product(case: Case) -> None:
    """A(η) + A*(μ) = η·μ, where A* = −H − E[log h]."""
    one = case.family.at(case.parameters)
    product = np.where(one.mean == 0, 0.0, one.natural * one.mean).sum(axis=1)
    conjugate = case.family.convex_conjugate(one.mean)  # type: ignore[attr-defined]
    slack = max(case.round_trip, 1e-12) * size(one)  # A* solves for η again
    assert np.all(np.abs(one.log_partition + conjugate - product) <= slack)
    assert_allclose(one.convex_conjugate, conjugate, rtol=0, atol=slack.max())
    if case.quadrature is not None:
        x, w = case.quadrature
        log_h = case.family.log_base_measure(x)  # type: ignore[attr-defined]
        expected = (w * log_h) @ np.exp(one.log_density(x))
        assert_allclose(one.convex_conjugate, -one.entropy - expected, rtol=1e-8, atol=1e-8)


@over(EXPONENTIAL)
def test_conjugate_lies_above_its_tangents(case: Case) -> None:
    """A*(μ) ≥ η'·μ − A(η') for every other member: the Fenchel inequality."""
    one = case.family.at(case.parameters)
    for k in range(case.n_components):
        bound = (one.natural * one.mean[k]).sum(axis=1) - one.log_partition
        slack = 32 * EPS * (size(one) + np.abs(one.natural * one.mean[k]).sum(axis=1))
        assert np.all(one.convex_conjugate[k] >= bound - slack - 32 * EPS * size(one)[k])


@over(EXPONENTIAL)
def test_kl_is_a_bregman_divergence_in_both_coordinates(case: Case) -> None:
    """D_A(η', η) = KL(p_η ‖ p_η') = D_A*(μ, μ'), and the same with the two exchanged."""
    one = case.family.at(case.parameters)
    other = case.family.at({name: np.roll(v, 1, axis=0) for name, v in case.parameters.items()})
    for p, q in ((one, other), (other, one)):
        terms = size(p) + size(q) + np.abs(q.natural * p.mean).sum(axis=1)
        by_natural = q.log_partition - p.log_partition
        by_natural = by_natural - ((q.natural - p.natural) * p.mean).sum(axis=1)
        assert np.all(np.abs(p.kl_divergence(q) - by_natural) <= 32 * EPS * terms)
        assert np.all(np.abs(p.kl_divergence(q) - p.bregman_divergence(q)) <= 32 * EPS * terms)


@over(NUMERIC)
def test_moment_projection_is_pythagorean(case: Case) -> None:
    """KL(p ‖ q) = KL(p ‖ q*) + KL(q* ‖ q) where q* has the moments of p, a mixture of the members."""
    family = case.family
    assert isinstance(family, ExponentialFamily)
    assert case.quadrature is not None
    x, w = case.quadrature
    members = np.exp(family.log_density(case.parameters, x))
    share = np.linspace(1, 2, case.n_components)
    p = members @ (share / share.sum())
    moments = (share @ family.to_mean(case.natural) / share.sum())[None]
    projection = family.at(family.usual(family.to_natural(moments)))

    def kl(of: Array) -> Array:
        """KL(p ‖ ·) by quadrature; the base measure cancels."""
        with np.errstate(divide="ignore", invalid="ignore"):
            gap = np.where(p[:, None] > 1e-290, np.log(p)[:, None] - of, 0.0)
        return (w * p) @ gap

    to_members = kl(family.log_density(case.parameters, x))
    to_projection = kl(projection.log_density(x))[0]
    for k in range(case.n_components):
        rest = projection.kl_divergence(family.at(case.component(k)))[0]
        assert_allclose(to_members[k], to_projection + rest, rtol=1e-7, atol=1e-8)


@over([c for c in NUMERIC if c.name != "VonMises"])
def test_fisher_information_is_the_covariance_of_the_statistic(case: Case) -> None:
    family = case.family
    assert isinstance(family, ExponentialFamily)
    assert case.quadrature is not None
    x, w = case.quadrature
    p = w[:, None] * np.exp(family.log_density(case.parameters, x))
    t, mean = family.sufficient_statistics(x), family.to_mean(case.natural)
    got = family.fisher_information(case.natural)
    for k in range(case.n_components):
        centred = t - mean[k]
        expected = centred.T @ (centred * p[:, k : k + 1])
        scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
        assert np.all(np.abs(got[k] - expected) <= 1e-6 * scale + 1e-14), k


@pytest.mark.parametrize(("family", "parameters"), GAUSSIANS)
def test_gaussian_coordinates(family: Gaussian, parameters: Any) -> None:
    one = family.at(parameters)
    other = family.at({name: v[::-1].copy() for name, v in parameters.items()})
    product = (one.natural * one.mean).sum(axis=1)
    assert_allclose(one.log_partition + one.convex_conjugate, product, rtol=1e-13)
    d = one.parameters["mean"].shape[1]
    assert_allclose(one.convex_conjugate, -one.entropy, rtol=1e-12)  # E[log h] = 0 here
    assert_allclose(one.kl_divergence(other), one.bregman_divergence(other), rtol=1e-11)
    assert_allclose(one.kl_divergence(one), 0.0, atol=1e-13)
    formulas = one._formulas
    again = formulas.usual(formulas.to_natural(one.mean))
    for name in ("mean", "covariance"):
        assert_allclose(again[name], one.parameters[name], rtol=1e-10, atol=1e-13)
    x = one.sample(200_000, np.random.default_rng(0))
    t = np.hstack(
        [x, x**2 if family.diagonal else (x[:, :, None] * x[:, None]).reshape(len(x), d * d)]
    )
    covariance = np.cov(t, rowvar=False)  # to 5 standard errors of about √(30/n)
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert np.all(np.abs(one.fisher_information[0] - covariance) <= 0.06 * scale)
    expected = [
        np.mean(one.log_density(x)[:, 0] - other.log_density(x)[:, 0]),
        -np.mean(one.log_density(x)[:, 0]),
    ]
    assert_allclose([one.kl_divergence(other)[0], one.entropy[0]], expected, rtol=0.02)


def test_gaussian_gradient_and_hessian_of_the_partition() -> None:
    """Differences of A along symmetric directions."""
    one = Gaussian().at(GAUSSIANS[0][1])
    formulas, eta = one._formulas, one.natural
    rng = np.random.default_rng(0)
    direction = 1e-4 * rng.standard_normal(3)
    matrix = 1e-4 * rng.standard_normal((3, 3))
    step = np.concatenate([direction, (matrix + matrix.T).ravel()])
    up, down = formulas.log_partition(eta + step), formulas.log_partition(eta - step)
    assert_allclose((up - down) / 2, one.mean @ step, rtol=1e-5)
    second = up + down - 2 * formulas.log_partition(eta)
    assert_allclose(second, step @ one.fisher_information @ step, rtol=1e-4)


def test_product_joins_its_factors() -> None:
    one = MIXED.at(MIXED_PARAMETERS)
    swapped = {
        label: {name: np.array(v, float)[::-1] for name, v in part.items()}
        for label, part in MIXED_PARAMETERS.items()
    }
    other = MIXED.at(swapped)
    assert one.natural.shape == (2, 5)
    assert_allclose(one.kl_divergence(other), one.bregman_divergence(other), rtol=1e-12)
    gamma = Gamma().at(shape=[2.0, 3.0], rate=[1.0, 0.4])
    poisson, gauss = Poisson().at(rate=[2.0, 5.0]), Gaussian("diag").at(MIXED_PARAMETERS["1"])
    assert_allclose(one.entropy, poisson.entropy + gauss.entropy + gamma.entropy)
    assert_allclose(one.fisher_information[:, 3:, 3:], gamma.fisher_information)


def test_a_number_is_one_component() -> None:
    assert Poisson().at(rate=3.0).natural.shape == (1, 1)
    assert Categorical(3).at(probability=[0.2, 0.3, 0.5]).natural.shape == (1, 3)
    assert Gaussian().at(mean=[0.0, 1.0], covariance=np.eye(2)).natural.shape == (1, 6)
    with pytest.raises(ParameterError, match="not an exponential family"):
        _ = Weibull().at(shape=1.0, scale=2.0).natural


# -- summaries -------------------------------------------------------------------------------------
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
    scale = np.abs(weight * log_density).sum() + summary.weight * size(case.family.at(direct))[0]
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


# -- standard errors -------------------------------------------------------------------------------
def test_standard_errors_of_textbooks() -> None:
    rng = np.random.default_rng(0)
    n = 400
    x = rng.poisson(4, (n, 1)).astype(float)
    fit = Poisson().estimate_with_errors(x)
    assert_allclose(fit.standard_errors["rate"], np.sqrt(x.mean() / n), rtol=1e-6)
    x = rng.exponential(2, (n, 1))
    fit = Exponential().estimate_with_errors(x)
    assert_allclose(fit.standard_errors["rate"], 1 / x.mean() / np.sqrt(n), rtol=1e-6)
    x = (rng.random((n, 2)) < [0.2, 0.6]).astype(float)
    fit = Bernoulli().estimate_with_errors(x)
    p = x.mean(axis=0)
    assert_allclose(fit.standard_errors["probability"], np.sqrt(p * (1 - p) / n), rtol=1e-6)
    x = rng.integers(0, 3, (n, 1)).astype(float)
    fit = Categorical(3).estimate_with_errors(x)
    p = fit.estimates["probability"]
    assert_allclose(fit.covariance, (np.diag(p) - np.outer(p, p)) / n, rtol=1e-5, atol=1e-12)
    x = rng.multivariate_normal([0, 1], [[2, 0.5], [0.5, 1]], n)
    fit = Gaussian().estimate_with_errors(x)
    s = fit.estimates["covariance"]
    assert_allclose(fit.standard_errors["mean"], np.sqrt(np.diag(s) / n), rtol=1e-6)
    variance = (s**2 + np.outer(np.diag(s), np.diag(s))) / n  # Anderson (2003), §3.4
    assert_allclose(fit.standard_errors["covariance"], np.sqrt(variance), rtol=1e-5)
    low, high = fit.interval(0.9)["mean"]
    assert np.all(low < fit.estimates["mean"])
    assert np.all(high > fit.estimates["mean"])
    assert "std. error" in str(fit)


@over([c for c in CASES if c.quadrature is not None and c.family.scalar and not c.over_complete])
def test_standard_errors_are_those_of_the_numerical_hessian(case: Case) -> None:
    """Observed information by second differences of the log-likelihood itself."""
    family = case.family
    x = family.sample(case.parameters, 1, 400, np.random.default_rng(3))
    weight = np.random.default_rng(4).integers(1, 3, len(x)).astype(float)
    fit = family.estimate_with_errors(x, weight)
    names = [name for name in fit.estimates if fit.standard_errors[name] > 0]
    size = [float(fit.estimates[name]) for name in names]
    steps = [2e-3 * max(abs(v), 0.1) for v in size]

    def value(shift: Array) -> float:
        theta: dict[str, Any] = {name: np.asarray(v)[None] for name, v in fit.estimates.items()}
        for name, centre, h, s in zip(names, size, steps, shift, strict=True):
            theta[name] = np.array([centre + h * s])
        return float(weight @ family.log_density(theta, x)[:, 0])

    m = len(names)
    hessian = np.empty((m, m))
    for i, a in enumerate(np.eye(m)):
        for j, b in enumerate(np.eye(m)):
            corners = value(a + b) - value(a - b) - value(b - a) + value(-a - b)
            hessian[i, j] = corners / (4 * steps[i] * steps[j])
    expected = np.sqrt(np.diag(np.linalg.inv(-hessian)))
    got = [float(fit.standard_errors[name]) for name in names]
    assert_allclose(got, expected, rtol=2e-2 if case.name == "VonMises" else 1e-2)


def test_standard_errors_of_a_student_t_cover() -> None:
    """Observed information of the location, not the complete-data one: SE = σ√((ν+3)/(ν+1)/n)."""
    n, nu = 4000, 4.0
    x = np.random.default_rng(0).standard_t(nu, (n, 1))
    fit = StudentT().estimate_with_errors(x)
    theory = np.sqrt((nu + 3) / (nu + 1) / n)
    assert_allclose(fit.standard_errors["mean"], theory, rtol=0.1)


def test_standard_errors_are_the_spread_of_estimates() -> None:
    """Gamma: 500 samples of 200 rows."""
    rng = np.random.default_rng(0)
    theta = [
        (float(f["shape"][0]), float(f["rate"][0]))
        for f in (Gamma().summarize(rng.gamma(3.0, 0.5, (200, 1))).fit() for _ in range(500))
    ]
    fit = Gamma().at(shape=3.0, rate=2.0)
    sample = Gamma().summarize(rng.gamma(3.0, 0.5, (200_000, 1))).estimate()
    spread = np.std(theta, axis=0)
    errors = np.array([sample.standard_errors["shape"], sample.standard_errors["rate"]])
    assert_allclose(spread, errors * np.sqrt(1000), rtol=0.15)
    assert_allclose(np.linalg.inv(fit.fisher_information[0])[0, 0] / 200, spread[0] ** 2, rtol=0.3)


def test_no_standard_errors_on_the_boundary() -> None:
    with pytest.raises(InformationError, match="boundary"):
        Poisson().estimate_with_errors(np.zeros((5, 1)))


def test_summary_estimate_is_that_of_the_data() -> None:
    x = np.random.default_rng(0).gamma(2.0, 1.0, (100, 1))
    a, b = Gamma().summarize(x).estimate(), Gamma().estimate_with_errors(x)
    assert_allclose(a.covariance, b.covariance, rtol=1e-9)
    assert_allclose(a.log_likelihood, b.log_likelihood, rtol=1e-12)
    assert a.names == ("shape", "rate")
    shape, _, scale = stats.gamma.fit(x[:, 0], floc=0)
    assert_allclose(a.log_likelihood, stats.gamma.logpdf(x[:, 0], shape, 0, scale).sum(), rtol=1e-6)
