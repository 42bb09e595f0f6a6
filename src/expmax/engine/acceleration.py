"""Accelerated steps: proposals that are taken only if the objective does not fall.

L-BFGS climbs the objective by its score (Fisher's identity gives it with every E-step) in coordinates where
the complete-data information is the identity, so that its first step is the EM step. SQUAREM extrapolates two
EM steps and needs no coordinates but the parameters' own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from expmax.engine.extrapolation import Anderson, Squarem
from expmax.engine.problem import Point, Problem
from expmax.errors import parameter_error
from expmax.statistics import Array

__all__ = ["Accelerator", "Lbfgs", "accelerators"]

MEMORY = 12
REACH = (
    1.0  # longest change of any coordinate, in units of one observation's (a standard deviation)
)


class Accelerator(Protocol):
    """Proposes points from what it has seen; None leaves the step to EM."""

    @property
    def name(self) -> str:
        """What the history calls its steps."""
        ...

    @property
    def remaining(self) -> float:
        """Estimated gain still to come at the last point seen, nats."""
        ...

    def propose(self, point: Point) -> Point | None:
        """An accelerated step that does not lower the objective; None leaves the step to EM."""
        ...

    def saw_em_step(self, old: Point, new: Point) -> None:
        """Learn from an EM step."""
        ...


class Lbfgs:
    """Limited-memory quasi-Newton ascent that never lowers the objective.

    References
    ----------
    Jamshidian & Jennrich (1997), J. R. Statist. Soc. B 59(3): quasi-Newton acceleration of EM. Nocedal (1980),
    Math. Comp. 35: the two-loop recursion.
    """

    name = "lbfgs"

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.remaining = float("inf")
        self._forget()

    def _forget(self) -> None:
        self.chart: Any = None
        self.pairs: deque[tuple[Array, Array, float]] = deque(maxlen=MEMORY)
        self.vector: Array = np.zeros(0)
        self.score: Array = np.zeros(0)
        self.stretch = 1.0

    def available(self, point: Point) -> bool:
        """Whether the model has coordinates at this point."""
        if self.chart is None:
            self.chart = self.problem.chart(point)
            self.score = np.zeros(0)
        return self.chart is not None

    def propose(self, point: Point) -> Point | None:
        """The quasi-Newton step from a point, or None where it does not rise."""
        if not self._look(point):
            return None
        step = self._direction()
        self.remaining = 0.5 * float(step @ self.score)
        if self.stretch > 1.0:  # the objective curves upwards here: no estimate, and longer steps
            self.remaining = float("inf")
            step *= self.stretch
        longest = float(np.max(np.abs(step) / np.maximum(self.chart.scale, 1e-300), initial=0.0))
        if not np.isfinite(longest):
            self._forget()
            return None
        if longest > REACH:
            step *= REACH / longest
        with np.errstate(all="ignore"):
            new = self.problem.at(self.chart.from_vector(self.vector + step))
        if not new.finite or new.objective < point.objective:
            self._forget()
            return None
        return new

    def saw_em_step(self, old: Point, new: Point) -> None:
        """An EM step gives a pair like any other, once there are coordinates."""
        if self.chart is not None and len(self.score):
            self._look(new)

    def _look(self, point: Point) -> bool:
        """Take the score at a point and learn curvature from the last one."""
        statistics = point.expectation.statistics
        if not self.available(point):
            return False
        if not len(self.score):
            self.vector = np.zeros(len(self.chart.scale))
            self.score = self.chart.score(point.params, statistics)
            return bool(np.isfinite(self.score).all())
        with np.errstate(all="ignore"):
            vector = self.chart.to_vector(point.params)
            score = self.chart.score(point.params, statistics)
        if not (np.isfinite(vector).all() and np.isfinite(score).all()):
            self._forget()
            return False
        step, change = vector - self.vector, self.score - score
        curvature = float(step @ change)
        if curvature > 1e-10 * float(np.linalg.norm(step) * np.linalg.norm(change)):
            self.pairs.append((step, change, 1.0 / curvature))
            self.stretch = 1.0
        else:
            self.stretch *= 2.0
        self.vector, self.score = vector, score
        return True

    def _direction(self) -> Array:
        """H · score by the two-loop recursion with H₀ = I, the EM step."""
        q = self.score.copy()
        alphas = []
        for step, change, rho in reversed(self.pairs):
            alpha = rho * float(step @ q)
            q -= alpha * change
            alphas.append(alpha)
        for (step, change, rho), alpha in zip(self.pairs, reversed(alphas), strict=True):
            q += step * (alpha - rho * float(change @ q))
        return q


class Automatic:
    """L-BFGS where the model has coordinates, SQUAREM where it has none."""

    def __init__(self, problem: Problem) -> None:
        self.choice: Accelerator = Lbfgs(problem)
        self.problem = problem

    @property
    def name(self) -> str:
        """Of the accelerator at work."""
        return self.choice.name

    @property
    def remaining(self) -> float:
        """Estimated gain still to come, nats."""
        return self.choice.remaining

    def propose(self, point: Point) -> Point | None:
        """A step of the accelerator at work."""
        if isinstance(self.choice, Lbfgs) and not self.choice.available(point):
            self.choice = Squarem(self.problem)
        return self.choice.propose(point)

    def saw_em_step(self, old: Point, new: Point) -> None:
        """Passed on."""
        self.choice.saw_em_step(old, new)


def accelerators(name: str | None) -> Callable[[Problem], Accelerator] | None:
    """The maker of an accelerator, by name: "auto", "lbfgs", "squarem", "anderson", or None."""
    known: dict[str | None, Callable[[Problem], Accelerator] | None] = {
        None: None,
        "auto": Automatic,
        "lbfgs": Lbfgs,
        "squarem": Squarem,
        "anderson": Anderson,
    }
    if name not in known:
        raise parameter_error("accelerate", f"one of {list(known)}", name)
    return known[name]
