"""Data and arguments at the edge: the right answer, or an error of ours that says what to do."""

import warnings
from functools import partial

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from expmax import Exponential, Gaussian, GaussianMixture, Mixture, PointMass, Poisson
from expmax.errors import (
    DataError,
    DegenerateComponentError,
    ExpmaxError,
    ParameterError,
)

TYPES = ["full", "tied", "diag", "spherical"]


def clusters():
    rng = np.random.default_rng(1)
    return np.vstack([rng.normal((0, 0), 1, (70, 2)), rng.normal((6, 3), (1, 2), (50, 2))])


def makers():
    for kind in TYPES:
        yield pytest.param(
            partial(Mixture, Gaussian(kind), effort="quick", random_state=0), id=f"Mixture-{kind}"
        )
        yield pytest.param(
            partial(
                GaussianMixture, covariance_type=kind, reg_covar=0, effort="quick", random_state=0
            ),
            id=f"GaussianMixture-{kind}",
        )


every_gaussian = pytest.mark.parametrize("make", list(makers()))
either = pytest.mark.parametrize(
    "make",
    [
        partial(Mixture, Gaussian(), effort="quick", random_state=0),
        partial(GaussianMixture, effort="quick", random_state=0),
    ],
    ids=["Mixture", "GaussianMixture"],
)


# -- shift and scale -------------------------------------------------------------------------------
@every_gaussian
@pytest.mark.parametrize(
    ("scale", "shift"),
    [(1.0, 1e8), (1e100, 0.0), (1e-100, 0.0), (1e100, 1e106), (1e-100, -1e-94), (1.0, -1e8)],
)
def test_shifted_or_scaled_data_are_clustered_alike(make, scale, shift):
    X = clusters()
    plain = make(n_components=2).fit(X)
    moved = make(n_components=2).fit(X * scale + shift)
    assert_array_equal(moved.predict(X * scale + shift), plain.predict(X))
    assert moved.converged_
    jacobian = X.size * np.log(scale)
    rounding = 1e-3 if shift else 1e-6  # X + shift keeps eight digits of X
    assert_allclose(moved.log_likelihood_ + jacobian, plain.log_likelihood_, atol=rounding)


@pytest.mark.parametrize("recipe", ["kmeans", "k-means++", "random", "random_from_data"])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 1e8), (1e100, 0.0), (1e-100, 0.0)])
def test_single_starts_stand_shift_and_scale(recipe, scale, shift):
    X = clusters()
    arguments = {"n_init": 3, "init_params": recipe, "random_state": 0, "reg_covar": 0}
    plain = GaussianMixture(2, **arguments).fit(X)
    moved = GaussianMixture(2, **arguments).fit(X * scale + shift)
    assert_array_equal(moved.predict(X * scale + shift), plain.predict(X))


@every_gaussian
def test_columns_of_very_different_scale(make):
    X = clusters() * [1e50, 1e-50]
    model = make(n_components=2)
    if "spherical" in str(make.keywords) or "spherical" in str(make.args):
        assert model.fit(X).n_features_in_ == 2  # one variance for both columns: the larger rules
        return
    assert_array_equal(
        model.fit(X).predict(X), make(n_components=2).fit(clusters()).predict(clusters())
    )


# -- repeated rows, constant columns, few rows -----------------------------------------------------
@every_gaussian
def test_copies_are_weights(make):
    X = clusters()
    twice = make(n_components=2).fit(np.vstack([X, X]))
    weighted = make(n_components=2).fit(X, sample_weight=np.full(120, 2.0))
    assert_allclose(twice.log_likelihood_, weighted.log_likelihood_, rtol=1e-12)
    assert_allclose(twice.weights_, weighted.weights_, rtol=1e-9)


@every_gaussian
def test_more_components_than_distinct_rows_is_refused(make):
    X = np.repeat([[0.0, 1.0], [2.0, 5.0]], 10, axis=0)
    with pytest.raises(DegenerateComponentError, match=r"prior"):
        make(n_components=3).fit(X)


