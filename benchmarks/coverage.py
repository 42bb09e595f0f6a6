"""Do 95 % intervals cover? `python -m benchmarks.coverage [fits [rows]]`: 2,000 fits in a few minutes.

Half the fits are of two Poisson components, half of two univariate Gaussian ones, each from the true
parameters. With 1000 fits the coverage of a parameter has a Monte-Carlo error of .7 points; the goal is
93.5 to 96.5 %. Normal theory holds for large samples: 2000 rows give 94.2 to 95.3 % for every parameter; at 500
rows the variance of the smaller Gaussian component, whose estimate is skew, is covered 90.9 % of the time and
its mean 93.4 %.
"""

from __future__ import annotations

import sys
import time
import warnings

import numpy as np
from threadpoolctl import threadpool_limits

import expmax as em

ROWS = 2000
WEIGHTS, RATES = np.array([0.4, 0.6]), np.array([2.0, 9.0])
MEANS, VARIANCES = np.array([0.0, 4.0]), np.array([1.0, 2.0])
LOW, HIGH = 93.5, 96.5


def poisson(rng, n):
    x = rng.poisson(RATES[rng.choice(2, n, p=WEIGHTS)])[:, None].astype(float)
    return x, em.Poisson(), {"weights": WEIGHTS, "rate": RATES}


def gaussian(rng, n):
    z = rng.choice(2, n, p=WEIGHTS)
    x = (MEANS[z] + np.sqrt(VARIANCES[z]) * rng.standard_normal(n))[:, None]
    truth = {"weights": WEIGHTS, "mean": MEANS[:, None], "covariance": VARIANCES[:, None]}
    return x, em.Gaussian("diag"), truth


def coverage(simulate, fits: int, rows: int) -> dict[str, float]:
    """Share of intervals that hold the truth, by parameter, %."""
    hits: dict[str, list[bool]] = {}
    for seed in np.random.SeedSequence(0).spawn(fits):
        x, family, truth = simulate(np.random.default_rng(seed), rows)
        model = em.Mixture(family, 2, init=truth).fit(x)
        limits = model.standard_errors().interval(0.95)
        for name, value in truth.items():
            low, high = limits[name]
            inside = np.ravel((low <= value) & (value <= high))
            for k, hit in enumerate(inside):
                hits.setdefault(f"{name}[{k}]", []).append(bool(hit))
    return {name: 100.0 * float(np.mean(hit)) for name, hit in hits.items()}


def main(fits: int, rows: int) -> None:
    warnings.simplefilter("ignore")
    begun = time.perf_counter()
    each = fits // 2
    error = 100.0 * np.sqrt(0.95 * 0.05 / each)
    print(f"{fits} fits of {rows} rows; Monte-Carlo error {error:.1f} points")
    with threadpool_limits(1):
        for simulate in (poisson, gaussian):
            for name, covered in coverage(simulate, each, rows).items():
                verdict = "" if LOW <= covered <= HIGH else "   outside"
                print(f"  {simulate.__name__:9} {name:14} {covered:5.1f} %{verdict}")
    print(f"{time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    arguments = [int(a) for a in sys.argv[1:]]
    main(*(arguments + [2000, ROWS][len(arguments) :]))
