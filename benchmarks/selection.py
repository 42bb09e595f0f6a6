"""A choice among 14 covariance structures × 1 … 9 components: one sweep beside independent fits.

    python -m benchmarks.selection [--quick] [--seeds N] [--skip-independent]

Rate: share of the rows of tests/selection/best_known.json (best known maxima, K = 2 … 6, that
several of 30 starts reached) within their tolerance.  Independent: the default call of `Mixture`
on each row of K = 2 … 6.  CPU seconds, one thread; kernels are compiled beforehand.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np

import expmax as em
from expmax.errors import ConvergenceWarning, ExpmaxError
from expmax.families.covariance import STRUCTURES

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "tests" / "selection" / "best_known.json"
FILES = {"faithful": ("faithful.csv", (0, 1)), "iris": ("iris.csv", (0, 1, 2, 3))}


def read(name):
    file, columns = FILES[name]
    return np.loadtxt(ROOT / "examples" / "data" / file, delimiter=",", skiprows=1, usecols=columns)


def report(what, found, rows, tolerance, spent, seconds):
    """One line: rate, E-steps a fit, seconds."""
    hits = [found.get((s, k), -np.inf) >= best - tolerance for s, k, best, _ in rows]
    missed = [f"{s},{k}" for (s, k, _, _), hit in zip(rows, hits, strict=True) if not hit]
    print(
        f"  {what:<18} {np.mean(hits):6.1%} of {len(rows)} rows   {np.mean(spent):6.0f} E-steps a fit   "
        f"{seconds:6.1f} s   missed: {' '.join(missed) or 'none'}"
    )
    return np.mean(hits)


def sweep(x, structures, most, seed):
    """The choice: log-likelihoods by row, E-steps of each fit, seconds, what BIC chose."""
    grid = {"family": [em.Gaussian(s) for s in structures], "n_components": range(1, most + 1)}
    start = time.process_time()
    choice = em.select(em.Mixture(), x, grid, random_state=seed)
    seconds = time.process_time() - start
    fitted = [one for one in choice.candidates if one.estimator is not None]
    found = {(one.label, one.n_components): one.log_likelihood for one in fitted}
    return found, [one.estimator.n_expect_ for one in fitted], seconds, choice.best


def independent(x, rows, seed):
    """The default call of `Mixture`, row by row."""
    found, spent = {}, []
    start = time.process_time()
    for structure, k, _, _ in rows:
        try:
            fit = em.Mixture(em.Gaussian(structure), k, random_state=seed).fit(x)
        except ExpmaxError:
            continue
        found[structure, k] = fit.log_likelihood_
        spent.append(fit.n_expect_)
    return found, spent, time.process_time() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="six structures, 1 … 4 components")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--skip-independent", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    structures = ("EII", "VII", "EEI", "VVI", "EEE", "VVV") if arguments.quick else STRUCTURES
    most = 4 if arguments.quick else 9
    reference = json.loads(REFERENCE.read_text(encoding="utf-8"))
    for name in FILES:
        x, known = read(name), reference[name]
        rows = [row for row in known if row[0] in structures and 1 < row[1] <= most]
        sweep(x, structures, 2, 0)  # compiles
        print(f"{name}: {len(structures)} structures × 1 … {most} components")
        for seed in range(arguments.seeds):
            found, spent, seconds, best = sweep(x, structures, most, seed)
            report(f"sweep, seed {seed}", found, rows, reference["tolerance"], spent, seconds)
            print(f"  {'':<18} BIC chooses {best.name}: {best.value('bic'):.4f}")
        if not arguments.skip_independent:
            found, spent, seconds = independent(x, rows, 0)
            report("independent", found, rows, reference["tolerance"], spent, seconds)


if __name__ == "__main__":
    main()
