"""`TopicModel`: scikit-learn's bound and interface, planted topics, invariances, honest status, bad input."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from sklearn.base import clone
from sklearn.decomposition import LatentDirichletAllocation
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from expmax import TopicModel
from expmax.errors import DataError, ImpossibleDataError, ParameterError


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:Can't check dok sparse matrix:UserWarning")
@parametrize_with_checks(
    [TopicModel(2), TopicModel(2, learning="online"), TopicModel(2, topics="point")]
)
def test_check_estimator(estimator, check):
    check(estimator)


def planted(n=300, n_words=60, n_topics=4, length=60, seed=0):
    rng = np.random.default_rng(seed)
    topics = rng.dirichlet(np.full(n_words, 0.05), n_topics)
    proportions = rng.dirichlet(np.full(n_topics, 0.2), n)
    counts = np.array([rng.multinomial(rng.poisson(length), row @ topics) for row in proportions])
    counts[7] = 0
    return counts, topics, proportions


COUNTS, TOPICS, PROPORTIONS = planted()


@pytest.fixture(scope="module")
def fitted():
    return TopicModel(4, random_state=1).fit(sparse.csr_matrix(COUNTS))


# -- against scikit-learn --------------------------------------------------------------------------
def twin(model, **options):
    """scikit-learn's estimator with the same topics."""
    peer = LatentDirichletAllocation(
        model.n_topics, max_iter=0, max_doc_update_iter=5000, mean_change_tol=1e-10, **options
    )
    peer.set_params(max_iter=1).fit(COUNTS)
    peer.components_ = model.components_
    peer.exp_dirichlet_component_ = np.exp(np.log(model._parameters.topics.T))
    return peer


def test_bound_perplexity_and_proportions_are_scikit_learns(fitted):
    model = clone(fitted).set_params(
        init=fitted.components_,
        max_iter=0,
        document_tol=1e-10,
        max_document_iter=5000,
        certify=False,
    )
    with pytest.warns(ConvergenceWarning):
        model.fit(COUNTS)
    peer = twin(model)
    assert_array_equal(model.components_, fitted.components_)
    assert_allclose(model.transform(COUNTS), peer.transform(COUNTS), atol=1e-6)
    assert model.bound(COUNTS) == pytest.approx(peer.score(COUNTS), rel=1e-9)
    assert model.bound(COUNTS[:50]) == pytest.approx(peer.score(COUNTS[:50]), rel=1e-9)
    assert model.perplexity(COUNTS) == pytest.approx(peer.perplexity(COUNTS), rel=1e-9)
    assert model.lower_bound_ == pytest.approx(peer.score(COUNTS), rel=1e-9)


def test_one_pass_is_scikit_learns(fitted):
    """The conjugate update of the topics from the same fixed points of the documents."""
    init = fitted.components_
    exact = {"document_tol": 1e-10, "max_document_iter": 5000, "certify": False}
    with pytest.warns(ConvergenceWarning):
        model = TopicModel(4, init=init, max_iter=1, **exact).fit(COUNTS)
    peer = twin(fitted)
    peer.random_state_ = None  # document steps then start from ones
    _, assigned = peer._e_step(COUNTS.astype(float), cal_sstats=True, random_init=False)
    assert_allclose(model.components_, assigned + 0.25, rtol=1e-6, atol=1e-6)


def test_the_bound_is_at_least_scikit_learns_after_as_many_passes():
    peers = [
        LatentDirichletAllocation(4, max_iter=20, random_state=seed).fit(COUNTS).score(COUNTS)
        for seed in range(3)
    ]
    ours = []
    for seed in range(3):
        with pytest.warns(ConvergenceWarning):
            model = TopicModel(4, max_iter=20, certify=False, tol=0.0, random_state=seed).fit(
                COUNTS
            )
        ours.append(model.lower_bound_)
    assert np.median(ours) > np.median(peers) - 1e-4 * COUNTS.sum()


