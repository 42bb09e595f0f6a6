"""Accelerated steps: proposals that are taken only if the objective does not fall.

The default follows EM's own path in longer steps until it is bound for one optimum, and climbs that by L-BFGS.
L-BFGS climbs the objective by its score (Fisher's identity gives it with every E-step) in coordinates where
the complete-data information is the identity, so that its first step is the EM step. SQUAREM extrapolates two
EM steps and needs no coordinates but the parameters' own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from expmax.engine.curvature import Local, lanczos, point_at
from expmax.engine.extrapolation import Anderson, Squarem
from expmax.engine.following import Following
from expmax.engine.problem import Point, Problem
from expmax.errors import parameter_error
from expmax.statistics import Array

__all__ = ["Accelerator", "Lbfgs", "accelerators"]

MEMORY = 12
REACH = (
    1.0  # longest change of any coordinate, in units of one observation's (a standard deviation)
)
NEAR = 0.3  # estimated nats from the top at which a run may be bound for one optimum
CURVATURES = 20  # Lanczos steps that must find none but positive curvature there


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

    def begin_anew(self) -> None:
        """Forget what was learnt of the objective's shape."""
        ...

    def state(self, point: Point) -> dict[str, Any]:
        """All that `restore` needs at this point: plain values, arrays and parameters."""
        ...

    def restore(self, state: dict[str, Any], point: Point) -> None:
        """Go back to a state at the same point."""
        ...


class Lbfgs:
    """Limited-memory quasi-Newton ascent that never lowers the objective.

    References
    ----------
    Jamshidian & Jennrich (1997), J. R. Statist. Soc. B 59(3): quasi-Newton acceleration of EM. Nocedal (1980),
    Math. Comp. 35: the two-loop recursion.
    """

    name = "lbfgs"

    def __init__(self, problem: Problem, climbs_out: bool = True) -> None:
        self.problem = problem
        self.climbs_out = climbs_out  # whether to go on where the objective curves upwards
        self.remaining = float("inf")
        self._forget()

    @property
    def upward(self) -> bool:
        """Whether the objective curved upwards along the last step."""
        return self.stretch > 1.0

    def _forget(self) -> None:
        self.chart: Any = None
        self.origin: Any = None  # parameters at which the chart was taken
        self.pairs: deque[tuple[Array, Array, float]] = deque(maxlen=MEMORY)
        self.vector: Array = np.zeros(0)
        self.score: Array = np.zeros(0)
        self.stretch = 1.0

    def available(self, point: Point) -> bool:
        """Whether the model has coordinates at this point."""
        if self.chart is None:
            self.chart, self.origin = self.problem.chart(point), point.params
            self.score = np.zeros(0)
        return self.chart is not None

    def propose(self, point: Point) -> Point | None:
        """The quasi-Newton step from a point, or None where it does not rise."""
        if not self._look(point):
            return None
        if self.upward and not self.climbs_out:
            self.remaining = float("inf")
            return None
        step = self._direction()
        self.remaining = 0.5 * float(step @ self.score)
        if self.upward:  # the objective curves upwards here: no estimate, and longer steps
            self.remaining = float("inf")
            step *= self.stretch
        longest = float(np.max(np.abs(step) / np.maximum(self.chart.scale, 1e-300), initial=0.0))
        if not np.isfinite(longest):
            self._forget()
            return None
        if longest > REACH:
            step *= REACH / longest
        new = point_at(self.problem, self.chart, self.vector + step)
        if not new.finite or new.objective < point.objective:
            self._forget()
            return None
        return new

    def saw_em_step(self, old: Point, new: Point) -> None:
        """An EM step gives a pair like any other, once there are coordinates."""
        if self.chart is not None and len(self.score):
            self._look(new)

    def begin_anew(self) -> None:
        """New coordinates, no pairs."""
        self._forget()
        self.remaining = float("inf")

    def state(self, point: Point) -> dict[str, Any]:
        """Pairs, score and where the coordinates were taken."""
        return {
            "origin": None if self.chart is None else (self.origin,),
            "pairs": list(self.pairs),
            "at": (self.vector, self.score),
            "stretch": self.stretch,
            "remaining": self.remaining,
        }

    def restore(self, state: dict[str, Any], point: Point) -> None:
        """The coordinates are computed again, from the parameters at which they were taken."""
        self._forget()
        if state["origin"] is not None:
            (self.origin,) = state["origin"]
            self.chart = self.problem.chart(self.problem.at(self.origin))
        self.pairs.extend(state["pairs"])
        self.vector, self.score = state["at"]
        self.stretch, self.remaining = state["stretch"], state["remaining"]

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
        if not step.any():  # seen already
            return True
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


