"""How topic models are fitted: batches that prove their ascent, mini-batches that cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from expmax.compute.reduce import tree_sum
from expmax.contract import Block
from expmax.engine.certificate import Certificate
from expmax.engine.history import History
from expmax.engine.loop import Run, ascend
from expmax.engine.problem import Point, Problem
from expmax.estimators.shared import Progress
from expmax.inference.documents import Documents
from expmax.models.topics import TopicParameters, Topics, TopicStatistics
from expmax.statistics import Array

__all__ = [
    "Remembering",
    "Schedule",
    "batch",
    "batch_from_each",
    "online_certificate",
    "online_in_order",
    "online_passes",
    "online_update",
]

TIGHTEST = 1e-6  # mean change of γ below which a document step is as good as exact
ADVICE = "Mini-batch updates prove no ascent: fit with learning='batch' for a certificate."


# -- batch -----------------------------------------------------------------------------------------
@dataclass
class Remembering(Problem):
    """A problem that knows the point before the last one."""

    before: Point | None = None
    now: Point | None = None

    def at(self, params: Any) -> Point:
        """One E-step."""
        self.before, self.now = self.now, super().at(params)
        return self.now


def batch(
    problem: Remembering,
    params: TopicParameters,
    *,
    tol: float,
    max_iter: int,
    may_keep: bool,
    certifier: np.random.Generator | None,
    progress: Progress,
) -> Run:
    """Climb the bound to where hardly anything is left to gain.

    Each document step starts afresh, which finds higher bounds than going on from the last γ, until that
    lowers the bound. From the point before, document steps are then tightened; if that was not the cause, but a
    worse optimum of some document, they go on from where they ended, which can lower nothing. Those of the
    certificate are exact.
    """
    options: dict[str, Any] = {"tol": tol, "max_iter": max_iter, "watch": progress.watch}
    run = ascend(problem, problem.at(params), **options)
    while _fell(run) and problem.before is not None:
        model: Topics = problem.model
        if model.document_tol > TIGHTEST:
            problem.model = replace(
                model, document_tol=0.1 * model.document_tol, max_rounds=2 * model.max_rounds
            )
        elif may_keep:
            problem.model = replace(model, keep=True)
        else:
            run.point, run.status, run.breach = problem.before, "uncertified", None
            run.history = _without_last(run.history)
            return run
        run = _again(problem, _without_last(run.history), problem.before.params, options)
    if run.status != "uncertified" or certifier is None:
        return run
    problem.model = replace(problem.model, keep=True)
    exact = replace(run.point.params, exact=True, kept=run.point.expectation.statistics.kept)
    return _again(problem, run.history, exact, {**options, "certifier": certifier})


def batch_from_each(
    problem: Remembering,
    starts: Sequence[TopicParameters],
    certifiers: Sequence[np.random.Generator | None],
    **options: Any,
) -> list[Run]:
    """`batch` from one start after the other, each with the model as it is now; an interrupt ends them."""
    fresh, runs = problem.model, []
    for params, certifier in zip(starts, certifiers, strict=True):
        problem.model = fresh
        runs.append(batch(problem, params, certifier=certifier, **options))
        if runs[-1].status == "interrupted":
            break
    return runs


def _fell(run: Run) -> bool:
    """Whether document steps, not the formulas, lowered the bound."""
    fresh = not run.point.params.kept.parts
    return run.status == "decreased" and run.breach is not None and fresh


def _without_last(history: History) -> History:
    """The history up to the last point but one, whose values close it."""
    return History(*(list(column[:-2]) for column in vars(history).values()))


def _again(
    problem: Remembering, history: History, params: TopicParameters, options: dict[str, Any]
) -> Run:
    return ascend(problem, problem.at(params), history=history.reopen(), **options)


# -- online ----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Schedule:
    """Step t moves a share (offset + t)^−decay of the way to what its mini-batch alone would give."""

    batch_size: int
    offset: float
    decay: float

    def step(self, t: int) -> float:
        """The share ρ_t."""
        return float((self.offset + t) ** -self.decay)


def online_update(
    problem: Problem, params: TopicParameters, blocks: Sequence[Block], total: float, share: float
) -> tuple[TopicParameters, float]:
    """λ ← (1 − ρ) λ + ρ (η + D/|B| S), and Σ_d weight_d bound_d of the mini-batch B at the old λ.

    References
    ----------
    Hoffman, Blei & Bach (2010), NIPS 23, algorithm 2.
    """
    expectation = problem.compute.total(lambda block: problem.model.expect(params, block), blocks)
    statistics: TopicStatistics = expectation.statistics
    if not statistics.documents > 0:
        return params, 0.0
    counts = statistics.counts
    counts *= share * total / statistics.documents
    counts += share * params.topic_prior[:, None]
    counts += (1.0 - share) * params.pseudo_counts
    return replace(params, pseudo_counts=counts), float(expectation.log_likelihood)


def online_in_order(
    problem: Problem,
    params: TopicParameters,
    documents: Documents,
    weight: Array,
    schedule: Schedule,
    *,
    n_updates: int,
    n_seen: float,
    total: float | None,
) -> tuple[TopicParameters, int]:
    """Updates from documents in the order given, and how many there are now.

    Parameters
    ----------
    n_updates, n_seen : int, float
        Updates made and documents seen before.
    total : float, optional
        D, the size of the whole collection; default: the documents seen by then.
    """
    for start in range(0, len(documents), schedule.batch_size):
        stop = min(start + schedule.batch_size, len(documents))
        own = weight[start:stop]
        n_seen += float(own.sum())
        block = Block(documents.part(start, stop), own)  # type: ignore[arg-type]
        share = schedule.step(n_updates)
        params, _ = online_update(problem, params, [block], total or n_seen, share)
        n_updates += 1
    return params, n_updates


def online_passes(
    problem: Problem,
    params: TopicParameters,
    documents: Documents,
    weight: Array,
    schedule: Schedule,
    *,
    n_passes: int,
    rng: np.random.Generator,
    progress: Progress,
) -> tuple[Run, int]:
    """Passes over the documents in random mini-batches, and the number of updates.

    The history has one row a pass: the bounds of the documents, each at the topics it met; the last row is
    the bound at the end.
    """
    history, t, nan = History(), 0, float("nan")
    status: Any = "uncertified"
    try:
        for i in range(n_passes):
            met = []
            order = rng.permutation(len(documents))
            for start in range(0, len(order), schedule.batch_size):
                rows = order[start : start + schedule.batch_size]
                block = Block(documents.take(rows), weight[rows])  # type: ignore[arg-type]
                params, bound = online_update(
                    problem, params, [block], float(weight.sum()), schedule.step(t)
                )
                met.append(bound)
                t += 1
            total = tree_sum(met)
            history.append(total, total + params.log_prior, nan, nan, nan, "online")
            progress.tell(i + 1, history.objective[-1])
    except KeyboardInterrupt:
        status = "interrupted"
    point = problem.at(params)
    if not point.finite:
        status = "not_finite"
    likelihood = point.expectation.log_likelihood
    history.append(likelihood, point.objective, nan, nan, nan, "end")
    return Run(point, status, history), t


def online_certificate(run: Run, rounding: float) -> Certificate:
    """What is known of mini-batch learning: nothing but where it stopped."""
    nan = float("nan")
    return Certificate(
        status=run.status,
        remaining=float("inf"),
        rounding=rounding,
        rate=nan,
        curvature=nan,
        verified=False,
        monotone=False,
        saddles=0,
        n_starts=1,
        n_agreeing=1,
        boundary=(),
        degenerate=(),
        advice=ADVICE,
    )
