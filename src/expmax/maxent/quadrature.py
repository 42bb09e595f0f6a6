"""Adaptive quadrature of exp(λ·f(x)) b(x) over a box, as points with weights.

The box is cut into cells of the coordinates t of its sides; a cell carries a tensor product of Gauss-Kronrod
nodes. The difference of the Kronrod and the Gauss sums, of the mass and of the features, is its error; cells
with too much of it are halved, and the window grows where mass touches its end.

References
----------
Piessens, de Doncker-Kapenga, Überhuber & Kahaner (1983), QUADPACK, Springer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from expmax.errors import DataError
from expmax.maxent.supports import Side
from expmax.statistics import Array

__all__ = ["Grid", "Integrals", "gauss_kronrod"]

CELLS = {1: 4000, 2: 2000, 3: 300}  # at most, by dimension


def gauss_kronrod() -> tuple[Array, Array, Array]:
    """15 nodes on [−1, 1], their Kronrod weights, and Gauss weights at 7 of them (0 at the others)."""
    half = [0.991455371120812639206854697526329, 0.949107912342758524526189684047851]
    half += [0.864864423359769072789712788640926, 0.741531185599394439863864773280788]
    half += [0.586087235467691130294144838258730, 0.405845151377397166906606412076961]
    half += [0.207784955007898467600689403773245]
    kronrod = [0.022935322010529224963732008058970, 0.063092092629978553290700663189204]
    kronrod += [0.104790010322250183839876322541518, 0.140653259715525918745189590510238]
    kronrod += [0.169004726639267902826583426598550, 0.190350578064785409913256402421014]
    kronrod += [0.204432940075298892414161999234649, 0.209482141084727828012999174891714]
    gauss = [0.129484966168869693270611432679082, 0.279705391489276667901467771423780]
    gauss += [0.381830050505118944950369775488975, 0.417959183673469387755102040816327]
    nodes = np.array([-x for x in half] + [0.0] + half[::-1])
    weights = np.array(kronrod + kronrod[-2::-1])
    inner = np.zeros(len(nodes))
    inner[1::2] = gauss + gauss[-2::-1]
    return nodes, weights, inner


@dataclass(frozen=True, slots=True)
class Integrals:
    """What a grid says of one λ."""

    log_partition: float  # nats
    mean: Array  # E[f], (m,)
    spread: Array  # standard deviation of f, (m,)
    error: float  # estimated, of log Z and of the means in units of `spread`
    cell_error: Array  # by cell and dimension, (c, d)
    cell_mass: Array  # Σ |1, (f − mean)/spread| p, largest over the features, (c,)


class Grid:
    """Cells over a box, with features and log weights at their nodes.

    Parameters
    ----------
    sides : sequence of Side
    breaks : sequence of sequence of float
        For each side, coordinates x where new cells start.
    features : callable
        x of shape (n, d) ↦ f(x) of shape (n, m).
    log_base : callable
        x ↦ log b(x), shape (n,).
    """

    def __init__(
        self,
        sides: Sequence[Side],
        breaks: Sequence[Sequence[float]],
        features: Callable[[Array], Array],
        log_base: Callable[[Array], Array],
    ) -> None:
        self.sides = tuple(sides)
        self.dim = len(self.sides)
        self.function, self.base = features, log_base
        self._rule()
        self.window = np.array([side.window for side in self.sides])
        edges = [
            _edges(side, cuts, self.dim) for side, cuts in zip(self.sides, breaks, strict=True)
        ]
        lows = list(product(*(edge[:-1] for edge in edges)))
        highs = list(product(*(edge[1:] for edge in edges)))
        self.low, self.high = np.array(lows, float), np.array(highs, float)
        self.features, self.log_weight = self._evaluate(self.low, self.high)

    def _rule(self) -> None:
        nodes, kronrod, gauss = gauss_kronrod()
        self.nodes = np.array(list(product(nodes, repeat=self.dim)))
        self.q = len(self.nodes)
        weights = np.array(list(product(kronrod, repeat=self.dim)))
        self.log_rule = np.log(weights).sum(axis=1)
        ratio = np.array(list(product(gauss / kronrod, repeat=self.dim)))
        self.ratios = ratio.T  # Gauss in one dimension, Kronrod in the others, (d, q^d)

    # -- nodes -------------------------------------------------------------------------------------
    def points(self, low: Array, high: Array) -> Array:
        """Coordinates t of the nodes of cells: shape (c, q^d, d)."""
        middle, half = 0.5 * (high + low), 0.5 * (high - low)
        return np.asarray(middle[:, None, :] + half[:, None, :] * self.nodes)

    def _evaluate(self, low: Array, high: Array) -> tuple[Array, Array]:
        t = self.points(low, high).reshape(-1, self.dim)
        x, log_jacobian = self.to_x(t)
        with np.errstate(all="ignore"):
            f = np.asarray(self.function(x), float)
            base = np.asarray(self.base(x), float)
        bad = ~np.isfinite(f).all(axis=1)
        if np.isnan(base).any() or (base == np.inf).any():
            raise DataError("the base measure must be finite and at least 0 inside the support.")
        base = np.where(bad, -np.inf, base)  # too far out for the feature's own arithmetic
        f[bad] = 0.0
        if bad.all():
            raise DataError("the features are not finite anywhere inside the support.")
        volume = np.log(0.5 * (high - low)).sum(axis=1)
        shape = (len(low), len(self.nodes))
        log_weight = (base + log_jacobian).reshape(shape) + self.log_rule + volume[:, None]
        return f.reshape(*shape, f.shape[1]), log_weight

    def to_x(self, t: Array) -> tuple[Array, Array]:
        """Points x and log |dx/dt| at coordinates t, shape (n, d)."""
        x = np.column_stack([side.x(t[:, i]) for i, side in enumerate(self.sides)])
        jacobian = sum(side.log_jacobian(t[:, i]) for i, side in enumerate(self.sides))
        return x, np.asarray(jacobian, float)

    def flat(self) -> tuple[Array, Array]:
        """Features and log weights of all nodes: shapes (n, m) and (n,)."""
        n, m = self.log_weight.size, self.features.shape[-1]
        return self.features.reshape(n, m), self.log_weight.ravel()

    # -- integrals ---------------------------------------------------------------------------------
    def moments(self, natural: Array) -> Integrals:
        """Integrals at λ and their errors."""
        with np.errstate(invalid="ignore", over="ignore"):
            scores = self.features @ natural + self.log_weight
        peak = float(scores.max())
        p = np.exp(scores - peak)
        mass = float(p.sum())
        p /= mass
        f, flat = self.features, p.ravel()
        rows = f.reshape(len(flat), f.shape[-1])
        mean = flat @ rows
        spread = np.sqrt(flat @ (rows - mean) ** 2)
        unit = np.where(spread > 0, spread, 1.0)
        g = np.concatenate([np.ones((*p.shape, 1)), (f - mean) / unit], axis=2)
        whole = np.einsum("cq,cqj->cj", p, g)
        size = np.einsum("cq,cqj->cj", p, np.abs(g)).max(axis=1)
        errors = np.empty((len(p), self.dim))
        for i in range(self.dim):
            part = np.einsum("cq,cqj->cj", p * self.ratios[i], g)
            errors[:, i] = np.abs(part - whole).max(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            sharp = size[:, None] * np.minimum(1.0, (200.0 * errors / size[:, None]) ** 1.5)
        errors = np.where(size[:, None] > 0, np.minimum(sharp, errors), 0.0)
        total = float(errors.max(axis=1).sum()) + self._lost(scores, peak, mass)
        return Integrals(peak + float(np.log(mass)), mean, spread, total, errors, size)

    def _lost(self, scores: Array, peak: float, mass: float) -> float:
        """Mass beyond nodes where the arithmetic of the features or of x gave out, roughly."""
        gone = np.isneginf(scores)
        partial = gone.any(axis=1) & ~gone.all(axis=1)
        if not partial.any():
            return 0.0
        width = np.log(0.5 * (self.high - self.low)).sum(axis=1)[partial, None]
        heights = scores[partial] - self.log_rule - width - peak
        return float(np.exp(heights).max(axis=1).sum() / mass)

    def adapt(self, natural: Array, tol: float) -> tuple[Integrals, bool]:
        """Halve cells until the error at λ is below `tol` or rounding; also whether any changed."""
        changed, errors = False, [np.inf] * 4
        while True:
            found = self.moments(natural)
            noise = float(np.abs(natural) @ np.abs(found.mean)) * 2 * np.finfo(float).eps
            stuck = found.error > 0.5 * errors[-4]  # three rounds of halving did not help
            errors.append(found.error)
            if found.error <= max(tol, noise) or stuck or len(self.low) >= CELLS[self.dim]:
                return found, changed
            worst = found.cell_error.max(axis=1)
            chosen = worst > max(0.5 * tol / len(worst), 1e-3 * worst.max())
            width = self.high - self.low
            room = width > 1e-14 * np.maximum(np.abs(self.high), np.abs(self.low))
            chosen &= room[np.arange(len(room)), found.cell_error.argmax(axis=1)]
            if not chosen.any():
                return found, changed
            self.halve(chosen, found.cell_error.argmax(axis=1))
            changed = True

    def halve(self, chosen: NDArray[np.bool_], axis: NDArray[np.intp]) -> None:
        """Cut cells in two along an axis each."""
        index = np.flatnonzero(chosen)
        along = axis[index]
        middle = 0.5 * (self.low[index, along] + self.high[index, along])
        left_high, right_low = self.high[index].copy(), self.low[index].copy()
        rows = np.arange(len(index))
        left_high[rows, along] = middle
        right_low[rows, along] = middle
        low = np.concatenate([self.low[index], right_low])
        high = np.concatenate([left_high, self.high[index]])
        self._replace(~chosen, low, high)

    def _replace(self, keep: NDArray[np.bool_], low: Array, high: Array) -> None:
        features, log_weight = self._evaluate(low, high)
        self.low = np.concatenate([self.low[keep], low])
        self.high = np.concatenate([self.high[keep], high])
        self.features = np.concatenate([self.features[keep], features])
        self.log_weight = np.concatenate([self.log_weight[keep], log_weight])

    # -- the window --------------------------------------------------------------------------------
    def extend(self, axis: int, upper: bool, to: float) -> None:
        """Let the window reach further along one side."""
        others = [i for i in range(self.dim) if i != axis]
        end = float(self.window[axis, int(upper)])
        steps = max(int(np.ceil(abs(to - end) / 3.0)), 1)
        cuts = np.linspace(end, to, steps + 1)
        lows, highs = [], []
        for a, b in pairwise(cuts):
            low, high = self.window[:, 0].copy(), self.window[:, 1].copy()
            low[axis], high[axis] = min(a, b), max(a, b)
            pieces = [np.linspace(low[i], high[i], 3) for i in others]
            for corner in product(range(2), repeat=len(others)):
                lo, hi = low.copy(), high.copy()
                for i, piece, k in zip(others, pieces, corner, strict=True):
                    lo[i], hi[i] = piece[k], piece[k + 1]
                lows.append(lo)
                highs.append(hi)
        self.window[axis, int(upper)] = to
        self._replace(np.ones(len(self.low), bool), np.array(lows), np.array(highs))

    def touching(self, axis: int, upper: bool) -> NDArray[np.bool_]:
        """The cells at one end of the window."""
        end = self.window[axis, int(upper)]
        side = self.high if upper else self.low
        return np.asarray(side[:, axis] == end)

    def bulk(self, natural: Array) -> Array:
        """Half the range of each feature over the middle 98 % of the distribution at λ: shape (m,)."""
        rows, base = self.flat()
        scores = rows @ natural + base
        p = np.exp(scores - scores.max())
        p /= p.sum()
        half = np.empty(rows.shape[1])
        for j in range(rows.shape[1]):
            order = np.argsort(rows[:, j])
            below = np.cumsum(p[order])
            low, high = np.searchsorted(below, [0.01, 0.99]).clip(max=len(order) - 1)
            half[j] = 0.5 * (rows[order[high], j] - rows[order[low], j])
        return half

    def cell_of(self, t: Array) -> int:
        """The cell that holds a point."""
        inside = ((self.low <= t) & (t <= self.high)).all(axis=1)
        return int(np.argmax(inside))


def _edges(side: Side, breaks: Sequence[float], dim: int) -> Array:
    low, high = side.window
    if side.kind == "linear":
        count = {1: 6, 2: 3, 3: 2}[dim]
    else:
        count = max(int(np.ceil((high - low) / {1: 2.5, 2: 4.0, 3: 6.0}[dim])), 2)
    inside = [b for b in breaks if side.low < b < side.high]
    cuts = np.asarray(side.t(np.array(inside, float)), float)
    return np.unique(np.concatenate([np.linspace(low, high, count + 1), cuts]))
