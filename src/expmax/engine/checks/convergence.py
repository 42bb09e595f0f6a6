"""Identities at the fixed point of EM: a stationary point, its rate, and the missing information."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from expmax.engine.checks.differences import Fixed, curvature, derivative
from expmax.engine.checks.maximization import gradient_of_objective
from expmax.engine.checks.setting import Gap, NotApplicableError, Setting
from expmax.statistics import Array

__all__ = ["fixed_point", "missing_information", "rate", "score_at_fixed_point"]

SOLVED = 1e-5  # relative error of an information that iterative M-steps may leave
STEPS = 40  # EM steps from which a rate is read
REACHES = (1e-2, 1e-3, 1e-4)  # where they begin, in units of one observation's coordinate
CURVED = 2e-3  # by how much the rates on both sides may differ
UNSETTLED = 1e-2  # by how much the rate after these steps may differ from the radius
LINEAR = 1e-4  # the share of that at which rounding begins to show
FAST = 1e-3  # a rate below it cannot be read from steps that vanish at once


def fixed_point(setting: Setting) -> Gap:
    """F(θ̂) = θ̂ where the EM steps from θ end."""
    fixed = setting.fixed_point
    gap = Gap("(relative)")
    again = setting.problem.maximize(fixed.point)
    setting.same_params(gap, again, fixed.point.params)
    return gap


def score_at_fixed_point(setting: Setting) -> Gap:
    """∇ℓ(θ̂) = 0, log prior included, where F(θ̂) = θ̂."""
    setting.need_exact()
    fixed = setting.interior
    noise = setting.rounding(fixed.point)
    gradient, error = gradient_of_objective(setting, fixed.chart, fixed.point, noise)
    gap = Gap("(∇ℓ, whitened)")
    left = (SOLVED / 10 + 3.0 * fixed.residual) * fixed.chart.scale
    gap.arrays(gradient, np.zeros_like(gradient), error + left)
    return gap


def rate(setting: Setting) -> Gap:
    """EM steps near θ̂ shrink by the spectral radius of DF(θ̂)."""
    fixed = setting.interior
    jacobian, error = fixed.jacobian
    values, vectors = np.linalg.eig(jacobian)
    first = int(np.argmax(np.abs(values)))
    radius = float(np.abs(values[first]))
    if radius < FAST:
        raise NotApplicableError(f"EM converges at once here (spectral radius {radius:.1e})")
    if radius >= 1.0:
        raise NotApplicableError(f"this is no maximum: the spectral radius is {radius:.4f}")
    direction = np.real(vectors[:, first])
    other = setting.rng("rate").standard_normal(len(direction))
    start = direction / np.linalg.norm(direction) + 0.2 * other / np.linalg.norm(other)
    n_steps, expected = _linear_rate(jacobian, start, radius)
    if not n_steps or abs(expected - radius) > UNSETTLED:
        raise NotApplicableError("EM steps vanish before their rate settles")
    for reach in REACHES:
        both = [_observed_rate(fixed, sign * reach * start, n_steps) for sign in (1.0, -1.0)]
        if abs(both[0] - both[1]) < CURVED:
            break
    else:
        raise NotApplicableError("the EM map is too curved here for a rate")
    tolerance = abs(expected - radius) + abs(both[0] - both[1]) + float(error.max()) + 3e-4
    gap = Gap("(per step)")
    gap.equal(0.5 * (both[0] + both[1]), radius, tolerance)
    return gap


def _linear_rate(jacobian: Array, start: Array, radius: float) -> tuple[int, float]:
    """After how many steps of the linear map their lengths shrink by its radius, and how they do."""
    step = (jacobian - np.eye(len(start))) @ start
    size = first = float(np.linalg.norm(step))
    n_steps, expected = 0, float("nan")
    for n in range(1, STEPS):
        step = jacobian @ step
        new = float(np.linalg.norm(step))
        if new < LINEAR * first:
            break
        n_steps, expected, size = n, new / size, new
        if abs(expected - radius) < 1e-4:
            break
    return n_steps, expected


def _observed_rate(fixed: Fixed, start: Array, n_steps: int) -> float:
    """‖step n‖ / ‖step n − 1‖ of EM itself, in the same coordinates."""
    scale = fixed.chart.scale
    origin = fixed.chart.to_vector(fixed.point.params) / scale
    point = fixed.problem.at(fixed.chart.from_vector((origin + start) * scale))
    old, lengths = origin + start, []
    for _ in range(n_steps + 1):
        point = fixed.problem.at(fixed.problem.maximize(point))
        new = fixed.chart.to_vector(point.params) / scale
        lengths.append(float(np.linalg.norm(new - old)))
        old = new
    return lengths[-1] / lengths[-2]


def missing_information(setting: Setting) -> Gap:
    """I_observed = I_complete − I_missing = I_complete (1 − DF) at θ̂.

    The left by differences of the score, the right by second differences of Q and differences of F, column by
    column along a random direction each.
    """
    setting.need_exact()
    setting.need_maximum()
    fixed = setting.interior
    problem, chart, here = fixed.problem, fixed.chart, fixed.point
    jacobian, error = fixed.jacobian
    scale, noise = chart.scale, setting.rounding(here)

    def score(vector: Array) -> Array:
        point = problem.at(chart.from_vector(vector))
        return np.asarray(chart.score(point.params, point.expectation.statistics))

    def line(direction: Array) -> Callable[[float], float]:
        return lambda t: setting.q(chart.from_vector(t * direction * scale), here)

    slope, slope_error = derivative(score, scale, 4.0 * noise / float(np.max(scale)))
    unit = scale[:, None] * scale
    gap = Gap("(relative)")
    signs = setting.rng("missing information").choice([-1.0, 1.0], jacobian.shape)
    for j, sign in enumerate(signs / np.sqrt(len(scale))):
        column = -jacobian[:, j]
        column[j] += 1.0
        left = -float(sign @ (slope * unit)[j])
        rise, error_rise = curvature(line(0.5 * (sign + column)), noise)
        fall, error_fall = curvature(line(0.5 * (sign - column)), noise)
        size = abs(rise) + abs(fall) + abs(left)
        allowed = float((slope_error * unit)[j].sum()) + error_rise + error_fall
        relative = SOLVED + float(error[:, j].sum()) + 100.0 * fixed.residual
        gap.equal(left / size, (fall - rise) / size, relative + allowed / size)
    return gap
