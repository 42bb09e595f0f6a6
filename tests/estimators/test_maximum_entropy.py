"""The estimator of maximum entropy, and calibration of tables."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import brentq, minimize
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator

import expmax as em
from expmax.errors import DataError, InfeasibleMomentsError, ParameterError
from expmax.estimators.maximum_entropy import Total
from expmax.maxent import Interval

RNG = np.random.default_rng(11)


def survey(n=4000):
    rng = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "sex": rng.choice(["f", "m"], n, p=[0.6, 0.4]),
            "region": rng.choice(["north", "east", "south"], n, p=[0.5, 0.3, 0.2]),
            "age": rng.gamma(9.0, 5.0, n),
            "income": rng.lognormal(3.0, 0.6, n),
        }
    )


TARGETS = {
    "sex": {"f": 0.51, "m": 0.49},
    "region": {"north": 0.4, "east": 0.3, "south": 0.3},
    "age": 47.0,
    "income": 25.0,
}


# -- the estimator ---------------------------------------------------------------------------------
def test_rows_reweighted():
    x = RNG.normal(size=(300, 2))
    model = em.MaximumEntropy(moments=[0.2, -0.1]).fit(x)
    assert model.status_ == "solved"
    assert_allclose(model.result_.probabilities @ x, [0.2, -0.1], atol=1e-12)
    assert_allclose(np.exp(model.score_samples(x)), model.result_.probabilities, rtol=1e-12)
    assert model.score_samples(np.array([[9.0, 9.0]]))[0] == -np.inf


def test_weight_of_two_is_a_copy():
    x = RNG.exponential(size=(40, 1))
    weight = RNG.integers(1, 4, 40)
    options = {"features": [lambda x: x, np.log], "support": "half-line"}
    one = em.MaximumEntropy(**options).fit(x, sample_weight=weight)
    other = em.MaximumEntropy(**options).fit(np.repeat(x, weight, axis=0))
    assert_allclose(one.natural_, other.natural_, rtol=1e-8)
    assert_allclose(one.log_likelihood_, other.log_likelihood_, rtol=1e-10)
    assert_allclose(one.bic(), other.bic(), rtol=1e-10)


def test_density_fit_is_maximum_likelihood():
    x = RNG.gamma(2.0, 3.0, (500, 1))
    model = em.MaximumEntropy([lambda x: x, np.log], support="half-line").fit(x)
    reference = em.Mixture(em.Gamma(), 1).fit(x)
    assert_allclose(model.log_likelihood_, reference.log_likelihood_, rtol=1e-9)
    assert model.n_parameters_ == 2
    assert_allclose(model.aic(), -2 * model.log_likelihood_ + 4)
    assert_allclose(model.score(x) * 500, model.log_likelihood_, rtol=1e-12)
    assert model.sample(5).shape == (5, 1)


def test_named_columns_of_a_frame():
    frame = pd.DataFrame({"a": [1.0, 2.0, 4.0], "b": [0.0, 1.0, 0.0]})
    model = em.MaximumEntropy(["b", "a"], {"a": 2.5, "b": 0.3}).fit(frame)
    assert model.result_.names == ("b", "a")
    assert_allclose(model.result_.mean, [0.3, 2.5], atol=1e-12)
    assert list(model.feature_names_in_) == ["a", "b"]
    assert "0.3" in str(model.summary())


def test_clone_and_repeat():
    model = em.MaximumEntropy(moments=[0.1], random_state=3)
    x = RNG.normal(size=(50, 1))
    copy = clone(model).fit(x)
    assert np.array_equal(copy.sample(4), clone(model).fit(x).sample(4))


def test_threads_change_no_bit():
    x = RNG.normal(size=(60_000, 8))
    moments = x.mean(axis=0) + 0.05
    one = em.MaximumEntropy(moments=moments).fit(x)
    two = em.MaximumEntropy(moments=moments, n_jobs=2).fit(x)
    assert np.array_equal(one.natural_, two.natural_)


def test_scikit_learn_accepts_it():
    check_estimator(em.MaximumEntropy(), on_skip=None)


# -- calibration -----------------------------------------------------------------------------------
@pytest.mark.parametrize("convert", [lambda f: f, pl.from_pandas, pa.Table.from_pandas])
def test_targets_are_met(convert):
    frame = survey()
    found = em.calibrate(convert(frame), TARGETS)
    assert found.status == "solved"
    assert np.abs(found.residuals).max() < 1e-10
    w = found.weights
    assert_allclose(w.sum(), len(frame))
    assert_allclose(w[frame["sex"] == "f"].sum() / w.sum(), 0.51, rtol=1e-12)
    assert_allclose(w @ frame["age"] / w.sum(), 47.0, rtol=1e-12)
    assert_allclose(found.effective_size, w.sum() ** 2 / (w**2).sum())
    assert found.largest == (w.argmax(), w.max())
    assert (w > 0).all()


def test_weights_are_log_linear():
    frame = survey()
    base = np.random.default_rng(0).uniform(0.5, 2.0, len(frame))
    found = em.calibrate(frame, TARGETS, base_weights=base)
    design = np.column_stack(
        [
            np.ones(len(frame)),
            frame["sex"] == "f",
            frame["region"] == "north",
            frame["region"] == "east",
            frame["age"],
            frame["income"],
        ]
    ).astype(float)
    fit, *_ = np.linalg.lstsq(design, np.log(found.ratios))
    assert_allclose(design @ fit, np.log(found.ratios), atol=1e-9)
    assert_allclose(fit[4:], found.natural[-2:], rtol=1e-8)


def test_raking_by_hand():
    """Two margins: weights from iterative proportional fitting of the cells."""
    frame = survey()
    cells = frame.groupby(["sex", "region"]).size().unstack()
    share = cells.to_numpy(float) / len(frame)
    p = share.copy()
    rows = np.array([TARGETS["sex"][s] for s in cells.index])
    columns = np.array([TARGETS["region"][r] for r in cells.columns])
    for _ in range(200):
        p *= (rows / p.sum(axis=1))[:, None]
        p *= columns / p.sum(axis=0)
    found = em.calibrate(frame, {"sex": TARGETS["sex"], "region": TARGETS["region"]})
    ratio = pd.DataFrame(p / share, index=cells.index, columns=cells.columns)
    expected = [ratio.loc[s, r] for s, r in zip(frame["sex"], frame["region"], strict=True)]
    assert_allclose(found.weights, expected, rtol=1e-10)


def test_totals_and_population():
    frame = survey()
    found = em.calibrate(frame, {"sex": Total({"f": 5.1e6, "m": 4.9e6}), "age": 47.0})
    assert_allclose(found.total, 1e7)
    assert_allclose(found.achieved[:2], [5.1e6, 4.9e6], rtol=1e-12)
    other = em.calibrate(frame, {"income": Total(2.5e8)}, total=1e7)
    assert_allclose(other.weights @ frame["income"], 2.5e8, rtol=1e-12)
    crossed = em.calibrate(frame, {("sex", "region"): {("f", "north"): 0.3}})
    chosen = (frame["sex"] == "f") & (frame["region"] == "north")
    assert_allclose(crossed.weights[chosen].sum() / crossed.total, 0.3, rtol=1e-12)


def test_totals_that_disagree_are_named():
    frame = survey()
    with pytest.raises(InfeasibleMomentsError, match="'sex' and 'region' disagree") as caught:
        em.calibrate(
            frame,
            {
                "sex": Total({"f": 51.0, "m": 49.0}),
                "region": Total({"north": 40.0, "east": 30.0, "south": 31.0}),
            },
        )
    assert caught.value.conflicts == ["sex", "region"]
    with pytest.raises(InfeasibleMomentsError, match=r"'sex' sum to 1.01"):
        em.calibrate(frame, {"sex": {"f": 0.52, "m": 0.49}})


@pytest.mark.parametrize("bounds", [(0.5, 2.0), (0.0, 1.5), (0.3, 10.0)])
def test_bounds_hold(bounds):
    frame = survey()
    found = em.calibrate(frame, TARGETS, bounds=bounds)
    assert found.status == "solved"
    assert np.abs(found.residuals).max() < 1e-10
    assert found.ratios.min() >= bounds[0] - 1e-12
    assert found.ratios.max() <= bounds[1] + 1e-12
    free = em.calibrate(frame, TARGETS)
    if bounds == (0.3, 10.0):  # nothing binds: the same weights
        assert free.ratios.min() > 0.3
        assert_allclose(found.weights, free.weights, rtol=1e-9)


def test_bounded_weights_against_scipy():
    rng = np.random.default_rng(6)
    x = rng.normal(size=(12, 1))
    found = em.calibrate(x, {0: x.mean() + 0.3}, bounds=(0.5, 1.6))
    rows = np.vstack([x.T, np.ones(12)])
    right = np.array([12 * (x.mean() + 0.3), 12.0])
    primal = minimize(
        lambda w: (w * np.log(w)).sum(),
        np.ones(12),
        bounds=[(0.5, 1.6)] * 12,
        constraints={"type": "eq", "fun": lambda w: rows @ w - right},
        method="SLSQP",
        options={"ftol": 1e-13, "maxiter": 1000},
    )
    assert primal.success
    assert_allclose(found.weights, primal.x, atol=1e-6)
    assert (found.weights == 0.5).any()


def test_impossible_bounds_are_proved():
    frame = survey(500)
    with pytest.raises(InfeasibleMomentsError, match="within the bounds") as caught:
        em.calibrate(frame, {"age": 60.0}, bounds=(0.9, 1.1))
    assert caught.value.conflicts == ["age"]
    age = np.sort(frame["age"].to_numpy())[::-1]
    most = max(
        (np.where(np.arange(500) < k, 1.1, 0.9) @ age)
        / np.where(np.arange(500) < k, 1.1, 0.9).sum()
        for k in range(501)
    )
    assert most < 60.0  # the best that any weights within the bounds can do


def test_impossible_target_is_named():
    with pytest.raises(InfeasibleMomentsError, match="'age' asks") as caught:
        em.calibrate(survey(), {**TARGETS, "age": 500.0})
    assert caught.value.conflicts == ["age"]


def test_intervals_and_tolerances():
    frame = survey()
    before = frame["age"].mean()
    loose = em.calibrate(frame, {"age": (before - 1, before + 1)})
    assert_allclose(loose.weights, 1.0, rtol=1e-12)
    edge = em.calibrate(frame, {"age": (before + 1, before + 2)})
    assert_allclose(edge.achieved, [before + 1], rtol=1e-10)
    soft = em.calibrate(frame, {"age": 500.0}, tolerance=10.0)
    assert_allclose(soft.achieved[0] - 500.0, -100.0 * soft.natural[0], rtol=1e-8)


def test_entropy_balancing_of_controls():
    """Hainmueller (2012): controls weighted to the moments of the treated."""
    rng = np.random.default_rng(8)
    treated, controls = rng.normal(0.5, 1, (200, 1)), rng.normal(0, 1, (1000, 1))
    frame = pd.DataFrame({"x": controls[:, 0], "square": controls[:, 0] ** 2})
    found = em.calibrate(frame, {"x": treated.mean(), "square": (treated**2).mean()}, total=200)
    assert_allclose(found.weights @ frame["square"] / 200, (treated**2).mean(), rtol=1e-11)
    assert found.effective_size < 1000


def test_one_target_in_closed_form():
    x = np.array([[0.0], [1.0], [3.0]])
    found = em.calibrate(x, {0: 2.0}, base_weights=[1.0, 2.0, 1.0])

    def mean(rate):
        w = np.array([1.0, 2.0, 1.0]) * np.exp(rate * x[:, 0])
        return w @ x[:, 0] / w.sum() - 2.0

    assert_allclose(found.natural, [brentq(mean, -5, 5, xtol=1e-14)], rtol=1e-12)


def test_zero_base_weights_stay_zero():
    found = em.calibrate(np.array([[0.0], [1.0], [3.0]]), {0: 0.4}, base_weights=[1.0, 1.0, 0.0])
    assert found.weights[2] == 0.0
    assert found.ratios[2] == 1.0


def test_wrong_arguments_are_named():
    frame = survey(50)
    cases = [
        (({},), ParameterError, "targets"),
        (({"sex": 0.5},), ParameterError, "holds text"),
        (({"nothing": 1.0},), ParameterError, "no column 'nothing'"),
        (({"sex": {"x": 0.5}},), DataError, "no row of the table"),
    ]
    for arguments, error, words in cases:
        with pytest.raises(error, match=words):
            em.calibrate(frame, *arguments)
    with pytest.raises(ParameterError, match="bounds"):
        em.calibrate(frame, {"age": 45.0}, bounds=(2.0, 3.0))
    with pytest.raises(DataError, match="missing"):
        em.calibrate(pd.DataFrame({"a": [1.0, None]}), {"a": 1.0})


def test_summary_reads():
    text = str(em.calibrate(survey(), TARGETS).summary())
    for words in ("region=south", "effective size", "largest weight"):
        assert words in text


def test_hundred_thousand_rows():
    frame = survey(100_000)
    found = em.calibrate(frame, TARGETS)
    assert np.abs(found.residuals).max() < 1e-10
    assert found.gap < 1e-12


def test_support_of_intervals_in_the_estimator():
    x = RNG.uniform(size=(200, 1))
    model = em.MaximumEntropy(support=Interval(0, 1)).fit(x)
    assert_allclose(model.result_.mean, x.mean(), rtol=1e-12)
