"""The search over starts: what is tried, what is kept, what is written down."""

import numpy as np
import pytest

import expmax as em
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
    # starts are judged before anything is certified
    assert {record.status for record in model.starts_} <= {
        "uncertified",
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
