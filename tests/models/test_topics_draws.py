"""Draws from topic models: exact probabilities of small documents, moments in closed form."""

from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import gammaln

from expmax.models.topics_draws import draw_documents, draw_topics

TOPICS = np.array([[0.5, 0.3, 0.2, 0.0], [0.1, 0.0, 0.3, 0.6], [0.25, 0.25, 0.25, 0.25]])
PRIOR = np.array([0.3, 0.7, 1.5])


def log_dirichlet_multinomial(counts, prior):
    """log ∫ Π θ_k^n_k Dirichlet(θ; α) dθ, of a sequence."""
    value = gammaln(prior.sum()) - gammaln(prior.sum() + counts.sum())
    return value + (gammaln(prior + counts) - gammaln(prior)).sum()


def probability_of(words):
    """p(w_1, …, w_N) by enumeration of all topic assignments."""
    total = 0.0
    for z in product(range(len(PRIOR)), repeat=len(words)):
        counts = np.bincount(z, minlength=len(PRIOR))
        shares = np.exp(log_dirichlet_multinomial(counts, PRIOR))
        total += shares * np.prod([TOPICS[k, w] for k, w in zip(z, words, strict=True)])
    return total


def test_documents_of_three_words_have_their_exact_probabilities():
    n = 200_000
    counts, _ = draw_documents(TOPICS, PRIOR, np.full(n, 3), np.random.default_rng(0))
    found, times = np.unique(counts.toarray(), axis=0, return_counts=True)
    expected: dict[tuple[int, ...], float] = {}
    for words in product(range(4), repeat=3):
        key = tuple(np.bincount(words, minlength=4).tolist())
        expected[key] = expected.get(key, 0.0) + probability_of(words)
    assert sum(expected.values()) == pytest.approx(1.0, rel=1e-12)
    drawn = dict(zip(map(tuple, found.tolist()), times / n, strict=True))
    for key, p in expected.items():
        assert abs(drawn.get(key, 0.0) - p) < 5 * np.sqrt(p * (1 - p) / n) + 1e-12


def test_means_and_covariances_are_those_of_the_compound_distribution():
    """Cov c = N (diag m − m mᵀ) + N (N − 1) (Cov θβ), m = E θβ."""
    n, length = 100_000, 25
    counts, proportions = draw_documents(
        TOPICS, PRIOR, np.full(n, length), np.random.default_rng(1)
    )
    mean_share = PRIOR / PRIOR.sum()
    spread = (np.diag(mean_share) - np.outer(mean_share, mean_share)) / (PRIOR.sum() + 1)
    m = mean_share @ TOPICS
    covariance = length * (np.diag(m) - np.outer(m, m))
    covariance += length * (length - 1) * TOPICS.T @ spread @ TOPICS
    dense = counts.toarray()
    assert_allclose(dense.mean(axis=0), length * m, rtol=0.01)
    assert_allclose(np.cov(dense.T), covariance, rtol=0.03, atol=0.05)
    assert_allclose(proportions.mean(axis=0), mean_share, atol=0.005)
    assert_allclose(np.cov(proportions.T), spread, atol=0.002)


def test_lengths_are_kept_and_impossible_words_never_drawn():
    lengths = np.array([0, 7, 1, 300, 0])
    only = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    counts, proportions = draw_documents(only, np.ones(2), lengths, np.random.default_rng(2))
    assert_array_equal(counts.sum(axis=1), lengths)
    assert counts.dtype.kind == "i"
    assert counts.has_canonical_format
    assert counts[:, [0]].sum() == 0
    assert_allclose(proportions.sum(axis=1), 1.0)
    none, _ = draw_documents(only, np.ones(2), np.zeros(2, int), np.random.default_rng(2))
    assert none.nnz == 0


def test_topics_are_drawn_from_their_dirichlet_distributions():
    pseudo = np.array([[0.5, 20.0], [2.0, 3.0], [7.5, 1.0]])  # V = 3 words, K = 2 topics
    drawn = draw_topics(pseudo, 50_000, np.random.default_rng(3))
    assert drawn.shape == (50_000, 2, 3)
    assert_allclose(drawn.sum(axis=2), 1.0)
    size = pseudo.sum(axis=0)
    mean = pseudo / size
    assert_allclose(drawn.mean(axis=0), mean.T, atol=0.005)
    assert_allclose(drawn.var(axis=0), (mean * (1 - mean) / (size + 1)).T, rtol=0.05, atol=1e-5)