def test_more_components_than_distinct_counts_is_no_problem():
    X = np.repeat([[0.0], [7.0]], 10, axis=0)
    model = Mixture(Poisson(), 3, effort="quick", random_state=0).fit(X)
    assert_allclose(sorted(model.params_["rate"])[-1], 7.0, rtol=1e-3)


@either
def test_more_components_than_rows_is_refused(make):
    with pytest.raises(DataError, match=r"n_samples=3|n_samples = 3"):
        make(n_components=5).fit(np.arange(6.0).reshape(3, 2))


@every_gaussian
def test_all_rows_equal_is_refused_without_regularisation(make):
    with pytest.raises(DegenerateComponentError):
        make(n_components=1).fit(np.ones((20, 2)))


def test_all_rows_equal_with_reg_covar_is_one_spike():
    model = GaussianMixture(1).fit(np.ones((20, 2)))
    assert_allclose(model.means_, [[1, 1]])
    assert_allclose(model.covariances_, [np.eye(2) * 1e-6])


@pytest.mark.parametrize("kind", ["full", "tied", "diag"])
def test_a_constant_column_is_refused_without_regularisation(kind):
    X = np.column_stack([clusters(), np.full(120, 3.0)])
    with pytest.raises(DegenerateComponentError, match=r"constant column|variance of column 2"):
        Mixture(Gaussian(kind), 2, effort="quick", random_state=0).fit(X)
    assert GaussianMixture(2, covariance_type=kind, n_init=1, random_state=0).fit(X).converged_


def test_dependent_columns_are_refused_without_regularisation():
    X = clusters()
    X = np.column_stack([X, X.sum(axis=1)])
    with pytest.raises(DegenerateComponentError, match=r"subspace|direction"):
        Mixture(Gaussian(), 2, effort="quick", random_state=0).fit(X)
    assert GaussianMixture(2, n_init=1, random_state=0).fit(X).converged_


@every_gaussian
def test_a_single_row_is_refused(make):
    with pytest.raises(DataError, match=r"n_samples=1|1 sample"):
        make(n_components=1).fit([[1.0, 2.0]])


def test_a_single_row_is_enough_where_the_maximum_exists():
    assert Mixture(Poisson(), 1).fit([[3]]).params_["rate"][0] == pytest.approx(3.0)
    assert Mixture(Exponential(), 1).fit([[4.0]]).converged_


@either
@pytest.mark.parametrize("X", [np.empty((0, 2)), np.empty((3, 0)), [], [[]]])
def test_empty_data_are_refused(make, X):
    with pytest.raises(DataError):
        make().fit(X)


# -- values ----------------------------------------------------------------------------------------
@every_gaussian
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinity_is_named_by_column_and_row(make, value):
    X = clusters()
    X[5, 1] = value
    with pytest.raises(DataError, match=r"column 1.*infinity.*row 5"):
        make(n_components=2).fit(X)
    model = make(n_components=2).fit(clusters())
    with pytest.raises(DataError, match=r"column 1.*infinity.*row 5"):
        model.predict(X)


@pytest.mark.parametrize("kind", TYPES)
def test_missing_cells_are_skipped_or_refused(kind):
    X = clusters()
    X[5, 1] = np.nan
    for make in (partial(Mixture, Gaussian(kind)), partial(GaussianMixture, covariance_type=kind)):
        model = make(n_components=2, n_init=2, random_state=0)
        if kind in ("diag", "spherical"):
            assert model.fit(X).converged_
            assert np.isfinite(model.predict_proba(X)).all()
        else:
            with pytest.raises(DataError, match=r"column 1 holds NaN \(row 5\)"):
                model.fit(X)


def test_negative_counts_are_named():
    X = np.array([[1.0], [2.0], [-3.0], [4.0]])
    with pytest.raises(
        DataError, match=r"column 0 holds -3 \(row 2\), outside the support of Poisson"
    ):
        Mixture(Poisson(), 1).fit(X)
    model = Mixture(Poisson(), 1).fit(np.abs(X))
    with pytest.raises(DataError, match="outside the support"):
        model.score(X)


