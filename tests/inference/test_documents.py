"""The document step: special functions, the compiled path against the plain one, and scikit-learn's."""

import mpmath
import numpy as np
import pytest
from numba import njit
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import digamma
from sklearn.decomposition._lda import _update_doc_distribution

from expmax.inference import documents as plain
from expmax.inference import kernels_topics as compiled
from expmax.inference.documents import Documents


@njit
def evaluate(x, exp_psi, psi, log_gamma):
    for i in range(len(x)):
        exp_psi[i] = compiled.exp_digamma(x[i])
        psi[i] = compiled.digamma(x[i])
        log_gamma[i] = compiled.log_gamma(x[i])


def test_special_functions_are_accurate():
    x = np.concatenate([np.logspace(-2.2, 7, 300), [1.0, 2.0, 1.4616321449683623]])
    out = np.empty((3, len(x)))
    evaluate(x, *out)
    with mpmath.workdps(40):
        psi = np.array([mpmath.psi(0, value) for value in x])
        exact = np.array([mpmath.exp(value) for value in psi], float)
        log_gamma = np.array([mpmath.loggamma(value) for value in x], float)
    psi = psi.astype(float)
    # the exponential turns the absolute rounding of its argument, eps · |ψ|, into a relative error
    assert_allclose(out[0], exact, rtol=4e-16 * (4 + np.abs(psi).max()))
    assert_allclose(out[1], psi, rtol=2e-15, atol=1e-15)
    assert_allclose(out[2], log_gamma, rtol=4e-15, atol=1e-14)


def test_digamma_of_huge_and_tiny_numbers():
    x = np.array([1e-300, 1e-5, 1e12, 1e35, 1e200])
    out = np.empty((3, len(x)))
    evaluate(x, *out)
    assert_allclose(out[1], digamma(x), rtol=1e-14)
    assert_allclose(out[0, 2:], x[2:], rtol=1e-11)
    assert (out[0, :2] < 1e-300).all()


def collection(n=40, n_words=60, n_topics=7, seed=0):
    """Documents of planted topics, among them an empty one and one of a single word."""
    rng = np.random.default_rng(seed)
    topics = rng.dirichlet(np.full(n_words, 0.1), n_topics)
    proportions = rng.dirichlet(np.full(n_topics, 0.3), n)
    counts = np.array([rng.multinomial(rng.poisson(30), row @ topics) for row in proportions])
    counts[3] = 0
    counts[5] = 0
    counts[5, 2] = 4
    matrix = sparse.csr_matrix(counts.astype(float))
    offsets, words = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
    pseudo = 0.1 + 50 * topics * rng.gamma(5.0, 0.2, topics.shape)
    log_topics = (digamma(pseudo) - digamma(pseudo.sum(axis=1))[:, None]).T
    return Documents(offsets, words, matrix.data), np.ascontiguousarray(log_topics), matrix


ALPHA = np.linspace(0.1, 0.7, 7)


@pytest.mark.parametrize("n_topics", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("start", [False, True])
def test_compiled_is_plain_at_convergence(n_topics, start):
    documents, log_topics, _ = collection()
    log_topics = np.ascontiguousarray(log_topics[:, :n_topics])
    rng = np.random.default_rng(1)
    weight = rng.random(len(documents))
    gamma = rng.gamma(5.0, 0.2, (len(documents), n_topics)) if start else None
    options = (ALPHA[:n_topics], gamma, 20000, 1e-12)
    slow = plain.infer(documents, weight, log_topics, *options)
    fast = compiled.infer(documents, weight, np.exp(log_topics), *options)
    assert_allclose(fast.bound, slow.bound, rtol=1e-12, atol=1e-12)
    for name in ("proportions", "entropy", "assigned", "log_proportions", "joint"):
        # γ is known to the tolerance of the step times what its linear rate leaves, about 100 here
        assert_allclose(getattr(fast, name), getattr(slow, name), rtol=1e-8, atol=1e-9)
    assert (fast.rounds >= 0).all()


def test_each_round_raises_the_bound_of_each_document():
    """With resting topics too: the tolerance is 0, so that they rest between full rounds only if still."""
    documents, log_topics, _ = collection(seed=2)
    weight = np.ones(len(documents))
    for tol in (0.0, 0.5):  # at .5 a change below 5e-4 lets a topic rest
        last = np.full(len(documents), -np.inf)
        for rounds in (1, 2, 3, 5, 8, 13, 21, 34, 55):
            sums = compiled.infer(documents, weight, np.exp(log_topics), ALPHA, None, rounds, tol)
            assert (sums.bound >= last - 1e-12).all()
            last = sums.bound


def test_the_fixed_point_is_scikit_learns():
    documents, log_topics, matrix = collection()
    alpha = 0.3
    gamma, _ = _update_doc_distribution(
        matrix, np.ascontiguousarray(np.exp(log_topics).T), alpha, 20000, 1e-12, False, None
    )
    options = (np.full(7, alpha), None, 20000, 1e-12)
    sums = compiled.infer(documents, np.ones(len(documents)), np.exp(log_topics), *options)
    # its digamma is good to 1e-9 only
    assert_allclose(sums.proportions, gamma, rtol=1e-6, atol=1e-7)


def test_empty_document_has_the_prior():
    documents, log_topics, _ = collection()
    for path, topics in ((plain, log_topics), (compiled, np.exp(log_topics))):
        sums = path.infer(documents, np.ones(len(documents)), topics, ALPHA, None, 100, 1e-3)
        assert_array_equal(sums.proportions[3], ALPHA)
        assert sums.bound[3] == pytest.approx(0.0, abs=1e-12)
        assert sums.rounds[3] == 0


def test_underflow_is_told_and_the_document_left_out():
    documents, log_topics, _ = collection()
    log_topics[documents.words[0]] = -800.0
    sums = compiled.infer(
        documents, np.ones(len(documents)), np.exp(log_topics), ALPHA, None, 100, 1e-3
    )
    failed = np.flatnonzero(sums.rounds < 0)
    holds = [documents.words[0] in documents.part(d, d + 1).words for d in range(len(documents))]
    assert_array_equal(failed, np.flatnonzero(holds))
    assert not sums.assigned[documents.words[0]].any()


def test_parts_and_selections_of_documents():
    documents, _, matrix = collection()
    part = documents.part(4, 9)
    assert part.first == 4
    rows = np.array([7, 0, 5, 3])
    chosen = documents.take(rows)
    for some, expected in ((part, matrix[4:9]), (chosen, matrix[rows])):
        again = sparse.csr_matrix((some.counts, some.words, some.offsets), expected.shape)
        assert_array_equal(again.toarray(), expected.toarray())


def test_sums_of_dirichlet_distributions():
    from scipy.special import gammaln

    rng = np.random.default_rng(0)
    pseudo, prior = rng.gamma(0.5, 2.0, (30, 4)) + 1e-3, rng.random(30)
    logs, weights, tilt, norm = compiled.dirichlet(pseudo, prior)
    expected = digamma(pseudo) - digamma(pseudo.sum(axis=0))
    assert_allclose(logs, expected, rtol=1e-13)
    assert_allclose(weights, np.where(expected < -700, weights, np.exp(expected)), rtol=1e-12)
    assert_allclose(tilt, ((prior[:, None] - pseudo) * expected).sum(axis=0), rtol=1e-12)
    assert_allclose(norm, gammaln(pseudo).sum(axis=0), rtol=1e-12)