# -- what a fit says of itself ---------------------------------------------------------------------
def test_the_bound_rises_pass_by_pass_and_is_the_one_reported(fitted):
    path = np.asarray(fitted.history_.objective)
    assert (np.diff(path) >= -1e-12 * np.abs(path[0])).all()
    assert fitted.lower_bound_ == path[-1]
    assert fitted.certificate_.monotone
    assert fitted.kind_ == "bound"
    assert fitted.status_ == "stationary"
    assert fitted.converged_
    assert fitted.certificate_.remaining <= 1e-5 * COUNTS.sum()
    assert fitted.perplexity_ == pytest.approx(np.exp(-fitted.lower_bound_ / COUNTS.sum()))


def test_the_certified_end_is_a_maximum_nearby(fitted):
    """No EM step of many gains more than the certificate says."""
    again = TopicModel(
        4, init=fitted.components_, tol=0.0, max_iter=40, certify=False,
        document_tol=1e-6, max_document_iter=1000,
    )  # fmt: skip
    with pytest.warns(ConvergenceWarning):
        again.fit(COUNTS)
    assert again.lower_bound_ - fitted.lower_bound_ < 1e-5 * COUNTS.sum()


def test_max_iter_is_told():
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        model = TopicModel(4, max_iter=3, random_state=0).fit(COUNTS)
    assert (model.status_, model.converged_, model.n_iter_) == ("max_iter", False, 3)


def test_without_a_certificate_the_status_says_so():
    model = TopicModel(4, certify=False, random_state=0).fit(COUNTS)
    assert model.status_ == "uncertified"
    assert model.certificate_.remaining <= 1e-5 * COUNTS.sum()


@pytest.mark.parametrize("topics", ["distribution", "point"])
def test_online_learning_is_uncertified_and_near_the_batch_fit(topics):
    batch = TopicModel(4, topics=topics, certify=False, random_state=0).fit(COUNTS)
    online = TopicModel(
        4, topics=topics, learning="online", batch_size=50, max_iter=30, random_state=0
    )
    online.fit(COUNTS)
    assert (online.status_, online.converged_) == ("uncertified", False)
    assert not online.certificate_.verified
    assert online.n_iter_ == 30
    assert online.n_batch_iter_ == 180
    words = COUNTS.sum()
    assert online.lower_bound_ / words == pytest.approx(batch.lower_bound_ / words, abs=0.1)
    assert online.lower_bound_ == pytest.approx(online.bound(COUNTS), rel=1e-6)


def test_online_updates_are_hoffmans():
    """Algorithm 2 of Hoffman, Blei & Bach (2010), with scikit-learn's document step."""
    init = np.random.default_rng(0).gamma(100.0, 0.01, (4, 60))
    options = {"learning_offset": 10.0, "learning_decay": 0.7, "batch_size": 100}
    ours = TopicModel(
        4, init=init, total_documents=300, document_tol=1e-10, max_document_iter=5000, **options
    ).partial_fit(COUNTS)
    peer = LatentDirichletAllocation(
        4, total_samples=300, mean_change_tol=1e-10, max_doc_update_iter=5000, **options
    )
    peer._init_latent_vars(60, dtype=np.float64)
    peer.components_ = init.copy()
    peer.exp_dirichlet_component_ = np.exp(peer_log(init))
    peer.random_state_ = None  # document steps start from ones
    peer.n_batch_iter_ = 0  # the paper counts steps from 0, scikit-learn from 1
    peer.partial_fit(COUNTS.astype(float))
    assert_allclose(ours.components_, peer.components_, rtol=1e-4, atol=1e-4)
    assert ours.n_batch_iter_ == 3
    assert ours.n_documents_seen_ == 300


def peer_log(pseudo):
    from scipy.special import digamma

    return digamma(pseudo) - digamma(pseudo.sum(axis=1))[:, None]


def test_partial_fit_goes_on_from_a_fit(fitted):
    model = pickle.loads(pickle.dumps(fitted)).partial_fit(COUNTS[:128])
    assert (model.status_, model.n_batch_iter_) == ("uncertified", 1)
    assert not np.array_equal(model.components_, fitted.components_)


# -- what is found ---------------------------------------------------------------------------------
def matched(found, true):
    """Total variation distance of each true topic to its partner."""
    distance = 0.5 * np.abs(found[:, None] - true[None]).sum(axis=2)
    row, column = linear_sum_assignment(distance)
    return distance[row, column][np.argsort(column)], row[np.argsort(column)]