def test_fractions_are_no_counts():
    with pytest.raises(DataError, match=r"1\.5"):
        Mixture(Poisson(), 1).fit([[1.0], [1.5]])


@either
@pytest.mark.parametrize(
    "X",
    [
        [["a", "b"], ["c", "d"]],
        np.array([["1.0", "x"], ["2.0", "y"]]),
        np.array([[1.0, "x"], [2.0, "y"]], dtype=object),
        pd.DataFrame({"length": [1.0, 2.0], "kind": ["a", "b"]}),
        pl.DataFrame({"length": [1.0, 2.0], "kind": ["a", "b"]}),
    ],
    ids=["lists", "strings", "objects", "pandas", "polars"],
)
def test_text_columns_are_named(make, X):
    with pytest.raises(DataError, match=r"text|mixes"):
        make().fit(X)


@either
@pytest.mark.parametrize(
    ("X", "words"),
    [
        (np.ones(5), "1D array"),
        (np.ones((2, 2, 2)), "dim 3"),
        (3.0, "scalar"),
        (np.ones((4, 2), complex), "[Cc]omplex|dtype"),
        (np.array(["2020-01-01", "2020-01-02"], "M8[D]")[:, None], "dtype"),
        (sparse.eye_array(3).tocsr(), "sparse"),
        ([[1.0, 2.0], [3.0]], "same number of cells"),
        ([[1.0, {}], [2.0, {}]], "dict"),
        (None, "."),
        ("text", "."),
    ],
)
def test_what_is_no_table_of_numbers_is_refused(make, X, words):
    with pytest.raises(DataError, match=words):
        make().fit(X)


@either
@pytest.mark.parametrize(
    "dtype", [np.int8, np.uint64, np.int32, np.float16, np.float32, bool, object]
)
def test_every_numeric_dtype_is_read(make, dtype):
    X = (
        (np.abs(clusters()) > 2).astype(dtype)
        if dtype is bool
        else np.abs(clusters()).astype(dtype)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of components on tied values
        try:
            model = make(n_components=1).fit(X)
        except DegenerateComponentError:
            pytest.fail("one component has a maximum on these data")
    assert np.isfinite(model.score(X))


@either
def test_lists_are_read(make):
    X = clusters()
    assert make(n_components=2).fit(X.tolist()).score(X) == make(n_components=2).fit(X).score(X)


@either
def test_the_data_are_left_alone(make):
    X = clusters()
    copy = X.copy()
    X.flags.writeable = False
    make(n_components=2).fit(X).predict_proba(X)
    assert_array_equal(X, copy)


@either
def test_columns_in_any_memory_order(make):
    X = clusters()
    a = make(n_components=2).fit(X)
    b = make(n_components=2).fit(np.asfortranarray(X))
    c = make(n_components=2).fit(np.hstack([X, X])[:, ::2][:, [0, 0]][:, :2] * 0 + X)
    assert a.log_likelihood_ == b.log_likelihood_ == c.log_likelihood_


# -- weights ---------------------------------------------------------------------------------------
@every_gaussian
def test_weight_zero_is_an_absent_row_and_weight_k_is_k_copies(make):
    X = clusters()
    weight = np.random.default_rng(0).integers(0, 4, 120)
    weighted = make(n_components=2).fit(X, sample_weight=weight)
    copied = make(n_components=2).fit(np.repeat(X, weight, axis=0))
    assert_allclose(weighted.log_likelihood_, copied.log_likelihood_, rtol=1e-10)
    assert_allclose(weighted.weights_, copied.weights_, rtol=1e-8)
    assert_allclose(weighted.bic(), copied.bic(), rtol=1e-10)
    assert weighted.n_parameters_ == copied.n_parameters_


@either
def test_a_row_of_weight_zero_may_hold_anything_finite(make):
    X = clusters()
    weight = np.ones(121)
    weight[-1] = 0
    model = make(n_components=2).fit(np.vstack([X, [[1e9, -1e9]]]), sample_weight=weight)
    assert_allclose(model.log_likelihood_, make(n_components=2).fit(X).log_likelihood_, atol=1e-4)


@either
@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (np.ones(119), r"sample_weight must be of shape \(120,\); got \(119,\)"),
        (np.ones((120, 1)), r"sample_weight must be of shape \(120,\)"),
        (np.r_[-1.0, np.ones(119)], r"at least 0; got .*-1\.0 \(row 0\)"),
        (np.r_[np.nan, np.ones(119)], r"finite.*nan"),
        (np.r_[np.inf, np.ones(119)], r"finite.*inf"),
        (np.zeros(120), "positive somewhere"),
        (["a"] * 120, "sample_weight must be numbers"),
        ("heavy", "sample_weight must be"),
    ],
)
def test_bad_weights_are_refused(make, weight, words):
    with pytest.raises(ParameterError, match=words):
        make(n_components=2).fit(clusters(), sample_weight=weight)


