"""Mixtures of one data set fitted side by side: each learns from the solutions of its neighbours.

Starting a fit with K components from the split solutions with K − 1, from those with K + 1 less one,
and from the partitions that other families found with K, finds the best optimum far more often than
more starts of its own would (measured over the 14 covariance structures, 1 … 6 components and eight
data sets: `benchmarks/selection.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expmax.compute.reduce import Serial
from expmax.contract import Block
from expmax.engine.loop import Run
from expmax.engine.problem import Point, Problem
from expmax.engine.starts import Search, StartRecord, climber, short_run
from expmax.estimators.mixture import Mixture, Training, _spike_rule
from expmax.models.mixture import MixtureParameters
from expmax.models.mixture_starts import MixtureStarts
from expmax.selection.moves import agreement, deletions, merges, splits
from expmax.statistics import Array

from collections import defaultdict, Counter
LOG=[]
STATS=defaultdict(Counter)
SAME = 1e-3
ALIKE = 0.995


@dataclass
class Policy:
    own: int = 6
    short: int = 8
    near: float = 10.0
    near2: float = 2.0
    keep_own: int = 2
    keep_split: int = 1
    keep_partition: int = 2
    keep_down: int = 1
    merges: int = 2
    dedupe: float = 0.995
    cross_dedupe: float = 0.995
    passes: int = 2
    swaps: int = 3
    second_own: int = 6
    first: int = 2
    share: float = 0.5
    tol: float = 0.001
    origin: int = 1


@dataclass
class Cell:
    key: int
    k: int
    estimator: Mixture
    training: Training
    problem: Problem  # on few rows where the data are large
    source: MixtureStarts
    climb: Callable[..., Run]
    spike: Callable[[Point], bool]
    rng: np.random.Generator
    budget: int
    search: Search = field(default_factory=Search)
    used: set[Any] = field(default_factory=set)
    parts: list[NDArray[np.intp]] = field(default_factory=list)
    version: float = -np.inf
    r: Array | None = None
    part: NDArray[np.intp] | None = None
    wins: list = field(default_factory=list)

    @property
    def best(self) -> float:
        return -np.inf if self.search.best is None else self.search.best.point.objective

    @property
    def weight(self):
        return self.source.block.weight

    def refresh(self) -> None:
        if self.best > self.version:
            self.r, self.part = self.look(self.search.best.point)
            self.version = self.best

    def look(self, point):
        r, _, _ = self.problem.model.assign(point.params, self.source.block)
        return r, r.argmax(axis=1)

    def consider(self, starts: Iterable[tuple[str, MixtureParameters | None]], keep: int, pol: Policy) -> None:
        trials = []
        for kind, params in starts:
            if self.problem.n_expect > self.budget:
                break
            if params is None:
                continue
            STATS[kind.split(",")[0]]["n"] += 1
            trial = short_run(self.problem, params, pol.first)
            if isinstance(trial, str):
                self.search.reasons.append(trial)
                self.search.records.append(StartRecord(kind, 0, np.nan, "degenerate"))
                continue
            if self.spike(trial.end):
                continue
            self.search.records.append(StartRecord(kind, 0, trial.end.objective, "short run"))
            trials.append((-trial.end.objective, len(self.search.records) - 1, trial, kind))
        trials.sort(key=lambda t: t[:2])
        if pol.short > pol.first:
            more = []
            for _, record, trial, kind in trials[: max(keep + 1, int(np.ceil(len(trials) * pol.share)))]:
                if self.problem.n_expect > self.budget: break
                longer = short_run(self.problem, trial.end.params, pol.short - pol.first)
                if isinstance(longer, str) or self.spike(longer.end):
                    continue
                more.append((-longer.end.objective, record, type(trial)(trial.origin, longer.end), kind))
            trials = sorted(more, key=lambda t: t[:2])
        climbed = 0
        for _, record, trial, kind in trials:
            if climbed >= keep or self.problem.n_expect > self.budget:
                break
            if trial.end.objective < self.best - (pol.near if kind.startswith(("k-", "ran")) else pol.near2):
                break
            part = self.look(trial.end)[1]
            if any(agreement(part, other, self.weight) >= pol.dedupe for other in self.parts):
                if trial.end.objective <= self.best:
                    continue
            n0 = self.problem.n_expect
            run = self.climb(trial.origin if pol.origin else trial.end, floor=self.best + SAME if np.isfinite(self.best) else -np.inf)
            st = STATS[kind.split(",")[0]]
            st["climbs"] += 1
            st["E"] += self.problem.n_expect - n0
            climbed += 1
            LOG.append((kind.split(",")[0], self.k, trial.end.objective - self.best, run.point.objective - self.best, self.problem.n_expect - n0, climbed, len(trials), run.status, len(run.history)))
            self.parts.append(part)
            if run.status == "degenerate" or not run.point.finite or self.spike(run.point):
                st["deg"] += 1
                continue
            end = self.look(run.point)[1]
            self.parts.append(end)
            if run.point.objective > self.best + 1e-6:
                if run.point.objective > self.best + .02: st["wins"] += 1
                self.wins.append((kind, run.point.objective - self.best, self.problem.n_expect))
                self.search.best = run


def make_cells(estimators, X, weight, seed, pol, effort=480.0):
    from dataclasses import replace
    cells = []
    rngs = seed.spawn(len(estimators))
    keys = {}
    for est, sd in zip(estimators, rngs):
        est._check_parameters()
        x, w, label = est._read_training(X, weight, None)
        model = replace(est._build(x, w), compiled=True)
        tr = est._training_data(model, x, w, label)
        problem = tr.problem
        block = problem.blocks[0]
        key = keys.setdefault(repr(est.family) + str(getattr(est.family, "covariance", "")), len(keys))
        k = model.n_components
        cells.append(Cell(key, k, est, tr, problem, MixtureStarts(model, block),
            climber(problem, tol=pol.tol, max_iter=est.max_iter, accelerator=est._accelerator()),
            _spike_rule(model, x.shape[1]), np.random.default_rng(sd), int(effort * k / 5)))
    return cells


def own(cell, n):
    rngs = iter([np.random.default_rng(cell.rng.integers(2**63)) for _ in range(n)])
    offset = 0
    for start in cell.source.starts(rngs):
        yield start.kind, start.params


def from_r(cell, kind, rs):
    for r in rs:
        with np.errstate(all="ignore"):
            yield kind, cell.source.from_responsibilities(np.array(r))


def partitions(cell, row, pol):
    """Partitions of the other structures, distinct ones."""
    seen = [] if cell.part is None else [cell.part]
    for other in row:
        if other is cell or other.part is None:
            continue
        tag = ("p", other.key, round(other.version, 2))
        if tag in cell.used:
            continue
        cell.used.add(tag)
        if any(agreement(other.part, one, cell.weight) >= pol.cross_dedupe for one in seen):
            continue
        seen.append(other.part)
        yield from from_r(cell, "partition", [other.r])


def up(cell, below, rng=None):
    if below is None or below.r is None:
        return
    tag = ("s", round(below.version, 2), rng is None)
    if tag in cell.used:
        return
    cell.used.add(tag)
    yield from from_r(cell, "split", splits(below.r, cell.source._views[0], rng))


def down(cell, above, pol):
    if above is None or above.r is None:
        return
    tag = ("d", round(above.version, 2))
    if tag in cell.used:
        return
    cell.used.add(tag)
    yield from from_r(cell, "deletion", deletions(above.r))
    yield from from_r(cell, "merge", merges(above.r, cell.weight, pol.merges))


def swaps(cell, n, pol):
    if cell.search.best is None: return
    rngs = iter([np.random.default_rng(cell.rng.integers(2**63)) for _ in range(n)])
    for start in cell.source.moves(cell.search.best.point.params, rngs):
        yield start.kind, start.params


def sweep(cells, pol, log=lambda *a: None):
    grid = {(c.key, c.k): c for c in cells}
    ks = sorted({c.k for c in cells})
    rows = {k: [c for c in cells if c.k == k] for k in ks}
    def exchange(k, keep):
        for c in rows[k]:
            c.refresh()
        for c in rows[k]:
            c.consider(partitions(c, rows[k], pol), keep, pol)
        for c in rows[k]:
            c.refresh()
    for k in ks:
        for c in rows[k]:
            if k == 1:
                est = c.estimator
                start = est._one_start(c.problem.model, None, None, None)
                c.search.best = c.climb(c.problem.at(start))
                continue
            c.consider(own(c, pol.own), pol.keep_own, pol)
            c.consider(up(c, grid.get((c.key, k - 1))), pol.keep_split, pol)
        for c in rows[k]: c.refresh()
        if k > 1: exchange(k, pol.keep_partition)
    log("up")
    for i in range(pol.passes - 1):
        for k in ks[::-1]:
            if k == 1: continue
            for c in rows[k]:
                c.consider(down(c, grid.get((c.key, k + 1)), pol), pol.keep_down, pol)
            exchange(k, 1)
        log("down")
        for k in ks:
            if k == 1: continue
            for c in rows[k]:
                if i == 0: c.consider(own(c, pol.second_own), 1, pol)
                c.consider(up(c, grid.get((c.key, k - 1))), pol.keep_split, pol)
                c.consider(up(c, grid.get((c.key, k - 1)), c.rng), 1, pol)
                if pol.swaps: c.consider(swaps(c, pol.swaps, pol), 1, pol)
            exchange(k, 1)
        log("second up")
