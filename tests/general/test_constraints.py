"""Every constraint: both ways, inside its space, refused outside."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import expmax as em
from expmax.general import (
    CholeskyCorrelation,
    Interval,
    Ordered,
    Positive,
    PositiveDefinite,
    Real,
    Simplex,
)
from expmax.general.space import Space

CASES = {
    "real": Real((2, 3)),
    "positive": Positive(4),
    "interval": Interval(-2.0, 3.0, shape=(2, 2)),
    "simplex": Simplex(4),
    "simplices": Simplex(3, shape=(2, 2)),
    "positive definite": PositiveDefinite(3),
    "positive definites": PositiveDefinite(2, shape=3),
    "ordered": Ordered(4),
    "ordereds": Ordered(3, shape=2),
    "correlation": CholeskyCorrelation(3),
    "correlations": CholeskyCorrelation(4, shape=2),
}


@pytest.fixture(params=CASES, scope="module")
def space(request):
    return Space({"a": CASES[request.param]})


def test_coordinates_go_both_ways(space):
    u = np.random.default_rng(0).normal(size=space.size)
    value = space.unpack(u)
    assert value["a"].shape == CASES_SHAPE(space)
    assert_allclose(space.pack(value), u, rtol=1e-9, atol=1e-10)
    checked = space.check(value)  # inside the space
    assert_allclose(checked["a"], value["a"])


def CASES_SHAPE(space):
    return space.constraints["a"].shape


def test_the_default_is_inside(space):
    one = space.constraints["a"]
    again = space.unpack(space.pack({"a": one.default()}))["a"]
    assert_allclose(again, one.default(), atol=1e-12)


def test_coordinates_are_as_many_as_degrees_of_freedom(space):
    """The Jacobian of the value by the coordinates has full rank."""
    u = 0.3 * np.random.default_rng(1).normal(size=space.size)
    rows = []
    for step in 1e-5 * np.eye(space.size):
        rise = space.unpack(u + step)["a"] - space.unpack(u - step)["a"]
        rows.append(rise.ravel() / 2e-5)
    assert np.linalg.matrix_rank(np.array(rows), tol=1e-6) == space.size


def test_a_correlation_factor_has_unit_rows_and_any_correlation():
    space = Space({"a": CholeskyCorrelation(3)})
    factor = space.unpack(np.array([2.0, -1.5, 0.7]))["a"]
    correlation = factor @ factor.T
    assert_allclose(np.diagonal(correlation), 1.0, rtol=1e-14)
    assert_allclose(correlation[0, 1], np.tanh(2.0), rtol=1e-12)
    assert_allclose(space.pack({"a": np.linalg.cholesky(correlation)}), [2.0, -1.5, 0.7])


@pytest.mark.parametrize(
    ("constraint", "value", "rule"),
    [
        (Positive(2), [1.0, -1.0], "positive"),
        (Interval(0, 1), 1.5, "between 0 and 1"),
        (Simplex(2), [0.5, 0.6], "sum to 1"),
        (PositiveDefinite(2), [[1.0, 2.0], [2.0, 1.0]], "positive definite"),
        (Ordered(3), [0.0, 2.0, 1.0], "rising order"),
        (CholeskyCorrelation(2), [[1.0, 0.0], [0.5, 0.5]], "rows of length 1"),
        (Real(2), [np.nan, 0.0], "finite"),
        (Real(2), [1.0, 2.0, 3.0], "shape"),
    ],
)
def test_a_value_outside_is_refused_by_name(constraint, value, rule):
    with pytest.raises(em.errors.ParameterError, match=rule) as error:
        constraint.check("theta", value)
    assert "theta" in str(error.value)


@pytest.mark.parametrize(
    ("constraint", "on_edge", "name"),
    [
        (Positive(2), [0.0, 1.0], "[0] at 0"),
        (Interval(0, 1), 0.0, " at 0"),
        (Interval(0, 2), 2.0, " at 2"),
        (Simplex(3), [0.5, 0.0, 0.5], "[1] at 0"),
    ],
)
def test_the_edge_survives_its_coordinates(constraint, on_edge, name):
    space = Space({"a": constraint})
    again = space.unpack(space.pack({"a": np.array(on_edge)}))["a"]
    assert_allclose(again, on_edge, atol=1e-15)
    found = [text for text, distance, _ in constraint.edges(again) if distance == 0.0]
    assert found == [name]
    with np.errstate(divide="raise"):
        if isinstance(constraint, Interval):
            np.log1p(-again / constraint.b)
        else:
            np.log(again)


def test_unknown_and_missing_names_are_told():
    space = Space({"rate": Positive(), "mean": Real()})
    with pytest.raises(em.errors.ParameterError, match="'mean' is missing"):
        space.check({"rate": 1.0})
    with pytest.raises(em.errors.ParameterError, match="'scale' is unknown"):
        space.check({"rate": 1.0, "mean": 0.0, "scale": 2.0})