@either
def test_tiny_and_huge_weights_do_not_matter(make):
    X = clusters()
    plain = make(n_components=2).fit(X)
    for size in (1e-6, 1e6):
        scaled = make(n_components=2, tol=1e-4 * min(size, 1)).fit(
            X, sample_weight=np.full(120, size)
        )
        assert_array_equal(scaled.predict(X), plain.predict(X))


# -- labels ----------------------------------------------------------------------------------------
@either
def test_labels_say_which_component_is_which(make):
    X = clusters()
    for first, second in ((0, 1), (1, 0)):
        labels = np.full(120, -1)
        labels[:3], labels[-3:] = first, second
        model = make(n_components=2).fit(X, labels=labels)
        assert_array_equal(model.predict(X[[0, -1]]), [first, second])
    free = make(n_components=2).fit(X)
    unknown = make(n_components=2).fit(X, labels=np.full(120, -1))
    assert_array_equal(unknown.predict(X), free.predict(X))


@either
@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.full(120, 2), "from 0 to 1"),
        (np.full(120, -2), "-1"),
        (np.full(120, 0.5), "component"),
        (np.full(120, np.nan), "component"),
        (np.zeros(10, int), r"shape \(120,\)"),
        (["a"] * 120, "labels must be"),
    ],
)
def test_bad_labels_are_refused(make, labels, words):
    with pytest.raises(ParameterError, match=words):
        make(n_components=2).fit(clusters(), labels=labels)


# -- fixed and prior -------------------------------------------------------------------------------
@either
@pytest.mark.parametrize(
    "fixed",
    [
        {"weights": [0.5, 0.6]},
        {"weights": [1.0]},
        {"weights": "even"},
        {"weights": [1.5, -0.5]},
        {7: {"mean": [0, 0]}},
        {0: {"rate": 1.0}},
        {0: {"mean": [0, 0]}},
        {"means": 1},
        [0.5, 0.5],
        "weights",
        {0: {"mean": [0, 0, 0], "covariance": np.eye(2)}},
    ],
    ids=str,
)
def test_bad_fixed_is_refused(make, fixed):
    with pytest.raises(ParameterError):
        make(n_components=2, fixed=fixed).fit(clusters())


@either
def test_fixed_holds(make):
    X = clusters()
    held = {"mean": np.zeros(2), "covariance": np.eye(2)}
    model = make(n_components=2, fixed={0: held}).fit(X)
    assert_allclose(model.params_["mean"][0], 0.0)
    assert_allclose(model.params_["covariance"][0], np.eye(2))
    model = make(n_components=2, fixed={"weights": [0.3, 0.7]}).fit(X)
    assert_allclose(model.weights_, [0.3, 0.7])


@either
@pytest.mark.parametrize("prior", [-1.0, "flat", True, np.nan, [1.0]])
def test_bad_prior_is_refused(make, prior):
    with pytest.raises(ParameterError, match="prior"):
        make(n_components=2, prior=prior).fit(clusters())


