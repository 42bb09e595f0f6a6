"""The scikit-learn interface: its own checks, pipelines, searches, copies, frames, metadata routing."""

import io
import pickle
from functools import partial

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from expmax import Gaussian, GaussianMixture, Mixture

TYPES = ["full", "tied", "diag", "spherical"]

# The published list. A check stands here only where its data have no maximum: the weighted rows of one
# check are fewer than its columns, which makes every joint covariance singular, and in the others the
# rows take so few distinct values that some component of two must collapse. One component with
# independent columns has a maximum on all of them, and reg_covar or a prior gives one to every model.
SINGULAR = {"check_sample_weight_equivalence_on_dense_data": "fewer distinct rows than columns"}
TIED_VALUES = SINGULAR | {
    "check_sample_weights_shape": "four distinct rows for two covariance matrices",
    "check_sample_weights_not_overwritten": "four distinct rows for two covariance matrices",
}
EXPECTED_FAILED_CHECKS = {
    ("Mixture", "full", 1): SINGULAR,
    ("Mixture", "tied", 1): SINGULAR,
    ("Mixture", "full", 2): TIED_VALUES,
}
ESTIMATORS = [
    *(Mixture(Gaussian(kind)) for kind in TYPES),
    *(Mixture(Gaussian(kind), 2, prior=1.0, n_init=2) for kind in ("diag", "spherical")),
    Mixture(Gaussian(), 2, n_init=10),
    *(GaussianMixture(2, covariance_type=kind, n_init=1) for kind in TYPES),
    GaussianMixture(),
]


def expected_failures(estimator):
    family = getattr(estimator, "family", None)
    kind = family.covariance if family is not None else estimator.covariance_type
    return EXPECTED_FAILED_CHECKS.get((type(estimator).__name__, kind, estimator.n_components), {})


@pytest.mark.filterwarnings("ignore::UserWarning")  # of fits that do not converge on odd data
@pytest.mark.filterwarnings("ignore:Can't check dok sparse matrix:UserWarning")
@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failures)
def test_check_estimator(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return np.vstack([rng.normal(0, 1, (60, 2)), rng.normal((5, 1), (1, 2), (40, 2))])


MAKERS = {
    "Mixture": partial(Mixture, Gaussian("diag"), 2, effort="quick", random_state=0),
    "GaussianMixture": partial(GaussianMixture, 2, effort="quick", random_state=0),
}


@pytest.fixture(params=MAKERS)
def make(request):
    return MAKERS[request.param]


def test_clone_keeps_parameters_and_forgets_the_fit(make, data):
    model = make().fit(data)
    copy = clone(model)
    assert copy.get_params().keys() == model.get_params().keys()
    assert not hasattr(copy, "weights_")
    assert_allclose(copy.fit(data).score(data), model.score(data), rtol=1e-12)


@pytest.mark.parametrize("through", ["pickle", "joblib"])
def test_a_stored_model_predicts_the_same_bits(make, data, through):
    model = make().fit(data)
    if through == "pickle":
        again = pickle.loads(pickle.dumps(model))
    else:
        buffer = io.BytesIO()
        joblib.dump(model, buffer)
        buffer.seek(0)
        again = joblib.load(buffer)
    assert_array_equal(again.predict_proba(data), model.predict_proba(data))
    assert again.bic() == model.bic()


def test_in_a_pipeline_as_last_step_and_as_transformer(make, data):
    last = make_pipeline(StandardScaler(), make()).fit(data)
    assert_array_equal(last.predict(data)[:60] == last.predict(data)[0], True)
    scaled = make_pipeline(make(), StandardScaler()).fit(data)
    assert scaled.transform(data).shape == (100, 2)


def test_grid_search_finds_the_number_of_components(make, data):
    search = GridSearchCV(make(), {"n_components": [1, 2]}, cv=3).fit(data)
    assert search.best_params_ == {"n_components": 2}
    assert cross_val_score(make(), data, cv=3).shape == (3,)


def test_grid_search_over_nested_family_is_a_plain_parameter(data):
    grid = {"family": [Gaussian("spherical"), Gaussian("full")]}
    search = GridSearchCV(Mixture(n_components=2, n_init=2, random_state=0), grid, cv=2).fit(data)
    assert search.best_params_["family"] in grid["family"]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_set_output_gives_frames_with_names(make, data, library):
    model = make().set_output(transform=library)
    out = model.fit(data).transform(data)
    names = [f"{type(model).__name__.lower()}{k}" for k in range(2)]
    assert isinstance(out, pd.DataFrame if library == "pandas" else pl.DataFrame)
    assert list(out.columns) == names
    assert list(model.get_feature_names_out()) == names
    assert_allclose(out.to_numpy(), model.predict_proba(data))


@pytest.mark.parametrize(
    "frame",
    [
        lambda x: pd.DataFrame(x, columns=["width", "height"]),
        lambda x: pl.DataFrame(x, schema=["width", "height"]),
        lambda x: pa.table({"width": x[:, 0], "height": x[:, 1]}),
    ],
    ids=["pandas", "polars", "pyarrow"],
)
def test_frames_give_the_fit_of_the_array_and_their_names(make, data, frame):
    plain, named = make().fit(data), make().fit(frame(data))
    assert_array_equal(named.weights_, plain.weights_)
    assert list(named.feature_names_in_) == ["width", "height"]
    assert named.n_features_in_ == 2
    assert_array_equal(named.predict(frame(data)), plain.predict(data))


def test_other_names_are_refused(make, data):
    model = make().fit(pd.DataFrame(data, columns=["width", "height"]))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(pd.DataFrame(data, columns=["width", "depth"]))
    with pytest.raises(ValueError, match="3 features"):
        make().fit(data).predict(np.ones((4, 3)))


def test_weights_and_labels_are_routed_by_a_search(make, data):
    weight = np.ones(100)
    labels = np.full(100, -1)
    labels[:5], labels[-5:] = 0, 1
    with sklearn.config_context(enable_metadata_routing=True):
        model = make().set_fit_request(sample_weight=True, labels=True)
        search = GridSearchCV(model, {"n_components": [2]}, cv=2)
        search.fit(data, sample_weight=weight, labels=labels)
        assert search.best_estimator_.n_components == 2
        pipe = make_pipeline(StandardScaler().set_fit_request(sample_weight=True), model)
        pipe.fit(data, sample_weight=weight, labels=labels)
        # the labels say which component is which
        assert pipe.predict(data)[0] == 0


def test_y_is_ignored(make, data):
    y = np.arange(100)
    assert_array_equal(make().fit(data, y).weights_, make().fit(data).weights_)


def test_same_seed_same_bits_and_a_fit_forgets_the_last_one(make, data):
    model = make().fit(data[:50]).fit(data)
    assert_array_equal(model.weights_, make().fit(data).weights_)


def test_fit_predict_and_fit_transform_agree_with_fit(make, data):
    model = make().fit(data)
    assert_array_equal(make().fit_predict(data), model.predict(data))
    assert_array_equal(make().fit_transform(data), model.transform(data))


def test_criteria_of_the_training_data_need_no_data(make, data):
    model = make().fit(data)
    for name in ("aic", "bic", "icl"):
        criterion = getattr(model, name)
        assert_allclose(criterion(), criterion(data), rtol=1e-10)


def test_scores_are_mean_log_likelihoods(make, data):
    model = make().fit(data)
    assert_allclose(model.score(data) * len(data), model.log_likelihood_, rtol=1e-10)
    assert_allclose(model.score_samples(data).mean(), model.score(data), rtol=1e-12)
