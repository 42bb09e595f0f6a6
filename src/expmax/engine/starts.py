"""Search over starts: each climbs until it is hopeless, then swaps from the best do the same.

Measured on mixtures of real data: variety among starts decides, not the quality of any one; swaps find
what no start finds when components are many. Where a swap stands after ten EM steps says little of where
it ends (two in three of those that would have won were given up by then), so accelerated steps come early
and a run is given up only where many times its estimated remaining gain would not lift it to the best.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from expmax.contract import Start
from expmax.engine.history import History
from expmax.engine.loop import PACE, Moment, Pace, Run, ascend
from expmax.engine.problem import Point, Problem

__all__ = [
    "Budget",
    "Search",
    "StartRecord",
    "StartSource",
    "climber",
    "outcome_of",
    "search",
    "short_run",
]

Rng = np.random.Generator
SCOUTING = Pace(warm_up=2, trust=3, optimism=200.0)  # of starts: what wins may rise late
REARRANGING = Pace(warm_up=2, trust=3, optimism=80.0)  # of swaps
SAME = 1e-3  # nats within which two ends count as the same optimum, before labels are compared


@dataclass(frozen=True, slots=True)
class StartRecord:
    """One start: its recipe, its seed, how far it went and whether it agrees with the winner."""

    kind: str
    seed: int  # child number of the seed sequence
    objective: float  # nats, where it was left
    status: str  # see `outcome_of`; "short run" if not continued
    agrees: bool = False  # reached the winner's optimum (up to labels)


def outcome_of(run: Run) -> str:
    """How a start ended: "given up" if hopeless, "full run" if it climbed until nothing seemed left to gain.

    Only the best is certified: of the others no certificate was tried. Else the status of the run.
    """
    if run.given_up:
        return "given up"
    return "full run" if run.status == "uncertified" and run.cause == "skipped" else run.status


class StartSource(Protocol):
    """What a model offers as starts; `rngs` yields one generator a start."""

    def starts(self, rngs: Iterator[Rng]) -> Iterator[Start[Any]]:
        """Starts of several kinds in rotation."""
        ...

    def moves(self, params: Any, rngs: Iterator[Rng]) -> Iterator[Start[Any]]:
        """Rearrangements of a solution."""
        ...


@dataclass(frozen=True, slots=True)
class Budget:
    """How much a search may spend; without E-steps it is one round, each start run to its end."""

    expectations: int  # E-steps in all
    round_size: int = 12  # starts a round
    short: int = 0  # EM steps of a short run, by which those to be continued are chosen
    continued: int = 12  # starts continued
    patience: int = 25  # swaps in a row without success before a new round
    returns: int = 12  # starts that come to the best again after which it is settled, swaps failing
    starts: Pace = SCOUTING
    swaps: Pace = REARRANGING


CAREFUL = Budget(0, round_size=24, short=8, continued=2)


@dataclass
class Search:
    """The best run found and the record of every start."""

    best: Run | None = None
    records: list[StartRecord] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)  # why starts were abandoned
    best_record: int = -1  # number of the record that the best run belongs to
    tops: list[Run] = field(default_factory=list)  # distinct runs continued to the end, best first
    origin: Any = None  # the start of the best run, where a scout found the way to it

    def settle(self) -> None:
        """Write how the best run ended, once certified, into the record of its start."""
        if self.best is not None and self.best_record >= 0:
            old = self.records[self.best_record]
            new = replace(old, objective=self.best.point.objective, status=outcome_of(self.best))
            self.records[self.best_record] = new


class _BrokenError(Exception):
    """A run broke an invariant of EM."""


class _Seeds:
    """Child generators one by one, remembering the number of the last."""

    def __init__(self, seed: np.random.SeedSequence) -> None:
        self._seed = seed
        self.last = -1

    def __iter__(self) -> Iterator[Rng]:
        return self

    def __next__(self) -> Rng:
        self.last += 1
        return np.random.default_rng(self._seed.spawn(1)[0])


def search(
    problem: Problem,
    source: StartSource,
    seed: np.random.SeedSequence,
    budget: Budget,
    climb: Callable[..., Run],
    is_spike: Callable[[Point], bool],
    scout: Callable[[Point, float], Point | None] | None = None,
) -> Search:
    """Rounds of starts, each followed by swaps, until the best is settled or the budget spent.

    Parameters
    ----------
    climb : callable
        Runs one ascent to its end; see `climber`.
    is_spike : callable
        Whether a point rests on too few rows to be believed; such candidates rank last.
    scout : callable, optional
        Finds quickly, from a start, the point from which to climb in earnest; None where that leads neither
        above a floor nor anywhere new. Given the start and the floor.

    An interrupt (Ctrl-C) ends the search; the best run so far is then called `interrupted`.
    """
    seeds = _Seeds(seed)
    result = Search()
    spent = problem.n_expect + budget.expectations
    hunt = _Hunt(problem, source, seeds, budget, climb, is_spike, scout, result, spent)
    try:
        with np.errstate(all="ignore"):  # starts may be of any kind: what is irregular is seen
            hunt.run()
    except _BrokenError:
        pass
    except KeyboardInterrupt:
        if result.best is None:
            raise
        result.best.status = "interrupted"
    _mark_agreement(result)
    return result


@dataclass(frozen=True, slots=True)
class _Trial:
    """Where a short run began and how far it came; a run that goes on repeats it, with its proof."""

    origin: Point
    end: Point


def short_run(problem: Problem, params: Any, n_steps: int) -> _Trial | str:
    """A few EM steps without records; a string says why the start was abandoned."""
    point = origin = problem.at(params)
    for _ in range(n_steps):
        if not point.finite:
            break
        point = problem.at(problem.maximize(point))
    found = problem.degeneracies(point)
    if found:
        return str(found[0])
    return _Trial(origin, point) if point.finite else "not finite"


@dataclass
class _Hunt:
    """A search under way."""

    problem: Problem
    source: StartSource
    seeds: _Seeds
    budget: Budget
    climb: Callable[..., Run]
    is_spike: Callable[[Point], bool]
    scout: Callable[[Point, float], Point | None] | None
    result: Search
    spent: int  # count of E-steps at which the budget is
    returns: int = 0  # starts that came to the best again
    exhausted: bool = False  # swaps from the best have failed until patience ran out
    careful: bool = False  # fast steps led to spikes alone: short runs first, slow steps after

    @property
    def best(self) -> float:
        """The highest objective so far, nats."""
        return -np.inf if self.result.best is None else self.result.best.point.objective

    @property
    def _floor(self) -> float:
        """What a run has to pass, nats: anything that is no spike passes a spike."""
        best = self.result.best
        if best is None or not self.budget.expectations or self.is_spike(best.point):
            return -np.inf
        return best.point.objective

    @property
    def over(self) -> bool:
        """Whether the budget is spent, or the best settled."""
        settled = self.exhausted and self.returns >= self.budget.returns
        return settled or self.problem.n_expect >= self.spent

    def run(self) -> None:
        """Rounds; the first is always whole."""
        starts = self.source.starts(self.seeds)
        while True:
            before = self.problem.n_expect
            self._round(starts)
            if self.budget.expectations and not np.isfinite(self._floor):
                self.careful = True
            self._swaps()
            if self.over or self.problem.n_expect == before:
                return

    def _round(self, starts: Iterator[Start[Any]]) -> None:
        first = not self.result.records
        fast = self.budget.expectations and not self.careful
        pace = self.budget.starts if fast else PACE
        most = CAREFUL.continued if self.careful else self.budget.continued
        continued: list[float] = []
        for _, _, record, trial in self._candidates(starts, first):
            if len(continued) >= most or (self.over and not first):
                return
            objective = trial.end.objective
            if any(abs(objective - other) < SAME for other in continued):
                continue
            continued.append(objective)
            best = self.best
            self._finish(trial.origin, record, pace)
            self.returns += abs(self.result.records[record].objective - best) < SAME

    def _candidates(
        self, starts: Iterator[Start[Any]], first: bool
    ) -> list[tuple[bool, float, int, _Trial]]:
        """The starts of a round, after their short runs: the best first, spikes last."""
        candidates = []
        budget = CAREFUL if self.careful else self.budget
        for _ in range(budget.round_size):
            start = next(starts, None) if first or not self.over else None
            if start is None:
                break
            trial = short_run(self.problem, start.params, budget.short)
            if isinstance(trial, str):
                self.result.reasons.append(trial)
                self._record(start, np.nan, "degenerate")
                continue
            number = self._record(start, trial.end.objective, "short run")
            candidates.append((self.is_spike(trial.end), -trial.end.objective, number, trial))
        return sorted(candidates, key=lambda candidate: candidate[:3])

    def _swaps(self) -> None:
        """Swaps from the best, until they fail many times in a row."""
        failures = 0
        moves: Iterator[Start[Any]] | None = None
        while self.result.best is not None and not self.over:
            if moves is None:
                moves = self.source.moves(self.result.best.point.params, self.seeds)
            move = next(moves, None) if failures < self.budget.patience else None
            if move is None:
                self.exhausted = True
                return
            failures += 1
            if self._try(move):
                failures, moves = 0, None

    def _try(self, move: Start[Any]) -> bool:
        """Climb from a swap; whether that improved the best."""
        if not self.careful:
            origin = self.problem.at(move.params)
            number = self._record(move, origin.objective, "not_finite")
            return origin.finite and self._finish(origin, number, self.budget.swaps)
        trial = short_run(self.problem, move.params, CAREFUL.short)
        if isinstance(trial, str):
            self._record(move, np.nan, "degenerate")
            return False
        number = self._record(move, trial.end.objective, "short run")
        return not self.is_spike(trial.end) and self._finish(trial.origin, number, PACE)

    def _record(self, start: Start[Any], objective: float, status: str) -> int:
        """Write a start down; returns its number."""
        self.result.records.append(StartRecord(start.kind, self.seeds.last, objective, status))
        return len(self.result.records) - 1

    def _rewrite(self, record: int, objective: float, status: str) -> None:
        old = self.result.records[record]
        self.result.records[record] = replace(old, objective=objective, status=status)

    def _finish(self, point: Point, record: int, pace: Pace) -> bool:
        """Climb to the end; whether that improved the best."""
        floor, origin = self._floor, None
        if self.scout is not None and not self.careful:
            found = self.scout(point, floor)
            if found is None:
                self._rewrite(record, point.objective, "given up")
                return False
            collapsed = self.problem.degeneracies(found)
            if collapsed:
                self._rewrite(record, found.objective, "degenerate")
                self.result.reasons.append(str(collapsed[0]))
                return False
            if abs(found.objective - floor) < SAME:
                self._rewrite(record, found.objective, "full run")
                return False
            origin, point = point, found
        run = self.climb(point, floor=floor, pace=pace)
        self._rewrite(record, run.point.objective, outcome_of(run))
        if run.status == "degenerate":
            self.result.reasons.append(str(run.degeneracies[0]))
            return False
        if run.status == "not_finite":
            self.result.reasons.append("the likelihood stopped being a number")
            return False
        if run.status == "decreased":  # wrong formulas are no matter of one start: the search ends
            self.result.best = run
            raise _BrokenError
        better = self._keep(run, record)
        if self.result.best is run:
            self.result.origin = None if origin is None else origin.params
        if run.status == "interrupted":
            raise KeyboardInterrupt  # the search is to end too
        return better

    def _rank(self, run: Run) -> tuple[bool, float]:
        """Sorts the best run first, spikes last."""
        return self.is_spike(run.point), -run.point.objective

    def _keep(self, run: Run, record: int) -> bool:
        """Put a run in its place; whether it is better than the best before it."""
        old, tops = self.result.best, self.result.tops
        insort(tops, run, key=self._rank)
        if tops[0] is not run:
            return False
        self.result.best, self.result.best_record = run, record
        if old is not None and not self.is_spike(old.point):
            gain = run.point.objective - old.point.objective
            if gain < SAME:  # the same optimum, a little nearer to its top
                return False
        self.returns, self.exhausted = 0, False
        return True


def _mark_agreement(result: Search) -> None:
    if result.best is None:
        return
    best = result.best.point.objective
    result.records = [
        replace(record, agrees=abs(record.objective - best) < SAME) for record in result.records
    ]


def climber(
    problem: Problem,
    *,
    tol: float,
    max_iter: int,
    accelerator: Callable[[Problem], Any] | None,
    certifier: Rng | None = None,
    watch: Callable[[Moment], None] | None = None,
) -> Callable[..., Run]:
    """`ascend` with everything but the point, the history it continues, floor and pace filled in."""

    def climb(
        point: Point,
        history: History | None = None,
        floor: float = -np.inf,
        pace: Pace = PACE,
    ) -> Run:
        return ascend(
            problem,
            point,
            tol=tol,
            max_iter=max_iter,
            accelerator=accelerator,
            certifier=certifier,
            watch=watch,
            history=history,
            floor=floor,
            pace=pace,
        )

    return climb
