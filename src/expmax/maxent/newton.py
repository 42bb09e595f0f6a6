"""Damped Newton on the dual, with intervals (L1) and tolerances (ridge).

Minimised is V(λ) + Σ_j h_j |λ_j| + ½ λᵀPλ: h_j is half the width of the interval allowed to E[f_j], P the
variances of the moments that carry a tolerance. Newton steps solve the quadratic model with the L1 term
kept (proximal Newton), and a backtracking search makes every step descend.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from expmax.maxent.dual import DualValue, Extent
from expmax.statistics import Array

__all__ = ["Outcome", "Path", "Penalty", "Smooth", "newton"]

Outcome = Literal["solved", "edge", "separated", "max_iter"]
FAR = 1e3  # the longest step of a multiplier, where log p changes by at most as much
ROUNDING = 8 * np.finfo(float).eps


@dataclass(frozen=True, slots=True)
class Penalty:
    """Σ_j h_j |λ_j| + ½ λᵀPλ."""

    halfwidth: Array  # h, shape (k,)
    variance: Array | None  # P, shape (k, k), or its diagonal, shape (k,)

    @property
    def smooth(self) -> bool:
        """Whether there is no L1 term."""
        return not self.halfwidth.any()

    def value(self, natural: Array) -> float:
        """The penalty, nats."""
        value = float(self.halfwidth @ np.abs(natural))
        if self.variance is not None:
            value += 0.5 * float(natural @ self.pull(natural))
        return value

    def pull(self, natural: Array) -> Array:
        """Pλ."""
        if self.variance is None:
            return np.zeros_like(natural)
        if self.variance.ndim == 1:
            return self.variance * natural
        return np.asarray(self.variance @ natural)

    def gradient(self, natural: Array, of_dual: Array) -> Array:
        """Gradient of the smooth part: ∇V + Pλ."""
        return of_dual if self.variance is None else of_dual + self.pull(natural)

    def residual(self, natural: Array, gradient: Array) -> Array:
        """The smallest subgradient, which is zero at the minimum."""
        if self.smooth:
            return gradient
        moved = gradient + self.halfwidth * np.sign(natural)
        still = np.sign(gradient) * np.maximum(np.abs(gradient) - self.halfwidth, 0.0)
        return np.where(natural == 0, still, moved)


class Smooth(Protocol):
    """A dual function: what the descent needs of it (`Dual` is one)."""

    def evaluate(self, natural: Array, *, hessian: bool = True) -> DualValue:
        """Value, gradient and, if wanted, Hessian."""
        ...

    def extent(self, direction: Array, natural: Array, value: float) -> Extent:
        """Range of v·g over the points that count at λ."""
        ...

    def margin(self, direction: Array) -> float:
        """Largest v·E[g] of any distribution allowed: below 0, v separates."""
        ...


@dataclass(frozen=True, slots=True)
class Path:
    """Where the descent ended."""

    natural: Array  # λ
    at: DualValue  # V and its derivatives there
    outcome: Outcome
    n_iter: int


def newton(
    dual: Smooth, penalty: Penalty, start: Array, *, max_iter: int = 200, tol: float = 1e-12
) -> Path:
    """Minimise the dual.

    Parameters
    ----------
    dual : Smooth
        Features in units of their spread: |g| ≤ about 1.
    penalty : Penalty
    start : ndarray, shape (k,)
    max_iter : int
    tol : float
        Largest subgradient allowed at the end, in those units; below it, steps go on as long as they
        still shrink it, so that what is reached is rounding.

    Returns
    -------
    Path
        `separated`: λ itself proves that no distribution fits. `edge`: λ runs off to infinity while the
        residual dies out, as where some points must have probability zero.
    """
    natural, at = start, dual.evaluate(start)
    for iteration in range(max_iter):
        gradient = penalty.gradient(natural, at.gradient)
        step = _direction(natural, gradient, at, penalty)
        error = _size(penalty.residual(natural, gradient))
        if error <= tol and _reach(dual, step, natural, at) < 1e-7:
            return Path(*_polish(dual, penalty, natural, at, step), "solved", iteration)
        if error <= 1e-14 and _runs_away(dual, natural, at, step):
            return Path(natural, at, "edge", iteration)
        if iteration % 8 == 7 and separates(dual, penalty, natural):
            return Path(natural, at, "separated", iteration)
        moved = _descend(dual, penalty, natural, at, gradient, step)
        if moved is None:
            outcome = _stuck(dual, penalty, natural, at, error, tol)
            return Path(natural, at, outcome, iteration)
        natural, at = moved
    outcome = "separated" if separates(dual, penalty, natural) else "max_iter"
    return Path(natural, at, outcome, max_iter)


def separates(dual: Smooth, penalty: Penalty, natural: Array) -> bool:
    """Whether λ·(f(x) − Δ) < 0 at every point and for every Δ allowed: proof that none fits."""
    size = float(np.abs(natural).sum())
    if penalty.variance is not None or size == 0.0:
        return False
    margin = dual.margin(natural) + float(penalty.halfwidth @ np.abs(natural))
    return margin < -1e-11 * size


def _stuck(
    dual: Smooth, penalty: Penalty, natural: Array, at: DualValue, error: float, tol: float
) -> Outcome:
    if error <= 1e3 * tol:
        extent = dual.extent(natural, natural, at.value)
        return "edge" if max(-extent.low, extent.high) > 15.0 else "solved"
    if separates(dual, penalty, natural):
        return "separated"
    return "edge" if error <= 1e-8 else "max_iter"


def _size(vector: Array) -> float:
    return float(np.abs(vector).max(initial=0.0))


def _reach(dual: Smooth, step: Array, natural: Array, at: DualValue) -> float:
    """The largest change of a log p_i by a step, nats, at points that are not yet out of sight."""
    if not step.any():
        return 0.0
    extent = dual.extent(step, natural, at.value)
    return max(abs(extent.low), abs(extent.high))


def _runs_away(dual: Smooth, natural: Array, at: DualValue, step: Array) -> bool:
    return _reach(dual, step, natural, at) > 0.25 and _reach(dual, natural, natural, at) > 15.0


def _polish(
    dual: Smooth, penalty: Penalty, natural: Array, at: DualValue, step: Array
) -> tuple[Array, DualValue]:
    """Further full steps with the Hessian at hand, as long as each makes the residual smaller."""
    error = _size(penalty.residual(natural, penalty.gradient(natural, at.gradient)))
    for _ in range(3):
        trial = natural + step
        there = replace(dual.evaluate(trial, hessian=False), hessian=at.hessian)
        gradient = penalty.gradient(trial, there.gradient)
        smaller = _size(penalty.residual(trial, gradient))
        if not smaller < error:
            break
        natural, at, error = trial, there, smaller
        step = _direction(natural, gradient, at, penalty)
    return natural, at


def _descend(
    dual: Smooth, penalty: Penalty, natural: Array, at: DualValue, gradient: Array, step: Array
) -> tuple[Array, DualValue] | None:
    """The first of the steps 1, ½, ¼, … that lowers the objective enough; None where none does."""
    here = at.value + penalty.value(natural)
    noise = ROUNDING * (abs(at.value) + abs(here) + 1.0)
    error = _size(penalty.residual(natural, gradient))
    scale = 1.0
    for _ in range(60):
        trial = natural + scale * step
        there = dual.evaluate(trial)
        if np.isfinite(there.value):
            slope = float(gradient @ (trial - natural)) + float(
                penalty.halfwidth @ (np.abs(trial) - np.abs(natural))
            )
            change = there.value + penalty.value(trial) - here
            if change <= 1e-4 * slope and change < -noise:
                return trial, there
            if abs(change) <= noise:  # the value no longer tells: the residual does
                new = penalty.gradient(trial, there.gradient)
                return (trial, there) if _size(penalty.residual(trial, new)) < error else None
        scale *= 0.5
    return None


# -- the quadratic model ---------------------------------------------------------------------------
def _direction(natural: Array, gradient: Array, at: DualValue, penalty: Penalty) -> Array:
    """argmin over d of gradient·d + ½ dᵀHd + Σ h |λ + d|."""
    assert at.hessian is not None
    hessian = at.hessian
    if penalty.variance is not None:
        ridge = penalty.variance
        hessian = hessian + (np.diag(ridge) if ridge.ndim == 1 else ridge)
    if penalty.smooth:
        return -_solve(hessian, gradient)
    target = _lasso(natural, gradient, hessian, penalty.halfwidth)
    return target - natural


def _solve(hessian: Array, vector: Array) -> Array:
    """H⁻¹ v in units in which the diagonal is one; a singular H is damped as little as works."""
    if not len(vector):
        return vector
    diagonal = np.sqrt(np.maximum(hessian.diagonal(), 0.0))
    diagonal[diagonal == 0] = 1.0
    unit = hessian / diagonal[:, None] / diagonal[None, :]
    for damping in (0.0, 1e-15, 1e-14, 1e-13, 1e-12, 1e-10, 1e-8, 1e-5, 1e-2):
        try:
            factor = cho_factor(unit + damping * np.eye(len(unit)), lower=True, check_finite=False)
        except LinAlgError:
            continue
        solution = cho_solve(factor, vector / diagonal, check_finite=False) / diagonal
        if np.isfinite(solution).all():
            return np.asarray(solution)
    return np.asarray(vector / diagonal**2)


def _lasso(natural: Array, gradient: Array, hessian: Array, halfwidth: Array) -> Array:
    """argmin over z of gradient·(z − λ) + ½ (z − λ)ᵀH(z − λ) + Σ h |z|, by coordinates, then exactly."""
    z = natural.copy()
    slope = gradient.copy()  # gradient + H (z − λ)
    diagonal = np.maximum(hessian.diagonal(), max(1e-14 * hessian.diagonal().max(), 1e-100))
    for _ in range(100):
        largest = 0.0
        for j in np.flatnonzero((z != 0) | (np.abs(slope) > halfwidth)):
            pull = diagonal[j] * z[j] - slope[j]
            new = np.sign(pull) * max(abs(pull) - halfwidth[j], 0.0) / diagonal[j]
            new = float(np.clip(new, z[j] - FAR, z[j] + FAR))
            change = new - z[j]
            if change != 0.0:
                z[j] = new
                slope += change * hessian[:, j]
                largest = max(largest, abs(change) * float(np.sqrt(diagonal[j])))
        if largest < 1e-12:
            break
    return _exact_signs(z, natural, gradient, hessian, halfwidth)


def _exact_signs(
    z: Array, natural: Array, gradient: Array, hessian: Array, halfwidth: Array
) -> Array:
    """The exact minimiser with the signs found, where it keeps them."""
    live = np.flatnonzero(z)
    if not len(live):
        return z
    fixed = -natural.copy()
    fixed[live] = 0.0
    right = gradient[live] + halfwidth[live] * np.sign(z[live]) + (hessian @ fixed)[live]
    exact = natural[live] - _solve(hessian[np.ix_(live, live)], right)
    if (np.sign(exact) != np.sign(z[live])).any():
        return z
    out = np.zeros_like(z)
    out[live] = exact
    return out
