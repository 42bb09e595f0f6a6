"""Maximum entropy beside SciPy's optimisers on the naive dual, and beside packages from PyPI where installed.

    python benchmarks/maximum_entropy.py [--quick]

The naive dual is logsumexp(F λ) − λ·Δ with its gradient, as one would write it in an afternoon; each optimiser
gets the tightest tolerances it takes. The packages are `maxentropy` (features) and `ipfn` (tables).

First table: time as a ratio to ours, the tools taking turns, best of several. Where a tool missed the
moments by more than 1e-6 of the range of a feature the ratio is in brackets; by more than 1e-2, "✗".

Second table: hard problems, and who got them right. Right on a problem with an answer is to call it solved
and meet every moment to 1e-6 of the range of its feature (near an edge: to a hundredth of the distance to
it) with probabilities that sum to 1. Right on a problem without an answer is to fail loudly: an exception,
or success=False, within 20 seconds; ours must also name the conflict and give a direction that proves it.
"""

from __future__ import annotations

import argparse
import signal
import time
import warnings

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.sparse import csr_array, issparse, random_array
from scipy.special import logsumexp

import expmax as em
from expmax.errors import InfeasibleMomentsError
from expmax.maxent import ContingencyTable

OPTIMISERS = {
    "L-BFGS-B": {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 10_000, "maxfun": 100_000},
    "BFGS": {"gtol": 1e-9, "maxiter": 5_000},
    "CG": {"gtol": 1e-9, "maxiter": 10_000},
    "TNC": {"gtol": 1e-10, "ftol": 1e-15, "maxfun": 50_000},
}
PATIENCE = 20.0  # seconds a tool gets for one hard problem; more is wrong
DENSE_ONLY = {"BFGS": 2000}  # features above which its matrix does not pay


# -- the tools -------------------------------------------------------------------------------------
def ours(f, target, base):
    found = em.maximum_entropy(f, target, base_measure=base)
    return found.status in ("solved", "boundary"), found.probabilities


def naive(method):
    def solve(f, target, base):
        log_base = np.zeros(f.shape[0]) if base is None else np.log(base)

        def dual(x):
            scores = f @ x + log_base
            log_z = logsumexp(scores)
            return log_z - x @ target, f.T @ np.exp(scores - log_z) - target

        found = minimize(
            dual, np.zeros(f.shape[1]), jac=True, method=method, options=OPTIMISERS[method]
        )
        scores = f @ found.x + log_base
        return bool(found.success), np.exp(scores - logsumexp(scores))

    return solve


def maxentropy_package():
    try:
        from maxentropy.skmaxent import MinDivergenceModel
    except ImportError:
        return None

    def solve(f, target, base):
        rows = f.toarray() if issparse(f) else f
        prior = None if base is None else (lambda _: np.log(base / base.sum()))
        model = MinDivergenceModel(
            np.ascontiguousarray(rows.T), np.arange(len(rows)), prior_log_pdf=prior
        )
        model.fit(target[None, :])
        return True, np.asarray(model.probdist()).ravel()

    return solve


def ipfn_package():
    try:
        from ipfn import ipfn
    except ImportError:
        return None

    def solve(seed, margins, axes):
        fitter = ipfn.ipfn(
            seed.copy(), [m.copy() for m in margins], [list(a) for a in axes], verbose=1
        )
        fitted, flag = fitter.iteration()
        return bool(flag), fitted

    return solve


def miss(f, target, p):
    """Largest miss of a moment in units of the range of its feature; ∞ for no distribution."""
    if not np.isfinite(p).all() or abs(p.sum() - 1) > 1e-6 or (p < -1e-12).any():
        return np.inf
    low, high = f.min(axis=0), f.max(axis=0)
    if issparse(f):
        low, high = low.toarray(), high.toarray()
    spread = np.maximum(np.asarray(high - low).ravel(), 1e-300)
    constant = spread == 1e-300
    return float((np.abs(f.T @ p - target) / np.where(constant, 1.0, spread)).max())


# -- the problems ----------------------------------------------------------------------------------
def inside(f, rng, spread=0.3):
    w = np.exp(spread * rng.normal(size=f.shape[0]))
    return f.T @ (w / w.sum())


