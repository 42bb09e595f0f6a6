"""The one loop: EM steps that prove their ascent, accelerated steps that may only rise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from expmax.contract import Degeneracy
from expmax.engine.acceleration import Accelerator
from expmax.engine.history import History
from expmax.engine.problem import Point, Problem
from expmax.engine.stopping import remaining_gain

__all__ = ["Breach", "Run", "Status", "ascend", "em_step"]

Status = Literal[
    "stationary",
    "boundary",
    "degenerate",
    "max_iter",
    "interrupted",
    "not_finite",
    "decreased",
    "uncertified",
]
WARM_UP = 10  # EM steps before any acceleration: they settle which basin the run is in


@dataclass(frozen=True, slots=True)
class Breach:
    """A broken invariant: which part, when, by how much and what rounding explains, nats."""

    part: Literal["tightness", "M-step", "E-step"]
    iteration: int
    amount: float
    tolerance: float


@dataclass
class Run:
    """One ascent: where it ended, why, and what happened on the way."""

    point: Point
    status: Status
    history: History
    remaining: float = float("inf")  # estimated gain still to be had, nats
    degeneracies: list[Degeneracy] = field(default_factory=list)
    breach: Breach | None = None


def em_step(problem: Problem, point: Point, history: History) -> tuple[Point, Breach | None]:
    """One EM step with its proof of ascent, recorded.

    Tightness ℓ(θ) = Q(θ; S) + H; M-step ΔQ ≥ 0; E-step ℓ(θ') = Q(θ'; S) + H + KL with KL ≥ 0.
    """
    entropy = point.expectation.entropy
    q_old = problem.q(point.params, point)
    params = problem.maximize(point)
    q_new = problem.q(params, point)
    new = problem.at(params)
    log_likelihood = point.expectation.log_likelihood
    prior_gain = (new.objective - new.expectation.log_likelihood) - (
        point.objective - log_likelihood
    )
    delta_q = q_new - q_old + prior_gain
    kl = new.expectation.log_likelihood - (q_new + entropy)
    iteration = len(history)
    history.append(log_likelihood, point.objective, q_old + entropy, delta_q, kl, "em")
    slack = problem.rounding(point) + 32 * 2.3e-16 * abs(q_old)
    if not new.finite:
        return new, None
    if point.expectation.kind == "exact" and abs(q_old + entropy - log_likelihood) > slack:
        gap = abs(q_old + entropy - log_likelihood)
        return new, Breach("tightness", iteration, gap, slack)
    if not delta_q >= -slack:
        return new, Breach("M-step", iteration, -delta_q, slack)
    if not kl >= -slack:
        return new, Breach("E-step", iteration, -kl, slack)
    return new, None


def ascend(
    problem: Problem,
    point: Point,
    *,
    tol: float,
    max_iter: int,
    accelerator: Callable[[Problem], Accelerator] | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> Run:
    """Climb from a point until the estimated remaining gain is below `tol`.

    Parameters
    ----------
    tol : float
        Nats of the total objective that may be left to gain.
    max_iter : int
        Parameter updates allowed.
    accelerator : callable, optional
        Makes the proposer of accelerated steps; None for plain EM.
    on_step : callable, optional
        Called with the iteration and the objective after every step.
    """
    run = Run(point, "max_iter", History())
    boost = None if accelerator is None else accelerator(problem)
    try:
        while len(run.history) < max_iter:
            _step(problem, run, boost)
            if on_step is not None:
                on_step(len(run.history), run.point.objective)
            if run.status != "max_iter" or _finished(problem, run, tol):
                break
    except KeyboardInterrupt:
        run.status = "interrupted"
    last = run.point
    run.history.append(
        last.expectation.log_likelihood,
        last.objective,
        problem.q(last.params, last) + last.expectation.entropy if last.finite else float("nan"),
        float("nan"),
        float("nan"),
        "end",
    )
    return run


def _step(problem: Problem, run: Run, boost: Accelerator | None) -> None:
    """One accelerated step if one is proposed and rises, else one EM step."""
    iteration = len(run.history)
    if boost is not None and iteration >= WARM_UP:
        new = boost.propose(run.point)
        if new is not None:
            old, nan = run.point, float("nan")
            run.history.append(
                old.expectation.log_likelihood, old.objective, nan, nan, nan, boost.name
            )
            run.point = new
            return
    new, breach = em_step(problem, run.point, run.history)
    if not new.finite:
        run.status = "not_finite"
        run.degeneracies = problem.degeneracies(run.point)
        if run.degeneracies:
            run.status = "degenerate"
        return
    if boost is not None:
        boost.saw_em_step(run.point, new)
    run.point = new
    if breach is not None:
        run.status, run.breach = "decreased", breach
    elif iteration < 3 or iteration % 5 == 0:
        _check_degenerate(problem, run)


def _check_degenerate(problem: Problem, run: Run) -> None:
    run.degeneracies = problem.degeneracies(run.point)
    if run.degeneracies:
        run.status = "degenerate"


def _finished(problem: Problem, run: Run, tol: float) -> bool:
    """Whether the last steps were EM steps whose extrapolated gain is below tol."""
    run.remaining = remaining_gain(
        run.history, run.point.objective, problem.rounding(run.point)
    )
    if run.remaining > tol:
        return False
    _check_degenerate(problem, run)
    if run.status == "max_iter":
        run.status = "stationary"
    return True
