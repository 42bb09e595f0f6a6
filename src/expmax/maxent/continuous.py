"""A moment problem over a box: adaptive quadrature around the finite one.

The dual is minimised on the nodes of a grid, the grid refined for the λ found, and so on until neither
moves. Where the nodes cannot meet the moments, the separating direction says where to look: either nodes
are missing there, or the direction is a proof for the whole box.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from expmax.errors import InfeasibleMomentsError
from expmax.maxent.edges import ON_EDGE, look_outside
from expmax.maxent.finite import MET, Solution, solve_points
from expmax.maxent.growth import Tail, tails
from expmax.maxent.location import first_density, place
from expmax.maxent.moments import Moments
from expmax.maxent.quadrature import Grid
from expmax.maxent.supports import Box, Interval, side_of
from expmax.statistics import Array

__all__ = ["TOLERANCE", "BoxSolution", "extend", "make_grid", "solve_box"]

TOLERANCE = {1: 1e-12, 2: 1e-10, 3: 1e-8}  # of log Z and the moments, by dimension
UNBOUNDED = (
    "no combination of the features makes the density integrable over the support, and the entropy has no "
    "upper bound. Add a constraint that grows at the infinite ends, or a base measure with a finite total."
)
FURTHEST = 20.0  # coordinate up to which a window follows a density that rises outward


@dataclass(frozen=True, slots=True, eq=False)
class BoxSolution:
    """The density of maximum entropy over a box."""

    grid: Grid
    natural: Array  # λ, (m,)
    log_partition: float  # A(λ) = log ∫ b exp(λ·f), nats
    mean: Array  # E[f], (m,)
    gap: float
    relative_entropy: float  # −∫ p log(p/b), the objective, nats
    error: float  # estimated error of the quadrature, of A and of the moments in their spread
    status: Literal["solved", "boundary", "max_iter", "not_attained"]
    reason: str
    redundant: NDArray[np.intp]
    n_iter: int


def solve_box(
    support: Interval | Box,
    features: Callable[[Array], Array],
    log_base: Callable[[Array], Array],
    moments: Moments,
    *,
    method: str = "auto",
    max_iter: int = 200,
    tol: float = MET,
    compute: Any = None,
) -> BoxSolution:
    """Maximum entropy over an interval or a box.

    Parameters
    ----------
    support : Interval or Box
    features, log_base : callable
        x of shape (n, d) ↦ f(x) of shape (n, m), and log b(x) of shape (n,).
    moments : Moments

    Raises
    ------
    InfeasibleMomentsError
        A direction v has sup_x v·(f(x) − Δ) < 0, searched for over the whole box.
    """
    grid = make_grid(support, features, log_base, moments)
    options = {"method": method, "max_iter": max_iter, "tol": tol, "compute": compute}
    found = _climb(grid, moments, options)
    if found.status != "not_attained":
        return found
    if not len(moments):
        return replace(found, reason=found.reason or UNBOUNDED)
    return _without_dominant(support, features, log_base, moments, found, options)


def make_grid(
    support: Interval | Box,
    features: Callable[[Array], Array],
    log_base: Callable[[Array], Array],
    moments: Moments | None,
) -> Grid:
    """A first grid, its coordinates placed where the moments say."""
    intervals = support.sides if isinstance(support, Box) else (support,)
    sides = [
        side_of(interval, singular=_singular(intervals, i, features, log_base))
        for i, interval in enumerate(intervals)
    ]
    if moments is not None:
        sides = place(sides, features, moments)
    return Grid(sides, [interval.breaks for interval in intervals], features, log_base)


def _singular(
    intervals: Any,
    axis: int,
    features: Callable[[Array], Array],
    log_base: Callable[[Array], Array],
) -> bool:
    """Whether features or base measure blow up, or are not defined, at an end of a finite side."""
    low, high = intervals[axis].low, intervals[axis].high
    ends = [end for end in (low, high) if np.isfinite(end)]
    middle = np.array([_inside(interval) for interval in intervals])
    rows = np.repeat(middle[None, :], len(ends), axis=0)
    rows[:, axis] = ends
    with np.errstate(all="ignore"):
        values = np.column_stack([features(rows), log_base(rows)])
    return not bool(np.isfinite(values).all())


def _inside(interval: Interval) -> float:
    low = interval.low if np.isfinite(interval.low) else min(interval.high, 1.0) - 1.0
    high = interval.high if np.isfinite(interval.high) else max(interval.low, -1.0) + 1.0
    return float(low + 0.382 * (high - low))


# -- the climb -------------------------------------------------------------------------------------
def _climb(grid: Grid, moments: Moments, options: dict[str, Any]) -> BoxSolution:
    """Alternate between λ on the nodes and nodes for λ."""
    tol = TOLERANCE[grid.dim]
    natural, weight = first_density(grid)
    n_iter = 0
    for _ in range(60):
        try:
            start = natural if np.isfinite(natural).all() else None
            points, base = grid.flat()
            found = solve_points(
                points, base, moments, start=start, joint=False, weight=weight, **options
            )
        except InfeasibleMomentsError as error:
            verdict = look_outside(grid, moments, error)
            if verdict is not None:
                return _none(grid, moments, verdict, n_iter)
            natural, weight = first_density(grid)
            continue
        n_iter += found.n_iter
        natural = found.natural
        if _thin(found, grid):
            return _none(grid, moments, ON_EDGE, n_iter)
        ends = tails(grid, natural)
        if any(state == "rising" for _, _, state in ends):
            if not _follow(grid, ends):
                return _none(grid, moments, "", n_iter)
            weight = _weight_at(grid, natural)
            continue
        integrals, changed = grid.adapt(natural, tol)
        changed = extend(grid, ends) or changed
        weight = _weight_at(grid, natural)
        if not changed:
            return _checked(_answer(grid, found, integrals.error, n_iter), moments)
    return replace(_answer(grid, found, integrals.error, n_iter), status="max_iter")


def _weight_at(grid: Grid, natural: Array) -> Array:
    scores = (grid.features @ natural + grid.log_weight).ravel()
    p = np.exp(scores - scores.max())
    return np.asarray(p / p.sum())


def _follow(grid: Grid, ends: list[tuple[int, bool, Tail]]) -> bool:
    """Let the window follow a density that rises outward; False where it has gone far enough."""
    moved = False
    for axis, upper, state in ends:
        end = float(grid.window[axis, int(upper)])
        if state == "rising" and abs(end) < FURTHEST:
            grid.extend(axis, upper, end + (6.0 if upper else -6.0))
            moved = True
    return moved


def extend(grid: Grid, ends: list[tuple[int, bool, Tail]]) -> bool:
    """Let the window reach further where the density falls off slowly; whether it did."""
    moved = False
    for axis, upper, state in ends:
        if state == "slow":
            end, limit = float(grid.window[axis, int(upper)]), grid.sides[axis].limits[int(upper)]
            step = max(6.0, 0.5 * abs(end))
            to = min(end + step, limit) if upper else max(end - step, limit)
            if to != end:
                grid.extend(axis, upper, to)
                moved = True
    return moved


def _answer(grid: Grid, found: Solution, error: float, n_iter: int) -> BoxSolution:
    return BoxSolution(
        grid,
        found.natural,
        found.log_partition,
        found.mean,
        found.gap,
        found.relative_entropy,
        error,
        found.status,
        "",
        found.redundant,
        n_iter,
    )


def _checked(answer: BoxSolution, moments: Moments) -> BoxSolution:
    """An answer is one where the integrals are known and the moments met."""
    if not answer.error < 1e-3:
        return _none(answer.grid, moments, ON_EDGE, answer.n_iter)
    hard = moments.tolerance == 0
    miss = np.abs(moments.distance(answer.mean))[hard]
    unit = answer.grid.bulk(answer.natural)[hard] + np.abs(answer.mean)[hard]
    if answer.status != "max_iter" and (miss > 1e-6 * unit).any():
        if all(side.kind in ("linear", "logistic") for side in answer.grid.sides):
            return replace(answer, status="max_iter")
        return _none(answer.grid, moments, "", answer.n_iter)  # the rest lies ever further out
    return answer


# -- no density ------------------------------------------------------------------------------------
def _none(grid: Grid, moments: Moments, reason: str, n_iter: int) -> BoxSolution:
    nan = np.full(len(moments), np.nan)
    return BoxSolution(
        grid,
        nan,
        np.nan,
        nan,
        np.nan,
        np.inf,
        np.nan,
        "not_attained",
        reason,
        np.zeros(0, np.intp),
        n_iter,
    )


def _thin(found: Solution, grid: Grid) -> bool:
    """Whether the face found holds a few nodes only: a set of measure zero."""
    if found.status != "boundary":
        return False
    alive = np.isfinite(found.log_density).reshape(grid.log_weight.shape)
    return not bool(alive.all(axis=1).any())


def _without_dominant(
    support: Interval | Box,
    features: Callable[[Array], Array],
    log_base: Callable[[Array], Array],
    moments: Moments,
    failed: BoxSolution,
    options: dict[str, Any],
) -> BoxSolution:
    """What densities approach when they shed the feature that grows fastest, and why."""
    if failed.reason:
        return failed
    grid = failed.grid
    outer = grid.features[np.argsort(-np.abs(grid.low + grid.high).max(axis=1))[:4]]
    unit = np.median(np.abs(grid.flat()[0]), axis=0) + 1e-300
    j = int((np.abs(outer).max(axis=(0, 1)) / unit).argmax())
    rest = np.delete(np.arange(len(moments)), j)

    def fewer(x: Array) -> Array:
        return np.asarray(features(x))[:, rest]

    limit = solve_box(support, fewer, log_base, moments.take(rest), **options)
    name = moments.names[j]
    natural = np.insert(limit.natural, j, 0.0)
    if limit.status not in ("solved", "boundary"):
        return _none(limit.grid, moments, limit.reason or UNBOUNDED, failed.n_iter)
    wide = Grid(limit.grid.sides, [()] * grid.dim, features, log_base)
    wide.low, wide.high, wide.window = limit.grid.low, limit.grid.high, limit.grid.window
    wide.features, wide.log_weight = wide._evaluate(wide.low, wide.high)
    there = wide.moments(natural)
    asked = moments.lower[j] if there.mean[j] < moments.lower[j] else moments.upper[j]
    reason = (
        f"the supremum is approached, never reached: without the constraint {name!r} the density of "
        f"maximum entropy has E[{name}] = {there.mean[j]:.6g}, and any further {name!r}, up to the "
        f"{asked:.6g} asked, comes from ever less mass ever further out. The density returned is that "
        "limit; drop the constraint, or bound the support."
    )
    return BoxSolution(
        wide,
        natural,
        limit.log_partition,
        there.mean,
        limit.gap,
        limit.relative_entropy,
        there.error,
        "not_attained",
        reason,
        limit.redundant,
        failed.n_iter + limit.n_iter,
    )
