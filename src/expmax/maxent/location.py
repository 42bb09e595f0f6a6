"""Where on an infinite side the mass will be, read off the moments before anything is solved."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from expmax.maxent.moments import Moments
from expmax.maxent.quadrature import Grid
from expmax.maxent.supports import Side
from expmax.statistics import Array

__all__ = ["first_density", "place"]


def place(
    sides: Sequence[Side], features: Callable[[Array], Array], moments: Moments
) -> list[Side]:
    """Centre and scale of each infinite side, from the mean and the second moment where given.

    Whether x or x² is a combination of the features is found by trying on points.
    """
    middle = 0.5 * (moments.lower + moments.upper)
    placed = list(sides)
    for i, side in enumerate(sides):
        if side.kind not in ("line", "half", "tail"):
            continue
        sign = 1.0 if side.kind == "line" or side.upward else -1.0
        origin = 0.0 if side.kind == "line" else (side.low if side.upward else side.high)
        first = _implied(sides, features, middle, i, lambda u: u, origin)
        second = _implied(sides, features, middle, i, lambda u: u * u, origin)
        variance = None if second is None else second - (first or 0.0) ** 2
        if side.kind == "line":
            scale = np.sqrt(variance) if variance is not None and variance > 0 else 1.0
            placed[i] = side.placed(first or 0.0, float(scale))
            continue
        log = _implied(sides, features, middle, i, lambda u: np.log(np.abs(u)), origin)
        scale = 1.0
        if first is not None and sign * first > 0:
            scale = sign * first
        elif log is not None:
            scale = float(np.exp(log))
        elif second is not None and second > 0:
            scale = float(np.sqrt(second))
        placed[i] = side.placed(0.0, scale)
    return placed


def _implied(
    sides: Sequence[Side],
    features: Callable[[Array], Array],
    middle: Array,
    axis: int,
    function: Callable[[Array], Array],
    origin: float,
) -> float | None:
    """E[function(x − origin)] where it is a constant plus a combination of the features."""
    if not len(middle) or not np.isfinite(middle).all():
        return None
    rng = np.random.default_rng(0)
    columns = []
    for side in sides:
        low = side.low if np.isfinite(side.low) else min(side.high, 1.0) - 4.0
        high = side.high if np.isfinite(side.high) else max(side.low, -1.0) + 4.0
        columns.append(low + (high - low) * rng.uniform(0.02, 0.98, 60 + 4 * len(middle)))
    x = np.column_stack(columns)
    with np.errstate(all="ignore"):
        f = np.asarray(features(x), float)
        target = function(x[:, axis] - origin)
    if not (np.isfinite(f).all() and np.isfinite(target).all()):
        return None
    size = np.abs(f).max(axis=0)
    size[size == 0] = 1.0
    design = np.column_stack([f / size, np.ones(len(x))])
    weights = np.linalg.lstsq(design, target, rcond=1e-13)[0]
    if np.abs(design @ weights - target).max() > 1e-9 * np.abs(target).max():
        return None
    return float(weights[:-1] @ (middle / size) + weights[-1])


def first_density(grid: Grid) -> tuple[Array, Array]:
    """A first λ, the best fit of the features to the log of a simple density, and its weights."""
    t = grid.points(grid.low, grid.high).reshape(-1, grid.dim)
    x, jacobian = grid.to_x(t)
    log_density = np.zeros(len(t))
    for i, side in enumerate(grid.sides):
        if side.kind == "line":
            log_density -= 0.5 * ((x[:, i] - side.centre) / side.scale) ** 2
        elif side.kind in ("half", "tail"):
            origin = side.low if side.upward else side.high
            log_density -= np.abs(x[:, i] - origin) / side.scale
    features, log_weight = grid.flat()
    scores = np.where(np.isfinite(log_weight), log_density + jacobian, -np.inf)
    scores = scores + np.repeat(np.log(grid.high - grid.low).sum(axis=1), grid.q)
    weight = np.exp(scores - scores.max())
    weight /= weight.sum()
    if not features.shape[1]:
        return np.zeros(0), weight
    root = np.sqrt(weight)[:, None]
    size = np.sqrt(weight @ features**2)
    size[size == 0] = 1.0
    design = np.column_stack([features / size, np.ones(len(t))]) * root
    natural = np.linalg.lstsq(design, log_density * root[:, 0], rcond=1e-10)[0][:-1] / size
    return np.asarray(natural), weight
