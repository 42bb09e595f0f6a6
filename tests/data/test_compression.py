"""Equal rows as one row: nothing is lost, and a fit does not notice."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import expmax as em
from expmax.data import compression
from expmax.data.compression import compress
from tests.models.cases import assert_same


def dictionary(x, weight, label):
    """Oracle: Σ w, Σ w² and the number of rows by value and label."""
    out = {}
    for i, row in enumerate(x + 0.0):
        key = (tuple("nan" if np.isnan(v) else v for v in row), None if label is None else label[i])
        w = 1.0 if weight is None else weight[i]
        total, square, count = out.get(key, (0.0, 0.0, 0))
        out[key] = total + w, square + w * w, count + 1
    return out


def as_dictionary(rows):
    out = {}
    for i, row in enumerate(rows.x):
        key = (
            tuple("nan" if np.isnan(v) else v for v in row),
            None if rows.label is None else rows.label[i],
        )
        assert key not in out
        out[key] = rows.weight[i], rows.square[i], rows.count[i]
    return out


def with_missing(x):
    out = x.copy()
    out[np.random.default_rng(9).random(x.shape) < 0.2] = np.nan
    return out


RNG = np.random.default_rng(0)
DATA = {
    "counts": RNG.poisson(3, (400, 1)).astype(float),
    "two columns": RNG.integers(-3, 4, (600, 2)).astype(float),
    "minus zero": RNG.choice([-0.0, 0.0, 1.0], (300, 2)),
    "fractions": RNG.choice([0.1, 0.2, 1 / 3, -7.5], (300, 2)),
    "halves": RNG.choice([0.5, 1.0, 1.5], (300, 1)),
    "offset lattice": RNG.choice([0.1, 1.1, 2.1], (300, 1)),
    "missing": with_missing(RNG.integers(0, 3, (900, 2)).astype(float)),
    "all missing in a row": np.where(RNG.random((400, 1)) < 0.5, np.nan, 1.0).repeat(2, axis=1),
    "huge": RNG.choice([1e300, -1e300, 1e-300, 0.0], (300, 1)),
    "large integers": RNG.choice([2.0**53, 2.0**53 - 1, 0.0], (300, 1)),
    "float32": RNG.choice([0.1, 0.2], (300, 1)).astype(np.float32),
    "many": RNG.poisson(5, (20_000, 1)).astype(float),
}
every_data = pytest.mark.parametrize("name", DATA)


@every_data
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("labelled", [False, True], ids=["", "labelled"])
def test_nothing_is_lost(name, weighted, labelled):
    x = DATA[name]
    rng = np.random.default_rng(1)
    weight = rng.uniform(0.1, 3, len(x)) if weighted else None
    label = rng.integers(-1, 2, len(x)) if labelled else None
    rows = compress(x, weight, label)
    expected, actual = dictionary(x, weight, label), as_dictionary(rows)
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        assert_allclose(actual[key], value, rtol=1e-12)
    assert not (np.signbit(rows.x) & (rows.x == 0)).any()


@every_data
def test_the_order_of_rows_does_not_matter(name):
    x = DATA[name]
    order = np.random.default_rng(2).permutation(len(x))
    a, b = compress(x, None, None), compress(x[order], None, None)
    assert_array_equal(a.x, b.x)
    assert_array_equal(a.weight, b.weight)
    assert a.x.dtype == x.dtype


def test_both_ways_of_finding_distinct_rows_agree(monkeypatch):
    x = DATA["two columns"]
    label = np.random.default_rng(3).integers(-1, 3, len(x))
    counted = compress(x, None, label)
    monkeypatch.setattr(compression, "TABLE", 0)
    assert as_dictionary(compress(x, None, label)) == as_dictionary(counted)


@pytest.mark.parametrize(
    "x",
    [
        np.random.default_rng(0).normal(size=(300, 1)),
        np.random.default_rng(0).normal(size=(5000, 2)),
        np.arange(300.0)[:, None],
        np.array([[1.0]]),
        np.append(np.arange(200.0), np.arange(100.0))[:, None],  # two thirds distinct
    ],
    ids=["normal", "large", "integers", "one row", "pairs"],
)
def test_where_little_repeats_all_rows_stay(x):
    rows = compress(x, None, None)
    assert rows.x is x
    assert rows.weight is None
    assert_array_equal(rows.count, np.ones(len(x)))
    weight = np.full(len(x), 0.5)
    assert_array_equal(compress(x, weight, None).square, 0.25)


def test_labels_of_value_minus_one_only():
    rows = compress(DATA["counts"], None, np.full(400, -1))
    assert (rows.label == -1).all()
    assert rows.weight.sum() == 400


def test_equal_values_of_different_labels_stay_apart():
    x = np.zeros((40, 1))
    label = np.repeat([-1, 0, 1, 1], 10)
    rows = compress(x, None, label)
    assert dict(zip(rows.label.tolist(), rows.weight.tolist(), strict=True)) == {
        -1: 10,
        0: 10,
        1: 20,
    }


# --------------------------------------------------------------------------- a fit does not notice


FITS = {
    "Poisson": (em.Poisson(), np.random.default_rng(4).poisson([2, 9], (300, 2)).reshape(-1, 1)),
    "missing cells": (
        em.Poisson(),
        with_missing(
            np.random.default_rng(5).poisson([[2, 1]] * 300 + [[5, 4]] * 300).astype(float)
        ),
    ),
    "Bernoulli": (
        em.Bernoulli(),
        np.random.default_rng(6).random((500, 3)) < np.repeat([[0.2] * 3, [0.8, 0.7, 0.6]], 250, 0),
    ),
    "minus zero": (
        em.Gaussian("tied"),
        np.random.default_rng(7).choice([-0.0, 0.0, 1.0, 2.0, 7.0, 8.0], (400, 1)),
    ),
}


@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("labelled", [False, True], ids=["", "labelled"])
def test_a_fit_is_the_same(name, weighted, labelled, monkeypatch):
    family, x = FITS[name]
    x = np.asarray(x, float)
    rng = np.random.default_rng(8)
    middle = np.nanmedian(x.sum(axis=1))
    first = {"n_components": 2, "random_state": 0}
    start = em.Mixture(family, **first).fit(x).params_
    options = {
        "sample_weight": rng.uniform(0.5, 2, len(x)) if weighted else None,
        "labels": np.where(rng.random(len(x)) < 0.2, x.sum(axis=1) > middle, -1)
        if labelled
        else None,
    }
    start = None if any("." in key for key in start) else start  # products go by their own names
    model = em.Mixture(family, **first, init=start).fit(x, **options)
    from expmax.estimators import training

    monkeypatch.setattr(training, "compress", lambda *rows: compression.Rows(*rows, None, None))
    plain = em.Mixture(family, **first, init=start).fit(x, **options)
    assert_allclose(model.log_likelihood_, plain.log_likelihood_, rtol=1e-12)
    if start is not None:  # the same steps
        assert_same(model.params_, plain.params_, 1e-10)
        assert_allclose(model.history_.objective[:10], plain.history_.objective[:10], rtol=1e-11)
    else:  # starts are drawn from other rows
        assert_same(model.params_, plain.params_, 1e-3)
    assert model.bic() == pytest.approx(plain.bic(), rel=1e-10)


def test_ten_million_counts_become_a_few_rows():
    """The E-step sees the distinct values alone."""
    x = np.random.default_rng(9).poisson(2.0, 10**6).astype(float)[:, None]
    model = em.Mixture(em.Poisson(), 2, random_state=0, effort="quick").fit(x)
    assert sum(len(block.x) for block in model._training.problem.blocks) == len(np.unique(x))
    assert model._total_weight == 10**6
