"""One EM iteration of a Gaussian mixture: our kernels beside scikit-learn's own steps.

    python benchmarks/kernels.py [--quick] [--repeats N]

Each iteration is a complete E-step and M-step at fixed parameters, one thread each, the two
libraries taking turns so that a busy machine slows both; CPU time, the best of each.  Ours
sums chunks as the engine does and also evaluates the expected log joint (for the certificate).
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from expmax.inference.kernels import (
    GaussianSums,
    expect_diagonal,
    expect_gaussian,
    expected_full,
    maximize_full,
)

# covariance, rows, columns, components, goal
CASES = [
    ("full", 10_000, 2, 3, 25),
    ("full", 1_000_000, 2, 5, 45),
    ("full", 100_000, 16, 10, 10),
    ("full", 1_000_000, 10, 10, 15),
    ("full", 100_000, 64, 20, 5),
    ("diag", 1_000_000, 20, 16, 8),
]


def chunk_rows(n_components, n_monomials):
    """Rows per call, as the engine chooses them."""
    return min(max(2**22 // (n_components * n_monomials), 4096), 65536)


def add(a, b):
    """Sums of two chunks."""
    return GaussianSums(
        a.counts + b.counts,
        a.reference,
        a.first + b.first,
        a.second + b.second,
        a.log_likelihood + b.log_likelihood,
        a.entropy + b.entropy,
    )


def expect(step, x, rows, *params):
    """E-step over all chunks."""
    sums = step(x[:rows], None, None, *params)
    for start in range(rows, len(x), rows):
        sums = add(sums, step(x[start : start + rows], None, None, *params))
    return sums


def iterate_full(x, log_weights, means, precision_cholesky):
    """One EM iteration with full covariances, and Q of the new parameters."""
    K, d = means.shape
    rows = chunk_rows(K, 1 + d + d * (d + 1) // 2)
    sums = expect(expect_gaussian, x, rows, log_weights, means, precision_cholesky)
    new = maximize_full(*sums[:4])
    new_log_weights = np.log(sums.counts / len(x))
    expected_full(*sums[:4], new_log_weights, new.means, new.precision_cholesky)
    return sums.log_likelihood / len(x)


def iterate_diagonal(x, log_weights, means, precision_scale):
    """One EM iteration with diagonal covariances."""
    K, d = means.shape
    rows = chunk_rows(K, 1 + 2 * d)
    sums = expect(expect_diagonal, x, rows, log_weights, means, precision_scale)
    e = sums.first / sums.counts[:, None]
    _ = np.log(sums.counts / len(x)), sums.reference + e
    _ = 1.0 / np.sqrt(sums.second / sums.counts[:, None] - e * e)
    return sums.log_likelihood / len(x)


def problem(covariance, n, d, K, seed=0):
    """Rows from overlapping clusters and scikit-learn's mixture two steps into its fit."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(K, d)) * 2.0
    x = centres[rng.integers(K, size=n)] + rng.normal(size=(n, d))
    mixture = GaussianMixture(K, covariance_type=covariance, reg_covar=0.0)
    guess = np.exp(-0.2 * ((x[:, None, :2] - centres[None, :, :2]) ** 2).sum(2)) + 1e-3
    mixture._initialize(x, guess / guess.sum(1, keepdims=True))
    return x, mixture


def best_times(functions, repeats):
    """Least seconds of each function, called in turn."""
    best = [math.inf] * len(functions)
    for _ in range(repeats):
        for i, function in enumerate(functions):
            start = time.thread_time()
            function()
            best[i] = min(best[i], time.thread_time() - start)
    return best


def compare(covariance, n, d, K, repeats):
    """Best seconds of scikit-learn and ours; both must see the same log-likelihood."""
    x, mixture = problem(covariance, n, d, K)
    log_weights = np.log(mixture.weights_)
    params = (log_weights, mixture.means_.copy(), mixture.precisions_cholesky_.copy())
    iterate = iterate_full if covariance == "full" else iterate_diagonal
    state = {name: getattr(mixture, name) for name in vars(mixture) if name.endswith("_")}

    def theirs():
        vars(mixture).update(state)
        log_likelihood, log_resp = mixture._e_step(x)
        mixture._m_step(x, log_resp)
        return log_likelihood

    def ours():
        return iterate(x, *params)

    np.testing.assert_allclose(ours(), theirs(), rtol=1e-10)
    return best_times([theirs, ours], repeats)


def main():
    """Print the table of ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows from 1e6 on")
    parser.add_argument("--repeats", type=int, default=0, help="turns; default: about 10 s a case")
    args = parser.parse_args()
    print(
        f"{'covariance':10} {'rows':>8} {'d':>3} {'K':>3} {'sklearn ms':>11} {'ours ms':>9}", end=""
    )
    print(f" {'ns/row':>7} {'ratio':>6} {'goal':>5}")
    with threadpool_limits(limits=1):
        for covariance, rows, d, K, goal in CASES:
            n = rows // 10 if args.quick and rows >= 1_000_000 else rows
            repeats = args.repeats or max(5, min(300, int(6e8 / (n * d * K))))
            slow, fast = compare(covariance, n, d, K, repeats)
            print(f"{covariance:10} {n:8} {d:3} {K:3} {slow * 1e3:11.3f} {fast * 1e3:9.4f}", end="")
            print(f" {fast / n * 1e9:7.2f} {slow / fast:6.1f} {goal:5}", flush=True)


if __name__ == "__main__":
    main()
