"""Linked records: a published fit, direct maximisation, mixtures of categories, the optimal rule, counting."""

import pickle
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.special import expit, log_expit, log_softmax
from sklearn.base import clone

import expmax as em
from expmax.data.patterns import Levels
from expmax.errors import (
    ConvergenceWarning,
    DataError,
    ImpossibleDataError,
    InformationError,
    ParameterError,
)

DATA = Path(__file__).parents[2] / "examples" / "data"
M = [[0.1, 0.9], [0.05, 0.15, 0.8], [0.15, 0.85], [0.1, 0.2, 0.1, 0.6]]
U = [[0.8, 0.2], [0.7, 0.2, 0.1], [0.9, 0.1], [0.5, 0.3, 0.1, 0.1]]


def pairs(n=3000, prevalence=0.2, m=M, u=U, seed=0, missing=0.0):
    rng = np.random.default_rng(seed)
    match = rng.random(n) < prevalence
    x = np.empty((n, len(m)))
    for g, (a, b) in enumerate(zip(m, u, strict=True)):
        x[:, g] = np.where(match, rng.choice(len(a), n, p=a), rng.choice(len(b), n, p=b))
    x[rng.random(x.shape) < missing] = np.nan
    return x, match


def log_joint(model, x):
    """log p(γ, class) of every pair, field after field."""
    classes = []
    for share, p in (
        (1 - model.prevalence_, model.u_probabilities_),
        (model.prevalence_, model.m_probabilities_),
    ):
        total = np.full(len(x), np.log(share))
        for g, own in enumerate(p.values()):
            present = ~np.isnan(x[:, g])
            total[present] += np.log(own[x[present, g].astype(int)])
        classes.append(total)
    return np.stack(classes, axis=1)


# ------------------------------------------------------------------------------------- the oracles


def test_two_latent_classes_of_slides():
    """Carcinoma (Landis & Koch 1977), two classes: poLCA 1.6 (R), best of 50 starts, -317.256837299."""
    table = np.loadtxt(DATA / "carcinoma.csv", delimiter=",", skiprows=1)
    model = em.RecordLinkage(random_state=0).fit(table[:, :7], sample_weight=table[:, 7])
    assert model.log_likelihood_ == pytest.approx(-317.256837299, abs=1e-6)
    assert model.status_ == "boundary"
    assert model.n_parameters_ == 15
    assert model.prevalence_ == pytest.approx(0.501212386547, abs=1e-6)
    m = [p[1] for p in model.m_probabilities_.values()]
    u = [p[1] for p in model.u_probabilities_.values()]
    assert_allclose(
        m, [1, 0.983091846, 0.760866935, 0.541060931, 0.978636783, 0.422703852, 1], atol=1e-5
    )
    assert_allclose(u, [0.116501785, 0.354366689, 0, 0, 0.222920608, 0, 0.116501785], atol=1e-5)
    assert model.bic() == pytest.approx(-2 * model.log_likelihood_ + 15 * np.log(118))


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_direct_maximisation_reaches_the_same(missing):
    """L-BFGS-B of SciPy on unconstrained parameters from several starts."""
    x, _ = pairs(1500, missing=missing, seed=3)
    model = em.RecordLinkage(random_state=0).fit(x)
    assert model.log_likelihood_ == pytest.approx(
        np.logaddexp.reduce(log_joint(model, x), axis=1).sum(), rel=1e-12
    )
    sizes = [2, 3, 2, 4]
    cuts = np.cumsum(sizes + sizes)[:-1]

    def loss(v):
        parts = np.split(v[1:], cuts)
        total = [log_expit(-v[0]) * np.ones(len(x)), log_expit(v[0]) * np.ones(len(x))]
        for c in range(2):
            for g in range(4):
                present = ~np.isnan(x[:, g])
                own = log_softmax(parts[4 * c + g])
                total[c][present] += own[x[present, g].astype(int)]
        return -np.logaddexp(*total).sum()

    rng = np.random.default_rng(0)
    fits = [minimize(loss, rng.normal(size=23), method="L-BFGS-B") for _ in range(4)]
    best = min(fits, key=lambda fit: fit.fun)
    assert model.log_likelihood_ == pytest.approx(-best.fun, abs=0.02)
    assert model.log_likelihood_ >= -best.fun - 1e-4
    share = expit(best.x[0])
    assert min(abs(model.prevalence_ - share), abs(1 - model.prevalence_ - share)) < 0.01


