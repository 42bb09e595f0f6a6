"""The one loop: EM steps that prove their ascent, accelerated steps that may only rise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from expmax.contract import Degeneracy
from expmax.engine.acceleration import Accelerator
from expmax.engine.certificate import ADVICE, FLAT, Certificate, certify
from expmax.engine.curvature import Local
from expmax.engine.history import History
from expmax.engine.problem import Point, Problem
from expmax.engine.stopping import remaining_gain

__all__ = [
    "PACE",
    "Breach",
    "Moment",
    "Pace",
    "Run",
    "Status",
    "ascend",
    "certificate_of",
    "em_step",
]

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
PARTINGS = (0.3, 1.0)  # how far components that coincide are moved, standard deviations
PARTED = 4  # random directions of each length
TRIES = 8  # attempts at a certificate before a run is called uncertified
WARM_UP = 10  # EM steps before any acceleration: they settle which basin the run is in


@dataclass(frozen=True, slots=True)
class Pace:
    """When a run accelerates, and when it is given up for a better one."""

    warm_up: int = WARM_UP  # EM steps before accelerated ones
    trust: int = 5  # accelerated steps before their estimate of the remaining gain means something
    optimism: float = 5.0  # times that estimate by which a run must reach the floor


PACE = Pace()


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
    given_up: bool = False  # not expected to pass what was reached elsewhere
    degeneracies: list[Degeneracy] = field(default_factory=list)
    breach: Breach | None = None
    twins: list[tuple[int, int]] = field(default_factory=list)  # components that are one
    cause: str = ""  # key of the advice, where the status alone does not say why


@dataclass(frozen=True, slots=True)
class Moment:
    """An ascent between two steps: all that it needs to go on from there to the same bits."""

    point: Point
    history: History  # of the running ascent: its first n_rows rows count
    n_rows: int
    remaining: float  # estimated gain still to come, nats
    state: dict[str, Any]  # plain values, arrays and parameters


def em_step(problem: Problem, point: Point, history: History) -> tuple[Point, Breach | None]:
    """One EM step with its proof of ascent, recorded.

    Tightness ℓ(θ) = Q(θ; S) + H; M-step ΔQ ≥ 0; E-step ℓ(θ') = Q(θ'; S) + H + KL with KL ≥ 0.
    """
    entropy = point.expectation.entropy
    params, q_old, q_new = problem.update(point)
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
    pace: Pace = PACE,
    watch: Callable[[Moment], None] | None = None,
    resume: Mapping[str, Any] | None = None,
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
    pace : Pace, optional
        When to accelerate, and when to give up.
    watch : callable, optional
        Called with the `Moment` before the first step and after every other.
    resume : mapping, optional
        The state of the moment from which to go on; `point` and `history` are those of that moment.
    """
    run = Run(point, "max_iter", History() if history is None else history)
    boost = None if accelerator is None else accelerator(problem)
    patience = _Patience()
    if resume is not None:
        _restore(problem, run, boost, patience, certifier, resume)
    try:
        if watch is not None and resume is None:
            watch(_moment(problem, run, boost, patience, certifier))
        while len(run.history) < max_iter and run.status == "max_iter":
            _step(problem, run, boost, pace)
            if on_step is not None:
                on_step(len(run.history), run.point.objective)
            if run.status == "max_iter" and _hopeless(problem, run, boost, floor, pace):
                run.status, run.given_up = "uncertified", True
            if (
                run.status == "max_iter"
                and patience.due(run)
                and _promising(problem, run, boost, tol)
            ):
                saddles = run.saddles
                _conclude(problem, run, tol, certifier, patience, max_iter)
                if boost is not None and accelerator is not None:
                    boost.begin_anew()
                    boost = boost if run.saddles == saddles else accelerator(problem)
            if watch is not None:
                watch(_moment(problem, run, boost, patience, certifier))
    except KeyboardInterrupt:
        run.status = "interrupted"
    _close(problem, run)
    return run


def _moment(
    problem: Problem,
    run: Run,
    boost: Accelerator | None,
    patience: _Patience,
    certifier: np.random.Generator | None,
) -> Moment:
    """What an ascent is made of just now; nothing in it changes later but rows added to the history."""
    remaining = remaining_gain(run.history, run.point.objective, problem.rounding(run.point))
    if boost is not None and run.history.step[-1:] == [boost.name]:
        remaining = boost.remaining
    state = {
        "remaining": run.remaining,
        "curvature": run.curvature,
        "saddles": run.saddles,
        "patience": (patience.next, patience.tries),
        "accelerator": None if boost is None else boost.state(run.point),
        "random": None if certifier is None else certifier.bit_generator.state,
        "n_expect": problem.n_expect,
    }
    return Moment(run.point, run.history, len(run.history), remaining, state)


def _restore(
    problem: Problem,
    run: Run,
    boost: Accelerator | None,
    patience: _Patience,
    certifier: np.random.Generator | None,
    state: Mapping[str, Any],
) -> None:
    """Put an ascent back to the moment of a state."""
    run.remaining, run.curvature = state["remaining"], state["curvature"]
    run.saddles = state["saddles"]
    patience.next, patience.tries = state["patience"]
    if boost is not None:
        boost.restore(state["accelerator"], run.point)
    if certifier is not None:
        certifier.bit_generator.state = state["random"]
    problem.n_expect = state["n_expect"]


