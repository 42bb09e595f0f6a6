"""Outside a family's parameter space its formulas may hold on; charts and densities must not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from expmax.families.base import Family
from expmax.families.bernoulli import Bernoulli
from expmax.families.beta import Beta
from expmax.families.binomial import Binomial
from expmax.families.categorical import Categorical
from expmax.families.covariance import STRUCTURES
from expmax.families.dirichlet import Dirichlet
from expmax.families.exponential import Exponential
from expmax.families.exponential_family import ExponentialFamily
from expmax.families.gamma import Gamma
from expmax.families.gaussian import Gaussian
from expmax.families.geometric import Geometric
from expmax.families.inverse_gaussian import InverseGaussian
from expmax.families.log_normal import LogNormal
from expmax.families.multinomial import Multinomial
from expmax.families.negative_binomial import NegativeBinomial
from expmax.families.parameters import all_finite, flatten
from expmax.families.poisson import Poisson
from expmax.families.product import Product
from expmax.families.student_t import StudentT
from expmax.families.von_mises import VonMises
from expmax.families.von_mises_fisher import VonMisesFisher
from expmax.families.weibull import Weibull
from tests.cases import CASES
from tests.families.test_charts import at_m_step, differences

SIZES = (1.0, 10.0, 1e2, 1e4, 1e8, 1e200)


def problems():
    """Every family with what it is fitted to: rows, and two soft clusters of them."""
    for case in CASES:
        if case.family.is_estimated and "extreme" not in case.name and case.sampling:
            yield case.name, case.family
    for structure in STRUCTURES:
        yield f"Gaussian {structure}", Gaussian(structure)
        yield f"StudentT {structure}", StudentT(structure)
    yield "Product", Product(Gamma(), Beta(), NegativeBinomial(), VonMises())


def draws(name, family, n=60):
    rng = np.random.default_rng(3)
    known = {case.name: case for case in CASES}
    if name in known:
        case = known[name]
        return case.family.sample(case.component(0), 0, n, rng)
    if isinstance(family, Product):
        columns = (rng.gamma(3, 1, n), rng.beta(2, 3, n), rng.poisson(3, n), rng.vonmises(0, 2, n))
        return np.stack(columns, axis=1).astype(float)
    return rng.standard_t(5, (n, 3)) @ rng.normal(size=(3, 3))


@pytest.mark.parametrize(("name", "family"), list(problems()), ids=str)
def test_a_chart_leads_to_parameters_of_the_family_or_to_none(name, family) -> None:
    x = draws(name, family)
    responsibilities = np.random.default_rng(4).dirichlet([2.0, 2.0], len(x))
    bound = family.bind(x)
    parameters, statistics = at_m_step(bound, x, responsibilities)
    chart = bound.chart(parameters, statistics)
    rng = np.random.default_rng(5)
    for size in SIZES:
        for _ in range(20):
            v = size * chart.scale * rng.standard_normal(len(chart.scale))
            with np.errstate(all="ignore"):
                reached = chart.from_vector(v)
                inside = bound.in_space(reached)
                log_density = bound.log_density(reached, x)
            if all_finite(reached):
                assert inside.all(), (size, reached)
            assert not np.isfinite(log_density[:, ~inside]).any()


OUTSIDE = [
    (Gamma(), {"shape": [-1.6], "rate": [1.0]}),
    (Gamma(), {"shape": [1.0], "rate": [-1.0]}),
    (Gamma(shape=2.0), {"rate": [-1.0]}),
    (Exponential(), {"rate": [-1.0]}),
    (InverseGaussian(), {"mean": [1.0], "shape": [-1.0]}),
    (InverseGaussian(), {"mean": [-1.0], "shape": [1.0]}),
    (LogNormal(), {"mu": [0.0], "sigma": [-1.0]}),
    (Weibull(), {"shape": [-1.0], "scale": [1.0]}),
    (Weibull(), {"shape": [1.0], "scale": [-1.0]}),
    (Beta(), {"a": [1.0], "b": [-5.0]}),
    (Beta(), {"a": [-1.5], "b": [-1.5]}),
    (Poisson(), {"rate": [-1.0]}),
    (Geometric(), {"probability": [1.5]}),
    (Geometric(), {"probability": [-0.5]}),
    (Bernoulli(), {"probability": [[1.5]]}),
    (Binomial(4), {"probability": [-0.5]}),
    (Categorical(2), {"probability": [[1.5, -0.5]]}),
    (NegativeBinomial(), {"mean": [3.0], "size": [-1.5]}),
    (NegativeBinomial(), {"mean": [-3.0], "size": [1.5]}),
    (NegativeBinomial(size=2.0), {"mean": [-3.0], "size": [2.0]}),
    (VonMises(), {"mean": [0.0], "concentration": [-1.0]}),
    (StudentT(), {"mean": [[0.0]], "scale": [[[1.0]]], "dof": [-3.5]}),
    (StudentT(), {"mean": [[0.0]], "scale": [[[-1.0]]], "dof": [3.5]}),
    (Gaussian("diag"), {"mean": [[0.0]], "covariance": [[-1.0]]}),
]


@pytest.mark.parametrize(("family", "parameters"), OUTSIDE, ids=lambda p: repr(p)[:60])
def test_a_density_outside_the_space_is_no_number(family, parameters) -> None:
    parameters = {name: np.array(value) for name, value in parameters.items()}
    family = family.bind(np.array([[1.0]])) if isinstance(family, StudentT) else family
    x = np.array([[0.25], [0.75]]) if isinstance(family, Beta) else np.array([[0.0], [1.0]])
    x = np.maximum(x, 0.5) if not family.discrete else x
    with np.errstate(all="ignore"):
        assert np.isnan(family.log_density(parameters, x)).all()
    assert not family.in_space(parameters).any()


def test_wide_families_outside_their_space() -> None:
    with np.errstate(all="ignore"):
        alpha = {"concentration": np.array([[2.0, 3.0, -0.6], [2.0, 3.0, 4.0]])}
        rows = np.array([[0.2, 0.3, 0.5]])
        assert np.isnan(Dirichlet().log_density(alpha, rows)).tolist() == [[True, False]]
        p = {"probability": np.array([[1.2, -0.2, 0.0]])}
        assert np.isnan(Multinomial().bind(rows[:, ::-1] * 10).log_density(p, rows * 10)).all()
        directions = {"mean": np.array([[2.0, 0.0], [1.0, 0.0]]), "concentration": np.ones(2)}
        found = VonMisesFisher().log_density(directions, np.array([[0.0, 1.0]]))
        assert np.isnan(found).tolist() == [[True, False]]
        flat = {"mean": np.zeros((1, 2)), "covariance": np.array([[[1.0, 2.0], [2.0, 1.0]]])}
        assert np.isnan(Gaussian().log_density(flat, np.zeros((1, 2)))).all()


@pytest.mark.parametrize(
    "case",
    [c for c in CASES if isinstance(c.family, ExponentialFamily) and "extreme" not in c.name],
    ids=lambda case: case.name,
)
def test_free_coordinates(case) -> None:
    """Inverse, slopes of η by finite differences, and information JᵀFJ."""
    family = case.family
    inner = np.isfinite(family.to_free(case.parameters)).all(axis=1)
    if type(family).to_free is ExponentialFamily.to_free:
        pytest.skip("η itself")
    parameters = {name: value[inner] for name, value in case.parameters.items()}
    free = family.to_free(parameters)
    back = family.from_free(free)
    assert_allclose(flatten(back), flatten(parameters), rtol=1e-12, atol=1e-14)
    slopes, information = family.free_slopes(parameters), family.free_information(parameters)
    fisher = family.fisher_information(family.natural(parameters))
    for k, at in enumerate(free):
        numeric = differences(lambda phi: family.natural(family.from_free(phi[None]))[0], at)
        assert_allclose(slopes[k], numeric, rtol=1e-7, atol=1e-7 * np.abs(numeric).max())
        expected = slopes[k].T @ fisher[k] @ slopes[k]
        # the oracle cancels: entries of JᵀFJ are small differences of large ones for narrow components
        size = np.abs(slopes[k].T) @ np.abs(fisher[k]) @ np.abs(slopes[k])
        assert np.abs(information[k] - expected).max() <= 1e-8 * size.max()


class Home(Family):
    """A user's family says nothing of its space: any finite number will do."""

    log_density = statistics = initialize = maximize = expected_log_density = None  # type: ignore
    pseudo_statistics = sample = n_parameters = location = None  # type: ignore


def test_by_default_every_finite_number_is_inside() -> None:
    inside = Home().in_space({"a": np.array([-1.0, np.inf, np.nan, 0.0])})
    assert inside.tolist() == [True, False, False, True]