@pytest.mark.parametrize("missing", [0.0, 0.15])
def test_it_is_a_mixture_of_products_of_categories(missing):
    x, _ = pairs(missing=missing)
    model = em.RecordLinkage(random_state=0).fit(x)
    family = em.Product(*(em.Categorical(len(p)) for p in M))
    mixture = em.Mixture(family, 2, random_state=0).fit(x)
    assert model.log_likelihood_ == pytest.approx(mixture.log_likelihood_, abs=1e-3)
    assert model.n_parameters_ == mixture.n_parameters_ == 15
    order = np.argsort(mixture.weights_)  # matches are the few
    assert_allclose(model.prevalence_, mixture.weights_[order[0]], atol=1e-3)
    assert_allclose(model.predict_proba(x)[:, 1], mixture.predict_proba(x)[:, order[0]], atol=0.01)


def test_the_probabilities_of_the_simulation_are_recovered():
    x, match = pairs(40_000, seed=1)
    model = em.RecordLinkage(random_state=0).fit(x)
    assert model.status_ == "stationary"
    errors = model.standard_errors()
    assert abs(model.prevalence_ - match.mean()) < 4 * errors.errors["prevalence"]
    for g in range(4):
        for name, found, true in (
            ("m", model.m_probabilities_, M),
            ("u", model.u_probabilities_, U),
        ):
            own = errors.errors[f"{name}[{g}]"]
            assert (np.abs(found[g] - true[g]) < 4.5 * own).all()
            assert (own < 0.03).all()
    r = model.match_probability(x)
    assert_allclose(r.sum(), model.prevalence_ * len(x), rtol=1e-4)
    middle = (r > 0.4) & (r < 0.6)
    assert abs(match[middle].mean() - 0.5) < 0.1
    joint = log_joint(model, x)
    assert_allclose(model.score_samples(x), np.logaddexp.reduce(joint, axis=1), rtol=1e-12)
    odds = (
        joint[:, 1] - joint[:, 0] - np.log(model.prevalence_ / (1 - model.prevalence_))
    ) / np.log(2)
    assert_allclose(model.match_weight(x), odds, rtol=1e-9, atol=1e-9)


# -------------------------------------------------------------------------------- the decision rule


def brute_force_rule(m, u, false_match, false_non_match):
    """Fellegi & Sunter (1969), §2: order all patterns by m/u, cut from both ends."""
    patterns = []
    for gamma in product(*(range(len(p)) for p in m)):
        a = np.prod([p[level] for p, level in zip(m, gamma, strict=True)])
        b = np.prod([p[level] for p, level in zip(u, gamma, strict=True)])
        patterns.append((a / b, a, b, gamma))
    patterns.sort(reverse=True)
    decision, total = {}, 0.0
    for _, _, b, gamma in patterns:
        total += b
        if total > false_match:
            break
        decision[gamma] = "match"
    total = 0.0
    for _, a, _, gamma in reversed(patterns):
        total += a
        if total > false_non_match or gamma in decision:
            break
        decision[gamma] = "non-match"
    return {gamma: decision.get(gamma, "possible") for *_, gamma in patterns}


@pytest.mark.parametrize("rates", [(0.01, 0.01), (0.001, 0.05), (0.2, 0.3), (0.0, 0.1)])
def test_the_rule_of_fellegi_and_sunter(rates):
    x, match = pairs(20_000)
    model = em.RecordLinkage(random_state=0).fit(x)
    m, u = list(model.m_probabilities_.values()), list(model.u_probabilities_.values())
    expected = brute_force_rule(m, u, *rates)
    every = np.array(list(expected), float)
    found = model.decide(every, false_match_rate=rates[0], false_non_match_rate=rates[1])
    assert found.tolist() == list(expected.values())
    thresholds = model.thresholds(false_match_rate=rates[0], false_non_match_rate=rates[1])
    assert thresholds.rates.false_match <= rates[0] + 1e-9
    assert thresholds.rates.false_non_match <= rates[1] + 1e-9
    decided = model.decide(x, upper=thresholds.upper, lower=thresholds.lower)
    assert (decided[~match] == "match").mean() == pytest.approx(
        thresholds.rates.false_match, abs=0.01
    )
    assert (decided == "possible").mean() == pytest.approx(thresholds.rates.possible, abs=0.02)
    linked = decided == "match"
    if linked.any():
        assert match[linked].mean() == pytest.approx(thresholds.rates.precision, abs=0.03)
        assert linked[match].mean() == pytest.approx(thresholds.rates.recall, abs=0.03)


