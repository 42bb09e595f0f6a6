"""Contingency tables given by margins: their indicator features, and iterative proportional fitting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NoReturn

import numpy as np
from scipy.sparse import csr_array

from expmax.errors import InfeasibleMomentsError, ParameterError, parameter_error
from expmax.maxent.supports import ContingencyTable
from expmax.statistics import Array

__all__ = ["Margins", "proportional_fit", "read_margins"]

AGREE = 1e-9  # relative difference of totals that rounding may make


@dataclass(frozen=True, slots=True, eq=False)
class Margins:
    """Which sums of a table are asked, as shares of its total."""

    table: ContingencyTable
    axes: tuple[tuple[int, ...], ...]
    shares: tuple[Array, ...]
    total: float

    @property
    def names(self) -> tuple[str, ...]:
        """One a cell of each margin, such as "hair=0, eye=2"."""
        names = []
        for axes, share in zip(self.axes, self.shares, strict=True):
            for cell in np.ndindex(share.shape):
                parts = (f"{self.table.names[a]}={i}" for a, i in zip(axes, cell, strict=True))
                names.append(", ".join(parts))
        return tuple(names)

    @property
    def targets(self) -> Array:
        """Shares of all cells of all margins: shape (m,)."""
        return np.concatenate([share.ravel() for share in self.shares])

    def indicators(self) -> csr_array:
        """Which margin cells each cell of the table belongs to: shape (n, m), a one a margin."""
        cells = np.indices(self.table.shape).reshape(len(self.table.shape), -1)
        columns, start = [], 0
        for axes, share in zip(self.axes, self.shares, strict=True):
            columns.append(start + np.ravel_multi_index(tuple(cells[list(axes)]), share.shape))
            start += share.size
        indices = np.stack(columns, axis=1).ravel()
        n, k = cells.shape[1], len(self.axes)
        return csr_array((np.ones(n * k), indices, np.arange(0, n * k + 1, k)), shape=(n, start))


def read_margins(margins: Any, targets: Any, table: ContingencyTable, data: Any) -> Margins:
    """Read margins as a user gives them and check that they agree.

    Parameters
    ----------
    margins : sequence of (axis or sequence of axes), by position or name
    targets : sequence of ndarray, optional
        Sums over the other axes, counts or shares, one array a margin.
    table : ContingencyTable
    data : ndarray, optional
        A table to take the margins from.

    Raises
    ------
    InfeasibleMomentsError
        Two margins disagree on what they share.
    """
    axes = tuple(
        tuple(table.axis(a) for a in ((margin,) if isinstance(margin, int | str) else margin))
        for margin in margins
    )
    if any(len(set(a)) < len(a) for a in axes):
        raise parameter_error("margins", "of distinct axes", margins)
    shape = tuple(table.shape)
    if data is not None:
        counts = np.asarray(data, float)
        if counts.shape != shape:
            raise parameter_error("data", f"a table of shape {shape}", counts.shape)
        targets = [_sum_to(counts, tuple(range(len(shape))), a) for a in axes]
    if isinstance(targets, Mapping):
        keys = [m if isinstance(m, int | str) else tuple(m) for m in margins]
        if set(targets) != set(keys):
            raise parameter_error("moments", f"given for the margins {keys}", list(targets))
        targets = [targets[key] for key in keys]
    if targets is None or len(targets) != len(axes):
        raise ParameterError("moments must be one array of sums a margin, or data a whole table.")
    sums = []
    for a, target in zip(axes, targets, strict=True):
        try:
            values = np.asarray(target, float)
        except (TypeError, ValueError):
            raise parameter_error(f"the margin {a}", "an array of numbers", target) from None
        expected = tuple(shape[i] for i in a)
        if values.shape != expected or not (np.isfinite(values) & (values >= 0)).all():
            rule = f"of shape {expected}, finite and at least 0"
            raise parameter_error(f"the margin {a}", rule, target)
        sums.append(values)
    _check_agreement(table, axes, sums)
    total = float(sums[0].sum()) if sums else 1.0
    if not total > 0:
        raise parameter_error("the margins' total", "positive", total)
    return Margins(table, axes, tuple(values / values.sum() for values in sums), total)


def _sum_to(values: Array, axes: Sequence[int], kept: Sequence[int]) -> Array:
    """Sum a margin over `axes` down to `kept`, in the order of `kept`."""
    away = tuple(i for i, a in enumerate(axes) if a not in kept)
    left = [a for a in axes if a in kept]
    return np.asarray(values.sum(axis=away).transpose([left.index(a) for a in kept]))


def _check_agreement(
    table: ContingencyTable, axes: Sequence[tuple[int, ...]], sums: Sequence[Array]
) -> None:
    for i, j in combinations(range(len(axes)), 2):
        shared = tuple(sorted(set(axes[i]) & set(axes[j])))
        one, other = _sum_to(sums[i], axes[i], shared), _sum_to(sums[j], axes[j], shared)
        size = max(float(sums[i].sum()), float(sums[j].sum()))
        apart = np.abs(one - other)
        if apart.max() > AGREE * size:
            cell = np.unravel_index(int(apart.argmax()), apart.shape) if shared else ()
            _refuse(table, axes, sums, (i, j), shared, cell)


def _refuse(
    table: ContingencyTable,
    axes: Sequence[tuple[int, ...]],
    sums: Sequence[Array],
    pair: tuple[int, int],
    shared: tuple[int, ...],
    cell: Any,
) -> NoReturn:
    """Two margins that imply different sums: their difference is the separating direction."""
    masks, values = [], []
    for k in range(len(axes)):
        mask = np.ones(sums[k].shape, bool)
        for axis, level in zip(shared, cell, strict=True):
            if k in pair:
                grid = np.indices(sums[k].shape)[axes[k].index(axis)]
                mask &= grid == level
        masks.append(mask if k in pair else np.zeros(sums[k].shape, bool))
        values.append(float(sums[k][masks[k]].sum()))
    i, j = pair
    sign = 1.0 if values[i] > values[j] else -1.0
    parts = [(sign if k == i else -sign) * mask.ravel() for k, mask in enumerate(masks)]
    words = [" × ".join(table.names[a] for a in axes[k]) for k in pair]
    at = ", ".join(f"{table.names[a]}={int(c)}" for a, c in zip(shared, cell, strict=True))
    where = f" at {at}" if at else " in total"
    raise InfeasibleMomentsError(
        f"the margins {words[0]!r} and {words[1]!r} disagree: they sum to {values[i]:.10g} and "
        f"{values[j]:.10g}{where}. Make them agree, or give one of them as shares of the other.",
        direction=np.concatenate(parts),
        conflicts=words,
    )


def proportional_fit(
    margins: Margins, base: Array, *, max_iter: int = 2000, tol: float = 1e-14
) -> tuple[Array, list[Array], int, bool]:
    """Iterative proportional fitting: each margin in turn is scaled to its target.

    One scaling is the exact minimum of the dual over the multipliers of that margin, so the sweeps are
    block-coordinate ascent to the table of maximum entropy relative to the base.

    Returns
    -------
    ndarray
        The fitted shares.
    list of ndarray
        log of the scale factors of each margin: multipliers; 0 where the margin is zero.
    int
        Sweeps.
    bool
        Whether the margins are met.

    References
    ----------
    Deming & Stephan (1940), Ann. Math. Statist. 11(4), 427-444. Csiszár (1975), Ann. Probab. 3(1).
    """
    p = base / base.sum()
    multipliers = [np.zeros(share.shape) for share in margins.shares]
    everything = tuple(range(p.ndim))
    for sweep in range(max_iter):
        worst = 0.0
        for k, (axes, share) in enumerate(zip(margins.axes, margins.shares, strict=True)):
            now = _sum_to(p, everything, axes)
            worst = max(worst, float(np.abs(now - share).max()))
            if ((now == 0) & (share > 0)).any():
                return p, multipliers, sweep, False
            scale = np.divide(share, now, out=np.zeros_like(share), where=now > 0)
            with np.errstate(divide="ignore"):
                multipliers[k] += np.where(scale > 0, np.log(scale), 0.0)
            p = p * _spread(scale, axes, p.ndim)
        if worst <= tol:
            return p, multipliers, sweep + 1, True
    return p, multipliers, max_iter, worst <= 1e-10


def _spread(values: Array, axes: Sequence[int], ndim: int) -> Array:
    """A margin as an array that multiplies the table."""
    order = np.argsort(axes)
    shape = [1] * ndim
    for axis, size in zip(axes, values.shape, strict=True):
        shape[axis] = size
    return values.transpose(order).reshape(shape)
