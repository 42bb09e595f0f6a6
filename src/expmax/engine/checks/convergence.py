"""Identities at the fixed point of EM: a stationary point, its rate, and the missing information."""

from __future__ import annotations

import numpy as np

from expmax.engine.checks.differences import Fixed, derivative
from expmax.engine.checks.maximization import gradient_of_objective
from expmax.engine.checks.setting import Gap, NotApplicableError, Setting
from expmax.statistics import Array

__all__ = ["fixed_point", "missing_information", "rate", "score_at_fixed_point"]

SOLVED = 1e-5  # relative error of an information that iterative M-steps may leave
STEPS = 40  # EM steps from which a rate is read
REACH = 0.01  # where they begin, in units of one observation's coordinate
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
    left = (SOLVED / 100 + 3.0 * fixed.residual) * fixed.chart.scale
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
    if n_steps < 2:
        raise NotApplicableError("EM steps vanish before their rate settles")
    seen = [_observed_rate(fixed, sign * REACH * start, n_steps) for sign in (1.0, -1.0)]
    tolerance = abs(expected - radius) + abs(seen[0] - seen[1]) + float(error.max()) + 1e-4
    gap = Gap("(per step)")
    gap.equal(0.5 * (seen[0] + seen[1]), radius, tolerance)
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
    """I_observed = I_complete − I_missing = I_complete (1 − DF) at θ̂."""
    setting.need_exact()
    fixed = setting.interior
    problem, chart, here = fixed.problem, fixed.chart, fixed.point
    jacobian, error = fixed.jacobian

    def observed(vector: Array) -> Array:
        point = problem.at(chart.from_vector(vector))
        return np.asarray(chart.score(point.params, point.expectation.statistics))

    def complete(vector: Array) -> Array:
        return np.asarray(chart.score(chart.from_vector(vector), here.expectation.statistics))

    scale = chart.scale
    unit = scale / scale[:, None]
    with np.errstate(all="ignore"):
        noise = 4.0 * setting.rounding(here) / float(np.max(scale))
        slope, slope_error = derivative(observed, scale, noise)
        own, own_error = derivative(complete, scale, noise)
    left, whole = -slope.T * unit, -own.T * unit
    right = whole @ (np.eye(len(scale)) - jacobian)
    errors = (slope_error + own_error).T * unit
    gap = Gap("(relative)")
    size = float(np.abs(whole).max())
    allowed = float(errors.max()) + size * (float(error.max()) * len(scale) + SOLVED)
    gap.arrays(left / size, right / size, allowed / size + 100.0 * fixed.residual)
    return gap
