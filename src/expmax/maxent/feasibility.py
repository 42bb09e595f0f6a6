"""Whether any distribution on the points has the moments, decided and proved by linear programs.

Either some p ≥ 0, Σp = 1 has −h ≤ Gᵀp ≤ h, or some v has v·g_i + Σ h_j|v_j| < 0 at every point i: the
separating direction. Between the two lies the boundary, where some points have probability zero in every
p that fits; a second program finds all of those at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, eye_array, hstack, vstack

from expmax.statistics import Array

__all__ = ["Separation", "conflicting", "linear_program", "possible_points", "separate"]

SECONDS = 60.0  # that a linear program may take; one that takes longer proves nothing


@dataclass(frozen=True, slots=True)
class Separation:
    """A direction along which every point lies on the wrong side."""

    direction: Array  # v, Σ|v| = 1, shape (k,)
    margin: float  # max_i v·g_i + Σ h|v| < 0


def linear_program(cost: Array, **arguments: Any) -> Any:
    """SciPy's `linprog` by HiGHS; status 0 where it finished in time."""
    from scipy import optimize

    solver: Any = optimize.linprog
    return solver(cost, method="highs", options={"time_limit": SECONDS}, **arguments)


def separate(features: Any, halfwidth: Array, centre: Array | None = None) -> Separation | None:
    """A proof that no distribution fits, or None where there is none.

    The program minimises the distance Σ_j |E[g_j] − y_j| over distributions and |y_j| ≤ h_j; its
    multipliers are the direction, which counts only once it is verified point by point.

    Parameters
    ----------
    features : ndarray or CSR matrix, shape (n, k)
        g_i in units of the spread of each feature; less `centre`, where given.
    halfwidth : ndarray, shape (k,)
        h; 0 for an equation.

    Examples
    --------
    >>> import numpy as np
    >>> separate(np.array([[1.0], [2.0]]), np.zeros(1))
    Separation(direction=array([-1.]), margin=-1.0)
    """
    rows = csr_array(features)
    n, k = rows.shape
    if k == 0:
        return None
    middle = np.zeros(k) if centre is None else centre  # E[f] − centre = E[g], for Σp = 1
    identity = eye_array(k, format="csr")
    moments = hstack([rows.T, identity, -identity, -identity])
    total = csr_array(np.concatenate([np.ones(n), np.zeros(3 * k)])[None, :])
    cost = np.concatenate([np.zeros(n), np.ones(2 * k), np.zeros(k)])
    bounds = [(0.0, None)] * (n + 2 * k) + [(-h, h) for h in halfwidth]
    right = np.concatenate([middle, [1.0]])
    found = linear_program(cost, A_eq=vstack([moments, total]), b_eq=right, bounds=bounds)
    if found.status != 0 or found.fun <= 1e-9:
        return None
    raw = np.asarray(found.eqlin.marginals[:k], float)
    return _verified(raw, features, halfwidth, centre)


def _verified(
    raw: Array, features: Any, halfwidth: Array, centre: Array | None
) -> Separation | None:
    """The better of ±v, small entries dropped where that keeps the proof."""
    best: Separation | None = None
    for sign in (1.0, -1.0):
        for cut in (1e-7, 0.0):
            v = np.where(np.abs(raw) > cut * np.abs(raw).max(initial=0.0), sign * raw, 0.0)
            size = float(np.abs(v).sum())
            if size == 0.0:
                continue
            v = v / size
            along = np.asarray(features @ v, float)
            shift = 0.0 if centre is None else float(centre @ v)
            margin = float(along.max()) - shift + float(halfwidth @ np.abs(v))
            if margin < -1e-12 and (best is None or margin < 0.5 * best.margin):
                best = Separation(v, margin)
    return best


def conflicting(
    features: Any, halfwidth: Array, found: Separation, centre: Array | None = None
) -> tuple[NDArray[np.intp], Separation]:
    """Constraints that cannot hold together while any fewer of them could, and their own proof.

    The constraints of the direction already conflict; each is left out in turn and stays out where
    the rest still conflict.
    """
    live = np.flatnonzero(found.direction)
    proof = Separation(found.direction[live], found.margin)
    if len(live) > 60:
        return live, proof
    for j in list(live):
        rest = live[live != j]
        if not len(rest):
            break
        part = None if centre is None else centre[rest]
        without = separate(features[:, rest], halfwidth[rest], part)
        if without is not None:
            live, proof = rest, without
    return live, proof


def possible_points(
    features: Any, halfwidth: Array, centre: Array | None = None
) -> NDArray[np.bool_] | None:
    """Which points have positive probability in some distribution that fits; None where none fits.

    Maximises Σ u_i over 0 ≤ u ≤ 1, u ≤ q with q = τp a distribution scaled up: u_i ends at 1 where
    p_i can be positive, at 0 where it cannot.

    References
    ----------
    Freund, Roundy & Todd (1985), Identifying the set of always-active constraints in a system of
    linear inequalities by a single linear program, MIT Sloan 1674-85.
    """
    rows = csr_array(features)
    n, k = rows.shape
    middle = np.zeros(k) if centre is None else centre
    exact = halfwidth == 0
    moments = csr_array(rows.T)  # of q = u + r, beside τ
    ones = csr_array(np.ones((1, n)))
    shift = csr_array(-middle[exact][:, None])  # Σ q g = Σ q f − τ·centre
    minus = csr_array(-np.ones((1, 1)))
    equalities = vstack(
        [
            hstack([moments[exact], moments[exact], shift]),
            hstack([ones, ones, minus]),
        ]
    ).tocsr()
    options: dict[str, Any] = {}
    if not exact.all():
        part = moments[~exact]
        above = csr_array(-(halfwidth + middle)[~exact][:, None])
        below = csr_array((middle - halfwidth)[~exact][:, None])
        options["A_ub"] = vstack(
            [hstack([part, part, above]), hstack([-part, -part, below])]
        ).tocsr()
        options["b_ub"] = np.zeros(2 * int((~exact).sum()))
    cost = np.concatenate([-np.ones(n), np.zeros(n + 1)])
    bounds = [(0.0, 1.0)] * n + [(0.0, None)] * (n + 1)
    options["A_eq"], options["b_eq"] = equalities, np.zeros(equalities.shape[0])
    found = linear_program(cost, bounds=bounds, **options)
    if found.status != 0:
        return None
    positive = np.asarray(found.x[:n] > 0.5)
    return positive if positive.any() else None
