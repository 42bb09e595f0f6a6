"""Draws from a density on a grid: a cell by its mass, then coordinate after coordinate inside it.

Within a cell the density is the polynomial through its values at the nodes, as accurate as the quadrature;
each conditional distribution function is integrated exactly and inverted by bisection.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.polynomial import legendre

from expmax.maxent.quadrature import Grid, gauss_kronrod
from expmax.statistics import Array

__all__ = ["sample_grid"]


def sample_grid(grid: Grid, natural: Array, n: int, rng: np.random.Generator) -> Array:
    """n draws from exp(λ·f) b: shape (n, d).

    Parameters
    ----------
    grid : Grid
        Fit for λ.
    natural : ndarray, shape (m,)
    """
    scores = grid.features @ natural + grid.log_weight
    p = np.exp(scores - scores.max())
    mass = p.sum(axis=1)
    cells = rng.choice(len(mass), size=n, p=mass / mass.sum())
    nodes, weights, _ = gauss_kronrod()
    q = len(nodes)
    table = p[cells].reshape(n, *[q] * grid.dim)
    unit = np.empty((n, grid.dim))
    for axis in range(grid.dim):
        marginal = table.reshape(n, q, -1).sum(axis=2) / weights  # density at the nodes
        unit[:, axis] = _invert(marginal, rng.uniform(size=n))
        if axis + 1 < grid.dim:
            there = _interpolation(unit[:, axis])  # values at the drawn coordinate
            table = np.einsum("nq,nq...->n...", there / weights, table)
    low, high = grid.low[cells], grid.high[cells]
    t = low + 0.5 * (unit + 1.0) * (high - low)
    return grid.to_x(t)[0]


@cache
def _to_legendre() -> Array:
    """From values at the nodes to Legendre coefficients: shape (q, q)."""
    nodes, _, _ = gauss_kronrod()
    return np.asarray(np.linalg.inv(legendre.legvander(nodes, len(nodes) - 1)))


def _interpolation(x: Array) -> Array:
    """Weights of the node values in the polynomial at x: shape (n, q)."""
    return np.asarray(legendre.legvander(x, len(_to_legendre()) - 1) @ _to_legendre())


def _invert(density: Array, u: Array) -> Array:
    """x in [−1, 1] where the distribution function of each row reaches u: shape (n,)."""
    series = legendre.legint((density @ _to_legendre().T).T, lbnd=-1, axis=0)  # (q + 1, n)
    total = legendre.legval(1.0, series)
    low, high = np.full(len(u), -1.0), np.ones(len(u))
    for _ in range(50):
        middle = 0.5 * (low + high)
        below = legendre.legval(middle, series, tensor=False) < u * total
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return 0.5 * (low + high)
