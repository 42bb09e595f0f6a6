"""Identities of the M-step, and of the score that Fisher's identity makes of Q."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from expmax.engine.checks.differences import derivative
from expmax.engine.checks.setting import Gap, NotApplicableError, Setting
from expmax.engine.numeric_chart import NumericChart
from expmax.engine.problem import Point
from expmax.statistics import Array

__all__ = [
    "ascent",
    "coordinates",
    "fisher",
    "gradient_of_objective",
    "m_step_optimal",
    "m_step_rises",
    "m_step_stationary",
    "score",
]

SIZES = (0.003, 0.03, 0.3)  # of perturbations, in units of one observation's coordinate
LOCAL_SIZES = (0.003, 0.03)  # where Q is known only around the parameters of the statistics
SHARES = (-0.1, -0.01, 0.01, 0.1)  # of the step: a little shorter and longer
SOLVED = 1e-7  # what an iterative M-step may leave of ∇Q, in units of one observation's coordinate


def m_step_rises(setting: Setting) -> Gap:
    """Q(M(S_θ); S_θ) ≥ Q(θ; S_θ), log prior included, along the first EM steps and near θ."""
    gap = Gap()
    for point in [*setting.path, *setting.near]:
        new = setting.problem.expanded(point)
        gain = setting.q(new, point) - setting.q(point.params, point)
        slack = setting.rounding(point, setting.crossed(new, point))
        gap.at_least(gain, 0.0, slack)
    return gap


def m_step_stationary(setting: Setting) -> Gap:
    """∇Q(·; S_θ) = 0 at M(S_θ), log prior included, by differences of Q."""
    setting.need_maximum()
    gap = Gap("(∇Q, whitened)")
    for point in [setting.start, *setting.near[:1]]:
        top = setting.crossed(setting.problem.maximize(point), point)
        chart = setting.coordinates(top)
        gradient, error = _gradient(setting, chart, top, setting.rounding(point, top))
        gap.arrays(gradient, np.zeros_like(gradient), error + SOLVED * chart.scale)
    return gap


def m_step_optimal(setting: Setting) -> Gap:
    """Q(M(S_θ); S_θ) ≥ Q(θ'; S_θ) for random θ' and along the step."""
    setting.need_maximum()
    gap = Gap()
    start = setting.start
    top = setting.crossed(setting.problem.maximize(start), start)
    best = setting.q(top.params, start)
    for params in _alternatives(setting, top):
        with np.errstate(all="ignore"):
            value = setting.q(params, start)
        if np.isfinite(value):
            slack = setting.rounding(top, setting.crossed(params, start))
            gap.at_least(best, value, slack)
    return gap


def _alternatives(setting: Setting, top: Point) -> list[Any]:
    """Parameters around the M-step's, and others that are valid."""
    local = setting.declared("local_statistics", False)
    found: list[Any] = []
    try:
        chart = setting.coordinates(top)
    except NotApplicableError:
        pass
    else:
        rng = setting.rng("M-step optimal")
        for size in LOCAL_SIZES if local else SIZES:
            away = size * rng.standard_normal((8, len(chart.scale))) * chart.scale
            with np.errstate(all="ignore"):
                found += [chart.from_vector(vector) for vector in away]
        step = -chart.to_vector(setting.start.params)
        found += [chart.from_vector(share * step) for share in SHARES]
    if not local:
        found += [point.params for point in [*setting.path, *setting.near]]
    return found


def ascent(setting: Setting) -> Gap:
    """The log-likelihood, log prior included, of F(θ) is at least that of θ."""
    gap = Gap()
    for old in [*setting.path[:-1], *setting.near]:
        new = setting.problem.at(setting.problem.maximize(old))
        gap.at_least(new.objective, old.objective, setting.rounding(old, new))
    return gap


def coordinates(setting: Setting) -> Gap:
    """to_vector(from_vector(v)) = v, and v = 0 is the reference."""
    gap = Gap("(relative)")
    chart = setting.chart
    scale = chart.scale
    rng = setting.rng("coordinates")
    gap.arrays(
        chart.to_vector(setting.start.params) / scale, np.zeros(len(scale)), 1e-8, "at v = 0"
    )
    for size in SIZES:
        vector = size * rng.uniform(-1.0, 1.0, len(scale))
        gap.arrays(chart.to_vector(chart.from_vector(vector * scale)) / scale, vector, 1e-8)
    return gap


def score(setting: Setting) -> Gap:
    """The score that the model computes is ∇Q at θ' = θ, log prior included."""
    chart = setting.chart
    if isinstance(chart, NumericChart) and getattr(setting.model, "score", None) is None:
        raise NotApplicableError("needs model.score, or model.chart with its own score")
    gap = Gap("(∇Q, whitened)")
    for point in [setting.start, *setting.near[:1]]:
        gradient, error = _gradient(setting, chart, point, setting.rounding(point))
        own = chart.score(point.params, point.expectation.statistics)
        gap.arrays(own, gradient, error + 1e-9 * chart.scale)
    return gap


def fisher(setting: Setting) -> Gap:
    """∇ℓ(θ) = ∇Q(θ'; S_θ) at θ' = θ, both by differences, log prior included."""
    setting.need_exact()
    chart = setting.chart
    gap = Gap("(∇ℓ, whitened)")
    for point in [setting.start, *setting.near[:1]]:
        noise = setting.rounding(point)
        of_q, error = _gradient(setting, chart, point, noise)
        of_l, other = gradient_of_objective(setting, chart, point, noise)
        gap.arrays(of_l, of_q, error + other)
    return gap


def gradient_of_objective(
    setting: Setting, chart: Any, point: Point, noise: float
) -> tuple[Array, Array]:
    """∇(ℓ + log prior) in a chart, and its error."""

    def objective(params: Any) -> float:
        return setting.problem.at(params).objective

    return _differences(objective, chart, point, noise)


def _gradient(setting: Setting, chart: Any, point: Point, noise: float) -> tuple[Array, Array]:
    """∇(Q(·; S of the point) + log prior) at the point's parameters, and its error."""
    return _differences(lambda params: setting.q(params, point), chart, point, noise)


def _differences(
    function: Callable[[Any], float], chart: Any, point: Point, noise: float
) -> tuple[Array, Array]:
    vector = chart.to_vector(point.params)
    with np.errstate(all="ignore"):
        return derivative(
            lambda v: function(chart.from_vector(vector + v)),
            chart.scale,
            noise,
        )
