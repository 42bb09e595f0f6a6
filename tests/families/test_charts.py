"""Charts: inverse, score, information and structure, for every Gaussian structure and family."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.testing import assert_allclose

from expmax.families.covariance import DIAGONAL_STRUCTURES, STRUCTURES
from expmax.families.exponential_family import ExponentialFamily
from expmax.families.gaussian import Gaussian
from expmax.families.product import Product
from tests.cases import CASES

SHARING = [s for s in STRUCTURES if s not in ("VVV", "EEE", "EII", "VII", "EEI", "VVI")]
SHAPES = [(1, 2), (3, 2), (1, 4), (3, 4), (6, 3)]
EXPONENTIAL = [
    case
    for case in CASES
    if isinstance(case.family, ExponentialFamily) and "extreme" not in case.name
]


# ---------------------------------------------------------------------------------------- problems
def gaussian_rows(n_components, d, rng, n=80):
    """Rows of unlike clusters, and soft responsibilities that pull them together."""
    x = np.concatenate(
        [
            rng.normal(size=(n, d)) @ (rng.normal(size=(d, d)) + np.diag(1.0 + np.arange(d)))
            + 3 * rng.normal(size=d)
            for _ in range(n_components)
        ]
    )
    sharp = np.repeat(np.eye(n_components), n, axis=0)
    return x, 0.8 * sharp + 0.2 * rng.dirichlet(np.ones(n_components), len(x))


def at_m_step(family, x, responsibilities, n_steps=4):
    """Parameters that are the M-step of the statistics returned with them."""
    parameters = family.initialize(x, responsibilities)
    for _ in range(n_steps):
        statistics = family.statistics(parameters, x, responsibilities)
        parameters = family.maximize(statistics, parameters)
    return parameters, family.statistics(parameters, x, responsibilities)


@cache
def gaussian_problem(structure, n_components, d, seed=0, missing=False, penalty=0.0):
    rng = np.random.default_rng([seed, n_components, d])
    x, responsibilities = gaussian_rows(n_components, d, rng)
    if missing:  # more in the first column, so that counts differ between columns
        x[rng.random(x.shape) < np.linspace(0.4, 0.05, d)] = np.nan
    family = Gaussian(structure, penalty)
    parameters, statistics = at_m_step(family, x, responsibilities)
    return family, parameters, statistics, family.chart(parameters, statistics)


# ------------------------------------------------------------------------------------- derivatives
def differences(function, v, step=1e-3):
    """∂f/∂v by the five-point stencil: error step⁴ f⁽⁵⁾/30, about 1e-13 |f|/step of rounding."""
    columns = []
    for i in range(len(v)):
        e = np.zeros_like(v)
        e[i] = step
        near = np.asarray(function(v + e)) - function(v - e)
        far = np.asarray(function(v + 2 * e)) - function(v - 2 * e)
        columns.append((8 * near - far) / (12 * step))
    return np.array(columns).reshape(len(v), *np.shape(function(v))).T


def assert_score_is_gradient(family, chart, statistics, v, rtol=1e-6):
    expected = differences(
        lambda u: family.expected_log_density(chart.from_vector(u), statistics), v
    )
    score = chart.score(chart.from_vector(v), statistics)
    assert_allclose(score, expected, rtol=rtol, atol=rtol * (1e-3 + np.abs(expected).max()))


def assert_information_is_identity(chart, statistics, tolerance=1e-5):
    information = -differences(
        lambda u: chart.score(chart.from_vector(u), statistics), np.zeros(len(chart.scale))
    )
    assert_allclose(information, np.eye(len(information)), atol=tolerance)


def forget(parameters):
    """The same parameters in new arrays: nothing that a chart remembers of them applies."""
    return {name: np.array(value) for name, value in parameters.items()}


# ------------------------------------------------------------------------------ Gaussian structures
@pytest.fixture(params=SHAPES, ids=lambda s: f"K{s[0]}d{s[1]}")
def shape(request):
    return request.param


@pytest.mark.parametrize("structure", STRUCTURES)
class TestGaussian:
    def test_round_trip(self, structure, shape):
        _, parameters, _, chart = gaussian_problem(structure, *shape)
        zero = np.zeros(len(chart.scale))
        assert_allclose(chart.to_vector(parameters), zero, atol=1e-10)
        assert_allclose(chart.to_vector(forget(parameters)), zero, atol=1e-8)
        reached = forget(chart.from_vector(zero))
        for name in ("mean", "covariance"):
            assert_allclose(reached[name], parameters[name], rtol=1e-10, atol=1e-10)
        for seed in range(5):
            v = np.random.default_rng(seed).normal(size=len(zero))
            assert_allclose(chart.to_vector(chart.from_vector(v)), v, atol=1e-8)
            assert_allclose(chart.to_vector(forget(chart.from_vector(v))), v, atol=1e-8)

    def test_score_is_the_gradient(self, structure, shape):
        family, _, statistics, chart = gaussian_problem(structure, *shape)
        v = 1.5 * np.random.default_rng(1).normal(size=len(chart.scale))
        assert_score_is_gradient(family, chart, statistics, v)

    def test_score_with_statistics_of_other_parameters(self, structure, shape):
        _, _, statistics, chart = gaussian_problem(structure, *shape)
        v = np.random.default_rng(2).normal(size=len(chart.scale))
        parameters = chart.from_vector(v)
        about = statistics.about(parameters["mean"] + 0.3)
        remembered = chart.score(parameters, about)
        assert_allclose(remembered, chart.score(parameters, statistics), atol=1e-9)
        chart.from_vector(-v)
        assert_allclose(remembered, chart.score(forget(parameters), statistics), atol=1e-7)

    def test_m_step_is_a_zero_of_the_score(self, structure, shape):
        _, parameters, statistics, chart = gaussian_problem(structure, *shape)
        assert_allclose(chart.score(parameters, statistics), 0.0, atol=1e-6)

    def test_information_at_the_m_step_is_the_identity(self, structure, shape):
        _, _, statistics, chart = gaussian_problem(structure, *shape)
        assert_information_is_identity(chart, statistics)

    def test_information_with_a_penalty(self, structure):
        family, _, statistics, chart = gaussian_problem(structure, 3, 3, penalty=0.7)
        v = np.random.default_rng(3).normal(size=len(chart.scale))
        assert_score_is_gradient(family, chart, statistics, v)
        assert_information_is_identity(chart, statistics)

    def test_one_coordinate_a_parameter(self, structure, shape):
        family, parameters, statistics, chart = gaussian_problem(structure, *shape)
        assert len(chart.scale) == family.n_parameters(parameters)
        counts = statistics.counts
        assert (chart.scale >= np.sqrt(counts.min()) * (1 - 1e-12)).all()
        assert (chart.scale <= np.sqrt(counts.sum()) * (1 + 1e-12)).all()

    def test_stays_in_the_structure(self, structure, shape):
        _, parameters, _, chart = gaussian_problem(structure, *shape)
        v = 3.0 * np.random.default_rng(4).normal(size=len(chart.scale))
        reached = chart.from_vector(v)
        assert set(reached) == set(parameters)
        assert_is_member(structure, reached)
        if structure not in DIAGONAL_STRUCTURES:
            factor = reached["precision_cholesky"]
            assert_allclose(np.tril(factor, -1), 0.0, atol=1e-14)
            assert (np.diagonal(factor, axis1=1, axis2=2) > 0).all()
            precision = factor @ factor.swapaxes(1, 2)
            product = precision @ reached["covariance"]
            assert_allclose(product, np.broadcast_to(np.eye(shape[1]), product.shape), atol=1e-9)

    def test_far_away_is_not_an_error(self, structure):
        _, _, statistics, chart = gaussian_problem(structure, 3, 2)
        v = np.random.default_rng(5).normal(size=len(chart.scale))
        for size in (1e2, -1e2, 1e5, -1e5, 1e200, np.inf, np.nan):
            with np.errstate(all="ignore"):  # as in the engine
                parameters = chart.from_vector(size * v)
                assert parameters["mean"].shape == (3, 2)
                if np.isfinite(parameters["mean"]).all():
                    assert len(chart.score(parameters, statistics)) == len(v)
                    assert len(chart.to_vector(forget(parameters))) == len(v)


def assert_is_member(structure, parameters):
    """Volumes, shapes and axes are equal where the name says so."""
    covariance = parameters["covariance"]
    if structure in DIAGONAL_STRUCTURES:
        covariance = covariance[:, :, None] * np.eye(covariance.shape[1])
        values = np.diagonal(covariance, axis1=1, axis2=2)
    else:
        values = np.linalg.eigvalsh(covariance)
    volumes = np.exp(np.log(values).mean(axis=1))
    normed = values / volumes[:, None]
    if structure[0] == "E":
        assert_allclose(volumes, volumes[0], rtol=1e-10)
    if structure[1] == "E":
        assert_allclose(normed, normed[:1].repeat(len(normed), 0), rtol=1e-8)
    if structure[1] == "I":
        assert_allclose(normed, 1.0, rtol=1e-10)
    if structure[2] == "E":  # matrices with common axes commute
        whitened = covariance / volumes[:, None, None]
        products = whitened[:1] @ whitened
        assert_allclose(products, products.swapaxes(1, 2), atol=1e-9 * np.abs(products).max())


@pytest.mark.parametrize("structure", ["EII", "VII", "EEI", "VEI", "EVI", "VVI"])
@pytest.mark.parametrize("n_components", [1, 3])
def test_missing_cells(structure, n_components):
    family, parameters, statistics, chart = gaussian_problem(
        structure, n_components, 3, missing=True
    )
    assert len(chart.scale) == family.n_parameters(parameters)
    assert_allclose(chart.score(parameters, statistics), 0.0, atol=1e-6)
    assert_information_is_identity(chart, statistics)
    v = np.random.default_rng(6).normal(size=len(chart.scale))
    assert_allclose(chart.to_vector(forget(chart.from_vector(v))), v, atol=1e-9)
    assert_score_is_gradient(family, chart, statistics, v)


@pytest.mark.parametrize("structure", ["VEI", "EVI"])
@pytest.mark.parametrize("n_components", [1, 3])
def test_one_column(structure, n_components):
    family, parameters, statistics, chart = gaussian_problem(structure, n_components, 1)
    assert len(chart.scale) == family.n_parameters(parameters)
    assert_information_is_identity(chart, statistics)
    v = np.random.default_rng(7).normal(size=len(chart.scale))
    assert_allclose(chart.to_vector(forget(chart.from_vector(v))), v, atol=1e-9)
    assert_score_is_gradient(family, chart, statistics, v)


@pytest.mark.parametrize("structure", SHARING)
def test_components_without_data_have_no_coordinates(structure):
    rng = np.random.default_rng(8)
    x, responsibilities = gaussian_rows(3, 2, rng)
    family = Gaussian(structure)
    parameters, _ = at_m_step(family, x, responsibilities)
    emptied = responsibilities[:, [0, 1, 1]] * [1.0, 0.0, 1.0]
    statistics = family.statistics(parameters, x, emptied)
    chart = family.chart(parameters, statistics)
    pair = family.chart(
        {name: value[[0, 2]] for name, value in parameters.items()},
        family.statistics({"mean": parameters["mean"][[0, 2]]}, x, emptied[:, [0, 2]]),
    )
    assert len(chart.scale) == len(pair.scale)
    v = rng.normal(size=len(chart.scale))
    reached = chart.from_vector(v)
    for name, value in parameters.items():
        assert_allclose(reached[name][1], value[1])
        assert_allclose(reached[name][[0, 2]], pair.from_vector(v)[name])
    assert_allclose(chart.to_vector(forget(reached)), v, atol=1e-9)
    assert_score_is_gradient(family, chart, statistics, v)
    parameters = {name: value.copy() for name, value in parameters.items()}
    parameters["mean"][1] = parameters["covariance"][1] = np.nan
    if not family.diagonal:
        parameters["precision_cholesky"][1] = np.nan
    statistics = family.statistics(
        {**parameters, "mean": np.nan_to_num(parameters["mean"])}, x, emptied
    )
    chart = family.chart(parameters, statistics)
    assert np.isfinite(chart.to_vector(parameters)).all()
    assert np.isfinite(chart.score(chart.from_vector(v), statistics)).all()


@pytest.mark.parametrize("structure", SHARING)
def test_no_data_no_coordinates(structure):
    family, parameters, statistics, _ = gaussian_problem(structure, 2, 3)
    chart = family.chart(parameters, statistics.zero())
    assert len(chart.scale) == len(chart.to_vector(parameters)) == 0
    assert_allclose(chart.from_vector(np.zeros(0))["mean"], parameters["mean"])
    assert len(chart.score(parameters, statistics)) == 0


def turned(values, angle_seed, n_components=1):
    """Covariances with given eigenvalues and random axes."""
    rng = np.random.default_rng(angle_seed)
    d = values.shape[-1]
    axes = np.linalg.qr(rng.normal(size=(n_components, d, d)))[0]
    return (axes * np.broadcast_to(values, (len(values), d))[:, None, :]) @ axes.swapaxes(1, 2)


# pairs of equal axes have no angle; VEE and EVV have no angles
@pytest.mark.parametrize(
    ("structure", "values", "lost"),
    [
        ("EEV", [[1, 1, 3]] * 2, 2),
        ("VEV", [[1, 1, 3, 3], [2, 2, 6, 6]], 4),
        ("EEV", [[2, 2, 2]] * 2, 6),
        ("EVE", [[1, 1, 8], [2, 2, 2]], 1),
        ("VVE", [[1, 1, 8], [2, 2, 3]], 1),
        ("VVE", [[1, 1, 8], [2, 3, 3]], 0),
        ("VVE", [[1, 1, 4, 4], [2, 2, 3, 3]], 2),
        ("VEE", [[1, 1, 8], [2, 2, 16]], 0),
        ("EVV", [[1, 1, 8], [2, 2, 2]], 0),
    ],
)
def test_equal_axes(structure, values, lost):
    values = np.array(values, float)
    k, d = values.shape
    covariance = turned(values, 9, k if structure[2] == "V" else 1)
    family = Gaussian(structure)
    counts = np.array([60.0, 100.0])
    parameters = {"mean": np.zeros((k, d)), "covariance": covariance}
    statistics = family.pseudo_statistics(counts, parameters)
    chart = family.chart(parameters, statistics)
    assert len(chart.scale) == family.n_parameters(parameters) - lost
    assert_allclose(chart.score(parameters, statistics), 0.0, atol=1e-8)
    assert_information_is_identity(chart, statistics)
    for seed in range(5):
        v = np.random.default_rng(seed).normal(size=len(chart.scale))
        assert_score_is_gradient(family, chart, statistics, v)
        assert_allclose(chart.to_vector(chart.from_vector(v)), v, atol=1e-10)
        # a little away the axes differ, and are found again in their order at the reference
        near = chart.to_vector(forget(chart.from_vector(1e-2 * v)))
        assert_allclose(near, 1e-2 * v, atol=1e-7)


def test_axes_are_matched_whatever_their_order_and_sign():
    """Own axes a quarter turn from the reference, in the order of their variances."""
    _, parameters, _, chart = gaussian_problem("VEV", 3, 4)
    values, axes = np.linalg.eigh(parameters["covariance"])
    swapped = values[:, [1, 0, 2, 3]]  # the two smallest axes trade their variances
    covariance = (axes * swapped[:, None, :]) @ axes.swapaxes(1, 2)
    v = chart.to_vector({"mean": parameters["mean"], "covariance": covariance})
    assert np.isfinite(v).all()
    assert_allclose(chart.from_vector(v)["covariance"], covariance, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("structure", SHARING)
def test_reference_that_is_no_m_step(structure):
    """Away from a maximum the score stays exact and the coordinates complete."""
    family, _, statistics, _ = gaussian_problem(structure, 3, 3)
    far = gaussian_problem(structure, 3, 3, seed=1)[1]
    chart = family.chart(far, statistics)
    assert len(chart.scale) == family.n_parameters(far)
    v = np.random.default_rng(10).normal(size=len(chart.scale))
    assert_allclose(chart.to_vector(forget(chart.from_vector(v))), v, atol=1e-7)
    assert_score_is_gradient(family, chart, statistics, v)


# -------------------------------------------------------------------------------- other families
@pytest.fixture(params=EXPONENTIAL, ids=lambda case: case.name)
def exponential(request):
    """A family at the M-step of draws from the registry's parameters."""
    case, rng = request.param, np.random.default_rng(11)
    k = case.n_components
    draws = [case.family.sample(case.parameters, j, 400, rng) for j in range(k)]
    x = np.concatenate([np.asarray(rows).reshape(400, -1) for rows in draws])
    sharp = np.repeat(np.eye(k), 400, axis=0)
    responsibilities = 0.9 * sharp + 0.1 * rng.dirichlet(np.ones(k), len(x))
    parameters, statistics = at_m_step(case.family, x, responsibilities)
    return case.family, parameters, statistics, case.family.chart(parameters, statistics)


