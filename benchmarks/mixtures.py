"""Mixtures side by side with scikit-learn, in one interleaved run: time an iteration, memory, time to a value.

    python -m benchmarks.mixtures            all cases
    python -m benchmarks.mixtures small      those that take seconds

Both sides start from the same parameters and make the same number of plain EM iterations on one thread; the
time of an iteration is the difference between a long and a short fit, so reading and checking the data cancel.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, logsumexp
from sklearn.mixture import GaussianMixture as Peer
from threadpoolctl import threadpool_limits

import expmax as em

REPEATS = 3


@dataclass(frozen=True)
class Case:
    rows: int
    columns: int
    components: int
    covariance: str = "full"
    ours: tuple[int, int] = (3, 23)  # iterations of the short and the long fit
    peer: tuple[int, int] = (2, 6)
    small: bool = False

    @property
    def label(self) -> str:
        return f"{self.rows:.0e}×{self.columns}×{self.components} {self.covariance}".replace(
            "+0", ""
        )


CASES = (
    Case(10**4, 2, 3, ours=(10, 1010), peer=(5, 105), small=True),
    Case(10**6, 2, 5),
    Case(10**5, 16, 10, small=True),
    Case(10**6, 10, 10, ours=(3, 13), peer=(2, 4)),
    Case(10**5, 64, 20, ours=(2, 6), peer=(2, 4)),
    Case(10**6, 20, 16, "diag", ours=(3, 13), peer=(2, 4)),
)


def data(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping clusters, and means to start from."""
    rng = np.random.default_rng(0)
    means = rng.standard_normal((case.components, case.columns)) * 2.0
    rows = means[rng.integers(case.components, size=case.rows)]
    rows += rng.standard_normal(rows.shape)
    return rows, means + 0.3 * rng.standard_normal(means.shape)


def start(case: Case, means: np.ndarray) -> dict[str, np.ndarray]:
    k, d = means.shape
    precisions = np.ones((k, d)) if case.covariance == "diag" else np.tile(np.eye(d), (k, 1, 1))
    return {
        "weights_init": np.full(k, 1 / k),
        "means_init": means,
        "precisions_init": precisions,
        "covariance_type": case.covariance,
        "reg_covar": 1e-6,
    }


def ours(case: Case, x: np.ndarray, means: np.ndarray, n_iter: int, n_jobs: int = 1, **more):
    options = {"tol": 0.0, "accelerate": None, "n_jobs": n_jobs} | more
    model = em.GaussianMixture(case.components, max_iter=n_iter, **options, **start(case, means))
    return timed(model, x)


def peer(case: Case, x: np.ndarray, means: np.ndarray, n_iter: int, tol: float = 0.0):
    model = Peer(case.components, max_iter=n_iter, tol=tol, **start(case, means))
    return timed(model, x)


