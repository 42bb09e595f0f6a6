"""Thousands of features: L-BFGS on the dual, then truncated Newton steps for the last digits.

Neither forms the Hessian: memory grows with the non-zeros of the features and with a few vectors.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from expmax.maxent.dual import Dual, DualValue
from expmax.maxent.newton import Outcome, Path, Penalty, separates
from expmax.statistics import Array

__all__ = ["MANY", "MANY_SPARSE", "lbfgs", "warm"]

MEMORY = 12  # steps that L-BFGS remembers
PRODUCTS = 3000  # products with the Hessian that the last digits may cost
MANY_SPARSE = 200  # sparse features above which it is formed only if all else fails
MANY = 1000  # features above which the Hessian is not formed


def lbfgs(
    dual: Dual, penalty: Penalty, start: Array, *, max_iter: int = 200, tol: float = 1e-12
) -> Path:
    """Minimise the dual without its Hessian; arguments and outcome as of `newton`.

    The variances of `penalty` must be a diagonal or absent. Intervals split λ into two non-negative
    parts, for which L-BFGS-B has bounds.

    References
    ----------
    Byrd, Lu, Nocedal & Zhu (1995), SIAM J. Sci. Comput. 16(5), 1190-1208.
    Dembo, Eisenstat & Steihaug (1982), SIAM J. Numer. Anal. 19(2), 400-408.
    """
    first = _whole if penalty.smooth else _split
    natural = first(dual, penalty, start, max_iter)
    return _truncated_newton(dual, penalty, natural, max_iter, tol)


def warm(dual: Dual, penalty: Penalty, start: Array) -> Array:
    """A few steps of L-BFGS, from which Newton needs fewer Hessians."""
    return _whole(dual, penalty, start, 3, 1e-5)


def _whole(dual: Dual, penalty: Penalty, start: Array, max_iter: int, tol: float = 1e-8) -> Array:
    """L-BFGS without bounds: the two-loop recursion and a backtracking search."""
    natural, at = start, dual.evaluate(start, hessian=False)
    gradient = penalty.gradient(natural, at.gradient)
    value = at.value + penalty.value(natural)
    memory: deque[tuple[Array, Array, float]] = deque(maxlen=MEMORY)
    for _ in range(5 * max_iter):
        step = -_two_loops(gradient, memory)
        slope = float(gradient @ step)
        scale = 1.0 if memory else min(1.0, 1.0 / max(float(np.abs(gradient).sum()), 1e-300))
        for _ in range(30):
            trial = natural + scale * step
            there = dual.evaluate(trial, hessian=False)
            change = there.value + penalty.value(trial) - value
            if change <= 1e-4 * scale * slope:
                break
            scale *= 0.5
        else:
            return natural
        new = penalty.gradient(trial, there.gradient)
        moved, bent = trial - natural, new - gradient
        bend = float(moved @ bent)
        if bend > 0:
            memory.append((moved, bent, bend))
        natural, gradient, value = trial, new, value + change
        if float(np.abs(gradient).max()) < tol or -change < 1e-14 * (1.0 + abs(value)):
            break
    return natural


def _two_loops(gradient: Array, memory: deque[tuple[Array, Array, float]]) -> Array:
    """The approximate inverse Hessian of the last steps, times the gradient."""
    q = gradient.copy()
    shares = []
    for moved, bent, bend in reversed(memory):
        share = float(moved @ q) / bend
        shares.append(share)
        q -= share * bent
    if memory:
        _, bent, bend = memory[-1]
        q *= bend / float(bent @ bent)
    for (moved, bent, bend), share in zip(memory, reversed(shares), strict=True):
        q += (share - float(bent @ q) / bend) * moved
    return q


def _split(dual: Dual, penalty: Penalty, start: Array, max_iter: int) -> Array:
    """λ = α − β with α, β ≥ 0, so that |λ| = α + β at the minimum."""
    from scipy import optimize

    minimize: Any = optimize.minimize
    k = len(start)
    width = penalty.halfwidth

    def objective(both: Array) -> tuple[float, Array]:
        natural = both[:k] - both[k:]
        at = dual.evaluate(natural, hessian=False)
        gradient = penalty.gradient(natural, at.gradient)
        smooth = penalty.value(natural) - float(width @ np.abs(natural))
        value = at.value + smooth + float(np.tile(width, 2) @ both)
        return value, np.concatenate([gradient + width, width - gradient])

    both = np.concatenate([np.maximum(start, 0.0), np.maximum(-start, 0.0)])
    options = {"maxiter": 4 * max_iter, "maxcor": 20, "gtol": 1e-9, "ftol": 1e-16}
    found = minimize(
        objective, both, jac=True, method="L-BFGS-B", bounds=[(0, None)] * (2 * k), options=options
    )
    return np.asarray(found.x[:k] - found.x[k:], float)


@dataclass(slots=True)
class Budget:
    """Products with the Hessian still allowed."""

    left: int


def _truncated_newton(
    dual: Dual, penalty: Penalty, natural: Array, max_iter: int, tol: float
) -> Path:
    """Newton steps by conjugate gradients, on the coordinates that the L1 term leaves free."""
    at = dual.evaluate(natural, hessian=False)
    budget = Budget(PRODUCTS)
    for iteration in range(max_iter):
        error = _error(penalty, natural, at)
        if error <= tol:
            return Path(natural, at, "solved", iteration)
        moved = _step(dual, penalty, natural, at, error, budget)
        if moved is None:
            return Path(natural, at, _outcome(dual, penalty, natural, error, tol), iteration)
        natural, at = moved
        if iteration % 8 == 7 and separates(dual, penalty, natural):
            return Path(natural, at, "separated", iteration)
    error = _error(penalty, natural, at)
    return Path(natural, at, _outcome(dual, penalty, natural, error, tol), max_iter)


def _outcome(dual: Dual, penalty: Penalty, natural: Array, error: float, tol: float) -> Outcome:
    if error <= 1e3 * tol:
        return "solved"
    if separates(dual, penalty, natural):
        return "separated"
    return "edge" if error <= 1e-7 else "max_iter"


def _error(penalty: Penalty, natural: Array, at: DualValue) -> float:
    gradient = penalty.gradient(natural, at.gradient)
    return float(np.abs(penalty.residual(natural, gradient)).max(initial=0.0))


def _step(
    dual: Dual, penalty: Penalty, natural: Array, at: DualValue, error: float, budget: Budget
) -> tuple[Array, DualValue] | None:
    if budget.left <= 0:
        return None
    gradient = penalty.gradient(natural, at.gradient)
    residual = penalty.residual(natural, gradient)
    free = (penalty.halfwidth == 0) | (natural != 0) | (residual != 0)
    product, diagonal = dual.curvature(natural, at)
    variance = penalty.variance
    if variance is not None:
        diagonal = diagonal + variance

    def apply(v: Array) -> Array:
        budget.left -= 1
        full = product(v) if variance is None else product(v) + penalty.pull(v)
        return np.where(free, full, 0.0)

    inverse = np.where(diagonal > 0, 1.0 / np.where(diagonal > 0, diagonal, 1.0), 1.0)
    step = -_conjugate_gradients(apply, residual, inverse, min(0.1, np.sqrt(error)))
    here = at.value + penalty.value(natural)
    slope = float(residual @ step)
    noise = 1e-14 * (abs(here) + 1.0)
    scale = 1.0
    for _ in range(40):
        trial = natural + scale * step
        crossed = (penalty.halfwidth > 0) & (natural != 0) & (trial * natural < 0)
        trial = np.where(crossed, 0.0, trial)
        there = dual.evaluate(trial, hessian=False)
        change = there.value + penalty.value(trial) - here
        if change <= 1e-4 * scale * slope and change < -noise:
            return trial, there
        if abs(change) <= noise:
            return (trial, there) if _error(penalty, trial, there) < error else None
        scale *= 0.5
    return None


def _conjugate_gradients(
    apply: Callable[[Array], Array], right: Array, inverse: Array, relative: float
) -> Array:
    """Solution of H x = right to a relative residual, preconditioned by the diagonal."""
    x = np.zeros_like(right)
    r = right.copy()
    z = inverse * r
    direction = z
    energy = float(r @ z)
    stop = relative * relative * energy
    for _ in range(500):
        image = apply(direction)
        bend = float(direction @ image)
        if bend <= 1e-300:
            return x if x.any() else z
        length = energy / bend
        x = x + length * direction
        r = r - length * image
        z = inverse * r
        new = float(r @ z)
        if new <= stop:
            break
        direction = z + (new / energy) * direction
        energy = new
    return x
