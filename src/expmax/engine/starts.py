"""Search over starts: many short runs, the best continued, then swaps from the best.

Measured on several hundred mixtures of real data: variety among starts decides, not the quality of any
one; short runs cost little; swaps find what no start finds when components are many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from expmax.contract import Start
from expmax.engine.history import History
from expmax.engine.loop import Run, ascend
from expmax.engine.problem import Point, Problem

__all__ = ["Budget", "Search", "StartRecord", "StartSource", "search"]

Rng = np.random.Generator
SAME = 1e-3  # nats within which two ends count as the same optimum, before labels are compared


@dataclass(frozen=True, slots=True)
class StartRecord:
    """One start: its recipe, its seed, how far it went and whether it agrees with the winner."""

    kind: str
    seed: int  # child number of the seed sequence
    objective: float  # nats, where it was left
    status: str  # "short run" where it was not continued, else the status of its run
    agrees: bool = False  # reached the winner's optimum (up to labels)


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
    """How much a search may spend."""

    expectations: int  # E-steps in all
    round_size: int = 24  # starts a round
    short: int = 8  # EM steps of a short run
    continued: int = 2  # short runs continued to the end
    move_steps: int = 10  # EM steps of a swap before it is judged
    near: float = 10.0  # nats below the best within which a swap is continued
    patience: int = 25  # swaps in a row without success before a new round


@dataclass
class Search:
    """The best run found and the record of every start."""

    best: Run | None = None
    records: list[StartRecord] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)  # why starts were abandoned
    best_record: int = -1  # number of the record that the best run belongs to
    tops: list[Run] = field(default_factory=list)  # distinct runs continued to the end, best first

    def settle(self) -> None:
        """Write how the best run ended, once certified, into the record of its start."""
        if self.best is not None and self.best_record >= 0:
            old = self.records[self.best_record]
            new = replace(old, objective=self.best.point.objective, status=self.best.status)
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
) -> Search:
    """Rounds of short runs, each followed by swaps, until the budget of E-steps is spent.

    Parameters
    ----------
    climb : callable
        Runs one ascent to its end.
    is_spike : callable
        Whether a point rests on too few rows to be believed; such candidates rank last.

    An interrupt (Ctrl-C) ends the search; the best run so far is then called `interrupted`.
    """
    result = Search()
    seeds = _Seeds(seed)
    starts = source.starts(seeds)
    spent = problem.n_expect + budget.expectations
    try:
        while True:
            before = problem.n_expect
            limit = spent if result.records else np.inf  # the first round is always whole
            _round(problem, starts, seeds, budget, climb, is_spike, result, limit)
            if result.best is not None and problem.n_expect < spent:
                _swaps(problem, source, seeds, budget, climb, is_spike, result, spent)
            if problem.n_expect >= spent or problem.n_expect == before:
                break
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
        return f"component {found[0].component} collapsed: {found[0].reason}"
    return _Trial(origin, point) if point.finite else "not finite"


def _round(
    problem: Problem,
    starts: Iterator[Start[Any]],
    seeds: _Seeds,
    budget: Budget,
    climb: Callable[..., Run],
    is_spike: Callable[[Point], bool],
    result: Search,
    limit: float,
) -> None:
    candidates: list[tuple[bool, float, int, _Trial]] = []
    for _ in range(budget.round_size):
        start = next(starts, None) if problem.n_expect < limit else None
        if start is None:
            break
        trial = short_run(problem, start.params, budget.short)
        if isinstance(trial, str):
            result.reasons.append(trial)
            result.records.append(StartRecord(start.kind, seeds.last, np.nan, "degenerate"))
            continue
        end = trial.end
        candidates.append((is_spike(end), -end.objective, len(result.records), trial))
        result.records.append(StartRecord(start.kind, seeds.last, end.objective, "short run"))
    candidates.sort(key=lambda candidate: candidate[:3])
    continued: list[float] = []
    for _, _, record, trial in candidates:
        if len(continued) >= budget.continued or problem.n_expect >= limit:
            break
        objective = trial.end.objective
        if any(abs(objective - other) < SAME for other in continued):
            continue
        continued.append(objective)
        _finish(climb, trial.origin, record, is_spike, result)


def _finish(
    climb: Callable[..., Run],
    point: Point,
    record: int,
    is_spike: Callable[[Point], bool],
    result: Search,
) -> bool:
    """Climb to the end; whether that improved the best."""
    floor = -np.inf if result.best is None else result.best.point.objective
    run = climb(point, floor=floor)
    old = result.records[record]
    result.records[record] = replace(old, objective=run.point.objective, status=run.status)
    if run.status == "degenerate":
        found = run.degeneracies[0]
        result.reasons.append(f"component {found.component} collapsed: {found.reason}")
        return False
    if run.status == "not_finite":
        result.reasons.append("the likelihood stopped being a number")
        return False
    if run.status == "decreased":  # wrong formulas are no matter of one start: the search ends
        result.best = run
        raise _BrokenError
    result.tops.append(run)
    result.tops.sort(key=lambda other: (is_spike(other.point), -other.point.objective))
    better = result.best is not result.tops[0]
    if result.best is not None and better:
        better = result.tops[0].point.objective > result.best.point.objective + 1e-6 or is_spike(
            result.best.point
        )
    if result.tops[0] is run:
        result.best_record = record
    result.best = result.tops[0]
    if run.status == "interrupted":
        raise KeyboardInterrupt  # the search is to end too
    return better


def _swaps(
    problem: Problem,
    source: StartSource,
    seeds: _Seeds,
    budget: Budget,
    climb: Callable[..., Run],
    is_spike: Callable[[Point], bool],
    result: Search,
    spent: int,
) -> None:
    failures = 0
    assert result.best is not None
    moves = source.moves(result.best.point.params, seeds)
    while failures < budget.patience and problem.n_expect < spent:
        move = next(moves, None)
        if move is None:
            return
        best = result.best.point.objective
        trial = short_run(problem, move.params, budget.move_steps)
        failures += 1
        if isinstance(trial, str):
            result.records.append(StartRecord(move.kind, seeds.last, np.nan, "degenerate"))
            continue
        point = trial.end
        result.records.append(StartRecord(move.kind, seeds.last, point.objective, "short run"))
        promising = point.objective > best - budget.near and not is_spike(point)
        same = abs(point.objective - best) < SAME
        if (
            promising
            and not same
            and _finish(climb, trial.origin, len(result.records) - 1, is_spike, result)
        ):
            failures = 0
            moves = source.moves(result.best.point.params, seeds)


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
    on_step: Callable[[int, float], None] | None = None,
) -> Callable[..., Run]:
    """`ascend` with everything but the point, and the history it continues, filled in."""

    def climb(point: Point, history: History | None = None, floor: float = -np.inf) -> Run:
        return ascend(
            problem,
            point,
            tol=tol,
            max_iter=max_iter,
            accelerator=accelerator,
            certifier=certifier,
            on_step=on_step,
            history=history,
            floor=floor,
        )

    return climb
