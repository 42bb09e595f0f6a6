"""The compiled kernels against a slow, obvious oracle, and against extended precision."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

pytest.importorskip("numba")

from expmax.inference import kernels
from expmax.inference.kernels import (
    GaussianSums,
    cancellation,
    expect_diagonal,
    expect_gaussian,
    expect_linear,
    expected_full,
    maximize_full,
    precision_cholesky,
)
from expmax.inference.kernels_inputs import FLOAT, ready
from expmax.inference.kernels_tiles import BLOCK

LONG = np.longdouble


class Problem:
    """Random rows and a random mixture of Gaussians."""

    def __init__(self, n, d, K, seed=0, spread=1.0):
        rng = np.random.default_rng([seed, n, d, K])
        factors = rng.normal(size=(K, d, 2 * d)) / np.sqrt(2 * d)
        self.covariances = factors @ factors.transpose(0, 2, 1)
        self.means = spread * rng.normal(size=(K, d))
        self.log_weights = np.log(rng.dirichlet(np.full(K, 5.0)))
        z = rng.integers(K, size=n)
        noise = np.einsum(
            "nij,nj->ni", np.linalg.cholesky(self.covariances)[z], rng.normal(size=(n, d))
        )
        self.x = self.means[z] + noise
        self.rng = rng

    @property
    def params(self):
        return self.log_weights, self.means, precision_cholesky(self.covariances)[0]

    @property
    def diagonal_params(self):
        variances = np.einsum("kii->ki", self.covariances)
        return self.log_weights, self.means, 1 / np.sqrt(variances)

    def log_joint(self, x=None):
        x = self.x if x is None else x
        columns = [
            log_weight + multivariate_normal(mean, covariance).logpdf(x).reshape(len(x))
            for log_weight, mean, covariance in zip(
                self.log_weights, self.means, self.covariances, strict=True
            )
        ]
        return np.stack(columns, axis=1)


def oracle(log_joint, x, reference, weight=None, label=None, diagonal=False):
    """Expected moments by explicit sums over rows, in the precision of its arguments."""
    n, K = log_joint.shape
    weight = np.ones(n) if weight is None else weight
    label = np.full(n, -1) if label is None else label
    d = x.shape[1]
    counts = np.zeros(K, x.dtype)
    first = np.zeros((K, d), x.dtype)
    second = np.zeros((K, d) if diagonal else (K, d, d), x.dtype)
    log_likelihood = entropy = x.dtype.type(0)
    for i in range(n):
        if label[i] >= 0:
            log_evidence = log_joint[i, label[i]]
            r = np.eye(K, dtype=x.dtype)[label[i]]
        else:
            top = log_joint[i].max()
            log_evidence = top + np.log(np.exp(log_joint[i] - top).sum())
            log_r = log_joint[i] - log_evidence
            r = np.exp(log_r)
            entropy -= weight[i] * (r[r > 0] * log_r[r > 0]).sum()
        log_likelihood += weight[i] * log_evidence
        counts += weight[i] * r
        e = x[i] - reference
        w = weight[i] * r
        first += w[:, None] * e
        second += w[:, None] * e * e if diagonal else w[:, None, None] * e[:, :, None] * e[:, None]
    return GaussianSums(counts, reference, first, second, log_likelihood, entropy)


def assert_same_sums(actual, expected, rtol=1e-11):
    """Every field to rtol of its own size; the entropy, where tiny, to rounding per row."""
    assert_allclose(
        actual.entropy, float(expected.entropy), rtol=rtol, atol=1e-14 * expected.counts.sum()
    )
    for name in ("counts", "first", "second", "log_likelihood"):
        want = np.asarray(getattr(expected, name), float)
        scale = np.abs(want).max() if want.size else 0.0
        assert_allclose(getattr(actual, name), want, rtol=rtol, atol=rtol * scale, err_msg=name)


def add(a, b):
    assert_array_equal(a.reference, b.reference)
    return GaussianSums(
        a.counts + b.counts,
        a.reference,
        a.first + b.first,
        a.second + b.second,
        a.log_likelihood + b.log_likelihood,
        a.entropy + b.entropy,
    )


@pytest.fixture(params=["monomials", "centred"])
def path(request, monkeypatch):
    """Either way to the sums, where there is a choice."""
    if request.param == "centred":
        monkeypatch.setattr(kernels, "MAX_CANCELLATION", -1.0)
    else:
        monkeypatch.setattr(kernels, "MAX_CANCELLATION", np.inf)
    return request.param


# Rows: one, fewer than a tile, whole tiles, one more; d on both sides of every change of path.
SHAPES = [
    (1, 1, 1),
    (1, 2, 3),
    (40, 1, 4),
    (BLOCK, 2, 1),
    (2 * BLOCK + 1, 2, 3),
    (300, 3, 5),
    (300, 4, 2),
    (300, 5, 20),
    (300, 6, 3),
    (BLOCK + 1, 7, 1),
    (300, 12, 5),
    (150, 17, 4),
    (120, 64, 3),
    (100, 64, 20),
]


@pytest.mark.parametrize(("n", "d", "K"), SHAPES)
def test_full_against_oracle(n, d, K, path):
    problem = Problem(n, d, K)
    sums = expect_gaussian(problem.x, None, None, *problem.params)
    assert_same_sums(sums, oracle(problem.log_joint(), problem.x, sums.reference))
    assert_array_equal(sums.second, sums.second.transpose(0, 2, 1))


@pytest.mark.parametrize(("n", "d", "K"), SHAPES)
def test_diagonal_against_oracle(n, d, K, path):
    problem = Problem(n, d, K)
    sums = expect_diagonal(problem.x, None, None, *problem.diagonal_params)
    problem.covariances = problem.covariances * np.eye(d)
    expected = oracle(problem.log_joint(), problem.x, sums.reference, diagonal=True)
    assert_same_sums(sums, expected)


@pytest.mark.parametrize(("n", "P", "K"), [(1, 1, 1), (700, 1, 3), (300, 5, 4), (200, 200, 7)])
def test_linear_against_oracle(n, P, K):
    rng = np.random.default_rng([n, P, K])
    t, log_base = rng.normal(size=(n, P)), rng.normal(size=n)
    offset, natural = rng.normal(size=K), rng.normal(size=(K, P)) / np.sqrt(P)
    weight, label = rng.uniform(0, 3, size=n), rng.integers(-1, K, size=n)
    log_joint = log_base[:, None] + offset + t @ natural.T
    zero = np.zeros((K, P))
    for w, z in [(None, None), (weight, None), (None, label), (weight, label)]:
        sums = expect_linear(t, log_base, w, z, offset, natural)
        expected = oracle(log_joint, t, zero, w, z, diagonal=True)
        assert_allclose(sums.counts, expected.counts, rtol=1e-12)
        assert_allclose(sums.sums, expected.first, rtol=1e-11, atol=1e-12 * n)
        assert_allclose(sums.log_likelihood, expected.log_likelihood, rtol=1e-12)
        assert_allclose(sums.entropy, expected.entropy, rtol=1e-12, atol=1e-12)
    without = expect_linear(t, None, None, None, offset, natural)
    assert_allclose(without.log_likelihood, logsumexp(offset + t @ natural.T, axis=1).sum())


@pytest.mark.parametrize("d", [1, 2, 8])
def test_weights_and_labels_against_oracle(d, path):
    problem = Problem(600, d, 4)
    weight = problem.rng.uniform(0, 3, size=600)
    label = problem.rng.integers(-1, 4, size=600)
    for w, z in [(weight, None), (None, label), (weight, label)]:
        sums = expect_gaussian(problem.x, w, z, *problem.params)
        assert_same_sums(sums, oracle(problem.log_joint(), problem.x, sums.reference, w, z))
        sums = expect_diagonal(problem.x, w, z, *problem.diagonal_params)
        own = Problem(600, d, 4)
        own.covariances = own.covariances * np.eye(d)
        expected = oracle(own.log_joint(), own.x, sums.reference, w, z, diagonal=True)
        assert_same_sums(sums, expected)


@pytest.mark.parametrize("d", [2, 8])
def test_weight_counts_copies(d, path):
    problem = Problem(700, d, 3)
    weight = problem.rng.integers(0, 4, size=700)
    weighted = expect_gaussian(problem.x, weight.astype(float), None, *problem.params)
    copies = expect_gaussian(np.repeat(problem.x, weight, axis=0), None, None, *problem.params)
    assert_same_sums(weighted, copies, rtol=1e-12)


@pytest.mark.parametrize("d", [2, 8])
def test_chunks_add_up(d, path):
    problem = Problem(5 * BLOCK + 77, d, 3)
    whole = expect_gaussian(problem.x, None, None, *problem.params)
    parts = [
        expect_gaussian(part, None, None, *problem.params) for part in np.array_split(problem.x, 4)
    ]
    assert_same_sums(add(add(parts[0], parts[1]), add(parts[2], parts[3])), whole, rtol=1e-12)


@pytest.mark.parametrize("d", [2, 8])
def test_component_without_weight(d, path):
    problem = Problem(400, d, 3)
    log_weights, means, precision = problem.params
    gone = np.array([log_weights[0], -np.inf, log_weights[2]])
    sums = expect_gaussian(problem.x, None, None, gone, means, precision)
    kept = expect_gaussian(problem.x, None, None, gone[[0, 2]], means[[0, 2]], precision[[0, 2]])
    assert sums.counts[1] == 0
    assert (sums.second[1] == 0).all()
    assert np.isfinite(expected_full(*sums[:4], gone, means, precision))
    assert_allclose(sums.counts[[0, 2]], kept.counts, rtol=1e-13)
    assert_allclose(sums.second[[0, 2]], kept.second, rtol=1e-12, atol=1e-11)
    assert_allclose([sums.log_likelihood, sums.entropy], [kept.log_likelihood, kept.entropy])
    known = np.full(400, 1)
    assert not np.isfinite(expect_gaussian(problem.x, None, known, gone, means, precision)[4])
    none = np.full(3, -np.inf)
    assert not np.isfinite(expect_gaussian(problem.x, None, None, none, means, precision)[4])


@pytest.mark.parametrize("d", [1, 5, 9])
def test_far_rows_neither_underflow_nor_turn_into_nan(d, path):
    problem = Problem(50, d, 3)
    x = problem.x + 450.0
    log_joint = problem.log_joint(x)
    assert log_joint.max() < -2e4
    sums = expect_gaussian(x, None, None, *problem.params)
    assert_same_sums(sums, oracle(log_joint, x, sums.reference), rtol=1e-9)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("d", [1, 2, 5, 8])
def test_bad_cell_shows_in_log_likelihood(value, d, path):
    problem = Problem(BLOCK + 30, d, 3)
    for row in (0, BLOCK + 29):
        x = problem.x.copy()
        x[row, d - 1] = value
        weight = np.full(len(x), 0.5)
        for w in (None, weight):
            assert not np.isfinite(expect_gaussian(x, w, None, *problem.params).log_likelihood)
            diagonal = expect_diagonal(x, w, None, *problem.diagonal_params)
            assert not np.isfinite(diagonal.log_likelihood)
    linear = expect_linear(x, None, None, None, np.zeros(2), np.ones((2, d)))
    assert not np.isfinite(linear.log_likelihood)


@pytest.mark.parametrize("d", [2, 8])
def test_single_precision_input(d):
    problem = Problem(500, d, 3)
    x = problem.x.astype(np.float32)
    sums = expect_gaussian(x, None, None, *problem.params)
    assert_same_sums(sums, expect_gaussian(x.astype(float), None, None, *problem.params), 1e-14)
    assert sums.second.dtype == np.float64


def test_read_only_memory_map_is_neither_copied_nor_compiled_again(tmp_path):
    problem = Problem(500, 2, 3)
    expected = expect_gaussian(problem.x, None, None, *problem.params)
    np.save(tmp_path / "x.npy", problem.x)
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    compiled = len(kernels.kernels_plain.e_step.signatures)
    frozen = [a.copy() for a in problem.params]
    for a in frozen:
        a.flags.writeable = False
    sums = expect_gaussian(x, None, None, *frozen)
    assert len(kernels.kernels_plain.e_step.signatures) == compiled
    assert_array_equal(sums.second, expected.second)
    view = ready(x, FLOAT)
    assert np.shares_memory(view, x)


@pytest.mark.parametrize("d", [2, 8])
def test_threads_give_the_same_bits(d, path):
    problem = Problem(8 * 4096, d, 4)
    chunks = np.split(problem.x, 8)

    def step(chunk):
        return expect_gaussian(chunk, None, None, *problem.params)

    alone = [step(chunk) for chunk in chunks]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(step, chunks))
    for a, b in zip(alone, together, strict=True):
        for mine, theirs in zip(a, b, strict=True):
            assert_array_equal(mine, theirs)


# ------------------------------------------------------------------------- extended precision


def log_joint_long(x, log_weights, means, precision):
    """Log joint in extended precision, centred and whitened."""
    x, means, precision = x.astype(LONG), means.astype(LONG), precision.astype(LONG)
    columns = []
    for k in range(len(means)):
        y = (x - means[k]) @ precision[k]
        log_det = np.log(np.diag(precision[k])).sum()
        constant = LONG(log_weights[k]) + log_det - x.shape[1] * np.log(2 * LONG(np.pi)) / 2
        columns.append(constant - (y * y).sum(1) / 2)
    return np.stack(columns, axis=1)


def moments(sums):
    """Means and covariances, in the precision of the sums."""
    e = sums.first / sums.counts[:, None]
    covariances = sums.second / sums.counts[:, None, None] - e[:, :, None] * e[:, None]
    return sums.reference + e, covariances


def extended_problem(kind, d):
    problem = Problem(400, d, 3)
    if kind == "offset":
        problem.x, problem.means = problem.x + 1e6, problem.means + 1e6
    elif kind == "apart":
        shift = np.array([-1e6, 0.0, 1e6])
        nearest = problem.log_joint().argmax(1)
        problem.x = problem.x + shift[nearest, None]
        problem.means = problem.means + shift[:, None]
    elif kind == "collinear" and d > 1:
        problem.x[:, 0] = problem.x[:, 1] + 1e-4 * problem.x[:, 0]
        mix = np.eye(d)
        mix[0, 0], mix[0, 1] = 1e-4, 1.0
        problem.means = problem.means @ mix.T
        problem.covariances = mix @ problem.covariances @ mix.T
    return problem


@pytest.mark.parametrize("kind", ["ordinary", "offset", "apart", "collinear"])
@pytest.mark.parametrize("d", [1, 2, 5, 6, 10])
def test_accuracy_against_extended_precision(kind, d):
    problem = extended_problem(kind, d)
    log_weights, means, precision = problem.params
    sums = expect_gaussian(problem.x, None, None, log_weights, means, precision)
    log_joint = log_joint_long(problem.x, log_weights, means, precision)
    exact = oracle(log_joint, problem.x.astype(LONG), means.astype(LONG))
    # A mean at 1e6 sd holds 1e-16 * 1e6 sd itself; every residual inherits that.
    rtol = 1e-10 if kind in ("offset", "apart") else 1e-11
    mean, covariance = moments(exact)
    new = maximize_full(*sums[:4])
    sd = np.sqrt(np.einsum("kii->ki", covariance))
    assert_allclose(sums.counts, exact.counts.astype(float), rtol=rtol)
    assert_allclose(sums.log_likelihood, float(exact.log_likelihood), rtol=rtol)
    assert_allclose(sums.entropy, float(exact.entropy), rtol=1e-9, atol=rtol)
    error = (new.means - mean) / sd
    assert np.abs(error).max() < (1e-9 if kind in ("offset", "apart") else rtol)
    error = (new.covariances - covariance) / (sd[:, :, None] * sd[:, None])
    assert np.abs(error).max() < rtol


@pytest.mark.parametrize("scale", [1.0, 10.0, 30.0, 1e2, 1e3])
@pytest.mark.parametrize("d", [6, 16])
def test_guard_bounds_the_loss_of_accuracy(scale, d, monkeypatch):
    problem = Problem(2000, d, 3, spread=scale)
    means, precision = problem.params[1:]
    log_weights = np.full(3, -np.log(3))
    growth = cancellation(log_weights, means, precision)
    assert 1.0 <= growth <= kernels.MAX_CANCELLATION
    sums = expect_gaussian(problem.x, None, None, log_weights, means, precision)
    monkeypatch.setattr(kernels, "MAX_CANCELLATION", -1.0)
    assert cancellation(log_weights, means, precision) == 1.0
    centred = expect_gaussian(problem.x, None, None, log_weights, means, precision)
    mine, exact = maximize_full(*sums[:4]), maximize_full(*centred[:4])
    sd = np.sqrt(np.einsum("kii->ki", exact.covariances))
    error = (mine.covariances - exact.covariances) / (sd[:, :, None] * sd[:, None])
    assert np.abs(error).max() < 5e-16 * (10 + 2 * growth)
    assert_allclose(sums.log_likelihood, centred.log_likelihood, rtol=1e-15 * (10 + growth))


def test_a_changed_parameter_is_noticed():
    problem = Problem(300, 8, 3)
    log_weights, means, precision = problem.params
    expect_gaussian(problem.x, None, None, log_weights, means, precision)
    means += 0.25  # in place: remembered coefficients must not survive
    sums = expect_gaussian(problem.x, None, None, log_weights, means, precision)
    assert_same_sums(sums, oracle(problem.log_joint(), problem.x, sums.reference))


# ------------------------------------------------------------------------------------- M-step


@pytest.mark.parametrize(("d", "K"), [(1, 1), (2, 3), (7, 4), (30, 2)])
def test_maximize_full(d, K):
    problem = Problem(500, d, K)
    sums = expect_gaussian(problem.x, None, None, *problem.params)
    new = maximize_full(*sums[:4])
    means, covariances = moments(sums)
    assert_allclose(new.means, means, rtol=1e-12, atol=1e-13)
    assert_allclose(new.covariances, covariances, rtol=1e-10, atol=1e-12)
    assert new.ok.all()
    P = new.precision_cholesky
    assert_allclose(P, np.triu(P))
    assert_allclose(
        P @ P.transpose(0, 2, 1) @ new.covariances, np.tile(np.eye(d), (K, 1, 1)), atol=1e-9
    )
    assert_allclose(new.log_det, -0.5 * np.linalg.slogdet(new.covariances)[1], atol=1e-11)


def test_maximize_full_reports_singular_and_empty_components():
    counts = np.array([4.0, 4.0, 0.0])
    first = np.zeros((3, 2))
    second = np.stack([np.eye(2), np.array([[4.0, 4.0], [4.0, 4.0]]), np.zeros((2, 2))])
    new = maximize_full(counts, np.zeros((3, 2)), first, second)
    assert_array_equal(new.ok, [True, False, False])
    assert_allclose(new.precision_cholesky[0], 2 * np.eye(2))
    assert np.isnan(new.precision_cholesky[1:]).all()
    assert np.isnan(new.log_det[1:]).all()
    P, log_det, ok = precision_cholesky(new.covariances)
    assert_array_equal(ok, new.ok)
    assert_array_equal(P, new.precision_cholesky)
    assert_array_equal(log_det, new.log_det)


@pytest.mark.parametrize("d", [1, 2, 5, 9])
def test_expected_full_is_the_expected_log_joint(d, path):
    problem, other = Problem(300, d, 3), Problem(300, d, 3, seed=1)
    sums = expect_gaussian(problem.x, None, None, *problem.params)
    log_joint = problem.log_joint()
    r = np.exp(log_joint - logsumexp(log_joint, axis=1, keepdims=True))
    expected = (r * other.log_joint(problem.x)).sum()
    assert_allclose(expected_full(*sums[:4], *other.params), expected, rtol=1e-11)
    # tightness: log-likelihood = Q at the same parameters + entropy
    tight = expected_full(*sums[:4], *problem.params) + sums.entropy
    assert_allclose(tight, sums.log_likelihood, rtol=1e-13)


def test_expected_full_leaves_out_empty_components():
    problem = Problem(50, 2, 2)
    log_weights, means, precision = problem.params
    sums = expect_gaussian(problem.x, None, np.zeros(50, np.int64), log_weights, means, precision)
    counts = np.array([sums.counts[0], 0.0])
    gone = np.array([log_weights[0], -np.inf])
    assert_allclose(
        expected_full(counts, *sums[1:4], gone, means, precision), sums.log_likelihood, rtol=1e-12
    )


def test_exponential_and_logarithm():
    from numba import njit

    from expmax.inference.fastexp import LOWEST, exp_nonpositive, log_normal

    @njit
    def both(x, e, log):
        for i in range(len(x)):
            e[i], log[i] = exp_nonpositive(x[i]), log_normal(-x[i] + 1e-3)

    x = np.concatenate([np.linspace(LOWEST, 0, 20_001), -np.geomspace(1e-300, 1, 1000), [np.nan]])
    e, log = np.empty_like(x), np.empty_like(x)
    both(x, e, log)
    exact = np.exp(x[:-1].astype(LONG))
    bound = (4 + np.abs(x[:-1]) / 3) * 2.0**-53
    assert (np.abs(e[:-1] / exact - 1) < bound).all()
    exact = np.log((-x[:-1] + 1e-3).astype(LONG))
    assert np.abs(log[:-1] - exact).max() < 12 * 2.0**-52
    assert np.isnan([e[-1], log[-1]]).all()
