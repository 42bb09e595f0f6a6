"""Which family, which structure, how many components."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose
from sklearn.mixture import GaussianMixture as SkGaussianMixture

import expmax as em
from expmax.errors import (
    ConvergenceWarning,
    DataError,
    DegenerateComponentError,
    ParameterError,
)
from expmax.families.covariance import STRUCTURES
from expmax.selection.held_out import folds, take_rows

TESTS = Path(__file__).parents[1]
DATA = TESTS.parent / "examples" / "data"
REFERENCE = json.loads((TESTS / "data" / "reference_mixtures.json").read_text(encoding="utf-8"))
FILES = {"faithful": ("faithful.csv", (0, 1)), "iris": ("iris.csv", (0, 1, 2, 3))}


def read(name):
    file, columns = FILES[name]
    return np.loadtxt(DATA / file, delimiter=",", skiprows=1, usecols=columns)


def simulated(n=180):
    """Three round clusters of one size."""
    rng = np.random.default_rng(5)
    return rng.normal(size=(n, 2)) + 6.0 * np.array([[0, 0], [1, 0], [0, 1]])[np.arange(n) % 3]


def counts(n=120):
    rng = np.random.default_rng(0)
    return np.concatenate([rng.poisson(1, n // 2), rng.poisson(12, n // 2)])[:, None].astype(float)


@cache
def sweep(name, most):
    """All structures, 1 … most components."""
    grid = {"family": [em.Gaussian(s) for s in STRUCTURES], "n_components": range(1, most + 1)}
    return em.select(em.Mixture(), read(name), grid, random_state=0)


@cache
def small(**options):
    return em.select(em.Mixture(em.Poisson()), counts(), {"n_components": [1, 2, 3]}, **options)


# ------------------------------------------------------------------------------------ known data


@pytest.mark.parametrize(
    ("name", "most", "structure", "k", "bic"),
    # mclust 6: BIC −2314.316 and −561.728 in its sign, stopped before the maximum by .02 and 0
    [("faithful", 9, "EEE", 3, 2314.2957), ("iris", 4, "VEV", 2, 561.7285)],
)
def test_bic_chooses_as_published(name, most, structure, k, bic):
    choice = sweep(name, most)
    assert (choice.best.label, choice.best.n_components) == (structure, k)
    assert choice.best.value("bic") == pytest.approx(bic, abs=2e-3)
    assert choice.best_estimator_.converged_
    assert choice.best_estimator_.bic(read(name)) == pytest.approx(bic, abs=2e-3)
    assert len(choice.candidates) == 14 * most


@pytest.mark.parametrize(("name", "most"), [("faithful", 9), ("iris", 4)])
def test_the_sweep_reaches_the_best_known_optima(name, most):
    found = {(c.label, c.n_components): c.log_likelihood for c in sweep(name, most).candidates}
    tolerance = REFERENCE[f"gmm_{name}"]["tolerance"]
    rows = [row for row in REFERENCE[f"gmm_{name}"]["rows"] if row[1] <= 4]
    assert len(rows) > 40
    for structure, k, best, _ in rows:
        assert found[structure, k] >= best - tolerance, (structure, k)


def test_every_fit_of_the_sweep_is_certified_and_cheap():
    choice = sweep("faithful", 9)
    assert {c.status for c in choice.candidates} <= {"stationary", "boundary", "uncertified"}
    certified = [c.status != "uncertified" for c in choice.candidates]
    assert np.mean(certified) > 0.95
    spent = [c.estimator.n_expect_ for c in choice.candidates]
    assert (
        np.mean(spent) < 1500
    )  # compiled steps: together they take less time than 150 of the engine's
    assert choice.best_estimator_.history_.step[-1] == "end"
    kinds = {
        record.kind.split(" K")[0] for c in choice.candidates for record in c.estimator.starts_
    }
    assert {"split of", "deletion from", "merger from", "partition of another family"} <= kinds


def test_a_wider_structure_is_never_lower():
    found = {(c.label, c.n_components): c.log_likelihood for c in sweep("faithful", 9).candidates}
    for narrow, wide in (("EII", "EEE"), ("EEE", "EVE"), ("EII", "VII"), ("EEI", "VVI")):
        for k in (1, 2, 3):
            assert found[narrow, k] <= found[wide, k] + 1e-3


def test_it_recovers_what_made_the_data():
    grid = {"family": [em.Gaussian(s) for s in ("EII", "VII", "EEE", "VVV")]}
    choice = em.select(
        em.Mixture(), simulated(), grid | {"n_components": range(1, 6)}, random_state=1
    )
    assert choice.best.name == "EII, K = 3"
    means = choice.best_estimator_.params_["mean"]
    assert_allclose(sorted(means.round(0).tolist()), [[0, 0], [0, 6], [6, 0]], atol=1)


def test_families_of_counts():
    grid = {"family": [em.Poisson(), em.Geometric()], "n_components": [1, 2, 3]}
    choice = em.select(em.Mixture(), counts(), grid, random_state=0)
    assert choice.best.name == "Poisson, K = 2"


# ----------------------------------------------------------------------------------- determinism


def test_the_result_does_not_depend_on_the_number_of_threads():
    grid = {"covariance_type": ["full", "tied", "VEV"], "n_components": [1, 2, 3, 4]}
    one, two = (
        em.select(em.GaussianMixture(), simulated(), grid, random_state=3, n_jobs=n) for n in (1, 2)
    )
    assert [c.log_likelihood for c in one.candidates] == [c.log_likelihood for c in two.candidates]
    assert_allclose(one.best_estimator_.means_, two.best_estimator_.means_, rtol=0, atol=0)
    for criterion in ("cv", "lrt"):
        options = {
            "criterion": criterion,
            "random_state": 3,
            "n_bootstrap": 9,
            "alpha": 0.1,
            "cv": 3,
        }
        values = [
            em.select(
                em.Mixture(em.Poisson()), counts(), {"n_components": [1, 2]}, n_jobs=n, **options
            )
            for n in (1, 2)
        ]
        assert values[0].tests == values[1].tests
        assert [c.held_out for c in values[0].candidates] == [
            c.held_out for c in values[1].candidates
        ]


def test_weights_are_copies():
    x, many = np.unique(counts(), return_counts=True)
    grid = {"n_components": [1, 2, 3]}
    weighted = em.select(
        em.Mixture(em.Poisson()), x[:, None], grid, sample_weight=many, random_state=0
    )
    for one, other in zip(weighted.candidates, small(random_state=0).candidates, strict=True):
        assert one.value("bic") == pytest.approx(other.value("bic"), abs=1e-3)


def test_many_rows_are_searched_on_a_sample_and_fitted_on_all():
    x = simulated(6000)
    choice = em.select(em.Mixture(em.Gaussian("VII")), x, {"n_components": [2, 3]}, random_state=0)
    assert choice.best.n_components == 3
    assert choice.best_estimator_.converged_
    assert choice.best_estimator_.score_samples(x).sum() == pytest.approx(
        choice.best.log_likelihood
    )
    plain = em.Mixture(em.Gaussian("VII"), 3, random_state=0).fit(x)
    assert choice.best.log_likelihood == pytest.approx(plain.log_likelihood_, abs=1e-3)


# -------------------------------------------------------------------------------------- criteria


def test_every_criterion_is_that_of_the_estimator():
    for criterion in ("bic", "aic", "icl"):
        choice = small(random_state=0, criterion=criterion)
        values = [getattr(c.estimator, criterion)() for c in choice.candidates]
        assert choice.best.value(criterion) == min(values)
        assert [row[criterion] for row in choice.table] == values


def test_cross_validated_likelihood_by_hand():
    x, grid = counts(), {"n_components": [1, 2]}
    choice = em.select(em.Mixture(em.Poisson()), x, grid, criterion="cv", cv=4, random_state=0)
    assert choice.best.n_components == 2
    one = choice.candidates[0]
    judging = np.random.SeedSequence(int(np.random.RandomState(0).randint(2**31 - 1))).spawn(2)[1]
    parts = folds(len(x), 4, np.random.default_rng(judging.spawn(5)[0]))
    assert sorted(np.concatenate(parts)) == list(range(len(x)))
    scores = []
    for rows in parts:
        train = np.setdiff1d(np.arange(len(x)), rows)
        scores.append(em.Mixture(em.Poisson(), 1).fit(x[train]).score_samples(x[rows]).sum())
    assert one.held_out == pytest.approx(sum(scores) / len(x))
    assert one.value("cv") == pytest.approx(-2.0 * sum(scores))
    assert 0 < one.held_out_error < 1
    assert choice.table[0]["held_out"] == one.held_out
    assert "nats a row" in str(choice)


def test_a_category_that_a_fold_lacks_is_impossible_there():
    x = np.array([["a"], ["b"]] * 10 + [["c"]], dtype=object)
    choice = em.select(em.Mixture(em.Categorical()), x, {"n_components": [1]}, criterion="cv", cv=3)
    assert choice.best.held_out == -np.inf


def test_the_bootstrap_test_stops_at_the_right_number():
    grid = {"n_components": [1, 2, 3, 4]}
    choice = em.select(
        em.Mixture(em.Poisson()), counts(), grid, criterion="lrt", n_bootstrap=39, random_state=0
    )
    assert choice.best.n_components == 2
    assert [(t.null, t.alternative, t.rejected) for t in choice.tests] == [
        (1, 2, True),
        (2, 3, False),
    ]
    first, second = choice.tests
    assert first.p_value == 1 / 40
    assert second.p_value > 0.05
    assert first.n_bootstrap == 39
    ell = [c.log_likelihood for c in choice.candidates]
    assert first.statistic == pytest.approx(2 * (ell[1] - ell[0]))
    assert "K = 1 against 2" in str(choice)


def test_the_bootstrap_test_holds_its_level():
    rejected = 0
    for seed in range(20):  # one component: 2 of 20 rejections at .1 are expected, 7 have p = .002
        x = np.random.default_rng(seed).poisson(4, 60)[:, None].astype(float)
        choice = em.select(
            em.Mixture(em.Poisson()),
            x,
            {"n_components": [1, 2]},
            criterion="lrt",
            n_bootstrap=9,
            alpha=0.1,
            random_state=seed,
        )
        rejected += choice.tests[0].rejected
    assert rejected < 7


def test_the_samples_of_a_test_miss_the_cells_that_the_data_miss():
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(0, 1, (30, 2)), rng.normal(7, 1, (30, 2))])
    x[::5, 0] = np.nan
    frame = pd.DataFrame(x, columns=["a", "b"])
    family = em.Product(columns={"a": em.Gaussian(), "b": em.Gaussian()})
    choice = em.select(
        em.Mixture(family), frame, {"n_components": [1, 2]}, criterion="lrt", n_bootstrap=9,
        alpha=0.1, random_state=0,
    )  # fmt: skip
    assert choice.best.n_components == 2


# -------------------------------------------------------------------------------- what goes wrong


def test_failures_are_listed_with_their_reason():
    x = np.array([[0.0], [1.0], [4.0], [0.0]])
    choice = em.select(em.Mixture(em.Poisson()), x, {"n_components": [1, 2, 9]}, random_state=0)
    failed = choice.candidates[2]
    assert isinstance(failed.error, DataError)
    assert failed.value("bic") == np.inf
    row = choice.table[2]
    assert row["status"] == "failed"
    assert "at least as many rows" in row["reason"]
    assert row["log_likelihood"] is None
    assert "at least as many rows" in str(choice).replace("\n ", " ")
    assert choice.best.n_components < 9


def test_a_family_that_cannot_emit_the_data_is_listed():
    grid = {"family": [em.Exponential(), em.Gaussian()], "n_components": [1]}
    choice = em.select(em.Mixture(), -counts(), grid)
    assert isinstance(choice.candidates[0].error, DataError)
    assert choice.best.label == "Gaussian"


def test_collapse_is_listed_and_only_all_failures_are_fatal():
    x = np.repeat([[0.0, 0.0], [5.0, 5.0]], 20, axis=0)
    x[:20] += np.random.default_rng(0).normal(size=(20, 2))
    grid = {"n_components": [1, 2]}
    choice = em.select(em.Mixture(em.Gaussian()), x, grid, random_state=0)
    assert choice.best.n_components == 1 or choice.candidates[1].estimator is not None
    with pytest.raises(DegenerateComponentError):
        em.select(em.Mixture(em.Gaussian()), np.ones((20, 2)), grid, random_state=0)
    with pytest.raises(DataError, match="at least as many rows"):
        em.select(em.Mixture(em.Poisson()), counts()[:3], {"n_components": [4, 5]})


@pytest.mark.parametrize(
    ("grid", "options", "words"),
    [
        ({"n_components": [1]}, {"criterion": "dic"}, "criterion must be one of"),
        ({"n_components": [1]}, {"effort": "huge"}, "effort must be one of"),
        ({"n_components": [1]}, {"n_jobs": 0}, "n_jobs must be"),
        ({"n_component": [1]}, {}, "no parameter of the estimator"),
        ({"n_components": 3}, {}, "must be a list of values"),
        ({"n_components": []}, {}, "at least one value"),
        ({}, {}, "grid must be"),
        ([], {}, "grid must be"),
        ({"n_components": [0]}, {}, "n_components must be an integer of at least 1"),
        ({"n_components": [1, 2]}, {"criterion": "cv", "cv": 1}, "cv must be an integer"),
        ({"n_components": [1, 2]}, {"criterion": "cv", "cv": 500}, "at most the number of rows"),
        ({"n_components": [1]}, {"criterion": "lrt"}, "several numbers of components"),
        ({"n_components": [1, 2]}, {"criterion": "lrt", "alpha": 2}, "alpha must be"),
        ({"n_components": [1, 2]}, {"criterion": "lrt", "n_bootstrap": 0}, "n_bootstrap must be"),
        (
            {"n_components": [1, 2]},
            {"criterion": "lrt", "n_bootstrap": 18},
            r"n_bootstrap must be at least 19 for alpha=0.05: .* 1 / \(n_bootstrap \+ 1\); got 18",
        ),
        (
            {"n_components": [1, 2]},
            {"criterion": "lrt", "alpha": 0.01, "n_bootstrap": 98},
            "at least 99 for alpha=0.01",
        ),
        ({"n_components": ["a", 1]}, {}, "n_components must be .*; got 'a'"),
        ({"n_components": [1, 2.5]}, {}, "n_components must be .*; got 2.5"),
        ({"n_components": [1, True]}, {}, "n_components must be .*; got True"),
        ({"tol": [1e-4, -1.0], "n_components": [1, 2]}, {}, "tol must be"),
        ({"family": [em.Poisson(), None, 3]}, {}, "family"),
        ({"n_components": [1]}, {"sample_weight": [1.0]}, "sample_weight must be"),
        ({"n_components": [1]}, {"progress": "yes"}, "progress must be"),
        (
            {"n_components": [1, 2]},
            {"criterion": "lrt", "sample_weight": np.full(120, 0.5)},
            "whole numbers",
        ),
    ],
)
def test_bad_arguments(grid, options, words):
    with pytest.raises(ParameterError, match=words):
        em.select(em.Mixture(em.Poisson()), counts(), grid, **options)


def test_an_estimator_is_needed():
    for wrong, words in (
        ("mixture", "estimator must be an estimator of expmax .*; got 'mixture'"),
        (em.Mixture, r"got <class .*Mixture'>. Make an instance: Mixture\(\)"),
        (SkGaussianMixture(), "expmax has a GaussianMixture of its own"),
        (SkGaussianMixture, "got <class"),
        (em.TopicModel(), "with criteria"),
    ):
        with pytest.raises(ParameterError, match=words):
            em.select(wrong, counts(), {"n_components": [1]})


def test_a_combination_whose_parts_do_not_match_is_listed():
    """Two families and three components: no value is at fault, and others fit."""
    grid = {"family": [[em.PointMass(0.0), em.Poisson()], em.Poisson()], "n_components": [2, 3]}
    choice = em.select(em.Mixture(), counts(), grid, random_state=0)
    assert [c.status == "failed" for c in choice.candidates] == [False, True, False, False]
    assert isinstance(choice.candidates[1].error, ParameterError)
    assert "refused" in str(choice)


def test_a_winner_that_is_not_certified_is_told():
    x = np.random.default_rng(0).normal(size=(80, 2))
    with pytest.warns(ConvergenceWarning, match=r"chosen candidate \(K = 2\).*'max_iter'"):
        choice = em.select(em.Mixture(max_iter=1), x, {"n_components": [2]}, random_state=0)
    assert repr(choice).endswith("best: K = 2, NOT converged (max_iter))")
    assert "The best, K = 2: NOT converged (max_iter reached)" in str(choice)


# ---------------------------------------------------------------------------------------- result


def test_parameters_that_no_neighbour_can_help_with():
    """Given starts and lists of families are fitted one by one."""
    zero_inflated = [em.PointMass(0.0), em.Poisson()]
    grid = [{"family": [zero_inflated]}, {"family": [em.Poisson()], "n_components": [1, 2]}]
    x = np.concatenate([np.zeros((60, 1)), counts()[60:]])
    choice = em.select(em.Mixture(n_components=None), x, grid, random_state=0)
    assert [c.label for c in choice.candidates] == ["PointMass + Poisson", "Poisson", "Poisson"]
    assert choice.best.label == "PointMass + Poisson"
    fixed = em.select(em.Mixture(em.Poisson(), n_init=3), counts(), {"n_components": [1, 2]})
    assert fixed.best.n_components == 2


def test_any_constructor_parameter():
    grid = {"prior": [None, 1.0], "n_components": [1, 2]}
    choice = em.select(em.Mixture(em.Poisson()), counts(), grid, random_state=0)
    assert [c.label for c in choice.candidates] == ["prior=None"] * 2 + ["prior=1.0"] * 2
    assert len({c.estimator.log_likelihood_ for c in choice.candidates}) == 4


def test_the_table_in_every_library():
    choice = small(random_state=0)
    frame = choice.to_frame()
    assert list(frame["n_components"]) == [1, 2, 3]
    assert isinstance(choice.to_frame("polars"), pl.DataFrame)
    assert isinstance(choice.to_frame("pandas"), pd.DataFrame)
    assert choice.to_frame("pyarrow").num_rows == 3
    columns = choice.to_frame("dict")
    assert columns["bic"] == [c.value("bic") for c in choice.candidates]
    assert columns["status"] == ["stationary"] * 3
    assert all(seconds > 0 for seconds in columns["seconds"])
    with pytest.raises(ParameterError, match="library must be"):
        choice.to_frame("excel")


def test_the_page_marks_the_best_and_warns_of_the_edge():
    choice = small(random_state=0)
    (line,) = [line for line in str(choice).splitlines() if "→" in line]
    assert line.split()[1] == "2"
    assert "try more" not in str(choice)
    edge = em.select(em.Mixture(em.Poisson()), counts(), {"n_components": [1, 2]}, random_state=0)
    assert "try more" in str(edge)
    assert repr(edge) == "Selection(2 candidates by bic, 0 failed; best: K = 2)"


def test_the_picture_has_a_line_a_family():
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    grid = {"family": [em.Poisson(), em.Geometric()], "n_components": [1, 2]}
    axes = em.select(em.Mixture(), counts(), grid, random_state=0).plot()
    assert [line.get_label() for line in axes.lines] == [
        "Poisson",
        "Geometric",
        "chosen: Poisson, K = 2",
    ]
    assert axes.get_xlabel() == "number of components"
    plt.close(axes.figure)
    with pytest.raises(ParameterError, match="axes must be matplotlib axes"):
        small(random_state=0).plot(3)


def test_progress_is_told_in_words():
    words = []
    em.select(
        em.Mixture(em.Poisson()), counts(), {"n_components": [1, 2]}, progress=words.append,
        random_state=0,
    )  # fmt: skip
    assert words[0] == "fitting K = 1"
    assert words[-1] == "certifying"


def test_rows_of_every_container():
    rows = np.array([2, 0])
    x = np.arange(6.0).reshape(3, 2)
    for data in (x, x.tolist(), pd.DataFrame(x), pl.DataFrame(x), em.data.read_table(x)):
        taken = take_rows(data, rows)
        assert_allclose(em.data.read_table(taken).values, x[rows])
