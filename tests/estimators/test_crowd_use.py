"""Crowds in use: draws for a design, integrated completed likelihood, data given again, progress."""

import json
import pickle
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

import expmax as em
from expmax.errors import DataError, ImpossibleDataError, InformationError, ParameterError

PATIENTS = pd.read_csv(Path(__file__).parents[2] / "examples" / "data" / "anaesthesia.csv")
LONG = PATIENTS[["patient", "observer", "label"]]
COLUMNS = ("patient", "observer", "label")
PREVALENCE = np.array([0.5, 0.3, 0.2])
CONFUSION = np.array(
    [
        [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.05, 0.05, 0.9]],
        [[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.3, 0.1, 0.6]],
        [[0.9, 0.05, 0.05], [0.1, 0.6, 0.3], [0.1, 0.2, 0.7]],
    ]
)


def crowd(n=200, seed=0, each=3, k=3):
    """A long table of labels drawn from the numbers above."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        z = rng.choice(k, p=PREVALENCE)
        for w in rng.choice(3, each, replace=False):
            rows.append((i, w, rng.choice(k, p=CONFUSION[w, z])))
    return np.array(rows)


@pytest.fixture(scope="module")
def fitted():
    return em.DawidSkene(prior=0.5, n_init=3, random_state=0).fit(crowd())


def posterior_by_loops(model, table):
    """P(true class | labels) and log p of every item, item after item."""
    posterior, evidence = [], []
    for _, rows in pd.DataFrame(np.asarray(table)).groupby(0):
        joint = model.prevalence_.copy()
        for _, worker, label in rows.to_numpy():
            w = model.workers_.tolist().index(worker)
            joint = joint * model.confusion_[w, :, model.classes_.tolist().index(label)]
        posterior.append(joint / joint.sum())
        evidence.append(np.log(joint.sum()))
    return np.array(posterior), np.array(evidence)


# -- integrated completed likelihood ---------------------------------------------------------------
def test_icl_is_bic_less_twice_the_log_of_the_largest_posteriors(fitted):
    table = crowd()
    r, evidence = posterior_by_loops(fitted, table)
    bic = -2 * evidence.sum() + fitted.n_parameters_ * np.log(200)
    icl = bic - 2 * np.log(r.max(axis=1)).sum()
    assert fitted.icl() == pytest.approx(icl, rel=1e-9)
    assert fitted.icl(table) == pytest.approx(icl, rel=1e-9)
    assert fitted.icl() > fitted.bic()
    other = crowd(40, seed=7)
    r, evidence = posterior_by_loops(fitted, other)
    bic = -2 * evidence.sum() + fitted.n_parameters_ * np.log(40)
    assert fitted.icl(other) == pytest.approx(bic - 2 * np.log(r.max(axis=1)).sum(), rel=1e-9)


def test_icl_counts_weights_and_knows_known_classes():
    table = crowd()
    weight = np.random.default_rng(0).integers(0, 3, 200)
    known = {0: 0, 1: 1, 5: 2}
    model = em.DawidSkene(prior=0.5, n_init=1).fit(table, sample_weight=weight, labels=known)
    r, _ = posterior_by_loops(model, table)
    hard = np.log(r.max(axis=1))
    hard[list(known)] = 0.0
    assert model.icl() - model.bic() == pytest.approx(-2 * weight @ hard, rel=1e-9)


def test_icl_comes_along_in_pickles_and_files(tmp_path):
    model = em.DawidSkene(columns=COLUMNS, start="majority").fit(PATIENTS)
    model.save(tmp_path / "crowd.json")
    for other in (pickle.loads(pickle.dumps(model)), em.load(tmp_path / "crowd.json")):
        assert other.icl() == model.icl()
        assert other.icl(PATIENTS) == pytest.approx(model.icl(), rel=1e-12)
        assert f"ICL {model.icl():.2f}" in str(other.summary())
    document = json.loads((tmp_path / "crowd.json").read_text())
    del document["fitted"]["_log_hard"]
    (tmp_path / "old.json").write_text(json.dumps(document))
    with pytest.raises(ParameterError, match="X must be the training data"):
        em.load(tmp_path / "old.json").icl()


def test_impossible_items_have_infinite_criteria():
    table = [(i, w, i % 2) for i in range(10) for w in range(2)]
    model = em.DawidSkene(start="majority").fit(table)
    assert model.icl([(0, 0, 1), (0, 1, 0), (1, 0, 1), (1, 1, 1)]) == np.inf


# -- draws -----------------------------------------------------------------------------------------
def test_patterns_of_labels_are_as_frequent_as_the_model_says(fitted):
    """All 27 patterns of three workers: log p by `score_samples` against their share in draws."""
    n = 40_000
    table, truth = fitted.sample(n)
    assert table.shape == (3 * n, 3)
    assert_array_equal(table[:, 0], np.repeat(np.arange(n), 3))
    assert_array_equal(table[:3, 1], fitted.workers_)
    drawn = table[:, 2].reshape(n, 3)
    every = np.array(list(product(range(3), repeat=3)))
    long = [(i, w, every[i, w]) for i in range(27) for w in range(3)]
    p = np.exp(fitted.score_samples(long))
    assert p.sum() == pytest.approx(1.0, rel=1e-12)
    codes = drawn @ np.array([9, 3, 1])
    share = np.bincount(codes, minlength=27) / n
    assert (np.abs(share - p) < 5 * np.sqrt(p * (1 - p) / n)).all()
    assert_allclose(np.bincount(truth) / n, fitted.prevalence_, atol=0.012)
    for w, k in product(range(3), range(3)):
        own = np.bincount(drawn[truth == k, w], minlength=3) / (truth == k).sum()
        assert_allclose(own, fitted.confusion_[w, k], atol=0.03)
    matched = fitted.predict(table[: 3 * 2000]) == truth[:2000]
    expected = fitted.predict_proba(table[: 3 * 2000]).max(axis=1).mean()
    assert matched.mean() == pytest.approx(expected, abs=0.04)


@pytest.mark.parametrize("structure", ["full", "class_conditional", "one_coin", "homogeneous"])
def test_what_was_drawn_gives_the_parameters_back(structure):
    model = em.DawidSkene(structure, prior=0.5, n_init=2, random_state=0).fit(crowd(400))
    table, truth = model.sample(6000)
    again = clone(model).fit(table)
    assert_allclose(again.prevalence_, model.prevalence_, atol=0.05)
    assert_allclose(again.confusion_, model.confusion_, atol=0.08)
    known = clone(model).fit(table, labels=truth)
    assert_allclose(known.prevalence_, model.prevalence_, atol=0.02)
    seen = 6000 * model.prevalence_[:, None]  # labels of each class by each worker
    error = np.sqrt(model.confusion_ * (1 - model.confusion_) / seen)
    assert (np.abs(known.confusion_ - model.confusion_) < 4.5 * error).all()


def test_the_spread_of_refits_to_draws_is_the_standard_error():
    """Parametric bootstrap against the observed information."""
    model = em.DawidSkene("one_coin", start="majority").fit(crowd(300))
    model.random_state = np.random.RandomState(0)
    draws = [clone(model).fit(model.sample()[0]).confusion_[:, 0, 0] for _ in range(80)]
    errors = model.standard_errors().errors["confusion"][:, 0, 0]
    assert_allclose(np.std(draws, axis=0), errors, rtol=0.35)


def test_the_training_design_is_kept_label_by_label():
    """The first observer graded every form three times."""
    model = em.DawidSkene(columns=COLUMNS, start="majority", random_state=0).fit(PATIENTS)
    table, truth = model.sample()
    assert isinstance(table, pd.DataFrame)
    assert list(table.columns) == list(COLUMNS)
    pairs = ["patient", "observer"]
    expected = LONG.sort_values(pairs)[pairs].reset_index(drop=True)
    pd.testing.assert_frame_equal(table[pairs], expected)
    assert truth.shape == (45,)
    assert set(table["label"]) <= {1, 2, 3, 4}
    assert_array_equal(clone(model).fit(table).items_, model.items_)
    assert model.predict(table).shape == (45,)


def test_large_and_ragged_designs_come_back():
    """Items of many lengths lie in several blocks."""
    rng = np.random.default_rng(0)
    each = rng.integers(1, 60, 3000)
    item = np.repeat(np.arange(3000), each)
    table = np.stack([item, rng.integers(0, 3, len(item)), rng.integers(0, 2, len(item))], axis=1)
    model = em.DawidSkene("one_coin", prior=1.0, n_init=1, random_state=0, layout="long").fit(table)
    assert len(model._training.problem.blocks) > 1
    drawn, _ = model.sample()
    order = np.lexsort((table[:, 1], table[:, 0]))
    assert_array_equal(drawn[:, :2], table[order, :2])


NAMED = ["task", "worker", "label"]
TEXT = [(f"i{i:02d}", "abc"[w], ["cat", "dog", "hen"][label]) for i, w, label in crowd(30)]


@pytest.mark.parametrize(
    "make",
    [
        list,
        lambda rows: pd.DataFrame(rows, columns=NAMED),
        lambda rows: pl.DataFrame(rows, schema=NAMED, orient="row"),
        lambda rows: pa.table(pd.DataFrame(rows, columns=NAMED)),
    ],
    ids=["list", "pandas", "polars", "pyarrow"],
)
def test_long_draws_are_in_the_container_of_the_fit(make):
    X = make(TEXT)
    model = em.DawidSkene(prior=0.5, n_init=1, random_state=0).fit(X)
    table, truth = model.sample()
    assert type(table) is (np.ndarray if isinstance(X, list) else type(X))
    assert_array_equal(clone(model).fit(table).items_, model.items_)
    assert set(truth.tolist()) <= {"cat", "dog", "hen"}
    pairs, own = model.sample([("new", "b"), ("old", "c"), ("new", "b")])
    assert len(own) == 2
    assert model.predict(pairs).shape == (2,)
    ignored, _ = model.sample(X)
    assert_array_equal(np.asarray(ignored)[:, :2], np.asarray(pd.DataFrame(TEXT))[:, :2])


def wide(cells, library):
    if library == "array":
        return cells
    frame = pd.DataFrame(cells, columns=list("pqr"))
    return {"pandas": frame, "polars": pl.from_pandas(frame), "pyarrow": pa.table(frame)}[library]


@pytest.mark.parametrize("library", ["array", "pandas", "polars", "pyarrow"])
@pytest.mark.parametrize("kind", ["number", "text"])
def test_wide_draws_have_holes_where_the_training_table_had(kind, library):
    rng = np.random.default_rng(0)
    table = crowd(40)
    cells = np.full((40, 3), np.nan)
    cells[table[:, 0], table[:, 1]] = table[:, 2]
    hole = rng.random(cells.shape) < 0.3
    hole[:, 2] = False  # a worker who labelled everything
    hole[4] = True  # an item that nobody labelled
    cells[hole] = np.nan
    if kind == "text":
        names = np.array(["cat", "dog", "hen", None], object)
        cells = names[np.where(np.isnan(cells), 3, np.nan_to_num(cells)).astype(int)]
    X = wide(cells, library)
    model = em.DawidSkene(layout="wide", prior=0.5, n_init=1, random_state=0).fit(X)
    mask = wide(~pd.isna(cells), library)
    for design in (None, X, mask):
        drawn, truth = model.sample(design)
        assert type(drawn) is type(X)
        values = drawn.to_pandas() if library in ("polars", "pyarrow") else drawn
        assert_array_equal(pd.isna(np.asarray(values)), hole)
        assert len(truth) == 40
        assert_array_equal(clone(model).fit(drawn).workers_, model.workers_)
    few, truth = model.sample(5)
    assert not pd.isna(np.asarray(few.to_pandas() if library == "pyarrow" else few)).any()
    assert model.predict(few).shape == truth.shape == (5,)


@pytest.mark.parametrize(
    ("design", "error", "match"),
    [
        (0, ParameterError, "design must be an integer of at least 1"),
        ("all", DataError, "design is of type str"),
        ([(1, 0), (2, 9)], DataError, r"worker that is not known, 9 \(row 1\)"),
        ([(1, 0), (None, 1)], DataError, r"holds no item \(row 1\)"),
        ([(1, None), (2, 1)], DataError, r"holds no worker \(row 0\)"),
        ([(1,)], DataError, "2"),
        (np.empty((0, 2)), DataError, "minimum of 1"),
    ],
)
def test_bad_designs_are_named(fitted, design, error, match):
    with pytest.raises(error, match=match):
        fitted.sample(design)


def test_without_the_training_data_a_design_is_asked_for(fitted):
    bare = pickle.loads(pickle.dumps(fitted))
    with pytest.raises(ParameterError, match="design must be given"):
        bare.sample()
    assert_array_equal(bare.sample(crowd())[0], fitted.sample(crowd())[0])
    masks = em.DawidSkene(layout="wide", prior=0.5, n_init=1).fit([[0, 1, 1], [1, 1, 0]])
    with pytest.raises(DataError, match="2 columns where the fit had 3 workers"):
        masks.sample(np.array([[True, False]]))


def test_impossible_labels_are_never_drawn():
    model = em.DawidSkene(start="majority", random_state=0).fit(LONG)
    assert (model.confusion_ == 0).any()
    table, truth = model.sample(3000)
    label = np.asarray(table)[:, 2].reshape(3000, 5)
    for w in range(5):
        pairs = np.stack([truth, label[:, w]], axis=1) - 1
        assert (model.confusion_[w, pairs[:, 0], pairs[:, 1]] > 0).all()


# -- the data given again, arguments, progress -----------------------------------------------------
@pytest.mark.parametrize("method", ["observed", "sandwich"])
def test_standard_errors_of_a_loaded_model_from_the_data_given_again(tmp_path, method):
    table = crowd()
    weight, known = np.random.default_rng(1).integers(0, 3, 200), {3: 1, 4: 0}
    given = {"sample_weight": weight, "labels": known}
    model = em.DawidSkene(prior=0.5, n_init=1).fit(table, **given)
    model.save(tmp_path / "crowd.json")
    loaded = em.load(tmp_path / "crowd.json")
    with pytest.raises(InformationError, match="give X"):
        loaded.standard_errors()
    shuffled = table[np.random.default_rng(2).permutation(len(table))]
    assert_allclose(
        loaded.standard_errors(shuffled, method=method, **given).covariance,
        model.standard_errors(method=method).covariance,
        rtol=1e-9,
        atol=1e-15,
    )


def test_resampling_leaves_out_items_of_weight_zero():
    table = crowd(60)
    weight = np.r_[np.zeros(30), np.ones(30)]
    model = em.DawidSkene("one_coin", prior=0.5, n_init=1).fit(table, sample_weight=weight)
    part = em.DawidSkene("one_coin", prior=0.5, n_init=1).fit(table[table[:, 0] >= 30])
    options = {"method": "bootstrap", "n_bootstrap": 20, "random_state": 0}
    assert_allclose(
        model.standard_errors(**options).errors["prevalence"],
        part.standard_errors(**options).errors["prevalence"],
        rtol=0.5,
    )
    assert model._training.units()[0].sum() == 30


def test_arguments_changed_after_the_fit_change_nothing_of_it(fitted):
    model = pickle.loads(pickle.dumps(fitted)).set_params(model="one_coin", prior=None)
    assert str(model.summary()) == str(fitted.summary())
    assert_array_equal(model.predict(crowd()), fitted.predict(crowd()))
    assert repr(em.DawidSkene("one_coin", n_init=2)) == "DawidSkene(model='one_coin', n_init=2)"
    assert clone(model).get_params() == model.get_params()


def test_progress_hears_of_every_step_of_every_run():
    seen = []

    def listen(iteration, objective, seconds, left):
        seen.append((iteration, objective))

    model = em.DawidSkene(
        prior=0.5, start="majority", n_init=1, random_state=0, progress=listen
    ).fit(crowd())
    steps = [iteration for iteration, _ in seen]  # those that the certificate makes come together
    assert steps == sorted(set(steps))
    assert (steps[0], steps[-1]) == (1, model.n_iter_)
    assert [objective for _, objective in seen] == [model.history_.objective[i] for i in steps]
    quiet = clone(model).set_params(progress=False).fit(crowd())
    assert_array_equal(quiet.confusion_, model.confusion_)
    with pytest.raises(ParameterError, match="progress must be True, False or a callable"):
        em.DawidSkene(progress="yes").fit(crowd())


def test_a_live_line_goes_to_standard_error(capsys):
    em.DawidSkene(prior=0.5, n_init=1, progress=True).fit(crowd())
    out, err = capsys.readouterr()
    assert out == ""
    assert "step 1" in err
    assert err.endswith("\n")


# -- record linkage --------------------------------------------------------------------------------
M = [[0.1, 0.9], [0.05, 0.15, 0.8], [0.15, 0.85]]
U = [[0.8, 0.2], [0.7, 0.2, 0.1], [0.9, 0.1]]


def pairs(n=1500, seed=0, missing=0.1):
    rng = np.random.default_rng(seed)
    match = rng.random(n) < 0.3
    x = np.stack(
        [
            np.where(match, rng.choice(len(m), n, p=m), rng.choice(len(u), n, p=u))
            for m, u in zip(M, U, strict=True)
        ],
        axis=1,
    ).astype(float)
    x[rng.random(x.shape) < missing] = np.nan
    return x, match


def linkage_joint(model, x):
    """λ Π m and (1 − λ) Π u of every pair, field after field."""
    joint = np.tile([1 - model.prevalence_, model.prevalence_], (len(x), 1))
    for g in range(x.shape[1]):
        present = ~np.isnan(x[:, g])
        level = x[present, g].astype(int)
        joint[present, 0] *= model.u_probabilities_[g][level]
        joint[present, 1] *= model.m_probabilities_[g][level]
    return joint


def test_icl_of_linkage_with_weights_and_known_pairs():
    x, match = pairs()
    rng = np.random.default_rng(1)
    weight = rng.integers(0, 3, len(x)).astype(float)
    labels = np.where(rng.random(len(x)) < 0.1, match, -1)
    model = em.RecordLinkage(random_state=0).fit(x, sample_weight=weight, labels=labels)
    joint = linkage_joint(model, x)
    hard = np.where(labels >= 0, 0.0, np.log(joint.max(axis=1) / joint.sum(axis=1)))
    own = np.where(labels >= 0, joint[np.arange(len(x)), labels], joint.sum(axis=1))
    log_likelihood = weight @ np.log(own)
    assert model.log_likelihood_ == pytest.approx(log_likelihood, rel=1e-9)
    bic = -2 * log_likelihood + model.n_parameters_ * np.log(weight.sum())
    assert model.icl() == pytest.approx(bic - 2 * weight @ hard, rel=1e-9)
    other, _ = pairs(300, seed=5)
    joint = linkage_joint(model, other)
    bic = -2 * np.log(joint.sum(axis=1)).sum() + model.n_parameters_ * np.log(300)
    hard = np.log(joint.max(axis=1) / joint.sum(axis=1)).sum()
    assert model.icl(other) == pytest.approx(bic - 2 * hard, rel=1e-9)


def test_draws_of_linkage_have_the_probabilities_of_their_patterns():
    model = em.RecordLinkage(random_state=0).fit(pairs()[0])
    x, match = model.sample(60_000)
    every = np.array(list(product(range(2), range(3), range(2))), float)
    p = np.exp(model.score_samples(every))
    assert p.sum() == pytest.approx(1.0, rel=1e-12)
    share = np.bincount((x @ [6, 2, 1]).astype(int), minlength=12) / len(x)
    assert (np.abs(share - p) < 5 * np.sqrt(p * (1 - p) / len(x))).all()
    expected = model.match_probability(every) * p
    joint = np.bincount((x[match == 1] @ [6, 2, 1]).astype(int), minlength=12) / len(x)
    assert (np.abs(joint - expected) < 5 * np.sqrt(expected / len(x)) + 1e-4).all()
    with pytest.raises(ParameterError, match="n_samples must be an integer of at least 1"):
        model.sample(0)


@pytest.mark.parametrize("method", ["observed", "sandwich"])
def test_linkage_loaded_answers_as_linkage_saved(tmp_path, method):
    x, match = pairs()
    given = {
        "sample_weight": np.random.default_rng(3).integers(0, 3, len(x)),
        "labels": np.where(np.arange(len(x)) < 50, match, -1),
    }
    model = em.RecordLinkage(random_state=0, prior=0.1).fit(x, **given)
    model.save(tmp_path / "linkage.json")
    for other in (em.load(tmp_path / "linkage.json"), pickle.loads(pickle.dumps(model))):
        assert other.icl() == model.icl()
        assert_array_equal(other.sample(20)[0], model.sample(20)[0])
        assert f"ICL {model.icl():.2f}" in str(other.summary())
        with pytest.raises(InformationError, match="give X"):
            other.standard_errors()
        assert_array_equal(
            other.standard_errors(x, method=method, **given).covariance,
            model.standard_errors(method=method).covariance,
        )
    with pytest.raises(ValueError, match="3 features"):
        other.predict(x[:, :2])


def test_impossible_pairs_have_infinite_criteria():
    patterns = [[1, 1, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1], [0, 0, 1], [0, 1, 0], [1, 0, 0]]
    x = np.repeat([*patterns, [0, 0, 0]], [74, 16, 16, 16, 74, 74, 74, 656], axis=0)
    model = em.RecordLinkage(random_state=0, n_levels=[2, 2, 3]).fit(x)
    new = np.array([[1, 1, 2], [0, 0, 0]])
    assert np.isneginf(model.score_samples(new)).tolist() == [True, False]
    assert model.icl(new) == np.inf
    with pytest.raises(ImpossibleDataError, match="row 0"):
        model.predict(new)


def test_progress_of_linkage():
    seen = []
    model = em.RecordLinkage(random_state=0, n_init=2, progress=lambda *args: seen.append(args))
    model.fit(pairs()[0])
    assert sum(args[0] == 1 for args in seen) >= 2  # a run from each start
    assert max(args[1] for args in seen) == pytest.approx(model.log_likelihood_, abs=1e-6)
    assert all(len(args) == 4 for args in seen)
    assert repr(em.RecordLinkage(n_init=2)) == "RecordLinkage(n_init=2)"


# -- bad arguments ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"classes": 3}, "classes must be a sequence"),
        ({"columns": 3}, "columns must be three columns"),
        (
            {"start": {"confusion": "abc"}},
            "start must be probabilities that sum to 1 for confusion",
        ),
        ({"start": {"confusion": np.ones((3, 3, 3))}}, "start must be probabilities"),
        ({"n_init": None}, "n_init must be an integer"),
        ({"n_init": "some"}, 'n_init must be "auto" or an integer'),
        ({"accelerate": "fast"}, "accelerate must be"),
        ({"n_jobs": 0}, "n_jobs must be"),
        ({"random_state": "x"}, "random_state must be"),
    ],
)
def test_bad_arguments_of_a_crowd_are_named(options, match):
    with pytest.raises(ParameterError, match=match):
        em.DawidSkene(**options).fit(crowd(30))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"u": {0: "often"}}, "u must be a probability of agreement"),
        ({"prior": {"prevalence": "high"}}, "prior must be a number of at least 0, or two"),
        ({"prior": {"m": "high"}}, "prior must be"),
        ({"prevalence": "high"}, "prevalence must be a number between 0 and 1"),
        ({"progress": "yes"}, "progress must be"),
    ],
)
def test_bad_arguments_of_linkage_are_named(options, match):
    with pytest.raises(ParameterError, match=match):
        em.RecordLinkage(**options).fit(pairs(100)[0])


def test_bad_thresholds_and_seeds_are_named(fitted):
    model = em.RecordLinkage(random_state=0).fit(pairs()[0])
    x = pairs(20)[0]
    with pytest.raises(ParameterError, match="threshold must be a probability"):
        model.predict(x, threshold="half")
    with pytest.raises(ParameterError, match="false_match_rate must be"):
        model.thresholds(false_match_rate="rare")
    with pytest.raises(ParameterError, match="upper must be a match weight"):
        model.error_rates(upper="high")
    with pytest.raises(ParameterError, match="upper must be a match weight"):
        model.decide(x, upper=np.nan, lower=1.0)
    with pytest.raises(ParameterError, match="lower must be a match weight"):
        model.decide(x, upper=1.0, lower=2.0)
    assert set(model.decide(x, upper=np.inf, lower=-np.inf)) == {"possible"}
    with pytest.raises(ParameterError, match="random_state must be"):
        fitted.standard_errors(method="bootstrap", random_state="x")
    with pytest.raises(ParameterError, match="method must be"):
        fitted.standard_errors(method="exact")
