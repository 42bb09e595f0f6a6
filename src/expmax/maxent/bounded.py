"""Calibration with bounds on the weights: maximum entropy with L ≤ w_i/d_i ≤ U.

The weights are w_i = d_i clip(exp(u_i), L, U), u_i = ν + λ·g_i, where (ν, λ) minimises the convex
Σ_i q_i Φ(u_i) − ν, Φ' = clip(exp, L, U), q = d/Σd: the dual of minimising Σ w log(w/d) within the bounds. It
is the truncated raking ratio of Deville & Särndal.

References
----------
Deville & Särndal (1992), J. Amer. Statist. Assoc. 87(418), 376-382, case 7 and section 2.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array, diags_array, eye_array, hstack, vstack

from expmax.maxent.dual import DualValue, Extent
from expmax.maxent.feasibility import Separation, linear_program
from expmax.statistics import Array

__all__ = ["BoundedDual", "separate_bounded"]


class BoundedDual:
    """The dual above; coordinates (ν, λ).

    Parameters
    ----------
    features : ndarray, shape (n, k)
        g_i, in units of their spread, 0 what is asked.
    share : ndarray, shape (n,)
        q_i > 0, sum 1.
    low, high : float
        L < 1 < U, bounds on the ratio of new to old share.

    Examples
    --------
    >>> import numpy as np
    >>> dual = BoundedDual(np.array([[-1.0], [1.0]]), np.array([0.5, 0.5]), 0.5, 2.0)
    >>> float(dual.evaluate(np.zeros(2)).gradient[1])
    0.0
    """

    def __init__(self, features: Array, share: Array, low: float, high: float) -> None:
        self.features, self.share = features, share
        self.low, self.high = low, high
        self.log_low = -np.inf if low <= 0 else float(np.log(low))
        self.log_high = float(np.log(high))

    def ratios(self, natural: Array) -> Array:
        """w_i/d_i in units of Σw/Σd: shape (n,)."""
        u = natural[0] + self.features @ natural[1:]
        return np.asarray(np.exp(np.clip(u, self.log_low, self.log_high)))

    def evaluate(self, natural: Array, *, hessian: bool = True) -> DualValue:
        """Value, gradient and (generalised) Hessian."""
        u = natural[0] + self.features @ natural[1:]
        inside = np.clip(u, self.log_low, self.log_high)
        ratio = np.exp(inside)
        beyond = np.where(u == inside, 0.0, ratio * (u - inside))
        value = float(self.share @ (ratio + beyond)) - float(natural[0])
        weight = self.share * ratio
        gradient = np.concatenate([[weight.sum() - 1.0], weight @ self.features])
        if not hessian:
            return DualValue(value, gradient, None)
        free = np.where(u == inside, weight, 0.0)
        root = np.sqrt(free)[:, None]
        rows = self.features * root
        cross = (rows * root).sum(axis=0)
        second = np.empty((len(natural), len(natural)))
        second[0, 0] = free.sum()
        second[0, 1:] = second[1:, 0] = cross
        second[1:, 1:] = rows.T @ rows
        return DualValue(value, gradient, second)

    def extent(self, direction: Array, natural: Array, value: float) -> Extent:
        """Range of v·(1, g) over the points."""
        along = direction[0] + self.features @ direction[1:]
        return Extent(float(along.min()), float(along.max()))

    def margin(self, direction: Array) -> float:
        """Largest v·(Σ w − 1, Σ w g) over the weights within the bounds."""
        along = direction[0] + self.features @ direction[1:]
        best = np.where(along > 0, self.high, self.low) * along
        return float(self.share @ best) - float(direction[0])


def separate_bounded(dual: BoundedDual, halfwidth: Array) -> Separation | None:
    """A direction (ν, λ) that proves that no weights within the bounds fit; None where there is none."""
    n, k = dual.features.shape
    shares = diags_array(dual.share)
    rows = csr_array(dual.features)
    identity = eye_array(k, format="csr")
    moments = hstack([rows.T @ shares, identity, -identity, -identity])
    total = csr_array(np.concatenate([dual.share, np.zeros(3 * k)])[None, :])
    cost = np.concatenate([np.zeros(n), np.ones(2 * k), np.zeros(k)])
    bounds = [(dual.low, dual.high)] * n + [(0.0, None)] * (2 * k) + [(-h, h) for h in halfwidth]
    right = np.concatenate([[1.0], np.zeros(k)])
    found = linear_program(cost, A_eq=vstack([total, moments]), b_eq=right, bounds=bounds)
    if found.status != 0 or found.fun <= 1e-9:
        return None
    raw = np.asarray(found.eqlin.marginals, float)
    for sign in (1.0, -1.0):
        v = sign * raw / np.abs(raw).sum()
        v[1:][np.abs(v[1:]) < 1e-9] = 0.0
        margin = dual.margin(v) + float(halfwidth @ np.abs(v[1:]))
        if margin < -1e-12:
            return Separation(v, margin)
    return None
