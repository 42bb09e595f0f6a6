"""The M-step without a formula: safeguarded Newton, or L-BFGS where there are many parameters.

Every step is accepted only if the function rises as a line search demands, and the ascent ends where the
gain of the next step would be lost in rounding, never after a fixed number of steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from expmax.statistics import Array

__all__ = ["climb", "climb_by_gradient", "normalised_eigen"]

EPS = float(np.finfo(float).eps)
STEPS = 100  # a bound that ascents do not meet: ten are many
HALVINGS = 40
LONGEST = 3.0  # step of a coordinate measured in logs
LEAST = 1e-12  # eigenvalue, relative to its largest, that a step divides by
ARMIJO = 1e-4
FLAT = (
    1e-14  # slope and curvature per unit of weight below which a coordinate in logs is at its edge
)

Curvature = Callable[[Array], tuple[float, Array, Array]]


def climb(
    u: Array,
    here: tuple[float, Array, Array],
    evaluate: Curvature,
    moving: NDArray[np.bool_],
    has_unit: NDArray[np.bool_],
    weight: float,
) -> Array:
    """Newton's ascent from u in the coordinates that move.

    Parameters
    ----------
    here : tuple
        Value, gradient, Hessian at u.
    evaluate : callable
        u to these three.
    moving, has_unit : ndarray of bool, shape (p,)
        Which coordinates may change, and which have the data's unit (their steps have no natural bound).
    weight : float
        Σ w: the gain that ends the ascent is measured against it.
    """
    for _ in range(STEPS):
        value, gradient, hessian = here
        size = np.maximum(np.abs(gradient), np.abs(np.diagonal(hessian)))
        index = np.flatnonzero(moving & ~(~has_unit & (size < FLAT * weight)))
        inner = hessian[np.ix_(index, index)]
        if not np.isfinite(gradient[index]).all():
            return u
        if not np.isfinite(inner).all():  # a density with a slope but no curvature here
            return climb_by_gradient(u, here[:2], lambda v: evaluate(v)[:2], moving, weight)
        step = np.zeros_like(u)
        step[index] = _newton(gradient[index], -inner)
        longest = np.abs(step[~has_unit]).max(initial=0.0)
        if longest > LONGEST:
            step *= LONGEST / longest
        slope = float(gradient @ step)
        if not slope > EPS**2 * (abs(value) + weight):
            return u
        rounding = EPS * (abs(value) + weight)
        found = _search(u, step, value, slope, evaluate, rounding)
        if found is None:  # the curvature misleads, as at a kink: straight up
            step[index] = gradient[index] * (np.abs(u).max() + 1.0) / np.abs(gradient[index]).max()
            found = _search(u, step, value, float(gradient @ step), evaluate, rounding)
        if found is None:
            return u
        u, here = found
    return u


def _newton(gradient: Array, information: Array) -> Array:
    """A direction of ascent: the Hessian's eigenvalues by their size, whatever their sign."""
    unit, values, vectors = normalised_eigen(information)
    size = np.maximum(np.abs(values), LEAST * max(np.abs(values).max(initial=0.0), LEAST))
    return np.asarray((vectors @ ((vectors.T @ (gradient / unit)) / size)) / unit)


def normalised_eigen(matrix: Array) -> tuple[Array, Array, Array]:
    """√diagonal d, and eigenvalues and vectors of D⁻¹ M D⁻¹: no unit of a coordinate matters."""
    unit = np.sqrt(np.abs(np.diagonal(matrix)))
    unit = np.where(unit > 0, unit, 1.0)
    values, vectors = np.linalg.eigh(0.5 * (matrix + matrix.T) / np.outer(unit, unit))
    return unit, values, vectors


def _search(
    u: Array, step: Array, value: float, slope: float, evaluate: Curvature, rounding: float
) -> tuple[Array, tuple[float, Array, Array]] | None:
    """Halve the step until the value rises enough; None where it does not."""
    share = 1.0
    for _ in range(HALVINGS):
        if share * slope < rounding and share < 1.0:
            return None
        trial = u + share * step
        there = evaluate(trial)
        if np.isfinite(there[0]) and there[0] >= value + ARMIJO * share * slope - 4.0 * rounding:
            return trial, there
        share *= 0.5
    return None


def climb_by_gradient(
    u: Array,
    here: tuple[float, Array],
    evaluate: Callable[[Array], tuple[float, Array]],
    moving: NDArray[np.bool_],
    weight: float,
) -> Array:
    """L-BFGS ascent for parameters too many for a Hessian; never lower than where it began."""

    def full(part: Array) -> Array:
        whole = u.copy()
        whole[moving] = part
        return whole

    def descend(part: Array) -> Any:
        value, gradient = evaluate(full(part))
        if not np.isfinite(value):
            return np.inf, np.zeros(len(part))
        return -value / weight, -gradient[moving] / weight

    options: Any = {"maxiter": 1000, "ftol": EPS, "gtol": 1e-9, "maxcor": 20}
    end = full(minimize(descend, u[moving], jac=True, method="L-BFGS-B", options=options).x)
    return end if evaluate(end)[0] >= here[0] else u
