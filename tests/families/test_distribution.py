"""Coordinates, entropy and divergences, over the registry of families."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from expmax.errors import ParameterError
from expmax.families.categorical import Categorical
from expmax.families.exponential_family import ExponentialFamily
from expmax.families.gamma import Gamma
from expmax.families.gaussian import Gaussian
from expmax.families.poisson import Poisson
from expmax.families.product import Product
from expmax.families.weibull import Weibull
from expmax.statistics import Array
from tests.cases import CASES, Case, cancelling_terms, over

EPS = np.finfo(float).eps
EXPONENTIAL = [c for c in CASES if isinstance(c.family, ExponentialFamily)]
NUMERIC = [c for c in EXPONENTIAL if c.quadrature is not None]
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
    slack = max(case.round_trip, 1e-12) * cancelling_terms(one)  # A* solves for η again
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
        slack = 32 * EPS * (cancelling_terms(one) + np.abs(one.natural * one.mean[k]).sum(axis=1))
        assert np.all(
            one.convex_conjugate[k] >= bound - slack - 32 * EPS * cancelling_terms(one)[k]
        )


@over(EXPONENTIAL)
def test_kl_is_a_bregman_divergence_in_both_coordinates(case: Case) -> None:
    """D_A(η', η) = KL(p_η ‖ p_η') = D_A*(μ, μ'), and the same with the two exchanged."""
    one = case.family.at(case.parameters)
    other = case.family.at({name: np.roll(v, 1, axis=0) for name, v in case.parameters.items()})
    for p, q in ((one, other), (other, one)):
        terms = cancelling_terms(p) + cancelling_terms(q) + np.abs(q.natural * p.mean).sum(axis=1)
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
