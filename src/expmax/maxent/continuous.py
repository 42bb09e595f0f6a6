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
from expmax.maxent.finite import Solution, refuse, solve_points
from expmax.maxent.growth import Tail, tail
from expmax.maxent.location import first_density, place
from expmax.maxent.moments import Moments
from expmax.maxent.quadrature import Grid
from expmax.maxent.supports import Box, Interval, side_of
from expmax.statistics import Array

__all__ = ["BoxSolution", "TOLERANCE", "solve_box"]

TOLERANCE = {1: 1e-12, 2: 1e-10, 3: 1e-8}  # of log Z and the moments, by dimension
STARTS = 24  # places from which the largest value along a direction is climbed to
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
    options = {"method": method, "max_iter": max_iter, "compute": compute}
    found = _climb(grid, moments, options)
    if found.status != "not_attained" or not len(moments):
        return found
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
    intervals: Any, axis: int, features: Callable[[Array], Array], log_base: Callable[[Array], Array]
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
            found = solve_points(points, base, moments, start=start, joint=False, weight=weight, **options)
        except InfeasibleMomentsError as error:
            verdict = _outside(grid, moments, error)
            if verdict is not None:
                return _none(grid, moments, verdict, n_iter)
            natural, weight = first_density(grid)
            continue
        n_iter += found.n_iter
        natural = found.natural
        if _thin(found, grid):
            return _none(grid, moments, ON_EDGE, n_iter)
        ends = [
            (axis, upper, tail(grid, natural, axis, upper))
            for axis in range(grid.dim)
            for upper in (False, True)
        ]
        if any(state == "rising" for _, _, state in ends):
            if not _follow(grid, ends):
                return _none(grid, moments, "", n_iter)
            weight = _weight_at(grid, natural)
            continue
        integrals, changed = grid.adapt(natural, tol)
        changed = _extend(grid, ends) or changed
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


def _extend(grid: Grid, ends: list[tuple[int, bool, Tail]]) -> bool:
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
        return _none(answer.grid, moments, "", answer.n_iter)  # what is missing lies ever further out
    return answer


# -- no density ------------------------------------------------------------------------------------
ON_EDGE = (
    "the moments lie on the edge of what is possible: only distributions on a set of measure zero have "
    "them, which no density does. Give an interval or a tolerance."
)


def _none(grid: Grid, moments: Moments, reason: str, n_iter: int) -> BoxSolution:
    nan = np.full(len(moments), np.nan)
    return BoxSolution(
        grid, nan, np.nan, nan, np.nan, np.inf, np.nan, "not_attained", reason, np.zeros(0, np.intp), n_iter
    )


def _thin(found: Solution, grid: Grid) -> bool:
    """Whether the face found holds a few nodes only: a set of measure zero."""
    if found.status != "boundary":
        return False
    alive = np.isfinite(found.log_density).reshape(grid.log_weight.shape)
    return not bool(alive.all(axis=1).any())


def _outside(grid: Grid, moments: Moments, error: InfeasibleMomentsError) -> str | None:
    """Nodes where the direction points, None; the verdict that the moments lie on the edge; or proof.

    Raises
    ------
    InfeasibleMomentsError
        The direction separates over the whole box.
    """
    v = np.asarray(error.direction, float)
    target = np.where(v > 0, moments.lower, moments.upper)
    target = np.where(v == 0, 0.0, target)

    def height(t: Array) -> Array:
        x, _ = grid.to_x(t)
        with np.errstate(all="ignore"):
            out = np.asarray(grid.function(x), float) @ v - float(v @ target)
        return np.where(np.isfinite(out), out, -np.inf)

    best, top = _summit(grid, height)
    live = v != 0
    sizes = np.abs(grid.flat()[0])
    unit = float((np.abs(v) * (np.median(sizes, axis=0) + np.abs(target)))[live].sum())
    if top < -1e-9 * unit:
        refuse(v, moments)
    if top <= 1e-13 * unit:
        return ON_EDGE
    _refine_at(grid, best, height)
    return None


def _summit(grid: Grid, height: Callable[[Array], Array]) -> tuple[Array, float]:
    """Where a function is largest: the best nodes and lattice points, each climbed by finer lattices."""
    dim = grid.dim
    limits = np.array([side.limits for side in grid.sides])
    nodes = grid.points(grid.low, grid.high)
    values = height(nodes.reshape(-1, dim)).reshape(len(nodes), -1)
    of_cells = nodes[np.arange(len(nodes)), values.argmax(axis=1)]
    lattice = _lattice([np.linspace(lo, hi, {1: 801, 2: 81, 3: 21}[dim]) for lo, hi in limits])
    starts = np.concatenate([of_cells, lattice, limits.T])
    level = np.concatenate([values.max(axis=1), height(starts[len(of_cells) :])])
    chosen = np.argsort(-level)[:STARTS]
    best, top = starts[chosen], level[chosen]
    shape = _lattice([np.linspace(-1.0, 1.0, {1: 21, 2: 9, 3: 5}[dim])] * dim)
    reach = (limits[:, 1] - limits[:, 0]) / 50.0
    for _ in range(50):
        near = np.clip(best[:, None, :] + shape * reach, limits[:, 0], limits[:, 1])
        level = height(near.reshape(-1, dim)).reshape(len(best), -1)
        index = level.argmax(axis=1)
        rows = np.arange(len(best))
        better = level[rows, index] > top
        best = np.where(better[:, None], near[rows, index], best)
        top = np.where(better, level[rows, index], top)
        reach = reach * 0.6
    highest = int(top.argmax())
    return best[highest], float(top[highest])


def _lattice(axes: list[Array]) -> Array:
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))


def _refine_at(grid: Grid, t: Array, height: Callable[[Array], Array]) -> None:
    """Cells around a point, until some node there lies on the right side."""
    for axis in range(grid.dim):
        for upper in (False, True):
            end = grid.window[axis, int(upper)]
            if (t[axis] > end) if upper else (t[axis] < end):
                grid.extend(axis, upper, float(t[axis]))
    for _ in range(60):
        cell = grid.cell_of(t)
        nodes = grid.points(grid.low[cell : cell + 1], grid.high[cell : cell + 1])[0]
        if height(nodes).max() > 0:
            return
        width = grid.high[cell] - grid.low[cell]
        chosen = np.zeros(len(grid.low), bool)
        chosen[cell] = True
        grid.halve(chosen, np.full(len(grid.low), int(width.argmax())))


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
        reason = limit.reason or (
            "no combination of the features makes the density integrable over the support, and the "
            "entropy has no upper bound. Add a constraint that grows at the infinite ends, or a base "
            "measure with a finite total."
        )
        return replace(_none(limit.grid, moments, reason, failed.n_iter), natural=natural)
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
