"""Fitted topics in use: draws, model files, summaries, further documents, refusals by name."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from sklearn.base import clone

import expmax
from expmax import TopicModel
from expmax.encoding import encode
from expmax.errors import ConvergenceWarning, DataError, ParameterError

WORDS = [f"word{j}" for j in range(30)]
RNG = np.random.default_rng(0)
TOPICS = RNG.dirichlet(np.full(30, 0.1), 3)
PROPORTIONS = RNG.dirichlet(np.full(3, 0.2), 200)
COUNTS = np.array([RNG.multinomial(40, row @ TOPICS) for row in PROPORTIONS])


def partial(**options):
    return TopicModel(3, random_state=4, batch_size=50, **options).partial_fit(COUNTS[:120])


MAKERS = {
    "batch": lambda: TopicModel(3, random_state=0).fit(COUNTS),
    "online": lambda: TopicModel(3, random_state=0, learning="online").fit(COUNTS),
    "point": lambda: TopicModel(3, random_state=0, topics="point", certify=False).fit(COUNTS),
    "learned": lambda: TopicModel(
        3, random_state=0, learn_document_prior=True, learn_topic_prior=True, certify=False
    ).fit(COUNTS),
    "frame": lambda: TopicModel(3, random_state=0, n_init=2, document_prior=[0.1, 0.2, 0.3]).fit(
        pd.DataFrame(COUNTS, columns=WORDS), sample_weight=np.arange(200.0)
    ),
    "partial": partial,
    "few": lambda: TopicModel(2, init=np.ones((2, 30)) + TOPICS[:2], random_state=0).fit(
        COUNTS[:3]
    ),
}


@pytest.fixture(scope="module", params=MAKERS)
def fitted(request):
    return MAKERS[request.param]()


@pytest.fixture(scope="module")
def batch():
    return MAKERS["batch"]()


# -- draws -----------------------------------------------------------------------------------------
def test_draws_of_the_model_are_documents_that_it_expects(batch):
    """E c_w = N Σ_k (α_k / Σα) β_kw, by the posterior means; the bound of draws is that of their like."""
    counts, proportions = batch.sample(20_000, lengths=40)
    assert isinstance(counts, sparse.csr_array)
    assert counts.shape == (20_000, 30)
    assert_array_equal(counts.sum(axis=1), 40)
    share = batch.document_prior_ / batch.document_prior_.sum()
    assert_allclose(counts.mean(axis=0) / 40, share @ batch.topic_words_, atol=0.003)
    inferred = batch.transform(counts[:500])
    assert np.abs(inferred - proportions[:500]).mean() < 0.08


def test_topics_are_found_again_in_draws(batch):
    counts, _ = batch.sample(1500, lengths=60)
    again = TopicModel(3, n_init=4, random_state=1, certify=False).fit(counts)
    distance = 0.5 * np.abs(again.topic_words_[:, None] - batch.topic_words_[None]).sum(axis=2)
    row, column = linear_sum_assignment(distance)
    assert distance[row, column].max() < 0.06


def test_lengths_default_to_poisson_numbers_of_the_training_mean(batch):
    lengths = batch.sample(4000)[0].sum(axis=1)
    assert lengths.mean() == pytest.approx(40, abs=0.5)
    assert lengths.var() == pytest.approx(40, rel=0.1)
    weighted = TopicModel(3, certify=False, random_state=0)
    weighted.fit(np.vstack([COUNTS, 3 * COUNTS]), sample_weight=np.repeat([1.0, 3.0], 200))
    assert weighted.sample(4000)[0].sum(axis=1).mean() == pytest.approx(100, abs=1)


def test_numbers_of_documents_and_lengths(batch):
    assert batch.sample()[0].shape == (1, 30)
    assert batch.sample(3)[0].shape == (3, 30)
    counts, proportions = batch.sample(lengths=[0, 5, 9])
    assert_array_equal(counts.sum(axis=1), [0, 5, 9])
    assert proportions.shape == (3, 3)
    assert batch.sample(2, lengths=6)[0].sum() == 12
    assert batch.sample(lengths=6)[0].shape == (1, 30)


def test_a_seed_repeats_draws_and_a_generator_goes_on(batch):
    assert_array_equal(batch.sample(5)[0].toarray(), batch.sample(5)[0].toarray())
    moving = pickle.loads(pickle.dumps(batch))
    moving.random_state = np.random.RandomState(0)
    assert (moving.sample(5)[0] != moving.sample(5)[0]).nnz > 0


def test_drawn_topics_vary_as_the_posterior_does(batch):
    drawn = batch.sample_topics(4000)
    size = batch.components_.sum(axis=1, keepdims=True)
    mean = batch.components_ / size
    assert_allclose(drawn.mean(axis=0), mean, atol=0.002)
    assert_allclose(
        drawn.std(axis=0), np.sqrt(mean * (1 - mean) / (size + 1)), rtol=0.15, atol=1e-4
    )
    tiny = TopicModel(1, random_state=np.random.RandomState(0)).fit(np.array([[3, 1]]))
    shares = [tiny.sample(lengths=2000, topic_words="draw")[0].toarray()[0, 0] for _ in range(400)]
    # λ = (4, 2): β ~ Beta(4, 2), variance 8 / (36 · 7); the draw of 2000 words adds E β(1 − β) / 2000
    assert np.mean(shares) / 2000 == pytest.approx(4 / 6, abs=0.03)
    assert np.std(np.array(shares) / 2000) == pytest.approx(np.sqrt(8 / (36 * 7)), rel=0.12)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"n_samples": 0}, "n_samples must be an integer of at least 1"),
        ({"n_samples": 2.5}, "n_samples must be an integer"),
        ({"lengths": -1}, "lengths must be a whole number of at least 0"),
        ({"lengths": 2.5}, "lengths must be a whole number"),
        ({"lengths": [3, np.nan]}, "lengths must be"),
        ({"lengths": "long"}, "lengths must be"),
        ({"lengths": []}, "lengths must be"),
        ({"lengths": [[1]]}, "lengths must be"),
        ({"n_samples": 2, "lengths": [1, 2, 3]}, "each of n_samples=2 documents; got 3"),
        ({"topic_words": "median"}, "topic_words must be one of"),
    ],
)
def test_bad_requests_for_draws_are_named(batch, options, match):
    with pytest.raises(ParameterError, match=match):
        batch.sample(**options)


def test_point_topics_have_no_distribution():
    model = MAKERS["point"]()
    assert model.sample(2, lengths=3)[0].sum() == 6
    with pytest.raises(ParameterError, match='topics="distribution"'):
        model.sample(2, topic_words="draw")
    with pytest.raises(ParameterError, match="sample_topics needs topics with a distribution"):
        model.sample_topics()


def test_training_documents_without_words_have_no_length():
    empty = TopicModel(2, random_state=0).fit(np.zeros((3, 4)))
    with pytest.raises(DataError, match="no words; give lengths"):
        empty.sample(2)
    assert empty.sample(lengths=[4])[0].sum() == 4


def test_standard_errors_are_refused_by_name(batch):
    with pytest.raises(ParameterError, match="sample_topics"):
        batch.standard_errors()


# -- files, pickles, clones ------------------------------------------------------------------------
def test_what_is_loaded_is_what_was_saved(fitted, tmp_path):
    fitted.save(tmp_path / "topics.json")
    loaded = expmax.load(tmp_path / "topics.json")
    assert type(loaded) is TopicModel
    assert vars(loaded).keys() == vars(fitted).keys()
    assert repr(loaded) == repr(fitted)
    for name, value in fitted.__getstate__().items():
        assert encode(getattr(loaded, name)) == encode(value), name
    X = pd.DataFrame(COUNTS, columns=WORDS) if hasattr(fitted, "feature_names_in_") else COUNTS
    assert_array_equal(loaded.transform(X), fitted.transform(X))
    assert_array_equal(loaded.score_samples(X), fitted.score_samples(X))
    assert loaded.bound(X) == fitted.bound(X)
    assert_array_equal(loaded.sample(9)[0].toarray(), fitted.sample(9)[0].toarray())
    assert str(loaded.summary()) == str(fitted.summary())
    assert loaded.top_words() == fitted.top_words()
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == (tmp_path / "topics.json").read_text()


def test_learning_goes_on_from_files_and_pickles_to_the_same_bits(tmp_path):
    model = partial()
    model.save(tmp_path / "topics.json")
    others = [expmax.load(tmp_path / "topics.json"), pickle.loads(pickle.dumps(model))]
    model.partial_fit(COUNTS[120:])
    for other in others:
        other.partial_fit(COUNTS[120:])
        assert_array_equal(other.components_, model.components_)
        assert (other.n_batch_iter_, other.n_documents_seen_) == (5, 200)
    assert model.n_batch_iter_ == 5


def test_files_without_what_they_need_are_refused(batch, tmp_path):
    batch.save(tmp_path / "topics.json")
    document = json.loads((tmp_path / "topics.json").read_text())
    for key in ("model", "parameters", "encoder", "fitted"):
        broken = {name: value for name, value in document.items() if name != key}
        (tmp_path / "broken.json").write_text(json.dumps(broken))
        with pytest.raises(DataError, match="damaged model file"):
            expmax.load(tmp_path / "broken.json")
    del document["fitted"]["status_"]
    (tmp_path / "broken.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"damaged model file .*status_"):
        expmax.load(tmp_path / "broken.json")


def test_pickles_hold_no_derived_arrays(batch):
    batch.transform(COUNTS)
    before = len(pickle.dumps(clone(batch).fit(COUNTS)))
    assert len(pickle.dumps(batch)) <= before + 100


def test_parameters_are_got_set_and_cloned():
    model = TopicModel(3, document_prior=0.1, init=np.ones((3, 30)))
    again = clone(model)
    assert again.get_params().keys() == model.get_params().keys()
    assert_array_equal(again.init, model.init)
    assert again.set_params(n_topics=2, init=None).n_topics == 2
    assert repr(TopicModel(3, n_init=2)) == "TopicModel(n_init=2, n_topics=3)"
    with pytest.raises(ValueError, match="Invalid parameter 'topic_count'"):
        model.set_params(topic_count=3)


# -- more documents --------------------------------------------------------------------------------
def test_more_documents_leave_nothing_stale():
    model = MAKERS["batch"]()
    model.partial_fit(COUNTS[:100])
    for name in ("lower_bound_", "perplexity_", "history_", "certificate_", "starts_", "n_iter_"):
        assert not hasattr(model, name)
    assert (model.status_, model.kind_, model.converged_) == ("uncertified", "bound", False)
    assert (model.n_batch_iter_, model.n_documents_seen_) == (1, 300)
    assert "learned online by partial_fit, 1 update:" in str(model.summary())
    model.fit(COUNTS)
    assert (model.status_, model.n_batch_iter_, model.n_documents_seen_) == ("stationary", 0, 200)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"n_topics": 4}, "n_topics must be 3, as in the topics so far"),
        ({"topics": "point"}, "topics must be 'distribution', as in the topics so far"),
        ({"learn_topic_prior": True}, "and in partial_fit"),
        ({"learn_document_prior": "symmetric"}, "and in partial_fit"),
    ],
)
def test_learning_cannot_go_on_with_other_topics(options, match):
    model = partial()
    with pytest.raises(ParameterError, match=match):
        model.set_params(**options).partial_fit(COUNTS)
    assert model.components_.shape == (3, 30)


def test_changed_arguments_do_not_change_what_was_fitted(batch):
    model = pickle.loads(pickle.dumps(batch)).set_params(
        n_topics=9, learn_document_prior=True, topics="point"
    )
    assert_array_equal(model.transform(COUNTS), batch.transform(COUNTS))
    assert_array_equal(model.sample(3)[0].toarray(), batch.sample(3)[0].toarray())
    twin = expmax.persistence.from_document(expmax.persistence.to_document(model))
    assert twin.n_parameters_ == batch.n_parameters_ == 3 * 29


# -- reports ---------------------------------------------------------------------------------------
def test_the_summary_shows_topics_and_how_the_fit_ended(batch):
    text = str(batch.summary(WORDS, 4))
    assert "Topic model: 3 topics over 30 words, 200 documents" in text
    for words in batch.top_words(WORDS, 4):
        assert " ".join(words) in text
    assert (
        f"bound on log p(words) {batch.lower_bound_:.2f} nats (87 parameters, 8000 words)" in text
    )
    assert f"perplexity {batch.perplexity_:.1f}" in text
    assert "converged: an estimated" in text
    framed = MAKERS["frame"]().summary()
    assert "2 starts, " in str(framed)
    assert "word" in str(framed)
    assert max(map(len, text.splitlines())) <= 80
    with pytest.raises(ParameterError, match="feature_names must be of length 30"):
        batch.summary(WORDS[:3])


def test_starts_say_which_of_them_agree():
    model = TopicModel(3, n_init=3, random_state=0).fit(COUNTS)
    assert sum(start.agrees for start in model.starts_) == model.certificate_.n_agreeing


def test_progress_hears_of_every_pass():
    seen = []
    with pytest.warns(ConvergenceWarning):
        TopicModel(
            3, max_iter=4, n_init=2, random_state=0,
            progress=lambda number, bound, seconds: seen.append((number, bound)),
        ).fit(COUNTS)  # fmt: skip
    assert [number for number, _ in seen] == [1, 2, 3, 4] * 2
    online = []
    model = TopicModel(
        3, learning="online", max_iter=3, random_state=0, progress=lambda *args: online.append(args)
    ).fit(COUNTS)
    assert [args[0] for args in online] == [1, 2, 3]
    assert all(np.isnan(args[3]) for args in online)  # nobody knows how long it will go on
    assert [args[1] for args in online] == model.history_.objective[:3]
    with pytest.raises(ParameterError, match="progress must be True, False or a callable"):
        TopicModel(2, progress="yes").fit(COUNTS)


# -- bad arguments ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"n_topics": 2.5}, "n_topics must be an integer"),
        ({"learning_decay": "fast"}, "learning_decay must be above 0.5"),
        ({"learning_offset": None}, "learning_offset must be at least 1"),
        ({"learning_offset": 1.0, "learning_decay": 1.5}, "learning_decay must be"),
        ({"total_documents": "many"}, "total_documents must be positive"),
        ({"learn_document_prior": "vector"}, "learn_document_prior must be one of"),
        ({"certify": 1}, "certify must be one of"),
        ({"init": [["a"] * 30] * 3}, "init must be positive numbers of shape"),
        ({"max_document_iter": 0}, "max_document_iter must be"),
        ({"document_tol": np.inf}, "document_tol must be"),
        ({"random_state": "seed"}, "random_state must be"),
        ({"n_jobs": 0}, "n_jobs must be"),
        ({"n_init": "auto"}, "n_init must be an integer"),
        ({"max_iter": -1}, "max_iter must be"),
    ],
)
def test_bad_arguments_are_named(options, match):
    with pytest.raises(ParameterError, match=match):
        TopicModel(**({"n_topics": 3} | options)).fit(COUNTS)


def test_other_tables_are_refused(batch):
    with pytest.raises(ValueError, match="30 features"):
        batch.transform(COUNTS[:, :9])
    named = MAKERS["frame"]()
    with pytest.raises(ValueError, match="feature names"):
        named.transform(pd.DataFrame(COUNTS, columns=WORDS[::-1]))
    assert_array_equal(
        named.transform(pd.DataFrame(COUNTS, columns=WORDS)),
        named.transform(pd.DataFrame(COUNTS.astype(float), columns=WORDS)),
    )
