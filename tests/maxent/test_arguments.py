"""What a user gives wrongly is refused by name; what could be read in two ways is documented."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import expmax as em
from expmax.errors import DataError, ParameterError
from expmax.maxent import ContingencyTable, Interval

DIE = np.arange(1, 7)


def mean(x: Any) -> Any:
    return x


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("moments", {"moments": "a"}),
        ("moment of 'mean'", {"moments": ["a"]}),
        ("tolerance", {"moments": {"mean": 4.0}, "tolerance": {"maen": 0.1}}),
        ("tolerance", {"moments": 4.0, "tolerance": "wide"}),
        ("not both", {"moments": 4.0, "data": [1.0, 2.0]}),
        ("sample_weight", {"moments": 4.0, "sample_weight": [1.0]}),
        ("row 1", {"data": [1.0, np.nan]}),
        ("max_iter", {"moments": 4.0, "max_iter": 0}),
        ("tol", {"moments": 4.0, "tol": 0.0}),
    ],
)
def test_wrong_arguments_are_named(words: str, arguments: dict[str, Any]) -> None:
    with pytest.raises((ParameterError, DataError), match=words):
        em.maximum_entropy({"mean": mean}, support=DIE, **arguments)


def test_features_must_be_columns_and_numbers() -> None:
    with pytest.raises(ParameterError, match="from 0 to 1"):
        em.maximum_entropy([2], [1.0], support=np.zeros((4, 2)))
    with pytest.raises(DataError, match="numbers"):
        em.maximum_entropy(lambda x: "a", 1.0, support=DIE)


def test_a_pair_is_an_interval_and_a_list_is_points() -> None:
    interval = em.maximum_entropy(mean, 0.3, support=(0, 1))
    assert_allclose(interval.natural, em.maximum_entropy(mean, 0.3, support=Interval(0, 1)).natural)
    assert_allclose(em.maximum_entropy(mean, 0.3, support=[0, 1]).probabilities, [0.7, 0.3])
    with pytest.raises(ParameterError, match="numbers"):
        Interval("a", 1)  # type: ignore[arg-type]


def test_margins_by_name() -> None:
    table = ContingencyTable((2, 3), names=("a", "b"))
    sums = {"b": [5, 5, 20], "a": [10, 20]}
    found = em.maximum_entropy(["a", "b"], sums, support=table).table
    assert_allclose(found, np.outer([10, 20], [5, 5, 20]) / 30)
    with pytest.raises(ParameterError, match="moments"):
        em.maximum_entropy(["a", "b"], {"a": [10, 20]}, support=table)
    with pytest.raises(ParameterError, match="margin"):
        em.maximum_entropy(["a"], [["x", "y"]], support=table)


# -- calibration -----------------------------------------------------------------------------------
FRAME = pd.DataFrame(
    {
        "sex": ["f", "f", "f", "m"],
        "age": [30.0, 40.0, 50.0, 44.0],
        "seen": pd.to_datetime(["2020-01-01"] * 4),
    }
)


def test_columns_without_a_target_may_hold_anything() -> None:
    assert_allclose(em.calibrate(FRAME, {"sex": {"f": 0.5, "m": 0.5}}).weights, [2 / 3] * 3 + [2])


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("base_weights", {"base_weights": [-1, 1, 1, 1]}),
        ("base_weights", {"base_weights": [1, 1]}),
        ("base_weights", {"base_weights": "sex"}),
        ("bounds", {"bounds": "ab"}),
        ("bounds", {"bounds": (2, 1)}),
        ("total", {"total": "x"}),
        ("total", {"total": 0}),
    ],
)
def test_calibration_names_what_is_wrong(words: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=words):
        em.calibrate(FRAME, {"age": 43}, **arguments)
    with pytest.raises(ParameterError, match="target"):
        em.calibrate(FRAME, {"age": "x"})


def test_bounds_from_zero_allow_weights_of_zero() -> None:
    found = em.calibrate(FRAME, {"sex": {"f": 0.0, "m": 1.0}}, bounds=(0, 5))
    assert found.status == "boundary"
    assert_allclose(found.weights, [0, 0, 0, 4])
    some = em.calibrate(FRAME, {"sex": {"m": 0.0, "f": 1.0}, "age": 42}, bounds=(0, 3))
    free = em.calibrate(FRAME, {"sex": {"m": 0.0, "f": 1.0}, "age": 42})
    assert_allclose(some.weights, free.weights, atol=1e-10)


def test_support_and_rows_must_have_as_many_columns() -> None:
    with pytest.raises(ParameterError, match="X has 2 columns"):
        em.MaximumEntropy(support="half-line").fit(np.ones((3, 2)))