def test_one_threshold_leaves_nothing_undecided():
    x, _ = pairs()
    model = em.RecordLinkage(random_state=0).fit(x)
    rates = model.error_rates(upper=0.0)
    assert rates.possible == 0.0
    assert rates.false_non_match == pytest.approx(1 - rates.recall, rel=1e-9)
    odds = -np.log2(model.prevalence_ / (1 - model.prevalence_))  # the weight of probability 1/2
    assert_array_equal(model.predict(x), (model.match_weight(x) >= odds).astype(int))


# ------------------------------------------------------------------------- what is held, weights, known pairs


def test_held_probabilities_stay_and_the_rest_is_the_constrained_maximum():
    x, _ = pairs()
    u = [0.2, U[1], None, U[3]]
    model = em.RecordLinkage(u=u, prevalence=0.2, random_state=0).fit(x)
    assert model.prevalence_ == pytest.approx(0.2, rel=1e-15)
    assert_array_equal(model.u_probabilities_[0], [0.8, 0.2])
    assert_array_equal(model.u_probabilities_[1], U[1])
    assert model.n_parameters_ == 1 + 7
    free = em.RecordLinkage(random_state=0).fit(x)
    assert free.log_likelihood_ > model.log_likelihood_

    def loss(v):
        parts = np.split(v, np.cumsum([2, 2, 3, 2]))
        own = [U[0], U[1], np.exp(log_softmax(parts[0])), U[3]]
        m = [np.exp(log_softmax(part)) for part in parts[1:]]
        classes = []
        for share, p in ((0.8, own), (0.2, m)):
            total = np.full(len(x), np.log(share))
            for g in range(4):
                total += np.log(np.asarray(p[g])[x[:, g].astype(int)])
            classes.append(total)
        return -np.logaddexp(*classes).sum()

    best = minimize(loss, np.zeros(13) + np.linspace(0, 0.5, 13), method="L-BFGS-B")
    assert model.log_likelihood_ == pytest.approx(-best.fun, abs=0.01)
    errors = model.standard_errors()
    assert errors.errors["prevalence"] == 0.0
    assert_array_equal(errors.errors["u[1]"], 0.0)
    named = em.RecordLinkage(u={"b": U[1]}, random_state=0)
    named.fit(pd.DataFrame(x, columns=list("abcd")))
    assert_array_equal(named.u_probabilities_["b"], U[1])


def test_weights_are_copies_and_patterns_with_counts_are_the_data():
    x, _ = pairs(missing=0.1)
    levels = Levels((2, 3, 2, 4))
    rows = levels.count(x)
    whole = em.RecordLinkage(random_state=0).fit(x)
    counted = em.RecordLinkage(random_state=0).fit(rows.x, sample_weight=rows.count)
    assert whole.n_patterns_ == counted.n_patterns_ == len(rows.x)
    assert whole.log_likelihood_ == pytest.approx(counted.log_likelihood_, rel=1e-13)
    assert whole.bic() == pytest.approx(counted.bic(), rel=1e-13)
    weight = np.random.default_rng(0).uniform(0, 2, len(x)) * (np.arange(len(x)) % 3 > 0)
    weighted = em.RecordLinkage(random_state=0).fit(x, sample_weight=weight)
    expected = weight @ np.logaddexp.reduce(log_joint(weighted, x), axis=1)
    assert weighted.log_likelihood_ == pytest.approx(expected, rel=1e-12)