def hard_problems(quick):
    """(group, name, features, target, base, how well the moments must be met; 0: no answer)."""
    rng = np.random.default_rng(0)
    die = np.arange(1.0, 7.0)[:, None]
    both = np.hstack([die, die**2])
    cloud = rng.normal(size=(500, 6))
    yield "near the edge", "die, mean 5.999", die, [5.999], None, 1e-6
    yield "near the edge", "die, mean 6 − 1e-6", die, [6 - 1e-6], None, 2e-9
    yield "near the edge", "die, mean 6 − 1e-10", die, [6 - 1e-10], None, 2e-13
    corner = cloud[np.argmax(cloud[:, 0])]
    for near in (1e-3, 1e-6):
        target = (1 - near) * corner + near * cloud.mean(axis=0)
        yield (
            "near the edge",
            f"six moments, {near:g} from a vertex",
            cloud,
            target,
            None,
            min(1e-6, 1e-2 * near),
        )
    yield "boundary", "die, mean 6", die, [6.0], None, 1e-6
    yield "boundary", "die, E[x²] = 7 E[x] − 6", both, [3.5, 18.5], None, 1e-6
    yield "boundary", "six moments at a vertex", cloud, corner, None, 1e-6
    yield (
        "boundary",
        "middle of an edge of the hull",
        cloud[:, :2],
        _hull_edge(cloud[:, :2]),
        None,
        1e-6,
    )
    yield "infeasible", "die, mean 7", die, [7.0], None, 0
    yield "infeasible", "die, variance below what its mean allows", both, [3.5, 12.4], None, 0
    yield (
        "infeasible",
        "six moments, just outside",
        cloud,
        1.001 * corner - 0.001 * cloud.mean(axis=0),
        None,
        0,
    )
    yield "infeasible", "six moments, twice a vertex", cloud, 2 * corner, None, 0
    table = _indicators(4, 5)
    rows, columns = np.array([0.1, 0.2, 0.3, 0.4]), np.full(5, 0.2)
    yield (
        "infeasible",
        "4 × 5 margins whose totals differ by 1e-4",
        table,
        np.r_[rows, columns * 1.0001],
        None,
        0,
    )
    yield "redundant", "4 × 5 margins", table, np.r_[rows, columns], None, 1e-6
    yield (
        "redundant",
        "every column twice",
        np.hstack([cloud, cloud]),
        np.tile(inside(cloud, rng), 2),
        None,
        1e-6,
    )
    yield (
        "redundant",
        "column, its multiple, a constant",
        np.hstack([die, 3 * die - 2, 0 * die + 1]),
        [4.5, 11.5, 1.0],
        None,
        1e-6,
    )
    yield (
        "badly scaled",
        "six columns from 1e-8 to 1e8",
        *_scaled(cloud, 10.0 ** np.linspace(-8, 8, 6), rng),
        None,
        1e-6,
    )
    yield (
        "badly scaled",
        "one column in 1e-8, one in 1e8",
        *_scaled(cloud[:, :2], [1e-8, 1e8], rng),
        None,
        1e-6,
    )
    yield "badly scaled", "columns 1e6 + noise", cloud + 1e6, inside(cloud + 1e6, rng), None, 1e-6
    powers = np.linspace(0, 10, 200)[:, None] ** np.arange(1, 7)
    yield "badly scaled", "powers 1 to 6 of 0 … 10", powers, inside(powers, rng, 0.5), None, 1e-6
    base = np.exp(rng.normal(0, 15, 500))
    yield "badly scaled", "base weights over 40 decades", cloud, inside(cloud, rng), base, 1e-6
    sizes = [(4000, 1500)] if quick else [(4000, 1500), (20_000, 4000), (50_000, 10_000)]
    for n, m in sizes:
        sparse = random_array((n, m), density=5.0 / m, rng=rng, format="csr")
        yield (
            "thousands",
            f"{m} sparse features of {n} points",
            sparse,
            inside(sparse, rng),
            None,
            1e-6,
        )
    counts = _indicators(60, 1200 if not quick else 400)
    yield (
        "thousands",
        f"{counts.shape[1]} margins of a table",
        counts,
        inside(counts, rng),
        None,
        1e-6,
    )


