"""Consensus of crowds: published numbers, direct maximisation, layouts of the data, weights, known classes."""

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp
from sklearn.base import clone

import expmax as em
from expmax.errors import ConvergenceWarning, DataError, InformationError, ParameterError

HERE = Path(__file__).parents[1]
REFERENCE = json.loads((HERE / "data" / "reference_dawid_skene.json").read_text())
PATIENTS = pd.read_csv(HERE.parent / "examples" / "data" / "anaesthesia.csv")
LONG = PATIENTS[["patient", "observer", "label"]]


def crowd(n_items=120, n_workers=6, k=3, accuracy=0.75, seed=0, each=4):
    """(item, worker, label) of workers of one accuracy, and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(k, size=n_items)
    item = np.repeat(np.arange(n_items), each)
    worker = np.concatenate([rng.choice(n_workers, each, replace=False) for _ in range(n_items)])
    right = rng.random(len(item)) < accuracy
    label = np.where(right, truth[item], (truth[item] + rng.integers(1, k, len(item))) % k)
    return np.stack([item + 100, worker, label], axis=1), truth


def log_likelihood_by_loops(table, prevalence, confusion):
    """Σ_i log Σ_k p_k Π π: item after item."""
    total = 0.0
    for _, rows in pd.DataFrame(np.asarray(table)).groupby(0):
        joint = prevalence.copy()
        for _, worker, label in rows.to_numpy():
            joint = joint * confusion[worker, :, label]
        total += np.log(joint.sum())
    return total


# ------------------------------------------------------------------------------- published numbers


@pytest.mark.parametrize("row", REFERENCE["rows"], ids=lambda row: row["start"])
def test_the_anaesthetists(row):
    """Dawid & Skene (1979), table 1: their own start, and the best known maximum by default."""
    model = em.DawidSkene(start=row["start"], random_state=0).fit(LONG)
    assert model.status_ == "boundary"
    assert model.log_likelihood_ == pytest.approx(row["log_likelihood"], abs=1e-6)
    assert model.n_parameters_ == row["n_parameters"]
    assert_allclose(model.prevalence_, row["prevalence"], atol=1e-6)
    assert_allclose(model.confusion_, row["confusion"], atol=2e-5)
    assert_array_equal(model.labels_, row["labels"])
    bic = -2 * row["log_likelihood"] + row["n_parameters"] * np.log(45)
    assert model.bic() == pytest.approx(bic, abs=1e-5)
    objective = model.history_.as_arrays()["objective"]
    assert (np.diff(objective) >= -1e-10).all()
    assert model.certificate_.remaining < 1e-4


def test_one_start_is_the_vote():
    one = em.DawidSkene(n_init=1).fit(LONG)
    assert [record.kind for record in one.starts_] == ["majority"]
    assert one.log_likelihood_ == pytest.approx(-192.890881214, abs=1e-6)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_default_finds_the_best_known_maximum_whatever_the_seed(seed):
    model = em.DawidSkene(random_state=seed).fit(LONG)
    assert model.log_likelihood_ == pytest.approx(-191.568856453, abs=1e-6)


# ------------------------------------------------------------------------------------- the oracles


def test_the_log_likelihood_is_that_of_the_published_parameters():
    table, _ = crowd()
    model = em.DawidSkene(random_state=0).fit(table)
    expected = log_likelihood_by_loops(table, model.prevalence_, model.confusion_)
    assert model.log_likelihood_ == pytest.approx(expected, rel=1e-12)
    assert model.score_samples(table).sum() == pytest.approx(expected, rel=1e-12)
    assert model.score(table) == pytest.approx(expected / 120, rel=1e-12)


@pytest.mark.parametrize("structure", ["full", "class_conditional", "one_coin", "homogeneous"])
def test_direct_maximisation_finds_nothing_higher(structure):
    """L-BFGS-B of SciPy on unconstrained parameters, from our answer and from elsewhere."""
    table, _ = crowd(60, 4, 3, 0.7, seed=1, each=3)
    ours = em.DawidSkene(structure, random_state=0).fit(table)
    item, worker, label = table[:, 0] - 100, table[:, 1], table[:, 2]
    k, w = 3, 4
    size = {"full": w * k * k, "homogeneous": k * k, "class_conditional": w * k, "one_coin": w}

    def log_confusion(v):
        if structure == "full":
            return log_softmax(v.reshape(w, k, k), axis=2)
        if structure == "homogeneous":
            return np.tile(log_softmax(v.reshape(1, k, k), axis=2), (w, 1, 1))
        right = -np.logaddexp(0, -v).reshape(w, -1, 1) + np.zeros((w, k, k))
        wrong = -np.logaddexp(0, v).reshape(w, -1, 1) - np.log(k - 1) + np.zeros((w, k, k))
        return np.where(np.eye(k) > 0, right, wrong)

    def loss(v):
        table = np.tile(log_softmax(v[:k]), (60, 1))
        np.add.at(table, item, log_confusion(v[k:])[worker, :, label])
        return -logsumexp(table, axis=1).sum()

    rng = np.random.default_rng(0)
    best = np.inf
    for _ in range(4):
        start = rng.normal(size=k + size[structure])
        best = min(best, minimize(loss, start, method="L-BFGS-B").fun)
    assert ours.log_likelihood_ >= -best - 1e-4


def test_a_crowd_of_known_accuracy_is_recovered():
    table, truth = crowd(1500, 5, 4, 0.8, seed=2)
    model = em.DawidSkene("one_coin", random_state=0).fit(table)
    assert model.status_ == "stationary"
    assert_allclose(model.worker_quality_["accuracy"], 0.8, atol=0.03)
    assert (model.labels_ == truth).mean() > 0.9
    errors = model.standard_errors()
    spread = np.sqrt(0.8 * 0.2 / 1200)  # of the accuracy of a worker if the truth were known
    accuracy_error = errors.errors["confusion"][:, 0, 0]
    assert (accuracy_error > spread).all()
    assert (accuracy_error < 1.6 * spread).all()


def test_quality_of_workers_by_hand():
    model = em.DawidSkene("full", prior=0.5, random_state=0).fit(crowd()[0])
    w, p = 2, model.prevalence_
    joint = p[:, None] * model.confusion_[w]
    independent = p[:, None] * joint.sum(axis=0)
    information = (joint * np.log(joint / independent)).sum()
    assert model.worker_quality_["information"][w] == pytest.approx(information, rel=1e-9)
    entropy = -(joint * np.log(model.confusion_[w])).sum()
    assert model.worker_quality_["entropy"][w] == pytest.approx(entropy, rel=1e-9)
    assert model.worker_quality_["accuracy"][w] == pytest.approx(np.trace(joint), rel=1e-12)


# --------------------------------------------------------------------------------- layouts of data


def same_fit(a, b):
    assert a.log_likelihood_ == pytest.approx(b.log_likelihood_, rel=1e-12)
    assert_allclose(a.confusion_, b.confusion_, atol=1e-7)
    assert_allclose(a.probabilities_, b.probabilities_, atol=1e-7)


def test_every_container_gives_the_same_fit():
    table, _ = crowd()
    expected = em.DawidSkene(prior=0.1, n_init=1).fit(table)
    frame = pd.DataFrame(
        {"note": "x", "label": table[:, 2], "task": table[:, 0], "worker": table[:, 1]}
    )
    renamed = pl.DataFrame({"who": table[:, 1], "what": table[:, 0], "says": table[:, 2]})
    by_name = em.DawidSkene(prior=0.1, n_init=1, columns=("what", "who", "says"))
    wide = np.full((120, 6), np.nan)
    wide[table[:, 0] - 100, table[:, 1]] = table[:, 2]
    plain = em.DawidSkene(prior=0.1, n_init=1)
    order = np.random.default_rng(0).permutation(len(table))
    for model in (
        clone(plain).fit(frame),
        clone(plain).fit(pl.DataFrame(frame)),
        clone(plain).fit(pa.Table.from_pandas(frame)),
        clone(plain).fit(table[order]),
        clone(plain).fit(table.tolist()),
        by_name.fit(renamed),
        clone(plain).fit(wide),
        clone(plain).fit(np.where(np.isnan(wide), -1, wide).astype(int)),
        clone(plain).fit(pd.DataFrame(wide, columns=list("abcdef"))),
    ):
        same_fit(model, expected)
    assert_array_equal(expected.items_, np.arange(100, 220))
    assert list(model.workers_) == list("abcdef")


def test_labels_of_any_kind_come_back():
    table, _ = crowd(k=2)
    words = np.array(["no", "yes"], object)[table[:, 2]]
    text = pd.DataFrame(
        {"item": [f"i{i}" for i in table[:, 0]], "worker": table[:, 1], "label": words}
    )
    model = em.DawidSkene(n_init=1).fit(text)
    numbers = em.DawidSkene(n_init=1).fit(table)
    assert list(model.classes_) == ["no", "yes"]
    assert_array_equal(model.labels_ == "yes", numbers.labels_ == 1)
    assert_array_equal(model.predict(text), model.labels_)
    wide = pd.DataFrame({"a": ["no", None, "yes", "no"], "b": ["no", "yes", "yes", None]})
    assert em.DawidSkene(prior=0.1, n_init=1).fit(wide).labels_.tolist() == [
        "no",
        "yes",
        "yes",
        "no",
    ]


def test_an_item_nobody_labelled_has_the_prevalences():
    wide = np.array([[0, 0], [1, 1], [0, 0], [-1, -1], [1, 0]])
    model = em.DawidSkene(prior=0.2, n_init=1).fit(wide)
    assert_allclose(model.probabilities_[3], model.prevalence_, rtol=1e-12)


def test_repeated_labels_multiply():
    table, _ = crowd()
    model = em.DawidSkene(prior=0.3, n_init=1).fit(np.vstack([table, table[:1]]))
    i, w, label = table[0]
    one = np.array([[i, w, label], [i, w, label]])
    joint = model.prevalence_ * model.confusion_[w, :, label] ** 2
    assert_allclose(model.predict_proba(one)[0], joint / joint.sum(), rtol=1e-12)


# ---------------------------------------------------------------- weights, known classes, priors, starts


def test_weight_k_is_k_copies_of_an_item():
    table, _ = crowd(40)
    times = np.random.default_rng(0).integers(0, 4, 40)
    copies = [
        table[table[:, 0] == 100 + i] + [1000 * c, 0, 0] for i in range(40) for c in range(times[i])
    ]
    weighted = em.DawidSkene(prior=0.2, n_init=1).fit(table, sample_weight=times)
    copied = em.DawidSkene(prior=0.2, n_init=1, classes=[0, 1, 2]).fit(np.vstack(copies))
    assert weighted.log_likelihood_ == pytest.approx(copied.log_likelihood_, rel=1e-10)
    assert_allclose(weighted.confusion_, copied.confusion_, atol=1e-6)
    by_item = em.DawidSkene(prior=0.2, n_init=1)
    by_item.fit(table, sample_weight=dict(zip(range(100, 140), times.tolist(), strict=True)))
    same_fit(by_item, weighted)
    assert weighted.bic() == pytest.approx(
        -2 * weighted.log_likelihood_ + weighted.n_parameters_ * np.log(times.sum())
    )


def test_known_classes_are_kept_and_help():
    table, truth = crowd(200, 4, 2, 0.35, each=3)  # wrong more often than right
    blind = em.DawidSkene("one_coin", random_state=0).fit(table)
    assert (blind.labels_ == truth).mean() < 0.5
    gold = {100 + i: int(truth[i]) for i in range(30)}
    informed = em.DawidSkene("one_coin", random_state=0).fit(table, labels=gold)
    assert_array_equal(informed.labels_[:30], truth[:30])
    assert (informed.labels_ == truth).mean() > 0.6
    same_fit(em.DawidSkene("one_coin", random_state=0).fit(table, labels=pd.Series(gold)), informed)
    partial = np.where(np.arange(200) < 30, truth, -1)
    same_fit(em.DawidSkene("one_coin", random_state=0).fit(table, labels=partial), informed)


def test_all_classes_known_is_counting():
    table, truth = crowd()
    model = em.DawidSkene(n_init=1).fit(table, labels=truth)
    for w in range(6):
        own = table[table[:, 1] == w]
        counts = np.zeros((3, 3))
        np.add.at(counts, (truth[own[:, 0] - 100], own[:, 2]), 1)
        assert_allclose(model.confusion_[w], counts / counts.sum(axis=1, keepdims=True), rtol=1e-9)


def test_a_prior_is_imaginary_labels():
    """Items of known class labelled by every worker, as many as the prior says."""
    table, truth = crowd(30)
    plain = em.DawidSkene(n_init=1, prior={"confusion": 2.0}).fit(table, labels=truth)
    rows, known = [table], dict(zip(range(100, 130), truth.tolist(), strict=True))
    for copy in range(2):
        for true in range(3):
            name = 900 + 10 * copy + true
            known[name] = true
            rows += [[[name, w, label] for w in range(6) for label in range(3)]]
    added = em.DawidSkene(n_init=1).fit(np.vstack(rows), labels=known)
    assert_allclose(plain.confusion_, added.confusion_, rtol=1e-9)


def test_a_prior_keeps_off_the_boundary_and_gives_standard_errors():
    table, _ = crowd(80, 3, 2, 0.8, each=3)
    model = em.DawidSkene(prior=1.0, random_state=0).fit(table)
    assert model.status_ == "stationary"
    assert (model.confusion_ > 0).all()
    errors = model.standard_errors()

    def objective(v):
        p = np.array([1 - v[0], v[0]])
        confusion = np.stack([1 - v[1:], v[1:]], axis=-1).reshape(3, 2, 2)
        prior = np.log(p).sum() + np.log(confusion).sum()
        return log_likelihood_by_loops(table - [100, 0, 0], p, confusion) + prior

    v = np.r_[model.prevalence_[1], model.confusion_[:, :, 1].ravel()]
    step, size = 1e-4, len(v)
    hessian = np.empty((size, size))
    for i in range(size):
        for j in range(i + 1):
            a, b = step * np.eye(size)[i], step * np.eye(size)[j]
            terms = (
                objective(v + a + b)
                - objective(v + a - b)
                - objective(v - a + b)
                + objective(v - a - b)
            )
            hessian[i, j] = hessian[j, i] = terms / (4 * step**2)
    expected = np.sqrt(np.diag(np.linalg.inv(-hessian)))
    ours = np.r_[errors.errors["prevalence"][1], errors.errors["confusion"][:, :, 1].ravel()]
    assert_allclose(ours, expected, rtol=1e-3)


def test_errors_on_the_boundary_need_the_bootstrap():
    model = em.DawidSkene("homogeneous", random_state=0).fit(LONG)
    assert model.status_ == "boundary"
    with pytest.raises(InformationError, match="boundary"):
        model.standard_errors()
    spread = model.standard_errors(method="bootstrap", n_bootstrap=20, random_state=0)
    assert spread.errors["prevalence"].shape == (4,)
    assert (spread.errors["prevalence"] > 0.01).all()


def test_a_given_start_is_where_the_run_begins():
    table, _ = crowd()
    best = em.DawidSkene(random_state=0).fit(table)
    start = {"prevalence": best.prevalence_, "confusion": best.confusion_}
    again = em.DawidSkene(start=start).fit(table)
    assert [record.kind for record in again.starts_] == ["given"]
    assert again.log_likelihood_ == pytest.approx(best.log_likelihood_, abs=1e-6)
    assert again.n_iter_ <= 12


def test_a_zero_of_the_start_that_is_none_of_the_maximum_is_left():
    table, _ = crowd(300, 4, 2, 0.7)
    free = em.DawidSkene(random_state=0).fit(table)
    trap = np.tile(np.eye(2), (4, 1, 1)) * 0.8 + 0.1
    trap[0] = [[1.0, 0.0], [0.4, 0.6]]  # worker 0 never errs on class 0: EM alone would keep that
    model = em.DawidSkene(start={"confusion": trap}).fit(table)
    assert model.log_likelihood_ == pytest.approx(free.log_likelihood_, abs=1e-3)
    assert model.confusion_[0, 0, 1] > 0.05


# ------------------------------------------------------------------------------------ scikit-learn, files


def test_clone_pickle_and_model_files(tmp_path):
    model = em.DawidSkene("class_conditional", prior=0.1, random_state=3).fit(LONG)
    assert clone(model).get_params() == model.get_params()
    model.save(tmp_path / "crowd.json")
    for other in (pickle.loads(pickle.dumps(model)), em.load(tmp_path / "crowd.json")):
        assert_array_equal(other.predict(LONG), model.predict(LONG))
        assert_array_equal(other.predict(), model.labels_)
        assert_array_equal(other.confusion_, model.confusion_)
        assert_array_equal(other.items_, model.items_)
        assert other.log_likelihood_ == model.log_likelihood_
        assert other.bic() == model.bic()
        assert str(other.summary()) == str(model.summary())
        with pytest.raises(InformationError, match="not kept"):
            other.standard_errors()


def test_the_summary_names_classes_and_workers():
    text = str(em.DawidSkene(n_init=1).fit(LONG).summary())
    assert "45 items, 5 workers" in text
    assert "log-likelihood -192.89 (63 parameters, 45 items)" in text
    assert "converged on the edge" in text


def test_the_same_seed_gives_the_same_bits_with_any_number_of_threads():
    table, _ = crowd(9000, 10, 3, each=8)
    one, two = (em.DawidSkene(random_state=0, n_jobs=n, n_init=2).fit(table) for n in (1, 2))
    assert_array_equal(one.confusion_, two.confusion_)
    assert one.log_likelihood_ == two.log_likelihood_


def test_stopping_early_warns():
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        model = em.DawidSkene(max_iter=2, n_init=1).fit(LONG)
    assert model.status_ == "max_iter"
    assert not model.converged_


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"model": "fuller"}, "model must be one of"),
        ({"start": "kmeans"}, "start must be"),
        ({"start": {"prevalence": [1.0, 0, 0, 0]}}, "confusion"),
        ({"prior": -1.0}, "prior must be finite and at least 0"),
        ({"prior": {"errors": 1.0}}, "prior must be"),
        ({"n_init": 0}, "n_init"),
        ({"layout": "tall"}, "layout must be one of"),
        ({"columns": ("patient", "label")}, "three columns"),
        ({"columns": ("patient", "nurse", "label")}, "no column 'nurse'"),
        ({"classes": [1, 1]}, "classes must be"),
        ({"tol": -1}, "tol must be"),
    ],
)
def test_bad_arguments_are_named(options, match):
    with pytest.raises(ParameterError, match=match):
        em.DawidSkene(**options).fit(LONG)


def test_bad_data_are_named():
    table, _ = crowd()
    fit = em.DawidSkene(n_init=1).fit
    with pytest.raises(DataError, match=r"one value only.*classes"):
        fit(np.c_[table[:, :2], np.ones(len(table), int)])
    holes = table.astype(float)
    holes[7, 2] = np.nan
    with pytest.raises(DataError, match=r"no label \(row 7\)"):
        fit(holes)
    with pytest.raises(DataError, match="2⁵³"):
        fit(table + np.array([2**60, 0, 0]))
    with pytest.raises(ParameterError, match="layout='long' or layout='wide'"):
        fit(np.array([[0, 1, 0], [1, 1, 0], [0, 0, 1]]))
    with pytest.raises(ParameterError, match="not all of item, worker"):
        fit(PATIENTS)
    with pytest.raises(DataError, match="label that is not known, 4"):
        em.DawidSkene(classes=[1, 2, 3]).fit(LONG)
    with pytest.raises(ParameterError, match="labels must be"):
        fit(table, labels={100: "blue"})
    with pytest.raises(ParameterError, match="keys are items"):
        fit(table, labels={1: 0})
    with pytest.raises(ParameterError, match=r"of shape \(120,\)"):
        fit(table, labels=[0, 1])
    model = em.DawidSkene(n_init=1).fit(table)
    with pytest.raises(DataError, match="worker that is not known, 17"):
        model.predict([[1, 17, 0]])
    with pytest.raises(DataError, match="label that is not known, 9"):
        model.predict([[1, 1, 9]])
