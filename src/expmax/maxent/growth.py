"""Whether a density is integrable at the infinite ends of its support, by the growth of its exponent."""

from __future__ import annotations

from itertools import product
from typing import Literal

import numpy as np

from expmax.maxent.quadrature import Grid, Integrals
from expmax.statistics import Array

__all__ = ["Tail", "tails"]

Tail = Literal["closed", "done", "slow", "rising"]
NEGLIGIBLE = {1: 36.0, 2: 30.0, 3: 25.0}  # nats below the peak, by dimension
NOISE = 1e-9  # of λ in units of 1/(bulk of the feature): what rounding may leave of a zero


def tails(grid: Grid, natural: Array) -> list[tuple[int, bool, Tail]]:
    """What lies beyond each end of the window: (axis, upper end?, state).

    `closed`: the support ends there. `done`: nothing that counts, neither mass nor moments. `slow`: still
    something, less and less. `rising`: the density does not fall off, so that beyond the window it is
    not integrable.
    """
    now = grid.moments(natural)
    quiet = np.where(np.abs(natural) * grid.bulk(natural) < NOISE, 0.0, natural)
    return [
        (axis, upper, _tail(grid, quiet, now, axis, upper))
        for axis in range(grid.dim)
        for upper in (False, True)
    ]


def _tail(grid: Grid, natural: Array, now: Integrals, axis: int, upper: bool) -> Tail:
    side = grid.sides[axis]
    end, limit = float(grid.window[axis, int(upper)]), side.limits[int(upper)]
    if side.closed(upper):
        return "closed"
    if end == limit:
        touching = grid.touching(axis, upper)
        return "rising" if float(now.cell_mass[touching].sum()) > 1e-9 else "done"
    t = np.linspace(end, limit, 160)
    level = _scores(grid, natural, axis, t, now.mean, now.spread).max(axis=1) - now.log_partition
    level = np.maximum(level, -1e300)
    lowest = np.minimum.accumulate(level)
    before = np.concatenate([[True], lowest[:-1] > -2000.0])
    if ((level - lowest)[before] > 1.0).any():
        return "rising"
    return "slow" if level[0] > -NEGLIGIBLE[grid.dim] else "done"


def _scores(grid: Grid, natural: Array, axis: int, t: Array, mean: Array, spread: Array) -> Array:
    """log of the density in t, times what it adds to the largest moment, along rays: (len(t), rays)."""
    rays = list(product(*[(0.0, 0.5, 1.0) if i != axis else (0.0,) for i in range(grid.dim)]))
    columns = []
    unit = np.where(spread > 0, spread, 1.0)
    for ray in rays:
        middle = grid.window[:, 0] + np.array(ray) * (grid.window[:, 1] - grid.window[:, 0])
        points = np.repeat(middle[None, :], len(t), axis=0)
        points[:, axis] = t
        x, jacobian = grid.to_x(points)
        with np.errstate(all="ignore"):
            f = np.asarray(grid.function(x), float)
            score = f @ natural + np.asarray(grid.base(x), float) + jacobian
            score = score + np.log1p((np.abs(f - mean) / unit).max(axis=1, initial=0.0))
        columns.append(np.where(np.isfinite(score), score, -np.inf))
    return np.column_stack(columns)