def test_known_pairs_name_the_classes_and_count():
    x, match = pairs()
    known = np.where(np.arange(len(x)) < 500, match, -1)
    model = em.RecordLinkage(random_state=0).fit(x, labels=known)
    joint = log_joint(model, x)
    chosen = np.where(
        known < 0, np.logaddexp.reduce(joint, axis=1), joint[np.arange(len(x)), known]
    )
    assert model.log_likelihood_ == pytest.approx(chosen.sum(), rel=1e-12)
    flipped = em.RecordLinkage(random_state=0).fit(x, labels=np.where(known < 0, -1, 1 - known))
    assert flipped.prevalence_ == pytest.approx(1 - model.prevalence_, abs=1e-3)
    everything = em.RecordLinkage(random_state=0).fit(x, labels=match.astype(int))
    for g, size in enumerate((2, 3, 2, 4)):
        share = np.bincount(x[match, g].astype(int), minlength=size) / match.sum()
        assert_allclose(everything.m_probabilities_[g], share, rtol=1e-9)


def test_matches_agree_more():
    x, _ = pairs()
    model = em.RecordLinkage(random_state=0).fit(x)
    assert all(w[-1] > w[0] for w in model.match_weights_.values())
    reverse = em.RecordLinkage(random_state=0).fit(np.array([1, 2, 1, 3]) - x)
    assert reverse.prevalence_ == pytest.approx(1 - model.prevalence_, abs=1e-3)


def test_a_prior_is_imaginary_comparisons():
    x, match = pairs(200)
    model = em.RecordLinkage(prior=0.5, n_init=1).fit(x, labels=match.astype(int))
    for g, size in enumerate((2, 3, 2, 4)):
        counts = np.bincount(x[match, g].astype(int), minlength=size) + 0.5
        assert_allclose(model.m_probabilities_[g], counts / counts.sum(), rtol=1e-9)
    assert model.prevalence_ == pytest.approx((match.sum() + 0.5) / 201, rel=1e-9)
    few = em.RecordLinkage(prior={"m": 1.0, "prevalence": [3.0, 1.0]}, n_init=1)
    few.fit(x, labels=match.astype(int))
    assert few.prevalence_ == pytest.approx((match.sum() + 1.0) / 204, rel=1e-9)


def test_standard_errors_by_bootstrap_agree_with_information():
    x, _ = pairs(8000, 0.4)
    model = em.RecordLinkage(random_state=0).fit(x)
    observed = model.standard_errors().errors["prevalence"]
    assert model.standard_errors(method="sandwich").errors["prevalence"] == pytest.approx(
        observed, rel=0.25
    )
    drawn = model.standard_errors(method="bootstrap", n_bootstrap=60, random_state=0)
    assert drawn.errors["prevalence"] == pytest.approx(observed, rel=0.35)  # 1/√120 = 9 % by chance


# ----------------------------------------------------------------------------------- reading and counting


def test_every_container_gives_the_same_bits():
    x, _ = pairs()
    expected = em.RecordLinkage(random_state=0).fit(x)
    frame = pd.DataFrame(x, columns=list("abcd"))
    for other in (
        x.astype(np.int8),
        x.astype(np.float32),
        np.asfortranarray(x),
        frame,
        pl.DataFrame(frame).cast(pl.Int64),
        x[::-1],
        x.tolist(),
    ):
        model = em.RecordLinkage(random_state=0).fit(other)
        assert model.log_likelihood_ == expected.log_likelihood_
        assert_array_equal(
            model.predict_proba(other)[:5], expected.predict_proba(np.asarray(other))[:5]
        )
    assert list(em.RecordLinkage(random_state=0).fit(frame).m_probabilities_) == list("abcd")
    yes_no = em.RecordLinkage(random_state=0).fit(x[:, [0, 2, 2]] > 0)
    assert yes_no.m_probabilities_[0].shape == (2,)