def _hull_edge(points):
    """The middle of an edge of the convex hull: the boundary, joint in two constraints."""
    from scipy.spatial import ConvexHull

    hull = ConvexHull(points)
    return points[hull.simplices[0]].mean(axis=0)


def _scaled(cloud, scale, rng):
    f = cloud * np.asarray(scale)
    return f, inside(cloud, rng) * np.asarray(scale)


def _indicators(a, b):
    row, column = np.divmod(np.arange(a * b), b)
    cells = np.stack([row, a + column], axis=1).ravel()
    return csr_array(
        (np.ones(2 * a * b), cells, np.arange(0, 2 * a * b + 1, 2)), shape=(a * b, a + b)
    )


# -- running ---------------------------------------------------------------------------------------
def give_up(*_):
    """The alarm of a tool that takes too long."""
    raise TimeoutError


def attempt(solve, f, target, base, enough):
    """Right or wrong, and seconds."""
    start = time.perf_counter()
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            claims, p = solve(f, target, base)
    except InfeasibleMomentsError as error:
        proved = (
            bool(error.conflicts) and (f @ error.direction - target @ error.direction).max() < 0
        )
        return not enough and proved, time.perf_counter() - start
    except TimeoutError:
        return False, time.perf_counter() - start
    except Exception:
        return not enough, time.perf_counter() - start
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    seconds = time.perf_counter() - start
    return bool(claims and miss(f, target, p) < enough) if enough else not claims, seconds


def hard(quick):
    tools = {"expmax": ours, **{name: naive(name) for name in OPTIMISERS}}
    if maxentropy_package() is not None:
        tools["maxentropy"] = maxentropy_package()
    right: dict[str, dict[str, list[bool]]] = {}
    for group, name, f, target, base, enough in hard_problems(quick):
        line = []
        for tool, solve in tools.items():
            if f.shape[1] > DENSE_ONLY.get(tool, np.inf) or (
                tool == "maxentropy" and f.shape[1] > 1000
            ):
                line.append("too large")
                right.setdefault(group, {}).setdefault(tool, []).append(False)
                continue
            good, seconds = attempt(solve, f, np.asarray(target, float), base, enough)
            right.setdefault(group, {}).setdefault(tool, []).append(good)
            line.append(f"{'✓' if good else '✗'} {seconds:8.3f}s")
        print(f"{group:14} {name:44} " + "  ".join(f"{cell:>11}" for cell in line), flush=True)
    print("\nright, of each group")
    print(f"{'':14} {'of':>3} " + " ".join(f"{tool:>11}" for tool in tools))
    sums = dict.fromkeys(tools, 0)
    for group, by_tool in right.items():
        counts = {tool: sum(by_tool[tool]) for tool in tools}
        sums = {tool: sums[tool] + counts[tool] for tool in tools}
        size = len(by_tool["expmax"])
        print(f"{group:14} {size:3} " + " ".join(f"{counts[tool]:11}" for tool in tools))
    total = sum(len(by_tool["expmax"]) for by_tool in right.values())
    print(f"{'all':14} {total:3} " + " ".join(f"{sums[tool]:11}" for tool in tools))


