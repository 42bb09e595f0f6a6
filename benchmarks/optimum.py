"""How often, and how fast, the default call reaches the best known optimum: `python -m benchmarks.optimum`.

Rows: real data × the four covariance types of scikit-learn × K = 2 … 6. The best known value of a row is
the highest that anybody reached here without a collapsed component (each has at least max(d + 1, 5) rows).
"""

from __future__ import annotations

import sys
import time
import warnings

import numpy as np
from sklearn.mixture import GaussianMixture as Peer

import expmax as em

SETS = {
    "faithful": slice(0, 2),
    "iris": slice(0, 4),
    "geyser": slice(0, 2),
    "galaxies": slice(0, 1),
}
TYPES = ("full", "tied", "diag", "spherical")
WITHIN = 0.02  # nats


def read(name: str, columns: slice) -> np.ndarray:
    with open(f"examples/data/{name}.csv") as file:
        lines = file.read().splitlines()[1:]
    return np.array([[float(cell) for cell in line.split(",")[columns]] for line in lines])


def peer(x, kind, k, seed, **options):
    model = Peer(k, covariance_type=kind, random_state=seed, **options).fit(x)
    counts = model.predict_proba(x).sum(axis=0)
    return model.score(x) * len(x), counts.min()


def ours(x, kind, k, seed, **options):
    model = em.Mixture(em.Gaussian(kind), k, random_state=seed, **options).fit(x)
    return model.log_likelihood_, model.predict_proba(x).sum(axis=0).min()


SOLVERS = {
    "expmax default": (ours, {}),
    "expmax thorough": (ours, {"effort": "thorough"}),
    "sklearn default": (peer, {}),
    "sklearn n_init=20 tol=1e-10": (peer, {"n_init": 20, "tol": 1e-10, "max_iter": 5000}),
}


def main(arguments: list[str]) -> None:
    solvers = (
        SOLVERS
        if "quick" not in arguments
        else {k: v for k, v in SOLVERS.items() if "thorough" not in k}
    )
    results: dict[tuple, dict[str, float]] = {}
    seconds = dict.fromkeys(solvers, 0.0)
    warnings.simplefilter("ignore")
    for name, columns in SETS.items():
        x = read(name, columns)
        for kind in TYPES if x.shape[1] > 1 else ("full", "tied"):
            for k in range(2, 7):
                row = results.setdefault((name, kind, k), {})
                for label, (solve, options) in solvers.items():
                    begun = time.perf_counter()
                    try:
                        value, least = solve(x, kind, k, 0, **options)
                    except ValueError:
                        value, least = -np.inf, np.inf
                    seconds[label] += time.perf_counter() - begun
                    spike = kind != "tied" and least < max(x.shape[1] + 1, 5)
                    row[label] = -np.inf if spike else value
    best = {row: max(values.values()) for row, values in results.items()}
    rows = [row for row, value in best.items() if np.isfinite(value)]
    print(f"{len(rows)} rows; within {WITHIN} nat of the best known value")
    for label in solvers:
        hits = sum(results[row][label] >= best[row] - WITHIN for row in rows)
        print(f"{label:30} {100 * hits / len(rows):5.1f} %   {seconds[label]:7.1f} s")
    for row in rows:
        short = best[row] - results[row]["expmax default"]
        if short > WITHIN:
            print("  default short of the best:", *row, f"by {short:.2f}")


if __name__ == "__main__":
    main(sys.argv[1:])