def _hopeless(
    problem: Problem, run: Run, boost: Accelerator | None, floor: float, pace: Pace
) -> bool:
    """Whether several times the estimated remaining gain would not lift the run to the floor."""
    if len(run.history) < pace.warm_up + pace.trust or not np.isfinite(floor):
        return False
    objective = run.point.objective
    if boost is None:
        remaining = remaining_gain(run.history, objective, problem.rounding(run.point))
    else:
        remaining = boost.remaining
    return objective + pace.optimism * remaining < floor


def _close(problem: Problem, run: Run) -> None:
    """The last row of the history: the quantities at the parameters returned."""
    last, nan = run.point, float("nan")
    elbo = problem.q(last.params, last) + last.expectation.entropy if last.finite else nan
    run.history.append(last.expectation.log_likelihood, last.objective, elbo, nan, nan, "end")


def _step(problem: Problem, run: Run, boost: Accelerator | None, pace: Pace) -> None:
    """One accelerated step if one is proposed and rises, else one EM step."""
    iteration = len(run.history)
    if boost is not None and iteration >= pace.warm_up:
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
    rounding = problem.rounding(run.point)
    run.remaining = remaining_gain(run.history, run.point.objective, rounding)
    if boost is not None and run.history.step[-1] == boost.name:
        run.remaining = boost.remaining
    return tol > 0 and run.remaining <= max(0.5 * tol, rounding)


def _conclude(
    problem: Problem,
    run: Run,
    tol: float,
    certifier: np.random.Generator | None,
    patience: _Patience,
    max_iter: int,
) -> None:
    """Certify the point, escape from a saddle, or find that the ascent must go on.

    What it changes counts as updates: none is made beyond `max_iter`.
    """
    _check_degenerate(problem, run)
    if run.status != "max_iter":
        return
    if certifier is None:
        run.status, run.cause = "uncertified", "skipped"
        return
    if len(run.history) < max_iter:
        _snap(problem, run)
    trial = certify(problem, run.point, max(tol, problem.rounding(run.point)), certifier)
    if trial is None:
        run.status = "uncertified"
        run.cause = "no score" if problem.chart(run.point) is not None else "no coordinates"
        return
    run.remaining, run.curvature = trial.remaining, trial.curvature
    best = max((trial.point, *trial.escape), key=lambda point: point.objective)
    if trial.passed:
        best = trial.point
    room = len(run.history) < max_iter
    hidden = problem.rounding(run.point) if trial.passed else 0.0
    if room and best is not run.point and best.objective >= run.point.objective - hidden:
        _record(run, "newton" if best is trial.point else "escape")
        run.point = best
    if (trial.passed or abs(trial.curvature) <= FLAT) and _twins(problem, run):
        if room and _split(problem, run, certifier):
            run.saddles += 1
        else:
            run.status = "uncertified"
        return
    if trial.passed:
        run.status = "boundary" if problem.boundary(run.point.params) else "stationary"
        if len(run.history) < max_iter:
            _verify(problem, run)
        return
    if trial.escape and room:
        run.saddles += 1
        if best is run.point and not any(best is end for end in trial.escape):
            _perturb(problem, run, trial.escape)
    if patience.failed(run):
        run.status = "uncertified"


def _twins(problem: Problem, run: Run) -> bool:
    """Whether components coincide: a saddle of some order, flat along their shares of the weight."""
    find = getattr(problem.model, "coincident", None)
    point = run.point
    run.twins = [] if find is None else find(point.params, point.expectation.statistics)
    return bool(run.twins)


def _split(problem: Problem, run: Run, rng: np.random.Generator) -> bool:
    """Part components that coincide, at random, and see whether EM rises from there."""
    local = Local(problem, run.point)
    if not local.usable:
        return False
    scale = np.asarray(local.chart.scale)
    draws = [
        local.at(reach * scale * rng.standard_normal(len(scale)))
        for reach in PARTINGS
        for _ in range(PARTED)
    ]
    before = run.point
    _perturb(problem, run, tuple(end for end in draws if end.finite))
    return run.point is not before


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
        advice=_advice(run),
    )


def _advice(run: Run) -> str:
    """What to do about the way in which a run ended."""
    if run.breach is not None:
        broken = run.breach
        return (
            f"the {broken.part} broke at iteration {broken.iteration}, by {broken.amount:.2g} nats where "
            f"rounding explains {broken.tolerance:.2g}. {ADVICE[run.status]}"
        )
    if run.status != "uncertified" or not run.twins:
        return ADVICE[run.cause if run.status == "uncertified" and run.cause else run.status]
    a, b = run.twins[0]
    return (
        f"Components {a} and {b} coincide: one component fewer gives the same likelihood, and no split that "
        "was tried gives a higher one. Use fewer components, or start elsewhere."
    )