def timed(model, x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        begun, busy = time.perf_counter(), time.process_time()
        model.fit(x)
        if model.get_params().get("n_jobs", 1) == 1:  # what else the machine does counts less there
            return time.process_time() - busy, model
        return time.perf_counter() - begun, model


def per_iteration(fit, short: int, long: int) -> float:
    """Seconds an iteration, from a short and a long fit."""
    brief, a = fit(short)
    full, b = fit(long)
    return (full - brief) / max(b.n_iter_ - a.n_iter_, 1)


def compare(case: Case) -> str:
    x, means = data(case)
    ours(case, x[: min(len(x), 30000)], means, 3)  # compile
    ratios, mine, theirs, two = [], [], [], []
    for _ in range(REPEATS):
        mine.append(per_iteration(lambda n: ours(case, x, means, n), *case.ours))
        theirs.append(per_iteration(lambda n: peer(case, x, means, n), *case.peer))
        two.append(per_iteration(lambda n: ours(case, x, means, n, n_jobs=2), *case.ours))
        ratios.append(theirs[-1] / mine[-1])
    a, b, c = (float(np.median(times)) for times in (mine, theirs, two))
    return (
        f"{case.label:18} {b * 1e3:10.2f} {a * 1e3:10.3f} {np.median(ratios):7.1f}× "
        f"({min(ratios):.1f}–{max(ratios):.1f}) {a / c:6.2f}×"
    )


def to_value(case: Case) -> str:
    """Seconds until our log-likelihood passes the one scikit-learn stops at (tol=1e-5)."""
    x, means = data(case)
    theirs, model = peer(case, x, means, 200, tol=1e-5)
    value = model.score(x) * len(x)
    mine, fitted = ours(case, x, means, 200, accelerate="auto", tol=1e-4)
    path = np.asarray(fitted.history_.log_likelihood)
    reached = int(np.argmax(path >= value)) if (path >= value).any() else len(path)
    share = mine * reached / max(fitted.n_expect_, 1)
    return (
        f"{case.label:18} {theirs:9.2f} s {share:9.3f} s {theirs / share:8.1f}×   "
        f"{value:.4f} → {fitted.log_likelihood_:.4f} in {mine:.2f} s"
    )


def memory(case: Case, who: str) -> float:
    """Rise of the resident set during a fit in a process of its own, MB."""
    code = f"from benchmarks.mixtures import *; print(rise({CASES.index(case)}, {who!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def rise(index: int, who: str) -> float:
    case = CASES[index]
    x, means = data(case)
    fit = ours if who == "ours" else peer
    fit(case, x[:20000].copy(), means, 2)
    before = resident()
    peak = [before]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            peak[0] = max(peak[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    fit(case, x, means, 3)
    done.set()
    watcher.join()
    return peak[0] - before


def resident() -> float:
    """Resident set now, MB (Linux)."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def poisson(rows: int = 10**7) -> str:
    """Counts: exact compression against the textbook loop in NumPy on all rows."""
    rng = np.random.default_rng(0)
    rates = np.array([1.0, 4.0, 9.0, 20.0])
    x = rng.poisson(rates[rng.integers(4, size=rows)]).astype(float)[:, None]
    init = {"weights": np.full(4, 0.25), "rate": rates * 1.3}
    mine, model = timed(
        em.Mixture(em.Poisson(), 4, init=init, max_iter=100, tol=0.0, accelerate=None), x
    )
    log_w, rate, base = np.log(init["weights"]), init["rate"].copy(), gammaln(x + 1)
    begun = time.perf_counter()
    for _ in range(3):
        log_joint = log_w + x * np.log(rate) - rate - base
        r = np.exp(log_joint - logsumexp(log_joint, axis=1, keepdims=True))
        counts = r.sum(axis=0)
        log_w, rate = np.log(counts / rows), (r.T @ x)[:, 0] / counts
    loop = (time.perf_counter() - begun) / 3
    return (
        f"{rows:.0e} Poisson counts, K = 4: {mine:.2f} s for {model.n_iter_} iterations, reading and "
        f"compressing included; NumPy loop {loop * model.n_iter_:.0f} s ({loop:.2f} s an iteration), "
        f"{loop * model.n_iter_ / mine:.0f}×"
    )


def main(arguments: list[str]) -> None:
    cases = [case for case in CASES if case.small or "small" not in arguments]
    with threadpool_limits(1):
        print("Time an iteration, one thread; last column: two threads against one")
        print(f"{'case':18} {'sklearn ms':>10} {'expmax ms':>10} {'ratio':>8} (min–max)  2 threads")
        for case in cases:
            print(compare(case), flush=True)
        print("\nTime to scikit-learn's final log-likelihood (its tol=1e-5), same start")
        print(f"{'case':18} {'sklearn':>11} {'expmax':>11} {'ratio':>9}   its value → our end")
        for case in cases[:3]:
            print(to_value(case), flush=True)
        print("\nRise of resident memory during a fit, MB")
        for case in cases:
            print(
                f"{case.label:18} sklearn {memory(case, 'peer'):7.0f}   expmax {memory(case, 'ours'):6.0f}"
            )
        print()
        print(poisson(10**6 if "small" in arguments else 10**7))


if __name__ == "__main__":
    main(sys.argv[1:])
