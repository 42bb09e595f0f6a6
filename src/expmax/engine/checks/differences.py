"""Central differences with the error they may have, and the fixed point of the EM map."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from expmax.engine.problem import Point, Problem
from expmax.statistics import Array

__all__ = ["Fixed", "curvature", "derivative", "settle"]

STEP = 2e-3  # of differences, in units of one observation's coordinate
BEND = 1e-2  # of second differences, likewise
WARM_UP = 100  # EM steps before any extrapolation
ROUNDS, LENGTH = 12, 40  # of extrapolation, the coordinates taken anew in each
DEPTH = 5
TARGET, ENOUGH = 1e-11, 1e-8  # EM step, in units of one observation's coordinate


def derivative(
    function: Callable[[Array], Any], scale: Array, noise: float = 0.0
) -> tuple[Array, Array]:
    """∂f/∂v_j at v = 0 by central differences of fourth order, and what they may be wrong by.

    The error is the change when the step is doubled (sixteen times the error of truncation) and what noise of
    the function becomes when divided by the step.

    Parameters
    ----------
    function : callable
        v to a number or an array.
    scale : ndarray, shape (p,)
        One observation's standard error in v.
    noise : float
        Absolute error of a value.

    Returns
    -------
    values, errors : ndarray, shape (p, ...)
    """
    values, errors = [], []
    for j in range(len(scale)):
        step = np.zeros(len(scale))
        step[j] = STEP * scale[j]
        one, two, four = (
            np.asarray(function(k * step), float) - np.asarray(function(-k * step), float)
            for k in (1.0, 2.0, 4.0)
        )
        fine = (8.0 * one - two) / (12.0 * step[j])
        coarse = (8.0 * two - four) / (24.0 * step[j])
        values.append(fine)
        errors.append(np.abs(fine - coarse) + 3.0 * noise / step[j])
    return np.array(values), np.array(errors)


def curvature(line: Callable[[float], float], noise: float) -> tuple[float, float]:
    """f″(0) of a function of one number, fourth order, and what it may be wrong by."""
    middle = line(0.0)
    one, two, four = (line(k * BEND) + line(-k * BEND) - 2.0 * middle for k in (1.0, 2.0, 4.0))
    fine = (16.0 * one - two) / (12.0 * BEND**2)
    coarse = (16.0 * two - four) / (48.0 * BEND**2)
    return fine, abs(fine - coarse) + 6.0 * noise / BEND**2


@dataclass
class Fixed:
    """Where EM steps end."""

    problem: Problem
    point: Point
    chart: Any  # about the point; None for a model without coordinates
    residual: float  # last EM step, in units of one observation's coordinate; or relative, without

    def em_map(self, vector: Array) -> Array:
        """F in the coordinates of the chart."""
        point = self.problem.at(self.chart.from_vector(vector))
        return np.asarray(self.chart.to_vector(self.problem.maximize(point)))

    @cached_property
    def jacobian(self) -> tuple[Array, Array]:
        """DF[i, j] = ∂F_i/∂v_j in units of one observation's coordinate, and its error."""
        scale = self.chart.scale
        with np.errstate(all="ignore"):
            values, errors = derivative(self.em_map, scale, 1e-13 * float(np.max(scale)))
        unit = scale[:, None] / scale
        return (values * unit).T, (errors * unit).T


def settle(problem: Problem, point: Point) -> Fixed | None:
    """Follow the EM map to a fixed point: EM steps, then Anderson's extrapolation of them.

    Nothing but the map is asked, least of all the log-likelihood: the fixed point of a wrong M-step is found
    as well. None where the steps do not shrink.

    References
    ----------
    Walker & Ni (2011), SIAM J. Numer. Anal. 49(4), 1715-1735.
    """
    for _ in range(WARM_UP):
        point = problem.at(problem.maximize(point))
        if not point.finite:
            return None
    if problem.chart(point) is None:
        return _settle_plainly(problem, point)
    best = None
    for _ in range(ROUNDS):
        fixed = _extrapolate(problem, point)
        if fixed is None:
            return best
        if best is None or fixed.residual < best.residual:
            best = fixed
        if fixed.residual <= TARGET:
            break
        point = fixed.point
    if best is None or best.residual > ENOUGH:
        return None
    return best


def _extrapolate(problem: Problem, point: Point) -> Fixed | None:
    """Some steps of Anderson's extrapolation from a point; the best of them in new coordinates."""
    chart = problem.chart(point)
    if chart is None or not len(chart.scale):
        return None
    here = Fixed(problem, point, chart, np.inf)
    vector = np.zeros(len(chart.scale))
    seen: deque[tuple[Array, Array]] = deque(maxlen=DEPTH + 1)
    best, least = vector, np.inf
    for _ in range(LENGTH):
        step = (here.em_map(vector) - vector) / chart.scale
        size = float(np.abs(step).max())
        if not size < 10.0 * least:  # it went astray, or is no number: EM steps from the best
            if not seen:
                break
            seen.clear()
            vector = best
            continue
        if size < least:
            best, least = vector, size
        if least <= TARGET:
            break
        seen.append((vector / chart.scale, step))
        vector = _mixed(seen) * chart.scale
    params = problem.maximize(problem.at(chart.from_vector(best)))
    end = problem.at(params)
    chart = problem.chart(end) if end.finite else None
    if chart is None:
        return None
    fixed = Fixed(problem, end, chart, np.inf)
    step = fixed.em_map(np.zeros(len(chart.scale))) / chart.scale
    fixed.residual = float(np.abs(step).max())
    return fixed


def _mixed(seen: deque[tuple[Array, Array]]) -> Array:
    """The combination of past points whose EM steps cancel best, plus its own step."""
    at, step = seen[-1]
    if len(seen) == 1:
        return at + step
    moves = np.array([at - other for other, _ in list(seen)[:-1]]).T
    turns = np.array([step - other for _, other in list(seen)[:-1]]).T
    share = np.linalg.lstsq(turns, step, rcond=1e-10)[0]
    return np.asarray(at + step - (moves + turns) @ share)


def _settle_plainly(problem: Problem, point: Point) -> Fixed | None:
    """EM steps until the objective stands still: all there is without coordinates."""
    still = 0
    for _ in range(20 * WARM_UP):
        new = problem.at(problem.maximize(point))
        if not new.finite:
            return None
        still = still + 1 if new.objective - point.objective <= 0.0 else 0
        point = new
        if still >= 5:
            return Fixed(problem, point, None, 0.0)
    return None
