"""The one loop: EM steps that prove their ascent, accelerated steps that may only rise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from expmax.contract import Degeneracy
from expmax.engine.acceleration import Accelerator
from expmax.engine.certificate import ADVICE, Certificate, certify
from expmax.engine.history import History
from expmax.engine.problem import Point, Problem
from expmax.engine.stopping import remaining_gain

__all__ = ["Breach", "Run", "Status", "ascend", "certificate_of", "em_step"]

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
TRUST = 5  # accelerated steps before their estimate of the remaining gain means something
OPTIMISM = 5.0
TRIES = 8  # attempts at a certificate before a run is called uncertified
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
    curvature: float = float("nan")  # smallest curvature seen by the certificate
    saddles: int = 0  # saddle points left behind
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
    if not new.finite:
        return new, None
    gap = abs(q_old + entropy - log_likelihood) if point.expectation.kind == "exact" else 0.0
    slack = problem.rounding(point)
    if gap <= slack and delta_q >= -slack and kl >= -slack:
        return new, None
    moved = Point(new.params, point.expectation, new.objective)  # where Q(θ'; S) was taken
    slack = max(map(problem.careful_rounding, (point, moved, new)))
    if not gap <= slack:
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
    certifier: np.random.Generator | None = None,
    on_step: Callable[[int, float], None] | None = None,
    history: History | None = None,
    floor: float = -np.inf,
) -> Run:
    """Climb from a point until the estimated remaining gain is below `tol`.

    Parameters
    ----------
    tol : float
        Nats of the total objective that may be left to gain; 0 makes all `max_iter` updates.
    max_iter : int
        Parameter updates allowed.
    accelerator : callable, optional
        Makes the proposer of accelerated steps; None for plain EM.
    certifier : Generator, optional
        Source of the certificate's random directions; None stops at the cheap estimate, uncertified.
    on_step : callable, optional
        Called with the iteration and the objective after every step.
    history : History, optional
        Of the run that this one continues.
    floor : float
        An objective already reached elsewhere: a run that cannot be expected to pass it is given up.
    """
    run = Run(point, "max_iter", History() if history is None else history)
    boost = None if accelerator is None else accelerator(problem)
    patience = _Patience()
    try:
        while len(run.history) < max_iter and run.status == "max_iter":
            _step(problem, run, boost)
            if on_step is not None:
                on_step(len(run.history), run.point.objective)
            if run.status == "max_iter" and boost is not None and _hopeless(run, boost, floor):
                run.status = "uncertified"
            if (
                run.status == "max_iter"
                and patience.due(run)
                and _promising(problem, run, boost, tol)
            ):
                _conclude(problem, run, tol, certifier, patience)
                boost = None if accelerator is None else accelerator(problem)
    except KeyboardInterrupt:
        run.status = "interrupted"
    _close(problem, run)
    return run


def _hopeless(run: Run, boost: Accelerator, floor: float) -> bool:
    """Whether several times the estimated remaining gain would not lift the run to the floor."""
    if len(run.history) < WARM_UP + TRUST or not np.isfinite(floor):
        return False
    return run.point.objective + OPTIMISM * boost.remaining < floor


def _close(problem: Problem, run: Run) -> None:
    """The last row of the history: the quantities at the parameters returned."""
    last, nan = run.point, float("nan")
    elbo = problem.q(last.params, last) + last.expectation.entropy if last.finite else nan
    run.history.append(last.expectation.log_likelihood, last.objective, elbo, nan, nan, "end")


def _step(problem: Problem, run: Run, boost: Accelerator | None) -> None:
    """One accelerated step if one is proposed and rises, else one EM step."""
    iteration = len(run.history)
    if boost is not None and iteration >= WARM_UP:
        new = boost.propose(run.point)
        if new is not None:
            _record(run, boost.name)
            run.point = new
            if iteration % 5 == 0:
                _check_degenerate(problem, run)
            return
    new, breach = em_step(problem, run.point, run.history)
    if not new.finite:
        run.status = "not_finite"
        _check_degenerate(problem, run, Point(new.params, run.point.expectation, new.objective))
        return
    if boost is not None:
        boost.saw_em_step(run.point, new)
    run.point = new
    if breach is not None:
        run.status, run.breach = "decreased", breach
    elif iteration < 3 or iteration % 5 == 0:
        _check_degenerate(problem, run)


def _record(run: Run, kind: str) -> None:
    """A step that is not EM's: only the objective is known of it."""
    old, nan = run.point, float("nan")
    run.history.append(old.expectation.log_likelihood, old.objective, nan, nan, nan, kind)