@pytest.mark.parametrize(
    "options",
    [{}, {"topics": "point"}, {"learn_document_prior": True, "learn_topic_prior": True}],
    ids=["distribution", "point", "learned"],
)
def test_planted_topics_are_recovered(options):
    model = TopicModel(4, n_init=4, random_state=0, certify=False, **options).fit(COUNTS)
    distance, order = matched(model.topic_words_, TOPICS)
    assert distance.max() < 0.12
    found = model.transform(COUNTS)[:, order]
    used = COUNTS.sum(axis=1) > 30
    assert np.abs(found - PROPORTIONS)[used].mean() < 0.06
    assert len(model.starts_) == 4
    assert model.lower_bound_ == pytest.approx(max(start.objective for start in model.starts_))


def test_learned_priors_raise_the_bound_and_find_the_planted_ones():
    plain = TopicModel(4, random_state=0, certify=False).fit(COUNTS)
    model = TopicModel(
        4, random_state=0, certify=False, learn_document_prior="symmetric", learn_topic_prior=True
    ).fit(COUNTS)
    assert model.lower_bound_ > plain.lower_bound_ + 10
    assert model.document_prior_ == pytest.approx(0.2, rel=0.4)
    assert model.topic_prior_ == pytest.approx(0.05, rel=0.5)


def test_top_words_name_the_heaviest(fitted):
    names = [f"w{j}" for j in range(60)]
    for words, row in zip(fitted.top_words(names, 5), fitted.topic_words_, strict=True):
        values = [row[names.index(word)] for word in words]
        assert values == sorted(row, reverse=True)[:5]
    frame = pd.DataFrame(COUNTS, columns=names)
    named = TopicModel(4, random_state=1).fit(frame)
    assert named.top_words(n=5) == fitted.top_words(names, 5)


def test_documents_without_words_have_the_prior(fitted):
    assert_allclose(fitted.transform(COUNTS[7:8]), 0.25)
    assert fitted.score_samples(COUNTS[7:8]) == pytest.approx(0.0, abs=1e-10)
    empty = TopicModel(2, random_state=0).fit(np.zeros((3, 4)))
    assert_allclose(empty.components_, 0.5)
    assert empty.lower_bound_ == pytest.approx(0.0, abs=1e-9)


# -- invariances -----------------------------------------------------------------------------------
def test_workers_change_no_bit():
    big = np.vstack([planted(2000, seed=3)[0]] * 2)
    models = [
        TopicModel(4, max_iter=15, tol=0.0, n_jobs=n, random_state=0, certify=False)
        for n in (None, 2, 3)
    ]
    for model in models:
        with pytest.warns(ConvergenceWarning):
            model.fit(big)
    for model in models[1:]:
        assert_array_equal(model.components_, models[0].components_)
        assert_array_equal(model.transform(big), models[0].transform(big))
        assert model.lower_bound_ == models[0].lower_bound_


def test_sparse_dense_and_frames_give_the_same(fitted):
    dense = TopicModel(4, random_state=1).fit(COUNTS)
    assert_array_equal(dense.components_, fitted.components_)
    assert_array_equal(
        dense.transform(sparse.coo_array(COUNTS)), fitted.transform(COUNTS.astype(np.float32))
    )


def short(**options):
    return TopicModel(4, max_iter=8, tol=0.0, certify=False, random_state=0, **options)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_order_of_documents_and_words_does_not_matter():
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(300), rng.permutation(60)
    init = rng.gamma(100.0, 0.01, (4, 60))
    model = short(init=init).fit(COUNTS)
    moved = short(init=init[:, columns]).fit(COUNTS[rows][:, columns])
    assert_allclose(moved.components_, model.components_[:, columns], rtol=1e-6, atol=1e-8)
    assert moved.lower_bound_ == pytest.approx(model.lower_bound_, rel=1e-10)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_weights_are_copies():
    weight = np.random.default_rng(1).integers(0, 3, 300)
    weighted = short().fit(COUNTS, sample_weight=weight)
    copied = short().fit(np.repeat(COUNTS, weight, axis=0))
    assert_allclose(weighted.components_, copied.components_, rtol=1e-6, atol=1e-8)
    assert weighted.lower_bound_ == pytest.approx(copied.lower_bound_, rel=1e-10)
    assert weighted.perplexity_ == pytest.approx(copied.perplexity_)


