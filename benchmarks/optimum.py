"""How often, and how fast, the default call reaches the best known optimum: `python -m benchmarks.optimum`.

Rows: the robust reference maxima of tests/selection/best_known.json (14 covariance structures, Old
Faithful and iris), by default those with K = 4 … 6, where starts matter; and galaxies and geyser, whose
best known value is the highest that anybody reached here.  A fit with a component of fewer than
max(d + 1, 5) rows that may collapse is no hit.  scikit-learn has four of the structures; its
n_init=20, tol=1e-10 stops a start after 500 iterations, and both its fits run with reg_covar=0, so that
they maximise the same likelihood (a collapse is then an error, and a miss).

`--wide` takes columns of scikit-learn's wine, breast cancer and diabetes data, geyser and five simulated
clusters: the search was not developed on them, but wine and geyser were looked at when its length was set.
Their references (optimum_references.json says how they were made) are rows that several of 31 starts reached.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn import datasets
from sklearn.mixture import GaussianMixture as Peer

import expmax as em
from expmax.errors import ExpmaxError

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "tests" / "selection" / "best_known.json"
WIDE = Path(__file__).with_name("optimum_references.json")
SETS = {"faithful": 2, "iris": 4, "geyser": 2, "galaxies": 1}  # columns
PEER = {"VVV": "full", "EEE": "tied", "VVI": "diag", "VII": "spherical"}
WITHIN = 0.02  # nats


def clusters():
    """Five Gaussian clusters in three columns, 460 rows."""
    rng, parts = np.random.default_rng(5), []
    for n in (150, 120, 90, 60, 40):
        rows = rng.standard_normal((n, 3)) @ rng.standard_normal((3, 3))
        parts.append(rows + rng.standard_normal(3) * 2.2)
    return np.concatenate(parts)


OTHERS = {
    "wine": lambda: datasets.load_wine().data[:, [0, 6, 9, 10, 12]],
    "breast cancer": lambda: datasets.load_breast_cancer().data[:, [0, 1, 4, 7]],
    "diabetes": lambda: datasets.load_diabetes(scaled=False).data[:, [0, 2, 3, 4]],
    "simulated": clusters,
}


def read(name):
    """The numeric columns of an example data set."""
    if name in OTHERS:
        return OTHERS[name]()
    file = ROOT / "examples" / "data" / f"{name}.csv"
    columns = range(SETS[name])
    return np.loadtxt(file, delimiter=",", skiprows=1, usecols=columns, ndmin=2)


def spike(counts, x, structure):
    """Whether a component that may collapse rests on too few rows."""
    return structure[0] == "V" and counts.min() < max(x.shape[1] + 1, 5)


def ours(x, structure, k, seed, **options):
    """Log-likelihood of a fit by `Mixture`; −∞ for none, or one that rests on a spike."""
    try:
        model = em.Mixture(em.Gaussian(structure), k, random_state=seed, **options).fit(x)
    except ExpmaxError:
        return -np.inf
    found = model.predict_proba(x).sum(axis=0)
    return -np.inf if spike(found, x, structure) else model.log_likelihood_


def peer(x, structure, k, seed, **options):
    """The same of scikit-learn's; None where it has no such structure."""
    if structure not in PEER:
        return None
    model = Peer(k, covariance_type=PEER[structure], random_state=seed, reg_covar=0, **options)
    try:
        model.fit(x)
    except ValueError:
        return -np.inf
    found = model.predict_proba(x).sum(axis=0)
    return -np.inf if spike(found, x, structure) else model.score(x) * len(x)


SOLVERS = {
    "expmax, default": (ours, {}),
    "scikit-learn, default": (peer, {}),
    "scikit-learn, n_init=20, tol=1e-10": (peer, {"n_init": 20, "tol": 1e-10, "max_iter": 500}),
}


def reference_rows(least):
    """(data set, structure, K, best known value) of K ≥ least; NaN where none is known."""
    reference = json.loads(REFERENCE.read_text(encoding="utf-8"))
    rows = []
    for name in ("faithful", "iris"):
        rows += [(name, s, k, best) for s, k, best, _ in reference[name]]
    rows += [("geyser", s, k, np.nan) for s in PEER for k in range(2, 6)]
    rows += [("galaxies", s, k, np.nan) for s in ("VVV", "EEE") for k in range(2, 6)]
    return [row for row in rows if row[2] >= least]


def wide_rows(least):
    """The same for data that the search was not developed on."""
    reference = json.loads(WIDE.read_text(encoding="utf-8"))
    rows = [(name, *row) for name, found in reference.items() if name != "how" for row in found]
    return [row for row in rows if row[2] >= least]


def solve(rows, seeds):
    """Values by solver, row and seed, and CPU seconds by solver and row."""
    values = {label: {} for label in SOLVERS}
    seconds = {label: {} for label in SOLVERS}
    for row in rows:
        name, structure, k, _ = row
        x = read(name)
        for label, (solver, options) in SOLVERS.items():
            begun = time.process_time()
            found = [solver(x, structure, k, seed, **options) for seed in range(seeds)]
            if found[0] is not None:
                values[label][row] = found
                seconds[label][row] = (time.process_time() - begun) / seeds
    return values, seconds


def report(rows, values, seconds):
    """One line a solver, on its own rows and on those that both have; then the misses of ours."""
    best = {}
    for row in rows:
        tried = [max(found[row]) for found in values.values() if row in found]
        best[row] = np.nanmax([row[3], *tried]) if np.isnan(row[3]) else row[3]
    rows = [row for row in rows if np.isfinite(best[row])]
    common = [row for row in rows if row[1] in PEER]
    for title, some in (("rows of all structures", rows), ("rows that scikit-learn has", common)):
        print(f"{len(some)} {title}; within {WITHIN} nat of the best known value")
        for label, found in values.items():
            own = [row for row in some if row in found]
            if len(own) < len(some):
                continue
            hits = [value >= best[row] - WITHIN for row in own for value in found[row]]
            spent = [seconds[label][row] for row in own]
            print(
                f"  {label:36} {np.mean(hits):6.1%} of {len(hits)} fits   "
                f"median {np.median(spent):6.2f} s a fit, all {sum(spent):6.1f} s"
            )
    for row in rows:
        short = [best[row] - value for value in values["expmax, default"][row]]
        if max(short) > WITHIN:
            print("  default short:", *row[:3], "by", " ".join(f"{one:.2f}" for one in short))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--least", type=int, default=4, help="smallest K (default: 4)")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--wide", action="store_true", help="data sets beside those of development")
    parser.add_argument("--ours", action="store_true", help="expmax alone")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = wide_rows(arguments.least) if arguments.wide else reference_rows(arguments.least)
    if arguments.ours:
        for label in list(SOLVERS)[1:]:
            del SOLVERS[label]
    report(rows, *solve(rows, arguments.seeds))


if __name__ == "__main__":
    main()
