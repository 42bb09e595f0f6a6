"""A certificate of what was reached: the gain still to be had, estimated from curvature and verified.

No rule on likelihood gains is honest: EM may crawl. In whitened coordinates the remaining gain is ½ gᵀH⁻¹g with
g the score and H the observed information, whose eigenvalues lie in (0, 1] at a maximum. H is only ever
multiplied with vectors, by differences of scores, each one E-step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from expmax.engine.curvature import Local, conjugate_gradients, lanczos
from expmax.engine.problem import Point, Problem
from expmax.statistics import Array

__all__ = ["ADVICE", "FLAT", "Certificate", "Trial", "certify"]

CG_STEPS = 10
VERIFY_STEPS = 5
LANCZOS_STEPS = 10
REACHES = (
    0.3,
    0.1,
    0.03,
)  # how far from a saddle to look, in units of one observation's coordinate
FLAT = 1e-4  # curvature that differences of scores cannot tell from none
DROP = 10.0  # the estimate must fall by this factor after its own step


@dataclass(frozen=True)
class Certificate:
    """What is known of the point that a fit returned, and in words what to do about it."""

    status: str
    remaining: float  # estimated gain of the objective still to be had, nats
    rounding: float  # what rounding hides, nats: no estimate below it means anything
    rate: float  # largest fraction of missing information found: the rate at which EM converges
    curvature: float  # smallest eigenvalue found of the whitened observed information
    verified: bool  # whether curvature was measured and the estimate fell after its own step
    monotone: bool  # whether no step lowered the objective
    saddles: int  # saddle points met and left
    n_starts: int
    n_agreeing: int  # starts that reached this optimum
    boundary: tuple[str, ...]  # parameters on the edge of their space
    degenerate: tuple[str, ...]  # components at which the likelihood is unbounded
    advice: str
    near_degenerate: tuple[str, ...] = ()  # components that a few rows or one value hold up

    @property
    def left(self) -> str:
        """The gain still to be had, in words."""
        if np.isfinite(self.remaining):
            return f"an estimated {self.remaining:.2g} nats still to gain"
        return "what is left to gain could not be estimated yet"

    def __str__(self) -> str:
        lines = [f"status: {self.status}", f"remaining gain: {_nats(self.remaining)}"]
        if np.isfinite(self.rate):
            lines.append(f"EM rate of convergence: {self.rate:.4f}")
        if self.saddles:
            lines.append(f"saddle points met and left: {self.saddles}")
        lines.append(f"starts agreeing: {self.n_agreeing} of {self.n_starts}")
        lines += [f"on the boundary: {name}" for name in self.boundary]
        lines += [f"degenerate: {name}" for name in self.degenerate]
        lines += [f"near-degenerate: {name}" for name in self.near_degenerate]
        return "\n".join([*lines, self.advice])


ADVICE = {
    "stationary": "A local maximum to within tol; other starts may still find a higher one.",
    "boundary": "A maximum with parameters on the edge of their space; standard errors there need care.",
    "degenerate": "The likelihood is unbounded here: use a prior, fewer components or shared parameters.",
    "max_iter": "Stopped by max_iter while still rising: raise max_iter.",
    "interrupted": "Stopped by the user: the best parameters so far, not a maximum.",
    "not_finite": "The objective stopped being a number: rescale the data or use a prior.",
    "decreased": "The model's formulas disagree: run check_model.",
    "uncertified": "The remaining gain could not be verified: the objective is flat here, or curves upwards (a "
    "ridge or a saddle). Start elsewhere, simplify the model, or raise tol.",
    # why a certificate was not even tried, under the status "uncertified"
    "skipped": "Certification was skipped, as it is with certify=False: the remaining gain is an estimate from "
    "the last steps, and a saddle or a ridge would look the same. Certify to tell them from a maximum.",
    "no coordinates": "No certificate is possible: the model has no coordinates in which to measure curvature "
    "(chart, or space with pack and unpack). The remaining gain is an estimate from the last steps; "
    "compare the ends of several starts.",
    "no score": "No certificate is possible: the score is not a finite number here, as beside an edge of the "
    "parameters. The remaining gain is an estimate from the last steps; compare other starts.",
}


def _nats(gain: float) -> str:
    return f"{gain:.2g} nats" if np.isfinite(gain) else "not estimated"


@dataclass
class Trial:
    """One attempt to certify a point."""

    passed: bool
    remaining: float
    point: Point  # the point itself, or a higher one found on the way
    curvature: float = float("nan")
    escape: tuple[Point, ...] = ()  # where to go on from a saddle


def certify(problem: Problem, point: Point, tol: float, rng: np.random.Generator) -> Trial | None:
    """Try to certify a point to `tol` nats; None where the model has no coordinates.

    The estimate by conjugate gradients must be below tol/2, must fall tenfold after its own step is taken,
    and no direction of negative curvature may show in a Lanczos process. Along a direction without curvature
    the objective must not rise at a distance.
    """
    local = Local(problem, point)
    if not local.usable:
        return None
    rounding = problem.rounding(point)
    if not len(local.score):  # nothing can move: every parameter is on its edge, or none is known
        edges = problem.boundary(point.params)
        return Trial(True, rounding, point, 1.0) if edges else None
    step, remaining = conjugate_gradients(local, CG_STEPS)
    if step is None:
        return _saddle(local, point, rng, remaining)
    best = point
    moved = local.at(step)  # nearer to the top, also where the objective can no longer tell
    if moved.finite and moved.objective >= point.objective - min(rounding, tol):
        best = moved
    if remaining > rounding:
        if remaining > 0.5 * tol or not moved.finite:
            return Trial(False, remaining, best)
        if not _verified(problem, moved, remaining, rounding):
            return Trial(False, remaining, best)
    values, vectors = lanczos(local, rng, LANCZOS_STEPS)
    curvature = float(values[0])
    if curvature < -FLAT:
        return _saddle(local, point, rng, remaining, vectors[:, 0])
    if (
        curvature <= FLAT
    ):  # a ridge, such as the rotations of a factor model, or a saddle of high order
        trial = _saddle(local, point, rng, remaining, vectors[:, 0])
        if any(end.objective > best.objective + rounding for end in trial.escape):
            trial.curvature = curvature
            return trial
    return Trial(np.isfinite(curvature), max(remaining, rounding), best, curvature)


def _verified(problem: Problem, moved: Point, before: float, rounding: float) -> bool:
    there = Local(problem, moved)
    if not there.usable:
        return False
    step, after = conjugate_gradients(there, VERIFY_STEPS)
    return step is not None and after <= max(before / DROP, rounding)


def _saddle(
    local: Local,
    point: Point,
    rng: np.random.Generator,
    remaining: float,
    direction: Array | None = None,
) -> Trial:
    """Both ways along a direction of negative curvature."""
    curvature = float("nan")
    if direction is None:
        values, vectors = lanczos(local, rng, LANCZOS_STEPS)
        curvature, direction = float(values[0]), vectors[:, 0]
        if not np.isfinite(curvature):
            return Trial(False, remaining, point)
    scale = float(np.max(local.chart.scale))
    ends = []
    for reach in REACHES:
        ends = [local.at(sign * reach * scale * direction) for sign in (1.0, -1.0)]
        ends = [end for end in ends if end.finite]
        if any(end.objective > point.objective for end in ends):
            break
    return Trial(False, remaining, point, curvature, tuple(ends))
