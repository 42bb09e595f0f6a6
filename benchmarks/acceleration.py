"""E-steps and seconds to one optimum: plain EM, the default, L-BFGS, SQUAREM, scikit-learn.

python -m benchmarks.acceleration
"""

from __future__ import annotations

import time
import warnings

import numpy as np
from sklearn.mixture import GaussianMixture as Peer
from threadpoolctl import threadpool_limits

import expmax as em

RELATIVE = 1e-8  # of the best value reached


def overlapping(n: int = 10**5) -> tuple[np.ndarray, np.ndarray]:
    """Four overlapping clusters in four columns."""
    rng = np.random.default_rng(0)
    means = rng.standard_normal((4, 4)) * 0.9
    x = means[rng.integers(4, size=n)] + rng.standard_normal((n, 4))
    return x, means + 0.3 * rng.standard_normal(means.shape)


def run(family, k, x, init, accelerate, weight=None, max_iter=100_000, n_jobs=1):
    model = em.Mixture(
        family, k, init=init, accelerate=accelerate, max_iter=max_iter, tol=1e-9, n_jobs=n_jobs
    )
    begun = time.perf_counter()
    model.fit(x, sample_weight=weight)
    return time.perf_counter() - begun, model


def report(title, family, k, x, init, weight=None, plain=20_000):
    print(title)
    fits = {}
    for name in ("auto", "lbfgs", "squarem", None):
        fits[name] = run(family, k, x, init, name, weight, max_iter=plain)
    best = max(model.log_likelihood_ for _, model in fits.values())
    for name, (seconds, model) in fits.items():
        path = np.asarray(model.history_.log_likelihood)
        near = path >= best - RELATIVE * abs(best)
        if not near.any():
            print(
                f"  {name or 'plain EM':10} not reached in {len(path)} steps ({best - path[-1]:.2g} nats short)"
            )
            continue
        steps = int(np.argmax(near))
        per_step = model.n_expect_ / max(len(path), 1)
        print(
            f"  {name or 'plain EM':10} {steps * per_step:8.0f} E-steps "
            f"{seconds * steps / max(len(path), 1):8.3f} s   ends at {path[-1]:.6f}"
        )
    return best


def main() -> None:
    warnings.simplefilter("ignore")
    with threadpool_limits(1):
        x, means = overlapping()
        init = {"mean": means, "covariance": np.tile(np.eye(4), (4, 1, 1))}
        run(em.Gaussian(), 4, x[:30000], init, "lbfgs", max_iter=5)  # compile
        best = report(
            "Gaussian mixture, 10⁵×4, K = 4, overlapping", em.Gaussian(), 4, x, init, plain=4000
        )
        options = {"means_init": means, "weights_init": np.full(4, 0.25)}
        options |= {"precisions_init": np.tile(np.eye(4), (4, 1, 1)), "reg_covar": 0.0}
        for n_iter in (100, 400, 1600):
            begun = time.perf_counter()
            model = Peer(4, tol=0.0, max_iter=n_iter, **options).fit(x)
            seconds, value = time.perf_counter() - begun, model.score(x) * len(x)
            print(
                f"  scikit-learn {n_iter:6} steps {seconds:8.2f} s   {best - value:.3g} nats short"
            )
            if value >= best - RELATIVE * abs(best):
                break
        deaths = np.loadtxt("examples/data/london_deaths.csv", delimiter=",", skiprows=1)
        start = {"weights": np.array([0.5, 0.5]), "rate": np.array([1.0, 3.0])}
        report(
            "London deaths, two Poisson components from (.5, 1, 3)",
            em.Poisson(),
            2,
            deaths[:, :1],
            start,
            deaths[:, 1],
            plain=60_000,
        )


if __name__ == "__main__":
    main()
