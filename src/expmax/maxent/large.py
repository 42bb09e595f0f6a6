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
FIRST = 150  # its steps, after which conjugate residuals make more of each product
PRODUCTS = 25  # products with the Hessian that an iteration may cost on average
SOLVE = 0.1  # relative residual to which the equations of a step are solved
STRETCH = 1000  # products a step may cost: longer ones leave where its equations hold
NEGLIGIBLE = 1e-10  # nats
MANY_SPARSE = 200  # sparse features above which it is formed only if all else fails
MANY = 1000  # features above which the Hessian is not formed


def lbfgs(
    dual: Dual, penalty: Penalty, start: Array, *, max_iter: int = 200, tol: float = 1e-12
) -> Path:
    """Minimise the dual without its Hessian; arguments and outcome as of `newton`.

    Products with the Hessian are limited to 25 times `max_iter`: where there are about as many exact
    constraints as points, next to no freedom is left, the Hessian is as ill-conditioned as their matrix,
    and digits come slowly.

    The variances of `penalty` must be a diagonal or absent. Intervals split λ into two non-negative
    parts, for which L-BFGS-B has bounds.

    References
    ----------
    Byrd, Lu, Nocedal & Zhu (1995), SIAM J. Sci. Comput. 16(5), 1190-1208.
    Dembo, Eisenstat & Steihaug (1982), SIAM J. Numer. Anal. 19(2), 400-408.
    """
    if penalty.smooth:
        natural = _whole(dual, penalty, start, min(FIRST, 5 * max_iter))
    else:
        natural = _split(dual, penalty, start, max_iter)
    return _truncated_newton(dual, penalty, natural, max_iter, tol)


def warm(dual: Dual, penalty: Penalty, start: Array) -> Array:
    """A few steps of L-BFGS, from which Newton needs fewer Hessians."""
    return _whole(dual, penalty, start, 15, 1e-5)


def _whole(dual: Dual, penalty: Penalty, start: Array, max_iter: int, tol: float = 1e-8) -> Array:
    """L-BFGS without bounds: the two-loop recursion and a backtracking search."""
    natural, at = start, dual.evaluate(start, hessian=False)
    gradient = penalty.gradient(natural, at.gradient)
    value = at.value + penalty.value(natural)
    memory: deque[tuple[Array, Array, float]] = deque(maxlen=MEMORY)
    for _ in range(max_iter):
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
    """Newton steps by conjugate residuals, on the coordinates that the L1 term leaves free."""
    at = dual.evaluate(natural, hessian=False)
    budget = Budget(PRODUCTS * max_iter)
    best = natural, at, _error(penalty, natural, at)
    for iteration in range(max_iter):
        error = _error(penalty, natural, at)
        best = min(best, (natural, at, error), key=lambda one: one[2])
        if error <= tol or _within(penalty, natural, at):
            return Path(natural, at, "solved", iteration)
        moved = _step(dual, penalty, natural, at, error, budget)
        if moved is None:
            return _ended(dual, penalty, best, tol, iteration)
        natural, at = moved
        if iteration % 8 == 7 and separates(dual, penalty, natural):
            return Path(natural, at, "separated", iteration)
    best = min(best, (natural, at, _error(penalty, natural, at)), key=lambda one: one[2])
    return _ended(dual, penalty, best, tol, max_iter)


def _ended(
    dual: Dual, penalty: Penalty, best: tuple[Array, DualValue, float], tol: float, n_iter: int
) -> Path:
    """The best λ seen: a step that lowers the dual may raise the residual."""
    natural, at, error = best
    return Path(natural, at, _outcome(dual, penalty, natural, error, tol), n_iter)


def _within(penalty: Penalty, natural: Array, at: DualValue) -> bool:
    """Whether tolerances on all moments prove the objective to be within `NEGLIGIBLE` nats of its top.

    The duality gap is then ½ Σ g²/σ², g the gradient of the dual.
    """
    variance = penalty.variance
    if variance is None or not penalty.smooth or not variance.all():
        return False
    gradient = penalty.gradient(natural, at.gradient)
    return 0.5 * float(gradient @ (gradient / variance)) <= NEGLIGIBLE


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
        full = product(v) if variance is None else product(v) + penalty.pull(v)
        return np.where(free, full, 0.0)

    inverse = np.where(diagonal > 0, 1.0 / np.where(diagonal > 0, diagonal, 1.0), 1.0)
    step = -_conjugate_residuals(apply, residual, inverse, SOLVE, budget)
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


def _conjugate_residuals(
    apply: Callable[[Array], Array],
    right: Array,
    inverse: Array,
    relative: float,
    budget: Budget,
) -> Array:
    """Solution of H x = right to a relative residual, preconditioned by the diagonal.

    Unlike that of conjugate gradients, the residual falls with every product, so that a solve cut short is
    never worse than none. No restarts: what is learnt of the small eigenvalues would be lost.

    References
    ----------
    Stiefel (1955), Comment. Math. Helv. 29, 157-179. Saad (2003), Iterative Methods for Sparse Linear
    Systems, 2nd ed., §6.8.
    """
    x = np.zeros_like(right)
    z = inverse * right
    image = apply(z)  # H z
    budget.left -= 1
    direction, bent = z.copy(), image.copy()  # p and H p
    energy = float(z @ image)
    stop = relative * relative * float(right @ z)
    left = float(right @ z)  # ‖r‖² in units of the preconditioner
    end = max(budget.left - STRETCH, 0)
    while budget.left > end and energy > 1e-300:
        scaled = inverse * bent
        size = float(bent @ scaled)
        length = energy / size
        x += length * direction
        z -= length * scaled
        left -= length * energy
        if left <= stop:
            break
        image = apply(z)
        budget.left -= 1
        new = float(z @ image)
        share = new / energy
        direction *= share
        direction += z
        bent *= share
        bent += image
        energy = new
    return x if x.any() else z
