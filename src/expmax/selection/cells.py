"""One cell of a sweep: a family with K components on the data, its search and its best solution."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expmax.compute.reduce import Serial
from expmax.contract import Block, Start
from expmax.engine.acceleration import accelerators
from expmax.engine.loop import Pace, Run, ascend
from expmax.engine.problem import Point, Problem
from expmax.engine.starts import (
    REARRANGING,
    SAME,
    SCOUTING,
    Search,
    StartRecord,
    climber,
)
from expmax.errors import ExpmaxError
from expmax.estimators.mixture import Mixture
from expmax.estimators.search import carry_over, replay
from expmax.estimators.spikes import spiked
from expmax.estimators.training import LARGE, SUBSAMPLE, Training, log_hard
from expmax.models import fused
from expmax.models.mixture import MixtureModel, MixtureParameters
from expmax.models.mixture_starts import MixtureStarts
from expmax.models.scouting import GaussianScout
from expmax.selection.moves import agreement
from expmax.selection.trials import Trial, make_trials
from expmax.statistics import Array

__all__ = ["Cell", "Solution", "make_cells"]

ENGINE_STEPS, SCOUT_STEPS = (
    640,
    2560,
)  # E-steps a fit with K = 5, at most: the engine's, compiled ones
GLANCE, SHORT = 1, 8  # EM steps after which half of the starts are dropped; and the rest compared
ALIKE = 0.995  # share of rows in agreement from which two partitions lead to one optimum
EXPLORE = 1e-3  # nats to be gained at the end of a run that only explores
Begin = Start[MixtureParameters]


@dataclass(frozen=True, slots=True)
class Solution:
    """What neighbours take from a cell: who belongs together."""

    objective: float
    r: Array  # responsibilities, (n, K)
    part: NDArray[np.intp]  # the most probable component, (n,)


@dataclass
class Cell:
    """A mixture being fitted; only its own thread writes to it."""

    family: int  # cells of one number differ in K alone
    estimator: Mixture
    training: Training
    problem: Problem  # of few rows where the data are large
    source: MixtureStarts
    rng: np.random.Generator
    rows: int = 0  # cells of one number see the same rows
    budget: int = 0  # E-steps
    effort: float = 1.0  # in units of the default
    error: ExpmaxError | None = None
    search: Search = field(default_factory=Search)
    solution: Solution | None = None  # of the last time that all cells were looked at
    used: set[Any] = field(default_factory=set)  # what neighbours gave before
    started: bool = False
    finished: bool = False
    spiked: bool = False  # whether the best solution rests on too few rows to be believed
    seconds: float = 0.0
    _ends: list[NDArray[np.intp]] = field(default_factory=list)  # partitions climbed from or to
    _climb: Callable[..., Run] | None = None

    def __post_init__(self) -> None:
        self.is_spike = spiked(self.model, self.source.block.x)
        self.trials = make_trials(self.problem, self.source.scout)

    @property
    def model(self) -> MixtureModel:
        """Of the mixture."""
        model: MixtureModel = self.problem.model
        return model

    @property
    def k(self) -> int:
        """Number of components."""
        return self.model.n_components

    @property
    def best(self) -> float:
        """The highest objective so far, nats."""
        return -np.inf if self.search.best is None else self.search.best.point.objective

    @property
    def exhausted(self) -> bool:
        """Whether the budget is spent."""
        return self.problem.n_expect >= self.budget

    @property
    def weight(self) -> Array | None:
        """Row weights."""
        return self.source.block.weight

    # -- learning from others ----------------------------------------------------------------------
    def look(self) -> None:
        """Let the neighbours see the best solution so far."""
        if self.search.best is None:
            return
        if self.solution is not None and self.solution.objective == self.best:
            return
        r = self._responsibilities(self.search.best.point.params)
        self.solution = Solution(self.best, r, r.argmax(axis=1))

    def _responsibilities(self, params: MixtureParameters) -> Array:
        with np.errstate(all="ignore"):
            return self.model.assign(params, self.source.block)[0]

    def _part(self, params: MixtureParameters) -> NDArray[np.intp]:
        return self._responsibilities(params).argmax(axis=1)

    def from_responsibilities(self, kind: str, many: Iterable[Array]) -> Iterator[Begin]:
        """Starts from who belongs together."""
        for r in many:
            with np.errstate(all="ignore"):
                params = self._m_step(r) or self.source.from_responsibilities(np.array(r))
            if params is not None:
                yield Start(params, kind)

    def _m_step(self, r: Array) -> MixtureParameters | None:
        """The M-step begun where the best solution is: soon done."""
        if self.search.best is None:
            return None
        if self.weight is not None:
            r = r * self.weight[:, None]
        if not r.sum(axis=0).min() > 0:
            return None
        return self.trials.maximize(r, self.search.best.point.params)

    # -- searching ---------------------------------------------------------------------------------
    def consider(self, starts: Iterable[Begin], keep: int = 1, near: float = 2.0) -> None:
        """Run starts for a few steps, the better half for some more, and climb from the best.

        Parameters
        ----------
        keep : int
            How many may be climbed from.
        near : float
            Nats below the best solution within which a start must have come.
        """
        began = time.perf_counter()
        try:
            with np.errstate(all="ignore"):  # starts may be of any kind: what is irregular is seen
                trials = self._compare(self._glance(starts), keep)
                for trial in trials[:keep]:
                    if self.exhausted or trial.objective < self._floor(trial.spike) - near:
                        break
                    self._climb_from(trial)
        finally:
            self.seconds += time.perf_counter() - began

    def rearrange(self, n: int) -> None:
        """Swaps from the best solution, each climbed from until it is hopeless."""
        left = n
        while left > 0 and self.search.best is not None and not self.exhausted:
            before = len(self.search.records)
            self.climb_each(self._moves(left), REARRANGING, until_better=True)
            left -= len(self.search.records) - before
            if len(self.search.records) == before:
                return

    def climb_each(self, starts: Iterable[Begin], pace: Pace, until_better: bool = False) -> None:
        """Climb from every start until it is hopeless; perhaps only until one is the new best."""
        began, best = time.perf_counter(), self.search.best
        try:
            with np.errstate(all="ignore"):
                for start in starts:
                    trial = self._begin(start, 0)
                    if trial is not None:
                        self._climb_on(trial, pace)
                    if self.exhausted or (until_better and self.search.best is not best):
                        return
        finally:
            self.seconds += time.perf_counter() - began

    def _moves(self, n: int) -> Iterator[Begin]:
        best = self.search.best
        return iter(()) if best is None else self.source.moves(best.point.params, self.children(n))

    def children(self, n: int) -> Iterator[np.random.Generator]:
        """n generators for as many starts."""
        for _ in range(n):
            yield np.random.default_rng(int(self.rng.integers(2**63)))

    def _begin(self, start: Begin, n_steps: int) -> Trial | None:
        """Try a start and write it down; None where it collapsed."""
        trial = self.trials.begin(start.params, n_steps)
        number = len(self.search.records)
        if isinstance(trial, str):
            self.search.reasons.append(trial)
            self._record(start.kind, np.nan, "degenerate")
            return None
        self._record(start.kind, trial.objective, "short run")
        return replace(trial, record=number)

    def _glance(self, starts: Iterable[Begin]) -> list[Trial]:
        """Every start that stays regular after very few steps, best first, spikes last."""
        trials: list[Trial] = []
        for start in starts:
            trial = self._begin(start, GLANCE)
            if trial is not None:
                trials.append(trial)
            if self.exhausted:
                break
        return sorted(trials, key=lambda trial: trial.rank)

    def _floor(self, spike: bool) -> float:
        """What is to be passed, nats: a solution that is no spike passes every spike."""
        if self.spiked and not spike:
            return -np.inf
        return np.inf if spike and not self.spiked and self.search.best is not None else self.best

    def _compare(self, trials: list[Trial], keep: int) -> list[Trial]:
        """The better half after some more steps."""
        longer: list[Trial] = []
        for trial in trials[: max(keep + 1, -(-len(trials) // 2))]:
            if self.exhausted:
                break
            further = self.trials.further(trial, SHORT - GLANCE)
            if isinstance(further, str):
                self.search.reasons.append(further)
                continue
            self._rewrite(trial.record, further.objective, "short run")
            longer.append(further)
        return sorted(longer, key=lambda trial: trial.rank)

    def _climb_from(self, trial: Trial) -> None:
        """Climb to the top, unless the way leads to one where we have been."""
        if not self.trials.quick and self._known(trial):
            return
        run = self._climb_on(trial, SCOUTING)
        if run is not None and run.point.finite and run.status != "degenerate":
            self._ends.append(self._part(run.point.params))

    def _known(self, trial: Trial) -> bool:
        """Whether a partition no better than the best is one climbed from or to; remembers it."""
        part = self._part(self.trials.parameters(trial))
        if trial.objective <= self._floor(trial.spike) and any(
            agreement(part, other, self.weight) >= ALIKE for other in self._ends
        ):
            return True
        self._ends.append(part)
        return False

    def _climb_on(self, trial: Trial, pace: Pace) -> Run | None:
        """Climb; None where the best is out of reach."""
        point = self.trials.approach(trial, self._floor(False))
        if point is None:
            self._rewrite(trial.record, trial.objective, "given up")
            return None
        collapsed = self.problem.degeneracies(point)
        if collapsed:
            self._rewrite(trial.record, point.objective, "degenerate")
            self.search.reasons.append(str(collapsed[0]))
            return None
        if abs(point.objective - self._floor(False)) < SAME and self.trials.quick:
            self._rewrite(trial.record, point.objective, "uncertified")
            return None
        run = self._keep(point, trial.record, pace)
        if self.trials.quick and self.search.best is run:
            self.search.origin = self.trials.start(trial)
        return run

    def _keep(self, origin: Point, record: int, pace: Pace) -> Run:
        """Climb, write down how it ended, and keep what is better than the best."""
        run = self._explore(origin, self._floor(False), pace)
        status = "given up" if run.given_up else run.status
        self._rewrite(record, run.point.objective, status)
        if run.status == "decreased":
            self.search.best, self.budget = run, 0
            return run
        if run.degeneracies:
            self.search.reasons.append(str(run.degeneracies[0]))
        if run.status == "degenerate" or not run.point.finite:
            return run
        spike = self.is_spike(run.point)
        if run.point.objective > self._floor(spike) + 1e-6:
            self.search.best, self.search.best_record, self.spiked = run, record, spike
            self.search.tops.insert(0, run)
        if run.status == "interrupted":
            raise KeyboardInterrupt
        return run

    def _explore(self, point: Point, floor: float, pace: Pace) -> Run:
        if self._climb is None:
            self._climb = climber(
                self.problem,
                tol=max(EXPLORE, self.estimator.tol),
                max_iter=int(self.estimator.max_iter),
                accelerator=accelerators(self.estimator.accelerate, search=True),
            )
        return self._climb(point, floor=floor + SAME, pace=pace)

    def _record(self, kind: str, objective: float, status: str) -> None:
        seed = len(self.search.records)
        self.search.records.append(StartRecord(kind, seed, objective, status))

    def _rewrite(self, record: int, objective: float, status: str) -> None:
        old = self.search.records[record]
        self.search.records[record] = replace(old, objective=objective, status=status)

    def value(self, criterion: str) -> float:
        """BIC, AIC or ICL of the best solution so far; infinite without one."""
        if self.search.best is None:
            return float("inf")
        point = self.search.best.point
        n, p = point.expectation.weight, self.model.n_parameters(point.params)
        value = -2.0 * point.expectation.log_likelihood + p * (
            2.0 if criterion == "aic" else float(np.log(n))
        )
        if criterion == "icl":
            value -= 2.0 * log_hard(self.model, point.params, self.problem.blocks)
        return value

    # -- the end -----------------------------------------------------------------------------------
    def finish(self) -> None:
        """Certify the best solution, on all rows."""
        if self.search.best is None or self.search.best.status == "decreased":
            return
        began = time.perf_counter()
        with np.errstate(all="ignore"):
            self._certify()
        self.search.settle()
        self.search.records = [
            replace(record, agrees=abs(record.objective - self.best) < SAME)
            for record in self.search.records
        ]
        self.seconds += time.perf_counter() - began
        if self.search.best is not None and self.search.best.status == "interrupted":
            raise KeyboardInterrupt  # the other cells are to end too
        self.finished = True

    def _certify(self) -> None:
        problem = self.training.problem
        climb = climber(
            problem,
            tol=self.estimator.tol,
            max_iter=int(self.estimator.max_iter),
            accelerator=self.estimator._accelerator(),
            certifier=self.rng,
        )
        if problem is self.problem:
            best = self.search.best
            assert best is not None
            if replay(problem, climb, self.search):
                return
            self.search.best = climb(best.point, best.history.reopen())
        else:
            share = len(self.source.block.x) / max(len(self.training.rows.x), 1)
            problem.n_expect += int(self.problem.n_expect * share)
            self.search = carry_over(problem, climb, self.search)

    def settle_for(self) -> None:
        """After an interrupt: keep the best so far, labelled as such unless it was certified before."""
        best = self.search.best
        assert best is not None
        if self.finished or best.status == "decreased":
            return
        if self.training.problem is not self.problem:
            point = self.training.problem.at(best.point.params)
            self.search.best = best = ascend(self.training.problem, point, tol=0.0, max_iter=0)
        best.status = "interrupted"

    def publish(self) -> None:
        """Give the estimator its fitted attributes, or keep the reason why it has none."""
        try:
            self.estimator._conclude(self.training, self.search)
        except ExpmaxError as error:
            self.error = error


def make_cells(
    estimators: list[Mixture],
    families: list[int],
    X: Any,
    weight: Any,
    seed: np.random.SeedSequence,
    effort: float,
    repeats: int = 1,
) -> list[Cell | ExpmaxError]:
    """A cell for every estimator, or the error that says why the data do not suit it."""
    seeds = seed.spawn(len(estimators) + 1)
    most = max(int(estimator.n_components or 1) for estimator in estimators)
    cells: list[Cell | ExpmaxError] = []
    pick: NDArray[np.intp] | None = None
    known: list[Block] = []
    for estimator, family, own in zip(estimators, families, seeds[1:], strict=True):
        try:
            estimator._check_parameters()
            x, w, label = estimator._read_training(X, weight, None)
            model = estimator._build(x, w)
        except ExpmaxError as error:
            cells.append(error)
            continue
        if fused.pays(len(x) * len(estimators) * repeats, x.shape[1], most):
            model = replace(model, compiled=True)
        training = estimator._training_data(model, x, w, label)
        if pick is None:
            pick = _few(len(training.rows.x), most, seeds[0])
        problem = _on_few_rows(training, pick)
        block = problem.blocks[0]
        served = model.compiled and GaussianScout.serves(model, block)
        scout = GaussianScout(model, block) if served else None
        cell = Cell(
            family,
            estimator,
            training,
            problem,
            MixtureStarts(model, block, scout),
            np.random.default_rng(own),
        )
        cell.rows = next((i for i, one in enumerate(known) if _same(one, block)), len(known))
        if cell.rows == len(known):
            known.append(block)
        cell.effort = effort
        most = ENGINE_STEPS if scout is None else SCOUT_STEPS
        cell.budget = int(effort * most * max(model.n_components, 2) / 5)
        cells.append(cell)
    return cells


def _few(n_rows: int, most: int, seed: np.random.SeedSequence) -> NDArray[np.intp]:
    """Rows on which starts compete: all, or where they are many a sample, the same for every K."""
    if n_rows <= LARGE * most:
        return np.arange(n_rows)
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(n_rows, SUBSAMPLE * most, replace=False))


def _on_few_rows(training: Training, pick: NDArray[np.intp]) -> Problem:
    problem, rows = training.problem, training.rows
    if len(problem.blocks) == 1 and len(pick) == len(rows.x):
        return problem
    if len(pick) and pick[-1] >= len(rows.x):
        pick = np.arange(len(rows.x))
    weight = None if rows.weight is None else rows.weight[pick]
    return Problem(
        problem.model, [Block(np.ascontiguousarray(rows.x[pick]), weight, None, {})], Serial()
    )


def _same(one: Block, other: Block) -> bool:
    """Whether two blocks hold the same rows."""
    if one.x.shape != other.x.shape or not np.array_equal(one.x, other.x, equal_nan=True):
        return False
    if one.weight is None or other.weight is None:
        return one.weight is other.weight
    return np.array_equal(one.weight, other.weight)
