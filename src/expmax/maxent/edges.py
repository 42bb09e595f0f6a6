"""Where the nodes of a grid cannot meet the moments: more nodes, the edge of what is possible, or proof."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from expmax.errors import InfeasibleMomentsError
from expmax.maxent.moments import Moments
from expmax.maxent.quadrature import Grid
from expmax.maxent.refusals import refuse
from expmax.statistics import Array

__all__ = ["ON_EDGE", "look_outside"]

STARTS = 24  # places from which the largest value along a direction is climbed to
ON_EDGE = (
    "the moments lie on the edge of what is possible: only distributions on a set of measure zero have "
    "them, which no density does. Give an interval or a tolerance."
)


def look_outside(grid: Grid, moments: Moments, error: InfeasibleMomentsError) -> str | None:
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
