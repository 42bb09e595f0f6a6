"""The search over starts: what is tried, what is kept, what is written down."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

import expmax as em
from expmax.errors import DegenerateComponentError
from tests.models.cases import BY_NAME, assert_identical

CLOUD = BY_NAME["Gaussian VVV"]


def mixture(k=3, **options):
    return em.Mixture(em.Gaussian("EEE"), k, **{"random_state": 0} | options)


def four_clusters(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(4, 2))[rng.integers(4, size=300)] * 3 + rng.normal(size=(300, 2))


@pytest.mark.parametrize(
    "family", [em.Gaussian(), em.Gaussian("VVE"), em.StudentT("tied")], ids=repr
)
def test_the_seed_decides_everything(family):
    x = four_clusters()
    a, b = (em.Mixture(family, 3, random_state=7).fit(x) for _ in range(2))
    assert_identical(a.params_, b.params_)
    assert a.history_.objective == b.history_.objective
    assert repr(a.starts_) == repr(b.starts_)
    assert a.n_expect_ == b.n_expect_


def test_the_global_generator_is_left_alone():
    np.random.seed(5)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    mixture().fit(four_clusters())
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_a_generator_of_the_user_is_used():
    x = four_clusters()
    a = mixture(random_state=np.random.RandomState(3)).fit(x)
    b = mixture(random_state=np.random.RandomState(3)).fit(x)
    assert_identical(a.params_, b.params_)


def test_every_start_is_recorded():
    model = mixture().fit(four_clusters())
    records = model.starts_
    assert len(records) > 24
    assert len({record.kind for record in records}) > 4
    assert any("swap" in r.kind or "split" in r.kind or "seeded" in r.kind for r in records)
    ends = [record.objective for record in records if np.isfinite(record.objective)]
    assert max(ends) == pytest.approx(model.log_likelihood_, abs=1e-6)
    for record in records:
        agrees = abs(record.objective - model.log_likelihood_) < 1e-3
        assert record.agrees == agrees
    assert sum(record.status != "short run" for record in records) >= 2
    assert model.certificate_.n_starts == len(records)
    assert model.certificate_.n_agreeing == sum(record.agrees for record in records) >= 1


@pytest.mark.parametrize("n_init", [1, 5])
def test_n_init_is_that_many_starts_each_run_to_the_end(n_init):
    model = mixture(n_init=n_init).fit(four_clusters())
    assert len(model.starts_) == n_init
    # starts are judged before anything is certified, and none is given up
    assert {record.status for record in model.starts_} <= {
        "full run",
        "stationary",
        "degenerate",
    }
    best = max(record.objective for record in model.starts_)
    assert best == pytest.approx(model.log_likelihood_, abs=1e-4)
    assert model.status_ == "stationary"


def test_more_starts_are_no_worse():
    x = four_clusters(3)
    reached = [mixture(5, n_init=n).fit(x).log_likelihood_ for n in (1, 5)]
    reached += [mixture(5, effort=effort).fit(x).log_likelihood_ for effort in ("quick", "default")]
    assert reached[1] >= reached[0] - 1e-4
    assert reached[2] >= reached[1] - 1e-4
    assert reached[3] >= reached[2] - 1e-4


def test_effort_is_a_budget_of_e_steps():
    x = four_clusters()
    quick, default, thorough = (
        mixture(effort=effort).fit(x).n_expect_ for effort in ("quick", "default", "thorough")
    )
    assert quick < default < thorough < 10 * default


@pytest.mark.parametrize("seed", range(1, 4))
def test_different_seeds_find_the_same_optimum(seed):
    x = four_clusters()
    best = mixture(4).fit(x).log_likelihood_
    assert mixture(4, random_state=seed).fit(x).log_likelihood_ == pytest.approx(best, abs=1e-3)


def test_a_spike_is_not_preferred():
    """Two nearly equal rows: a component on them has a high likelihood and no support."""
    rng = np.random.default_rng(1)
    x = np.vstack([rng.normal(size=(100, 1)), [[5.0], [5.0 + 1e-4], [5.0 + 2e-4]]])
    model = em.Mixture(em.Gaussian(), 2, random_state=0).fit(x)
    counts = model.predict_proba(x).sum(axis=0)
    assert counts.min() > 2.99  # not on fewer rows than the rows that repeat


def test_a_given_start_is_the_only_one():
    x = four_clusters()
    first = mixture().fit(x)
    again = mixture(init=first.params_).fit(x)
    assert [record.kind for record in again.starts_] == ["given"]
    assert again.log_likelihood_ == pytest.approx(first.log_likelihood_, abs=1e-6)
    assert again.n_iter_ <= 5


def test_one_component_needs_no_search():
    model = mixture(1).fit(four_clusters())
    assert len(model.starts_) == 1
    assert model.n_expect_ < 20
    assert model.status_ == "stationary"


def test_large_data_are_searched_on_few_rows():
    rng = np.random.default_rng(2)
    x = np.vstack([rng.normal(0, 1, (6000, 1)), rng.normal(5, 2, (6000, 1))])
    model = em.Mixture(em.Gaussian(), 2, random_state=0).fit(x)
    assert model.status_ == "stationary"
    assert model.n_expect_ < 400  # in passes over all rows
    assert model.log_likelihood_ == pytest.approx(model.score_samples(x).sum(), rel=1e-12)
    np.testing.assert_allclose(model.params_["mean"].ravel(), [0, 5], atol=0.2)


def real(name, columns):
    file = Path(__file__).parents[2] / "examples" / "data" / f"{name}.csv"
    return np.loadtxt(file, delimiter=",", skiprows=1, usecols=columns, ndmin=2)


@pytest.mark.parametrize(
    ("name", "columns", "structure", "k", "best"),
    [  # tests/selection/best_known.json; at most 6 in 31 starts of mclust come there
        ("faithful", (0, 1), "VVI", 6, -1098.220704),
        ("iris", (0, 1, 2, 3), "EVI", 6, -223.063011),
    ],
)
def test_hard_optima_are_found(name, columns, structure, k, best):
    model = em.Mixture(em.Gaussian(structure), k, random_state=0).fit(real(name, columns))
    assert model.log_likelihood_ >= best - 0.02
    assert model.status_ == "stationary"


def test_six_rows_on_a_line_are_no_component():
    """Six rows of Old Faithful lie so nearly on a line that a component on them raises ℓ by 5 nats."""
    x = real("faithful", (0, 1))
    near_line = np.abs((x[:, 1] - 75.0) - 12.0 * (x[:, 0] - 23 / 6)) < 0.01
    assert near_line.sum() >= 6
    labels = np.where(near_line, 2, (x[:, 0] > 3).astype(int))
    spike = em.Mixture(em.Gaussian(), 3, init=labels).fit(x)
    for seed in (0, 2):
        model = em.Mixture(em.Gaussian(), 3, random_state=seed).fit(x)
        assert model.log_likelihood_ == pytest.approx(-1114.439873, abs=1e-3)
    assert spike.log_likelihood_ > model.log_likelihood_ + 4


def test_many_components_on_few_rows_are_called_what_they_are():
    """82 galaxies, free variances, K = 8: what is called a maximum is one, for plain EM too."""
    x = real("galaxies", 0)
    model = em.Mixture(em.Gaussian(), 8, effort="quick", random_state=0).fit(x)
    variances = model.params_["covariance"]
    assert model.status_ == "stationary"
    assert model.certificate_.remaining < 1e-4
    assert model.certificate_.degenerate == ()
    assert variances.min() > 1e-9 * x.var()
    assert model.log_likelihood_ == pytest.approx(model.score_samples(x).sum(), rel=1e-12)
    again = em.Mixture(em.Gaussian(), 8, init=model.params_, accelerate=None, tol=1e-6).fit(x)
    assert again.log_likelihood_ == pytest.approx(model.log_likelihood_, abs=1e-3)
    assert_allclose(
        np.sort(again.params_["mean"].ravel()), np.sort(model.params_["mean"].ravel()), rtol=1e-2
    )


def test_a_solution_without_spikes_is_preferred():
    """With K = 7 fast steps lead to components of two galaxies; a solution without them exists."""
    x = real("galaxies", 0)
    model = em.Mixture(em.Gaussian(), 7, random_state=0).fit(x)
    assert model.predict_proba(x).sum(axis=0).min() >= 5


def test_where_all_collapse_the_component_is_named():
    """Four distinct values: with four components every start ends on single values."""
    x = np.repeat([[0.0], [1.0], [5.0], [9.0]], [3, 4, 3, 3], axis=0)
    with pytest.raises(DegenerateComponentError, match="component"):
        em.Mixture(em.Gaussian(), 4, random_state=0).fit(x)


def test_a_run_is_given_up_only_in_a_search():
    x = four_clusters()
    assert any(record.status == "given up" for record in mixture().fit(x).starts_)
    assert all(record.status != "given up" for record in mixture(n_init=8).fit(x).starts_)


def test_a_search_ends_once_many_starts_come_to_the_best_again():
    rng = np.random.default_rng(0)
    x = np.vstack([rng.normal(size=(100, 2)), rng.normal(size=(100, 2)) + 20])
    easy = mixture(2).fit(x)
    assert easy.n_expect_ < 500
    assert easy.certificate_.n_agreeing >= 5