def test_a_prior_gives_a_maximum_where_there_is_none():
    X = np.vstack([clusters(), np.full((6, 2), 20.0)])
    model = Mixture(Gaussian(), 3, prior=2.0, effort="quick", random_state=0).fit(X)
    assert model.converged_


# -- arguments -------------------------------------------------------------------------------------
SHARED = [
    ("n_components", 0), ("n_components", -1), ("n_components", 1.5), ("n_components", "two"),
    ("n_components", True), ("n_components", None), ("tol", -1e-3), ("tol", "small"),
    ("tol", np.nan), ("tol", np.inf), ("max_iter", -1), ("max_iter", 2.5), ("max_iter", None),
    ("n_init", 0), ("n_init", "many"), ("n_init", 1.5), ("n_init", None), ("effort", "huge"),
    ("effort", 3), ("accelerate", "warp"), ("n_jobs", 0), ("n_jobs", 1.5), ("random_state", "seed"),
]  # fmt: skip
OWN = [
    ("covariance_type", "round"), ("covariance_type", None), ("reg_covar", -1e-6),
    ("reg_covar", np.inf), ("reg_covar", "none"), ("init_params", "guess"), ("init_params", None),
    ("warm_start", "yes"), ("verbose", -1), ("verbose_interval", 0), ("verbose", "loud"),
    ("means_init", [[np.nan, 0], [0, 1]]), ("means_init", [[0.0]]), ("weights_init", [0.5, 0.4]),
    ("weights_init", "even"), ("precisions_init", np.zeros((2, 2, 2))),
]  # fmt: skip


@either
@pytest.mark.parametrize(("name", "value"), SHARED)
def test_bad_arguments_are_named(make, name, value):
    with pytest.raises(ParameterError, match=name):
        make(**{"n_components": 2, name: value}).fit(clusters())


@pytest.mark.parametrize(("name", "value"), OWN)
def test_bad_arguments_of_the_drop_in_are_named(name, value):
    words = name.removesuffix("_init").removesuffix("s")
    with pytest.raises(ParameterError, match=words):
        GaussianMixture(**{"n_components": 2, name: value}).fit(clusters())


@pytest.mark.parametrize(
    "family", ["gaussian", Gaussian, 3, [], [Gaussian(), "noise"], [Gaussian()] * 3]
)
def test_bad_families_are_named(family):
    with pytest.raises(ParameterError, match="famil"):
        Mixture(family, 2).fit(clusters())


@pytest.mark.parametrize("init", ["kmeans", 3, {"rate": 1.0}, np.zeros(5, int), np.full(120, 9)])
def test_bad_init_is_named(init):
    with pytest.raises(ParameterError, match=r"init|parameters"):
        Mixture(Gaussian(), 2, init=init).fit(clusters())


@either
@pytest.mark.parametrize("n_samples", [0, -1, 1.5, "many", None])
def test_bad_sample_sizes_are_named(make, n_samples):
    model = make(n_components=1).fit(clusters())
    with pytest.raises(ParameterError, match="n_samples"):
        model.sample(n_samples)


@either
def test_a_model_that_was_not_fitted_says_so(make):
    for method in ("predict", "predict_proba", "score", "score_samples", "transform"):
        with pytest.raises(ValueError, match="not fitted"):
            getattr(make(), method)(clusters())
    for method in ("sample", "aic", "bic", "icl"):
        with pytest.raises(ValueError, match="not fitted"):
            getattr(make(), method)()


def test_impossible_rows_are_named_and_score_minus_infinity():
    model = Mixture([PointMass(0), PointMass(1)]).fit([[0.0], [1.0], [1.0]])
    assert_array_equal(model.score_samples([[0.5]]), -np.inf)
    with pytest.raises(DataError, match="row 0 has probability zero"):
        model.predict([[0.5]])
    with pytest.raises(ExpmaxError):
        Mixture([PointMass(0), PointMass(1)]).fit([[0.0], [0.5]])