def speed(quick):
    rng = np.random.default_rng(1)
    n = 10_000 if quick else 100_000
    dense = rng.normal(size=(n, 50))
    dummies = (rng.uniform(size=(n, 50)) < rng.uniform(0.05, 0.5, 50)).astype(float)
    sparse = random_array((n, n // 10), density=5.0 / (n // 10), rng=rng, format="csr")
    cases = [
        (f"calibration, {n} rows × 50 numbers", dense, inside(dense, rng, 0.5)),
        (f"calibration, {n} rows × 50 categories", dummies, inside(dummies, rng, 0.5)),
        (f"sparse, {n} points × {n // 10} features", sparse, inside(sparse, rng)),
    ]
    tools = {"expmax": ours, **{name: naive(name) for name in ("L-BFGS-B", "BFGS", "CG")}}
    print(f"{'seconds of ours, others as ratios':44} " + " ".join(f"{tool:>10}" for tool in tools))
    for name, f, target in cases:
        best, worst = dict.fromkeys(tools, np.inf), dict.fromkeys(tools, 0.0)
        for _ in range(2 if quick else 3):
            for tool, solve in tools.items():
                if f.shape[1] > DENSE_ONLY.get(tool, np.inf):
                    continue
                start = time.perf_counter()
                _, p = solve(f, target, None)
                best[tool] = min(best[tool], time.perf_counter() - start)
                worst[tool] = miss(f, target, p)
        cells = [f"{best['expmax']:9.3f}s"]
        for tool in list(tools)[1:]:
            ratio = f"{best[tool] / best['expmax']:.1f}×"
            cells.append(
                "–" if not np.isfinite(best[tool]) else "✗" if worst[tool] > 1e-2 else ratio
            )
            if 1e-6 < worst[tool] <= 1e-2:
                cells[-1] = f"({ratio})"
        print(f"{name:44} " + " ".join(f"{cell:>10}" for cell in cells), flush=True)
        print(
            f"{'  moments missed by at most':44} "
            + " ".join(f"{worst[tool]:10.1e}" for tool in tools)
        )


def tables():
    """Raking of tables: ours, both ways, beside ipfn."""
    solve = ipfn_package()
    rng = np.random.default_rng(2)
    print("\ntables by margins: seconds (largest miss of a margin, relative to the total)")
    for shape, axes in [
        ((4, 4, 2), [(0, 1), (0, 2), (1, 2)]),
        ((30, 40), [(0,), (1,)]),
        ((8, 9, 10), [(0, 1), (1, 2)]),
    ]:
        truth = rng.gamma(1.0, size=shape)
        margins = [truth.sum(axis=tuple(i for i in range(len(shape)) if i not in a)) for a in axes]
        cells = []
        for method in ("newton", "ipf"):
            start = time.perf_counter()
            found = em.maximum_entropy(
                axes, margins, support=ContingencyTable(shape), method=method
            )
            cells.append(
                f"{method} {time.perf_counter() - start:.4f} ({np.abs(found.residuals).max():.0e})"
            )
        if solve is not None:
            start = time.perf_counter()
            flag, fitted = solve(np.ones(shape), margins, axes)
            off = max(
                np.abs(fitted.sum(axis=tuple(i for i in range(len(shape)) if i not in a)) - m).max()
                for a, m in zip(axes, margins, strict=True)
            )
            cells.append(
                f"ipfn {time.perf_counter() - start:.4f} ({off / truth.sum():.0e}, says {flag})"
            )
        print(f"{' × '.join(map(str, shape)):14} " + "   ".join(cells))


def calibration(quick):
    """`calibrate` on a data frame, reading included."""
    rng = np.random.default_rng(3)
    n = 10_000 if quick else 100_000
    frame = pd.DataFrame(
        {
            f"c{j}": pd.Categorical(rng.choice(list("abcdef")[:k], n)).astype(str)
            for j, k in enumerate([2, 3, 4, 5, 6, 6, 6, 6])
        }
        | {f"x{j}": rng.normal(size=n) for j in range(12)}
    )
    pull = np.exp(0.3 * frame["x0"] + 0.2 * (frame["c3"] == "a") + 0.1 * rng.normal(size=n))
    pull /= pull.sum()
    targets = {
        name: (pull @ frame[name] if name[0] == "x" else pull.groupby(frame[name]).sum().to_dict())
        for name in frame
    }
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        found = em.calibrate(frame, targets)
        seconds.append(time.perf_counter() - start)
    print(
        f"\ncalibrate: {n} rows, {len(found.names)} targets, {min(seconds):.2f} s, largest residual "
        f"{np.abs(found.residuals).max():.1e}, gap {found.gap:.1e}, effective size {found.effective_size:.0f}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes")
    quick = parser.parse_args().quick
    signal.signal(signal.SIGALRM, give_up)
    speed(quick)
    calibration(quick)
    tables()
    print()
    hard(quick)


if __name__ == "__main__":
    main()
