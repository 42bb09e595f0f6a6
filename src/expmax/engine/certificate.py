"""A certificate of what was reached: the gain still to be had, estimated from curvature and verified.

No rule on likelihood gains is honest: EM may crawl. In whitened coordinates the remaining gain is ½ gᵀH⁻¹g with
g the score and H the observed information, whose eigenvalues lie in (0, 1] at a maximum. H is only ever
multiplied with vectors, by differences of scores, each one E-step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from expmax.engine.problem import Point, Problem
from expmax.statistics import Array

__all__ = ["ADVICE", "Certificate", "Trial", "certify"]

CG_STEPS = 10
VERIFY_STEPS = 5
LANCZOS_STEPS = 10
DIFFERENCE = 1e-5  # step of the differences, in units of one observation's coordinate
REACHES = (
    0.3,
    0.1,
    0.03,
)  # how far from a saddle to look, in units of one observation's coordinate
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

    def __str__(self) -> str:
        lines = [f"status: {self.status}", f"remaining gain: {self.remaining:.2g} nats"]
        if np.isfinite(self.rate):
            lines.append(f"EM rate of convergence: {self.rate:.4f}")
        lines.append(f"starts agreeing: {self.n_agreeing} of {self.n_starts}")
        lines += [f"on the boundary: {name}" for name in self.boundary]
        lines += [f"degenerate: {name}" for name in self.degenerate]
        return "\n".join([*lines, self.advice])


ADVICE = {
    "stationary": "A local maximum to within tol; other starts may still find a higher one.",
    "boundary": "A maximum with parameters on the edge of their space; standard errors there need care.",
    "degenerate": "The likelihood is unbounded here: use a prior, fewer components or shared parameters.",
    "max_iter": "Stopped by max_iter while still rising: raise max_iter.",
    "interrupted": "Stopped by the user: the best parameters so far, not a maximum.",
    "not_finite": "The objective stopped being a number: rescale the data or use a prior.",
    "decreased": "The model's formulas disagree: run check_model.",
    "uncertified": "The remaining gain could not be verified (a ridge, a saddle, or certify=False).",
}


@dataclass
class Trial:
    """One attempt to certify a point."""

    passed: bool
    remaining: float
    point: Point  # the point itself, or a higher one found on the way
    curvature: float = float("nan")
    escape: tuple[Point, ...] = ()  # where to go on from a saddle


class _Local:
    """Score and curvature around one point."""

    def __init__(self, problem: Problem, point: Point) -> None:
        self.problem = problem
        self.chart: Any = problem.chart(point)
        if self.chart is not None:
            self.score: Array = self.chart.score(point.params, point.expectation.statistics)
            self.step = DIFFERENCE * float(np.max(self.chart.scale))

    def at(self, vector: Array) -> Point:
        """The point at v."""
        with np.errstate(all="ignore"):
            return self.problem.at(self.chart.from_vector(vector))

    def curve(self, direction: Array) -> Array:
        """H · direction, by a forward difference of the score."""
        length = float(np.linalg.norm(direction))
        unit = direction / length
        near = self.at(self.step * unit)
        moved = self.chart.score(near.params, near.expectation.statistics)
        return np.asarray((self.score - moved) * (length / self.step))


def certify(problem: Problem, point: Point, tol: float, rng: np.random.Generator) -> Trial | None:
    """Try to certify a point to `tol` nats; None where the model has no coordinates.

    The estimate by conjugate gradients must be below tol/2, must fall tenfold after its own step is taken,
    and no direction of negative curvature may show in a Lanczos process.
    """
    local = _Local(problem, point)
    if local.chart is None or not np.isfinite(local.score).all():
        return None
    rounding = problem.rounding(point)
    step, remaining = _conjugate_gradients(local, CG_STEPS)
    if step is None:
        return _saddle(local, point, rng, remaining)
    best = point
    if remaining > rounding:
        moved = local.at(step)
        if moved.finite and moved.objective >= point.objective:
            best = moved
        if remaining > 0.5 * tol or not moved.finite:
            return Trial(False, remaining, best)
        if not _verified(problem, moved, remaining, rounding):
            return Trial(False, remaining, best)
    values, vectors = _lanczos(local, rng)
    curvature = float(values[0])
    if curvature < -1e-4:
        return _saddle(local, point, rng, remaining, vectors[:, 0])
    return Trial(curvature > 0, max(remaining, rounding), best, curvature)


def _verified(problem: Problem, moved: Point, before: float, rounding: float) -> bool:
    there = _Local(problem, moved)
    if there.chart is None or not np.isfinite(there.score).all():
        return False
    step, after = _conjugate_gradients(there, VERIFY_STEPS)
    return step is not None and after <= max(before / DROP, rounding)


def _conjugate_gradients(local: _Local, n_steps: int) -> tuple[Array | None, float]:
    """x ≈ H⁻¹g and ½ gᵀx; None where negative curvature shows."""
    residual = local.score.copy()
    solution = np.zeros_like(residual)
    direction = residual.copy()
    square = start = float(residual @ residual)
    if start == 0.0:
        return solution, 0.0
    for _ in range(min(n_steps, len(residual))):
        image = local.curve(direction)
        curvature = float(direction @ image)
        if not curvature > 0:
            return None, 0.5 * start
        length = square / curvature
        solution += length * direction
        residual -= length * image
        new = float(residual @ residual)
        if new <= 1e-10 * start:
            break
        direction = residual + (new / square) * direction
        square = new
    return solution, 0.5 * float(local.score @ solution)


def _lanczos(local: _Local, rng: np.random.Generator) -> tuple[Array, Array]:
    """Ritz values (rising) and vectors of H from the score's direction plus a random one."""
    size = len(local.score)
    norm = float(np.linalg.norm(local.score))
    vector = rng.standard_normal(size)
    vector /= np.linalg.norm(vector)
    if norm > 0:
        vector = 0.5 * vector + local.score / norm  # unequal parts: opposite ones never cancel
        vector /= np.linalg.norm(vector)
    basis, images = [vector], []
    for j in range(min(LANCZOS_STEPS, size)):
        image = local.curve(basis[j])
        images.append(image)
        rest = image.copy()
        for _ in range(2):
            for other in basis:
                rest -= float(other @ rest) * other
        length = float(np.linalg.norm(rest))
        if length < 1e-7 or j + 1 == min(LANCZOS_STEPS, size):
            break
        basis.append(rest / length)
    frame = np.array(basis[: len(images)]).T
    small = frame.T @ np.array(images).T
    if not np.isfinite(small).all():  # a difference left the parameter space: nothing is known
        return np.array([np.nan]), np.zeros((size, 1))
    values, vectors = np.linalg.eigh(0.5 * (small + small.T))
    return values, frame @ vectors


def _saddle(
    local: _Local,
    point: Point,
    rng: np.random.Generator,
    remaining: float,
    direction: Array | None = None,
) -> Trial:
    """Both ways along a direction of negative curvature."""
    curvature = float("nan")
    if direction is None:
        values, vectors = _lanczos(local, rng)
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
