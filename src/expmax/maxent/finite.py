"""A moment problem over finitely many points, from presolve to proof.

What single constraints decide is settled first (a Δ at the end of its feature's range leaves only the
points there), then rank, then the dual is minimised. Where λ runs off, linear programs tell an infeasible
problem, which is an error with its proof, from one on the boundary, which is solved on its face.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from expmax.errors import InfeasibleMomentsError
from expmax.maxent.arrays import is_sparse, one_thread
from expmax.maxent.dual import Dual, Reducer
from expmax.maxent.feasibility import possible_points, separate
from expmax.maxent.large import MANY, MANY_SPARSE, lbfgs, warm
from expmax.maxent.moments import Moments
from expmax.maxent.newton import Path, newton
from expmax.maxent.reduction import Contradiction, Reduced, reduce_features
from expmax.maxent.refusals import (
    as_given,
    distinct_rows,
    feature_range,
    refuse,
    refuse_jointly,
    shortest,
    tighten,
)
from expmax.statistics import Array

__all__ = ["Solution", "solve_points"]

LP_SIZE = 5_000_000  # non-zeros up to which linear programs are tried
WORTH = 400_000  # numbers in the features from which on a few gradient steps save Hessians
FORMED = 3000  # features up to which the Hessian is formed where all else has failed
MET = 1e-9  # residual, in units of a feature's spread, at which a moment is met
LP_SIDE = 3000  # and the smaller of the numbers of points and features


@dataclass(frozen=True, slots=True)
class Solution:
    """The distribution of maximum entropy on given points."""

    natural: Array  # λ, (m,); 0 for redundant constraints
    log_partition: float  # A(λ) = log Σ b exp(λ·f) over the points of positive probability, nats
    log_density: Array  # log p_i, (n,); −∞ where the probability is zero
    mean: Array  # E[f], (m,)
    gap: float  # primal less dual objective, nats
    relative_entropy: float  # −Σ p log(p/b), the objective, nats
    status: Literal["solved", "boundary", "max_iter"]
    redundant: NDArray[np.intp]  # constraints that follow from the others on the whole support
    kept: NDArray[np.intp]  # constraints that carry a multiplier
    n_iter: int
    residual: float = 0.0  # largest subgradient at the end, in units of the features' spread


def solve_points(
    features: Any,
    log_base: Array,
    moments: Moments,
    *,
    start: Array | None = None,
    method: str = "auto",
    max_iter: int = 200,
    tol: float = MET,
    compute: Reducer | None = None,
    weight: Array | None = None,
    faces: bool = True,
    joint: bool = True,
) -> Solution:
    """Maximum entropy over finitely many points.

    Parameters
    ----------
    features : ndarray or CSR matrix, shape (n, m)
        f(x_i).
    log_base : ndarray, shape (n,)
        log b_i, nats; −∞ leaves a point out.
    moments : Moments
    start : ndarray, shape (m,), optional
        λ to start from.
    method : {"auto", "newton", "lbfgs"}
        "auto" forms the Hessian up to a thousand features.
    max_iter : int
    tol : float
        Residual, in units of a feature's spread, at which a moment counts as met where rounding is out of
        reach; without a Hessian the descent stops there if it is above the default.
    compute : Reducer, optional
    weight : ndarray, shape (n,), optional
        What the spread of a feature is taken over (see `reduce_features`); sums to 1.
    faces : bool
        Whether points that the constraints forbid get probability zero; otherwise λ goes as far as it
        takes to make their probability negligible.
    joint : bool
        Whether to look for points that no single constraint forbids but several do together.

    Raises
    ------
    InfeasibleMomentsError

    Examples
    --------
    >>> import numpy as np
    >>> from expmax.maxent.moments import read_moments
    >>> faces = np.arange(1.0, 7.0)[:, None]
    >>> found = solve_points(faces, np.zeros(6), read_moments([4.5], ["mean"]))
    >>> found.natural
    array([0.37104894])
    """
    features = csr_array(features) if is_sparse(features) else np.asarray(features, float)
    active = np.isfinite(log_base)
    if not active.all():
        low, high = feature_range(features[active])
        moments = moments.within(low, high)
    else:
        moments = moments.within(*feature_range(features))
    options = _Options(start, method, max_iter, tol, compute, weight)
    with one_thread(features.nnz if is_sparse(features) else features.size):
        return _solve(features, log_base, moments, active, options, faces, joint)


def _solve(
    features: Any,
    log_base: Array,
    moments: Moments,
    active: NDArray[np.bool_],
    options: _Options,
    faces: bool,
    joint: bool,
) -> Solution:
    narrowed = tighten(features, moments, active)
    try:
        start = narrowed if faces else active
        return _climb(features, log_base, moments, start, options, faces and joint)
    except InfeasibleMomentsError:
        if (
            narrowed.sum() < active.sum()
        ):  # its proof holds on the face alone: one for the whole support
            refuse_jointly(features[np.flatnonzero(active)], moments)
        raise


def _climb(
    features: Any,
    log_base: Array,
    moments: Moments,
    active: NDArray[np.bool_],
    options: _Options,
    joint: bool,
) -> Solution:
    """Attempt by attempt, each on a smaller face, until one meets the moments."""
    attempt = _attempt(features, log_base, moments, active, options)
    whole = attempt.reduced if (active == np.isfinite(log_base)).all() else None
    redundant = _redundant(whole, features, moments)
    n_iter = attempt.path.n_iter
    while attempt.path.outcome != "solved" and not _met(attempt, options.tol):
        possible = _possible(attempt.dual, attempt.reduced, moments, attempt.path, joint)
        if possible is None or possible.all():
            break
        active = attempt.active.copy()
        active[np.flatnonzero(active)[~possible]] = False
        try:
            active = tighten(features, moments, active)
            attempt = _attempt(features, log_base, moments, active, options)
        except InfeasibleMomentsError:  # the program's tolerance took a thin interior for a face
            break
        n_iter += attempt.path.n_iter
    return _solution(features, log_base, moments, attempt, redundant, n_iter, options.tol)


def _met(attempt: _Attempt, tol: float) -> bool:
    """Whether the moments are met as closely as was asked, where that is less than by default."""
    return tol > MET and _residual(attempt.reduced, attempt.path) <= tol


@dataclass(frozen=True, slots=True)
class _Options:
    start: Array | None
    method: str
    max_iter: int
    tol: float
    compute: Reducer | None
    weight: Array | None


@dataclass(frozen=True, slots=True)
class _Attempt:
    """The dual minimised over the points thought possible."""

    active: NDArray[np.bool_]
    reduced: Reduced
    dual: Dual
    path: Path


def _attempt(
    features: Any, log_base: Array, moments: Moments, active: NDArray[np.bool_], options: _Options
) -> _Attempt:
    part = features if active.all() else features[np.flatnonzero(active)]
    weight = None if options.weight is None else options.weight[active]
    reduced = reduce_features(part, moments, weight)
    if isinstance(reduced, Contradiction):
        refuse(reduced.direction, moments, "these features depend on each other linearly")
    dual = Dual(reduced.features, log_base[active], reduced.centre, options.compute)
    return _Attempt(active, reduced, dual, _minimise(dual, reduced, options))


def _minimise(dual: Dual, reduced: Reduced, options: _Options) -> Path:
    start, method, max_iter = options.start, options.method, options.max_iter
    first = np.zeros(dual.dim) if start is None else reduced.solver(start)
    many = MANY_SPARSE if dual.sparse else MANY
    large = method == "lbfgs" or (method == "auto" and dual.dim > many)
    if large and (reduced.penalty.variance is None or reduced.penalty.variance.ndim == 1):
        path = lbfgs(dual, reduced.penalty, first, max_iter=max_iter, tol=_enough(options.tol))
        solved = path.outcome == "solved" or _residual(reduced, path) <= options.tol
        if solved or method == "lbfgs" or dual.dim > FORMED:
            return path
        first = path.natural if path.outcome == "max_iter" else first
    elif start is None and reduced.penalty.smooth and dual.n_points * dual.dim >= WORTH:
        first = warm(dual, reduced.penalty, first)
    return newton(dual, reduced.penalty, first, max_iter=max_iter)


def _enough(tol: float) -> float:
    """Where a descent may stop: at rounding, unless less is asked."""
    return tol if tol > MET else 1e-12


def _residual(reduced: Reduced, path: Path) -> float:
    gradient = reduced.penalty.gradient(path.natural, path.at.gradient)
    return float(np.abs(reduced.penalty.residual(path.natural, gradient)).max(initial=0.0))


# -- where λ runs off ------------------------------------------------------------------------------
def _possible(
    dual: Dual, reduced: Reduced, moments: Moments, path: Path, faces: bool
) -> NDArray[np.bool_] | None:
    """Which points can have positive probability; None where that is not known or not asked."""
    if reduced.penalty.variance is not None:
        return None
    features, centre, half = reduced.features, reduced.centre, reduced.penalty.halfwidth
    size = features.nnz if is_sparse(features) else features.size
    if size > LP_SIZE or min(features.shape) > LP_SIDE:
        if path.outcome == "separated":
            refuse(reduced.natural(path.natural, len(moments)), moments)
        return None
    rows, inverse = distinct_rows(features)
    found = separate(rows, half, centre)
    if found is not None:
        live, proof = shortest(rows, half, found, centre, reduced)
        refuse(as_given(proof, live, reduced, len(moments)), moments)
    if path.outcome == "separated":
        refuse(reduced.natural(path.natural, len(moments)), moments)
    if not faces:
        return None
    possible = possible_points(rows, half, centre)
    return None if possible is None else possible[inverse]


# -- the answer ------------------------------------------------------------------------------------
def _solution(
    features: Any,
    log_base: Array,
    moments: Moments,
    attempt: _Attempt,
    redundant: NDArray[np.intp],
    n_iter: int,
    tol: float,
) -> Solution:
    path, active = attempt.path, attempt.active
    natural = attempt.reduced.natural(path.natural, len(moments))
    log_density = np.full(features.shape[0], -np.inf)
    log_density[active] = attempt.dual.log_density(path.natural, path.at.value)
    middle = 0.5 * (moments.lower + moments.upper)
    status: Literal["solved", "boundary", "max_iter"] = "max_iter"
    residual = _residual(attempt.reduced, path)
    fits = path.outcome == "edge" and residual <= MET
    if path.outcome == "solved" or fits or (tol > MET and residual <= tol):
        status = "solved" if active.sum() == np.isfinite(log_base).sum() else "boundary"
    mean = np.asarray(features.T @ np.exp(log_density), float)
    hard = moments.tolerance == 0
    unit = np.abs(moments.lower) + np.abs(moments.upper) + np.ptp(feature_range(features), axis=0)
    if (np.abs(moments.distance(mean)) > max(1e-6, tol) * unit)[
        hard
    ].any():  # not on a face after all
        status = "max_iter"
    return Solution(
        natural,
        path.at.value + float(natural @ middle),
        log_density,
        mean,
        _gap(attempt.reduced, path, moments, natural, mean),
        path.at.value - float(path.natural @ path.at.gradient),
        status,
        redundant,
        attempt.reduced.kept,
        n_iter,
        residual,
    )


def _gap(reduced: Reduced, path: Path, moments: Moments, natural: Array, mean: Array) -> float:
    """Primal less dual objective, nats: Σ of what each constraint adds (Fenchel & Young).

    An exact moment adds λ·(E[f] − Δ), an interval h|λ| to that; a tolerance σ adds ½ (distance/σ)² + ½ σ²λ².
    Without tolerances the sum is taken in the solver's coordinates, where it cancels less.
    """
    penalty = reduced.penalty
    if penalty.variance is None:
        gap = float(path.natural @ path.at.gradient)
        return abs(gap + float(penalty.halfwidth @ np.abs(path.natural)))
    middle = 0.5 * (moments.lower + moments.upper)
    half = 0.5 * (moments.upper - moments.lower)
    tolerance = moments.tolerance
    soft = tolerance > 0
    width = np.where(soft, tolerance, 1.0)
    away = moments.distance(mean) / width
    pull = np.where(half > 0, natural * (mean - middle) + half * np.abs(natural), 0.0)
    square = 0.5 * away**2 + 0.5 * (width * natural) ** 2 + pull
    square = np.where(half > 0, square, 0.5 * (away + width * natural) ** 2)
    hard = natural * (mean - middle) + half * np.abs(natural)
    return abs(float(hard[~soft].sum() + square[soft].sum()))


def _redundant(reduced: Reduced | None, features: Any, moments: Moments) -> NDArray[np.intp]:
    """Constraints that follow from the others on the whole support."""
    if reduced is None:
        again = reduce_features(features, moments)
        if isinstance(again, Contradiction):
            return np.zeros(0, np.intp)
        reduced = again
    return np.array([j for j in reduced.redundant if moments.exact[j]], dtype=np.intp)