def _check_degenerate(problem: Problem, run: Run, point: Point | None = None) -> None:
    run.degeneracies = problem.degeneracies(point or run.point)
    if run.degeneracies:
        run.status = "degenerate"


@dataclass
class _Patience:
    """When to try to conclude: at once, then after 1.4 times as many steps, a few times."""

    next: int = 0
    tries: int = 0

    def due(self, run: Run) -> bool:
        return len(run.history) >= self.next

    def failed(self, run: Run) -> bool:
        """Note a failure; whether to give up."""
        self.tries += 1
        self.next = len(run.history) + max(4, int(0.4 * len(run.history)))
        return self.tries >= TRIES


def _promising(problem: Problem, run: Run, boost: Accelerator | None, tol: float) -> bool:
    """Whether a cheap estimate of the remaining gain is below tol; never for tol = 0."""
    if tol == 0:
        return False
    rounding = problem.rounding(run.point)
    run.remaining = remaining_gain(run.history, run.point.objective, rounding)
    if boost is not None and run.history.step[-1] == boost.name:
        run.remaining = boost.remaining
    return run.remaining <= max(0.5 * tol, rounding)


def _conclude(
    problem: Problem,
    run: Run,
    tol: float,
    certifier: np.random.Generator | None,
    patience: _Patience,
) -> None:
    """Certify the point, escape from a saddle, or find that the ascent must go on."""
    _check_degenerate(problem, run)
    if run.status != "max_iter":
        return
    if certifier is None:
        run.status = "uncertified"
        return
    _snap(problem, run)
    trial = certify(problem, run.point, max(tol, problem.rounding(run.point)), certifier)
    if trial is None:
        run.status = "uncertified"
        return
    run.remaining, run.curvature = trial.remaining, trial.curvature
    best = max((trial.point, *trial.escape), key=lambda point: point.objective)
    if best is not run.point and best.objective >= run.point.objective:
        _record(run, "newton" if best is trial.point else "escape")
        run.point = best
    if trial.passed:
        run.status = "boundary" if problem.boundary(run.point.params) else "stationary"
        _verify(problem, run)
        return
    if trial.escape:
        run.saddles += 1
        if best is run.point and not any(best is end for end in trial.escape):
            _perturb(problem, run, trial.escape)
    if patience.failed(run):
        run.status = "uncertified"


def _verify(problem: Problem, run: Run) -> None:
    """One last EM step from the certified point, with its proof."""
    new, breach = em_step(problem, run.point, run.history)
    if breach is not None:
        run.status, run.breach = "decreased", breach
    elif new.finite and new.objective >= run.point.objective:
        run.point = new


def _snap(problem: Problem, run: Run) -> None:
    """Put parameters that creep towards the edge of their space on it, if nothing is lost by it."""
    snap = getattr(problem.model, "snap", None)
    params = None if snap is None else snap(run.point.params, run.point.expectation.statistics)
    if params is None:
        return
    point = problem.at(params)
    if point.finite and point.objective >= run.point.objective - problem.rounding(run.point):
        _record(run, "boundary")
        run.point = point


def _perturb(problem: Problem, run: Run, ends: tuple[Point, ...]) -> None:
    """Neither way along the negative curvature rises at once: try a few EM steps down each."""
    for end in ends:
        point = end
        for _ in range(WARM_UP):
            point = problem.at(problem.maximize(point))
            if not point.finite:
                break
            if point.objective > run.point.objective + problem.rounding(run.point):
                _record(run, "escape")
                run.point = point
                return


def certificate_of(problem: Problem, run: Run, n_starts: int, n_agreeing: int) -> Certificate:
    """All that is known of where a run ended."""
    gains = np.diff(run.history.objective)
    slack = problem.rounding(run.point)
    return Certificate(
        status=run.status,
        remaining=run.remaining,
        rounding=slack,
        rate=1.0 - run.curvature,
        curvature=run.curvature,
        verified=run.status in ("stationary", "boundary"),
        monotone=bool((gains >= -slack).all()),
        saddles=run.saddles,
        n_starts=n_starts,
        n_agreeing=n_agreeing,
        boundary=tuple(problem.boundary(run.point.params)),
        degenerate=tuple(f"component {d.component}: {d.reason}" for d in run.degeneracies),
        advice=ADVICE[run.status],
    )