class Swift:
    """L-BFGS where the model has coordinates, SQUAREM where it has none: to any optimum, soon."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.choice: Accelerator = Lbfgs(problem)

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

    def begin_anew(self) -> None:
        """Passed on."""
        self.choice.begin_anew()

    def state(self, point: Point) -> dict[str, Any]:
        """Which accelerator is at work, and its state."""
        return {"choice": self.choice.name, "inner": self.choice.state(point)}

    def restore(self, state: dict[str, Any], point: Point) -> None:
        """The accelerator that was at work, in its state."""
        self.choice = self._make(state["choice"])
        self.choice.restore(state["inner"], point)

    def _make(self, name: str) -> Accelerator:
        return Lbfgs(self.problem) if name == Lbfgs.name else Squarem(self.problem)


class Automatic(Swift):
    """To the optimum that EM itself would reach: along EM's path, then by L-BFGS to the top.

    The path is left where at most about a nat remains and a Lanczos process finds positive curvature alone;
    L-BFGS that meets upward curvature after all gives the run back to the path.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.choice = Following(problem)
        self.steps = 0  # proposals on the path
        self.next = 0  # the proposal at which to look at the curvature again

    def propose(self, point: Point) -> Point | None:
        """A step of the accelerator at work."""
        if isinstance(self.choice, Following):
            if not self.choice.available(point):
                self.choice = self._make(Squarem.name)
            elif self._bound_for_one(point):
                self.choice = self._make(Lbfgs.name)
        new = self.choice.propose(point)
        if isinstance(self.choice, Lbfgs) and self.choice.upward:
            self.choice = self._make(Following.name)
            return None
        return new

    def state(self, point: Point) -> dict[str, Any]:
        """Also when to look at the curvature."""
        return super().state(point) | {"steps": self.steps, "next": self.next}

    def restore(self, state: dict[str, Any], point: Point) -> None:
        """The accelerator that was at work, in its state."""
        super().restore(state, point)
        self.steps, self.next = state["steps"], state["next"]

    def _make(self, name: str) -> Accelerator:
        if name == Following.name:
            return Following(self.problem)
        return Lbfgs(self.problem, climbs_out=False) if name == Lbfgs.name else super()._make(name)

    def _bound_for_one(self, point: Point) -> bool:
        """Whether the run is near the top of a hill; looked at again after 1.4 times as many steps."""
        self.steps += 1
        if self.steps < self.next or not self.choice.remaining < NEAR:
            return False
        self.next = self.steps + max(5, int(0.4 * self.steps))
        local = Local(self.problem, point)
        if not local.usable or not len(local.score):
            return False
        values, _ = lanczos(local, np.random.default_rng(self.steps), CURVATURES)
        return bool(values[0] > 0)


def accelerators(
    name: str | None, *, search: bool = False
) -> Callable[[Problem], Accelerator] | None:
    """The maker of an accelerator, by name: "auto", "lbfgs", "squarem", "anderson", or None.

    In a search over many starts one optimum is as welcome as another, so "auto" need not follow EM's path.
    """
    known: dict[str | None, Callable[[Problem], Accelerator] | None] = {
        None: None,
        "auto": Swift if search else Automatic,
        "lbfgs": Lbfgs,
        "squarem": Squarem,
        "anderson": Anderson,
    }
    if not (name is None or isinstance(name, str)) or name not in known:
        raise parameter_error("accelerate", f"one of {list(known)}", name)
    return known[name]