def test_bad_data_and_arguments_are_named():
    x, _ = pairs(200)
    fit = em.RecordLinkage().fit
    for value, words in ((0.5, r"holds 0\.5 \(row 3\)"), (-1.0, r"holds -1 \(row 3\)")):
        wrong = x.copy()
        wrong[3, 1] = value
        with pytest.raises(DataError, match=words):
            fit(wrong)
    wrong[3, 1] = np.inf
    with pytest.raises(DataError, match="infinity"):
        fit(wrong)
    with pytest.raises(DataError, match="compare the records first"):
        fit(x + np.array([0, 0, 1990, 0]))
    with pytest.raises(DataError, match=r"holds 3 .*levels 0, …, 2"):
        em.RecordLinkage(n_levels=3).fit(x)
    with pytest.raises(DataError, match="fewer than the 5 parameters"):
        fit(x[:, [0, 2]])
    with pytest.raises(DataError, match="text"):
        fit([["yes", "no", "no"], ["no", "yes", "yes"]])
    for options, words in (
        ({"u": [0.5]}, "one entry for each of 4"),
        ({"u": [0.2, 0.5, None, None]}, "3 probabilities that sum to 1"),
        ({"m": {"surname": 0.9}}, "keys are fields"),
        ({"prevalence": 1.5}, "between 0 and 1"),
        ({"prior": {"w": 1.0}}, "prior must be"),
        ({"prior": -1.0}, "at least 0"),
        ({"n_levels": [2, 2]}, "n_levels must be"),
    ):
        with pytest.raises(ParameterError, match=words):
            em.RecordLinkage(**options).fit(x)
    model = em.RecordLinkage(random_state=0).fit(x)
    with pytest.raises(ParameterError, match="given together"):
        model.decide(x, upper=3.0)
    with pytest.raises(ParameterError, match="false_match_rate"):
        model.thresholds(false_match_rate=2.0)
    with pytest.raises(ValueError, match="4 features"):
        model.predict(x[:, :3])


def test_a_pattern_that_neither_class_shows_is_named():
    x, match = pairs(500)
    x[x[:, 3] == 2, 3] = 3
    model = em.RecordLinkage(random_state=0, n_init=1).fit(x, labels=match.astype(int))
    with pytest.raises(ImpossibleDataError, match="row 1"):
        model.predict([[1, 1, 1, 1], [1, 1, 1, 2]])
    assert np.isneginf(model.score_samples([[1, 1, 1, 2]]))
    assert np.isnan(model.match_weights_[3][2])
    cured = em.RecordLinkage(random_state=0, prior=0.1).fit(x)
    assert np.isfinite(cured.match_weight([[1, 1, 1, 2]])).all()


# --------------------------------------------------------------------------------------- scikit-learn, files


def test_clone_pickle_and_model_files(tmp_path):
    x, _ = pairs(missing=0.1)
    frame = pd.DataFrame(x, columns=list("abcd"))
    model = em.RecordLinkage(u={"a": 0.2}, random_state=3).fit(frame)
    assert clone(model).get_params() == model.get_params()
    model.save(tmp_path / "linkage.json")
    for other in (pickle.loads(pickle.dumps(model)), em.load(tmp_path / "linkage.json")):
        assert_array_equal(other.predict_proba(frame), model.predict_proba(frame))
        assert_array_equal(other.decide(frame), model.decide(frame))
        assert other.match_weights_.keys() == model.match_weights_.keys()
        assert other.aic() == model.aic()
        assert str(other.summary()) == str(model.summary())
        with pytest.raises(InformationError, match="not kept"):
            other.standard_errors()


def test_the_summary_shows_fields_and_levels():
    text = str(em.RecordLinkage(random_state=0).fit(pairs()[0]).summary())
    assert "of the pairs are matches" in text
    assert "weight, bits" in text
    assert "converged: an estimated" in text


def test_draws_follow_the_model():
    model = em.RecordLinkage(random_state=0).fit(pairs()[0])
    x, match = model.sample(20_000)
    assert match.mean() == pytest.approx(model.prevalence_, abs=0.015)
    for g in range(4):
        share = np.bincount(x[match == 1, g].astype(int), minlength=len(M[g])) / match.sum()
        assert_allclose(share, model.m_probabilities_[g], atol=0.03)


def test_stopping_early_warns():
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        em.RecordLinkage(max_iter=2, n_init=1).fit(pairs()[0])
