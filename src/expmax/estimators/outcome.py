"""What becomes of the best run of a search: a fit, an error that says why there is none, or a warning."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expmax.engine.loop import Run, certificate_of
from expmax.engine.problem import Problem
from expmax.engine.starts import Search
from expmax.errors import DecreasedLikelihoodError, DegenerateComponentError, NotFiniteError
from expmax.estimators.spikes import fragile

__all__ = ["CONVERGED", "accepted", "broken", "name_components", "not_converged", "tell"]

CONVERGED = ("stationary", "boundary")


def accepted(result: Search) -> Run:
    """The best run.

    Raises
    ------
    DegenerateComponentError
        Every start collapsed; the message says why the first did.
    DecreasedLikelihoodError
        A step broke an invariant of EM: the formulas of a family disagree.
    NotFiniteError
        The log-likelihood stopped being a number.
    """
    run = result.best
    if run is None or run.status == "degenerate":
        reason = result.reasons[0] if result.reasons else "no start was regular"
        if run is not None and run.degeneracies:
            reason = str(run.degeneracies[0])
        raise DegenerateComponentError(
            f"every start collapsed (the first: {reason}); the likelihood is unbounded there. Use a "
            "prior, fewer components, or parameters shared between components such as "
            'covariance="tied".'
        )
    broken(run)
    if run.status == "not_finite":
        raise NotFiniteError(
            f"the log-likelihood became {run.point.objective} at iteration "
            f"{len(run.history) - 1}; rescale columns of extreme size or use a prior."
        )
    return run


def broken(run: Run) -> None:
    """Refuse a run in which a step broke an invariant of EM.

    Raises
    ------
    DecreasedLikelihoodError
    """
    if run.status == "decreased" and run.breach is not None:
        raise DecreasedLikelihoodError(
            run.breach.part,
            iteration=run.breach.iteration,
            amount=run.breach.amount,
            tolerance=run.breach.tolerance,
        )


def tell(estimator: Any, problem: Problem, run: Run, result: Search) -> None:
    """Set the fitted attributes that say what a search reached, and how."""
    expectation = run.point.expectation
    estimator.log_likelihood_ = float(expectation.log_likelihood)
    estimator._entropy = float(expectation.entropy)
    estimator._total_weight = float(expectation.weight)
    estimator.status_ = run.status
    estimator.converged_ = run.status in CONVERGED
    estimator.n_iter_ = len(run.history) - 1
    estimator.n_expect_ = problem.n_expect
    estimator.history_ = run.history
    estimator.starts_ = result.records
    agreeing = sum(record.agrees for record in result.records)
    estimator.certificate_ = certificate_of(problem, run, len(result.records), agreeing)


def name_components(
    estimator: Any, problem: Problem, run: Run, params: Any, order: NDArray[np.intp]
) -> None:
    """Let the certificate of a mixture call components what the fitted attributes call them.

    Parameters
    ----------
    params : MixtureParameters
        As they are published.
    order : ndarray of int, shape (K,)
        Which component of the run became each of these.
    """
    place = np.argsort(order)
    run.degeneracies = [
        replace(one, component=int(place[one.component])) for one in run.degeneracies
    ]
    twins = [sorted((int(place[a]), int(place[b]))) for a, b in run.twins]
    run.twins = [(a, b) for a, b in twins]
    old = estimator.certificate_
    new = certificate_of(problem, run, old.n_starts, old.n_agreeing)
    counts = getattr(run.point.expectation.statistics, "counts", np.zeros(0))
    near = fragile(problem.model, params, counts[order], problem.blocks[0].x) if len(counts) else ()
    boundary = tuple(problem.boundary(params))
    estimator.certificate_ = replace(new, boundary=boundary, near_degenerate=near)


def not_converged(estimator: Any, run: Run) -> str:
    """Why a fit is not called converged."""
    return (
        f"{type(estimator).__name__} stopped with status {run.status!r} after {estimator.n_iter_} "
        f"iterations; {estimator.certificate_.left} (tol={estimator.tol:g}). "
        f"{estimator.certificate_.advice}"
    )
