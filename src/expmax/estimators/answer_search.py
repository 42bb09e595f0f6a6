"""How the starts of discrete-answer models are tried, and what becomes of the best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from expmax.contract import Start
from expmax.engine.acceleration import accelerators
from expmax.engine.loop import Run, ascend
from expmax.engine.problem import Problem
from expmax.engine.starts import SAME, Budget, Search, StartRecord, search
from expmax.errors import NotFiniteError
from expmax.estimators.outcome import CONVERGED, broken
from expmax.estimators.shared import Progress
from expmax.models.answers import AnswerModel

__all__ = ["LIFT", "accepted_answers", "count_random_starts", "search_answers"]

SHORT, CONTINUED = 10, 4  # EM steps of a short run; short runs continued to the end
NUDGE = 1e-8  # share at which a probability of 0 shows whether EM would raise it
LIFT = 1e-3  # share from which it then rises
RELEASES = 5
# answers that the random starts of n_init="auto" may look at, in each of their steps
WORK = 2_000_000
FEWEST = 2  # random starts of n_init="auto"
# answers from which a single start, too, may go to any optimum near: EM's own path is long
LONG_WAY = 20_000

Climb = Callable[..., Run]


def count_random_starts(n_init: int | str, n_answers: int, most: int) -> int:
    """Random starts beside the usual one; at most `most` of them for "auto"."""
    if not isinstance(n_init, str):
        return int(n_init) - 1
    return int(np.clip(WORK // max(n_answers, 1), FEWEST, most))


def search_answers(
    problem: Problem,
    first: Sequence[Start[Any]],
    source: Any,
    n_random: int,
    seed: np.random.SeedSequence,
    progress: Progress,
    *,
    tol: float,
    max_iter: int,
    accelerate: str | None,
) -> Search:
    """The usual starts to their ends, then short runs from random ones and the best continued."""
    n_answers = sum(block.x.size for block in problem.blocks)
    many = len(first) + n_random > 1 or n_answers > LONG_WAY
    climb = partial(
        ascend,
        problem,
        tol=tol,
        max_iter=max_iter,
        accelerator=accelerators(accelerate, search=many),
        certifier=np.random.default_rng(seed.spawn(1)[0]),
        watch=progress.watch,
    )
    result = Search()
    for start in first:
        run = climb(problem.at(start.params))
        record = StartRecord(start.kind, -1, run.point.objective, run.status)
        _enter(result, run, [record], 0)
        if run.status == "interrupted":
            return result
    if n_random > 0:
        continued = min(CONTINUED, (n_random + 1) // 2)
        budget = Budget(0, round_size=n_random, short=SHORT, continued=continued)
        other = search(problem, source, seed, budget, climb, lambda point: False)
        if other.best is not None:
            _enter(result, other.best, other.records, other.best_record)
    if result.best is not None and result.best.status in CONVERGED:
        result.best = _leave_false_edges(problem, result.best, climb)
        result.settle()
    _mark_agreement(result)
    return result


def _enter(result: Search, run: Run, records: list[StartRecord], which: int) -> None:
    """Add records, one of which a run belongs to, and keep the run if it is the best."""
    if result.best is None or run.point.objective > result.best.point.objective + SAME:
        result.best, result.best_record = run, len(result.records) + which
    result.records += records


def _mark_agreement(result: Search) -> None:
    if result.best is not None:
        best = result.best.point.objective
        result.records = [
            replace(record, agrees=abs(record.objective - best) < SAME) for record in result.records
        ]


def _leave_false_edges(problem: Problem, run: Run, climb: Climb) -> Run:
    """Go on from where a probability of 0 is none of the maximum's: EM by itself never leaves a 0.

    At a maximum on the boundary EM lowers whatever is nudged off it (the Kuhn-Tucker conditions).
    """
    model: AnswerModel = problem.model
    for _ in range(RELEASES):
        params = run.point.params
        near = problem.at(model.nudged(params, NUDGE))
        with np.errstate(all="ignore"):
            cells, classes = model.growing(near.params, near.expectation.statistics)
        cells &= params.probability <= NUDGE
        classes &= np.exp(params.log_weights) <= NUDGE
        if not (cells.any() or classes.any()) or run.status not in CONVERGED:
            return run
        start = problem.at(model.raised(params, cells, classes, LIFT))
        new = climb(start)
        if not new.point.objective > run.point.objective:
            return run
        run = new
    return run


def accepted_answers(result: Search) -> Run:
    """The best run.

    Raises
    ------
    NotFiniteError
        Some unit has probability zero under every class.
    DecreasedLikelihoodError
        A step broke an invariant of EM.
    """
    run = result.best
    if run is None or run.status == "not_finite":
        value = float("nan") if run is None else run.point.objective
        raise NotFiniteError(
            f"the log-likelihood became {value}: some unit has probability zero under every class. "
            "Free what is fixed at 0, or use a prior."
        )
    broken(run)
    return run
