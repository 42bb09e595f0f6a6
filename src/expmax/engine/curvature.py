"""Score and curvature of the objective around one point, from E-steps alone.

H, the observed information in whitened coordinates, is only ever multiplied with vectors, by differences of
scores, each one E-step. At a maximum its eigenvalues lie in (0, 1].
"""

from __future__ import annotations

from typing import Any

import numpy as np

from expmax.contract import Expectation
from expmax.engine.problem import Point, Problem
from expmax.statistics import Array

__all__ = ["Local", "conjugate_gradients", "lanczos", "point_at"]

DIFFERENCE = 1e-5  # step of the differences, in units of one observation's coordinate


def point_at(problem: Problem, chart: Any, vector: Array) -> Point:
    """The point at v; its objective is NaN where v leaves the parameters' space."""
    try:
        with np.errstate(all="ignore"):
            return problem.at(chart.from_vector(vector))
    except np.linalg.LinAlgError:  # a factor so near singular that it has no inverse
        nan = float("nan")
        return Point(None, Expectation(None, nan, nan, nan), nan)


class Local:
    """Score and curvature around one point; `chart` is None where the model has no coordinates."""

    def __init__(self, problem: Problem, point: Point) -> None:
        self.problem = problem
        self.chart: Any = problem.chart(point)
        if self.chart is not None:
            self.score: Array = self.chart.score(point.params, point.expectation.statistics)
            self.step = DIFFERENCE * float(np.max(self.chart.scale, initial=0.0))

    @property
    def usable(self) -> bool:
        """Whether there is a score to work with."""
        return self.chart is not None and bool(np.isfinite(self.score).all())

    def at(self, vector: Array) -> Point:
        """The point at v."""
        return point_at(self.problem, self.chart, vector)

    def curve(self, direction: Array) -> Array:
        """H · direction, by a forward difference of the score; NaN where it leaves the space."""
        length = float(np.linalg.norm(direction))
        unit = direction / length
        near = self.at(self.step * unit)
        if not near.finite:
            return np.full_like(direction, np.nan)
        moved = self.chart.score(near.params, near.expectation.statistics)
        return np.asarray((self.score - moved) * (length / self.step))


def conjugate_gradients(local: Local, n_steps: int) -> tuple[Array | None, float]:
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


def lanczos(local: Local, rng: np.random.Generator, n_steps: int) -> tuple[Array, Array]:
    """Ritz values (rising) and vectors of H from the score's direction plus a random one."""
    size = len(local.score)
    norm = float(np.linalg.norm(local.score))
    vector = rng.standard_normal(size)
    vector /= np.linalg.norm(vector)
    if norm > 0:
        vector = 0.5 * vector + local.score / norm  # unequal parts: opposite ones never cancel
        vector /= np.linalg.norm(vector)
    basis, images = [vector], []
    for j in range(min(n_steps, size)):
        image = local.curve(basis[j])
        images.append(image)
        rest = image.copy()
        for _ in range(2):
            for other in basis:
                rest -= float(other @ rest) * other
        length = float(np.linalg.norm(rest))
        if not length >= 1e-7 or j + 1 == min(n_steps, size):
            break
        basis.append(rest / length)
    frame = np.array(basis[: len(images)]).T
    small = frame.T @ np.array(images).T
    if not np.isfinite(small).all():  # a difference left the parameter space: nothing is known
        return np.array([np.nan]), np.zeros((size, 1))
    values, vectors = np.linalg.eigh(0.5 * (small + small.T))
    return values, frame @ vectors
