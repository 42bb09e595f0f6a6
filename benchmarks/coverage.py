"""Do 95 % intervals cover? 2,000 simulated fits: `python -m benchmarks.coverage [fits]`."""

from __future__ import annotations

import sys
import warnings

import numpy as np

import expmax as em

WEIGHTS, RATES = np.array([0.4, 0.6]), np.array([2.0, 9.0])
MEANS, VARIANCES = np.array([0.0, 4.0]), np.array([1.0, 2.0])


def poisson(rng):
    x = rng.poisson(RATES[rng.choice(2, 500, p=WEIGHTS)])[:, None].astype(float)
    init = {"weights": WEIGHTS, "rate": RATES}
    return em.Mixture(em.Poisson(), 2, init=init).fit(x), {"weights": WEIGHTS, "rate": RATES}


def gaussian(rng):
    z = rng.choice(2, 600, p=WEIGHTS)
    x = (MEANS[z] + np.sqrt(VARIANCES[z]) * rng.standard_normal(600))[:, None]
    truth = {"weights": WEIGHTS, "mean": MEANS[:, None], "covariance": VARIANCES[:, None]}
    return em.Mixture(em.Gaussian(), 2, init=truth).fit(x), truth


def main(fits: int) -> None:
    warnings.simplefilter("ignore")
    for simulate in (poisson, gaussian):
        rng = np.random.default_rng(0)
        inside: dict[str, list] = {}
        for _ in range(fits // 2):
            model, truth = simulate(rng)
            limits = model.standard_errors().interval(0.95)
            for name, value in truth.items():
                low, high = limits[name]
                inside.setdefault(name, []).append(((low <= value) & (value <= high)).mean())
        print(
            simulate.__name__, {name: f"{100 * np.mean(hit):.1f} %" for name, hit in inside.items()}
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
