"""Accelerators that extrapolate the EM map in the parameters' own coordinates."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from expmax.engine.problem import Point, Problem
from expmax.statistics import Array

__all__ = ["Anderson", "Squarem"]

FIRST_CAP = 4.0  # longest SQUAREM step at first; it grows fourfold each time it is reached
MIXING_CAUTION = (
    20.0  # a mixed step's gain times this stands for what is left, before certification
)
DEPTH = 6  # past steps that Anderson mixes


class _Extrapolation:
    """What both share: parameters as one vector, and a trial point that may be refused."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.model: Any = problem.model
        self.remaining = float("inf")

    @property
    def usable(self) -> bool:
        return hasattr(self.model, "to_array")

    def array(self, params: Any) -> Array:
        return np.asarray(self.model.to_array(params))

    def at(self, vector: Array, like: Any) -> Point | None:
        """The point at a vector; None where it is outside the parameters' space."""
        with np.errstate(all="ignore"):
            params = self.model.from_array(vector, like)
            if params is None:
                return None
            point = self.problem.at(params)
        return point if point.finite else None

    def saw_em_step(self, old: Point, new: Point) -> None:
        """EM steps between proposals are not needed."""


class Squarem(_Extrapolation):
    """SQUAREM, scheme S3, made monotone: θ − 2αr + α²v, then an EM step; two EM steps where that falls.

    References
    ----------
    Varadhan & Roland (2008), Scand. J. Statist. 35(2), 335-353, eq. 8 and §6.
    """

    name = "squarem"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.begin_anew()

    def begin_anew(self) -> None:
        """Short steps again."""
        self.cap, self.remaining = FIRST_CAP, float("inf")

    def state(self, point: Point) -> dict[str, Any]:
        """The longest step allowed."""
        return {"cap": self.cap, "remaining": self.remaining}

    def restore(self, state: dict[str, Any], point: Point) -> None:
        """The longest step allowed."""
        self.cap, self.remaining = state["cap"], state["remaining"]

    def propose(self, point: Point) -> Point | None:
        """An extrapolated step, or the two EM steps it was made from."""
        if not self.usable:
            return None
        once = self.problem.at(self.problem.maximize(point))
        if not once.finite or once.objective < point.objective:
            return None
        gain = once.objective - point.objective
        start = self.array(point.params)
        r = self.array(once.params) - start
        twice = self.problem.maximize(once)
        v = self.array(twice) - start - 2.0 * r
        size = float(np.linalg.norm(v))
        if not (np.isfinite(size) and size > 0):
            self.remaining = gain
            return once
        length = float(np.linalg.norm(r)) / size
        self.remaining = gain * max(length, 1.0)  # gains fall at least as fast as steps
        if length <= 1.0:
            return self._two_steps(once, twice)
        length = min(length, self.cap)
        trial = self.at(start + 2.0 * length * r + length**2 * v, point.params)
        if trial is not None:
            trial = self.problem.at(self.problem.maximize(trial))
        if trial is None or not trial.finite or trial.objective < once.objective:
            self.cap = max(self.cap / 2.0, FIRST_CAP)
            return self._two_steps(once, twice)
        if length >= self.cap:
            self.cap *= 4.0
        return trial

    def _two_steps(self, once: Point, twice: Any) -> Point:
        second = self.problem.at(twice)
        return second if second.finite and second.objective >= once.objective else once


class Anderson(_Extrapolation):
    """Anderson mixing of the last steps of the EM map, taken only where the objective does not fall.

    References
    ----------
    Walker & Ni (2011), SIAM J. Numer. Anal. 49(4).
    Henderson & Varadhan (2019), J. Comput. Graph. Statist. 28(4).
    """

    name = "anderson"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.begin_anew()

    def begin_anew(self) -> None:
        """No steps to mix."""
        self.past: deque[tuple[Array, Array]] = deque(maxlen=DEPTH)
        self.last, self.remaining = -np.inf, float("inf")

    def state(self, point: Point) -> dict[str, Any]:
        """The steps that are mixed."""
        return {"past": list(self.past), "last": float(self.last), "remaining": self.remaining}

    def restore(self, state: dict[str, Any], point: Point) -> None:
        """The steps that are mixed."""
        self.begin_anew()
        self.past.extend(state["past"])
        self.last, self.remaining = state["last"], state["remaining"]

    def propose(self, point: Point) -> Point | None:
        """A mixed step, or the EM step where it falls."""
        if not self.usable:
            return None
        here = self.array(point.params)
        mapped = self.problem.maximize(point)
        residual = self.array(mapped) - here
        self.past.append((here, residual))
        self.remaining = MIXING_CAUTION * max(point.objective - self.last, 0.0)
        self.last = point.objective
        if len(self.past) < 2:
            return self._em(point, mapped)
        steps = np.diff(np.array([x for x, _ in self.past]), axis=0)
        changes = np.diff(np.array([f for _, f in self.past]), axis=0)
        weights, *_ = np.linalg.lstsq(changes.T, residual, rcond=1e-10)
        trial = self.at(here + residual - weights @ (steps + changes), point.params)
        if trial is None or trial.objective < point.objective:
            self.past.clear()
            return self._em(point, mapped)
        return trial

    def _em(self, point: Point, mapped: Any) -> Point | None:
        new = self.problem.at(mapped)
        return new if new.finite and new.objective >= point.objective else None