def test_a_seed_fixes_every_bit_and_none_does_not():
    one, two = (TopicModel(4, random_state=5, max_iter=30, certify=False).fit(COUNTS) for _ in "ab")
    assert_array_equal(one.components_, two.components_)


# -- scikit-learn's tools --------------------------------------------------------------------------
def test_in_pipelines_searches_and_frames(fitted):
    out = clone(fitted).set_output(transform="pandas").fit(COUNTS).transform(COUNTS)
    assert list(out.columns) == [f"topicmodel{k}" for k in range(4)]
    assert_allclose(out.sum(axis=1), 1.0)
    search = GridSearchCV(TopicModel(random_state=0, certify=False), {"n_topics": [1, 4]}, cv=3)
    search.fit(COUNTS)
    assert search.best_params_ == {"n_topics": 4}
    assert make_pipeline(clone(fitted)).fit_transform(COUNTS).shape == (300, 4)
    assert_array_equal(
        pickle.loads(pickle.dumps(fitted)).transform(COUNTS), fitted.transform(COUNTS)
    )


def test_score_is_the_mean_of_score_samples(fitted):
    samples = fitted.score_samples(COUNTS)
    assert fitted.score(COUNTS) == pytest.approx(samples.mean())
    assert fitted.bound(COUNTS) == pytest.approx(samples.sum() + fitted._parameters.log_prior)
    held = np.exp(-samples.sum() / COUNTS.sum())
    assert fitted.perplexity(COUNTS, topics=False) == pytest.approx(held)


def test_progress_is_called():
    seen = []
    with pytest.warns(ConvergenceWarning):
        TopicModel(2, max_iter=3, progress=lambda *args: seen.append(args)).fit(COUNTS)
    assert [iteration for iteration, *_ in seen] == [1, 2, 3]


# -- bad input -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"n_topics": 0}, "n_topics must be an integer of at least 1"),
        ({"document_prior": 0.0}, "document_prior must be positive"),
        ({"document_prior": [1.0, 2.0, 3.0]}, "document_prior"),
        ({"topic_prior": -1.0}, "topic_prior must be positive"),
        ({"topics": "points"}, "topics must be one of"),
        ({"learning": "incremental"}, "learning must be one of"),
        ({"learning_decay": 0.4}, "learning_decay must be above 0.5"),
        ({"learning_offset": 0.0}, "learning_offset must be at least 1"),
        ({"total_documents": 0}, "total_documents must be positive"),
        ({"init": np.ones((3, 60))}, "init must be positive numbers of shape"),
        ({"init": np.zeros((4, 60))}, "init must be positive numbers of shape"),
        ({"tol": -1.0}, "tol must be"),
        ({"n_init": 0}, "n_init must be"),
        ({"topics": "point", "learn_topic_prior": True}, "learn_topic_prior must be False"),
        ({"learning": "online", "learn_document_prior": True}, "must be False with"),
    ],
)
def test_bad_arguments_are_named(options, match):
    with pytest.raises(ParameterError, match=match):
        TopicModel(**({"n_topics": 4} | options)).fit(COUNTS)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_array])
@pytest.mark.parametrize(
    ("value", "match"), [(-2.0, "column 3 holds -2"), (np.inf, "column"), (np.nan, "column")]
)
def test_bad_counts_are_named(form, value, match):
    counts = COUNTS[:20].astype(float)
    counts[4, 3] = value
    with pytest.raises(DataError, match=match):
        TopicModel(2).fit(form(counts))


def test_a_word_that_no_point_topic_holds_is_impossible():
    counts = np.hstack([COUNTS, np.zeros((300, 1), int)])
    model = TopicModel(4, topics="point", certify=False, random_state=0).fit(counts)
    new = np.zeros((2, 61))
    new[0, 0], new[1, 60] = 1, 1
    assert np.isneginf(model.score_samples(new)).tolist() == [False, True]
    with pytest.raises(ImpossibleDataError, match="document 1"):
        model.transform(new)
    smooth = TopicModel(4, topics="point", topic_prior=0.1, certify=False, random_state=0)
    assert np.isfinite(smooth.fit(counts).score_samples(new)).all()