class TestExponentialFamily:
    def test_round_trip(self, exponential):
        _, parameters, _, chart = exponential
        assert_allclose(chart.to_vector(parameters), 0.0, atol=1e-8)
        v = np.random.default_rng(12).normal(size=len(chart.scale))
        assert_allclose(chart.to_vector(forget(chart.from_vector(v))), v, atol=1e-6)

    def test_score_is_the_gradient(self, exponential):
        family, _, statistics, chart = exponential
        v = np.random.default_rng(13).normal(size=len(chart.scale))
        assert_score_is_gradient(family, chart, statistics, v)

    def test_m_step_is_a_zero_of_the_score(self, exponential):
        _, parameters, statistics, chart = exponential
        assert_allclose(chart.score(parameters, statistics), 0.0, atol=1e-5)

    def test_information_is_the_identity(self, exponential):
        _, _, statistics, chart = exponential
        assert_information_is_identity(chart, statistics)

    def test_one_coordinate_a_parameter(self, exponential):
        family, parameters, _, chart = exponential
        assert len(chart.scale) == family.n_parameters(parameters)


def test_product_lays_charts_side_by_side():
    rng = np.random.default_rng(14)
    family = Product(columns={(0, 1): Gaussian("VEV"), 2: Gaussian("VVI")})
    x, responsibilities = gaussian_rows(2, 3, rng)
    bound = family.bind(x)
    parameters, statistics = at_m_step(bound, x, responsibilities)
    chart = bound.chart(parameters, statistics)
    assert len(chart.scale) == bound.n_parameters(parameters)
    v = rng.normal(size=len(chart.scale))
    assert_allclose(chart.to_vector(chart.from_vector(v)), v, atol=1e-8)
    assert_score_is_gradient(bound, chart, statistics, v)
    assert_information_is_identity(chart, statistics)
