"""EM's own path in longer steps.

Plain EM meanders: it comes close to saddle after saddle, and how it leaves each one decides which optimum it
ends in. A step straight to the top of a quadratic model takes another way out. Here the EM map is modelled as
linear over the last few points and the *path* is extrapolated, as many steps at once as the model foretells.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from expmax.engine.curvature import point_at
from expmax.engine.problem import Point, Problem
from expmax.statistics import Array

__all__ = ["Following"]

MEMORY = 6  # last points from which the EM map is modelled
LENGTH = 2.0  # EM steps in the first jump
ACCURACY = 0.1  # error of the EM step foretold for the end of a jump, in units of the one before it
STRICT = 0.1  # how much of it is allowed where EM's steps grow: there it leaves a saddle
REACH = 0.5  # longest jump of any coordinate, in units of one observation's (a standard deviation)
GROWTH = 1.5  # greatest factor a step that EM is believed to grow by


class Following:
    """θ ← v + Σ_{j<m} Aʲ r, with r the EM step at v and A the linear model of the EM map.

    A − I maps the differences of the last points to the differences of their EM steps; what lies outside
    their span is taken one step. The number of steps m doubles while the EM step found at the end of a jump
    is the one that A foretells, r + (A − I)(jump); it falls where it is not, and a jump far off is undone.
    Between jumps EM takes a step of its own.

    References
    ----------
    Walker & Ni (2011), SIAM J. Numer. Anal. 49(4): secants of a fixed-point map. Schmid (2010), J. Fluid Mech.
    656: the linear model of a sequence of states.
    """

    name = "path"

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.begin_anew()

    def begin_anew(self) -> None:
        """New coordinates, no points."""
        self.chart: Any = None
        self.origin: Any = None  # parameters at which the chart was taken
        self.past: deque[tuple[Array, Array]] = deque(maxlen=MEMORY)  # v and the EM step there
        self.seen: Point | None = None  # the last point in `past`
        self.length = LENGTH
        self.rested = False  # whether EM took a step since the last jump
        self.remaining = float("inf")

    def available(self, point: Point) -> bool:
        """Whether the model has coordinates at this point."""
        if self.chart is None:
            self.chart, self.origin = self.problem.chart(point), point.params
        return self.chart is not None

    def saw_em_step(self, old: Point, new: Point) -> None:
        """An EM step is a point of the path."""
        self.rested = True
        if old is not self.seen and self.available(old):
            self._note(old, new.params)

    def propose(self, point: Point) -> Point | None:
        """A jump along the path of EM; None leaves the step to EM."""
        if not self.available(point):
            return None
        if point is not self.seen:
            self._note(point, self.problem.maximize(point))
        if not self.rested or len(self.past) < 3:  # after `_note`, which may have begun anew
            return None
        self.rested = False
        vector, step = self.past[-1]
        try:
            with np.errstate(all="ignore"):  # the path of a wrong model may lead anywhere
                jump, foretold, self.remaining = self._extrapolate(step)
        except np.linalg.LinAlgError:
            self.begin_anew()
            return None
        longest = float(np.max(np.abs(jump) / np.maximum(self.chart.scale, 1e-300), initial=0.0))
        if not np.isfinite(longest) or longest > REACH:
            self.length = max(self.length / 2.0, LENGTH)
            return None
        new = point_at(self.problem, self.chart, vector + jump)
        if new.finite and new.objective >= point.objective:
            found = self._step_at(vector + jump, self.problem.maximize(new))
            if self._judge(step, found, foretold):
                self.past.append((vector + jump, found))
                self.seen = new
                return new
        self.length = max(self.length / 4.0, LENGTH)
        return None

    def state(self, point: Point) -> dict[str, Any]:
        """The points of the path and where the coordinates were taken."""
        return {
            "origin": None if self.chart is None else (self.origin,),
            "past": list(self.past),
            "seen": self.seen is point,
            "length": self.length,
            "rested": self.rested,
            "remaining": self.remaining,
        }

    def restore(self, state: dict[str, Any], point: Point) -> None:
        """The coordinates are computed again, from the parameters at which they were taken."""
        self.begin_anew()
        if state["origin"] is not None:
            (self.origin,) = state["origin"]
            self.chart = self.problem.chart(self.problem.at(self.origin))
        self.past.extend(state["past"])
        self.seen = point if state["seen"] else None
        self.length, self.rested = state["length"], state["rested"]
        self.remaining = state["remaining"]

    def _note(self, point: Point, mapped: Any) -> None:
        """Remember a point and its EM step; a path that left the coordinates begins anew."""
        with np.errstate(all="ignore"):
            vector = self.chart.to_vector(point.params)
        step = self._step_at(vector, mapped)
        if not (np.isfinite(vector).all() and np.isfinite(step).all()):
            self.begin_anew()
            return
        self.past.append((vector, step))
        self.seen = point

    def _step_at(self, vector: Array, mapped: Any) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(self.chart.to_vector(mapped) - vector)

    def _extrapolate(self, step: Array) -> tuple[Array, Array, float]:
        """The jump, the EM step foretold at its end, and the gain left were the model true, nats."""
        moves = np.diff(np.array([vector for vector, _ in self.past]), axis=0).T
        changes = np.diff(np.array([r for _, r in self.past]), axis=0).T
        sizes = np.linalg.norm(moves, axis=0)
        sizes[sizes == 0] = 1.0
        left, values, right = np.linalg.svd(moves / sizes, full_matrices=False)
        used = values > 1e-6 * values[0]
        span = left[:, used]
        outer = (changes / sizes) @ (right[used].T / values[used])  # A − I on the span
        inner = span.T @ outer + np.eye(span.shape[1])
        inside = span.T @ step
        outside = step - span @ inside
        rates, modes = np.linalg.eig(inner)
        rates = np.where(np.abs(rates) > GROWTH, GROWTH * rates / np.abs(rates), rates)
        parts = np.linalg.lstsq(modes, inside.astype(complex), rcond=None)[0]
        near_one = np.abs(rates - 1.0) < 1e-9
        safe = np.where(near_one, 0.0, rates)
        sums = np.where(near_one, self.length, (safe**self.length - 1.0) / (safe - 1.0))
        total = (modes @ (sums * parts)).real
        jump = span @ total + outside + (outer - span @ (span.T @ outer)) @ total
        remaining = float("inf")
        if (rates.real < 1.0 - 1e-9).all():
            limit = (modes @ (parts / (1.0 - rates))).real
            remaining = 0.5 * float(abs(inside @ limit) + outside @ outside)
        return jump, step + outer @ (span.T @ jump), remaining

    def _judge(self, step: Array, found: Array, foretold: Array) -> bool:
        """Whether the jump ended on EM's path; sets the length of the next."""
        size = float(np.linalg.norm(step))
        allowed = ACCURACY * (STRICT if np.linalg.norm(found) > size else 1.0)
        error = float(np.linalg.norm(found - foretold)) / size if size > 0 else 0.0
        if not error <= 2.0 * allowed:
            return False
        if error < 0.5 * allowed:
            self.length *= 2.0
        elif error > allowed:
            self.length = max(self.length / 2.0, LENGTH)
        return True
