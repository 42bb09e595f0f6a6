"""Model files: what is loaded answers as what was saved, bit for bit; bad files are refused."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone

import expmax
from expmax import (
    Bernoulli,
    Categorical,
    ConjugatePrior,
    Gaussian,
    GaussianMixture,
    Mixture,
    PointMass,
    Poisson,
    Product,
    StudentT,
    Uniform,
)
from expmax.encoding import decode, encode
from expmax.errors import ConvergenceWarning, DataError, MissingFileError, ParameterError
from expmax.families.poisson import Poisson as PoissonFamily
from expmax.families.registry import family_names, find_family
from tests.cases import CASES

RNG = np.random.default_rng(0)
TWO = np.vstack([RNG.normal(0, 1, (60, 2)), RNG.normal(5, 2, (40, 2))])
COUNTS = np.concatenate([RNG.poisson(1, 80), RNG.poisson(9, 50), np.zeros(30)])[:, None]
ANSWERS = (RNG.random((90, 3)) < np.array([0.2, 0.5, 0.8])).astype(float)
FRAME = pd.DataFrame(
    {
        "age": np.where(RNG.random(100) < 0.1, np.nan, RNG.normal(40, 9, 100)),
        "visits": RNG.poisson(3, 100),
        "sex": RNG.choice(["f", "m"], 100),
        "height": RNG.normal(170, 8, 100),
    }
)
MIXED = Product(
    columns={("age", "height"): Gaussian("diag"), "visits": Poisson(), "sex": Categorical()}
)

ESTIMATORS: dict[str, tuple[Any, Any]] = {
    **{
        f"Gaussian {name}": (Mixture(Gaussian(name), 2), TWO)
        for name in ("full", "tied", "diag", "spherical", "VEV", "EEV", "VVE")
    },
    **{
        f"GaussianMixture {name}": (GaussianMixture(2, covariance_type=name), TWO)
        for name in ("full", "tied", "diag", "spherical")
    },
    "GaussianMixture float32": (GaussianMixture(2), TWO.astype(np.float32)),
    "StudentT": (Mixture(StudentT(dof=5.0), 2), TWO),
    "one component": (Mixture(), TWO),
    "Poisson": (Mixture(Poisson(), 3), COUNTS),
    "zero-inflated": (Mixture([PointMass(0.0), Poisson()]), COUNTS),
    "noise": (Mixture([Gaussian(), Gaussian(), Uniform()]), TWO),
    "Bernoulli": (Mixture(Bernoulli(), 2), ANSWERS),
    "mixed columns": (Mixture(MIXED, 2), FRAME),
    "scalar family on two columns": (Mixture(expmax.Exponential(), 2), np.abs(TWO)),
    "prior": (Mixture(Gaussian(), 2, prior=ConjugatePrior(2.0, concentration=2.0)), TWO),
    "prior with parameters": (
        Mixture(Poisson(), 2, prior=ConjugatePrior(1.0, {"rate": np.array(4.0)})),
        COUNTS,
    ),
    "fixed": (Mixture(Poisson(), 2, fixed={"weights": [0.5, 0.5], 0: {"rate": 1.0}}), COUNTS),
    "given start": (Mixture(Poisson(), 2, init={"rate": np.array([1.0, 9.0])}), COUNTS),
}


@cache
def fitted(name: str) -> tuple[Any, Any]:
    estimator, X = ESTIMATORS[name]
    if "effort" in estimator.get_params():
        estimator = clone(estimator).set_params(effort="quick", random_state=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(X), X


@pytest.mark.parametrize("name", ESTIMATORS)
def test_what_is_loaded_answers_as_what_was_saved(name: str, tmp_path: Path) -> None:
    estimator, X = fitted(name)
    estimator.save(tmp_path / "model.json")
    loaded = expmax.load(tmp_path / "model.json")
    assert type(loaded) is type(estimator)
    assert_array_equal(loaded.predict_proba(X), estimator.predict_proba(X))
    assert_array_equal(loaded.predict(X), estimator.predict(X))
    assert_array_equal(loaded.score_samples(X), estimator.score_samples(X))
    assert_array_equal(loaded.sample(30)[0], estimator.sample(30)[0])
    for criterion in ("aic", "bic", "icl"):
        assert getattr(loaded, criterion)() == getattr(estimator, criterion)()
        assert getattr(loaded, criterion)(X) == getattr(estimator, criterion)(X)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_attribute_comes_back(name: str, tmp_path: Path) -> None:
    estimator, _ = fitted(name)
    estimator.save(tmp_path / "model.json")
    loaded = expmax.load(tmp_path / "model.json")
    assert vars(loaded).keys() == vars(estimator).keys()
    assert repr(loaded) == repr(estimator)
    for attribute, value in estimator.__getstate__().items():
        assert encode(getattr(loaded, attribute)) == encode(value), attribute
    assert loaded.history_.step == estimator.history_.step
    assert str(loaded.summary()) == str(estimator.summary())


@pytest.mark.parametrize("name", ["Gaussian full", "mixed columns", "Bernoulli"])
def test_saving_what_was_loaded_gives_the_same_file(name: str, tmp_path: Path) -> None:
    estimator, _ = fitted(name)
    estimator.save(tmp_path / "a.json")
    expmax.load(tmp_path / "a.json").save(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_text() == (tmp_path / "b.json").read_text()


def test_the_file_is_strict_json_with_its_format_and_version(tmp_path: Path) -> None:
    fitted("Bernoulli")[0].save(tmp_path / "model.json")

    def refuse(word: str) -> None:
        raise AssertionError(word)

    document = json.loads((tmp_path / "model.json").read_text(), parse_constant=refuse)
    assert document["format"] == "expmax-model"
    assert document["version"] == 1
    assert document["estimator"] == "Mixture"


def test_names_and_categories_are_kept(tmp_path: Path) -> None:
    estimator, X = fitted("mixed columns")
    estimator.save(tmp_path / "model.json")
    loaded = expmax.load(tmp_path / "model.json")
    assert list(loaded.feature_names_in_) == list(X.columns)
    assert loaded._encoder.categories == {2: ["f", "m"]}


def test_a_random_state_goes_on_where_it_was(tmp_path: Path) -> None:
    state = np.random.RandomState(5)
    estimator = Mixture(Poisson(), 1, random_state=state).fit(COUNTS)
    estimator.save(tmp_path / "model.json")
    loaded = expmax.load(tmp_path / "model.json")
    assert_array_equal(loaded.sample(9)[0], estimator.sample(9)[0])


def test_a_model_put_together_by_hand_is_saved(tmp_path: Path) -> None:
    estimator = GaussianMixture(2)
    estimator.weights_ = np.array([0.5, 0.5])
    estimator.means_ = np.array([[0.0], [4.0]])
    estimator.covariances_ = np.ones((2, 1, 1))
    estimator.precisions_cholesky_ = np.ones((2, 1, 1))
    estimator.n_features_in_ = 1
    estimator.save(tmp_path / "model.json")
    x = np.array([[1.0], [3.0]])
    assert_array_equal(expmax.load(tmp_path / "model.json").predict(x), [0, 1])


def test_saving_replaces_a_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("old")
    fitted("Poisson")[0].save(tmp_path / "model.json")
    assert [path.name for path in tmp_path.iterdir()] == ["model.json"]


# ---------------------------------------------------------------------------------------- families


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_family_and_its_parameters_come_back_to_the_bit(case: Any) -> None:
    text = json.dumps(encode((case.family, case.parameters)), allow_nan=False)
    family, parameters = decode(json.loads(text))
    assert family == case.family
    assert_array_equal(
        family.log_density(parameters, case.x), case.family.log_density(case.parameters, case.x)
    )


def test_products_come_back_bound_and_unbound() -> None:
    unbound = Product(age=Gaussian("diag"), sex=Categorical())
    assert decode(encode(unbound)) == unbound
    bound = Product(Poisson(), Poisson()).bind(COUNTS.repeat(2, axis=1))
    back = decode(json.loads(json.dumps(encode(bound))))
    assert back == bound
    assert len(back.slices) == 2


def test_the_registry_knows_every_public_family() -> None:
    public = [name for name in expmax.__all__ if name in family_names()]
    assert {"Gaussian", "Poisson", "Product", "Weibull"} <= set(public)
    assert find_family("negative-binomial") is expmax.NegativeBinomial
    assert find_family("POISSON") is PoissonFamily
    assert find_family("no such") is None


# ------------------------------------------------------------------------------------------ values


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        -0.0,
        float("inf"),
        "nan",
        [1.0, float("nan"), float("-inf")],
        ["inf", "nan"],
        [],
        (),
        (1, ("a", None)),
        {1: "a", (2, "b"): 3.0},
        {"array": "a key that marks something else"},
        np.array([[1.5, -np.inf], [np.nan, -0.0]]),
        np.array([0.1], np.float32),
        np.empty((0, 3)),
        np.empty((2, 0)),
        np.array(1.0),
        np.array([True, False]),
        np.arange(4),
        np.array(["a", "b"]),
        np.array(["long", "er"], dtype=object),
        np.arange(24.0).reshape(2, 3, 4).transpose(0, 2, 1),
        np.dtype("float32"),
    ],
    ids=repr,
)
def test_values_survive_json(value: Any) -> None:
    back = decode(json.loads(json.dumps(encode(value), allow_nan=False)))
    assert type(back) is type(value)
    if isinstance(value, np.ndarray):
        assert back.dtype == value.dtype
        assert back.shape == value.shape
        if value.dtype.kind == "f":
            assert_array_equal(np.signbit(back), np.signbit(value))
    if isinstance(value, np.ndarray | list):
        assert_array_equal(back, value)
    else:
        assert repr(back) == repr(value)


def test_the_layout_of_an_array_in_memory_comes_back() -> None:
    array = np.arange(24.0).reshape(2, 3, 4).swapaxes(1, 2).copy("K")
    assert decode(encode(array)).strides == array.strides


@dataclass(frozen=True)
class Stranger:
    value: int = 0


def test_what_json_cannot_hold_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="Stranger has no place"):
        encode(Stranger())
    estimator = Mixture(Poisson(), 1).fit(COUNTS)
    estimator.random_state = np.random.default_rng(0)
    with pytest.raises(ParameterError, match=r"parameter of Mixture 'random_state'"):
        estimator.save(tmp_path / "model.json")
    assert not list(tmp_path.iterdir())


def test_other_estimators_are_refused(tmp_path: Path) -> None:
    class Mine(Mixture):
        pass

    with pytest.raises(ParameterError, match="estimator must be one of"):
        Mine(Poisson(), 1).fit(COUNTS).save(tmp_path / "model.json")


# --------------------------------------------------------------------------------------- bad files


def document(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "good.json"
    if not path.exists():
        fitted("Poisson")[0].save(path)
    result: dict[str, Any] = json.loads(path.read_text())
    return result


def refused(tmp_path: Path, content: Any, match: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataError, match=match):
        expmax.load(path)


def test_a_missing_file_and_a_directory(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="check the path"):
        expmax.load(tmp_path / "none.json")
    with pytest.raises(DataError, match="is a directory"):
        expmax.load(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "a,b\n1,2\n", "[" * 100_000])
def test_a_file_that_is_not_json(text: str, tmp_path: Path) -> None:
    refused(tmp_path, text, "not a model file")


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_bytes(b"\x80\xff\x00")
    with pytest.raises(DataError, match="not a model file"):
        expmax.load(tmp_path / "bad.json")


@pytest.mark.parametrize("content", [[], 3, {}, {"format": "other"}])
def test_json_that_is_no_model(content: Any, tmp_path: Path) -> None:
    refused(tmp_path, content, "not a model file")


def test_a_newer_version(tmp_path: Path) -> None:
    refused(tmp_path, document(tmp_path) | {"version": 2}, "upgrade expmax")
    refused(tmp_path, document(tmp_path) | {"version": None}, "upgrade expmax")


@pytest.mark.parametrize("key", ["estimator", "constructor", "model", "parameters", "fitted"])
def test_a_damaged_file(key: str, tmp_path: Path) -> None:
    whole = document(tmp_path)
    refused(tmp_path, {k: v for k, v in whole.items() if k != key}, "damaged model file")
    refused(tmp_path, whole | {key: "?"}, "damaged model file")
    refused(tmp_path, whole | {key: {"class": "Nothing", "fields": {}}}, "damaged model file")


def test_no_class_from_elsewhere_is_built(tmp_path: Path) -> None:
    whole = document(tmp_path)
    whole["constructor"]["prior"] = {"class": "Popen", "fields": {"args": "true"}}
    refused(tmp_path, whole, "unknown class 'Popen'")
